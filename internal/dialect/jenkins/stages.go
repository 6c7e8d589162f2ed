package jenkins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// model runs a declarative pipeline.
type model struct {
	*build
	where *groovy.Closure // of pipeline { … }: what its expressions see
	call  *groovy.Call
}

// pipeline is the step pipeline { … }.
func pipeline(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if len(c.Args) != 1 {
		return nil, groovy.ErrMissing
	}
	where, ok := c.Args[0].(*groovy.Closure)
	if !ok {
		return nil, groovy.ErrMissing
	}
	if b.ran {
		return nil, c.Throw(illegalState, "Only one pipeline { ... } block can be executed in a single run.")
	}
	b.ran = true
	call := &groovy.CallExpr{Span: where.Expr().Span, Name: "pipeline", Args: []groovy.Expr{where.Expr()}}
	p, problems := declarative.Read(where.Script(), call, b.knownHere())
	if len(problems) > 0 {
		return nil, &dialect.ProblemError{Problem: problems[0]}
	}
	m := &model{build: b, where: where, call: c}
	return nil, m.run(c, f, p)
}

// failed is an error that scripts may throw and catch; others end everything.
func failed(err error) (*groovy.Thrown, bool) {
	var t *groovy.Thrown
	return t, errors.As(err, &t)
}

// run runs the pipeline: what its options say around all, the agent, the
// environment, the tools, the stages, and at last post.
func (m *model) run(c *groovy.Call, f *frame, p *declarative.Pipeline) error {
	for _, e := range p.Libraries {
		name, err := m.evalText(c.Thread, f, m.where, e)
		if err != nil {
			return err
		}
		if _, err := m.addLibrary(c, f, name); err != nil {
			return err
		}
	}
	if err := m.declare(c.Thread, f, p); err != nil {
		return err
	}
	if err := m.settings(c.Thread, f, p); err != nil {
		return err
	}
	posted := false
	var stages error
	err := m.inOptions(c, f, p.Options, func(c *groovy.Call, f *frame) error {
		posted = false
		stages = nil
		err := m.inAgent(c, f, p.Agent, m.where, !m.bare, func(t *groovy.Thread, f *frame) error {
			c := m.callIn(c, t)
			return m.inEnvironment(c, f, p.Environment, func(c *groovy.Call, f *frame) error {
				return m.inTools(c, f, p.Tools, func(c *groovy.Call, f *frame) error {
					stages = m.sequence(c, f, p.Stages, "")
					if stages != nil {
						if _, ok := failed(stages); !ok {
							return stages
						}
					}
					posted = true
					stages = m.postPipeline(c, f, p.Post, stages)
					return stages
				})
			})
		})
		if _, thrown := failed(err); err != nil && thrown && !posted {
			// Something around the stages failed, so they did not run.
			posted = true
			err = m.postPipeline(c, f, p.Post, err)
		}
		return err
	})
	return err
}

// callIn is a call on another thread.
func (m *model) callIn(c *groovy.Call, t *groovy.Thread) *groovy.Call {
	d := *c
	d.Thread = t
	return &d
}

// declare makes the parameters known that the pipeline declares with values
// that only now can be made.
func (m *model) declare(t *groovy.Thread, f *frame, p *declarative.Pipeline) error {
	for _, call := range p.Parameters {
		if err := m.declareParameter(t, f, m.where, call.Expr); err != nil {
			return err
		}
	}
	return nil
}

// settings reads the options that are settings.
func (m *model) settings(t *groovy.Thread, f *frame, p *declarative.Pipeline) error {
	flag := func(name string) (bool, error) {
		o := p.Option(name)
		if o == nil {
			return false, nil
		}
		if len(o.Expr.Args) == 0 {
			return true, nil
		}
		v, err := f.within(t).Eval(m.where, o.Expr.Args[0], nil)
		return v == true, err
	}
	for name, to := range map[string]*bool{"parallelsAlwaysFailFast": &m.failFast, "skipStagesAfterUnstable": &m.skipBad, "skipDefaultCheckout": &m.bare} {
		v, err := flag(name)
		if err != nil {
			return err
		}
		*to = v
	}
	if o := p.Option("checkoutToSubdirectory"); o != nil && len(o.Expr.Args) > 0 {
		var err error
		if m.subdir, err = m.evalText(t, f, m.where, o.Expr.Args[0]); err != nil {
			return err
		}
	}
	return nil
}

// evalText is the text of an expression of the pipeline.
func (b *build) evalText(t *groovy.Thread, f *frame, where *groovy.Closure, e groovy.Expr) (string, error) {
	in := f.within(t)
	v, err := in.Eval(where, e, nil)
	if err != nil {
		return "", err
	}
	return in.Text(v)
}

// inOptions runs body inside of the options that are steps with a body, the
// first outermost.
func (m *model) inOptions(c *groovy.Call, f *frame, options []declarative.Call, body func(c *groovy.Call, f *frame) error) error {
	for i, o := range options {
		step, ok := m.table()[o.Name]
		if !ok || !step.wraps || o.Name == "parameters" {
			continue
		}
		args, err := m.evalArgs(c.Thread, f, o.Expr)
		if err != nil {
			return err
		}
		inner := m.callIn(c, f.within(c.Thread))
		inner.Name, inner.At = o.Name, m.positionOf(o.Source)
		inner.Named = o.Expr.Named != nil
		inner.Args = append(args, groovy.Native(func(in *groovy.Call) (groovy.Value, error) {
			g := frameOf(in.Context())
			return nil, m.inOptions(m.callIn(c, in.Thread), g, options[i+1:], body)
		}))
		if step.shown != "" {
			f.say("[Pipeline] " + step.shown)
		}
		_, err = step.do(m.build, inner, f)
		return err
	}
	return body(m.callIn(c, f.within(c.Thread)), f)
}

func (m *model) positionOf(s plan.Source) groovy.Position {
	return groovy.Position{File: s.File, Line: s.Line, Column: s.Col}
}

// evalArgs are the arguments of a call that the model keeps unevaluated.
func (m *model) evalArgs(t *groovy.Thread, f *frame, call *groovy.CallExpr) ([]groovy.Value, error) {
	in := f.within(t)
	var args []groovy.Value
	if call.Named != nil {
		v, err := in.Eval(m.where, call.Named, nil)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	for _, e := range call.Args {
		v, err := in.Eval(m.where, e, nil)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	return args, nil
}

// sequence runs stages one after another. After one that failed the others
// are shown and skipped. why says that they are skipped from the beginning.
func (m *model) sequence(c *groovy.Call, f *frame, stages []*declarative.Stage, why string) error {
	var first error
	for _, st := range stages {
		skip := why
		switch {
		case skip != "":
		case first != nil:
			skip = "earlier failure(s)"
		case m.skipBad && m.result >= unstable:
			skip = "earlier stage(s) marking the build as unstable"
		}
		err := m.stage(c, f, st, skip, nil)
		if err == nil {
			continue
		}
		if _, ok := failed(err); !ok {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// inStage runs body as a step of its own, inside of which its steps are.
func (b *build) inStage(c *groovy.Call, f *frame, name string, body func(c *groovy.Call, f *frame) error) error {
	key := f.keys.next(name)
	g := f.inner()
	g.keys = newKeys(key)
	g.stage = &stageResult{outer: f.stage, name: name}
	g.branch = f.branch
	f.say("[Pipeline] stage")
	var ended error
	ran := false
	run := func(t *groovy.Thread) error {
		ran = true
		g.say("[Pipeline] { (" + name + ")")
		in := *c
		in.Thread = g.within(t)
		ended = body(&in, g)
		g.say("[Pipeline] }")
		if e, ok := failed(ended); ok {
			g.stage.worsen(resultOf(e), told(e))
			return nil
		}
		return ended
	}
	_, err := b.step(c.Thread, f, key, name, c.At, &ask{program: func(_ context.Context, _ *plan.Scope, _ dialect.Doer, log io.Writer) (plan.Effects, error) {
		// Steps are asked of the pipeline's own doer: that of the stage ends
		// when what is around the stage has to end.
		g.log = log
		var fx plan.Effects
		err := b.interp.Do(context.WithValue(g.ctx, frameKey{}, g), run)
		if err != nil {
			return fx, err
		}
		if r := g.stage.result; r != success {
			fx.Fail = strings.TrimSuffix(r.String()+": "+g.stage.why, ": ")
			if r == failure && g.stage.why != "" {
				fx.Fail = g.stage.why
			}
		}
		return fx, nil
	}})
	if !ran && (err == nil || !fatalError(err)) {
		// The stage was done before the run was interrupted: it is gone
		// through once more, its steps are answered from the record, and
		// what scripts changed on their way is as it was.
		g.log, g.quiet = io.Discard, true
		if again := run(c.Thread); again != nil {
			return again
		}
	}
	f.say("[Pipeline] // stage")
	if ended != nil {
		return ended
	}
	if err != nil && !fatalError(err) && f.ctx.Err() == nil {
		return nil
	}
	return err
}

func fatalError(err error) bool {
	_, ok := failed(err)
	return !ok
}

// stage runs one stage. skip says why it is not run; cell are the variables of
// a cell of a matrix.
func (m *model) stage(c *groovy.Call, f *frame, st *declarative.Stage, skip string, cell declarative.Cell) error {
	name := st.Name
	if cell != nil {
		name = cellName(cell)
	}
	at := *c
	at.At = m.positionOf(st.Source)
	return m.inStage(&at, f, name, func(c *groovy.Call, f *frame) error {
		if skip != "" {
			f.sayf("Stage %q skipped due to %s", name, skip)
			return m.skipInside(c, f, st, skip)
		}
		if cell != nil {
			f = f.inner()
			vars := make([]plan.Setting, len(cell))
			for i, v := range cell {
				vars[i] = plan.Setting{Name: v.Name, Value: v.Value}
			}
			f.set(m.build, vars)
			c = m.callIn(c, f.within(c.Thread))
		}
		return m.body(c, f, st, name)
	})
}

// skipInside shows the stages inside of one that is skipped.
func (m *model) skipInside(c *groovy.Call, f *frame, st *declarative.Stage, why string) error {
	if st.Stages != nil {
		return m.sequence(c, f, st.Stages, why)
	}
	if st.Parallel != nil || st.Matrix != nil {
		return m.branches(c, f, st, why)
	}
	return nil
}

// body is what a stage does, in the order that the language sets: conditions
// that come before, options, input, agent, conditions, environment, tools, and
// then steps or stages, and post.
func (m *model) body(c *groovy.Call, f *frame, st *declarative.Stage, name string) error {
	asked := false
	// holds asks when, once, and says that the stage is over if it does not hold.
	holds := func(c *groovy.Call, f *frame, now bool) (bool, error) {
		if asked || st.When == nil || !now {
			return true, nil
		}
		asked = true
		ok, err := m.when(c.Thread, f, st.When)
		if err == nil && !ok {
			f.sayf("Stage %q skipped due to when conditional", name)
			err = m.skipInside(c, f, st, "when conditional")
		}
		return ok, err
	}
	w := st.When
	if w == nil {
		w = &declarative.When{}
	}
	if ok, err := holds(c, f, w.BeforeOptions); !ok || err != nil {
		return err
	}
	branching := st.Parallel != nil || st.Matrix != nil
	return m.inOptions(c, f, st.Options, func(c *groovy.Call, f *frame) error {
		if ok, err := holds(c, f, w.BeforeInput); !ok || err != nil {
			return err
		}
		answers, err := m.question(c, f, st.Input)
		if err != nil {
			return err
		}
		if len(answers) > 0 {
			f = f.inner()
			f.set(m.build, answers)
			c = m.callIn(c, f.within(c.Thread))
		}
		if ok, err := holds(c, f, w.BeforeAgent); !ok || err != nil {
			return err
		}
		checkout := !m.bare
		if o := st.Option("skipDefaultCheckout"); o != nil {
			skip := groovy.Value(true)
			if len(o.Expr.Args) > 0 {
				if skip, err = f.within(c.Thread).Eval(m.where, o.Expr.Args[0], nil); err != nil {
					return err
				}
			}
			checkout = skip != true
		}
		return m.inAgent(c, f, st.Agent, m.where, checkout, func(t *groovy.Thread, f *frame) error {
			c := m.callIn(c, t)
			if ok, err := holds(c, f, true); !ok || err != nil {
				return err
			}
			return m.inEnvironment(c, f, st.Environment, func(c *groovy.Call, f *frame) error {
				return m.inTools(c, f, st.Tools, func(c *groovy.Call, f *frame) error {
					var err error
					switch {
					case st.Steps != nil:
						_, err = f.within(c.Thread).Exec(m.where, st.Steps.Body, nil)
					case branching:
						err = m.branches(c, f, st, "")
					default:
						err = m.sequence(c, f, st.Stages, "")
					}
					if err != nil {
						if _, ok := failed(err); !ok {
							return err
						}
					}
					return m.postStage(c, f, st.Post, err)
				})
			})
		})
	})
}

// cellName is the name of a cell's branch.
func cellName(c declarative.Cell) string {
	parts := make([]string, len(c))
	for i, v := range c {
		parts[i] = fmt.Sprintf("%s = '%s'", v.Name, v.Value)
	}
	return "Matrix - " + strings.Join(parts, ", ")
}

// branches runs the branches of a parallel stage or a matrix.
func (m *model) branches(c *groovy.Call, f *frame, st *declarative.Stage, why string) error {
	var list []branch
	for _, in := range st.Parallel {
		list = append(list, branch{in.Name, func(c *groovy.Call, f *frame) error { return m.stage(c, f, in, why, nil) }})
	}
	if st.Matrix != nil {
		for _, cell := range st.Matrix.Cells() {
			list = append(list, branch{cellName(cell), func(c *groovy.Call, f *frame) error { return m.stage(c, f, st.Matrix.Cell, why, cell) }})
		}
	}
	f.say("[Pipeline] parallel")
	err := m.parallel(c, f, list, st.FailFast || m.failFast, false)
	f.say("[Pipeline] // parallel")
	return err
}

// branch is a branch of parallel.
type branch struct {
	name string
	run  func(c *groovy.Call, f *frame) error
}

// parallel runs branches side by side and gives the error of the one that
// failed first. With failFast that ends the others.
func (b *build) parallel(c *groovy.Call, f *frame, list []branch, failFast, prefix bool) error {
	if len(list) > maxParallel {
		return &dialect.ProblemError{Problem: plan.Problem{Source: source(c.At), Severity: plan.Error, Rule: "limit", Message: fmt.Sprintf("parallel has more than %d branches", maxParallel)}}
	}
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	var first error
	runs := make([]func(*groovy.Thread) error, len(list))
	for i, br := range list {
		g := f.inner()
		g.ctx = ctx
		g.keys = newKeys(f.keys.next(br.name))
		if prefix {
			g.branch = br.name
		}
		f.say("[Pipeline] { (Branch: " + br.name + ")")
		runs[i] = func(t *groovy.Thread) error {
			in := *c
			in.Thread = g.within(t)
			err := br.run(&in, g)
			f.say("[Pipeline] }")
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
			if _, ok := failed(err); !ok {
				cancel(err)
				return err
			}
			f.sayf("Failed in branch %s", br.name)
			if failFast {
				cancel(&interruption{result: aborted, why: "Failed in branch " + br.name})
			}
			return err
		}
	}
	errs := c.Parallel(runs...)
	for _, err := range errs {
		if err != nil && fatalError(err) {
			return err
		}
	}
	return first
}

// timed runs body with a limit on its time.
func (b *build) timed(c *groovy.Call, f *frame, limit time.Duration, words string, body func(c *groovy.Call, f *frame) error) error {
	f.sayf("Timeout set to expire in %s", words)
	over := &interruption{result: aborted, why: "Timeout has been exceeded", timeout: true}
	ctx, cancel := context.WithTimeoutCause(f.ctx, limit, over)
	defer cancel()
	g := f.inner()
	g.ctx = ctx
	in := *c
	in.Thread = g.within(c.Thread)
	err := body(&in, g)
	if context.Cause(ctx) == error(over) && f.ctx.Err() == nil && err != nil {
		f.say("Cancelling nested steps due to timeout")
	}
	return err
}
