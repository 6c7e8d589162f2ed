package groovy

import (
	"slices"
)

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
