package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// maxHolder is how much of a holder's description is kept, and maxName how
// long a name may be.
const (
	maxHolder = 1024
	maxName   = 1024
)

// lease is a name that our session has.
type lease struct {
	tenure       *tenure
	name, holder string
	lost         chan struct{}

	session string    // as written by the last attempt to take it
	fresh   time.Time // when that attempt began the session; zero when it did not

	mu       sync.Mutex // of Release
	released bool
}

// Lease takes the name. See [store.Leases].
func (s *Store) Lease(ctx context.Context, name, holder string) (store.Lease, error) {
	if !store.Plain(name) || name == "" || len(name) > maxName {
		return nil, s.explain("lease from", errors.New("a lease needs a name, of at most 1024 bytes of text"))
	}
	l := &lease{tenure: s.tenure, name: name, holder: clip(holder), lost: make(chan struct{})}
	err := s.writer.write(ctx, "lease from", &operation{lease: l})
	var unknown *UnknownError
	if errors.As(err, &unknown) {
		// It may be ours, and would stay so for as long as the session lasts.
		s.tenure.lose(s.tenure.current())
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Release gives the name back.
func (l *lease) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	if l.tenure.holds(l) {
		err := l.tenure.store.writer.write(context.Background(), "release lease of", &operation{release: l})
		if err != nil && l.tenure.holds(l) && !errors.Is(err, store.ErrClosed) {
			return err
		}
	}
	l.released = true
	l.tenure.forget(l)
	return nil
}

// Lost is closed when the name is held no longer. See [store.Lease].
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Held says whether somebody living has the name. See [store.Leases].
func (s *Store) Held(ctx context.Context, name string) (holder string, held bool, err error) {
	if !store.Plain(name) {
		return "", false, nil
	}
	err = s.reads.QueryRow(ctx, `SELECT l.holder FROM leases l JOIN sessions s ON s.id = l.session
		WHERE l.name = $1 AND s.until > clock_timestamp()`, name).Scan(&holder)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, nil
	}
	return holder, err == nil, s.explain("read", err)
}

func clip(s string) string {
	s = store.Clean(strings.ReplaceAll(s, "\n", " "))
	if len(s) > maxHolder {
		s = strings.ToValidUTF8(s[:maxHolder], "")
	}
	return s
}

// tenure is our session in the database, and the leases that belong to it. They
// are lost together, and then the next lease begins another session.
type tenure struct {
	store *Store
	time  time.Duration

	mu      sync.Mutex
	session string            // "": none
	held    map[string]*lease // by name
	lost    map[string]*lease // lost and not yet released, by name
	expiry  *time.Timer       // loses the session when it was not prolonged
	beat    sync.Once         // starts the heartbeat
	ctx     context.Context   // of the heartbeat
	cancel  context.CancelFunc
	beating sync.WaitGroup
}

func newTenure(s *Store, d time.Duration) *tenure {
	t := &tenure{store: s, time: d, held: map[string]*lease{}, lost: map[string]*lease{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// safe is how long after its last prolongation we rely on the session. The
// others wait for all of its time, by the database's clock.
func (t *tenure) safe() time.Duration { return t.time * 2 / 3 }

func (t *tenure) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.session
}

func (t *tenure) holds(l *lease) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held[l.name] == l
}

func (t *tenure) forget(l *lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range []map[string]*lease{t.held, t.lost} {
		if m[l.name] == l {
			delete(m, l.name)
		}
	}
}

// settle notes which leases a committed transaction has taken.
func (t *tenure) settle(batch []*operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, op := range batch {
		l := op.lease
		if l == nil || op.err != nil {
			continue
		}
		if t.session == "" && !l.fresh.IsZero() {
			t.session = l.session
			t.expire(l.session, l.fresh)
			t.beat.Do(func() { t.beating.Go(t.run) })
		}
		if t.session == l.session {
			t.held[l.name] = l
			continue
		}
		// The session was lost while it was given another lease.
		t.lost[l.name] = l
		close(l.lost)
	}
}

// expire has the session, which was prolonged at that instant, lost unless it is
// prolonged again. The caller has the lock.
func (t *tenure) expire(session string, prolonged time.Time) {
	if t.expiry != nil {
		t.expiry.Stop()
	}
	t.expiry = time.AfterFunc(time.Until(prolonged.Add(t.safe())), func() { t.lose(session) })
}

// lose gives up the session, if it is ours still, and tells all who hold something by it.
func (t *tenure) lose(session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if session == "" || session != t.session {
		return
	}
	t.session = ""
	t.expiry.Stop()
	for name, l := range t.held {
		t.lost[name] = l
		close(l.lost)
	}
	clear(t.held)
}

// refuse is the error of events of a run whose lease we had and have lost:
// whoever has it now must not find them between its own. The check and the taking
// of leases are both done with the record locked.
func (t *tenure) refuse(events []record.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lost) == 0 {
		return nil
	}
	for _, e := range events {
		name := store.RunLease(e.Run)
		if e.Run != "" && t.lost[name] != nil && t.held[name] == nil {
			return &LostError{name}
		}
	}
	return nil
}

// run prolongs the session until the store is closed. It has a connection of its
// own: no work, however much, keeps it waiting.
func (t *tenure) run() {
	tick := time.NewTicker(t.time / 5)
	defer tick.Stop()
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = closeConn(conn)
		}
	}()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		session := t.current()
		if session == "" {
			continue
		}
		var err error
		if conn, err = t.prolong(conn, session); err != nil && conn != nil {
			_ = closeConn(conn)
			conn = nil
		}
	}
}

// prolong prolongs the session, by the connection if there is one. That it fails
// is no news: the session expires when it fails for long enough.
func (t *tenure) prolong(conn *pgx.Conn, session string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.time/3)
	defer cancel()
	if conn == nil {
		var err error
		if conn, err = pgx.ConnectConfig(ctx, t.store.config); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	tag, err := conn.Exec(ctx, `UPDATE sessions SET until = clock_timestamp() + $2
		WHERE id = $1 AND until > clock_timestamp()`, session, t.time)
	if err != nil {
		return conn, err
	}
	if tag.RowsAffected() == 0 {
		t.lose(session)
		return conn, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == session {
		t.expire(session, start)
	}
	return conn, nil
}

// end ends the heartbeat. What is still held is lost: nobody prolongs it.
func (t *tenure) end() {
	t.cancel()
	t.beating.Wait()
	t.lose(t.current())
}
