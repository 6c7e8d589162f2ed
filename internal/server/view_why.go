package server

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// why is the view of why the steps of a run, of a job of it, or one step and
// those inside it, ran or did not.
func (v *views) why(ctx context.Context, run, job, key string) (WhyView, error) {
	head, r, err := v.fold(ctx, run)
	if err != nil {
		return WhyView{}, err
	}
	if j := r.Jobs[job]; job != "" && j == nil {
		return WhyView{}, missing("job")
	}
	view := WhyView{Run: rowOf(&head, v.now()), Steps: []Reason{}, Skipped: []JobRow{}, Job: job, Step: key}
	for _, id := range r.Order {
		j := r.Jobs[id]
		if job != "" && id != job && j.Parent != job {
			continue
		}
		row := v.job(r, j)
		view.Reuse.add(row.Reuse)
		if row.State == State(plan.Skipped) && key == "" {
			row.Why = cmp.Or(row.Why, "the run ended before its turn came")
			view.Skipped = append(view.Skipped, row)
		}
		for _, s := range j.Steps {
			if key != "" && s.Key != key && !strings.HasPrefix(s.Key, key+".") || job == "" && !asks(s) && (s.Finished == nil || s.Finished.Outcome != plan.Skipped) {
				continue
			}
			view.Steps = append(view.Steps, reasonOf(r, j, s))
		}
	}
	if key != "" && len(view.Steps) == 0 {
		return WhyView{}, missing("step")
	}
	return view, nil
}

// reasonOf says why a step ran, or did not.
func reasonOf(r *record.Run, j *record.JobRun, s *record.StepRun) Reason {
	x := Reason{Job: j.ID, Step: s.Key, Name: cmp.Or(s.Start.Name, s.Key), State: stepState(r, s), At: s.Start.At, Seconds: s.Duration().Seconds()}
	f := s.Finished
	if f != nil {
		x.Watched = f.Watched
	}
	if f != nil && f.Reuse != nil {
		x.Key, x.From, x.Saved, x.Miss, x.Differs = f.Reuse.Key, f.Reuse.From, f.Reuse.Saved.Seconds(), f.Reuse.Miss, f.Reuse.Differs
	}
	switch {
	case f == nil:
		x.Did, x.Why = "unfinished", "it has not ended"
	case f.Outcome == plan.Skipped:
		x.Did, x.Why = "skipped", cmp.Or(f.Why, "its condition did not hold")
	case x.From != nil:
		x.Did, x.Next = "reused", true
		x.Why = "all that it reads is as it was in run " + x.From.Run
	case slices.ContainsFunc(j.Steps, func(p *record.StepRun) bool { return strings.HasPrefix(p.Key, s.Key+".") && p.Key != s.Key+".post" }):
		x.Did, x.Why = "group", "it stands for the steps inside it"
	case asks(s):
		x.Did, x.Why, x.Next = "ran", ranWhy(f.Reuse), len(f.Reuse.Barred) == 0
		if f.Reuse.Verified {
			x.Did = "verified"
		}
		for _, b := range f.Reuse.Barred {
			e := cache.Explain(b)
			x.Bars = append(x.Bars, Barrier{b.Kind, e.Why, e.WayOut})
		}
	case r.Planned.Settings.NoReuse:
		x.Did, x.Why = "not-asked", "the run was told to reuse nothing"
	default:
		x.Did, x.Why = "built-in", "it is part of Fairlead, and done each time"
	}
	return x
}

// ranWhy is why a step ran that could have been reused.
func ranWhy(u *record.Reuse) string {
	switch {
	case u.Verified && len(u.Differs) > 0:
		return "it was verified, and was not as before: " + u.Differs[0]
	case u.Verified:
		return "it was verified, and did the same as before"
	case u.Miss != nil:
		return u.Miss.Why
	case slices.ContainsFunc(u.Barred, func(b record.Bar) bool { return b.Kind == record.BarOff }):
		return "watching it costs more than it saves: it is left alone for a while"
	}
	return "nothing is kept of an earlier time with this script, environment and place"
}
