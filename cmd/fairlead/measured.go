package main

import (
	"context"
	"fmt"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Report implements cli.RemoteReports.
func (r *remote) Report(ctx context.Context, h insight.Handed, f insight.ReportFileOf) (insight.Taken, error) {
	if !r.token {
		return insight.Taken{}, &plan.UsageError{Message: "there is no token for " + r.address, Hint: "put one into FAIRLEAD_TOKEN, or into a file for --token-file; the server's page Tokens makes one"}
	}
	t, err := r.client.Report(ctx, h, f)
	return t, r.told(err)
}

// Coverage implements cli.RemoteReports.
func (r *remote) Coverage(ctx context.Context, repository, run, branch, path string) (cli.CoverageOf, error) {
	v, err := r.client.Coverage(ctx, repository, run, branch, path)
	switch {
	case err != nil:
		return cli.CoverageOf{}, r.told(err)
	case v.Coverage == nil:
		return cli.CoverageOf{}, fmt.Errorf("%s: %w", repository, insight.ErrNoCoverage)
	}
	of := cli.CoverageOf{Covered: v.Coverage, Path: v.Path, Nodes: v.Nodes}
	if v.Source != nil {
		of.Nodes = []insight.Node{{Name: v.Path, Path: v.Path, Totals: v.Here}}
	}
	return of, nil
}

// Patch implements cli.RemoteReports.
func (r *remote) Patch(ctx context.Context, run, base string) (*insight.Patched, error) {
	v, err := r.client.Patch(ctx, run, base)
	if err == nil && v.Lacking != "" {
		return nil, &plan.UsageError{Message: v.Lacking}
	}
	return v.Patched, r.told(err)
}
