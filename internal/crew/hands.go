package crew

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Hands are a server's workers. They implement [engine.Hands] on one side, and
// what workers ask for on the other: the methods of [Master], each with the name
// of the token that was shown.
//
// A job that is given away is a register "assignment": who has it, at which
// attempt, and how many entries of what was said are in the record. An entry's
// events and that number are written in one transaction, and only while the
// register still is as it was read. Everything else is in memory and made again
// after a restart: workers go on meanwhile, and say what there is to say once
// the run's new owner calls Do.
//
// Of several servers of one record each has its own workers: those that joined
// it. What an assignment holds is never stored, so nobody else can hand it out.
type Hands struct {
	HandsOptions

	mu      sync.Mutex
	workers map[string]*hand
	given   map[string]*given // by Ref.id
	queue   []*given          // that nobody has, the next one first
	wake    chan struct{}     // closed, and made anew, when polls have to look again
	over    chan struct{}     // closed when Serve has ended: nobody waits for anything any more
}

// HandsOptions are what Hands are made of.
type HandsOptions struct {
	Store HandsStore
	// At names this server among those of one record.
	At    string
	Data  string     // directory of logs, as the Launcher's
	Blobs blob.Store // of artifacts and caches
	Depot Depot      // their names, whoever saved them
	Trees Trees
	// Only says that all jobs are for workers: none runs on this machine.
	Only bool
	// Lease is how long a job is a worker's after a sign of life; 0: [DefaultLease].
	Lease time.Duration
	// Log is told of failures that are tried again; nil: nobody is.
	Log func(doing string, err error)
}

// HandsStore is what Hands ask of the record.
type HandsStore interface {
	store.Registers
	// Held says whether somebody living has the name of a lease.
	Held(ctx context.Context, name string) (holder string, held bool, err error)
	Run(ctx context.Context, id string) (*record.Run, error)
}

// Depot is where jobs of a machine save and find artifacts and caches: a
// [depot.Depot].
type Depot interface {
	Artifacts(ctx context.Context, run string) ([]depot.Artifact, error)
	Adopt(ctx context.Context, a depot.Artifact) error
	RemoveArtifact(a *depot.Artifact) error
	Caches(ctx context.Context, repository string) ([]depot.Cache, error)
	AdoptCache(ctx context.Context, repository string, c depot.Cache) error
}

// Trees are what runs were started for.
type Trees interface {
	// Head is the commit of a run's tree.
	Head(ctx context.Context, c *plan.Context) (commit string, err error)
	// Bundle writes that commit as a git bundle, without what those have who have
	// some commits.
	Bundle(ctx context.Context, c *plan.Context, have []string, to io.Writer) error
}

const (
	// DefaultLease is how long a job stays a worker's that is not heard of.
	DefaultLease = 90 * time.Second
	// pollWait is how long a poll waits, at most, for something to say.
	pollWait = 10 * time.Second
	// maxLosses is how many workers may be lost with a job before it is not given to
	// another one: perhaps it is the job that kills them.
	maxLosses = 3
	// forgetAfter is how long a worker that is not heard of is listed.
	forgetAfter = 24 * time.Hour
	// seenEvery is how often it is written down that a worker lives.
	seenEvery = time.Minute
	// keepSettled is how long it is remembered at which attempt a job was that has ended,
	// keepAssignment how long a job may be without a word.
	keepSettled    = 24 * time.Hour
	keepAssignment = 30 * 24 * time.Hour
	// maxGap is how many lines may be missing in a log, after a disk has lost some.
	maxGap = 1_000_000
	// MaxBlob is the size of the largest artifact that is taken from a worker.
	MaxBlob = 64 << 30

	workerKind     = "worker"     // by name: a workerDoc
	assignmentKind = "assignment" // by run/job: an assignmentDoc
)

// Demand is how many jobs wait for workers of certain labels: what an autoscaler
// wants to know.
type Demand struct {
	Labels []string // of the jobs' place, sorted
	Jobs   int
	Oldest time.Duration // how long the first of them has waited
	Fit    int           // workers that take such jobs
	Free   int           // places that they have left
}

// workerDoc is a worker as its register holds it.
type workerDoc struct {
	At      string    `json:"at,omitempty"` // the server that it joined
	Token   string    `json:"token"`        // whose name this is
	Session string    `json:"session"`
	State   string    `json:"state"`
	Lost    bool      `json:"lost,omitempty"` // it is not heard of
	Labels  []string  `json:"labels"`
	Places  int       `json:"places"`
	Version string    `json:"version"`
	Seen    time.Time `json:"seen"`
}

// state is the worker's as people are told it.
func (d *workerDoc) state() string {
	if d.Lost && d.State != workerLeft {
		return workerLost
	}
	return d.State
}

// hand is a worker.
type hand struct {
	name    string
	doc     workerDoc
	version int64
	seen    time.Time
	wrote   time.Time
	n       int64         // newest poll
	skew    time.Duration // what its clock is behind ours
}

// The states of an assignment.
const (
	assignmentQueued  = "queued"
	assignmentHeld    = "held"
	assignmentEnded   = "ended"
	assignmentSettled = "settled" // its end is in the record
)

// assignmentDoc is a job that was given away, as its register holds it.
type assignmentDoc struct {
	State   string        `json:"state"`
	Attempt int           `json:"attempt"`
	Try     int           `json:"try"`
	Worker  string        `json:"worker,omitempty"`
	Said    int64         `json:"said"` // entries of the attempt that are in the record
	Losses  int           `json:"losses,omitempty"`
	Ended   *engine.Ended `json:"ended,omitempty"`
}

// given is a job that an engine of this process waits for.
type given struct {
	run, job string
	since    time.Time
	only     string // the one worker that can do it; "" for any
	done     chan struct{}

	// io is held by whoever changes the register, or writes what was said; mu of Hands is
	// taken inside it, never the other way round.
	io      sync.Mutex
	version int64
	log     *logs.Writer
	dirty   bool      // lines are not on the disk yet
	last    time.Time // of the newest event

	// By whoever holds mu of Hands; written with io held as well.
	a      engine.Assignment
	doc    assignmentDoc
	said   int64 // entries, those of lines included
	taking bool  // about to be given to a worker
	until  time.Time
	stop   Word
	ended  bool
	left   bool // its engine has gone
	err    error
	// confided is what the job told in confidence: known until this process ends.
	confided map[string]string
}

func (t *given) ref() Ref { return Ref{t.run, t.job, t.doc.Attempt} }

// NewHands makes the hands of a server, and reads which workers there were.
func NewHands(ctx context.Context, o HandsOptions) (*Hands, error) {
	o.Lease = cmp.Or(o.Lease, DefaultLease)
	h := &Hands{HandsOptions: o, workers: map[string]*hand{}, given: map[string]*given{}, wake: make(chan struct{}), over: make(chan struct{})}
	known, err := readHands(ctx, o.Store)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, w := range known {
		if w.doc.At == o.At {
			// They could not be heard while nobody served.
			w.seen, w.wrote = now, now
			h.workers[w.name] = w
		}
	}
	return h, nil
}

func (h *Hands) complain(doing string, err error) {
	if h.Log != nil && err != nil {
		h.Log(doing, err)
	}
}

// poke lets all polls look again. The caller holds mu.
func (h *Hands) poke() {
	close(h.wake)
	h.wake = make(chan struct{})
}

// Serve looks for workers that are not heard of any more, until ctx ends. Then polls are
// answered at once. It is called once.
func (h *Hands) Serve(ctx context.Context) {
	defer close(h.over)
	tick := time.NewTicker(h.Lease / 12)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sweep(ctx)
		}
	}
}

// takes reports whether a worker takes jobs of a place.
func (w *hand) takes(place *plan.Place) bool {
	labels := slices.Clone(place.Labels)
	if place.Group != "" {
		labels = append(labels, "group:"+place.Group)
	}
	if place.Container != nil && place.Container.Image != "" || len(place.Services) > 0 {
		labels = append(labels, ContainersLabel)
	}
	return !slices.ContainsFunc(labels, func(l string) bool {
		l = strings.ToLower(strings.TrimSpace(l))
		return !slices.ContainsFunc(w.doc.Labels, func(pattern string) bool {
			ok, err := path.Match(pattern, l)
			return ok && err == nil
		})
	})
}

// ContainersLabel is what a worker has that can run jobs in containers.
const ContainersLabel = "containers"

// able reports whether a worker can be given jobs, now or later.
func (w *hand) able() bool {
	return !w.doc.Lost && (w.doc.State == workerJoined || w.doc.State == workerPaused)
}

// Fits implements [engine.Hands].
func (h *Hands) Fits(place *plan.Place) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Only || h.anybody(place)
}

// anybody reports whether some worker takes such jobs, now or later. The caller
// holds mu.
func (h *Hands) anybody(place *plan.Place) bool {
	for _, w := range h.workers {
		if w.able() && w.takes(place) {
			return true
		}
	}
	return false
}

// Has implements [engine.Hands].
func (h *Hands) Has(ctx context.Context, run, job string) bool {
	doc, _, err := h.assignment(ctx, run, job)
	h.complain("look for the job's worker", err)
	return err == nil && (doc.State == assignmentQueued || doc.State == assignmentHeld || doc.State == assignmentEnded)
}

// assignment reads what is known of a job that was given away.
func (h *Hands) assignment(ctx context.Context, run, job string) (doc assignmentDoc, version int64, err error) {
	r, err := h.Store.Register(ctx, assignmentKind, Ref{Run: run, Job: job}.id())
	if err == nil && r.Version > 0 {
		err = json.Unmarshal(r.Body, &doc)
	}
	if err != nil {
		err = fmt.Errorf("read who has job %s of run %s: %w", job, run, err)
	}
	return doc, r.Version, err
}

// write writes a task's register, with the events that tell of it. The caller holds io.
func (h *Hands) write(ctx context.Context, t *given, doc assignmentDoc, events ...record.Event) ([]record.Event, error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	r := record.Register{Kind: assignmentKind, ID: Ref{Run: t.run, Job: t.job}.id(), Version: t.version, Body: body, Expires: time.Now().Add(keepAssignment)}
	if doc.State == assignmentSettled {
		r.Expires = time.Now().Add(keepSettled)
	}
	written, err := h.Store.Change(ctx, []record.Register{r}, events...)
	if err != nil {
		return nil, err
	}
	t.version++
	h.mu.Lock()
	t.doc = doc
	h.mu.Unlock()
	return written, nil
}

// Do implements [engine.Hands].
func (h *Hands) Do(soft, hard context.Context, a engine.Assignment) (engine.Ended, error) {
	t, err := h.enter(hard, a)
	if err != nil {
		return engine.Ended{}, err
	}
	softly, hardly := soft.Done(), hard.Done()
	for {
		select {
		case <-t.done:
			return h.result(t)
		case <-softly:
			softly = nil
			h.order(t, Word{Told: StopIt, Why: context.Cause(soft).Error()})
		case <-hardly:
			if errors.Is(context.Cause(hard), engine.ErrLeft) {
				h.leave(t)
				return engine.Ended{}, engine.ErrLeft
			}
			hardly = nil
			h.order(t, Word{Told: KillIt, Why: "it did not end in time after it was cancelled"})
		}
	}
}

// enter puts a job into the queue, or finds who has it.
func (h *Hands) enter(ctx context.Context, a engine.Assignment) (*given, error) {
	now := time.Now()
	c := *a.Context
	c.Secrets = secretsOf(a.Plan, c.Secrets)
	a.Context = &c
	t := &given{run: a.Run, job: a.Job, a: a, since: now, done: make(chan struct{})}
	if a.From != "" && a.Prior != nil {
		t.only, _ = engine.WorkerOf(a.Prior.Started.Place)
		h.mu.Lock()
		w := h.workers[t.only]
		h.mu.Unlock()
		if w == nil || !w.able() {
			return nil, errGone(t.only)
		}
	}
	t.io.Lock()
	defer t.io.Unlock()
	var err error
	if t.doc, t.version, err = h.assignment(ctx, a.Run, a.Job); err != nil {
		return nil, err
	}
	switch {
	case t.doc.State == assignmentEnded && t.doc.Try >= a.Try:
		t.ended = true
		close(t.done)
		return t, nil
	case t.doc.State == assignmentHeld:
		// Whoever has it may have been told by the process before us that it has it, just
		// before that one ended.
		t.said, t.until = t.doc.Said, now.Add(h.Lease)
		if err := h.openLog(t); err != nil {
			return nil, err
		}
	case t.doc.State != assignmentQueued:
		doc := assignmentDoc{State: assignmentQueued, Attempt: t.doc.Attempt + 1, Try: a.Try}
		if _, err := h.write(ctx, t, doc, t.event(&record.JobQueued{Why: h.waitsFor(&a.Plan.Place)})); err != nil {
			return nil, fmt.Errorf("give job %s of run %s away: %w", a.Job, a.Run, err)
		}
	}
	h.mu.Lock()
	if h.given[t.ref().id()] != nil {
		h.mu.Unlock()
		if t.log != nil {
			err = t.log.Close()
		}
		return nil, errors.Join(fmt.Errorf("job %s of run %s is given away already", a.Job, a.Run), err)
	}
	h.given[t.ref().id()] = t
	if t.doc.State == assignmentQueued {
		h.queue = append(h.queue, t)
		h.poke()
	}
	h.mu.Unlock()
	return t, nil
}

func errGone(worker string) error {
	return fmt.Errorf("the workspace to go on from is on worker %s, which is not here; run the whole job again", worker)
}

// waitsFor says for whom a job waits.
func (h *Hands) waitsFor(place *plan.Place) string {
	if len(place.Labels) == 0 {
		return "waits for a worker"
	}
	return "waits for a worker that takes " + strings.Join(place.Labels, ", ")
}

// event is one of the task's job.
func (t *given) event(b record.Body) record.Event {
	return record.Event{Run: t.run, Job: t.job, Body: b}
}

// openLog opens the log, if it is not. The caller holds io.
func (h *Hands) openLog(t *given) (err error) {
	if t.log != nil {
		return nil
	}
	name := launch.LogPath(h.Data, t.run, t.job)
	if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
		t.log, err = logs.Create(name)
	}
	if err != nil {
		return fmt.Errorf("open the log of job %s of run %s: %w", t.job, t.run, err)
	}
	return nil
}

// result is how the task's job ended. Its end is kept until it is a fact.
func (h *Hands) result(t *given) (engine.Ended, error) {
	if t.err != nil {
		return engine.Ended{}, t.err
	}
	e := *t.doc.Ended
	e.Confided = t.confided
	e.Settled = func() {
		t.io.Lock()
		defer t.io.Unlock()
		doc := t.doc
		doc.State, doc.Ended = assignmentSettled, nil
		_, err := h.write(context.Background(), t, doc)
		h.complain("forget who did a job", err)
	}
	return e, nil
}

// order says what is to become of a job.
func (h *Hands) order(t *given, word Word) {
	t.io.Lock()
	defer t.io.Unlock()
	h.mu.Lock()
	if word.Told > t.stop.Told {
		word.Ref, word.Why = t.ref(), cmp.Or(t.stop.Why, word.Why)
		t.stop = word
	}
	nobody := t.doc.State == assignmentQueued && !t.taking
	h.poke()
	h.mu.Unlock()
	if nobody {
		h.finish(context.Background(), t, engine.Ended{Verdict: plan.Cancelled, Why: word.Why})
	}
}

// finish ends a job that nobody has. The caller holds io.
func (h *Hands) finish(ctx context.Context, t *given, e engine.Ended) {
	doc := t.doc
	doc.State, doc.Ended, doc.Worker = assignmentEnded, &e, ""
	if _, err := h.write(ctx, t, doc); err != nil {
		t.err = fmt.Errorf("end job %s of run %s: %w", t.job, t.run, err)
	}
	h.close(t)
}

// close takes a task from the books. The caller holds io.
func (h *Hands) close(t *given) {
	if t.log != nil {
		h.complain("close a log", t.log.Close())
		t.log = nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id := Ref{Run: t.run, Job: t.job}.id()
	if h.given[id] == t {
		delete(h.given, id)
	}
	h.queue = slices.DeleteFunc(h.queue, func(x *given) bool { return x == t })
	if !t.ended && !t.left {
		t.ended = true
		close(t.done)
	}
	h.poke()
}

// hopeless says why a job that waits need not wait any more: nobody is left who
// could take it. The caller holds mu.
func (h *Hands) hopeless(t *given) error {
	if t.only != "" {
		if w := h.workers[t.only]; w == nil || !w.able() {
			return errGone(t.only)
		}
		return nil
	}
	if h.Only || h.anybody(&t.a.Plan.Place) {
		return nil
	}
	return engine.ErrNobody
}

// dismiss takes a job from the queue.
func (h *Hands) dismiss(ctx context.Context, t *given, why error) {
	t.io.Lock()
	defer t.io.Unlock()
	h.mu.Lock()
	waits := t.doc.State == assignmentQueued && !t.taking && !t.ended && !t.left && h.hopeless(t) != nil
	h.mu.Unlock()
	if !waits {
		return
	}
	doc := t.doc
	doc.State = assignmentSettled
	if _, err := h.write(ctx, t, doc); err != nil {
		h.complain("take a job back", err)
		return
	}
	t.err = why
	h.close(t)
}

// leave lets a job go on without its engine.
func (h *Hands) leave(t *given) {
	t.io.Lock()
	defer t.io.Unlock()
	h.mu.Lock()
	t.left = true
	h.mu.Unlock()
	h.close(t)
}

// lose takes a job from its worker, if it still is so, and puts it into the queue again. What
// was recorded of the attempt stays in the record.
func (h *Hands) lose(ctx context.Context, t *given, still func() bool, why string) error {
	t.io.Lock()
	defer t.io.Unlock()
	h.mu.Lock()
	doc, stop, over := t.doc, t.stop, t.ended || t.left
	if over || doc.State != assignmentHeld || !still() {
		h.mu.Unlock()
		return nil
	}
	h.mu.Unlock()
	lost := fmt.Sprintf("worker %s %s", doc.Worker, why)
	doc.Losses++
	switch {
	case stop.Told != GoOn:
		h.finish(ctx, t, engine.Ended{Verdict: plan.Cancelled, Why: stop.Why + "; " + lost})
		return t.err
	case doc.Losses >= maxLosses:
		h.finish(ctx, t, engine.Ended{Verdict: plan.Fault, Why: fmt.Sprintf("%s; %d workers were lost with this job, it is not given to another one", lost, doc.Losses)})
		return t.err
	}
	// Whoever has it next goes on from what is known of it, as after any other crash.
	if run, err := h.Store.Run(ctx, t.run); err != nil {
		return fmt.Errorf("read run %s: %w", t.run, err)
	} else if j := run.Jobs[t.job]; j != nil && j.State == record.Running {
		h.mu.Lock()
		t.a.PriorRun, t.a.Prior, t.a.From = t.run, j, ""
		h.mu.Unlock()
	}
	doc.State, doc.Attempt, doc.Worker, doc.Said = assignmentQueued, doc.Attempt+1, "", 0
	if _, err := h.write(ctx, t, doc, t.event(&record.JobQueued{Why: fmt.Sprintf("%s; the job waits for another one (attempt %d)", lost, doc.Attempt)})); err != nil {
		return fmt.Errorf("job %s of run %s: %w", t.job, t.run, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t.said, t.since, t.stop = 0, time.Now(), Word{}
	h.queue = append([]*given{t}, h.queue...)
	h.poke()
	return nil
}

// Demand is how many jobs wait, by the labels that they ask for.
func (h *Hands) Demand() []Demand {
	h.mu.Lock()
	defer h.mu.Unlock()
	busy := map[string]int{}
	for _, t := range h.given {
		if t.doc.State == assignmentHeld {
			busy[t.doc.Worker]++
		}
	}
	by := map[string]*Demand{}
	for _, t := range h.queue {
		labels := slices.Sorted(slices.Values(t.a.Plan.Place.Labels))
		d := by[strings.Join(labels, "\x00")]
		if d == nil {
			d = &Demand{Labels: labels}
			by[strings.Join(labels, "\x00")] = d
			for _, w := range h.workers {
				if w.able() && w.takes(&t.a.Plan.Place) {
					d.Fit++
					d.Free += max(0, w.doc.Places-busy[w.name])
				}
			}
		}
		d.Jobs++
		d.Oldest = max(d.Oldest, time.Since(t.since))
	}
	list := make([]Demand, 0, len(by))
	for _, key := range slices.Sorted(maps.Keys(by)) {
		list = append(list, *by[key])
	}
	return list
}

// spareRuns is how many runs go on beside others when no job is done here: those
// whose jobs wait tell what workers are wanted.
const spareRuns = 64

// Runs is how many more runs may go on at a time because their jobs are done
// elsewhere.
func (h *Hands) Runs() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Only {
		n = spareRuns
	}
	for _, w := range h.workers {
		if w.able() {
			n += w.doc.Places
		}
	}
	return n
}
