// Package rule is the language of rules:if and only:variables.
//
//	$CI_COMMIT_BRANCH == "main" && ($DEPLOY =~ /^prod/i || $FORCE)
//
// A value is a text, a truth value, a regular expression or nothing; an
// undefined variable is nothing. Inside of && and || only nothing and false are
// untrue, and the operand that decided is the value; a whole expression
// that comes to an empty text is untrue, too. Variables are not expanded inside
// of texts. Regular expressions are RE2's, as Go has them.
//
// An expression is read once and never changes.
package rule

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits of an expression.
const (
	maxLength = 64 << 10 // bytes
	maxDepth  = 200      // parentheses inside one another
)

// SyntaxError is a text that is no expression.
type SyntaxError struct {
	Offset  int // bytes into the text
	Message string
}

func (e *SyntaxError) Error() string { return e.Message }

// Expression is one that was read.
type Expression struct{ root node }

// Lookup is the value of a variable; ok is false when it is not defined.
type Lookup func(name string) (value string, ok bool)

// Parse reads an expression. The error is a [*SyntaxError].
func Parse(text string) (*Expression, error) {
	if len(text) > maxLength {
		return nil, &SyntaxError{Message: fmt.Sprintf("the expression has more than %d characters", maxLength)}
	}
	p := &parser{lexer: lexer{text: text}}
	p.next()
	root := p.expression(0, 0)
	if p.err == nil && p.token.kind != end {
		p.fail(p.token.at, fmt.Sprintf("%s stands where the expression should end", p.token))
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Expression{root}, nil
}

// Holds reports whether the expression is true as a whole.
func (e *Expression) Holds(vars Lookup) bool {
	switch v := e.root.eval(vars).(type) {
	case bool:
		return v
	case string:
		return strings.TrimSpace(v) != ""
	case *regexp.Regexp:
		return true
	}
	return false
}

// Value is what the expression comes to: nil, bool, string, or a
// *regexp.Regexp.
func (e *Expression) Value(vars Lookup) any { return e.root.eval(vars) }

// node is a part of an expression.
type node interface {
	eval(Lookup) any
}

type (
	literal  struct{ value any }
	variable string
	binary   struct {
		op          string
		left, right node
	}
)

func (l literal) eval(Lookup) any { return l.value }

func (v variable) eval(vars Lookup) any {
	if value, ok := vars(string(v)); ok {
		return value
	}
	return nil
}

func (b *binary) eval(vars Lookup) any {
	left := b.left.eval(vars)
	switch b.op {
	case "&&":
		if !truthy(left) {
			return left
		}
		return b.right.eval(vars)
	case "||":
		if truthy(left) {
			return left
		}
		return b.right.eval(vars)
	}
	right := b.right.eval(vars)
	switch b.op {
	case "==":
		return equal(left, right)
	case "!=":
		return !equal(left, right)
	case "=~":
		return matches(left, right)
	}
	return !matches(left, right)
}

func truthy(v any) bool { return v != nil && v != false }

func equal(a, b any) bool {
	if x, ok := a.(*regexp.Regexp); ok {
		y, ok := b.(*regexp.Regexp)
		return ok && x.String() == y.String()
	}
	return a == b
}

// matches is =~. A text on the right that looks like /a pattern/ is one; any
// other text is searched for the one on the left, which is what GitLab does.
func matches(left, right any) bool {
	text := ""
	switch v := left.(type) {
	case string:
		text = v
	case bool:
		text = fmt.Sprint(v)
	case *regexp.Regexp:
		text = v.String()
	}
	switch r := right.(type) {
	case *regexp.Regexp:
		return r.MatchString(text)
	case string:
		if n, flags, ok := pattern(r); ok && n == len(r) {
			if re, err := compile(r, n, flags); err == nil {
				return re.MatchString(text)
			}
		}
		return strings.Contains(r, text)
	}
	return false
}

// kind of a token.
type kind uint8

const (
	end kind = iota
	open
	shut
	operand
	operator
)

type token struct {
	kind kind
	text string
	node node // of an operand
	at   int
}

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	text := t.text
	if len(text) > 60 {
		text = strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}

type lexer struct {
	text string
	pos  int
}

// operators by how loosely they bind.
var operators = map[string]int{"==": 3, "!=": 3, "=~": 3, "!~": 3, "&&": 2, "||": 1}

// lex is the next token.
func (l *lexer) lex() (token, *SyntaxError) {
	for l.pos < len(l.text) && strings.IndexByte(" \t\r\n\v\f", l.text[l.pos]) >= 0 {
		l.pos++
	}
	rest, at := l.text[l.pos:], l.pos
	take := func(n int, k kind, v node) (token, *SyntaxError) {
		l.pos += n
		return token{k, rest[:n], v, at}, nil
	}
	if rest == "" {
		return token{at: at}, nil
	}
	if len(rest) > 1 && operators[rest[:2]] > 0 {
		return take(2, operator, nil)
	}
	bad := func(format string, args ...any) (token, *SyntaxError) {
		return token{}, &SyntaxError{at, fmt.Sprintf(format, args...)}
	}
	switch rest[0] {
	case '(':
		return take(1, open, nil)
	case ')':
		return take(1, shut, nil)
	case '$':
		n := 1
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		if n > 1 {
			return take(n, operand, variable(rest[1:n]))
		}
		if strings.HasPrefix(rest, "${") {
			return bad("variables are written $NAME here, without braces")
		}
		return bad("a $ stands without a name")
	case '"', '\'':
		n := strings.IndexByte(rest[1:], rest[0])
		if n < 0 {
			return bad("a text begins here and has no closing %c", rest[0])
		}
		return take(n+2, operand, literal{rest[1 : n+1]})
	case '/':
		n, flags, ok := pattern(rest)
		if !ok {
			return bad("a regular expression begins here and has no closing /")
		}
		re, err := compile(rest, n, flags)
		if err != nil {
			return bad("the regular expression %s cannot be read: %v", token{kind: operand, text: rest[:n]}, err)
		}
		return take(n, operand, literal{re})
	}
	for word, value := range map[string]any{"null": nil, "true": true, "false": false} {
		if strings.HasPrefix(rest, word) && (len(rest) == len(word) || !isWord(rest[len(word)])) {
			return take(len(word), operand, literal{value})
		}
	}
	r, n := utf8.DecodeRuneInString(rest)
	for n < len(rest) && isWord(rest[n]) && isWord(rest[0]) {
		n++
	}
	if n > 1 && isWord(rest[0]) {
		return bad("%s is neither a $VARIABLE nor a \"text\"", token{kind: operand, text: rest[:n]})
	}
	return bad("%q has no meaning here", r)
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// pattern finds the end of a /regular expression/flags, and where its flags
// begin.
func pattern(s string) (length, flags int, ok bool) {
	if s == "" || s[0] != '/' {
		return 0, 0, false
	}
	for i := 2; i < len(s); i++ {
		if s[i] != '/' || s[i-1] == '\\' {
			continue
		}
		n := i + 1
		for n < len(s) && strings.IndexByte("ismU", s[n]) >= 0 {
			n++
		}
		return n, i + 1, true
	}
	return 0, 0, false
}

// compile is the regular expression s[:n], whose flags begin at flags.
func compile(s string, n, flags int) (*regexp.Regexp, error) {
	body := strings.ReplaceAll(s[1:flags-1], `\/`, "/")
	if n > flags {
		body = "(?" + s[flags:n] + ")" + body
	}
	return regexp.Compile(body)
}

type parser struct {
	lexer
	token token
	err   error
}

func (p *parser) fail(at int, message string) {
	if p.err == nil {
		p.err = &SyntaxError{at, message}
	}
	p.token = token{at: at}
}

func (p *parser) next() {
	if p.err != nil {
		return
	}
	t, err := p.lex()
	if err != nil {
		p.fail(err.Offset, err.Message)
		return
	}
	p.token = t
}

// expression reads operands and the operators that bind more tightly than
// least.
func (p *parser) expression(least, depth int) node {
	left := p.operand(depth)
	for p.err == nil && p.token.kind == operator && operators[p.token.text] > least {
		op := p.token.text
		p.next()
		left = &binary{op, left, p.expression(operators[op], depth)}
	}
	return left
}

func (p *parser) operand(depth int) node {
	t := p.token
	switch {
	case t.kind == operand:
		p.next()
		return t.node
	case t.kind == open && depth >= maxDepth:
		p.fail(t.at, fmt.Sprintf("more than %d parentheses stand inside one another", maxDepth))
	case t.kind == open:
		p.next()
		inner := p.expression(0, depth+1)
		if p.err == nil && p.token.kind != shut {
			p.fail(t.at, "this ( is not closed")
		}
		p.next()
		return inner
	case t.kind == end && t.at == 0:
		p.fail(0, "the expression is empty")
	default:
		p.fail(t.at, fmt.Sprintf("a $VARIABLE, a \"text\", a /pattern/ or null is missing before %s", t))
	}
	return literal{}
}
