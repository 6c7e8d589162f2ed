package mock

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// query is a JSONPath (RFC 9535, without functions): what WireMock, Hoverfly
// and Mountebank select parts of bodies by.
type query struct {
	text     string
	segments []segment
	many     bool // it may select more than one value
}

// segment selects children of a value, or of it and all below it.
type segment struct {
	deep bool
	by   []selector
}

// selector is one of: a name, an index, a slice, a filter, everything.
type selector struct {
	name        *string
	index       *int
	from, to    *int
	step        int // of a slice; 0 when it is none
	where       *filter
	all         bool
	lengthOfAll bool // Jayway's length(): how many there are
}

// filter is an expression over the value that @ stands for.
type filter struct {
	op          string // "&&", "||", "!", "there", or a comparison
	left, right *filter
	of          *query // of a comparison's left side
	with        *query // of its right side, when that is a path
	value       any    // or this
	matches     func(string) bool
}

const (
	maxPath  = 4096    // bytes
	maxFound = 100_000 // values that a path selects
)

// compilePath reads a path. Without a leading $ it is below the root.
func compilePath(text string) (*query, error) {
	if len(text) > maxPath {
		return nil, fmt.Errorf("a JSONPath of %d bytes", len(text))
	}
	s := &pathScanner{text: strings.TrimSpace(text)}
	if !s.take("$") && !strings.HasPrefix(s.text, "[") {
		s.text = "." + s.text
	}
	p, err := s.path()
	if err == nil && s.at < len(s.text) {
		err = fmt.Errorf("unexpected %q", s.text[s.at:])
	}
	if err != nil {
		return nil, fmt.Errorf("JSONPath %q: %w", text, err)
	}
	p.text = text
	return p, nil
}

type pathScanner struct {
	text  string
	at    int
	depth int
}

func (s *pathScanner) take(token string) bool {
	if strings.HasPrefix(s.text[s.at:], token) {
		s.at += len(token)
		return true
	}
	return false
}

func (s *pathScanner) blank() {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\t') {
		s.at++
	}
}

// path reads segments as long as there are any.
func (s *pathScanner) path() (*query, error) {
	p := &query{}
	for s.at < len(s.text) {
		var seg segment
		switch {
		case s.take(".."):
			seg.deep = true
			if !strings.HasPrefix(s.text[s.at:], "[") {
				if err := s.word(&seg); err != nil {
					return nil, err
				}
				break
			}
			s.at++
			if err := s.bracket(&seg); err != nil {
				return nil, err
			}
		case s.take("."):
			if err := s.word(&seg); err != nil {
				return nil, err
			}
		case s.take("["):
			if err := s.bracket(&seg); err != nil {
				return nil, err
			}
		default:
			return p, nil
		}
		if seg.deep || len(seg.by) > 1 || seg.by[0].name == nil && seg.by[0].index == nil && !seg.by[0].lengthOfAll {
			p.many = true
		}
		p.segments = append(p.segments, seg)
	}
	return p, nil
}

// word reads a name after a dot.
func (s *pathScanner) word(seg *segment) error {
	if s.take("*") {
		seg.by = []selector{{all: true}}
		return nil
	}
	if s.take("length()") || s.take("size()") {
		seg.by = []selector{{lengthOfAll: true}}
		return nil
	}
	begin := s.at
	for s.at < len(s.text) && !strings.ContainsRune(".[]()=<>!&|, \t@$*?'\"~", rune(s.text[s.at])) {
		s.at++
	}
	if s.at == begin {
		return fmt.Errorf("a name is missing at offset %d", s.at)
	}
	name := s.text[begin:s.at]
	seg.by = []selector{{name: &name}}
	return nil
}

// bracket reads selectors up to the closing bracket.
func (s *pathScanner) bracket(seg *segment) error {
	for {
		s.blank()
		var by selector
		switch {
		case s.take("*"):
			by.all = true
		case s.take("?"):
			f, err := s.or()
			if err != nil {
				return err
			}
			by.where = f
		case s.at < len(s.text) && (s.text[s.at] == '\'' || s.text[s.at] == '"'):
			name, err := s.quoted()
			if err != nil {
				return err
			}
			by.name = &name
		default:
			if err := s.numbers(&by); err != nil {
				return err
			}
		}
		seg.by = append(seg.by, by)
		s.blank()
		if s.take("]") {
			return nil
		}
		if !s.take(",") {
			return fmt.Errorf("a ] is missing at offset %d", s.at)
		}
	}
}

// numbers reads an index or a slice.
func (s *pathScanner) numbers(by *selector) error {
	parts := [3]*int{}
	colons := 0
	for colons < 3 {
		s.blank()
		begin := s.at
		for s.at < len(s.text) && (s.text[s.at] == '-' || s.text[s.at] >= '0' && s.text[s.at] <= '9') {
			s.at++
		}
		if s.at > begin {
			n, err := strconv.Atoi(s.text[begin:s.at])
			if err != nil {
				return fmt.Errorf("%q is no index", s.text[begin:s.at])
			}
			parts[colons] = &n
		}
		s.blank()
		if !s.take(":") {
			break
		}
		colons++
	}
	switch {
	case colons == 0 && parts[0] == nil:
		return fmt.Errorf("a name, an index, * or ? is missing at offset %d", s.at)
	case colons == 0:
		by.index = parts[0]
	default:
		by.from, by.to, by.step = parts[0], parts[1], 1
		if parts[2] != nil {
			by.step = *parts[2]
		}
		if by.step < 1 {
			return errors.New("a slice goes forwards")
		}
	}
	return nil
}

func (s *pathScanner) quoted() (string, error) {
	quote := s.text[s.at]
	s.at++
	var b strings.Builder
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == quote:
			return b.String(), nil
		case c == '\\' && s.at < len(s.text):
			b.WriteByte(s.text[s.at])
			s.at++
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is not closed")
}

func (s *pathScanner) or() (*filter, error) {
	return s.joined("||", func() (*filter, error) { return s.joined("&&", s.unary) })
}

func (s *pathScanner) joined(op string, next func() (*filter, error)) (*filter, error) {
	f, err := next()
	for err == nil {
		s.blank()
		if !s.take(op) {
			break
		}
		var right *filter
		if right, err = next(); err == nil {
			f = &filter{op: op, left: f, right: right}
		}
	}
	return f, err
}

func (s *pathScanner) unary() (*filter, error) {
	if s.depth++; s.depth > maxDepth {
		return nil, errors.New("a filter is nested too deep")
	}
	defer func() { s.depth-- }()
	s.blank()
	switch {
	case s.take("("):
		f, err := s.or()
		if err != nil {
			return nil, err
		}
		s.blank()
		if !s.take(")") {
			return nil, fmt.Errorf("a ) is missing at offset %d", s.at)
		}
		return f, nil
	case s.take("!"):
		f, err := s.unary()
		return &filter{op: "!", left: f}, err
	case s.take("@"):
		return s.comparison()
	}
	return nil, fmt.Errorf("a filter begins with @ at offset %d", s.at)
}

func (s *pathScanner) comparison() (*filter, error) {
	left, err := s.path()
	if err != nil {
		return nil, err
	}
	f := &filter{op: "there", of: left}
	s.blank()
	for _, op := range []string{"==", "!=", "<=", ">=", "=~", "<", ">"} {
		if s.take(op) {
			f.op = op
			break
		}
	}
	if f.op == "there" {
		return f, nil
	}
	s.blank()
	switch {
	case f.op == "=~":
		return f, s.pattern(f)
	case s.take("@"):
		f.with, err = s.path()
		return f, err
	case s.at < len(s.text) && s.text[s.at] == '\'':
		f.value, err = s.quoted()
		return f, err
	}
	d := json.NewDecoder(strings.NewReader(s.text[s.at:]))
	if err := d.Decode(&f.value); err != nil {
		return nil, fmt.Errorf("a value is missing at offset %d", s.at)
	}
	s.at += int(d.InputOffset())
	return f, nil
}

// pattern reads /expression/ and the flag i.
func (s *pathScanner) pattern(f *filter) error {
	if !s.take("/") {
		return fmt.Errorf("a /pattern/ is missing at offset %d", s.at)
	}
	begin := s.at
	for s.at < len(s.text) && s.text[s.at] != '/' {
		if s.text[s.at] == '\\' {
			s.at++
		}
		s.at++
	}
	if s.at >= len(s.text) {
		return errors.New("a /pattern/ is not closed")
	}
	text := s.text[begin:s.at]
	s.at++
	var err error
	f.matches, err = expression(text, true, s.take("i"))
	return err
}

// find is everything that the path selects of the document, in its order;
// members of objects come in the order of their names.
func (p *query) find(doc any) []any {
	found := []any{doc}
	for _, seg := range p.segments {
		var next []any
		for _, v := range found {
			if !seg.deep {
				next = seg.choose(v, next)
				continue
			}
			walk(v, func(v any) { next = seg.choose(v, next) })
			if len(next) > maxFound {
				break
			}
		}
		found = next
	}
	return found
}

// walk calls do for a value and all below it.
func walk(v any, do func(v any)) {
	do(v)
	for _, c := range children(v) {
		walk(c, do)
	}
}

func children(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		var all []any
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, v[k])
		}
		return all
	}
	return nil
}

// choose appends the children of a value that the segment selects.
func (seg segment) choose(v any, to []any) []any {
	for _, by := range seg.by {
		if len(to) > maxFound {
			return to
		}
		list, isList := v.([]any)
		switch {
		case by.name != nil:
			if m, ok := v.(map[string]any); ok {
				if c, there := m[*by.name]; there {
					to = append(to, c)
				}
			}
		case by.index != nil && isList:
			i := *by.index
			if i < 0 {
				i += len(list)
			}
			if i >= 0 && i < len(list) {
				to = append(to, list[i])
			}
		case by.step > 0 && isList:
			from, upTo := bound(by.from, 0, len(list)), bound(by.to, len(list), len(list))
			for i := from; i < upTo; i += by.step {
				to = append(to, list[i])
			}
		case by.all:
			to = append(to, children(v)...)
		case by.lengthOfAll:
			if m, ok := v.(map[string]any); ok {
				to = append(to, float64(len(m)))
			} else if isList {
				to = append(to, float64(len(list)))
			}
		case by.where != nil:
			all := children(v)
			for _, c := range all {
				if by.where.holds(c) {
					to = append(to, c)
				}
			}
			// Jayway's filter of an object asks the object itself.
			if m, ok := v.(map[string]any); ok && !slices.ContainsFunc(all, by.where.holds) && by.where.holds(m) {
				to = append(to, v)
			}
		}
	}
	return to
}

func bound(n *int, otherwise, size int) int {
	if n == nil {
		return otherwise
	}
	i := *n
	if i < 0 {
		i += size
	}
	return min(max(i, 0), size)
}

func (f *filter) holds(v any) bool {
	switch f.op {
	case "&&":
		return f.left.holds(v) && f.right.holds(v)
	case "||":
		return f.left.holds(v) || f.right.holds(v)
	case "!":
		return !f.left.holds(v)
	}
	found := f.of.find(v)
	if f.op == "there" {
		return len(found) > 0
	}
	if len(found) != 1 {
		return f.op == "!=" && f.value != nil
	}
	got, want := found[0], f.value
	if f.with != nil {
		other := f.with.find(v)
		if len(other) != 1 {
			return f.op == "!="
		}
		want = other[0]
	}
	switch f.op {
	case "==":
		return reflect.DeepEqual(got, want)
	case "!=":
		return !reflect.DeepEqual(got, want)
	case "=~":
		s, ok := got.(string)
		return ok && f.matches(s)
	}
	c, ok := compare(got, want)
	return ok && (c < 0 && f.op[0] == '<' || c > 0 && f.op[0] == '>' || c == 0 && len(f.op) == 2)
}

// compare orders two numbers or two texts.
func compare(a, b any) (c int, ok bool) {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		switch {
		case a < b:
			return -1, ok
		case a > b:
			return 1, ok
		}
		return 0, ok
	case string:
		b, ok := b.(string)
		return strings.Compare(a, b), ok
	}
	return 0, false
}

// asText is a value as a text: a string as it is, all else as JSON.
func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return string(mustJSON(v))
}

// mustJSON is the JSON of what came from JSON.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}
