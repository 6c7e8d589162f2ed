package deploy

import "math"

// Is a share of failures that is seen on one side larger than on the other, or only
// by chance? A test that is looked at every minute gives an alarm sooner or later if it
// is made for one look: with 60 looks at 5 % each, more often than not. So there is no p-value here.
// A race is a bet at odds that are fair as long as the new side is no worse: its wealth
// begins at 1 and does not grow on average, so that it ever reaches 1/alpha has a
// probability of at most alpha, whenever and however often one looks (Ville's inequality).
//
// The bet of a look: the old side failed b times in m requests, the new one a
// times in n. Were the new side's rate r times that of the old one, the next failure were
// the new side's with p(r) = rn/(rn+m). The bet on r against the bound t multiplies
// the wealth by
//
//	(p(r)/p(t))^a · ((1-p(r))/(1-p(t)))^b     for r > t
//
// whose mean is at most 1 for Poisson and for binomial counts alike if the true
// ratio is at most t. Wealth is spread over several r, and over when the trouble
// begins: a release that leaks fails only after a while, and what it was before must not
// count for it.

// race is the wealth of bets that the new side's rate is more than Bound times the
// old one's; or, with Fixed, more than that rate. It is plain data: after a crash it
// goes on where it was.
type race struct {
	// Wealth is by alternative. What was not bet yet, since no more trouble may begin
	// by then, is in Rest.
	Wealth []float64 `json:"wealth,omitempty"`
	Rest   float64   `json:"rest"`
	Looks  int       `json:"looks"`
}

// counts are failures of one side in a look, or in all of them.
type counts struct {
	Failed float64 `json:"failed"`
	Total  float64 `json:"total"`
}

func (c *counts) add(d counts) { c.Failed += d.Failed; c.Total += d.Total }

// share is that of failures; 0 of nothing.
func (c counts) share() float64 {
	if c.Total <= 0 {
		return 0
	}
	return c.Failed / c.Total
}

// alternatives are how many times the bound the new side's rate may be, and how much is
// bet on each.
var alternatives = [...]struct{ times, part float64 }{{1.5, .15}, {2.5, .15}, {4.5, .65}, {15, .05}}

const (
	// startNow is the part of the wealth that is bet on trouble from the first look on;
	// the rest is bet bit by bit on trouble that begins later.
	startNow = 0.9
	// oneLook: no look multiplies the wealth by more than that power of what is asked for, so none decides
	// alone, since failures come in bursts that have to do with no release. dire is a share of
	// failures at which that does not hold.
	oneLook, dire = 0.6, 0.5
	// most bounds wealth, far above all that is ever asked for.
	most = 1e100
)

// begun is how much of the wealth is bet at a look, counted from 1.
func begun(look int) float64 {
	if look == 1 {
		return startNow
	}
	return (1 - startNow) / (float64(look-1) * float64(look))
}

// bet takes a look: fresh counts of both sides, and how much one look may multiply the wealth by.
func (r *race) bet(bound float64, fresh, old counts, clip float64) {
	r.advance(clip, fresh.share() >= dire && fresh.Failed >= 3, func(times float64) float64 {
		p0 := bound * fresh.Total / (bound*fresh.Total + old.Total)
		p1 := times * bound * fresh.Total / (times*bound*fresh.Total + old.Total)
		if fresh.Total <= 0 || old.Total <= 0 {
			return 0 // nothing to bet on: who fails is certain
		}
		return fresh.Failed*math.Log(p1/p0) + old.Failed*math.Log((1-p1)/(1-p0))
	})
}

// betFixed takes a look when there is nothing to compare with: the bet is that the rate is more
// than the limit.
func (r *race) betFixed(limit float64, fresh counts, clip float64) {
	r.advance(clip, fresh.share() >= dire && fresh.Failed >= 3, func(times float64) float64 {
		p1 := min(times*limit, (1+limit)/2)
		return fresh.Failed*math.Log(p1/limit) + (fresh.Total-fresh.Failed)*math.Log((1-p1)/(1-limit))
	})
}

func (r *race) advance(clip float64, dire bool, log func(times float64) float64) {
	if r.Wealth == nil {
		r.Wealth, r.Rest = make([]float64, len(alternatives)), 1
	}
	r.Looks++
	w := begun(r.Looks)
	r.Rest -= w
	for i := range r.Wealth {
		gain := log(alternatives[i].times)
		if !dire {
			gain = min(gain, math.Log(clip))
		}
		r.Wealth[i] = min((r.Wealth[i]+w)*math.Exp(min(gain, 200)), most)
	}
}

// evidence is the wealth: how many times what was put in. At most alpha of the races of which
// the bound holds ever see 1/alpha.
func (r *race) evidence() float64 {
	e := max(r.Rest, 0)
	for i, w := range r.Wealth {
		e += alternatives[i].part * w
	}
	if r.Looks == 0 {
		return 1
	}
	return e
}

// spread is how much more the counts of one side vary from look to look than chance
// alone makes them: 1 for no more. Failures that come in bursts are fewer
// troubles than they are failures, and evidence is worth that much less.
type spread struct {
	Looks  int     `json:"looks"`
	Sum    counts  `json:"sum"`
	Square float64 `json:"square"` // of failures, over totals
}

func (s *spread) add(c counts) {
	if c.Total <= 0 {
		return
	}
	s.Looks++
	s.Sum.add(c)
	s.Square += c.Failed * c.Failed / c.Total
}

// factor is at least 1. What chance makes of so few looks is not held against it.
func (s *spread) factor() float64 {
	rate := s.Sum.share()
	if s.Looks < 3 || rate <= 0 || rate >= 1 {
		return 1
	}
	free := float64(s.Looks - 1)
	phi := (s.Square/rate - s.Sum.Failed) / (1 - rate) / free
	return max(1, phi-2*math.Sqrt(2/free))
}
