package groovy

import (
	"slices"
)

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
	case "permutations":
		return t.permutations(l.Items)
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
