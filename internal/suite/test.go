package suite

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxStretches is how far back the course of a test's results is kept, in
	// stretches of like results; older ones are melted into one.
	maxStretches = 24
	// maxSeen is how many contents a test remembers how it ended on.
	maxSeen = 12
	// maxEvidence is how many of the newest contradictions are kept.
	maxEvidence = 5
	// maxTest is the size of a marshalled test, in bytes.
	maxTest = 2048
	// maxWhy and maxName are the lengths of texts kept with a test, in bytes.
	maxWhy, maxName = 120, 64

	// halfDays and halfCommits say after how much time and after how many
	// commits a result counts half: whichever is reached later, so that
	// neither a holiday nor a busy day wipes out what is known.
	halfDays    = 30
	halfCommits = 150
	// lostDays is how far back the time lost to flakes is counted.
	lostDays = 30
	// haste is the weight of the newest result in the expected duration.
	haste = 0.2
)

// Test is what is known of one test in one variant: a value of bounded size
// that takes result after result. The zero value is a test never seen. It is
// not safe for concurrent use.
//
// A failure is evidence of chance, a flake, only when it is known not to come
// from the code:
//
//   - the same inputs (the same commit in the same job, when the inputs are not
//     known) passed, before or afterwards, or
//   - it passed when it was tried again, or
//   - the same commit passed in the same job, though not all that it read was the
//     same: a cold cache, a file of the day. This is weaker, and counts half, or
//   - nothing that it read is of the change, and it is not failing on the base
//     branch, either.
//
// All other failures stand open: they say nothing of chance and are left out
// on both sides of the rate. A later pass on the same inputs turns them into
// flakes.
type Test struct {
	runs, failures, flakes, skips int64 // ever; skips since it last ran
	first, last, failed, flaked   time.Time

	age       float64 // in half-lives, grows; results weigh 2^(age then - age now)
	commit    uint64  // of the newest result, hashed
	course    []stretch
	switches  int        // changes from one outcome to the other inside the oldest stretch
	seen      []content  // the newest last
	evidence  []Evidence // the newest last
	lost      [lostDays]uint16
	lostDay   int64 // the day, since 1970, that the newest result is of
	seconds   float64
	baseBad   int    // failures on the base branch since its last pass
	baseGood  int    // passes on the base branch since its last failure
	guilty    uint64 // the content of the last flake
	clean     int    // passes since, on whatever content
	cleanElse int    // of them on other contents: something of its inputs has changed
	lastRun   uint64

	state    record.TestState
	since    time.Time // when it came into its state
	until    time.Time // when its quarantine lapses
	renewals int       // quarantines since it was last healthy
	before   int64     // flakes that were atoned for before
	why      string
	owner    string
	by       string // the person who decided the state, "" for Fairlead
}

// stretch is a run of like results, one after another. Only the oldest, into
// which those before it were melted, holds both kinds.
type stretch struct {
	results, bad, flakes uint32
	good, chance         float64 // weights of passes and of flakes, at their age: 2^age
	run                  uint64  // the first of them
	from                 int64   // its time, Unix seconds
}

// content is how a test ended on the same inputs.
type content struct {
	key            uint64
	commit         uint64 // of the newest result: [Result.source], 0 when that is the key
	passed, failed uint64 // the newest run that did, 0 for none
	open           uint32 // failures that are not yet known to be flakes
}

// EvidenceKind says why a failure is known not to come from the code.
type EvidenceKind uint8

// The classes of evidence. Their numbers are kept with tests.
const (
	Contradiction EvidenceKind = iota + 1 // the same inputs passed in another run
	Retry                                 // it passed when it was tried again
	Unreachable                           // nothing that the test read is of the change
	SameCommit                            // the same commit passed in another run, on other inputs
)

// weight is what a failure counts that is known by such evidence to be chance.
func (k EvidenceKind) weight() float64 {
	if k == SameCommit {
		return .5
	}
	return 1
}

// Evidence is a failure that does not come from the code.
type Evidence struct {
	Kind  EvidenceKind
	Run   uint64 // that failed
	Other uint64 // that passed on the same inputs or commit
	Time  time.Time
}

func (e Evidence) String() string {
	switch e.Kind {
	case Contradiction:
		return fmt.Sprintf("run %d failed, run %d passed: the same inputs", e.Run, e.Other)
	case Retry:
		return fmt.Sprintf("run %d failed, and passed when it was tried again", e.Run)
	case SameCommit:
		return fmt.Sprintf("run %d failed, run %d passed: the same commit, though not all that they read was the same", e.Run, e.Other)
	}
	return fmt.Sprintf("run %d failed, and nothing that the test read was of the change", e.Run)
}

// Counts are the plain numbers of a test.
type Counts struct {
	Runs     int64 // results that count: no skips, no storms
	Failures int64 // of them, flakes among them
	Flakes   int64 // failures that do not come from the code
	Skips    int64 // since it last ran
	First    time.Time
	Last     time.Time
	Failed   time.Time // last, zero for never
	Flaked   time.Time // last, zero for never
}

// Counts returns the plain numbers of the test.
func (t *Test) Counts() Counts {
	return Counts{
		Runs: t.runs, Failures: t.failures, Flakes: t.flakes, Skips: t.skips,
		First: t.first, Last: t.last, Failed: t.failed, Flaked: t.flaked,
	}
}

// Seconds is how long the test is expected to take, 0 when it is not known.
func (t *Test) Seconds() float64 { return t.seconds }

// State is what is thought of the test, and why.
func (t *Test) State() (record.TestState, string) {
	if t.state == "" {
		return record.TestHealthy, t.why
	}
	return t.state, t.why
}

// Until is when the test's quarantine lapses; zero when it is in none.
func (t *Test) Until() time.Time { return t.until }

// Owner is who answers for the test's quarantine, "" outside of one.
func (t *Test) Owner() string { return t.owner }

// Muted reports whether failures of the test do not count now. It fails
// closed: a quarantine without an end, or past it, mutes nothing.
func (t *Test) Muted(now time.Time) bool {
	return t.state == record.TestQuarantined && now.Before(t.until)
}

// Tally sums up the results of the test for [Fit] and [Prior.Given]: passes
// and flakes, older ones for less, open failures left out.
func (t *Test) Tally() Tally { return t.tally(0) }

// tally is of the course from a stretch on.
func (t *Test) tally(from int) Tally {
	sum := Tally{Tests: 1}
	for _, s := range t.course[from:] {
		sum.Results += s.good + s.chance
		sum.Flakes += s.chance
	}
	fade := math.Exp2(-t.age)
	sum.Results *= fade
	sum.Flakes = min(sum.Flakes*fade, sum.Results)
	return sum
}

// Evidence returns the newest failures that do not come from the code, newest
// last, at most five.
func (t *Test) Evidence() []Evidence { return append([]Evidence(nil), t.evidence...) }

// Lost is how many of the failures of the 30 days before now were chance,
// each at a price in seconds: that of the run that was repeated, and of the
// person who looked.
func (t *Test) Lost(now time.Time, price float64) float64 {
	today, n := now.Unix()/86400, 0
	for i := range int64(lostDays) {
		if day := t.lostDay - i; day > today-lostDays && day <= today {
			n += int(t.lost[slot(day)])
		}
	}
	return float64(n) * price
}

func slot(day int64) int64 { return ((day % lostDays) + lostDays) % lostDays }

// Add takes the next result of the test. A skipped test, and a run in which
// the machine failed, say nothing of it but that it is still there.
func (t *Test) Add(r Result) {
	if t.runs == 0 && t.first.IsZero() {
		t.first = r.Time
	}
	run, err := strconv.ParseUint(r.Run, 10, 48)
	if err != nil {
		run = t.lastRun // of another system, which names its runs otherwise
	}
	t.lastRun = max(t.lastRun, run)
	key, from := r.Inputs, r.source()
	if key == 0 {
		key, from = from, 0
	}
	t.pass(r.Time, hash(r.Commit))
	switch {
	case r.Outcome == Skipped:
		t.skips++
		return
	case r.Storm || r.Outcome < Skipped || r.Outcome > Errored:
		return
	}
	t.skips = 0
	t.runs++
	t.time(r)
	if r.Base {
		if r.Outcome.Bad() {
			t.baseBad, t.baseGood = t.baseBad+1, 0
		} else {
			t.baseBad, t.baseGood = 0, t.baseGood+1
		}
	}
	if r.Outcome == Passed {
		t.passed(key, from, run, r.Time)
		return
	}
	t.failures++
	t.failed = r.Time
	t.fails(key, from, run, r)
}

// source is the commit and the job that a result is of, and what its run was given.
// Another job may run the same test in another way, and fail for that.
func (r *Result) source() uint64 {
	if r.Job == "" && r.Given == "" || r.Commit == "" {
		return hash(r.Commit)
	}
	return hash(r.Job + "\x00" + r.Commit + "\x00" + r.Given)
}

// pass lets time go by.
func (t *Test) pass(now time.Time, commit uint64) {
	days, commits := now.Sub(t.last).Hours()/24, 0.0
	if commit != t.commit {
		commits = 1
	}
	if !t.last.IsZero() && days > 0 {
		t.age += min(days/halfDays, commits/halfCommits)
	}
	t.commit = commit
	if t.last.IsZero() || now.After(t.last) {
		t.last = now
	}
	if t.age > 500 { // far from where 2^age ends
		for i := range t.course {
			t.course[i].good = math.Ldexp(t.course[i].good, -500)
			t.course[i].chance = math.Ldexp(t.course[i].chance, -500)
		}
		t.age -= 500
	}
	day := now.Unix() / 86400
	if t.lostDay == 0 || day-t.lostDay > lostDays {
		t.lost, t.lostDay = [lostDays]uint16{}, day
	}
	for t.lostDay < day {
		t.lostDay++
		t.lost[slot(t.lostDay)] = 0
	}
}

func (t *Test) time(r Result) {
	if s := r.Seconds; s > 0 && !math.IsInf(s, 0) && r.Outcome != Errored {
		if t.seconds == 0 {
			t.seconds = s
		}
		t.seconds += haste * (s - t.seconds)
	}
}

// passed takes a pass, and with it what it says of failures before it.
func (t *Test) passed(key, from, run uint64, at time.Time) {
	t.grow(false, run, at)
	s := &t.course[len(t.course)-1]
	s.good += math.Exp2(t.age)
	c := t.content(key, from)
	c.passed = run
	if c.open > 0 {
		t.flake(key, Evidence{Kind: Contradiction, Run: c.failed, Other: run, Time: at}, c.open)
		c.open = 0
	}
	for i := range t.seen {
		if o := &t.seen[i]; o.open > 0 && from != 0 && o.commit == from {
			t.flake(o.key, Evidence{Kind: SameCommit, Run: o.failed, Other: run, Time: at}, o.open)
			o.open = 0
		}
	}
	t.clean++
	if key != t.guilty {
		t.cleanElse++
	}
}

// fails takes a failure, and says whether it is known to be chance.
func (t *Test) fails(key, from, run uint64, r Result) {
	t.grow(true, run, r.Time)
	c := t.content(key, from)
	passed, other := c.passed, uint64(0)
	for _, o := range t.seen {
		if from != 0 && o.commit == from && o.passed != 0 {
			other = o.passed
		}
	}
	c.failed = run
	switch {
	case r.Outcome == Flaked:
		c.passed = run
		t.flake(key, Evidence{Kind: Retry, Run: run, Time: r.Time}, 1)
	case passed != 0:
		t.flake(key, Evidence{Kind: Contradiction, Run: run, Other: passed, Time: r.Time}, 1)
	case r.Unreachable && t.baseBad == 0:
		t.flake(key, Evidence{Kind: Unreachable, Run: run, Time: r.Time}, 1)
	case other != 0:
		t.flake(key, Evidence{Kind: SameCommit, Run: run, Other: other, Time: r.Time}, 1)
	default:
		c.open++
	}
}

// flake turns n failures on a content, of which the run of the evidence was
// the last, into failures by chance. They are looked for in the course,
// backwards; what is older than the course falls to its oldest stretch.
func (t *Test) flake(key uint64, e Evidence, n uint32) {
	t.flakes += int64(n)
	t.flaked = e.Time
	t.guilty, t.clean, t.cleanElse = key, 0, 0
	t.lost[slot(t.lostDay)] += uint16(min(n, math.MaxUint16-uint32(t.lost[slot(t.lostDay)])))
	if len(t.evidence) == maxEvidence {
		copy(t.evidence, t.evidence[1:])
		t.evidence = t.evidence[:maxEvidence-1]
	}
	t.evidence = append(t.evidence, e)
	for i := len(t.course) - 1; i >= 0 && n > 0; i-- {
		if s := &t.course[i]; s.run <= e.Run || i == 0 {
			some := min(n, s.bad-s.flakes)
			s.flakes += some
			s.chance += float64(some) * e.Kind.weight() * math.Exp2(t.age)
			n -= some
		}
	}
}

// grow makes room for a result at the end of the course.
func (t *Test) grow(bad bool, run uint64, at time.Time) {
	n := len(t.course)
	if n == 0 || (t.course[n-1].bad > 0) != bad {
		if n == maxStretches {
			a, b := &t.course[0], t.course[1]
			a.results, a.bad, a.flakes = a.results+b.results, a.bad+b.bad, a.flakes+b.flakes
			a.good, a.chance = a.good+b.good, a.chance+b.chance
			t.switches++
			copy(t.course[1:], t.course[2:])
			t.course = t.course[:n-1]
		}
		t.course = append(t.course, stretch{run: run, from: at.Unix()})
	}
	s := &t.course[len(t.course)-1]
	if s.results < math.MaxUint32/2 {
		s.results++
		if bad {
			s.bad++
		}
	}
}

// content finds what is known of a content, of which there is a result of a commit, and
// makes it the newest.
func (t *Test) content(key, commit uint64) *content {
	n := len(t.seen)
	for i := n - 1; i >= 0; i-- {
		if t.seen[i].key == key {
			if i < n-1 {
				c := t.seen[i]
				copy(t.seen[i:], t.seen[i+1:])
				t.seen[n-1] = c
			}
			t.seen[n-1].commit = commit
			return &t.seen[n-1]
		}
	}
	if n == maxSeen {
		copy(t.seen, t.seen[1:])
		t.seen = t.seen[:n-1]
	}
	t.seen = append(t.seen, content{key: key, commit: commit})
	return &t.seen[len(t.seen)-1]
}

// hash is FNV-1a, and never 0 but for "".
func hash(s string) uint64 {
	if s == "" {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return max(h, 1)
}
