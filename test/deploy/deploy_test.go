// Package deploy deploys a real web service with the real Fairlead: the loop of rollouts
// over a record in SQLite, the driver of processes, the daemon of the built binary with its
// front, and users who ask for pages, send forms, wait for slow answers and keep
// connections open all the while. Nobody may notice.
//
// A few deployments by each strategy are made by default, 100 when $FAIRLEAD_LONG is set.
package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/deploy/probe"
	"github.com/fairlead-dev/fairlead/internal/deploy/process"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/supervise"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// TestMain is also the service: this program with another first word.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "test-webapp" {
		os.Exit(deploytest.Webapp())
	}
	binary.Main(m)
}

var ada = launch.By{Name: "ada", Via: "session"}

// site is a service, where it is deployed, and who deploys it.
type site struct {
	*testing.T
	mover   *rollout.Mover
	blobs   *disk.Store
	dir     string // of the host
	address string
	service project.Service

	mu   sync.Mutex
	said []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	base := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := &site{T: t, dir: filepath.Join(base, "host"), address: l.Addr().String()}
	store, err := sqlite.Open(t.Context(), filepath.Join(base, "data"), sqlite.Options{})
	s.must(err)
	s.blobs, err = disk.Open(filepath.Join(base, "blobs"))
	s.must(err)
	driver := process.New(process.Options{Program: []string{binary.Path(), "host", "run"}})
	s.mover = &rollout.Mover{Store: store, Drivers: map[string]deploy.Driver{"process": driver}, Outside: probe.New(os.Getenv), Projects: s, Artifacts: s.blobs, Holder: "test",
		Log: func(id, line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said = append(s.said, id+": "+line)
		}}
	s.service = project.Service{Name: "shop", Instances: 2,
		Process: &project.Process{Command: []string{"./run"}, Listen: s.address, Ready: "/healthz", Directory: s.dir, Stop: 5 * time.Second, Drain: 20 * time.Second},
		Checks:  []plan.Check{{Name: "page", HTTP: &plan.HTTPCheck{Path: "/"}}},
		Strategy: project.Strategy{Kind: project.Rolling, Deadline: time.Minute, KeepOld: time.Millisecond,
			Hold: time.Millisecond, Bake: time.Millisecond}}
	t.Cleanup(func() {
		s.end()
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// end takes the host away, with all that it runs.
func (s *site) end() {
	c := supervise.Local(s.dir)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Status(ctx); err == nil {
		if err := c.Stop(ctx, true); err != nil {
			s.Error(err)
		}
		for { // its last act
			if _, err := c.Status(ctx); err != nil {
				break
			}
		}
	}
	if s.Failed() {
		log, _ := os.ReadFile(filepath.Join(s.dir, "host.log"))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.Logf("the mover said:\n%s\nthe host's log:\n%s", strings.Join(s.said, "\n"), log)
	}
}

// Environment and Tree are what the mover asks of the files of the repository.
func (s *site) Environment(_ context.Context, _, name string) (*project.DeployEnvironment, error) {
	return &project.DeployEnvironment{Name: name}, nil
}

func (s *site) Tree(context.Context, string, string) (string, error) { return "", nil }

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// release makes one of the web service, with a fault or none.
func (s *site) release(version, fault string) *record.Release {
	s.Helper()
	program, err := os.Executable()
	s.must(err)
	text := []byte(fmt.Sprintf("#!/bin/sh\nexec %s test-webapp # %s\n", program, version))
	digest, size, err := s.blobs.Put(s.Context(), bytes.NewReader(text))
	s.must(err)
	spec, err := json.Marshal(&s.service)
	s.must(err)
	r, err := s.mover.Make(s.Context(), ada, record.Release{Repository: "o/shop", Service: "shop", Version: version, Commit: version, Spec: spec,
		Artifact: record.Packed{Kind: "file", Name: "run", Digest: string(digest), Size: size},
		Config:   map[string]record.ReleaseConfig{"live": {Variables: map[string]string{deploytest.VersionVar: version, deploytest.FaultVar: fault}}}})
	s.must(err)
	return r
}

// deploy brings a release about, or what becomes of it.
func (s *site) deploy(r *record.Release) *record.Rollout {
	s.Helper()
	row, err := s.mover.Begin(s.Context(), ada, rollout.Wish{Repository: "o/shop", Service: "shop", Environment: "live", Release: r.ID})
	s.must(err)
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	if err := s.mover.Move(ctx, row.ID); err != nil {
		s.Fatalf("move %s: %v", row.ID, err)
	}
	row, err = s.mover.Rollout(s.Context(), row.ID)
	s.must(err)
	return row
}

// serves says that a version must answer everybody.
func (s *site) serves(version string) {
	s.Helper()
	for range 10 {
		resp, err := http.Get("http://" + s.address + "/")
		s.must(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != version || err != nil {
			s.Errorf("version %s was to answer: %q, %v", version, body, err)
			return
		}
	}
}

// TestLive deploys again and again by each strategy that leaves the service alive.
func TestLive(t *testing.T) {
	t.Parallel()
	deployments := 3
	if binary.Long() {
		deployments = 100
	}
	for kind, steps := range map[string][]int{project.Rolling: nil, project.BlueGreen: nil, project.Canary: {20, 50, 100}} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t)
			s.service.Strategy.Kind, s.service.Strategy.Steps = kind, steps
			if kind == project.Canary {
				s.service.Process.Sticky = "cookie"
				s.service.Analysis = &plan.Analysis{For: time.Second, Every: time.Second, Alpha: 0.01, Tolerance: 1.5, Errors: 0.05}
			}
			if row := s.deploy(s.release("1", "")); row.State != record.RolloutDone {
				t.Fatalf("the first deployment: %s, %s", row.State, row.Reason)
			}
			load := deploytest.NewLoad(t.Context(), s.address, 2)
			begun := time.Now()
			for i := range deployments {
				version := strconv.Itoa(i + 2)
				if row := s.deploy(s.release(version, "")); row.State != record.RolloutDone {
					t.Fatalf("deployment %d: %s, %s", i, row.State, row.Reason)
				}
				s.serves(version)
			}
			took := time.Since(begun)
			for _, failure := range load.Stop() {
				t.Error(failure)
			}
			t.Logf("%d deployments, %s each; 0 failed of %s", deployments, (took / time.Duration(deployments)).Round(time.Millisecond), load)
			if n := len(load.Versions()); n < deployments {
				t.Errorf("%d versions were deployed, and users saw %d", deployments+1, n)
			}
		})
	}
}

// TestRecreate ends the old version before the new one is started. Requests wait
// meanwhile.
func TestRecreate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.service.Strategy.Kind = project.Recreate
	for version := 1; version <= 3; version++ {
		if row := s.deploy(s.release(strconv.Itoa(version), "")); row.State != record.RolloutDone {
			t.Fatalf("version %d: %s, %s", version, row.State, row.Reason)
		}
		s.serves(strconv.Itoa(version))
	}
}

// TestBadVersions deploys versions that are bad, each in its way. Each is caught and taken
// back, and the good one serves.
func TestBadVersions(t *testing.T) {
	t.Parallel()
	for fault, c := range map[string]struct {
		change func(s *site)
		// most is how many failures users may see: those that the bad version answered itself.
		most int
	}{
		deploytest.FaultCrash:     {nil, 0},
		deploytest.FaultNever:     {func(s *site) { s.service.Strategy.Deadline = 2 * time.Second }, 0},
		deploytest.FaultSlowStart: {func(s *site) { s.service.Strategy.Deadline = time.Second }, 0},
		deploytest.FaultErrors:    {nil, 1000},
		deploytest.FaultLatency:   {nil, 0},
		deploytest.FaultLeak:      {func(s *site) { s.service.Process.Memory = 96 << 20 }, 1000},
	} {
		t.Run(fault, func(t *testing.T) {
			s := newSite(t)
			s.service.Strategy = project.Strategy{Kind: project.Canary, Steps: []int{40, 100}, Deadline: time.Minute, KeepOld: time.Millisecond, Bake: time.Millisecond}
			s.service.Analysis = &plan.Analysis{For: time.Minute, Every: time.Second, Alpha: 0.01, Tolerance: 1.5, Errors: 0.03}
			if row := s.deploy(s.release("good", "")); row.State != record.RolloutDone {
				t.Fatalf("the first deployment: %s, %s", row.State, row.Reason)
			}
			if c.change != nil {
				c.change(s)
			}
			load := deploytest.NewLoad(t.Context(), s.address, 4)
			begun := time.Now()
			bad := s.release("bad", fault)
			row := s.deploy(bad)
			took := time.Since(begun)
			failures := load.Stop()
			t.Logf("%s after %s: %s; %d failures, the first: %v; %s", row.State, took.Round(time.Millisecond), row.Reason, len(failures), first(failures), load)
			if row.State != record.RolloutRolledBack || row.Reason == "" {
				t.Errorf("the bad version is %s: %s", row.State, row.Reason)
			}
			if len(failures) > c.most {
				t.Errorf("users saw %d failures: %v", len(failures), failures)
			}
			s.serves("good")
			track, err := s.mover.Track(t.Context(), "o/shop", "shop", "live")
			if err != nil || track.Rejected[bad.ID].Why == "" || track.Version != "good" {
				t.Errorf("%+v, %v", track, err)
			}
			seen, err := supervise.Local(s.dir).Target(t.Context(), "shop-live")
			if err != nil || slices.ContainsFunc(seen.Revisions, func(r supervise.SeenRevision) bool { return r.Release == bad.ID }) {
				t.Errorf("the bad version is there still: %+v, %v", seen, err)
			}
		})
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return list[0]
}

// TestWrongBytes has an artifact that is not what the release says: refused before
// anything changes.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deploy(s.release("1", ""))
	r := *s.release("2", "")
	r.ID, r.Artifact.Digest = "", string(blob.Of([]byte("something else")))
	made, err := s.mover.Make(t.Context(), ada, r)
	s.must(err)
	_, err = s.mover.Begin(t.Context(), ada, rollout.Wish{Repository: "o/shop", Service: "shop", Environment: "live", Release: made.ID})
	if err == nil {
		t.Error("a release without bytes is deployed")
	}
	t.Log(err)
	s.serves("1")
}
