//go:build amd64 || arm64

package trace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

var mechanisms = []Mechanism{Seccomp, Ptrace}

func sh(dir, script string) subject {
	return subject{argv: []string{"/bin/sh", "-c", script}, dir: dir}
}

// await waits until something holds that no event tells of.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestUnchanged runs scripts with and without being watched.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"exit code":  "exit 7",
		"terminated": "kill -TERM $$",
		"killed":     "kill -KILL $$",
		"handlers":   `trap 'echo got' USR1; kill -USR1 $$; (sleep 0.1; kill -USR1 $$; sleep 0.5) & wait $!; echo $?; wait; cat f; echo $?`,
		"children":   `for i in 1 2 3; do (echo $i; exit $i) || echo $?; done; sh -c 'kill -9 $$'; echo $?`,
		"ignored":    `trap '' PIPE; yes 2>/dev/null | head -1; (trap '' TERM; kill -TERM $(exec sh -c 'echo $PPID'); echo alive)`,
		"no program": `./missing; echo $?; ./f; echo $?; cd nowhere; echo $?`,
		"pipes":      `seq 1 1000 | sort -n | tail -1`,
		"limits":     `ulimit -n 64; ulimit -n; umask 027; : >n; ls -l n | cut -c1-10`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, mechanisms...)
			run := func(how Mechanism) (string, syscall.WaitStatus) {
				dir := realDir(t)
				if err := os.WriteFile(dir+"/f", []byte("f\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				out, err := os.Create(filepath.Join(t.TempDir(), "out"))
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				s := sh(dir, "exec 2>&1; "+script)
				s.out = out
				var status syscall.WaitStatus
				if how == "" {
					pid, err := syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, Files: []uintptr{0, out.Fd(), out.Fd()}})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
						t.Fatal(err)
					}
				} else {
					_, _, status = watched(t, how, s)
				}
				b, err := os.ReadFile(out.Name())
				if err != nil {
					t.Fatal(err)
				}
				return strings.ReplaceAll(string(b), dir, "$"), status
			}
			wantOut, wantStatus := run("")
			for _, m := range mechanisms {
				if out, status := run(m); out != wantOut || status != wantStatus {
					t.Errorf("%s: %#x and %q, want %#x and %q", m, status, out, wantStatus, wantOut)
				}
			}
		})
	}
}

// TestStopAndContinue stops a step by a signal, as a terminal does.
func TestStopAndContinue(t *testing.T) {
	t.Parallel()
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			dir := realDir(t)
			tr, err := newTracer(&notes{}, m)
			if err != nil {
				t.Fatal(err)
			}
			pid := startStep(t, tr, sh(dir, "kill -STOP $$; : >continued; exit 5"))
			await(t, "it stops", func() bool {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				return strings.Contains(string(b), "\nState:\tT") || strings.Contains(string(b), "\nState:\tt (tracing stop)")
			})
			// With ptrace it looks stopped at each of its calls.
			for range 20 {
				time.Sleep(time.Millisecond)
				if _, err := os.Stat(dir + "/continued"); err == nil {
					t.Fatal("it does not stay stopped")
				}
			}
			for {
				_ = unix.Kill(pid, unix.SIGCONT) // may come before the stop
				if _, err := os.Stat(dir + "/continued"); err == nil {
					break
				}
				time.Sleep(time.Millisecond)
			}
			var status syscall.WaitStatus
			if err := tr.Wait(pid, &status); err != nil || status.ExitStatus() != 5 {
				t.Errorf("%v, status %#x", err, status)
			}
			tr.Finish(0)
		})
	}
}

// TestKilledMeanwhile kills a process while its call is being looked at.
func TestKilledMeanwhile(t *testing.T) {
	t.Parallel()
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			pids := make(chan int, 1)
			n := &notes{on: func(line string) {
				if strings.Contains(line, "victim r") {
					_ = unix.Kill(<-pids, unix.SIGKILL)
				}
			}}
			tr, err := newTracer(n, m)
			if err != nil {
				t.Fatal(err)
			}
			pid := startStep(t, tr, sh(realDir(t), ": <victim; exit 3"))
			pids <- pid
			var status syscall.WaitStatus
			if err := tr.Wait(pid, &status); err != nil || status.Signal() != unix.SIGKILL {
				t.Errorf("%v, status %#x", err, status)
			}
			if o := tr.Finish(0); len(o.Barred) > 0 {
				t.Errorf("barred by %v", o.Barred)
			}
		})
	}
}

// TestLeftOver leaves a daemon behind, which goes on being answered.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			dir := realDir(t)
			if err := os.WriteFile(dir+"/f", []byte("f"), 0o644); err != nil {
				t.Fatal(err)
			}
			n := &notes{}
			tr, err := newTracer(n, m)
			if err != nil {
				t.Fatal(err)
			}
			s := sh(dir, `( ( while ! [ -e go ]; do sleep 0.01; done; cat f >part && mv part done ) & ); exit 0`)
			s.attr.Setsid = true
			pid := startStep(t, tr, s)
			var status syscall.WaitStatus
			if err := tr.Wait(pid, &status); err != nil || status != 0 {
				t.Fatalf("%v, status %#x", err, status)
			}
			tr.Finish(1)
			told := len(n.all())
			if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			await(t, "the daemon does its work", func() bool {
				b, _ := os.ReadFile(dir + "/done")
				return string(b) == "f"
			})
			if len(n.all()) != told {
				t.Errorf("told after the end of %q", n.all()[told:])
			}
		})
	}
}

// TestNothingIsLeft counts what a process has, before and after some steps. It
// is not parallel to others.
func TestNothingIsLeft(t *testing.T) {
	need(t, mechanisms...)
	count := func() (fds, threads, goroutines int) {
		f, _ := os.ReadDir("/proc/self/fd")
		th, _ := os.ReadDir("/proc/self/task")
		return len(f), len(th), runtime.NumGoroutine()
	}
	dir := realDir(t)
	some := func(n int) {
		for range n {
			for _, m := range mechanisms {
				watched(t, m, sh(dir, "/bin/true & wait"))
				tr, err := newTracer(&notes{}, m)
				if err != nil {
					t.Fatal(err)
				}
				attr := syscall.ProcAttr{Dir: dir, Sys: new(syscall.SysProcAttr)}
				tr.Attr(attr.Sys)
				if _, err := tr.Start("/nowhere", dir, []string{"x"}, func() (int, error) {
					return syscall.ForkExec("/nowhere", []string{"x"}, &attr)
				}); err != syscall.ENOENT {
					t.Fatalf("a program that is not there: %v", err)
				}
			}
			if _, err := Probe(); err != nil {
				t.Fatal(err)
			}
			if err := probePtrace(); err != nil {
				t.Fatal(err)
			}
		}
	}
	some(3)
	fds, threads, goroutines := 1<<30, 1<<30, 1<<30
	await(t, "the first end", func() bool {
		f, th, g := count()
		settled := f >= fds && th >= threads && g >= goroutines
		fds, threads, goroutines = min(fds, f), min(threads, th), min(goroutines, g)
		return settled
	})
	some(20)
	await(t, "all that was made is gone", func() bool {
		f, th, g := count()
		return f <= fds && th < threads+15 && g <= goroutines // Go keeps some threads for later
	})
}

// TestBrokenSupervisor has a witness that fails: the step goes on.
func TestBrokenSupervisor(t *testing.T) {
	t.Parallel()
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			n := &notes{on: func(line string) {
				if strings.Contains(line, "victim") {
					panic("no more")
				}
			}}
			tr, err := newTracer(n, m)
			if err != nil {
				t.Fatal(err)
			}
			pid := startStep(t, tr, sh(realDir(t), "cat victim; echo x >out; read x <out; [ $x = x ] && exit 4"))
			var status syscall.WaitStatus
			if err := tr.Wait(pid, &status); err != nil || status.ExitStatus() != 4 {
				t.Fatalf("%v, status %#x", err, status)
			}
			n.on = nil
			o := tr.Finish(0)
			if o.Mechanism != string(m) || !n.has("bar lost the supervisor failed: no more") {
				t.Errorf("%+v, told of %q", o, n.all())
			}
		})
	}
}

// TestLateLook ends a step while a call of a process that it left behind is
// being looked at.
func TestLateLook(t *testing.T) {
	t.Parallel()
	release, looking := make(chan bool), make(chan bool)
	n := &notes{on: func(line string) {
		if strings.Contains(line, "victim r") {
			close(looking)
			<-release
		}
	}}
	tr, err := newTracer(n, Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	dir := realDir(t)
	// The child holds the supervisor up, so that its parent must not need it.
	s := sh(dir, "( read x; read x <victim || : >after ) <go & exec /bin/sleep 1000")
	if err := errors.Join(unix.Mkfifo(dir+"/go", 0o600), os.WriteFile(dir+"/victim", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	pid := startStep(t, tr, s)
	fifo, err := os.OpenFile(dir+"/go", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fifo.WriteString("go\n")
	fifo.Close()
	<-looking
	_ = unix.Kill(pid, unix.SIGKILL)
	var status syscall.WaitStatus
	if err := tr.Wait(pid, &status); err != nil {
		t.Fatal(err)
	}
	o := tr.Finish(1)
	if len(o.Barred) != 1 || o.Barred[0].Kind != record.BarLost {
		t.Errorf("barred by %v", o.Barred)
	}
	close(release)
	await(t, "the process goes on", func() bool { _, err := os.Stat(dir + "/after"); return err == nil })
}

func TestNotWatched(t *testing.T) {
	t.Parallel()
	if _, err := New(Spec{}, "telepathy"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a mechanism that there is not: %v", err)
	}
	tr, err := New(Spec{}, Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	if o := tr.Finish(0); o.Mechanism != "" || len(o.Barred) != 1 || o.Barred[0].Kind != record.BarNotWatched {
		t.Errorf("nothing started: %+v", o)
	}
}

// watchAndPrint is a program that watches: it prints what it is told.
func watchAndPrint(args []string) error {
	a, err := Probe()
	if err != nil {
		return err
	}
	fmt.Printf("probe %s nnp=%t %q\n", a.Mechanism, a.NoNewPrivs, a.Missing)
	if len(args) == 0 {
		return nil
	}
	m := Mechanism(args[0])
	if m == "" {
		m = a.Mechanism
	}
	n := &notes{}
	t, err := newTracer(n, m)
	if err != nil {
		return err
	}
	attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Env: []string{"PATH=/usr/bin:/bin"}, Sys: new(syscall.SysProcAttr)}
	t.Attr(attr.Sys)
	pid, err := t.Start(args[1], "", args[1:], func() (int, error) {
		return syscall.ForkExec(args[1], args[1:], attr)
	})
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	if err := t.Wait(pid, &status); err != nil {
		return err
	}
	o := t.Finish(0)
	fmt.Printf("%s\nended %s %d %v\n", strings.Join(n.all(), "\n"), o.Mechanism, status.ExitStatus(), o.Barred)
	return nil
}

// printed runs a step in which a program watches, and returns what that prints.
func printed(t *testing.T, m Mechanism, s subject) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.out = out
	_, _, status := watched(t, m, s)
	b, err := os.ReadFile(out.Name())
	if err != nil || status != 0 {
		t.Fatalf("%v, status %#x, printed %s", err, status, b)
	}
	return string(b)
}

// TestNested watches a step that watches a step.
func TestNested(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outer, inner Mechanism
		want         []string
	}{
		{Seccomp, "", []string{"probe ptrace", "something else watches", "open $/f r\n", "ended ptrace 6 []"}},
		{Seccomp, Seccomp, []string{"ended  6 [{not-watched something else watches"}},
		{Ptrace, "", []string{"probe seccomp", "open $/f r\n", "ended seccomp 6 []"}},
	} {
		t.Run(fmt.Sprintf("%s in %s", c.inner, c.outer), func(t *testing.T) {
			t.Parallel()
			need(t, mechanisms...)
			dir := tree(t)
			got := strings.ReplaceAll(printed(t, c.outer, helping(t, dir, "watch", string(c.inner), "/bin/sh", "-c", "read x <f; exit 6")), dir, "$")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("printed %s\nwithout %q", got, want)
				}
			}
		})
	}
}

// TestWithoutPrivileges watches as an ordinary user does.
func TestWithoutPrivileges(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("all tests run without privileges already")
	}
	need(t, mechanisms...)
	dir := tree(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	prog := dir + "/test"
	if err := os.WriteFile(prog, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	for _, m := range []string{"", string(Ptrace)} {
		cmd := exec.Command(prog, m, "/bin/sh", "-c", "read x <f; exit 6")
		cmd.Dir = dir
		cmd.Env = []string{"TRACE_HELPER=watch"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		want := []string{"probe seccomp nnp=true", "open " + dir + "/f r\n", "ended seccomp 6 []"}
		if m != "" {
			want[2] = "ended ptrace 6 []"
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%v, printed %s\nwithout %q", err, out, w)
			}
		}
	}
}

// TestDebuggers runs debuggers in a step: they trace what is watched.
func TestDebuggers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"strace", "-f", "-o", "log", "/bin/sh", "-c", "cat f"}, "f"},
		{[]string{"gdb", "-batch", "-nx", "-ex", "run", "--args", "/bin/cat", "f"}, "exited normally"},
	} {
		t.Run(c.argv[0], func(t *testing.T) {
			t.Parallel()
			need(t, mechanisms...)
			file, err := exec.LookPath(c.argv[0])
			if err != nil {
				t.Skipf("NOT TESTED: there is no %s", c.argv[0])
			}
			dir := tree(t)
			s := subject{argv: append([]string{file}, c.argv[1:]...), dir: dir, env: []string{"HOME=" + dir}}
			if got := printed(t, Seccomp, s); !strings.Contains(got, c.want) {
				t.Errorf("printed %s", got)
			}
		})
	}
}

// compile makes a program of C; the test is skipped where that cannot be done.
func compile(t *testing.T, source string, flags ...string) string {
	t.Helper()
	dir := realDir(t)
	if err := os.WriteFile(dir+"/p.c", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc", append(flags, "-o", dir+"/p", dir+"/p.c")...)
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound), err != nil && slices.Contains(flags, "-m32"):
		t.Skipf("NOT TESTED: gcc %v: %v %s", flags, err, out)
	case err != nil:
		t.Fatalf("gcc %v: %v %s", flags, err, out)
	}
	return dir + "/p"
}

// TestCompat watches a 32-bit program.
func TestCompat(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("NOT TESTED: a 32-bit program on this machine")
	}
	prog := compile(t, `
static int call(int nr, int a, int b, int c) {
	int r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return r;
}
static char *args[] = {"prog", "x", 0}, *env[] = {0};
static struct { short family; char path[10]; } address = {1, "sock"};
static int inner[3] = {-1, (int)0, 6};
void _start(void) {
	char buf[200];
	call(5, (int)"f", 0, 0);             /* open */
	call(295, -100, (int)"d/g", 0);      /* openat */
	call(195, (int)"lf", (int)buf, 0);   /* stat64 */
	call(12, (int)"d", 0, 0);            /* chdir */
	call(33, (int)"e", 0, 0);            /* access */
	inner[1] = (int)&address;
	call(102, 3, (int)inner, 0);         /* socketcall: connect */
	call(117, 23, 4711, 1);              /* ipc: shmget */
	call(117, 21, 4711, 1);              /* ipc: shmat */
	if (call(425, 1, (int)buf, 0) != -38) call(1, 9, 0, 0);
	call(11, (int)"../prog", (int)args, (int)env);
	call(1, 8, 0, 0);
}`, "-m32", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector", "-O1")
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			dir := tree(t)
			n, _, status := watched(t, m, subject{argv: []string{prog}, dir: dir})
			want := []string{"see $", "open $/f r", "open $/d/g r", "see $/lf", "see $/d", "see $/d/e", "connect unix $/d/sock", `exec $/prog ["prog" "x"]`}
			if got := n.below(dir); status != 0 || !slices.Equal(got, want) || !n.has("bar ipc ipc with key 4711") {
				t.Errorf("status %#x, told of %q, want %q", status, got, want)
			}
		})
	}
}

// TestFork watches the ways in which C programs make processes, and threads
// that do not share what threads usually do.
func TestFork(t *testing.T) {
	t.Parallel()
	prog := compile(t, `
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static char stack[65536];
static char *args[] = {"prog", 0}, *env[] = {0};
static int moves(void *a) { chdir("d"); return 0; }
static void *thread(void *a) { open("g", O_RDONLY); return 0; }
int main(void) {
	pid_t p;
	pthread_t t;
	int status;
	if ((p = vfork()) == 0) { execve("./prog", args, env); _exit(1); }
	waitpid(p, 0, 0);
	posix_spawn(&p, "prog", 0, 0, args, env);
	waitpid(p, 0, 0);
	open("f", O_RDONLY);
	/* a process that shares the working directory */
	p = clone(moves, stack + sizeof stack, CLONE_FS | CLONE_VM | SIGCHLD, 0);
	waitpid(p, &status, 0);
	open("e", O_RDONLY);
	pthread_create(&t, 0, thread, 0);
	pthread_join(t, 0);
	return status;
}`, "-pthread")
	for _, m := range mechanisms {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			dir := tree(t)
			n, _, status := watched(t, m, subject{argv: []string{prog}, dir: dir})
			want := []string{"see $", `exec $/prog ["prog"]`, `exec $/prog ["prog"]`, "open $/f r", "see $/d", "open $/d/e r", "open $/d/g r"}
			if got := n.below(dir); status != 0 || !slices.Equal(got, want) {
				t.Errorf("status %#x, told of %q, want %q", status, got, want)
			}
		})
	}
}

// TestRefusedMemory reads paths as in a container, where only the longer way to
// a process's memory is open.
func TestRefusedMemory(t *testing.T) {
	t.Parallel()
	dir := tree(t)
	n := &notes{}
	tr, err := newTracer(n, Seccomp)
	if err != nil {
		t.Fatal(err)
	}
	tr.watcher.mem.refused = true
	pid := startStep(t, tr, sh(dir, "./prog x; read x <d/g; exit 3"))
	var status syscall.WaitStatus
	if err := tr.Wait(pid, &status); err != nil || status.ExitStatus() != 3 {
		t.Fatalf("%v, status %#x", err, status)
	}
	o := tr.Finish(0)
	if len(o.Barred) > 0 || !n.has("open "+dir+"/d/g r") || !n.has(`exec `+dir+`/prog ["./prog" "x"]`) {
		t.Errorf("barred by %v, told of %q", o.Barred, n.all())
	}
}

// TestManyProcesses has the kernel give out many numbers while directories change.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	need(t, mechanisms...)
	dir := tree(t)
	var wg sync.WaitGroup
	for _, m := range mechanisms {
		wg.Go(func() {
			const n = 200
			w, _, status := watched(t, m, sh(dir, "i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do (cd d; : <g); : <f; i=$((i+1)); done"))
			count := map[string]int{}
			for _, l := range w.below(dir) {
				count[l]++
			}
			if status != 0 || count["open $/d/g r"] != n || count["open $/f r"] != n {
				t.Errorf("%s: status %#x, told of %v", m, status, count)
			}
		})
	}
	wg.Wait()
}
