package suite

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// chances are the rates at which FlakeFlagger's flaky tests failed in 10,000
// runs, those from lowest to .95.
func chances(t testing.TB, lowest float64) (rates []float64) {
	t.Helper()
	r := csv.NewReader(openHistory(t, "flakeflagger_test_results.csv.gz"))
	r.ReuseRecord = true
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	for {
		row, err := r.Read()
		if err == io.EOF {
			return rates
		}
		if err != nil {
			t.Fatal(err)
		}
		failed, err1 := strconv.ParseFloat(row[3], 64)
		passed, err2 := strconv.ParseFloat(row[4], 64)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if rate := failed / (failed + passed); row[2] == "1" && rate >= lowest && rate <= .95 {
			rates = append(rates, rate)
		}
	}
}

// riddle is a test that fails at a version for reasons to be found out.
type riddle struct {
	rate     float64 // of chance failures
	versions []string
	culprit  int // the index of the version; len(versions) for none
	chance   *rand.Rand
	runs     int
}

// newRiddle makes one: 2 to 256 changes, in six of ten cases one that broke the
// test.
func newRiddle(chance *rand.Rand, rates []float64) *riddle {
	r := &riddle{rate: rates[chance.IntN(len(rates))], chance: chance}
	for i := range 1 << (1 + chance.IntN(8)) {
		r.versions = append(r.versions, strconv.Itoa(i))
	}
	r.culprit = len(r.versions)
	if chance.Float64() < .6 {
		r.culprit = chance.IntN(len(r.versions))
	}
	return r
}

func (r *riddle) fails(version int) bool {
	r.runs++
	return version >= r.culprit || r.chance.Float64() < r.rate
}

// past is what is known of the chance failures: a test with n runs.
func (r *riddle) past(n int) (failures float64) {
	for range n {
		if r.chance.Float64() < r.rate {
			failures++
		}
	}
	return failures
}

// hunt solves a riddle with so many machines and reports in how many rounds, and
// whether it was right.
func (r *riddle) hunt(h *Hunt, machines int) (rounds int, right, sure bool) {
	h.Good, h.Versions = "-1", r.versions
	for next := h.Next(machines); len(next) > 0; next = h.Next(machines) {
		rounds++
		for _, version := range next {
			v, _ := strconv.Atoi(version)
			h.Saw(version, r.fails(v))
		}
	}
	v := h.Verdict()
	if r.culprit == len(r.versions) {
		return rounds, len(v.Culprits) == 0, v.Sure
	}
	return rounds, len(v.Culprits) == 1 && v.Culprits[0] == r.versions[r.culprit], v.Sure
}

// bisect is what is usually done: see k times whether the newest version fails
// always, then halve, taking a version for broken when it fails k times.
func (r *riddle) bisect(k int) bool {
	broken := func(version int) bool {
		for range k {
			if !r.fails(version) {
				return false
			}
		}
		return true
	}
	good, bad := -1, len(r.versions)-1
	if !broken(bad) {
		return r.culprit == len(r.versions)
	}
	for bad-good > 1 {
		if m := (good + bad) / 2; broken(m) {
			bad = m
		} else {
			good = m
		}
	}
	return bad == r.culprit
}

// facf is the published search: one rate, taken for true, and always the
// version at which half of the suspicion lies.
func (r *riddle) facf(rate float64) bool {
	n := len(r.versions)
	weight := make([]float64, n+1)
	for c := range n {
		weight[c] = .6 / float64(n)
	}
	weight[n] = .4
	for range maxTrials {
		half, sum, best := 0, 0., math.Inf(1)
		for v := range n {
			sum += weight[v]
			if off := math.Abs(sum - .5); off < best {
				half, best = v, off
			}
		}
		failed := r.fails(half)
		sum = 0
		for c := range weight {
			switch {
			case c <= half && !failed:
				weight[c] = 0
			case c > half && failed:
				weight[c] *= rate
			case c > half:
				weight[c] *= 1 - rate
			}
			sum += weight[c]
		}
		for c := range weight {
			if weight[c] /= sum; weight[c] >= .999 {
				return c == r.culprit
			}
		}
	}
	return false
}

// TestBenchCulprit measures the hunt on chance failures as real tests have
// them. Which of FlakeFlagger's rates the published numbers are of is not said;
// by what bisection gets, they lie between the two sets here. Beside the hunt
// stands the published search on the same riddles.
func TestBenchCulprit(t *testing.T) {
	t.Parallel()
	for _, set := range []struct{ lowest, runs, readRuns float64 }{{.01, 11.6, 9.6}, {.02, 13.6, 11}} {
		rates := chances(t, set.lowest)
		type solver func(r *riddle) (rounds int, right, sure bool)
		measure := func(n int, solve solver) (right, wrong, runs, rounds float64) {
			chance := rand.New(rand.NewPCG(2, 11))
			for range n {
				r := newRiddle(chance, rates)
				turns, is, sure := solve(r)
				switch {
				case is && sure:
					right++
				case sure:
					wrong++
				}
				runs += float64(r.runs)
				rounds += float64(turns)
			}
			return right / float64(n), wrong / float64(n), runs / float64(n), rounds / float64(n)
		}
		t.Logf("%d rates from %g:", len(rates), set.lowest)
		for _, c := range []struct {
			k         int
			published string
		}{{1, ".657 at 4.1"}, {3, ".875 at 8.5"}, {5, ".956 at 12.5"}, {8, ".995 at 18.0"}} {
			right, _, runs, _ := measure(2000, func(r *riddle) (int, bool, bool) { return 0, r.bisect(c.k), true })
			t.Logf("  bisect, %d runs each:        right %.4f at %5.2f runs (published %s)", c.k, right, runs, c.published)
		}
		for _, c := range []struct {
			what string
			rate func(r *riddle) float64
		}{
			{"rate from 200 runs: ", func(r *riddle) float64 { return max(r.past(200)/200, .01) }},
			{"rate ÷ 10:          ", func(r *riddle) float64 { return max(r.rate/10, .001) }},
		} {
			right, _, runs, _ := measure(1500, func(r *riddle) (int, bool, bool) { return 0, r.facf(c.rate(r)), true })
			t.Logf("  FACF, %s  right %.4f at %5.2f runs (published .999 at 11.6, fixed rate .798)", c.what, right, runs)
		}
		for _, c := range []struct {
			what        string
			machines, n int
			prepare     func(r *riddle) *Hunt
			right, most float64 // floor, runs
		}{
			{"rate from 200 runs", 1, 2500, func(r *riddle) *Hunt { return &Hunt{Failures: r.past(200), Runs: 200} }, .999, set.runs},
			{"and 1 of 5 changes read", 1, 2500, func(r *riddle) *Hunt {
				var changed [][]string
				for i := range r.versions {
					file := "other"
					if i == r.culprit || r.chance.IntN(5) == 0 {
						file = "read"
					}
					changed = append(changed, []string{file})
				}
				return &Hunt{Failures: r.past(200), Runs: 200, Suspicion: Suspect(changed, func(file string) bool { return file == "read" })}
			}, .999, set.readRuns},
			{"rate from 20 runs", 1, 300, func(r *riddle) *Hunt { return &Hunt{Failures: r.past(20), Runs: 20} }, .98, 25},
			{"no past", 1, 300, func(*riddle) *Hunt { return new(Hunt) }, .99, 35},
			{"rate ÷ 10", 1, 300, func(r *riddle) *Hunt { return &Hunt{Failures: 20 * r.rate, Runs: 200} }, .85, 20},
			{"4 machines", 4, 150, func(r *riddle) *Hunt { return &Hunt{Failures: r.past(200), Runs: 200} }, .99, 25},
		} {
			right, wrong, runs, rounds := measure(c.n, func(r *riddle) (int, bool, bool) { return r.hunt(c.prepare(r), c.machines) })
			t.Logf("  hunt, %-24s right %.4f at %5.2f runs in %.1f rounds, wrong %.4f", c.what+":", right, runs, rounds, wrong)
			if right < c.right || runs > c.most {
				t.Errorf("%s: right %.4f at %.2f runs, it was %.3f at %.1f", c.what, right, runs, c.right, c.most)
			}
		}
	}
}

// ask runs a hunt on a test that fails from one version on, and there only.
func ask(h *Hunt, broken string) Verdict {
	for next := h.Next(1); len(next) > 0; next = h.Next(1) {
		at, of := slices.Index(h.Versions, next[0]), slices.Index(h.Versions, broken)
		h.Saw(next[0], at >= of)
	}
	return h.Verdict()
}

func TestHunt(t *testing.T) {
	t.Parallel()
	versions := strings.Fields("a b c d e f g h")
	for _, c := range []struct {
		name, broken string
		hunt         Hunt
		culprits     string
		most         int // runs
		why          string
	}{
		{"a test that never fails by chance", "f", Hunt{Good: "0", Versions: versions, Runs: 500}, "f", 6,
			"f broke it: before it 2 of 2 runs passed, from it on 3 of 3 failed; 99.9"},
		{"the first change", "a", Hunt{Good: "0", Versions: versions, Runs: 500}, "a", 8, "a broke it: before it 1 of 1"},
		{"the last change", "h", Hunt{Good: "0", Versions: versions, Runs: 500}, "h", 9, "h broke it"},
		{"the reads point at it", "f", Hunt{Good: "0", Versions: versions, Runs: 500, Suspicion: []float64{unread, unread, unread, unread, unread, 1, unread, unread}}, "f", 5, "f broke it"},
		{"versions that cannot be run", "e", Hunt{Good: "0", Versions: versions, Runs: 500, Unbuilt: []string{"d", "e"}}, "d e f", 6, "one of d to f broke it, not all of which can be run"},
		{"only one change", "a", Hunt{Good: "0", Versions: []string{"a"}, Runs: 500}, "a", 5, "a broke it"},
		{"nothing can be run", "a", Hunt{Versions: []string{"a", "b"}, Unbuilt: []string{"a", "b"}}, "a b", 0, "more runs would not tell"},
	} {
		v := ask(&c.hunt, c.broken)
		if got := strings.Join(v.Culprits, " "); got != c.culprits || v.Trials > c.most || !v.Over || !strings.Contains(v.Why, c.why) {
			t.Errorf("%s: %s after %d runs: %s", c.name, got, v.Trials, v.Why)
		}
	}
}

// A test that only fails by chance has no culprit, and the hunt says how often
// it does.
func TestHuntNone(t *testing.T) {
	t.Parallel()
	h := Hunt{Good: "0", Versions: strings.Fields("a b c d"), Failures: 60, Runs: 200}
	for i := 0; len(h.Next(1)) > 0; i++ {
		h.Saw(h.Next(1)[0], i%3 == 0)
	}
	v := h.Verdict()
	if !v.Sure || len(v.Culprits) > 0 || !strings.HasPrefix(v.Why, "no change broke it: it passed in") || v.Rate < .2 || v.Rate > .4 {
		t.Errorf("%+v", v)
	}
}

// A hunt that was put aside goes on where it was.
func TestHuntKept(t *testing.T) {
	t.Parallel()
	h := &Hunt{Good: "0", Versions: strings.Fields("a b c d e f"), Runs: 100}
	for len(h.Next(2)) > 0 {
		for _, v := range h.Next(2) {
			h.Saw(v, v >= "c")
		}
		kept, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Hunt)
		if err := json.Unmarshal(kept, again); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(again.Next(2), again.Verdict()) != fmt.Sprint(h.Next(2), h.Verdict()) {
			t.Fatalf("%+v is not %+v", again.Verdict(), h.Verdict())
		}
		h = again
	}
	if v := h.Verdict(); fmt.Sprint(v.Culprits) != "[c]" {
		t.Errorf("%+v", v)
	}
}

// Whatever numbers a hunt is given, it comes to an end and never panics.
func TestHuntOddNumbers(t *testing.T) {
	t.Parallel()
	odd := []float64{math.NaN(), math.Inf(1), -1, 0, 1, 1e300}
	for i, x := range odd {
		for _, y := range odd {
			h := Hunt{Versions: []string{"a", "b", "a", ""}, Chance: x, Failures: y, Runs: x, Confidence: y, Suspicion: []float64{x, y}}
			h.Saw("unknown", true)
			h.CannotRun("b")
			for n := 0; ; n++ {
				next := h.Next(1 + i)
				if len(next) == 0 {
					break
				}
				for _, v := range next {
					h.Saw(v, n%2 == 0)
				}
				if n > 2*maxTrials {
					t.Fatalf("%v %v: no end", x, y)
				}
			}
			if v := h.Verdict(); !(v.Probability >= 0 && v.Probability <= 1.000001) {
				t.Errorf("%v %v: %+v", x, y, v)
			}
		}
	}
	var empty Hunt
	if v := empty.Verdict(); !v.Over || empty.Next(3) != nil {
		t.Errorf("nothing to hunt: %+v", v)
	}
}
