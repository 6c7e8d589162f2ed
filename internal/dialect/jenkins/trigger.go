package jenkins

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// start says whether a change starts a pipeline: as in a multibranch project,
// a push and a pull request do; a schedule if the file has one; a person can.
func start(m *declarative.Pipeline, s *groovy.Script, c *plan.Change, broken bool) plan.Start {
	at := plan.Source{}
	if m != nil {
		at = m.Source
	} else if s != nil {
		at = plan.Source{File: s.File, Line: 1, Col: 1}
	}
	switch {
	case c == nil:
		return plan.Start{Why: "no change was given", At: at}
	case broken:
		return plan.Start{Why: "the pipeline has errors", At: at}
	}
	switch c.Event {
	case "push", "create", "release":
		return plan.Start{Yes: true, Why: c.Event + ": Jenkins builds every branch and tag", At: at}
	case "pull_request":
		return plan.Start{Yes: true, Why: "pull_request: Jenkins builds every pull request", At: at}
	case "workflow_dispatch":
		return plan.Start{Yes: true, Why: "started by hand", At: at}
	case "schedule":
		if m != nil && len(triggersOf(m)) > 0 {
			return plan.Start{Yes: true, Why: "schedule: triggers has a cron", At: at}
		}
		return plan.Start{Why: "triggers has no cron", At: at}
	}
	return plan.Start{Why: fmt.Sprintf("Jenkins has no trigger for %s", c.Event), At: at}
}

// triggersOf are the lines of the cron triggers that are written as literals.
func triggersOf(m *declarative.Pipeline) []string {
	var lines []string
	for _, t := range m.Triggers {
		if t.Name != "cron" || len(t.Expr.Args) != 1 {
			continue
		}
		l, ok := t.Expr.Args[0].(*groovy.Literal)
		if !ok {
			continue
		}
		text, ok := l.Value.(string)
		if !ok {
			continue
		}
		zone := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			switch {
			case line == "" || strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "TZ="):
				zone = "CRON_TZ=" + strings.TrimPrefix(line, "TZ=") + " "
			default:
				if c, ok := cronLine(line, m.Source.File); ok {
					lines = append(lines, zone+c)
				}
			}
		}
	}
	return lines
}

// cronLine is a line of Jenkins' cron in the common form. H stands for a value
// that hangs on the name of the job: always the same, and another for others.
func cronLine(line, job string) (string, bool) {
	aliases := map[string]string{
		"@yearly": "H H H H *", "@annually": "H H H H *", "@monthly": "H H H * *", "@weekly": "H H * * H",
		"@daily": "H H * * *", "@midnight": "H H(0-2) * * *", "@hourly": "H * * * *",
	}
	if a, ok := aliases[line]; ok {
		line = a
	}
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return "", false
	}
	limits := [5][2]int{{0, 59}, {0, 23}, {1, 28}, {1, 12}, {0, 6}}
	for i, field := range fields {
		parts := strings.Split(field, ",")
		for j, part := range parts {
			p, ok := hashed(part, limits[i][0], limits[i][1], fmt.Sprint(job, i))
			if !ok {
				return "", false
			}
			parts[j] = p
		}
		fields[i] = strings.Join(parts, ",")
	}
	return strings.Join(fields, " "), true
}

// hashed replaces H, H(a-b), H/n and H(a-b)/n in a part of a field.
func hashed(part string, low, high int, salt string) (string, bool) {
	rest, ok := strings.CutPrefix(part, "H")
	if !ok {
		return part, part != ""
	}
	if in, ok := strings.CutPrefix(rest, "("); ok {
		bounds, after, closed := strings.Cut(in, ")")
		a, b, dash := strings.Cut(bounds, "-")
		from, err1 := strconv.Atoi(a)
		to, err2 := strconv.Atoi(b)
		if !closed || !dash || err1 != nil || err2 != nil || from < low || to < from || to > high+31 {
			return "", false
		}
		low, high, rest = from, to, after
	}
	h := fnv.New32a()
	h.Write([]byte(salt))
	hash := int(h.Sum32() & 0x7fffffff)
	if step, ok := strings.CutPrefix(rest, "/"); ok {
		n, err := strconv.Atoi(step)
		if err != nil || n <= 0 || n > high-low+1 {
			return "", false
		}
		return fmt.Sprintf("%d-%d/%d", low+hash%n, high, n), true
	}
	if rest != "" {
		return "", false
	}
	return strconv.Itoa(low + hash%(high-low+1)), true
}

// Schedules are lines of cron, "minute hour day month weekday", after
// "CRON_TZ=zone " when they have a timezone.
func (d *Dialect) Schedules(p *plan.Pipeline) []string {
	for _, t := range p.Texts {
		if t.Path != p.File {
			continue
		}
		s, problems := d.parse(t.Path, t.Body)
		if len(problems) > 0 {
			break
		}
		if m, _ := read(s, declarative.Known{}); m != nil {
			return triggersOf(m)
		}
	}
	return nil
}

// abortsPrevious reports disableConcurrentBuilds(abortPrevious: true).
func abortsPrevious(call *groovy.CallExpr) bool {
	return namedLiteral(call, "abortPrevious") == true
}

// namedLiteral is a named argument that is a literal, or nil.
func namedLiteral(call *groovy.CallExpr, name string) groovy.Value {
	if call.Named == nil {
		return nil
	}
	for _, e := range call.Named.Entries {
		k, ok := e.Key.(*groovy.Literal)
		if !ok || k.Value != name {
			continue
		}
		if l, ok := e.Value.(*groovy.Literal); ok {
			return l.Value
		}
	}
	return nil
}

// Describe implements [dialect.Dialect]. A change has no other form in Jenkins
// than its variables.
func (d *Dialect) Describe(*plan.Change) {}

// changeVariables are what a multibranch project tells of a change.
func changeVariables(c *plan.Change) map[string]string {
	env := map[string]string{}
	switch {
	case c == nil:
	case strings.HasPrefix(c.Ref, "refs/tags/"):
		tag := strings.TrimPrefix(c.Ref, "refs/tags/")
		env["BRANCH_NAME"], env["TAG_NAME"] = tag, tag
	case c.Event == "pull_request":
		number := strings.TrimSuffix(strings.TrimPrefix(c.Ref, "refs/pull/"), "/merge")
		if number == c.Ref || number == "" {
			number = "0"
		}
		env["BRANCH_NAME"] = "PR-" + number
		env["CHANGE_ID"] = number
		env["CHANGE_TARGET"], env["CHANGE_BRANCH"] = c.BaseRef, c.HeadRef
		env["CHANGE_AUTHOR"] = c.Actor
		env["CHANGE_AUTHOR_DISPLAY_NAME"] = c.Actor
		if c.Server != "" && c.Repository != "" {
			env["CHANGE_URL"] = c.Server + "/" + c.Repository + "/pull/" + number
		}
		if request, ok := c.Payload["pull_request"].(map[string]any); ok {
			if title, ok := request["title"].(string); ok {
				env["CHANGE_TITLE"] = title
			}
		}
	case strings.HasPrefix(c.Ref, "refs/heads/"):
		env["BRANCH_NAME"] = strings.TrimPrefix(c.Ref, "refs/heads/")
		if env["BRANCH_NAME"] == c.DefaultBranch {
			env["BRANCH_IS_PRIMARY"] = "true"
		}
	}
	return env
}

// gitVariables are what a checkout tells of the tree.
func gitVariables(c *plan.Change) map[string]string {
	env := map[string]string{"GIT_COMMIT": c.SHA}
	if branch := strings.TrimPrefix(c.Ref, "refs/heads/"); branch != "" {
		env["GIT_BRANCH"], env["GIT_LOCAL_BRANCH"] = branch, branch
	}
	if c.Server != "" && c.Repository != "" {
		env["GIT_URL"] = c.Server + "/" + c.Repository + ".git"
	}
	if c.Before != "" && strings.Trim(c.Before, "0") != "" {
		env["GIT_PREVIOUS_COMMIT"] = c.Before
	}
	return env
}

// gitMap is what the checkout step gives.
func gitMap(c *plan.Change) *groovy.Map {
	m := groovy.NewMap()
	env := gitVariables(c)
	for _, name := range sortedKeys(env) {
		m.Put(name, env[name])
	}
	return m
}

// ours reports whether an address is that of the run's own repository.
func ours(url string, c *plan.Change) bool {
	if c.Repository == "" {
		return false
	}
	path := strings.TrimSuffix(strings.TrimSuffix(url, "/"), ".git")
	return strings.HasSuffix(path, "/"+c.Repository) || strings.HasSuffix(path, ":"+c.Repository)
}

// commitMessages are those of the change's commits, as far as its event tells.
func commitMessages(c *plan.Change) []string {
	var out []string
	list, _ := c.Payload["commits"].([]any)
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			if text, ok := m["message"].(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

// scmObject is scm: where the Jenkinsfile comes from.
type scmObject struct{ b *build }

func (scmObject) ClassName() string { return "hudson.plugins.git.GitSCM" }
func (o scmObject) Get(c *groovy.Call) (groovy.Value, error) {
	env := gitVariables(o.b.scope.Change)
	switch c.Name {
	case "userRemoteConfigs":
		m := groovy.NewMap()
		m.Put("url", env["GIT_URL"])
		m.Put("name", "origin")
		m.Put("credentialsId", nil)
		return groovy.NewList(m), nil
	case "branches":
		m := groovy.NewMap()
		m.Put("name", env["GIT_BRANCH"])
		return groovy.NewList(m), nil
	case "extensions":
		return groovy.NewList(), nil
	case "key":
		return "git " + env["GIT_URL"], nil
	case "doGenerateSubmoduleConfigurations":
		return false, nil
	case "browser", "gitTool", "submoduleCfg":
		return nil, nil
	}
	return nil, groovy.ErrMissing
}
func (scmObject) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }
func (o scmObject) Invoke(c *groovy.Call) (groovy.Value, error) {
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		inner := *c
		inner.Name = name
		return o.Get(&inner)
	}
	return nil, groovy.ErrMissing
}
