package insight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// histories answers about what a school has learned.
func (s *school) histories() *Histories {
	return &Histories{Ledger: s.store, Record: s.store, Blobs: s.blobs}
}

// TestAnswers asks for what was learned from real reports.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	flaky := func(status string) record.TestResult {
		r := testResult("flaky", status)
		r.Owner = "@team"
		return r
	}
	for n := range 30 {
		status := record.TestPassed
		if n%3 == 2 {
			status = record.TestFailed
		}
		s.run(fmt.Sprint("c", n/3), "", flaky(status), testResult("steady", record.TestPassed), testResult("skipped", record.TestSkipped))
	}
	s.learn()
	h := s.histories()
	list, err := h.List(t.Context(), []string{"o/r"}, TestsAsk{Order: "rate"})
	if err != nil || list.Total != 3 || list.Count.All != 3 || list.Tests[0].Title != "p › flaky" || len(list.Tests[0].Strip) != 30 || list.Tests[0].Strip[0].Run != "30" {
		t.Fatalf("%+v, %v", list, err)
	}
	for name, want := range map[string]int{"flaky": 1, "p › flaky": 1, "a": 2, "nothing": 0, list.Tests[0].Key: 1, "0000000000000000": 0} {
		if found, err := h.Find(t.Context(), "o/r", name, ""); err != nil || len(found) != want {
			t.Errorf("%s: %d tests, want %d (%v)", name, len(found), want, err)
		}
	}
	if found, err := h.Find(t.Context(), "o/r", "flaky", "windows"); err != nil || len(found) != 0 {
		t.Errorf("in another variant: %v, %v", found, err)
	}
	both, err := h.List(t.Context(), []string{"o/r", "o/none"}, TestsAsk{Limit: 1, After: 1, Order: "title"})
	if err != nil || both.Total != 3 || len(both.Each) != 1 || len(both.Tests) != 1 || both.Tests[0].Title != "p › skipped" {
		t.Errorf("of two repositories: %+v, %v", both, err)
	}
	grid, err := h.Grid(t.Context(), "o/r", GridAsk{Branch: "main", Runs: 9})
	if err != nil || len(grid.Runs) != 9 || grid.Runs[0].Run != "30" || len(grid.Tests) != 1 || grid.Tests[0].Bad != 3 || grid.Green != 2 || grid.Runs[0].Bad != 1 {
		t.Errorf("%+v, %v", grid, err)
	}
	if grid, err = h.Grid(t.Context(), "o/r", GridAsk{Green: true}); err != nil || len(grid.Tests) != 3 || grid.Green != 0 {
		t.Errorf("with those that did not fail: %d, %v", len(grid.Tests), err)
	}
	pyramid, err := h.Pyramid(t.Context(), "o/r")
	if err != nil || pyramid.Tests != 3 || len(pyramid.NeverRan) != 1 || len(pyramid.Leaders) != 1 || pyramid.Lost == 0 {
		t.Errorf("%+v, %v", pyramid, err)
	}
	story, err := h.Test(t.Context(), list.Tests[0].ID())
	if err != nil || len(story.History) != 30 || len(story.Faults) != 1 || story.Faults[0].Message != "flaky is wrong" || story.Faults[0].Count != 10 || len(story.Evidence) == 0 || len(story.Changes) == 0 {
		t.Errorf("%+v, %v", story, err)
	}
	if c := story.Cause; c == nil || c.Why == "" || c.Failed == "" {
		t.Errorf("nobody watched: %+v", c)
	}
	// What was kept is gone: the rest is told all the same.
	h.Blobs = nil
	if story, err = h.Test(t.Context(), list.Tests[0].ID()); err != nil || len(story.Faults) != 1 || story.Faults[0].Message != "" {
		t.Errorf("without blobs: %+v, %v", story.Faults, err)
	}
	if _, err := h.Test(t.Context(), suite.ID{Repository: "o/r", Key: "none"}); err == nil {
		t.Error("there is a story of no test")
	}
}

// TestRunsNeeded looks ahead.
func TestRunsNeeded(t *testing.T) {
	t.Parallel()
	prior, policy := suite.Usual(), suite.Policy{}.Complete()
	for name, test := range map[string]struct {
		results, flakes float64
		low, high       int
	}{
		"nothing seen":         {0, 0, 0, 0},
		"never failed":         {500, 0, 0, 0},
		"surely above":         {50, 15, 0, 0},
		"one flake in hundred": {100, 1, 1, maxAhead},
		"one flake in a few":   {12, 1, 1, 200},
	} {
		e := prior.Given(test.results, test.flakes, .3)
		got := runsNeeded(prior, e, policy)
		if got < test.low || got > test.high {
			t.Errorf("%s: %d runs, want %d to %d (%.3f above)", name, got, test.low, test.high, e.Above(policy.Rate))
		}
		if got <= 0 {
			continue
		}
		later := func(n int) float64 {
			p := prior.Given(test.results+float64(n), test.flakes+float64(n)*e.Rate, .3)
			return p.Above(policy.Rate)
		}
		if p := later(got); p < policy.Sure && p >= .05 {
			t.Errorf("%s: after %d runs it is not decided: %.3f", name, got, p)
		}
	}
}

// TestWords puts rates and tests into words.
func TestWords(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{0: "0 %", -1: "0 %", .00001: "less than 0.01 %", .0001: "0.01 %", .00123: "0.12 %", .0065: "0.65 %", .01: "1 %", .031: "3.1 %", .0999: "10 %", .5: "50 %", 1: "100 %"} {
		if got := RateText(x); got != want {
			t.Errorf("%g: %q, want %q", x, got, want)
		}
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	row := func(state record.TestState, change func(*TestRow)) *TestRow {
		r := &TestRow{State: state, Rate: .031, Low: .012, High: .065, Runs: 100, Failures: 3, Flakes: 3}
		if change != nil {
			change(r)
		}
		return r
	}
	for want, r := range map[string]*TestRow{
		"Fails by chance in 3.1 % of runs (1.2 % to 6.5 %); quarantined until 7 December, owner @team/pay": row(record.TestQuarantined, func(r *TestRow) { r.Until, r.Owner = now.AddDate(0, 0, 14), "@team/pay" }),
		"Fails by chance in 3.1 % of runs (1.2 % to 6.5 %); suspected, and its failures count":             row(record.TestSuspected, nil),
		"Broken: it failed 5 times":                                               row(record.TestBroken, func(r *TestRow) { r.Why = "it failed 5 times" }),
		"Has never run: it was skipped whenever it came":                          row(record.TestHealthy, func(r *TestRow) { r.Runs, r.Failures, r.Flakes = 0, 0, 0 }),
		"Healthy: it passed in all of its 100 runs":                               row(record.TestHealthy, func(r *TestRow) { r.Failures, r.Flakes = 0, 0 }),
		"Healthy: it failed in 3 of its 100 runs, and none is known to be chance": row(record.TestHealthy, func(r *TestRow) { r.Flakes = 0 }),
		"Healthy again: fixed":                                                    row(record.TestHealthy, func(r *TestRow) { r.Why = "fixed" }),
	} {
		if got := Sentence(r, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestDays tells failures that counted from those in quarantine.
func TestDays(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	changes := []TestChange{ // the newest first
		{Time: at(2), To: record.TestSuspected}, {Time: at(5), To: record.TestQuarantined, Until: at(-9)}, {Time: at(20), To: record.TestQuarantined, Until: at(10)},
	}
	var results []suite.Result
	for _, d := range []int{1, 3, 8, 15, 25, 40} {
		results = append(results, suite.Result{Time: at(d), Outcome: suite.Failed})
	}
	days := testDays(results, changes, now)
	var got []string
	for _, d := range days {
		if d.All() > 0 {
			got = append(got, fmt.Sprintf("%s:%d+%d", d.Day[5:], d.Failed, d.Muted))
		}
	}
	if want := "03-06:1+0 03-16:0+1 03-23:1+0 03-28:0+1 03-30:1+0"; strings.Join(got, " ") != want || len(days) != storyDays || days[29].Day != "2026-03-31" {
		t.Errorf("%s, want %s", strings.Join(got, " "), want)
	}
}

// TestWards has what people decide in the trail, and nothing of what is refused.
func TestWards(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.run("c", "", testResult("a", record.TestFailed))
	s.learn()
	w := &Wards{Tests: s.tests}
	id, by := s.row("a").ID, Person{Name: "ada", Via: "session", From: "192.0.2.1"}
	if _, err := w.Quarantine(t.Context(), by, id, Quarantining{Why: "issue 12"}); err == nil || !strings.Contains(err.Error(), "owner") {
		t.Errorf("without an owner: %v", err)
	}
	for _, days := range []int{0, 1, 90} {
		j, err := w.Quarantine(t.Context(), by, id, Quarantining{Why: "issue 12", Owner: "@pay", Days: days})
		if err != nil || j.To != record.TestQuarantined || j.Until.Before(time.Now()) {
			t.Errorf("%d days: %+v, %v", days, j, err)
		}
	}
	if _, err := w.Release(t.Context(), by, id, "mended"); err != nil {
		t.Error(err)
	}
	var acts []string
	for e, err := range s.store.After(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := e.Body.(*record.Acted); ok {
			acts = append(acts, a.Verb+" "+a.By+" "+a.Via+" "+a.From+" "+a.Detail["state"])
		}
	}
	quarantined := "tests.quarantine ada session 192.0.2.1 quarantined"
	if want := []string{quarantined, quarantined, quarantined, "tests.quarantine ada session 192.0.2.1 suspected"}; !slices.Equal(acts, want) {
		t.Errorf("the trail holds %q", acts)
	}
}
