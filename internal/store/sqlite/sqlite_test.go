package sqlite_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
	"github.com/fairlead-dev/fairlead/internal/suite"
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

// TestOldSchema opens a record of the first schema: its runs are listed as new ones
// are.
func TestOldSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := must(os.ReadFile("migrations/0001_record.sql"))(t)
	db := must(sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.File)))(t)
	for _, statement := range []string{
		"PRAGMA journal_mode = WAL", string(first), "PRAGMA user_version = 1", "PRAGMA application_id = 0x46414952",
		`INSERT INTO runs (id, repository, file, number, attempt, name, branch, begun, ended, verdict)
			VALUES (1, 'o/r', '.github/workflows/ci.yml', 1, 1, 'CI', 'main', 5000000, 9000000, 'success'), (2, 'o/r', 'ci.yml', 1, 1, 'CI', 'main', 6000000, NULL, '')`,
		`INSERT INTO events (seq, time, run, job, step, kind, body) VALUES
			(1, 7000000, 1, '', '', 'run.started', '{}'), (2, 8000000, 1, '', '', 'run.started', '{}')`,
	} {
		must(db.Exec(statement))(t)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	heads := must(s.Runs(t.Context(), store.RunFilter{Pipeline: "ci.yml"}))(t)
	if len(heads) != 2 || heads[1].Started != time.Unix(7, 0).UTC() || heads[1].Origin != nil || heads[1].Verdict != plan.Success {
		t.Fatalf("got %+v", heads)
	}
	if h := heads[0]; !h.Started.IsZero() || h.Waiting() || !h.Interrupted() {
		t.Errorf("a run that was interrupted: %+v", h)
	}
	if out := must(s.Append(t.Context(), storetest.Event("1", 1)))(t); out[0].Seq != 3 {
		t.Errorf("the next event is %d", out[0].Seq)
	}
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

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) storetest.Lists {
		s := openDir(b, b.TempDir(), sqlite.Options{Sync: sqlite.Full})
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	})
}

func BenchmarkLedger(b *testing.B) {
	storetest.BenchLedger(b, func(b *testing.B) suite.Ledger { return open(b, b.TempDir()) })
}
