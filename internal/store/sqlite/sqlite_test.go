package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store { return openDir(t, dir, sqlite.Options{}) })
}

func TestStoreFull(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the disk thousands of times")
	}
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		return openDir(t, dir, sqlite.Options{Sync: sqlite.Full})
	})
}

func openDir(t testing.TB, dir string, opts sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a store that is closed when the test ends.
func open(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	s := openDir(t, dir, sqlite.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// begin begins a run of a file and holds its lease.
func begin(t testing.TB, s *sqlite.Store, file, branch string) (id string, lease store.Lease) {
	t.Helper()
	id, number, err := s.NewRun(t.Context(), "o/r", file)
	if err != nil {
		t.Fatal(err)
	}
	lease = must(s.Lease(t.Context(), store.RunLease(id), "test"))(t)
	must(s.Append(t.Context(),
		record.Event{Run: id, Body: &record.RunPlanned{
			Number: number, Attempt: 1, Root: "/src",
			Change: &plan.Change{
				Event: "push", Ref: "refs/heads/" + branch, SHA: "abc", Dirty: true, Repository: "o/r", Actor: "ann",
			},
			Pipeline: &plan.Pipeline{Name: "CI " + file, File: file, Jobs: []plan.Job{{ID: "build", Name: "Build"}}},
		}},
		record.Event{Run: id, Body: &record.RunStarted{PID: 1}},
	))(t)
	return id, lease
}

func finish(t testing.TB, s *sqlite.Store, id string, v plan.Verdict) {
	t.Helper()
	must(s.Append(t.Context(), record.Event{Run: id, Body: &record.RunFinished{Verdict: v, Why: "because"}}))(t)
}

func TestNewRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	var got []string
	for i, c := range []struct{ repo, file string }{
		{"o/r", "ci.yml"}, {"o/r", "ci.yml"}, {"o/r", "lint.yml"}, {"o/x", "ci.yml"}, {"o/r", "ci.yml"},
	} {
		id, number, err := []*sqlite.Store{a, b}[i%2].NewRun(t.Context(), c.repo, c.file)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(id, "#", number))
	}
	if want := []string{"1#1", "2#2", "3#1", "4#1", "5#3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if heads := must(a.Runs(t.Context(), store.RunFilter{}))(t); len(heads) != 0 {
		t.Errorf("runs that were never planned are listed: %v", heads)
	}
	if _, err := a.Head(t.Context(), "1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("head of a run never planned: %v", err)
	}

	// Asked for by many at once, no ID and no number is given twice.
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for i := range 40 {
		wg.Go(func() {
			id, number, err := []*sqlite.Store{a, b}[i%2].NewRun(t.Context(), "o/r", "ci.yml")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, k := range []string{"id " + id, fmt.Sprint("number ", number)} {
				if seen[k] {
					t.Errorf("%s was given twice", k)
				}
				seen[k] = true
			}
		})
	}
	wg.Wait()
}

func TestRuns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t, t.TempDir())
	first, lease1 := begin(t, s, ".github/workflows/ci.yml", "main")
	second, lease2 := begin(t, s, ".github/workflows/ci.yml", "dev")
	third, lease3 := begin(t, s, "ci_yml", "main")
	fourth, lease4 := begin(t, s, ".github/workflows/ciXyml", "main")
	defer lease2.Release()
	finish(t, s, first, plan.Failure)
	if err := errors.Join(lease1.Release(), lease3.Release()); err != nil { // the third dies
		t.Fatal(err)
	}
	finish(t, s, fourth, plan.Success)
	if err := lease4.Release(); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name   string
		filter store.RunFilter
		want   []string
	}{
		{"all, newest first", store.RunFilter{}, []string{fourth, third, second, first}},
		{"repository", store.RunFilter{Repository: "o/r"}, []string{fourth, third, second, first}},
		{"another repository", store.RunFilter{Repository: "o/x"}, nil},
		{"another tree", store.RunFilter{Root: "/else"}, nil},
		{"pipeline by path", store.RunFilter{Pipeline: ".github/workflows/ci.yml"}, []string{second, first}},
		{"pipeline by file name", store.RunFilter{Pipeline: "ci.yml"}, []string{second, first}},
		{"pipeline by name", store.RunFilter{Pipeline: "CI ci_yml"}, []string{third}},
		{"a name is no pattern", store.RunFilter{Pipeline: "ci_yml"}, []string{third}},
		{"branch", store.RunFilter{Branch: "dev"}, []string{second}},
		{"ref", store.RunFilter{Branch: "refs/heads/dev"}, []string{second}},
		{"verdict", store.RunFilter{Verdict: plan.Failure}, []string{first}},
		{"unfinished", store.RunFilter{Unfinished: true}, []string{third, second}},
		{"limit", store.RunFilter{Limit: 2}, []string{fourth, third}},
		{"before", store.RunFilter{Before: third, Limit: 1}, []string{second}},
	} {
		var got []string
		for _, h := range must(s.Runs(ctx, c.filter))(t) {
			got = append(got, h.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}

	states := map[string][2]bool{first: {false, false}, second: {true, false}, third: {false, true}, fourth: {false, false}}
	for id, want := range states {
		h := must(s.Head(ctx, id))(t)
		if h.Alive != want[0] || h.Interrupted() != want[1] {
			t.Errorf("run %s: alive %v, interrupted %v; want %v", id, h.Alive, h.Interrupted(), want)
		}
	}
	got := must(s.Head(ctx, first))(t)
	if got.Begun.IsZero() || got.Ended.Before(got.Begun) {
		t.Errorf("begun %v, ended %v", got.Begun, got.Ended)
	}
	got.Begun, got.Ended = time.Time{}, time.Time{}
	want := store.RunHead{
		ID: first, Number: 1, Attempt: 1, Repository: "o/r", Root: "/src", File: ".github/workflows/ci.yml",
		Name: "CI .github/workflows/ci.yml", Event: "push", Ref: "refs/heads/main", Branch: "main", SHA: "abc",
		Dirty: true, Actor: "ann", Verdict: plan.Failure, Why: "because",
	}
	if got != want {
		t.Errorf("head: got %+v, want %+v", got, want)
	}

	// Resumed, a finished run has not ended any more.
	must(s.Append(ctx, record.Event{Run: first, Body: &record.RunStarted{Resume: true}}))(t)
	if h := must(s.Head(ctx, first))(t); h.Verdict != "" || !h.Ended.IsZero() || !h.Interrupted() {
		t.Errorf("resumed: %+v", h)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	one, lease := begin(t, s, "a.yml", "main")
	defer lease.Release()
	two, lease2 := begin(t, s, "b.yml", "main")
	defer lease2.Release()
	must(s.Append(t.Context(), record.Event{Run: one, Job: "build", Body: &record.JobStarted{Attempt: 1}}))(t)
	finish(t, s, two, plan.Success)

	run := must(s.Run(t.Context(), one))(t)
	if run.Planned == nil || run.Jobs["build"].State != record.Running || run.Verdict != "" {
		t.Errorf("run %s: %+v", one, run)
	}
	if run := must(s.Run(t.Context(), two))(t); run.Verdict != plan.Success {
		t.Errorf("run %s: %+v", two, run)
	}
	for _, id := range []string{"99", "", "x", "01", "1'"} {
		if _, err := s.Run(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("run %q: %v", id, err)
		}
		if _, err := s.Head(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("head %q: %v", id, err)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	must(a.Append(t.Context(), storetest.Event("1", 0)))(t)
	if seq := must(a.Watch(t.Context(), 0))(t); seq != 1 {
		t.Errorf("something new is there: got %d, want 1", seq)
	}
	// It does not matter who appends: this store or, as for another process, another one.
	for i, writer := range []*sqlite.Store{a, b} {
		got := make(chan int64)
		go func() {
			seq, err := a.Watch(t.Context(), int64(i+1))
			if err != nil {
				t.Error(err)
			}
			got <- seq
		}()
		must(writer.Append(t.Context(), storetest.Event("1", i)))(t)
		if seq := <-got; seq != int64(i+2) {
			t.Errorf("woken at %d, want %d", seq, i+2)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Watch(ctx, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := openDir(t, t.TempDir(), sqlite.Options{})
	waiting := make(chan error)
	go func() {
		_, err := s.Watch(t.Context(), 5)
		waiting <- err
	}()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-waiting; err == nil {
		t.Error("a watcher of a closed store was told that something is new")
	}
	if _, err := s.Append(t.Context(), storetest.Event("1", 1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("append: %v", err)
	}
}

// TestBadDirectories opens what is no record: the error says which file, what
// is wrong with it and what to do, and the file stays as it was.
func TestBadDirectories(t *testing.T) {
	t.Parallel()
	database := func(t *testing.T, path string, statements ...string) {
		db := must(sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()))(t)
		defer db.Close()
		for _, st := range statements {
			must(db.Exec(st))(t)
		}
	}
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want []string
	}{
		{"garbage", write(strings.Repeat("this is no database\n", 1000)), []string{"damaged", "move it away"}},
		{"another program's", func(t *testing.T, path string) {
			database(t, path, "CREATE TABLE moz_places (x)")
		}, []string{"another program's database", "another data directory"}},
		{"newer", func(t *testing.T, path string) {
			if err := openDir(t, filepath.Dir(path), sqlite.Options{}).Close(); err != nil {
				t.Fatal(err)
			}
			database(t, path, "PRAGMA user_version = 999")
		}, []string{"newer Fairlead", "999"}},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"cannot be opened"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// Characters that mean something in a URI are part of the path.
			path := filepath.Join(t.TempDir(), "a b%20?c#d", sqlite.File)
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			c.make(t, path)
			before, _ := os.ReadFile(path)
			s, err := sqlite.Open(t.Context(), filepath.Dir(path), sqlite.Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, want := range append(c.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file has changed")
			}
		})
	}
	t.Run("a file in the way", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "f")
		write("x")(t, path)
		if _, err := sqlite.Open(t.Context(), filepath.Join(path, "data"), sqlite.Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		if os.Getuid() == 0 {
			t.Skip("permissions do not bind the superuser")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.Open(t.Context(), dir, sqlite.Options{}); err == nil || !strings.Contains(err.Error(), "writable") {
			t.Errorf("got %v", err)
		}
	})
}

// TestDamage reads a record whose pages were overwritten: what can be read
// comes, then a clear error, never a silent end.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir, sqlite.Options{})
	for n := range 2000 {
		must(s.Append(t.Context(), storetest.Event("1", n)))(t)
	}
	if err := s.Close(); err != nil { // all of it is in the main file now
		t.Fatal(err)
	}
	f := must(os.OpenFile(filepath.Join(dir, sqlite.File), os.O_RDWR, 0))(t)
	size := must(f.Stat())(t).Size()
	junk := bytes.Repeat([]byte{0xa5}, int(size-size/2))
	must(f.WriteAt(junk, size/2))(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	count := 0
	var last error
	for _, err := range s.After(t.Context(), 0) {
		if last = err; err == nil {
			count++
		}
	}
	if last == nil || !strings.Contains(last.Error(), "damaged") {
		t.Errorf("after %d events of 2000: %v", count, last)
	}
}

func BenchmarkOpenAppend(b *testing.B) {
	for _, size := range []int{0, 100_000} {
		b.Run(fmt.Sprint("events=", size), func(b *testing.B) {
			dir := b.TempDir()
			s := openDir(b, dir, sqlite.Options{})
			fill := make([]record.Event, 1000)
			for i := range fill {
				fill[i] = storetest.Event("1", i)
			}
			for range size / len(fill) {
				must(s.Append(b.Context(), fill...))(b)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			var opening, first, closing time.Duration
			for b.Loop() {
				t0 := time.Now()
				s := openDir(b, dir, sqlite.Options{})
				t1 := time.Now()
				must(s.Append(b.Context(), storetest.Event("1", 1)))(b)
				t2 := time.Now()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				opening, first, closing = opening+t1.Sub(t0), first+t2.Sub(t1), closing+time.Since(t2)
			}
			for name, d := range map[string]time.Duration{"open": opening, "first-append": first, "close": closing} {
				b.ReportMetric(float64(d.Microseconds())/float64(b.N), "µs/"+name)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []struct {
		name string
		sync sqlite.Sync
	}{{"normal", sqlite.Normal}, {"full", sqlite.Full}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", mode.name, callers), func(b *testing.B) {
				s := openDir(b, b.TempDir(), sqlite.Options{Sync: mode.sync})
				defer s.Close()
				b.SetParallelism(callers)
				if callers == 1 {
					for b.Loop() {
						must(s.Append(b.Context(), storetest.Event("1", 1)))(b)
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						must(s.Append(b.Context(), storetest.Event("1", 1)))(b)
					}
				})
			})
		}
	}
}

func BenchmarkAfter(b *testing.B) {
	s := openDir(b, b.TempDir(), sqlite.Options{})
	defer s.Close()
	events := make([]record.Event, 10_000)
	for i := range events {
		events[i] = storetest.Event("1", i)
	}
	must(s.Append(b.Context(), events...))(b)
	for b.Loop() {
		n := 0
		for _, err := range s.After(b.Context(), 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != len(events) {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPlan appends and reads back the plan of a very large run.
func BenchmarkPlan(b *testing.B) {
	p := &plan.Pipeline{Name: "CI", File: "ci.yml"}
	for i := range 10_000 {
		id := fmt.Sprint("test/", i)
		p.Jobs = append(p.Jobs, plan.Job{ID: id, Name: id, Steps: []plan.Step{
			{Key: "1", Name: "checkout", Use: &plan.Use{Ref: "actions/checkout@v5"}},
			{Key: "2", Name: "test", Run: &plan.Script{Text: plan.Expr{Text: "go test ./... -run " + id}}},
		}})
	}
	s := openDir(b, b.TempDir(), sqlite.Options{})
	defer s.Close()
	for b.Loop() {
		out := must(s.Append(b.Context(), record.Event{Run: "1", Body: &record.RunPlanned{Pipeline: p}}))(b)
		for _, err := range s.After(b.Context(), out[0].Seq-1) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
