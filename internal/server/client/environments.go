package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Environments lists the protected environments of a repository.
func (c *Client) Environments(ctx context.Context, repository string) ([]record.Environment, error) {
	v, err := get[server.EnvironmentsView](ctx, c, "/environments/"+escape(repository), nil)
	return v.Environments, err
}

// SetEnvironment says what protects an environment.
func (c *Client) SetEnvironment(ctx context.Context, e record.Environment) error {
	return c.ask(ctx, http.MethodPut, "/environments/"+escape(e.Repository), nil, e, nil)
}

// RemoveEnvironment protects an environment no more.
func (c *Client) RemoveEnvironment(ctx context.Context, repository, name string) error {
	return c.ask(ctx, http.MethodDelete, "/environments/"+escape(repository), url.Values{"name": {name}}, nil, nil)
}

// ApproveEnvironment lets a run deploy to an environment, as far as one person can.
func (c *Client) ApproveEnvironment(ctx context.Context, run, name, why string) error {
	return c.ask(ctx, http.MethodPost, "/runs/"+escape(run)+"/environment", nil, server.ApprovingEnvironment{Environment: name, Why: why}, nil)
}
