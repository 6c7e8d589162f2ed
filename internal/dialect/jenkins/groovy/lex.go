package groovy

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is.
type kind byte

const (
	tEOF     kind = iota
	tIdent        // also of words that have a meaning in places: as, in, def …
	tWord         // a keyword
	tNumber       // value
	tString       // value, quote
	tGString      // strings, holes, quote
	tOp           // operators and brackets
	tSemi         // ;
)

// token is one word. text is the operator or name.
type token struct {
	Span
	kind    kind
	newline bool // a line ended between the token before and this one
	space   bool // white space or a comment stands before it
	quote   Quote
	text    string
	value   Value
	strings []string
	holes   []hole
}

// hole is what stands in a string after $, or in ${ }.
type hole struct {
	Span
	tokens []token // ends with tEOF
	braces bool
}

var keywords = map[string]bool{
	"abstract": true, "assert": true, "boolean": true, "break": true, "byte": true, "case": true, "catch": true,
	"char": true, "class": true, "const": true, "continue": true, "default": true, "def": true, "do": true,
	"double": true, "else": true, "enum": true, "extends": true, "false": true, "final": true, "finally": true,
	"float": true, "for": true, "goto": true, "if": true, "implements": true, "import": true, "in": true,
	"instanceof": true, "int": true, "interface": true, "long": true, "native": true, "new": true, "null": true,
	"package": true, "private": true, "protected": true, "public": true, "return": true, "short": true,
	"static": true, "strictfp": true, "super": true, "switch": true, "synchronized": true, "this": true,
	"throw": true, "throws": true, "transient": true, "true": true, "try": true, "void": true, "volatile": true,
	"while": true, "as": true,
}

// primitives are the keywords that are types.
var primitives = map[string]bool{
	"boolean": true, "byte": true, "char": true, "double": true, "float": true,
	"int": true, "long": true, "short": true, "void": true,
}

// operators, longest first. > is read alone, because it also closes type
// arguments; the parser puts >> and >>> together.
var operators = []string{
	"==~", "===", "!==", "<=>", "<<=", "**=", "...", "..<",
	"*.", "?.", "?:", ".&", ".@", "::", "->", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
	"==", "!=", "<=", ">=", "&&", "||", "=~", "<<", "**", "..",
	"(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "%", "=", "<", ">", "!", "~", "?", ":", ",", ".", "&", "|", "^", "@",
}

// bail ends lexing or parsing with a problem; Parse recovers it.
type bail struct {
	offset  int
	message string
	hint    string
}

func fail(offset int, hint, format string, args ...any) {
	panic(bail{offset, fmt.Sprintf(format, args...), hint})
}

// lexer reads words from a text.
type lexer struct {
	src   string
	pos   int
	out   []token
	open  []byte // brackets that are open
	depth int    // of holes in holes
}

// lex reads words to the end of the text, or behind the } that closes a hole.
func (l *lexer) lex(inHole bool) {
	newline, space := false, false
	for {
		blank, line := l.blank()
		space = space || blank
		newline = newline || line
		if l.pos >= len(l.src) {
			if inHole {
				fail(l.pos, "close the hole with }", "unexpected end of file inside ${ in a string")
			}
			l.out = append(l.out, token{Span: Span{l.pos, l.pos}, kind: tEOF, newline: true, space: true})
			return
		}
		if inHole && l.src[l.pos] == '}' && len(l.open) == 0 {
			l.out = append(l.out, token{Span: Span{l.pos, l.pos}, kind: tEOF, newline: true, space: true})
			l.pos++
			return
		}
		// Inside parentheses and square brackets lines do not end anything.
		if n := len(l.open); n > 0 && l.open[n-1] != '{' {
			newline = false
		}
		start := l.pos
		tok := l.next()
		tok.Span = Span{start, l.pos}
		tok.newline, tok.space = newline, space
		l.out = append(l.out, tok)
		newline, space = false, false
	}
}

// blank skips white space and comments.
func (l *lexer) blank() (any, line bool) {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\f':
			l.pos++
		case c == '\n' || c == '\r':
			l.pos++
			line = true
		case c == '\\' && (strings.HasPrefix(rest, "\\\n") || strings.HasPrefix(rest, "\\\r\n")):
			l.pos += 1 + strings.IndexByte(rest, '\n')
		case strings.HasPrefix(rest, "//"), l.pos == 0 && strings.HasPrefix(rest, "#!"):
			if n := strings.IndexAny(rest, "\r\n"); n >= 0 {
				l.pos += n
			} else {
				l.pos = len(l.src)
			}
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				fail(l.pos, "close it with */", "a comment that never ends")
			}
			line = line || strings.Contains(rest[:n+4], "\n")
			l.pos += n + 4
		case strings.HasPrefix(rest, "\ufeff"), strings.HasPrefix(rest, "\u00a0"):
			_, n := utf8.DecodeRuneInString(rest)
			l.pos += n
		default:
			return any, line
		}
		any = true
	}
	return any, line
}

// next reads one word; there is one.
func (l *lexer) next() token {
	rest := l.src[l.pos:]
	c := rest[0]
	switch {
	case c >= '0' && c <= '9':
		return l.number()
	case c == '\'' || c == '"':
		triple := strings.HasPrefix(rest, strings.Repeat(string(c), 3))
		switch {
		case c == '\'' && triple:
			return l.text(TripleSingle, "'''", "'''")
		case c == '\'':
			return l.text(Single, "'", "'")
		case triple:
			return l.text(TripleDouble, `"""`, `"""`)
		}
		return l.text(Double, `"`, `"`)
	case c == ';':
		l.pos++
		return token{kind: tSemi, text: ";"}
	case strings.HasPrefix(rest, "$/") && l.wantsValue():
		return l.text(DollarSlashy, "$/", "/$")
	case c == '/' && l.wantsValue():
		return l.text(Slashy, "/", "/")
	}
	if n := identLen(rest); n > 0 {
		word := rest[:n]
		l.pos += n
		if keywords[word] {
			return token{kind: tWord, text: word}
		}
		return token{kind: tIdent, text: word}
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			return l.operator(op)
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	hint := ""
	switch r {
	case '“', '”', '‘', '’':
		hint = "a typographic quote; write ' or \""
	case '#':
		hint = "comments begin with //"
	}
	fail(l.pos, hint, "unexpected char: %q", r)
	return token{}
}

// operator takes an operator and keeps count of brackets.
func (l *lexer) operator(op string) token {
	switch op {
	case "(", "[", "{":
		if len(l.open) >= MaxNesting {
			fail(l.pos, "", "brackets nested more than %d deep", MaxNesting)
		}
		l.open = append(l.open, op[0])
	case ")", "]", "}":
		if n := len(l.open); n > 0 {
			if want := closing(l.open[n-1]); want != op[0] {
				fail(l.pos, "", "unexpected token: %s, expecting '%c'", op, want)
			}
			l.open = l.open[:n-1]
		}
	}
	l.pos += len(op)
	return token{kind: tOp, text: op}
}

func closing(open byte) byte {
	switch open {
	case '(':
		return ')'
	case '[':
		return ']'
	}
	return '}'
}

// wantsValue reports whether a value may begin here, so that / begins a
// string and does not divide.
func (l *lexer) wantsValue() bool {
	if len(l.out) == 0 {
		return true
	}
	switch last := l.out[len(l.out)-1]; last.kind {
	case tIdent, tNumber, tString, tGString:
		return false
	case tWord:
		switch last.text {
		case "this", "super", "null", "true", "false":
			return false
		}
	case tOp:
		switch last.text {
		case ")", "]", "}", "++", "--":
			return false
		}
	}
	return true
}

// identLen is the length of the name at the beginning, 0 for none.
func identLen(s string) int {
	for i, r := range s {
		if r == '_' || r == '$' || r < 0x80 && (r|0x20 >= 'a' && r|0x20 <= 'z') || r >= 0x80 && unicode.IsLetter(r) {
			continue
		}
		if i > 0 && r >= '0' && r <= '9' {
			continue
		}
		return i
	}
	return len(s)
}

// number reads a number.
func (l *lexer) number() token {
	s := l.src[l.pos:]
	base, i := 10, 0
	digits := func(ok func(byte) bool) {
		for i < len(s) && (ok(s[i]) || s[i] == '_' && i > 0) {
			i++
		}
	}
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	fraction := false
	switch {
	case len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x':
		base, i = 16, 2
		digits(func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' })
	case len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'b':
		base, i = 2, 2
		digits(func(c byte) bool { return c == '0' || c == '1' })
	default:
		digits(isDigit)
		if i+1 < len(s) && s[i] == '.' && isDigit(s[i+1]) {
			fraction = true
			i++
			digits(isDigit)
		}
		if i < len(s) && s[i]|0x20 == 'e' {
			j := i + 1
			if j < len(s) && (s[j] == '+' || s[j] == '-') {
				j++
			}
			if j < len(s) && isDigit(s[j]) {
				fraction, i = true, j
				digits(isDigit)
			}
		}
		if !fraction && i > 1 && s[0] == '0' {
			base = 8
		}
	}
	text := strings.ReplaceAll(s[:i], "_", "")
	if base == 16 || base == 2 {
		text = text[2:]
	}
	var suffix byte
	if i < len(s) {
		switch c := s[i] | 0x20; {
		case c == 'l' || c == 'g' || c == 'i', (c == 'd' || c == 'f') && base == 10:
			suffix = c
			i++
		}
	}
	if n := identLen(s[i:]); n > 0 {
		if s[i-1] == '_' {
			fail(l.pos, "", "expecting token in range: '0'..'9', found '%c'", s[i])
		}
		if next := strings.TrimLeft(s[i+n:], " \t"); strings.HasPrefix(next, "=") {
			// A wrong name of a variable, which whoever reads it complains about.
			l.pos += i + n
			return token{kind: tIdent, text: s[:i+n]}
		}
		fail(l.pos, "a name does not begin with a digit, and text needs quotes", "unexpected token: %s", s[:i+n])
	}
	at := l.pos
	l.pos += i
	return token{kind: tNumber, text: s[:i], value: numberValue(at, text, base, fraction, suffix)}
}

// numberValue is the value of the digits of a number.
func numberValue(at int, text string, base int, fraction bool, suffix byte) Value {
	if len(text) > 1000 {
		fail(at, "", "a number of more than 1000 digits")
	}
	if fraction || suffix == 'd' || suffix == 'f' || suffix == 'g' && fraction {
		if suffix == 'd' || suffix == 'f' {
			f, _ := strconv.ParseFloat(text, 64)
			return f
		}
		d, err := parseDecimal(text)
		if err != nil {
			fail(at, "", "%s is no number: %v", text, err)
		}
		return d
	}
	n, ok := new(big.Int).SetString(text, base)
	if !ok {
		fail(at, "", "%s is no number", text)
	}
	// Of 0xFFFFFFFF the bits count.
	bits := uint(n.BitLen())
	switch {
	case suffix == 'g':
		return n
	case suffix == 'l':
		if bits > 63 && !(base != 10 && bits == 64) {
			fail(at, "", "%s does not fit into a Long", text)
		}
		return int64(n.Uint64())
	case suffix == 'i' && (bits <= 31 || base != 10 && bits == 32):
		return int32(uint32(n.Uint64()))
	case bits <= 31:
		return int32(n.Int64())
	case base != 10 && bits == 32:
		return int32(uint32(n.Uint64()))
	case bits <= 63:
		return n.Int64()
	}
	return n
}

// text reads a string of any kind.
func (l *lexer) text(q Quote, open, closer string) token {
	start := l.pos
	l.pos += len(open)
	tok := token{kind: tString, quote: q}
	var b strings.Builder
	holes := q != Single && q != TripleSingle
	for {
		if l.pos >= len(l.src) {
			fail(start, "close it with "+closer, "a string that never ends")
		}
		rest := l.src[l.pos:]
		switch c := rest[0]; {
		case strings.HasPrefix(rest, closer):
			l.pos += len(closer)
			tok.text = b.String()
			if tok.kind == tGString {
				tok.strings = append(tok.strings, tok.text)
			} else {
				tok.value = tok.text
			}
			return tok
		case c == '\n' && (q == Single || q == Double):
			fail(l.pos, "close it with "+closer+", or use "+strings.Repeat(closer, 3)+" for several lines", "unexpected end of line in a string")
		case c == '\r' && strings.HasPrefix(rest, "\r\n"):
			l.pos++ // text has the line ends of Unix
		case c == '\\':
			l.escape(q, &b)
		case c == '$' && q == DollarSlashy && (strings.HasPrefix(rest, "$$") || strings.HasPrefix(rest, "$/")):
			b.WriteByte(rest[1])
			l.pos += 2
		case c == '$' && holes:
			n := identLen(rest[1:])
			switch {
			case strings.HasPrefix(rest, "${"), n > 0 && rest[1] != '$':
				tok.kind = tGString
				tok.strings = append(tok.strings, b.String())
				b.Reset()
				tok.holes = append(tok.holes, l.hole())
			case q == Double || q == TripleDouble:
				fail(l.pos, `either escape a literal dollar sign "\$5" or bracket the value expression "${5}"`, "illegal string body character after dollar sign")
			default:
				b.WriteByte('$')
				l.pos++
			}
		default:
			// Everything up to the next character that may mean something.
			n := 1 + strings.IndexAny(rest[1:], "\\$\r\n'\"/")
			if n == 0 {
				n = len(rest)
			}
			b.WriteString(rest[:n])
			l.pos += n
		}
	}
}

// escape reads a backslash and what belongs to it.
func (l *lexer) escape(q Quote, b *strings.Builder) {
	rest := l.src[l.pos:]
	var c byte
	if len(rest) > 1 {
		c = rest[1]
	}
	if c == 'u' {
		i := 1
		for i < len(rest) && rest[i] == 'u' {
			i++
		}
		if i+4 <= len(rest) {
			if n, err := strconv.ParseUint(rest[i:i+4], 16, 16); err == nil {
				r := rune(n)
				l.pos += i + 4
				// Two escapes may make one character.
				if next := l.src[l.pos:]; n >= 0xD800 && n < 0xDC00 && len(next) >= 6 && next[0] == '\\' && next[1] == 'u' {
					if low, err := strconv.ParseUint(next[2:6], 16, 16); err == nil && low >= 0xDC00 && low < 0xE000 {
						r = 0x10000 + (r-0xD800)<<10 + rune(low) - 0xDC00
						l.pos += 6
					}
				}
				b.WriteRune(r)
				return
			}
		}
	}
	if q == Slashy || q == DollarSlashy {
		if c == '/' && q == Slashy {
			b.WriteByte('/')
			l.pos += 2
			return
		}
		b.WriteByte('\\')
		l.pos++
		return
	}
	l.pos += 2
	switch c {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case '\\', '\'', '"', '$':
		b.WriteByte(c)
	case '\n': // the line goes on
	case '\r':
		if strings.HasPrefix(l.src[l.pos:], "\n") {
			l.pos++
		}
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n := 1
		for n < 3 && n+1 < len(rest) && rest[n+1] >= '0' && rest[n+1] <= '7' && (n < 2 || c <= '3') {
			n++
		}
		v, _ := strconv.ParseUint(rest[1:1+n], 8, 16)
		b.WriteRune(rune(v))
		l.pos += n - 1
	default:
		fail(l.pos-2, `write \\ for a backslash`, `unexpected char: '\'`)
	}
}

// hole reads $name, $name.name or ${ … }.
func (l *lexer) hole() hole {
	start := l.pos
	l.pos++
	if l.src[l.pos] == '{' {
		l.pos++
		if l.depth++; l.depth > maxHoleDepth {
			fail(start, "", "strings in strings nested more than %d deep", maxHoleDepth)
		}
		inner := &lexer{src: l.src, pos: l.pos, depth: l.depth}
		inner.lex(true)
		l.depth--
		l.pos = inner.pos
		return hole{Span: Span{start, l.pos}, tokens: inner.out, braces: true}
	}
	h := hole{}
	for {
		n := 0
		for i, r := range l.src[l.pos:] {
			if r == '_' || unicode.IsLetter(r) || i > 0 && r >= '0' && r <= '9' {
				n = i + utf8.RuneLen(r)
				continue
			}
			break
		}
		word := l.src[l.pos : l.pos+n]
		kind := tIdent
		if len(h.tokens) == 0 && keywords[word] {
			kind = tWord
		}
		h.tokens = append(h.tokens, token{Span: Span{l.pos, l.pos + n}, kind: kind, text: word})
		l.pos += n
		// A dot belongs to it when a name follows.
		if next := l.src[l.pos:]; len(next) < 2 || next[0] != '.' || identLen(next[1:]) == 0 || next[1] == '$' {
			break
		}
		h.tokens = append(h.tokens, token{Span: Span{l.pos, l.pos + 1}, kind: tOp, text: "."})
		l.pos++
	}
	h.Span = Span{start, l.pos}
	h.tokens = append(h.tokens, token{Span: Span{l.pos, l.pos}, kind: tEOF, newline: true, space: true})
	return h
}
