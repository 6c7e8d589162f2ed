package feature

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// JSON Logic was born in JavaScript, and its rules are JavaScript's: what counts as true,
// what a text is as a number, what a number is as a text. Values are those of
// encoding/json: nil, bool, float64, string, []any, map[string]any.

// truthy is what a condition makes of a value: JSON Logic's rule, by which an empty
// list and an empty object are false.
func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v != ""
	case float64:
		return v != 0 && v == v
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// falsy is JavaScript's own rule.
func falsy(v any) bool { return !composite(v) && !truthy(v) }

func composite(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

func textOrNull(v any) bool {
	if v == nil {
		return true
	}
	_, ok := v.(string)
	return ok
}

// number is the value as a number; NaN for what is none.
func number(v any) float64 {
	switch v := v.(type) {
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
	case []any:
		return parseNumber(text(v))
	}
	return math.NaN()
}

// parseNumber reads a number as JavaScript does: spaces around it do not count, and
// nothing at all is 0.
func parseNumber(s string) float64 {
	s = strings.Trim(s, " \t\n\r\v\f\u00a0\ufeff\u2028\u2029")
	switch s {
	case "":
		return 0
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if len(s) > 2 && s[0] == '0' {
		base := map[byte]int{'x': 16, 'X': 16, 'o': 8, 'O': 8, 'b': 2, 'B': 2}[s[1]]
		if base != 0 {
			if n, err := strconv.ParseUint(s[2:], base, 64); err == nil && s[2] != '+' {
				return float64(n)
			}
			return math.NaN()
		}
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' {
			return math.NaN()
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(n, 0) {
		return math.NaN()
	}
	return n
}

// maxText is how many bytes of a list's text are made. A list may be far longer than what it
// was made of, for its parts may be one and the same.
const maxText = 1 << 16

// text is the value as a text.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return numberText(v)
	case []any:
		var b strings.Builder
		writeText(&b, v)
		return b.String()
	case map[string]any:
		return "[object Object]"
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

func writeText(b *strings.Builder, list []any) {
	for i, x := range list {
		if b.Len() > maxText {
			return
		}
		if i > 0 {
			b.WriteByte(',')
		}
		if l, ok := x.([]any); ok {
			writeText(b, l)
		} else if x != nil {
			b.WriteString(text(x))
		}
	}
}

func numberText(f float64) string {
	switch {
	case f == 0:
		return "0" // -0 too
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if abs := math.Abs(f); abs >= 1e21 || abs < 1e-6 {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(s, "e")
		sign, digits := exponent[:1], strings.TrimLeft(exponent[1:], "0")
		return mantissa + "e" + sign + digits
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// primitive is what a list or an object is compared as.
func primitive(v any) any {
	if composite(v) {
		return text(v)
	}
	return v
}

// looseEqual is JavaScript's ==.
func looseEqual(a, b any) bool {
	switch {
	case a == nil || b == nil:
		return a == nil && b == nil
	case composite(a) && composite(b):
		return false // two values, even if they look the same
	}
	a, b = primitive(a), primitive(b)
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return x == y
		}
	}
	return number(a) == number(b)
}

// strictEqual is JavaScript's ===.
func strictEqual(a, b any) bool {
	if composite(a) || composite(b) {
		return false
	}
	return a == b
}

// comparison is one of the operators that compare.
type comparison int

const (
	equal comparison = iota
	unequal
	same
	notSame
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (c comparison) strict() bool { return c == same || c == notSame }

// holds compares as JavaScript does.
func (c comparison) holds(a, b any) bool {
	switch c {
	case equal:
		return looseEqual(a, b)
	case unequal:
		return !looseEqual(a, b)
	case same:
		return strictEqual(a, b)
	case notSame:
		return !strictEqual(a, b)
	}
	a, b = primitive(a), primitive(b)
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return c.ordered(strings.Compare(x, y))
		}
	}
	x, y := number(a), number(b)
	switch {
	case x < y:
		return c.ordered(-1)
	case x > y:
		return c.ordered(1)
	case x == y:
		return c.ordered(0)
	}
	return false // NaN
}

func (c comparison) ordered(sign int) bool {
	switch c {
	case less:
		return sign < 0
	case lessOrEqual:
		return sign <= 0
	case greater:
		return sign > 0
	}
	return sign >= 0
}

// substring is JavaScript's substr, which counts units of UTF-16.
func substring(s string, from float64, count float64) string {
	units := utf16.Encode([]rune(s))
	size := float64(len(units))
	if from = math.Trunc(from); from < 0 {
		from = max(size+from, 0)
	}
	if from != from {
		from = 0
	}
	if count != count {
		count = 0
	}
	from = min(from, size)
	end := min(from+math.Trunc(count), size)
	if end <= from {
		return ""
	}
	return string(utf16.Decode(units[int(from):int(end)]))
}
