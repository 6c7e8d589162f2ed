//go:build unix

package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// room is where one job's steps run.
type room struct {
	x    *Executor
	pen  pen
	dirs plan.Dirs

	mu     sync.Mutex
	closed bool
	run    sync.WaitGroup        // commands that run
	steps  map[*step]struct{}    // those same
	after  []fence               // fences with processes that outlived their step
	drains map[*os.File]struct{} // pipes that these still hold
	drain  sync.WaitGroup
}

func newRoom(x *Executor, p pen, dirs plan.Dirs) *room {
	return &room{x: x, pen: p, dirs: dirs, steps: map[*step]struct{}{}, drains: map[*os.File]struct{}{}}
}

// Dirs are the directories as the steps see them: as they are.
func (r *room) Dirs() plan.Dirs { return r.dirs }

// Run runs a command to its end.
func (r *room) Run(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (executor.Result, error) {
	if ctx.Err() != nil {
		return executor.Result{Exit: 128 + int(syscall.SIGTERM), Signal: unix.SignalName(syscall.SIGTERM), Stopped: true}, nil
	}
	s := &step{grace: r.x.opts.Grace, ended: make(chan struct{})}
	if err := r.enter(s); err != nil {
		return executor.Result{}, fmt.Errorf("host: run: %w", err)
	}
	defer r.leave(s)
	if err := writeFiles(c.Files); err != nil {
		return executor.Result{}, fmt.Errorf("host: run: %w", err)
	}
	var err error
	if s.fence, err = r.pen.fence(); err != nil {
		return executor.Result{}, fmt.Errorf("host: run: %w", err)
	}
	var blind string
	if watch != nil {
		s.tracer, blind = r.x.tracer(c, watch)
	}
	pipe, err := r.start(s, c)
	if err != nil {
		if s.tracer != nil {
			s.tracer.Finish(0)
		}
		s.fence.free()
		return executor.Result{}, fmt.Errorf("host: run: %w", err)
	}

	release := context.AfterFunc(ctx, s.stop)
	go s.await(pipe)
	held, werr := s.deliver(pipe, out)
	<-s.ended // the writer may have failed, or the pipe been closed by hand
	release()
	status, stopped := s.result()

	res := executor.Result{Exit: status.ExitStatus(), Stopped: stopped}
	if status.Signaled() {
		res.Exit = 128 + int(status.Signal())
		res.Signal = unix.SignalName(status.Signal())
	}
	res.LeftOver = s.fence.alive()
	switch {
	case s.tracer != nil:
		res.Observation = s.tracer.Finish(res.LeftOver)
	case watch != nil:
		res.Observation = unwatched(blind)
	}
	if res.Exit != 0 && !stopped {
		// Also when a shell reports that its child was killed.
		res.OOM = r.pen.oom(res.Exit == 128+int(syscall.SIGKILL))
	}
	r.settle(s.fence, res.LeftOver, pipe, held)
	if werr != nil {
		return res, fmt.Errorf("host: run: deliver output: %w", werr)
	}
	return res, nil
}

func (r *room) enter(s *step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the room is closed")
	}
	r.run.Add(1)
	r.steps[s] = struct{}{}
	return nil
}

func (r *room) leave(s *step) {
	r.mu.Lock()
	delete(r.steps, s)
	r.mu.Unlock()
	r.run.Done()
}

// settle keeps what outlived its step until the room is closed.
func (r *room) settle(f fence, alive int, pipe *os.File, held bool) {
	if alive == 0 {
		f.free()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if alive > 0 {
		r.after = append(r.after, f)
	}
	// Somebody outside the fence may hold the pipe, too: a server that was
	// there before and was passed it. So the drain does not ask the fence.
	if !held {
		pipe.Close()
		return
	}
	r.drains[pipe] = struct{}{}
	r.drain.Go(func() {
		_, _ = io.Copy(io.Discard, pipe)
		pipe.Close()
		r.mu.Lock()
		delete(r.drains, pipe)
		r.mu.Unlock()
	})
}

// Close stops what runs, and ends what earlier steps have left.
func (r *room) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		r.run.Wait()
		return nil
	}
	r.closed = true
	for s := range r.steps {
		go s.stop()
	}
	r.mu.Unlock()
	r.run.Wait()

	r.mu.Lock()
	after := r.after
	r.after = nil
	r.mu.Unlock()
	survivors := make([]int, len(after))
	var wg sync.WaitGroup
	for i, f := range after {
		wg.Go(func() {
			if survivors[i] = end(f, closeGrace, nil); survivors[i] == 0 {
				f.free()
			}
		})
	}
	wg.Wait()
	r.pen.close()

	r.mu.Lock()
	for pipe := range r.drains { // held by somebody outside
		_ = pipe.SetReadDeadline(time.Unix(1, 0))
	}
	r.mu.Unlock()
	r.drain.Wait()
	for _, n := range survivors {
		if n > 0 {
			return fmt.Errorf("host: close room: %d processes cannot be killed", n)
		}
	}
	return nil
}

// step is one command while it runs.
type step struct {
	fence  fence
	tracer *trace.Tracer // nil when nobody watches
	pid    int
	grace  time.Duration

	ended chan struct{} // closed when the first process, and if stopped all others, have ended

	mu      sync.Mutex
	exited  bool // the first process has ended
	early   bool // stop was asked for before there was a process
	status  syscall.WaitStatus
	stopped chan struct{} // not nil: being stopped; closed when that is done
}

// start starts the command's first process. It returns the end of the pipe to
// read the output from.
func (r *room) start(s *step, c *plan.Command) (*os.File, error) {
	attr := syscall.SysProcAttr{Setsid: true}
	dir := cmp.Or(c.Dir, r.dirs.Workspace)
	extra := []entry{{"PWD", "PWD=" + dir}}
	if r.dirs.Home != "" {
		extra = append(extra, entry{"HOME", "HOME=" + r.dirs.Home})
	}
	if mark := s.fence.prepare(&attr); mark.name != "" {
		extra = append(extra, mark)
	}
	env, path := r.x.base.with(c.Env, c.Path, extra...)
	file, err := lookUp(c.Argv, dir, path)
	if err != nil {
		return nil, err
	}
	var fds [2]int
	if err := pipe(&fds); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(fds[1])
	widen(fds[1])
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)

	pa := &syscall.ProcAttr{Dir: dir, Env: env, Files: []uintptr{uintptr(null), uintptr(fds[1]), uintptr(fds[1])}, Sys: &attr}
	fork := func() (int, error) { return forkExec(file, c.Argv, pa) }
	if s.tracer != nil {
		s.tracer.Attr(&attr)
		untraced := fork
		fork = func() (int, error) { return s.tracer.Start(file, dir, c.Argv, untraced) }
	}
	pid, err := s.fence.start(fork)
	if err != nil {
		unix.Close(fds[0])
		return nil, explain(err, file, dir, c.Argv, env)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, err // cannot happen: the descriptor is ours and open
	}
	s.mu.Lock()
	s.pid = pid
	early := s.early
	s.mu.Unlock()
	if early {
		go s.stop()
	}
	return os.NewFile(uintptr(fds[0]), "output"), nil
}

// forkExec tries again when the file is being written: a descriptor of ours for
// it may be open in a process that is just being started elsewhere.
func forkExec(file string, argv []string, attr *syscall.ProcAttr) (int, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		pid, err := syscall.ForkExec(file, argv, attr)
		if err != syscall.ETXTBSY || wait > 100*time.Millisecond {
			return pid, err
		}
		time.Sleep(wait)
	}
}

// await waits for the first process and, when the step is being stopped, for
// all others; then it lets the reader of the pipe know.
func (s *step) await(pipe *os.File) {
	var status syscall.WaitStatus
	// Waiting fails only if the child is not ours.
	if s.tracer != nil {
		_ = s.tracer.Wait(s.pid, &status)
	} else {
		_ = wait(s.pid, &status)
	}
	s.fence.reaped()
	s.mu.Lock()
	s.exited, s.status = true, status
	stopped := s.stopped
	s.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	close(s.ended)
	_ = pipe.SetReadDeadline(time.Unix(1, 0))
}

// result is how the first process ended, and whether that was our doing.
func (s *step) result() (status syscall.WaitStatus, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, s.stopped != nil
}

// stop ends everything inside the fence, and returns when that is done. It does
// nothing when the first process has ended already.
func (s *step) stop() {
	s.mu.Lock()
	if s.pid == 0 {
		s.early = true
		s.mu.Unlock()
		return
	}
	if s.exited || s.stopped != nil {
		done := s.stopped
		s.mu.Unlock()
		if done != nil {
			<-done
		}
		return
	}
	s.stopped = make(chan struct{})
	s.mu.Unlock()
	defer close(s.stopped)
	end(s.fence, s.grace, s.gone)
}

// gone reports whether the first process has been waited for. Until then a
// fence can look empty although its end is not known.
func (s *step) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// killWait is how long the dead may take to go. Longer takes only what hangs
// inside the kernel.
const killWait = 5 * time.Second

// end ends what is inside a fence: TERM, and KILL after the grace. It returns
// how many processes withstood even that. A gone that is not nil is waited for, too.
func end(f fence, grace time.Duration, gone func() bool) (survivors int) {
	f.signal(syscall.SIGTERM)
	f.signal(syscall.SIGCONT) // who is stopped cannot heed a TERM
	if emptied(f, grace, gone) {
		return 0
	}
	deadline := time.Now().Add(killWait)
	for time.Now().Before(deadline) {
		f.signal(syscall.SIGKILL)
		if emptied(f, 100*time.Millisecond, gone) {
			return 0
		}
	}
	return f.alive()
}

// emptied waits until nothing lives inside the fence, for at most so long.
func emptied(f fence, long time.Duration, gone func() bool) bool {
	deadline := time.Now().Add(long)
	for pause := 500 * time.Microsecond; ; pause = min(pause*2, 20*time.Millisecond) {
		if (gone == nil || gone()) && f.alive() == 0 {
			return true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		time.Sleep(min(pause, left))
	}
}

// bufSize is the most that is read at once, and so written to out at once.
const bufSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// deliver passes the output on, until the pipe has no writer any more or the
// step has ended. In the latter case it passes on what had been printed by
// then, and reports that somebody still holds the pipe. When out fails, the step is
// stopped and its output thrown away.
func (s *step) deliver(pipe *os.File, out io.Writer) (held bool, err error) {
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	write := func(p []byte) {
		if err != nil || len(p) == 0 {
			return
		}
		n, werr := out.Write(p)
		if werr == nil && n < len(p) {
			werr = io.ErrShortWrite
		}
		if werr != nil {
			err = werr
			go s.stop()
		}
	}
	for {
		n, rerr := pipe.Read(buf[:])
		write(buf[:n])
		switch {
		case rerr == nil:
		case errors.Is(rerr, os.ErrDeadlineExceeded):
			return s.rest(pipe, buf[:], write), err
		default: // the end, nearly always
			return false, err
		}
	}
}

// rest passes on what is in the pipe now, and no more: somebody may be
// printing without end. It reports whether the pipe still has writers.
func (s *step) rest(pipe *os.File, buf []byte, write func([]byte)) (held bool) {
	_ = pipe.SetReadDeadline(time.Time{})
	conn, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	held = true
	_ = conn.Control(func(fd uintptr) {
		left, err := unix.IoctlGetInt(int(fd), fionread)
		for err == nil && held {
			var n int
			// One byte over what is there tells an empty pipe from an ended one.
			n, err = unix.Read(int(fd), buf[:min(len(buf), max(left, 1))])
			switch {
			case err == unix.EINTR:
				err = nil
			case err == nil && n == 0:
				held = false
			case err == nil:
				write(buf[:n])
				if left -= n; left < 0 {
					return
				}
			}
		}
	})
	return held
}

// writeFiles writes what the command needs before it starts. Nothing is started
// meanwhile: a process that is just being started would hold the file open for
// writing, and nobody can execute such a file.
func writeFiles(files []plan.File) error {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return fmt.Errorf("write script: %w", err)
		}
		syscall.ForkLock.RLock()
		err := os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode))
		syscall.ForkLock.RUnlock()
		if err != nil {
			return fmt.Errorf("write script: %w", err)
		}
	}
	return nil
}
