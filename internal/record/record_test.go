package record

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestEveryKindIsDecoded: what is written can be read, for each kind that the
// source declares.
func TestEveryKindIsDecoded(t *testing.T) {
	t.Parallel()
	bodies := []Body{
		&RunPlanned{Number: 3, Change: &plan.Change{Event: "push"}, Pipeline: &plan.Pipeline{Name: "ci", Jobs: []plan.Job{{ID: "a", Timeout: time.Minute}}}},
		&RunStarted{Host: "h", PID: 7, Resume: true}, &RunFinished{Verdict: plan.Failure, Why: "w"}, &CancelRequested{By: "b"},
		&JobExpanded{Jobs: []JobHead{{ID: "a/1", Name: "a (1)"}}}, &JobQueued{Why: "w"}, &JobStarted{Attempt: 2, GoesOn: true},
		&JobFinished{Verdict: plan.Failure, Result: plan.Success, Outputs: map[string]string{"k": "v"}, At: plan.Source{File: "f", Line: 1}},
		&Material{Name: "a/b@v1", Commit: "c"}, &StepStarted{Name: "s", Phase: plan.Post, Line: 4},
		&ReleasePublishing{Key: "a@v1", Tag: "v1", Changelog: &ReleaseChangelog{Path: "C"}, Host: &ReleaseHost{Forge: "github"}, Assets: []ReleaseAsset{{Name: "n"}}}, &ReleasePublished{Key: "a@v1", URL: "u"},
		&StepFinished{Outcome: plan.Failure, Conclusion: plan.Success, Fault: &Diagnosis{Rule: "r", Lines: []string{"l"}}, Effects: plan.Effects{Path: []string{"/p"}}},
		&EnvironmentAsked{Environment: "prod", Approvals: 2}, &EnvironmentApproved{Environment: "prod", By: "ada"},
		&TestsReported{Source: "go test", Passed: 1, Bad: []TestResult{{Name: "T"}}}, &ArtifactSaved{plan.Artifact{Name: "n", Size: 9}, &Shown{Digest: "d", Size: 3, Masked: 1, Holds: 2}, []Earlier{{Step: "1", Kept: "d"}}},
		&ReleaseMade{Release{ID: "sha256:1", Service: "shop", Artifact: Packed{Kind: "file", Digest: "sha256:2"}, Spec: []byte(`{}`)}},
		&RolloutMoved{Rollout: "r", State: RolloutDone, Evidence: &Evidence{OK: true, Facts: []Fact{{Name: "errors", New: .1}}}},
		&ReleaseRejected{Release: "sha256:1", Lifted: true, By: "ada"}, &DriftFound{Service: "shop", Differences: []Difference{{Resource: "r", Want: "1", Have: "2"}}},
		&IncidentChanged{Incident: Incident{ID: "1", Title: "down"}, What: "opened", By: "rollback"},
		&ChangeCompared{Base: "main", Files: []ChangedFile{{Path: "a", Made: true}}},
	}
	seen := map[Kind]bool{}
	for _, b := range bodies {
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(b.kind(), data)
		if err != nil || !reflect.DeepEqual(back, b) {
			t.Errorf("%s: %v\n wrote %+v\n read  %+v", b.kind(), err, b, back)
		}
		seen[b.kind()] = true
	}
	source, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`kind\(\) Kind +\{ return "([a-z.]+)"`).FindAllSubmatch(source, -1) {
		if !seen[Kind(m[1])] {
			t.Errorf("kind %s is not tried here", m[1])
		}
	}
	if _, err := Decode("no.such", []byte("{}")); err == nil {
		t.Error("an unknown kind was read")
	}
	if _, err := Decode("run.started", []byte("{")); err == nil {
		t.Error("torn JSON was read")
	}
}

// TestFold follows a run that was interrupted and taken up again.
func TestFold(t *testing.T) {
	t.Parallel()
	r := NewRun("1")
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	ok := &StepFinished{Outcome: plan.Success, Conclusion: plan.Success}
	for i, e := range []Event{
		{Body: &RunPlanned{Pipeline: &plan.Pipeline{Jobs: []plan.Job{{ID: "a", Name: "A"}, {ID: "m", Name: "M"}}}}},
		{Body: &RunStarted{PID: 1}},
		{Job: "a", Body: &JobStarted{Attempt: 1}},
		{Job: "a", Step: "1", Body: &StepStarted{Name: "one"}},
		{Job: "a", Step: "1", Body: ok},
		{Job: "a", Step: "2", Body: &StepStarted{Name: "two"}},
		{Body: &RunStarted{PID: 2, Resume: true}},
		{Job: "m", Body: &JobExpanded{Jobs: []JobHead{{ID: "m/1", Name: "M (1)"}}}},
		{Job: "a", Body: &JobStarted{Attempt: 1, GoesOn: true}},
		{Job: "a", Step: "2", Body: &StepStarted{Name: "two"}},
		{Job: "a", Step: "2", Body: ok},
		{Job: "a", Step: "3", Body: &StepFinished{Name: "three", Outcome: plan.Skipped, Conclusion: plan.Skipped}},
		{Job: "a", Body: &JobFinished{Verdict: plan.Success, Result: plan.Success, Outputs: map[string]string{"k": "v"}}},
		{Job: "m/1", Body: &JobFinished{Verdict: plan.Skipped, Result: plan.Skipped}},
		{Job: "m", Body: &JobFinished{Verdict: plan.Skipped, Result: plan.Skipped}},
		{Body: &RunFinished{Verdict: plan.Success}},
	} {
		e.Run, e.Time = "1", at(i)
		r.Apply(e)
		r.Apply(Event{Run: "2", Body: &RunFinished{Verdict: plan.Fault}}) // another run's
	}
	a := r.Jobs["a"]
	if r.Verdict != plan.Success || r.Ended != at(15) || len(r.Order) != 3 {
		t.Errorf("run: %s, ended %v, jobs %v", r.Verdict, r.Ended, r.Order)
	}
	if len(a.Steps) != 3 || a.Step("1").Finished == nil || a.Step("2").Duration() != time.Second || a.Step("3").Finished.Outcome != plan.Skipped {
		t.Errorf("steps of a: %+v", a.Steps)
	}
	if a.Outputs["k"] != "v" || r.Jobs["m"].Children[0] != "m/1" || r.Jobs["m/1"].Parent != "m" {
		t.Errorf("a: %+v, m: %+v", a, r.Jobs["m"])
	}
}
