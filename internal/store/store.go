// Package store is the door to where the record is kept.
//
// A store is four small things that, together, need no broker and no lock
// server:
//
//   - a [Log]: events are appended, never changed, and read back in the one
//     order that all readers see;
//   - [Marks]: every reader (a page, a notifier, a statistic) remembers under
//     its own name how far it has read. After a crash it goes on from there,
//     and a new reader begins at 0 and sees all of history;
//   - [Registers]: small documents that hold now, changed in one transaction
//     with the events that tell of the change;
//   - [Leases]: a name that at most one living holder has. When a holder
//     dies, however it dies, its leases are free again, so "is anybody
//     still working on this run?" has a true answer.
//
// When Append has returned, its events survive the death of the process at any
// later instant. What a crash interrupts is either in the record as a whole
// or not at all: one Append is one transaction.
//
// Readers that need more than the log (a list of runs, say) do not widen this
// door. They declare a narrow interface of their own, and the SQL stores
// satisfy it; the words they share with it, [RunHead] and [RunFilter], stand
// here.
//
// Children: sqlite, postgres. What every child must do is written down in
// storetest; what the two share, how an event lies in columns, in row.go.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Store keeps the record. All methods may be called from several goroutines,
// and several processes may have the same store open.
type Store interface {
	Log
	Marks
	Leases
	Registers
}

// Log is the record itself.
type Log interface {
	// Append adds events in one transaction and returns them with Seq set and
	// Time set where it was zero, as a reader will see them: UTC, cut to
	// microseconds. The events given are not changed. Seqs count up from 1
	// without a gap, and those of one Append follow each other. When Append
	// returns, the events are durable.
	//
	// When ctx ends before the events were written they are not written at
	// all, and the error is ctx's.
	Append(ctx context.Context, events ...record.Event) ([]record.Event, error)

	// After yields the events whose Seq is greater than seq, in order, and
	// ends at the newest. It holds nothing open between two events: the
	// consumer may be slow, and may append. An event that cannot be decoded
	// is yielded with its error, all its fields but Body being set, and the
	// consumer may go on; after any other error the sequence ends.
	After(ctx context.Context, seq int64) iter.Seq2[record.Event, error]
}

// Marks are named cursors into the log.
type Marks interface {
	// Mark remembers that reader has dealt with everything up to seq. A mark
	// may be set back, to read again.
	Mark(ctx context.Context, reader string, seq int64) error

	// Marked is the reader's mark, 0 for a reader that has none.
	Marked(ctx context.Context, reader string) (int64, error)
}

// Registers are small documents that hold now. They change together, and
// together with the events that tell of it.
type Registers interface {
	// Register is the register of that kind and ID; its Version is 0 when
	// there is none.
	Register(ctx context.Context, kind, id string) (record.Register, error)

	// Registers are those of a kind whose IDs begin with the prefix, by ID.
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)

	// Change writes registers and appends events in one transaction, and
	// returns the events as Append does. Nothing of it happens, and the error is a
	// [record.ErrConflict], when a register has another version than the one
	// given. So a change with Version 0 happens once, however many try.
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

// Leases are names that at most one living holder has.
type Leases interface {
	// Lease takes the name, or returns a [*HeldError] at once when somebody
	// living has it, be it in this process. The holder is a text for people
	// ("pid 4711 on build-3"). The lease lasts until it is released or the
	// process ends.
	Lease(ctx context.Context, name, holder string) (Lease, error)

	// Held says whether somebody living has the name, and who.
	Held(ctx context.Context, name string) (holder string, held bool, err error)
}

// Lease is a name held.
type Lease interface {
	// Release gives the name back. A second call does nothing.
	Release() error
	// Lost is closed when the name is no longer held although it was not
	// released: the store could not be reached for too long. Whoever held it
	// stops at once what only its holder may do.
	Lost() <-chan struct{}
}

// HeldError says that a lease is taken.
type HeldError struct {
	Name   string
	Holder string // as its holder called itself; "" when not known
}

func (e *HeldError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is held by another process", e.Name)
	}
	return fmt.Sprintf("%s is held by %s", e.Name, e.Holder)
}

// ErrNotFound says that there is no such run.
var ErrNotFound = errors.New("no such run")

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("store is closed")

// RunLease is the name of the lease that whoever runs a run holds: a run that
// has not ended is alive exactly as long as it is held. It is taken before the
// run's first event is appended, and released after its last.
func RunLease(run string) string { return "run/" + run }

// RunHead is a run in a list: what is known of it without reading its events.
type RunHead struct {
	ID         string // decimal, growing
	Number     int    // counts the runs of File in Repository
	Attempt    int
	Of         string // the run this one repeats or goes on from
	Repository string // owner/name
	Root       string // directory of the tree
	File       string // the pipeline's, slash path inside the tree
	Name       string // the pipeline's
	Event      string // "push"
	Ref        string // refs/heads/main
	Branch     string // of the ref, or the head of a pull request; "" for none
	SHA        string
	Dirty      bool
	Actor      string
	Begun      time.Time      // planned
	Started    time.Time      // zero while it waits for its turn
	Origin     *record.Origin // nil: of the command line
	ApprovedBy string         // who let it start, if it had to wait for somebody
	Ended      time.Time      // zero while it has not ended
	Verdict    plan.Verdict   // "" while it has not ended
	Why        string
	// Alive says that somebody held the run's lease when this was read.
	Alive bool
}

// Interrupted reports whether the run neither ended nor goes on: whoever ran
// it died. It can be resumed.
func (h RunHead) Interrupted() bool { return h.Verdict == "" && !h.Alive && !h.Waiting() }

// Waiting reports whether a server's run has not had its turn yet.
func (h RunHead) Waiting() bool { return h.Verdict == "" && h.Origin != nil && h.Started.IsZero() }

// RunFilter chooses runs. Zero fields choose all.
type RunFilter struct {
	Repository string
	Root       string
	Pipeline   string // the pipeline's file, the last part of its path, or its name
	Branch     string // a branch, or a whole ref
	Verdict    plan.Verdict
	Unfinished bool   // only runs without a verdict
	Origin     string // only those of this repository of the server
	Change     string // only those of this pull or merge request
	Actor      string
	Before     string // only runs older than the one with this ID
	Limit      int    // at most so many; 0: [DefaultRuns]
}

// EventFilter chooses events. Zero fields choose all.
type EventFilter struct {
	Kinds  []record.Kind
	Run    string
	Before int64 // only those with a smaller Seq
	Limit  int   // at most so many; 0: [DefaultRuns]
}

// DefaultRuns is how many runs a list has when nothing else is asked for.
const DefaultRuns = 100
