//go:build unix && !linux

package host

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// groups makes fences that are process groups. A process that leaves its
// group leaves its fence.
type groups struct{}

func newYard(o Options) (yard, error) {
	if !o.Limits.IsZero() {
		return nil, errors.New("limits: this system has no control groups")
	}
	return groups{}, nil
}

func (groups) pen() (pen, error) { return groupPen{}, nil }
func (groups) close() error      { return nil }

type groupPen struct{}

func (groupPen) fence() (fence, error) { return &groupFence{}, nil }
func (groupPen) oom(bool) bool         { return false }
func (groupPen) close()                {}

type groupFence struct{ pid int }

func (f *groupFence) prepare(*syscall.SysProcAttr) entry { return entry{} }

func (f *groupFence) start(fork func() (int, error)) (pid int, err error) {
	f.pid, err = fork()
	return f.pid, err
}

func (f *groupFence) reaped() {}

// alive knows only whether there is anybody.
func (f *groupFence) alive() int {
	if err := syscall.Kill(-f.pid, 0); err == unix.ESRCH {
		return 0
	}
	return 1
}

func (f *groupFence) signal(sig syscall.Signal) { _ = syscall.Kill(-f.pid, sig) }
func (f *groupFence) free()                     {}

func widen(int) {}

// wait waits for a child of ours.
func wait(pid int, status *syscall.WaitStatus) error {
	for {
		_, err := syscall.Wait4(pid, status, 0, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// fionread asks how many bytes are in a pipe: _IOR('f', 127, int) on all
// systems that come from BSD.
const fionread = 0x4004667f

func pipe(fds *[2]int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(fds[:]); err != nil {
		return err
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return nil
}
