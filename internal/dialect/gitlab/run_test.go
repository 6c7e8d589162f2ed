package gitlab

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// stand is a run in miniature: jobs of one pipeline, one after another, each in
// a workspace of its own, with a depot between them.
type stand struct {
	t       testing.TB
	d       *Dialect
	dir     string
	context *plan.Context
	needs   map[string]plan.Outcome
	tree    map[string]string // of every fresh workspace
	only    plan.Verdict      // how the job stands before its first step; "" for success
}

func newStand(t testing.TB) *stand {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return &stand{
		t: t, dir: dir,
		d: New(Config{Runtime: Runtime{Depot: depot.New(blobs, filepath.Join(dir, "index"))}}),
		context: &plan.Context{
			RunID: "7", Number: 3, Attempt: 1,
			Change: &plan.Change{
				Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Before: strings.Repeat("b", 40),
				Repository: "group/sub/app", Server: "https://gitlab.example", DefaultBranch: "main", Actor: "ada",
			},
		},
		needs: map[string]plan.Outcome{}, tree: map[string]string{},
	}
}

// played is how a job went.
type played struct {
	verdict plan.Verdict
	log     string
	steps   map[string]plan.StepOutcome
	said    plan.Effects
	work    string // its workspace
	err     error
}

func (p *played) file(t testing.TB, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(p.work, name))
	if err != nil {
		return ""
	}
	return string(body)
}

// scope makes a fresh workspace for the job.
func (st *stand) scope(spec *jobSpec) *plan.Scope {
	st.t.Helper()
	if spec.ID == "" {
		spec.ID = "job"
	}
	if spec.Name == "" {
		spec.Name = spec.ID
	}
	top, err := os.MkdirTemp(st.dir, "job-")
	if err != nil {
		st.t.Fatal(err)
	}
	dirs := plan.Dirs{Workspace: filepath.Join(top, "app"), Temp: filepath.Join(top, "tmp")}
	for _, d := range []string{dirs.Workspace, dirs.Temp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			st.t.Fatal(err)
		}
	}
	write(st.t, dirs.Workspace, st.tree)
	job := &plan.Job{ID: spec.ID, Name: spec.Name, Stage: spec.Stage, Values: map[string]any{valueJob: spec.encode()}, Steps: spec.steps()}
	return &plan.Scope{Context: st.context, Job: job, Needs: st.needs, Dirs: dirs, Status: plan.Success, Started: time.Now()}
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// play runs a job to its end.
func (st *stand) play(spec *jobSpec) *played {
	st.t.Helper()
	s := st.scope(spec)
	p := &played{verdict: plan.Success, steps: map[string]plan.StepOutcome{}, work: s.Dirs.Workspace}
	var log bytes.Buffer
	defer func() { p.log = log.String() }()
	session, err := st.d.Open(st.t.Context(), s)
	if err != nil {
		st.t.Fatal(err)
	}
	setup, err := session.Setup(st.t.Context(), s)
	if err != nil {
		p.err, p.verdict = err, plan.Failure
		return p
	}
	for _, f := range setup.Files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(f.Path), 0o755), os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode))); err != nil {
			st.t.Fatal(err)
		}
	}
	status := plan.Success
	if st.only != "" {
		status = st.only
	}
	for _, step := range slices.Concat(setup.Before, s.Job.Steps) {
		s.Status, s.Steps = status, p.steps
		if !ends(step.If.Text, status) {
			continue
		}
		act, err := session.Resolve(st.t.Context(), &step, s)
		if err != nil {
			st.t.Fatalf("resolve %s: %v", step.Key, err)
		}
		fx, bad := st.do(session, &step, act, s, &log)
		outcome := plan.StepOutcome{Outcome: plan.Success, Conclusion: plan.Success, Outputs: map[string]string{}}
		for _, o := range fx.Outputs {
			outcome.Outputs[o.Name] = o.Value
		}
		if bad || fx.Fail != "" {
			outcome.Outcome = plan.Failure
			if !act.ContinueOnError {
				status = plan.Failure
			}
		}
		p.steps[step.ID] = outcome
		p.said.Merge(&fx)
	}
	p.verdict = status
	dotenv, err := dotenvOutputs(&plan.Scope{Steps: p.steps})
	if err != nil {
		st.t.Fatal(err)
	}
	st.needs[spec.ID] = plan.Outcome{Verdict: status, Outputs: map[string]string{outputDotenv: dotenv}}
	return p
}

func (st *stand) do(session dialect.Session, step *plan.Step, act *plan.Act, s *plan.Scope, log *bytes.Buffer) (fx plan.Effects, bad bool) {
	st.t.Helper()
	l, err := session.Listen(step, act, s)
	if err != nil {
		st.t.Fatal(err)
	}
	var out bytes.Buffer
	switch {
	case act.Builtin != nil:
		if fx, err = session.Do(st.t.Context(), act.Builtin, s, &out); err != nil {
			st.t.Fatalf("%s: %v", act.Builtin.Name, err)
		}
	case act.Command != nil:
		bad = st.command(act, &out) != nil
	default:
		st.t.Fatalf("step %s: %v", step.Key, act.Problem)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(out.String(), "\n"), "\n") {
		shown, said := l.Line([]byte(line))
		fx.Merge(said)
		if shown != nil {
			log.Write(append(shown, '\n'))
		}
	}
	left, err := l.Close()
	if err != nil {
		st.t.Fatal(err)
	}
	fx.Merge(&left)
	return fx, bad
}

func (st *stand) command(act *plan.Act, out *bytes.Buffer) error {
	c := act.Command
	for _, f := range c.Files {
		if err := os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode)); err != nil {
			st.t.Fatal(err)
		}
	}
	ctx := st.t.Context()
	if act.Timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, act.Timeout)
		defer cancel()
		ctx = limited
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, out, out
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + st.dir}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		cmd.Env = append(cmd.Env, name+"="+c.Env[name])
	}
	return cmd.Run()
}
