package gitea

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/forgetest"
)

type object = forgetest.Object

func delivery(event string, body any) *forge.Delivery {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		panic(err)
	}
	return &forge.Delivery{Header: map[string]string{"X-Gitea-Event": event, "X-Github-Event": event, "Content-Type": "application/json"}, Body: text}
}

func sign(d *forge.Delivery, secret []byte, id string) {
	mac := hmac.New(sha256.New, secret)
	mac.Write(d.Body)
	signature := hex.EncodeToString(mac.Sum(nil))
	d.Header["X-Gitea-Signature"], d.Header["X-Hub-Signature-256"] = signature, "sha256="+signature
	d.Header["X-Gitea-Delivery"], d.Header["X-Github-Delivery"] = id, id
}

var ada = object{"id": 7, "login": "ada", "login_name": "", "full_name": "Ada", "email": "ada@noreply.example.com", "username": "ada"}

func repository(id int, name string, fork bool) object {
	owner, short, _ := strings.Cut(name, "/")
	return object{
		"id": id, "owner": object{"id": 3, "login": owner, "username": owner}, "name": short, "full_name": name, "private": false, "fork": fork, "empty": false,
		"html_url": "https://git.example.com/" + name, "clone_url": "https://git.example.com/" + name + ".git", "ssh_url": "git@git.example.com:" + name + ".git",
		"default_branch": "main",
	}
}

func push(p forgetest.Push) *forge.Delivery {
	if p.After == forgetest.Zeros { // no push, but an event of its own
		return delivery("delete", object{
			"ref": strings.TrimPrefix(p.Ref, "refs/heads/"), "ref_type": "branch", "pusher_type": "user", "repository": repository(1001, "team/app", false), "sender": ada,
		})
	}
	commit := object{
		"id": p.After, "message": p.Message, "url": "https://git.example.com/team/app/commit/" + p.After, "timestamp": "2026-01-02T03:04:05+01:00",
		"author": object{"name": "Ada", "email": "ada@example.com", "username": "ada"}, "committer": object{"name": "Ada", "email": "ada@example.com", "username": "ada"}, "verification": nil,
		"added": []string{"nuts.go"}, "removed": []string{"docs/old.md"}, "modified": []string{"bolts.go"},
	}
	return delivery("push", object{
		"ref": p.Ref, "before": p.Before, "after": p.After, "compare_url": "https://git.example.com/team/app/compare/x",
		"commits": []any{commit}, "total_commits": 1, "head_commit": commit, "repository": repository(1001, "team/app", false), "pusher": ada, "sender": ada,
	})
}

func change(c forgetest.Change) *forge.Delivery {
	home := repository(1001, "team/app", false)
	head, headID := any(home), 1001
	if c.Fork {
		head, headID = repository(424242, "eve/app", true), 424242
	}
	if c.Gone {
		head = nil
	}
	action := map[string]string{"opened": "opened", "pushed": "synchronized", "closed": "closed", "merged": "closed"}[c.What]
	state := "open"
	if action == "closed" {
		state = "closed"
	}
	return delivery("pull_request", object{
		"action": action, "number": 17, "repository": home, "sender": ada, "commit_id": "", "review": nil,
		"pull_request": object{
			"id": 99, "number": 17, "state": state, "title": c.Title, "user": ada, "body": "", "draft": false, "labels": []any{},
			"html_url": "https://git.example.com/team/app/pulls/17", "merged": c.What == "merged", "merge_base": forgetest.Base,
			"head": object{"label": c.Head, "ref": c.Head, "sha": c.SHA, "repo_id": headID, "repo": head},
			"base": object{"label": c.Base, "ref": c.Base, "sha": forgetest.Base, "repo_id": 1001, "repo": home},
		},
	})
}

func host() forgetest.Host {
	test := push(forgetest.Push{Ref: "refs/heads/main", Before: forgetest.After, After: forgetest.After, Message: "m"})
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's a secret"),
		Repository: "team/app",
		Sign:       sign,
		Push:       push,
		Change:     change,
		Ping:       test,
		Other:      delivery("issue_comment", object{"action": "created", "is_pull": true, "comment": object{"body": "hi"}, "repository": repository(1001, "team/app", false), "sender": ada}),
		Fake:       func(t *testing.T) *forgetest.Fake { return fake(t, true) },
		Words: map[forge.State]string{
			forge.Pending: "pending", forge.Running: "pending", forge.Success: "success", forge.Failure: "failure",
			forge.Error: "error", forge.Cancelled: "error", forge.Skipped: "success",
		},
		Releases: true,
		Drafts:   true,
	}
}

func TestForge(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, host())
}

// TestTokenThatMayNotReadItsUser cannot tell whose a comment is, and asks the host by
// editing it.
func TestTokenThatMayNotReadItsUser(t *testing.T) {
	t.Parallel()
	f := fake(t, false)
	g := New(Options{Client: http.DefaultClient})
	c := &forge.Comment{Number: "17", Marker: "m", Body: "one"}
	f.Say("17", "<!-- m -->\ntrust me")
	for range 2 {
		if _, err := g.Comment(t.Context(), f.Remote, c); err != nil {
			t.Fatal(err)
		}
		c.Body = "two"
	}
	if got := f.Comments("17"); len(got) != 2 || !strings.Contains(got[0], "trust me") || !strings.Contains(got[1], "two") {
		t.Errorf("%q", got)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	g, secret := New(Options{Client: http.DefaultClient}), []byte("s")
	signed := push(forgetest.Push{Ref: "refs/heads/main", Before: forgetest.Before, After: forgetest.After})
	sign(signed, secret, "1")
	right := signed.Header["X-Gitea-Signature"]
	wrong := strings.Repeat("0", 64)
	for _, c := range []struct {
		header map[string]string
		ok     bool
	}{
		{map[string]string{"X-Gitea-Signature": right}, true},
		{map[string]string{"X-Forgejo-Signature": right, "X-Gitea-Signature": right}, true},
		{map[string]string{"X-Hub-Signature-256": "sha256=" + right}, true},
		{map[string]string{"X-Hub-Signature-256": "sha256=" + right, "X-Gitea-Signature": wrong}, false},
		{map[string]string{"X-Hub-Signature-256": "sha256=" + wrong, "X-Gitea-Signature": right}, false},
		{map[string]string{"X-Gitea-Signature": "sha256="}, false},
		{map[string]string{"X-Gogs-Signature": right}, false},
		{nil, false},
	} {
		if err := g.Verify(&forge.Delivery{Header: c.header, Body: signed.Body}, secret); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.header, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ api, url, want string }{
		{"https://git.example.com", "", "https://git.example.com/api/v1"},
		{"https://git.example.com/api/v1/", "", "https://git.example.com/api/v1"},
		{"", "git@git.example.com:team/app.git", "https://git.example.com/api/v1"},
		{"", "https://git.example.com:3000/team/app.git", "https://git.example.com:3000/api/v1"},
		{"", "/srv/git/app", ""},
	} {
		api, _, err := New(Options{Client: http.DefaultClient}).api(&forge.Remote{API: c.api, URL: c.url, Repository: "team/app", Token: "x"})
		if c.want == "" && err == nil || c.want != "" && (err != nil || api.Base != c.want) {
			t.Errorf("%q, %q: %v, %v", c.api, c.url, api, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	h := host()
	for _, d := range h.Samples() {
		f.Add(d.Header["X-Gitea-Event"], d.Body)
	}
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		forgetest.Fuzz(t, h.Forge, &forge.Delivery{Header: map[string]string{"X-Gitea-Event": event}, Body: body})
	})
}

// fake is Gitea, as far as it is spoken to. A token that may not see its user may
// not change what others wrote either.
func fake(t *testing.T, knowsMe bool) *forgetest.Fake {
	const (
		repo  = "/api/v1/repos/team/app"
		token = "0a1b2c3d4e5f"
	)
	m := &forgetest.Mux{}
	statuses := map[string][]object{}
	var comments, releases []object
	files := map[string]string{}
	me, eve := object{"id": 6, "login": "robot"}, object{"id": 66, "login": "eve"}

	m.On("GET /api/v1/user", func(*http.Request, object) (int, any) {
		if !knowsMe {
			return 403, object{"message": "token does not have at least one of required scope(s): [read:user]"}
		}
		return 200, me
	})
	m.On("POST "+repo+"/statuses/{sha}", func(r *http.Request, in object) (int, any) {
		key := fmt.Sprint(r.PathValue("sha"), in["context"])
		in["id"] = m.ID()
		statuses[key] = append(statuses[key], in)
		return 201, in
	})
	// Gitea gives this list whole, whatever page is asked for.
	m.On("GET "+repo+"/issues/17/comments", func(*http.Request, object) (int, any) { return 200, append([]object{}, comments...) })
	m.On("POST "+repo+"/issues/17/comments", func(_ *http.Request, in object) (int, any) {
		in["id"], in["user"] = m.ID(), me
		comments = append(comments, in)
		return 201, in
	})
	m.On("PATCH "+repo+"/issues/comments/{id}", func(r *http.Request, in object) (int, any) {
		c := forgetest.ByID(comments, r.PathValue("id"))
		if c == nil {
			return forgetest.NotFound()
		}
		if c["user"].(object)["id"] != me["id"] {
			return 403, object{"message": "user should be the poster"}
		}
		return 200, forgetest.Merge(c, in)
	})
	m.On("GET "+repo+"/pulls/17", func(*http.Request, object) (int, any) {
		return 200, object{"number": 17, "labels": []any{object{"name": "bug"}, object{"name": "area/api"}}}
	})
	m.On("GET "+repo+"/releases/tags/{tag}", func(r *http.Request, _ object) (int, any) {
		for _, one := range releases {
			if one["tag_name"] == r.PathValue("tag") && one["draft"] == false {
				return 200, one
			}
		}
		return forgetest.NotFound()
	})
	m.On("GET "+repo+"/releases", func(r *http.Request, _ object) (int, any) {
		return 200, forgetest.Page(r, "limit", releases)
	})
	m.On("POST "+repo+"/releases", func(_ *http.Request, in object) (int, any) {
		in["id"], in["html_url"], in["assets"] = m.ID(), fmt.Sprint("https://git.example.com/team/app/releases/tag/", in["tag_name"]), []object{}
		releases = append(releases, maps.Clone(in))
		return 201, in
	})
	m.On("PATCH "+repo+"/releases/{id}", func(r *http.Request, in object) (int, any) {
		return 200, forgetest.Merge(forgetest.ByID(releases, r.PathValue("id")), in)
	})
	m.On("POST "+repo+"/releases/{id}/assets", func(r *http.Request, _ object) (int, any) {
		file, header, err := r.FormFile("attachment")
		if err != nil || r.ContentLength <= 0 {
			return 500, object{"message": fmt.Sprint(err)}
		}
		text, _ := io.ReadAll(file)
		one, id := forgetest.ByID(releases, r.PathValue("id")), m.ID()
		files[strconv.Itoa(id)] = string(text)
		a := object{"id": id, "name": r.FormValue("name"), "size": len(text)}
		for _, other := range one["assets"].([]object) {
			if other["name"] == a["name"] { // which Gitea allows
				t.Errorf("two files of a release are called %s", a["name"])
			}
		}
		if a["name"] != header.Filename {
			return 422, object{"message": "two names"}
		}
		one["assets"] = append(one["assets"].([]object), a)
		return 201, a
	})
	front := forgetest.NewFront(t, "token "+token, m)
	return &forgetest.Fake{
		Front:  front,
		Remote: &forge.Remote{API: front.URL, Repository: "team/app", Token: token},
		Status: func(sha, context string) (word, url string, n int) {
			m.Lock()
			defer m.Unlock()
			// All are kept, and the newest of a context is shown.
			all := statuses[sha+context]
			if len(all) == 0 {
				return "", "", 0
			}
			newest := all[len(all)-1]
			return newest["state"].(string), newest["target_url"].(string), 1
		},
		Comments: func(string) (texts []string) {
			m.Lock()
			defer m.Unlock()
			for _, c := range comments {
				texts = append(texts, c["body"].(string))
			}
			return texts
		},
		Say: func(_, text string) {
			m.Lock()
			defer m.Unlock()
			comments = append(comments, object{"id": m.ID(), "body": text, "user": eve})
		},
		Forget: func(string) {
			m.Lock()
			defer m.Unlock()
			comments = nil
		},
		Release: func(tag string) (draft bool, held map[string]string, ok bool) {
			m.Lock()
			defer m.Unlock()
			for _, one := range releases {
				if one["tag_name"] == tag {
					held = map[string]string{}
					for _, a := range one["assets"].([]object) {
						held[a["name"].(string)] = files[fmt.Sprint(a["id"])]
					}
					return one["draft"] == true, held, true
				}
			}
			return false, nil, false
		},
	}
}
