package suite

import (
	"math"
	"slices"
)

// When did a test become what it is? Its course is a row of passes and
// failures. For each place where the row could be cut in two, the two halves
// are compared with the whole: how likely is the row when each half has a rate
// of its own, and how likely when there is one rate? Rates are not known, so
// both are averaged over all of them, which needs nothing but beta functions
// and carries its own penalty for the second rate. Cutting goes on in the
// halves until nothing is gained. Rows that hang together in bursts seem to
// change all the time; a result therefore counts for as much less as bursts
// are usual.

const (
	// changeA and changeB are what is believed of the rate of a part of a
	// course: near 0 or near 1 rather than in the middle.
	changeA, changeB = 0.3, 0.5
	// changeEvery is how many results are believed to lie between changes.
	changeEvery = 1000
	// changeSure is the probability from which on a change is one.
	changeSure = 0.95
	// changeWeight is what a result counts, as bursts are usual.
	changeWeight = (1 - usualBurst) / (1 + usualBurst)
)

// Change is a place in the course of a test where its rate of failure became
// another.
type Change struct {
	Run           uint64  // the first of the new rate, most likely
	From, To      uint64  // it is between these runs, both included, with 99 %
	Before, After float64 // share of results that were failures
	Sure          float64 // the probability that there is a change at all
}

// Changes are the changes in the course of the test, oldest first: of all its
// failures, chance or not. What lies further back than the course is not told.
func (t *Test) Changes() []Change {
	rows := make([]span, len(t.course))
	for i, s := range t.course {
		rows[i] = span{n: float64(s.results), k: float64(s.bad), run: s.run}
	}
	return changes(rows, max(t.lastRun, 1))
}

// span is a part of a course in which the outcome is the same, but for the
// oldest.
type span struct {
	n, k float64
	run  uint64
}

// settled is the stretch from which on the test flakes as it does now.
func (t *Test) settled() int {
	if t.flakes == 0 || len(t.course) < 3 {
		return 0
	}
	rows := make([]span, len(t.course))
	for i, s := range t.course {
		rows[i] = span{n: float64(s.results - s.bad + s.flakes), k: float64(s.flakes), run: uint64(i)}
	}
	found := changes(rows, uint64(len(rows)))
	if len(found) == 0 {
		return 0
	}
	return int(found[len(found)-1].Run)
}

func changes(rows []span, last uint64) (found []Change) {
	if len(rows) < 2 {
		return nil
	}
	c, ok := cut(rows, last)
	if !ok {
		return nil
	}
	at := slices.IndexFunc(rows, func(s span) bool { return s.run == c.Run })
	found = append(found, changes(rows[:at], rows[at].run)...)
	found = append(found, c)
	return append(found, changes(rows[at:], last)...)
}

// cut finds the best place to cut rows in two, and says whether it is one.
func cut(rows []span, last uint64) (Change, bool) {
	type place struct {
		run   float64
		like  float64 // logarithm, against no cut
		width float64 // how many places it stands for
		row   int
	}
	var n, k float64
	for _, r := range rows {
		n, k = n+r.n, k+r.k
	}
	whole := evidence(n, k)
	var places []place
	best, left, leftK := -1, 0.0, 0.0
	for i, r := range rows {
		if i > 0 {
			places = append(places, place{run: float64(r.run), like: evidence(left, leftK) + evidence(n-left, k-leftK) - whole, width: 1, row: i})
			if j := len(places) - 1; best < 0 || places[j].like > places[best].like {
				best = j
			}
		}
		if pure := r.k == 0 || r.k == r.n; pure {
			end := float64(last)
			if i+1 < len(rows) {
				end = float64(rows[i+1].run)
			}
			done := 1.0
			for _, step := range steps(r.n) {
				share := step / r.n
				places = append(places, place{
					run:   float64(r.run) + share*max(end-float64(r.run), 0),
					like:  evidence(left+step, leftK+share*r.k) + evidence(n-left-step, k-leftK-share*r.k) - whole,
					width: max(step-done, 1), row: -1,
				})
				done = step
			}
		}
		left, leftK = left+r.n, leftK+r.k
	}
	if best < 0 {
		return Change{}, false
	}
	top, sum := places[best].like, 0.0
	for i := range places {
		places[i].like = math.Exp(places[i].like-top) * places[i].width
		sum += places[i].like
	}
	odds := math.Exp(top) * sum / changeEvery
	at := places[best].row
	c := Change{Run: rows[at].run, Sure: 1}
	if !math.IsInf(odds, 0) {
		c.Sure = odds / (1 + odds)
	}
	if c.Sure < changeSure {
		return c, false
	}
	var before, beforeK float64
	for _, r := range rows[:at] {
		before, beforeK = before+r.n, beforeK+r.k
	}
	c.Before, c.After = ratio(beforeK, before), ratio(k-beforeK, n-before)
	c.From, c.To = c.Run, c.Run
	mass, from := 0.0, false
	for _, p := range places {
		mass += p.like / sum
		if !from && mass >= .005 {
			c.From, from = min(c.Run, uint64(p.run)), true
		}
		if mass >= .995 {
			c.To = max(c.Run, uint64(math.Ceil(p.run)))
			break
		}
	}
	return c, true
}

// steps are the places inside n like results that are looked at: close
// together at both ends, where the mass is.
func steps(n float64) (at []float64) {
	for s := 1.0; s < n; s *= 2 {
		at = append(at, s)
		if s*2 < n {
			at = append(at, n-s)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// evidence is the logarithm of how likely one row of n results with k failures
// is, whatever its rate.
func evidence(n, k float64) float64 {
	n, k = n*changeWeight, k*changeWeight
	return lnBeta(changeA+k, changeB+n-k) - lnBeta(changeA, changeB)
}

func ratio(k, n float64) float64 {
	if n <= 0 {
		return 0
	}
	return k / n
}
