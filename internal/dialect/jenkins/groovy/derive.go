package groovy

import (
	"slices"
)

// listDo is what a method of a List does.
type listDo func(t *Thread, l *List, name string, args []Value) (Value, error)

// listMakers are the methods that make another collection.
func listMakers() map[string]listDo {
	table := map[string]listDo{}
	add := func(do listDo, names ...string) {
		for _, name := range names {
			table[name] = do
		}
	}
	items := func(make func(t *Thread, items []Value) (Value, error)) listDo {
		return func(t *Thread, l *List, _ string, _ []Value) (Value, error) { return make(t, l.Items) }
	}
	add(listPlus, "plus")
	add(listCommon, "minus", "intersect")
	add(listMultiply, "multiply")
	add(func(t *Thread, l *List, name string, _ []Value) (Value, error) {
		return t.made(l, name, slices.Clone(l.Items))
	},
		"toList", "clone", "asList", "collect", "boxed", "getValues")
	add(func(t *Thread, l *List, _ string, _ []Value) (Value, error) { return t.setOf(l, false) }, "toSet", "asSet")
	add(func(t *Thread, l *List, _ string, _ []Value) (Value, error) {
		return &List{Items: slices.Clone(l.Items), Array: true}, t.alloc(16 * len(l.Items))
	}, "toArray")
	add(listEncode, "encodeBase64", "encodeHex")
	add(listSpread, "toSpreadMap")
	add(func(_ *Thread, l *List, _ string, _ []Value) (Value, error) {
		return &List{Items: slices.Clone(l.Items), Frozen: true}, nil
	}, "asImmutable", "asUnmodifiable")
	add(func(_ *Thread, l *List, _ string, _ []Value) (Value, error) { return l, nil }, "asSynchronized")
	add(func(t *Thread, l *List, name string, _ []Value) (Value, error) {
		out := slices.Clone(l.Items)
		slices.Reverse(out)
		return t.made(l, name, out)
	}, "reverse", "asReverse")
	add(listSort, "sort", "toSorted", "sorted")
	add(listUnique, "unique", "toUnique", "distinct")
	add(func(t *Thread, l *List, name string, _ []Value) (Value, error) {
		out := slices.Clone(l.Items)
		t.in.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return t.made(l, name, out)
	}, "shuffled")
	add(listPart, "take", "drop", "takeRight", "dropRight", "limit", "skip")
	add(listRest, "tail", "init")
	add(listSub, "subList")
	add(func(t *Thread, l *List, _ string, _ []Value) (Value, error) {
		var out []Value
		if err := t.flatten(&out, l.Items, 0); err != nil {
			return nil, err
		}
		return &List{Items: out}, t.alloc(16 * len(out))
	}, "flatten")
	add(listIndexed, "withIndex", "indexed")
	add(listCollate, "collate", "chop")
	add(items((*Thread).transpose), "transpose")
	add(items((*Thread).combinations), "combinations")
	add(items((*Thread).permutations), "permutations")
	add(func(t *Thread, l *List, _ string, args []Value) (Value, error) {
		if len(args) > 0 {
			return nil, ErrMissing
		}
		return t.Text(&List{Items: l.Items})
	}, "toString")
	return table
}

// listMake calls one of listMakers.
func (t *Thread) listMake(l *List, name string, args []Value) (Value, error) {
	do, ok := t.in.lists[name]
	if !ok {
		return nil, ErrMissing
	}
	return do(t, l, name, args)
}

// made is what a method makes of a list: an array of an array.
func (t *Thread) made(l *List, name string, items []Value) (Value, error) {
	return &List{Items: items, Array: l.Array && name != "toList"}, t.alloc(48 + 16*len(items))
}

// several are the values of a collection, or one that is none.
func (t *Thread) several(v Value) ([]Value, error) {
	switch v.(type) {
	case *List, *Set, *Range:
		return t.iterate(v)
	}
	return []Value{v}, nil
}

func listPlus(t *Thread, l *List, name string, args []Value) (Value, error) {
	if len(args) != 1 {
		return nil, ErrMissing
	}
	more, err := t.several(args[0])
	if err != nil {
		return nil, err
	}
	return t.made(l, name, slices.Concat(l.Items, more))
}

func listCommon(t *Thread, l *List, name string, args []Value) (Value, error) {
	if len(args) != 1 {
		return nil, ErrMissing
	}
	items, err := t.several(args[0])
	if err != nil {
		return nil, err
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
	return t.made(l, name, out)
}

func listMultiply(t *Thread, l *List, _ string, args []Value) (Value, error) {
	if len(args) != 1 {
		return nil, ErrMissing
	}
	n, times := len(l.Items), asInt64(args[0])
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

func listEncode(t *Thread, l *List, name string, _ []Value) (Value, error) {
	raw := make([]byte, len(l.Items))
	for i, v := range l.Items {
		raw[i] = byte(asInt64(v))
	}
	return t.stringQuery(string(raw), name, nil)
}

func listSpread(_ *Thread, l *List, _ string, _ []Value) (Value, error) {
	m := NewMap()
	for i := 0; i+1 < len(l.Items); i += 2 {
		m.Put(l.Items[i], l.Items[i+1])
	}
	return m, nil
}

func listSort(t *Thread, l *List, name string, args []Value) (Value, error) {
	out, err := t.sorted(l.Items, args)
	if err != nil {
		return nil, err
	}
	return t.made(l, name, out)
}

func listUnique(t *Thread, l *List, name string, args []Value) (Value, error) {
	if len(args) > 0 && args[0] == Value(false) {
		args = args[1:]
	}
	out, err := t.unique(l.Items, args)
	if err != nil {
		return nil, err
	}
	return t.made(l, name, out)
}

func listPart(t *Thread, l *List, name string, args []Value) (Value, error) {
	n := len(l.Items)
	k := int(max(0, min(asInt64(single(args)), int64(n))))
	switch name {
	case "take", "limit":
		return t.made(l, name, slices.Clone(l.Items[:k]))
	case "drop", "skip":
		return t.made(l, name, slices.Clone(l.Items[k:]))
	case "takeRight":
		return t.made(l, name, slices.Clone(l.Items[n-k:]))
	}
	return t.made(l, name, slices.Clone(l.Items[:n-k]))
}

func listRest(t *Thread, l *List, name string, _ []Value) (Value, error) {
	n := len(l.Items)
	if n == 0 {
		return nil, t.Throw("java.util.NoSuchElementException", "Cannot access %s() for an empty list", name)
	}
	if name == "tail" {
		return t.made(l, name, slices.Clone(l.Items[1:]))
	}
	return t.made(l, name, slices.Clone(l.Items[:n-1]))
}

func listSub(t *Thread, l *List, name string, args []Value) (Value, error) {
	if len(args) != 2 {
		return nil, ErrMissing
	}
	from, to, n := asInt64(args[0]), asInt64(args[1]), len(l.Items)
	if from < 0 || to > int64(n) || from > to {
		return nil, t.Throw("java.lang.IndexOutOfBoundsException", "fromIndex: %d, toIndex: %d, size: %d", from, to, n)
	}
	return t.made(l, name, slices.Clone(l.Items[from:to]))
}

func listIndexed(t *Thread, l *List, name string, args []Value) (Value, error) {
	offset := int32(0)
	if len(args) == 1 {
		offset = asInt32(args[0])
	}
	if err := t.alloc(96 * len(l.Items)); err != nil {
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
}

func listCollate(t *Thread, l *List, _ string, args []Value) (Value, error) {
	if len(args) == 0 {
		return nil, ErrMissing
	}
	size, n := int(asInt64(args[0])), len(l.Items)
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

func (t *Thread) permutations(items []Value) (Value, error) {
	out := []Value{&List{}}
	for _, v := range items {
		var next []Value
		for _, head := range out {
			head := head.(*List).Items
			for i := range len(head) + 1 {
				if err := t.alloc(64 + 16*len(head)); err != nil {
					return nil, err
				}
				next = append(next, &List{Items: slices.Insert(slices.Clone(head), i, v)})
			}
		}
		out = next
	}
	return &List{Items: out}, nil
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
