package groovy

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// format is String.format: args[0] is the format.
func (t *Thread) format(args []Value) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	f, err := t.Text(args[0])
	if err != nil {
		return "", err
	}
	args = args[1:]
	if len(args) == 1 {
		if l, ok := args[0].(*List); ok {
			args = l.Items
		}
	}
	var b strings.Builder
	next := 0
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		spec, n := parseSpec(f[i+1:])
		if n < 0 {
			return "", t.Throw("java.util.IllegalFormatException", "Conversion = '%%'")
		}
		i += n
		switch spec.verb {
		case 'n':
			b.WriteByte('\n')
			continue
		case '%':
			b.WriteByte('%')
			continue
		}
		at := next
		if spec.index > 0 {
			at = spec.index - 1
		} else {
			next++
		}
		if at >= len(args) {
			return "", t.Throw("java.util.IllegalFormatException", "Format specifier '%s'", f[i-n:i+1])
		}
		s, err := t.formatOne(spec, args[at])
		if err != nil {
			return "", err
		}
		if err := t.alloc(len(s)); err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// spec is one %… of a format.
type spec struct {
	index            int // n$
	flags            string
	width, precision int // -1 for none
	verb             byte
	upper            bool
	date             byte // of %tY
}

const maxWidth = 10_000

// parseSpec reads what follows a %; n is the length, -1 for what is wrong.
func parseSpec(f string) (s spec, n int) {
	s.width, s.precision = -1, -1
	number := func() int {
		v := -1
		for n < len(f) && f[n] >= '0' && f[n] <= '9' {
			v = min(max(0, v)*10+int(f[n]-'0'), maxWidth)
			n++
		}
		return v
	}
	start := n
	if v := number(); v > 0 && n < len(f) && f[n] == '$' {
		s.index = v
		n++
	} else {
		n = start
	}
	for n < len(f) && strings.IndexByte("-#+ 0,(", f[n]) >= 0 {
		s.flags += f[n : n+1]
		n++
	}
	s.width = number()
	if n < len(f) && f[n] == '.' {
		n++
		if s.precision = number(); s.precision < 0 {
			return s, -1
		}
	}
	if n >= len(f) {
		return s, -1
	}
	s.verb = f[n]
	n++
	if s.verb == 't' || s.verb == 'T' {
		if n >= len(f) {
			return s, -1
		}
		s.date = f[n]
		n++
	}
	if strings.IndexByte("SXEGBCHT", s.verb) >= 0 {
		s.upper = true
		s.verb |= 0x20
	}
	if strings.IndexByte("sdfxXoegbchnt%", s.verb) < 0 {
		return s, -1
	}
	return s, n
}

func (t *Thread) formatOne(s spec, v Value) (string, error) {
	has := func(flag string) bool { return strings.Contains(s.flags, flag) }
	bad := func() error {
		return t.Throw("java.util.IllegalFormatException", "%c != %s", s.verb, className(v))
	}
	text := "null"
	var err error
	switch {
	case v == nil && s.verb != 'b':
	case s.verb == 's':
		text, err = t.Text(v)
	case s.verb == 'b':
		text = strconv.FormatBool(v != nil && v != Value(false))
	case s.verb == 'c':
		if rankOf(v) != notNumber {
			text = string(rune(asInt32(v)))
		} else {
			text, err = t.Text(v)
		}
	case s.verb == 'h':
		text = strconv.FormatUint(uint64(uint32(t.hashCode(v))), 16)
	case s.verb == 'd':
		if rankOf(v) == notNumber || rankOf(v) > rankBig {
			return "", bad()
		}
		text = signed(asBig(v).String(), s)
	case s.verb == 'x' || s.verb == 'o':
		if rankOf(v) == notNumber || rankOf(v) > rankBig {
			return "", bad()
		}
		base := map[byte]int{'x': 16, 'o': 8}[s.verb]
		switch n := v.(type) {
		case int32:
			text = strconv.FormatUint(uint64(uint32(n)), base)
		case int64:
			text = strconv.FormatUint(uint64(n), base)
		default:
			text = asBig(v).Text(base)
		}
		if has("#") {
			text = map[byte]string{'x': "0x", 'o': "0"}[s.verb] + text
		}
	case s.verb == 'f' || s.verb == 'e' || s.verb == 'g':
		if rankOf(v) == notNumber || rankOf(v) < rankDecimal {
			return "", bad()
		}
		places := s.precision
		if places < 0 {
			places = 6
		}
		d := asDecimal(v)
		switch {
		case d == nil:
			text = javaDouble(asFloat(v))
		case s.verb == 'f' && abs(d.Scale) < maxScale:
			text = signed(d.round(places).plainString(), s)
		default:
			text = signed(strconv.FormatFloat(asFloat(v), s.verb, places, 64), s)
		}
	case s.verb == 't':
		d, ok := v.(*Date)
		if !ok {
			if rankOf(v) == notNumber {
				return "", bad()
			}
			d = &Date{time.UnixMilli(asInt64(v)).UTC()}
		}
		layout := map[byte]string{'Y': "yyyy", 'm': "MM", 'd': "dd", 'H': "HH", 'M': "mm", 'S': "ss", 'F': "yyyy-MM-dd", 'T': "HH:mm:ss", 'B': "MMMM", 'b': "MMM", 'A': "EEEE", 'a': "EEE", 'y': "yy", 'L': "SSS", 'D': "MM/dd/yy", 'R': "HH:mm", 'Z': "zzz", 'z': "Z"}[s.date]
		if layout == "" {
			return "", bad()
		}
		text = formatDate(d.Time, layout)
	}
	if err != nil {
		return "", err
	}
	if s.verb == 's' && s.precision >= 0 && utf8.RuneCountInString(text) > s.precision {
		text = string([]rune(text)[:s.precision])
	}
	if s.upper {
		text = strings.ToUpper(text)
	}
	if missing := s.width - utf8.RuneCountInString(text); missing > 0 {
		switch {
		case has("-"):
			text += strings.Repeat(" ", missing)
		case has("0") && s.verb != 's':
			sign := ""
			if text != "" && strings.IndexByte("+-", text[0]) >= 0 {
				sign, text = text[:1], text[1:]
			}
			text = sign + strings.Repeat("0", missing) + text
		default:
			text = strings.Repeat(" ", missing) + text
		}
	}
	return text, nil
}

// signed adds a sign and separators of thousands, as the flags say.
func signed(text string, s spec) string {
	sign := ""
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		sign, text = "-", rest
	} else if strings.Contains(s.flags, "+") {
		sign = "+"
	} else if strings.Contains(s.flags, " ") {
		sign = " "
	}
	if strings.Contains(s.flags, ",") {
		whole, frac, dotted := strings.Cut(text, ".")
		for i := len(whole) - 3; i > 0; i -= 3 {
			whole = whole[:i] + "," + whole[i:]
		}
		text = whole
		if dotted {
			text += "." + frac
		}
	}
	if sign == "-" && strings.Contains(s.flags, "(") {
		return "(" + text + ")"
	}
	return sign + text
}
