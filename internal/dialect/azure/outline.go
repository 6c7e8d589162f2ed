package azure

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Outline implements dialect.Outliner. It is read from the pipeline's own
// texts, with templates expanded for the defaults of its parameters.
func (d *Dialect) Outline(p *plan.Pipeline) (*outline.Pipeline, error) {
	texts := map[string]string{}
	for _, t := range p.Texts {
		texts[t.Path] = t.Body
	}
	root, problems := template.Parse(p.File, []byte(texts[p.File]))
	if root == nil {
		return nil, fmt.Errorf("%s has errors; `fairlead lint` shows them", p.File)
	}
	x := template.Expander{Variables: &expression.Object{}, Load: func(r template.Reference) ([]byte, *plan.Problem) {
		if body, ok := texts[r.Key()]; ok {
			return []byte(body), nil
		}
		return nil, &plan.Problem{Severity: plan.Warning, Rule: ruleMissing, Message: fmt.Sprintf("the template %s is not with its plan", r.Key())}
	}}
	out := x.Expand(p.File, root)
	if problems = append(problems, out.Problems...); out.Root == nil || plan.Errors(problems) {
		return nil, fmt.Errorf("%s has errors; `fairlead lint` shows them", p.File)
	}
	modern(out.Root)
	o := outliner{out: &outline.Pipeline{Name: definition(p), Source: root.Source}, known: map[string]bool{}, cell: map[string]string{}}
	for _, problem := range problems {
		o.lose(problem.Source, "%s", problem.Message)
	}
	for _, in := range out.Parameters {
		o.lose(in.Source, "the parameter %s, which has its default here", in.Name)
	}
	o.pipeline(out.Root)
	return o.out, nil
}

// outliner says a pipeline in the words that all languages share.
type outliner struct {
	out   *outline.Pipeline
	known map[string]bool   // variables of the pipeline, stage and job read now, lower case
	cell  map[string]string // those of its matrix -> their axis
}

func (o *outliner) lose(at plan.Source, format string, args ...any) {
	o.out.Lose(at, fmt.Sprintf(format, args...))
}

func (o *outliner) pipeline(root *node) {
	on := &o.out.On
	on.Manual = true
	if t := root.Get("trigger"); !off(t) {
		on.Push = o.filter(t)
	}
	if t := root.Get("pr"); !off(t) {
		on.Change = o.filter(t)
	}
	for _, s := range items(root.Get("schedules")) {
		on.Cron = append(on.Cron, s.Get("cron").String())
	}
	o.out.Env = o.variables(root.Get("variables"))
	switch {
	case root.Get("stages") != nil:
		o.stages(root)
	case root.Get("jobs") != nil:
		o.jobs(root.Get("jobs"), root.Get("pool"), "", nil, nil)
	case root.Get("steps") != nil:
		b := builder{root: root}
		o.jobs(&node{Kind: template.Sequence, Items: []*node{b.single()}}, root.Get("pool"), "", nil, nil)
	}
}

// filter is that of a trigger. Here a * goes over slashes.
func (o *outliner) filter(n *node) *outline.Filter {
	globs := func(list []*node) (out []string) {
		for _, p := range list {
			out = append(out, strings.ReplaceAll(p.String(), "*", "**"))
		}
		return out
	}
	f, paths := &outline.Filter{}, filters(n, "paths")
	b, tags := filters(n, "branches"), filters(n, "tags")
	f.Branches, f.NotBranches = globs(b.include), globs(b.exclude)
	f.Tags, f.NotTags = globs(tags.include), globs(tags.exclude)
	below := func(list []*node) (out []string) {
		for _, p := range list {
			text := strings.Trim(p.String(), "/")
			if !strings.ContainsAny(path.Base(text), "*.") {
				text += "/**"
			}
			out = append(out, text)
		}
		return out
	}
	f.Paths, f.NotPaths = below(paths.include), below(paths.exclude)
	return f
}

// variables are an environment: every step finds them there.
func (o *outliner) variables(n *node) (env []outline.Named) {
	for _, v := range items(n) {
		if group := v.Get("group"); group != nil {
			o.lose(group.Source, "the variable group %s", group.String())
			continue
		}
		name, value := v.Get("name").String(), v.Get("value")
		o.known[strings.ToLower(name)] = true
		if _, ok := wholeRuntime(value.String()); ok {
			o.lose(v.Source, "the variable %s, which an expression computes", name)
			continue
		}
		env = append(env, outline.Named{Name: variableName(name), Text: o.text(value.String(), false)})
	}
	return env
}

// stages makes of the order of stages an order of jobs.
func (o *outliner) stages(root *node) {
	list := items(root.Get("stages"))
	made := map[string][]string{} // IDs of the jobs of a stage, by its lower-case name
	last := ""
	for i, s := range list {
		name := cmp.Or(s.Get("stage").String(), fmt.Sprintf("Stage%d", i+1))
		before := []string{last}
		if on := s.Get("dependsOn"); on != nil {
			before = texts(on)
		}
		var needs []string
		for _, b := range before {
			needs = append(needs, made[strings.ToLower(b)]...)
		}
		if s.Get("trigger").String() == "manual" {
			o.lose(s.Source, "that stage %s waits for a person", name)
		}
		known := make(map[string]bool, len(o.known))
		for k := range o.known {
			known[k] = true
		}
		env := o.variables(s.Get("variables"))
		pool := s.Get("pool")
		if pool == nil {
			pool = root.Get("pool")
		}
		from := len(o.out.Jobs)
		o.jobs(s.Get("jobs"), pool, name, needs, o.condition(s.Get("condition")))
		o.known = known
		for k := from; k < len(o.out.Jobs); k++ {
			j := &o.out.Jobs[k]
			j.Env = append(slices.Clone(env), j.Env...)
			made[strings.ToLower(name)] = append(made[strings.ToLower(name)], j.ID)
		}
		last = name
	}
}

func (o *outliner) jobs(n, pool *node, stage string, needs []string, when *outline.Cond) {
	ids := map[string]string{}
	for i, j := range items(n) {
		name := cmp.Or(j.Get("job").String(), j.Get("deployment").String(), fmt.Sprintf("Job%d", i+1))
		id := name
		if slices.ContainsFunc(o.out.Jobs, func(other outline.Job) bool { return strings.EqualFold(other.ID, id) }) {
			id = stage + "_" + name
		}
		ids[strings.ToLower(name)] = id
		out := outline.Job{ID: id, Name: cmp.Or(j.Get("displayName").String(), name), Source: j.Source, Needs: slices.Clone(needs)}
		if on := j.Get("dependsOn"); on != nil {
			out.Needs = nil
			for _, need := range texts(on) {
				out.Needs = append(out.Needs, cmp.Or(ids[strings.ToLower(need)], need))
			}
		}
		o.job(j, pool, &out)
		if when != nil && out.If != nil {
			out.If = &outline.Cond{Op: "and", Args: []outline.Cond{*when, *out.If}}
		} else if when != nil {
			out.If = when
		}
		o.out.Jobs = append(o.out.Jobs, out)
	}
}

func (o *outliner) job(j, pool *node, out *outline.Job) {
	before := o.known
	o.known = map[string]bool{}
	for k := range before {
		o.known[k] = true
	}
	defer func() { o.known, o.cell = before, map[string]string{} }()
	o.matrix(j.Get("strategy"), out)
	out.Env = append(out.Env, o.variables(j.Get("variables"))...)
	out.If = o.condition(j.Get("condition"))
	out.AllowFailure, _ = boolean(j.Get("continueOnError").String())
	if n, ok := expression.Number(j.Get("timeoutInMinutes").String()); ok {
		out.Timeout = minutes(n)
	}
	if p := j.Get("pool"); p != nil {
		pool = p
	}
	if pool != nil {
		label := cmp.Or(pool.String(), pool.Get("vmImage").String(), pool.Get("name").String())
		if label != "" {
			out.Labels = []string{label}
		}
	}
	b := builder{root: &node{}, images: map[string]any{}}
	image := func(n *node) *plan.Container {
		i := b.container(n)
		if i == nil || runtime(i.Image) {
			return nil
		}
		c, _ := i.fill(func(x plan.Expr) (string, error) { return x.Text, nil })
		return c
	}
	if c := j.Get("container"); !c.IsNull() {
		if out.Image = image(c); out.Image == nil {
			o.lose(c.Source, "a container that an expression computes")
		}
	}
	if services := j.Get("services"); services != nil {
		for _, f := range services.Fields {
			if c := image(f.Value); c != nil {
				out.Services = append(out.Services, outline.Service{Name: f.Key.Text, Container: *c})
			}
		}
	}
	steps := j.Get("steps")
	if e := j.Get("environment"); e != nil {
		out.Environment, _, _ = strings.Cut(cmp.Or(e.String(), e.Get("name").String()), ".")
	}
	if s := j.Get("strategy"); j.Get("deployment") != nil && s != nil {
		for _, kind := range []string{"runOnce", "rolling", "canary"} {
			for _, f := range fieldsOf(s.Get(kind)) {
				if f.Key.Text == "deploy" {
					steps = f.Value.Get("steps")
				} else {
					o.lose(f.Key.Source, "%s of the strategy %s", f.Key.Text, kind)
				}
			}
		}
	}
	for _, s := range items(steps) {
		o.step(s, out)
	}
}

func fieldsOf(n *node) []template.Field {
	if n == nil {
		return nil
	}
	return n.Fields
}

// matrix says the cells of a strategy: as one axis when all of them set one
// and the same variable, and else one by one.
func (o *outliner) matrix(s *node, out *outline.Job) {
	if p := s.Get("parallel"); p != nil {
		o.lose(p.Source, "parallel: %s", p.String())
	}
	m := s.Get("matrix")
	if m == nil {
		return
	}
	if m.Kind != template.Mapping {
		o.lose(m.Source, "a matrix that an expression computes")
		return
	}
	for _, f := range m.Fields {
		cell := map[string]string{}
		for _, v := range f.Value.Fields {
			cell[v.Key.Text] = v.Value.String()
			lower := strings.ToLower(v.Key.Text)
			if o.cell[lower] == "" {
				o.cell[lower] = v.Key.Text
				out.Env = append(out.Env, outline.Named{Name: variableName(v.Key.Text), Text: outline.Text{{Ref: "matrix " + v.Key.Text}}})
			}
		}
		out.Include = append(out.Include, cell)
	}
	if len(o.cell) != 1 {
		return
	}
	axis := outline.Axis{}
	for _, cell := range out.Include {
		for name, value := range cell {
			axis.Name, axis.Values = name, append(axis.Values, value)
		}
	}
	out.Matrix, out.Include = []outline.Axis{axis}, nil
}

// words are what the variables of a run are called in an outline.
var words = map[string]string{
	"build.sourceversion": "sha", "build.sourcebranch": "ref", "build.sourcebranchname": "branch", "build.requestedfor": "actor", "build.repository.name": "repository",
	"build.buildid": "run", "build.buildnumber": "number", "build.sourcesdirectory": "workspace", "system.defaultworkingdirectory": "workspace", "build.reason": "event",
	"system.pullrequest.sourcebranch": "head", "system.pullrequest.targetbranch": "base",
}

var macro = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_.\-]*)\)`)

// text cuts a text at its macros. In a script, what is no variable is the
// shell's.
func (o *outliner) text(s string, script bool) outline.Text {
	var out outline.Text
	at := 0
	for _, m := range macro.FindAllStringSubmatchIndex(s, -1) {
		name := s[m[2]:m[3]]
		ref := o.ref(name)
		if ref == "" && script && !strings.Contains(name, ".") {
			continue
		}
		if m[0] > at {
			out = append(out, outline.Part{Literal: s[at:m[0]]})
		}
		out = append(out, outline.Part{Ref: cmp.Or(ref, "secret "+variableName(name))})
		at = m[1]
	}
	if at < len(s) {
		out = append(out, outline.Part{Literal: s[at:]})
	}
	return out
}

// ref is the hole that a variable stands for; "" when nothing is known of it.
func (o *outliner) ref(name string) string {
	lower := strings.ToLower(name)
	switch {
	case o.cell[lower] != "":
		return "matrix " + o.cell[lower]
	case o.known[lower]:
		return "env " + variableName(name)
	case words[lower] != "":
		return "run " + words[lower]
	}
	return ""
}

// condition says a condition; nil when there is none, or no words for it.
func (o *outliner) condition(n *node) *outline.Cond {
	if n.IsNull() {
		return nil
	}
	text, _ := wholeRuntime(n.Text)
	x, err := expression.Parse(text)
	if err == nil {
		if c, ok := o.cond(x.Parts()); ok {
			return &c
		}
	}
	o.lose(n.Source, "the condition %s", plan.Clip(n.Text))
	return nil
}

func (o *outliner) cond(p expression.Part) (c outline.Cond, ok bool) {
	if b, is := p.Literal.(bool); is && p.Call == "" && p.Path == nil {
		if b {
			return outline.Cond{Op: "always"}, true
		}
		return outline.Cond{Op: "not", Args: []outline.Cond{{Op: "always"}}}, true
	}
	two := func(op string) (outline.Cond, bool) {
		left, fine := o.side(p.Args[0])
		right, too := o.side(p.Args[1])
		return outline.Cond{Op: op, Left: left, Right: right}, fine && too
	}
	like := func(before string) (outline.Cond, bool) {
		left, fine := o.side(p.Args[0])
		word, is := p.Args[1].Literal.(string)
		return outline.Cond{Op: "matches", Left: left, Right: outline.Literal(before + regexp.QuoteMeta(word))}, fine && is
	}
	switch {
	case (p.Call == "and" || p.Call == "or") && len(p.Args) > 1, p.Call == "not" && len(p.Args) == 1:
		c.Op = p.Call
		for _, a := range p.Args {
			inner, ok := o.cond(a)
			if !ok {
				return c, false
			}
			c.Args = append(c.Args, inner)
		}
		return c, true
	case p.Call == "eq" && len(p.Args) == 2:
		return two("==")
	case p.Call == "ne" && len(p.Args) == 2:
		return two("!=")
	case p.Call == "in" && len(p.Args) > 1:
		c.Op = "or"
		for _, a := range p.Args[1:] {
			left, fine := o.side(p.Args[0])
			right, too := o.side(a)
			if !fine || !too {
				return c, false
			}
			c.Args = append(c.Args, outline.Cond{Op: "==", Left: left, Right: right})
		}
		return c, true
	case p.Call == "startswith" && len(p.Args) == 2:
		return like("^")
	case p.Call == "contains" && len(p.Args) == 2:
		return like("")
	case len(p.Args) > 0:
		return c, false
	}
	switch p.Call {
	case "succeeded":
		return outline.Cond{Op: "success"}, true
	case "failed":
		return outline.Cond{Op: "failure"}, true
	case "always":
		return outline.Cond{Op: "always"}, true
	case "canceled":
		return outline.Cond{Op: "cancelled"}, true
	case "succeededorfailed":
		return outline.Cond{Op: "not", Args: []outline.Cond{{Op: "cancelled"}}}, true
	}
	return c, false
}

// side is one side of a comparison.
func (o *outliner) side(p expression.Part) (outline.Text, bool) {
	switch {
	case p.Opaque || p.Call != "":
		return nil, false
	case len(p.Path) == 2 && p.Path[0] == "variables":
		return outline.Text{{Ref: cmp.Or(o.ref(p.Path[1]), "env "+variableName(p.Path[1]))}}, true
	case p.Path != nil:
		return nil, false
	}
	return outline.Literal(expression.String(p.Literal)), true
}

// tools are the tasks that make a tool available, and the inputs that say its
// version.
var tools = map[string][2]string{
	"nodetool": {"node", "versionspec"}, "usenode": {"node", "version"}, "gotool": {"go", "version"}, "usepythonversion": {"python", "versionspec"}, "javatoolinstaller": {"java", "versionspec"},
}

func (o *outliner) step(n *node, job *outline.Job) {
	out := outline.Step{Name: n.Get("displayName").String(), Source: n.Source, If: o.condition(n.Get("condition"))}
	out.AllowFailure, _ = boolean(n.Get("continueOnError").String())
	if t, ok := expression.Number(n.Get("timeoutInMinutes").String()); ok {
		out.Timeout = minutes(t)
	}
	for _, f := range fieldsOf(n.Get("env")) {
		out.Env = append(out.Env, outline.Named{Name: f.Key.Text, Text: o.text(f.Value.String(), false)})
	}
	if e := n.Get("enabled"); !e.IsNull() {
		if yes, ok := boolean(e.Text); ok && !yes {
			o.lose(n.Source, "a step that is not enabled")
			return
		}
	}
	if o.what(n, &out) {
		job.Steps = append(job.Steps, out)
	}
}

// what says what a step does; false when it is left out.
func (o *outliner) what(n *node, out *outline.Step) bool {
	in := map[string]*node{}
	for _, f := range append(slices.Clone(n.Fields), fieldsOf(n.Get("inputs"))...) {
		in[strings.ToLower(f.Key.Text)] = f.Value
	}
	get := func(names ...string) string {
		for _, name := range names {
			if v := in[name].String(); v != "" {
				return v
			}
		}
		return ""
	}
	name, _, _ := strings.Cut(strings.ToLower(get("task")), "@")
	run := func(script, shell string) bool {
		out.Script, out.Shell, out.Dir = o.text(script, true), shell, o.below(get("workingdirectory", "workingdir", "cwd"))
		return true
	}
	lines := func(s string) (all []string) {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, o.place(line))
			}
		}
		return all
	}
	switch {
	case in["script"] != nil && (name == "" || name == "cmdline"):
		return run(get("script"), "")
	case in["bash"] != nil:
		return run(get("bash"), "bash")
	case in["pwsh"] != nil || in["powershell"] != nil || name == "powershell" && get("targettype") == "inline":
		return run(get("pwsh", "powershell", "script"), "pwsh")
	case name == "bash" && strings.EqualFold(get("targettype"), "inline"):
		return run(get("script"), "bash")
	case name == "bash" || name == "shellscript":
		return run(strings.TrimSpace("bash "+get("filepath", "scriptpath")+" "+get("arguments", "args")), "bash")
	case name == "npm" && get("command") == "custom":
		return run("npm "+get("customcommand"), "")
	case name == "npm":
		return run("npm "+cmp.Or(get("command"), "install"), "")
	case name == "go":
		return run(strings.TrimSpace("go "+get("command")+" "+get("arguments")), "")
	case name == "maven":
		return run(strings.Join(strings.Fields("mvn -f "+cmp.Or(get("mavenpomfile"), "pom.xml")+" "+get("options")+" "+cmp.Or(get("goals"), "package")), " "), "")
	case name == "gradle":
		return run(strings.TrimSpace("./"+cmp.Or(get("gradlewrapperfile"), "gradlew")+" "+cmp.Or(get("tasks"), "build")), "")
	case name == "dotnetcorecli" && get("command") != "push" && !strings.ContainsAny(get("projects"), "*\n"):
		return run(strings.Join(strings.Fields("dotnet "+cmp.Or(get("command"), "build")+" "+get("projects")+" "+get("arguments")), " "), "")
	case in["checkout"] != nil:
		if get("checkout") != "self" {
			if get("checkout") != "none" {
				o.lose(n.Source, "the checkout of %s", get("checkout"))
			}
			return false
		}
		depth, _ := expression.Number(get("fetchdepth"))
		out.Checkout = &outline.Checkout{Depth: int(depth), Submodules: get("submodules") == "true" || get("submodules") == "recursive"}
	case in["publish"] != nil, name == "publishpipelineartifact", name == "publishbuildartifacts":
		out.Upload = &outline.Upload{Name: o.text(cmp.Or(get("artifact", "artifactname"), "drop"), false), Paths: lines(cmp.Or(get("publish", "targetpath", "pathtopublish", "path"), "."))}
	case in["download"] != nil, name == "downloadpipelineartifact", name == "downloadbuildartifacts":
		if d := get("download"); d != "" && d != "current" {
			if d != "none" {
				o.lose(n.Source, "artifacts of the pipeline %s", d)
			}
			return false
		}
		out.Download = &outline.Download{Name: o.text(get("artifact", "artifactname"), false), Dir: o.below(get("path", "targetpath", "downloadpath"))}
	case name == "cache":
		out.Cache = &outline.CacheUse{Key: o.key(get("key")), Paths: lines(get("path"))}
		for line := range strings.Lines(get("restorekeys")) {
			out.Cache.Fallback = append(out.Cache.Fallback, o.key(line))
		}
	case name == "publishtestresults":
		out.Tests = &outline.Tests{Paths: lines(cmp.Or(get("testresultsfiles"), "**/TEST-*.xml"))}
	case tools[name][0] != "":
		out.Setup = &outline.Setup{Tool: tools[name][0], Version: o.text(get(tools[name][1]), false)}
	default:
		o.lose(n.Source, "the step %s", cmp.Or(get("task"), n.Fields[0].Key.Text))
		return false
	}
	return true
}

// below is a path without the workspace in front.
func (o *outliner) below(s string) outline.Text { return o.text(o.place(s), false) }

var sources = regexp.MustCompile(`(?i)^\$\((Build\.SourcesDirectory|System\.DefaultWorkingDirectory)\)/?`)

func (o *outliner) place(s string) string { return sources.ReplaceAllString(s, "") }

// key is that of a cache: its segments, and digests of the files it names.
func (o *outliner) key(s string) outline.Text {
	var out outline.Text
	for segment := range strings.SplitSeq(s, "|") {
		segment = strings.TrimSpace(segment)
		if len(out) > 0 {
			out = append(out, outline.Part{Literal: "-"})
		}
		plain := strings.Trim(segment, `"`)
		if plain == segment && strings.ContainsAny(segment, "./") && !strings.HasPrefix(segment, "$(") {
			out = append(out, outline.Part{Ref: "hash " + strings.ReplaceAll(segment, ",", " ")})
			continue
		}
		out = append(out, o.text(plain, false)...)
	}
	return out
}
