//go:build amd64 || arm64

package trace

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// notes is a witness that writes down what it is told.
type notes struct {
	mu    sync.Mutex
	lines []string
	on    func(line string)
}

func (n *notes) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	n.mu.Lock()
	n.lines = append(n.lines, line)
	n.mu.Unlock()
	if n.on != nil {
		n.on(line)
	}
}

func follows(follow bool) string {
	if follow {
		return ""
	}
	return " nofollow"
}

func (n *notes) see(path string, follow bool) { n.add("see %s%s", path, follows(follow)) }
func (n *notes) readlink(path string)         { n.add("readlink %s", path) }
func (n *notes) list(path string)             { n.add("list %s", path) }
func (n *notes) open(path string, flags int, follow bool) {
	how := "r"
	switch flags & unix.O_ACCMODE {
	case unix.O_WRONLY:
		how = "w"
	case unix.O_RDWR:
		how = "rw"
	}
	for _, f := range []struct {
		flag int
		name string
	}{{unix.O_CREAT, "c"}, {unix.O_EXCL, "x"}, {unix.O_TRUNC, "t"}, {unix.O_APPEND, "a"}} {
		if flags&f.flag != 0 {
			how += f.name
		}
	}
	n.add("open %s %s%s", path, how, follows(follow))
}
func (n *notes) exec(path string, argv []string) { n.add("exec %s %q", path, argv) }
func (n *notes) mkdir(path string)               { n.add("mkdir %s", path) }
func (n *notes) remove(path string, dir bool)    { n.add("remove %s dir=%t", path, dir) }
func (n *notes) rename(from, to string, fl int)  { n.add("rename %s %s %d", from, to, fl) }
func (n *notes) link(from, to string, f bool)    { n.add("link %s %s%s", from, to, follows(f)) }
func (n *notes) symlink(target, path string)     { n.add("symlink %s %s", target, path) }
func (n *notes) mknod(path string, mode uint32)  { n.add("mknod %s %o", path, mode) }
func (n *notes) truncate(path string)            { n.add("truncate %s", path) }
func (n *notes) change(path string, follow bool) { n.add("change %s%s", path, follows(follow)) }
func (n *notes) connect(network, address string) { n.add("connect %s %s", network, address) }
func (n *notes) bind(network, address string)    { n.add("bind %s %s", network, address) }
func (n *notes) bar(kind, detail string)         { n.add("bar %s %s", kind, detail) }
func (n *notes) finish(int) *record.Observation  { return &record.Observation{} }
func (n *notes) all() []string                   { n.mu.Lock(); defer n.mu.Unlock(); return n.lines }
func (n *notes) has(line string) bool {
	for _, l := range n.all() {
		if l == line {
			return true
		}
	}
	return false
}

// below are the lines that name a path below dir, with dir as "$".
func (n *notes) below(dir string) (lines []string) {
	for _, l := range n.all() {
		if strings.Contains(l, dir) {
			lines = append(lines, strings.ReplaceAll(l, dir, "$"))
		}
	}
	return lines
}

// subject is what a test runs.
type subject struct {
	argv  []string
	dir   string
	env   []string
	attr  syscall.SysProcAttr
	out   *os.File
	first string // a program that is tried before, and is not there
}

// watched runs a step to its end.
func watched(t testing.TB, m Mechanism, s subject) (*notes, *record.Observation, syscall.WaitStatus) {
	t.Helper()
	n := &notes{}
	o, status := watchedBy(t, m, n, s)
	if o.Mechanism != string(m) || len(o.Barred) > 0 {
		t.Fatalf("not watched: %+v", o)
	}
	return n, o, status
}

func watchedBy(t testing.TB, m Mechanism, n *notes, s subject) (*record.Observation, syscall.WaitStatus) {
	t.Helper()
	tr, err := newTracer(n, m)
	if err != nil {
		t.Fatal(err)
	}
	pid := startStep(t, tr, s)
	var status syscall.WaitStatus
	if err := tr.Wait(pid, &status); err != nil {
		t.Fatal(err)
	}
	return tr.Finish(0), status
}

// abilities are what this machine offers: nil for each mechanism that works.
// Within a step that is watched, which tests may be run in, it is less.
var abilities = sync.OnceValue(func() map[Mechanism]error {
	_, err := probeSeccomp()
	return map[Mechanism]error{Seccomp: err, Ptrace: probePtrace()}
})

// need skips a test of mechanisms that do not work here.
func need(t testing.TB, mechanisms ...Mechanism) {
	t.Helper()
	for _, m := range mechanisms {
		if err := abilities()[m]; err != nil {
			t.Skipf("NOT TESTED: %s: %v", m, err)
		}
	}
}

func startStep(t testing.TB, tr *Tracer, s subject) int {
	t.Helper()
	need(t, tr.mech)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out := s.out
	if out == nil {
		out = null
	}
	attr := &syscall.ProcAttr{
		Dir: s.dir, Env: append([]string{"PATH=/usr/bin:/bin"}, s.env...),
		Files: []uintptr{null.Fd(), out.Fd(), os.Stderr.Fd()}, Sys: &s.attr,
	}
	tr.Attr(attr.Sys)
	file := s.argv[0]
	pid, err := tr.Start(file, s.dir, s.argv, func() (int, error) {
		if s.first != "" {
			if _, err := syscall.ForkExec(s.first, s.argv, attr); err != syscall.ENOENT {
				return 0, fmt.Errorf("%s: %w", s.first, err)
			}
		}
		return syscall.ForkExec(file, s.argv, attr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// realDir is a temporary directory without links in its path.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestStartsUnderStress starts many processes while the garbage collector stops
// the world all the time: the thread that starts one cannot be stopped until
// the supervisor has answered.
func TestStartsUnderStress(t *testing.T) {
	need(t, Seccomp)
	starts := 1000
	if testing.Short() {
		starts = 100
	}
	stop := make(chan struct{})
	var collector, starters sync.WaitGroup
	collector.Go(func() {
		var keep [][]byte
		for {
			select {
			case <-stop:
				return
			default:
			}
			if keep = append(keep, make([]byte, 4096)); len(keep) > 100 {
				keep = nil
			}
			runtime.GC()
		}
	})
	dir := realDir(t)
	for range 4 {
		starters.Go(func() {
			for range starts / 4 {
				// The first try fails, as when the program is being written.
				n, _, status := watched(t, Seccomp, subject{argv: []string{"/bin/true"}, dir: dir, first: "/nowhere"})
				if status != 0 || !n.has("open /etc/ld.so.cache r") {
					t.Errorf("status %v, told of %q", status, n.all())
				}
			}
		})
	}
	starters.Wait()
	close(stop)
	collector.Wait()
}

// BenchmarkStart is a step that does nothing, from start to end. It says, too,
// what goes by before the program runs and after it has ended.
func BenchmarkStart(b *testing.B) {
	dir := realDir(b)
	for _, m := range []Mechanism{"", Seccomp, Ptrace} {
		b.Run(string("by "+m), func(b *testing.B) {
			var before, after time.Duration
			for b.Loop() {
				var status syscall.WaitStatus
				if m == "" {
					pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Dir: dir})
					if err != nil {
						b.Fatal(err)
					}
					_, _ = syscall.Wait4(pid, &status, 0, nil)
					continue
				}
				start := time.Now()
				tr, err := newTracer(&notes{}, m)
				if err != nil {
					b.Fatal(err)
				}
				pid := startStep(b, tr, subject{argv: []string{"/bin/true"}, dir: dir})
				before += time.Since(start)
				if err := tr.Wait(pid, &status); err != nil {
					b.Fatal(err)
				}
				start = time.Now()
				tr.Finish(0)
				after += time.Since(start)
			}
			b.ReportMetric(float64(before.Microseconds())/float64(b.N), "start-us/op")
			b.ReportMetric(float64(after.Microseconds())/float64(b.N), "finish-us/op")
		})
	}
}
