package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// newYard makes the best fences to be had here.
func newYard(o Options) (yard, error) {
	if o.NoCgroups && o.Limits.IsZero() {
		return orErr(newSearch(o.Sealed))
	}
	y, err := newCgroups(o.Limits)
	if err == nil {
		return y, nil
	}
	if !o.Limits.IsZero() {
		return nil, fmt.Errorf("limits need control groups: %w", err)
	}
	return orErr(newSearch(o.Sealed))
}

// orErr keeps a nil pointer from becoming a yard.
func orErr(y *search, err error) (yard, error) {
	if err != nil {
		return nil, err
	}
	return y, nil
}

// pipeSize is the size of a step's output pipe: the larger, the less a step
// that prints much and Fairlead wait for each other. Where it is not granted,
// the usual size serves.
const pipeSize = 256 << 10

func widen(fd int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize) }

// fionread asks how many bytes are in a pipe.
const fionread = unix.TIOCINQ

func pipe(fds *[2]int) error { return unix.Pipe2(fds[:], unix.O_CLOEXEC) }

// oomFile is the file that tells how many processes the kernel has killed for
// want of memory: in our control group, or else on the whole machine.
func oomFile(own string) string {
	if file := own + "/memory.events"; own != "" && unix.Access(file, unix.R_OK) == nil {
		return file
	}
	return "/proc/vmstat"
}

// ooms watches such a file. To read it is not cheap.
type ooms struct {
	file string
	mu   sync.Mutex
	last int64
}

func watchOOM(file string) *ooms {
	o := &ooms{file: file}
	o.more()
	return o
}

// more reports whether there have been more since the last call.
func (o *ooms) more() bool {
	data, err := os.ReadFile(o.file)
	if err != nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.last
	o.last = parseOOMKills(string(data))
	return o.last > before
}

func parseOOMKills(text string) int64 {
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			v, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return v
		}
	}
	return 0
}
