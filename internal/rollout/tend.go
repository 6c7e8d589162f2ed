package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	// tendEvery is how often what is deployed is looked at, by whichever server holds tendLease.
	tendEvery = 30 * time.Second
	tendLease = "rollout/tend"
	// tendAtMost is how long a look at one service may take.
	tendAtMost = 2 * time.Minute
	// maxDifferences is how many differences are kept; the others are counted.
	maxDifferences = 200
)

// there is what is deployed of a service, with its driver.
type there struct {
	track    *record.Track
	version  int64 // of the track
	target   *deploy.Target
	revision *deploy.Revision
	driver   deploy.Driver
	caps     deploy.Capabilities
}

// deployed is what is deployed. The error is a [*plan.UsageError] when nothing is.
func (m *Mover) deployed(ctx context.Context, repository, service, environment string) (*there, error) {
	t, at, err := m.track(ctx, repository, service, environment)
	if err != nil {
		return nil, err
	}
	if t.Release == "" {
		return nil, &plan.UsageError{Message: fmt.Sprintf("nothing of %s is in %s", service, environment)}
	}
	row, err := m.Rollout(ctx, RolloutID(repository, service, environment, t.Revision))
	if err != nil {
		return nil, err
	}
	release, err := m.Release(ctx, t.Release)
	if err != nil {
		return nil, err
	}
	if release == nil {
		return nil, fmt.Errorf("release %s of %s is not in the record", t.Release, service)
	}
	x := &there{track: t, version: at, driver: m.Drivers[row.Plan.Driver]}
	if x.driver == nil {
		return nil, fmt.Errorf("this Fairlead knows no driver %q", row.Plan.Driver)
	}
	if x.revision, err = m.revision(ctx, environment, t.Revision, release); err != nil {
		return nil, err
	}
	x.target = m.target(row, x.revision.Spec)
	x.target.Fence = 0 // only looks
	if x.target.Root, err = m.Projects.Tree(ctx, repository, release.Commit); err != nil {
		return nil, fmt.Errorf("get the files of %s: %w", release.Version, err)
	}
	x.caps = x.driver.Capabilities(x.target)
	return x, nil
}

// Observe looks how the instances of a service are, and keeps that with its track. It is nil where the driver
// runs no instances.
func (m *Mover) Observe(ctx context.Context, repository, service, environment string) (*record.Health, error) {
	x, err := m.deployed(ctx, repository, service, environment)
	if err != nil || !x.caps.Instances {
		return nil, err
	}
	h := record.Health{Want: x.revision.Spec.In(environment), Time: time.Now().UTC()}
	w, err := x.driver.Observe(ctx, x.target)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		h.Why = clip(err.Error())
	default:
		seen := w.Revision(x.track.Revision)
		if seen != nil {
			h.Ready = seen.Ready()
		}
		if h.Ready < h.Want {
			if h.Why = whyNot(seen); h.Why != "" {
				h.Why = clip(h.Why[len(": "):])
			}
		}
	}
	return &h, m.note(ctx, x.track, func(t *record.Track) bool {
		was := t.Health
		t.Health = &h
		// What has not changed is written down now and then, so that people see that it is still looked at.
		return was == nil || was.Ready != h.Ready || was.Want != h.Want || was.Why != h.Why || h.Time.Sub(was.Time) >= 10*tendEvery
	})
}

// Drift compares what is deployed with what there is, keeps the differences with the track, and tells of
// them when they are others than the last time.
func (m *Mover) Drift(ctx context.Context, repository, service, environment string) (*record.Drifted, error) {
	x, err := m.deployed(ctx, repository, service, environment)
	if err != nil {
		return nil, err
	}
	if !x.caps.Drift {
		return nil, &plan.UsageError{Message: fmt.Sprintf("the driver of %s cannot compare what is in %s with what was deployed", service, environment)}
	}
	found, err := x.driver.Drift(ctx, x.target, x.revision)
	d := record.Drifted{Time: time.Now().UTC(), Differences: found}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		d.Error, d.Differences = clip(err.Error()), nil
	case len(found) > maxDifferences:
		d.Differences = append(slices.Clone(found[:maxDifferences]), record.Difference{Resource: fmt.Sprintf("%d more", len(found)-maxDifferences)})
	}
	for i := range d.Differences {
		d.Differences[i].Want, d.Differences[i].Have = clip(d.Differences[i].Want), clip(d.Differences[i].Have)
	}
	var events []record.Event
	if d.Error == "" && !sameDifferences(x.track.Drift, &d) {
		events = append(events, record.Event{Body: &record.DriftFound{Repository: repository, Service: service, Environment: environment, Differences: d.Differences}})
	}
	return &d, m.note(ctx, x.track, func(t *record.Track) bool { t.Drift = &d; return true }, events...)
}

// sameDifferences reports whether the same things differ as the last time; at first nothing does.
func sameDifferences(was, is *record.Drifted) bool {
	var before []record.Difference
	if was != nil {
		before = was.Differences
	}
	return slices.EqualFunc(before, is.Differences, func(a, b record.Difference) bool {
		return a.Resource == b.Resource && a.Field == b.Field && a.Want == b.Want && a.Have == b.Have
	})
}

// note keeps something with a track, unless what is deployed has become another revision meanwhile.
func (m *Mover) note(ctx context.Context, was *record.Track, do func(t *record.Track) bool, events ...record.Event) error {
	for try := 0; ; try++ {
		t, at, err := m.track(ctx, was.Repository, was.Service, was.Environment)
		if err != nil {
			return err
		}
		if t.Revision != was.Revision || !do(t) {
			return nil
		}
		_, err = m.Store.Change(ctx, []record.Register{register(TrackKind, TrackID(t.Repository, t.Environment, t.Service), at, t)}, events...)
		if err == nil || !errors.Is(err, record.ErrConflict) || try == maxTries {
			return err
		}
	}
}

// Heal puts right what is not as it was deployed: a rollout of the release that is there, straight and without gates.
func (m *Mover) Heal(ctx context.Context, by launch.By, repository, service, environment, why string) (*record.Rollout, error) {
	t, err := m.Track(ctx, repository, service, environment)
	switch {
	case err != nil:
		return nil, err
	case t.Release == "":
		return nil, &plan.UsageError{Message: fmt.Sprintf("nothing of %s is in %s", service, environment)}
	case t.Rollout != "":
		return nil, &plan.UsageError{Message: fmt.Sprintf("rollout %s is under way", t.Rollout), Hint: "wait for its end"}
	}
	return m.Begin(ctx, by, Wish{Repository: repository, Service: service, Environment: environment, Release: t.Release, Why: why, Again: true, direct: true, URL: t.URL, Expires: t.Expires})
}

// tend looks after what is deployed, on whichever server has the lease.
func (m *Mover) tend(ctx context.Context) {
	for sleep(ctx, tendEvery) {
		lease, err := m.Store.Lease(ctx, tendLease, m.Holder)
		if err != nil {
			if _, held := errors.AsType[*store.HeldError](err); !held && ctx.Err() == nil {
				m.say("", "nobody looks after what is deployed: "+err.Error())
			}
			continue
		}
		for {
			m.Tend(ctx, launch.By{Name: "fairlead", Via: "clock"})
			t := time.NewTimer(tendEvery)
			select {
			case <-t.C:
				continue
			case <-lease.Lost():
			case <-ctx.Done():
			}
			t.Stop()
			break
		}
		if err := lease.Release(); err != nil {
			m.say("", err.Error())
		}
	}
}

// Tend looks once after all that is deployed: how healthy it is; whether it has drifted, where that is to be looked for and it is
// time; it puts that right where that is wanted; and takes previews away that have had their time.
func (m *Mover) Tend(ctx context.Context, by launch.By) {
	all, err := m.Tracks(ctx, "")
	if err != nil {
		m.say("", err.Error())
		return
	}
	for i := range all {
		if ctx.Err() != nil {
			return
		}
		one, cancel := context.WithTimeout(ctx, tendAtMost)
		if err := m.tendOne(one, by, &all[i]); err != nil && ctx.Err() == nil {
			m.say("", fmt.Sprintf("look after %s in %s: %v", all[i].Service, all[i].Environment, err))
		}
		cancel()
	}
}

func (m *Mover) tendOne(ctx context.Context, by launch.By, t *record.Track) error {
	now := time.Now()
	if !t.Expires.IsZero() && now.After(t.Expires) && (t.Release != "" || t.Rollout != "") {
		if row, err := m.underWay(ctx, t); err != nil || row != nil && row.Plan.Strategy == "remove" {
			return err
		}
		_, err := m.Remove(ctx, by, t.Repository, t.Service, t.Environment, "the preview has had its time")
		return err
	}
	if t.Rollout != "" || t.Release == "" {
		return nil
	}
	if _, err := m.Observe(ctx, t.Repository, t.Service, t.Environment); err != nil {
		return err
	}
	env, err := m.Projects.Environment(ctx, t.Repository, t.Environment)
	if err != nil || env.Drift <= 0 || t.Drift != nil && now.Sub(t.Drift.Time) < env.Drift {
		return err
	}
	d, err := m.Drift(ctx, t.Repository, t.Service, t.Environment)
	if u, ok := errors.AsType[*plan.UsageError](err); ok && u != nil {
		return nil // its driver cannot
	}
	if err != nil || len(d.Differences) == 0 || !env.Heal {
		return err
	}
	_, err = m.Heal(ctx, by, t.Repository, t.Service, t.Environment, "it had drifted: "+d.Differences[0].Resource)
	return err
}

// underWay is the rollout that is under way; nil for none.
func (m *Mover) underWay(ctx context.Context, t *record.Track) (*record.Rollout, error) {
	if t.Rollout == "" {
		return nil, nil
	}
	return m.Rollout(ctx, t.Rollout)
}
