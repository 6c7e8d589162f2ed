package azure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Target implements dialect.Composer.
func (d *Dialect) Target(*outline.Pipeline) string { return Files[0] }

// Compose implements dialect.Composer.
func (d *Dialect) Compose(p *outline.Pipeline) ([]byte, []plan.Problem) {
	c := &composer{ids: map[string]string{}, inputs: map[string]bool{}}
	for i := range p.Jobs {
		c.ids[p.Jobs[i].ID] = identifier(p.Jobs[i].ID)
	}
	jobs := []*outline.Mapping{}
	for i := range p.Jobs {
		jobs = append(jobs, c.job(&p.Jobs[i], outline.Before(p, i)))
	}
	file, variables := new(outline.Mapping), c.variables(p.Env)
	c.triggers(file, p)
	file.Set("parameters", c.parameters(p.Inputs)).Set("variables", variables)
	return file.Say("jobs", jobs).File("Made by fairlead convert."), c.lost
}

// parameters are the inputs of a pipeline, and those that only its texts name.
func (c *composer) parameters(inputs []plan.Input) (list []*outline.Mapping) {
	for _, in := range inputs {
		m := new(outline.Mapping).Say("name", identifier(in.Name)).Set("displayName", guarded(in.Description))
		delete(c.inputs, identifier(in.Name))
		kind := cmp.Or(map[string]string{"boolean": "boolean", "number": "number"}[in.Type], "string")
		m.Say("type", kind)
		if given := fmt.Sprint(in.Default); in.Default != nil && (given != "" || kind == "string") {
			m.Say("default", guarded(given))
		} else if !in.Required && kind == "string" && len(in.Options) == 0 {
			m.Say("default", "")
		}
		list = append(list, m.Set("values", in.Options))
	}
	for _, name := range slices.Sorted(maps.Keys(c.inputs)) {
		list = append(list, new(outline.Mapping).Say("name", name).Say("type", "string").Say("default", ""))
	}
	return list
}

type composer struct {
	ids    map[string]string // of jobs, as they are here
	inputs map[string]bool   // that texts name, as they are here
	lost   []plan.Problem
}

// input is the parameter that an input is here.
func (c *composer) input(name string) string {
	c.inputs[identifier(name)] = true
	return "${{ parameters." + identifier(name) + " }}"
}

func (c *composer) lose(at plan.Source, format string, args ...any) {
	c.lost = append(c.lost, outline.Loss(at, fmt.Sprintf(format, args...)))
}

// identifier makes a name that Azure takes of any name.
func identifier(s string) string {
	id := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
	if id == "" || id[0] >= '0' && id[0] <= '9' {
		id = "_" + id
	}
	return id
}

func (c *composer) triggers(file *outline.Mapping, p *outline.Pipeline) {
	globs := func(list []string) (out []string) {
		for _, g := range list {
			out = append(out, strings.ReplaceAll(g, "**", "*"))
		}
		return out
	}
	say := func(key string, f *outline.Filter) {
		if f == nil {
			file.Say(key, "none")
			return
		}
		part := func(with, without []string) *outline.Mapping {
			if len(with) == 0 && len(without) > 0 {
				with = []string{"*"}
			}
			return new(outline.Mapping).Set("include", with).Set("exclude", without)
		}
		m := new(outline.Mapping)
		branches := globs(f.Branches)
		if len(branches) == 0 && (len(f.Tags) == 0 || key == "pr") {
			branches = []string{"*"}
		}
		if len(branches) > 0 || len(f.NotBranches) > 0 {
			m.Say("branches", part(branches, globs(f.NotBranches)))
		}
		if key == "trigger" {
			m.Set("tags", part(globs(f.Tags), globs(f.NotTags)))
		}
		file.Say(key, m.Set("paths", part(f.Paths, f.NotPaths)))
	}
	say("trigger", p.On.Push)
	say("pr", p.On.Change)
	var crons []*outline.Mapping
	for _, line := range p.On.Cron {
		crons = append(crons, new(outline.Mapping).Say("cron", line).Say("always", true).Say("branches", new(outline.Mapping).Set("include", []string{"*"})))
	}
	file.Set("schedules", crons)
}

func (c *composer) variables(list []outline.Named) *outline.Mapping {
	m := new(outline.Mapping)
	for _, e := range list {
		m.Say(e.Name, c.text(e.Text))
	}
	return m
}

// runs are what the words for a run are called here.
var runs = map[string]string{
	"sha": "Build.SourceVersion", "ref": "Build.SourceBranch", "branch": "Build.SourceBranchName", "tag": "Build.SourceBranchName", "actor": "Build.RequestedFor",
	"repository": "Build.Repository.Name", "run": "Build.BuildId", "number": "Build.BuildNumber", "workspace": "Build.SourcesDirectory", "event": "Build.Reason",
	"base": "System.PullRequest.TargetBranchName", "head": "System.PullRequest.SourceBranch",
}

// named is the variable of a hole.
func named(kind, name string) string {
	if kind == "run" {
		return runs[name]
	}
	return name
}

// guarded is a text in which another language's expressions are text.
func guarded(s string) string { return strings.ReplaceAll(s, "${{", "${{ '${{' }}") }

func all(list []string, f func(string) string) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = f(list[i])
	}
	return out
}

func (c *composer) text(t outline.Text) string {
	plain := slices.Clone(t)
	for i := range plain {
		plain[i].Literal = guarded(plain[i].Literal)
	}
	return plain.Fill(func(kind, name string) string {
		switch kind {
		case "raw": // it was told when it was read
			return guarded(name)
		case "input":
			return c.input(name)
		case "hash":
			return "$(Build.SourceVersion)"
		}
		return "$(" + named(kind, name) + ")"
	})
}

func (c *composer) job(j *outline.Job, needs []string) *outline.Mapping {
	m := new(outline.Mapping)
	kind := "job"
	if j.Environment != "" {
		kind = "deployment"
	}
	m.Say(kind, c.ids[j.ID])
	if j.Name != j.ID || c.ids[j.ID] != j.ID {
		m.Set("displayName", guarded(j.Name))
	}
	here := make([]string, len(needs))
	for i, n := range needs {
		here[i] = c.ids[n]
	}
	m.Set("dependsOn", here)
	if j.If != nil {
		m.Set("condition", c.condition(j.If))
	}
	if j.Manual {
		c.lose(j.Source, "that job %s waits for a person: give its environment an approval", j.ID)
	}
	if len(j.Group) > 0 {
		c.lose(j.Source, "the concurrency group of job %s: give its environment an exclusive lock", j.ID)
	}
	labels := j.Labels
	if len(labels) == 0 {
		labels = []string{"ubuntu-latest"}
	}
	label := guarded(labels[0])
	for _, cell := range outline.Cells(j) { // a hole of the matrix is written by its name alone
		if inner, ok := strings.CutPrefix(labels[0], "${{ "); ok && cell[strings.TrimSuffix(inner, " }}")] != "" {
			label = "$(" + strings.TrimSuffix(inner, " }}") + ")"
		}
	}
	m.Say("pool", new(outline.Mapping).Say("vmImage", label))
	if len(labels) > 1 {
		c.lose(j.Source, "the labels %s of job %s", strings.Join(labels[1:], ", "), j.ID)
	}
	if minutes := int(j.Timeout / time.Minute); minutes > 0 {
		m.Say("timeoutInMinutes", minutes)
	}
	m.Set("continueOnError", j.AllowFailure)
	if j.Image != nil {
		m.Say("container", c.container(j.Image))
	}
	services := new(outline.Mapping)
	for i := range j.Services {
		services.Say(identifier(j.Services[i].Name), c.container(&j.Services[i].Container))
	}
	m.Set("services", services).Set("variables", c.variables(j.Env))
	steps := []*outline.Mapping{}
	if kind == "deployment" && !slices.ContainsFunc(j.Steps, func(s outline.Step) bool { return s.Checkout != nil }) {
		steps = append(steps, new(outline.Mapping).Say("checkout", "self"))
	}
	for i := range j.Steps {
		steps = append(steps, c.step(&j.Steps[i], j.Retry)...)
	}
	if kind == "deployment" {
		if len(j.URL) > 0 {
			c.lose(j.Source, "the address of the environment %s", j.Environment)
		}
		if len(outline.Cells(j)) > 0 {
			c.lose(j.Source, "the matrix of job %s, which deploys", j.ID)
		}
		m.Say("environment", guarded(j.Environment))
		return m.Say("strategy", new(outline.Mapping).Say("runOnce", new(outline.Mapping).Say("deploy", new(outline.Mapping).Say("steps", steps))))
	}
	return m.Set("strategy", c.matrix(j)).Say("steps", steps)
}

// matrix names the cells by their values.
func (c *composer) matrix(j *outline.Job) *outline.Mapping {
	cells := outline.Cells(j)
	if len(j.Matrix) == 0 && len(j.Include) == 0 || len(cells) == 0 {
		return nil
	}
	if j.FailFast {
		c.lose(j.Source, "that a cell of job %s which fails cancels the others", j.ID)
	}
	m := new(outline.Mapping)
	taken := map[string]bool{}
	for _, cell := range cells {
		variables := new(outline.Mapping)
		var values []string
		for _, axis := range outline.Axes(j, cell) {
			variables.Say(axis, guarded(cell[axis]))
			values = append(values, cell[axis])
		}
		name := identifier(strings.Join(values, "_"))
		for k := 2; taken[strings.ToLower(name)]; k++ {
			name = identifier(strings.Join(values, "_")) + "_" + strconv.Itoa(k)
		}
		taken[strings.ToLower(name)] = true
		m.Say(name, variables)
	}
	return new(outline.Mapping).Say("matrix", m)
}

func (c *composer) container(in *plan.Container) *outline.Mapping {
	options := in.Options
	if in.User != "" {
		options = strings.TrimSpace(options + " --user " + in.User)
	}
	if len(in.Entrypoint) > 0 {
		options = strings.TrimSpace(options + " --entrypoint " + strconv.Quote(in.Entrypoint[0]))
	}
	if len(in.Entrypoint) > 1 || len(in.Command) > 0 {
		c.lose(in.Source, "the command of image %s", in.Image)
	}
	return new(outline.Mapping).Say("image", guarded(in.Image)).Set("env", in.Env).Set("ports", all(in.Ports, guarded)).Set("volumes", all(in.Volumes, guarded)).Set("options", guarded(options))
}

// installers are the tasks that make a tool available, and what they call its
// version.
var installers = map[string][2]string{
	"node": {"UseNode@1", "version"}, "go": {"GoTool@0", "version"}, "python": {"UsePythonVersion@0", "versionSpec"}, "java": {"JavaToolInstaller@0", "versionSpec"},
}

func (c *composer) step(s *outline.Step, retry int) []*outline.Mapping {
	var out []*outline.Mapping
	add := func(fill func(m *outline.Mapping)) {
		m := new(outline.Mapping)
		fill(m)
		m.Set("displayName", guarded(s.Name))
		if s.If != nil {
			m.Set("condition", c.condition(s.If))
		}
		if len(s.Script) > 0 && retry > 0 {
			m.Say("retryCountOnTaskFailure", retry)
		}
		m.Set("env", c.variables(s.Env)).Set("continueOnError", s.AllowFailure)
		if minutes := int(s.Timeout / time.Minute); minutes > 0 {
			m.Say("timeoutInMinutes", minutes)
		}
		out = append(out, m)
	}
	task := func(name string, inputs *outline.Mapping) {
		add(func(m *outline.Mapping) { m.Say("task", name).Set("inputs", inputs) })
	}
	switch {
	case s.Checkout != nil:
		add(func(m *outline.Mapping) {
			m.Say("checkout", "self").Say("fetchDepth", s.Checkout.Depth).Set("submodules", s.Checkout.Submodules)
		})
	case s.Cache != nil:
		for _, p := range s.Cache.Paths { // one directory each
			inputs := new(outline.Mapping).Say("key", c.key(s.Cache.Key)).Say("path", c.local(p))
			var keys []string
			for _, f := range s.Cache.Fallback {
				keys = append(keys, c.key(f))
			}
			task("Cache@2", inputs.Set("restoreKeys", strings.Join(keys, "\n")))
		}
	case s.Upload != nil:
		if s.Upload.Days > 0 {
			c.lose(s.Source, "that an artifact is kept for %d days", s.Upload.Days)
		}
		if len(s.Upload.Paths) == 1 && !strings.ContainsAny(s.Upload.Paths[0], "*?[{!") {
			add(func(m *outline.Mapping) {
				m.Say("publish", guarded(s.Upload.Paths[0])).Say("artifact", c.text(s.Upload.Name))
			})
			break
		}
		dir := "$(Build.ArtifactStagingDirectory)/" + c.text(s.Upload.Name)
		task("CopyFiles@2", new(outline.Mapping).Say("Contents", guarded(strings.Join(s.Upload.Paths, "\n"))).Say("TargetFolder", dir))
		add(func(m *outline.Mapping) { m.Say("publish", dir).Say("artifact", c.text(s.Upload.Name)) })
	case s.Download != nil:
		inputs := new(outline.Mapping).Set("artifact", c.text(s.Download.Name))
		task("DownloadPipelineArtifact@2", inputs.Say("path", c.within(s.Download.Dir)))
	case s.Setup != nil && installers[s.Setup.Tool][0] != "":
		how := installers[s.Setup.Tool]
		inputs := new(outline.Mapping).Set(how[1], c.text(s.Setup.Version))
		if s.Setup.Tool == "java" {
			inputs.Say("jdkArchitectureOption", "x64").Say("jdkSourceOption", "PreInstalled")
		}
		task(how[0], inputs)
	case s.Setup != nil:
		c.lose(s.Source, "that %s is made available", s.Setup.Tool)
	case s.Tests != nil:
		task("PublishTestResults@2", new(outline.Mapping).Say("testResultsFiles", guarded(strings.Join(s.Tests.Paths, "\n"))))
	default:
		add(func(m *outline.Mapping) {
			key, script := "bash", c.text(s.Script)
			switch s.Shell {
			case "pwsh", "powershell":
				key = "pwsh"
			case "", "bash", "sh": // elsewhere a script ends with the first command that fails
				if strings.Contains(strings.TrimSpace(script), "\n") {
					script = "set -e\n" + script
				}
			case "python":
				key, script = "script", "python3 - <<'PYTHON'\n"+script+"\nPYTHON"
			default:
				c.lose(s.Source, "the shell %s", s.Shell)
			}
			m.Say(key, script).Set("workingDirectory", c.text(s.Dir))
		})
	}
	return out
}

// local is a path in the sources, for tasks whose paths begin elsewhere.
func (c *composer) local(p string) string {
	p = guarded(p)
	if strings.HasPrefix(p, "$(") || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "~") {
		return p
	}
	return strings.TrimSuffix("$(Build.SourcesDirectory)/"+strings.TrimPrefix(p, "./"), "/.")
}

// within is a directory of the sources.
func (c *composer) within(t outline.Text) string {
	if plain, ok := t.Plain(); ok {
		return c.local(cmp.Or(plain, "."))
	}
	if dir := c.text(t); strings.HasPrefix(dir, "$(") {
		return dir
	}
	return "$(Build.SourcesDirectory)/" + c.text(t)
}

// key is that of a cache: texts in quotes, and the files whose digests it
// holds as they are.
func (c *composer) key(t outline.Text) string {
	var list []string
	for _, p := range t {
		kind, name, _ := strings.Cut(p.Ref, " ")
		switch {
		case p.Ref == "":
			if text := strings.Trim(p.Literal, "-_| "); text != "" {
				list = append(list, `"`+guarded(text)+`"`)
			}
		case kind == "hash":
			list = append(list, guarded(strings.Join(strings.Fields(name), ",")))
		default:
			list = append(list, `"`+c.text(outline.Text{p})+`"`)
		}
	}
	return strings.Join(list, " | ")
}

// condition is what stands after condition:.
func (c *composer) condition(cond *outline.Cond) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	side := func(t outline.Text) string {
		if plain, ok := t.Plain(); ok {
			return quote(plain)
		}
		one := func(ref string) string {
			kind, name, _ := strings.Cut(ref, " ")
			if kind == "input" {
				return "'" + c.input(name) + "'"
			}
			return "variables[" + quote(named(kind, name)) + "]"
		}
		if len(t) == 1 {
			return one(t[0].Ref)
		}
		var args []string
		format := ""
		for _, p := range t {
			if p.Ref == "" {
				format += strings.NewReplacer("{", "{{", "}", "}}").Replace(p.Literal)
				continue
			}
			format += fmt.Sprintf("{%d}", len(args))
			args = append(args, one(p.Ref))
		}
		return "format(" + quote(format) + ", " + strings.Join(args, ", ") + ")"
	}
	switch cond.Op {
	case "and", "or", "not":
		parts := make([]string, len(cond.Args))
		for i := range cond.Args {
			parts[i] = c.condition(&cond.Args[i])
		}
		if len(parts) == 1 && cond.Op != "not" {
			return parts[0]
		}
		return cond.Op + "(" + strings.Join(parts, ", ") + ")"
	case "==":
		return "eq(" + side(cond.Left) + ", " + side(cond.Right) + ")"
	case "!=":
		return "ne(" + side(cond.Left) + ", " + side(cond.Right) + ")"
	case "matches":
		// There are no regular expressions here: what begins a text, or is in it.
		plain, _ := cond.Right.Plain()
		word := strings.ReplaceAll(strings.Trim(plain, "^$"), `\`, "")
		name := "contains"
		if strings.HasPrefix(plain, "^") {
			name = "startsWith"
		}
		return name + "(" + side(cond.Left) + ", " + quote(word) + ")"
	}
	return map[string]string{"success": "succeeded", "failure": "failed", "always": "always", "cancelled": "canceled"}[cond.Op] + "()"
}
