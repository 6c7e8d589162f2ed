// Package forge is the door to code hosts: what they tell us, and what we tell
// them.
//
// A forge is asked for two things. Inward it reads a [Delivery], what a host
// sent to our hook address: first [Forge.Verify], over the raw bytes and in
// constant time, before anything is parsed or written; then, after the answer
// has gone out, [Forge.Parse], which makes a [Hook] of it: which commit of which
// ref, made by whom, and whether it comes from a fork. Outward it sets the
// state of a commit, keeps one comment a change, and makes releases.
//
// Parse is pure: the same delivery gives the same hook, whenever it is asked,
// so that the record of deliveries can be read again. What a payload says of
// its sender's rights is not believed: trust is found elsewhere, from the ref
// and from where the commits lie.
//
// Children: github, gitlab, gitea, bitbucket, azure. What every child must do is
// written down in forgetest.
package forge

import (
	"context"
	"errors"
	"io"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Forge is a kind of code host.
type Forge interface {
	// Name is its short name: "github".
	Name() string

	// Verify checks that a delivery was made by somebody who knows the secret.
	// The error is an [ErrForged]. An empty secret verifies nothing: it is
	// an error, too.
	Verify(d *Delivery, secret []byte) error

	// Parse reads a delivery. Bad bytes are an error; an event that we have no
	// use for is a Hook of kind Other.
	Parse(d *Delivery) (*Hook, error)

	// Status sets the state of a commit as one context of several shows it, and
	// sets s.Ref to what the host calls it. Annotations are shown beside the
	// lines where the host can do so. Setting the same again changes nothing.
	Status(ctx context.Context, r *Remote, s *Status) error

	// Comment keeps one comment on a change: the one that holds the marker is
	// edited, or a first one is made. It returns what the host calls it.
	Comment(ctx context.Context, r *Remote, c *Comment) (ref string, err error)

	// Release makes a release of a tag, or finds it, and uploads the assets that
	// it does not have yet.
	Release(ctx context.Context, r *Remote, rel *Release) (url string, err error)
}

// Releaseless is a forge some of whose hosts have no releases.
type Releaseless interface {
	// NoReleases says why the host has none, "" if it has.
	NoReleases(r *Remote) (why string)
}

// Labeller is a forge whose pull or merge requests have labels.
type Labeller interface {
	// Labels are those of the request with that number. A call error with the code 404
	// says that there is none.
	Labels(ctx context.Context, r *Remote, number string) ([]string, error)
}

// ErrForged says that a delivery's signature is missing or wrong.
var ErrForged = errors.New("the signature is missing or does not fit")

// ErrUnsupported says that this kind of host has no such thing.
var ErrUnsupported = errors.New("this code host cannot do that")

// MaxBody is the size of the largest body of a delivery that is taken.
const MaxBody = 25 << 20

// Delivery is what a host sent.
type Delivery struct {
	// Header holds the header fields that forges look at, by canonical name.
	Header map[string]string
	Body   []byte
}

// Kind is what a hook tells of.
type Kind string

// The kinds.
const (
	Push     Kind = "push"     // a branch or tag is now at another commit
	Change   Kind = "change"   // a pull or merge request was opened, updated, reopened
	Closed   Kind = "closed"   // it was closed or merged
	Released Kind = "release"  // a release was made or changed
	Dispatch Kind = "dispatch" // somebody asks for a run by the host's API
	Ping     Kind = "ping"     // the hook itself was set up
	Other    Kind = "other"
)

// Hook is what a delivery says.
type Hook struct {
	ID         string // of the delivery, see [Delivery.ID]
	Kind       Kind
	Event      string // the host's own word: "pull_request"
	Repository string // as the host calls it: "team/app"
	Deleted    bool   // of a push: the ref is gone
	// Fork says that the commits of the change lie in another repository.
	Fork   bool
	Number string // of the change: "17"
	Title  string // of the change, or the subject of the newest commit
	Author string // who made the change, which is not who sent the event
	// Fetch is the ref of the repository that leads to the commit, or to one that
	// has it among its ancestors: "refs/heads/main", "refs/pull/17/head",
	// "refs/merge-requests/17/head". It is "" when no ref of the repository does,
	// and then HeadRef at HeadURL may.
	Fetch string
	// HeadURL is the https address of the fork that a change comes from; "" when
	// it comes from the repository itself. It is a stranger's word.
	HeadURL string
	// Change is what launching needs: event, ref, commits, actor, and the payload in
	// the words of the hosts' common dialect (GitHub's), so that expressions
	// over github.event mean the same whichever host sent it. It is nil for Ping
	// and Other. Its SHA may be abbreviated, as Bitbucket Cloud tells it of
	// pull requests, or "" where the host tells of a ref alone: whoever fetched
	// the commit knows the whole.
	//
	// Files are a superset of what differs, taken from the commits that are
	// listed; where the repository is at hand, comparing its trees says more.
	Change *plan.Change
	// Also are the further refs of a push of several, where the host tells
	// of them in one delivery.
	Also []*Hook
}

// Remote is a repository on a host, and the right to write to it.
type Remote struct {
	API        string // base address: "https://api.github.com"; "": it is found from URL, or is the public one
	Repository string // "team/app"; "": it is found from URL
	URL        string // where it is cloned from: "git@git.example.com:team/app.git"; may be ""
	// Token is the host's token for programs. Bitbucket and Azure DevOps, which
	// want a name with some kinds of token, take "NAME:TOKEN", too.
	Token string
}

// State is that of a commit in one context.
type State string

// The states. A forge that has fewer words says the nearest.
const (
	Pending   State = "pending"
	Running   State = "running"
	Success   State = "success"
	Failure   State = "failure" // the code's fault
	Error     State = "error"   // ours
	Cancelled State = "cancelled"
	Skipped   State = "skipped"
)

// Status is what is said of a commit.
type Status struct {
	SHA         string
	Context     string // "fairlead/ci"
	State       State
	Title       string // one line
	URL         string // of the run's page
	Summary     string // Markdown
	Annotations []Annotation
	Ref         string // what the host called it when it was set last; "" the first time; see [Forge.Status]
}

// Annotation is a remark at a line.
type Annotation struct {
	Path    string
	Line    int
	Level   string // "notice", "warning", "failure"
	Title   string
	Message string
}

// Comment is what is said on a change.
type Comment struct {
	Number string // of the change
	Marker string // "fairlead:summary": tells our comment from others
	Body   string // Markdown
	Ref    string // what Comment returned before; "": it is looked for
}

// Release is a release to make.
type Release struct {
	Tag, SHA, Title, Notes string
	Draft, Prerelease      bool
	Assets                 []Asset
}

// Asset is a file of a release.
type Asset struct {
	Name string
	Size int64
	Type string // media type
	Open func() (io.ReadCloser, error)
}
