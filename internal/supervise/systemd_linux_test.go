package supervise_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// insideVar says that the test is in the container.
const insideVar = "SUPERVISE_TEST_INSIDE"

// TestSystemd starts a real systemd as the first process of a container, and the tests
// that need one in there.
func TestSystemd(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || os.Getenv(insideVar) != "" {
		t.Skip("SKIPPED: only root can start systemd in a container")
	}
	for _, name := range []string{"/lib/systemd/systemd", "/usr/bin/systemd-run", "/usr/bin/unshare", "/usr/bin/nsenter"} {
		if _, err := os.Stat(name); err != nil {
			t.Skipf("SKIPPED: this test needs systemd and util-linux: %v", err)
		}
	}
	group, err := unifiedGroup()
	if err != nil {
		t.Skipf("SKIPPED: no control group can be made: %v", err)
	}
	t.Cleanup(func() { removeGroups(group) })
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// The container ends with the thread that has started it, should this process be killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var said bytes.Buffer
	first := exec.Command("unshare", "-Cmpiun", "--fork", "--kill-child=KILL", "sh", "testdata/systemd.sh", t.TempDir(), self(t))
	first.Stdout, first.Stderr = &said, &said
	first.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := first.Start(); err != nil {
		t.Skipf("SKIPPED: no container can be made: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	t.Cleanup(func() {
		_ = first.Process.Kill()
		<-ended
	})
	enter := func(argv ...string) *exec.Cmd {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first.Process.Pid, first.Process.Pid))
		pid, _, _ := strings.Cut(string(children), " ")
		return exec.Command("nsenter", append([]string{"--target", pid, "--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc", "--"}, argv...)...)
	}
	for late := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if enter("sh", "-c", "test -d /run/systemd/system && systemctl is-active nothing.target").Run() == nil {
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("SKIPPED: systemd does not start here: %v: %s", err, &said)
		default:
		}
		if time.Now().After(late) {
			t.Fatalf("systemd does not come up: %s", &said)
		}
	}
	inner := enter("env", insideVar+"=yes", "TMPDIR=/tmp", "HOME=/root", "/test/bin", "-test.v", "-test.run=^TestUnits$", "-test.timeout=2m")
	out, err := inner.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestUnits")) {
		t.Errorf("in the container: %v\n%s\nsystemd said:\n%s", err, out, &said)
	}
}

// unifiedGroup makes a control group of the second version, so that systemd has one of its
// own to divide.
func unifiedGroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 5 && strings.Contains(line, " - cgroup2 ") {
			return os.MkdirTemp(f[4], "fairlead-test-")
		}
	}
	return "", fmt.Errorf("there are none of the second version")
}

// removeGroups removes a group with those below it, as soon as their processes are gone.
func removeGroups(group string) {
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		_ = exec.Command("find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		if _, err := os.Stat(group); err != nil {
			return
		}
	}
}

// TestUnits keeps instances as units of systemd.
func TestUnits(t *testing.T) {
	if os.Getenv(insideVar) == "" {
		t.Skip("TestSystemd runs it where systemd is")
	}
	m := newMachine(t)
	unit := func(number int) supervise.Revision {
		r := m.revision(number, "")
		r.Run.Systemd = true
		r.Env["ODD"] = "a \"quoted\" $HOME\nline"
		return r
	}
	show := func(instance, property string) string {
		out, _ := exec.Command("systemctl", "show", "--value", "--property="+property, "fairlead-"+instance+".service").Output()
		return strings.TrimSpace(string(out))
	}
	m.must(m.ensure(t.Context(), unit(1), 2))
	m.ready(1, 2)
	m.must(m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 1, Percent: 100}}))
	if body, err := m.get("/"); body != "1" {
		t.Fatalf("%q, %v", body, err)
	}
	pid := m.pids(1)[0]
	if got := show("shop-test-r1-0", "MainPID"); got != fmt.Sprint(pid) {
		t.Errorf("the host says %d, systemd says %s", pid, got)
	}
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(group), "fairlead-shop-test-r1-0.service") {
		t.Errorf("its control group: %s, %v", group, err)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || !strings.Contains(string(environ), "ODD=a \"quoted\" $HOME\nline\x00") || !strings.Contains(string(environ), "TOKEN=verysecret\x00") {
		t.Errorf("its environment: %q, %v", environ, err)
	}
	if all, _ := exec.Command("systemctl", "show", "fairlead-shop-test-r1-0.service").Output(); strings.Contains(string(all), "verysecret") {
		t.Error("systemd shows a secret to everybody")
	}
	// One that ends is started again; the daemon may be killed.
	m.must(syscall.Kill(pid, syscall.SIGKILL))
	m.until("another process", func() bool { p := m.pids(1); return len(p) == 2 && p[0] != pid && p[0] != 0 })
	m.ready(1, 2)
	before := m.pids(1)
	m.kill()
	m.boot()
	if after := m.pids(1); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the processes %v have become %v", before, after)
	}
	// The next release, and nothing is left of this one.
	m.must(m.ensure(t.Context(), unit(2), 1))
	m.ready(2, 1)
	m.must(m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 2, Percent: 100}}))
	m.must(m.client.Remove(t.Context(), m.target(1), 1))
	if state := show("shop-test-r1-0", "ActiveState"); state != "inactive" {
		t.Errorf("the unit of an instance that was removed is %s", state)
	}
	broken := unit(3)
	broken.Run.Command = []string{"/bin/sh", "-c", "echo this one ends; exit 7"}
	m.must(m.ensure(t.Context(), broken, 1))
	m.until("the failure to be known", func() bool { in := m.of(3); return len(in) == 1 && in[0].Failed })
	if why := m.of(3)[0].Why; !strings.Contains(why, "7") || !strings.Contains(why, "this one ends") {
		t.Errorf("it failed: %s", why)
	}
	m.must(m.client.Remove(t.Context(), m.target(1), 3))
}
