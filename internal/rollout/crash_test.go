package rollout_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
)

// story is what happens to a service while processes die.
type story struct {
	name  string
	set   func(sc *scene)                              // before anything
	first bool                                         // nothing is there before
	fault deploytest.Fault                             // of the second release
	act   func(sc *scene, row *record.Rollout)         // after each commit of the second rollout, once each time it comes to a new step
	ends  func(sc *scene, row *record.Rollout) (n int) // checks the end, and says on which revision all is; -1: the story has checked it
}

// stories are those that every point of death is tried in.
func stories() []story {
	done := func(sc *scene, row *record.Rollout) int {
		if row.State != record.RolloutDone {
			sc.Errorf("%s: %s", row.State, row.Reason)
		}
		return 2
	}
	back := func(sc *scene, row *record.Rollout) int {
		if row.State != record.RolloutRolledBack {
			sc.Errorf("%s: %s", row.State, row.Reason)
		}
		if _, rejected := sc.track().Rejected[row.To]; !rejected {
			sc.Error("the release was not rejected")
		}
		i, err := sc.store.Register(sc.ctx, rollout.IncidentKind, "rollout-"+row.ID)
		if err != nil || i.Version != 2 || !strings.Contains(string(i.Body), `"resolved"`) {
			sc.Errorf("the incident: version %d, %s, %v", i.Version, i.Body, err)
		}
		return 1
	}
	list := []story{
		{name: "canary goes out", ends: done},
		{name: "first of all", first: true, ends: func(sc *scene, row *record.Rollout) int { done(sc, row); return 1 }},
		{name: "failing canary", fault: deploytest.Errs, ends: back},
		{name: "crash loop", fault: deploytest.Crashes, ends: back},
		{name: "failing checks", fault: deploytest.Checked, ends: back},
		{name: "rolling", ends: done, set: func(sc *scene) {
			sc.svc.Strategy = project.Strategy{Kind: project.Rolling, Deadline: time.Minute}
			sc.svc.Analysis = nil
		}},
		{name: "rolling back in the middle", ends: back, fault: deploytest.Errs, set: func(sc *scene) {
			sc.svc.Strategy = project.Strategy{Kind: project.Rolling, Deadline: time.Minute}
		}},
		{name: "blue-green", ends: done, set: func(sc *scene) {
			sc.svc.Strategy = project.Strategy{Kind: project.BlueGreen, Bake: 10 * time.Second, Deadline: time.Minute}
		}},
		{name: "recreate", ends: done, set: func(sc *scene) {
			sc.model.Outage = true
			sc.model.Caps.Beside, sc.model.Caps.Split, sc.model.Caps.Counts = false, false, false
			sc.svc.Strategy, sc.svc.Analysis = project.Strategy{Kind: project.Recreate, Deadline: time.Minute}, nil
		}},
		{name: "recreate goes back", fault: deploytest.Checked, ends: back, set: func(sc *scene) {
			sc.model.Outage = true
			sc.model.Caps.Beside, sc.model.Caps.Split, sc.model.Caps.Counts = false, false, false
			sc.svc.Strategy, sc.svc.Analysis = project.Strategy{Kind: project.Recreate, Deadline: time.Minute}, nil
		}},
		{name: "applied once", ends: done, set: applier},
		{name: "applied once goes back", fault: deploytest.Checked, ends: back, set: applier},
	}
	for step := range 10 {
		if step < 4 {
			list = append(list, story{name: fmt.Sprint("applied once, aborted at ", step), set: applier, act: func(sc *scene, row *record.Rollout) {
				if row.Step == step && row.Number == 2 && !row.Back {
					_, _ = sc.calm.Abort(sc.ctx, bob, row.ID, "changed my mind")
				}
			}, ends: func(sc *scene, row *record.Rollout) int {
				if row.State != record.RolloutRolledBack && row.State != record.RolloutAborted {
					sc.Errorf("%s: %s", row.State, row.Reason)
				}
				return 1
			}})
		}
		list = append(list, story{name: fmt.Sprint("aborted at ", step), act: func(sc *scene, row *record.Rollout) {
			if row.Step == step && !row.Back {
				_, _ = sc.calm.Abort(sc.ctx, bob, row.ID, "changed my mind") // after the last way back it is refused
			}
		}, ends: func(sc *scene, row *record.Rollout) int {
			if row.State == record.RolloutDone {
				return 2
			}
			if _, rejected := sc.track().Rejected[row.To]; rejected {
				sc.Error("the release was rejected, although nobody said anything against it")
			}
			if row.State != record.RolloutRolledBack && row.State != record.RolloutAborted {
				sc.Errorf("%s: %s", row.State, row.Reason)
			}
			return 1
		}}, story{name: fmt.Sprint("superseded at ", step), act: func(sc *scene, row *record.Rollout) {
			if row.Step == step && row.Number == 2 {
				_, _ = sc.calm.Begin(sc.ctx, bob, sc.wish(sc.release("v3", ""))) // in the middle of a migration it is refused
			}
		}, ends: func(sc *scene, row *record.Rollout) int {
			switch {
			case row.State == record.RolloutDone:
				return 2
			case row.State != record.RolloutSuperseded:
				sc.Errorf("%s: %s", row.State, row.Reason)
			}
			return 3
		}})
	}
	return list
}

// applier is a driver that applies releases as a whole, and of which an apply that was broken off can be asked about.
func applier(sc *scene) {
	sc.model.Caps = deploy.Capabilities{Once: true, Propose: true, Why: "it applies"}
	sc.model.Known = true
	sc.svc.Process, sc.svc.Command, sc.svc.Strategy, sc.svc.Analysis = nil, &project.CommandDriver{}, project.Strategy{Deadline: time.Minute}, nil
}

// run plays a story in which processes die at some points, and returns how many points there were.
func (st *story) run(sc *scene, die ...int) int {
	if st.set != nil {
		st.set(sc)
	}
	if !st.first {
		sc.deployed("v1")
	}
	row := sc.begin(sc.release("v2", st.fault))
	begun := row.Number
	if st.act != nil {
		seen := map[string]bool{}
		sc.steps = func(row *record.Rollout) {
			if key := fmt.Sprint(row.Number, row.Step, row.Back); row.Service == sc.svc.Name && row.Repository == sc.repo && !seen[key] && !row.State.Ended() {
				seen[key] = true
				st.act(sc, row)
			}
		}
	}
	points, deaths := 0, 0
	ctx, cancel := context.WithTimeout(sc.ctx, 24*time.Hour)
	defer cancel()
	for {
		// Whoever lives goes on with whatever is under way.
		t := sc.track()
		if t.Rollout == "" {
			break
		}
		life, kill := context.WithCancelCause(ctx)
		dead := false
		point := func(what string) error {
			sc.mu.Lock()
			defer sc.mu.Unlock()
			if dead {
				return errDead
			}
			if what == "" { // a read: who is alive may
				return nil
			}
			sc.trace = append(sc.trace, what)
			points++
			if slices.Contains(die, points-1) {
				dead = true
				deaths++
				sc.trace = append(sc.trace, "-- dies")
				kill(errDead)
				return errDead
			}
			return nil
		}
		model := deploytest.NewModel(sc.model)
		model.Point = point
		err := sc.process(model, point).Move(life, t.Rollout)
		alive := life.Err() == nil
		kill(nil)
		if ctx.Err() != nil {
			sc.Errorf("it does not end: %+v", sc.row(t.Rollout))
			break
		}
		if err != nil && alive {
			sc.Errorf("somebody who lives could not go on: %v", err)
			break
		}
		if row := sc.row(t.Rollout); row.State == record.RolloutAttention {
			sc.Errorf("it needs attention: %s", row.Reason)
			break
		}
	}
	sc.steps = nil
	if n := st.ends(sc, sc.row(rollout.RolloutID(sc.repo, sc.svc.Name, "production", begun))); n >= 0 {
		sc.onlyOn(n)
	}
	return points
}

// TestCrashPoints drives the mover over a real store, and lets its process die before and after each commit and
// each change of the world: at single points of every story, and at pairs. Whatever
// happens, requests always meet a ready instance, a migration runs once, nothing is left behind, and all ends on one release.
// FAIRLEAD_LONG=1 tries every point and
// thousands of pairs, else it is every seventh and a few.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	long := os.Getenv("FAIRLEAD_LONG") != ""
	singles, pairs := 0, 0
	for _, st := range stories() {
		stage(t, func(t *testing.T, open func(string) *scene) {
			trials := 0
			try := func(die ...int) int {
				trials++
				sc := open(fmt.Sprintf("acme/%d", trials))
				n := st.run(sc, die...)
				if t.Failed() {
					t.Fatalf("%s, dying at %v:\n%s", st.name, die, strings.Join(sc.trace, "\n"))
				}
				return n
			}
			n := try()
			stride := 1
			switch {
			case long:
			case strings.Contains(st.name, " at "):
				stride = 97 // what differs is where somebody steps in
			default:
				stride = 7
			}
			for i := 0; i < n; i += stride {
				try(i)
				singles++
			}
			dice := rand.New(rand.NewPCG(7, uint64(n)))
			draws := 1
			if long {
				draws = 200
			}
			for range draws {
				a := dice.IntN(n)
				try(a, a+1+dice.IntN(20))
				pairs++
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d single points and %d pairs in %d stories: no violation", singles, pairs, len(stories()))
}
