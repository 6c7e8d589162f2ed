package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Downstream is what a job of a run asks for: the pipelines of another project.
type Downstream struct {
	Run, Job  string // who asks
	Project   string // as the code host calls it: group/name
	Ref       string // a branch or tag; "" for the default branch
	Variables map[string]string
	Wait      bool // until they have ended
}

// Started is what became of it.
type Started struct {
	Runs    []string
	Verdict plan.Verdict // of all of them; "" when nobody waited
}

// causePipeline and eventPipeline say that a run was asked for by a job of another.
const (
	causePipeline = "pipeline"
	eventPipeline = "pipeline"
)

// maxVariables is how many bytes of variables a job may hand on.
const maxVariables = 64 << 10

// Trigger starts pipelines of another project for a job of a run, once: whoever asks again
// for the same job, as after a crash, is told of the same. Both projects are
// repositories of this server and of one code host. A run of a repository may start those of
// another when it is of a protected branch, and when the other's fairlead.yaml names it
// (gitlab: triggered-by). A [plan.UsageError] says why it may not.
func (d *Desk) Trigger(ctx context.Context, w Downstream) (Started, error) {
	asks, err := d.Store.Run(ctx, w.Run)
	if err != nil {
		return Started{}, fmt.Errorf("read run %s: %w", w.Run, err)
	}
	repo, err := d.downstream(ctx, asks, &w)
	if err != nil {
		return Started{}, err
	}
	seq, err := d.requestOnce(ctx, repo, asks, &w)
	if err != nil {
		return Started{}, err
	}
	settled, err := d.Await(ctx, seq)
	if err != nil {
		return Started{}, err
	}
	s := Started{Runs: settled.Runs}
	if len(s.Runs) == 0 {
		return s, &plan.UsageError{Message: "no pipeline of " + w.Project + " was started: " + settled.Why}
	}
	if !w.Wait {
		return s, nil
	}
	var seen int64
	for _, run := range s.Runs {
		for {
			h, err := d.Runs.Head(ctx, run)
			if err != nil {
				return s, fmt.Errorf("look at run %s: %w", run, err)
			}
			if h.Verdict != "" {
				s.Verdict = plan.Worse(s.Verdict, h.Verdict)
				break
			}
			if seen, err = d.Runs.Watch(ctx, seen); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// downstream finds the repository whose pipelines a run wants, if it may have them.
func (d *Desk) downstream(ctx context.Context, asks *record.Run, w *Downstream) (*Repository, error) {
	usage := func(format string, args ...any) error { return &plan.UsageError{Message: fmt.Sprintf(format, args...)} }
	if asks.Planned == nil || asks.Planned.Origin == nil || asks.Planned.Origin.Pushed {
		return nil, usage("only a run of a server starts pipelines of other projects")
	}
	o := asks.Planned.Origin
	own, err := d.Repository(ctx, o.Repository)
	if err != nil {
		return nil, err
	}
	if o.Trust == record.Untrusted {
		return nil, usage("a change from a fork starts no other pipelines")
	}
	if deep, err := d.depth(ctx, &store.RunHead{ID: asks.ID}, maxChain); err != nil || deep >= maxChain {
		if err == nil {
			err = usage("more than %d runs have started each other in a row", maxChain)
		}
		return nil, err
	}
	size := 0
	for name, value := range w.Variables {
		size += len(name) + len(value)
	}
	if len(w.Variables) > maxInputs || size > maxVariables {
		return nil, usage("there are more than %d variables to hand on, or more than %d bytes of them", maxInputs, maxVariables)
	}
	if w.Ref != "" && !plausibleRef(w.Ref) {
		return nil, usage("%.80q is not a branch or a tag", w.Ref)
	}
	all, err := d.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	server, _ := whereabouts(&own)
	for i := range all {
		host, name := whereabouts(&all[i])
		if !strings.EqualFold(name, w.Project) || host != server {
			continue
		}
		if all[i].Name != own.Name && o.Trust != record.Protected {
			return nil, usage("only runs of protected branches and tags start pipelines of other repositories")
		}
		return &all[i], nil
	}
	return nil, usage("the project %s is not on this server", w.Project)
}

// requested is the register of a request that a job has made.
type requested struct {
	Request int64 `json:"request,omitempty"` // its Seq; 0 until that is known
}

// requestOnce asks for the runs, unless the job has done so before.
func (d *Desk) requestOnce(ctx context.Context, repo *Repository, asks *record.Run, w *Downstream) (int64, error) {
	id := asks.ID + "/" + w.Job
	by := "job " + w.Job + " of run " + asks.ID
	for {
		r, err := d.Store.Register(ctx, downstreamKind, id)
		if err != nil {
			return 0, fmt.Errorf("ask for pipelines of %s: %w", w.Project, err)
		}
		var known requested
		if r.Version > 0 {
			if err := json.Unmarshal(r.Body, &known); err != nil {
				return 0, fmt.Errorf("ask for pipelines of %s: %w", w.Project, err)
			}
			if known.Request == 0 { // whoever asked has died before it was told which request that is
				if known.Request, err = d.requestBy(ctx, by); err != nil {
					return 0, err
				}
			}
			return known.Request, nil
		}
		ref := w.Ref
		if ref != "" && !strings.HasPrefix(ref, "refs/") {
			ref = "refs/heads/" + ref
		}
		one := record.Register{Kind: downstreamKind, ID: id, Body: json.RawMessage("{}"), Expires: time.Now().Add(keepSettled)}
		events, err := d.Store.Change(ctx, []record.Register{one}, record.Event{Body: &record.RunRequested{
			Repository: repo.Name, By: by, Cause: causePipeline,
			Change: &plan.Change{Event: eventPipeline, Ref: ref, Inputs: w.Variables, Actor: asks.Planned.Change.Actor, Payload: map[string]any{followedBy: asks.ID}},
		}})
		if errors.Is(err, record.ErrConflict) {
			continue // somebody else goes on with the run, too
		}
		if err != nil {
			return 0, fmt.Errorf("ask for pipelines of %s: %w", w.Project, err)
		}
		one.Version, one.Body = 1, json.RawMessage(fmt.Sprintf(`{"request":%d}`, events[0].Seq))
		if _, err := d.Store.Change(ctx, []record.Register{one}); err != nil && !errors.Is(err, record.ErrConflict) {
			return 0, fmt.Errorf("ask for pipelines of %s: %w", w.Project, err)
		}
		return events[0].Seq, nil
	}
}

// followedBy is the part of a payload that names the run whose job asked for it.
const followedBy = "upstream_run"

// maxRequests is how many requests are looked through at once.
const maxRequests = 1000

// requestBy finds the newest request of somebody.
func (d *Desk) requestBy(ctx context.Context, by string) (int64, error) {
	for before := int64(0); ; {
		events, err := d.Runs.Events(ctx, store.EventFilter{Kinds: []record.Kind{"run.requested"}, Before: before, Limit: maxRequests})
		if err != nil {
			return 0, fmt.Errorf("look for the request of %s: %w", by, err)
		}
		if len(events) == 0 {
			return 0, fmt.Errorf("look for the request of %s: %w", by, store.ErrNotFound)
		}
		for _, e := range events {
			if b, ok := e.Body.(*record.RunRequested); ok && b.By == by {
				return e.Seq, nil
			}
			if before == 0 || e.Seq < before {
				before = e.Seq
			}
		}
	}
}

// upstream finds the repository of the run that asked for these.
func (d *Desk) upstream(ctx context.Context, w *wanted) error {
	id, _ := w.change.Payload[followedBy].(string)
	h, err := d.Runs.Head(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && h.Origin == nil {
		return &unstarted{why: "run " + id + ", whose job asked for it, is not known"}
	}
	if err != nil {
		return err
	}
	w.upstream = &h
	return nil
}

// permitted reports whether the project lets itself be started by those who ask.
func (w *wanted) permitted(repo *Repository, p *Prepared) error {
	h := w.upstream
	if h == nil || h.Origin.Repository == repo.Name {
		return nil
	}
	for _, name := range p.Project.GitLab.TriggeredBy {
		if slices.Contains([]string{h.Origin.Repository, h.Repository}, name) {
			return nil
		}
	}
	return &unstarted{why: fmt.Sprintf("its fairlead.yaml does not name %s (gitlab: triggered-by)", h.Repository)}
}
