package groovy

import (
	"slices"
	"strings"
)

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

func (r runes) slice(from, to int) string {
	if r.chars != nil {
		return string(r.chars[from:to])
	}
	return r.s[from:to]
}
