package suite

import (
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	candidates := []Candidate{
		{Name: "./a", Seconds: 10, Passed: "812"},
		{Name: "./b", Seconds: 5, Why: "testdata/b.sql changed"},
		{Name: "./new"},
		{Name: "./red", Seconds: 3, Passed: "812", Failing: true},
	}
	show := func(s Selection) string {
		var lines []string
		for _, c := range s.Run {
			lines = append(lines, "run "+c.Name+": "+c.Because)
		}
		for _, c := range s.Skip {
			lines = append(lines, "skip "+c.Name+": "+c.Because)
		}
		return strings.Join(append(lines, s.String()), "\n")
	}
	const want = `run ./b: testdata/b.sql changed
run ./new: nothing is known of it
run ./red: it failed when it last ran
skip ./a: it passed in run 812, and nothing that it read has changed
3 of 4 run; 1 passed before with the same inputs, which saves 10 seconds`
	if got := show(Select(candidates, "")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	s := Select(candidates, "the nightly run")
	if len(s.Run) != 4 || len(s.Skip) != 0 || s.String() != "all 4 run: the nightly run" {
		t.Errorf("%s", show(s))
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	p := func(name, inputs string, o Outcome) Processed { return Processed{name, inputs, o, 10} }
	m := Observe([][]Processed{
		{p("a", "1", Passed), p("b", "1", Passed), p("net", "", Passed)},
		{p("a", "1", Passed), p("b", "2", Failed), p("net", "", Passed)}, // b's inputs changed: seen
		{p("a", "1", Failed), p("b", "1", Passed), p("net", "", Passed)}, // a fails by chance: not seen
		{p("a", "1", Passed), p("b", "1", Skipped)},                      // a has failed and runs
		{p("a", "1", Errored), p("b", "3", Errored)},                     // one seen, one not
	})
	want := Missed{Runs: 5, Failing: 3, Processes: 12, Skipped: 4, Seconds: 120, Saved: 40, Green: 1}
	got := m
	got.Overlooked = nil
	if got.String() != want.String() || got.Green != want.Green || len(m.Overlooked) != 2 {
		t.Errorf("%+v\n%s, want\n%s", m, got, want)
	}
	if o := (Overlooked{Run: 2, Name: "a", Passed: 1, Failure: true}); m.Overlooked[0] != o {
		t.Errorf("%+v, want %+v", m.Overlooked[0], o)
	}
	if o := (Overlooked{Run: 4, Name: "a", Passed: 3}); m.Overlooked[1] != o {
		t.Errorf("%+v, want %+v", m.Overlooked[1], o)
	}
	if empty := Observe(nil); empty.Runs != 0 || !strings.HasPrefix(empty.String(), "in 0 runs") {
		t.Errorf("%s", empty)
	}
}

func TestCurve(t *testing.T) {
	t.Parallel()
	// c fails every third time; the others never do.
	var runs [][]Ran
	for i := range 60 {
		run := []Ran{{"a", Passed, 1}, {"b", Passed, 1}, {"c", Passed, 2}, {"d", Skipped, 0}}
		if i%3 == 0 {
			run[2].Outcome = Failed
		}
		runs = append(runs, run)
	}
	curve := Curve(runs, 10)
	if len(curve) != 21 || curve[0].Runs != 0 || curve[20].Runs != 1 {
		t.Fatalf("%+v", curve)
	}
	for i, p := range curve {
		if p.Low > p.Runs || p.High < p.Runs || i > 0 && p.Runs < curve[i-1].Runs || p.Seconds != p.Share*4 {
			t.Errorf("%+v", p)
		}
	}
	if got := Within(curve, .9, false); got != .5 {
		t.Errorf("half of the time is enough, not %g", got)
	}
	if got := Within(curve, .99, true); got != 1 {
		t.Errorf("17 runs are not enough to be sure of 99 %%, and %g of the time neither", got)
	}
	if Curve(runs[1:3], 0) != nil || Curve(nil, 0) != nil {
		t.Error("a curve without a failing run")
	}
}

// TestBenchCurve prints how much of the time finds how many failing runs, on
// real histories; a run in which tests come at random finds them in about as
// much time as it says.
func TestBenchCurve(t *testing.T) {
	t.Parallel()
	for _, set := range []struct {
		name, file string
		floor      float64 // caught in a fifth of the time
	}{
		{"druid", druid, .97}, {"retrofit", retrofit, .35}, {"dune", dune, .98}, {"dl4j", dl4j, .83}, {"iofrol", iofrol, .45},
	} {
		var runs [][]Ran
		for _, b := range loadHistory(t, set.file) {
			runs = append(runs, b.learned())
		}
		curve := Curve(runs, len(runs)/10)
		p := curve[4]
		t.Logf("%-9s %.3f of failing runs (%.3f to %.3f) in a fifth of the time, %.3f in half; 95 %% of them in %.2f of it",
			set.name, p.Runs, p.Low, p.High, curve[10].Runs, Within(curve, .95, false))
		if p.Runs < set.floor {
			t.Errorf("%s: %.3f, it was %.3f", set.name, p.Runs, set.floor)
		}
	}
}
