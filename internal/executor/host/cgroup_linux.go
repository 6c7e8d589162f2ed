package host

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups makes fences that are control groups (cgroup v2). They lie below
// the group that Fairlead itself is in:
//
//	<own>/fairlead-PID-RANDOM/     base
//	    f1, f2 …                   a fence each, used again when empty
//	    r1/f1 …                    with limits: a group for the room around them
//
// Fences are used again because making a group costs as much as starting a
// process.
type cgroups struct {
	base   string
	limits Limits
	keeper *keeper
	ooms   *ooms

	mu   sync.Mutex
	made int // names given out
	idle []*cgroupFence
}

// newCgroups fails where Fairlead may not make groups, or the kernel is older
// than 5.14 and cannot kill one.
func newCgroups(limits Limits) (*cgroups, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	if err := unix.Access(filepath.Join(own, "cgroup.procs"), unix.W_OK); err != nil {
		return nil, fmt.Errorf("control group %s: %w", own, err)
	}
	base := filepath.Join(own, fmt.Sprintf("fairlead-%d-%s", os.Getpid(), rand.Text()[:8]))
	if err := os.Mkdir(base, 0o755); err != nil {
		return nil, err
	}
	y := &cgroups{base: base, limits: limits, ooms: watchOOM(oomFile(own))}
	if err := y.arm(own); err != nil {
		_ = os.Remove(base)
		return nil, err
	}
	return y, nil
}

// arm starts the keeper, in the new group: what works for it works for steps.
func (y *cgroups) arm(own string) error {
	if _, err := os.Stat(filepath.Join(y.base, "cgroup.kill")); err != nil {
		return err
	}
	home := y.base
	if !y.limits.IsZero() {
		var err error
		if home, err = y.delegate(own); err != nil {
			return err
		}
	}
	dir, err := os.Open(home)
	if err != nil {
		return err
	}
	defer dir.Close()
	attr := &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	y.keeper, err = startKeeper(attr, killGroups, own, y.base)
	return err
}

// delegate makes the limits' controllers available in base. A group with
// processes of its own cannot pass controllers on, so Fairlead moves into a
// leaf of its own where it must. It returns a group for the keeper.
func (y *cgroups) delegate(own string) (home string, err error) {
	home = own
	want := "+memory +pids +cpu"
	err = writeFile(own, "cgroup.subtree_control", want)
	if errors.Is(err, unix.EBUSY) {
		home = own + "/fairlead-self"
		if err = os.Mkdir(home, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			if err = writeFile(home, "cgroup.procs", "0"); err == nil {
				err = writeFile(own, "cgroup.subtree_control", want)
			}
		}
	}
	if err == nil {
		err = writeFile(y.base, "cgroup.subtree_control", want)
	}
	if err != nil {
		return "", fmt.Errorf("%s does not pass on its controllers: %w", own, err)
	}
	return home, nil
}

// killGroups is the keeper's work: $1 is our group, $2 the base. The keeper
// itself is in the base until it wants to remove that; to move is slow, and
// holds up every fork of the machine. If there are no fences, nobody was killed.
const killGroups = `
read -r _
set -- "$1" "$2" "$2"/*/cgroup.kill
[ -e "$3" ] || exit 0
echo 0 >"$1/cgroup.procs"
n=0
while [ -d "$2" ] && [ $n -lt 100 ]; do
	for k in "$2"/*/cgroup.kill; do echo 1 >"$k"; done
	find "$2" -depth -type d -exec rmdir {} +
	n=$((n + 1))
	[ -d "$2" ] && sleep 0.05
done`

// ownCgroup is the directory of the control group this process is in.
func ownCgroup() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return findCgroup(string(groups), string(mounts))
}

func findCgroup(groups, mounts string) (string, error) {
	path := ""
	for line := range strings.Lines(groups) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(p, "\n")
		}
	}
	if path == "" || strings.HasPrefix(path, "/..") {
		return "", errors.New("no control group (v2) of our own")
	}
	for line := range strings.Lines(mounts) {
		// 41 31 0:38 /root /mount/point options… - cgroup2 …
		f := strings.Fields(line)
		if len(f) < 5 || !strings.Contains(line, " - cgroup2 ") || strings.Contains(f[4], `\`) {
			continue
		}
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(f[3], "/"))
		if ok {
			return filepath.Join(f[4], rest), nil
		}
	}
	return "", errors.New("control groups (v2) are not mounted")
}

// pen is the whole yard when nothing is limited, so that rooms that follow
// each other use the same groups; otherwise it is a group of its own.
func (y *cgroups) pen() (pen, error) {
	if y.limits.IsZero() {
		return &cgroupPen{yard: y, dir: y.base, ooms: y.ooms}, nil
	}
	y.mu.Lock()
	y.made++
	dir := fmt.Sprintf("%s/r%d", y.base, y.made)
	y.mu.Unlock()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	if err := y.limits.write(dir); err != nil {
		_ = os.Remove(dir)
		return nil, fmt.Errorf("limits: %w", err)
	}
	return &cgroupPen{yard: y, dir: dir, own: true, ooms: watchOOM(dir + "/memory.events")}, nil
}

// write puts the limits into a group's files.
func (l Limits) write(dir string) error {
	const period = 100_000 // microseconds
	if l.Memory > 0 {
		if err := writeFile(dir, "memory.max", strconv.FormatInt(l.Memory, 10)); err != nil {
			return err
		}
		// Without swap the limit is the limit. Not every kernel counts swap.
		if err := writeFile(dir, "memory.swap.max", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if l.PIDs > 0 {
		if err := writeFile(dir, "pids.max", strconv.Itoa(l.PIDs)); err != nil {
			return err
		}
	}
	if l.CPUs > 0 {
		quota := max(int64(l.CPUs*period), 1000)
		if err := writeFile(dir, "cpu.max", fmt.Sprintf("%d %d", quota, period)); err != nil {
			return err
		}
	}
	return nil
}

// close removes all groups. What cannot be removed, since a room was not
// closed, is left to the keeper.
func (y *cgroups) close() error {
	y.mu.Lock()
	idle := y.idle
	y.idle = nil
	y.mu.Unlock()
	for _, f := range idle {
		f.remove()
	}
	err := y.keeper.dismiss(false)
	if rerr := os.Remove(y.base); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

type cgroupPen struct {
	yard *cgroups
	dir  string
	own  bool // dir is of this pen alone
	ooms *ooms

	mu     sync.Mutex
	fences []*cgroupFence // when own: all of them
	idle   []*cgroupFence // when own
}

func (p *cgroupPen) fence() (fence, error) {
	mu, idle := &p.yard.mu, &p.yard.idle
	if p.own {
		mu, idle = &p.mu, &p.idle
	}
	mu.Lock()
	// The one put back last may still be emptying: the kernel counts a
	// process out a moment after it has been waited for.
	for i := len(*idle) - 1; i >= 0; i-- {
		if f := (*idle)[i]; !f.populated() {
			*idle = append((*idle)[:i], (*idle)[i+1:]...)
			mu.Unlock()
			f.pen = p
			return f, nil
		}
	}
	mu.Unlock()

	p.yard.mu.Lock()
	p.yard.made++
	dir := fmt.Sprintf("%s/f%d", p.dir, p.yard.made)
	p.yard.mu.Unlock()
	f, err := makeFence(dir)
	if err != nil {
		return nil, err
	}
	f.pen = p
	if p.own {
		p.mu.Lock()
		p.fences = append(p.fences, f)
		p.mu.Unlock()
	}
	return f, nil
}

func (p *cgroupPen) oom(killed bool) bool { return (p.own || killed) && p.ooms.more() }

func (p *cgroupPen) close() {
	if !p.own {
		return
	}
	_ = writeFile(p.dir, "cgroup.kill", "1")
	for _, f := range p.fences {
		f.remove()
	}
	_ = os.Remove(p.dir)
}

// cgroupFence is a control group.
type cgroupFence struct {
	pen    *cgroupPen
	path   string
	dir    *os.File
	events *os.File
	killed atomic.Bool
	gone   sync.Once
}

func makeFence(path string) (*cgroupFence, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	dir, err := os.Open(path)
	if err == nil {
		var events *os.File
		if events, err = os.Open(path + "/cgroup.events"); err == nil {
			return &cgroupFence{path: path, dir: dir, events: events}, nil
		}
		dir.Close()
	}
	_ = os.Remove(path)
	return nil, fmt.Errorf("make control group: %w", err)
}

func (f *cgroupFence) prepare(attr *syscall.SysProcAttr) entry {
	attr.UseCgroupFD, attr.CgroupFD = true, int(f.dir.Fd())
	return entry{}
}

func (f *cgroupFence) start(fork func() (int, error)) (int, error) { return fork() }
func (f *cgroupFence) reaped()                                     {}

// populated is false when no process lives in the group or below it.
func (f *cgroupFence) populated() bool {
	var buf [128]byte
	n, err := f.events.ReadAt(buf[:], 0)
	if n == 0 && err != nil {
		return false // the group is gone
	}
	return bytes.Contains(buf[:n], []byte("populated 1"))
}

// maxGroups bounds how many groups inside a fence are looked at: a step may
// make groups, too (a nested Fairlead does).
const maxGroups = 10_000

func (f *cgroupFence) pids() []int {
	var pids []int
	groups := 0
	_ = filepath.WalkDir(f.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a group that has just gone
		}
		if groups++; groups > maxGroups {
			return filepath.SkipAll
		}
		data, err := os.ReadFile(path + "/cgroup.procs")
		if err != nil {
			return nil
		}
		for s := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(s); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

func (f *cgroupFence) alive() int {
	if !f.populated() {
		return 0
	}
	return len(f.pids())
}

func (f *cgroupFence) signal(sig syscall.Signal) {
	if sig == syscall.SIGKILL && writeFile(f.path, "cgroup.kill", "1") == nil {
		f.killed.Store(true)
		return
	}
	for _, pid := range f.pids() {
		_ = syscall.Kill(pid, sig)
	}
}

// free keeps the group for another step, unless it has been killed: some
// kernels go on to kill whatever is started directly in a group that once was.
func (f *cgroupFence) free() {
	if f.killed.Load() {
		f.remove()
		return
	}
	mu, idle := &f.pen.yard.mu, &f.pen.yard.idle
	if f.pen.own {
		mu, idle = &f.pen.mu, &f.pen.idle
	}
	mu.Lock()
	defer mu.Unlock()
	*idle = append(*idle, f)
}

// remove kills what is inside and removes the group, with those that the step
// made below it. The kernel needs a moment for the dead to leave.
func (f *cgroupFence) remove() { f.gone.Do(f.doRemove) }

func (f *cgroupFence) doRemove() {
	if f.populated() {
		_ = writeFile(f.path, "cgroup.kill", "1")
	}
	for wait := time.Millisecond; wait < 200*time.Millisecond; wait *= 2 {
		if err := removeGroups(f.path); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(wait)
	}
	f.dir.Close()
	f.events.Close()
}

func removeGroups(path string) error {
	err := unix.Rmdir(path)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	below, _ := os.ReadDir(path)
	for _, d := range below {
		if d.IsDir() {
			if err := removeGroups(filepath.Join(path, d.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(path)
}

func writeFile(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
