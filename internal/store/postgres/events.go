package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

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
	return s.Change(ctx, nil, events...)
}

const rowNames = `seq, time, run, job, step, kind, body, packed`

// After yields the events after seq. See [store.Log].
func (s *Store) After(ctx context.Context, seq int64) iter.Seq2[record.Event, error] {
	return s.read(ctx, seq, `SELECT `+rowNames+` FROM events WHERE seq > $2 ORDER BY seq LIMIT $1`)
}

// AfterKinds yields those of the events after seq that are of these kinds, as After
// does. Whoever follows a few kinds pays nothing for the others, and when asking
// Watch for the newest Seq first knows how far it has come even if there are none.
func (s *Store) AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error] {
	switch {
	case len(kinds) == 0:
		return func(func(record.Event, error) bool) {}
	case store.AllQuiet(kinds):
		query, args := ofKinds(kinds, "seq > $2", "seq")
		return s.read(ctx, seq, query, args...)
	}
	return s.read(ctx, seq, `SELECT `+rowNames+` FROM events WHERE kind = ANY ($3) AND seq > $2 ORDER BY seq LIMIT $1`, texts(kinds))
}

// ofKinds is a query of quiet kinds: the first of each kind in the order, and of
// these the first. $1 is how many, and $2 is for the condition on seq.
func ofKinds(kinds []record.Kind, condition, order string) (query string, args []any) {
	var ways []string
	for i, k := range slices.Compact(slices.Sorted(slices.Values(kinds))) {
		ways = append(ways, fmt.Sprintf("(SELECT %s FROM events WHERE kind = $%d AND %s AND %s ORDER BY %s LIMIT $1)",
			rowNames, i+3, store.Quiet(), condition, order))
		args = append(args, store.Clean(string(k)))
	}
	return "SELECT * FROM (" + strings.Join(ways, " UNION ALL ") + ") e ORDER BY " + order + " LIMIT $1", args
}

func texts(kinds []record.Kind) []string {
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = store.Clean(string(k))
	}
	return list
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
	return s.read(ctx, 0, `SELECT `+rowNames+` FROM events WHERE run = $3 AND seq > $2 ORDER BY seq LIMIT $1`, id)
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
	before, limit := int64(math.MaxInt64), f.Limit
	if f.Before > 0 {
		before = f.Before
	}
	if limit <= 0 {
		limit = store.DefaultRuns
	}
	args = []any{limit, before}
	if f.Run == "" && store.AllQuiet(f.Kinds) {
		query, kinds := ofKinds(f.Kinds, "seq < $2", "seq DESC")
		return query, append(args, kinds...), nil
	}
	query = `SELECT ` + rowNames + ` FROM events WHERE seq < $2`
	if f.Run != "" {
		run, err := store.RunNumber(f.Run)
		if err != nil {
			return "", nil, fmt.Errorf("%w: %w", store.ErrNotFound, err)
		}
		args = append(args, run)
		query += fmt.Sprintf(" AND run = $%d", len(args))
	}
	if len(f.Kinds) > 0 {
		args = append(args, texts(f.Kinds))
		query += fmt.Sprintf(" AND kind = ANY ($%d)", len(args))
	}
	return query + " ORDER BY seq DESC LIMIT $1", args, nil
}

// read yields what the query finds, page by page: $1 is how many rows at most, and
// $2 the Seq after which.
func (s *Store) read(ctx context.Context, seq int64, query string, args ...any) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		limit := pageEvents
		for seq := seq; ; {
			page, err := s.page(ctx, pageBytes, query, append([]any{limit, seq}, args...))
			for _, r := range page {
				seq = r.Event.Seq
				if !yield(s.codec.Decode(r)) {
					return
				}
			}
			switch {
			case err != nil:
				yield(record.Event{}, s.explain("read", err))
				return
			case len(page) == 0:
				return
			case len(page) < limit:
				limit = len(page) // the rest was sent for nothing: ask for less
			default:
				limit = min(2*limit, pageEvents)
			}
		}
	}
}

// page reads rows until they are so many bytes.
func (s *Store) page(ctx context.Context, most int, query string, args []any) (page []store.Row, err error) {
	rows, err := s.reads.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for size := 0; size < most && rows.Next(); {
		var r store.Row
		var run *int64
		var body *string
		if err := rows.Scan(&r.Event.Seq, &r.Event.Time, &run, &r.Event.Job, &r.Event.Step, (*string)(&r.Kind), &body, &r.Packed); err != nil {
			return page, err
		}
		r.Event.Time = r.Event.Time.UTC()
		if run != nil {
			r.Run = *run
		}
		if body != nil {
			r.Text = *body
		}
		size += r.Size()
		page = append(page, r)
	}
	rows.Close()
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
	return s.writer.write(ctx, "mark", &operation{mark: &mark{store.Clean(reader), seq}})
}

// Marked is a reader's mark. See [store.Marks].
func (s *Store) Marked(ctx context.Context, reader string) (seq int64, err error) {
	err = s.reads.QueryRow(ctx, `SELECT seq FROM marks WHERE reader = $1`, store.Clean(reader)).Scan(&seq)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return seq, s.explain("read", err)
}
