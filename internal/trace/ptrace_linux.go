//go:build amd64 || arm64

package trace

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptracer watches a step by stopping each of its system calls, at its entry
// and, since there is no other way, at its end.
//
// The kernel's filters cannot choose the calls here: this mechanism is for
// steps of which something else is the seccomp supervisor already, and for a
// call that both want only that one is asked (SECCOMP_RET_USER_NOTIF goes
// before SECCOMP_RET_TRACE). Stops at entries come before any filter.
//
// One thread starts the first process, and is the tracer of all. A process
// that is traced is seen by any wait of the tracer's process, stops included:
// so that none is taken away, nobody but this thread waits for the first
// process either; its end is passed on.
type ptracer struct {
	t *Tracer

	mu     sync.Mutex
	first  int // the pid, once it is traced
	ended  chan struct{}
	status syscall.WaitStatus
}

func newPtracer(t *Tracer) *ptracer { return &ptracer{t: t, ended: make(chan struct{})} }

func (p *ptracer) has(pid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first == pid && pid != 0
}

// wait waits for the end of the first process.
func (p *ptracer) wait() syscall.WaitStatus {
	<-p.ended
	return p.status
}

// start starts the step. The thread ends with the last of its processes.
func (p *ptracer) start(fork func() (int, error)) (pid int, err error) {
	done := make(chan struct{})
	onThread(func() {
		// A filter by itself: io_uring would go past the tracer.
		refuseOnly()
		if pid, err = fork(); err != nil {
			close(done)
			return
		}
		ended, ws, serr := seize(pid)
		if serr != nil {
			p.t.broken = ptraceMissing(serr)
		}
		if ended || serr == nil {
			p.mu.Lock()
			p.first = pid
			p.mu.Unlock()
		}
		if ended {
			p.status = ws
			close(p.ended)
		}
		if serr == nil {
			p.t.watch()
		}
		close(done)
		if serr == nil {
			p.serve()
			p.t.rest()
		}
	})
	<-done
	return pid, err
}

// refuseOnly puts a filter on the calling thread that refuses what cannot be
// watched. A set-user-ID program gains no privileges under a tracer without
// any, so that giving them up takes nothing away.
func refuseOnly() {
	program := filter(unix.SECCOMP_RET_ALLOW, arches()...)
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, err := seccomp(&f, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW); err == unix.EACCES {
		if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == nil {
			_, _ = seccomp(&f, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
		}
	}
}

const ptraceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
	unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC

// seize takes hold of the process, which has asked to be traced and stopped at
// its first instruction. Only a tracer that seized its processes can keep
// those stopped that a signal stopped; so the process is let go, with a
// signal that stops it at the same place, and seized. Without PTRACE_O_EXITKILL
// the death of the tracer lets all go on. ended says that it is no more.
func seize(pid int) (ended bool, ws syscall.WaitStatus, err error) {
	if err := waitFor(pid, &ws); err != nil {
		return false, ws, fmt.Errorf("wait for process: %w", err)
	}
	if !ws.Stopped() {
		return true, ws, errors.New("the process was killed at its start")
	}
	if err := ptrace(unix.PTRACE_DETACH, pid, 0, uintptr(unix.SIGSTOP)); err != nil {
		return false, ws, fmt.Errorf("let process go: %w", err)
	}
	err = ptrace(unix.PTRACE_SEIZE, pid, 0, ptraceOptions)
	if cerr := unix.Kill(pid, unix.SIGCONT); err == nil {
		err = cerr
	}
	return false, ws, err
}

// waitFor waits for a thread's next stop or its end.
func waitFor(pid int, ws *syscall.WaitStatus) error {
	for {
		if _, err := syscall.Wait4(pid, ws, unix.WALL, nil); err != syscall.EINTR {
			return err
		}
	}
}

func ptrace(request, pid int, addr, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// syscallInfo is struct ptrace_syscall_info of a stop at an entry.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
	_    [2]uint64
}

const infoEntry = 1 // PTRACE_SYSCALL_INFO_ENTRY

// serve lets stopped threads go on until there are none left. Once the
// observation has ended each goes its own way from its next stop on.
func (p *ptracer) serve() {
	info := new(syscallInfo)
	valid := func() bool { return true } // a thread that is killed does not come back under the same number unseen
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return // ECHILD
		}
		if !ws.Stopped() {
			if tid == p.first {
				p.status = ws
				close(p.ended)
			}
			continue
		}
		over := p.t.over()
		signal := 0
		if int(ws)>>16 == 0 {
			if ws.StopSignal() != unix.SIGTRAP|0x80 {
				signal = int(ws.StopSignal()) // it is about to get it
			} else if !over && entry(tid, info) {
				p.t.look(tid, info.arch, int32(info.nr), &info.args, valid)
			}
		}
		_ = ptrace(resumption(ws, over), tid, 0, uintptr(signal)) // fails if it was killed
	}
}

// resumption is how a thread that has stopped is let go on.
func resumption(ws syscall.WaitStatus, over bool) int {
	if over {
		return unix.PTRACE_DETACH // it stays stopped if a signal stopped it
	}
	if int(ws)>>16 == unix.PTRACE_EVENT_STOP {
		switch ws.StopSignal() {
		case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			return unix.PTRACE_LISTEN // it stays stopped until it is to continue
		}
	}
	return unix.PTRACE_SYSCALL
}

// entry reads what a thread is about to call, if that is what it stopped for.
func entry(tid int, info *syscallInfo) bool {
	*info = syscallInfo{}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(*info), uintptr(unsafe.Pointer(info)), 0, 0)
	runtime.KeepAlive(info)
	return errno == 0 && info.op == infoEntry
}
