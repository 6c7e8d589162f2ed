package groovy

func (t *Thread) unary(x *UnaryExpr, sc *scope) (Value, error) {
	v, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	switch x.Op {
	case "!":
		ok, err := t.Truth(v)
		return !ok, err
	case "~":
		switch n := v.(type) {
		case string, *GString:
			s, err := t.Text(n)
			if err != nil {
				return nil, err
			}
			return t.pattern(s)
		case int32:
			return ^n, nil
		case int64:
			return ^n, nil
		}
		return t.Invoke(v, "bitwiseNegate")
	case "-":
		if n := negate(v); n != nil {
			return n, nil
		}
		if l, ok := v.(*List); ok {
			return t.spread(l, func(item Value) (Value, error) { return negate(item), nil })
		}
		return t.Invoke(v, "negative")
	}
	if rankOf(v) != notNumber {
		return v, nil
	}
	return t.Invoke(v, "positive")
}

func (t *Thread) binary(x *BinaryExpr, sc *scope) (Value, error) {
	a, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	switch x.Op {
	case "&&", "||":
		ok, err := t.Truth(a)
		if err != nil || ok == (x.Op == "||") {
			return ok, err
		}
		return t.condition(x.Y, sc)
	}
	b, err := t.eval(x.Y, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	return t.operate(x.Op, a, b)
}

// operators as the methods that they are of other values.
var operatorMethods = map[string]string{
	"+": "plus", "-": "minus", "*": "multiply", "/": "div", "%": "mod", "**": "power",
	"<<": "leftShift", ">>": "rightShift", ">>>": "rightShiftUnsigned", "&": "and", "|": "or", "^": "xor",
}

// operate computes a op b.
func (t *Thread) operate(op string, a, b Value) (Value, error) {
	// The two commonest cases first.
	if x, ok := a.(int32); ok {
		if y, ok := b.(int32); ok {
			switch op {
			case "+":
				return x + y, nil
			case "-":
				return x - y, nil
			case "*":
				return x * y, nil
			case "<":
				return x < y, nil
			case ">":
				return x > y, nil
			case "<=":
				return x <= y, nil
			case ">=":
				return x >= y, nil
			case "==":
				return x == y, nil
			}
		}
	}
	switch op {
	case "==":
		return t.Equal(a, b)
	case "!=":
		same, err := t.Equal(a, b)
		return !same, err
	case "===":
		return hashed(a, 0) == hashed(b, 0), nil
	case "!==":
		return hashed(a, 0) != hashed(b, 0), nil
	case "<=>":
		n, err := t.compare(a, b)
		return int32(max(-1, min(1, n))), err
	case "<", "<=", ">", ">=":
		n, err := t.compare(a, b)
		if err != nil {
			return nil, err
		}
		switch op {
		case "<":
			return n < 0, nil
		case "<=":
			return n <= 0, nil
		case ">":
			return n > 0, nil
		}
		return n >= 0, nil
	case "in":
		return t.isIn(a, b)
	case "!in":
		ok, err := t.isIn(a, b)
		return !ok, err
	case "=~":
		return t.matcher(a, b)
	case "==~":
		p, err := t.patternOf(b)
		if err != nil {
			return nil, err
		}
		if a == nil {
			return false, nil
		}
		s, err := t.Text(a)
		if err != nil {
			return nil, err
		}
		return t.matches(p, s)
	}
	if rankOf(a) != notNumber && rankOf(b) != notNumber {
		return t.arithmetic(op, a, b)
	}
	if p, ok := a.(bool); ok && (op == "&" || op == "|" || op == "^") {
		q, err := t.Truth(b)
		switch op {
		case "&":
			return p && q, err
		case "|":
			return p || q, err
		}
		return p != q, err
	}
	if a == nil {
		if op == "+" {
			if s, ok, err := t.characters(b); ok || err != nil {
				return "null" + s, err
			}
		}
		return nil, t.Throw("java.lang.NullPointerException", "Cannot invoke method %s() on null object", operatorMethods[op])
	}
	return t.Invoke(a, operatorMethods[op], b)
}

func (t *Thread) isIn(a, b Value) (bool, error) {
	if b == nil {
		return a == nil, nil
	}
	if s, ok := b.(string); ok { // of a String it is equality, as isCase says
		return t.Equal(a, s)
	}
	if m, ok := b.(*Map); ok {
		_, found := m.Get(a)
		return found, nil
	}
	return t.isCase(b, a)
}

// arithmetic computes operators of two numbers.
func (t *Thread) arithmetic(op string, a, b Value) (Value, error) {
	switch op {
	case "&", "|", "^", "<<", ">>", ">>>":
		if v, ok := bitwise(op, a, b); ok {
			return v, nil
		}
		return nil, t.Throw("java.lang.UnsupportedOperationException", "Cannot use %s on these number types: %s and %s", operatorMethods[op], className(a), className(b))
	}
	c := op[0]
	if op == "**" {
		c = 'p'
	}
	if rankOf(a) >= rankBig || c == 'p' {
		if err := t.tick(64); err != nil {
			return nil, err
		}
		if err := t.alloc(256); err != nil {
			return nil, err
		}
	}
	v, message := arithmetic(c, a, b)
	if message != "" {
		return nil, t.Throw("java.lang.ArithmeticException", "%s", message)
	}
	return v, nil
}
