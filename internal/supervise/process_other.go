//go:build !linux

package supervise

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// look asks ps for a process. ok is false if there is none.
func look(pid int) (id identity, session int, ok bool) {
	out, err := exec.Command("ps", "-o", "state=,lstart=", "-p", strconv.Itoa(pid)).Output()
	state, start, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || start == "" || strings.HasPrefix(state, "Z") {
		return identity{}, 0, false
	}
	return identity{PID: pid, Start: start}, pid, true
}

// inSession cannot be known here but for the leader.
func inSession(session int) []int { return []int{session} }

type stray struct {
	identity
	session int
	env     map[string]string
}

// strays cannot be found here: what was started is known by what was written down.
func strays(string) []stray { return nil }

// memoryOf asks ps for the process alone.
func memoryOf(pid int) int64 {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kib << 10
}

// syncAll cannot be done here.
func syncAll(string) bool { return false }

// cutFront empties the file. What is written between the copy and this is lost.
func cutFront(f *os.File, _ int64) error { return f.Truncate(0) }

func firstByte(*os.File) int64 { return 0 }
