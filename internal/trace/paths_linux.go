//go:build amd64 || arm64

package trace

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trusted is for how long a thread's number is taken to mean the same thread.
// Numbers are given out in turn: for one to come back, as many processes must
// start as the machine has numbers, 32,768 or more.
const trusted = 100 * time.Millisecond

// maxTasks is how many threads are remembered.
const maxTasks = 1 << 14

// task is a thread that has made a call.
type task struct {
	tid    int
	proc   *process
	start  uint64 // when it started, in the kernel's ticks; 0 until it is needed
	seen   time.Time
	moving bool // its last call was chdir: it may not have been carried out yet
}

// process is what threads share.
type process struct {
	pid    int
	cwd    string // "" when not known
	moving int    // threads that may be changing it
}

// paths makes absolute paths of what processes say. It is not safe for
// concurrent use.
type paths struct {
	w      witness
	tasks  map[int]*task
	known  map[string]string // interned
	turns  map[string]string // directories in front of "..", and where they really are
	shared bool              // working directories are shared in ways that are not followed
	buf    []byte
	link   [pathMax + 16]byte
}

func newPaths(w witness) *paths {
	return &paths{w: w, tasks: map[int]*task{}, known: map[string]string{}, turns: map[string]string{}}
}

// task finds a thread, and takes note that its last call has been carried out.
func (p *paths) task(tid int) (*task, error) {
	t, err := p.find(tid, time.Now())
	if err == nil && t.moving {
		t.moving = false
		t.proc.moving--
	}
	return t, err
}

func (p *paths) find(tid int, now time.Time) (*task, error) {
	t := p.tasks[tid]
	if t != nil && now.Sub(t.seen) > trusted {
		start, err := startOf(tid)
		if err != nil {
			return nil, err
		}
		switch t.start {
		case start:
		case 0: // whoever it was, nothing that was known of it is believed
			t.start, t.proc.cwd = start, ""
			if pid, err := processOf(tid); err != nil || pid != t.proc.pid {
				t = nil
			}
		default:
			t = nil
		}
	}
	if t != nil {
		t.seen = now
		return t, nil
	}
	pid, err := processOf(tid)
	if err != nil {
		return nil, err
	}
	t = &task{tid: tid, seen: now}
	if pid == tid {
		t.proc = &process{pid: pid}
	} else {
		leader, err := p.find(pid, now)
		if err != nil {
			return nil, err
		}
		t.proc = leader.proc
	}
	if len(p.tasks) >= maxTasks {
		p.forget(now)
	}
	p.tasks[tid] = t
	return t, nil
}

// forget makes room. Whoever shares a process with a thread that stays, stays.
func (p *paths) forget(now time.Time) {
	stay := map[*process]bool{}
	for _, t := range p.tasks {
		if t.moving || now.Sub(t.seen) < trusted {
			stay[t.proc] = true
		}
	}
	for tid, t := range p.tasks {
		if !stay[t.proc] {
			delete(p.tasks, tid)
		}
	}
}

// processOf is the process that a thread is of.
func processOf(tid int) (int, error) {
	// The kernel looks whether the two belong together before all else.
	if err := unix.Tgkill(tid, tid, 0); err != unix.ESRCH {
		return tid, nil
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0, errGone
	}
	_, rest, _ := bytes.Cut(b, []byte("\nTgid:\t"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	pid, err := strconv.Atoi(string(line))
	if err != nil || pid <= 0 {
		return 0, errGone
	}
	return pid, nil
}

// startOf is when a thread started, in ticks since the machine did.
func startOf(tid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/stat")
	if err != nil {
		return 0, errGone
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const starttime = 22 - 3 // the first field here is the third
	if len(fields) <= starttime {
		return 0, errGone
	}
	return strconv.ParseUint(string(fields[starttime]), 10, 64)
}

// moves says that a thread is about to change its working directory.
func (p *paths) moves(t *task) {
	t.proc.cwd = ""
	if !t.moving {
		t.moving = true
		t.proc.moving++
	}
}

// share says that from now on working directories belong to others than just
// the threads of one process.
func (p *paths) share() { p.shared = true }

// cwd is a thread's working directory.
func (p *paths) cwd(t *task) (string, error) {
	if t.proc.cwd != "" && !p.shared {
		return t.proc.cwd, nil
	}
	dir, _, err := p.readlink("/proc/" + strconv.Itoa(t.tid) + "/cwd")
	if err == nil && t.proc.moving == 0 {
		t.proc.cwd = dir
	}
	return dir, err
}

// opened is the path of an open file. named is false for what has none: a pipe,
// a file that was removed, memory.
func (p *paths) opened(t *task, fd int32) (path string, named bool, err error) {
	if fd == unix.AT_FDCWD {
		path, err = p.cwd(t)
		return path, true, err
	}
	if fd < 0 {
		return "", false, errFault
	}
	path, named, err = p.readlink("/proc/" + strconv.Itoa(t.tid) + "/fd/" + strconv.Itoa(int(fd)))
	if err != nil && !errors.Is(err, errGone) {
		return "", false, err
	}
	if err != nil { // there is no such descriptor, as the kernel will say
		return "", false, errFault
	}
	return path, named, nil
}

// deleted is what the kernel adds to the path of a file that was removed.
const deleted = " (deleted)"

// readlink reads a link of /proc that stands for a file.
func (p *paths) readlink(link string) (path string, named bool, err error) {
	n, err := unix.Readlink(link, p.link[:])
	if err == unix.ENOENT || err == unix.ESRCH {
		return "", false, errGone
	}
	if err != nil {
		return "", false, &os.PathError{Op: "readlink", Path: link, Err: err}
	}
	b := p.link[:n]
	if n == 0 || b[0] != '/' {
		return p.intern(b), false, nil
	}
	if cut, ok := bytes.CutSuffix(b, []byte(deleted)); ok {
		if _, err := os.Lstat(string(b)); err != nil {
			return p.intern(cut), false, nil
		}
	}
	return p.intern(b), true, nil
}

func (p *paths) intern(b []byte) string {
	if s, ok := p.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.known) < maxPaths {
		p.known[s] = s
	}
	return s
}

// named is a path that has been made absolute.
type named struct {
	path string
	dir  bool // it ends so that it can only be a directory
	gone bool // it leads through /proc to a file without a name
}

// absolute makes a path, which is not empty, absolute and clean. follow says
// whether the call follows a link that the path is.
func (p *paths) absolute(t *task, at int32, path []byte, follow bool) (named, error) {
	var n named
	base := ""
	if path[0] != '/' {
		dir, ok, err := p.opened(t, at)
		if err != nil {
			return n, err
		}
		if dir == "" || dir[0] != '/' {
			return n, errFault // a pipe, where a directory should be
		}
		n.gone = !ok
		base = dir
	}
	clean, dir := p.clean(base, path)
	n.dir = dir
	if strings.HasPrefix(clean, "/proc/") || strings.HasPrefix(clean, "/dev/") {
		return p.magic(t, clean, follow || n.dir, n)
	}
	n.path = clean
	return n, nil
}

// clean joins a path to a directory that has no links in it, and makes it
// clean. dir says that it ends so that it can only be a directory.
func (p *paths) clean(base string, path []byte) (clean string, dir bool) {
	if path[0] == '/' || base == "/" {
		base = ""
	}
	b := append(p.buf[:0], base...)
	real := len(b) // so much of it has no links in it
	for rest := path; len(rest) > 0; {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte("/"))
		switch string(part) {
		case "", ".":
		case "..":
			if len(b) > real {
				// What comes before may be a link, and its parent elsewhere.
				b = append(b[:0], p.turn(p.intern(b))...)
			}
			b = b[:max(0, bytes.LastIndexByte(b, '/'))]
			real = len(b)
		default:
			b = append(append(b, '/'), part...)
		}
	}
	last := path[bytes.LastIndexByte(path, '/')+1:]
	dir = len(last) == 0 || string(last) == "." || string(last) == ".."
	if len(b) == 0 {
		b = append(b, '/')
	}
	p.buf = b
	return p.intern(b), dir
}

// turn is where a directory in front of ".." really is.
func (p *paths) turn(dir string) string {
	if dir == "" || dir == "/" {
		return dir
	}
	if real, ok := p.turns[dir]; ok {
		return real
	}
	p.w.see(dir, true)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir // the call will fail
	}
	if len(p.turns) >= maxPaths {
		clear(p.turns)
	}
	p.turns[dir] = real
	return real
}

// turned says that directories may be elsewhere from now on.
func (p *paths) turned() {
	if len(p.turns) > 0 {
		clear(p.turns)
	}
}

// magic follows those links of /proc that mean something else to each process.
func (p *paths) magic(t *task, path string, follow bool, n named) (named, error) {
	n.path = path
	if rest, ok := strings.CutPrefix(path, "/dev/"); ok {
		switch name, below, _ := strings.Cut(rest, "/"); {
		case name == "fd":
			path = "/proc/self/fd/" + below
		case rest == "stdin":
			path = "/proc/self/fd/0"
		case rest == "stdout":
			path = "/proc/self/fd/1"
		case rest == "stderr":
			path = "/proc/self/fd/2"
		default:
			return n, nil
		}
	}
	parts := strings.Split(strings.TrimPrefix(path, "/proc/"), "/")
	pid := strconv.Itoa(t.proc.pid)
	switch parts[0] {
	case "self":
		parts[0] = pid
	case "thread-self":
		parts = append([]string{pid, "task", strconv.Itoa(t.tid)}, parts[1:]...)
	case "mounts":
		parts = []string{pid, "mounts"}
	case "net":
		parts = append([]string{pid}, parts...)
	}
	n.path = "/proc/" + strings.Join(parts, "/")
	if _, err := strconv.Atoi(parts[0]); err != nil {
		return n, nil
	}
	at := 1
	if len(parts) > 3 && parts[1] == "task" {
		at = 3
	}
	if len(parts) <= at {
		return n, nil
	}
	end := at + 1
	switch parts[at] {
	case "cwd", "root", "exe":
	case "fd":
		if end++; len(parts) < end || parts[at+1] == "" {
			return n, nil
		}
	default:
		return n, nil
	}
	if len(parts) == end && !follow {
		return n, nil
	}
	to, ok, err := p.readlink("/proc/" + strings.Join(parts[:end], "/"))
	if errors.Is(err, errGone) || err == nil && !strings.HasPrefix(to, "/") {
		return n, nil // as it stands: of no interest
	}
	if err != nil {
		return n, err
	}
	n.gone = !ok
	if n.path = to; len(parts) > end {
		n.path = strings.TrimSuffix(to, "/") + "/" + strings.Join(parts[end:], "/")
	}
	return n, nil
}
