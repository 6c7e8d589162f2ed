package azure

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/protocol"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/task"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// session is one job while it runs.
type session struct {
	d    *Dialect
	job  protocol.Job
	made sync.Once // the directories beside the sources
	err  error
}

// Open implements dialect.Dialect.
func (d *Dialect) Open(_ context.Context, s *plan.Scope) (dialect.Session, error) {
	return &session{d: d, job: protocol.Job{Workspace: s.Dirs.Workspace, Debug: s.Context != nil && s.Debug || debugs(s)}}, nil
}

// debugs reports whether the pipeline itself asks for debug messages.
func debugs(s *plan.Scope) bool {
	if s.Job == nil {
		return false
	}
	return slices.ContainsFunc(s.Job.Env, func(b plan.Binding) bool {
		return strings.EqualFold(b.Name, "system.debug") && strings.EqualFold(b.Value.Text, "true")
	})
}

// Close implements dialect.Session.
func (n *session) Close() error { return nil }

// Setup implements dialect.Session. It asks the runtime expressions of all
// variables once, so that one that is wrong fails the job before it has done
// anything.
func (n *session) Setup(_ context.Context, s *plan.Scope) (dialect.Setup, error) {
	out := dialect.Setup{Masks: told(s)}
	e := &evaluator{s: s}
	for _, b := range s.Job.Env {
		if _, ok := wholeRuntime(b.Value.Text); ok {
			if _, err := e.value(b.Value); err != nil {
				return out, err
			}
		}
	}
	if s.Context != nil && s.Pipeline != nil {
		for _, t := range s.Pipeline.Texts { // templates of other repositories
			if t.Commit != "" {
				out.Materials = append(out.Materials, record.Material{Name: t.Path, Commit: t.Commit})
			}
		}
	}
	return out, nil
}

// Resolve implements dialect.Session.
func (n *session) Resolve(_ context.Context, step *plan.Step, s *plan.Scope) (*plan.Act, error) {
	scope := *s
	if scope.Step == nil {
		scope.Step = step
	}
	r := &resolving{session: n, step: step, s: &scope, e: &evaluator{s: &scope}}
	return r.act()
}

// resolving is one step whose turn has come.
type resolving struct {
	*session
	step *plan.Step
	s    *plan.Scope
	e    *evaluator
}

func (r *resolving) act() (*plan.Act, error) {
	step, vars := r.step, r.e.variables()
	act := &plan.Act{Name: strings.TrimSpace(vars.macros(step.Name))}
	if !step.Timeout.IsZero() {
		text := strings.TrimSpace(vars.macros(step.Timeout.Text))
		limit, ok := expression.Number(text)
		if !ok && text != "" {
			return nil, wrong(step.Timeout.Source, "type", fmt.Sprintf("timeoutInMinutes comes to %s and must be a number", plan.Clip(text)), "")
		}
		act.Timeout = minutes(limit)
	}
	act.ContinueOnError, _ = boolean(strings.TrimSpace(vars.macros(step.ContinueOnError.Text)))
	if text, ok := step.Data[dataRetry].(string); ok {
		const most = 10 // the service's own limit
		retries, _ := expression.Number(strings.TrimSpace(vars.macros(text)))
		act.Retry = int(min(max(retries, 0), most))
	}
	call := r.call()
	if step.Use != nil && (r.d.tasks.Lookup(step.Use.Ref) == nil || r.script() != "") {
		return act, r.standIn(act, call)
	}
	if err := r.d.tasks.Resolve(call, act); err != nil {
		return nil, err
	}
	if t := r.d.tasks.Lookup(call.Ref); t != nil && t.Post && act.Builtin != nil && step.Phase == plan.Main {
		post := *step
		post.Key, post.Of, post.Phase, post.ID = step.Key+".post", step.Key, plan.Post, ""
		post.Name = "Post: " + act.Name
		post.If = plan.Expr{}
		act.Post = &post
	}
	return act, r.target(act)
}

// call is the use of a task that the step is.
func (r *resolving) call() task.Call {
	step, vars := r.step, r.e.variables()
	c := task.Call{Inputs: map[string]string{}, Step: step, Scope: r.s, Env: r.environment(), Path: slices.Clone(r.s.Path), State: r.s.State, Volatile: volatile}
	if step.Run != nil {
		c.Ref = shells[step.Run.Shell.Text]
		c.Inputs["script"], c.Inputs["targetType"] = vars.macros(step.Run.Text.Text), "inline"
		c.Inputs["workingDirectory"] = vars.macros(step.Run.Dir.Text)
		settings, _ := step.Data[dataSettings].(map[string]any)
		for name, v := range settings {
			text, _ := v.(string)
			c.Inputs[name] = vars.macros(text)
		}
	} else {
		c.Ref = step.Use.Ref
		for _, b := range step.Use.With {
			c.Inputs[b.Name] = vars.macros(b.Value.Text)
		}
	}
	r.around(&c)
	c.Many, _ = step.Data[dataMany].(bool)
	return c
}

// around fills in what a call knows of its job.
func (r *resolving) around(c *task.Call) {
	c.Work, c.Staging = workDir(r.s.Dirs), filepath.Join(workDir(r.s.Dirs), "a")
	repos, _ := r.s.Job.Values[valueRepos].(map[string]any)
	c.Remotes = make(map[string]map[string]string, len(repos))
	for alias, v := range repos {
		fields, _ := v.(map[string]any)
		c.Remotes[alias] = map[string]string{}
		for k, x := range fields {
			c.Remotes[alias][k], _ = x.(string)
		}
	}
}

// environment is what the step finds in its environment: the variables, and
// over them its own env:, which may hold secrets.
func (r *resolving) environment() map[string]string {
	vars := r.e.variables()
	env := vars.environment()
	for _, b := range r.step.Env {
		env[b.Name] = vars.macros(b.Value.Text)
	}
	return env
}

// volatile are the variables that tell one run from another: a script that does
// not use them does the same in each.
var volatile = []string{
	"BUILD_BUILDID", "BUILD_BUILDNUMBER", "BUILD_BUILDURI", "BUILD_SOURCEVERSION", "BUILD_SOURCEBRANCH", "BUILD_SOURCEBRANCHNAME", "BUILD_REASON",
	"BUILD_REQUESTEDFOR", "BUILD_QUEUEDBY", "BUILD_SOURCEVERSIONAUTHOR", "SYSTEM_JOBATTEMPT", "SYSTEM_STAGEATTEMPT", "SYSTEM_PHASEATTEMPT", "AGENT_JOBSTATUS",
	"SYSTEM_JOBID", "SYSTEM_JOBNAME", "SYSTEM_JOBDISPLAYNAME", "AGENT_JOBNAME", "SYSTEM_PHASENAME", "SYSTEM_PHASEDISPLAYNAME", "SYSTEM_STAGENAME", "SYSTEM_STAGEDISPLAYNAME",
	"SYSTEM_PULLREQUEST_SOURCEBRANCH", "SYSTEM_PULLREQUEST_TARGETBRANCH", "SYSTEM_PULLREQUEST_TARGETBRANCHNAME", "SYSTEM_PULLREQUEST_SOURCECOMMITID",
	"SYSTEM_PULLREQUEST_PULLREQUESTID", "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "BUILD_DEFINITIONNAME", "SYSTEM_DEFINITIONNAME",
}

// script is what the project says stands for the task, "" for nothing.
func (r *resolving) script() string {
	scripts, _ := r.s.Job.Values[valueStandIns].(map[string]any)
	script, _ := scripts[strings.ToLower(r.step.Use.Ref)].(string)
	return script
}

// standIn makes of a task what the project says stands for it: a script, which
// finds the inputs in its environment.
func (r *resolving) standIn(act *plan.Act, c task.Call) error {
	script := r.script()
	if script == "" {
		p := r.d.tasks.Unknown(r.step.Use.Ref, r.step.Use.Source, plan.Error)
		act.Problem = &p
		return nil
	}
	for name, value := range c.Inputs {
		c.Env["INPUT_"+variableName(name)] = value
	}
	c.Ref, c.Inputs = shells["bash"], map[string]string{"script": script, "targetType": "inline"}
	if err := r.d.tasks.Resolve(c, act); err != nil {
		return err
	}
	return r.target(act)
}

// target moves a command into the container that the step names.
func (r *resolving) target(act *plan.Act) error {
	t, _ := r.step.Data[dataTarget].(map[string]any)
	name, _ := t["container"].(string)
	name = r.e.variables().macros(name)
	if act.Command == nil || name == "" || name == "host" {
		return nil
	}
	known, _ := r.s.Job.Values[valueImages].(map[string]any)
	i := image{Image: name, Known: known, Source: r.step.Source}
	c, err := i.fill(func(x plan.Expr) (string, error) { return r.e.variables().macros(x.Text), nil })
	act.Command.Container = c
	return err
}

// Listen implements dialect.Session.
func (n *session) Listen(step *plan.Step, act *plan.Act, s *plan.Scope) (dialect.Listener, error) {
	if n.made.Do(func() { n.err = makeDirs(s.Dirs) }); n.err != nil {
		return nil, n.err
	}
	e := &evaluator{s: s}
	t, _ := step.Data[dataTarget].(map[string]any)
	o := protocol.Options{
		ID: step.ID, Restricted: t["commands"] == "restricted",
		Readonly: func(name string) bool { _, v := e.variables().get(name); return v != nil && v.readonly },
		Secret:   func(name string) bool { _, v := e.variables().get(name); return v != nil && v.secret },
	}
	if settable, ok := t["settable"]; ok {
		o.Limited, o.Settable = true, anyTexts(settable)
	}
	l := n.job.Listen(o)
	if act.Command == nil || n.d.cfg.Depot == nil {
		return l, nil
	}
	return &uploading{Listener: l, d: n.d, call: task.Call{Ref: "PublishBuildArtifacts@1", Step: step, Scope: s, Work: workDir(s.Dirs)}}, nil
}

// makeDirs makes the directories that a job has beside its sources.
func makeDirs(d plan.Dirs) error {
	work := workDir(d)
	for _, name := range []string{"a", "b", "TestResults"} {
		if err := os.MkdirAll(filepath.Join(work, name), 0o755); err != nil {
			return fmt.Errorf("make the job's directories: %w", err)
		}
	}
	link := filepath.Join(work, "s")
	to, err := filepath.Rel(work, d.Workspace) // relative, so that it holds in a container too
	if err != nil {
		to = d.Workspace
	}
	if err := os.Symlink(to, link); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make the job's directories: %w", err)
	}
	return nil
}

// uploading saves what a step asked to keep, when it has ended.
type uploading struct {
	*protocol.Listener
	d    *Dialect
	call task.Call
}

// Close implements dialect.Listener.
func (u *uploading) Close() (plan.Effects, error) {
	fx, err := u.Listener.Close()
	for _, up := range u.Uploads() {
		if err != nil {
			break
		}
		c := u.call
		c.Inputs = map[string]string{"PathtoPublish": up.Path, "ArtifactName": up.Artifact}
		var more plan.Effects
		if more, err = u.d.tasks.Run(context.Background(), c, false, io.Discard); err == nil {
			fx.Merge(&more)
		}
	}
	return fx, err
}

// Do implements dialect.Session.
func (n *session) Do(ctx context.Context, b *plan.Builtin, s *plan.Scope, log io.Writer) (plan.Effects, error) {
	r := &resolving{session: n, step: cmp.Or(s.Step, &plan.Step{}), s: s, e: &evaluator{s: s}}
	c := task.Call{Ref: b.Name, Inputs: maps.Clone(b.Inputs), Step: r.step, Scope: s, Env: b.Env, Path: s.Path, State: s.State}
	r.around(&c)
	c.Many, _ = r.step.Data[dataMany].(bool)
	return n.d.tasks.Run(ctx, c, r.step.Phase == plan.Post, log)
}
