package process_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/deploy/process"
	"github.com/fairlead-dev/fairlead/internal/front"
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
	sockets, err := front.Inherit()
	if err == nil {
		var h *supervise.Host
		h, err = supervise.Open(supervise.Options{Dir: dir, Version: "test", Sockets: sockets, Successor: supervise.Succeeds(), Program: os.Args,
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

// shop is a service of the tests.
type shop struct {
	dir     string
	address string
	program string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &shop{dir: filepath.Join(t.TempDir(), "host"), address: l.Addr().String(), program: program}
	t.Cleanup(func() {
		c := supervise.Local(s.dir)
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := c.Status(ctx); err != nil {
			return // it was never started
		}
		if err := c.Stop(ctx, true); err != nil {
			t.Error(err)
		}
		for { // its last act
			if _, err := c.Status(ctx); err != nil {
				break
			}
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "host.log"))
			t.Logf("the host's log:\n%s", log)
		}
	})
	return s
}

func (s *shop) spec() *project.Service {
	return &project.Service{Name: "shop", Process: &project.Process{Command: []string{"./run"}, Listen: s.address, Ready: "/healthz",
		Directory: s.dir, Stop: 5 * time.Second, Drain: 10 * time.Second}}
}

func (s *shop) driver() deploy.Driver {
	return process.New(process.Options{Program: []string{s.program, "test-host"}})
}

func (s *shop) target(t *testing.T) deploy.Target {
	return deploy.Target{Repository: "o/shop", Service: "shop", Environment: "test", Spec: s.spec(), Log: func(line string) { t.Log(line) }}
}

func (s *shop) revision(number int, fault string) *deploy.Revision {
	return pack(number, s.spec(), map[string]string{deploytest.VersionVar: strconv.Itoa(number), deploytest.FaultVar: fault},
		entry{"run", 0o755, "#!/bin/sh\nexec " + s.program + " test-webapp\n", tar.TypeReg}, entry{"version", 0o644, strconv.Itoa(number), tar.TypeReg})
}

type entry struct {
	name string
	mode int64
	text string
	kind byte
}

// pack makes a revision of a tar.
func pack(number int, spec *project.Service, env map[string]string, entries ...entry) *deploy.Revision {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind, Size: int64(len(e.text))}
		if e.kind != tar.TypeReg {
			h.Linkname, h.Size = e.text, 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := io.WriteString(w, e.text); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	return &deploy.Revision{Number: number, Spec: spec, Env: env,
		Release: &record.Release{ID: fmt.Sprintf("sha256:%064d", number), Version: strconv.Itoa(number),
			Artifact: record.Packed{Kind: "tree", Name: "shop.tar", Digest: digest, Size: int64(b.Len())}},
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}
}

// get asks the service for the revision that answers.
func (s *shop) get(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/", nil)
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

func TestSuite(t *testing.T) {
	t.Parallel()
	deploytest.Suite(t, func(t *testing.T) *deploytest.Place {
		s := newShop(t)
		return &deploytest.Place{
			Driver: s.driver(), Again: s.driver, Target: s.target(t), Get: s.get,
			Revision: func(number int) *deploy.Revision { return s.revision(number, "") },
			Broken:   func(number int) *deploy.Revision { return s.revision(number, deploytest.FaultCrash) },
			Unfit:    s.unfit(t),
			Meddle: func(t *testing.T, number int) {
				names, err := filepath.Glob(filepath.Join(s.dir, "releases", "*", "files", "version"))
				if err != nil || len(names) != 1 {
					t.Fatal(names, err)
				}
				if err := os.WriteFile(names[0], []byte("hacked"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// unfit are revisions that must be refused before anything is changed.
func (s *shop) unfit(t *testing.T) map[string]func(int) *deploy.Revision {
	change := func(f func(r *deploy.Revision)) func(int) *deploy.Revision {
		return func(number int) *deploy.Revision {
			r := s.revision(number, "")
			f(r)
			return r
		}
	}
	run := entry{"run", 0o755, "#!/bin/sh\n", tar.TypeReg}
	archive := func(e entry) func(int) *deploy.Revision {
		return func(number int) *deploy.Revision { return pack(number, s.spec(), nil, run, e) }
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	return map[string]func(int) *deploy.Revision{
		"no command":      change(func(r *deploy.Revision) { r.Spec.Process.Command = nil }),
		"missing program": change(func(r *deploy.Revision) { r.Spec.Process.Command = []string{"./server"} }),
		"wrong digest":    change(func(r *deploy.Revision) { r.Release.Artifact.Digest = "sha256:" + strings.Repeat("0", 64) }),
		"too large":       change(func(r *deploy.Revision) { r.Release.Artifact.Size = 1 << 40 }),
		"truncated":       change(func(r *deploy.Revision) { r.Release.Artifact.Size++ }),
		"image":           change(func(r *deploy.Revision) { r.Release.Artifact.Kind = "image" }),
		"unknown user":    change(func(r *deploy.Revision) { r.Spec.Process.User = "nobody-of-that-name" }),
		"ready path":      change(func(r *deploy.Revision) { r.Spec.Process.Ready = "healthz" }),
		"taken address":   change(func(r *deploy.Revision) { r.Spec.Process.Listen = taken.Addr().String() }),
		"no certificate": change(func(r *deploy.Revision) {
			r.Spec.Process.TLSCert, r.Spec.Process.TLSKey = "/nowhere/cert", "/nowhere/key"
		}),
		"hostile host":  change(func(r *deploy.Revision) { r.Spec.Process.Hosts = []string{"a b"} }),
		"NUL":           change(func(r *deploy.Revision) { r.Env["X"] = "a\x00b" }),
		"path outside":  archive(entry{"../../etc/passwd", 0o644, "root", tar.TypeReg}),
		"absolute path": archive(entry{"/etc/passwd", 0o644, "root", tar.TypeReg}),
		"link outside":  archive(entry{"lib", 0o777, "../../..", tar.TypeSymlink}),
		"absolute link": archive(entry{"lib", 0o777, "/etc", tar.TypeSymlink}),
		"hard link":     archive(entry{"lib", 0o777, "../../x", tar.TypeLink}),
		"device":        archive(entry{"null", 0o666, "", tar.TypeChar}),
	}
}
