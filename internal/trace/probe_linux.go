//go:build amd64 || arm64

package trace

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Probe finds out how processes can be watched here, by trying. It leaves
// nothing behind. The error wraps [ErrUnsupported].
func Probe() (Ability, error) {
	a := Ability{Missing: map[Mechanism]string{}}
	nnp, err := probeSeccomp()
	if err == nil {
		a.Mechanism, a.NoNewPrivs = Seccomp, nnp
		return a, nil
	}
	a.Missing[Seccomp] = seccompMissing(err)
	err = probePtrace()
	if err == nil {
		// A set-user-ID program gains nothing under a tracer that has no
		// privileges itself.
		a.Mechanism, a.NoNewPrivs = Ptrace, os.Geteuid() != 0
		return a, nil
	}
	a.Missing[Ptrace] = ptraceMissing(err)
	return a, fmt.Errorf("trace: %w: %s; %s", ErrUnsupported, a.Missing[Seccomp], a.Missing[Ptrace])
}

// probeSeccomp has a thread make one call, under a filter for just that, and
// lets it go on. nnp says that the thread had to give up new privileges.
func probeSeccomp() (nnp bool, err error) {
	type result struct {
		listener int
		nnp      bool
		err      error
	}
	installed := make(chan result, 1)
	called := make(chan unix.Errno, 1)
	onThread(func() {
		fd, tainted, err := install([]unix.SockFilter{
			load(dataNr), jump(unix.BPF_JEQ, unix.SYS_FCHDIR, 0, 1),
			ret(unix.SECCOMP_RET_USER_NOTIF), ret(unix.SECCOMP_RET_ALLOW),
		})
		installed <- result{fd, tainted, err}
		if err != nil {
			if !tainted {
				runtime.UnlockOSThread()
			}
			return
		}
		_, _, errno := unix.Syscall(unix.SYS_FCHDIR, ^uintptr(0), 0, 0)
		called <- errno
	})
	r := <-installed
	if r.err != nil {
		return r.nnp, r.err
	}
	n := &notifier{listener: r.listener, polls: [2]unix.PollFd{{Fd: int32(r.listener), Events: unix.POLLIN}}}
	if n.receive() {
		n.resp = response{id: n.req.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		err = errnoErr(n.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&n.resp)))
	} else {
		err = errors.New("no notification came")
	}
	unix.Close(r.listener) // answers the call with ENOSYS if nothing else did
	if errno := <-called; err == nil && errno != unix.EBADF {
		err = fmt.Errorf("the call came to %w", errno)
	}
	return r.nnp, err
}

func errnoErr(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// probePtrace starts this program again, and ends it before it has done
// anything.
func probePtrace() error {
	done := make(chan error, 1)
	onThread(func() {
		done <- func() error {
			file := "/proc/self/exe"
			pid, err := syscall.ForkExec(file, []string{file}, &syscall.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{Ptrace: true}})
			if err != nil {
				return fmt.Errorf("start a process: %w", err)
			}
			ended, _, err := seize(pid)
			if err == nil && !ended {
				err = entered(pid)
			}
			_ = unix.Kill(pid, unix.SIGKILL)
			var ws syscall.WaitStatus
			for !ended {
				werr := waitFor(pid, &ws)
				ended = werr != nil || ws.Exited() || ws.Signaled()
			}
			return err
		}()
	})
	return <-done
}

// entered sees whether the tracer of a process is told of its calls.
func entered(pid int) error {
	for {
		var ws syscall.WaitStatus
		if err := waitFor(pid, &ws); err != nil || !ws.Stopped() {
			return fmt.Errorf("wait for a process: %v: %w", ws, err)
		}
		if ws.StopSignal() == unix.SIGTRAP|0x80 {
			if !entry(pid, new(syscallInfo)) {
				return errors.New("the kernel is too old: a tracer is not told what is called (Linux 5.3)")
			}
			return nil
		}
		if err := ptrace(resumption(ws, false), pid, 0, 0); err != nil {
			return fmt.Errorf("resume a process: %w", err)
		}
	}
}

// seccompMissing says why there is no notification.
func seccompMissing(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "something else watches this process already, by the same means (seccomp user notification)"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "the kernel is too old: it has no seccomp user notification that lets calls go on (Linux 5.5)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "seccomp filters are not allowed here"
	}
	return fmt.Sprintf("seccomp: %v", err)
}

// ptraceMissing says why nothing can be traced.
func ptraceMissing(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if b, rerr := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); rerr == nil && len(b) > 0 && b[0] >= '2' {
			return "ptrace is switched off here (kernel.yama.ptrace_scope)"
		}
		return "ptrace is not allowed here, or the process is traced already"
	}
	return fmt.Sprintf("ptrace: %v", err)
}
