package github

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The kinds of plan.Deferred.
const (
	deferMatrix = "matrix"
	deferCall   = "call"
	deferFields = "fields"
)

// maxMinutes bounds timeouts: what is longer is a mistake, and would overflow.
const maxMinutes = 60 * 24 * 365

// builder makes the jobs of one workflow.
type builder struct {
	w      *workflow.Workflow
	prefix string         // of IDs
	title  string         // in front of names
	values map[string]any // that all jobs of the file have

	// scope is what is known already, and known says which parts of it count
	// as such. A nil scope knows nothing.
	scope *plan.Scope
	known func(expression.Path) bool
}

func (b *builder) jobs() []plan.Job {
	jobs := make([]plan.Job, len(b.w.Jobs))
	for i, j := range b.w.Jobs {
		jobs[i] = b.job(j)
	}
	return jobs
}

// job makes a job concrete if everything is known, and else leaves it deferred.
func (b *builder) job(j *workflow.Job) plan.Job {
	job := plan.Job{
		ID:     b.prefix + j.ID.Text,
		Name:   b.title + cmp.Or(j.Name.Text, j.ID.Text),
		Source: j.ID.Source,
		If:     plan.Expr{Text: j.Condition, Source: cmp.Or(j.If.Source, j.ID.Source)},
		Values: b.jobValues(j),
	}
	for _, n := range j.Needs {
		id := n.Text
		if other := b.w.Job(id); other != nil {
			id = other.ID.Text // IDs ignore case
		}
		if !slices.Contains(job.Needs, id) {
			job.Needs = append(job.Needs, id)
		}
	}
	switch {
	case j.Strategy != nil && (j.Strategy.Matrix != nil || j.Strategy.Expr.Given()):
		job.Deferred = &plan.Deferred{Kind: deferMatrix, Source: j.Strategy.Source}
		return job
	case j.Uses.Given():
		job.Deferred = &plan.Deferred{Kind: deferCall, Source: j.Uses.Source}
		job.Concurrency = concurrency(j.Concurrency)
		return job
	case b.knows(j):
		scope := plan.Scope{}
		if b.scope != nil {
			scope = *b.scope
		}
		whole := job
		if b.complete(&whole, j, &scope) == nil {
			return whole
		}
		// What is wrong is told when the job's turn comes, if it does.
	}
	job.Deferred = &plan.Deferred{Kind: deferFields, Source: cmp.Or(j.RunsOn.Source, j.ID.Source)}
	return job
}

func (b *builder) jobValues(j *workflow.Job) map[string]any {
	values := make(map[string]any, len(b.values)+2)
	maps.Copy(values, b.values)
	values[valueFile] = b.w.Source.File
	values[valueJob] = j.ID.Text
	return values
}

// complete fills in what a deferred job leaves open. The job's Values must be
// those that its expressions see.
func (b *builder) complete(job *plan.Job, j *workflow.Job, s *plan.Scope) error {
	parts := b.parts(j)
	job.Env, job.Steps, job.Outputs = parts.env, parts.steps, parts.outputs
	job.Concurrency, job.Permissions = parts.concurrency, parts.permissions
	return b.place(job, j, s)
}

// parts are what all jobs that one entry becomes have in common, and share.
type parts struct {
	env, outputs []plan.Binding
	steps        []plan.Step
	concurrency  *plan.Concurrency
	permissions  map[string]string
}

func (b *builder) parts(j *workflow.Job) parts {
	d := defaults{}
	d.add(b.w.Defaults)
	d.add(j.Defaults)
	return parts{
		env:         append(pairs(b.w.Env), pairs(j.Env)...),
		outputs:     pairs(j.Outputs),
		steps:       steps(j.Steps, "", d),
		concurrency: concurrency(j.Concurrency),
		permissions: permissions(b.w.PermissionsOf(j, nil)),
	}
}

// place computes the fields that are concrete in a plan.
func (b *builder) place(job *plan.Job, j *workflow.Job, s *plan.Scope) error {
	scope := *s
	scope.Job = job
	e := &evaluator{s: &scope}
	var err error
	if j.Name.Given() {
		name, err := e.text(j.Name)
		if err != nil {
			return err
		}
		job.Name = b.title + cmp.Or(name, j.ID.Text)
	}
	if job.Place, err = e.runsOn(j.RunsOn); err != nil {
		return err
	}
	minutes, err := e.number(j.Timeout, "timeout-minutes", 0)
	if err != nil {
		return err
	}
	if job.Timeout, err = duration(minutes, j.Timeout.Source); err != nil {
		return err
	}
	if job.ContinueOnError, err = e.boolean(j.ContinueOnError, "continue-on-error", false); err != nil {
		return err
	}
	if j.Environment != nil {
		name, err := e.text(j.Environment.Name)
		if err != nil {
			return err
		}
		if name != "" {
			job.Environment = &plan.Environment{Name: name, URL: expr(j.Environment.URL), Source: j.Environment.Source}
		}
	}
	if j.Container != nil {
		if job.Place.Container, err = e.container(j.Container); err != nil {
			return err
		}
		if c := job.Place.Container; c != nil {
			c.Entrypoint = cleared()
		}
	}
	job.Place.Services, err = e.services(j.Services)
	return err
}

func duration(minutes float64, at plan.Source) (time.Duration, error) {
	if minutes < 0 {
		return 0, wrong(at, "type", fmt.Sprintf("timeout-minutes is %s and must not be negative", expression.String(minutes)), "")
	}
	return time.Duration(min(minutes, maxMinutes) * float64(time.Minute)), nil
}

// runsOn is where a job wants to run.
func (e *evaluator) runsOn(r workflow.RunsOn) (plan.Place, error) {
	p := plan.Place{Source: r.Source}
	add := func(v any) {
		if s := expression.String(v); s != "" {
			p.Labels = append(p.Labels, s)
		}
	}
	for _, l := range r.Labels {
		v, err := e.value(l)
		if err != nil {
			return p, err
		}
		if list, ok := asList(v); ok {
			for _, x := range list {
				add(x)
			}
			continue
		}
		fields := objectFields(v, l.Source)
		for _, f := range fields {
			switch list, ok := asList(f.value); {
			case f.key == "group":
				p.Group = expression.String(f.value)
			case ok:
				for _, x := range list {
					add(x)
				}
			default:
				add(f.value)
			}
		}
		if fields == nil {
			add(v)
		}
	}
	var err error
	if r.Group.Given() {
		p.Group, err = e.text(r.Group)
	}
	if err == nil && len(p.Labels) == 0 && p.Group == "" {
		err = wrong(r.Source, "runs-on", "runs-on comes to nothing", "name a machine, such as ubuntu-latest")
	}
	return p, err
}

// container is an image to run in; nil when its expressions come to none.
func (e *evaluator) container(c *workflow.Container) (*plan.Container, error) {
	out := &plan.Container{Source: c.Source}
	if c.Expr.Given() {
		v, err := e.value(c.Expr)
		if err != nil {
			return nil, err
		}
		fields := objectFields(v, c.Expr.Source)
		if fields == nil {
			out.Image = strings.TrimPrefix(expression.String(v), "docker://")
		}
		fillContainer(out, fields)
		if out.Image == "" {
			return nil, nil
		}
		return out, nil
	}
	var err error
	text := func(s workflow.Str) string {
		v, failed := e.text(s)
		err = cmp.Or(err, failed)
		return v
	}
	out.Image = strings.TrimPrefix(text(c.Image), "docker://")
	out.Options, out.Entrypoint, out.Command = text(c.Options), plan.Words(text(c.Entrypoint)), plan.Words(text(c.Command))
	for _, s := range c.Ports {
		out.Ports = append(out.Ports, text(s))
	}
	for _, s := range c.Volumes {
		out.Volumes = append(out.Volumes, text(s))
	}
	if err != nil {
		return nil, err
	}
	if len(c.Env) > 0 {
		out.Env = map[string]string{}
		for _, p := range pairs(c.Env) {
			// Secrets are not in a plan: a value that holds one stays an
			// expression, and whoever starts the container asks for it.
			if strings.Contains(p.Value.Text, "secrets") {
				out.Private = append(out.Private, p)
				continue
			}
			list, err := e.bindings([]plan.Binding{p})
			if err != nil {
				return nil, err
			}
			for _, b := range list {
				out.Env[b.Name] = b.Value
			}
		}
	}
	if c.Credentials != nil {
		out.Username, out.Password = expr(c.Credentials.Username), expr(c.Credentials.Password)
	}
	if out.Image == "" {
		return nil, nil
	}
	return out, nil
}

func (e *evaluator) services(list []workflow.Service) (map[string]plan.Container, error) {
	var out map[string]plan.Container
	add := func(name string, c *plan.Container) {
		if c == nil {
			return // an empty image leaves the service out
		}
		if out == nil {
			out = map[string]plan.Container{}
		}
		out[name] = *c
	}
	for _, s := range list {
		if !s.Insert {
			c, err := e.container(s.Container)
			if err != nil {
				return nil, err
			}
			add(s.Name.Text, c)
			continue
		}
		v, err := e.value(s.Container.Expr)
		if err != nil {
			return nil, err
		}
		for _, f := range objectFields(v, s.Container.Source) {
			c := &plan.Container{Source: s.Container.Source}
			if inner := objectFields(f.value, c.Source); inner != nil {
				fillContainer(c, inner)
			} else {
				c.Image = expression.String(f.value)
			}
			if c.Image == "" {
				c = nil
			}
			add(f.key, c)
		}
	}
	return out, nil
}

// fillContainer takes a container from what an expression came to.
func fillContainer(c *plan.Container, fields []field) {
	texts := func(v any) (out []string) {
		list, _ := asList(v)
		for _, x := range list {
			out = append(out, expression.String(x))
		}
		return out
	}
	for _, f := range fields {
		switch f.key {
		case "image":
			c.Image = strings.TrimPrefix(expression.String(f.value), "docker://")
		case "options":
			c.Options = expression.String(f.value)
		case "entrypoint":
			c.Entrypoint = plan.Words(expression.String(f.value))
		case "command":
			c.Command = plan.Words(expression.String(f.value))
		case "ports":
			c.Ports = texts(f.value)
		case "volumes":
			c.Volumes = texts(f.value)
		case "env":
			c.Env = map[string]string{}
			for _, e := range objectFields(f.value, f.at) {
				c.Env[e.key] = expression.String(e.value)
			}
		}
	}
}

// concurrency keeps its expressions: the engine asks for them when the job's
// turn has come.
func concurrency(c *workflow.Concurrency) *plan.Concurrency {
	if c == nil || c.Group.Text == "" {
		return nil
	}
	return &plan.Concurrency{
		Group: expr(c.Group), CancelInProgress: expr(c.CancelInProgress),
		Queue: c.Queue.Text == "max", Source: c.Source,
	}
}

func permissions(p *workflow.Permissions) map[string]string {
	if p == nil {
		return nil
	}
	if p.All.Given() {
		return map[string]string{"all": strings.TrimSuffix(p.All.Text, "-all")}
	}
	out := make(map[string]string, len(p.Scopes))
	for _, s := range p.Scopes {
		out[s.Key.Text] = s.Value.Text
	}
	return out
}

// defaults are the settings of run steps that do not say them.
type defaults struct{ shell, dir workflow.Str }

func (d *defaults) add(w *workflow.Defaults) {
	if w == nil {
		return
	}
	if w.Shell.Given() {
		d.shell = w.Shell
	}
	if w.WorkingDirectory.Given() {
		d.dir = w.WorkingDirectory
	}
}

// steps turns the steps of a file into those of a plan. prefix is in front of
// their keys: "" or "3.".
func steps(list []*workflow.Step, prefix string, d defaults) []plan.Step {
	if len(list) == 0 {
		return nil
	}
	out := make([]plan.Step, len(list))
	for i, s := range list {
		step := plan.Step{
			Key:             prefix + strconv.Itoa(i+1),
			ID:              s.ID.Text,
			Name:            stepName(s),
			Source:          s.Source,
			Env:             pairs(s.Env),
			Timeout:         expr(s.Timeout),
			ContinueOnError: expr(s.ContinueOnError),
			Data:            map[string]any{dataAction: s.Key},
		}
		if s.Condition != "" {
			step.If = plan.Expr{Text: s.Condition, Source: cmp.Or(s.If.Source, s.Source)}
		}
		step.Background, _ = s.Background.Bool()
		switch s.Kind() {
		case "run":
			step.Run = &plan.Script{Text: expr(s.Run), Shell: expr(s.Shell), Dir: expr(s.WorkingDirectory)}
			if !s.Shell.Given() {
				step.Run.Shell = expr(d.shell)
			}
			if !s.WorkingDirectory.Given() {
				step.Run.Dir = expr(d.dir)
			}
		case "uses":
			step.Use = &plan.Use{Ref: s.Uses.Text, With: pairs(s.With), Source: s.Uses.Source}
		case "wait":
			step.Wait = &plan.Wait{}
			for _, id := range s.Wait {
				step.Wait.IDs = append(step.Wait.IDs, id.Text)
			}
		case "wait-all":
			step.Wait = &plan.Wait{All: true}
		case "cancel":
			step.Cancel = s.Cancel.Text
		case "parallel":
			step.Parallel = steps(s.Parallel, step.Key+".", d)
		}
		out[i] = step
	}
	return out
}

// dataAction is the entry of a step's Data with its name for GITHUB_ACTION.
const dataAction = "action"

// stepName is how people see a step that has no name.
func stepName(s *workflow.Step) string {
	if s.Name.Text != "" {
		return s.Name.Text
	}
	switch s.Kind() {
	case "run":
		line, _, _ := strings.Cut(strings.TrimSpace(s.Run.Text), "\n")
		return "Run " + strings.TrimSpace(line)
	case "uses":
		return "Run " + s.Uses.Text
	case "wait":
		var ids []string
		for _, id := range s.Wait {
			ids = append(ids, id.Text)
		}
		return "Wait for " + strings.Join(ids, ", ")
	case "wait-all":
		return "Wait for all background steps"
	case "cancel":
		return "Cancel " + s.Cancel.Text
	}
	return "Run in parallel"
}

// knowsText reports whether every expression of a text can be read now.
func (b *builder) knowsText(s workflow.Str) bool {
	if !s.HasExpr() {
		return true
	}
	if b.scope == nil {
		return false
	}
	t, err := expression.ParseTemplate(s.Text)
	if err != nil {
		return true // the problem is known now
	}
	for _, h := range t.Holes() {
		for _, p := range h.Paths() {
			if !b.known(p) {
				return false
			}
		}
	}
	return true
}

// knows reports whether all the fields of a job that are concrete in a plan
// can be computed now.
func (b *builder) knows(j *workflow.Job) bool {
	return !slices.ContainsFunc(placeFields(j), func(s workflow.Str) bool { return !b.knowsText(s) })
}

// placeFields are the scalars that make up what is concrete of a job.
func placeFields(j *workflow.Job) []workflow.Str {
	list := append([]workflow.Str{j.Name, j.RunsOn.Group, j.Timeout, j.ContinueOnError}, j.RunsOn.Labels...)
	if j.Environment != nil {
		list = append(list, j.Environment.Name)
	}
	container := func(c *workflow.Container) {
		list = append(list, c.Expr, c.Image, c.Options, c.Entrypoint, c.Command)
		list = append(list, c.Ports...)
		list = append(list, c.Volumes...)
		for _, p := range c.Env {
			list = append(list, p.Value)
		}
	}
	if j.Container != nil {
		container(j.Container)
	}
	for _, s := range j.Services {
		container(s.Container)
	}
	return list
}

// knownEarly says what is known when a workflow is compiled for a change: the
// change, and a person's inputs, but neither the run nor its variables.
func knownEarly(p expression.Path) bool {
	switch p.Context {
	case "inputs":
		return true
	case "github":
		if len(p.Parts) == 0 || p.Parts[0].Computed || p.Parts[0].Wildcard {
			return false
		}
		switch strings.ToLower(p.Parts[0].Name) {
		case "ref", "sha", "repository", "repository_owner", "event_name", "event", "ref_name", "ref_type",
			"head_ref", "base_ref", "actor", "server_url", "workflow":
			return true
		}
	}
	return false
}

// knownLate says what is known when a workflow is called: everything of the
// run, but not how the needs of its own jobs end.
func knownLate(p expression.Path) bool {
	switch p.Context {
	case "github", "inputs", "vars":
		return true
	}
	return false
}
