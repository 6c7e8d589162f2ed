package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
)

// playedPlaces has two environments, one of which is gated.
type playedPlaces struct{}

func (playedPlaces) Environment(_ context.Context, _, name string) (*project.DeployEnvironment, error) {
	switch name {
	case "staging":
		return &project.DeployEnvironment{Name: name, URL: "https://staging.example.org"}, nil
	case "production":
		return &project.DeployEnvironment{Name: name, URL: "https://shop.example.org", Branches: []string{"main"}, Gate: plan.DeployGate{
			Approvals: 1, NotAuthor: true, Freezes: []plan.Window{{Name: "weekend", Cron: "0 15 * * FRI", For: 65 * time.Hour}},
		}}, nil
	}
	return nil, &plan.UsageError{Message: fmt.Sprintf("there is no environment %q", name)}
}

func (playedPlaces) Tree(context.Context, string, string) (string, error) { return "", nil }

// playedSecrets has a value for each name.
type playedSecrets struct{}

func (playedSecrets) Open(_ context.Context, _, _ string, names []string) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		values[name] = "a value that nobody may see"
	}
	return values, nil
}

// mover gives a scene what moves deployments, with a model of a target.
func (sc *scene) mover() {
	model := deploytest.NewModel(nil)
	model.Caps = deploy.Capabilities{Split: true, Beside: true, Instances: true, Drift: true}
	sc.s.Mover = &rollout.Mover{Store: sc.store, Drivers: map[string]deploy.Driver{"process": model}, Outside: model.Outside(), Projects: playedPlaces{}, Artifacts: sc.blobs, Secrets: playedSecrets{}, Holder: "test"}
	sc.s.Board = &insight.Board{Store: sc.store}
}

// makeRelease puts a release of a service into the record.
func (sc *scene) makeRelease(service, version string, height int) *record.Release {
	sc.t.Helper()
	spec, err := json.Marshal(project.Service{Name: service, Process: &project.Process{}, Team: "carts", Strategy: project.Strategy{Kind: project.Canary, Steps: []int{25, 100}}})
	if err != nil {
		sc.t.Fatal(err)
	}
	r, err := sc.s.Mover.Make(sc.t.Context(), launch.By{Name: "ada"}, record.Release{Repository: "team/app", Service: service, Version: version, Commit: fmt.Sprintf("%040x", height), Height: height, Author: "grace", Ref: "refs/heads/main",
		Artifact: record.Packed{Kind: "file", Name: "shop.tar", Digest: "sha256:" + strings.Repeat(fmt.Sprint(height%10), 64), Size: 5_000_000}, Spec: spec,
		Config: map[string]record.ReleaseConfig{"production": {Variables: map[string]string{"LEVEL": "warn"}, Secrets: map[string]string{"DB": "PROD_DB"}}, "staging": {Variables: map[string]string{"LEVEL": "debug"}}}})
	if err != nil {
		sc.t.Fatal(err)
	}
	return r
}

// keepRegister writes registers as they are.
func (sc *scene) keepRegister(kind, id string, body any) {
	sc.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		sc.t.Fatal(err)
	}
	old, err := sc.store.Register(sc.t.Context(), kind, id)
	if err != nil {
		sc.t.Fatal(err)
	}
	if _, err := sc.store.Change(sc.t.Context(), []record.Register{{Kind: kind, ID: id, Version: old.Version, Body: text}}); err != nil {
		sc.t.Fatal(err)
	}
}

// tellDeployments fills the record with two services in two environments: one canary under way, one that was taken back, one that
// a pipeline deployed. It returns the pages.
func (sc *scene) tellDeployments() map[string]string {
	sc.t.Helper()
	ctx := sc.t.Context()
	one, two := sc.makeRelease("shop", "1.4.0", 40), sc.makeRelease("shop", "1.5.0", 47)
	moves := []plan.Move{
		{Key: "reset", Kind: plan.MoveReset, Within: time.Minute},
		{Key: "gate", Kind: plan.MoveGate, Gate: &plan.DeployGate{Approvals: 1, NotAuthor: true, Freezes: []plan.Window{{Cron: "0 15 * * FRI", For: time.Hour}}}},
		{Key: "up", Kind: plan.MoveUp, Instances: 2, Within: time.Minute}, {Key: "verify", Kind: plan.MoveVerify, Within: time.Minute, Checks: []plan.Check{{Name: "health", TCP: true}}},
		{Key: "shift-25", Kind: plan.MoveShift, Percent: 25, Within: time.Minute}, {Key: "analyze-25", Kind: plan.MoveAnalyze, Within: time.Minute, Analysis: &plan.Analysis{For: 8 * time.Minute}},
		{Key: "shift-100", Kind: plan.MoveShift, Percent: 100, Within: time.Minute}, {Key: "hold", Kind: plan.MoveHold}, {Key: "retire", Kind: plan.MoveRetire, For: 10 * time.Minute, Within: time.Minute},
	}
	id := func(environment string, n int) string { return rollout.RolloutID("team/app", "shop", environment, n) }
	row := func(environment string, n, step int, state record.RolloutState, to *record.Release, more func(*record.Rollout)) {
		r := record.Rollout{ID: id(environment, n), Repository: "team/app", Service: "shop", Environment: environment, Number: n, To: to.ID, Version: to.Version, By: "ada", Why: "faster carts", State: state, Step: step,
			Begun: noon.Add(-30 * time.Minute), Entered: noon.Add(-5 * time.Minute), Plan: plan.Rollout{Service: "shop", Environment: environment, Strategy: "canary", Driver: "process", Instances: 2, Moves: moves}}
		if more != nil {
			more(&r)
		}
		sc.keepRegister(rollout.RolloutKind, r.ID, r)
	}
	facts := []record.Fact{{Name: "failed requests", New: .011, Old: .01, Limit: .015, Unit: "share", Verdict: "ok"}, {Name: "latency", New: 212, Old: 90, Limit: 135, Unit: "ms", Verdict: "worse"}}
	row("staging", 1, 9, record.RolloutDone, two, nil)
	row("production", 1, 9, record.RolloutDone, one, nil)
	row("production", 2, 5, record.RolloutRolledBack, two, func(r *record.Rollout) {
		r.Back, r.From, r.FromNumber, r.Reason, r.Ended = true, one.ID, 1, "latency is worse than that of the old release", noon.Add(-2*time.Minute)
		r.Evidence = map[string]record.Evidence{"gate": {OK: true, Text: "approved by bob", Time: noon.Add(-29 * time.Minute)}, "analyze-25": {Text: "latency is worse", Facts: facts, Time: noon.Add(-10 * time.Minute)}}
		r.Approvals = []record.Approval{{By: "bob", Why: "looked at it in staging", Time: noon.Add(-29 * time.Minute)}}
		r.Commits = []record.Commit{{SHA: two.Commit, Subject: "Count carts once", Author: "grace", Time: noon.Add(-time.Hour)}}
	})
	for i, b := range []record.RolloutMoved{{Step: 0}, {Step: 1, State: record.RolloutWaiting, Reason: "for an approval"}, {Step: 2}, {Step: 5}, {Step: 5, Back: true, Reason: "latency is worse"}, {Step: 5, Back: true, State: record.RolloutRolledBack}} {
		b.Rollout, b.Repository, b.Service, b.Environment, b.Number, b.Begun, b.Version, b.Release = id("production", 2), "team/app", "shop", "production", 2, noon.Add(-30*time.Minute), "1.5.0", two.ID
		if b.State == "" {
			b.State = record.RolloutRunning
		}
		if b.Step < len(moves) {
			b.Move = moves[b.Step].Key
		}
		if _, err := sc.store.Append(ctx, record.Event{Time: noon.Add(time.Duration(5*i-30) * time.Minute), Body: &b}); err != nil {
			sc.t.Fatal(err)
		}
	}
	track := func(service, environment string, order int, more func(*record.Track)) {
		t := record.Track{Repository: "team/app", Service: service, Environment: environment, Order: order, Number: 1, Revision: 1, Since: noon.Add(-50 * time.Hour), Driver: "process", Team: "carts", Health: &record.Health{Ready: 2, Want: 2, Time: noon}}
		more(&t)
		sc.keepRegister(rollout.TrackKind, rollout.TrackID(t.Repository, environment, service), t)
	}
	track("shop", "staging", 1, func(t *record.Track) {
		t.Release, t.Version, t.Commit, t.Height = two.ID, two.Version, two.Commit, two.Height
		t.Drift = &record.Drifted{Time: noon.Add(-time.Minute), Differences: []record.Difference{{Resource: "shop-r1-0", Field: "LEVEL", Want: "warn", Have: "debug", Author: "mallory", Since: noon.Add(-time.Hour)}}}
	})
	track("shop", "production", 2, func(t *record.Track) {
		t.Number, t.Release, t.Version, t.Commit, t.Height = 2, one.ID, one.Version, one.Commit, one.Height
		t.Health = &record.Health{Ready: 1, Want: 2, Why: "shop-r1-1 exited with 1", Time: noon}
		t.Rejected = map[string]record.Rejection{two.ID: {Why: "latency is worse than that of the old release", Rollout: id("production", 2), Time: noon.Add(-2 * time.Minute)}}
	})
	track("docs", "production", 0, func(t *record.Track) {
		t.Number, t.Revision, t.Driver, t.Run, t.Version, t.Commit, t.Health = 0, 0, "pipeline", "1", "9f2c4711aa00", "9f2c4711aa00", nil
	})
	return map[string]string{
		"deployments": "/deployments", "nodeployments": "/deployments?text=none", "environment": "/environment/team/app?environment=production&with=staging", "staging": "/environment/team/app?environment=staging",
		"noenvironment": "/environment/team/other", "rollout": "/rollout/" + id("production", 2), "done": "/rollout/" + id("staging", 1), "deployedrelease": "/release/" + two.ID,
	}
}

func TestDeploymentPages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	says := map[string][]string{
		"deployments":     {"1.5.0</a>", "7 commits behind", "1 of 2 ready", "drifted", "/runs/1\">9f2c4711aa00", "carts", "2 services", `data-topics="deployments"`},
		"nodeployments":   {"No service is like that"},
		"environment":     {"1.4.0", "shop-r1-1 exited with 1", "1 approval", "Only from main", "weekend: nothing is deployed", "variable LEVEL", "PROD_DB", "rejected here", "Roll back"},
		"staging":         {"<code>debug</code>", "mallory", "Put right"},
		"noenvironment":   {"No environments"},
		"rollout":         {"Rolled back", "latency is worse", "Send 25 % of the requests to the new release", "class=\"shareplot\"", ">212</td>", ">135</td>", "worse</span>", "looked at it in staging", "Count carts once", "is not deployed to production again", "Turned back", `data-topics="rollout/shop-production-`},
		"done":            {"Done", "Roll back"},
		"deployedrelease": {"sha256:7777777", "LEVEL", "DB", "1.4.0 serves", "Lift", "Deploy 1.5.0", "serves</span>"},
	}
	for name, path := range sc.tellDeployments() {
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != 200 {
			t.Fatalf("%s: %d %s\n%s", path, w.Code, w.Body, sc.log)
		}
		for _, want := range says[name] {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s does not say %q:\n%s", path, want, w.Body)
			}
		}
		for _, wrong := range unfit(w.Body.String()) {
			t.Errorf("%s: %s", path, wrong)
		}
		if strings.Contains(w.Body.String(), "warn</code>") && name == "deployedrelease" {
			t.Error("the page of a release shows the value of a variable")
		}
	}
	stranger := sc.account("eve", "team/other", access.Maintainer)
	if w := sc.call("GET", "/deployments", "", session(stranger)); strings.Contains(w.Body.String(), "shop") {
		t.Error("who may not see the repository sees what is deployed")
	}
	m := answered[DeploymentsView](t, sc.call("GET", "/api/v1/deployments?show=behind", "", session(sc.admin)), 200)
	if len(m.Services) != 1 || m.Services[0].Service != "shop" || m.Services[0].Cells[1].Behind != 7 || strings.Join(m.Environments, " ") != "staging production" {
		t.Errorf("%+v", m)
	}
	c := answered[insight.Contrast](t, sc.call("GET", "/api/v1/contrast/team/app?of=staging&with=production", "", session(sc.admin)), 200)
	if len(c.Services) != 2 {
		t.Errorf("%+v", c)
	}
}

// TestDeploying goes through a rollout as people do: begun from what is elsewhere, approved, paused, broken off; each with its right.
func TestDeploying(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	release := sc.makeRelease("shop", "1.0.0", 3)
	dev, boss, grace := sc.account("dev", "team/app", access.Developer), sc.account("boss", "team/app", access.Maintainer), sc.account("grace", "team/app", access.Maintainer)
	post := func(who access.Session, path string, body any, want int) string {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		w := sc.call("POST", "/api/v1"+path, string(text), session(who))
		if w.Code != want {
			t.Fatalf("%s: %d, want %d: %s\n%s", path, w.Code, want, w.Body, sc.log)
		}
		return w.Body.String()
	}
	wish := Deploying{Service: "shop", Environment: "production", Release: release.ID, Why: "first"}
	post(dev, "/deploy/team/app", Deploying{Service: "shop", Environment: "production", Release: release.ID, Emergency: "at once"}, http.StatusForbidden)
	post(dev, "/deploy/team/app", Deploying{Service: "shop"}, 422)
	post(dev, "/deploy/team/app", Deploying{Service: "shop", Environment: "production", From: "staging"}, 422)
	var begun RolloutAnswer
	if err := json.Unmarshal([]byte(post(dev, "/deploy/team/app", wish, 200)), &begun); err != nil {
		t.Fatal(err)
	}
	post(dev, "/deploy/team/app", wish, 422) // it is on its way
	at := "/rollout/" + begun.Rollout
	v := answered[RolloutView](t, sc.call("GET", "/api/v1"+at, "", session(dev)), 200)
	if v.Missing != 1 || !v.Can("approve") || v.Can("promote") || !v.Can("pause") || v.Author != "grace" {
		t.Errorf("%+v", v)
	}
	post(dev, at+"/approve", RolloutAct{}, http.StatusForbidden)
	post(grace, at+"/approve", RolloutAct{}, 422) // her change
	post(boss, at+"/approve", RolloutAct{Why: "seen"}, 200)
	post(boss, at+"/promote", RolloutAct{}, 422)
	post(dev, at+"/pause", RolloutAct{Why: "lunch"}, 200)
	post(dev, at+"/resume", RolloutAct{}, 200)
	post(boss, at+"/override", RolloutAct{}, 422) // without a reason
	post(dev, at+"/override", RolloutAct{Why: "fire"}, http.StatusForbidden)
	post(dev, at+"/settle", SettlingRollout{Done: true}, 422)
	post(dev, at+"/abort", RolloutAct{Why: "not today"}, 200)
	v = answered[RolloutView](t, sc.call("GET", "/api/v1"+at, "", session(dev)), 200)
	if v.Rollout.State != record.RolloutAborted || len(v.Story) < 4 || v.Story[0].By != "dev" || v.Can("abort") {
		t.Errorf("%+v", v.Story)
	}
	post(dev, "/rollback/team/app", DeployedAct{Service: "shop", Environment: "production"}, 422)
	post(dev, "/drift/team/app", DeployedAct{Service: "shop", Environment: "production"}, 422)
	post(boss, "/lift/team/app", DeployedAct{Service: "shop", Environment: "production", Release: release.ID}, 422)
	post(dev, "/lift/team/app", DeployedAct{Service: "shop", Environment: "production", Release: release.ID}, http.StatusForbidden)
	list := answered[RolloutsView](t, sc.call("GET", "/api/v1/rollouts/team/app?service=shop", "", session(dev)), 200)
	if len(list.Rollouts) != 1 || list.Rollouts[0].ID != begun.Rollout {
		t.Errorf("%+v", list)
	}
	var what []string
	for _, e := range sc.events("acted") {
		if a := e.Body.(*record.Acted); a.Detail["rollout"] == begun.Rollout {
			what = append(what, a.Detail["what"])
		}
	}
	if len(what) != 4 {
		t.Errorf("the audit trail has %q", what)
	}
}

// BenchmarkDeployments is what the server does for 1,000 services in 5 environments.
func BenchmarkDeployments(b *testing.B) {
	sc := newSceneB(b)
	var all []record.Register
	for i := range 5000 {
		environment := []string{"dev", "test", "staging", "canary", "production"}[i%5]
		t := record.Track{Repository: "team/app", Service: fmt.Sprintf("service-%04d", i/5), Environment: environment, Order: i%5 + 1, Number: 3, Revision: 3, Height: 100 - i%5, Release: "sha256:" + strings.Repeat("a", 64),
			Version: fmt.Sprintf("1.2.%d", i%97), Commit: strings.Repeat("c", 40), Since: noon, Driver: "process", Team: "carts", Health: &record.Health{Ready: 2, Want: 2, Time: noon}}
		body, err := json.Marshal(t)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, record.Register{Kind: rollout.TrackKind, ID: rollout.TrackID(t.Repository, environment, t.Service), Body: body})
	}
	if _, err := sc.store.Change(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if w := sc.call("GET", "/deployments", "", session(sc.admin)); w.Code != http.StatusOK || w.Body.Len() < 500_000 {
			b.Fatal(w.Code, w.Body.Len())
		}
	}
}

// TestDeploymentTopics: a stream about deployments tells those who may see the repository, and nobody else.
func TestDeploymentTopics(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	id := strings.TrimPrefix(sc.tellDeployments()["done"], "/rollout/")
	stranger := sc.account("eve", "team/other", access.Maintainer)
	if w := sc.call("GET", "/api/v1/events?topic=rollout/"+id, "", session(stranger)); w.Code != http.StatusNotFound {
		t.Errorf("a stranger: %d", w.Code)
	}
	if w := sc.call("GET", "/api/v1/events?topic=rollout/none", "", session(sc.admin)); w.Code != http.StatusNotFound {
		t.Errorf("no rollout: %d", w.Code)
	}
	n := sc.s.notice(t.Context(), record.Event{Seq: 9, Body: &record.RolloutMoved{Rollout: id, Repository: "team/app"}})
	all := topics{deployments: true, rollout: map[string]bool{id: true}}
	r := sc.s.request(nil, sc.request("/deployments"))
	if r.Who = sc.principal(); strings.Join(all.of(r, &n), " ") != "rollout/"+id+" deployments" {
		t.Errorf("%q", all.of(r, &n))
	}
	eve, _, err := sc.gate.Session(t.Context(), stranger.Cookie, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if r.Who = eve; len((&topics{deployments: true}).of(r, &n)) != 0 {
		t.Error("a stranger is told of a deployment")
	}
}
