package insight

import (
	"math"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// fold makes one result of each test from cases and attempts.
type fold struct {
	tests  map[suite.ID]*folded
	order  []suite.ID
	common suite.ID
	report int
	lost   int
	cached map[string]bool // suites of the report whose tests were not run
	size   suite.Size      // of all its tests: one process is told from another, not their threads
}

// folded is a test of a step.
type folded struct {
	outcome suite.Outcome
	cases   map[string]failedCase // by parameters: those that failed at some attempt
	report  int                   // that sum is of
	sum     float64
	seconds float64
	title   string
	file    string
	line    int
	owner   string
	fault   uint64
	silent  bool     // it failed without a word
	path    []string // of one that failed: suite, groups, name
}

// failedCase is a case that failed.
type failedCase struct {
	outcome suite.Outcome
	attempt int
}

// begin begins a report. Two reports of one step may tell of the same tests.
func (f *fold) begin(n int, common suite.ID, cached []string) {
	f.report, f.common, f.cached = n, common, map[string]bool{}
	for _, suite := range cached {
		f.cached[suite] = true
	}
}

func (f *fold) add(r record.TestResult) error {
	if f.cached[r.Suite] && outcomes(r.Status) == suite.Passed {
		return nil // nothing was seen of it
	}
	id := f.common
	id.Key = r.Key()
	t := f.tests[id]
	if t == nil {
		if len(f.tests) == maxLearned {
			f.lost++
			return nil
		}
		t = &folded{report: f.report, title: r.Title(), file: r.File, line: r.Line, owner: r.Owner}
		f.tests[id] = t
		f.order = append(f.order, id)
	}
	if t.report != f.report {
		t.seconds, t.sum, t.report = max(t.seconds, t.sum), 0, f.report
	}
	if r.Attempt <= 1 && r.Seconds > 0 && !math.IsInf(r.Seconds, 0) {
		t.sum += r.Seconds
	}
	t.take(&r)
	t.seconds = max(t.seconds, t.sum)
	return nil
}

// take takes an attempt at a case.
func (t *folded) take(r *record.TestResult) {
	outcome := outcomes(r.Status)
	was, failed := t.cases[r.Params]
	switch {
	case outcome.Bad():
		if t.cases == nil {
			t.cases = map[string]failedCase{}
		}
		const most = 10_000
		if failed || len(t.cases) < most {
			t.cases[r.Params] = failedCase{max(outcome, was.outcome), max(r.Attempt, was.attempt)}
		}
		if t.fault == 0 {
			t.fault = fault.Fingerprint(r.Type, r.Message, r.Stack, nil)
			t.silent = strings.TrimSpace(r.Message+r.Stack) == ""
			t.path = append(append([]string{r.Suite}, r.Groups...), r.Name)
		}
		t.outcome = max(t.outcome, outcome)
	case failed && outcome == suite.Passed && r.Attempt > was.attempt:
		t.cases[r.Params] = failedCase{suite.Flaked, r.Attempt}
		t.outcome = suite.Flaked
		for _, c := range t.cases {
			t.outcome = max(t.outcome, c.outcome)
		}
	default:
		t.outcome = max(t.outcome, outcome)
	}
}

// bad reports whether a test has failed.
func (f *fold) bad() bool {
	for _, t := range f.tests {
		if t.outcome.Bad() {
			return true
		}
	}
	return false
}

// outcomes is the outcome of an attempt that ended so.
func outcomes(status string) suite.Outcome {
	switch status {
	case record.TestPassed, record.TestXFail, record.TestXPass:
		return suite.Passed
	case record.TestSkipped:
		return suite.Skipped
	case record.TestFailed:
		return suite.Failed
	}
	return suite.Errored
}

// forgiveParents leaves out tests that failed without a word of their own because
// tests in them did: that is no further failure.
func (f *fold) forgiveParents() {
	within := map[string]bool{}
	for _, t := range f.tests {
		if t.outcome.Bad() || t.outcome == suite.Flaked {
			for n := 1; n < len(t.path); n++ {
				within[strings.Join(t.path[:n], "\x00")] = true
			}
		}
	}
	for _, t := range f.tests {
		if t.silent && within[strings.Join(t.path, "\x00")] {
			t.outcome = 0
		}
	}
}
