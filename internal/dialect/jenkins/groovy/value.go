package groovy

import (
	"math/big"
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
//	*Object *Class *Pattern *Matcher *Builder *Date Host
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

// Range is from..to, both included. Ends are int64 or, for characters and
// other strings, taken from Items.
type Range struct {
	From, To int64
	Items    []Value // of a range that is not of numbers
	Reverse  bool
	Empty    bool
}

// Builder is a StringBuilder or a StringBuffer.
type Builder struct{ Text []byte }

// Date is a java.util.Date.
type Date struct{ Time time.Time }

// Random is a java.util.Random.
type Random struct{ next func() int64 }

// Decimal is a BigDecimal: Unscaled × 10^-Scale. It never changes.
type Decimal struct {
	Unscaled *big.Int
	Scale    int
}
