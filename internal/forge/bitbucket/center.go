package bitbucket

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

func centerPush(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	var all []*forge.Told
	for _, c := range o.List("changes") {
		t := &forge.Told{
			Delivery: d, Event: event, Kind: forge.Push,
			Repository: centerRepository(o.Object("repository")), Sender: centerPerson(o.Object("actor")),
			Ref: c.Text("ref", "id"), Before: c.Text("fromHash"), After: c.Text("toHash"),
		}
		for _, one := range append(o.List("commits"), o.Object("toCommit")) { // newer versions tell
			if commit := centerCommit(one); commit.SHA == t.After && len(t.Commits) == 0 {
				t.Commits = append(t.Commits, commit)
			}
		}
		all = append(all, t)
	}
	return several(d, event, all)
}

func centerChange(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	p := o.Object("pullRequest")
	t := &forge.Told{
		Delivery: d, Event: event, Kind: forge.Change,
		Repository: centerRepository(p.Object("toRef", "repository")), Sender: centerPerson(o.Object("actor")),
		Number: p.ID("id"), Title: p.Text("title"), Text: p.Text("description"),
		Author: centerPerson(p.Object("author", "user")), Draft: p.Bool("draft"), State: "open",
		Head: centerTip(p.Object("fromRef")), Base: centerTip(p.Object("toRef")),
		MergeCommitSHA: p.Text("properties", "mergeCommit", "id"),
	}
	if links := p.List("links", "self"); len(links) > 0 {
		t.URL = links[0].Text("href")
	}
	t.Fetch = "refs/pull-requests/" + t.Number + "/from"
	switch event {
	case "pr:opened":
		t.Action = "opened"
	case "pr:from_ref_updated":
		t.Action = "synchronize"
	case "pr:modified", "pr:to_ref_updated":
		t.Action = "edited"
	default:
		t.Kind, t.Action, t.State = forge.Closed, "closed", "closed"
		t.Merged = event == "pr:merged"
	}
	return t.Hook()
}

func centerRepository(o forge.Object) forge.Repository {
	r := forge.Repository{ID: o.ID("id"), Name: o.Text("project", "key") + "/" + o.Text("slug"), Private: !o.Bool("public")}
	if links := o.List("links", "self"); len(links) > 0 {
		r.URL = strings.TrimSuffix(links[0].Text("href"), "/browse")
	}
	for _, l := range o.List("links", "clone") {
		switch l.Text("name") {
		case "http", "https":
			r.CloneURL = l.Text("href")
		case "ssh":
			r.SSHURL = l.Text("href")
		}
	}
	return r
}

func centerPerson(o forge.Object) forge.Person {
	return forge.Person{ID: o.ID("id"), Login: o.Text("name"), Name: o.Text("displayName"), Email: o.Text("emailAddress")}
}

func centerTip(o forge.Object) forge.Tip {
	return forge.Tip{
		Ref: strings.TrimPrefix(o.Text("id"), "refs/heads/"), SHA: o.Text("latestCommit"), Repository: centerRepository(o.Object("repository")),
	}
}

func centerCommit(o forge.Object) forge.Commit {
	return forge.Commit{SHA: o.Text("id"), Message: o.Text("message"), Author: forge.Person{Name: o.Text("author", "name"), Email: o.Text("author", "emailAddress")}}
}

// centerNote is a comment. Who edits one says which version of it they saw.
type centerNote struct {
	ID      forge.Number `json:"id"`
	Version int          `json:"version"`
	Text    string       `json:"text"`
}

func (b *remote) centerComment(ctx context.Context, c *forge.Comment) (string, error) {
	change := b.path + "/pull-requests/" + c.Number
	text := c.Marked(linkMarker, maxBody)
	find := func() (refs []string, err error) {
		start := 0
		err = forge.Pages(func(int) (bool, error) {
			var page struct {
				Last   bool `json:"isLastPage"`
				Next   int  `json:"nextPageStart"`
				Values []struct {
					Action  string     `json:"action"`
					Comment centerNote `json:"comment"`
				} `json:"values"`
			}
			_, err := b.Do(ctx, &forge.Call{
				What: "read the comments on #" + c.Number, Method: http.MethodGet, Path: change + "/activities", Out: &page,
				Query: url.Values{"limit": {"100"}, "start": {strconv.Itoa(start)}},
			})
			for _, there := range page.Values {
				if there.Action == "COMMENTED" && c.Holds(linkMarker, there.Comment.Text) {
					refs = append(refs, string(there.Comment.ID))
				}
			}
			more := !page.Last && page.Next > start
			start = page.Next
			return more, err
		})
		return refs, err
	}
	return forge.Sticky(c.Ref, find,
		func(ref string) error {
			one := change + "/comments/" + forge.Escape(ref)
			var there centerNote
			if _, err := b.Do(ctx, &forge.Call{What: "read the comment on #" + c.Number, Method: http.MethodGet, Path: one, Out: &there}); err != nil {
				return err
			}
			_, err := b.Do(ctx, &forge.Call{
				What: "change the comment on #" + c.Number, Method: http.MethodPut, Path: one, In: map[string]any{"text": text, "version": there.Version},
			})
			return err
		},
		func() (string, error) {
			var made centerNote
			_, err := b.Do(ctx, &forge.Call{What: "comment on #" + c.Number, Method: http.MethodPost, Path: change + "/comments", In: map[string]string{"text": text}, Out: &made})
			return string(made.ID), err
		})
}
