package engine

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxJobs bounds what a plan may expand to.
	maxJobs = 50_000
	// maxDepth bounds expansions of expansions.
	maxDepth = 16
	// maxAdmitted bounds jobs that run at once when all of them sleep.
	maxAdmitted = 256
	// maxLook is how many jobs that wait for a place here do not hide those behind
	// them from other machines.
	maxLook = 1000
	// admitEvery is how often the machine's load is looked at while jobs
	// wait for a place.
	admitEvery = 20 * time.Millisecond
	// maxPending events, and none for longer than flushWithin, wait to become
	// facts while jobs are on paper.
	maxPending  = 400
	flushWithin = 10 * time.Millisecond
)

// owner is one run. Everything in it is used by the goroutine in Engine.Run
// alone, but for the fields that jobs read and that never change.
type owner struct {
	*Engine
	req    Request
	runID  string
	ctx    context.Context // hard: when it ends, everything is killed
	soft   context.Context // ends when the run is cancelled; conditions decide what still runs
	cancel context.CancelCauseFunc

	nodes   map[string]*node
	top     []*node
	queue   []*node       // their turn has come; they wait for a place
	active  int           // job goroutines of this run
	onPaper int           // those of them that have done nothing in earnest yet
	waits   int           // goroutines waiting for a concurrency group
	unfit   *plan.Problem // why a job cannot run on this kind of machine

	verdict plan.Verdict
	why     string
	pending []record.Event
	leaving []func() // to be called when pending is a fact
	reports chan report
	asks    chan record.Event // requests to cancel, by members of our own
	release func()            // of the run's concurrency group
	failed  error             // the record could not be written
}

// node is a job in the graph.
type node struct {
	job        *plan.Job
	parent     *node
	depth      int
	needs      []*node
	dependents []*node
	open       int // needs that have not finished

	expansion *plan.Expansion
	children  []*node
	left      int  // children that have not finished
	started   int  // jobs at or below this one that run or ran
	stopped   bool // fail-fast has cancelled the rest of it

	ancestry plan.Verdict // of all jobs before it, once that is settled

	state    record.State
	verdict  plan.Verdict
	result   plan.Verdict
	outputs  map[string]string
	confided map[string]string
	cancel   context.CancelCauseFunc
	release  func() // of its concurrency group
	scope    *plan.Scope
	own      *plan.Scope // with the secrets of its environment; nil: scope
	paper    bool        // it has started, and done nothing in earnest yet
	given    bool        // an owner that is gone had given it to a hand
	let      bool        // nothing protects its environment any more
	away     bool        // a hand does it
}

// report is what a goroutine tells the owner.
type report struct {
	node    *node
	earnest chan<- struct{} // it begins in earnest: to be closed when what it rests on is a fact
	delayed bool            // it waited as long as it says; or in vain, if end says so
	grouped bool            // it waited for its concurrency group; otherwise it has ended
	release func()          // of the group; nil when waiting was in vain
	back    context.Context // the job's: it was given away, and nobody takes it
	end     end
}

// end is how a job ended.
type end struct {
	verdict  plan.Verdict
	why      string
	at       plan.Source
	exit     int // exit code of the step that made it end so
	outputs  map[string]string
	withheld []string
	confided map[string]string
	// events are those of a job that was done on paper: facts only now.
	events []record.Event
	waits  bool // it would have begun, had a person asked for it
	lost   bool // an event could not be recorded
	nobody bool // it did not end at all: no hand takes it any more
	// leave gives up the workspace. It waits until the end is a fact: whoever
	// resumes the run must find either the one or the other.
	leave func()
}

// Run runs the plan to its end and says how it ended. When ctx ends the run
// is cancelled: steps that want to run even then (always) still do, for at
// most Grace. The error is for our own failure to keep the record; everything
// else is in the verdict.
func (e *Engine) Run(ctx context.Context, req Request) (plan.Verdict, string, error) {
	hard, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	soft, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := &owner{
		Engine: e, req: req, runID: req.Context.RunID,
		ctx: hard, soft: soft, cancel: cancel,
		nodes: map[string]*node{}, reports: make(chan report), asks: make(chan record.Event),
	}
	resumed := o.resumes()
	if req.Planned != nil {
		o.emit("", req.Planned)
	}
	host, _ := os.Hostname()
	o.emit("", &record.RunStarted{Host: host, PID: os.Getpid(), Resume: resumed})
	o.top = o.add(nil, req.Context.Pipeline.Jobs)
	o.loop(kill)
	if o.failed != nil {
		return plan.Fault, o.why, fmt.Errorf("%w: %w", ErrRecord, o.failed)
	}
	return o.verdict, o.why, nil
}

// loop is the owner's life: decide, write down, start; then wait for news.
func (o *owner) loop(kill context.CancelCauseFunc) {
	tick := time.NewTicker(admitEvery)
	defer tick.Stop()
	cancelled := o.soft.Done()
	var grace <-chan time.Time
	if c := o.req.Context.Pipeline.Concurrency; c != nil {
		o.joinGroup(nil, c, &plan.Scope{Context: o.req.Context, Status: plan.Success})
	} else {
		o.begin()
	}
	for {
		o.admit()
		if o.finished() {
			o.finish()
			return
		}
		// Jobs on paper come to an end in no time: what they have to say
		// becomes a fact together.
		var late <-chan time.Time
		if o.onPaper == 0 || len(o.pending) >= maxPending {
			o.flush()
		} else if len(o.pending) > 0 {
			late = time.After(flushWithin)
		}
		var ticks <-chan time.Time
		if len(o.queue) > 0 {
			ticks = tick.C
		}
		select {
		case r := <-o.reports:
			o.take(r)
			o.takeMore()
		case <-ticks:
		case <-late:
			o.flush()
		case <-cancelled:
			cancelled = nil
			c := causeOf(o.soft)
			o.emit("", &record.CancelRequested{By: c.why})
			o.cancelQueued()
			grace = time.After(o.Grace)
		case e := <-o.req.Cancels:
			o.asked(e)
		case e := <-o.asks:
			o.asked(e)
		case <-grace:
			kill(nil)
		case <-o.req.Abort:
			kill(ErrLeft)
			o.req.Abort = nil
		}
	}
}

// begin lets the first jobs have their turn.
func (o *owner) begin() {
	for _, n := range o.top {
		o.consider(n)
	}
}

// add makes nodes of jobs that became known together.
func (o *owner) add(parent *node, jobs []plan.Job) []*node {
	nodes := make([]*node, len(jobs))
	for i := range jobs {
		n := &node{job: &jobs[i], parent: parent, state: record.Pending}
		if parent != nil {
			n.depth = parent.depth + 1
		}
		nodes[i] = n
		o.nodes[n.job.ID] = n
	}
	for _, n := range nodes {
		for _, id := range n.job.Needs {
			need := o.sibling(n, id)
			if need == nil {
				continue // the dialect has refused such a plan
			}
			n.needs = append(n.needs, need)
			need.dependents = append(need.dependents, n)
			n.open++
		}
	}
	return nodes
}

// sibling finds the job that n names in its needs.
func (o *owner) sibling(n *node, id string) *node {
	if n.parent != nil {
		if s := o.nodes[n.parent.job.ID+"/"+id]; s != nil {
			return s
		}
	}
	return o.nodes[id]
}

// consider looks at a job all of whose needs are done: is it skipped, does it
// become other jobs, or does it wait for a place?
func (o *owner) consider(n *node) {
	if n.open > 0 || n.state != record.Pending {
		return
	}
	if o.adopt(n) {
		return
	}
	n.scope = o.scope(n)
	holds, err := o.holds(n.job.If, n.scope)
	if err != nil {
		o.end(n, problemEnd(err, n.job.If.Source))
		return
	}
	if !holds {
		o.end(n, o.declined(n))
		return
	}
	n.state = record.Queued
	n.given = o.wasGiven(n)
	if n.job.Delay > 0 && !o.played(n.job) {
		o.delay(n)
		return
	}
	o.enter(n)
}

// delay lets a job wait as long as it says. A run that is resumed waits again.
func (o *owner) delay(n *node) {
	ctx, cancel := context.WithCancelCause(o.soft)
	n.cancel = cancel
	o.waits++
	o.emit(n.job.ID, &record.JobQueued{Why: fmt.Sprintf("waits %s, as it says", n.job.Delay), Until: time.Now().Add(n.job.Delay)})
	go func() {
		defer cancel(nil)
		select {
		case <-time.After(n.job.Delay):
			o.reports <- report{node: n, delayed: true}
		case <-ctx.Done():
			c := causeOf(ctx)
			o.reports <- report{node: n, delayed: true, end: end{verdict: c.verdict, why: c.why}}
		}
	}()
}

// enter takes a job whose condition holds to its environment, then to its concurrency
// group.
func (o *owner) enter(n *node) {
	if o.protect(n) {
		return
	}
	if n.job.Concurrency != nil {
		o.joinGroup(n, n.job.Concurrency, n.scope)
		return
	}
	o.proceed(n)
}

// proceed goes on with a job whose condition holds and that has its
// concurrency group.
func (o *owner) proceed(n *node) {
	if n.job.Deferred != nil {
		o.expand(n)
		return
	}
	o.queue = append(o.queue, n)
}

// expand asks the dialect what the job becomes.
func (o *owner) expand(n *node) {
	x, err := o.Dialect.Expand(o.ctx, n.job, n.scope)
	if err == nil && n.depth >= maxDepth {
		err = &dialect.ProblemError{Problem: plan.Problem{Source: n.job.Source, Severity: plan.Error, Rule: "limit",
			Message: fmt.Sprintf("job %s is nested more than %d levels deep", n.job.ID, maxDepth)}}
	}
	if err == nil && len(o.nodes)+len(x.Jobs) > maxJobs {
		err = &dialect.ProblemError{Problem: plan.Problem{Source: n.job.Source, Severity: plan.Error, Rule: "limit",
			Message: fmt.Sprintf("the run would have more than %d jobs", maxJobs)}}
	}
	if err != nil {
		o.end(n, problemEnd(err, n.job.Source))
		return
	}
	n.expansion, n.state = x, record.Running
	n.children = o.add(n, x.Jobs)
	n.left = len(n.children)
	if prior := o.prior(n); !o.resumes() || prior == nil || len(prior.Children) != len(n.children) {
		heads := make([]record.JobHead, len(x.Jobs))
		for i := range x.Jobs {
			j := &x.Jobs[i]
			heads[i] = record.JobHead{ID: j.ID, Name: o.req.Masker.String(j.Name), Stage: j.Stage, Needs: j.Needs}
		}
		o.emit(n.job.ID, &record.JobExpanded{Jobs: heads})
	}
	if n.left == 0 {
		o.end(n, end{verdict: plan.Skipped, why: "it became no jobs", at: n.job.Source})
		return
	}
	for _, c := range n.children {
		o.consider(c)
	}
}

// takeMore receives what has been reported meanwhile, so that many jobs that
// end together become facts together.
func (o *owner) takeMore() {
	for {
		select {
		case r := <-o.reports:
			o.take(r)
		default:
			return
		}
	}
}

// take receives a goroutine's report.
func (o *owner) take(r report) {
	n := r.node
	if r.earnest != nil {
		n.paper = false
		o.onPaper--
		o.flush()
		close(r.earnest)
		return
	}
	if r.delayed {
		o.waits--
		n.cancel = nil
		if r.end.verdict != "" {
			o.end(n, r.end)
			return
		}
		o.enter(n)
		return
	}
	if !r.grouped {
		if n.paper {
			n.paper = false
			o.onPaper--
		}
		o.active--
		if !n.away {
			o.Engine.active.Add(-1)
		}
		if r.back != nil {
			o.takeBack(n, r.back)
			return
		}
		o.pending = append(o.pending, r.end.events...)
		o.end(n, r.end)
		return
	}
	o.waits--
	switch {
	case n == nil && r.release == nil:
		for _, t := range o.top {
			if t.state == record.Pending {
				o.end(t, r.end)
			}
		}
	case n == nil:
		o.release = r.release
		o.begin()
	case n.state == record.Finished: // stopped while it waited
		if r.release != nil {
			r.release()
		}
	case r.release == nil:
		o.end(n, r.end)
	default:
		n.release, n.cancel = r.release, nil
		o.proceed(n)
	}
}

// finished reports whether nothing is left to do.
func (o *owner) finished() bool {
	if o.active > 0 || o.waits > 0 || len(o.queue) > 0 {
		return false
	}
	for _, n := range o.top {
		if n.state != record.Finished {
			return false
		}
	}
	return true
}

// finish ends the run.
func (o *owner) finish() {
	o.verdict = plan.Success
	for _, n := range o.top {
		if n.result == plan.Cancelled || n.result.Bad() {
			o.verdict = plan.Worse(o.verdict, n.result)
		}
	}
	ran := false
	for _, n := range o.nodes {
		ran = ran || n.expansion == nil && n.verdict != plan.Skipped
	}
	switch {
	case o.soft.Err() != nil:
		c := causeOf(o.soft)
		o.why = c.why
		if !o.verdict.Bad() {
			o.verdict = c.verdict
		}
	case !ran && o.unfit != nil:
		o.verdict, o.why = plan.Fault, "no job can run here: "+o.unfit.Message+hint(o.unfit.Hint)
	case !ran:
		o.why = "every job was skipped"
	}
	o.emit("", &record.RunFinished{Verdict: o.verdict, Why: o.why})
	o.flush()
	if o.release != nil {
		o.release()
	}
}

// resumes reports whether this run itself was begun before, by a process
// that is gone.
func (o *owner) resumes() bool { return o.req.Prior != nil && o.req.Prior.ID == o.runID }

// prior is what is known of the job from the run this one goes on from.
func (o *owner) prior(n *node) *record.JobRun {
	if o.req.Prior == nil {
		return nil
	}
	return o.req.Prior.Jobs[n.job.ID]
}

// adopt takes over how a job ended, if that is known and need not be done
// again. When the run is resumed, whatever has ended stays ended; when another
// run goes on from it, what ended well does.
func (o *owner) adopt(n *node) bool {
	p := o.prior(n)
	if p == nil || p.State != record.Finished || n.job.Deferred != nil {
		return false
	}
	if o.resumes() {
		n.state, n.verdict, n.result, n.outputs = record.Finished, p.Verdict, p.Result, p.Outputs
		o.settled(n)
		return true
	}
	if p.Verdict != plan.Success {
		return false
	}
	o.end(n, end{verdict: p.Verdict, outputs: p.Outputs, why: "kept from run " + o.req.Prior.ID})
	return true
}

// emit keeps an event until the next flush.
func (o *owner) emit(job string, b record.Body) {
	o.pending = append(o.pending, record.Event{Run: o.runID, Job: job, Body: b})
}

// flush makes what was decided a fact.
func (o *owner) flush() {
	if len(o.pending) == 0 {
		return
	}
	events := o.pending
	o.pending = nil
	events, err := o.req.Record.Append(context.WithoutCancel(o.ctx), events...)
	if err != nil {
		o.lost(err)
		return
	}
	for _, leave := range o.leaving {
		leave()
	}
	o.leaving = nil
	for _, e := range events {
		o.req.Observer.Event(e)
	}
}

// lost ends a run whose record can no longer be written: going on would do
// what nobody could know of.
func (o *owner) lost(err error) {
	if o.failed == nil {
		o.failed = err
		o.cancel(Cancel("the record cannot be written: " + err.Error()))
	}
}

// asked acts on a request, by another run or a person, to cancel this run or
// one job of it.
func (o *owner) asked(e record.Event) {
	c, ok := e.Body.(*record.CancelRequested)
	if !ok || e.Run != o.runID {
		return
	}
	o.req.Observer.Event(e)
	why := "cancelled by " + c.By
	if c.Why != "" {
		why += ": " + c.Why
	}
	if c.Newer != "" {
		o.overtaken(c.Newer)
		return
	}
	if e.Job == "" {
		o.cancel(Cancel(why))
		return
	}
	if n := o.nodes[e.Job]; n != nil && n.state != record.Finished {
		o.stopOne(n, why)
	}
}

// overtaken acts on the news that a newer commit has a run, as the pipeline says.
func (o *owner) overtaken(newer string) {
	why := "overtaken by run " + newer + ", of a newer commit"
	switch o.req.Context.Pipeline.AutoCancel.OnNewer {
	case plan.Conservative:
		for _, n := range o.nodes {
			begun := n.state == record.Running || n.state == record.Finished && n.verdict != plan.Skipped
			if begun && n.expansion == nil && !n.job.Interruptible {
				return
			}
		}
		o.cancel(Cancel(why))
	case plan.Selective:
		for _, n := range o.nodes {
			if n.expansion == nil && n.job.Interruptible && n.state != record.Finished {
				o.stopOne(n, why)
			}
		}
	}
}
