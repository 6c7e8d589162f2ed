package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	defaultPace = 5 * time.Millisecond
	slowest     = time.Second     // between two looks while something is brought about
	rare        = time.Minute     // while people take their time: what they say is an event
	sparse      = 5 * time.Second // while only time passes
	// checkEvery and checkFails: while a release is held, its checks go on; so many failures on end are no chance.
	checkEvery = 5 * time.Second
	checkFails = 3
	lookAtMost = time.Minute // to observe
	maxWords   = 2000        // bytes of a text in the row
)

var (
	// errTurned ends an act whose rollout somebody has turned meanwhile.
	errTurned = errors.New("the rollout goes another way now")
	errEnded  = errors.New("it has ended meanwhile")
	errLost   = errors.New("the lease was lost")
)

// Move moves a rollout until it has ended or ctx ends. Whatever breaks it off, calling it again goes
// on. The error is a [*store.HeldError] when somebody else is moving it.
func (m *Mover) Move(ctx context.Context, id string) error {
	row, err := m.Rollout(ctx, id)
	if err != nil || row.State.Ended() {
		return err
	}
	lease, err := m.Store.Lease(ctx, leaseOf(row.Repository, row.Service, row.Environment), m.Holder)
	if err != nil {
		return err
	}
	defer lease.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-lease.Lost():
			cancel(errLost)
		case <-ctx.Done():
		}
	}()
	s := &session{m: m, id: id, poke: make(chan struct{}, 1), revisions: map[int]*deploy.Revision{}}
	seq, err := m.Store.Watch(ctx, -1)
	if err != nil {
		return err
	}
	if err := s.takeOver(ctx); err != nil || s.row.State.Ended() {
		return err
	}
	go s.listen(ctx, row.Repository, seq)
	if err := s.loop(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("move rollout %s: %w", id, err)
	}
	return nil
}

// session is one process's turn at a rollout. What is remembered here and not in the row may be lost at any time.
type session struct {
	m         *Mover
	id        string
	row       *record.Rollout
	version   int64
	spec      *project.Service
	root      string // directory with the files of the release
	driver    deploy.Driver
	caps      deploy.Capabilities
	poke      chan struct{} // something was written about rollouts
	revisions map[int]*deploy.Revision

	// Of the move under way:
	move    string
	wait    time.Duration
	trouble error // why it was not done the last time
	passed  map[string]bool
	fails   map[string]int
	looked  time.Time
}

// takeOver raises the fence: from its first act on, drivers refuse whoever had the rollout before.
func (s *session) takeOver(ctx context.Context) error {
	row, err := s.m.change(ctx, s.id, 0, launch.By{}, func(e *edit) error {
		if e.row.State.Ended() {
			return errEnded
		}
		e.track.Fence = max(e.track.Fence, e.row.Fence) + 1
		e.row.Fence = e.track.Fence
		return nil
	})
	if errors.Is(err, errEnded) {
		return s.load(ctx)
	}
	if err != nil {
		return err
	}
	if err := s.load(ctx); err != nil || s.row.State.Ended() {
		return err
	}
	var release *record.Release
	if id := or(row.To, row.From); id != "" {
		if release, err = s.m.Release(ctx, id); err != nil {
			return err
		}
	}
	if release == nil && row.To == "" { // it goes away, and never served
		track, err := s.m.Track(ctx, row.Repository, row.Service, row.Environment)
		if err != nil {
			return err
		}
		id, err := s.m.known(ctx, track)
		if err != nil {
			return err
		}
		if release, err = s.m.Release(ctx, id); err != nil {
			return err
		}
	}
	if release == nil {
		return fmt.Errorf("rollout %s: its release %s is not in the record", s.id, row.To)
	}
	if s.spec, err = specOf(release); err != nil {
		return err
	}
	if s.driver = s.m.Drivers[row.Plan.Driver]; s.driver == nil {
		return fmt.Errorf("rollout %s: this Fairlead knows no driver %q", s.id, row.Plan.Driver)
	}
	if s.root, err = s.m.Projects.Tree(ctx, row.Repository, release.Commit); err != nil {
		return fmt.Errorf("get the files of %s: %w", release.Version, err)
	}
	s.caps = s.driver.Capabilities(s.target())
	return nil
}

// load reads the row.
func (s *session) load(ctx context.Context) (err error) {
	s.row, s.version, err = s.m.row(ctx, s.id)
	return err
}

// listen pokes the session whenever something is written about rollouts of its repository.
func (s *session) listen(ctx context.Context, repository string, seq int64) {
	for {
		newest, err := s.m.Store.Watch(ctx, seq)
		if err != nil {
			return // the loop meets the same error, or has ended
		}
		for e, err := range s.m.Store.AfterKinds(ctx, seq, "rollout.moved", "release.rejected") {
			if err != nil {
				return
			}
			if b, ok := e.Body.(*record.RolloutMoved); ok && b.Repository != repository {
				continue
			}
			s.wake()
		}
		seq = newest
	}
}

func (s *session) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// loop ticks until the rollout has ended.
func (s *session) loop(ctx context.Context) error {
	for {
		if err := s.load(ctx); err != nil {
			return err
		}
		if s.row.State.Ended() {
			return nil
		}
		if move := fmt.Sprint(s.row.Step, s.row.Back, s.row.Target); move != s.move {
			s.move, s.wait, s.trouble, s.looked = move, 0, nil, time.Time{}
			s.passed, s.fails = map[string]bool{}, map[string]int{}
		}
		wait, err := s.tick(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case errors.Is(err, record.ErrConflict), errors.Is(err, errTurned):
			wait = s.pause(slowest) // somebody has changed the row: what is to be done may be another thing now
		default:
			return err
		}
		if wait <= 0 {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.poke:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// tick does what is to be done now, and says how long to wait until it is looked again.
func (s *session) tick(ctx context.Context) (time.Duration, error) {
	r := s.row
	switch {
	case r.State == record.RolloutAttention:
		return time.Hour, nil // a person's word is an event
	case r.Back:
		return s.back(ctx)
	case r.Paused != "":
		return s.paused(ctx)
	}
	if wait, stop, err := s.together(ctx); stop || err != nil {
		return wait, err
	}
	if r.Step >= len(r.Plan.Moves) {
		return s.finish(ctx)
	}
	mv := &r.Plan.Moves[r.Step]
	if s.overdue() {
		return 0, s.late(ctx, mv)
	}
	return s.forward(ctx, mv)
}

// overdue reports whether the move under way has taken too long.
func (s *session) overdue() bool { return !s.row.Due.IsZero() && !time.Now().Before(s.row.Due) }

// late deals with a move that has taken too long.
func (s *session) late(ctx context.Context, mv *plan.Move) error {
	why := fmt.Sprintf("%s was not done within %s", mv.Key, mv.Within)
	if s.trouble != nil {
		why += ": " + s.trouble.Error()
	}
	switch {
	case mv.Kind == plan.MoveMigrate:
		return s.commit(ctx, func(e *edit) error { e.attend(mv.Key, why); return nil })
	case mv.Kind == plan.MoveRetire:
		// The new release has proved itself; that the old one does not go is no reason to bring it back. Unless it
		// is the new one that is not whole.
		if w, err := s.observe(ctx); err == nil && s.row.To != "" {
			if seen := w.Revision(s.row.Number); seen != nil && seen.Ready() < s.row.Plan.Instances {
				return s.turn(ctx, fmt.Sprintf("only %d of %d instances were ready after %s%s", seen.Ready(), s.row.Plan.Instances, mv.Within, whyNot(seen)))
			}
		}
		return s.commit(ctx, func(e *edit) error { e.attend("", why); return nil })
	case mv.Kind == plan.MoveReset:
		return s.commit(ctx, func(e *edit) error {
			e.next(&record.Evidence{Text: "the old release could not be brought back whole: " + why})
			return nil
		})
	}
	return s.turn(ctx, why)
}

// commit changes the row as it was read, together with its event.
func (s *session) commit(ctx context.Context, do func(e *edit) error) error {
	row, err := s.m.change(ctx, s.id, s.version, launch.By{}, func(e *edit) error {
		if err := do(e); err != nil {
			return err
		}
		e.row.Reason = clip(e.row.Reason)
		return nil
	})
	if err != nil {
		return err
	}
	s.row = row
	return nil
}

// next goes to the next move.
func (s *session) next(ctx context.Context, text string) error {
	return s.commit(ctx, func(e *edit) error {
		var found *record.Evidence
		if text != "" {
			found = &record.Evidence{OK: true, Text: clip(text)}
		}
		e.next(found)
		return nil
	})
}

// waits says for what the rollout waits, if it does not say so already.
func (s *session) waits(ctx context.Context, state record.RolloutState, why string) error {
	if why = clip(why); s.row.State == state && s.row.Reason == why {
		return nil
	}
	return s.commit(ctx, func(e *edit) error { e.row.State, e.row.Reason = state, why; return nil })
}

// turn takes the rollout back by itself: the release is rejected and an incident opened, in one
// transaction. When nothing was changed yet it only ends. After a migration that cannot be taken back, a person has to say what is to happen.
func (s *session) turn(ctx context.Context, why string) error {
	if key := contracted(s.row); key != "" {
		why += "; " + noWayBack(key)
		return s.commit(ctx, func(e *edit) error { e.attend("", why); return nil })
	}
	if !begun(s.row) { // nobody knows of it yet but those who wait for it
		return s.commit(ctx, func(e *edit) error { e.end(record.RolloutAborted, clip(why)); return nil })
	}
	s.m.say(s.id, "goes back: "+why)
	return s.commit(ctx, func(e *edit) error {
		e.turn(why)
		e.reject(e.row.To, clip(why))
		e.open(clip(why), s.spec.Runbook)
		return nil
	})
}

// contracted is the migration that has freed data of what the old release needs, or has begun to; "" if none has.
func contracted(r *record.Rollout) string {
	for _, mv := range r.Plan.Moves {
		if mv.Kind != plan.MoveMigrate || mv.Migration.Phase != "contract" {
			continue
		}
		if in, begun := r.Intents[mv.Key]; begun && !in.Begun.Before(r.Begun) {
			return mv.Key
		}
	}
	return ""
}

func noWayBack(key string) string {
	return "there is no way back: " + key + " has changed the data so that the old release cannot work with them. Roll forward: deploy a release that puts it right"
}

// pause is how long to wait until the next look: longer and longer, up to a limit, while nothing changes.
func (s *session) pause(limit time.Duration) time.Duration {
	least := s.m.Pace
	if least <= 0 {
		least = defaultPace
	}
	s.wait = min(max(2*s.wait, least), max(limit, least))
	return s.until(s.wait)
}

// until is a wait that does not go beyond the deadline of the move under way.
func (s *session) until(d time.Duration) time.Duration {
	if left := time.Until(s.row.Due); !s.row.Due.IsZero() && left > 0 {
		d = min(d, left)
	}
	return d
}

// target is what is acted on, with this session's fence.
func (s *session) target() *deploy.Target {
	t := s.m.target(s.row, s.spec)
	t.Root = s.root
	return t
}

// rev is the revision with a number, whichever rollout brought it.
func (s *session) rev(ctx context.Context, number int) (*deploy.Revision, error) {
	if r := s.revisions[number]; r != nil {
		return r, nil
	}
	id := ""
	switch number {
	case s.row.Number:
		id = s.row.To
	case s.row.FromNumber:
		id = s.row.From
	default:
		row, err := s.m.Rollout(ctx, RolloutID(s.row.Repository, s.row.Service, s.row.Environment, number))
		if err != nil {
			return nil, err
		}
		id = row.To
	}
	release, err := s.m.Release(ctx, id)
	if err != nil {
		return nil, err
	}
	if release == nil {
		return nil, fmt.Errorf("release %s of revision %d is not in the record", id, number)
	}
	r, err := s.m.revision(ctx, s.row.Environment, number, release)
	if err == nil {
		s.revisions[number] = r
	}
	return r, err
}

// observe looks what there is.
func (s *session) observe(ctx context.Context) (w *deploy.World, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookAtMost)
	defer cancel()
	err = s.act(ctx, true, func(ctx context.Context, t *deploy.Target) error {
		w, err = s.driver.Observe(ctx, t)
		return err
	})
	if err == nil && w == nil {
		err = errors.New("the driver saw nothing")
	}
	return w, err
}

// act does something to the world. It is broken off when the move is overdue, and when somebody turns the rollout, if
// it may be; the error is errTurned then.
func (s *session) act(ctx context.Context, breakable bool, do func(ctx context.Context, t *deploy.Target) error) error {
	if breakable {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		stop, stopped, poked := make(chan struct{}), make(chan struct{}), false
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				case <-s.poke:
					poked = true
					if now, err := s.m.Rollout(ctx, s.id); err == nil && turned(s.row, now) {
						cancel(errTurned)
						return
					}
				}
			}
		}()
		defer func() {
			close(stop)
			<-stopped
			cancel(nil)
			if poked { // the loop has to hear of it, too
				s.wake()
			}
		}()
	}
	acting := ctx
	if !s.row.Due.IsZero() && !s.overdue() {
		var cancel context.CancelFunc
		acting, cancel = context.WithDeadline(ctx, s.row.Due)
		defer cancel()
	}
	err := do(acting, s.target())
	if err != nil && errors.Is(context.Cause(ctx), errTurned) {
		return errTurned
	}
	return err
}

// turned reports whether what is to be done has become another thing.
func turned(was, is *record.Rollout) bool {
	return is.State.Ended() || is.Back != was.Back || is.Step != was.Step || is.Target != was.Target || is.Paused != "" && was.Paused == ""
}

// tried deals with the error of an act: it is tried again until the move is late, unless
// trying again is of no use.
func (s *session) tried(ctx context.Context, err error) (time.Duration, error) {
	switch {
	case ctx.Err() != nil, errors.Is(err, errTurned), errors.Is(err, record.ErrConflict), errors.Is(err, store.ErrClosed):
		return 0, err
	case errors.Is(err, deploy.ErrFenced):
		return 0, err
	case errors.Is(err, deploy.ErrUnknown):
		why := err.Error()
		return 0, s.commit(ctx, func(e *edit) error { e.attend("", why); return nil })
	case errors.Is(err, deploy.ErrRefused) && !s.row.Back:
		return 0, s.turn(ctx, err.Error())
	}
	if s.trouble == nil || s.trouble.Error() != err.Error() {
		s.m.say(s.id, "not yet: "+err.Error())
	}
	s.trouble = err
	return s.pause(slowest), nil
}

// remove takes away all revisions but one, and reports whether nothing of them is left.
func (s *session) remove(ctx context.Context, w *deploy.World, but int) (clean bool, err error) {
	clean = true
	for i := range w.Revisions {
		n := w.Revisions[i].Number
		if n == but {
			continue
		}
		clean = false
		if err := s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error { return s.driver.Remove(ctx, t, n) }); err != nil {
			return false, fmt.Errorf("remove revision %d: %w", n, err)
		}
	}
	return clean, nil
}

// shift sets the shares of the requests.
func (s *session) shift(ctx context.Context, shares ...deploy.Share) error {
	return s.act(ctx, true, func(ctx context.Context, t *deploy.Target) error { return s.driver.Shift(ctx, t, shares) })
}

// ensure brings about instances of a revision.
func (s *session) ensure(ctx context.Context, number, n int) error {
	r, err := s.rev(ctx, number)
	if err != nil {
		return err
	}
	return s.act(ctx, true, func(ctx context.Context, t *deploy.Target) error {
		t.Spec = r.Spec
		return s.driver.Ensure(ctx, t, r, n)
	})
}

// whyNot says why instances are not ready.
func whyNot(seen *deploy.Seen) string {
	if seen == nil {
		return ""
	}
	i := slices.IndexFunc(seen.Instances, func(i deploy.Instance) bool { return !i.Ready && i.Why != "" })
	if i < 0 {
		return ""
	}
	return ": " + seen.Instances[i].Name + ": " + seen.Instances[i].Why
}

func clip(s string) string {
	if len(s) > maxWords {
		return strings.ToValidUTF8(s[:maxWords], "") + " …"
	}
	return s
}
