package insight

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

func TestDeployStage(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Deploy to production": "production", "deploy: prod": "production", "Deploy Staging": "staging", "Deployment to the dev": "dev", "Rollout-canary": "canary", "promote to UAT": "uat",
		"Deploy": "", "Deploy artifacts": "", "Release notes": "", "Undeploy staging": "", "Deploy to staging and test it": "", "": "",
	} {
		if got := deployStage(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzDeployStage(f *testing.F) {
	f.Add("Deploy to production")
	f.Add("deploy\x00: \u2028prod")
	f.Fuzz(func(t *testing.T, name string) {
		if got := deployStage(name); got != "" && !strings.Contains("production staging dev development test testing qa uat int integration preprod preview canary demo sandbox", got) {
			t.Errorf("%q: %q", name, got)
		}
	})
}

// TestPipelineDeployments: what jobs deploy is in the matrix, once, the newest of it, and never over what Fairlead moves.
func TestPipelineDeployments(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	noon := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	job := func(id, environment string) plan.Job {
		return plan.Job{ID: id, Environment: &plan.Environment{Name: environment}}
	}
	run := func(at time.Time, dialect, sha, ref string, dirty bool, ends map[string]plan.Verdict, stages ...string) string {
		t.Helper()
		id, number, err := db.NewRun(ctx, "team/shop", "ci.yml")
		if err != nil {
			t.Fatal(err)
		}
		p := &plan.Pipeline{Dialect: dialect, File: "ci.yml", Jobs: []plan.Job{{ID: "test"}, job("deploy", "production"), job("stage", "staging"), job("any", "pr-${{ github.ref }}")}}
		if dialect == "jenkins" {
			p.Jobs = []plan.Job{{ID: "main"}}
		}
		events := []record.Event{{Time: at, Run: id, Body: &record.RunPlanned{Number: number, Pipeline: p, Change: &plan.Change{Repository: "team/shop", SHA: sha, Ref: ref, Dirty: dirty}}}}
		for _, name := range stages {
			events = append(events, record.Event{Time: at.Add(time.Minute), Run: id, Job: "main", Step: "1", Body: &record.StepFinished{Name: name, Conclusion: plan.Success, Outcome: plan.Success}})
		}
		for name, v := range ends {
			events = append(events, record.Event{Time: at.Add(time.Minute), Run: id, Job: name, Body: &record.JobFinished{Verdict: v, Result: v}})
		}
		if _, err := db.Append(ctx, events...); err != nil {
			t.Fatal(err)
		}
		return id
	}
	learn := func() map[string]record.Track {
		t.Helper()
		// Each time another process: nothing is known but what is written down.
		p := &Pipelines{Store: db, Runs: db}
		if err := p.Learn(ctx); err != nil {
			t.Fatal(err)
		}
		list, err := db.Registers(ctx, "track", "team/shop\n")
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]record.Track{}
		for _, r := range list {
			var x record.Track
			if err := json.Unmarshal(r.Body, &x); err != nil {
				t.Fatal(err)
			}
			all[x.Environment] = x
		}
		return all
	}
	first := run(noon, "github", strings.Repeat("a", 40), "refs/heads/main", false, map[string]plan.Verdict{"test": plan.Success, "deploy": plan.Success, "stage": plan.Failure, "any": plan.Success})
	got := learn()
	if x := got["production"]; len(got) != 1 || x.Run != first || x.Version != "aaaaaaaaaaaa" || x.Service != "shop" || x.Driver != PipelineDriver || !x.Since.Equal(noon.Add(time.Minute)) || x.Release != "" {
		t.Fatalf("%+v", got)
	}
	run(noon.Add(-time.Hour), "github", strings.Repeat("b", 40), "refs/heads/main", false, map[string]plan.Verdict{"deploy": plan.Success}) // older, told later
	run(noon.Add(time.Hour), "github", strings.Repeat("c", 40), "refs/heads/main", true, map[string]plan.Verdict{"deploy": plan.Success})   // of a tree that nobody else has
	if got := learn(); got["production"].Run != first {
		t.Errorf("%+v", got["production"])
	}
	tagged := run(noon.Add(2*time.Hour), "gitlab", strings.Repeat("d", 40), "refs/tags/v2.0.0", false, map[string]plan.Verdict{"deploy": plan.Success})
	jenkins := run(noon.Add(2*time.Hour), "jenkins", strings.Repeat("e", 40), "refs/heads/main", false, map[string]plan.Verdict{"main": plan.Success}, "Build", "Deploy to staging")
	got = learn()
	if x := got["production"]; x.Run != tagged || x.Version != "v2.0.0" {
		t.Errorf("%+v", x)
	}
	if x := got["staging"]; x.Run != jenkins {
		t.Errorf("%+v", x)
	}

	// The whole log again: nothing is written anew.
	before, err := db.Register(ctx, "track", "team/shop\nproduction\nshop")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Mark(ctx, deployedReader, 0); err != nil {
		t.Fatal(err)
	}
	learn()
	after, err := db.Register(ctx, "track", "team/shop\nproduction\nshop")
	if err != nil || after.Version != before.Version {
		t.Errorf("the register was written again: %d, %d, %v", before.Version, after.Version, err)
	}

	// What Fairlead moves is its own.
	own := record.Track{Repository: "team/shop", Service: "shop", Environment: "production", Number: 1, Driver: "process", Release: "sha256:1", Since: noon}
	body, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Change(ctx, []record.Register{{Kind: "track", ID: after.ID, Version: after.Version, Body: body}}); err != nil {
		t.Fatal(err)
	}
	run(noon.Add(5*time.Hour), "github", strings.Repeat("f", 40), "refs/heads/main", false, map[string]plan.Verdict{"deploy": plan.Success})
	if got := learn(); got["production"].Driver != "process" {
		t.Errorf("%+v", got["production"])
	}
}
