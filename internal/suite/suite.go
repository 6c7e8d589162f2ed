// Package suite knows a project's tests: how they behaved, how far they can be
// trusted, which to run first, where to run them, and which change broke one.
//
// Everything here is computed from [Result]s, in the order in which they came,
// and from nothing else: no file is opened and no clock is read. What is known
// of one test is a [Test], a value of bounded size that takes result after
// result; what is known of a project is its tests and the [Prior] that they
// have in common.
//
//	results ──► Test ──┐
//	                   ├──► Estimate: how likely is it to fail by chance?
//	results ──► Prior ─┘        │
//	                            ├──► Judge: healthy, suspected, quarantined, broken
//	                            └──► order, selection, shards, culprits
//
// Tests come from outside, and their names, times and numbers may be anything.
package suite

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Outcome is how a test ended in one job of one run, all its attempts and all
// cases of its parameters taken together.
type Outcome uint8

// The outcomes. A test of several cases has the worst of theirs.
const (
	Skipped Outcome = iota + 1
	Passed
	Flaked  // it failed, and passed when it was tried again
	Failed  // at every attempt
	Errored // it did not come to its end
)

// Bad reports whether the outcome is a failure.
func (o Outcome) Bad() bool { return o >= Failed }

// Result is one outcome of a test.
type Result struct {
	Run    string // decimal, growing
	Job    string
	Time   time.Time
	Commit string
	// Given is what the run was given beside its commit, in any words: results of
	// one commit are held against each other only when it is the same. A store
	// need not keep it.
	Given   string
	Branch  string
	Base    bool    // of the branch that changes go to
	Outcome Outcome // never 0
	Seconds float64
	// Inputs is of all that the step of the test read: the same for the same
	// inputs, 0 when that is not known.
	Inputs uint64
	// Fault is the fingerprint of how it failed, as package fault has it; 0
	// when it did not fail.
	Fault uint64
	// Storm says that the run is one in which the machine failed and not the
	// tests: it is no evidence.
	Storm bool
	// Unreachable says that nothing the test read is of the change that the
	// run was of, see [Innocent].
	Unreachable bool
}

// ID names a test in one variant of its environment. It is how results find
// their test.
type ID struct {
	Repository string
	Key        string // record.TestResult.Key
	Variant    string // what of the job tells its environments apart: "windows, node 22"; "" when nothing does
}

// Row is a test as lists and pages show it: what is thought of it.
type Row struct {
	ID
	Title    string
	File     string
	Line     int
	Owner    string
	State    record.TestState
	Why      string    // of the state
	Until    time.Time // when its quarantine lapses
	Runs     int64     // results that count
	Failures int64
	Flakes   int64 // contradictions: the same inputs, another outcome
	// Rate is how likely it is to fail by chance, and Low and High are the
	// ends of the interval in which that is with 90 %.
	Rate, Low, High float64
	Seconds         float64 // it is expected to take
	Lost            float64 // seconds of people and machines lost to its flakes in the last 30 days
	Size            Size
	First, Last     time.Time // results
	Failed          time.Time // last, zero for never
}

// Size is how large a test is by what it was seen to do.
type Size uint8

// The sizes: of a Small test no socket and no other process was seen, of a
// Medium one none that leads to another machine.
const (
	SizeUnknown Size = iota
	Small
	Medium
	Large
)

// Query says which tests of a repository are asked for.
type Query struct {
	Repository string
	States     []record.TestState // none: all
	Text       string             // in the title
	IDs        []ID               // of the repository: only these; none: all
	Order      string             // "rate", "lost", "seconds", "failed", "title"
	Limit      int
	After      int // how many are left out
}

// Learned is what one report taught about one test: the result is added, the
// test's state and row are replaced. A Result without an Outcome is none: then the
// state and the row alone are. A File, a Line or a Size that is not known leaves what
// was known before.
type Learned struct {
	Row    Row
	State  []byte // Test.MarshalBinary
	Result Result
}

// Ledger keeps what is known of tests. A store satisfies it.
type Ledger interface {
	// Known are the states of tests, by ID; those never seen are missing.
	Known(ctx context.Context, ids []ID) (map[ID][]byte, error)
	// Learn writes what was learned up to the event seq, appends the events that
	// tell of it, and marks reader as having read so far: all of it or nothing. The
	// error is a record.ErrConflict, and nothing is written, when reader had come as
	// far before.
	Learn(ctx context.Context, reader string, seq int64, learned []Learned, events ...record.Event) error
	// Tests are the rows that a query asks for, and how many there are in all.
	Tests(ctx context.Context, q Query) (rows []Row, total int, err error)
	// Results are the newest results of a test, newest first, at most limit,
	// before a run ("" for all).
	Results(ctx context.Context, id ID, before string, limit int) ([]Result, error)
	// Grid are the results of tests in the newest runs of a branch ("" for
	// all): at most runs columns, newest first, a slice for each ID.
	Grid(ctx context.Context, ids []ID, branch string, runs int) ([][]Result, error)
}
