package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

var update = flag.Bool("update", false, "write docs/reference/api/openapi.json instead of comparing it")

// apiFile is the document as it is published.
const apiFile = "../../docs/reference/api/openapi.json"

// TestDocumentOfTheAPI is valid, and the one that is published.
func TestDocumentOfTheAPI(t *testing.T) {
	t.Parallel()
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.described()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	ids := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if other, taken := ids[op.OperationID]; taken {
				t.Errorf("%s %s and %s are both called %s", method, path, other, op.OperationID)
			}
			ids[op.OperationID] = method + " " + path
		}
	}
	for _, a := range addresses(s.rows) {
		if a.API && a.Row.Faces != rootOnly && a.Row.Says == "" && a.Row.Verb != access.Work {
			t.Errorf("%s %s is not described", a.Method, a.Pattern)
		}
	}
	if *update {
		if err := os.MkdirAll(strings.TrimSuffix(apiFile, "/openapi.json"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(apiFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	published, err := os.ReadFile(apiFile)
	if err != nil || !bytes.Equal(published, text) {
		t.Errorf("%s is not what the code says (%v): go test ./internal/server -run Document -update", apiFile, err)
	}
}

// TestAnswersFitTheDocument asks every GET there is of a server that has some of
// everything, and holds what it answers against the document.
func TestAnswersFitTheDocument(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	text, err := sc.s.described()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	d, size, err := sc.blobs.Put(t.Context(), strings.NewReader("built"))
	if err != nil {
		t.Fatal(err)
	}
	run := sc.run("team/app", nil,
		record.Event{Job: "test", Body: &record.Material{Name: "actions/checkout@v5", Commit: "4711"}},
		record.Event{Job: "test", Step: "0", Body: &record.TestsReported{Source: "go test -json", Passed: 1, Failed: 1, Bad: []record.TestResult{{Name: "TestX", Status: "failed"}}}},
		record.Event{Job: "test", Step: "0", Body: &record.StepFinished{Outcome: plan.Failure, Fault: &record.Diagnosis{Rule: "no-space", Title: "The disk is full"}}},
		record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "thing", Digest: string(d), Size: size}}})
	sc.writeLog(run, "one", "two")
	if err := sc.s.Faults.(*insight.Faults).Learn(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	cluster := fmt.Sprintf("%016x", fault.Fingerprint("", "TestX", "", nil))
	sc.tellTests()
	sc.tellFlags()
	sc.tellReleases()
	sc.tellDelivery()
	deployed := sc.tellDeployments()
	act := sc.events("acted")[0]
	requested, err := sc.store.Append(t.Context(), record.Event{Body: &record.HookReceived{Repository: "team/app", Forge: "played", Delivery: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	sc.account("ada", "team/app", access.Viewer)
	token := sc.token(access.TokenSpec{Name: "t"})
	for _, a := range addresses(sc.s.rows) {
		if !a.API || a.Method != http.MethodGet || a.Row.Says == "" || a.Row.Media == eventStream || a.Row.Verb == access.Work {
			continue
		}
		seq := requested[0].Seq
		if strings.HasPrefix(a.Row.Path, "/audit/") {
			seq = act.Seq
		}
		target := strings.NewReplacer("{run}", run, "{job...}", "test", "{name...}", "thing", "{repository...}", "team/app", "{seq}", fmt.Sprint(seq), "{cluster}", cluster, "{incident}", emptyCarts, "{key}", flakyTest+"?repository=team/app",
			"{rollout}", strings.TrimPrefix(deployed["rollout"], "/rollout/"), "{release}", strings.TrimPrefix(deployed["deployedrelease"], "/release/")).Replace(a.Pattern)
		if a.Row.Path == "/contrast/{repository...}" {
			target += "?of=staging&with=production"
		}
		if a.Row.Path == "/flag/{repository...}" {
			target += "?environment=production&flag=checkout"
		}
		as := session(sc.admin)
		w := sc.call("GET", target, "", as)
		if w.Code != 200 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
			continue
		}
		name, _ := pathOf(strings.TrimPrefix(a.Pattern, apiRoot))
		item := doc.Paths.Value(name)
		if item == nil || item.Get == nil {
			t.Errorf("%s is not in the document", name)
			continue
		}
		r, err := http.NewRequestWithContext(context.Background(), "GET", target, nil)
		if err != nil {
			t.Fatal(err)
		}
		in := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: &routers.Route{Spec: doc, Path: name, PathItem: item, Method: "GET", Operation: item.Get}},
			Status:                 w.Code, Header: w.Header(),
			Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json")},
		}
		in.SetBodyBytes(w.Body.Bytes())
		if err := openapi3filter.ValidateResponse(t.Context(), in); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	// An error has the form of all errors.
	w := sc.call("GET", "/api/v1/runs/none/events", "", bearer(token))
	if p := answered[failed](t, w, 404); p.Error == nil || p.Error.Code != "not_found" || p.Error.Hint == "" {
		t.Errorf("an error: %s", w.Body)
	}
}
