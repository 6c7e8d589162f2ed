package azure

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The kinds of plan.Deferred.
const (
	deferStage      = "stage"
	deferMatrix     = "matrix"
	deferDeployment = "deployment"
	deferFields     = "fields"
)

// Entries of a job's Values.
const (
	valueStage    = "stage"    // name of its stage
	valueJob      = "job"      // name in its stage
	valueCell     = "cell"     // variables of its cell of a matrix: name -> value
	valueNeeds    = "needs"    // how the needs of the job that it was expanded from ended
	valueStages   = "stages"   // how the stages that its stage needs ended
	valueReadonly = "readonly" // names of variables that must not be set
	valueOutputs  = "outputs"  // what is put in front of the names of its outputs
	valueHook     = "hook"     // lifecycle hook of a deployment
	valueStandIns = "tasks"    // scripts that stand for tasks: Name@1 -> script
	valueRepos    = "repos"    // repositories that steps may check out: alias -> {name, ref, type}
	valueImages   = "images"   // containers that steps may run in: name -> sketch of a container
	valueParts    = "parts"    // what the variables of the run know of the job: display name and the like
)

// Limits of a pipeline; the service's own.
const (
	maxCells = 256
	maxJobs  = 2000
	maxSteps = 5000
)

// builder makes the jobs of one expanded pipeline.
type builder struct {
	*compiler
	root     *node
	images   map[string]any // sketches of resources.containers, by name
	repos    map[string]any
	standIns map[string]any
	problems []plan.Problem
	count    int
}

func newBuilder(c *compiler, root *node) *builder {
	b := &builder{compiler: c, root: root, images: map[string]any{}, repos: map[string]any{}, standIns: map[string]any{}}
	resources := root.Get("resources")
	for _, n := range items(resources.Get("containers")) {
		if name := n.Get("container").String(); name != "" {
			b.images[name] = b.image(n)
		}
	}
	for _, n := range items(resources.Get("repositories")) {
		if alias := n.Get("repository").String(); alias != "" && alias != "self" {
			name, ref := c.repository(n)
			b.repos[alias] = map[string]any{"name": name, "ref": ref, "type": n.Get("type").String()}
		}
	}
	for name, script := range c.settings.Tasks {
		b.standIns[strings.ToLower(name)] = script
	}
	return b
}

func items(n *node) []*node {
	if n == nil {
		return nil
	}
	return n.Items
}

func (b *builder) report(at plan.Source, rule, message, hint string) {
	b.problems = append(b.problems, *problemAt(at, rule, message, hint))
}

// level is what a pipeline or a stage gives to what is in it.
type level struct {
	variables []plan.Binding
	readonly  []string
	pool      *node
	stage     string // "" when the file has no stages
	label     string // of the stage, for people
	prefix    string // of IDs
}

// with adds the variables and the pool of a node.
func (b *builder) with(l level, n *node) level {
	l.variables, l.readonly = slices.Clone(l.variables), slices.Clone(l.readonly)
	add := func(name string, value plan.Expr) {
		l.variables = slices.DeleteFunc(l.variables, func(v plan.Binding) bool { return strings.EqualFold(v.Name, name) })
		l.variables = append(l.variables, plan.Binding{Name: name, Value: value})
	}
	for _, v := range items(n.Get("variables")) {
		if group := v.Get("group"); group != nil {
			for _, s := range b.settings.Group(group.String()) {
				add(s.Name, plan.Expr{Text: s.Value, Source: group.Source})
			}
			continue
		}
		name := strings.TrimSpace(v.Get("name").String())
		if name == "" {
			continue // the grammar has spoken
		}
		value := v.Get("value")
		x := plan.Expr{Text: value.String(), Source: v.Source}
		if value != nil {
			x.Source = value.Source
		}
		add(name, x)
		if yes, _ := boolean(v.Get("readonly").String()); yes && v.Get("readonly") != nil {
			l.readonly = append(l.readonly, strings.ToLower(name))
		}
	}
	if pool := n.Get("pool"); pool != nil {
		l.pool = pool
	}
	return l
}

// pipeline makes the top of the graph: stages, jobs, or one job.
func (b *builder) pipeline() []plan.Job {
	l := b.with(level{}, b.root)
	if b.root.Get("stages") != nil {
		return b.stages(l)
	}
	if b.root.Get("jobs") != nil {
		return b.jobs(b.root.Get("jobs"), l)
	}
	if b.root.Get("steps") == nil {
		return nil
	}
	return b.jobs(&node{Kind: template.Sequence, Items: []*node{b.single()}, Source: b.root.Source}, l)
}

// single is the one job of a pipeline that only has steps.
func (b *builder) single() *node {
	job := &node{Kind: template.Mapping, Source: b.root.Get("steps").Source}
	job.Fields = append(job.Fields, template.Field{Key: &node{Text: "job", Source: job.Source}, Value: &node{Text: "Job", Source: job.Source}})
	for _, f := range b.root.Fields {
		if slices.Contains([]string{"steps", "strategy", "container", "services", "workspace", "continueOnError", "timeoutInMinutes", "cancelTimeoutInMinutes", "condition", "uses"}, f.Key.Text) {
			job.Fields = append(job.Fields, f)
		}
	}
	return job
}

// names gives every entry of a list its name, and finds those given twice.
func (b *builder) names(list []*node, what string, keys ...string) []string {
	names := make([]string, len(list))
	first := map[string]*node{}
	for i, n := range list {
		var at *node
		for _, key := range keys {
			if v := n.Get(key); v != nil {
				at = v
			}
		}
		name := strings.TrimSpace(at.String())
		if name == "" {
			name = strings.ToUpper(what[:1]) + what[1:] + strconv.Itoa(i+1)
		}
		if i := strings.IndexFunc(name, func(r rune) bool {
			return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}); i >= 0 {
			b.report(at.Source, "name", fmt.Sprintf("the %s name %s holds a character that names do not", what, plan.Clip(name)), "names are made of letters, digits and _; use displayName for more")
			name = what + strconv.Itoa(i+1)
		}
		if before := first[strings.ToLower(name)]; before != nil {
			b.report(n.Source, "name", fmt.Sprintf("the %s %s is there already, at line %d", what, name, before.Source.Line), "names must differ in each list")
			name += "_" + strconv.Itoa(i+1)
		}
		first[strings.ToLower(name)] = n
		names[i] = name
	}
	return names
}

// needs reads a dependsOn. Without one, otherwise counts.
func (b *builder) needs(n *node, names []string, self int, what string, otherwise []string) []string {
	on := n.Get("dependsOn")
	if on == nil {
		return otherwise
	}
	list := on.Items
	if on.Kind == template.Scalar {
		if on.IsNull() {
			return nil
		}
		list = []*node{on}
	}
	var needs []string
	for _, item := range list {
		name := strings.TrimSpace(item.String())
		i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, name) })
		switch {
		case name == "":
		case i < 0 && b.missing:
			// It may be in a template that is out of reach.
		case i < 0:
			hint := fmt.Sprintf("the %ss are %s", what, strings.Join(names, ", "))
			if near := plan.Nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			b.report(item.Source, "needs", fmt.Sprintf("%s %s depends on %s, which there is not", what, names[self], plan.Clip(name)), hint)
		case i == self:
			b.report(item.Source, "needs", fmt.Sprintf("%s %s depends on itself", what, name), "")
		case !slices.Contains(needs, names[i]):
			needs = append(needs, names[i])
		}
	}
	return needs
}

// circle finds a circle among needs, and breaks it.
func (b *builder) circle(list []plan.Job, what string) {
	index := map[string]int{}
	for i := range list {
		index[lastPart(list[i].ID)] = i
	}
	state := make([]int, len(list)) // 1: being looked at, 2: done
	var visit func(i int)
	visit = func(i int) {
		state[i] = 1
		list[i].Needs = slices.DeleteFunc(list[i].Needs, func(need string) bool {
			k, ok := index[need]
			if ok && state[k] == 1 {
				b.report(list[i].Source, "needs", fmt.Sprintf("the %ss %s and %s wait for each other", what, lastPart(list[i].ID), need), "take one dependsOn away")
				return true
			}
			if ok && state[k] == 0 {
				visit(k)
			}
			return !ok
		})
		state[i] = 2
	}
	for i := range list {
		if state[i] == 0 {
			visit(i)
		}
	}
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// condition is a condition of the file; what has none waits for success, as
// the zero condition of a plan does.
func (b *builder) condition(n *node) plan.Expr {
	c := n.Get("condition")
	if c.IsNull() {
		return plan.Expr{}
	}
	if bad := checkCondition(c.String()); bad != nil {
		b.problems = append(b.problems, *badExpression(c.Source, c.String(), bad))
	}
	return plan.Expr{Text: c.String(), Source: c.Source}
}

// stages makes a deferred job of each stage.
func (b *builder) stages(l level) []plan.Job {
	list := slices.DeleteFunc(slices.Clone(items(b.root.Get("stages"))), func(n *node) bool { return n.Kind != template.Mapping })
	names := b.names(list, "stage", "stage")
	out := make([]plan.Job, len(list))
	for i, n := range list {
		var before []string
		if i > 0 {
			before = names[i-1 : i]
		}
		inner := b.with(l, n)
		inner.stage, inner.prefix = names[i], names[i]+"/"
		inner.label = cmp.Or(n.Get("displayName").String(), names[i])
		jobs := b.jobs(n.Get("jobs"), inner)
		job := plan.Job{
			ID: names[i], Name: inner.label, Stage: inner.label, Source: n.Source,
			Needs: b.needs(n, names, i, "stage", before), If: b.condition(n), Env: inner.variables,
			Values: map[string]any{valueStage: names[i]},
		}
		if n.Get("trigger").String() == "manual" {
			job.If = waiting(job)
		}
		job.Deferred = &plan.Deferred{Kind: deferStage, Source: n.Source, Data: map[string]any{"jobs": plain(jobs)}}
		b.lock(&job, n.Get("lockBehavior"), "stage "+names[i])
		out[i] = job
	}
	b.circle(out, "stage")
	return out
}

// waiting is the condition of a job that a person has to ask for.
func waiting(job plan.Job) plan.Expr {
	return plan.Expr{Text: playedPrefix + job.If.Text, Source: cmp.Or(job.If.Source, job.Source)}
}

// lock keeps what must not run at the same time apart.
func (b *builder) lock(job *plan.Job, behavior *node, group string) {
	if behavior.IsNull() {
		return
	}
	job.Concurrency = &plan.Concurrency{
		Group: plan.Expr{Text: literalPrefix + "azure " + group, Source: behavior.Source},
		Queue: behavior.String() == "sequential", Source: behavior.Source,
	}
}

// plain is a value as plans hold it.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("azure: a part of a plan is no JSON: %v", err)) // a fault of ours, which a test would show
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(fmt.Sprintf("azure: a part of a plan is no JSON: %v", err))
	}
	return out
}

// jobs makes the jobs of a stage, or of a pipeline without stages.
func (b *builder) jobs(n *node, l level) []plan.Job {
	list := slices.DeleteFunc(slices.Clone(items(n)), func(n *node) bool { return n.Kind != template.Mapping })
	names := b.names(list, "job", "job", "deployment")
	var out []plan.Job
	for i, n := range list {
		if b.count++; b.count > maxJobs {
			b.report(n.Source, "limit", fmt.Sprintf("the pipeline has more than %d jobs", maxJobs), "split it")
			break
		}
		job := b.job(n, names[i], l)
		job.Needs = b.needs(n, names, i, "job", nil)
		out = append(out, job)
	}
	b.circle(out, "job")
	return out
}

// job makes one job, deferred when it is not known in full.
func (b *builder) job(n *node, name string, l level) plan.Job {
	inner := b.with(l, n)
	at := n.Source
	job := plan.Job{
		ID: l.prefix + name, Name: cmp.Or(n.Get("displayName").String(), name), Stage: l.label, Source: at,
		If: b.condition(n), Env: inner.variables,
		Outputs: []plan.Binding{{Name: outputsName, Value: plan.Expr{Text: outputsExpr, Source: at}}}, Confided: plan.Expr{Text: confidedExpr, Source: at},
		Values: map[string]any{valueStage: l.stage, valueJob: name},
	}
	if len(inner.readonly) > 0 {
		job.Values[valueReadonly] = plain(inner.readonly)
	}
	if late := n.Get("cancelTimeoutInMinutes"); !late.IsNull() {
		b.problems = append(b.problems, plan.Problem{Source: late.Source, Severity: plan.Warning, Rule: "unsupported",
			Message: "cancelTimeoutInMinutes is not looked at: all jobs have the same time to end when they are cancelled"})
	}
	s := sketch{
		Pool: b.pool(inner.pool), Container: b.container(n.Get("container")), Services: b.services(n.Get("services")),
		Timeout: expr(n.Get("timeoutInMinutes")), ContinueOnError: expr(n.Get("continueOnError")), Name: expr(n.Get("displayName")),
	}
	if n.Get("deployment") != nil {
		return b.deployment(n, job, s)
	}
	job.Steps = b.steps(n.Get("steps"))
	b.share(&job)
	if s.Container != nil {
		b.stays(job.Steps)
	}
	if slices.ContainsFunc(job.Steps, isManual) { // a person is asked, in a job of its own
		job.If = waiting(job)
	}
	if strategy := n.Get("strategy"); strategy != nil && (strategy.Get("matrix") != nil || strategy.Get("parallel") != nil) {
		return b.matrix(strategy, job, s)
	}
	return b.complete(job, s)
}

// share puts what all steps of a job may name into its values.
func (b *builder) share(job *plan.Job) {
	for _, s := range job.Steps {
		if alias, ok := s.Data[dataCheckout].(string); ok && b.repos[alias] != nil && job.Values[valueRepos] == nil {
			job.Values[valueRepos] = b.repos
		}
		if _, ok := s.Data[dataTarget].(map[string]any); ok && len(b.images) > 0 {
			job.Values[valueImages] = b.images
		}
		if s.Use != nil && b.standIns[strings.ToLower(s.Use.Ref)] != nil {
			job.Values[valueStandIns] = b.standIns
		}
	}
}

// stays warns of steps that want to leave the container of their job.
func (b *builder) stays(steps []plan.Step) {
	for _, s := range steps {
		if t, _ := s.Data[dataTarget].(map[string]any); t["container"] == "host" {
			b.problems = append(b.problems, plan.Problem{Source: s.Source, Severity: plan.Warning, Rule: "unsupported",
				Message: "target: host is not looked at: the step runs in the container of its job", Hint: "put the step into a job without a container"})
		}
	}
}

// complete makes a job concrete if everything is known, and else leaves it
// deferred.
func (b *builder) complete(job plan.Job, s sketch) plan.Job {
	e := &evaluator{s: &plan.Scope{Job: &plan.Job{Env: plainly(job.Env)}}}
	known := true
	whole := job
	err := s.fill(&whole, func(x plan.Expr) (string, error) {
		text := e.variables().macros(x.Text)
		known = known && !runtime(text)
		return text, nil
	})
	if known {
		if p, ok := asProblem(err); ok {
			b.problems = append(b.problems, *p)
		}
		return whole
	}
	job.Deferred = &plan.Deferred{Kind: deferFields, Source: job.Source, Data: s.data()}
	return job
}

// plainly are the variables whose values are known when the file is read.
func plainly(list []plan.Binding) []plan.Binding {
	return slices.DeleteFunc(slices.Clone(list), func(v plan.Binding) bool { return strings.Contains(v.Value.Text, "$[") })
}

// matrix defers a job that becomes a job for each cell.
func (b *builder) matrix(strategy *node, job plan.Job, s sketch) plan.Job {
	s.MaxParallel = expr(strategy.Get("maxParallel"))
	s.Parallel = expr(strategy.Get("parallel"))
	if m := strategy.Get("matrix"); m != nil {
		if m.Kind == template.Scalar {
			s.Matrix = expr(m)
		}
		if len(m.Fields) > maxCells {
			b.report(m.Source, "limit", fmt.Sprintf("the matrix has %d cells; at most %d are run", len(m.Fields), maxCells), "")
		}
		for _, f := range m.Fields[:min(len(m.Fields), maxCells)] {
			c := cell{Name: f.Key.Text}
			for _, v := range f.Value.Fields {
				c.Variables = append(c.Variables, plan.Setting{Name: v.Key.Text, Value: v.Value.String()})
			}
			s.Cells = append(s.Cells, c)
		}
	}
	job.Deferred = &plan.Deferred{Kind: deferMatrix, Source: strategy.Source, Data: s.data()}
	return job
}

// hooks are the lifecycle hooks of a deployment, in their order.
var hooks = []string{"preDeploy", "deploy", "routeTraffic", "postRouteTraffic"}

// deployment makes a deployment job: one job when it has the one hook deploy,
// and else deferred to a job for each.
func (b *builder) deployment(n *node, job plan.Job, s sketch) plan.Job {
	environment := n.Get("environment")
	name := cmp.Or(environment.String(), environment.Get("name").String())
	name, resource, _ := strings.Cut(name, ".")
	resource = cmp.Or(environment.Get("resourceName").String(), resource)
	if name != "" {
		job.Environment = &plan.Environment{Name: name, Source: environment.Source}
	}
	strategy, kind := n.Get("strategy"), "runOnce"
	for _, k := range []string{"runOnce", "rolling", "canary"} {
		if strategy.Get(k) != nil {
			kind = k
		}
	}
	job.Values[valueParts] = map[string]any{"environment": name, "resource": resource, "strategy": kind, "id": "", "tags": ""}
	how := strategy.Get(kind)
	var list []hook
	for _, h := range append(slices.Clone(hooks), "on.success", "on.failure") {
		at := how
		for part := range strings.SplitSeq(h, ".") {
			at = at.Get(part)
		}
		if at == nil {
			continue
		}
		steps := b.steps(at.Get("steps"))
		if h == "deploy" && !slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Use != nil && s.Use.Ref == refDownload }) {
			steps = slices.Insert(steps, 0, plan.Step{
				Key: "download", ID: "Download", Name: "Download artifacts", Source: at.Source,
				Use: &plan.Use{Ref: refDownload, With: []plan.Binding{{Name: "download", Value: plan.Expr{Text: "current", Source: at.Source}}, {Name: "optional", Value: plan.Expr{Text: "true", Source: at.Source}}}, Source: at.Source},
			})
		}
		x := hook{Name: h, Steps: steps}
		if pool := at.Get("pool"); pool != nil {
			x.Pool = b.pool(pool)
		}
		list = append(list, x)
	}
	if kind == "runOnce" && len(list) == 1 && list[0].Name == "deploy" && list[0].Pool.Text == "" {
		job.Steps = list[0].Steps
		job.Values[valueOutputs], job.Values[valueHook] = lastPart(job.ID)+".", "deploy"
		b.share(&job)
		b.guard(&job)
		return b.complete(job, s)
	}
	all := plan.Job{}
	for _, h := range list {
		all.Steps = append(all.Steps, h.Steps...)
	}
	all.Values = job.Values
	b.share(&all)
	s.Hooks = list
	if kind == "rolling" {
		s.MaxParallel = expr(how.Get("maxParallel"))
		if s.Targets = b.settings.Environments[name]; resource != "" {
			s.Targets = []string{resource}
		}
		if len(s.Targets) == 0 && name != "" {
			b.problems = append(b.problems, plan.Problem{Source: environment.Source, Severity: plan.Warning, Rule: "environment",
				Message: fmt.Sprintf("the resources of the environment %s are kept on the server of Azure: the rolling deployment is done once, for the environment as a whole", plan.Clip(name)),
				Hint:    fmt.Sprintf("name them in fairlead.yaml: azure: environments: {%s: [web-1, web-2]}", plan.Clip(name))})
		}
	}
	for _, n := range items(how.Get("increments")) {
		s.Increments = append(s.Increments, n.String())
	}
	b.guard(&job)
	job.Deferred = &plan.Deferred{Kind: deferDeployment, Source: job.Source, Data: s.data()}
	return job
}

// guard locks an environment for its deployments, when the pipeline says how.
func (b *builder) guard(job *plan.Job) {
	if job.Environment != nil {
		b.lock(job, b.root.Get("lockBehavior"), "environment "+job.Environment.Name)
	}
}

// clonedValues is a copy of a job's values to add to.
func clonedValues(job *plan.Job) map[string]any {
	if v := maps.Clone(job.Values); v != nil {
		return v
	}
	return map[string]any{}
}
