package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/crew"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// playedTrees are the trees of all runs.
type playedTrees struct{}

func (playedTrees) Head(context.Context, *plan.Context) (string, error) {
	return strings.Repeat("4", 40), nil
}

func (playedTrees) Bundle(_ context.Context, _ *plan.Context, have []string, to io.Writer) error {
	_, err := fmt.Fprintf(to, "a bundle for who has %v", have)
	return err
}

// hand is a worker that a test plays.
type hand struct {
	sc      *scene
	token   string
	session string
	n       int64
}

// join makes a token and joins with it.
func (sc *scene) join(name string, labels ...string) *hand {
	sc.t.Helper()
	w := &hand{sc: sc, token: sc.token(access.TokenSpec{Name: name, Worker: true})}
	var a crew.Joined
	w.must(&a, "POST", "/work/join", crew.Joining{Name: name, Labels: labels, Places: 2, Version: "v1.2.3", Protocol: crew.Protocol})
	w.session = a.Session
	return w
}

// ask asks the server for something, as the worker.
func (w *hand) ask(method, path string, in any) (status int, body []byte) {
	data, raw := in.([]byte)
	if !raw {
		var err error
		if data, err = json.Marshal(in); err != nil {
			w.sc.t.Fatal(err)
		}
	}
	a := w.sc.call(method, "/api/v1"+path, string(data), bearer(w.token), header(sessionHeader, w.session))
	return a.Code, a.Body.Bytes()
}

func (w *hand) must(out any, method, path string, in any) {
	w.sc.t.Helper()
	status, body := w.ask(method, path, in)
	if status/100 != 2 {
		w.sc.t.Fatalf("%s %s: %d %s", method, path, status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			w.sc.t.Fatal(err)
		}
	}
}

// poll asks for a job.
func (w *hand) poll(holding ...crew.Holding) (a crew.Polled) {
	w.sc.t.Helper()
	w.n++
	w.must(&a, "POST", "/work/poll", crew.Polling{Session: w.session, N: w.n, State: "joined", Now: time.Now(), Free: 1, Holding: holding})
	return a
}

// give has a job of a run done by a worker.
func (sc *scene) give(run, job string, labels ...string) <-chan engine.Ended {
	c := &plan.Context{Pipeline: &plan.Pipeline{Name: "CI"}, Change: &plan.Change{Repository: "team/app"}, RunID: run, Secrets: map[string]string{"NAMED": "s3cret-named", "OTHER": "s3cret-other"}}
	j := &plan.Job{ID: job, Place: plan.Place{Labels: labels}, Steps: []plan.Step{{Key: "1", Run: &plan.Script{Text: plan.Expr{Text: "${{ secrets.NAMED }}"}}}}}
	done := make(chan engine.Ended, 1)
	go func() {
		ended, err := sc.hands.Do(sc.t.Context(), sc.t.Context(), engine.Assignment{Run: run, Job: job, Try: 1, Context: c, Plan: j, Scope: &plan.Scope{Context: c, Job: j, Status: plan.Success}})
		if err == nil {
			ended.Settled()
			done <- ended
		}
	}()
	return done
}

// TestWorkersAreHeardOverHTTP takes a job from the queue to its end, as a worker does.
func TestWorkersAreHeardOverHTTP(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	w := sc.join("gpu-1", "gpu")
	done := sc.give(run, "train", "gpu")
	a := w.poll()
	for a.Errand == nil {
		a = w.poll()
	}
	ref := a.Errand.Ref
	if got := a.Errand.Assignment.Context.Secrets; len(got) != 1 || got["NAMED"] != "s3cret-named" || a.Errand.Assignment.Scope.Job.ID != "train" {
		t.Errorf("given %+v", a.Errand.Assignment)
	}
	of := fmt.Sprintf("?run=%s&job=train&attempt=%d", run, ref.Attempt)
	if status, body := w.ask("POST", "/work/bundle"+of, map[string][]string{"have": {"1", "2"}}); status != 200 || string(body) != "a bundle for who has [1 2]" {
		t.Errorf("the bundle: %d %s", status, body)
	}
	// What somebody else may not do with it.
	other := sc.join("other", "*")
	thief := *other
	thief.session = w.session
	for _, path := range []string{"/work/bundle" + of, "/work/missing" + of, "/work/say" + of + "&from=0"} {
		var body any = map[string][]string{}
		if strings.Contains(path, "say") {
			body = []byte("x")
		}
		if status, got := other.ask("POST", path, body); status != http.StatusForbidden {
			t.Errorf("another worker at %s: %d %s", path, status, got)
		}
		if status, got := thief.ask("POST", path, body); status != http.StatusGone {
			t.Errorf("another worker with the session, at %s: %d %s", path, status, got)
		}
	}
	for what, as := range map[string]func(*http.Request){
		"nobody": func(*http.Request) {}, "a person": session(sc.admin), "a person's token": bearer(sc.token(access.TokenSpec{Name: "mine"})), "a forged token": bearer(w.token[:len(w.token)-1] + "x"),
	} {
		a := sc.call("POST", "/api/v1/work/poll", `{"session":"`+w.session+`","n":99}`, as)
		if a.Code != http.StatusForbidden && a.Code != http.StatusUnauthorized {
			t.Errorf("%s polls: %d %s", what, a.Code, a.Body)
		}
	}
	if a := sc.call("GET", "/api/v1/runs", "", bearer(w.token)); a.Code != http.StatusForbidden {
		t.Errorf("a worker's token sees runs: %d", a.Code)
	}
	for _, path := range []string{"/work/say?run=x", "/work/say" + of + "&from=x", "/work/missing?run=1&job=2&attempt=x"} {
		if status, _ := w.ask("POST", path, []byte("{}")); status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := w.ask("POST", "/work/say"+of+"&from=0", make([]byte, crew.MaxSaid+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too much is taken: %d", status)
	}
	// What the page says of it.
	page := sc.call("GET", "/workers", "", session(sc.admin)).Body.String()
	for _, want := range []string{"gpu-1", "v1.2.3", `href="/runs/` + run + `/log/train"`, "1 of 2", "Pause"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, wrong := range unfit(page) {
		t.Error(wrong)
	}
	stranger := sc.account("eve", "team/other", access.Developer)
	if got := sc.call("GET", "/api/v1/workers", "", session(stranger)).Body.String(); strings.Contains(got, "train") || !strings.Contains(got, `"busy":1`) {
		t.Errorf("somebody of another repository sees %s", got)
	}
	// Its end.
	w.must(nil, "POST", "/work/say"+of+"&from=0", said(t, "line one", &record.JobStarted{Attempt: 1, Workspace: "/w", Place: "somewhere"}, `{"verdict":"success","outputs":{"a":"b"}}`))
	if e := <-done; e.Verdict != plan.Success || e.Outputs["a"] != "b" {
		t.Errorf("ended %+v", e)
	}
	started := sc.events("job.started")
	if b := started[len(started)-1].Body.(*record.JobStarted); b.Place != "worker gpu-1" {
		t.Errorf("it says that it is at %q", b.Place)
	}
	if status, _ := w.ask("POST", "/work/missing"+of, map[string][]string{}); status != http.StatusConflict {
		t.Errorf("what has ended is still its: %d", status)
	}
	w.must(nil, "POST", "/work/leave", struct{}{})
	if status, _ := w.ask("POST", "/work/poll", crew.Polling{Session: w.session, N: 100}); status != http.StatusGone {
		t.Errorf("it left, and polls: %d", status)
	}
	if got := sc.log.String(); strings.Contains(got, "s3cret") || strings.Contains(got, w.token) {
		t.Error("the server's log holds a secret")
	}
}

// said are a line, an event and an end, as a worker says them.
func said(t *testing.T, line string, b record.Body, end string) (all []byte) {
	t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	event, err := json.Marshal([]any{map[string]any{"time": time.Now(), "kind": record.Event{Body: b}.Kind(), "body": json.RawMessage(body)}})
	if err != nil {
		t.Fatal(err)
	}
	// A line of no step, at time 0.
	lines := append([]byte{'L', 0, 0, 0, byte(len(line))}, line...)
	for _, entry := range [][]byte{append([]byte{'E'}, event...), lines, append([]byte{'F'}, end...)} {
		for n := len(entry); ; n >>= 7 {
			if n < 0x80 {
				all = append(all, byte(n))
				break
			}
			all = append(all, byte(n)|0x80)
		}
		all = append(all, entry...)
	}
	return all
}

// TestDemandAndMetrics: what waits is counted by its labels, for whoever makes workers.
func TestDemandAndMetrics(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	w := sc.join("one", "x64", "ubuntu-*")
	sc.give(run, "a", "ubuntu-latest", "x64")
	sc.give(run, "b", `od"d\`)
	var v WorkersView
	for deadline := time.Now().Add(10 * time.Second); len(v.Waiting) < 2 && time.Now().Before(deadline); {
		a := sc.call("GET", "/api/v1/workers", "", session(sc.admin))
		if err := json.Unmarshal(a.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.Waiting) != 2 || v.Waiting[1].Fit != 1 || v.Waiting[1].Free != 2 || v.Waiting[0].Fit != 0 || v.Waiting[0].Jobs != 1 {
		t.Errorf("waiting %+v", v.Waiting)
	}
	first := sc.call("GET", "/metrics", "", session(sc.admin))
	if first.Code != 200 || first.Header().Get("Content-Type") != metricsMedia {
		t.Fatalf("%d %s", first.Code, first.Body)
	}
	if _, err := sc.store.Append(t.Context(), record.Event{Body: &record.HookReceived{Repository: "team/app", Delivery: "d"}}); err != nil {
		t.Fatal(err)
	}
	sc.run("team/app", nil)
	text := sc.call("GET", "/metrics", "", session(sc.admin)).Body.String()
	for _, want := range []string{
		`fairlead_build_info{version="test"} 1`, "fairlead_runs_waiting 2", "fairlead_runs_running 1", "fairlead_runs_oldest_wait_seconds 90",
		`fairlead_workers{state="joined"} 1`, `fairlead_workers{state="lost"} 0`, "fairlead_worker_places 2", "fairlead_worker_jobs 0",
		`fairlead_jobs_waiting{labels="ubuntu-latest,x64"} 1`, `fairlead_jobs_waiting{labels="od\"d\\"} 1`, `fairlead_jobs_places_free{labels="ubuntu-latest,x64"} 2`,
		"fairlead_hooks_total 1", `fairlead_runs_total{verdict="timeout"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	// Each family says once what it is, and has its samples together.
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			if name, _, _ = strings.Cut(name, " "); seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
	if a := sc.call("GET", "/metrics", ""); a.Code != http.StatusUnauthorized {
		t.Errorf("nobody in particular may read them: %d", a.Code)
	}
	if a := sc.call("GET", "/metrics", "", bearer(w.token)); a.Code != http.StatusForbidden {
		t.Errorf("a worker may read them: %d", a.Code)
	}
	a := sc.call("POST", "/workers/one", "", session(sc.admin), form(map[string][]string{"state": {"paused"}, "csrf": {sc.admin.CSRF}, "back": {"/workers"}}))
	if a.Code != http.StatusSeeOther {
		t.Errorf("pause: %d %s", a.Code, a.Body)
	}
	if p := w.poll(); p.State != "paused" {
		t.Errorf("it is told %q", p.State)
	}
	if page := sc.call("GET", "/workers", "", session(sc.admin)).Body.Bytes(); !bytes.Contains(page, []byte("paused")) || !bytes.Contains(page, []byte("Go on")) || !bytes.Contains(page, []byte("ubuntu-latest")) {
		t.Errorf("the page does not tell of it:\n%s", page)
	}
}
