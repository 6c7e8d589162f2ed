package gitlab

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

const perPage = 100

func page(n int, more ...string) url.Values {
	q := url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

type release struct {
	Links struct {
		Self string `json:"self"`
	} `json:"_links"`
}

// packageName is that of the package in which the files of releases are kept.
const packageName = "release"

// Release implements [forge.Forge]. GitLab keeps no files with its releases but
// links, so the files go into a generic package of the tag's name, and are linked
// from the release. It has no drafts: a release that should not be seen
// yet is not made.
func (f *Forge) Release(ctx context.Context, r *forge.Remote, rel *forge.Release) (string, error) {
	api, project, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := rel.Check(); err != nil {
		return "", err
	}
	if rel.Draft {
		return "", forge.ErrUnsupported
	}
	files, err := upload(ctx, api, project, rel)
	if err != nil {
		return "", err
	}
	releases := project + "/releases"
	one := releases + "/" + url.PathEscape(rel.Tag)
	var there release
	_, err = api.Do(ctx, &forge.Call{What: "look for release " + rel.Tag, Method: http.MethodGet, Path: one, Out: &there})
	if forge.Code(err) == http.StatusNotFound {
		_, err = api.Do(ctx, &forge.Call{
			What: "make release " + rel.Tag, Method: http.MethodPost, Path: releases, Out: &there,
			In: map[string]any{"tag_name": rel.Tag, "ref": cmp.Or(rel.SHA, rel.Tag), "name": cmp.Or(rel.Title, rel.Tag), "description": rel.Notes},
		})
	}
	if err != nil {
		return "", err
	}
	linked := map[string]bool{}
	err = forge.Pages(func(n int) (bool, error) {
		var list []struct {
			Name string `json:"name"`
		}
		_, err := api.Do(ctx, &forge.Call{What: "read the files of release " + rel.Tag, Method: http.MethodGet, Path: one + "/assets/links", Out: &list, Query: page(n)})
		for _, l := range list {
			linked[l.Name] = true
		}
		return len(list) == perPage, err
	})
	if err != nil {
		return "", err
	}
	for _, a := range rel.Assets {
		if linked[a.Name] {
			continue
		}
		_, err := api.Do(ctx, &forge.Call{
			What: "link " + a.Name + " to release " + rel.Tag, Method: http.MethodPost, Path: one + "/assets/links",
			In: map[string]string{"name": a.Name, "url": api.Base + files + "/" + url.PathEscape(a.Name), "link_type": "package"},
		})
		if err != nil {
			return "", err
		}
	}
	return there.Links.Self, nil
}

// upload puts the files that are not there yet into the package, and returns
// its path.
func upload(ctx context.Context, api *forge.API, project string, rel *forge.Release) (path string, err error) {
	version := version(rel.Tag)
	path = project + "/packages/generic/" + packageName + "/" + version
	if len(rel.Assets) == 0 {
		return path, nil
	}
	there, err := packaged(ctx, api, project, version)
	if err != nil {
		return "", err
	}
	missing, err := rel.Missing(there)
	if err != nil {
		return "", err
	}
	for _, a := range missing {
		_, err := api.Do(ctx, &forge.Call{
			What: "upload " + a.Name, Method: http.MethodPut, Path: path + "/" + url.PathEscape(a.Name),
			Body: a.Open, Size: a.Size, Type: cmp.Or(a.Type, "application/octet-stream"),
		})
		if err != nil {
			return "", err
		}
	}
	return path, nil
}

// packaged is the files of the package of that version, by name and size.
func packaged(ctx context.Context, api *forge.API, project, version string) (map[string]int64, error) {
	const what = "look for the files of a release"
	var packages []struct {
		ID      forge.Number `json:"id"`
		Version string       `json:"version"`
	}
	_, err := api.Do(ctx, &forge.Call{
		What: what, Method: http.MethodGet, Path: project + "/packages", Out: &packages,
		Query: page(1, "package_type", "generic", "package_name", packageName, "package_version", version),
	})
	if err != nil {
		return nil, err
	}
	there := map[string]int64{}
	for _, p := range packages {
		if p.Version != version {
			continue
		}
		err := forge.Pages(func(n int) (bool, error) {
			var list []struct {
				Name string `json:"file_name"`
				Size int64  `json:"size"`
			}
			_, err := api.Do(ctx, &forge.Call{What: what, Method: http.MethodGet, Path: project + "/packages/" + string(p.ID) + "/package_files", Out: &list, Query: page(n)})
			for _, f := range list {
				there[f.Name] = f.Size
			}
			return len(list) == perPage, err
		})
		if err != nil {
			return nil, err
		}
	}
	return there, nil
}

// version is a tag as the version of a package, which has fewer characters.
func version(tag string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+.-_", r) {
			return r
		}
		return '-'
	}, tag)
}

// Labels implements [forge.Labeller].
func (f *Forge) Labels(ctx context.Context, r *forge.Remote, number string) ([]string, error) {
	api, project, err := f.api(r)
	if err != nil {
		return nil, err
	}
	var out struct {
		Labels []string `json:"labels"`
	}
	_, err = api.Do(ctx, &forge.Call{What: "read the labels of !" + number, Method: http.MethodGet, Path: project + "/merge_requests/" + url.PathEscape(number), Out: &out})
	return out.Labels, err
}
