package expression

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what sort of value a value is.
type Kind string

// The kinds of values.
const (
	KindNull    Kind = "Null"
	KindBoolean Kind = "Boolean"
	KindNumber  Kind = "Number"
	KindString  Kind = "String"
	KindArray   Kind = "Array"
	KindObject  Kind = "Object"
)

// Array is a list of values.
type Array = []any

// filtered is the list that .* makes. A property or index of it is taken of
// every item; an ordinary array has no properties.
type filtered []any

// Object is a set of named values in the order in which they were set. Names
// keep their case but are found in any. The zero Object is empty and ready to
// use. Once it is part of a [Scope] it must not be changed.
type Object struct {
	keys   []string
	values []any
	index  map[string]int // only of larger objects: folded key to position
	exact  bool
}

// NewObject makes an empty object.
func NewObject() *Object { return &Object{} }

// NewExactObject makes an empty object whose names are found only in their own
// case, like the env context on a machine with a case-sensitive environment.
func NewExactObject() *Object { return &Object{exact: true} }

// indexFrom is the size from which a map is faster than a scan.
const indexFrom = 9

func (o *Object) fold(key string) string {
	if o.exact {
		return key
	}
	return foldCase(key)
}

func (o *Object) find(key string) int {
	if o == nil {
		return -1
	}
	if o.index != nil {
		if i, ok := o.index[o.fold(key)]; ok {
			return i
		}
		return -1
	}
	for i, k := range o.keys {
		if k == key || !o.exact && equalFold(k, key) {
			return i
		}
	}
	return -1
}

// Get finds a value by name.
func (o *Object) Get(key string) (any, bool) {
	i := o.find(key)
	if i < 0 {
		return nil, false
	}
	return o.values[i], true
}

// Set adds a value, or replaces it where it stands, keeping the name's first
// spelling.
func (o *Object) Set(key string, value any) {
	if i := o.find(key); i >= 0 {
		o.values[i] = value
		return
	}
	o.keys = append(o.keys, key)
	o.values = append(o.values, value)
	switch {
	case o.index != nil:
		o.index[o.fold(key)] = len(o.keys) - 1
	case len(o.keys) == indexFrom:
		// Built while writing, never while reading: readers may be many.
		o.index = make(map[string]int, 2*indexFrom)
		for i, k := range o.keys {
			o.index[o.fold(k)] = i
		}
	}
}

// Keys are the names in order.
func (o *Object) Keys() []string {
	if o == nil {
		return nil
	}
	return slices.Clone(o.keys)
}

// Len is the number of values.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

// KindOf is the kind of a value. Numbers of any Go type are numbers, maps are
// objects and slices are arrays; see [FromGo].
func KindOf(v any) Kind {
	switch canonical(v).(type) {
	case bool:
		return KindBoolean
	case float64:
		return KindNumber
	case string:
		return KindString
	case []any, filtered:
		return KindArray
	case *Object, map[string]any:
		return KindObject
	}
	return KindNull
}

// Truthy reports how a value counts as a condition: null, false, 0, NaN and
// the empty string are false, all else is true, even "false" and empty
// collections.
func Truthy(v any) bool {
	switch v := canonical(v).(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	}
	return true
}

// String is a value as text: null is empty, numbers have up to 15 digits, and
// collections are only named: "Array", "Object".
func String(v any) string {
	switch v := canonical(v).(type) {
	case nil:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return formatNumber(v)
	case string:
		return v
	default:
		return string(KindOf(v))
	}
}

// Number is a value as a number: null and false are 0, true is 1, text is
// read without the space around it (empty text is 0), and what is no number
// is NaN.
func Number(v any) float64 {
	switch v := canonical(v).(type) {
	case nil:
		return 0
	case bool:
		if v {
			return 1
		}
		return 0
	case float64:
		return v
	case string:
		return parseNumber(v)
	}
	return math.NaN()
}

// Equal reports whether two values are equal by the rules of ==: values of
// different kinds as numbers, text without regard to case, collections only
// when they are the same one.
func Equal(a, b any) bool {
	a, b, kind := coerce(a, b)
	switch kind {
	case KindNull:
		return true
	case KindBoolean:
		return a.(bool) == b.(bool)
	case KindNumber:
		return a.(float64) == b.(float64)
	case KindString:
		return equalFold(a.(string), b.(string))
	case KindArray, KindObject:
		return same(a, b)
	}
	return false
}

// less is the rule of <. It is false for what has no order.
func less(a, b any) bool {
	a, b, kind := coerce(a, b)
	switch kind {
	case KindBoolean:
		return !a.(bool) && b.(bool)
	case KindNumber:
		return a.(float64) < b.(float64)
	case KindString:
		return compareFold(a.(string), b.(string)) < 0
	}
	return false
}

// coerce brings two values to one kind, by way of numbers; kind is "" when
// that is impossible.
func coerce(a, b any) (x, y any, kind Kind) {
	a, b = canonical(a), canonical(b)
	ka, kb := KindOf(a), KindOf(b)
	if ka == kb {
		return a, b, ka
	}
	if isPrimitive(ka) && isPrimitive(kb) {
		return Number(a), Number(b), KindNumber
	}
	return a, b, ""
}

func isPrimitive(k Kind) bool { return k != KindArray && k != KindObject }

// same reports whether two collections are one and the same in memory. Empty
// slices made by this package each have memory of their own for this.
func same(a, b any) bool {
	if a, ok := a.(*Object); ok {
		return any(a) == b
	}
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.Type() == y.Type() && x.Len() == y.Len() && x.Pointer() == y.Pointer()
}

// newArray makes an array that is not [same] as any other, even when empty.
func newArray(capacity int) []any { return make([]any, 0, max(capacity, 1)) }

// formatNumber writes a number with up to 15 significant digits, and with an
// exponent below 1e-4 and from 1e15: the format that .NET calls G15. Zero has
// no sign.
func formatNumber(f float64) string {
	switch {
	case f == 0:
		return "0"
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return strconv.FormatInt(int64(f), 10)
	}
	const digits = 15
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', digits-1, 64), "e")
	mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	e, _ := strconv.Atoi(exponent)
	if e <= -5 || e >= digits {
		return mantissa + "E" + exponent // Go and .NET both write two digits or more
	}
	rounded, _ := strconv.ParseFloat(mantissa+"e"+exponent, 64)
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// constant reads the numbers that are written as words.
func constant(s string) float64 {
	switch s {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	return math.NaN()
}

// parseNumber reads text as a number: decimal with sign, fraction and
// exponent, 0x and 0o without sign, Infinity; blank text is 0 and all else
// NaN. As in .NET, 0x and 0o are 32-bit numbers, with a sign when all 32 bits
// are used.
func parseNumber(s string) float64 {
	s = strings.TrimFunc(s, unicode.IsSpace)
	if s == "" {
		return 0
	}
	if isDecimal(s) {
		f, _ := strconv.ParseFloat(s, 64) // out of range is an infinity or zero
		return f
	}
	base := 0
	switch {
	case len(s) > 2 && s[:2] == "0x":
		base = 16
	case len(s) > 2 && s[:2] == "0o":
		base = 8
	default:
		return constant(s)
	}
	n, err := strconv.ParseUint(s[2:], base, 32)
	if err != nil {
		return math.NaN()
	}
	return float64(int32(n))
}

// isDecimal is stricter than strconv, which also reads hexadecimal fractions,
// underscores and names.
func isDecimal(s string) bool {
	digits := func() (n int) {
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		s = s[n:]
		return n
	}
	sign := func() {
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
	}
	sign()
	n := digits()
	if s != "" && s[0] == '.' {
		s = s[1:]
		n += digits()
	}
	if n == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		sign()
		if digits() == 0 {
			return false
		}
	}
	return s == ""
}

// Case is ignored one character at a time and the same in every language:
// ς, σ and Σ are equal, ß has no capital, and the Turkish dotless ı and the
// long ſ, whose capitals are ASCII letters, stay what they are.

func upper(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		if r >= 'a' && r <= 'z' {
			return r - ('a' - 'A')
		}
		return r
	case r == 'ı', r == 'ſ':
		return r
	}
	return unicode.ToUpper(r)
}

func foldCase(s string) string { return strings.Map(upper, s) }

func equalFold(a, b string) bool {
	if a == b {
		return true
	}
	for a != "" && b != "" {
		ra, na := decode(a)
		rb, nb := decode(b)
		if ra != rb && upper(ra) != upper(rb) {
			return false
		}
		a, b = a[na:], b[nb:]
	}
	return a == b
}

// compareFold orders text by its capitals, as UTF-16 code units.
func compareFold(a, b string) int {
	for a != "" && b != "" {
		ra, na := decode(a)
		rb, nb := decode(b)
		if ua, ub := upper(ra), upper(rb); ua != ub {
			if utf16Rank(ua) < utf16Rank(ub) {
				return -1
			}
			return 1
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) - len(b)
}

func decode(s string) (rune, int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	return utf8.DecodeRuneInString(s)
}

// utf16Rank puts the last characters of the basic plane after the surrogate
// pairs, where UTF-16 has them.
func utf16Rank(r rune) rune {
	if r >= 0xE000 && r <= 0xFFFF {
		return r + unicode.MaxRune
	}
	return r
}
