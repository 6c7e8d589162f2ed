package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/rule"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of conditions; GitLab's own, but for the number of files looked at.
const (
	maxPatterns = 50     // of one changes or exists
	maxLooked   = 50_000 // files of the tree that exists looks at
)

// conditions are what decides whether something is part of a pipeline.
type conditions struct {
	*reporter
	// change is nil when nothing is known of why the pipeline is made: then
	// everything is part of it.
	change *plan.Change
	tree   fs.FS
	// hang is set when an answer hangs on the files that the change touches,
	// and those are not known.
	hang bool
	// since are the refs that changes compares with; nil: nobody looks at them.
	since map[string]bool
	// open brings another project, for exists.
	open func(ctx context.Context, project, ref string) (document.Origin, error)
	ctx  context.Context

	files   []string // of the tree, once exists has asked
	partial bool     // there are more
}

// ruling is what rules say.
type ruling struct {
	in    bool
	at    plan.Source // of the rule that decided, or of the whole
	why   string
	when  string // "" when the rule does not say
	delay time.Duration
	// allow is allow_failure of the rule; nil when it does not say.
	allow         *document.Node
	variables     []variable
	needs         *document.Node
	interruptible *document.Node
	cancels       *document.Node // auto_cancel of the rule
}

var (
	ruleKeys     = []string{"if", "changes", "exists", "when", "start_in", "allow_failure", "variables", "needs", "interruptible"}
	workflowKeys = []string{"if", "changes", "exists", "when", "variables", "auto_cancel"}
	includeKeys  = []string{"if", "changes", "exists", "when"}
)

// rules asks the rules of a list one after another: the first that holds
// decides, and when none does, the answer is no. what names their owner.
func (c *conditions) rules(n *document.Node, what string, known []string, vars *variables) ruling {
	none := ruling{at: n.Source, why: "no rule of " + what + " holds"}
	if n.Kind != document.Sequence {
		c.mistyped(n, "rules", "a list")
		return none
	}
	var found *ruling
	c.flat(n, "rules", 0, func(item *document.Node) {
		if !c.keys(item, "a rule", known) {
			return
		}
		r, holds := c.rule(item, vars)
		if holds && found == nil {
			found = &r
		}
	})
	if c.change == nil {
		return ruling{in: true, at: n.Source, why: "nothing is known of the change"}
	}
	if found == nil {
		return none
	}
	return *found
}

// rule reads one rule, whether or not it matters, so that what is wrong with it
// is found.
func (c *conditions) rule(n *document.Node, vars *variables) (r ruling, holds bool) {
	r = ruling{at: n.Source, allow: n.Get("allow_failure"), needs: n.Get("needs"), interruptible: n.Get("interruptible"), cancels: n.Get("auto_cancel")}
	holds = true
	var because []string
	if cond := n.Get("if"); cond != nil && cond.IsNull() && !cond.Missing() {
		c.fail(cond.Source, "missing", "the if: of this rule is empty", "write an expression, or remove the key")
	} else if cond != nil {
		r.at = cond.Source
		text, _ := cond.Text()
		yes := c.holds(cond, "if", vars)
		holds = holds && yes
		because = append(because, plan.Clip(text))
	}
	if changes := n.Get("changes"); !changes.IsNull() {
		yes := c.changes(changes, vars)
		holds = holds && yes
		because = append(because, "changed files")
	}
	if exists := n.Get("exists"); !exists.IsNull() {
		yes := c.exists(exists, vars)
		holds = holds && yes
		because = append(because, "files that exist")
	}
	r.when = c.choice(n.Get("when"), "when", "on_success", "on_failure", "always", "never", "manual", "delayed")
	r.delay = c.duration(n.Get("start_in"), "start_in")
	r.variables = c.variables(n.Get("variables"), "variables of a rule", false)
	r.in = r.when != "never"
	r.why = strings.Join(because, ", ")
	if r.why == "" {
		r.why = "a rule without a condition"
	}
	if !r.in {
		r.why = "when: never, by " + r.why
	}
	return r, holds
}

// holds asks an expression.
func (c *conditions) holds(n *document.Node, what string, vars *variables) bool {
	text, ok := n.Text()
	if !ok {
		c.mistyped(n, what, "an expression")
		return false
	}
	e, err := rule.Parse(text)
	if syntax, bad := errors.AsType[*rule.SyntaxError](err); bad {
		c.fail(n.Source, "expression", fmt.Sprintf("the expression %s cannot be read: at character %d, %s", plan.Clip(text), syntax.Offset+1, syntax.Message),
			`write it like $CI_COMMIT_BRANCH == "main" && $DEPLOY =~ /^prod/`)
		return false
	}
	if vars == nil {
		return false
	}
	return e.Holds(vars.lookup)
}

// changes reports whether the change touches a file that a pattern matches. When
// there is nothing to compare with, every file counts as changed.
func (c *conditions) changes(n *document.Node, vars *variables) bool {
	paths, ref := n, ""
	if n.Kind == document.Mapping {
		c.keys(n, "changes", []string{"paths", "compare_to"})
		paths = n.Get("paths")
		ref = c.comparesTo(n.Get("compare_to"), vars)
	}
	if paths.IsNull() || paths.Kind != document.Sequence {
		c.fail(n.Source, "type", "changes needs a list of paths", "put each path on a line of its own, after a dash")
		return false
	}
	patterns := c.patterns(paths, "changes")
	if c.change == nil {
		return true
	}
	files := c.change.Files
	if ref != "" {
		since, known := c.change.Since[ref]
		if !known && c.since != nil {
			c.since[ref] = true
			return true // until it is known
		}
		if files = since; since == nil {
			c.warn(n.Get("compare_to").Source, "compare", fmt.Sprintf("there is no %s here to compare with; every file counts as changed", plan.Clip(ref)), "fetch the branch, or name one that is there")
			return true
		}
	} else if !c.change.FilesKnown {
		c.hang = true
		return true
	}
	return slices.ContainsFunc(files, func(file string) bool {
		return slices.ContainsFunc(patterns, func(g glob) bool { return g.match(file) })
	})
}

// comparesTo is the ref that a rule compares with, "" when that is what the change is
// compared with anyway.
func (c *conditions) comparesTo(n *document.Node, vars *variables) string {
	ref := c.text(n, "compare_to")
	if ref == "" || vars == nil || c.change == nil {
		return ""
	}
	ref = vars.text(ref)
	if strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, "\x00\n \t") {
		c.fail(n.Source, "value", fmt.Sprintf("%s is not a branch, a tag or a commit", plan.Clip(ref)), "")
		return ""
	}
	if ref == c.change.Before && c.change.BaseRef == "" {
		return ""
	}
	return ref
}

func (c *conditions) patterns(n *document.Node, what string) []glob {
	texts := c.texts(n, what)
	if len(texts) > maxPatterns {
		c.fail(n.Source, "limit", fmt.Sprintf("%s has more than %d patterns", what, maxPatterns), "use wider patterns")
		texts = texts[:maxPatterns]
	}
	globs := make([]glob, len(texts))
	for i, t := range texts {
		globs[i] = newGlob(strings.TrimPrefix(t, "/"))
	}
	return globs
}

// exists reports whether the tree has a file that a pattern matches.
func (c *conditions) exists(n *document.Node, vars *variables) bool {
	paths := n
	if n.Kind == document.Mapping {
		c.keys(n, "exists", []string{"paths", "project", "ref"})
		paths = n.Get("paths")
		if p := n.Get("project"); !p.IsNull() {
			other, ok := c.elsewhere(p, n.Get("ref"), vars)
			if !ok {
				return false
			}
			c = other
		}
	}
	texts := c.texts(paths, "exists")
	if len(texts) > maxPatterns {
		c.fail(n.Source, "limit", fmt.Sprintf("exists has more than %d patterns", maxPatterns), "use wider patterns")
		texts = texts[:maxPatterns]
	}
	for _, text := range texts {
		if vars != nil {
			text = vars.text(text)
		}
		text = strings.TrimPrefix(strings.TrimPrefix(text, "./"), "/")
		if !strings.ContainsAny(text, `*?[{\`) {
			if fs.ValidPath(strings.TrimSuffix(text, "/")) && c.tree != nil {
				if info, err := fs.Stat(c.tree, strings.TrimSuffix(text, "/")); err == nil && !info.IsDir() {
					return true
				}
			}
			continue
		}
		g := newGlob(text)
		files := c.treeFiles()
		if c.partial || slices.ContainsFunc(files, g.match) {
			return true
		}
	}
	return false
}

// elsewhere are the conditions as another project's files answer them.
func (c *conditions) elsewhere(p, at *document.Node, vars *variables) (*conditions, bool) {
	project, ref := c.text(p, "project"), c.text(at, "ref")
	if vars == nil || c.change == nil || c.open == nil || project == "" {
		return nil, false
	}
	o, err := c.open(c.ctx, vars.text(project), vars.text(ref))
	if err != nil {
		c.warn(p.Source, "exists", fmt.Sprintf("the files of %s cannot be looked at (%v); the rule counts as not met", plan.Clip(project), err), mirrorHint)
		return nil, false
	}
	return &conditions{reporter: c.reporter, change: c.change, tree: o.FS}, true
}

// mirrorHint says how another project can be had.
const mirrorHint = "say where it is: gitlab: mirrors: in fairlead.yaml"

// treeFiles are the files of the tree.
func (c *conditions) treeFiles() []string {
	if c.files != nil || c.tree == nil {
		return c.files
	}
	c.files = []string{}
	// A directory that cannot be read has no files.
	_ = fs.WalkDir(c.tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir
		case err != nil:
			return nil
		case d.IsDir():
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		case len(c.files) == maxLooked:
			c.partial = true
			return fs.SkipAll
		}
		c.files = append(c.files, name)
		return nil
	})
	return c.files
}

// Policies are only and except, which are what GitLab had before rules.

var policyKeys = []string{"refs", "variables", "changes", "kubernetes"}

// policy reports whether a job's only and except let it in; both may be nil.
func (c *conditions) policy(only, except *document.Node, vars *variables) ruling {
	r := ruling{in: true}
	at := func(n *document.Node) plan.Source {
		if n == nil {
			return plan.Source{}
		}
		return n.Source
	}
	if c.change == nil {
		c.asks(only, vars, true)
		c.asks(except, vars, false)
		return r
	}
	r.why = "only and except let it in"
	if only.IsNull() {
		if !c.ref("branches") && !c.ref("tags") {
			return ruling{why: "a job without only and rules is for branches and tags"}
		}
	} else if !c.asks(only, vars, true) {
		return ruling{at: at(only), why: "only does not let it in"}
	}
	if !except.IsNull() && c.asks(except, vars, false) {
		return ruling{at: at(except), why: "except keeps it out"}
	}
	return r
}

// asks reports whether all, or any, of what a policy names is met.
func (c *conditions) asks(n *document.Node, vars *variables, all bool) bool {
	if n.IsNull() {
		return all
	}
	if n.Kind != document.Mapping {
		return c.refs(n)
	}
	c.keys(n, "only and except", policyKeys)
	var met []bool
	if refs := n.Get("refs"); !refs.IsNull() {
		met = append(met, c.refs(refs))
	} else if all {
		met = append(met, c.change == nil || c.ref("branches") || c.ref("tags"))
	}
	if list := n.Get("variables"); !list.IsNull() {
		any := false
		c.flat(list, "variables", 0, func(item *document.Node) {
			if c.holds(item, "an entry of variables", vars) {
				any = true
			}
		})
		met = append(met, any)
	}
	if changes := n.Get("changes"); !changes.IsNull() {
		met = append(met, c.changes(changes, vars))
	}
	if k := n.Get("kubernetes"); !k.IsNull() {
		c.choice(k, "kubernetes", "active")
		met = append(met, false) // no cluster is set up for the project here
	}
	if all {
		return !slices.Contains(met, false)
	}
	return slices.Contains(met, true)
}

func (c *conditions) refs(n *document.Node) bool {
	met := false
	for _, pattern := range c.texts(n, "refs") {
		if c.change != nil && c.ref(pattern) {
			met = true
		}
	}
	return met
}

// refPattern is a regular expression between slashes, with its flags.
var refPattern = regexp.MustCompile(`^/(.*)/([ismU]*)$`)

// ref reports whether the pipeline is what a word or a pattern names.
func (c *conditions) ref(pattern string) bool {
	name, project, scoped := strings.Cut(pattern, "@")
	if strings.HasPrefix(pattern, "/") {
		name, scoped = pattern, false
		if i := strings.LastIndex(pattern, "/@"); i > 0 {
			name, project, scoped = pattern[:i+1], pattern[i+2:], true
		}
	}
	if scoped && project != c.change.Repository {
		return false
	}
	from := source(c.change.Event)
	merge := from == "merge_request_event"
	tag := strings.HasPrefix(c.change.Ref, "refs/tags/")
	switch name {
	case "branches":
		return !merge && !tag
	case "tags":
		return !merge && tag
	case "merge_requests":
		return merge
	case "pushes":
		return from == "push"
	case "schedules", "triggers", "pipelines", "external_pull_requests":
		return strings.TrimSuffix(from, "_event")+"s" == name
	case "web", "api", "chat", "external":
		return from == name
	}
	if merge {
		return false
	}
	ref := refName(c.change)
	if m := refPattern.FindStringSubmatch(name); m != nil {
		form := m[1]
		if m[2] != "" {
			form = "(?" + m[2] + ")" + form
		}
		re, err := regexp.Compile(strings.ReplaceAll(form, `\/`, "/"))
		return err == nil && re.MatchString(ref)
	}
	return name == ref
}

// variables reads a mapping of variables. With rich, those may have a
// description and options, as at the top of a file.
func (r *reporter) variables(n *document.Node, what string, rich bool) []variable {
	if n.IsNull() {
		return nil
	}
	if n.Kind != document.Mapping {
		r.mistyped(n, what, "a mapping from names to values")
		return nil
	}
	var out []variable
	for _, f := range n.Fields {
		switch {
		case f.Value.IsNull():
			continue // taken away
		case f.Value.Kind == document.Scalar:
			text, _ := f.Value.Text()
			out = append(out, variable{Name: f.Key, Value: text})
			continue
		case f.Value.Kind != document.Mapping:
			r.mistyped(f.Value, "the variable "+plan.Clip(f.Key), "a text")
			continue
		}
		keys := []string{"value", "expand"}
		if rich {
			keys = append(keys, "description", "options")
		}
		r.keys(f.Value, "the variable "+plan.Clip(f.Key), keys)
		v := variable{Name: f.Key, Value: r.text(f.Value.Get("value"), "the value of "+f.Key)}
		if expand, given := r.boolean(f.Value.Get("expand"), "expand"); given {
			v.Raw = !expand
		}
		if options := r.list(f.Value.Get("options"), "options"); len(options) > 0 && !slices.Contains(options, v.Value) {
			r.fail(cmp.Or(f.Value.Get("options").Source, f.Source), "value", fmt.Sprintf("the value of %s is none of its options", plan.Clip(f.Key)), "write value: and one of the options")
		}
		out = append(out, v)
	}
	return out
}
