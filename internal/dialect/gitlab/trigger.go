package gitlab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The kinds of plan.Deferred.
const (
	deferPlace   = "place"   // a job whose image, environment … hold variables that are not known yet
	deferChild   = "child"   // the child pipeline of files of the tree; Data has its jobs
	deferDynamic = "dynamic" // the child pipeline of a file that a job makes
)

// Limits of child pipelines.
const (
	maxGenerations = 3   // nested; GitLab's limit
	maxChildren    = 500 // of one pipeline, made when it is planned
)

// childSuffix is put after the name of a trigger job that does not wait for its
// child pipeline: the child is a job beside it.
const childSuffix = " (child)"

// trigger is trigger: of a job.
type trigger struct {
	project  string
	branch   string // of project
	include  *document.Node
	artifact string // of the job made
	made     string
	depend   bool // the job ends as the child pipeline does
	yaml     bool // forward:yaml_variables
	given    bool // forward:pipeline_variables
	inputs   *document.Node
	source   plan.Source
}

func (p *pipeline) readTrigger(n *document.Node) trigger {
	t := trigger{yaml: true, source: n.Source}
	if n.Kind == document.Scalar {
		t.project = p.text(n, "trigger")
		p.projectPath(t.project, n.Source)
		return t
	}
	if !p.keys(n, "trigger", []string{"project", "branch", "include", "strategy", "forward", "inputs"}) {
		return t
	}
	t.project = p.text(n.Get("project"), "project")
	if at := n.Get("project"); at != nil {
		p.projectPath(t.project, at.Source)
	}
	t.branch = p.text(n.Get("branch"), "branch")
	t.depend = p.choice(n.Get("strategy"), "strategy", "depend", "mirror") != ""
	if f := n.Get("forward"); !f.IsNull() && p.keys(f, "forward", []string{"yaml_variables", "pipeline_variables"}) {
		if yes, given := p.boolean(f.Get("yaml_variables"), "yaml_variables"); given {
			t.yaml = yes
		}
		t.given, _ = p.boolean(f.Get("pipeline_variables"), "pipeline_variables")
	}
	t.include, t.inputs = n.Get("include"), n.Get("inputs")
	if (t.project == "") == t.include.IsNull() {
		p.fail(n.Source, "value", "trigger needs either a project or an include", "write include: and the file of the child pipeline")
		t.project, t.include = "", nil
		return t
	}
	for _, item := range entriesOf(t.include) {
		if a := item.Get("artifact"); !a.IsNull() {
			t.artifact, t.made = p.text(a, "artifact"), p.text(item.Get("job"), "job")
			t.inputs = item.Get("inputs")
			if t.made == "" {
				p.fail(item.Source, "missing", "include:artifact does not say which job makes it", "write job: and its name")
			}
		}
	}
	return t
}

// projectPath reports what is no path of a project: group/name, or a variable.
func (p *pipeline) projectPath(text string, at plan.Source) {
	if !document.IsProject(text) {
		p.fail(at, "value", fmt.Sprintf("%q is no path of a project", plan.Clip(text)), "write group/name, with all its groups")
	}
}

// entriesOf are the entries of an include.
func entriesOf(n *document.Node) []*document.Node {
	switch {
	case n.IsNull():
		return nil
	case n.Kind == document.Sequence:
		return n.Items
	}
	return []*document.Node{n}
}

// triggerJobs are the jobs of a cell that starts another pipeline.
func (p *pipeline) triggerJobs(job plan.Job, c *cell, spec *jobSpec) []plan.Job {
	t := p.readTrigger(c.entry.trigger)
	vars := p.varsOf(spec)
	var passed []variable
	if t.yaml {
		for _, v := range spec.Variables {
			if !v.Raw {
				v.Value = vars.expand(v.Value, true)
			}
			passed = append(passed, v)
		}
	}
	if t.project != "" {
		return []plan.Job{p.outside(job, c, t, &vars, passed)}
	}
	child := job
	out := []plan.Job{job}
	if !t.depend {
		// The trigger job has done its work when the child pipeline is there;
		// how that ends is nobody's concern.
		child.ID, child.Name, child.Needs = job.ID+childSuffix, job.Name+childSuffix, []string{c.id}
		child.If = plan.Expr{Text: ifWhen + "on_success", Source: job.Source}
		child.ContinueOnError, child.Retry, child.Delay, child.Tolerate = true, nil, 0, nil
		child.Values = map[string]any{valueGate: jsonLike(gate{Name: child.Name, When: "on_success", DAG: true, Needs: []string{c.id}, Stage: c.entry.stage}), valueJob: job.Values[valueJob]}
		out = append(out, plan.Job{})
	}
	if t.artifact != "" {
		id := strings.ReplaceAll(t.made, "/", "-")
		if made := p.byName[t.made]; len(made) == 0 || !made[0].in {
			p.blame(t.source, "include", fmt.Sprintf("%s includes %s of the job %s, which is not there", plan.Clip(c.name), plan.Clip(t.artifact), plan.Clip(t.made)), "check the name of the job")
		} else if len(made[0].cells) > 0 {
			id = made[0].cells[0].id
		}
		if p.parent != "" {
			id = p.parent + "/" + id
		}
		child.Deferred = &plan.Deferred{Kind: deferDynamic, Source: t.source, Data: map[string]any{
			"job": id, "file": vars.text(t.artifact), "passed": jsonLike(passed),
		}}
	} else {
		child.Deferred = p.child(&child, t, passed)
	}
	out[len(out)-1] = child
	return out
}

// stepTrigger is the step that starts a pipeline of another project.
const stepTrigger = "trigger"

// outside makes the job that starts a pipeline of another project: where both are on
// one server.
func (p *pipeline) outside(job plan.Job, c *cell, t trigger, vars *variables, passed []variable) plan.Job {
	project := vars.text(t.project)
	p.warn(t.source, "unsupported", fmt.Sprintf("%s starts a pipeline of project %s, which a server does that has both; elsewhere the job ends in error when its turn comes",
		plan.Clip(c.name), plan.Clip(project)), "leave it out of the run, or start that pipeline where it is")
	if t.given {
		passed = layers(passed, p.given)
	}
	values := map[string]any{}
	for _, v := range passed {
		values[v.Name] = v.Value
	}
	job.Place = plan.Place{Home: true, Source: t.source}
	job.Steps = []plan.Step{{
		Key: stepTrigger, ID: stepTrigger, Name: "Start the pipeline of " + project, Source: t.source, If: plan.Expr{Text: ifSuccess, Source: t.source},
		Use:  &plan.Use{Ref: stepTrigger, Source: t.source},
		Data: map[string]any{"project": project, "branch": vars.text(t.branch), "wait": t.depend, "variables": values},
	}}
	return job
}

// Downstream is the pipeline of another project that a job starts.
type Downstream struct {
	Run, Job        string // who asks
	Project, Branch string // "" for the default branch
	Variables       map[string]string
	Wait            bool // until it has ended
}

// trigger starts the pipeline of another project.
func (w *work) trigger(ctx context.Context, b *plan.Builtin) error {
	job := w.s.Job
	at := job.Steps[0].Source
	down := Downstream{Run: w.s.RunID, Job: job.ID, Project: b.Inputs["project"], Branch: b.Inputs["branch"], Wait: b.Inputs["wait"] == "true"}
	if err := json.Unmarshal([]byte(b.Inputs["variables"]), &down.Variables); err != nil {
		return fmt.Errorf("gitlab: read the variables of %s: %w", job.ID, err)
	}
	if w.d.cfg.Trigger == nil {
		return lacking(at, "trigger", fmt.Sprintf("%s starts a pipeline of project %s, which cannot be done here", job.Name, down.Project), "start it where that project is")
	}
	runs, verdict, err := w.d.cfg.Trigger(ctx, down)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return lacking(at, "trigger", fmt.Sprintf("%s starts a pipeline of project %s: %v", job.Name, down.Project, err), "start it where that project is")
	}
	w.say("Started %s of project %s", runsText(runs), down.Project)
	switch {
	case verdict.Bad() || verdict == plan.Cancelled:
		w.fail("%s of project %s ended in %s", runsText(runs), down.Project, verdict)
	case verdict != "":
		w.say("It ended in %s", verdict)
	}
	return nil
}

// runsText names runs.
func runsText(runs []string) string {
	if len(runs) == 1 {
		return "run " + runs[0]
	}
	return "runs " + strings.Join(runs, ", ")
}

// child makes a child pipeline of files of the tree.
func (c *compiler) child(job *plan.Job, t trigger, passed []variable, report *reporter) *plan.Deferred {
	bad := &plan.Deferred{Kind: deferChild, Source: t.source}
	if t.include.IsNull() {
		return bad // which has been reported
	}
	if c.generation >= maxGenerations && c.change == nil {
		return bad // rules may keep it from coming to that
	}
	if c.generation >= maxGenerations {
		report.fail(t.source, "limit", fmt.Sprintf("more than %d pipelines trigger one another in a row", maxGenerations), "trigger the inner one directly")
		return bad
	}
	if *c.children++; *c.children > maxChildren || c.ctx.Err() != nil {
		report.fail(t.source, "limit", fmt.Sprintf("more than %d child pipelines are started", maxChildren), "start fewer")
		return bad
	}
	inner := *c
	inner.generation++
	inner.event = "parent_pipeline"
	inner.strong = layers(c.project, passed)
	inner.passed = passed
	if t.given {
		inner.strong = layers(inner.strong, c.given)
		inner.passed = layers(passed, c.given)
	}
	inner.base = layers(c.base, []variable{{Name: "CI_PIPELINE_SOURCE", Value: inner.event, Raw: true}})
	include := t.include
	if t.inputs != nil && include.Kind == document.Mapping && include.Get("inputs") == nil {
		include = document.WithField(include, "inputs", t.inputs)
	}
	doc := document.Include(c.ctx, inner.options(), include)
	p, r := inner.pipeline(doc, job.ID)
	jobs := p.jobs()
	for _, problem := range slices.Concat(doc.Problems, p.problems) {
		report.add(problem)
	}
	c.hang = inner.hang || p.hang
	c.texts = append(inner.texts, doc.Texts...)
	if !r.in {
		jobs = nil
		report.warn(t.source, "trigger", fmt.Sprintf("%s starts no pipeline: %s", plan.Clip(job.Name), r.why), "look at the rules of the child pipeline")
	}
	bad.Data = map[string]any{"jobs": jsonLike(jobs), "why": r.why}
	return bad
}

// Expand implements [dialect.Dialect].
func (d *Dialect) Expand(ctx context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	scope := *s
	scope.Job = job
	switch at := job.Deferred.Source; job.Deferred.Kind {
	case deferPlace:
		return d.placed(ctx, job, &scope)
	case deferChild:
		var data struct {
			Jobs []plan.Job `json:"jobs"`
			Why  string     `json:"why"`
		}
		if err := fromJSONLike(job.Deferred.Data, &data); err != nil {
			return nil, fmt.Errorf("gitlab: read the child pipeline of %s: %w", job.ID, err)
		}
		if len(data.Jobs) == 0 {
			return nil, wrong(at, "trigger", fmt.Sprintf("the pipeline that %s starts has no jobs: %s", job.Name, data.Why), "look at the rules of the child pipeline and of its jobs")
		}
		return &plan.Expansion{Jobs: data.Jobs}, nil
	case deferDynamic:
		return d.dynamic(ctx, job, &scope)
	}
	return nil, fmt.Errorf("gitlab: job %s is deferred as %q, which this version does not know", job.ID, job.Deferred.Kind)
}

// wholeID is the last part of the ID of a job that is all that another became.
const wholeID = "1"

// placed makes the one job concrete, now that all its variables are known.
func (d *Dialect) placed(ctx context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	spec, err := specOf(job)
	if err != nil {
		return nil, err
	}
	env, err := environmentOf(s, spec, d.commits.of(ctx, s))
	if err != nil {
		return nil, err
	}
	whole := *job
	whole.ID, whole.Needs, whole.Deferred = job.ID+"/"+wholeID, nil, nil
	whole.If = plan.Expr{Text: ifBegun, Source: job.If.Source}
	whole.Delay, whole.ContinueOnError, whole.Tolerate = 0, job.ContinueOnError, job.Tolerate
	whole.Values = map[string]any{valueJob: job.Values[valueJob], valueNeeds: jsonLike(s.Needs)}
	place(&whole, spec, &env.variables)
	return &plan.Expansion{Jobs: []plan.Job{whole}}, nil
}

// needsOf are the outcomes of the jobs that the job of a scope needs, also when
// it is what became of a deferred one, which has no needs of its own.
func needsOf(s *plan.Scope) map[string]plan.Outcome {
	if s.Job == nil || s.Job.Values[valueNeeds] == nil {
		return s.Needs
	}
	var kept map[string]plan.Outcome
	text, err := json.Marshal(s.Job.Values[valueNeeds])
	if err != nil || json.Unmarshal(text, &kept) != nil {
		return s.Needs
	}
	return kept
}

// dynamic makes the child pipeline of a file that a job has made.
func (d *Dialect) dynamic(ctx context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error) {
	var data struct {
		Job    string     `json:"job"`
		File   string     `json:"file"`
		Passed []variable `json:"passed"`
	}
	if err := fromJSONLike(job.Deferred.Data, &data); err != nil {
		return nil, fmt.Errorf("gitlab: read the trigger %s: %w", job.ID, err)
	}
	at := job.Deferred.Source
	body, err := d.artifactFile(ctx, s, data.Job, data.File, at)
	if err != nil {
		return nil, err
	}
	c, err := d.late(ctx, s)
	if err != nil {
		return nil, err
	}
	c.generation = strings.Count(job.ID, "/") + 1
	c.event = "parent_pipeline"
	c.passed = data.Passed
	c.strong = layers(c.strong, data.Passed)
	c.base = layers(c.base, []variable{{Name: "CI_PIPELINE_SOURCE", Value: c.event, Raw: true}})
	options := c.options()
	options.File = data.File
	options.Tree.Name = data.Job + ":"
	doc := document.Parsed(ctx, options, body)
	p, r := c.pipeline(doc, job.ID)
	jobs := p.jobs()
	for _, problem := range slices.Concat(doc.Problems, p.problems) {
		if problem.Severity == plan.Error {
			return nil, wrong(at, problem.Rule, fmt.Sprintf("the pipeline that %s has made has errors: %s", data.Job, problem.String()), problem.Hint)
		}
	}
	if !r.in || len(jobs) == 0 {
		return nil, wrong(at, "trigger", fmt.Sprintf("the pipeline that %s starts has no jobs: %s", job.Name, r.why), "look at what the job has made")
	}
	return &plan.Expansion{Jobs: jobs}, nil
}
