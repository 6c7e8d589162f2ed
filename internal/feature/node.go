package feature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// node is a value of a file of definitions, and where it stands there. JSON and YAML
// files become the same nodes.
type node struct {
	kind  nodeKind
	text  string  // of a text
	num   float64 // of a number
	yes   bool    // of a boolean
	items []*node // of a list; the values of an object
	keys  []key   // of an object, in the order of the file
	line  int
	col   int
}

type key struct {
	name      string
	line, col int
}

type nodeKind int

const (
	isNull nodeKind = iota
	isBool
	isNumber
	isText
	isList
	isObject
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "a boolean", "a number", "a text", "a list", "an object"}[k]
}

// field is the value of an object's key; nil when it has none.
func (n *node) field(name string) *node {
	if n == nil || n.kind != isObject {
		return nil
	}
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.items[i]
		}
	}
	return nil
}

// value is the node as encoding/json would have decoded it.
func (n *node) value() any {
	if n == nil {
		return nil
	}
	switch n.kind {
	case isBool:
		return n.yes
	case isNumber:
		return n.num
	case isText:
		return n.text
	case isList:
		list := make([]any, len(n.items))
		for i, x := range n.items {
			list[i] = x.value()
		}
		return list
	case isObject:
		m := make(map[string]any, len(n.items))
		for i, x := range n.items {
			m[n.keys[i].name] = x.value()
		}
		return m
	}
	return nil
}

// appendJSON writes the node, with the keys of objects in their order.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case isBool:
		return strconv.AppendBool(b, n.yes)
	case isNumber:
		return append(b, numberText(n.num)...)
	case isText:
		return appendText(b, n.text)
	case isList:
		b = append(b, '[')
		for i, x := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = x.appendJSON(b)
		}
		return append(b, ']')
	case isObject:
		b = append(b, '{')
		for i, x := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, n.keys[i].name), ':')
			b = x.appendJSON(b)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendText(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\'
	}
	if plain { // most are
		return append(append(append(b, '"'), s...), '"')
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a text, never fails
	return append(b, bytes.TrimRight(out.Bytes(), "\n")...)
}

// Limits of a file of definitions.
const (
	MaxFile   = 8 << 20 // bytes of a file of definitions
	maxDepth  = 64
	maxNodes  = 500_000 // those that aliases and references repeat counted each time
	maxFaults = 100     // problems that are told
)

var errTooMany = fmt.Errorf("more than %d values", maxNodes)

// parser reads one file.
type parser struct {
	name  string
	left  int
	lines []int // offset of the beginning of each line
}

// parseFile reads a file: YAML by its name, else JSON.
func parseFile(name string, src []byte) (*node, *plan.Problem) {
	p := &parser{name: name, left: maxNodes}
	if len(src) > MaxFile {
		return nil, p.bad(0, 0, fmt.Sprintf("the file has more than %d bytes", MaxFile), "divide the flags among several files")
	}
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return p.yaml(src)
	}
	return p.json(src)
}

func (p *parser) bad(line, col int, message, hint string) *plan.Problem {
	return &plan.Problem{Source: plan.Source{File: p.name, Line: line, Col: col}, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
}

// place is the line and column of an offset, columns in bytes.
func (p *parser) place(offset int64) (line, col int) {
	lo, hi := 0, len(p.lines)
	for lo+1 < hi {
		if mid := (lo + hi) / 2; p.lines[mid] <= int(offset) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + 1, int(offset) - p.lines[lo] + 1
}

func (p *parser) json(src []byte) (*node, *plan.Problem) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	p.lines = []int{0}
	for i, c := range src {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	n, err := p.jsonValue(d, src, 0)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			line, col := p.place(d.InputOffset())
			return nil, p.bad(line, col, "something comes after the end of the definitions", "remove it")
		}
		return n, nil
	}
	offset := d.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(syntax.Offset-1, 0)
	}
	line, col := p.place(min(offset, int64(len(src))))
	switch {
	case errors.Is(err, errTooMany), errors.Is(err, errDeep):
		return nil, p.bad(line, col, "the file has "+err.Error(), "divide the flags among several files, or make their rules simpler")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, p.bad(line, col, "the file ends in the midst of a value", "look for a bracket that is missing")
	}
	return nil, p.bad(line, col, "not valid JSON: "+strings.TrimPrefix(err.Error(), "json: "), "look at the commas and quotes before this place")
}

var errDeep = fmt.Errorf("values that lie more than %d deep", maxDepth)

// jsonValue reads the next value.
func (p *parser) jsonValue(d *json.Decoder, src []byte, depth int) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	return p.jsonToken(d, src, token, depth)
}

func (p *parser) jsonToken(d *json.Decoder, src []byte, token json.Token, depth int) (*node, error) {
	if p.left--; p.left < 0 {
		return nil, errTooMany
	}
	if depth > maxDepth {
		return nil, errDeep
	}
	n := &node{}
	n.line, n.col = p.place(begin(d, src, token))
	switch t := token.(type) {
	case nil:
	case bool:
		n.kind, n.yes = isBool, t
	case string:
		n.kind, n.text = isText, t
	case json.Number:
		f, err := t.Float64()
		if err != nil {
			f = math.Inf(1)
		}
		n.kind, n.num = isNumber, f
	case json.Delim:
		if t == '[' {
			n.kind = isList
			for d.More() {
				item, err := p.jsonValue(d, src, depth+1)
				if err != nil {
					return nil, err
				}
				n.items = append(n.items, item)
			}
		} else {
			n.kind = isObject
			for d.More() {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				k := key{name: name.(string)}
				k.line, k.col = p.place(begin(d, src, name))
				item, err := p.jsonValue(d, src, depth+1)
				if err != nil {
					return nil, err
				}
				n.set(k, item)
			}
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// set is the last value of a key, as JSON's readers have it.
func (n *node) set(k key, item *node) {
	if len(n.keys) < 16 { // the duplicates of a huge object are found by its reader
		for i := range n.keys {
			if n.keys[i].name == k.name {
				n.keys[i], n.items[i] = k, item
				return
			}
		}
	}
	n.keys, n.items = append(n.keys, k), append(n.items, item)
}

// begin is where the token begins that was read last.
func begin(d *json.Decoder, src []byte, token json.Token) int64 {
	end := d.InputOffset()
	switch t := token.(type) {
	case string:
		// Escapes make a token longer than its text: go back to the quote that is none of it.
		for i := end - 2; i >= 0; i-- {
			if src[i] != '"' {
				continue
			}
			slashes := 0
			for j := i - 1; j >= 0 && src[j] == '\\'; j-- {
				slashes++
			}
			if slashes%2 == 0 {
				return i
			}
		}
	case json.Number:
		return end - int64(len(t))
	case bool:
		if t {
			return end - 4
		}
		return end - 5
	case nil:
		return end - 4
	}
	return end - 1
}

func (p *parser) yaml(src []byte) (*node, *plan.Problem) {
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(src))
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return &node{kind: isObject, line: 1, col: 1}, nil
		}
		line, col, text := 1, 0, strings.TrimPrefix(err.Error(), "yaml: ")
		var bad *yaml.ParserError
		if errors.As(err, &bad) {
			text = bad.Message
			if bad.Line > 0 {
				line, col = bad.Line, bad.Column
			}
		}
		return nil, p.bad(line, col, "not valid YAML: "+text, "look at the indentation and quotes of this line and the one before")
	}
	if len(doc.Content) == 0 {
		return &node{kind: isObject, line: 1, col: 1}, nil
	}
	n, err := p.yamlValue(doc.Content[0], 0)
	if err != nil {
		return nil, p.bad(1, 0, "the file has "+err.Error(), "divide the flags among several files, or make their rules simpler")
	}
	return n, nil
}

func (p *parser) yamlValue(y *yaml.Node, depth int) (*node, error) {
	if p.left--; p.left < 0 {
		return nil, errTooMany
	}
	if depth > maxDepth {
		return nil, errDeep
	}
	n := &node{line: y.Line, col: y.Column}
	switch y.Kind {
	case yaml.AliasNode:
		return p.yamlValue(y.Alias, depth+1)
	case yaml.SequenceNode:
		n.kind = isList
		for _, item := range y.Content {
			x, err := p.yamlValue(item, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, x)
		}
	case yaml.MappingNode:
		n.kind = isObject
		for i := 0; i+1 < len(y.Content); i += 2 {
			name := y.Content[i]
			if name.Kind == yaml.AliasNode {
				name = name.Alias
			}
			x, err := p.yamlValue(y.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			n.set(key{name.Value, name.Line, name.Column}, x)
		}
	default:
		p.yamlScalar(n, y)
	}
	return n, nil
}

func (p *parser) yamlScalar(n *node, y *yaml.Node) {
	switch y.ShortTag() {
	case "!!null":
	case "!!bool":
		n.kind = isBool
		_ = y.Decode(&n.yes) // its tag says that it is one
	case "!!int", "!!float":
		n.kind = isNumber
		if y.Decode(&n.num) != nil {
			n.kind, n.text = isText, y.Value
		}
	default:
		n.kind, n.text = isText, y.Value
	}
}
