package engine

import (
	"cmp"
	"context"
	"runtime"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// admit starts queued jobs, as many as there is room for.
func (o *owner) admit() {
	active := int(o.Engine.active.Load())
	budget := cmp.Or(o.Places, runtime.NumCPU()) - active
	if o.req.Parallel > 0 {
		budget = o.req.Parallel - o.active
	} else if budget <= 0 && o.Places == 0 && len(o.queue) > 0 && active < maxAdmitted {
		// Every core has its job, but perhaps the jobs only wait.
		preparing := active - int(o.within.Load())
		budget = int(o.Idle()+0.25) - preparing
	}
	var later []*node
	for len(o.queue) > 0 {
		n := o.queue[0]
		o.queue = o.queue[1:]
		switch {
		case n.state != record.Queued: // cancelled meanwhile
		case !o.mayStart(n):
			later = append(later, n)
		case o.req.Parallel == 0 && o.fitsHands(n):
			n.away = true // it takes no place of this machine
			o.start(n)
		case budget <= 0 && o.Hands != nil && len(later) < maxLook:
			later = append(later, n) // others may be for a hand
		case budget <= 0:
			o.queue = slices.Concat(later, []*node{n}, o.queue)
			return
		default:
			budget--
			n.away = o.fitsHands(n)
			o.start(n)
		}
	}
	o.queue = later
}

// mayStart applies max-parallel of every expansion the job is part of.
func (o *owner) mayStart(n *node) bool {
	for c := n; c.parent != nil; c = c.parent {
		if limit := c.parent.expansion.MaxParallel; limit > 0 && c.started == 0 && running(c.parent) >= limit {
			return false
		}
	}
	return true
}

func running(parent *node) (k int) {
	for _, c := range parent.children {
		if c.started > 0 && c.state != record.Finished {
			k++
		}
	}
	return k
}

// start hands the job to a goroutine.
func (o *owner) start(n *node) {
	if p := o.Executor.Fits(&n.job.Place); p != nil && !n.away {
		verdict := plan.Fault
		if p.Severity == plan.Warning {
			verdict, o.unfit = plan.Skipped, p
		}
		o.end(n, end{verdict: verdict, why: p.Message + hint(p.Hint), at: p.Source})
		return
	}
	under := o.soft
	if under.Err() != nil { // its condition holds all the same: it runs as any other
		under = o.ctx
	}
	soft, cancel := context.WithCancelCause(under)
	n.state, n.cancel = record.Running, cancel
	for c := n; c != nil; c = c.parent {
		c.started++
	}
	o.active++
	if !n.away {
		o.Engine.active.Add(1)
	}
	n.paper = true
	o.onPaper++
	n.scope.Status = plan.Success
	go func() {
		e := o.runJob(soft, n)
		if e.nobody {
			o.reports <- report{node: n, back: soft}
			return
		}
		defer cancel(nil)
		o.reports <- report{node: n, end: e}
	}()
}

// cancelQueued looks again at what has not started: its condition may hold
// even when the run is cancelled.
func (o *owner) cancelQueued() {
	queue := o.queue
	o.queue = nil
	for _, n := range queue {
		if n.state != record.Queued {
			continue
		}
		n.scope.Status = o.status(n)
		if holds, err := o.holds(n.job.If, n.scope); err == nil && holds {
			o.queue = append(o.queue, n)
			continue
		}
		o.end(n, o.declined(n))
	}
}
