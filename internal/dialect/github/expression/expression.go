// Package expression is the expression language of GitHub Actions: what stands
// between ${{ and }} in a workflow, and in an if:.
//
// The language is small and looks like JavaScript, but has rules of its own:
// names and string comparison ignore case, values of different kinds are
// compared as numbers, && and || return one of their operands, a missing
// property is null, and .* turns a collection into a list whose items the rest
// of the path is then applied to. This package is the one place that knows
// these rules. It knows no workflow: what a name means comes from a [Scope].
//
// Text goes through three stages, each with its own questions:
//
//   - [Parse] reads one expression and [ParseTemplate] reads text with holes
//     in it. Both need only the text. An [Expression] never changes and may be
//     shared.
//   - [Expression.Check], [Expression.Calls] and [Expression.Paths] ask about
//     the text without evaluating it: may this context be used here, does it
//     call a status function, which step's outputs does it read.
//   - [Expression.Eval] computes the value against a [Scope].
//
// Values are plain Go: nil, bool, float64, string, [Array] and [*Object]. Maps
// of Go (map[string]any) are read as objects with sorted keys.
//
// Everything here may come from a stranger's pull request. Length, depth,
// memory and work all have limits, named below, and reaching one is an
// ordinary [*Error].
package expression

import (
	"fmt"
	"slices"
	"strings"
)

// The limits of the language. The first four are GitHub's own, so that an
// expression that works here works there.
const (
	// MaxLength of an expression in UTF-16 code units; also of the whole of a
	// template that mixes text and holes.
	MaxLength = 21000
	// MaxDepth of the tree of an expression. Parentheses do not count, and a
	// chain of && or || counts once.
	MaxDepth = 50
	// ConditionMemory is how many bytes of values [Expression.Eval] may hold
	// at a time when [Scope.Memory] is zero.
	ConditionMemory = 1 << 20
	// TemplateMemory is the same for [Template.Eval].
	TemplateMemory = 10 << 20

	// maxNesting of parentheses, brackets and calls while parsing.
	maxNesting = 1000
	// maxWork bounds what one evaluation may read and write in total, in
	// bytes: values that are thrown away again cost no memory, but time.
	maxWork = 1 << 27
	// maxHoles of a template: the number of arguments that format takes.
	maxHoles = 254
)

// ErrorKind says at which stage an expression failed. The values are those of
// GitHub's own test cases.
type ErrorKind string

// The kinds of errors.
const (
	Lexical    ErrorKind = "lexing"     // not a word of the language
	Syntax     ErrorKind = "parsing"    // words in the wrong order, unknown names, wrong argument counts, too deep
	Evaluation ErrorKind = "evaluation" // well formed, but this value cannot be computed
)

// Error is what is wrong with an expression.
type Error struct {
	Kind    ErrorKind
	Offset  int    // in bytes, into the text that was parsed
	Message string // for the author of the text: what is wrong
	Hint    string // what to do about it; may be empty

	cause error // of a function that failed
}

// Error is the message followed by the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + ": " + e.Hint
}

// Unwrap is the error of the [Func] that failed, if one did.
func (e *Error) Unwrap() error { return e.cause }

// shift is the same error, seen from a text that has the expression at offset.
func (e *Error) shift(offset int) *Error {
	moved := *e
	moved.Offset += offset
	return &moved
}

// Expression is one parsed expression. It never changes and is safe for
// concurrent use.
type Expression struct {
	text  string
	root  *Node // nil when the text is blank
	names []*Node
	calls []*Node
}

// Parse reads one expression, without ${{ and }} around it. Blank text is an
// expression too: its value is null. The error is an [*Error].
//
// Parse does not know which names mean something; see [Expression.Check].
func Parse(text string) (*Expression, error) {
	tokens, lexErr := lex(text)
	if lexErr != nil {
		return nil, lexErr
	}
	p := &parser{tokens: tokens}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Expression{text: text, root: root, names: p.names, calls: p.calls}, nil
}

// String is the text that was parsed.
func (e *Expression) String() string { return e.text }

// Op is what a [Node] does.
type Op int

// The operations.
const (
	OpLiteral  Op = iota // Value
	OpName               // Name: a context
	OpCall               // Name and Args
	OpIndex              // Args[0] indexed by Args[1]; a.b is a['b']
	OpWildcard           // the * of a.* and a[*]; only as Args[1] of OpIndex
	OpNot                // !Args[0]
	OpAnd                // Args, two or more
	OpOr                 // Args, two or more
	OpEqual
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
)

// Node is a part of a parsed expression. It must not be changed.
type Node struct {
	Op     Op
	Offset int     // in bytes: of the word or operator that makes the node
	Name   string  // of OpName and OpCall, as written
	Value  any     // of OpLiteral: nil, bool, float64 or string
	Args   []*Node // operands

	lower   string   // Name in lower case
	depth   int      // of the tree below and including this node
	slot    int      // position among the names or calls of the expression
	builtin *builtin // of OpCall, when the language itself has the function
}

// Root is the node that is the whole; nil when the text is blank.
func (e *Expression) Root() *Node { return e.root }

// Walk visits every node, a node before its operands and operands in order,
// until visit returns false, which leaves out the operands of that node.
func (e *Expression) Walk(visit func(*Node) bool) {
	if e.root != nil {
		walk(e.root, visit)
	}
}

func walk(n *Node, visit func(*Node) bool) {
	if !visit(n) {
		return
	}
	for _, a := range n.Args {
		walk(a, visit)
	}
}

// Contexts are the names of the contexts used, in lower case, each once, in
// order of appearance.
func (e *Expression) Contexts() []string {
	var names []string
	for _, n := range e.names {
		if !slices.Contains(names, n.lower) {
			names = append(names, n.lower)
		}
	}
	return names
}

// Calls reports whether the expression calls any of the functions, whether or
// not evaluation would reach the call. Case is ignored.
func (e *Expression) Calls(names ...string) bool {
	for _, n := range e.calls {
		for _, name := range names {
			if strings.EqualFold(n.Name, name) {
				return true
			}
		}
	}
	return false
}

// Path is one chain of properties read from a context, such as
// steps.build.outputs.version or needs['a'].*.b.
type Path struct {
	Offset  int    // in bytes: of the context's name
	Context string // in lower case
	Parts   []Part
}

// Part is one step of a [Path]. At most one of Wildcard and Computed is set.
type Part struct {
	Offset   int    // in bytes
	Name     string // of a property, as written
	Wildcard bool   // .* or [*]
	Computed bool   // an index that only evaluation knows, or a number
}

// String is the path as it would be written, with ? for what is computed.
func (p Path) String() string {
	var b strings.Builder
	b.WriteString(p.Context)
	for _, part := range p.Parts {
		b.WriteByte('.')
		switch {
		case part.Wildcard:
			b.WriteByte('*')
		case part.Computed:
			b.WriteByte('?')
		default:
			b.WriteString(part.Name)
		}
	}
	return b.String()
}

// Paths are the chains of properties that are read, longest form only and in
// order of appearance: "steps.a.outputs[env.x]" reads steps.a.outputs.? and
// env.x.
func (e *Expression) Paths() []Path {
	var paths []Path
	var visit func(n *Node)
	visit = func(n *Node) {
		if p, computed, ok := chain(n); ok {
			paths = append(paths, p)
			for _, c := range computed {
				visit(c)
			}
			return
		}
		for _, a := range n.Args {
			visit(a)
		}
	}
	if e.root != nil {
		visit(e.root)
	}
	return paths
}

// chain reads a run of indexes that begins at a context. The expressions
// inside computed indexes are returned to be looked at on their own.
func chain(n *Node) (p Path, computed []*Node, ok bool) {
	if n.Op == OpName {
		return Path{Offset: n.Offset, Context: n.lower}, nil, true
	}
	if n.Op != OpIndex {
		return Path{}, nil, false
	}
	p, computed, ok = chain(n.Args[0])
	if !ok {
		return Path{}, nil, false
	}
	index := n.Args[1]
	part := Part{Offset: index.Offset}
	name, isName := index.Value.(string)
	switch {
	case index.Op == OpWildcard:
		part.Wildcard = true
	case index.Op == OpLiteral && isName:
		part.Name = name
	default:
		part.Computed = true
		computed = append(computed, index)
	}
	p.Parts = append(p.Parts, part)
	return p, computed, true
}

func errorAt(kind ErrorKind, offset int, format string, args ...any) *Error {
	return &Error{Kind: kind, Offset: offset, Message: fmt.Sprintf(format, args...)}
}
