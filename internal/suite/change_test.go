package suite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRegularBeta compares with values that are known exactly: of binomial
// sums for whole a and b, and the arcsine law for a = b = ½.
func TestRegularBeta(t *testing.T) {
	t.Parallel()
	binomial := func(x float64, a, b int) (sum float64) {
		n := a + b - 1
		for j := a; j <= n; j++ {
			c, _ := math.Lgamma(float64(n + 1))
			d, _ := math.Lgamma(float64(j + 1))
			e, _ := math.Lgamma(float64(n - j + 1))
			sum += math.Exp(c - d - e + float64(j)*math.Log(x) + float64(n-j)*math.Log1p(-x))
		}
		return sum
	}
	for _, x := range []float64{1e-6, .001, .1, .3, .5, .77, .999} {
		for _, ab := range [][2]int{{1, 1}, {1, 10}, {2, 3}, {5, 1}, {40, 60}, {3, 1000}, {500, 500}} {
			if got, want := regularBeta(x, float64(ab[0]), float64(ab[1])), binomial(x, ab[0], ab[1]); math.Abs(got-want) > 1e-10 {
				t.Errorf("I_%v(%d, %d) = %.14f, want %.14f", x, ab[0], ab[1], got, want)
			}
		}
		if got, want := regularBeta(x, .5, .5), 2/math.Pi*math.Asin(math.Sqrt(x)); math.Abs(got-want) > 1e-10 {
			t.Errorf("I_%v(½, ½) = %.14f, want %.14f", x, got, want)
		}
		if got, want := regularBeta(x, .3, 1), math.Pow(x, .3); math.Abs(got-want) > 1e-10 {
			t.Errorf("I_%v(.3, 1) = %.14f, want %.14f", x, got, want)
		}
		for _, ab := range [][2]float64{{.05, 1}, {4, 13000}, {80000, 20000}} {
			if sum := regularBeta(x, ab[0], ab[1]) + regularBeta(1-x, ab[1], ab[0]); math.Abs(sum-1) > 1e-9 {
				t.Errorf("I_%v(%v) and its mirror make %v", x, ab, sum)
			}
		}
	}
	if regularBeta(-1, 1, 1) != 0 || regularBeta(2, 1, 1) != 1 {
		t.Error("outside of 0 to 1")
	}
	for _, q := range []float64{.05, .5, .95} {
		if x := betaQuantile(q, 4, 200); math.Abs(regularBeta(x, 4, 200)-q) > 1e-4 {
			t.Errorf("the quantile %v is %v", q, x)
		}
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	p := Usual()
	for _, tt := range []struct {
		n, k      float64
		low, high float64 // within which the mean must be
		above     float64 // the probability that the rate is above 1 %, at least
		below     float64 // and at most
	}{
		{0, 0, .003, .02, .01, .03},
		{10, 0, 0, .001, 0, .01},
		{1000, 0, 0, 1e-5, 0, 1e-4},
		{10, 1, .02, .2, .6, 1},
		{1000, 1, .0005, .01, 0, .1},
		{100, 30, .25, .35, .999, 1},
		{10, 10, .95, 1, .999, 1},
	} {
		e := p.Given(tt.n, tt.k, 0)
		if e.Rate < tt.low || e.Rate > tt.high {
			t.Errorf("%v of %v: rate %v, not in %v to %v", tt.k, tt.n, e.Rate, tt.low, tt.high)
		}
		if a := e.Above(.01); a < tt.above || a > tt.below {
			t.Errorf("%v of %v: above 1 %% with %v, not in %v to %v", tt.k, tt.n, a, tt.above, tt.below)
		}
		if !(e.Low <= e.High) || math.Abs(e.Above(e.High)-.05) > .001 && e.High < 1 && e.High > 0 {
			t.Errorf("%v of %v: %v to %v, above the end with %v", tt.k, tt.n, e.Low, e.High, e.Above(e.High))
		}
		bursts := p.Given(tt.n, tt.k, .6)
		if bursts.Results >= e.Results && tt.n > 0 {
			t.Error("bursts do not count less")
		}
		low, high := e.Expect(50)
		if low > high || high > 50 || float64(low) > 50*e.High+5 {
			t.Errorf("%v of %v: %d to %d of the next 50", tt.k, tt.n, low, high)
		}
	}
}

// TestFit draws repositories of a known make and looks at what is fitted.
func TestFit(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for _, flaky := range []float64{0, .05, .5} {
		p := Fit(func(yield func(Tally) bool) {
			for range 2000 {
				tally := Tally{Results: 100}
				if rng.Float64() < flaky {
					for range 100 {
						if rng.Float64() < .1 {
							tally.Flakes++
						}
					}
				}
				if !yield(tally) {
					return
				}
			}
		})
		sum, mean := 0.0, 0.0
		for i, s := range p.Shares {
			sum += s
			if i == always {
				mean += s
			} else if i != never {
				mean += s * rungs[i-1]
			}
		}
		if math.Abs(sum-1) > 1e-9 || math.Abs(mean-flaky*.1) > .012 || math.Abs(1-p.Shares[never]-flaky) > .05 {
			t.Errorf("%v flaky at .1: sum %v, mean %v, never %v", flaky, sum, mean, p.Shares[never])
		}
	}
	nonsense := []Tally{{Results: math.NaN()}, {Results: -1}, {Results: 5, Flakes: 9}, {Results: math.Inf(1)}}
	p := Fit(func(yield func(Tally) bool) {
		for _, tally := range nonsense {
			if !yield(tally) {
				return
			}
		}
	})
	if u := Usual(); math.Abs(p.Shares[never]-u.Shares[never]) > 1e-9 {
		t.Errorf("nonsense moves the prior: %v", p)
	}
	if e := (Prior{}).Given(10, 3, 0); !(e.Rate > .1 && e.Rate < .5) {
		t.Errorf("the empty prior: %v", e.Rate)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	pass := func(n int) string { return strings.Repeat(".", n) }
	for _, tt := range []struct {
		name, course string
		want         string // the runs at which changes are
		within       uint64 // the interval is at most so wide
	}{
		{"nothing", "", "", 0},
		{"never fails", pass(300), "", 0},
		{"one failure", pass(100) + "F" + pass(100), "", 0},
		{"breaks", pass(100) + "FFFFFFFFFFFF", "101", 12},
		{"breaks and is mended", pass(100) + "FFFFFFFFFFFFFFFFFFFF" + pass(100), "101 121", 12},
		{"begins to flake", pass(300) + "F.F..F...F.F..FF..F..F...F.F.", "301", 60},
		{"flakes evenly", strings.Repeat("..F......", 11), "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var test Test
			course(&test, tt.course)
			var got []string
			for _, c := range test.Changes() {
				got = append(got, fmt.Sprint(c.Run))
				if c.From > c.Run || c.Run > c.To || c.To-c.From > tt.within || c.Sure < changeSure || c.Sure > 1 || c.Before == c.After {
					t.Errorf("%+v", c)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("changes at %q, want %q", s, tt.want)
			}
		})
	}
}

// TestReset holds a flaky test against its past: what it was before it changed
// does not count.
func TestReset(t *testing.T) {
	t.Parallel()
	var late, mended Test
	course(&late, strings.Repeat(".", 400)+strings.Repeat(".F..F.", 5))
	if e := Usual().Of(&late); e.Since != 402 && e.Since != 401 || e.Rate < .2 {
		t.Errorf("rate %v since %d, want about a third since 401", e.Rate, e.Since)
	}
	course(&mended, strings.Repeat(".F..F.", 4)+strings.Repeat(".", 400))
	if e := Usual().Of(&mended); e.Since < 23 || e.High > .01 {
		t.Errorf("rate up to %v since %d, want almost none since 24", e.High, e.Since)
	}
}

func TestStorms(t *testing.T) {
	t.Parallel()
	var s Storms
	for i, tt := range []struct {
		toll Toll
		want bool
	}{
		{Toll{Base: true, Ran: 100}, false},
		{Toll{Base: true, Ran: 100, Bad: 9, Fresh: 9}, false},
		{Toll{Base: true, Ran: 100, Bad: 90, Fresh: 90}, true},
		{Toll{Ran: 100, Bad: 80, Fresh: 80}, true},
		{Toll{Base: true, Ran: 100, Bad: 40, Fresh: 10}, false}, // 10 of 70
		{Toll{Base: true, Ran: 100, Bad: 90, Fresh: 90}, true},
		{Toll{Base: true, Ran: 100, Bad: 90, Fresh: 90}, true},
		{Toll{Base: true, Ran: 100, Bad: 90, Fresh: 90}, false}, // that is how it is now
		{Toll{Base: true, Ran: 100, Bad: 90, Fresh: 90}, false},
		{Toll{Base: true, Ran: 5, Bad: 5, Fresh: 5}, false},
		{Toll{Run: "1", Base: true, Ran: 100}, false},
		{Toll{Run: "1", Base: true, Ran: 200, Bad: 90, Fresh: 90}, true}, // more is known of the same run
		{Toll{Run: "1", Base: true, Ran: 300, Bad: 180, Fresh: 180}, true},
		{Toll{Run: "2", Base: true, Ran: 100, Bad: 90, Fresh: 90}, true},
		{Toll{Run: "2", Base: true, Ran: 100, Bad: 90, Fresh: 90}, true},
		{Toll{Run: "3", Base: true, Ran: 100, Bad: 90, Fresh: 90}, false},
	} {
		if why := s.Add(tt.toll); (why != "") != tt.want {
			t.Errorf("%d: %q, want %v", i, why, tt.want)
		}
	}
}

func TestClusters(t *testing.T) {
	t.Parallel()
	var tests []FailedRuns
	for name, runs := range map[string]string{
		"a": "1 5 9 12", "b": "1 5 9 12", "c": "5 9 12 12", "d": "9 40", "e": "40 77 80", "f": "100", "g": "100", "h": "", "i": "3",
	} {
		tests = append(tests, FailedRuns{ID: ID{Key: name}, Runs: strings.Fields(runs)})
	}
	var got []string
	for _, c := range Clusters(tests) {
		var keys []string
		for _, id := range c.Tests {
			keys = append(keys, id.Key)
		}
		got = append(got, fmt.Sprintf("%s in %s, all in %d", strings.Join(keys, " "), strings.Join(c.Runs, " "), c.All))
	}
	if s := strings.Join(got, "; "); s != "a b c in 1 5 9 12, all in 3; f g in 100, all in 1" {
		t.Error(s)
	}
}
