package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// reader is the reading of one file.
type reader struct {
	problems []plan.Problem
	faults   int    // how often something was reported, shown or not
	values   int    // that may still be read
	stopped  bool   // a limit was reached
	key      string // that is being read; "" at the top
}

func newReader() *reader { return &reader{values: maxValues} }

// parse is the root of the one YAML document; nil when there is none, or when
// problems say why not.
func (r *reader) parse(src []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var doc, more yaml.Node
	err := decoder.Decode(&doc)
	if err == nil {
		switch err = decoder.Decode(&more); {
		case err == nil:
			r.report(&more, "a second YAML document begins here; the file may hold only one", "remove the --- line")
			return nil
		case errors.Is(err, io.EOF) && len(doc.Content) > 0:
			return r.follow(doc.Content[0])
		}
	}
	if errors.Is(err, io.EOF) {
		return nil // nothing but comments
	}
	at := plan.Source{File: Name, Line: 1}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var bad *yaml.ParserError
	if errors.As(err, &bad) {
		if bad.Line > 0 {
			at.Line, at.Col = bad.Line, bad.Column
		}
		text = bad.Message
	}
	if strings.Contains(text, "exceeded max depth") {
		r.add(at, "values are nested too deep", "flatten the file")
		return nil
	}
	r.add(at, "not valid YAML: "+clip(text), "look at the indentation and quotes of this line and the one before")
	return nil
}

// follow counts a value and is what an alias stands for. Reading goes only as
// deep as the table, so an alias that stands inside of what it repeats leads
// to no circle.
func (r *reader) follow(n *yaml.Node) *yaml.Node {
	if r.values--; r.values < 0 && !r.stopped {
		r.report(n, fmt.Sprintf("the file has more than %d values, those repeated by aliases counted each time", maxValues), "use fewer aliases")
		r.stopped = true
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// inside reads the value of a key.
func (r *reader) inside(key string, read func()) {
	outer := r.key
	r.key = key
	read()
	r.key = outer
}

// subject is what is being read, for messages.
func (r *reader) subject() string {
	if r.key == "" {
		return "the file"
	}
	return r.key
}

func (r *reader) unknown(k *yaml.Node, words string, names []string) {
	hint := "the " + words + " are " + strings.Join(names, ", ")
	if len(names) == 1 {
		hint = "known is only " + names[0]
	}
	if k.ShortTag() == "!!merge" {
		r.report(k, "the merge key << is not understood", "repeat a whole value with an alias, or write its keys out")
		return
	}
	if near := plan.Nearest(k.Value, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.report(k, "unknown key "+quote(k.Value), hint)
}

// report adds a problem at a node. What an alias repeats is reported once.
func (r *reader) report(n *yaml.Node, message, hint string) { r.add(source(n), message, hint) }

func (r *reader) add(at plan.Source, message, hint string) {
	r.faults++
	p := plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
	switch {
	case len(r.problems) > maxProblems || slices.Contains(r.problems, p):
	case len(r.problems) == maxProblems:
		r.problems = append(r.problems, plan.Problem{
			Source: plan.Source{File: Name}, Severity: plan.Error, Rule: rule,
			Message: fmt.Sprintf("the file has more than %d problems; the rest are not shown", maxProblems), Hint: "mend these first",
		})
	default:
		r.problems = append(r.problems, p)
	}
}

func source(n *yaml.Node) plan.Source { return plan.Source{File: Name, Line: n.Line, Col: n.Column} }

// keyOf is the node of a key of a mapping; nil when it is not given.
func keyOf(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Value == name {
			return k
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// shape is the word for what a node is, in messages.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "the boolean " + clip(n.Value)
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!str":
		return "the text " + quote(n.Value)
	case "!!timestamp":
		return "the date " + clip(n.Value)
	}
	return "a value with the tag " + clip(n.Tag)
}

func quote(s string) string { return strconv.Quote(clip(s)) }

// clip keeps a piece of the file short enough, and plain enough, for a
// message.
func clip(s string) string {
	const most = 80
	var b strings.Builder
	for _, c := range s {
		if b.Len() > most {
			b.WriteString("…")
			break
		}
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) { // Cf: what hides or reverses text
			c = unicode.ReplacementChar
		}
		b.WriteRune(c)
	}
	return b.String()
}
