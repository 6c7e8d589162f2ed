package mock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// node is a value of a JSON file that knows where it was written.
type node struct {
	kind       byte // { [ " 0 t(rue or false) n(ull)
	start, end int  // offsets in the file
	text       string
	members    []member
	items      []*node
}

// member is a key of an object; at is its own place.
type member struct {
	name  string
	at    int
	value *node
}

// get is the value of a key, nil without one.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// reader reads one file and collects what is wrong with it.
type reader struct {
	file     string
	src      []byte
	lines    []int // offsets at which lines begin
	values   int
	problems []plan.Problem
	errors   int // problems that are errors
}

// parse is the file as a tree; nil when it is no JSON, which is reported.
func (r *reader) parse() *node {
	r.src = bytes.TrimPrefix(r.src, []byte("\xef\xbb\xbf"))
	r.lines = []int{0}
	for i, c := range r.src {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	d := json.NewDecoder(bytes.NewReader(r.src))
	d.UseNumber()
	n, err := r.value(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the end of the value")
		}
	}
	if err == nil {
		return n
	}
	at := int(d.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = max(int(syntax.Offset)-1, 0)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends in the middle of a value")
	}
	r.add(plan.Error, at, "this is no JSON: "+err.Error(), "correct the file; it may have been cut off")
	return nil
}

// value reads the next value.
func (r *reader) value(d *json.Decoder, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values are nested deeper than %d", maxDepth)
	}
	if r.values++; r.values > maxValues {
		return nil, fmt.Errorf("there are more than %d values", maxValues)
	}
	n := &node{start: r.skip(int(d.InputOffset()))}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		n.kind = byte(t)
		for d.More() {
			at := r.skip(int(d.InputOffset()))
			name := ""
			if t == '{' {
				key, err := d.Token()
				if err != nil {
					return nil, err
				}
				name, _ = key.(string)
			}
			v, err := r.value(d, depth+1)
			if err != nil {
				return nil, err
			}
			if t == '{' {
				n.members = append(n.members, member{name, at, v})
			} else {
				n.items = append(n.items, v)
			}
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
	case string:
		n.kind, n.text = '"', t
	case json.Number:
		n.kind, n.text = '0', t.String()
	case bool:
		n.kind, n.text = 't', strconv.FormatBool(t)
	default:
		n.kind = 'n'
	}
	n.end = int(d.InputOffset())
	return n, nil
}

// skip is the offset of the next token.
func (r *reader) skip(at int) int {
	for at < len(r.src) && strings.IndexByte(" \t\r\n,:", r.src[at]) >= 0 {
		at++
	}
	return at
}

// raw is the value as it was written.
func (r *reader) raw(n *node) []byte { return r.src[n.start:n.end] }

// compact is the value without blanks, its members in their order.
func (r *reader) compact(n *node) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, r.raw(n)); err != nil {
		return r.raw(n)
	}
	return b.Bytes()
}

// source is the place of an offset.
func (r *reader) source(at int) plan.Source {
	line := sort.SearchInts(r.lines, at+1) - 1
	return plan.Source{File: r.file, Line: line + 1, Col: at - r.lines[max(line, 0)] + 1}
}

func (r *reader) add(s plan.Severity, at int, message, hint string) {
	if s == plan.Error {
		r.errors++
	}
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, plan.Problem{Source: r.source(at), Severity: s, Rule: rule, Message: message, Hint: hint})
	}
}

// wrong reports a value that cannot be understood.
func (r *reader) wrong(n *node, format string, args ...any) {
	r.add(plan.Error, n.start, fmt.Sprintf(format, args...), "correct the value")
}

// unsupported reports something that the format knows and we do not. The stub
// it is in is left out: it would answer what it should not.
func (r *reader) unsupported(at int, what string) {
	r.add(plan.Error, at, what+" is not supported", "say it another way, remove it, or serve the rest with --skip-unsupported")
}

// ignored reports something that is left out of an answer or has no effect.
func (r *reader) ignored(at int, what string) {
	r.add(plan.Warning, at, what+" has no effect here", "")
}

// shape says what a value is, for people.
func (n *node) shape() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "the text " + strconv.Quote(plan.Clip(n.text))
	case '0':
		return "the number " + plan.Clip(n.text)
	case 't':
		return n.text
	}
	return "null"
}

// keys reads an object by a table of its keys. Those that are not in it are
// told to other, or are unsupported when that is nil.
func (r *reader) keys(n *node, what string, table map[string]func(v *node), other func(m member)) {
	if n.kind != '{' {
		r.wrong(n, "%s must be an object, not %s", what, n.shape())
		return
	}
	for _, m := range n.members {
		switch read := table[m.name]; {
		case read != nil:
			if m.value.kind != 'n' {
				read(m.value)
			}
		case other != nil:
			other(m)
		default:
			r.unsupported(m.at, fmt.Sprintf("%q in %s", plan.Clip(m.name), what))
		}
	}
}

// string reads a text; numbers and booleans are taken for theirs.
func (r *reader) string(n *node, what string) (string, bool) {
	switch n.kind {
	case '"', '0', 't':
		return n.text, true
	}
	r.wrong(n, "%s must be a text, not %s", what, n.shape())
	return "", false
}

// number reads a whole number between two, also from a text.
func (r *reader) number(n *node, what string, least, most int) (int, bool) {
	if n.kind == '0' || n.kind == '"' {
		if f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64); err == nil && f == math.Trunc(f) && f >= float64(least) && f <= float64(most) {
			return int(f), true
		}
	}
	r.wrong(n, "%s must be a number from %d to %d, not %s", what, least, most, n.shape())
	return 0, false
}

// float reads a number that is not negative.
func (r *reader) float(n *node, what string) (float64, bool) {
	if n.kind == '0' {
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && f >= 0 && f <= 1e12 {
			return f, true
		}
	}
	r.wrong(n, "%s must be a number that is not negative, not %s", what, n.shape())
	return 0, false
}

// bool reads true or false.
func (r *reader) bool(n *node, what string) bool {
	if n.kind != 't' && (n.kind != '"' || n.text != "true" && n.text != "false") {
		r.wrong(n, "%s must be true or false, not %s", what, n.shape())
	}
	return n.text == "true"
}

// list calls one for each entry; a value that is no list is its only entry.
func (n *node) list(one func(n *node)) {
	if n.kind != '[' {
		one(n)
		return
	}
	for _, item := range n.items {
		one(item)
	}
}

// value is the node as encoding/json would have it.
func (r *reader) any(n *node) any {
	v, _ := parseJSON(r.raw(n))
	return v
}
