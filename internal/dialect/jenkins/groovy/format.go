package groovy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
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

// layouts are the letters of SimpleDateFormat as Go's layouts, by how often
// the letter stands.
var layouts = map[string]string{
	"yyyy": "2006", "yyy": "2006", "yy": "06", "y": "2006", "YYYY": "2006", "uuuu": "2006",
	"MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1",
	"dd": "02", "d": "2", "EEEE": "Monday", "EEE": "Mon", "EE": "Mon", "E": "Mon",
	"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5",
	"a": "PM", "z": "MST", "zzz": "MST", "zzzz": "MST", "Z": "-0700", "X": "Z07", "XX": "Z0700", "XXX": "Z07:00",
}

// formatDate writes a time as SimpleDateFormat does.
func formatDate(at time.Time, pattern string) string {
	var b strings.Builder
	eachField(pattern, func(field string, literal bool) {
		switch layout := layouts[field]; {
		case literal:
			b.WriteString(field)
		case layout != "":
			b.WriteString(at.Format(layout))
		default:
			n := 0
			switch field[0] {
			case 'S':
				n = at.Nanosecond() / 1e6
			case 'H':
				n = at.Hour()
			case 'k':
				n = (at.Hour()+23)%24 + 1
			case 'K':
				n = at.Hour() % 12
			case 'D':
				n = at.YearDay()
			case 'w':
				_, n = at.ISOWeek()
			case 'u':
				n = (int(at.Weekday())+6)%7 + 1
			case 'F':
				n = (at.Day()-1)/7 + 1
			case 'G':
				b.WriteString("AD")
				return
			}
			fmt.Fprintf(&b, "%0*d", min(len(field), 9), n)
		}
	})
	return b.String()
}

// eachField goes through the letters and the literal parts of a date pattern.
func eachField(pattern string, fn func(field string, literal bool)) {
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(pattern[i+1:], '\'')
			switch {
			case end == 0:
				fn("'", true)
			case end < 0:
				fn(pattern[i+1:], true)
				return
			default:
				fn(pattern[i+1:i+1+end], true)
			}
			i += end + 2
		case letter(c):
			j := i
			for j < len(pattern) && pattern[j] == c {
				j++
			}
			fn(pattern[i:j], false)
			i = j
		default:
			fn(pattern[i:i+1], true)
			i++
		}
	}
}

func (t *Thread) parseDate(args []Value) (Value, error) {
	p, err := t.texts(args)
	if err != nil {
		return nil, err
	}
	var layout strings.Builder
	eachField(p[0], func(field string, literal bool) {
		switch {
		case literal:
			layout.WriteString(field)
		case field[0] == 'S':
			layout.WriteString(strings.Repeat("0", min(len(field), 9)))
		case layouts[field] != "":
			layout.WriteString(layouts[field])
		case field[0] == 'H':
			layout.WriteString("15")
		}
	})
	at, err := time.Parse(layout.String(), p[1])
	if err != nil {
		return nil, t.Throw("java.text.ParseException", "Unparseable date: %q", p[1])
	}
	return &Date{at.UTC()}, nil
}

func (t *Thread) dateMethod(d *Date, name string, args []Value) (Value, error) {
	switch name {
	case "getTime", "toEpochMilli":
		return d.Time.UnixMilli(), nil
	case "format":
		pattern := "yyyy-MM-dd"
		if len(args) > 0 {
			pattern = plain(args[0])
		}
		at := d.Time
		if len(args) == 2 {
			if zone, err := time.LoadLocation(strings.TrimPrefix(plain(args[1]), "GMT+")); err == nil {
				at = at.In(zone)
			}
		}
		return formatDate(at, pattern), nil
	case "before", "after", "compareTo", "equals":
		other, ok := single(args).(*Date)
		if !ok {
			return false, nil
		}
		switch name {
		case "before":
			return d.Time.Before(other.Time), nil
		case "after":
			return d.Time.After(other.Time), nil
		case "equals":
			return d.Time.Equal(other.Time), nil
		}
		return int32(d.Time.Compare(other.Time)), nil
	case "plus", "minus":
		if other, ok := single(args).(*Date); ok && name == "minus" {
			return int32(d.Time.Sub(other.Time).Hours() / 24), nil
		}
		if rankOf(single(args)) != notNumber {
			days := int(asInt32(args[0]))
			if name == "minus" {
				days = -days
			}
			return &Date{d.Time.AddDate(0, 0, days)}, nil
		}
	case "next", "previous":
		days := 1
		if name == "previous" {
			days = -1
		}
		return &Date{d.Time.AddDate(0, 0, days)}, nil
	case "clearTime":
		y, m, day := d.Time.Date()
		d.Time = time.Date(y, m, day, 0, 0, 0, 0, d.Time.Location())
		return d, nil
	case "setTime":
		d.Time = time.UnixMilli(asInt64(single(args))).UTC()
		return nil, nil
	case "getYear":
		return int32(d.Time.Year() - 1900), nil
	case "getMonth":
		return int32(d.Time.Month()) - 1, nil
	case "getDate":
		return int32(d.Time.Day()), nil
	case "getDay":
		return int32(d.Time.Weekday()), nil
	case "getHours":
		return int32(d.Time.Hour()), nil
	case "getMinutes":
		return int32(d.Time.Minute()), nil
	case "getSeconds":
		return int32(d.Time.Second()), nil
	case "toInstant", "toCalendar", "clone":
		return &Date{d.Time}, nil
	case "getDateString":
		return formatDate(d.Time, "MM/dd/yy"), nil
	case "getTimeString":
		return formatDate(d.Time, "h:mm:ss a"), nil
	case "toGMTString":
		return formatDate(d.Time, "d MMM yyyy HH:mm:ss 'GMT'"), nil
	}
	return nil, ErrMissing
}

// ParseJSON reads JSON as JsonSlurper does: objects are maps in the order in
// which they are written, numbers with a point BigDecimal.
func ParseJSON(text string) (Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := readJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is something after the end of the value")
	}
	return v, nil
}

func readJSON(d *json.Decoder, depth int) (Value, error) {
	if depth > maxDepthText {
		return nil, fmt.Errorf("nested more than %d deep", maxDepthText)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Number:
		return jsonNumber(string(v))
	case json.Delim:
		if v == '[' {
			l := &List{}
			for d.More() {
				item, err := readJSON(d, depth+1)
				if err != nil {
					return nil, err
				}
				l.Items = append(l.Items, item)
			}
			_, err := d.Token()
			return l, err
		}
		m := NewMap()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			item, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			m.Put(k.(string), item)
		}
		_, err := d.Token()
		return m, err
	}
	return token, nil
}

func jsonNumber(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		return parseDecimal(s)
	}
	if len(s) > maxDigits {
		return nil, fmt.Errorf("a number of more than %d digits", maxDigits)
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no number", s)
	}
	return narrow(n), nil
}

func (t *Thread) parseJSON(s string) (Value, error) {
	if err := t.alloc(8 * len(s)); err != nil {
		return nil, err
	}
	if strings.TrimSpace(s) == "" {
		return nil, t.Throw("java.lang.IllegalArgumentException", "Text must not be null or empty")
	}
	v, err := ParseJSON(s)
	if err != nil {
		return nil, t.Throw("groovy.json.JsonException", "Unable to parse the JSON: %s", err)
	}
	return v, nil
}

// FormatJSON writes a value as JsonOutput does.
func (t *Thread) FormatJSON(v Value, pretty bool) (string, error) {
	var b bytes.Buffer
	if err := t.writeJSON(&b, v, 0); err != nil {
		return "", err
	}
	if !pretty {
		return b.String(), nil
	}
	return t.indentJSON(b.String())
}

func (t *Thread) writeJSON(b *bytes.Buffer, v Value, depth int) error {
	if depth > maxDepthText {
		return t.Throw("java.lang.StackOverflowError", "")
	}
	if err := t.alloc(16); err != nil {
		return err
	}
	switch o := v.(type) {
	case nil:
		b.WriteString("null")
	case bool, int32, int64, *big.Int, *Decimal:
		b.WriteString(simpleText(o))
	case float64:
		if math.IsNaN(o) || math.IsInf(o, 0) {
			return t.Throw("groovy.json.JsonException", "Number %s can't be serialized as JSON: infinite or NaN are not allowed in JSON.", javaDouble(o))
		}
		b.WriteString(javaDouble(o))
	case string, *GString, *Builder:
		s, err := t.Text(o)
		if err != nil {
			return err
		}
		quoteJSON(b, s)
		return t.alloc(len(s))
	case *Map:
		b.WriteByte('{')
		first := true
		for k, x := range o.All() {
			if !first {
				b.WriteByte(',')
			}
			first = false
			s, err := t.Text(k)
			if err != nil {
				return err
			}
			quoteJSON(b, s)
			b.WriteByte(':')
			if err := t.writeJSON(b, x, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case *List, *Set, *Range:
		items, err := t.iterate(o)
		if err != nil {
			return err
		}
		b.WriteByte('[')
		for i, x := range items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := t.writeJSON(b, x, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case *Entry:
		return t.writeJSON(b, MapOf("key", o.Key, "value", o.Value), depth+1)
	case *Date:
		quoteJSON(b, formatDate(o.Time.UTC(), "yyyy-MM-dd'T'HH:mm:ssZ"))
	case *maker:
		if o.class == "groovy.json.JsonBuilder" {
			return t.writeJSON(b, single(o.args), depth+1)
		}
		quoteJSON(b, plain(o))
	case *Object:
		if o.class.is("java.lang.Enum", 0) {
			quoteJSON(b, plain(o.fields["name"]))
			return nil
		}
		m := NewMap()
		for c := o.class; c != nil; c = c.super {
			for _, fd := range c.fields {
				if !fd.mods.Has("static") && !fd.mods.Has("private") {
					x, err := t.property(o, fd.decl.Name)
					if err != nil {
						return err
					}
					m.Put(fd.decl.Name, x)
				}
			}
		}
		return t.writeJSON(b, m, depth+1)
	default:
		s, err := t.Text(o)
		if err != nil {
			return err
		}
		quoteJSON(b, s)
	}
	if b.Len() > maxValue {
		return t.alloc(b.Len())
	}
	return nil
}

// quoteJSON writes a string as JsonOutput does: ASCII only.
func quoteJSON(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || r > 0x7e:
			for _, u := range utf16s(string(r)) {
				fmt.Fprintf(b, `\u%04x`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// indentJSON writes JSON on many lines, as JsonOutput.prettyPrint does.
func (t *Thread) indentJSON(s string) (string, error) {
	var b strings.Builder
	var err error
	depth := 0
	line := func() {
		err = t.alloc(4*depth + 16)
		b.WriteByte('\n')
		b.WriteString(strings.Repeat("    ", depth))
	}
	for i := 0; i < len(s) && err == nil; i++ {
		switch c := s[i]; c {
		case '"':
			j := i + 1
			for s[j] != '"' {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			b.WriteString(s[i : j+1])
			i = j
		case '{', '[':
			b.WriteByte(c)
			depth++
			line()
		case '}', ']':
			depth--
			line()
			b.WriteByte(c)
		case ',':
			b.WriteByte(c)
			line()
		case ':':
			b.WriteString(": ")
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), err
}
