package bitbucket

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

func cloudPush(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	var all []*forge.Told
	for _, c := range o.List("push", "changes") {
		t := &forge.Told{
			Delivery: d, Event: event, Kind: forge.Push,
			Repository: cloudRepository(o.Object("repository")), Sender: cloudPerson(o.Object("actor")),
			Before: c.Text("old", "target", "hash"), After: c.Text("new", "target", "hash"), Forced: c.Bool("forced"),
		}
		side := c.Object("new")
		if side == nil {
			side = c.Object("old")
		}
		switch side.Text("type") {
		case "branch":
			t.Ref = "refs/heads/" + side.Text("name")
		case "tag", "annotated_tag":
			t.Ref = "refs/tags/" + side.Text("name")
		default:
			continue // a bookmark of Mercurial, once
		}
		if t.After != "" {
			newest := cloudCommit(c.Object("new", "target"))
			t.Commits = []forge.Commit{newest}
			for _, one := range c.List("commits") {
				if commit := cloudCommit(one); commit.SHA != newest.SHA {
					t.Commits = append(t.Commits, commit)
				}
			}
			slices.Reverse(t.Commits) // the newest comes first here, and last elsewhere
		}
		all = append(all, t)
	}
	return several(d, event, all)
}

func cloudChange(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	p := o.Object("pullrequest")
	t := &forge.Told{
		Delivery: d, Event: event, Kind: forge.Change,
		Repository: cloudRepository(o.Object("repository")), Sender: cloudPerson(o.Object("actor")),
		Number: p.ID("id"), Title: p.Text("title"), Text: p.Text("description"), URL: p.Text("links", "html", "href"),
		Author: cloudPerson(p.Object("author")), Draft: p.Bool("draft"), State: "open",
		Head: cloudTip(p.Object("source")), Base: cloudTip(p.Object("destination")),
		MergeCommitSHA: p.Text("merge_commit", "hash"),
	}
	switch event {
	case "pullrequest:created":
		t.Action = "opened"
	case "pullrequest:updated":
		// It may be new commits, or only another title: it is not said which, and
		// a run too many is better than one too few.
		t.Action = "synchronize"
	default:
		t.Kind, t.Action, t.State = forge.Closed, "closed", "closed"
		t.Merged = event == "pullrequest:fulfilled"
	}
	if t.Base.Repository.ID != t.Repository.ID {
		return forge.Ignored(d, forge.Other, event), nil
	}
	return t.Hook()
}

func cloudRepository(o forge.Object) forge.Repository {
	page := o.Text("links", "html", "href")
	r := forge.Repository{
		ID: o.Text("uuid"), Name: o.Text("full_name"), URL: page,
		DefaultBranch: o.Text("mainbranch", "name"), Private: o.Bool("is_private"),
	}
	if page != "" { // payloads tell of the page alone
		r.CloneURL = page + ".git"
		r.SSHURL = "git@bitbucket.org:" + r.Name + ".git"
	}
	return r
}

func cloudPerson(o forge.Object) forge.Person {
	return forge.Person{ID: o.Text("uuid"), Login: o.Text("nickname"), Name: o.Text("display_name")}
}

func cloudTip(o forge.Object) forge.Tip {
	return forge.Tip{Ref: o.Text("branch", "name"), SHA: o.Text("commit", "hash"), Repository: cloudRepository(o.Object("repository"))}
}

func cloudCommit(o forge.Object) forge.Commit {
	c := forge.Commit{SHA: o.Text("hash"), Message: o.Text("message"), Time: o.Text("date"), URL: o.Text("links", "html", "href"), Author: cloudPerson(o.Object("author", "user"))}
	name, mail, _ := strings.Cut(o.Text("author", "raw"), "<") // "Ada Lovelace <ada@example.com>"
	c.Author.Email = strings.TrimSuffix(strings.TrimSpace(mail), ">")
	if c.Author.Name == "" {
		c.Author.Name = strings.TrimSpace(name)
	}
	return c
}

// linkMarker hides a marker where HTML is shown as it is written: in the
// definition of a link that nothing refers to.
const linkMarker = "[//]: # (%s)\n"

func (b *remote) cloudComment(ctx context.Context, c *forge.Comment) (string, error) {
	list := b.path + "/pullrequests/" + c.Number + "/comments"
	text := map[string]any{"content": map[string]string{"raw": c.Marked(linkMarker, maxBody)}}
	find := func() (refs []string, err error) {
		next, query := list, url.Values{"pagelen": {"100"}}
		err = forge.Pages(func(int) (bool, error) {
			var page struct {
				Next   string `json:"next"`
				Values []struct {
					ID      forge.Number `json:"id"`
					Deleted bool         `json:"deleted"`
					Content struct {
						Raw string `json:"raw"`
					} `json:"content"`
				} `json:"values"`
			}
			_, err := b.Do(ctx, &forge.Call{What: "read the comments on #" + c.Number, Method: http.MethodGet, Path: next, Query: query, Out: &page})
			for _, there := range page.Values {
				if !there.Deleted && c.Holds(linkMarker, there.Content.Raw) {
					refs = append(refs, string(there.ID))
				}
			}
			next, query = page.Next, nil
			return next != "", err
		})
		return refs, err
	}
	return forge.Sticky(c.Ref, find,
		func(ref string) error {
			_, err := b.Do(ctx, &forge.Call{What: "change the comment on #" + c.Number, Method: http.MethodPut, Path: list + "/" + forge.Escape(ref), In: text})
			return err
		},
		func() (string, error) {
			var made struct {
				ID forge.Number `json:"id"`
			}
			_, err := b.Do(ctx, &forge.Call{What: "comment on #" + c.Number, Method: http.MethodPost, Path: list, In: text, Out: &made})
			return string(made.ID), err
		})
}

// downloads brings the files of a release to the downloads of the repository, which all
// releases share: each has the tag in its name. One of a name that is there already would be
// replaced without a word, so they are looked at first. Notes and drafts there are none.
func (b *remote) downloads(ctx context.Context, rel *forge.Release) (string, error) {
	if err := rel.Check(); err != nil {
		return "", err
	}
	if rel.Draft {
		return "", forge.ErrUnsupported
	}
	list := b.path + "/downloads"
	there := map[string]int64{}
	next, query := list, url.Values{"pagelen": {"100"}}
	err := forge.Pages(func(int) (bool, error) {
		var page struct {
			Next   string `json:"next"`
			Values []struct {
				Name string `json:"name"`
				Size int64  `json:"size"`
			} `json:"values"`
		}
		_, err := b.Do(ctx, &forge.Call{What: "read the downloads", Method: http.MethodGet, Path: next, Query: query, Out: &page})
		for _, v := range page.Values {
			there[v.Name] = v.Size
		}
		next, query = page.Next, nil
		return next != "", err
	})
	if err != nil {
		return "", err
	}
	named := *rel
	named.Assets = nil
	for _, a := range rel.Assets {
		a.Name = download(rel.Tag, a.Name)
		named.Assets = append(named.Assets, a)
	}
	missing, err := named.Missing(there)
	if err != nil {
		return "", err
	}
	for i := range missing {
		if _, err := b.Do(ctx, forge.Form(&missing[i], "files", &forge.Call{What: "upload " + missing[i].Name, Method: http.MethodPost, Path: list})); err != nil {
			return "", err
		}
	}
	return b.page + "/commits/tag/" + forge.Escape(rel.Tag), nil
}

// download is the name of a release's file among those of all releases.
func download(tag, name string) string { return strings.ReplaceAll(tag, "/", "-") + "-" + name }
