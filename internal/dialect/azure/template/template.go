// Package template expands the templates of Azure Pipelines.
//
// A pipeline file is a tree, and its ${{ }} expressions change the tree before
// anybody asks what the tree means:
//
//	${{ if c }}: …      what is below takes its place, or nothing
//	${{ each x in l }}: what is below, once for each
//	${{ insert }}: m    the entries of m
//	- ${{ l }}          the items of l
//	- template: f.yml   what that file comes to, with these parameters
//
// An [Expander] walks the tree from the outside in and from the top down, so
// that each expression sees the variables that were given above it, and its
// file's parameters. It knows the shape of a pipeline only as far as that
// takes: where lists of stages, jobs, steps and variables stand, which are
// the places of templates, and that variables come before what sees them.
//
// Nodes keep their places, through values of parameters too: a step that a
// file passes to a template still points to the line where it was written,
// and a template that it names is looked for beside that file.
package template

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of a pipeline and all its templates.
const (
	maxFiles    = 100       // different files; the service's own limit
	maxNesting  = 100       // templates inside one another; the service's own limit
	maxExpanded = 1_000_000 // values that the whole comes to
	maxLooped   = 50        // each inside one another

	bytesPerNode = 256 // that a text which was made counts as one value more
)

// Reference names a template.
type Reference struct {
	Path  string // in its repository
	Alias string // of the repository; "" for the pipeline's own
	// Repository is the entry of resources.repositories; nil for the
	// pipeline's own.
	Repository *Node
}

// Key is how a template is known in messages and plans: path@alias.
func (r Reference) Key() string {
	if r.Alias == "" {
		return r.Path
	}
	return r.Path + "@" + r.Alias
}

// Expander expands one pipeline. Its fields are set before Expand is called,
// once.
type Expander struct {
	// Load brings the text of a template. What cannot be had is a problem,
	// whose place is filled in.
	Load func(Reference) ([]byte, *plan.Problem)
	// Given are the values of the pipeline's own parameters, by lower-case
	// name.
	Given map[string]any
	// Variables are those that are known before the file is read.
	Variables *expression.Object

	problems []plan.Problem
	files    map[string]*Node
	repos    map[string]*Node // by alias
	nodes    int
	stopped  bool
}

// Expanded is what a pipeline came to.
type Expanded struct {
	Root       *Node // a Mapping without expressions, parameters and templates
	Parameters []Parameter
	Problems   []plan.Problem
}

// frame is what the expressions of one place see.
type frame struct {
	file       string // key of the file
	parameters *expression.Object
	variables  *expression.Object // grows while a list of variables is read
	loop       *loop
	depth      int // of templates inside one another
}

// loop is the variable of an each.
type loop struct {
	name  string
	value any
	outer *loop
	depth int
}

func (c *frame) scope() *expression.Scope {
	s := &expression.Scope{Names: map[string]func() (any, error){
		"parameters": func() (any, error) { return c.parameters, nil },
		"variables":  func() (any, error) { return c.variables, nil },
	}}
	for l := c.loop; l != nil; l = l.outer {
		if lower := strings.ToLower(l.name); s.Names[lower] == nil || lower == "parameters" || lower == "variables" {
			s.Names[lower] = func() (any, error) { return l.value, nil }
		}
	}
	return s
}

// Expand expands a file that was parsed. file is its slash path.
func (x *Expander) Expand(file string, root *Node) *Expanded {
	x.files = map[string]*Node{file: root}
	x.repos = map[string]*Node{}
	out := &Expanded{}
	c := &frame{file: file, variables: x.Variables.Clone()}
	if root.Kind != Mapping {
		x.report(root.Source, "syntax", "a pipeline is a mapping, not "+root.Shape(), "it needs at least steps:, jobs:, stages: or extends:")
		out.Problems = x.problems
		return out
	}
	if p := root.Get("parameters"); p != nil && p.Kind == Mapping {
		c.parameters = x.bind(p, nil, p.Source, 0) // a template of the old form, by itself
	} else {
		out.Parameters = x.declared(p)
		c.parameters = x.given(out.Parameters)
	}
	out.Root = x.pipeline(root, c)
	out.Problems = x.problems
	return out
}

func (x *Expander) report(at plan.Source, rule, message, hint string) {
	x.add(plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

func (x *Expander) add(p plan.Problem) {
	if len(x.problems) < maxProblems && !slices.Contains(x.problems, p) {
		x.problems = append(x.problems, p)
	}
}

// weigh counts a value, and reports whether there may be more.
func (x *Expander) weigh(at plan.Source) bool {
	if x.nodes++; x.nodes > maxExpanded && !x.stopped {
		x.stopped = true
		x.report(at, "limit", fmt.Sprintf("the pipeline comes to more than %d values", maxExpanded), "loop over fewer things, or split the pipeline")
	}
	return !x.stopped
}

// value is what a scalar comes to; ok is false when a problem says why it
// comes to nothing.
func (x *Expander) value(n *Node, c *frame) (v any, ok bool) {
	if n.Done || !expression.HasExpr(n.Text) {
		if n.Null {
			return nil, true
		}
		return n.Text, true
	}
	t, err := expression.ParseText(n.Text)
	if err == nil {
		v, err = t.Eval(c.scope())
	}
	if err != nil {
		x.add(*Problem(n, err))
		return nil, false
	}
	if text, ok := v.(string); ok {
		x.nodes += len(text) / bytesPerNode
	}
	return v, true
}

// eval is the value of a directive's expression.
func (x *Expander) eval(key *Node, e *expression.Expr, c *frame) (any, bool) {
	v, err := e.Eval(c.scope())
	if err != nil {
		x.add(*Problem(key, err))
		return nil, false
	}
	return v, true
}

// directive is a key that is no key.
type directive struct {
	word     string // if, elseif, else, each, insert; "" for a key
	variable string // of each
	expr     *expression.Expr
}

// readDirective reads a key of a mapping.
func readDirective(key *Node) (d directive, err error) {
	if key.Done {
		return d, nil
	}
	text := strings.TrimSpace(key.Text)
	inner, begins := strings.CutPrefix(text, "${{")
	inner, ends := strings.CutSuffix(inner, "}}")
	if !begins || !ends {
		_, err = expression.ParseText(key.Text)
		return d, err
	}
	inner = strings.TrimSpace(inner)
	n := strings.IndexFunc(inner, func(r rune) bool { return r < 'a' || r > 'z' })
	if n < 0 {
		n = len(inner)
	}
	word, rest := inner[:n], strings.TrimSpace(inner[n:])
	switch {
	case word == "else" && rest == "", word == "insert" && rest == "":
		return directive{word: word}, nil
	case word == "if" || word == "elseif":
		d.word = word
	case word == "each" && rest != "" && rest[0] != '(':
		var found bool
		d.word = word
		d.variable, rest, found = strings.Cut(rest, " in ")
		if d.variable = strings.TrimSpace(d.variable); !found || !expression.Identifier(d.variable) {
			return d, &expression.Error{Message: "each needs a name and a list", Hint: "write ${{ each name in list }}", Offset: -1}
		}
	default:
		_, err = expression.ParseText(key.Text)
		return d, err
	}
	d.expr, err = expression.Parse(rest)
	return d, err
}

// chain remembers how the if before an else ended.
type chain struct{ open, taken bool }

// enter reports how often what is below a directive counts: for each frame
// that it returns. ok is false for what is no directive that chooses.
func (x *Expander) enter(key *Node, d directive, was *chain, c *frame) (frames []*frame, ok bool) {
	switch d.word {
	case "if":
		v, fine := x.eval(key, d.expr, c)
		*was = chain{open: true, taken: fine && expression.Truthy(v) || !fine}
		if fine && was.taken {
			return []*frame{c}, true
		}
		return nil, true
	case "elseif", "else":
		if !was.open {
			x.report(key.Source, "template", d.word+" without an if before it", "put it right after the entries of an if")
			return nil, true
		}
		before := was.taken
		if d.word == "else" {
			*was = chain{}
			if !before {
				return []*frame{c}, true
			}
			return nil, true
		}
		if before {
			return nil, true
		}
		v, fine := x.eval(key, d.expr, c)
		was.taken = !fine || expression.Truthy(v)
		if fine && was.taken {
			return []*frame{c}, true
		}
		return nil, true
	case "each":
		*was = chain{}
		v, fine := x.eval(key, d.expr, c)
		if !fine {
			return nil, true
		}
		return x.rounds(key, d.variable, v, c), true
	}
	*was = chain{}
	return nil, false
}

// rounds are the frames of an each.
func (x *Expander) rounds(key *Node, variable string, over any, c *frame) (frames []*frame) {
	depth := 1
	if c.loop != nil {
		depth += c.loop.depth
	}
	if depth > maxLooped {
		x.report(key.Source, "limit", fmt.Sprintf("more than %d loops stand inside one another", maxLooped), "")
		return nil
	}
	round := func(v any) bool {
		inner := *c
		inner.loop = &loop{name: variable, value: v, outer: c.loop, depth: depth}
		frames = append(frames, &inner)
		return x.weigh(key.Source)
	}
	switch v := over.(type) {
	case *expression.Array:
		for _, item := range v.Items {
			if !round(item) {
				return frames
			}
		}
	case *expression.Object:
		for _, k := range v.Keys() {
			item, _ := v.Get(k)
			if !round(expression.NewObject("key", k, "value", item)) {
				return frames
			}
		}
	case nil:
	default:
		if v != "" {
			x.report(key.Source, "template", "each goes over a list or a mapping, and this is "+expression.KindName(v), "")
		}
	}
	return frames
}

// entry is a field of a mapping whose key is known, and what its value sees.
type entry struct {
	key   *Node
	value *Node
	frame *frame
}

// entries are the fields of a mapping, one at a time: what is told of one
// counts for the next.
func (x *Expander) entries(n *Node, c *frame, yield func(entry)) {
	var was chain
	for _, f := range n.Fields {
		if !x.weigh(f.Key.Source) {
			return
		}
		d, err := readDirective(f.Key)
		if err != nil {
			x.add(*Problem(f.Key, err))
			continue
		}
		if frames, ok := x.enter(f.Key, d, &was, c); ok {
			for _, inner := range frames {
				x.below(f.Key, f.Value, inner, yield)
			}
			continue
		}
		if d.word == "insert" {
			x.below(f.Key, x.generic(f.Value, c), c, yield)
			continue
		}
		key := f.Key
		if !key.Done && expression.HasExpr(key.Text) {
			v, ok := x.value(key, c)
			if !ok {
				continue
			}
			key = &Node{Text: expression.String(v), Source: key.Source, Done: true}
		}
		yield(entry{key, f.Value, c})
	}
}

// below yields the entries of a mapping that takes the place of a directive.
func (x *Expander) below(key, value *Node, c *frame, yield func(entry)) {
	if value.Kind == Scalar && !value.Done && expression.HasExpr(value.Text) {
		value = x.generic(value, c)
	}
	switch {
	case value.IsNull():
	case value.Kind == Mapping:
		x.entries(value, c, yield)
	default:
		x.report(value.Source, "template", fmt.Sprintf("a mapping is wanted below %s, not %s", plan.Clip(key.Text), value.Shape()), "indent keys below it")
	}
}

// items are the items of a list, one at a time.
func (x *Expander) items(n *Node, c *frame, yield func(*Node, *frame)) {
	var was chain
	for _, item := range n.Items {
		if !x.weigh(item.Source) {
			return
		}
		if item.Kind == Mapping && len(item.Fields) == 1 && !item.Fields[0].Key.Done && expression.HasExpr(item.Fields[0].Key.Text) {
			f := item.Fields[0]
			d, err := readDirective(f.Key)
			if err != nil {
				x.add(*Problem(f.Key, err))
				continue
			}
			// A mapping below each is filled round by round, and is one item.
			if d.word != "each" || f.Value.Kind != Mapping {
				if frames, ok := x.enter(f.Key, d, &was, c); ok {
					for _, inner := range frames {
						x.spread(f.Value, inner, yield)
					}
					continue
				}
			}
		}
		was = chain{}
		if item.Kind == Scalar && !item.Done && expression.HasExpr(item.Text) {
			x.spread(item, c, yield)
			continue
		}
		yield(item, c)
	}
}

// spread yields what stands below a directive of a list, or what an item that
// is an expression comes to.
func (x *Expander) spread(n *Node, c *frame, yield func(*Node, *frame)) {
	if n.Kind == Scalar && !n.Done && expression.HasExpr(n.Text) {
		if n = x.generic(n, c); n.IsNull() {
			return
		}
	}
	switch {
	case n.Kind == Sequence:
		x.items(n, c, yield)
	case !n.IsNull():
		yield(n, c)
	}
}

// generic expands a value that has no templates in it.
func (x *Expander) generic(n *Node, c *frame) *Node {
	if !x.weigh(n.Source) {
		return n
	}
	switch n.Kind {
	case Sequence:
		out := &Node{Kind: Sequence, Source: n.Source, Done: n.Done}
		x.items(n, c, func(item *Node, c *frame) { out.Items = append(out.Items, x.generic(item, c)) })
		return out
	case Mapping:
		out := &Node{Kind: Mapping, Source: n.Source, Done: n.Done}
		x.entries(n, c, func(e entry) { x.set(out, e.key, x.generic(e.value, e.frame)) })
		return out
	}
	if n.Done || !expression.HasExpr(n.Text) {
		return n
	}
	v, _ := x.value(n, c)
	return x.node(v, n.Source)
}

// set adds an entry to a mapping that is being made.
func (x *Expander) set(out, key, value *Node) {
	if before := out.Get(key.Text); before != nil {
		x.report(key.Source, "key", fmt.Sprintf("'%s' is already defined, at line %d", plan.Clip(key.Text), before.Source.Line), "keep one of the two")
		return
	}
	out.Fields = append(out.Fields, Field{key, value})
}

// node makes a node of a value.
func (x *Expander) node(v any, at plan.Source) *Node {
	n := &Node{Source: at, Done: true}
	if !x.weigh(at) {
		return n
	}
	switch v := v.(type) {
	case nil:
		n.Null = true
	case *expression.Array:
		n.Kind = Sequence
		if !v.At.IsZero() {
			n.Source = v.At
		}
		for _, item := range v.Items {
			n.Items = append(n.Items, x.node(item, n.Source))
		}
	case *expression.Object:
		n.Kind = Mapping
		if !v.At.IsZero() {
			n.Source = v.At
		}
		for _, k := range v.Keys() {
			item, _ := v.Get(k)
			n.Fields = append(n.Fields, Field{&Node{Text: k, Source: n.Source, Done: true}, x.node(item, n.Source)})
		}
	default:
		n.Text = expression.String(v)
	}
	return n
}

// ValueOf is a node as a value: scalars are texts, whatever they look like.
func ValueOf(n *Node) any {
	switch {
	case n == nil:
		return nil
	case n.Kind == Sequence:
		a := &expression.Array{At: n.Source, Items: make([]any, len(n.Items))}
		for i, item := range n.Items {
			a.Items[i] = ValueOf(item)
		}
		return a
	case n.Kind == Mapping:
		o := &expression.Object{At: n.Source}
		for _, f := range n.Fields {
			o.Set(f.Key.Text, ValueOf(f.Value))
		}
		return o
	case n.Null:
		return nil
	}
	return n.Text
}

// resolve finds what a template: names, from the file it stands in.
func (x *Expander) resolve(ref string, at plan.Source, c *frame) (Reference, *plan.Problem) {
	file := at.File
	if x.files[file] == nil {
		file = c.file
	}
	here, home, _ := strings.Cut(file, "@")
	name, alias, named := strings.Cut(strings.ReplaceAll(ref, `\`, "/"), "@")
	if !named {
		alias = home
	} else if alias == "self" {
		alias = ""
	}
	r := Reference{Alias: alias}
	if dir := path.Dir(here); strings.HasPrefix(name, "/") || alias != home {
		r.Path = path.Clean(strings.TrimLeft(name, "/"))
	} else {
		r.Path = path.Join(dir, name)
	}
	bad := func(message, hint string) *plan.Problem {
		return &plan.Problem{Source: at, Severity: plan.Error, Rule: "template", Message: message, Hint: hint}
	}
	switch {
	case name == "" || r.Path == "." || r.Path == ".." || strings.HasPrefix(r.Path, "../"):
		return r, bad(fmt.Sprintf("the template %s leads out of its repository", plan.Clip(ref)), "write a path from the root of the repository, or relative to this file")
	case alias != "" && x.repos[alias] == nil:
		return r, bad(fmt.Sprintf("the template %s is of the repository %s, which resources: does not name", plan.Clip(ref), plan.Clip(alias)),
			"add it to resources: repositories:")
	}
	r.Repository = x.repos[alias]
	return r, nil
}

// open is the tree of a template.
func (x *Expander) open(ref *Node, c *frame) (key string, root *Node) {
	v, ok := x.value(ref, c)
	if !ok {
		return "", nil
	}
	text := strings.TrimSpace(expression.String(v))
	r, bad := x.resolve(text, ref.Source, c)
	if bad != nil {
		x.add(*bad)
		return "", nil
	}
	key = r.Key()
	if c.depth >= maxNesting {
		x.report(ref.Source, "limit", fmt.Sprintf("more than %d templates stand inside one another", maxNesting), "a template must not lead to itself")
		x.stopped = true
		return key, nil
	}
	root, have := x.files[key]
	if have {
		return key, root
	}
	if len(x.files) >= maxFiles {
		x.report(ref.Source, "limit", fmt.Sprintf("the pipeline has more than %d files", maxFiles), "")
		return key, nil
	}
	body, bad := x.Load(r)
	if bad == nil {
		var problems []plan.Problem
		root, problems = Parse(key, body)
		for _, p := range problems {
			x.add(p)
		}
	} else {
		bad.Source = ref.Source
		x.add(*bad)
	}
	if root != nil && root.Kind != Mapping {
		x.report(root.Source, "template", "a template is a mapping, not "+root.Shape(), "")
		root = nil
	}
	x.files[key] = root
	return key, root
}
