package groovy

import (
	"math"
	"math/big"
)

// precedence of binary operators; what binds more tightly is higher.
var precedence = map[string]int{
	"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5,
	"=~": 6, "==~": 6,
	"==": 7, "!=": 7, "<=>": 7, "===": 7, "!==": 7,
	"<": 8, "<=": 8, ">": 8, ">=": 8, "in": 8, "!in": 8, "instanceof": 8, "!instanceof": 8, "as": 8,
	"<<": 9, ">>": 9, ">>>": 9, "..": 9, "..<": 9,
	"+": 10, "-": 10,
	"*": 11, "/": 11, "%": 11,
	"**": 12,
}

const powerLevel = 12

var assignments = map[string]bool{
	"=": true, "+=": true, "-=": true, "*=": true, "/=": true, "%=": true, "**=": true,
	"<<=": true, ">>=": true, ">>>=": true, "&=": true, "|=": true, "^=": true,
}

// expression reads an expression. With command it may be a call whose
// arguments stand without parentheses.
func (p *parser) expression(command bool) Expr {
	defer p.enter()()
	start := p.tok().Start
	x := p.ternary()
	if command && p.commandBase(x) && p.argumentAhead() {
		x = p.command(x)
	}
	if op := p.infix(); assignments[op] && !p.tok().newline {
		p.takeInfix(op)
		value := p.expression(command)
		return &AssignExpr{p.from(start), op, x, value}
	}
	return x
}

// commandBase reports whether a call without parentheses may begin with x.
func (p *parser) commandBase(x Expr) bool {
	switch x := x.(type) {
	case *Ident:
		return x.Name != "this" && x.Name != "super" && x.End == p.end()
	case *PropertyExpr:
		return x.End == p.end()
	}
	return false
}

// argumentAhead reports whether an argument of a call without parentheses
// begins here.
func (p *parser) argumentAhead() bool {
	t := p.tok()
	if t.newline {
		return false
	}
	switch t.kind {
	case tIdent, tNumber, tString, tGString:
		return true
	case tWord:
		switch t.text {
		case "new", "this", "super", "null", "true", "false":
			return true
		}
		return p.peek(1).op(":") || primitives[t.text]
	case tOp:
		return t.text == "[" && t.space && p.mapAhead()
	}
	return false
}

// mapAhead reports whether the [ that is here begins a map or an empty list,
// which cannot be an index.
func (p *parser) mapAhead() bool {
	a, b := p.peek(1), p.peek(2)
	if a.op("]") || a.op(":") {
		return true
	}
	return (a.kind == tIdent || a.kind == tWord || a.kind == tString || a.kind == tGString || a.kind == tNumber) && b.op(":")
}

// command reads the arguments of a call without parentheses: a b, c, and the
// chain a b c d, which is a(b).c(d).
func (p *parser) command(x Expr) Expr {
	start := x.At().Start
	call := p.callOf(x)
	call.Args, call.Named = p.args("")
	call.Span = p.from(start)
	for p.tok().kind == tIdent && !p.tok().newline {
		name := p.next()
		if p.tok().op("(") || p.tok().op("{") || p.tok().op(".") {
			p.pos--
			break
		}
		if !p.argumentAhead() {
			return &PropertyExpr{Span: p.from(start), X: call, Name: name.text}
		}
		call = &CallExpr{X: call, Name: name.text, NameAt: name.Span}
		call.Args, call.Named = p.args("")
		call.Span = p.from(start)
	}
	return call
}

// callOf is a call of x without its arguments.
func (p *parser) callOf(x Expr) *CallExpr {
	switch x := x.(type) {
	case *Ident:
		return &CallExpr{Name: x.Name, NameAt: x.Span}
	case *GStringExpr:
		return &CallExpr{X: &Ident{Span{x.Start, x.Start}, "this"}, Dynamic: x}
	case *Literal:
		if name, ok := x.Value.(string); ok {
			return &CallExpr{X: &Ident{Span{x.Start, x.Start}, "this"}, Name: name, NameAt: x.Span}
		}
	case *PropertyExpr:
		if !x.Direct {
			at := x.Span
			at.Start = at.End - len(x.Name)
			return &CallExpr{X: x.X, Name: x.Name, NameAt: at, Dynamic: x.Dynamic, Safe: x.Safe, Spread: x.Spread}
		}
	}
	return &CallExpr{Callee: x}
}

// args reads arguments up to the closing word, which is left; without one, up
// to the end of the statement.
func (p *parser) args(closer string) (list []Expr, named *MapExpr) {
	for {
		t := p.tok()
		if closer != "" && t.op(closer) {
			break
		}
		switch key := p.key(); {
		case key != nil:
			p.expect(":")
			if named == nil {
				named = &MapExpr{Span: t.Span}
			}
			value := p.expression(false)
			e := &MapEntry{p.from(t.Start), key, value}
			named.Entries = append(named.Entries, e)
			named.End = e.End
		case t.op("*") && p.peek(1).op(":"):
			p.pos += 2
			if named == nil {
				named = &MapExpr{Span: t.Span}
			}
			value := p.expression(false)
			named.Entries = append(named.Entries, &MapEntry{p.from(t.Start), nil, value})
			named.End = p.end()
		default:
			x := p.item()
			if p.tok().op(":") && closer != "" {
				p.pos++
				if named == nil {
					named = &MapExpr{Span: t.Span}
				}
				value := p.expression(false)
				named.Entries = append(named.Entries, &MapEntry{p.from(t.Start), x, value})
				named.End = p.end()
				break
			}
			list = append(list, x)
		}
		if !p.accept(",") {
			break
		}
	}
	return list, named
}

// key takes a key that is written as a name or a simple string, if one is
// here, and leaves its colon.
func (p *parser) key() Expr {
	t := p.tok()
	if !p.peek(1).op(":") {
		return nil
	}
	switch t.kind {
	case tIdent, tWord:
		p.pos++
		return &Literal{t.Span, t.text, NotQuoted}
	case tString, tNumber:
		p.pos++
		return &Literal{t.Span, t.value, t.quote}
	}
	return nil
}

// item reads an argument or an item of a list, which may be spread.
func (p *parser) item() Expr {
	if t := p.tok(); t.op("*") {
		p.pos++
		x := p.expression(false)
		return &SpreadExpr{p.from(t.Start), x}
	}
	return p.expression(false)
}

func (p *parser) ternary() Expr {
	defer p.enter()()
	start := p.tok().Start
	x := p.binary(1)
	if p.tok().newline {
		return x
	}
	switch {
	case p.accept("?:"):
		y := p.ternary()
		return &TernaryExpr{p.from(start), x, nil, y}
	case p.accept("?"):
		then := p.expression(false)
		p.expect(":")
		other := p.ternary()
		return &TernaryExpr{p.from(start), x, then, other}
	}
	return x
}

// infix is the operator that is here, > > and ! in put together; "" when
// there is none.
func (p *parser) infix() string {
	t := p.tok()
	switch {
	case t.kind == tWord && (t.text == "in" || t.text == "instanceof" || t.text == "as"):
		return t.text
	case t.kind != tOp:
		return ""
	case t.text == "!":
		if n := p.peek(1); n.kind == tWord && !n.space && (n.text == "in" || n.text == "instanceof") {
			return "!" + n.text
		}
	case t.text == ">":
		op := ">"
		for i := 1; i < 3; i++ {
			n := p.peek(i)
			if n.kind != tOp || n.space || n.text != ">" && n.text != ">=" {
				break
			}
			op += n.text
			if n.text == ">=" {
				break
			}
		}
		return op
	}
	return t.text
}

func (p *parser) takeInfix(op string) {
	switch op {
	case "!in", "!instanceof", ">>", ">>=":
		p.pos += 2
	case ">>>", ">>>=":
		p.pos += 3
	default:
		p.pos++
	}
}

// binary reads operators that bind at least as tightly as level.
func (p *parser) binary(level int) Expr {
	start := p.tok().Start
	x := p.unary()
	for {
		op := p.infix()
		prec := precedence[op]
		if prec < level || prec == 0 || p.tok().newline {
			return x
		}
		p.takeInfix(op)
		switch op {
		case "as":
			typ := p.typeRef()
			x = &CastExpr{p.from(start), typ, x, true}
			continue
		case "instanceof", "!instanceof":
			typ := p.typeRef()
			x = &InstanceOfExpr{p.from(start), x, typ, op[0] == '!'}
			continue
		}
		y := p.binary(prec + 1)
		if op == ".." || op == "..<" {
			x = &RangeExpr{p.from(start), x, y, op == "..<"}
		} else {
			x = &BinaryExpr{p.from(start), op, x, y}
		}
	}
}

func (p *parser) unary() Expr {
	defer p.enter()()
	t := p.tok()
	if t.kind == tOp {
		switch t.text {
		case "!", "~":
			p.pos++
			x := p.unary()
			return &UnaryExpr{p.from(t.Start), t.text, x}
		case "-", "+":
			p.pos++
			x := p.binary(powerLevel)
			if n := negated(x); t.text == "-" && n != nil {
				return &Literal{p.from(t.Start), n, NotQuoted}
			}
			return &UnaryExpr{p.from(t.Start), t.text, x}
		case "++", "--":
			p.pos++
			x := p.unary()
			return &StepExpr{p.from(t.Start), t.text, x, true}
		case "(":
			if typ, n, ok := p.typeAt(p.pos + 1); ok && p.toks[n].op(")") && isType(typ) && p.castOperand(n+1, primitives[typ.Name]) {
				p.pos = n + 1
				x := p.unary()
				return &CastExpr{p.from(t.Start), typ, x, false}
			}
		}
	}
	return p.path()
}

// negated is the negative of a number written out; nil for anything else.
func negated(x Expr) Value {
	lit, ok := x.(*Literal)
	if !ok {
		return nil
	}
	switch v := lit.Value.(type) {
	case int32:
		return -v
	case int64:
		if v == -math.MinInt32 {
			return int32(math.MinInt32)
		}
		return -v
	case float64:
		return -v
	case *big.Int:
		n := new(big.Int).Neg(v)
		if n.IsInt64() && n.Int64() == math.MinInt64 {
			return n.Int64()
		}
		return n
	case *Decimal:
		return &Decimal{new(big.Int).Neg(v.Unscaled), v.Scale}
	}
	return nil
}

// castOperand reports whether what is cast can begin at i.
func (p *parser) castOperand(i int, primitive bool) bool {
	t := &p.toks[i]
	if t.newline {
		return false
	}
	switch t.kind {
	case tIdent, tNumber, tString, tGString:
		return true
	case tWord:
		switch t.text {
		case "new", "this", "super", "null", "true", "false":
			return true
		}
	case tOp:
		switch t.text {
		case "(", "[", "{", "!", "~":
			return true
		case "-", "+":
			return primitive
		}
	}
	return false
}

// path reads a primary and what follows it: names, calls, indexes, closures.
func (p *parser) path() Expr {
	start := p.tok().Start
	parens := p.tok().op("(")
	x := p.primary()
	for steps := 0; ; steps++ {
		t := p.tok()
		if t.kind != tOp {
			return x
		}
		switch t.text {
		case ".", "?.", "*.", ".@":
			x = p.property(x, start)
			parens = false
			continue
		case ".&", "::":
			p.pos++
			if p.tok().kind != tIdent && p.tok().kind != tWord && p.tok().kind != tString {
				p.unexpected("the name of a method")
			}
			n := p.next()
			x = &MethodPointerExpr{p.from(start), x, n.text}
			continue
		}
		if t.newline && t.text != "{" {
			return x
		}
		switch t.text {
		case "(":
			call := &CallExpr{Callee: x}
			if !parens {
				call = p.callOf(x)
			}
			p.pos++
			call.Parens = true
			call.Args, call.Named = p.args(")")
			p.expect(")")
			call.Span = p.from(start)
			x = call
		case "[":
			if t.space && p.commandBase(x) && p.mapAhead() {
				return x
			}
			p.pos++
			index := &IndexExpr{X: x}
			for !p.tok().op("]") {
				index.Args = append(index.Args, p.item())
				if !p.accept(",") {
					break
				}
			}
			p.expect("]")
			index.Span = p.from(start)
			x = index
		case "{":
			call, ok := x.(*CallExpr)
			if !ok {
				switch x.(type) {
				case *Ident, *PropertyExpr:
					if parens {
						return x
					}
				default:
					return x
				}
				call = p.callOf(x)
			}
			// The closure is an argument of the call that stands before it.
			call.Args = append(call.Args, p.closure())
			call.Span = p.from(start)
			x = call
		case "++", "--":
			p.pos++
			x = &StepExpr{p.from(start), t.text, x, false}
		default:
			return x
		}
		parens = false
	}
}

// property reads .name in one of its forms.
func (p *parser) property(x Expr, start int) Expr {
	op := p.next().text
	e := &PropertyExpr{X: x, Safe: op == "?.", Spread: op == "*.", Direct: op == ".@"}
	if p.accept("@") {
		e.Direct = true
	}
	t := p.tok()
	switch {
	case t.kind == tIdent, t.kind == tWord:
		p.pos++
		e.Name = t.text
	case t.kind == tString:
		p.pos++
		e.Name = t.text
	case t.kind == tGString, t.op("("):
		e.Dynamic = p.primary()
	case t.op("<"): // the type arguments of a call
		p.typeParams()
		e.Name = p.name()
	default:
		p.unexpected("the name of a property or a method")
	}
	e.Span = p.from(start)
	return e
}

func (p *parser) primary() Expr {
	defer p.enter()()
	t := p.tok()
	switch t.kind {
	case tIdent:
		// String[] and List<String>[] as values are rare but real.
		if p.peek(1).op("[") && p.peek(2).op("]") && !p.peek(1).space {
			return &ClassExpr{Type: p.typeRef(), Span: p.from(t.Start)}
		}
		p.pos++
		return &Ident{t.Span, t.text}
	case tNumber:
		p.pos++
		return &Literal{t.Span, t.value, NotQuoted}
	case tString:
		p.pos++
		return &Literal{t.Span, t.value, t.quote}
	case tGString:
		p.pos++
		return p.gstring(t)
	case tWord:
		switch t.text {
		case "null":
			p.pos++
			return &Literal{t.Span, nil, NotQuoted}
		case "true", "false":
			p.pos++
			return &Literal{t.Span, t.text == "true", NotQuoted}
		case "this", "super":
			p.pos++
			return &Ident{t.Span, t.text}
		case "new":
			return p.newExpr()
		}
		if primitives[t.text] {
			typ := p.typeRef()
			return &ClassExpr{typ.Span, typ}
		}
	case tOp:
		switch t.text {
		case "(":
			p.pos++
			x := p.expression(true)
			p.expect(")")
			return x
		case "[":
			return p.list()
		case "{":
			return p.closure()
		}
	}
	p.unexpected("")
	return nil
}

// list reads [items] or [key: values].
func (p *parser) list() Expr {
	start := p.next().Start
	if p.tok().op(":") && p.peek(1).op("]") {
		p.pos += 2
		return &MapExpr{Span: p.from(start)}
	}
	items, named := p.args("]")
	p.expect("]")
	if named == nil {
		return &ListExpr{p.from(start), items}
	}
	if len(items) > 0 {
		fail(items[0].At().Start, "", "items with and without a key in one list")
	}
	named.Span = p.from(start)
	return named
}

// gstring makes the expression of a string with holes.
func (p *parser) gstring(t *token) Expr {
	g := &GStringExpr{Span: t.Span, Strings: t.strings, Quote: t.quote}
	for _, h := range t.holes {
		inner := &parser{src: p.src, toks: h.tokens, depth: p.depth}
		g.Holes = append(g.Holes, inner.hole(h))
	}
	return g
}

// hole reads what stands in a hole.
func (p *parser) hole(h hole) Expr {
	if !h.braces {
		return p.path()
	}
	if p.tok().kind == tEOF {
		return &Literal{h.Span, nil, NotQuoted}
	}
	if p.tok().op("->") {
		c := &ClosureExpr{Arrow: true}
		p.pos++
		c.Body = p.holeBody(h)
		c.Span = h.Span
		return c
	}
	body := p.holeBody(h)
	if len(body.Stmts) == 1 {
		if s, ok := body.Stmts[0].(*ExprStmt); ok {
			return s.X
		}
	}
	// Several statements: a closure that is called where it stands.
	return &CallExpr{Span: h.Span, Callee: &ClosureExpr{Span: h.Span, Arrow: true, Body: body}}
}

func (p *parser) holeBody(h hole) *Block {
	body := &Block{Span: h.Span}
	p.stmts(&body.Stmts, false)
	if p.tok().kind != tEOF {
		p.unexpected("'}'")
	}
	return body
}

// newExpr reads new Type(args), new Type[n], new Type(args) { members }.
func (p *parser) newExpr() Expr {
	start := p.next().Start
	e := &NewExpr{}
	t := p.tok()
	if t.kind != tIdent && !primitives[t.text] {
		p.unexpected("the name of a class")
	}
	// The diamond has no type arguments inside.
	e.Type = &TypeRef{Span: t.Span, Name: t.text}
	p.pos++
	for parts := 1; parts < maxNameParts && p.tok().op("."); parts++ {
		p.pos++
		e.Type.Name += "." + p.name()
	}
	if p.tok().op("<") {
		if p.peek(1).op(">") {
			p.pos += 2
		} else {
			p.typeParams()
		}
	}
	e.Type.End = p.end()
	switch {
	case p.tok().op("["):
		e.Array = true
		for p.tok().op("[") && !p.tok().newline {
			p.pos++
			if !p.tok().op("]") {
				e.Dims = append(e.Dims, p.expression(false))
			}
			p.expect("]")
			e.Type.Dims++
		}
		if len(e.Dims) == 0 && p.accept("{") {
			e.Args, _ = p.args("}")
			p.expect("}")
		}
	case p.tok().op("("):
		p.pos++
		e.Args, e.Named = p.args(")")
		p.expect(")")
		if p.tok().op("{") && !p.tok().newline && !p.closureParams() {
			e.Body = &ClassDecl{Kind: "class", Name: "", Super: e.Type, NameAt: e.Type.Span}
			at := p.tok().Start
			p.classBody(e.Body)
			e.Body.Span = p.from(at)
		}
	default:
		p.unexpected("'(' or '['")
	}
	e.Span = p.from(start)
	return e
}

// closureParams reports whether the { that is here begins a closure with an
// arrow: parameters, if any, and then ->.
func (p *parser) closureParams() bool {
	depth := 0
	for i := p.pos + 1; i < len(p.toks); i++ {
		t := &p.toks[i]
		if depth == 0 && t.newline && i > p.pos+1 && !p.toks[i-1].op(",") && !t.op("->") {
			return false
		}
		switch t.kind {
		case tEOF, tSemi:
			return false
		case tOp:
			switch t.text {
			case "->":
				if depth == 0 {
					return true
				}
			case "(", "[", "{":
				if depth == 0 && t.text == "{" && !p.toks[i-1].op("=") {
					return false
				}
				depth++
			case ")", "]", "}":
				if depth--; depth < 0 {
					return false
				}
			}
		}
	}
	return false
}

func (p *parser) closure() *ClosureExpr {
	defer p.enter()()
	start := p.tok().Start
	c := &ClosureExpr{Arrow: p.closureParams(), Body: &Block{}}
	p.expect("{")
	if c.Arrow {
		if p.accept("(") { // { (a, b) -> } is not Groovy, but nothing else either
			c.Params = p.params(")")
			p.expect(")")
		} else {
			c.Params = p.params("->")
		}
		p.expect("->")
	}
	at := p.tok().Start
	p.stmts(&c.Body.Stmts, false)
	c.Body.Span = Span{at, max(at, p.end())}
	p.expect("}")
	c.Span = p.from(start)
	return c
}
