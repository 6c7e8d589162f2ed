package groovy

import "slices"

// mapMethod calls a method of a Map.
func (t *Thread) mapMethod(m *Map, name string, args []Value) (Value, error) {
	if v, err := t.mapBasic(m, name, args); err == nil || !isMissing(err) {
		return v, err
	}
	return t.mapWalk(m, name, args)
}

// mapKey is a method of a Map and how many arguments it takes.
type mapKey struct {
	name string
	args int
}

// mapDo is what a method of a Map does.
type mapDo func(t *Thread, m *Map, name string, args []Value) (Value, error)

// mapMethods are the methods that look something up or change the map.
func mapMethods() map[mapKey]mapDo {
	table := map[mapKey]mapDo{}
	add := func(args int, do mapDo, names ...string) {
		for _, name := range names {
			table[mapKey{name, args}] = do
		}
	}
	value := func(get func(m *Map) Value) mapDo {
		return func(_ *Thread, m *Map, _ string, _ []Value) (Value, error) { return get(m), nil }
	}
	add(0, value(func(m *Map) Value { return int32(m.Len()) }), "size")
	add(0, value(func(m *Map) Value { return m.Len() == 0 }), "isEmpty")
	add(0, value(func(m *Map) Value { return &iterator{items: m.entries()} }), "iterator")
	add(0, value(func(m *Map) Value { m.clear(); return nil }), "clear")
	add(0, mapKeys, "keySet", "navigableKeySet", "stringPropertyNames")
	add(0, func(t *Thread, m *Map, _ string, _ []Value) (Value, error) {
		return &List{Items: slices.Clone(m.values)}, t.alloc(16 * m.Len())
	}, "values")
	add(0, func(t *Thread, m *Map, _ string, _ []Value) (Value, error) {
		return &List{Items: m.entries()}, t.alloc(64 * m.Len())
	}, "entrySet")
	add(0, func(t *Thread, m *Map, name string, _ []Value) (Value, error) {
		c := m.clone()
		c.frozen = name == "asImmutable" || name == "asUnmodifiable"
		return c, t.alloc(64 * m.Len())
	}, "clone", "asImmutable", "asUnmodifiable", "asSynchronized")
	add(0, mapEnd, "firstKey", "lastKey")
	add(0, func(t *Thread, m *Map, _ string, _ []Value) (Value, error) { return t.Text(m) }, "toString")

	add(1, func(t *Thread, m *Map, _ string, args []Value) (Value, error) { return t.getAt(m, args) }, "get", "getAt", "getProperty")
	add(1, func(_ *Thread, m *Map, _ string, args []Value) (Value, error) {
		_, ok := m.Get(args[0])
		return ok, nil
	}, "containsKey")
	add(1, func(t *Thread, m *Map, _ string, args []Value) (Value, error) { return t.contains(m.values, args[0]) }, "containsValue")
	add(1, func(t *Thread, m *Map, _ string, args []Value) (Value, error) {
		old, _ := m.Get(args[0])
		m.Remove(args[0])
		return old, t.tick(int64(m.Len() / 16))
	}, "remove")
	add(1, mapAddAll, "putAll", "leftShift", "plus")
	add(1, mapSub, "subMap")
	add(1, mapCommon, "minus", "intersect")
	add(1, func(_ *Thread, m *Map, _ string, args []Value) (Value, error) {
		c, ok := args[0].(*Closure)
		if !ok {
			return nil, ErrMissing
		}
		m.fallback = c
		return m, nil
	}, "withDefault")
	add(1, func(t *Thread, m *Map, _ string, args []Value) (Value, error) { return t.Equal(m, args[0]) }, "equals")
	add(1, func(t *Thread, m *Map, _ string, args []Value) (Value, error) {
		v, _ := m.Get(args[0])
		return t.Truth(v)
	}, "isCase")
	add(1, mapPart, "take", "drop")

	add(2, func(t *Thread, m *Map, _ string, args []Value) (Value, error) {
		old, _ := m.Get(args[0])
		m.Put(args[0], args[1])
		return old, t.alloc(64)
	}, "put", "putAt", "setProperty")
	add(2, func(t *Thread, m *Map, _ string, args []Value) (Value, error) { // Groovy's: what is missing is put there
		if v, ok := m.Get(args[0]); ok {
			return v, nil
		}
		m.Put(args[0], args[1])
		return args[1], t.alloc(64)
	}, "get")
	add(2, func(_ *Thread, m *Map, _ string, args []Value) (Value, error) {
		if v, ok := m.Get(args[0]); ok {
			return v, nil
		}
		return args[1], nil
	}, "getOrDefault")
	add(2, func(t *Thread, m *Map, _ string, args []Value) (Value, error) {
		s, err := t.Text(args[0])
		if err != nil {
			return nil, err
		}
		if v, ok := m.Text(s); ok {
			return v, nil
		}
		return args[1], nil
	}, "getProperty")
	add(2, func(t *Thread, m *Map, _ string, args []Value) (Value, error) {
		if v, ok := m.Get(args[0]); ok && v != nil {
			return v, nil
		}
		m.Put(args[0], args[1])
		return nil, t.alloc(64)
	}, "putIfAbsent")
	add(2, func(_ *Thread, m *Map, _ string, args []Value) (Value, error) {
		old, ok := m.Get(args[0])
		if ok {
			m.Put(args[0], args[1])
		}
		return old, nil
	}, "replace")
	add(2, mapCompute, "computeIfAbsent", "compute", "computeIfPresent")
	add(3, mapMerge, "merge")
	return table
}

// mapChanges are the methods that a map that cannot be changed refuses, however many
// arguments they are given.
var mapChanges = []string{"put", "putAll", "remove", "clear", "putIfAbsent", "leftShift", "putAt", "setProperty", "computeIfAbsent", "compute", "merge", "removeAll", "retainAll", "replace"}

// mapBasic calls one of mapMethods.
func (t *Thread) mapBasic(m *Map, name string, args []Value) (Value, error) {
	if m.frozen && slices.Contains(mapChanges, name) {
		return nil, t.Throw("java.lang.UnsupportedOperationException", "")
	}
	do, ok := t.in.maps[mapKey{name, len(args)}]
	if !ok {
		return nil, ErrMissing
	}
	return do(t, m, name, args)
}

func mapKeys(t *Thread, m *Map, _ string, _ []Value) (Value, error) {
	s := &Set{m: NewMap()}
	for _, k := range m.keys {
		s.m.Put(k, true)
	}
	return s, t.alloc(64 * m.Len())
}

func mapEnd(t *Thread, m *Map, name string, _ []Value) (Value, error) {
	if m.Len() == 0 {
		return nil, t.Throw("java.util.NoSuchElementException", "")
	}
	if name == "firstKey" {
		return m.keys[0], nil
	}
	return m.keys[m.Len()-1], nil
}

func mapAddAll(t *Thread, m *Map, name string, args []Value) (Value, error) {
	to := m
	if name == "plus" {
		to = m.clone()
		if err := t.alloc(64 * m.Len()); err != nil {
			return nil, err
		}
	}
	items, err := t.iterate(args[0])
	if err != nil {
		return nil, err
	}
	for _, e := range items {
		if err := t.addEntry(to, e); err != nil {
			return nil, err
		}
	}
	if name == "putAll" {
		return nil, nil
	}
	return to, nil
}

func mapSub(t *Thread, m *Map, _ string, args []Value) (Value, error) {
	keys, err := t.iterate(args[0])
	if err != nil {
		return nil, err
	}
	out := NewMap()
	for _, k := range keys {
		if v, ok := m.Get(k); ok {
			out.Put(k, v)
		}
	}
	return out, t.alloc(64 * out.Len())
}

func mapCommon(t *Thread, m *Map, name string, args []Value) (Value, error) {
	other, ok := args[0].(*Map)
	if !ok {
		return nil, ErrMissing
	}
	out := NewMap()
	for k, v := range m.All() {
		same := false
		if x, ok := other.Get(k); ok {
			var err error
			if same, err = t.Equal(v, x); err != nil {
				return nil, err
			}
		}
		if same == (name == "intersect") {
			out.Put(k, v)
		}
	}
	return out, t.alloc(64 * out.Len())
}

func mapPart(t *Thread, m *Map, name string, args []Value) (Value, error) {
	n := int(max(0, min(asInt64(args[0]), int64(m.Len()))))
	from, to := 0, n
	if name == "drop" {
		from, to = n, m.Len()
	}
	return &Map{keys: slices.Clone(m.keys[from:to]), values: slices.Clone(m.values[from:to])}, t.alloc(64 * m.Len())
}

func mapCompute(t *Thread, m *Map, name string, args []Value) (Value, error) {
	old, ok := m.Get(args[0])
	if name == "computeIfAbsent" && ok && old != nil {
		return old, nil
	}
	if name == "computeIfPresent" && (!ok || old == nil) {
		return nil, nil
	}
	call := []Value{args[0]}
	if name != "computeIfAbsent" {
		call = append(call, old)
	}
	v, err := t.Call(args[1], call...)
	if err != nil {
		return nil, err
	}
	if v == nil {
		m.Remove(args[0])
	} else {
		m.Put(args[0], v)
	}
	return v, t.alloc(64)
}

func mapMerge(t *Thread, m *Map, _ string, args []Value) (Value, error) {
	v := args[1]
	if old, ok := m.Get(args[0]); ok && old != nil {
		var err error
		if v, err = t.Call(args[2], old, v); err != nil {
			return nil, err
		}
	}
	m.Put(args[0], v)
	return v, t.alloc(64)
}

// mapWalk are the methods that go through the entries with a closure.
func (t *Thread) mapWalk(m *Map, name string, args []Value) (Value, error) {
	c := closureAt(args, len(args)-1)
	entries := m.entries()
	if err := t.alloc(64 * len(entries)); err != nil {
		return nil, err
	}
	list := &List{Items: entries}
	if c == nil {
		switch name {
		case "collect", "find", "findAll", "any", "every", "max", "min", "sort", "toSorted", "collectEntries", "join", "first", "last", "iterator", "toList", "count", "inject", "sum", "asType":
			if name == "sort" || name == "toSorted" {
				return t.sortedMap(m), t.alloc(64 * m.Len())
			}
			if name == "toList" || name == "first" || name == "last" {
				return t.listMethod(list, name, args)
			}
		}
		return nil, ErrMissing
	}
	pair := nativeClosure(func(call *Call) (Value, error) {
		e, ok := single(call.Args).(*Entry)
		if !ok {
			return call.Call(c, call.Args...)
		}
		if f, ok := c.(*Closure); ok && f.parameters() == 2 {
			return call.callClosure(f, []Value{e.Key, e.Value})
		}
		return call.Call(c, e)
	})
	replaced := slices.Clone(args)
	replaced[len(args)-1] = pair
	toMap := func(v Value, err error) (Value, error) {
		l, ok := v.(*List)
		if !ok || err != nil {
			return v, err
		}
		out := &Map{}
		for _, e := range l.Items {
			if err := t.addEntry(out, e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	switch name {
	case "each", "forEach", "reverseEach":
		if _, err := t.listMethod(list, name, replaced); err != nil {
			return nil, err
		}
		return m, nil
	case "eachWithIndex":
		if _, err := t.listMethod(list, name, args); err != nil {
			return nil, err
		}
		return m, nil
	case "collect", "collectMany", "collectEntries", "find", "any", "every", "count", "sum", "findResult", "findResults", "countBy":
		return t.listMethod(list, name, replaced)
	case "findAll", "takeWhile", "dropWhile":
		return toMap(t.listMethod(list, name, replaced))
	case "sort", "toSorted":
		f, ok := c.(*Closure)
		if ok && f.parameters() == 2 {
			return toMap(t.listMake(list, "toSorted", args))
		}
		return toMap(t.listMake(list, "toSorted", args))
	case "max", "min":
		return t.listMethod(list, name, args)
	case "inject":
		total := Value(nil)
		if len(args) == 2 {
			total = args[0]
		}
		for _, e := range entries {
			e := e.(*Entry)
			var err error
			if f, ok := c.(*Closure); ok && f.parameters() == 3 {
				total, err = t.Call(c, total, e.Key, e.Value)
			} else {
				total, err = t.Call(c, total, e)
			}
			if err != nil {
				return nil, err
			}
		}
		return total, nil
	case "groupBy", "groupEntriesBy", "split", "partition":
		v, err := t.listMethod(list, name, replaced)
		if g, ok := v.(*Map); ok && err == nil && name == "groupBy" {
			for i, group := range g.values {
				if g.values[i], err = toMap(group, nil); err != nil {
					return nil, err
				}
			}
		}
		return v, err
	case "removeAll", "retainAll":
		changed := false
		for _, e := range entries {
			e := e.(*Entry)
			v, err := t.Call(pair, e)
			if err != nil {
				return nil, err
			}
			if truthOf(v) == (name == "removeAll") {
				m.Remove(e.Key)
				changed = true
			}
		}
		return changed, nil
	case "replaceAll":
		for _, e := range entries {
			e := e.(*Entry)
			v, err := t.Call(c, e.Key, e.Value)
			if err != nil {
				return nil, err
			}
			m.Put(e.Key, v)
		}
		return nil, nil
	}
	return nil, ErrMissing
}
