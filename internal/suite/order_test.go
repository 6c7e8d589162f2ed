package suite

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// found is the cost-weighted share of failures found (APFDc): 1 when all of
// them came at once, ½ when they came at random.
func found(order []ran) float64 {
	var total, failures, sum float64
	for _, r := range order {
		total += r.seconds
		if r.failed {
			failures++
		}
	}
	left := total
	for _, r := range order {
		if r.failed {
			sum += left - r.seconds/2
		}
		left -= r.seconds
	}
	return sum / (total * failures)
}

// learned is a build as an Order learns it.
func (b build) learned() []Ran {
	run := make([]Ran, len(b))
	for i, r := range b {
		run[i] = Ran{Test: r.test, Outcome: r.outcome(), Seconds: r.seconds}
	}
	return run
}

func (r ran) outcome() Outcome {
	if r.failed {
		return Failed
	}
	return Passed
}

// asRanked are the tests of a build in the order in which a ranking gives them,
// when it is told how each of them ended.
func (b build) asRanked(o *Order) []ran {
	names := make([]string, len(b))
	at := make(map[string]ran, len(b))
	for i, r := range b {
		names[i], at[r.test] = r.test, r
	}
	ranking := o.Rank(names)
	order := make([]ran, 0, len(b))
	for turn, ok := ranking.Next(); ok; turn, ok = ranking.Next() {
		r := at[turn.Test]
		order = append(order, r)
		ranking.Saw(r.test, r.outcome())
	}
	return order
}

func (b build) failures() (n int) {
	for _, r := range b {
		if r.failed {
			n++
		}
	}
	return n
}

// TestBenchOrder measures the order on real histories, each build with what
// was known before it, and beside it what is simplest. Builds of fewer than six
// tests have nothing to order. The best is that of somebody who knows the
// outcome.
func TestBenchOrder(t *testing.T) {
	t.Parallel()
	t.Logf("%-10s %8s %8s %8s %8s %8s %8s %8s", "", "builds", "random", "shortest", "lately", "baseline", "order", "best")
	for _, set := range []struct {
		name, file      string
		baseline, floor float64
	}{
		{"druid", druid, .9843, .9855},
		{"retrofit", retrofit, .7746, .7830},
		{"dune", dune, .9688, .9715},
		{"dl4j", dl4j, .8755, .8780},
		{"iofrol", iofrol, .6621, .6690},
	} {
		var o Order
		var builds, random, shortest, lately, ours, best float64
		chance := rand.New(rand.NewPCG(1, 2))
		for _, b := range loadHistory(t, set.file) {
			if len(b) >= 6 && b.failures() > 0 {
				builds++
				ours += found(b.asRanked(&o))
				tests := slices.Clone(b)
				chance.Shuffle(len(tests), func(i, j int) { tests[i], tests[j] = tests[j], tests[i] })
				random += found(tests)
				sorted := func(key func(ran) float64) float64 {
					slices.SortFunc(tests, func(a, b ran) int { return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.test, b.test)) })
					return found(tests)
				}
				shortest += sorted(func(r ran) float64 {
					if h := o.Tests[r.test]; h != nil {
						return h.Seconds
					}
					return 0
				})
				lately += sorted(func(r ran) float64 {
					if h := o.Tests[r.test]; h != nil && h.LastBad > 0 {
						return float64(h.Runs - h.LastBad)
					}
					return math.Inf(1)
				})
				best += sorted(func(r ran) float64 {
					if r.failed {
						return r.seconds
					}
					return math.Inf(1)
				})
			}
			o.Learn(b.learned())
		}
		t.Logf("%-10s %8.0f %8.4f %8.4f %8.4f %8.4f %8.4f %8.4f", set.name, builds,
			random/builds, shortest/builds, lately/builds, set.baseline, ours/builds, best/builds)
		if ours/builds < set.floor {
			t.Errorf("%s: %.4f, it was %.4f", set.name, ours/builds, set.floor)
		}
	}
}

// TestBenchOrderNames measures how much of the order of a project without a
// past is the names of its tests: they decide where nothing else does.
func TestBenchOrderNames(t *testing.T) {
	t.Parallel()
	history := loadHistory(t, druid)
	for _, names := range []struct {
		what string
		of   func(i int, name string) string
	}{
		{"as they are", func(_ int, name string) string { return name }},
		{"in the order of the file", func(i int, name string) string { return strconv.Itoa(1_000_000+i) + " " + name }},
		{"reversed", func(i int, name string) string { return strconv.Itoa(2_000_000-i) + " " + name }},
	} {
		var o Order
		var builds, ours, first float64
		given := map[string]string{}
		for _, b := range history {
			b = slices.Clone(b)
			for i, r := range b {
				name, ok := given[r.test]
				if !ok {
					name = names.of(len(given), r.test)
					given[r.test] = name
				}
				b[i].test = name
			}
			if b.failures() > 0 {
				v := found(b.asRanked(&o))
				if builds == 0 {
					first = v
				}
				builds++
				ours += v
			}
			o.Learn(b.learned())
		}
		t.Logf("druid, names %-25s %.4f; the first build %.3f, all others %.4f", names.what, ours/builds, first, (ours-first)/(builds-1))
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	// Each line is a run, newest last: a letter for each test, capital when it
	// failed. b takes four times as long as the others.
	seconds := func(test string) float64 {
		if test == "b" {
			return 4
		}
		return 1
	}
	for _, c := range []struct {
		name, runs, rank, want string
	}{
		{"nothing is known", "", "c a b", "a b c"},
		{"failed lately", "abc abC abc", "a b c", "c a b"},
		{"two failed, one takes longer", strings.Repeat("abc ", 20) + "aBC", "a b c", "c b a"},
		{"failed long ago", "abC " + strings.Repeat("abc ", 60) + "Abc", "a b c", "a c b"},
		{"new tests first", strings.Repeat("acd acD acd acd ", 3), "a c d e", "d e a c"},
		{"named twice", "abC", "c a c a", "c a"},
		{"a skip teaches nothing", "aC a- a-", "a c", "c a"},
	} {
		var o Order
		for run := range strings.FieldsSeq(c.runs) {
			var rans []Ran
			for _, r := range run {
				test := strings.ToLower(string(r))
				how := Passed
				if test != string(r) {
					how = Failed
				}
				if r == '-' {
					test, how = "c", Skipped
				}
				rans = append(rans, Ran{test, how, seconds(test)})
			}
			o.Learn(rans)
		}
		var got []string
		for ranking := o.Rank(strings.Fields(c.rank)); ; {
			turn, ok := ranking.Next()
			if !ok {
				break
			}
			got = append(got, turn.Test)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// A test that passes takes suspicion from those that failed with it, and from
// no others.
func TestOrderSaw(t *testing.T) {
	t.Parallel()
	var o Order
	for i := range 6 {
		run := []Ran{{"a", Passed, 1}, {"b", Passed, 2}, {"c", Passed, 3}}
		if i%3 != 2 {
			run[0].Outcome, run[1].Outcome = Failed, Failed
		} else {
			run[2].Outcome = Failed
		}
		o.Learn(run)
	}
	first := func(saw Outcome) string {
		r := o.Rank([]string{"a", "b", "c"})
		turn, _ := r.Next()
		if turn.Test != "a" {
			t.Fatalf("%q came first, want a", turn.Test)
		}
		r.Saw("a", saw)
		turn, _ = r.Next()
		return turn.Test
	}
	if got := first(Failed); got != "b" {
		t.Errorf("after a failed comes %q, want b", got)
	}
	if got := first(Passed); got != "c" {
		t.Errorf("after a passed comes %q, want c", got)
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	runs := Runs([]string{"a", "b"}, [][]Result{
		{{Run: "10", Outcome: Failed, Seconds: 2}, {Run: "9", Outcome: Passed, Seconds: 1}, {Run: "8", Outcome: Skipped}},
		{{Run: "10", Outcome: Failed, Storm: true}, {Run: "9", Outcome: Flaked}, {Run: "7", Outcome: Errored}},
	})
	const want = "[[{b 5 0}] [{a 2 1} {b 3 0}] [{a 4 2}]]"
	if got := fmt.Sprint(runs); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var o Order
	for _, run := range runs {
		o.Learn(run)
	}
	if a, b := o.Item("a"), o.Item("b"); !a.First || !b.First || o.Item("c").First || math.Abs(a.Seconds-1.2) > 1e-9 {
		t.Errorf("%+v %+v", a, b)
	}
}

// Numbers from reports may be anything; every test comes out once all the same.
func TestOrderOddNumbers(t *testing.T) {
	t.Parallel()
	var o Order
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -3, 0, 1e300}
	var names []string
	for i, s := range odd {
		name := strconv.Itoa(i)
		names = append(names, name)
		o.Learn([]Ran{{name, Failed, s}, {"x", Passed, s}})
	}
	r := o.Rank(append(names, "x", "new"))
	n := 0
	for turn, ok := r.Next(); ok; turn, ok = r.Next() {
		if !(turn.Chance > 0 && turn.Chance <= 1) || !(turn.Seconds >= 0 && turn.Seconds <= maxSeconds) {
			t.Errorf("%+v", turn)
		}
		r.Saw(turn.Test, Passed)
		n++
	}
	if n != len(odd)+2 {
		t.Errorf("%d tests came out of %d", n, len(odd)+2)
	}
}
