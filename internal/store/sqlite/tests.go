package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

var _ suite.Ledger = (*Store)(nil)

// Known are the states of tests. See [suite.Ledger].
func (s *Store) Known(ctx context.Context, ids []suite.ID) (map[suite.ID][]byte, error) {
	known := make(map[suite.ID][]byte, len(ids))
	err := s.eachOf(ctx, ids, `SELECT t.key, h.learned FROM json_each(?1) j
		CROSS JOIN tests t ON t.repository = ?2 AND t.variant = ?3 AND t.key = j.value
		JOIN histories h ON h.test = t.id`, func(id suite.ID, rows *sql.Rows) error {
		var state []byte
		err := rows.Scan(&id.Key, &state)
		known[id] = state
		return err
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// eachOf asks a query for all tests of one repository and variant at a time: ?1 is
// their keys as JSON, ?2 and ?3 what they have in common.
func (s *Store) eachOf(ctx context.Context, ids []suite.ID, query string, each func(id suite.ID, rows *sql.Rows) error) (err error) {
	defer func() { err = s.explain("read", err) }()
	groups := map[suite.ID][]string{}
	for _, id := range ids {
		common := suite.ID{Repository: id.Repository, Variant: id.Variant}
		groups[common] = append(groups[common], id.Key)
	}
	for common, keys := range groups {
		text, err := json.Marshal(keys)
		if err != nil {
			return err
		}
		rows, err := s.reads.QueryContext(ctx, query, string(text), common.Repository, common.Variant)
		if err != nil {
			return err
		}
		for rows.Next() {
			if err := each(common, rows); err != nil {
				return errors.Join(err, rows.Close())
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Learn writes what was learned up to an event. See [suite.Ledger].
func (s *Store) Learn(ctx context.Context, reader string, seq int64, learned []suite.Learned, events ...record.Event) error {
	rows, err := s.codec.EncodeAll(events)
	if err != nil {
		return err
	}
	return s.writer.write(ctx, "learn of tests in", func(c *conn) error {
		var at, first int64
		err := c.row([]any{&at}, `SELECT seq FROM marks WHERE reader = ?`, reader)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case at >= seq:
			return &refusal{store.Learnt(reader, seq, at)}
		}
		if err := c.row([]any{&first}, `SELECT coalesce(max(id), 0) + 1 FROM reports`); err != nil {
			return err
		}
		lessons, reports, err := store.Lessons(learned, first)
		if err != nil {
			return &refusal{err} // nothing has been written yet
		}
		for i := range reports {
			if err := c.report(&reports[i]); err != nil {
				return err
			}
		}
		for i := range lessons {
			if err := c.lesson(&lessons[i]); err != nil {
				return err
			}
		}
		if _, err := insert(c, events, rows); err != nil {
			return err
		}
		_, err = c.exec(`INSERT INTO marks (reader, seq) VALUES (?1, ?2) ON CONFLICT (reader) DO UPDATE SET seq = ?2`, reader, seq)
		return err
	})
}

func (c *conn) report(r *store.Report) error {
	_, err := c.exec(`INSERT INTO reports (id, repository, run, job, time, sha, branch, base, inputs, storm)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.Repository, r.Run, r.Job, r.Time.UnixMicro(), r.Commit, r.Branch, r.Base, int64(r.Inputs), r.Storm)
	return err
}

// lesson writes what was learned about one test.
func (c *conn) lesson(l *store.Lesson) error {
	r := &l.Row
	var id, size, chunk, top int64
	err := c.row([]any{&id}, `INSERT INTO tests (repository, variant, key, title, file, line, owner, state, why, until,
			runs, failures, flakes, rate, low, high, seconds, lost, size, first, last, failed)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
		ON CONFLICT (repository, variant, key) DO UPDATE SET title = ?4, file = coalesce(nullif(?5, ''), file), line = coalesce(nullif(?6, 0), line), owner = ?7, state = ?8, why = ?9,
			until = ?10, runs = ?11, failures = ?12, flakes = ?13, rate = ?14, low = ?15, high = ?16, seconds = ?17,
			lost = ?18, size = coalesce(nullif(?19, 0), size), first = ?20, last = ?21, failed = ?22
		RETURNING id`,
		r.Repository, r.Variant, r.Key, r.Title, r.File, r.Line, r.Owner, string(r.State), r.Why, micros(r.Until),
		r.Runs, r.Failures, r.Flakes, r.Rate, r.Low, r.High, r.Seconds, r.Lost, int64(r.Size), micros(r.First), micros(r.Last), micros(r.Failed))
	if err != nil {
		return err
	}
	pack, state := l.Pack, l.State
	if pack == nil {
		pack = []byte{}
	}
	if state == nil {
		state = []byte{}
	}
	// Two blobs put together are a text to SQLite, of the same bytes.
	err = c.row([]any{&size, &chunk, &top}, `INSERT INTO histories (test, learned, results, top, chunk) VALUES (?1, ?2, ?3, ?4, 0)
		ON CONFLICT (test) DO UPDATE SET learned = ?2, results = CAST(results || ?3 AS BLOB), top = max(top, ?4)
		RETURNING length(results), chunk, top`, id, state, pack, l.Top)
	if err != nil || size < store.FullChunk {
		return err
	}
	if _, err = c.exec(`INSERT INTO chunks (test, chunk, top, results) SELECT test, chunk, top, results FROM histories WHERE test = ?`, id); err != nil {
		return err
	}
	_, err = c.exec(`UPDATE histories SET results = x'', top = 0, chunk = chunk + 1 WHERE test = ?`, id)
	return err
}

// micros is a time as it is stored, nil for none.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

const testColumns = `repository, variant, key, title, file, line, owner, state, why, until,
	runs, failures, flakes, rate, low, high, seconds, lost, size, first, last, failed`

// Tests are the rows that a query asks for. See [suite.Ledger].
func (s *Store) Tests(ctx context.Context, q suite.Query) (list []suite.Row, total int, err error) {
	defer func() { err = s.explain("read", err) }()
	where, args := "repository = ?", []any{q.Repository}
	if len(q.States) > 0 {
		where += " AND state IN (?" + strings.Repeat(", ?", len(q.States)-1) + ")"
		for _, state := range q.States {
			args = append(args, string(state))
		}
		if !slices.Contains(q.States, record.TestHealthy) {
			where += " AND state <> 'healthy'" // word for word, so that the index is used
		}
	}
	if len(q.IDs) > 0 {
		text, err := json.Marshal(store.Names(q.IDs))
		if err != nil {
			return nil, 0, err
		}
		where += ` AND id IN (SELECT t.id FROM json_each(?) j
			CROSS JOIN tests t ON t.repository = ? AND t.variant = j.value->>0 AND t.key = j.value->>1)`
		args = append(args, string(text), q.Repository)
	}
	if q.Text != "" {
		where, args = where+" AND instr(lower(title), lower(?)) > 0", append(args, q.Text)
	}
	if err := s.reads.QueryRowContext(ctx, "SELECT count(*) FROM tests WHERE "+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := s.reads.QueryContext(ctx, "SELECT "+testColumns+" FROM tests WHERE "+where+" ORDER BY "+store.TestOrder(q.Order)+" LIMIT ? OFFSET ?",
		append(args, store.TestLimit(q.Limit), max(q.After, 0))...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r suite.Row
		var state string
		var size int64
		var until, first, last, failed sql.NullInt64
		if err := rows.Scan(&r.Repository, &r.Variant, &r.Key, &r.Title, &r.File, &r.Line, &r.Owner, &state, &r.Why, &until,
			&r.Runs, &r.Failures, &r.Flakes, &r.Rate, &r.Low, &r.High, &r.Seconds, &r.Lost, &size, &first, &last, &failed); err != nil {
			return nil, 0, err
		}
		r.State, r.Size = record.TestState(state), suite.Size(size)
		r.Until, r.First, r.Last, r.Failed = moment(until), moment(first), moment(last), moment(failed)
		list = append(list, r)
	}
	return list, total, rows.Err()
}

func moment(t sql.NullInt64) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return time.UnixMicro(t.Int64).UTC()
}

// Results are the newest results of a test. See [suite.Ledger].
func (s *Store) Results(ctx context.Context, id suite.ID, before string, limit int) (_ []suite.Result, err error) {
	defer func() { err = s.explain("read", err) }()
	var run int64
	if before != "" {
		if run, err = store.RunNumber(before); err != nil {
			return nil, err
		}
	}
	tx, err := s.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // a chunk that fills moves
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	var test, open int64
	chunks := make([]store.Chunk, 1)
	var growing []byte
	err = tx.QueryRowContext(ctx, `SELECT h.test, h.chunk, h.top, h.results FROM tests t JOIN histories h ON h.test = t.id
		WHERE t.repository = ? AND t.variant = ? AND t.key = ?`, id.Repository, id.Variant, id.Key).
		Scan(&test, &open, &chunks[0].Top, &growing)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	chunks[0].N = open
	err = eachRow(ctx, tx, func(rows *sql.Rows) error {
		var c store.Chunk
		err := rows.Scan(&c.N, &c.Top)
		chunks = append(chunks, c)
		return err
	}, `SELECT chunk, top FROM chunks WHERE test = ?`, test)
	if err != nil {
		return nil, err
	}
	list, err := store.Page(chunks, run, store.TestLimit(limit), func(n int64) (chunk []byte, err error) {
		if n == open {
			return growing, nil
		}
		err = tx.QueryRowContext(ctx, `SELECT results FROM chunks WHERE test = ? AND chunk = ?`, test, n).Scan(&chunk)
		return chunk, err
	})
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, p := range list {
		ids = append(ids, p.Report)
	}
	text, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	reports, err := readReports(ctx, tx, "id IN (SELECT value FROM json_each(?))", string(text))
	if err != nil {
		return nil, err
	}
	results := make([]suite.Result, len(list))
	for i, p := range list {
		results[i] = p.Result(reports[p.Report])
	}
	return results, nil
}

// Grid are the results of tests in the newest runs. See [suite.Ledger].
func (s *Store) Grid(ctx context.Context, ids []suite.ID, branch string, runs int) (_ [][]suite.Result, err error) {
	defer func() { err = s.explain("read", err) }()
	grid := make([][]suite.Result, len(ids))
	places := make(map[suite.ID][]int, len(ids))
	for i, id := range ids {
		places[id] = append(places[id], i)
	}
	byRepository := map[string][]suite.ID{}
	for id := range places {
		byRepository[id.Repository] = append(byRepository[id.Repository], id)
	}
	for repository, ids := range byRepository {
		reports, oldest, err := s.newestReports(ctx, repository, branch, runs)
		if err != nil {
			return nil, err
		}
		if len(reports) == 0 {
			continue
		}
		cells := make(map[suite.ID][]store.Packed, len(ids))
		err = s.eachOf(ctx, ids, fmt.Sprintf(`SELECT t.key, h.results FROM json_each(?1) j
			CROSS JOIN tests t ON t.repository = ?2 AND t.variant = ?3 AND t.key = j.value
			JOIN histories h ON h.test = t.id WHERE h.top >= %[1]d
			UNION ALL SELECT t.key, c.results FROM json_each(?1) j
			CROSS JOIN tests t ON t.repository = ?2 AND t.variant = ?3 AND t.key = j.value
			JOIN chunks c ON c.test = t.id WHERE c.top >= %[1]d`, oldest), func(id suite.ID, rows *sql.Rows) error {
			var chunk []byte
			if err := rows.Scan(&id.Key, &chunk); err != nil {
				return err
			}
			list, err := store.Unpack(chunk)
			for _, p := range list {
				if reports[p.Report] != nil {
					cells[id] = append(cells[id], p)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		for id, list := range cells {
			store.NewestFirst(list)
			results := make([]suite.Result, len(list))
			for i, p := range list {
				results[i] = p.Result(reports[p.Report])
			}
			for _, i := range places[id] {
				grid[i] = results
			}
		}
	}
	return grid, nil
}

// newestReports are those of the newest runs of a branch, and the oldest of the runs.
func (s *Store) newestReports(ctx context.Context, repository, branch string, runs int) (reports map[int64]*store.Report, oldest int64, err error) {
	where, args := "repository = ?", []any{repository}
	if branch != "" {
		where, args = where+" AND branch = ?", append(args, branch)
	}
	var first sql.NullInt64
	err = s.reads.QueryRowContext(ctx, `SELECT min(run) FROM (SELECT DISTINCT run FROM reports WHERE `+where+` ORDER BY run DESC LIMIT ?)`,
		append(args, store.TestLimit(runs))...).Scan(&first)
	if err != nil || !first.Valid {
		return nil, 0, err
	}
	reports, err = readReports(ctx, s.reads, where+" AND run >= ?", append(args, first.Int64)...)
	return reports, first.Int64, err
}

// querier is a database, or a transaction in it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readReports(ctx context.Context, db querier, where string, args ...any) (map[int64]*store.Report, error) {
	reports := map[int64]*store.Report{}
	err := eachRow(ctx, db, func(rows *sql.Rows) error {
		var r store.Report
		var at, inputs int64
		err := rows.Scan(&r.ID, &r.Repository, &r.Run, &r.Job, &at, &r.Commit, &r.Branch, &r.Base, &inputs, &r.Storm)
		r.Time, r.Inputs = time.UnixMicro(at).UTC(), uint64(inputs)
		reports[r.ID] = &r
		return err
	}, `SELECT id, repository, run, job, time, sha, branch, base, inputs, storm FROM reports WHERE `+where, args...)
	return reports, err
}

func eachRow(ctx context.Context, db querier, each func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
