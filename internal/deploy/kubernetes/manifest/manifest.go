// Package manifest reads Kubernetes manifests: YAML or JSON, many things in one
// file. Each thing, and each of its fields, knows the line that it stands on, so that
// what a cluster finds wrong can be told with file and line.
//
// Values are read as kubectl reads them, which is YAML 1.1: yes and off are booleans,
// 0644 is octal. Nothing is asked of a cluster here.
package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what is read.
const (
	MaxFile     = 8 << 20 // bytes of one file
	MaxThings   = 5000    // of one service
	maxValues   = 500_000 // of one file; those that aliases repeat count each time
	maxDepth    = 100     // mappings and lists inside one another
	maxProblems = 50      // told of one file
	maxNumber   = 40      // digits of a number
)

// Rule is the rule of all problems that are found here.
const Rule = "manifest"

// Thing is an object as it is declared.
type Thing struct {
	object.Object
	Source plan.Source // of its first line
	// Rendered says that a program made it: its lines are those of no file.
	Rendered bool
	node     *yaml.Node
}

// Read reads the things of one file. A problem says what is wrong with it and where; a
// document that has one gives no thing.
func Read(name string, src []byte) ([]Thing, []plan.Problem) {
	f := &file{name: name, values: maxValues}
	if len(src) > MaxFile {
		f.report(nil, fmt.Sprintf("the file has %d bytes; at most %d are read", len(src), MaxFile), "split it")
		return nil, f.problems
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	for !f.stopped {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.syntax(err)
			break
		}
		if len(doc.Content) > 0 {
			f.document(doc.Content[0])
		}
	}
	return f.things, f.problems
}

// file is the reading of one file.
type file struct {
	name     string
	things   []Thing
	problems []plan.Problem
	values   int  // that may still be read
	stopped  bool // a limit was reached
	spoilt   bool // the document that is being read has a problem
}

func (f *file) at(n *yaml.Node) plan.Source {
	if n == nil {
		return plan.Source{File: f.name}
	}
	return plan.Source{File: f.name, Line: n.Line, Col: n.Column}
}

func (f *file) report(n *yaml.Node, message, hint string) {
	f.spoilt = true
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, plan.Problem{Source: f.at(n), Severity: plan.Error, Rule: Rule, Message: message, Hint: hint})
	}
}

func (f *file) syntax(err error) {
	at := plan.Source{File: f.name, Line: 1}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var bad *yaml.ParserError
	if errors.As(err, &bad) {
		if bad.Line > 0 {
			at.Line, at.Col = bad.Line, bad.Column
		}
		text = bad.Message
	}
	f.problems = append(f.problems, plan.Problem{
		Source: at, Severity: plan.Error, Rule: Rule, Message: "not valid YAML: " + plan.Clip(text),
		Hint: "look at the indentation and quotes of this line and the one before",
	})
}

func (f *file) document(root *yaml.Node) {
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return // nothing but comments between two ---
	}
	f.spoilt = false
	if root.Kind != yaml.MappingNode {
		f.report(root, "a document of a manifest must be a mapping with apiVersion, kind and metadata", "")
		return
	}
	value, _ := f.value(root, 0).(map[string]any)
	if f.spoilt {
		return
	}
	f.thing(root, value)
}

// thing takes up an object, or those of a list.
func (f *file) thing(n *yaml.Node, o object.Object) {
	kind := o.Kind()
	switch {
	case kind.Version == "":
		f.report(n, "this thing has no apiVersion", "write apiVersion: v1, apps/v1 …")
		return
	case kind.Kind == "":
		f.report(n, "this thing has no kind", "write kind: Deployment, Service …")
		return
	}
	if items, ok := o["items"].([]any); ok && strings.HasSuffix(kind.Kind, "List") {
		nodes := resolve(field(n, "items"))
		for i, item := range items {
			if i >= len(nodes.Content) {
				break
			}
			m, ok := item.(map[string]any)
			if !ok {
				f.report(nodes.Content[i], "an item of a list must be a thing", "")
				continue
			}
			f.thing(resolve(nodes.Content[i]), m)
		}
		return
	}
	if o.Name() == "" {
		hint := "write metadata: {name: …}"
		if o.Text("metadata", "generateName") != "" {
			hint = "generateName would make another one each time; give it a name"
		}
		f.report(n, kind.Kind+" has no metadata.name", hint)
		return
	}
	if len(f.things) == MaxThings {
		f.report(n, fmt.Sprintf("there are more than %d things in this file", MaxThings), "split it")
		f.stopped = true
		return
	}
	f.things = append(f.things, Thing{Object: o, Source: f.at(n), node: n})
}

// resolve is what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// value reads a value of any shape. An alias inside of what it repeats ends at the limit of
// depth.
func (f *file) value(n *yaml.Node, depth int) any {
	if f.values--; f.values < 0 || depth > maxDepth {
		if !f.stopped {
			f.report(n, fmt.Sprintf("the file has more than %d values, or values more than %d deep; those repeated by aliases count each time", maxValues, maxDepth), "use fewer aliases")
		}
		f.stopped = true
		return nil
	}
	switch n.Kind {
	case yaml.AliasNode:
		return f.value(n.Alias, depth+1)
	case yaml.MappingNode:
		return f.mapping(n, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			if f.stopped {
				return nil
			}
			list = append(list, f.value(item, depth+1))
		}
		return list
	}
	return scalar(n)
}

func (f *file) mapping(n *yaml.Node, depth int) any {
	m := make(map[string]any, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && !f.stopped; i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			f.report(key, "a key must be a single text", "")
			continue
		}
		if _, twice := m[key.Value]; twice {
			f.report(key, fmt.Sprintf("%s is given twice", plan.Clip(key.Value)), "keep one of the two")
			continue
		}
		m[key.Value] = f.value(value, depth+1)
	}
	for _, from := range merged {
		f.merge(m, from, depth)
	}
	return m
}

// merge adds what a mapping does not say itself from those that << names.
func (f *file) merge(m map[string]any, from *yaml.Node, depth int) {
	from = resolve(from)
	nodes := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		nodes = from.Content
	}
	for _, n := range nodes {
		other, ok := f.value(n, depth+1).(map[string]any)
		if !ok {
			f.report(n, "<< must name a mapping, or a list of mappings", "")
			return
		}
		for k, v := range other {
			if _, own := m[k]; !own {
				m[k] = v
			}
		}
	}
}

// float is a number of YAML 1.1 that is no whole one.
var float = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// scalar is what a text stands for.
func scalar(n *yaml.Node) any {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.Tag {
		case "!!binary":
			if data, err := base64.StdEncoding.DecodeString(n.Value); err == nil {
				return string(data)
			}
			return n.Value
		case "!!int", "!!float", "!!bool", "!!null":
			return plain(n.Value) // quoted or not
		}
		return n.Value
	}
	if n.Style&quoted != 0 {
		return n.Value
	}
	return plain(n.Value)
}

// plain is what a text without quotes stands for.
func plain(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE", "yes", "Yes", "YES", "y", "Y", "on", "On", "ON":
		return true
	case "false", "False", "FALSE", "no", "No", "NO", "n", "N", "off", "Off", "OFF":
		return false
	}
	if c := text[0]; len(text) > maxNumber || c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return text
	}
	number := text
	if text[0] != '.' {
		number = strings.ReplaceAll(text, "_", "")
	}
	if v, err := strconv.ParseInt(number, 0, 64); err == nil {
		return v
	}
	if v, err := strconv.ParseUint(number, 0, 64); err == nil {
		return json.Number(strconv.FormatUint(v, 10))
	}
	if v, err := strconv.ParseFloat(number, 64); err == nil && float.MatchString(number) {
		return v
	}
	return text
}

// entry is a key of a mapping and its value; nil when there is none.
func entry(n *yaml.Node, name string) (key, value *yaml.Node) {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// field is the value of a key; nil when there is none.
func field(n *yaml.Node, name string) *yaml.Node {
	_, value := entry(n, name)
	return value
}

// part is one part of a path: a key with what is in brackets behind it.
var part = regexp.MustCompile(`^([^.\[\]]*)((?:\[[^\]]*\])*)(?:\.|$)`)

// At is where the value of a field stands, or what comes nearest to it: the path is one as
// clusters write it, spec.template.spec.containers[0].image.
func (t *Thing) At(path string) plan.Source {
	value, _ := t.walk(path)
	return t.source(value)
}

// Key is where the name of a field stands, or what comes nearest to it.
func (t *Thing) Key(path string) plan.Source {
	_, key := t.walk(path)
	return t.source(key)
}

func (t *Thing) source(n *yaml.Node) plan.Source {
	if n == nil || t.Rendered {
		return t.Source
	}
	return plan.Source{File: t.Source.File, Line: n.Line, Col: n.Column}
}

// walk goes along a path as far as there is something, and returns the last value and its key.
func (t *Thing) walk(path string) (value, key *yaml.Node) {
	value, key = t.node, t.node
	for path != "" && value != nil {
		m := part.FindStringSubmatch(path)
		if m == nil || len(m[0]) == 0 {
			break
		}
		path = path[len(m[0]):]
		if m[1] != "" {
			k, v := entry(value, m[1])
			if v == nil {
				break
			}
			value, key = v, k
		}
		for _, index := range strings.FieldsFunc(m[2], func(r rune) bool { return r == '[' || r == ']' }) {
			k, v := element(value, index)
			if v == nil {
				return value, key
			}
			value, key = v, k
		}
	}
	return value, key
}

// element is the item of a list by its place, by the name that it has ([name="web"]), or
// the value of a key in brackets.
func element(n *yaml.Node, index string) (key, value *yaml.Node) {
	n = resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		return entry(n, index)
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		name, wanted, _ := strings.Cut(index, "=")
		for _, item := range n.Content {
			if v := resolve(field(item, name)); v != nil && v.Value == strings.Trim(wanted, `"`) {
				return item, item
			}
		}
	}
	return nil, nil
}
