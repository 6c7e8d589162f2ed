package insight

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	again = 5 * time.Second // until a reader that failed tries once more
	// learnWithin is how long the end of a run may be held up by learning from it. Whoever
	// learns next goes on.
	learnWithin = 3 * time.Second
)

var errLeaseLost = errors.New("the lease was lost: the store could not be reached for too long")

// reader follows the record for one who learns from it. Of all processes one reads at a
// time: whichever holds the lease.
type reader struct {
	lease string // its name
	who   string // "who learns of tests"
	doing string // "learn of tests", for complaints
	pause time.Duration
	store store.Leases
	runs  interface {
		Watch(ctx context.Context, seq int64) (int64, error)
	}
	learn func(ctx context.Context, lease store.Lease) error // to the end of the record
	log   func(doing string, err error)                      // nil: nobody is told
}

// once learns while it holds the lease. The error is a [store.HeldError] when somebody
// else is at it.
func (r *reader) once(ctx context.Context, learn func(ctx context.Context, lease store.Lease) error) error {
	lease, err := r.store.Lease(ctx, r.lease, r.who)
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release() }()
	return learn(ctx, lease)
}

// follow learns until ctx ends.
func (r *reader) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.once(ctx, r.rounds)
		var held *store.HeldError
		if err != nil && ctx.Err() == nil && !errors.As(err, &held) {
			r.complain(r.doing, err)
		}
		rest(ctx, again)
	}
}

// rounds learns each time that the record has grown.
func (r *reader) rounds(ctx context.Context, lease store.Lease) error {
	for {
		seen, err := r.runs.Watch(ctx, -1)
		if err != nil {
			return err
		}
		if err := r.learn(ctx, lease); err != nil {
			return err
		}
		if _, err := r.runs.Watch(ctx, seen); err != nil {
			return err
		}
		rest(ctx, r.pause)
	}
}

// lost is an error when the lease is.
func lost(lease store.Lease) error {
	select {
	case <-lease.Lost():
		return errLeaseLost
	default:
		return nil
	}
}

func (r *reader) complain(doing string, err error) {
	if r.log != nil && err != nil {
		r.log(doing, err)
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, long time.Duration) {
	if long == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(long):
	}
}
