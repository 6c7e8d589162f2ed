package supervise_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/front"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// TestMain is also the daemon and the service of the tests: they are this program, with
// another first word.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-host":
			os.Exit(daemon(os.Args[2]))
		case "test-webapp":
			os.Exit(deploytest.Webapp())
		}
	}
	os.Exit(m.Run())
}

func daemon(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	sockets, err := front.Inherit()
	if err == nil {
		var h *supervise.Host
		h, err = supervise.Open(supervise.Options{Dir: dir, Version: os.Getenv("TEST_HOST_VERSION"), Sockets: sockets, Successor: supervise.Succeeds(), Program: os.Args,
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err == nil {
			err = h.Serve(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// machine is a host of a test, with its daemon.
type machine struct {
	testing.TB
	dir, address string
	client       *supervise.Client
	cmd          *exec.Cmd
	log          *os.File
	socket       *os.File // of the front, as systemd holds it; nil for none
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	m := &machine{TB: t, dir: filepath.Join(t.TempDir(), "host"), address: l.Addr().String()}
	m.client = supervise.Local(m.dir)
	if m.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	m.boot()
	return m
}

// self is this program.
func self(t testing.TB) string {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// boot starts the daemon and waits until it answers.
func (m *machine) boot() {
	m.Helper()
	m.cmd = exec.Command(self(m.TB), "test-host", m.dir)
	m.cmd.Env = append(os.Environ(), "TEST_HOST_VERSION=old", "SECRET_OF_THE_HOST=x")
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if m.socket != nil {
		m.cmd.ExtraFiles = []*os.File{m.socket}
		m.cmd.Env = append(m.cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=front-"+strings.ReplaceAll(m.address, ":", "-"))
	}
	if err := m.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.until("the daemon to answer", func() bool { _, err := m.client.Status(m.Context()); return err == nil })
}

// kill ends the daemon without a word.
func (m *machine) kill() {
	m.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		m.Error(err)
	}
	_ = m.cmd.Wait()
	m.client.Close()
}

func (m *machine) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := m.client.Status(ctx)
	if err == nil {
		if err := m.client.Stop(ctx, true); err != nil {
			m.Error(err)
		}
		for syscall.Kill(s.PID, 0) == nil && ctx.Err() == nil && !m.reaped(s.PID) {
			time.Sleep(5 * time.Millisecond)
		}
	} else if m.cmd != nil {
		m.Errorf("the daemon does not answer at the end: %v", err)
	}
	if left := m.processes(); len(left) > 0 {
		m.Errorf("these are left: %v", left)
	}
	m.client.Close()
	if m.Failed() {
		log, _ := os.ReadFile(m.log.Name())
		m.Logf("the host's log:\n%s", log)
	}
	m.log.Close()
}

// reaped waits for the daemon if it is our child.
func (m *machine) reaped(pid int) bool {
	if m.cmd.Process.Pid != pid {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(data), ") Z ")
	}
	_ = m.cmd.Wait()
	return true
}

// processes are those whose environment says that the host started them.
func (m *machine) processes() (all []string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		m.Fatal(err)
	}
	for _, e := range entries {
		environ, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		stat, serr := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err == nil && serr == nil && strings.Contains(string(environ), "FAIRLEAD_HOST="+m.dir+"\x00") && !strings.Contains(string(stat), ") Z ") {
			all = append(all, e.Name())
		}
	}
	return all
}

func (m *machine) until(what string, holds func() bool) {
	m.Helper()
	for late := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			m.Fatalf("waited for %s; there is %+v", what, m.seen())
		}
	}
}

// target names what the tests deploy.
func (m *machine) target(fence int64) supervise.Target {
	return supervise.Target{Name: "shop-test", Repository: "o/r", Service: "shop", Environment: "test", Fence: fence}
}

const script = "#!/bin/sh\nexec \"$WEBAPP\" test-webapp \"$@\"\n"

// revision is one of the web service: a file that starts this program.
func (m *machine) revision(number int, fault string) supervise.Revision {
	body := fmt.Sprintf("%s# %d\n", script, number)
	sum := sha256.Sum256([]byte(body))
	return supervise.Revision{Number: number, Release: fmt.Sprintf("release-%d", number),
		Artifact: supervise.Artifact{Kind: supervise.KindFile, Name: "run", Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(body))},
		Run:      supervise.Run{Command: []string{"./run", "--port=$PORT"}, Ready: "/healthz", Stop: 5 * time.Second, Drain: 20 * time.Second},
		Route:    supervise.Route{Listen: m.address},
		Env:      map[string]string{"WEBAPP": self(m.TB), deploytest.VersionVar: strconv.Itoa(number), deploytest.FaultVar: fault, "TOKEN": "verysecret"}}
}

// ensure orders a revision, and brings its release if need be.
func (m *machine) ensure(ctx context.Context, r supervise.Revision, n int) error {
	o := supervise.Order{Target: m.target(1), Revision: r, Instances: n}
	err := m.client.Ensure(ctx, o)
	if errors.Is(err, supervise.ErrNoRelease) {
		body := fmt.Sprintf("%s# %d\n", script, r.Number)
		if err = m.client.Put(ctx, r.Artifact, strings.NewReader(body)); err == nil {
			err = m.client.Ensure(ctx, o)
		}
	}
	return err
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *machine) seen() supervise.Seen {
	s, err := m.client.Target(m.Context(), "shop-test")
	if err != nil {
		m.Log(err)
	}
	return s
}

func (m *machine) of(number int) []supervise.SeenInstance {
	for _, r := range m.seen().Revisions {
		if r.Number == number {
			return r.Instances
		}
	}
	return nil
}

// ready waits until n instances of a revision are.
func (m *machine) ready(number, n int) {
	m.Helper()
	m.until(fmt.Sprintf("%d ready instances of revision %d", n, number), func() bool {
		count := 0
		for _, in := range m.of(number) {
			if in.Ready {
				count++
			}
		}
		return count == n && len(m.of(number)) == n
	})
}

// serve brings about that a revision has all requests.
func (m *machine) serve(number, n int) {
	m.Helper()
	m.must(m.ensure(m.Context(), m.revision(number, ""), n))
	m.ready(number, n)
	m.must(m.client.Shift(m.Context(), m.target(1), []supervise.Share{{Number: number, Percent: 100}}))
}

func (m *machine) get(path string) (string, error) {
	req, err := http.NewRequestWithContext(m.Context(), http.MethodGet, "http://"+m.address+path, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return resp.Status, err
	}
	return string(body), err
}

func (m *machine) pids(number int) (all []int) {
	for _, in := range m.of(number) {
		all = append(all, in.PID)
	}
	return all
}

// TestDaemonKilled kills the daemon: the instances live on, and the next one takes them
// up, leads to them by the shares that held, and keeps them as the first did.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 2)
	m.must(m.ensure(t.Context(), m.revision(2, ""), 1))
	m.ready(2, 1)
	m.must(m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 1, Percent: 60}, {Number: 2, Percent: 40}}))
	before := [][]int{m.pids(1), m.pids(2)}
	m.kill()
	for _, pid := range slices.Concat(before...) {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("process %d ended with the daemon: %v", pid, err)
		}
	}
	// What nobody asks for, and what was started and could not be written down.
	orphan := exec.Command("sleep", "1000")
	orphan.Env = []string{"FAIRLEAD_HOST=" + m.dir, "FAIRLEAD_INSTANCE=shop-test-r9-0"}
	orphan.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m.must(orphan.Start())
	m.must(os.Remove(filepath.Join(m.dir, "run", "shop-test-r1-1")))
	m.boot()
	if after := [][]int{m.pids(1), m.pids(2)}; fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the processes %v have become %v", before, after)
	}
	if body, err := m.get("/"); body != "1" && body != "2" {
		t.Errorf("the new daemon leads to %q, %v", body, err)
	}
	if err := orphan.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("a process that nobody asks for: %v", err)
	}
	m.ready(1, 2)
	// An instance that was taken up and ends is started again.
	m.must(syscall.Kill(before[0][0], syscall.SIGKILL))
	m.until("another process", func() bool { p := m.pids(1); return len(p) == 2 && p[0] != before[0][0] && p[0] != 0 })
	m.ready(1, 2)
	if s := m.seen(); s.Fence != 1 || s.Revisions[0].Percent != 60 || s.Revisions[1].Percent != 40 {
		t.Errorf("it forgot: %+v", s)
	}
}

// TestKilledAtRandom kills the daemon again and again while releases are deployed, and
// looks that everything ends where it was to end, and nothing is left over.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	rounds := 8
	if os.Getenv("FAIRLEAD_LONG") != "" {
		rounds = 200
	}
	m := newMachine(t)
	m.serve(1, 2)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	for i := range rounds {
		old, next := i+1, i+2
		killed := make(chan struct{})
		after := time.Duration(chance.IntN(300)) * time.Millisecond
		go func() {
			defer close(killed)
			time.Sleep(after)
			m.kill()
		}()
		// What the loop of rollouts does: it goes on until it is so.
		deploy := func(ctx context.Context) error {
			if err := m.ensure(ctx, m.revision(next, ""), 2); err != nil {
				return err
			}
			if err := m.client.Shift(ctx, m.target(1), []supervise.Share{{Number: next, Percent: 100}}); err != nil {
				return err
			}
			return m.client.Remove(ctx, m.target(1), old)
		}
		first := deploy(t.Context())
		for first != nil && !closed(killed) { // until the daemon has been killed
			if first = deploy(t.Context()); errors.Is(first, supervise.ErrNotReady) {
				time.Sleep(5 * time.Millisecond)
			}
		}
		<-killed
		m.boot()
		m.until("the deployment to be done", func() bool { return deploy(t.Context()) == nil })
		m.ready(next, 2)
		s := m.seen()
		if len(s.Revisions) != 1 || s.Revisions[0].Percent != 100 {
			t.Fatalf("round %d, killed after %s: %+v", i, after, s)
		}
		if body, err := m.get("/"); body != strconv.Itoa(next) {
			t.Fatalf("round %d: %q, %v", i, body, err)
		}
		m.until("only two processes to be left", func() bool { return len(m.processes()) == 2 })
	}
	m.until("only one release to be left", func() bool {
		status, err := m.client.Status(t.Context())
		return err == nil && len(status.Releases) == 1
	})
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestUpgrade replaces the daemon again and again under load. Nobody notices.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 2)
	before := m.pids(1)
	load := deploytest.NewLoad(t.Context(), m.address, 2)
	was, err := m.client.Status(t.Context())
	m.must(err)
	upgrades := 4
	if os.Getenv("FAIRLEAD_LONG") != "" {
		upgrades = 20
	}
	for i := range upgrades {
		m.must(m.client.Upgrade(t.Context(), []string{"/usr/bin/env", fmt.Sprintf("TEST_HOST_VERSION=new-%d", i), self(t), "test-host", m.dir}))
		m.client.Close()
		m.until("the new daemon to answer", func() bool {
			now, err := m.client.Status(t.Context())
			return err == nil && now.Version == fmt.Sprintf("new-%d", i) && now.PID != was.PID
		})
		if i == 0 {
			_ = m.cmd.Wait() // the first was our child, and ends when its requests have
		}
	}
	// It still does what a host does.
	m.serve(2, 2)
	m.must(m.client.Remove(t.Context(), m.target(1), 1))
	for _, f := range load.Stop() {
		t.Error(f)
	}
	t.Log(load)
	if len(before) != 2 || load.Gets.Load() == 0 || load.Versions()["2"] == 0 {
		t.Errorf("%v, %v", before, load.Versions())
	}
}

// TestUpgradeFails starts programs that do not become the host: the old one goes on.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 1)
	before := m.pids(1)
	for _, program := range [][]string{{"/bin/false"}, {"/nowhere/fairlead"}, {"/bin/sh", "-c", "exit 7"}} {
		err := m.client.Upgrade(t.Context(), program)
		if err == nil || !strings.Contains(err.Error(), "the old one goes on") {
			t.Errorf("%v: %v", program, err)
		}
	}
	if after := m.pids(1); !slices.Equal(before, after) {
		t.Errorf("the processes %v have become %v", before, after)
	}
	m.serve(2, 1)
	if body, err := m.get("/"); body != "2" {
		t.Errorf("%q, %v", body, err)
	}
}

// TestOneHost is the only one of its directory.
func TestOneHost(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	out, err := exec.Command(self(m.TB), "test-host", m.dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another process is the host") {
		t.Errorf("%v: %s", err, out)
	}
	m.serve(1, 1)
}

// TestFaults deploys versions that are bad, each in its way, beside a good one that
// nobody shall notice anything of.
func TestFaults(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 1)
	crash := m.revision(2, deploytest.FaultCrash)
	m.must(m.ensure(t.Context(), crash, 1))
	m.until("the crash to be known", func() bool { in := m.of(2); return len(in) == 1 && in[0].Failed })
	if in := m.of(2)[0]; in.Why != "exit status 3: panic: the configuration is not what this version expects" || in.Restarts < 3 {
		t.Errorf("%+v", in)
	}
	err := m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 2, Percent: 100}})
	if !errors.Is(err, supervise.ErrNotReady) {
		t.Errorf("requests were given to what is not there: %v", err)
	}
	never := m.revision(3, deploytest.FaultNever)
	m.must(m.ensure(t.Context(), never, 1))
	if in := m.of(3)[0]; in.Ready || in.Failed {
		t.Errorf("it has not begun to answer, and nothing more is known: %+v", in)
	}
	slow := m.revision(4, deploytest.FaultSlowStart)
	m.must(m.ensure(t.Context(), slow, 1))
	m.ready(4, 1)
	missing := m.revision(5, "")
	missing.Run.Command = []string{"./nothing"}
	m.must(m.ensure(t.Context(), missing, 1))
	m.until("that to be known", func() bool {
		in := m.of(5)
		return len(in) == 1 && in[0].Failed && strings.Contains(in[0].Why, "no such file")
	})
	if body, err := m.get("/"); body != "1" {
		t.Errorf("%q, %v", body, err)
	}
	for number := 2; number <= 5; number++ {
		m.must(m.client.Remove(t.Context(), m.target(1), number))
	}
}

// TestMemory has a limit for an instance that needs more and more.
func TestMemory(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	leak := m.revision(1, deploytest.FaultLeak)
	leak.Run.Memory = 100 << 20
	m.must(m.ensure(t.Context(), leak, 1))
	m.ready(1, 1)
	m.must(m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 1, Percent: 100}}))
	pid := m.pids(1)[0]
	for i := 0; i < 500 && slices.Contains(m.pids(1), pid); i++ {
		_, _ = m.get("/")
	}
	m.until("it to be started again", func() bool { p := m.pids(1); return len(p) == 1 && p[0] != pid && p[0] != 0 })
	log, err := os.ReadFile(m.log.Name())
	if err != nil || !strings.Contains(string(log), "memory") {
		t.Errorf("it was not ended for its memory: %s", log)
	}
	status, err := m.client.Status(t.Context())
	m.must(err)
	t.Log("limits are kept by", status.Limits)
}

// TestSecrets looks where the values of an environment can be seen.
func TestSecrets(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 1)
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.pids(1)[0]))
	m.must(err)
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", m.pids(1)[0]))
	m.must(err)
	port := ""
	for pair := range strings.SplitSeq(string(environ), "\x00") {
		if v, ok := strings.CutPrefix(pair, "PORT="); ok {
			port = v
		}
	}
	switch {
	case !strings.Contains(string(environ), "TOKEN=verysecret"):
		t.Errorf("the instance has not got its secret: %q", environ)
	case strings.Contains(string(environ), "SECRET_OF_THE_HOST"):
		t.Error("the instance has got what is the host's")
	case strings.Contains(string(argv), "verysecret") || !strings.Contains(string(argv), "--port="+port):
		t.Errorf("its command line is %q", argv)
	}
	status, err := m.client.Status(t.Context())
	m.must(err)
	log, err := os.ReadFile(m.log.Name())
	m.must(err)
	for name, text := range map[string]string{"status": fmt.Sprintf("%+v", status), "log": string(log)} {
		if strings.Contains(text, "verysecret") {
			t.Errorf("the %s has a secret in it: %s", name, text)
		}
	}
	other := m.revision(1, "")
	other.Env["TOKEN"] = "another"
	found, err := m.client.Drift(t.Context(), supervise.Order{Target: m.target(0), Revision: other, Instances: 1})
	if err != nil || len(found) != 1 || found[0].Field != "env.TOKEN" || strings.Contains(fmt.Sprint(found), "secret") {
		t.Errorf("%+v, %v", found, err)
	}
	for _, name := range []string{"state.0", "state.1", "control/socket", "logs/shop-test-r1-0.log"} {
		info, err := os.Stat(filepath.Join(m.dir, name))
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %s", name, info.Mode())
		}
	}
}

// TestLongPath has a directory whose socket's path is longer than sockets take.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 20))
	m := &machine{TB: t, dir: filepath.Clean(dir), address: "127.0.0.1:0"}
	m.client = supervise.Local(m.dir)
	var err error
	if m.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	m.boot()
	if s, err := m.client.Status(t.Context()); err != nil || s.Directory != m.dir {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestStopAndGoOn ends everything, and begins again with what was asked for.
func TestStopAndGoOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 2)
	m.must(m.client.Stop(t.Context(), true))
	m.must(m.cmd.Wait())
	if left := m.processes(); len(left) > 0 {
		t.Errorf("these are left: %v", left)
	}
	m.client.Close()
	m.boot()
	m.ready(1, 2)
	if body, err := m.get("/"); body != "1" {
		t.Errorf("%q, %v", body, err)
	}
	// TERM ends the daemon alone.
	before := m.pids(1)
	m.must(m.cmd.Process.Signal(syscall.SIGTERM))
	m.must(m.cmd.Wait())
	m.client.Close()
	m.boot()
	if after := m.pids(1); !slices.Equal(before, after) {
		t.Errorf("the processes %v have become %v", before, after)
	}
}

// TestLogs has what instances have printed.
func TestLogs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.serve(1, 1)
	for instance, want := range map[string]string{"shop-test-r1-0": "version 1 starts at port"} {
		r, err := m.client.Logs(t.Context(), instance, 1000)
		m.must(err)
		body, err := io.ReadAll(r)
		r.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%q, %v", body, err)
		}
	}
	for _, instance := range []string{"shop-test-r1-7", "..%2f..%2fstate.0", "../state.0"} {
		if r, err := m.client.Logs(t.Context(), instance, 1000); err == nil {
			body, _ := io.ReadAll(r)
			r.Close()
			t.Errorf("%s: %q", instance, body)
		}
	}
}

// TestSockets has the front's socket held by another process, as systemd does: while the
// host is dead, requests wait, and none is refused.
func TestSockets(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &machine{TB: t, dir: filepath.Join(t.TempDir(), "host"), address: l.Addr().String()}
	m.client = supervise.Local(m.dir)
	if m.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	m.socket, err = l.(*net.TCPListener).File()
	m.must(err)
	t.Cleanup(m.end)
	t.Cleanup(func() { m.socket.Close() })
	m.boot()
	m.serve(1, 1)
	for range 3 {
		m.kill()
		answered := make(chan string, 1)
		go func() {
			body, err := m.get("/")
			answered <- fmt.Sprint(body, err)
		}()
		m.boot()
		if got := <-answered; got != "1<nil>" && got != "1 <nil>" {
			t.Errorf("a request that came while the host was dead: %s", got)
		}
	}
}

// BenchmarkShift is how long it takes from the command until a user is answered by the
// other release.
func BenchmarkShift(b *testing.B) {
	m := newMachine(b)
	m.serve(1, 1)
	m.serve(2, 1)
	for next := 1; b.Loop(); next = 3 - next {
		m.must(m.client.Shift(b.Context(), m.target(1), []supervise.Share{{Number: next, Percent: 100}}))
		if body, err := m.get("/"); body != strconv.Itoa(next) {
			b.Fatalf("%q, %v", body, err)
		}
	}
}

// TestNoArtifact runs a program of the machine, in an empty directory.
func TestNoArtifact(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.revision(1, "")
	r.Artifact = supervise.Artifact{}
	r.Run.Command = []string{self(t), "test-webapp"}
	m.must(m.ensure(t.Context(), r, 1))
	m.ready(1, 1)
	m.must(m.client.Shift(t.Context(), m.target(1), []supervise.Share{{Number: 1, Percent: 100}}))
	if body, err := m.get("/"); body != "1" {
		t.Errorf("%q, %v", body, err)
	}
}
