//go:build amd64 || arm64

package trace

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Tracer watches one step: [Tracer.Attr], [Tracer.Start], [Tracer.Wait],
// [Tracer.Finish], each once and in this order.
type Tracer struct {
	mech    Mechanism
	ledger  booker
	started time.Time
	ptraced *ptracer // nil for seccomp

	mu       sync.Mutex // held while a call is looked at
	watcher  *watcher
	watching bool
	finished bool   // calls are let go on without a look
	broken   string // why nothing more is seen, or nothing was from the start
	calls    int64
	thread   int           // the supervisor's, while there is one
	before   time.Duration // processor time that it had taken before
	spent    time.Duration // what it took, when it is gone
}

// booker keeps the books of an observation.
type booker interface {
	witness
	finish(left int) *record.Observation
}

// New makes a tracer for one step, with the mechanism that [Probe] found.
func New(s Spec, m Mechanism) (*Tracer, error) { return newTracer(newLedger(s), m) }

func newTracer(b booker, m Mechanism) (*Tracer, error) {
	t := &Tracer{mech: m, ledger: b, watcher: newWatcher(b)}
	switch m {
	case Seccomp:
	case Ptrace:
		t.ptraced = newPtracer(t)
	default:
		return nil, fmt.Errorf("trace: %w: no mechanism %q", ErrUnsupported, m)
	}
	return t, nil
}

// Attr asks for what the first process needs so that it can be watched. It is
// called before [Tracer.Start], with the attributes that fork is going to use.
func (t *Tracer) Attr(attr *syscall.SysProcAttr) {
	if t.ptraced != nil {
		attr.Ptrace = true
	}
}

// Start calls fork, once and whatever happens, which starts the step's first
// process by [syscall.ForkExec] on the goroutine that it is called on, and
// watches that process. It returns what fork returns. If watching cannot be
// set up, the process runs without it, and the observation says so.
//
// file, dir ("" for that of this process) and argv are what fork will execute.
//
// The process must not have a parent-death signal: it would get it at once,
// since the thread that starts it ends.
func (t *Tracer) Start(file, dir string, argv []string, fork func() (int, error)) (pid int, err error) {
	t.started = time.Now()
	t.guard(func() { t.announce(file, dir, argv) })
	if t.ptraced != nil {
		return t.ptraced.start(fork)
	}
	return t.startNotify(fork)
}

// announce tells of the first program. Nobody is asked when it is started: its
// calls before that, made by a copy of this process, cannot be told from ours.
func (t *Tracer) announce(file, dir string, argv []string) {
	if dir == "" {
		dir, _ = os.Getwd()
	}
	if file == "" || dir == "" {
		return
	}
	t.ledger.see(dir, true)
	path, _ := t.watcher.paths.clean(dir, []byte(file))
	t.ledger.exec(path, argv)
}

// guard calls f and ends the observation if that panics.
func (t *Tracer) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			t.broken = fmt.Sprintf("the supervisor failed: %v", r)
		}
	}()
	f()
}

// watch says that the calling thread is the supervisor from now on.
func (t *Tracer) watch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thread = unix.Gettid()
	t.before = threadTime(t.thread)
	t.watching = true
}

// rest says that the calling thread is the supervisor no more.
func (t *Tracer) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spent = threadTime(t.thread) - t.before
	t.thread = 0
}

// look looks at a call that is stopped, unless the observation has ended.
func (t *Tracer) look(tid int, audit uint32, nr int32, args *[6]uint64, valid func() bool) {
	a, ok := archOf(audit)
	if !ok || find(a, nr) == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finished || t.broken != "" {
		return
	}
	t.calls++
	t.guard(func() { t.watcher.look(tid, a, nr, args, valid) })
	if t.broken == "" {
		t.broken = t.watcher.lost
	}
}

// over reports whether the observation has ended, for whatever reason.
func (t *Tracer) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.finished || t.broken != ""
}

// Finish ends the observation, once the first process was waited for; left is
// how many processes outlive the step. These go on as long as they live,
// unobserved.
func (t *Tracer) Finish(left int) *record.Observation {
	if !t.mu.TryLock() {
		locked := make(chan struct{})
		go func() {
			t.mu.Lock()
			t.finished = true
			close(locked)
		}()
		select {
		case <-locked:
		case <-time.After(ended):
			go func() {
				<-locked
				t.mu.Unlock()
			}()
			return &record.Observation{Mechanism: string(t.mech), Wall: time.Since(t.started), Barred: []record.Bar{
				{Kind: record.BarLost, Detail: "a call was still being looked at when the step had ended"},
			}}
		}
	}
	defer t.mu.Unlock()
	t.finished = true
	if !t.watching {
		why := t.broken
		if why == "" {
			why = "no process was started"
		}
		return &record.Observation{Barred: []record.Bar{{Kind: record.BarNotWatched, Detail: why}}}
	}
	var o *record.Observation
	t.guard(func() {
		if t.broken != "" {
			t.ledger.bar(record.BarLost, t.broken)
		}
		o = t.ledger.finish(left)
	})
	if o == nil {
		o = &record.Observation{Barred: []record.Bar{{Kind: record.BarLost, Detail: t.broken}}}
	}
	o.Mechanism, o.Calls, o.Wall = string(t.mech), t.calls, time.Since(t.started)
	if o.Overhead = t.spent; t.thread != 0 {
		o.Overhead = threadTime(t.thread) - t.before
	}
	t.watcher, t.ledger = nil, nil // what is left over may live long
	return o
}

// threadTime is the processor time that a thread of this process has taken.
func threadTime(tid int) time.Duration {
	const perThread, scheduler = 4, 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^tid<<3|perThread|scheduler), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Wait waits for the first process, as wait4 with its pid does. Nobody else
// may wait for it.
func (t *Tracer) Wait(pid int, status *syscall.WaitStatus) error {
	if t.ptraced != nil && t.ptraced.has(pid) {
		*status = t.ptraced.wait()
		return nil
	}
	for {
		if _, err := syscall.Wait4(pid, status, 0, nil); err != syscall.EINTR {
			return err
		}
	}
}

// onThread runs f on a new goroutine that has a thread of its own, which ends
// with it. The process's first thread never ends, and is left alone.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		begun := make(chan struct{})
		go func() { // not on this thread, which is taken
			runtime.LockOSThread()
			close(begun)
			f()
		}()
		<-begun
		runtime.UnlockOSThread()
	}()
}

// arches are those of this machine's programs.
func arches() []arch {
	if runtime.GOARCH == "arm64" {
		return []arch{arm64, arm}
	}
	return []arch{amd64, i386}
}
