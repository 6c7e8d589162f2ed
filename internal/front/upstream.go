package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	keepTime = 30 * time.Second // how long a connection to an instance is kept without a request
	// freshTime is the same for a request that must not be sent twice: an instance
	// that closes what was kept for longer may be about to do it.
	freshTime  = time.Second
	keptConns  = 256             // connections kept to an instance
	outTime    = 2 * time.Second // how long an instance that refuses connections is left out
	headerSize = 1 << 20         // bytes of an answer's header
)

// backend is an instance, from the table that names it first until it is gone. It
// knows what is under way to it, so that it can be emptied.
//
// A request counts itself in (acquire) and only then looks whether the backend is
// still in use; drain first says that it is not, and only then looks at the
// count. So whichever comes second sees the other, and when drain has seen 0 no
// request will begin any more, whatever table it was led by.
type backend struct {
	name, release    string
	network, address string
	service          *service
	listed           bool // in the table; under Front.mu

	tally    *tally
	inFlight atomic.Int64
	closed   atomic.Bool   // takes no request: drained, or in no table
	emptied  chan struct{} // tells a drain to look again
	outUntil atomic.Int64  // left out until then, on the front's clock

	mu    sync.Mutex
	conns map[*conn]struct{} // all that are open
	idle  []*conn            // those of them that are kept, the last used last
	sweep *time.Timer        // closes those that were kept too long
	cut   bool               // no connection may be opened
}

func newBackend(b Backend, s *service) *backend {
	network := "tcp"
	if filepath.IsAbs(b.Address) {
		network = "unix"
	}
	return &backend{name: b.Name, release: b.Release, network: network, address: b.Address, service: s,
		tally: newTally(), emptied: make(chan struct{}, 1), conns: map[*conn]struct{}{}}
}

// acquire counts a request in, unless the backend takes none.
func (b *backend) acquire() bool {
	b.inFlight.Add(1)
	if b.closed.Load() {
		b.leave()
		return false
	}
	return true
}

// leave counts a request out.
func (b *backend) leave() {
	if b.inFlight.Add(-1) == 0 && b.closed.Load() {
		b.wake()
	}
}

// open puts the backend into use.
func (b *backend) open() {
	b.mu.Lock()
	b.cut = false
	b.mu.Unlock()
	b.closed.Store(false)
	b.wake()
}

// wake tells a drain to look again.
func (b *backend) wake() {
	select {
	case b.emptied <- struct{}{}:
	default:
	}
}

// close takes it out of use: it gets no new requests.
func (b *backend) close() {
	b.closed.Store(true)
	b.closeIdle()
}

var errReopened = errors.New("a table gave it requests again")

// drain is Front.Drain.
func (b *backend) drain(ctx context.Context) (cut int, err error) {
	b.close()
	for b.inFlight.Load() > 0 {
		select {
		case <-b.emptied:
		case <-ctx.Done():
			if !b.closed.Load() {
				return 0, fmt.Errorf("drain %s: %w", b.name, errReopened)
			}
			cut = int(b.inFlight.Load())
			b.closeAll()
			return cut, nil
		}
		if !b.closed.Load() {
			return 0, fmt.Errorf("drain %s: %w", b.name, errReopened)
		}
	}
	b.closeIdle()
	b.wake() // another drain of the same instance may wait as well
	return 0, nil
}

func (b *backend) closeIdle() {
	b.mu.Lock()
	idle := b.idle
	b.idle = nil
	for _, c := range idle {
		delete(b.conns, c)
	}
	b.mu.Unlock()
	for _, c := range idle {
		c.Conn.Close()
	}
}

func (b *backend) closeAll() {
	b.mu.Lock()
	b.cut = true
	all := b.conns
	b.conns, b.idle = map[*conn]struct{}{}, nil
	b.mu.Unlock()
	for c := range all {
		c.Conn.Close()
	}
}

// conn is a connection to an instance. One goroutine has it at a time.
type conn struct {
	net.Conn
	b     *backend
	raw   syscall.RawConn
	in    *bufio.Reader
	out   *bufio.Writer
	since time.Time // kept since then
	used  bool      // has carried a request before this one
	left  int       // bytes that may still be read as a header; negative: no limit
	sent  bool      // a byte of this request was written
	heard bool      // a byte of its answer was read

	peeked error // what peek found
	look   func(fd uintptr) bool
}

var errHeaderSize = fmt.Errorf("the header of the answer is larger than %d bytes", headerSize)

// Read is what in reads from.
func (c *conn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errHeaderSize
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard = true
		if c.left > 0 {
			c.left = max(c.left-n, 0)
		}
	}
	return n, err
}

// Write is what out writes to.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.sent = true
	}
	return n, err
}

// quiet reports whether the instance has kept the connection open and said
// nothing on it since the last answer.
func (c *conn) quiet() bool {
	if c.raw == nil || c.in.Buffered() > 0 {
		return false
	}
	if err := c.raw.Read(c.look); err != nil {
		return false
	}
	return errors.Is(c.peeked, syscall.EAGAIN)
}

// peek looks for what there is to read, and takes nothing.
func (c *conn) peek(fd uintptr) bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	if err == nil && n >= 0 {
		err = syscall.EPIPE // closed, or unasked-for bytes
	}
	c.peeked = err
	return true
}

// get returns a connection for a request, one that was not kept for longer than
// the age, or a new one.
func (b *backend) get(ctx context.Context, timeout, age time.Duration) (*conn, error) {
	now := time.Now()
	for {
		b.mu.Lock()
		last := len(b.idle) - 1
		if last < 0 || now.Sub(b.idle[last].since) >= age {
			b.mu.Unlock()
			return b.dial(ctx, timeout)
		}
		c := b.idle[last]
		b.idle[last] = nil
		b.idle = b.idle[:last]
		b.mu.Unlock()
		if c.quiet() {
			c.used, c.sent, c.heard = true, false, false
			return c, nil
		}
		b.drop(c)
	}
}

func (b *backend) dial(ctx context.Context, timeout time.Duration) (*conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	nc, err := d.DialContext(ctx, b.network, b.address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, b: b}
	c.look = c.peek
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.in, c.out = bufio.NewReader(c), bufio.NewWriter(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut {
		nc.Close()
		return nil, errCut
	}
	b.conns[c] = struct{}{}
	return c, nil
}

var errCut = errors.New("the instance was cut off")

// put keeps the connection for another request.
func (b *backend) put(c *conn) {
	c.since = time.Now()
	b.mu.Lock()
	if _, open := b.conns[c]; !open || b.closed.Load() || len(b.idle) >= keptConns {
		b.mu.Unlock()
		b.drop(c)
		return
	}
	b.idle = append(b.idle, c)
	if b.sweep == nil {
		b.sweep = time.AfterFunc(keepTime, b.sweepIdle)
	}
	b.mu.Unlock()
	// Whoever closed the backend in between may have missed this connection.
	if b.closed.Load() {
		b.closeIdle()
	}
}

// drop closes the connection.
func (b *backend) drop(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	c.Conn.Close()
}

// sweepIdle closes what was kept too long, and comes again while anything is kept.
func (b *backend) sweepIdle() {
	now := time.Now()
	b.mu.Lock()
	n := 0
	for n < len(b.idle) && now.Sub(b.idle[n].since) >= keepTime {
		delete(b.conns, b.idle[n])
		n++
	}
	old := append([]*conn(nil), b.idle[:n]...)
	b.idle = append(b.idle[:0], b.idle[n:]...)
	if len(b.idle) > 0 {
		b.sweep.Reset(keepTime / 2)
	} else {
		b.sweep = nil
	}
	b.mu.Unlock()
	for _, c := range old {
		c.Conn.Close()
	}
}
