package github

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/forgetest"
)

type object = map[string]any

func delivery(event string, body any) *forge.Delivery {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &forge.Delivery{Header: map[string]string{"X-Github-Event": event, "Content-Type": "application/json"}, Body: text}
}

func sign(d *forge.Delivery, secret []byte, id string) {
	mac := hmac.New(sha256.New, secret)
	mac.Write(d.Body)
	d.Header["X-Hub-Signature-256"] = "sha256=" + hex.EncodeToString(mac.Sum(nil))
	d.Header["X-Github-Delivery"] = id
}

var ada = object{"login": "ada", "id": 7, "type": "User", "site_admin": false}

func repository(id int, name string, fork bool) object {
	owner, short, _ := strings.Cut(name, "/")
	return object{
		"id": id, "node_id": "R_1", "name": short, "full_name": name, "private": false, "fork": fork,
		"owner":    object{"login": owner, "id": 3, "type": "Organization"},
		"html_url": "https://github.com/" + name, "clone_url": "https://github.com/" + name + ".git", "ssh_url": "git@github.com:" + name + ".git",
		"default_branch": "main", "visibility": "public",
	}
}

func push(p forgetest.Push) *forge.Delivery {
	commit := object{
		"id": p.After, "tree_id": forgetest.Base, "distinct": true, "message": p.Message, "timestamp": "2026-01-02T03:04:05+01:00",
		"url":    "https://github.com/team/app/commit/" + p.After,
		"author": object{"name": "Ada", "email": "ada@example.com", "username": "ada"}, "committer": object{"name": "GitHub", "email": "noreply@github.com"},
		"added": []string{"nuts.go"}, "removed": []string{"docs/old.md"}, "modified": []string{"bolts.go"},
	}
	body := object{
		"ref": p.Ref, "before": p.Before, "after": p.After, "base_ref": nil, "compare": "https://github.com/team/app/compare/x",
		"created": p.Before == forgetest.Zeros, "deleted": p.After == forgetest.Zeros, "forced": false,
		"repository": repository(1001, "team/app", false), "pusher": object{"name": "ada", "email": "ada@example.com"}, "sender": ada,
		"commits": []any{commit}, "head_commit": commit,
	}
	if p.After == forgetest.Zeros {
		body["commits"], body["head_commit"] = []any{}, nil
	}
	return delivery("push", body)
}

func change(c forgetest.Change) *forge.Delivery {
	home := repository(1001, "team/app", false)
	head := any(home)
	if c.Fork {
		head = repository(424242, "eve/app", true)
	}
	if c.Gone {
		head = nil
	}
	action := c.What
	switch c.What {
	case "pushed":
		action = "synchronize"
	case "merged":
		action = "closed"
	}
	state := "open"
	if action == "closed" {
		state = "closed"
	}
	return delivery("pull_request", object{
		"action": action, "number": 17, "repository": home, "sender": ada,
		"pull_request": object{
			"id": 99, "number": 17, "state": state, "locked": false, "title": c.Title, "user": ada, "body": nil, "draft": false,
			"html_url": "https://github.com/team/app/pull/17", "merged": c.What == "merged", "labels": []any{},
			"head": object{"label": "x:" + c.Head, "ref": c.Head, "sha": c.SHA, "repo": head},
			"base": object{"label": "team:" + c.Base, "ref": c.Base, "sha": forgetest.Base, "repo": home},
		},
	})
}

func host(token string) forgetest.Host {
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's a secret"),
		Repository: "team/app",
		Sign:       sign,
		Push:       push,
		Change:     change,
		Ping:       delivery("ping", object{"zen": "Keep it logically awesome.", "hook_id": 5, "repository": repository(1001, "team/app", false)}),
		Other:      delivery("issue_comment", object{"action": "created", "issue": object{"number": 17}, "comment": object{"body": "hi"}, "repository": repository(1001, "team/app", false), "sender": ada}),
		Fake:       func(t *testing.T) *forgetest.Fake { return newFake(t, token).inside() },
		Releases:   true,
		Drafts:     true,
	}
}

func TestForgeOfAnApp(t *testing.T) {
	t.Parallel()
	h := host("ghs_app")
	h.Words = map[forge.State]string{
		forge.Pending: "queued", forge.Running: "in_progress", forge.Success: "success", forge.Failure: "failure",
		forge.Error: "failure", forge.Cancelled: "cancelled", forge.Skipped: "skipped",
	}
	forgetest.Run(t, h)
}

func TestForgeOfAPerson(t *testing.T) {
	t.Parallel()
	h := host("ghp_person")
	h.Words = map[forge.State]string{
		forge.Pending: "pending", forge.Running: "pending", forge.Success: "success", forge.Failure: "failure",
		forge.Error: "error", forge.Cancelled: "error", forge.Skipped: "success",
	}
	forgetest.Run(t, h)
}

// TestForgeThatMayNotCheck has a token whose looks do not tell that it may not
// write checks.
func TestForgeThatMayNotCheck(t *testing.T) {
	t.Parallel()
	f := newFake(t, "0123456789abcdef").inside()
	s := &forge.Status{SHA: forgetest.After, Context: "fairlead/ci", State: forge.Failure}
	if err := New(Options{Client: http.DefaultClient}).Status(t.Context(), f.Remote, s); err != nil {
		t.Fatal(err)
	}
	if word, _, n := f.Status(forgetest.After, "fairlead/ci"); word != "failure" || n != 1 || s.Ref != refStatus {
		t.Errorf("%q, %d times, as %q", word, n, s.Ref)
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	host := newFake(t, "ghs_app")
	f := host.inside()
	g := New(Options{Client: http.DefaultClient})
	s := &forge.Status{SHA: forgetest.After, Context: "fairlead/ci", State: forge.Failure, Title: "2 of 7 jobs failed"}
	for i := range 130 {
		s.Annotations = append(s.Annotations, forge.Annotation{Path: "bolts.go", Line: i, Level: "error", Title: "T", Message: fmt.Sprint("message ", i)})
	}
	s.Annotations = append(s.Annotations, s.Annotations[0], forge.Annotation{Message: "nowhere"})
	for range 2 { // the second time, nothing is said twice
		if err := g.Status(t.Context(), f.Remote, s); err != nil {
			t.Fatal(err)
		}
		s.Ref = ""
	}
	if n := len(host.notes); n != 130 {
		t.Errorf("%d annotations", n)
	}
	if host.batch > 50 {
		t.Errorf("%d annotations in one request", host.batch)
	}
	if a := host.notes[0]; a.Start != 1 || a.Level != "failure" {
		t.Errorf("%+v", a)
	}
}

// TestCheckAgain runs the same commit a second time.
func TestCheckAgain(t *testing.T) {
	t.Parallel()
	host := newFake(t, "ghs_app")
	f := host.inside()
	g := New(Options{Client: http.DefaultClient})
	for _, state := range []forge.State{forge.Pending, forge.Failure, forge.Failure, forge.Pending, forge.Running, forge.Success} {
		if err := g.Status(t.Context(), f.Remote, &forge.Status{SHA: forgetest.After, Context: "fairlead/ci", State: state}); err != nil {
			t.Fatal(err)
		}
	}
	if len(host.checks) != 2 || host.checks[0]["conclusion"] != "failure" || host.checks[1]["conclusion"] != "success" {
		t.Errorf("%v", host.checks)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	repo := repository(1001, "team/app", false)
	g := New(Options{Client: http.DefaultClient})
	tag := push(forgetest.Push{Ref: "refs/tags/v1", Before: forgetest.Zeros, After: forgetest.After, Message: "m"})
	var annotated object
	if err := json.Unmarshal(tag.Body, &annotated); err != nil {
		t.Fatal(err)
	}
	annotated["head_commit"].(object)["id"] = forgetest.Base
	for name, c := range map[string]struct {
		d          *forge.Delivery
		kind       forge.Kind
		event, ref string
		sha        string
	}{
		"release":       {delivery("release", object{"action": "published", "release": object{"tag_name": "v1", "name": "One", "target_commitish": "main"}, "repository": repo, "sender": ada}), forge.Released, "release", "refs/tags/v1", ""},
		"dispatch":      {delivery("repository_dispatch", object{"action": "deploy", "branch": "main", "client_payload": object{"a": 1}, "repository": repo, "sender": ada}), forge.Dispatch, "repository_dispatch", "refs/heads/main", ""},
		"merge queue":   {delivery("merge_group", object{"action": "checks_requested", "merge_group": object{"head_sha": forgetest.After, "head_ref": "refs/heads/gh-readonly-queue/main/pr-17", "base_sha": forgetest.Base, "base_ref": "refs/heads/main"}, "repository": repo, "sender": ada}), forge.Push, "merge_group", "refs/heads/gh-readonly-queue/main/pr-17", forgetest.After},
		"annotated tag": {delivery("push", annotated), forge.Push, "push", "refs/tags/v1", forgetest.Base},
		"labeled":       {change(forgetest.Change{What: "labeled", Head: "b", Base: "main", SHA: forgetest.After}), forge.Change, "pull_request", "refs/pull/17/merge", forgetest.After},
	} {
		h, err := g.Parse(c.d)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h.Kind != c.kind || h.Change.Event != c.event || h.Change.Ref != c.ref || h.Change.SHA != c.sha {
			t.Errorf("%s: %s, %+v", name, h.Kind, h.Change)
		}
	}
	// A form, as hooks have it that were set up without a thought.
	d := push(forgetest.Push{Ref: "refs/heads/main", Before: forgetest.Before, After: forgetest.After, Message: "m"})
	d.Header["Content-Type"] = "application/x-www-form-urlencoded"
	d.Body = []byte("payload=" + escape(string(d.Body)))
	if h, err := g.Parse(d); err != nil || h.Change.SHA != forgetest.After {
		t.Errorf("%+v, %v", h, err)
	}
	// The change of another repository that a fork is told of.
	var other object
	if err := json.Unmarshal(change(forgetest.Change{What: "opened", Head: "b", Base: "main", SHA: forgetest.After}).Body, &other); err != nil {
		t.Fatal(err)
	}
	other["repository"].(object)["id"] = forgetest.ForkID
	if h, err := g.Parse(delivery("pull_request", other)); err != nil || h.Kind != forge.Other {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestBrokenUpload has a file of a release whose upload was cut off.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	host := newFake(t, "ghp_person")
	f := host.inside()
	host.releases = []object{{
		"id": 1, "tag_name": "v1", "draft": true, "html_url": "https://github.com/team/app/releases/tag/v1",
		"assets": []object{{"id": 2, "name": "a", "size": 0, "state": "starter"}},
	}}
	rel := &forge.Release{Tag: "v1", Assets: []forge.Asset{{Name: "a", Size: 1, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }}}}
	if _, err := New(Options{Client: http.DefaultClient}).Release(t.Context(), f.Remote, rel); err != nil {
		t.Fatal(err)
	}
	if draft, files, _ := f.Release("v1"); draft || len(files) != 1 || files["a"] != "x" {
		t.Errorf("draft %v, %q", draft, files)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ api, url, base, uploads string }{
		{"", "", "https://api.github.com", "https://uploads.github.com"},
		{"", "git@github.com:team/app.git", "https://api.github.com", "https://uploads.github.com"},
		{"", "https://github.com/team/app", "https://api.github.com", "https://uploads.github.com"},
		{"", "ssh://git@ssh.github.com:443/team/app.git", "https://api.github.com", "https://uploads.github.com"},
		{"", "https://acme.ghe.com/team/app", "https://api.acme.ghe.com", "https://uploads.acme.ghe.com"},
		{"", "git@github.example.com:team/app", "https://github.example.com/api/v3", "https://github.example.com/api/uploads"},
		{"https://github.example.com/api/v3/", "git@elsewhere:x/y", "https://github.example.com/api/v3", "https://github.example.com/api/uploads"},
	} {
		r := &forge.Remote{API: c.api, URL: c.url}
		if base := address(r); base != c.base || uploads(base) != c.uploads {
			t.Errorf("%q, %q: %q, %q", c.api, c.url, base, uploads(base))
		}
	}
}

func FuzzParse(f *testing.F) {
	h := host("x")
	for _, d := range h.Samples() {
		f.Add(d.Header["X-Github-Event"], d.Body)
	}
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		forgetest.Fuzz(t, h.Forge, &forge.Delivery{Header: map[string]string{"X-Github-Event": event}, Body: body})
	})
}
