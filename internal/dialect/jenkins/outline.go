package jenkins

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Outline implements dialect.Outliner for declarative pipelines. Stages that
// follow each other on one agent share a workspace, so they become one job;
// the branches of a parallel stage and a matrix become jobs of their own.
func (d *Dialect) Outline(p *plan.Pipeline) (*outline.Pipeline, error) {
	s, problems := d.parse(p.File, textOf(p, p.File))
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	m, problems := read(s, declarative.Known{})
	if plan.Errors(problems) {
		return nil, errors.New(problems[0].String())
	}
	o := &outline.Pipeline{Name: "pipeline", Source: p.Source, Inputs: p.Inputs}
	o.On = outline.Triggers{Push: &outline.Filter{}, Change: &outline.Filter{}, Manual: true}
	if m == nil {
		o.Lose(p.Source, "the pipeline: it is scripted, and a script has no outline")
		return o, nil
	}
	o.On.Cron = triggersOf(m)
	k := &outliner{o: o, s: s, ids: map[string]int{}}
	o.Env = k.env(m.Environment)
	for _, c := range m.Options {
		switch c.Name {
		case "timeout":
			k.timeout = k.duration(c.Expr)
		case "retry":
			if n, ok := literalNumber(c.Expr); ok && n > 1 {
				k.retry = int(n - 1)
			}
		case "disableConcurrentBuilds":
			k.group = outline.Text{{Ref: "run branch"}}
		case "buildDiscarder", "timestamps", "ansiColor", "skipDefaultCheckout", "durabilityHint", "parallelsAlwaysFailFast", "skipStagesAfterUnstable", "disableRestartFromStage":
		default:
			o.Lose(c.Source, "the option "+c.Name)
		}
	}
	k.tools(m.Tools)
	k.sequence(m.Stages, m.Agent, nil)
	k.flush()
	k.post(m.Post)
	return o, nil
}

// outliner makes an outline of a declarative pipeline.
type outliner struct {
	o       *outline.Pipeline
	s       *groovy.Script
	ids     map[string]int
	timeout time.Duration
	retry   int
	group   outline.Text

	job   *outline.Job // under way; nil between jobs
	agent *declarative.Agent
	last  []string // IDs that the next job needs
}

func (k *outliner) lose(n groovy.Node, what string) { k.o.Lose(source(k.s.At(n)), what) }

// id is a job's ID, made of a name.
func (k *outliner) id(name string) string {
	id := slug(name)
	k.ids[id]++
	if n := k.ids[id]; n > 1 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return id
}

// begin begins a job, unless the one under way is on the same agent.
func (k *outliner) begin(name string, at plan.Source, agent *declarative.Agent) *outline.Job {
	if k.job != nil && k.agent == agent {
		k.job.Name += ", " + name
		return k.job
	}
	k.flush()
	j := &outline.Job{ID: k.id(name), Name: name, Source: at, Needs: k.last, Timeout: k.timeout, Retry: k.retry, Group: k.group}
	k.place(j, agent)
	if agent != nil && agent.Type != "none" {
		j.Steps = append(j.Steps, outline.Step{Source: at, Checkout: &outline.Checkout{}})
	}
	k.job, k.agent = j, agent
	return j
}

// flush ends the job under way.
func (k *outliner) flush() {
	if k.job == nil {
		return
	}
	k.o.Jobs = append(k.o.Jobs, *k.job)
	k.last = []string{k.job.ID}
	k.job, k.agent = nil, nil
}

// place says where a job runs.
func (k *outliner) place(j *outline.Job, a *declarative.Agent) {
	if a == nil {
		return
	}
	text := func(e groovy.Expr) string {
		if e == nil {
			return ""
		}
		s, ok := k.text(e).Plain()
		if !ok {
			k.lose(e, "an agent that hangs on a variable")
		}
		return s
	}
	switch a.Type {
	case "label", "node":
		label := text(a.Value)
		if label == "" {
			label = text(a.Get("label"))
		}
		if label != "" {
			j.Labels = []string{label}
		}
	case "docker":
		image := text(a.Value)
		if image == "" {
			image = text(a.Get("image"))
		}
		j.Image = &plan.Container{Image: image, Options: text(a.Get("args")), Source: a.Source}
	case "any", "none":
	default:
		k.o.Lose(a.Source, "the agent "+a.Type)
	}
}

// tools become setup steps of the jobs, where there are words for them.
func (k *outliner) tools(list []declarative.Tool) {
	for _, t := range list {
		k.o.Lose(t.Source, fmt.Sprintf("the tool %s: its version is that of the Jenkins", t.Type))
	}
}

// sequence outlines stages that follow each other.
func (k *outliner) sequence(stages []*declarative.Stage, agent *declarative.Agent, when []outline.Cond) {
	for _, st := range stages {
		own := agent
		if st.Agent != nil {
			own = st.Agent
		}
		conds := when
		if st.When != nil {
			conds = append(when[:len(when):len(when)], k.when(st.When)...)
		}
		for _, c := range st.Options {
			if c.Name != "timeout" && c.Name != "timestamps" {
				k.o.Lose(c.Source, "the option "+c.Name+" of a stage")
			}
		}
		if st.Input != nil {
			k.flush()
			k.begin(st.Name, st.Source, own).Manual = true
		}
		k.tools(st.Tools)
		switch {
		case st.Stages != nil:
			k.sequence(st.Stages, own, conds)
			k.stagePost(st)
		case st.Parallel != nil:
			k.branches(st, agent, conds)
		case st.Matrix != nil:
			k.matrix(st, agent, conds)
		default:
			j := k.begin(st.Name, st.Source, own)
			from := len(j.Steps)
			k.steps(st.Steps, stepFrame{env: k.env(st.Environment), If: all(conds), stage: st.Name})
			if o := st.Option("timeout"); o != nil {
				for i := range j.Steps[from:] {
					j.Steps[from+i].Timeout = k.duration(o.Expr)
				}
			}
			k.stagePost(st)
		}
	}
}

// branches outlines a parallel stage: a job for each branch.
func (k *outliner) branches(st *declarative.Stage, agent *declarative.Agent, when []outline.Cond) {
	k.flush()
	before := k.last
	var ends []string
	for _, br := range st.Parallel {
		k.last = before
		k.sequence([]*declarative.Stage{br}, agent, when)
		k.flush()
		ends = append(ends, k.last...)
	}
	k.last = ends
	k.apart(st, before)
	k.lostPost(st.Post)
}

// apart tells that jobs begin where there was one workspace.
func (k *outliner) apart(st *declarative.Stage, before []string) {
	if len(before) > 0 {
		k.o.Lose(st.Source, "files that earlier stages left in the workspace: here each branch begins with the tree alone, so hand them on as artifacts")
	}
}

// matrix outlines a matrix stage: one job with a matrix.
func (k *outliner) matrix(st *declarative.Stage, agent *declarative.Agent, when []outline.Cond) {
	k.flush()
	k.apart(st, k.last)
	cell := st.Matrix.Cell
	own := agent
	if cell.Agent != nil {
		own = cell.Agent
	}
	j := k.begin(st.Name, st.Source, own)
	j.FailFast = st.FailFast
	for _, a := range st.Matrix.Axes {
		j.Matrix = append(j.Matrix, outline.Axis{Name: a.Name, Values: a.Values})
		j.Env = append(j.Env, outline.Named{Name: a.Name, Text: outline.Text{{Ref: "matrix " + a.Name}}})
	}
	kept := map[string]bool{}
	for _, c := range st.Matrix.Cells() {
		kept[cellName(c)] = true
	}
	every := declarative.Matrix{Axes: st.Matrix.Axes}
	for _, c := range every.Cells() {
		if !kept[cellName(c)] {
			out := map[string]string{}
			for _, v := range c {
				out[v.Name] = v.Value
			}
			j.Exclude = append(j.Exclude, out)
		}
	}
	j.Env = append(j.Env, k.env(cell.Environment)...)
	if cell.When != nil {
		k.o.Lose(cell.When.Source, "the condition of the cells of a matrix: exclude them instead")
	}
	for _, in := range cell.Stages {
		if in.Agent != nil && in.Agent.Type != "none" || in.Steps == nil {
			k.o.Lose(in.Source, "an agent or stages inside a cell of a matrix")
			continue
		}
		conds := when
		if in.When != nil {
			conds = append(when[:len(when):len(when)], k.when(in.When)...)
		}
		k.steps(in.Steps, stepFrame{env: k.env(in.Environment), If: all(conds), stage: in.Name})
		k.stagePost(in)
	}
	k.lostPost(cell.Post)
	k.flush()
	k.lostPost(st.Post)
}

// stepFrame is what the blocks around a step say of it.
type stepFrame struct {
	env   []outline.Named
	dir   outline.Text
	If    *outline.Cond
	stage string
	soft  bool
}

// steps outlines the steps of a block into the job under way.
func (k *outliner) steps(b *groovy.ClosureExpr, f stepFrame) {
	if b == nil || k.job == nil {
		return
	}
	for _, stmt := range b.Body.Stmts {
		e, ok := stmt.(*groovy.ExprStmt)
		if !ok {
			k.lose(stmt, "Groovy beside steps")
			continue
		}
		call, ok := e.X.(*groovy.CallExpr)
		if !ok || call.X != nil {
			k.lose(stmt, "Groovy beside steps")
			continue
		}
		k.step(call, f)
	}
}

func (k *outliner) step(call *groovy.CallExpr, f stepFrame) {
	st := outline.Step{Name: f.stage, Source: source(k.s.At(call)), If: f.If, Env: f.env, Dir: f.dir, AllowFailure: f.soft}
	first := func(name string) outline.Text {
		if len(call.Args) > 0 {
			return k.text(call.Args[0])
		}
		return k.text(namedArg(call, name))
	}
	paths := func(name string) []string {
		text, ok := first(name).Plain()
		if !ok {
			k.lose(call, "a pattern of files that hangs on a variable")
		}
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	}
	var body *groovy.ClosureExpr
	if n := len(call.Args); n > 0 {
		body, _ = call.Args[n-1].(*groovy.ClosureExpr)
	}
	switch call.Name {
	case "sh":
		st.Script, st.Shell = first("script"), "sh"
	case "pwsh":
		st.Script, st.Shell = first("script"), "pwsh"
	case "echo":
		st.Script = append(outline.Literal("echo \""), append(first("message"), outline.Part{Literal: "\""})...)
	case "error":
		st.Script = append(outline.Literal("echo \""), append(first("message"), outline.Part{Literal: "\" >&2; exit 1"})...)
	case "junit":
		st.Tests = &outline.Tests{Paths: paths("testResults")}
	case "archiveArtifacts", "archive":
		st.Upload = &outline.Upload{Name: outline.Literal(k.job.ID), Paths: paths("artifacts")}
	case "stash":
		includes, _ := k.text(namedArg(call, "includes")).Plain()
		if includes == "" {
			includes = "**"
		}
		name := k.text(namedArg(call, "name"))
		if name == nil {
			name = first("name")
		}
		st.Upload = &outline.Upload{Name: name, Paths: strings.Split(includes, ",")}
	case "unstash":
		st.Download = &outline.Download{Name: first("name")}
	case "checkout":
		return // every job begins with it
	case "dir":
		f.dir = first("path")
		k.steps(body, f)
		return
	case "withEnv":
		for _, item := range firstList(call) {
			f.env = append(f.env[:len(f.env):len(f.env)], k.assignment(item)...)
		}
		k.steps(body, f)
		return
	case "withCredentials":
		f.env = append(f.env[:len(f.env):len(f.env)], k.credentials(call)...)
		k.steps(body, f)
		return
	case "catchError", "warnError":
		f.soft = true
		k.steps(body, f)
		return
	case "timeout", "retry", "timestamps", "ansiColor", "wrap":
		if call.Name == "retry" {
			k.lose(call, "retry: the steps in it are tried once")
		}
		from := len(k.job.Steps)
		k.steps(body, f)
		if call.Name == "timeout" {
			for i := range k.job.Steps[from:] {
				k.job.Steps[from+i].Timeout = k.duration(call)
			}
		}
		return
	default:
		k.lose(call, "the step "+call.Name)
		return
	}
	k.job.Steps = append(k.job.Steps, st)
}

// firstList are the items of the list that a call begins with.
func firstList(call *groovy.CallExpr) []groovy.Expr {
	if len(call.Args) > 0 {
		if list, ok := call.Args[0].(*groovy.ListExpr); ok {
			return list.Items
		}
	}
	return nil
}

// namedArg is a named argument of a call, or nil.
func namedArg(call *groovy.CallExpr, name string) groovy.Expr {
	if call.Named == nil {
		return nil
	}
	for _, e := range call.Named.Entries {
		if l, ok := e.Key.(*groovy.Literal); ok && l.Value == name {
			return e.Value
		}
	}
	return nil
}

// text is an expression as a text with holes.
func (k *outliner) text(e groovy.Expr) outline.Text {
	switch e := e.(type) {
	case nil:
		return nil
	case *groovy.Literal:
		if e.Value == nil {
			return nil
		}
		return outline.Literal(fmt.Sprint(e.Value))
	case *groovy.GStringExpr:
		var t outline.Text
		for i, s := range e.Strings {
			if s != "" {
				t = append(t, outline.Part{Literal: s})
			}
			if i < len(e.Holes) {
				t = append(t, k.hole(e.Holes[i]))
			}
		}
		return t
	case *groovy.BinaryExpr:
		if e.Op == "+" {
			return append(k.text(e.X), k.text(e.Y)...)
		}
	}
	return outline.Text{k.hole(e)}
}

// hole is what an expression in a text stands for.
func (k *outliner) hole(e groovy.Expr) outline.Part {
	name := ""
	switch e := e.(type) {
	case *groovy.Ident:
		name = e.Name
	case *groovy.PropertyExpr:
		if x, ok := e.X.(*groovy.Ident); ok {
			switch x.Name {
			case "env":
				name = e.Name
			case "params":
				return outline.Part{Ref: "input " + e.Name}
			}
		}
	}
	switch name {
	case "":
		k.lose(e, "the expression "+k.s.Text(e))
		return outline.Part{Ref: "raw " + k.s.Text(e)}
	case "BRANCH_NAME", "GIT_BRANCH":
		return outline.Part{Ref: "run branch"}
	case "TAG_NAME":
		return outline.Part{Ref: "run tag"}
	case "GIT_COMMIT":
		return outline.Part{Ref: "run sha"}
	case "BUILD_NUMBER", "BUILD_ID":
		return outline.Part{Ref: "run number"}
	case "WORKSPACE":
		return outline.Part{Ref: "run workspace"}
	}
	return outline.Part{Ref: "env " + name}
}

// env outlines an environment block.
func (k *outliner) env(vars []declarative.Variable) []outline.Named {
	var out []outline.Named
	for _, v := range vars {
		if call, ok := v.Value.(*groovy.CallExpr); ok {
			if call.Name == "credentials" && len(call.Args) == 1 {
				if id, ok := k.text(call.Args[0]).Plain(); ok {
					out = append(out, outline.Named{Name: v.Name, Text: outline.Text{{Ref: "secret " + secretName(id)}}})
					continue
				}
			}
			k.o.Lose(v.Source, "the variable "+v.Name+": it is computed")
			continue
		}
		out = append(out, outline.Named{Name: v.Name, Text: k.text(v.Value)})
	}
	return out
}

// assignment is "NAME=value" of withEnv.
func (k *outliner) assignment(e groovy.Expr) []outline.Named {
	t := k.text(e)
	if len(t) == 0 || t[0].Ref != "" {
		k.lose(e, "a variable whose name is computed")
		return nil
	}
	name, rest, ok := strings.Cut(t[0].Literal, "=")
	if !ok || strings.Contains(name, "+") {
		k.lose(e, "the variable "+name)
		return nil
	}
	value := append(outline.Literal(rest), t[1:]...)
	return []outline.Named{{Name: name, Text: value}}
}

// credentials are the variables of withCredentials.
func (k *outliner) credentials(call *groovy.CallExpr) []outline.Named {
	var out []outline.Named
	for _, item := range firstList(call) {
		b, ok := item.(*groovy.CallExpr)
		if !ok {
			k.lose(item, "a binding of withCredentials")
			continue
		}
		id, _ := namedLiteral(b, "credentialsId").(string)
		bind := func(arg, suffix string) {
			if name, ok := namedLiteral(b, arg).(string); ok {
				out = append(out, outline.Named{Name: name, Text: outline.Text{{Ref: "secret " + secretName(id) + suffix}}})
			}
		}
		switch b.Name {
		case "string":
			bind("variable", "")
		case "usernamePassword":
			bind("usernameVariable", "_USR")
			bind("passwordVariable", "_PSW")
		default:
			k.lose(b, "the binding "+b.Name+" of withCredentials")
		}
	}
	return out
}

// when outlines conditions; those without words are told of.
func (k *outliner) when(w *declarative.When) []outline.Cond {
	var out []outline.Cond
	for _, c := range w.Conditions {
		switch c.Name {
		case "allOf":
			out = append(out, k.when(c)...)
		case "anyOf":
			out = append(out, outline.Cond{Op: "or", Args: k.when(c)})
		case "not":
			out = append(out, outline.Cond{Op: "not", Args: k.when(c)})
		case "branch", "tag":
			pattern := c.Value
			if pattern == nil {
				pattern = c.Get("pattern")
			}
			text, ok := k.text(pattern).Plain()
			ref := outline.Text{{Ref: "run " + c.Name}}
			switch {
			case !ok || c.Get("comparator") != nil:
				k.o.Lose(c.Source, "the condition "+c.Name)
			case strings.ContainsAny(text, "*?"):
				out = append(out, outline.Cond{Op: "matches", Left: ref, Right: outline.Literal(globPattern(text))})
			default:
				out = append(out, outline.Cond{Op: "==", Left: ref, Right: outline.Literal(text)})
			}
		case "buildingTag":
			out = append(out, outline.Cond{Op: "!=", Left: outline.Text{{Ref: "run tag"}}, Right: nil})
		case "changeRequest":
			out = append(out, outline.Cond{Op: "==", Left: outline.Text{{Ref: "run event"}}, Right: outline.Literal("pull_request")})
		case "environment":
			name, _ := k.text(c.Get("name")).Plain()
			out = append(out, outline.Cond{Op: "==", Left: outline.Text{{Ref: "env " + name}}, Right: k.text(c.Get("value"))})
		case "equals":
			out = append(out, outline.Cond{Op: "==", Left: k.text(c.Get("actual")), Right: k.text(c.Get("expected"))})
		default:
			k.o.Lose(c.Source, "the condition "+c.Name)
		}
	}
	return out
}

// globPattern is one of Ant's patterns as a regular expression.
func globPattern(glob string) string {
	var b strings.Builder
	b.WriteByte('^')
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case strings.IndexByte(`\.+()|[]{}^$`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('$')
	return b.String()
}

// all is the condition that all of several hold; nil for none.
func all(conds []outline.Cond) *outline.Cond {
	switch len(conds) {
	case 0:
		return nil
	case 1:
		return &conds[0]
	}
	return &outline.Cond{Op: "and", Args: conds}
}

// postCond is when a block of post runs.
func postCond(name string) (*outline.Cond, bool) {
	switch name {
	case "always", "cleanup":
		return &outline.Cond{Op: "always"}, true
	case "success":
		return nil, true
	case "failure", "unsuccessful":
		return &outline.Cond{Op: "failure"}, true
	case "aborted":
		return &outline.Cond{Op: "cancelled"}, true
	}
	return nil, false
}

// stagePost outlines the post section of a stage into the job under way.
func (k *outliner) stagePost(st *declarative.Stage) {
	for _, name := range declarative.Post() {
		for _, p := range st.Post {
			if p.Name != name {
				continue
			}
			cond, ok := postCond(name)
			if !ok || k.job == nil {
				k.o.Lose(p.Source, "post "+name)
				continue
			}
			k.steps(p.Body, stepFrame{If: cond, stage: "Post " + st.Name})
		}
	}
}

func (k *outliner) lostPost(list []declarative.Condition) {
	for _, p := range list {
		k.o.Lose(p.Source, "post "+p.Name+" of a stage with branches")
	}
}

// post outlines the post section of the pipeline: into its only job, or as a
// job after all others.
func (k *outliner) post(list []declarative.Condition) {
	if len(list) == 0 {
		return
	}
	if len(k.o.Jobs) == 1 && k.o.Jobs[0].Matrix == nil {
		k.job = &k.o.Jobs[0]
		k.stagePost(&declarative.Stage{Name: "pipeline", Directives: declarative.Directives{Post: list}})
		k.job = nil
		return
	}
	for _, name := range declarative.Post() {
		for _, p := range list {
			if p.Name != name {
				continue
			}
			cond, ok := postCond(name)
			if !ok {
				k.o.Lose(p.Source, "post "+name)
				continue
			}
			j := &outline.Job{ID: k.id("post " + name), Name: "Post " + name, Source: p.Source, If: cond}
			for i := range k.o.Jobs {
				if !strings.HasPrefix(k.o.Jobs[i].ID, "post-") {
					j.Needs = append(j.Needs, k.o.Jobs[i].ID)
				}
			}
			k.job = j
			k.steps(p.Body, stepFrame{stage: "Post " + name})
			k.job = nil
			if len(j.Steps) > 0 {
				k.o.Jobs = append(k.o.Jobs, *j)
			}
		}
	}
}

// duration is the time of timeout(time: 1, unit: 'HOURS').
func (k *outliner) duration(call *groovy.CallExpr) time.Duration {
	n, ok := literalNumber(call)
	unit, _ := namedLiteral(call, "unit").(string)
	d, _, known := duration(n, unit)
	if !ok || !known {
		k.lose(call, "a timeout that is computed")
		return 0
	}
	return d
}

// literalNumber is the number that a call is given: alone, or as time or count.
func literalNumber(call *groovy.CallExpr) (int64, bool) {
	v := namedLiteral(call, "time")
	if v == nil {
		v = namedLiteral(call, "count")
	}
	if v == nil && len(call.Args) > 0 {
		if l, ok := call.Args[0].(*groovy.Literal); ok {
			v = l.Value
		}
	}
	switch n := v.(type) {
	case int32:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}
