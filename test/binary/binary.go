// Package binary runs the real Fairlead in tests that look at it from
// outside, as a person at a terminal does.
//
// A test package builds the command once, in its TestMain:
//
//	func TestMain(m *testing.M) { binary.Main(m) }
//
// and each test gives it a [Place] of its own: a fresh git repository, and
// directories for runs and workspaces that nothing else uses. What a command
// did is an [Outcome]: exit code, results, progress.
//
//	p := binary.NewPlace(t, map[string]string{".github/workflows/ci.yml": text})
//	out := p.Run("run")
//
// It is imported by tests alone.
package binary

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fairlead is the built command. It is set by Main, before any test runs.
var fairlead string

// Limit ends a command that does not end by itself.
const Limit = 2 * time.Minute

// Main builds Fairlead, runs the tests of a package and ends the process.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fairlead-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if fairlead, err = build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the command into a directory. Go's test cache sees what a test
// reads itself and not what a child process reads; so the sources are read
// here too, and a test is run again when one of them has changed.
func build(dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	for _, part := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
				return err
			}
			_, err = os.ReadFile(name)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("read the sources: %w", err)
		}
	}
	file := filepath.Join(dir, "fairlead")
	c := exec.Command("go", "build", "-o", file, "./cmd/fairlead")
	c.Dir = root
	c.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released: it has to run in any container
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fairlead: %w\n%s", err, out)
	}
	return file, nil
}

// Path is the built command, for what is to start it by itself.
func Path() string { return fairlead }

// Root is the directory of this module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory")
		}
	}
}

// Need skips the test, loudly, when a command that it needs is missing. In CI
// that is a failure: there the machine must have everything.
func Need(t testing.TB, commands ...string) {
	t.Helper()
	for _, name := range commands {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing, and in CI it must be there", name)
			}
			t.Skipf("SKIPPED: this test needs %s, which is not on PATH", name)
		}
	}
}

// Long reports whether the long versions of tests are wanted.
func Long() bool { return os.Getenv("FAIRLEAD_LONG") != "" }

// Place is a repository to run Fairlead in, and directories for what it keeps.
type Place struct {
	t       testing.TB
	Root    string // the repository
	Data    string // runs and logs
	Cache   string // workspaces, actions, caches
	Outside string // a directory that no job owns, for marks
	Env     []string
}

// NewPlace makes a git repository that holds the files, by slash path, in one
// commit on main.
func NewPlace(t testing.TB, files map[string]string) *Place {
	t.Helper()
	Need(t, "git")
	base := t.TempDir()
	p := &Place{t: t, Root: filepath.Join(base, "repo"), Data: filepath.Join(base, "data"), Cache: filepath.Join(base, "cache"), Outside: filepath.Join(base, "outside")}
	for _, dir := range []string{p.Root, p.Outside, filepath.Join(base, "home")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.Env = append(clean(os.Environ()),
		"HOME="+filepath.Join(base, "home"), "OUTSIDE="+p.Outside,
		"FAIRLEAD_DATA="+p.Data, "FAIRLEAD_CACHE="+p.Cache, "FAIRLEAD_NO_INPUT=true", "FAIRLEAD_PROGRESS=plain",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_AUTHOR_DATE=2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z")
	p.Write(files)
	p.Git("init", "-q", "-b", "main")
	p.Commit("begin")
	return p
}

// On is the place for another test, with further variables.
func (p *Place) On(t testing.TB, env ...string) *Place {
	other := *p
	other.t, other.Env = t, append(slices.Clip(p.Env), env...)
	return &other
}

// clean is an environment without what would change how Fairlead behaves:
// another CI system's variables, and our own.
func clean(env []string) []string {
	return slices.DeleteFunc(env, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		for _, prefix := range []string{"GITHUB_", "RUNNER_", "ACTIONS_", "FAIRLEAD_", "GITLAB_", "GIT_", "XDG_", "INPUT_"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return slices.Contains([]string{"CI", "NO_COLOR", "HOME", "TF_BUILD", "BUILDKITE", "NODE_OPTIONS"}, name)
	})
}

// Write writes files, by slash path below the repository.
func (p *Place) Write(files map[string]string) {
	p.t.Helper()
	for name, body := range files {
		name = filepath.Join(p.Root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Git runs git in the repository and returns what it printed.
func (p *Place) Git(args ...string) string {
	p.t.Helper()
	c := exec.Command("git", args...)
	c.Dir, c.Env = p.Root, p.Env
	out, err := c.CombinedOutput()
	if err != nil {
		p.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit commits everything there is.
func (p *Place) Commit(message string) {
	p.t.Helper()
	p.Git("add", "-A", "-f")
	p.Git("commit", "-q", "--allow-empty", "-m", message)
}

// Outcome is what a command did.
type Outcome struct {
	Args   []string
	Exit   int
	Stdout string
	Stderr string
}

// All is everything that was printed.
func (o Outcome) All() string { return o.Stdout + o.Stderr }

// String is the outcome for people who read a failed test.
func (o Outcome) String() string {
	return fmt.Sprintf("$ fairlead %s\n--- standard output\n%s--- standard error\n%s--- exit code %d", strings.Join(o.Args, " "), o.Stdout, o.Stderr, o.Exit)
}

// Run runs Fairlead in the repository to its end.
func (p *Place) Run(args ...string) Outcome {
	p.t.Helper()
	return p.Start(args...).Wait()
}

// Process is a Fairlead that runs.
type Process struct {
	p              *Place
	cmd            *exec.Cmd
	stop           context.CancelFunc
	ctx            context.Context
	stdout, stderr output
	args           []string
}

// output is what a process has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Start starts Fairlead in the repository, in a process group of its own.
func (p *Place) Start(args ...string) *Process {
	p.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), Limit)
	r := &Process{p: p, ctx: ctx, stop: stop, args: args}
	r.cmd = exec.CommandContext(ctx, fairlead, args...)
	r.cmd.Dir, r.cmd.Env = p.Root, p.Env
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A process that a killed Fairlead leaves behind must not hold the test.
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		stop()
		p.t.Fatalf("start fairlead: %v", err)
	}
	return r
}

// PID is the process's.
func (r *Process) PID() int { return r.cmd.Process.Pid }

// Signal sends a signal to Fairlead alone, as kill(1) does.
func (r *Process) Signal(s os.Signal) {
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.p.t.Errorf("signal fairlead: %v", err)
	}
}

// Wait waits for the end. The exit code of a process that a signal ended is
// 128 and the signal's number, as in a shell.
func (r *Process) Wait() Outcome {
	r.p.t.Helper()
	defer r.stop()
	err := r.cmd.Wait()
	o := Outcome{Args: r.args, Exit: r.cmd.ProcessState.ExitCode(), Stdout: r.stdout.String(), Stderr: r.stderr.String()}
	if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		o.Exit = 128 + int(status.Signal())
	}
	if r.ctx.Err() != nil {
		r.p.t.Fatalf("not ended after %s\n%s", Limit, o)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		r.p.t.Fatalf("wait for fairlead: %v\n%s", err, o)
	}
	return o
}

// Printed is what the process has written to standard output so far.
func (r *Process) Printed() string { return r.stdout.String() }

// AwaitText waits until the process has printed one of the texts.
func (r *Process) AwaitText(texts ...string) {
	r.p.t.Helper()
	Await(r.p.t, fmt.Sprintf("fairlead to print %q", texts), func() bool { return slices.ContainsFunc(texts, r.Said) })
}

// Said reports whether the process has printed a text.
func (r *Process) Said(text string) bool {
	return strings.Contains(r.stdout.String()+r.stderr.String(), text)
}

// Await polls until a condition holds: for what another process does there is
// no event to wait for.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	AwaitWithin(t, time.Minute, what, holds)
}

// AwaitWithin is Await with a limit of its own.
func AwaitWithin(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// AwaitFile waits until a file below Outside exists and is not empty.
func (p *Place) AwaitFile(name string) {
	p.t.Helper()
	Await(p.t, name, func() bool {
		st, err := os.Stat(filepath.Join(p.Outside, name))
		return err == nil && st.Size() > 0
	})
}

// Mark is the text of a file below Outside, "" when there is none.
func (p *Place) Mark(name string) string {
	data, err := os.ReadFile(filepath.Join(p.Outside, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Error(err)
	}
	return string(data)
}

// Data returns where a test finds the data of other projects, which are not in
// this repository; it skips the test, loudly, when they are not there.
func Data(t testing.TB, env, fallback string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := cmp.Or(os.Getenv(env), filepath.Join(root, filepath.FromSlash(fallback)))
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED: the data are not there (%v); set %s to where they are", err, env)
	}
	return dir
}
