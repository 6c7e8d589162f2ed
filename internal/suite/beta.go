package suite

import "math"

// lnBeta is the logarithm of the beta function, for a and b above 0.
func lnBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// regularBeta is the regularised incomplete beta function I_x(a, b): the
// probability that a quantity with the distribution Beta(a, b) is at most x.
// It follows the continued fraction of Abramowitz and Stegun 26.5.8, evaluated
// by the method of Lentz, to about twelve digits.
func regularBeta(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	}
	front := math.Exp(a*math.Log(x) + b*math.Log1p(-x) - lnBeta(a, b))
	if x < (a+1)/(a+b+2) {
		return front * betaFraction(x, a, b) / a
	}
	return 1 - front*betaFraction(1-x, b, a)/b
}

func betaFraction(x, a, b float64) float64 {
	const (
		tiny  = 1e-300
		small = 1e-13
		steps = 500 // enough for a and b up to a hundred thousand
	)
	away := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/away(1-(a+b)*x/(a+1))
	h := d
	for m := 1.0; m <= steps; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d, c = 1/away(1+even*d), away(1+even/c)
		h *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d, c = 1/away(1+odd*d), away(1+odd/c)
		h *= d * c
		if math.Abs(d*c-1) < small {
			break
		}
	}
	return h
}

// betaQuantile is the x of which regularBeta is q.
func betaQuantile(q, a, b float64) float64 {
	return solve(func(x float64) float64 { return regularBeta(x, a, b) - q })
}

// solve finds where a function that grows from below 0 to above crosses it,
// between 0 and 1: by regula falsi in the Illinois manner, which looks at
// about ten places, and by halves where that stalls.
func solve(f func(x float64) float64) float64 {
	const near = 1e-5 // of its value
	low, high := 0.0, 1.0
	atLow, atHigh := f(low), f(high)
	if atLow >= 0 {
		return low
	}
	for step := 0; high-low > near*high && step < 100; step++ {
		x := low + (high-low)*atLow/(atLow-atHigh)
		if step%4 == 3 || !(x > low && x < high) {
			x = (low + high) / 2
		}
		switch at := f(x); {
		case at == 0:
			return x
		case at < 0:
			low, atLow = x, at
			atHigh /= 2
		default:
			high, atHigh = x, at
			atLow /= 2
		}
	}
	return high
}
