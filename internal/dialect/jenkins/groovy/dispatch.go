package groovy

import (
	"slices"
)

// bind declares parameters with the values of arguments; ok is false when
// they do not fit.
func (t *Thread) bind(params []*Param, args []Value, sc *scope) (ok bool, err error) {
	n := len(params)
	variadic := n > 0 && params[n-1].Variadic
	required := 0
	for _, p := range params {
		if p.Default == nil && !p.Variadic {
			required++
		}
	}
	if len(args) == 0 && required == 1 && n == 1 {
		args = []Value{nil} // a single parameter may be left out
	}
	if len(args) < required || len(args) > n && !variadic {
		return false, nil
	}
	rest := args
	spare := len(args) - required // for parameters with defaults, from the left
	for i, p := range params {
		var v Value
		switch {
		case p.Variadic && i == n-1:
			if l, isList := single(rest).(*List); isList && (l.Array || p.Type != nil && p.Type.Dims > 0) || len(rest) == 1 && rest[0] == nil && p.Type != nil && p.Type.Dims > 0 {
				v = rest[0]
				break
			}
			items := slices.Clone(rest)
			for j := range items {
				if p.Type != nil && p.Type.Dims == 0 {
					if items[j], err = t.assignable(p.Type, items[j], sc); err != nil {
						return false, err
					}
				}
			}
			v = &List{Items: items, Array: true}
			sc.declare(p.Name, v, nil)
			return true, nil
		case p.Default != nil && spare <= 0:
			if v, err = t.eval(p.Default, sc); err != nil {
				return false, err
			}
		default:
			if p.Default != nil {
				spare--
			}
			v, rest = rest[0], rest[1:]
		}
		if p.Type != nil {
			if v, err = t.assignable(p.Type, v, sc); err != nil {
				return false, err
			}
		}
		sc.declare(p.Name, v, p.Type)
	}
	return true, nil
}

// callMethod calls a method of an object, or of a class when it is static.
func (t *Thread) callMethod(m *method, this Value, args []Value) (Value, error) {
	if err := t.tick(1); err != nil {
		return nil, err
	}
	if m.decl.Body == nil {
		return nil, t.Throw("java.lang.AbstractMethodError", "%s.%s", m.class.Name, m.decl.Name)
	}
	if m.static {
		this = m.class
		if err := t.begin(m.class); err != nil {
			return nil, err
		}
	}
	leave, err := t.enter(m.class.unit)
	if err != nil {
		return nil, err
	}
	defer leave()
	f := &frame{this: this, class: m.class, unit: m.class.unit, method: m}
	sc := &scope{frame: f}
	if o, ok := this.(*Object); ok && o.outer != nil && m.class.decl != nil && m.class.decl.Name == "" {
		sc.parent = o.outer
	}
	ok, err := t.bind(m.decl.Params, args, sc)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, t.missingMethod(ErrMissing, this, m.decl.Name, args)
	}
	if m.decl.Constructor {
		if err := t.implicitSuper(m, this, sc); err != nil {
			return nil, err
		}
	}
	v, d, err := t.stmts(m.decl.Body.Stmts, sc)
	if err != nil {
		return nil, called(err, m.class.unit.script.At(m.decl))
	}
	if d == doReturn {
		v = f.result
	}
	if m.decl.Type == nil {
		return v, nil
	}
	if m.decl.Type.Name == "void" && m.decl.Type.Dims == 0 {
		return nil, nil
	}
	return t.assignable(m.decl.Type, v, sc)
}

// implicitSuper calls the constructor of the superclass before one that does
// not begin by calling another.
func (t *Thread) implicitSuper(m *method, this Value, sc *scope) error {
	if len(m.decl.Body.Stmts) > 0 {
		if s, ok := m.decl.Body.Stmts[0].(*ExprStmt); ok {
			if c, ok := s.X.(*CallExpr); ok && c.X == nil && (c.Name == "super" || c.Name == "this") {
				return nil
			}
		}
	}
	o, ok := this.(*Object)
	if !ok || m.class.super == nil || m.class.super.kind == "" || len(m.class.super.methods["<init>"]) == 0 {
		return nil
	}
	return t.constructor(o, m.class.super, nil, false)
}

// find are the methods of a name, those of the nearest class.
func (c *Class) find(name string) []*method {
	for k, n := c, 0; k != nil && n < 100; k, n = k.super, n+1 {
		if list := k.methods[name]; len(list) > 0 {
			return list
		}
		for _, i := range k.interfaces {
			if list := i.find(name); len(list) > 0 && list[0].decl.Body != nil {
				return list
			}
		}
	}
	return nil
}

// field is the field of a name, nil for none.
func (c *Class) field(name string) *field {
	for k, n := c, 0; k != nil && n < 100; k, n = k.super, n+1 {
		for _, f := range k.fields {
			if f.decl.Name == name {
				return f
			}
		}
		for _, i := range k.interfaces {
			if i.kind == "trait" {
				if f := i.field(name); f != nil {
					return f
				}
			}
		}
	}
	return nil
}

// method is the method of a class that fits the arguments, nil for none.
func (t *Thread) method(c *Class, name string, args []Value) (*method, error) {
	for k, n := c, 0; k != nil && n < 100; k, n = k.super, n+1 {
		if list := k.methods[name]; len(list) > 0 {
			if m, err := t.choose(list, args); m != nil || err != nil {
				return m, err
			}
		}
		for _, i := range k.interfaces {
			if m, err := t.method(i, name, args); err != nil {
				return nil, err
			} else if m != nil && m.decl.Body != nil {
				return m, nil
			}
		}
	}
	return nil, nil
}

// choose is the overload that fits the arguments best, nil when none does.
func (t *Thread) choose(list []*method, args []Value) (*method, error) {
	var best *method
	most := -1
	for _, m := range list {
		n, err := t.fits(m, args)
		if err != nil {
			return nil, err
		}
		if n > most {
			best, most = m, n
		}
	}
	return best, nil
}

// fits rates how well arguments fit a method, -1 for not at all.
func (t *Thread) fits(m *method, args []Value) (int, error) {
	params := m.decl.Params
	n := len(params)
	variadic := n > 0 && params[n-1].Variadic
	required := 0
	for _, p := range params {
		if p.Default == nil && !p.Variadic {
			required++
		}
	}
	if len(args) == 0 && required == 1 && n == 1 {
		return 1, nil
	}
	if len(args) < required || len(args) > n && !variadic {
		return -1, nil
	}
	total := 1
	if !variadic && len(args) == n {
		total += 5
	}
	spare := len(args) - required
	i := 0
	for j, p := range params {
		if p.Variadic && j == n-1 {
			break
		}
		if p.Default != nil {
			if spare <= 0 {
				continue
			}
			spare--
		}
		if i >= len(args) {
			break
		}
		rating, err := t.rate(p.Type, args[i], m.class)
		if err != nil || rating < 0 {
			return -1, err
		}
		total += rating
		i++
	}
	return total, nil
}

// boxes are the classes of primitive types.
var boxes = map[string]string{
	"boolean": "java.lang.Boolean", "int": "java.lang.Integer", "long": "java.lang.Long", "double": "java.lang.Double",
	"float": "java.lang.Float", "char": "java.lang.Character", "byte": "java.lang.Byte", "short": "java.lang.Short",
}

// rate says how well a value fits the type of a parameter: 10 for its own
// class, less for one above, -1 for not at all.
func (t *Thread) rate(typ *TypeRef, v Value, class *Class) (int, error) {
	if typ == nil || typ.Name == "Object" && typ.Dims == 0 {
		return 2, nil
	}
	if v == nil {
		if primitives[typ.Name] && typ.Dims == 0 {
			return -1, nil
		}
		return 3, nil
	}
	if typ.Dims > 0 {
		if _, ok := v.(*List); ok {
			return 6, nil
		}
		return -1, nil
	}
	name := typ.Name
	if box, ok := boxes[name]; ok {
		name = box
	}
	found, err := t.resolve(class.unit, name, class)
	if err != nil {
		return -1, err
	}
	c, ok := found.(*Class)
	if !ok {
		if h, ok := v.(Host); ok && found != nil {
			if lastPart(h.ClassName()) == lastPart(name) {
				return 8, nil
			}
		}
		return 2, nil // nobody knows this type
	}
	own := t.classOf(v)
	switch {
	case own == c:
		return 10, nil
	case own.isA(c):
		return 7, nil
	case rankOf(v) != notNumber && c.is("java.lang.Number", 0):
		// Numbers widen.
		if wide := widths[c.Name]; wide > widths[own.Name] {
			return 5, nil
		}
		return -1, nil
	}
	switch v := v.(type) {
	case *GString:
		if c.Name == "java.lang.String" {
			return 6, nil
		}
	case Host:
		if _, plain := hierarchy[c.Name]; plain && c.unit == nil {
			return -1, nil
		}
	case *Closure:
		if c.kind == "interface" {
			return 4, nil
		}
	case string:
		if c.Name == "java.lang.Character" && len(v) == 1 {
			return 4, nil
		}
	}
	return -1, nil
}

// widths order the classes of numbers by what becomes what unasked.
var widths = map[string]int{
	"java.lang.Byte": 1, "java.lang.Short": 2, "java.lang.Integer": 3, "java.lang.Long": 4, "java.math.BigInteger": 5,
	"java.math.BigDecimal": 6, "java.lang.Float": 7, "java.lang.Double": 8, "java.lang.Number": 9,
}
