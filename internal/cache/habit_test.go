package cache

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

func TestHabit(t *testing.T) {
	t.Parallel()
	const s = time.Second
	ran := func(took, overhead time.Duration) Turn { return Turn{Watched: true, Took: took, Overhead: overhead} }
	hit := func(took time.Duration) Turn { return Turn{Hit: true, Took: took} }
	times := func(n int, t Turn) (all []Turn) {
		for range n {
			all = append(all, t)
		}
		return all
	}
	for _, test := range []struct {
		name  string
		turns [][]Turn
		off   bool
	}{
		{"never seen", nil, false},
		{"dear, twice", [][]Turn{times(2, ran(s, 5*s))}, false},
		{"dear, three times", [][]Turn{times(3, ran(s, 5*s))}, true},
		{"a small share", [][]Turn{times(100, ran(100*s, 9*s))}, false},
		{"a large share of little", [][]Turn{times(18, ran(20*time.Millisecond, 10*time.Millisecond))}, false},
		{"dear, and reused often", [][]Turn{times(5, hit(10*s)), times(5, ran(10*s, 5*s))}, false},
		{"dear, and reused long ago", [][]Turn{times(5, hit(2*s)), times(20, ran(2*s, 5*s))}, true},
		{"not watched", [][]Turn{times(9, Turn{Took: 5 * s})}, false},
		{"off for ten turns", [][]Turn{times(3, ran(s, 5*s)), times(9, Turn{Took: s})}, true},
		{"then tried again", [][]Turn{times(3, ran(s, 5*s)), times(10, Turn{Took: s})}, false},
		{"twice", [][]Turn{times(3, ran(s, 5*s)), times(10, Turn{Took: s}), times(2, ran(s, 5*s))}, false},
		{"and off again", [][]Turn{times(3, ran(s, 5*s)), times(10, Turn{Took: s}), times(3, ran(s, 5*s))}, true},
		{"nothing measured", [][]Turn{times(50, ran(0, 0))}, false},
	} {
		var h Habit
		n := 0
		for _, turns := range test.turns {
			for _, turn := range turns {
				h = h.After(turn)
				n++
			}
		}
		if h.Off() != test.off || h.Runs != n {
			t.Errorf("%s: off is %v after %d turns: %+v", test.name, h.Off(), h.Runs, h)
		}
	}
}

// TestHabitNeverOffForLittle holds the promises for any course of things.
func TestHabitNeverOffForLittle(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var h Habit
		took := time.Duration(rng.Int64N(int64(time.Minute)))
		share := rng.Float64() * 0.2
		watched := 0
		for range 60 {
			before := h
			turn := Turn{Hit: rng.IntN(3) == 0, Took: took}
			if !turn.Hit && !h.Off() {
				turn.Watched, turn.Overhead = true, time.Duration(float64(took)*share)
				watched++
			}
			h = h.After(turn)
			if h.Off() && !before.Off() && (watched < 3 || share < 0.0999 || turn.Overhead*time.Duration(watched) < smallExpense) {
				t.Fatalf("off after %d watched runs of %v with a share of %v: %+v", watched, took, share, h)
			}
			if h.OffUntil-h.Runs > offFor {
				t.Fatalf("off for too long: %+v", h)
			}
		}
	}
}

func TestHabitsAreKept(t *testing.T) {
	t.Parallel()
	one := openCache(t)
	other, err := Open(Options{Dir: one.dir})
	if err != nil {
		t.Fatal(err)
	}
	if h := one.Habit("a"); h != (Habit{}) {
		t.Errorf("%+v", h)
	}
	other.Habit("a") // it has read that there is nothing
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one.dir); err == nil {
		t.Error("something was written although nothing had changed")
	}
	one.Note("a", Turn{Watched: true, Took: 4 * time.Second, Overhead: time.Second})
	other.Note("b", Turn{Hit: true, Took: 3 * time.Second})
	other.Note("b", Turn{Hit: true, Took: 3 * time.Second})
	for _, c := range []*Cache{one, other} {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() *Cache {
		c, err := Open(Options{Dir: one.dir})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	third := reopen()
	if h := third.Habit("a"); h != (Habit{Runs: 1, Misses: 1, Took: 4 * time.Second, Overhead: time.Second}) {
		t.Errorf("%+v", h)
	}
	if h := third.Habit("b"); h.Hits != 2 || h.Runs != 2 {
		t.Errorf("%+v", h)
	}
	whole, err := os.ReadFile(third.habits.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 1
		if _, err := decodeHabits(b); err == nil {
			t.Errorf("byte %d changed, and nobody noticed", i)
		}
		if _, err := decodeHabits(whole[:i]); err == nil {
			t.Errorf("cut at %d, and nobody noticed", i)
		}
	}
	if err := os.WriteFile(third.habits.path, whole[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	c := reopen()
	c.Note("c", Turn{Hit: true})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if h := reopen().Habit("c"); h.Runs != 1 {
		t.Errorf("after damage: %+v", h)
	}
}
