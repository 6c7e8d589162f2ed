package groovy

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// The limits of numbers: larger ones take more time than they are worth.
const (
	maxDigits = 10_000
	maxScale  = 10_000
	maxBits   = 40_000
)

// rank orders the kinds of numbers by what an operation of two gives: the
// higher, except that a Double with anything is a Double.
type rank int

const (
	notNumber rank = iota
	rankInt
	rankLong
	rankBig
	rankDecimal
	rankDouble
)

func rankOf(v Value) rank {
	switch v.(type) {
	case int32:
		return rankInt
	case int64:
		return rankLong
	case *big.Int:
		return rankBig
	case *Decimal:
		return rankDecimal
	case float64:
		return rankDouble
	}
	return notNumber
}

// integer is the smallest of Integer and Long that holds n.
func integer(n int64) Value {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return int32(n)
	}
	return n
}

// narrow is the smallest kind of integer that holds n.
func narrow(n *big.Int) Value {
	if n.IsInt64() {
		return integer(n.Int64())
	}
	return n
}

func asInt64(v Value) int64 {
	switch v := v.(type) {
	case int32:
		return int64(v)
	case int64:
		return v
	case *big.Int:
		return int64(new(big.Int).And(v, maxUint64).Uint64())
	case *Decimal:
		return asInt64(v.integer())
	case float64:
		switch {
		case v != v:
			return 0
		case v >= math.MaxInt64:
			return math.MaxInt64
		case v <= math.MinInt64:
			return math.MinInt64
		}
		return int64(v)
	}
	return 0
}

var maxUint64 = new(big.Int).SetUint64(math.MaxUint64)

// asInt32 is a number as an Integer, with Java's way of cutting off.
func asInt32(v Value) int32 {
	if f, ok := v.(float64); ok {
		switch {
		case f >= math.MaxInt32:
			return math.MaxInt32
		case f <= math.MinInt32:
			return math.MinInt32
		}
	}
	return int32(asInt64(v))
}

func asBig(v Value) *big.Int {
	switch v := v.(type) {
	case int32:
		return big.NewInt(int64(v))
	case int64:
		return big.NewInt(v)
	case *big.Int:
		return v
	case *Decimal:
		return v.integer()
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return new(big.Int)
		}
		n, _ := big.NewFloat(v).Int(nil)
		return n
	}
	return new(big.Int)
}

func asFloat(v Value) float64 {
	switch v := v.(type) {
	case int32:
		return float64(v)
	case int64:
		return float64(v)
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f
	case *Decimal:
		return v.float()
	case float64:
		return v
	}
	return 0
}

// asDecimal is a number as a BigDecimal; nil for one that is not finite.
func asDecimal(v Value) *Decimal {
	switch v := v.(type) {
	case *Decimal:
		return v
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil
		}
		d, err := parseDecimal(javaDouble(v))
		if err != nil {
			return nil
		}
		return d
	}
	return &Decimal{asBig(v), 0}
}

// parseDecimal reads a BigDecimal.
func parseDecimal(s string) (*Decimal, error) {
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+"))
		if err != nil || n > maxScale || n < -maxScale {
			return nil, fmt.Errorf("the exponent %q is no number, or too large", s[i+1:])
		}
		mantissa, exponent = s[:i], n
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits := whole + frac
	if strings.Trim(digits, "+-") == "" || strings.Contains(digits, "_") {
		return nil, fmt.Errorf("%q is no number", s)
	}
	if len(digits) > maxDigits {
		return nil, fmt.Errorf("more than %d digits", maxDigits)
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no number", s)
	}
	return &Decimal{n, len(frac) - exponent}, nil
}

func pow10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(min(n, 2*maxScale))), nil)
}

// integer is the number without its fraction.
func (d *Decimal) integer() *big.Int {
	if d.Scale <= 0 {
		return new(big.Int).Mul(d.Unscaled, pow10(-d.Scale))
	}
	return new(big.Int).Quo(d.Unscaled, pow10(d.Scale))
}

func (d *Decimal) float() float64 {
	f, _ := strconv.ParseFloat(d.Unscaled.String()+"e"+strconv.Itoa(-d.Scale), 64)
	return f
}

// rescale is the same number with a larger scale.
func (d *Decimal) rescale(scale int) *big.Int {
	if scale <= d.Scale {
		return d.Unscaled
	}
	return new(big.Int).Mul(d.Unscaled, pow10(scale-d.Scale))
}

// round is the number with at most scale digits behind the point, ties away
// from zero.
func (d *Decimal) round(scale int) *Decimal {
	if d.Scale <= scale {
		return &Decimal{d.rescale(scale), scale}
	}
	return &Decimal{divideHalfUp(d.Unscaled, pow10(d.Scale-scale)), scale}
}

// divideHalfUp divides and rounds to the nearest, ties away from zero.
func divideHalfUp(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Abs(r).Lsh(r, 1).CmpAbs(b) >= 0 {
		if a.Sign()*b.Sign() < 0 {
			q.Sub(q, big.NewInt(1))
		} else {
			q.Add(q, big.NewInt(1))
		}
	}
	return q
}

func (d *Decimal) precision() int {
	if d.Unscaled.Sign() == 0 {
		return 1
	}
	return len(new(big.Int).Abs(d.Unscaled).String())
}

// strip takes zeros at the end away down to a scale.
func (d *Decimal) strip(least int) *Decimal {
	n, scale := d.Unscaled, d.Scale
	ten := big.NewInt(10)
	for scale > least {
		q, r := new(big.Int).QuoRem(n, ten, new(big.Int))
		if r.Sign() != 0 {
			break
		}
		n, scale = q, scale-1
	}
	return &Decimal{n, scale}
}

// String is the number as Java writes it: with an exponent when it is small.
func (d *Decimal) String() string {
	digits := new(big.Int).Abs(d.Unscaled).String()
	sign := ""
	if d.Unscaled.Sign() < 0 {
		sign = "-"
	}
	exponent := len(digits) - 1 - d.Scale
	switch {
	case d.Scale == 0:
		return sign + digits
	case d.Scale > 0 && exponent >= -6:
		if point := len(digits) - d.Scale; point > 0 {
			return sign + digits[:point] + "." + digits[point:]
		}
		return sign + "0." + strings.Repeat("0", d.Scale-len(digits)) + digits
	}
	s := sign + digits[:1]
	if len(digits) > 1 {
		s += "." + digits[1:]
	}
	return fmt.Sprintf("%sE%+d", s, exponent)
}

// plainString is the number without an exponent.
func (d *Decimal) plainString() string {
	if d.Scale <= 0 {
		return d.integer().String()
	}
	digits := new(big.Int).Abs(d.Unscaled).String()
	sign := ""
	if d.Unscaled.Sign() < 0 {
		sign = "-"
	}
	if pad := d.Scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	return sign + digits[:len(digits)-d.Scale] + "." + digits[len(digits)-d.Scale:]
}

// javaDouble writes a Double as Java does.
func javaDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0 && math.Signbit(f):
		return "-0.0"
	case f == 0:
		return "0.0"
	}
	if abs := math.Abs(f); abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	s := strconv.FormatFloat(f, 'E', -1, 64)
	mantissa, exp, _ := strings.Cut(s, "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exp)
	return mantissa + "E" + strconv.Itoa(n)
}

// arithmetic computes a op b for numbers. The message says what Java says
// when it cannot: division by zero.
func arithmetic(op byte, a, b Value) (v Value, message string) {
	r := max(rankOf(a), rankOf(b))
	switch op {
	case '/':
		return divide(a, b, r)
	case '%':
		return remainder(a, b, r)
	case 'p':
		return power(a, b)
	}
	switch r {
	case rankInt:
		x, y := a.(int32), b.(int32)
		switch op {
		case '+':
			return x + y, ""
		case '-':
			return x - y, ""
		default:
			return x * y, ""
		}
	case rankLong:
		x, y := asInt64(a), asInt64(b)
		switch op {
		case '+':
			return x + y, ""
		case '-':
			return x - y, ""
		default:
			return x * y, ""
		}
	case rankBig:
		x, y := asBig(a), asBig(b)
		z := new(big.Int)
		switch op {
		case '+':
			z.Add(x, y)
		case '-':
			z.Sub(x, y)
		default:
			if x.BitLen()+y.BitLen() > maxBits {
				return nil, "BigInteger would overflow supported range"
			}
			z.Mul(x, y)
		}
		return z, ""
	case rankDouble:
		x, y := asFloat(a), asFloat(b)
		switch op {
		case '+':
			return x + y, ""
		case '-':
			return x - y, ""
		default:
			return x * y, ""
		}
	}
	x, y := asDecimal(a), asDecimal(b)
	if x.Unscaled.BitLen()+y.Unscaled.BitLen() > maxBits || abs(x.Scale)+abs(y.Scale) > maxScale {
		return nil, "Overflow"
	}
	if op == '*' {
		return &Decimal{new(big.Int).Mul(x.Unscaled, y.Unscaled), x.Scale + y.Scale}, ""
	}
	scale := max(x.Scale, y.Scale)
	p, q := x.rescale(scale), y.rescale(scale)
	if op == '+' {
		return &Decimal{new(big.Int).Add(p, q), scale}, ""
	}
	return &Decimal{new(big.Int).Sub(p, q), scale}, ""
}

func abs(n int) int { return max(n, -n) }

// divide is /, which of integers gives a BigDecimal.
func divide(a, b Value, r rank) (Value, string) {
	if r == rankDouble {
		return asFloat(a) / asFloat(b), ""
	}
	x, y := asDecimal(a), asDecimal(b)
	if y.Unscaled.Sign() == 0 {
		return nil, "Division by zero"
	}
	if abs(x.Scale)+abs(y.Scale) > maxScale || x.Unscaled.BitLen()+y.Unscaled.BitLen() > maxBits {
		return nil, "Overflow"
	}
	// What can be written exactly is, with the scale Java prefers; the rest
	// has ten digits more than the longer of the two, and ten behind the point.
	prefer := x.Scale - y.Scale
	if x.Unscaled.Sign() == 0 {
		return &Decimal{new(big.Int), max(prefer, 0)}, ""
	}
	if exact := exactQuotient(x, y); exact != nil {
		return exact.strip(prefer), ""
	}
	digits := max(x.precision(), y.precision()) + 10
	scale := digits + y.precision() - x.precision() + prefer + 3
	num, den := x.Unscaled, y.Unscaled
	if shift := scale - prefer; shift >= 0 {
		num = new(big.Int).Mul(num, pow10(shift))
	} else {
		den = new(big.Int).Mul(den, pow10(-shift))
	}
	q := &Decimal{divideHalfUp(num, den), scale}
	if extra := q.precision() - digits; extra > 0 {
		q = q.round(q.Scale - extra)
	}
	if least := max(x.Scale, y.Scale, 10); q.Scale > least {
		q = q.round(least)
	}
	return q, ""
}

// exactQuotient is x / y when it has an end, else nil.
func exactQuotient(x, y *Decimal) *Decimal {
	g := new(big.Int).GCD(nil, nil, new(big.Int).Abs(x.Unscaled), new(big.Int).Abs(y.Unscaled))
	den := new(big.Int).Quo(y.Unscaled, g)
	num := new(big.Int).Quo(x.Unscaled, g)
	rest := new(big.Int).Abs(den)
	count := func(n int64) (times int) {
		d := big.NewInt(n)
		for {
			q, r := new(big.Int).QuoRem(rest, d, new(big.Int))
			if r.Sign() != 0 {
				return times
			}
			rest = q
			times++
		}
	}
	twos, fives := count(2), count(5)
	if rest.Cmp(big.NewInt(1)) != 0 {
		return nil
	}
	shift := max(twos, fives)
	return &Decimal{new(big.Int).Quo(new(big.Int).Mul(num, pow10(shift)), den), x.Scale - y.Scale + shift}
}

func remainder(a, b Value, r rank) (Value, string) {
	switch r {
	case rankDouble:
		return math.Mod(asFloat(a), asFloat(b)), ""
	case rankDecimal:
		x, y := asDecimal(a), asDecimal(b)
		if y.Unscaled.Sign() == 0 {
			return nil, "Division by zero"
		}
		if abs(x.Scale)+abs(y.Scale) > maxScale {
			return nil, "Overflow"
		}
		scale := max(x.Scale, y.Scale)
		return &Decimal{new(big.Int).Rem(x.rescale(scale), y.rescale(scale)), scale}, ""
	case rankBig:
		if asBig(b).Sign() == 0 {
			return nil, "BigInteger divide by zero"
		}
		return new(big.Int).Rem(asBig(a), asBig(b)), ""
	}
	if asInt64(b) == 0 {
		return nil, "Division by zero"
	}
	if r == rankInt {
		return int32(int64(a.(int32)) % int64(b.(int32))), ""
	}
	if asInt64(b) == -1 {
		return int64(0), ""
	}
	return asInt64(a) % asInt64(b), ""
}

// power is **: as small an integer as holds the result.
func power(a, b Value) (Value, string) {
	exponent, ok := b.(int32)
	if !ok || rankOf(a) == rankDouble || exponent < 0 {
		f := math.Pow(asFloat(a), asFloat(b))
		if rankOf(a) <= rankLong && rankOf(b) <= rankLong && f == math.Trunc(f) && math.Abs(f) < math.MaxInt32 {
			return int32(f), ""
		}
		return f, ""
	}
	if d, ok := a.(*Decimal); ok {
		if int64(d.Unscaled.BitLen())*int64(exponent) > maxBits || int64(abs(d.Scale))*int64(exponent) > maxScale {
			return nil, "Overflow"
		}
		return &Decimal{new(big.Int).Exp(d.Unscaled, big.NewInt(int64(exponent)), nil), d.Scale * int(exponent)}, ""
	}
	n := asBig(a)
	if int64(n.BitLen())*int64(exponent) > maxBits {
		return nil, "BigInteger would overflow supported range"
	}
	n = new(big.Int).Exp(n, big.NewInt(int64(exponent)), nil)
	if _, ok := a.(*big.Int); ok {
		return n, ""
	}
	return narrow(n), ""
}

// compareNumbers is -1, 0 or 1. NaN is the largest, as Java sorts it.
func compareNumbers(a, b Value) int {
	switch max(rankOf(a), rankOf(b)) {
	case rankInt, rankLong:
		x, y := asInt64(a), asInt64(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	case rankBig:
		return asBig(a).Cmp(asBig(b))
	case rankDouble:
		x, y := asFloat(a), asFloat(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		case x == y:
			return 0
		case x == x:
			return -1
		case y == y:
			return 1
		}
		return 0
	}
	x, y := asDecimal(a), asDecimal(b)
	if abs(x.Scale-y.Scale) > maxScale {
		xf, yf := x.float(), y.float()
		if xf < yf {
			return -1
		}
		return 1
	}
	scale := max(x.Scale, y.Scale)
	return x.rescale(scale).Cmp(y.rescale(scale))
}

// negate is the unary minus.
func negate(v Value) Value {
	switch v := v.(type) {
	case int32:
		return -v
	case int64:
		return -v
	case *big.Int:
		return new(big.Int).Neg(v)
	case *Decimal:
		return &Decimal{new(big.Int).Neg(v.Unscaled), v.Scale}
	case float64:
		return -v
	}
	return nil
}

// bitwise computes & | ^ << >> >>> of integers.
func bitwise(op string, a, b Value) (Value, bool) {
	ra, rb := rankOf(a), rankOf(b)
	if ra == notNumber || rb == notNumber || ra > rankBig || rb > rankBig {
		return nil, false
	}
	n := asInt64(b)
	switch op {
	case "<<", ">>", ">>>":
		switch x := a.(type) {
		case int32:
			s := uint(n & 31)
			switch op {
			case "<<":
				return x << s, true
			case ">>":
				return x >> s, true
			}
			return int32(uint32(x) >> s), true
		case int64:
			s := uint(n & 63)
			switch op {
			case "<<":
				return x << s, true
			case ">>":
				return x >> s, true
			}
			return int64(uint64(x) >> s), true
		}
		if n < 0 || n > maxBits || op == "<<" && asBig(a).BitLen()+int(n) > maxBits {
			return nil, false
		}
		if op == "<<" {
			return new(big.Int).Lsh(asBig(a), uint(n)), true
		}
		return new(big.Int).Rsh(asBig(a), uint(n)), true
	}
	if max(ra, rb) == rankBig {
		x, y, z := asBig(a), asBig(b), new(big.Int)
		switch op {
		case "&":
			return z.And(x, y), true
		case "|":
			return z.Or(x, y), true
		}
		return z.Xor(x, y), true
	}
	x := asInt64(a)
	switch op {
	case "&":
		x &= n
	case "|":
		x |= n
	default:
		x ^= n
	}
	if max(ra, rb) == rankInt {
		return int32(x), true
	}
	return x, true
}
