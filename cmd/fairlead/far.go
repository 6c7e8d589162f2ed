package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/server/client"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// dial makes ready to ask a server.
func dial(address, token string) (cli.Remote, error) {
	c, err := client.New(address, token)
	if err != nil {
		return nil, &plan.UsageError{Message: err.Error()}
	}
	return &remote{c, address, token != ""}, nil
}

// remote is a server as the command line sees it.
type remote struct {
	client  *client.Client
	address string
	token   bool // there is one
}

// told says an error of the server to who typed. What it refuses is theirs to mend;
// what fails there is not.
func (r *remote) told(err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Status >= 500 && e.Status != http.StatusNotImplemented {
		return err
	}
	hint := e.Hint
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusNotFound && !r.token:
		hint = "is the token right? it is read from FAIRLEAD_TOKEN or --token-file; the server's page Tokens makes one"
	case e.Status == http.StatusTooManyRequests:
		hint = "wait, then try again"
	}
	return &plan.UsageError{Message: e.Message, Hint: hint}
}

// Runs implements cli.RemoteRuns.
func (r *remote) Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error) {
	ask := server.RunsAsk{Repository: f.Repository, Pipeline: f.Pipeline, Branch: f.Branch, State: string(f.Verdict), Actor: f.Actor, Change: f.Change, Before: f.Before, Limit: f.Limit}
	if f.Unfinished {
		ask.State = "unfinished"
	}
	v, err := r.client.Runs(ctx, ask)
	if err != nil {
		return nil, r.told(err)
	}
	heads := make([]store.RunHead, len(v.Runs))
	for i := range v.Runs {
		heads[i] = headOf(&v.Runs[i])
	}
	return heads, nil
}

// headOf is a row of a server's list as a row of ours.
func headOf(row *server.RunRow) store.RunHead {
	h := store.RunHead{
		ID: row.ID, Number: row.Number, Attempt: row.Attempt, Of: row.Of, Repository: row.Repository, File: row.File, Name: row.Pipeline,
		Event: row.Event, Ref: row.Ref, Branch: row.Branch, SHA: row.SHA, Dirty: row.Dirty, Actor: row.Actor,
		Begun: row.Begun, Started: row.Started, Ended: row.Ended, Verdict: row.Verdict, Why: row.Why, Alive: row.State == server.Running,
	}
	if !row.Local {
		h.Origin = &record.Origin{Repository: row.Repository, Trust: row.Trust, Change: row.Change, Title: row.Title, Approval: row.State == server.Approval}
	}
	return h
}

// Head implements cli.RemoteRuns.
func (r *remote) Head(ctx context.Context, run string) (store.RunHead, error) {
	v, err := r.client.View(ctx, run)
	if err != nil {
		return store.RunHead{}, r.told(err)
	}
	return headOf(&v.RunRow), nil
}

// Run implements cli.RemoteRuns.
func (r *remote) Run(ctx context.Context, run string) (*record.Run, error) {
	v, err := r.client.Run(ctx, run)
	return v, r.told(err)
}

// Length implements cli.RemoteRuns.
func (r *remote) Length(ctx context.Context, run, job string) (int64, error) {
	n, ok, err := r.client.Length(ctx, run, job)
	if err == nil && !ok {
		err = fmt.Errorf("job %s has no log: %w", job, fs.ErrNotExist)
	}
	return n, r.told(err)
}

// errEnough ends the reading of a log.
var errEnough = errors.New("enough")

// Lines implements cli.RemoteRuns.
func (r *remote) Lines(ctx context.Context, run, job string, from int64, follow bool, fn func(logs.Line) bool) error {
	err := r.client.Log(ctx, run, job, client.LogAsk{From: from + 1, Follow: follow}, func(l server.LogLine) error {
		if !fn(logs.Line{N: l.N - 1, Step: l.Step, Time: l.Time, Text: []byte(l.Text)}) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return r.told(err)
}

// Start implements cli.RemoteActs.
func (r *remote) Start(ctx context.Context, w launch.Wish) (int64, *record.RequestSettled, error) {
	q, err := r.client.Start(ctx, server.Starting{Repository: w.Repository, Ref: w.Ref, Workflow: w.Workflow, Inputs: w.Inputs, Event: w.Event, Priority: w.Priority})
	if err != nil {
		return 0, nil, r.told(err)
	}
	return q.Request, &record.RequestSettled{Request: q.Request, Runs: q.Runs, Why: q.Why, Fault: q.Fault, Problems: q.Problems}, nil
}

// Rerun implements cli.RemoteActs.
func (r *remote) Rerun(ctx context.Context, run string, a record.Again) (string, error) {
	id, err := r.client.Rerun(ctx, run, a)
	return id, r.told(err)
}

// Cancel implements cli.RemoteActs.
func (r *remote) Cancel(ctx context.Context, run, job string) error {
	return r.told(r.client.Cancel(ctx, run, job))
}

// Approve implements cli.RemoteActs.
func (r *remote) Approve(ctx context.Context, run string) error {
	return r.told(r.client.Approve(ctx, run))
}

// Routes implements cli.RemoteRoutes.
func (r *remote) Routes(ctx context.Context) ([]notify.Route, error) {
	routes, err := r.client.Routes(ctx)
	return routes, r.told(err)
}

// SetRoute implements cli.RemoteRoutes.
func (r *remote) SetRoute(ctx context.Context, to notify.Route, target string) error {
	return r.told(r.client.SetRoute(ctx, to, target))
}

// RemoveRoute implements cli.RemoteRoutes.
func (r *remote) RemoveRoute(ctx context.Context, name string) error {
	return r.told(r.client.RemoveRoute(ctx, name))
}

// TestRoute implements cli.RemoteRoutes.
func (r *remote) TestRoute(ctx context.Context, name string) error {
	return r.told(r.client.TestRoute(ctx, name))
}

// Replay implements cli.RemoteActs.
func (r *remote) Replay(ctx context.Context, request int64) (int64, error) {
	again, err := r.client.Replay(ctx, request)
	return again, r.told(err)
}

// Requests implements cli.RemoteActs.
func (r *remote) Requests(ctx context.Context, repository string, limit int) ([]cli.Request, error) {
	list := []cli.Request{}
	for before := int64(0); ; {
		v, err := r.client.Requests(ctx, repository, before)
		if err != nil {
			return nil, r.told(err)
		}
		for _, q := range v.Requests {
			if list = append(list, cli.Request{Request: q.Request, Repository: q.Repository, Time: q.Time, What: q.What, By: q.By, Settled: q.Settled, Runs: q.Runs, Why: q.Why}); len(list) == limit {
				return list, nil
			}
		}
		if before = v.Next; before == 0 {
			return list, nil
		}
	}
}

// Download implements cli.RemoteFiles.
func (r *remote) Download(ctx context.Context, run, job string, a plan.Artifact, w io.Writer) error {
	return r.told(r.client.Download(ctx, run, server.Kept{Job: job, Name: a.Name, Digest: a.Digest, Size: a.Size}, w))
}

// Push implements cli.RemoteFiles.
func (r *remote) Push(ctx context.Context, p cli.Pushing) (string, error) {
	if !r.token {
		return "", &plan.UsageError{Message: "there is no token for " + r.address, Hint: "put one into FAIRLEAD_TOKEN, or into a file for --token-file; the server's page Tokens makes one"}
	}
	id, err := r.client.Push(ctx, client.Pushing(p))
	if err != nil {
		return "", r.told(err)
	}
	page, err := url.JoinPath(r.address, "runs", id)
	return cmp.Or(page, "/runs/"+id), err
}

// Environments implements cli.RemoteEnvironments.
func (r *remote) Environments(ctx context.Context, repository string) ([]record.Environment, error) {
	list, err := r.client.Environments(ctx, repository)
	return list, r.told(err)
}

// SetEnvironment implements cli.RemoteEnvironments.
func (r *remote) SetEnvironment(ctx context.Context, e record.Environment) error {
	return r.told(r.client.SetEnvironment(ctx, e))
}

// RemoveEnvironment implements cli.RemoteEnvironments.
func (r *remote) RemoveEnvironment(ctx context.Context, repository, name string) error {
	return r.told(r.client.RemoveEnvironment(ctx, repository, name))
}

// ApproveEnvironment implements cli.RemoteEnvironments.
func (r *remote) ApproveEnvironment(ctx context.Context, run, name, why string) error {
	return r.told(r.client.ApproveEnvironment(ctx, run, name, why))
}

// Explain implements cli.Faults.
func (r *remote) Explain(ctx context.Context, run *record.Run) (*insight.Explanation, error) {
	v, err := r.client.View(ctx, run.ID)
	return v.Explained, r.told(err)
}

// Overview implements cli.Faults.
func (r *remote) Overview(ctx context.Context, repository string, days int, _ time.Time) (*insight.Overview, error) {
	v, err := r.client.Failures(ctx, repository, days)
	return &v, r.told(err)
}

// Cluster implements cli.Faults.
func (r *remote) Cluster(ctx context.Context, repository, id string, _ time.Time) (*insight.ClusterView, error) {
	v, err := r.client.Failure(ctx, repository, id)
	return v, r.told(err)
}

// Issues implements cli.Faults.
func (r *remote) Issues(ctx context.Context, repository string) ([]insight.Issue, error) {
	v, err := r.client.KnownIssues(ctx, repository, insight.Issue{})
	return v.Issues, r.told(err)
}

// Try implements cli.Faults.
func (r *remote) Try(ctx context.Context, repository string, i insight.Issue) (insight.Trial, error) {
	v, err := r.client.KnownIssues(ctx, repository, i)
	if err != nil || v.Trial == nil {
		return insight.Trial{}, r.told(err)
	}
	return *v.Trial, nil
}

// SetIssue implements cli.Faults.
func (r *remote) SetIssue(ctx context.Context, _ insight.By, repository string, i insight.Issue) error {
	return r.told(r.client.SetKnownIssue(ctx, repository, i))
}

// RemoveIssue implements cli.Faults.
func (r *remote) RemoveIssue(ctx context.Context, _ insight.By, repository, name string) error {
	return r.told(r.client.RemoveKnownIssue(ctx, repository, name))
}

// ListTests implements cli.TestRoom.
func (r *remote) ListTests(ctx context.Context, repository string, ask insight.TestsAsk) (insight.TestList, error) {
	list, err := r.client.Tests(ctx, repository, ask)
	return list, r.told(err)
}

// FindTests implements cli.TestRoom.
func (r *remote) FindTests(ctx context.Context, repository, name, variant string) ([]insight.TestRow, error) {
	rows, err := r.client.FindTests(ctx, repository, name, variant)
	return rows, r.told(err)
}

// Test implements cli.TestRoom.
func (r *remote) Test(ctx context.Context, id suite.ID) (*insight.TestStory, error) {
	story, err := r.client.Test(ctx, id)
	return story, r.told(err)
}

// QuarantineTest implements cli.TestRoom.
func (r *remote) QuarantineTest(ctx context.Context, id suite.ID, q insight.Quarantining) (*record.TestJudged, error) {
	j, err := r.client.Quarantine(ctx, id, q)
	return j, r.told(err)
}

// ReleaseTest implements cli.TestRoom.
func (r *remote) ReleaseTest(ctx context.Context, id suite.ID, why string) (*record.TestJudged, error) {
	j, err := r.client.Release(ctx, id, why)
	return j, r.told(err)
}

// Delivery implements cli.DeliveryRoom.
func (r *remote) Delivery(ctx context.Context, ask insight.DeliveryAsk) (*insight.DeliveryView, error) {
	v, err := r.client.Delivery(ctx, ask)
	return &v, r.told(err)
}

// Incidents implements cli.DeliveryRoom.
func (r *remote) Incidents(ctx context.Context, repository string, open bool) ([]record.Incident, error) {
	list, err := r.client.Incidents(ctx, repository, open)
	return list, r.told(err)
}

// Incident implements cli.DeliveryRoom.
func (r *remote) Incident(ctx context.Context, id string) (*insight.IncidentStory, error) {
	v, err := r.client.Incident(ctx, id)
	return &v, r.told(err)
}

// OpenIncident implements cli.DeliveryRoom.
func (r *remote) OpenIncident(ctx context.Context, _ launch.By, draft record.Incident, text string) (record.Incident, error) {
	i, err := r.client.OpenIncident(ctx, draft, text)
	return i, r.told(err)
}

// NoteIncident implements cli.DeliveryRoom.
func (r *remote) NoteIncident(ctx context.Context, _ launch.By, id, text string) error {
	return r.told(r.client.NoteIncident(ctx, id, text))
}

// LinkIncident implements cli.DeliveryRoom.
func (r *remote) LinkIncident(ctx context.Context, _ launch.By, id, rollout, run, text string) error {
	return r.told(r.client.LinkIncident(ctx, id, rollout, run, text))
}

// ResolveIncident implements cli.DeliveryRoom.
func (r *remote) ResolveIncident(ctx context.Context, _ launch.By, id, text string, at time.Time) error {
	return r.told(r.client.ResolveIncident(ctx, id, text, at))
}
