package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Failures is what fails in a repository, over so many days.
func (c *Client) Failures(ctx context.Context, repository string, days int) (insight.Overview, error) {
	return get[insight.Overview](ctx, c, "/failures/"+escape(repository), only("days", strconv.Itoa(days)))
}

// Failure is a cluster of failures of a repository; nil when there is none of that ID.
func (c *Client) Failure(ctx context.Context, repository, id string) (*insight.ClusterView, error) {
	v, err := get[insight.ClusterView](ctx, c, "/failure/"+url.PathEscape(id)+"/"+escape(repository), nil)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil, nil
	}
	return &v, err
}

// KnownIssues lists the known issues of a repository, and tries one that has a pattern.
func (c *Client) KnownIssues(ctx context.Context, repository string, i insight.Issue) (server.IssuesView, error) {
	return get[server.IssuesView](ctx, c, "/known-issues/"+escape(repository), only("name", i.Name, "pattern", i.Pattern, "job", i.Job, "step", i.Step, "test", i.Test, "branch", i.Branch))
}

// SetKnownIssue sets a known issue, or changes the one of that name.
func (c *Client) SetKnownIssue(ctx context.Context, repository string, i insight.Issue) error {
	in := server.SettingIssue{Name: i.Name, Pattern: i.Pattern, Job: i.Job, Step: i.Step, Test: i.Test, Branch: i.Branch, Note: i.Note, Link: i.Link, Verdict: string(i.Blame)}
	if !i.Until.IsZero() {
		in.Until = i.Until.Format(time.DateOnly)
	}
	return c.ask(ctx, http.MethodPut, "/known-issues/"+escape(repository), nil, in, nil)
}

// RemoveKnownIssue removes a known issue that was set.
func (c *Client) RemoveKnownIssue(ctx context.Context, repository, name string) error {
	return c.ask(ctx, http.MethodDelete, "/known-issues/"+escape(repository), only("name", name), nil, nil)
}
