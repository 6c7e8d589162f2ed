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

// race is the wealth of bets that the new side's rate is more than a bound times the
// old one's, or more than a limit. Time is cut into minutes, however often one looks, since
// failures come in bursts that last longer than the time between two looks. It is plain data: after a
// crash it goes on where it was.
type race struct {
	// Wealth is by alternative, as the minute began. What was not bet by then, since no more
	// trouble may begin, is in Rest.
	Wealth []float64 `json:"wealth,omitempty"`
	Rest   float64   `json:"rest"`
	// Gain is the logarithm of what the minute has multiplied Wealth by, as far as Clip lets it.
	Gain    []float64 `json:"gain,omitempty"`
	Clip    float64   `json:"clip"`
	Minute  counts    `json:"minute"` // of the new side
	Minutes int       `json:"minutes"`
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
var alternatives = [...]struct{ times, part float64 }{{1.5, .15}, {2.5, .1}, {4.5, .72}, {15, .03}}

const (
	// startNow is the part of the wealth that is bet on trouble from the first look on;
	// the rest is bet bit by bit on trouble that begins later.
	startNow = 0.9
	// oneMinute: no minute multiplies the wealth by more than that power of what is asked for, so that none
	// decides alone: a burst of failures often has to do with no release. dire is a share of failures
	// at which that does not hold, and dead how many it takes.
	oneMinute, dire, dead = 0.6, 0.5, 3
	// unclipped is a power of e far above what is ever asked for.
	unclipped = 200
	// most bounds wealth, far above all that is ever asked for.
	most = 1e100
)

// begun is how much of the wealth is bet at the beginning of a minute, counted from 1.
func begun(minute int) float64 {
	if minute == 1 {
		return startNow
	}
	return (1 - startNow) / (float64(minute-1) * float64(minute))
}

// bet takes a look: what is new of both sides. With next a minute begins; clip is the power of e that
// one may multiply the wealth by.
func (r *race) bet(bound float64, fresh, old counts, next bool, clip float64) {
	r.advance(fresh, next, clip, func(times float64) float64 {
		if fresh.Total <= 0 || old.Total <= 0 {
			return 0 // nothing to bet on: who fails is certain
		}
		p0 := bound * fresh.Total / (bound*fresh.Total + old.Total)
		p1 := times * bound * fresh.Total / (times*bound*fresh.Total + old.Total)
		return fresh.Failed*math.Log(p1/p0) + old.Failed*math.Log((1-p1)/(1-p0))
	})
}

// betFixed takes a look when there is nothing to compare with: the bet is that the rate is more
// than the limit.
func (r *race) betFixed(limit float64, fresh counts, next bool, clip float64) {
	r.advance(fresh, next, clip, func(times float64) float64 {
		p1 := min(times*limit, (1+limit)/2)
		return fresh.Failed*math.Log(p1/limit) + (fresh.Total-fresh.Failed)*math.Log((1-p1)/(1-limit))
	})
}

func (r *race) advance(fresh counts, next bool, clip float64, log func(times float64) float64) {
	if r.Wealth == nil {
		r.Wealth, r.Gain, r.Rest = make([]float64, len(alternatives)), make([]float64, len(alternatives)), 1
		next = true
	}
	if next {
		r.Minutes++
		w := begun(r.Minutes)
		r.Rest -= w
		for i := range r.Wealth {
			r.Wealth[i] = min(r.now(i)+w, most)
			r.Gain[i] = 0
		}
		r.Minute = counts{}
	}
	r.Clip = clip
	r.Minute.add(fresh)
	for i := range r.Gain {
		r.Gain[i] += log(alternatives[i].times)
	}
}

// now is the wealth that is bet on an alternative.
func (r *race) now(i int) float64 {
	gain := min(r.Gain[i], unclipped)
	if r.Minute.share() < dire || r.Minute.Failed < dead {
		gain = min(gain, r.Clip)
	}
	return min(r.Wealth[i]*math.Exp(gain), most)
}

// evidence is the wealth: how many times what was put in. At most alpha of the races of which
// the bound holds ever see 1/alpha.
func (r *race) evidence() float64 {
	if r.Minutes == 0 {
		return 1
	}
	e := max(r.Rest, 0)
	for i := range r.Wealth {
		e += alternatives[i].part * r.now(i)
	}
	return e
}

// spread is how much more the counts of one side vary from minute to minute than chance
// alone makes them: 1 for no more. Failures that come in bursts are fewer
// troubles than they are failures, and evidence is worth that much less.
type spread struct {
	Minutes int     `json:"minutes"` // that are over
	Sum     counts  `json:"sum"`     // of them
	Square  float64 `json:"square"`  // of failures, over totals
	Minute  counts  `json:"minute"`
}

func (s *spread) add(c counts, next bool) {
	if next {
		if s.Minute.Total > 0 {
			s.Minutes++
			s.Sum.add(s.Minute)
			s.Square += s.Minute.Failed * s.Minute.Failed / s.Minute.Total
		}
		s.Minute = counts{}
	}
	s.Minute.add(c)
}

// factor is at least 1. What chance makes of so few minutes is not held against it.
func (s spread) factor() float64 {
	s.add(counts{}, true) // the minute as it is
	rate := s.Sum.share()
	if s.Minutes < 3 || rate <= 0 || rate >= 1 {
		return 1
	}
	free := float64(s.Minutes - 1)
	phi := (s.Square/rate - s.Sum.Failed) / (1 - rate) / free
	return max(1, phi-2*math.Sqrt(2/free))
}
