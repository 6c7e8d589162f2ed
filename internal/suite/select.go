package suite

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Candidate is a test process that may be left out: a program that runs one or
// more tests, watched as a whole. Package cache knows what such a process read
// when it last ran, and whether that is as it was.
type Candidate struct {
	Name    string   `json:"name"` // the package, file or class that it runs
	Tests   []string `json:"tests,omitempty"`
	Seconds float64  `json:"seconds,omitempty"` // it is expected to take
	// Passed is the run in which it passed with exactly what it would read now:
	// the same files with the same bytes, the same ones missing, the same
	// arguments, variables and programs. "" when there is none.
	Passed string `json:"passed,omitempty"`
	// Why there is none: "testdata/a.sql changed", "never ran", "it used the
	// network".
	Why string `json:"why,omitempty"`
	// Failing says that it failed when it last ran anywhere on this branch.
	Failing bool `json:"failing,omitempty"`
}

// Selection is which test processes have to run for a change.
type Selection struct {
	Run     []Choice `json:"run"`
	Skip    []Choice `json:"skip"`
	Seconds float64  `json:"seconds"` // saved, as far as they are known
	// Full is why everything runs; "" when it does not.
	Full string `json:"full,omitempty"`
}

// Choice is what was decided on a candidate.
type Choice struct {
	Candidate
	Because string `json:"because"`
}

// Select leaves out the processes that can only do what they did before. That
// is no guess about which tests a change concerns: what is left out has passed
// with the same bytes before its eyes. Everything else runs, and what nothing
// is known of above all.
//
// With a reason in full nothing is left out: on the branch that changes go to,
// and once a night, so that what was never seen to be read comes to light.
func Select(candidates []Candidate, full string) Selection {
	s := Selection{Full: full}
	for _, c := range candidates {
		switch {
		case full != "":
			s.Run = append(s.Run, Choice{c, "everything runs: " + full})
		case c.Failing:
			s.Run = append(s.Run, Choice{c, "it failed when it last ran"})
		case c.Passed == "":
			s.Run = append(s.Run, Choice{c, cmp.Or(c.Why, "nothing is known of it")})
		default:
			s.Skip = append(s.Skip, Choice{c, "it passed in run " + c.Passed + ", and nothing that it read has changed"})
			s.Seconds += sane(c.Seconds)
		}
	}
	return s
}

// String sums a selection up.
func (s Selection) String() string {
	if s.Full != "" {
		return fmt.Sprintf("all %d run: %s", len(s.Run), s.Full)
	}
	text := fmt.Sprintf("%d of %d run; %d passed before with the same inputs", len(s.Run), len(s.Run)+len(s.Skip), len(s.Skip))
	if s.Seconds > 0 {
		text += fmt.Sprintf(", which saves %.0f seconds", s.Seconds)
	}
	return text
}

// Processed is what became of a test process in a run of the past in which
// everything ran.
type Processed struct {
	Name    string
	Inputs  string // the digest of all that it read; "" when that is not known for sure
	Outcome Outcome
	Seconds float64
}

// Missed is what selection would have done in past runs, had it been on: the
// proof that it may be switched on, or the reason not to.
type Missed struct {
	Runs      int     `json:"runs"`
	Failing   int     `json:"failing"` // runs with a failure
	Processes int     `json:"processes"`
	Skipped   int     `json:"skipped"`
	Seconds   float64 `json:"seconds"` // that all took
	Saved     float64 `json:"saved"`   // of these, by the skipped ones
	// Overlooked are failures of processes that would have been skipped. As
	// each had passed with the same inputs, they came by chance, or of
	// something that is not seen to be read, like the time of day.
	Overlooked []Overlooked `json:"overlooked,omitempty"`
	// Green counts failing runs that would have passed.
	Green int `json:"green"`
}

// Overlooked is a failure that selection would not have seen.
type Overlooked struct {
	Run     int    `json:"run"`    // its index among the runs
	Name    string `json:"name"`   // of the process
	Passed  int    `json:"passed"` // the run that had passed with the same inputs
	Failure bool   `json:"only"`   // no process that would have run failed beside it
}

// Observe goes through runs, oldest first, each with what was known before it.
// A process that would have been skipped still counts as having run, for in
// truth it did.
func Observe(runs [][]Processed) Missed {
	var m Missed
	type sight struct{ name, inputs string }
	passed := map[sight]int{}
	for i, run := range runs {
		m.Runs++
		var seen, unseen int
		first := len(m.Overlooked)
		for _, p := range run {
			if p.Outcome <= Skipped {
				continue
			}
			m.Processes++
			m.Seconds += sane(p.Seconds)
			before, known := passed[sight{p.Name, p.Inputs}]
			skipped := known && p.Inputs != ""
			if skipped {
				m.Skipped++
				m.Saved += sane(p.Seconds)
			}
			switch {
			case p.Outcome.Bad() && skipped:
				unseen++
				m.Overlooked = append(m.Overlooked, Overlooked{Run: i, Name: p.Name, Passed: before})
			case p.Outcome.Bad():
				seen++
			}
		}
		if seen+unseen > 0 {
			m.Failing++
		}
		if seen == 0 && unseen > 0 {
			m.Green++
			for j := first; j < len(m.Overlooked); j++ {
				m.Overlooked[j].Failure = true
			}
		}
		for _, p := range run {
			key := sight{p.Name, p.Inputs}
			switch {
			case p.Inputs == "":
			case p.Outcome == Passed:
				passed[key] = i
			case p.Outcome.Bad() || p.Outcome == Flaked:
				// It cannot be relied on any more until it passes again.
				delete(passed, key)
			}
		}
	}
	return m
}

// String sums up what was observed.
func (m Missed) String() string {
	share := 0.
	if m.Seconds > 0 {
		share = m.Saved / m.Seconds
	}
	return fmt.Sprintf("in %d runs, selection would have left out %d of %d test processes and saved %s of their time; of %d failing runs it would have called %d green",
		m.Runs, m.Skipped, m.Processes, percent(share), m.Failing, m.Green)
}

// Caught is a point of the confidence curve: how many of the runs that failed
// would have been found out within a share of the tests' time.
type Caught struct {
	Share   float64 `json:"share"`   // of a run's test time, 0 to 1
	Seconds float64 `json:"seconds"` // that this is in a usual run
	Runs    float64 `json:"runs"`    // share of failing runs that had shown a failure by then
	// Low and High are the ends of the interval in which Runs is with 90 %.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Curve replays past runs, oldest first, in the order that an [Order] would have
// given their tests, and says how much is caught when only the first so much of
// a run's time is spent. Runs that teach the order but do not count are those
// before the first counted. The points are at every twentieth of the time. It
// is empty without a failing run.
func Curve(runs [][]Ran, counted int) []Caught {
	var o Order
	var shares, totals []float64 // of failing runs: when the first failure was known
	for i, run := range runs {
		if i >= counted {
			if share, total, failed := firstFailure(&o, run); failed {
				shares = append(shares, share)
				totals = append(totals, total)
			}
		}
		o.Learn(run)
	}
	if len(shares) == 0 {
		return nil
	}
	slices.Sort(shares)
	slices.Sort(totals)
	usual := totals[len(totals)/2]
	n := float64(len(shares))
	points := make([]Caught, 0, 21)
	for i := range 21 {
		share := float64(i) / 20
		k, _ := slices.BinarySearch(shares, math.Nextafter(share, 2))
		caught := float64(k)
		low, high := shareInterval(caught, n)
		points = append(points, Caught{Share: share, Seconds: share * usual, Runs: caught / n, Low: low, High: high})
	}
	return points
}

// firstFailure is the share of a run's time after which its first failure is
// known, if it is run in the order's order.
func firstFailure(o *Order, run []Ran) (share, total float64, failed bool) {
	tests := make([]string, 0, len(run))
	ran := make(map[string]Ran, len(run))
	for _, r := range run {
		if r.Outcome > Skipped {
			tests = append(tests, r.Test)
			ran[r.Test] = r
			failed = failed || r.Outcome.Bad()
		}
	}
	if !failed {
		return 0, 0, false
	}
	for _, r := range ran {
		total += sane(r.Seconds)
	}
	var spent float64
	ranking := o.Rank(tests)
	for turn, ok := ranking.Next(); ok; turn, ok = ranking.Next() {
		r := ran[turn.Test]
		spent += sane(r.Seconds)
		if r.Outcome.Bad() {
			break
		}
		ranking.Saw(r.Test, r.Outcome)
	}
	if total == 0 {
		return 0, 0, true
	}
	return min(spent/total, 1), total, true
}

// Within is the least share of the time that catches so many of the failing
// runs, by the curve's lower bound when it is to be sure; 1 when all of it is
// needed.
func Within(curve []Caught, target float64, sure bool) float64 {
	for _, p := range curve {
		if caught := p.Runs; !sure && caught >= target || sure && p.Low >= target {
			return p.Share
		}
	}
	return 1
}
