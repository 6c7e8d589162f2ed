package groovy

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

// makerMethod calls a method of an object of one of the small classes.
func (t *Thread) makerMethod(m *maker, name string, args []Value) (Value, error) {
	switch m.class {
	case "groovy.json.JsonSlurper", "groovy.json.JsonSlurperClassic":
		switch name {
		case "parseText":
			s, err := t.Text(single(args))
			if err != nil {
				return nil, err
			}
			return t.parseJSON(s)
		case "setType":
			return m, nil
		}
	case "groovy.json.JsonBuilder":
		switch name {
		case "toString":
			return t.FormatJSON(single(m.args), false)
		case "toPrettyString":
			return t.FormatJSON(single(m.args), true)
		case "call":
			m.args = slices.Clone(args)
			return single(args), nil
		case "getContent":
			return single(m.args), nil
		}
	case "java.text.SimpleDateFormat":
		switch name {
		case "format":
			if d, ok := single(args).(*Date); ok {
				return t.dateMethod(d, "format", append([]Value{m.text(0)}, m.args[min(1, len(m.args)):]...))
			}
		case "parse":
			return t.parseDate([]Value{m.text(0), single(args)})
		case "setTimeZone":
			m.args = append(m.args[:min(1, len(m.args))], args...)
			return nil, nil
		case "setLenient":
			return nil, nil
		}
	case "groovy.json.JsonOutput":
		return t.staticMethod(t.in.builtin(m.class), name, args)
	case "java.util.Base64":
		return t.base64(m.text(0), name, args)
	case "java.util.concurrent.TimeUnit":
		unit := timeUnits[m.text(0)]
		to, ok := timeUnits[strings.ToUpper(strings.TrimPrefix(name, "to"))]
		switch {
		case name == "toString" || name == "name":
			return m.text(0), nil
		case name == "toMillis":
			to, ok = time.Millisecond, true
		case name == "toMicros":
			to, ok = time.Microsecond, true
		case name == "toNanos":
			to, ok = time.Nanosecond, true
		case name == "sleep":
			return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use method java.util.concurrent.TimeUnit sleep")
		}
		if ok && len(args) == 1 {
			if unit >= to {
				return asInt64(args[0]) * int64(unit/to), nil
			}
			return asInt64(args[0]) / int64(to/unit), nil
		}
	case "java.util.concurrent.atomic.AtomicInteger":
		old := asInt32(m.args[0])
		next := old
		switch name {
		case "get", "intValue", "toInteger":
			return old, nil
		case "set":
			next = asInt32(single(args))
		case "incrementAndGet", "getAndIncrement", "next":
			next = old + 1
		case "decrementAndGet", "getAndDecrement":
			next = old - 1
		case "addAndGet", "getAndAdd":
			next = old + asInt32(single(args))
		case "toString":
			return simpleText(old), nil
		default:
			return nil, ErrMissing
		}
		m.args[0] = next
		if strings.HasPrefix(name, "getAnd") {
			return old, nil
		}
		return next, nil
	}
	return nil, ErrMissing
}

func (t *Thread) base64(kind, name string, args []Value) (Value, error) {
	enc := base64.StdEncoding
	if strings.Contains(kind, "Url") {
		enc = base64.URLEncoding
	}
	var raw []byte
	switch v := single(args).(type) {
	case *List:
		for _, b := range v.Items {
			raw = append(raw, byte(asInt64(b)))
		}
	default:
		s, err := t.Text(v)
		if err != nil {
			return nil, err
		}
		raw = []byte(s)
	}
	if err := t.alloc(4 * len(raw)); err != nil {
		return nil, err
	}
	switch name {
	case "encodeToString":
		return enc.EncodeToString(raw), nil
	case "encode":
		return t.stringQuery(enc.EncodeToString(raw), "getBytes", nil)
	case "decode":
		out, err := enc.DecodeString(string(raw))
		if err != nil {
			return nil, t.Throw("java.lang.IllegalArgumentException", "Illegal base64 character")
		}
		return t.stringQuery(string(out), "getBytes", nil)
	case "withoutPadding":
		return nil, ErrMissing
	}
	return nil, ErrMissing
}

// maker is an object of a class whose only use is its methods: JsonSlurper,
// SimpleDateFormat and the like.
type maker struct {
	class string
	args  []Value
}

func (m *maker) text(i int) string {
	if i < len(m.args) {
		return plain(m.args[i])
	}
	return ""
}

func (t *Thread) randomMethod(r *Random, name string, args []Value) (Value, error) {
	switch name {
	case "nextInt":
		if len(args) == 1 {
			n := asInt64(args[0])
			if n <= 0 {
				return nil, t.Throw("java.lang.IllegalArgumentException", "bound must be positive")
			}
			return int32(r.next(n)), nil
		}
		return int32(r.next(1 << 32)), nil
	case "nextLong":
		return r.next(1 << 62), nil
	case "nextBoolean":
		return r.next(2) == 1, nil
	case "nextDouble", "nextFloat":
		return float64(r.next(1<<53)) / (1 << 53), nil
	}
	return nil, ErrMissing
}
