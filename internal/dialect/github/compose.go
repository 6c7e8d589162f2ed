package github

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Target implements [dialect.Composer].
func (d *Dialect) Target(p *outline.Pipeline) string {
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, p.Name))
	return path.Join(".github/workflows", cmp.Or(strings.Trim(name, "-"), "ci")+".yml")
}

// Compose implements [dialect.Composer].
func (d *Dialect) Compose(p *outline.Pipeline) ([]byte, []plan.Problem) {
	c := &composer{ids: map[string]string{}}
	file := new(outline.Mapping)
	file.Set("name", p.Name).Say("on", c.triggers(p)).Set("env", c.env(p.Env))
	for i := range p.Jobs {
		c.ids[p.Jobs[i].ID] = identifier(p.Jobs[i].ID)
	}
	jobs := new(outline.Mapping)
	for i := range p.Jobs {
		j := &p.Jobs[i]
		jobs.Say(c.ids[j.ID], c.job(j, outline.Before(p, i)))
	}
	file.Say("jobs", jobs)
	return file.File("Made by fairlead convert."), c.lost
}

type composer struct {
	ids  map[string]string // of jobs, as they are here
	lost []plan.Problem
}

func (c *composer) lose(at plan.Source, format string, args ...any) {
	c.lost = append(c.lost, outline.Loss(at, fmt.Sprintf(format, args...)))
}

// identifier makes an ID that GitHub takes of any name.
func identifier(s string) string {
	id := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, s)
	if id == "" || id[0] >= '0' && id[0] <= '9' || id[0] == '-' {
		id = "_" + id
	}
	return id
}

func (c *composer) triggers(p *outline.Pipeline) *outline.Mapping {
	on := new(outline.Mapping)
	filter := func(event string, f *outline.Filter) {
		if f == nil {
			return
		}
		m := new(outline.Mapping)
		both := func(key string, with, without []string) {
			switch {
			case len(with) == 0:
				m.Set(key+"-ignore", without)
			default:
				for _, w := range without {
					with = append(with[:len(with):len(with)], "!"+w)
				}
				m.Set(key, with)
			}
		}
		both("branches", f.Branches, f.NotBranches)
		if event == "push" {
			both("tags", f.Tags, f.NotTags)
		}
		both("paths", f.Paths, f.NotPaths)
		on.Say(event, m)
	}
	filter("push", p.On.Push)
	filter("pull_request", p.On.Change)
	var crons []*outline.Mapping
	for _, line := range p.On.Cron {
		crons = append(crons, new(outline.Mapping).Set("cron", line))
	}
	on.Set("schedule", crons)
	if p.On.Manual || len(p.Inputs) > 0 || p.On.Push == nil && p.On.Change == nil && len(crons) == 0 {
		inputs := new(outline.Mapping)
		for _, in := range p.Inputs {
			m := new(outline.Mapping).Set("description", in.Description).Set("type", in.Type).Set("required", in.Required)
			if in.Default != nil {
				m.Say("default", in.Default)
			}
			inputs.Say(identifier(in.Name), m.Set("options", in.Options))
		}
		on.Say("workflow_dispatch", new(outline.Mapping).Set("inputs", inputs))
	}
	return on
}

func (c *composer) env(list []outline.Named) *outline.Mapping {
	m := new(outline.Mapping)
	for _, e := range list {
		m.Say(e.Name, c.text(e.Text))
	}
	return m
}

// holes are what the words for a run are called here.
var holes = func() map[string]string {
	m := map[string]string{"tag": "github.ref_name", "base": "github.base_ref"}
	for here, word := range runNames {
		m[word] = here
	}
	return m
}()

func hole(kind, name string) string {
	switch kind {
	case "env", "matrix":
		return kind + "." + name
	case "secret":
		return "secrets." + name
	case "input":
		return "inputs." + name
	case "run":
		return holes[name]
	case "hash":
		globs := strings.Fields(name)
		for i, g := range globs {
			globs[i] = "'" + strings.ReplaceAll(g, "'", "''") + "'"
		}
		return "hashFiles(" + strings.Join(globs, ", ") + ")"
	}
	return ""
}

func (c *composer) text(t outline.Text) string {
	return t.Fill(func(kind, name string) string {
		if kind == "raw" { // it was told when it was read
			return name
		}
		return "${{ " + hole(kind, name) + " }}"
	})
}

func (c *composer) job(j *outline.Job, needs []string) *outline.Mapping {
	m := new(outline.Mapping)
	if j.Name != j.ID || c.ids[j.ID] != j.ID {
		m.Set("name", j.Name)
	}
	here := make([]string, len(needs))
	for i, n := range needs {
		here[i] = c.ids[n]
	}
	m.Set("needs", here)
	if j.If != nil {
		m.Set("if", condition(j.If))
	}
	if j.Manual {
		c.lose(j.Source, "that job %s waits for a person: give its environment required reviewers", j.ID)
	}
	labels := j.Labels
	if len(labels) == 0 {
		labels = []string{"ubuntu-latest"}
	}
	if len(labels) == 1 {
		m.Say("runs-on", labels[0])
	} else {
		m.Say("runs-on", labels)
	}
	m.Set("strategy", strategy(j))
	if minutes := int(j.Timeout / time.Minute); minutes > 0 {
		m.Say("timeout-minutes", minutes)
	}
	m.Set("continue-on-error", j.AllowFailure)
	if j.Retry > 0 {
		c.lose(j.Source, "that job %s is tried again when it fails", j.ID)
	}
	if j.Environment != "" {
		m.Say("environment", new(outline.Mapping).Set("name", j.Environment).Set("url", c.text(j.URL)))
	}
	if len(j.Group) > 0 {
		m.Say("concurrency", c.text(j.Group))
	}
	if j.Image != nil {
		m.Set("container", c.container(j.Image))
	}
	services := new(outline.Mapping)
	for i := range j.Services {
		services.Say(identifier(j.Services[i].Name), c.container(&j.Services[i].Container))
	}
	m.Set("services", services).Set("env", c.env(j.Env))
	steps := []*outline.Mapping{}
	if !checksOut(j) { // elsewhere the tree is there without being asked for
		steps = append(steps, new(outline.Mapping).Set("uses", "actions/checkout@v4"))
	}
	for i := range j.Steps {
		steps = append(steps, c.step(j, &j.Steps[i]))
	}
	return m.Say("steps", steps)
}

func checksOut(j *outline.Job) bool {
	for i := range j.Steps {
		if j.Steps[i].Checkout != nil {
			return true
		}
	}
	return false
}

func strategy(j *outline.Job) *outline.Mapping {
	if len(j.Matrix) == 0 && len(j.Include) == 0 {
		return nil
	}
	matrix := new(outline.Mapping)
	for _, axis := range j.Matrix {
		matrix.Say(axis.Name, axis.Values)
	}
	cells := func(list []map[string]string) (all []*outline.Mapping) {
		for _, cell := range list {
			m := new(outline.Mapping)
			for _, axis := range outline.Axes(j, cell) {
				m.Say(axis, cell[axis])
			}
			all = append(all, m)
		}
		return all
	}
	matrix.Set("include", cells(j.Include)).Set("exclude", cells(j.Exclude))
	m := new(outline.Mapping)
	if !j.FailFast {
		m.Say("fail-fast", false)
	}
	return m.Say("matrix", matrix)
}

func (c *composer) container(in *plan.Container) *outline.Mapping {
	m := new(outline.Mapping).Say("image", in.Image).Set("env", in.Env).Set("ports", in.Ports).Set("volumes", in.Volumes)
	options := in.Options
	if in.User != "" {
		options = strings.TrimSpace(options + " --user " + in.User)
	}
	if len(in.Entrypoint) == 1 {
		options = strings.TrimSpace(options + " --entrypoint " + strconv.Quote(in.Entrypoint[0]))
	} else if len(in.Entrypoint) > 1 {
		c.lose(in.Source, "the entrypoint of image %s", in.Image)
	}
	if len(in.Command) > 0 {
		c.lose(in.Source, "the command of image %s", in.Image)
	}
	return m.Set("options", options)
}

func (c *composer) step(j *outline.Job, s *outline.Step) *outline.Mapping {
	m := new(outline.Mapping).Set("name", s.Name)
	if s.If != nil {
		m.Set("if", condition(s.If))
	}
	with := new(outline.Mapping)
	use := func(action string) { m.Say("uses", action).Set("with", with) }
	switch {
	case s.Checkout != nil:
		if s.Checkout.Depth != 1 {
			with.Say("fetch-depth", s.Checkout.Depth)
		}
		with.Set("submodules", s.Checkout.Submodules)
		use("actions/checkout@v4")
	case s.Cache != nil:
		fallback := make([]string, len(s.Cache.Fallback))
		for i, f := range s.Cache.Fallback {
			fallback[i] = c.text(f)
		}
		with.Say("key", c.text(s.Cache.Key)).Say("path", strings.Join(s.Cache.Paths, "\n")).Set("restore-keys", strings.Join(fallback, "\n"))
		use("actions/cache@v4")
	case s.Upload != nil:
		with.Set("name", c.text(s.Upload.Name)).Say("path", strings.Join(s.Upload.Paths, "\n")).Set("retention-days", s.Upload.Days)
		use("actions/upload-artifact@v4")
	case s.Download != nil:
		with.Set("name", c.text(s.Download.Name)).Set("path", c.text(s.Download.Dir))
		use("actions/download-artifact@v4")
	case s.Setup != nil:
		with.Set(s.Setup.Tool+"-version", c.text(s.Setup.Version))
		if s.Setup.Tool == "java" {
			with.Say("distribution", "temurin")
		}
		use("actions/setup-" + s.Setup.Tool + "@v5")
	case s.Tests != nil: // reports are found wherever they are; the files are kept
		name := "test-results-" + c.ids[j.ID]
		if len(j.Matrix)+len(j.Include) > 0 {
			name += "-${{ strategy.job-index }}"
		}
		with.Say("name", name).Say("path", strings.Join(s.Tests.Paths, "\n"))
		use("actions/upload-artifact@v4")
	default:
		m.Say("run", c.text(s.Script)).Set("shell", s.Shell).Set("working-directory", c.text(s.Dir))
	}
	m.Set("env", c.env(s.Env)).Set("continue-on-error", s.AllowFailure)
	if minutes := int(s.Timeout / time.Minute); minutes > 0 {
		m.Say("timeout-minutes", minutes)
	}
	return m
}

// condition is what stands after if:.
func condition(c *outline.Cond) string {
	side := func(t outline.Text) string {
		if plain, ok := t.Plain(); ok {
			return "'" + strings.ReplaceAll(plain, "'", "''") + "'"
		}
		if len(t) == 1 {
			kind, name, _ := strings.Cut(t[0].Ref, " ")
			return hole(kind, name)
		}
		var args []string
		format := ""
		for _, p := range t {
			if p.Ref == "" {
				format += strings.NewReplacer("{", "{{", "}", "}}", "'", "''").Replace(p.Literal)
				continue
			}
			kind, name, _ := strings.Cut(p.Ref, " ")
			format += fmt.Sprintf("{%d}", len(args))
			args = append(args, hole(kind, name))
		}
		return "format('" + format + "', " + strings.Join(args, ", ") + ")"
	}
	join := func(op string) string {
		parts := make([]string, len(c.Args))
		for i := range c.Args {
			parts[i] = condition(&c.Args[i])
			if c.Args[i].Op == "or" || c.Args[i].Op == "and" {
				parts[i] = "(" + parts[i] + ")"
			}
		}
		return strings.Join(parts, op)
	}
	switch c.Op {
	case "and":
		return join(" && ")
	case "or":
		return join(" || ")
	case "not":
		return "!(" + condition(&c.Args[0]) + ")"
	case "==", "!=":
		return side(c.Left) + " " + c.Op + " " + side(c.Right)
	case "matches":
		// There are no regular expressions here: what begins a text, or is in it.
		plain, _ := c.Right.Plain()
		word := strings.NewReplacer(`\`, "").Replace(strings.Trim(plain, "^$"))
		name := "contains"
		if strings.HasPrefix(plain, "^") {
			name = "startsWith"
		}
		return name + "(" + side(c.Left) + ", '" + strings.ReplaceAll(word, "'", "''") + "')"
	}
	return c.Op + "()"
}
