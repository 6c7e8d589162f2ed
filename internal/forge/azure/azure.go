// Package azure speaks to Azure DevOps, in Microsoft's cloud and as the server
// that teams run themselves.
//
// A repository is called "organisation/project/repository" here, and
// "collection/project/repository" on a server of one's own. Its hooks, which it
// calls service hooks, bring the secret as the password of basic
// authentication; they are not signed. They do not tell who changed a pull
// request, nor what was changed of it.
package azure

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
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
func (f *Forge) Name() string { return "azure" }

// Verify implements [forge.Forge]: the password of basic authentication is the
// secret, whatever the name is.
func (f *Forge) Verify(d *forge.Delivery, secret []byte) error {
	scheme, encoded, _ := strings.Cut(d.Header["Authorization"], " ")
	pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	_, password, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok || !strings.EqualFold(scheme, "Basic") || !forge.Same([]byte(password), secret) {
		return forge.ErrForged
	}
	return nil
}

// Parse implements [forge.Forge].
func (f *Forge) Parse(d *forge.Delivery) (*forge.Hook, error) {
	o, err := d.Payload()
	if err != nil {
		return nil, err
	}
	switch event := o.Text("eventType"); event {
	case "git.push":
		return push(d, event, o)
	case "git.pullrequest.created", "git.pullrequest.updated":
		return change(d, event, o)
	default:
		return forge.Ignored(d, forge.Other, event), nil
	}
}

func push(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	r := o.Object("resource")
	var all []*forge.Told
	for _, u := range r.List("refUpdates") {
		t := &forge.Told{
			Delivery: d, Event: event, Kind: forge.Push,
			Repository: repository(o, r.Object("repository")), Sender: person(r.Object("pushedBy")),
			Ref: u.Text("name"), Before: u.Text("oldObjectId"), After: u.Text("newObjectId"),
		}
		for _, c := range r.List("commits") { // of all refs together, and not all
			if commit := commit(c); commit.SHA == t.After {
				t.Commits = append(t.Commits, commit)
			}
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return forge.Ignored(d, forge.Other, event), nil
	}
	return forge.Several(all)
}

func change(d *forge.Delivery, event string, o forge.Object) (*forge.Hook, error) {
	r := o.Object("resource")
	t := &forge.Told{
		Delivery: d, Event: event, Kind: forge.Change,
		Repository: repository(o, r.Object("repository")),
		Author:     person(r.Object("createdBy")), Sender: person(r.Object("createdBy")),
		Number: r.ID("pullRequestId"), Title: r.Text("title"), Text: r.Text("description"), URL: r.Text("_links", "web", "href"),
		Draft: r.Bool("isDraft"), State: "open",
		MergeCommitSHA: r.Text("lastMergeCommit", "commitId"),
	}
	t.Head = forge.Tip{Ref: branch(r.Text("sourceRefName")), SHA: r.Text("lastMergeSourceCommit", "commitId"), Repository: t.Repository}
	t.Base = forge.Tip{Ref: branch(r.Text("targetRefName")), SHA: r.Text("lastMergeTargetCommit", "commitId"), Repository: t.Repository}
	if _, forked := r["forkSource"]; forked && r["forkSource"] != nil {
		t.Head.Repository = repository(o, r.Object("forkSource", "repository"))
		t.Fetch = "refs/pull/" + t.Number + "/merge" // the head has no ref of its own
	}
	switch status := r.Text("status"); {
	case status == "completed":
		t.Kind, t.Action, t.State, t.Merged = forge.Closed, "closed", "closed", true
	case status == "abandoned":
		t.Kind, t.Action, t.State = forge.Closed, "closed", "closed"
	case event == "git.pullrequest.created":
		t.Action = "opened"
	default:
		// It may be new commits, or a vote: it is not said which, and a run too
		// many is better than one too few.
		t.Action = "synchronize"
	}
	return t.Hook()
}

func branch(ref string) string { return strings.TrimPrefix(ref, "refs/heads/") }

// repository reads one of the organisation that the event comes from.
func repository(o, r forge.Object) forge.Repository {
	page := cmp.Or(r.Text("webUrl"), r.Text("remoteUrl"))
	project, name := r.Text("project", "name"), r.Text("name")
	if u, err := url.Parse(page); err == nil && u.User != nil {
		u.User = nil // the name of the organisation, on some pages
		page = u.String()
	}
	organisation := ""
	for _, address := range []string{o.Text("resourceContainers", "collection", "baseUrl"), o.Text("resourceContainers", "account", "baseUrl"), r.Text("remoteUrl")} {
		if organisation = ofOrganisation(address); organisation != "" {
			break
		}
	}
	return forge.Repository{
		ID: r.Text("id"), Name: organisation + "/" + project + "/" + name, URL: page, CloneURL: page,
		DefaultBranch: branch(r.Text("defaultBranch")), SSHURL: r.Text("sshUrl"),
		Private: r.Text("project", "visibility") != "public",
	}
}

// ofOrganisation is the name of the organisation or collection in an address:
// "https://dev.azure.com/acme/…", "https://acme.visualstudio.com/…",
// "https://tfs.example.com/tfs/DefaultCollection/…".
func ofOrganisation(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	if name, ok := strings.CutSuffix(u.Hostname(), ".visualstudio.com"); ok {
		return name
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case u.Hostname() == "dev.azure.com":
		return parts[0]
	case len(parts) > 3 && parts[len(parts)-2] == "_git": // …/collection/project/_git/repository
		return parts[len(parts)-4]
	case len(parts) > 2 && parts[len(parts)-2] == "_git": // …/collection/_git/repository, when project and repository have one name
		return parts[len(parts)-3]
	}
	return parts[len(parts)-1]
}

func person(o forge.Object) forge.Person {
	return forge.Person{ID: o.Text("id"), Login: o.Text("uniqueName"), Name: o.Text("displayName")}
}

func commit(o forge.Object) forge.Commit {
	return forge.Commit{
		SHA: o.Text("commitId"), Message: o.Text("comment"), Time: o.Text("author", "date"), URL: o.Text("url"),
		Author: forge.Person{Name: o.Text("author", "name"), Email: o.Text("author", "email")},
	}
}

func (f *Forge) api(r *forge.Remote) (api *forge.API, repo string, err error) {
	host, name := r.Locate()
	if r.Repository == "" {
		r.Repository = fromAddress(host, name)
	}
	if err := r.Check(); err != nil {
		return nil, "", err
	}
	parts := strings.Split(r.Repository, "/")
	if len(parts) != 3 {
		return nil, "", forge.Given("%q is not organisation/project/repository", r.Repository)
	}
	const public = "https://dev.azure.com"
	base := strings.TrimSuffix(r.API, "/")
	if base == "" {
		base = host
		if base == "" || base == "https://vs-ssh.visualstudio.com" || strings.HasSuffix(base, ".visualstudio.com") || strings.HasSuffix(base, "dev.azure.com") {
			base = public
		} else if rest, ok := strings.CutSuffix(name, "/"+parts[0]+"/"+parts[1]+"/_git/"+parts[2]); ok && rest != "" {
			base += "/" + rest
		}
	}
	login := r.Token
	if !strings.Contains(login, ":") {
		login = ":" + login
	}
	return &forge.API{
		Client: f.client,
		Name:   "Azure DevOps",
		Base:   base,
		Token:  r.Token,
		Header: http.Header{
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(login))},
			// It would answer a wrong token with a page to sign in at.
			"X-Tfs-Fedauthredirect": {"Suppress"},
		},
	}, "/" + forge.Escape(parts[0]+"/"+parts[1]) + "/_apis/git/repositories/" + forge.Escape(parts[2]), nil
}

// fromAddress is the repository's name in the path of a clone's address.
func fromAddress(host, path string) string {
	path = strings.TrimPrefix(path, "v3/") // of ssh: v3/acme/project/repository
	if name, ok := strings.CutSuffix(strings.TrimPrefix(host, "https://"), ".visualstudio.com"); ok && name != "vs-ssh" {
		path = name + "/" + strings.TrimPrefix(path, "DefaultCollection/")
	}
	before, repo, ok := strings.Cut(path, "/_git/")
	if !ok {
		return path
	}
	parts := strings.Split(before, "/")
	if len(parts) == 1 { // acme/_git/app
		return before + "/" + repo + "/" + repo
	}
	return strings.Join(parts[len(parts)-2:], "/") + "/" + repo
}

// version is that of the API; servers of 2022 have it, too.
var version = url.Values{"api-version": {"7.0"}}

// Lengths that Azure DevOps takes.
const (
	maxDescription = 1000
	maxBody        = 150_000
)

// Status implements [forge.Forge].
func (f *Forge) Status(ctx context.Context, r *forge.Remote, s *forge.Status) error {
	words := map[forge.State]string{
		forge.Pending: "pending", forge.Running: "pending", forge.Success: "succeeded", forge.Skipped: "notApplicable",
		forge.Failure: "failed", forge.Error: "error", forge.Cancelled: "error",
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
	genre, name, ok := strings.Cut(s.Context, "/") // "fairlead/ci"
	if !ok {
		genre, name = "", s.Context
	}
	in := map[string]any{"state": word, "description": s.Description(maxDescription), "context": map[string]string{"genre": genre, "name": name}}
	if s.URL != "" {
		in["targetUrl"] = s.URL
	}
	var made struct {
		ID forge.Number `json:"id"`
	}
	_, err = api.Do(ctx, &forge.Call{
		What: "set the status of commit " + s.SHA[:12], Method: http.MethodPost, Path: repo + "/commits/" + s.SHA + "/statuses", Query: version, In: in, Out: &made,
	})
	if err == nil {
		s.Ref = string(made.ID)
	}
	return err
}

type thread struct {
	ID       forge.Number `json:"id"`
	Deleted  bool         `json:"isDeleted"`
	Comments []struct {
		ID      forge.Number `json:"id"`
		Content string       `json:"content"`
		Deleted bool         `json:"isDeleted"`
	} `json:"comments"`
}

// ref is what the first comment of a thread is called: "THREAD/COMMENT".
func (t *thread) ref() string {
	if len(t.Comments) == 0 {
		return string(t.ID) + "/1"
	}
	return string(t.ID) + "/" + string(t.Comments[0].ID)
}

// Comment implements [forge.Forge]. It begins a thread that is closed, as open ones may
// keep a change from being merged.
func (f *Forge) Comment(ctx context.Context, r *forge.Remote, c *forge.Comment) (string, error) {
	api, repo, err := f.api(r)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", err
	}
	threads := repo + "/pullRequests/" + c.Number + "/threads"
	text := c.Marked(forge.HTMLMarker, maxBody)
	find := func() (refs []string, err error) {
		var list struct {
			Value []thread `json:"value"`
		}
		_, err = api.Do(ctx, &forge.Call{What: "read the comments on !" + c.Number, Method: http.MethodGet, Path: threads, Query: version, Out: &list})
		for _, t := range list.Value {
			if !t.Deleted && len(t.Comments) > 0 && !t.Comments[0].Deleted && c.Holds(forge.HTMLMarker, t.Comments[0].Content) {
				refs = append(refs, t.ref())
			}
		}
		return refs, err
	}
	return forge.Sticky(c.Ref, find,
		func(ref string) error {
			thread, comment, _ := strings.Cut(ref, "/")
			_, err := api.Do(ctx, &forge.Call{
				What: "change the comment on !" + c.Number, Method: http.MethodPatch, Path: threads + "/" + forge.Escape(thread) + "/comments/" + forge.Escape(comment),
				Query: version, In: map[string]string{"content": text},
			})
			return err
		},
		func() (string, error) {
			var made thread
			_, err := api.Do(ctx, &forge.Call{
				What: "comment on !" + c.Number, Method: http.MethodPost, Path: threads, Query: version, Out: &made,
				In: map[string]any{"status": "closed", "comments": []any{map[string]any{"parentCommentId": 0, "content": text, "commentType": "text"}}},
			})
			return made.ref(), err
		})
}

// Release implements [forge.Forge]: what Azure DevOps calls a release is a deployment.
func (f *Forge) Release(context.Context, *forge.Remote, *forge.Release) (string, error) {
	return "", forge.ErrUnsupported
}

// NoReleases implements [forge.Releaseless].
func (f *Forge) NoReleases(*forge.Remote) string { return "Azure DevOps has no releases of code" }
