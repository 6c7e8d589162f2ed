package groovy

import "slices"

// modifiers reads annotations and words such as static.
func (p *parser) modifiers() Modifiers {
	var m Modifiers
	for {
		t := p.tok()
		switch {
		case t.op("@") && !p.peek(1).word("interface"):
			m.Annotations = append(m.Annotations, p.annotation())
		case t.kind == tWord && slices.Contains(modifierWords, t.text):
			m.Words = append(m.Words, t.text)
			p.pos++
		default:
			return m
		}
	}
}

var modifierWords = []string{"def", "final", "static", "public", "private", "protected", "abstract", "transient", "volatile", "native", "strictfp", "synchronized"}

func (p *parser) annotation() *Annotation {
	start := p.next().Start
	a := &Annotation{Name: p.qualified()}
	if p.tok().op("(") && !p.tok().newline {
		p.pos++
		for !p.tok().op(")") {
			if (p.tok().kind == tIdent || p.tok().kind == tWord) && p.peek(1).op("=") {
				if a.Named == nil {
					a.Named = &MapExpr{}
				}
				key := p.next()
				p.pos++
				value := p.annotationValue()
				a.Named.Entries = append(a.Named.Entries, &MapEntry{p.from(key.Start), &Literal{key.Span, key.text, NotQuoted}, value})
			} else {
				a.Arg = p.annotationValue()
			}
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	a.Span = p.from(start)
	return a
}

// annotationValue is an expression, or an annotation as the value of one.
func (p *parser) annotationValue() Expr {
	if p.tok().op("@") {
		a := p.annotation()
		return &Ident{a.Span, a.Name}
	}
	return p.expression(false)
}

// declaration reads what begins with modifiers or a type: a variable, a
// method, a class.
func (p *parser) declaration(top bool) Stmt {
	start := p.tok().Start
	m := p.modifiers()
	t := p.tok()
	switch {
	case t.word("import"):
		return p.importStmt(m, start)
	case t.word("package"):
		p.pos++
		name := p.qualified()
		return &PackageStmt{p.from(start), name}
	case p.atClass():
		return p.classDecl(m, start)
	case t.op("("):
		return p.tupleDecl(m, start)
	case t.op("<"): // the type parameters of a method
		p.typeParams()
	}
	var typ *TypeRef
	if got, n, ok := p.typeAt(p.pos); ok && (p.toks[n].kind == tIdent && !p.toks[n].newline || p.toks[n].kind == tString && p.toks[n+1].op("(")) {
		typ, p.pos = got, n
	}
	name := p.tok()
	if name.kind != tIdent && name.kind != tString {
		if len(m.Words) == 0 && len(m.Annotations) > 0 {
			p.needsTarget(m)
		}
		p.unexpected("a name")
	}
	if len(m.Words) == 0 && typ == nil && name.text != "_" {
		p.needsTarget(m)
	}
	p.pos++
	if p.tok().op("(") && !p.tok().newline {
		if !top {
			fail(name.Start, "methods are declared at the top of the file or in a class; a variable can hold a closure: def "+shorten(name.text)+" = { … }", "a method cannot be declared here")
		}
		return p.method(m, start, typ, name)
	}
	return p.variables(m, start, typ, name)
}

func (p *parser) needsTarget(m Modifiers) {
	a := m.Annotations[len(m.Annotations)-1]
	fail(p.tok().Start, "write an underscore behind it: @"+a.Name+"(…) _", "unexpected token: %s: the annotation @%s has nothing that it annotates", shorten(p.src[p.tok().Start:p.tok().End]), a.Name)
}

// atClass reports whether a class, or the like of it, is declared here.
func (p *parser) atClass() bool {
	t := p.tok()
	return t.word("class") || t.word("interface") || t.word("enum") || t.op("@") && p.peek(1).word("interface") ||
		t.kind == tIdent && t.text == "trait" && p.peek(1).kind == tIdent
}

// variables reads the rest of a declaration of variables, behind its first
// name.
func (p *parser) variables(m Modifiers, start int, typ *TypeRef, name *token) *VarDecl {
	d := &VarDecl{Modifiers: m, Type: typ}
	for {
		v := &Var{Span: name.Span, Name: name.text, Type: typ}
		if p.accept("=") {
			v.Init = p.expression(true)
			v.Span = p.from(name.Start)
		}
		d.Vars = append(d.Vars, v)
		if !p.tok().op(",") {
			break
		}
		p.pos++
		if p.tok().kind != tIdent {
			p.unexpected("a name")
		}
		name = p.next()
	}
	d.Span = p.from(start)
	return d
}

// tupleDecl reads (a, int b) = list.
func (p *parser) tupleDecl(m Modifiers, start int) Stmt {
	p.expect("(")
	d := &VarDecl{Modifiers: m, Tuple: true}
	for {
		v := &Var{}
		if typ, n, ok := p.typeAt(p.pos); ok && p.toks[n].kind == tIdent {
			v.Type, p.pos = typ, n
		}
		v.Span = p.tok().Span
		v.Name = p.name()
		d.Vars = append(d.Vars, v)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	p.expect("=")
	d.Vars[0].Init = p.expression(true)
	d.Span = p.from(start)
	return d
}

// typeParams skips <T extends X>.
func (p *parser) typeParams() {
	p.expect("<")
	for !p.accept(">") {
		p.typeRef()
		for p.tok().word("extends") || p.tok().op("&") {
			p.pos++
			p.typeRef()
		}
		if !p.accept(",") && !p.tok().op(">") {
			p.unexpected("'>'")
		}
	}
}

// method reads the rest of a method, behind its name.
func (p *parser) method(m Modifiers, start int, typ *TypeRef, name *token) *MethodDecl {
	d := &MethodDecl{Modifiers: m, Type: typ, Name: name.text, NameAt: name.Span}
	p.expect("(")
	d.Params = p.params(")")
	p.expect(")")
	if p.tok().word("throws") {
		p.pos++
		p.typeRef()
		for p.accept(",") {
			p.typeRef()
		}
	}
	if p.tok().word("default") { // of an annotation type
		p.pos++
		p.expression(false)
	}
	if p.tok().op("{") {
		d.Body = p.block()
	} else if p.class == "" {
		p.unexpected("'{'")
	}
	d.Span = p.from(start)
	return d
}

// params reads parameters up to the closing word.
func (p *parser) params(closer string) []*Param {
	var list []*Param
	for !p.tok().op(closer) {
		start := p.tok().Start
		p.modifiers()
		param := &Param{}
		if typ, n, ok := p.typeAt(p.pos); ok && (p.toks[n].kind == tIdent || p.toks[n].op("...")) {
			param.Type, p.pos = typ, n
		}
		if p.accept("...") {
			param.Variadic = true
		}
		param.Name = p.name()
		if p.accept("=") {
			param.Default = p.expression(false)
		}
		param.Span = p.from(start)
		list = append(list, param)
		if !p.accept(",") {
			break
		}
	}
	if n := len(list); n > 0 && list[n-1].Type != nil && list[n-1].Type.Dims > 0 {
		list[n-1].Variadic = true
	}
	return list
}

func (p *parser) classDecl(m Modifiers, start int) *ClassDecl {
	defer p.enter()()
	d := &ClassDecl{Modifiers: m}
	if p.accept("@") {
		d.Kind = "@"
	}
	d.Kind += p.next().text
	d.NameAt = p.tok().Span
	d.Name = p.name()
	if p.tok().op("<") {
		p.typeParams()
	}
	for {
		switch {
		case p.tok().word("extends"):
			p.pos++
			typ := p.typeRef()
			if d.Kind == "interface" {
				d.Interfaces = append(d.Interfaces, typ)
			} else {
				d.Super = typ
			}
			for p.accept(",") {
				d.Interfaces = append(d.Interfaces, p.typeRef())
			}
			continue
		case p.tok().kind == tIdent && p.tok().text == "implements", p.tok().word("implements"):
			p.pos++
			d.Interfaces = append(d.Interfaces, p.typeRef())
			for p.accept(",") {
				d.Interfaces = append(d.Interfaces, p.typeRef())
			}
			continue
		}
		break
	}
	p.classBody(d)
	d.Span = p.from(start)
	return d
}

// classBody reads { members }.
func (p *parser) classBody(d *ClassDecl) {
	outer := p.class
	p.class = d.Name
	defer func() { p.class = outer }()
	p.expect("{")
	if d.Kind == "enum" {
		p.enumConstants(d)
	}
	for !p.tok().op("}") {
		if p.tok().kind == tSemi {
			p.pos++
			continue
		}
		p.member(d)
		p.terminator()
	}
	p.expect("}")
}

func (p *parser) enumConstants(d *ClassDecl) {
	for p.tok().kind == tIdent && (p.peek(1).op(",") || p.peek(1).op("(") || p.peek(1).op("}") || p.peek(1).op("{") || p.peek(1).kind == tSemi || p.peek(1).newline) || p.tok().op("@") {
		p.modifiers()
		c := &EnumConstant{Span: p.tok().Span, Name: p.name()}
		if p.accept("(") {
			c.Args, c.Named = p.args(")")
			p.expect(")")
		}
		if p.tok().op("{") {
			c.Body = &ClassDecl{Kind: "class", Name: c.Name}
			start := p.tok().Start
			p.classBody(c.Body)
			c.Body.Span = p.from(start)
		}
		c.Span = p.from(c.Start)
		d.Constants = append(d.Constants, c)
		if !p.accept(",") {
			break
		}
	}
	if p.tok().kind == tSemi {
		p.pos++
	}
}

// member reads a field, method, constructor, initialiser or class in a class.
func (p *parser) member(d *ClassDecl) {
	defer p.enter()()
	start := p.tok().Start
	m := p.modifiers()
	t := p.tok()
	switch {
	case p.atClass():
		d.Classes = append(d.Classes, p.classDecl(m, start))
		return
	case t.op("{"):
		if m.Has("static") {
			d.StaticInit = append(d.StaticInit, p.block())
		} else {
			d.Init = append(d.Init, p.block())
		}
		return
	case t.op("<"):
		p.typeParams()
		t = p.tok()
	}
	if t.kind == tIdent && t.text == d.Name && p.peek(1).op("(") {
		name := p.next()
		c := p.method(m, start, nil, name)
		c.Constructor = true
		d.Methods = append(d.Methods, c)
		return
	}
	var typ *TypeRef
	if got, n, ok := p.typeAt(p.pos); ok && !p.toks[n].newline && (p.toks[n].kind == tIdent || p.toks[n].kind == tString) {
		typ, p.pos = got, n
	}
	name := p.tok()
	if name.kind != tIdent && name.kind != tString || len(m.Words) == 0 && typ == nil && len(m.Annotations) == 0 {
		p.unexpected("a field or a method")
	}
	p.pos++
	if p.tok().op("(") {
		d.Methods = append(d.Methods, p.method(m, start, typ, name))
		return
	}
	d.Fields = append(d.Fields, p.variables(m, start, typ, name))
}
