// Package executortest is what every executor must keep to, as a test.
//
// An executor's own test is a few lines: it hands [Run] a function that makes
// the executor. The suite uses only what every place with a POSIX shell has:
// sh, sleep, cat, kill and, where present, setsid.
package executortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// patience bounds every wait of the suite. Nothing is measured by it: a test
// that reaches it has failed.
const patience = 20 * time.Second

// Run runs the suite against executors made by open, which should give
// commands a short time (under a second) between TERM and KILL.
func Run(t *testing.T, open func(t *testing.T) executor.Executor) {
	RunIn(t, open, func(_ executor.Room, pid int) bool { return Lives(pid) })
}

// RunIn is Run for executors whose rooms number their processes themselves:
// lives reports whether one with such a number exists and is no zombie.
func RunIn(t *testing.T, open func(t *testing.T) executor.Executor, lives func(r executor.Room, pid int) bool) {
	s := suite{open, lives}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Exit", s.exit},
		{"Output", s.output},
		{"BigOutput", s.bigOutput},
		{"LastWords", s.lastWords},
		{"SlowWriter", s.slowWriter},
		{"FailingWriter", s.failingWriter},
		{"Environment", s.environment},
		{"Files", s.files},
		{"NoTerminal", s.noTerminal},
		{"CannotStart", s.cannotStart},
		{"Cancel", s.cancel},
		{"CancelBefore", s.cancelBefore},
		{"Background", s.background},
		{"BackgroundKeepsPrinting", s.backgroundPrints},
		{"Close", s.close},
		{"Concurrent", s.concurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

type suite struct {
	open  func(t *testing.T) executor.Executor
	lives func(r executor.Room, pid int) bool
}

// place is a room with its directories.
type place struct {
	executor.Room
	dirs  plan.Dirs
	t     *testing.T
	alive func(r executor.Room, pid int) bool
}

func (p *place) lives(pid int) bool { return p.alive(p.Room, pid) }

func (s suite) room(t *testing.T) *place {
	t.Helper()
	root := t.TempDir()
	dirs := plan.Dirs{
		Workspace: filepath.Join(root, "workspace"), Temp: filepath.Join(root, "temp"),
		Tools: filepath.Join(root, "tools"), Home: filepath.Join(root, "home"),
	}
	for _, d := range []string{dirs.Workspace, dirs.Temp, dirs.Tools, dirs.Home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.open(t).Open(t.Context(), executor.Spec{Run: "1", Job: "test", Dirs: dirs})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{r, dirs, t, s.lives}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close room: %v", err)
		}
	})
	return p
}

func (p *place) sh(script string) *plan.Command {
	return &plan.Command{Argv: []string{"sh", "-c", script}, Dir: p.Dirs().Workspace}
}

// run runs a script that must be started, and returns what it printed.
func (p *place) run(script string) (executor.Result, string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	res, err := p.Run(ctx, p.sh(script), nil, &out)
	if err != nil {
		p.t.Fatalf("run %q: %v", script, err)
	}
	if ctx.Err() != nil {
		p.t.Fatalf("run %q did not end by itself", script)
	}
	return res, out.String()
}

// mustGo waits until none of the processes lives.
func (p *place) mustGo(t *testing.T, pids ...int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, pid := range pids {
		for p.lives(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d still lives", pid)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// pids reads the numbers in a text.
func pids(t *testing.T, text string) []int {
	t.Helper()
	var pids []int
	for f := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("not the number of a process: %q in %.200q", f, text)
		}
		pids = append(pids, pid)
	}
	return pids
}

func (s suite) exit(t *testing.T) {
	r := s.room(t)
	for _, c := range []struct {
		script string
		exit   int
		signal string
	}{
		{"true", 0, ""},
		{"exit 3", 3, ""},
		{"exit 255", 255, ""},
		{"kill -KILL $$", 137, "SIGKILL"},
		{"kill -TERM $$", 143, "SIGTERM"},
		{"sh -c 'kill -KILL $$'; exit $?", 137, ""}, // somebody inside was killed, not the command
	} {
		res, _ := r.run(c.script)
		if res.Exit != c.exit || res.Signal != c.signal || res.Stopped {
			t.Errorf("%s: exit %d, signal %q, stopped %t; want exit %d, signal %q", c.script, res.Exit, res.Signal, res.Stopped, c.exit, c.signal)
		}
	}
}

func (s suite) output(t *testing.T) {
	r := s.room(t)
	_, got := r.run(`i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf end`)
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	want.WriteString("end")
	if got != want.String() {
		t.Errorf("standard output and error are not joined in order: %d bytes, want %d", len(got), want.Len())
	}
}

// counter counts, and checks that bytes come in a repeating order.
type counter struct {
	n   int64
	bad bool
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		const line = "0123456789abcde\n"
		if b != line[c.n%int64(len(line))] {
			c.bad = true
		}
		c.n++
	}
	return len(p), nil
}

func (s suite) bigOutput(t *testing.T) {
	r := s.room(t)
	const size = 32 << 20
	var c counter
	res, err := r.Run(t.Context(), r.sh(fmt.Sprintf(`yes 0123456789abcde | head -c %d`, size)), nil, &c)
	if err != nil || res.Exit != 0 {
		t.Fatalf("exit %d, %v", res.Exit, err)
	}
	if c.n != size || c.bad {
		t.Errorf("%d bytes, in order: %t; want %d", c.n, !c.bad, size)
	}
}

// lastWords are delivered although somebody else holds the pipe open.
func (s suite) lastWords(t *testing.T) {
	r := s.room(t)
	for range 20 {
		res, got := r.run(`sleep 1000 & head -c 50000 /dev/zero; printf end`)
		if len(got) != 50003 || !strings.HasSuffix(got, "end") {
			t.Fatalf("%d bytes of 50003", len(got))
		}
		if res.LeftOver != 1 {
			t.Fatalf("%d processes left over, want 1", res.LeftOver)
		}
	}
}

// gate is a writer that does not take anything until it is opened.
type gate struct {
	open chan struct{}
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(p)
}

func (s suite) slowWriter(t *testing.T) {
	r := s.room(t)
	g := &gate{open: make(chan struct{})}
	done := make(chan executor.Result)
	marker := filepath.Join(r.dirs.Temp, "done")
	go func() {
		res, err := r.Run(t.Context(), r.sh("head -c 8000000 /dev/zero; echo >"+marker), nil, g)
		if err != nil {
			t.Error(err)
		}
		done <- res
	}()
	time.Sleep(50 * time.Millisecond) // a chance to go wrong
	if _, err := os.Stat(marker); err == nil {
		t.Error("8 MB were swallowed although nobody took them")
	}
	close(g.open)
	if res := <-done; res.Exit != 0 || g.Len() != 8_000_000 {
		t.Errorf("exit %d, %d bytes", res.Exit, g.Len())
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func (s suite) failingWriter(t *testing.T) {
	r := s.room(t)
	_, err := r.Run(t.Context(), r.sh("while :; do echo x; done"), nil, full{})
	if !errors.Is(err, errFull) {
		t.Errorf("error %v, want the writer's", err)
	}
}

func (s suite) environment(t *testing.T) {
	r := s.room(t)
	bin := filepath.Join(r.dirs.Temp, "bin")
	tool := plan.File{Path: filepath.Join(bin, "mytool"), Mode: 0o755, Body: []byte("#!/bin/sh\necho \"$A,$HOME,$PWD,${PATH%%:*}\"\n")}
	var out bytes.Buffer
	res, err := r.Run(t.Context(), &plan.Command{
		Argv: []string{"mytool"}, Env: map[string]string{"A": "b=c d"}, Path: []string{bin, "/nowhere"}, Dir: r.Dirs().Workspace, Files: []plan.File{tool},
	}, nil, &out)
	want := fmt.Sprintf("b=c d,%s,%s,%s\n", r.Dirs().Home, r.Dirs().Workspace, bin)
	if err != nil || res.Exit != 0 || out.String() != want {
		t.Errorf("exit %d, %v, %q; want %q", res.Exit, err, &out, want)
	}
}

func (s suite) files(t *testing.T) {
	r := s.room(t)
	c := r.sh("cat a/b/c; exec a/b/c")
	c.Dir = r.Dirs().Temp
	c.Files = []plan.File{{Path: filepath.Join(r.Dirs().Temp, "a/b/c"), Mode: 0o700, Body: []byte("#!/bin/sh\nexit 7\n")}}
	var out bytes.Buffer
	res, err := r.Run(t.Context(), c, nil, &out)
	if err != nil || res.Exit != 7 || out.String() != "#!/bin/sh\nexit 7\n" {
		t.Errorf("exit %d, %v, %q", res.Exit, err, &out)
	}
}

func (s suite) noTerminal(t *testing.T) {
	r := s.room(t)
	res, got := r.run(`cat; if (: </dev/tty) 2>/dev/null; then echo terminal; fi; test -t 0 || test -t 1 || test -t 2 || echo none`)
	if res.Exit != 0 || got != "none\n" {
		t.Errorf("exit %d, %q", res.Exit, got)
	}
}

func (s suite) cannotStart(t *testing.T) {
	r := s.room(t)
	for _, c := range []*plan.Command{
		{Argv: []string{"no-such-program-anywhere"}},
		{Argv: []string{"/no/such/program"}},
		{Argv: []string{"sh"}, Dir: "/no/such/directory"},
		{Argv: []string{"./data"}, Files: []plan.File{{Path: filepath.Join(r.Dirs().Workspace, "data"), Mode: 0o755, Body: []byte("\x00\x01\x02")}}},
		{},
	} {
		if c.Dir == "" {
			c.Dir = r.Dirs().Workspace
		}
		_, err := r.Run(t.Context(), c, nil, io.Discard)
		if err == nil {
			t.Errorf("%q in %s could be run", c.Argv, c.Dir)
			continue
		}
		name := "empty"
		if strings.Contains(c.Dir, "no/such") {
			name = c.Dir
		} else if len(c.Argv) > 0 {
			name = c.Argv[0]
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

// stubborn are ways to be hard to end. Each prints the numbers of the
// processes that it consists of, and then a dot.
var stubborn = map[string]string{
	"plain":       `echo $$ .; sleep 1000`,
	"child":       `sleep 1000 & echo $$ $! .; wait`,
	"ignores":     `trap '' TERM HUP INT; sleep 1000 & echo $$ $! .; while :; do wait; sleep 1; done`,
	"stopped":     `sleep 1000 & kill -STOP $!; echo $$ $! .; wait`,
	"session":     `setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.2; echo $$ .; wait`,
	"daemon":      `setsid sh -c 'sleep 1000 & echo $!'; echo $$ .; sleep 1000`,
	"deaf daemon": `setsid sh -c 'trap "" TERM; sh -c "trap \"\" TERM; echo \$\$; while :; do sleep 1; done" & sleep 0.2'; echo $$ .; sleep 1000`,
	"many":        `i=0; while [ $i -lt 50 ]; do sleep 1000 & echo $!; i=$((i+1)); done; echo $$ .; wait`,
	"bomb":        `b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & wait; }; sleep 1000; }; b 6 & echo $$ .; while :; do sleep 0.01 & done`,
}

// dot tells when a dot has been printed.
type dot struct {
	mu   sync.Mutex
	text []byte
	seen chan struct{}
}

func newDot() *dot { return &dot{seen: make(chan struct{})} }

func (d *dot) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := bytes.IndexByte(d.text, '.') >= 0
	d.text = append(d.text, p...)
	if !before && bytes.IndexByte(d.text, '.') >= 0 {
		close(d.seen)
	}
	return len(p), nil
}

func (d *dot) pids(t *testing.T) []int {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	text, _, _ := strings.Cut(string(d.text), ".")
	return pids(t, text)
}

func (s suite) cancel(t *testing.T) {
	for name, script := range stubborn {
		t.Run(name, func(t *testing.T) {
			r := s.room(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := newDot()
			go func() {
				select {
				case <-d.seen:
				case <-time.After(patience):
				}
				cancel()
			}()
			res, err := r.Run(ctx, r.sh(script), nil, d)
			if err != nil || !res.Stopped || res.Exit == 0 {
				t.Errorf("stopped %t, exit %d, %v", res.Stopped, res.Exit, err)
			}
			got := d.pids(t)
			if len(got) == 0 {
				t.Fatal("the script did not get going")
			}
			for _, pid := range got {
				if r.lives(pid) {
					state, parent := stat(strconv.Itoa(pid))
					t.Errorf("process %d of %v lives although Run has returned: state %s, parent %s, we are %d", pid, got, state, parent, os.Getpid())
				}
			}
		})
	}
}

func (s suite) cancelBefore(t *testing.T) {
	r := s.room(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	marker := filepath.Join(r.dirs.Temp, "ran")
	res, err := r.Run(ctx, r.sh("echo >"+marker), nil, io.Discard)
	if err != nil || !res.Stopped {
		t.Errorf("stopped %t, %v", res.Stopped, err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("it ran")
	}
}

// background processes live on for the steps that follow.
func (s suite) background(t *testing.T) {
	r := s.room(t)
	res, got := r.run(`sleep 1000 & echo $!`)
	server := pids(t, got)
	if res.Exit != 0 || res.LeftOver != 1 || !r.lives(server[0]) {
		t.Fatalf("exit %d, %d left over, lives: %t", res.Exit, res.LeftOver, r.lives(server[0]))
	}
	if res, _ := r.run(fmt.Sprintf("kill -0 %d", server[0])); res.Exit != 0 {
		t.Error("the next step does not find what the first started")
	}
	if res, _ := r.run("true"); res.LeftOver != 0 {
		t.Errorf("a step is charged with %d processes of another", res.LeftOver)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.mustGo(t, server...)
}

// A background process that prints is neither blocked nor broken when its step
// has ended, and what it prints then is not heard of.
func (s suite) backgroundPrints(t *testing.T) {
	r := s.room(t)
	marker := filepath.Join(r.dirs.Temp, "printed")
	_, got := r.run(`mkfifo go; (read x <go; i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo >` + marker + `; sleep 1000) & echo $!`)
	if n := len(pids(t, got)); n != 1 {
		t.Fatalf("%d lines heard of: %.200q", n, got)
	}
	res, got := r.run(`while ! echo >go; do sleep 0.01; done; while ! test -e ` + marker + `; do sleep 0.01; done; echo seen`)
	if res.Exit != 0 || got != "seen\n" {
		t.Errorf("exit %d, %q", res.Exit, got)
	}
}

// Close ends what runs and what was left, in whatever session.
func (s suite) close(t *testing.T) {
	for name, script := range map[string]string{
		"plain":   `sleep 1000 & echo $!`,
		"ignores": `(trap '' TERM; while :; do sleep 1; done) & echo $!`,
		"daemon":  `setsid sh -c 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $!'`,
		"twice":   `setsid sh -c 'setsid sleep 1000 >/dev/null 2>&1 & echo $!'`,
		"silent":  `sleep 1000 >/dev/null 2>&1 & echo $!`,
		"stopped": `sleep 1000 & kill -STOP $!; echo $!`,
	} {
		t.Run(name, func(t *testing.T) {
			r := s.room(t)
			_, got := r.run(script)
			d := newDot()
			done := make(chan executor.Result)
			go func() {
				res, err := r.Run(t.Context(), r.sh(`sleep 1000 & echo $$ $! .; wait`), nil, d)
				if err != nil {
					t.Error(err)
				}
				done <- res
			}()
			<-d.seen
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if res := <-done; !res.Stopped {
				t.Error("a step that was ended by Close is not reported as stopped")
			}
			for _, pid := range append(pids(t, got), d.pids(t)...) {
				if r.lives(pid) {
					state, parent := stat(strconv.Itoa(pid))
					t.Errorf("process %d lives although Close has returned: state %s, parent %s, we are %d", pid, state, parent, os.Getpid())
				}
			}
			if _, err := r.Run(t.Context(), r.sh("true"), nil, io.Discard); err == nil {
				t.Error("a closed room runs commands")
			}
			if err := r.Close(); err != nil {
				t.Errorf("closing twice: %v", err)
			}
		})
	}
}

func (s suite) concurrent(t *testing.T) {
	r := s.room(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			var out bytes.Buffer
			res, err := r.Run(t.Context(), r.sh(fmt.Sprintf("echo %d; exit %d", i, i)), nil, &out)
			if err != nil || res.Exit != i || out.String() != fmt.Sprintln(i) || res.LeftOver != 0 {
				t.Errorf("%d: exit %d, %q, %d left over, %v", i, res.Exit, &out, res.LeftOver, err)
			}
		})
	}
	wg.Wait()
}

// Leaks runs steps of all sorts in many rooms of x and fails if files,
// goroutines or zombies pile up. It looks at the whole process, so nothing else
// may run beside it.
func Leaks(t *testing.T, x executor.Executor) {
	s := suite{func(*testing.T) executor.Executor { return x }, func(_ executor.Room, pid int) bool { return Lives(pid) }}
	round := func() {
		t.Run("round", func(t *testing.T) {
			r := s.room(t)
			r.run("true")
			r.run("sleep 1000 & setsid sleep 1000 & echo x")
			ctx, cancel := context.WithCancel(t.Context())
			d := newDot()
			go func() { <-d.seen; cancel() }()
			if _, err := r.Run(ctx, r.sh(stubborn["daemon"]), nil, d); err != nil {
				t.Error(err)
			}
			if _, err := r.Run(t.Context(), &plan.Command{Argv: []string{"/no/such/program"}, Dir: "/"}, nil, io.Discard); err == nil {
				t.Error("no error")
			}
		})
	}
	round()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	for range 5 {
		round()
	}
	deadline := time.Now().Add(patience)
	for {
		g, f, z := runtime.NumGoroutine(), openFiles(), zombies()
		// A few groups or buffers more or less may be kept; five rounds of
		// anything may not.
		if g < goroutines+5 && f < files+5 && z == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after five rounds: %d goroutines (were %d), %d open files (were %d), %d zombies", g, goroutines, f, files, z)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Lives reports whether a process of this machine exists and is no zombie.
func Lives(pid int) bool {
	if runtime.GOOS != "linux" {
		p, err := os.FindProcess(pid)
		return err == nil && p.Signal(syscall.Signal(0)) == nil
	}
	state, _ := stat(strconv.Itoa(pid))
	return state != "" && state != "Z" && state != "X"
}

// stat is a process's state and the number of its parent.
func stat(pid string) (state, parent string) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", ""
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return f[0], f[1]
}

func zombies() int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	n := 0
	for _, d := range dirs {
		if state, parent := stat(filepath.Base(d)); state == "Z" && parent == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func openFiles() int {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if d, err := os.ReadDir(dir); err == nil {
			return len(d)
		}
	}
	return 0
}
