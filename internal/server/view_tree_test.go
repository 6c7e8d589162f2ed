package server

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// tellStages is a run with stages, a job that waits for a person and one that
// waits for a time, and steps that a program asked for.
func (sc *scene) tellStages(at time.Time) string {
	p := &plan.Pipeline{Dialect: "gitlab", Name: "Pipeline", File: ".gitlab-ci.yml", Jobs: []plan.Job{
		{ID: "deploy", Name: "deploy", Stage: "deploy", Needs: []string{"unit", "lint"}},
		{ID: "unit", Name: "unit", Stage: "test", Needs: []string{"compile"}},
		{ID: "compile", Name: "compile", Stage: "build"},
		{ID: "lint", Name: "lint", Stage: "test"},
		{ID: "later", Name: "roll out", Stage: "deploy", Needs: []string{"unit"}},
	}}
	t := sc.tell(at, p, plan.Change{Event: "push", Ref: "refs/heads/main", SHA: "beef" + strings.Repeat("0", 36), Actor: "ada"}, &record.Origin{Repository: "team/app", Trust: record.Protected, Title: "Four languages"}, "")
	t.say("", "", &record.RunStarted{Host: "ci-1", PID: 77})
	t.say("compile", "", &record.JobStarted{Attempt: 1, Place: "host"})
	for _, s := range [][2]string{{"1", "Jenkinsfile"}, {"1.build", "build"}, {"1.build.sh", "make"}, {"1.build.junit", "junit"}, {"1.test", "test"}} {
		t.step("compile", s[0], s[1], 0, 1, time.Second, plan.Success)
	}
	t.step("compile", "1.test.sh", "make check", 0, 1, time.Second, plan.Failure, func(f *record.StepFinished) { f.Conclusion = plan.Success })
	for _, id := range []string{"compile", "unit", "lint"} {
		t.say(id, "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	}
	t.say("deploy", "", &record.JobFinished{Verdict: plan.Skipped, Result: plan.Skipped, Waits: true, Why: "it waits for a person to ask for it"})
	t.say("later", "", &record.JobQueued{Why: "waits 30m0s, as it says", Until: t.at.Add(30 * time.Minute)})
	return t.write()
}

var tags = regexp.MustCompile(`<[^>]*>`)

func TestStagesAndSteps(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	run := sc.tellStages(noon.Add(-10 * time.Minute))
	body := sc.call("GET", "/runs/"+run, "", session(sc.admin)).Body.String()
	text := strings.Join(strings.Fields(tags.ReplaceAllString(body, " ")), " ")
	rail := text[strings.Index(text, "done"):]
	at := 0
	for _, want := range []string{"build", "compile", "test", "unit", "lint", "deploy", "deploy", "it waits for a person", "roll out", "waits until 2 March 2026, 12:20:06 UTC"} {
		i := strings.Index(rail[at:], want)
		if i < 0 {
			t.Fatalf("no %q, in this order, in\n%s", want, rail)
		}
		at += i + len(want)
	}
	for _, want := range []string{`<summary><span class="s-success"`, "junit", "5 steps", "2 steps"} {
		if !strings.Contains(body, want) {
			t.Errorf("the steps are no tree: no %q", want)
		}
	}
	for _, wrong := range unfit(body) {
		t.Error(wrong)
	}
}

// TestPlay presses the button of a job that waits for a person.
func TestPlay(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	told := sc.tellStages(noon.Add(-10 * time.Minute))
	if body := sc.call("GET", "/runs/"+told, "", session(sc.admin)).Body.String(); strings.Contains(body, `name="play"`) {
		t.Error("a run that has not ended has a button for a job that waits")
	}
	over := []record.Event{
		{Time: noon, Run: told, Job: "later", Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}},
		{Time: noon, Run: told, Body: &record.RunFinished{Verdict: plan.Success}},
	}
	if _, err := sc.store.Append(t.Context(), over...); err != nil {
		t.Fatal(err)
	}
	v := answered[RunView](t, sc.call("GET", "/api/v1/runs/"+told, "", session(sc.admin)), 200)
	i := slices.IndexFunc(v.Acts, func(a Act) bool { return a.Name == "play" })
	if i < 0 || v.Acts[i].Fields["play"] != "deploy" || v.Acts[i].Verb != string(access.RepeatRun) || !strings.Contains(v.Acts[i].Label, "what succeeded is kept") {
		t.Fatalf("the acts are %+v", v.Acts)
	}
	if !strings.Contains(v.Sentence, "deploy waits for a person") {
		t.Errorf("the headline is %q", v.Sentence)
	}
	w := sc.call("POST", v.Acts[i].URL, "", form(map[string][]string{"play": {"deploy"}}), session(sc.admin))
	if asked := sc.desk.asked; len(asked) == 0 || !strings.Contains(asked[len(asked)-1], "Play:[deploy]") {
		t.Errorf("what is asked for is %q", asked)
	}
	if w.Code != 303 || w.Header().Get("Location") != "/runs/"+told+"0" {
		t.Errorf("the button: %d to %s: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
}
