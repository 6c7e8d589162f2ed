package github

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Resolve implements [dialect.Session].
func (n *session) Resolve(ctx context.Context, step *plan.Step, s *plan.Scope) (*plan.Act, error) {
	r := &resolving{session: n, ctx: ctx, step: step, s: s}
	return r.act()
}

// resolving is one step whose turn has come.
type resolving struct {
	*session
	ctx  context.Context
	step *plan.Step
	s    *plan.Scope
	e    *evaluator
	own  map[string]string // the step's env:, computed
}

func (r *resolving) act() (*plan.Act, error) {
	step := r.step
	u := r.use()
	if step.Phase == plan.Pre && u != nil {
		if err := r.enter(u.layers); err != nil {
			return nil, err
		}
	}
	r.e = &evaluator{s: r.s, d: r.d, self: map[string]string{}}
	if id, ok := step.Data[dataAction].(string); ok {
		r.e.self["action"] = id
	}
	env, err := r.e.inherited()
	if err != nil {
		return nil, err
	}
	r.e.env = env
	list, err := r.e.bindings(step.Env)
	if err != nil {
		return nil, err
	}
	r.own = make(map[string]string, len(list))
	for _, b := range list {
		r.own[b.Name] = b.Value
	}
	r.e.env = maps.Clone(env)
	maps.Copy(r.e.env, r.own)

	act := &plan.Act{Name: step.Name}
	if name, err := r.e.string(plan.Expr{Text: step.Name, Source: step.Source}); err == nil {
		act.Name = strings.TrimSpace(name) // a name that has no value is shown as written
	}
	if err := r.limits(act); err != nil {
		return nil, err
	}
	switch {
	case step.Run != nil:
		return act, r.run(act)
	case step.Use == nil:
		return nil, fmt.Errorf("github: step %s has nothing to do", step.Key)
	case step.Phase == plan.Pre || step.Phase == plan.Post:
		return act, r.again(act, u)
	}
	return act, r.uses(act)
}

// limits computes timeout-minutes and continue-on-error.
func (r *resolving) limits(act *plan.Act) error {
	step := r.step
	if !step.Timeout.IsZero() {
		v, err := r.e.template(step.Timeout)
		if err != nil {
			return err
		}
		minutes, err := toNumber(v, step.Timeout.Source, "timeout-minutes", 0)
		if err != nil {
			return err
		}
		if act.Timeout, err = duration(minutes, step.Timeout.Source); err != nil {
			return err
		}
	}
	if !step.ContinueOnError.IsZero() {
		v, err := r.e.string(step.ContinueOnError)
		if err != nil {
			return err
		}
		switch strings.TrimSpace(v) {
		case "true":
			act.ContinueOnError = true
		case "false", "":
		default:
			return wrong(step.ContinueOnError.Source, "type", fmt.Sprintf("continue-on-error comes to %.60q and must be true or false", v), "")
		}
	}
	return nil
}

// run makes a command of a script.
func (r *resolving) run(act *plan.Act) error {
	script := r.step.Run
	text, err := r.e.string(script.Text)
	if err != nil {
		return err
	}
	value, err := r.e.string(script.Shell)
	if err != nil {
		return err
	}
	sh, missing, err := r.shell(value, script.Shell.Source)
	if err != nil {
		return err
	}
	if missing != nil {
		act.Problem = missing
		return nil
	}
	dir, err := r.e.string(script.Dir)
	if err != nil {
		return err
	}
	dir = r.dir(dir)
	if !script.Dir.IsZero() && !r.s.Paper {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return wrong(script.Dir.Source, "working-directory", fmt.Sprintf("the working directory %s does not exist", dir),
				"make it in an earlier step, or correct working-directory:")
		}
	}
	file := filepath.Join(r.s.Dirs.Temp, "step_"+r.step.Key+sh.extension)
	act.Command = &plan.Command{
		Argv:   sh.command(file),
		Env:    r.e.environment(),
		Path:   slices.Clone(r.s.Path),
		Dir:    dir,
		Files:  []plan.File{{Path: file, Mode: 0o755, Body: sh.script(text)}},
		Script: text, Volatile: volatile,
	}
	return nil
}

// volatile are the variables that tell one run from another: a script that does
// not use them does the same in each. What is said of the repository, the
// server and the machine is not among them.
var volatile = []string{
	"GITHUB_RUN_ID", "GITHUB_RUN_NUMBER", "GITHUB_RUN_ATTEMPT", "GITHUB_SHA", "GITHUB_WORKFLOW_SHA", "GITHUB_WORKFLOW_REF", "GITHUB_WORKFLOW",
	"GITHUB_REF", "GITHUB_REF_NAME", "GITHUB_REF_TYPE", "GITHUB_REF_PROTECTED", "GITHUB_HEAD_REF", "GITHUB_BASE_REF", "GITHUB_EVENT_NAME",
	"GITHUB_ACTOR", "GITHUB_ACTOR_ID", "GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTION", "GITHUB_JOB", "GITHUB_TOKEN",
	"ACTIONS_RUNTIME_TOKEN", "ACTIONS_RUNTIME_URL", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL",
}

// dir is where a script runs.
func (r *resolving) dir(dir string) string {
	if dir = filepath.FromSlash(dir); filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(r.s.Dirs.Workspace, dir)
}

// shell finds the program that a script runs in. The problem says that it is
// not on this machine, the error that GitHub knows no such shell.
func (r *resolving) shell(value string, at plan.Source) (shell, *plan.Problem, error) {
	switch {
	case value == "" && boxed(r.s):
		value = "sh" // what every image has
	case value == "" && onWindows(r.s):
		value = "pwsh"
	}
	if at.IsZero() {
		at = r.step.Source
	}
	sh, err := parseShell(value)
	if err != nil {
		return sh, nil, wrong(at, "shell", err.Error(), "write bash, sh, pwsh, powershell, python, cmd, or a command with {0}")
	}
	program := sh.argv[0]
	// Only the container knows what is in it.
	if boxed(r.s) || r.found(program) {
		return sh, nil, nil
	}
	for _, other := range fallbacks(program) {
		if (program != "bash" || value == "") && r.found(other) {
			sh.argv = slices.Clone(sh.argv)
			sh.argv[0] = other
			return sh, nil, nil
		}
	}
	return sh, noProgram(program, at), nil
}

// found reports whether a program is there. Programs do not go away while a job
// runs, so it is looked for once; one that is missing may yet come. On paper,
// where nothing is started, what another job has found will do.
func (r *resolving) found(program string) bool {
	if r.s.Paper && len(r.s.Path) == 0 {
		return known(&r.d.mu, r.d.programs, program, func() bool { return r.lookFor(program) })
	}
	key := strings.Join(append([]string{program}, r.s.Path...), "\x00")
	return known(&r.mu, r.programs, key, func() bool { return r.lookFor(program) })
}

func (r *resolving) lookFor(program string) bool {
	_, err := r.d.cfg.LookPath(program, r.s.Path)
	return err == nil
}

// known reports whether the key is in the set, or now found and put there.
func known(mu *sync.Mutex, set map[string]bool, key string, find func() bool) bool {
	mu.Lock()
	have := set[key]
	mu.Unlock()
	if have || !find() {
		return have
	}
	mu.Lock()
	set[key] = true
	mu.Unlock()
	return true
}

// uses makes of an action what it is: something built in, a group of steps, or
// a program.
func (r *resolving) uses(act *plan.Act) error {
	step := r.step
	uses := step.Use.Ref
	if strings.HasPrefix(uses, dockerScheme) {
		return r.image(act)
	}
	if b, ok := r.builtin(uses); ok {
		given, err := r.e.bindings(step.Use.With)
		if err != nil {
			return err
		}
		inputs := make(map[string]string, len(given))
		for _, g := range given {
			inputs[g.Name] = g.Value
		}
		act.Builtin = &plan.Builtin{Name: b.Name, Inputs: inputs, Env: r.e.env}
		act.Builtin.Aloof = r.d.cfg.Builtins.Aloof(builtin.Call{Name: b.Name, Inputs: inputs, Scope: r.s})
		if b.Post {
			r.remember(&use{inputs: inputs})
			post := r.post()
			post.If.Text = ofJob + b.PostIf
			if b.PostIf == "" {
				post.If.Text = ofJob + "always()"
			}
			act.Post = &post
		}
		return nil
	}
	ref, err := actionRef(uses, r.home())
	if err != nil {
		return wrong(step.Use.Source, "action", err.Error(), "write owner/name@ref, owner/name/path@ref or ./path")
	}
	a, err := r.load(r.ctx, ref, r.s, step.Use.Source)
	if err != nil {
		return err
	}
	r.know(a)
	inputs, err := r.e.actionInputs(a, step.Use.With)
	if err != nil {
		return err
	}
	switch using := a.yml.Runs.Using.Text; {
	case a.composite():
		return r.composite(act, a, inputs)
	case strings.HasPrefix(using, "node"):
		r.remember(&use{action: a, inputs: inputs})
		if a.yml.Runs.Post.Given() {
			post := r.post()
			post.If = jobCondition(a.yml.Runs.PostIf, step.Source)
			act.Post = &post
		}
		return r.node(act, a, inputs, phaseMain)
	}
	r.remember(&use{action: a, inputs: inputs})
	if a.yml.Runs.PostEntrypoint.Given() {
		post := r.post()
		post.If = jobCondition(a.yml.Runs.PostIf, step.Source)
		act.Post = &post
	}
	return r.docker(act, a, inputs, phaseMain)
}

// home is the repository that the step's file comes from.
func (r *resolving) home() string {
	if g := r.s.Group; g != nil {
		h, _ := g.Values[valueHome].(string)
		return h
	}
	file, _ := r.e.ofJob(valueFile).(string)
	return home(file)
}

// know lets the step see where its action is.
func (r *resolving) know(a *action) {
	r.e.self[valuePath] = a.dir
	r.e.self[valueRepository] = a.ref.repository
	r.e.self[valueRef] = a.ref.ref
	r.e.made = nil
}

// remember keeps what the post step will need.
func (r *resolving) remember(u *use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session.uses[r.step.Key] = u
}

// use is what the main step of this one left, or Setup.
func (r *resolving) use() *use {
	key := r.step.Of
	if key == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session.uses[key]
}

// post is the step that will run when the job's steps are done.
func (r *resolving) post() plan.Step {
	post := *r.step
	post.Key, post.Of, post.Phase = r.step.Key+".post", r.step.Key, plan.Post
	post.ID, post.Name = "", "Post "+strings.TrimPrefix(r.step.Name, "Run ")
	post.Background = false
	return post
}

// enter puts the scope of a pre step inside the composite actions around it.
func (r *resolving) enter(layers []layer) error {
	for _, l := range layers {
		e := &evaluator{s: r.s, d: r.d}
		inputs, err := e.actionInputs(l.action, l.step.Use.With)
		if err != nil {
			return err
		}
		own, err := e.bindings(l.step.Env)
		if err != nil {
			return err
		}
		env := map[string]string{}
		for _, b := range own {
			env[b.Name] = b.Value
		}
		inner := *r.s
		inner.Group = &plan.GroupScope{
			Inputs: anyValues(inputs), Values: groupValues(l.action, nil), Env: env,
			Status: r.s.Status, Parent: r.s.Group,
		}
		r.s = &inner
	}
	return nil
}

func anyValues(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func groupValues(a *action, steps []plan.Step) map[string]any {
	return map[string]any{
		valueHome: a.home(), valuePath: a.dir, valueRepository: a.ref.repository, valueRef: a.ref.ref,
		valueSteps: steps,
	}
}

// composite makes a group of the action's steps.
func (r *resolving) composite(act *plan.Act, a *action, inputs map[string]string) error {
	depth := 1
	for g := r.s.Group; g != nil; g = g.Parent {
		depth++
	}
	if depth > maxLayers {
		return wrong(r.step.Use.Source, "action", fmt.Sprintf("composite actions are nested more than %d deep", maxLayers),
			"perhaps the action uses itself")
	}
	inner := a.steps(r.step.Key)
	g := &plan.Group{Steps: inner, Inputs: anyValues(inputs), Values: groupValues(a, inner), Env: r.own}
	for _, o := range a.yml.Outputs {
		if o.Value.Given() {
			g.Outputs = append(g.Outputs, plan.Binding{Name: o.Name.Text, Value: expr(o.Value)})
		}
	}
	act.Group = g
	return nil
}

// The phases of an action, by the key of action.yml that names what is run.
type phase int

const (
	phaseMain phase = iota
	phasePre
	phasePost
)

// again makes a command of a pre or post step.
func (r *resolving) again(act *plan.Act, u *use) error {
	if u == nil {
		return fmt.Errorf("github: step %s belongs to step %s, which has not run", r.step.Key, r.step.Of)
	}
	if u.action == nil {
		b, ok := r.builtin(r.step.Use.Ref)
		if !ok {
			return fmt.Errorf("github: step %s: there is no built-in %s", r.step.Key, r.step.Use.Ref)
		}
		act.Builtin = &plan.Builtin{Name: b.Name + postSuffix, Inputs: u.inputs, Env: r.e.env}
		return nil
	}
	r.know(u.action)
	inputs := u.inputs
	if inputs == nil {
		var err error
		if inputs, err = r.e.actionInputs(u.action, r.step.Use.With); err != nil {
			return err
		}
	}
	p := phasePost
	if r.step.Phase == plan.Pre {
		p = phasePre
	}
	if u.action.docker() {
		return r.docker(act, u.action, inputs, p)
	}
	return r.node(act, u.action, inputs, p)
}

// node makes a command of a JavaScript action.
func (r *resolving) node(act *plan.Act, a *action, inputs map[string]string, p phase) error {
	main := a.yml.Runs.Main
	switch p {
	case phasePre:
		main = a.yml.Runs.Pre
	case phasePost:
		main = a.yml.Runs.Post
	}
	file, problem := a.file(main)
	if problem != nil {
		return wrong(problem.Source, problem.Rule, problem.Message, problem.Hint)
	}
	program := r.d.cfg.Node
	switch {
	case boxed(r.s):
		program = "node" // the image's: ours needs this machine's libraries
	case program == "":
		var err error
		if program, err = r.d.cfg.LookPath("node", nil); err != nil {
			if program, err = r.d.cfg.LookPath("node", r.s.Path); err != nil {
				act.Problem = problemAt(r.step.Use.Source, "node", fmt.Sprintf("the action %s is written in JavaScript, and node is not on PATH of this machine", r.step.Use.Ref),
					"install Node.js 20 or newer")
				return nil
			}
		}
	}
	env := r.e.environment()
	service, err := r.serviceEnv(r.ctx, r.s)
	if err != nil {
		return err
	}
	maps.Copy(env, service)
	if token := service["ACTIONS_RUNTIME_TOKEN"]; token != "" {
		act.Masks = append(act.Masks, token)
	}
	if r.s.Dirs.Tools != "" {
		env["AGENT_TOOLSDIRECTORY"] = r.s.Dirs.Tools
	}
	for name, v := range inputs {
		env[inputName(name)] = v
	}
	for name, v := range r.s.State {
		env["STATE_"+name] = v
	}
	act.Command = &plan.Command{
		Argv:   []string{program, file},
		Env:    env,
		Path:   slices.Clone(r.s.Path),
		Dir:    r.s.Dirs.Workspace,
		Script: r.step.Use.Ref + withText(inputs), Volatile: volatile,
	}
	return nil
}

// withText shows inputs to people.
func withText(inputs map[string]string) string {
	var b strings.Builder
	for _, name := range sortedKeys(inputs) {
		if v := inputs[name]; v != "" {
			fmt.Fprintf(&b, "\n  %s: %s", name, expression.String(v))
		}
	}
	return b.String()
}
