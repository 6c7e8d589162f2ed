package engine

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// talkative is the toy dialect with programs: a step's program is a Go
// function in its data.
type talkative struct{ toy }

type program func(ctx context.Context, do func(ctx context.Context, key, script string) plan.StepOutcome, log io.Writer) (plan.Effects, error)

func (d talkative) Open(ctx context.Context, s *plan.Scope) (dialect.Session, error) {
	return talkativeSession{}, nil
}

type talkativeSession struct{ toySession }

func (t talkativeSession) Resolve(ctx context.Context, st *plan.Step, s *plan.Scope) (*plan.Act, error) {
	if _, ok := st.Data["program"]; ok {
		return &plan.Act{Name: st.Name, Program: &plan.Program{Text: "a program"}}, nil
	}
	a, err := t.toySession.Resolve(ctx, st, s)
	if retry, ok := st.Data["retry"].(int); ok && err == nil {
		a.Retry = retry
	}
	return a, err
}

func (talkativeSession) Interpret(ctx context.Context, st *plan.Step, _ *plan.Act, _ *plan.Scope, do dialect.Doer, log io.Writer) (plan.Effects, error) {
	return st.Data["program"].(program)(ctx, func(ctx context.Context, key, script string) plan.StepOutcome {
		o, err := do.Step(ctx, &plan.Step{Key: st.Key + "." + key, Name: script, Run: &plan.Script{Text: plan.Expr{Text: script}}})
		if err != nil {
			return plan.StepOutcome{Why: "given up: " + err.Error()}
		}
		return o
	}, log)
}

func programJob(id string, p program) plan.Job {
	return plan.Job{ID: id, Steps: []plan.Step{{Key: "1", Name: "program", If: plan.Expr{Text: "always"}, Data: map[string]any{"program": p}}}}
}

func TestProgram(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	verdict := b.do(t.Context(), "1", programJob("a", func(ctx context.Context, do func(context.Context, string, string) plan.StepOutcome, log io.Writer) (plan.Effects, error) {
		if o := do(ctx, "1", "out x=7"); o.Outputs["x"] != "7" || o.Outcome != plan.Success {
			t.Errorf("the first step's outcome is %+v", o)
		}
		fmt.Fprintln(log, "between")
		if o := do(ctx, "2", "fail 3"); o.Exit != 3 || o.Outcome != plan.Failure || o.Why != "exit code 3" {
			t.Errorf("the second step's outcome is %+v", o)
		}
		var wg sync.WaitGroup
		for i := range 3 { // all at once, or none would end
			wg.Go(func() { do(ctx, fmt.Sprintf("3.%d", i), "meet 3") })
		}
		wg.Wait()
		return plan.Effects{Outputs: []plan.Setting{{Name: "sum", Value: "x"}}}, nil
	}))
	if verdict != plan.Success {
		t.Errorf("the run ended in %s: %s; what a program's steps come to is its own affair", verdict, b.why)
	}
	if got := b.logs["a"].lines; !slices.Equal(got, []string{"between"}) {
		t.Errorf("the log is %q", got)
	}
	var keys []string
	for _, s := range b.run.Jobs["a"].Steps {
		keys = append(keys, s.Key+"="+string(s.Finished.Outcome))
	}
	slices.Sort(keys)
	if got, want := strings.Join(keys, " "), "1.1=success 1.2=failure 1.3.0=success 1.3.1=success 1.3.2=success 1=success"; got != want {
		t.Errorf("recorded are %s, want %s", got, want)
	}
}

func TestProgramSaysItFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	verdict := b.do(t.Context(), "1", programJob("a", func(context.Context, func(context.Context, string, string) plan.StepOutcome, io.Writer) (plan.Effects, error) {
		return plan.Effects{Fail: "UNSTABLE: 2 tests failed"}, nil
	}))
	if verdict != plan.Failure || !strings.Contains(b.run.Jobs["a"].Why, "UNSTABLE: 2 tests failed") {
		t.Errorf("the run ended in %s: %s", verdict, b.run.Jobs["a"].Why)
	}
}

// A program is told that its job is cancelled; what it asks for then is done
// all the same, so that it can tidy up.
func TestProgramIsToldOfTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	ctx, cancel := context.WithCancelCause(t.Context())
	b.exec.hook = func(script string) {
		if script == "block" {
			cancel(Cancel("enough"))
		}
	}
	verdict := b.do(ctx, "1", programJob("a", func(ctx context.Context, do func(context.Context, string, string) plan.StepOutcome, _ io.Writer) (plan.Effects, error) {
		if o := do(ctx, "1", "block"); o.Outcome != plan.Cancelled || o.Why != "enough" {
			t.Errorf("the step that was under way: %+v", o)
		}
		if ctx.Err() == nil {
			t.Error("the program was not told")
		}
		if o := do(context.WithoutCancel(ctx), "2", "say tidy"); o.Outcome != plan.Success {
			t.Errorf("tidying up: %+v", o)
		}
		return plan.Effects{}, ctx.Err()
	}))
	if verdict != plan.Cancelled {
		t.Errorf("the run ended in %s", verdict)
	}
}

func TestProgramLimitsItsSteps(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	b.do(t.Context(), "1", programJob("a", func(ctx context.Context, do func(context.Context, string, string) plan.StepOutcome, _ io.Writer) (plan.Effects, error) {
		limited, cancel := context.WithTimeoutCause(ctx, time.Millisecond, fmt.Errorf("timeout of 1 ms"))
		defer cancel()
		if o := do(limited, "1", "block"); o.Outcome != plan.Timeout || o.Why != "timeout of 1 ms" {
			t.Errorf("the step that ran too long: %+v", o)
		}
		return plan.Effects{}, nil
	}))
}

// Steps of a program that had finished are answered from the record when the
// run is resumed.
func TestProgramResumed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	ran := func(ctx context.Context, do func(context.Context, string, string) plan.StepOutcome, _ io.Writer) (plan.Effects, error) {
		o := do(ctx, "1", "out x=7")
		do(ctx, "2", "say "+o.Outputs["x"])
		return plan.Effects{}, nil
	}
	jobs := programJob("a", ran)
	b.do(t.Context(), "1", jobs)
	// What was recorded before the second step was under way.
	var cut int
	for i, e := range b.rec.events {
		if _, ok := e.Body.(*record.StepStarted); ok && e.Step == "1.2" {
			cut = i + 1
		}
	}
	b.rec.events = b.rec.events[:cut]
	b.request.Prior = b.fold("1")
	b.exec.ran = nil
	if verdict := b.do(t.Context(), "1", jobs); verdict != plan.Success {
		t.Fatalf("the resumed run ended in %s: %s", verdict, b.why)
	}
	if want := []string{"say 7"}; !slices.Equal(b.exec.ran, want) {
		t.Errorf("the resumed run ran %q, want %q", b.exec.ran, want)
	}
}

func TestStepRetry(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.engine.Dialect = talkative{}
	again := steps("flaky")
	again[0].Data = map[string]any{"retry": 2}
	never := steps("fail 2")
	never[0].Data = map[string]any{"retry": 2}
	b.do(t.Context(), "1", plan.Job{ID: "a", Steps: again}, plan.Job{ID: "b", Steps: never})
	if got, want := b.verdicts(), "a=success b=failure"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b.exec.tried["flaky"] != 2 || b.exec.tried["fail 2"] != 3 {
		t.Errorf("tried %v", b.exec.tried)
	}
}

func TestJobRetryAndTolerance(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := func(id, script string, retry *plan.Retry, tolerate ...int) plan.Job {
		return plan.Job{ID: id, Steps: steps(script), Retry: retry, Tolerate: tolerate}
	}
	verdict := b.do(t.Context(), "1",
		job("any", "fail 1", &plan.Retry{Max: 2}, 1),
		job("code", "fail 2", &plan.Retry{Max: 2, Exit: []int{2}}, 2),
		job("other", "fail 3", &plan.Retry{Max: 2, Exit: []int{4}}, 3),
		job("verdict", "fail 4", &plan.Retry{Max: 1, On: []plan.Verdict{plan.Failure}}, 4),
		job("fault", "fail 5", &plan.Retry{Max: 1, On: []plan.Verdict{plan.Fault}}, 4, 5),
		plan.Job{ID: "after", Needs: []string{"any"}, Steps: steps("ok")},
	)
	if verdict != plan.Success {
		t.Errorf("the run ended in %s: every failure was tolerable", verdict)
	}
	for script, want := range map[string]int{"fail 1": 3, "fail 2": 3, "fail 3": 1, "fail 4": 2, "fail 5": 1, "ok": 1} {
		if got := b.exec.tried[script]; got != want {
			t.Errorf("%q ran %d times, want %d", script, got, want)
		}
	}
	if j := b.run.Jobs["any"]; j.Verdict != plan.Failure || j.Result != plan.Success {
		t.Errorf("a tolerated failure is %s and counts as %s", j.Verdict, j.Result)
	}
	if v := b.do(t.Context(), "2", job("x", "fail 1", nil, 2)); v != plan.Failure {
		t.Errorf("another exit code than the tolerated ended in %s", v)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.engine.Grace = time.Hour
		start := time.Now()
		verdict := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("ok")}, plan.Job{ID: "b", Needs: []string{"a"}, Delay: 30 * time.Minute, Steps: steps("say late")})
		if took := time.Since(start); verdict != plan.Success || took < 30*time.Minute || took > 31*time.Minute {
			t.Errorf("ended in %s after %s", verdict, took)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(Cancel("enough")) })
		start = time.Now()
		if v := b.do(ctx, "2", plan.Job{ID: "b", Delay: 30 * time.Minute, Steps: steps("say never")}); v != plan.Cancelled || time.Since(start) > 2*time.Minute {
			t.Errorf("a job cancelled while it waits: %s after %s", v, time.Since(start))
		}
		if b.exec.tried["say never"] != 0 {
			t.Error("it ran all the same")
		}
	})
}
