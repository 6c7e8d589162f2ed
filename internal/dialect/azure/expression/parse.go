package expression

import (
	"fmt"
	"strings"
)

// node is a piece of an expression that was read.
type node struct {
	kind  nodeKind
	at    int    // byte of the expression
	text  string // of a name or a call
	value any    // of a literal
	args  []*node
}

type nodeKind uint8

const (
	literal  nodeKind = iota
	name              // a named value: variables
	call              // eq(a, b)
	index             // args[0] looked into by args[1]
	wildcard          // the * of a.*.b
)

// any reports whether f holds for a node of the tree; it is asked from the
// outside in.
func (n *node) any(f func(*node) bool) bool {
	if f(n) {
		return true
	}
	for _, a := range n.args {
		if a.any(f) {
			return true
		}
	}
	return false
}

// Parse reads an expression, without its brackets.
func Parse(text string) (*Expr, error) {
	if len(text) > maxLength {
		return nil, errorf("the expression has %d bytes; at most %d are read", len(text), maxLength)
	}
	p := &parser{text: text}
	if err := p.next(); err != nil {
		return nil, err
	}
	if p.token.kind == end {
		return nil, &Error{Message: "An expression is expected", Hint: "write one between the brackets", Offset: 0}
	}
	root, err := p.expr(0)
	if err != nil {
		return nil, err
	}
	if p.token.kind != end {
		return nil, p.unexpected()
	}
	return &Expr{text: text, root: root}, nil
}

// token is a word of an expression.
type token struct {
	kind  tokenKind
	at    int
	text  string
	value any // of a literal
}

type tokenKind uint8

const (
	end tokenKind = iota
	sign
	word
	constant
)

// parser reads tokens one at a time.
type parser struct {
	text  string
	pos   int
	token token
	last  token // the one before
}

func (p *parser) unexpected() error {
	if p.token.kind == end {
		return &Error{Message: "Unexpected end of the expression", Hint: "close its brackets", Offset: p.token.at}
	}
	return p.symbol(p.token.at, p.token.text)
}

func (p *parser) symbol(at int, text string) error {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return &Error{Message: fmt.Sprintf("Unexpected symbol: '%s'", text), Offset: at,
		Hint: "an expression is made of functions such as eq(a, 'b'), names and literals; texts stand in single quotes"}
}

func (p *parser) is(s string) bool { return p.token.kind == sign && p.token.text == s }

// expr reads one value and the indexes after it.
func (p *parser) expr(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, &Error{Message: fmt.Sprintf("the expression is nested more than %d deep", maxDepth), Offset: p.token.at}
	}
	t := p.token
	var n *node
	switch t.kind {
	case constant:
		n = &node{kind: literal, at: t.at, value: t.value}
	case word:
		n = &node{kind: name, at: t.at, text: t.text}
	default:
		return nil, p.unexpected()
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if n.kind == name && p.is("(") {
		n.kind = call
		if err := p.arguments(n, depth); err != nil {
			return nil, err
		}
	}
	for {
		depth++
		if depth > maxDepth {
			return nil, &Error{Message: fmt.Sprintf("the expression is nested more than %d deep", maxDepth), Offset: p.token.at}
		}
		at := p.token.at
		var key *node
		switch {
		case n.kind == literal:
			return n, nil
		case p.is("."):
			if err := p.next(); err != nil {
				return nil, err
			}
			switch {
			case p.is("*"):
				key = &node{kind: wildcard, at: p.token.at}
			case p.token.kind == word:
				key = &node{kind: literal, at: p.token.at, value: p.token.text}
			default:
				return nil, p.unexpected()
			}
		case p.is("["):
			if err := p.next(); err != nil {
				return nil, err
			}
			if p.is("*") {
				key = &node{kind: wildcard, at: p.token.at}
				if err := p.next(); err != nil {
					return nil, err
				}
			} else {
				var err error
				if key, err = p.expr(depth); err != nil {
					return nil, err
				}
			}
			if !p.is("]") {
				return nil, p.unexpected()
			}
		default:
			return n, nil
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		n = &node{kind: index, at: at, args: []*node{n, key}}
	}
}

// arguments reads (a, b) of a call.
func (p *parser) arguments(n *node, depth int) error {
	if err := p.next(); err != nil {
		return err
	}
	if p.is(")") {
		return p.next()
	}
	for {
		a, err := p.expr(depth + 1)
		if err != nil {
			return err
		}
		n.args = append(n.args, a)
		switch {
		case p.is(")"):
			return p.next()
		case !p.is(","):
			return p.unexpected()
		}
		if err := p.next(); err != nil {
			return err
		}
	}
}

// next reads the next token.
func (p *parser) next() error {
	p.last = p.token
	for p.pos < len(p.text) && space(p.text[p.pos]) {
		p.pos++
	}
	at := p.pos
	if at == len(p.text) {
		p.token = token{kind: end, at: at}
		return nil
	}
	switch c := p.text[at]; {
	case strings.IndexByte("()[],*", c) >= 0, c == '.' && p.afterValue():
		p.pos++
		p.token = token{kind: sign, at: at, text: string(c)}
	case c == '\'':
		return p.quoted()
	case c == '.', c == '-', c == '+', c >= '0' && c <= '9':
		return p.number()
	default:
		return p.word()
	}
	return nil
}

// afterValue reports whether what was read last can be looked into: then a
// point is no part of a number.
func (p *parser) afterValue() bool {
	return p.last.kind == word || p.last.kind == sign && (p.last.text == ")" || p.last.text == "]" || p.last.text == "*")
}

// quoted reads a text in single quotes; two of them stand for one.
func (p *parser) quoted() error {
	at := p.pos
	var b strings.Builder
	for i := at + 1; i < len(p.text); i++ {
		if p.text[i] != '\'' {
			b.WriteByte(p.text[i])
			continue
		}
		if i+1 < len(p.text) && p.text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.pos = i + 1
		p.token = token{kind: constant, at: at, text: p.text[at:p.pos], value: b.String()}
		return nil
	}
	return &Error{Message: fmt.Sprintf("Unexpected symbol: '%.60s'", p.text[at:]), Hint: "close the text with a single quote; a quote in it is written twice", Offset: at}
}

// number reads a number or a version.
func (p *parser) number() error {
	at := p.pos
	for p.pos < len(p.text) && (p.text[p.pos] == '.' || !boundary(p.text[p.pos])) {
		p.pos++
	}
	text := p.text[at:p.pos]
	p.token = token{kind: constant, at: at, text: text}
	if strings.Count(text, ".") >= 2 {
		if v, ok := ParseVersion(text); ok {
			p.token.value = v
			return nil
		}
	} else if n, ok := parseNumber(text); ok {
		p.token.value = n
		return nil
	}
	return p.symbol(at, text)
}

// word reads a name, or a literal that looks like one.
func (p *parser) word() error {
	at := p.pos
	for p.pos < len(p.text) && !boundary(p.text[p.pos]) {
		p.pos++
	}
	text := p.text[at:p.pos]
	if !Identifier(text) {
		return p.symbol(at, text)
	}
	p.token = token{kind: word, at: at, text: text}
	if p.last.kind == sign && p.last.text == "." {
		return nil
	}
	if p.last.kind == word || p.last.kind == constant {
		return p.symbol(at, text)
	}
	switch strings.ToLower(text) {
	case "true":
		p.token.kind, p.token.value = constant, true
	case "false":
		p.token.kind, p.token.value = constant, false
	case "null":
		p.token.kind, p.token.value = constant, nil
	}
	return nil
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func boundary(c byte) bool { return space(c) || strings.IndexByte("()[],.", c) >= 0 }

// Identifier reports whether a text can be a name: letters, digits and _,
// beginning with no digit.
func Identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
