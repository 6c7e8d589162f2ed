// Package deploy is the door to what moves software, and knows how it is moved.
//
// A strategy is no code path. Rolling, blue-green, canary and recreate are lists of
// the same few moves ([Compile] makes them), and one loop, in room rollout, brings
// about one move after another, forwards or back. What the moves need of a place
// where software runs is a [Driver]:
//
//	                       Check    Ensure(rev, n)   Shift(shares)    Remove(rev)
//	release ─► revision ─────┼───────────┼───────────────┼─────────────────┼────►
//	                      refused     instances       one atomic        nothing
//	                      before      with derived    write of the      left
//	                      anything    names, no       weights
//	                      changes     requests yet
//
// All of it is level-triggered: a driver is told how the world is to be, looks how
// it is, and does what is missing. Doing it again is harmless, since the names of all
// that a driver makes follow from the service, the environment and the revision's
// number, and what is there under its name is taken up. So whoever goes on after a crash needs to know
// nothing but the row of the rollout.
//
// Every act carries a fence, a number that rises with each process that takes a
// rollout on. The driver keeps the highest one at the target and refuses lower
// ones, so that a process that was only slow cannot undo what its successor did.
//
// What a driver cannot do (split requests, keep two revisions side by side) it says
// before anything begins; a strategy that needs it is refused and never quietly
// replaced by another.
//
// Children: process, docker, kubernetes, ssh, terraform, ansible, cloudformation,
// command. What each must do is written down in deploytest.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Driver moves software of one kind of target. All methods may be called from several
// goroutines, and again after a crash at any instant.
type Driver interface {
	// Capabilities says what the driver can do for the target.
	Capabilities(t *Target) Capabilities

	// Check looks whether the revision could be deployed, and changes nothing: is the
	// host there, is the manifest sound, is there room on the disk, are the bytes those of
	// the digest? Problems are the user's; an error says that it could not be looked at.
	Check(ctx context.Context, t *Target, r *Revision) ([]plan.Problem, error)

	// Observe says what there is. What is not the service's in this environment is
	// not seen.
	Observe(ctx context.Context, t *Target) (*World, error)

	// Ensure brings about that there are n instances of the revision, started with its
	// configuration, which get no requests through it. Fewer than there were are
	// drained before they are stopped. It returns when they have been started, which
	// is not yet ready: Observe tells that. For a driver without Instances it applies the revision.
	Ensure(ctx context.Context, t *Target, r *Revision, n int) error

	// Shift sets the shares of the requests by revision, in one atomic act. It returns when the
	// next request goes by them. Revisions that are not named get none.
	Shift(ctx context.Context, t *Target, shares []Share) error

	// Remove takes away what there is of a revision: its requests are let end (for as long as the
	// service says), then it is stopped, and its files go. It is no error if there is nothing.
	Remove(ctx context.Context, t *Target, number int) error

	// Drift compares the revision as declared with what there is, and changes nothing.
	Drift(ctx context.Context, t *Target, r *Revision) ([]record.Difference, error)
}

// Proposer is a driver that can say beforehand exactly what it will change.
type Proposer interface {
	// Propose finds out what Ensure would change. Ensure with the Revision's Proposal
	// set applies exactly that or fails with [ErrStale].
	Propose(ctx context.Context, t *Target, r *Revision) (*record.Proposal, error)
}

// Prober is a driver whose Ensure must not simply be done again.
type Prober interface {
	// Applied finds out what became of an Ensure that was begun and never seen to end.
	// The error wraps [ErrUnknown] when that cannot be known: a person has to say.
	Applied(ctx context.Context, t *Target, r *Revision) (done bool, err error)
}

// Counter is a driver that sees the requests.
type Counter interface {
	// Counts are the requests since an instant of its own choosing, by revision;
	// they only rise as long as Since does not change.
	Counts(ctx context.Context, t *Target) (*Traffic, error)
}

// Outside is what a rollout asks of the world besides the driver: child probe.
type Outside interface {
	// Check asks the instances once, each of them, and waits no longer than ctx. The
	// environment and the directory are for checks that are commands.
	Check(ctx context.Context, c plan.Check, at []Instance, env map[string]string, dir string) record.Evidence
	// Command runs a script with sh and says how it exited. Its output goes to log, a line
	// at a time. An error says that it could not be started or was broken off.
	Command(ctx context.Context, dir, script string, env map[string]string, log func(line string)) (exit int, err error)
	// Query asks Prometheus for the value of an expression; ok is false when there is none.
	Query(ctx context.Context, server, expression string) (value float64, ok bool, err error)
	// Series asks for its values between two instants.
	Series(ctx context.Context, server, expression string, from, to time.Time, every time.Duration) ([]float64, error)
}

// Capabilities is what a driver can do for a target.
type Capabilities struct {
	Instances bool // it runs instances that Observe sees; without, Ensure applies and there is nothing to shift
	Beside    bool // two revisions may be there at a time
	Split     bool // it shares requests out between revisions, by any percentage
	Steps     int  // if Split is false: shares come in steps of instances when > 0
	Counts    bool // it is a Counter here
	Propose   bool // it is a Proposer here
	Once      bool // it is a Prober: Ensure is written down before it is begun
	Drift     bool
	Why       string // why not, for people: "nothing stands before the instances"
}

// Target is one service in one environment, and by whom it is changed.
type Target struct {
	Repository  string
	Service     string
	Environment string
	Root        string // directory of the tree, where files that the service names are; "" for none
	Fence       int64  // of who acts; 0 only looks
	Rollout     string // ID, for labels
	Number      int    // of the rollout: that of the revision it brings; 0 if it is none's
	// Spec is how the service is to run; of the revision that is meant, or of the newest.
	Spec *project.Service
	// Log is told what is being done, a line at a time, without secrets; never nil.
	Log func(line string)
}

// Name is the name of all that belongs to the target: "shop-staging".
func (t *Target) Name() string { return t.Service + "-" + t.Environment }

// RevisionName is the name of all that belongs to a revision of the target:
// "shop-staging-r42".
func (t *Target) RevisionName(number int) string { return fmt.Sprintf("%s-r%d", t.Name(), number) }

// Revision is a release as it is deployed by one rollout.
type Revision struct {
	Number  int // the rollout's
	Release *record.Release
	Spec    *project.Service // the release's
	// Env is the configuration in this environment, secrets resolved.
	Env map[string]string
	// Secret names those of Env whose values are nowhere shown.
	Secret []string
	// Open opens the artifact's bytes; nil when the artifact is an image, or there is none. The
	// reader fails at the end when they are not those of the digest.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Proposal is what Propose said and was agreed to; nil for none.
	Proposal *record.Proposal
}

// World is what there is of a service in an environment.
type World struct {
	Fence     int64 // the highest that the target has seen
	Revisions []Seen
}

// Seen is what there is of a revision.
type Seen struct {
	Number    int
	Release   string // ID, as far as the target knows it
	Percent   int    // of the requests that it gets
	Instances []Instance
}

// Ready is how many instances are ready.
func (s *Seen) Ready() (n int) {
	for i := range s.Instances {
		if s.Instances[i].Ready {
			n++
		}
	}
	return n
}

// Revision is what there is of the revision with that number; nil for nothing.
func (w *World) Revision(number int) *Seen {
	for i := range w.Revisions {
		if w.Revisions[i].Number == number {
			return &w.Revisions[i]
		}
	}
	return nil
}

// Instance is one copy of a running revision.
type Instance struct {
	Name     string // "shop-staging-r42-0"
	Address  string // host:port at which whoever runs the checks reaches it; "" for none
	Ready    bool
	Failed   bool   // it will not become ready by itself
	Why      string // it is not ready: "exit status 3: listen tcp :80: bind: permission denied"
	Started  time.Time
	Restarts int
	Memory   int64 // bytes; 0: not known
}

// Share is how many of a hundred requests a revision gets.
type Share struct {
	Number  int
	Percent int
}

// Traffic is what was counted of requests.
type Traffic struct {
	Since     time.Time
	Revisions map[int]Requests
}

// Requests are counts that only rise.
type Requests struct {
	Count  int64
	Failed int64 // answered with 5xx, or not at all
	// Latency counts requests by duration: Latency[i] are those that took less than
	// Bound(i) and not less than Bound(i-1).
	Latency []int64
}

// Bound is the upper bound of a bucket of [Requests].Latency: four buckets for every
// doubling, from 0.1 ms.
func Bound(i int) time.Duration {
	d := 100 * time.Microsecond << (i / 4)
	return d + d*time.Duration(i%4)/4
}

// Errors that drivers wrap.
var (
	// ErrFenced says that somebody newer has taken the target on.
	ErrFenced = errors.New("a newer process has taken this over")
	// ErrStale says that the world has changed since the proposal was made.
	ErrStale = errors.New("what was proposed no longer fits what is there")
	// ErrUnknown says that it cannot be known what became of an act.
	ErrUnknown = errors.New("it is not known what became of it")
	// ErrRefused says that the target will not have the revision however often it is asked.
	ErrRefused = errors.New("refused")
)
