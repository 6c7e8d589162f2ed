// Package front is the HTTP reverse proxy that stands before the instances of
// services on one host, so that an instance can be replaced while its service is
// used.
//
// A [Table] says where requests go: which release of which service has which
// share of them. [Front.Apply] puts another one in its place, for the next
// request and all at once; it is on the disk before it counts, so that a front
// that is killed at any instant opens with the last table or with the one before,
// and never with none. Moving to a new release is
//
//	start it · Apply (weight to the new) · Drain (the old) · stop it
//
// and no request notices. Drain returns when nothing is under way to an instance
// any more, neither a request nor a WebSocket, and no connection is kept to it
// that could be picked up: from then on it may be stopped.
//
// A request goes its way on one goroutine: the table is one atomic pointer, the
// choice of a backend one atomic counter, and the connection to the instance is
// written and read by the goroutine that has the client's (see forward.go). What
// came of it is counted per instance ([Front.Counts]), and the counts are what
// canaries are judged by.
//
// The front belongs to a process that may be replaced as well: [Sockets] go from
// one to the next, which accepts while the old one ends ([Front.Shutdown]).
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what clients may do.
const (
	headerBytes = 64 << 10         // of a request's header; more is answered 431
	headerTime  = 10 * time.Second // until a request's header is there
	idleTime    = 2 * time.Minute  // how long a client's connection is kept without a request
	maxConns    = 16 << 10         // connections of clients at a time; others wait to be accepted
	maxWaiting  = 1024             // requests that wait for a service to come back; others are answered 503
)

// ErrFenced says that a table was refused because a later owner has written one.
var ErrFenced = errors.New("a later owner has written the table")

// ErrEnded says that the front has been shut down.
var ErrEnded = errors.New("the front has been shut down")

// Options of a front. The zero value will do.
type Options struct {
	Log *slog.Logger // what an operator should know; nil: nothing is said
	// Conns is how many connections of clients are held at a time; 0: 16,384. Those
	// beyond wait in the kernel until another ends.
	Conns int
}

// Front is the proxy. Its methods may be called at any time from any goroutine.
type Front struct {
	log   *slog.Logger
	state *state
	slots chan struct{} // one for each connection of a client
	plain *http.Server
	tls   *http.Server
	certs *certificates

	live atomic.Pointer[compiled] // what requests are led by

	mu       sync.Mutex // Apply, Pause, Shutdown: one at a time
	table    Table
	backends []*backend // those of the table, and those that still have requests
	services map[string]*service
	ended    bool

	change   atomic.Pointer[chan struct{}] // closed when a request that waits should look again
	born     time.Time
	unrouted atomic.Uint64
	clients  atomic.Uint32 // connections so far

	ending    atomic.Bool   // answers end their connections
	end       chan struct{} // closed by Shutdown
	linger    time.Duration // lingerTime, or what a test needs
	left      chan struct{} // told when a client's connection has ended
	buffers   sync.Pool     // of *[copySize]byte
	listeners map[*listener]struct{}
	tunnels   map[*tunnel]struct{} // upgraded connections
	open      sync.Mutex           // of listeners and tunnels
}

// Open returns the front whose state is in the directory, which is made if need
// be, with the table that was applied last. If what is there is damaged, it is
// the one before it, and Options.Log is told; if that is, too, the error says so
// and nothing is changed.
func Open(dir string, opts Options) (*Front, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Conns == 0 {
		opts.Conns = maxConns
	}
	st, err := openState(dir, disk{})
	if err != nil {
		return nil, fmt.Errorf("open the front's state: %w", err)
	}
	table, damage, err := st.load()
	if err != nil {
		return nil, fmt.Errorf("open the front's state: %w", err)
	}
	if damage != nil {
		opts.Log.Warn("the front's last table is damaged, and the one before it is used", "dir", dir, "damage", damage)
	}
	f := &Front{log: opts.Log, state: st, slots: make(chan struct{}, opts.Conns), certs: newCertificates(opts.Log), services: map[string]*service{},
		born: time.Now(), linger: lingerTime, end: make(chan struct{}), left: make(chan struct{}, 1), listeners: map[*listener]struct{}{}, tunnels: map[*tunnel]struct{}{}}
	f.buffers.New = func() any { return new([copySize]byte) }
	change := make(chan struct{})
	f.change.Store(&change)
	f.plain, f.tls = f.server(), f.server()
	f.tls.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: f.certs.get}
	f.adopt(table)
	return f, nil
}

func (f *Front) server() *http.Server {
	return &http.Server{Handler: f, MaxHeaderBytes: headerBytes, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug), ConnContext: clientContext(&f.clients)}
}

// Table is the table that requests are led by.
func (f *Front) Table() Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table
}

// Apply makes the table the one that requests are led by. It is checked, written
// and forced to the disk, and then holds for every request that has not chosen
// its backend yet. If anything fails, nothing has changed. The error is [ErrFenced]
// if the table's fence is lower than that of the last one, also if another
// process has written that.
func (f *Front) Apply(ctx context.Context, t Table) error {
	if err := errors.Join(t.Check(), t.certificates()); err != nil {
		return fmt.Errorf("check the table: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return fmt.Errorf("apply the table: %w", ErrEnded)
	}
	if t.Fence < f.table.Fence {
		return fmt.Errorf("apply the table: its fence is %d, and that of the last is %d: %w", t.Fence, f.table.Fence, ErrFenced)
	}
	if err := f.state.save(ctx, t); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	f.adopt(t)
	return nil
}

// Drain takes the backend out of use and returns when nothing is under way to it:
// no request, no WebSocket, and no kept connection. When the context ends
// before that, what is left is cut off, and the number says how many requests
// that were; it is 0 if all ended by themselves. A backend that is not known has
// nothing under way. An instance that was drained gets requests again when a table
// is applied that gives it a weight.
func (f *Front) Drain(ctx context.Context, name string) (cut int, err error) {
	f.mu.Lock()
	var named []*backend
	for _, b := range f.backends {
		if b.name == name {
			named = append(named, b)
			b.close()
		}
	}
	f.mu.Unlock()
	for _, b := range named {
		n, err := b.drain(ctx)
		cut += n
		if err != nil {
			return cut, err
		}
	}
	return cut, nil
}

// Pause lets requests to the service wait, up to Route.Hold ([HoldTime] if that
// is 0) and 1,024 at a time; others are answered 503 with Retry-After. It does not
// outlive the process: a table whose routes have Hold and no weights does.
func (f *Front) Pause(service string) { f.setPaused(service, true) }

// Resume lets the requests go on that Pause holds.
func (f *Front) Resume(service string) { f.setPaused(service, false) }

func (f *Front) setPaused(name string, paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.service(name).paused.Store(paused)
	f.wake()
}

// wake lets the requests that wait look again. Whoever calls it has f.mu.
func (f *Front) wake() {
	next := make(chan struct{})
	close(*f.change.Swap(&next))
}

// clock is the time since the front was opened, which no change of the wall
// clock moves.
func (f *Front) clock() int64 { return int64(time.Since(f.born)) }
