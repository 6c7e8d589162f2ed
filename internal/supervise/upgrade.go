package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readyVar names the file descriptor on which a successor says that it is the
	// host.
	readyVar = "FAIRLEAD_HOST_READY"
	// readyTime is how long it may take until it does.
	readyTime = 30 * time.Second
	// shutTime is how long requests may take to end when the host does.
	shutTime = 60 * time.Second
)

// Succeeds reports whether this process was started by a host to succeed it.
func Succeeds() bool { return os.Getenv(readyVar) != "" }

// socketFile is where the host of a directory is asked, as a path that is short enough
// for a socket. The directory is its user's alone.
func socketFile(dir string) (name string, done func(), err error) {
	const most = 100 // the kernel takes 107 bytes
	home := filepath.Join(dir, "control")
	if name = filepath.Join(home, "socket"); len(name) <= most {
		return name, func() {}, nil
	}
	d, err := os.Open(home)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/socket", d.Fd()), func() { d.Close() }, nil
}

// listen opens the socket at which the host is asked.
func (h *Host) listen() (net.Listener, error) {
	home := filepath.Join(h.dir, "control")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	name, done, err := socketFile(h.dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if !h.options.Successor { // what a killed host has left
		if err := os.Remove(filepath.Join(home, "socket")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	l, err := h.options.Sockets.Listen("control", name)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the name may be the successor's by then
	}
	return l, os.Chmod(filepath.Join(home, "socket"), 0o600)
}

// Serve is the host until the context ends, [Host.Stop] is called or a successor has
// taken over. Unless Stop asked for more, the instances live on.
func (h *Host) Serve(ctx context.Context) error {
	l, err := h.listen()
	if err != nil {
		return fmt.Errorf("listen for what the host is asked: %w", err)
	}
	server := &http.Server{Handler: h.handler(), ReadHeaderTimeout: 10 * time.Second}
	broken := make(chan error, 1)
	go func() { broken <- server.Serve(l) }()
	h.announce()
	h.run(ctx)
	h.mu.Lock()
	h.frozen, h.over = true, true
	h.changed("")
	h.mu.Unlock()
	h.shut()
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = server.Shutdown(last)
	_ = server.Close()
	if err := <-broken; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return h.lock.Close()
}

// shut ends the fronts when their requests have ended.
func (h *Host) shut() {
	ctx, cancel := context.WithTimeout(context.Background(), shutTime)
	defer cancel()
	var all sync.WaitGroup
	for _, f := range h.fronts() {
		all.Go(func() {
			if cut, err := f.Shutdown(ctx); cut > 0 {
				h.log.Warn("requests did not end in time and were cut off", "requests", cut, "error", err)
			}
		})
	}
	all.Wait()
}

// announce tells those who wait for it that this process is the host now: the one
// before, and systemd.
func (h *Host) announce() {
	if fd, err := strconv.Atoi(os.Getenv(readyVar)); err == nil && fd > 2 {
		ready := os.NewFile(uintptr(fd), "ready")
		_, err := ready.WriteString("ready\n")
		if err = errors.Join(err, ready.Close(), os.Unsetenv(readyVar)); err != nil {
			h.log.Error("the host before could not be told", "error", err)
		}
	}
	h.notify("READY=1")
}

// notify tells systemd, if it wants to know.
func (h *Host) notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.Dial("unixgram", name)
	if err == nil {
		_, err = io.WriteString(c, state)
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		h.log.Warn("systemd could not be told", "error", err)
	}
}

// Stop ends the host. With instances it ends them as well, when their requests have;
// the documents stay, and the next host starts them again.
func (h *Host) Stop(instances bool) error {
	h.mu.Lock()
	if h.frozen {
		h.mu.Unlock()
		return ErrEnding
	}
	h.frozen = true
	h.mu.Unlock()
	if instances {
		h.shut()
		h.mu.Lock()
		for _, in := range h.instances {
			in.seen.Leaving = true
			in.quit()
		}
		h.mu.Unlock()
		if err := h.await(context.Background(), func() bool { return len(h.instances) == 0 }); err != nil {
			return err
		}
	}
	h.finish()
	return nil
}

func (h *Host) finish() { h.ended.Do(func() { close(h.end) }) }

// Upgrade starts a program that becomes the host: it gets the sockets, takes up the
// instances and answers requests before this process has ended those that it has begun.
// If it does not come up, this process remains the host, and the error says so.
func (h *Host) Upgrade(ctx context.Context, program []string) error {
	if len(program) == 0 {
		program = h.options.Program
	}
	if len(program) == 0 {
		return fmt.Errorf("%w: it is not known which program is to take over", ErrRefused)
	}
	h.mu.Lock()
	if h.frozen {
		h.mu.Unlock()
		return ErrEnding
	}
	h.frozen = true
	h.mu.Unlock()
	err := h.await(ctx, func() bool { return h.starting == 0 })
	if err == nil {
		err = h.succeed(ctx, program)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("upgrade the host: %w; the old one goes on", err), h.thaw())
	}
	h.finish()
	return nil
}

// thaw makes this process the host again, after a successor that may have written a
// state has failed.
func (h *Host) thaw() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	st, _, err := loadState(h.dir)
	if err != nil {
		return err
	}
	next := st.clone()
	next.Epoch++
	h.state = st
	if err := h.save(next); err != nil {
		return err
	}
	h.frozen = false
	for i := range h.state.Targets {
		h.reconcile(&h.state.Targets[i])
	}
	h.route()
	h.changed("")
	return nil
}

// succeed starts the successor and waits until it is the host.
func (h *Host) succeed(ctx context.Context, program []string) error {
	files, env, err := h.options.Sockets.Handover()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for i := range files {
		if files[i], err = unblocked(files[i]); err != nil {
			return err
		}
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	files = append(files, theirs)
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = files
	cmd.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, readyVar+"=") })
	cmd.Env = append(append(cmd.Env, env...), fmt.Sprintf("%s=%d", readyVar, 3+len(files)-1))
	if err := cmd.Start(); err != nil {
		return err
	}
	theirs.Close()
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	answer, err := io.ReadAll(io.LimitReader(ready, 16))
	if string(answer) == "ready\n" && err == nil {
		h.notify(fmt.Sprintf("MAINPID=%d", cmd.Process.Pid))
		return cmd.Process.Release()
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return fmt.Errorf("%s did not say within %s that it is the host", program[0], readyTime)
	}
	return fmt.Errorf("%s has ended (%s); what it said is in the host's log", program[0], cmd.ProcessState)
}

// unblocked is the same socket as a file that stays as it is when it is handed to a
// process. That of a listener is made to block, and the listener with it: it could not be
// closed any more before a connection comes.
func unblocked(f *os.File) (*os.File, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return f, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return f, fmt.Errorf("hand over a socket: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
