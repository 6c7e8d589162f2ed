package suite

import (
	"fmt"
	"math"
)

// Repeat is a test that is run again and again to see whether it can be
// trusted. After every run it says how often the test may fail, and whether more
// runs are worth their time.
//
// Nothing but these runs counts: with the rate held for as likely anywhere as
// Jeffreys' prior has it, n runs and k failures leave Beta(k+½, n-k+½).
type Repeat struct {
	// Limit is the rate of failures that is too much; 0 means 1 %.
	Limit float64 `json:"limit,omitempty"`
	// Times is how often it is to be run at most; 0 when there is no end to
	// it but a decision.
	Times    int `json:"times,omitempty"`
	Runs     int `json:"runs"`
	Failures int `json:"failures"`
}

// usualLimit is the rate of failures from which on a test is said to be flaky.
const usualLimit = .01

// repeatSure is how sure a decision is.
const repeatSure = .95

// Add counts one more run. A skipped one is none.
func (r *Repeat) Add(o Outcome) {
	switch {
	case o.Bad() || o == Flaked:
		r.Runs++
		r.Failures++
	case o == Passed:
		r.Runs++
	}
}

// Interval is where the rate of failures is with 90 %.
func (r *Repeat) Interval() (low, high float64) {
	return shareInterval(float64(r.Failures), float64(r.Runs))
}

// shareInterval is where a share is with 90 %, of which k of n were seen.
func shareInterval(k, n float64) (low, high float64) {
	if k > 0 {
		low = betaQuantile(.05, k+.5, n-k+.5)
	}
	high = 1
	if k < n {
		high = betaQuantile(.95, k+.5, n-k+.5)
	}
	return low, high
}

func (r *Repeat) posterior() (a, b float64) {
	return float64(r.Failures) + .5, float64(r.Runs-r.Failures) + .5
}

func (r *Repeat) limit() float64 {
	if r.Limit > 0 && r.Limit < 1 {
		return r.Limit
	}
	return usualLimit
}

// RepeatAnswer is what runs have shown.
type RepeatAnswer string

// The answers. A test that failed every time is not flaky but broken; to say
// so, it must have failed more than a few times.
const (
	RepeatOpen   RepeatAnswer = "undecided"
	RepeatStable RepeatAnswer = "stable" // it fails less often than the limit
	RepeatFlaky  RepeatAnswer = "flaky"  // more often, and it passes, too
	RepeatBroken RepeatAnswer = "broken" // always
)

// Answer is what can be said with 95 % certainty.
func (r *Repeat) Answer() RepeatAnswer {
	a, b := r.posterior()
	below := regularBeta(r.limit(), a, b)
	switch {
	case r.Runs == 0:
		return RepeatOpen
	case r.Failures == r.Runs && r.Runs >= r.Needed():
		return RepeatBroken
	case r.Failures == r.Runs:
		return RepeatOpen
	case below >= repeatSure:
		return RepeatStable
	case 1-below >= repeatSure:
		return RepeatFlaky
	}
	return RepeatOpen
}

// Stop reports whether no further run is needed.
func (r *Repeat) Stop() bool {
	return r.Answer() != RepeatOpen || r.Times > 0 && r.Runs >= r.Times
}

// Needed is how many runs without a change of luck are worth something: so many
// passes make a test stable, and five failures make it broken.
func (r *Repeat) Needed() int {
	if r.Failures > 0 && r.Failures == r.Runs {
		return 5
	}
	// The passes that are needed, given the failures so far, grow with 1/limit:
	// found by doubling and halving.
	enough := func(runs int) bool {
		return regularBeta(r.limit(), float64(r.Failures)+.5, float64(runs-r.Failures)+.5) >= repeatSure
	}
	high := max(r.Runs, 1)
	for !enough(high) && high < math.MaxInt32 {
		high *= 2
	}
	low := r.Failures
	for low < high {
		if middle := (low + high) / 2; enough(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}

// String is where things stand, on one line that is rewritten after each run.
func (r *Repeat) String() string {
	if r.Runs == 0 {
		return "not run yet"
	}
	low, high := r.Interval()
	text := fmt.Sprintf("failed %d of %d", r.Failures, r.Runs)
	if r.Failures == 0 {
		text += fmt.Sprintf("; it fails in less than %s of runs", percent(high))
	} else {
		text += fmt.Sprintf("; it fails in %s to %s of runs", percent(low), percent(high))
	}
	text += " (90 % sure)"
	switch answer := r.Answer(); answer {
	case RepeatStable:
		return text + fmt.Sprintf(": stable, as far as %s is", percent(r.limit()))
	case RepeatOpen:
		if more := r.Needed() - r.Runs; r.Failures == 0 && more > 0 {
			text += fmt.Sprintf(": %d more passes would make it stable", more)
		}
		return text
	default:
		return text + ": " + string(answer)
	}
}
