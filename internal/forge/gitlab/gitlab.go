// Package gitlab speaks to GitLab, the public one and those of one's own.
//
// Its payloads know neither the commit that a merge request goes on from nor, but for
// its author's number, who opened it. What they tell is translated into
// GitHub's words; what they do not tell is left out.
package gitlab

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

// Options says how to make a forge.
type Options struct {
	// Client makes all requests; nil is a guarded one, see [forge.NewClient].
	Client *http.Client
}

// Forge implements [forge.Forge].
type Forge struct{ client *http.Client }

var _ forge.Forge = (*Forge)(nil)

// New makes the forge.
func New(o Options) *Forge {
	if o.Client == nil {
		o.Client = forge.NewClient(forge.ClientOptions{})
	}
	return &Forge{client: o.Client}
}

// Name implements [forge.Forge].
func (f *Forge) Name() string { return "gitlab" }

// signing begins a secret of the kind that signs.
const signing = "whsec_"

// Verify implements [forge.Forge]. A hook has a secret token, which comes with
// each delivery as it is, or a signing token, by its beginning "whsec_", with which
// the delivery's ID, time and body are signed (standardwebhooks.com). With a
// signing token nothing less than a signature is believed.
//
// The time is not looked at: what is sent a second time is known by its ID, which
// is signed, for as long as IDs are remembered, and that is longer than clocks
// differ.
func (f *Forge) Verify(d *forge.Delivery, secret []byte) error {
	encoded, signs := strings.CutPrefix(string(secret), signing)
	if !signs {
		if !forge.Same([]byte(d.Header["X-Gitlab-Token"]), secret) {
			return forge.ErrForged
		}
		return nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	id, at := d.Header["Webhook-Id"], d.Header["Webhook-Timestamp"]
	if err != nil || len(key) == 0 || id == "" || at == "" || strings.Contains(id, ".") || strings.Contains(at, ".") {
		return forge.ErrForged
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(d.Body)
	want := mac.Sum(nil)
	for i, one := range strings.Fields(d.Header["Webhook-Signature"]) {
		const most = 8 // signatures, while a key is being changed for another
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(one, "v1,"))
		if i < most && err == nil && strings.HasPrefix(one, "v1,") && hmac.Equal(given, want) {
			return nil
		}
	}
	return forge.ErrForged
}

// Parse implements [forge.Forge].
func (f *Forge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	o, err := d.Payload()
	if err != nil {
		return nil, err
	}
	event := cmp.Or(o.Text("object_kind"), o.Text("event_name"))
	t := &forge.Told{Delivery: d, Event: event, Repository: repository(o.Object("project")), Sender: person(o.Object("user"))}
	switch event {
	case "push", "tag_push":
		push(t, o)
	case "merge_request":
		if !change(t, o) {
			return forge.Ignored(d, forge.Other, event), nil
		}
	case "release":
		t.Kind = forge.Released
		t.Tag, t.Name, t.Text, t.URL = o.Text("tag"), o.Text("name"), o.Text("description"), o.Text("url")
		t.SHA = o.Text("commit", "id")
		t.Action = map[string]string{"create": "published", "update": "edited", "delete": "deleted"}[o.Text("action")]
	default:
		return forge.Ignored(d, forge.Other, event), nil
	}
	return t.Hook()
}

func push(t *forge.Told, o forge.Object) {
	t.Kind = forge.Push
	t.Sender = forge.Person{ID: o.ID("user_id"), Login: o.Text("user_username"), Name: o.Text("user_name"), Email: o.Text("user_email")}
	t.Ref, t.Before, t.After = o.Text("ref"), o.Text("before"), o.Text("after")
	if strings.HasPrefix(t.Ref, "refs/tags/") {
		t.SHA = o.Text("checkout_sha") // After is the tag itself where it is annotated
	}
	for _, c := range o.List("commits") {
		t.Commits = append(t.Commits, commit(c))
	}
	// GitLab lists the newest twenty.
	t.Complete = len(t.Commits) > 0 && o.Integer("total_commits_count") == len(t.Commits)
}

// change reads a merge request, and reports whether it is of use.
func change(t *forge.Told, o forge.Object) bool {
	m := o.Object("object_attributes")
	t.Kind = forge.Change
	switch m.Text("action") {
	case "open":
		t.Action = "opened"
	case "reopen":
		t.Action = "reopened"
	case "update":
		t.Action = "edited"
		if m.Text("oldrev") != "" {
			t.Action = "synchronize"
		} else if draft := o.Object("changes", "draft"); draft.Bool("previous") && !draft.Bool("current") {
			t.Action = "ready_for_review"
		}
	case "close":
		t.Kind, t.Action = forge.Closed, "closed"
	case "merge":
		t.Kind, t.Action, t.Merged = forge.Closed, "closed", true
	default: // approvals
		return false
	}
	t.Number, t.Title, t.Text, t.URL = m.ID("iid"), m.Text("title"), m.Text("description"), m.Text("url")
	t.State = "open"
	if t.Kind == forge.Closed {
		t.State = "closed"
	}
	if author := m.ID("author_id"); author != "" && author == t.Sender.ID {
		t.Author = t.Sender
	} else {
		t.Author = forge.Person{ID: author}
	}
	target := repository(m.Object("target"))
	target.ID = m.ID("target_project_id")
	source := repository(m.Object("source"))
	source.ID = m.ID("source_project_id")
	if target.ID != t.Repository.ID {
		return false // of another project, from which this one was forked
	}
	t.Head = forge.Tip{Ref: m.Text("source_branch"), SHA: m.Text("last_commit", "id"), Repository: source}
	t.Base = forge.Tip{Ref: m.Text("target_branch"), Repository: target}
	t.Fetch = "refs/merge-requests/" + t.Number + "/head"
	t.Draft = m.Bool("draft") || m.Bool("work_in_progress")
	t.MergeCommitSHA = m.Text("merge_commit_sha")
	for _, l := range o.List("labels") {
		t.Labels = append(t.Labels, l.Text("title"))
	}
	return true
}

func repository(o forge.Object) forge.Repository {
	return forge.Repository{
		ID: o.ID("id"), Name: o.Text("path_with_namespace"), URL: o.Text("web_url"), CloneURL: o.Text("git_http_url"),
		SSHURL: o.Text("git_ssh_url"), DefaultBranch: o.Text("default_branch"),
		Private: o["visibility_level"] == 0.0,
	}
}

func person(o forge.Object) forge.Person {
	return forge.Person{ID: o.ID("id"), Login: o.Text("username"), Name: o.Text("name"), Email: o.Text("email")}
}

func commit(o forge.Object) forge.Commit {
	return forge.Commit{
		SHA: o.Text("id"), Message: o.Text("message"), Time: o.Text("timestamp"), URL: o.Text("url"),
		Author: person(o.Object("author")),
		Added:  o.Texts("added"), Modified: o.Texts("modified"), Removed: o.Texts("removed"),
	}
}

func (f *Forge) api(r *forge.Remote) (api *forge.API, project string, err error) {
	if err := r.Check(); err != nil {
		return nil, "", err
	}
	return &forge.API{
		Client: f.client,
		Name:   "GitLab",
		Base:   r.Address("/api/v4", "https://gitlab.com/api/v4"),
		Token:  r.Token,
		Header: http.Header{"Authorization": {"Bearer " + r.Token}},
	}, "/projects/" + strings.ReplaceAll(forge.Escape(r.Repository), "/", "%2F"), nil
}

// Lengths that GitLab takes.
const (
	maxDescription = 255
	maxBody        = 1_000_000
)

// Status implements [forge.Forge].
func (f *Forge) Status(ctx context.Context, r *forge.Remote, s *forge.Status) error {
	words := map[forge.State]string{
		forge.Pending: "pending", forge.Running: "running", forge.Success: "success", forge.Skipped: "skipped",
		forge.Failure: "failed", forge.Error: "failed", forge.Cancelled: "canceled",
	}
	api, project, err := f.api(r)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	word, ok := words[s.State]
	if !ok {
		return forge.Given("there is no state %q", s.State)
	}
	in := map[string]string{"state": word, "name": s.Context, "description": s.Description(maxDescription)}
	if s.URL != "" {
		in["target_url"] = s.URL
	}
	set := func() error {
		_, err := api.Do(ctx, &forge.Call{
			What: "set the status of commit " + s.SHA[:12], Method: http.MethodPost, Path: project + "/statuses/" + s.SHA, In: in,
		})
		return err
	}
	err = set()
	if unknown := forge.Code(err) == http.StatusBadRequest && word == "skipped" && !refusesTransition(err); unknown {
		in["state"] = "success" // older versions do not know the word
		err = set()
	}
	// It is a state machine, and what it calls an error is mostly that the
	// status is set already. A state that cannot be left stays.
	if err != nil && !refusesTransition(err) {
		return err
	}
	s.Ref = s.Context // which is all the name it has
	return nil
}

func refusesTransition(err error) bool {
	return forge.Code(err) == http.StatusBadRequest && strings.Contains(err.Error(), "Cannot transition status")
}

type note struct {
	ID     forge.Number `json:"id"`
	Body   string       `json:"body"`
	Author struct {
		ID forge.Number `json:"id"`
	} `json:"author"`
}

// Comment implements [forge.Forge].
func (f *Forge) Comment(ctx context.Context, r *forge.Remote, c *forge.Comment) (string, error) {
	api, project, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", err
	}
	notes := project + "/merge_requests/" + c.Number + "/notes"
	text := map[string]string{"body": c.Marked(forge.HTMLMarker, maxBody)}
	find := func() (refs []string, err error) {
		var me struct {
			ID forge.Number `json:"id"`
		}
		if _, err := api.Do(ctx, &forge.Call{What: "ask who the token is", Method: http.MethodGet, Path: "/user", Out: &me}); err != nil {
			return nil, err
		}
		err = forge.Pages(func(n int) (bool, error) {
			var list []note
			_, err := api.Do(ctx, &forge.Call{What: "read the comments on !" + c.Number, Method: http.MethodGet, Path: notes, Out: &list, Query: page(n, "sort", "asc")})
			for _, there := range list {
				if there.Author.ID == me.ID && c.Holds(forge.HTMLMarker, there.Body) {
					refs = append(refs, string(there.ID))
				}
			}
			return len(list) == perPage, err
		})
		return refs, err
	}
	return forge.Sticky(c.Ref, find,
		func(ref string) error {
			_, err := api.Do(ctx, &forge.Call{What: "change the comment on !" + c.Number, Method: http.MethodPut, Path: notes + "/" + forge.Escape(ref), In: text})
			return err
		},
		func() (string, error) {
			var made note
			_, err := api.Do(ctx, &forge.Call{What: "comment on !" + c.Number, Method: http.MethodPost, Path: notes, In: text, Out: &made})
			return string(made.ID), err
		})
}
