package groovy

import (
	"slices"
	"sort"
	"strings"
)

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
