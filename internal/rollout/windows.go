package rollout

import (
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cron"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Span is a time in which a window is.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Name string    `json:"name,omitempty"`
	// Allow says that something is deployed then, and not that nothing is.
	Allow bool `json:"allow,omitempty"`
}

// Spans are the times of windows between two moments, in their order. What begins earlier or ends later is cut.
func Spans(windows []plan.Window, from, to time.Time) (all []Span) {
	for i := range windows {
		w := &windows[i]
		line := w.Cron
		if w.Zone != "" {
			line = "CRON_TZ=" + w.Zone + " " + line
		}
		var last *Span
		begin, err := cron.Next(line, from.Add(-w.For))
		for range maxBegins {
			if err != nil || begin.IsZero() || !begin.Before(to) {
				break
			}
			s := Span{From: later(begin, from).UTC(), To: earlier(begin.Add(w.For), to).UTC(), Name: w.Name, Allow: w.Allow}
			if last != nil && !s.From.After(last.To) {
				last.To = s.To // those that overlap are one
			} else {
				all = append(all, s)
				last = &all[len(all)-1]
			}
			begin, err = cron.Next(line, begin)
		}
	}
	slices.SortStableFunc(all, func(a, b Span) int { return a.From.Compare(b.From) })
	return all
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Frozen says why nothing is deployed now, going by windows alone; "" when something may be.
func Frozen(windows []plan.Window, now time.Time) string {
	why, _ := frozen(windows, now)
	return why
}

// Missing is how many approvals the gate of a rollout still takes.
func Missing(r *record.Rollout, author string) int {
	i := gateOf(r)
	if i < 0 || r.Emergency != "" {
		return 0
	}
	g := r.Plan.Moves[i].Gate
	return max(needed(g)-len(counting(g, &facts{approvals: r.Approvals, own: []string{r.By, author}})), 0)
}

// gateOf is the index of the gate that a rollout has not passed yet; -1 for none.
func gateOf(r *record.Rollout) int {
	i := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MoveGate })
	if i < r.Step || r.Back || r.State.Ended() {
		return -1
	}
	return i
}
