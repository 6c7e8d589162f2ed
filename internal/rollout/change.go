package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxTries is how often a change is tried when others change the same row.
const maxTries = 20

// edit is a change of a rollout's row and of its track. Both, the event that tells of it and
// whatever else belongs to it are one transaction.
type edit struct {
	row       *record.Rollout
	track     *record.Track
	now       time.Time
	by        launch.By
	evidence  *record.Evidence
	registers []record.Register
	events    []record.Event
}

// change edits a rollout. With version other than 0 it is only done to the row of that version, and the error
// is [record.ErrConflict] when there is another one; else it is tried again.
func (m *Mover) change(ctx context.Context, id string, version int64, by launch.By, do func(e *edit) error) (*record.Rollout, error) {
	for try := 0; ; try++ {
		row, at, err := m.row(ctx, id)
		if err != nil {
			return nil, err
		}
		if version != 0 && at != version {
			return nil, fmt.Errorf("rollout %s: %w", id, record.ErrConflict)
		}
		track, trackAt, err := m.track(ctx, row.Repository, row.Service, row.Environment)
		if err != nil {
			return nil, err
		}
		e := &edit{row: row, track: track, now: time.Now().UTC(), by: by}
		before, step, back, state := register(TrackKind, "", 0, track), row.Step, row.Back, row.State
		if err := do(e); err != nil {
			return nil, err
		}
		if row.Step != step || row.Back != back || row.State != state {
			row.Entered = e.now
		}
		changes := append([]record.Register{register(RolloutKind, id, at, row)}, e.registers...)
		after := register(TrackKind, TrackID(row.Repository, row.Environment, row.Service), trackAt, track)
		if string(after.Body) != string(before.Body) {
			changes = append(changes, after)
		}
		_, err = m.Store.Change(ctx, changes, append([]record.Event{{Body: moved(row, e.evidence, by)}}, e.events...)...)
		switch {
		case err == nil:
			return row, nil
		case !errors.Is(err, record.ErrConflict) || try == maxTries:
			return nil, fmt.Errorf("change rollout %s: %w", id, err)
		}
		// The track may be what has changed: then the row is still of the version that was asked for.
	}
}

// moved is the event that tells how a row is from now on.
func moved(r *record.Rollout, ev *record.Evidence, by launch.By) *record.RolloutMoved {
	b := &record.RolloutMoved{Rollout: r.ID, Repository: r.Repository, Service: r.Service, Environment: r.Environment, Number: r.Number,
		Release: r.To, Version: r.Version, From: r.From, Begun: r.Begun, State: r.State, Step: r.Step, Back: r.Back, Reason: r.Reason,
		Evidence: ev, By: by.Name, Emergency: r.Emergency}
	if r.Step < len(r.Plan.Moves) {
		b.Move = r.Plan.Moves[r.Step].Key
	}
	return b
}

// next goes to the next move. found is what the one under way has found, nil for nothing worth telling.
func (e *edit) next(found *record.Evidence) {
	r := e.row
	if found != nil {
		found.Time = e.now
		if r.Evidence == nil {
			r.Evidence = map[string]record.Evidence{}
		}
		r.Evidence[r.Plan.Moves[r.Step].Key] = *found
		e.evidence = found
	}
	r.Step++
	r.State, r.Reason, r.Judged, r.Asked = record.RolloutRunning, "", nil, ""
	e.begin()
}

// begin sets the times of the move under way.
func (e *edit) begin() {
	r := e.row
	r.Moved, r.Due = e.now, time.Time{}
	if r.Step < len(r.Plan.Moves) {
		r.Due = due(&r.Plan.Moves[r.Step], e.now)
	}
}

// due is when a move that is begun now is late; zero when it never is.
func due(mv *plan.Move, now time.Time) time.Time {
	d := mv.Within
	switch {
	case mv.Kind == plan.MoveGate && d == 0, mv.Kind == plan.MoveHold && mv.For == 0:
		return time.Time{} // people take as long as they take
	case mv.Kind == plan.MoveHold, mv.Kind == plan.MoveRetire:
		d += mv.For
	case mv.Kind == plan.MoveAnalyze && mv.Analysis != nil:
		d += mv.Analysis.For
	}
	return now.Add(d)
}

// patience is how long a rollout that goes back has for it.
func patience(r *record.Rollout) time.Duration {
	var d time.Duration
	for _, mv := range r.Plan.Moves {
		d = max(d, mv.Within)
	}
	if d == 0 {
		return deploy.DefaultDeadline
	}
	return d
}

// turn lets the rollout go back.
func (e *edit) turn(why string) {
	r := e.row
	r.Back, r.Target, r.State, r.Reason, r.Paused, r.Asked, r.Judged = true, r.FromNumber, record.RolloutRunning, why, "", "", nil
	r.Moved, r.Due = e.now, e.now.Add(patience(r))
}

// reject keeps the release from being deployed there again.
func (e *edit) reject(release, why string) {
	if release == "" {
		return
	}
	if e.track.Rejected == nil {
		e.track.Rejected = map[string]record.Rejection{}
	}
	e.track.Rejected[release] = record.Rejection{Why: why, Rollout: e.row.ID, Time: e.now}
	e.events = append(e.events, record.Event{Body: &record.ReleaseRejected{Repository: e.row.Repository, Service: e.row.Service,
		Environment: e.row.Environment, Release: release, Why: why, By: e.by.Name}})
}

// serves says which release the requests go to from now on.
func (e *edit) serves(r *record.Release, number int) {
	t := e.track
	if t.Revision == number && number != 0 {
		return
	}
	t.Revision, t.Since, t.Release, t.Version, t.Commit, t.Height, t.Drift, t.Run = number, e.now, "", "", "", 0, nil, ""
	if r != nil {
		t.Release, t.Version, t.Commit, t.Height = r.ID, r.Version, r.Commit, r.Height
	}
}

// end ends the rollout.
func (e *edit) end(state record.RolloutState, why string) {
	r := e.row
	r.State, r.Reason, r.Ended, r.Due, r.Paused, r.Judged, r.Asked = state, why, e.now, time.Time{}, "", nil, ""
	if e.track.Rollout == r.ID {
		e.track.Rollout = ""
	}
}

// attend stops for a person; asked is the key of an intent, or "".
func (e *edit) attend(asked, why string) {
	e.row.State, e.row.Reason, e.row.Asked = record.RolloutAttention, why, asked
}

// incidentID is the ID of the incident that a rollout opens when it goes back by itself.
func incidentID(rollout string) string { return "rollout-" + rollout }

// open opens an incident in the same transaction.
func (e *edit) open(why, runbook string) {
	r := e.row
	i := record.Incident{ID: incidentID(r.ID), Repository: r.Repository, Title: fmt.Sprintf("%s %s was taken back in %s", r.Service, r.Version, r.Environment),
		Severity: "minor", Service: r.Service, Environment: r.Environment, Rollout: r.ID, Runbook: runbook, Opened: e.now, OpenedBy: "rollback", Began: e.now}
	if r.Served {
		i.Severity = "major"
	}
	e.registers = append(e.registers, register(IncidentKind, i.ID, 0, &i))
	e.events = append(e.events, record.Event{Body: &record.IncidentChanged{Incident: i, What: "opened", Text: why, By: "rollback"}})
}

// resolve closes the incident that the rollout opened, if it is open.
func (m *Mover) resolve(ctx context.Context, e *edit, why string) error {
	r, err := m.Store.Register(ctx, IncidentKind, incidentID(e.row.ID))
	if err != nil || r.Version == 0 {
		return err
	}
	var i record.Incident
	if err := json.Unmarshal(r.Body, &i); err != nil {
		return fmt.Errorf("read incident %s: %w", r.ID, err)
	}
	if !i.Resolved.IsZero() {
		return nil
	}
	i.Resolved, i.ResolvedBy = e.now, "rollback"
	e.registers = append(e.registers, register(IncidentKind, i.ID, r.Version, &i))
	e.events = append(e.events, record.Event{Body: &record.IncidentChanged{Incident: i, What: "resolved", Text: why, By: "rollback"}})
	return nil
}
