package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// background is a step that runs beside those that follow it.
type background struct {
	step   *plan.Step
	thread *thread
	cancel context.CancelCauseFunc
	asked  bool // cancelled on purpose: how it ends is nobody's failure
	done   chan struct{}
	end    stepEnd
}

// stepEnd is how a step ended.
type stepEnd struct {
	outcome, conclusion plan.Verdict
	outputs             map[string]string
	finished            *record.StepFinished
	muted               bool // only tests in quarantine failed
}

// told is what other steps see of it.
func (e *stepEnd) told() plan.StepOutcome {
	o := plan.StepOutcome{Outcome: e.outcome, Conclusion: e.conclusion, Outputs: e.outputs}
	if e.finished != nil {
		o.Exit, o.Why = e.finished.Exit, e.finished.Why
	}
	return o
}

// steps runs steps in order.
func (t *thread) steps(steps []plan.Step, f *frame) {
	for i := range steps {
		t.step(&steps[i], f)
	}
}

// step runs one step, or what it asks of others, and lets the frame know.
func (t *thread) step(s *plan.Step, f *frame) {
	if (len(s.Parallel) > 0 || s.Background) && t.onPaper() {
		t.realise()
	}
	if t.over() {
		return
	}
	switch {
	case s.Wait != nil, s.Cancel != "":
		t.control(s, f)
	case len(s.Parallel) > 0:
		keys := make([]string, len(s.Parallel))
		for i := range s.Parallel {
			keys[i] = s.Parallel[i].Key
			t.spawn(&s.Parallel[i], f)
		}
		t.join(f, keys)
	case s.Background:
		t.spawn(s, f)
	default:
		t.settle(s, f, t.execute(s, f))
	}
}

// settle lets the frame know how a step ended.
func (t *thread) settle(s *plan.Step, f *frame, e stepEnd) {
	if s.ID != "" && s.Phase == plan.Main {
		f.outcomes[s.ID] = e.told()
	}
	if e.conclusion.Bad() {
		f.status = plan.Failure
		if f == f.top {
			t.mu.Lock()
			t.verdict = plan.Worse(t.verdict, e.conclusion)
			if t.failed == nil {
				t.failed = e.finished
			}
			t.mu.Unlock()
		}
	}
}

// spawn runs a step beside those that follow. It sees the environment as it is
// now; what it says counts from the moment it is waited for.
func (t *thread) spawn(s *plan.Step, f *frame) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	own := &thread{job: t.job, ctx: ctx, env: t.env, path: t.path}
	b := &background{step: s, thread: own, cancel: cancel, done: make(chan struct{})}
	if t.back == nil {
		t.back = map[string]*background{}
	}
	t.back[s.Key] = b
	t.ids = append(t.ids, s.Key)
	snapshot := *f
	snapshot.outcomes = maps.Clone(f.outcomes)
	top := *f.top
	if snapshot.top = &top; f == f.top {
		snapshot.top = &snapshot
	}
	go func() {
		defer close(b.done)
		defer cancel(nil)
		select {
		case t.places <- struct{}{}:
			defer func() { <-t.places }()
		case <-ctx.Done(): // it is cancelled before it began, which execute says
		}
		b.end = own.execute(s, &snapshot)
	}()
}

// join waits for background steps, by key; nil waits for all.
func (t *thread) join(f *frame, keys []string) {
	if keys == nil {
		keys = slices.Clone(t.ids)
	}
	for _, key := range keys {
		b := t.back[key]
		if b == nil {
			continue
		}
		<-b.done
		delete(t.back, key)
		t.ids = slices.DeleteFunc(t.ids, func(k string) bool { return k == key })
		t.heed(&b.thread.said)
		if b.asked && b.end.conclusion != plan.Success {
			b.end.conclusion = plan.Cancelled
		}
		t.settle(b.step, f, b.end)
	}
}

// control is a step that waits for background steps or ends one.
func (t *thread) control(s *plan.Step, f *frame) {
	scope := t.scope(s, f)
	if holds, err := t.holds(s.If, scope); err == nil && !holds {
		t.skip(s)
		return
	}
	t.note(s.Key, &record.StepStarted{Name: s.Name, At: s.Source, Line: t.lines()})
	before := f.status
	switch {
	case s.Cancel != "":
		if b := t.named(s.Cancel); b != nil {
			b.asked = true
			b.cancel(Cancel("cancelled by step " + s.Name))
			t.join(f, []string{b.step.Key})
		}
	case s.Wait.All:
		t.join(f, nil)
	default:
		for _, id := range s.Wait.IDs {
			if b := t.named(id); b != nil {
				t.join(f, []string{b.step.Key})
			}
		}
	}
	e := stepEnd{outcome: plan.Success, conclusion: plan.Success}
	if before == plan.Success && f.status != plan.Success {
		e.outcome, e.conclusion = plan.Failure, plan.Failure
	}
	e.finished = &record.StepFinished{Name: s.Name, Outcome: e.outcome, Conclusion: e.conclusion, Line: t.lines()}
	t.note(s.Key, e.finished)
}

// named finds a background step by its author's ID.
func (t *thread) named(id string) *background {
	for _, b := range t.back {
		if b.step.ID == id {
			return b
		}
	}
	return nil
}

func (t *thread) skip(s *plan.Step) stepEnd {
	fin := &record.StepFinished{Name: s.Name, Outcome: plan.Skipped, Conclusion: plan.Skipped, Line: t.lines()}
	t.note(s.Key, fin)
	return stepEnd{outcome: plan.Skipped, conclusion: plan.Skipped, finished: fin}
}

// execute takes one step to its end and records it. On paper that is tried
// first without a workspace.
func (t *thread) execute(s *plan.Step, f *frame) stepEnd {
	if fin, said, ok := t.replay.take(s.Key); ok {
		return t.repeat(s, f, fin, said)
	}
	e, done := t.try(s, f)
	if !done {
		if t.realise(); t.over() {
			return stepEnd{}
		}
		e, _ = t.try(s, f)
	}
	return e
}

// try takes a step to its end. It reports false when the workspace is needed
// and is not there.
func (t *thread) try(s *plan.Step, f *frame) (e stepEnd, done bool) {
	scope := t.scope(s, f)
	holds, err := true, error(nil)
	if !f.program {
		holds, err = t.holds(s.If, scope)
	}
	if err == nil && !holds {
		return t.skip(s), true
	}
	var act *plan.Act
	if err == nil {
		act, err = t.session.Resolve(t.ctx, s, scope)
	}
	if errors.Is(err, dialect.ErrPaper) {
		return stepEnd{}, false
	}
	if err != nil {
		t.note(s.Key, &record.StepStarted{Name: s.Name, ID: s.ID, Phase: s.Phase, At: s.Source, Line: t.lines()})
		return t.finish(s, &plan.Act{Name: s.Name}, stepWork{err: err}), true
	}
	if t.onPaper() && (act.Program != nil || act.Builtin != nil && !act.Builtin.Aloof) {
		return stepEnd{}, false
	}
	if act.Command != nil {
		if err := t.give(act.Command); err != nil {
			t.note(s.Key, &record.StepStarted{Name: t.req.Masker.String(act.Name), ID: s.ID, Phase: s.Phase, At: s.Source, Line: t.lines()})
			return t.finish(s, act, stepWork{err: err}), true
		}
	}
	var a *asked
	if act.Command != nil && t.reuse != nil {
		t.req.Masker.Add(act.Masks...)
		a = t.ask(s, act)
		if a.found != nil {
			if e, done := t.reuseStep(s, act, a); done {
				t.register(act, f)
				return e, true
			}
		}
		if t.onPaper() {
			t.reuse.missed[s.Key] = a
			return stepEnd{}, false
		}
	}
	t.register(act, f)
	return t.do(s, f, act, a, scope), true
}

// do does what a step comes to.
func (t *thread) do(s *plan.Step, f *frame, act *plan.Act, a *asked, scope *plan.Scope) stepEnd {
	t.req.Masker.Add(act.Masks...)
	started := &record.StepStarted{Name: t.req.Masker.String(act.Name), ID: s.ID, Phase: s.Phase, At: s.Source, Line: t.lines()}
	switch {
	case act.Command != nil:
		started.Script = t.req.Masker.String(act.Command.Script)
	case act.Program != nil:
		started.Script = t.req.Masker.String(act.Program.Text)
	}
	t.note(s.Key, started)

	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	if act.Timeout > 0 {
		limit := time.AfterFunc(act.Timeout, func() {
			cancel(&cause{plan.Timeout, fmt.Sprintf("the step ran longer than its limit of %s", act.Timeout)})
		})
		defer limit.Stop()
	}
	// When the job is cancelled, the step goes on only if it would have been
	// started even then. A program is told, and brings itself to an end.
	unwatch := context.AfterFunc(t.soft, func() {
		if f.program {
			return
		}
		if act.Program != nil {
			cancel(causeOf(t.soft))
			return
		}
		late := *scope
		late.Status = plan.Cancelled
		if holds, err := t.holds(s.If, &late); err != nil || !holds {
			cancel(causeOf(t.soft))
		}
	})
	defer unwatch()

	var w stepWork
	switch {
	case act.Problem != nil:
		w.err = &dialect.ProblemError{Problem: *act.Problem, Lacking: true}
	case act.Group != nil:
		w = t.group(ctx, s, act.Group, f)
	case t.onPaper():
		w = t.aloof(ctx, s, act, scope)
	default:
		tests := t.trial()
		chosen := false
		if w, chosen = t.affected(ctx, s, act, a, scope, tests); !chosen {
			w = t.work(ctx, s, act, a, scope, tests)
		}
		for tries := 1; tries <= act.Retry && w.failed() && ctx.Err() == nil; tries++ {
			t.exit(w.beside, nil)
			tests.attempt++
			w = t.work(ctx, s, act, a, scope, tests)
			w.tries = tries
		}
		if t.req.Tests.Retry > 0 && ctx.Err() == nil {
			w = t.retry(ctx, s, act, a, scope, w)
		}
	}
	if ctx.Err() != nil {
		w.cause = causeOf(ctx)
	}
	w.asked, w.begun = a, started.Line
	return t.finish(s, act, w)
}

// register keeps a step's post step for the end of the job.
func (t *thread) register(act *plan.Act, f *frame) {
	if act.Post == nil {
		return
	}
	t.mu.Lock()
	t.posts = append(t.posts, post{act.Post, f})
	t.mu.Unlock()
}

// repeat lets a step of an earlier run stand for this one.
func (t *thread) repeat(s *plan.Step, f *frame, fin *record.StepFinished, said []*plan.Effects) stepEnd {
	e := stepEnd{outcome: fin.Outcome, conclusion: fin.Conclusion, finished: fin, outputs: settings(fin.Effects.Outputs)}
	for _, fx := range said {
		t.heed(fx)
	}
	if fin.Outcome != plan.Skipped {
		t.remember(s.Key, nil)
	}
	t.save(s, fin.Effects.State)
	if s.Use != nil && fin.Outcome != plan.Skipped {
		if act, err := t.session.Resolve(t.ctx, s, t.scope(s, f)); err == nil {
			t.register(act, f)
		}
	}
	return e
}

// stepWork is what came of a step's work.
type stepWork struct {
	result executor.Result
	fx     plan.Effects
	tail   *tail
	tests  *trial
	said   []record.Body // of the reports that it left
	inner  *stepEnd      // of a group: the worst of its steps
	err    error
	cause  *cause

	tries  int                 // attempts before this one
	asked  *asked              // of a command that may be reused
	told   *record.Reuse       // of a built-in on paper
	seen   *record.Observation // of the first attempt, when failed tests were run again
	beside *besides
	apart  bool          // its tests ran unit by unit, and perhaps not all of them
	begun  int64         // line of the log
	lines  int64         // that it printed
	took   time.Duration // to run
}

// failed reports whether the user's own code or tool said that it failed.
func (w *stepWork) failed() bool {
	return w.err == nil && (w.result.Exit != 0 || w.fx.Fail != "")
}

// work runs a command, a built-in or a program, and listens to it.
func (t *thread) work(ctx context.Context, s *plan.Step, act *plan.Act, a *asked, scope *plan.Scope, tests *trial) (w stepWork) {
	w.tests = tests
	listener, err := t.session.Listen(s, act, scope)
	if err != nil {
		w.err = fmt.Errorf("listen to the step: %w", err)
		return w
	}
	out := &sink{thread: t, key: s.Key, listener: listener, tests: harvest.GoTest{Each: tests.keep(stdout).take}}
	split := logs.NewSplitter(out.line)
	if p, ok := listener.(dialect.Pinner); ok {
		split.Pin = p.Pins
	}
	writer := stamped{out, split}
	var begun time.Time
	if act.Program == nil {
		w.beside = t.enter()
	}
	switch {
	case act.Builtin != nil:
		w.fx, w.err = t.session.Do(ctx, act.Builtin, scope, writer)
	case act.Program != nil:
		w.fx, w.err = t.interpret(ctx, s, act, scope, writer)
	default:
		command := *act.Command
		command.Env = environment(command.Env, listener.Env())
		var watch *trace.Spec
		if a != nil && !a.off {
			watch = t.watch(a, &command, listener.Env())
		}
		t.mu.Lock()
		t.commands[s.Key] = &command
		t.mu.Unlock()
		if t.inside.Add(1) == 1 {
			t.within.Add(1)
		}
		begun = time.Now()
		w.result, w.err = t.room.Run(ctx, &command, watch, writer)
		w.took = time.Since(begun)
		if t.inside.Add(-1) == 0 {
			t.within.Add(-1)
		}
	}
	if err := split.Close(); err != nil && w.err == nil {
		w.err = err
	}
	left, err := listener.Close()
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("read what the step left: %w", err)
	}
	t.req.Masker.Add(left.Masks...)
	w.fx.Merge(&out.said)
	w.fx.Merge(&left)
	w.tail, w.lines = &out.tail, out.lines
	if report, ok := out.tests.End(); ok {
		tests.keep(stdout).end(report)
	}
	switch {
	case act.Command != nil:
		w.said = append(w.said, t.reports(&w, begun)...)
	case len(w.fx.Reports) > 0:
		w.said = append(w.said, t.declared(&w)...)
	}
	return w
}

// group runs the steps of a composite action, in a frame of their own.
func (t *thread) group(ctx context.Context, s *plan.Step, g *plan.Group, f *frame) (w stepWork) {
	inner := &frame{
		top: f.top, outcomes: map[string]plan.StepOutcome{}, status: plan.Success,
		group: &plan.GroupScope{Inputs: g.Inputs, Values: g.Values, Env: g.Env, Parent: f.group},
	}
	outer, back, ids := t.ctx, t.back, t.ids
	t.ctx, t.back, t.ids = ctx, nil, nil
	t.steps(g.Steps, inner)
	t.join(inner, nil)
	t.ctx, t.back, t.ids = outer, back, ids
	e := stepEnd{outcome: plan.Success}
	if inner.status != plan.Success {
		e.outcome = plan.Failure
	}
	w.inner = &e
	scope := t.scope(s, inner)
	for _, b := range g.Outputs {
		v, err := t.Dialect.Eval(b.Value, dialect.Text, scope)
		if errors.Is(err, dialect.ErrPaper) {
			if t.realise(); t.over() {
				break
			}
			scope = t.scope(s, inner)
			v, err = t.Dialect.Eval(b.Value, dialect.Text, scope)
		}
		if err != nil {
			w.err = err
			break
		}
		text, _ := v.(string)
		w.fx.Outputs = append(w.fx.Outputs, plan.Setting{Name: b.Name, Value: text})
	}
	return w
}

// finish judges what came of a step, records it and lets later steps see it.
func (t *thread) finish(s *plan.Step, act *plan.Act, w stepWork) stepEnd {
	w.said = append(w.tests.close(), w.said...)
	if t.over() {
		return stepEnd{}
	}
	muted := t.quarantined(s, act, &w)
	fin := &record.StepFinished{Name: t.req.Masker.String(act.Name), Exit: w.result.Exit, Signal: w.result.Signal, Line: t.lines(), Reuse: w.told}
	if !t.onPaper() {
		if err := t.log.Flush(); err != nil && w.err == nil {
			w.err = fmt.Errorf("write the log: %w", err)
		}
	}
	t.judge(fin, w)
	t.explain(fin, s, &w)
	fin.Conclusion = fin.Outcome
	if act.ContinueOnError && fin.Outcome.Bad() {
		fin.Conclusion = plan.Success
	}
	e := stepEnd{outcome: fin.Outcome, outputs: settings(w.fx.Outputs), finished: fin}
	if e.muted = muted && fin.Outcome == plan.Failure; e.muted {
		fin.Conclusion, fin.Muted, fin.Why = plan.Success, true, w.tests.count()+", and nothing that is not in quarantine"
	}
	e.conclusion = fin.Conclusion
	t.heed(&w.fx)
	t.save(s, w.fx.State)
	fin.Effects, fin.Masked = t.masked(w.fx)
	if w.asked != nil {
		t.keep(s, act, &w, fin)
	}
	t.rememberWork(s, act, &w)
	if t.exit(w.beside, w.result.Observation) {
		fin.Reuse.Barred = []record.Bar{{Kind: record.BarHazard}}
	}
	bodies := t.saved(slices.Grow(w.said, 1+len(w.fx.Artifacts)), w.fx.Artifacts)
	t.note(s.Key, append(bodies, fin)...)
	return e
}

// saved adds the events of artifacts, with what people are given of those that
// hold secrets.
func (t *thread) saved(bodies []record.Body, artifacts []plan.Artifact) []record.Body {
	if len(artifacts) == 0 {
		return bodies
	}
	earlier := t.keepEarlier()
	for _, a := range artifacts {
		b := &record.ArtifactSaved{Artifact: a, Earlier: earlier}
		if t.Conceal != nil && a.Digest != "" {
			shown, err := t.Conceal(t.hard, t.req.Masker, a.Digest)
			if err != nil {
				shown = &record.Shown{Unread: t.req.Masker.String(err.Error())}
			}
			b.Shown = shown
		}
		bodies = append(bodies, b)
	}
	return bodies
}

// judge says how a step ended and, if badly, whose fault it is.
func (t *thread) judge(fin *record.StepFinished, w stepWork) {
	var problem *dialect.ProblemError
	switch {
	case w.cause != nil && (w.result.Stopped || w.err != nil || w.inner != nil):
		fin.Outcome, fin.Why = w.cause.verdict, w.cause.why
		return
	case errors.As(w.err, &problem):
		fin.Outcome, fin.Why = plan.Failure, problem.Message
		if problem.Lacking {
			fin.Outcome = plan.Fault
		}
		fin.Fault = &record.Diagnosis{Rule: problem.Rule, Verdict: fin.Outcome, Title: problem.Message, Hint: problem.Hint, At: problem.Source}
		return
	case w.err == nil && w.fx.Lacking != "":
		fin.Outcome, fin.Why = plan.Fault, w.fx.Lacking
		fin.Fault = &record.Diagnosis{Rule: "not-here", Verdict: plan.Fault, Title: w.fx.Lacking}
		return
	case w.err == nil && w.fx.Fail != "":
		fin.Outcome, fin.Why = plan.Failure, w.fx.Fail
		fin.Fault = &record.Diagnosis{Rule: "step-said", Verdict: plan.Failure, Title: w.fx.Fail}
		return
	case w.inner != nil && w.err == nil:
		fin.Outcome = w.inner.outcome
		if fin.Outcome.Bad() {
			fin.Why = "a step inside it failed"
		}
		return
	case w.err == nil && w.result.Exit == 0 && w.result.Signal == "":
		fin.Outcome = plan.Success
		return
	}
	if errors.Is(w.err, fs.ErrNotExist) || errors.Is(w.err, fs.ErrPermission) {
		// The program or its directory is not there: the pipeline named it.
		fin.Outcome, fin.Why = plan.Failure, t.req.Masker.String(w.err.Error())
		fin.Fault = &record.Diagnosis{Rule: "not-started", Verdict: plan.Failure, Title: fin.Why}
		return
	}
	facts := fault.Facts{Exit: w.result.Exit, Signal: w.result.Signal, OOM: w.result.OOM, Notes: w.fx.Notes}
	if w.tail != nil {
		facts.Tail = w.tail.lines()
	}
	if w.err != nil {
		facts.Err = w.err.Error()
	}
	fin.Fault = fault.Diagnose(facts)
	fin.Outcome = fin.Fault.Verdict
	switch {
	case w.err != nil:
		fin.Why = t.req.Masker.String(w.err.Error())
	case w.result.Signal != "":
		fin.Why = "ended by signal " + w.result.Signal
	default:
		fin.Why = fmt.Sprintf("exit code %d", w.result.Exit)
	}
}

// save keeps what a step saved for its post step.
func (t *thread) save(s *plan.Step, state []plan.Setting) {
	if len(state) == 0 {
		return
	}
	key := cmp.Or(s.Of, s.Key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state[key] == nil {
		t.state[key] = map[string]string{}
	}
	for _, x := range state {
		t.state[key][x.Name] = x.Value
	}
}

// masked is what a step said without the values of secrets, and whether it
// held any.
func (t *thread) masked(fx plan.Effects) (plan.Effects, bool) {
	held := false
	clean := func(settings []plan.Setting) []plan.Setting {
		for i, x := range settings {
			if t.req.Masker.Holds(x.Value) {
				if !held {
					settings = slices.Clone(settings)
				}
				held = true
				settings[i].Value = t.req.Masker.String(x.Value)
			}
		}
		return settings
	}
	fx.Env, fx.Outputs, fx.State = clean(slices.Clone(fx.Env)), clean(slices.Clone(fx.Outputs)), clean(slices.Clone(fx.State))
	fx.Masks = nil
	fx.Summary = t.req.Masker.Mask(fx.Summary)
	fx.Fail, fx.Lacking = t.req.Masker.String(fx.Fail), t.req.Masker.String(fx.Lacking)
	fx.Notes = slices.Clone(fx.Notes)
	for i := range fx.Notes {
		fx.Notes[i].Message = t.req.Masker.String(fx.Notes[i].Message)
		fx.Notes[i].Title = t.req.Masker.String(fx.Notes[i].Title)
	}
	return fx, held
}

func settings(list []plan.Setting) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, len(list))
	for _, s := range list {
		m[s.Name] = s.Value
	}
	return m
}

// sink is where a step's output goes: through the dialect, which reads the
// commands in it, and the masker, to the log and whoever watches.
type sink struct {
	*thread
	key      string
	listener dialect.Listener
	said     plan.Effects
	tail     tail
	lines    int64
	tests    harvest.GoTest
	now      time.Time
}

// stamped gives all lines of one write the same time: asking the clock for
// each line would be felt.
type stamped struct {
	sink  *sink
	split io.Writer
}

func (w stamped) Write(p []byte) (int, error) {
	w.sink.now = time.Now()
	return w.split.Write(p)
}

func (s *sink) line(text []byte) error {
	shown, said := s.listener.Line(text)
	if said != nil {
		s.req.Masker.Add(said.Masks...)
		s.said.Merge(said)
	}
	if shown == nil {
		return nil
	}
	shown = s.req.Masker.Mask(shown)
	for {
		line, rest, more := bytes.Cut(shown, newline)
		if err := s.show(line); err != nil || !more {
			return err
		}
		shown = rest
	}
}

var newline = []byte{'\n'}

// show adds a line to the log and tells whoever watches.
func (s *sink) show(shown []byte) error {
	n, err := s.log.Line(s.key, s.now, shown)
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	s.lines++
	s.tests.Line(shown)
	s.tail.add(n, shown)
	s.req.Observer.Line(s.plan.ID, s.key, n, shown)
	return nil
}

// tail is the last lines of a step's output, in constant memory.
type tail struct {
	ring [tailLines]tailLine
	next int
}

const (
	tailLines = 400
	tailWidth = 2000 // bytes kept of a line
)

type tailLine struct {
	n    int64
	text []byte
	set  bool
}

func (t *tail) add(n int64, text []byte) {
	slot := &t.ring[t.next%tailLines]
	slot.n, slot.set = n, true
	slot.text = append(slot.text[:0], text[:min(len(text), tailWidth)]...)
	t.next++
}

func (t *tail) lines() []fault.Line {
	var lines []fault.Line
	for i := range tailLines {
		if slot := &t.ring[(t.next+i)%tailLines]; slot.set {
			lines = append(lines, fault.Line{N: slot.n, Text: strings.ToValidUTF8(string(slot.text), "�")})
		}
	}
	return lines
}
