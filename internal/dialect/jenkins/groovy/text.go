package groovy

import (
	"fmt"
	"hash/fnv"
	"math/big"
	"strconv"
	"strings"
)

// maxDepthText is how deep values may be nested that are written, compared or
// flattened.
const maxDepthText = 500

// Text is what toString says of a value; null is "null".
func (t *Thread) Text(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int32:
		return strconv.Itoa(int(v)), nil
	}
	var b strings.Builder
	err := t.write(&b, v, false, 0)
	return b.String(), err
}

// inspect is the text with strings in quotes, as inspect() says.
func (t *Thread) inspect(v Value) (string, error) {
	var b strings.Builder
	err := t.write(&b, v, true, 0)
	return b.String(), err
}

// write adds the text of a value. t may be nil: then no script is asked.
func (t *Thread) write(b *strings.Builder, v Value, quoted bool, depth int) error {
	if depth > maxDepthText {
		if t == nil {
			b.WriteString("…")
			return nil
		}
		return t.Throw("java.lang.StackOverflowError", "")
	}
	if t != nil {
		if err := t.alloc(16); err != nil {
			return err
		}
		if b.Len() > maxValue {
			return t.alloc(b.Len())
		}
	} else if b.Len() > 1<<20 {
		return nil
	}
	switch v := v.(type) {
	case string:
		if t != nil {
			if err := t.alloc(len(v)); err != nil {
				return err
			}
		}
		if quoted {
			b.WriteString(quote(v))
		} else {
			b.WriteString(v)
		}
	case *GString:
		return t.writeGString(b, v, quoted, depth)
	case *List:
		return t.writeItems(b, v.Items, v, quoted, depth)
	case *Set:
		return t.writeItems(b, v.m.keys, v, quoted, depth)
	case *Map:
		return t.writeMap(b, v, quoted, depth)
	case *Entry:
		if err := t.write(b, v.Key, quoted, depth+1); err != nil {
			return err
		}
		b.WriteByte('=')
		return t.write(b, v.Value, quoted, depth+1)
	case *Object:
		if t != nil {
			s, err := t.objectText(v)
			b.WriteString(s)
			return err
		}
		fmt.Fprintf(b, "%s@%p", v.class.Name, v)
	default:
		b.WriteString(simpleText(v))
	}
	return nil
}

func (t *Thread) writeGString(b *strings.Builder, v *GString, quoted bool, depth int) error {
	inner := b
	if quoted {
		inner = new(strings.Builder)
	}
	for i, s := range v.Strings {
		if t != nil {
			if err := t.alloc(len(s)); err != nil {
				return err
			}
		}
		inner.WriteString(s)
		if i >= len(v.Values) {
			break
		}
		x := v.Values[i]
		if c, ok := x.(*Closure); ok && t != nil {
			var err error
			if len(c.expr.Params) > 0 {
				return t.Throw("groovy.lang.GroovyRuntimeException", "Trying to evaluate a GString containing a Closure taking %d parameters", len(c.expr.Params))
			}
			if x, err = t.Call(c); err != nil {
				return err
			}
		}
		if r, ok := x.(*Range); ok && t != nil {
			// A GString writes its values as collections where they are any.
			if err := t.alloc(int(min(r.length(), maxValue)) * 16); err != nil {
				return err
			}
			list := NewList()
			for i := range r.length() {
				list.Items = append(list.Items, r.at(i))
			}
			x = list
		}
		if err := t.write(inner, x, false, depth+1); err != nil {
			return err
		}
	}
	if quoted {
		b.WriteString(quote(inner.String()))
	}
	return nil
}

func (t *Thread) writeItems(b *strings.Builder, items []Value, self Value, quoted bool, depth int) error {
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		if item == self {
			b.WriteString("(this Collection)")
			continue
		}
		if err := t.write(b, item, quoted, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func (t *Thread) writeMap(b *strings.Builder, m *Map, quoted bool, depth int) error {
	if m.Len() == 0 {
		b.WriteString("[:]")
		return nil
	}
	b.WriteByte('[')
	first := true
	for k, x := range m.All() {
		if !first {
			b.WriteString(", ")
		}
		first = false
		if err := t.write(b, k, quoted, depth+1); err != nil {
			return err
		}
		b.WriteByte(':')
		if x == Value(m) {
			b.WriteString("(this Map)")
			continue
		}
		if err := t.write(b, x, quoted, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// plain is the text of a value without asking any script.
func plain(v Value) string {
	var b strings.Builder
	(*Thread)(nil).write(&b, v, false, 0)
	return b.String()
}

// simpleText is the text of values that have nothing inside.
func simpleText(v Value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int32:
		return strconv.Itoa(int(v))
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return javaDouble(v)
	case *big.Int:
		return v.String()
	case *Decimal:
		return v.String()
	case *Range:
		to := v.To
		if v.Empty {
			return plain(v.From) + "..<" + plain(v.To)
		}
		return plain(v.From) + ".." + plain(to)
	case *Builder:
		return string(v.text)
	case *Date:
		return formatDate(v.Time, "EEE MMM dd HH:mm:ss zzz yyyy")
	case *Class:
		switch v.kind {
		case "interface", "trait":
			return "interface " + v.Name
		}
		return "class " + v.Name
	case *Pattern:
		return v.source
	case *Closure:
		return v.class() + "@" + identity(v)
	case Host:
		if s, ok := v.(fmt.Stringer); ok {
			return s.String()
		}
		return v.ClassName() + "@" + identity(v)
	}
	return fmt.Sprintf("%s@%s", className(v), identity(v))
}

// identity stands for what Java says of an object that says nothing else. It
// is the same for all, so that runs can be compared.
func identity(Value) string { return "1" }

// objectText is what toString of an object says.
func (t *Thread) objectText(o *Object) (string, error) {
	if m := o.class.find("toString"); m != nil && len(m[0].decl.Params) == 0 {
		if err := t.nest(); err != nil {
			return "", err
		}
		defer t.unnest()
		v, err := t.callMethod(m[0], o, nil)
		if err != nil {
			return "", err
		}
		if _, again := v.(*Object); again {
			return o.class.Name + "@" + identity(o), nil
		}
		return t.Text(v)
	}
	if o.class.isThrowable() {
		message, err := t.property(o, "message")
		if err != nil {
			return "", err
		}
		if message == nil {
			return o.class.Name, nil
		}
		s, err := t.Text(message)
		return o.class.Name + ": " + s, err
	}
	if o.class.is("java.lang.Enum", 0) {
		return plain(o.fields["name"]), nil
	}
	if o.class.decl != nil && (o.class.decl.Has("ToString") || o.class.decl.Has("Canonical") || o.class.decl.Has("Immutable")) {
		var parts []string
		for _, fd := range o.class.fields {
			if !fd.mods.Has("static") {
				s, err := t.Text(o.fields[fd.decl.Name])
				if err != nil {
					return "", err
				}
				parts = append(parts, s)
			}
		}
		return o.class.Name + "(" + strings.Join(parts, ", ") + ")", nil
	}
	return o.class.Name + "@" + identity(o), nil
}

// quote writes a string as inspect does.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\b", `\b`, "\f", `\f`).Replace(s) + "'"
}

// describe is how arguments are shown in errors: their types, and their values.
func (t *Thread) describe(args []Value) (types, values string) {
	var a, b []string
	for _, v := range args {
		if v == nil {
			a, b = append(a, "null"), append(b, "null")
			continue
		}
		a = append(a, className(v))
		s := plain(v)
		if r := []rune(s); len(r) > 60 {
			s = string(r[:60]) + "..."
		}
		b = append(b, s)
	}
	return strings.Join(a, ", "), "[" + strings.Join(b, ", ") + "]"
}

// hashCode is Java's for strings and numbers, and something that is the same
// for equal values for the rest.
func (t *Thread) hashCode(v Value) int32 {
	switch v := v.(type) {
	case nil:
		return 0
	case int32:
		return v
	case int64:
		return int32(v ^ int64(uint64(v)>>32))
	case bool:
		if v {
			return 1231
		}
		return 1237
	case string:
		var h int32
		for _, c := range utf16s(v) {
			h = 31*h + int32(c)
		}
		return h
	}
	h := fnv.New32a()
	h.Write([]byte(plain(v)))
	return int32(h.Sum32())
}

// Truth is what if says of a value.
func (t *Thread) Truth(v Value) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case *GString:
		s, err := t.Text(v)
		return s != "", err
	case *Matcher:
		return t.find(v)
	case *Object:
		if m := v.class.find("asBoolean"); m != nil {
			x, err := t.callMethod(m[0], v, nil)
			if err != nil {
				return false, err
			}
			return truthOf(x), nil
		}
	}
	return truthOf(v), nil
}

// Equal is what == says of two values.
func (t *Thread) Equal(a, b Value) (bool, error) { return t.equal(a, b, 0) }

func (t *Thread) equal(a, b Value, depth int) (bool, error) {
	if depth > maxDepthText {
		return false, t.Throw("java.lang.StackOverflowError", "")
	}
	if err := t.tick(1); err != nil {
		return false, err
	}
	switch x := a.(type) {
	case nil:
		return b == nil, nil
	case string:
		if y, ok := b.(string); ok {
			return x == y, nil
		}
	case bool:
		return a == b, nil
	case *Map:
		y, ok := b.(*Map)
		if !ok || x.Len() != y.Len() {
			return false, nil
		}
		if x == y {
			return true, nil
		}
		for k, v := range x.All() {
			other, ok := y.Get(k)
			if !ok {
				return false, nil
			}
			if same, err := t.equal(v, other, depth+1); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case *Set:
		y, ok := b.(*Set)
		if !ok || x.m.Len() != y.m.Len() {
			return false, nil
		}
		for _, k := range x.m.keys {
			if _, ok := y.m.Get(k); !ok {
				return false, nil
			}
		}
		return true, nil
	case *Entry:
		y, ok := b.(*Entry)
		if !ok {
			return false, nil
		}
		if same, err := t.equal(x.Key, y.Key, depth+1); err != nil || !same {
			return false, err
		}
		return t.equal(x.Value, y.Value, depth+1)
	case *Object:
		if Value(x) == b {
			return true, nil
		}
		if m := x.class.find("equals"); m != nil && len(m[0].decl.Params) == 1 {
			if err := t.nest(); err != nil {
				return false, err
			}
			defer t.unnest()
			v, err := t.callMethod(m[0], x, []Value{b})
			if err != nil {
				return false, err
			}
			return truthOf(v), nil
		}
		if x.class.decl != nil && (x.class.decl.Has("EqualsAndHashCode") || x.class.decl.Has("Canonical") || x.class.decl.Has("Immutable")) {
			y, ok := b.(*Object)
			if !ok || y.class != x.class {
				return false, nil
			}
			for _, fd := range x.class.fields {
				if same, err := t.equal(x.fields[fd.decl.Name], y.fields[fd.decl.Name], depth+1); err != nil || !same {
					return false, err
				}
			}
			return true, nil
		}
		return false, nil
	case *Date:
		y, ok := b.(*Date)
		return ok && x.Time.Equal(y.Time), nil
	}
	if rankOf(a) != notNumber {
		if rankOf(b) == notNumber {
			return false, nil
		}
		return compareNumbers(a, b) == 0, nil
	}
	if x, ok, err := t.characters(a); ok || err != nil {
		y, ok, err2 := t.characters(b)
		if err == nil {
			err = err2
		}
		return ok && x == y, err
	}
	x, okX := sequence(a)
	y, okY := sequence(b)
	if okX && okY {
		if len(x) != len(y) {
			return false, nil
		}
		for i := range x {
			if same, err := t.equal(x[i], y[i], depth+1); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	}
	return hashed(a, 0) == hashed(b, 0), nil
}

// characters is the text of a String or GString.
func (t *Thread) characters(v Value) (string, bool, error) {
	switch v := v.(type) {
	case string:
		return v, true, nil
	case *GString:
		s, err := t.Text(v)
		return s, true, err
	}
	return "", false, nil
}

// maxRange is the number of elements of a range that may become a list.
const maxRange = 10_000_000

// sequence are the items of a list or of a range.
func sequence(v Value) ([]Value, bool) {
	switch v := v.(type) {
	case *List:
		return v.Items, true
	case *Range:
		if v.n > maxRange {
			return nil, false
		}
		items := make([]Value, v.n)
		for i := range items {
			items[i] = v.at(int64(i))
		}
		return items, true
	}
	return nil, false
}

// compare is what <=> says.
func (t *Thread) compare(a, b Value) (int, error) {
	if err := t.tick(1); err != nil {
		return 0, err
	}
	switch {
	case a == nil && b == nil:
		return 0, nil
	case a == nil:
		return -1, nil
	case b == nil:
		return 1, nil
	case rankOf(a) != notNumber && rankOf(b) != notNumber:
		return compareNumbers(a, b), nil
	}
	x, okX, err := t.characters(a)
	if err != nil {
		return 0, err
	}
	y, okY, err := t.characters(b)
	if err != nil {
		return 0, err
	}
	if okX && okY {
		return compareText(x, y), nil
	}
	switch x := a.(type) {
	case bool:
		if y, ok := b.(bool); ok {
			switch {
			case x == y:
				return 0, nil
			case y:
				return -1, nil
			}
			return 1, nil
		}
	case *Date:
		if y, ok := b.(*Date); ok {
			return x.Time.Compare(y.Time), nil
		}
	case *Object:
		if m := x.class.find("compareTo"); m != nil {
			v, err := t.callMethod(m[0], x, []Value{b})
			return int(asInt64(v)), err
		}
		if y, ok := b.(*Object); ok && x.class.is("java.lang.Enum", 0) && y.class.is("java.lang.Enum", 0) {
			return compareNumbers(x.fields["ordinal"], y.fields["ordinal"]), nil
		}
	}
	if same, err := t.Equal(a, b); err != nil || same {
		return 0, err
	}
	return 0, t.Throw("java.lang.IllegalArgumentException", "Cannot compare %s with value '%s' and %s with value '%s'", className(a), plain(a), className(b), plain(b))
}

// compareText orders strings as Java does: by UTF-16.
func compareText(a, b string) int {
	if isASCII(a) && isASCII(b) {
		return strings.Compare(a, b)
	}
	x, y := utf16s(a), utf16s(b)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return int(x[i]) - int(y[i])
		}
	}
	return len(x) - len(y)
}

// plainCompare orders keys of sorted maps without asking any script.
func plainCompare(a, b Value) int {
	if rankOf(a) != notNumber && rankOf(b) != notNumber {
		return compareNumbers(a, b)
	}
	return compareText(plain(a), plain(b))
}
