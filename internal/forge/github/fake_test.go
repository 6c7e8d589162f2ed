package github

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/forgetest"
)

func escape(s string) string { return url.QueryEscape(s) }

// fake is GitHub, as far as it is spoken to.
type fake struct {
	front *forgetest.Front
	token string

	forgetest.Mux
	checks   []object
	notes    []annotation
	batch    int // most annotations in one request
	statuses map[string]object
	comments []object
	releases []object
	files    map[string]string // by ID
}

func newFake(t *testing.T, token string) *fake {
	f := &fake{token: token, statuses: map[string]object{}, files: map[string]string{}}
	handle := f.On
	const repo = "/api/v3/repos/team/app"
	app := strings.HasPrefix(token, "ghs_")
	refuse := func() (int, any) {
		return 403, object{"message": "You must authenticate via a GitHub App.", "status": "403"}
	}
	handle("GET /api/v3/user", func(*http.Request, object) (int, any) {
		if app {
			return 403, object{"message": "Resource not accessible by integration"}
		}
		return 200, f.me()
	})
	handle("GET "+repo+"/commits/{sha}/check-runs", func(r *http.Request, _ object) (int, any) {
		found := []object{}
		for _, c := range f.checks {
			if c["head_sha"] == r.PathValue("sha") && c["name"] == r.FormValue("check_name") {
				found = append(found, c)
			}
		}
		return 200, object{"total_count": len(found), "check_runs": forgetest.Page(r, "per_page", found)}
	})
	handle("POST "+repo+"/check-runs", func(_ *http.Request, in object) (int, any) {
		if !app {
			return refuse()
		}
		in["id"] = f.ID()
		f.checks = append(f.checks, in)
		return 201, in
	})
	handle("PATCH "+repo+"/check-runs/{id}", func(r *http.Request, in object) (int, any) {
		c := forgetest.ByID(f.checks, r.PathValue("id"))
		if c == nil {
			return forgetest.NotFound()
		}
		forgetest.Merge(c, in)
		if output, ok := in["output"].(object); ok {
			text, _ := json.Marshal(output["annotations"])
			var more []annotation
			_ = json.Unmarshal(text, &more)
			f.notes = append(f.notes, more...)
			f.batch = max(f.batch, len(more))
		}
		return 200, c
	})
	handle("GET "+repo+"/check-runs/{id}/annotations", func(r *http.Request, _ object) (int, any) {
		return 200, forgetest.Page(r, "per_page", f.notes)
	})
	handle("POST "+repo+"/statuses/{sha}", func(r *http.Request, in object) (int, any) {
		f.statuses[fmt.Sprint(r.PathValue("sha"), in["context"])] = in
		return 201, in
	})
	handle("GET "+repo+"/issues/17/comments", func(r *http.Request, _ object) (int, any) { return 200, forgetest.Page(r, "per_page", f.comments) })
	handle("POST "+repo+"/issues/17/comments", func(_ *http.Request, in object) (int, any) {
		if body, _ := in["body"].(string); len(body) > maxBody {
			return 422, object{"message": "Validation Failed", "errors": []any{object{"field": "body", "code": "too_long"}}}
		}
		in["id"], in["user"] = f.ID(), f.me()
		f.comments = append(f.comments, in)
		return 201, in
	})
	handle("PATCH "+repo+"/issues/comments/{id}", func(r *http.Request, in object) (int, any) {
		c := forgetest.ByID(f.comments, r.PathValue("id"))
		if c == nil {
			return forgetest.NotFound()
		}
		c["body"] = in["body"]
		return 200, c
	})
	handle("GET "+repo+"/pulls/17", func(*http.Request, object) (int, any) {
		return 200, object{"number": 17, "labels": []any{object{"name": "bug"}, object{"name": "area/api"}}}
	})
	handle("GET "+repo+"/releases/{what}/{of}", func(r *http.Request, _ object) (int, any) {
		if r.PathValue("of") == "assets" {
			return 200, forgetest.Page(r, "per_page", forgetest.ByID(f.releases, r.PathValue("what"))["assets"].([]object))
		}
		for _, one := range f.releases {
			if one["tag_name"] == r.PathValue("of") && one["draft"] == false {
				return 200, one
			}
		}
		return forgetest.NotFound()
	})
	handle("GET "+repo+"/releases", func(r *http.Request, _ object) (int, any) { return 200, forgetest.Page(r, "per_page", f.releases) })
	handle("POST "+repo+"/releases", func(_ *http.Request, in object) (int, any) {
		in["id"], in["html_url"], in["assets"] = f.ID(), fmt.Sprint("https://github.com/team/app/releases/tag/", in["tag_name"]), []object{}
		f.releases = append(f.releases, in)
		return 201, in
	})
	handle("PATCH "+repo+"/releases/{id}", func(r *http.Request, in object) (int, any) {
		return 200, forgetest.Merge(forgetest.ByID(f.releases, r.PathValue("id")), in)
	})
	handle("DELETE "+repo+"/releases/assets/{id}", func(r *http.Request, _ object) (int, any) {
		for _, one := range f.releases {
			var left []object
			for _, a := range one["assets"].([]object) {
				if fmt.Sprint(a["id"]) != r.PathValue("id") {
					left = append(left, a)
				}
			}
			one["assets"] = left
		}
		return 204, nil
	})
	handle("POST /api/uploads/repos/team/app/releases/{id}/assets", func(r *http.Request, _ object) (int, any) {
		one := forgetest.ByID(f.releases, r.PathValue("id"))
		for _, a := range one["assets"].([]object) {
			if a["name"] == r.FormValue("name") {
				return 422, object{"message": "Validation Failed", "errors": []any{object{"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}}}
			}
		}
		text, _ := io.ReadAll(r.Body)
		id := f.ID()
		f.files[fmt.Sprint(id)] = string(text)
		a := object{"id": id, "name": r.FormValue("name"), "size": len(text), "state": "uploaded"}
		one["assets"] = append(one["assets"].([]object), a)
		return 201, a
	})
	f.front = forgetest.NewFront(t, "Bearer "+token, f)
	return f
}

func (f *fake) me() object {
	if strings.HasPrefix(f.token, "ghs_") {
		return object{"login": "fairlead[bot]", "id": 5, "type": "Bot"}
	}
	return object{"login": "robot", "id": 6, "type": "User"}
}

func (f *fake) inside() *forgetest.Fake {
	return &forgetest.Fake{
		Front:  f.front,
		Remote: &forge.Remote{API: f.front.URL + "/api/v3", Repository: "team/app", Token: f.token},
		Status: func(sha, context string) (word, url string, n int) {
			f.Lock()
			defer f.Unlock()
			for _, c := range f.checks {
				if c["head_sha"] == sha && c["name"] == context {
					n++
					word, _ = c["status"].(string)
					if word == "completed" {
						word, _ = c["conclusion"].(string)
					}
					url, _ = c["details_url"].(string)
				}
			}
			if s, ok := f.statuses[sha+context]; ok {
				n++
				word, _ = s["state"].(string)
				url, _ = s["target_url"].(string)
			}
			return word, url, n
		},
		Comments: func(string) (texts []string) {
			f.Lock()
			defer f.Unlock()
			for _, c := range f.comments {
				texts = append(texts, c["body"].(string))
			}
			return texts
		},
		Say: func(_, text string) {
			f.Lock()
			defer f.Unlock()
			f.comments = append(f.comments, object{"id": f.ID(), "body": text, "user": object{"login": "eve", "id": 66, "type": "User"}})
		},
		Forget: func(string) {
			f.Lock()
			defer f.Unlock()
			f.comments = nil
		},
		Release: func(tag string) (draft bool, files map[string]string, ok bool) {
			f.Lock()
			defer f.Unlock()
			for _, one := range f.releases {
				if one["tag_name"] == tag {
					files = map[string]string{}
					for _, a := range one["assets"].([]object) {
						files[a["name"].(string)] = f.files[fmt.Sprint(a["id"])]
					}
					return one["draft"] == true, files, true
				}
			}
			return false, nil, false
		},
	}
}
