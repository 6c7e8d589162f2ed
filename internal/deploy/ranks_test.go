package deploy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The numbers of the first tests are those that R's wilcox.test gives (alternative
// "greater", conf.int), version 4.2.2.
func TestRankSumAgreesWithR(t *testing.T) {
	t.Parallel()
	ozone8 := []float64{39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85}
	ozone5 := []float64{41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37}
	for _, test := range []struct {
		name        string
		a, b        []float64
		exact       int
		u, p, shift float64
	}{
		{"counted", []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}, []float64{1.15, 0.88, 0.90, 0.74, 1.21}, 60, 35, 0.127206127206, 0.305},
		{"approximated", []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}, []float64{1.15, 0.88, 0.90, 0.74, 1.21}, 0, 35, 0.122311802563, 0.305},
		{"small", []float64{10.1, 12.3, 11.8, 14.2, 13.9}, []float64{9.8, 10.4, 10.9, 9.1, 10.2}, 60, 22, 0.0277777777778, 2.5},
		{"ties", ozone8, ozone5, 0, 548.5, 6.04039153844e-05, 32},
		{"many ties", []float64{3, 1, 4, 1, 5, 9, 2, 6}, []float64{5, 3, 5, 8, 9, 7, 9, 3}, 0, 17, 0.949871856027, -2},
	} {
		r := rankSum(sorted(test.a), sorted(test.b), test.exact)
		if r.U != test.u || math.Abs(r.P-test.p) > 1e-10 || math.Abs(r.Shift-test.shift) > 1e-9 || r.Exact != (test.exact > 0) {
			t.Errorf("%s: %+v; want U %v, P %.12g, shift %v", test.name, r, test.u, test.p, test.shift)
		}
	}
}

// TestRankSumCountsAllWays holds the count against a look at every way to share
// out the values, ties and all.
func TestRankSumCountsAllWays(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n, m := 1+rng.IntN(5), 1+rng.IntN(6)
		all := make([]float64, n+m)
		for i := range all {
			all[i] = float64(rng.IntN(8))
		}
		u := func(mask int) (u float64) {
			for i := range all {
				for j := range all {
					if mask>>i&1 == 1 && mask>>j&1 == 0 {
						switch {
						case all[i] > all[j]:
							u++
						case all[i] == all[j]:
							u += .5
						}
					}
				}
			}
			return u
		}
		seen := u(1<<n - 1)
		ways, extreme := 0.0, 0.0
		for mask := range 1 << (n + m) {
			ones := 0
			for i := range n + m {
				ones += mask >> i & 1
			}
			if ones != n {
				continue
			}
			ways++
			if u(mask) >= seen {
				extreme++
			}
		}
		r := RankSum(all[:n], all[n:])
		if want := extreme / ways; math.Abs(r.P-want) > 1e-12 || r.U != seen {
			t.Fatalf("%v against %v: U %v, P %v; want %v, %v", all[:n], all[n:], r.U, r.P, seen, want)
		}
	}
}

func TestRankSumOfNothing(t *testing.T) {
	t.Parallel()
	for _, r := range []Ranks{RankSum(nil, []float64{1}), RankSum([]float64{1}, []float64{math.NaN()})} {
		if r.P != 1 || r.Effect != .5 {
			t.Errorf("of nothing something is said: %+v", r)
		}
	}
	if r := rankSum([]float64{2, 2, 2}, []float64{2, 2}, 0); r.P != 1 {
		t.Errorf("equal values differ: %+v", r)
	}
}

// TestHistogramsAsValues holds histograms against the same values one by one.
func TestHistogramsAsValues(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	var a, b []float64
	x, y := make([]int64, 70), make([]int64, 70)
	for range 300 {
		i, j := 20+rng.IntN(12), 16+rng.IntN(14)
		x[i]++
		y[j]++
		a, b = append(a, math.Log(middle(i))), append(b, math.Log(middle(j)))
	}
	p, effect := rankHistograms(x, y)
	v := RankSum(a, b)
	if math.Abs(p-v.P) > 1e-12 || math.Abs(effect-v.Effect) > 1e-12 || math.Abs(math.Log(ratio(x, y))-v.Shift) > .03 {
		t.Errorf("histograms: %v, %v, ratio %v; values: %+v, ratio %v", p, effect, ratio(x, y), v, math.Exp(v.Shift))
	}
	if p, effect := rankHistograms(nil, y); p != 1 || effect != .5 || ratio(nil, y) != 1 {
		t.Errorf("of nothing something is said: %v, %v, %v", p, effect, ratio(nil, y))
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	h := make([]int64, 40)
	h[10], h[20] = 99, 1
	for q, want := range map[float64]int{.5: 10, .99: 10, .995: 20} {
		if i, ok := quantile(h, q); !ok || i != want {
			t.Errorf("quantile %v is in bucket %d, %v; want %d (%s)", q, i, ok, want, time.Duration(Bound(want)))
		}
	}
}
