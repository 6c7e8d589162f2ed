package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what refers to something else; GitLab's own.
const (
	maxExtends    = 10 // in a row
	maxReferences = 10 // in a row
)

// Merge lays one tree over another: mappings are merged, key by key, and
// everything else is replaced.
func Merge(under, over *Node) *Node {
	if under == nil || under.Kind != Mapping || over == nil || over.Kind != Mapping {
		return over
	}
	if len(under.Fields) == 0 {
		return over
	}
	fields := slices.Clone(under.Fields)
	index := make(map[string]int, len(fields))
	for i := range fields {
		index[fields[i].Key] = i
	}
	for _, f := range over.Fields {
		if i, have := index[f.Key]; have {
			fields[i] = Field{Key: f.Key, Source: f.Source, Value: Merge(fields[i].Value, f.Value)}
			continue
		}
		fields = append(fields, f)
	}
	n := newMapping(fields, over.Source)
	n.missing = n.missing || under.missing || over.missing
	return n
}

// linker follows extends and !reference inside one tree.
type linker struct {
	*reader
	root *Node
	// gone says that includes are missing: what cannot be found may be theirs.
	gone     bool
	extended map[string]*Node
	within   []string         // entries being extended, or paths being followed
	resolved map[*Node]*Node  // nodes whose references were followed
	targets  map[string]*Node // what a path came to
}

// link follows all extends, and then all references.
func (l *linker) link() *Node {
	root := l.root
	fields := make([]Field, len(root.Fields))
	for i, f := range root.Fields {
		fields[i] = Field{Key: f.Key, Source: f.Source, Value: l.extend(f.Key, f.Value, 0)}
	}
	root = newMapping(fields, root.Source)
	if p := root.fits(); p != nil {
		l.report(p)
		return nil
	}
	if !root.refs {
		return root
	}
	l.root = root
	for i, f := range fields {
		fields[i].Value = l.follow(f.Value, 0)
	}
	root = newMapping(fields, root.Source)
	if p := root.fits(); p != nil {
		l.report(p)
		return nil
	}
	return root
}

// extend is an entry with what it extends below it.
func (l *linker) extend(name string, n *Node, depth int) *Node {
	extends := n.Get("extends")
	if extends.IsNull() {
		return n
	}
	if done := l.extended[name]; done != nil {
		return done
	}
	var bases []*Node
	switch {
	case extends.Kind == Sequence:
		bases = extends.Items
	default:
		bases = []*Node{extends}
	}
	if slices.Contains(l.within, name) {
		l.report(problemAt(extends.Source, "extends", fmt.Sprintf("%s extends itself: %s", plan.Clip(name), plan.Clip(strings.Join(append(l.within, name), " → "))),
			"remove the extends that closes the circle"))
		return n
	}
	if depth >= maxExtends {
		l.report(problemAt(extends.Source, "extends", fmt.Sprintf("more than %d entries extend one another in a row", maxExtends), "extend the inner one directly"))
		return n
	}
	l.within = append(l.within, name)
	defer func() { l.within = l.within[:len(l.within)-1] }()
	var merged *Node
	missing := false
	for _, b := range bases {
		base, ok := b.Text()
		if !ok {
			l.report(problemAt(b.Source, "type", "extends names a job, or a list of jobs, and this is "+b.Shape(), ""))
			continue
		}
		found := l.root.Get(base)
		if found == nil || found.Kind != Mapping {
			missing = l.lost(b.Source, "extends", fmt.Sprintf("%s extends %s, which is not there", plan.Clip(name), plan.Clip(base)), base) || missing
			continue
		}
		merged = Merge(merged, l.extend(base, found, depth+1))
	}
	if merged != nil {
		n = Merge(merged, n)
	}
	if missing {
		c := *n
		c.missing = true
		n = &c
	}
	if n.size > maxNodes {
		l.report(n.fits())
		n = newMapping(nil, n.Source)
	}
	l.extended[name] = n
	return n
}

// lost reports that something is not there. When includes are missing it is
// probably theirs, which is no error of the user's; lost then is true. name is
// what was looked for at the top, "" for something further in.
func (l *linker) lost(at plan.Source, rule, message, name string) bool {
	if !l.gone {
		if len(l.problems) < maxProblems {
			l.report(problemAt(at, rule, message, l.near(name)))
		}
		return false
	}
	l.warn(at, rule, message+"; an include that could not be had may define it", "see the problem of the include")
	return true
}

func (l *linker) near(name string) string {
	if name == "" {
		return "check the name"
	}
	names := make([]string, len(l.root.Fields))
	for i := range l.root.Fields {
		names[i] = l.root.Fields[i].Key
	}
	if near := plan.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "check the name, and the includes"
}

// follow puts what references name in their places.
func (l *linker) follow(n *Node, depth int) *Node {
	if !n.refs {
		return n
	}
	if done := l.resolved[n]; done != nil {
		return done
	}
	var out *Node
	switch n.Kind {
	case Reference:
		return l.target(n, depth) // not kept: how deep it is matters
	case Mapping:
		fields := make([]Field, len(n.Fields))
		for i, f := range n.Fields {
			fields[i] = Field{Key: f.Key, Source: f.Source, Value: l.follow(f.Value, depth)}
		}
		out = newMapping(fields, n.Source)
	default:
		items := make([]*Node, len(n.Items))
		for i, item := range n.Items {
			items[i] = l.follow(item, depth)
		}
		out = newSequence(items, n.Source)
	}
	out.missing = out.missing || n.missing
	if out.size > maxNodes || out.depth > maxDepth {
		l.report(out.fits())
		out = &Node{Source: n.Source, size: 1, depth: 1}
	}
	if depth == 0 {
		l.resolved[n] = out
	}
	return out
}

func (l *linker) target(n *Node, depth int) *Node {
	nothing := &Node{Source: n.Source, size: 1, depth: 1}
	path := make([]string, len(n.Items))
	for i, item := range n.Items {
		text, ok := item.Text()
		if !ok {
			l.report(problemAt(item.Source, "reference", "the parts of a !reference are names, and this is "+item.Shape(), "write !reference [job, keyword]"))
			return nothing
		}
		path[i] = text
	}
	key := strings.Join(path, "\x00")
	name := strings.Join(path, ", ")
	if done := l.targets[key]; done != nil {
		return done
	}
	switch {
	case len(path) == 0:
		l.report(problemAt(n.Source, "reference", "the !reference names nothing", "write !reference [job, keyword]"))
		return nothing
	case slices.Contains(l.within, key):
		l.report(problemAt(n.Source, "reference", fmt.Sprintf("!reference [%s] leads back to itself", plan.Clip(name)), "remove the reference that closes the circle"))
		return nothing
	case depth >= maxReferences:
		l.report(problemAt(n.Source, "reference", fmt.Sprintf("more than %d references lead to one another in a row", maxReferences), "refer to the inner one directly"))
		return nothing
	}
	found := l.root
	for i, step := range path {
		next := found.Get(step)
		if k, err := strconv.Atoi(step); err == nil && found.Kind == Sequence && k >= 0 && k < len(found.Items) {
			next = found.Items[k]
		}
		if next == nil {
			if !l.lost(n.Source, "reference", fmt.Sprintf("!reference [%s] leads to nothing: there is no %s", plan.Clip(name), plan.Clip(strings.Join(path[:i+1], ", "))), top(path[:i+1])) {
				return nothing
			}
			nothing.missing = true
			return nothing
		}
		found = next
	}
	l.within = append(l.within, key)
	out := l.follow(found, depth+1)
	l.within = l.within[:len(l.within)-1]
	if depth == 0 {
		l.targets[key] = out
	}
	return out
}

// top is the name at the top that a path failed at, "" when it got further.
func top(path []string) string {
	if len(path) == 1 {
		return path[0]
	}
	return ""
}
