package suite

import (
	"cmp"
	"iter"
	"math"
	"slices"
)

// How likely is a test to fail by chance? Most tests never do; a few do now
// and then; some fail always. So what is believed before anything is seen of
// a test, the Prior, is a mixture: a spike at 0, a spike at 1, and between
// them a slab of overlapping Beta distributions whose middles stand on a
// ladder. The shares of the mixture are fitted to all tests of a repository
// (empirical Bayes, by expectation and maximisation, which finds the one best
// answer since only shares are fitted), starting from shares that are usual
// elsewhere, so that a repository of three tests is judged sensibly, too.
//
// Given what was seen of a test, each part of the mixture turns into another
// Beta distribution with another share; mean, interval and the probability to
// be above a threshold follow without simulation.

// rungs are the middles of the slab.
var rungs = [...]float64{.0003, .001, .003, .01, .03, .1, .2, .35, .5, .65, .8, .95}

// usual are the shares of a repository of which nothing is known, in the
// order of [Prior.Shares]: those of fifteen open-source projects.
var usual = [len(rungs) + 2]float64{
	.9810, .0006, .0004, .0060, .0020, .0010, .0006, .0050, .0005, .0003, .0002, .0002, .0002, .0020,
}

const (
	never, always = 0, len(rungs) + 1 // the spikes among the shares

	// firmness says how narrow each part of the slab is.
	firmness = 4
	// reserve is how many tests the usual shares stand for when others are
	// fitted.
	reserve = 30
	// rounds is how often shares are improved.
	rounds = 60
	// maxTallies is how many different tallies are fitted at most.
	maxTallies = 50_000

	// usualBurst is the correlation of a test's outcome with the one before
	// it, when it fails by chance, and burstReserve the number of changes of
	// outcome that it stands for beside those that were seen.
	usualBurst, burstReserve = 0.35, 8.0
)

// Prior is what is believed of a test's rate before anything is seen of it.
type Prior struct {
	// Shares are those of the tests that never fail by chance, of each rung of
	// the slab, and of those that always fail. Their sum is 1.
	Shares [len(rungs) + 2]float64
}

// Usual is the prior of a repository of which nothing is known.
func Usual() Prior {
	p := Prior{Shares: usual}
	sum := 0.0
	for _, s := range p.Shares {
		sum += s
	}
	for i := range p.Shares {
		p.Shares[i] /= sum
	}
	return p
}

// Tally is how many tests had as many results and flakes.
type Tally struct {
	Results, Flakes float64 // Flakes are at most Results
	Tests           int     // 0 counts as 1
}

// Fit makes the prior of a repository from the tallies of its tests. Only
// what was seen is needed, no truth. Tallies that make no sense are left out;
// after the first fifty thousand different ones it stops reading.
func Fit(tallies iter.Seq[Tally]) Prior {
	type key struct{ n, k float64 }
	tests := map[key]float64{}
	for t := range tallies {
		if !(t.Results > 0 && t.Flakes >= 0 && t.Flakes <= t.Results) || math.IsInf(t.Results, 0) {
			continue
		}
		if tests[key{t.Results, t.Flakes}] += float64(max(t.Tests, 1)); len(tests) >= maxTallies {
			break
		}
	}
	type row struct {
		tests float64
		like  [len(rungs) + 2]float64
	}
	rows, total := make([]row, 0, len(tests)), 0.0
	keys := make([]key, 0, len(tests)) // sorted: the same sums for the same tallies
	for k := range tests {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.k, b.k)) })
	for _, k := range keys {
		r := row{tests: tests[k]}
		for i := range r.like {
			r.like[i] = math.Exp(lnLike(i, k.n, k.k))
		}
		rows, total = append(rows, r), total+r.tests
	}
	start := Usual()
	fitted := start
	for range rounds {
		var next [len(rungs) + 2]float64
		for i := range next {
			next[i] = reserve * start.Shares[i]
		}
		for _, r := range rows {
			sum := 0.0
			for i, l := range r.like {
				sum += fitted.Shares[i] * l
			}
			if sum <= 0 {
				continue // too far out for any rung
			}
			for i, l := range r.like {
				next[i] += r.tests * fitted.Shares[i] * l / sum
			}
		}
		sum := 0.0
		for _, s := range next {
			sum += s
		}
		for i := range next {
			fitted.Shares[i] = next[i] / sum
		}
	}
	return fitted
}

// rung is the Beta distribution of a part of the slab.
func rung(i int) (a, b float64) {
	m := rungs[i-1]
	if m < .5 {
		return firmness, firmness * (1 - m) / m
	}
	return firmness * m / (1 - m), firmness
}

// lnLike is the logarithm of how likely k failures in n results are when the
// rate is of part i.
func lnLike(i int, n, k float64) float64 {
	switch i {
	case never:
		if k > 0 {
			return math.Inf(-1)
		}
		return 0
	case always:
		if k < n {
			return math.Inf(-1)
		}
		return 0
	}
	a, b := rung(i)
	return lnBeta(a+k, b+n-k) - lnBeta(a, b)
}

// Estimate is what is believed of a test's rate: how likely it is to fail
// although nothing is wrong with the code.
type Estimate struct {
	Rate      float64 // the mean
	Low, High float64 // the rate is between them with a probability of 90 %
	Results   float64 // that it rests on: faded, and fewer when they came in bursts
	Flakes    float64 // of them
	Burst     float64 // correlation of an outcome with the one before it
	Since     uint64  // the first run that it rests on, 0 for all: it was another test before

	shares [len(rungs) + 2]float64 // of the mixture, given what was seen
}

// Given estimates the rate of a test of which k flakes in n results were seen,
// which hang together by burst (0: not at all).
func (p Prior) Given(n, k, burst float64) Estimate {
	burst = min(max(burst, 0), .95)
	e := Estimate{Results: n * fewer(burst), Flakes: k * fewer(burst), Burst: burst}
	most := math.Inf(-1)
	for i, s := range p.Shares {
		e.shares[i] = math.Log(s) + lnLike(i, e.Results, e.Flakes)
		most = max(most, e.shares[i])
	}
	if math.IsInf(most, 0) || math.IsNaN(most) {
		return Usual().Given(n, k, burst) // a prior that excludes what was seen
	}
	sum := 0.0
	for i := range e.shares {
		e.shares[i] = math.Exp(e.shares[i] - most)
		sum += e.shares[i]
	}
	for i := range e.shares {
		e.shares[i] /= sum
		e.Rate += e.shares[i] * e.mean(i)
	}
	e.Low, e.High = e.quantile(.05), e.quantile(.95)
	return e
}

// Of estimates the rate of a test, from what was seen since it last became
// another.
func (p Prior) Of(t *Test) Estimate {
	from := t.settled()
	sum := t.tally(from)
	e := p.Given(sum.Results, sum.Flakes, t.burst(from))
	if from > 0 {
		e.Since = t.course[from].run
	}
	return e
}

// Expect is how many failures there will be in the next m runs, with 90 %:
// the rate is not known, and chance comes in bursts.
func (e Estimate) Expect(m int) (low, high int) {
	sum, low := 0.0, -1
	for k, p := range e.ahead(m) {
		sum += p
		if low < 0 && sum > .05 {
			low = k
		}
		if sum >= .95 {
			return max(low, 0), k
		}
	}
	return max(low, 0), m
}

// ahead is how likely each number of failures is in the next m runs.
func (e Estimate) ahead(m int) []float64 {
	m = min(m, maxExpect)
	count := make([]float64, m+1)
	for i, s := range e.shares {
		switch {
		case s < 1e-6:
		case i == never:
			count[0] += s
		case i == always:
			count[m] += s
		default:
			const nodes = 8
			a, b := e.beta(i)
			for j := range nodes {
				e.chain(count, s/nodes, betaQuantile((float64(j)+.5)/nodes, a, b))
			}
		}
	}
	return count
}

// maxExpect is how many runs are looked ahead.
const maxExpect = 200

// chain adds, with a weight, how many failures there are in a row of results
// of which each fails at a rate p, and rather more when the one before did.
func (e Estimate) chain(count []float64, weight, p float64) {
	m := len(count) - 1
	if m == 0 {
		count[0] += weight
		return
	}
	again, anew := p+e.Burst*(1-p), p*(1-e.Burst)
	passed, failed := make([]float64, m+1), make([]float64, m+1) // by the last outcome
	passed[0], failed[1] = 1-p, p
	for range m - 1 {
		for k := m; k >= 0; k-- {
			before := 0.0
			if k > 0 {
				before = passed[k-1]*anew + failed[k-1]*again
			}
			passed[k], failed[k] = passed[k]*(1-anew)+failed[k]*(1-again), before
		}
	}
	for k := range count {
		count[k] += weight * (passed[k] + failed[k])
	}
}

// burst is the correlation of a result with the one before it, in the course
// from a stretch on. Independent failures at a rate p change sides 2p(1-p)
// times a result; those that come in bursts, less often. Few changes tell
// little: then it is near what is usual.
func (t *Test) burst(from int) float64 {
	results, bad, switches := 0.0, 0.0, float64(len(t.course)-from-1)
	for _, s := range t.course[from:] {
		results += float64(s.results)
		bad += float64(s.bad)
	}
	if from == 0 {
		switches += float64(t.switches)
	}
	if results < 2 {
		return usualBurst
	}
	p := bad / results
	expected := 2 * p * (1 - p) * (results - 1)
	return min(max(1-(switches+burstReserve*(1-usualBurst))/(expected+burstReserve), 0), .95)
}

// fewer is what a result counts when results hang together: a row of them says
// as much as this share of independent ones.
func fewer(burst float64) float64 { return (1 - burst) / (1 + burst) }

// beta is the distribution of part i of the slab, given what was seen.
func (e Estimate) beta(i int) (a, b float64) {
	a, b = rung(i)
	return a + e.Flakes, b + e.Results - e.Flakes
}

func (e Estimate) mean(i int) float64 {
	switch i {
	case never:
		return 0
	case always:
		return 1
	}
	a, b := e.beta(i)
	return a / (a + b)
}

// Above is the probability that the rate is above x.
func (e Estimate) Above(x float64) float64 {
	if x < 0 {
		return 1
	}
	p := 0.0
	for i, s := range e.shares {
		switch {
		case s < 1e-7 || i == never:
		case i == always:
			if x < 1 {
				p += s
			}
		default:
			a, b := e.beta(i)
			p += s * (1 - regularBeta(x, a, b))
		}
	}
	return min(p, 1)
}

// quantile is the smallest rate that is not exceeded with probability q.
func (e Estimate) quantile(q float64) float64 {
	if e.shares[never] >= q {
		return 0
	}
	return solve(func(x float64) float64 { return 1 - e.Above(x) - q })
}

// Again is how likely the test is to fail by chance right after it did.
func (e Estimate) Again() float64 { return e.Rate + e.Burst*(1-e.Rate) }
