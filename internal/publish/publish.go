// Package publish takes a release out: its changelog, its tag, its files, its page at the
// code host.
//
//	fairlead.yaml, git ── Plan ──► what would be done (nothing is)
//	                                   │ Publish
//	     files gathered as blobs ── release.publishing ──► changelog ─► tag ─► push ─► host ──► release.published
//	                                   ▲ one transaction         each step asks first what is there already
//
// Everything that a release will be is written down before anything of it is
// done: the version, the time, the notes, the digest of every file. Each
// step then looks at what is there and does what is missing. So whoever is killed
// anywhere and started again goes on with the very same release, and there are never two
// tags, two commits or two files. What is there and should not be, a tag at another commit, is
// an error that says so, and nothing is moved or overwritten.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/trace"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Publisher plans and publishes the releases of one tree.
type Publisher struct {
	Tree  *workspace.Tree
	Git   Git // nil is Tree
	Store Store
	Runs  Runs
	Blobs blob.Store
	// Forge is the code host of that kind: "github".
	Forge  func(kind string) (forge.Forge, bool)
	Getenv func(string) string // of tokens
	Exec   Exec                // runs the commands that make files
	// Key signs provenance. It is asked for when there is some, and may be nil.
	Key     func() (*attest.Key, error)
	Version string // Fairlead's own
	By      string // who publishes
	Now     func() time.Time
	Say     func(format string, args ...any) // is told what is being done
	Out     io.Writer                        // what commands print
}

// Git is what is changed of a repository: a [*workspace.Tree].
type Git interface {
	Head(ctx context.Context) (string, error)
	TagAt(ctx context.Context, name string) (string, error)
	Tag(ctx context.Context, name, commit, message string) error
	CommitFile(ctx context.Context, name, message string) (string, error)
	RemoteRefs(ctx context.Context, remote string, refs ...string) (map[string]string, error)
	Push(ctx context.Context, remote string, refs ...string) error
}

// Store keeps publications: a part of [store.Store].
type Store interface {
	store.Registers
	store.Leases
}

// Runs are the runs that kept files.
type Runs interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Run(ctx context.Context, run string) (*record.Run, error)
}

// Command is a command that makes files of a release.
type Command struct {
	Script string // for sh
	Dir    string
	Env    map[string]string
	Watch  *trace.Spec
}

// Exec runs a command to its end on this machine.
type Exec func(ctx context.Context, c Command, out io.Writer) (executor.Result, error)

// Wish is what somebody wants released.
type Wish struct {
	Components []string // none: all that have something new
	Pre        string   // pre-releases of this channel; "": as the branch says
	As         string   // that version
	Tag        string   // release what this tag names, which is there
	Draft      bool     // wait at the code host for a person
	NoHost     bool     // make no release at a code host
	NoPush     bool     // push nothing; implies NoHost
}

// Publication is a release that was begun, as it stands: a register.
type Publication struct {
	record.ReleasePublishing
	Done *record.ReleasePublished `json:"done,omitempty"` // nil: it is not finished
}

// register is the kind of registers that hold publications.
const register = "publication"

// keyOf is a publication's key: a repository has a tag once.
func keyOf(repository, tag string) string { return repository + "@" + tag }

// Reader is the part of the store that lists publications.
type Reader interface {
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
}

// Publications are those of a repository, oldest first by tag; of all for "".
func Publications(ctx context.Context, r Reader, repository string) ([]Publication, error) {
	if repository != "" {
		repository += "@"
	}
	all, err := r.Registers(ctx, register, repository)
	if err != nil {
		return nil, fmt.Errorf("read the releases: %w", err)
	}
	list := make([]Publication, 0, len(all))
	for _, x := range all {
		var one Publication
		if err := json.Unmarshal(x.Body, &one); err != nil {
			return nil, fmt.Errorf("read the release %s: %w", x.ID, err)
		}
		list = append(list, one)
	}
	return list, nil
}

// ErrNothing says that there is nothing to be released.
var ErrNothing = errors.New("there is nothing to be released")

// InvalidError says that a release cannot be made as things are: problems with the
// file, or with the repository.
type InvalidError struct{ Problems []plan.Problem }

func (e *InvalidError) Error() string {
	for _, p := range e.Problems {
		if p.Severity == plan.Error {
			return p.String()
		}
	}
	return "the release cannot be made"
}

func (p *Publisher) git() Git {
	if p.Git != nil {
		return p.Git
	}
	return p.Tree
}

func (p *Publisher) say(format string, args ...any) {
	if p.Say != nil {
		p.Say(format, args...)
	}
}
