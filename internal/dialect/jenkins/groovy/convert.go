package groovy

import (
	"errors"
	"math/big"
	"slices"
	"strings"
	"unicode/utf16"
)

// className is the full name of the class of a value.
func className(v Value) string {
	switch v := v.(type) {
	case nil:
		return "org.codehaus.groovy.runtime.NullObject"
	case bool:
		return "java.lang.Boolean"
	case int32:
		return "java.lang.Integer"
	case int64:
		return "java.lang.Long"
	case float64:
		return "java.lang.Double"
	case *big.Int:
		return "java.math.BigInteger"
	case *Decimal:
		return "java.math.BigDecimal"
	case string:
		return "java.lang.String"
	case *GString:
		return "org.codehaus.groovy.runtime.GStringImpl"
	case *List:
		if v.Array {
			return "[Ljava.lang.Object;"
		}
		return "java.util.ArrayList"
	case *Set:
		if v.m.sorted {
			return "java.util.TreeSet"
		}
		return "java.util.LinkedHashSet"
	case *Map:
		if v.sorted {
			return "java.util.TreeMap"
		}
		return "java.util.LinkedHashMap"
	case *Entry:
		return "java.util.LinkedHashMap$Entry"
	case *Range:
		if _, ok := v.From.(string); ok {
			return "groovy.lang.ObjectRange"
		}
		return "groovy.lang.IntRange"
	case *Closure:
		return v.class()
	case Native:
		return "groovy.lang.Closure"
	case *Object:
		return v.class.Name
	case *Class:
		return "java.lang.Class"
	case *Pattern:
		return "java.util.regex.Pattern"
	case *Matcher:
		return "java.util.regex.Matcher"
	case *Builder:
		return "java.lang.StringBuilder"
	case *Date:
		return "java.util.Date"
	case *Random:
		return "java.util.Random"
	case *maker:
		return v.class
	case Host:
		return v.ClassName()
	}
	return "java.lang.Object"
}

// classOf is the class of a value.
func (t *Thread) classOf(v Value) *Class {
	switch v := v.(type) {
	case *Object:
		return v.class
	case *Closure, Native:
		return t.in.builtin("groovy.lang.Closure")
	case *Entry:
		return t.in.builtin("java.util.Map.Entry")
	case *List:
		if v.Array {
			return &Class{Name: "[Ljava.lang.Object;", super: t.in.builtin("java.lang.Object")}
		}
	case Host:
		if c := t.in.builtin(v.ClassName()); c != nil {
			return c
		}
		return &Class{Name: v.ClassName(), super: t.in.builtin("java.lang.Object")}
	}
	if c := t.in.builtin(className(v)); c != nil {
		return c
	}
	return t.in.builtin("java.lang.Object")
}

func (t *Thread) castError(v Value, class string) error {
	from := "null"
	if v != nil {
		from = className(v)
	}
	text := plain(v)
	if r := []rune(text); len(r) > 100 {
		text = string(r[:100]) + "..."
	}
	return t.Throw(castException, "Cannot cast object '%s' with class '%s' to class '%s'", text, from, class)
}

// assignable makes a value fit a variable, parameter or result of a type.
func (t *Thread) assignable(typ *TypeRef, v Value, sc *scope) (Value, error) {
	if typ == nil {
		return v, nil
	}
	return t.cast(typ, v, sc, false)
}

// cast makes a value one of a type: what (Type) v does, or v as Type.
func (t *Thread) cast(typ *TypeRef, v Value, sc *scope, as bool) (Value, error) {
	if typ.Dims > 0 {
		return t.castArray(typ, v, sc, as)
	}
	switch typ.Name {
	case "def", "Object", "var", "?", "java.lang.Object":
		return v, nil
	case "String", "java.lang.String":
		if v == nil {
			return nil, nil
		}
		return t.Text(v)
	case "boolean":
		return t.Truth(v)
	case "Boolean", "java.lang.Boolean":
		if v == nil {
			return nil, nil
		}
		return t.Truth(v)
	case "int", "long", "double", "float", "short", "byte":
		if v == nil {
			return nil, t.Throw(castException, "Cannot cast object 'null' with class 'null' to class '%s'. Try '%s' instead", typ.Name, boxes[typ.Name])
		}
		return t.castNumber(lastPart(boxes[typ.Name]), v, as)
	case "Integer", "Long", "Double", "Float", "Short", "Byte", "BigDecimal", "BigInteger", "Number",
		"java.lang.Integer", "java.lang.Long", "java.lang.Double", "java.math.BigDecimal", "java.math.BigInteger":
		if v == nil {
			return nil, nil
		}
		return t.castNumber(lastPart(typ.Name), v, as)
	case "char", "Character":
		switch c := v.(type) {
		case nil:
			return nil, nil
		case int32:
			return string(rune(c)), nil
		default:
			s, err := t.Text(c)
			if err == nil && len([]rune(s)) != 1 {
				err = t.castError(v, "char")
			}
			return s, err
		}
	}
	if v == nil {
		return nil, nil
	}
	found, err := t.resolve(sc.frame.unit, typ.Name, sc.frame.class)
	if err != nil {
		return nil, err
	}
	c, ok := found.(*Class)
	if !ok {
		return v, nil // nobody knows this type
	}
	return t.castTo(c, v, as)
}

// castTo makes a value an instance of a class.
func (t *Thread) castTo(c *Class, v Value, as bool) (Value, error) {
	if t.classOf(v).isA(c) {
		return v, nil
	}
	if c.kind == "" {
		return t.castBuiltin(c, v, as)
	}
	switch x := v.(type) {
	case *Map:
		if c.kind == "interface" {
			// A map of closures as an object with these methods.
			return x, nil
		}
		return t.create(c, []Value{x}, true)
	case *List:
		if c.kind == "class" {
			return t.create(c, x.Items, false)
		}
	case *Closure:
		if c.kind == "interface" || c.kind == "trait" || c.decl != nil && c.decl.Has("abstract") {
			return x, nil
		}
	case string, *GString:
		if c.kind == "enum" {
			return t.enumConstant(c, x)
		}
	}
	return nil, t.castError(v, c.Name)
}

// castBuiltin makes a value an instance of a class of the language.
func (t *Thread) castBuiltin(c *Class, v Value, as bool) (Value, error) {
	switch c.Name {
	case "java.lang.String":
		return t.Text(v)
	case "java.lang.Integer", "java.lang.Long", "java.lang.Double", "java.lang.Float", "java.math.BigDecimal", "java.math.BigInteger", "java.lang.Number":
		return t.castNumber(lastPart(c.Name), v, as)
	case "java.lang.Boolean":
		return t.Truth(v)
	case "java.util.List", "java.util.ArrayList", "java.util.Collection", "java.util.LinkedList", "java.lang.Iterable", "java.util.Queue", "java.util.Deque", "java.util.Stack", "java.util.Vector":
		switch v.(type) {
		case *List, *Set, *Range:
		case *Map, string, *GString:
			if !as {
				return nil, t.castError(v, c.Name)
			}
		case Host:
			return v, nil
		default:
			return nil, t.castError(v, c.Name)
		}
		items, err := t.iterate(v)
		return &List{Items: slices.Clone(items)}, err
	case "java.util.Set", "java.util.HashSet", "java.util.LinkedHashSet", "java.util.TreeSet", "java.util.SortedSet":
		switch v.(type) {
		case *List, *Set, *Range:
			return t.setOf(v, c.is("java.util.SortedSet", 0))
		}
	case "java.util.Map", "java.util.HashMap", "java.util.LinkedHashMap", "java.util.TreeMap", "java.util.SortedMap", "java.util.concurrent.ConcurrentHashMap", "java.util.Hashtable", "java.util.Properties":
		if m, ok := v.(*Map); ok {
			if c.is("java.util.SortedMap", 0) && !m.sorted {
				return t.sortedMap(m), nil
			}
			return m, nil
		}
	case "java.lang.Runnable", "java.util.concurrent.Callable", "java.lang.Comparable":
		if callable(v) {
			return v, nil
		}
	case "java.util.regex.Pattern":
		return t.patternOf(v)
	case "java.util.Date":
		if rankOf(v) != notNumber {
			return t.newBuiltin(c, []Value{v})
		}
	case "groovy.lang.GString", "java.lang.CharSequence":
		if as {
			return t.Text(v)
		}
	case "java.util.Iterator":
		items, err := t.iterate(v)
		return &iterator{items: items}, err
	}
	switch v := v.(type) {
	case *List: // Type x = [arguments]
		if c.isThrowable() {
			return t.create(c, v.Items, false)
		}
	case Host:
		return v, nil
	}
	return nil, t.castError(v, c.Name)
}

func (t *Thread) castArray(typ *TypeRef, v Value, sc *scope, as bool) (Value, error) {
	switch v.(type) {
	case nil:
		return nil, nil
	case *List, *Set, *Range:
	case string, *GString:
		if typ.Name != "char" && typ.Name != "byte" && !as {
			return nil, t.castError(v, typ.Name+"[]")
		}
	default:
		return nil, t.castError(v, typ.Name+"[]")
	}
	if l, ok := v.(*List); ok && l.Array && !as {
		return l, nil
	}
	items, err := t.iterate(v)
	if err != nil {
		return nil, err
	}
	out := &List{Items: make([]Value, len(items)), Array: true}
	elem := *typ
	elem.Dims--
	for i, item := range items {
		if out.Items[i], err = t.cast(&elem, item, sc, as); err != nil {
			return nil, err
		}
	}
	return out, t.alloc(48 + 16*len(items))
}

// castNumber makes a value a number of a class, given by its plain name.
// Strings are numbers only with as.
func (t *Thread) castNumber(class string, v Value, as bool) (Value, error) {
	if s, ok, err := t.characters(v); err != nil {
		return nil, err
	} else if ok {
		if r := []rune(s); !as && len(r) == 1 {
			v = int32(r[0])
		} else if !as {
			return nil, t.castError(v, "java.lang."+class)
		} else if v, err = t.parseNumber(class, s); err != nil {
			return nil, err
		}
	}
	if rankOf(v) == notNumber {
		return nil, t.castError(v, "java.lang."+class)
	}
	return convertNumber(class, v), nil
}

// convertNumber makes a number one of a class.
func convertNumber(class string, v Value) Value {
	switch class {
	case "Integer":
		return asInt32(v)
	case "Short":
		return int32(int16(asInt32(v)))
	case "Byte":
		return int32(int8(asInt32(v)))
	case "Long":
		return asInt64(v)
	case "Double":
		return asFloat(v)
	case "Float":
		return float64(float32(asFloat(v)))
	case "BigDecimal":
		if d := asDecimal(v); d != nil {
			return d
		}
	case "BigInteger":
		return asBig(v)
	}
	return v
}

// parseNumber reads a number of a class.
func (t *Thread) parseNumber(class, s string) (Value, error) {
	bad := func() error { return t.Throw("java.lang.NumberFormatException", "For input string: %q", s) }
	switch class {
	case "Double", "Float", "BigDecimal", "Number":
		text := strings.TrimSpace(s)
		if class == "Double" || class == "Float" {
			text = strings.TrimRight(text, "dDfF")
			switch text {
			case "NaN", "Infinity", "+Infinity", "-Infinity":
				return parseFloat(text), nil
			}
		} else {
			text = s
		}
		d, err := parseDecimal(text)
		if err != nil {
			if class == "BigDecimal" {
				return nil, t.Throw("java.lang.NumberFormatException", "")
			}
			return nil, bad()
		}
		if class == "BigDecimal" || class == "Number" {
			return d, nil
		}
		return d.float(), nil
	}
	if len(s) > maxDigits {
		return nil, bad()
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || strings.ContainsAny(s, "_") {
		return nil, bad()
	}
	switch class {
	case "Integer":
		if n.IsInt64() && int64(int32(n.Int64())) == n.Int64() {
			return int32(n.Int64()), nil
		}
		return nil, bad()
	case "Long":
		if n.IsInt64() {
			return n.Int64(), nil
		}
		return nil, bad()
	}
	return n, nil
}

// iterator is a java.util.Iterator.
type iterator struct {
	items []Value
	next  int
}

var errStop = errors.New("enough")

// each calls fn with each item until it says false. What is no collection is
// its own only item; null has none.
func (t *Thread) each(v Value, fn func(Value) (more bool, err error)) error {
	call := func(item Value) error {
		if err := t.tick(1); err != nil {
			return err
		}
		more, err := fn(item)
		if err == nil && !more {
			err = errStop
		}
		return err
	}
	err := func() error {
		switch v := v.(type) {
		case nil:
			return nil
		case *List:
			n := len(v.Items)
			for i := 0; i < len(v.Items); i++ {
				if err := call(v.Items[i]); err != nil {
					return err
				}
				if len(v.Items) != n && i+1 < max(n, len(v.Items)) {
					return t.Throw("java.util.ConcurrentModificationException", "")
				}
			}
			return nil
		case *Range:
			for i := range v.n {
				if err := call(v.at(i)); err != nil {
					return err
				}
			}
			return nil
		}
		items, err := t.iterate(v)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := call(item); err != nil {
				return err
			}
		}
		return nil
	}()
	if err == errStop {
		return nil
	}
	return err
}

// iterate are the items of a collection, entries of a map, characters of a
// string; anything else is its own only item.
func (t *Thread) iterate(v Value) ([]Value, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case *List:
		return v.Items, nil
	case *Set:
		return v.Items(), t.alloc(16 * v.m.Len())
	case *Map:
		return v.entries(), t.alloc(64 * v.Len())
	case *Range:
		if v.n > maxRange {
			return nil, t.limit("a list of more than ten million elements")
		}
		items, _ := sequence(v)
		return items, t.alloc(16 * len(items))
	case string:
		items := make([]Value, 0, len(v))
		for _, r := range v {
			items = append(items, string(r))
		}
		return items, t.alloc(32 * len(items))
	case *GString:
		s, err := t.Text(v)
		if err != nil {
			return nil, err
		}
		return t.iterate(s)
	case *Matcher:
		return t.allMatches(v)
	case *iterator:
		return v.items[v.next:], nil
	case *Object:
		if m := v.class.find("iterator"); m != nil {
			it, err := t.callMethod(m[0], v, nil)
			if err != nil {
				return nil, err
			}
			if it != Value(v) {
				return t.iterate(it)
			}
		}
		if v.class.find("hasNext") != nil && v.class.find("next") != nil {
			var items []Value
			for {
				more, err := t.Invoke(v, "hasNext")
				if err != nil || !truthOf(more) {
					return items, err
				}
				item, err := t.Invoke(v, "next")
				if err != nil {
					return nil, err
				}
				if items = append(items, item); len(items) > maxRange {
					return nil, t.limit("a list of more than ten million elements")
				}
			}
		}
	case *Class:
		if v.kind == "enum" {
			return slices.Clone(v.constants), t.begin(v)
		}
	case Host:
		items, err := v.Invoke(&Call{Thread: t, Name: "iterator", At: t.Position()})
		if err != nil {
			if isMissing(err) {
				return []Value{v}, nil
			}
			return nil, err
		}
		if _, again := items.(Host); !again {
			return t.iterate(items)
		}
	}
	return []Value{v}, nil
}

// contains reports whether one of the items is equal to v.
func (t *Thread) contains(items []Value, v Value) (bool, error) {
	for _, item := range items {
		if same, err := t.Equal(item, v); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

func (t *Thread) inRange(r *Range, v Value) (bool, error) {
	switch v.(type) {
	case *Decimal, float64: // a number inside, not one of the elements
		if r.n == 0 {
			return false, nil
		}
		lo, hi := r.From, r.To
		if r.Reverse {
			lo, hi = hi, lo
		}
		return rankOf(lo) != notNumber && compareNumbers(lo, v) <= 0 && compareNumbers(v, hi) <= 0 && asFloat(v) == float64(asInt64(v)), nil
	case string, *GString:
		s, err := t.Text(v)
		if err != nil {
			return false, err
		}
		v = s
	}
	n, ok := ordinal(v)
	_, textual := r.From.(string)
	if _, isText := v.(string); !ok || isText != textual {
		return false, nil
	}
	if r.Reverse {
		return n <= r.first && n > r.first-r.n, nil
	}
	return n >= r.first && n < r.first+r.n, nil
}

func (t *Thread) setOf(v Value, sorted bool) (*Set, error) {
	items, err := t.iterate(v)
	if err != nil {
		return nil, err
	}
	s := &Set{m: &Map{sorted: sorted}}
	for _, item := range items {
		s.m.Put(item, true)
	}
	return s, t.alloc(64 * len(items))
}

func (t *Thread) sortedMap(m *Map) *Map {
	s := &Map{sorted: true}
	for k, v := range m.All() {
		s.Put(k, v)
	}
	return s
}

// index makes an index of Groovy one of Go: negative ones count from the end.
// ok is false when it is outside.
func index(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

// getAt is v[index].
func (t *Thread) getAt(v Value, args []Value) (Value, error) {
	if v == nil {
		return nil, t.Throw("java.lang.NullPointerException", "Cannot invoke method getAt() on null object")
	}
	var key Value
	switch len(args) {
	case 1:
		key = args[0]
	default:
		key = &List{Items: args}
	}
	switch o := v.(type) {
	case *Map:
		x, ok := o.Get(key)
		if !ok && o.fallback != nil {
			x, err := t.Call(o.fallback, key)
			if err == nil {
				o.Put(key, x)
			}
			return x, err
		}
		return x, nil
	case *List:
		return t.listAt(o.Items, key, o, !o.Array)
	case *Range:
		if n := asInt64(key); rankOf(key) != notNumber {
			if n < 0 {
				n += o.n
			}
			if n < 0 || n >= o.n {
				return nil, nil
			}
			return o.at(n), nil
		}
		items, err := t.iterate(o)
		if err != nil {
			return nil, err
		}
		return t.listAt(items, key, o, true)
	case *Set:
		return t.listAt(o.m.keys, key, o, true)
	case string:
		return t.textAt(o, key)
	case *GString:
		s, err := t.Text(o)
		if err != nil {
			return nil, err
		}
		return t.textAt(s, key)
	case *Matcher:
		return t.matchAt(o, key)
	case *Entry:
		if asInt64(key) == 0 {
			return o.Key, nil
		}
		return o.Value, nil
	case *Object:
		if m, err := t.method(o.class, "getAt", args); err != nil {
			return nil, err
		} else if m != nil {
			return t.callMethod(m, o, args)
		}
	case Host:
		x, err := o.Invoke(&Call{Thread: t, Name: "getAt", Args: args, At: t.Position()})
		if err == nil || !isMissing(err) {
			return x, err
		}
	}
	name, ok, err := t.characters(key)
	if err != nil {
		return nil, err
	}
	if ok {
		return t.property(v, name)
	}
	return nil, t.missingMethod(ErrMissing, v, "getAt", args)
}

// listAt is list[key], where the key may be a list or a range of indexes too.
func (t *Thread) listAt(items []Value, key Value, self Value, soft bool) (Value, error) {
	if rankOf(key) != notNumber {
		i, ok := index(asInt64(key), len(items))
		if !ok {
			if soft && i >= 0 {
				return nil, nil
			}
			if soft {
				return nil, t.Throw("java.lang.ArrayIndexOutOfBoundsException", "Negative array index [%d] too large for array size %d", asInt64(key), len(items))
			}
			return nil, t.Throw("java.lang.ArrayIndexOutOfBoundsException", "Index %d out of bounds for length %d", asInt64(key), len(items))
		}
		return items[i], nil
	}
	switch k := key.(type) {
	case *Range:
		from, to, backwards, err := t.slice(k, len(items))
		if err != nil {
			return nil, err
		}
		out := slices.Clone(items[from:to])
		if backwards {
			slices.Reverse(out)
		}
		return &List{Items: out}, t.alloc(48 + 16*len(out))
	case *List:
		out := &List{}
		for _, i := range k.Items {
			v, err := t.listAt(items, i, self, soft)
			if err != nil {
				return nil, err
			}
			if _, nested := i.(*Range); nested {
				out.Items = append(out.Items, v.(*List).Items...)
				continue
			}
			out.Items = append(out.Items, v)
		}
		return out, t.alloc(48 + 16*len(out.Items))
	}
	if name, ok, err := t.characters(key); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return t.property(self, name)
	}
	return nil, t.missingMethod(ErrMissing, self, "getAt", []Value{key})
}

// slice makes a range of indexes one of Go.
func (t *Thread) slice(r *Range, n int) (from, to int, backwards bool, err error) {
	if r.Empty {
		return 0, 0, false, nil
	}
	a, okA := index(asInt64(r.From), n)
	b, okB := index(asInt64(r.To), n)
	if !okA || !okB {
		if n == 0 && r.n == 0 {
			return 0, 0, false, nil
		}
		return 0, 0, false, t.Throw("java.lang.IndexOutOfBoundsException", "%s is out of bounds for length %d", simpleText(r), n)
	}
	if a > b {
		return b, a + 1, true, nil
	}
	return a, b + 1, false, nil
}

// textAt is string[key].
func (t *Thread) textAt(s string, key Value) (Value, error) {
	r := newRunes(s)
	if rankOf(key) != notNumber {
		i, ok := index(asInt64(key), r.len())
		if !ok {
			return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "String index out of range: %d", i)
		}
		return r.slice(i, i+1), nil
	}
	switch k := key.(type) {
	case *Range:
		from, to, backwards, err := t.slice(k, r.len())
		if err != nil {
			return nil, t.Throw("java.lang.StringIndexOutOfBoundsException", "begin %s, end %s, length %d", plain(k.From), plain(k.To), r.len())
		}
		out := r.slice(from, to)
		if backwards {
			out = reverseText(out)
		}
		return out, t.alloc(len(out))
	case *List:
		var b strings.Builder
		for _, i := range k.Items {
			v, err := t.textAt(s, i)
			if err != nil {
				return nil, err
			}
			b.WriteString(v.(string))
		}
		return b.String(), t.alloc(b.Len())
	}
	if name, ok, err := t.characters(key); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return t.property(s, name)
	}
	return nil, t.missingMethod(ErrMissing, s, "getAt", []Value{key})
}

// putAt is v[index] = x.
func (t *Thread) putAt(v Value, args []Value, x Value) error {
	var key Value = &List{Items: args}
	if len(args) == 1 {
		key = args[0]
	}
	switch o := v.(type) {
	case nil:
		return t.Throw("java.lang.NullPointerException", "Cannot invoke method putAt() on null object")
	case *Map:
		if o.frozen {
			return t.Throw("java.lang.UnsupportedOperationException", "")
		}
		o.Put(key, x)
		return t.alloc(64)
	case *List:
		if o.Frozen {
			return t.Throw("java.lang.UnsupportedOperationException", "")
		}
		if r, ok := key.(*Range); ok {
			from, to, _, err := t.slice(r, len(o.Items))
			if err != nil {
				return err
			}
			items := []Value{x}
			if l, ok := x.(*List); ok {
				items = l.Items
			}
			o.Items = slices.Concat(o.Items[:from], items, o.Items[to:])
			return t.alloc(16 * len(o.Items))
		}
		if rankOf(key) == notNumber {
			break
		}
		n := asInt64(key)
		i, ok := index(n, len(o.Items))
		if !ok && (o.Array || i < 0) {
			return t.Throw("java.lang.ArrayIndexOutOfBoundsException", "Index %d out of bounds for length %d", n, len(o.Items))
		}
		if n > maxValue/16 {
			return t.alloc(maxValue + 1)
		}
		if err := t.alloc(16 * max(0, i+1-len(o.Items))); err != nil {
			return err
		}
		for len(o.Items) <= i {
			o.Items = append(o.Items, nil)
		}
		o.Items[i] = x
		return nil
	case *Object:
		if m, err := t.method(o.class, "putAt", []Value{key, x}); err != nil {
			return err
		} else if m != nil {
			_, err := t.callMethod(m, o, []Value{key, x})
			return err
		}
	case Host:
		if _, err := o.Invoke(&Call{Thread: t, Name: "putAt", Args: []Value{key, x}, At: t.Position()}); err == nil || !isMissing(err) {
			return err
		}
	}
	name, ok, err := t.characters(key)
	if err != nil {
		return err
	}
	if ok {
		return t.setProperty(v, name, x)
	}
	return t.missingMethod(ErrMissing, v, "putAt", []Value{key, x})
}

// runes is a string as its characters. Most are ASCII and need no copy.
type runes struct {
	s     string
	chars []rune // nil for ASCII
}

func newRunes(s string) runes {
	if isASCII(s) {
		return runes{s: s}
	}
	return runes{s, []rune(s)}
}

func (r runes) len() int {
	if r.chars != nil {
		return len(r.chars)
	}
	return len(r.s)
}

func (r runes) slice(from, to int) string {
	if r.chars != nil {
		return string(r.chars[from:to])
	}
	return r.s[from:to]
}

// position is the number of characters before a byte offset.
func (r runes) position(offset int) int {
	if r.chars == nil || offset < 0 {
		return offset
	}
	return len([]rune(r.s[:offset]))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func reverseText(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func utf16s(s string) []uint16 { return utf16.Encode([]rune(s)) }
