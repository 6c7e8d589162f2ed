package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Tests lists tests of a repository.
func (c *Client) Tests(ctx context.Context, repository string, ask insight.TestsAsk) (insight.TestList, error) {
	q := only("state", ask.State, "text", ask.Text, "order", ask.Order)
	for name, n := range map[string]int{"limit": ask.Limit, "after": ask.After} {
		if n > 0 {
			q.Set(name, strconv.Itoa(n))
		}
	}
	return get[insight.TestList](ctx, c, "/tests/"+escape(repository), q)
}

// FindTests finds tests of a repository by their key or name.
func (c *Client) FindTests(ctx context.Context, repository, name, variant string) ([]insight.TestRow, error) {
	list, err := get[insight.TestList](ctx, c, "/tests/"+escape(repository), only("name", name, "variant", variant))
	return list.Tests, err
}

// Test is what is known of a test.
func (c *Client) Test(ctx context.Context, id suite.ID) (*insight.TestStory, error) {
	return get[*insight.TestStory](ctx, c, "/test/"+escape(id.Key), only("repository", id.Repository, "variant", id.Variant))
}

// Quarantine puts a test into quarantine.
func (c *Client) Quarantine(ctx context.Context, id suite.ID, in insight.Quarantining) (*record.TestJudged, error) {
	return c.judge(ctx, id, "quarantine", in)
}

// Release lets a test out of it.
func (c *Client) Release(ctx context.Context, id suite.ID, why string) (*record.TestJudged, error) {
	return c.judge(ctx, id, "release", server.Releasing{Why: why})
}

func (c *Client) judge(ctx context.Context, id suite.ID, act string, in any) (*record.TestJudged, error) {
	j := new(record.TestJudged)
	err := c.ask(ctx, http.MethodPost, "/test/"+escape(id.Key)+"/"+act, only("repository", id.Repository, "variant", id.Variant), in, j)
	return j, err
}
