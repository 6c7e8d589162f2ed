package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// analyze looks whether the new release does worse than the old one. What was seen so far is part
// of the row: a crash forgets nothing of it.
func (s *session) analyze(ctx context.Context, w *deploy.World, mv *plan.Move) (time.Duration, error) {
	if s.row.Promoted == mv.Key {
		return 0, s.next(ctx, "a person let it go on")
	}
	var state deploy.State
	if len(s.row.Judged) > 0 {
		if err := json.Unmarshal(s.row.Judged, &state); err != nil {
			return 0, fmt.Errorf("read what the analysis %s has seen: %w", mv.Key, err)
		}
	}
	every := max(mv.Analysis.Every, time.Second)
	if state.Last != nil {
		if wait := time.Until(state.Last.At.Add(every)); wait > 0 {
			return min(wait, s.pause(sparse)), nil
		}
	}
	fresh := deploy.Side{Number: s.row.Number, Release: s.row.To, Version: s.row.Version}
	var old deploy.Side
	if n := s.other(w); n > 0 {
		rev, err := s.rev(ctx, n)
		if err != nil {
			return s.tried(ctx, err)
		}
		old = deploy.Side{Number: n, Release: rev.Release.ID, Version: rev.Release.Version}
	}
	var counter deploy.Counter
	if c, ok := s.driver.(deploy.Counter); ok && s.caps.Counts {
		counter = c
	}
	now := time.Now().UTC()
	begun := state.Begun
	if begun.IsZero() {
		begun = now
	}
	var look *deploy.Look
	err := s.act(ctx, true, func(ctx context.Context, t *deploy.Target) (err error) {
		look, err = deploy.TakeLook(ctx, mv.Analysis, t, counter, s.m.Outside, begun, now, fresh, old)
		return err
	})
	if err != nil {
		return s.tried(ctx, err)
	}
	s.trouble = nil
	verdict := state.Look(mv.Analysis, look)
	found := verdict.Evidence(now)
	switch verdict.Decision {
	case deploy.Fail:
		return 0, s.commitFailed(ctx, found, "the analysis found: "+verdict.Words)
	case deploy.Pass:
		return 0, s.commit(ctx, func(e *edit) error { e.next(&found); return nil })
	}
	s.trouble = errors.New(verdict.Words)
	judged, err := json.Marshal(&state)
	if err != nil {
		return 0, fmt.Errorf("write down what the analysis %s has seen: %w", mv.Key, err)
	}
	return 0, s.commit(ctx, func(e *edit) error {
		e.row.Judged = judged
		if e.row.Evidence == nil {
			e.row.Evidence = map[string]record.Evidence{}
		}
		e.row.Evidence[mv.Key] = found // so far: pages show it
		return nil
	})
}
