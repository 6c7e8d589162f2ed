package groovy

import (
	"slices"
)

// closureAt is the argument at i as something that can be called, nil when it
// is nothing of the kind.
func closureAt(args []Value, i int) Value {
	if i >= 0 && i < len(args) && callable(args[i]) {
		return args[i]
	}
	return nil
}

// test calls a closure as a question.
func (t *Thread) test(c Value, args ...Value) (bool, error) {
	v, err := t.Call(c, args...)
	if err != nil {
		return false, err
	}
	return t.Truth(v)
}

// predicate asks of an item: a closure, or without one, its truth.
func (t *Thread) predicate(args []Value, item Value) (bool, error) {
	if len(args) == 0 {
		return t.Truth(item)
	}
	if c := closureAt(args, 0); c != nil {
		return t.test(c, item)
	}
	return t.isCase(args[0], item)
}

// listWalk are the methods that go through the items with a closure.
func (t *Thread) listWalk(l *List, name string, args []Value) (Value, error) {
	switch name {
	case "each", "forEach", "reverseEach", "eachWithIndex", "eachParallel":
		c := closureAt(args, 0)
		if c == nil {
			return nil, ErrMissing
		}
		i := int32(0)
		from := Value(l)
		if name == "reverseEach" {
			items := slices.Clone(l.Items)
			slices.Reverse(items)
			from = &List{Items: items}
		}
		return l, t.each(from, func(v Value) (bool, error) {
			var err error
			if name == "eachWithIndex" {
				_, err = t.withIndex(c, v, i)
			} else {
				_, err = t.Call(c, v)
			}
			i++
			return true, err
		})
	case "collect", "collectMany", "collectEntries", "collectWithIndex", "map", "flatMap":
		return t.collect(l, name, args)
	case "find", "findAll", "filter", "any", "every", "grep", "findResult", "findResults", "split", "partition", "takeWhile", "dropWhile", "anyMatch", "allMatch", "noneMatch", "findFirst", "reject":
		return t.choosing(l, name, args)
	case "inject", "reduce", "foldLeft":
		if len(args) == 0 {
			return nil, ErrMissing
		}
		c := closureAt(args, len(args)-1)
		items := l.Items
		var total Value
		switch {
		case c == nil || len(args) > 2:
			return nil, ErrMissing
		case len(args) == 2:
			total = args[0]
		case len(items) == 0:
			return nil, t.Throw("java.util.NoSuchElementException", "Cannot call inject() on an empty collection without passing an initial value.")
		default:
			total, items = items[0], items[1:]
		}
		for _, v := range items {
			if err := t.tick(1); err != nil {
				return nil, err
			}
			var err error
			if total, err = t.Call(c, total, v); err != nil {
				return nil, err
			}
		}
		return total, nil
	case "groupBy":
		return t.groupBy(l.Items, args, false)
	case "times":
		return nil, ErrMissing
	}
	return nil, ErrMissing
}

// withIndex calls a closure with an item, which may be an entry that it wants
// in parts, and its index.
func (t *Thread) withIndex(c, v Value, i int32) (Value, error) {
	if e, ok := v.(*Entry); ok {
		if f, ok := c.(*Closure); ok && f.parameters() == 3 {
			return t.Call(c, e.Key, e.Value, i)
		}
	}
	return t.Call(c, v, i)
}

func (t *Thread) collect(l *List, name string, args []Value) (Value, error) {
	out := &List{}
	var into Value = out
	if len(args) == 2 {
		into = args[0]
		args = args[1:]
	}
	c := closureAt(args, 0)
	if c == nil && len(args) > 0 {
		return nil, ErrMissing
	}
	if name == "collectEntries" {
		m, ok := into.(*Map)
		if !ok {
			m = NewMap()
		}
		return m, t.each(l, func(v Value) (bool, error) {
			var err error
			if c != nil {
				if v, err = t.Call(c, v); err != nil {
					return false, err
				}
			}
			return true, t.addEntry(m, v)
		})
	}
	i := int32(0)
	err := t.each(l, func(v Value) (bool, error) {
		var err error
		switch {
		case c == nil:
		case name == "collectWithIndex":
			v, err = t.Call(c, v, i)
			i++
		default:
			v, err = t.Call(c, v)
		}
		if err != nil {
			return false, err
		}
		if name == "collectMany" || name == "flatMap" {
			more, err := t.iterate(v)
			if err != nil {
				return false, err
			}
			out.Items = append(out.Items, more...)
			return true, t.alloc(32 * len(more))
		}
		out.Items = append(out.Items, v)
		return true, t.alloc(32)
	})
	if err != nil || into == Value(out) {
		return out, err
	}
	_, err = t.Invoke(into, "addAll", out)
	return into, err
}

// addEntry adds what a closure of collectEntries returns: an entry, a map, or
// a list of key and value.
func (t *Thread) addEntry(m *Map, v Value) error {
	if err := t.alloc(96); err != nil {
		return err
	}
	switch e := v.(type) {
	case *Entry:
		m.Put(e.Key, e.Value)
	case *Map:
		for k, x := range e.All() {
			m.Put(k, x)
		}
	case *List:
		var k, x Value
		if len(e.Items) > 0 {
			k = e.Items[0]
		}
		if len(e.Items) > 1 {
			x = e.Items[1]
		}
		m.Put(k, x)
	case nil:
	default:
		return t.castError(v, "java.util.Map")
	}
	return nil
}

// choosing are the methods that choose items.
func (t *Thread) choosing(l *List, name string, args []Value) (Value, error) {
	yes, no := &List{}, &List{}
	dropping := true
	var result Value
	switch name {
	case "any", "anyMatch":
		result = false
	case "every", "allMatch", "noneMatch":
		result = true
	case "findResult":
		if len(args) == 2 {
			result, args = args[0], args[1:]
		}
	case "grep":
		if len(args) == 1 && closureAt(args, 0) == nil {
			pattern := args[0]
			args = []Value{nativeClosure(func(c *Call) (Value, error) { return c.isCase(pattern, single(c.Args)) })}
		}
	}
	err := t.each(l, func(v Value) (bool, error) {
		if name == "findResult" || name == "findResults" {
			r := v
			if c := closureAt(args, 0); c != nil {
				var err error
				if r, err = t.Call(c, v); err != nil {
					return false, err
				}
			}
			if r == nil {
				return true, nil
			}
			if name == "findResult" {
				result = r
				return false, nil
			}
			yes.Items = append(yes.Items, r)
			return true, nil
		}
		ok, err := t.predicate(args, v)
		if err != nil {
			return false, err
		}
		switch name {
		case "find", "findFirst":
			if ok {
				result = v
			}
			return !ok, nil
		case "any", "anyMatch":
			result = ok
			return !ok, nil
		case "every", "allMatch":
			result = ok
			return ok, nil
		case "noneMatch":
			result = !ok
			return !ok, nil
		case "takeWhile":
			if ok {
				yes.Items = append(yes.Items, v)
			}
			return ok, nil
		case "dropWhile":
			if dropping = dropping && ok; !dropping {
				yes.Items = append(yes.Items, v)
			}
			return true, nil
		}
		if ok {
			yes.Items = append(yes.Items, v)
		} else {
			no.Items = append(no.Items, v)
		}
		return true, t.alloc(32)
	})
	if err != nil {
		return nil, err
	}
	switch name {
	case "findAll", "filter", "grep", "takeWhile", "dropWhile", "findResults":
		return yes, nil
	case "reject":
		return no, nil
	case "split", "partition":
		return NewList(yes, no), nil
	}
	return result, nil
}

// groupBy makes a map of lists, or of counts; several closures nest.
func (t *Thread) groupBy(items []Value, args []Value, count bool) (Value, error) {
	c := closureAt(args, 0)
	if c == nil {
		return nil, ErrMissing
	}
	m := NewMap()
	for _, v := range items {
		k, err := t.Call(c, v)
		if err != nil {
			return nil, err
		}
		if g, ok := k.(*GString); ok {
			if k, err = t.Text(g); err != nil {
				return nil, err
			}
		}
		old, _ := m.Get(k)
		if err := t.alloc(96); err != nil {
			return nil, err
		}
		if count {
			n, _ := old.(int32)
			m.Put(k, n+1)
			continue
		}
		l, ok := old.(*List)
		if !ok {
			l = &List{}
			m.Put(k, l)
		}
		l.Items = append(l.Items, v)
	}
	if len(args) > 1 {
		for i, v := range m.values {
			inner, err := t.groupBy(v.(*List).Items, args[1:], count)
			if err != nil {
				return nil, err
			}
			m.values[i] = inner
		}
	}
	return m, nil
}
