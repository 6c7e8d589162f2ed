package crew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// memory is a record that outlives its servers, as a database does.
type memory struct {
	mu        sync.Mutex
	events    []record.Event
	registers map[string]record.Register
	owned     map[string]bool // runs that have an owner
}

func (m *memory) all() []record.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// errDead is what a server meets that was killed.
var errDead = errors.New("this server was killed")

// session is one server's way to the record, until it is killed.
type session struct {
	*memory
	dead *bool // under memory.mu
}

func (s *session) Register(_ context.Context, kind, id string) (record.Register, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.dead {
		return record.Register{}, errDead
	}
	r := s.registers[kind+"\x00"+id]
	r.Kind, r.ID = kind, id
	return r, nil
}

func (s *session) Registers(_ context.Context, kind, prefix string) (list []record.Register, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.dead {
		return nil, errDead
	}
	for _, key := range slices.Sorted(maps.Keys(s.registers)) {
		if strings.HasPrefix(key, kind+"\x00"+prefix) {
			list = append(list, s.registers[key])
		}
	}
	return list, nil
}

func (s *session) Change(_ context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.dead {
		return nil, errDead
	}
	for _, r := range changes {
		if s.registers[r.Kind+"\x00"+r.ID].Version != r.Version {
			return nil, record.ErrConflict
		}
	}
	for _, r := range changes {
		key := r.Kind + "\x00" + r.ID
		if r.Version++; r.Body == nil {
			delete(s.registers, key)
		} else {
			s.registers[key] = r
		}
	}
	for i := range events {
		events[i].Seq = int64(len(s.events) + 1)
		if events[i].Time.IsZero() {
			events[i].Time = time.Now()
		}
		s.events = append(s.events, events[i])
	}
	return events, nil
}

func (s *session) Held(_ context.Context, name string) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.dead {
		return "", false, errDead
	}
	return "", s.owned[strings.TrimPrefix(name, "run/")], nil
}

func (s *session) Run(_ context.Context, id string) (*record.Run, error) {
	if *s.dead {
		return nil, errDead
	}
	r := record.NewRun(id)
	for _, e := range s.all() {
		r.Apply(e)
	}
	return r, nil
}

// oneTree is the tree of all runs.
type oneTree struct{}

func (oneTree) Head(context.Context, *plan.Context) (string, error) {
	return strings.Repeat("4", 40), nil
}

func (oneTree) Bundle(_ context.Context, _ *plan.Context, have []string, to io.Writer) error {
	_, err := fmt.Fprintf(to, "a bundle for who has %v", have)
	return err
}

// scene is a record, a server that may be killed and started again, and
// workers. All of it is in a bubble of synctest: its time is not ours.
type scene struct {
	t    *testing.T
	mem  *memory
	dir  string
	only bool

	blobs *disk.Store
	depot *depot.Depot

	mu      sync.Mutex
	hands   *Hands // nil while no server is there
	dead    *bool
	life    context.Context // of what the server does
	end     context.CancelCauseFunc
	serving sync.WaitGroup
	alive   map[string]int // how many do a job
	most    map[string]int // at a time
	doers   int            // counts them
	hired   []*hired
}

func newScene(t *testing.T) *scene {
	sc := &scene{t: t, mem: &memory{registers: map[string]record.Register{}, owned: map[string]bool{}}, dir: t.TempDir(), alive: map[string]int{}, most: map[string]int{}}
	var err error
	if sc.blobs, err = disk.Open(filepath.Join(sc.dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	sc.depot = depot.New(sc.blobs, filepath.Join(sc.dir, "index"))
	return sc
}

// start starts a server.
func (sc *scene) start() *Hands {
	dead := new(bool)
	h, err := NewHands(context.Background(), HandsOptions{
		Store: &session{sc.mem, dead}, Data: sc.dir, Blobs: sc.blobs, Depot: sc.depot, Trees: oneTree{}, Only: sc.only,
	})
	if err != nil {
		sc.t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(context.Background())
	sc.serving.Go(func() { h.Serve(ctx) })
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.hands, sc.dead, sc.life, sc.end = h, dead, ctx, end
	return h
}

// kill kills the server, as kill -9 does: nothing that it still does counts.
func (sc *scene) kill() {
	sc.mu.Lock()
	h := sc.hands
	sc.hands = nil
	sc.mu.Unlock()
	if h == nil {
		return
	}
	sc.mem.mu.Lock()
	*sc.dead = true
	clear(sc.mem.owned)
	sc.mem.mu.Unlock()
	sc.end(engine.ErrLeft)
	h.mu.Lock()
	left := slices.Collect(maps.Values(h.given))
	h.mu.Unlock()
	for _, t := range left {
		h.leave(t) // closes the log, as the end of a process does
	}
	h.mu.Lock()
	h.poke()
	h.mu.Unlock()
}

func (sc *scene) server() *Hands {
	h, _ := sc.serves()
	return h
}

func (sc *scene) serves() (*Hands, context.Context) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.hands, sc.life
}

// own is the owner of a job of a run, from server to server: it has it done, and
// writes how it ended.
func (sc *scene) own(soft context.Context, run, job string, labels ...string) plan.Verdict {
	for {
		h, life := sc.serves()
		if h == nil {
			time.Sleep(time.Second)
			continue
		}
		sc.mem.mu.Lock()
		sc.mem.owned[run] = true
		sc.mem.mu.Unlock()
		r, err := h.Store.Run(context.Background(), run)
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		a := assignmentOf(run, job, labels...)
		if p := r.Jobs[job]; p != nil {
			if p.State == record.Finished {
				return p.Verdict // the server before had come so far
			}
			a.PriorRun, a.Prior = run, p
		}
		ended, err := h.Do(soft, life, a)
		if errors.Is(err, engine.ErrNobody) {
			return "nobody"
		}
		if err == nil {
			_, err = h.Store.Change(context.Background(), nil, record.Event{Run: run, Job: job, Body: &record.JobFinished{Verdict: ended.Verdict, Result: ended.Verdict, Why: ended.Why, Outputs: ended.Outputs}})
			if err == nil {
				ended.Settled()
				return ended.Verdict
			}
		}
		if sc.server() == h { // the server is the same, and cannot
			sc.t.Logf("job %s: %v", job, err)
			return plan.Fault
		}
	}
}

func assignmentOf(run, job string, labels ...string) engine.Assignment {
	p := &plan.Pipeline{Name: "CI", Dialect: "toy"}
	c := &plan.Context{Pipeline: p, Change: &plan.Change{Repository: "team/app", Server: "https://code.example.org", Ref: "refs/heads/main"}, RunID: run,
		Secrets: map[string]string{"NAMED": "s3cret", "OTHER": "not-yours"}}
	j := &plan.Job{ID: job, Place: plan.Place{Labels: labels}, Steps: []plan.Step{{Key: "1", Run: &plan.Script{Text: plan.Expr{Text: "echo ${{ secrets.NAMED }}"}}}}}
	return engine.Assignment{Run: run, Job: job, Try: 1, Context: c, Plan: j, Scope: &plan.Scope{Context: c, Job: j, Status: plan.Success}}
}

// wire is a worker's way to the server, which may be cut.
type wire struct {
	sc    *scene
	token string

	mu   sync.Mutex
	cut  bool
	dead bool          // its worker was killed
	dice *rand.Rand    // nil: nothing is lost
	lose float64       // of a message or its answer
	slow time.Duration // at most
}

var errCut = errors.New("the line is cut")

// call has the server asked, or the message or its answer lost.
func call[T any](ctx context.Context, w *wire, ask func(h *Hands) (T, error)) (T, error) {
	var none T
	wait, before, after := w.fate()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return none, ctx.Err()
	}
	h := w.sc.server()
	if h == nil || before || w.down() {
		return none, errCut
	}
	a, err := ask(h)
	if after || w.down() || errors.Is(err, errDead) || w.sc.server() != h {
		return none, errCut
	}
	return a, err
}

func (w *wire) fate() (wait time.Duration, before, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dice == nil {
		return time.Millisecond, false, false
	}
	return time.Duration(w.dice.Int64N(int64(w.slow) + 1)), w.dice.Float64() < w.lose, w.dice.Float64() < w.lose
}

func (w *wire) down() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut || w.dead
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

func (w *wire) Join(ctx context.Context, j Joining) (Joined, error) {
	return call(ctx, w, func(h *Hands) (Joined, error) { return h.Join(ctx, w.token, j) })
}

func (w *wire) Poll(ctx context.Context, p Polling) (Polled, error) {
	return call(ctx, w, func(h *Hands) (Polled, error) {
		a, err := h.Poll(ctx, w.token, p)
		return a, err
	})
}

func (w *wire) Say(ctx context.Context, session string, ref Ref, from int64, entries []byte) (Heard, error) {
	return call(ctx, w, func(h *Hands) (Heard, error) { return h.Say(ctx, w.token, session, ref, from, bytes.Clone(entries)) })
}

func (w *wire) Missing(ctx context.Context, session string, ref Ref, digests []blob.Digest) ([]blob.Digest, error) {
	return call(ctx, w, func(h *Hands) ([]blob.Digest, error) { return h.Missing(ctx, w.token, session, ref, digests) })
}

func (w *wire) Put(ctx context.Context, session string, ref Ref, d blob.Digest, r io.Reader) error {
	_, err := call(ctx, w, func(h *Hands) (int, error) { return 0, h.Put(ctx, w.token, session, ref, d, r) })
	return err
}

func (w *wire) Blob(ctx context.Context, session string, ref Ref, d blob.Digest) (io.ReadCloser, error) {
	return call(ctx, w, func(h *Hands) (io.ReadCloser, error) { return h.Blob(ctx, w.token, session, ref, d) })
}

func (w *wire) Bundle(ctx context.Context, session string, ref Ref, have []string) (io.ReadCloser, error) {
	return call(ctx, w, func(h *Hands) (io.ReadCloser, error) {
		var b bytes.Buffer
		err := h.Bundle(ctx, w.token, session, ref, have, &b)
		return io.NopCloser(&b), err
	})
}

func (w *wire) Leave(ctx context.Context, session string) error {
	_, err := call(ctx, w, func(h *Hands) (int, error) { return 0, h.Leave(ctx, w.token, session) })
	return err
}

// doing is a Doer of the scene: its jobs say what they are, step by step.
type doing struct {
	sc    *scene
	steps int
	each  time.Duration
	// hold keeps a job in its last step until it is closed; nil: nothing does.
	hold chan struct{}
	// save is called at the end.
	save func(t *Task) error
	// seen is told each task.
	seen func(t *Task)
}

func (d *doing) Do(soft, hard context.Context, t *Task) (engine.Ended, error) {
	sc := d.sc
	id := t.Ref.id()
	sc.mu.Lock()
	sc.doers++
	name := fmt.Sprintf("d%d", sc.doers)
	sc.alive[id]++
	sc.most[id] = max(sc.most[id], sc.alive[id])
	sc.mu.Unlock()
	defer func() {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.alive[id]--
	}()
	if d.seen != nil {
		d.seen(t)
	}
	say := func(step string, b record.Body) error {
		_, err := t.Record.Append(hard, record.Event{Run: t.Run, Job: t.Job, Step: step, Body: b})
		return err
	}
	if err := say("", &record.JobStarted{Attempt: t.Assignment.Try, Workspace: name}); err != nil {
		return engine.Ended{}, err
	}
	for i := range d.steps {
		key := fmt.Sprint(i)
		if err := say(key, &record.StepStarted{Name: name}); err != nil {
			return engine.Ended{}, err
		}
		for k := range 3 {
			if _, err := t.Log.Line(key, time.Now(), fmt.Appendf(nil, "%s %d", name, i*3+k)); err != nil {
				return engine.Ended{}, err
			}
		}
		var hold chan struct{}
		if hold = closed; i == d.steps-1 && d.hold != nil {
			hold = d.hold
		}
		select {
		case <-hold:
		case <-soft.Done():
		}
		select {
		case <-time.After(d.each):
		case <-soft.Done():
			return engine.Stopped(soft), nil
		}
		if err := say(key, &record.StepFinished{Name: name, Outcome: plan.Success, Conclusion: plan.Success}); err != nil {
			return engine.Ended{}, err
		}
	}
	if d.save != nil {
		if err := d.save(t); err != nil {
			return engine.Ended{}, err
		}
	}
	return engine.Ended{Verdict: plan.Success, Outputs: map[string]string{"by": name}}, nil
}

// closed is a channel that holds nobody.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// hired is a worker that works.
type hired struct {
	*Worker
	wire  *wire
	name  string
	drain context.CancelFunc
	abort chan struct{}
	gone  chan struct{}
	err   error // once gone
}

// hire starts a worker. Its directory is that of its name: so it may be started
// again after it was killed.
func (sc *scene) hire(name string, d *doing, w *wire, labels ...string) *hired {
	d.sc = sc
	if w == nil {
		w = &wire{}
	}
	if w.sc = sc; w.token == "" {
		w.token = "token of " + name
	}
	if len(labels) == 0 {
		labels = []string{"*"}
	}
	dir := filepath.Join(sc.dir, "worker", name)
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		sc.t.Fatal(err)
	}
	lent := &Lent{Store: blobs}
	h := &hired{name: name, wire: w, abort: make(chan struct{}), gone: make(chan struct{})}
	h.Worker = &Worker{
		Master: w, Doer: d, Dir: dir, Blobs: lent, Depot: depot.New(lent, filepath.Join(dir, "index")),
		Joining: Joining{Name: name, Labels: labels, Places: 2, Version: "test", Protocol: Protocol},
	}
	sc.hired = append(sc.hired, h)
	var ctx context.Context
	ctx, h.drain = context.WithCancel(context.Background())
	go func() {
		defer close(h.gone)
		h.err = h.Run(ctx, h.abort)
	}()
	return h
}

// die kills the worker, as kill -9 does: what it still does is not seen by anybody.
func (h *hired) die() {
	select {
	case <-h.gone:
		return
	default:
	}
	h.wire.mu.Lock()
	h.wire.dead = true
	h.wire.mu.Unlock()
	h.Worker.mu.Lock()
	for _, e := range h.under {
		e.spool.mu.Lock()
		e.spool.err = errDead
		e.spool.mu.Unlock()
	}
	h.Worker.mu.Unlock()
	h.drain()
	select {
	case <-h.abort:
	default:
		close(h.abort)
	}
}

// leave lets the worker finish, and waits for it.
func (h *hired) leave() error {
	h.drain()
	<-h.gone
	return h.err
}

// lines is the log of a job.
func (sc *scene) lines(run, job string) (lines []string) {
	sc.t.Helper()
	r, err := logs.Open(launch.LogPath(sc.dir, run, job))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		sc.t.Fatal(err)
	}
	defer r.Close()
	if err := r.Read(0, func(l logs.Line) bool {
		lines = append(lines, string(l.Text))
		return true
	}); err != nil {
		sc.t.Fatal(err)
	}
	return lines
}

// check holds the record and the log of a job against what must be true of them
// whatever happened: what each of those who did it said is there in order,
// once, and without a gap; of the last one, if the job ended well, all of it.
func (sc *scene) check(run, job string, steps int) error {
	next := map[string]int{}
	last, ends, ended := "", 0, plan.Verdict("")
	for _, e := range sc.mem.all() {
		if e.Run != run || e.Job != job {
			continue
		}
		place := -1
		name := ""
		switch b := e.Body.(type) {
		case *record.JobStarted:
			name, place = b.Workspace, 0
			last = name
		case *record.StepStarted:
			name, place = b.Name, 1
		case *record.StepFinished:
			name, place = b.Name, 2
		case *record.JobFinished:
			ends++
			ended = b.Verdict
			if b.Verdict == plan.Success && b.Outputs["by"] != last {
				return fmt.Errorf("job %s was ended by %s, and was %s's", job, b.Outputs["by"], last)
			}
			continue
		default:
			continue
		}
		if ends > 0 {
			return fmt.Errorf("job %s: %s after its end", job, e.Kind())
		}
		if name != last {
			return fmt.Errorf("job %s: %s of %s, and it is %s's", job, e.Kind(), name, last)
		}
		if place > 0 {
			n := 0
			fmt.Sscan(e.Step, &n)
			place += 2 * n
		}
		if place != next[name] {
			return fmt.Errorf("job %s: %s said %d, and %d was to come", job, name, place, next[name])
		}
		next[name]++
	}
	if ends != 1 {
		return fmt.Errorf("job %s ended %d times", job, ends)
	}
	if ended == plan.Success && next[last] != 1+2*steps {
		return fmt.Errorf("job %s: %s said %d of %d", job, last, next[last], 1+2*steps)
	}
	line := map[string]int{}
	for _, l := range sc.lines(run, job) {
		name, n := "", 0
		if _, err := fmt.Sscanf(l, "%s %d", &name, &n); err != nil {
			return fmt.Errorf("job %s: a line %q", job, l)
		}
		if n != line[name] {
			return fmt.Errorf("job %s: %s printed %d, and %d was to come", job, name, n, line[name])
		}
		line[name]++
	}
	if ended == plan.Success && line[last] != 3*steps {
		return fmt.Errorf("job %s: %s printed %d of %d lines", job, last, line[last], 3*steps)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if most := sc.most[run+"/"+job]; most > 1 {
		return fmt.Errorf("job %s was done by %d at a time", job, most)
	}
	return nil
}

// bubble runs a test in a time of its own.
func bubble(t *testing.T, test func(t *testing.T, sc *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sc := newScene(t)
		defer func() {
			for _, h := range sc.hired {
				h.die()
				<-h.gone
			}
			sc.kill()
			sc.serving.Wait()
		}()
		test(t, sc)
	})
}

// settle lets time pass, and then all that happens at once happen.
func settle(long time.Duration) {
	time.Sleep(long)
	synctest.Wait()
}
