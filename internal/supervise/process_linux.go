package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// bootID tells one run of the kernel from the next: process IDs and times of start
// come again.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(id))
})

// look reads what /proc says of a process. ok is false if there is none, or if it
// is one that has ended and that nobody has waited for.
func look(pid int) (id identity, session int, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, 0, false
	}
	// 42 (a name (with) parentheses) S 1 42 42 …
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return identity{}, 0, false
	}
	f := strings.Fields(string(stat[end+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return identity{}, 0, false
	}
	session, err = strconv.Atoi(f[3])
	return identity{PID: pid, Start: bootID() + "/" + f[19]}, session, err == nil
}

// pids are all processes.
func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// inSession are the processes of a session.
func inSession(session int) []int {
	var all []int
	for _, pid := range pids() {
		if _, s, ok := look(pid); ok && s == session {
			all = append(all, pid)
		}
	}
	return all
}

// stray is a process that was started by a host in a directory.
type stray struct {
	identity
	session int
	env     map[string]string
}

// strays finds the processes whose environment says that the host in the directory
// started them. Not every program leaves its environment readable, so this is for
// those that were started and could not be written down.
func strays(dir string) []stray {
	mark := []byte(hostVar + "=" + dir)
	var all []stray
	for _, pid := range pids() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue
		}
		s := stray{env: map[string]string{}}
		mine := false
		for pair := range bytes.SplitSeq(data, []byte{0}) {
			mine = mine || bytes.Equal(pair, mark)
			if name, value, ok := strings.Cut(string(pair), "="); ok {
				s.env[name] = value
			}
		}
		if !mine {
			continue
		}
		var ok bool
		if s.identity, s.session, ok = look(pid); ok {
			all = append(all, s)
		}
	}
	return all
}

// memoryOf is how many bytes a process and its descendants have in memory.
func memoryOf(pid int) (n int64) {
	const most = 4096 // processes
	page := int64(os.Getpagesize())
	for todo := []int{pid}; len(todo) > 0 && len(todo) < most; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p)); err == nil {
			if f := strings.Fields(string(statm)); len(f) > 1 {
				resident, _ := strconv.ParseInt(f[1], 10, 64)
				n += resident * page
			}
		}
		children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p))
		for _, name := range children {
			list, _ := os.ReadFile(name)
			for _, f := range strings.Fields(string(list)) {
				if child, err := strconv.Atoi(f); err == nil {
					todo = append(todo, child)
				}
			}
		}
	}
	return n
}

// syncAll forces the whole file system of a directory to the disk; false if it cannot.
func syncAll(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd())) == nil
}

// cutFront takes the first n bytes off a file that others append to, without losing any
// that they write meanwhile: it removes them where the file system can, and else makes
// a hole of them, which takes no room.
func cutFront(f *os.File, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, n)
	}
	return err
}

// firstByte is where the first byte of a file is that is not in a hole.
func firstByte(f *os.File) int64 {
	at, err := f.Seek(0, unix.SEEK_DATA)
	if err != nil {
		return 0
	}
	return at
}
