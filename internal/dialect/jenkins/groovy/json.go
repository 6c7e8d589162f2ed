package groovy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"
)

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
