package workflow

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// file is the reading of one file: its limits, and what was wrong with it.
type file struct {
	name     string
	limits   limits
	text     string // set when the YAML has been read
	nodes    int
	free     []Node       // allocated and not yet used
	within   []*yaml.Node // anchored values being copied, outermost first
	bytes    int
	problems []plan.Problem
	muted    bool // the one problem that says "and more" has been added
}

// limits are the bounds of one file; tests lower them.
type limits struct {
	size   int // bytes of text
	depth  int
	nodes  int
	result int // bytes of the tree, by GitHub's own measure
}

func githubLimits() limits {
	return limits{size: maxFileSize, depth: maxDepth, nodes: maxNodes, result: maxResult}
}

// maxResult bounds the tree itself: aliases can make it far larger than its
// text.
const maxResult = 10 << 20

// Read reads a workflow file; name is its slash path, used in problems. The
// workflow is nil only when the text is no YAML mapping at all, or beyond a limit.
// It can be run when no problem is an error.
func Read(name string, src []byte) (*Workflow, []plan.Problem) {
	return read(name, src, githubLimits())
}

func read(name string, src []byte, l limits) (*Workflow, []plan.Problem) {
	f := &file{name: name, limits: l}
	root := f.parse(src)
	if root == nil {
		return nil, f.problems
	}
	f.text = string(src)
	if !f.check(root, workflowGrammar()) || root.Kind != Mapping {
		return nil, f.problems
	}
	w := f.workflow(root)
	w.Text, w.size = f.text, f.bytes
	f.checkWorkflow(w)
	f.checkFilters(root.Get("on"))
	return w, f.sorted()
}

// ReadAction reads an action.yml, as [Read] reads a workflow.
func ReadAction(name string, src []byte) (*Action, []plan.Problem) {
	f := &file{name: name, limits: githubLimits()}
	root := f.parse(src)
	if root == nil {
		return nil, f.problems
	}
	f.text = string(src)
	if !f.check(root, actionGrammar()) || root.Kind != Mapping {
		return nil, f.problems
	}
	a := f.action(root)
	a.Text = f.text
	f.checkAction(a)
	return a, f.sorted()
}

// Rules are the stable names of problems, [plan.Problem.Rule].
const (
	ruleSyntax     = "syntax"     // not YAML, or not the YAML GitHub reads
	ruleLimit      = "limit"      // too large, too deep, too many
	ruleKey        = "key"        // an unknown or repeated key
	ruleMissing    = "missing"    // a key that must be there
	ruleValue      = "value"      // a value of the wrong type, or not one of those allowed
	ruleExpression = "expression" // syntax of an expression
	ruleContext    = "context"    // an expression, context or function not allowed in this place
	ruleID         = "id"
	ruleNeeds      = "needs"
	ruleMatrix     = "matrix"
	ruleUses       = "uses"
	ruleCron       = "cron"
	ruleCall       = "call" // of another workflow
)

// report adds a problem, up to maxProblems.
func (f *file) report(at plan.Source, rule, message, hint string) {
	f.add(plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

func (f *file) warn(at plan.Source, rule, message, hint string) {
	f.add(plan.Problem{Source: at, Severity: plan.Warning, Rule: rule, Message: message, Hint: hint})
}

// fault reports what does not fit a rule, as loudly as the rule says.
func (f *file) fault(r *rule, at plan.Source, name, message, hint string) {
	if r.mild {
		f.ignored(at, name, message, hint)
		return
	}
	f.report(at, name, message, hint)
}

func (f *file) ignored(at plan.Source, rule, message, hint string) {
	f.warn(at, rule, message+"; GitHub ignores it", hint)
}

func (f *file) add(p plan.Problem) {
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, p)
		return
	}
	if !f.muted {
		f.muted = true
		f.problems = append(f.problems, plan.Problem{
			Source: plan.Source{File: f.name}, Severity: plan.Error, Rule: ruleLimit,
			Message: fmt.Sprintf("the file has more than %d problems; the rest are not shown", maxProblems),
			Hint:    "mend the first ones and try again",
		})
	}
}

// sorted is the problems in the order of the file.
func (f *file) sorted() []plan.Problem {
	slices.SortStableFunc(f.problems, func(a, b plan.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	return f.problems
}

// check walks a tree and the rules for it together, reports what does not fit
// and makes strings of scalars where strings are wanted. It is false when the
// tree is too large to go on.
func (f *file) check(root *Node, r *rule) bool {
	// GitHub counts the name of the file as part of what was read.
	f.bytes = sizeOfString(f.name)
	f.value(root, r)
	if f.bytes > f.limits.result {
		f.report(plan.Source{File: f.name}, ruleLimit,
			fmt.Sprintf("the workflow needs more than %d bytes when read; aliases count each time they are used", f.limits.result),
			"split the file, or use fewer aliases")
		return false
	}
	return true
}

// GitHub's measure of a tree: so much for each value, and two bytes for each
// UTF-16 unit of text.
const (
	sizeOfValue  = 24
	sizeOfHeader = 26
)

func sizeOfString(s string) int {
	n := 0
	for _, r := range s {
		if n++; r > 0xFFFF {
			n++
		}
	}
	return sizeOfHeader + 2*n
}

func (f *file) value(n *Node, r *rule) {
	switch n.Kind {
	case Scalar:
		f.scalar(&n.Scalar, r)
	case Sequence:
		f.bytes += sizeOfValue
		if r.item == nil {
			f.wrongShape(n, r)
			return
		}
		for _, item := range n.Items {
			f.value(item, r.item)
		}
	case Mapping:
		f.bytes += sizeOfValue
		if r.shapes == nil {
			f.wrongShape(n, r)
			return
		}
		f.mapping(n, r)
	}
}

// mapping checks the keys of a mapping. Each key that is known rules out the
// shapes that do not know it; in the end one should be left.
func (f *file) mapping(n *Node, r *rule) {
	left := r.shapes
	seen := make(map[string]plan.Source, len(n.Fields))
	open := false    // a computed key may bring any other
	refused := false // a key was, and that says enough
	for i := range n.Fields {
		field := &n.Fields[i]
		k := &field.Key
		switch kind := f.template(k, r.scope); {
		case kind == broken:
			continue
		case kind != literal && r.scope == nil:
			f.notHere(*k)
			continue
		case kind != literal:
			open = true
			field.Insert = kind == insert
			f.bytes += sizeOfValue
			f.value(field.Value, r.computed())
			continue
		}
		k.Value = k.Text // a key is a string
		id := strings.ToLower(k.Text)
		if first, dup := seen[id]; dup {
			f.fault(r, k.Source, ruleKey, fmt.Sprintf("%q is already defined at line %d", plan.Clip(k.Text), first.Line),
				"keys must differ in more than upper and lower case; remove one")
			continue
		}
		seen[id] = k.Source
		value := f.key(*k, field.Value, r, &left)
		if value == nil {
			refused = true
			continue
		}
		f.bytes += sizeOfValue + sizeOfString(k.Text)
		f.value(field.Value, value)
	}
	switch {
	case len(left) == 1 && !open:
		f.required(n, r, left[0], seen)
	case len(left) > 1 && !refused:
		f.undecided(n, r, left)
	}
}

// computed is the rule for what stands under a computed key.
func (r *rule) computed() *rule {
	if !r.special {
		return r.shapes[0].others
	}
	return r.free
}

// key finds the rule for the value of a key; nil when the key was refused.
func (f *file) key(k Str, value *Node, r *rule, left *[]*shape) *rule {
	if k.Text == "<<" && k.Style == Plain && value.Kind != Scalar {
		f.report(k.Source, ruleKey, "merge keys (<<) are not supported by GitHub", "repeat the keys, or put an alias in the place of the whole mapping")
		return nil
	}
	if known := pick(left, k.Text); known != nil {
		return known
	}
	others := r.shapes[0].others
	switch {
	case others == nil:
		f.unknownKey(k, r, *left)
	case k.Text == "":
		f.fault(r, k.Source, ruleValue, "the key is empty", "give it a name")
	}
	return others
}

func (f *file) required(n *Node, r *rule, s *shape, seen map[string]plan.Source) {
	for _, k := range s.keys {
		if _, ok := seen[strings.ToLower(k.name)]; ok || !k.required {
			continue
		}
		message, hint := fmt.Sprintf("%q is missing here", k.name), "add "+k.name+":"
		if k.mild {
			f.warn(n.Source, ruleMissing, message, hint)
		} else {
			f.fault(r, n.Source, ruleMissing, message, hint)
		}
	}
}

// pick narrows the shapes a mapping may have to those that know the key.
func pick(shapes *[]*shape, key string) *rule {
	var found *rule
	all := true
	for _, s := range *shapes {
		if k := s.known[key]; k == nil {
			all = false
		} else if found == nil {
			found = k
		}
	}
	if found != nil && !all {
		var left []*shape
		for _, s := range *shapes {
			if s.known[key] != nil {
				left = append(left, s)
			}
		}
		*shapes = left
	}
	return found
}

func (f *file) unknownKey(k Str, r *rule, left []*shape) {
	// A key that another shape knows is not unknown: it does not go together
	// with the keys before it.
	for _, s := range r.shapes {
		if s.known[k.Text] != nil {
			f.fault(r, k.Source, ruleKey, fmt.Sprintf("%q does not go together with the keys before it", plan.Clip(k.Text)),
				"here are allowed: "+keyNames(left))
			return
		}
	}
	hint := "known keys: " + keyNames(left)
	if near := nearest(k.Text, left); near != "" {
		hint = "did you mean " + near + "?"
	}
	message := fmt.Sprintf("unknown key %q", plan.Clip(k.Text))
	if left[0].lax {
		f.ignored(k.Source, ruleKey, message, hint)
		return
	}
	f.fault(r, k.Source, ruleKey, message, hint)
}

func (f *file) undecided(n *Node, r *rule, left []*shape) {
	var decisive []string
	for _, s := range left {
		for _, k := range s.keys {
			if k.required && !slices.Contains(decisive, k.name) {
				decisive = append(decisive, k.name)
			}
		}
	}
	f.fault(r, n.Source, ruleMissing, "not enough is said here to know what is meant", "add one of: "+strings.Join(decisive, ", "))
}

func keyNames(shapes []*shape) string {
	var all []string
	for _, s := range shapes {
		for _, k := range s.keys {
			if !slices.Contains(all, k.name) {
				all = append(all, k.name)
			}
		}
	}
	return strings.Join(all, ", ")
}

func (f *file) wrongShape(n *Node, r *rule) {
	f.fault(r, n.Source, ruleValue, n.shapeName()+" is not allowed here", "give "+r.wants())
}

// scalar checks a scalar against its rule.
func (f *file) scalar(s *Str, r *rule) {
	switch f.template(s, r.scope) {
	case broken:
		return
	case insert:
		f.report(s.Source, ruleExpression, "${{ insert }} is no value", "it may only be a key, with an expression that comes to a mapping behind it")
		return
	case computed:
		f.bytes += sizeOfValue + sizeOfString(s.Text)
		switch {
		case r.scope == nil:
			f.notHere(*s)
		case r.condition && !s.wholeExpr():
			f.warn(s.Source, ruleExpression, "this condition always holds: text around ${{ }} makes it a string, and a string that is not empty is true",
				"put all of it inside one pair of braces, or leave the braces out")
		}
		return
	}
	switch s.Value.(type) {
	case nil:
		if r.null {
			f.bytes += sizeOfValue
			return
		}
	case bool:
		if r.boolean {
			f.bytes += sizeOfValue
			return
		}
	case float64:
		if r.number {
			f.bytes += sizeOfValue
			return
		}
	}
	f.bytes += sizeOfValue + sizeOfString(s.Text)
	for _, t := range r.texts {
		if t.fits(s.Text) {
			s.Value = s.Text
			if r.condition {
				f.condition(*s, r.scope)
			}
			return
		}
	}
	message := "a value is missing here"
	if s.Text != "" {
		message = fmt.Sprintf("unexpected value %q", plan.Clip(s.Text))
	}
	f.fault(r, s.Source, ruleValue, message, "give "+r.wants())
}

func (t text) fits(s string) bool {
	switch {
	case t.word != "":
		return s == t.word
	case t.filled:
		return s != ""
	}
	return true
}

// wants is what a rule allows, for a hint.
func (r *rule) wants() string {
	var all []string
	if r.boolean {
		all = append(all, "true or false")
	}
	if r.number {
		all = append(all, "a number")
	}
	var words []string
	for _, t := range r.texts {
		if t.word == "" {
			all = append(all, "a string")
			break
		}
		words = append(words, t.word)
	}
	const most = 12
	switch {
	case len(words) > most:
		all = append(all, strings.Join(words[:most], ", ")+", …")
	case len(words) > 0:
		all = append(all, strings.Join(words, ", "))
	}
	if r.item != nil {
		all = append(all, "a list")
	}
	if r.shapes != nil {
		all = append(all, "a mapping")
	}
	if r.null && len(all) == 0 {
		return "nothing after the colon"
	}
	return strings.Join(slices.Compact(all), " or ")
}

// nearest is the known key that differs least from what was written, when the
// difference is small enough for a slip.
func nearest(name string, shapes []*shape) string {
	best, least := "", len(name)/2+1
	for _, s := range shapes {
		for _, k := range s.keys {
			if d := distance(name, k.name, least); d < least {
				best, least = k.name, d
			}
		}
	}
	return best
}

// distance counts the single-byte edits between two names, up to limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
