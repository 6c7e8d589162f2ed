package suite

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// How a [Hunt] weighs what it sees.
const (
	// slip is how likely a test is to pass although its culprit is in: next to
	// nothing, but a single odd pass must not rule the truth out for good.
	slip = 1e-6
	// usualChance is how likely a failure is to have no culprit, before
	// anything was run.
	usualChance = .4
	// usualConfidence is how sure a hunt wants to be.
	usualConfidence = .999
	// changed is how likely a test's past is to say nothing about how it
	// behaves now. A ten times higher value makes a hunt wrong a third as
	// often when it was told nonsense, and a tenth longer always.
	changed = .001
	// remembered is how many runs of a test's past count at most.
	remembered = 1000
	// unread is how much less a change is suspected that touched nothing the
	// test read: not nothing, because reads may go unseen.
	unread = .02
	// maxTrials ends a hunt that cannot be decided.
	maxTrials = 300
	// maxParallel is for how many machines versions are chosen together; more
	// get further runs of the same.
	maxParallel = 6
)

// Hunt looks for the change that broke a test, when the test also fails by
// chance. Halving the range again and again goes wrong at the first chance
// failure; a Hunt keeps a probability for every change, and for there being
// none, and corrects it by every run (flake-aware culprit finding, as in
// Henderson et al., ICST 2023).
//
// How often the test fails by chance need not be known well: all rates are
// held possible that its past and the hunt itself allow, each as far as it is
// likely.
//
// A Hunt is plain data: written as JSON it can be put aside and taken up again.
type Hunt struct {
	// Good is the version before the first suspected change; "" when it cannot
	// be run. All that the test fails there, it fails by chance.
	Good string `json:"good,omitempty"`
	// Versions are the changes that are suspected, oldest first. A change is
	// tried by running the version that it led to.
	Versions []string `json:"versions"`
	// Suspicion is what each change weighs before anything was run; none: all
	// the same. [Suspect] takes it from what the test read.
	Suspicion []float64 `json:"suspicion,omitempty"`
	// Chance is how likely it is that no change is to blame; 0 means 0.4.
	Chance float64 `json:"chance,omitempty"`
	// Failures and Runs are of the test's past, as far as it failed by chance.
	Failures float64 `json:"failures,omitempty"`
	Runs     float64 `json:"runs,omitempty"`
	// Confidence is how sure the answer has to be; 0 means 0.999.
	Confidence float64 `json:"confidence,omitempty"`
	// Trials is what was seen, in its order.
	Trials []Trial `json:"trials,omitempty"`
	// Unbuilt are versions that cannot be run.
	Unbuilt []string `json:"unbuilt,omitempty"`
}

// Trial is one run of the test at one version.
type Trial struct {
	Version string `json:"version"`
	Failed  bool   `json:"failed"`
}

// Suspect says how far changes are suspected, by the files that each changed:
// those that changed something the test read, much more than others. Without
// any reads all are suspected alike.
func Suspect(changed [][]string, read func(file string) bool) []float64 {
	weights := make([]float64, len(changed))
	for i, files := range changed {
		weights[i] = unread
		if read == nil || slices.ContainsFunc(files, read) {
			weights[i] = 1
		}
	}
	return weights
}

// Saw adds what a run showed. A version that the hunt does not know is ignored.
func (h *Hunt) Saw(version string, failed bool) {
	h.Trials = append(h.Trials, Trial{version, failed})
}

// CannotRun says that a version does not build, or that the test is not in it.
func (h *Hunt) CannotRun(version string) {
	if !slices.Contains(h.Unbuilt, version) {
		h.Unbuilt = append(h.Unbuilt, version)
	}
}

// belief is the hunt's state of mind. Its versions begin with the good one.
// Hypothesis c is that the change that led to version c is the culprit; the one
// after the last version, that there is none.
type belief struct {
	prior []float64 // of each hypothesis, logarithms
	past  [2]beta   // what the rate of chance failures may be: as it was, or any
	fails []float64 // seen, by version
	runs  []float64
	able  []bool // the version can be run

	weight []float64 // of each hypothesis, sum 1
	rate   []float64 // of chance failures at the next run, under each hypothesis
}

// versions are those of the belief.
func (h *Hunt) versions() []string { return append([]string{h.Good}, h.Versions...) }

func (h *Hunt) belief() *belief {
	versions := h.versions()
	n := len(versions)
	b := &belief{
		prior: make([]float64, n+1), fails: make([]float64, n), runs: make([]float64, n), able: make([]bool, n),
		weight: make([]float64, n+1), rate: make([]float64, n+1),
	}
	weigh := func(c int) float64 {
		if i := c - 1; i < len(h.Suspicion) && h.Suspicion[i] >= 0 && h.Suspicion[i] <= 1 {
			return max(h.Suspicion[i], 1e-6)
		}
		return 1
	}
	var sum, most float64
	for c := 1; c < n; c++ {
		sum += weigh(c)
		most = max(most, weigh(c))
	}
	chance := h.Chance
	if !(chance > 0 && chance < 1) {
		chance = usualChance
	}
	// If even the likeliest change is hardly suspected, neither are all.
	blame := (1 - chance) * most
	b.prior[0] = math.Inf(-1)
	for c := 1; c < n; c++ {
		b.prior[c] = math.Log(blame / (blame + chance) * weigh(c) / sum)
	}
	b.prior[n] = math.Log(chance / (blame + chance))

	runs := within(h.Runs, 1e9)
	failures := within(h.Failures, runs)
	scale := min(1, remembered/max(runs, 1))
	b.past = [...]beta{{.5 + failures*scale, 1 + (runs-failures)*scale, 1 - changed}, {.5, 1, changed}}

	at := make(map[string]int, n)
	for i, v := range versions {
		at[v] = i
		b.able[i] = v != "" && !slices.Contains(h.Unbuilt, v)
	}
	for _, t := range h.Trials {
		i, ok := at[t.Version]
		if !ok {
			continue
		}
		b.runs[i]++
		if t.Failed {
			b.fails[i]++
		}
	}
	b.update()
	return b
}

// within is x, if it is a number from 0 to most.
func within(x, most float64) float64 {
	if !(x > 0) {
		return 0
	}
	return min(x, most)
}

// beta is a distribution of rates, and how likely it is to be the right one.
type beta struct{ bad, good, weight float64 }

// sequence is how likely this many failures of so many runs are, in one given
// order, and how likely the next run is to fail after them.
func sequence(past []beta, fails, runs float64) (ln, next float64) {
	var lns [2]float64
	top := math.Inf(-1)
	for i, p := range past {
		lns[i] = math.Log(p.weight) + lnBeta(p.bad+fails, p.good+runs-fails) - lnBeta(p.bad, p.good)
		top = max(top, lns[i])
	}
	var sum float64
	for i, p := range past {
		w := math.Exp(lns[i] - top)
		sum += w
		next += w * (p.bad + fails) / (p.bad + p.good + runs)
	}
	return top + math.Log(sum), next / sum
}

// update computes the weights from what was seen.
func (b *belief) update() {
	n := len(b.runs)
	var allFails, allRuns float64
	for i := range b.runs {
		allFails += b.fails[i]
		allRuns += b.runs[i]
	}
	// Before the culprit the test fails by chance, at an unknown rate: what is
	// seen there has the probability of a Beta-binomial sequence. From it on it
	// fails, but for slips.
	var fails, runs, by, rate float64
	stale := true
	top := math.Inf(-1)
	for c := range b.weight {
		if stale {
			by, rate = sequence(b.past[:], fails, runs)
			by += (allFails-fails)*math.Log1p(-slip) + (allRuns-runs-allFails+fails)*math.Log(slip)
			stale = false
		}
		b.weight[c] = b.prior[c] + by
		b.rate[c] = rate
		top = max(top, b.weight[c])
		if c < n && b.runs[c] > 0 {
			fails += b.fails[c]
			runs += b.runs[c]
			stale = true
		}
	}
	var sum float64
	for c, w := range b.weight {
		b.weight[c] = math.Exp(w - top)
		sum += b.weight[c]
	}
	for c := range b.weight {
		b.weight[c] /= sum
	}
}

// entropy of a coin, in nats.
func entropy(p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	return -p*math.Log(p) - (1-p)*math.Log(1-p)
}

// gains adds to sums, for every version that can be run, what a run of it is
// expected to teach: the uncertainty of its outcome, less what would be left of
// that if the culprit were known.
func (b *belief) gains(sums []float64, share float64) {
	var afterFails, afterNoise float64
	for c, w := range b.weight {
		afterFails += w * b.rate[c]
		afterNoise += w * entropy(b.rate[c])
	}
	var before float64 // weight of the culprits up to the version
	for v, able := range b.able {
		before += b.weight[v]
		afterFails -= b.weight[v] * b.rate[v]
		afterNoise -= b.weight[v] * entropy(b.rate[v])
		if able {
			sums[v] += share * (entropy(before*(1-slip)+afterFails) - before*entropy(slip) - afterNoise)
		}
	}
}

// fails is how likely the next run of a version is to fail.
func (b *belief) failing(version int) (p float64) {
	for c, w := range b.weight {
		if c <= version {
			p += w * (1 - slip)
		} else {
			p += w * b.rate[c]
		}
	}
	return p
}

// having is the belief after one more run.
func (b *belief) having(version int, failed bool) *belief {
	then := *b
	then.fails, then.runs = slices.Clone(b.fails), slices.Clone(b.runs)
	then.weight, then.rate = slices.Clone(b.weight), slices.Clone(b.rate)
	then.runs[version]++
	if failed {
		then.fails[version]++
	}
	then.update()
	return &then
}

// Next says which versions to run, at once, on so many machines: those from
// which most is expected to be learned together. A version may come more than
// once. It is empty when the hunt is over.
func (h *Hunt) Next(machines int) []string {
	now := h.belief()
	if machines < 1 || h.verdict(now).Over {
		return nil
	}
	versions := h.versions()
	type branch struct {
		*belief
		share float64
	}
	branches := []branch{{now, 1}}
	var chosen []string
	for range min(machines, maxParallel) {
		sums := make([]float64, len(versions))
		for _, b := range branches {
			b.gains(sums, b.share)
		}
		best := -1
		for v, able := range branches[0].able {
			if able && (best < 0 || sums[v] > sums[best]) {
				best = v
			}
		}
		if best < 0 {
			return nil
		}
		chosen = append(chosen, versions[best])
		if len(chosen) == min(machines, maxParallel) {
			break
		}
		var split []branch
		for _, b := range branches {
			p := b.failing(best)
			for _, failed := range []bool{true, false} {
				if !failed {
					p = 1 - p
				}
				if p*b.share > 1e-3 {
					split = append(split, branch{b.having(best, failed), p * b.share})
				}
			}
		}
		branches = split
	}
	for i := 0; len(chosen) < machines; i++ {
		chosen = append(chosen, chosen[i])
	}
	return chosen
}

// Verdict is what a hunt has found out so far.
type Verdict struct {
	Over bool `json:"over"` // sure enough, or nothing more can be learned
	Sure bool `json:"sure"` // sure enough
	// Culprits is the change that broke the test; several when those between
	// them cannot be run; none when it fails by chance alone.
	Culprits    []string `json:"culprits,omitempty"`
	Probability float64  `json:"probability"`
	Rate        float64  `json:"rate"` // of chance failures, as the hunt believes now
	Trials      int      `json:"trials"`
	Why         string   `json:"why"`
}

// Verdict is the likeliest answer.
func (h *Hunt) Verdict() Verdict { return h.verdict(h.belief()) }

func (h *Hunt) verdict(b *belief) Verdict {
	versions := h.versions()
	n := len(versions)
	v := Verdict{Probability: b.weight[n], Rate: b.rate[n], Trials: len(h.Trials)}
	from, to := n, n
	// Changes whose versions cannot be run are not to be told from the next
	// that can.
	for first := 1; first < n; {
		last, sum := first, b.weight[first]
		for !b.able[last] && last+1 < n {
			last++
			sum += b.weight[last]
		}
		if sum > v.Probability {
			v.Probability, v.Rate = sum, b.rate[last]
			from, to = first, last
		}
		first = last + 1
	}
	if from < n {
		v.Culprits = versions[from : to+1]
	}
	confidence := h.Confidence
	if !(confidence > 0 && confidence < 1) {
		confidence = usualConfidence
	}
	v.Sure = v.Probability >= confidence
	v.Over = v.Sure || len(h.Trials) >= maxTrials || !slices.Contains(b.able, true)
	v.Why = b.why(h, v, from, to)
	return v
}

// why puts a verdict into words.
func (b *belief) why(h *Hunt, v Verdict, from, to int) string {
	var text strings.Builder
	count := func(first, end int) (passed, runs float64) {
		for i := first; i < end; i++ {
			runs += b.runs[i]
			passed += b.runs[i] - b.fails[i]
		}
		return passed, runs
	}
	switch {
	case len(v.Culprits) == 0:
		passed, runs := count(0, len(b.runs))
		fmt.Fprintf(&text, "no change broke it: it passed in %.0f of %.0f runs of the versions that were suspected, and fails by chance in about %s", passed, runs, percent(v.Rate))
	default:
		passed, runs := count(0, from)
		broken, of := count(to, len(b.runs))
		if len(v.Culprits) == 1 {
			fmt.Fprintf(&text, "%s broke it", v.Culprits[0])
		} else {
			fmt.Fprintf(&text, "one of %s to %s broke it, not all of which can be run", v.Culprits[0], v.Culprits[len(v.Culprits)-1])
		}
		fmt.Fprintf(&text, ": before it %.0f of %.0f runs passed, from it on %.0f of %.0f failed", passed, runs, of-broken, of)
	}
	fmt.Fprintf(&text, "; %s sure", confident(v.Probability))
	if v.Over && !v.Sure {
		text.WriteString(", and more runs would not tell")
	}
	return text.String()
}

// confident writes a probability near 1 without saying that it is 1.
func confident(p float64) string {
	if p < .99 {
		return percent(p)
	}
	return fmt.Sprintf("%.2f %%", math.Floor(min(p, .9999)*10000)/100)
}
