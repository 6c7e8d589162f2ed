package groovy

import (
	"errors"
	"slices"
)

// iterator is a java.util.Iterator.
type iterator struct {
	items []Value
	next  int
}

var errStop = errors.New("enough")

// each calls fn with each item until it says false. What is no collection is
// its own only item; null has none.
func (t *Thread) each(v Value, fn func(Value) (more bool, err error)) error {
	call := func(item Value) error {
		if err := t.tick(1); err != nil {
			return err
		}
		more, err := fn(item)
		if err == nil && !more {
			err = errStop
		}
		return err
	}
	err := func() error {
		switch v := v.(type) {
		case nil:
			return nil
		case *List:
			n := len(v.Items)
			for i := 0; i < len(v.Items); i++ {
				if err := call(v.Items[i]); err != nil {
					return err
				}
				if len(v.Items) != n && i+1 < max(n, len(v.Items)) {
					return t.Throw("java.util.ConcurrentModificationException", "")
				}
			}
			return nil
		case *Range:
			for i := range v.n {
				if err := call(v.at(i)); err != nil {
					return err
				}
			}
			return nil
		}
		items, err := t.iterate(v)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := call(item); err != nil {
				return err
			}
		}
		return nil
	}()
	if err == errStop {
		return nil
	}
	return err
}

// iterate are the items of a collection, entries of a map, characters of a
// string; anything else is its own only item.
func (t *Thread) iterate(v Value) ([]Value, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case *List:
		return v.Items, nil
	case *Set:
		return v.Items(), t.alloc(16 * v.m.Len())
	case *Map:
		return v.entries(), t.alloc(64 * v.Len())
	case *Range:
		if v.n > maxRange {
			return nil, t.limit("a list of more than ten million elements")
		}
		items, _ := sequence(v)
		return items, t.alloc(16 * len(items))
	case string:
		items := make([]Value, 0, len(v))
		for _, r := range v {
			items = append(items, string(r))
		}
		return items, t.alloc(32 * len(items))
	case *GString:
		s, err := t.Text(v)
		if err != nil {
			return nil, err
		}
		return t.iterate(s)
	case *Matcher:
		return t.allMatches(v)
	case *iterator:
		return v.items[v.next:], nil
	case *Object:
		if m := v.class.find("iterator"); m != nil {
			it, err := t.callMethod(m[0], v, nil)
			if err != nil {
				return nil, err
			}
			if it != Value(v) {
				return t.iterate(it)
			}
		}
		if v.class.find("hasNext") != nil && v.class.find("next") != nil {
			var items []Value
			for {
				more, err := t.Invoke(v, "hasNext")
				if err != nil || !truthOf(more) {
					return items, err
				}
				item, err := t.Invoke(v, "next")
				if err != nil {
					return nil, err
				}
				if items = append(items, item); len(items) > maxRange {
					return nil, t.limit("a list of more than ten million elements")
				}
			}
		}
	case *Class:
		if v.kind == "enum" {
			return slices.Clone(v.constants), t.begin(v)
		}
	case Host:
		items, err := v.Invoke(&Call{Thread: t, Name: "iterator", At: t.Position()})
		if err != nil {
			if isMissing(err) {
				return []Value{v}, nil
			}
			return nil, err
		}
		if _, again := items.(Host); !again {
			return t.iterate(items)
		}
	}
	return []Value{v}, nil
}

// contains reports whether one of the items is equal to v.
func (t *Thread) contains(items []Value, v Value) (bool, error) {
	for _, item := range items {
		if same, err := t.Equal(item, v); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

func (t *Thread) inRange(r *Range, v Value) (bool, error) {
	switch v.(type) {
	case *Decimal, float64: // a number inside, not one of the elements
		if r.n == 0 {
			return false, nil
		}
		lo, hi := r.From, r.To
		if r.Reverse {
			lo, hi = hi, lo
		}
		return rankOf(lo) != notNumber && compareNumbers(lo, v) <= 0 && compareNumbers(v, hi) <= 0 && asFloat(v) == float64(asInt64(v)), nil
	case string, *GString:
		s, err := t.Text(v)
		if err != nil {
			return false, err
		}
		v = s
	}
	n, ok := ordinal(v)
	_, textual := r.From.(string)
	if _, isText := v.(string); !ok || isText != textual {
		return false, nil
	}
	if r.Reverse {
		return n <= r.first && n > r.first-r.n, nil
	}
	return n >= r.first && n < r.first+r.n, nil
}

func (t *Thread) setOf(v Value, sorted bool) (*Set, error) {
	items, err := t.iterate(v)
	if err != nil {
		return nil, err
	}
	s := &Set{m: &Map{sorted: sorted}}
	for _, item := range items {
		s.m.Put(item, true)
	}
	return s, t.alloc(64 * len(items))
}

func (t *Thread) sortedMap(m *Map) *Map {
	s := &Map{sorted: true}
	for k, v := range m.All() {
		s.Put(k, v)
	}
	return s
}
