package azure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Target implements [dialect.Composer].
func (d *Dialect) Target(*outline.Pipeline) string { return "azure-pipelines.yml" }

// Compose implements [dialect.Composer].
func (d *Dialect) Compose(p *outline.Pipeline) ([]byte, []plan.Problem) {
	c := &composer{names: map[string]string{}}
	for i := range p.Jobs {
		c.names[p.Jobs[i].ID] = identifier(p.Jobs[i].ID)
	}
	file := new(outline.Mapping)
	// Parameters are values that a person is asked for.
	var parameters []*outline.Mapping
	for _, in := range p.Inputs {
		kind := map[string]string{"boolean": "boolean", "number": "number"}[in.Type]
		m := new(outline.Mapping).Say("name", identifier(in.Name)).Set("displayName", in.Description).Say("type", cmp.Or(kind, "string"))
		if in.Default != nil {
			m.Say("default", in.Default)
		} else if !in.Required {
			m.Say("default", "")
		}
		parameters = append(parameters, m.Set("values", in.Options))
	}
	file.Set("parameters", parameters)
	c.starts(file, p)
	file.Set("variables", c.variables(p.Env, p.Source))
	jobs := make([]*outline.Mapping, len(p.Jobs))
	for i := range p.Jobs {
		jobs[i] = c.job(&p.Jobs[i], outline.Before(p, i))
	}
	var containers []*outline.Mapping
	for i := range p.Jobs {
		for _, s := range p.Jobs[i].Services {
			containers = append(containers, c.container(c.names[p.Jobs[i].ID]+"_"+identifier(s.Name), &s.Container))
		}
	}
	file.Set("resources", new(outline.Mapping).Set("containers", containers))
	return file.Say("jobs", jobs).File("Made by fairlead convert."), c.lost
}

type composer struct {
	names map[string]string // of jobs, as they are here
	lost  []plan.Problem
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

func (c *composer) starts(file *outline.Mapping, p *outline.Pipeline) {
	lists := func(with, without []string) *outline.Mapping {
		return new(outline.Mapping).Set("include", with).Set("exclude", without)
	}
	if f := p.On.Push; f == nil {
		file.Say("trigger", "none")
	} else {
		m := new(outline.Mapping)
		branches := lists(f.Branches, f.NotBranches)
		if branches.Empty() && len(f.Tags) == 0 {
			branches.Say("include", []string{"*"})
		}
		m.Set("branches", branches).Set("tags", lists(f.Tags, f.NotTags)).Set("paths", lists(f.Paths, f.NotPaths))
		file.Say("trigger", m)
	}
	if f := p.On.Change; f == nil {
		file.Say("pr", "none")
	} else {
		branches := lists(f.Branches, f.NotBranches)
		if branches.Empty() {
			branches.Say("include", []string{"*"})
		}
		file.Say("pr", new(outline.Mapping).Say("branches", branches).Set("paths", lists(f.Paths, f.NotPaths)))
	}
	var schedules []*outline.Mapping
	for _, line := range p.On.Cron {
		schedules = append(schedules, new(outline.Mapping).Say("cron", line).Say("displayName", line).
			Say("branches", new(outline.Mapping).Say("include", []string{"main"})).Say("always", true))
	}
	file.Set("schedules", schedules)
}

// runWords are what the words for a run are called here.
var runWords = map[string]string{
	"sha": "Build.SourceVersion", "ref": "Build.SourceBranch", "branch": "Build.SourceBranchName", "tag": "Build.SourceBranchName",
	"actor": "Build.RequestedFor", "repository": "Build.Repository.Name", "run": "Build.BuildId", "number": "Build.BuildNumber",
	"workspace": "Build.SourcesDirectory", "event": "Build.Reason", "base": "System.PullRequest.TargetBranch", "head": "System.PullRequest.SourceBranch",
}

func (c *composer) text(t outline.Text, at plan.Source) string {
	return t.Fill(func(kind, name string) string {
		switch kind {
		case "input":
			return "${{ parameters." + identifier(name) + " }}"
		case "env", "matrix", "secret":
			return "$(" + name + ")"
		case "run":
			return "$(" + runWords[name] + ")"
		case "hash":
			c.lose(at, "the digest of %s in a text", name)
			return ""
		}
		return name
	})
}

func (c *composer) variables(list []outline.Named, at plan.Source) *outline.Mapping {
	m := new(outline.Mapping)
	for _, e := range list {
		m.Say(e.Name, c.text(e.Text, at))
	}
	return m
}

// env is what secrets and texts a step is given: secrets only get there so.
func (c *composer) env(s *outline.Step) *outline.Mapping {
	m := new(outline.Mapping)
	for _, e := range s.Env {
		m.Say(e.Name, c.text(e.Text, s.Source))
	}
	return m
}

func (c *composer) job(j *outline.Job, needs []string) *outline.Mapping {
	m := new(outline.Mapping)
	name := c.names[j.ID]
	key := "job"
	if j.Environment != "" {
		key = "deployment"
	}
	m.Say(key, name)
	if j.Name != name {
		m.Set("displayName", j.Name)
	}
	here := make([]string, len(needs))
	for i, n := range needs {
		here[i] = c.names[n]
	}
	m.Set("dependsOn", here)
	if j.If != nil {
		m.Set("condition", c.condition(j.If, j.Source, false))
	}
	if j.Manual {
		c.lose(j.Source, "that job %s waits for a person: give its environment an approval", j.ID)
	}
	if j.Retry > 0 {
		c.lose(j.Source, "that job %s is tried again when it fails", j.ID)
	}
	if len(j.Group) > 0 {
		c.lose(j.Source, "the concurrency group of job %s: give its environment an exclusive lock", j.ID)
	}
	m.Say("pool", pool(j.Labels))
	m.Set("strategy", c.matrix(j))
	if minutes := int(j.Timeout / time.Minute); minutes > 0 {
		m.Say("timeoutInMinutes", minutes)
	}
	m.Set("continueOnError", j.AllowFailure)
	if j.Image != nil {
		m.Say("container", c.container("", j.Image))
	}
	services := new(outline.Mapping)
	for _, s := range j.Services {
		services.Say(identifier(s.Name), name+"_"+identifier(s.Name))
	}
	m.Set("services", services).Set("variables", c.variables(j.Env, j.Source))
	steps := []*outline.Mapping{}
	for i := range j.Steps {
		if step := c.step(&j.Steps[i]); !step.Empty() {
			steps = append(steps, step)
		}
	}
	if j.Environment == "" {
		return m.Say("steps", steps)
	}
	if len(j.Matrix) > 0 {
		c.lose(j.Source, "the matrix of job %s, which deploys", j.ID)
	}
	if !slices.ContainsFunc(j.Steps, func(s outline.Step) bool { return s.Checkout != nil }) {
		steps = slices.Concat([]*outline.Mapping{new(outline.Mapping).Say("checkout", "self")}, steps)
	}
	m.Say("environment", j.Environment)
	return m.Say("strategy", new(outline.Mapping).Say("runOnce", new(outline.Mapping).Say("deploy", new(outline.Mapping).Say("steps", steps))))
}

func pool(labels []string) *outline.Mapping {
	image := "ubuntu-latest"
	m := new(outline.Mapping)
	var demands []string
	for _, l := range labels {
		switch {
		case strings.HasPrefix(l, "ubuntu-"), strings.HasPrefix(l, "windows-"), strings.HasPrefix(l, "macos-"):
			image = l
		case l == "self-hosted":
			image = ""
		default:
			demands = append(demands, l)
		}
	}
	if image == "" || len(demands) > 0 {
		return m.Say("name", "Default").Set("demands", demands)
	}
	return m.Say("vmImage", image)
}

// matrix are the cells, each with a name.
func (c *composer) matrix(j *outline.Job) *outline.Mapping {
	if j.Environment != "" {
		return nil
	}
	cells := slices.Concat(outline.Cells(j), j.Include)
	matrix := new(outline.Mapping)
	for _, cell := range cells {
		m := new(outline.Mapping)
		var words []string
		for _, axis := range outline.Axes(j, cell) {
			m.Say(axis, cell[axis])
			words = append(words, cell[axis])
		}
		matrix.Say(identifier(strings.Join(words, "_")), m)
	}
	return new(outline.Mapping).Set("matrix", matrix)
}

func (c *composer) container(name string, in *plan.Container) *outline.Mapping {
	options := in.Options
	if in.User != "" {
		options = strings.TrimSpace(options + " --user " + in.User)
	}
	if len(in.Entrypoint)+len(in.Command) > 0 {
		c.lose(in.Source, "the entrypoint and command of image %s", in.Image)
	}
	return new(outline.Mapping).Set("container", name).Say("image", in.Image).Set("env", in.Env).Set("ports", in.Ports).Set("volumes", in.Volumes).Set("options", options)
}

func (c *composer) step(s *outline.Step) *outline.Mapping {
	m := new(outline.Mapping)
	inputs := new(outline.Mapping)
	task := func(name string) { m.Say("task", name).Set("displayName", s.Name).Set("inputs", inputs) }
	switch {
	case s.Checkout != nil:
		m.Say("checkout", "self").Say("fetchDepth", s.Checkout.Depth)
		if s.Checkout.Submodules {
			m.Say("submodules", "recursive")
		}
	case s.Cache != nil:
		key := func(t outline.Text) string {
			var parts []string
			for _, p := range t {
				if kind, name, _ := strings.Cut(p.Ref, " "); kind == "hash" {
					parts = append(parts, strings.Fields(name)...)
				} else if text := strings.Trim(c.text(outline.Text{p}, s.Source), "-"); text != "" {
					parts = append(parts, `"`+text+`"`)
				}
			}
			return strings.Join(parts, " | ")
		}
		var fallback []string
		for _, f := range s.Cache.Fallback {
			fallback = append(fallback, key(f))
		}
		if len(s.Cache.Paths) > 1 {
			c.lose(s.Source, "all but the first directory of a cache: %s", strings.Join(s.Cache.Paths[1:], ", "))
		}
		inputs.Say("key", key(s.Cache.Key)).Set("restoreKeys", strings.Join(fallback, "\n"))
		if len(s.Cache.Paths) > 0 {
			inputs.Say("path", strings.Replace(s.Cache.Paths[0], "~/", "$(HOME)/", 1))
		}
		task("Cache@2")
	case s.Upload != nil:
		paths := s.Upload.Paths
		if len(paths) > 1 {
			c.lose(s.Source, "all but the first path of an artifact: %s", strings.Join(paths[1:], ", "))
		}
		if len(paths) > 0 {
			m.Say("publish", strings.TrimSuffix(strings.TrimSuffix(paths[0], "/**"), "/")).Say("artifact", c.text(s.Upload.Name, s.Source)).Set("displayName", s.Name)
		}
	case s.Download != nil:
		dir := "$(Build.SourcesDirectory)"
		if below := c.text(s.Download.Dir, s.Source); below != "" && below != "." {
			dir += "/" + below
		}
		inputs.Set("artifact", c.text(s.Download.Name, s.Source)).Say("path", dir)
		task("DownloadPipelineArtifact@2")
	case s.Tests != nil:
		inputs.Say("testResultsFormat", "JUnit").Say("testResultsFiles", strings.Join(s.Tests.Paths, "\n"))
		task("PublishTestResults@2")
		if s.If == nil {
			m.Say("condition", "succeededOrFailed()")
		}
	case s.Setup != nil:
		version := c.text(s.Setup.Version, s.Source)
		switch s.Setup.Tool {
		case "go":
			inputs.Set("version", version)
			task("GoTool@0")
		case "node":
			inputs.Set("version", version)
			task("UseNode@1")
		case "python":
			inputs.Set("versionSpec", version)
			task("UsePythonVersion@0")
		default:
			c.lose(s.Source, "the set-up of %s", s.Setup.Tool)
			return m
		}
	default:
		key := "bash"
		switch s.Shell {
		case "", "bash":
		case "pwsh", "powershell":
			key = s.Shell
		case "sh":
			key = "script"
		default:
			c.lose(s.Source, "the shell %s", s.Shell)
		}
		m.Say(key, c.text(s.Script, s.Source)).Set("displayName", s.Name).Set("workingDirectory", c.text(s.Dir, s.Source))
	}
	if s.If != nil {
		m.Set("condition", c.condition(s.If, s.Source, false))
	}
	m.Set("continueOnError", s.AllowFailure)
	if minutes := int(s.Timeout / time.Minute); minutes > 0 {
		m.Say("timeoutInMinutes", minutes)
	}
	return m.Set("env", c.env(s))
}

// condition says a condition in Azure's functions; "" for what always held.
func (c *composer) condition(cond *outline.Cond, at plan.Source, inside bool) string {
	side := func(t outline.Text) string {
		if plain, ok := t.Plain(); ok {
			return "'" + strings.ReplaceAll(plain, "'", "''") + "'"
		}
		if len(t) == 1 {
			switch kind, name, _ := strings.Cut(t[0].Ref, " "); kind {
			case "env", "matrix":
				return "variables['" + name + "']"
			case "input":
				return "'${{ parameters." + identifier(name) + " }}'"
			case "run":
				return "variables['" + runWords[name] + "']"
			}
		}
		c.lose(at, "a part of a condition")
		return "''"
	}
	list := func(name string) string {
		parts := make([]string, len(cond.Args))
		for i := range cond.Args {
			parts[i] = c.condition(&cond.Args[i], at, true)
		}
		return name + "(" + strings.Join(parts, ", ") + ")"
	}
	// Azure does not add by itself that all before went well.
	guarded := func(text string) string {
		if inside {
			return text
		}
		return "and(succeeded(), " + text + ")"
	}
	value := func(t outline.Text) outline.Text {
		if plain, ok := t.Plain(); ok {
			return outline.Text{{Literal: cmp.Or(map[string]string{"pull_request": "PullRequest", "schedule": "Schedule", "workflow_dispatch": "Manual"}[plain], plain)}}
		}
		return t
	}
	switch cond.Op {
	case "and", "or", "not":
		if !states(cond) {
			return guarded(list(cond.Op))
		}
		return list(cond.Op)
	case "==", "!=":
		left, right := cond.Left, cond.Right
		if len(left) == 1 && left[0].Ref == "run event" {
			right = value(right)
		}
		return guarded(map[string]string{"==": "eq", "!=": "ne"}[cond.Op] + "(" + side(left) + ", " + side(right) + ")")
	case "matches":
		plain, _ := cond.Right.Plain()
		word := strings.ReplaceAll(strings.Trim(plain, "^$"), `\`, "")
		name := "contains"
		if strings.HasPrefix(plain, "^") {
			name = "startsWith"
		}
		return guarded(name + "(" + side(cond.Left) + ", '" + strings.ReplaceAll(word, "'", "''") + "')")
	}
	return map[string]string{"success": "succeeded()", "failure": "failed()", "always": "always()", "cancelled": "canceled()"}[cond.Op]
}

// states reports whether a condition says what the jobs or steps before it
// must have come to.
func states(c *outline.Cond) bool {
	switch c.Op {
	case "success", "failure", "always", "cancelled":
		return true
	}
	return slices.ContainsFunc(c.Args, func(a outline.Cond) bool { return states(&a) })
}
