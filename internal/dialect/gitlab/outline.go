package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// Outline implements [dialect.Outliner]. It is read from the pipeline's own
// texts: extends, references and local includes are followed, and what came
// from elsewhere is told of.
func (d *Dialect) Outline(p *plan.Pipeline) (*outline.Pipeline, error) {
	tree := textTree{}
	for _, t := range p.Texts {
		if t.Commit == "" {
			tree[t.Path] = t.Body
		}
	}
	c := newCompiler(context.Background(), &Dialect{}, tree, nil, p.File, &project.GitLab{})
	c.locked, _ = ReadLock(tree)
	doc := document.Load(c.ctx, c.options())
	if doc.Root == nil {
		return nil, fmt.Errorf("%s has errors; `fairlead lint` shows them", p.File)
	}
	made, _ := c.pipeline(doc, "")
	o := &outliner{p: made, out: &outline.Pipeline{Name: cmp.Or(made.text(doc.Root.Get("workflow").Get("name"), "name"), p.Name), Source: p.Source, Inputs: p.Inputs}}
	for _, name := range doc.Gone {
		o.out.Lose(p.Source, "what "+name+" brings, which is not at hand")
	}
	o.starts()
	o.out.Env = o.variables(made.global)
	seen := map[string]bool{}
	for _, e := range made.entries {
		if !seen[e.name] { // a job whose cells fare differently has several entries
			seen[e.name] = true
			o.job(e)
		}
	}
	return o.out, nil
}

// textTree is a tree of the texts that a pipeline was made from.
type textTree map[string]string

// Open implements [fs.FS].
func (t textTree) Open(name string) (fs.File, error) {
	body, ok := t[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &textFile{Reader: strings.NewReader(body), name: path.Base(name), size: int64(len(body))}, nil
}

// List implements [document.Lister].
func (t textTree) List() []string { return slices.Sorted(maps.Keys(t)) }

// textFile is a file of a textTree.
type textFile struct {
	io.Reader
	name string
	size int64
}

func (f *textFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *textFile) Close() error               { return nil }
func (f *textFile) Name() string               { return f.name }
func (f *textFile) Size() int64                { return f.size }
func (f *textFile) Mode() fs.FileMode          { return 0o444 }
func (f *textFile) ModTime() time.Time         { return time.Time{} }
func (f *textFile) IsDir() bool                { return false }
func (f *textFile) Sys() any                   { return nil }

// outliner says a pipeline in the words that all languages share.
type outliner struct {
	p   *pipeline
	out *outline.Pipeline
}

func (o *outliner) lose(at plan.Source, format string, args ...any) {
	o.out.Lose(at, fmt.Sprintf(format, args...))
}

// starts reads the rules of the workflow, as far as they say what starts it.
func (o *outliner) starts() {
	on := &o.out.On
	rules := o.p.root.Get("workflow").Get("rules")
	if rules.IsNull() {
		on.Push, on.Manual = &outline.Filter{}, true
		return
	}
	for _, item := range rules.Items {
		text, _ := item.Get("if").Text()
		when, _ := item.Get("when").Text()
		switch {
		case when == "never":
			o.lose(item.Source, "the rule that keeps the pipeline from starting: %s", text)
		case strings.Contains(text, "merge_request_event"), strings.Contains(text, "CI_MERGE_REQUEST"):
			on.Change = &outline.Filter{}
		case strings.Contains(text, `"schedule"`):
			o.lose(item.Source, "schedules, whose times are in the project's settings")
		case strings.Contains(text, `"web"`):
			on.Manual = true
		case strings.Contains(text, "CI_COMMIT_TAG"):
			if on.Push == nil {
				on.Push = &outline.Filter{}
			}
			on.Push.Tags = append(on.Push.Tags, "*")
		default:
			if on.Push == nil {
				on.Push = &outline.Filter{}
			}
			if m := defaultBranch.FindString(text); m != "" {
				on.Push.Branches = append(on.Push.Branches, "main")
			} else if m := oneBranch.FindStringSubmatch(text); m != nil {
				on.Push.Branches = append(on.Push.Branches, m[1])
			} else if text != "" && text != "$CI_COMMIT_BRANCH" {
				o.lose(item.Source, "the rule %s", text)
			}
		}
	}
}

var (
	defaultBranch = regexp.MustCompile(`\$CI_COMMIT_BRANCH == \$CI_DEFAULT_BRANCH`)
	oneBranch     = regexp.MustCompile(`^\$CI_COMMIT_(?:BRANCH|REF_NAME) == ["']([^"']+)["']$`)
	// compare is a comparison that every language has.
	compare = regexp.MustCompile(`^\$(\w+) (==|!=) ["']([^"']*)["']$`)
	// anyVariable finds what a shell and GitLab alike put in.
	anyVariable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
)

// wordOf is the word for a predefined variable; "" when there is none.
var wordOf = func() map[string]string {
	words := map[string]string{"CI_COMMIT_BRANCH": "branch", "CI_COMMIT_REF_SLUG": "branch"}
	for word, name := range predefinedNames {
		if word != "ref" {
			words[name] = word
		}
	}
	return words
}()

// script is a text for a shell: only what GitLab alone knows is a hole, and
// the cell of a matrix.
func (o *outliner) script(s string, axes []string, at plan.Source) (t outline.Text) {
	from := 0
	for _, m := range anyVariable.FindAllStringSubmatchIndex(s, -1) {
		name := s[max(m[2], m[4]):max(m[3], m[5])]
		ref := "run " + wordOf[name]
		switch {
		case wordOf[name] != "":
		case slices.Contains(axes, name):
			ref = "matrix " + name
		default:
			if strings.HasPrefix(name, "CI_") {
				o.lose(at, "the variable %s, which GitLab sets", name)
			}
			continue
		}
		t = append(t, outline.Literal(s[from:m[0]])...)
		t = append(t, outline.Part{Ref: ref})
		from = m[1]
	}
	return append(t, outline.Literal(s[from:])...)
}

// text is a text that GitLab itself fills.
func (o *outliner) text(s string) (t outline.Text) {
	from := 0
	for _, m := range anyVariable.FindAllStringSubmatchIndex(s, -1) {
		name := s[max(m[2], m[4]):max(m[3], m[5])]
		ref := "env " + name
		if word := wordOf[name]; word != "" {
			ref = "run " + word
		}
		t = append(t, outline.Literal(s[from:m[0]])...)
		t = append(t, outline.Part{Ref: ref})
		from = m[1]
	}
	return append(t, outline.Literal(s[from:])...)
}

func (o *outliner) variables(list []variable) (env []outline.Named) {
	for _, v := range list {
		if v.Raw {
			env = append(env, outline.Named{Name: v.Name, Text: outline.Literal(v.Value)})
		} else {
			env = append(env, outline.Named{Name: v.Name, Text: o.text(v.Value)})
		}
	}
	return env
}

func (o *outliner) job(e *entry) {
	s := &e.spec
	if e.trigger != nil {
		o.lose(e.source, "job %s, which starts another pipeline", e.name)
		return
	}
	j := outline.Job{
		ID: e.name, Name: e.name, Stage: o.p.stages[e.stage], Source: e.source, Labels: s.Tags,
		Timeout: e.timeout, AllowFailure: e.allow || len(e.tolerate) > 0,
	}
	if e.retry != nil {
		j.Retry = e.retry.Max
	}
	if slices.Contains([]string{stagePre, stagePost}, j.Stage) {
		o.lose(e.source, "that job %s is in %s: it comes in the order of the file", e.name, j.Stage)
	}
	for _, n := range e.needs {
		if n.outside || n.job == "" {
			o.lose(n.source, "a need of another pipeline")
		} else if !slices.Contains(j.Needs, n.job) {
			j.Needs = append(j.Needs, n.job)
		}
	}
	if e.dag && len(j.Needs) == 0 {
		j.Stage = "" // it waits for nobody
	}
	own := map[string]bool{}
	for _, v := range o.p.global {
		own[v.Name+"="+v.Value] = true
	}
	j.Env = o.variables(slices.DeleteFunc(slices.Clone(s.Variables), func(v variable) bool { return own[v.Name+"="+v.Value] }))
	if i := s.Image; i != nil {
		c := o.container(i)
		j.Image = &c
	}
	for i := range s.Services {
		c := o.container(&s.Services[i])
		name, _, _ := strings.Cut(s.Services[i].Alias, ",")
		if name == "" {
			name = path.Base(strings.Split(s.Services[i].Name, ":")[0])
		}
		j.Services = append(j.Services, outline.Service{Name: name, Container: c})
	}
	if env := s.Environment; env != nil {
		j.Environment, j.URL = env.Name, o.text(env.URL)
		if env.Action != "" && env.Action != "start" || env.OnStop != "" {
			o.lose(env.Source, "how environment %s is stopped", env.Name)
		}
	}
	j.Group = o.text(s.ResourceName)
	o.parallel(&j, e.node.Get("parallel"))
	o.when(&j, e)
	o.steps(&j, e)
	o.out.Jobs = append(o.out.Jobs, j)
}

func (o *outliner) container(i *imageSpec) plan.Container {
	c := plan.Container{Image: i.Name, User: i.User, Entrypoint: i.Entrypoint, Command: i.Command, Source: i.Source}
	for _, v := range i.Variables {
		if c.Env == nil {
			c.Env = map[string]string{}
		}
		c.Env[v.Name] = v.Value
	}
	if strings.Contains(i.Name, "$") {
		o.lose(i.Source, "the variables in the image %s", i.Name)
	}
	return c
}

func (o *outliner) parallel(j *outline.Job, n *document.Node) {
	if n.IsNull() {
		return
	}
	rows := n.Get("matrix")
	if rows.IsNull() {
		o.lose(n.Source, "that job %s runs several times over", j.ID)
		return
	}
	for i, row := range rows.Items {
		one := outline.Job{}
		for _, f := range row.Fields {
			axis := outline.Axis{Name: f.Key}
			if text, ok := f.Value.Text(); ok {
				axis.Values = []string{text}
			}
			for _, item := range f.Value.Items {
				text, _ := item.Text()
				axis.Values = append(axis.Values, text)
			}
			one.Matrix = append(one.Matrix, axis)
		}
		if i == 0 && len(rows.Items) == 1 {
			j.Matrix = one.Matrix
			return
		}
		j.Include = append(j.Include, outline.Cells(&one)...)
	}
}

// when says when a job runs, as far as one rule and the state of the others
// decide.
func (o *outliner) when(j *outline.Job, e *entry) {
	when, _ := e.node.Get("when").Text()
	var conds []outline.Cond
	rules := e.node.Get("rules")
	if !rules.IsNull() {
		item := rules.Items[:min(len(rules.Items), 1)]
		text, own := "", ""
		if len(item) > 0 {
			text, _ = item[0].Get("if").Text()
			own, _ = item[0].Get("when").Text()
		}
		switch {
		case len(rules.Items) > 1, len(item) > 0 && !item[0].Get("changes").IsNull(), len(item) > 0 && !item[0].Get("exists").IsNull(), own == "never":
			o.lose(rules.Source, "the rules of job %s: it runs whenever the pipeline does", j.ID)
		default:
			for _, part := range strings.Split(text, "&&") {
				if part = strings.TrimSpace(part); part == "" {
					continue
				}
				c, ok := comparison(part)
				if !ok {
					o.lose(item[0].Source, "the rule %s", text)
					conds = nil
					break
				}
				conds = append(conds, c)
			}
		}
		when = cmp.Or(own, when)
	} else if !e.node.Get("only").IsNull() || !e.node.Get("except").IsNull() {
		o.lose(e.source, "only: and except: of job %s", j.ID)
	}
	switch when {
	case "manual":
		j.Manual = true
	case "on_failure":
		conds = slices.Insert(conds, 0, outline.Cond{Op: "failure"})
	case "always":
		conds = slices.Insert(conds, 0, outline.Cond{Op: "always"})
	case "delayed":
		o.lose(e.source, "that job %s waits for a while", j.ID)
		fallthrough
	default:
		if len(conds) > 0 {
			conds = slices.Insert(conds, 0, outline.Cond{Op: "success"})
		}
	}
	switch len(conds) {
	case 0:
	case 1:
		j.If = &conds[0]
	default:
		j.If = &outline.Cond{Op: "and", Args: conds}
	}
}

// comparison reads one comparison of rules:if.
func comparison(text string) (outline.Cond, bool) {
	if m := compare.FindStringSubmatch(text); m != nil {
		name, value := m[1], m[3]
		ref := "env " + name
		switch name {
		case "CI_COMMIT_BRANCH":
			return outline.Cond{Op: m[2], Left: outline.Text{{Ref: "run ref"}}, Right: outline.Literal("refs/heads/" + value)}, true
		case "CI_COMMIT_TAG":
			return outline.Cond{Op: m[2], Left: outline.Text{{Ref: "run ref"}}, Right: outline.Literal("refs/tags/" + value)}, true
		case "CI_PIPELINE_SOURCE":
			ref, value = "run event", cmp.Or(map[string]string{"merge_request_event": "pull_request", "web": "workflow_dispatch"}[value], value)
		default:
			if word := wordOf[name]; word != "" {
				ref = "run " + word
			}
		}
		return outline.Cond{Op: m[2], Left: outline.Text{{Ref: ref}}, Right: outline.Text{{Literal: value}}}, true
	}
	switch text {
	case "$CI_COMMIT_TAG":
		return outline.Cond{Op: "matches", Left: outline.Text{{Ref: "run ref"}}, Right: outline.Literal("^refs/tags/")}, true
	case "$CI_COMMIT_BRANCH":
		return outline.Cond{Op: "matches", Left: outline.Text{{Ref: "run ref"}}, Right: outline.Literal("^refs/heads/")}, true
	}
	return outline.Cond{}, false
}

func (o *outliner) steps(j *outline.Job, e *entry) {
	s := &e.spec
	add := func(step outline.Step) {
		step.Source = cmp.Or(step.Source, e.source)
		j.Steps = append(j.Steps, step)
	}
	checkout := &outline.Checkout{Depth: 1}
	for _, v := range s.Variables {
		switch v.Name {
		case "GIT_DEPTH":
			checkout.Depth, _ = strconv.Atoi(v.Value)
		case "GIT_SUBMODULE_STRATEGY":
			checkout.Submodules = v.Value != "none"
		}
	}
	add(outline.Step{Checkout: checkout})
	for _, c := range s.Cache {
		use := &outline.CacheUse{Key: o.text(c.Key), Paths: c.Paths}
		if len(c.KeyFiles) > 0 {
			use.Key = append(outline.Literal(strings.TrimPrefix(c.Prefix+"-", "-")), outline.Part{Ref: "hash " + strings.Join(c.KeyFiles, " ")})
		}
		for _, f := range c.Fallback {
			use.Fallback = append(use.Fallback, o.text(f))
		}
		add(outline.Step{Source: c.Source, Cache: use})
	}
	for _, from := range o.givers(e) {
		add(outline.Step{Download: &outline.Download{Name: outline.Literal(artifactName(from)), Dir: outline.Literal(common(from.spec.artifacts().Paths))}})
	}
	var axes []string
	for _, axis := range j.Matrix {
		axes = append(axes, axis.Name)
	}
	for _, cell := range j.Include {
		axes = append(axes, outline.Axes(j, cell)...)
	}
	if lines := slices.Concat(s.BeforeScript, s.Script); len(lines) > 0 {
		add(outline.Step{Script: o.script(strings.Join(lines, "\n"), axes, e.source)})
	}
	if len(s.AfterScript) > 0 {
		add(outline.Step{Name: "after_script", If: &outline.Cond{Op: "always"}, Script: o.script(strings.Join(s.AfterScript, "\n"), axes, e.source)})
	}
	if a := s.artifacts(); a != nil {
		var cond *outline.Cond
		switch a.When {
		case "always":
			cond = &outline.Cond{Op: "always"}
		case "on_failure":
			cond = &outline.Cond{Op: "failure"}
		}
		if len(a.Paths) > 0 {
			add(outline.Step{Source: a.Source, If: cond, Upload: &outline.Upload{Name: outline.Literal(artifactName(e)), Paths: a.Paths, Days: days(a.ExpireIn)}})
		}
		for _, kind := range slices.Sorted(maps.Keys(a.Reports)) {
			if kind == "junit" {
				add(outline.Step{Source: a.Source, If: &outline.Cond{Op: "always"}, Tests: &outline.Tests{Paths: a.Reports[kind]}})
			} else {
				o.lose(a.Source, "the %s report of job %s", kind, j.ID)
			}
		}
	}
	if s.Release != nil {
		o.lose(s.Release.Source, "the release of job %s", j.ID)
	}
}

// artifactName is what the artifacts of a job are called elsewhere: they need a
// name there, and each its own.
func artifactName(e *entry) string {
	if name := e.spec.artifacts().Name; name != "" && !strings.Contains(name, "$") {
		return name
	}
	return e.name
}

// givers are the jobs whose artifacts a job gets: those that it needs, or all
// that came before.
func (o *outliner) givers(e *entry) (from []*entry) {
	for _, other := range o.p.entries {
		switch {
		case other == e || other.name == e.name || other.spec.artifacts() == nil || len(other.spec.artifacts().Paths) == 0:
			continue
		case e.dependencies != nil:
			if !slices.Contains(*e.dependencies, other.name) {
				continue
			}
		case e.dag:
			if !slices.ContainsFunc(e.needs, func(n need) bool { return n.job == other.name && n.files }) {
				continue
			}
		case other.stage >= e.stage:
			continue
		}
		if !slices.ContainsFunc(from, func(f *entry) bool { return f.name == other.name }) {
			from = append(from, other)
		}
	}
	return from
}

// common is the directory that all the paths are in, which other languages
// leave out of their artifacts.
func common(paths []string) string {
	var dir []string
	for i, p := range paths {
		parts := strings.Split(path.Clean(strings.TrimSuffix(p, "/")), "/")
		if k := slices.IndexFunc(parts, func(s string) bool { return strings.ContainsAny(s, "*?[") }); k >= 0 {
			parts = parts[:k]
		} else if !strings.HasSuffix(p, "/") && path.Ext(p) != "" || len(paths) > 1 {
			parts = parts[:len(parts)-1]
		}
		if i == 0 {
			dir = parts
		}
		n := 0
		for n < min(len(dir), len(parts)) && dir[n] == parts[n] {
			n++
		}
		dir = dir[:n]
	}
	return strings.Join(dir, "/")
}

// days are those of "3 days" and "2 weeks".
func days(text string) int {
	var n int
	var unit string
	if _, err := fmt.Sscanf(text, "%d %s", &n, &unit); err != nil {
		return 0
	}
	switch strings.TrimSuffix(unit, "s") {
	case "day":
		return n
	case "week":
		return 7 * n
	case "month", "mo":
		return 30 * n
	}
	return 0
}
