// Package host runs steps on this machine, as the person who started
// Fairlead.
//
// A step is a process in a session of its own, with no terminal, nothing to
// read, and one pipe for everything it prints. Around it stands a fence: the
// means by which the step and everything that it ever started are found
// again. A step may fork twice, change its session, ignore signals; it does
// not leave its fence. There are two kinds:
//
//   - a control group (Linux, cgroup v2 at a place where we may make groups):
//     the kernel itself keeps the list;
//   - a search (Linux without that): orphans come back to Fairlead, which is
//     their subreaper, and processes are told by descent, by session and by
//     a mark in their environment. Elsewhere: the process group and session.
//
// What happens to a step's processes:
//
//   - A step has ended when its first process has. Whatever that process had
//     printed is delivered before Run returns, and nothing after.
//   - Processes that a step leaves behind (a server started with &) live on
//     for the steps that follow, until the room is closed. What they print
//     from then on is read and thrown away: they neither block on a full pipe
//     nor die of a broken one.
//   - When a step is cancelled, everything inside its fence gets TERM, and
//     after the grace period KILL. Closing the room does the same with all
//     that is left, with a shorter grace.
//   - A step can be watched (package trace). The supervisor is a thread of
//     Fairlead's own; when Fairlead is killed, the calls of a watched step
//     fail until the keeper has killed it, too.
//   - When Fairlead itself is killed, a keeper (a small shell waiting at the
//     other end of a pipe) kills what it left. The one gap: without control
//     groups, a process that wiped its own environment survives that.
package host

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// DefaultGrace is how long processes have between TERM and KILL.
const DefaultGrace = 10 * time.Second

// closeGrace is the same for what a job left running when it ended: nobody
// waits for it any more.
const closeGrace = time.Second

// Options say how steps run on this machine. The zero value is sensible.
type Options struct {
	// Grace is the time between TERM and KILL when a step is cancelled; 0
	// means [DefaultGrace].
	Grace time.Duration

	// Limits hold for each room. They need control groups; where those
	// cannot be had, Open fails rather than run without the limits.
	Limits Limits

	// Env is the environment to choose from, os.Environ when nil.
	Env func() []string

	// Inherit changes which variables of Env the steps see. The patterns
	// are tried after the built-in rules, the last match wins: "NAME" or
	// "PREFIX*" lets in, "!NAME" or "!PREFIX*" keeps out, "*" is everything.
	Inherit []string

	// Labels overrule what this machine takes itself to be: true for labels
	// whose jobs shall run here, false for those that shall not.
	Labels map[string]bool

	// NoCgroups keeps to the search even where control groups could be used.
	NoCgroups bool

	// Sealed says that all processes end with this one: it is the first of its
	// name space. No keeper is needed then, nor a shell for it to be.
	Sealed bool
}

// Limits bound what the processes of one room may use together. Zero values
// do not bound.
type Limits struct {
	Memory int64   // bytes
	PIDs   int     // processes and threads
	CPUs   float64 // cores
}

// IsZero reports whether nothing is limited.
func (l Limits) IsZero() bool { return l == Limits{} }

// Executor runs steps on this machine. It is made by [New] and used by many
// goroutines.
type Executor struct {
	opts Options

	setUp sync.Once
	base  environment
	yard  yard
	err   error

	probe   sync.Once
	ability trace.Ability
	unable  error // why nothing can be watched

	classify sync.Once
	class    executor.Class

	meter   Meter
	looking sync.Mutex
	looks   []look // the recent ones
}

var _ executor.Executor = (*Executor)(nil)

// New makes an executor. It touches nothing before the first Open.
func New(o Options) *Executor {
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	if o.Env == nil {
		o.Env = os.Environ
	}
	labels := make(map[string]bool, len(o.Labels))
	for l, ok := range o.Labels {
		labels[strings.ToLower(l)] = ok
	}
	o.Labels = labels
	return &Executor{opts: o}
}

// Name is "host".
func (x *Executor) Name() string { return "host" }

// Fits says whether the job can run on this machine. It fits when nothing
// speaks against it: labels that name no system, such as a team's own, are
// taken for this machine; so is Linux on any Unix, since most scripts do not
// mind.
func (x *Executor) Fits(place *plan.Place) *plan.Problem {
	if place == nil {
		return nil
	}
	if c := place.Container; c != nil && c.Image != "" {
		return &plan.Problem{
			Source: either(c.Source, place.Source), Severity: plan.Error, Rule: "container",
			Message: fmt.Sprintf("the job runs in the container image %q, and this machine runs jobs directly: it needs Docker", c.Image),
			Hint:    "leave the job out of this run, or take `container` away to run its steps on this machine",
		}
	}
	for _, name := range slices.Sorted(maps.Keys(place.Services)) {
		if s := place.Services[name]; s.Image != "" {
			return &plan.Problem{
				Source: either(s.Source, place.Source), Severity: plan.Error, Rule: "services",
				Message: fmt.Sprintf("the service %q runs the container image %q: it needs Docker", name, s.Image),
				Hint:    "leave the job out of this run, or start the service on this machine and take it out of `services`",
			}
		}
	}
	for _, l := range place.Labels {
		want := x.foreign(l)
		if want == "" {
			continue
		}
		return &plan.Problem{
			Source: place.Source, Severity: plan.Warning, Rule: "runs-on",
			Message: fmt.Sprintf("%q asks for %s, and this machine is %s", l, want, machine()),
			Hint:    fmt.Sprintf("--label %s=yes runs such jobs here all the same", l),
		}
	}
	return nil
}

func either(a, b plan.Source) plan.Source {
	if a.IsZero() {
		return b
	}
	return a
}

// foreign says what a label asks for that this machine is not, "" when
// nothing.
func (x *Executor) foreign(label string) string {
	l := strings.ToLower(strings.TrimSpace(label))
	if ok, said := x.opts.Labels[l]; said {
		if ok {
			return ""
		}
		return "a machine that the settings exclude"
	}
	switch {
	case l == "windows" || strings.HasPrefix(l, "windows-"):
		if runtime.GOOS != "windows" {
			return "Windows"
		}
	case l == "macos" || strings.HasPrefix(l, "macos-"):
		if runtime.GOOS != "darwin" {
			return "macOS"
		}
		return ""
	}
	arch := ""
	switch {
	case l == "x64":
		arch = "amd64"
	case l == "x86":
		arch = "386"
	case l == "arm64", strings.HasPrefix(l, "ubuntu-") && strings.HasSuffix(l, "-arm"):
		arch = "arm64"
	case l == "arm":
		arch = "arm"
	}
	if arch != "" && arch != runtime.GOARCH {
		return "an " + arch + " processor"
	}
	return ""
}

// machine is this machine in words.
func machine() string {
	name := map[string]string{"linux": "Linux", "darwin": "macOS", "windows": "Windows"}[runtime.GOOS]
	if name == "" {
		name = runtime.GOOS
	}
	return name + " on " + runtime.GOARCH
}

// ready finds out, once, what this machine offers.
func (x *Executor) ready() {
	x.setUp.Do(func() {
		x.base = inherit(x.opts.Env(), x.opts.Inherit)
		x.yard, x.err = newYard(x.opts)
	})
}

// Open makes a room.
func (x *Executor) Open(ctx context.Context, spec executor.Spec) (executor.Room, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p := x.Fits(&spec.Place); p != nil {
		return nil, fmt.Errorf("host: open room: %s", p)
	}
	x.ready()
	if x.err != nil {
		return nil, fmt.Errorf("host: open room: %w", x.err)
	}
	pen, err := x.yard.pen()
	if err != nil {
		return nil, fmt.Errorf("host: open room: %w", err)
	}
	return newRoom(x, pen, spec.Dirs), nil
}

// Close gives back what the executor holds of the machine: its control groups
// and its keeper. All rooms are closed by then. A process that ends without it
// leaves that to the keeper.
func (x *Executor) Close() error {
	x.setUp.Do(func() { x.err = os.ErrClosed })
	if x.yard == nil {
		return nil
	}
	return x.yard.close()
}
