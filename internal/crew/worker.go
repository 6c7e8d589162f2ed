package crew

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Worker is this machine in the service of a server: it takes whole jobs, and
// has them done.
//
// All that it asks goes out from here; nobody connects to it. What its jobs say
// is on its disk first ([spool]), so that neither a cut line nor a restart of
// the server loses or doubles any of it. When the server cannot be reached for
// two thirds of a lease, its jobs are killed: by the end of the lease the server
// gives them to somebody else.
//
// Its fields are set once, before Run is called.
type Worker struct {
	Master  Master
	Doer    Doer
	Joining Joining
	Dir     string // of what is still to be said
	Blobs   *Lent  // where its jobs keep the bytes of artifacts and caches
	Depot   Depot  // and their names
	// Keeper is who keeps the bytes of Blobs, and Room how many of them are kept when
	// nobody needs them any more; nil: nobody clears anything away.
	Keeper blob.Keeper
	Room   int64
	// Log is told of failures that are tried again, Tell of what goes on; nil:
	// nobody is.
	Log  func(doing string, err error)
	Tell func(news string)

	session string
	lease   time.Duration

	mu     sync.Mutex
	under  map[string]*errand // by Ref.id
	free   chan struct{}      // the poll under way is not true any more
	begun  sync.WaitGroup
	tidied time.Time // when room was last made
}

// Doer does jobs.
type Doer interface {
	// Do does a job once, as [engine.Engine.Do].
	Do(soft, hard context.Context, t *Task) (engine.Ended, error)
}

// Task is a job for a [Doer].
type Task struct {
	*Errand
	Record engine.Record
	Log    engine.Log
	// Bundle is the errand's commit, as a git bundle, for who has some commits.
	Bundle func(ctx context.Context, have []string) (io.ReadCloser, error)
}

// errand is a job under way.
type errand struct {
	Ref
	spool   *spool
	soft    context.Context
	stop    context.CancelCauseFunc // of soft: steps that want to run even then, do
	hard    context.Context
	kill    context.CancelCauseFunc
	telling context.Context // while there is any use in telling the server of it
	hush    context.CancelFunc
	told    Told
	renewed time.Time
	over    chan struct{} // closed when the server has all of it, or does not want it, or nobody asks any more
	said    bool          // one of the first two
}

const (
	// sayAtOnce is the size of what is said at once.
	sayAtOnce = 1 << 20
	// tryFirst is how long a worker waits when the server cannot be reached; that
	// doubles up to tryMost.
	tryFirst = 100 * time.Millisecond
	tryMost  = 5 * time.Second
	// partWithin is how long a worker that is told to end at once goes on to tell
	// the server of it.
	partWithin = 10 * time.Second
	// tidyEvery is how often room is made for further bytes.
	tidyEvery = time.Hour
)

// lostError is why a job ended of which the server is to be told that it is
// somebody else's turn: not the job is to blame, but this machine.
type lostError struct{ why string }

func (e *lostError) Error() string { return e.why }

// Run joins the server and takes jobs. When ctx ends it takes no more, finishes
// those that it has, and leaves; when abort is closed they are killed, and given
// back. The error wraps an ErrRefused or ErrSession, or is a UsageError, when the
// server does not want this worker any more.
func (w *Worker) Run(ctx context.Context, abort <-chan struct{}) error {
	w.under, w.free = map[string]*errand{}, make(chan struct{}, 1)
	left, err := spools(w.spoolDir())
	if err != nil {
		return err
	}
	hard, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	stopped := context.AfterFunc(ctx, w.wake)
	defer stopped()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-abort:
			w.giveUp(&lostError{"was told to end at once"})
			w.wake()
			time.AfterFunc(partWithin, func() { end(errors.New("there was no time left")) })
		case <-done:
		}
	}()
	for _, s := range left {
		w.Joining.Finishing = append(w.Joining.Finishing, s.ref)
	}
	if err := w.join(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	w.tell("joined")
	for _, s := range left {
		// What ran of it is gone with the process that it was in.
		if err := s.end(ending{Lost: "was started anew"}); err != nil {
			return err
		}
		e := w.errand(hard, s)
		w.begun.Go(func() {
			w.deliver(e)
			w.forget(e)
		})
	}
	if err = w.poll(ctx, hard); err != nil {
		end(err)
	}
	w.begun.Wait()
	if err != nil {
		return err
	}
	goodbye, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryMost)
	defer cancel()
	if err := w.Master.Leave(goodbye, w.session); err != nil && !errors.Is(err, ErrSession) {
		w.complain("leave", err) // it is found out
	}
	w.tell("left")
	return nil
}

func (w *Worker) spoolDir() string { return filepath.Join(w.Dir, "spool") }

func (w *Worker) complain(doing string, err error) {
	if w.Log != nil && err != nil {
		w.Log(doing, err)
	}
}

func (w *Worker) tell(format string, args ...any) {
	if w.Tell != nil {
		w.Tell(fmt.Sprintf(format, args...))
	}
}

// wake ends the poll under way: what it said is not true any more.
func (w *Worker) wake() {
	select {
	case w.free <- struct{}{}:
	default:
	}
}

// final reports whether there is no use in asking again.
func final(err error) bool {
	var use *plan.UsageError
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrSession) || errors.As(err, &use)
}

// wait waits before the n-th try, or until ctx ends. No two workers wait the same
// time.
func wait(ctx context.Context, n int) {
	long := min(tryFirst<<min(n, 10), tryMost)
	t := time.NewTimer(long/2 + rand.N(long/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// join joins the server, until it can be reached, or ctx ends.
func (w *Worker) join(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		j, err := w.Master.Join(ctx, w.Joining)
		if err == nil {
			w.session, w.lease = j.Session, j.Lease
			return nil
		}
		if final(err) {
			return fmt.Errorf("join the server: %w", err)
		}
		if ctx.Err() == nil {
			w.complain("join the server", err)
		}
		wait(ctx, n)
	}
	return nil
}

// poll is the worker's life: it ends when there is nothing more to do.
func (w *Worker) poll(ctx, hard context.Context) error {
	watch, stop := context.WithCancel(hard)
	defer stop()
	go w.watchdog(watch)
	state, failed := workerJoined, 0
	for n := int64(1); hard.Err() == nil; n++ {
		p := Polling{Session: w.session, N: n, State: state, Now: time.Now().UTC()}
		w.mu.Lock()
		for _, e := range w.under {
			p.Holding = append(p.Holding, Holding{e.Ref, e.told})
		}
		w.mu.Unlock()
		p.Free = max(0, w.Joining.Places-len(p.Holding))
		if ctx.Err() != nil || state == workerDraining {
			if p.Free = 0; len(p.Holding) == 0 {
				return nil
			}
		}
		sent := time.Now()
		a, cut, err := w.ask(hard, p)
		switch {
		case err == nil:
			failed = 0
			if a.State != state {
				w.tell("%s", a.State)
			}
			state = a.State
			w.heed(hard, sent, &a)
		case cut:
			failed = 0 // by ourselves: there is news
		case final(err):
			w.giveUp(&lostError{"is not wanted by its server any more"})
			return fmt.Errorf("ask the server for jobs: %w", err)
		default:
			w.complain("ask the server for jobs", err)
			wait(hard, failed)
			failed++
		}
	}
	return nil
}

// ask polls once. cut says that what was asked is not true any more.
func (w *Worker) ask(hard context.Context, p Polling) (a Polled, cut bool, err error) {
	asking, cancel := context.WithTimeout(hard, w.lease/3+time.Second)
	answered, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-w.free:
			cut = true
			cancel()
		case <-answered:
		}
	}()
	a, err = w.Master.Poll(asking, p)
	close(answered)
	<-ended
	cancel()
	return a, cut, err
}

// heed does what a poll's answer says.
func (w *Worker) heed(hard context.Context, sent time.Time, a *Polled) {
	w.mu.Lock()
	for _, ref := range a.Renewed {
		if e := w.under[ref.id()]; e != nil && e.Ref == ref {
			e.renewed = sent
		}
	}
	for _, word := range a.Orders {
		if e := w.under[word.id()]; e != nil && e.Ref == word.Ref {
			e.heed(word.Told, word.Why)
		}
	}
	known := a.Errand != nil && w.under[a.Errand.id()] != nil
	w.mu.Unlock()
	if a.Errand == nil || known {
		return // in the second case an attempt before is still being killed: it is given again
	}
	s, err := newSpool(filepath.Join(w.spoolDir(), spoolName(a.Errand.Ref)), a.Errand.Ref, a.Errand.Lines)
	if err != nil {
		w.complain("take a job", err) // it is given again, or to somebody else
		wait(hard, 10)
		return
	}
	e := w.errand(hard, s)
	w.mu.Lock()
	e.renewed = sent
	w.mu.Unlock()
	w.tell("%s begins", a.Errand.Ref)
	w.begun.Go(func() { w.deliver(e) })
	w.begun.Go(func() { w.do(e, a.Errand) })
}

// heed does what is said of a job. The caller holds the worker's mu.
func (e *errand) heed(told Told, why string) {
	if told <= e.told {
		return
	}
	e.told = told
	switch told {
	case StopIt:
		e.stop(engine.Cancel(why))
	case KillIt:
		e.stop(engine.Cancel(why))
		e.kill(engine.Cancel(why))
	case DropIt:
		e.stop(ErrFenced)
		e.kill(ErrFenced)
	}
}

// giveUp kills all jobs, for somebody else to do.
func (w *Worker) giveUp(why *lostError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.under {
		e.stop(why)
		e.kill(why)
	}
}

// watchdog kills jobs that the server may soon give to somebody else.
func (w *Worker) watchdog(ctx context.Context) {
	tick := time.NewTicker(w.lease / 30)
	defer tick.Stop()
	unheard := &lostError{"could not reach the server for too long"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for _, e := range w.under {
			if time.Since(e.renewed) >= w.lease*2/3 {
				e.stop(unheard)
				e.kill(unheard)
			}
		}
		w.mu.Unlock()
	}
}

// spoolName is a file name for an attempt at a job.
func spoolName(r Ref) string {
	sum := sha256.Sum256([]byte(r.id()))
	return fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:12]), r.Attempt)
}

// errand takes a job into the books.
func (w *Worker) errand(hard context.Context, s *spool) *errand {
	e := &errand{Ref: s.ref, spool: s, renewed: time.Now(), over: make(chan struct{})}
	e.telling, e.hush = context.WithCancel(hard)
	e.hard, e.kill = context.WithCancelCause(hard)
	e.soft, e.stop = context.WithCancelCause(e.hard)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under[e.id()] = e
	return e
}

// deliver says what a job has to say, until the server has all of it or does not
// want it.
func (w *Worker) deliver(e *errand) {
	defer close(e.over)
	ctx := e.telling
	var at int64
	for n := 0; ctx.Err() == nil; {
		said, next, needs, more, err := e.spool.batch(at, sayAtOnce)
		if err == nil && len(said) == 0 {
			select {
			case <-more:
			case <-ctx.Done():
			}
			continue
		}
		var heard Heard
		if err == nil {
			err = w.bring(ctx, e.Ref, needs)
		}
		if err == nil {
			within, cancel := context.WithTimeout(ctx, w.lease)
			heard, err = w.Master.Say(within, w.session, e.Ref, at, said)
			cancel()
		}
		switch {
		case err == nil && heard.Done:
			e.said = true
			return
		case err == nil && heard.Next >= next:
			at, n = next, 0
			continue
		case err == nil: // it has lost some: they are said again
			at = heard.Next
		case errors.Is(err, ErrFenced), errors.Is(err, ErrNotYours), errors.Is(err, ErrUnsound), final(err):
			if !errors.Is(err, ErrFenced) {
				w.complain("say what "+e.String()+" did", err)
			}
			w.mu.Lock()
			e.heed(DropIt, "")
			w.mu.Unlock()
			e.said = true
			return
		case !errors.Is(err, ErrNotYet):
			w.complain("say what "+e.String()+" did", err)
		}
		wait(ctx, n)
		n++
	}
}

// bring sends the server the artifacts that it does not have.
func (w *Worker) bring(ctx context.Context, ref Ref, digests []blob.Digest) error {
	if len(digests) == 0 {
		return nil
	}
	missing, err := w.Master.Missing(ctx, w.session, ref, digests)
	if err != nil {
		return err
	}
	for _, d := range missing {
		r, err := w.Blobs.Open(ctx, d)
		if err != nil {
			return fmt.Errorf("read artifact %s: %w", d, err)
		}
		err = w.Master.Put(ctx, w.session, ref, d, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// do does a job, and waits until the server knows of it.
func (w *Worker) do(e *errand, x *Errand) {
	defer w.forget(e)
	ended, err := w.work(e, x)
	end := ending{Ended: ended}
	if err != nil {
		end.Lost = "cannot do the job: " + err.Error()
	}
	if lost, ok := errors.AsType[*lostError](context.Cause(e.hard)); ok {
		end = ending{Lost: lost.why}
	}
	unsaid := e.spool.end(end)
	if unsaid != nil {
		e.hush() // its end cannot be told: the server finds out when the lease ends
	}
	w.complain("do "+e.String(), errors.Join(err, unsaid))
	<-e.over
	if ended.Settled != nil {
		ended.Settled()
	}
	w.complain("clear away what "+e.String()+" left", w.clear(e))
	w.tell("%s ended: %s", e.Ref, ended.Verdict)
}

// work does a job, and says what it has saved.
func (w *Worker) work(e *errand, x *Errand) (engine.Ended, error) {
	had, lent := map[int64]bool{}, map[blob.Digest]bool{}
	for _, a := range x.Artifacts {
		had[a.ID], lent[a.Digest] = true, true
	}
	for _, c := range x.Caches {
		lent[c.Digest] = true
	}
	w.Blobs.tell(e.Ref, &lending{lent, func(ctx context.Context, d blob.Digest) (io.ReadCloser, error) {
		return w.Master.Blob(ctx, w.session, e.Ref, d)
	}})
	defer w.Blobs.forget(e.Ref)
	for _, a := range x.Artifacts {
		if err := w.Depot.Adopt(e.soft, a); err != nil {
			return engine.Ended{}, err
		}
	}
	repository := x.Assignment.Context.Change.Repository
	for _, c := range x.Caches {
		if err := w.Depot.AdoptCache(e.soft, repository, c); err != nil {
			return engine.Ended{}, err
		}
	}
	ended, err := w.Doer.Do(e.soft, e.hard, &Task{
		Errand: x, Record: e.spool, Log: e.spool,
		Bundle: func(ctx context.Context, have []string) (io.ReadCloser, error) {
			return w.Master.Bundle(ctx, w.session, e.Ref, have)
		},
	})
	if err != nil {
		return ended, err
	}
	saved, err := w.Depot.Artifacts(context.WithoutCancel(e.hard), e.Run)
	if err != nil {
		return ended, err
	}
	for i := range saved {
		if a := &saved[i]; a.Job == e.Job && !had[a.ID] {
			if err := e.spool.saved(entryArtifact, a, a.Digest); err != nil {
				return ended, err
			}
		}
	}
	caches, err := w.Depot.Caches(context.WithoutCancel(e.hard), repository)
	if err != nil {
		return ended, err
	}
	for i := range caches {
		if c := &caches[i]; c.Run == e.Run && c.Job == e.Job {
			if err := e.spool.saved(entryCache, c, c.Digest); err != nil {
				return ended, err
			}
		}
	}
	return ended, nil
}

// clear removes what the server has by now: the names of the run's artifacts, unless
// another job of it is here, and the bytes that were not used for longest.
func (w *Worker) clear(e *errand) error {
	w.mu.Lock()
	alone, late := e.said, time.Since(w.tidied) >= tidyEvery
	needed := map[blob.Digest]bool{}
	for _, other := range w.under {
		if other != e {
			alone = alone && other.Run != e.Run
			other.spool.needed(needed)
		}
	}
	if late {
		w.tidied = time.Now()
	}
	w.mu.Unlock()
	ctx := context.WithoutCancel(e.hard)
	var errs []error
	if alone {
		list, err := w.Depot.Artifacts(ctx, e.Run)
		errs = append(errs, err)
		for i := range list {
			errs = append(errs, w.Depot.RemoveArtifact(&list[i]))
		}
	}
	if late && w.Keeper != nil {
		_, err := w.Keeper.Collect(ctx, func(d blob.Digest) bool { return needed[d] }, w.Room)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forget takes a job from the books.
func (w *Worker) forget(e *errand) {
	e.kill(nil)
	e.hush()
	w.mu.Lock()
	if w.under[e.id()] == e {
		delete(w.under, e.id())
	}
	w.mu.Unlock()
	if e.said {
		w.complain("forget "+e.String(), e.spool.remove())
	}
	w.wake()
}
