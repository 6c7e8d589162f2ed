package deploy

import (
	"cmp"
	"math"
	"slices"
)

// Durations are compared by rank (Mann and Whitney 1947): how often does a request
// of the new release take longer than one of the old? That asks nothing of how durations are
// distributed, and one that took a minute counts no more than one that took
// two seconds.

// Ranks is the comparison of two samples by rank.
type Ranks struct {
	U      float64 // pairs of which the first's value is larger; a tie is half of one
	P      float64 // that U or more comes by chance when nothing differs
	Effect float64 // share of pairs: 0.5 for no difference, 1 when all of the first's are larger
	Shift  float64 // Hodges and Lehmann: median of the differences, first less second
	Exact  bool    // P is counted and not approximated
}

const (
	// exactSize is the largest sample (both together) for which all ways of sharing out the ranks are
	// counted: some million steps.
	exactSize = 60
	// maxPairs is how many pairs the shift is found from; larger samples are thinned, evenly by rank.
	maxPairs = 1 << 20
)

// RankSum compares two samples, asking whether the first's values are larger. NaNs are left
// out; of an empty sample nothing can be said, and P is 1.
func RankSum(a, b []float64) Ranks { return rankSum(sorted(a), sorted(b), exactSize) }

// rankSum compares sorted samples; ways are counted up to that size of both together.
func rankSum(a, b []float64, exact int) Ranks {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return Ranks{P: 1, Effect: .5}
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	// Ranks are doubled, so that the mean rank of a tie is whole.
	doubled := make([]int, 0, len(all))
	rank := make(map[float64]int)
	ties := 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		rank[all[i]] = i + 1 + j
		for range j - i {
			doubled = append(doubled, i+1+j)
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	sum := 0
	for _, x := range a {
		sum += rank[x]
	}
	u := float64(sum-n*(n+1)) / 2
	r := Ranks{U: u, Effect: u / (float64(n) * float64(m)), Shift: shift(a, b)}
	if n+m <= exact {
		r.P, r.Exact = tail(doubled, n, sum), true
	} else {
		r.P = normalTail(u, float64(n), float64(m), ties)
	}
	return r
}

func sorted(x []float64) []float64 {
	x = slices.DeleteFunc(slices.Clone(x), math.IsNaN)
	slices.Sort(x)
	return x
}

func total(x []int) (t int) {
	for _, v := range x {
		t += v
	}
	return t
}

// tail is the share of all choices of n ranks whose sum is at least that. With ties it is
// what is so among the values that there are.
func tail(ranks []int, n, atLeast int) float64 {
	top := total(ranks)
	// ways[k][s]: choices of k ranks with the sum s, as shares so that they do not overflow.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, top+1)
	}
	ways[0][0] = 1
	reach := 0
	for i, r := range ranks {
		reach += r
		for k := min(i+1, n); k >= 1; k-- {
			to, from := ways[k], ways[k-1]
			for s := reach; s >= r; s-- {
				to[s] += from[s-r]
			}
		}
	}
	var upper, whole float64
	for s, w := range ways[n] {
		whole += w
		if s >= atLeast {
			upper += w
		}
	}
	return upper / whole
}

// normalTail approximates the tail for samples that are too large to count, corrected for ties and
// for U being counted in steps.
func normalTail(u, n, m, ties float64) float64 {
	all := n + m
	variance := n * m / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 {
		return 1 // all values are the same
	}
	z := (u - n*m/2 - 0.5) / math.Sqrt(variance)
	return math.Erfc(z/math.Sqrt2) / 2
}

// shift is the median of the differences between values of sorted samples.
func shift(a, b []float64) float64 {
	a, b = thinned(a, 1<<10), thinned(b, maxPairs/(1<<10))
	d := make([]float64, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			d = append(d, x-y)
		}
	}
	slices.Sort(d)
	if h := len(d) / 2; len(d)%2 == 0 {
		return (d[h-1] + d[h]) / 2
	} else {
		return d[h]
	}
}

func thinned(x []float64, most int) []float64 {
	if len(x) <= most {
		return x
	}
	out := make([]float64, most)
	for i := range out {
		out[i] = x[i*(len(x)-1)/(most-1)]
	}
	return out
}

// rankHistograms compares counts by bucket of [Bound]: p and effect are as of [Ranks]. All that is
// known of two requests in one bucket is that they tie.
func rankHistograms(a, b []int64) (p, effect float64) {
	at := func(h []int64, i int) float64 {
		if i < len(h) {
			return float64(h[i])
		}
		return 0
	}
	var n, m, u, ties, below float64
	for i := range max(len(a), len(b)) {
		x, y := at(a, i), at(b, i)
		u += x * (below + y/2)
		below += y
		n, m = n+x, m+y
		t := x + y
		ties += t*t*t - t
	}
	if n == 0 || m == 0 {
		return 1, .5
	}
	return normalTail(u, n, m, ties), u / (n * m)
}

// ratio is how many times as long the first's durations are (Hodges and Lehmann, over logarithms): the median over
// all pairs; 1 for no difference.
func ratio(a, b []int64) float64 {
	type pair struct{ ratio, weight float64 }
	var pairs []pair
	var whole float64
	for i, x := range a {
		for j, y := range b {
			if w := float64(x) * float64(y); w > 0 {
				pairs = append(pairs, pair{float64(middle(i)) / float64(middle(j)), w})
				whole += w
			}
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int { return cmp.Compare(x.ratio, y.ratio) })
	half := whole / 2
	for _, p := range pairs {
		if half -= p.weight; half <= 0 {
			return p.ratio
		}
	}
	return 1
}

// middle stands for the durations of a bucket of [Bound].
func middle(i int) float64 {
	if i == 0 {
		return float64(Bound(0)) / 2
	}
	return (float64(Bound(i-1)) + float64(Bound(i))) / 2
}

// quantile is the duration that the share q of the requests stays below, at the upper end of its
// bucket; 0 of no requests.
func quantile(h []int64, q float64) (bucket int, ok bool) {
	var all int64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return 0, false
	}
	want := int64(math.Ceil(q * float64(all)))
	for i, n := range h {
		if want -= n; want <= 0 {
			return i, true
		}
	}
	return len(h) - 1, true
}
