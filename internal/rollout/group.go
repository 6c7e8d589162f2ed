package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Rollouts that were begun together go out one after the other. Each waits to begin until the one before it
// has proved itself, and none gives its old release up before all have: as long as that is so, all of them
// can be taken back, the last first.

// members are the rows of a group, in their order, and the place of this one.
func (s *session) members(ctx context.Context) (rows []*record.Rollout, here int, err error) {
	for i, id := range s.row.Group {
		if id == s.id {
			rows, here = append(rows, s.row), i
			continue
		}
		row, err := s.m.Rollout(ctx, id)
		if err != nil {
			return nil, 0, err
		}
		rows = append(rows, row)
	}
	return rows, here, nil
}

// proved reports whether a rollout has been through all that the release had to prove. One that was superseded goes on in
// another.
func proved(r *record.Rollout) bool {
	return r.State == record.RolloutDone || r.State == record.RolloutSuperseded || !r.Back && !r.State.Ended() && r.Step >= point(r)
}

// point is the index of the move that gives the old release up.
func point(r *record.Rollout) int {
	i := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool {
		return mv.Kind == plan.MoveRetire || mv.Kind == plan.MoveMigrate && mv.Migration.Phase == "contract"
	})
	if i < 0 {
		return len(r.Plan.Moves)
	}
	return i
}

// lost says why a group cannot be whole any more; "" if it still can.
func lost(r *record.Rollout) string {
	if r.Back || r.State == record.RolloutRolledBack || r.State == record.RolloutAborted || r.State == record.RolloutFailed {
		return fmt.Sprintf("%s, deployed together with it, was taken back%s", r.Service, reason(r.Reason))
	}
	return ""
}

// together holds a rollout back as its group wants it. stop says that it is not to go on now.
func (s *session) together(ctx context.Context) (wait time.Duration, stop bool, err error) {
	if len(s.row.Group) == 0 {
		return 0, false, nil
	}
	rows, here, err := s.members(ctx)
	if err != nil {
		return 0, true, err
	}
	for i, r := range rows {
		if why := lost(r); i != here && why != "" && contracted(s.row) == "" {
			// What nobody says is wrong is not rejected.
			return 0, true, s.commit(ctx, func(e *edit) error {
				if !begun(e.row) {
					e.end(record.RolloutAborted, clip(why))
				} else {
					e.turn(clip(why))
				}
				return nil
			})
		}
	}
	if here > 0 && !begun(s.row) && !proved(rows[here-1]) {
		return s.pause(sparse), true, s.standStill(ctx, "for "+rows[here-1].Service+", which is deployed before it")
	}
	if s.row.Step >= point(s.row) {
		for _, r := range rows[here+1:] {
			if !proved(r) {
				if err := s.watch(ctx); err != nil {
					return 0, true, err
				}
				return s.pause(sparse), true, s.standStill(ctx, "for "+r.Service+", which is deployed together with it")
			}
		}
	}
	if r := s.row; r.Due.IsZero() && r.Step < len(r.Plan.Moves) && !due(&r.Plan.Moves[r.Step], time.Now()).IsZero() {
		return 0, true, s.commit(ctx, func(e *edit) error { // its own time begins now
			e.row.State, e.row.Reason = record.RolloutRunning, ""
			e.begin()
			return nil
		})
	}
	return 0, false, nil
}

// watch takes the rollout back if its release becomes unwell while it waits for others.
func (s *session) watch(ctx context.Context) error {
	if !s.caps.Instances {
		return nil
	}
	w, err := s.observe(ctx)
	if err == nil {
		if sick := s.sick(w, &plan.Move{}); sick != "" {
			return s.turn(ctx, sick)
		}
		err = s.keep(ctx, w)
	}
	if err != nil {
		_, err = s.tried(ctx, err)
	}
	return err
}

// standStill waits for others of the group: that is no time of the move under way.
func (s *session) standStill(ctx context.Context, why string) error {
	if s.row.State == record.RolloutWaiting && s.row.Reason == why && s.row.Due.IsZero() {
		return nil
	}
	return s.commit(ctx, func(e *edit) error {
		e.row.State, e.row.Reason, e.row.Due = record.RolloutWaiting, why, time.Time{}
		return nil
	})
}

// inOrder lets a group go back in reverse order.
func (s *session) inOrder(ctx context.Context) (wait time.Duration, stop bool, err error) {
	if len(s.row.Group) == 0 {
		return 0, false, nil
	}
	rows, here, err := s.members(ctx)
	if err != nil {
		return 0, true, err
	}
	for _, r := range rows[here+1:] {
		if !r.State.Ended() {
			if !s.row.Due.IsZero() { // its own time begins when it is its turn
				return 0, true, s.commit(ctx, func(e *edit) error { e.row.Due = time.Time{}; return nil })
			}
			return s.pause(sparse), true, nil
		}
	}
	if s.row.Due.IsZero() {
		return 0, true, s.commit(ctx, func(e *edit) error {
			e.row.Moved, e.row.Due = e.now, e.now.Add(patience(e.row))
			return nil
		})
	}
	return 0, false, nil
}
