package groovy

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Parse reads a file. It always returns a Script; a script with problems has
// no statements. As in Groovy itself reading ends at the first thing that
// cannot be understood.
func Parse(file, src string) (script *Script, problems []*Problem) {
	script = &Script{File: file, Class: "WorkflowScript", src: src, lines: []int{0}}
	if name, ok := strings.CutSuffix(path.Base(file), ".groovy"); ok {
		script.Class = name
	}
	for i := range len(src) {
		if src[i] == '\n' {
			script.lines = append(script.lines, i+1)
		}
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case bail:
			at := script.Position(r.offset)
			script.Stmts = nil
			problems = []*Problem{{File: file, Line: at.Line, Column: at.Column, Message: r.message, Hint: r.hint}}
		default:
			panic(r)
		}
	}()
	if len(src) > MaxSource {
		fail(0, "", "a file of more than %d bytes", MaxSource)
	}
	if i := invalidUTF8(src); i >= 0 {
		fail(i, "save the file as UTF-8", "text that is not UTF-8")
	}
	l := &lexer{src: src}
	l.lex(false)
	p := &parser{src: src, toks: l.out}
	p.stmts(&script.Stmts, true)
	if p.tok().kind != tEOF {
		p.unexpected("")
	}
	return script, nil
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

// parser reads statements and expressions from words.
type parser struct {
	src   string
	toks  []token
	pos   int
	depth int
	class string // the name of the class around, for constructors
}

func (p *parser) tok() *token { return &p.toks[p.pos] }

// peek is the word n further on, or back; the last one is the end.
func (p *parser) peek(n int) *token { return &p.toks[max(0, min(p.pos+n, len(p.toks)-1))] }

// next takes the word.
func (p *parser) next() *token {
	t := p.tok()
	if t.kind != tEOF {
		p.pos++
	}
	return t
}

// end is where the last word taken ended.
func (p *parser) end() int {
	if p.pos == 0 {
		return p.toks[0].Start
	}
	return p.toks[p.pos-1].End
}

func (p *parser) from(start int) Span { return Span{start, p.end()} }

func (t *token) op(s string) bool   { return t.kind == tOp && t.text == s }
func (t *token) word(s string) bool { return t.kind == tWord && t.text == s }

// accept takes the operator if it is there.
func (p *parser) accept(op string) bool {
	if p.tok().op(op) {
		p.pos++
		return true
	}
	return false
}

// expect takes the operator, which has to be there.
func (p *parser) expect(op string) {
	if !p.accept(op) {
		p.unexpected("'" + op + "'")
	}
}

// unexpected ends reading at the word that is there.
func (p *parser) unexpected(expecting string) {
	t := p.tok()
	found, hint := "unexpected end of file", ""
	if t.kind != tEOF {
		found = "unexpected token: " + shorten(p.src[t.Start:t.End])
	}
	if t.kind == tOp && t.newline && precedence[t.text] > 0 {
		hint = "the line before ended the statement: an operator stands at the end of its line"
	}
	if t.op("{") && t.newline {
		hint = "a block that belongs to a call begins on the same line"
	}
	if expecting != "" {
		found += ", expecting " + expecting
	}
	fail(t.Start, hint, "%s", found)
}

func shorten(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// enter counts nesting; leave with the function it returns.
func (p *parser) enter() func() {
	if p.depth++; p.depth > MaxNesting {
		fail(p.tok().Start, "", "nested more than %d deep", MaxNesting)
	}
	return p.leave
}

func (p *parser) leave() { p.depth-- }

// stmts reads statements up to a } or the end.
func (p *parser) stmts(list *[]Stmt, top bool) {
	for {
		for p.tok().kind == tSemi {
			p.pos++
		}
		t := p.tok()
		if t.kind == tEOF || t.op("}") || t.word("case") || t.word("default") && p.peek(1).op(":") {
			return
		}
		*list = append(*list, p.stmt(top))
		p.terminator()
	}
}

// terminator checks that the statement has ended.
func (p *parser) terminator() {
	if t := p.tok(); t.kind != tSemi && t.kind != tEOF && !t.newline && !t.op("}") {
		p.unexpected("")
	}
}

// block reads { statements }.
func (p *parser) block() *Block {
	start := p.tok().Start
	p.expect("{")
	b := &Block{}
	p.stmts(&b.Stmts, false)
	p.expect("}")
	b.Span = p.from(start)
	b.declares = slices.ContainsFunc(b.Stmts, func(s Stmt) bool {
		if l, ok := s.(*LabeledStmt); ok {
			s = l.Body
		}
		_, ok := s.(*VarDecl)
		return ok
	})
	return b
}

// body is the statement that an if or a loop governs.
func (p *parser) body() Stmt {
	if p.tok().kind == tSemi {
		return &EmptyStmt{p.next().Span}
	}
	if p.tok().op("{") && !p.closureParams() {
		return p.block()
	}
	return p.stmt(false)
}

func (p *parser) stmt(top bool) Stmt {
	defer p.enter()()
	t := p.tok()
	start := t.Start
	switch t.kind {
	case tOp:
		switch t.text {
		case "{":
			if p.closureParams() {
				break
			}
			if last := p.peek(-1); t.newline && !last.op("{") && !last.op("->") && !last.op(":") && last.kind != tSemi {
				fail(start, "a block that belongs to a call begins on the same line; one that stands alone needs a label", "ambiguous: a closure without parameters, a block that stands alone, or the rest of the statement before it")
			}
			return p.block()
		case "@":
			return p.declaration(top)
		case "(":
			if p.tupleAhead(p.pos) {
				return p.tupleAssign()
			}
		}
	case tIdent:
		if p.peek(1).op(":") {
			p.pos += 2
			body := p.body()
			return &LabeledStmt{p.from(start), t.text, body}
		}
		if t.text == "trait" && p.peek(1).kind == tIdent && top && p.peek(2).kind != tString {
			return p.declaration(top)
		}
		if p.declares() {
			return p.declaration(top)
		}
	case tWord:
		if s := p.wordStmt(top); s != nil {
			return s
		}
	}
	x := p.expression(true)
	return &ExprStmt{p.from(start), x}
}

// wordStmt reads a statement that begins with a keyword; nil when the keyword
// begins an expression.
func (p *parser) wordStmt(top bool) Stmt {
	t := p.tok()
	start := t.Start
	switch t.text {
	case "if":
		p.pos++
		p.expect("(")
		s := &IfStmt{Cond: p.expression(false)}
		p.expect(")")
		s.Then = p.body()
		i := p.pos
		for p.tok().kind == tSemi {
			p.pos++
		}
		if p.tok().word("else") {
			p.pos++
			s.Else = p.body()
		} else {
			p.pos = i
		}
		s.Span = p.from(start)
		return s
	case "while":
		p.pos++
		p.expect("(")
		s := &WhileStmt{Cond: p.expression(false)}
		p.expect(")")
		s.Body = p.body()
		s.Span = p.from(start)
		return s
	case "do":
		p.pos++
		s := &WhileStmt{Do: true, Body: p.body()}
		for p.tok().kind == tSemi {
			p.pos++
		}
		p.expectWord("while")
		p.expect("(")
		s.Cond = p.expression(false)
		p.expect(")")
		s.Span = p.from(start)
		return s
	case "for":
		return p.forStmt()
	case "switch":
		return p.switchStmt()
	case "try":
		return p.tryStmt()
	case "throw":
		p.pos++
		x := p.expression(false)
		return &ThrowStmt{p.from(start), x}
	case "return":
		p.pos++
		s := &ReturnStmt{}
		if n := p.tok(); !n.newline && n.kind != tSemi && n.kind != tEOF && !n.op("}") {
			s.X = p.expression(true)
		}
		s.Span = p.from(start)
		return s
	case "break", "continue":
		p.pos++
		label := ""
		if n := p.tok(); n.kind == tIdent && !n.newline {
			label = p.next().text
		}
		if t.text == "break" {
			return &BreakStmt{p.from(start), label}
		}
		return &ContinueStmt{p.from(start), label}
	case "assert":
		p.pos++
		s := &AssertStmt{Cond: p.expression(false)}
		if p.accept(":") || p.accept(",") {
			s.Message = p.expression(false)
		}
		s.Span = p.from(start)
		return s
	case "import":
		return p.importStmt(Modifiers{}, start)
	case "package":
		p.pos++
		name := p.qualified()
		return &PackageStmt{p.from(start), name}
	case "synchronized":
		if p.peek(1).op("(") {
			// Scripts take turns, so the lock is not needed.
			p.pos++
			p.expect("(")
			p.expression(false)
			p.expect(")")
			return p.block()
		}
		return p.declaration(top)
	case "def", "final", "static", "public", "private", "protected", "abstract", "transient", "volatile", "native",
		"strictfp", "class", "interface", "enum":
		return p.declaration(top)
	}
	if primitives[t.text] && p.declares() {
		return p.declaration(top)
	}
	return nil
}

func (p *parser) expectWord(w string) {
	if !p.tok().word(w) {
		p.unexpected("'" + w + "'")
	}
	p.pos++
}

func (p *parser) forStmt() Stmt {
	start := p.next().Start
	p.expect("(")
	// for (x in y), for (T x in y), for (x : y)
	i := p.pos
	v := &Var{}
	for p.tok().word("def") || p.tok().word("final") {
		p.pos++
	}
	if typ, n, ok := p.typeAt(p.pos); ok && p.toks[n].kind == tIdent {
		v.Type, p.pos = typ, n
	}
	if t := p.tok(); t.kind == tIdent && (p.peek(1).word("in") || p.peek(1).op(":")) {
		v.Span, v.Name = t.Span, t.text
		p.pos += 2
		s := &ForInStmt{Var: v, X: p.expression(false)}
		p.expect(")")
		s.Body = p.body()
		s.Span = p.from(start)
		return s
	}
	p.pos = i
	s := &ForStmt{}
	if p.tok().kind != tSemi {
		if p.tupleAhead(p.pos) {
			s.Init = append(s.Init, p.tupleAssign())
		} else {
			s.Init = append(s.Init, p.stmt(false))
		}
		for p.accept(",") {
			x := p.expression(false)
			s.Init = append(s.Init, &ExprStmt{x.At(), x})
		}
	}
	p.semicolon()
	if p.tok().kind != tSemi {
		s.Cond = p.expression(false)
	}
	p.semicolon()
	for !p.tok().op(")") {
		s.Post = append(s.Post, p.expression(false))
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	s.Body = p.body()
	s.Span = p.from(start)
	return s
}

func (p *parser) semicolon() {
	if p.tok().kind != tSemi {
		p.unexpected("';'")
	}
	p.pos++
}

func (p *parser) switchStmt() Stmt {
	start := p.next().Start
	p.expect("(")
	s := &SwitchStmt{X: p.expression(false)}
	p.expect(")")
	p.expect("{")
	for !p.tok().op("}") {
		c := &Case{}
		at := p.tok().Start
		switch {
		case p.tok().kind == tSemi:
			p.pos++
			continue
		case p.tok().word("default"):
			p.pos++
		case p.tok().word("case"):
			p.pos++
			c.Match = p.expression(false)
		default:
			p.unexpected("'case' or 'default'")
		}
		p.expect(":")
		p.stmts(&c.Body, false)
		c.Span = p.from(at)
		s.Cases = append(s.Cases, c)
	}
	p.expect("}")
	s.Span = p.from(start)
	return s
}

func (p *parser) tryStmt() Stmt {
	start := p.next().Start
	s := &TryStmt{}
	if p.accept("(") {
		for !p.tok().op(")") {
			s.Resources = append(s.Resources, p.stmt(false))
			if p.tok().kind == tSemi {
				p.pos++
			}
		}
		p.expect(")")
	}
	s.Body = p.block()
	for p.tok().word("catch") {
		at := p.next().Start
		c := &Catch{}
		p.expect("(")
		for p.tok().word("final") || p.tok().word("def") {
			p.pos++
		}
		if !(p.tok().kind == tIdent && p.peek(1).op(")")) {
			for {
				c.Types = append(c.Types, p.typeRef())
				if !p.accept("|") {
					break
				}
			}
		}
		c.Name = p.name()
		p.expect(")")
		c.Body = p.block()
		c.Span = p.from(at)
		s.Catches = append(s.Catches, c)
	}
	if p.tok().word("finally") {
		p.pos++
		s.Finally = p.block()
	}
	if len(s.Catches) == 0 && s.Finally == nil && len(s.Resources) == 0 {
		p.unexpected("'catch' or 'finally'")
	}
	s.Span = p.from(start)
	return s
}

func (p *parser) name() string {
	if p.tok().kind != tIdent {
		p.unexpected("a name")
	}
	return p.next().text
}

// qualified reads a name with dots.
func (p *parser) qualified() string {
	name := p.name()
	for parts := 1; parts < maxNameParts && p.tok().op(".") && (p.peek(1).kind == tIdent || p.peek(1).kind == tWord); parts++ {
		p.pos++
		name += "." + p.next().text
	}
	return name
}

func (p *parser) importStmt(m Modifiers, start int) Stmt {
	p.pos++
	s := &ImportStmt{Modifiers: m}
	if p.tok().word("static") {
		p.pos++
		s.Static = true
	}
	s.Name = p.qualified()
	switch {
	case p.tok().op(".") && p.peek(1).op("*"):
		p.pos += 2
		s.Star = true
		if s.Static {
			s.Member = "*"
		}
	case p.tok().op("*."), p.tok().op(".*"):
		p.unexpected("")
	case s.Static:
		i := strings.LastIndexByte(s.Name, '.')
		if i < 0 {
			p.unexpected("a class and its member")
		}
		s.Name, s.Member = s.Name[:i], s.Name[i+1:]
	}
	if p.tok().word("as") {
		p.pos++
		s.Alias = p.name()
	}
	s.Span = p.from(start)
	return s
}

// tupleAhead reports whether (a, b) = stands at i.
func (p *parser) tupleAhead(i int) bool {
	if !p.toks[i].op("(") {
		return false
	}
	for i++; i < len(p.toks); i++ {
		switch t := &p.toks[i]; {
		case t.op(")"):
			return p.toks[i+1].op("=")
		case t.kind == tIdent, t.op(","), t.op("."), primitives[t.text]:
		default:
			return false
		}
	}
	return false
}

func (p *parser) tupleAssign() Stmt {
	start := p.tok().Start
	p.expect("(")
	tuple := &TupleExpr{}
	for !p.tok().op(")") {
		tuple.Items = append(tuple.Items, p.expression(false))
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	tuple.Span = p.from(start)
	p.expect("=")
	value := p.expression(true)
	x := &AssignExpr{p.from(start), "=", tuple, value}
	return &ExprStmt{x.Span, x}
}

// declares reports whether the words ahead are a type and a name, and thus
// declare something.
func (p *parser) declares() bool {
	typ, n, ok := p.typeAt(p.pos)
	if !ok || !isType(typ) {
		return false
	}
	name, after := &p.toks[n], &p.toks[min(n+1, len(p.toks)-1)]
	if name.kind != tIdent && !(name.kind == tString && after.op("(")) || name.newline {
		return false
	}
	return after.newline || after.kind == tEOF || after.kind == tSemi || after.op("=") || after.op(",") || after.op("(") || after.op("}") || after.op(")")
}

// isType reports whether a name is meant as a type where a name of another
// kind could stand: a primitive, an array, one with type arguments, or one
// whose last part begins with a capital.
func isType(t *TypeRef) bool {
	r, _ := utf8.DecodeRuneInString(lastPart(t.Name))
	return primitives[t.Name] || t.Dims > 0 || len(t.Args) > 0 || unicode.IsUpper(r)
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// typeAt reads a type at i without taking it.
func (p *parser) typeAt(i int) (typ *TypeRef, next int, ok bool) { return p.typeIn(i, 0) }

func (p *parser) typeIn(i, depth int) (typ *TypeRef, next int, ok bool) {
	t := &p.toks[i]
	if depth > 20 {
		return nil, i, false
	}
	if t.op("?") { // a wildcard
		typ = &TypeRef{Span: t.Span, Name: "?"}
		i++
		if w := p.toks[i]; w.word("extends") || w.word("super") {
			_, i, ok = p.typeIn(i+1, depth+1)
			return typ, i, ok
		}
		return typ, i, true
	}
	if t.kind != tIdent && !(t.kind == tWord && primitives[t.text]) {
		return nil, i, false
	}
	typ = &TypeRef{Name: t.text}
	end := t.End
	i++
	for parts := 1; parts < maxNameParts && t.kind == tIdent && p.toks[i].op(".") && p.toks[i+1].kind == tIdent; parts++ {
		typ.Name += "." + p.toks[i+1].text
		end = p.toks[i+1].End
		i += 2
	}
	if p.toks[i].op("<") {
		j := i + 1
		for !p.toks[j].op(">") {
			var arg *TypeRef
			if arg, j, ok = p.typeIn(j, depth+1); !ok {
				return nil, i, false
			}
			for p.toks[j].word("extends") || p.toks[j].op("&") {
				if _, j, ok = p.typeIn(j+1, depth+1); !ok {
					return nil, i, false
				}
			}
			typ.Args = append(typ.Args, arg)
			if p.toks[j].op(",") {
				j++
			} else if !p.toks[j].op(">") {
				return nil, i, false
			}
		}
		end = p.toks[j].End
		i = j + 1
	}
	for p.toks[i].op("[") && p.toks[i+1].op("]") {
		typ.Dims++
		end = p.toks[i+1].End
		i += 2
	}
	typ.Span = Span{t.Start, end}
	return typ, i, true
}

// typeRef reads a type, which has to be there.
func (p *parser) typeRef() *TypeRef {
	typ, n, ok := p.typeAt(p.pos)
	if !ok {
		p.unexpected("a type")
	}
	p.pos = n
	return typ
}
