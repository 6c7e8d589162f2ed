package host

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// markName is the variable that tells a step's processes apart where there
// are no control groups.
const markName = "FAIRLEAD_STEP"

// search makes fences that exist only in our knowledge: a process is inside
// when it descends from the step's first process, is in its session or group,
// or carries its mark.
//
// Fairlead is the subreaper, so an orphan becomes a child of ours: whoever
// still lives after a step's first process has a topmost ancestor among our
// children. That makes "is anything left?" cheap to ask. A child of ours in a
// foreign session and without a terminal is therefore taken for an orphan,
// unless we have started it here.
type search struct {
	id     string
	self   int
	sid    int
	keeper *keeper // nil when sealed
	ooms   *ooms

	// starting is held while a first process is started, until it is known;
	// the other way around while orphans are waited for or killed.
	starting sync.RWMutex

	mu     sync.Mutex
	made   int
	pens   int
	firsts map[int]*searchFence // first processes that nobody has waited for yet
	seen   map[int]*searchFence // processes once found inside a fence
}

func newSearch(sealed bool) (*search, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	sid, err := unix.Getsid(0)
	if err != nil {
		return nil, err
	}
	own, _ := ownCgroup()
	y := &search{ooms: watchOOM(oomFile(own)), id: rand.Text(), self: os.Getpid(), sid: sid, firsts: map[int]*searchFence{}, seen: map[int]*searchFence{}}
	if !sealed {
		y.keeper, err = startKeeper(&syscall.SysProcAttr{Setsid: true}, killMarked, markName+"="+y.id)
	}
	return y, err
}

// killMarked is the keeper's work: $1 is the beginning of all marks. Everything
// is stopped before anything is killed, so that nothing forks away. A process
// that is just becoming another program shows no environment, so nothing found
// once is not enough.
const killMarked = `
read -r _ && exit 0
n=0
none=0
while [ $n -lt 100 ] && [ $none -lt 5 ]; do
	pids=
	for e in $(grep -lsF "$1" /proc/[0-9]*/environ); do
		p=${e#/proc/}
		pids="$pids ${p%/environ}"
	done
	if [ -z "$pids" ]; then
		none=$((none + 1))
		sleep 0.1
	else
		none=0
		kill -STOP $pids
		kill -KILL $pids
	fi
	n=$((n + 1))
done`

func (y *search) pen() (pen, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pens++
	y.made++
	id := fmt.Sprintf("%s.%d.", y.id, y.made)
	return &searchPen{yard: y, id: id, all: searchFence{yard: y, mark: id, many: true, since: now()}}, nil
}

func (y *search) close() error {
	y.mu.Lock()
	quiet := y.pens == 0
	y.mu.Unlock()
	var err error
	if y.keeper != nil {
		err = y.keeper.dismiss(quiet)
	}
	return errors.Join(err, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0))
}

type searchPen struct {
	yard *search
	id   string
	all  searchFence // around everything that the pen's fences were around
}

func (p *searchPen) fence() (fence, error) {
	y := p.yard
	y.mu.Lock()
	defer y.mu.Unlock()
	y.made++
	return &searchFence{yard: y, mark: p.id + strconv.Itoa(y.made), since: now()}, nil
}

func (p *searchPen) oom(killed bool) bool { return killed && p.yard.ooms.more() }

// close ends what the fences have missed: to ask our children is cheap, but
// the kernel may skip one while another ends. With the last pen it ends, too, the
// orphans that nobody can be said to have left: daemons that wiped their
// environment.
func (p *searchPen) close() {
	y := p.yard
	if p.all.alive() > 0 {
		end(&p.all, closeGrace, nil)
	}
	y.mu.Lock()
	y.pens--
	last := y.pens == 0
	y.mu.Unlock()
	deadline := time.Now().Add(killWait)
	for last && y.strangers(nil) && y.clear() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
}

// clear kills all orphans, if no room has been opened meanwhile. It reports
// whether there were any.
func (y *search) clear() bool {
	all := y.look()
	y.starting.Lock()
	defer y.starting.Unlock()
	y.mu.Lock()
	open := y.pens > 0
	y.mu.Unlock()
	found := false
	for _, p := range all {
		if !open && p.state != 'Z' && y.orphan(p) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
			found = true
		}
	}
	return found
}

// searchFence is the knowledge about one step's processes.
type searchFence struct {
	yard  *search
	mark  string
	since uint64 // what was started before is not inside
	many  bool   // mark is the beginning of many fences' marks, and there is no first process

	pid   int
	exact atomic.Bool // alive must not rely on our children alone
	dead  bool        // the first process has been waited for; its number may be anybody's
}

// now is the time since boot in the unit of /proc/PID/stat.
func now() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Sec)*userHZ + uint64(t.Nsec)/(1e9/userHZ)
}

func (f *searchFence) prepare(*syscall.SysProcAttr) entry {
	return entry{markName, markName + "=" + f.mark}
}

func (f *searchFence) start(fork func() (int, error)) (int, error) {
	y := f.yard
	y.starting.RLock()
	defer y.starting.RUnlock()
	pid, err := fork()
	if err != nil {
		return 0, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	f.pid, y.firsts[pid] = pid, f
	return pid, nil
}

func (f *searchFence) reaped() {
	f.yard.mu.Lock()
	f.dead = true
	if f.yard.firsts[f.pid] == f { // or else the number is already another's
		delete(f.yard.firsts, f.pid)
	}
	f.yard.mu.Unlock()
}

func (f *searchFence) alive() int {
	// Nothing in its group, and no child of ours that is not accounted for:
	// the usual case, without a look at every process of the machine.
	// The list of our children can miss one while another ends, though, so it
	// does not do for what must be gone.
	if !f.many && !f.exact.Load() && syscall.Kill(-f.pid, 0) == syscall.ESRCH && !f.yard.strangers(f) {
		return 0
	}
	return len(f.inside())
}

func (f *searchFence) signal(sig syscall.Signal) {
	f.exact.Store(true)
	if sig == syscall.SIGKILL {
		// Twice, with everything stopped: what forked during the first look
		// is found in the second.
		for range 2 {
			for _, pid := range f.inside() {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}
	for _, pid := range f.inside() {
		_ = syscall.Kill(pid, sig)
	}
}

func (f *searchFence) free() {}

// process is a line of /proc/PID/stat.
type process struct {
	pid, ppid, pgid, sid, tty int
	state                     byte
	start                     uint64 // since boot
	size                      uint64 // of its memory
}

// inside is the processes that belong to the fence and live.
func (f *searchFence) inside() []int {
	y := f.yard
	all := y.look()
	in := make(map[int]bool, 8)
	mark := []byte(markName + "=" + f.mark)
	y.mu.Lock()
	dead := f.dead
	y.mu.Unlock()
	there := make(map[int]bool, len(all))
	for _, p := range all {
		there[p.pid] = true
	}
	for _, p := range all {
		switch {
		case p.start < f.since:
		case !f.many && (p.pid == f.pid || p.sid == f.pid || p.pgid == f.pid) && (!dead || p.ppid == y.self):
			in[p.pid] = true
		case p.state != 'Z' && (y.orphan(p) || !there[p.ppid] && p.ppid > 0):
			// An orphan, or one whose parent died while we looked. All others
			// descend from one of them.
			in[p.pid] = marked(p.pid, mark, f.many) && (p.ppid != y.self || y.settled(p))
		}
	}
	for grown := true; grown; { // descendants; two or three rounds
		grown = false
		for _, p := range all {
			if !in[p.pid] && in[p.ppid] && p.pid != y.self {
				in[p.pid], grown = true, true
			}
		}
	}
	var pids []int
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, p := range all {
		if in[p.pid] && p.state != 'Z' && p.state != 'X' {
			pids = append(pids, p.pid)
			y.seen[p.pid] = f
		}
	}
	return pids
}

// maxEnviron bounds what is read of a process's environment.
const maxEnviron = 1 << 20

// marked looks for the mark in the environment of an orphan that lives. That is
// empty for the moment that a process takes to become another program, so an
// empty one is looked at again for a little while; and it is gone already while
// a process is dying, whom to wait for does no harm.
func marked(pid int, mark []byte, prefix bool) bool {
	for range 100 {
		environ, err := readEnviron(pid)
		if err != nil {
			return dying(pid)
		}
		for e := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.HasPrefix(e, mark) && (prefix || len(e) == len(mark)) {
				return true
			}
		}
		if len(environ) > 0 {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// dying reports whether a process has given its memory back and is not a zombie
// yet.
func dying(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	p, ok := parseStat(data)
	return ok && p.size == 0 && p.state != 'Z'
}

func readEnviron(pid int) ([]byte, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxEnviron))
}

// look lists the processes of the machine, and waits for the orphans among
// our children that have died.
func (y *search) look() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []process
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		data, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		p, ok := parseStat(data)
		if !ok {
			continue
		}
		if p.state == 'Z' && p.ppid == y.self {
			y.bury(p)
		}
		all = append(all, p)
	}
	return all
}

// bury waits for a dead child if it is an orphan.
func (y *search) bury(p process) {
	y.starting.Lock()
	defer y.starting.Unlock()
	if y.orphan(p) {
		_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		y.mu.Lock()
		delete(y.seen, p.pid)
		y.mu.Unlock()
	}
}

// parseStat reads "PID (NAME) STATE PPID PGID SID TTY … START SIZE …". The name may hold
// anything, parentheses and spaces too.
func parseStat(data []byte) (p process, ok bool) {
	open, end := bytes.IndexByte(data, ' '), bytes.LastIndexByte(data, ')')
	if open < 0 || end < 0 {
		return p, false
	}
	f := bytes.Fields(data[end+1:])
	if len(f) < 21 || len(f[0]) != 1 {
		return p, false
	}
	p.state = f[0][0]
	var err error
	for i, field := range [][]byte{data[:open], f[1], f[2], f[3], f[4]} {
		to := []*int{&p.pid, &p.ppid, &p.pgid, &p.sid, &p.tty}[i]
		if *to, err = strconv.Atoi(string(field)); err != nil {
			return p, false
		}
	}
	var serr error
	p.start, err = strconv.ParseUint(string(f[19]), 10, 64)
	p.size, serr = strconv.ParseUint(string(f[20]), 10, 64)
	return p, err == nil && serr == nil
}

// orphan reports whether the process came to us because its parent died.
func (y *search) orphan(p process) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return p.ppid == y.self && p.sid != y.sid && p.tty == 0 && y.firsts[p.pid] == nil && !y.keeper.is(p.pid)
}

// settled is orphan asked again when nothing is just being started: a first
// process may have done its work before it is known as one, or been waited for
// since it was looked at.
func (y *search) settled(p process) bool {
	y.starting.Lock()
	defer y.starting.Unlock()
	if !y.orphan(p) {
		return false
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		return false
	}
	now, ok := parseStat(data)
	return ok && now.start == p.start && now.state != 'Z'
}

// strangers reports whether we have a child that is not accounted for: that may
// be f's, as it is neither a first process nor known to be another fence's.
func (y *search) strangers(f *searchFence) bool {
	dir, err := os.Open("/proc/self/task")
	if err != nil {
		return true
	}
	tasks, _ := dir.Readdirnames(-1)
	dir.Close()
	if len(tasks) > 0 && unix.Access("/proc/self/task/"+tasks[0]+"/children", unix.F_OK) == unix.ENOENT &&
		unix.Access("/proc/self/task/"+tasks[0], unix.F_OK) == nil {
		return true // a kernel that does not say: look at everything
	}
	for _, t := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + t + "/children")
		if err != nil {
			continue // the thread has ended; its children went to another
		}
		for s := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(s)
			if err != nil || y.keeper.is(pid) {
				continue
			}
			y.mu.Lock()
			owner := y.seen[pid]
			known := y.firsts[pid] != nil || f != nil && owner != nil && owner != f
			y.mu.Unlock()
			if known {
				continue
			}
			if sid, err := unix.Getsid(pid); err == nil && sid != y.sid {
				return true
			}
		}
	}
	return false
}
