package gitlab

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Target implements [dialect.Composer].
func (d *Dialect) Target(*outline.Pipeline) string { return ".gitlab-ci.yml" }

// Compose implements [dialect.Composer]. The steps of a job become its script:
// GitLab runs them in one shell, so that what belongs to one step alone
// (variables, a directory) is put in brackets.
func (d *Dialect) Compose(p *outline.Pipeline) ([]byte, []plan.Problem) {
	c := &composer{names: map[string]string{}, makers: map[string][]string{}}
	for i := range p.Jobs {
		j := &p.Jobs[i]
		c.names[j.ID] = jobName(j.ID)
		for _, s := range j.Steps {
			if s.Upload != nil {
				name, _ := s.Upload.Name.Plain()
				c.makers[name] = append(c.makers[name], j.ID)
			}
		}
	}
	file := new(outline.Mapping)
	var stages []string
	for i := range p.Jobs {
		if s := p.Jobs[i].Stage; s != "" && !slices.Contains(stages, s) {
			stages = append(stages, s)
		}
	}
	file.Set("stages", stages)
	file.Set("workflow", new(outline.Mapping).Set("name", p.Name).Set("rules", c.starts(p)))
	file.Set("variables", c.inputs(p))
	for i := range p.Jobs {
		file.Say(c.names[p.Jobs[i].ID], c.job(&p.Jobs[i]))
	}
	return file.File("Made by fairlead convert."), c.lost
}

type composer struct {
	names  map[string]string   // of jobs, as they are here
	makers map[string][]string // jobs by the artifact that they make
	lost   []plan.Problem
}

func (c *composer) lose(at plan.Source, format string, args ...any) {
	c.lost = append(c.lost, outline.Loss(at, fmt.Sprintf(format, args...)))
}

// notJobs are words that mean something else at the top of a file.
var notJobs = []string{"image", "services", "stages", "types", "before_script", "after_script", "variables", "cache", "include", "default", "workflow", "spec", "pages", "true", "false", "nil"}

func jobName(id string) string {
	if slices.Contains(notJobs, id) || strings.HasPrefix(id, ".") {
		return "job " + id
	}
	return id
}

// envName makes a name that a shell takes of any name.
func envName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

// predefinedNames are what the words for a run are called here.
var predefinedNames = map[string]string{
	"sha": "CI_COMMIT_SHA", "ref": "CI_COMMIT_REF_NAME", "branch": "CI_COMMIT_REF_NAME", "tag": "CI_COMMIT_TAG", "actor": "GITLAB_USER_LOGIN",
	"repository": "CI_PROJECT_PATH", "run": "CI_PIPELINE_ID", "number": "CI_PIPELINE_IID", "workspace": "CI_PROJECT_DIR", "event": "CI_PIPELINE_SOURCE",
	"base": "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "head": "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
}

// named is the variable that a hole is; "" for none.
func named(kind, name string) string {
	switch kind {
	case "env", "secret", "matrix", "input":
		return envName(name)
	case "run":
		return predefinedNames[name]
	}
	return ""
}

func (c *composer) text(t outline.Text, at plan.Source) string {
	return t.Fill(func(kind, name string) string {
		if v := named(kind, name); v != "" {
			return "${" + v + "}"
		}
		if kind == "hash" {
			c.lose(at, "the digest of %s in a text", name)
			return ""
		}
		return name
	})
}

func (c *composer) variables(list []outline.Named, at plan.Source) *outline.Mapping {
	m := new(outline.Mapping)
	for _, e := range list {
		if len(e.Text) == 1 && e.Text[0].Ref != "" {
			if kind, name, _ := strings.Cut(e.Text[0].Ref, " "); kind == "secret" && envName(name) == e.Name {
				continue // it is in the environment as it is
			}
		}
		m.Say(envName(e.Name), c.text(e.Text, at))
	}
	return m
}

// inputs are the variables of all jobs, and what a person is asked for.
func (c *composer) inputs(p *outline.Pipeline) *outline.Mapping {
	m := c.variables(p.Env, p.Source)
	for _, in := range p.Inputs {
		v := new(outline.Mapping).Set("description", cmp.Or(in.Description, in.Name)).Say("value", "").Set("options", in.Options)
		if in.Default != nil {
			v = new(outline.Mapping).Set("description", cmp.Or(in.Description, in.Name)).Say("value", fmt.Sprint(in.Default)).Set("options", in.Options)
		}
		m.Say(envName(in.Name), v)
	}
	return m
}

// starts are the rules of the workflow.
func (c *composer) starts(p *outline.Pipeline) (rules []*outline.Mapping) {
	rule := func(cond string, f *outline.Filter) {
		m := new(outline.Mapping).Set("if", cond)
		if f != nil {
			m.Set("changes", globs(f.Paths))
			if len(f.NotPaths) > 0 {
				c.lose(p.Source, "paths that start nothing: %s", strings.Join(f.NotPaths, ", "))
			}
		}
		rules = append(rules, m)
	}
	if f := p.On.Change; f != nil {
		rule(`$CI_PIPELINE_SOURCE == "merge_request_event"`+matching(" && ", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", f.Branches, f.NotBranches), f)
	}
	if len(p.On.Cron) > 0 {
		c.lose(p.Source, "the times of its schedules: %s: make pipeline schedules of them in the project's settings", strings.Join(p.On.Cron, "; "))
		rule(`$CI_PIPELINE_SOURCE == "schedule"`, nil)
	}
	if p.On.Manual {
		rule(`$CI_PIPELINE_SOURCE == "web"`, nil)
	}
	if f := p.On.Push; f != nil {
		branches, tags := len(f.Branches)+len(f.NotBranches) > 0, len(f.Tags)+len(f.NotTags) > 0
		if branches || !tags {
			rule(`$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH`+matching(" && ", "CI_COMMIT_BRANCH", f.Branches, f.NotBranches), f)
		}
		if tags || !branches {
			rule(`$CI_COMMIT_TAG`+matching(" && ", "CI_COMMIT_TAG", f.Tags, f.NotTags), nil)
		}
	}
	return rules
}

// globs are the patterns of paths as changes: reads them.
func globs(patterns []string) []string {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		if out[i] = p; strings.HasPrefix(p, "**.") {
			out[i] = "**/*" + strings.TrimPrefix(p, "**")
		}
	}
	return out
}

// matching is the condition that a variable matches one of the globs and none
// of the others.
func matching(before, name string, with, without []string) (cond string) {
	if len(with) > 0 {
		cond += before + "$" + name + " =~ /^(" + strings.Join(expressions(with), "|") + ")$/"
	}
	if len(without) > 0 {
		cond += before + "$" + name + " !~ /^(" + strings.Join(expressions(without), "|") + ")$/"
	}
	return cond
}

func expressions(globs []string) []string {
	out := make([]string, len(globs))
	for i, g := range globs {
		g = regexp.QuoteMeta(g)
		g = strings.NewReplacer(`\*\*`, ".*", `\*`, "[^/]*", `\?`, ".", "/", `\/`).Replace(g)
		out[i] = strings.ReplaceAll(g, `[^\/]`, `[^\/]`)
	}
	return out
}

func (c *composer) job(j *outline.Job) *outline.Mapping {
	m := new(outline.Mapping).Set("stage", j.Stage)
	if j.Stage == "" || len(j.Needs) > 0 {
		needs := make([]string, len(j.Needs))
		for i, n := range j.Needs {
			needs[i] = c.names[n]
		}
		// Artifacts come from the jobs that are needed, and from no others.
		for _, maker := range c.fetched(j) {
			if n := c.names[maker]; !slices.Contains(needs, n) && maker != j.ID {
				needs = append(needs, n)
			}
		}
		if j.Stage == "" && len(needs) == 0 {
			m.Say("needs", []string{})
		} else {
			m.Set("needs", needs)
		}
	}
	if image := c.image(j); image != nil {
		m.Set("image", image)
	}
	var tags []string
	for _, l := range j.Labels {
		if l != "ubuntu-latest" && l != "self-hosted" && !strings.HasPrefix(l, "ubuntu-") {
			tags = append(tags, l)
		}
	}
	m.Set("tags", tags)
	var services []*outline.Mapping
	for _, s := range j.Services {
		services = append(services, new(outline.Mapping).Say("name", s.Image).Set("alias", s.Name).Set("entrypoint", s.Entrypoint).Set("command", s.Command).Set("variables", s.Env))
	}
	m.Set("services", services)
	vars := c.variables(j.Env, j.Source)
	for _, s := range j.Steps {
		if s.Checkout != nil && s.Checkout.Depth == 0 {
			vars.Say("GIT_DEPTH", "0")
		}
		if s.Checkout != nil && s.Checkout.Submodules {
			vars.Say("GIT_SUBMODULE_STRATEGY", "recursive")
		}
	}
	m.Set("variables", vars).Set("parallel", c.parallel(j)).Set("rules", c.rules(j))
	if j.Environment != "" {
		m.Say("environment", new(outline.Mapping).Say("name", j.Environment).Set("url", c.text(j.URL, j.Source)))
	}
	m.Set("resource_group", c.text(j.Group, j.Source))
	if j.Timeout > 0 {
		m.Say("timeout", fmt.Sprintf("%d minutes", max(1, int(j.Timeout/time.Minute))))
	}
	m.Set("retry", min(j.Retry, 2)).Set("allow_failure", j.AllowFailure)
	return c.steps(m, j)
}

// fetched are the jobs whose artifacts a job asks for.
func (c *composer) fetched(j *outline.Job) (makers []string) {
	for _, s := range j.Steps {
		if s.Download == nil {
			continue
		}
		if name, plain := s.Download.Name.Plain(); plain && name != "" {
			makers = append(makers, c.makers[name]...)
		}
	}
	return makers
}

// images are where tools are found; a job without an image of its own that
// sets one up runs there.
var images = map[string]string{"go": "golang", "node": "node", "python": "python", "java": "eclipse-temurin"}

func (c *composer) image(j *outline.Job) *outline.Mapping {
	if i := j.Image; i != nil {
		return new(outline.Mapping).Say("name", i.Image).Set("entrypoint", i.Entrypoint)
	}
	for _, s := range j.Steps {
		if s.Setup != nil {
			version := c.text(s.Setup.Version, s.Source)
			return new(outline.Mapping).Say("name", images[s.Setup.Tool]+":"+cmp.Or(version, "latest"))
		}
	}
	return nil
}

// parallel are the cells of a matrix. GitLab excludes none: where some are,
// each cell is a row of its own.
func (c *composer) parallel(j *outline.Job) *outline.Mapping {
	var rows []*outline.Mapping
	if len(j.Matrix) > 0 && len(j.Exclude) == 0 {
		row := new(outline.Mapping)
		for _, axis := range j.Matrix {
			row.Say(envName(axis.Name), axis.Values)
		}
		rows = append(rows, row)
	} else {
		for _, cell := range outline.Cells(j) {
			row := new(outline.Mapping)
			for _, axis := range j.Matrix {
				row.Say(envName(axis.Name), cell[axis.Name])
			}
			rows = append(rows, row)
		}
	}
	for _, cell := range j.Include {
		row := new(outline.Mapping)
		for _, name := range outline.Axes(j, cell) {
			row.Say(envName(name), cell[name])
		}
		rows = append(rows, row)
	}
	return new(outline.Mapping).Set("matrix", rows)
}

// rules say when a job runs.
func (c *composer) rules(j *outline.Job) []*outline.Mapping {
	if j.If == nil && !j.Manual {
		return nil
	}
	m := new(outline.Mapping)
	when := ""
	if j.If != nil {
		var cond string
		var ok bool
		if cond, when, ok = c.when(j.If); !ok {
			c.lose(j.Source, "the condition of job %s", j.ID)
		}
		m.Set("if", cond)
	}
	if j.Manual {
		when = "manual"
	}
	m.Set("when", when)
	rule := []*outline.Mapping{m}
	if when == "" && len(j.Needs) == 0 && m.Empty() {
		return nil
	}
	return rule
}

// when takes a condition apart into what rules:if can say and the word of when.
func (c *composer) when(cond *outline.Cond) (text, when string, ok bool) {
	switch cond.Op {
	case "success":
		return "", "", true
	case "failure":
		return "", "on_failure", true
	case "always":
		return "", "always", true
	case "and":
		var parts []string
		for i := range cond.Args {
			t, w, ok := c.when(&cond.Args[i])
			if !ok {
				return "", "", false
			}
			if when = cmp.Or(when, w); t != "" {
				parts = append(parts, t)
			}
		}
		return strings.Join(parts, " && "), when, true
	}
	text, ok = ruleText(cond)
	return text, "", ok
}

// ruleText says a condition without states in the language of rules:if.
func ruleText(c *outline.Cond) (string, bool) {
	switch c.Op {
	case "and", "or":
		parts := make([]string, len(c.Args))
		for i := range c.Args {
			text, ok := ruleText(&c.Args[i])
			if !ok {
				return "", false
			}
			if parts[i] = text; c.Args[i].Op == "or" || c.Args[i].Op == "and" {
				parts[i] = "(" + text + ")"
			}
		}
		return strings.Join(parts, map[string]string{"and": " && ", "or": " || "}[c.Op]), true
	case "not":
		inner := c.Args[0]
		if turned := map[string]string{"==": "!=", "!=": "=="}[inner.Op]; turned != "" {
			inner.Op = turned
			return ruleText(&inner)
		}
		return "", false
	case "==", "!=", "matches":
		left, right := c.Left, c.Right
		name, value, ok := compared(left, right)
		if !ok && c.Op != "matches" {
			name, value, ok = compared(right, left)
		}
		if !ok {
			return "", false
		}
		if c.Op == "matches" {
			if rest, branch := strings.CutPrefix(value, "^refs/heads/"); branch && name == "CI_COMMIT_REF_NAME" {
				name, value = "CI_COMMIT_BRANCH", "^"+rest
			} else if rest, tag := strings.CutPrefix(value, "^refs/tags/"); tag && name == "CI_COMMIT_REF_NAME" {
				name, value = "CI_COMMIT_TAG", "^"+rest
			}
			if value == "^" {
				return "$" + name, true
			}
			return "$" + name + " =~ /" + strings.ReplaceAll(value, "/", `\/`) + "/", true
		}
		return fmt.Sprintf("$%s %s %q", name, c.Op, value), true
	}
	return "", false
}

// compared is a variable and the text that it is compared with, in the words
// that GitLab has for refs and events.
func compared(left, right outline.Text) (name, value string, ok bool) {
	value, plain := right.Plain()
	if !plain || len(left) != 1 || left[0].Ref == "" {
		return "", "", false
	}
	kind, what, _ := strings.Cut(left[0].Ref, " ")
	if name = named(kind, what); name == "" {
		return "", "", false
	}
	if kind == "run" && what == "ref" {
		if branch, ok := strings.CutPrefix(value, "refs/heads/"); ok {
			return "CI_COMMIT_BRANCH", branch, true
		}
		if tag, ok := strings.CutPrefix(value, "refs/tags/"); ok {
			return "CI_COMMIT_TAG", tag, true
		}
	}
	if kind == "run" && what == "event" {
		value = cmp.Or(map[string]string{"pull_request": "merge_request_event", "workflow_dispatch": "web"}[value], value)
	}
	return name, value, true
}

// steps are the script of a job, and what its steps ask of GitLab.
func (c *composer) steps(m *outline.Mapping, j *outline.Job) *outline.Mapping {
	var script, after []string
	var caches []*outline.Mapping
	artifacts, reports := new(outline.Mapping), new(outline.Mapping)
	var names, kept []string
	days, always := 0, false
	for i := range j.Steps {
		s := &j.Steps[i]
		switch {
		case s.Cache != nil:
			caches = append(caches, c.cache(s))
		case s.Upload != nil:
			kept = append(kept, s.Upload.Paths...)
			names, days = append(names, c.text(s.Upload.Name, s.Source)), max(days, s.Upload.Days)
			always = always || s.If != nil && late(s.If)
		case s.Tests != nil:
			reports.Set("junit", s.Tests.Paths)
			always = true
		case s.Download != nil:
			if len(s.Download.Dir) > 0 {
				c.lose(s.Source, "the directory that an artifact is put in: it comes to where it was")
			}
		case s.Checkout != nil, s.Setup != nil:
		default:
			text, isLate := c.script(s)
			if isLate {
				after = append(after, text)
			} else {
				script = append(script, text)
			}
		}
	}
	m.Set("cache", caches)
	if len(script) == 0 {
		script = []string{"true"}
	}
	m.Say("script", script).Set("after_script", after)
	if len(names) > 0 {
		artifacts.Set("name", strings.Join(names, "-"))
	}
	artifacts.Set("paths", kept)
	if always {
		artifacts.Say("when", "always")
	}
	if days > 0 {
		artifacts.Say("expire_in", fmt.Sprintf("%d days", days))
	}
	return m.Set("artifacts", artifacts.Set("reports", reports))
}

// late reports whether a step runs although one before it failed.
func late(c *outline.Cond) bool {
	return c.Op == "always" || c.Op == "failure" || slices.ContainsFunc(c.Args, func(a outline.Cond) bool { return late(&a) })
}

func (c *composer) cache(s *outline.Step) *outline.Mapping {
	m := new(outline.Mapping)
	var files []string
	prefix := ""
	for _, p := range s.Cache.Key {
		if kind, name, _ := strings.Cut(p.Ref, " "); kind == "hash" {
			files = append(files, strings.Fields(name)...)
		} else {
			prefix += c.text(outline.Text{p}, s.Source)
		}
	}
	if len(files) > 0 {
		if len(files) > 2 {
			c.lose(s.Source, "more than two files in a key of a cache")
			files = files[:2]
		}
		m.Say("key", new(outline.Mapping).Say("files", files).Set("prefix", strings.Trim(prefix, "-")))
	} else {
		m.Say("key", prefix)
	}
	var fallback []string
	for _, f := range s.Cache.Fallback {
		fallback = append(fallback, c.text(f, s.Source))
	}
	for _, p := range s.Cache.Paths {
		if strings.HasPrefix(p, "~") || strings.HasPrefix(p, "/") {
			c.lose(s.Source, "the cache of %s: GitLab keeps what is below the project's directory: let the tool write there", p)
		}
	}
	return m.Set("paths", s.Cache.Paths).Set("fallback_keys", fallback)
}

// script is the text of a step, and whether it belongs to the after_script.
func (c *composer) script(s *outline.Step) (text string, isLate bool) {
	text = strings.TrimRight(c.text(s.Script, s.Source), "\n")
	switch s.Shell {
	case "", "bash", "sh":
	default:
		c.lose(s.Source, "the shell %s", s.Shell)
	}
	var head []string
	for _, e := range s.Env {
		value := c.text(e.Text, s.Source)
		if value != "${"+envName(e.Name)+"}" {
			head = append(head, fmt.Sprintf("export %s=%q", envName(e.Name), value))
		}
	}
	if len(s.Dir) > 0 {
		head = append(head, fmt.Sprintf("cd %q", c.text(s.Dir, s.Source)))
	}
	if len(head) > 0 || s.AllowFailure {
		text = "(\n" + indent("set -e\n"+strings.Join(append(head, text), "\n")) + "\n)"
		if s.AllowFailure {
			text += " || true"
		}
	}
	if s.If != nil {
		isLate = late(s.If)
		test, ok := shellTest(s.If)
		switch {
		case !ok:
			c.lose(s.Source, "the condition of a step")
		case test != "":
			text = "if " + test + "; then\n" + indent(text) + "\nfi"
		}
	}
	if s.Name != "" && strings.Contains(text, "\n") {
		text = "# " + s.Name + "\n" + text
	}
	return text, isLate
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// shellTest says a condition to a shell; "" for one that always holds.
func shellTest(c *outline.Cond) (string, bool) {
	switch c.Op {
	case "success", "always":
		return "", true
	case "failure":
		return `[ "$CI_JOB_STATUS" = failed ]`, true
	case "and", "or":
		var parts []string
		for i := range c.Args {
			t, ok := shellTest(&c.Args[i])
			if !ok {
				return "", false
			}
			if t != "" {
				parts = append(parts, t)
			}
		}
		return strings.Join(parts, map[string]string{"and": " && ", "or": " || "}[c.Op]), true
	case "==", "!=":
		name, value, ok := compared(c.Left, c.Right)
		if !ok {
			name, value, ok = compared(c.Right, c.Left)
		}
		op := map[string]string{"==": "=", "!=": "!="}[c.Op]
		return fmt.Sprintf("[ \"$%s\" %s %q ]", name, op, value), ok
	}
	return "", false
}
