package groovy

import (
	"unicode"
	"unicode/utf8"
)

// eval evaluates an expression.
func (t *Thread) eval(x Expr, sc *scope) (Value, error) {
	switch x := x.(type) {
	case *Literal:
		return x.Value, nil
	case *Ident:
		if v := sc.find(x.Name); v != nil {
			return v.value, nil
		}
		return t.name(x, sc)
	}
	if err := t.tick(1); err != nil {
		return nil, err
	}
	if err := t.nest(); err != nil {
		return nil, err
	}
	defer t.unnest()
	switch x := x.(type) {
	case *GStringExpr:
		return t.gstring(x, sc)
	case *ListExpr:
		items, err := t.values(x.Items, sc)
		if err != nil {
			return nil, err
		}
		return &List{Items: items}, t.alloc(48 + 16*len(items))
	case *MapExpr:
		return t.mapOf(x, sc)
	case *RangeExpr:
		return t.rangeOf(x, sc)
	case *PropertyExpr:
		return t.propertyExpr(x, sc)
	case *IndexExpr:
		v, err := t.eval(x.X, sc)
		if err != nil {
			return nil, err
		}
		index, err := t.values(x.Args, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.getAt(v, index)
	case *CallExpr:
		return t.callExpr(x, sc)
	case *NewExpr:
		return t.newExpr(x, sc)
	case *UnaryExpr:
		return t.unary(x, sc)
	case *StepExpr:
		return t.step(x, sc)
	case *BinaryExpr:
		return t.binary(x, sc)
	case *AssignExpr:
		return t.assign(x, sc)
	case *TernaryExpr:
		v, err := t.eval(x.Cond, sc)
		if err != nil {
			return nil, err
		}
		ok, err := t.Truth(v)
		switch {
		case err != nil:
			return nil, err
		case ok && x.Then == nil:
			return v, nil
		case ok:
			return t.eval(x.Then, sc)
		}
		return t.eval(x.Else, sc)
	case *CastExpr:
		v, err := t.eval(x.X, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.cast(x.Type, v, sc, x.As)
	case *InstanceOfExpr:
		return t.instanceOf(x, sc)
	case *ClosureExpr:
		return t.closure(x, sc), t.alloc(120)
	case *MethodPointerExpr:
		return t.methodPointer(x, sc)
	case *ClassExpr:
		return t.classRef(x, sc)
	case *SpreadExpr:
		t.node = x
		return nil, t.fail("a spread operator stands only in a list or among arguments")
	case *TupleExpr:
		t.node = x
		return nil, t.fail("a tuple stands only left of an assignment")
	}
	return nil, t.fail("cannot evaluate a %T", x)
}

// values evaluates items, spread ones in between.
func (t *Thread) values(list []Expr, sc *scope) ([]Value, error) {
	if len(list) == 0 {
		return nil, nil
	}
	items := make([]Value, 0, len(list))
	for _, x := range list {
		if s, ok := x.(*SpreadExpr); ok {
			v, err := t.eval(s.X, sc)
			if err != nil {
				return nil, err
			}
			if v == nil {
				items = append(items, nil)
				continue
			}
			more, err := t.iterate(v)
			if err != nil {
				return nil, err
			}
			if err := t.alloc(16 * len(more)); err != nil {
				return nil, err
			}
			items = append(items, more...)
			continue
		}
		v, err := t.eval(x, sc)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

func (t *Thread) gstring(x *GStringExpr, sc *scope) (Value, error) {
	g := &GString{Strings: x.Strings, Values: make([]Value, len(x.Holes))}
	for i, h := range x.Holes {
		v, err := t.eval(h, sc)
		if err != nil {
			return nil, err
		}
		g.Values[i] = v
	}
	return g, t.alloc(64 + 16*len(x.Holes))
}

func (t *Thread) mapOf(x *MapExpr, sc *scope) (*Map, error) {
	m := NewMap()
	for _, e := range x.Entries {
		if e.Key == nil {
			v, err := t.eval(e.Value, sc)
			if err != nil {
				return nil, err
			}
			more, ok := v.(*Map)
			if !ok && v != nil {
				t.node = e
				return nil, t.castError(v, "java.util.Map")
			}
			if ok {
				for k, v := range more.All() {
					m.Put(k, v)
				}
			}
			continue
		}
		k, err := t.eval(e.Key, sc)
		if err != nil {
			return nil, err
		}
		v, err := t.eval(e.Value, sc)
		if err != nil {
			return nil, err
		}
		m.Put(k, v)
	}
	return m, t.alloc(64 + 64*m.Len())
}

func (t *Thread) rangeOf(x *RangeExpr, sc *scope) (Value, error) {
	from, err := t.eval(x.From, sc)
	if err != nil {
		return nil, err
	}
	to, err := t.eval(x.To, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if s, ok := from.(*GString); ok {
		if from, err = t.Text(s); err != nil {
			return nil, err
		}
	}
	if s, ok := to.(*GString); ok {
		if to, err = t.Text(s); err != nil {
			return nil, err
		}
	}
	r, ok := newRange(from, to, x.Exclusive)
	if !ok {
		return nil, t.Throw("java.lang.IllegalArgumentException", "Incompatible Argument classes for a range: %s and %s", className(from), className(to))
	}
	return r, nil
}

// name is the value of a name that is no local variable.
func (t *Thread) name(x *Ident, sc *scope) (Value, error) {
	f := sc.frame
	switch x.Name {
	case "this":
		return f.this, nil
	case "super":
		return f.this, nil
	}
	if f.closure != nil {
		switch x.Name {
		case "owner":
			return f.closure.owner, nil
		case "delegate":
			return f.closure.delegate(), nil
		case "thisObject":
			return f.this, nil
		}
	}
	t.node = x
	if startsUpper(x.Name) {
		if v, err := t.resolveOwn(f, x.Name); v != nil || err != nil {
			return v, err
		}
	}
	v, err := t.lookup(f, x.Name)
	if err == nil || !isMissing(err) {
		return v, err
	}
	if found, ok, serr := t.staticImport(f.unit, x.Name); ok || serr != nil {
		return found, serr
	}
	if v, cerr := t.resolve(f.unit, x.Name, f.class); v != nil || cerr != nil {
		return v, cerr
	}
	return nil, t.missingProperty(err, f.this, x.Name)
}

// resolveOwn finds classes that come before properties of the same name: those
// that are declared or imported or of the language.
func (t *Thread) resolveOwn(f *frame, name string) (Value, error) {
	return t.resolve(f.unit, name, f.class)
}

// staticImport is the field that a static import means.
func (t *Thread) staticImport(u *unit, name string) (Value, bool, error) {
	candidates := u.starred
	member := name
	if full, ok := u.statics[name]; ok {
		i := len(full) - len(lastPart(full))
		candidates, member = []string{full[:i-1]}, full[i:]
	}
	for _, full := range candidates {
		class, err := t.resolve(u, full, nil)
		if err != nil {
			return nil, false, err
		}
		if class == nil {
			continue
		}
		v, err := t.property(class, member)
		if err == nil {
			return v, true, nil
		}
		var missing bool
		if e, ok := asThrown(err); ok {
			missing = e.InstanceOf("groovy.lang.MissingPropertyException")
		}
		if !missing {
			return nil, false, err
		}
	}
	return nil, false, nil
}

func startsUpper(name string) bool {
	r, _ := utf8.DecodeRuneInString(name)
	return unicode.IsUpper(r)
}

// lookup finds a name in the closure that runs, its owners and delegates, and
// the object that the code belongs to. An error that [isMissing] says that
// there is none.
func (t *Thread) lookup(f *frame, name string) (Value, error) {
	if f.closure != nil {
		return t.closureProperty(f.closure, name, 0)
	}
	return t.ownProperty(f.this, f.class, name)
}

func (t *Thread) missingProperty(err error, this Value, name string) error {
	if e, ok := err.(*Thrown); ok {
		return e
	}
	class := "java.lang.Object"
	if c, ok := this.(*Class); ok {
		class = c.Name
	} else if this != nil {
		class = className(this)
	}
	return t.Throw("groovy.lang.MissingPropertyException", "No such property: %s for class: %s", name, class)
}

// closureProperty finds a name for the code of a closure.
func (t *Thread) closureProperty(c *Closure, name string, depth int) (Value, error) {
	err := ErrMissing
	for _, target := range c.targets() {
		var v Value
		var e error
		if outer, ok := target.(*Closure); ok && depth < maxDepthText {
			v, e = t.closureProperty(outer, name, depth+1)
		} else {
			v, e = t.ownProperty(target, nil, name)
		}
		if e == nil || !isMissing(e) {
			return v, e
		}
		if _, told := err.(*Thrown); !told {
			err = e
		}
	}
	return nil, err
}

// ownProperty is a property as the code inside an object sees it.
func (t *Thread) ownProperty(this Value, class *Class, name string) (Value, error) {
	switch o := this.(type) {
	case *Object:
		v, ok, err := t.member(o, name)
		if ok || err != nil {
			return v, err
		}
		if o.class.script {
			return t.scriptName(name)
		}
		for c := o.class.outer; c != nil; c = c.outer {
			if v, ok, err := t.static(c, name); ok || err != nil {
				return v, err
			}
		}
		if o.outer != nil {
			if v := o.outer.find(name); v != nil {
				return v.value, nil
			}
			return t.lookup(o.outer.frame, name)
		}
	case *Class:
		for c := o; c != nil; c = c.outer {
			if v, ok, err := t.static(c, name); ok || err != nil {
				return v, err
			}
		}
		if o.script {
			return t.scriptName(name)
		}
	case nil:
	default:
		v, err := t.property(o, name)
		if e, ok := asThrown(err); ok && e.InstanceOf("groovy.lang.MissingPropertyException") {
			return nil, ErrMissing
		}
		return v, err
	}
	return nil, ErrMissing
}

// scriptName is what a script sees that it does not declare: variables that
// were set, functions of libraries, and what the host knows.
func (t *Thread) scriptName(name string) (Value, error) {
	if v, ok := t.in.binding.Get(name); ok {
		return v, nil
	}
	if name == "binding" {
		return t.in.binding, nil
	}
	if o, err := t.library(name); o != nil || err != nil {
		return o, err
	}
	if t.in.config.Host != nil {
		return t.in.config.Host.Get(&Call{Thread: t, Name: name, At: t.Position()})
	}
	return nil, ErrMissing
}

// library is the one instance of vars/NAME.groovy, nil for none.
func (t *Thread) library(name string) (Value, error) {
	if t.in.config.Library == nil {
		return nil, nil
	}
	if o, ok := t.in.vars[name]; ok {
		if o == nil {
			return nil, nil
		}
		return o, nil
	}
	s, err := t.in.config.Library(name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		t.in.vars[name] = nil
		return nil, nil
	}
	o, err := t.Instance(s)
	if err != nil {
		return nil, err
	}
	t.in.vars[name] = o
	return o, nil
}

func (t *Thread) propertyExpr(x *PropertyExpr, sc *scope) (Value, error) {
	if v, ok, err := t.dotted(x, sc); ok || err != nil {
		return v, err
	}
	v, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	name, err := t.propertyName(x.Name, x.Dynamic, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if x.Safe && v == nil {
		return nil, nil
	}
	if x.Spread {
		return t.spread(v, func(item Value) (Value, error) {
			if item == nil {
				return nil, nil
			}
			return t.property(item, name)
		})
	}
	if id, ok := x.X.(*Ident); ok && v != nil && v == sc.frame.this {
		switch id.Name {
		case "this":
			// The code of an object sees its own fields, getters aside.
			if o, ok := v.(*Object); ok {
				if x.Direct || !o.class.script {
					if f, ok := o.fields[name]; ok {
						return f, nil
					}
				}
				v, err := t.ownProperty(o, nil, name)
				if err == nil || !isMissing(err) {
					return v, err
				}
			}
		case "super":
			if m := sc.frame.class.super.find(getter(name)); m != nil {
				return t.callMethod(m[0], v, nil)
			}
		}
	}
	if x.Direct {
		if o, ok := v.(*Object); ok {
			f, ok := o.fields[name]
			if !ok {
				return nil, t.Throw("groovy.lang.MissingPropertyException", "No such field: %s for class: %s", name, o.class.Name)
			}
			return f, nil
		}
	}
	return t.property(v, name)
}

// dotted resolves a.b.C as the full name of a class, when a is nothing else.
func (t *Thread) dotted(x *PropertyExpr, sc *scope) (Value, bool, error) {
	if !startsUpper(x.Name) || x.Safe || x.Spread || x.Dynamic != nil {
		return nil, false, nil
	}
	name := x.Name
	root := ""
	e := x.X
	for parts := 1; ; parts++ {
		if parts > maxNameParts {
			return nil, false, nil
		}
		if p, ok := e.(*PropertyExpr); ok && p.Dynamic == nil && !p.Safe && !p.Spread {
			name = p.Name + "." + name
			e = p.X
			continue
		}
		id, ok := e.(*Ident)
		if !ok || sc.find(id.Name) != nil || id.Name == "this" || id.Name == "super" {
			return nil, false, nil
		}
		root = id.Name
		name = root + "." + name
		break
	}
	t.node = x
	if _, known := hierarchy[name]; !known {
		// env.PATH is no class: what has a name comes first.
		if _, err := t.lookup(sc.frame, root); err == nil || !isMissing(err) {
			return nil, false, err
		}
	}
	v, err := t.resolve(sc.frame.unit, name, sc.frame.class)
	return v, v != nil, err
}

func (t *Thread) propertyName(name string, dynamic Expr, sc *scope) (string, error) {
	if dynamic == nil {
		return name, nil
	}
	v, err := t.eval(dynamic, sc)
	if err != nil {
		return "", err
	}
	return t.Text(v)
}

// spread applies fn to each item and makes a list of the results.
func (t *Thread) spread(v Value, fn func(Value) (Value, error)) (Value, error) {
	if v == nil {
		return nil, nil
	}
	out := &List{}
	err := t.each(v, func(item Value) (bool, error) {
		r, err := fn(item)
		out.Items = append(out.Items, r)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return out, t.alloc(48 + 16*len(out.Items))
}

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

// step is ++ and --.
func (t *Thread) step(x *StepExpr, sc *scope) (Value, error) {
	old, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	var v Value
	switch s := old.(type) {
	case int32:
		if x.Op == "++" {
			v = s + 1
		} else {
			v = s - 1
		}
	case string:
		if s == "" {
			return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "String index out of range: -1")
		}
		r := []rune(s)
		if x.Op == "++" {
			r[len(r)-1]++
		} else {
			r[len(r)-1]--
		}
		v = string(r)
	default:
		switch {
		case rankOf(old) != notNumber:
			op := byte('+')
			if x.Op == "--" {
				op = '-'
			}
			v, _ = arithmetic(op, old, int32(1))
		case x.Op == "++":
			v, err = t.Invoke(old, "next")
		default:
			v, err = t.Invoke(old, "previous")
		}
	}
	if err != nil {
		return nil, err
	}
	if err := t.store(x.X, v, sc); err != nil {
		return nil, err
	}
	if x.Prefix {
		return v, nil
	}
	return old, nil
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

func (t *Thread) assign(x *AssignExpr, sc *scope) (Value, error) {
	if tuple, ok := x.Target.(*TupleExpr); ok {
		v, err := t.eval(x.Value, sc)
		if err != nil {
			return nil, err
		}
		items, err := t.tupleItems(v, len(tuple.Items))
		if err != nil {
			return nil, err
		}
		for i, target := range tuple.Items {
			if err := t.store(target, items[i], sc); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	if x.Op == "=" {
		v, err := t.eval(x.Value, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return v, t.store(x.Target, v, sc)
	}
	old, err := t.eval(x.Target, sc)
	if err != nil {
		return nil, err
	}
	v, err := t.eval(x.Value, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if v, err = t.operate(x.Op[:len(x.Op)-1], old, v); err != nil {
		return nil, err
	}
	return v, t.store(x.Target, v, sc)
}

// store assigns to a variable, a property or an element.
func (t *Thread) store(target Expr, v Value, sc *scope) error {
	switch x := target.(type) {
	case *Ident:
		if local := sc.find(x.Name); local != nil {
			if local.typ != nil {
				var err error
				if v, err = t.assignable(local.typ, v, sc); err != nil {
					return err
				}
			}
			local.value = v
			return nil
		}
		return t.setName(sc.frame, x.Name, v)
	case *PropertyExpr:
		o, err := t.eval(x.X, sc)
		if err != nil {
			return err
		}
		name, err := t.propertyName(x.Name, x.Dynamic, sc)
		if err != nil {
			return err
		}
		t.node = x
		if x.Safe && o == nil {
			return nil
		}
		if x.Spread {
			return t.each(o, func(item Value) (bool, error) { return true, t.setProperty(item, name, v) })
		}
		if id, ok := x.X.(*Ident); ok && id.Name == "this" {
			if this, ok := o.(*Object); ok {
				return t.setOwn(this, sc.frame.class, name, v)
			}
		}
		if x.Direct {
			if this, ok := o.(*Object); ok {
				this.fields[name] = v
				return nil
			}
		}
		return t.setProperty(o, name, v)
	case *IndexExpr:
		o, err := t.eval(x.X, sc)
		if err != nil {
			return err
		}
		index, err := t.values(x.Args, sc)
		if err != nil {
			return err
		}
		t.node = x
		return t.putAt(o, index, v)
	}
	t.node = target
	kind := "binary"
	text := shorten(t.unit.script.Text(target))
	switch x := target.(type) {
	case *Literal:
		kind, text = "constant", plain(x.Value)
		return t.fail("[%s] is a constant expression, but it should be a variable expression", text)
	case *CallExpr:
		kind = "method call"
	case *GStringExpr:
		kind = "gstring"
	}
	return t.fail("(%s) is a %s expression, but it should be a variable expression", text, kind)
}

// setName assigns to a name that is no local variable.
func (t *Thread) setName(f *frame, name string, v Value) error {
	if f.closure != nil {
		if name == "delegate" {
			f.closure.Delegate, f.closure.delegated = v, true
			return nil
		}
		if name == "resolveStrategy" {
			f.closure.Strategy = int(asInt64(v))
			return nil
		}
		return t.setClosureProperty(f.closure, name, v, 0)
	}
	return t.setOwnName(f.this, f.class, name, v)
}

func (t *Thread) setClosureProperty(c *Closure, name string, v Value, depth int) error {
	var err error = ErrMissing
	for _, target := range c.targets() {
		if outer, ok := target.(*Closure); ok && depth < maxDepthText {
			err = t.setClosureProperty(outer, name, v, depth+1)
		} else {
			err = t.setOwnName(target, nil, name, v)
		}
		if err == nil || !isMissing(err) {
			if e, ok := asThrown(err); !ok || !e.InstanceOf("groovy.lang.MissingPropertyException") {
				return err
			}
		}
	}
	if isMissing(err) {
		return t.missingProperty(err, c.this, name)
	}
	return err
}

func (t *Thread) setOwnName(this Value, class *Class, name string, v Value) error {
	if o, ok := this.(*Object); ok {
		return t.setOwn(o, class, name, v)
	}
	if c, ok := this.(*Class); ok {
		for k := c; k != nil; k = k.outer {
			if s, err := t.staticVariable(k, name); err != nil {
				return err
			} else if s != nil {
				return t.setStatic(s, k, v)
			}
		}
		if c.script {
			t.in.binding.Put(name, v)
			return nil
		}
		return t.missingProperty(ErrMissing, this, name)
	}
	if this == nil {
		return ErrMissing
	}
	return t.setProperty(this, name, v)
}

// setOwn assigns to a property of the object that the code belongs to.
func (t *Thread) setOwn(o *Object, class *Class, name string, v Value) error {
	if fd := o.class.field(name); fd != nil && !fd.mods.Has("static") {
		v, err := t.assignable(fd.decl.Type, v, &scope{frame: &frame{this: o, class: o.class, unit: o.class.unit}})
		if err != nil {
			return err
		}
		o.fields[name] = v
		return nil
	}
	if o.class.find(setter(name)) != nil {
		return t.setProperty(o, name, v)
	}
	for c := o.class; c != nil; c = c.outer {
		if s, err := t.staticVariable(c, name); err != nil {
			return err
		} else if s != nil {
			return t.setStatic(s, c, v)
		}
	}
	if o.class.script {
		t.in.binding.Put(name, v)
		return nil
	}
	if o.outer != nil {
		if local := o.outer.find(name); local != nil {
			local.value = v
			return nil
		}
		return t.setName(o.outer.frame, name, v)
	}
	return t.setProperty(o, name, v)
}

func (t *Thread) setStatic(s *variable, c *Class, v Value) error {
	v, err := t.assignable(s.typ, v, &scope{frame: &frame{this: c, class: c, unit: c.unit}})
	s.value = v
	return err
}

func (t *Thread) instanceOf(x *InstanceOfExpr, sc *scope) (Value, error) {
	v, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	ok, err := t.isInstance(v, x.Type, sc)
	return ok != x.Not, err
}

// isInstance reports whether a value is of a type that is written.
func (t *Thread) isInstance(v Value, typ *TypeRef, sc *scope) (bool, error) {
	if v == nil {
		return false, nil
	}
	if typ.Dims > 0 {
		l, ok := v.(*List)
		return ok && l.Array, nil
	}
	class, err := t.resolve(sc.frame.unit, typ.Name, sc.frame.class)
	if err != nil {
		return false, err
	}
	switch c := class.(type) {
	case *Class:
		return t.classOf(v).isA(c), nil
	case Host:
		h, ok := v.(Host)
		return ok && (h.ClassName() == c.ClassName() || lastPart(h.ClassName()) == lastPart(typ.Name)), nil
	}
	if h, ok := v.(Host); ok {
		return h.ClassName() == typ.Name || lastPart(h.ClassName()) == lastPart(typ.Name), nil
	}
	return false, nil
}

func (t *Thread) classRef(x *ClassExpr, sc *scope) (Value, error) {
	if box, ok := boxes[x.Type.Name]; ok && x.Type.Dims == 0 {
		return &Class{Name: x.Type.Name, super: t.in.builtin(box)}, nil
	}
	if x.Type.Dims > 0 {
		return &Class{Name: x.Type.Name + "[]", super: t.in.builtin("java.lang.Object")}, nil
	}
	v, err := t.resolve(sc.frame.unit, x.Type.Name, sc.frame.class)
	if v == nil && err == nil {
		t.node = x
		err = t.fail("unable to resolve class %s", x.Type.Name)
	}
	return v, err
}

func (t *Thread) newExpr(x *NewExpr, sc *scope) (Value, error) {
	if x.Array {
		return t.newArray(x, sc)
	}
	v, err := t.resolve(sc.frame.unit, x.Type.Name, sc.frame.class)
	if err != nil {
		return nil, err
	}
	if c, ok := v.(*Class); ok && x.Body != nil {
		return t.anonymous(c, x, sc)
	}
	args, err := t.arguments(x.Args, x.Named, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	switch c := v.(type) {
	case nil:
		return nil, t.fail("unable to resolve class %s", x.Type.Name)
	case *Class:
		return t.create(c, args, x.Named != nil)
	case Host:
		o, err := c.Invoke(&Call{Thread: t, Name: "new", Args: args, Named: x.Named != nil, At: t.Position()})
		if err != nil && isMissing(err) {
			return nil, t.fail("%s cannot be made here", x.Type.Name)
		}
		return o, err
	}
	return nil, t.fail("unable to resolve class %s", x.Type.Name)
}

// create makes an instance of any class.
func (t *Thread) create(c *Class, args []Value, named bool) (Value, error) {
	if c.kind == "" {
		return t.newBuiltin(c, args)
	}
	o, err := t.instantiate(c, args, named, nil, nil)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// anonymous makes an instance of new Type() { members }.
func (t *Thread) anonymous(super *Class, x *NewExpr, sc *scope) (Value, error) {
	u := sc.frame.unit
	c := u.declare(x.Body, nil)
	c.Name = u.class.Name + "$1"
	c.super, c.begun = super, true
	if super.kind == "interface" || super.kind == "trait" || super.kind == "" && !super.is("java.lang.Object", 0) {
		c.super, c.interfaces = t.in.builtin("java.lang.Object"), []*Class{super}
	}
	o, err := t.construct(c, x, x.Args, x.Named, sc, nil)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (t *Thread) newArray(x *NewExpr, sc *scope) (Value, error) {
	elem := &TypeRef{Name: x.Type.Name}
	if len(x.Dims) == 0 {
		items, err := t.values(x.Args, sc)
		if err != nil {
			return nil, err
		}
		for i, v := range items {
			if items[i], err = t.assignable(elem, v, sc); err != nil {
				return nil, err
			}
		}
		return &List{Items: items, Array: true}, t.alloc(48 + 16*len(items))
	}
	var sizes []int64
	for _, d := range x.Dims {
		v, err := t.eval(d, sc)
		if err != nil {
			return nil, err
		}
		n := asInt64(v)
		t.node = x
		if n < 0 {
			return nil, t.Throw("java.lang.NegativeArraySizeException", "%d", n)
		}
		sizes = append(sizes, n)
	}
	return t.array(elem, sizes, len(sizes) == x.Type.Dims)
}

// array makes an array of arrays, filled with zero values when the sizes of
// all dimensions are known.
func (t *Thread) array(elem *TypeRef, sizes []int64, full bool) (*List, error) {
	if sizes[0] > maxValue/16 {
		return nil, t.alloc(maxValue + 1)
	}
	if err := t.alloc(48 + 16*int(sizes[0])); err != nil {
		return nil, err
	}
	l := &List{Items: make([]Value, sizes[0]), Array: true}
	for i := range l.Items {
		if len(sizes) > 1 {
			inner, err := t.array(elem, sizes[1:], full)
			if err != nil {
				return nil, err
			}
			l.Items[i] = inner
		} else if full {
			l.Items[i] = zero(elem)
		}
	}
	return l, nil
}
