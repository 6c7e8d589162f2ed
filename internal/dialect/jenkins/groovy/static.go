package groovy

import (
	"fmt"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"
)

// staticField is a static field of a class of the language.
func (t *Thread) staticField(c *Class, name string) (Value, error) {
	switch c.Name + "." + name {
	case "java.lang.Integer.MAX_VALUE":
		return int32(math.MaxInt32), nil
	case "java.lang.Integer.MIN_VALUE":
		return int32(math.MinInt32), nil
	case "java.lang.Long.MAX_VALUE":
		return int64(math.MaxInt64), nil
	case "java.lang.Long.MIN_VALUE":
		return int64(math.MinInt64), nil
	case "java.lang.Double.MAX_VALUE":
		return math.MaxFloat64, nil
	case "java.lang.Double.NaN":
		return math.NaN(), nil
	case "java.lang.Double.POSITIVE_INFINITY":
		return math.Inf(1), nil
	case "java.lang.Double.NEGATIVE_INFINITY":
		return math.Inf(-1), nil
	case "java.lang.Boolean.TRUE":
		return true, nil
	case "java.lang.Boolean.FALSE":
		return false, nil
	case "java.lang.Math.PI":
		return math.Pi, nil
	case "java.lang.Math.E":
		return math.E, nil
	case "java.math.BigDecimal.ZERO", "java.math.BigDecimal.ONE", "java.math.BigDecimal.TEN":
		n := map[string]int64{"ZERO": 0, "ONE": 1, "TEN": 10}[name]
		return &Decimal{big.NewInt(n), 0}, nil
	case "java.math.BigInteger.ZERO", "java.math.BigInteger.ONE", "java.math.BigInteger.TEN":
		return big.NewInt(map[string]int64{"ZERO": 0, "ONE": 1, "TEN": 10}[name]), nil
	case "java.math.BigDecimal.ROUND_HALF_UP":
		return int32(4), nil
	case "java.lang.String.CASE_INSENSITIVE_ORDER":
		return comparator(func(call *Call) (Value, error) {
			if len(call.Args) != 2 {
				return nil, ErrMissing
			}
			return int32(compareText(strings.ToLower(plain(call.Args[0])), strings.ToLower(plain(call.Args[1])))), nil
		}), nil
	case "groovy.lang.Closure.OWNER_FIRST", "groovy.lang.Closure.DELEGATE_FIRST", "groovy.lang.Closure.OWNER_ONLY", "groovy.lang.Closure.DELEGATE_ONLY", "groovy.lang.Closure.TO_SELF":
		return int32(slices.Index([]string{"OWNER_FIRST", "DELEGATE_FIRST", "OWNER_ONLY", "DELEGATE_ONLY", "TO_SELF"}, name)), nil
	case "java.util.Locale.ENGLISH", "java.util.Locale.US", "java.util.Locale.ROOT", "java.util.Locale.UK", "java.util.Locale.GERMANY":
		return "en_US", nil
	case "java.nio.charset.StandardCharsets.UTF_8", "java.nio.charset.StandardCharsets.US_ASCII", "java.nio.charset.StandardCharsets.ISO_8859_1":
		return strings.ReplaceAll(name, "_", "-"), nil
	case "java.util.regex.Pattern.CASE_INSENSITIVE":
		return int32(2), nil
	case "java.util.regex.Pattern.MULTILINE":
		return int32(8), nil
	case "java.util.regex.Pattern.DOTALL":
		return int32(32), nil
	case "java.lang.System.out", "java.lang.System.err", "java.lang.System.in":
		return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use staticField %s %s", c.Name, name)
	case "java.util.Collections.EMPTY_LIST":
		return &List{Frozen: true}, nil
	case "java.util.Collections.EMPTY_MAP":
		return &Map{frozen: true}, nil
	}
	if c.Name == "java.util.concurrent.TimeUnit" {
		if _, ok := timeUnits[name]; ok {
			return &maker{class: c.Name, args: []Value{name}}, nil
		}
	}
	for _, method := range []string{getter(name), "is" + capital(name)} {
		if v, err := t.staticMethod(c, method, nil); err == nil || !isMissing(err) {
			return v, err
		}
		if v, err := t.classMethod(c, method, nil); err == nil || !isMissing(err) {
			return v, err
		}
	}
	return nil, ErrMissing
}

var timeUnits = map[string]time.Duration{
	"NANOSECONDS": time.Nanosecond, "MICROSECONDS": time.Microsecond, "MILLISECONDS": time.Millisecond,
	"SECONDS": time.Second, "MINUTES": time.Minute, "HOURS": time.Hour, "DAYS": 24 * time.Hour,
}

// comparator is a closure of two parameters that calls a function.
func comparator(fn Native) *Closure { return &Closure{native: fn, takes: 2} }

// staticMethod calls a static method of a class of the language.
func (t *Thread) staticMethod(c *Class, name string, args []Value) (Value, error) {
	refused := func() (Value, error) {
		return nil, t.Throw("org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException", "Scripts not permitted to use staticMethod %s %s", c.Name, name)
	}
	switch c.Name {
	case "java.lang.Math":
		return t.math(name, args)
	case "java.lang.System":
		switch name {
		case "currentTimeMillis":
			return t.now().UnixMilli(), nil
		case "nanoTime":
			return t.now().UnixNano(), nil
		case "lineSeparator":
			return "\n", nil
		case "identityHashCode":
			return t.hashCode(single(args)), nil
		case "getClass":
			return nil, ErrMissing
		}
		return refused()
	case "java.lang.Thread", "java.util.TimeZone":
		if name == "getTimeZone" {
			return t.Text(single(args))
		}
		if name == "getDefault" {
			return "UTC", nil
		}
		return refused()
	case "java.lang.Integer", "java.lang.Long", "java.lang.Double", "java.lang.Float", "java.math.BigDecimal", "java.math.BigInteger", "java.lang.Boolean", "java.lang.Character":
		return t.numberStatic(c, name, args)
	case "java.lang.String":
		switch name {
		case "format":
			if len(args) > 1 && args[0] == Value("en_US") {
				args = args[1:]
			}
			if len(args) == 2 {
				if l, ok := args[1].(*List); ok && l.Array {
					args = append([]Value{args[0]}, l.Items...)
				}
			}
			return t.format(args)
		case "valueOf", "copyValueOf":
			return t.Text(single(args))
		case "join":
			if len(args) > 0 {
				items := args[1:]
				if len(args) == 2 {
					if l, ok := sequence(args[1]); ok {
						items = l
					} else if s, ok := args[1].(*Set); ok {
						items = s.m.keys
					}
				}
				return t.listQuery(&List{Items: items}, "join", args[:1])
			}
		}
	case "java.util.Arrays":
		switch name {
		case "asList":
			if l, ok := single(args).(*List); ok && l.Array {
				return &List{Items: slices.Clone(l.Items)}, nil
			}
			return &List{Items: slices.Clone(args)}, nil
		case "toString":
			return t.Text(single(args))
		case "sort":
			if l, ok := single(args).(*List); ok {
				return t.listChange(l, "sort", nil)
			}
		}
	case "java.util.Collections":
		return t.collections(name, args)
	case "java.util.Objects":
		switch name {
		case "equals":
			if len(args) == 2 {
				return t.Equal(args[0], args[1])
			}
		case "requireNonNull":
			if len(args) > 0 && args[0] == nil {
				return nil, t.Throw("java.lang.NullPointerException", "%s", plainOrEmpty(args[len(args)-1]))
			}
			return args[0], nil
		case "isNull", "nonNull":
			return (single(args) == nil) == (name == "isNull"), nil
		case "toString":
			return t.Text(single(args))
		}
	case "java.util.UUID":
		switch name {
		case "randomUUID":
			var b [16]byte
			t.in.random.Read(b[:])
			b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
		case "fromString":
			return t.Text(single(args))
		}
	case "java.util.Base64":
		switch name {
		case "getEncoder", "getDecoder", "getUrlEncoder", "getUrlDecoder", "getMimeEncoder", "getMimeDecoder":
			return &maker{class: c.Name, args: []Value{name}}, nil
		}
	case "java.net.URLEncoder", "java.net.URLDecoder":
		if len(args) == 0 {
			break
		}
		s, err := t.Text(args[0])
		if err != nil {
			return nil, err
		}
		switch name {
		case "encode":
			return strings.NewReplacer("%2A", "*", "~", "%7E").Replace(url.QueryEscape(s)), t.alloc(3 * len(s))
		case "decode":
			out, err := url.QueryUnescape(s)
			if err != nil {
				return nil, t.Throw("java.lang.IllegalArgumentException", "URLDecoder: %s", err)
			}
			return out, nil
		}
	case "java.util.regex.Pattern":
		switch name {
		case "compile":
			if len(args) == 2 {
				s, err := t.Text(args[0])
				if err != nil {
					return nil, err
				}
				flags := ""
				for _, f := range []struct {
					bit  int64
					flag string
				}{{2, "i"}, {8, "m"}, {32, "s"}} {
					if asInt64(args[1])&f.bit != 0 {
						flags += f.flag
					}
				}
				if flags != "" {
					s = "(?" + flags + ")" + s
				}
				return t.pattern(s)
			}
			return t.patternOf(single(args))
		case "quote":
			s, err := t.Text(single(args))
			return quotePattern(s), err
		case "matches":
			if len(args) == 2 {
				return t.operate("==~", args[1], args[0])
			}
		}
	case "java.util.regex.Matcher":
		if name == "quoteReplacement" {
			s, err := t.Text(single(args))
			return strings.NewReplacer(`\`, `\\`, `$`, `\$`).Replace(s), err
		}
	case "groovy.json.JsonOutput":
		switch name {
		case "toJson":
			return t.FormatJSON(single(args), false)
		case "prettyPrint":
			s, err := t.Text(single(args))
			if err != nil {
				return nil, err
			}
			v, err := t.parseJSON(s)
			if err != nil {
				return nil, err
			}
			return t.FormatJSON(v, true)
		}
	case "java.util.Date":
		if name == "parse" && len(args) == 2 {
			return t.parseDate(args)
		}
	case "java.util.Calendar":
		return refused()
	case "java.util.concurrent.TimeUnit":
		if name == "valueOf" {
			return t.staticField(c, plainOrEmpty(single(args)))
		}
	}
	return nil, ErrMissing
}

func (t *Thread) numberStatic(c *Class, name string, args []Value) (Value, error) {
	class := lastPart(c.Name)
	if len(args) == 0 {
		return nil, ErrMissing
	}
	switch name {
	case "parseInt", "parseLong", "parseDouble", "parseFloat", "valueOf", "decode", "parseBoolean":
		if class == "Boolean" {
			if b, ok := args[0].(bool); ok {
				return b, nil
			}
			return args[0] != nil && strings.EqualFold(plain(args[0]), "true"), nil
		}
		if class == "Character" {
			return t.Text(args[0])
		}
		if args[0] == nil {
			return nil, t.Throw("java.lang.NumberFormatException", "null")
		}
		s, err := t.Text(args[0])
		if err != nil {
			return nil, err
		}
		if len(args) == 2 {
			n, ok := new(big.Int).SetString(s, max(2, min(36, int(asInt32(args[1])))))
			if !ok || len(s) > 100 {
				return nil, t.Throw("java.lang.NumberFormatException", "For input string: %q", s)
			}
			return convertNumber(class, n), nil
		}
		if rankOf(args[0]) != notNumber {
			return convertNumber(class, args[0]), nil
		}
		return t.parseNumber(class, s)
	case "toString":
		if len(args) == 2 {
			return t.numberMethod(args[0], "toString", args[1:])
		}
		return t.Text(args[0])
	case "toHexString", "toBinaryString", "toOctalString":
		base := map[string]int{"toHexString": 16, "toBinaryString": 2, "toOctalString": 8}[name]
		if n, ok := args[0].(int32); ok {
			return new(big.Int).SetUint64(uint64(uint32(n))).Text(base), nil
		}
		return new(big.Int).SetUint64(uint64(asInt64(args[0]))).Text(base), nil
	case "max", "min", "sum", "compare":
		if len(args) == 2 {
			switch name {
			case "sum":
				return t.operate("+", args[0], args[1])
			case "compare":
				n, err := t.compare(args[0], args[1])
				return int32(n), err
			}
			return t.math(name, args)
		}
	case "signum":
		return int32(compareNumbers(args[0], int32(0))), nil
	case "bitCount":
		n := uint32(asInt32(args[0]))
		count := int32(0)
		for ; n != 0; n &= n - 1 {
			count++
		}
		return count, nil
	case "isNaN":
		f := asFloat(args[0])
		return f != f, nil
	case "isDigit", "isLetter", "isLetterOrDigit", "isUpperCase", "isLowerCase", "isWhitespace":
		for _, r := range plain(args[0]) {
			return runeIs(name, r), nil
		}
		return false, nil
	case "toUpperCase", "toLowerCase":
		return changeText(plain(args[0]), name), nil
	case "getNumericValue":
		v, err := t.parseNumber("Integer", plain(args[0]))
		if err != nil {
			return int32(-1), nil
		}
		return v, nil
	}
	return nil, ErrMissing
}

func (t *Thread) math(name string, args []Value) (Value, error) {
	for _, a := range args {
		if rankOf(a) == notNumber {
			types, values := t.describe(args)
			return nil, t.Throw("groovy.lang.MissingMethodException", "No signature of method: static java.lang.Math.%s() is applicable for argument types: (%s) values: %s", name, types, values)
		}
	}
	one := map[string]func(float64) float64{
		"sqrt": math.Sqrt, "cbrt": math.Cbrt, "ceil": math.Ceil, "floor": math.Floor, "rint": math.RoundToEven, "exp": math.Exp, "log": math.Log,
		"log10": math.Log10, "sin": math.Sin, "cos": math.Cos, "tan": math.Tan, "asin": math.Asin, "acos": math.Acos, "atan": math.Atan,
		"toRadians": func(x float64) float64 { return x * math.Pi / 180 }, "toDegrees": func(x float64) float64 { return x * 180 / math.Pi },
	}
	switch len(args) {
	case 0:
		if name == "random" {
			return t.in.random.Float64(), nil
		}
	case 1:
		if fn, ok := one[name]; ok {
			return fn(asFloat(args[0])), nil
		}
		switch name {
		case "abs":
			return t.numberMethod(args[0], "abs", nil)
		case "round":
			return int64(math.Floor(asFloat(args[0]) + 0.5)), nil
		case "signum":
			return float64(compareNumbers(args[0], int32(0))), nil
		case "toIntExact":
			return asInt32(args[0]), nil
		}
	case 2:
		switch name {
		case "max", "min":
			r := max(rankOf(args[0]), rankOf(args[1]))
			v := args[0]
			if (compareNumbers(args[0], args[1]) < 0) == (name == "max") {
				v = args[1]
			}
			switch r {
			case rankLong:
				return asInt64(v), nil
			case rankDecimal, rankDouble:
				return asFloat(v), nil
			}
			return v, nil
		case "pow":
			return math.Pow(asFloat(args[0]), asFloat(args[1])), nil
		case "hypot":
			return math.Hypot(asFloat(args[0]), asFloat(args[1])), nil
		case "atan2":
			return math.Atan2(asFloat(args[0]), asFloat(args[1])), nil
		case "floorDiv", "floorMod":
			a, b := asInt64(args[0]), asInt64(args[1])
			if b == 0 {
				return nil, t.Throw("java.lang.ArithmeticException", "/ by zero")
			}
			m := new(big.Int).Mod(big.NewInt(a), big.NewInt(b)).Int64()
			if m != 0 && b < 0 {
				m += b
			}
			if name == "floorMod" {
				return integer(m), nil
			}
			return integer((a - m) / b), nil
		}
	}
	return nil, ErrMissing
}

func (t *Thread) collections(name string, args []Value) (Value, error) {
	switch name {
	case "emptyList":
		return &List{Frozen: true}, nil
	case "emptyMap":
		return &Map{frozen: true}, nil
	case "emptySet":
		return NewSet(), nil
	case "singletonList", "singleton":
		return &List{Items: slices.Clone(args), Frozen: true}, nil
	case "singletonMap":
		if len(args) == 2 {
			return MapOf(args...), nil
		}
	case "reverseOrder":
		return comparator(func(call *Call) (Value, error) {
			if len(call.Args) != 2 {
				return nil, ErrMissing
			}
			n, err := call.compare(call.Args[1], call.Args[0])
			return int32(n), err
		}), nil
	case "nCopies":
		if len(args) == 2 {
			return t.listMake(NewList(args[1]), "multiply", args[:1])
		}
	case "unmodifiableList", "unmodifiableMap", "unmodifiableSet", "unmodifiableCollection":
		return t.Invoke(single(args), "asImmutable")
	case "synchronizedList", "synchronizedMap", "synchronizedSet":
		return single(args), nil
	}
	if len(args) == 0 {
		return nil, ErrMissing
	}
	l, ok := args[0].(*List)
	if !ok {
		return nil, ErrMissing
	}
	switch name {
	case "sort":
		_, err := t.listChange(l, "sort", args[1:])
		return nil, err
	case "reverse":
		slices.Reverse(l.Items)
		return nil, nil
	case "shuffle":
		if len(args) == 2 {
			if r, ok := args[1].(*Random); ok {
				for i := len(l.Items) - 1; i > 0; i-- {
					j := r.next(int64(i) + 1)
					l.Items[i], l.Items[j] = l.Items[j], l.Items[i]
				}
				return nil, nil
			}
		}
		return t.listChange(l, "shuffle", nil)
	case "max", "min", "swap":
		return t.listMethod(l, name, args[1:])
	case "frequency":
		return t.listQuery(l, "count", args[1:])
	case "addAll":
		l.Items = append(l.Items, args[1:]...)
		return true, t.alloc(16 * len(args))
	}
	return nil, ErrMissing
}
