package measure

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Window is a span of time; To is no longer in it.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Has reports whether an instant is in the window.
func (w Window) Has(t time.Time) bool { return !t.Before(w.From) && t.Before(w.To) }

// Days is how long it is.
func (w Window) Days() float64 { return w.To.Sub(w.From).Hours() / 24 }

// Number is one number with all that it takes to judge it.
type Number struct {
	Key        string  `json:"key"` // "lead-time"
	Name       string  `json:"name"`
	Definition string  `json:"definition"`
	Known      bool    `json:"known"` // false: no data
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`          // "a week", "seconds", "share"
	P90        float64 `json:"p90,omitempty"` // of durations
	// Low and High are a 95 % interval. Of durations the interval of the median is what order says; when
	// there are too few for one it is missing (HasInterval false).
	Low         float64 `json:"low"`
	High        float64 `json:"high"`
	HasInterval bool    `json:"has_interval"`
	Interval    string  `json:"interval"` // how it was found
	N           int     `json:"n"`        // of what it is made
	Of          string  `json:"of"`       // "deployments", "commits"
	Count       int     `json:"count"`    // of a share: how many of N
	Band        string  `json:"band"`
	Note        string  `json:"note,omitempty"`
	// Events are IDs of deployments: those it is made from, or of a share those that count; the newest
	// last.
	Events []string `json:"events"`
}

// few is the n below which a number is said to rest on little.
const few = 10

// The keys of the numbers.
const (
	Frequency  = "deployment-frequency"
	LeadTime   = "lead-time"
	ChangeFail = "change-fail-rate"
	Recovery   = "recovery-time"
	ReworkRate = "rework-rate"
)

// Numbers counts the deployments that ended in a window.
func Numbers(w Window, list []Judged) []Number {
	var all []*Judged
	for i := range list {
		if d := &list[i]; w.Has(d.Ended) && !d.Repeat {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *Judged) int { return order(a.Deployment, b.Deployment) })
	return []Number{frequency(w, all), leadTime(all), changeFail(all), recovery(all), rework(all)}
}

// frequency counts changes of what runs.
func frequency(w Window, all []*Judged) Number {
	n := Number{Key: Frequency, Name: "Deployment frequency", Unit: "a week", Of: "deployments", Interval: "of a Poisson count, 95 %",
		Definition: "Deployments that changed what runs there, a week. A rollout that was taken back counts as one: users saw it. What was aborted, superseded, or brought nothing new does not."}
	weeks := w.Days() / 7
	n.N = len(all)
	for _, d := range all {
		n.Events = append(n.Events, d.ID)
	}
	if n.N == 0 || weeks <= 0 {
		return n.none("nothing was deployed")
	}
	low, high := poissonInterval(n.N)
	n.Known, n.Value, n.Low, n.High, n.HasInterval = true, float64(n.N)/weeks, low/weeks, high/weeks, true
	n.Band = bandOf(-n.Value, []band{{-7, "daily or more often"}, {-1, "between once a day and once a week"}, {-0.25, "between once a week and once a month"}}, "less than once a month")
	return n.noted()
}

// leadTime is how long commits took.
func leadTime(all []*Judged) Number {
	n := Number{Key: LeadTime, Name: "Lead time for changes", Unit: "seconds", Of: "commits", Interval: "median by order statistics, 95 %",
		Definition: "From when a commit was pushed (or made, where the push is not in the record) to the end of the deployment that first brought it; median over commits. Deployments that were taken back bring none."}
	var took []float64
	for _, d := range all {
		counted := false
		for i := range d.Commits {
			from := d.Commits[i].since()
			if d.Outcome != Succeeded || from.IsZero() || from.After(d.Ended) {
				continue
			}
			took = append(took, d.Ended.Sub(from).Seconds())
			counted = true
		}
		if counted {
			n.Events = append(n.Events, d.ID)
		}
	}
	return n.durations(took, "no deployment says which commits it brought")
}

// changeFail is the share of deployments that failed.
func changeFail(all []*Judged) Number {
	n := Number{Key: ChangeFail, Name: "Change fail rate", Of: "deployments",
		Definition: "Share of the deployments that failed: taken back, named by an incident, left for what was there before, or reverted within 7 days. An incident that only began soon after one is named with it, and not counted."}
	near := 0
	for _, d := range all {
		n.N++
		if d.Bad != "" {
			n.Count++
			n.Events = append(n.Events, d.ID)
		} else if len(d.Near) > 0 {
			near++
		}
	}
	n = n.share("nothing was deployed")
	if near > 0 {
		n.Note = strings.TrimPrefix(n.Note+fmt.Sprintf("; incidents began within a day of %d further ones, and name no cause", near), "; ")
	}
	return n
}

// recovery is how long it took to recover from them.
func recovery(all []*Judged) Number {
	n := Number{Key: Recovery, Name: "Failed deployment recovery time", Unit: "seconds", Of: "failed deployments", Interval: "median by order statistics, 95 %",
		Definition: "From when users had a deployment that failed to when service was restored: the end of the way back, the incident's resolution, or the deployment that repaired it. Median."}
	var took []float64
	open := 0
	for _, d := range all {
		if t, ok := d.Recovery(); ok {
			took = append(took, t.Seconds())
			n.Events = append(n.Events, d.ID)
		} else if d.Bad != "" {
			open++
		}
	}
	n = n.durations(took, "no deployment failed")
	if open > 0 {
		n.Note = strings.TrimPrefix(n.Note+fmt.Sprintf("; %d not recovered from yet", open), "; ")
	}
	return n
}

// rework is the share of deployments that were repair.
func rework(all []*Judged) Number {
	n := Number{Key: ReworkRate, Name: "Deployment rework rate", Of: "deployments",
		Definition: "Share of the deployments that nobody had planned, because something in production was wrong: they went back, reverted a commit, began during an incident that a deployment had caused, passed over the gates in an emergency, or came from a branch hotfix…"}
	for _, d := range all {
		n.N++
		if d.Rework != "" {
			n.Count++
			n.Events = append(n.Events, d.ID)
		}
	}
	return n.share("nothing was deployed")
}

func (n Number) none(why string) Number {
	n.Band, n.Note = "no data", why
	if n.Events == nil {
		n.Events = []string{}
	}
	return n
}

func (n Number) noted() Number {
	if n.N < few {
		n.Note = fmt.Sprintf("only %d %s: too few to say much", n.N, n.Of)
		if n.N == 1 {
			n.Note = "only one: too few to say much"
		}
	}
	if n.Events == nil {
		n.Events = []string{}
	}
	return n
}

// share makes a number of Count of N.
func (n Number) share(none string) Number {
	n.Unit, n.Interval = "share", "Wilson, 95 %"
	if n.N == 0 {
		return n.none(none)
	}
	n.Known, n.Value, n.HasInterval = true, float64(n.Count)/float64(n.N), true
	n.Low, n.High = wilson(n.Count, n.N)
	n.Band = bandOf(n.Value, []band{{.05, "up to 5 %"}, {.15, "up to 15 %"}, {.3, "up to 30 %"}}, "more than 30 %")
	return n.noted()
}

// durations makes a number of seconds.
func (n Number) durations(took []float64, none string) Number {
	n.N = len(took)
	if n.N == 0 {
		return n.none(none)
	}
	slices.Sort(took)
	n.Known, n.Value, n.P90 = true, quantile(took, .5), quantile(took, .9)
	if low, high, ok := orderInterval(len(took), .5); ok {
		n.Low, n.High, n.HasInterval = took[low-1], took[high-1], true
	}
	const hour, day = 3600, 24 * 3600
	n.Band = bandOf(n.Value, []band{{hour, "within an hour"}, {day, "within a day"}, {7 * day, "within a week"}, {30 * day, "within a month"}}, "longer than a month")
	return n.noted()
}

type band struct {
	most float64
	name string
}

func bandOf(v float64, bands []band, beyond string) string {
	for _, b := range bands {
		if v <= b.most {
			return b.name
		}
	}
	return beyond
}

// Trend are the numbers of each week of a window, the last ending with it.
func Trend(w Window, list []Judged) (weeks []Window, numbers [][]Number) {
	const week = 7 * 24 * time.Hour
	for to := w.To; to.Add(-week).Compare(w.From) >= 0; to = to.Add(-week) {
		weeks = append(weeks, Window{to.Add(-week), to})
	}
	slices.Reverse(weeks)
	for _, w := range weeks {
		numbers = append(numbers, Numbers(w, list))
	}
	return weeks, numbers
}

// Filter chooses deployments. Zero fields choose all.
type Filter struct {
	Repository, Service, Team, Environment string
}

// Choose are those of the deployments that a filter chooses.
func Choose(list []Judged, f Filter) (chosen []Judged) {
	for i := range list {
		d := &list[i]
		if (f.Repository == "" || f.Repository == d.Repository) && (f.Service == "" || f.Service == d.Service) && (f.Team == "" || f.Team == d.Team) && (f.Environment == "" || f.Environment == d.Environment) {
			chosen = append(chosen, *d)
		}
	}
	return chosen
}

// Group are the deployments by what a function says of each; "" leaves one out.
func Group(list []Judged, by func(*Judged) string) map[string][]Judged {
	groups := map[string][]Judged{}
	for i := range list {
		if key := by(&list[i]); key != "" {
			groups[key] = append(groups[key], list[i])
		}
	}
	return groups
}

// Production is the environment that people mean when they say nothing: the one whose name says so, or else the
// only one, or else "".
func Production(list []Judged) string {
	counts := map[string]int{}
	for i := range list {
		counts[list[i].Environment]++
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	for _, name := range names {
		low := strings.ToLower(name)
		if strings.HasPrefix(low, "prod") || low == "live" || strings.HasSuffix(low, "/production") {
			return name
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return ""
}

// BuildNumbers are how the runs of a pipeline fare.
type BuildNumbers struct {
	Repository string `json:"repository"`
	Pipeline   string `json:"pipeline"`
	First      Number `json:"first"`    // share of success, at the first try
	Finally    Number `json:"finally"`  // after all tries
	Own        Number `json:"own"`      // of those that said something of the code: neither errors nor timeouts
	Duration   Number `json:"duration"` // from being planned to the end
}

// Builds counts the runs that ended in a window, by pipeline; on the default branch alone
// as far as that is known.
func Builds(w Window, builds []Build) (list []BuildNumbers) {
	type key struct{ repository, pipeline string }
	groups := map[key][]Build{}
	for _, b := range builds {
		if w.Has(b.Ended) && b.Default && b.Verdict != plan.Cancelled && b.Verdict != plan.Skipped {
			k := key{b.Repository, b.Pipeline}
			groups[k] = append(groups[k], b)
		}
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.repository, b.repository), cmp.Compare(a.pipeline, b.pipeline))
	})
	for _, k := range keys {
		list = append(list, buildNumbers(k.repository, k.pipeline, groups[k]))
	}
	return list
}

func buildNumbers(repository, pipeline string, builds []Build) BuildNumbers {
	slices.SortFunc(builds, func(a, b Build) int { return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Run, b.Run)) })
	v := BuildNumbers{Repository: repository, Pipeline: pipeline,
		First:    Number{Key: "build-success", Name: "Build success rate", Of: "builds", Definition: "Share of the builds of the default branch that succeeded at the first try. Cancelled and skipped ones do not count."},
		Finally:  Number{Key: "build-success-finally", Name: "after reruns", Of: "builds", Definition: "Share of them that succeeded in the end, reruns included."},
		Own:      Number{Key: "build-success-own", Name: "without errors of machines", Of: "builds", Definition: "The first tries without those that ended in an error or a timeout, which say nothing of the code."},
		Duration: Number{Key: "build-duration", Name: "Build duration", Unit: "seconds", Of: "builds", Interval: "median by order statistics, 95 %", Definition: "From being planned to the end, waiting included; median over the first tries."},
	}
	root := map[string]string{} // run -> the first of its tries
	last := map[string]*Build{}
	var took []float64
	for i := range builds {
		b := &builds[i]
		first := b.Of == ""
		root[b.Run] = b.Run
		if !first {
			root[b.Run] = cmp.Or(root[b.Of], b.Of)
		}
		last[root[b.Run]] = b
		if !first {
			continue
		}
		good := b.Verdict == plan.Success
		v.First.count(good, b.Run)
		if b.Verdict != plan.Fault && b.Verdict != plan.Timeout {
			v.Own.count(good, b.Run)
		}
		took = append(took, b.Ended.Sub(b.Planned).Seconds())
		v.Duration.Events = append(v.Duration.Events, "run/"+b.Run)
	}
	for _, r := range slices.Sorted(maps.Keys(last)) {
		v.Finally.count(last[r].Verdict == plan.Success, last[r].Run)
	}
	v.First, v.Finally, v.Own = v.First.share("no build ended"), v.Finally.share("no build ended"), v.Own.share("no build ended")
	for _, n := range []*Number{&v.First, &v.Finally, &v.Own} {
		n.Band = ""
	}
	v.Duration = v.Duration.durations(took, "no build ended")
	return v
}

// count counts one; the events of a share of success are those that are none.
func (n *Number) count(good bool, run string) {
	if n.N++; good {
		n.Count++
	} else {
		n.Events = append(n.Events, "run/"+run)
	}
}

// wilson is the 95 % interval of a share.
func wilson(k, n int) (low, high float64) {
	const z = 1.959963984540054
	p, m := float64(k)/float64(n), float64(n)
	center := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(center-half, 0), min(center+half, 1)
}

// poissonInterval is the 95 % interval of a count: exact (Garwood) up to a hundred, and as Byar approximates
// it beyond.
func poissonInterval(n int) (low, high float64) {
	const z, small = 1.959963984540054, 100
	if n > small {
		k, m := float64(n), float64(n+1)
		return k * math.Pow(1-1/(9*k)-z/(3*math.Sqrt(k)), 3), m * math.Pow(1-1/(9*m)+z/(3*math.Sqrt(m)), 3)
	}
	// The mean at which so few, or so many, have a probability of 2.5 %.
	at := func(k int, want float64) float64 {
		from, to := 0.0, float64(k)+10*math.Sqrt(float64(k+1))
		for range 60 {
			mean := (from + to) / 2
			if atMost(k, mean) > want {
				from = mean
			} else {
				to = mean
			}
		}
		return (from + to) / 2
	}
	if n > 0 {
		low = at(n-1, .975)
	}
	return low, at(n, .025)
}

// atMost is the probability of at most k when the mean is so.
func atMost(k int, mean float64) (p float64) {
	term := math.Exp(-mean)
	for i := 0; i <= k; i++ {
		p += term
		term *= mean / float64(i+1)
	}
	return p
}

// orderInterval are the ranks, from 1, between which the quantile q of what n values were drawn from
// lies with 95 %; ok is false when n is too small for that.
func orderInterval(n int, q float64) (low, high int, ok bool) {
	// P(the quantile is below the k-th value) = P(Binomial(n, q) < k).
	cumulative, low := 0.0, 0
	high = 0
	for k := 0; k <= n; k++ {
		cumulative += binomial(n, k, q)
		if cumulative <= .025 {
			low = k + 1
		}
		if cumulative >= .975 {
			high = k + 1
			break
		}
	}
	return low, high, low >= 1 && high >= 1 && high <= n
}

func binomial(n, k int, q float64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return math.Exp(a - b - c + float64(k)*math.Log(q) + float64(n-k)*math.Log1p(-q))
}

// quantile of sorted values, between two of them where it falls there.
func quantile(x []float64, q float64) float64 {
	at := q * float64(len(x)-1)
	i := int(at)
	if i+1 >= len(x) {
		return x[len(x)-1]
	}
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}
