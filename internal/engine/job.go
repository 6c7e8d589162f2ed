package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// defaultTimeout ends a job that names no limit of its own, as the code hosts do.
const defaultTimeout = 6 * time.Hour

// maxBackground is how many background steps of a job run at a time; further
// ones wait for a place.
const maxBackground = 10

// job is one attempt at a job while it runs. Its goroutine owns it; what
// background steps share with it is behind the mutex.
type job struct {
	*Engine
	req   *Request
	plan  *plan.Job
	base  *plan.Scope
	soft  context.Context // ends when the job is cancelled or out of time
	hard  context.Context // ends when nothing may go on
	prior *record.JobRun

	stop    context.CancelCauseFunc // of soft
	number  int                     // of the attempt, from 1
	ws      Workspace               // nil while the job is on paper, as room and log
	room    executor.Room
	session dialect.Session
	log     Log
	began   time.Time
	files   []plan.File // to be there before the first step
	replay  *replay     // while steps of an earlier run stand for ours
	reuse   *reusing    // nil when nothing is reused
	lent    loan        // by whom the run is asked for
	earnest func()      // returns when what the job rests on is a fact; to be called before it does anything

	places chan struct{} // for background steps
	inside atomic.Int64  // commands that run

	mu       sync.Mutex
	verdict  plan.Verdict
	failed   *record.StepFinished // the first that ended badly
	posts    []post
	state    map[string]map[string]string // by the main step's key
	commands map[string]*plan.Command
	earlier  []ranBefore                    // steps that ran in the workspace, in the order in which they ended
	kept     map[*record.Observation]string // blobs of those that were kept; guarded as earlier
	reported map[string]time.Time           // test reports that were read, below the workspace, and of when they were
	unseen   bool                           // a command ran of which nobody knows what it wrote
	lost     error                          // an event could not be recorded
}

// post is a step to run at the end of the job, in the scope it was met in.
type post struct {
	step  *plan.Step
	frame *frame
}

// job makes an attempt at a job.
func (o *owner) job(soft context.Context, n *node, r *reusing) *job {
	return &job{
		Engine: o.Engine, req: &o.req, plan: n.job, base: n.seen(), prior: o.prior(n), reuse: r,
		soft: soft, hard: o.ctx, began: time.Now(), verdict: plan.Success,
		state: map[string]map[string]string{}, commands: map[string]*plan.Command{}, reported: map[string]time.Time{},
		places:  make(chan struct{}, maxBackground),
		earnest: func() { o.earnest(n) },
	}
}

// runJob runs a job to its end, several times if it may be retried.
func (o *owner) runJob(soft context.Context, n *node) end {
	if err := o.give(n); err != nil {
		return end{verdict: plan.Fault, why: err.Error(), at: n.job.Source}
	}
	for attempt := 1; ; attempt++ {
		again := o.again(n.job, attempt)
		e := o.once(soft, n, attempt, again)
		if !again(&e) || soft.Err() != nil || e.lost {
			return e
		}
		if e.leave != nil {
			e.leave()
		}
	}
}

// again says of an attempt whether its end is one that is tried again.
func (o *owner) again(j *plan.Job, attempt int) func(*end) bool {
	return func(e *end) bool {
		return e.verdict.Bad() && attempt <= o.req.Retry || j.Retry.Again(attempt, e.verdict, e.exit)
	}
}

// run is one attempt at the job. What it leaves is kept when it ended badly
// and is not tried again.
func (j *job) run(n int, again func(*end) bool) (e end) {
	j.number = n
	soft, stop := context.WithCancelCause(j.soft)
	j.soft, j.stop = soft, stop
	defer stop(nil)
	defer func() {
		j.close()
		if j.onPaper() {
			e.events = j.reuse.events
		}
		if ws := j.ws; ws != nil && j.over() {
			_ = ws.Release() // as when the job ends well
		} else if ws != nil {
			keep := e.verdict == plan.Cancelled || e.verdict.Bad() && !again(&e)
			e.leave = func() { j.leave(ws, keep) }
		}
		e.lost = j.lost != nil
	}()
	scope := *j.base
	scope.Started = j.began
	if j.onPaper() {
		scope.Dirs, scope.Paper = j.reuse.dirs, true
	} else {
		j.earnest()
		if err := j.openWorkspace(n); err != nil {
			return j.fault("no workspace for the job", err)
		}
		if err := j.furnish(); err != nil {
			return j.fault("no room for the job", err)
		}
		if err := j.remark(); err != nil {
			return j.fault("the job's log cannot be written", err)
		}
		scope.Dirs, scope.Beside = j.room.Dirs(), j.beside()
		if j.reuse != nil {
			j.reuse.view = j.reuse.Cache.NewView(scope.Dirs, nil)
		}
	}
	j.base = &scope
	j.note("", &record.JobStarted{Attempt: n, Workspace: scope.Dirs.Workspace, Place: j.Executor.Name(), GoesOn: j.replay != nil})

	var err error
	if j.session, err = j.Dialect.Open(j.soft, &scope); err != nil {
		return j.problem(err)
	}
	limit := j.plan.Timeout
	if limit == 0 {
		limit = defaultTimeout
	}
	timer := time.AfterFunc(limit, func() {
		j.stop(&cause{plan.Timeout, fmt.Sprintf("the job ran longer than its limit of %s", limit)})
	})
	defer timer.Stop()
	setup, err := j.session.Setup(j.soft, &scope)
	if err != nil {
		return j.problem(err)
	}
	j.req.Masker.Add(setup.Masks...)
	for i := range setup.Materials {
		j.note("", &setup.Materials[i])
	}
	j.files = setup.Files
	if !j.onPaper() {
		if err := j.place(); err != nil {
			return j.fault("the job's files cannot be written", err)
		}
	}

	t := &thread{job: j, ctx: j.hard}
	f := &frame{outcomes: map[string]plan.StepOutcome{}, status: plan.Success}
	f.top = f
	t.steps(setup.Before, f)
	t.steps(j.plan.Steps, f)
	t.join(f, nil)
	for len(j.posts) > 0 { // a post step may itself register one
		p := j.posts[len(j.posts)-1]
		j.posts = j.posts[:len(j.posts)-1]
		t.step(p.step, p.frame)
	}
	if !j.onPaper() {
		j.harvest(scope.Dirs.Workspace)
		j.images()
	}
	return j.conclude(t, f)
}

// furnish gives a job that has its workspace a log and a room.
func (j *job) furnish() (err error) {
	if j.log, err = j.req.Log(j.plan.ID); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	spec := executor.Spec{Run: j.base.RunID, Job: j.plan.ID, Place: j.plan.Place, Dirs: j.ws.Dirs(), Value: j.private, Note: j.tell}
	if j.room, err = j.Executor.Open(j.soft, spec); err != nil {
		return err
	}
	if j.reuse != nil {
		// An image is known only when it has been fetched.
		if class := j.Executor.Class(&j.plan.Place); class.Name != j.reuse.class.Name {
			j.reuse.class = class
			clear(j.reuse.missed)
		}
	}
	return nil
}

// private is what an expression over secrets in the job's place comes to.
func (j *job) private(e plan.Expr) (string, error) {
	v, err := j.Dialect.Eval(e, dialect.Text, j.base)
	if err != nil {
		return "", err
	}
	text, _ := v.(string)
	j.req.Masker.Add(text)
	return text, nil
}

// tell adds a line to the job's log that is of none of its steps. What is told
// only while somebody waits is not worth an error.
func (j *job) tell(text string) {
	line := []byte(j.req.Masker.String(text))
	if n, err := j.log.Line("", time.Now(), line); err == nil {
		j.req.Observer.Line(j.plan.ID, "", n, line)
	}
}

// beside are the services that run beside the job.
func (j *job) beside() map[string]plan.Beside {
	if room, ok := j.room.(executor.Located); ok {
		return room.Beside()
	}
	return nil
}

// images notes those that the job has run in, and beside.
func (j *job) images() {
	if room, ok := j.room.(executor.Located); ok {
		for _, m := range room.Images() {
			j.note("", &m)
		}
	}
}

// remark notes in the log what could not be part of the workspace.
func (j *job) remark() error {
	for _, note := range j.ws.Notes() {
		if _, err := j.log.Line("", j.began, []byte("workspace: "+note)); err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
	}
	return nil
}

// place writes the files that are to be there before the first step.
func (j *job) place() error {
	for _, f := range j.files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.Path, f.Body, os.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	return nil
}

// close ends what the job has opened, but for its workspace.
func (j *job) close() {
	if j.session != nil {
		j.session.Close()
	}
	if j.room != nil {
		j.room.Close()
	}
	j.takeBack()
	if j.log != nil {
		j.log.Close()
	}
}

// harvest reads the test reports that the job has written. A report that
// cannot be read is said to be so, and changes nothing.
func (j *job) harvest(workspace string) {
	if workspace == "" || !j.unseen {
		return
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return // a step removed its workspace: there is nothing to read
	}
	defer root.Close()
	tests := j.trial()
	bodies := j.read(root, j.lately(root, j.began), tests)
	bodies = append(tests.close(), bodies...)
	if len(bodies) > 0 {
		j.note("", bodies...)
	}
}

// openWorkspace opens the job's directories: those that an earlier run left,
// when it goes on from there, or fresh ones.
func (j *job) openWorkspace(attempt int) (err error) {
	if attempt == 1 && j.prior != nil {
		from, asked := j.req.From[j.plan.ID]
		if asked || j.req.Prior.ID == j.base.RunID && Resumable(j.prior) {
			j.ws, err = j.req.Open(j.soft, Opening{Job: j.plan.ID, Reclaim: j.req.Prior.ID})
			if err == nil {
				j.replay = &replay{prior: j.prior, from: from}
				return nil
			}
			if asked {
				return fmt.Errorf("run %s left no workspace to go on from: %w", j.req.Prior.ID, err)
			}
		}
	}
	j.ws, err = j.req.Open(j.soft, Opening{Job: j.plan.ID})
	return err
}

// leave keeps what a job that did not end well has left behind, for a shell
// or a later run, or gives it back. If that fails the workspace is made anew
// when it is next wanted, which is why nobody is told.
func (j *job) leave(ws Workspace, keep bool) {
	if !keep {
		_ = ws.Release()
		return
	}
	if j.req.Kept != nil {
		commands := make(map[string]*plan.Command, len(j.commands))
		for key, c := range j.commands {
			masked := *c
			masked.Script, masked.Argv = j.req.Masker.String(c.Script), slices.Clone(c.Argv)
			for i, arg := range masked.Argv {
				masked.Argv[i] = j.req.Masker.String(arg)
			}
			masked.Env = make(map[string]string, len(c.Env))
			for name, value := range c.Env {
				masked.Env[name] = j.req.Masker.String(value)
			}
			if masked.Container == nil {
				masked.Container = j.plan.Place.Container
			}
			if c := masked.Container; c != nil {
				alike := *c
				alike.Private = nil // nobody there knows secrets
				masked.Container = &alike
			}
			commands[key] = &masked
		}
		j.req.Kept(j.plan.ID, commands)
	}
	_ = ws.Keep()
}

// conclude is how the job ends when its steps have.
func (j *job) conclude(t *thread, f *frame) end {
	e := end{verdict: j.verdict}
	if j.soft.Err() != nil {
		c := causeOf(j.soft)
		e.why = c.why
		if !e.verdict.Bad() {
			e.verdict = c.verdict
		}
	} else if j.failed != nil {
		e.why, e.exit = fmt.Sprintf("step %q: %s", j.failed.Name, j.failed.Why), j.failed.Exit
	}
	if j.lost != nil {
		return end{verdict: plan.Fault, why: "the record cannot be written: " + j.lost.Error()}
	}
	outputs, withheld, err := j.outputs(j.req, j.plan.Outputs, t.scope(nil, f))
	if errors.Is(err, dialect.ErrPaper) {
		if t.realise(); t.over() {
			return end{}
		}
		outputs, withheld, err = j.outputs(j.req, j.plan.Outputs, t.scope(nil, f))
	}
	if err == nil {
		e.confided, err = j.confided(j.req, j.plan.Confided, t.scope(nil, f))
	}
	e.outputs, e.withheld = outputs, withheld
	if err != nil && !e.verdict.Bad() {
		bad := problemEnd(err, j.plan.Source)
		bad.outputs = outputs
		return bad
	}
	return e
}

// problem is how a job ends that could not begin.
func (j *job) problem(err error) end {
	if j.soft.Err() != nil {
		c := causeOf(j.soft)
		return end{verdict: c.verdict, why: c.why}
	}
	return problemEnd(err, j.plan.Source)
}

func (j *job) fault(what string, err error) end {
	if j.soft.Err() != nil {
		return j.problem(err)
	}
	return end{verdict: plan.Fault, why: fmt.Sprintf("%s: %v", what, err), at: j.plan.Source}
}

// note records events of the job. A record that cannot be written ends the
// job. On paper they are held back.
func (j *job) note(step string, bodies ...record.Body) {
	events := make([]record.Event, len(bodies))
	for i, b := range bodies {
		events[i] = record.Event{Run: j.base.RunID, Job: j.plan.ID, Step: step, Body: b}
	}
	if j.onPaper() {
		j.reuse.events = append(j.reuse.events, events...)
		return
	}
	j.append(events)
}

func (j *job) append(events []record.Event) {
	events, err := j.req.Record.Append(context.WithoutCancel(j.hard), events...)
	if err != nil {
		j.mu.Lock()
		j.lost = errors.Join(j.lost, err)
		j.mu.Unlock()
		j.stop(&cause{plan.Fault, "the record cannot be written: " + err.Error()})
		return
	}
	for _, e := range events {
		j.req.Observer.Event(e)
	}
}

// Resumable reports whether going on with an interrupted job where it was left
// is sound: some steps had finished, what they said can be said again, and at
// most one step, or the steps inside it, was under way.
func Resumable(p *record.JobRun) bool {
	if p.State != record.Running {
		return false
	}
	finished, open := 0, ""
	for _, s := range p.Steps {
		switch {
		case s.Finished != nil && s.Finished.Masked:
			return false
		case s.Finished != nil:
			finished++
		case open == "":
			open = s.Key
		case !strings.HasPrefix(s.Key, open+"."):
			return false
		}
	}
	return finished > 0
}

// replay lets the finished steps of an earlier run stand for ours, up to the
// step that the job goes on from.
type replay struct {
	prior *record.JobRun
	from  string // the first to run again; "" for the first that had not finished

	mu   sync.Mutex
	over bool
}

// take returns how the step ended before, and what it and the steps inside it
// said; false from the first step that has to run.
func (r *replay) take(key string) (*record.StepFinished, []*plan.Effects, bool) {
	if r == nil {
		return nil, nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || strings.HasPrefix(r.from, key+".") {
		return nil, nil, false
	}
	s := r.prior.Step(key)
	if key == r.from || s == nil {
		r.over = true
		return nil, nil, false
	}
	if s.Finished == nil { // perhaps steps inside it had finished
		return nil, nil, false
	}
	var said []*plan.Effects
	for _, inner := range r.prior.Steps {
		if inner.Finished != nil && (inner.Key == key || strings.HasPrefix(inner.Key, key+".")) {
			said = append(said, &inner.Finished.Effects)
		}
	}
	return s.Finished, said, true
}

// thread is a line of steps that run one after another: the job's own, or a
// background step's. It owns the environment that its steps see.
type thread struct {
	*job
	ctx  context.Context // everything of the thread ends with it
	env  map[string]string
	path []string // newest first
	said plan.Effects
	back map[string]*background // by step key, in frames of this thread
	ids  []string
}

// frame is a list of steps and the names they have for each other: a job's, or
// a composite action's.
type frame struct {
	top      *frame
	group    *plan.GroupScope // nil for the job's own steps
	outcomes map[string]plan.StepOutcome
	status   plan.Verdict // of the frame so far
	// program says that a program asked for the steps: whether they run, and
	// what stops them, is its own question.
	program bool
}

// scope is what the fields of a step are read against.
func (t *thread) scope(s *plan.Step, f *frame) *plan.Scope {
	c := *t.base
	c.Status, c.Steps, c.Env, c.Path = f.top.status, f.outcomes, t.env, t.path
	if t.soft.Err() != nil {
		c.Status = plan.Cancelled
	}
	if f.group != nil {
		g := *f.group
		g.Status = f.status
		c.Group = &g
	}
	if s != nil {
		c.Step = s
		t.mu.Lock()
		c.State = maps.Clone(t.state[cmp.Or(s.Of, s.Key)])
		t.mu.Unlock()
	}
	return &c
}

// heed lets what was said count for the steps that follow.
func (t *thread) heed(fx *plan.Effects) {
	if len(fx.Env) > 0 {
		t.env = maps.Clone(t.env)
		if t.env == nil {
			t.env = map[string]string{}
		}
		for _, e := range fx.Env {
			t.env[e.Name] = e.Value
		}
	}
	if len(fx.Path) > 0 {
		old := slices.DeleteFunc(slices.Clone(t.path), func(d string) bool { return slices.Contains(fx.Path, d) })
		t.path = slices.Concat(fx.Path, old)
	}
	t.said.Merge(&plan.Effects{Env: fx.Env, Path: fx.Path})
}
