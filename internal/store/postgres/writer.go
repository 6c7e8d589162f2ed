package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// maxBatch is the most operations in one transaction, so that the first
	// of them need not wait for an endless stream of others.
	maxBatch = 1024
	// A statement inserts so many events, or so many bytes of them.
	insertEvents = 1000
	insertBytes  = 8 << 20
)

// operation is one caller's part of a transaction. It is data and not a function,
// so that all callers' parts cross the wire together.
type operation struct {
	ctx     context.Context
	changes []record.Register
	events  []record.Event
	rows    []store.Row // of the events
	mark    *mark
	learn   *learning
	begin   *beginning
	lease   *lease // to take
	release *lease

	state atomic.Int32   // queued, then taken or withdrawn
	out   []record.Event // as readers see them
	err   error
	done  chan struct{}
}

type mark struct {
	reader string
	seq    int64
}

// beginning is a run that is to have an ID and a number.
type beginning struct {
	repository, file string
	id, number       int64
}

const (
	queued int32 = iota
	taken
	withdrawn
)

// writer puts what callers want written at the same time into one
// transaction.
type writer struct {
	store *Store
	id    string // in the table writers

	mu      sync.Mutex
	waiting []*operation
	closed  bool
	wake    chan struct{} // holds one token when there may be something to do
	done    chan struct{} // closed when the goroutine has ended

	// Of the goroutine alone:
	conn    *pgx.Conn // nil: to be connected again
	attempt int64     // counts transactions
	swept   time.Time // when rows that have had their time were last removed
}

func newWriter(s *Store, c *pgx.Conn) *writer {
	w := &writer{store: s, id: newID(), conn: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// write has the operation written and returns when it has been committed.
// If ctx ends before the transaction has begun, nothing is written.
func (w *writer) write(ctx context.Context, doing string, op *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op.ctx, op.done = ctx, make(chan struct{})
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return store.ErrClosed
	}
	w.waiting = append(w.waiting, op)
	w.mu.Unlock()
	w.poke()

	select {
	case <-op.done:
	case <-ctx.Done():
		if op.state.CompareAndSwap(queued, withdrawn) {
			return ctx.Err()
		}
		<-op.done
	}
	return w.store.explain(doing, op.err)
}

func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	<-w.done
}

func (w *writer) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		batch, closed := w.waiting, w.closed
		if len(batch) > maxBatch {
			batch, w.waiting = batch[:maxBatch:maxBatch], batch[maxBatch:]
		} else {
			w.waiting = nil
		}
		w.mu.Unlock()

		switch {
		case len(batch) > 0:
			w.commit(batch)
		case closed:
			w.leave()
			return
		default:
			<-w.wake
		}
	}
}

// leave takes the process out of the database's books. Where that fails, a sweep
// does it in a day.
func (w *writer) leave() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = w.conn.Exec(ctx, "DELETE FROM writers WHERE id = $1", w.id)
	if session := w.store.tenure.current(); session != "" {
		_, _ = w.conn.Exec(ctx, "DELETE FROM sessions WHERE id = $1", session)
	}
	_ = closeConn(w.conn)
}

// commit writes a batch and tells its callers. When the database goes away it is
// waited for. When the batch fails, each operation is tried alone, so that a
// caller is told of its own failure only.
func (w *writer) commit(batch []*operation) {
	var live []*operation
	for _, op := range batch {
		if op.state.CompareAndSwap(queued, taken) {
			live = append(live, op)
		}
	}
	err := w.persist(live)
	var unknown *UnknownError
	if err != nil && len(live) > 1 && !errors.As(err, &unknown) && !passing(err) {
		for _, op := range live {
			finish([]*operation{op}, w.persist([]*operation{op}))
		}
		return
	}
	finish(live, err)
}

func finish(batch []*operation, err error) {
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		close(op.done)
	}
}

// persist tries until the batch is committed, or refused for good, or the
// database has been away for too long.
func (w *writer) persist(batch []*operation) error {
	start := time.Now()
	for pause := outagePause; ; pause = min(2*pause, outagePoll) {
		var live []*operation
		for _, op := range batch {
			// Between two attempts nothing is written, and callers may go.
			if op.err = op.ctx.Err(); op.err == nil {
				live = append(live, op)
			}
		}
		if len(live) == 0 {
			return nil
		}
		committing, err := w.try(live)
		if err != nil && committing {
			var committed bool
			committed, err = w.outcome(start, err)
			if committed {
				err = nil
			}
		}
		if err == nil {
			w.store.tenure.settle(live)
			w.store.watchers.tell()
			return nil
		}
		if !passing(err) || time.Since(start) > outage {
			return err
		}
		time.Sleep(pause)
	}
}

// outcome finds out whether the last attempt, whose answer was lost, was committed.
// If not, the error is that which it had.
func (w *writer) outcome(start time.Time, lost error) (committed bool, err error) {
	for pause := outagePause; ; pause = min(2*pause, outagePoll) {
		err := w.roundTrip(func(ctx context.Context) error {
			tx, err := w.conn.Begin(ctx)
			if err != nil {
				return err
			}
			// With the lock ours, the last attempt is over one way or the other.
			var attempt int64
			err = tx.QueryRow(ctx, `SELECT coalesce((SELECT attempt FROM writers WHERE id = $1), 0) FROM head FOR UPDATE`, w.id).Scan(&attempt)
			if err == nil {
				// The lock may have been waited for, and the row is that of before.
				err = tx.QueryRow(ctx, `SELECT coalesce((SELECT attempt FROM writers WHERE id = $1), 0)`, w.id).Scan(&attempt)
			}
			committed = attempt == w.attempt
			return errors.Join(err, tx.Rollback(ctx))
		})
		switch {
		case err == nil && committed:
			return true, nil
		case err == nil:
			return false, lost
		case time.Since(start) > outage || !passing(err):
			return false, &UnknownError{err}
		}
		time.Sleep(pause)
	}
}

// roundTrip has do called with a connection. After an error of the connection the
// next call has a new one.
func (w *writer) roundTrip(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	if w.conn == nil {
		c, err := w.store.connect(ctx)
		if err != nil {
			return err
		}
		w.conn = c
	}
	err := do(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // which is no caller's context
		err = fmt.Errorf("%w within %v", errSlow, statementLimit)
	}
	var refused *refusedError
	if !w.conn.IsClosed() && (sqlState(err) != "" || errors.As(err, &refused)) {
		if w.conn.PgConn().TxStatus() == 'I' {
			return err
		}
		if _, rollback := w.conn.Exec(ctx, "ROLLBACK"); rollback == nil {
			return err
		}
	}
	_ = closeConn(w.conn)
	w.conn = nil
	return err
}

// passing reports whether an error is one that goes away by itself: the
// database cannot be reached, or ends the connection, or begins.
func passing(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// An error that is not the server's is the connection's.
		var mine *refusedError
		return err != nil && !errors.As(err, &mine)
	}
	switch {
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "57P"), // connections; shutting down, starting
		e.Code == "25P03", e.Code == "25006", e.Code == "53300", // we slept too long; it is a standby still; too many connections
		e.Code == "40001", e.Code == "40P01": // others were in the way
		return true
	}
	return false
}

// errSlow says that a round trip has taken too long.
var errSlow = errors.New("the database has not answered")

// refusedError is an error of an operation that no other attempt makes better.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// try writes the batch in one transaction: a round trip to lock the record and to
// read what decides, and one to write. With an error, committing says that the
// transaction may have been committed all the same.
func (w *writer) try(batch []*operation) (committing bool, err error) {
	w.attempt++
	t := &transaction{writer: w, batch: batch, sweep: time.Since(w.swept) > sweepEvery}
	err = w.roundTrip(func(ctx context.Context) error {
		if err := w.conn.SendBatch(ctx, t.ask()).Close(); err != nil {
			return err
		}
		b, err := t.answer()
		if err != nil {
			return &refusedError{err}
		}
		if b == nil {
			_, err := w.conn.Exec(ctx, "ROLLBACK")
			return err
		}
		err = w.conn.SendBatch(ctx, b).Close()
		committing = err != nil && (w.conn.IsClosed() || sqlState(err) == "")
		return err
	})
	if err == nil && t.sweep {
		w.swept = time.Now()
	}
	return committing, err
}

// transaction is one attempt to write a batch.
type transaction struct {
	writer *writer
	batch  []*operation
	sweep  bool

	// What the database says:
	seq, run int64
	now      time.Time
	tenured  bool // our session lasts
	session  string
	versions map[[2]string]int64
	numbers  map[[2]string]int64
	holders  map[string]string
	learned  map[string]int64 // marks of readers who learn
	report   int64            // the newest report of tests
}

// ask is the first half: lock, and read what decides.
func (t *transaction) ask() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue("SELECT seq, run, clock_timestamp() FROM head FOR UPDATE").QueryRow(func(r pgx.Row) error {
		return r.Scan(&t.seq, &t.run, &t.now)
	})
	if t.session = t.writer.store.tenure.current(); t.session != "" {
		b.Queue("SELECT EXISTS (SELECT FROM sessions WHERE id = $1 AND until > clock_timestamp())", t.session).
			QueryRow(func(r pgx.Row) error { return r.Scan(&t.tenured) })
	}
	t.versions, t.numbers, t.holders = map[[2]string]int64{}, map[[2]string]int64{}, map[string]string{}
	var kinds, ids, names []string
	for _, op := range t.batch {
		for _, r := range op.changes {
			kinds, ids = append(kinds, r.Kind), append(ids, r.ID)
		}
		if op.lease != nil {
			names = append(names, op.lease.name)
		}
		if g := op.begin; g != nil {
			key := [2]string{g.repository, g.file}
			if _, asked := t.numbers[key]; !asked {
				t.numbers[key] = 0
				b.Queue("SELECT coalesce(max(number), 0) FROM runs WHERE repository = $1 AND file = $2", g.repository, g.file).
					QueryRow(func(r pgx.Row) error {
						var n int64
						err := r.Scan(&n)
						t.numbers[key] = n
						return err
					})
			}
		}
	}
	if len(kinds) > 0 {
		b.Queue(`SELECT kind, id, version FROM registers WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
			AND (expires IS NULL OR expires > clock_timestamp())`, kinds, ids).Query(func(rows pgx.Rows) error {
			var kind, id string
			var version int64
			_, err := pgx.ForEachRow(rows, []any{&kind, &id, &version}, func() error {
				t.versions[[2]string{kind, id}] = version
				return nil
			})
			return err
		})
	}
	t.askLearned(b)
	if len(names) > 0 {
		// The lock is on the session: while we decide nobody prolongs it.
		b.Queue(`SELECT l.name, l.holder, s.until > clock_timestamp() FROM leases l JOIN sessions s ON s.id = l.session
			WHERE l.name = ANY ($1) FOR UPDATE OF s`, names).Query(func(rows pgx.Rows) error {
			var name, holder string
			var lives bool
			_, err := pgx.ForEachRow(rows, []any{&name, &holder, &lives}, func() error {
				if lives {
					t.holders[name] = holder
				}
				return nil
			})
			return err
		})
	}
	return b
}

// answer decides what becomes of each operation, and is the second half: write. It is
// nil when there is nothing to write.
func (t *transaction) answer() (*pgx.Batch, error) {
	b := &pgx.Batch{}
	tenure := t.writer.store.tenure
	if t.session != "" && !t.tenured {
		tenure.lose(t.session)
	}
	w := writes{registers: map[[2]string]record.Register{}, marks: map[string]int64{}}
	for _, op := range t.batch {
		if op.err = t.refuse(op); op.err != nil {
			continue
		}
		w.any = true
		for _, r := range op.changes {
			key := [2]string{r.Kind, r.ID}
			if r.Version++; r.Body == nil {
				r.Version = 0
			}
			t.versions[key], w.registers[key] = r.Version, r
		}
		if op.mark != nil {
			w.marks[op.mark.reader] = op.mark.seq
		}
		if op.learn != nil {
			if err := t.learn(b, op.learn); err != nil {
				return nil, err
			}
			w.marks[op.learn.reader] = op.learn.seq
		}
		if g := op.begin; g != nil {
			key := [2]string{g.repository, g.file}
			t.run++
			t.numbers[key]++
			g.id, g.number = t.run, t.numbers[key]
			b.Queue("INSERT INTO runs (id, repository, file, number) VALUES ($1, $2, $3, $4)", g.id, g.repository, g.file, g.number)
		}
		if l := op.lease; l != nil {
			l.fresh = time.Time{}
			if t.session == "" || !t.tenured {
				t.session, t.tenured, l.fresh = newID(), true, time.Now()
				b.Queue("INSERT INTO sessions (id, until) VALUES ($1, clock_timestamp() + $2)", t.session, tenure.time)
			}
			l.session, t.holders[l.name] = t.session, l.holder
			b.Queue(`INSERT INTO leases (name, holder, session) VALUES ($1, $2, $3)
				ON CONFLICT (name) DO UPDATE SET holder = $2, session = $3`, l.name, l.holder, l.session)
		}
		if l := op.release; l != nil {
			delete(t.holders, l.name)
			b.Queue("DELETE FROM leases WHERE name = $1 AND session = $2", l.name, l.session)
		}
		if err := t.append(b, op, &w); err != nil {
			return nil, err
		}
	}
	if !w.any {
		return nil, nil
	}
	w.queue(b, t.now)
	if t.sweep {
		sweep(b)
	}
	b.Queue(`INSERT INTO writers (id, attempt, at) VALUES ($1, $2, now()) ON CONFLICT (id) DO UPDATE SET attempt = $2, at = now()`,
		t.writer.id, t.writer.attempt)
	b.Queue("UPDATE head SET seq = $1, run = $2", t.seq, t.run)
	if len(w.rows) > 0 {
		b.Queue("SELECT pg_notify($1, '')", t.writer.store.channel())
	}
	b.Queue("COMMIT")
	return b, nil
}

// refuse says why an operation cannot be; nil when it can.
func (t *transaction) refuse(op *operation) error {
	for _, r := range op.changes {
		if t.versions[[2]string{r.Kind, r.ID}] != r.Version {
			return store.Conflict(r)
		}
	}
	if l := op.lease; l != nil {
		if holder, held := t.holders[l.name]; held {
			return &store.HeldError{Name: l.name, Holder: holder}
		}
	}
	if l := op.learn; l != nil && t.learned[l.reader] >= l.seq {
		return store.Learnt(l.reader, l.seq, t.learned[l.reader])
	}
	return t.writer.store.tenure.refuse(op.events)
}

// append gives an operation's events their Seqs.
func (t *transaction) append(b *pgx.Batch, op *operation, w *writes) error {
	if len(op.rows) == 0 {
		return nil
	}
	op.out = make([]record.Event, len(op.rows))
	now := store.Cut(time.Now())
	for i, r := range op.rows {
		t.seq++
		if r.Event.Seq = t.seq; r.Event.Time.IsZero() {
			r.Event.Time = now
		}
		op.out[i] = r.Event
		op.out[i].Body = op.events[i].Body
		w.rows = append(w.rows, r)
		if err := project(b, op.out[i], r.Run); err != nil {
			return err
		}
		t.run = max(t.run, r.Run)
	}
	return nil
}

// writes are what all operations of a transaction write together.
type writes struct {
	any       bool
	registers map[[2]string]record.Register
	marks     map[string]int64
	rows      []store.Row
}

func (w *writes) queue(b *pgx.Batch, now time.Time) {
	queueRegisters(b, w.registers, now)
	if len(w.marks) > 0 {
		var readers []string
		var seqs []int64
		for reader, seq := range w.marks {
			readers, seqs = append(readers, reader), append(seqs, seq)
		}
		b.Queue(`INSERT INTO marks (reader, seq) SELECT * FROM unnest($1::text[], $2::bigint[])
			ON CONFLICT (reader) DO UPDATE SET seq = excluded.seq`, readers, seqs)
	}
	for rows := w.rows; len(rows) > 0; {
		n := 0
		for size := 0; n < len(rows) && n < insertEvents && size < insertBytes; n++ {
			size += rows[n].Size()
		}
		queueRows(b, rows[:n])
		rows = rows[n:]
	}
}

// queueRows inserts rows of events, column by column.
func queueRows(b *pgx.Batch, rows []store.Row) {
	n := len(rows)
	seqs, times, runs := make([]int64, n), make([]time.Time, n), make([]*int64, n)
	jobs, names, kinds := make([]string, n), make([]string, n), make([]string, n)
	bodies, packed := make([]*string, n), make([][]byte, n)
	for i := range rows {
		r := &rows[i]
		seqs[i], times[i], jobs[i], names[i], kinds[i] = r.Event.Seq, r.Event.Time, r.Event.Job, r.Event.Step, string(r.Kind)
		if r.Run != 0 {
			runs[i] = &r.Run
		}
		if packed[i] = r.Packed; r.Packed == nil {
			bodies[i] = &r.Text
		}
	}
	b.Queue(`INSERT INTO events (seq, time, run, job, step, kind, body, packed)
		SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[])`,
		seqs, times, runs, jobs, names, kinds, bodies, packed)
}

// LostError says that a run's events were not recorded because its lease is no
// longer held: somebody else may have it.
type LostError struct{ Name string }

func (e *LostError) Error() string {
	return fmt.Sprintf("%s is no longer held by this process: the database was out of reach for too long", e.Name)
}
