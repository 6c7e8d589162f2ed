package docker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Inside is the word by which Fairlead, started in a container, knows that it
// is the agent there: the first argument.
const Inside = "inside-container"

// Serve is the agent in a container: with the arguments that the other side
// has put behind [Inside], it connects back, opens a room with the executor
// that open makes, and runs there what it is asked to, until the connection
// ends. Then it ends too, and with it, as its first process, the container.
// The result is the exit code.
func Serve(args []string, open func(grace time.Duration) executor.Executor) int {
	err := errors.New("it is started by Fairlead itself, in containers")
	switch {
	case len(args) == 1:
		err = serve(args[0], open)
	case len(args) == 4 && args[0] == giveVerb:
		err = giveTo(args[1], args[2], args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead "+Inside+":", err)
		return 1
	}
	return 0
}

func serve(socket string, open func(grace time.Duration) executor.Executor) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	a := &agent{line: newLine(conn), runs: map[uint32]*inner{}, ways: filepath.Dir(socket), routes: map[int]net.Listener{}}
	defer a.closeRoutes()
	defer a.wait.Wait()
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	k, _, body, err := a.line.receive()
	if err != nil {
		return err
	}
	var b beginning
	if err := asked(body, &b); err != nil || k != kindBegin {
		return errors.Join(errors.New("that is no beginning"), err)
	}
	r := ready{User: [2]int{os.Getuid(), os.Getgid()}}
	r.Owner, err = insideNumbers(b.Owner)
	a.dirs, a.user, a.owner = jobDirs(b.Dirs), r.User, r.Owner
	if err == nil {
		x := open(b.Grace)
		a.prefix = x.Name() + ": run: "
		a.room, err = x.Open(ctx, executor.Spec{Dirs: b.Dirs})
	}
	r.Problem = problemOf(err)
	if err := errors.Join(err, a.line.answer(kindReady, 0, r)); err != nil {
		return err
	}
	for {
		k, id, body, err := a.line.receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, a.abandon())
		}
		switch k {
		case kindRun:
			var o order
			if err := asked(body, &o); err != nil {
				return err
			}
			a.run(ctx, id, &o)
		case kindStop:
			if r := a.find(id); r != nil {
				r.cancel()
			}
		case kindCredit:
			if r := a.find(id); r != nil {
				n, _ := binary.Uvarint(body)
				r.credit(int64(n))
			}
		case kindEnd:
			err := errors.Join(a.room.Close(), a.give(nil))
			if err := a.line.answer(kindGone, 0, problemOf(err)); err != nil {
				return err
			}
		}
	}
}

// agent runs commands for the other side.
type agent struct {
	line   *line
	room   executor.Room
	prefix string // of the errors of its commands
	dirs   []string
	user   [2]int // that steps run as
	owner  [2]int // of all in dirs, in the end
	wait   sync.WaitGroup
	ways   string // directory of the sockets

	mu     sync.Mutex
	runs   map[uint32]*inner
	routes map[int]net.Listener // by port: see route
}

func (a *agent) find(id uint32) *inner {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[id]
}

// abandon ends all steps when the other side has gone: somebody else may be
// about to use the job's directories. The first process of a container takes
// everybody with it; that is not said of one in another's name space.
func (a *agent) abandon() error {
	if os.Getpid() == 1 {
		// There may be nobody to kill.
		_ = syscall.Kill(-1, syscall.SIGKILL)
	}
	a.mu.Lock()
	for _, r := range a.runs {
		r.cancel()
		r.credit(-1)
	}
	a.mu.Unlock()
	a.wait.Wait()
	return a.give(nil)
}

// run begins a command.
func (a *agent) run(ctx context.Context, id uint32, o *order) {
	ctx, cancel := context.WithCancel(ctx)
	r := &inner{line: a.line, id: id, left: window, cancel: cancel}
	r.more.L = &r.mu
	a.mu.Lock()
	a.runs[id] = r
	a.mu.Unlock()
	a.wait.Go(func() {
		defer cancel()
		var watch *trace.Spec
		if o.Watch != nil {
			watch = &trace.Spec{Inside: o.Watch.Inside, Ignored: o.Watch.Ignored}
		}
		var res executor.Result
		err := a.open(o.Command.Loopback)
		if err == nil {
			res, err = a.room.Run(ctx, &o.Command, watch, r)
			err = errors.Join(err, a.give(res.Observation))
		}
		a.mu.Lock()
		delete(a.runs, id)
		a.mu.Unlock()
		out := outcome{
			Exit: res.Exit, Signal: res.Signal, Stopped: res.Stopped, LeftOver: res.LeftOver, OOM: res.OOM,
			Problem: problemOf(err),
		}
		out.Problem.Text = strings.TrimPrefix(out.Problem.Text, a.prefix)
		if res.Observation != nil {
			out.Seen = seenOf(res.Observation, o.Watch.Mounted)
		}
		// If that cannot be said the other side is not there any more.
		_ = a.line.answer(kindDone, id, &out)
	})
}

// give lets the owner of the job's directories have what a command made, for
// what the next step does outside of the container; without an observation, all
// that is in them. Root gives it away. Any other user opens it, until root takes
// it from him in the end.
func (a *agent) give(o *record.Observation) error {
	var one func(path string, d fs.DirEntry) error
	switch {
	case a.user[0] == a.owner[0]:
		return nil
	case a.user[0] == 0:
		one = func(path string, d fs.DirEntry) error { return giveOne(path, d, a.owner) }
	default:
		one = unlock
	}
	if o == nil || o.Mechanism == "" || o.LeftOver > 0 {
		for _, dir := range a.dirs {
			if err := each(dir, one); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range o.Outputs {
		out := &o.Outputs[i]
		if out.Kind == record.Nothing || !below(out.Path, a.dirs) {
			continue
		}
		info, err := os.Lstat(out.Path)
		if err != nil {
			continue // it has just gone
		}
		if err := one(out.Path, fs.FileInfoToDirEntry(info)); err != nil {
			return err
		}
		if a.user[0] != 0 && out.Kind != record.Symlink {
			out.Perm |= uint32(opened(fs.FileMode(out.Perm & 0o777)))
		}
	}
	return nil
}

// inner is one command while it runs; as a writer, its output.
type inner struct {
	line   *line
	id     uint32
	cancel context.CancelFunc

	mu   sync.Mutex
	more sync.Cond // left has grown
	left int64     // bytes that the other side still takes
	lost bool      // nobody listens any more
}

// credit says that the other side takes so many bytes more; -1, that it is gone.
func (r *inner) credit(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < 0 {
		r.lost = true
	}
	r.left += n
	r.more.Broadcast()
}

// Write sends output, as far as the other side takes it.
func (r *inner) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		r.mu.Lock()
		for r.left <= 0 && !r.lost {
			r.more.Wait()
		}
		n := min(int64(len(p)-done), r.left, maxFrame)
		lost := r.lost
		r.left -= n
		r.mu.Unlock()
		if lost {
			return done, net.ErrClosed
		}
		if err := r.line.send(kindOutput, r.id, p[done:done+int(n)]); err != nil {
			return done, err
		}
		done += int(n)
	}
	return done, nil
}

func problemOf(err error) problem {
	p := problem{}
	if err == nil {
		return p
	}
	p.Text = err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Is = causeNotExist
	case errors.Is(err, fs.ErrPermission):
		p.Is = causePermission
	}
	return p
}

// insideNumbers are a user and group outside by their numbers in here. They
// are others where the engine is itself run by an ordinary user.
func insideNumbers(owner [2]int) (in [2]int, err error) {
	for i, file := range [...]string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		data, err := os.ReadFile(file)
		if err != nil {
			return in, err
		}
		n, known, err := insideNumber(owner[i], string(data))
		if err != nil {
			return in, fmt.Errorf("read %s: %w", file, err)
		}
		if !known && i == 0 {
			return in, fmt.Errorf("user %d of this machine does not exist in the engine's containers, and could not be given their files; does another user run the engine?", owner[i])
		}
		in[i] = n // a group that is not known is root's
	}
	return in, nil
}

// insideNumber looks up a number of outside in a map of the kernel's: lines of
// the first number inside, the first outside, and how many there are.
func insideNumber(outside int, table string) (n int, known bool, err error) {
	for line := range strings.Lines(table) {
		var in, out, count int
		if _, err := fmt.Sscan(line, &in, &out, &count); err != nil {
			return 0, false, err
		}
		if i := outside - out; i >= 0 && i < count {
			return in + i, true, nil
		}
	}
	return 0, false, nil
}

// giveVerb asks the agent's program for nothing but this: to give all that is
// in a directory to one user, whoever it belongs to. It is run as root in a
// container whose own user has left files that ours could not even remove.
const giveVerb = "give"

func giveTo(user, group, dir string) error {
	uid, err := strconv.Atoi(user)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		return err
	}
	return each(dir, func(path string, d fs.DirEntry) error { return giveOne(path, d, [2]int{uid, gid}) })
}

func giveOne(path string, d fs.DirEntry, to [2]int) error {
	if owner, ok := ownerOf(d); !ok || owner == to {
		return nil
	}
	if err := os.Lchown(path, to[0], to[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// each does something with all that is in a directory, and with it.
func each(dir string, one func(path string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just gone, or is on a file system that does not let even root in
		}
		return one(path, d)
	})
}
