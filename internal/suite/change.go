package suite

import (
	"math"
	"slices"
)

// When did a test become what it is? Its course is a row of passes and
// failures. It may be cut into parts that each have a rate of their own, and
// how likely is the row then? Rates are not known, so the answer is averaged
// over all of them, which needs nothing but beta functions and carries its own
// price for each rate more. Of all ways to cut, the most likely is taken. Rows
// that hang together in bursts seem to change all the time; a result therefore
// counts for as much less as bursts are usual.

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
	// maxChange is the largest logarithm of odds that is told from certainty.
	maxChange = 700
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

// changes finds the partition of the rows that explains them best, and then
// looks at each of its borders by itself.
func changes(rows []span, last uint64) (found []Change) {
	borders := partition(rows)
	for i := 1; i+1 < len(borders); i++ {
		end := last
		if borders[i+1] < len(rows) {
			end = rows[borders[i+1]].run
		}
		if c := border(rows[borders[i-1]:borders[i+1]], borders[i]-borders[i-1], end); c.Sure >= changeSure {
			found = append(found, c)
		}
	}
	return found
}

// partition are the places at which the rows are cut best, from 0 to their
// number: the most likely of all partitions, each cut being paid for. The
// rows are few.
func partition(rows []span) (borders []int) {
	n := len(rows)
	best, from := make([]float64, n+1), make([]int, n+1)
	for end := 1; end <= n; end++ {
		best[end] = math.Inf(-1)
		sum, bad := 0.0, 0.0
		for start := end - 1; start >= 0; start-- {
			sum, bad = sum+rows[start].n, bad+rows[start].k
			price := 0.0
			if start > 0 {
				price = math.Log(changeEvery)
			}
			if like := best[start] + evidence(sum, bad) - price; like > best[end] {
				best[end], from[end] = like, start
			}
		}
	}
	for at := n; at > 0; at = from[at] {
		borders = append(borders, at)
	}
	borders = append(borders, 0)
	slices.Reverse(borders)
	return borders
}

// border says how sure it is that there is a change among rows, which is most
// likely before the row at, and between which runs it is.
func border(rows []span, at int, last uint64) Change {
	type place struct {
		run   float64
		like  float64 // logarithm, against no cut
		width float64 // how many places it stands for
	}
	var n, k float64
	for _, r := range rows {
		n, k = n+r.n, k+r.k
	}
	whole := evidence(n, k)
	gain := func(left, leftK float64) float64 {
		return evidence(left, leftK) + evidence(n-left, k-leftK) - whole
	}
	var places []place
	var left, leftK, before, beforeK float64
	top := math.Inf(-1)
	for i, r := range rows {
		if i == at {
			before, beforeK = left, leftK
		}
		if i > 0 {
			g := gain(left, leftK)
			top = max(top, g)
			places = append(places, place{run: float64(r.run), like: g, width: 1})
		}
		if pure := r.k == 0 || r.k == r.n; pure {
			end := float64(last)
			if i+1 < len(rows) {
				end = float64(rows[i+1].run)
			}
			done := 0.0
			for _, step := range steps(r.n) {
				share := step / r.n
				places = append(places, place{
					run:   float64(r.run) + share*max(end-float64(r.run), 0),
					like:  gain(left+step, leftK+share*r.k),
					width: step - done,
				})
				done = step
			}
		}
		left, leftK = left+r.n, leftK+r.k
	}
	sum := 0.0
	for i := range places {
		places[i].like = math.Exp(places[i].like-top) * places[i].width
		sum += places[i].like
	}
	c := Change{Run: rows[at].run, From: rows[at].run, To: rows[at].run, Sure: 1}
	if top < maxChange {
		odds := math.Exp(top) * sum / changeEvery
		c.Sure = odds / (1 + odds)
	}
	c.Before, c.After = ratio(beforeK, before), ratio(k-beforeK, n-before)
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
	return c
}

// steps are the places inside n like results that are looked at: close
// together at both ends, where the mass is.
func steps(n float64) (at []float64) {
	for s := 1.0; s < n; s += max(1, math.Floor(s/4)) {
		at = append(at, s, n-s)
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
