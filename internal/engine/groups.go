package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// groupPoll is how often a job looks whether its concurrency group is free.
const groupPoll = 25 * time.Millisecond

// group is a concurrency group as one member sees it: at most one member
// runs, at most one waits (unless the group queues), and a newer one takes
// the older one's place in waiting.
type group struct {
	leases store.Leases
	ask    func(ctx context.Context, holder, why string) error // asks another member to give up
	name   string
	holder string
	cancel bool // ask the running member to give up
	queue  bool // let many wait
}

// try takes a lease if it is free; if not, it says who has it.
func (g *group) try(ctx context.Context, name string) (release func(), present string, err error) {
	lease, err := g.leases.Lease(ctx, name, g.holder)
	if held, ok := errors.AsType[*store.HeldError](err); ok {
		return nil, held.Holder, nil
	}
	if err != nil {
		return nil, "", err
	}
	// A lease that cannot be given back is free when this process ends.
	return func() { _ = lease.Release() }, "", nil
}

// join waits until the group is ours.
func (g *group) join(ctx context.Context) (release func(), err error) {
	asked := map[string]bool{}
	var place func() // our place in waiting
	defer func() {
		if place != nil {
			place()
		}
	}()
	for {
		release, running, err := g.try(ctx, g.name)
		if err != nil || release != nil {
			return release, err
		}
		if g.cancel && running != "" && !asked[running] {
			asked[running] = true
			if err := g.ask(ctx, running, "superseded in concurrency group "+g.title()); err != nil {
				return nil, err
			}
		}
		if !g.queue && place == nil {
			var waiting string
			if place, waiting, err = g.try(ctx, g.name+"\x00waiting"); err != nil {
				return nil, err
			}
			if place == nil && waiting != "" && !asked[waiting] {
				asked[waiting] = true
				if err := g.ask(ctx, waiting, "a newer member waits for concurrency group "+g.title()); err != nil {
					return nil, err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(groupPoll):
		}
	}
}

func (g *group) title() string { return g.name[strings.LastIndexByte(g.name, '\x00')+1:] }

// newGroup reads what a pipeline or a job says of its concurrency group.
func (o *owner) newGroup(c *plan.Concurrency, s *plan.Scope, holder string) (*group, error) {
	name, err := o.Dialect.Eval(c.Group, dialect.Text, s)
	if err != nil {
		return nil, err
	}
	g := &group{leases: o.Leases, holder: holder, queue: c.Queue}
	g.name = "group\x00" + strings.ToLower(s.Change.Repository) + "\x00" + strings.ToLower(fmt.Sprint(name))
	if !c.CancelInProgress.IsZero() {
		v, err := o.Dialect.Eval(c.CancelInProgress, dialect.Condition, s)
		if err != nil {
			return nil, err
		}
		g.cancel = v == true
	}
	g.ask = func(ctx context.Context, member, why string) error {
		run, job, _ := strings.Cut(member, " ")
		e := record.Event{Run: run, Job: job, Body: &record.CancelRequested{By: describe(holder), Why: why}}
		if _, err := o.req.Record.Append(ctx, e); err != nil {
			return err
		}
		if run == o.runID {
			select {
			case o.asks <- e:
			case <-ctx.Done():
			}
		}
		return nil
	}
	return g, nil
}

// describe turns a holder, "run" or "run job", into words.
func describe(holder string) string {
	run, job, ok := strings.Cut(holder, " ")
	if !ok {
		return "run " + run
	}
	return "job " + job + " of run " + run
}

// joinGroup lets a job, or with a nil node the run, wait for its concurrency
// group. What comes of it is reported.
func (o *owner) joinGroup(n *node, c *plan.Concurrency, s *plan.Scope) {
	id, holder := "", o.runID
	if n != nil {
		id, holder = n.job.ID, o.runID+" "+n.job.ID
	}
	o.waits++
	g, err := o.newGroup(c, s, holder)
	if err == nil {
		var release func()
		if release, _, err = g.try(o.soft, g.name); release != nil {
			o.take(report{node: n, grouped: true, release: release})
			return
		}
	}
	if err != nil {
		o.take(report{node: n, grouped: true, end: problemEnd(err, c.Source)})
		return
	}
	o.emit(id, &record.JobQueued{Why: "waits for concurrency group " + g.title()})
	ctx, cancel := context.WithCancelCause(o.soft)
	if n != nil {
		n.cancel = cancel
	}
	go func() {
		defer cancel(nil)
		release, err := g.join(ctx)
		r := report{node: n, grouped: true, release: release}
		switch {
		case release != nil:
		case ctx.Err() != nil:
			c := causeOf(ctx)
			r.end = end{verdict: c.verdict, why: c.why}
		default:
			r.end = end{verdict: plan.Fault, why: err.Error()}
		}
		o.reports <- r
	}()
}
