package groovy

import (
	"errors"
	"slices"
	"strings"
)

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
	v, err := t.outside(name, args, named)
	if err == nil || !isMissing(err) {
		return v, err
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
		return bindingObject{t.in}, nil
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
	return t.outside(name, args, named)
}

// outside asks the host, then the script's own methods, for a call; the error is
// the host's when neither knows it.
func (t *Thread) outside(name string, args []Value, named bool) (Value, error) {
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
