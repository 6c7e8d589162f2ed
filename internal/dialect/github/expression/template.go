package expression

import (
	"strconv"
	"strings"
	"unicode"
)

// Template is text with holes, "a ${{ x }} b". It never changes and is safe
// for concurrent use.
type Template struct {
	text     string
	segments []segment
	holes    int
}

// segment is either text or a hole.
type segment struct {
	text string
	hole Hole
}

// Hole is one ${{ expression }} of a template.
type Hole struct {
	Offset int // in bytes: of the expression, behind ${{ and space
	*Expression
}

const (
	holeOpen  = "${{"
	holeClose = "}}"
)

// ParseTemplate reads text with holes. The error is an [*Error] with its
// offset in the text. A hole must be closed, and must not be blank; }} inside
// a string does not close it.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	size := utf16Len("format('')") // of the whole written as one call
	for pos := 0; pos < len(text); {
		start := strings.Index(text[pos:], holeOpen)
		if start < 0 {
			start = len(text) - pos
		}
		if start > 0 {
			s := segment{text: text[pos : pos+start]}
			t.segments = append(t.segments, s)
			size += utf16Len(escapeFormat(s.text))
			pos += start
			continue
		}
		inside := text[pos+len(holeOpen):]
		end := closing(inside)
		if end < 0 {
			return nil, &Error{
				Kind: Lexical, Offset: pos,
				Message: "the expression that ${{ begins here is not closed",
				Hint:    "close it with }}, outside of strings",
			}
		}
		inner := strings.TrimLeftFunc(inside[:end], unicode.IsSpace)
		offset := pos + len(holeOpen) + end - len(inner)
		inner = strings.TrimRightFunc(inner, unicode.IsSpace)
		if inner == "" {
			return nil, errorAt(Syntax, pos, "there is no expression between ${{ and }}")
		}
		e, err := Parse(inner)
		if err != nil {
			return nil, err.(*Error).shift(offset)
		}
		t.segments = append(t.segments, segment{hole: Hole{Offset: offset, Expression: e}})
		size += len(", {}") + len(strconv.Itoa(t.holes)) + utf16Len(inner)
		if t.holes++; t.holes > maxHoles {
			return nil, errorAt(Syntax, offset, "there are more than %d expressions in one text", maxHoles)
		}
		pos += len(holeOpen) + end + len(holeClose)
	}
	if t.holes > 0 && len(t.segments) > 1 {
		if err := t.checkMixed(size); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// checkMixed applies the limits of one expression to text mixed with holes,
// which GitHub turns into one call of format.
func (t *Template) checkMixed(size int) error {
	if size > MaxLength {
		return &Error{
			Kind:    Lexical,
			Message: "text with expressions in it may not be longer than 21,000 characters",
			Hint:    "pass the values in environment variables and leave the text without expressions",
		}
	}
	for _, h := range t.Holes() {
		if h.root.depth == MaxDepth {
			return errorAt(Syntax, h.Offset, "the expression is nested too deeply to be a part of a text")
		}
	}
	return nil
}

// closing finds }} outside of strings, or -1. It needs no more of the language
// than quotes: a doubled quote ends one string and begins another.
func closing(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(s[i:], holeClose):
			return i
		}
	}
	return -1
}

// String is the text that was parsed.
func (t *Template) String() string { return t.text }

// Literal is the text when nothing is to be computed: there is no hole, or
// only one with a string in it, as in ${{ '${{' }}.
func (t *Template) Literal() (string, bool) {
	if t.holes == 0 {
		return t.text, true
	}
	if e, ok := t.Single(); ok && e.root.Op == OpLiteral {
		s, ok := e.root.Value.(string)
		return s, ok
	}
	return "", false
}

// Single is the expression when the template is exactly one hole with nothing
// around it. Its value keeps its kind.
func (t *Template) Single() (*Expression, bool) {
	if t.holes == 1 && len(t.segments) == 1 {
		return t.segments[0].hole.Expression, true
	}
	return nil, false
}

// Parts visits the texts and the holes, in order. hole is nil for a text.
func (t *Template) Parts(visit func(text string, hole *Expression)) {
	for i := range t.segments {
		visit(t.segments[i].text, t.segments[i].hole.Expression)
	}
}

// Holes are the expressions of the template in order.
func (t *Template) Holes() []Hole {
	holes := make([]Hole, 0, t.holes)
	for _, s := range t.segments {
		if s.hole.Expression != nil {
			holes = append(holes, s.hole)
		}
	}
	return holes
}

// Eval is the value of the template: that of a [Template.Single] hole as it
// is, otherwise text. The error is an [*Error] with its offset in the text.
func (t *Template) Eval(s *Scope) (any, error) {
	if t.holes == 0 {
		return t.text, nil
	}
	ev := newEvaluator(s, TemplateMemory)
	if e, ok := t.Single(); ok {
		v, err := ev.run(e, 0)
		if err != nil {
			return nil, err.(*Error).shift(t.segments[0].hole.Offset)
		}
		return plain(v), nil
	}
	b := &builder{ev: ev, n: &Node{}}
	for _, s := range t.segments {
		text := s.text
		if s.hole.Expression != nil {
			v, err := ev.run(s.hole.Expression, 1)
			if err != nil {
				return nil, err.(*Error).shift(s.hole.Offset)
			}
			text = String(v)
		}
		if err := b.add(text); err != nil {
			return nil, err
		}
	}
	return string(b.buf), nil
}

// Check is [Expression.Check] of every hole, with offsets in the text of the
// template.
func (t *Template) Check(allowed Allowed) []*Error {
	var errs []*Error
	for _, h := range t.Holes() {
		for _, err := range h.Check(allowed) {
			errs = append(errs, err.shift(h.Offset))
		}
	}
	return errs
}

// Calls reports whether any hole calls any of the functions.
func (t *Template) Calls(names ...string) bool {
	for _, h := range t.Holes() {
		if h.Expression.Calls(names...) {
			return true
		}
	}
	return false
}

// Expression is the template as one expression with the same value: the
// [Template.Single] hole, a string, or a call of format. It is what an if: with
// text around its holes means.
func (t *Template) Expression() (*Expression, error) {
	if e, ok := t.Single(); ok {
		return e, nil
	}
	if t.holes == 0 {
		return Parse(quote(t.text))
	}
	var form, args strings.Builder
	number := 0
	for _, s := range t.segments {
		if s.hole.Expression == nil {
			form.WriteString(escapeFormat(s.text))
			continue
		}
		form.WriteString("{" + strconv.Itoa(number) + "}")
		args.WriteString(", " + s.hole.String())
		number++
	}
	return Parse("format('" + form.String() + "'" + args.String() + ")")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// escapeFormat writes text so that it can stand in the string of a format.
func escapeFormat(s string) string {
	return strings.NewReplacer("'", "''", "{", "{{", "}", "}}").Replace(s)
}
