package launch

import (
	"context"
	"encoding/json"
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
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Watcher is who follows a run, and who may end it at once.
type Watcher struct {
	engine.Observer
	// Begun is told the run's identity before its first event.
	Begun func(run string, p *plan.Pipeline)
	// Abort ends everything at once when it is closed.
	Abort <-chan struct{}
}

// Result is how a run ended.
type Result struct {
	Run      string
	Pipeline *plan.Pipeline
	Verdict  plan.Verdict
	Why      string
	Problems []plan.Problem // of the order's inputs; then there was no run
}

// Run runs one of the chosen pipelines to its end.
func (l *Launcher) Run(ctx context.Context, p *Prepared, pl *plan.Pipeline, w Watcher) (Result, error) {
	d, err := l.dialect(pl.Dialect)
	if err != nil {
		return Result{}, err
	}
	inputs, problems := d.Inputs(pl, p.Order.Inputs)
	if plan.Errors(problems) {
		return Result{Pipeline: pl, Problems: problems}, nil
	}
	s := start{
		dialect: d, tree: p.Tree, pipeline: pl, change: p.ChangeFor(pl), attempt: 1,
		settings: l.settings(p.Order, inputs), secrets: p.Order.Secrets,
	}
	s.settings.RetryTests = p.Project.Tests.Retry
	s.settings.Affected = p.Order.Affected == "on" || p.Order.Affected == "" && p.Project.Tests.Affected
	if s.settings.Muted, err = l.muted(ctx, s.change); err != nil {
		return Result{}, err
	}
	return l.begin(ctx, s, w)
}

// Plan gives a run of one of the chosen pipelines its identity and makes its
// first event. Once that is in the record, Start runs it, in this process or
// in another. Problems of the inputs are returned, and then there is no run.
func (l *Launcher) Plan(ctx context.Context, p *Prepared, pl *plan.Pipeline, o *record.Origin) (e record.Event, problems []plan.Problem, err error) {
	d, err := l.dialect(pl.Dialect)
	if err != nil {
		return e, nil, err
	}
	inputs, problems := d.Inputs(pl, p.Order.Inputs)
	if plan.Errors(problems) {
		return e, problems, nil
	}
	s := start{dialect: d, tree: p.Tree, pipeline: pl, change: p.ChangeFor(pl), attempt: 1, settings: l.settings(p.Order, inputs), origin: o}
	s.settings.RetryTests = p.Project.Tests.Retry
	// On a branch everything runs: what was never seen to be read comes to light there.
	s.settings.Affected = p.Project.Tests.Affected && s.change.BaseRef != ""
	if s.settings.Muted, err = l.muted(ctx, s.change); err != nil {
		return e, nil, err
	}
	if err := l.identify(ctx, &s); err != nil {
		return e, nil, err
	}
	return record.Event{Run: s.id, Body: l.planned(&s)}, nil, nil
}

// PlanAgain is Plan for a run that repeats another, or goes on from it. It needs
// approval if that one did.
func (l *Launcher) PlanAgain(ctx context.Context, id string, a record.Again) (e record.Event, err error) {
	old, err := l.Store.Run(ctx, id)
	if err != nil {
		return e, err
	}
	if old.Planned == nil {
		return e, fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	}
	if _, err := goesOnFrom(old, a); err != nil {
		return e, err
	}
	b := *old.Planned
	b.Of, b.Attempt, b.Again, b.Version = id, b.Attempt+1, &a, l.Version
	b.Settings.Play = slices.Concat(b.Settings.Play, a.Play)
	if b.Settings.Muted, err = l.muted(ctx, b.Change); err != nil {
		return e, err
	}
	if b.Origin != nil {
		o := *b.Origin
		o.Key = "" // no newer commit overtakes what somebody wants again
		b.Origin = &o
	}
	if e.Run, b.Number, err = l.Store.NewRun(ctx, b.Change.Repository, b.Pipeline.File); err != nil {
		return e, fmt.Errorf("begin a run: %w", err)
	}
	e.Body = &b
	return e, nil
}

// Start runs a run that was planned, or goes on with it when whoever ran it
// is gone. The error is a [store.HeldError] when somebody is at it.
func (l *Launcher) Start(ctx context.Context, id string, secrets map[string]string, w Watcher) (Result, error) {
	lease, err := l.hold(ctx, id)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = lease.Release() }()
	planned, err := l.Store.Run(ctx, id)
	if err != nil {
		return Result{}, err
	}
	if !planned.Started.IsZero() {
		return l.resume(ctx, planned, lease, secrets, w)
	}
	if planned.Verdict != "" {
		return Result{}, &plan.UsageError{Message: fmt.Sprintf("run %s has ended (%s)", id, planned.Verdict)}
	}
	s, err := l.restart(ctx, planned, secrets)
	if err != nil {
		return Result{}, err
	}
	b := planned.Planned
	s.id, s.number, s.attempt, s.lease = id, b.Number, b.Attempt, lease
	if b.Of != "" && b.Again != nil {
		old, err := l.Store.Run(ctx, b.Of)
		if err != nil {
			return Result{}, fmt.Errorf("the run that run %s goes on from: %w", id, err)
		}
		if err := s.goOn(old, *b.Again); err != nil {
			return Result{}, err
		}
	}
	return l.begin(ctx, s, w)
}

// hold takes the lease of a run. Only what is read of a run under its lease is
// still so when it is gone on with.
func (l *Launcher) hold(ctx context.Context, id string) (store.Lease, error) {
	lease, err := l.Store.Lease(ctx, store.RunLease(id), id)
	if err != nil {
		return nil, fmt.Errorf("run %s is already being run: %w", id, err)
	}
	return lease, nil
}

// Again says how a run is repeated.
type Again struct {
	record.Again
	NoReuse bool // run all, and watch none
	Secrets map[string]string
}

// goOn makes the start go on from an old run.
func (s *start) goOn(old *record.Run, a record.Again) (err error) {
	if s.from, err = goesOnFrom(old, a); err != nil {
		return err
	}
	if a.Failed || a.From != "" || len(a.Play) > 0 {
		s.prior = old
	}
	return nil
}

// goesOnFrom is the step of a job to go on from, as Again names it.
func goesOnFrom(old *record.Run, a record.Again) (map[string]string, error) {
	if a.From == "" {
		return nil, nil
	}
	job, step, err := FindStep(old, a.From)
	if err != nil {
		return nil, err
	}
	if step == "" {
		return nil, &plan.UsageError{Message: fmt.Sprintf("no step of job %s ended badly", job), Hint: "name the step: --from " + job + "/STEP"}
	}
	if masked := maskedBefore(old.Jobs[job], step); masked != "" {
		return nil, &plan.UsageError{Message: fmt.Sprintf("step %q set a value that holds a secret, which is not kept", masked), Hint: "rerun the whole job: --failed"}
	}
	return map[string]string{job: step}, nil
}

// Rerun begins a new run with the plan of an old one.
func (l *Launcher) Rerun(ctx context.Context, id string, a Again, w Watcher) (Result, error) {
	old, err := l.Store.Run(ctx, id)
	if err != nil {
		return Result{}, err
	}
	s, err := l.restart(ctx, old, a.Secrets)
	if err != nil {
		return Result{}, err
	}
	s.of, s.attempt = id, old.Planned.Attempt+1
	s.settings.NoReuse = a.NoReuse
	if s.settings.Muted, err = l.muted(ctx, s.change); err != nil {
		return Result{}, err
	}
	if err := s.goOn(old, a.Again); err != nil {
		return Result{}, err
	}
	s.again = &a.Again
	s.settings.Play = slices.Concat(s.settings.Play, a.Play)
	return l.begin(ctx, s, w)
}

// Resume goes on with a run whose process is gone.
func (l *Launcher) Resume(ctx context.Context, id string, secrets map[string]string, w Watcher) (Result, error) {
	lease, err := l.hold(ctx, id)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = lease.Release() }()
	old, err := l.Store.Run(ctx, id)
	if err != nil {
		return Result{}, err
	}
	return l.resume(ctx, old, lease, secrets, w)
}

// resume goes on with a run whose lease is held.
func (l *Launcher) resume(ctx context.Context, old *record.Run, lease store.Lease, secrets map[string]string, w Watcher) (Result, error) {
	id := old.ID
	if old.Planned == nil {
		return Result{}, fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	}
	if old.Verdict != "" {
		return Result{}, &plan.UsageError{Message: fmt.Sprintf("run %s has ended (%s)", id, old.Verdict), Hint: "fairlead rerun " + id + " begins a new one"}
	}
	s, err := l.restart(ctx, old, secrets)
	if err != nil {
		return Result{}, err
	}
	s.id, s.number, s.prior, s.attempt, s.lease = id, old.Planned.Number, old, old.Planned.Attempt, lease
	return l.begin(ctx, s, w)
}

// restart makes a start of what the record knows of an old run.
func (l *Launcher) restart(ctx context.Context, old *record.Run, secrets map[string]string) (start, error) {
	b := old.Planned
	for _, name := range b.Settings.Secrets {
		if _, ok := secrets[name]; !ok {
			return start{}, &plan.UsageError{Message: fmt.Sprintf("run %s was given secret %s, whose value is not kept", old.ID, name), Hint: "give it again with --secret " + name + " or --secret-file"}
		}
	}
	d, err := l.dialect(b.Pipeline.Dialect)
	if err != nil {
		return start{}, err
	}
	tree, err := workspace.Open(ctx, b.Root)
	if err != nil {
		return start{}, fmt.Errorf("the tree of run %s: %w", old.ID, err)
	}
	return start{dialect: d, tree: tree, pipeline: b.Pipeline, change: b.Change, settings: b.Settings, origin: b.Origin, previous: b.Previous, secrets: secrets}, nil
}

// start is everything a run begins with.
type start struct {
	id       string      // "" for a run whose first event is not in the record
	lease    store.Lease // of a run that was read under it; nil: to be taken
	number   int
	of       string
	attempt  int
	dialect  dialect.Dialect
	tree     *workspace.Tree
	pipeline *plan.Pipeline
	change   *plan.Change
	settings record.Settings
	origin   *record.Origin
	secrets  map[string]string
	previous *plan.Previous
	prior    *record.Run
	again    *record.Again
	from     map[string]string
}

// identify gives the run its ID and number.
func (l *Launcher) identify(ctx context.Context, s *start) (err error) {
	if s.id, s.number, err = l.Store.NewRun(ctx, s.change.Repository, s.pipeline.File); err != nil {
		return fmt.Errorf("begin a run: %w", err)
	}
	if s.previous, err = l.previous(ctx, s); err != nil {
		return fmt.Errorf("look for the run before: %w", err)
	}
	if err := l.count(ctx, s); err != nil {
		return fmt.Errorf("count for the run: %w", err)
	}
	return nil
}

// counter is a dialect whose pipelines count across runs. Count asks next for
// every counter that the pipeline names, and keeps what it is given in
// c.Counted, which stays nil when there is none.
type counter interface {
	Count(c *plan.Context, at time.Time, next func(key string, seed int) (int, error)) error
}

const (
	// counterKind is the kind of the registers that counters are kept in.
	counterKind = "counter"
	// maxTries is how often a counter is read again that somebody else was
	// faster with.
	maxTries = 100
)

// count gives out the numbers of the pipeline's counters. A run that repeats
// another has those of that one.
func (l *Launcher) count(ctx context.Context, s *start) error {
	d, counts := s.dialect.(counter)
	if !counts || s.settings.Counted != nil {
		return nil
	}
	// Without secrets: what is counted by stands in the record.
	c := &plan.Context{
		Pipeline: s.pipeline, Change: s.change, RunID: s.id, Number: s.number, Attempt: s.attempt,
		Inputs: s.settings.Inputs, Vars: s.settings.Vars, Env: s.settings.Env,
	}
	err := d.Count(c, time.Now().UTC(), func(key string, seed int) (int, error) {
		return l.next(ctx, strings.Join([]string{s.change.Repository, s.pipeline.File, key}, "\n"), seed)
	})
	s.settings.Counted = c.Counted
	return err
}

// next is the next number of a counter that begins at seed. A number is given
// out once, also when the run it was for never comes to be.
func (l *Launcher) next(ctx context.Context, id string, seed int) (int, error) {
	for range maxTries {
		r, err := l.Store.Register(ctx, counterKind, id)
		if err != nil {
			return 0, err
		}
		n := seed
		if r.Version > 0 {
			if err := json.Unmarshal(r.Body, &n); err != nil {
				return 0, fmt.Errorf("read the counter: %w", err)
			}
			n++
		}
		body, err := json.Marshal(n)
		if err != nil {
			return 0, err
		}
		_, err = l.Store.Change(ctx, []record.Register{{Kind: counterKind, ID: id, Version: r.Version, Body: body}})
		if !errors.Is(err, record.ErrConflict) {
			return n, err
		}
	}
	return 0, errors.New("the counter is changed by others all the time")
}

// rememberer is a dialect whose pipelines ask how the run before ended.
type rememberer interface{ Remembers() bool }

// lister is a store that lists runs.
type lister interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
}

// maxEarlier is how many runs are looked at for one that has ended.
const maxEarlier = 20

// previous is the newest run before this one, of the same pipeline and ref, that has
// ended; nil when there is none, or the dialect does not ask.
func (l *Launcher) previous(ctx context.Context, s *start) (*plan.Previous, error) {
	d, asks := s.dialect.(rememberer)
	runs, lists := l.Store.(lister)
	if !asks || !d.Remembers() || !lists {
		return nil, nil
	}
	heads, err := runs.Runs(ctx, store.RunFilter{Repository: s.change.Repository, Pipeline: s.pipeline.File, Branch: s.change.Ref, Before: s.id, Limit: maxEarlier})
	if err != nil {
		return nil, err
	}
	for _, h := range heads {
		if h.Verdict == "" || h.Origin != nil && h.Origin.Pushed {
			continue
		}
		p := &plan.Previous{RunID: h.ID, Number: h.Number, Verdict: h.Verdict, Begun: h.Started, Ended: h.Ended}
		r, err := l.Store.Run(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		for _, j := range r.Jobs {
			if len(j.Outputs) > 0 && p.Outputs == nil {
				p.Outputs = map[string]string{}
			}
			maps.Copy(p.Outputs, j.Outputs)
		}
		return p, nil
	}
	return nil, nil
}

// planned is the first event of the run.
func (l *Launcher) planned(s *start) *record.RunPlanned {
	if s.settings.Seed == "" {
		s.settings.Seed = newSeed()
	}
	return &record.RunPlanned{
		Number: s.number, Attempt: s.attempt, Of: s.of, Root: s.tree.Root(),
		Change: s.change, Pipeline: s.pipeline, Settings: s.settings, Version: l.Version,
		Again: s.again, Origin: s.origin, Previous: s.previous,
	}
}

// begin gives the run its identity and hands it to the engine.
func (l *Launcher) begin(ctx context.Context, s start, w Watcher) (res Result, err error) {
	var planned *record.RunPlanned
	if s.id == "" {
		if err := l.identify(ctx, &s); err != nil {
			return res, err
		}
		planned = l.planned(&s)
	}
	lease := s.lease
	if lease == nil {
		if lease, err = l.hold(ctx, s.id); err != nil {
			return res, err
		}
		defer func() { _ = lease.Release() }()
	}
	if l.Inherit != nil && s.prior != nil && s.prior.ID != s.id {
		if err := l.Inherit(ctx, s.id, s.prior.ID); err != nil {
			return res, fmt.Errorf("take over the artifacts of run %s: %w", s.prior.ID, err)
		}
	}
	masker := new(secret.Masker)
	masker.Add(slices.Collect(maps.Values(s.secrets))...)
	c := &plan.Context{
		Pipeline: s.pipeline, Change: s.change, Root: s.tree.Root(), RunID: s.id, Number: s.number, Attempt: s.attempt,
		Inputs: s.settings.Inputs, Vars: s.settings.Vars, Secrets: s.secrets, Env: s.settings.Env, Only: s.settings.Matrix,
		Play:     slices.Concat(s.settings.Jobs, s.settings.Play),
		Previous: s.previous, Counted: s.settings.Counted,
		Debug: s.secrets["ACTIONS_STEP_DEBUG"] == "true" || s.settings.Vars["ACTIONS_STEP_DEBUG"] == "true",
	}
	req := engine.Request{
		Context: c, Masker: masker, Parallel: s.settings.Parallel, Retry: s.settings.Retry,
		Record: &compared{Record: &leased{Record: l.Store, lease: lease}, run: s.id, change: compare(ctx, s.tree, s.change)}, Planned: planned,
		Prior: s.prior, From: s.from,
		Tests: engine.Tests{Blobs: l.Results, Muted: s.settings.Muted, Retry: s.settings.RetryTests, Affected: s.settings.Affected},
		Log: func(job string) (engine.Log, error) {
			name := l.LogPath(s.id, job)
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				return nil, err
			}
			w, err := logs.Create(name)
			if err != nil {
				return nil, err
			}
			return jobLog{w, name}, nil
		},
	}
	if l.Secrets != nil {
		req.Secrets = func(ctx context.Context, environment string) (map[string]string, error) {
			values, err := l.Secrets(ctx, s.id, environment)
			masker.Add(slices.Collect(maps.Values(values))...)
			return values, err
		}
	}
	if l.Protect != nil {
		req.Protect = func(ctx context.Context, job *plan.Job) (*engine.Protection, error) {
			return l.Protect(ctx, s.id, job.Environment.Name)
		}
	}
	if l.Tokens != nil {
		req.Tokens = func(ctx context.Context, job *plan.Job) (map[string]string, error) {
			values, err := l.Tokens(ctx, s.id, job)
			masker.Add(slices.Collect(maps.Values(values))...)
			return values, err
		}
	}
	if err := l.furnish(ctx, &s, &req, masker); err != nil {
		return res, err
	}
	var room int64
	if req.Reuse, room, err = l.reuse(&s); err != nil {
		return res, err
	}
	dirs := &opener{Launcher: l, of: s, slots: map[string]*workspace.Slot{}}
	req.Open, req.Kept = dirs.open, dirs.kept
	watching, stop := context.WithCancel(ctx)
	abort := make(chan struct{})
	req.Abort = abort
	cancels := make(chan record.Event)
	req.Cancels = cancels
	var watch sync.WaitGroup
	follow := &follower{Observer: w.Observer, run: s.id}
	req.Observer = follow
	watch.Go(func() { l.watch(watching, follow, cancels) })
	watch.Go(func() {
		select {
		case <-lease.Lost():
			close(abort)
		case <-w.Abort:
			close(abort)
		case <-watching.Done():
		}
	})
	defer watch.Wait()
	defer stop()
	if w.Begun != nil {
		w.Begun(s.id, s.pipeline)
	}
	verdict, why, err := l.engine(s.dialect).Run(ctx, req)
	if req.Reuse != nil {
		l.settleCache(ctx, room)
	}
	if l.Tests != nil {
		l.Tests.Glance(ctx)
	}
	if l.Coverage != nil {
		l.Coverage.Glance(ctx)
	}
	if l.Faults != nil {
		l.Faults.Glance(ctx)
	}
	l.tidy(ctx)
	return Result{Run: s.id, Pipeline: s.pipeline, Verdict: verdict, Why: why}, err
}

// leased takes a run's events as long as its lease is held: somebody else may
// have it afterwards.
type leased struct {
	engine.Record
	lease store.Lease
}

func (r *leased) Append(ctx context.Context, events ...record.Event) ([]record.Event, error) {
	select {
	case <-r.lease.Lost():
		return nil, errLost
	default:
		return r.Record.Append(ctx, events...)
	}
}

var errLost = errors.New("the lease of the run was lost: the store could not be reached for too long")

const (
	// tidyEvery is how often workspaces that nobody uses are looked for, and
	// unusedFor how long nobody must have.
	tidyEvery = 24 * time.Hour
	unusedFor = 14 * 24 * time.Hour
)

// tidy removes workspaces that have not been used for long. A failure to do so
// is nobody's: the next run tries again.
func (l *Launcher) tidy(ctx context.Context) {
	stamp := filepath.Join(l.Data, "tidied")
	if st, err := os.Stat(stamp); err == nil && time.Since(st.ModTime()) < tidyEvery {
		return
	}
	if os.WriteFile(stamp, nil, 0o600) == nil && os.Chtimes(stamp, time.Time{}, time.Now()) == nil {
		_, _ = l.Slots.Prune(ctx, unusedFor)
	}
}

// watchEvery is how often the record is asked for requests to cancel.
const watchEvery = 200 * time.Millisecond

// follower notes how far the record was when the run began, so that requests
// to cancel it are looked for from there.
type follower struct {
	engine.Observer
	run string
	seq atomic.Int64
}

func (f *follower) Event(e record.Event) {
	f.seq.CompareAndSwap(0, e.Seq)
	f.Observer.Event(e)
}

// watch brings requests of other processes to cancel the run. It never holds
// a run up: what cannot be read now is read the next time.
func (l *Launcher) watch(ctx context.Context, f *follower, cancels chan<- record.Event) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		seen := f.seq.Load()
		if seen == 0 {
			continue
		}
		for e, err := range l.Store.After(ctx, seen) {
			if e.Seq > 0 {
				f.seq.Store(e.Seq)
			}
			if err != nil || e.Run != f.run || e.Kind() != "cancel.requested" {
				continue
			}
			select {
			case cancels <- e:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Cancel asks whoever runs the run to cancel it, or one job of it.
func (l *Launcher) Cancel(ctx context.Context, run, job, by string) error {
	_, held, err := l.Store.Held(ctx, store.RunLease(run))
	if err != nil {
		return err
	}
	if !held {
		return &plan.UsageError{Message: "nobody is running run " + run}
	}
	_, err = l.Store.Append(ctx, record.Event{Run: run, Job: job, Body: &record.CancelRequested{By: by}})
	return err
}

func (l *Launcher) dialect(name string) (dialect.Dialect, error) {
	for _, d := range l.Dialects {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("this Fairlead does not know the pipeline language %q", name)
}

// engine is the engine of a dialect; its runs share the machine.
func (l *Launcher) engine(d dialect.Dialect) *engine.Engine {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.engines == nil {
		l.engines = map[string]*engine.Engine{}
	}
	e := l.engines[d.Name()]
	if e == nil {
		e = &engine.Engine{Dialect: d, Executor: l.Executor, Leases: l.Store, Idle: l.Idle, Grace: l.Grace, Places: l.Places, Hands: l.Hands, Conceal: l.Conceal}
		l.engines[d.Name()] = e
	}
	return e
}

// opener gives the jobs of one run their directories.
type opener struct {
	*Launcher
	of    start
	mu    sync.Mutex
	slots map[string]*workspace.Slot
}

func (o *opener) open(ctx context.Context, want engine.Opening) (engine.Workspace, error) {
	var slot *workspace.Slot
	var err error
	switch {
	case want.Reclaim != "":
		slot, err = o.Slots.Reclaim(ctx, o.of.tree, want.Reclaim, want.Job, o.of.id)
	case o.of.settings.InPlace:
		slot, err = o.Slots.InPlace(ctx, o.of.tree, want.Job, o.of.id)
	default:
		slot, err = o.Slots.Acquire(ctx, o.of.tree, claim(want, o.of.id))
	}
	if err != nil {
		return nil, elsewhere(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slots[want.Job] = slot
	return room{slot}, nil
}

// kept writes down what a kept job's steps ran, readable by its owner alone:
// environments tell a lot even when secrets are masked.
func (o *opener) kept(job string, commands map[string]*plan.Command) {
	o.mu.Lock()
	slot := o.slots[job]
	o.mu.Unlock()
	if slot == nil {
		return
	}
	data, err := json.Marshal(Kept{Dirs: slot.Dirs, Commands: commands})
	if err != nil {
		return
	}
	name := keptPath(o.Data, o.of.id, job)
	if os.MkdirAll(filepath.Dir(name), 0o700) == nil {
		// Without the file there is no shell in the job; that is said when one
		// is asked for, and no reason to fail the run.
		_ = os.WriteFile(name, data, 0o600)
	}
}

// room is a slot as the engine sees it.
type room struct{ slot *workspace.Slot }

func (r room) Dirs() plan.Dirs { return r.slot.Dirs }
func (r room) Notes() []string { return r.slot.Notes }
func (r room) Keep() error     { return r.slot.Keep() }
func (r room) Release() error  { return r.slot.Release() }

// FindJob finds the job of a run that a person names: by ID or by name.
func FindJob(r *record.Run, name string) (*record.JobRun, error) {
	if j := r.Jobs[name]; j != nil {
		return j, nil
	}
	var found []*record.JobRun
	for _, id := range r.Order {
		if j := r.Jobs[id]; j.Name == name {
			found = append(found, j)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	var known []string
	for _, id := range r.Order {
		if len(r.Jobs[id].Children) == 0 {
			known = append(known, id)
		}
	}
	return nil, &plan.UsageError{Message: fmt.Sprintf("run %s has no job %q", r.ID, name), Hint: "its jobs are " + strings.Join(known, ", ")}
}

// FindStep finds the job and the step that a person means by "JOB/STEP" or
// "JOB": the step by key, number, name or the author's ID; without one, the first that
// ended badly ("" if none did). Job IDs may hold slashes: the longest one wins.
func FindStep(r *record.Run, name string) (job, step string, err error) {
	if name == "" {
		return "", "", &plan.UsageError{Message: "no job is named"}
	}
	for cut := len(name); cut > 0; cut = strings.LastIndexByte(name[:cut], '/') {
		j, ferr := FindJob(r, name[:cut])
		if ferr != nil {
			if err == nil {
				err = ferr
			}
			continue
		}
		if cut == len(name) {
			for _, s := range j.Steps {
				if s.Finished != nil && (s.Finished.Conclusion.Bad() || s.Finished.Conclusion == plan.Cancelled) || s.Finished == nil {
					return j.ID, s.Key, nil
				}
			}
			return j.ID, "", nil
		}
		want := name[cut+1:]
		for _, s := range j.Steps {
			if s.Key == want || s.Start.Name == want || s.Start.ID == want {
				return j.ID, s.Key, nil
			}
		}
		var known []string
		for _, s := range j.Steps {
			known = append(known, fmt.Sprintf("%s (%s)", s.Key, s.Start.Name))
		}
		return "", "", &plan.UsageError{Message: fmt.Sprintf("job %s of run %s has no step %q", j.ID, r.ID, want), Hint: "its steps are " + strings.Join(known, ", ")}
	}
	return "", "", err
}

// maskedBefore names the first step before the key whose effects cannot be
// said again, because they held a secret.
func maskedBefore(j *record.JobRun, key string) string {
	for _, s := range j.Steps {
		if s.Key == key {
			break
		}
		if s.Finished != nil && s.Finished.Masked {
			return s.Start.Name
		}
	}
	return ""
}

// muted are the tests in quarantine that a run of the change is told of.
func (l *Launcher) muted(ctx context.Context, c *plan.Change) ([]record.Mute, error) {
	if l.Tests == nil {
		return nil, nil
	}
	return l.Tests.Muted(ctx, c.Repository)
}
