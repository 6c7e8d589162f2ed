package ssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	cryptossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/deploy/ssh"
	"github.com/fairlead-dev/fairlead/internal/front"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

// TestMain is also the daemon and the service of the tests: they are this program, with
// another first word.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-host":
			os.Exit(host(os.Args[3]))
		case "test-webapp":
			os.Exit(deploytest.Webapp())
		}
	}
	os.Exit(m.Run())
}

func host(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := supervise.Open(supervise.Options{Dir: dir, Version: "test", Sockets: new(front.Sockets), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err == nil {
		err = h.Serve(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// server is a real sshd, for this user, with directories of its own.
type server struct {
	*testing.T
	base, address string // what it keeps, and where it listens
	identity      string
	known         string
	state         string // directory of its user's state
	program       string // that starts it, for one connection
	args          []string
}

// newServer makes the files of an sshd, which is started for each connection, as inetd
// does. It may be in a network of its own, which the prefix of its command makes.
func newServer(t *testing.T, prefix ...string) *server {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in the PATH of ordinary users
	}
	if _, err := os.Stat(sshd); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("sshd is missing, and in CI it must be there")
		}
		t.Skip("SKIPPED: this test needs sshd (Debian: openssh-server)")
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("sh", "-c", `getent passwd "$(id -un)"`).Output(); err != nil || strings.Contains(string(out), "nologin") || strings.HasSuffix(string(out), "/false\n") {
		t.Skipf("SKIPPED: this test logs in as its own user, who cannot: %s", out)
	}
	base, err := os.MkdirTemp("", "ssh") // the path of a socket is in it, which has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	s := &server{T: t, base: base}
	s.state = filepath.Join(s.base, "state")
	s.identity = s.key("id")
	hostKey := s.key("host")
	public, err := os.ReadFile(s.identity + ".pub")
	s.must(err)
	s.must(os.WriteFile(filepath.Join(s.base, "authorized_keys"), public, 0o600))
	config := filepath.Join(s.base, "sshd_config")
	s.must(os.WriteFile(config, []byte(fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv XDG_STATE_HOME=%s XDG_CACHE_HOME=%s/cache\n",
		hostKey, s.base, s.state, s.base)), 0o600))
	s.program, s.args = sshd, []string{"-i", "-e", "-f", config}
	if len(prefix) > 0 {
		s.program, s.args = prefix[0], append(append(prefix[1:], sshd), s.args...)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.address = l.Addr().String()
	log, err := os.Create(filepath.Join(s.base, "sshd.log"))
	s.must(err)
	go s.accept(l, log)
	hostPublic, err := os.ReadFile(hostKey + ".pub")
	s.must(err)
	key, _, _, _, err := cryptossh.ParseAuthorizedKey(hostPublic)
	s.must(err)
	s.known = filepath.Join(s.base, "known_hosts")
	s.must(os.WriteFile(s.known, []byte(knownhosts.Line([]string{s.address}, key)+"\n"), 0o600))
	t.Cleanup(func() {
		l.Close()
		s.stop()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the log of sshd:\n%s", text)
		}
		log.Close()
	})
	return s
}

// accept gives each connection an sshd.
func (s *server) accept(l net.Listener, log *os.File) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			continue
		}
		cmd := exec.Command(s.program, s.args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, log
		if err := cmd.Start(); err == nil {
			go func() { _ = cmd.Wait() }()
		}
		f.Close()
	}
}

// stop ends the host that the driver has started there.
func (s *server) stop() {
	c := supervise.Local(filepath.Join(s.state, "fairlead", "host"))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		return
	}
	if err := c.Stop(ctx, true); err != nil {
		s.Error(err)
	}
	for { // its last act
		if _, err := c.Status(ctx); err != nil {
			break
		}
	}
	if s.Failed() {
		log, _ := os.ReadFile(filepath.Join(s.state, "fairlead", "host", "host.log"))
		s.Logf("the host's log:\n%s", log)
	}
}

func (s *server) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// key makes a pair of keys.
func (s *server) key(name string) string {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	block, err := cryptossh.MarshalPrivateKey(private, name)
	s.must(err)
	file := filepath.Join(s.base, name)
	s.must(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	sshPublic, err := cryptossh.NewPublicKey(public)
	s.must(err)
	s.must(os.WriteFile(file+".pub", cryptossh.MarshalAuthorizedKey(sshPublic), 0o644))
	return file
}

func (s *server) machine() string {
	u, err := user.Current()
	s.must(err)
	return u.Username + "@" + s.address
}

func (s *server) driver() deploy.Driver {
	program, err := os.Executable()
	s.must(err)
	d := ssh.New(ssh.Options{Program: program, Args: []string{"test-host"}})
	s.Cleanup(func() { d.Close() })
	return d
}

func (s *server) spec(listen string) *project.Service {
	return &project.Service{Name: "shop", SSH: &project.SSH{Machines: []string{s.machine()}, Identity: s.identity, Known: s.known,
		Process: project.Process{Command: []string{"./run"}, Listen: listen, Ready: "/healthz", Stop: 5 * time.Second, Drain: 10 * time.Second}}}
}

func target(t *testing.T, spec *project.Service) deploy.Target {
	return deploy.Target{Repository: "o/shop", Service: "shop", Environment: "test", Spec: spec, Log: func(line string) { t.Log(line) }}
}

// revision is one of the web service: a file that starts this program.
func revision(number int, spec *project.Service, fault string) *deploy.Revision {
	program, _ := os.Executable()
	body := fmt.Sprintf("#!/bin/sh\nexec %s test-webapp # %d\n", program, number)
	sum := sha256.Sum256([]byte(body))
	return &deploy.Revision{Number: number, Spec: spec, Env: map[string]string{deploytest.VersionVar: strconv.Itoa(number), deploytest.FaultVar: fault},
		Release: &record.Release{ID: fmt.Sprintf("sha256:%064d", number), Version: strconv.Itoa(number),
			Artifact: record.Packed{Kind: "file", Name: "run", Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(body))}},
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(body))), nil }}
}

func get(ctx context.Context, address string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(string(body))
	if err != nil {
		return 0, fmt.Errorf("%s: %.200q", resp.Status, body)
	}
	return number, nil
}

func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestSuite(t *testing.T) {
	t.Parallel()
	deploytest.Suite(t, func(t *testing.T) *deploytest.Place {
		s, listen := newServer(t), free(t)
		change := func(f func(r *deploy.Revision)) func(int) *deploy.Revision {
			return func(number int) *deploy.Revision {
				r := revision(number, s.spec(listen), "")
				f(r)
				return r
			}
		}
		return &deploytest.Place{
			Driver: s.driver(), Again: s.driver, Target: target(t, s.spec(listen)),
			Get:      func(ctx context.Context) (int, error) { return get(ctx, listen) },
			Revision: func(number int) *deploy.Revision { return revision(number, s.spec(listen), "") },
			Broken:   func(number int) *deploy.Revision { return revision(number, s.spec(listen), deploytest.FaultCrash) },
			Unfit: map[string]func(int) *deploy.Revision{
				"unreachable":     change(func(r *deploy.Revision) { r.Spec.SSH.Machines = append(r.Spec.SSH.Machines, "127.0.0.1:1") }),
				"no machine":      change(func(r *deploy.Revision) { r.Spec.SSH.Machines = []string{"a b"} }),
				"wrong user":      change(func(r *deploy.Revision) { r.Spec.SSH.Machines = []string{"nobody-there@" + s.address} }),
				"wrong key":       change(func(r *deploy.Revision) { r.Spec.SSH.Identity = s.key("other") }),
				"no key":          change(func(r *deploy.Revision) { r.Spec.SSH.Identity = "/nowhere/id" }),
				"unknown machine": change(func(r *deploy.Revision) { r.Spec.SSH.Known = os.DevNull }),
				"wrong digest":    change(func(r *deploy.Revision) { r.Release.Artifact.Digest = "sha256:" + strings.Repeat("0", 64) }),
				"no command":      change(func(r *deploy.Revision) { r.Spec.SSH.Process.Command = nil }),
			},
		}
	})
}

// TestHostKeys has machines that are not who they are to be.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	other, err := os.ReadFile(s.key("other") + ".pub")
	s.must(err)
	key, _, _, _, err := cryptossh.ParseAuthorizedKey(other)
	s.must(err)
	line := knownhosts.Line([]string{s.address}, key)
	hostPublic, err := os.ReadFile(filepath.Join(s.base, "host.pub"))
	s.must(err)
	own, _, _, _, err := cryptossh.ParseAuthorizedKey(hostPublic)
	s.must(err)
	fingerprint := cryptossh.FingerprintSHA256(own)
	for name, c := range map[string]struct{ known, message, hint string }{
		"unknown": {"", "it is not known, and shows the key " + fingerprint, knownhosts.Line([]string{s.address}, own)},
		"changed": {line + "\n", "it shows the key " + fingerprint + ", and", "somebody may be in its place"},
		"revoked": {"@revoked * " + strings.TrimSpace(string(hostPublic)) + "\n", "has been revoked", "do not go on"},
	} {
		spec := s.spec("127.0.0.1:1")
		spec.SSH.Known = filepath.Join(s.base, name)
		s.must(os.WriteFile(spec.SSH.Known, []byte(c.known), 0o600))
		at := target(t, spec)
		problems, err := s.driver().Check(t.Context(), &at, revision(1, spec, ""))
		if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, c.message) || !strings.Contains(problems[0].Hint, c.hint) || problems[0].Severity != plan.Error {
			t.Errorf("%s: %v, %v", name, problems, err)
		}
	}
	if _, err := os.Stat(s.state); err == nil {
		t.Error("something was done on a machine that was not known")
	}
}

// TestTwoMachines deploys to this machine and to another one, which is this one in a
// network of its own.
func TestTwoMachines(t *testing.T) {
	t.Parallel()
	holder := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 1000")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Skipf("SKIPPED: no network of its own can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	if line, _ := io.ReadAll(io.LimitReader(out, 3)); string(line) != "up\n" {
		t.Skip("SKIPPED: only root can make a network of its own, with unshare and ip")
	}
	here, there := newServer(t), newServer(t, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", holder.Process.Pid))
	// One key for both, and both known.
	key, err := os.ReadFile(here.identity + ".pub")
	here.must(err)
	here.must(os.WriteFile(filepath.Join(there.base, "authorized_keys"), key, 0o600))
	known, err := os.ReadFile(there.known)
	here.must(err)
	f, err := os.OpenFile(here.known, os.O_APPEND|os.O_WRONLY, 0)
	here.must(err)
	_, err = f.Write(known)
	here.must(err)
	here.must(f.Close())
	listen := free(t)
	spec := here.spec(listen)
	spec.SSH.Machines = append(spec.SSH.Machines, there.machine())
	spec.Instances = 3
	at := target(t, spec)
	at.Fence = 1
	d := here.driver()
	ready := func(number, n int) *deploy.World {
		t.Helper()
		for late := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			w, err := d.Observe(t.Context(), &at)
			if err == nil && w.Revision(number) != nil && w.Revision(number).Ready() == n {
				return w
			}
			if time.Now().After(late) {
				t.Fatalf("%+v, %v", w, err)
			}
		}
	}
	for number := 1; number <= 2; number++ {
		here.must(d.Ensure(t.Context(), &at, revision(number, spec, ""), 3))
		w := ready(number, 4) // two on each
		names := map[string]int{}
		for _, in := range w.Revision(number).Instances {
			names[in.Name]++
			if v, err := get(t.Context(), in.Address); v != number {
				t.Errorf("instance %s at %s answers %d, %v", in.Name, in.Address, v, err)
			}
		}
		here.must(d.Shift(t.Context(), &at, []deploy.Share{{Number: number, Percent: 100}}))
	}
	w := ready(2, 4)
	if w.Revision(1).Percent != 0 || w.Revision(2).Percent != 100 || w.Fence != 1 {
		t.Errorf("%+v", w)
	}
	here.must(d.Remove(t.Context(), &at, 1))
	if w := ready(2, 4); len(w.Revisions) != 1 {
		t.Errorf("%+v", w)
	}
	if v, err := get(t.Context(), listen); v != 2 {
		t.Errorf("%d, %v", v, err)
	}
	found, err := d.Drift(t.Context(), &at, revision(2, spec, ""))
	if err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	here.must(d.Remove(t.Context(), &at, 2))
}
