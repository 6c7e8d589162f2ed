package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// busyLimit is how long the writer waits for other processes before it
	// gives up. A transaction takes far less than a second; one that lasts
	// this long belongs to a process that is stopped.
	busyLimit = 60 * time.Second
	// maxBatch is the most operations in one transaction, so that the first
	// of them need not wait for an endless stream of others.
	maxBatch = 1024
)

// conn is the writing connection. It belongs to one goroutine.
type conn struct {
	db    *sql.DB
	c     *sql.Conn
	stmts map[string]*sql.Stmt
	swept int64 // when registers that have expired were last removed, in microseconds since 1970
}

func openConn(ctx context.Context, dsn string) (*conn, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &conn{db: db, c: c, stmts: map[string]*sql.Stmt{}}, nil
}

// prepared is the statement, which is prepared once for each connection.
// Nothing here takes a caller's context: a transaction that others share is
// not ended because one of them has gone.
func (c *conn) prepared(query string) (*sql.Stmt, error) {
	if st := c.stmts[query]; st != nil {
		return st, nil
	}
	st, err := c.c.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = st
	return st, nil
}

func (c *conn) exec(query string, args ...any) (sql.Result, error) {
	st, err := c.prepared(query)
	if err != nil {
		return nil, err
	}
	return st.Exec(args...)
}

func (c *conn) row(dest []any, query string, args ...any) error {
	st, err := c.prepared(query)
	if err != nil {
		return err
	}
	return st.QueryRow(args...).Scan(dest...)
}

// begin begins a writing transaction, when the other processes let it.
func (c *conn) begin() error {
	_, err := c.exec("BEGIN IMMEDIATE")
	if err == nil {
		return nil
	}
	switch code(err) {
	case sqlite3.SQLITE_ERROR:
		// A commit that failed has left its transaction open.
		c.rollback()
		_, err = c.exec("BEGIN IMMEDIATE")
	}
	for start := time.Now(); busy(err) && time.Since(start) < busyLimit; {
		_, err = c.exec("BEGIN IMMEDIATE")
	}
	return err
}

func busy(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// rollback ends the transaction. SQLite may have done so already, and says so
// by an error that means nothing to us.
func (c *conn) rollback() { _, _ = c.exec("ROLLBACK") }

func (c *conn) close() error {
	var errs []error
	for _, st := range c.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, c.c.Close(), c.db.Close())...)
}

// writer puts what callers want written at the same time into one
// transaction.
type writer struct {
	store *Store
	conn  *conn

	mu      sync.Mutex
	waiting []*operation
	closed  bool
	wake    chan struct{} // holds one token when there may be something to do

	done     chan struct{} // closed when the goroutine has ended
	closeErr error
}

// operation is one caller's part of a transaction. Its do may be called again
// when the transaction it was part of has failed.
type operation struct {
	do    func(*conn) error
	state atomic.Int32 // queued, then taken or withdrawn
	err   error
	done  chan struct{}
}

// refusal is the error of an operation that has read, and has written
// nothing: those that share its transaction go on.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

const (
	queued int32 = iota
	taken
	withdrawn
)

func newWriter(s *Store, c *conn) *writer {
	w := &writer{store: s, conn: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// write has do called in a transaction and returns when it has been committed.
// If ctx ends before the transaction has begun, nothing is written.
func (w *writer) write(ctx context.Context, doing string, do func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := &operation{do: do, done: make(chan struct{})}
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
			w.closeErr = w.conn.close()
			return
		default:
			<-w.wake
		}
	}
}

// commit writes a batch and tells its callers. When the batch fails, each
// operation is tried alone, so that a caller is told of its own failure only.
func (w *writer) commit(batch []*operation) {
	err := w.try(batch)
	if err != nil && len(batch) > 1 && !busy(err) {
		for _, op := range batch {
			if op.state.Load() != withdrawn {
				w.finish([]*operation{op}, w.try([]*operation{op}))
			}
		}
		return
	}
	w.finish(batch, err)
}

func (w *writer) finish(batch []*operation, err error) {
	for _, op := range batch {
		if err != nil {
			op.err = err
		}
		close(op.done)
	}
}

func (w *writer) try(batch []*operation) error {
	if err := w.conn.begin(); err != nil {
		return err
	}
	for _, op := range batch {
		if !op.state.CompareAndSwap(queued, taken) && op.state.Load() == withdrawn {
			continue
		}
		var refused *refusal
		switch op.err = op.do(w.conn); {
		case errors.As(op.err, &refused):
			op.err = refused.err
		case op.err != nil:
			w.conn.rollback()
			return op.err
		}
	}
	if _, err := w.conn.exec("COMMIT"); err != nil {
		w.conn.rollback()
		return err
	}
	w.store.watchers.tell()
	return nil
}

func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	<-w.done
	if w.closeErr != nil {
		return fmt.Errorf("close record: %w", w.closeErr)
	}
	return nil
}
