package groovy

import (
	"fmt"
	"iter"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"
)

// Value is a value of the language:
//
//	nil               null
//	bool              Boolean
//	int32, int64      Integer, Long
//	*big.Int          BigInteger
//	*Decimal          BigDecimal
//	float64           Double (Float is a Double too)
//	string            String (and Character, a String of length one)
//	*GString *List *Set *Map *Entry *Range *Closure Native
//	*Object *Class *Pattern *Matcher *Builder *Date *Random Host
type Value = any

// GString is a string with holes, whose text is made when it is asked for.
type GString struct {
	Strings []string // one more than Values
	Values  []Value  // a *Closure is called
}

// List is an ArrayList, or an array when Array is set: arrays do not grow.
type List struct {
	Items  []Value
	Array  bool
	Frozen bool // asImmutable
}

// NewList makes a list of its arguments.
func NewList(items ...Value) *List { return &List{Items: items} }

// Set is a LinkedHashSet: the keys of a map.
type Set struct{ m *Map }

// NewSet makes a set of its arguments.
func NewSet(items ...Value) *Set {
	s := &Set{m: NewMap()}
	for _, v := range items {
		s.m.Put(v, true)
	}
	return s
}

// Items are the elements in the order in which they were added.
func (s *Set) Items() []Value { return s.m.Keys() }

// Range is from..to. The ends are included, unless Empty is set. Reverse is
// set when it was written downwards: From is the first element always.
type Range struct {
	From, To Value // int32, or strings of one character
	Reverse  bool
	Empty    bool // 0..<0
	first    int64
	n        int64
}

// Builder is a StringBuilder or a StringBuffer.
type Builder struct{ text []byte }

// Date is a java.util.Date.
type Date struct{ Time time.Time }

// Random is a java.util.Random.
type Random struct{ next func(n int64) int64 }

// Decimal is a BigDecimal: Unscaled × 10^-Scale. It never changes.
type Decimal struct {
	Unscaled *big.Int
	Scale    int
}

// Entry is a Map.Entry.
type Entry struct {
	Key, Value Value

	m *Map // where setValue writes
}

// Map is a LinkedHashMap: it keeps the order in which keys were added. A
// TreeMap is one that keeps its keys sorted.
type Map struct {
	keys, values []Value
	index        map[any]int // nil while there are few
	sorted       bool
	frozen       bool
	fallback     *Closure // withDefault
}

// NewMap makes an empty map.
func NewMap() *Map { return &Map{} }

// MapOf makes a map of keys and values that take turns.
func MapOf(pairs ...Value) *Map {
	m := NewMap()
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Put(pairs[i], pairs[i+1])
	}
	return m
}

// indexFrom is the number of keys from which on an index pays.
const indexFrom = 8

// find is the place of a key, -1 when it is not there.
func (m *Map) find(k Value) int {
	if m.index == nil && len(m.keys) < indexFrom {
		if s, ok := k.(string); ok {
			for i, other := range m.keys {
				if o, ok := other.(string); ok && o == s {
					return i
				}
			}
			return -1
		}
		h := hashed(k, 0)
		for i, other := range m.keys {
			if hashed(other, 0) == h {
				return i
			}
		}
		return -1
	}
	if m.index == nil {
		m.index = make(map[any]int, len(m.keys))
		for i, other := range m.keys {
			m.index[hashed(other, 0)] = i
		}
	}
	if i, ok := m.index[hashed(k, 0)]; ok {
		return i
	}
	return -1
}

// Put sets the value of a key.
func (m *Map) Put(k, v Value) {
	if i := m.find(k); i >= 0 {
		m.values[i] = v
		return
	}
	if m.sorted {
		i := sort.Search(len(m.keys), func(i int) bool { return plainCompare(m.keys[i], k) > 0 })
		m.keys, m.values = slices.Insert(m.keys, i, k), slices.Insert(m.values, i, v)
		m.index = nil
		return
	}
	if m.index != nil {
		m.index[hashed(k, 0)] = len(m.keys)
	}
	m.keys, m.values = append(m.keys, k), append(m.values, v)
}

// Get is the value of a key. A String and a GString of the same text are two
// keys, as in Groovy; see [Map.Text].
func (m *Map) Get(k Value) (Value, bool) {
	if i := m.find(k); i >= 0 {
		return m.values[i], true
	}
	return nil, false
}

// Text is the value of the key whose text is name, be it a String or a
// GString.
func (m *Map) Text(name string) (Value, bool) {
	if i := m.find(name); i >= 0 {
		return m.values[i], true
	}
	for i, k := range m.keys {
		if g, ok := k.(*GString); ok && plain(g) == name {
			return m.values[i], true
		}
	}
	return nil, false
}

// Remove takes a key away.
func (m *Map) Remove(k Value) {
	if i := m.find(k); i >= 0 {
		m.keys, m.values = slices.Delete(m.keys, i, i+1), slices.Delete(m.values, i, i+1)
		m.index = nil
	}
}

// Len is the number of keys.
func (m *Map) Len() int { return len(m.keys) }

// Keys are a copy of the keys in order.
func (m *Map) Keys() []Value { return slices.Clone(m.keys) }

// All are the keys and values in order. The map must not change meanwhile.
func (m *Map) All() iter.Seq2[Value, Value] {
	return func(yield func(k, v Value) bool) {
		for i, k := range m.keys {
			if !yield(k, m.values[i]) {
				return
			}
		}
	}
}

func (m *Map) clone() *Map {
	return &Map{keys: slices.Clone(m.keys), values: slices.Clone(m.values), sorted: m.sorted, fallback: m.fallback}
}

func (m *Map) clear() { m.keys, m.values, m.index = nil, nil, nil }

// entries are the pairs at this moment.
func (m *Map) entries() []Value {
	list := make([]Value, len(m.keys))
	for i, k := range m.keys {
		list[i] = &Entry{Key: k, Value: m.values[i], m: m}
	}
	return list
}

// Keys of maps that cannot be what they stand for.
type (
	nullKey    struct{}
	gstringKey string
	numberKey  string
	listKey    string
	pointerKey string
)

// hashed is what stands for a key in an index: equal for equal keys.
func hashed(v Value, depth int) any {
	switch v := v.(type) {
	case nil:
		return nullKey{}
	case string, bool, int32, int64, float64:
		return v
	case *GString:
		return gstringKey(plain(v))
	case *big.Int:
		return numberKey(v.String())
	case *Decimal:
		return numberKey(fmt.Sprintf("%s/%d", v.Unscaled, v.Scale))
	case *List:
		if depth > 8 || len(v.Items) > 1000 {
			return v
		}
		var b strings.Builder
		for _, item := range v.Items {
			h := hashed(item, depth+1)
			fmt.Fprintf(&b, "%T:%v,", h, h)
			if b.Len() > 1<<16 {
				return v
			}
		}
		return listKey(b.String())
	case *Date:
		return v.Time.UnixNano()
	default:
		if reflect.TypeOf(v).Comparable() {
			return v
		}
		return pointerKey(fmt.Sprintf("%T %p", v, v))
	}
}

// length of a range, and its element at i.
func (r *Range) length() int64 { return r.n }

func (r *Range) at(i int64) Value {
	n := r.first + i
	if r.Reverse {
		n = r.first - i
	}
	switch r.From.(type) {
	case int32:
		return int32(n)
	case string:
		return string(rune(n))
	}
	return n
}

// newRange makes from..to; ok is false when there is no such range.
func newRange(from, to Value, exclusive bool) (*Range, bool) {
	r := &Range{From: from, To: to}
	a, okA := ordinal(from)
	b, okB := ordinal(to)
	if !okA || !okB {
		return nil, false
	}
	_, textA := from.(string)
	if _, textB := to.(string); textA != textB {
		return nil, false
	}
	if !textA {
		if _, small := to.(int32); !small {
			r.From = a
		}
	}
	r.Reverse = b < a
	if exclusive {
		switch {
		case a == b:
			r.Empty, r.first = true, a
			return r, true
		case a < b:
			b--
		default:
			b++
		}
	}
	r.first, r.n = a, b-a+1
	if r.Reverse {
		r.n = a - b + 1
	}
	if b-a > 1<<60 || a-b > 1<<60 {
		return nil, false
	}
	r.To = r.at(r.n - 1)
	return r, true
}

// ordinal is the number that the end of a range stands for.
func ordinal(v Value) (int64, bool) {
	switch v := v.(type) {
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case *Decimal:
		f := v.float()
		return int64(f), f < 1<<53 && f > -1<<53
	case string:
		if r := []rune(v); len(r) == 1 {
			return int64(r[0]), true
		}
	}
	return 0, false
}

// truthOf is what if says of values that no script can overrule.
func truthOf(v Value) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case int32:
		return v != 0
	case int64:
		return v != 0
	case float64:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case *Decimal:
		return v.Unscaled.Sign() != 0
	case *List:
		return len(v.Items) > 0
	case *Map:
		return len(v.keys) > 0
	case *Set:
		return len(v.m.keys) > 0
	case *Range:
		return v.n > 0
	case *Builder:
		return len(v.text) > 0
	}
	return true
}

// FromGo makes a value of what readers of JSON and YAML give: nil, bool,
// numbers, strings, []any, map[string]any (by sorted keys), and values
// themselves.
func FromGo(v any) Value {
	switch v := v.(type) {
	case int:
		return integer(int64(v))
	case uint64:
		return narrow(new(big.Int).SetUint64(v))
	case []any:
		l := &List{Items: make([]Value, len(v))}
		for i, item := range v {
			l.Items[i] = FromGo(item)
		}
		return l
	case []string:
		l := &List{Items: make([]Value, len(v))}
		for i, item := range v {
			l.Items[i] = item
		}
		return l
	case map[string]any:
		m := NewMap()
		for _, k := range slices.Sorted(maps.Keys(v)) {
			m.Put(k, FromGo(v[k]))
		}
		return m
	case map[string]string:
		m := NewMap()
		for _, k := range slices.Sorted(maps.Keys(v)) {
			m.Put(k, v[k])
		}
		return m
	case time.Time:
		return &Date{v}
	}
	return v
}
