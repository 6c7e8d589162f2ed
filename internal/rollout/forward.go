package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// wanted is how the moves before the one under way have left the world.
type wanted struct {
	up    int // instances of the new release
	share int // of the requests that go to it; -1: nothing was said yet
}

func wants(r *record.Rollout) wanted {
	w := wanted{share: -1}
	for _, mv := range r.Plan.Moves[:r.Step] {
		switch mv.Kind {
		case plan.MoveUp:
			w.up = mv.Instances
		case plan.MoveShift:
			w.share = mv.Percent
		}
	}
	return w
}

// forward brings about the move under way.
func (s *session) forward(ctx context.Context, mv *plan.Move) (time.Duration, error) {
	var w *deploy.World
	if s.caps.Instances {
		var err error
		if w, err = s.observe(ctx); err != nil {
			return s.tried(ctx, err)
		}
		if mv.Kind != plan.MoveReset && s.row.To != "" {
			if sick := s.sick(w, mv); sick != "" {
				return 0, s.turn(ctx, sick)
			}
			if err := s.keep(ctx, w); err != nil {
				return s.tried(ctx, err)
			}
		}
	}
	switch mv.Kind {
	case plan.MoveReset:
		return s.reset(ctx, w)
	case plan.MoveGate:
		return s.gate(ctx, mv)
	case plan.MovePropose:
		return s.propose(ctx)
	case plan.MoveMigrate:
		return s.migrate(ctx, mv)
	case plan.MoveUp:
		return s.up(ctx, w, mv)
	case plan.MoveDown:
		return s.down(ctx, w, mv)
	case plan.MoveVerify:
		return s.verify(ctx, w, mv)
	case plan.MoveShift:
		return s.share(ctx, w, mv)
	case plan.MoveAnalyze:
		return s.analyze(ctx, w, mv)
	case plan.MoveHold:
		return s.hold(ctx, w, mv)
	case plan.MoveRetire:
		return s.retire(ctx, w, mv)
	}
	return 0, s.turn(ctx, fmt.Sprintf("this Fairlead does not know how to %s", mv.Kind))
}

// sick says why the new release cannot be relied on, as far as its instances tell; "" for nothing.
func (s *session) sick(w *deploy.World, mv *plan.Move) string {
	want := wants(s.row)
	if want.up == 0 && mv.Kind != plan.MoveUp {
		return ""
	}
	seen := w.Revision(s.row.Number)
	if seen == nil {
		return ""
	}
	for _, i := range seen.Instances {
		if i.Failed {
			return fmt.Sprintf("%s failed%s", i.Name, reason(i.Why))
		}
	}
	if want.share > 0 && len(seen.Instances) > 0 && seen.Ready() == 0 {
		return "no instance of the new release is ready any more" + whyNot(seen)
	}
	return ""
}

// keep brings the world to where the moves before left it, should something have changed it since.
func (s *session) keep(ctx context.Context, w *deploy.World) error {
	want := wants(s.row)
	seen := w.Revision(s.row.Number)
	if want.up > 0 && (seen == nil || len(seen.Instances) < want.up) {
		if err := s.ensure(ctx, s.row.Number, want.up); err != nil {
			return err
		}
	}
	if want.share < 0 || seen == nil || seen.Ready() == 0 {
		return nil
	}
	if shares := s.shares(w, want.share); !s.shared(w, shares) {
		return s.shift(ctx, shares...)
	}
	return nil
}

// shares are those at which the new release gets that part of the requests. The rest goes to the old one,
// if that can answer; else to whichever other one can; else the new one gets all.
func (s *session) shares(w *deploy.World, percent int) []deploy.Share {
	whole := []deploy.Share{{Number: s.row.Number, Percent: 100}}
	if percent >= 100 {
		return whole
	}
	base := s.other(w)
	if base == 0 && w != nil {
		return whole
	}
	return []deploy.Share{{Number: base, Percent: 100 - percent}, {Number: s.row.Number, Percent: percent}}
}

// other is the revision that answers the requests that do not go to the new release; 0 for none that can.
func (s *session) other(w *deploy.World) int {
	if w == nil { // nothing is known of instances
		return s.row.FromNumber
	}
	if old := w.Revision(s.row.FromNumber); old != nil && old.Ready() > 0 {
		return old.Number
	}
	best := 0
	for i := range w.Revisions {
		if x := &w.Revisions[i]; x.Number != s.row.Number && x.Ready() > 0 {
			best = max(best, x.Number)
		}
	}
	return best
}

// shared reports whether the requests are shared out so. Where shares come by instances they are never exact.
func (s *session) shared(w *deploy.World, shares []deploy.Share) bool {
	for i := range w.Revisions {
		x := &w.Revisions[i]
		want := 0
		if j := slices.IndexFunc(shares, func(s deploy.Share) bool { return s.Number == x.Number }); j >= 0 {
			want = shares[j].Percent
		}
		if x.Percent != want && (s.caps.Split || x.Percent == 0 || want == 0) {
			return false
		}
	}
	for _, sh := range shares {
		if w.Revision(sh.Number) == nil {
			return false
		}
	}
	return true
}

// reset puts the old release back to where it was before the rollout that was broken off. When it cannot be made whole,
// what serves goes on serving, and the rollout goes on: it may be the fix.
func (s *session) reset(ctx context.Context, w *deploy.World) (time.Duration, error) {
	base := s.row.FromNumber
	if w == nil { // shares without instances
		if err := s.shift(ctx, deploy.Share{Number: base, Percent: 100}); err != nil {
			return s.tried(ctx, err)
		}
		return 0, s.next(ctx, "")
	}
	if base == 0 {
		// There never was a stable one. What serves does so until the new one can.
		for i := range w.Revisions {
			if x := &w.Revisions[i]; x.Number != s.row.Number && (x.Percent == 0 || x.Ready() == 0) {
				n := x.Number
				if err := s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error { return s.driver.Remove(ctx, t, n) }); err != nil {
					return s.tried(ctx, err)
				}
			}
		}
		return 0, s.next(ctx, "")
	}
	whole, failed, err := s.restore(ctx, w, base, false)
	switch {
	case err != nil:
		return s.tried(ctx, err)
	case failed != "":
		return 0, s.commit(ctx, func(e *edit) error {
			e.next(&record.Evidence{Text: clip("the old release is not healthy (" + failed + "): there is nothing to compare with")})
			return nil
		})
	case !whole:
		return s.pause(slowest), nil
	}
	release, err := s.m.Release(ctx, s.row.From)
	if err != nil {
		return 0, err
	}
	return 0, s.commit(ctx, func(e *edit) error {
		e.serves(release, base)
		e.next(&record.Evidence{OK: true, Text: "all requests go to the old release, and nothing else is left"})
		return nil
	})
}

// restore makes a revision whole, sends it all requests as soon as that leaves them no worse off than they are, and
// removes all others. failed says why it will not become healthy.
func (s *session) restore(ctx context.Context, w *deploy.World, number int, late bool) (whole bool, failed string, err error) {
	n := s.row.Plan.Instances
	old := w.Revision(number)
	rest := 0 // ready instances of what serves now
	for i := range w.Revisions {
		if x := &w.Revisions[i]; x.Number != number {
			rest = max(rest, x.Ready())
			if !s.caps.Beside && len(x.Instances) > 0 && (old == nil || len(old.Instances) < n) { // it has to make room first
				return false, "", s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error { return s.driver.Remove(ctx, t, x.Number) })
			}
		}
	}
	if old == nil || len(old.Instances) < n {
		if err := s.ensure(ctx, number, n); err != nil {
			return false, "", err
		}
		if w, err = s.observe(ctx); err != nil {
			return false, "", err
		}
		if old = w.Revision(number); old == nil {
			return false, "", errors.New("the driver does not see what it has just started")
		}
	}
	ready := old.Ready()
	if ready == 0 && len(old.Instances) > 0 && !slices.ContainsFunc(old.Instances, func(i deploy.Instance) bool { return !i.Failed }) {
		return false, fmt.Sprintf("%s failed%s", old.Instances[0].Name, reason(old.Instances[0].Why)), nil
	}
	if ready == 0 || ready < n && ready < rest && !late {
		return false, "", nil
	}
	if shares := []deploy.Share{{Number: number, Percent: 100}}; !s.shared(w, shares) {
		if err := s.shift(ctx, shares...); err != nil {
			return false, "", err
		}
	}
	clean, err := s.remove(ctx, w, number)
	return clean && (ready >= n || late), "", err
}

// propose has the driver say what it would change.
func (s *session) propose(ctx context.Context) (time.Duration, error) {
	p, ok := s.driver.(deploy.Proposer)
	if !ok {
		return 0, s.next(ctx, "the driver cannot say beforehand what it would change")
	}
	rev, err := s.rev(ctx, s.row.Number)
	if err != nil {
		return s.tried(ctx, err)
	}
	var proposal *record.Proposal
	err = s.act(ctx, true, func(ctx context.Context, t *deploy.Target) (err error) {
		proposal, err = p.Propose(ctx, t, rev)
		return err
	})
	if err != nil {
		return s.tried(ctx, err)
	}
	return 0, s.commit(ctx, func(e *edit) error {
		e.row.Proposal = proposal
		e.row.Approvals = slices.DeleteFunc(e.row.Approvals, func(record.Approval) bool { return true }) // they were of another one
		e.next(&record.Evidence{OK: true, Text: clip(proposal.Summary)})
		return nil
	})
}

// once does an act that must not simply be done again: it is written down before it is begun. probe finds out
// what became of one that was begun and not seen to end. done says that it has been done; if not,
// the row has changed, and is to be read again.
func (s *session) once(ctx context.Context, key string, probe func() (bool, error), do func() (ended, error)) (done bool, wait time.Duration, err error) {
	in, begun := s.row.Intents[key]
	switch {
	case in.Error != "":
		return false, 0, s.commit(ctx, func(e *edit) error { e.attend(key, in.Error); return nil })
	case !in.Done.IsZero():
		return true, 0, nil
	case begun:
		did, err := probe()
		if errors.Is(err, deploy.ErrUnknown) {
			why := fmt.Sprintf("%s was begun at %s, and %v", key, in.Begun.Format(time.DateTime), err)
			return false, 0, s.commit(ctx, func(e *edit) error { e.attend(key, why); return nil })
		}
		if err != nil {
			wait, err = s.tried(ctx, err)
			return false, wait, err
		}
		if did {
			return false, 0, s.intend(ctx, s.version, key, func(in *record.Intent, now time.Time) { in.Done = now })
		}
	}
	if err := s.intend(ctx, s.version, key, func(in *record.Intent, now time.Time) { *in = record.Intent{Begun: now} }); err != nil {
		return false, 0, err
	}
	end, err := do()
	switch {
	case errors.Is(err, deploy.ErrUnknown):
		if err := s.load(ctx); err != nil {
			return false, 0, err
		}
		return false, 0, s.commit(ctx, func(e *edit) error { e.attend(key, err.Error()); return nil })
	case errors.Is(err, deploy.ErrStale), errors.Is(err, deploy.ErrRefused): // nothing was done
		if err := errors.Join(s.forget(ctx, key), s.load(ctx)); err != nil {
			return false, 0, err
		}
		return false, 0, err
	case err != nil:
		return false, 0, err // it is still written down as begun: what became of it is asked the next time
	}
	// Whatever somebody has changed in the row meanwhile: this has happened.
	return false, 0, s.intend(ctx, 0, key, func(in *record.Intent, now time.Time) {
		if in.Error = clip(end.failed); end.failed == "" || end.itself {
			in.Done = now
		}
	})
}

// ended is how an act ended that cannot be repeated.
type ended struct {
	failed string // why; "" if it succeeded
	itself bool   // it said so itself, and was not broken off
}

// forget takes back that an act was begun.
func (s *session) forget(ctx context.Context, key string) error {
	_, err := s.m.change(ctx, s.id, 0, launch.By{}, func(e *edit) error { delete(e.row.Intents, key); return nil })
	return err
}

// intend writes down how an act stands.
func (s *session) intend(ctx context.Context, version int64, key string, do func(in *record.Intent, now time.Time)) error {
	_, err := s.m.change(ctx, s.id, version, launch.By{}, func(e *edit) error {
		in := e.row.Intents[key]
		do(&in, e.now)
		if e.row.Intents == nil {
			e.row.Intents = map[string]record.Intent{}
		}
		e.row.Intents[key] = in
		return nil
	})
	return err
}

// migrate runs a migration, once.
func (s *session) migrate(ctx context.Context, mv *plan.Move) (time.Duration, error) {
	// It said itself that it failed, and before anybody relied on it: the old release never left.
	if in := s.row.Intents[mv.Key]; in.Error != "" && !in.Done.IsZero() && mv.Migration.Phase == "expand" {
		return 0, s.turn(ctx, in.Error)
	}
	rev, err := s.rev(ctx, s.row.Number)
	if err != nil {
		return s.tried(ctx, err)
	}
	env := maps.Clone(rev.Env)
	env["FAIRLEAD_SERVICE"], env["FAIRLEAD_ENVIRONMENT"], env["FAIRLEAD_RELEASE"] = s.row.Service, s.row.Environment, s.row.To
	env["FAIRLEAD_ROLLOUT"], env["FAIRLEAD_FENCE"] = s.row.ID, strconv.FormatInt(s.row.Fence, 10)
	var mask secret.Masker
	for _, name := range rev.Secret {
		mask.Add(rev.Env[name])
	}
	last := ""
	run := func(script string) (exit int, err error) {
		err = s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error {
			exit, err = s.m.Outside.Command(ctx, t.Root, script, env, func(line string) {
				last = mask.String(line)
				t.Log(last)
			})
			return err
		})
		return exit, err
	}
	done, wait, err := s.once(ctx, mv.Key, func() (bool, error) {
		if mv.Migration.Probe == "" {
			return false, fmt.Errorf("%w: it has no probe that would tell", deploy.ErrUnknown)
		}
		exit, err := run(mv.Migration.Probe)
		return exit == 0, err
	}, func() (ended, error) {
		exit, err := run(mv.Migration.Command)
		switch {
		case err != nil && ctx.Err() != nil:
			return ended{}, err // this process is to end: the next one asks what became of it
		case err != nil:
			return ended{failed: fmt.Sprintf("%s was broken off: %v", mv.Key, err)}, nil
		case exit != 0:
			return ended{failed: fmt.Sprintf("%s ended with exit status %d%s", mv.Key, exit, reason(last)), itself: true}, nil
		}
		return ended{}, nil
	})
	if err != nil || !done {
		return wait, err
	}
	return 0, s.next(ctx, "")
}

// up brings about instances of the new release, or applies it.
func (s *session) up(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	if !s.caps.Instances {
		return s.apply(ctx, mv)
	}
	seen := w.Revision(s.row.Number)
	if seen == nil || len(seen.Instances) < mv.Instances {
		if err := s.ensure(ctx, s.row.Number, mv.Instances); err != nil {
			return s.tried(ctx, err)
		}
		return s.pause(0), nil // started is not yet ready
	}
	if ready := seen.Ready(); ready < mv.Instances {
		s.trouble = fmt.Errorf("%d of %d instances are ready%s", ready, mv.Instances, whyNot(seen))
		return s.pause(slowest), nil
	}
	return 0, s.next(ctx, fmt.Sprintf("%d of %d instances are ready", seen.Ready(), mv.Instances))
}

// apply brings about the new release as a whole.
func (s *session) apply(ctx context.Context, mv *plan.Move) (time.Duration, error) {
	done, wait, err := s.applied(ctx, mv.Key, s.row.Number)
	switch {
	case errors.Is(err, deploy.ErrStale):
		// What people agreed to can no longer be done: it is proposed again.
		return 0, s.commit(ctx, func(e *edit) error {
			delete(e.row.Intents, mv.Key)
			e.row.Step = max(0, slices.IndexFunc(e.row.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MovePropose }))
			e.row.Proposal, e.row.Approvals = nil, nil
			e.row.Reason = err.Error()
			e.begin()
			return nil
		})
	case err != nil:
		return s.tried(ctx, err)
	case !done:
		return wait, nil
	}
	release, err := s.m.Release(ctx, s.row.To)
	if err != nil {
		return 0, err
	}
	return 0, s.commit(ctx, func(e *edit) error {
		e.serves(release, e.row.Number)
		e.row.Served = true
		e.next(&record.Evidence{OK: true, Text: "it has been applied"})
		return nil
	})
}

// applied applies a revision by a driver that does so as a whole.
func (s *session) applied(ctx context.Context, key string, number int) (done bool, wait time.Duration, err error) {
	rev, err := s.rev(ctx, number)
	if err != nil {
		return false, 0, err
	}
	copied := *rev
	if number == s.row.Number {
		copied.Proposal = s.row.Proposal
	}
	ensure := func(ctx context.Context, t *deploy.Target) error {
		t.Spec = copied.Spec
		return s.driver.Ensure(ctx, t, &copied, 1)
	}
	prober, ok := s.driver.(deploy.Prober)
	if !s.caps.Once || !ok {
		err := s.act(ctx, true, ensure)
		return err == nil, 0, err
	}
	return s.once(ctx, key, func() (did bool, err error) {
		err = s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error {
			did, err = prober.Applied(ctx, t, &copied)
			return err
		})
		return did, err
	}, func() (ended, error) { return ended{}, s.act(ctx, false, ensure) })
}

// down leaves no more than so many instances of the old release.
func (s *session) down(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	for i := range w.Revisions {
		x := &w.Revisions[i]
		if x.Number == s.row.Number || len(x.Instances) <= mv.Instances {
			continue
		}
		if mv.Instances == 0 && !s.caps.Beside {
			if err := s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error { return s.driver.Remove(ctx, t, x.Number) }); err != nil {
				return s.tried(ctx, err)
			}
		} else if err := s.ensure(ctx, x.Number, mv.Instances); err != nil {
			return s.tried(ctx, err)
		}
		return s.pause(0), nil
	}
	return 0, s.next(ctx, "")
}

// share sends the new release its share of the requests.
func (s *session) share(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	text := fmt.Sprintf("%d %% of the requests go to the new release", mv.Percent)
	if w != nil {
		seen := w.Revision(s.row.Number)
		if seen == nil || seen.Ready() == 0 || mv.Percent == 100 && seen.Ready() < s.row.Plan.Instances {
			s.trouble = errors.New("not all instances of the new release are ready" + whyNot(seen))
			return s.pause(slowest), nil
		}
	}
	shares := s.shares(w, mv.Percent)
	if mv.Percent < 100 && len(shares) == 1 {
		text = "the old release is not healthy: all requests go to the new one"
	} else if mv.Percent < 100 && shares[0].Number != s.row.FromNumber {
		text += fmt.Sprintf("; the old release is not healthy, the others go to revision %d", shares[0].Number)
	}
	if w == nil || !s.shared(w, shares) {
		if err := s.shift(ctx, shares...); err != nil {
			return s.tried(ctx, err)
		}
	}
	if mv.Percent < 100 {
		return 0, s.commit(ctx, func(e *edit) error {
			e.row.Served = true
			e.next(&record.Evidence{OK: len(shares) > 1, Text: text})
			return nil
		})
	}
	release, err := s.m.Release(ctx, s.row.To)
	if err != nil {
		return 0, err
	}
	if err := s.flags(ctx, release); err != nil {
		return s.tried(ctx, err)
	}
	return 0, s.commit(ctx, func(e *edit) error {
		e.row.Served = true
		e.serves(release, e.row.Number)
		e.next(&record.Evidence{OK: true, Text: text})
		return nil
	})
}

// flags brings back the state of flags that is part of a release.
func (s *session) flags(ctx context.Context, r *record.Release) error {
	if r == nil || r.Flags == "" || s.m.Flags == nil {
		return nil
	}
	if err := s.m.Flags.Restore(ctx, s.row.Repository, s.row.Environment, r.Flags); err != nil {
		return fmt.Errorf("bring back the flags of %s: %w", r.Version, err)
	}
	return nil
}

// retire lets the old release be for a while, as the way back, and then go.
func (s *session) retire(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	if s.row.To != "" {
		if seen := w.Revision(s.row.Number); seen == nil || seen.Ready() < s.row.Plan.Instances {
			s.trouble = errors.New("not all instances of the new release are ready" + whyNot(seen))
			return s.pause(slowest), nil
		}
		if end := s.row.Moved.Add(mv.For); s.row.Promoted != mv.Key && time.Now().Before(end) && s.leaves(w) {
			if err := s.waits(ctx, record.RolloutWaiting, "the old release is kept as the way back until "+end.Format(time.TimeOnly)); err != nil {
				return 0, err
			}
			return min(s.pause(sparse), max(time.Until(end), time.Millisecond)), nil
		}
	}
	if w == nil {
		return s.vanish(ctx)
	}
	clean, err := s.remove(ctx, w, s.row.Number)
	switch {
	case err != nil:
		return s.tried(ctx, err)
	case !clean:
		return s.pause(slowest), nil
	}
	return 0, s.next(ctx, "nothing is left of other releases")
}

// vanish takes away a service whose driver runs no instances.
func (s *session) vanish(ctx context.Context) (time.Duration, error) {
	if s.row.FromNumber > 0 {
		if err := s.act(ctx, false, func(ctx context.Context, t *deploy.Target) error { return s.driver.Remove(ctx, t, s.row.FromNumber) }); err != nil {
			return s.tried(ctx, err)
		}
	}
	return 0, s.next(ctx, "")
}

// leaves reports whether there is anything to retire.
func (s *session) leaves(w *deploy.World) bool {
	return slices.ContainsFunc(w.Revisions, func(x deploy.Seen) bool { return x.Number != s.row.Number })
}

// hold lets time pass while the new release stays well.
func (s *session) hold(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	if s.row.Promoted == mv.Key {
		return 0, s.next(ctx, "a person let it go on")
	}
	if mv.For == 0 {
		return s.pause(sparse), s.waits(ctx, record.RolloutWaiting, "until somebody promotes it")
	}
	if len(mv.Checks) > 0 && time.Since(s.looked) >= checkEvery {
		s.looked = time.Now()
		for i := range mv.Checks {
			ev, err := s.check(ctx, w, &mv.Checks[i])
			switch {
			case err != nil:
				return s.tried(ctx, err)
			case ev.OK:
				delete(s.fails, mv.Checks[i].Name)
				continue
			}
			if s.fails[mv.Checks[i].Name]++; s.fails[mv.Checks[i].Name] >= checkFails {
				return 0, s.turn(ctx, fmt.Sprintf("%s failed %d times on end: %s", mv.Checks[i].Name, checkFails, ev.Text))
			}
		}
	}
	end := s.row.Moved.Add(mv.For)
	if wait := time.Until(end); wait > 0 {
		return min(s.pause(sparse), wait), s.waits(ctx, record.RolloutWaiting, "holds until "+end.Format(time.TimeOnly))
	}
	if w != nil {
		if want, seen := wants(s.row).up, w.Revision(s.row.Number); want > 0 && (seen == nil || seen.Ready() < want) || len(s.fails) > 0 {
			s.trouble = errors.New("the new release is not whole" + whyNot(seen))
			return s.pause(slowest), nil
		}
	}
	return 0, s.next(ctx, "")
}

// verify asks the new release its checks until they have all passed.
func (s *session) verify(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	for i := range mv.Checks {
		c := &mv.Checks[i]
		key := strconv.Itoa(i)
		if s.passed[key] {
			continue
		}
		ev, err := s.check(ctx, w, c)
		switch {
		case err != nil:
			return s.tried(ctx, err)
		case ev.OK:
			s.passed[key] = true
			continue
		}
		why := ev.Text // it names the check
		if within := c.Within; c.Load != nil || within > 0 && time.Since(s.row.Moved) >= within {
			return 0, s.commitFailed(ctx, ev, why)
		}
		s.trouble = errors.New(why)
		return s.pause(slowest), nil
	}
	return 0, s.next(ctx, fmt.Sprintf("%d checks passed", len(mv.Checks)))
}

// commitFailed takes the rollout back and keeps what was found.
func (s *session) commitFailed(ctx context.Context, ev record.Evidence, why string) error {
	key := s.row.Plan.Moves[s.row.Step].Key
	if contracted(s.row) != "" {
		return s.turn(ctx, why)
	}
	s.m.say(s.id, "goes back: "+why)
	return s.commit(ctx, func(e *edit) error {
		ev.OK, ev.Text, ev.Time = false, clip(ev.Text), e.now
		if e.row.Evidence == nil {
			e.row.Evidence = map[string]record.Evidence{}
		}
		e.row.Evidence[key], e.evidence = ev, &ev
		e.turn(why)
		e.reject(e.row.To, clip(why))
		e.open(clip(why), s.spec.Runbook)
		return nil
	})
}

// check asks the new release one check.
func (s *session) check(ctx context.Context, w *deploy.World, c *plan.Check) (ev record.Evidence, err error) {
	rev, err := s.rev(ctx, s.row.Number)
	if err != nil {
		return ev, err
	}
	var at []deploy.Instance
	if w != nil {
		if seen := w.Revision(s.row.Number); seen != nil {
			at = seen.Instances
		}
	} else if w, err := s.observe(ctx); err == nil {
		if seen := w.Revision(s.row.Number); seen != nil {
			at = seen.Instances
		}
	}
	err = s.act(ctx, true, func(ctx context.Context, t *deploy.Target) error {
		ev = s.m.Outside.Check(ctx, *c, at, rev.Env, t.Root)
		return context.Cause(ctx)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // it is late: what the check said is why
	}
	return ev, err
}
