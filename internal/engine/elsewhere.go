package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Hands do whole jobs on other machines. What a job needs and waits for, its
// condition, its concurrency group, its retries and what follows from its end
// stay with the owner of the run. The job's own events come to the record
// through the hands, and its end comes back once.
type Hands interface {
	// Fits says whether a hand that is known takes jobs of such a place, now
	// or later. Jobs for which nobody does run here.
	Fits(place *plan.Place) bool

	// Has says whether the job was given away before, by an owner that is
	// gone. Then Do goes on with it.
	Has(ctx context.Context, run, job string) bool

	// Do has a job done and returns how it ended: when it has ended, wherever
	// that was, and nobody works at it any more. When soft ends the job is
	// cancelled, when hard ends everything of it is stopped; but when the cause
	// of hard's end is [ErrLeft] the job goes on, and Do returns that error at
	// once. An [ErrNobody] says that nobody works at it, or will. Any other error
	// says that it is not known how the job ended.
	Do(soft, hard context.Context, a Assignment) (Ended, error)
}

var (
	// ErrLeft says that the job goes on without its owner: whoever owns the run
	// next goes on with it, through [Hands.Do].
	ErrLeft = errors.New("the job goes on without us")
	// ErrNobody says that nobody is left who takes the job: it may run here, if
	// it fits.
	ErrNobody = errors.New("nobody takes the job any more")
)

// workerPlace begins JobStarted.Place of a job that was done by a worker.
const workerPlace = "worker "

// PlaceOf is where a job was that a worker did, for [record.JobStarted].
func PlaceOf(worker string) string { return workerPlace + worker }

// WorkerOf is the worker that did a job, by its place.
func WorkerOf(place string) (worker string, ok bool) { return strings.CutPrefix(place, workerPlace) }

// Assignment is a job to be done elsewhere: all that an engine there needs. It
// is plain data and survives JSON. It may hold secrets, and is never stored.
type Assignment struct {
	Run, Job string
	Try      int // of the job, from 1
	Retry    int // how often a job that failed is tried again, whatever Plan says

	Context *plan.Context
	Plan    *plan.Job
	Scope   *plan.Scope // what its expressions may ask for, beside Context and Plan

	// Prior is what is known of the job from PriorRun, and From the step that it
	// is to go on from: see Request.
	PriorRun string
	Prior    *record.JobRun
	From     string

	// Reuse says what may be reused; nil for nothing.
	Reuse *Reusable
	// Muted are the tests in quarantine, and RetryTests is how often failed ones are run
	// again.
	Muted      []record.Mute
	RetryTests int
	// Affected and Reports are those of [Tests].
	Affected bool
	Reports  []string

	// Seed and SeedAll are the run's: see Request.
	Seed    string
	SeedAll bool
	// Lend says that the job is lent what its tree declares, by who does it.
	Lend bool
}

// Reusable is what [Reuse] says of a run, without the machine.
type Reusable struct {
	Scopes cache.Scopes
	Verify int
}

// assignment is an Assignment as JSON. The scope's own context and job are
// those of the assignment, and are not written twice.
type assignment Assignment

// MarshalJSON implements json.Marshaler.
func (a Assignment) MarshalJSON() ([]byte, error) {
	if a.Scope != nil {
		s := *a.Scope
		s.Context, s.Job = nil, nil
		a.Scope = &s
	}
	return json.Marshal(assignment(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Assignment) UnmarshalJSON(data []byte) error {
	var x assignment
	if err := json.Unmarshal(data, &x); err != nil {
		return err
	}
	*a = Assignment(x)
	return a.join()
}

// join gives the scope what the assignment holds once, and says what is
// missing.
func (a *Assignment) join() error {
	if a.Context == nil || a.Context.Pipeline == nil || a.Context.Change == nil || a.Plan == nil || a.Scope == nil ||
		a.Run == "" || a.Plan.ID != a.Job || a.Context.RunID != a.Run {
		return errors.New("the assignment is not whole")
	}
	s := *a.Scope
	s.Context, s.Job = a.Context, a.Plan
	a.Scope = &s
	return nil
}

// Ended is how a job ended elsewhere.
type Ended struct {
	Verdict  plan.Verdict      `json:"verdict"`
	Exit     int               `json:"exit,omitempty"` // of the command that failed first
	Why      string            `json:"why,omitempty"`
	At       plan.Source       `json:"at,omitzero"`
	Outputs  map[string]string `json:"outputs,omitempty"`
	Withheld []string          `json:"withheld,omitempty"`
	// Confided is what the job told in confidence. Whoever stores an Ended leaves it out.
	Confided map[string]string `json:"confided,omitempty"`
	// Settled, if not nil, is to be called when the end is a fact.
	Settled func() `json:"-"`
}

// wasGiven reports whether the run's owner before us had given the job away.
func (o *owner) wasGiven(n *node) bool {
	return o.Hands != nil && o.resumes() && o.prior(n) != nil && o.Hands.Has(o.ctx, o.runID, n.job.ID)
}

// fitsHands reports whether a hand is to do the job.
func (o *owner) fitsHands(n *node) bool {
	if o.Hands == nil || n.job.Place.Home {
		return false
	}
	if p := o.prior(n); p != nil && o.req.From[n.job.ID] != "" {
		_, there := WorkerOf(p.Started.Place)
		return there // where its workspace is
	}
	return n.given || o.Hands.Fits(&n.job.Place)
}

// takeBack queues a job again that no hand takes any more.
func (o *owner) takeBack(n *node, soft context.Context) {
	stopped, c := soft.Err() != nil, causeOf(soft)
	n.cancel(nil)
	n.away, n.given, n.cancel = false, false, nil
	if stopped {
		o.end(n, end{verdict: c.verdict, why: c.why})
		return
	}
	n.state = record.Queued
	for c := n; c != nil; c = c.parent {
		c.started--
	}
	o.queue = slices.Insert(o.queue, 0, n)
}

// once does the job once, here or elsewhere.
func (o *owner) once(soft context.Context, n *node, try int, again func(*end) bool) end {
	if !n.away {
		return o.attempt(soft, n, try, again)
	}
	o.earnest(n)
	scope := n.seen()
	a := Assignment{Run: o.runID, Job: n.job.ID, Try: try, Retry: o.req.Retry, Context: scope.Context, Plan: n.job, Scope: scope, Muted: o.req.Tests.Muted, RetryTests: o.req.Tests.Retry, Affected: o.req.Tests.Affected, Reports: o.req.Tests.Reports, Seed: o.req.Seed, SeedAll: o.req.SeedAll}
	if o.req.Lending != nil {
		l := o.req.Lending(n.job)
		a.Lend = l != nil && l.Refused == ""
	}
	if p := o.prior(n); p != nil && try == 1 {
		a.PriorRun, a.Prior, a.From = o.req.Prior.ID, p, o.req.From[n.job.ID]
	}
	if r := o.req.Reuse; r != nil {
		a.Reuse = &Reusable{Scopes: r.Scopes, Verify: r.Verify}
	}
	d, err := o.Hands.Do(soft, o.ctx, a)
	if err != nil {
		return end{verdict: plan.Fault, why: err.Error(), at: n.job.Source, lost: errors.Is(err, ErrLeft), nobody: errors.Is(err, ErrNobody)}
	}
	e := end{verdict: d.Verdict, exit: d.Exit, why: o.req.Masker.String(d.Why), at: d.At, withheld: d.Withheld, confided: d.Confided, leave: d.Settled}
	o.req.Masker.Add(slices.Collect(maps.Values(d.Confided))...)
	for name, value := range d.Outputs {
		// Whoever did the job was not given the secrets of others.
		if o.req.Masker.Holds(value) {
			e.withheld = append(e.withheld, name)
			continue
		}
		if e.outputs == nil {
			e.outputs = make(map[string]string, len(d.Outputs))
		}
		e.outputs[name] = value
	}
	return e
}

// earnest returns when what the job rests on is a fact.
func (o *owner) earnest(n *node) {
	if done := make(chan struct{}); n.paper {
		o.reports <- report{node: n, earnest: done}
		<-done
	}
}

// Do does one job that somebody else's run has assigned to this machine, once:
// the other side of [Hands]. Its events go to req.Record; there are none of the
// run, and none of the job's end, which is returned. Context, Prior and From of
// the request are the assignment's. Settled is to be called when the end is
// known to whoever assigned the job. The error says that events could not be
// recorded.
func (e *Engine) Do(soft, hard context.Context, req Request, a Assignment) (Ended, error) {
	if err := a.join(); err != nil {
		return Ended{}, fmt.Errorf("do job %s of run %s: %w", a.Job, a.Run, err)
	}
	req.Context, req.Retry = a.Context, a.Retry
	req.Tests.Muted, req.Tests.Retry = a.Muted, a.RetryTests
	req.Tests.Affected, req.Tests.Reports = a.Affected, a.Reports
	req.Seed, req.SeedAll = a.Seed, a.SeedAll
	if a.Prior != nil {
		req.Prior = &record.Run{ID: a.PriorRun, Jobs: map[string]*record.JobRun{a.Job: a.Prior}}
		if a.From != "" {
			req.From = map[string]string{a.Job: a.From}
		}
	}
	a.Scope.OS, a.Scope.Arch = systemName(runtime.GOOS), archName(runtime.GOARCH)
	a.Scope.Status = plan.Success
	o := &owner{Engine: e, req: req, runID: a.Run, ctx: hard, soft: soft}
	n := &node{job: a.Plan, scope: a.Scope}
	if p := e.Executor.Fits(&n.job.Place); p != nil {
		return Ended{Verdict: plan.Fault, Why: p.Message + hint(p.Hint), At: p.Source}, nil
	}
	e.active.Add(1)
	defer e.active.Add(-1)
	end := o.attempt(soft, n, a.Try, o.again(a.Plan, a.Try))
	d := Ended{Verdict: end.verdict, Exit: end.exit, Why: end.why, At: end.at, Outputs: end.outputs, Withheld: end.withheld, Confided: end.confided, Settled: end.leave}
	if end.lost {
		return d, fmt.Errorf("%w: %s", ErrRecord, end.why)
	}
	if len(end.events) > 0 {
		events, err := req.Record.Append(context.WithoutCancel(hard), end.events...)
		if err != nil {
			return d, fmt.Errorf("%w: %w", ErrRecord, err)
		}
		for _, x := range events {
			req.Observer.Event(x)
		}
	}
	return d, nil
}

// Stopped is how a job ends whose soft context has ended before it began.
func Stopped(soft context.Context) Ended {
	c := causeOf(soft)
	return Ended{Verdict: c.verdict, Why: c.why}
}
