package launch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

const (
	outboxLease = "outbox"
	forgeMark   = "forge"
	// doers is how many effects are worked at at a time.
	doers = 8
	// effectTries is how often an effect is tried, effectFirst the pause after the first
	// failure, which doubles.
	effectTries = 6
	effectFirst = 2 * time.Second
	effectTime  = 2 * time.Minute // for one try
	effectPause = time.Hour       // the longest that a host may have us wait
	// planAtOnce is how many events are looked at before what they bring is written down.
	planAtOnce = 1000
	keepEffect = 30 * 24 * time.Hour
	// tickEvery is how often it is looked what there is to tell because time went by.
	tickEvery = 10 * time.Minute
	// foldEvery is how often the state of the messages is written down when there is
	// nothing to tell.
	foldEvery = 30 * time.Second

	maxAnnotations = 50
	maxCommentRuns = 20
	maxTableJobs   = 50
	maxText        = 300 // bytes of a line of somebody else's
)

// effect is what an EffectPlanned has in its body, and its register.
type effect struct {
	Run        string           `json:"run,omitempty"`
	Repository string           `json:"repository,omitempty"`
	Change     string           `json:"change,omitempty"`
	State      forge.State      `json:"state,omitempty"`
	SHA        string           `json:"sha,omitempty"`
	Problem    string           `json:"problem,omitempty"` // of pipeline files, for a commit without a run
	Envelope   *notify.Envelope `json:"envelope,omitempty"`
	Seq        int64            `json:"seq"`             // of the event that brought it; the newest of a subject counts
	Begun      bool             `json:"begun,omitempty"` // somebody is doing it, or was when he died
}

// planned is an effect on its way.
type planned struct {
	key     string
	what    string // "status", "comment", "message"
	target  string
	version int64 // of its register
	effect
	tries int
	pause time.Duration // before the next try, if a host said so
	next  time.Time
	busy  bool
}

// subject is the same for effects of which only the newest counts.
func (p *planned) subject() string {
	switch p.what {
	case "status":
		return "status " + p.Repository + " " + p.SHA + " " + p.Run
	case "comment":
		return "comment " + p.Repository + " " + p.Change
	}
	return p.key
}

// sender is the one desk that speaks to the outside.
type sender struct {
	*Desk
	mu   sync.Mutex
	open map[string]*planned // by key
	wake chan struct{}
}

// outbox tells the outside what became of runs. One desk does, whichever holds the lease;
// what another one left undone it finds in the registers.
func (d *Desk) outbox(ctx context.Context) {
	for ctx.Err() == nil {
		lease, err := d.Store.Lease(ctx, outboxLease, "the outbox")
		if err == nil {
			err = d.send(ctx, lease)
			_ = lease.Release()
		}
		var held *store.HeldError
		if err != nil && !errors.As(err, &held) {
			d.complain("tell the outside", err)
		}
		pause(ctx, again)
	}
}

func (d *Desk) send(ctx context.Context, lease store.Lease) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-lease.Lost():
			cancel()
		case <-ctx.Done():
		}
	}()
	s := &sender{Desk: d, open: map[string]*planned{}, wake: make(chan struct{}, doers)}
	if err := s.load(ctx); err != nil {
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	for range doers {
		parts.Go(func() { s.work(ctx) })
	}
	if len(d.Channels) > 0 {
		parts.Go(func() { s.messages(ctx) })
	}
	return s.statuses(ctx)
}

// load finds what was planned and not done. Setting a status or a comment again does no
// harm; whether a message that was being sent has arrived, nobody knows.
func (s *sender) load(ctx context.Context) error {
	list, err := s.Store.Registers(ctx, effectKind, "")
	if err != nil {
		return fmt.Errorf("read what is to be told: %w", err)
	}
	for _, r := range list {
		p := &planned{key: r.ID, version: r.Version}
		p.what, _, _ = strings.Cut(r.ID, "/")
		if err := json.Unmarshal(r.Body, &p.effect); err != nil {
			return fmt.Errorf("read what is to be told, %s: %w", r.ID, err)
		}
		if p.what == "message" && p.Begun {
			done := &record.EffectDone{Key: p.key, Unknown: true, Tries: 1,
				Error: "whoever was sending it was stopped: it may have arrived, and is not sent again"}
			if err := s.conclude(ctx, p, done, nil); err != nil {
				return err
			}
			continue
		}
		s.open[p.key] = p
	}
	return nil
}

// propose writes down what is about to be done, with whatever has to be written down in
// the same moment. What was proposed before is not proposed again.
func (s *sender) propose(ctx context.Context, all []*planned, changes ...record.Register) error {
	var events []record.Event
	var fresh []*planned
	keys := map[string]bool{}
	for _, p := range all {
		s.mu.Lock()
		known := s.open[p.key] != nil
		s.mu.Unlock()
		done, err := s.Store.Register(ctx, effectKind+".done", p.key)
		if err != nil {
			return err
		}
		if known || done.Version > 0 || keys[p.key] {
			continue
		}
		keys[p.key] = true
		r := register(effectKind, p.key, 0, p.effect)
		p.version = 1
		changes = append(changes, r)
		fresh = append(fresh, p)
		events = append(events, record.Event{Run: p.Run, Body: &record.EffectPlanned{Key: p.key, What: p.what, Target: p.target, Body: r.Body}})
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := s.Store.Change(ctx, changes, events...); err != nil {
		return fmt.Errorf("write down what is to be told: %w", err)
	}
	s.mu.Lock()
	for _, p := range fresh {
		s.open[p.key] = p
	}
	s.mu.Unlock()
	s.poke()
	return nil
}

func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// conclude writes down that an effect is at its end.
func (s *sender) conclude(ctx context.Context, p *planned, done *record.EffectDone, also *record.Register) error {
	gone := register(effectKind+".done", p.key, 0, done)
	gone.Expires = time.Now().Add(keepEffect)
	changes := []record.Register{{Kind: effectKind, ID: p.key, Version: p.version}, gone}
	if also != nil {
		changes = append(changes, *also)
	}
	_, err := s.Store.Change(ctx, changes, record.Event{Run: p.Run, Body: done})
	if err != nil && !errors.Is(err, record.ErrConflict) {
		return fmt.Errorf("write down that %s is done: %w", p.key, err)
	}
	s.mu.Lock()
	delete(s.open, p.key)
	s.mu.Unlock()
	return nil
}

// next takes an effect that may be tried: of one subject one at a time, and the newest;
// or an older one that the newest makes pointless.
func (s *sender) next(now time.Time) (p *planned, stale bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := map[string]*planned{}
	busy := map[string]bool{}
	for _, x := range s.open {
		sub := x.subject()
		busy[sub] = busy[sub] || x.busy
		if n := newest[sub]; n == nil || x.Seq > n.Seq || x.Seq == n.Seq && x.key > n.key {
			newest[sub] = x
		}
	}
	wait = tickEvery
	for _, x := range s.open {
		sub := x.subject()
		switch {
		case busy[sub]:
		case newest[sub] != x:
			x.busy = true
			return x, true, 0
		case x.next.After(now):
			wait = min(wait, x.next.Sub(now))
		case p == nil || x.Seq < p.Seq:
			p = x
		}
	}
	if p != nil {
		p.busy = true
	}
	return p, false, wait
}

// work does effects, one after another.
func (s *sender) work(ctx context.Context) {
	for ctx.Err() == nil {
		p, stale, wait := s.next(time.Now())
		if p == nil {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-t.C:
			case <-s.wake:
			}
			t.Stop()
			continue
		}
		s.poke() // there may be more
		var err error
		if stale {
			err = s.conclude(ctx, p, &record.EffectDone{Key: p.key, Error: "overtaken by what came later"}, nil)
		} else {
			err = s.try(ctx, p)
		}
		s.mu.Lock()
		p.busy = false
		if err != nil {
			p.next = time.Now().Add(max(effectFirst<<min(p.tries, 10), min(p.pause, effectPause)))
		}
		s.mu.Unlock()
		if err != nil {
			s.complain(p.what+" "+p.key, err)
		}
		s.poke()
	}
}

// errPointless says that trying again is of no use.
var errPointless = errors.New("it is of no use to try again")

// try does an effect once, and writes down its end when it has come to one.
func (s *sender) try(ctx context.Context, p *planned) error {
	if p.what == "message" && !p.Begun {
		p.Begun = true
		if _, err := s.Store.Change(ctx, []record.Register{register(effectKind, p.key, p.version, p.effect)}); err != nil {
			p.Begun = false
			return err
		}
		p.version++
	}
	within, cancel := context.WithTimeout(ctx, effectTime)
	ref, also, err := s.do(within, p)
	cancel()
	if ctx.Err() != nil && err != nil {
		return err // whoever holds the lease next finds it
	}
	p.tries++
	var again bool
	if again, p.pause = worthwhile(p.what, err); again && p.tries < effectTries {
		return err
	}
	done := &record.EffectDone{Key: p.key, Ref: ref, Tries: p.tries}
	if err != nil {
		done.Error = err.Error()
	}
	return s.conclude(ctx, p, done, also)
}

// worthwhile reports whether an effect that failed is to be tried again, and how
// long to wait at least.
func worthwhile(what string, err error) (yes bool, after time.Duration) {
	switch {
	case err == nil, errors.Is(err, errPointless), errors.Is(err, notify.ErrRefused):
		return false, 0
	case what == "message":
		return true, 0
	}
	return forge.Temporary(err)
}

// do does an effect.
func (s *sender) do(ctx context.Context, p *planned) (ref string, also *record.Register, err error) {
	if p.what == "message" {
		return "", nil, s.message(ctx, p.Envelope)
	}
	repo, err := s.Repository(ctx, p.Repository)
	var gone *plan.UsageError
	if errors.As(err, &gone) {
		return "", nil, fmt.Errorf("%w: %w", errPointless, err)
	}
	if err != nil {
		return "", nil, err
	}
	host := s.Forges[repo.Forge]
	token, err := s.token(ctx, repo.Name)
	if err != nil {
		return "", nil, err
	}
	if host == nil || token == "" {
		return "", nil, fmt.Errorf("%w: the repository has no code host, or no token for it", errPointless)
	}
	remote := &forge.Remote{API: repo.API, URL: repo.URL, Token: token}
	if p.what == "comment" {
		return s.comment(ctx, host, remote, p)
	}
	return s.status(ctx, host, remote, p)
}

// kept is what a host calls something of ours.
type kept struct {
	Ref string `json:"ref"`
}

// status sets the state of a run's commit.
func (s *sender) status(ctx context.Context, host forge.Forge, remote *forge.Remote, p *planned) (string, *record.Register, error) {
	st := &forge.Status{SHA: p.SHA, Context: "fairlead", State: p.State, Title: p.Problem}
	id := p.Repository + "/" + p.SHA
	if p.Run != "" {
		r, err := s.Store.Run(ctx, p.Run)
		if err != nil {
			return "", nil, err
		}
		if r.Planned == nil {
			return "", nil, fmt.Errorf("%w: run %s is not known", errPointless, p.Run)
		}
		st = statusOf(r, p.State)
		st.URL, id = s.runURL(p.Run), p.Run
	}
	var was kept
	version, err := s.read(ctx, statusKind, id, &was)
	if err != nil {
		return "", nil, err
	}
	st.Ref = was.Ref
	if err := host.Status(ctx, remote, st); err != nil {
		return "", nil, err
	}
	if st.Ref == was.Ref {
		return st.Ref, nil, nil
	}
	keep := register(statusKind, id, version, kept{st.Ref})
	keep.Expires = time.Now().Add(keepEffect)
	return st.Ref, &keep, nil
}

// statusOf is what is said of a commit for one run.
func statusOf(r *record.Run, state forge.State) *forge.Status {
	b := r.Planned
	st := &forge.Status{SHA: statusSHA(b.Change), Context: statusContext(cmp.Or(b.Pipeline.Name, b.Pipeline.File)), State: state}
	switch state {
	case forge.Pending:
		st.Title = "waits for its turn"
		if b.Origin != nil && b.Origin.Approval && r.ApprovedBy == "" {
			st.Title = "waits for approval by a maintainer"
		}
	case forge.Running:
		st.Title = "is under way"
	default:
		st.Title = clip(verdictLine(r))
		st.Summary = summary(r)
		st.Annotations = annotations(r)
	}
	return st
}

// maxContext is how many bytes the hosts take of a status's name.
const maxContext = 255

// statusContext names the status of a pipeline. Long names are cut, and end in a
// digest: the statuses of two pipelines must not become one.
func statusContext(pipeline string) string {
	name := "fairlead/" + pipeline
	if len(name) <= maxContext {
		return name
	}
	sum := sha256.Sum256([]byte(pipeline))
	end := "… " + hex.EncodeToString(sum[:4])
	return strings.ToValidUTF8(name[:maxContext-len(end)], "") + end
}

// statusSHA is the commit that people look at: of a change its newest, also when the run
// is one of the base.
func statusSHA(c *plan.Change) string {
	if c.Event == "pull_request_target" {
		pr, _ := c.Payload["pull_request"].(map[string]any)
		head, _ := pr["head"].(map[string]any)
		if sha, _ := head["sha"].(string); sha != "" {
			return sha
		}
	}
	return c.SHA
}

// stateOf is a verdict in the words of forges.
func stateOf(v plan.Verdict) forge.State {
	switch v {
	case plan.Success:
		return forge.Success
	case plan.Failure, plan.Timeout:
		return forge.Failure
	case plan.Cancelled:
		return forge.Cancelled
	case plan.Skipped:
		return forge.Skipped
	}
	return forge.Error
}

// statuses follows the record for what concerns code hosts.
func (s *sender) statuses(ctx context.Context) error {
	seen, err := s.Store.Marked(ctx, forgeMark)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var batch []*planned
		from := seen
		for e := range s.news(ctx, &seen, "run.planned", "run.started", "run.finished", "request.settled") {
			more, err := s.ofEvent(ctx, e)
			if err != nil {
				return err
			}
			if batch = append(batch, more...); len(batch) >= planAtOnce {
				break
			}
		}
		if err := s.propose(ctx, batch); err != nil {
			return err
		}
		if seen != from {
			if err := s.Store.Mark(ctx, forgeMark, seen); err != nil {
				return err
			}
			if len(batch) > 0 {
				continue
			}
		}
		if _, err := s.Runs.Watch(ctx, seen); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// news yields the events after seq that are of these kinds, and moves seq on: past
// all others, too, when there are no more of them. What is not asked for is not
// read: deliveries are large, and there may be a thousand a second.
func (s *sender) news(ctx context.Context, seq *int64, kinds ...record.Kind) iter.Seq[record.Event] {
	return func(yield func(record.Event) bool) {
		newest, err := s.Runs.Watch(ctx, -1)
		if err != nil {
			s.complain("follow the record", err)
			return
		}
		for e, err := range s.Runs.AfterKinds(ctx, *seq, kinds...) {
			if err != nil {
				s.complain("follow the record", err)
			}
			if e.Seq == 0 {
				return // it cannot be read now
			}
			*seq = e.Seq
			if err == nil && !yield(e) {
				return
			}
		}
		*seq = max(*seq, newest)
	}
}

// ofEvent is what an event gives reason to tell a code host.
func (s *sender) ofEvent(ctx context.Context, e record.Event) ([]*planned, error) {
	state := forge.State("")
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		if b.Origin == nil || b.Origin.Pushed {
			return nil, nil
		}
		state = forge.Pending
	case *record.RunStarted:
		if b.Resume {
			return nil, nil
		}
		state = forge.Running
	case *record.RunFinished:
		state = stateOf(b.Verdict)
	case *record.RequestSettled:
		return s.ofProblems(ctx, e.Seq, b)
	default:
		return nil, nil
	}
	h, err := s.Runs.Head(ctx, e.Run)
	if errors.Is(err, store.ErrNotFound) || err == nil && (h.Origin == nil || h.Origin.Pushed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	told, err := s.told(ctx, h.Origin.Repository)
	if err != nil || !told {
		return nil, err
	}
	sha := h.SHA
	if h.Event == "pull_request_target" {
		r, err := s.Store.Run(ctx, e.Run)
		if err != nil {
			return nil, err
		}
		sha = statusSHA(r.Planned.Change)
	}
	common := effect{Run: e.Run, Repository: h.Origin.Repository, SHA: sha, State: state, Seq: e.Seq}
	all := []*planned{{key: fmt.Sprintf("status/%s/%d", e.Run, e.Seq), what: "status", target: h.Origin.Repository + " " + sha, effect: common}}
	if h.Origin.Change != "" && (state != forge.Running && state != forge.Pending || state == forge.Pending && h.Origin.Approval) {
		common.Change, common.State = h.Origin.Change, ""
		all = append(all, &planned{key: fmt.Sprintf("comment/%s/%d", e.Run, e.Seq), what: "comment", target: h.Origin.Repository + " change " + h.Origin.Change, effect: common})
	}
	return all, nil
}

// ofProblems tells of pipeline files that cannot be run: there is no run that could.
func (s *sender) ofProblems(ctx context.Context, seq int64, b *record.RequestSettled) ([]*planned, error) {
	i := slices.IndexFunc(b.Problems, func(p plan.Problem) bool { return p.Severity == plan.Error })
	if i < 0 {
		return nil, nil
	}
	body, err := s.request(ctx, b.Request)
	if err != nil {
		return nil, err
	}
	hook, ok := body.(*record.HookReceived)
	if !ok || s.Forges[hook.Forge] == nil {
		return nil, nil // who asked by hand is told by hand
	}
	h, err := s.Forges[hook.Forge].Parse(&forge.Delivery{Header: hook.Header, Body: hook.Body})
	if err != nil || h.Change == nil || !workspace.IsCommit(h.Change.SHA) {
		return nil, nil
	}
	told, err := s.told(ctx, hook.Repository)
	if err != nil || !told {
		return nil, err
	}
	return []*planned{{key: fmt.Sprintf("status/request/%d", seq), what: "status", target: hook.Repository + " " + h.Change.SHA, effect: effect{
		Repository: hook.Repository, SHA: h.Change.SHA, State: forge.Failure, Problem: clip(b.Problems[i].String()), Seq: seq,
	}}}, nil
}

// told reports whether a repository's code host is told anything.
func (s *sender) told(ctx context.Context, name string) (bool, error) {
	repo, err := s.Repository(ctx, name)
	var gone *plan.UsageError
	if errors.As(err, &gone) || err == nil && s.Forges[repo.Forge] == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	token, err := s.token(ctx, name)
	return token != "", err
}
