package measure

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Judged is a deployment with what became of it.
type Judged struct {
	Deployment
	// Repeat says that it brought what was there already: nothing changed.
	Repeat bool `json:"repeat,omitempty"`
	// Bad says why it counts as failed, with Evidence; "" if it does not.
	Bad      string   `json:"bad,omitempty"`
	Evidence Evidence `json:"evidence,omitempty"`
	// Restored is when what it broke was right again; zero: not yet, or not known.
	Restored time.Time `json:"restored,omitzero"`
	// Rework says why it counts as repair; "" if it does not.
	Rework string `json:"rework,omitempty"`
	// Incidents that it caused, by ID; Near are those that began soon after it and name no cause.
	Incidents []string `json:"incidents,omitempty"`
	Near      []string `json:"near,omitempty"`
}

// Evidence is by what a deployment is known to have failed, the strongest first.
type Evidence string

// The kinds of evidence.
const (
	ByRollback Evidence = "rollback" // it was taken back, or failed
	ByIncident Evidence = "incident" // an incident names it
	ByReturn   Evidence = "return"   // what was there before was deployed again
	ByRevert   Evidence = "revert"   // a commit that it brought was reverted in a later one
)

const (
	// failsWithin is how long after a deployment a return or a revert still says that it failed.
	failsWithin = 7 * 24 * time.Hour
	// nearWithin is how soon after it an incident that names no cause is named with it.
	nearWithin = 24 * time.Hour
)

// from is when users began to suffer from a deployment that failed.
func (d *Judged) from() time.Time {
	if d.Outcome != Succeeded && !d.Exposed.IsZero() {
		return d.Exposed
	}
	if d.Outcome != Succeeded {
		return d.Began
	}
	return d.Ended
}

// Recovery is how long it took to recover from it; ok is false if it did not fail, or is not over.
func (d *Judged) Recovery() (took time.Duration, ok bool) {
	if d.Bad == "" || d.Restored.IsZero() {
		return 0, false
	}
	return max(d.Restored.Sub(d.from()), 0), true
}

// Judge finds out which deployments failed, by what evidence, when service was restored, and
// which ones were repair. The order of its arguments does not matter; what it returns is by end.
func Judge(deployments []Deployment, incidents []record.Incident) []Judged {
	list := make([]Judged, len(deployments))
	for i := range deployments {
		list[i].Deployment = deployments[i]
	}
	slices.SortFunc(list, func(a, b Judged) int { return order(a.Deployment, b.Deployment) })
	places := map[string][]*Judged{} // by service and environment, in order
	for i := range list {
		d := &list[i]
		place := d.Repository + "\n" + d.Service + "\n" + d.Environment
		places[place] = append(places[place], d)
	}
	incidents = slices.Clone(incidents)
	slices.SortFunc(incidents, func(a, b record.Incident) int { return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID)) })
	for _, history := range places {
		judge(history, incidents)
	}
	return list
}

// judge judges the history of one service in one environment.
func judge(history []*Judged, incidents []record.Incident) {
	blame := func(d *Judged, by Evidence, why string, restored time.Time) {
		if d.Bad == "" {
			d.Bad, d.Evidence = why, by
		}
		if d.Restored.IsZero() || by == ByIncident && restored.After(d.Restored) {
			d.Restored = restored
		}
	}
	var serves *Judged // what is there
	for k, d := range history {
		switch {
		case d.Outcome == RolledBack:
			blame(d, ByRollback, cmp.Or(d.Reason, "it was taken back"), d.Ended)
			continue
		case d.Outcome == Failed:
			// Whatever is deployed next, and stays, ends it.
			blame(d, ByRollback, cmp.Or(d.Reason, "it could not be brought to an end"), time.Time{})
			for _, next := range history[k+1:] {
				if next.Outcome == Succeeded {
					d.Restored = next.Ended
					break
				}
			}
			continue
		}
		if serves != nil && d.Release == serves.Release {
			d.Repeat = true
			continue
		}
		for i := k - 1; serves != nil && i >= 0; i-- {
			if was := history[i]; was.Outcome == Succeeded && was.Release == d.Release && d.Ended.Sub(serves.Ended) <= failsWithin {
				blame(serves, ByReturn, "went back to "+cmp.Or(d.Version, d.Release), d.Ended)
				d.Rework = "went back from " + cmp.Or(serves.Version, serves.Release)
				break
			}
		}
		serves = d
	}
	reverts(history, blame)
	for i := range incidents {
		in := &incidents[i]
		linked := false
		for _, d := range history {
			if in.Rollout != "" && in.Rollout == d.Rollout || in.Run != "" && in.Run == d.Run && (in.Environment == "" || in.Environment == d.Environment) {
				linked = true
				d.Incidents = append(d.Incidents, in.ID)
				blame(d, ByIncident, "incident: "+in.Title, in.Resolved)
				repairs(history, d, in)
			}
		}
		if linked || in.Rollout != "" || in.Run != "" {
			continue
		}
		// Soon after the newest deployment to where it happened: named, not counted.
		began := in.Opened
		if !in.Began.IsZero() {
			began = in.Began
		}
		for _, d := range slices.Backward(history) {
			if in.Repository == d.Repository && in.Service == d.Service && in.Environment == d.Environment && !d.Ended.After(began) {
				if began.Sub(d.Ended) <= nearWithin && !d.Repeat {
					d.Near = append(d.Near, in.ID)
				}
				break
			}
		}
	}
	for _, d := range history {
		if d.Rework == "" && !d.Repeat {
			switch {
			case d.Emergency:
				d.Rework = "passed over the gates in an emergency"
			case strings.HasPrefix(d.Ref, "refs/heads/hotfix"):
				d.Rework = "of the branch " + strings.TrimPrefix(d.Ref, "refs/heads/")
			}
		}
	}
}

// repairs marks the deployments that were made because of an incident: they began while it was open.
func repairs(history []*Judged, cause *Judged, in *record.Incident) {
	for _, d := range history {
		if d != cause && d.Outcome == Succeeded && !d.Repeat && d.Rework == "" && d.Began.After(in.Opened) && (in.Resolved.IsZero() || d.Began.Before(in.Resolved)) {
			d.Rework = "during the incident " + in.Title
		}
	}
}

// reverts finds deployments that bring the revert of a commit of an earlier one.
func reverts(history []*Judged, blame func(d *Judged, by Evidence, why string, restored time.Time)) {
	brought := map[string]*Judged{} // by subject
	for _, d := range history {
		if d.Outcome != Succeeded || d.Repeat {
			continue
		}
		for _, c := range d.Commits {
			undone, ok := strings.CutPrefix(c.Subject, `Revert "`)
			if !ok {
				continue
			}
			undone = strings.TrimSuffix(undone, `"`)
			was := brought[undone]
			if was == nil || d.Ended.Sub(was.Ended) > failsWithin {
				continue
			}
			blame(was, ByRevert, "reverted: "+undone, d.Ended)
			if d.Rework == "" {
				d.Rework = "reverts: " + undone
			}
		}
		for _, c := range d.Commits {
			if c.Subject != "" {
				brought[c.Subject] = d
			}
		}
	}
}
