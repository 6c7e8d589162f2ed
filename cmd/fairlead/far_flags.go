package main

import (
	"context"
	"fmt"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// ListFlags implements cli.Flags.
func (r *remote) ListFlags(ctx context.Context, repository, environment string) ([]launch.KeptFlag, error) {
	v, err := r.client.Flags(ctx, repository, environment)
	if err != nil {
		return nil, r.told(err)
	}
	list := make([]launch.KeptFlag, 0, len(v.Flags))
	for _, row := range v.Flags {
		flag, problems := feature.ReadFlag("the answer", row.Key, row.Definition)
		if plan.Errors(problems) {
			return nil, fmt.Errorf("flag %s of the server cannot be read: %s", row.Key, problems[0].Message)
		}
		flag.Source = plan.Source{}
		list = append(list, launch.KeptFlag{Flag: flag, Changed: row.Changed, By: row.By, Why: row.Why})
	}
	return list, nil
}

// SetFlag implements cli.Flags.
func (r *remote) SetFlag(ctx context.Context, repository, environment string, f feature.Flag, why string) error {
	return r.told(r.client.SetFlag(ctx, repository, environment, &f, why))
}

// RemoveFlag implements cli.Flags.
func (r *remote) RemoveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return r.told(r.client.RemoveFlag(ctx, ref, why))
}

// KillFlag implements cli.Flags.
func (r *remote) KillFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return r.told(r.client.KillFlag(ctx, ref, why))
}

// ReviveFlag implements cli.Flags.
func (r *remote) ReviveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return r.told(r.client.ReviveFlag(ctx, ref, why))
}

// ShareFlag implements cli.Flags.
func (r *remote) ShareFlag(ctx context.Context, ref launch.FlagRef, variant string, percent float64, why string) error {
	return r.told(r.client.ShareFlag(ctx, ref, variant, percent, why))
}

// ImportFlags implements cli.Flags.
func (r *remote) ImportFlags(ctx context.Context, repository, environment string, d *feature.Definitions, prune bool, why string) (int, error) {
	n, err := r.client.ImportFlags(ctx, repository, server.ImportingFlags{Environment: environment, Definitions: string(feature.Write(d, false)), Prune: prune, Why: why})
	return n, r.told(err)
}

// FlagHistory implements cli.Flags.
func (r *remote) FlagHistory(ctx context.Context, ref launch.FlagRef) ([]cli.FlagPast, error) {
	v, err := r.client.Flag(ctx, ref)
	past := make([]cli.FlagPast, len(v.History))
	for i, h := range v.History {
		past[i] = cli.FlagPast{Time: h.Time, By: h.By, What: h.What, Why: h.Why}
	}
	return past, r.told(err)
}
