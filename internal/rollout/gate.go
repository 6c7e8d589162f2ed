package rollout

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cron"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// gate waits until it is open.
func (s *session) gate(ctx context.Context, mv *plan.Move) (time.Duration, error) {
	if s.row.Emergency != "" {
		return 0, s.commit(ctx, func(e *edit) error {
			e.next(&record.Evidence{Text: clip("passed over, emergency: " + e.row.Emergency)})
			return nil
		})
	}
	release, err := s.m.Release(ctx, s.row.To)
	if err != nil {
		return 0, err
	}
	now := time.Now().UTC()
	f := facts{now: now, begun: s.row.Begun, approvals: s.row.Approvals, own: []string{s.row.By}}
	if release != nil {
		f.own = append(f.own, release.Author)
	}
	if after := mv.Gate.After; after != "" {
		if f.since, err = s.m.wholeSince(ctx, s.row.Repository, s.row.Service, after, s.row.To); err != nil {
			return 0, err
		}
	}
	why, until := closed(mv.Gate, &f)
	if why == "" {
		return 0, s.next(ctx, passedBy(mv.Gate, &f))
	}
	wait := s.pause(rare)
	if !until.IsZero() {
		wait = min(wait, max(until.Sub(now), time.Millisecond))
	}
	return wait, s.waits(ctx, record.RolloutWaiting, why)
}

// wholeSince is since when a release is whole in an environment: it serves there alone, has proved itself, and was not rejected
// since. Zero when it is not.
func (m *Mover) wholeSince(ctx context.Context, repository, service, environment, release string) (time.Time, error) {
	t, err := m.Track(ctx, repository, service, environment)
	if err != nil || t.Release != release {
		return time.Time{}, err
	}
	if _, rejected := t.Rejected[release]; rejected {
		return time.Time{}, nil
	}
	if t.Rollout != "" {
		row, err := m.Rollout(ctx, t.Rollout)
		if err != nil {
			return time.Time{}, err
		}
		if id, _ := stable(row); id != release {
			return time.Time{}, nil
		}
	}
	return t.Since, nil
}

// facts is what a gate is judged by.
type facts struct {
	now, begun time.Time
	approvals  []record.Approval
	own        []string  // who made the change, and who began the rollout
	since      time.Time // the release is whole in the environment before; zero: it is not
}

// closed says why a gate is not open, and when that may be another thing without anybody's doing; "" when it is open.
func closed(g *plan.DeployGate, f *facts) (why string, until time.Time) {
	if g.After != "" {
		switch open := f.since.Add(g.Soak); {
		case f.since.IsZero():
			return "until the release is whole in " + g.After, time.Time{}
		case f.now.Before(open):
			return fmt.Sprintf("until it has been in %s for %s", g.After, g.Soak), open
		}
	}
	if open := f.begun.Add(g.Wait); f.now.Before(open) {
		return "until " + open.Format(time.DateTime) + " UTC", open
	}
	if n := needed(g) - len(counting(g, f)); n > 0 {
		why = fmt.Sprintf("for %d more approvals", n)
		if n == 1 {
			why = "for an approval"
		}
		if len(g.Approvers) > 0 {
			why += " by " + strings.Join(g.Approvers, ", ")
		}
		return why, time.Time{}
	}
	return frozen(g.Freezes, f.now)
}

// needed is how many approvals a gate takes.
func needed(g *plan.DeployGate) int {
	if g.Approvals == 0 && len(g.Approvers) > 0 {
		return 1
	}
	return g.Approvals
}

// counting are the approvals that count: each person's once, those of people who may, not those of
// whose own it is if the gate says so.
func counting(g *plan.DeployGate, f *facts) (who []string) {
	for _, a := range f.approvals {
		if mayApprove(g, a.By, f.own...) == "" && !containsFold(who, a.By) {
			who = append(who, a.By)
		}
	}
	return who
}

// mayApprove says why a person's approval does not count; "" if it does.
func mayApprove(g *plan.DeployGate, by string, own ...string) string {
	switch {
	case len(g.Approvers) > 0 && !containsFold(g.Approvers, by):
		return fmt.Sprintf("%s is not among those who approve: %s", by, strings.Join(g.Approvers, ", "))
	case g.NotAuthor && containsFold(own, by):
		return fmt.Sprintf("%s made the change or began the rollout, and somebody else has to approve it", by)
	}
	return ""
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func passedBy(g *plan.DeployGate, f *facts) string {
	if who := counting(g, f); len(who) > 0 {
		return "approved by " + strings.Join(who, ", ")
	}
	return ""
}

// frozen says in which window nothing is deployed now, and until when; "" when something may be.
func frozen(windows []plan.Window, now time.Time) (why string, until time.Time) {
	var opens time.Time // the next window in which something may be deployed, when there are any
	allowed, open := false, false
	for i := range windows {
		w := &windows[i]
		in, end, next := inside(w, now)
		switch {
		case w.Allow:
			allowed = true
			open = open || in
			if !next.IsZero() && (opens.IsZero() || next.Before(opens)) {
				opens = next
			}
		case in && end.After(until):
			why, until = fmt.Sprintf("%s: nothing is deployed until %s", or(w.Name, "freeze"), at(end, w.Zone)), end
		}
	}
	if why == "" && allowed && !open {
		if opens.IsZero() {
			return "for a window in which something is deployed, and there is none", time.Time{}
		}
		return "until " + opens.Format(time.DateTime) + " UTC, when something may be deployed again", opens
	}
	return why, until
}

// at is a time as the people of a zone say it.
func at(t time.Time, zone string) string {
	if place, err := time.LoadLocation(zone); err == nil {
		t = t.In(place)
	}
	return t.Format("Mon 2 Jan 15:04 MST")
}

// maxBegins is how many beginnings of a window are looked at: those that overlap are one.
const maxBegins = 10_000

// inside reports whether a time is in a window, when it ends then, and when the next one begins.
func inside(w *plan.Window, now time.Time) (in bool, end, next time.Time) {
	line := w.Cron
	if w.Zone != "" {
		line = "CRON_TZ=" + w.Zone + " " + line
	}
	begin, err := cron.Next(line, now.Add(-w.For))
	for i := 0; err == nil && !begin.IsZero() && i < maxBegins; i++ {
		if begin.After(now) && !(in && !begin.After(end)) {
			return in, end, begin
		}
		in, end = true, begin.Add(w.For)
		begin, err = cron.Next(line, begin)
	}
	return in, end, time.Time{}
}
