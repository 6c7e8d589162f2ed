package workspace

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAcquire(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a.txt": "a", "sub/b.txt": "b", ".gitignore": "*.log\n/out/\n"})
	write(t, dir, map[string]string{"a.txt": "changed", "new.txt": "new", "x.log": "ignored", "out/o": "ignored"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	want := map[string]string{
		".": "dir", "sub": "dir", "a.txt": "-rw-r--r-- changed", "new.txt": "-rw-r--r-- new",
		"sub/b.txt": "-rw-r--r-- b", ".gitignore": "-rw-r--r-- *.log\n/out/\n",
	}
	first := acquire(t, s, tree, "test", "1")
	sameContents(t, contents(t, first.Dirs.Workspace), want)
	if got, want := run(t, first.Dirs.Workspace, "status", "--porcelain"), run(t, dir, "status", "--porcelain"); got != want {
		t.Errorf("git status in the slot:\n%s\nwant\n%s", got, want)
	}
	write(t, first.Dirs.Workspace, map[string]string{"a.txt": "by a step", "out/built": "x", "sub/deep/er": "y"})
	os.Remove(filepath.Join(first.Dirs.Workspace, "sub/b.txt"))
	run(t, first.Dirs.Workspace, "commit", "-qam", "in the slot")
	release(t, first)

	second := acquire(t, s, tree, "test", "2")
	if second.Dirs != first.Dirs {
		t.Errorf("dirs moved: %v, %v", first.Dirs, second.Dirs)
	}
	sameContents(t, contents(t, second.Dirs.Workspace), want)
	if got, want := run(t, second.Dirs.Workspace, "rev-parse", "HEAD"), run(t, dir, "rev-parse", "HEAD"); got != want {
		t.Errorf("HEAD in the slot is %s, want %s", got, want)
	}
	release(t, second)
	third := acquire(t, s, tree, "test", "3")
	if third.Copied != 0 || third.Removed != 0 {
		t.Errorf("an untouched slot needed %d copies and %d removals", third.Copied, third.Removed)
	}
	release(t, third)
}

// bigRepo makes a repository of n small files, 20 in a directory.
func bigRepo(b testing.TB, n int) string {
	dir := newRepo(b, nil)
	for i := range n {
		d := filepath.Join(dir, fmt.Sprintf("d%02d", i/20/50), fmt.Sprintf("e%02d", i/20%50))
		if i%20 == 0 {
			if err := os.MkdirAll(d, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("file%02d.go", i%20)), fmt.Appendf(nil, "package p\n\n// %d\n%2000s\n", i, ""), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	run(b, dir, "add", "-A")
	run(b, dir, "commit", "-qm", "first")
	return dir
}

// processor reports the processor time of an iteration: on a machine that
// others use too, the time on the clock says little.
func processor(b *testing.B) {
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := spent()
	b.ResetTimer()
	b.Cleanup(func() { b.ReportMetric(float64(spent()-from)/1e6/float64(b.N), "cpu-ms/op") })
}

func BenchmarkAcquireWarm(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := bigRepo(b, n)
			s := &Slots{Dir: b.TempDir()}
			tree := open(b, dir)
			for i := 0; ; i++ { // until no file is too fresh to be believed
				l := acquire(b, s, tree, "job", fmt.Sprint("warm", i))
				release(b, l)
				if l.Copied == 0 {
					break
				}
			}
			processor(b)
			for i := range b.N {
				release(b, acquire(b, s, tree, "job", fmt.Sprint(i)))
			}
		})
	}
}

func BenchmarkAcquireCold(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := bigRepo(b, n)
			s := &Slots{Dir: b.TempDir()}
			tree := open(b, dir)
			processor(b)
			for i := range b.N {
				release(b, acquire(b, s, tree, fmt.Sprint("job", i), fmt.Sprint(i)))
			}
		})
	}
}

// Fifty jobs of one run, eight at a time.
func BenchmarkAcquireFifty(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 1000 && testing.Short() {
				b.Skip("fifty copies of a large tree")
			}
			dir := bigRepo(b, n)
			s := &Slots{Dir: b.TempDir()}
			tree := open(b, dir)
			jobs := func(run string, jobs int) {
				var wg sync.WaitGroup
				gate := make(chan struct{}, 8)
				for j := range jobs {
					gate <- struct{}{}
					wg.Go(func() {
						release(b, acquire(b, s, tree, fmt.Sprint("job", j), run))
						<-gate
					})
				}
				wg.Wait()
			}
			count := 50
			if n > 1000 {
				count = 8
			}
			jobs("a", count)
			jobs("b", count)
			processor(b)
			for i := range b.N {
				jobs(fmt.Sprint(i), count)
			}
		})
	}
}

func BenchmarkFacts(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := bigRepo(b, n)
			processor(b)
			for range b.N {
				tree, err := Open(context.Background(), dir)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := tree.Facts(context.Background()); err != nil {
					b.Fatal(err)
				}
				tree.Close()
			}
		})
	}
}

// Jobs come back to where they were, so that what their steps did there can be
// reused: paths are part of it.
func TestJobsComeBack(t *testing.T) {
	t.Parallel()
	tree := open(t, newRepo(t, map[string]string{"a": "1"}))
	s := &Slots{Dir: t.TempDir()}
	take := func(run, job string) *Slot {
		l, err := s.Acquire(t.Context(), tree, Claim{Run: run, Job: job})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	together := func(run string, jobs ...string) map[string]string {
		at := map[string]string{}
		var all []*Slot
		for _, job := range jobs {
			l := take(run, job)
			at[job] = l.Dirs.Workspace
			all = append(all, l)
		}
		for _, l := range all {
			if err := l.Release(); err != nil {
				t.Fatal(err)
			}
		}
		return at
	}
	first := together("1", "lint", "unit", "e2e")
	for _, order := range [][]string{{"e2e", "lint", "unit"}, {"unit", "e2e", "lint"}, {"e2e", "unit", "lint"}} {
		if next := together("2", order...); !maps.Equal(next, first) {
			t.Errorf("in the order %v they are at %v, were at %v", order, next, first)
		}
	}
}
