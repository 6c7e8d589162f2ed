package main

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// Times implements cli.RemoteSplits.
func (r *remote) Times(ctx context.Context, repository string) ([]testrun.Known, error) {
	v, err := r.client.Times(ctx, repository)
	if err != nil {
		return nil, r.told(err)
	}
	rows := make([]testrun.Known, len(v.Tests))
	for i, t := range v.Tests {
		rows[i] = testrun.Known{
			Row:    suite.Row{ID: suite.ID{Repository: repository, Key: t.Key}, Title: t.Title, File: t.File, Line: t.Line, Seconds: t.Seconds},
			Chance: t.Chance, Early: t.Failed,
		}
	}
	return rows, nil
}

// OpenSplit implements cli.RemoteSplits.
func (r *remote) OpenSplit(ctx context.Context, o testrun.Opening) (bool, error) {
	made, err := r.client.OpenSplit(ctx, o)
	return made, r.told(err)
}

// Split implements cli.RemoteSplits.
func (r *remote) Split(repository, name string, patience time.Duration) testrun.Source {
	return farSplit{r, repository, name, patience}
}

// farSplit is a queue of a server.
type farSplit struct {
	*remote
	repository, name string
	patience         time.Duration
}

// Next implements testrun.Source.
func (f farSplit) Next(ctx context.Context, shard string) (testrun.Turn, error) {
	t, err := f.client.NextSplit(ctx, f.repository, f.name, shard, f.patience)
	return t, f.told(err)
}

// Alive implements testrun.Source.
func (f farSplit) Alive(ctx context.Context, shard string) error {
	return f.client.AliveSplit(ctx, f.repository, f.name, shard)
}

// Done implements testrun.Source.
func (f farSplit) Done(ctx context.Context, r testrun.Report) (bool, error) {
	counted, err := f.client.DoneSplit(ctx, f.repository, f.name, r)
	return counted, f.told(err)
}
