package jenkins

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

var (
	_ dialect.Dialect     = (*Dialect)(nil)
	_ dialect.Interpreter = (*session)(nil)
)

// tree makes a tree of files from a list: name, body, name, body.
func tree(files ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fs[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fs
}

// push is a change that most tests answer to.
func push() *plan.Change {
	return &plan.Change{
		Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Before: strings.Repeat("b", 40),
		Repository: "octo/demo", Server: "https://example.org", DefaultBranch: "main", Actor: "mona",
	}
}

// world is a run in miniature: enough of an engine to try the dialect with.
type world struct {
	t       testing.TB
	d       *Dialect
	session *session
	scope   *plan.Scope
	masker  secret.Masker

	mu     sync.Mutex
	log    bytes.Buffer
	record map[string]plan.StepOutcome // of finished steps
	order  []string                    // keys, as they began
	env    map[string]string
	saw    func(*plan.Act) // is told of every act
	dry    bool            // commands do nothing and succeed
	taken  map[string]int  // by lock and throttle
}

// put writes a program. No process is started meanwhile, which would hold the
// file open and keep it from being executed.
func put(t testing.TB, file, body string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
}

// lockedLog lets branches write to one log.
type lockedLog struct{ w *world }

func (l lockedLog) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if _, err := l.w.log.Write(l.w.masker.Mask(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// newWorld compiles the Jenkinsfile of a tree and makes its files.
func newWorld(t testing.TB, change *plan.Change, files ...string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, record: map[string]plan.StepOutcome{}, env: map[string]string{}, taken: map[string]int{}}
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	w.d = New(Config{
		Builtins: builtin.New(builtin.Config{Depot: depot.New(blobs, filepath.Join(dir, "index")), Trees: copying{}}),
		Getenv: func(name string) string {
			if name == "PATH" {
				return os.Getenv("PATH")
			}
			return w.env[name]
		},
	})
	pipelines, problems, err := w.d.Compile(t.Context(), tree(files...), change)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Severity == plan.Error {
			w.log.WriteString(p.String() + "\n")
		}
	}
	dirs := plan.Dirs{Workspace: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "temp"), Tools: filepath.Join(dir, "tools")}
	for _, d := range []string{dirs.Workspace, dirs.Temp, dirs.Tools} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(files); i += 2 {
		file := filepath.Join(dirs.Workspace, files[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(pipelines) == 0 {
		t.Fatal("there is no pipeline")
	}
	p := &pipelines[0]
	inputs, _ := w.d.Inputs(p, change.Inputs)
	root := filepath.Join(dir, "tree")
	if err := os.CopyFS(root, os.DirFS(dirs.Workspace)); err != nil {
		t.Fatal(err)
	}
	w.scope = &plan.Scope{
		Context: &plan.Context{Pipeline: p, Change: change, Root: root, RunID: "1", Number: 1, Attempt: 1, Inputs: inputs, Secrets: map[string]string{}, Env: map[string]string{}},
		Job:     &p.Jobs[0], Dirs: dirs, OS: "Linux", Arch: "X64", Started: time.Unix(1700000000, 0), Status: plan.Success,
	}
	return w
}

// copying is checkout for tests: a copy of the tree.
type copying struct{}

func (copying) Copy(_ context.Context, s *plan.Scope, dst string) error {
	return os.CopyFS(dst, os.DirFS(s.Root))
}

// run runs the pipeline. The result is Jenkins'; "" when it had none.
func (w *world) run(ctx context.Context) (result string, fx plan.Effects, err error) {
	s, err := w.d.Open(ctx, w.scope)
	if err != nil {
		w.t.Fatal(err)
	}
	w.session = s.(*session)
	defer s.Close()
	for _, v := range w.scope.Secrets {
		w.masker.Add(v)
	}
	step := &w.scope.Job.Steps[0]
	act, err := s.Resolve(ctx, step, w.scope)
	if err != nil {
		w.t.Fatal(err)
	}
	fx, err = w.session.Interpret(ctx, step, act, w.scope, w, lockedLog{w})
	if err != nil {
		lockedLog{w}.Write([]byte("error: " + err.Error() + "\n"))
	}
	for _, o := range fx.Outputs {
		if o.Name == "result" {
			result = o.Value
		}
	}
	if err != nil && result == "" {
		result = "FAILURE"
	}
	return result, fx, err
}

// Hold implements dialect.Holder, among the branches of one build and what a test takes.
func (w *world) Hold(ctx context.Context, wants []dialect.Want, wait func(name, by string) bool) (release func(), err error) {
	for {
		lacking := ""
		w.mu.Lock()
		for _, x := range wants {
			if w.taken[x.Name] >= x.Of && lacking == "" {
				lacking = x.Name
			}
		}
		for _, x := range wants {
			if lacking == "" {
				w.taken[x.Name]++
			}
		}
		w.mu.Unlock()
		switch {
		case lacking == "":
			return func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, x := range wants {
					w.taken[x.Name]--
				}
			}, nil
		case !wait(lacking, "run 7"):
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// Step implements dialect.Doer.
func (w *world) Step(ctx context.Context, step *plan.Step) (plan.StepOutcome, error) {
	w.mu.Lock()
	if o, ok := w.record[step.Key]; ok {
		w.mu.Unlock()
		return o, nil
	}
	w.order = append(w.order, step.Key)
	w.mu.Unlock()
	o := w.do(ctx, step)
	if ctx.Err() == nil {
		w.mu.Lock()
		w.record[step.Key] = o
		w.mu.Unlock()
	}
	return o, nil
}

func (w *world) do(ctx context.Context, step *plan.Step) (o plan.StepOutcome) {
	act, err := w.session.Resolve(ctx, step, w.scope)
	fail := func(why string) plan.StepOutcome {
		return plan.StepOutcome{Outcome: plan.Failure, Conclusion: plan.Failure, Why: why}
	}
	if err != nil {
		return fail(err.Error())
	}
	if act.Problem != nil {
		return plan.StepOutcome{Outcome: plan.Fault, Conclusion: plan.Fault, Why: act.Problem.Message}
	}
	w.masker.Add(act.Masks...)
	if w.saw != nil {
		w.saw(act)
	}
	l, err := w.session.Listen(step, act, w.scope)
	if err != nil {
		return fail(err.Error())
	}
	o = plan.StepOutcome{Outcome: plan.Success, Conclusion: plan.Success}
	var fx plan.Effects
	switch {
	case act.Program != nil:
		fx, err = w.session.Interpret(ctx, step, act, w.scope, w, lockedLog{w})
	case act.Builtin != nil:
		fx, err = w.session.Do(ctx, act.Builtin, w.scope, lockedLog{w})
	default:
		o.Exit, err = w.command(ctx, act.Command, l.Env(), lockedLog{w})
		if o.Exit != 0 {
			o.Outcome, o.Conclusion, o.Why = plan.Failure, plan.Failure, "exit code"
		}
	}
	left, closed := l.Close()
	fx.Merge(&left)
	if err = errors.Join(err, closed); err != nil {
		return fail(err.Error())
	}
	if fx.Fail != "" {
		o.Outcome, o.Conclusion, o.Why = plan.Failure, plan.Failure, fx.Fail
	}
	o.Outputs = map[string]string{}
	for _, x := range fx.Outputs {
		o.Outputs[x.Name] = x.Value
	}
	return o
}

// command runs a command as the host would.
func (w *world) command(ctx context.Context, c *plan.Command, more map[string]string, log io.Writer) (int, error) {
	for _, f := range c.Files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return 0, err
		}
		if err := os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode)); err != nil {
			return 0, err
		}
	}
	if w.dry {
		return 0, nil
	}
	if c.Container != nil {
		// There is no container: it is said what would have been.
		_, err := io.WriteString(log, "container "+c.Container.Image+" "+c.Container.Options+"\n")
		return 0, err
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": w.scope.Dirs.Temp}
	maps.Copy(env, c.Env)
	maps.Copy(env, more)
	env["PATH"] = strings.Join(append(slices.Clone(c.Path), env["PATH"]), ":")
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	// What it has started ends with it, or would hold its output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	log.Write(out)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

func (w *world) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}
