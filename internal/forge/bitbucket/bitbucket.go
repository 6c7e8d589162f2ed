// Package bitbucket speaks to Bitbucket, of which there are two that have little
// but the name in common: Bitbucket Cloud (bitbucket.org) and Bitbucket Data
// Center, also called Server, that teams run themselves. Which of them a
// delivery comes from is told by the names of its events, which of them a
// repository is on by the address of its API.
package bitbucket

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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
func (f *Forge) Name() string { return "bitbucket" }

// Verify implements [forge.Forge]: X-Hub-Signature, which is of the kind that
// others call X-Hub-Signature-256.
func (f *Forge) Verify(d *forge.Delivery, secret []byte) error {
	signature, ok := strings.CutPrefix(d.Header["X-Hub-Signature"], "sha256=")
	if !ok || !forge.Signed(d.Body, secret, signature) {
		return forge.ErrForged
	}
	return nil
}

// Parse implements [forge.Forge].
func (f *Forge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	event := d.Header["X-Event-Key"]
	read := map[string]func(*forge.Delivery, string, forge.Object) (*forge.Hook, error){
		"repo:push":             cloudPush,
		"pullrequest:created":   cloudChange,
		"pullrequest:updated":   cloudChange,
		"pullrequest:fulfilled": cloudChange,
		"pullrequest:rejected":  cloudChange,
		"repo:refs_changed":     centerPush,
		"pr:opened":             centerChange,
		"pr:from_ref_updated":   centerChange,
		"pr:to_ref_updated":     centerChange,
		"pr:modified":           centerChange,
		"pr:merged":             centerChange,
		"pr:declined":           centerChange,
		"pr:deleted":            centerChange,
	}[event]
	switch {
	case event == "diagnostics:ping":
		return forge.Ignored(d, forge.Ping, event), nil
	case read == nil:
		return forge.Ignored(d, forge.Other, event), nil
	}
	o, err := d.Payload()
	if err != nil {
		return nil, err
	}
	return read(d, event, o)
}

// several makes one Hook of a push of several refs.
func several(d *forge.Delivery, event string, all []*forge.Told) (*forge.Hook, error) {
	if len(all) == 0 {
		return forge.Ignored(d, forge.Other, event), nil
	}
	return forge.Several(all)
}

// Where the API of Bitbucket Cloud is, and how its address ends.
const (
	cloudAPI    = "https://api.bitbucket.org/2.0"
	cloudSuffix = "/2.0"
)

// remote is a repository on one of the two.
type remote struct {
	*forge.API
	cloud   bool
	path    string // of the repository below the API's address
	page    string // of the repository, for people
	commits string // path under which Data Center keeps statuses
}

func (f *Forge) remote(r *forge.Remote) (*remote, error) {
	host, name := r.Locate()
	base := strings.TrimSuffix(r.API, "/")
	if r.Repository == "" {
		// Data Center clones from /scm/PROJECT/repo.
		if at := strings.LastIndex("/"+name, "/scm/"); at >= 0 {
			name = ("/" + name)[at+len("/scm/"):]
		}
		r.Repository = name
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if base == "" {
		base = host
		if host == "" || host == "https://bitbucket.org" {
			base = cloudAPI
		}
	}
	b := &remote{API: &forge.API{Client: f.client, Name: "Bitbucket", Base: base, Token: r.Token, Header: http.Header{"Authorization": {authorization(r.Token)}}}}
	if strings.HasSuffix(base, cloudSuffix) {
		b.cloud = true
		b.path = "/repositories/" + forge.Escape(r.Repository)
		b.page = "https://bitbucket.org/" + forge.Escape(r.Repository)
		return b, nil
	}
	project, slug, ok := strings.Cut(r.Repository, "/")
	if !ok || strings.Contains(slug, "/") {
		return nil, forge.Given("%q is not PROJECT/repository", r.Repository)
	}
	below := "/projects/" + forge.Escape(project) + "/repos/" + forge.Escape(slug)
	b.Header.Set("X-Atlassian-Token", "no-check") // or it takes us for a browser
	b.path = "/rest/api/1.0" + below
	b.page = base + below
	b.commits = "/rest/build-status/1.0/commits/"
	return b, nil
}

// authorization is how a token is shown: as what it is, or as a password where
// the name that it belongs to stands before it.
func authorization(token string) string {
	if strings.Contains(token, ":") {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(token))
	}
	return "Bearer " + token
}

// Lengths that Bitbucket takes.
const (
	maxKey         = 40
	maxDescription = 255
	maxBody        = 32 << 10
)

// Status implements [forge.Forge].
func (f *Forge) Status(ctx context.Context, r *forge.Remote, s *forge.Status) error {
	words := map[forge.State]string{
		forge.Pending: "INPROGRESS", forge.Running: "INPROGRESS", forge.Success: "SUCCESSFUL", forge.Skipped: "SUCCESSFUL",
		forge.Failure: "FAILED", forge.Error: "FAILED", forge.Cancelled: "STOPPED",
	}
	b, err := f.remote(r)
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
	path := b.path + "/commit/" + s.SHA + "/statuses/build"
	if !b.cloud {
		path = b.commits + s.SHA
		if word == "STOPPED" {
			word = "FAILED"
		}
	}
	in := map[string]string{
		"key": key(s.Context), "name": s.Context, "state": word, "description": s.Description(maxDescription),
		"url": cmp.Or(s.URL, b.page), // it must be one
	}
	_, err = b.Do(ctx, &forge.Call{What: "set the status of commit " + s.SHA[:12], Method: http.MethodPost, Path: path, In: in})
	if err == nil {
		s.Ref = in["key"]
	}
	return err
}

// key is a context as the key of a status, which is short: a long one is
// cut and its digest takes the place of the rest.
func key(context string) string {
	if len(context) <= maxKey {
		return context
	}
	sum := sha256.Sum256([]byte(context))
	tail := "~" + hex.EncodeToString(sum[:8])
	return strings.TrimSuffix(forge.Cut(context, maxKey-len(tail)+len("…")), "…") + tail
}

// Comment implements [forge.Forge].
func (f *Forge) Comment(ctx context.Context, r *forge.Remote, c *forge.Comment) (string, error) {
	b, err := f.remote(r)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", err
	}
	if b.cloud {
		return b.cloudComment(ctx, c)
	}
	return b.centerComment(ctx, c)
}

// NoReleases implements [forge.Releaseless]: Data Center has nothing that files could be
// kept in.
func (f *Forge) NoReleases(r *forge.Remote) string {
	remote := *r
	if b, err := f.remote(&remote); err == nil && !b.cloud {
		return "Bitbucket Data Center has no releases and no downloads"
	}
	return ""
}

// Release implements [forge.Forge]: Bitbucket has no releases, but its cloud has
// downloads of a repository.
func (f *Forge) Release(ctx context.Context, r *forge.Remote, rel *forge.Release) (string, error) {
	b, err := f.remote(r)
	if err != nil {
		return "", err
	}
	if !b.cloud {
		return "", forge.ErrUnsupported
	}
	return b.downloads(ctx, rel)
}
