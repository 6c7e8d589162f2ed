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

// notification is struct seccomp_notif: a call that is stopped.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// notifying is the filter that hands calls to a supervisor.
var notifying = sync.OnceValue(func() []unix.SockFilter {
	return filter(unix.SECCOMP_RET_USER_NOTIF, arches()...)
})

// install puts a filter on the calling thread and all processes that it will
// start, and returns the listener. tainted says that the thread cannot gain
// privileges any more, and is not fit for other work.
func install(program []unix.SockFilter) (listener int, tainted bool, err error) {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// What older kernels do not have is left out. With the killable wait, a
	// call that is being looked at is not interrupted by signals.
	for _, flags := range []uintptr{
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		0,
	} {
		fd, err := seccomp(&p, flags|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
		if err == unix.EACCES && !tainted {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return -1, false, fmt.Errorf("give up new privileges: %w", err)
			}
			tainted = true
			fd, err = seccomp(&p, flags|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
		}
		if err == nil {
			// Waking the supervisor on the caller's processor is several times
			// as fast on a busy machine; kernels before 6.6 cannot.
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
			return fd, tainted, nil
		}
		if err != unix.EINVAL {
			return -1, tainted, err
		}
	}
	return -1, tainted, unix.EINVAL
}

func seccomp(p *unix.SockFprog, flags uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(p)))
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// notifier answers the calls of one step.
type notifier struct {
	t        *Tracer
	listener int
	forker   uint32 // the thread that starts the first process
	valid    func() bool
	ends     bool // receivingEnds

	// Each of these is in use by one system call at a time.
	req   notification
	resp  response
	polls [2]unix.PollFd
	one   uint64

	// Of the first phase.
	ip      uint64        // the instruction by which this program makes its calls
	execed  uint32        // the process that has asked to be another program
	pending bool          // req holds a call that has not been answered
	served  chan struct{} // closed when the phase is over
	spare   int           // a descriptor to close then; -1 for none
}

// startNotify starts the step with the filter.
func (t *Tracer) startNotify(fork func() (int, error)) (pid int, err error) {
	type result struct {
		pid int
		err error
		why error // it cannot be watched; fork was not called
	}
	done := make(chan result, 1)
	onThread(func() {
		listener, tainted, err := install(notifying())
		if err != nil {
			if !tainted {
				runtime.UnlockOSThread()
			}
			done <- result{why: err}
			return
		}
		n := &notifier{t: t, listener: listener, forker: uint32(unix.Gettid()), one: 1, ends: receivingEnds(), served: make(chan struct{}), spare: -1}
		n.valid = n.stillValid
		// This thread makes no call that stops before its supervisor is there.
		ready, err1 := unix.Eventfd(0, unix.EFD_CLOEXEC)
		forked, err2 := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err1 != nil || err2 != nil {
			for _, fd := range []int{ready, forked, listener} {
				unix.Close(fd)
			}
			done <- result{why: fmt.Errorf("make an event: %w", errors.Join(err1, err2))}
			return
		}
		n.polls = [2]unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}, {Fd: int32(forked), Events: unix.POLLIN}}
		// The process that is about to begin carries the filter before it is a
		// program of its own. If we are killed then, it must not be what keeps
		// the listener open and waits for itself: this thread, from here on with
		// descriptors of its own, gives that one up. (Of other steps' listeners it
		// may have copies: only one process is in this state at a time, since
		// syscall.ForkLock is held.)
		alone := unix.Unshare(unix.CLONE_FILES) == nil
		if alone {
			unix.Close(listener)
			n.spare = forked
		}
		go n.run(ready)
		var b [8]byte
		for {
			if _, err := unix.Read(ready, b[:]); err != unix.EINTR {
				break
			}
		}
		pid, err := fork()
		b[0] = 1
		_, _ = unix.Write(forked, b[:])
		done <- result{pid: pid, err: err}
		if !alone {
			<-n.served // only now nobody looks at the event any more
			unix.Close(forked)
		}
	})
	r := <-done
	if r.why != nil {
		t.broken = seccompMissing(r.why)
		return fork()
	}
	return r.pid, r.err
}

// run is the supervisor.
func (n *notifier) run(ready int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n.t.watch()
	n.first(ready)
	unix.Close(ready)
	if n.spare >= 0 {
		unix.Close(n.spare)
	}
	close(n.served)
	n.serve()
	n.t.rest()
	unix.Close(n.listener)
}

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// first answers the calls that the step's first process makes before it is a
// program of its own, until that, or until fork has returned.
//
// A new process is at first a copy of this one that uses its memory, and the
// thread that started it waits, in a way of which Go's scheduler knows
// nothing: it cannot be stopped for the garbage collector and gives up none
// of the places in which Go code may run. Would this goroutine need such a
// place to answer, each could wait for the other for ever. So all this is a
// single system call for the scheduler, in which nothing is done that could
// need it: no stack grows, no memory is allocated or written a pointer to.
//
//go:nosplit
//go:norace
func (n *notifier) first(ready int) {
	entersyscallblock()
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(ready), uintptr(unsafe.Pointer(&n.one)), 8)
	for !n.pending {
		n.polls[0].Revents, n.polls[1].Revents = 0, 0
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&n.polls[0])), 2, 0, 0, 0, 0)
		if errno != 0 {
			continue // EINTR
		}
		if n.polls[1].Revents != 0 || n.polls[0].Revents&unix.POLLIN == 0 {
			break
		}
		n.req = notification{}
		_, _, errno = syscall.RawSyscall(unix.SYS_IOCTL, uintptr(n.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n.req)))
		if errno != 0 {
			continue // the process was killed
		}
		if n.req.pid != n.forker {
			if n.ip == 0 {
				n.ip = n.req.ip
			}
			// If fork tries again, that is another process.
			if n.req.ip != n.ip || n.req.pid == n.execed {
				n.pending = true
				continue
			}
			if n.req.nr == unix.SYS_EXECVE {
				n.execed = n.req.pid
			}
		}
		n.resp = response{id: n.req.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		syscall.RawSyscall(unix.SYS_IOCTL, uintptr(n.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&n.resp)))
	}
	exitsyscall()
}

// serve answers calls as long as there is a process that can make one.
func (n *notifier) serve() {
	for n.pending || n.receive() {
		n.pending = false
		n.t.look(int(n.req.pid), n.req.arch, n.req.nr, &n.req.args, n.valid)
		n.resp = response{id: n.req.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		_ = n.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&n.resp)) // fails if the process was killed
	}
}

// receive waits for a call. It returns false when none can come any more.
func (n *notifier) receive() bool {
	for wait := !n.ends; ; wait = true {
		if wait {
			n.polls[0].Revents = 0
			_, err := unix.Ppoll(n.polls[:1], nil, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n.polls[0].Revents&unix.POLLIN == 0 {
				return false
			}
		}
		n.req = notification{}
		if n.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n.req)) == 0 {
			return true
		}
	}
}

// receivingEnds reports whether the call that receives ends with the last
// process that could make a call, so that one need not poll before each.
var receivingEnds = sync.OnceValue(func() bool {
	var u unix.Utsname
	var major, minor int
	_ = unix.Uname(&u)
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 12)
})

func (n *notifier) stillValid() bool {
	return n.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&n.req.id)) == 0
}

func (n *notifier) ioctl(request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.listener), request, uintptr(arg))
	return errno
}
