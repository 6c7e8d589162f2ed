package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// packAt is the size from which on a body is compressed. Small events stay
	// readable with any SQLite tool; a plan of ten thousand jobs does not cost
	// tens of megabytes.
	packAt = 16 << 10
	// maxBody is the size of the largest body, as JSON.
	maxBody = 512 << 20

	// A page of events is read at once and then let go, so that a slow reader
	// keeps nothing locked: so many events, or so many bytes.
	pageEvents = 512
	pageBytes  = 4 << 20
)

// row is an event as it is stored.
type row struct {
	event record.Event // without Body
	run   any          // int64; nil: of none
	kind  record.Kind
	body  any // string: JSON; []byte: JSON, compressed
}

// Append adds events to the record. See [store.Log].
func (s *Store) Append(ctx context.Context, events ...record.Event) ([]record.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	// What can fail for one caller alone is done before others are involved.
	rows := make([]row, len(events))
	for i, e := range events {
		var err error
		if rows[i], err = s.encode(e); err != nil {
			return nil, err
		}
	}
	out := make([]record.Event, len(events))
	err := s.writer.write(ctx, "append to", func(c *conn) error {
		args := make([]any, 0, rowColumns*min(len(rows), maxRows))
		for done := 0; done < len(rows); {
			some := rows[done : done+rowsAtOnce(len(rows)-done)]
			args = args[:0]
			for i := range some {
				r := &some[i]
				if r.event.Time.IsZero() {
					r.event.Time = cut(time.Now())
				}
				args = append(args, r.event.Time.UnixMicro(), r.run, r.event.Job, r.event.Step, string(r.kind), r.body)
			}
			res, err := c.exec(insertRows(len(some)), args...)
			if err != nil {
				return err
			}
			last, err := res.LastInsertId() // the rows before it have the numbers before it
			if err != nil {
				return err
			}
			for i := range some {
				e := &out[done+i]
				*e = events[done+i]
				e.Time, e.Seq = some[i].event.Time, last-int64(len(some)-1-i)
				if err := project(c, *e, some[i].run); err != nil {
					return err
				}
			}
			done += len(some)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

const (
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

// cut is the time as it is stored.
func cut(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func (s *Store) encode(e record.Event) (row, error) {
	if e.Body == nil {
		return row{}, errors.New("append to record: an event without a body")
	}
	r := row{event: e, kind: e.Kind()}
	if !e.Time.IsZero() {
		r.event.Time = cut(e.Time)
	}
	if e.Run != "" {
		id, err := parseRun(e.Run)
		if err != nil {
			return row{}, fmt.Errorf("append to record: %w", err)
		}
		r.run = id
	}
	text, err := json.Marshal(e.Body)
	if err != nil {
		return row{}, fmt.Errorf("append to record: encode %s: %w", r.kind, err)
	}
	switch {
	case len(text) > maxBody:
		return row{}, fmt.Errorf("append to record: %s of %d bytes is larger than %d", r.kind, len(text), maxBody)
	case len(text) >= packAt:
		r.body = s.encoder().EncodeAll(text, make([]byte, 0, len(text)/8))
	default:
		r.body = string(text)
	}
	return r, nil
}

func (s *Store) decode(r row) (record.Event, error) {
	e := r.event
	if run, ok := r.run.(int64); ok {
		e.Run = strconv.FormatInt(run, 10)
	}
	var text []byte
	switch b := r.body.(type) {
	case string:
		text = []byte(b)
	case []byte:
		var err error
		if text, err = s.decoder().DecodeAll(b, nil); err != nil {
			return e, fmt.Errorf("event %d: decompress: %w", e.Seq, err)
		}
	}
	body, err := record.Decode(r.kind, text)
	if err != nil {
		return e, fmt.Errorf("event %d: %w", e.Seq, err)
	}
	e.Body = body
	return e, nil
}

func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options above are constants
	}
	return e
}

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		panic(err) // the options above are constants
	}
	return d
}

// parseRun is the number of a run, whose ID is decimal digits.
func parseRun(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("%q is not the ID of a run, which is a number", id)
	}
	return n, nil
}

// After yields the events after seq. See [store.Log].
func (s *Store) After(ctx context.Context, seq int64) iter.Seq2[record.Event, error] {
	return s.read(ctx, seq, `SELECT seq, time, run, job, step, kind, body FROM events
		WHERE seq > ?1 ORDER BY seq LIMIT ?2`)
}

// Events yields the events of one run, in order, to the newest. It holds
// nothing open between two events; of errors see [store.Log].
func (s *Store) Events(ctx context.Context, run string) iter.Seq2[record.Event, error] {
	id, err := parseRun(run)
	if err != nil {
		return func(yield func(record.Event, error) bool) {
			yield(record.Event{}, fmt.Errorf("%w: %w", store.ErrNotFound, err))
		}
	}
	return s.read(ctx, 0, `SELECT seq, time, run, job, step, kind, body FROM events
		WHERE run = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2`, id)
}

func (s *Store) read(ctx context.Context, seq int64, query string, args ...any) iter.Seq2[record.Event, error] {
	return func(yield func(record.Event, error) bool) {
		for seq := seq; ; {
			page, err := s.page(ctx, query, append([]any{seq, pageEvents}, args...))
			for _, r := range page {
				seq = r.event.Seq
				if !yield(s.decode(r)) {
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

func (s *Store) page(ctx context.Context, query string, args []any) (page []row, err error) {
	rows, err := s.reads.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for size := 0; size < pageBytes && rows.Next(); {
		var r row
		var micros int64
		if err := rows.Scan(&r.event.Seq, &micros, &r.run, &r.event.Job, &r.event.Step, &r.kind, &r.body); err != nil {
			return page, err
		}
		r.event.Time = time.UnixMicro(micros).UTC()
		switch b := r.body.(type) {
		case string:
			size += len(b)
		case []byte:
			size += len(b)
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// Run folds a run's events; [store.ErrNotFound] when there are none.
func (s *Store) Run(ctx context.Context, id string) (*record.Run, error) {
	run := record.NewRun(id)
	known := false
	for e, err := range s.Events(ctx, id) {
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
