// Package github speaks to GitHub, and to GitHub Enterprise Server.
//
// Its payloads are handed on as they are: the other forges translate theirs into
// these words. Of a commit it tells by a check run where the token may write
// one, which only those of GitHub Apps may, and by a commit status elsewhere.
package github

import (
	"context"
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
func (f *Forge) Name() string { return "github" }

// Verify implements [forge.Forge]: X-Hub-Signature-256. The older signature made
// with SHA-1 is not enough.
func (f *Forge) Verify(d *forge.Delivery, secret []byte) error {
	signature, ok := strings.CutPrefix(d.Header["X-Hub-Signature-256"], "sha256=")
	if !ok || !forge.Signed(d.Body, secret, signature) {
		return forge.ErrForged
	}
	return nil
}

// Parse implements [forge.Forge].
func (f *Forge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	event := d.Header["X-Github-Event"]
	if event == "ping" {
		return forge.Ignored(d, forge.Ping, event), nil
	}
	o, err := d.Payload()
	if err != nil {
		return nil, err
	}
	t := forge.Heard(d, event, o)
	if t == nil {
		return forge.Ignored(d, forge.Other, event), nil
	}
	return t.Hook()
}

const public = "https://api.github.com"

// api is how to speak to a repository's host.
func (f *Forge) api(r *forge.Remote) (*forge.API, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return &forge.API{
		Client: f.client,
		Name:   "GitHub",
		Base:   address(r),
		Token:  r.Token,
		Header: http.Header{
			"Authorization":        {"Bearer " + r.Token},
			"Accept":               {"application/vnd.github+json"},
			"X-Github-Api-Version": {"2022-11-28"},
		},
	}, nil
}

// address is where the API is: on a host of its own in GitHub's cloud, below
// /api/v3 elsewhere.
func address(r *forge.Remote) string {
	host, _ := r.Locate()
	switch name := strings.TrimPrefix(host, "https://"); {
	case r.API != "":
		return strings.TrimSuffix(r.API, "/")
	case host == "", name == "github.com":
		return public
	case strings.HasSuffix(name, ".ghe.com"):
		return "https://api." + name
	default:
		return host + "/api/v3"
	}
}

// Status implements [forge.Forge].
func (f *Forge) Status(ctx context.Context, r *forge.Remote, s *forge.Status) error {
	api, err := f.api(r)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	repo := "/repos/" + forge.Escape(r.Repository)
	if s.Ref != refStatus && mayCheck(r.Token) {
		err := (&check{api: api, repo: repo, s: s}).set(ctx)
		// 403 is also the answer to too many requests, and then says for how long.
		if _, after := forge.Temporary(err); forge.Code(err) != http.StatusForbidden || after > 0 || strings.HasPrefix(s.Ref, refCheck) {
			return err
		}
	}
	return status(ctx, api, repo, s)
}

// mayCheck says whether a token may write check runs, as far as its looks tell.
// Those of people may not.
func mayCheck(token string) bool {
	for _, prefix := range []string{"ghp_", "github_pat_", "gho_"} {
		if strings.HasPrefix(token, prefix) {
			return false
		}
	}
	return true
}

// What a status is called: a check run by its ID, or a commit status, which has no
// name but its context.
const (
	refCheck  = "check:"
	refStatus = "status"
)

// Lengths that GitHub takes.
const (
	maxDescription = 140
	maxTitle       = 255
	maxSummary     = 65535
	maxBody        = 65536
	maxMessage     = 64 << 10
)

func status(ctx context.Context, api *forge.API, repo string, s *forge.Status) error {
	words := map[forge.State]string{
		forge.Pending: "pending", forge.Running: "pending", forge.Success: "success", forge.Skipped: "success",
		forge.Failure: "failure", forge.Error: "error", forge.Cancelled: "error",
	}
	word, ok := words[s.State]
	if !ok {
		return forge.Given("there is no state %q", s.State)
	}
	in := map[string]string{"state": word, "context": s.Context, "description": s.Description(maxDescription)}
	if s.URL != "" {
		in["target_url"] = s.URL
	}
	_, err := api.Do(ctx, &forge.Call{
		What: "set the status of commit " + s.SHA[:12], Method: http.MethodPost, Path: repo + "/statuses/" + s.SHA, In: in,
	})
	if err == nil {
		s.Ref = refStatus
	}
	return err
}
