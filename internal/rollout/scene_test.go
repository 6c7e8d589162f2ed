package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// errDead is what a process meets that was killed.
var errDead = errors.New("this process was killed")

var (
	ada = launch.By{Name: "ada", Via: "session"}
	bob = launch.By{Name: "bob", Via: "session"}
)

// news tells those who watch the record of a change, without looking at the clock.
type news struct {
	mu      sync.Mutex
	seq     int64
	changed chan struct{}
}

func (n *news) tell(events []record.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range events {
		n.seq = max(n.seq, e.Seq)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// crashing is a store as a process sees it that may be killed before and after every commit.
type crashing struct {
	*sqlite.Store
	news  *news
	point func(what string) error
	// wrote is called after each commit, before the point after it; nil: nobody is.
	wrote func(changes []record.Register)
}

func (c *crashing) Register(ctx context.Context, kind, id string) (record.Register, error) {
	if err := c.point(""); err != nil {
		return record.Register{}, err
	}
	return c.Store.Register(ctx, kind, id)
}

func (c *crashing) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	what := "commit"
	for _, e := range events {
		if b, ok := e.Body.(*record.RolloutMoved); ok {
			what = fmt.Sprintf("commit %s step %d back %v", b.State, b.Step, b.Back)
		}
	}
	if err := c.point("before " + what); err != nil {
		return nil, err
	}
	written, err := c.Store.Change(ctx, changes, events...)
	if err != nil {
		return nil, err
	}
	c.news.tell(written)
	if c.wrote != nil {
		c.wrote(changes)
	}
	if err := c.point("after " + what); err != nil {
		return nil, err
	}
	return written, nil
}

func (c *crashing) Watch(ctx context.Context, seq int64) (int64, error) {
	for {
		c.news.mu.Lock()
		newest, changed := c.news.seq, c.news.changed
		c.news.mu.Unlock()
		if newest > seq {
			return newest, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (c *crashing) AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error] {
	return c.Store.AfterKinds(ctx, seq, kinds...)
}

// scene is a service in environments, modelled.
type scene struct {
	*testing.T
	ctx   context.Context
	store *sqlite.Store
	news  *news
	repo  string
	model *deploytest.Model
	svc   project.Service
	envs  map[string]*project.DeployEnvironment
	calm  *rollout.Mover // that is never killed
	flags map[string]string

	mu    sync.Mutex
	trace []string // what the points were
	steps func(row *record.Rollout)
	said  []string
}

// stage opens a store in a bubble of time, for one scene after the other.
func stage(t *testing.T, test func(t *testing.T, open func(name string) *scene)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		n := &news{changed: make(chan struct{})}
		test(t, func(name string) *scene {
			sc := &scene{T: t, ctx: t.Context(), store: db, news: n, repo: name, flags: map[string]string{}}
			sc.model = deploytest.NewModel(nil)
			sc.model.Caps = deploy.Capabilities{Instances: true, Beside: true, Split: true, Counts: true, Drift: true}
			sc.model.Boot, sc.model.Rate, sc.model.Faults = 2*time.Second, 200, map[string]deploytest.Fault{}
			sc.svc = project.Service{Name: "shop", Instances: 3, Process: &project.Process{},
				Strategy:   project.Strategy{Kind: project.Canary, Steps: []int{25, 100}, Bake: 8 * time.Second, KeepOld: 8 * time.Second, Deadline: time.Minute},
				Checks:     []plan.Check{{Name: "up", HTTP: &plan.HTTPCheck{Path: "/"}}},
				Analysis:   &plan.Analysis{For: 30 * time.Second, Every: 10 * time.Second, Alpha: 0.01, Tolerance: 1.5, Errors: 0.05},
				Migrations: []plan.Migration{{Phase: "expand", Command: "migrate up", Probe: "probe up"}, {Phase: "contract", Command: "migrate away", Probe: "probe away"}}}
			sc.envs = map[string]*project.DeployEnvironment{"production": {Name: "production"}, "staging": {Name: "staging"}}
			sc.calm = sc.process(sc.model, func(string) error { return nil })
			return sc
		})
	})
}

// process is a mover as a process has it, with its own way to store and world.
func (sc *scene) process(model *deploytest.Model, point func(what string) error) *rollout.Mover {
	c := &crashing{Store: sc.store, news: sc.news, point: point}
	c.wrote = func(changes []record.Register) {
		for _, r := range changes {
			if row := new(record.Rollout); r.Kind == rollout.RolloutKind && json.Unmarshal(r.Body, row) == nil && sc.steps != nil {
				sc.steps(row)
			}
		}
	}
	driver := deploy.Driver(model)
	return &rollout.Mover{Store: c, Drivers: map[string]deploy.Driver{"process": driver, "command": driver}, Outside: model.Outside(), Projects: sc, Flags: sc, Holder: "test", Pace: 500 * time.Millisecond,
		Log: func(id, line string) {
			sc.mu.Lock()
			defer sc.mu.Unlock()
			sc.said = append(sc.said, id+": "+line)
		}}
}

func (sc *scene) Environment(_ context.Context, _, name string) (*project.DeployEnvironment, error) {
	if e := sc.envs[name]; e != nil {
		return e, nil
	}
	return nil, &plan.UsageError{Message: "there is no environment " + name}
}

func (sc *scene) Tree(context.Context, string, string) (string, error) { return "", nil }

func (sc *scene) Restore(_ context.Context, _, environment, digest string) error {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.flags[environment] = digest
	return nil
}

func (sc *scene) must(err error) {
	sc.Helper()
	if err != nil {
		sc.Fatal(err)
	}
}

// release makes one.
func (sc *scene) release(version string, fault deploytest.Fault) *record.Release {
	sc.Helper()
	spec, err := json.Marshal(&sc.svc)
	sc.must(err)
	r, err := sc.calm.Make(sc.ctx, ada, record.Release{Repository: sc.repo, Service: sc.svc.Name, Version: version, Spec: spec, Author: "ada", Flags: "flags of " + version,
		Artifact: record.Packed{Kind: "image", Name: "shop", Digest: "sha256:" + version}, Commit: version, Ref: "refs/heads/main",
		Config: map[string]record.ReleaseConfig{"production": {Variables: map[string]string{"GREETING": version}}}})
	sc.must(err)
	if fault != "" {
		sc.model.Faults[r.ID] = fault
	}
	return r
}

func (sc *scene) wish(r *record.Release) rollout.Wish {
	return rollout.Wish{Repository: sc.repo, Service: r.Service, Environment: "production", Release: r.ID}
}

func (sc *scene) begin(r *record.Release) *record.Rollout {
	sc.Helper()
	row, err := sc.calm.Begin(sc.ctx, ada, sc.wish(r))
	sc.must(err)
	return row
}

func (sc *scene) move(id string) *record.Rollout {
	sc.Helper()
	ctx, cancel := context.WithTimeout(sc.ctx, 10*24*time.Hour)
	defer cancel()
	sc.must(sc.calm.Move(ctx, id))
	return sc.row(id)
}

// deployed brings a release out without any trouble.
func (sc *scene) deployed(version string) *record.Release {
	sc.Helper()
	r := sc.release(version, "")
	if row := sc.move(sc.begin(r).ID); row.State != record.RolloutDone {
		sc.Fatalf("%s: %s %s", version, row.State, row.Reason)
	}
	return r
}

func (sc *scene) row(id string) *record.Rollout {
	sc.Helper()
	row, err := sc.calm.Rollout(sc.ctx, id)
	sc.must(err)
	return row
}

func (sc *scene) track() *record.Track {
	sc.Helper()
	t, err := sc.calm.Track(sc.ctx, sc.repo, sc.svc.Name, "production")
	sc.must(err)
	return t
}

// until moves a rollout until its row is as wanted, and leaves it there.
func (sc *scene) until(id string, holds func(r *record.Rollout) bool) *record.Rollout {
	sc.Helper()
	ctx, cancel := context.WithCancel(sc.ctx)
	done := make(chan error, 1)
	go func() { done <- sc.calm.Move(ctx, id) }()
	for range 100_000 {
		if row := sc.row(id); holds(row) {
			cancel()
			<-done
			return row
		}
		select {
		case err := <-done:
			if row := sc.row(id); holds(row) {
				cancel()
				return row
			}
			sc.Fatalf("the rollout has ended (%v): %+v", err, sc.row(id))
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	sc.Fatal("it was never so")
	return nil
}

func at(key string) func(r *record.Rollout) bool {
	return func(r *record.Rollout) bool { return r.Step < len(r.Plan.Moves) && r.Plan.Moves[r.Step].Key == key }
}

func state(s record.RolloutState) func(r *record.Rollout) bool {
	return func(r *record.Rollout) bool { return r.State == s }
}

// wholly says what is wrong when not all is on one release: that of the revision; "" for nothing.
func (sc *scene) wholly(number int) string {
	s := sc.model.State()
	var wrong []string
	wrong = append(wrong, s.Wrong...)
	if sc.model.Caps.Instances {
		k := s.Revisions[number]
		switch {
		case number == 0 && len(s.Revisions) == 0:
		case len(s.Revisions) != 1 || k == nil:
			wrong = append(wrong, fmt.Sprintf("revision %d was to be there alone, and there are %v", number, slices.Sorted(maps.Keys(s.Revisions))))
		case k.Percent != 100 || len(k.Started) != sc.svc.Instances:
			wrong = append(wrong, fmt.Sprintf("revision %d has %d instances and %d %% of the requests", number, len(k.Started), k.Percent))
		}
	} else if s.Applied != number {
		wrong = append(wrong, fmt.Sprintf("revision %d was to be applied, and it is %d", number, s.Applied))
	}
	for key, n := range s.Migrated {
		if n != 1 {
			wrong = append(wrong, fmt.Sprintf("migration %s was run %d times", key, n))
		}
	}
	t := sc.track()
	if t.Revision != number || t.Rollout != "" {
		wrong = append(wrong, fmt.Sprintf("the track says revision %d, rollout %q", t.Revision, t.Rollout))
	}
	if number > 0 {
		row := sc.row(rollout.RolloutID(sc.repo, sc.svc.Name, "production", number))
		if release, err := sc.calm.Release(sc.ctx, row.To); err != nil || t.Release != row.To || t.Version != release.Version {
			wrong = append(wrong, fmt.Sprintf("the track says release %s (%s)", t.Version, t.Release))
		} else if got := sc.flags["production"]; got != release.Flags && sc.model.Caps.Instances {
			wrong = append(wrong, fmt.Sprintf("the flags are %q", got))
		}
	}
	return strings.Join(wrong, "\n")
}

func (sc *scene) onlyOn(number int) {
	sc.Helper()
	if wrong := sc.wholly(number); wrong != "" {
		sc.Error(wrong)
	}
}

func usage(err error) string {
	if u, ok := errors.AsType[*plan.UsageError](err); ok {
		return u.Error()
	}
	return fmt.Sprintf("no usage error: %v", err)
}

var _ store.Store = (*sqlite.Store)(nil)
