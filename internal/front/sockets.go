package front

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Sockets are listening sockets that outlive a process: they come from the one
// before it, or from systemd, and go to the one after it. A connection that
// arrives while one process takes over from another waits in the socket, which never closes.
//
// The protocol is systemd's: LISTEN_FDS says how many file descriptors, from 3
// on, are sockets, and LISTEN_FDNAMES what they are called. LISTEN_PID may be
// missing or empty, since a process cannot know its child's number beforehand.
type Sockets struct {
	mu        sync.Mutex
	inherited []inherited
	open      []inherited
}

type inherited struct {
	name string
	l    net.Listener
}

// firstSocket is the first file descriptor that is handed over, and maxSockets how
// many are taken.
const (
	firstSocket = 3
	maxSockets  = 256
)

// Inherit takes over the sockets that the process was started with, if any, and
// removes them from what its own children get.
func Inherit() (*Sockets, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	s := &Sockets{}
	if count == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return s, nil // meant for somebody else
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("take over sockets: LISTEN_FDS is %.80q, which is no number up to %d", count, maxSockets)
	}
	named := strings.Split(names, ":")
	for i := range n {
		fd := firstSocket + i
		syscall.CloseOnExec(fd)
		name := "unknown"
		if i < len(named) && named[i] != "" {
			name = named[i]
		}
		file := os.NewFile(uintptr(fd), name)
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("take over socket %q, file descriptor %d: %w", name, fd, err), s.Close())
		}
		s.inherited = append(s.inherited, inherited{name, l})
	}
	return s, nil
}

// Listen returns the socket that was inherited under the name, whatever its
// address is, or else listens at the address, host:port or the path of a Unix
// socket. Handover passes it on under the name.
func (s *Sockets) Listen(name, address string) (net.Listener, error) {
	if strings.ContainsAny(name, ": \t\r\n") || name == "" {
		return nil, fmt.Errorf("listen: %q is no name of a socket", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, in := range s.inherited {
		if in.name == name {
			s.inherited = append(s.inherited[:i:i], s.inherited[i+1:]...)
			s.open = append(s.open, in)
			return in.l, nil
		}
	}
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen as %s: %w", name, err)
	}
	s.open = append(s.open, inherited{name, l})
	return l, nil
}

// Handover returns the open sockets for a process that is about to be started:
// the files are its file descriptors from 3 on (exec.Cmd.ExtraFiles), and what is
// returned of the environment is added to its own. The caller closes the files
// when it has started it.
func (s *Sockets) Handover() (files []*os.File, env []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, o := range s.open {
		l, ok := o.l.(interface{ File() (*os.File, error) })
		if !ok {
			err = fmt.Errorf("hand over socket %q: it has no file", o.name)
			break
		}
		if unix, ok := o.l.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false) // its path is the successor's
		}
		file, failed := l.File()
		if failed != nil {
			err = fmt.Errorf("hand over socket %q: %w", o.name, failed)
			break
		}
		files, names = append(files, file), append(names, o.name)
	}
	if err != nil {
		for _, file := range files {
			file.Close()
		}
		return nil, nil, err
	}
	return files, []string{"LISTEN_PID=", "LISTEN_FDS=" + strconv.Itoa(len(files)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}, nil
}

// Close closes the sockets that were inherited and that nobody has asked for.
func (s *Sockets) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, in := range s.inherited {
		err = errors.Join(err, in.l.Close())
	}
	s.inherited = nil
	return err
}
