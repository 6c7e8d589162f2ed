package groovy

import (
	"unicode"
	"unicode/utf8"
)

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
	if startsUpper(x.Name) { // classes come before properties
		if v, err := t.resolve(f.unit, x.Name, f.class); v != nil || err != nil {
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
	if err := t.tick(1); err != nil {
		return nil, err
	}
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
		return bindingObject{t.in}, nil
	}
	if o, err := t.library(name); o != nil || err != nil {
		return o, err
	}
	if t.in.config.Host != nil {
		return t.in.config.Host.Get(&Call{Thread: t, Name: name, At: t.Position()})
	}
	return nil, ErrMissing
}

// bindingObject is what scripts see of their binding.
type bindingObject struct{ in *Interp }

func (b bindingObject) ClassName() string { return "groovy.lang.Binding" }

func (b bindingObject) Get(c *Call) (Value, error) {
	if c.Name == "variables" {
		return b.in.binding, nil
	}
	if v, ok := b.in.binding.Get(c.Name); ok {
		return v, nil
	}
	return nil, ErrMissing
}

func (b bindingObject) Set(c *Call, v Value) error {
	b.in.binding.Put(c.Name, v)
	return nil
}

func (b bindingObject) Invoke(c *Call) (Value, error) {
	if c.Name == "getVariables" {
		return b.in.binding, nil
	}
	if len(c.Args) == 0 {
		return nil, ErrMissing
	}
	name, err := c.Text(c.Args[0])
	if err != nil {
		return nil, err
	}
	switch c.Name {
	case "hasVariable":
		_, ok := b.in.binding.Get(name)
		return ok, nil
	case "getVariable", "getProperty", "getAt":
		v, ok := b.in.binding.Get(name)
		if !ok {
			return nil, c.missingProperty(ErrMissing, b, name)
		}
		return v, nil
	case "setVariable", "setProperty", "putAt":
		if len(c.Args) == 2 {
			b.in.binding.Put(name, c.Args[1])
			return nil, nil
		}
	case "removeVariable":
		v, _ := b.in.binding.Get(name)
		b.in.binding.Remove(name)
		return v, nil
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
