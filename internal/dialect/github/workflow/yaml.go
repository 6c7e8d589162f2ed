package workflow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what is read. The first three are GitHub's own.
const (
	maxFileSize = 1 << 20 // bytes
	maxDepth    = 50      // mappings and lists inside one another
	maxNodes    = 50_000  // counted again each time an alias repeats them
	maxProblems = 100     // reported for one file; more help nobody
)

// nodesAtOnce is how many nodes are allocated together.
const nodesAtOnce = 64

// Node is a value of any shape, with its place.
type Node struct {
	Kind   NodeKind
	Scalar Str     // of a Scalar
	Items  []*Node // of a Sequence
	Fields []Field // of a Mapping, in file order
	Source plan.Source
}

// NodeKind is the shape of a [Node].
type NodeKind uint8

// The shapes.
const (
	Scalar NodeKind = iota
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

// IsNull reports whether the node is a scalar that stands for nothing.
func (n *Node) IsNull() bool { return n.Kind == Scalar && n.Scalar.Value == nil }

// HasExpr reports whether an expression stands anywhere inside, keys included.
func (n *Node) HasExpr() bool {
	if n.Kind == Scalar {
		return n.Scalar.HasExpr()
	}
	for _, item := range n.Items {
		if item.HasExpr() {
			return true
		}
	}
	for _, f := range n.Fields {
		if f.Insert || f.Key.HasExpr() || f.Value.HasExpr() {
			return true
		}
	}
	return false
}

// shapeName is the word for a node's shape in messages.
func (n *Node) shapeName() string {
	switch n.Kind {
	case Sequence:
		return "a list"
	case Mapping:
		return "a mapping"
	}
	switch n.Scalar.Value.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	}
	return "a string"
}

// parse reads YAML into a node tree. The tree is nil when the text is not one
// YAML document within the limits.
func (f *file) parse(src []byte) *Node {
	if len(src) > f.limits.size {
		f.report(plan.Source{File: f.name}, "limit",
			fmt.Sprintf("the file has %d bytes; GitHub reads at most %d", len(src), f.limits.size),
			"split the workflow, or move long scripts into files of their own")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		f.report(plan.Source{File: f.name, Line: 1, Col: 1}, "syntax",
			"the file is empty", "a workflow needs at least on: and jobs:")
		return nil
	case err != nil:
		f.yamlProblem(err)
		return nil
	}
	root := &doc
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return nil
		}
		root = root.Content[0]
	}
	n, ok := f.node(root, 0)
	if !ok {
		return nil
	}
	var more yaml.Node
	switch err := decoder.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.yamlProblem(err)
		return nil
	default:
		f.report(f.at(more.Line, more.Column), "syntax",
			"a second YAML document begins here; the file may hold only one", "remove the --- line, or make two files")
		return nil
	}
	return n
}

func (f *file) yamlProblem(err error) {
	at := plan.Source{File: f.name, Line: 1}
	text := err.Error()
	if strings.Contains(text, "exceeded max depth") {
		f.report(plan.Source{File: f.name}, "limit", fmt.Sprintf("values are nested more than %d deep", maxDepth), "flatten the file")
		return
	}
	var bad *yaml.ParserError
	if errors.As(err, &bad) {
		if bad.Line > 0 {
			at = f.at(bad.Line, bad.Column)
		}
		text = bad.Message
	}
	f.report(at, "syntax", "not valid YAML: "+plan.Clip(strings.TrimPrefix(text, "yaml: ")),
		"look at the indentation and quotes of this line and the one before")
}

// node copies one YAML node and all below it, following aliases. ok is false
// when a limit was exceeded, which has been reported.
func (f *file) node(y *yaml.Node, depth int) (n *Node, ok bool) {
	if y.Kind == yaml.AliasNode {
		alias := y
		if y = y.Alias; slices.Contains(f.within, y) {
			f.report(f.at(alias.Line, alias.Column), ruleSyntax,
				fmt.Sprintf("the alias %s stands inside of what it repeats", plan.Clip(alias.Value)), "repeat something that is complete")
			return nil, false
		}
	}
	if y.Anchor != "" {
		f.within = append(f.within, y)
		defer func() { f.within = f.within[:len(f.within)-1] }()
	}
	if f.nodes++; f.nodes > f.limits.nodes {
		f.report(f.at(y.Line, y.Column), "limit",
			fmt.Sprintf("the file has more than %d values, those repeated by aliases counted each time", f.limits.nodes),
			"use fewer aliases, or split the file")
		return nil, false
	}
	if y.Kind != yaml.ScalarNode {
		if depth++; depth > f.limits.depth {
			f.report(plan.Source{File: f.name}, "limit",
				fmt.Sprintf("values are nested more than %d deep, at line %d", f.limits.depth, y.Line), "flatten the file")
			return nil, false
		}
	}
	if len(f.free) == 0 {
		f.free = make([]Node, nodesAtOnce)
	}
	n, f.free = &f.free[0], f.free[1:]
	n.Source = f.at(y.Line, y.Column)
	switch y.Kind {
	case yaml.SequenceNode:
		n.Kind = Sequence
		n.Items = make([]*Node, 0, len(y.Content))
		for _, c := range y.Content {
			item, ok := f.node(c, depth)
			if !ok {
				return nil, false
			}
			n.Items = append(n.Items, item)
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		n.Fields = make([]Field, 0, len(y.Content)/2)
		for i := 0; i+1 < len(y.Content); i += 2 {
			key, ok := f.node(y.Content[i], depth)
			if !ok {
				return nil, false
			}
			if key.Kind != Scalar {
				f.report(key.Source, "syntax", "a key must be a single value, not "+key.shapeName(), "quote the key if it is text")
				return nil, false
			}
			value, ok := f.node(y.Content[i+1], depth)
			if !ok {
				return nil, false
			}
			n.Fields = append(n.Fields, Field{Key: key.Scalar, Value: value})
		}
	default:
		s, problem := scalar(y)
		if problem != "" {
			f.report(n.Source, "syntax", problem, "remove the tag, or quote the value to make it a string")
			return nil, false
		}
		s.Source = n.Source
		n.Scalar = s
	}
	return n, true
}

func (f *file) at(line, col int) plan.Source {
	return plan.Source{File: f.name, Line: line, Col: col}
}

// scalar types a scalar by the YAML 1.2 core schema, with GitHub's choices where
// the schema leaves one. problem says why an explicit tag does not fit.
func scalar(y *yaml.Node) (s Str, problem string) {
	switch {
	case y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		s.Style = Quoted
	case y.Style&yaml.LiteralStyle != 0:
		s.Style = Literal
	case y.Style&yaml.FoldedStyle != 0:
		s.Style = Folded
	}
	if y.Style&yaml.TaggedStyle == 0 {
		if s.Style != Plain {
			s.Text, s.Value = y.Value, y.Value
			return s, ""
		}
		return plain(y.Value)
	}
	if y.Tag == "!!str" {
		s.Text, s.Value = y.Value, y.Value
		return s, ""
	}
	var fits bool
	if s.Style == Plain {
		if s, problem = plain(y.Value); problem != "" {
			return s, problem
		}
		switch y.Tag {
		case "!!null":
			fits = s.Value == nil
		case "!!bool":
			_, fits = s.Value.(bool)
		case "!!int":
			_, fits = integer(y.Value)
		case "!!float":
			_, fits = float(y.Value)
		}
	}
	switch y.Tag {
	case "!!null", "!!bool", "!!int", "!!float":
		if !fits {
			return s, fmt.Sprintf("%q is not what its tag %s says", plan.Clip(y.Value), y.Tag)
		}
		return s, ""
	}
	return s, fmt.Sprintf("the tag %s is not supported", plan.Clip(y.Tag))
}

// plain types an untagged plain scalar.
func plain(text string) (s Str, problem string) {
	s.Text, s.Value = text, text
	switch text {
	case "", "~", "null", "Null", "NULL":
		return Str{}, ""
	case "true", "True", "TRUE":
		return Str{Text: "true", Value: true}, ""
	case "false", "False", "FALSE":
		return Str{Text: "false", Value: false}, ""
	}
	if c := text[0]; (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' {
		return s, ""
	}
	v, ok := integer(text)
	if !ok {
		v, ok = float(text)
	}
	if !ok {
		return s, ""
	}
	if math.IsNaN(v) && text[0] != '.' {
		return s, fmt.Sprintf("the number %s is too large", plan.Clip(text))
	}
	return Str{Text: formatNumber(v), Value: v}, ""
}

// integer reads a core schema integer: decimal (leading zeros do not make it
// octal), 0o17 or 0xff. A hexadecimal or octal number of more than 32 bits is
// NaN: GitHub refuses it.
func integer(s string) (v float64, ok bool) {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'o') {
		base := 16
		if s[1] == 'o' {
			base = 8
		}
		if !digits(s[2:], base) {
			return 0, false
		}
		u, err := strconv.ParseUint(s[2:], base, 32)
		if err != nil {
			return math.NaN(), true
		}
		return float64(int32(u)), true
	}
	body := strings.TrimPrefix(strings.TrimPrefix(s, "+"), "-")
	if len(s)-len(body) > 1 || !digits(body, 10) {
		return 0, false
	}
	v, _ = strconv.ParseFloat(s, 64) // out of range rounds to infinity
	return v, true
}

// float reads a core schema float.
func float(s string) (v float64, ok bool) {
	switch s {
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1), true
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1), true
	case ".nan", ".NaN", ".NAN":
		return math.NaN(), true
	}
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	run := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	whole, fraction := run(), false
	if i < len(s) && s[i] == '.' {
		i++
		fraction = run()
	}
	if !whole && !fraction {
		return 0, false
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			i++
		}
		if !run() {
			return 0, false
		}
	}
	if i != len(s) {
		return 0, false
	}
	v, _ = strconv.ParseFloat(s, 64)
	return v, true
}

func digits(s string, base int) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '7', base >= 10 && (c == '8' || c == '9'):
		case base == 16 && (c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'):
		default:
			return false
		}
	}
	return true
}

// formatNumber writes a number as GitHub does where a string is wanted: fifteen
// significant digits.
func formatNumber(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case math.IsNaN(v):
		return "NaN"
	case v == 0:
		return "0" // also for -0
	}
	return strconv.FormatFloat(v, 'G', 15, 64)
}
