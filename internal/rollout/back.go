package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// back takes the rollout back: straight to all requests on the revision that is aimed at, no gates, no small
// steps. What is aimed at is what is healthy now; a role is no reason to send requests anywhere.
func (s *session) back(ctx context.Context) (time.Duration, error) {
	if wait, stop, err := s.inOrder(ctx); stop || err != nil {
		return wait, err
	}
	switch {
	case s.caps.Instances:
		return s.backInstances(ctx)
	case s.caps.Split:
		if err := s.shift(ctx, deploy.Share{Number: s.row.Target, Percent: 100}); err != nil {
			return s.triedBack(ctx, err)
		}
		return 0, s.gone(ctx, record.RolloutRolledBack, s.row.Reason)
	}
	return s.backApplied(ctx)
}

func (s *session) backInstances(ctx context.Context) (time.Duration, error) {
	w, err := s.observe(ctx)
	if err != nil {
		return s.triedBack(ctx, err)
	}
	r, fresh := s.row, w.Revision(s.row.Number)
	switch {
	case r.Target == 0 && fresh != nil && fresh.Percent > 0 && fresh.Ready() > 0:
		// There was nothing before it, and somebody is being answered.
		return 0, s.aim(ctx, r.Number, "nothing was there before")
	case r.Target == 0:
		clean, err := s.remove(ctx, w, 0)
		switch {
		case err != nil:
			return s.triedBack(ctx, err)
		case !clean:
			return s.pause(slowest), nil
		}
		return 0, s.gone(ctx, record.RolloutRolledBack, r.Reason)
	}
	late := s.overdue()
	whole, failed, err := s.restore(ctx, w, r.Target, late)
	switch {
	case err != nil && !late:
		return s.triedBack(ctx, err)
	case err != nil:
		failed = err.Error()
	case whole && r.Target == r.Number:
		return 0, s.gone(ctx, record.RolloutFailed, r.Reason)
	case whole:
		return 0, s.gone(ctx, record.RolloutRolledBack, r.Reason)
	}
	if late && failed == "" {
		if old := w.Revision(r.Target); old != nil && old.Ready() > 0 {
			return s.pause(slowest), nil // it serves; what is left of the others goes the next time
		}
		failed = fmt.Sprintf("it was not ready within %s%s", patience(r), whyNot(w.Revision(r.Target)))
	}
	if failed != "" {
		return 0, s.elsewhere(ctx, w, failed)
	}
	return s.pause(slowest), nil
}

// elsewhere aims at another revision than the one that will not become healthy.
func (s *session) elsewhere(ctx context.Context, w *deploy.World, failed string) error {
	r, best := s.row, 0
	for i := range w.Revisions {
		x := &w.Revisions[i]
		if x.Number == r.Target || x.Ready() == 0 {
			continue
		}
		if best == 0 || best == r.Number || x.Number != r.Number && x.Number > best {
			best = x.Number
		}
	}
	why := fmt.Sprintf("revision %d is not healthy: %s", r.Target, failed)
	if best != 0 {
		return s.aim(ctx, best, why)
	}
	if old := w.Revision(r.Target); old != nil && old.Ready() > 0 {
		// It serves, but something else of it does not go as it should: a person has to look.
		return s.commit(ctx, func(e *edit) error { e.attend("", e.row.Reason+"; "+why); return nil })
	}
	// Nothing is healthy. The world is left as it is: whatever comes back by itself is there.
	return s.gone(ctx, record.RolloutFailed, r.Reason+"; there is nothing healthy to go back to: "+why)
}

// aim aims at another revision.
func (s *session) aim(ctx context.Context, number int, why string) error {
	return s.commit(ctx, func(e *edit) error {
		e.row.Target, e.row.Reason = number, e.row.Reason+"; "+why
		if number == e.row.Number {
			e.row.Reason += ": it stays"
		}
		e.row.Moved, e.row.Due = e.now, e.now.Add(patience(e.row))
		return nil
	})
}

// backApplied applies the old release again, by a driver that does so as a whole.
func (s *session) backApplied(ctx context.Context) (time.Duration, error) {
	r := s.row
	up := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MoveUp })
	switch {
	case up < 0 || r.Step < up: // nothing was applied
		return 0, s.gone(ctx, record.RolloutRolledBack, r.Reason)
	case r.Target == 0:
		return 0, s.gone(ctx, record.RolloutFailed, r.Reason+"; nothing was there before: what was applied of it stays")
	}
	if in, begun := r.Intents[r.Plan.Moves[up].Key]; begun && in.Done.IsZero() {
		return s.ask(ctx, r.Plan.Moves[up].Key)
	}
	if s.overdue() {
		why := r.Reason + fmt.Sprintf("; the old release could not be applied again within %s", patience(r))
		if s.trouble != nil {
			why += ": " + s.trouble.Error()
		}
		return 0, s.commit(ctx, func(e *edit) error { e.attend("", why); return nil })
	}
	done, wait, err := s.applied(ctx, "back", r.Target)
	switch {
	case err != nil:
		return s.triedBack(ctx, err)
	case !done:
		return wait, nil
	}
	return 0, s.gone(ctx, record.RolloutRolledBack, r.Reason)
}

// ask finds out what became of an apply that was begun and never seen to end. As long as it may still be going on, nothing
// is applied over it.
func (s *session) ask(ctx context.Context, key string) (time.Duration, error) {
	rev, err := s.rev(ctx, s.row.Number)
	if err != nil {
		return s.triedBack(ctx, err)
	}
	did := false
	if prober, ok := s.driver.(deploy.Prober); ok {
		err = s.act(ctx, true, func(ctx context.Context, t *deploy.Target) (err error) {
			did, err = prober.Applied(ctx, t, rev)
			return err
		})
	}
	switch {
	case errors.Is(err, deploy.ErrUnknown):
		why := fmt.Sprintf("%s; %s was begun, and %v", s.row.Reason, key, err)
		return 0, s.commit(ctx, func(e *edit) error { e.attend(key, why); return nil })
	case err != nil:
		return s.triedBack(ctx, err)
	case did:
		return 0, s.intend(ctx, s.version, key, func(in *record.Intent, now time.Time) { in.Done = now })
	}
	return 0, s.forget(ctx, key)
}

// triedBack deals with an error on the way back.
func (s *session) triedBack(ctx context.Context, err error) (time.Duration, error) {
	if s.overdue() && !errors.Is(err, deploy.ErrFenced) && !errors.Is(err, errTurned) && !errors.Is(err, record.ErrConflict) && ctx.Err() == nil {
		why := s.row.Reason + "; the way back is blocked: " + err.Error()
		return 0, s.commit(ctx, func(e *edit) error { e.attend("", why); return nil })
	}
	return s.tried(ctx, err)
}

// gone ends a rollout that was taken back, on the revision that is aimed at.
func (s *session) gone(ctx context.Context, state record.RolloutState, why string) error {
	r := s.row
	var release *record.Release
	if r.Target > 0 {
		rev, err := s.rev(ctx, r.Target)
		if err != nil {
			return err
		}
		release = rev.Release
		if err := s.flags(ctx, release); err != nil {
			_, err = s.triedBack(ctx, err)
			return err
		}
	}
	return s.commit(ctx, func(e *edit) error {
		e.serves(release, r.Target)
		e.end(state, why)
		if state == record.RolloutRolledBack {
			return s.m.resolve(ctx, e, "the rollback has ended: "+or(e.track.Version, "nothing")+" serves")
		}
		return nil
	})
}

// finish ends a rollout that has been through all its moves.
func (s *session) finish(ctx context.Context) (time.Duration, error) {
	if s.row.To == "" {
		return 0, s.commit(ctx, func(e *edit) error {
			e.serves(nil, 0)
			e.track.Health, e.track.Rejected, e.track.Expires = nil, nil, time.Time{}
			e.end(record.RolloutDone, "")
			return nil
		})
	}
	return 0, s.commit(ctx, func(e *edit) error { e.end(record.RolloutDone, ""); return nil })
}

// paused leaves everything where it is.
func (s *session) paused(ctx context.Context) (time.Duration, error) {
	if s.caps.Instances && s.row.To != "" {
		if w, err := s.observe(ctx); err == nil {
			err = s.keep(ctx, w)
			if err != nil {
				return s.tried(ctx, err)
			}
		}
	}
	return s.pause(sparse), s.waits(ctx, record.RolloutPaused, "paused by "+s.row.Paused)
}
