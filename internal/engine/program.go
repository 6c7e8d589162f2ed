package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// interpret lets the dialect interpret the program that a step is.
func (t *thread) interpret(ctx context.Context, s *plan.Step, act *plan.Act, scope *plan.Scope, log io.Writer) (plan.Effects, error) {
	in, ok := t.session.(dialect.Interpreter)
	if !ok {
		return plan.Effects{}, fmt.Errorf("the %s dialect has no programs", t.Dialect.Name())
	}
	return in.Interpret(ctx, s, act, scope, &doer{thread: t}, &together{w: log})
}

// doer does what a program asks for: each step on a thread of its own, which
// ends with the context it is given, or when nothing of the job may go on.
type doer struct{ thread *thread }

// errGivenUp tells a program that its job is over.
var errGivenUp = errors.New("the job is over")

func (d *doer) Step(ctx context.Context, s *plan.Step) (plan.StepOutcome, error) {
	t := d.thread
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	defer stop()
	own := &thread{job: t.job, ctx: ctx, env: t.env, path: t.path}
	f := &frame{outcomes: map[string]plan.StepOutcome{}, status: plan.Success, program: true}
	f.top = f
	e := own.execute(s, f)
	if t.over() || e.finished == nil || t.ctx.Err() != nil {
		return plan.StepOutcome{}, errGivenUp
	}
	told := e.told()
	if e.muted { // a program is told nothing that it would fail for
		told.Outcome, told.Exit, told.Why = plan.Success, 0, ""
	}
	return told, nil
}

// Hold implements [dialect.Holder]: each thing is a lease of the record, or as many as may
// have it.
func (d *doer) Hold(ctx context.Context, wants []dialect.Want, wait func(name, by string) bool) (release func(), err error) {
	t := d.thread
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	defer stop()
	// All take them in one order, and hold none while they wait: nobody waits for ever.
	wants = slices.SortedFunc(slices.Values(wants), func(a, b dialect.Want) int { return strings.Compare(a.Name, b.Name) })
	g := group{leases: t.Leases, holder: t.base.RunID + " " + t.plan.ID}
	for {
		release, lacking, by, err := g.all(ctx, "held\x00"+strings.ToLower(t.base.Change.Repository), wants)
		if err != nil || release != nil {
			return release, err
		}
		if !wait(lacking, describe(by)) {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(groupPoll):
		}
	}
}

// all takes all of these, or none: then it says which is not free, and who has it.
func (g *group) all(ctx context.Context, prefix string, wants []dialect.Want) (release func(), lacking, by string, err error) {
	var taken []func()
	release = func() {
		for _, one := range taken {
			one()
		}
	}
	for _, w := range wants {
		var one func()
		for n := range max(w.Of, 1) {
			if one, by, err = g.try(ctx, fmt.Sprintf("%s\x00%s\x00%d", prefix, w.Name, n)); one != nil || err != nil {
				break
			}
		}
		if one == nil {
			release()
			return nil, w.Name, by, err
		}
		taken = append(taken, one)
	}
	return release, "", "", nil
}

// together lets the branches of a program write to one log.
type together struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *together) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}
