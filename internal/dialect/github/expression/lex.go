package expression

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenNull
	tokenTrue
	tokenFalse
	tokenNumber
	tokenString
	tokenWord // a context, a function or a property
	tokenLeftParen
	tokenRightParen
	tokenLeftBracket
	tokenRightBracket
	tokenComma
	tokenDot
	tokenStar
	tokenNot
	tokenAnd
	tokenOr
	tokenEqual
	tokenNotEqual
	tokenLess
	tokenLessEqual
	tokenGreater
	tokenGreaterEqual
)

type token struct {
	kind   tokenKind
	offset int
	text   string  // as written
	str    string  // of a string, without quotes
	num    float64 // of a number
}

// lex splits an expression into tokens, the last being tokenEnd. Text that is
// no word of the language is an error before any question of order: that is
// the line between lexical and syntax errors.
func lex(text string) ([]token, *Error) {
	if utf16Len(text) > MaxLength {
		return nil, &Error{
			Kind:    Lexical,
			Message: "the expression is longer than 21,000 characters",
			Hint:    "move what it computes into a step, an environment variable or an output",
		}
	}
	l := &lexer{text: text, tokens: make([]token, 0, 16)}
	for {
		l.skipSpace()
		if l.pos == len(text) {
			l.tokens = append(l.tokens, token{kind: tokenEnd, offset: len(text)})
			return l.tokens, nil
		}
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		l.tokens = append(l.tokens, t)
		l.pos = t.offset + len(t.text)
	}
}

type lexer struct {
	text   string
	pos    int
	tokens []token
}

func (l *lexer) skipSpace() {
	for l.pos < len(l.text) {
		r, size := utf8.DecodeRuneInString(l.text[l.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		l.pos += size
	}
}

func (l *lexer) next() (token, *Error) {
	rest := l.text[l.pos:]
	if len(rest) > 1 {
		if kind, ok := operator(rest[:2]); ok {
			return token{kind: kind, offset: l.pos, text: rest[:2]}, nil
		}
	}
	if kind, ok := operator(rest[:1]); ok {
		return token{kind: kind, offset: l.pos, text: rest[:1]}, nil
	}
	switch c := rest[0]; {
	case c == '\'':
		return l.quoted(rest)
	case c == '.' && l.afterValue():
		return token{kind: tokenDot, offset: l.pos, text: "."}, nil
	case c == '.' || c == '-' || c == '+' || isDigit(c):
		return l.number(rest)
	}
	return l.word(rest)
}

// afterValue reports whether a dot here takes a property; otherwise it begins
// a number, as in ".5".
func (l *lexer) afterValue() bool {
	if len(l.tokens) == 0 {
		return false
	}
	switch l.tokens[len(l.tokens)-1].kind {
	case tokenWord, tokenRightParen, tokenRightBracket, tokenStar:
		return true
	}
	return false
}

func operator(s string) (tokenKind, bool) {
	switch s {
	case "&&":
		return tokenAnd, true
	case "||":
		return tokenOr, true
	case "==":
		return tokenEqual, true
	case "!=":
		return tokenNotEqual, true
	case "<=":
		return tokenLessEqual, true
	case ">=":
		return tokenGreaterEqual, true
	case "<":
		return tokenLess, true
	case ">":
		return tokenGreater, true
	case "!":
		return tokenNot, true
	case "(":
		return tokenLeftParen, true
	case ")":
		return tokenRightParen, true
	case "[":
		return tokenLeftBracket, true
	case "]":
		return tokenRightBracket, true
	case ",":
		return tokenComma, true
	case "*":
		return tokenStar, true
	}
	return 0, false
}

// quoted reads a string; inside it two quotes stand for one.
func (l *lexer) quoted(rest string) (token, *Error) {
	doubled := false
	for i := 1; i < len(rest); i++ {
		if rest[i] != '\'' {
			continue
		}
		if i+1 < len(rest) && rest[i+1] == '\'' {
			doubled = true
			i++
			continue
		}
		s := rest[1:i]
		if doubled {
			s = strings.ReplaceAll(s, "''", "'")
		}
		return token{kind: tokenString, offset: l.pos, text: rest[:i+1], str: s}, nil
	}
	return token{}, &Error{
		Kind: Lexical, Offset: l.pos,
		Message: "the string " + clip(rest) + " has no closing quote",
		Hint:    "close it with ', and write '' for a quote inside it",
	}
}

// number reads as far as a number could go, dots included, and only then asks
// whether it is one, so that "1.2.3" is one wrong word.
func (l *lexer) number(rest string) (token, *Error) {
	raw := rest[:1+boundary(rest[1:], true)]
	n := parseNumber(raw)
	if math.IsNaN(n) {
		return token{}, errorAt(Lexical, l.pos, "%s is not a number", clip(raw))
	}
	return token{kind: tokenNumber, offset: l.pos, text: raw, num: n}, nil
}

func (l *lexer) word(rest string) (token, *Error) {
	_, size := utf8.DecodeRuneInString(rest)
	raw := rest[:size+boundary(rest[size:], false)]
	if !isWord(raw) {
		err := errorAt(Lexical, l.pos, "unexpected %s", clip(raw))
		switch raw[0] {
		case '"':
			err.Hint = "strings are written in single quotes"
		case '=':
			err.Hint = "equality is written =="
		case '&', '|':
			err.Hint = "the operators are && and ||"
		}
		return token{}, err
	}
	t := token{kind: tokenWord, offset: l.pos, text: raw}
	if n := len(l.tokens); n > 0 && l.tokens[n-1].kind == tokenDot {
		return t, nil // a property may have any name
	}
	switch raw {
	case "null":
		t.kind = tokenNull
	case "true":
		t.kind = tokenTrue
	case "false":
		t.kind = tokenFalse
	case "NaN", "Infinity":
		t.kind = tokenNumber
		t.num = constant(raw)
	}
	return t, nil
}

// boundary is the length of the longest prefix without a character that ends
// a word.
func boundary(s string, dots bool) int {
	for i, r := range s {
		switch r {
		case '(', ')', '[', ']', ',', '!', '<', '>', '=', '&', '|':
			return i
		case '.':
			if !dots {
				return i
			}
		default:
			if unicode.IsSpace(r) {
				return i
			}
		}
	}
	return len(s)
}

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (isDigit(c) || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// clip quotes a piece of the user's text for a message.
func clip(s string) string {
	const most = 60
	cut := 0
	for i := range s {
		if i > most {
			return "`" + s[:cut] + "…`"
		}
		cut = i
	}
	return "`" + s + "`"
}

// utf16Len is the length the way GitHub counts it.
func utf16Len[T ~string | ~[]byte](s T) int {
	n := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < utf8.RuneSelf, c >= 0xC0 && c < 0xF0:
			n++
		case c >= 0xF0:
			n += 2 // a surrogate pair
		}
	}
	return n
}
