package github

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"user"`
}

// Comment implements [forge.Forge].
func (f *Forge) Comment(ctx context.Context, r *forge.Remote, c *forge.Comment) (string, error) {
	api, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", err
	}
	repo := "/repos/" + forge.Escape(r.Repository)
	text := map[string]string{"body": c.Marked(forge.HTMLMarker, maxBody)}
	return forge.Sticky(c.Ref,
		func() ([]string, error) { return ours(ctx, api, repo, c) },
		func(ref string) error {
			_, err := api.Do(ctx, &forge.Call{
				What: "change the comment on #" + c.Number, Method: http.MethodPatch, Path: repo + "/issues/comments/" + url.PathEscape(ref), In: text,
			})
			return err
		},
		func() (string, error) {
			var made comment
			_, err := api.Do(ctx, &forge.Call{
				What: "comment on #" + c.Number, Method: http.MethodPost, Path: repo + "/issues/" + c.Number + "/comments", In: text, Out: &made,
			})
			return strconv.FormatInt(made.ID, 10), err
		})
}

// ours are the comments that hold the marker and were not written by somebody
// else: a marker is seen by everybody, and may be written by everybody.
func ours(ctx context.Context, api *forge.API, repo string, c *forge.Comment) (refs []string, err error) {
	var me comment // its user, rather
	if _, err := api.Do(ctx, &forge.Call{What: "ask who the token is", Method: http.MethodGet, Path: "/user", Out: &me.User}); err != nil {
		if code := forge.Code(err); code != http.StatusForbidden && code != http.StatusNotFound {
			return nil, err
		}
		me.User.Login = "" // an app's token: it has no user, and comments as a bot
	}
	err = forge.Pages(func(n int) (bool, error) {
		var list []comment
		_, err := api.Do(ctx, &forge.Call{
			What: "read the comments on #" + c.Number, Method: http.MethodGet, Path: repo + "/issues/" + c.Number + "/comments", Out: &list,
			Query: url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}},
		})
		for _, there := range list {
			mine := there.User.Login == me.User.Login
			if me.User.Login == "" {
				mine = there.User.Type == "Bot"
			}
			if mine && c.Holds(forge.HTMLMarker, there.Body) {
				refs = append(refs, strconv.FormatInt(there.ID, 10))
			}
		}
		return len(list) == perPage, err
	})
	return refs, err
}
