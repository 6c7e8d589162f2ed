package gitea

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

type release struct {
	ID     int64  `json:"id"`
	Tag    string `json:"tag_name"`
	Draft  bool   `json:"draft"`
	URL    string `json:"html_url"`
	Assets []struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
	} `json:"assets"`
}

// Release implements [forge.Forge]. A release is a draft until all of its files
// are there, so that nobody sees a half.
func (f *Forge) Release(ctx context.Context, r *forge.Remote, rel *forge.Release) (string, error) {
	api, repo, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := rel.Check(); err != nil {
		return "", err
	}
	there, err := find(ctx, api, repo, rel.Tag)
	if err != nil {
		return "", err
	}
	body := map[string]any{
		"tag_name": rel.Tag, "target_commitish": rel.SHA, "name": cmp.Or(rel.Title, rel.Tag), "body": rel.Notes,
		"draft": rel.Draft || len(rel.Assets) > 0, "prerelease": rel.Prerelease,
	}
	if there == nil {
		there = &release{}
		if _, err := api.Do(ctx, &forge.Call{What: "make release " + rel.Tag, Method: http.MethodPost, Path: repo + "/releases", In: body, Out: there}); err != nil {
			return "", err
		}
	}
	path := fmt.Sprintf("%s/releases/%d", repo, there.ID)
	sizes := map[string]int64{}
	for _, a := range there.Assets {
		sizes[a.Name] = a.Size
	}
	missing, err := rel.Missing(sizes)
	if err != nil {
		return "", err
	}
	for i := range missing {
		if _, err := api.Do(ctx, forge.Form(&missing[i], "attachment", &forge.Call{
			What: "upload " + missing[i].Name, Method: http.MethodPost, Path: path + "/assets", Query: url.Values{"name": {missing[i].Name}},
		})); err != nil {
			return "", err
		}
	}
	if there.Draft && !rel.Draft {
		body["draft"] = false
		if _, err := api.Do(ctx, &forge.Call{What: "publish release " + rel.Tag, Method: http.MethodPatch, Path: path, In: body, Out: there}); err != nil {
			return "", err
		}
	}
	return there.URL, nil
}

// find finds the release of a tag. Drafts are not found by their tag, which need
// not be there yet, but stand in the list, newest first.
func find(ctx context.Context, api *forge.API, repo, tag string) (found *release, err error) {
	what := "look for release " + tag
	var one release
	_, err = api.Do(ctx, &forge.Call{What: what, Method: http.MethodGet, Path: repo + "/releases/tags/" + url.PathEscape(tag), Out: &one})
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
			Query: url.Values{"draft": {"true"}, "limit": {"50"}, "page": {strconv.Itoa(n)}},
		})
		for i := range list {
			if list[i].Tag == tag {
				found = &list[i]
				return false, nil
			}
		}
		return len(list) > 0, err // a host may give fewer a page than are asked for
	})
	return found, err
}

// Labels implements [forge.Labeller].
func (f *Forge) Labels(ctx context.Context, r *forge.Remote, number string) ([]string, error) {
	api, repo, err := f.api(r)
	if err != nil {
		return nil, err
	}
	var out struct {
		Labels []struct {
			Name string `json:"name"`
		} `json:"labels"`
	}
	_, err = api.Do(ctx, &forge.Call{What: "read the labels of #" + number, Method: http.MethodGet, Path: repo + "/pulls/" + url.PathEscape(number), Out: &out})
	var names []string
	for _, l := range out.Labels {
		names = append(names, l.Name)
	}
	return names, err
}
