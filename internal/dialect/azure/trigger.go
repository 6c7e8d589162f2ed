package azure

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// start says what can start a pipeline, and whether a change does, in words
// and with the line that decides.
func start(root *node, c *plan.Change, file string) (events []string, s plan.Start) {
	at := plan.Source{File: file, Line: 1, Col: 1}
	trigger, pr := root.Get("trigger"), root.Get("pr")
	if !off(trigger) {
		events = append(events, "push")
	}
	if !off(pr) {
		events = append(events, "pull_request")
	}
	if len(items(root.Get("schedules"))) > 0 {
		events = append(events, "schedule")
	}
	events = append(events, "workflow_dispatch")
	if c == nil {
		return events, plan.Start{Why: "no change was given", At: at}
	}
	d := decision{change: c, at: at}
	var yes bool
	switch c.Event {
	case "push":
		yes = d.push(trigger)
	case "pull_request":
		yes = d.pullRequest(pr)
	case "schedule":
		yes = d.schedule(root.Get("schedules"))
	case "workflow_dispatch", "manual":
		yes, d.why = true, "started by hand"
	default:
		d.why = fmt.Sprintf("a pipeline is not started by %s", c.Event)
	}
	return events, plan.Start{Yes: yes, Why: d.why, At: d.at, Files: d.files}
}

// off reports whether a trigger was switched off.
func off(n *node) bool { return n != nil && strings.EqualFold(n.String(), "none") }

// decision is one change looked at by one trigger. Each of its questions
// leaves the reason in why and at.
type decision struct {
	change *plan.Change
	why    string
	at     plan.Source
	files  bool // the files of the change were asked about
}

func (d *decision) say(yes bool, at plan.Source, format string, args ...any) bool {
	d.why = fmt.Sprintf(format, args...)
	if !at.IsZero() {
		d.at = at
	}
	return yes
}

func (d *decision) push(n *node) bool {
	name, tag := strings.CutPrefix(d.change.Ref, "refs/tags/")
	name = strings.TrimPrefix(name, "refs/heads/")
	if off(n) {
		return d.say(false, n.Source, "trigger: none")
	}
	branches, tags := filters(n, "branches"), filters(n, "tags")
	switch {
	case tag && !tags.given:
		return d.say(false, tags.at, "push of tag %s, and trigger: names no tags", name)
	case tag:
		return d.named("tags", name, tags)
	case !branches.given && tags.given:
		return d.say(false, tags.at, "push to %s, and trigger: only names tags", name)
	case !branches.given:
		d.say(true, branches.at, "push to %s; every branch counts", name)
	case !d.named("branches", name, branches):
		return false
	}
	return d.paths(filters(n, "paths"))
}

func (d *decision) pullRequest(n *node) bool {
	if off(n) {
		return d.say(false, n.Source, "pr: none")
	}
	branches := filters(n, "branches")
	into := strings.TrimPrefix(d.change.BaseRef, "refs/heads/")
	if !branches.given {
		d.say(true, branches.at, "pull request into %s; every branch counts", into)
	} else if !d.named("branches", into, branches) {
		return false
	}
	return d.paths(filters(n, "paths"))
}

func (d *decision) schedule(n *node) bool {
	name := strings.TrimPrefix(d.change.Ref, "refs/heads/")
	line, _ := d.change.Payload["schedule"].(string)
	for _, s := range items(n) {
		if cron := s.Get("cron").String(); line != "" && cron != line {
			continue
		}
		branches := filters(s, "branches")
		if !branches.given || d.named("branches", name, branches) {
			return d.say(true, s.Source, "the schedule %s of %s", s.Get("cron").String(), name)
		}
	}
	return d.say(false, d.at, "no schedule: is for %s", name)
}

// named asks a filter about a branch or tag.
func (d *decision) named(key, name string, f filter) bool {
	for _, p := range f.exclude {
		if like(p.Text, name) {
			return d.say(false, p.Source, "%s is taken out of %s by %s", name, key, p.Text)
		}
	}
	if len(f.include) == 0 {
		return d.say(true, f.at, "%s is not excluded from %s", name, key)
	}
	for _, p := range f.include {
		if like(p.Text, name) {
			return d.say(true, p.Source, "%s matches %s: %s", name, key, p.Text)
		}
	}
	return d.say(false, f.at, "%s matches none of %s", name, key)
}

// paths asks a filter about the files of the change.
func (d *decision) paths(f filter) bool {
	if !f.given {
		return true
	}
	d.files = true
	if !d.change.FilesKnown {
		d.why += " (nothing to compare with, so every path counts)"
		return true
	}
	for _, file := range d.change.Files {
		in := len(f.include) == 0
		at := f.at
		for _, p := range f.include {
			if under(p.Text, file) {
				in, at = true, p.Source
				break
			}
		}
		for _, p := range f.exclude {
			if under(p.Text, file) {
				in = false
				break
			}
		}
		if in {
			return d.say(true, at, "%s, and changes %s", d.why, file)
		}
	}
	return d.say(false, f.at, "none of the %d changed files matches paths:", len(d.change.Files))
}

// filter is a list of what to include and what to leave out.
type filter struct {
	given            bool
	include, exclude []*node
	at               plan.Source
}

// filters reads the filter of a trigger. A list alone is of branches.
func filters(trigger *node, key string) (f filter) {
	if trigger == nil {
		return f
	}
	f.at = trigger.Source
	n := trigger.Get(key)
	if key == "branches" && trigger.Kind != template.Mapping {
		n = trigger
	}
	if n.IsNull() {
		return f
	}
	f.given, f.at = true, n.Source
	switch n.Kind {
	case template.Scalar:
		f.include = []*node{n}
	case template.Sequence:
		f.include = n.Items
	default:
		f.include, f.exclude = one(n.Get("include")), one(n.Get("exclude"))
	}
	return f
}

// one is a list, or the one thing that stands for it.
func one(n *node) []*node {
	if n.IsNull() {
		return nil
	}
	if n.Kind == template.Scalar {
		return []*node{n}
	}
	return n.Items
}

// like reports whether a name is like a pattern: * is any text, ? one
// character. The full name of a ref will do.
func like(pattern, name string) bool {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		pattern = strings.TrimPrefix(pattern, prefix)
	}
	re, err := regexp.Compile("^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$")
	return err == nil && re.MatchString(name)
}

// under reports whether a file is one of a pattern's, or lies below a
// directory that is.
func under(pattern, file string) bool {
	pattern = strings.Trim(pattern, "/")
	quoted := strings.NewReplacer(`\*\*/`, "(.*/)?", `\*\*`, ".*", `\*`, "[^/]*", `\?`, "[^/]").Replace(regexp.QuoteMeta(pattern))
	re, err := regexp.Compile("^" + quoted + "(/.*)?$")
	return pattern == "" || err == nil && re.MatchString(file)
}

// Schedules are the times at which a pipeline wants to be started: the lines
// of its schedules:, in UTC. They are read from the pipeline's own text.
func (d *Dialect) Schedules(p *plan.Pipeline) []string {
	i := slices.IndexFunc(p.Texts, func(t plan.Text) bool { return t.Path == p.File && t.Commit == "" })
	if i < 0 {
		return nil
	}
	root, _ := template.Parse(p.File, []byte(p.Texts[i].Body))
	var lines []string
	for _, s := range items(root.Get("schedules")) {
		if line := s.Get("cron").String(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
