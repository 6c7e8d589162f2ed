package crew

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// The states of a worker.
const (
	workerJoined   = "joined"
	workerPaused   = "paused"
	workerDraining = "draining"
	workerLost     = "lost"
	workerLeft     = "left"
)

// WorkerInfo is a worker as lists show it.
type WorkerInfo struct {
	Name    string
	State   string // "joined", "paused" (takes nothing now), "draining" (finishes, then leaves), "lost"
	Labels  []string
	Version string
	Seen    time.Time
	Places  int
	Jobs    []string // "12/test"
}

// sweep takes jobs from workers that are not heard of.
func (h *Hands) sweep(ctx context.Context) {
	now := time.Now()
	var late []*given
	var silent []*hand
	h.mu.Lock()
	for _, t := range h.given {
		if t.doc.State == assignmentHeld && !now.Before(t.until) {
			late = append(late, t)
		}
	}
	for _, w := range h.workers {
		if gone := now.Sub(w.seen); gone >= forgetAfter || gone >= h.Lease && !w.doc.Lost {
			silent = append(silent, w)
		}
	}
	hopeless := map[*given]error{}
	for _, t := range h.queue {
		if err := h.hopeless(t); err != nil {
			hopeless[t] = err
		}
	}
	h.mu.Unlock()
	for t, err := range hopeless {
		h.dismiss(ctx, t, err)
	}
	for _, w := range silent {
		h.complain("write that worker "+w.name+" is lost", h.silent(ctx, w))
	}
	for _, t := range late {
		h.complain("take a job from a lost worker", h.lose(ctx, t, func() bool { return !time.Now().Before(t.until) }, "was not heard of for "+h.Lease.String()))
	}
}

// silent writes that a worker is not heard of; after a day it is forgotten.
func (h *Hands) silent(ctx context.Context, w *hand) error {
	return h.change(ctx, w, func(doc *workerDoc) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch gone := time.Since(w.seen); {
		case gone >= forgetAfter:
			doc.State = workerLeft
		case gone >= h.Lease:
			doc.Lost = true
		}
	})
}

// change changes what is known of a worker, with the events that tell of it.
// Workers that left are forgotten.
func (h *Hands) change(ctx context.Context, w *hand, edit func(doc *workerDoc), more ...record.Event) error {
	h.mu.Lock()
	doc, version := w.doc, w.version
	h.mu.Unlock()
	was := doc.state()
	edit(&doc)
	h.mu.Lock()
	doc.Seen = w.seen.UTC()
	h.mu.Unlock()
	r := record.Register{Kind: workerKind, ID: w.name, Version: version}
	var err error
	if doc.State != workerLeft {
		if r.Body, err = json.Marshal(doc); err != nil {
			return err
		}
	}
	if doc.state() != was {
		more = append(more, record.Event{Body: &record.WorkerSeen{Worker: w.name, State: doc.state(), Version: doc.Version}})
	}
	if _, err := h.Store.Change(ctx, []record.Register{r}, more...); err != nil {
		if errors.Is(err, record.ErrConflict) {
			err = errors.Join(err, h.reread(ctx, w))
		}
		return fmt.Errorf("worker %s: %w", w.name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.doc, w.version, w.wrote = doc, version+1, time.Now()
	if doc.State == workerLeft && h.workers[w.name] == w {
		delete(h.workers, w.name)
	}
	h.poke()
	return nil
}

// reread reads a worker again that somebody else has written, perhaps another server.
func (h *Hands) reread(ctx context.Context, w *hand) error {
	r, err := h.Store.Register(ctx, workerKind, w.name)
	if err != nil {
		return err
	}
	var doc workerDoc
	if r.Version > 0 {
		if err := json.Unmarshal(r.Body, &doc); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if doc.Session == w.doc.Session {
		w.doc, w.version = doc, r.Version
	} else if h.workers[w.name] == w {
		delete(h.workers, w.name) // it joined elsewhere, or was removed
	}
	h.poke()
	return nil
}

// worker is who speaks: the token says who it may be, the session which process.
func (h *Hands) worker(token, session string) (*hand, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.workers {
		if session != "" && w.doc.Session == session && w.doc.Token == token {
			return w, nil
		}
	}
	return nil, ErrSession
}

// Join takes a worker on. token is the name of the token that it showed.
func (h *Hands) Join(ctx context.Context, token string, j Joining) (Joined, error) {
	if err := j.check(); err != nil {
		return Joined{}, err
	}
	r, err := h.Store.Register(ctx, workerKind, j.Name)
	if err != nil {
		return Joined{}, fmt.Errorf("take on worker %s: %w", j.Name, err)
	}
	var old workerDoc
	if r.Version > 0 {
		if err := json.Unmarshal(r.Body, &old); err != nil {
			return Joined{}, fmt.Errorf("read worker %s: %w", j.Name, err)
		}
		if old.Token != token {
			return Joined{}, &plan.UsageError{Message: "there is a worker " + j.Name + " with another token", Hint: "choose another name with --name, or remove that worker first"}
		}
	}
	doc := workerDoc{At: h.At, Token: token, Session: rand.Text(), State: workerJoined, Labels: slices.Clone(j.Labels), Places: j.Places, Version: j.Version, Seen: time.Now().UTC()}
	for i, l := range doc.Labels {
		doc.Labels[i] = strings.ToLower(strings.TrimSpace(l))
	}
	if old.State == workerPaused {
		doc.State = workerPaused // a person paused it, and a person lets it go on
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return Joined{}, err
	}
	if _, err := h.Store.Change(ctx, []record.Register{{Kind: workerKind, ID: j.Name, Version: r.Version, Body: body}},
		record.Event{Body: &record.WorkerSeen{Worker: j.Name, State: workerJoined, Version: j.Version}}); err != nil {
		return Joined{}, fmt.Errorf("take on worker %s: %w", j.Name, err)
	}
	now := time.Now()
	h.mu.Lock()
	h.workers[j.Name] = &hand{name: j.Name, doc: doc, version: r.Version + 1, seen: now, wrote: now}
	h.mu.Unlock()
	if err := h.abandoned(ctx, j, "was started anew"); err != nil {
		return Joined{}, err
	}
	return Joined{Session: doc.Session, Lease: h.Lease}, nil
}

func (j *Joining) check() error {
	switch {
	case j.Protocol != Protocol:
		return &plan.UsageError{Message: fmt.Sprintf("the worker (Fairlead %s) speaks version %d of the protocol, this server version %d", j.Version, j.Protocol, Protocol), Hint: "install the server's version of Fairlead"}
	case !workerName.MatchString(j.Name):
		return &plan.UsageError{Message: fmt.Sprintf("a worker cannot be called %.80q", j.Name), Hint: "letters, digits, dots, dashes and underscores, up to 63"}
	case j.Places < 1 || j.Places > maxHolding:
		return &plan.UsageError{Message: fmt.Sprintf("a worker takes 1 to %d jobs at a time, not %d", maxHolding, j.Places)}
	case len(j.Labels) > maxLabels || len(j.Finishing) > maxHolding || len(j.Version) > maxLabel:
		return &plan.UsageError{Message: fmt.Sprintf("a worker has at most %d labels", maxLabels)}
	}
	for _, l := range j.Labels {
		if _, err := path.Match(l, ""); err != nil || l == "" || len(l) > maxLabel {
			return &plan.UsageError{Message: fmt.Sprintf("%.80q is no pattern of labels", l)}
		}
	}
	return nil
}

// abandoned takes from a worker the jobs that a process before had, and this one knows
// nothing of.
func (h *Hands) abandoned(ctx context.Context, j Joining, why string) error {
	registers, err := h.Store.Registers(ctx, assignmentKind, "")
	if err != nil {
		return fmt.Errorf("look for the jobs of worker %s: %w", j.Name, err)
	}
	for _, r := range registers {
		var doc assignmentDoc
		if json.Unmarshal(r.Body, &doc) != nil || doc.State != assignmentHeld || doc.Worker != j.Name ||
			slices.ContainsFunc(j.Finishing, func(f Ref) bool { return f.id() == r.ID && f.Attempt == doc.Attempt }) {
			continue
		}
		h.mu.Lock()
		t := h.given[r.ID]
		h.mu.Unlock()
		if t != nil {
			err = h.lose(ctx, t, func() bool { return t.doc.Worker == j.Name && t.doc.Attempt == doc.Attempt }, why)
		} else {
			doc.State, doc.Worker, doc.Said, doc.Attempt, doc.Losses = assignmentQueued, "", 0, doc.Attempt+1, doc.Losses+1
			if r.Body, err = json.Marshal(doc); err == nil {
				_, err = h.Store.Change(ctx, []record.Register{r})
			}
			if errors.Is(err, record.ErrConflict) {
				err = nil // somebody deals with it
			}
		}
		if err != nil {
			return fmt.Errorf("take job %s from worker %s: %w", r.ID, j.Name, err)
		}
	}
	return nil
}

// Poll takes a worker's sign of life and waits a little for something to tell it.
func (h *Hands) Poll(ctx context.Context, token string, p Polling) (Polled, error) {
	w, err := h.worker(token, p.Session)
	if err != nil {
		return Polled{}, err
	}
	if len(p.Holding) > maxHolding {
		return Polled{}, fmt.Errorf("%w: it has too many jobs", ErrUnsound)
	}
	now := time.Now()
	h.mu.Lock()
	if p.N <= w.n {
		h.mu.Unlock()
		return Polled{}, fmt.Errorf("%w: an old poll", ErrUnsound)
	}
	w.n, w.seen, w.skew = p.N, now, now.Sub(p.Now)
	write := w.doc.Lost || now.Sub(w.wrote) >= seenEvery
	h.poke() // an older poll ends
	h.mu.Unlock()
	if write {
		if err := h.change(ctx, w, func(doc *workerDoc) { doc.Lost = false }); err != nil {
			return Polled{}, err
		}
	}
	var a Polled
	dropped := map[Ref]bool{}
	for _, held := range p.Holding {
		ok, err := h.renew(ctx, w, held.Ref, now)
		switch {
		case errors.Is(err, ErrFenced):
			dropped[held.Ref] = true
		case err != nil:
			return Polled{}, err
		case ok:
			a.Renewed = append(a.Renewed, held.Ref)
		}
	}
	wait := time.NewTimer(pollWait)
	defer wait.Stop()
	for {
		h.mu.Lock()
		again := h.wake
		switch {
		case h.workers[w.name] != w:
			h.mu.Unlock()
			return Polled{}, ErrSession
		case w.n != p.N:
			h.mu.Unlock()
			return Polled{}, fmt.Errorf("%w: an old poll", ErrUnsound)
		}
		a.State, a.Orders = w.doc.State, nil
		news := a.State != p.State
		for _, held := range p.Holding {
			word := Word{Ref: held.Ref}
			if t := h.given[held.id()]; dropped[held.Ref] || t != nil && (t.doc.State != assignmentHeld || t.doc.Worker != w.name || t.doc.Attempt != held.Attempt) {
				word.Told = DropIt
			} else if t != nil {
				word = t.stop
			}
			if word.Told > held.Told {
				a.Orders, news = append(a.Orders, word), true
			}
		}
		t := h.next(w, &p)
		h.mu.Unlock()
		if t != nil {
			if a.Errand, err = h.take(ctx, t, w); err != nil {
				return Polled{}, err
			}
			if a.Errand != nil {
				return a, nil
			}
			continue // it was cancelled meanwhile
		}
		if news {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return a, nil
		case <-wait.C:
			return a, nil
		case <-h.over:
			return a, nil
		case <-again:
		}
	}
}

// renew lets a worker keep a job for another lease. It reports false when the job is neither
// lost to it nor renewed, and an ErrFenced when it is lost.
func (h *Hands) renew(ctx context.Context, w *hand, ref Ref, now time.Time) (bool, error) {
	h.mu.Lock()
	if t := h.given[ref.id()]; t != nil {
		defer h.mu.Unlock()
		if t.doc.State != assignmentHeld || t.doc.Worker != w.name || t.doc.Attempt != ref.Attempt {
			return false, ErrFenced
		}
		t.until = now.Add(h.Lease)
		return true, nil
	}
	h.mu.Unlock()
	// Its run has no owner in this process. Unless it has one in another, nobody can give
	// the job to somebody else for a lease from now.
	doc, _, err := h.assignment(ctx, ref.Run, ref.Job)
	if err != nil {
		return false, err
	}
	if doc.State != assignmentHeld || doc.Worker != w.name || doc.Attempt != ref.Attempt {
		return false, ErrFenced
	}
	_, held, err := h.Store.Held(ctx, store.RunLease(ref.Run))
	if err != nil {
		return false, fmt.Errorf("look for the owner of run %s: %w", ref.Run, err)
	}
	if !held {
		run, err := h.Store.Run(ctx, ref.Run)
		if err != nil {
			return false, fmt.Errorf("read run %s: %w", ref.Run, err)
		}
		if run.Verdict != "" {
			return false, ErrFenced
		}
	}
	return !held, nil
}

// next is what a worker is to be given: a job that it has and does not know of, since our
// answer did not come through, or the first of the queue that fits. The caller holds mu.
func (h *Hands) next(w *hand, p *Polling) *given {
	if p.Free < 1 {
		return nil
	}
	for _, t := range h.given {
		if t.doc.State == assignmentHeld && t.doc.Worker == w.name && !t.taking && t.said == 0 &&
			!slices.ContainsFunc(p.Holding, func(held Holding) bool { return held.Ref == t.ref() }) {
			t.taking = true
			return t
		}
	}
	if w.doc.State != workerJoined {
		return nil
	}
	for i, t := range h.queue {
		if !t.taking && (t.only == "" || t.only == w.name) && w.takes(&t.a.Plan.Place) {
			h.queue = slices.Delete(slices.Clone(h.queue), i, i+1)
			t.taking = true
			return t
		}
	}
	return nil
}

// take gives a job to a worker; nil when it was cancelled meanwhile.
func (h *Hands) take(ctx context.Context, t *given, w *hand) (e *Errand, err error) {
	t.io.Lock()
	defer t.io.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		t.taking = false
		if err != nil && t.doc.State == assignmentQueued && !t.ended && !t.left {
			h.queue = append([]*given{t}, h.queue...)
			h.poke()
		}
	}()
	h.mu.Lock()
	doc, stop, over := t.doc, t.stop, t.ended || t.left
	h.mu.Unlock()
	if over {
		return nil, nil
	}
	if stop.Told != GoOn && doc.State == assignmentQueued {
		h.finish(ctx, t, engine.Ended{Verdict: plan.Cancelled, Why: stop.Why})
		return nil, nil
	}
	if err := h.openLog(t); err != nil {
		return nil, err
	}
	saved, err := h.Depot.Artifacts(ctx, t.run)
	if err != nil {
		return nil, err
	}
	e = &Errand{Lines: t.log.Lines(), Artifacts: saved}
	if e.Caches, err = h.caches(ctx, t); err != nil {
		return nil, err
	}
	if e.Commit, err = h.Trees.Head(ctx, t.a.Context); err != nil {
		return nil, fmt.Errorf("the tree of run %s: %w", t.run, err)
	}
	change := t.a.Context.Change
	e.Origin = cmp.Or(change.Server, "https://localhost") + "/" + change.Repository
	if doc.State == assignmentQueued {
		doc.State, doc.Worker = assignmentHeld, w.name
		if _, err := h.write(ctx, t, doc); err != nil {
			return nil, fmt.Errorf("give job %s of run %s to worker %s: %w", t.job, t.run, w.name, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t.until = time.Now().Add(h.Lease)
	e.Ref, e.Assignment = t.ref(), t.a
	return e, nil
}

// Leave lets a worker go.
func (h *Hands) Leave(ctx context.Context, token, session string) error {
	w, err := h.worker(token, session)
	if err != nil {
		return err
	}
	if err := h.change(ctx, w, func(doc *workerDoc) { doc.State = workerLeft }); err != nil {
		return err
	}
	return h.abandoned(ctx, Joining{Name: w.name}, "left")
}

// Workers lists the workers of all servers of the record, by name.
func (h *Hands) Workers(ctx context.Context) ([]WorkerInfo, error) {
	known, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]WorkerInfo, 0, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		w := known[name]
		info := WorkerInfo{Name: name, State: w.doc.state(), Labels: w.doc.Labels, Version: w.doc.Version, Seen: w.seen.UTC(), Places: w.doc.Places}
		for id, t := range h.given {
			if t.doc.State == assignmentHeld && t.doc.Worker == name {
				info.Jobs = append(info.Jobs, id)
			}
		}
		slices.Sort(info.Jobs)
		list = append(list, info)
	}
	return list, nil
}

// all are the workers of all servers of the record: ours, and what the
// registers say of the others.
func (h *Hands) all(ctx context.Context) (map[string]*hand, error) {
	known, err := readHands(ctx, h.Store)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(known, func(_ string, w *hand) bool { return w.doc.At == h.At })
	maps.Copy(known, h.workers)
	return known, nil
}

// readHands reads the registers of workers.
func readHands(ctx context.Context, s HandsStore) (map[string]*hand, error) {
	registers, err := s.Registers(ctx, workerKind, "")
	if err != nil {
		return nil, fmt.Errorf("read the workers: %w", err)
	}
	known := make(map[string]*hand, len(registers))
	for _, r := range registers {
		w := &hand{name: r.ID, version: r.Version}
		if err := json.Unmarshal(r.Body, &w.doc); err != nil {
			return nil, fmt.Errorf("read worker %s: %w", r.ID, err)
		}
		w.seen = w.doc.Seen
		known[w.name] = w
	}
	return known, nil
}

// SetWorker has a worker pause, drain, or go on ("joined"), or removes it
// ("left"): then it stops what it has. One of another server hears of it within
// a minute.
func (h *Hands) SetWorker(ctx context.Context, by launch.By, name, state string) error {
	known, err := h.all(ctx)
	if err != nil {
		return err
	}
	w := known[name]
	if w == nil {
		return &plan.UsageError{Message: fmt.Sprintf("there is no worker %.80q", name)}
	}
	if !slices.Contains([]string{workerJoined, workerPaused, workerDraining, workerLeft}, state) {
		return &plan.UsageError{Message: fmt.Sprintf("a worker cannot be %.40q", state), Hint: "it can be paused, draining, joined or left"}
	}
	return h.change(ctx, w, func(doc *workerDoc) { doc.State = state }, by.Acted(access.SetWorkers, name, map[string]string{"state": state}))
}
