package azure

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/forgetest"
)

type object = forgetest.Object

// delivery has no ID but in its body.
func delivery(event string, resource any) *forge.Delivery {
	text, err := json.Marshal(object{
		"subscriptionId": "5f7a", "notificationId": 3, "id": "03c1", "eventType": event, "publisherId": "tfs", "resource": resource, "resourceVersion": "1.0",
		"resourceContainers": object{"collection": object{"id": "c1", "baseUrl": "https://dev.azure.com/acme/"}, "project": object{"id": "p1", "baseUrl": "https://dev.azure.com/acme/"}},
	})
	if err != nil {
		panic(err)
	}
	return &forge.Delivery{Header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, Body: text}
}

func sign(d *forge.Delivery, secret []byte, id string) {
	d.Header["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString(append([]byte("fairlead:"), secret...))
	d.Body = []byte(strings.Replace(string(d.Body), `"id":"03c1"`, `"id":"`+id+`"`, 1))
}

var ada = object{"id": "7", "displayName": "Ada Lovelace", "uniqueName": "ada"}

func repo(id, project, name string) object {
	page := "https://dev.azure.com/acme/" + project + "/_git/" + name
	return object{
		"id": id, "name": name, "url": "https://dev.azure.com/acme/_apis/git/repositories/" + id, "defaultBranch": "refs/heads/main", "remoteUrl": strings.Replace(page, "://", "://acme@", 1), "webUrl": page,
		"project": object{"id": "p1", "name": project, "state": "wellFormed", "visibility": "private"},
	}
}

func ofPush(p forgetest.Push) *forge.Delivery {
	commits := []any{object{"commitId": p.After, "author": object{"name": "Ada", "email": "ada@example.com", "date": "2026-01-02T03:04:05Z"}, "comment": p.Message, "url": "https://dev.azure.com/acme/commit"}}
	if p.After == forgetest.Zeros {
		commits = []any{}
	}
	return delivery("git.push", object{
		"commits": commits, "refUpdates": []any{object{"name": p.Ref, "oldObjectId": p.Before, "newObjectId": p.After}},
		"repository": repo("r1001", "team", "app"), "pushedBy": ada, "pushId": 14, "date": "2026-01-02T03:04:05Z",
	})
}

func ofChange(c forgetest.Change) *forge.Delivery {
	event, status := "git.pullrequest.updated", "active"
	switch c.What {
	case "opened":
		event = "git.pullrequest.created"
	case "closed":
		status = "abandoned"
	case "merged":
		status = "completed"
	}
	r := object{
		"repository": repo("r1001", "team", "app"), "pullRequestId": 17, "status": status, "createdBy": ada, "title": c.Title, "description": "", "isDraft": false,
		"sourceRefName": "refs/heads/" + c.Head, "targetRefName": "refs/heads/" + c.Base, "mergeStatus": "succeeded",
		"lastMergeSourceCommit": object{"commitId": c.SHA}, "lastMergeTargetCommit": object{"commitId": forgetest.Base}, "lastMergeCommit": object{"commitId": forgetest.Before},
		"_links": object{"web": object{"href": "https://dev.azure.com/acme/team/_git/app/pullrequest/17"}},
	}
	if c.Fork {
		r["forkSource"] = object{"name": "refs/heads/" + c.Head, "repository": repo(forgetest.ForkID, "eve", "app")}
	}
	if c.Gone {
		r["forkSource"] = object{"name": "refs/heads/" + c.Head, "repository": nil}
	}
	return delivery(event, r)
}

func host() forgetest.Host {
	return forgetest.Host{
		Forge:      New(Options{Client: http.DefaultClient}),
		Secret:     []byte("it's: a secret"),
		Repository: "acme/team/app",
		Sign:       sign,
		Push:       ofPush,
		Change:     ofChange,
		Other:      delivery("workitem.commented", object{"id": 5}),
		Fake:       fake,
		Words: map[forge.State]string{
			forge.Pending: "pending", forge.Running: "pending", forge.Success: "succeeded", forge.Failure: "failed",
			forge.Error: "error", forge.Cancelled: "error", forge.Skipped: "notApplicable",
		},
	}
}

func TestForge(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, host())
}

func TestVerify(t *testing.T) {
	t.Parallel()
	a := New(Options{Client: http.DefaultClient})
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for _, c := range []struct {
		header string
		ok     bool
	}{
		{basic("anybody:s3cret"), true},
		{basic(":s3cret"), true},
		{strings.Replace(basic("x:s3cret"), "Basic", "basic", 1), true},
		{basic("s3cret"), false},
		{basic("s3cret:"), false},
		{basic("x:s3cret2"), false},
		{basic("x:"), false},
		{"Bearer s3cret", false},
		{"s3cret", false},
		{"Basic ***", false},
		{"", false},
	} {
		if err := a.Verify(&forge.Delivery{Header: map[string]string{"Authorization": c.header}}, []byte("s3cret")); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.header, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	a := New(Options{Client: http.DefaultClient})
	for _, c := range []struct{ api, url, repository, base, path string }{
		{"", "", "acme/team/app", "https://dev.azure.com", "/acme/team/_apis/git/repositories/app"},
		{"", "https://acme@dev.azure.com/acme/my%20team/_git/my%20app", "", "https://dev.azure.com", "/acme/my%20team/_apis/git/repositories/my%20app"},
		{"", "https://dev.azure.com/acme/_git/app", "", "https://dev.azure.com", "/acme/app/_apis/git/repositories/app"},
		{"", "git@ssh.dev.azure.com:v3/acme/team/app", "", "https://dev.azure.com", "/acme/team/_apis/git/repositories/app"},
		{"", "https://acme.visualstudio.com/DefaultCollection/team/_git/app", "", "https://dev.azure.com", "/acme/team/_apis/git/repositories/app"},
		{"", "https://acme.visualstudio.com/team/_git/app", "", "https://dev.azure.com", "/acme/team/_apis/git/repositories/app"},
		{"", "https://tfs.example.com/tfs/DefaultCollection/team/_git/app", "", "https://tfs.example.com/tfs", "/DefaultCollection/team/_apis/git/repositories/app"},
		{"https://tfs.example.com/tfs", "", "DefaultCollection/team/app", "https://tfs.example.com/tfs", "/DefaultCollection/team/_apis/git/repositories/app"},
	} {
		api, path, err := a.api(&forge.Remote{API: c.api, URL: c.url, Repository: c.repository, Token: "x"})
		if err != nil || api.Base != c.base || path != c.path {
			t.Errorf("%+v: %+v, %q, %v", c, api, path, err)
		}
	}
	for address, want := range map[string]string{
		"https://dev.azure.com/acme/": "acme", "https://acme.visualstudio.com/": "acme", "https://tfs.example.com/tfs/DefaultCollection/": "DefaultCollection",
		"https://dev.azure.com/acme/team/_git/app": "acme", "https://tfs.example.com/tfs/Main/team/_git/app": "Main", "": "", "x": "",
	} {
		if got := ofOrganisation(address); got != want {
			t.Errorf("%q: %q", address, got)
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

// fake is Azure DevOps, as far as it is spoken to. Only its author may edit a comment.
func fake(t *testing.T) *forgetest.Fake {
	const (
		below = "/acme/team/_apis/git/repositories/app"
		token = "0a1b2c3d4e5f"
	)
	m := &forgetest.Mux{}
	statuses := map[string]object{}
	var threads []object
	on := func(pattern string, do func(r *http.Request, in object) (int, any)) {
		method, path, _ := strings.Cut(pattern, " ")
		m.On(method+" "+below+path, func(r *http.Request, in object) (int, any) {
			if r.FormValue("api-version") == "" {
				return 400, object{"message": "No api-version was supplied"}
			}
			return do(r, in)
		})
	}
	on("POST /commits/{sha}/statuses", func(r *http.Request, in object) (int, any) {
		context := in["context"].(object)
		in["id"] = m.ID()
		statuses[fmt.Sprint(r.PathValue("sha"), context["genre"], "/", context["name"])] = in
		return 201, in
	})
	on("GET /pullRequests/17/threads", func(*http.Request, object) (int, any) {
		return 200, object{"value": append([]object{}, threads...), "count": len(threads)}
	})
	add := func(by, text string) object {
		thread := object{"id": m.ID(), "isDeleted": false, "status": "closed", "comments": []any{object{"id": 1, "content": text, "author": by}}}
		threads = append(threads, thread)
		return thread
	}
	on("POST /pullRequests/17/threads", func(_ *http.Request, in object) (int, any) {
		text := in["comments"].([]any)[0].(object)["content"].(string)
		if len(text) > maxBody {
			return 400, object{"message": "too long"}
		}
		return 200, add("robot", text)
	})
	on("PATCH /pullRequests/17/threads/{thread}/comments/1", func(r *http.Request, in object) (int, any) {
		thread := forgetest.ByID(threads, r.PathValue("thread"))
		if thread == nil {
			return forgetest.NotFound()
		}
		comment := thread["comments"].([]any)[0].(object)
		if comment["author"] != "robot" {
			return 403, object{"message": "TF401027: You need the Git 'PullRequestContribute' permission"}
		}
		return 200, forgetest.Merge(comment, in)
	})
	front := forgetest.NewFront(t, "Basic "+base64.StdEncoding.EncodeToString([]byte(":"+token)), m)
	return &forgetest.Fake{
		Front:  front,
		Remote: &forge.Remote{API: front.URL, Repository: "acme/team/app", Token: token},
		Status: func(sha, context string) (word, url string, n int) {
			m.Lock()
			defer m.Unlock()
			if s := statuses[sha+context]; s != nil {
				return s["state"].(string), s["targetUrl"].(string), 1
			}
			return "", "", 0
		},
		Comments: func(string) (texts []string) {
			m.Lock()
			defer m.Unlock()
			for _, t := range threads {
				texts = append(texts, t["comments"].([]any)[0].(object)["content"].(string))
			}
			return texts
		},
		Say: func(_, text string) {
			m.Lock()
			defer m.Unlock()
			add("eve", text)
		},
		Forget: func(string) {
			m.Lock()
			defer m.Unlock()
			threads = nil
		},
	}
}
