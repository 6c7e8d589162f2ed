package github

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Outline implements [dialect.Outliner]. It is read from the pipeline's own text.
func (d *Dialect) Outline(p *plan.Pipeline) (*outline.Pipeline, error) {
	for _, t := range p.Texts {
		if t.Path != p.File || t.Commit != "" {
			continue
		}
		w, problems := d.read(t)
		if w == nil || plan.Errors(problems) {
			return nil, fmt.Errorf("%s has errors; `fairlead lint` shows them", p.File)
		}
		o := outliner{out: &outline.Pipeline{Name: cmp.Or(w.Name.Text, p.Name), Source: w.Source, Inputs: p.Inputs}}
		o.pipeline(w)
		return o.out, nil
	}
	return nil, fmt.Errorf("the text of %s is not with its plan", p.File)
}

// outliner says a workflow in the words that all languages share.
type outliner struct{ out *outline.Pipeline }

func (o *outliner) lose(at plan.Source, format string, args ...any) {
	o.out.Lose(at, fmt.Sprintf(format, args...))
}

func (o *outliner) pipeline(w *workflow.Workflow) {
	for i := range w.On.Events {
		o.trigger(&w.On.Events[i])
	}
	o.out.Env = o.env(w.Env)
	if w.Concurrency != nil {
		o.lose(w.Concurrency.Source, "concurrency of the whole workflow")
	}
	for _, j := range w.Jobs {
		o.job(w, j)
	}
}

func (o *outliner) trigger(t *workflow.Trigger) {
	on := &o.out.On
	switch t.Event {
	case "push":
		on.Push = branchFilter(t)
	case "pull_request":
		on.Change = branchFilter(t)
		if len(t.Types) > 0 {
			o.lose(t.Source, "types: of pull_request")
		}
	case "workflow_dispatch":
		on.Manual = true
	case "schedule":
		for _, c := range t.Cron {
			if c.Timezone.Text != "" {
				o.lose(c.Timezone.Source, "the time zone of a schedule")
			}
			on.Cron = append(on.Cron, c.Line.Text)
		}
	default:
		o.lose(t.Source, "the event %s", t.Event)
	}
}

func branchFilter(t *workflow.Trigger) *outline.Filter {
	f := &outline.Filter{}
	split := func(list, ignore []workflow.Str) (with, without []string) {
		for _, s := range list {
			if rest, not := strings.CutPrefix(s.Text, "!"); not {
				without = append(without, rest)
			} else {
				with = append(with, s.Text)
			}
		}
		for _, s := range ignore {
			without = append(without, s.Text)
		}
		return with, without
	}
	f.Branches, f.NotBranches = split(t.Branches, t.BranchesIgnore)
	f.Tags, f.NotTags = split(t.Tags, t.TagsIgnore)
	f.Paths, f.NotPaths = split(t.Paths, t.PathsIgnore)
	return f
}

func (o *outliner) env(pairs []workflow.Pair) (env []outline.Named) {
	for _, p := range pairs {
		if p.Insert {
			o.lose(p.Value.Source, "an environment that an expression computes")
			continue
		}
		env = append(env, outline.Named{Name: p.Key.Text, Text: o.text(p.Value)})
	}
	return env
}

func (o *outliner) job(w *workflow.Workflow, j *workflow.Job) {
	out := outline.Job{
		ID: j.ID.Text, Name: cmp.Or(j.Name.Text, j.ID.Text), Source: j.Source,
		Timeout: minutes(j.Timeout), Env: o.env(j.Env),
	}
	if strings.Contains(out.Name, "${{") {
		out.Name = out.ID
	}
	if j.Uses.Given() {
		o.lose(j.Uses.Source, "job %s, which calls the workflow %s", j.ID.Text, j.Uses.Text)
		return
	}
	for _, n := range j.Needs {
		out.Needs = append(out.Needs, n.Text)
	}
	if j.If.Given() {
		out.If = o.condition(j.Condition, j.If.Source)
	}
	out.AllowFailure = o.truth(j.ContinueOnError)
	for _, l := range j.RunsOn.Labels {
		if text := o.text(l); len(text) > 0 {
			out.Labels = append(out.Labels, text.Fill(func(kind, name string) string { return "${{ " + name + " }}" }))
		}
	}
	if s := j.Strategy; s != nil {
		o.strategy(&out, s)
	}
	if j.Container != nil {
		out.Image = o.container(j.Container)
	}
	for _, s := range j.Services {
		if s.Insert {
			o.lose(j.Source, "services that an expression computes")
		} else if c := o.container(s.Container); c != nil {
			out.Services = append(out.Services, outline.Service{Name: s.Name.Text, Container: *c})
		}
	}
	if e := j.Environment; e != nil {
		out.Environment, out.URL = e.Name.Text, o.text(e.URL)
	}
	if c := j.Concurrency; c != nil {
		out.Group = o.text(c.Group)
	}
	for _, p := range j.Outputs {
		o.lose(p.Key.Source, "output %s of job %s", p.Key.Text, j.ID.Text)
	}
	for _, s := range j.Steps {
		o.step(w, j, &out, s)
	}
	o.out.Jobs = append(o.out.Jobs, out)
}

func (o *outliner) strategy(out *outline.Job, s *workflow.Strategy) {
	m := s.Matrix
	if s.Expr.Given() || m == nil || m.Expr.Given() {
		o.lose(s.Source, "a matrix that an expression computes")
		return
	}
	out.FailFast = true
	if b, ok := s.FailFast.Bool(); ok {
		out.FailFast = b
	}
	for _, f := range m.Vectors {
		axis := outline.Axis{Name: f.Key.Text}
		for _, n := range f.Value.Items {
			if n.Kind != workflow.Scalar || n.Scalar.HasExpr() {
				o.lose(n.Source, "a value of matrix %s that is not a plain text", f.Key.Text)
				continue
			}
			axis.Values = append(axis.Values, n.Scalar.Text)
		}
		if f.Value.Kind != workflow.Sequence {
			o.lose(f.Value.Source, "matrix %s, which an expression computes", f.Key.Text)
			continue
		}
		out.Matrix = append(out.Matrix, axis)
	}
	out.Include, out.Exclude = o.cells(m.Include), o.cells(m.Exclude)
}

func (o *outliner) cells(n *workflow.Node) (cells []map[string]string) {
	if n == nil {
		return nil
	}
	if n.Kind != workflow.Sequence {
		o.lose(n.Source, "cells of a matrix that an expression computes")
		return nil
	}
	for _, item := range n.Items {
		cell := map[string]string{}
		for _, f := range item.Fields {
			if f.Value.Kind != workflow.Scalar {
				o.lose(f.Value.Source, "%s of a matrix, which is not a plain text", f.Key.Text)
				continue
			}
			cell[f.Key.Text] = f.Value.Scalar.Text
		}
		cells = append(cells, cell)
	}
	return cells
}

func (o *outliner) container(c *workflow.Container) *plan.Container {
	if c.Expr.Given() || c.Image.HasExpr() {
		o.lose(c.Source, "an image that an expression computes")
		return nil
	}
	out := &plan.Container{Image: strings.TrimPrefix(c.Image.Text, "docker://"), Options: c.Options.Text,
		Entrypoint: plan.Words(c.Entrypoint.Text), Command: plan.Words(c.Command.Text), Source: c.Source}
	for _, p := range c.Env {
		if v, ok := o.text(p.Value).Plain(); ok && !p.Insert {
			if out.Env == nil {
				out.Env = map[string]string{}
			}
			out.Env[p.Key.Text] = v
		} else {
			o.lose(p.Value.Source, "%s of a container's environment", p.Key.Text)
		}
	}
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, p.Text)
	}
	for _, v := range c.Volumes {
		out.Volumes = append(out.Volumes, v.Text)
	}
	if c.Credentials != nil {
		o.lose(c.Credentials.Source, "credentials of an image")
	}
	return out
}

func (o *outliner) step(w *workflow.Workflow, j *workflow.Job, job *outline.Job, s *workflow.Step) {
	out := outline.Step{Name: s.Name.Text, Source: s.Source, Env: o.env(s.Env), Timeout: minutes(s.Timeout)}
	if strings.Contains(out.Name, "${{") {
		out.Name = ""
	}
	if s.If.Given() {
		out.If = o.condition(s.Condition, s.If.Source)
	}
	out.AllowFailure = o.truth(s.ContinueOnError)
	switch s.Kind() {
	case "run":
		dir, shell := s.WorkingDirectory, s.Shell
		for _, d := range []*workflow.Defaults{j.Defaults, w.Defaults} {
			if d != nil && !dir.Given() {
				dir = d.WorkingDirectory
			}
			if d != nil && !shell.Given() {
				shell = d.Shell
			}
		}
		out.Script, out.Dir, out.Shell = o.text(s.Run), o.text(dir), shell.Text
	case "uses":
		if !o.uses(&out, s) {
			return
		}
	default:
		o.lose(s.Source, "a step that says %s", cmp.Or(s.Kind(), "nothing"))
		return
	}
	job.Steps = append(job.Steps, out)
}

// uses says what an action does, of those that every language has a word for.
func (o *outliner) uses(out *outline.Step, s *workflow.Step) bool {
	with := map[string]workflow.Str{}
	for _, p := range s.With {
		with[strings.ToLower(p.Key.Text)] = p.Value
	}
	used := map[string]bool{}
	take := func(name string) workflow.Str { used[name] = true; return with[name] }
	lines := func(name string) (all []string) {
		for line := range strings.Lines(o.literal(take(name))) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, line)
			}
		}
		return all
	}
	action, _, _ := strings.Cut(s.Uses.Text, "@")
	switch action = strings.ToLower(action); action {
	case "actions/checkout":
		depth := 1
		if n, ok := take("fetch-depth").Number(); ok {
			depth = int(n)
		}
		out.Checkout = &outline.Checkout{Depth: depth, Submodules: with["submodules"].Given() && with["submodules"].Text != "false"}
		used["submodules"] = true
	case "actions/cache":
		out.Cache = &outline.CacheUse{Key: o.text(take("key")), Paths: lines("path")}
		for _, key := range strings.Split(take("restore-keys").Text, "\n") {
			if key = strings.TrimSpace(key); key != "" {
				out.Cache.Fallback = append(out.Cache.Fallback, o.text(workflow.Str{Text: key, Source: s.Source}))
			}
		}
	case "actions/upload-artifact":
		days, _ := strconv.Atoi(take("retention-days").Text)
		out.Upload = &outline.Upload{Name: o.text(take("name")), Paths: lines("path"), Days: days}
		used["if-no-files-found"] = true
		if len(out.Upload.Name) == 0 {
			out.Upload.Name = outline.Literal("artifact")
		}
	case "actions/download-artifact":
		out.Download = &outline.Download{Name: o.text(take("name")), Dir: o.text(take("path"))}
	case "actions/setup-go", "actions/setup-node", "actions/setup-python", "actions/setup-java":
		tool := strings.TrimPrefix(action, "actions/setup-")
		out.Setup = &outline.Setup{Tool: tool, Version: o.text(take(tool + "-version"))}
		if file := with[tool+"-version-file"]; file.Given() {
			o.lose(file.Source, "the file that says which version of %s", tool)
		}
		for _, name := range []string{tool + "-version-file", "cache", "cache-dependency-path", "distribution", "check-latest"} {
			used[name] = true
		}
	default:
		o.lose(s.Uses.Source, "the action %s", s.Uses.Text)
		return false
	}
	for _, p := range s.With {
		if name := strings.ToLower(p.Key.Text); !used[name] && p.Value.Text != "" {
			o.lose(p.Key.Source, "%s of %s", name, s.Uses.Text)
		}
	}
	return true
}

// literal is a text in which holes are not carried over.
func (o *outliner) literal(s workflow.Str) string {
	return o.text(s).Fill(func(kind, name string) string {
		o.lose(s.Source, "the expression %s where a plain text is wanted", name)
		return ""
	})
}

// truth is a literal boolean.
func (o *outliner) truth(s workflow.Str) bool {
	b, ok := s.Bool()
	if s.Given() && !ok {
		o.lose(s.Source, "the expression %s", s.Text)
	}
	return b
}

func minutes(s workflow.Str) time.Duration {
	n, _ := s.Number()
	return time.Duration(n * float64(time.Minute))
}

// text takes a template apart. Expressions that have no word elsewhere are
// kept as they are written, and told of.
func (o *outliner) text(s workflow.Str) (text outline.Text) {
	t, err := expression.ParseTemplate(s.Text)
	if err != nil {
		return outline.Literal(s.Text)
	}
	t.Parts(func(literal string, hole *expression.Expression) {
		if hole == nil {
			text = append(text, outline.Part{Literal: literal})
			return
		}
		ref := holeRef(hole.Root())
		if ref == "" {
			ref = "raw ${{ " + strings.TrimSpace(hole.String()) + " }}"
			o.lose(s.Source, "the expression %s, which is kept as it is written", strings.TrimSpace(hole.String()))
		}
		text = append(text, outline.Part{Ref: ref})
	})
	return text
}

// runNames are what expressions of GitHub say of a run, and the word for it.
var runNames = map[string]string{
	"github.sha": "sha", "github.ref": "ref", "github.ref_name": "branch", "github.head_ref": "head", "github.base_ref": "base",
	"github.actor": "actor", "github.repository": "repository", "github.run_id": "run", "github.run_number": "number",
	"github.workspace": "workspace", "github.event_name": "event",
}

// holeRef is the hole that an expression is; "" when there is no word for it.
func holeRef(n *expression.Node) string {
	if n == nil {
		return ""
	}
	if n.Op == expression.OpCall && strings.EqualFold(n.Name, "hashFiles") {
		var globs []string
		for _, a := range n.Args {
			glob, ok := a.Value.(string)
			if a.Op != expression.OpLiteral || !ok {
				return ""
			}
			globs = append(globs, glob)
		}
		return "hash " + strings.Join(globs, " ")
	}
	path := property(n)
	if run := runNames[strings.ToLower(path)]; run != "" {
		return "run " + run
	}
	context, name, ok := strings.Cut(path, ".")
	if !ok || strings.Contains(name, ".") {
		return ""
	}
	switch context = strings.ToLower(context); context {
	case "env", "matrix":
		return context + " " + name
	case "vars":
		return "env " + name
	case "secrets":
		return "secret " + name
	case "inputs":
		return "input " + name
	}
	return ""
}

// property is "a.b" for a chain of names.
func property(n *expression.Node) string {
	switch {
	case n.Op == expression.OpName:
		return n.Name
	case n.Op == expression.OpIndex && n.Args[1].Op == expression.OpLiteral:
		if name, ok := n.Args[1].Value.(string); ok {
			if of := property(n.Args[0]); of != "" {
				return of + "." + name
			}
		}
	}
	return ""
}

// condition takes a condition apart; nil when it has no words, which is told.
func (o *outliner) condition(text string, at plan.Source) *outline.Cond {
	text = strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(text, "${{"); ok && strings.HasSuffix(inner, "}}") {
		text = strings.TrimSuffix(inner, "}}")
	}
	e, err := expression.Parse(text)
	if err == nil && e.Root() != nil {
		if c, ok := cond(e.Root()); ok {
			return &c
		}
	}
	o.lose(at, "the condition %s", strings.TrimSpace(text))
	return nil
}

func cond(n *expression.Node) (c outline.Cond, ok bool) {
	all := func(op string) (outline.Cond, bool) {
		c := outline.Cond{Op: op}
		for _, a := range n.Args {
			arg, ok := cond(a)
			if !ok {
				return c, false
			}
			c.Args = append(c.Args, arg)
		}
		return c, true
	}
	switch n.Op {
	case expression.OpAnd:
		return all("and")
	case expression.OpOr:
		return all("or")
	case expression.OpNot:
		return all("not")
	case expression.OpEqual, expression.OpNotEqual:
		left, lok := side(n.Args[0])
		right, rok := side(n.Args[1])
		op := "=="
		if n.Op == expression.OpNotEqual {
			op = "!="
		}
		return outline.Cond{Op: op, Left: left, Right: right}, lok && rok
	case expression.OpCall:
		name := strings.ToLower(n.Name)
		if slices.Contains([]string{"success", "failure", "always", "cancelled"}, name) && len(n.Args) == 0 {
			return outline.Cond{Op: name}, true
		}
		if name == "startswith" && len(n.Args) == 2 {
			left, lok := side(n.Args[0])
			prefix, pok := n.Args[1].Value.(string)
			return outline.Cond{Op: "matches", Left: left, Right: outline.Literal("^" + regexp.QuoteMeta(prefix))}, lok && pok
		}
	}
	return c, false
}

func side(n *expression.Node) (outline.Text, bool) {
	if n.Op == expression.OpLiteral {
		if s, ok := n.Value.(string); ok {
			return outline.Text{{Literal: s}}, true
		}
		return outline.Literal(expression.String(n.Value)), true
	}
	if ref := holeRef(n); ref != "" {
		return outline.Text{{Ref: ref}}, true
	}
	return nil, false
}
