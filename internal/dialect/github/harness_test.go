package github

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

var _ dialect.Dialect = (*Dialect)(nil)

// push is a change that most tests answer to.
func push() *plan.Change {
	return &plan.Change{
		Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Before: strings.Repeat("b", 40),
		Repository: "octo/demo", Server: "https://github.com", DefaultBranch: "main", Actor: "mona",
	}
}

// tree makes a tree of files from a txtar-like list: name, body, name, body.
func tree(files ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fs[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fs
}

const ciFile = ".github/workflows/ci.yml"

// compile compiles one workflow and fails on problems.
func compile(t *testing.T, d *Dialect, body string, change *plan.Change, more ...string) *plan.Pipeline {
	t.Helper()
	pipelines, problems, err := d.Compile(t.Context(), tree(append([]string{ciFile, body}, more...)...), change)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("problem: %s", p)
	}
	for i := range pipelines {
		if pipelines[i].File == ciFile {
			return &pipelines[i]
		}
	}
	t.Fatal("the workflow was not compiled")
	return nil
}

// world is a run in miniature: enough of an engine to try the dialect with.
type world struct {
	t       *testing.T
	d       *Dialect
	context *plan.Context
	dirs    plan.Dirs
	log     bytes.Buffer
	done    map[string]plan.Outcome // of jobs, by ID
	status  map[string]plan.Verdict
}

func newWorld(t *testing.T, d *Dialect, p *plan.Pipeline, c *plan.Change) *world {
	dir := t.TempDir()
	w := &world{
		t: t, d: d,
		context: &plan.Context{Pipeline: p, Change: c, RunID: "7", Number: 3, Attempt: 1, Secrets: map[string]string{}},
		dirs:    plan.Dirs{Workspace: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "temp"), Tools: filepath.Join(dir, "tools")},
		done:    map[string]plan.Outcome{}, status: map[string]plan.Verdict{},
	}
	for _, d := range []string{w.dirs.Workspace, w.dirs.Temp, w.dirs.Tools} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) write(name, body string) {
	w.t.Helper()
	file := filepath.Join(w.dirs.Workspace, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// run runs jobs in order, expanding what is deferred, and returns the worst
// verdict.
func (w *world) run(jobs []plan.Job) plan.Verdict {
	worst := plan.Skipped
	for i := range jobs {
		j := &jobs[i]
		s := &plan.Scope{Context: w.context, Job: j, Needs: map[string]plan.Outcome{}, Status: plan.Success, OS: "Linux", Arch: "X64"}
		prefix := j.ID[:strings.LastIndexByte(j.ID, '/')+1]
		for _, n := range j.Needs {
			o, ok := w.done[prefix+n]
			if !ok {
				w.t.Fatalf("%s needs %s, which comes later", j.ID, n)
			}
			s.Needs[n] = o
			if st := w.status[prefix+n]; st.Bad() || st != plan.Success && s.Status == plan.Success {
				s.Status = st
			}
		}
		v := w.job(j, s)
		w.status[j.ID] = v
		worst = plan.Worse(worst, v)
	}
	return worst
}

func (w *world) job(j *plan.Job, s *plan.Scope) plan.Verdict {
	ok, err := w.d.Eval(j.If, dialect.Condition, s)
	if err != nil {
		w.t.Errorf("%s: if: %v", j.ID, err)
		return plan.Failure
	}
	if ok != true {
		fmt.Fprintf(&w.log, "[%s skipped]\n", j.ID)
		w.done[j.ID] = plan.Outcome{Verdict: plan.Skipped}
		return plan.Skipped
	}
	if j.Deferred != nil {
		x, err := w.d.Expand(w.t.Context(), j, s)
		if err != nil {
			fmt.Fprintf(&w.log, "[%s: %v]\n", j.ID, err)
			w.done[j.ID] = plan.Outcome{Verdict: plan.Failure}
			return plan.Failure
		}
		v := w.run(x.Jobs)
		outputs := map[string]string{}
		jobs := map[string]plan.Outcome{}
		for _, c := range x.Jobs {
			maps.Copy(outputs, w.done[c.ID].Outputs)
			jobs[c.ID[strings.LastIndexByte(c.ID, '/')+1:]] = w.done[c.ID]
		}
		if len(x.Outputs) > 0 {
			after := *s
			after.Jobs = jobs
			outputs = w.outputs(x.Outputs, &after)
		}
		w.done[j.ID] = plan.Outcome{Verdict: v, Outputs: outputs}
		return v
	}
	fmt.Fprintf(&w.log, "[%s: %s]\n", j.ID, j.Name)
	s.Dirs, s.Status = w.dirs, plan.Success
	session, err := w.d.Open(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	defer session.Close()
	r := &frameRun{w: w, session: session, scope: s, steps: map[string]plan.StepOutcome{}, state: map[string]map[string]string{}}
	setup, err := session.Setup(w.t.Context(), s)
	if err != nil {
		fmt.Fprintf(&w.log, "[setup: %v]\n", err)
		w.done[j.ID] = plan.Outcome{Verdict: plan.Failure}
		return plan.Failure
	}
	w.place(setup.Files)
	r.all(setup.Before, nil, r.steps)
	r.all(j.Steps, nil, r.steps)
	for _, p := range slices.Backward(r.posts) {
		r.step(&p.step, p.group, r.steps)
	}
	outputs := w.outputs(j.Outputs, r.with(nil, nil, r.steps))
	w.done[j.ID] = plan.Outcome{Verdict: s.Status, Outputs: outputs}
	return s.Status
}

func (w *world) outputs(list []plan.Binding, s *plan.Scope) map[string]string {
	out := map[string]string{}
	for _, b := range list {
		v, err := w.d.Eval(b.Value, dialect.Text, s)
		if err != nil {
			w.t.Errorf("output %s: %v", b.Name, err)
			continue
		}
		out[b.Name] = v.(string)
	}
	return out
}

type frameRun struct {
	w       *world
	session dialect.Session
	scope   *plan.Scope
	steps   map[string]plan.StepOutcome
	env     map[string]string
	path    []string
	state   map[string]map[string]string
	posts   []postRun
}

type postRun struct {
	step  plan.Step
	group *plan.GroupScope
}

func (r *frameRun) with(step *plan.Step, group *plan.GroupScope, steps map[string]plan.StepOutcome) *plan.Scope {
	s := *r.scope
	s.Group, s.Steps, s.Env, s.Path = group, steps, maps.Clone(r.env), r.path
	if step != nil {
		s.State = r.state[cmp.Or(step.Of, step.Key)]
	}
	return &s
}

func (r *frameRun) all(steps []plan.Step, group *plan.GroupScope, outcomes map[string]plan.StepOutcome) {
	for i := range steps {
		r.step(&steps[i], group, outcomes)
	}
}

func (r *frameRun) step(step *plan.Step, group *plan.GroupScope, outcomes map[string]plan.StepOutcome) {
	w := r.w
	s := r.with(step, group, outcomes)
	ok, err := w.d.Eval(step.If, dialect.Condition, s)
	verdict := plan.Success
	var fx plan.Effects
	var act *plan.Act
	switch {
	case err != nil:
		fmt.Fprintf(&w.log, "[if: %v]\n", err)
		verdict = plan.Failure
	case ok != true:
		outcomes[step.ID] = plan.StepOutcome{Outcome: plan.Skipped, Conclusion: plan.Skipped}
		return
	default:
		verdict, act, fx = r.work(step, s)
	}
	conclusion := verdict
	if act != nil && act.ContinueOnError && verdict.Bad() {
		conclusion = plan.Success
	}
	outputs := map[string]string{}
	for _, o := range fx.Outputs {
		outputs[o.Name] = o.Value
	}
	if r.env == nil {
		r.env = map[string]string{}
	}
	for _, e := range fx.Env {
		r.env[e.Name] = e.Value
	}
	r.path = append(slices.Clone(fx.Path), r.path...)
	of := cmp.Or(step.Of, step.Key)
	for _, v := range fx.State {
		if r.state[of] == nil {
			r.state[of] = map[string]string{}
		}
		r.state[of][v.Name] = v.Value
	}
	if step.ID != "" {
		outcomes[step.ID] = plan.StepOutcome{Outcome: verdict, Conclusion: conclusion, Outputs: outputs}
	}
	if conclusion.Bad() {
		if group != nil {
			group.Status = plan.Failure
		} else {
			r.scope.Status = plan.Failure
		}
	}
}

func (r *frameRun) work(step *plan.Step, s *plan.Scope) (plan.Verdict, *plan.Act, plan.Effects) {
	w := r.w
	act, err := r.session.Resolve(w.t.Context(), step, s)
	if err != nil {
		fmt.Fprintf(&w.log, "[step %s: %v]\n", step.Key, err)
		return plan.Failure, nil, plan.Effects{}
	}
	if act.Post != nil {
		r.posts = append(r.posts, postRun{*act.Post, s.Group})
	}
	fmt.Fprintf(&w.log, "[step %s: %s]\n", step.Key, act.Name)
	switch {
	case act.Problem != nil:
		fmt.Fprintf(&w.log, "[problem: %s]\n", act.Problem)
		return plan.Fault, act, plan.Effects{}
	case act.Group != nil:
		g := &plan.GroupScope{Inputs: act.Group.Inputs, Values: act.Group.Values, Env: act.Group.Env, Status: plan.Success, Parent: s.Group}
		inner := map[string]plan.StepOutcome{}
		r.all(act.Group.Steps, g, inner)
		var fx plan.Effects
		for k, v := range w.outputs(act.Group.Outputs, r.with(nil, g, inner)) {
			fx.Outputs = append(fx.Outputs, plan.Setting{Name: k, Value: v})
		}
		return g.Status, act, fx
	}
	l, err := r.session.Listen(step, act, s)
	if err != nil {
		w.t.Fatal(err)
	}
	var fx plan.Effects
	verdict := plan.Success
	var out bytes.Buffer
	if act.Builtin != nil {
		if fx, err = r.session.Do(w.t.Context(), act.Builtin, s, &out); err != nil {
			w.t.Errorf("step %s: %v", step.Key, err)
		}
	} else {
		verdict = w.exec(act.Command, l.Env(), &out)
	}
	for line := range strings.Lines(out.String()) {
		shown, said := l.Line([]byte(strings.TrimSuffix(line, "\n")))
		if shown != nil {
			fmt.Fprintf(&w.log, "%s\n", shown)
		}
		fx.Merge(said)
	}
	left, err := l.Close()
	if err != nil {
		w.t.Error(err)
	}
	fx.Merge(&left)
	if fx.Fail != "" {
		verdict = plan.Failure
	}
	return verdict, act, fx
}

func (w *world) place(files []plan.File) {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// contained says what would be run in a container.
func (w *world) contained(c *plan.Command, out *bytes.Buffer) {
	from := c.Container.Image
	if b := c.Container.Build; b != nil {
		from = "build " + filepath.Base(b.Dir) + "/" + b.File
	}
	fmt.Fprintf(out, "container %s: entrypoint %q, command %q, in %s\n", from, c.Container.Entrypoint, c.Container.Command, c.Dir)
	for _, v := range c.Container.Volumes {
		fmt.Fprintln(out, "volume", strings.ReplaceAll(v, filepath.Dir(w.dirs.Workspace), ""))
	}
	for _, name := range sortedKeys(c.Env) {
		if strings.HasPrefix(name, "INPUT_") || strings.HasPrefix(name, "OWN") || name == "HOME" || name == "GITHUB_WORKSPACE" {
			fmt.Fprintf(out, "%s=%s\n", name, c.Env[name])
		}
	}
}

func (w *world) exec(c *plan.Command, more map[string]string, out *bytes.Buffer) plan.Verdict {
	w.place(c.Files)
	if c.Container != nil {
		w.contained(c, out)
		return plan.Success
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	env := maps.Clone(c.Env)
	maps.Copy(env, more)
	path := strings.Join(append(slices.Clone(c.Path), os.Getenv("PATH")), ":")
	cmd.Env = []string{"PATH=" + path, "HOME=" + os.Getenv("HOME")}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Errorf("%v: %v", c.Argv, err)
	}
	if err != nil {
		return plan.Failure
	}
	return plan.Success
}
