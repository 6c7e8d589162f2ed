package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// ask changes a rollout for a person, with what the audit trail holds of it.
func (m *Mover) ask(ctx context.Context, by launch.By, id string, verb access.Verb, what, why string, do func(e *edit) error) (*record.Rollout, error) {
	if len(why) > maxText {
		return nil, &plan.UsageError{Message: fmt.Sprintf("a reason has at most %d bytes", maxText)}
	}
	return m.change(ctx, id, 0, by, func(e *edit) error {
		r := e.row
		if r.State.Ended() {
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s has ended: %s%s", id, r.State, reason(r.Reason))}
		}
		detail := map[string]string{"rollout": id, "service": r.Service, "environment": r.Environment, "release": r.To, "what": what}
		if why != "" {
			detail["why"] = why
		}
		e.events = append(e.events, by.Acted(verb, r.Repository, detail))
		return do(e)
	})
}

// Approve lets a rollout through its gate, as far as one person can.
func (m *Mover) Approve(ctx context.Context, by launch.By, id, why string) (*record.Rollout, error) {
	return m.ask(ctx, by, id, Approve, "approve", why, func(e *edit) error {
		r := e.row
		i := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MoveGate })
		if i < 0 || r.Step > i || r.Back || needed(r.Plan.Moves[i].Gate) == 0 {
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s waits for no approval", id)}
		}
		if slices.ContainsFunc(r.Approvals, func(a record.Approval) bool { return strings.EqualFold(a.By, by.Name) }) {
			return &plan.UsageError{Message: fmt.Sprintf("%s has approved rollout %s already", by.Name, id)}
		}
		if p := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MovePropose }); p >= r.Step {
			return &plan.UsageError{Message: "what would be changed is not known yet", Hint: "wait for the proposal, and look at it"}
		}
		release, err := m.Release(ctx, r.To)
		if err != nil {
			return err
		}
		own := []string{r.By}
		if release != nil {
			own = append(own, release.Author)
		}
		if why := mayApprove(r.Plan.Moves[i].Gate, by.Name, own...); why != "" {
			return &plan.UsageError{Message: why}
		}
		r.Approvals = append(r.Approvals, record.Approval{By: by.Name, Why: why, Time: e.now})
		return nil
	})
}

// Override passes over the gate of a rollout, whatever it still waits for. It takes a reason.
func (m *Mover) Override(ctx context.Context, by launch.By, id, why string) (*record.Rollout, error) {
	if strings.TrimSpace(why) == "" {
		return nil, &plan.UsageError{Message: "to pass over a gate takes a reason"}
	}
	return m.ask(ctx, by, id, Approve, "emergency", why, func(e *edit) error {
		e.row.Emergency = why
		return nil
	})
}

// Pause leaves everything as it is until somebody resumes. A rollout that goes back is not paused.
func (m *Mover) Pause(ctx context.Context, by launch.By, id, why string) (*record.Rollout, error) {
	return m.ask(ctx, by, id, Deploy, "pause", why, func(e *edit) error {
		switch r := e.row; {
		case r.Back:
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s goes back, and that is not paused", id)}
		case r.Paused != "":
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s is paused already, by %s", id, r.Paused)}
		case r.State == record.RolloutAttention:
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s waits for an answer already: %s", id, r.Reason)}
		}
		e.row.Paused, e.row.State, e.row.Reason = by.Name, record.RolloutPaused, "paused by "+by.Name+reason(why)
		return nil
	})
}

// Resume lets a paused rollout go on. The time that it was paused does not count.
func (m *Mover) Resume(ctx context.Context, by launch.By, id string) (*record.Rollout, error) {
	return m.ask(ctx, by, id, Deploy, "resume", "", func(e *edit) error {
		r := e.row
		if r.Paused == "" {
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s is not paused", id)}
		}
		lost := e.now.Sub(r.Entered)
		r.Moved = r.Moved.Add(lost)
		if !r.Due.IsZero() {
			r.Due = r.Due.Add(lost)
		}
		r.Paused, r.State, r.Reason = "", record.RolloutRunning, ""
		return nil
	})
}

// Promote ends the hold, the analysis, or the keeping of the old release that a rollout is in.
func (m *Mover) Promote(ctx context.Context, by launch.By, id, why string) (*record.Rollout, error) {
	return m.ask(ctx, by, id, Deploy, "promote", why, func(e *edit) error {
		r := e.row
		if r.Step < len(r.Plan.Moves) && !r.Back && r.Paused == "" {
			switch mv := r.Plan.Moves[r.Step]; mv.Kind {
			case plan.MoveHold, plan.MoveRetire, plan.MoveAnalyze:
				r.Promoted = mv.Key
				return nil
			}
		}
		return &plan.UsageError{Message: fmt.Sprintf("rollout %s holds at nothing that could be promoted", id), Hint: "a paused one is resumed, a gate is approved"}
	})
}

// Abort breaks a rollout off. When it has changed something already it goes back; the release is not rejected.
func (m *Mover) Abort(ctx context.Context, by launch.By, id, why string) (*record.Rollout, error) {
	return m.ask(ctx, by, id, Deploy, "abort", why, func(e *edit) error {
		r, said := e.row, "aborted by "+by.Name+reason(why)
		switch key := contracted(r); {
		case r.Back:
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s goes back already", id)}
		case r.State == record.RolloutAttention && key != "":
			e.end(record.RolloutFailed, r.Reason+"; "+said)
		case key != "":
			return &plan.UsageError{Message: noWayBack(key)}
		case !begun(r):
			e.end(record.RolloutAborted, said)
		default:
			e.turn(said)
		}
		return nil
	})
}

// begun reports whether a rollout has changed anything, or may have.
func begun(r *record.Rollout) bool {
	for i, mv := range r.Plan.Moves {
		if i > r.Step {
			return false
		}
		if mv.Kind != plan.MoveGate && mv.Kind != plan.MovePropose && !(mv.Kind == plan.MoveReset && i < r.Step) {
			return true
		}
	}
	return true
}

// Settle answers a rollout that needs attention. done says that what is not known has been done, or need not be:
// the rollout goes on behind it; else it is tried again.
func (m *Mover) Settle(ctx context.Context, by launch.By, id string, done bool) (*record.Rollout, error) {
	what := "settle: try again"
	if done {
		what = "settle: done"
	}
	return m.ask(ctx, by, id, Deploy, what, "", func(e *edit) error {
		r := e.row
		if r.State != record.RolloutAttention {
			return &plan.UsageError{Message: fmt.Sprintf("rollout %s asks nothing: it is %s", id, r.State)}
		}
		asked := r.Asked
		r.State, r.Asked = record.RolloutRunning, ""
		r.Moved = e.now
		switch {
		case asked != "" && done:
			in := r.Intents[asked]
			in.Done, in.Error = e.now, ""
			r.Intents[asked] = in
		case asked != "":
			delete(r.Intents, asked)
		case r.Back && done:
			// What is there is taken for what is aimed at.
			if r.Target > 0 {
				release, err := m.Release(ctx, r.From)
				if err != nil {
					return err
				}
				if r.Target == r.FromNumber {
					e.serves(release, r.Target)
				}
			}
			e.end(record.RolloutFailed, r.Reason+"; "+by.Name+" left it so")
			return nil
		case done:
			e.next(&record.Evidence{Text: clip(r.Reason + "; " + by.Name + " left it so")})
			return nil
		}
		if r.Reason = ""; r.Back {
			r.Due = e.now.Add(patience(r))
			return nil
		}
		e.begin()
		return nil
	})
}

// Rollback goes back. When a rollout is under way it is taken back, else one is begun to an earlier release: to the one
// with the ID to, or with "" to the last that was whole there and was not rejected. What it goes away from is rejected.
func (m *Mover) Rollback(ctx context.Context, by launch.By, repository, service, environment, to, why string) (*record.Rollout, error) {
	t, err := m.Track(ctx, repository, service, environment)
	if err != nil {
		return nil, err
	}
	if t.Number == 0 {
		return nil, &plan.UsageError{Message: fmt.Sprintf("%s was never in %s", service, environment)}
	}
	if t.Rollout != "" {
		row, err := m.Rollout(ctx, t.Rollout)
		if err != nil {
			return nil, err
		}
		if to == "" || to == row.From {
			return m.ask(ctx, by, row.ID, Deploy, "roll back", why, func(e *edit) error {
				switch r, key := e.row, contracted(e.row); {
				case r.Back:
					return &plan.UsageError{Message: fmt.Sprintf("rollout %s goes back already", r.ID)}
				case key != "":
					return &plan.UsageError{Message: noWayBack(key)}
				case r.From == "":
					return &plan.UsageError{Message: fmt.Sprintf("nothing was in %s before", environment), Hint: "abort the rollout instead"}
				}
				said := "rolled back by " + by.Name + reason(why)
				if !begun(e.row) {
					e.end(record.RolloutAborted, said)
				} else {
					e.turn(said)
				}
				e.reject(e.row.To, said)
				return nil
			})
		}
	}
	all, err := m.Rollouts(ctx, repository, service, environment)
	if err != nil {
		return nil, err
	}
	target := -1
	for i := range all {
		r := &all[i]
		_, rejected := t.Rejected[r.To]
		if r.State == record.RolloutDone && r.To != "" && r.To != t.Release && !rejected && (to == "" || r.To == to) {
			target = i
			break
		}
	}
	if target < 0 {
		if to != "" {
			return nil, &plan.UsageError{Message: fmt.Sprintf("release %.80q was never whole in %s, or was rejected there", to, environment)}
		}
		return nil, &plan.UsageError{Message: fmt.Sprintf("there is no earlier release of %s in %s to go back to", service, environment)}
	}
	for i := range all[:target] { // those since then
		if key := contracted(&all[i]); key != "" {
			return nil, &plan.UsageError{Message: fmt.Sprintf("rollout %s: %s", all[i].ID, noWayBack(key))}
		}
	}
	return m.Begin(ctx, by, Wish{Repository: repository, Service: service, Environment: environment, Release: all[target].To, Why: or(why, "rollback"), direct: true, URL: t.URL, Expires: t.Expires})
}

// Lift lets a rejected release be deployed to an environment again.
func (m *Mover) Lift(ctx context.Context, by launch.By, repository, service, environment, release, why string) error {
	for try := 0; ; try++ {
		t, at, err := m.track(ctx, repository, service, environment)
		if err != nil {
			return err
		}
		if _, is := t.Rejected[release]; !is {
			return &plan.UsageError{Message: fmt.Sprintf("release %.80q is not rejected in %s", release, environment)}
		}
		delete(t.Rejected, release)
		_, err = m.Store.Change(ctx, []record.Register{register(TrackKind, TrackID(repository, environment, service), at, t)},
			record.Event{Body: &record.ReleaseRejected{Repository: repository, Service: service, Environment: environment, Release: release, Why: why, Lifted: true, By: by.Name}},
			by.Acted(Approve, repository, map[string]string{"service": service, "environment": environment, "release": release, "what": "lift", "why": why}))
		if err == nil || !errors.Is(err, record.ErrConflict) || try == maxTries {
			return err
		}
	}
}

// Remove takes a service out of an environment: begun like a rollout, it is moved like one.
func (m *Mover) Remove(ctx context.Context, by launch.By, repository, service, environment, why string) (*record.Rollout, error) {
	return m.Begin(ctx, by, Wish{Repository: repository, Service: service, Environment: environment, Why: why, gone: true})
}
