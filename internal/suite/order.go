package suite

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
)

// How an [Order] remembers. The values were chosen on the histories that
// TestBenchOrder measures; none of them is sharp.
const (
	// orderDecay is what a run weighs after the next one: after thirty runs,
	// a tenth.
	orderDecay = .93
	// durationDecay is the same for seconds.
	durationDecay = .8
	// togetherDecay is the same for failures of two tests in one run, counted
	// in failures.
	togetherDecay = .95
	// maxTogether is how many failures a run may have to say something about
	// which tests fail together: when everything breaks, nothing is learned.
	maxTogether = 100
	// maxCompanions is how many others a test is remembered to fail with.
	maxCompanions = 50
	// trust is how far a companion's success is believed: a test that always
	// failed with it keeps this much less of its chance.
	trust = .8
	// youth is the number of runs below which a test that never failed is
	// young.
	youth = 10
	// fresh is the weight of failures below which the next one is news: it is
	// those that the chance of a kind of test is taken from.
	fresh = .3
	// newness is how much more often new tests fail than others, before more is
	// known.
	newness = 3
	// slowShare is the share of the slowest time lately that a test is expected
	// to take at least: a test that is slow now and then is started early.
	slowShare = .3
	// maxSeconds is the longest that a test is believed to take: a week.
	maxSeconds = 7 * 24 * 3600
)

// Ran is one test of a run, as those learn from it that order and share out
// tests.
type Ran struct {
	Test    string // its key, or its name: anything that is the same in every run
	Outcome Outcome
	Seconds float64
}

// Runs are the runs that the results of tests are of, oldest first, to be
// learned one by one. The results of each test are those that a [Ledger] gives
// for its grid. What says nothing of the tests is left out.
func Runs(tests []string, results [][]Result) [][]Ran {
	runs := map[string][]Ran{}
	for i, all := range results[:min(len(results), len(tests))] {
		for _, r := range all {
			if r.Outcome > Skipped && !r.Storm {
				runs[r.Run] = append(runs[r.Run], Ran{tests[i], r.Outcome, r.Seconds})
			}
		}
	}
	order := slices.SortedFunc(maps.Keys(runs), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) // decimal numbers
	})
	sorted := make([][]Ran, len(order))
	for i, run := range order {
		sorted[i] = runs[run]
	}
	return sorted
}

// Order says which of a project's tests to run first: those with the highest
// chance to fail for each second that they take. If tests are run one after
// another, no other order finds failures sooner, as far as the chances are right
// (Smith's rule, 1956).
//
// The chance is that of a test whose failures and successes count less the
// longer ago they are. Where there are few, it is that of its kind: new,
// young, never failed, failed lately or long ago. How often tests of a kind
// fail is learned from the same project, so that no number has to be set.
// While a run goes on, the success of a test lowers the chance of those that
// used to fail with it: [Ranking].
//
// The zero Order knows nothing and puts tests in the order of their names. It
// is plain data: written as JSON it can be kept anywhere.
type Order struct {
	Tests map[string]*Habit   `json:"tests,omitempty"`
	Kinds [kinds]KindOfHabits `json:"kinds"`
}

// Habit is what an Order knows of one test.
type Habit struct {
	Bad     float64 `json:"bad,omitempty"`  // runs in which it failed, the older the less
	Good    float64 `json:"good,omitempty"` // and in which it did not
	Runs    int     `json:"runs"`
	LastBad int     `json:"lastBad,omitempty"` // which of Runs was the last to fail, from 1; 0 for none
	Seconds float64 `json:"seconds"`           // it usually takes
	Slowest float64 `json:"slowest"`           // it took lately
	// Failures are how often it failed, and With how often others failed in the
	// same runs, the older the less.
	Failures float64            `json:"failures,omitempty"`
	With     map[string]float64 `json:"with,omitempty"`
}

// KindOfHabits is how often tests of a kind failed that had not done so lately.
type KindOfHabits struct {
	Bad  float64 `json:"bad"`
	Runs float64 `json:"runs"`
}

// The kinds of tests, by how long ago they failed.
const (
	kindAny = iota
	kindNew
	kindYoung
	kindNever
	kindLately
	kindBefore
	kindLong
	kinds
)

// kind of a test that had these runs, the last failure being one of them.
func (h *Habit) kind() int {
	switch since := h.Runs - h.LastBad; {
	case h.Runs == 0:
		return kindNew
	case h.LastBad == 0 && h.Runs < youth:
		return kindYoung
	case h.LastBad == 0:
		return kindNever
	case since < 30:
		return kindLately
	case since < 200:
		return kindBefore
	}
	return kindLong
}

// Learn adds a run, the newest so far. What was skipped teaches nothing; a test
// that passed when it was tried again has passed, for it is not what one wants
// to hear of first.
func (o *Order) Learn(run []Ran) {
	if o.Tests == nil {
		o.Tests = make(map[string]*Habit, len(run))
	}
	var bad []string
	for _, r := range run {
		if r.Outcome <= Skipped {
			continue
		}
		h := o.Tests[r.Test]
		if h == nil {
			h = &Habit{Seconds: sane(r.Seconds)}
			o.Tests[r.Test] = h
		}
		seconds, failed := sane(r.Seconds), 0.
		if r.Outcome.Bad() {
			failed = 1
			bad = append(bad, r.Test)
		}
		if h.Bad < fresh {
			for _, k := range [...]int{kindAny, h.kind()} {
				o.Kinds[k].Runs++
				o.Kinds[k].Bad += failed
			}
		}
		h.Runs++
		h.Bad = h.Bad*orderDecay + failed
		h.Good = h.Good*orderDecay + 1 - failed
		h.Seconds = h.Seconds*durationDecay + seconds*(1-durationDecay)
		h.Slowest = max(h.Slowest*togetherDecay, seconds)
		if failed > 0 {
			h.Failures = h.Failures*togetherDecay + 1
			h.LastBad = h.Runs
		}
	}
	o.together(bad)
}

// together counts that tests failed in one run.
func (o *Order) together(bad []string) {
	for _, test := range bad {
		h := o.Tests[test]
		for other := range h.With {
			h.With[other] *= togetherDecay
		}
		if len(bad) > maxTogether {
			continue
		}
		if h.With == nil && len(bad) > 1 {
			h.With = make(map[string]float64, len(bad)-1)
		}
		for _, other := range bad {
			if other != test {
				h.With[other]++
			}
		}
		if len(h.With) > maxCompanions {
			least := slices.SortedFunc(maps.Keys(h.With), func(a, b string) int {
				return cmp.Or(cmp.Compare(h.With[a], h.With[b]), cmp.Compare(a, b))
			})
			for _, other := range least[:len(least)-maxCompanions] {
				delete(h.With, other)
			}
		}
	}
}

// Forget drops the tests that are not in the project any more.
func (o *Order) Forget(gone func(test string) bool) {
	maps.DeleteFunc(o.Tests, func(test string, _ *Habit) bool { return gone(test) })
	for _, h := range o.Tests {
		maps.DeleteFunc(h.With, func(test string, _ float64) bool { return gone(test) })
	}
}

// Seconds a test is expected to take, for sharing out; known is false for one
// that never ran.
func (o *Order) Seconds(test string) (seconds float64, known bool) {
	h := o.Tests[test]
	if h == nil {
		return 0, false
	}
	return max(h.Seconds, slowShare*h.Slowest), true
}

// Item is a test as it is shared out: with its time and the chance that it fails, and
// first if it failed lately.
func (o *Order) Item(test string) Item {
	seconds, _ := o.Seconds(test)
	h := o.Tests[test]
	return Item{Name: test, Seconds: seconds, Chance: o.chance(h), First: h != nil && h.Bad >= fresh}
}

// chance that a test fails; nil is one that never ran.
func (o *Order) chance(h *Habit) float64 {
	if h == nil {
		h = &Habit{}
	}
	return min((h.Bad+o.usual(h.kind()))/(h.Bad+h.Good+1), 1)
}

// usual is how often a kind of tests fails; where little is known of the kind,
// how often all do, and new ones more often than that.
func (o *Order) usual(kind int) float64 {
	all := (o.Kinds[kindAny].Bad + .5) / (o.Kinds[kindAny].Runs + 50)
	if kind == kindNew {
		all = min(newness*all, .5)
	}
	return (o.Kinds[kind].Bad + 10*all) / (o.Kinds[kind].Runs + 10)
}

// Turn is a test in an order, with what put it there.
type Turn struct {
	Test    string  `json:"test"`
	Chance  float64 `json:"chance"`  // that it fails
	Seconds float64 `json:"seconds"` // that it is expected to take
}

// Ranking is the order of one run's tests. It changes while they run: tell it
// what was [Ranking.Saw], and ask for the [Ranking.Next].
type Ranking struct {
	order *Order
	turns map[string]*rank
	queue rankQueue
}

// rank is a turn's place in the queue.
type rank struct {
	Turn
	score float64
	first float64 // Chance when the run began
	at    int     // in the queue, -1 when it has been taken out
}

// Rank puts tests in order. A name that comes twice counts once.
func (o *Order) Rank(tests []string) *Ranking {
	var sum, n float64
	for _, test := range tests {
		if h := o.Tests[test]; h != nil {
			sum += h.Seconds
			n++
		}
	}
	mean := 1.
	if sum > 0 {
		mean = sum / n
	}
	r := &Ranking{order: o, turns: make(map[string]*rank, len(tests))}
	for _, test := range tests {
		if r.turns[test] != nil {
			continue
		}
		h := o.Tests[test]
		if h == nil {
			h = &Habit{Seconds: mean}
		}
		t := &rank{at: len(r.queue), Turn: Turn{
			Test:    test,
			Chance:  o.chance(h),
			Seconds: h.Seconds,
		}}
		// A test that takes no time at all is not worth more than one that
		// takes a thousandth of what others do.
		t.first = t.Chance
		t.score = t.Chance / max(h.Seconds, mean/1000)
		r.turns[test] = t
		r.queue = append(r.queue, t)
	}
	heap.Init(&r.queue)
	return r
}

// Next takes out the test that is best run now; false when none is left.
func (r *Ranking) Next() (Turn, bool) {
	if len(r.queue) == 0 {
		return Turn{}, false
	}
	return heap.Pop(&r.queue).(*rank).Turn, true
}

// Saw tells how a test of the run ended. A test that passed takes suspicion
// from those that used to fail with it. (To move tests forward when a companion
// has failed was tried, too: their own chance is high already, and the order
// became worse.)
func (r *Ranking) Saw(test string, how Outcome) {
	h := r.order.Tests[test]
	if h == nil || how.Bad() || how == Skipped {
		return
	}
	for other, times := range h.With {
		t, known := r.turns[other], r.order.Tests[other]
		if t == nil || t.at < 0 || known == nil {
			continue
		}
		// Of the other's failures, these had this one beside them. Of several
		// companions the closest counts, for they are no separate witnesses.
		left := t.first * (1 - trust*min(times/(known.Failures+.5), 1))
		if left < t.Chance {
			t.score *= left / t.Chance
			t.Chance = left
			heap.Fix(&r.queue, t.at)
		}
	}
}

// sane are seconds that a report gives, which may be anything.
func sane(seconds float64) float64 {
	if !(seconds > 0) {
		return 0
	}
	return min(seconds, maxSeconds)
}

// rankQueue is a heap: the highest score first, then by name, so that the order
// is the same everywhere.
type rankQueue []*rank

func (q rankQueue) Len() int { return len(q) }
func (q rankQueue) Less(i, j int) bool {
	if q[i].score != q[j].score {
		return q[i].score > q[j].score
	}
	return q[i].Test < q[j].Test
}
func (q rankQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}
func (q *rankQueue) Push(x any) { *q = append(*q, x.(*rank)) }
func (q *rankQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	last.at = -1
	return last
}
