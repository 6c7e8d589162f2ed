package groovy

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

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

const (
	maxDigits = 10_000 // of a number
	maxScale  = 10_000 // of a Decimal
)
