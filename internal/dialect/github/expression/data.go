package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxJSONDepth is how deep fromJSON reads, GitHub's own limit.
	maxJSONDepth = 64
	// maxDataDepth is how deep values made by Go code may be.
	maxDataDepth = 500
)

var errTooDeep = errors.New("the value is nested too deeply")

// FromGo turns what encoding/json, a YAML decoder or Go code made into a value
// of this package: numbers of every type become float64, maps become objects
// with sorted keys, slices become arrays, times become text. What has no
// counterpart (functions, channels, structs) is an error.
func FromGo(v any) (any, error) { return fromGo(v, 0) }

func fromGo(v any, depth int) (any, error) {
	if depth > maxDataDepth {
		return nil, errTooDeep
	}
	switch v := v.(type) {
	case nil, bool, float64, string:
		return v, nil
	case *Object:
		if v == nil {
			return nil, nil
		}
		return v, nil
	case filtered:
		return []any(v), nil
	case []any:
		list := newArray(len(v))
		for _, item := range v {
			plain, err := fromGo(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, plain)
		}
		return list, nil
	case map[string]any:
		o := NewObject()
		for _, key := range slices.Sorted(maps.Keys(v)) {
			plain, err := fromGo(v[key], depth+1)
			if err != nil {
				return nil, err
			}
			o.Set(key, plain)
		}
		return o, nil
	case json.Number:
		f, err := v.Float64()
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("reading the number %q: %w", v.String(), err)
		}
		return f, nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return fromReflected(reflect.ValueOf(v), depth)
}

// fromReflected converts the Go types that are not worth a case of their own.
func fromReflected(v reflect.Value, depth int) (any, error) {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return float64(v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return v.Float(), nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
		return fromGo(v.Elem().Interface(), depth+1)
	case reflect.Slice, reflect.Array:
		list := newArray(v.Len())
		for i := range v.Len() {
			item, err := fromGo(v.Index(i).Interface(), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	case reflect.Map:
		// A YAML map may have keys of any scalar type.
		plain := make(map[string]any, v.Len())
		for iter := v.MapRange(); iter.Next(); {
			key, err := fromGo(iter.Key().Interface(), depth+1)
			if err != nil {
				return nil, err
			}
			plain[String(key)] = iter.Value().Interface()
		}
		return fromGo(plain, depth)
	}
	return nil, fmt.Errorf("a %s is no value of an expression", v.Type())
}

// canonical brings one value, not its content, into a form that this package
// works on. Maps of Go stay as they are: copying a large context for one
// property of it would be waste.
func canonical(v any) any {
	switch v := v.(type) {
	case nil, bool, float64, string, []any, filtered, map[string]any:
		return v
	case *Object:
		if v == nil {
			return nil
		}
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	plain, err := FromGo(v)
	if err != nil {
		return nil
	}
	return plain
}

// MarshalJSON writes the object with its keys in order. NaN and the
// infinities, which JSON does not have, become null.
func (o *Object) MarshalJSON() ([]byte, error) { return appendCompact(nil, o, 0) }

// UnmarshalJSON reads an object and keeps the order of its keys.
func (o *Object) UnmarshalJSON(text []byte) error {
	v, err := ParseJSON(string(text))
	if err != nil {
		return err
	}
	read, ok := v.(*Object)
	if !ok {
		return fmt.Errorf("JSON: found %s where an object was expected", article(KindOf(v)))
	}
	*o = *read
	return nil
}

func appendCompact(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDataDepth {
		return nil, errTooDeep
	}
	switch v := canonical(v).(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(b, "null"...), nil
		}
		text, err := json.Marshal(v)
		return append(b, text...), err
	case string:
		return appendQuoted(b, v), nil
	default:
		opening, closing := byte('['), byte(']')
		if KindOf(v) == KindObject {
			opening, closing = '{', '}'
		}
		b = append(b, opening)
		first := true
		for key, item := range entries(v) {
			if !first {
				b = append(b, ',')
			}
			first = false
			if opening == '{' {
				b = append(appendQuoted(b, key), ':')
			}
			var err error
			if b, err = appendCompact(b, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, closing), nil
	}
}

// appendQuoted writes a JSON string with the escapes that GitHub writes: no
// more than needed, and the three line ends outside ASCII.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		case '\u0085', '\u2028', '\u2029':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			if r < ' ' {
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = utf8.AppendRune(b, r)
			}
		}
	}
	return append(b, '"')
}

// ParseJSON reads one JSON value and keeps the order of keys. It is as lenient
// as fromJSON is on GitHub: comments, trailing commas, single quotes, names
// without quotes, hexadecimal and octal numbers, NaN and Infinity are read,
// and what follows the value is ignored. Of equal keys the last one counts.
func ParseJSON(text string) (any, error) {
	r := &jsonReader{text: text}
	return r.value(1)
}

type jsonReader struct {
	text string
	pos  int
}

// fail describes what stands at the current position.
func (r *jsonReader) fail(want string) error {
	line := 1 + strings.Count(r.text[:r.pos], "\n")
	col := 1 + utf8.RuneCountInString(r.text[1+strings.LastIndexByte(r.text[:r.pos], '\n'):r.pos])
	if r.pos >= len(r.text) {
		return fmt.Errorf("JSON, line %d, column %d: the text ends, but %s was expected", line, col, want)
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.pos:])
	return fmt.Errorf("JSON, line %d, column %d: found %q where %s was expected", line, col, c, want)
}

// skip passes space and comments, and returns the next byte, or 0 at the end.
func (r *jsonReader) skip() byte {
	for r.pos < len(r.text) {
		rest := r.text[r.pos:]
		switch {
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				r.pos = len(r.text)
				return 0
			}
			r.pos += 2 + end + 2
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			r.pos += end
		default:
			c, size := utf8.DecodeRuneInString(rest)
			if !unicode.IsSpace(c) {
				return rest[0]
			}
			r.pos += size
		}
	}
	return 0
}

func (r *jsonReader) value(depth int) (any, error) {
	c := r.skip()
	switch {
	case depth > maxJSONDepth && (c == '{' || c == '['):
		return nil, fmt.Errorf("JSON is nested more than %d levels deep", maxJSONDepth)
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.array(depth)
	case c == '"' || c == '\'':
		return r.quoted()
	}
	word := r.word()
	switch word {
	case "":
		return nil, r.fail("a value")
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "undefined":
		return "", nil
	case "NaN", "Infinity", "-Infinity":
		return constant(word), nil
	}
	n, ok := jsonNumber(word)
	if !ok {
		r.pos -= len(word)
		return nil, r.fail("a value")
	}
	return n, nil
}

// word takes the characters of names, numbers and constants.
func (r *jsonReader) word() string {
	start := r.pos
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; {
		case isDigit(c), c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '$', c == '.', c == '-', c == '+':
			r.pos++
			continue
		}
		break
	}
	return r.text[start:r.pos]
}

// jsonNumber reads a number of JSON, and also the octal and hexadecimal
// integers that a leading zero begins.
func jsonNumber(word string) (float64, bool) {
	digits, negative := strings.CutPrefix(word, "-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] != '.' && digits[1]|' ' != 'e' {
		base := 8
		if digits[1]|' ' == 'x' {
			base, digits = 16, digits[2:]
		}
		n, err := strconv.ParseInt(digits, base, 64)
		if negative {
			n = -n
		}
		return float64(n), err == nil
	}
	if word[0] == '+' || !isDecimal(word) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(word, 64)
	return f, true
}

func (r *jsonReader) array(depth int) (any, error) {
	r.pos++
	list := newArray(4)
	for {
		if r.skip() == ']' {
			r.pos++
			return list, nil
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
		switch r.skip() {
		case ',':
			r.pos++
		case ']':
		default:
			return nil, r.fail("a comma or ]")
		}
	}
}

func (r *jsonReader) object(depth int) (any, error) {
	r.pos++
	o := NewObject()
	for {
		var key string
		switch c := r.skip(); c {
		case '}':
			r.pos++
			return o, nil
		case '"', '\'':
			s, err := r.quoted()
			if err != nil {
				return nil, err
			}
			key = s
		default:
			if key = r.word(); key == "" {
				return nil, r.fail("a name")
			}
		}
		if r.skip() != ':' {
			return nil, r.fail("a colon")
		}
		r.pos++
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o.Set(key, item)
		switch r.skip() {
		case ',':
			r.pos++
		case '}':
		default:
			return nil, r.fail("a comma or }")
		}
	}
}

func (r *jsonReader) quoted() (string, error) {
	quote := r.text[r.pos]
	r.pos++
	start := r.pos
	var b []byte // only when there are escapes
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		if c == quote {
			s := r.text[start:r.pos]
			r.pos++
			if b != nil {
				return string(append(b, s...)), nil
			}
			return s, nil
		}
		if c != '\\' {
			r.pos++
			continue
		}
		b = append(b, r.text[start:r.pos]...)
		r.pos++
		char, ok := r.escape()
		if !ok {
			return "", r.fail("an escape")
		}
		b = utf8.AppendRune(b, char)
		start = r.pos
	}
	return "", r.fail("a closing quote")
}

// escape reads what follows a backslash.
func (r *jsonReader) escape() (rune, bool) {
	if r.pos >= len(r.text) {
		return 0, false
	}
	c := r.text[r.pos]
	switch c {
	case '"', '\'', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		high, ok := r.hex(r.pos + 1)
		if !ok {
			return 0, false
		}
		r.pos += 5
		if utf16.IsSurrogate(high) && strings.HasPrefix(r.text[r.pos:], `\u`) {
			if low, ok := r.hex(r.pos + 2); ok {
				if pair := utf16.DecodeRune(high, low); pair != utf8.RuneError {
					r.pos += 6
					return pair, true
				}
			}
		}
		return high, true // half a pair alone is written as U+FFFD
	default:
		return 0, false
	}
	r.pos++
	return rune(c), true
}

func (r *jsonReader) hex(at int) (rune, bool) {
	if at+4 > len(r.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(r.text[at:at+4], 16, 16)
	return rune(n), err == nil
}
