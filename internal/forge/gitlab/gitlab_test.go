package gitlab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/forgetest"
)

type object = forgetest.Object

func delivery(event string, body any) *forge.Delivery {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &forge.Delivery{Header: map[string]string{"X-Gitlab-Event": event, "Content-Type": "application/json"}, Body: text}
}

func token(d *forge.Delivery, secret []byte, id string) {
	d.Header["X-Gitlab-Token"], d.Header["X-Gitlab-Event-Uuid"] = string(secret), id
}

func sign(d *forge.Delivery, secret []byte, id string) {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, "1767323045", d.Body)
	d.Header["Webhook-Id"], d.Header["Webhook-Timestamp"] = id, "1767323045"
	d.Header["Webhook-Signature"] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func project(id int, path string) object {
	return object{
		"id": id, "name": "App", "description": "", "web_url": "https://gitlab.example.com/" + path, "avatar_url": nil,
		"git_ssh_url": "git@gitlab.example.com:" + path + ".git", "git_http_url": "https://gitlab.example.com/" + path + ".git",
		"namespace": "Team", "visibility_level": 0, "path_with_namespace": path, "default_branch": "main",
	}
}

func ofPush(p forgetest.Push) *forge.Delivery {
	kind, event := "push", "Push Hook"
	if strings.HasPrefix(p.Ref, "refs/tags/") {
		kind, event = "tag_push", "Tag Push Hook"
	}
	body := object{
		"object_kind": kind, "event_name": kind, "before": p.Before, "after": p.After, "ref": p.Ref, "ref_protected": true, "checkout_sha": p.After,
		"user_id": 7, "user_name": "Ada", "user_username": "ada", "user_email": "ada@example.com", "project_id": 1001, "project": project(1001, "team/sub/app"),
		"commits": []any{object{
			"id": p.After, "message": p.Message, "title": "t", "timestamp": "2026-01-02T03:04:05+01:00", "url": "https://gitlab.example.com/team/sub/app/-/commit/" + p.After,
			"author": object{"name": "Ada", "email": "ada@example.com"}, "added": []string{"nuts.go"}, "modified": []string{"bolts.go"}, "removed": []string{"docs/old.md"},
		}},
		"total_commits_count": 1,
	}
	if p.After == forgetest.Zeros {
		body["checkout_sha"], body["commits"], body["total_commits_count"] = nil, []any{}, 0
	}
	return delivery(event, body)
}

func ofChange(c forgetest.Change) *forge.Delivery {
	home := project(1001, "team/sub/app")
	source, sourceID := any(home), any(1001)
	if c.Fork {
		source, sourceID = project(424242, "eve/app"), 424242
	}
	if c.Gone {
		source, sourceID = nil, nil
	}
	attributes := object{
		"id": 99, "iid": 17, "author_id": 7, "title": c.Title, "description": "", "draft": false, "work_in_progress": false,
		"source_branch": c.Head, "source_project_id": sourceID, "source": source, "target_branch": c.Base, "target_project_id": 1001, "target": home,
		"last_commit": object{"id": c.SHA, "message": "m", "timestamp": "2026-01-02T03:04:05+01:00", "author": object{"name": "Ada", "email": "ada@example.com"}},
		"url":         "https://gitlab.example.com/team/sub/app/-/merge_requests/17", "merge_commit_sha": nil,
	}
	attributes["state"] = map[string]string{"opened": "opened", "pushed": "opened", "closed": "closed", "merged": "merged"}[c.What]
	attributes["action"] = map[string]string{"opened": "open", "pushed": "update", "closed": "close", "merged": "merge"}[c.What]
	if c.What == "pushed" {
		attributes["oldrev"] = forgetest.Before
	}
	return delivery("Merge Request Hook", object{
		"object_kind": "merge_request", "event_type": "merge_request", "user": object{"id": 7, "name": "Ada", "username": "ada", "avatar_url": "", "email": "[REDACTED]"},
		"project": home, "object_attributes": attributes, "labels": []any{object{"id": 1, "title": "hardware"}}, "changes": object{},
		"repository": object{"name": "App", "url": "git@gitlab.example.com:team/sub/app.git"},
	})
}

func host() forgetest.Host {
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's a secret"),
		Repository: "team/sub/app",
		Sign:       token,
		Push:       ofPush,
		Change:     ofChange,
		Other:      delivery("Note Hook", object{"object_kind": "note", "event_type": "note", "user": object{"username": "ada"}, "project": project(1001, "team/sub/app"), "object_attributes": object{"note": "hi"}}),
		Fake:       fake,
		Words: map[forge.State]string{
			forge.Pending: "pending", forge.Running: "running", forge.Success: "success", forge.Failure: "failed",
			forge.Error: "failed", forge.Cancelled: "canceled", forge.Skipped: "skipped",
		},
		Releases: true,
	}
}

func TestForge(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, host())
}

func TestForgeThatSigns(t *testing.T) {
	t.Parallel()
	h := host()
	h.Secret, h.Sign = []byte("whsec_"+base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))), sign
	forgetest.Run(t, h)
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	secret := []byte("whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")))
	g := New(Options{Client: http.DefaultClient})
	for name, c := range map[string]struct {
		spoil func(d *forge.Delivery)
		ok    bool
	}{
		"right":             {func(*forge.Delivery) {}, true},
		"one of two keys":   {func(d *forge.Delivery) { d.Header["Webhook-Signature"] = "v1,AAAA " + d.Header["Webhook-Signature"] }, true},
		"another version":   {func(d *forge.Delivery) { d.Header["Webhook-Signature"] = "v2" + d.Header["Webhook-Signature"][2:] }, false},
		"another ID":        {func(d *forge.Delivery) { d.Header["Webhook-Id"] = "delivery-2" }, false},
		"another time":      {func(d *forge.Delivery) { d.Header["Webhook-Timestamp"] = "1767323046" }, false},
		"dots moved":        {func(d *forge.Delivery) { d.Header["Webhook-Id"] = "delivery-1.1767323045" }, false},
		"only the token":    {func(d *forge.Delivery) { delete(d.Header, "Webhook-Signature"); token(d, secret, "1") }, false},
		"the key of nobody": {func(d *forge.Delivery) { d.Header["Webhook-Signature"] = "" }, false},
		"body":              {func(d *forge.Delivery) { d.Body = append(d.Body, ' ') }, false},
		"many signatures, too far": {func(d *forge.Delivery) {
			d.Header["Webhook-Signature"] = strings.Repeat("v1,AAAA ", 50) + d.Header["Webhook-Signature"]
		}, false},
	} {
		d := ofPush(forgetest.Push{Ref: "refs/heads/main", Before: forgetest.Before, After: forgetest.After})
		sign(d, secret, "delivery-1")
		c.spoil(d)
		if err := g.Verify(d, secret); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"whsec_", "whsec_***"} {
		d := ofPush(forgetest.Push{Ref: "refs/heads/main", Before: forgetest.Before, After: forgetest.After})
		sign(d, []byte(bad), "delivery-1")
		if g.Verify(d, []byte(bad)) == nil {
			t.Errorf("a key of nothing, %q", bad)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	g := New(Options{Client: http.DefaultClient})
	edit := func(set func(body, attributes object)) *forge.Delivery {
		var body object
		if err := json.Unmarshal(ofChange(forgetest.Change{What: "pushed", Head: "b", Base: "main", SHA: forgetest.After}).Body, &body); err != nil {
			t.Fatal(err)
		}
		set(body, body["object_attributes"].(object))
		return delivery("Merge Request Hook", body)
	}
	tag := ofPush(forgetest.Push{Ref: "refs/tags/v1", Before: forgetest.Zeros, After: forgetest.After})
	tag.Body = []byte(strings.Replace(string(tag.Body), `"checkout_sha":"`+forgetest.After, `"checkout_sha":"`+forgetest.Base, 1))
	for name, c := range map[string]struct {
		d                *forge.Delivery
		kind             forge.Kind
		event, sha, what string
	}{
		"title": {edit(func(_, a object) { delete(a, "oldrev") }), forge.Change, "pull_request", forgetest.After, "edited"},
		"ready": {edit(func(b, a object) {
			delete(a, "oldrev")
			b["changes"] = object{"draft": object{"previous": true, "current": false}}
		}), forge.Change, "pull_request", forgetest.After, "ready_for_review"},
		"approved":      {edit(func(_, a object) { a["action"] = "approved" }), forge.Other, "", "", ""},
		"of another":    {edit(func(_, a object) { a["target_project_id"] = 5 }), forge.Other, "", "", ""},
		"annotated tag": {tag, forge.Push, "push", forgetest.Base, ""},
		"release": {delivery("Release Hook", object{"object_kind": "release", "action": "create", "tag": "v1", "name": "One", "project": project(1001, "team/sub/app"), "commit": object{"id": forgetest.After}}),
			forge.Released, "release", forgetest.After, "published"},
	} {
		h, err := g.Parse(c.d)
		if err != nil || h.Kind != c.kind {
			t.Errorf("%s: %+v, %v", name, h, err)
			continue
		}
		if c.event == "" {
			continue
		}
		if p := forge.Object(h.Change.Payload); h.Change.Event != c.event || h.Change.SHA != c.sha || p.Text("action") != c.what {
			t.Errorf("%s: %+v", name, h.Change)
		}
	}
}

func FuzzParse(f *testing.F) {
	h := host()
	for _, d := range h.Samples() {
		f.Add(d.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) { forgetest.Fuzz(t, h.Forge, &forge.Delivery{Body: body}) })
}

// TestOldServer does not know the state "skipped".
func TestOldServer(t *testing.T) {
	t.Parallel()
	f := fake(t)
	f.Front.Fail(1, http.StatusBadRequest, nil, `{"error":"state does not have a valid value"}`)
	if err := New(Options{Client: http.DefaultClient}).Status(t.Context(), f.Remote, &forge.Status{SHA: forgetest.After, Context: "c", State: forge.Skipped}); err != nil {
		t.Fatal(err)
	}
	if word, _, _ := f.Status(forgetest.After, "c"); word != "success" {
		t.Errorf("%q", word)
	}
}

// fake is GitLab, as far as it is spoken to.
func fake(t *testing.T) *forgetest.Fake {
	const (
		below = "/api/v4/projects/{project}"
		key   = "glpat-0a1b2c3d"
	)
	m := &forgetest.Mux{}
	statuses := map[string]object{}
	var notes, packages []object
	releases, links := map[string]object{}, map[string][]object{}
	me := object{"id": 6, "username": "robot"}
	on := func(pattern string, do func(r *http.Request, in object) (int, any)) {
		method, path, _ := strings.Cut(pattern, " ")
		m.On(method+" "+below+path, func(r *http.Request, in object) (int, any) {
			if r.PathValue("project") != "team/sub/app" {
				return forgetest.NotFound()
			}
			return do(r, in)
		})
	}
	m.On("GET /api/v4/user", func(*http.Request, object) (int, any) { return 200, me })
	on("POST /statuses/{sha}", func(r *http.Request, in object) (int, any) {
		name := fmt.Sprint(r.PathValue("sha"), in["name"])
		if old := statuses[name]; old != nil && old["state"] == in["state"] {
			return 400, object{"message": object{"status": []string{fmt.Sprintf("Cannot transition status via :run from :%v (Reason(s): Status cannot transition via \"run\")", in["state"])}}}
		}
		in["id"] = m.ID()
		statuses[name] = in
		return 201, in
	})
	on("GET /merge_requests/17", func(*http.Request, object) (int, any) {
		return 200, object{"iid": 17, "labels": []string{"bug", "area/api"}}
	})
	on("GET /merge_requests/17/notes", func(r *http.Request, _ object) (int, any) { return 200, forgetest.Page(r, "per_page", notes) })
	on("POST /merge_requests/17/notes", func(_ *http.Request, in object) (int, any) {
		if body, _ := in["body"].(string); len(body) > maxBody {
			return 400, object{"message": object{"note": []string{"is too long (maximum is 1000000 characters)"}}}
		}
		in["id"], in["author"] = m.ID(), me
		notes = append(notes, in)
		return 201, in
	})
	on("PUT /merge_requests/17/notes/{id}", func(r *http.Request, in object) (int, any) {
		n := forgetest.ByID(notes, r.PathValue("id"))
		if n == nil {
			return forgetest.NotFound()
		}
		return 200, forgetest.Merge(n, in)
	})
	on("GET /packages", func(r *http.Request, _ object) (int, any) {
		found := []object{}
		for _, p := range packages {
			if p["version"] == r.FormValue("package_version") && r.FormValue("package_name") == packageName && r.FormValue("package_type") == "generic" {
				found = append(found, p)
			}
		}
		return 200, found
	})
	on("GET /packages/{id}/package_files", func(r *http.Request, _ object) (int, any) {
		return 200, forgetest.Page(r, "per_page", forgetest.ByID(packages, r.PathValue("id"))["files"].([]object))
	})
	on("PUT /packages/generic/{name}/{version}/{file}", func(r *http.Request, _ object) (int, any) {
		text, _ := io.ReadAll(r.Body)
		var p object
		for _, one := range packages {
			if one["version"] == r.PathValue("version") {
				p = one
			}
		}
		if p == nil {
			p = object{"id": m.ID(), "version": r.PathValue("version"), "files": []object{}}
			packages = append(packages, p)
		}
		p["files"] = append(p["files"].([]object), object{"file_name": r.PathValue("file"), "size": len(text), "text": string(text)})
		return 201, object{"message": "201 Created"}
	})
	on("GET /releases/{tag}", func(r *http.Request, _ object) (int, any) {
		if rel := releases[r.PathValue("tag")]; rel != nil {
			return 200, rel
		}
		return forgetest.NotFound()
	})
	on("POST /releases", func(_ *http.Request, in object) (int, any) {
		tag := in["tag_name"].(string)
		in["_links"] = object{"self": "https://gitlab.example.com/team/sub/app/-/releases/" + tag}
		releases[tag] = in
		return 201, in
	})
	on("GET /releases/{tag}/assets/links", func(r *http.Request, _ object) (int, any) {
		return 200, forgetest.Page(r, "per_page", links[r.PathValue("tag")])
	})
	on("POST /releases/{tag}/assets/links", func(r *http.Request, in object) (int, any) {
		links[r.PathValue("tag")] = append(links[r.PathValue("tag")], in)
		return 201, in
	})
	front := forgetest.NewFront(t, "Bearer "+key, m)
	return &forgetest.Fake{
		Front:  front,
		Remote: &forge.Remote{API: front.URL + "/api/v4", Repository: "team/sub/app", Token: key},
		Status: func(sha, context string) (word, url string, n int) {
			m.Lock()
			defer m.Unlock()
			if s := statuses[sha+context]; s != nil {
				word, _ = s["state"].(string)
				url, _ = s["target_url"].(string)
				n = 1
			}
			return word, url, n
		},
		Comments: func(string) (texts []string) {
			m.Lock()
			defer m.Unlock()
			for _, n := range notes {
				texts = append(texts, n["body"].(string))
			}
			return texts
		},
		Say: func(_, text string) {
			m.Lock()
			defer m.Unlock()
			notes = append(notes, object{"id": m.ID(), "body": text, "author": object{"id": 66}})
		},
		Forget: func(string) {
			m.Lock()
			defer m.Unlock()
			notes = nil
		},
		Release: func(tag string) (draft bool, files map[string]string, ok bool) {
			m.Lock()
			defer m.Unlock()
			if releases[tag] == nil {
				return false, nil, false
			}
			files = map[string]string{}
			for _, l := range links[tag] {
				prefix := front.URL + "/api/v4/projects/team%2Fsub%2Fapp/packages/generic/release/" + version(tag) + "/"
				name, ok := strings.CutPrefix(l["url"].(string), prefix)
				for _, p := range packages {
					for _, file := range p["files"].([]object) {
						if ok && p["version"] == version(tag) && file["file_name"] == name {
							files[l["name"].(string)] = file["text"].(string)
						}
					}
				}
			}
			return false, files, true
		},
	}
}
