// Package document reads the files of GitLab CI/CD as far as their own
// language goes: YAML with anchors and !reference, inputs, includes, extends.
//
//	file ─► Parse ─► inputs put in ─► includes merged under it ─► !reference, extends ─► Document
//
// What comes out is one tree, in which every value still knows the file, the
// line and the column that it came from. What the keys mean is not known here.
//
// Nodes are never changed once they were made, and are shared freely: an alias
// is the node it stands for. How many values a tree holds, those that aliases
// repeat counted each time, is kept in each node and bounded, so that a small
// file cannot stand for a huge one.
package document

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what is read.
const (
	maxFileSize = 2 << 20 // bytes
	maxDepth    = 100     // mappings and lists inside one another
	maxNodes    = 500_000 // values of a tree, those that aliases repeat counted each time
	maxProblems = 100     // more help nobody
)

// Kind is the shape of a [Node].
type Kind uint8

// The shapes.
const (
	Scalar Kind = iota
	Sequence
	Mapping
	// Reference is a !reference that has not been followed; Items are its path.
	Reference
)

// Node is a value with its place.
type Node struct {
	Kind Kind
	// Value of a Scalar is nil, bool, int64, float64 or string.
	Value  any
	Items  []*Node
	Fields []Field // in file order, each key once
	Source plan.Source

	size  int  // values in it, itself included
	depth int  // levels below it, itself included
	refs  bool // a Reference is somewhere inside
	calls bool // $[[ is somewhere inside
	// missing says that something in it was to come from an include that is
	// not there.
	missing bool
}

// Field is an entry of a mapping.
type Field struct {
	Key    string
	Source plan.Source // of the key
	Value  *Node
}

// Get is the value of a key; nil when there is none, or n is no mapping.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Fields {
		if n.Fields[i].Key == key {
			return n.Fields[i].Value
		}
	}
	return nil
}

// IsNull reports whether the node stands for nothing.
func (n *Node) IsNull() bool { return n == nil || n.Kind == Scalar && n.Value == nil }

// Missing reports whether something in the node was to come from an include
// that is not there.
func (n *Node) Missing() bool { return n != nil && n.missing }

// Text is a scalar as text: what a string says, and numbers and booleans as
// Ruby writes them. ok is false for nothing and for what is no scalar.
func (n *Node) Text() (text string, ok bool) {
	if n == nil || n.Kind != Scalar {
		return "", false
	}
	switch v := n.Value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return formatFloat(v), true
	}
	return "", false
}

// Shape is the word for what a node is, in messages.
func (n *Node) Shape() string {
	switch {
	case n == nil:
		return "nothing"
	case n.Kind == Sequence:
		return "a list"
	case n.Kind == Mapping:
		return "a mapping"
	case n.Kind == Reference:
		return "a !reference"
	}
	switch n.Value.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	}
	return "a string"
}

// formatFloat writes a number as Ruby does.
func formatFloat(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case math.IsNaN(v):
		return "NaN"
	}
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		text := strconv.FormatFloat(v, 'e', -1, 64)
		if mantissa, exponent, _ := strings.Cut(text, "e"); !strings.Contains(mantissa, ".") {
			text = mantissa + ".0e" + exponent
		}
		return text
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// NewText is a string that stands at a place.
func NewText(text string, at plan.Source) *Node {
	return &Node{Value: text, Source: at, size: 1, depth: 1, calls: strings.Contains(text, blockStart)}
}

// newSequence and newMapping keep the books of a node.
func newSequence(items []*Node, at plan.Source) *Node {
	n := &Node{Kind: Sequence, Items: items, Source: at}
	n.count()
	return n
}

// NewMapping is a mapping that stands at a place.
func NewMapping(fields []Field, at plan.Source) *Node { return newMapping(fields, at) }

func newMapping(fields []Field, at plan.Source) *Node {
	n := &Node{Kind: Mapping, Fields: fields, Source: at}
	n.count()
	return n
}

func (n *Node) count() {
	n.size, n.depth = 1, 0
	add := func(c *Node) {
		n.size = min(n.size+c.size, math.MaxInt32)
		n.depth = max(n.depth, c.depth)
		n.refs = n.refs || c.refs
		n.calls = n.calls || c.calls
		n.missing = n.missing || c.missing
	}
	for _, c := range n.Items {
		add(c)
	}
	for i := range n.Fields {
		add(n.Fields[i].Value)
		n.calls = n.calls || strings.Contains(n.Fields[i].Key, blockStart)
	}
	n.depth++
	n.refs = n.refs || n.Kind == Reference
}

// fits is the problem with a tree that has grown too large.
func (n *Node) fits() *plan.Problem {
	switch {
	case n.size > maxNodes:
		return problemAt(n.Source, "limit", fmt.Sprintf("there are more than %d values here, those that aliases and extends repeat counted each time", maxNodes),
			"use fewer aliases, or split the pipeline")
	case n.depth > maxDepth:
		return problemAt(n.Source, "limit", fmt.Sprintf("values are nested more than %d deep here", maxDepth), "flatten the file")
	}
	return nil
}

// reader reads one file.
type reader struct {
	file     string
	anchors  map[*yaml.Node]*Node // what aliases have asked for
	within   []*yaml.Node         // being read: an alias to one of them would have no end
	problems []plan.Problem
}

func (r *reader) at(y *yaml.Node) plan.Source {
	return plan.Source{File: r.file, Line: y.Line, Col: y.Column}
}

func (r *reader) report(p *plan.Problem) {
	if p != nil && len(r.problems) < maxProblems {
		r.problems = append(r.problems, *p)
	}
}

func (r *reader) warn(at plan.Source, rule, message, hint string) {
	p := problemAt(at, rule, message, hint)
	p.Severity = plan.Warning
	r.report(p)
}

// problemAt is an error in a file of the user's.
func problemAt(at plan.Source, rule, message, hint string) *plan.Problem {
	return &plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
}

// Parse reads a file: a mapping, and before it, when it has two documents, a
// header. Both are nil where the file cannot be read; an empty file is an empty
// mapping.
func Parse(file string, src []byte) (header, body *Node, problems []plan.Problem) {
	r := &reader{file: file, anchors: map[*yaml.Node]*Node{}}
	docs := r.documents(src)
	if plan.Errors(r.problems) {
		return nil, nil, r.problems
	}
	switch {
	case len(docs) == 0:
		body = newMapping(nil, plan.Source{File: file, Line: 1, Col: 1})
	case len(docs) > 1 && docs[0].Get("spec") != nil:
		header, body = docs[0], docs[1]
	case docs[0].Get("spec") != nil && len(docs[0].Fields) == 1:
		header, body = docs[0], newMapping(nil, docs[0].Source)
	default:
		body = docs[0]
	}
	if body.IsNull() {
		body = newMapping(nil, body.Source)
	}
	if body.Kind != Mapping {
		r.report(problemAt(body.Source, "syntax", "the file holds "+body.Shape()+" and must be a mapping of keywords and jobs",
			"write name: and what belongs to it indented below"))
		return nil, nil, r.problems
	}
	return header, body, r.problems
}

// documents reads at most two.
func (r *reader) documents(src []byte) (docs []*Node) {
	if len(src) > maxFileSize {
		r.report(problemAt(plan.Source{File: r.file}, "limit", fmt.Sprintf("the file has %d bytes; at most %d are read", len(src), maxFileSize),
			"split it with include:"))
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))))
	for len(docs) < 3 {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.yamlProblem(err)
			return nil
		}
		root := &doc
		if root.Kind == yaml.DocumentNode {
			if len(root.Content) == 0 {
				continue
			}
			root = root.Content[0]
		}
		n := r.node(root, 1)
		if n == nil {
			return nil
		}
		r.report(n.fits())
		docs = append(docs, n)
	}
	if len(docs) > 2 || len(docs) == 2 && docs[0].Get("spec") == nil {
		more := docs[len(docs)-1]
		r.warn(more.Source, "syntax", "another YAML document begins here, and is not read: only a header with spec: may stand before the pipeline",
			"remove the --- line, or make a file of its own")
	}
	return docs
}

func (r *reader) yamlProblem(err error) {
	at := plan.Source{File: r.file, Line: 1}
	text := err.Error()
	if strings.Contains(text, "exceeded max depth") {
		r.report(problemAt(plan.Source{File: r.file}, "limit", fmt.Sprintf("values are nested more than %d deep", maxDepth), "flatten the file"))
		return
	}
	if bad, ok := errors.AsType[*yaml.ParserError](err); ok {
		if bad.Line > 0 {
			at = plan.Source{File: r.file, Line: bad.Line, Col: bad.Column}
		}
		text = bad.Message
	}
	r.report(problemAt(at, "syntax", "not valid YAML: "+plan.Clip(strings.TrimPrefix(text, "yaml: ")),
		"look at the indentation and quotes of this line and the one before"))
}

// node copies a YAML node, or gives the one that an alias stands for. It is nil
// when a limit was exceeded, which has been reported.
func (r *reader) node(y *yaml.Node, depth int) *Node {
	if depth > maxDepth {
		r.report(problemAt(plan.Source{File: r.file}, "limit", fmt.Sprintf("values are nested more than %d deep, at line %d", maxDepth, y.Line), "flatten the file"))
		return nil
	}
	if y.Kind == yaml.AliasNode {
		alias := y
		if y = y.Alias; slices.Contains(r.within, y) {
			r.report(problemAt(r.at(alias), "syntax", fmt.Sprintf("the alias %s stands inside of what it repeats", plan.Clip(alias.Value)), "repeat something that is complete"))
			return nil
		}
		if n := r.anchors[y]; n != nil {
			return n
		}
	}
	if y.Anchor != "" {
		r.within = append(r.within, y)
		defer func() { r.within = r.within[:len(r.within)-1] }()
	}
	n := r.content(y, depth)
	if n == nil {
		return nil
	}
	if n.size > maxNodes {
		r.report(n.fits())
		return nil
	}
	if y.Anchor != "" {
		r.anchors[y] = n
	}
	return n
}

func (r *reader) content(y *yaml.Node, depth int) *Node {
	at := r.at(y)
	switch y.Kind {
	case yaml.SequenceNode:
		items := make([]*Node, 0, len(y.Content))
		for _, c := range y.Content {
			item := r.node(c, depth+1)
			if item == nil {
				return nil
			}
			items = append(items, item)
		}
		n := newSequence(items, at)
		if y.Tag == "!reference" {
			n.Kind, n.refs = Reference, true
			return n
		}
		return n
	case yaml.MappingNode:
		return r.mapping(y, at, depth)
	}
	value, problem := scalar(y)
	if problem != "" {
		r.report(problemAt(at, "syntax", problem, "remove the tag, or quote the value to make it a string"))
		return nil
	}
	n := &Node{Value: value, Source: at, size: 1, depth: 1}
	if s, ok := value.(string); ok {
		n.calls = strings.Contains(s, blockStart)
	}
	return n
}

// mapping reads fields. As in Ruby's YAML, a key that is given twice counts
// as it was given last, and what << brings overrides the keys before it.
func (r *reader) mapping(y *yaml.Node, at plan.Source, depth int) *Node {
	fields := make([]Field, 0, len(y.Content)/2)
	index := make(map[string]int, len(y.Content)/2)
	own := make(map[string]int, len(y.Content)/2) // lines of the keys that did not come by <<
	set := func(f Field) {
		i, have := index[f.Key]
		if !have {
			index[f.Key] = len(fields)
			fields = append(fields, f)
			return
		}
		fields[i] = f
	}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := r.node(y.Content[i], depth+1)
		if key == nil {
			return nil
		}
		if key.Kind != Scalar {
			r.report(problemAt(key.Source, "syntax", "a key must be a single value, not "+key.Shape(), "quote the key if it is text"))
			return nil
		}
		// A key is what stands there: a variable may be called NO.
		name := y.Content[i].Value
		if text, ok := key.Value.(string); ok {
			name = text // of an alias
		}
		value := r.node(y.Content[i+1], depth+1)
		if value == nil {
			return nil
		}
		if name == "<<" && y.Content[i].Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
			if !r.merge(value, set) {
				return nil
			}
			continue
		}
		if line, again := own[name]; again {
			r.warn(key.Source, "duplicate", fmt.Sprintf("the key %s stands here a second time; what line %d says of it does not count", plan.Clip(name), line), "remove one of the two")
		}
		own[name] = key.Source.Line
		set(Field{Key: name, Source: key.Source, Value: value})
	}
	return newMapping(fields, at)
}

// merge gives the fields that << brings: of a list, the first wins.
func (r *reader) merge(value *Node, set func(Field)) bool {
	switch {
	case value.Kind == Mapping:
		for _, f := range value.Fields {
			set(f)
		}
		return true
	case value.Kind == Sequence:
		for _, item := range slices.Backward(value.Items) {
			if item.Kind != Mapping {
				break
			}
			for _, f := range item.Fields {
				set(f)
			}
		}
		return true
	case value.IsNull():
		return true
	}
	r.report(problemAt(value.Source, "syntax", "<< merges a mapping, and this is "+value.Shape(), "name an alias of a mapping"))
	return false
}

// The numbers of YAML 1.1, which Ruby reads.
var (
	integerForm = regexp.MustCompile(`^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?0o[0-7]+|[-+]?(?:0|[1-9](?:[0-9]|,[0-9]|_[0-9])*)|[-+]?0x[0-9a-fA-F_]+)$`)
	floatForm   = regexp.MustCompile(`^[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][+-][0-9]+)?$|^[-+]?[0-9][0-9_,]*(?:[eE][+-]?[0-9]+)$`)
	sixtyForm   = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}$`)
)

// scalar types a scalar as Ruby's reader of YAML 1.1 does. problem says why an
// explicit tag does not fit.
func scalar(y *yaml.Node) (value any, problem string) {
	plain := y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if y.Style&yaml.TaggedStyle == 0 {
		if !plain {
			return y.Value, ""
		}
		return plainScalar(y.Value), ""
	}
	switch y.Tag {
	case "!!str", "!":
		return y.Value, ""
	case "!!null", "!!bool", "!!int", "!!float", "!!timestamp", "!!binary":
		return plainScalar(y.Value), ""
	}
	return nil, fmt.Sprintf("the tag %s is not supported", plan.Clip(y.Tag))
}

func plainScalar(text string) any {
	if text == "" {
		return nil
	}
	switch c := text[0]; {
	case c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.':
		return number(text)
	}
	switch strings.ToLower(text) {
	case "~", "null":
		return nil
	case "yes", "true", "on":
		return true
	case "no", "false", "off":
		return false
	}
	return text
}

func number(text string) any {
	switch strings.ToLower(text) {
	case ".inf", "+.inf":
		return math.Inf(1)
	case "-.inf":
		return math.Inf(-1)
	case ".nan":
		return math.NaN()
	}
	digits := strings.NewReplacer("_", "", ",", "").Replace(text)
	switch {
	case integerForm.MatchString(text):
		if v, err := strconv.ParseInt(digits, 0, 64); err == nil {
			return v
		}
		if v, ok := new(big.Int).SetString(digits, 0); ok {
			return v.String() // as text, since that is what becomes of it
		}
	case sixtyForm.MatchString(text):
		var total float64
		sign := 1.0
		if strings.HasPrefix(digits, "-") {
			sign = -1
		}
		for part := range strings.SplitSeq(strings.TrimLeft(digits, "+-"), ":") {
			v, _ := strconv.ParseFloat(part, 64)
			total = total*60 + v
		}
		if total < math.MaxInt32 {
			return int64(sign * total)
		}
	case floatForm.MatchString(text) && strings.ContainsAny(text, "0123456789"):
		if v, err := strconv.ParseFloat(digits, 64); err == nil {
			return v
		}
	}
	return text
}

// Compare orders places as a reader meets them.
func Compare(a, b plan.Source) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}

// WithField is a mapping with one more field.
func WithField(n *Node, key string, value *Node) *Node {
	fields := append(slices.Clone(n.Fields), Field{Key: key, Source: value.Source, Value: value})
	return newMapping(fields, n.Source)
}
