package groovy

import (
	"math"
	"math/big"
	"strconv"
)

func (t *Thread) boolMethod(b bool, name string, args []Value) (Value, error) {
	switch name {
	case "booleanValue", "asBoolean":
		return b, nil
	case "and", "or", "xor", "implies":
		if len(args) == 1 {
			o, err := t.Truth(args[0])
			if err != nil {
				return nil, err
			}
			switch name {
			case "and":
				return b && o, nil
			case "or":
				return b || o, nil
			case "xor":
				return b != o, nil
			}
			return !b || o, nil
		}
	case "toBoolean":
		return b, nil
	}
	return nil, ErrMissing
}

// numberOperators are the methods that operators are.
var numberOperators = map[string]string{
	"plus": "+", "minus": "-", "multiply": "*", "div": "/", "mod": "%", "remainder": "%", "power": "**", "and": "&", "or": "|", "xor": "^",
	"leftShift": "<<", "rightShift": ">>", "rightShiftUnsigned": ">>>", "add": "+", "subtract": "-", "pow": "**",
}

func (t *Thread) numberMethod(v Value, name string, args []Value) (Value, error) {
	if op, ok := numberOperators[name]; ok && len(args) == 1 {
		if rankOf(args[0]) != notNumber {
			return t.arithmetic(op, v, args[0])
		}
		if op == "+" {
			if s, ok, err := t.characters(args[0]); ok || err != nil {
				return simpleText(v) + s, err
			}
		}
		return nil, ErrMissing
	}
	switch name {
	case "toInteger", "intValue":
		return asInt32(v), nil
	case "toLong", "longValue":
		return asInt64(v), nil
	case "toDouble", "doubleValue", "toFloat", "floatValue":
		return asFloat(v), nil
	case "toBigDecimal":
		return convertNumber("BigDecimal", v), nil
	case "toBigInteger", "bigIntegerValue":
		return asBig(v), nil
	case "shortValue", "byteValue":
		return convertNumber(map[string]string{"shortValue": "Short", "byteValue": "Byte"}[name], v), nil
	case "negate", "unaryMinus", "negative":
		return negate(v), nil
	case "positive", "unaryPlus":
		return v, nil
	case "next":
		r, _ := arithmetic('+', v, int32(1))
		return r, nil
	case "previous":
		r, _ := arithmetic('-', v, int32(1))
		return r, nil
	case "abs":
		if compareNumbers(v, int32(0)) < 0 {
			return negate(v), nil
		}
		return v, nil
	case "intdiv":
		if len(args) == 1 && rankOf(args[0]) != notNumber {
			if asBig(args[0]).Sign() == 0 {
				return nil, t.Throw("java.lang.ArithmeticException", "Division by zero")
			}
			q := new(big.Int).Quo(asBig(v), asBig(args[0]))
			switch max(rankOf(v), rankOf(args[0])) {
			case rankInt:
				return int32(q.Int64()), nil
			case rankLong:
				return q.Int64(), nil
			}
			return q, nil
		}
	case "times":
		if c, ok := single(args).(*Closure); ok {
			return nil, t.upTo(0, asInt64(v)-1, 1, func(n int64) (Value, error) { return t.Call(c, integer(n)) })
		}
	case "upto", "downto":
		if len(args) == 2 {
			step := int64(1)
			if name == "downto" {
				step = -1
			}
			return nil, t.upTo(asInt64(v), asInt64(args[0]), step, func(n int64) (Value, error) { return t.Call(args[1], integer(n)) })
		}
	case "step":
		if len(args) == 3 && asInt64(args[1]) != 0 {
			to, step := asInt64(args[0]), asInt64(args[1])
			if step > 0 {
				to--
			} else {
				to++
			}
			return nil, t.upTo(asInt64(v), to, step, func(n int64) (Value, error) { return t.Call(args[2], integer(n)) })
		}
	case "round":
		places := 0
		if len(args) == 1 {
			places = int(asInt32(args[0]))
		}
		switch n := v.(type) {
		case float64:
			if len(args) == 1 {
				p := math.Pow(10, float64(places))
				return math.Floor(n*p+0.5) / p, nil
			}
			return int64(math.Floor(n + 0.5)), nil
		case *Decimal:
			if len(args) == 1 && abs(places) < maxScale {
				return n.round(places), nil
			}
			return narrow(n.round(0).integer()), nil
		}
		return v, nil
	case "trunc", "floor", "ceil":
		f := asFloat(v)
		p := 1.0
		if len(args) == 1 {
			p = math.Pow(10, asFloat(args[0]))
		}
		switch name {
		case "trunc":
			return math.Trunc(f*p) / p, nil
		case "floor":
			return math.Floor(f*p) / p, nil
		}
		return math.Ceil(f*p) / p, nil
	case "setScale":
		if d := asDecimal(v); d != nil && len(args) >= 1 && abs(int(asInt32(args[0]))) < maxScale {
			return d.round(int(asInt32(args[0]))), nil
		}
	case "stripTrailingZeros":
		if d := asDecimal(v); d != nil {
			return d.strip(-maxScale), nil
		}
	case "toPlainString":
		if d := asDecimal(v); d != nil && abs(d.Scale) <= maxScale {
			return d.plainString(), nil
		}
	case "scale":
		if d, ok := v.(*Decimal); ok {
			return int32(d.Scale), nil
		}
	case "signum":
		return int32(compareNumbers(v, int32(0))), nil
	case "isNaN":
		f := asFloat(v)
		return f != f, nil
	case "isInfinite":
		return math.IsInf(asFloat(v), 0), nil
	case "max", "min":
		if len(args) == 1 && rankOf(args[0]) != notNumber {
			if (compareNumbers(v, args[0]) >= 0) == (name == "max") {
				return v, nil
			}
			return args[0], nil
		}
	case "toString":
		if len(args) == 1 {
			return strconv.FormatInt(asInt64(v), max(2, min(36, int(asInt32(args[0]))))), nil
		}
	case "isPowerOfTwo":
		n := asInt64(v)
		return n > 0 && n&(n-1) == 0, nil
	case "bitwiseNegate":
		return new(big.Int).Not(asBig(v)), nil
	}
	return nil, ErrMissing
}

// upTo counts and calls fn each time.
func (t *Thread) upTo(from, to, step int64, fn func(int64) (Value, error)) error {
	for n := from; (step > 0 && n <= to) || (step < 0 && n >= to); n += step {
		if err := t.tick(1); err != nil {
			return err
		}
		if _, err := fn(n); err != nil {
			return err
		}
	}
	return nil
}
