package groovy

import (
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
