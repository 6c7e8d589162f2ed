package reuse

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBars is about what a step does that nobody can know the outcome of: it
// runs every time, and says why.
func TestBars(t *testing.T) {
	twice := func(name, steps, why string) scene {
		return scene{name: name, steps: steps, acts: []act{{want: "barred", why: why}, {want: "barred", why: why}}}
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	serve(t, tcp)
	unixPath := filepath.Join(t.TempDir(), "served")
	local, err := net.Listen("unix", unixPath)
	must(t, err)
	serve(t, local)
	const connect = `python3 -c 'import socket, os; s = socket.socket(%s); s.connect(%s); print(s.recv(9))'`
	foreign := fmt.Sprintf(connect, "", fmt.Sprintf("(\"127.0.0.1\", %d)", tcp.Addr().(*net.TCPAddr).Port))
	need := func(sc scene, commands ...string) scene { sc.needs = commands; return sc }
	play(t, []scene{
		{name: "failure", steps: "- { run: 'cat in; exit 3' }", files: map[string]string{"in": "in\n"}, acts: []act{
			{exit: 1, want: "barred", why: "failed", log: "in"}, {exit: 1, want: "barred", why: "failed", log: "in"},
		}},
		{name: "failure that is allowed", steps: "- { run: 'cat in; exit 3', continue-on-error: true }\n- { run: echo after }", files: map[string]string{"in": "in\n"}, acts: []act{
			{want: "barred ran", why: "failed", log: "in\nafter"}, {want: "barred reused", log: "in\nafter"},
		}},
		{name: "write outside", set: outside, steps: "- { run: echo x > $FAR/x }", acts: []act{
			{want: "barred", why: "bar: outside", then: func(s *stage, _ *result) { must(s.t, os.Remove(filepath.Join(s.far(), "x"))) }},
			{want: "barred", why: "bar: outside", then: func(s *stage, _ *result) { must(s.t, os.Remove(filepath.Join(s.far(), "x"))) }},
		}},
		{name: "removal outside", set: outside, steps: "- { run: rm $FAR/x }", acts: []act{{do: farFile("x", ""), want: "barred", why: "outside"}, {do: farFile("x", ""), want: "barred", why: "outside"}}},
		{name: "mode changed outside", set: both(outside, farFile("x", "")), steps: "- { run: chmod 600 $FAR/x }", acts: []act{{want: "barred", why: "outside"}, {want: "barred", why: "outside"}}},
		{name: "directory made outside", set: outside, steps: "- { run: mkdir -p $FAR/d }", acts: []act{{want: "barred", why: "outside"}}},
		{name: "directory outside that is there", set: both(outside, farFile("x", "")), steps: "- { run: mkdir -p $FAR }", acts: []act{{want: "ran"}, {want: "reused"}}},
		{name: "link outside", set: outside, steps: "- { run: ln -s $FAR far; echo x > far/x }", acts: []act{{want: "barred", why: "outside"}}},
		need(twice("address of somebody else's", "- run: |\n    "+foreign, "bar: network"), "python3"),
		need(twice("connection refused", "- { run: 'echo > /dev/tcp/127.0.0.1/1 || true' }", "bar: network")),
		need(twice("datagram", "- { run: 'echo x > /dev/udp/127.0.0.1/9' }", "bar: network")),
		{name: "its own server", needs: []string{"python3"}, steps: "- { run: python3 serve.py }", files: map[string]string{"serve.py": `
import socket, threading
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
def answer():
    c, _ = s.accept(); c.send(b"hello"); c.close()
t = threading.Thread(target=answer); t.start()
c = socket.socket(); c.connect(s.getsockname()); print(c.recv(9).decode()); t.join()
a, b = socket.socketpair(); a.send(b"pair"); print(b.recv(9).decode())
`}, acts: []act{{want: "ran", log: "hello\npair"}, {want: "reused", log: "hello\npair"}}},
		need(twice("somebody else's unix socket", "- run: |\n    "+fmt.Sprintf(connect, "socket.AF_UNIX", fmt.Sprintf("%q", unixPath)), "bar: socket"), "python3"),
		{name: "process left behind", steps: "- { run: '(trap \"\" HUP; exec sleep 60 > /dev/null 2>&1) & echo started' }\n- { run: echo next }", acts: []act{
			{want: "barred ran", why: "bar: processes", log: "started\nnext"}, {want: "barred reused", why: "bar: processes", log: "started\nnext"},
		}},
		{name: "daemon left behind", needs: []string{"setsid"}, steps: "- { run: 'setsid -f sleep 60 > /dev/null 2>&1 < /dev/null; echo started' }", acts: []act{{want: "barred", why: "bar: processes"}}},
		{name: "background process that ends", steps: "- { run: '(sleep 0.1; echo late > late) & echo x > x; wait; cat late' }\n- { name: look, run: cat late }", acts: []act{
			{want: "ran", log: "late\nlate"}, {want: "reused", log: "late\nlate"},
		}},
		{name: "fifo left", steps: "- { run: mkfifo pipe }", acts: []act{{want: "barred", why: "bar: unsupported"}}},
		{name: "socket left", needs: []string{"python3"}, steps: "- run: |\n    python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind(\"left\")'", acts: []act{{want: "barred", why: "bar: unsupported"}}},
		{name: "secret passed on", steps: "- { run: 'echo \"token=$TOKEN\" >> $GITHUB_OUTPUT', env: { TOKEN: '${{ secrets.TOKEN }}' } }", acts: []act{
			{args: []string{"--secret", "TOKEN"}, env: []string{"TOKEN=hush-hush-hush"}, want: "barred", why: "bar: secret"},
		}},
		{name: "secret declared by the step", steps: "- { run: 'echo \"::add-mask::sesame\"; echo sesame' }", acts: []act{
			{want: "barred", why: "bar: secret"}, {want: "barred", why: "bar: secret", log: "***"},
		}},
		{name: "secret in a file that it leaves", steps: "- { run: 'echo \"$TOKEN\" > conf', env: { TOKEN: '${{ secrets.TOKEN }}' } }\n- { name: look, run: wc -c < conf }", acts: []act{
			{args: []string{"--secret", "TOKEN"}, env: []string{"TOKEN=hush-hush-hush"}, want: "barred", why: "bar: secret", log: "15", then: nowhere("hush-hush-hush")},
		}},
		{name: "namespaces", needs: []string{"unshare"}, steps: "- { run: unshare -rm true || unshare -m true || true }", acts: []act{{want: "barred", why: "bar: namespace"}}},
		{name: "interpreter by a relative path", set: both(write("a", "#!/bin/sh\necho a\n"), write("b", "#!./a\n"), chmod("a", 0o755), chmod("b", 0o755)), steps: "- { run: ./b }", acts: []act{{want: "barred", why: "relative path", log: "a"}}},
		{name: "shared memory of its own", steps: "- run: |\n    echo x > /dev/shm/fairlead-$$; cat /dev/shm/fairlead-$$; rm /dev/shm/fairlead-$$", acts: []act{{want: "ran", log: "x"}, {want: "reused?", log: "x"}}},
		{name: "shared memory that it leaves", steps: "- { run: echo x > /dev/shm/fairlead-left }", acts: []act{{want: "barred", why: "bar: ", then: func(s *stage, _ *result) { must(s.t, os.Remove("/dev/shm/fairlead-left")) }}}},
		{name: "shared memory of others", needs: []string{"ipcmk"}, steps: "- run: |\n    id=$(ipcmk -M 64 | grep -o '[0-9]*$'); ipcrm -m $id", acts: []act{{want: "barred", why: "bar: ipc"}}},
	})
}

// serve answers and closes connections until the test ends.
func serve(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("served"))
			c.Close()
		}
	}()
}

// nowhere checks that a text is in no file that Fairlead has written, as it is
// or as it is in JSON.
func nowhere(texts ...string) func(*stage, *result) {
	return func(s *stage, _ *result) {
		s.t.Helper()
		for _, dir := range []string{filepath.Join(s.Cache, "steps"), s.Data} {
			for _, text := range texts {
				for _, file := range holding(s.t, dir, text) {
					s.t.Errorf("%s holds %q", file, text)
				}
			}
		}
	}
}

// holding names the files below dir that hold the text.
func holding(t testing.TB, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(body), text) {
			files = append(files, name)
		}
		return err
	})
	must(t, err)
	return files
}

// TestProcesses is about programs that are hard to watch: each is watched all
// the same, and what it reads counts.
func TestProcesses(t *testing.T) {
	build := func(name, source string, args ...string) func(*stage) {
		return func(s *stage) {
			file := filepath.Join(s.Outside, name+".c")
			must(s.t, os.WriteFile(file, []byte(source), 0o644))
			compile(s.t, append([]string{"gcc", "-o", filepath.Join(s.Root, name), file}, args...)...)
		}
	}
	// reads makes a scene in which the step's output is what is in the file "in".
	reads := func(name, steps string, set func(*stage), needs ...string) scene {
		return scene{name: name, steps: steps, set: set, needs: needs, files: map[string]string{"in": "one\n", "go.mod": "module m\n\ngo 1.24\n"}, acts: []act{
			{want: "ran", log: "one"},
			{want: "reused", log: "one"},
			{do: write("in", "two\n"), want: "ran", log: "two"},
			{do: write("in", "one\n"), want: "reused", log: "one"},
		}}
	}
	const cat = `#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
static int show(int fd) { char b[99]; int n = read(fd, b, sizeof b); if (n < 0) return 1; return write(1, b, n) != n; }
`
	play(t, []scene{
		reads("static Go program", "- { run: ./show }", func(s *stage) {
			dir := t.TempDir()
			file := filepath.Join(dir, "main.go")
			must(s.t, os.WriteFile(file, []byte("package main\n\nimport (\"os\"; \"sync\"; \"fmt\")\n\nfunc main() {\n\tvar wg sync.WaitGroup\n\tfor range 8 {\n\t\twg.Go(func() { os.Stat(\"in\") })\n\t}\n\twg.Wait()\n\tb, err := os.ReadFile(\"in\")\n\tif err != nil { panic(err) }\n\tfmt.Print(string(b))\n}\n"), 0o644))
			compile(s.t, "env", "CGO_ENABLED=0", "go", "build", "-o", filepath.Join(s.Root, "show"), file)
		}, "go"),
		reads("32-bit program", "- { run: ./show32 }", func(s *stage) {
			file := filepath.Join(s.Outside, "s.c")
			// Without a library, which is seldom there for 32 bits.
			must(s.t, os.WriteFile(file, []byte(`
static int call(int n, int a, int b, int c) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory"); return r; }
void _start(void) { static char b[99]; int fd = call(5, (int)"in", 0, 0); int n = call(3, fd, (int)b, 99); call(4, 1, (int)b, n); call(1, n < 0, 0, 0); }
`), 0o644))
			if out, err := run("gcc", "-m32", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector", "-o", filepath.Join(s.Root, "show32"), file); err != nil {
				s.t.(*testing.T).Skipf("SKIPPED: no 32-bit programs can be built here: %s", out)
			}
			if _, err := run(filepath.Join(s.Root, "show32")); err != nil && strings.Contains(err.Error(), "exec format") {
				s.t.(*testing.T).Skipf("SKIPPED: no 32-bit programs can be run here: %v", err)
			}
		}, "gcc"),
		reads("threads", "- { run: ./threads }", build("threads", cat+"#include <pthread.h>\nstatic void *go(void *x) { return (void *)(long)show(openat(AT_FDCWD, \"in\", O_RDONLY)); }\nint main(void) { pthread_t t; void *r; pthread_create(&t, 0, go, 0); pthread_join(t, &r); return r != 0; }\n", "-pthread"), "gcc"),
		reads("relative to a directory", "- { run: './dirs | sort -u' }", build("dirs", cat+"#include <sys/stat.h>\nint main(void) { mkdir(\"d\", 0755); int d = open(\".\", O_RDONLY|O_DIRECTORY); if (chdir(\"d\")) return 2; int up = open(\"..\", O_PATH); if (show(openat(up, \"in\", O_RDONLY))) return 3; if (fchdir(d)) return 4; return show(open(\"in\", O_RDONLY)); }\n"), "gcc"),
		reads("openat2, execveat, O_TMPFILE", "- { run: ./calls; cat linked }", build("calls", cat+`
#include <sys/syscall.h>
#include <linux/openat2.h>
#include <string.h>
#include <stdio.h>
int main(int argc, char **argv) {
	struct open_how how; memset(&how, 0, sizeof how); how.flags = O_RDONLY;
	int fd = syscall(SYS_openat2, AT_FDCWD, "in", &how, sizeof how); char b[99]; int n = read(fd, b, sizeof b);
	int t = open(".", O_TMPFILE|O_WRONLY, 0644); if (t < 0 || write(t, b, n) != n) return 2;
	char p[64]; snprintf(p, sizeof p, "/proc/self/fd/%d", t);
	if (linkat(AT_FDCWD, p, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW)) return 3;
	int sh = open("/bin/true", O_PATH); char *args[] = {"true", 0}, *env[] = {0};
	syscall(SYS_execveat, sh, "", args, env, AT_EMPTY_PATH); return 4;
}
`), "gcc"),
		reads("vfork and double fork", "- { run: ./forks }", build("forks", cat+"#include <sys/wait.h>\n#include <sys/prctl.h>\nint main(void) { int p[2]; if (pipe(p) || prctl(PR_SET_CHILD_SUBREAPER, 1)) return 9; if (!fork()) { setsid(); if (!fork()) { close(p[0]); dup2(p[1], 1); close(p[1]); if (!vfork()) { execlp(\"cat\", \"cat\", \"in\", (char *)0); _exit(1); } wait(0); } _exit(0); } close(p[1]); int r = show(p[0]); while (wait(0) > 0); return r; }\n"), "gcc"),
		reads("strace inside", "- { run: 'strace -f -o log cat in; rm log' }", nil, "strace"),
		reads("a mapped file", "- { run: python3 show.py }", write("show.py", "import mmap\nwith open('in', 'rb') as f:\n    print(bytes(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)).decode())\n"), "python3"),
		reads("interpreter of an interpreter", "- { run: ./b }", both(write("a", "#!/bin/sh\ncat in\n"), write("b", "#!/usr/bin/env -S sh ./a\n"), chmod("a", 0o755), chmod("b", 0o755))),
		reads("xargs and find", "- { run: 'find . -name in -print0 | xargs -0 -n1 -P2 cat' }", nil),
		reads("environment of its own", "- { run: 'env -i PATH=/usr/bin:/bin sh -c \"cat in\"' }", nil),
		reads("descriptor that is handed on", "- { run: 'exec 7< in; cat <&7' }", nil),
		reads("changing directory", "- { run: 'mkdir -p a/b; cd a/b; cat ../../in; cd -P ..; cat ../in > /dev/null' }", nil),
		reads("a program that is not dumpable", "- { run: ./shy }", build("shy", cat+"#include <sys/prctl.h>\nint main(void) { prctl(PR_SET_DUMPABLE, 0); return show(open(\"in\", O_RDONLY)); }\n"), "gcc"),
	})
}

func compile(t testing.TB, args ...string) {
	t.Helper()
	if out, err := run(args...); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestVariables is about variables that change with every run: they count for
// those steps only that use them.
func TestVariables(t *testing.T) {
	// Runs have another number each time, commits another SHA.
	next := func(s *stage) { s.Commit("again") }
	token := []string{"--secret", "TOKEN"}
	secret := func(value string) []string { return []string{"TOKEN=" + value} }
	const one, two = "first-secret-value", "second-secret-value"
	play(t, []scene{
		{name: "not used", steps: "- { run: 'cat in' }", files: map[string]string{"in": "in\n"}, acts: []act{
			{want: "ran"}, {do: next, want: "reused"}, {do: next, want: "reused"},
		}},
		{name: "named in the script", steps: "- { run: 'echo $GITHUB_RUN_ID > id' }\n- { run: echo $GITHUB_SHA > sha }\n- { run: echo none }", acts: []act{
			{want: "ran ran ran"}, {want: "ran reused reused", why: "GITHUB_RUN_ID"}, {do: next, want: "ran ran reused", why: "GITHUB_SHA"},
		}},
		{name: "named in a file that it reads", steps: "- { run: sh make.sh }\n- { run: sh other.sh }", files: map[string]string{"make.sh": "echo $GITHUB_SHA > sha\n", "other.sh": "echo none\n"}, acts: []act{
			{want: "ran ran"}, {want: "reused reused"}, {do: next, want: "ran reused", why: "GITHUB_SHA is another (named in make.sh)"},
		}},
		{name: "its value is in what it leaves", steps: "- { run: 'eval \"v=\\$GITHUB_\"SHA; echo $v > out' }\n- { run: 'eval \"v=\\$GITHUB_\"SHA; echo said $v' }\n- { run: 'eval \"v=\\$GITHUB_\"SHA; sh -c : $v' }", acts: []act{
			{want: "ran ran ran"}, {want: "reused reused reused"}, {do: next, want: "ran ran ran", why: "GITHUB_SHA"},
		}},
		{name: "written by expression", steps: "- { run: 'echo ${{ github.sha }} > out' }\n- { run: 'echo ${{ github.ref_name }}' }", acts: []act{
			{want: "ran ran"}, {want: "reused reused"}, {do: next, want: "ran reused"},
		}},
		{name: "a secret that is not used", steps: "- { run: cat in, env: { TOKEN: '${{ secrets.TOKEN }}' } }", files: map[string]string{"in": "in\n"}, acts: []act{
			{args: token, env: secret(one), want: "ran", then: nowhere(one)},
			{args: token, env: secret(one), want: "reused"},
			{name: "another value", args: token, env: secret(two), want: "reused", then: nowhere(one, two)},
		}},
		{name: "a secret that is used", steps: "- { run: 'test \"$TOKEN\" = first-secret-value && echo right > out || echo wrong > out', env: { TOKEN: '${{ secrets.TOKEN }}' } }\n- { name: look, run: cat out }", acts: []act{
			{args: token, env: secret("hunter-two-and-three"), want: "ran", log: "wrong", then: nowhere("hunter-two-and-three")},
			{args: token, env: secret("hunter-two-and-three"), want: "reused", log: "wrong"},
			{name: "another value", args: token, env: secret("hunter-four-and-five"), want: "ran", why: "TOKEN is another", log: "wrong", then: nowhere("hunter-two-and-three", "hunter-four-and-five")},
			{name: "the first again", args: token, env: secret("hunter-two-and-three"), want: "reused", log: "wrong"},
			{name: "not there", want: "ran", log: "wrong"},
		}},
		{name: "a secret that is printed", steps: "- { run: 'echo \"it is $TOKEN\"', env: { TOKEN: '${{ secrets.TOKEN }}' } }", acts: []act{
			{args: token, env: secret(one), want: "ran", log: "it is ***", then: nowhere(one)},
			{args: token, env: secret(one), want: "reused", log: "it is ***", then: nowhere(one)},
			{args: token, env: secret(two), want: "ran", log: "it is ***", then: nowhere(one, two)},
		}},
		{name: "a secret in the script", steps: "- { run: 'echo ${{ secrets.TOKEN }} | wc -c' }", acts: []act{
			{args: token, env: secret(one), want: "ran", log: "19", then: nowhere(one)},
			{args: token, env: secret(two), want: "ran", log: "20", then: nowhere(one, two)},
		}},
	})
}

// TestGit is about steps that ask git: they are done anew for each commit, and
// it is said how to do without.
func TestGit(t *testing.T) {
	next := func(s *stage) { s.Commit("again") }
	play(t, []scene{
		{name: "reads the commit", steps: "- { run: git log -1 --format=%H > out }\n- { run: wc -c < out }\n- { name: look, run: cat out }", acts: []act{
			{want: "ran ran"}, {want: "reused reused"},
			{do: next, want: "ran ran", why: "it reads .git", then: func(s *stage, _ *result) {
				if head := s.Git("rev-parse", "HEAD"); !strings.Contains(s.logs("last", "a"), head) {
					s.t.Errorf("the commit that it has printed is not %s", head)
				}
			}},
		}},
		{name: "asks for what has changed", steps: "- { run: git status --porcelain }", files: map[string]string{"f": "1"}, acts: []act{
			{want: "ran"}, {want: "reused?"},
			{do: write("f", "2"), want: "ran", log: " M f"},
			{do: write("new", ""), want: "ran", log: " M f\n?? new"},
		}},
		{name: "go build stamps the commit", needs: []string{"go"}, env: []string{"GOFLAGS=-mod=mod"}, set: goCache, steps: "- { run: mkdir b; go build -buildvcs=true -o b/prog . }\n- { run: mkdir c; go build -buildvcs=false -o c/plain . }",
			files: map[string]string{"go.mod": "module m\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n"}, acts: []act{
				{want: "ran ran"}, {want: "reused? reused?"},
				{do: next, want: "ran reused?", why: "-buildvcs=false lets `go build` do without"},
				{do: write("main.go", "package main\n\nfunc main() { println(\"bye\") }\n"), want: "ran ran"},
			}},
	})
}

// goCache lets Go find what it has compiled before: a cold start takes a
// minute.
func goCache(s *stage) {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	must(s.t, err)
	dirs := strings.Fields(string(out))
	s.args = append(s.args, "--env", "GOCACHE="+dirs[0], "--env", "GOMODCACHE="+dirs[1])
}

// TestWhy reads what `fairlead why` says of steps, as text and as JSON.
func TestWhy(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { id: one, run: cat in }\n- { run: echo two }\n- { run: 'echo > /dev/tcp/127.0.0.1/1 || true' }"), "", map[string]string{"in": "1\n"})
	s.perform()
	s.Write(map[string]string{"in": "2\n"})
	s.perform()
	var all []struct {
		Job, Step, State string
		Reuse            struct {
			Miss   *struct{ Why, Path, Old, New string }
			Barred []struct{ Kind string }
		}
	}
	out := s.Run("why", "--output", "json")
	if err := json.Unmarshal([]byte(out.Stdout), &all); err != nil || len(all) != 3 {
		t.Fatalf("%v, %d steps\n%s", err, len(all), out)
	}
	if m := all[0].Reuse.Miss; all[0].State != "ran" || m == nil || m.Path != "in" || m.Old == m.New || len(m.Old) < 8 {
		t.Errorf("step 1: %+v, %+v", all[0], m)
	}
	if all[1].State != "reused" {
		t.Errorf("step 2: %+v", all[1])
	}
	if b := all[2].Reuse.Barred; len(b) != 1 || b[0].Kind != "network" {
		t.Errorf("step 3: %+v", all[2])
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"why"}, "in has changed"},
		{[]string{"why", "last", "a/one"}, "in has changed"},
		{[]string{"why", "a/2"}, "as it was in run 1"},
		{[]string{"why", "1", "a/2"}, "earlier time"},
		{[]string{"why", "last", "a/3"}, "network: pinned"},
	} {
		if out := s.Run(c.args...); out.Exit != 0 || !strings.Contains(strings.Join(strings.Fields(out.Stdout), " "), c.want) {
			t.Errorf("%q is not said by %s", c.want, out)
		}
	}
	if out := s.Run("why", "last", "a/nine"); out.Exit == 0 {
		t.Errorf("a step that is not there: %s", out)
	}
}
