package bitbucket

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
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
	return &forge.Delivery{Header: map[string]string{"X-Event-Key": event, "Content-Type": "application/json"}, Body: text}
}

func sign(field string) func(d *forge.Delivery, secret []byte, id string) {
	return func(d *forge.Delivery, secret []byte, id string) {
		mac := hmac.New(sha256.New, secret)
		mac.Write(d.Body)
		d.Header["X-Hub-Signature"] = "sha256=" + hex.EncodeToString(mac.Sum(nil))
		d.Header[field] = id
	}
}

func cloudHost() forgetest.Host {
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's a secret"),
		Repository: "team/app",
		Sign:       sign("X-Request-Uuid"),
		Push:       ofCloudPush,
		Change:     ofCloudChange,
		Other:      delivery("pullrequest:comment_created", object{"comment": object{"content": object{"raw": "hi"}}, "actor": cloudAda}),
		Fake:       fakeCloud,
		Words: map[forge.State]string{
			forge.Pending: "INPROGRESS", forge.Running: "INPROGRESS", forge.Success: "SUCCESSFUL", forge.Failure: "FAILED",
			forge.Error: "FAILED", forge.Cancelled: "STOPPED", forge.Skipped: "SUCCESSFUL",
		},
		Releases: true,
	}
}

func centerHost() forgetest.Host {
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's a secret"),
		Repository: "TEAM/app",
		Sign:       sign("X-Request-Id"),
		Push:       ofCenterPush,
		Change:     ofCenterChange,
		Ping:       delivery("diagnostics:ping", object{"test": true}),
		Other:      delivery("pr:comment:added", object{"comment": object{"text": "hi"}, "actor": centerAda}),
		Fake:       fakeCenter,
		Words: map[forge.State]string{
			forge.Pending: "INPROGRESS", forge.Running: "INPROGRESS", forge.Success: "SUCCESSFUL", forge.Failure: "FAILED",
			forge.Error: "FAILED", forge.Cancelled: "FAILED", forge.Skipped: "SUCCESSFUL",
		},
	}
}

func TestCloud(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, cloudHost())
}

func TestDataCenter(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, centerHost())
}

// TestSeveralRefs pushes a branch and a tag at once.
func TestSeveralRefs(t *testing.T) {
	t.Parallel()
	b := New(Options{Client: http.DefaultClient})
	join := func(d, more *forge.Delivery, path ...string) *forge.Delivery {
		var one, two object
		if json.Unmarshal(d.Body, &one) != nil || json.Unmarshal(more.Body, &two) != nil {
			t.Fatal("bad samples")
		}
		key := path[len(path)-1]
		into, from := one, two
		for _, p := range path[:len(path)-1] {
			into, from = into[p].(object), from[p].(object)
		}
		into[key] = append(into[key].([]any), from[key].([]any)...)
		return delivery(d.Header["X-Event-Key"], one)
	}
	branch := forgetest.Push{Ref: "refs/heads/main", Before: forgetest.Before, After: forgetest.After, Message: "m"}
	tag := forgetest.Push{Ref: "refs/tags/v1", Before: forgetest.Zeros, After: forgetest.After, Message: "m"}
	for name, d := range map[string]*forge.Delivery{
		"cloud":       join(ofCloudPush(branch), ofCloudPush(tag), "push", "changes"),
		"data center": join(ofCenterPush(branch), ofCenterPush(tag), "changes"),
	} {
		h, err := b.Parse(d)
		if err != nil || len(h.Also) != 1 || h.Change.Ref != branch.Ref || h.Also[0].Change.Ref != tag.Ref {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	many := object{"repository": centerRepo(1001, "TEAM", "app"), "actor": centerAda}
	var changes []any
	for range 2000 {
		changes = append(changes, object{"ref": object{"id": "refs/heads/a"}, "fromHash": forgetest.Before, "toHash": forgetest.After})
	}
	many["changes"] = changes
	if _, err := b.Parse(delivery("repo:refs_changed", many)); err == nil {
		t.Error("two thousand refs in a push were taken")
	}
	if h, err := b.Parse(delivery("repo:push", object{"push": object{"changes": []any{}}})); err != nil || h.Kind != forge.Other {
		t.Errorf("a push of nothing: %+v, %v", h, err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	b := New(Options{Client: http.DefaultClient})
	for _, c := range []struct{ api, url, repository, base, path string }{
		{"", "", "team/app", cloudAPI, "/repositories/team/app"},
		{"", "git@bitbucket.org:team/app.git", "", cloudAPI, "/repositories/team/app"},
		{"", "https://bitbucket.org/team/app", "", cloudAPI, "/repositories/team/app"},
		{"", "https://git.example.com/scm/team/app.git", "", "https://git.example.com", "/rest/api/1.0/projects/team/repos/app"},
		{"https://git.example.com/bitbucket", "https://git.example.com/bitbucket/scm/team/app.git", "", "https://git.example.com/bitbucket", "/rest/api/1.0/projects/team/repos/app"},
		{"https://git.example.com", "", "~ada/app", "https://git.example.com", "/rest/api/1.0/projects/~ada/repos/app"},
	} {
		r, err := b.remote(&forge.Remote{API: c.api, URL: c.url, Repository: c.repository, Token: "x"})
		if err != nil || r.Base != c.base || r.path != c.path {
			t.Errorf("%+v: %+v, %v", c, r, err)
		}
	}
	if a := authorization("ada:app-password"); a != "Basic "+base64.StdEncoding.EncodeToString([]byte("ada:app-password")) {
		t.Error(a)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	long := "fairlead/" + strings.Repeat("ü", 50)
	for _, context := range []string{"fairlead/ci", long, long + "x"} {
		if k := key(context); len(k) > maxKey || strings.Contains(k, "…") || k != key(context) {
			t.Errorf("%q becomes %q", context, k)
		}
	}
	if key(long) == key(long+"x") {
		t.Error("two contexts have one key")
	}
}

func FuzzParse(f *testing.F) {
	cloud, center := cloudHost(), centerHost()
	for _, d := range append(cloud.Samples(), center.Samples()...) {
		f.Add(d.Header["X-Event-Key"], d.Body)
	}
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		forgetest.Fuzz(t, cloud.Forge, &forge.Delivery{Header: map[string]string{"X-Event-Key": event}, Body: body})
	})
}

var (
	cloudAda  = object{"type": "user", "display_name": "Ada Lovelace", "nickname": "ada", "uuid": "{7}", "account_id": "557058:7"}
	centerAda = object{"name": "ada", "emailAddress": "ada@example.com", "id": 7, "displayName": "Ada Lovelace", "active": true, "slug": "ada", "type": "NORMAL"}
)

func cloudRepo(id, name string) object {
	return object{
		"type": "repository", "full_name": name, "name": "app", "uuid": "{" + id + "}", "is_private": true, "scm": "git",
		"links": object{"html": object{"href": "https://bitbucket.org/" + name}, "self": object{"href": "https://api.bitbucket.org/2.0/repositories/" + name}},
	}
}

func ofCloudPush(p forgetest.Push) *forge.Delivery {
	side := func(sha string) any {
		if sha == forgetest.Zeros {
			return nil
		}
		kind, name := "branch", strings.TrimPrefix(p.Ref, "refs/heads/")
		if strings.HasPrefix(p.Ref, "refs/tags/") {
			kind, name = "tag", strings.TrimPrefix(p.Ref, "refs/tags/")
		}
		return object{"type": kind, "name": name, "target": object{
			"type": "commit", "hash": sha, "message": p.Message, "date": "2026-01-02T03:04:05+00:00", "parents": []any{object{"hash": forgetest.Before}},
			"author": object{"type": "author", "raw": "Ada Lovelace <ada@example.com>", "user": cloudAda},
			"links":  object{"html": object{"href": "https://bitbucket.org/team/app/commits/" + sha}},
		}}
	}
	now := side(p.After)
	var commits []any
	if now != nil {
		commits = []any{now.(object)["target"], object{"hash": forgetest.Base, "message": "older"}}
	}
	return delivery("repo:push", object{
		"actor": cloudAda, "repository": cloudRepo("1001", "team/app"),
		"push": object{"changes": []any{object{
			"new": now, "old": side(p.Before), "created": p.Before == forgetest.Zeros, "closed": p.After == forgetest.Zeros, "forced": false, "truncated": false, "commits": commits,
		}}},
	})
}

func ofCloudChange(c forgetest.Change) *forge.Delivery {
	head := any(cloudRepo("1001", "team/app"))
	if c.Fork {
		head = cloudRepo(forgetest.ForkID, "eve/app")
	}
	if c.Gone {
		head = nil
	}
	event := map[string]string{"opened": "pullrequest:created", "pushed": "pullrequest:updated", "closed": "pullrequest:rejected", "merged": "pullrequest:fulfilled"}[c.What]
	return delivery(event, object{
		"actor": cloudAda, "repository": cloudRepo("1001", "team/app"),
		"pullrequest": object{
			"type": "pullrequest", "id": 17, "title": c.Title, "description": "", "state": "OPEN", "draft": false, "author": cloudAda, "merge_commit": nil,
			"source":      object{"branch": object{"name": c.Head}, "commit": object{"hash": c.SHA[:min(12, len(c.SHA))]}, "repository": head},
			"destination": object{"branch": object{"name": c.Base}, "commit": object{"hash": forgetest.Base[:12]}, "repository": cloudRepo("1001", "team/app")},
			"links":       object{"html": object{"href": "https://bitbucket.org/team/app/pull-requests/17"}},
		},
	})
}

func centerRepo(id int, project, slug string) object {
	return object{
		"slug": slug, "id": id, "name": slug, "scmId": "git", "state": "AVAILABLE", "forkable": true, "public": false,
		"project": object{"key": project, "id": 3, "name": project, "type": "NORMAL"},
		"links": object{
			"clone": []any{object{"href": "ssh://git@git.example.com:7999/x/" + slug + ".git", "name": "ssh"}, object{"href": "https://git.example.com/scm/x/" + slug + ".git", "name": "http"}},
			"self":  []any{object{"href": "https://git.example.com/projects/" + project + "/repos/" + slug + "/browse"}},
		},
	}
}

func ofCenterPush(p forgetest.Push) *forge.Delivery {
	kind := "UPDATE"
	switch forgetest.Zeros {
	case p.Before:
		kind = "ADD"
	case p.After:
		kind = "DELETE"
	}
	body := object{
		"eventKey": "repo:refs_changed", "date": "2026-01-02T03:04:05+0000", "actor": centerAda, "repository": centerRepo(1001, "TEAM", "app"),
		"changes": []any{object{"ref": object{"id": p.Ref, "displayId": "x", "type": "BRANCH"}, "refId": p.Ref, "fromHash": p.Before, "toHash": p.After, "type": kind}},
	}
	if p.After != forgetest.Zeros {
		body["toCommit"] = object{"id": p.After, "displayId": "x", "message": p.Message, "author": object{"name": "Ada", "emailAddress": "ada@example.com"}}
	}
	return delivery("repo:refs_changed", body)
}

func ofCenterChange(c forgetest.Change) *forge.Delivery {
	head := any(centerRepo(1001, "TEAM", "app"))
	if c.Fork {
		head = centerRepo(424242, "~EVE", "app")
	}
	if c.Gone {
		head = nil
	}
	event := map[string]string{"opened": "pr:opened", "pushed": "pr:from_ref_updated", "closed": "pr:declined", "merged": "pr:merged"}[c.What]
	return delivery(event, object{
		"eventKey": event, "date": "2026-01-02T03:04:05+0000", "actor": centerAda,
		"pullRequest": object{
			"id": 17, "version": 1, "title": c.Title, "state": "OPEN", "open": true, "closed": false, "draft": false,
			"fromRef": object{"id": "refs/heads/" + c.Head, "displayId": c.Head, "latestCommit": c.SHA, "repository": head},
			"toRef":   object{"id": "refs/heads/" + c.Base, "displayId": c.Base, "latestCommit": forgetest.Base, "repository": centerRepo(1001, "TEAM", "app")},
			"author":  object{"user": centerAda, "role": "AUTHOR", "approved": false},
			"links":   object{"self": []any{object{"href": "https://git.example.com/projects/TEAM/repos/app/pull-requests/17"}}},
		},
	})
}

// said is the comments that both fakes keep. Here only its author may edit one.
type said struct {
	*forgetest.Mux
	all []object // "id", "text", "by", "version"
}

func (s *said) edit(id, text string) (int, object) {
	c := forgetest.ByID(s.all, id)
	switch {
	case c == nil:
		return 404, object{"errors": []any{object{"message": "no such comment"}}}
	case c["by"] != "robot":
		return 403, object{"type": "error", "error": object{"message": "You cannot edit this comment"}}
	}
	c["text"], c["version"] = text, c["version"].(int)+1
	return 200, c
}

func (s *said) add(by, text string) object {
	c := object{"id": s.ID(), "text": text, "by": by, "version": 0}
	s.all = append(s.all, c)
	return c
}

func (s *said) inside(f *forgetest.Fake) *forgetest.Fake {
	f.Comments = func(string) (texts []string) {
		s.Lock()
		defer s.Unlock()
		for _, c := range s.all {
			texts = append(texts, c["text"].(string))
		}
		return texts
	}
	f.Say = func(_, text string) {
		s.Lock()
		defer s.Unlock()
		s.add("eve", text)
	}
	f.Forget = func(string) {
		s.Lock()
		defer s.Unlock()
		s.all = nil
	}
	return f
}

// fakeCloud is Bitbucket Cloud, as far as it is spoken to.
func fakeCloud(t *testing.T) *forgetest.Fake {
	const repo = "/2.0/repositories/team/app"
	m := &forgetest.Mux{}
	s := &said{Mux: m}
	statuses := map[string]object{}
	var front *forgetest.Front
	m.On("POST "+repo+"/commit/{sha}/statuses/build", func(r *http.Request, in object) (int, any) {
		if len(in["key"].(string)) > 40 || !strings.HasPrefix(fmt.Sprint(in["url"]), "http") {
			return 400, object{"type": "error", "error": object{"message": "Bad request", "fields": object{"key": []string{"too long"}}}}
		}
		statuses[fmt.Sprint(r.PathValue("sha"), in["key"])] = in
		return 201, in
	})
	shown := func(c object) object {
		return object{"id": c["id"], "deleted": false, "content": object{"raw": c["text"]}, "user": object{"nickname": c["by"]}}
	}
	m.On("GET "+repo+"/pullrequests/17/comments", func(r *http.Request, _ object) (int, any) {
		values := []object{}
		for _, c := range forgetest.Page(r, "pagelen", s.all) {
			values = append(values, shown(c))
		}
		out := object{"values": values, "pagelen": 100}
		n, _ := strconv.Atoi(r.FormValue("page"))
		n = max(n, 1)
		if n*100 < len(s.all) {
			out["next"] = fmt.Sprintf("%s%s/pullrequests/17/comments?pagelen=100&page=%d", front.URL, repo, n+1)
		}
		return 200, out
	})
	raw := func(in object) string {
		content, _ := in["content"].(object)
		text, _ := content["raw"].(string)
		return text
	}
	m.On("POST "+repo+"/pullrequests/17/comments", func(_ *http.Request, in object) (int, any) { return 201, shown(s.add("robot", raw(in))) })
	m.On("PUT "+repo+"/pullrequests/17/comments/{id}", func(r *http.Request, in object) (int, any) {
		code, c := s.edit(r.PathValue("id"), raw(in))
		if code == 200 {
			c = shown(c)
		}
		return code, c
	})
	var files []object
	m.On("GET "+repo+"/downloads", func(r *http.Request, _ object) (int, any) {
		return 200, object{"values": forgetest.Page(r, "pagelen", files), "pagelen": 100}
	})
	m.On("POST "+repo+"/downloads", func(r *http.Request, _ object) (int, any) {
		file, header, err := r.FormFile("files")
		if err != nil || r.ContentLength <= 0 {
			return 400, object{"type": "error", "error": object{"message": fmt.Sprint(err)}}
		}
		text, _ := io.ReadAll(file)
		for _, f := range files {
			if f["name"] == header.Filename {
				t.Errorf("the download %s was replaced", header.Filename)
			}
		}
		files = append(files, object{"name": header.Filename, "size": len(text), "text": string(text)})
		return 201, nil
	})
	front = forgetest.NewFront(t, "Bearer ATCTT-token", m)
	return s.inside(&forgetest.Fake{
		Release: func(tag string) (draft bool, held map[string]string, ok bool) {
			m.Lock()
			defer m.Unlock()
			held = map[string]string{}
			for _, f := range files {
				if name, of := strings.CutPrefix(f["name"].(string), tag+"-"); of {
					held[name], ok = f["text"].(string), true
				}
			}
			return false, held, ok
		},
		Front:  front,
		Remote: &forge.Remote{API: front.URL + "/2.0", Repository: "team/app", Token: "ATCTT-token"},
		Status: statusOf(m, statuses),
	})
}

func statusOf(m *forgetest.Mux, statuses map[string]object) func(sha, context string) (word, url string, n int) {
	return func(sha, context string) (word, url string, n int) {
		m.Lock()
		defer m.Unlock()
		if s := statuses[sha+context]; s != nil {
			return s["state"].(string), s["url"].(string), 1
		}
		return "", "", 0
	}
}

// fakeCenter is Bitbucket Data Center, as far as it is spoken to.
func fakeCenter(t *testing.T) *forgetest.Fake {
	const change = "/rest/api/1.0/projects/TEAM/repos/app/pull-requests/17"
	m := &forgetest.Mux{}
	s := &said{Mux: m}
	statuses := map[string]object{}
	m.On("POST /rest/build-status/1.0/commits/{sha}", func(r *http.Request, in object) (int, any) {
		if !strings.Contains("INPROGRESS SUCCESSFUL FAILED", in["state"].(string)) {
			return 400, object{"errors": []any{object{"message": "The state is unknown"}}}
		}
		statuses[fmt.Sprint(r.PathValue("sha"), in["key"])] = in
		return http.StatusNoContent, nil
	})
	m.On("GET "+change+"/activities", func(r *http.Request, _ object) (int, any) {
		start, _ := strconv.Atoi(r.FormValue("start"))
		end := min(start+100, len(s.all))
		values := []any{object{"action": "OPENED"}}
		for _, c := range s.all[min(start, end):end] {
			values = append(values, object{"action": "COMMENTED", "comment": c})
		}
		out := object{"values": values, "isLastPage": end == len(s.all), "nextPageStart": nil}
		if end < len(s.all) {
			out["nextPageStart"] = end
		}
		return 200, out
	})
	m.On("POST "+change+"/comments", func(r *http.Request, in object) (int, any) {
		if r.Header.Get("X-Atlassian-Token") != "no-check" {
			return 403, object{"errors": []any{object{"message": "XSRF check failed"}}}
		}
		return 201, s.add("robot", in["text"].(string))
	})
	m.On("GET "+change+"/comments/{id}", func(r *http.Request, _ object) (int, any) {
		if c := forgetest.ByID(s.all, r.PathValue("id")); c != nil {
			return 200, c
		}
		return forgetest.NotFound()
	})
	m.On("PUT "+change+"/comments/{id}", func(r *http.Request, in object) (int, any) {
		if c := forgetest.ByID(s.all, r.PathValue("id")); c != nil && float64(c["version"].(int)) != in["version"] {
			return 409, object{"errors": []any{object{"message": "out of date"}}}
		}
		return s.edit(r.PathValue("id"), in["text"].(string))
	})
	front := forgetest.NewFront(t, "Bearer dc-token", m)
	return s.inside(&forgetest.Fake{
		Front:  front,
		Remote: &forge.Remote{API: front.URL, Repository: "TEAM/app", Token: "dc-token"},
		Status: statusOf(m, statuses),
	})
}
