package client

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Repositories lists the repositories whose pipelines run there.
func (c *Client) Repositories(ctx context.Context) (server.RepositoriesView, error) {
	return get[server.RepositoriesView](ctx, c, "/repositories", nil)
}

// Repository is one of them.
func (c *Client) Repository(ctx context.Context, name string) (server.RepositoryView, error) {
	return get[server.RepositoryView](ctx, c, "/repositories/"+escape(name), nil)
}

// AddRepository adds one.
func (c *Client) AddRepository(ctx context.Context, in server.NewRepository) (server.RepositoryView, error) {
	return post[server.RepositoryView](ctx, c, "/repositories", in)
}

// SetRepository changes a repository's settings: all of them are given.
func (c *Client) SetRepository(ctx context.Context, in server.RepositorySettings) error {
	return c.ask(ctx, http.MethodPut, "/repositories/"+escape(in.Name), nil, in, nil)
}

// RemoveRepository removes a repository and its secrets. Its runs are kept.
func (c *Client) RemoveRepository(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodDelete, "/repositories/"+escape(name), nil, nil, nil)
}

// Requests lists what was delivered or asked for, and what came of it; before
// is a number of a request, 0 for the newest.
func (c *Client) Requests(ctx context.Context, repository string, before int64) (server.RequestsView, error) {
	return get[server.RequestsView](ctx, c, "/requests", only("repository", repository, "before", number(before)))
}

// Replay takes a delivery of a code host once more, and returns the number of the new
// request.
func (c *Client) Replay(ctx context.Context, request int64) (int64, error) {
	v, err := post[server.Replayed](ctx, c, "/requests/"+strconv.FormatInt(request, 10)+"/replay", struct{}{})
	return v.Request, err
}

// Queue is what waits, why, and what runs.
func (c *Client) Queue(ctx context.Context) (launch.Queue, error) {
	return get[launch.Queue](ctx, c, "/queue", nil)
}

// Workers lists the machines that take jobs.
func (c *Client) Workers(ctx context.Context) ([]server.WorkerRow, error) {
	v, err := get[server.WorkersView](ctx, c, "/workers", nil)
	return v.Workers, err
}

// SetWorker has a worker pause ("paused"), drain ("draining") or go on
// ("joined"), or forgets it ("left").
func (c *Client) SetWorker(ctx context.Context, name, state string) error {
	return c.ask(ctx, http.MethodPost, "/workers/"+escape(name), nil, server.SettingWorker{State: state}, nil)
}

// Secrets lists the names of a repository's secrets; "" of those of all.
func (c *Client) Secrets(ctx context.Context, repository string) ([]secret.Named, error) {
	v, err := get[server.SecretsView](ctx, c, "/secrets", only("repository", repository))
	return v.Secrets, err
}

// SetSecret sets a secret.
func (c *Client) SetSecret(ctx context.Context, scope secret.Scope, name, value string) error {
	return c.ask(ctx, http.MethodPut, "/secrets/"+escape(name), nil, server.SettingSecret{Repository: scope.Repository, Environment: scope.Environment, Value: value}, nil)
}

// RemoveSecret removes a secret.
func (c *Client) RemoveSecret(ctx context.Context, scope secret.Scope, name string) error {
	return c.ask(ctx, http.MethodDelete, "/secrets/"+escape(name), only("repository", scope.Repository, "environment", scope.Environment), nil, nil)
}

// Tokens lists one's own tokens.
func (c *Client) Tokens(ctx context.Context) ([]access.Token, error) {
	v, err := get[server.TokensView](ctx, c, "/tokens", nil)
	return v.Tokens, err
}

// IssueToken makes a token. It is shown this once.
func (c *Client) IssueToken(ctx context.Context, in server.NewToken) (server.Issued, error) {
	return post[server.Issued](ctx, c, "/tokens", in)
}

// RevokeToken revokes a token by its ID.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.ask(ctx, http.MethodDelete, "/tokens/"+escape(id), nil, nil, nil)
}

// Accounts lists who may do what there.
func (c *Client) Accounts(ctx context.Context) ([]access.Account, error) {
	v, err := get[server.AccountsView](ctx, c, "/accounts", nil)
	return v.Accounts, err
}

// Invite invites somebody. The link is shown this once.
func (c *Client) Invite(ctx context.Context, in server.Invitation) (server.Issued, error) {
	return post[server.Issued](ctx, c, "/accounts", in)
}

// SetAccount changes an account: all of it is given.
func (c *Client) SetAccount(ctx context.Context, name string, in server.SettingAccount) error {
	return c.ask(ctx, http.MethodPut, "/accounts/"+escape(name), nil, in, nil)
}

// RemoveAccount removes an account, with its sessions and tokens.
func (c *Client) RemoveAccount(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodDelete, "/accounts/"+escape(name), nil, nil, nil)
}

// Audit is a part of the audit trail, the newest act first; before is the number of an
// act, 0 for the newest.
func (c *Client) Audit(ctx context.Context, before int64) (server.AuditView, error) {
	return get[server.AuditView](ctx, c, "/audit", only("before", number(before)))
}

// Checkpoint is a signed checkpoint of the audit trail.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, "/audit/checkpoint", nil, "", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, maxAnswer))
}

// Settings are the server's settings.
func (c *Client) Settings(ctx context.Context) (server.SettingsView, error) {
	return get[server.SettingsView](ctx, c, "/settings", nil)
}

// number is a query parameter, "" for 0.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Routes lists who is told of what.
func (c *Client) Routes(ctx context.Context) ([]notify.Route, error) {
	v, err := get[server.RoutesView](ctx, c, "/routes", nil)
	return v.Routes, err
}

// SetRoute makes a route of messages, or changes one; target is where they go, "" leaves it.
func (c *Client) SetRoute(ctx context.Context, r notify.Route, target string) error {
	in := server.SettingRoute{Channel: r.Channel, Target: target, Secret: r.Secret, Repositories: r.Repositories, Branches: r.Branches, Edges: r.Edges}
	return c.ask(ctx, http.MethodPut, "/routes/"+escape(r.Name), nil, in, nil)
}

// RemoveRoute removes a route of messages.
func (c *Client) RemoveRoute(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodDelete, "/routes/"+escape(name), nil, nil, nil)
}

// TestRoute sends one message the way of a route.
func (c *Client) TestRoute(ctx context.Context, name string) error {
	return c.ask(ctx, http.MethodPost, "/routes/"+escape(name)+"/test", nil, struct{}{}, nil)
}
