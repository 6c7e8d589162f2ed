package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cage is a control group that limits the memory of one instance. A nil cage limits
// nothing; then the host looks from time to time.
type cage struct {
	dir   string
	limit int64 // bytes
	group *os.File
	old   bool // of the first version
}

// leaf is the group that the host moves into, where groups may have either processes
// or children.
const leaf = "fairlead-self"

// newCage makes the group of an instance, or finds it. The error says why there are no
// groups for us here.
func newCage(instance string, limit int64) (*cage, error) {
	if limit <= 0 {
		return nil, nil
	}
	if limit < 1<<20 {
		limit = 1 << 20
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	base, old, err := memoryGroup(string(groups), string(mounts))
	if err != nil {
		return nil, err
	}
	if !old {
		if err := delegate(base); err != nil {
			return nil, err
		}
	}
	c := &cage{dir: filepath.Join(base, "fairlead-"+instance), limit: limit, old: old}
	if err := os.Mkdir(c.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	names := []string{"memory.max", "memory.swap.max"}
	values := []string{strconv.FormatInt(limit, 10), "0"}
	if old {
		names, values[1] = []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}, values[0]
	}
	if err := os.WriteFile(filepath.Join(c.dir, names[0]), []byte(values[0]), 0); err != nil {
		c.remove()
		return nil, err
	}
	// Not every kernel counts swap.
	if err := os.WriteFile(filepath.Join(c.dir, names[1]), []byte(values[1]), 0); err != nil && !errors.Is(err, fs.ErrNotExist) && !old {
		c.remove()
		return nil, err
	}
	return c, nil
}

// memoryGroup finds our own group in the hierarchy that counts memory.
func memoryGroup(groups, mounts string) (dir string, old bool, err error) {
	var path1, path2 string
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(f) < 3 || strings.HasPrefix(f[2], "/.."):
		case f[0] == "0":
			path2 = f[2]
		case hasWord(f[1], "memory"):
			path1 = f[2]
		}
	}
	for line := range strings.Lines(mounts) {
		// 41 31 0:38 /root /mount/point options - cgroup cgroup rw,memory
		f := strings.Fields(line)
		at, path := -1, ""
		for i := range f {
			if f[i] == "-" {
				at = i
				break
			}
		}
		if at < 5 || len(f) < at+4 {
			continue
		}
		switch {
		case f[at+1] == "cgroup" && hasWord(f[at+3], "memory"):
			path, old = path1, true
		case f[at+1] == "cgroup2" && path1 == "":
			path, old = path2, false
		}
		rest, inside := strings.CutPrefix(path, strings.TrimSuffix(f[3], "/"))
		if path == "" || !inside && f[3] != "/" {
			continue
		}
		dir = filepath.Join(f[4], rest)
		if filepath.Base(dir) == leaf {
			dir = filepath.Dir(dir)
		}
		return dir, old, nil
	}
	return "", false, errors.New("there is no control group of ours that counts memory")
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// delegate makes memory counted below a group of the second version.
func delegate(base string) error {
	control := filepath.Join(base, "cgroup.subtree_control")
	have, err := os.ReadFile(control)
	if err != nil || strings.Contains(string(have), "memory") {
		return err
	}
	err = os.WriteFile(control, []byte("+memory"), 0)
	if !errors.Is(err, syscall.EBUSY) {
		return err
	}
	home := filepath.Join(base, leaf)
	if err := os.Mkdir(home, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(home, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	return os.WriteFile(control, []byte("+memory"), 0)
}

// enter makes a command start inside, where the kernel can.
func (c *cage) enter(cmd *exec.Cmd) error {
	if c == nil || c.old {
		return nil
	}
	var err error
	if c.group, err = os.Open(c.dir); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(c.group.Fd())
	return nil
}

// take moves a process inside that could not be started there. If that fails, it is
// only looked at.
func (c *cage) take(pid int) {
	if c == nil {
		return
	}
	if c.group != nil {
		c.group.Close()
	}
	if c.old {
		_ = os.WriteFile(filepath.Join(c.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
}

// exceeded reports whether the kernel has ended something for its memory.
func (c *cage) exceeded() bool {
	if c == nil {
		return false
	}
	name := "memory.events"
	if c.old {
		name = "memory.oom_control"
	}
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" && f[1] != "0" {
			return true
		}
	}
	return false
}

// remove takes the group away; one that has processes stays.
func (c *cage) remove() {
	if c != nil {
		_ = os.Remove(c.dir)
	}
}
