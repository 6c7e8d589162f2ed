package launch

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// chain asks for the workflows that wait for the end of a run, once.
func (d *Desk) chain(ctx context.Context, run string) error {
	h, err := d.Runs.Head(ctx, run)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || h.Origin == nil || h.Origin.Pushed || h.Verdict == "" {
		return err
	}
	repo, err := d.Repository(ctx, h.Origin.Repository)
	var gone *plan.UsageError
	if errors.As(err, &gone) || err == nil && repo.Paused {
		return nil
	}
	if err != nil {
		return err
	}
	clock, err := d.clock(ctx, &repo)
	if err != nil || !clock.Chains {
		return err
	}
	if deep, err := d.depth(ctx, &h, maxChain); err != nil || deep >= maxChain {
		return err
	}
	once := record.Register{Kind: chainKind, ID: run, Body: json.RawMessage("{}"), Expires: time.Now().Add(keepSettled)}
	_, err = d.Store.Change(ctx, []record.Register{once}, record.Event{Body: &record.RunRequested{
		Repository: repo.Name, By: "run " + run, Cause: "workflow_run",
		Change: &plan.Change{Event: "workflow_run", Actor: h.Actor, Payload: d.finished(&h)},
	}})
	if errors.Is(err, record.ErrConflict) {
		return nil
	}
	return err
}

// maxChain is how many runs may follow each other.
const maxChain = 3

// depth counts the runs that a run follows, up to most.
func (d *Desk) depth(ctx context.Context, h *store.RunHead, most int) (int, error) {
	for n, id := 0, h.ID; ; n++ {
		if n == most {
			return n, nil
		}
		r, err := d.Store.Run(ctx, id)
		if err != nil {
			return 0, err
		}
		if r.Planned == nil || r.Planned.Change.Event != "workflow_run" && r.Planned.Change.Event != eventPipeline {
			return n, nil
		}
		if id = followed(r.Planned.Change); id == "" {
			return n, nil
		}
	}
}

// followed is the run that a workflow_run follows, or whose job has asked for this one.
func followed(c *plan.Change) string {
	if id, ok := c.Payload[followedBy].(string); ok && c.Event == eventPipeline {
		return id
	}
	run, _ := c.Payload["workflow_run"].(map[string]any)
	switch id := run["id"].(type) {
	case float64:
		return strconv.FormatFloat(id, 'f', -1, 64)
	case int64:
		return strconv.FormatInt(id, 10)
	}
	return ""
}

// finished is the payload of workflow_run.
func (d *Desk) finished(h *store.RunHead) map[string]any {
	conclusion := string(h.Verdict)
	switch h.Verdict {
	case plan.Fault:
		conclusion = "failure"
	case plan.Timeout:
		conclusion = "timed_out"
	}
	id, _ := strconv.ParseInt(h.ID, 10, 64) // IDs are decimal
	return map[string]any{
		"action": "completed",
		"workflow_run": map[string]any{
			"id": id, "name": h.Name, "path": h.File, "run_number": h.Number, "run_attempt": h.Attempt,
			"event": h.Event, "status": "completed", "conclusion": conclusion,
			"head_branch": h.Branch, "head_sha": h.SHA, "display_title": h.Origin.Title,
			"actor":    map[string]any{"login": h.Actor},
			"html_url": d.runURL(h.ID),
			// GitHub names the changes of the repository itself only.
			"pull_requests": []any{},
		},
		"workflow": map[string]any{"name": h.Name, "path": h.File},
	}
}

// runURL is the address of a run's page; "" when the server knows none of its own.
func (d *Desk) runURL(run string) string {
	if d.URL == "" {
		return ""
	}
	return strings.TrimSuffix(d.URL, "/") + "/runs/" + run
}
