// Package executor is the door to the places where steps run: this host, a
// container, a pod, another machine.
//
// An executor opens a [Room] for a job; the room runs commands, one after
// another or side by side, until it is closed. A room gives its steps a
// workspace, a temporary directory and a tool cache. It promises:
//
//   - when a command is cancelled, all its descendants are gone when Run has
//     returned; what a command leaves behind on purpose (a server for the steps
//     that follow) lives until Close, and not longer;
//   - no byte of its output is lost and none arrives after Run has returned;
//   - what ended it is told apart: an exit code, a signal, or our own failure
//     (a Go error: the command could not be started).
package executor

import (
	"context"
	"io"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Executor is a kind of place.
type Executor interface {
	// Name is its short name: "host".
	Name() string

	// Fits says whether a job's place can be had here; if not, the problem
	// says why and what to do. With severity plan.Warning the job is for
	// another kind of machine and is skipped; with plan.Error something is
	// missing here, and the job ends in error.
	Fits(place *plan.Place) *plan.Problem

	// Class is the kind of place: what steps find there whoever they are.
	Class(place *plan.Place) Class

	// Open makes a room ready. The caller closes it.
	Open(ctx context.Context, spec Spec) (Room, error)
}

// Class is what holds for all steps in places of a kind.
type Class struct {
	// Name tells machines apart that may come to other results: "linux/amd64 6, 2 cores".
	Name    string
	Environ []string // NAME=value, what steps have beside what they are given
}

// Spec is what a room is made for.
type Spec struct {
	Run, Job string // for names and labels
	Place    plan.Place
	Dirs     plan.Dirs // on this machine; made by the caller, which owns them
	// Value is what an expression of a container's comes to: those over
	// secrets, which are not in a plan. It may be nil when there are none.
	Value func(e plan.Expr) (string, error)
	// Note tells a person what the room is waiting for, a line each; it may
	// be nil.
	Note func(text string)
}

// Room is where one job's steps run. Run may be called by several goroutines.
type Room interface {
	// Dirs are the directories as the steps see them.
	Dirs() plan.Dirs

	// Run runs a command to its end. Output (standard output and error,
	// joined as they come) goes to out, whole writes in order; a slow out
	// slows the command. When ctx ends, the command and its descendants get
	// TERM, then KILL after a grace period, and Result.Stopped is true. With
	// watch, what the command touches is observed; where that is impossible
	// the command runs all the same, and the observation says why.
	Run(ctx context.Context, c *plan.Command, watch *trace.Spec, out io.Writer) (Result, error)

	// Close ends everything that still runs in the room.
	Close() error
}

// Located is a Room that knows more of where it is than its place says.
type Located interface {
	// Beside are the services that run beside the job, by their names.
	Beside() map[string]plan.Beside
	// Images are those that the room is made of, and its services.
	Images() []record.Material
	// Altered says what earlier commands have changed, or may have changed,
	// of what every room of this class has in common; "" for nothing. What a
	// command does after that says nothing about other rooms.
	Altered() string
}

// Result is how a command ended.
type Result struct {
	Exit        int                 // exit code; 128+n when signal n ended it
	Signal      string              // name of the signal that ended it, "" for none
	Stopped     bool                // it ended because ctx did, the room was closed, or out could not be written
	LeftOver    int                 // processes that outlive the step; Close ends them
	OOM         bool                // the kernel killed something for want of memory
	Observation *record.Observation // nil when it was not to be watched
}
