package groovy

import (
	"math"
	"slices"
	"strings"
	"time"
)

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

// construct makes an instance of a class that a file declares.
func (t *Thread) construct(c *Class, at Node, args []Expr, named *MapExpr, sc *scope, prepare func(*Object)) (*Object, error) {
	values, err := t.arguments(args, named, sc)
	if err != nil {
		return nil, err
	}
	t.node = at
	return t.instantiate(c, values, named != nil, sc, prepare)
}

// instantiate makes an instance from values.
func (t *Thread) instantiate(c *Class, args []Value, named bool, outer *scope, prepare func(*Object)) (*Object, error) {
	if c.kind == "interface" || c.decl != nil && c.decl.Has("abstract") {
		return nil, t.Throw("java.lang.InstantiationException", "%s", c.Name)
	}
	if err := t.begin(c); err != nil {
		return nil, err
	}
	if err := t.alloc(200); err != nil {
		return nil, err
	}
	if c.script {
		o, err := t.Instance(c.unit.script)
		return o, err
	}
	o := &Object{class: c, fields: map[string]Value{}}
	if c.decl != nil && c.decl.Name == "" {
		o.outer = outer
	}
	if prepare != nil {
		prepare(o)
	}
	if err := t.initialise(o, c); err != nil {
		return nil, err
	}
	return o, t.constructor(o, c, args, named)
}

// initialise gives the fields of a class, and of those above it, what they
// begin with.
func (t *Thread) initialise(o *Object, c *Class) error {
	if c == nil || c.kind == "" {
		return nil
	}
	if err := t.initialise(o, c.super); err != nil {
		return err
	}
	for _, i := range c.interfaces {
		if i.kind == "trait" {
			if err := t.initialise(o, i); err != nil {
				return err
			}
		}
	}
	defer t.enterUnit(c.unit)()
	sc := &scope{frame: &frame{this: o, class: c, unit: c.unit}, parent: o.outer}
	for _, fd := range c.fields {
		if fd.mods.Has("static") {
			continue
		}
		v, err := t.initial(fd, sc)
		if err != nil {
			return err
		}
		o.fields[fd.decl.Name] = v
	}
	for _, b := range c.decl.Init {
		if _, _, err := t.block(b, sc); err != nil {
			return err
		}
	}
	return nil
}

// constructor calls the constructor that fits; without one, a map sets the
// properties.
func (t *Thread) constructor(o *Object, c *Class, args []Value, named bool) error {
	if c.kind == "" {
		return t.throwableInit(o, args)
	}
	if list := c.methods["<init>"]; len(list) > 0 {
		m, err := t.choose(list, args)
		if err != nil {
			return err
		}
		if m != nil {
			_, err := t.callMethod(m, o, args)
			return err
		}
	}
	if len(args) == 0 {
		if c.super != nil && c.super.kind != "" {
			return t.constructor(o, c.super, nil, false)
		}
		return nil
	}
	if m, ok := args[0].(*Map); ok && len(args) == 1 && (named || len(c.methods["<init>"]) == 0) {
		if len(c.methods["<init>"]) > 0 {
			// The constructor without parameters comes first.
			if err := t.constructor(o, c, nil, false); err != nil {
				return err
			}
		}
		for k, v := range m.All() {
			name, err := t.Text(k)
			if err != nil {
				return err
			}
			if err := t.setProperty(o, name, v); err != nil {
				return err
			}
		}
		return nil
	}
	// Classes without constructors of their own: those of exceptions, of
	// anonymous classes and of @InheritConstructors are those above.
	if len(c.methods["<init>"]) == 0 && c.super != nil && (c.super.kind == "" && c.isThrowable() || c.decl.Name == "" || c.decl.Has("InheritConstructors") || c.kind == "class" && c.super.kind == "enum") {
		return t.constructor(o, c.super, args, named)
	}
	if c.decl.Has("TupleConstructor") || c.decl.Has("Immutable") || c.decl.Has("Canonical") {
		i := 0
		for _, fd := range c.fields {
			if i < len(args) && !fd.mods.Has("static") {
				v, err := t.assignable(fd.decl.Type, args[i], &scope{frame: &frame{this: o, class: c, unit: c.unit}})
				if err != nil {
					return err
				}
				o.fields[fd.decl.Name] = v
				i++
			}
		}
		return nil
	}
	types, values := t.describe(args)
	return t.Throw("groovy.lang.GroovyRuntimeException", "Could not find matching constructor for: %s(%s) values: %s", c.Name, types, values)
}

// newBuiltin makes an instance of a class of the language.
func (t *Thread) newBuiltin(c *Class, args []Value) (Value, error) {
	if c.isThrowable() {
		o := &Object{class: c, fields: map[string]Value{}}
		return o, t.throwableInit(o, args)
	}
	if err := t.alloc(64); err != nil {
		return nil, err
	}
	switch c.Name {
	case "java.lang.Object":
		return &maker{class: c.Name}, nil
	case "java.util.ArrayList", "java.util.LinkedList", "java.util.Vector", "java.util.Stack", "java.util.concurrent.CopyOnWriteArrayList":
		if len(args) == 1 && rankOf(args[0]) == notNumber {
			items, err := t.iterate(args[0])
			return &List{Items: slices.Clone(items)}, err
		}
		return &List{}, nil
	case "java.util.HashSet", "java.util.LinkedHashSet", "java.util.TreeSet":
		var from Value
		if len(args) == 1 && rankOf(args[0]) == notNumber && !callable(args[0]) {
			from = args[0]
		}
		return t.setOf(from, c.Name == "java.util.TreeSet")
	case "java.util.HashMap", "java.util.LinkedHashMap", "java.util.TreeMap", "java.util.Hashtable", "java.util.Properties", "java.util.concurrent.ConcurrentHashMap":
		m := NewMap()
		m.sorted = c.Name == "java.util.TreeMap"
		if from, ok := single(args).(*Map); ok {
			for k, v := range from.All() {
				m.Put(k, v)
			}
		}
		return m, t.alloc(64 * m.Len())
	case "java.lang.StringBuilder", "java.lang.StringBuffer":
		if len(args) == 1 && rankOf(args[0]) == notNumber {
			s, err := t.Text(args[0])
			return &Builder{text: []byte(s)}, err
		}
		return &Builder{}, nil
	case "java.lang.String":
		if l, ok := single(args).(*List); ok { // of bytes or characters
			var raw []byte
			for _, v := range l.Items {
				if s, ok := v.(string); ok {
					raw = append(raw, s...)
				} else {
					raw = append(raw, byte(asInt64(v)))
				}
			}
			return strings.ToValidUTF8(string(raw), "\uFFFD"), t.alloc(len(raw))
		}
		if len(args) == 0 {
			return "", nil
		}
		return t.Text(args[0])
	case "java.lang.Integer", "java.lang.Long", "java.lang.Double", "java.lang.Float", "java.math.BigDecimal", "java.math.BigInteger":
		if len(args) >= 1 {
			return t.castNumber(lastPart(c.Name), args[0], true)
		}
	case "java.lang.Boolean":
		return t.staticMethod(c, "valueOf", args)
	case "java.util.Date":
		switch {
		case len(args) == 0:
			return &Date{t.now()}, nil
		case rankOf(args[0]) != notNumber:
			return &Date{time.UnixMilli(asInt64(args[0])).UTC()}, nil
		}
	case "java.util.Random":
		random := t.in.random
		if len(args) == 1 {
			seed := asInt64(args[0])
			return &Random{next: seeded(seed)}, nil
		}
		return &Random{next: random.Int63n}, nil
	case "java.text.SimpleDateFormat", "groovy.json.JsonSlurper", "groovy.json.JsonSlurperClassic", "groovy.json.JsonBuilder", "groovy.json.JsonOutput", "java.util.concurrent.atomic.AtomicInteger":
		texts := slices.Clone(args)
		if c.Name == "java.util.concurrent.atomic.AtomicInteger" && len(texts) == 0 {
			texts = []Value{int32(0)}
		}
		return &maker{class: c.Name, args: texts}, nil
	}
	switch c.Name {
	case "java.lang.Thread", "java.lang.System", "java.lang.Class":
		return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use new %s", c.Name)
	}
	types, _ := t.describe(args)
	return nil, t.Throw("groovy.lang.GroovyRuntimeException", "Could not find matching constructor for: %s(%s)", c.Name, types)
}

// seeded is Java's own random generator, whose numbers are known for a seed.
func seeded(seed int64) func(int64) int64 {
	const mask = 1<<48 - 1
	state := (seed ^ 0x5DEECE66D) & mask
	next := func(bits uint) int32 {
		state = (state*0x5DEECE66D + 0xB) & mask
		return int32(state >> (48 - bits))
	}
	return func(n int64) int64 {
		if n > math.MaxInt32 {
			v := int64(next(32))<<32 + int64(next(32))
			if n > 1<<53 || n <= 0 {
				return v
			}
			return int64(uint64(v) % uint64(n))
		}
		bound := int32(n)
		if bound&-bound == bound {
			return (n * int64(next(31))) >> 31
		}
		for {
			bits := next(31)
			val := bits % bound
			if bits-val+(bound-1) >= 0 {
				return int64(val)
			}
		}
	}
}
