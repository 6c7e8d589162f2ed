//go:build unix

package host_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/executortest"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const grace = 300 * time.Millisecond

// ways are the kinds of fences.
var ways = map[string]host.Options{
	"Best":   {Grace: grace},
	"Search": {Grace: grace, NoCgroups: true},
}

func newHost(t testing.TB, o host.Options) *host.Executor {
	x := host.New(o)
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func openRoom(t testing.TB, x executor.Executor) executor.Room {
	t.Helper()
	r, err := x.Open(t.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: t.TempDir(), Temp: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestConformance(t *testing.T) {
	for name, o := range ways {
		t.Run(name, func(t *testing.T) {
			x := newHost(t, o)
			executortest.Run(t, func(*testing.T) executor.Executor { return x })
		})
	}
}

func TestLeaks(t *testing.T) {
	for name, o := range ways {
		t.Run(name, func(t *testing.T) { executortest.Leaks(t, newHost(t, o)) })
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	at := plan.Source{File: "ci.yml", Line: 3, Col: 14}
	x := newHost(t, host.Options{Labels: map[string]bool{"Windows-Special": true, "gpu": false}})
	alien := map[string]string{"amd64": "arm64", "arm64": "x64"}[runtime.GOARCH]
	for _, c := range []struct {
		place plan.Place
		rule  string
		says  string
	}{
		{plan.Place{}, "", ""},
		{plan.Place{Labels: []string{"ubuntu-latest"}}, "", ""},
		{plan.Place{Labels: []string{"self-hosted", "linux", "our-own"}}, "", ""},
		{plan.Place{Labels: []string{"Windows-2022"}}, "runs-on", "Windows"},
		{plan.Place{Labels: []string{"windows-special"}}, "", ""},
		{plan.Place{Labels: []string{"linux", "gpu"}}, "runs-on", "exclude"},
		{plan.Place{Labels: []string{alien}}, "runs-on", "processor"},
		{plan.Place{Container: &plan.Container{Image: "node:22"}}, "container", "Docker"},
		{plan.Place{Container: &plan.Container{}}, "", ""},
		{plan.Place{Services: map[string]plan.Container{"db": {Image: "postgres"}}}, "services", `"db"`},
		{plan.Place{Services: map[string]plan.Container{"db": {}}}, "", ""},
	} {
		c.place.Source = at
		p := x.Fits(&c.place)
		if p == nil {
			if c.rule != "" {
				t.Errorf("%+v fits", c.place)
			}
			continue
		}
		if p.Rule != c.rule || !strings.Contains(p.Message, c.says) || p.Source != at || p.Hint == "" || (p.Severity == plan.Warning) != (c.rule == "runs-on") {
			t.Errorf("%+v: %+v; want rule %q", c.place, p, c.rule)
		}
		if c.rule == "" {
			continue
		}
		if _, err := x.Open(t.Context(), executor.Spec{Place: c.place}); err == nil {
			t.Errorf("%+v: a room can be had all the same", c.place)
		}
	}
	if runtime.GOOS == "linux" && x.Fits(&plan.Place{Labels: []string{"macos-14"}}) == nil {
		t.Error("macOS fits Linux")
	}
}

// TestErrors is about commands that cannot be started: the error names the
// file, and says what is the matter with it.
func TestErrors(t *testing.T) {
	t.Parallel()
	r := openRoom(t, newHost(t, host.Options{}))
	dir := r.Dirs().Workspace
	file := func(name, body string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plainFile := file("plain", "hello", 0o644)
	big := strings.Repeat("x", 3<<20)
	for name, c := range map[string]struct {
		command plan.Command
		is      error
		says    []string
	}{
		"not in PATH":         {plan.Command{Argv: []string{"no-such-tool"}}, fs.ErrNotExist, []string{"no-such-tool", "command not found"}},
		"no such file":        {plan.Command{Argv: []string{"./none"}}, fs.ErrNotExist, []string{"./none"}},
		"not executable":      {plan.Command{Argv: []string{plainFile}}, fs.ErrPermission, []string{plainFile, "not executable"}},
		"unusable in PATH":    {plan.Command{Argv: []string{"plain"}, Path: []string{dir}}, fs.ErrPermission, []string{plainFile, "not executable"}},
		"a directory":         {plan.Command{Argv: []string{dir}}, fs.ErrPermission, []string{dir, "directory"}},
		"not a program":       {plan.Command{Argv: []string{file("data", "\x00\x01", 0o755)}}, nil, []string{"data", "exec format error", "#!"}},
		"interpreter":         {plan.Command{Argv: []string{file("script", "#!/no/such/python -u\n", 0o755)}}, fs.ErrNotExist, []string{"script", `"/no/such/python"`}},
		"carriage return":     {plan.Command{Argv: []string{file("dos", "#!/bin/sh\r\necho\r\n", 0o755)}}, fs.ErrNotExist, []string{"dos", `"/bin/sh\r"`}},
		"directory missing":   {plan.Command{Argv: []string{"sh"}, Dir: "/no/such/dir"}, fs.ErrNotExist, []string{"working directory", "/no/such/dir"}},
		"directory is a file": {plan.Command{Argv: []string{"sh"}, Dir: plainFile}, nil, []string{"working directory", plainFile, "not a directory"}},
		"huge argument":       {plan.Command{Argv: []string{"sh", "-c", ":", big}}, nil, []string{"argument list too long", "an argument with 3145728"}},
		"huge variable":       {plan.Command{Argv: []string{"sh"}, Env: map[string]string{"HUGE": big}}, nil, []string{"argument list too long", "HUGE"}},
		"NUL in argument":     {plan.Command{Argv: []string{"sh", "a\x00b"}}, nil, []string{"NUL", "argument"}},
		"NUL in variable":     {plan.Command{Argv: []string{"sh"}, Env: map[string]string{"ODD": "a\x00b"}}, nil, []string{"NUL", "ODD"}},
		"nothing":             {plan.Command{}, nil, []string{"empty"}},
		"script unwritable":   {plan.Command{Argv: []string{"sh"}, Files: []plan.File{{Path: plainFile + "/x", Mode: 0o600}}}, nil, []string{plainFile, "write script"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.command.Dir == "" {
				c.command.Dir = dir
			}
			_, err := r.Run(t.Context(), &c.command, nil, io.Discard)
			if err == nil {
				t.Fatal("it could be started")
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%.300v is not %v", err, c.is)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%.300v does not say %q", err, s)
				}
			}
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestLimitsAreKeptOrRefused(t *testing.T) {
	t.Parallel()
	x := newHost(t, host.Options{Grace: grace, Limits: host.Limits{PIDs: 20}})
	r, err := x.Open(t.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: t.TempDir()}})
	if err != nil {
		if !strings.Contains(err.Error(), "limits") {
			t.Errorf("the error does not say that it is about limits: %v", err)
		}
		return
	}
	defer r.Close()
	res, err := r.Run(t.Context(), &plan.Command{Argv: []string{"sh", "-c", `i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done`}, Dir: "/"}, nil, io.Discard)
	if err != nil || res.Exit == 0 {
		t.Errorf("41 processes where 20 are allowed: exit %d, %v", res.Exit, err)
	}
}

// killedEnv makes the test binary a Fairlead that is going to be killed.
const killedEnv = "HOST_TEST_KILLED"

func TestMain(m *testing.M) {
	if way := os.Getenv(killedEnv); way != "" {
		runUntilKilled(ways[way])
	}
	os.Exit(m.Run())
}

func runUntilKilled(o host.Options) {
	x := host.New(o)
	r, err := x.Open(context.Background(), executor.Spec{Dirs: plan.Dirs{Workspace: "/"}})
	if err == nil {
		_, err = r.Run(context.Background(), &plan.Command{
			Argv: []string{"sh", "-c", `trap '' TERM HUP; sleep 1000 & echo $!; setsid sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'; echo $$; echo .; while :; do sleep 1; done`},
			Dir:  "/",
		}, nil, os.Stdout)
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKilled kills Fairlead: nothing that it ran may survive.
func TestKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is a keeper on Linux only")
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			c := exec.Command(self)
			c.Env = append(os.Environ(), killedEnv+"="+way)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			var pids []int
			in := bufio.NewScanner(out)
			for in.Scan() && in.Text() != "." {
				var pid int
				if _, err := fmt.Sscan(in.Text(), &pid); err != nil {
					t.Fatalf("it says %q", in.Text())
				}
				pids = append(pids, pid)
			}
			if len(pids) != 3 {
				t.Fatalf("processes %v", pids)
			}
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			deadline := time.Now().Add(20 * time.Second)
			for _, pid := range pids {
				for executortest.Lives(pid) {
					if time.Now().After(deadline) {
						t.Fatalf("process %d of %v survives", pid, pids)
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
}

// A room that nobody closed is cleared when the executor is closed.
func TestForgottenRoom(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is a keeper on Linux only")
	}
	for way, o := range ways {
		t.Run(way, func(t *testing.T) {
			x := host.New(o)
			r, err := x.Open(t.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: "/"}})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if _, err := r.Run(t.Context(), &plan.Command{Argv: []string{"sh", "-c", "sleep 1000 & echo $!"}}, nil, &out); err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Sscan(out.String(), &pid); err != nil || !executortest.Lives(pid) {
				t.Fatalf("%q, %v", &out, err)
			}
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			if executortest.Lives(pid) {
				t.Errorf("process %d lives", pid)
			}
		})
	}
}

// BenchmarkSpawn compares a step with the same process started in the plainest
// way.
func BenchmarkSpawn(b *testing.B) {
	script := filepath.Join(b.TempDir(), "script.sh")
	if err := os.WriteFile(script, []byte("true\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	b.Run("Bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("bash", "-e", script).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("BareOutput", func(b *testing.B) {
		for b.Loop() {
			if _, err := exec.Command("bash", "-e", script).CombinedOutput(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, o := range ways {
		b.Run(name, func(b *testing.B) {
			r := openRoom(b, newHost(b, o))
			c := &plan.Command{Argv: []string{"bash", "-e", script}, Dir: r.Dirs().Workspace}
			for b.Loop() {
				if res, err := r.Run(b.Context(), c, nil, io.Discard); err != nil || res.Exit != 0 {
					b.Fatal(res.Exit, err)
				}
			}
		})
	}
}

func BenchmarkRoom(b *testing.B) {
	for name, o := range ways {
		b.Run(name, func(b *testing.B) {
			x := newHost(b, o)
			for b.Loop() {
				r, err := x.Open(b.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: "/"}})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.Run(b.Context(), &plan.Command{Argv: []string{"/bin/true"}, Dir: "/"}, nil, io.Discard); err != nil {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOutput(b *testing.B) {
	r := openRoom(b, newHost(b, host.Options{}))
	const size = 256 << 20
	block := filepath.Join(r.Dirs().Temp, "block")
	if err := os.WriteFile(block, bytes.Repeat([]byte(strings.Repeat("x", 79)+"\n"), size/80/16), 0o644); err != nil {
		b.Fatal(err)
	}
	argv := []string{"cat"}
	for range 16 {
		argv = append(argv, block)
	}
	b.SetBytes(size)
	for b.Loop() {
		if res, err := r.Run(b.Context(), &plan.Command{Argv: argv, Dir: "/"}, nil, io.Discard); err != nil || res.Exit != 0 {
			b.Fatal(res.Exit, err)
		}
	}
}

// BenchmarkFirst is the way from nothing to the end of a first step.
func BenchmarkFirst(b *testing.B) {
	for name, o := range ways {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				x := host.New(o)
				r, err := x.Open(b.Context(), executor.Spec{Dirs: plan.Dirs{Workspace: "/"}})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.Run(b.Context(), &plan.Command{Argv: []string{"/bin/true"}, Dir: "/"}, nil, io.Discard); err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(r.Close(), x.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPipeline is the way of a step's output: pipe, lines, log.
func BenchmarkPipeline(b *testing.B) {
	r := openRoom(b, newHost(b, host.Options{}))
	line := "[%6d/99999] compile src/module%03d/file%05d.go -> build/obj/%08x.o ok %4d ms     "
	var text []byte
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; len(text) < 64<<20; i++ {
		text = append(fmt.Appendf(text, line, i%100000, rng.IntN(300), rng.IntN(99999), rng.Uint32(), rng.IntN(5000)), '\n')
	}
	block := filepath.Join(r.Dirs().Temp, "block")
	if err := os.WriteFile(block, text, 0o644); err != nil {
		b.Fatal(err)
	}
	argv := append([]string{"cat"}, slices.Repeat([]string{block}, 16)...)
	b.SetBytes(int64(len(text)) * 16)
	for b.Loop() {
		w, err := logs.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		s := logs.NewSplitter(func(line []byte) error {
			_, err := w.Line("1", time.Now(), line)
			return err
		})
		if res, err := r.Run(b.Context(), &plan.Command{Argv: argv, Dir: "/"}, nil, s); err != nil || res.Exit != 0 {
			b.Fatal(res.Exit, err)
		}
		if err := errors.Join(s.Close(), w.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
