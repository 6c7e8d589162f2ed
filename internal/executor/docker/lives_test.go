package docker_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
)

// lives reports whether a process of a room's container exists and is no
// zombie; pid is its number inside. All processes of this machine are looked
// at: those of the container's name space have their number in it at the end
// of NSpid.
func lives(r executor.Room, pid int) bool {
	first := docker.FirstProcess(r)
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return false // the container has gone, and all in it
	}
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || bytes.Contains(data, []byte("State:\tZ")) || bytes.Contains(data, []byte("State:\tX")) {
			continue
		}
		_, rest, _ := strings.Cut(string(data), "NSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		numbers := strings.Fields(line)
		if len(numbers) < 2 || numbers[len(numbers)-1] != strconv.Itoa(pid) {
			continue
		}
		if s, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns/pid")); s == space {
			return true
		}
	}
	return false
}
