package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// end finishes a job: it writes the event, tells its dependents and its
// parent. Continue-on-error is applied here.
func (o *owner) end(n *node, e end) {
	n.state, n.verdict, n.result, n.outputs, n.confided = record.Finished, e.verdict, e.verdict, e.outputs, e.confided
	if e.verdict.Bad() && (n.job.ContinueOnError || e.exit != 0 && slices.Contains(n.job.Tolerate, e.exit)) {
		n.result = plan.Success
	}
	if n.release != nil {
		n.release()
		n.release = nil
	}
	o.emitEnd(n, e)
	if e.leave != nil {
		o.leaving = append(o.leaving, e.leave)
	}
	o.settled(n)
}

// emitEnd writes that a job has ended, unless the run is resumed and the
// record has it already.
func (o *owner) emitEnd(n *node, e end) {
	if p := o.prior(n); o.resumes() && p != nil && p.State == record.Finished {
		return
	}
	o.emit(n.job.ID, &record.JobFinished{Verdict: n.verdict, Result: n.result, Why: e.why, At: e.at, Outputs: n.outputs, Withheld: e.withheld, Waits: e.waits})
}

// settled passes a finished job on: to those that need it, and up.
func (o *owner) settled(n *node) {
	if p := n.parent; p != nil {
		p.left--
		if p.expansion.FailFast && n.result.Bad() && !p.stopped {
			p.stopped = true
			o.stop(p, fmt.Sprintf("%s ended in %s (fail-fast)", n.job.ID, n.verdict))
		}
		if p.outputs == nil {
			p.outputs = map[string]string{}
		}
		maps.Copy(p.outputs, n.outputs)
	}
	if o.req.Context.Pipeline.AutoCancel.OnFailure && n.result.Bad() && o.soft.Err() == nil {
		o.cancel(Cancel(fmt.Sprintf("%s ended in %s, which ends the pipeline", n.job.ID, n.verdict)))
	}
	for _, d := range n.dependents {
		d.open--
		o.consider(d)
	}
	if p := n.parent; p != nil && p.left == 0 && p.state != record.Finished {
		o.gather(p)
	}
}

// stop cancels every unfinished job below p.
func (o *owner) stop(p *node, why string) {
	for _, c := range p.children {
		if c.state != record.Finished {
			o.stopOne(c, why)
		}
	}
}

// stopOne cancels a job that has not finished.
func (o *owner) stopOne(n *node, why string) {
	switch {
	case n.cancel != nil: // a goroutine has it, and will report
		n.cancel(Cancel(why))
	case n.expansion != nil:
		o.stop(n, why)
	default:
		o.end(n, end{verdict: plan.Cancelled, why: why})
	}
}

// gather ends an expanded job, all of whose jobs have ended.
func (o *owner) gather(p *node) {
	e := end{verdict: plan.Skipped, outputs: p.outputs}
	result := plan.Skipped
	jobs := map[string]plan.Outcome{}
	for _, c := range p.children {
		e.verdict, result = plan.Worse(e.verdict, c.verdict), plan.Worse(result, c.result)
		jobs[lastPart(c.job.ID)] = plan.Outcome{Verdict: c.result, Outputs: c.outputs, Confided: c.confided}
	}
	if len(p.expansion.Outputs) > 0 {
		s := *p.scope
		s.Jobs = jobs
		var problem error
		if e.confided, problem = o.confided(&o.req, p.expansion.Confided, &s); problem == nil {
			e.outputs, e.withheld, problem = o.outputs(&o.req, p.expansion.Outputs, &s)
		}
		if problem != nil {
			bad := problemEnd(problem, p.job.Source)
			e.verdict, e.why, e.at, result = bad.verdict, bad.why, bad.at, bad.verdict
		}
	}
	p.verdict, p.result, p.outputs, p.confided, p.state = e.verdict, result, e.outputs, e.confided, record.Finished
	if p.release != nil {
		p.release()
	}
	if p.result.Bad() && p.job.ContinueOnError {
		p.result = plan.Success
	}
	o.emitEnd(p, e)
	o.settled(p)
}

func hint(h string) string {
	if h == "" {
		return ""
	}
	return "; " + h
}

// problemEnd is how a job ends whose plan cannot be read: in failure when the
// user can mend it, in error when we are to blame.
func problemEnd(err error, at plan.Source) end {
	var p *dialect.ProblemError
	if errors.As(err, &p) {
		if !p.Source.IsZero() {
			at = p.Source
		}
		verdict := plan.Failure
		if p.Lacking {
			verdict = plan.Fault
		}
		return end{verdict: verdict, why: p.Message + hint(p.Hint), at: at}
	}
	return end{verdict: plan.Fault, why: err.Error(), at: at}
}
