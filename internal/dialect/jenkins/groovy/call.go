package groovy

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The strategies of Closure.resolveStrategy.
const (
	OwnerFirst = iota
	DelegateFirst
	OwnerOnly
	DelegateOnly
	ToSelf
)

// Closure is a closure as a value.
type Closure struct {
	// Delegate is asked for names after, or before, the owner; see Strategy.
	// Without one the owner is the delegate.
	Delegate Value
	Strategy int

	expr      *ClosureExpr
	scope     *scope // of the place where it was written
	owner     Value  // *Closure, or what this is
	this      Value
	delegated bool     // Delegate was set, maybe to null
	native    Native   // of a method pointer, or the like, instead of expr
	before    []Value  // curried arguments
	after     []Value  // curried from the right
	then      *Closure // composition: is called with the result
}

// Expr is the closure as it was written; nil for one that was not.
func (c *Closure) Expr() *ClosureExpr { return c.expr }

// Script is the file that it was written in; nil for one that was not.
func (c *Closure) Script() *Script {
	if c.scope == nil {
		return nil
	}
	return c.scope.frame.unit.script
}

func (c *Closure) class() string {
	if c.scope == nil {
		return "groovy.lang.Closure"
	}
	return c.scope.frame.unit.class.Name + "$_run_closure1"
}

func (c *Closure) delegate() Value {
	if c.delegated || c.Delegate != nil {
		return c.Delegate
	}
	return c.owner
}

// targets are whom the code of the closure asks for names, in order.
func (c *Closure) targets() []Value {
	d := c.delegate()
	if d == c.owner || d == nil {
		if c.Strategy == ToSelf || c.Strategy == DelegateOnly && d == nil {
			return nil
		}
		return []Value{c.owner}
	}
	switch c.Strategy {
	case DelegateFirst:
		return []Value{d, c.owner}
	case OwnerOnly:
		return []Value{c.owner}
	case DelegateOnly:
		return []Value{d}
	case ToSelf:
		return nil
	}
	return []Value{c.owner, d}
}

// parameters is how many arguments it takes.
func (c *Closure) parameters() int {
	n := 1
	switch {
	case c.native != nil:
	case len(c.expr.Params) > 0:
		n = len(c.expr.Params)
	case c.expr.Arrow:
		n = 0
	}
	return max(0, n-len(c.before)-len(c.after))
}

func (t *Thread) closure(x *ClosureExpr, sc *scope) *Closure {
	c := &Closure{expr: x, scope: sc, this: sc.frame.this, owner: sc.frame.this}
	if sc.frame.closure != nil {
		c.owner = sc.frame.closure
	}
	return c
}

// nativeClosure is a closure that calls a function.
func nativeClosure(fn Native) *Closure { return &Closure{native: fn} }

// arguments evaluates arguments; named ones come first, as a map.
func (t *Thread) arguments(args []Expr, named *MapExpr, sc *scope) ([]Value, error) {
	values, err := t.values(args, sc)
	if err != nil || named == nil {
		return values, err
	}
	m, err := t.mapOf(named, sc)
	if err != nil {
		return nil, err
	}
	return slices.Insert(values, 0, Value(m)), nil
}

func (t *Thread) callExpr(x *CallExpr, sc *scope) (Value, error) {
	if x.Callee != nil {
		fn, err := t.eval(x.Callee, sc)
		if err != nil {
			return nil, err
		}
		args, err := t.arguments(x.Args, x.Named, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.Call(fn, args...)
	}
	if x.X == nil {
		args, err := t.arguments(x.Args, x.Named, sc)
		if err != nil {
			return nil, err
		}
		t.node = x
		return t.callName(x, args, sc)
	}
	if id, ok := x.X.(*Ident); ok && id.Name == "super" {
		return t.callSuper(x, sc)
	}
	recv, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	if x.Safe && recv == nil {
		return nil, nil
	}
	name, err := t.propertyName(x.Name, x.Dynamic, sc)
	if err != nil {
		return nil, err
	}
	args, err := t.arguments(x.Args, x.Named, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	if x.Spread {
		return t.spread(recv, func(item Value) (Value, error) {
			if item == nil {
				return nil, nil
			}
			return t.invoke(item, name, args, x.Named != nil)
		})
	}
	if recv != nil && recv == sc.frame.this {
		// this.foo() also finds what foo() finds.
		if id, ok := x.X.(*Ident); ok && id.Name == "this" {
			v, err := t.ownCall(recv, sc.frame.class, name, args, x.Named != nil)
			if err == nil || !isMissing(err) {
				return v, err
			}
			return nil, t.missingMethod(err, recv, name, args)
		}
	}
	return t.invoke(recv, name, args, x.Named != nil)
}

// callSuper calls a method of the superclass.
func (t *Thread) callSuper(x *CallExpr, sc *scope) (Value, error) {
	args, err := t.arguments(x.Args, x.Named, sc)
	if err != nil {
		return nil, err
	}
	t.node = x
	class := sc.frame.class
	if class == nil || class.super == nil {
		return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: super.%s()", x.Name)
	}
	candidates := append([]*Class{class.super}, class.interfaces...)
	for _, c := range candidates {
		if m, err := t.method(c, x.Name, args); err != nil {
			return nil, err
		} else if m != nil {
			return t.callMethod(m, sc.frame.this, args)
		}
	}
	if o, ok := sc.frame.this.(*Object); ok {
		if x.Name == "toString" && class.isThrowable() {
			return (&Thrown{Object: o}).String(), nil
		}
		return t.objectMethod(o, x.Name, args)
	}
	return nil, t.missingMethod(ErrMissing, sc.frame.this, x.Name, args)
}

// callName calls a function by a name that stands alone.
func (t *Thread) callName(x *CallExpr, args []Value, sc *scope) (Value, error) {
	f := sc.frame
	switch x.Name {
	case "this", "super":
		o, ok := f.this.(*Object)
		if !ok || f.method == nil || !f.method.decl.Constructor {
			return nil, t.fail("%s(…) stands only in a constructor", x.Name)
		}
		c := f.class
		if x.Name == "super" {
			c = c.super
		}
		return nil, t.constructor(o, c, args, x.Named != nil)
	}
	if local := sc.find(x.Name); local != nil {
		return t.Call(local.value, args...)
	}
	var v Value
	var err error
	if f.closure != nil {
		v, err = t.closureCall(f.closure, x.Name, args, x.Named != nil, 0)
	} else {
		v, err = t.ownCall(f.this, f.class, x.Name, args, x.Named != nil)
	}
	if err == nil || !isMissing(err) {
		return v, err
	}
	if v, ok, serr := t.staticCall(f.unit, x.Name, args); ok || serr != nil {
		return v, serr
	}
	return nil, t.missingMethod(err, f.this, x.Name, args)
}

// staticCall calls the method that a static import means.
func (t *Thread) staticCall(u *unit, name string, args []Value) (Value, bool, error) {
	classes, member := u.starred, name
	if full, ok := u.statics[name]; ok {
		member = lastPart(full)
		classes = []string{strings.TrimSuffix(full, "."+member)}
	}
	for _, full := range classes {
		class, err := t.resolve(u, full, nil)
		if err != nil {
			return nil, false, err
		}
		v, err := t.maybe(class, member, args)
		if class != nil && (err == nil || !isMissing(err)) {
			return v, true, err
		}
	}
	return nil, false, nil
}

func (t *Thread) missingMethod(err error, recv Value, name string, args []Value) error {
	// What the host says of it is better.
	var told *Thrown
	if errors.As(err, &told) {
		return told
	}
	types, values := t.describe(args)
	class := "java.lang.Object"
	kind := ""
	if c, ok := recv.(*Class); ok {
		class, kind = c.Name, "static "
	} else if recv != nil {
		class = className(recv)
	}
	e := t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s%s.%s() is applicable for argument types: (%s) values: %s", kind, class, name, types, values)
	e.Object.fields["method"] = name
	return e
}

// closureCall calls a function for the code of a closure.
func (t *Thread) closureCall(c *Closure, name string, args []Value, named bool, depth int) (Value, error) {
	err := ErrMissing
	for _, target := range c.targets() {
		var v Value
		var e error
		if outer, ok := target.(*Closure); ok && depth < maxDepthText {
			v, e = t.closureCall(outer, name, args, named, depth+1)
		} else {
			v, e = t.ownCall(target, nil, name, args, named)
		}
		if e == nil || !isMissing(e) {
			return v, e
		}
		if _, told := err.(*Thrown); !told {
			err = e
		}
	}
	if v, e := t.closureMethod(c, name, args); e == nil || !isMissing(e) {
		return v, e
	}
	return nil, err
}

// ownCall calls a function as the code inside an object does.
func (t *Thread) ownCall(this Value, class *Class, name string, args []Value, named bool) (Value, error) {
	switch o := this.(type) {
	case *Object:
		if m, err := t.method(o.class, name, args); m != nil || err != nil {
			if err != nil {
				return nil, err
			}
			return t.callMethod(m, o, args)
		}
		for c := o.class.outer; c != nil; c = c.outer {
			if m, err := t.method(c, name, args); err != nil {
				return nil, err
			} else if m != nil && m.static {
				return t.callMethod(m, c, args)
			}
		}
		if fn, ok, err := t.member(o, name); err != nil {
			return nil, err
		} else if ok && callable(fn) {
			return t.Call(fn, args...)
		}
		if o.class.script {
			return t.scriptCall(o, name, args, named)
		}
		if o.outer != nil {
			if local := o.outer.find(name); local != nil && callable(local.value) {
				return t.Call(local.value, args...)
			}
			f := o.outer.frame
			if f.closure != nil {
				return t.closureCall(f.closure, name, args, named, 0)
			}
			return t.ownCall(f.this, f.class, name, args, named)
		}
		return t.maybe(o, name, args)
	case *Class:
		for c := o; c != nil; c = c.outer {
			if m, err := t.method(c, name, args); err != nil {
				return nil, err
			} else if m != nil && m.static {
				return t.callMethod(m, c, args)
			}
			if fn, ok, err := t.static(c, name); err != nil {
				return nil, err
			} else if ok && callable(fn) {
				return t.Call(fn, args...)
			}
		}
		if o.script {
			return t.scriptCall(o, name, args, named)
		}
		return t.maybe(o, name, args)
	case nil:
		return nil, ErrMissing
	}
	return t.maybeNamed(this, name, args, named)
}

func callable(v Value) bool {
	switch v := v.(type) {
	case *Closure, Native:
		return true
	case *Object:
		return v.class.find("call") != nil
	}
	return false
}

// scriptCall calls what a script does not declare.
func (t *Thread) scriptCall(this Value, name string, args []Value, named bool) (Value, error) {
	if fn, ok := t.in.binding.Get(name); ok && fn != nil {
		if v, err := t.Call(fn, args...); err == nil || !isMissing(err) {
			return v, err
		}
	}
	if lib, err := t.library(name); err != nil {
		return nil, err
	} else if lib != nil {
		return t.Invoke(lib, "call", args...)
	}
	err := ErrMissing
	if t.in.config.Host != nil {
		v, e := t.in.config.Host.Invoke(&Call{Thread: t, Name: name, Args: args, Named: named, At: t.Position()})
		if e == nil || !isMissing(e) {
			return v, e
		}
		err = e
	}
	if v, e := t.scriptMethod(name, args); e == nil || !isMissing(e) {
		return v, e
	}
	if v, e := t.maybe(this, name, args); e == nil || !isMissing(e) {
		return v, e
	}
	return nil, err
}

// scriptMethod are the methods that every script has.
func (t *Thread) scriptMethod(name string, args []Value) (Value, error) {
	switch name {
	case "println", "print", "printf":
		var text string
		var err error
		switch {
		case name == "printf" && len(args) > 0:
			text, err = t.format(args)
		case len(args) > 0:
			text, err = t.Text(args[0])
		}
		if err != nil {
			return nil, err
		}
		if name == "println" {
			text += "\n"
		}
		return nil, t.Print(text)
	case "sprintf":
		return t.format(args)
	case "getBinding":
		return t.in.binding, nil
	case "run", "evaluate", "sleep":
		return nil, ErrMissing
	}
	return nil, ErrMissing
}

// Call calls a closure, or whatever else can be called.
func (t *Thread) Call(fn Value, args ...Value) (Value, error) {
	switch fn := fn.(type) {
	case *Closure:
		return t.callClosure(fn, args)
	case Native:
		return fn(&Call{Thread: t, Args: args, At: t.Position()})
	case nil:
		return nil, t.Throw("java.lang.NullPointerException", "Cannot invoke method call() on null object")
	}
	return t.invoke(fn, "call", args, false)
}

// enter counts a call; leave when it is over.
func (t *Thread) enter(u *unit) (leave func(), err error) {
	if t.depth++; t.depth > t.in.config.Limits.Depth {
		t.depth--
		return nil, t.Throw("java.lang.StackOverflowError", "")
	}
	if err := t.nest(); err != nil {
		t.depth--
		return nil, err
	}
	outer, node := t.unit, t.node
	t.unit = u
	return func() {
		t.depth--
		t.unnest()
		t.unit, t.node = outer, node
	}, nil
}

func (t *Thread) callClosure(c *Closure, args []Value) (Value, error) {
	if err := t.tick(1); err != nil {
		return nil, err
	}
	if c.before != nil || c.after != nil {
		args = slices.Concat(c.before, args, c.after)
	}
	v, err := t.closureBody(c, args)
	if err != nil || c.then == nil {
		return v, err
	}
	return t.callClosure(c.then, []Value{v})
}

func (t *Thread) closureBody(c *Closure, args []Value) (Value, error) {
	if c.native != nil {
		if err := t.nest(); err != nil {
			return nil, err
		}
		defer t.unnest()
		return c.native(&Call{Thread: t, Args: args, At: t.Position()})
	}
	at := t.node
	leave, err := t.enter(c.scope.frame.unit)
	if err != nil {
		return nil, err
	}
	defer leave()
	f := &frame{this: c.this, class: c.scope.frame.class, closure: c, unit: c.scope.frame.unit}
	sc := &scope{parent: c.scope, frame: f}
	switch {
	case len(c.expr.Params) > 0:
		// One list for several parameters is spread.
		if l, ok := single(args).(*List); ok && len(c.expr.Params) > 1 && !c.expr.Params[0].Variadic {
			args = l.Items
		} else if e, ok := single(args).(*Entry); ok && len(c.expr.Params) == 2 {
			args = []Value{e.Key, e.Value}
		}
		ok, err := t.bind(c.expr.Params, args, sc)
		if err != nil {
			return nil, err
		}
		if !ok {
			t.unit, t.node = t.unitOf(at), at
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
	case c.expr.Arrow:
		if len(args) > 0 && !(len(args) == 1 && args[0] == nil) {
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
	default:
		if len(args) > 1 {
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: %s.call() is applicable for argument types: (%s) values: %s", c.class(), types, values)
		}
		sc.declare("it", single(args), nil)
	}
	v, d, err := t.stmts(c.expr.Body.Stmts, sc)
	if err != nil {
		return nil, called(err, t.positionOf(c.scope.frame.unit, c.expr))
	}
	switch d {
	case doReturn:
		v = f.result
	case doBreak, doContinue:
		return nil, t.fail("break and continue stand only in a loop or a switch, and a closure is neither")
	}
	return v, nil
}

// unitOf is the unit that a node of the caller is in: the one that runs.
func (t *Thread) unitOf(Node) *unit { return t.unit }

func (t *Thread) positionOf(u *unit, n Node) Position { return u.script.At(n) }

func single(args []Value) Value {
	if len(args) == 1 {
		return args[0]
	}
	return nil
}

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
		return nil, called(err, t.positionOf(m.class.unit, m.decl))
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
	switch v.(type) {
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
		if c.Name == "java.lang.Character" && len(v.(string)) == 1 {
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

// Invoke calls a method of a value, as value.name(args) does.
func (t *Thread) Invoke(recv Value, name string, args ...Value) (Value, error) {
	return t.invoke(recv, name, args, false)
}

func (t *Thread) invoke(recv Value, name string, args []Value, named bool) (Value, error) {
	v, err := t.maybeNamed(recv, name, args, named)
	if err != nil && isMissing(err) {
		if recv == nil {
			return nil, t.Throw("java.lang.NullPointerException", "Cannot invoke method %s() on null object", name)
		}
		return nil, t.missingMethod(err, recv, name, args)
	}
	return v, err
}

// maybe is invoke, but an error that [isMissing] says when there is no such
// method.
func (t *Thread) maybe(recv Value, name string, args []Value) (Value, error) {
	return t.maybeNamed(recv, name, args, false)
}

func (t *Thread) maybeNamed(recv Value, name string, args []Value, named bool) (Value, error) {
	if err := t.nest(); err != nil {
		return nil, err
	}
	defer t.unnest()
	switch o := recv.(type) {
	case *Object:
		return t.objectCall(o, name, args, named)
	case *Class:
		return t.classCall(o, name, args, named)
	case Host:
		v, err := o.Invoke(&Call{Thread: t, Name: name, Args: args, Named: named, At: t.Position()})
		if err == nil || !isMissing(err) {
			return v, err
		}
		if v, e := t.objectMethod(recv, name, args); e == nil || !isMissing(e) {
			return v, e
		}
		return nil, err
	}
	v, err := t.builtinMethod(recv, name, args)
	if err == nil || !isMissing(err) {
		return v, err
	}
	if m, ok := recv.(*Map); ok {
		if fn, ok := m.Text(name); ok && callable(fn) {
			return t.Call(fn, args...)
		}
	}
	return t.objectMethod(recv, name, args)
}

// objectCall calls a method of an object.
func (t *Thread) objectCall(o *Object, name string, args []Value, named bool) (Value, error) {
	if m, err := t.method(o.class, name, args); err != nil {
		return nil, err
	} else if m != nil {
		return t.callMethod(m, o, args)
	}
	if fn, ok := o.fields[name]; ok && callable(fn) {
		return t.Call(fn, args...)
	}
	if o.class.isThrowable() {
		if v, err := t.throwableMethod(o, name, args); err == nil || !isMissing(err) {
			return v, err
		}
	}
	if o.class.is("java.lang.Enum", 0) {
		switch name {
		case "name":
			return o.fields["name"], nil
		case "ordinal":
			return o.fields["ordinal"], nil
		case "next", "previous":
			step := int32(1)
			if name == "previous" {
				step = -1
			}
			class := o.class
			if len(class.constants) == 0 {
				class = class.super
			}
			n := int32(len(class.constants))
			i, _ := o.fields["ordinal"].(int32)
			return class.constants[(i+step+n)%n], nil
		}
	}
	// Accessors of properties, as Groovy makes them.
	if prop, ok := accessor(name, "get"); ok && len(args) == 0 {
		if v, ok := o.fields[prop]; ok {
			return v, nil
		}
	}
	if prop, ok := accessor(name, "is"); ok && len(args) == 0 {
		if v, ok := o.fields[prop]; ok {
			return v, nil
		}
	}
	if prop, ok := accessor(name, "set"); ok && len(args) == 1 {
		if fd := o.class.field(prop); fd != nil && !fd.mods.Has("static") {
			return nil, t.setOwn(o, nil, prop, args[0])
		}
	}
	if v, err := t.objectMethod(o, name, args); err == nil || !isMissing(err) {
		return v, err
	}
	for _, catchAll := range []string{"methodMissing", "invokeMethod"} {
		if m := o.class.find(catchAll); m != nil {
			return t.callMethod(m[0], o, []Value{name, &List{Items: args, Array: true}})
		}
	}
	if o.class.script {
		// A script that is held as a value still has what scripts have; that
		// is how libraries are handed steps: script.sh '…'.
		return t.scriptCallOn(o, name, args, named)
	}
	return nil, ErrMissing
}

// scriptCallOn calls what the host knows through a script held as a value.
func (t *Thread) scriptCallOn(o *Object, name string, args []Value, named bool) (Value, error) {
	if fn, ok := t.in.binding.Get(name); ok && callable(fn) {
		return t.Call(fn, args...)
	}
	if lib, err := t.library(name); err != nil {
		return nil, err
	} else if lib != nil && lib != Value(o) {
		return t.Invoke(lib, "call", args...)
	}
	err := ErrMissing
	if t.in.config.Host != nil {
		v, e := t.in.config.Host.Invoke(&Call{Thread: t, Name: name, Args: args, Named: named, At: t.Position()})
		if e == nil || !isMissing(e) {
			return v, e
		}
		err = e
	}
	if v, e := t.scriptMethod(name, args); e == nil || !isMissing(e) {
		return v, e
	}
	return nil, err
}

// accessor takes a property's name out of that of its getter or setter.
func accessor(method, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(method, prefix)
	if !ok || rest == "" {
		return "", false
	}
	r, n := utf8.DecodeRuneInString(rest)
	if !unicode.IsUpper(r) {
		return "", false
	}
	// getURL is the getter of URL.
	if r2, _ := utf8.DecodeRuneInString(rest[n:]); unicode.IsUpper(r2) {
		return rest, true
	}
	return string(unicode.ToLower(r)) + rest[n:], true
}

func capital(name string) string {
	r, n := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(r)) + name[n:]
}

func getter(name string) string { return "get" + capital(name) }
func setter(name string) string { return "set" + capital(name) }

// classCall calls a static method.
func (t *Thread) classCall(c *Class, name string, args []Value, named bool) (Value, error) {
	if c.kind != "" {
		if m, err := t.method(c, name, args); err != nil {
			return nil, err
		} else if m != nil && m.static {
			return t.callMethod(m, c, args)
		}
		if fn, ok, err := t.static(c, name); err != nil {
			return nil, err
		} else if ok && callable(fn) {
			return t.Call(fn, args...)
		}
		switch name {
		case "newInstance":
			return t.create(c, args, named)
		case "values":
			if c.kind == "enum" {
				return &List{Items: slices.Clone(c.constants), Array: true}, t.begin(c)
			}
		case "valueOf":
			if c.kind == "enum" && len(args) == 1 {
				return t.enumConstant(c, args[0])
			}
		}
		if m := c.find("$static_methodMissing"); m != nil {
			return t.callMethod(m[0], c, []Value{name, &List{Items: args, Array: true}})
		}
	} else if v, err := t.staticMethod(c, name, args); err == nil || !isMissing(err) {
		return v, err
	}
	return t.classMethod(c, name, args)
}

func (t *Thread) enumConstant(c *Class, v Value) (Value, error) {
	if err := t.begin(c); err != nil {
		return nil, err
	}
	name, err := t.Text(v)
	if err != nil {
		return nil, err
	}
	for _, k := range c.constants {
		if k.(*Object).fields["name"] == Value(name) {
			return k, nil
		}
	}
	return nil, t.Throw("java.lang.IllegalArgumentException", "No enum constant %s.%s", c.Name, name)
}

// member is a property of an object: by its getter, else the field.
func (t *Thread) member(o *Object, name string) (Value, bool, error) {
	if m, err := t.method(o.class, getter(name), nil); err != nil {
		return nil, false, err
	} else if m != nil && len(m.decl.Params) == 0 {
		v, err := t.callMethod(m, o, nil)
		return v, true, err
	}
	if v, ok := o.fields[name]; ok {
		return v, true, nil
	}
	if m, err := t.method(o.class, "is"+capital(name), nil); err != nil {
		return nil, false, err
	} else if m != nil && len(m.decl.Params) == 0 {
		v, err := t.callMethod(m, o, nil)
		return v, true, err
	}
	for c := o.class; c != nil; c = c.super {
		if v, ok, err := t.static(c, name); ok || err != nil {
			return v, ok, err
		}
		for _, i := range c.interfaces {
			if v, ok, err := t.static(i, name); ok || err != nil {
				return v, ok, err
			}
		}
	}
	return nil, false, nil
}

// static is a static member of a class.
func (t *Thread) static(c *Class, name string) (Value, bool, error) {
	s, err := t.staticVariable(c, name)
	if s != nil || err != nil {
		if err != nil {
			return nil, false, err
		}
		return s.value, true, nil
	}
	if list := c.methods[getter(name)]; len(list) > 0 && list[0].static && len(list[0].decl.Params) == 0 {
		v, err := t.callMethod(list[0], c, nil)
		return v, true, err
	}
	return nil, false, nil
}

func (t *Thread) staticVariable(c *Class, name string) (*variable, error) {
	if c.kind == "" {
		return nil, nil
	}
	if err := t.begin(c); err != nil {
		return nil, err
	}
	for k := c; k != nil; k = k.super {
		if s, ok := k.statics[name]; ok {
			return s, nil
		}
	}
	return nil, nil
}

// property is value.name.
func (t *Thread) property(v Value, name string) (Value, error) {
	switch o := v.(type) {
	case nil:
		return nil, t.Throw("java.lang.NullPointerException", "Cannot get property '%s' on null object", name)
	case *Map:
		if x, ok := o.Text(name); ok {
			return x, nil
		}
		if o.fallback != nil {
			return t.getAt(o, []Value{name})
		}
		return nil, nil
	case *Object:
		x, ok, err := t.member(o, name)
		if ok || err != nil {
			return x, err
		}
		if m := o.class.find("propertyMissing"); m != nil {
			return t.callMethod(m[0], o, []Value{name})
		}
		if m := o.class.find("getProperty"); m != nil {
			return t.callMethod(m[0], o, []Value{name})
		}
		if o.class.isThrowable() {
			if x, err := t.throwableMethod(o, getter(name), nil); err == nil || !isMissing(err) {
				return x, err
			}
		}
		if o.class.script {
			x, err := t.scriptName(name)
			if err == nil || !isMissing(err) {
				return x, err
			}
			if e, ok := err.(*Thrown); ok {
				return nil, e
			}
		}
	case *Class:
		if o.kind != "" {
			if x, ok, err := t.static(o, name); ok || err != nil {
				return x, err
			}
			if inner, ok := o.unit.classes[strings.TrimPrefix(o.Name, o.unit.full(""))+"$"+name]; ok {
				return inner, nil
			}
		} else if x, err := t.staticField(o, name); err == nil || !isMissing(err) {
			return x, err
		}
		if name == "class" {
			return o, nil
		}
	case Host:
		x, err := o.Get(&Call{Thread: t, Name: name, At: t.Position()})
		if err == nil || !isMissing(err) {
			return x, err
		}
		if name == "class" {
			return t.classOf(v), nil
		}
		// Properties are methods too: getName() is name.
		for _, method := range []string{getter(name), "is" + capital(name)} {
			x, e := o.Invoke(&Call{Thread: t, Name: method, At: t.Position()})
			if e == nil || !isMissing(e) {
				return x, e
			}
		}
		return nil, t.missingProperty(err, v, name)
	case *Closure:
		switch name {
		case "owner":
			return o.owner, nil
		case "delegate":
			return o.delegate(), nil
		case "thisObject":
			return o.this, nil
		case "resolveStrategy":
			return int32(o.Strategy), nil
		case "maximumNumberOfParameters":
			return int32(o.parameters()), nil
		}
	}
	// length and size of arrays and strings, and every getter.
	if l, ok := v.(*List); ok && l.Array && name == "length" {
		return int32(len(l.Items)), nil
	}
	for _, method := range []string{getter(name), "is" + capital(name)} {
		x, err := t.maybe(v, method, nil)
		if err == nil || !isMissing(err) {
			return x, err
		}
	}
	switch l := v.(type) {
	case *List, *Set:
		return t.spread(l, func(item Value) (Value, error) {
			if item == nil {
				return nil, nil
			}
			return t.property(item, name)
		})
	}
	return nil, t.missingProperty(ErrMissing, v, name)
}

// setProperty is value.name = x.
func (t *Thread) setProperty(v Value, name string, x Value) error {
	switch o := v.(type) {
	case nil:
		return t.Throw("java.lang.NullPointerException", "Cannot set property '%s' on null object", name)
	case *Map:
		return t.putAt(o, []Value{name}, x)
	case *Object:
		if m, err := t.method(o.class, setter(name), []Value{x}); err != nil {
			return err
		} else if m != nil && len(m.decl.Params) == 1 {
			_, err := t.callMethod(m, o, []Value{x})
			return err
		}
		if fd := o.class.field(name); fd != nil {
			if fd.mods.Has("static") {
				s, err := t.staticVariable(o.class, name)
				if err != nil || s == nil {
					return err
				}
				return t.setStatic(s, o.class, x)
			}
			if fd.mods.Has("final") && !o.class.script {
				if old, ok := o.fields[name]; ok && old != nil {
					return t.Throw("groovy.lang.ReadOnlyPropertyException", "Cannot set readonly property: %s for class: %s", name, o.class.Name)
				}
			}
			x, err := t.assignable(fd.decl.Type, x, &scope{frame: &frame{this: o, class: o.class, unit: o.class.unit}})
			if err != nil {
				return err
			}
			o.fields[name] = x
			return nil
		}
		if m := o.class.find("propertyMissing"); m != nil {
			for _, one := range m {
				if len(one.decl.Params) == 2 {
					_, err := t.callMethod(one, o, []Value{name, x})
					return err
				}
			}
		}
		if m := o.class.find("setProperty"); m != nil {
			_, err := t.callMethod(m[0], o, []Value{name, x})
			return err
		}
		if o.class.script {
			t.in.binding.Put(name, x)
			return nil
		}
		if _, ok := o.fields[name]; ok && o.class.isThrowable() {
			o.fields[name] = x
			return nil
		}
	case *Class:
		s, err := t.staticVariable(o, name)
		if err != nil {
			return err
		}
		if s != nil {
			return t.setStatic(s, o, x)
		}
	case *Closure:
		switch name {
		case "delegate":
			o.Delegate, o.delegated = x, true
			return nil
		case "resolveStrategy":
			o.Strategy = int(asInt64(x))
			return nil
		}
	case Host:
		err := o.Set(&Call{Thread: t, Name: name, Args: []Value{x}, At: t.Position()}, x)
		if err == nil || !isMissing(err) {
			return err
		}
		if _, e := o.Invoke(&Call{Thread: t, Name: setter(name), Args: []Value{x}, At: t.Position()}); e == nil || !isMissing(e) {
			return e
		}
		return t.missingProperty(err, v, name)
	case *List, *Set:
		return t.each(o, func(item Value) (bool, error) { return true, t.setProperty(item, name, x) })
	}
	if _, err := t.maybe(v, setter(name), []Value{x}); err == nil || !isMissing(err) {
		return err
	}
	return t.missingProperty(ErrMissing, v, name)
}

func (t *Thread) methodPointer(x *MethodPointerExpr, sc *scope) (Value, error) {
	v, err := t.eval(x.X, sc)
	if err != nil {
		return nil, err
	}
	c := nativeClosure(func(call *Call) (Value, error) {
		if class, ok := v.(*Class); ok && x.Name == "new" {
			return call.create(class, call.Args, call.Named)
		}
		if o, ok := v.(*Object); ok && o == sc.frame.this {
			r, err := call.ownCall(o, sc.frame.class, x.Name, call.Args, false)
			if err != nil && isMissing(err) {
				return nil, call.missingMethod(err, o, x.Name, call.Args)
			}
			return r, err
		}
		return call.Invoke(v, x.Name, call.Args...)
	})
	c.owner = v
	return c, nil
}

// Eval evaluates an expression where a closure was written, with its
// variables, owner and delegate, or at the top of an instance of a script.
// vars are further variables.
func (t *Thread) Eval(where Value, e Expr, vars map[string]Value) (Value, error) {
	sc, leave, err := t.inside(where, vars)
	if err != nil {
		return nil, err
	}
	defer leave()
	return t.eval(e, sc)
}

// Exec executes a block like Eval; the value is that of a closure with this
// body.
func (t *Thread) Exec(where Value, b *Block, vars map[string]Value) (Value, error) {
	sc, leave, err := t.inside(where, vars)
	if err != nil {
		return nil, err
	}
	defer leave()
	v, d, err := t.stmts(b.Stmts, sc.inner())
	if d == doReturn {
		v = sc.frame.result
	}
	return v, err
}

func (t *Thread) inside(where Value, vars map[string]Value) (*scope, func(), error) {
	var sc *scope
	switch w := where.(type) {
	case *Closure:
		if w.scope == nil {
			return nil, nil, errors.New("groovy: a closure that no script has written")
		}
		f := &frame{this: w.this, class: w.scope.frame.class, closure: w, unit: w.scope.frame.unit}
		sc = &scope{parent: w.scope, frame: f}
	case *Object:
		if w.class.unit == nil {
			return nil, nil, errors.New("groovy: an object that no script has declared")
		}
		sc = &scope{frame: &frame{this: w, class: w.class, unit: w.class.unit}}
	default:
		return nil, nil, errors.New("groovy: only closures and scripts have an inside")
	}
	for name, v := range vars {
		sc.declare(name, v, nil)
	}
	leave, err := t.enter(sc.frame.unit)
	return sc, leave, err
}
