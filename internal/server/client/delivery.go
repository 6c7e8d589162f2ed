package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Delivery says how delivery goes.
func (c *Client) Delivery(ctx context.Context, ask insight.DeliveryAsk) (insight.DeliveryView, error) {
	return get[insight.DeliveryView](ctx, c, "/delivery", only("days", strconv.Itoa(ask.Days), "environment", ask.Environment, "repository", ask.Repository, "service", ask.Service, "team", ask.Team, "of", ask.Of))
}

// Incidents lists incidents, of a repository unless that is "".
func (c *Client) Incidents(ctx context.Context, repository string, open bool) ([]record.Incident, error) {
	query := only("repository", repository)
	if open {
		query = only("repository", repository, "open", "true")
	}
	v, err := get[server.IncidentsView](ctx, c, "/incidents", query)
	return v.Incidents, err
}

// Incident is an incident with all that happened around it.
func (c *Client) Incident(ctx context.Context, id string) (insight.IncidentStory, error) {
	return get[insight.IncidentStory](ctx, c, "/incident/"+url.PathEscape(id), nil)
}

// OpenIncident opens an incident.
func (c *Client) OpenIncident(ctx context.Context, draft record.Incident, text string) (i record.Incident, err error) {
	in := server.OpeningIncident{Title: draft.Title, Severity: draft.Severity, Service: draft.Service, Environment: draft.Environment, Rollout: draft.Rollout, Run: draft.Run, Runbook: draft.Runbook, Began: stamp(draft.Began), Text: text}
	err = c.ask(ctx, http.MethodPost, "/incidents/"+escape(draft.Repository), nil, in, &i)
	return i, err
}

// NoteIncident adds a note to an incident.
func (c *Client) NoteIncident(ctx context.Context, id, text string) error {
	return c.ask(ctx, http.MethodPost, "/incident/"+url.PathEscape(id)+"/note", nil, server.NotingIncident{Text: text}, nil)
}

// LinkIncident says which deployment caused an incident.
func (c *Client) LinkIncident(ctx context.Context, id, rollout, run, text string) error {
	return c.ask(ctx, http.MethodPost, "/incident/"+url.PathEscape(id)+"/link", nil, server.LinkingIncident{Rollout: rollout, Run: run, Text: text}, nil)
}

// ResolveIncident ends an incident; at the zero time: now.
func (c *Client) ResolveIncident(ctx context.Context, id, text string, at time.Time) error {
	return c.ask(ctx, http.MethodPost, "/incident/"+url.PathEscape(id)+"/resolve", nil, server.ResolvingIncident{Text: text, At: stamp(at)}, nil)
}

// stamp is a time as the API reads it; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
