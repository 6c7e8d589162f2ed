package expression

import (
	"math"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A value of an expression is one of
//
//	nil  bool  float64  string  Version  *Array  *Object

// Version is a value of two to four numbers: 1.2, 1.2.3, 1.2.3.4. Parts that
// were not written are -1, so that 1.2 comes before 1.2.0.
type Version [4]int32

// Array is a list of values.
type Array struct {
	Items []any
	At    plan.Source // where it was written; zero for one that was computed
}

// Object is a mapping with keys in order, whose case does not matter.
type Object struct {
	At plan.Source // where it was written; zero for one that was computed
	// Missing tells why there is no such key; nil gives nothing for one that
	// is not there.
	Missing func(key string) error
	// Look finds what was not set; such keys are not listed.
	Look func(key string) (any, bool)

	keys   []string
	values map[string]any // by lower-case key
}

// NewObject makes an object of keys and values in turn.
func NewObject(pairs ...any) *Object {
	o := &Object{}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Set gives a key a value. A key that is there keeps its place and its
// spelling.
func (o *Object) Set(key string, value any) {
	lower := strings.ToLower(key)
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, have := o.values[lower]; !have {
		o.keys = append(o.keys, key)
	}
	o.values[lower] = value
}

// Get is the value of a key.
func (o *Object) Get(key string) (any, bool) {
	if o == nil {
		return nil, false
	}
	v, ok := o.values[strings.ToLower(key)]
	if !ok && o.Look != nil {
		return o.Look(key)
	}
	return v, ok
}

// Keys are the keys in order, as they were first written.
func (o *Object) Keys() []string {
	if o == nil {
		return nil
	}
	return o.keys
}

// Len is the number of keys.
func (o *Object) Len() int { return len(o.Keys()) }

// Clone is a copy whose keys can be set without changing the original.
func (o *Object) Clone() *Object {
	c := &Object{}
	if o != nil {
		c.At, c.Missing, c.Look = o.At, o.Missing, o.Look
	}
	for _, k := range o.Keys() {
		v, _ := o.Get(k)
		c.Set(k, v)
	}
	return c
}

// ParseVersion reads two to four numbers with dots between them.
func ParseVersion(s string) (Version, bool) {
	v := Version{-1, -1, -1, -1}
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) < 2 || len(parts) > len(v) {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return v, false
		}
		v[i] = int32(n)
	}
	return v, true
}

// String is the version as it is written, without leading zeros.
func (v Version) String() string {
	var b strings.Builder
	for i, n := range v {
		if n < 0 {
			break
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.Itoa(int(n)))
	}
	return b.String()
}

// KindName is the word for a value's type in messages.
func KindName(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case Version:
		return "a version"
	case *Array:
		return "a list"
	}
	return "a mapping"
}

// typeName is a value's type in the words of the service's messages.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "Null"
	case bool:
		return "Boolean"
	case float64:
		return "Number"
	case string:
		return "String"
	case Version:
		return "Version"
	case *Array, *filtered:
		return "Array"
	}
	return "Object"
}

// Truthy is a value as a condition: false, nothing, zero and the empty string
// do not hold; every other value does, the text False too.
func Truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

// String is a value as text; lists and mappings have none.
func String(v any) string {
	s, _ := toString(v)
	return s
}

func toString(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	case float64:
		return FormatNumber(v), true
	case string:
		return v, true
	case Version:
		return v.String(), true
	}
	return "", false
}

// decimals is how many places of a number are written.
const decimals = 7

// FormatNumber writes a number without an exponent, with at most seven places
// after the point.
func FormatNumber(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case math.IsNaN(v):
		return "NaN"
	case v == math.Trunc(v):
		if s := strconv.FormatFloat(v, 'f', -1, 64); s != "-0" {
			return s
		}
		return "0"
	}
	s := strings.TrimRight(strconv.FormatFloat(v, 'f', decimals, 64), "0")
	if s = strings.TrimSuffix(s, "."); s == "-0" || s == "" {
		return "0"
	}
	return s
}

// toNumber converts as far as the language does: a text must be a number, and
// the empty one is zero.
func toNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case float64:
		return v, true
	case string:
		s := strings.TrimSpace(v)
		if s == "" {
			return 0, true
		}
		return parseNumber(s)
	}
	return 0, false
}

// Number is the number that a text is.
func Number(text string) (float64, bool) { return parseNumber(strings.TrimSpace(text)) }

// parseNumber reads a decimal number: no exponent, no hexadecimal. Commas may
// stand between its digits.
func parseNumber(s string) (float64, bool) {
	digits := strings.ReplaceAll(strings.TrimLeft(s, "+-"), ",", "")
	if s == "" || len(s)-len(strings.TrimLeft(s, "+-")) > 1 || strings.Trim(digits, "0123456789.") != "" || strings.Trim(digits, ".") == "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, false
	}
	if s[0] == '-' {
		n = -n
	}
	return n, true
}

func toVersion(v any) (Version, bool) {
	switch v := v.(type) {
	case Version:
		return v, true
	case string:
		return ParseVersion(v)
	case float64:
		return ParseVersion(FormatNumber(v))
	}
	return Version{}, false
}

// Equal compares two values: the right one is converted to the type of the
// left one, and strings ignore case.
func Equal(left, right any) bool {
	switch l := left.(type) {
	case nil:
		return right == nil || right == ""
	case bool:
		return l == Truthy(right)
	case float64:
		r, ok := toNumber(right)
		return ok && l == r
	case string:
		r, ok := toString(right)
		return ok && strings.EqualFold(l, r)
	case Version:
		r, ok := toVersion(right)
		return ok && l == r
	}
	return left == right
}

// compare orders two values, after converting the right one to the type of
// the left one.
func compare(left, right any) (int, error) {
	cannot := func() (int, error) {
		return 0, errorf("Unable to convert from %s to %s. Value: '%.80s'", typeName(right), typeName(left), String(right))
	}
	switch l := left.(type) {
	case bool:
		a, _ := toNumber(l)
		b, _ := toNumber(Truthy(right))
		return int(a - b), nil
	case float64, nil:
		a, _ := toNumber(l)
		b, ok := toNumber(right)
		switch {
		case !ok:
			return cannot()
		case a < b:
			return -1, nil
		case a > b:
			return 1, nil
		}
		return 0, nil
	case string:
		r, ok := toString(right)
		if !ok {
			return cannot()
		}
		return strings.Compare(strings.ToUpper(l), strings.ToUpper(r)), nil
	case Version:
		r, ok := toVersion(right)
		if !ok {
			return cannot()
		}
		for i := range l {
			if l[i] != r[i] {
				return int(l[i] - r[i]), nil
			}
		}
		return 0, nil
	}
	return cannot()
}

// FromJSON makes a value of what encoding/json decodes to.
func FromJSON(v any) any {
	switch v := v.(type) {
	case []any:
		a := &Array{Items: make([]any, len(v))}
		for i := range v {
			a.Items[i] = FromJSON(v[i])
		}
		return a
	case map[string]any:
		o := &Object{}
		for _, k := range sortedKeys(v) {
			o.Set(k, FromJSON(v[k]))
		}
		return o
	case int:
		return float64(v)
	}
	return v
}

// ToJSON makes of a value what encoding/json encodes; versions become text.
func ToJSON(v any) any {
	switch v := v.(type) {
	case Version:
		return v.String()
	case *Array:
		list := make([]any, len(v.Items))
		for i := range v.Items {
			list[i] = ToJSON(v.Items[i])
		}
		return list
	case *Object:
		m := make(map[string]any, v.Len())
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			m[k] = ToJSON(x)
		}
		return m
	}
	return v
}
