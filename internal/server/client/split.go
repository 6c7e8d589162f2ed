package client

import (
	"context"
	"net/http"
	"time"

	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// Times is how long the tests of a repository take.
func (c *Client) Times(ctx context.Context, repository string) (server.TimesView, error) {
	return get[server.TimesView](ctx, c, "/times/"+escape(repository), nil)
}

// OpenSplit makes a queue of tests, unless there is one of that name.
func (c *Client) OpenSplit(ctx context.Context, o testrun.Opening) (made bool, err error) {
	v, err := post[server.SplitOpened](ctx, c, "/split-open/"+escape(o.Repository), o)
	return v.Made, err
}

// NextSplit takes the next batch from a queue of a repository.
func (c *Client) NextSplit(ctx context.Context, repository, name, shard string, patience time.Duration) (testrun.Turn, error) {
	return post[testrun.Turn](ctx, c, "/split-next/"+escape(repository), server.SplitAsk{Name: name, Shard: shard, Patience: patience.Seconds()})
}

// AliveSplit says that a shard still works at its batch.
func (c *Client) AliveSplit(ctx context.Context, repository, name, shard string) error {
	return c.ask(ctx, http.MethodPost, "/split-alive/"+escape(repository), nil, server.SplitAsk{Name: name, Shard: shard}, nil)
}

// DoneSplit says that a batch is over, and returns whether that counted.
func (c *Client) DoneSplit(ctx context.Context, repository, name string, r testrun.Report) (counted bool, err error) {
	v, err := post[server.SplitCounted](ctx, c, "/split-done/"+escape(repository), server.SplitDone{Name: name, Report: r})
	return v.Counted, err
}
