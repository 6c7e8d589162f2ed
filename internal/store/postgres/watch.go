package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// watchPoll is how often the record is asked for what other processes have
	// appended when the database cannot tell us, as behind some poolers. What
	// this process appends is known at once, and what others do a moment later.
	watchPoll = time.Second
	// listenPause is how long after a failure the listener connects again.
	listenPause = 250 * time.Millisecond
)

// watchers are the callers of Watch.
type watchers struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something was written
	cancel  context.CancelFunc
	done    chan struct{} // of the listener; nil when there is none
}

// tell wakes all who wait: something was committed.
func (w *watchers) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// next is closed when something was written. The first who waits starts the
// listener.
func (w *watchers) next(s *Store) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		var ctx context.Context
		ctx, w.cancel = context.WithCancel(context.Background())
		w.done = make(chan struct{})
		go s.listen(ctx, w.done)
	}
	return w.changed
}

func (w *watchers) close() {
	w.mu.Lock()
	done := w.done
	w.mu.Unlock()
	if done != nil {
		w.cancel()
		<-done
	}
}

// channel is what the database is told to wake listeners by.
func (s *Store) channel() string { return fmt.Sprintf("fairlead_%016x", uint64(lockKey(s.schema))) }

// listen wakes watchers when other processes have appended.
func (s *Store) listen(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	for ctx.Err() == nil {
		// Why it ended is of no interest: who waits asks the database, and is told.
		_ = s.listenOnce(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return err
	}
	for {
		s.watchers.tell() // at first for what was missed
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// Watch waits until the record goes beyond seq, whichever process appended,
// and returns the newest Seq. It ends with ctx's error, or with
// [store.ErrClosed].
func (s *Store) Watch(ctx context.Context, seq int64) (int64, error) {
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	for {
		select {
		case <-s.writer.done:
			return 0, store.ErrClosed
		default:
		}
		changed := s.watchers.next(s)
		newest, err := s.newest(ctx)
		if err != nil || newest > seq {
			return newest, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.writer.done:
			return 0, store.ErrClosed
		case <-changed:
		case <-tick.C:
		}
	}
}

// newest is the Seq of the newest event, 0 when there is none.
func (s *Store) newest(ctx context.Context) (seq int64, err error) {
	err = s.reads.QueryRow(ctx, `SELECT seq FROM head`).Scan(&seq)
	return seq, s.explain("read", err)
}
