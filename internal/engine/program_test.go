package engine

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestHold: programs of several runs of a repository wait for what only so many may have,
// and in whatever order they ask none waits for ever.
func TestHold(t *testing.T) {
	t.Parallel()
	e := newBench(t).engine
	of := func(run, repository string) *doer {
		base := &plan.Scope{Context: &plan.Context{RunID: run, Change: &plan.Change{Repository: repository}}}
		return &doer{thread: &thread{job: &job{Engine: e, base: base, plan: &plan.Job{ID: "build"}}, ctx: t.Context()}}
	}
	never := func(name, by string) bool { return false }
	one, two := dialect.Want{Name: "lock a", Of: 1}, dialect.Want{Name: "throttle b", Of: 2}
	release, err := of("1", "o/r").Hold(t.Context(), []dialect.Want{one, two}, never)
	if err != nil || release == nil {
		t.Fatal(err)
	}
	var said string
	got, err := of("2", "O/R").Hold(t.Context(), []dialect.Want{two, one}, func(name, by string) bool { said = name + ": " + by; return false })
	if err != nil || got != nil || said != "lock a: job build of run 1" {
		t.Errorf("it is not free: %v, %q", err, said)
	}
	if other, err := of("3", "o/other").Hold(t.Context(), []dialect.Want{one}, never); err != nil || other == nil {
		t.Errorf("another repository's: %v", err)
	}
	second, err := of("2", "o/r").Hold(t.Context(), []dialect.Want{two}, never)
	if err != nil || second == nil {
		t.Errorf("the second of two: %v", err)
	}
	if third, err := of("4", "o/r").Hold(t.Context(), []dialect.Want{two}, never); err != nil || third != nil {
		t.Errorf("the third of two: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	if _, err := of("5", "o/r").Hold(ctx, []dialect.Want{one}, func(string, string) bool { cancel(why); return true }); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	release()
	second()

	var all sync.WaitGroup
	var mu sync.Mutex
	inside, most := 0, 0
	for i := range 8 {
		wants := []dialect.Want{one, {Name: "lock c", Of: 1}}
		if i%2 > 0 {
			wants[0], wants[1] = wants[1], wants[0]
		}
		all.Go(func() {
			release, err := of(string(rune('a'+i)), "o/r").Hold(t.Context(), wants, func(string, string) bool { return true })
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			release()
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d had it at a time", most)
	}
}
