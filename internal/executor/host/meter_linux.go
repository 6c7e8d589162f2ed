package host

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// kernel reads /proc and the files of our control group.
type kernel struct {
	stat, loadavg *os.File // kept open: reading again costs one call
	cores         int      // of the machine, of which we may be given fewer
	groups        []string // our control group (v2) and those above it
}

func newLoad() load {
	k := &kernel{cores: runtime.NumCPU()}
	if all, err := os.ReadFile("/proc/stat"); err == nil {
		k.cores = max(k.cores, bytes.Count(all, []byte("\ncpu")))
	}
	k.stat, _ = os.Open("/proc/stat")
	k.loadavg, _ = os.Open("/proc/loadavg")
	if own, err := ownCgroup(); err == nil {
		for dir := own; len(dir) > len("/sys/fs/cgroup"); dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir + "/cpu.max"); err == nil {
				k.groups = append(k.groups, dir)
			}
		}
		// Inside a container the mount point itself may be limited.
		if _, err := os.Stat("/sys/fs/cgroup/cpu.max"); err == nil {
			k.groups = append(k.groups, "/sys/fs/cgroup")
		}
	}
	return k
}

// userHZ is the unit of /proc/stat, the same on every architecture that Go
// runs Linux on.
const userHZ = 100

func (k *kernel) sample() (sample, bool) {
	if k.stat == nil {
		return sample{}, false
	}
	var buf [512]byte
	n, _ := k.stat.ReadAt(buf[:], 0)
	idle, ok := parseIdle(buf[:n])
	s := sample{at: time.Now(), idle: idle}
	if len(k.groups) > 0 {
		s.used = usage(k.groups[0])
	}
	return s, ok
}

// parseIdle reads the first line: "cpu  user nice system idle iowait …".
func parseIdle(stat []byte) (time.Duration, bool) {
	line, _, ok := bytes.Cut(stat, []byte("\n"))
	f := bytes.Fields(line)
	if !ok || len(f) < 6 || string(f[0]) != "cpu" {
		return 0, false
	}
	idle, err1 := strconv.ParseInt(string(f[4]), 10, 64)
	iowait, err2 := strconv.ParseInt(string(f[5]), 10, 64)
	return time.Duration(idle+iowait) * (time.Second / userHZ), err1 == nil && err2 == nil
}

func usage(dir string) time.Duration {
	data, err := os.ReadFile(dir + "/cpu.stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if us, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(us), 10, 64)
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

func (k *kernel) quota() (cores float64, limited bool) {
	for _, dir := range k.groups {
		data, err := os.ReadFile(dir + "/cpu.max")
		if err != nil {
			continue
		}
		if q, ok := parseQuota(string(data)); ok && (!limited || q < cores) {
			cores, limited = q, true
		}
	}
	return cores, limited
}

// parseQuota reads "QUOTA PERIOD" or "max PERIOD".
func parseQuota(text string) (cores float64, ok bool) {
	quota, period, _ := strings.Cut(strings.TrimSpace(text), " ")
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || p <= 0 {
		return 0, false
	}
	return q / p, true
}

func (k *kernel) free() (float64, bool) {
	if k.loadavg == nil {
		return 0, false
	}
	var buf [128]byte
	n, _ := k.loadavg.ReadAt(buf[:], 0)
	running, ok := parseRunning(buf[:n])
	return float64(k.cores - running), ok
}

// parseRunning reads "0.06 0.11 0.07 RUNNING/ALL LAST". The one who asks runs,
// too.
func parseRunning(loadavg []byte) (int, bool) {
	f := bytes.Fields(loadavg)
	if len(f) < 4 {
		return 0, false
	}
	running, _, ok := bytes.Cut(f[3], []byte("/"))
	n, err := strconv.Atoi(string(running))
	return max(n-1, 0), ok && err == nil
}
