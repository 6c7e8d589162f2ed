package groovy

import (
	"strconv"
	"strings"
	"time"
)

// builtinMethod calls a method of a value of the language. An error that
// [isMissing] says that its class has none of that name.
func (t *Thread) builtinMethod(v Value, name string, args []Value) (Value, error) {
	switch o := v.(type) {
	case string:
		return t.stringMethod(o, name, args)
	case *GString:
		switch name {
		case "getValues":
			return &List{Items: o.Values, Array: true}, nil
		case "getStrings":
			return FromGo(o.Strings), nil
		}
		s, err := t.Text(o)
		if err != nil {
			return nil, err
		}
		return t.stringMethod(s, name, args)
	case *List:
		return t.listMethod(o, name, args)
	case *Set:
		return t.setMethod(o, name, args)
	case *Map:
		return t.mapMethod(o, name, args)
	case *Entry:
		switch name {
		case "getKey":
			return o.Key, nil
		case "getValue":
			return o.Value, nil
		case "setValue":
			if len(args) == 1 {
				old := o.Value
				o.Value = args[0]
				if o.m != nil {
					o.m.Put(o.Key, args[0])
				}
				return old, nil
			}
		}
	case *Range:
		return t.rangeMethod(o, name, args)
	case *Closure:
		return t.closureMethod(o, name, args)
	case Native:
		if name == "call" {
			return o(&Call{Thread: t, Args: args, At: t.Position()})
		}
	case bool:
		return t.boolMethod(o, name, args)
	case *Pattern:
		return t.patternMethod(o, name, args)
	case *Matcher:
		return t.matcherMethod(o, name, args)
	case *Builder:
		return t.builderMethod(o, name, args)
	case *Date:
		return t.dateMethod(o, name, args)
	case *Random:
		return t.randomMethod(o, name, args)
	case *maker:
		return t.makerMethod(o, name, args)
	case *iterator:
		switch name {
		case "hasNext":
			return o.next < len(o.items), nil
		case "next":
			if o.next >= len(o.items) {
				return nil, t.Throw("java.util.NoSuchElementException", "")
			}
			o.next++
			return o.items[o.next-1], nil
		case "iterator":
			return o, nil
		}
		return t.listMethod(&List{Items: o.items[o.next:]}, name, args)
	case nil:
		return t.nullMethod(name, args)
	default:
		if rankOf(v) != notNumber {
			return t.numberMethod(v, name, args)
		}
	}
	return nil, ErrMissing
}

func (t *Thread) nullMethod(name string, args []Value) (Value, error) {
	switch name {
	case "plus":
		if len(args) == 1 {
			return t.operate("+", nil, args[0])
		}
	case "iterator":
		return &iterator{}, nil
	case "asBoolean":
		return false, nil
	case "toString", "equals", "is", "inspect", "dump", "getClass":
		return t.objectMethod(nil, name, args)
	case "each", "any", "every", "find", "findAll", "collect", "with":
		return t.objectMethod(nil, name, args)
	}
	return nil, ErrMissing
}

// objectMethod are the methods that every value has.
func (t *Thread) objectMethod(v Value, name string, args []Value) (Value, error) {
	c, _ := single(args).(*Closure)
	switch name {
	case "toString", "toListString", "toMapString":
		if len(args) == 0 {
			return t.Text(v)
		}
	case "inspect":
		if len(args) == 0 {
			return t.inspect(v)
		}
	case "dump":
		return t.inspect(v)
	case "equals":
		if len(args) == 1 {
			return t.Equal(v, args[0])
		}
	case "compareTo":
		if len(args) == 1 {
			n, err := t.compare(v, args[0])
			return int32(n), err
		}
	case "is":
		if len(args) == 1 {
			return hashed(v, 0) == hashed(args[0], 0), nil
		}
	case "hashCode":
		if len(args) == 0 {
			return t.hashCode(v), nil
		}
	case "getClass":
		if len(args) == 0 {
			return t.classOf(v), nil
		}
	case "asBoolean":
		return t.Truth(v)
	case "asType":
		if class, ok := single(args).(*Class); ok {
			return t.castTo(class, v, true)
		}
	case "with", "tap":
		if c != nil {
			inner := *c
			inner.Delegate, inner.delegated, inner.Strategy = v, true, DelegateFirst
			r, err := t.Call(&inner, v)
			if name == "tap" {
				return v, err
			}
			return r, err
		}
	case "println", "print":
		return t.scriptMethod(name, args)
	case "sprintf", "printf":
		return t.scriptMethod(name, args)
	case "getAt":
		if len(args) == 1 {
			if s, ok, err := t.characters(args[0]); ok || err != nil {
				if err != nil {
					return nil, err
				}
				return t.property(v, s)
			}
		}
	case "getProperty":
		if len(args) == 1 {
			s, err := t.Text(args[0])
			if err != nil {
				return nil, err
			}
			return t.property(v, s)
		}
	case "setProperty":
		if len(args) == 2 {
			s, err := t.Text(args[0])
			if err != nil {
				return nil, err
			}
			return nil, t.setProperty(v, s, args[1])
		}
	case "invokeMethod":
		if len(args) == 2 {
			s, err := t.Text(args[0])
			if err != nil {
				return nil, err
			}
			items := []Value{args[1]}
			if l, ok := args[1].(*List); ok {
				items = l.Items
			}
			return t.invoke(v, s, items, false)
		}
	case "respondsTo":
		if len(args) >= 1 {
			o, ok := v.(*Object)
			s := plain(args[0])
			return &List{Items: found(ok && o.class.find(s) != nil, s)}, nil
		}
	case "hasProperty":
		if len(args) == 1 {
			o, ok := v.(*Object)
			s := plain(args[0])
			if !ok {
				return nil, nil
			}
			_, is := o.fields[s]
			if !is && o.class.find(getter(s)) == nil {
				return nil, nil
			}
			return s, nil
		}
	case "getProperties", "getMetaPropertyValues":
		if o, ok := v.(*Object); ok && o.class.decl != nil {
			m := NewMap()
			for _, fd := range o.class.fields {
				if !fd.mods.Has("static") && !fd.mods.Has("private") {
					m.Put(fd.decl.Name, o.fields[fd.decl.Name])
				}
			}
			m.Put("class", o.class)
			return m, nil
		}
	case "getMetaClass", "setMetaClass":
		return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use method groovy.lang.GroovyObject %s", name)
	case "iterator":
		items, err := t.iterate(v)
		return &iterator{items: items}, err
	case "each", "collect", "find", "findAll", "any", "every", "eachWithIndex", "inject", "findIndexOf", "grep", "findResult", "split":
		items, err := t.iterate(v)
		if err != nil {
			return nil, err
		}
		r, err := t.listMethod(&List{Items: items}, name, args)
		if err == nil && name == "each" {
			return v, nil
		}
		return r, err
	}
	return nil, ErrMissing
}

func found(ok bool, v Value) []Value {
	if ok {
		return []Value{v}
	}
	return nil
}

func (t *Thread) closureMethod(c *Closure, name string, args []Value) (Value, error) {
	switch name {
	case "call", "doCall", "run", "apply", "accept", "test":
		return t.callClosure(c, args)
	case "curry":
		inner := *c
		inner.before = append(append([]Value{}, c.before...), args...)
		return &inner, nil
	case "rcurry":
		inner := *c
		inner.after = append(append([]Value{}, args...), c.after...)
		return &inner, nil
	case "ncurry":
		if len(args) > 1 {
			at, more := int(asInt32(args[0])), args[1:]
			return nativeClosure(func(call *Call) (Value, error) {
				i := max(0, min(at, len(call.Args)))
				all := append(append(append([]Value{}, call.Args[:i]...), more...), call.Args[i:]...)
				return call.callClosure(c, all)
			}), nil
		}
	case "clone", "memoize", "trampoline", "dehydrate":
		inner := *c
		return &inner, nil
	case "rehydrate":
		if len(args) == 3 {
			inner := *c
			inner.Delegate, inner.delegated, inner.owner, inner.this = args[0], true, args[1], args[2]
			return &inner, nil
		}
	case "setDelegate":
		if len(args) == 1 {
			c.Delegate, c.delegated = args[0], true
			return nil, nil
		}
	case "setResolveStrategy":
		if len(args) == 1 {
			c.Strategy = int(asInt64(args[0]))
			return nil, nil
		}
	case "getDelegate":
		return c.delegate(), nil
	case "getOwner":
		return c.owner, nil
	case "getThisObject":
		return c.this, nil
	case "getResolveStrategy":
		return int32(c.Strategy), nil
	case "getMaximumNumberOfParameters":
		return int32(c.parameters()), nil
	case "getParameterTypes":
		l := &List{Array: true}
		for range c.parameters() {
			l.Items = append(l.Items, t.in.builtin("java.lang.Object"))
		}
		return l, nil
	case "rightShift", "leftShift":
		if other, ok := single(args).(*Closure); ok {
			first, second := c, other
			if name == "leftShift" {
				first, second = other, c
			}
			return nativeClosure(func(call *Call) (Value, error) {
				v, err := call.callClosure(first, call.Args)
				if err != nil {
					return nil, err
				}
				return call.callClosure(second, []Value{v})
			}), nil
		}
		if name == "leftShift" && len(args) == 1 {
			return t.callClosure(c, args)
		}
	case "asWritable":
		return c, nil
	}
	return nil, ErrMissing
}

func (t *Thread) builderMethod(b *Builder, name string, args []Value) (Value, error) {
	switch name {
	case "append", "leftShift", "plus":
		s, err := t.Text(single(args))
		if err != nil {
			return nil, err
		}
		if name == "plus" {
			return string(b.text) + s, t.alloc(len(b.text) + len(s))
		}
		if err := t.alloc(2 * len(s)); err != nil {
			return nil, err
		}
		b.text = append(b.text, s...)
		return b, nil
	case "setLength":
		if n := int(asInt64(single(args))); n >= 0 && n <= len(b.text) {
			b.text = b.text[:n]
			return nil, nil
		}
		return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "index %d,length %d", asInt64(single(args)), len(b.text))
	case "reverse":
		b.text = []byte(reverseText(string(b.text)))
		return b, nil
	case "insert":
		if len(args) == 2 {
			s, err := t.Text(args[1])
			if err != nil {
				return nil, err
			}
			r := newRunes(string(b.text))
			i := int(asInt64(args[0]))
			if i < 0 || i > r.len() {
				return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "offset %d, length %d", i, r.len())
			}
			b.text = []byte(r.slice(0, i) + s + r.slice(i, r.len()))
			return b, t.alloc(len(b.text))
		}
	case "deleteCharAt", "delete":
		if len(args) > 0 {
			r := newRunes(string(b.text))
			i := int(asInt64(args[0]))
			j := i + 1
			if name == "delete" && len(args) == 2 {
				j = min(int(asInt64(args[1])), r.len())
			}
			if i < 0 || j > r.len() || i > j {
				return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "index %d,length %d", i, r.len())
			}
			b.text = []byte(r.slice(0, i) + r.slice(j, r.len()))
			return b, t.alloc(len(b.text))
		}
	}
	return t.stringMethod(string(b.text), name, args)
}

// throwableMethod are the methods of exceptions.
func (t *Thread) throwableMethod(o *Object, name string, args []Value) (Value, error) {
	switch name {
	case "getMessage", "getLocalizedMessage":
		return o.fields["message"], nil
	case "getCause":
		return o.fields["cause"], nil
	case "initCause":
		o.fields["cause"] = single(args)
		return o, nil
	case "getSuppressed":
		l, ok := o.fields["suppressed"].(*List)
		if !ok {
			return &List{Array: true}, nil
		}
		return l, nil
	case "addSuppressed":
		l, ok := o.fields["suppressed"].(*List)
		if !ok {
			l = &List{Array: true}
			o.fields["suppressed"] = l
		}
		l.Items = append(l.Items, single(args))
		return nil, nil
	case "fillInStackTrace":
		return o, nil
	case "getStackTrace":
		l := &List{Array: true}
		for _, at := range o.trace {
			l.Items = append(l.Items, at.String())
		}
		return l, nil
	case "setStackTrace":
		return nil, nil
	case "printStackTrace":
		s, err := t.Text(o)
		if err != nil {
			return nil, err
		}
		for _, at := range o.trace {
			s += "\n\tat " + at.String()
		}
		return nil, t.Print(s + "\n")
	}
	return nil, ErrMissing
}

// classMethod are the methods of classes as values.
func (t *Thread) classMethod(c *Class, name string, args []Value) (Value, error) {
	switch name {
	case "getName", "getCanonicalName", "getTypeName":
		return c.Name, nil
	case "getSimpleName":
		return c.SimpleName(), nil
	case "getPackageName":
		return strings.TrimSuffix(strings.TrimSuffix(c.Name, lastPart(c.Name)), "."), nil
	case "getSuperclass":
		if c.super == nil {
			return nil, nil
		}
		return c.super, nil
	case "isInstance":
		if len(args) == 1 {
			return args[0] != nil && t.classOf(args[0]).isA(c), nil
		}
	case "isAssignableFrom":
		if other, ok := single(args).(*Class); ok {
			return other.isA(c), nil
		}
	case "isEnum":
		return c.kind == "enum", nil
	case "isInterface":
		return c.kind == "interface", nil
	case "getEnumConstants":
		return t.Invoke(c, "values")
	case "cast":
		if len(args) == 1 {
			return t.castTo(c, args[0], false)
		}
	case "isCase":
		if len(args) == 1 {
			return t.isCase(c, args[0])
		}
	case "newInstance":
		return t.create(c, args, false)
	case "getClassLoader", "forName", "getResource", "getResourceAsStream", "getDeclaredMethods", "getMethods", "getDeclaredFields", "getProtectionDomain":
		return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use method java.lang.Class %s", name)
	}
	return t.objectMethod(c, name, args)
}

// now is the time that the host gives.
func (t *Thread) now() time.Time { return t.in.config.Now() }

func parseFloat(s string) float64 {
	f, _ := strconv.ParseFloat(strings.Replace(s, "Infinity", "Inf", 1), 64)
	return f
}
