package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const (
	deployedReader = "deployed" // of the log, and its lease
	// PipelineDriver is the driver of what jobs of pipelines deploy by themselves.
	PipelineDriver = "pipeline"
	// maxKnownRuns is how many runs' plans are kept in mind.
	maxKnownRuns = 500
	// maxDeployTry is how often a register is written that others write, too.
	maxDeployTry = 10
)

// Pipelines finds deployments among the jobs of pipelines: a job that names an environment (GitHub, GitLab, Azure) and succeeds, and a
// stage of a Jenkinsfile whose name says that it deploys ("Deploy to staging"). What was deployed so is a
// [record.Track] like any other, without a release; one that Fairlead itself moves is left alone.
//
// It is a reader of the log. To read an event twice is harmless: the newest deployment
// counts, and a register that says it already is not written again.
type Pipelines struct {
	Store Store
	Runs  Runs
	// Log is told of what cannot be learned; nil: nobody is.
	Log func(doing string, err error)

	known map[string]*deploying // by run; of whoever holds the lease
}

// deploying is what of a run's plan says where its jobs deploy to.
type deploying struct {
	repository, commit, ref string
	jobs                    map[string]string // environment by job
	stages                  bool              // it is a program, whose stages say it
}

// Learn reads to the end of the record. The error is a [store.HeldError] when somebody else is at it.
func (p *Pipelines) Learn(ctx context.Context) error { return p.reader().once(ctx, p.learn) }

// Follow learns until ctx ends.
func (p *Pipelines) Follow(ctx context.Context) { p.reader().follow(ctx) }

func (p *Pipelines) reader() *reader {
	return &reader{lease: deployedReader, who: "who looks for deployments", doing: "look for deployments", pause: followPause, store: p.Store, runs: p.Runs, log: p.Log, learn: p.learn}
}

func (p *Pipelines) learn(ctx context.Context, lease store.Lease) error {
	newest, err := p.Runs.Watch(ctx, -1)
	if err != nil {
		return err
	}
	from, err := p.Store.Marked(ctx, deployedReader)
	if err != nil {
		return err
	}
	p.known = map[string]*deploying{}
	for e, err := range p.Runs.AfterKinds(ctx, from, "run.planned", "job.finished", "step.finished") {
		switch {
		case e.Seq == 0:
			return err
		case e.Seq > newest:
			return p.Store.Mark(ctx, deployedReader, newest)
		case err != nil:
			continue // of a newer Fairlead
		}
		if err := lost(lease); err != nil {
			return err
		}
		// What cannot be written now is tried again: nothing after it is marked as read.
		if err := p.take(ctx, e); err != nil {
			return fmt.Errorf("take down what run %s deployed: %w", e.Run, err)
		}
	}
	if newest <= from {
		return nil
	}
	return p.Store.Mark(ctx, deployedReader, newest)
}

// take looks at one event.
func (p *Pipelines) take(ctx context.Context, e record.Event) error {
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		p.remember(e.Run, b)
	case *record.JobFinished:
		if b.Verdict != plan.Success {
			return nil
		}
		d, err := p.of(ctx, e.Run)
		if err != nil || d == nil || d.jobs[e.Job] == "" {
			return err
		}
		return p.deployed(ctx, e, d, d.jobs[e.Job])
	case *record.StepFinished:
		environment := deployStage(b.Name)
		if b.Conclusion != plan.Success || environment == "" {
			return nil
		}
		d, err := p.of(ctx, e.Run)
		if err != nil || d == nil || !d.stages {
			return err
		}
		return p.deployed(ctx, e, d, environment)
	}
	return nil
}

// stageName is how stages are called that deploy.
var stageName = regexp.MustCompile(`(?i)^(?:deploy|release|rollout|promote)(?:ing|ment)?(?:\s+to|\s*[:\-]|\s)\s*(?:the\s+)?([a-z][a-z0-9._-]{1,60})$`)

// deployStage is the environment that a stage deploys to, going by its name; "" for none.
func deployStage(name string) string {
	m := stageName.FindStringSubmatch(strings.TrimSpace(name))
	if m == nil {
		return ""
	}
	switch environment := strings.ToLower(m[1]); environment {
	case "prod", "production", "live":
		return "production"
	case "stage", "staging":
		return "staging"
	case "dev", "development", "test", "testing", "qa", "uat", "int", "integration", "preprod", "preview", "canary", "demo", "sandbox":
		return environment
	}
	return "" // "Deploy artifacts", "Release notes": no place
}

// of is what is known of a run; nil when it deploys nothing.
func (p *Pipelines) of(ctx context.Context, id string) (*deploying, error) {
	if d, ok := p.known[id]; ok {
		return d, nil
	}
	run, err := p.Runs.Run(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case run.Planned == nil:
		return nil, nil
	}
	return p.remember(id, run.Planned), nil
}

func (p *Pipelines) remember(id string, b *record.RunPlanned) *deploying {
	if len(p.known) >= maxKnownRuns {
		clear(p.known)
	}
	p.known[id] = nil
	if b.Change == nil || b.Pipeline == nil || b.Change.Dirty {
		return nil // a tree that nobody else has is in no environment
	}
	d := &deploying{repository: b.Change.Repository, commit: b.Change.SHA, ref: b.Change.Ref, jobs: map[string]string{}, stages: b.Pipeline.Dialect == "jenkins"}
	if b.Origin != nil {
		d.repository = b.Origin.Repository
	}
	for i := range b.Pipeline.Jobs {
		// A name that is known only while the job runs stays in the log.
		if j := &b.Pipeline.Jobs[i]; j.Environment != nil && j.Environment.Name != "" && !strings.ContainsAny(j.Environment.Name, "$\n") {
			d.jobs[j.ID] = j.Environment.Name
		}
	}
	if len(d.jobs) == 0 && !d.stages || d.repository == "" {
		return nil
	}
	p.known[id] = d
	return d
}

// deployed writes down that a commit is in an environment from then on.
func (p *Pipelines) deployed(ctx context.Context, e record.Event, d *deploying, environment string) error {
	_, short, _ := strings.Cut(d.repository, "/")
	service := cmp.Or(short, d.repository) // as the numbers of delivery call it
	id := d.repository + "\n" + environment + "\n" + service
	for try := 0; ; try++ {
		reg, err := p.Store.Register(ctx, "track", id)
		if err != nil {
			return err
		}
		var t record.Track
		if reg.Version > 0 {
			if err := json.Unmarshal(reg.Body, &t); err != nil {
				return fmt.Errorf("read what is deployed (%q): %w", id, err)
			}
		}
		if t.Driver != "" && t.Driver != PipelineDriver || !t.Since.Before(e.Time) {
			return nil // Fairlead moves it, or something newer is there, or this very deployment
		}
		t = record.Track{Repository: d.repository, Service: service, Environment: environment, Order: t.Order, Driver: PipelineDriver, Run: e.Run,
			Commit: d.commit, Version: pipelineVersion(d), Since: e.Time.UTC()}
		body, err := json.Marshal(&t)
		if err != nil {
			return err
		}
		_, err = p.Store.Change(ctx, []record.Register{{Kind: "track", ID: id, Version: reg.Version, Body: body}})
		if err == nil || !errors.Is(err, record.ErrConflict) || try == maxDeployTry {
			return err
		}
	}
}

// pipelineVersion is what people call what was deployed: a tag, or the beginning of a commit.
func pipelineVersion(d *deploying) string {
	if tag, ok := strings.CutPrefix(d.ref, "refs/tags/"); ok && tag != "" {
		return tag
	}
	return d.commit[:min(len(d.commit), 12)]
}
