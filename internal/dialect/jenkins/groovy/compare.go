package groovy

import (
	"hash/fnv"
	"strings"
)

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
