package template

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of one file.
const (
	maxFileSize = 1 << 20 // bytes
	maxDepth    = 100     // mappings and lists inside one another
	maxNodes    = 50_000  // values, those that aliases repeat counted each time
	maxProblems = 100     // reported for one pipeline; more help nobody
)

// Node is a value of a file, with its place.
type Node struct {
	Kind   Kind
	Text   string  // of a Scalar
	Null   bool    // of a Scalar that stands for nothing
	Items  []*Node // of a Sequence
	Fields []Field // of a Mapping, in file order
	Source plan.Source
	// Done says that the node came out of an expression: what looks like one in
	// it is text.
	Done bool
}

// Field is an entry of a mapping.
type Field struct {
	Key   *Node // a Scalar
	Value *Node
}

// Kind is the shape of a [Node].
type Kind uint8

// The shapes.
const (
	Scalar Kind = iota
	Sequence
	Mapping
)

// Get is the value of a key of a mapping; nil when there is none.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Fields {
		if n.Fields[i].Key.Text == key {
			return n.Fields[i].Value
		}
	}
	return nil
}

// IsNull reports whether nothing is written there.
func (n *Node) IsNull() bool { return n == nil || n.Kind == Scalar && (n.Null || n.Text == "") }

// String is the text of a scalar.
func (n *Node) String() string {
	if n == nil || n.Kind != Scalar {
		return ""
	}
	return n.Text
}

// Shape is the word for what a node is, in messages.
func (n *Node) Shape() string {
	switch {
	case n.Kind == Sequence:
		return "a list"
	case n.Kind == Mapping:
		return "a mapping"
	case n.Null:
		return "nothing"
	}
	return "a text"
}

// reader turns the text of one file into nodes.
type reader struct {
	file     string
	within   []*yaml.Node // anchors that the node read now stands inside of
	nodes    int
	problems []plan.Problem
}

func (r *reader) at(y *yaml.Node) plan.Source {
	return plan.Source{File: r.file, Line: y.Line, Col: y.Column}
}

func (r *reader) report(at plan.Source, rule, message, hint string) {
	r.problems = append(r.problems, plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

// Parse reads a YAML file into nodes and checks the form of every expression
// in it. The tree is nil when the text is not one YAML document within the
// limits. file is what people know the file by.
func Parse(file string, src []byte) (*Node, []plan.Problem) {
	r := &reader{file: file}
	n := r.parse(src)
	if n != nil {
		r.syntax(n)
	}
	return n, r.problems
}

func (r *reader) parse(src []byte) *Node {
	if len(src) > maxFileSize {
		r.report(plan.Source{File: r.file}, "limit", fmt.Sprintf("the file has more than %d bytes", maxFileSize), "move long scripts into files of their own")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.report(plan.Source{File: r.file, Line: 1, Col: 1}, "syntax", "the file is empty", "a pipeline needs at least steps:, jobs:, stages: or extends:")
		return nil
	case err != nil:
		r.yamlProblem(err)
		return nil
	}
	root := &doc
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return nil
		}
		root = root.Content[0]
	}
	n, ok := r.node(root, 0)
	if !ok {
		return nil
	}
	var more yaml.Node
	switch err := decoder.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.yamlProblem(err)
		return nil
	default:
		r.report(r.at(&more), "syntax", "a second YAML document begins here; the file may hold only one", "remove the --- line, or make two files")
		return nil
	}
	return n
}

func (r *reader) yamlProblem(err error) {
	at, text := plan.Source{File: r.file, Line: 1}, err.Error()
	if strings.Contains(text, "exceeded max depth") {
		r.report(plan.Source{File: r.file}, "limit", fmt.Sprintf("values are nested more than %d deep", maxDepth), "flatten the file")
		return
	}
	var bad *yaml.ParserError
	if errors.As(err, &bad) {
		if bad.Line > 0 {
			at.Line, at.Col = bad.Line, bad.Column
		}
		text = bad.Message
	}
	r.report(at, "syntax", "not valid YAML: "+plan.Clip(strings.TrimPrefix(text, "yaml: ")), "look at the indentation and quotes of this line and the one before")
}

// node copies one YAML node and all below it, following aliases. ok is false
// when something was wrong that has been reported.
func (r *reader) node(y *yaml.Node, depth int) (n *Node, ok bool) {
	if y.Kind == yaml.AliasNode {
		alias := y
		if y = y.Alias; slices.Contains(r.within, y) {
			r.report(r.at(alias), "syntax", fmt.Sprintf("the alias %s stands inside of what it repeats", plan.Clip(alias.Value)), "repeat something that is complete")
			return nil, false
		}
	}
	if y.Anchor != "" {
		r.within = append(r.within, y)
		defer func() { r.within = r.within[:len(r.within)-1] }()
	}
	if r.nodes++; r.nodes > maxNodes {
		r.report(r.at(y), "limit", fmt.Sprintf("the file has more than %d values, those repeated by aliases counted each time", maxNodes), "use fewer aliases, or split the file")
		return nil, false
	}
	if depth > maxDepth {
		r.report(r.at(y), "limit", fmt.Sprintf("values are nested more than %d deep", maxDepth), "flatten the file")
		return nil, false
	}
	n = &Node{Source: r.at(y)}
	switch y.Kind {
	case yaml.SequenceNode:
		n.Kind = Sequence
		for _, c := range y.Content {
			item, ok := r.node(c, depth+1)
			if !ok {
				return nil, false
			}
			n.Items = append(n.Items, item)
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		return n, r.fields(n, y, depth)
	default:
		n.Text = y.Value
		if y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			switch y.Value {
			case "", "~", "null", "Null", "NULL":
				n.Text, n.Null = "", true
			}
		}
	}
	return n, true
}

func (r *reader) fields(n *Node, y *yaml.Node, depth int) bool {
	first := map[string]*Node{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, ok := r.node(y.Content[i], depth+1)
		if !ok {
			return false
		}
		if key.Kind != Scalar {
			r.report(key.Source, "syntax", "a key must be a single value, not "+key.Shape(), "quote the key if it is text")
			return false
		}
		if key.Null {
			key.Text, key.Null = y.Content[i].Value, false
		}
		value, ok := r.node(y.Content[i+1], depth+1)
		if !ok {
			return false
		}
		if before := first[key.Text]; before != nil && !expression.HasExpr(key.Text) {
			r.report(key.Source, "key", fmt.Sprintf("'%s' is already defined, at line %d", plan.Clip(key.Text), before.Source.Line), "keep one of the two")
			continue
		}
		first[key.Text] = key
		n.Fields = append(n.Fields, Field{Key: key, Value: value})
	}
	return true
}

// syntax checks the form of all expressions: one that is wrong is wrong even
// where it would not be asked for its value.
func (r *reader) syntax(n *Node) {
	if len(r.problems) >= maxProblems {
		return
	}
	if n.Kind == Scalar && expression.HasExpr(n.Text) {
		if _, err := expression.ParseText(n.Text); err != nil {
			r.problems = append(r.problems, *Problem(n, err))
		}
	}
	for _, item := range n.Items {
		r.syntax(item)
	}
	for _, f := range n.Fields {
		if expression.HasExpr(f.Key.Text) {
			if _, err := readDirective(f.Key); err != nil {
				r.problems = append(r.problems, *Problem(f.Key, err))
			}
		}
		r.syntax(f.Value)
	}
}

// Problem tells of an expression in a scalar that is wrong.
func Problem(n *Node, err error) *plan.Problem {
	p := &plan.Problem{Source: n.Source, Severity: plan.Error, Rule: "expression", Message: err.Error() + ", in " + plan.Clip(n.Text)}
	var e *expression.Error
	if errors.As(err, &e) {
		p.Hint = e.Hint
	}
	return p
}
