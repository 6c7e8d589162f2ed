package deploy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// scenario is a kind of rollout that is tried many times.
type scenario struct {
	name            string
	fresh, old      float64 // requests a minute
	rate, rateOld   float64 // share of failures
	from            int     // minute at which the new release's rate begins; the old one's before
	burst           float64 // share of a side's minutes in which failures are ten times as many
	tolerance       float64
	often           int     // looks a minute; 0 is one
	falseAtMost     float64 // bars; 0: none
	caughtAtLeast   float64
	medianAtMost    int
	latency, slowly time.Duration // typical, of the old and of the new release
	slowed          float64       // share of the new release's requests that are slow
}

// TestSimulation tries the judge on rollouts of an hour, a look a minute. The rows are those of
// the table in the manual; seeds are fixed, so that it always counts the same.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for _, sc := range []scenario{
		{name: "no fault, 500/500", fresh: 500, old: 500, rate: .01, falseAtMost: .01},
		{name: "no fault, 20/180", fresh: 20, old: 180, rate: .01, falseAtMost: .01},
		{name: "no fault, 100/900", fresh: 100, old: 900, rate: .01, falseAtMost: .01},
		{name: "no fault, 20/180, tolerance 1", fresh: 20, old: 180, rate: .01, tolerance: 1, falseAtMost: .01},
		{name: "no fault, 500/500, tolerance 1", fresh: 500, old: 500, rate: .01, tolerance: 1, falseAtMost: .01},
		{name: "no fault, in bursts, 500/500", fresh: 500, old: 500, rate: .01, burst: .05, falseAtMost: .045},
		{name: "no fault, in bursts, 20/180", fresh: 20, old: 180, rate: .01, burst: .05, falseAtMost: .045},
		{name: "5 % of 20/180", fresh: 20, old: 180, rate: .05, rateOld: .01, caughtAtLeast: .99, medianAtMost: 8},
		{name: "5 % of 20/180, tolerance 1", fresh: 20, old: 180, rate: .05, rateOld: .01, tolerance: 1, caughtAtLeast: .99, medianAtMost: 8},
		{name: "5 % from minute 20 on, 20/180", fresh: 20, old: 180, rate: .05, rateOld: .01, from: 20, caughtAtLeast: .98, medianAtMost: 36},
		{name: "2 % of 100/900", fresh: 100, old: 900, rate: .02, rateOld: .01, caughtAtLeast: .6},
		{name: "2 % of 100/900, tolerance 1", fresh: 100, old: 900, rate: .02, rateOld: .01, tolerance: 1, caughtAtLeast: .92},
		{name: "5 % of 100/900", fresh: 100, old: 900, rate: .05, rateOld: .01, caughtAtLeast: .999, medianAtMost: 3},
		{name: "1.2 % of 500/500", fresh: 500, old: 500, rate: .012, rateOld: .01, falseAtMost: .01},
		{name: "1.3 % of 100/900", fresh: 100, old: 900, rate: .013, rateOld: .01, falseAtMost: .02},
		{name: "1.5 % of 500/500", fresh: 500, old: 500, rate: .015, rateOld: .01},
		{name: "1.5 % of 500/500, tolerance 1", fresh: 500, old: 500, rate: .015, rateOld: .01, tolerance: 1, caughtAtLeast: .92},
		{name: "2 % of 500/500, in bursts", fresh: 500, old: 500, rate: .02, rateOld: .01, burst: .05},
		{name: "no fault, 20/180, a look every 10 s", often: 6, fresh: 20, old: 180, rate: .01, falseAtMost: .01},
		{name: "no fault, 500/500, in bursts, a look every 10 s", often: 6, fresh: 500, old: 500, rate: .01, burst: .05, falseAtMost: .045},
		{name: "5 % of 20/180, a look every 10 s", often: 6, fresh: 20, old: 180, rate: .05, rateOld: .01, caughtAtLeast: .99, medianAtMost: 8},
		{name: "5 % of 100/900, a look every 10 s", often: 6, fresh: 100, old: 900, rate: .05, rateOld: .01, caughtAtLeast: .999, medianAtMost: 3},
		{name: "all of 20/180, a look every 10 s", often: 6, fresh: 20, old: 180, rate: 1, rateOld: .01, caughtAtLeast: 1, medianAtMost: 1},
		{name: "all of 20/180", fresh: 20, old: 180, rate: 1, rateOld: .01, caughtAtLeast: 1, medianAtMost: 1},
		{name: "durations alike, 100/900", fresh: 100, old: 900, rate: .01, latency: 20 * time.Millisecond, slowly: 20 * time.Millisecond, falseAtMost: .01},
		{name: "twice as long, 20/180", fresh: 20, old: 180, rate: .01, rateOld: .01, latency: 20 * time.Millisecond, slowly: 40 * time.Millisecond, slowed: 1, caughtAtLeast: .99, medianAtMost: 10},
		{name: "1 in 20 takes ten times as long, 100/900", fresh: 100, old: 900, rate: .01, rateOld: .01, latency: 20 * time.Millisecond, slowly: 200 * time.Millisecond, slowed: .05, caughtAtLeast: .99, medianAtMost: 15},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			trials := 1000
			if sc.latency > 0 {
				trials = 100 // each request has its duration
			}
			caught, at := 0, []int{}
			for i := range trials {
				if m := sc.run(uint64(i)); m > 0 {
					caught++
					at = append(at, m)
				}
			}
			share := float64(caught) / float64(trials)
			median := 0
			if slices.Sort(at); len(at) > 0 {
				median = at[len(at)/2]
			}
			t.Logf("%-42s failed %5.1f %% of %d, median minute %d", sc.name, 100*share, trials, median)
			switch {
			case sc.falseAtMost > 0 && share > sc.falseAtMost:
				t.Errorf("%.2f %% of sound releases failed; at most %.2f %% may", 100*share, 100*sc.falseAtMost)
			case share < sc.caughtAtLeast:
				t.Errorf("%.1f %% of bad releases failed; at least %.1f %% have to", 100*share, 100*sc.caughtAtLeast)
			case sc.medianAtMost > 0 && median > sc.medianAtMost:
				t.Errorf("half of the bad releases failed after %d minutes; it may take %d", median, sc.medianAtMost)
			}
		})
	}
}

// run is the minute at which the new release fails; 0 if it passes.
func (sc *scenario) run(seed uint64) int {
	const minutes = 60
	a := &plan.Analysis{For: minutes * time.Minute, Alpha: .01, Tolerance: 1.5, Least: 100}
	if sc.tolerance > 0 {
		a.Tolerance = sc.tolerance
	}
	rng := rand.New(rand.NewPCG(seed, 17))
	begun := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	var s State
	fresh, old := &Requests{}, &Requests{}
	rateOld := sc.rateOld
	if rateOld == 0 {
		rateOld = sc.rate
	}
	often := max(sc.often, 1)
	rate, other := 0.0, 0.0
	for look := range minutes*often + 1 {
		m := (look + often - 1) / often // the minute that it is in
		if look > 0 {
			if often == 1 || look%often == 1 { // what a minute is like
				if rate = sc.rate; m <= sc.from {
					rate = rateOld
				}
				if other = rateOld; rng.Float64() < sc.burst {
					rate *= 10
				}
				if rng.Float64() < sc.burst {
					other *= 10
				}
			}
			fresh = sc.serve(rng, fresh, sc.fresh/float64(often), rate, sc.slowed)
			old = sc.serve(rng, old, sc.old/float64(often), other, 0)
		}
		v := s.Look(a, &Look{At: begun.Add(time.Duration(look) * time.Minute / time.Duration(often)), Since: begun, New: fresh, Old: old})
		switch v.Decision {
		case Fail:
			return m
		case Pass:
			return 0
		}
	}
	panic("no decision after an hour")
}

// serve counts a minute of requests.
func (sc *scenario) serve(rng *rand.Rand, was *Requests, mean, rate, slowed float64) *Requests {
	n := poisson(rng, mean)
	now := &Requests{Count: was.Count + int64(n), Failed: was.Failed + int64(binomial(rng, n, rate)), Latency: slices.Clone(was.Latency)}
	if sc.latency == 0 {
		return now
	}
	if now.Latency == nil {
		now.Latency = make([]int64, 80)
	}
	for range n {
		typical := sc.latency
		if rng.Float64() < slowed {
			typical = sc.slowly
		}
		took := time.Duration(float64(typical) * math.Exp(rng.NormFloat64()/2))
		i := 0
		for Bound(i) <= took {
			i++
		}
		now.Latency[i]++
	}
	return now
}

func poisson(rng *rand.Rand, mean float64) int {
	if mean > 50 {
		return max(int(math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())), 0)
	}
	n, p := 0, rng.Float64()
	for ; p > math.Exp(-mean); n++ {
		p *= rng.Float64()
	}
	return n
}

func binomial(rng *rand.Rand, n int, p float64) (k int) {
	if p >= 1 {
		return n
	}
	// Gaps between successes are geometric.
	for i := 0; ; k++ {
		i += 1 + int(math.Log(1-rng.Float64())/math.Log1p(-p))
		if i > n {
			return k
		}
	}
}
