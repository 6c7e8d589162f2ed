package front

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// lingerTime is how long Shutdown leaves idle connections open: a client whose
// request is already on its way gets its answer, and with it is told to connect
// anew.
const lingerTime = 2 * time.Second

// Serve answers connections of the listener in plain HTTP until Shutdown, and
// then returns nil. It closes the listener.
func (f *Front) Serve(l net.Listener) error { return f.serve(l, f.plain.Serve) }

// ServeTLS is Serve for TLS, HTTP/2 and HTTP/1.1, with the certificates of the
// table.
func (f *Front) ServeTLS(l net.Listener) error {
	return f.serve(l, func(l net.Listener) error { return f.tls.ServeTLS(l, "", "") })
}

func (f *Front) serve(l net.Listener, with func(net.Listener) error) error {
	limited := &listener{Listener: l, f: f}
	f.open.Lock()
	f.listeners[limited] = struct{}{}
	f.open.Unlock()
	if f.ending.Load() {
		limited.Close()
	}
	err := with(limited)
	f.open.Lock()
	delete(f.listeners, limited)
	f.open.Unlock()
	if f.ending.Load() || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown ends the front: it accepts no more connections, tells clients to
// connect anew, and returns when all that was under way has ended. When the context ends
// before that, what is left is cut off, and the number says how many requests
// that were. The table stays on the disk, and no further one is taken.
//
// A process that takes over has the same sockets and accepts before Shutdown is
// called. What is under way in this one is not known to its Drain, so it stops
// no instance before this one has ended.
func (f *Front) Shutdown(ctx context.Context) (cut int, err error) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return 0, ErrEnded
	}
	f.ended = true
	f.mu.Unlock()
	f.ending.Store(true)
	close(f.end)
	f.open.Lock()
	for l := range f.listeners {
		l.Close()
	}
	f.open.Unlock()

	linger, stop := context.WithTimeout(ctx, f.linger)
	f.awaitClients(linger)
	stop()
	var both sync.WaitGroup
	for _, server := range []*http.Server{f.plain, f.tls} {
		both.Go(func() { _ = server.Shutdown(ctx) }) // its error is that of ctx, or of a listener that is closed
	}
	both.Wait()
	f.awaitClients(ctx) // upgraded connections, too
	if ctx.Err() != nil {
		f.mu.Lock()
		for _, b := range f.backends {
			cut += int(b.inFlight.Load())
		}
		f.mu.Unlock()
	}
	f.open.Lock()
	for t := range f.tunnels {
		t.close()
	}
	f.open.Unlock()
	err = errors.Join(f.plain.Close(), f.tls.Close())
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.backends {
		b.close()
		b.closeAll()
	}
	return cut, err
}

// awaitClients waits until no client has a connection.
func (f *Front) awaitClients(ctx context.Context) {
	for len(f.slots) > 0 {
		select {
		case <-f.left:
		case <-ctx.Done():
			return
		}
	}
}

// listener accepts only as many connections as there are slots. The others wait in
// the kernel.
type listener struct {
	net.Listener
	f      *Front
	once   sync.Once
	closed error
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.f.slots <- struct{}{}:
	case <-l.f.end:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.f.slots
		return nil, err
	}
	return &clientConn{Conn: c, f: l.f}, nil
}

func (l *listener) Close() error {
	l.once.Do(func() { l.closed = l.Listener.Close() })
	return l.closed
}

// clientConn is a client's connection, which holds a slot until it is closed.
type clientConn struct {
	net.Conn
	f    *Front
	once sync.Once
}

func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		<-c.f.slots
		select {
		case c.f.left <- struct{}{}:
		default:
		}
	})
	return err
}

// CloseWrite tells the client that nothing more will come.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// tunnel is an upgraded connection: bytes in both directions, until both have
// ended or one is broken.
type tunnel struct{ client, instance net.Conn }

func (t *tunnel) close() {
	t.client.Close()
	t.instance.Close()
}

// tunnel passes the instance's consent on, and then all that the two say.
func (x *exchange) tunnel(c *conn, resp *http.Response) {
	client, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.count.broken.Add(1)
		x.refuse(noAnswer)
		return
	}
	t := &tunnel{client: client, instance: c.Conn}
	defer t.close()
	f := x.f
	f.open.Lock()
	f.tunnels[t] = struct{}{}
	f.open.Unlock()
	defer func() {
		f.open.Lock()
		delete(f.tunnels, t)
		f.open.Unlock()
	}()
	h := http.Header{}
	copyHeader(h, resp.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, resp.Header["Upgrade"]
	x.setCookie(h)
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(rw)
	_, _ = rw.WriteString("\r\n")
	if err := rw.Flush(); err != nil {
		x.count.cancelled.Add(1)
		return
	}
	ended := make(chan error, 2)
	go func() { ended <- carry(c.Conn, client, rw.Reader) }()
	go func() { ended <- carry(client, c.Conn, c.in) }()
	if err := <-ended; err != nil {
		t.close()
	}
	<-ended
}

// carry copies what comes from one side to the other, beginning with what was
// read already, and passes its end on.
func carry(to, from net.Conn, read *bufio.Reader) error {
	if n := read.Buffered(); n > 0 {
		early, _ := read.Peek(n)
		if _, err := to.Write(early); err != nil {
			return err
		}
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return closeWrite(to)
}
