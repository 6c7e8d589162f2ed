// Package engine runs plans.
//
// One goroutine owns each run: the owner. It alone holds the graph of jobs
// and decides what starts, what is skipped, what is cancelled, and how a job
// ended. A job that has its turn runs in a goroutine of its own, which owns
// everything inside the job (its steps, its environment) and reports back
// once, when it has ended.
//
//	        ┌──────────── owner ────────────┐
//	needs ──► condition ──► expand ──► queue ──► job goroutine ──► ended ─┐
//	        └──────▲────────────────────────┘      steps, log, room        │
//	               └───────────────────────────────────────────────────────┘
//
// Every change is an event, appended to the record before it counts as a
// fact. Nothing else is stored: a run that was interrupted is resumed by
// walking the same graph again, taking over what the record says has ended,
// and asking the dialect the same questions, to which it gives the same
// answers.
//
// With [Reuse], a job is first gone through on paper: as long as each step was
// done before and nothing that it saw then has changed, it needs no workspace
// and no room, and its events are held back. At the first step that has to be
// done in earnest the workspace is filled, what the steps before it would
// have left there is restored, and the job goes on as any other.
//
// The engine knows no pipeline language. Conditions, deferred jobs and what a
// step comes to are the dialect's; places are the executor's; what a failure
// means is package fault's.
package engine

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Engine runs plans of one dialect in one kind of place. Its fields are set
// once, before the first run; several runs share it, and the machine.
type Engine struct {
	Dialect  dialect.Dialect
	Executor executor.Executor
	// Leases keep concurrency groups, across processes.
	Leases store.Leases
	// Idle is how many cores the running steps leave unused. Jobs beyond the
	// number of cores are admitted only while there are some.
	Idle func() float64
	// Grace is how long steps that want to run even in a cancelled job may.
	Grace time.Duration
	// Places is how many jobs run here at a time; 0: as many as the machine bears.
	Places int
	// Hands take jobs to other machines; nil: all are done here.
	Hands Hands
	// Conceal makes what people are given of an artifact, by its digest, when it
	// holds secrets that the masker knows; nil when it holds none. A nil Conceal
	// has no artifact looked through.
	Conceal func(ctx context.Context, m *secret.Masker, digest string) (*record.Shown, error)

	active atomic.Int64 // jobs of all runs that have a place
	within atomic.Int64 // those of them that are at a step; the others do work of ours
}

// Record takes events.
type Record interface {
	// Append makes the events part of the record, all or none, and returns
	// them with their Seq and Time.
	Append(ctx context.Context, events ...record.Event) ([]record.Event, error)
}

// Observer watches a run.
type Observer interface {
	// Event is told of each event after it was appended.
	Event(e record.Event)
	// Line is told of each line of a job's log. text is valid only during
	// the call.
	Line(job, step string, n int64, text []byte)
}

// Opening says for what a workspace is wanted.
type Opening struct {
	Job string
	// At is the workspace's directory, when it has to be that one, and Tree
	// what has to be in it; "" and nil for any, and the tree as it is now.
	// The error is an ErrElsewhere when that cannot be had.
	At   string
	Tree cache.Tree
	// Reclaim is the run whose kept workspace of this job is wanted, exactly
	// as it was left; "" for a fresh one.
	Reclaim string
}

// ErrElsewhere is wrapped by the error of an Opening whose place is taken, or
// whose tree has changed.
var ErrElsewhere = errors.New("not there, not like that")

// Workspace is a job's own view of the tree.
type Workspace interface {
	Dirs() plan.Dirs
	// Notes tell of what could not be part of the view, a line each.
	Notes() []string
	// Keep leaves everything as it is, for a person to look at or a later
	// run to go on from.
	Keep() error
	// Release gives the directories back.
	Release() error
}

// Log is a job's log while it is written. It is safe for concurrent use.
type Log interface {
	// Line appends a line and returns its number, from 0.
	Line(step string, at time.Time, text []byte) (int64, error)
	Lines() int64
	// Flush makes what was written readable, and safe from the end of this
	// process.
	Flush() error
	// Text is the lines [from, to) of a step that were flushed, each with LF.
	Text(step string, from, to int64) (io.ReadCloser, error)
	Close() error
}

// Request asks for one run.
type Request struct {
	Context *plan.Context
	Record  Record
	// Planned is the run's first event; nil when it is in the record already.
	Planned  *record.RunPlanned
	Masker   *secret.Masker
	Observer Observer
	// Open gives a job its directories.
	Open func(ctx context.Context, o Opening) (Workspace, error)
	// Log opens the log of a job; an interrupted one is continued.
	Log func(job string) (Log, error)
	// Secrets are those that a job is given besides the Context's because it names an
	// environment, already known to Masker; nil: none.
	Secrets func(ctx context.Context, environment string) (map[string]string, error)
	// Protect says what protects the environment that a job names; nil, also of
	// the answer: nothing.
	Protect func(ctx context.Context, job *plan.Job) (*Protection, error)
	// Tokens signs the ID tokens that a job asks for, known to Masker; nil: nobody does.
	Tokens func(ctx context.Context, job *plan.Job) (map[string]string, error)
	// Seed is given to commands that name it and do not set it themselves; with
	// SeedAll, to those that do not name it, too. "" for none.
	Seed    string
	SeedAll bool
	// Lending is what a job is lent; nil, also of the answer: nothing.
	Lending func(job *plan.Job) *Lending
	// Reuse lets steps be reused; nil runs all, and watches none.
	Reuse *Reuse
	// Tests says what becomes of the results of tests.
	Tests Tests

	Parallel int // jobs at a time; 0: as many as the machine can bear
	Retry    int // how often a job that failed is tried again

	// Prior is what is already known, when the run is resumed (the same ID)
	// or goes on from another. Jobs that ended well in it are not run again.
	Prior *record.Run
	// From names the step that a job of Prior goes on from, by job ID.
	From map[string]string
	// Cancels brings requests to cancel this run or a job of it
	// (record.CancelRequested), from other processes.
	Cancels <-chan record.Event
	// Abort, when closed, ends everything at once, without waiting for steps
	// that want to run even in a cancelled run. Jobs that are done elsewhere are
	// left to those who do them: see [ErrLeft].
	Abort <-chan struct{}
	// Kept is told the commands of a job whose workspace was kept, so that a
	// person can have a shell in it. Secrets' values are masked.
	Kept func(job string, commands map[string]*plan.Command)
}

// ErrRecord is wrapped by the error of a run that was stopped because its
// events could not be recorded.
var ErrRecord = errors.New("the record cannot be written")

// cause is why a context of the engine's ended.
type cause struct {
	verdict plan.Verdict // Cancelled or Timeout
	why     string
}

func (c *cause) Error() string { return c.why }

// Cancel is the cause to cancel a run's context with, so that the record says
// who or what ended it.
func Cancel(why string) error { return &cause{plan.Cancelled, why} }

// causeOf tells why the context ended.
func causeOf(ctx context.Context) *cause {
	why := context.Cause(ctx)
	if c, ok := errors.AsType[*cause](why); ok {
		return c
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded): // a program's own limit
		return &cause{plan.Timeout, why.Error()}
	case why != nil && !errors.Is(why, context.Canceled):
		return &cause{plan.Cancelled, why.Error()}
	}
	return &cause{plan.Cancelled, "cancelled"}
}
