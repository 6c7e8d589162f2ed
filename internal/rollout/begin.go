package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of a wish.
const (
	maxGroup   = 50
	maxText    = 4096 // of reasons
	maxCommits = 250
)

// Wish asks for a rollout.
type Wish struct {
	Repository, Service, Environment string
	Release                          string // ID
	Why                              string
	Emergency                        string          // why gates are passed over; "" if they are not
	Again                            bool            // also when the release is there already: what has drifted is put right
	Commits                          []record.Commit // what it brings, newest first
	Expires                          time.Time       // of a preview; zero: its environment says it
	URL                              string          // where the service is then; "" is its environment's

	direct bool // a way back
	gone   bool // the service leaves the environment
}

// ProblemsError says that a rollout cannot be begun because of what the files of the
// repository or the target say.
type ProblemsError struct{ Problems []plan.Problem }

func (e *ProblemsError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Message
		if p.Hint != "" {
			lines[i] += "; " + p.Hint
		}
	}
	return strings.Join(lines, "\n")
}

// Begin begins a rollout, and supersedes the one that is under way there. Nothing is moved
// yet: see [Mover.Move] and [Mover.Serve]. The error is a [*plan.UsageError] or a [*ProblemsError] when it cannot be.
func (m *Mover) Begin(ctx context.Context, by launch.By, w Wish) (*record.Rollout, error) {
	rows, err := m.BeginAll(ctx, by, []Wish{w})
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// BeginAll begins rollouts of several services in one transaction. They go out one after the other, in the order
// given. When one of them is taken back, so are those before it, the last first, as long as
// their old releases are kept.
func (m *Mover) BeginAll(ctx context.Context, by launch.By, wishes []Wish) ([]*record.Rollout, error) {
	if len(wishes) == 0 || len(wishes) > maxGroup {
		return nil, &plan.UsageError{Message: fmt.Sprintf("%d rollouts at once are not between 1 and %d", len(wishes), maxGroup)}
	}
	for try := 0; ; try++ {
		rows, err := m.begin(ctx, by, wishes)
		if !errors.Is(err, record.ErrConflict) || try == maxTries {
			return rows, err
		}
	}
}

func (m *Mover) begin(ctx context.Context, by launch.By, wishes []Wish) ([]*record.Rollout, error) {
	var rows []*record.Rollout
	var changes []record.Register
	var events []record.Event
	var group []string
	for i := range wishes {
		p, err := m.prepare(ctx, by, &wishes[i])
		if err != nil {
			return nil, err
		}
		if slices.Contains(group, p.row.ID) {
			return nil, &plan.UsageError{Message: fmt.Sprintf("%s is asked for twice in %s", p.row.Service, p.row.Environment)}
		}
		rows, group = append(rows, p.row), append(group, p.row.ID)
		changes, events = append(changes, p.changes...), append(events, p.events...)
	}
	for _, row := range rows {
		if len(rows) > 1 {
			row.Group = group
		}
		changes = append(changes, register(RolloutKind, row.ID, 0, row))
		b := moved(row, nil, by)
		b.Commits = row.Commits
		detail := map[string]string{"service": row.Service, "environment": row.Environment, "release": row.To, "version": row.Version}
		if row.Emergency != "" {
			detail["emergency"] = row.Emergency
		}
		events = append(events, record.Event{Body: b}, by.Acted(Deploy, row.Repository, detail))
	}
	if _, err := m.Store.Change(ctx, changes, events...); err != nil {
		return nil, fmt.Errorf("begin the rollout of %s: %w", rows[0].Service, err)
	}
	return rows, nil
}

// prepared is what a wish comes to.
type prepared struct {
	row     *record.Rollout
	changes []record.Register // without the row
	events  []record.Event
}

// prepare finds out whether a wish can be fulfilled, and what is to be written for it.
func (m *Mover) prepare(ctx context.Context, by launch.By, w *Wish) (*prepared, error) {
	cannot := func(hint, format string, args ...any) error {
		return &plan.UsageError{Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	if len(w.Why) > maxText || len(w.Emergency) > maxText {
		return nil, cannot("", "a reason has at most %d bytes", maxText)
	}
	track, trackAt, err := m.track(ctx, w.Repository, w.Service, w.Environment)
	if err != nil {
		return nil, err
	}
	id := w.Release // of the one that says how the service runs
	switch {
	case w.gone && track.Number == 0:
		return nil, cannot("", "%s was never in %s", w.Service, w.Environment)
	case w.gone:
		if id, err = m.known(ctx, track); err != nil {
			return nil, err
		}
	}
	release, err := m.Release(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case release == nil:
		return nil, cannot("the list of releases has their IDs", "there is no release %.80q", w.Release)
	case !w.gone && (release.Repository != w.Repository || release.Service != w.Service):
		return nil, cannot("", "release %s is one of %s of %s, not of %s", release.Version, release.Service, release.Repository, w.Service)
	}
	env, err := m.Projects.Environment(ctx, w.Repository, w.Environment)
	if err != nil {
		return nil, err
	}
	if why := refusedRef(env, release); why != "" && !w.direct && !w.gone {
		return nil, cannot("", "%s", why)
	}
	if rejected, is := track.Rejected[w.Release]; is && !w.gone {
		return nil, cannot("lift that first, if it is to go out all the same", "%s of %s was rejected in %s on %s: %s",
			release.Version, w.Service, w.Environment, rejected.Time.Format(time.DateTime), rejected.Why)
	}

	now := time.Now().UTC()
	p := &prepared{row: &record.Rollout{Repository: w.Repository, Service: w.Service, Environment: w.Environment, Number: track.Number + 1,
		From: track.Release, FromNumber: track.Revision, To: w.Release, Version: release.Version, By: by.Name, Why: w.Why, Emergency: w.Emergency,
		Commits: w.Commits[:min(len(w.Commits), maxCommits)], State: record.RolloutRunning, Fence: track.Fence, Begun: now, Entered: now, Moved: now}}
	row := p.row
	row.ID = RolloutID(w.Repository, w.Service, w.Environment, row.Number)
	broken := false // what was under way before left something
	if track.Number > 0 {
		prior, at, err := m.row(ctx, RolloutID(w.Repository, w.Service, w.Environment, track.Number))
		if err != nil {
			return nil, err
		}
		broken = prior.State != record.RolloutDone && prior.State != record.RolloutRolledBack && prior.State != record.RolloutAborted
		if !prior.State.Ended() {
			if prior.To == w.Release && !prior.Back && !w.gone {
				return nil, cannot("", "%s is on its way to %s already: rollout %s", release.Version, w.Environment, prior.ID)
			}
			for key, in := range prior.Intents {
				if in.Done.IsZero() {
					return nil, cannot("wait for it, or say what became of it", "rollout %s is in the middle of %s, which cannot be broken off", prior.ID, key)
				}
			}
			row.From, row.FromNumber = stable(prior)
			e := edit{row: prior, track: track, now: now, by: by}
			e.end(record.RolloutSuperseded, "superseded by "+release.Version)
			if w.gone {
				prior.Reason = "superseded: the service goes away"
			}
			prior.Entered = now
			p.changes = append(p.changes, register(RolloutKind, prior.ID, at, prior))
			p.events = append(p.events, record.Event{Body: moved(prior, nil, by)})
		}
	}
	if row.From == w.Release && !w.Again && !w.gone && row.From != "" {
		return nil, cannot("", "%s of %s is in %s already", release.Version, w.Service, w.Environment)
	}
	if err := m.plan(ctx, p, w, release, env, broken); err != nil {
		return nil, err
	}
	e := edit{row: row, track: track, now: now, by: by}
	e.begin()
	track.Number, track.Rollout, track.Driver, track.Order = row.Number, row.ID, row.Plan.Driver, env.Order
	if spec, err := specOf(release); err == nil {
		track.Team = spec.Team
	}
	if track.URL = w.URL; track.URL == "" {
		track.URL = env.URL
	}
	if track.Expires = w.Expires; track.Expires.IsZero() && env.Preview && env.Expires > 0 {
		track.Expires = now.Add(env.Expires)
	}
	if w.direct && !w.Again {
		e.reject(track.Release, "rolled back by "+by.Name+reason(w.Why))
	}
	p.events = append(p.events, e.events...)
	p.changes = append(p.changes, register(TrackKind, TrackID(w.Repository, w.Environment, w.Service), trackAt, track))
	return p, nil
}

// known is a release that says how what is there of a service runs: that serves, or that was to.
func (m *Mover) known(ctx context.Context, t *record.Track) (string, error) {
	if t.Release != "" {
		return t.Release, nil
	}
	all, err := m.Rollouts(ctx, t.Repository, t.Service, t.Environment)
	for i := range all {
		if all[i].To != "" {
			return all[i].To, err
		}
	}
	return "", err
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// stable is the release that a rollout under way can be relied on to have left: the new one only when it has
// been through all that it had to prove.
func stable(r *record.Rollout) (release string, number int) {
	proved := slices.IndexFunc(r.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MoveRetire })
	if proved >= 0 && r.Step >= proved && !r.Back {
		return r.To, r.Number
	}
	return r.From, r.FromNumber
}

// plan compiles the moves, and asks the driver whether it could do them.
func (m *Mover) plan(ctx context.Context, p *prepared, w *Wish, release *record.Release, env *project.DeployEnvironment, broken bool) error {
	row := p.row
	spec, err := specOf(release)
	if err != nil {
		return err
	}
	if spec.Name == "" {
		spec.Name = w.Service
	}
	driver := m.Drivers[spec.Driver()]
	if spec.Driver() == "" && release.Artifact.Kind == FlagArtifact {
		driver = m.Drivers[FlagDriver]
	}
	if driver == nil {
		return &plan.UsageError{Message: fmt.Sprintf("%s is deployed by %s, which this Fairlead does not know", w.Service, or(spec.Driver(), "nothing"))}
	}
	target := m.target(row, spec)
	target.Fence = 0 // only looks
	caps := driver.Capabilities(target)
	var problems []plan.Problem
	switch {
	case w.gone:
		row.Plan, row.To, row.Version = deploy.Gone(spec, w.Environment), "", ""
	case w.direct || w.Again && row.From == w.Release:
		row.Plan = deploy.Direct(spec, env, caps)
	default:
		row.Plan, problems = deploy.Compile(spec, env, caps, row.FromNumber > 0 || !caps.Instances && caps.Split)
	}
	if row.Plan.Driver == "" {
		row.Plan.Driver = FlagDriver
	}
	if plan.Errors(problems) {
		return &ProblemsError{problems}
	}
	if broken && (caps.Instances || caps.Split) && !w.gone {
		row.Plan.Moves = append([]plan.Move{deploy.Reset(spec)}, row.Plan.Moves...)
	}
	if w.gone {
		return nil
	}
	if err := m.recall(ctx, row); err != nil {
		return err
	}
	rev, err := m.revision(ctx, row.Environment, row.Number, release)
	if err != nil {
		return err
	}
	if target.Root, err = m.Projects.Tree(ctx, row.Repository, release.Commit); err != nil {
		return fmt.Errorf("get the files of %s: %w", release.Version, err)
	}
	problems, err = driver.Check(ctx, target, rev)
	switch {
	case err != nil:
		return fmt.Errorf("look whether %s can be deployed to %s: %w", release.Version, w.Environment, err)
	case plan.Errors(problems):
		return &ProblemsError{problems}
	}
	return nil
}

// recall takes over the migrations of the same release that were done here before: each is done once.
func (m *Mover) recall(ctx context.Context, row *record.Rollout) error {
	if !slices.ContainsFunc(row.Plan.Moves, func(mv plan.Move) bool { return mv.Kind == plan.MoveMigrate }) {
		return nil
	}
	all, err := m.Rollouts(ctx, row.Repository, row.Service, row.Environment)
	if err != nil {
		return err
	}
	for _, mv := range row.Plan.Moves {
		if mv.Kind != plan.MoveMigrate {
			continue
		}
		for i := range all {
			in, ok := all[i].Intents[mv.Key]
			if !ok || all[i].To != row.To || in.Done.IsZero() || in.Error != "" {
				continue
			}
			if row.Intents == nil {
				row.Intents = map[string]record.Intent{}
			}
			row.Intents[mv.Key] = in
			break
		}
	}
	return nil
}

// refusedRef says why a release may not be deployed to an environment because of where it comes from; "" if it may.
func refusedRef(env *project.DeployEnvironment, r *record.Release) string {
	if len(env.Branches) == 0 {
		return ""
	}
	name, _ := strings.CutPrefix(r.Ref, "refs/heads/")
	name, _ = strings.CutPrefix(name, "refs/tags/")
	for _, p := range env.Branches {
		if ok, err := path.Match(p, name); ok && err == nil && name != "" {
			return ""
		}
	}
	return fmt.Sprintf("%s comes from %s, and %s takes %s", r.Version, or(r.Ref, "no branch"), env.Name, strings.Join(env.Branches, ", "))
}

func or(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// specOf is how a release says that its service runs.
func specOf(r *record.Release) (*project.Service, error) {
	s := new(project.Service)
	if len(r.Spec) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(r.Spec, s); err != nil {
		return nil, fmt.Errorf("read how release %s runs: %w", r.ID, err)
	}
	return s, nil
}

// target is what a rollout moves.
func (m *Mover) target(row *record.Rollout, spec *project.Service) *deploy.Target {
	return &deploy.Target{Repository: row.Repository, Service: row.Service, Environment: row.Environment, Fence: row.Fence, Rollout: row.ID, Number: row.Number,
		Spec: spec, Log: func(line string) { m.say(row.ID, line) }}
}

// revision is a release with its configuration, secrets and bytes at hand.
func (m *Mover) revision(ctx context.Context, environment string, number int, r *record.Release) (*deploy.Revision, error) {
	spec, err := specOf(r)
	if err != nil {
		return nil, err
	}
	rev := &deploy.Revision{Number: number, Release: r, Spec: spec, Env: map[string]string{}}
	c := r.Config[environment]
	for k, v := range c.Variables {
		rev.Env[k] = v
	}
	if len(c.Secrets) > 0 {
		var names []string
		for variable, name := range c.Secrets {
			rev.Secret, names = append(rev.Secret, variable), append(names, name)
		}
		slices.Sort(rev.Secret)
		slices.Sort(names)
		if m.Secrets == nil {
			return nil, &plan.UsageError{Message: fmt.Sprintf("%s needs the secrets %s, and there are none here", r.Service, strings.Join(names, ", "))}
		}
		values, err := m.Secrets.Open(ctx, r.Repository, environment, slices.Compact(names))
		if err != nil {
			return nil, fmt.Errorf("open the secrets of %s in %s: %w", r.Service, environment, err)
		}
		for variable, name := range c.Secrets {
			rev.Env[variable] = values[name]
		}
	}
	if k := r.Artifact.Kind; (k == "file" || k == "tree") && m.Artifacts != nil {
		digest, err := blob.Parse(r.Artifact.Digest)
		if err != nil {
			return nil, fmt.Errorf("the artifact of release %s: %w", r.ID, err)
		}
		rev.Open = func(ctx context.Context) (io.ReadCloser, error) { return m.Artifacts.Open(ctx, digest) }
	}
	return rev, nil
}
