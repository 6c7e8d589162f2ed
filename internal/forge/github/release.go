package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

type release struct {
	ID    int64  `json:"id"`
	Tag   string `json:"tag_name"`
	Draft bool   `json:"draft"`
	URL   string `json:"html_url"`
}

type asset struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	State string `json:"state"` // "uploaded", or "starter": begun and not ended
}

// Release implements [forge.Forge]. A release is a draft until all of its files
// are there, so that nobody sees a half.
func (f *Forge) Release(ctx context.Context, r *forge.Remote, rel *forge.Release) (string, error) {
	api, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := rel.Check(); err != nil {
		return "", err
	}
	repo := "/repos/" + forge.Escape(r.Repository)
	there, err := find(ctx, api, repo, rel.Tag)
	if err != nil {
		return "", err
	}
	if there == nil {
		there = &release{}
		in := map[string]any{
			"tag_name": rel.Tag, "name": cmp.Or(rel.Title, rel.Tag), "body": rel.Notes,
			"draft": rel.Draft || len(rel.Assets) > 0, "prerelease": rel.Prerelease,
		}
		if rel.SHA != "" {
			in["target_commitish"] = rel.SHA
		}
		if _, err := api.Do(ctx, &forge.Call{What: "make release " + rel.Tag, Method: http.MethodPost, Path: repo + "/releases", In: in, Out: there}); err != nil {
			return "", err
		}
	}
	path := fmt.Sprintf("%s/releases/%d", repo, there.ID)
	if err := upload(ctx, api, path, rel); err != nil {
		return "", err
	}
	if there.Draft && !rel.Draft {
		in := map[string]any{"draft": false, "prerelease": rel.Prerelease, "tag_name": rel.Tag}
		if _, err := api.Do(ctx, &forge.Call{What: "publish release " + rel.Tag, Method: http.MethodPatch, Path: path, In: in, Out: there}); err != nil {
			return "", err
		}
	}
	return there.URL, nil
}

// find finds the release of a tag. Drafts are not found by their tag but stand in
// the list, newest first.
func find(ctx context.Context, api *forge.API, repo, tag string) (found *release, err error) {
	what := "look for release " + tag
	var one release
	_, err = api.Do(ctx, &forge.Call{What: what, Method: http.MethodGet, Path: repo + "/releases/tags/" + forge.Escape(tag), Out: &one})
	if err == nil {
		return &one, nil
	}
	if forge.Code(err) != http.StatusNotFound {
		return nil, err
	}
	err = forge.Pages(func(n int) (bool, error) {
		var list []release
		_, err := api.Do(ctx, &forge.Call{
			What: what, Method: http.MethodGet, Path: repo + "/releases", Out: &list,
			Query: url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}},
		})
		for i := range list {
			if list[i].Tag == tag {
				found = &list[i]
				return false, nil
			}
		}
		return len(list) == perPage, err
	})
	return found, err
}

func upload(ctx context.Context, api *forge.API, path string, rel *forge.Release) error {
	if len(rel.Assets) == 0 {
		return nil
	}
	there := map[string]int64{}
	err := forge.Pages(func(n int) (bool, error) {
		var list []asset
		_, err := api.Do(ctx, &forge.Call{
			What: "read the files of release " + rel.Tag, Method: http.MethodGet, Path: path + "/assets", Out: &list,
			Query: url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}},
		})
		if err != nil {
			return false, err
		}
		for _, a := range list {
			if a.State != "starter" {
				there[a.Name] = a.Size
				continue
			}
			remove := fmt.Sprintf("%s/assets/%d", path[:strings.LastIndexByte(path, '/')], a.ID)
			if _, err := api.Do(ctx, &forge.Call{What: "remove the broken file " + a.Name, Method: http.MethodDelete, Path: remove}); err != nil && forge.Code(err) != http.StatusNotFound {
				return false, err
			}
		}
		return len(list) == perPage, nil
	})
	if err != nil {
		return err
	}
	missing, err := rel.Missing(there)
	if err != nil {
		return err
	}
	to := *api
	to.Base = uploads(api.Base)
	for _, a := range missing {
		_, err := to.Do(ctx, &forge.Call{
			What: "upload " + a.Name, Method: http.MethodPost, Path: path + "/assets", Query: url.Values{"name": {a.Name}},
			Body: a.Open, Size: a.Size, Type: cmp.Or(a.Type, "application/octet-stream"),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// uploads is where files go: another host than the API's, which an answer of
// the API names, too. It is worked out here so that no answer can say where
// the token is sent.
func uploads(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	if rest, ok := strings.CutPrefix(u.Host, "api."); ok && (u.Host == "api.github.com" || strings.HasSuffix(u.Host, ".ghe.com")) {
		u.Host = "uploads." + rest
		return u.String()
	}
	return strings.TrimSuffix(base, "/api/v3") + "/api/uploads"
}

// Labels implements [forge.Labeller].
func (f *Forge) Labels(ctx context.Context, r *forge.Remote, number string) ([]string, error) {
	api, err := f.api(r)
	if err != nil {
		return nil, err
	}
	var out struct {
		Labels []struct {
			Name string `json:"name"`
		} `json:"labels"`
	}
	_, err = api.Do(ctx, &forge.Call{What: "read the labels of #" + number, Method: http.MethodGet, Path: "/repos/" + forge.Escape(r.Repository) + "/pulls/" + url.PathEscape(number), Out: &out})
	var names []string
	for _, l := range out.Labels {
		names = append(names, l.Name)
	}
	return names, err
}
