package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

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
