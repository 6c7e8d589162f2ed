package expression

import "strings"

// parser is a recursive-descent parser with precedence climbing:
//
//	||   &&   == !=   < <= > >=   !   . [ ]
//
// from loosest to tightest; binary operators group to the left.
type parser struct {
	tokens  []token
	pos     int
	nesting int

	names, calls []*Node
}

func (p *parser) peek() token { return p.tokens[p.pos] }

func (p *parser) take(kind tokenKind) bool {
	if p.tokens[p.pos].kind != kind {
		return false
	}
	p.pos++
	return true
}

func (p *parser) parse() (*Node, error) {
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	root, err := p.binary(1)
	if err != nil {
		return nil, err
	}
	if p.peek().kind != tokenEnd {
		return nil, p.unexpected()
	}
	return root, nil
}

// unexpected is the error for the current token. The end of the text is
// blamed on the token before it, which is what wants a successor.
func (p *parser) unexpected() *Error {
	t := p.peek()
	if t.kind == tokenEnd {
		last := p.tokens[p.pos-1]
		return errorAt(Syntax, last.offset, "the expression ends too early, after %s", clip(last.text))
	}
	return errorAt(Syntax, t.offset, "unexpected %s", clip(t.text))
}

// node finishes a node: every node is made here, so that no tree can grow
// deeper than allowed.
func (p *parser) node(n *Node) (*Node, error) {
	for _, a := range n.Args {
		n.depth = max(n.depth, a.depth)
	}
	n.depth++
	if n.depth > MaxDepth {
		return nil, &Error{
			Kind: Syntax, Offset: n.Offset,
			Message: "the expression is nested more than 50 levels deep",
			Hint:    "compute a part of it in an earlier step or variable",
		}
	}
	return n, nil
}

func binaryOp(kind tokenKind) (op Op, precedence int) {
	switch kind {
	case tokenOr:
		return OpOr, 1
	case tokenAnd:
		return OpAnd, 2
	case tokenEqual:
		return OpEqual, 3
	case tokenNotEqual:
		return OpNotEqual, 3
	case tokenLess:
		return OpLess, 4
	case tokenLessEqual:
		return OpLessEqual, 4
	case tokenGreater:
		return OpGreater, 4
	case tokenGreaterEqual:
		return OpGreaterEqual, 4
	}
	return 0, 0
}

// binary reads operators of at least the precedence.
func (p *parser) binary(least int) (*Node, error) {
	left, err := p.unary()
	if err != nil {
		return nil, err
	}
	for {
		t := p.peek()
		op, precedence := binaryOp(t.kind)
		if precedence < least {
			return left, nil
		}
		p.pos++
		right, err := p.binary(precedence + 1)
		if err != nil {
			return nil, err
		}
		n := &Node{Op: op, Offset: t.offset}
		for _, operand := range []*Node{left, right} {
			// A chain of && is one node with many operands, which keeps
			// long chains shallow.
			if (op == OpAnd || op == OpOr) && operand.Op == op {
				n.Args = append(n.Args, operand.Args...)
			} else {
				n.Args = append(n.Args, operand)
			}
		}
		if left, err = p.node(n); err != nil {
			return nil, err
		}
	}
}

func (p *parser) unary() (*Node, error) {
	first := p.pos
	for p.take(tokenNot) {
	}
	nots := p.tokens[first:p.pos]
	n, err := p.postfix()
	for i := len(nots) - 1; i >= 0 && err == nil; i-- {
		n, err = p.node(&Node{Op: OpNot, Offset: nots[i].offset, Args: []*Node{n}})
	}
	return n, err
}

// postfix reads a value and the properties and indexes that follow it.
// Literals have none.
func (p *parser) postfix() (*Node, error) {
	grouped := p.peek().kind == tokenLeftParen
	n, err := p.primary()
	if err != nil || n.Op == OpLiteral && !grouped {
		return n, err
	}
	for {
		var index *Node
		start := p.peek()
		switch {
		case p.take(tokenDot):
			t := p.peek()
			switch {
			case p.take(tokenWord):
				index = &Node{Op: OpLiteral, Offset: t.offset, Value: t.text, depth: 1}
			case p.take(tokenStar):
				index = &Node{Op: OpWildcard, Offset: t.offset, depth: 1}
			default:
				return nil, p.unexpected()
			}
		case p.take(tokenLeftBracket):
			if t := p.peek(); p.take(tokenStar) {
				index = &Node{Op: OpWildcard, Offset: t.offset, depth: 1}
			} else if index, err = p.nested(); err != nil {
				return nil, err
			}
			if !p.take(tokenRightBracket) {
				return nil, p.unexpected()
			}
		default:
			return n, nil
		}
		if n, err = p.node(&Node{Op: OpIndex, Offset: start.offset, Args: []*Node{n, index}}); err != nil {
			return nil, err
		}
	}
}

// nested reads an expression inside parentheses or brackets.
func (p *parser) nested() (*Node, error) {
	p.nesting++
	defer func() { p.nesting-- }()
	if p.nesting > maxNesting {
		return nil, errorAt(Syntax, p.peek().offset, "more than %d parentheses inside one another", maxNesting)
	}
	return p.binary(1)
}

func (p *parser) primary() (*Node, error) {
	t := p.peek()
	literal := func(v any) (*Node, error) {
		p.pos++
		return p.node(&Node{Op: OpLiteral, Offset: t.offset, Value: v})
	}
	switch t.kind {
	case tokenNull:
		return literal(nil)
	case tokenTrue:
		return literal(true)
	case tokenFalse:
		return literal(false)
	case tokenNumber:
		return literal(t.num)
	case tokenString:
		return literal(t.str)
	case tokenLeftParen:
		p.pos++
		n, err := p.nested()
		if err != nil {
			return nil, err
		}
		if !p.take(tokenRightParen) {
			return nil, p.unexpected()
		}
		return n, nil
	case tokenWord:
		p.pos++
		n := &Node{Offset: t.offset, Name: t.text, lower: strings.ToLower(t.text)}
		if p.peek().kind == tokenLeftParen {
			return p.call(n)
		}
		n.Op, n.slot = OpName, len(p.names)
		p.names = append(p.names, n)
		return p.node(n)
	}
	return nil, p.unexpected()
}

// call reads the arguments of a function.
func (p *parser) call(n *Node) (*Node, error) {
	p.pos++ // the parenthesis
	n.Op, n.slot, n.builtin = OpCall, len(p.calls), findBuiltin(n.lower)
	p.calls = append(p.calls, n)
	if p.take(tokenRightParen) {
		return p.node(n)
	}
	for {
		arg, err := p.nested()
		if err != nil {
			return nil, err
		}
		n.Args = append(n.Args, arg)
		if p.take(tokenRightParen) {
			return p.node(n)
		}
		if !p.take(tokenComma) {
			return nil, p.unexpected()
		}
	}
}
