package insight

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/measure"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of what is kept in memory for the pages of delivery.
const (
	// maxMoments is how many things that happened to services are remembered: moves of rollouts, flags.
	maxMoments = 20_000
	// maxNotes is how many changes of one incident are.
	maxNotes = 500
	// before and after an incident: what happened then stands in its timeline.
	beforeIncident, afterIncident = 6 * time.Hour, time.Hour
	// maxTimeline is how many rows a timeline has.
	maxTimeline = 300
	// topDeployments is how many deployments stand behind a number on a page.
	topDeployments = 500
)

// DeliveryLog is the record as it is followed for numbers of delivery.
type DeliveryLog interface {
	Watch(ctx context.Context, seq int64) (int64, error)
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
}

// Deliveries answers how delivery goes. Each process folds the record in memory (package measure), up to the
// newest event before each answer; nothing is written down, since nothing is learned that is not in the
// record. Its fields are set once; its methods may be called by several goroutines.
type Deliveries struct {
	Log DeliveryLog

	mu      sync.Mutex
	seq     int64
	fold    measure.Fold
	moments []happening
	notes   map[string][]Moment // by incident
	judged  []measure.Judged    // of the fold as it is; nil: not yet
}

// Moment is something that happened, in a timeline.
type Moment struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // "opened", "noted", "linked", "resolved", "deployment", "flag"
	What string    `json:"what"` // one line
	Text string    `json:"text,omitempty"`
	By   string    `json:"by,omitempty"`
	// Rollout, Run or Flag it is of; "" for none.
	Rollout string `json:"rollout,omitempty"`
	Run     string `json:"run,omitempty"`
	Flag    string `json:"flag,omitempty"`
	Cause   bool   `json:"cause,omitempty"` // of the deployment that caused the incident
}

// happening is one with the place where it happened.
type happening struct {
	Moment
	repository, service, environment string // service "" is all of the repository's
}

// catchUp folds what is new. It holds mu.
func (d *Deliveries) catchUp(ctx context.Context) error {
	newest, err := d.Log.Watch(ctx, -1)
	if err != nil || newest <= d.seq {
		return err
	}
	for e, err := range d.Log.AfterKinds(ctx, d.seq, append(measure.Kinds(), "flag.changed")...) {
		switch {
		case err != nil && e.Seq == 0:
			return fmt.Errorf("read the record: %w", err)
		case err != nil: // one that cannot be read says nothing
			d.seq = e.Seq
			continue
		}
		d.fold.Apply(e)
		d.remember(e)
		d.seq, d.judged = e.Seq, nil
	}
	d.seq = max(d.seq, newest)
	return nil
}

// remember takes down what belongs into timelines.
func (d *Deliveries) remember(e record.Event) {
	switch b := e.Body.(type) {
	case *record.IncidentChanged:
		if d.notes == nil {
			d.notes = map[string][]Moment{}
		}
		if list := d.notes[b.Incident.ID]; len(list) < maxNotes {
			m := Moment{Time: e.Time, Kind: b.What, Text: b.Text, By: b.By, Rollout: b.Incident.Rollout, Run: b.Incident.Run}
			switch b.What {
			case "opened":
				m.What, m.By = "opened by "+b.Incident.OpenedBy, ""
			case "linked":
				m.What = "linked to no deployment"
				if ref := cmp.Or(b.Incident.Rollout, b.Incident.Run); ref != "" {
					m.What = "linked to the deployment that caused it: " + ref
				}
			case "resolved":
				m.What, m.By = "resolved by "+b.Incident.ResolvedBy, ""
			default:
				m.What = b.What
			}
			d.notes[b.Incident.ID] = append(list, m)
		}
	case *record.RolloutMoved:
		what := fmt.Sprintf("rollout %s of %s: %s", b.Rollout, cmp.Or(b.Version, b.Release), b.State)
		if b.Back {
			what += ", going back"
		} else if b.Move != "" && !b.State.Ended() {
			what += ", " + b.Move
		}
		d.happened(happening{Moment{Time: e.Time, Kind: "deployment", What: what, Text: b.Reason, By: b.By, Rollout: b.Rollout}, b.Repository, b.Service, b.Environment})
	case *record.FlagChanged:
		d.happened(happening{Moment{Time: e.Time, Kind: "flag", What: fmt.Sprintf("flag %s: %s", b.Flag, b.Act), Text: b.Why, By: b.By, Flag: b.Flag}, b.Repository, "", b.Environment})
	}
}

func (d *Deliveries) happened(m happening) {
	if d.moments = append(d.moments, m); len(d.moments) > maxMoments+maxMoments/10 {
		d.moments = slices.Delete(d.moments, 0, len(d.moments)-maxMoments)
	}
}

// all are the deployments, judged. It holds mu.
func (d *Deliveries) all() []measure.Judged {
	if d.judged == nil {
		d.judged = measure.Judge(d.fold.Deployments(), d.fold.Incidents())
	}
	return d.judged
}

// DeliveryAsk says which numbers are wanted.
type DeliveryAsk struct {
	Days        int    // back from the end
	Environment string // "" is production; "*" is all
	Repository  string
	Service     string
	Team        string
	Of          string // key of the number whose deployments are wanted; "" for none
}

// DeliveryView is how delivery goes.
type DeliveryView struct {
	Days         int            `json:"days"`
	Window       measure.Window `json:"window"`
	Environment  string         `json:"environment"` // that is counted; "" for all
	Environments []string       `json:"environments"`
	Repository   string         `json:"repository,omitempty"`
	Service      string         `json:"service,omitempty"`
	Team         string         `json:"team,omitempty"`
	Numbers      []DeliveryRow  `json:"numbers"`
	Services     []DeliveryOf   `json:"services"`
	Teams        []DeliveryOf   `json:"teams,omitempty"`
	// Builds are of the pipelines of the repositories, not of an environment.
	Builds []measure.BuildNumbers `json:"builds"`
	Open   []record.Incident      `json:"open_incidents"`
	// Of and Deployments are those behind a number, the newest first; More is how many are not shown.
	Of          string           `json:"of,omitempty"`
	Deployments []measure.Judged `json:"deployments,omitempty"`
	More        int              `json:"more,omitempty"`
}

// DeliveryRow is a number with its weeks.
type DeliveryRow struct {
	measure.Number
	Weeks []DeliveryWeek `json:"weeks"`
}

// DeliveryWeek is a number in a week.
type DeliveryWeek struct {
	From  time.Time `json:"from"`
	Known bool      `json:"known"`
	Value float64   `json:"value"`
	N     int       `json:"n"`
}

// DeliveryOf are the numbers of a service or a team.
type DeliveryOf struct {
	Repository string           `json:"repository,omitempty"`
	Name       string           `json:"name"`
	Numbers    []measure.Number `json:"numbers"`
}

// Numbers says how delivery goes, of the repositories that may be seen.
func (d *Deliveries) Numbers(ctx context.Context, ask DeliveryAsk, now time.Time, may func(repository string) bool) (*DeliveryView, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.catchUp(ctx); err != nil {
		return nil, err
	}
	now = now.UTC()
	v := &DeliveryView{Days: ask.Days, Window: measure.Window{From: now.AddDate(0, 0, -ask.Days), To: now}, Repository: ask.Repository, Service: ask.Service, Team: ask.Team,
		Environments: []string{}, Services: []DeliveryOf{}, Builds: []measure.BuildNumbers{}, Open: []record.Incident{}, Of: ask.Of}
	seen := slices.DeleteFunc(slices.Clone(d.all()), func(j measure.Judged) bool { return !may(j.Repository) })
	environments := map[string]bool{}
	for i := range seen {
		environments[seen[i].Environment] = true
	}
	v.Environments = slices.AppendSeq(v.Environments, maps.Keys(environments))
	slices.Sort(v.Environments)
	switch ask.Environment {
	case "":
		v.Environment = measure.Production(seen)
	case "*":
	default:
		v.Environment = ask.Environment
	}
	chosen := measure.Choose(seen, measure.Filter{Repository: ask.Repository, Service: ask.Service, Team: ask.Team, Environment: v.Environment})
	weeks, trend := measure.Trend(v.Window, chosen)
	for i, n := range measure.Numbers(v.Window, chosen) {
		row := DeliveryRow{Number: n, Weeks: []DeliveryWeek{}}
		for k := range weeks {
			x := trend[k][i]
			row.Weeks = append(row.Weeks, DeliveryWeek{weeks[k].From, x.Known, x.Value, x.N})
		}
		if v.Numbers = append(v.Numbers, row); n.Key == ask.Of {
			v.behind(n, chosen)
		}
	}
	services := measure.Group(chosen, func(j *measure.Judged) string { return j.Repository + "\n" + j.Service })
	for _, key := range slices.Sorted(maps.Keys(services)) {
		repository, name, _ := strings.Cut(key, "\n")
		v.Services = append(v.Services, DeliveryOf{repository, name, measure.Numbers(v.Window, services[key])})
	}
	teams := measure.Group(chosen, func(j *measure.Judged) string { return j.Team })
	for _, name := range slices.Sorted(maps.Keys(teams)) {
		v.Teams = append(v.Teams, DeliveryOf{Name: name, Numbers: measure.Numbers(v.Window, teams[name])})
	}
	for _, b := range measure.Builds(v.Window, d.fold.Builds()) {
		if may(b.Repository) && (ask.Repository == "" || ask.Repository == b.Repository) {
			v.Builds = append(v.Builds, b)
		}
	}
	for _, i := range d.fold.Incidents() {
		if i.Resolved.IsZero() && may(i.Repository) && (ask.Repository == "" || ask.Repository == i.Repository) {
			v.Open = append(v.Open, i)
		}
	}
	return v, nil
}

// behind are the deployments that a number is made from.
func (v *DeliveryView) behind(n measure.Number, chosen []measure.Judged) {
	ids := map[string]bool{}
	for _, id := range n.Events {
		ids[id] = true
	}
	for _, j := range slices.Backward(chosen) {
		switch {
		case !ids[j.ID] || !v.Window.Has(j.Ended):
		case len(v.Deployments) < topDeployments:
			v.Deployments = append(v.Deployments, j)
		default:
			v.More++
		}
	}
}

// IncidentStory is an incident with all that happened around it.
type IncidentStory struct {
	record.Incident
	Timeline []Moment `json:"timeline"` // the oldest first
	// Cause is the deployment that caused it, Near those that ended shortly before where it happened, the
	// newest first, while none is named.
	Cause *measure.Judged  `json:"cause,omitempty"`
	Near  []measure.Judged `json:"near,omitempty"`
}

// Incident is the story of one; nil when the record has none of that ID.
func (d *Deliveries) Incident(ctx context.Context, id string, now time.Time) (*IncidentStory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.catchUp(ctx); err != nil {
		return nil, err
	}
	all := d.fold.Incidents()
	at := slices.IndexFunc(all, func(i record.Incident) bool { return i.ID == id })
	if at < 0 {
		return nil, nil
	}
	s := &IncidentStory{Incident: all[at], Timeline: slices.Clone(d.notes[id])}
	began, over := s.Opened, s.Resolved
	if !s.Began.IsZero() {
		began = s.Began
		s.Timeline = append(s.Timeline, Moment{Time: began, Kind: "began", What: "it began"})
	}
	if over.IsZero() {
		over = now
	}
	span := measure.Window{From: began.Add(-beforeIncident), To: over.Add(afterIncident)}
	for i := range d.moments {
		m := &d.moments[i]
		cause := s.Rollout != "" && m.Rollout == s.Rollout
		near := span.Has(m.Time) && m.repository == s.Repository && (m.service == "" || s.Service == "" || m.service == s.Service) && (s.Environment == "" || m.environment == s.Environment)
		if cause || near {
			m := m.Moment
			m.Cause = cause
			s.Timeline = append(s.Timeline, m)
		}
	}
	for _, j := range slices.Backward(d.all()) {
		there := j.Repository == s.Repository && (s.Service == "" || j.Service == s.Service) && (s.Environment == "" || j.Environment == s.Environment)
		switch {
		case s.Rollout != "" && j.Rollout == s.Rollout, s.Run != "" && j.Run == s.Run && (s.Environment == "" || j.Environment == s.Environment):
			s.Cause = &j
		case there && s.Rollout == "" && s.Run == "" && !j.Ended.After(began) && began.Sub(j.Ended) <= 24*time.Hour && len(s.Near) < 5:
			s.Near = append(s.Near, j)
		}
		if there && j.Run != "" && span.Has(j.Ended) || j.Run != "" && j.Run == s.Run {
			s.Timeline = append(s.Timeline, Moment{Time: j.Ended, Kind: "deployment", What: fmt.Sprintf("run %s deployed %s to %s", j.Run, j.Version, j.Environment), Run: j.Run, Cause: s.Run != "" && j.Run == s.Run})
		}
	}
	slices.SortStableFunc(s.Timeline, func(a, b Moment) int { return a.Time.Compare(b.Time) })
	s.Timeline = s.Timeline[max(len(s.Timeline)-maxTimeline, 0):]
	return s, nil
}

// Gauges are the numbers of the last four weeks for a monitoring system, of each repository's production.
func (d *Deliveries) Gauges(ctx context.Context, now time.Time) ([]measure.Number, int, error) {
	v, err := d.Numbers(ctx, DeliveryAsk{Days: 28}, now, func(string) bool { return true })
	if err != nil {
		return nil, 0, err
	}
	list := make([]measure.Number, len(v.Numbers))
	for i := range v.Numbers {
		list[i] = v.Numbers[i].Number
	}
	return list, len(v.Open), nil
}
