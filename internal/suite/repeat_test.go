package suite

import (
	"math/rand/v2"
	"testing"
)

func TestRepeat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		repeat Repeat
		answer RepeatAnswer
		stop   bool
		text   string
	}{
		{Repeat{}, RepeatOpen, false, "not run yet"},
		{Repeat{Runs: 10}, RepeatOpen, false, "failed 0 of 10; it fails in less than 17 % of runs (90 % sure): 181 more passes would make it stable"},
		{Repeat{Runs: 10, Times: 10}, RepeatOpen, true, "failed 0 of 10; it fails in less than 17 % of runs (90 % sure): 181 more passes would make it stable"},
		{Repeat{Runs: 191}, RepeatStable, true, "failed 0 of 191; it fails in less than 1 % of runs (90 % sure): stable, as far as 1 % is"},
		{Repeat{Runs: 10, Limit: .2}, RepeatStable, true, "failed 0 of 10; it fails in less than 17 % of runs (90 % sure): stable, as far as 20 % is"},
		{Repeat{Runs: 10, Failures: 1}, RepeatFlaky, true, "failed 1 of 10; it fails in 1.8 % to 33 % of runs (90 % sure): flaky"},
		{Repeat{Runs: 3, Failures: 3}, RepeatOpen, false, "failed 3 of 3; it fails in 56 % to 100 % of runs (90 % sure)"},
		{Repeat{Runs: 5, Failures: 5}, RepeatBroken, true, "failed 5 of 5; it fails in 69 % to 100 % of runs (90 % sure): broken"},
		{Repeat{Runs: 500, Failures: 5}, RepeatOpen, false, "failed 5 of 500; it fails in 0.46 % to 2 % of runs (90 % sure)"},
		{Repeat{Runs: 2000, Failures: 5}, RepeatStable, true, "failed 5 of 2000; it fails in 0.11 % to 0.49 % of runs (90 % sure): stable, as far as 1 % is"},
	} {
		if got := c.repeat.Answer(); got != c.answer || c.repeat.Stop() != c.stop || c.repeat.String() != c.text {
			t.Errorf("%+v: %s, stop %v\n%s, want\n%s", c.repeat, got, c.repeat.Stop(), c.repeat.String(), c.text)
		}
	}
}

// Runs until a decision decide rightly, and a skipped run counts for nothing.
func TestRepeatDecides(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(4, 4))
	for _, c := range []struct {
		rate float64
		want RepeatAnswer
	}{{0, RepeatStable}, {.3, RepeatFlaky}, {1, RepeatBroken}} {
		right, n := 0, 200
		for range n {
			var r Repeat
			for !r.Stop() {
				r.Add(Skipped)
				if chance.Float64() < c.rate {
					r.Add(Failed)
				} else {
					r.Add(Passed)
				}
				if r.Runs > 100_000 {
					t.Fatalf("%+v: no end", r)
				}
			}
			if r.Answer() == c.want {
				right++
			}
		}
		if float64(right) < .95*float64(n) {
			t.Errorf("rate %g: %d of %d are %s", c.rate, right, n, c.want)
		}
	}
}
