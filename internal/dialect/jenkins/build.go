package jenkins

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Classes of Jenkins' exceptions.
const (
	abortException       = "hudson.AbortException"
	interruptedException = "org.jenkinsci.plugins.workflow.steps.FlowInterruptedException"
	noSuchStep           = "java.lang.NoSuchMethodError"
	noCredentials        = "org.jenkinsci.plugins.credentialsbinding.impl.CredentialNotFoundException"
	missingContext       = "org.jenkinsci.plugins.workflow.steps.MissingContextVariableException"
	illegalState         = "java.lang.IllegalStateException"
	illegalArgument      = "java.lang.IllegalArgumentException"
)

// throwables are the exceptions that Groovy does not bring itself, and what
// they are below.
func throwables() map[string]string {
	return map[string]string{
		abortException:       "java.io.IOException",
		interruptedException: "java.lang.InterruptedException",
		noCredentials:        abortException,
		missingContext:       "java.lang.Exception",
		"org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException":      "java.lang.SecurityException",
		"org.jenkinsci.plugins.workflow.actions.ErrorAction$ErrorId":                "java.lang.Exception",
		"org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution$ExceededTimeout": "java.lang.Exception",
	}
}

// Limits of one build's scripts beside those of groovy.
const (
	maxParallel = 500  // branches of one parallel
	maxSteps    = 5000 // steps that one build asks for
)

// build is one run of a Jenkinsfile. Everything in it is read and changed by
// who has the interpreter's turn.
type build struct {
	*session
	scope  *plan.Scope
	interp *groovy.Interp
	script *groovy.Script

	result    result
	why       string
	given     bool              // a result was given, so that it is not null
	overrides map[string]string // env.NAME = value
	params    *groovy.Map
	display   string // currentBuild.displayName
	about     string // currentBuild.description
	ran       bool   // a declarative pipeline
	asked     int    // steps
	nodes     nodes
	above     []string // the files of the builds that this one is part of, and its own
	libraries []*library
	loaded    map[string]*groovy.Script // by path, of libraries and of load
	settled   bool                      // the git variables are known
	failFast  bool                      // parallelsAlwaysFailFast
	skipBad   bool                      // skipStagesAfterUnstable
	bare      bool                      // skipDefaultCheckout
	subdir    string                    // checkoutToSubdirectory
	effects   plan.Effects
	artifacts map[string]int
	milestone int64
	rows      map[string]stepRow
	settings  *settings
}

// fatal is an error that no script may catch: of the engine, or of ours.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// run runs the pipeline to its end.
func (n *session) run(ctx context.Context, s *plan.Scope, do dialect.Doer, log io.Writer) (plan.Effects, error) {
	file := s.Pipeline.File
	script, problems := n.d.parse(file, textOf(s.Pipeline, file))
	if len(problems) > 0 {
		return plan.Effects{}, &dialect.ProblemError{Problem: problems[0]}
	}
	b := n.build(s, script)
	b.above = []string{file}
	b.nodes.home, b.nodes.apart = s.Dirs.Workspace, s.Dirs.Temp
	return b.execute(&frame{do: do, log: log, ctx: ctx, keys: newKeys(mainKey), stage: &stageResult{}})
}

// build is a run of a Jenkinsfile that has not begun.
func (n *session) build(s *plan.Scope, script *groovy.Script) *build {
	b := &build{
		session: n, scope: s, script: script, overrides: map[string]string{}, loaded: map[string]*groovy.Script{}, artifacts: map[string]int{},
		display: fmt.Sprintf("#%d", s.Number),
	}
	seed := fnv.New64a()
	io.WriteString(seed, s.RunID)
	b.interp = groovy.New(groovy.Config{
		Host: globals{b}, Class: b.class, Library: b.global, Throwables: throwables(),
		Now: func() time.Time { return s.Started }, Seed: int64(seed.Sum64()), Interrupt: b.interrupt, Limits: n.d.cfg.Limits,
	})
	return b
}

// execute runs the Jenkinsfile to its end.
func (b *build) execute(f *frame) (plan.Effects, error) {
	ctx := f.ctx
	err := b.interp.Do(context.WithValue(ctx, frameKey{}, f), func(t *groovy.Thread) error {
		b.params = b.parameters()
		f.say("[Pipeline] Start of Pipeline")
		err := b.main(t, f)
		f.say("[Pipeline] End of Pipeline")
		return b.ended(t, f, err)
	})
	if err != nil {
		return b.effects, err
	}
	b.effects.Outputs = append(b.effects.Outputs, plan.Setting{Name: "result", Value: b.result.String()})
	if b.result == success {
		return b.effects, nil
	}
	if b.result == aborted && ctx.Err() != nil {
		return b.effects, context.Cause(ctx)
	}
	b.effects.Fail = b.why
	if b.result != failure || b.why == "" {
		b.effects.Fail = strings.TrimSuffix(b.result.String()+": "+b.why, ": ")
	}
	return b.effects, nil
}

// main runs the Jenkinsfile as it is written: a declarative pipeline is a call
// in it, after what the file declares.
func (b *build) main(t *groovy.Thread, f *frame) error {
	if err := b.importLibraries(t, f); err != nil {
		return err
	}
	_, err := f.within(t).Run(b.script)
	return err
}

// ended settles the build's result by the error that the script ended with.
// What it returns is no business of scripts.
func (b *build) ended(t *groovy.Thread, f *frame, err error) error {
	var thrown *groovy.Thrown
	var limit *groovy.LimitError
	var problem *dialect.ProblemError
	switch {
	case err == nil:
	case errors.As(err, &thrown):
		b.worsen(resultOf(thrown), told(thrown))
		if text := printed(t, thrown); text != "" {
			f.say(text)
		}
	case errors.As(err, &limit):
		return &dialect.ProblemError{Problem: plan.Problem{Source: source(limit.At), Severity: plan.Error, Rule: "limit", Message: "the script needs " + limit.What}}
	case errors.As(err, &problem):
		return problem
	default:
		return err
	}
	f.say("Finished: " + b.result.String())
	return nil
}

// worsen makes the build's result worse.
func (b *build) worsen(r result, why string) {
	b.given = b.given || r > success
	if r > b.result {
		b.result, b.why = r, why
	}
}

// resultOf is the result that an exception stands for.
func resultOf(e *groovy.Thrown) result {
	if !e.InstanceOf(interruptedException) {
		return failure
	}
	switch r := field(e, "result").(type) {
	case string:
		return parseResult(r)
	case resultValue:
		return r.result
	}
	return aborted
}

// field is a field of an exception; nil when it has none of that name.
func field(e *groovy.Thrown, name string) groovy.Value {
	v, _ := e.Object.Field(name)
	return v
}

// told is what an exception says, in one line.
func told(e *groovy.Thrown) string {
	if m := e.Message(); m != "" {
		return m
	}
	if e.InstanceOf(interruptedException) {
		if why, ok := field(e, "why").(string); ok {
			return why
		}
	}
	return e.Object.ClassName()
}

// printed is how Jenkins shows an exception that nobody caught.
func printed(_ *groovy.Thread, e *groovy.Thrown) string {
	switch {
	case e.InstanceOf(abortException):
		return "ERROR: " + e.Message()
	case e.InstanceOf(interruptedException):
		why, _ := field(e, "why").(string)
		return why
	}
	var b strings.Builder
	b.WriteString(e.Object.ClassName())
	if m := e.Message(); m != "" {
		b.WriteString(": " + m)
	}
	for i, at := range append([]groovy.Position{e.At}, e.Trace...) {
		if i > maxTrace {
			break
		}
		if at.Line > 0 {
			fmt.Fprintf(&b, "\n\tat %s", at)
		}
	}
	return b.String()
}

// maxTrace is how many calls are shown above an exception.
const maxTrace = 10

func source(p groovy.Position) plan.Source {
	return plan.Source{File: p.File, Line: p.Line, Col: p.Column}
}

// textOf is a file that the pipeline was compiled from.
func textOf(p *plan.Pipeline, path string) string {
	for _, t := range p.Texts {
		if t.Path == path {
			return t.Body
		}
	}
	return ""
}

// interrupt is the exception that a script ends with whose time is over.
func (b *build) interrupt(t *groovy.Thread, cause error) error {
	e := t.Throw(interruptedException, "")
	why := cause.Error()
	var own *interruption
	if errors.As(cause, &own) {
		e.Object.SetField("result", own.result.String())
	} else {
		e.Object.SetField("result", aborted.String())
	}
	e.Object.SetField("why", why)
	e.Object.SetField("causes", groovy.NewList(&causeValue{why: why, timeout: own != nil && own.timeout}))
	return e
}

// interruption is why a part of a build was ended by another part of it.
type interruption struct {
	result  result
	why     string
	timeout bool
}

func (i *interruption) Error() string { return i.why }

// abort is the exception of a step that failed.
func abort(t *groovy.Thread, format string, args ...any) error {
	return t.Throw(abortException, format, args...)
}

// step asks the engine for a step and waits for its end. An error is fatal, or
// says that the time of the block is over.
func (b *build) step(t *groovy.Thread, f *frame, key, name string, at groovy.Position, a *ask) (plan.StepOutcome, error) {
	if b.asked++; b.asked > maxSteps {
		return plan.StepOutcome{}, &dialect.ProblemError{Problem: plan.Problem{Source: source(at), Severity: plan.Error, Rule: "limit",
			Message: fmt.Sprintf("the pipeline runs more than %d steps", maxSteps), Hint: "put what is repeated into one script"}}
	}
	forget := b.put(key, a)
	defer forget()
	ctx := f.ctx
	if a.program != nil {
		// What is inside is ended, and the stage still has its post section.
		ctx = context.WithoutCancel(ctx)
	}
	var out plan.StepOutcome
	var err error
	t.Unlocked(func() { out, err = f.do.Step(ctx, &plan.Step{Key: key, Name: name, Source: source(at)}) })
	if err != nil {
		return out, fatal{err}
	}
	if f.ctx.Err() != nil {
		return out, b.interrupt(t, context.Cause(f.ctx))
	}
	return out, nil
}

// builtin asks for a built-in and gives its outputs. One that fails throws.
func (b *build) builtin(c *groovy.Call, f *frame, name, title string, inputs map[string]string) (map[string]string, error) {
	inputs[inputDir] = f.dir
	out, err := b.step(c.Thread, f, f.keys.next(name), title, c.At, &ask{act: func(*plan.Scope) (*plan.Act, error) {
		return &plan.Act{Name: title, Builtin: &plan.Builtin{Name: name, Inputs: inputs}}, nil
	}})
	if err != nil {
		return nil, err
	}
	if out.Outcome.Bad() {
		return nil, abort(c.Thread, "%s", out.Why)
	}
	return out.Outputs, nil
}
