package groovy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

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
