// Package gitea speaks to Gitea and to Forgejo, which grew out of it.
//
// Their payloads are nearly GitHub's; what differs is put right before they are
// handed on. Of a commit they show statuses, and no annotations.
package gitea

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"strconv"
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
func (f *Forge) Name() string { return "gitea" }

// Verify implements [forge.Forge]: X-Hub-Signature-256, or the same under the
// host's own name. Every signature that there is must fit.
func (f *Forge) Verify(d *forge.Delivery, secret []byte) error {
	var signatures []string
	if s := d.Header["X-Hub-Signature-256"]; s != "" {
		signatures = append(signatures, strings.TrimPrefix(s, "sha256="))
	}
	for _, name := range []string{"X-Gitea-Signature", "X-Forgejo-Signature"} {
		if s := d.Header[name]; s != "" {
			signatures = append(signatures, s)
		}
	}
	fits := len(signatures) > 0
	for _, s := range signatures {
		fits = forge.Signed(d.Body, secret, s) && fits
	}
	if !fits {
		return forge.ErrForged
	}
	return nil
}

// actions are Gitea's words where they are not GitHub's.
var actions = map[string]string{
	"synchronized":  "synchronize",
	"label_updated": "labeled",
	"label_cleared": "unlabeled",
	"updated":       "edited", // of a release
}

// Parse implements [forge.Forge].
func (f *Forge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	event := cmp.Or(d.Header["X-Gitea-Event"], d.Header["X-Forgejo-Event"])
	o, err := d.Payload()
	if err != nil {
		return nil, err
	}
	if event == "delete" {
		return deleted(d, o)
	}
	o = maps.Clone(o)
	if action, ok := actions[o.Text("action")]; ok {
		o["action"] = action
	}
	if event == "push" {
		if login := o.Text("pusher", "login"); login != "" {
			o["pusher"] = map[string]any{"name": login, "email": o.Text("pusher", "email")}
		}
		// GitHub tells these, and expressions ask for them.
		o["created"] = strings.Trim(o.Text("before"), "0") == ""
		o["deleted"] = strings.Trim(o.Text("after"), "0") == ""
		if before := o.Text("before"); before != "" && before == o.Text("after") {
			return forge.Ignored(d, forge.Ping, event), nil // the button that tests a hook
		}
	}
	t := forge.Heard(d, event, o)
	if t == nil {
		return forge.Ignored(d, forge.Other, event), nil
	}
	return t.Hook()
}

// deleted reads the event of a branch or tag that is gone: here it is no push.
func deleted(d *forge.Delivery, o forge.Object) (*forge.Hook, error) {
	kind := "heads"
	switch o.Text("ref_type") {
	case "branch":
	case "tag":
		kind = "tags"
	default:
		return forge.Ignored(d, forge.Other, "delete"), nil
	}
	t := forge.Heard(d, "push", o)
	t.Event, t.As = "delete", nil
	t.Ref = "refs/" + kind + "/" + strings.TrimPrefix(o.Text("ref"), "refs/"+kind+"/")
	t.Before, t.After = "", ""
	return t.Hook()
}

func (f *Forge) api(r *forge.Remote) (*forge.API, string, error) {
	if err := r.Check(); err != nil {
		return nil, "", err
	}
	base := r.Address("/api/v1", "")
	if base == "" {
		return nil, "", forge.Given("it is not known where the host of %s is: set the address of its API", r.Repository)
	}
	return &forge.API{
		Client: f.client,
		Name:   "Gitea",
		Base:   base,
		Token:  r.Token,
		Header: http.Header{"Authorization": {"token " + r.Token}},
	}, "/repos/" + forge.Escape(r.Repository), nil
}

// Lengths that Gitea takes.
const (
	maxDescription = 255
	maxBody        = 65535
)

// Status implements [forge.Forge]. A later status of the same context takes
// the earlier one's place.
func (f *Forge) Status(ctx context.Context, r *forge.Remote, s *forge.Status) error {
	words := map[forge.State]string{
		forge.Pending: "pending", forge.Running: "pending", forge.Success: "success", forge.Skipped: "success",
		forge.Failure: "failure", forge.Error: "error", forge.Cancelled: "error",
	}
	api, repo, err := f.api(r)
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
	var made struct {
		ID int64 `json:"id"`
	}
	_, err = api.Do(ctx, &forge.Call{
		What: "set the status of commit " + s.SHA[:12], Method: http.MethodPost, Path: repo + "/statuses/" + s.SHA, Out: &made,
		In: map[string]string{"state": word, "context": s.Context, "description": s.Description(maxDescription), "target_url": s.URL},
	})
	if err == nil {
		s.Ref = strconv.FormatInt(made.ID, 10)
	}
	return err
}

type user struct {
	ID int64 `json:"id"`
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User user   `json:"user"`
}

// Comment implements [forge.Forge].
func (f *Forge) Comment(ctx context.Context, r *forge.Remote, c *forge.Comment) (string, error) {
	api, repo, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", err
	}
	list := repo + "/issues/" + c.Number + "/comments"
	text := map[string]string{"body": c.Marked(forge.HTMLMarker, maxBody)}
	find := func() (refs []string, err error) {
		var me user
		if _, err := api.Do(ctx, &forge.Call{What: "ask who the token is", Method: http.MethodGet, Path: "/user", Out: &me}); err != nil && forge.Code(err) != http.StatusForbidden {
			return nil, err
		}
		// This list comes whole.
		var all []comment
		_, err = api.Do(ctx, &forge.Call{What: "read the comments on #" + c.Number, Method: http.MethodGet, Path: list, Out: &all})
		for _, there := range all {
			// A token that may not read its own user's name cannot tell whose
			// a comment is; then the host must, when it is edited.
			if (me.ID == 0 || there.User.ID == me.ID) && c.Holds(forge.HTMLMarker, there.Body) {
				refs = append(refs, strconv.FormatInt(there.ID, 10))
			}
		}
		return refs, err
	}
	return forge.Sticky(c.Ref, find,
		func(ref string) error {
			_, err := api.Do(ctx, &forge.Call{What: "change the comment on #" + c.Number, Method: http.MethodPatch, Path: repo + "/issues/comments/" + forge.Escape(ref), In: text})
			return err
		},
		func() (string, error) {
			var made comment
			_, err := api.Do(ctx, &forge.Call{What: "comment on #" + c.Number, Method: http.MethodPost, Path: list, In: text, Out: &made})
			return strconv.FormatInt(made.ID, 10), err
		})
}
