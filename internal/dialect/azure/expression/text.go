package expression

import "strings"

// Text is a text with ${{ }} in it, cut into its parts.
type Text struct {
	parts []part
}

type part struct {
	text string // when expr is nil
	expr *Expr
	at   int // byte of the expression in the text
}

// HasExpr reports whether an expression may stand in a text.
func HasExpr(text string) bool { return strings.Contains(text, "${{") }

// ParseText reads a text with expressions in it. The Offset of an *Error
// counts from the beginning of the text.
func ParseText(text string) (*Text, error) {
	t := &Text{}
	for at := 0; ; {
		i := strings.Index(text[at:], "${{")
		if i < 0 {
			if at < len(text) || len(t.parts) == 0 {
				t.parts = append(t.parts, part{text: text[at:]})
			}
			return t, nil
		}
		if i > 0 {
			t.parts = append(t.parts, part{text: text[at : at+i]})
		}
		begin := at + i + len("${{")
		n := closing(text[begin:])
		if n < 0 {
			return nil, &Error{Message: "The expression is not closed", Hint: "write }} at its end; a quote in it may be open", Offset: begin}
		}
		x, err := Parse(text[begin : begin+n])
		if err != nil {
			if e, ok := err.(*Error); ok && e.Offset >= 0 {
				e.Offset += begin
			}
			return nil, err
		}
		t.parts = append(t.parts, part{expr: x, at: begin})
		at = begin + n + len("}}")
	}
}

// closing finds the }} that ends an expression, outside of its quoted texts.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(s[i:], "}}"):
			return i
		}
	}
	return -1
}

// Single is the expression, when the text is one and nothing else.
func (t *Text) Single() *Expr {
	if len(t.parts) == 1 {
		return t.parts[0].expr
	}
	return nil
}

// Eval is the value of the text: of any type when it is one expression and
// nothing else, and a string otherwise.
func (t *Text) Eval(s *Scope) (any, error) {
	if x := t.Single(); x != nil {
		return x.Eval(s)
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.Eval(s)
		if err != nil {
			return nil, err
		}
		text, ok := toString(v)
		if !ok {
			return nil, &Error{Message: "The expression comes to " + KindName(v) + ", which cannot stand inside a text", Offset: p.at,
				Hint: "use convertToJson or join"}
		}
		if b.WriteString(text); b.Len() > maxSize {
			return nil, errorf("the text has more than %d bytes", maxSize)
		}
	}
	return b.String(), nil
}
