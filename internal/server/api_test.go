package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// answered decodes an answer.
func answered[T any](t *testing.T, w *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d, want %d: %s", w.Code, status, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return v
}

// TestShownArtifacts: where values were masked people are given that, and told so.
func TestShownArtifacts(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	truly, n, err := sc.blobs.Put(t.Context(), strings.NewReader("token=the value"))
	if err != nil {
		t.Fatal(err)
	}
	masked, size, err := sc.blobs.Put(t.Context(), strings.NewReader("token=***"))
	if err != nil {
		t.Fatal(err)
	}
	run := sc.run("team/app", nil, record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{
		Artifact: plan.Artifact{Name: "env", Digest: string(truly), Size: n}, Shown: &record.Shown{Digest: string(masked), Size: size, Masked: 1},
	}})
	list := answered[ArtifactsView](t, sc.call("GET", "/api/v1/runs/"+run+"/artifacts", "", session(sc.admin)), 200)
	if want := (Kept{Job: "test", Name: "env", Digest: string(masked), Size: size, Remark: "texts with secrets masked: 1"}); len(list.Artifacts) != 1 || list.Artifacts[0] != want {
		t.Errorf("listed %+v", list)
	}
	if w := sc.call("GET", "/api/v1/runs/"+run+"/artifacts/env", "", session(sc.admin)); w.Body.String() != "token=***" {
		t.Errorf("given %d %q", w.Code, w.Body)
	}
	if w := sc.call("GET", "/runs/"+run, "", session(sc.admin)); !strings.Contains(w.Body.String(), "texts with secrets masked: 1") || strings.Contains(w.Body.String(), string(truly)) {
		t.Error("the page does not say so")
	}
}

// TestArtifacts are files to be saved, whatever they are called and whatever is
// in them; and they are those that were kept.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	content := bytes.Repeat([]byte("<script>alert(1)</script>"), 10_000)
	d, size, err := sc.blobs.Put(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"site.html", "dist/a b.tar.gz", "evil\r\nSet-Cookie: x=y", `q"u;ot=e`, "ünï.txt", "page.svg"}
	var events []record.Event
	for _, name := range names {
		events = append(events, record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: name, Digest: string(d), Size: size}}})
	}
	run := sc.run("team/app", nil, events...)
	list := answered[ArtifactsView](t, sc.call("GET", "/api/v1/runs/"+run+"/artifacts", "", session(sc.admin)), 200)
	if len(list.Artifacts) != len(names) {
		t.Fatalf("%+v", list)
	}
	for _, name := range names {
		w := sc.call("GET", "/api/v1/runs/"+run+"/artifacts/"+escapePath(name), "", session(sc.admin))
		if strings.ContainsAny(name, "\r\n") { // not to be had by such a path
			if w.Code != 404 {
				t.Errorf("%q: %d", name, w.Code)
			}
			continue
		}
		h := w.Header()
		kind, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), content) || kind != "attachment" || err != nil || params["filename"] != filepath.Base(name) ||
			h.Get("Content-Type") != "application/octet-stream" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Set-Cookie") != "" {
			t.Errorf("%q: %d, %d bytes, %v", name, w.Code, w.Body.Len(), h)
		}
		if w := sc.call("GET", "/api/v1/runs/"+run+"/artifacts/"+escapePath(name), "", session(sc.admin), header("If-None-Match", h.Get("ETag"))); w.Code != 304 {
			t.Errorf("%q once more: %d", name, w.Code)
		}
	}
	// Somebody alters the file on disk.
	err = filepath.WalkDir(filepath.Join(sc.data, "blobs"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(strings.ReplaceAll(path, "/", ""), d.Hex()[4:]) {
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
			altered := bytes.Clone(content)
			altered[len(altered)/2] ^= 1
			return os.WriteFile(path, altered, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(sc.s)
	defer h.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+"/api/v1/runs/"+run+"/artifacts/site.html", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(sc.token(access.TokenSpec{Name: "t"}))(r)
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		defer res.Body.Close()
		var got bytes.Buffer
		if _, err = got.ReadFrom(res.Body); err == nil && res.StatusCode == 200 {
			t.Errorf("an altered artifact was given out: %s, %d bytes", res.Status, got.Len())
		}
	}
}

// TestLogs as text and as lines.
func TestLogs(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	sc.writeLog(run, "one", "two \xff", "\x1b[31mthree\x1b[0m <b>")
	get := func(path string) *httptest.ResponseRecorder {
		return sc.call("GET", "/api/v1/runs/"+run+path, "", session(sc.admin))
	}
	w := get("/raw/test")
	if w.Code != 200 || w.Body.String() != "one\ntwo \xff\n\x1b[31mthree\x1b[0m <b>\n" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("raw: %d %q %v", w.Code, w.Body, w.Header())
	}
	if w := get("/raw/test?download=1&stamps=1"); !strings.HasPrefix(w.Body.String(), "2023-11-14T22:13:20.000000Z one\n") || w.Header().Get("Content-Disposition") != "attachment; filename=test.log" {
		t.Errorf("as a file: %q %v", w.Body, w.Header())
	}
	if w := get("/raw/test?step=other"); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("of another step: %d %q", w.Code, w.Body)
	}
	for query, want := range map[string]string{"": "1 2 3 ", "?from=2": "2 3 ", "?from=2&n=1": "2 ", "?follow=1&from=3": "3 ", "?from=9": "", "?n=0": ""} {
		var got string
		lines := bufio.NewScanner(get("/lines/test" + query).Body)
		for lines.Scan() {
			var l LogLine
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(l.N, " ")
		}
		if got != want {
			t.Errorf("lines%s: %s, want %s", query, got, want)
		}
	}
	for path, want := range map[string]int{"/raw/none": 404, "/lines/none": 404, "/lines/test?from=-1": 400, "/lines/test?from=x": 400} {
		if w := get(path); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestPushShown: true bytes that hold a secret are neither asked for nor taken.
func TestPushShown(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	dev := sc.account("dev", "team/app", access.Developer)
	truly, masked := blob.Of([]byte("the value")), blob.Of([]byte("***"))
	local := sc.run("team/app", &record.Origin{}, record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{
		Artifact: plan.Artifact{Name: "env", Digest: string(truly), Size: 9}, Shown: &record.Shown{Digest: string(masked), Size: 3, Masked: 1},
	}})
	in := Pushing{Repository: "team/app"}
	lines := bufio.NewScanner(sc.call("GET", "/api/v1/runs/"+local+"/events", "", session(sc.admin)).Body)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		in.Events = append(in.Events, e)
	}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	p := answered[Pushed](t, sc.call("POST", "/api/v1/runs/push", string(body), session(dev)), 200)
	if fmt.Sprint(p.Blobs) != fmt.Sprint([]blob.Digest{masked}) {
		t.Fatalf("it asks for %v", p.Blobs)
	}
	path := "/api/v1/runs/" + p.Run
	if w := sc.call("PUT", path+"/blobs/"+string(truly), "the value", session(dev)); w.Code != 404 {
		t.Errorf("the true bytes: %d", w.Code)
	}
	if w := sc.call("PUT", path+"/blobs/"+string(masked), "***", session(dev)); w.Code != 204 {
		t.Errorf("the masked bytes: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", path+"/artifacts/env", "", session(dev)); w.Body.String() != "***" {
		t.Errorf("given: %d %s", w.Code, w.Body)
	}
}

// TestPush pushes a run, in pieces, and again.
func TestPush(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	dev := sc.account("dev", "team/app", access.Developer)
	other := sc.account("other", "team/app", access.Developer)
	artifact := []byte("built")
	digest := blob.Of(artifact)
	// Somebody else's file: to know its digest is not to have it.
	stolen, _, err := sc.blobs.Put(t.Context(), strings.NewReader("the crown jewels"))
	if err != nil {
		t.Fatal(err)
	}
	local := sc.run("team/app", &record.Origin{}, record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "bin", Digest: string(digest), Size: 5}}},
		record.Event{Job: "test", Step: "0", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "jewels", Digest: string(stolen)}}})
	var in Pushing
	in.Repository = "team/app"
	lines := bufio.NewScanner(sc.call("GET", "/api/v1/runs/"+local+"/events", "", session(sc.admin)).Body)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		in.Events = append(in.Events, e)
	}
	if len(in.Events) != 9 {
		t.Fatalf("the local run has %d events: %s", len(in.Events), sc.call("GET", "/api/v1/runs/"+local+"/events", "", session(sc.admin)).Body)
	}
	send := func(in Pushing, as access.Session) *httptest.ResponseRecorder {
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		return sc.call("POST", "/api/v1/runs/push", string(body), session(as))
	}
	p := answered[Pushed](t, send(in, dev), 200)
	if p.Known || fmt.Sprint(p.Logs) != "[test]" || fmt.Sprint(p.Blobs) != fmt.Sprint([]blob.Digest{digest, stolen}) {
		t.Fatalf("%+v", p)
	}
	head, err := sc.store.Head(t.Context(), p.Run)
	if err != nil || head.Verdict != plan.Success || head.Root != "" || head.Origin == nil || !head.Origin.Pushed || head.Origin.Repository != "team/app" || head.Origin.Trust == record.Protected {
		t.Errorf("the run here: %+v %v", head, err)
	}
	path := "/api/v1/runs/" + p.Run
	const log = `{"n":1,"step":"0","time":"2026-01-02T03:04:05Z","text":"hello"}` + "\n"
	if w := sc.call("PUT", path+"/log/test", log, session(other)); w.Code != 403 {
		t.Errorf("the log from somebody else: %d", w.Code)
	}
	if w := sc.call("PUT", path+"/log/test", "nonsense\n", session(dev)); w.Code != 400 {
		t.Errorf("a log that is none: %d %s", w.Code, w.Body)
	}
	for _, body := range []string{log, strings.Replace(log, "hello", "another", 1)} { // the first one stays
		if w := sc.call("PUT", path+"/log/test", body, session(dev)); w.Code != 204 {
			t.Errorf("the log: %d %s", w.Code, w.Body)
		}
	}
	if w := sc.call("GET", path+"/raw/test", "", session(dev)); w.Body.String() != "hello\n" {
		t.Errorf("the log here: %q", w.Body)
	}
	if w := sc.call("GET", path+"/artifacts/jewels", "", session(dev)); w.Code != 409 {
		t.Errorf("somebody else's file by its digest: %d %s", w.Code, w.Body)
	}
	if w := sc.call("PUT", path+"/blobs/"+string(digest), "forged", session(dev)); w.Code != 422 {
		t.Errorf("other bytes: %d %s", w.Code, w.Body)
	}
	if w := sc.call("PUT", path+"/blobs/"+string(blob.Of([]byte("x"))), "x", session(dev)); w.Code != 404 {
		t.Errorf("a file of no artifact: %d", w.Code)
	}
	if w := sc.call("PUT", path+"/blobs/"+string(digest), string(artifact), session(dev)); w.Code != 204 {
		t.Errorf("the artifact: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", path+"/artifacts/bin", "", session(dev)); w.Body.String() != "built" {
		t.Errorf("the artifact here: %d %s", w.Code, w.Body)
	}
	again := answered[Pushed](t, send(in, dev), 200)
	if !again.Known || again.Run != p.Run || len(again.Logs) != 0 || fmt.Sprint(again.Blobs) != fmt.Sprint([]blob.Digest{stolen}) {
		t.Errorf("again: %+v", again)
	}
	if w := sc.call("POST", path+"/rerun", `{}`, session(dev)); w.Code != 422 {
		t.Errorf("a rerun of what ran elsewhere: %d %s", w.Code, w.Body)
	}

	before := len(sc.events("run.planned"))
	for name, spoil := range map[string]func(*Pushing){
		"an act of a person": func(p *Pushing) {
			p.Events[1].Kind, p.Events[1].Body = "run.approved", json.RawMessage(`{"by":"root"}`)
		},
		"an unknown kind":      func(p *Pushing) { p.Events[1].Kind = "run.exploded" },
		"not ended":            func(p *Pushing) { p.Events = p.Events[:8] },
		"no beginning":         func(p *Pushing) { p.Events = p.Events[1:] },
		"two beginnings":       func(p *Pushing) { p.Events[1] = p.Events[0] },
		"two runs":             func(p *Pushing) { p.Events[1].Run = "77" },
		"nothing":              func(p *Pushing) { p.Events = nil },
		"no pipeline":          func(p *Pushing) { p.Events[0].Body = json.RawMessage(`{}`) },
		"a body that is none":  func(p *Pushing) { p.Events[1].Body = json.RawMessage(`[]`) },
		"a long name":          func(p *Pushing) { p.Events[2].Job = strings.Repeat("x", 1000) },
		"another's repository": func(p *Pushing) { p.Repository = "team/other" },
	} {
		bad := Pushing{Repository: in.Repository, Events: append([]Event(nil), in.Events...)}
		spoil(&bad)
		if w := send(bad, dev); w.Code != 422 && w.Code != 404 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if n := len(sc.events("run.planned")); n != before {
		t.Errorf("%d runs came of what was refused", n-before)
	}
}

// TestActs are done as whoever asked, and a page's form ends at the next page.
func TestActs(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	as := session(sc.admin)
	started := answered[Requested](t, sc.call("POST", "/api/v1/runs", `{"repository":"team/app","workflow":"ci.yml","inputs":{"a":"b"}}`, as), 202)
	if !started.Settled || started.Why == "" {
		t.Errorf("start: %+v", started)
	}
	if q := answered[Requested](t, sc.call("GET", fmt.Sprintf("/api/v1/requests/%d", started.Request), "", as), 200); q.What != "manual ci.yml" || !q.Settled {
		t.Errorf("the request: %+v", q)
	}
	if v := answered[RequestsView](t, sc.call("GET", "/api/v1/requests?limit=1", "", as), 200); len(v.Requests) != 1 || !v.Requests[0].Settled || v.Next != 0 {
		t.Errorf("requests: %+v", v)
	}
	if v := answered[Repeated](t, sc.call("POST", "/api/v1/runs/"+run+"/rerun", `{"failed":true}`, as), 201); v.Run != run+"0" {
		t.Errorf("rerun: %+v", v)
	}
	w := sc.call("POST", "/runs/"+run+"/rerun", "", form(map[string][]string{"from": {"test/1"}}), as)
	if w.Code != 303 || w.Header().Get("Location") != "/runs/"+run+"0" {
		t.Errorf("rerun by a form: %d to %s", w.Code, w.Header().Get("Location"))
	}
	w = sc.call("POST", "/repositories", "", form(map[string][]string{"name": {"team/new"}, "url": {"https://code.example.org/team/new"}, "poll": {"5m"}, "paused": {"off", "on"}, "protected": {"refs/heads/*\r\nrefs/tags/*"}, "secret": {"s3cret"}}), as)
	if w.Code != 303 || w.Header().Get("Location") != "/repositories/team/new" {
		t.Fatalf("add a repository: %d to %s: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	v := answered[RepositoryView](t, sc.call("GET", "/api/v1/repositories/team/new", "", as), 200)
	if v.Poll.String() != "5m0s" || !v.Paused || len(v.Protected) != 2 || !v.Signed || v.Token || v.Hook != "/hooks/team/new" {
		t.Errorf("the repository: %+v", v)
	}
	flash := w.Result().Cookies()[0]
	if w := sc.call("GET", "/repositories/team/new", "", as, func(r *http.Request) { r.AddCookie(flash) }); !strings.Contains(w.Body.String(), "team/new was added.") {
		t.Errorf("what is said after it: %s", w.Body)
	}
	if w := sc.call("PUT", "/api/v1/secrets/TOKEN", `{"repository":"team/app","value":"v"}`, as); w.Code != 204 {
		t.Errorf("set a secret: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", "/api/v1/secrets?repository=team/app", "", as); !strings.Contains(w.Body.String(), `"TOKEN"`) {
		t.Errorf("secrets: %s", w.Body)
	}
	if w := sc.call("DELETE", "/api/v1/secrets/TOKEN?repository=team/app", "", as); w.Code != 204 {
		t.Errorf("remove a secret: %d %s", w.Code, w.Body)
	}
	for body, want := range map[string]int{`{"value":"x","valeu":1}`: 400, `{"value":""}`: 422, `{}{}`: 400, `[`: 400, `{"value":"` + strings.Repeat("x", maxInput) + `"}`: 413} {
		if w := sc.call("PUT", "/api/v1/secrets/X", body, as); w.Code != want {
			t.Errorf("%.30s: %d %s", body, w.Code, w.Body)
		}
	}
	issued := answered[Issued](t, sc.call("POST", "/api/v1/tokens", `{"name":"ci","expires":"24h","verbs":["runs.see"]}`, as), 201)
	if w := sc.call("GET", "/api/v1/queue", "", bearer(issued.Secret)); w.Code != 403 {
		t.Errorf("a token for runs, at the queue: %d", w.Code)
	}
	if w := sc.call("DELETE", "/api/v1/tokens/"+issued.Token.ID, "", as); w.Code != 204 {
		t.Errorf("revoke: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", "/api/v1/runs", "", bearer(issued.Secret)); w.Code != 401 {
		t.Errorf("a revoked token: %d", w.Code)
	}
	invited := answered[Issued](t, sc.call("POST", "/api/v1/accounts", `{"name":"bob","grants":[{"repository":"team/app","role":"viewer"}]}`, as), 201)
	if !strings.HasPrefix(invited.Link, "/join#") {
		t.Errorf("the link is %s", invited.Link)
	}
	w = sc.call("POST", "/join", "", form(map[string][]string{"secret": {invited.Code}, "password": {"bob, bob and bob"}}))
	if w.Code != 303 || w.Header().Get("Location") != "/" || len(w.Result().Cookies()) == 0 {
		t.Errorf("join: %d %s", w.Code, w.Body)
	}
	trail := answered[AuditView](t, sc.call("GET", "/api/v1/audit?limit=5", "", as), 200)
	if len(trail.Entries) != 5 || trail.Next == 0 {
		t.Errorf("audit: %+v", trail)
	}
	if w := sc.call("GET", "/api/v1/audit/checkpoint", "", as); w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("checkpoint: %d %s", w.Code, w.Body)
	}
}

// TestRoutesOfMessages sets a route as the page and the API do: what is wrong with its
// target is said before anything is kept, and the target is shown nowhere.
func TestRoutesOfMessages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	api := func(method, path, body string) *httptest.ResponseRecorder {
		return sc.call(method, "/api/v1"+path, body, session(sc.admin))
	}
	asked := func() string { return strings.Join(sc.desk.asked, "\n") }
	const target = "https://chat.example.org/hooks/T0PS3CR3T"
	bad := api("PUT", "/routes/team", `{"channel":"slack","target":"gopher://chat"}`)
	if bad.Code != 422 || strings.Contains(asked(), "sets route") {
		t.Errorf("a bad target: %d %s; asked %s", bad.Code, bad.Body, asked())
	}
	if got := api("PUT", "/routes/team", `{"channel":"slack","target":"`+target+`","branches":["main"]}`); got.Code != 200 && got.Code != 204 {
		t.Fatalf("set: %d %s", got.Code, got.Body)
	}
	secret := notify.TargetSecret("team")
	if value, ok, err := sc.vault.Internal(t.Context(), "", secret); err != nil || !ok || value != target {
		t.Errorf("the vault holds %q (%v, %v)", value, ok, err)
	}
	for _, path := range []string{"/routes", "/settings"} {
		if got := api("GET", path, ""); got.Code != 200 || !strings.Contains(got.Body.String(), `"name":"team"`) || strings.Contains(got.Body.String(), "T0PS3CR3T") {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
	if got := api("POST", "/routes/team/test", ""); got.Code/100 != 2 {
		t.Errorf("a test that arrives: %d %s", got.Code, got.Body)
	}
	if got := api("POST", "/routes/gone/test", ""); got.Code != 422 || !strings.Contains(got.Body.String(), "404 Not Found") {
		t.Errorf("a test that does not arrive: %d %s", got.Code, got.Body)
	}
	if got := api("DELETE", "/routes/team", ""); got.Code/100 != 2 || !strings.Contains(asked(), "root removes route team") {
		t.Errorf("remove: %d %s", got.Code, got.Body)
	}
}

// TestApprovedIsSaidOnce: what approving gives away is in the button; a run that was approved
// and waits for a place does not ask again.
func TestApprovedIsSaidOnce(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	origin := &record.Origin{Repository: "team/app", Trust: record.Untrusted, Change: "7", Approval: true}
	id, number, err := sc.store.NewRun(t.Context(), "team/app", "ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	tell := func(b record.Body) {
		if _, err := sc.store.Append(t.Context(), record.Event{Run: id, Body: b}); err != nil {
			t.Fatal(err)
		}
	}
	tell(&record.RunPlanned{Number: number, Attempt: 1, Origin: origin, Pipeline: &plan.Pipeline{File: "ci.yml"}, Change: &plan.Change{Event: "pull_request", SHA: strings.Repeat("a", 40)}})
	look := func() RunView {
		return answered[RunView](t, sc.call("GET", "/api/v1/runs/"+id, "", session(sc.admin)), 200)
	}
	if v := look(); v.State != Approval || len(v.Acts) == 0 || v.Acts[0].Name != "approve" || !strings.Contains(v.Acts[0].Label, "secrets") {
		t.Errorf("before: %s %+v", v.State, v.Acts)
	}
	tell(&record.RunApproved{By: "ada"})
	if v := look(); v.State != Waiting || len(v.Acts) != 1 || v.Acts[0].Name != "cancel" {
		t.Errorf("after: %s %+v", v.State, v.Acts)
	}
}

// TestLinkingAccounts is offered where there is a provider, to who may set accounts.
func TestLinkingAccounts(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.account("ada", "team/*", access.Maintainer)
	page := func() string { return sc.call("GET", "/accounts", "", session(sc.admin)).Body.String() }
	if strings.Contains(page(), "Link ada") {
		t.Error("there is no provider to be linked with")
	}
	sc.s.OIDC = "id.example.org"
	if got := page(); !strings.Contains(got, "Link ada") || !strings.Contains(got, `action="/accounts/ada/link"`) {
		t.Errorf("it is not offered:\n%s", got)
	}
	// This scene's gate has no provider: what it says is shown.
	if w := sc.call("POST", "/api/v1/accounts/ada/link", `{"subject":"https://id.example.org 4711"}`, session(sc.admin)); w.Code != 422 || !strings.Contains(w.Body.String(), "its own accounts only") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestPatterns: a log is searched by a pattern as well, with true counts; a bad one is
// told to whoever typed it.
func TestPatterns(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	sc.writeLog(run, "ok  	pkg/a	0.1s", "FAIL	pkg/b	12.5s", "fail	pkg/c	3s")
	find := func(query string) *httptest.ResponseRecorder {
		return sc.call("GET", "/api/v1/runs/"+run+"/log/test?"+query, "", session(sc.admin))
	}
	for query, want := range map[string]Found{
		"regex=1&q=" + url.QueryEscape(`^fail\t.*\d+s$`):        {Lines: 2, Matches: 2, Hits: []int64{2, 3}},
		"regex=1&case=1&q=" + url.QueryEscape(`^FAIL\t.*\d+s$`): {Lines: 1, Matches: 1, Hits: []int64{2}},
		"regex=1&q=" + url.QueryEscape(`\d`):                    {Lines: 3, Matches: 6, Hits: []int64{1, 2, 3}},
		"regex=1&q=" + url.QueryEscape(`x*`):                    {Hits: []int64{}},
		"q=" + url.QueryEscape(`\d`):                            {Hits: []int64{}},
	} {
		v := answered[LogView](t, find(query), 200)
		if v.Found == nil || v.Found.Lines != want.Lines || v.Found.Matches != want.Matches || !slices.Equal(v.Found.Hits, want.Hits) {
			t.Errorf("%s: %+v, want %+v", query, v.Found, want)
		}
	}
	for _, bad := range []string{"(", "a**", `\`, strings.Repeat("a", maxPattern+1), "(a{1000}){1000}"} {
		if w := find("regex=1&q=" + url.QueryEscape(bad)); w.Code != 422 {
			t.Errorf("%.20q: %d %s", bad, w.Code, w.Body)
		}
	}
}

// TestPackedPages: pages go out packed to who takes that; what stands in a form is another
// text each time, so that the length of a page tells nothing of it.
func TestPackedPages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	open := sc.call("GET", "/accounts", "", session(sc.admin))
	shut := sc.call("GET", "/accounts", "", session(sc.admin), header("Accept-Encoding", "br, gzip"))
	if h := open.Header(); h.Get("Content-Encoding") != "" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Accept-Encoding") {
		t.Errorf("open: %v", h)
	}
	if shut.Header().Get("Content-Encoding") != "gzip" || shut.Body.Len() >= open.Body.Len()/2 {
		t.Errorf("%v, %d bytes of %d", shut.Header(), shut.Body.Len(), open.Body.Len())
	}
	z, err := gzip.NewReader(shut.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	token := func(page string) string {
		_, rest, _ := strings.Cut(page, `name="csrf" value="`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	first, second := token(open.Body.String()), token(string(text))
	if strings.Contains(open.Body.String(), sc.admin.CSRF) || first == second || len(first) < 40 {
		t.Errorf("the token stands there as it is: %q, %q", first, second)
	}
	// Each of them is good, and no other.
	for value, want := range map[string]int{first: 303, second: 303, sc.admin.CSRF: 303, "m." + first: 403, first[:len(first)-2]: 403, "m.": 403, "": 403} {
		w := sc.call("POST", "/runs/"+run+"/cancel", "", form(url.Values{"csrf": {value}, "back": {"/runs"}}), func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "fairlead-session", Value: sc.admin.Cookie})
		}, header("Sec-Fetch-Site", "same-origin"))
		if w.Code != want {
			t.Errorf("%.10q: %d, want %d", value, w.Code, want)
		}
	}
}

func TestEnvironmentsAreSet(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	as := session(sc.admin)
	if w := sc.call("PUT", "/api/v1/environments/team/app", `{"name":"production","approvals":2,"branches":["main"],"not_author":true}`, as); w.Code != 204 {
		t.Errorf("set: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", "/api/v1/environments/team/app", "", as); w.Code != 200 || !strings.Contains(w.Body.String(), `"production"`) || !strings.Contains(w.Body.String(), `"waiting":[]`) {
		t.Errorf("list: %d %s", w.Code, w.Body)
	}
	if w := sc.call("DELETE", "/api/v1/environments/team/app?name=production", "", as); w.Code != 204 {
		t.Errorf("remove: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", "/api/v1/environments/team/none", "", as); w.Code != 422 {
		t.Errorf("of no repository: %d", w.Code)
	}
	got := strings.Join(sc.desk.asked, "\n")
	for _, want := range []string{"environment team/app production 2 [] [main] 0 true by root", "remove environment team/app production by root"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q was not done:\n%s", want, got)
		}
	}
}
