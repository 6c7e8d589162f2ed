package groovy

import (
	"slices"
	"sort"
	"strings"
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

// listMethod calls a method of a List, or of what is like one.
func (t *Thread) listMethod(l *List, name string, args []Value) (Value, error) {
	if l.Array {
		switch name {
		case "add", "addAll", "remove", "removeAll", "clear", "leftShift", "push", "pop":
			if name != "leftShift" {
				return nil, ErrMissing
			}
		case "clone":
			return &List{Items: slices.Clone(l.Items), Array: true}, nil
		}
	}
	for _, family := range []func(*List, string, []Value) (Value, error){t.listChange, t.listQuery, t.listWalk, t.listMake} {
		if v, err := family(l, name, args); err == nil || !isMissing(err) {
			return v, err
		}
	}
	return nil, ErrMissing
}

// listChange are the methods that change the list.
func (t *Thread) listChange(l *List, name string, args []Value) (Value, error) {
	switch name {
	case "add", "addAll", "leftShift", "remove", "removeAt", "removeElement", "removeAll", "removeIf", "removeLast", "removeFirst", "retainAll", "clear", "push", "pop", "poll", "offer",
		"addFirst", "addLast", "putAt", "set", "swap", "replaceAll", "setSize", "removeElementAt":
		if l.Frozen {
			return nil, t.Throw("java.lang.UnsupportedOperationException", "")
		}
	case "sort", "reverse", "unique", "shuffle":
		if len(args) > 0 && args[0] == Value(false) || l.Frozen {
			return nil, ErrMissing
		}
	default:
		return nil, ErrMissing
	}
	grow := func(n int) error { return t.alloc(16 * n) }
	switch name {
	case "add", "addLast", "offer":
		switch len(args) {
		case 1:
			l.Items = append(l.Items, args[0])
			return true, grow(2)
		case 2:
			return nil, t.insert(l, asInt64(args[0]), []Value{args[1]})
		}
	case "leftShift":
		if len(args) == 1 {
			l.Items = append(l.Items, args[0])
			return l, grow(2)
		}
	case "push", "addFirst":
		// Groovy's stacks grow at the front.
		if len(args) == 1 {
			return true, t.insert(l, 0, args)
		}
	case "addAll":
		switch len(args) {
		case 1:
			items, err := t.iterate(args[0])
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, items...)
			return len(items) > 0, grow(2 * len(items))
		case 2:
			items, err := t.iterate(args[1])
			if err != nil {
				return nil, err
			}
			return true, t.insert(l, asInt64(args[0]), slices.Clone(items))
		}
	case "pop", "removeFirst", "poll":
		if len(l.Items) == 0 {
			if name == "poll" {
				return nil, nil
			}
			return nil, t.Throw("java.util.NoSuchElementException", "Cannot pop() an empty List")
		}
		v := l.Items[0]
		l.Items = slices.Delete(l.Items, 0, 1)
		return v, t.tick(int64(len(l.Items) / 64))
	case "removeLast":
		if len(l.Items) == 0 {
			return nil, t.Throw("java.util.NoSuchElementException", "Cannot removeLast() an empty List")
		}
		v := l.Items[len(l.Items)-1]
		l.Items = l.Items[:len(l.Items)-1]
		return v, nil
	case "remove", "removeAt", "removeElement", "removeElementAt":
		if len(args) != 1 {
			return nil, ErrMissing
		}
		if err := t.tick(int64(len(l.Items) / 64)); err != nil {
			return nil, err
		}
		if n, ok := args[0].(int32); ok && name != "removeElement" {
			if n < 0 || int(n) >= len(l.Items) {
				return nil, t.Throw("java.lang.IndexOutOfBoundsException", "Index %d out of bounds for length %d", n, len(l.Items))
			}
			v := l.Items[n]
			l.Items = slices.Delete(l.Items, int(n), int(n)+1)
			return v, nil
		}
		i, err := t.indexWhere(l.Items, func(v Value) (bool, error) { return t.Equal(v, args[0]) })
		if i >= 0 {
			l.Items = slices.Delete(l.Items, i, i+1)
		}
		return i >= 0, err
	case "removeAll", "retainAll", "removeIf":
		if len(args) != 1 {
			return nil, ErrMissing
		}
		drop := func(v Value) (bool, error) { return t.test(args[0], v) }
		if !callable(args[0]) {
			items, err := t.iterate(args[0])
			if err != nil {
				return nil, err
			}
			drop = func(v Value) (bool, error) { return t.contains(items, v) }
		}
		var kept []Value
		for _, v := range slices.Clone(l.Items) {
			yes, err := drop(v)
			if err != nil {
				return nil, err
			}
			if yes == (name == "retainAll") {
				kept = append(kept, v)
			}
		}
		changed := len(kept) != len(l.Items)
		l.Items = kept
		return changed, nil
	case "clear":
		l.Items = nil
		return nil, nil
	case "putAt", "set":
		if len(args) == 2 {
			old, _ := t.listAt(l.Items, args[0], l, true)
			return old, t.putAt(l, args[:1], args[1])
		}
	case "swap":
		if len(args) == 2 {
			i, okI := index(asInt64(args[0]), len(l.Items))
			j, okJ := index(asInt64(args[1]), len(l.Items))
			if okI && okJ {
				l.Items[i], l.Items[j] = l.Items[j], l.Items[i]
				return l, nil
			}
		}
	case "replaceAll":
		for i, v := range l.Items {
			r, err := t.Call(single(args), v)
			if err != nil {
				return nil, err
			}
			if i < len(l.Items) {
				l.Items[i] = r
			}
		}
		return nil, nil
	case "sort":
		sorted, err := t.sorted(l.Items, args)
		if err != nil {
			return nil, err
		}
		l.Items = sorted
		return l, nil
	case "reverse":
		if len(args) == 1 {
			slices.Reverse(l.Items)
			return l, nil
		}
	case "unique":
		kept, err := t.unique(l.Items, args)
		if err != nil {
			return nil, err
		}
		l.Items = kept
		return l, nil
	case "shuffle":
		t.in.random.Shuffle(len(l.Items), func(i, j int) { l.Items[i], l.Items[j] = l.Items[j], l.Items[i] })
		return nil, nil
	}
	return nil, ErrMissing
}

func (t *Thread) insert(l *List, at int64, items []Value) error {
	if at < 0 || at > int64(len(l.Items)) {
		return t.Throw("java.lang.IndexOutOfBoundsException", "Index: %d, Size: %d", at, len(l.Items))
	}
	l.Items = slices.Insert(l.Items, int(at), items...)
	if err := t.tick(int64(len(l.Items) / 64)); err != nil {
		return err
	}
	return t.alloc(32 * len(items))
}

func (t *Thread) indexWhere(items []Value, is func(Value) (bool, error)) (int, error) {
	for i, v := range items {
		if err := t.tick(1); err != nil {
			return -1, err
		}
		if ok, err := is(v); err != nil || ok {
			return i, err
		}
	}
	return -1, nil
}

// listQuery are the methods that ask something of the list.
func (t *Thread) listQuery(l *List, name string, args []Value) (Value, error) {
	n := len(l.Items)
	switch name {
	case "size", "length":
		if len(args) == 0 && (name == "size" || l.Array) {
			return int32(n), nil
		}
	case "isEmpty":
		return n == 0, nil
	case "get":
		if len(args) == 1 {
			i := asInt64(args[0])
			if i < 0 || i >= int64(n) {
				return nil, t.Throw("java.lang.IndexOutOfBoundsException", "Index %d out of bounds for length %d", i, n)
			}
			return l.Items[i], nil
		}
		if len(args) == 2 { // with a default
			if i, ok := index(asInt64(args[0]), n); ok {
				return l.Items[i], nil
			}
			return args[1], nil
		}
	case "getAt", "elementAt":
		return t.getAt(l, args)
	case "first", "last", "head", "element", "getFirst", "getLast", "firstElement", "lastElement":
		if len(args) > 0 {
			return nil, ErrMissing
		}
		if n == 0 {
			return nil, t.Throw("java.util.NoSuchElementException", "Cannot access %s() element from an empty List", strings.ToLower(strings.TrimPrefix(name, "get")))
		}
		if strings.HasSuffix(strings.ToLower(name), "last") || name == "lastElement" {
			return l.Items[n-1], nil
		}
		return l.Items[0], nil
	case "peek":
		if n == 0 {
			return nil, nil
		}
		return l.Items[0], nil
	case "contains":
		if len(args) == 1 {
			return t.contains(l.Items, args[0])
		}
	case "containsAll":
		items, err := t.iterate(single(args))
		if err != nil {
			return nil, err
		}
		for _, v := range items {
			if ok, err := t.contains(l.Items, v); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	case "disjoint":
		items, err := t.iterate(single(args))
		if err != nil {
			return nil, err
		}
		for _, v := range items {
			if ok, err := t.contains(l.Items, v); err != nil || ok {
				return false, err
			}
		}
		return true, nil
	case "isCase":
		return t.contains(l.Items, single(args))
	case "indexOf", "findIndexOf", "lastIndexOf", "findLastIndexOf":
		if len(args) == 0 {
			return nil, ErrMissing
		}
		is := func(v Value) (bool, error) { return t.Equal(v, args[0]) }
		from := 0
		if strings.HasPrefix(name, "find") {
			if len(args) == 2 {
				from = max(0, min(int(asInt64(args[0])), n))
			}
			is = func(v Value) (bool, error) { return t.predicate(args[len(args)-1:], v) }
		}
		if strings.Contains(strings.ToLower(name), "last") {
			for i := n - 1; i >= 0; i-- {
				if ok, err := is(l.Items[i]); err != nil || ok {
					return int32(i), err
				}
			}
			return int32(-1), nil
		}
		i, err := t.indexWhere(l.Items[from:], is)
		if i >= 0 {
			i += from
		}
		return int32(i), err
	case "findIndexValues":
		out := &List{}
		for i, v := range l.Items {
			ok, err := t.predicate(args, v)
			if err != nil {
				return nil, err
			}
			if ok {
				out.Items = append(out.Items, int64(i))
			}
		}
		return out, nil
	case "join":
		sep := ""
		if len(args) > 0 {
			var err error
			if sep, err = t.Text(args[0]); err != nil {
				return nil, err
			}
		}
		var b strings.Builder
		for i, v := range l.Items {
			if i > 0 {
				b.WriteString(sep)
			}
			if err := t.alloc(len(sep)); err != nil {
				return nil, err
			}
			if err := t.write(&b, v, false, 0); err != nil {
				return nil, err
			}
		}
		return b.String(), nil
	case "count", "countBy":
		if name == "countBy" {
			return t.groupBy(l.Items, args, true)
		}
		count := int32(0)
		for _, v := range l.Items {
			ok := len(args) == 0
			var err error
			if c := closureAt(args, 0); c != nil {
				ok, err = t.test(c, v)
			} else if len(args) == 1 {
				ok, err = t.Equal(v, args[0])
			}
			if err != nil {
				return nil, err
			}
			if ok {
				count++
			}
		}
		return count, nil
	case "sum":
		return t.sum(l.Items, args)
	case "average":
		s, err := t.sum(l.Items, args)
		if err != nil || n == 0 {
			return nil, err
		}
		return t.operate("/", s, int32(n))
	case "max", "min":
		return t.extreme(l.Items, name == "max", args)
	case "equals":
		if len(args) == 1 {
			return t.Equal(l, args[0])
		}
	case "iterator", "listIterator":
		return &iterator{items: slices.Clone(l.Items)}, nil
	case "stream", "parallelStream":
		return &List{Items: slices.Clone(l.Items)}, nil
	case "getIndices":
		r, _ := newRange(int32(0), int32(n), true)
		return r, nil
	}
	return nil, ErrMissing
}

func (t *Thread) sum(items []Value, args []Value) (Value, error) {
	var total Value
	started := false
	c := closureAt(args, 0)
	if len(args) > 0 && c == nil {
		total, started = args[0], true
		c = closureAt(args, 1)
	} else if len(args) == 2 {
		return nil, ErrMissing
	}
	for _, v := range items {
		if err := t.tick(1); err != nil {
			return nil, err
		}
		var err error
		if c != nil {
			if v, err = t.Call(c, v); err != nil {
				return nil, err
			}
		}
		if !started {
			total, started = v, true
			continue
		}
		if total, err = t.operate("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// extreme is the largest or smallest item; by a closure of one argument,
// whose results are compared, or of two, which compares.
func (t *Thread) extreme(items []Value, largest bool, args []Value) (Value, error) {
	less, err := t.order(args)
	if err != nil {
		return nil, err
	}
	var best Value
	for i, v := range items {
		if i == 0 || best == nil {
			best = v
			continue
		}
		if v == nil {
			continue
		}
		n, err := less(v, best)
		if err != nil {
			return nil, err
		}
		if largest && n > 0 || !largest && n < 0 {
			best = v
		}
	}
	return best, nil
}

// order is how items are compared: by themselves or by a closure.
func (t *Thread) order(args []Value) (func(a, b Value) (int, error), error) {
	var c Value
	for i := range args {
		if f := closureAt(args, i); f != nil {
			c = f
		} else if o, ok := args[i].(*Object); ok && o.class.find("compare") != nil {
			return func(a, b Value) (int, error) {
				v, err := t.Invoke(o, "compare", a, b)
				return int(asInt64(v)), err
			}, nil
		}
	}
	if c == nil {
		return t.compare, nil
	}
	if f, ok := c.(*Closure); ok && f.parameters() == 2 {
		return func(a, b Value) (int, error) {
			v, err := t.Call(c, a, b)
			if yes, ok := v.(bool); ok && err == nil {
				if yes {
					return 1, nil
				}
				return 0, nil
			}
			return int(asInt64(v)), err
		}, nil
	}
	return func(a, b Value) (int, error) {
		x, err := t.Call(c, a)
		if err != nil {
			return 0, err
		}
		y, err := t.Call(c, b)
		if err != nil {
			return 0, err
		}
		return t.compare(x, y)
	}, nil
}

// sorted are the items in order; items that are equal keep theirs.
func (t *Thread) sorted(items []Value, args []Value) ([]Value, error) {
	less, err := t.order(args)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(items)
	var failed error
	sort.SliceStable(out, func(i, j int) bool {
		if failed != nil {
			return false
		}
		n, err := less(out[i], out[j])
		if err != nil {
			failed = err
		}
		return n < 0
	})
	return out, failed
}

func (t *Thread) unique(items []Value, args []Value) ([]Value, error) {
	var out []Value
	if len(args) > 0 && closureAt(args, len(args)-1) != nil {
		less, err := t.order(args)
		if err != nil {
			return nil, err
		}
		for _, v := range items {
			i, err := t.indexWhere(out, func(o Value) (bool, error) {
				n, err := less(o, v)
				return n == 0, err
			})
			if err != nil {
				return nil, err
			}
			if i < 0 {
				out = append(out, v)
			}
		}
		return out, nil
	}
	seen := NewMap()
	for _, v := range items {
		if o, ok := v.(*Object); ok && o.class.find("equals") != nil {
			if there, err := t.contains(out, v); err != nil {
				return nil, err
			} else if there {
				continue
			}
		} else if _, ok := seen.Get(v); ok {
			continue
		}
		seen.Put(v, true)
		out = append(out, v)
		if err := t.alloc(64); err != nil {
			return nil, err
		}
	}
	return out, nil
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
		return t.select_(l, name, args)
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

// select_ are the methods that choose items.
func (t *Thread) select_(l *List, name string, args []Value) (Value, error) {
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

// listMake are the methods that make another collection.
func (t *Thread) listMake(l *List, name string, args []Value) (Value, error) {
	n := len(l.Items)
	made := func(items []Value) (Value, error) {
		return &List{Items: items, Array: l.Array && name != "toList"}, t.alloc(48 + 16*len(items))
	}
	switch name {
	case "plus":
		if len(args) == 1 {
			more := []Value{args[0]}
			switch args[0].(type) {
			case *List, *Set, *Range:
				var err error
				if more, err = t.iterate(args[0]); err != nil {
					return nil, err
				}
			}
			return made(slices.Concat(l.Items, more))
		}
	case "minus", "intersect":
		if len(args) == 1 {
			items := []Value{args[0]}
			switch args[0].(type) {
			case *List, *Set, *Range:
				var err error
				if items, err = t.iterate(args[0]); err != nil {
					return nil, err
				}
			}
			var out []Value
			for _, v := range l.Items {
				there, err := t.contains(items, v)
				if err != nil {
					return nil, err
				}
				if there == (name == "intersect") {
					out = append(out, v)
				}
			}
			return made(out)
		}
	case "multiply":
		if len(args) == 1 {
			times := asInt64(args[0])
			if times < 0 {
				return nil, t.Throw("java.lang.IllegalArgumentException", "multiply() should be called with a number of 0 or greater")
			}
			if times*int64(n) > maxValue/16 || times > maxValue {
				return nil, t.alloc(maxValue + 1)
			}
			if err := t.alloc(16 * n * int(times)); err != nil {
				return nil, err
			}
			return &List{Items: slices.Repeat(l.Items, int(times))}, nil
		}
	case "toList", "clone", "asList", "collect", "boxed", "getValues":
		return made(slices.Clone(l.Items))
	case "toSet", "asSet":
		return t.setOf(l, false)
	case "toArray":
		return &List{Items: slices.Clone(l.Items), Array: true}, t.alloc(16 * n)
	case "encodeBase64", "encodeHex":
		raw := make([]byte, n)
		for i, v := range l.Items {
			raw[i] = byte(asInt64(v))
		}
		return t.stringQuery(string(raw), name, nil)
	case "toSpreadMap":
		m := NewMap()
		for i := 0; i+1 < n; i += 2 {
			m.Put(l.Items[i], l.Items[i+1])
		}
		return m, nil
	case "asImmutable", "asUnmodifiable":
		return &List{Items: slices.Clone(l.Items), Frozen: true}, nil
	case "asSynchronized", "asReversed", "asType":
		if name == "asSynchronized" {
			return l, nil
		}
	case "reverse", "asReverse":
		out := slices.Clone(l.Items)
		slices.Reverse(out)
		return made(out)
	case "sort", "toSorted", "sorted":
		out, err := t.sorted(l.Items, args)
		if err != nil {
			return nil, err
		}
		return made(out)
	case "unique", "toUnique", "distinct":
		if len(args) > 0 && args[0] == Value(false) {
			args = args[1:]
		}
		out, err := t.unique(l.Items, args)
		if err != nil {
			return nil, err
		}
		return made(out)
	case "shuffled":
		out := slices.Clone(l.Items)
		t.in.random.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
		return made(out)
	case "take", "drop", "takeRight", "dropRight", "limit", "skip":
		k := int(max(0, min(asInt64(single(args)), int64(n))))
		switch name {
		case "take", "limit":
			return made(slices.Clone(l.Items[:k]))
		case "drop", "skip":
			return made(slices.Clone(l.Items[k:]))
		case "takeRight":
			return made(slices.Clone(l.Items[n-k:]))
		}
		return made(slices.Clone(l.Items[:n-k]))
	case "tail", "init":
		if n == 0 {
			return nil, t.Throw("java.util.NoSuchElementException", "Cannot access %s() for an empty list", name)
		}
		if name == "tail" {
			return made(slices.Clone(l.Items[1:]))
		}
		return made(slices.Clone(l.Items[:n-1]))
	case "subList":
		if len(args) == 2 {
			from, to := asInt64(args[0]), asInt64(args[1])
			if from < 0 || to > int64(n) || from > to {
				return nil, t.Throw("java.lang.IndexOutOfBoundsException", "fromIndex: %d, toIndex: %d, size: %d", from, to, n)
			}
			return made(slices.Clone(l.Items[from:to]))
		}
	case "flatten":
		var out []Value
		if err := t.flatten(&out, l.Items, 0); err != nil {
			return nil, err
		}
		return &List{Items: out}, t.alloc(16 * len(out))
	case "withIndex", "indexed":
		offset := int32(0)
		if len(args) == 1 {
			offset = asInt32(args[0])
		}
		if err := t.alloc(96 * n); err != nil {
			return nil, err
		}
		if name == "indexed" {
			m := NewMap()
			for i, v := range l.Items {
				m.Put(int32(i)+offset, v)
			}
			return m, nil
		}
		out := &List{}
		for i, v := range l.Items {
			out.Items = append(out.Items, NewList(v, int32(i)+offset))
		}
		return out, nil
	case "collate", "chop":
		if len(args) == 0 {
			return nil, ErrMissing
		}
		size := int(asInt64(args[0]))
		if size <= 0 {
			return NewList(l), nil
		}
		step, keep := size, true
		for _, a := range args[1:] {
			if b, ok := a.(bool); ok {
				keep = b
			} else if step = int(asInt64(a)); step <= 0 {
				return nil, t.Throw("java.lang.IllegalArgumentException", "step size must be positive")
			}
		}
		out := &List{}
		for i := 0; i < n; i += step {
			end := min(i+size, n)
			if end-i < size && !keep {
				break
			}
			out.Items = append(out.Items, &List{Items: slices.Clone(l.Items[i:end])})
			if err := t.alloc(64 + 16*size); err != nil {
				return nil, err
			}
		}
		return out, nil
	case "transpose":
		return t.transpose(l.Items)
	case "combinations":
		return t.combinations(l.Items)
	case "permutations", "subsequences":
		return nil, ErrMissing
	case "toString":
		if len(args) == 0 {
			return t.Text(&List{Items: l.Items})
		}
	}
	return nil, ErrMissing
}

func (t *Thread) flatten(out *[]Value, items []Value, depth int) error {
	if depth > maxDepthText {
		return t.Throw("java.lang.StackOverflowError", "")
	}
	for _, v := range items {
		switch c := v.(type) {
		case *List:
			if err := t.flatten(out, c.Items, depth+1); err != nil {
				return err
			}
			continue
		case *Set:
			if err := t.flatten(out, c.m.keys, depth+1); err != nil {
				return err
			}
			continue
		case *Range:
			items, err := t.iterate(c)
			if err != nil {
				return err
			}
			*out = append(*out, items...)
			continue
		}
		*out = append(*out, v)
		if err := t.alloc(32); err != nil {
			return err
		}
	}
	return t.tick(1)
}

func (t *Thread) transpose(rows []Value) (Value, error) {
	out := &List{}
	for column := 0; ; column++ {
		row := &List{}
		for _, r := range rows {
			items, err := t.iterate(r)
			if err != nil {
				return nil, err
			}
			if column >= len(items) {
				return out, nil
			}
			row.Items = append(row.Items, items[column])
		}
		if len(rows) == 0 {
			return out, nil
		}
		out.Items = append(out.Items, row)
		if err := t.alloc(48 + 16*len(rows)); err != nil {
			return nil, err
		}
	}
}

func (t *Thread) combinations(lists []Value) (Value, error) {
	out := [][]Value{nil}
	for _, l := range lists {
		items, err := t.iterate(l)
		if err != nil {
			return nil, err
		}
		var next [][]Value
		// The first list turns fastest, as in Groovy.
		for _, v := range items {
			for _, head := range out {
				if err := t.alloc(64 + 16*len(head)); err != nil {
					return nil, err
				}
				next = append(next, append(slices.Clone(head), v))
			}
		}
		out = next
	}
	result := &List{}
	for _, c := range out {
		result.Items = append(result.Items, &List{Items: c})
	}
	return result, nil
}

// setMethod calls a method of a Set.
func (t *Thread) setMethod(s *Set, name string, args []Value) (Value, error) {
	keep := func(v Value, err error) (Value, error) {
		l, ok := v.(*List)
		if !ok || err != nil {
			return v, err
		}
		return t.setOf(l, s.m.sorted)
	}
	switch name {
	case "add", "leftShift":
		if len(args) == 1 {
			_, there := s.m.Get(args[0])
			if !there {
				s.m.Put(args[0], true)
			}
			if name == "add" {
				return !there, t.alloc(64)
			}
			return s, t.alloc(64)
		}
	case "addAll":
		items, err := t.iterate(single(args))
		if err != nil {
			return nil, err
		}
		before := s.m.Len()
		for _, v := range items {
			s.m.Put(v, true)
		}
		return s.m.Len() != before, t.alloc(64 * len(items))
	case "remove":
		if len(args) == 1 {
			_, there := s.m.Get(args[0])
			s.m.Remove(args[0])
			return there, t.tick(int64(s.m.Len() / 16))
		}
	case "contains", "isCase":
		if len(args) == 1 {
			_, there := s.m.Get(args[0])
			return there, nil
		}
	case "clear":
		s.m.clear()
		return nil, nil
	case "removeAll", "retainAll", "removeIf":
		l := &List{Items: s.Items()}
		v, err := t.listChange(l, name, args)
		if err == nil {
			s.m.clear()
			for _, item := range l.Items {
				s.m.Put(item, true)
			}
		}
		return v, err
	case "plus", "minus", "intersect", "findAll", "clone", "asImmutable":
		l := &List{Items: s.Items()}
		if name == "clone" || name == "asImmutable" {
			return &Set{m: s.m.clone()}, nil
		}
		return keep(t.listMethod(l, name, args))
	case "toSet":
		return &Set{m: s.m.clone()}, nil
	case "equals":
		return t.Equal(s, single(args))
	case "each":
		if c := closureAt(args, 0); c != nil {
			return s, t.each(s, func(v Value) (bool, error) {
				_, err := t.Call(c, v)
				return true, err
			})
		}
	case "get", "set", "putAt", "indexOf", "subList":
		return nil, ErrMissing
	case "pollFirst", "first", "head":
		if name != "pollFirst" {
			break
		}
		if s.m.Len() == 0 {
			return nil, nil
		}
		k := s.m.keys[0]
		s.m.Remove(k)
		return k, nil
	}
	return t.listMethod(&List{Items: s.Items()}, name, args)
}

// rangeMethod calls a method of a Range.
func (t *Thread) rangeMethod(r *Range, name string, args []Value) (Value, error) {
	switch name {
	case "getFrom", "getTo":
		lo, hi := r.From, r.To
		if r.Reverse {
			lo, hi = hi, lo
		}
		if name == "getFrom" {
			return lo, nil
		}
		return hi, nil
	case "isReverse":
		return r.Reverse, nil
	case "size", "count":
		if len(args) == 0 {
			return integer(r.n), nil
		}
	case "isEmpty":
		return r.n == 0, nil
	case "contains", "containsWithinBounds", "isCase":
		if len(args) == 1 {
			return t.inRange(r, args[0])
		}
	case "each":
		if c := closureAt(args, 0); c != nil {
			return r, t.each(r, func(v Value) (bool, error) {
				_, err := t.Call(c, v)
				return true, err
			})
		}
	case "get", "getAt":
		return t.getAt(r, args)
	case "step", "by":
		if len(args) > 0 {
			step := asInt64(args[0])
			if step == 0 {
				return nil, t.Throw("groovy.lang.GroovyRuntimeException", "Infinite loop in range step")
			}
			out := &List{}
			backwards := step < 0
			for i := int64(0); i < r.n; i += max(step, -step) {
				if err := t.tick(1); err != nil {
					return nil, err
				}
				out.Items = append(out.Items, r.at(i))
				if err := t.alloc(32); err != nil {
					return nil, err
				}
			}
			if backwards {
				slices.Reverse(out.Items)
			}
			if c := closureAt(args, 1); c != nil {
				return r, t.each(out, func(v Value) (bool, error) {
					_, err := t.Call(c, v)
					return true, err
				})
			}
			return out, nil
		}
	case "toString":
		return simpleText(r), nil
	}
	items, err := t.iterate(r)
	if err != nil {
		return nil, err
	}
	return t.listMethod(&List{Items: items}, name, args)
}
