package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/store"
)

// watchPoll is how often the record is asked for what other processes have
// appended. What this process appends is known at once.
const watchPoll = 25 * time.Millisecond

// watchers are the callers of Watch.
type watchers struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something was written
}

// tell wakes all who wait: something was committed here.
func (w *watchers) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watchers) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Watch waits until the record goes beyond seq, whichever process appended,
// and returns the newest Seq. It ends with ctx's error, or with
// [store.ErrClosed].
func (s *Store) Watch(ctx context.Context, seq int64) (int64, error) {
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	for {
		changed := s.watchers.next()
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
	err = s.reads.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM events`).Scan(&seq)
	return seq, s.explain("read", err)
}
