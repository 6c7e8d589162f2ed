package sqlite

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// TestDiskFull fills the database (by SQLite's own limit, which fails as a
// full disk does) and checks that each caller is told the truth.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	limit := func(pages int) {
		t.Helper()
		err := s.writer.write(t.Context(), "limit", func(c *conn) error {
			_, err := c.c.ExecContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", pages))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	event := func(size int) record.Event {
		return record.Event{Job: "j", Body: &record.JobQueued{Why: strings.Repeat("x", size)}}
	}
	limit(60)
	var mu sync.Mutex
	acked := map[int64]bool{}
	var wg sync.WaitGroup
	var refused error
	for range 16 {
		wg.Go(func() {
			for range 20 {
				out, err := s.Append(t.Context(), event(1500), event(10))
				mu.Lock()
				if err == nil {
					acked[out[0].Seq], acked[out[1].Seq] = true, true
				} else {
					refused = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused == nil {
		t.Fatal("nothing was refused")
	}
	for _, want := range []string{s.path, "full", "free some space"} {
		if !strings.Contains(refused.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, refused)
		}
	}
	limit(10_000) // somebody freed space
	out, err := s.Append(t.Context(), event(1500))
	if err != nil {
		t.Fatalf("with space again: %v", err)
	}
	acked[out[0].Seq] = true
	next := int64(1)
	for e, err := range s.After(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != next || !acked[e.Seq] {
			t.Errorf("event %d in place of %d, acknowledged %v", e.Seq, next, acked[e.Seq])
		}
		next++
	}
	if int(next-1) != len(acked) {
		t.Errorf("%d events, %d acknowledged", next-1, len(acked))
	}
}

// TestShared checks that one caller's failure is its own, though it shared a
// transaction with others.
func TestShared(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mark := func(reader string) func(*conn) error {
		return func(c *conn) error {
			_, err := c.exec(`INSERT INTO marks (reader, seq) VALUES (?, 1)`, reader)
			return err
		}
	}
	ops := make([]*operation, 3)
	for i, reader := range []string{"a", "a", "b"} { // the second breaks a constraint
		ops[i] = &operation{do: mark(reader), done: make(chan struct{})}
	}
	ops = append(ops, &operation{do: mark("withdrawn"), done: make(chan struct{})})
	ops[3].state.Store(withdrawn)
	s.writer.mu.Lock()
	s.writer.waiting = append(s.writer.waiting, ops...)
	s.writer.mu.Unlock()
	s.writer.poke()
	for i, op := range ops[:3] {
		<-op.done
		if failed := op.err != nil; failed != (i == 1) {
			t.Errorf("operation %d: %v", i, op.err)
		}
	}
	for reader, want := range map[string]int64{"a": 1, "b": 1, "withdrawn": 0} {
		if got, err := s.Marked(t.Context(), reader); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", reader, got, err, want)
		}
	}
}

// TestQuiet checks that the index of kinds is that which queries ask for.
func TestQuiet(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	query, args, err := chooseEvents(store.EventFilter{Kinds: []record.Kind{"acted", "effect.done"}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.reads.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var text strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&text, detail)
	}
	if err := rows.Err(); err != nil || strings.Count(text.String(), "INDEX events_by_kind (kind=? AND rowid<?)") != 2 {
		t.Errorf("%v\n%s", err, &text)
	}
}

// TestSweep checks that registers that have expired do not stay for good.
func TestSweep(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := record.Register{Kind: "session", ID: "x", Body: []byte("1"), Expires: time.Now().Add(-time.Second)}
	for _, id := range []string{"x", "y"} {
		r.ID = id
		if _, err := s.Change(t.Context(), []record.Register{r}); err != nil {
			t.Fatal(err)
		}
	}
	var left string // the first change has swept, and the second need not
	if err := s.reads.QueryRowContext(t.Context(), "SELECT group_concat(id) FROM registers").Scan(&left); err != nil || left != "y" {
		t.Errorf("%q are left, %v", left, err)
	}
}
