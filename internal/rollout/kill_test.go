package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// killDir tells the test's own program that it is the one to be killed, and where its store and world are.
const killDir = "FAIRLEAD_KILL_DIR"

// TestKill9 kills processes that move rollouts, at random instants, for real: the store and the world lie on the
// disk. 15 times, or with FAIRLEAD_LONG=1 200 times.
func TestKill9(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		victim(t, dir)
		return
	}
	t.Parallel()
	n := 15
	if os.Getenv("FAIRLEAD_LONG") != "" {
		n = 200
	}
	dice := rand.New(rand.NewPCG(9, uint64(time.Now().UnixNano())))
	killed, ends := 0, map[record.RolloutState]int{}
	usual := 300 * time.Millisecond
	for i := 0; killed < n; i++ {
		if i == 4*n {
			t.Fatalf("only %d of %d were killed in time", killed, i)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "story"), []byte(fmt.Sprint(i%4)), 0o600); err != nil {
			t.Fatal(err)
		}
		wait, begun := time.Duration(dice.Int64N(int64(2*usual))), time.Now()
		for lives := 0; ; lives++ {
			cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
			cmd.Env = append(os.Environ(), killDir+"="+dir)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if lives < 1+i%3 {
				timer := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() }) // an error: it has ended
				defer timer.Stop()
			}
			err := cmd.Wait()
			if err == nil {
				if lives == 0 {
					usual = time.Since(begun)
				}
				break
			}
			if cmd.ProcessState.Exited() || lives > 5 {
				t.Fatalf("process %d of trial %d: %v\n%s", lives, i, err, out.String())
			}
			killed++
		}
		checkKilled(t, dir, i%4, ends)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d processes killed, no violation; the rollouts ended %v", killed, ends)
}

// checkKilled looks at what is left in the end.
func checkKilled(t *testing.T, dir string, story int, ends map[record.RolloutState]int) {
	w := openKilled(t, dir)
	defer w.store.Close()
	row, err := w.mover.Rollout(t.Context(), rollout.RolloutID("acme/shop", "shop", "production", 2))
	if err != nil {
		t.Fatal(err)
	}
	track, err := w.mover.Track(t.Context(), "acme/shop", "shop", "production")
	if err != nil {
		t.Fatal(err)
	}
	want, number := record.RolloutDone, 2
	if story == 1 || story == 2 {
		want, number = record.RolloutRolledBack, 1
	}
	s := w.model.State()
	ends[row.State]++
	if row.State != want || track.Revision != number || track.Rollout != "" {
		t.Errorf("story %d: %s: %s; the track is at revision %d", story, row.State, row.Reason, track.Revision)
	}
	if k := s.Revisions[number]; len(s.Revisions) != 1 || k == nil || k.Percent != 100 || len(k.Started) != 3 || len(s.Wrong) > 0 {
		t.Errorf("story %d: %+v", story, s)
	}
	for key, n := range s.Migrated {
		if n != 1 {
			t.Errorf("story %d: migration %s was run %d times", story, key, n)
		}
	}
}

// killedWorld is a store and a world that lie on the disk.
type killedWorld struct {
	store *sqlite.Store
	model *deploytest.Model
	mover *rollout.Mover
}

func openKilled(t *testing.T, dir string) *killedWorld {
	db, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := deploytest.NewModel(nil)
	m.Caps = deploy.Capabilities{Instances: true, Beside: true, Split: true}
	m.Boot, m.Faults = 5*time.Millisecond, map[string]deploytest.Fault{}
	world := filepath.Join(dir, "world.json")
	switch text, err := os.ReadFile(world); {
	case err == nil:
		var s deploytest.State
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		m.Load(s)
	case !errors.Is(err, fs.ErrNotExist):
		t.Fatal(err)
	}
	m.Keep = func(s *deploytest.State) {
		text, err := json.Marshal(s)
		if err == nil {
			err = os.WriteFile(world+".new", text, 0o600)
		}
		if err == nil {
			err = os.Rename(world+".new", world)
		}
		if err != nil {
			panic(err)
		}
	}
	return &killedWorld{store: db, model: m, mover: &rollout.Mover{Store: db, Drivers: map[string]deploy.Driver{"process": m}, Outside: m.Outside(),
		Projects: plainProjects{}, Holder: "victim", Pace: time.Millisecond}}
}

// plainProjects have one environment.
type plainProjects struct{}

func (plainProjects) Environment(context.Context, string, string) (*project.DeployEnvironment, error) {
	return &project.DeployEnvironment{Name: "production"}, nil
}
func (plainProjects) Tree(context.Context, string, string) (string, error) { return "", nil }

// victim goes on wherever the one before it was killed.
func victim(t *testing.T, dir string) {
	story, err := os.ReadFile(filepath.Join(dir, "story"))
	if err != nil {
		t.Fatal(err)
	}
	w := openKilled(t, dir)
	defer w.store.Close()
	svc := project.Service{Name: "shop", Instances: 3, Process: &project.Process{},
		Strategy: project.Strategy{Kind: project.Canary, Steps: []int{10, 50, 100}, Hold: 10 * time.Millisecond, Bake: 10 * time.Millisecond,
			KeepOld: 20 * time.Millisecond, Deadline: 30 * time.Second},
		Checks:     []plan.Check{{Name: "up", HTTP: &plan.HTTPCheck{Path: "/"}, Within: 20 * time.Millisecond}},
		Migrations: []plan.Migration{{Phase: "expand", Command: "migrate up", Probe: "probe up"}, {Phase: "contract", Command: "migrate away", Probe: "probe away"}}}
	if string(story) == "3" {
		svc.Strategy = project.Strategy{Kind: project.Rolling, Deadline: 30 * time.Second}
	}
	spec, err := json.Marshal(&svc)
	if err != nil {
		t.Fatal(err)
	}
	for i, version := range []string{"v1", "v2"} {
		number := i + 1
		r, err := w.mover.Make(t.Context(), ada, record.Release{Repository: "acme/shop", Service: "shop", Version: version, Spec: spec,
			Artifact: record.Packed{Kind: "image", Digest: "sha256:" + version}})
		if err != nil {
			t.Fatal(err)
		}
		if number == 2 {
			w.model.Faults[r.ID] = map[string]deploytest.Fault{"1": deploytest.Checked, "2": deploytest.Crashes}[string(story)]
		}
		track, err := w.mover.Track(t.Context(), "acme/shop", "shop", "production")
		if err != nil {
			t.Fatal(err)
		}
		if track.Number < number {
			if _, err := w.mover.Begin(t.Context(), ada, rollout.Wish{Repository: "acme/shop", Service: "shop", Environment: "production", Release: r.ID}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.mover.Move(t.Context(), rollout.RolloutID("acme/shop", "shop", "production", number)); err != nil {
			t.Fatal(err)
		}
	}
}
