package docker_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/executor/docker"
)

// lives reports whether a process of a room's container exists and is no
// zombie; pid is its number inside. All processes of this machine are looked
// at: those of the container are in its control group, and have their number
// inside at the end of NSpid.
func lives(r executor.Room, pid int) bool {
	id := docker.ContainerID(r)
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
		if groups, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup")); bytes.Contains(groups, []byte(id)) {
			return true
		}
	}
	return false
}
