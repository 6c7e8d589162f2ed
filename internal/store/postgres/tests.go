package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

var _ suite.Ledger = (*Store)(nil)

// insertLessons is of how many tests a statement writes what was learned.
const insertLessons = 2000

// learning is what an operation learns of tests.
type learning struct {
	reader  string
	seq     int64
	learned []suite.Learned
}

// ofIDs joins tests by what names them: $1, $2 and $3 are columns of IDs.
const ofIDs = ` FROM unnest($1::text[], $2::text[], $3::text[]) AS i (repository, variant, key)
	JOIN tests t USING (repository, variant, key)`

// columns are IDs as columns.
func columns(ids []suite.ID) (repositories, variants, keys []string) {
	for _, id := range ids {
		if store.Plain(id.Repository) && store.Plain(id.Variant) && store.Plain(id.Key) { // else there is none
			repositories, variants, keys = append(repositories, id.Repository), append(variants, id.Variant), append(keys, id.Key)
		}
	}
	return repositories, variants, keys
}

// Known are the states of tests. See [suite.Ledger].
func (s *Store) Known(ctx context.Context, ids []suite.ID) (map[suite.ID][]byte, error) {
	known := make(map[suite.ID][]byte, len(ids))
	repositories, variants, keys := columns(ids)
	rows, err := s.reads.Query(ctx, `SELECT i.repository, i.variant, i.key, h.learned`+ofIDs+` JOIN histories h ON h.test = t.id`,
		repositories, variants, keys)
	if err != nil {
		return nil, s.explain("read", err)
	}
	var id suite.ID
	var state []byte
	_, err = pgx.ForEachRow(rows, []any{&id.Repository, &id.Variant, &id.Key, &state}, func() error {
		known[id], state = state, nil
		return nil
	})
	if err != nil {
		return nil, s.explain("read", err)
	}
	return known, nil
}

// Learn writes what was learned up to an event. See [suite.Ledger].
func (s *Store) Learn(ctx context.Context, reader string, seq int64, learned []suite.Learned, events ...record.Event) error {
	if _, _, err := store.Lessons(learned, 1); err != nil {
		return err
	}
	rows, err := s.codec.EncodeAll(events)
	if err != nil {
		return err
	}
	l := &learning{reader: store.Clean(reader), seq: seq, learned: learned}
	return s.writer.write(ctx, "learn of tests in", &operation{learn: l, events: events, rows: rows})
}

// askLearned reads what decides about learning.
func (t *transaction) askLearned(b *pgx.Batch) {
	var readers []string
	for _, op := range t.batch {
		if op.learn != nil {
			readers = append(readers, op.learn.reader)
		}
	}
	if len(readers) == 0 {
		return
	}
	t.learned = map[string]int64{}
	b.Queue(`SELECT reader, seq FROM marks WHERE reader = ANY ($1)`, readers).Query(func(rows pgx.Rows) error {
		var reader string
		var seq int64
		_, err := pgx.ForEachRow(rows, []any{&reader, &seq}, func() error {
			t.learned[reader] = seq
			return nil
		})
		return err
	})
	b.Queue(`SELECT coalesce(max(id), 0) FROM reports`).QueryRow(func(r pgx.Row) error { return r.Scan(&t.report) })
}

// learn writes what an operation learns.
func (t *transaction) learn(b *pgx.Batch, l *learning) error {
	lessons, reports, err := store.Lessons(l.learned, t.report+1)
	if err != nil {
		return err
	}
	t.report += int64(len(reports))
	t.learned[l.reader] = l.seq
	queueReports(b, reports)
	for len(lessons) > 0 {
		some := lessons[:min(len(lessons), insertLessons)]
		queueLessons(b, some)
		lessons = lessons[len(some):]
	}
	return nil
}

func queueReports(b *pgx.Batch, reports []store.Report) {
	for i := range reports {
		r := &reports[i]
		b.Queue(`INSERT INTO reports (id, repository, run, job, time, sha, branch, base, inputs, storm)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			r.ID, r.Repository, r.Run, r.Job, r.Time, r.Commit, r.Branch, r.Base, int64(r.Inputs), r.Storm)
	}
}

// queueLessons writes what was learned about tests, column by column.
func queueLessons(b *pgx.Batch, lessons []store.Lesson) {
	n := len(lessons)
	column := func() []string { return make([]string, n) }
	numbers := func() []int64 { return make([]int64, n) }
	floats := func() []float64 { return make([]float64, n) }
	times := func() []*time.Time { return make([]*time.Time, n) }
	repositories, variants, keys, titles, files, owners, states, whys := column(), column(), column(), column(), column(), column(), column(), column()
	lines, runs, failures, flakes, sizes, tops := numbers(), numbers(), numbers(), numbers(), numbers(), numbers()
	rates, lows, highs, seconds, lost := floats(), floats(), floats(), floats(), floats()
	untils, firsts, lasts, faileds := times(), times(), times(), times()
	learned, packs := make([][]byte, n), make([][]byte, n)
	for i := range lessons {
		l := &lessons[i]
		r := &l.Row
		repositories[i], variants[i], keys[i], titles[i], files[i], owners[i] = r.Repository, r.Variant, r.Key, r.Title, r.File, r.Owner
		states[i], whys[i] = store.Clean(string(r.State)), r.Why
		lines[i], runs[i], failures[i], flakes[i], sizes[i], tops[i] = int64(r.Line), r.Runs, r.Failures, r.Flakes, int64(r.Size), l.Top
		rates[i], lows[i], highs[i], seconds[i], lost[i] = r.Rate, r.Low, r.High, r.Seconds, r.Lost
		untils[i], firsts[i], lasts[i], faileds[i] = moment(r.Until), moment(r.First), moment(r.Last), moment(r.Failed)
		learned[i], packs[i] = append([]byte{}, l.State...), append([]byte{}, l.Pack...)
	}
	b.Queue(`INSERT INTO tests (repository, variant, key, title, file, line, owner, state, why, until,
			runs, failures, flakes, rate, low, high, seconds, lost, size, first, last, failed)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[],
			$10::timestamptz[], $11::bigint[], $12::bigint[], $13::bigint[], $14::float8[], $15::float8[], $16::float8[], $17::float8[],
			$18::float8[], $19::bigint[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[])
		ON CONFLICT (repository, variant, key) DO UPDATE SET title = excluded.title, file = coalesce(nullif(excluded.file, ''), tests.file), line = coalesce(nullif(excluded.line, 0), tests.line),
			owner = excluded.owner, state = excluded.state, why = excluded.why, until = excluded.until, runs = excluded.runs,
			failures = excluded.failures, flakes = excluded.flakes, rate = excluded.rate, low = excluded.low, high = excluded.high,
			seconds = excluded.seconds, lost = excluded.lost, size = coalesce(nullif(excluded.size, 0), tests.size), first = excluded.first, last = excluded.last,
			failed = excluded.failed`,
		repositories, variants, keys, titles, files, lines, owners, states, whys, untils, runs, failures, flakes,
		rates, lows, highs, seconds, lost, sizes, firsts, lasts, faileds)
	b.Queue(`INSERT INTO histories (test, learned, results, top, chunk)
		SELECT t.id, n.learned, n.results, n.top, 0
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bigint[]) AS n (repository, variant, key, learned, results, top)
		JOIN tests t USING (repository, variant, key)
		ON CONFLICT (test) DO UPDATE SET learned = excluded.learned, results = histories.results || excluded.results,
			top = greatest(histories.top, excluded.top)`, repositories, variants, keys, learned, packs, tops)
	const full = ` AND length(h.results) >= $4`
	b.Queue(`INSERT INTO chunks (test, chunk, top, results) SELECT h.test, h.chunk, h.top, h.results`+ofIDs+
		` JOIN histories h ON h.test = t.id`+full, repositories, variants, keys, store.FullChunk)
	b.Queue(`UPDATE histories h SET results = '', top = 0, chunk = h.chunk + 1`+ofIDs+` WHERE h.test = t.id`+full,
		repositories, variants, keys, store.FullChunk)
}

// moment is a time as it is stored, nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	cut := store.Cut(t)
	return &cut
}

// instant is the time that moment stored.
func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

const testColumns = `repository, variant, key, title, file, line, owner, state, why, until,
	runs, failures, flakes, rate, low, high, seconds, lost, size, first, last, failed`

// Tests are the rows that a query asks for. See [suite.Ledger].
func (s *Store) Tests(ctx context.Context, q suite.Query) (list []suite.Row, total int, err error) {
	if !store.Plain(q.Repository) || !store.Plain(q.Text) {
		return nil, 0, ctx.Err() // nothing is called so
	}
	where, args := "repository = $1", []any{q.Repository}
	if len(q.States) > 0 {
		var states []string
		healthy := false
		for _, state := range q.States {
			states, healthy = append(states, store.Clean(string(state))), healthy || state == record.TestHealthy
		}
		args = append(args, states)
		where += " AND state = ANY ($2)"
		if !healthy {
			where += " AND state <> 'healthy'" // word for word, so that the index is used
		}
	}
	if len(q.IDs) > 0 {
		_, variants, keys := columns(q.IDs)
		args = append(args, variants, keys)
		where += fmt.Sprintf(" AND (variant, key) IN (SELECT * FROM unnest($%d::text[], $%d::text[]))", len(args)-1, len(args))
	}
	if q.Text != "" {
		args = append(args, q.Text)
		where += fmt.Sprintf(" AND strpos(lower(title), lower($%d)) > 0", len(args))
	}
	if err := s.reads.QueryRow(ctx, "SELECT count(*) FROM tests WHERE "+where, args...).Scan(&total); err != nil {
		return nil, 0, s.explain("read", err)
	}
	rows, err := s.reads.Query(ctx, fmt.Sprintf("SELECT %s FROM tests WHERE %s ORDER BY %s LIMIT $%d OFFSET $%d",
		testColumns, where, store.TestOrder(q.Order), len(args)+1, len(args)+2), append(args, store.TestLimit(q.Limit), max(q.After, 0))...)
	if err != nil {
		return nil, 0, s.explain("read", err)
	}
	list, err = pgx.AppendRows(list, rows, func(row pgx.CollectableRow) (suite.Row, error) {
		var r suite.Row
		var state string
		var size int64
		var until, first, last, failed *time.Time
		err := row.Scan(&r.Repository, &r.Variant, &r.Key, &r.Title, &r.File, &r.Line, &r.Owner, &state, &r.Why, &until,
			&r.Runs, &r.Failures, &r.Flakes, &r.Rate, &r.Low, &r.High, &r.Seconds, &r.Lost, &size, &first, &last, &failed)
		r.State, r.Size = record.TestState(state), suite.Size(size)
		r.Until, r.First, r.Last, r.Failed = instant(until), instant(first), instant(last), instant(failed)
		return r, err
	})
	return list, total, s.explain("read", err)
}

// Results are the newest results of a test. See [suite.Ledger].
func (s *Store) Results(ctx context.Context, id suite.ID, before string, limit int) (results []suite.Result, err error) {
	var run int64
	if before != "" {
		if run, err = store.RunNumber(before); err != nil {
			return nil, s.explain("read", err)
		}
	}
	if repositories, _, _ := columns([]suite.ID{id}); repositories == nil {
		return nil, ctx.Err()
	}
	// One instant: a chunk that fills moves.
	err = pgx.BeginTxFunc(ctx, s.reads, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		results, err = readResults(ctx, tx, id, run, store.TestLimit(limit))
		return err
	})
	return results, s.explain("read", err)
}

func readResults(ctx context.Context, tx pgx.Tx, id suite.ID, before int64, limit int) ([]suite.Result, error) {
	var test int64
	var growing []byte
	chunks := make([]store.Chunk, 1)
	err := tx.QueryRow(ctx, `SELECT h.test, h.chunk, h.top, h.results FROM tests t JOIN histories h ON h.test = t.id
		WHERE t.repository = $1 AND t.variant = $2 AND t.key = $3`, id.Repository, id.Variant, id.Key).
		Scan(&test, &chunks[0].N, &chunks[0].Top, &growing)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	open := chunks[0].N
	rows, err := tx.Query(ctx, `SELECT chunk, top FROM chunks WHERE test = $1`, test)
	if err != nil {
		return nil, err
	}
	if chunks, err = pgx.AppendRows(chunks, rows, pgx.RowToStructByPos[store.Chunk]); err != nil {
		return nil, err
	}
	list, err := store.Page(chunks, before, limit, func(n int64) (chunk []byte, err error) {
		if n == open {
			return growing, nil
		}
		err = tx.QueryRow(ctx, `SELECT results FROM chunks WHERE test = $1 AND chunk = $2`, test, n).Scan(&chunk)
		return chunk, err
	})
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, p := range list {
		ids = append(ids, p.Report)
	}
	reports, err := readReports(ctx, tx, "id = ANY ($1)", ids)
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
	if !store.Plain(branch) {
		return grid, ctx.Err()
	}
	places := make(map[suite.ID][]int, len(ids))
	byRepository := map[string][]suite.ID{}
	for i, id := range ids {
		if places[id] == nil && store.Plain(id.Repository) {
			byRepository[id.Repository] = append(byRepository[id.Repository], id)
		}
		places[id] = append(places[id], i)
	}
	for repository, ids := range byRepository {
		reports, oldest, err := s.newestReports(ctx, repository, branch, runs)
		if err != nil {
			return nil, err
		}
		if len(reports) == 0 {
			continue
		}
		repositories, variants, keys := columns(ids)
		rows, err := s.reads.Query(ctx, `SELECT i.variant, i.key, h.results`+ofIDs+` JOIN histories h ON h.test = t.id WHERE h.top >= $4
			UNION ALL SELECT i.variant, i.key, c.results`+ofIDs+` JOIN chunks c ON c.test = t.id WHERE c.top >= $4`,
			repositories, variants, keys, oldest)
		if err != nil {
			return nil, err
		}
		cells := make(map[suite.ID][]store.Packed, len(ids))
		id := suite.ID{Repository: repository}
		var chunk []byte
		_, err = pgx.ForEachRow(rows, []any{&id.Variant, &id.Key, &chunk}, func() error {
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
	where, args := []string{"repository = $1"}, []any{repository}
	if branch != "" {
		where, args = append(where, "branch = $2"), append(args, branch)
	}
	var first *int64
	err = s.reads.QueryRow(ctx, fmt.Sprintf(`SELECT min(run) FROM (SELECT DISTINCT run FROM reports WHERE %s ORDER BY run DESC LIMIT $%d) r`,
		strings.Join(where, " AND "), len(args)+1), append(args, store.TestLimit(runs))...).Scan(&first)
	if err != nil || first == nil {
		return nil, 0, err
	}
	where, args = append(where, fmt.Sprintf("run >= $%d", len(args)+1)), append(args, *first)
	reports, err = readReports(ctx, s.reads, strings.Join(where, " AND "), args...)
	return reports, *first, err
}

// querier is the pool, or a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

func readReports(ctx context.Context, db querier, where string, args ...any) (map[int64]*store.Report, error) {
	reports := map[int64]*store.Report{}
	rows, err := db.Query(ctx, `SELECT id, repository, run, job, time, sha, branch, base, inputs, storm FROM reports WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	var r store.Report
	var inputs int64
	_, err = pgx.ForEachRow(rows, []any{&r.ID, &r.Repository, &r.Run, &r.Job, &r.Time, &r.Commit, &r.Branch, &r.Base, &inputs, &r.Storm}, func() error {
		one := r
		one.Time, one.Inputs = r.Time.UTC(), uint64(inputs)
		reports[r.ID] = &one
		return nil
	})
	return reports, err
}
