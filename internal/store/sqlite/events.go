package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// A page of events is read at once and then let go, so that a slow reader
	// keeps nothing locked: so many events, or so many bytes.
	pageEvents = 512
	pageBytes  = 4 << 20
)

// Append adds events to the record. See [store.Log].
func (s *Store) Append(ctx context.Context, events ...record.Event) ([]record.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	// What can fail for one caller alone is done before others are involved.
	rows, err := s.codec.EncodeAll(events)
	if err != nil {
		return nil, err
	}
	var out []record.Event
	err = s.writer.write(ctx, "append to", func(c *conn) error {
		var err error
		out, err = insert(c, events, rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// insert writes events, whose rows are given, and returns them as a reader
// will see them.
func insert(c *conn, events []record.Event, rows []store.Row) ([]record.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	out := make([]record.Event, len(events))
	args := make([]any, 0, rowColumns*min(len(rows), maxRows))
	now := store.Cut(time.Now())
	for done := 0; done < len(rows); {
		some := rows[done : done+rowsAtOnce(len(rows)-done)]
		args = args[:0]
		for i := range some {
			r := &some[i]
			if r.Event.Time.IsZero() {
				r.Event.Time = now
			}
			var run, body any
			if r.Run != 0 {
				run = r.Run
			}
			if body = r.Text; r.Packed != nil {
				body = r.Packed
			}
			args = append(args, r.Event.Time.UnixMicro(), run, r.Event.Job, r.Event.Step, string(r.Kind), body)
		}
		res, err := c.exec(insertRows(len(some)), args...)
		if err != nil {
			return nil, err
		}
		last, err := res.LastInsertId() // the rows before it have the numbers before it
		if err != nil {
			return nil, err
		}
		for i := range some {
			e := &out[done+i]
			*e = some[i].Event
			e.Seq, e.Body = last-int64(len(some)-1-i), events[done+i].Body
			if err := project(c, *e, some[i].Run); err != nil {
				return nil, err
			}
		}
		done += len(some)
	}
	return out, nil
}

const (
	// rowNames are the columns of an event, its Seq first.
	rowNames = `seq, time, run, job, step, kind, body`
	// rowColumns is how many values a row of events has, its Seq aside.
	rowColumns = 6
	// maxRows is the most rows that one statement inserts.
	maxRows = 32
)

// rowsAtOnce is how many of n rows the next statement inserts: a power of two,
// so that few statements are prepared.
func rowsAtOnce(n int) int { return 1 << (bits.Len(uint(min(n, maxRows))) - 1) }

// insertRows is the statement that inserts n rows.
func insertRows(n int) string {
	return `INSERT INTO events (time, run, job, step, kind, body) VALUES (?, ?, ?, ?, ?, ?)` +
		strings.Repeat(`, (?, ?, ?, ?, ?, ?)`, n-1)
}

// After yields the events after seq. See [store.Log].
func (s *Store) After(ctx context.Context, seq int64) iter.Seq2[record.Event, error] {
	return s.read(ctx, seq, `SELECT `+rowNames+` FROM events WHERE seq > ?2 ORDER BY seq LIMIT ?1`)
}

// AfterKinds yields those of the events after seq that are of these kinds, as After
// does. Whoever follows a few kinds pays nothing for the others, and when asking
// Watch for the newest Seq first knows how far it has come even if there are none.
func (s *Store) AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error] {
	if len(kinds) == 0 {
		return func(func(record.Event, error) bool) {}
	}
	if store.AllQuiet(kinds) {
		query, args := ofKinds(kinds, "seq > ?2", "seq")
		return s.read(ctx, seq, query, args...)
	}
	args := make([]any, len(kinds))
	for i, k := range kinds {
		args[i] = string(k)
	}
	return s.read(ctx, seq, `SELECT `+rowNames+` FROM events
		WHERE +kind IN (?3`+numbered(4, len(kinds)-1)+`) AND seq > ?2 ORDER BY seq LIMIT ?1`, args...)
}

// ofKinds is a query of quiet kinds: the first of each kind in the order, and of
// these the first. ?1 is how many, and ?2 is for the condition on seq.
func ofKinds(kinds []record.Kind, condition, order string) (query string, args []any) {
	var ways []string
	for i, k := range slices.Compact(slices.Sorted(slices.Values(kinds))) {
		ways = append(ways, fmt.Sprintf("SELECT * FROM (SELECT %s FROM events WHERE kind = ?%d AND %s AND %s ORDER BY %s LIMIT ?1)",
			rowNames, i+3, store.Quiet(), condition, order))
		args = append(args, string(k))
	}
	return strings.Join(ways, " UNION ALL ") + " ORDER BY " + order + " LIMIT ?1", args
}

// numbered is ", ?4, ?5 …".
func numbered(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ", ?%d", from+i)
	}
	return b.String()
}

// ofRun yields the events of one run, in order, to the newest. It holds
// nothing open between two events; of errors see [store.Log].
func (s *Store) ofRun(ctx context.Context, run string) iter.Seq2[record.Event, error] {
	id, err := store.RunNumber(run)
	if err != nil {
		return func(yield func(record.Event, error) bool) {
			yield(record.Event{}, fmt.Errorf("%w: %w", store.ErrNotFound, err))
		}
	}
	return s.read(ctx, 0, `SELECT `+rowNames+` FROM events WHERE run = ?3 AND seq > ?2 ORDER BY seq LIMIT ?1`, id)
}

// Events are the events that the filter chooses, newest first.
func (s *Store) Events(ctx context.Context, f store.EventFilter) ([]record.Event, error) {
	query, args, err := chooseEvents(f)
	if err != nil {
		return nil, err
	}
	page, err := s.page(ctx, math.MaxInt, query, args)
	if err != nil {
		return nil, s.explain("read", err)
	}
	events := make([]record.Event, len(page))
	for i, r := range page {
		if events[i], err = s.codec.Decode(r); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// chooseEvents is the query of a filter. Events of a run are found by the run,
// those of quiet kinds by their kind, and others by reading what is newest.
func chooseEvents(f store.EventFilter) (query string, args []any, err error) {
	const order = " ORDER BY seq DESC LIMIT ?"
	before, limit := int64(math.MaxInt64), f.Limit
	if f.Before > 0 {
		before = f.Before
	}
	if limit <= 0 {
		limit = store.DefaultRuns
	}
	if f.Run == "" && store.AllQuiet(f.Kinds) {
		query, args = ofKinds(f.Kinds, "seq < ?2", "seq DESC")
		return query, append([]any{limit, before}, args...), nil
	}
	query, args = `SELECT `+rowNames+` FROM events WHERE seq < ?`, []any{before}
	if f.Run != "" {
		run, err := store.RunNumber(f.Run)
		if err != nil {
			return "", nil, fmt.Errorf("%w: %w", store.ErrNotFound, err)
		}
		query, args = query+" AND run = ?", append(args, run)
	}
	if len(f.Kinds) > 0 {
		query += " AND +kind IN (?" + strings.Repeat(", ?", len(f.Kinds)-1) + ")"
		for _, k := range f.Kinds {
			args = append(args, string(k))
		}
	}
	return query + order, append(args, limit), nil
}

// read yields what the query finds, page by page: ?1 is how many rows at most, and
// ?2 the Seq after which.
func (s *Store) read(ctx context.Context, seq int64, query string, args ...any) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for seq := seq; ; {
			page, err := s.page(ctx, pageBytes, query, append([]any{pageEvents, seq}, args...))
			for _, r := range page {
				seq = r.Event.Seq
				if !yield(s.codec.Decode(r)) {
					return
				}
			}
			if err != nil {
				yield(record.Event{}, s.explain("read", err))
				return
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// page reads rows until they are so many bytes.
func (s *Store) page(ctx context.Context, most int, query string, args []any) (page []store.Row, err error) {
	rows, err := s.reads.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for size := 0; size < most && rows.Next(); {
		var r store.Row
		var micros int64
		var run sql.NullInt64
		var body any
		if err := rows.Scan(&r.Event.Seq, &micros, &run, &r.Event.Job, &r.Event.Step, &r.Kind, &body); err != nil {
			return page, err
		}
		r.Event.Time, r.Run = time.UnixMicro(micros).UTC(), run.Int64
		switch b := body.(type) {
		case string:
			r.Text = b
		case []byte:
			r.Packed = b
		}
		size += r.Size()
		page = append(page, r)
	}
	return page, rows.Err()
}

// Run folds a run's events; [store.ErrNotFound] when there are none.
func (s *Store) Run(ctx context.Context, id string) (*record.Run, error) {
	run := record.NewRun(id)
	known := false
	for e, err := range s.ofRun(ctx, id) {
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", id, err)
		}
		run.Apply(e)
		known = true
	}
	if !known {
		return nil, fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	}
	return run, nil
}

// Mark sets a reader's mark. See [store.Marks].
func (s *Store) Mark(ctx context.Context, reader string, seq int64) error {
	return s.writer.write(ctx, "mark", func(c *conn) error {
		_, err := c.exec(`INSERT INTO marks (reader, seq) VALUES (?1, ?2)
			ON CONFLICT (reader) DO UPDATE SET seq = ?2`, reader, seq)
		return err
	})
}

// Marked is a reader's mark. See [store.Marks].
func (s *Store) Marked(ctx context.Context, reader string) (int64, error) {
	var seq int64
	err := s.reads.QueryRowContext(ctx, `SELECT seq FROM marks WHERE reader = ?`, reader).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seq, s.explain("read", err)
}
