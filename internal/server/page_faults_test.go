package server

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

const slowRegistry = "npm error network request to the registry failed: ETIMEDOUT after 60000 ms"

// troubles tells of weeks in which a registry was slow, and of a run with failures of every
// kind: a new one, a flake, an innocent one, and that of the registry. It returns that run.
func (sc *scene) troubles() string {
	sc.t.Helper()
	p := &plan.Pipeline{Dialect: "github", Name: "CI", File: ".github/workflows/ci.yml", Jobs: []plan.Job{{ID: "install", Name: "install"}, {ID: "test", Name: "test"}, {ID: "lint", Name: "lint"}}}
	begin := func(at time.Time, branch string) *telling {
		t := sc.tell(at, p, plan.Change{Event: "push", Ref: "refs/heads/" + branch, SHA: fmt.Sprintf("%040x", at.Unix()), Actor: "ada"}, &record.Origin{Repository: "team/app", Trust: record.Protected}, "")
		t.say("", "", &record.RunStarted{})
		return t
	}
	slow := func(t *telling) {
		t.say("install", "", &record.JobStarted{Attempt: 1})
		t.step("install", "1", "npm ci", 0, 2, time.Minute, plan.Failure, func(f *record.StepFinished) {
			f.Fault = &record.Diagnosis{Rule: "npm", Verdict: plan.Failure, Title: "npm could not install", Cause: slowRegistry, CauseLine: 1, Print: fmt.Sprintf("%016x", fault.Cause{Rule: "npm", Text: slowRegistry}.Print())}
		})
		t.say("install", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure})
	}
	for i := range 14 {
		t := begin(noon.Add(-time.Duration(20*24-i*31)*time.Hour), []string{"main", "faster-index", "typo"}[i%3])
		slow(t)
		t.say("", "", &record.RunFinished{Verdict: plan.Failure})
		t.write()
	}
	flaky := record.TestResult{Suite: "internal/queue", Name: "TestOrder", Status: record.TestFailed, Message: "two jobs began at once", File: "internal/queue/order_test.go", Line: 31}
	fresh := record.TestResult{Suite: "internal/index", Groups: []string{"TestSparseIndex"}, Name: "empty_log", Params: "256", Status: record.TestFailed, Message: "Lines() = 1, want 0", File: "internal/index/sparse_test.go", Line: 41}
	row := suite.Row{ID: suite.ID{Repository: "team/app", Key: flaky.Key()}, Title: flaky.Title(), State: record.TestQuarantined, Rate: .031, Low: .012, High: .065, Runs: 412, Failures: 13, Owner: "@team/queue"}
	if err := sc.store.Learn(sc.t.Context(), "troubles", 1, []suite.Learned{{Row: row}}); err != nil {
		sc.t.Fatal(err)
	}
	var seen bytes.Buffer
	if err := harvest.KeepObservation(&seen, &record.Observation{Mechanism: "seccomp", Inputs: []record.Input{{Path: "/ws/lint.js", Use: record.UseContent, FileState: record.FileState{Kind: record.Regular}}}}); err != nil {
		sc.t.Fatal(err)
	}
	digest, _, err := sc.blobs.Put(sc.t.Context(), &seen)
	if err != nil {
		sc.t.Fatal(err)
	}
	t := begin(noon.Add(-2*time.Hour), "faster-index")
	slow(t)
	t.say("test", "", &record.JobStarted{Attempt: 1, Workspace: "/ws"})
	t.tests = &record.TestsReported{Source: "junit.xml", Passed: 410, Failed: 2, Bad: []record.TestResult{flaky, fresh}}
	t.step("test", "1", "go test ./...", 0, 40, 31*time.Second, plan.Failure)
	t.say("test", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure})
	t.say("lint", "", &record.JobStarted{Attempt: 1, Workspace: "/ws"})
	t.step("lint", "1", "eslint .", 0, 10, 3*time.Second, plan.Failure, func(f *record.StepFinished) {
		f.Fault = &record.Diagnosis{Rule: "node", Verdict: plan.Failure, Title: "exit code 1", Cause: "Error: Cannot find module './rules'", CauseLine: 4}
		f.Watched = &record.Watched{Mechanism: "seccomp", Kept: string(digest)}
	})
	t.say("lint", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure})
	t.say("", "", &record.ChangeCompared{Base: "main", Files: []record.ChangedFile{{Path: "internal/index/sparse.go"}}})
	t.say("", "", &record.RunFinished{Verdict: plan.Failure})
	return t.write()
}

// TestTroubles leads with what is new, and says of the rest why it is known.
func TestTroubles(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	run := sc.troubles()
	page := func(path string) string {
		t.Helper()
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		for _, wrong := range unfit(w.Body.String()) {
			t.Errorf("%s: %s", path, wrong)
		}
		return w.Body.String()
	}
	has := func(page string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			at := strings.Index(page, text)
			if at < 0 {
				t.Errorf("%q is not there, or not after what comes before it", text)
				continue
			}
			page = page[at:]
		}
	}
	has(page("/runs/"+run), "1 new failure; 3 known: 2 flaky, 1 already broken", "your change", "internal/index › TestSparseIndex › empty_log [256]", "Known before: 3 failures")
	has(page("/runs/"+run), "not your change", "This failure cannot come from the change: nothing that the test read has changed")
	has(page("/runs/"+run), "It fails by chance 3 % of the time (1 % to 6 %, 412 runs)")
	has(page("/runs/"+run), "Seen 15 times since 10 February, 4 of them in the last 7 days, in 3 branches")
	list := page("/failures/team/app")
	has(list, slowRegistry, "15", "3 branches")
	o := answered[insight.Overview](t, sc.call("GET", "/api/v1/failures/team/app?days=60", "", session(sc.admin)), 200)
	if len(o.Clusters) != 4 || o.Clusters[0].Count != 15 {
		t.Fatalf("%+v", o.Clusters)
	}
	has(page("/failure/"+o.Clusters[0].ID+"/team/app"), slowRegistry, "Make it a known issue", "Its newest failures", "npm ci")

	// A known issue: tried, set, shown, removed.
	draft := url.Values{"name": {"the registry is slow"}, "pattern": {"ETIMEDOUT"}, "verdict": {"infrastructure"}, "link": {"https://example.org/issues/12"}, "note": {"run it again"}}
	has(page("/known-issues/team/app?"+draft.Encode()), "It recognises 15 of the last 18 failures, in 3 branches", "<mark>ETIMEDOUT</mark>", "Set it")
	has(page("/known-issues/team/app?name=x&pattern=("), "does not work")
	grace := session(sc.account("grace", "team/app", access.Developer))
	if w := sc.call("PUT", "/api/v1/known-issues/team/app", `{"name":"the registry is slow","pattern":"ETIMEDOUT","verdict":"infrastructure","link":"https://example.org/issues/12","note":"run it again"}`, grace); w.Code != 204 {
		t.Fatal(w.Code, w.Body)
	}
	if w := sc.call("PUT", "/api/v1/known-issues/team/app", `{"name":"all","pattern":".*"}`, grace); w.Code != 422 {
		t.Error(w.Code, w.Body)
	}
	has(page("/runs/"+run), "known issue", `href="https://example.org/issues/12"`, "the registry is slow", "run it again")
	has(page("/failures/team/app"), "1 known issue", "the registry is slow")
	if w := sc.call("DELETE", "/api/v1/known-issues/team/app?name=the+registry+is+slow", "", grace); w.Code != 204 {
		t.Error(w.Code, w.Body)
	}
	if v := answered[IssuesView](t, sc.call("GET", "/api/v1/known-issues/team/app", "", grace), 200); len(v.Issues) != 0 {
		t.Errorf("%+v", v)
	}
}
