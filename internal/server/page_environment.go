package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
)

const (
	// shownRollouts is how many rollouts the page of an environment has.
	shownRollouts = 30
	// week is what the plot of windows shows.
	week = 7 * 24 * time.Hour
)

// broughtBy is the rollout that brought what a track has.
func broughtBy(t *record.Track) string {
	return rollout.RolloutID(t.Repository, t.Service, t.Environment, t.Revision)
}

// EnvironmentView is one environment of a repository.
type EnvironmentView struct {
	Repository   string               `json:"repository"`
	Environment  string               `json:"environment"`
	Environments []string             `json:"environments"`
	Services     []EnvironmentService `json:"services"`
	Rollouts     []RolloutRow         `json:"rollouts"` // the newest first
	URL          string               `json:"url,omitempty"`
	Gate         *plan.DeployGate     `json:"gate,omitempty"`   // as fairlead.yaml has it
	Branches     []string             `json:"branches"`         // that alone go there; none: all
	Unread       string               `json:"unread,omitempty"` // why fairlead.yaml could not be asked
	Frozen       string               `json:"frozen,omitempty"` // why nothing is deployed now
	Windows      []rollout.Span       `json:"windows"`          // of the next seven days
	From         time.Time            `json:"from"`             // when those begin
	Contrast     *insight.Contrast    `json:"contrast,omitempty"`
	With         string               `json:"with,omitempty"`
}

// EnvironmentService is a service there.
type EnvironmentService struct {
	Service  string              `json:"service"`
	Cell     DeploymentCell      `json:"deployed"`
	Drift    []record.Difference `json:"differences"`
	Looked   time.Time           `json:"looked,omitzero"` // for drift
	Rejected []RejectedRelease   `json:"rejected"`
}

// RejectedRelease is a release that does not go there again.
type RejectedRelease struct {
	Release string    `json:"release"`
	Version string    `json:"version"`
	Why     string    `json:"why"`
	Rollout string    `json:"rollout"`
	Time    time.Time `json:"time"`
}

func (s *Server) environment(r *request) (v EnvironmentView, err error) {
	if s.Board == nil || s.Mover == nil {
		return v, lacking("deployments")
	}
	ctx := r.Context()
	v.Repository, v.Environment, v.With = r.PathValue("repository"), r.URL.Query().Get("environment"), r.URL.Query().Get("with")
	v.Services, v.Rollouts, v.Branches, v.Windows = []EnvironmentService{}, []RolloutRow{}, []string{}, []rollout.Span{}
	m, err := s.Board.Matrix(ctx, v.Repository)
	if err != nil {
		return v, err
	}
	v.Environments = slices.Concat([]string{}, m.Environments, m.Previews)
	if v.Environment == "" && len(v.Environments) > 0 {
		v.Environment = v.Environments[max(len(m.Environments)-1, 0)]
	}
	at := slices.Index(v.Environments, v.Environment)
	if at >= 0 {
		for i := range m.Rows {
			if c := m.Rows[i].Cells[at]; c.Track != nil {
				one, err := s.environmentService(ctx, c)
				if err != nil {
					return v, err
				}
				v.Services = append(v.Services, one)
				all, err := s.Mover.Rollouts(ctx, v.Repository, c.Service, v.Environment)
				if err != nil {
					return v, err
				}
				for k := range all[:min(len(all), shownRollouts)] {
					v.Rollouts = append(v.Rollouts, rolloutRow(&all[k]))
				}
				if v.URL == "" {
					v.URL = c.URL
				}
			}
		}
	}
	slices.SortStableFunc(v.Rollouts, func(a, b RolloutRow) int { return b.Begun.Compare(a.Begun) })
	v.Rollouts = v.Rollouts[:min(len(v.Rollouts), shownRollouts)]
	if err := s.environmentFile(ctx, &v); err != nil {
		return v, err
	}
	if v.With != "" && at >= 0 {
		v.Contrast, err = s.Board.Contrast(ctx, v.Repository, v.Environment, v.With)
	}
	return v, err
}

// environmentFile adds what fairlead.yaml says of the environment.
func (s *Server) environmentFile(ctx context.Context, v *EnvironmentView) error {
	v.From = s.Now().UTC().Truncate(24 * time.Hour)
	if v.Environment == "" {
		return nil
	}
	env, err := s.Mover.Projects.Environment(ctx, v.Repository, v.Environment)
	if use := new(plan.UsageError); errors.As(err, &use) {
		v.Unread = use.Message
		return nil // also one that only pipelines know has a page
	}
	if err != nil {
		return err
	}
	v.Gate, v.Branches = &env.Gate, slices.Concat(v.Branches, env.Branches)
	if env.URL != "" {
		v.URL = env.URL
	}
	v.Frozen = rollout.Frozen(env.Gate.Freezes, s.Now().UTC())
	v.Windows = slices.Concat(v.Windows, rollout.Spans(env.Gate.Freezes, v.From, v.From.Add(week)))
	return nil
}

func (s *Server) environmentService(ctx context.Context, c insight.MatrixCell) (EnvironmentService, error) {
	e := EnvironmentService{Service: c.Service, Cell: deploymentCell(c.Track, c.Behind), Drift: []record.Difference{}, Rejected: []RejectedRelease{}}
	if d := c.Drift; d != nil {
		e.Drift, e.Looked = slices.Concat(e.Drift, d.Differences), d.Time
	}
	for id, x := range c.Track.Rejected {
		row := RejectedRelease{Release: id, Version: cutText(id, 19), Why: x.Why, Rollout: x.Rollout, Time: x.Time}
		release, err := s.Mover.Release(ctx, id)
		if err != nil {
			return e, err
		}
		if release != nil {
			row.Version = release.Version
		}
		e.Rejected = append(e.Rejected, row)
	}
	slices.SortFunc(e.Rejected, func(a, b RejectedRelease) int { return b.Time.Compare(a.Time) })
	return e, nil
}

// Others are the environments that it can be compared with.
func (v EnvironmentView) Others() []string {
	return slices.DeleteFunc(slices.Clone(v.Environments), func(name string) bool { return name == v.Environment })
}

// weekDay is a day in the plot of windows.
type weekDay struct {
	Name  string
	Title string
	Parts []weekPart
}

// weekPart is a window, or a part of one, on a day: places in percent of the day.
type weekPart struct {
	X, W  float64
	Class string
	Title string
}

// Week draws the windows day by day.
func (v EnvironmentView) Week() (days []weekDay) {
	if len(v.Windows) == 0 {
		return nil
	}
	for from := v.From; from.Before(v.From.Add(week)); from = from.Add(24 * time.Hour) {
		to := from.Add(24 * time.Hour)
		d := weekDay{Name: from.Format("Mon 2 Jan"), Title: from.Format("Monday") + ": "}
		for _, w := range v.Windows {
			if !w.From.Before(to) || !w.To.After(from) {
				continue
			}
			begin, end := max(w.From.Sub(from), 0), min(w.To.Sub(from), 24*time.Hour)
			p := weekPart{X: 100 * begin.Hours() / 24, W: 100 * (end - begin).Hours() / 24, Class: "frozen", Title: "nothing is deployed"}
			if w.Allow {
				p.Class, p.Title = "open", "may be deployed"
			}
			p.Title += " from " + w.From.Format("Mon 15:04") + " to " + w.To.Format("Mon 15:04") + " UTC"
			if w.Name != "" {
				p.Title = w.Name + ": " + p.Title
			}
			d.Parts = append(d.Parts, p)
			d.Title += p.Title + ". "
		}
		if len(d.Parts) == 0 {
			d.Title += "no window"
		}
		days = append(days, d)
	}
	return days
}

// ReleaseView is one release of a service.
type ReleaseView struct {
	Release  record.Release  `json:"release"`
	Short    string          `json:"-"`
	Names    []ReleaseConfig `json:"config"` // names alone
	Places   []ReleasePlace  `json:"places"`
	Targets  []string        `json:"targets"` // environments where the service is, was, or is configured for
	Rollouts []RolloutRow    `json:"rollouts"`
}

// ReleaseConfig are the names of a release's configuration in an environment.
type ReleaseConfig struct {
	Environment string   `json:"environment"`
	Variables   []string `json:"variables"`
	Secrets     []string `json:"secrets"`
}

// ReleasePlace is how a release stands in an environment.
type ReleasePlace struct {
	Environment string            `json:"environment"`
	Serves      bool              `json:"serves"`
	Since       time.Time         `json:"since,omitzero"`
	Other       string            `json:"other,omitempty"` // the version that serves instead
	Rollout     string            `json:"rollout,omitempty"`
	Rejected    *record.Rejection `json:"rejected,omitempty"`
}

// releaseObject is what the verbs of a release are done to.
func (s *Server) releaseObject(r *request) (access.Object, error) {
	release, err := s.releaseOf(r)
	if err != nil {
		return access.Object{}, err
	}
	return access.Object{Repository: release.Repository}, nil
}

func (s *Server) releaseOf(r *request) (*record.Release, error) {
	if s.Mover == nil {
		return nil, lacking("deployments")
	}
	release, err := s.Mover.Release(r.Context(), r.PathValue("release"))
	if err == nil && release == nil {
		err = missing("release")
	}
	return release, err
}

func (s *Server) deployedRelease(r *request) (v ReleaseView, err error) {
	release, err := s.releaseOf(r)
	if err != nil {
		return v, err
	}
	v = ReleaseView{Release: *release, Short: cutText(release.ID, 19), Names: []ReleaseConfig{}, Places: []ReleasePlace{}, Targets: []string{}, Rollouts: []RolloutRow{}}
	for name, c := range release.Config {
		v.Names = append(v.Names, ReleaseConfig{name, sortedKeys(c.Variables), sortedKeys(c.Secrets)})
		v.Targets = append(v.Targets, name)
	}
	slices.SortFunc(v.Names, func(a, b ReleaseConfig) int { return cmpText(a.Environment, b.Environment) })
	tracks, err := s.Mover.Tracks(r.Context(), release.Repository)
	if err != nil {
		return v, err
	}
	for i := range tracks {
		t := &tracks[i]
		if t.Service != release.Service {
			continue
		}
		v.Targets = append(v.Targets, t.Environment)
		p := ReleasePlace{Environment: t.Environment, Serves: t.Release == release.ID, Other: t.Version}
		if p.Serves {
			p.Since, p.Other = t.Since, ""
		}
		if x, is := t.Rejected[release.ID]; is {
			p.Rejected = &x
		}
		all, err := s.Mover.Rollouts(r.Context(), release.Repository, release.Service, t.Environment)
		if err != nil {
			return v, err
		}
		for k := range all {
			if all[k].To == release.ID {
				v.Rollouts = append(v.Rollouts, rolloutRow(&all[k]))
				if all[k].ID == t.Rollout {
					p.Rollout = t.Rollout
				}
			}
		}
		v.Places = append(v.Places, p)
	}
	slices.SortStableFunc(v.Places, func(a, b ReleasePlace) int { return cmpText(a.Environment, b.Environment) })
	slices.Sort(v.Targets)
	v.Targets = slices.Compact(v.Targets)
	slices.SortStableFunc(v.Rollouts, func(a, b RolloutRow) int { return b.Begun.Compare(a.Begun) })
	return v, nil
}

// ServiceReleasesView are the releases of a service.
type ServiceReleasesView struct {
	Releases []record.Release `json:"releases"`
}

func (s *Server) serviceReleases(r *request) (v ServiceReleasesView, err error) {
	if s.Mover == nil {
		return v, lacking("deployments")
	}
	all, err := s.Mover.Releases(r.Context(), r.PathValue("repository"), r.URL.Query().Get("service"))
	v.Releases = slices.Concat([]record.Release{}, all)
	return v, err
}

// deployedFields are the hidden fields of a form about a service in an environment.
type deployedFields struct{ CSRF, Back, Environment, Service string }

func deployedForm(p *Page, environment, service string) deployedFields {
	return deployedFields{p.CSRF, withQuery(p), environment, service}
}
