package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// FlagDriver is the name of the driver of guarded flags, and FlagArtifact the kind of a release's artifact that is
// a variant of a flag: nothing is moved but the share of users who get it.
const (
	FlagDriver   = "flags"
	FlagArtifact = "flag"
)

// Shares sets the shares of guarded variants.
type Shares interface {
	// SetShare sets the share of users, in percent, who get the guarded variant of a flag. Doing it again is harmless. A
	// fence lower than one seen before is refused with an error that wraps [deploy.ErrFenced].
	SetShare(ctx context.Context, repository, environment, flag string, percent float64, fence int64) error
	// Share is the share that the guarded variant has.
	Share(ctx context.Context, repository, environment, flag string) (percent float64, err error)
}

// FlagRelease is a release that is a variant of a flag. How it is rolled out (steps, holds, analysis, checks)
// is said by svc, whose name becomes that of the flag's track.
func FlagRelease(repository, flag, variant string, svc project.Service) (record.Release, error) {
	svc.Name = "flag/" + flag
	spec, err := json.Marshal(&svc)
	if err != nil {
		return record.Release{}, fmt.Errorf("make a release of flag %s: %w", flag, err)
	}
	return record.Release{Repository: repository, Service: svc.Name, Version: variant, Spec: spec,
		Artifact: record.Packed{Kind: FlagArtifact, Name: flag + " " + variant}}, nil
}

// FlagMover is the driver of guarded flags: a share of users is to it what a share of requests is to
// others.
type FlagMover struct{ Shares Shares }

var _ deploy.Driver = (*FlagMover)(nil)

// Capabilities are shares, and nothing else.
func (f *FlagMover) Capabilities(*deploy.Target) deploy.Capabilities {
	return deploy.Capabilities{Beside: true, Split: true, Why: "a flag is no process"}
}

// Check looks whether there is such a flag with a guarded variant.
func (f *FlagMover) Check(ctx context.Context, t *deploy.Target, _ *deploy.Revision) ([]plan.Problem, error) {
	_, err := f.Shares.Share(ctx, t.Repository, t.Environment, flagOf(t))
	if u, ok := errors.AsType[*plan.UsageError](err); ok {
		return []plan.Problem{{Severity: plan.Error, Rule: "flag", Message: u.Message, Hint: u.Hint}}, nil
	}
	return nil, err
}

// Observe says which share the guarded variant has.
func (f *FlagMover) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	p, err := f.Shares.Share(ctx, t.Repository, t.Environment, flagOf(t))
	if err != nil {
		return nil, err
	}
	return &deploy.World{Fence: t.Fence, Revisions: []deploy.Seen{{Number: t.Number, Percent: int(p)}}}, nil
}

// Ensure has nothing to do: a variant is there as soon as it is defined.
func (f *FlagMover) Ensure(context.Context, *deploy.Target, *deploy.Revision, int) error { return nil }

// Shift sets the share of the variant that the rollout brings. All other shares are those of what there was.
func (f *FlagMover) Shift(ctx context.Context, t *deploy.Target, shares []deploy.Share) error {
	p := 0
	for _, s := range shares {
		if s.Number == t.Number {
			p = s.Percent
		}
	}
	err := f.Shares.SetShare(ctx, t.Repository, t.Environment, flagOf(t), float64(p), t.Fence)
	if u, ok := errors.AsType[*plan.UsageError](err); ok {
		return fmt.Errorf("%w: %w", deploy.ErrRefused, u)
	}
	return err
}

// Remove takes the variant from everybody.
func (f *FlagMover) Remove(ctx context.Context, t *deploy.Target, number int) error {
	if number != t.Number {
		return nil
	}
	return f.Shift(ctx, t, nil)
}

// Drift says whether somebody has set another share than the whole.
func (f *FlagMover) Drift(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	p, err := f.Shares.Share(ctx, t.Repository, t.Environment, flagOf(t))
	if err != nil || p == 100 {
		return nil, err
	}
	return []record.Difference{{Resource: flagOf(t), Field: "share of " + r.Release.Version, Want: "100", Have: fmt.Sprint(p)}}, nil
}

// flagOf is the flag that a target is.
func flagOf(t *deploy.Target) string {
	const prefix = "flag/"
	if len(t.Service) > len(prefix) && t.Service[:len(prefix)] == prefix {
		return t.Service[len(prefix):]
	}
	return t.Service
}
