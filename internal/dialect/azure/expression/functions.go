package expression

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// lazy is the value of and, or and coalesce, which look at their arguments one
// after another and at no more than they need.
func (n *node) lazy(s *Scope) (any, error) {
	for _, a := range n.args {
		v, err := a.eval(s)
		if err != nil {
			return nil, err
		}
		switch strings.ToLower(n.text) {
		case "and":
			if !Truthy(v) {
				return false, nil
			}
		case "or":
			if Truthy(v) {
				return true, nil
			}
		default:
			if v != nil && v != "" {
				return v, nil
			}
		}
	}
	switch strings.ToLower(n.text) {
	case "and":
		return true, nil
	case "or":
		return false, nil
	}
	return nil, nil
}

// functions are those of the language that need to know nothing; those without
// a Call are lazy.
var functions = map[string]Function{
	"and":           {2, -1, nil},
	"or":            {2, -1, nil},
	"coalesce":      {2, -1, nil},
	"contains":      {2, 2, texts(func(a []string) any { return strings.Contains(fold(a[0]), fold(a[1])) })},
	"containsvalue": {2, 2, containsValue},
	"converttojson": {1, 1, convertToJSON},
	"endswith":      {2, 2, texts(func(a []string) any { return strings.HasSuffix(fold(a[0]), fold(a[1])) })},
	"eq":            {2, 2, func(a []any) (any, error) { return Equal(a[0], a[1]), nil }},
	"format":        {1, -1, format},
	"ge":            {2, 2, ordered(func(c int) bool { return c >= 0 })},
	"gt":            {2, 2, ordered(func(c int) bool { return c > 0 })},
	"iif":           {3, 3, iif},
	"in":            {2, -1, func(a []any) (any, error) { return among(a), nil }},
	"join":          {2, 2, join},
	"le":            {2, 2, ordered(func(c int) bool { return c <= 0 })},
	"length":        {1, 1, length},
	"lower":         {1, 1, texts(func(a []string) any { return strings.ToLower(a[0]) })},
	"lt":            {2, 2, ordered(func(c int) bool { return c < 0 })},
	"ne":            {2, 2, func(a []any) (any, error) { return !Equal(a[0], a[1]), nil }},
	"not":           {1, 1, func(a []any) (any, error) { return !Truthy(a[0]), nil }},
	"notin":         {2, -1, func(a []any) (any, error) { return !among(a), nil }},
	"replace":       {3, 3, replace},
	"split":         {2, 2, split},
	"startswith":    {2, 2, texts(func(a []string) any { return strings.HasPrefix(fold(a[0]), fold(a[1])) })},
	"substring":     {2, 3, substring},
	"trim":          {1, 1, texts(func(a []string) any { return strings.TrimSpace(a[0]) })},
	"upper":         {1, 1, texts(func(a []string) any { return strings.ToUpper(a[0]) })},
	"xor":           {2, 2, func(a []any) (any, error) { return Truthy(a[0]) != Truthy(a[1]), nil }},
}

func builtin(lower string) (Function, bool) {
	f, ok := functions[lower]
	return f, ok
}

func nearFunction(text string, s *Scope) string {
	known := slices.Concat(slices.Sorted(maps.Keys(functions)), slices.Sorted(maps.Keys(s.Functions)))
	if near := plan.Nearest(text, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "the functions here are " + strings.Join(known, ", ")
}

func fold(s string) string { return strings.ToUpper(s) }

// texts is a function over texts.
func texts(f func(a []string) any) func([]any) (any, error) {
	return func(args []any) (any, error) {
		list := make([]string, len(args))
		for i, a := range args {
			s, ok := toString(a)
			if !ok {
				return nil, errorf("a text is wanted, not %s", KindName(a))
			}
			list[i] = s
		}
		return f(list), nil
	}
}

func ordered(holds func(int) bool) func([]any) (any, error) {
	return func(a []any) (any, error) {
		c, err := compare(a[0], a[1])
		if err != nil {
			return nil, err
		}
		return holds(c), nil
	}
}

func among(a []any) bool {
	return slices.ContainsFunc(a[1:], func(x any) bool { return Equal(a[0], x) })
}

func iif(a []any) (any, error) {
	if Truthy(a[0]) {
		return a[1], nil
	}
	return a[2], nil
}

func containsValue(a []any) (any, error) {
	return slices.ContainsFunc(values(a[0]), func(x any) bool { return Equal(a[1], x) }), nil
}

func length(a []any) (any, error) {
	switch v := a[0].(type) {
	case *filtered:
		return float64(len(v.Items)), nil
	case *Array:
		return float64(len(v.Items)), nil
	case *Object:
		return float64(v.Len()), nil
	}
	return float64(len([]rune(String(a[0])))), nil
}

func join(a []any) (any, error) {
	separator := String(a[0])
	var items []any
	switch v := a[1].(type) {
	case *filtered:
		items = v.Items
	case *Array:
		items = v.Items
	default:
		return String(v), nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		list = append(list, String(item))
	}
	return limited(strings.Join(list, separator))
}

// limited refuses a text that grew too long: nested calls can double it again
// and again.
func limited(s string) (any, error) {
	if len(s) > maxSize {
		return nil, errorf("the text has more than %d bytes", maxSize)
	}
	return s, nil
}

func replace(a []any) (any, error) {
	text, old, with := String(a[0]), String(a[1]), String(a[2])
	if old == "" {
		return text, nil
	}
	if n := strings.Count(text, old); len(text)+n*(len(with)-len(old)) > maxSize {
		return limited(strings.Repeat(" ", maxSize+1))
	}
	return strings.ReplaceAll(text, old, with), nil
}

// split cuts a text at each of the separator's characters, as the language
// does: the separator is a set of them.
func split(a []any) (any, error) {
	text, separators := String(a[0]), String(a[1])
	out := &Array{}
	if separators == "" {
		out.Items = []any{text}
		return out, nil
	}
	from := 0
	for i, r := range text {
		if strings.ContainsRune(separators, r) {
			out.Items = append(out.Items, text[from:i])
			from = i + len(string(r))
		}
	}
	out.Items = append(out.Items, text[from:])
	return out, nil
}

func substring(a []any) (any, error) {
	text := []rune(String(a[0]))
	from, ok := toNumber(a[1])
	if !ok || from < 0 || from > float64(len(text)) {
		return nil, errorf("the text has %d characters, and none at %s", len(text), String(a[1]))
	}
	n := float64(len(text)) - from
	if len(a) == 3 {
		if n, ok = toNumber(a[2]); !ok || n < 0 || from+n > float64(len(text)) {
			return nil, errorf("the text has %d characters, not %s from %s on", len(text), String(a[2]), String(a[1]))
		}
	}
	return string(text[int(from) : int(from)+int(n)]), nil
}

// format fills {0} and the like; {{ and }} stand for single braces.
func format(a []any) (any, error) {
	pattern, ok := toString(a[0])
	if !ok {
		return nil, errorf("a text is wanted, not %s", KindName(a[0]))
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c != '{' && c != '}':
			b.WriteByte(c)
		case i+1 < len(pattern) && pattern[i+1] == c:
			b.WriteByte(c)
			i++
		case c == '}':
			return nil, errorf("the format %.80q has a } that closes nothing", pattern)
		default:
			n := strings.IndexByte(pattern[i:], '}')
			if n < 0 {
				return nil, errorf("the format %.80q has a { that is not closed", pattern)
			}
			inner, layout, _ := strings.Cut(pattern[i+1:i+n], ":")
			k, err := strconv.ParseUint(inner, 10, 8)
			if err != nil || int(k)+1 >= len(a) {
				return nil, errorf("the format %.80q asks for argument {%.20s}, and %d are given", pattern, inner, len(a)-1)
			}
			s, ok := toString(a[k+1])
			if !ok {
				return nil, errorf("argument {%d} is %s, which is no text", k, KindName(a[k+1]))
			}
			b.WriteString(laidOut(a[k+1], s, layout))
			i += n
		}
		if b.Len() > maxSize {
			return limited(b.String())
		}
	}
	return b.String(), nil
}

// DateForm is how a point in time is written; format lays out a text of this form as
// one.
const DateForm = "2006-01-02 15:04:05Z"

// dates are the parts of a layout of dates, in Go's words; what is longer comes first.
var dates = strings.NewReplacer("yyyy", "2006", "yy", "06", "MM", "01", "M", "1", "dd", "02", "d", "2", "HH", "15", "H", "15", "hh", "03", "mm", "04", "m", "4", "ss", "05", "s", "5", "K", "Z07:00")

// Lay writes a point in time with a layout such as yyyyMMdd.
func Lay(at time.Time, layout string) string { return at.Format(dates.Replace(layout)) }

// laidOut writes a number with a layout such as 000 or 0.00, and a point in time with
// one such as yyyyMMdd; other values and layouts are left alone.
func laidOut(v any, s, layout string) string {
	if at, err := time.Parse(DateForm, s); err == nil && layout != "" && len(layout) <= 30 {
		return Lay(at, layout)
	}
	n, ok := v.(float64)
	whole, fraction, _ := strings.Cut(layout, ".")
	if !ok || layout == "" || len(layout) > 30 || strings.Trim(whole+fraction, "0") != "" {
		return s
	}
	s = strconv.FormatFloat(n, 'f', len(fraction), 64)
	digits, rest, _ := strings.Cut(s, ".")
	if pad := len(whole) - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	if rest != "" {
		digits += "." + rest
	}
	return digits
}

func convertToJSON(a []any) (any, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, a[0], "\n"); err != nil {
		return nil, err
	}
	return limited(b.String())
}

// writeJSON writes a value with its keys in order, indented by two spaces.
func writeJSON(b *bytes.Buffer, v any, newline string) error {
	if b.Len() > maxSize {
		return errorf("the text has more than %d bytes", maxSize)
	}
	inner := newline + "  "
	list := func(items []any) error {
		if len(items) == 0 {
			b.WriteString("[]")
			return nil
		}
		b.WriteByte('[')
		for i, item := range items {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner)
			if err := writeJSON(b, item, inner); err != nil {
				return err
			}
		}
		b.WriteString(newline + "]")
		return nil
	}
	switch v := v.(type) {
	case *Array:
		return list(v.Items)
	case *filtered:
		return list(v.Items)
	case *Object:
		if v.Len() == 0 {
			b.WriteString("{}")
			return nil
		}
		b.WriteByte('{')
		for i, k := range v.Keys() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(inner + quoteJSON(k) + ": ")
			x, _ := v.Get(k)
			if err := writeJSON(b, x, inner); err != nil {
				return err
			}
		}
		b.WriteString(newline + "}")
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case float64:
		b.WriteString(FormatNumber(v))
	default:
		b.WriteString(quoteJSON(String(v)))
	}
	return nil
}

func quoteJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
