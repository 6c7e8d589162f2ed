package gitlab

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of a pipeline.
const (
	maxJobs = 2000     // cells counted one by one: each job knows of all before it
	maxPlan = 32 << 20 // bytes of what is kept of its jobs
)

// The edges of every pipeline.
const (
	stagePre  = ".pre"
	stagePost = ".post"
)

// pipeline is one that is being made of a document.
type pipeline struct {
	*conditions
	doc  *document.Document
	root *document.Node

	// parent is the ID of the trigger job, for a child pipeline.
	parent string
	// base are the predefined variables, strong those that override what
	// the files say.
	base, strong []variable
	project      []variable // of the project; part of strong
	onHost       bool       // image and services are ignored
	passed       []variable // by the trigger job; part of strong
	given        []variable // for this run; part of strong
	global       []variable
	stages       []string
	entries      []*entry
	auto         plan.AutoCancel
	kept         int // bytes of what is kept of the jobs made so far
	// byName are the entries by their names, also those that rules keep out:
	// several where the cells of a matrix fare differently.
	byName map[string][]*entry
	// child makes the pipeline of a trigger job.
	child func(job *plan.Job, t trigger, passed []variable) *plan.Deferred
}

// entry is a job as it stands in the file.
type entry struct {
	name   string
	source plan.Source
	node   *document.Node
	spec   jobSpec // but for what tells its cells apart
	stage  int     // index into stages
	in     bool
	why    string // it is not in

	when     string
	delay    time.Duration
	allow    bool
	tolerate []int
	retry    *plan.Retry
	timeout  time.Duration
	trigger  *document.Node

	interruptible bool

	dag          bool
	needs        []need
	dependencies *[]string // nil: not said

	cells []*cell
}

// cell is one of the jobs that an entry becomes: its only one, as a rule.
type cell struct {
	entry     *entry
	id        string
	name      string
	index     int // from 1; 0 when there is only one
	total     int
	variables []variable // of the matrix

	needs []*cell // that it needs, in file order
}

// degraded reports whether a part of the pipeline is missing.
func (p *pipeline) degraded() bool { return len(p.doc.Gone) > 0 }

// blame reports what is an error, unless a part of the pipeline is missing and
// probably to blame.
func (p *pipeline) blame(at plan.Source, rule, message, hint string) {
	if p.degraded() {
		p.warn(at, rule, message, "an include that could not be had may be why")
		return
	}
	p.fail(at, rule, message, hint)
}

// workflow decides whether there is a pipeline at all.
func (p *pipeline) workflow() ruling {
	p.global = p.variables(p.root.Get("variables"), "variables", true)
	n := p.root.Get("workflow")
	if n.IsNull() {
		return ruling{in: true, why: "there are no rules for the whole pipeline"}
	}
	if !p.keys(n, "workflow", []string{"rules", "name", "auto_cancel"}) {
		return ruling{in: true}
	}
	p.cancels(n.Get("auto_cancel"))
	rules := n.Get("rules")
	if rules.IsNull() {
		return ruling{in: true, at: n.Source, why: "there are no rules for the whole pipeline"}
	}
	vars := expandVariables(layers(p.base, p.global, p.strong), false)
	r := p.rules(rules, "workflow", workflowKeys, &vars)
	p.global = layers(p.global, r.variables)
	p.cancels(r.cancels)
	return r
}

// cancels reads auto_cancel, of the workflow or of the rule that decided.
func (p *pipeline) cancels(n *document.Node) {
	if n.IsNull() || !p.keys(n, "auto_cancel", []string{"on_new_commit", "on_job_failure"}) {
		return
	}
	switch p.choice(n.Get("on_new_commit"), "on_new_commit", "conservative", "interruptible", "none") {
	case "conservative":
		p.auto.OnNewer = plan.Conservative
	case "interruptible":
		p.auto.OnNewer = plan.Selective
	case "none":
		p.auto.OnNewer = plan.KeepGoing
	}
	if said := p.choice(n.Get("on_job_failure"), "on_job_failure", "all", "none"); said != "" {
		p.auto.OnFailure = said == "all"
	}
}

// name is the pipeline's own.
func (p *pipeline) name() string {
	text := p.text(p.root.Get("workflow").Get("name"), "name")
	if text == "" {
		return ""
	}
	vars := expandVariables(layers(p.base, p.global, p.strong), false)
	return vars.text(text)
}

// hasRules reports whether the pipeline as a whole has rules.
func (p *pipeline) hasRules() bool { return !p.root.Get("workflow").Get("rules").IsNull() }

// read reads the stages and every job.
func (p *pipeline) read() {
	p.readStages()
	p.defaults()
	p.byName = map[string][]*entry{}
	count := 0
	for _, f := range p.root.Fields {
		switch {
		case strings.HasPrefix(f.Key, "."), slices.Contains(globalKeys, f.Key):
			continue
		case slices.Contains(olderDefaults, f.Key) && !isJob(f.Value):
			continue
		case f.Value.Kind != document.Mapping:
			if f.Key == "pages" && f.Value.IsNull() {
				continue
			}
			hint := "write the job's keys indented below, or begin the name with a dot to keep it out of the pipeline"
			if near := plan.Nearest(f.Key, append(globalKeys, olderDefaults...)); near != "" {
				hint = "did you mean " + near + "?"
			}
			p.blame(f.Source, "key", fmt.Sprintf("%s is no keyword, and as a job it must be a mapping and not %s", plan.Clip(f.Key), f.Value.Shape()), hint)
			continue
		}
		for _, e := range p.job(f) {
			if count += len(e.cells); count > maxJobs {
				p.fail(f.Source, "limit", fmt.Sprintf("the pipeline has more than %d jobs; the rest is not read", maxJobs), "split it into child pipelines")
				return
			}
			p.entries = append(p.entries, e)
			p.byName[e.name] = append(p.byName[e.name], e)
		}
	}
}

// isJob reports whether what stands under the name of a keyword is a job
// all the same.
func isJob(n *document.Node) bool {
	return n != nil && n.Kind == document.Mapping && (n.Get("script") != nil || n.Get("trigger") != nil)
}

func (p *pipeline) readStages() {
	n := p.root.Get("stages")
	if n.IsNull() {
		n = p.root.Get("types")
	}
	p.stages = []string{"build", "test", "deploy"}
	if !n.IsNull() && n.Kind != document.Sequence {
		p.mistyped(n, "stages", "a list")
	} else if !n.IsNull() {
		p.stages = nil
		for _, s := range p.commands(n, "stages") {
			if s == "" {
				p.fail(n.Source, "value", "a stage needs a name", "")
			} else if !slices.Contains(p.stages, s) && s != stagePre && s != stagePost {
				p.stages = append(p.stages, s)
			}
		}
	}
	p.stages = slices.Concat([]string{stagePre}, p.stages, []string{stagePost})
}

// defaults checks default:, whose keys are read with each job that takes them.
func (p *pipeline) defaults() {
	d := p.root.Get("default")
	if d.IsNull() {
		return
	}
	p.keys(d, "default", defaultKeys)
}

// value is a key of a job, or what default: says of it.
func (p *pipeline) value(job *document.Node, key string) *document.Node {
	if own := job.Get(key); !own.IsNull() {
		return own
	}
	if !slices.Contains(defaultKeys, key) {
		return nil
	}
	if inherit := job.Get("inherit").Get("default"); !inherit.IsNull() {
		if inherit.Kind == document.Sequence {
			if !slices.Contains(p.texts(inherit, "inherit"), key) {
				return nil
			}
		} else if inherit.Value == false {
			return nil
		}
	}
	if d := p.root.Get("default").Get(key); !d.IsNull() {
		return d
	}
	if slices.Contains(olderDefaults, key) && !isJob(p.root.Get(key)) {
		return p.root.Get(key)
	}
	return nil
}

// inherited are the global variables that a job takes.
func (p *pipeline) inherited(job *document.Node) []variable {
	n := job.Get("inherit")
	if n.IsNull() {
		return p.global
	}
	p.keys(n, "inherit", []string{"default", "variables"})
	inherit := n.Get("variables")
	switch {
	case inherit.IsNull():
		return p.global
	case inherit.Kind == document.Sequence:
		names := p.texts(inherit, "inherit")
		return slices.DeleteFunc(slices.Clone(p.global), func(v variable) bool { return !slices.Contains(names, v.Name) })
	}
	if yes, given := p.boolean(inherit, "inherit:variables"); given && !yes {
		return nil
	}
	return p.global
}

// maxName is how long the name of a job may be; GitLab's limit.
const maxName = 255

// job reads an entry: as one for all its cells, or as one for each when rules may
// tell them apart. There are none when nothing can be made of it.
func (p *pipeline) job(f document.Field) []*entry {
	n := f.Value
	what := "the job " + plan.Clip(f.Key)
	e := &entry{name: f.Key, source: f.Source, node: n}
	if len(f.Key) > maxName || f.Key == "" {
		p.fail(f.Source, "value", fmt.Sprintf("the name of a job has from 1 to %d characters", maxName), "")
		return nil
	}
	p.keys(n, what, jobKeys)
	trigger, script, run := n.Get("trigger"), n.Get("script"), n.Get("run")
	switch {
	case !trigger.IsNull() && !script.IsNull():
		p.fail(trigger.Source, "value", what+" has a script and a trigger, and may have only one of them", "make two jobs of it")
		return nil
	case !run.IsNull() && !script.IsNull():
		p.fail(run.Source, "value", what+" has a script and run:, and may have only one of them", "make one of both")
	case trigger.IsNull() && script.IsNull() && run.IsNull():
		if n.Missing() || p.degraded() {
			p.warn(f.Source, "missing", what+" has no script that is known, and is left out", "an include that could not be had may define it")
		} else {
			p.fail(f.Source, "missing", what+" has neither a script nor a trigger", "write script: and its commands, or begin the name with a dot to keep it out of the pipeline")
		}
		return nil
	case trigger.IsNull() && run.IsNull() && len(p.texts(script, "script")) == 0 && !n.Missing():
		p.fail(script.Source, "missing", "the script of "+what+" is empty", "write its commands, or begin the name with a dot to keep it out of the pipeline")
	}
	e.trigger = trigger
	if trigger.IsNull() {
		e.trigger = nil
	}
	p.stageOf(e)
	s := &settings{reporter: p.reporter, job: n, value: func(key string) *document.Node { return p.value(n, key) }}
	e.retry = s.retry(p.value(n, "retry"))
	e.timeout = p.duration(p.value(n, "timeout"), "timeout")
	e.spec = jobSpec{Name: e.name, Stage: p.stages[e.stage], Pipeline: p.parent, Source: e.source}
	e.spec.Variables = layers(p.inherited(n), p.variables(n.Get("variables"), "variables", false))
	if e.trigger == nil {
		s.fill(&e.spec)
	} else {
		e.spec.Environment = s.environment(n.Get("environment"))
		e.spec.ResourceName = p.text(n.Get("resource_group"), "resource_group")
	}
	if d := n.Get("dependencies"); !d.IsNull() {
		names := p.list(d, "dependencies")
		e.dependencies = &names
	}
	e.cells = p.cells(e, n.Get("parallel"))
	conditional := !n.Get("rules").IsNull() || !n.Get("only").IsNull() || !n.Get("except").IsNull()
	if len(e.cells) < 2 || e.cells[0].variables == nil || !conditional {
		p.decide(e, what)
		return []*entry{e}
	}
	entries := make([]*entry, len(e.cells))
	for i, c := range e.cells {
		one := *e
		one.cells = []*cell{c}
		c.entry, entries[i] = &one, &one
		p.decide(&one, what)
	}
	return entries
}

// decide asks whether an entry is part of the pipeline, and reads what rules may
// say otherwise.
func (p *pipeline) decide(e *entry, what string) {
	n := e.node
	list := layers(p.base, []variable{
		{Name: "CI_JOB_NAME", Value: e.name, Raw: true}, {Name: "CI_JOB_NAME_SLUG", Value: slug(e.name), Raw: true}, {Name: "CI_JOB_STAGE", Value: p.stages[e.stage], Raw: true},
	}, e.spec.Variables)
	if len(e.cells) == 1 {
		list = layers(list, e.cells[0].variables)
	}
	vars := expandVariables(layers(list, p.strong), false)
	r := p.admit(n, what, &vars)
	e.in, e.why = r.in, r.why
	e.when = cmp.Or(r.when, p.choice(n.Get("when"), "when", "on_success", "on_failure", "always", "never", "manual", "delayed"), "on_success")
	if e.when == "never" {
		e.in, e.why = false, "when: never"
	}
	e.delay = r.delay
	if start := n.Get("start_in"); !start.IsNull() && e.delay == 0 {
		e.delay = p.duration(start, "start_in")
	}
	if e.when == "delayed" && e.delay == 0 && r.in {
		p.fail(n.Source, "missing", what+" is delayed and does not say for how long", "write start_in: 30 minutes")
	}
	if e.when != "delayed" {
		e.delay = 0
	}
	e.allow = e.when == "manual" && r.when == ""
	for _, said := range []*document.Node{n.Get("allow_failure"), r.allow} {
		if allow, given, codes := p.allowFailure(said); given {
			e.allow, e.tolerate = allow, codes
		}
	}
	e.interruptible, _ = p.boolean(cmp.Or(r.interruptible, p.value(n, "interruptible")), "interruptible")
	e.spec.When, e.spec.AllowFailure = e.when, e.allow
	e.spec.Variables = layers(e.spec.Variables, r.variables)
	needs := n.Get("needs")
	if !r.needs.IsNull() {
		needs = r.needs
	}
	p.readNeeds(e, needs)
}

// admit asks whether a job is part of the pipeline.
func (p *pipeline) admit(n *document.Node, what string, vars *variables) ruling {
	rules, only, except := n.Get("rules"), n.Get("only"), n.Get("except")
	if rules.IsNull() {
		if p.hasRules() && only.IsNull() && except.IsNull() {
			return ruling{in: true}
		}
		if p.hasRules() && only.IsNull() {
			return ruling{in: p.change == nil || !p.asks(except, vars, false), why: "except keeps it out"}
		}
		if p.parent != "" && only.IsNull() && except.IsNull() {
			return ruling{in: true}
		}
		return p.policy(only, except, vars)
	}
	for _, key := range []string{"only", "except"} {
		if other := n.Get(key); !other.IsNull() {
			p.fail(other.Source, "value", fmt.Sprintf("%s has rules and %s, and may have only one of them", what, key), "say in rules what "+key+" says")
		}
	}
	if s := n.Get("start_in"); !s.IsNull() {
		p.fail(s.Source, "value", what+" has rules, and start_in goes into a rule then", "write start_in: below when: delayed in the rule")
	}
	return p.rules(rules, what, ruleKeys, vars)
}

func (p *pipeline) stageOf(e *entry) {
	n := e.node.Get("stage")
	if n.IsNull() {
		n = e.node.Get("type")
	}
	name := cmp.Or(p.text(n, "stage"), "test")
	e.stage = slices.Index(p.stages, name)
	if e.stage >= 0 {
		return
	}
	at := e.source
	if n != nil {
		at = n.Source
	}
	hint := "write one of " + strings.Join(p.stages, ", ") + ", or add it to stages:"
	if near := plan.Nearest(name, p.stages); near != "" {
		hint = "did you mean " + near + "?"
	}
	p.blame(at, "stages", fmt.Sprintf("the stage %s of the job %s is not there", plan.Clip(name), plan.Clip(e.name)), hint)
	// The job is kept, so that what else is wrong is found.
	p.stages = slices.Insert(p.stages, len(p.stages)-1, name)
	e.stage = len(p.stages) - 2
	for _, other := range p.entries {
		if other.stage == e.stage { // it was .post
			other.stage++
		}
	}
}

// jobs makes the jobs of the plan.
func (p *pipeline) jobs() []plan.Job {
	p.identify()
	p.link()
	cells := p.present()
	blocks := slices.ContainsFunc(cells, func(c *cell) bool { return c.entry.when == "manual" && !c.entry.allow })
	byStage := make([][]*cell, len(p.stages))
	for _, c := range cells {
		byStage[c.entry.stage] = append(byStage[c.entry.stage], c)
	}
	var out []plan.Job
	var before []*cell
	for _, list := range byStage {
		for _, c := range list {
			if p.kept > maxPlan {
				p.fail(c.entry.source, "limit", fmt.Sprintf("the jobs of the pipeline come to more than %d MB; the rest is left out", maxPlan>>20), "give them fewer variables, or split the pipeline")
				return out
			}
			out = append(out, p.make(c, before, blocks)...)
		}
		before = append(before, list...)
	}
	if p.parent != "" && slices.ContainsFunc(cells, func(c *cell) bool { return c.entry.when == "manual" }) {
		p.embed(out)
	}
	return out
}

// present are the cells of the jobs that are part of the pipeline.
func (p *pipeline) present() (cells []*cell) {
	for _, e := range p.entries {
		if e.in {
			cells = append(cells, e.cells...)
		}
	}
	return cells
}

// embed gives every job of a child pipeline the gates of the others.
func (p *pipeline) embed(jobs []plan.Job) {
	all := map[string]*gate{}
	for i := range jobs {
		g, err := gateOf(&jobs[i])
		if err != nil {
			continue
		}
		all[lastPart(jobs[i].ID)] = g
	}
	for i := range jobs {
		if g := all[lastPart(jobs[i].ID)]; g != nil {
			with := *g
			with.Others = map[string]*gate{}
			for _, id := range jobs[i].Needs {
				with.Others[id] = all[id]
			}
			jobs[i].Values[valueGate] = jsonLike(with)
		}
	}
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// make makes the job of a cell. before are all cells of earlier stages.
func (p *pipeline) make(c *cell, before []*cell, blocking bool) []plan.Job {
	e := c.entry
	prefix := ""
	if p.parent != "" {
		prefix = p.parent + "/"
	}
	job := plan.Job{
		ID: prefix + c.id, Name: c.name, Stage: p.stages[e.stage], Source: e.source,
		If:      condition(e.when, c.name, e.source),
		Timeout: e.timeout, ContinueOnError: e.allow, Tolerate: e.tolerate, Delay: e.delay, Retry: e.retry,
		Interruptible: e.interruptible,
	}
	g := gate{Name: c.name, When: e.when, Allow: e.allow, DAG: e.dag, Stage: e.stage}
	if e.dag {
		for _, n := range c.needs {
			g.Needs = append(g.Needs, n.id)
		}
		job.Needs = slices.Clone(g.Needs)
		if blocking {
			for _, n := range p.closure(c.needs) {
				if !slices.Contains(job.Needs, n.id) {
					job.Needs = append(job.Needs, n.id)
				}
			}
		}
	} else {
		for _, n := range before {
			job.Needs = append(job.Needs, n.id)
		}
		if blocking {
			for _, n := range p.closure(before) {
				if n.entry.stage >= e.stage {
					job.Needs = append(job.Needs, n.id)
				}
			}
		}
	}
	spec := e.spec
	spec.ID, spec.Name, spec.Group = job.ID, c.name, e.name
	spec.Index, spec.Total = c.index, c.total
	spec.Variables = layers(e.spec.Variables, c.variables, p.passed)
	spec.Project, spec.OnHost = p.project, p.onHost
	spec.Downloads = p.downloads(c, before, prefix)
	p.kept += spec.size() + len(job.Needs)*16
	job.Values = map[string]any{valueJob: spec.encode(), valueGate: jsonLike(g)}
	if e.trigger != nil {
		return p.triggerJobs(job, c, &spec)
	}
	job.Steps = spec.steps()
	if spec.Artifacts != nil && len(spec.Artifacts.Reports["dotenv"]) > 0 {
		job.Outputs = []plan.Binding{{Name: outputDotenv, Value: plan.Expr{Text: exprDotenv, Source: spec.Artifacts.Source}}}
	}
	vars := p.varsOf(&spec)
	for _, name := range slices.Sorted(maps.Keys(spec.IDTokens)) {
		t := plan.Token{Name: name, Source: spec.IDTokens[name].Source}
		for _, audience := range spec.IDTokens[name].Audience {
			t.Audience = append(t.Audience, vars.text(audience))
		}
		job.Tokens = append(job.Tokens, t)
	}
	if !place(&job, &spec, &vars) {
		job.Place, job.Environment, job.Concurrency = plan.Place{}, nil, nil
		job.Deferred = &plan.Deferred{Kind: deferPlace, Source: e.source}
	}
	return []plan.Job{job}
}

// condition is the text of a job's condition, which people see when it does not
// hold.
func condition(when, name string, at plan.Source) plan.Expr {
	text := ifWhen + when
	if when == "manual" {
		text += fmt.Sprintf(" (it begins with --play %q)", name)
	}
	return plan.Expr{Text: text, Source: at}
}

// varsOf are the variables of a job as far as they are known before it runs.
func (p *pipeline) varsOf(spec *jobSpec) variables {
	list := layers(p.base, []variable{
		{Name: "CI_JOB_NAME", Value: spec.Name, Raw: true}, {Name: "CI_JOB_NAME_SLUG", Value: slug(spec.Name), Raw: true},
		{Name: "CI_JOB_STAGE", Value: spec.Stage, Raw: true}, {Name: "CI_NODE_TOTAL", Value: strconv.Itoa(max(spec.Total, 1)), Raw: true},
	}, spec.Variables, p.strong)
	return expandVariables(list, true)
}

// place makes what has to be concrete in a plan. It is false when that hangs on
// variables that are not known yet.
func place(job *plan.Job, spec *jobSpec, vars *variables) bool {
	known := true
	text := func(s string) string {
		known = known && vars.complete(s)
		return vars.text(s)
	}
	job.Place = plan.Place{Source: spec.Source}
	for _, t := range spec.Tags {
		job.Place.Labels = append(job.Place.Labels, text(t))
	}
	if spec.Image != nil && !spec.OnHost {
		c := container(spec.Image, text)
		job.Place.Container = &c
		job.Place.Source = spec.Image.Source
	}
	for i := range spec.Services {
		if spec.OnHost {
			break
		}
		s := &spec.Services[i]
		c := container(s, text)
		inherit(&c, spec.Variables, vars)
		names := serviceNames(c.Image, s.Alias, text)
		if job.Place.Services == nil {
			job.Place.Services = map[string]plan.Container{}
		}
		name := names[0]
		for k := 2; job.Place.Services[name].Image != ""; k++ {
			name = names[0] + "-" + strconv.Itoa(k)
		}
		c.Aliases = names
		job.Place.Services[name] = c
	}
	if e := spec.Environment; e != nil {
		job.Environment = &plan.Environment{Name: text(e.Name), Source: e.Source}
		if e.URL != "" {
			job.Environment.URL = plan.Expr{Text: exprText + e.URL, Source: e.Source}
		}
	}
	if spec.ResourceName != "" {
		job.Concurrency = &plan.Concurrency{Group: plan.Expr{Text: exprLiteral + text(spec.ResourceName), Source: spec.Source}, Queue: true, Source: spec.Source}
	}
	return known
}

// inherit gives a service the job's variables, as GitLab does: that is where the password
// of a database is mostly written. Its own go before them. A value that hangs on what is
// not known yet, such as a secret, is asked for when the service is started.
func inherit(c *plan.Container, list []variable, vars *variables) {
	for _, v := range slices.Backward(list) { // the last of a name counts
		_, known := c.Env[v.Name]
		if known || v.File || slices.ContainsFunc(c.Private, func(b plan.Binding) bool { return b.Name == v.Name }) {
			continue
		}
		switch {
		case v.Raw || !strings.Contains(v.Value, "$"):
			c.Env = with(c.Env, v.Name, v.Value)
		case vars.complete(v.Value):
			c.Env = with(c.Env, v.Name, vars.text(v.Value))
		default:
			c.Private = append(c.Private, plan.Binding{Name: v.Name, Value: plan.Expr{Text: exprText + v.Value, Source: c.Source}})
		}
	}
}

// with is the map with one more value.
func with(env map[string]string, name, value string) map[string]string {
	if env == nil {
		env = map[string]string{}
	}
	env[name] = value
	return env
}

func container(i *imageSpec, text func(string) string) plan.Container {
	c := plan.Container{Image: text(i.Name), User: text(i.User), Source: i.Source}
	for _, word := range i.Entrypoint {
		c.Entrypoint = append(c.Entrypoint, text(word))
	}
	for _, word := range i.Command {
		c.Command = append(c.Command, text(word))
	}
	for _, v := range i.Variables {
		if c.Env == nil {
			c.Env = map[string]string{}
		}
		c.Env[v.Name] = v.Value
		if !v.Raw {
			c.Env[v.Name] = text(v.Value)
		}
	}
	if len(i.Pull) > 0 {
		c.Pull = plan.Pull(i.Pull[0])
	}
	if i.Platform != "" {
		c.Options = "--platform=" + text(i.Platform)
	}
	return c
}

// serviceNames are the host names of a service: its aliases, or else what
// GitLab makes of its image: group/name:tag is group__name and group-name.
func serviceNames(image, alias string, text func(string) string) []string {
	if words := strings.FieldsFunc(text(alias), func(r rune) bool { return r == ',' || r == ' ' }); len(words) > 0 {
		return words
	}
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	image = strings.ReplaceAll(image, ":", "") // the port of a registry
	names := []string{strings.ReplaceAll(image, "/", "__")}
	if strings.Contains(image, "/") {
		names = append(names, strings.ReplaceAll(image, "/", "-"))
	}
	return names
}
