//go:build linux

package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestInherit(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PATH=/bin", "HOME=/home/me", "LANG=C.UTF-8", "GOPATH=/go", "https_proxy=http://proxy", "JAVA_HOME=/java", "TZ=UTC", "SSL_CERT_FILE=/ca",
		"GITHUB_TOKEN=x", "FAIRLEAD_DATA=x", "MY_API_KEY=x", "npm_config_//host/:_authToken=x", "NPM_TOKEN=x", "AWS_PROFILE=x", "my_password=x",
		"GIT_DIR=x", "GIT_AUTHOR_NAME=me", "BASH_ENV=x", "BASH_FUNC_f%%=() { :; }", "TERM=xterm", "CI=true", "SSH_AUTH_SOCK=x", "MAKEFLAGS=-j4", "PWD=/x", "MONKEY=1",
		"PATH=/second", "=x", "broken",
	}
	for _, c := range []struct {
		patterns []string
		want     string
	}{
		{nil, "GIT_AUTHOR_NAME GOPATH HOME JAVA_HOME LANG MONKEY SSL_CERT_FILE TZ https_proxy"},
		{[]string{"!*", "HOME", "LANG*"}, "HOME LANG"},
		{[]string{"SSH_AUTH_SOCK", "!MONKEY", "!npm_*"}, "GIT_AUTHOR_NAME GOPATH HOME JAVA_HOME LANG SSH_AUTH_SOCK SSL_CERT_FILE TZ https_proxy"},
	} {
		e := inherit(environ, c.patterns)
		var names []string
		for _, x := range e.entries {
			names = append(names, x.name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%q:\n%s, want\n%s", c.patterns, got, c.want)
		}
	}
}

func TestEnvironmentOfCommand(t *testing.T) {
	t.Parallel()
	e := inherit([]string{"PATH=/bin:/usr/bin", "HOME=/root", "A=1", "B=2"}, nil)
	for _, c := range []struct {
		set  map[string]string
		dirs []string
		want string
	}{
		{nil, nil, "HOME=/h A=1 B=2 PATH=/bin:/usr/bin"},
		{map[string]string{"B": "3", "C": ""}, []string{"/x", "/y"}, "HOME=/h A=1 B=3 C= PATH=/x:/y:/bin:/usr/bin"},
		{map[string]string{"PATH": "/only", "HOME": "/mine"}, []string{"/x"}, "A=1 B=2 HOME=/mine PATH=/x:/only"},
		{map[string]string{"PATH": ""}, []string{"/x"}, "HOME=/h A=1 B=2 PATH=/x"},
	} {
		got, path := e.with(c.set, c.dirs, entry{"HOME", "HOME=/h"})
		if s := strings.Join(got, " "); s != c.want || !strings.HasSuffix(s, "PATH="+path) {
			t.Errorf("%v: %s (PATH %s), want %s", c.set, s, path, c.want)
		}
	}
}

func TestFindCgroup(t *testing.T) {
	t.Parallel()
	const unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	for _, c := range []struct{ groups, mounts, want string }{
		{"0::/user.slice/a.scope\n", unified, "/sys/fs/cgroup/user.slice/a.scope"},
		{"0::/\n", unified, "/sys/fs/cgroup"},
		{"4:memory:/x\n0::/a\n", "1 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified/a"},
		{"0::/docker/abc/step\n", "1 2 0:3 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/step"},
		{"0::/../outside\n", unified, ""},
		{"4:memory:/x\n", unified, ""},
		{"0::/a\n", "1 2 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", ""},
		{"", "", ""},
	} {
		got, err := findCgroup(c.groups, c.mounts)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q in %q: %q, %v; want %q", c.groups, c.mounts, got, err, c.want)
		}
	}
}

// The files that limits are written to are the kernel's; here they are
// anybody's, as the machine may have no controllers to give.
func TestLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"memory.max", "pids.max", "cpu.max"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := (Limits{Memory: 1 << 30, PIDs: 100, CPUs: 1.5}).write(dir); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[string]string{"memory.max": "1073741824", "pids.max": "100", "cpu.max": "150000 100000"} {
		if got, _ := os.ReadFile(filepath.Join(dir, f)); string(got) != want {
			t.Errorf("%s: %q, want %q", f, got, want)
		}
	}
	if err := (Limits{PIDs: 1}).write(t.TempDir()); err == nil {
		t.Error("a limit that cannot be set is passed over")
	}
	if n := parseOOMKills("low 0\nhigh 0\noom 3\noom_kill 2\noom_group_kill 0\n"); n != 2 {
		t.Errorf("%d OOM kills, want 2", n)
	}
	events := filepath.Join(dir, "memory.events")
	for i, text := range []string{"oom_kill 3\n", "oom_kill 3\n", "oom_kill 5\n"} {
		if err := os.WriteFile(events, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		o := &ooms{file: events, last: 3}
		if got := o.more(); got != (i == 2) {
			t.Errorf("%q after 3: %t", text, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 10 20 30 40 50 60 70 80 90 100 110 120 130 140 150 160 170 180 190 200"
	for text, want := range map[string]process{
		"7 (a b) c) (d" + ")" + rest: {pid: 7, ppid: 10, pgid: 20, sid: 30, tty: 40, state: 'S', start: 190, size: 200},
		"7 (sh)":                     {},
		"":                           {},
		"x (sh)" + rest:              {},
	} {
		p, ok := parseStat([]byte(text))
		if ok != (want.pid != 0) || ok && p != want {
			t.Errorf("%q: %+v, %t", text, p, ok)
		}
	}
}

// fakeLoad is a machine of which the test knows everything.
type fakeLoad struct {
	s       sample
	cores   float64
	limited bool
	nobody  float64
}

func (f *fakeLoad) sample() (sample, bool) { return f.s, true }
func (f *fakeLoad) quota() (float64, bool) { return f.cores, f.limited }
func (f *fakeLoad) free() (float64, bool)  { return f.nobody, true }

func TestMeter(t *testing.T) {
	t.Parallel()
	begin := time.Now().Add(-time.Hour)
	f := &fakeLoad{s: sample{at: begin}, nobody: 1}
	m := Meter{source: f}
	if got := m.Idle(); got != 1 {
		t.Errorf("first call: %v, want the cores that nobody wants now", got)
	}
	f.s = sample{at: begin.Add(time.Second), idle: 400 * time.Millisecond}
	if got := m.Idle(); got < 0.39 || got > 0.41 {
		t.Errorf("%v idle over the window, want 0.4", got)
	}
	f.s, f.nobody = sample{at: begin.Add(2 * time.Second), idle: 1400 * time.Millisecond}, -3
	if got := m.Idle(); got != 0 {
		t.Errorf("%v while more want to run than can, want 0", got)
	}
	f.s, f.nobody = sample{at: begin.Add(3 * time.Second), idle: 2400 * time.Millisecond, used: 300 * time.Millisecond}, 1
	f.cores, f.limited = 0.5, true
	if got := m.Idle(); got < 0.19 || got > 0.21 {
		t.Errorf("%v of a quota of 0.5 with 0.3 used, want 0.2", got)
	}
}

func TestMeterReads(t *testing.T) {
	t.Parallel()
	if d, ok := parseIdle([]byte("cpu  6798 0 4327 312747 467 0 79 20 0 0\ncpu0 1")); !ok || d != 313214*10*time.Millisecond {
		t.Errorf("idle: %v, %t", d, ok)
	}
	if n, ok := parseRunning([]byte("0.06 0.11 0.07 3/95 10319\n")); !ok || n != 2 {
		t.Errorf("running: %d, %t", n, ok)
	}
	for text, want := range map[string]float64{"150000 100000\n": 1.5, "max 100000\n": 0, "": 0, "1 0": 0} {
		if q, ok := parseQuota(text); q != want || ok != (want > 0) {
			t.Errorf("quota %q: %v, %t", text, q, ok)
		}
	}
	var m Meter
	if idle := m.Idle(); idle < 0 {
		t.Errorf("this machine: %v idle", idle)
	}
}

func BenchmarkMeter(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Idle()
	}
}

func BenchmarkSearchLook(b *testing.B) {
	y, err := newSearch(false)
	if err != nil {
		b.Fatal(err)
	}
	defer y.close()
	f := &searchFence{yard: y, mark: "x", many: true, since: now()}
	for b.Loop() {
		f.inside()
	}
}

// Fences that were killed are not used again, others are.
func TestFencesAgain(t *testing.T) {
	t.Parallel()
	y, err := newCgroups(Limits{})
	if err != nil {
		t.Skipf("no control groups here: %v", err)
	}
	p, err := y.pen()
	if err != nil {
		t.Fatal(err)
	}
	var got []fence
	for range 3 {
		f, err := p.fence()
		if err != nil {
			t.Fatal(err)
		}
		f.free()
		got = append(got, f)
	}
	f, _ := p.fence()
	f.signal(9)
	f.free()
	g, err := p.fence()
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != got[1] || got[1] != got[2] || g == f || slices.Contains(got, g) {
		t.Errorf("fences %p, then %p killed, then %p", got, f, g)
	}
	g.free()
	if err := y.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(y.base); err == nil {
		t.Error("the groups are still there")
	}
}

func BenchmarkStrangers(b *testing.B) {
	y, err := newSearch(false)
	if err != nil {
		b.Fatal(err)
	}
	defer y.close()
	for b.Loop() {
		y.strangers(nil)
	}
}
