package docker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A command in a container may need what listens on the loopback address of this
// machine: a database that its job was lent. It finds it at the same address in
// there, and nobody else does:
//
//	command ─► 127.0.0.1:5433 ─► agent ══ socket p5433 ══► us ─► 127.0.0.1:5433
//	           the container's          mounted directory        this machine's
//
// So an address means the same on both sides, for every client there is; nothing
// listens on a network, no port is published, and the way ends with the
// container. It needs no network in there but the loopback address, which each
// has.

// dialTime is how long a connection to this machine itself may take.
const dialTime = 10 * time.Second

// routeName is the socket of a port.
func routeName(port int) string { return fmt.Sprintf("p%d", port) }

// route makes our end of the way to a port, if it is not there.
func (b *box) route(port int) error {
	b.room.mu.Lock()
	defer b.room.mu.Unlock()
	if b.routes[port] != nil {
		return nil
	}
	name := filepath.Join(b.dir, routeName(port))
	l, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	// Whoever the container's user is; nobody else reaches the directory.
	if err := os.Chmod(name, 0o666); err != nil {
		return errors.Join(err, l.Close())
	}
	if b.routes == nil {
		b.routes = map[int]net.Listener{}
	}
	b.routes[port] = l
	go carry(l, func() (net.Conn, error) {
		return net.DialTimeout("tcp", fmt.Sprintf("localhost:%d", port), dialTime)
	})
	return nil
}

// closeRoutes ends our ends. Connections end with the container's.
func (b *box) closeRoutes() error {
	b.room.mu.Lock()
	defer b.room.mu.Unlock()
	var errs []error
	for _, l := range b.routes {
		errs = append(errs, l.Close())
	}
	b.routes = nil
	return errors.Join(errs...)
}

// open makes the ends in here of the ways to ports.
func (a *agent) open(ports []int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, port := range ports {
		if a.routes[port] != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return fmt.Errorf("port %d, at which the job finds what it was lent, is taken in its container: %w", port, err)
		}
		a.routes[port] = l
		socket := filepath.Join(a.ways, routeName(port))
		go carry(l, func() (net.Conn, error) { return net.Dial("unix", socket) })
	}
	return nil
}

func (a *agent) closeRoutes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.routes {
		_ = l.Close() // we end, and all of it with us
	}
}

// carry brings each connection that comes to one that dial makes, until the
// listener is closed.
func carry(l net.Listener, dial func() (net.Conn, error)) {
	for {
		from, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files are open, or the like
			time.Sleep(acceptPause)
			continue
		}
		go func() {
			defer from.Close()
			to, err := dial()
			if err != nil {
				return // who listens no more refuses nothing: the connection ends
			}
			defer to.Close()
			join(from, to)
		}()
	}
}

// acceptPause is waited after a connection that could not be taken.
const acceptPause = 50 * time.Millisecond

// join copies both ways until both have ended. The end of one way is passed on,
// for who has said all may still want to hear.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		w, ok := to.(interface{ CloseWrite() error })
		if err != nil || !ok || w.CloseWrite() != nil {
			_, _ = to.Close(), from.Close()
		}
	}
	both.Go(func() { one(a, b) })
	both.Go(func() { one(b, a) })
	both.Wait()
}
