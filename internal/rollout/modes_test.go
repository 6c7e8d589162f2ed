package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// TestFailureModes are the ways in which deployments are known to go wrong, each a scenario with its name.
func TestFailureModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		test func(t *testing.T, sc *scene)
	}{
		{"the stable release is broken, and the fix goes out all the same", stableBroken},
		{"a rollback during promotion never sends requests to what is broken", rollbackAimsAtHealthy},
		{"a new release in the middle of a canary begins anew, from the old stable one", supersededMidCanary},
		{"promoting has a deadline, and can be taken back", promotionIsTakenBack},
		{"a canary that never starts ends by its deadline", neverStarts},
		{"a rollback does not go through the canary's steps", rollbackIsStraight},
		{"two movers do not fight: a slow one is fenced off", slowMoverIsFenced},
		{"configuration and flags are rolled back with the code", configurationGoesBack},
		{"after a migration that frees data there is no way back, and everybody is told", contracted},
		{"paused, everything stays where it is", pausedInPlace},
		{"nothing deploys again what was taken back", rejectedStaysAway},
		{"to abort what only waits changes nothing", abortWaiting},
		{"a killed client leaves no lock", noStaleLock},
		{"a proxy that forgets its routes is told them again", forgottenRoutes},
		{"a release whose instances die while it is held is taken back", diesWhileHeld},
		{"a migration of which nobody knows what became asks a person", unknownMigration},
		{"a migration that fails is taken back before anybody is served", migrationFails},
		{"what people agreed to and no longer fits is proposed again", staleProposal},
		{"a target that refuses is not asked for ever", refusedByTarget},
		{"a service that nobody uses is deployed, too", nobodyAsks},
		{"nothing healthy to go back to: what serves goes on serving", nothingHealthy},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stage(t, func(t *testing.T, open func(string) *scene) { c.test(t, open("acme/shop")) })
		})
	}
}

func stableBroken(t *testing.T, sc *scene) {
	sc.deployed("v1")
	sc.model.Allow()
	sc.model.Kill(1)
	sc.model.Faults[sc.track().Release] = deploytest.Crashes
	row := sc.move(sc.begin(sc.release("v2", "")).ID)
	if row.State != record.RolloutDone {
		t.Fatalf("%s: %s", row.State, row.Reason)
	}
	if ev := row.Evidence["shift-25"]; ev.OK || !strings.Contains(ev.Text, "not healthy") {
		t.Errorf("that the old release is broken was not said: %+v", ev)
	}
	if ev := row.Evidence["analyze-25"]; !strings.Contains(ev.Text, "limits alone decide") {
		t.Errorf("that there was nothing to compare with was not said: %+v", ev)
	}
	sc.onlyOn(2)
}

func rollbackAimsAtHealthy(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("bake"))
	// The old one dies; by its role it would be the one to go back to.
	sc.model.Kill(1)
	sc.model.Faults[row.From] = deploytest.Crashes
	if _, err := sc.calm.Rollback(sc.ctx, bob, sc.repo, "shop", "production", "", "just in case"); err != nil {
		t.Fatal(err)
	}
	row = sc.move(row.ID)
	if row.State != record.RolloutFailed || !strings.Contains(row.Reason, "not healthy") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(2) // which is the one that can answer
}

func supersededMidCanary(t *testing.T, sc *scene) {
	sc.deployed("v1")
	first := sc.begin(sc.release("v2", ""))
	sc.until(first.ID, at("analyze-25"))
	second := sc.begin(sc.release("v3", ""))
	if got := sc.row(first.ID); got.State != record.RolloutSuperseded || !strings.Contains(got.Reason, "v3") {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	if second.FromNumber != 1 || second.Plan.Moves[0].Kind != plan.MoveReset {
		t.Errorf("it begins from revision %d with %s", second.FromNumber, second.Plan.Moves[0].Key)
	}
	looked := false
	sc.steps = func(r *record.Rollout) {
		if r.Number == 3 && r.Step == 1 && !looked {
			looked = true
			if now := sc.model.State().Revisions; len(now) != 1 || now[1] == nil || now[1].Percent != 100 {
				t.Errorf("it does not begin from the old release: %+v", now)
			}
		}
	}
	if got := sc.move(second.ID); got.State != record.RolloutDone || got.Evidence["analyze-25"].Text == "" || !looked {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(3)
}

func promotionIsTakenBack(t *testing.T, sc *scene) {
	sc.deployed("v1")
	r := sc.release("v2", "")
	row := sc.begin(r)
	for _, mv := range row.Plan.Moves {
		if mv.Within <= 0 {
			t.Errorf("%s has no deadline", mv.Key)
		}
	}
	sc.until(row.ID, at("retire"))
	if _, err := sc.calm.Rollback(sc.ctx, bob, sc.repo, "shop", "production", "", "complaints"); err != nil {
		t.Fatal(err)
	}
	if row = sc.move(row.ID); row.State != record.RolloutRolledBack || row.Reason != "rolled back by bob: complaints" {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(1)
}

func neverStarts(t *testing.T, sc *scene) {
	sc.deployed("v1")
	begun := time.Now()
	row := sc.move(sc.begin(sc.release("v2", deploytest.Hangs)).ID)
	if row.State != record.RolloutRolledBack || !strings.Contains(row.Reason, "up-1 was not done within 1m0s: 0 of 1 instances are ready") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	if d := time.Since(begun); d > 2*time.Minute {
		t.Errorf("it took %s", d)
	}
	sc.onlyOn(1)
}

func rollbackIsStraight(t *testing.T, sc *scene) {
	sc.svc.Migrations = sc.svc.Migrations[:1]
	v1 := sc.deployed("v1")
	sc.deployed("v2")
	row, err := sc.calm.Rollback(sc.ctx, bob, sc.repo, "shop", "production", "", "v2 is slow")
	if err != nil {
		t.Fatal(err)
	}
	for _, mv := range row.Plan.Moves {
		if mv.Kind == plan.MoveGate || mv.Kind == plan.MoveAnalyze || mv.Kind == plan.MoveHold || mv.Kind == plan.MoveMigrate || mv.Kind == plan.MoveShift && mv.Percent != 100 {
			t.Errorf("the way back goes through %s", mv.Key)
		}
	}
	begun := time.Now()
	if row = sc.move(row.ID); row.State != record.RolloutDone || row.To != v1.ID {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("it took %s", d)
	}
	sc.onlyOn(3)
	if len(sc.track().Rejected) != 1 {
		t.Error("v2 was not rejected")
	}
}

func slowMoverIsFenced(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	// A process hangs just before it sends requests to the new release, so long that its lease is given to another one.
	slow := deploytest.NewModel(sc.model)
	hangs, goOn := make(chan struct{}), make(chan struct{})
	once := false
	slow.Point = func(what string) error {
		if strings.HasPrefix(what, "before shift") && !once {
			once = true
			close(hangs)
			<-goOn
		}
		return nil
	}
	life, kill := context.WithCancel(sc.ctx)
	defer kill()
	ended := make(chan error, 1)
	mover := sc.process(slow, func(string) error { return nil })
	mover.Store = unleased{mover.Store}
	go func() { ended <- mover.Move(life, row.ID) }()
	<-hangs
	if got := sc.move(row.ID); got.State != record.RolloutDone {
		t.Fatalf("%s: %s", got.State, got.Reason)
	}
	before := sc.model.State()
	close(goOn)
	if err := <-ended; err != nil && !errors.Is(err, deploy.ErrFenced) {
		t.Errorf("the slow one met %v", err)
	}
	if err := slow.Shift(sc.ctx, &deploy.Target{Fence: row.Fence + 1}, []deploy.Share{{Number: 2, Percent: 25}}); !errors.Is(err, deploy.ErrFenced) {
		t.Errorf("with its fence it could: %v", err)
	}
	if after := sc.model.State(); after.Revisions[2].Percent != before.Revisions[2].Percent {
		t.Errorf("the slow one has changed the shares: %+v", after.Revisions[2])
	}
	sc.onlyOn(2)
}

// unleased is a store whose leases exclude nobody, as one that was lost unnoticed.
type unleased struct{ rollout.Store }

type free struct{}

func (free) Release() error        { return nil }
func (free) Lost() <-chan struct{} { return nil }

func (u unleased) Lease(context.Context, string, string) (store.Lease, error) { return free{}, nil }

func configurationGoesBack(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", deploytest.Errs))
	sc.until(row.ID, at("analyze-25"))
	if got := sc.model.State().Revisions[2].Env["GREETING"]; got != "v2" {
		t.Errorf("revision 2 is greeted with %q", got)
	}
	row = sc.move(row.ID)
	if row.State != record.RolloutRolledBack || !strings.Contains(row.Reason, "of 200") && !strings.Contains(row.Reason, "requests") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	if sc.model.State().Revisions[1] == nil {
		t.Fatalf("the release before is gone: %s: %s", row.State, row.Reason)
	}
	if got := sc.model.State().Revisions[1].Env["GREETING"]; got != "v1" {
		t.Errorf("revision 1 is greeted with %q", got)
	}
	if sc.flags["production"] != "flags of v1" {
		t.Errorf("the flags are %q", sc.flags["production"])
	}
	sc.onlyOn(1)
}

func contracted(t *testing.T, sc *scene) {
	sc.deployed("v1")
	sc.deployed("v2")
	_, err := sc.calm.Rollback(sc.ctx, bob, sc.repo, "shop", "production", "", "")
	if !strings.Contains(usage(err), "there is no way back: migrate-contract-1") || !strings.Contains(usage(err), "Roll forward") {
		t.Errorf("%v", err)
	}
	// In the middle of one, too.
	row := sc.begin(sc.release("v3", ""))
	asked := false
	sc.steps = func(r *record.Rollout) {
		if _, begun := r.Intents["migrate-contract-1"]; begun && !asked && r.Number == 3 {
			asked = true
			if _, err := sc.calm.Abort(sc.ctx, bob, r.ID, ""); !strings.Contains(usage(err), "there is no way back") {
				t.Errorf("%v", err)
			}
			if _, err := sc.calm.Begin(sc.ctx, bob, sc.wish(sc.release("v4", ""))); !strings.Contains(usage(err), "in the middle of migrate-contract-1") {
				t.Errorf("%v", err)
			}
		}
	}
	if got := sc.move(row.ID); got.State != record.RolloutDone || !asked {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(3)
}

func pausedInPlace(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("bake"))
	if _, err := sc.calm.Pause(sc.ctx, bob, row.ID, "let me look"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(sc.ctx, 3*time.Hour)
	defer cancel()
	if err := sc.calm.Move(ctx, row.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if got := sc.row(row.ID); got.State != record.RolloutPaused || got.Plan.Moves[got.Step].Key != "bake" {
		t.Errorf("%s at %d", got.State, got.Step)
	}
	if got := sc.model.State().Revisions; got[1] == nil || len(got[1].Started) != 3 {
		t.Error("the old release has gone")
	}
	if _, err := sc.calm.Resume(sc.ctx, bob, row.ID); err != nil {
		t.Fatal(err)
	}
	if got := sc.move(row.ID); got.State != record.RolloutDone {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(2)
}

func rejectedStaysAway(t *testing.T, sc *scene) {
	sc.deployed("v1")
	bad := sc.release("v2", deploytest.Checked)
	sc.move(sc.begin(bad).ID)
	_, err := sc.calm.Begin(sc.ctx, ada, sc.wish(bad))
	if !strings.Contains(usage(err), "v2 of shop was rejected in production") || !strings.Contains(usage(err), "answered 500") {
		t.Errorf("%v", err)
	}
	if err := sc.calm.Lift(sc.ctx, bob, sc.repo, "shop", "production", bad.ID, "it was the database"); err != nil {
		t.Fatal(err)
	}
	delete(sc.model.Faults, bad.ID)
	if row := sc.move(sc.begin(bad).ID); row.State != record.RolloutDone {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(3) // the migration of v2 was done the first time, and once
}

func abortWaiting(t *testing.T, sc *scene) {
	sc.deployed("v1")
	sc.envs["production"].Gate = plan.DeployGate{Approvals: 1}
	before := sc.model.State()
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, state(record.RolloutWaiting))
	if _, err := sc.calm.Abort(sc.ctx, bob, row.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := sc.move(row.ID); got.State != record.RolloutAborted {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	if after := sc.model.State(); after.Fence != before.Fence || after.Revisions[1].Percent != 100 {
		t.Errorf("%+v", after)
	}
	sc.onlyOn(1)
	sc.envs["production"].Gate = plan.DeployGate{}
	if got := sc.move(sc.begin(sc.release("v3", "")).ID); got.State != record.RolloutDone {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(3)
}

func noStaleLock(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("analyze-25")) // and the client is gone
	begun := time.Now()
	if got := sc.move(row.ID); got.State != record.RolloutDone || time.Since(begun) > 3*time.Minute {
		t.Errorf("%s after %s: %s", got.State, time.Since(begun), got.Reason)
	}
	sc.onlyOn(2)
}

func forgottenRoutes(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("bake"))
	sc.model.Allow()
	sc.model.Forget()
	if got := sc.move(row.ID); got.State != record.RolloutDone {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(2)
	sc.model.Forget()
	if h, err := sc.calm.Drift(sc.ctx, sc.repo, "shop", "production"); err != nil || len(h.Differences) != 0 {
		t.Errorf("%+v %v", h, err) // instances are what the model compares
	}
	sc.svc.Migrations = nil
	healed, err := sc.calm.Heal(sc.ctx, bob, sc.repo, "shop", "production", "routes")
	if err != nil {
		t.Fatal(err)
	}
	sc.move(healed.ID)
	sc.onlyOn(3)
}

func diesWhileHeld(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("bake"))
	sc.model.Allow()
	sc.model.Kill(2)
	row = sc.move(row.ID)
	if row.State != record.RolloutRolledBack || !strings.Contains(row.Reason, "failed: exit status 3") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(1)
}

func unknownMigration(t *testing.T, sc *scene) {
	for i := range sc.svc.Migrations {
		sc.svc.Migrations[i].Probe = ""
	}
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	dies := deploytest.NewModel(sc.model)
	life, kill := context.WithCancelCause(sc.ctx)
	dies.Point = func(what string) error {
		if life.Err() == nil && what == "after begin to migrate up" {
			kill(errDead)
		}
		if life.Err() != nil {
			return errDead
		}
		return nil
	}
	if err := sc.process(dies, dies.Point).Move(life, row.ID); err == nil {
		t.Fatal("it did not die")
	}
	got := sc.until(row.ID, state(record.RolloutAttention))
	if got.Asked != "migrate-expand-1" || !strings.Contains(got.Reason, "no probe") {
		t.Errorf("%q: %s", got.Asked, got.Reason)
	}
	if s := sc.model.State(); s.Begun[row.To+" up"] != 1 {
		t.Errorf("it was begun again: %v", s.Begun)
	}
	if _, err := sc.calm.Begin(sc.ctx, bob, sc.wish(sc.release("v3", ""))); !strings.Contains(usage(err), "say what became of it") {
		t.Errorf("%v", err)
	}
	if _, err := sc.calm.Settle(sc.ctx, bob, row.ID, false); err != nil { // it was not done: do it
		t.Fatal(err)
	}
	if got := sc.move(row.ID); got.State != record.RolloutDone {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(2)
}

func migrationFails(t *testing.T, sc *scene) {
	sc.deployed("v1")
	sc.svc.Migrations[0].Command = "fail"
	row := sc.move(sc.begin(sc.release("v2", "")).ID)
	if row.State != record.RolloutRolledBack || !strings.Contains(row.Reason, "migrate-expand-1 ended with exit status 2: it cannot be done") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	i, err := sc.store.Register(sc.ctx, rollout.IncidentKind, "rollout-"+row.ID)
	if err != nil || !strings.Contains(string(i.Body), `"severity":"minor"`) {
		t.Errorf("%s %v", i.Body, err)
	}
	sc.onlyOn(1)
}

func staleProposal(t *testing.T, sc *scene) {
	applier(sc)
	sc.deployed("v1")
	sc.envs["production"].Gate = plan.DeployGate{Approvals: 1, NotAuthor: true}
	row := sc.begin(sc.release("v2", ""))
	if _, err := sc.calm.Approve(sc.ctx, bob, row.ID, ""); !strings.Contains(usage(err), "not known yet") {
		t.Errorf("%v", err)
	}
	row = sc.until(row.ID, state(record.RolloutWaiting))
	if row.Proposal == nil || row.Proposal.Summary != "from revision 1 to 2" {
		t.Errorf("%+v", row.Proposal)
	}
	sc.model.Meddle(0) // somebody takes away what is there
	if _, err := sc.calm.Approve(sc.ctx, ada, row.ID, ""); !strings.Contains(usage(err), "somebody else has to approve") {
		t.Errorf("%v", err)
	}
	if _, err := sc.calm.Approve(sc.ctx, bob, row.ID, "fine"); err != nil {
		t.Fatal(err)
	}
	row = sc.until(row.ID, func(r *record.Rollout) bool {
		return r.Proposal != nil && r.Proposal.Summary == "from revision 0 to 2" && r.State == record.RolloutWaiting
	})
	if len(row.Approvals) != 0 {
		t.Errorf("what nobody has agreed to is approved: %+v", row.Approvals)
	}
	if _, err := sc.calm.Approve(sc.ctx, bob, row.ID, "then so"); err != nil {
		t.Fatal(err)
	}
	if got := sc.move(row.ID); got.State != record.RolloutDone {
		t.Errorf("%s: %s", got.State, got.Reason)
	}
	sc.onlyOn(2)
	if n := sc.model.State().Applies[2]; n != 1 {
		t.Errorf("it was applied %d times", n)
	}
}

func refusedByTarget(t *testing.T, sc *scene) {
	sc.deployed("v1")
	_, err := sc.calm.Begin(sc.ctx, ada, sc.wish(sc.release("v2", deploytest.Refused)))
	p, ok := errors.AsType[*rollout.ProblemsError](err)
	if !ok || p.Problems[0].Message != "the target will not have it" {
		t.Errorf("%v", err)
	}
	if sc.track().Number != 1 {
		t.Error("something was begun")
	}
	late := sc.release("v3", "")
	row := sc.begin(late)
	sc.model.Faults[late.ID] = deploytest.Refused // it has changed its mind
	if row = sc.move(row.ID); row.State != record.RolloutRolledBack || !strings.Contains(row.Reason, "refused") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(1)
}

func nothingHealthy(t *testing.T, sc *scene) {
	sc.deployed("v1")
	row := sc.begin(sc.release("v2", ""))
	sc.until(row.ID, at("bake"))
	sc.model.Allow()
	for _, n := range []int{1, 2} {
		sc.model.Kill(n)
	}
	sc.model.Faults[row.From] = deploytest.Crashes
	row = sc.move(row.ID)
	if row.State != record.RolloutFailed || !strings.Contains(row.Reason, "nothing healthy to go back to") {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	i, err := sc.store.Register(sc.ctx, rollout.IncidentKind, "rollout-"+row.ID)
	if err != nil || !strings.Contains(string(i.Body), `"severity":"major"`) || strings.Contains(string(i.Body), `"resolved"`) {
		t.Errorf("%s %v", i.Body, err)
	}
	// The next release puts it right, whatever is left.
	row = sc.move(sc.begin(sc.release("v3", "")).ID)
	if row.State != record.RolloutDone {
		t.Errorf("%s: %s", row.State, row.Reason)
	}
	sc.onlyOn(3)
}

func nobodyAsks(t *testing.T, sc *scene) {
	sc.model.Rate = 0
	sc.deployed("v1")
	row := sc.move(sc.begin(sc.release("v2", "")).ID)
	if ev := row.Evidence["analyze-25"]; row.State != record.RolloutDone || !strings.Contains(ev.Text, "nothing is known of it") {
		t.Errorf("%s: %s; %+v", row.State, row.Reason, ev)
	}
	sc.onlyOn(2)
}

func TestGates(t *testing.T) {
	t.Parallel()
	stage(t, func(t *testing.T, open func(string) *scene) {
		sc := open("acme/shop")
		sc.envs["production"].Gate = plan.DeployGate{Approvals: 2, Approvers: []string{"ada", "bob", "eve"}, NotAuthor: true, After: "staging", Soak: time.Hour,
			Freezes: []plan.Window{{Name: "weekend", Cron: "0 0 * * SAT", For: 48 * time.Hour, Zone: "Europe/Berlin"}}}
		r := sc.release("v1", "")
		row := sc.begin(r)
		waits := func(why string) {
			t.Helper()
			sc.until(row.ID, func(r *record.Rollout) bool {
				return r.State == record.RolloutWaiting && strings.Contains(r.Reason, why)
			})
		}
		waits("until the release is whole in staging")
		w := sc.wish(r)
		w.Environment = "staging"
		staged, err := sc.calm.Begin(sc.ctx, ada, w)
		sc.must(err)
		other := deploytest.NewModel(nil) // staging is another target
		other.Caps, other.Boot = sc.model.Caps, sc.model.Boot
		mover := sc.process(other, func(string) error { return nil })
		sc.must(mover.Move(sc.ctx, staged.ID))
		waits("until it has been in staging for 1h0m0s")
		time.Sleep(time.Hour)
		waits("for 2 more approvals by ada, bob, eve")
		_, err = sc.calm.Approve(sc.ctx, ada, row.ID, "")
		if !strings.Contains(usage(err), "made the change") {
			t.Errorf("%v", err)
		}
		_, err = sc.calm.Approve(sc.ctx, bob, row.ID, "")
		sc.must(err)
		_, err = sc.calm.Approve(sc.ctx, bob, row.ID, "")
		if !strings.Contains(usage(err), "already") {
			t.Errorf("%v", err)
		}
		waits("for an approval")
		eve := bob
		eve.Name = "Eve"
		_, err = sc.calm.Approve(sc.ctx, eve, row.ID, "")
		sc.must(err)
		// The bubble begins on Saturday, 1 January 2000.
		waits("weekend: nothing is deployed until Mon 3 Jan 00:00 CET")
		got := sc.move(row.ID)
		if got.State != record.RolloutDone || got.Evidence["gate"].Text != "approved by bob, Eve" {
			t.Errorf("%s: %s; %+v", got.State, got.Reason, got.Evidence["gate"])
		}
		if now := time.Now().UTC(); now.Before(time.Date(2000, 1, 2, 23, 0, 0, 0, time.UTC)) {
			t.Errorf("it went out at %s", now)
		}
		sc.onlyOn(1)

		// In an emergency all of that is passed over, and everybody sees it.
		row = sc.begin(sc.release("v2", ""))
		waits("until the release is whole in staging")
		if _, err := sc.calm.Override(sc.ctx, bob, row.ID, " "); !strings.Contains(usage(err), "reason") {
			t.Errorf("%v", err)
		}
		_, err = sc.calm.Override(sc.ctx, bob, row.ID, "the shop is down")
		sc.must(err)
		if got := sc.move(row.ID); got.State != record.RolloutDone || !strings.Contains(got.Evidence["gate"].Text, "emergency: the shop is down") {
			t.Errorf("%s: %+v", got.State, got.Evidence["gate"])
		}
		acts := 0
		for e, err := range sc.store.AfterKinds(sc.ctx, 0, "acted") {
			sc.must(err)
			if a := e.Body.(*record.Acted); a.Verb == string(rollout.Approve) && a.Detail["what"] == "emergency" && a.Detail["why"] == "the shop is down" && a.By == "bob" {
				acts++
			}
		}
		if acts != 1 {
			t.Errorf("the audit trail has %d emergencies", acts)
		}
	})
}

func TestGroup(t *testing.T) {
	t.Parallel()
	for _, fault := range []deploytest.Fault{"", deploytest.Crashes} {
		stage(t, func(t *testing.T, open func(string) *scene) {
			sc := open("acme/shop")
			models := map[string]*deploytest.Model{}
			for _, name := range []string{"db", "api", "web"} {
				m := deploytest.NewModel(nil)
				m.Caps, m.Boot, m.Rate, m.Faults = sc.model.Caps, sc.model.Boot, sc.model.Rate, sc.model.Faults
				models[name] = m
			}
			mover := sc.process(sc.model, func(string) error { return nil })
			mover.Drivers = map[string]deploy.Driver{"process": byService(models)}
			sc.calm = mover
			ctx, cancel := context.WithCancel(sc.ctx)
			served := make(chan error, 1)
			go func() { served <- mover.Serve(ctx) }()
			release := func(version string, fault deploytest.Fault) (rows []*record.Rollout) {
				var wishes []rollout.Wish
				for _, name := range []string{"db", "api", "web"} {
					sc.svc.Name, sc.svc.Migrations = name, nil
					var f deploytest.Fault
					if name == "web" {
						f = fault
					}
					wishes = append(wishes, sc.wish(sc.release(version, f)))
				}
				rows, err := mover.BeginAll(sc.ctx, ada, wishes)
				sc.must(err)
				for i, row := range rows {
					for range 10_000 {
						if rows[i] = sc.row(row.ID); rows[i].State.Ended() {
							break
						}
						time.Sleep(time.Second)
					}
				}
				return rows
			}
			release("v1", "")
			rows := release("v2", fault)
			want, number := record.RolloutDone, 2
			if fault != "" {
				want, number = record.RolloutRolledBack, 1
			}
			for i, row := range rows {
				if row.State != want {
					t.Errorf("%s: %s: %s", row.Service, row.State, row.Reason)
				}
				if s := models[row.Service].State(); len(s.Revisions) != 1 || s.Revisions[number] == nil || len(s.Wrong) > 0 {
					t.Errorf("%s: %+v", row.Service, s)
				}
				if i > 0 && fault == "" && row.Evidence["up-1"].Time.Before(rows[i-1].Evidence["bake"].Time) {
					t.Errorf("%s began before %s had proved itself", row.Service, rows[i-1].Service)
				}
				if i > 0 && fault != "" && row.Ended.After(rows[i-1].Ended) {
					t.Errorf("%s was taken back after %s", row.Service, rows[i-1].Service)
				}
			}
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// byService is a driver whose targets are models.
type byService map[string]*deploytest.Model

func (b byService) Capabilities(t *deploy.Target) deploy.Capabilities { return b[t.Service].Caps }
func (b byService) Check(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]plan.Problem, error) {
	return nil, nil
}
func (b byService) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	return b[t.Service].Observe(ctx, t)
}
func (b byService) Ensure(ctx context.Context, t *deploy.Target, r *deploy.Revision, n int) error {
	return b[t.Service].Ensure(ctx, t, r, n)
}
func (b byService) Shift(ctx context.Context, t *deploy.Target, s []deploy.Share) error {
	return b[t.Service].Shift(ctx, t, s)
}
func (b byService) Remove(ctx context.Context, t *deploy.Target, n int) error {
	return b[t.Service].Remove(ctx, t, n)
}
func (b byService) Drift(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	return nil, nil
}
func (b byService) Counts(ctx context.Context, t *deploy.Target) (*deploy.Traffic, error) {
	return b[t.Service].Counts(ctx, t)
}

func TestServe(t *testing.T) {
	t.Parallel()
	stage(t, func(t *testing.T, open func(string) *scene) {
		sc := open("acme/shop")
		sc.svc.Migrations = nil
		sc.envs["production"].Drift, sc.envs["production"].Heal = time.Minute, true
		sc.envs["production"].Preview, sc.envs["production"].Expires = true, 24*time.Hour
		ctx, cancel := context.WithCancel(sc.ctx)
		served := make(chan error, 1)
		go func() { served <- sc.calm.Serve(ctx) }()
		first := sc.begin(sc.release("v1", ""))
		time.Sleep(5 * time.Minute)
		if row := sc.row(first.ID); row.State != record.RolloutDone {
			t.Fatalf("%s: %s", row.State, row.Reason)
		}
		if h := sc.track().Health; h == nil || h.Ready != 3 || h.Want != 3 {
			t.Errorf("%+v", h)
		}
		// Instances die: that is drift, which is put right.
		sc.model.Allow()
		sc.model.Kill(1)
		time.Sleep(5 * time.Minute)
		sc.onlyOn(2)
		var kinds []string
		for e, err := range sc.store.AfterKinds(sc.ctx, 0, "drift.found") {
			sc.must(err)
			kinds = append(kinds, e.Body.(*record.DriftFound).Differences[0].Field)
		}
		if !slices.Equal(kinds, []string{"instances"}) {
			t.Errorf("drift was found: %v", kinds)
		}
		// A preview goes when it has had its time.
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		sc.onlyOn(0)
		if tr := sc.track(); tr.Release != "" {
			t.Errorf("%+v", tr)
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestReleasesAreMadeOnce(t *testing.T) {
	t.Parallel()
	stage(t, func(t *testing.T, open func(string) *scene) {
		sc := open("acme/shop")
		a := sc.release("v1", "")
		again, err := sc.calm.Make(sc.ctx, bob, record.Release{Repository: a.Repository, Service: a.Service, Version: "other", Spec: a.Spec, Artifact: a.Artifact,
			Config: a.Config, Flags: a.Flags, Commit: "another commit"})
		sc.must(err)
		if again.ID != a.ID || again.Version != "v1" {
			t.Errorf("the same bytes are another release: %s %s", again.ID, again.Version)
		}
		changed := *a
		changed.Config = map[string]record.ReleaseConfig{"production": {Variables: map[string]string{"GREETING": "hey"}}}
		id, err := rollout.ReleaseID(changed)
		sc.must(err)
		if id == a.ID {
			t.Error("another configuration is the same release")
		}
		for _, w := range []struct {
			wish rollout.Wish
			want string
		}{
			{rollout.Wish{Repository: sc.repo, Service: "shop", Environment: "production", Release: "sha256:none"}, "there is no release"},
			{rollout.Wish{Repository: sc.repo, Service: "other", Environment: "production", Release: a.ID}, "is one of shop"},
			{rollout.Wish{Repository: sc.repo, Service: "shop", Environment: "nowhere", Release: a.ID}, "there is no environment nowhere"},
		} {
			if _, err := sc.calm.Begin(sc.ctx, ada, w.wish); !strings.Contains(usage(err), w.want) {
				t.Errorf("%+v: %v", w.wish, err)
			}
		}
		sc.envs["production"].Branches = []string{"release-*"}
		if _, err := sc.calm.Begin(sc.ctx, ada, sc.wish(a)); !strings.Contains(usage(err), "production takes release-*") {
			t.Errorf("%v", err)
		}
		sc.envs["production"].Branches = []string{"main"}
		row := sc.begin(a)
		if _, err := sc.calm.Begin(sc.ctx, ada, sc.wish(a)); !strings.Contains(usage(err), "on its way to production already") {
			t.Errorf("%v", err)
		}
		sc.move(row.ID)
		if _, err := sc.calm.Begin(sc.ctx, ada, sc.wish(a)); !strings.Contains(usage(err), "is in production already") {
			t.Errorf("%v", err)
		}
		if _, err := sc.calm.Rollback(sc.ctx, ada, sc.repo, "shop", "production", "", ""); !strings.Contains(usage(err), "no earlier release") {
			t.Errorf("%v", err)
		}
		if _, err := sc.calm.Abort(sc.ctx, ada, row.ID, ""); !strings.Contains(usage(err), "has ended: done") {
			t.Errorf("%v", err)
		}
	})
}

func TestGuardedFlag(t *testing.T) {
	t.Parallel()
	for _, bad := range []bool{false, true} {
		stage(t, func(t *testing.T, open func(string) *scene) {
			sc := open("acme/shop")
			flags := &launch.Flags{Store: sc.store, Log: sc.store}
			key := launch.FlagRef{Repository: sc.repo, Environment: "production", Flag: "checkout"}
			sc.must(flags.Set(sc.ctx, ada, key.Repository, key.Environment, feature.Flag{Key: key.Flag, State: feature.Enabled, Variants: []feature.Variant{{Name: "old", Value: json.RawMessage("false")}, {Name: "new", Value: json.RawMessage("true")}}, Default: "old",
				Care: feature.Care{Guard: &feature.Guard{Variant: "new", Steps: []float64{5, 50, 100}}}}, "for Christmas"))
			shares := &flagShares{FlagShares: launch.FlagShares{Flags: flags, By: ada}}
			sc.calm.Drivers = map[string]deploy.Driver{rollout.FlagDriver: &rollout.FlagMover{Shares: shares}}
			sc.calm.Outside = metric{sc.calm.Outside, &bad, shares}
			release, err := rollout.FlagRelease(sc.repo, "checkout", "new", project.Service{Strategy: project.Strategy{Steps: []int{5, 50}, Hold: time.Minute},
				Checks: []plan.Check{{Name: "orders", Command: "orders"}}})
			sc.must(err)
			r, err := sc.calm.Make(sc.ctx, ada, release)
			sc.must(err)
			row := sc.move(sc.begin(r).ID)
			want, set := record.RolloutDone, []float64{5, 50, 100}
			if bad {
				want, set = record.RolloutRolledBack, []float64{5, 50, 0}
			}
			if row.State != want || !slices.Equal(shares.set, set) {
				t.Errorf("%s: %s; shares %v", row.State, row.Reason, shares.set)
			}
			if p, err := shares.Share(sc.ctx, key.Repository, key.Environment, key.Flag); err != nil || p != set[2] {
				t.Errorf("the share is %g, %v", p, err)
			}
			if err := shares.FlagShares.SetShare(sc.ctx, key.Repository, key.Environment, key.Flag, 7, 0); !errors.Is(err, deploy.ErrFenced) {
				t.Errorf("a lower fence: %v", err)
			}
			unguarded := r.Service
			if problems, err := sc.calm.Drivers[rollout.FlagDriver].Check(sc.ctx, &deploy.Target{Repository: sc.repo, Service: unguarded + "2", Environment: "production"}, nil); err != nil || len(problems) != 1 {
				t.Errorf("%v %v", problems, err)
			}
		})
	}
}

// flagShares remember what was set.
type flagShares struct {
	launch.FlagShares
	set []float64
}

func (f *flagShares) SetShare(ctx context.Context, repository, environment, flag string, percent float64, fence int64) error {
	f.set = append(f.set, percent)
	return f.FlagShares.SetShare(ctx, repository, environment, flag, percent, fence)
}

// metric is a check that fails as soon as half of the users have the variant.
type metric struct {
	deploy.Outside
	bad    *bool
	shares *flagShares
}

func (m metric) Check(context.Context, plan.Check, []deploy.Instance, map[string]string, string) record.Evidence {
	if *m.bad && m.shares.set[len(m.shares.set)-1] >= 50 {
		return record.Evidence{Text: "too few orders"}
	}
	return record.Evidence{OK: true}
}

// TestRowIsPlainData: a rollout goes through JSON, since that is how it is kept.
func TestRowIsPlainData(t *testing.T) {
	t.Parallel()
	row := record.Rollout{ID: "x", Plan: plan.Rollout{Moves: []plan.Move{{Key: "gate", Kind: plan.MoveGate, Gate: &plan.DeployGate{Approvals: 1}}}},
		Intents: map[string]record.Intent{"m": {Begun: time.Unix(1, 0).UTC()}}}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	var again record.Rollout
	if err := json.Unmarshal(text, &again); err != nil || again.Plan.Moves[0].Gate.Approvals != 1 || !again.Intents["m"].Done.IsZero() {
		t.Errorf("%+v %v", again, err)
	}
}
