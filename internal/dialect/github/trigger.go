package github

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// start says whether a change starts a workflow, in words and with the line
// that decides.
func start(w *workflow.Workflow, c *plan.Change) (plan.Start, []plan.Problem) {
	if c == nil {
		return plan.Start{Why: "no change was given", At: w.On.Source}, nil
	}
	t := w.On.Event(c.Event)
	if t == nil {
		return plan.Start{Why: fmt.Sprintf("on: does not name %s", c.Event), At: w.On.Source}, nil
	}
	d := decision{change: c, trigger: t, payload: event(payload(&plan.Context{Change: c})), why: []string{c.Event}, at: t.Source}
	yes := d.activity() && d.refs() && d.paths() && d.schedule() && d.workflows()
	return plan.Start{Yes: yes && !plan.Errors(d.problems), Why: strings.Join(d.why, " "), At: d.at, Files: d.files}, d.problems
}

// decision is one change looked at by one trigger. Each of its questions
// answers whether the change may go on, and leaves the reason in why and at.
type decision struct {
	change   *plan.Change
	trigger  *workflow.Trigger
	payload  event
	why      []string
	at       plan.Source
	files    bool // the files of the change were asked about
	problems []plan.Problem
}

func (d *decision) say(format string, args ...any) {
	d.why = append(d.why, fmt.Sprintf(format, args...))
}

// no is the reason why the change does not start the workflow.
func (d *decision) no(at plan.Source, format string, args ...any) bool {
	d.why, d.at = []string{fmt.Sprintf(format, args...)}, at
	return false
}

// pullRequestTypes are the activities that count when types: is not given.
var pullRequestTypes = []string{"opened", "synchronize", "reopened"}

// activity asks types:.
func (d *decision) activity() bool {
	t := d.trigger
	action := d.payload.text("action")
	if t.Event == "repository_dispatch" {
		action = cmp.Or(action, d.payload.text("event_type"))
	}
	if len(t.Types) == 0 {
		if (t.Event == "pull_request" || t.Event == "pull_request_target") && !slices.Contains(pullRequestTypes, action) {
			return d.no(t.Source, "%s with activity %s; without types: only %s count", t.Event, action, strings.Join(pullRequestTypes, ", "))
		}
		return true
	}
	if action == "" {
		d.say("(activity unknown, so types: is not asked)")
		return true
	}
	for _, s := range t.Types {
		if s.Text == action {
			d.say("%s", action)
			d.at = s.Source
			return true
		}
	}
	return d.no(t.Types[0].Source, "%s with activity %s, which types: %s does not name", t.Event, action, list(t.Types))
}

// refs asks branches: and tags:, or their -ignore forms.
func (d *decision) refs() bool {
	t := d.trigger
	hasBranches := len(t.Branches) > 0 || len(t.BranchesIgnore) > 0
	hasTags := len(t.Tags) > 0 || len(t.TagsIgnore) > 0
	name, kind := shortRef(d.change.Ref)
	switch t.Event {
	case "push":
		d.say("to %s %s", kind, name)
	case "pull_request", "pull_request_target", "merge_group":
		name = cmp.Or(d.change.BaseRef, d.payload.text("pull_request", "base", "ref"),
			strings.TrimPrefix(d.payload.text("merge_group", "base_ref"), "refs/heads/"))
		kind = "branch"
		d.say("into %s", name)
	case "workflow_run":
		name = cmp.Or(d.payload.text("workflow_run", "head_branch"), name)
		kind = "branch"
		d.say("on %s", name)
	}
	switch {
	case !hasBranches && !hasTags:
		return true
	case kind == "branch" && !hasBranches:
		return d.no(t.Source, "%s to branch %s, and only tags are named", t.Event, name)
	case kind == "tag" && !hasTags:
		return d.no(t.Source, "%s of tag %s, and only branches are named", t.Event, name)
	case kind == "branch":
		return d.name("branches", name, t.Branches, t.BranchesIgnore)
	}
	return d.name("tags", name, t.Tags, t.TagsIgnore)
}

// name asks a pair of filters about a branch or tag.
func (d *decision) name(key, name string, only, ignore []workflow.Str) bool {
	if len(only) > 0 {
		f, ok := d.filter(key, only)
		if !ok {
			return false
		}
		yes, by := f.match(name)
		switch {
		case by < 0:
			return d.no(only[0].Source, "%s does not match %s: %s", name, key, list(only))
		case !yes:
			return d.no(only[by].Source, "%s is taken out by %s: %s", name, key, only[by].Text)
		}
		d.say("matches %s: %s", key, only[by].Text)
		d.at = only[by].Source
	}
	if len(ignore) > 0 {
		key += "-ignore"
		f, ok := d.filter(key, ignore)
		if !ok {
			return false
		}
		if yes, by := f.match(name); yes {
			return d.no(ignore[by].Source, "%s matches %s: %s", name, key, ignore[by].Text)
		}
		d.say("matches nothing in %s: %s", key, list(ignore))
		d.at = ignore[0].Source
	}
	return true
}

// filter reads patterns; what cannot be read is a problem, and nothing starts.
func (d *decision) filter(key string, patterns []workflow.Str) (filter, bool) {
	f := make(filter, len(patterns))
	ok := true
	for i, s := range patterns {
		p, err := parsePattern(s.Text)
		if err != nil {
			d.problems = append(d.problems, *problemAt(s.Source, "glob", fmt.Sprintf("%s: %v", key, err),
				`see GitHub's filter patterns: * ** ? + [] !, and \ to take one of them literally`))
			d.no(s.Source, "%s: %v", key, err)
			ok = false
		}
		f[i] = p
	}
	return f, ok
}

// paths asks paths: and paths-ignore: about the files of the change. Pushes of
// tags are not asked.
func (d *decision) paths() bool {
	t := d.trigger
	if len(t.Paths) == 0 && len(t.PathsIgnore) == 0 {
		return true
	}
	if _, kind := shortRef(d.change.Ref); t.Event == "push" && kind == "tag" {
		return true
	}
	d.files = true
	only, ok := d.filter("paths", t.Paths)
	ignore, ok2 := d.filter("paths-ignore", t.PathsIgnore)
	if !ok || !ok2 {
		return false
	}
	if !d.change.FilesKnown {
		d.say("(nothing to compare with, so every path counts)")
		return true
	}
	if len(t.Paths) > 0 {
		found := false
		for _, file := range d.change.Files {
			if yes, by := only.match(file); yes {
				d.say("changes %s, which matches paths: %s", file, t.Paths[by].Text)
				d.at = t.Paths[by].Source
				found = true
				break
			}
		}
		if !found {
			return d.no(t.Paths[0].Source, "none of the %s matches paths: %s", count(len(d.change.Files), "changed file"), list(t.Paths))
		}
	}
	if len(t.PathsIgnore) > 0 {
		for _, file := range d.change.Files {
			if yes, _ := ignore.match(file); !yes {
				d.say("changes %s, which paths-ignore: does not match", file)
				d.at = t.PathsIgnore[0].Source
				return true
			}
		}
		return d.no(t.PathsIgnore[0].Source, "all of the %s match paths-ignore: %s", count(len(d.change.Files), "changed file"), list(t.PathsIgnore))
	}
	return true
}

// schedule asks which line of a schedule it is.
func (d *decision) schedule() bool {
	line := d.payload.text("schedule")
	if d.trigger.Event != "schedule" || line == "" {
		return true
	}
	for _, c := range d.trigger.Cron {
		if c.Line.Text == line {
			d.say("at %s", line)
			d.at = c.Line.Source
			return true
		}
	}
	return d.no(d.trigger.Source, "no cron: is %s", line)
}

// workflows asks workflows: of a workflow_run.
func (d *decision) workflows() bool {
	t := d.trigger
	if len(t.Workflows) == 0 {
		return true
	}
	name := d.payload.text("workflow_run", "name")
	if name == "" {
		d.say("(workflow unknown, so workflows: is not asked)")
		return true
	}
	yes, by := false, 0
	for i, s := range t.Workflows {
		pattern, err := parsePattern(s.Text)
		if s.Text == name || err == nil && !pattern.negate && pattern.re.MatchString(name) {
			yes, by = true, i
		} else if err == nil && pattern.negate && pattern.re.MatchString(name) {
			yes, by = false, i
		}
	}
	if !yes {
		return d.no(t.Workflows[by].Source, "workflow %s is not named in workflows: %s", name, list(t.Workflows))
	}
	d.say("of %s", name)
	d.at = t.Workflows[by].Source
	return true
}

// list shows strings of the file in a sentence.
func list(strs []workflow.Str) string {
	texts := make([]string, len(strs))
	for i, s := range strs {
		texts[i] = s.Text
	}
	const most = 8
	if len(texts) > most {
		texts = append(texts[:most:most], "…")
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
