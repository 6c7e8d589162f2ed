package deploy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Look is what was counted up to an instant. Counts only rise while Since stays the same.
type Look struct {
	At time.Time `json:"at"`
	// Since, New and Old are what the driver counted of the requests to the two releases; New is nil when it
	// does not count.
	Since time.Time `json:"since,omitzero"`
	New   *Requests `json:"new,omitempty"`
	Old   *Requests `json:"old,omitempty"` // nil: nothing to compare with
	// Answers are by Query.Name.
	Answers map[string]Answer `json:"answers,omitempty"`
}

// Answer is what Prometheus said to a query.
type Answer struct {
	New, Old Asked
	Why      string // it could not be asked
}

// Asked is the answer for one side.
type Asked struct {
	OK     bool      // there was one
	Failed float64   // of Query.Errors and Total, which only rise
	Total  float64   // likewise
	Series []float64 // of Query.Value, since the analysis began
}

// Decision is what an analysis says after a look.
type Decision string

// The decisions.
const (
	GoOn Decision = "go on" // look again
	Pass Decision = "pass"
	Fail Decision = "fail"
)

// Verdict is the decision with its reason.
type Verdict struct {
	Decision Decision
	Words    string // for people: the reason, one sentence
	Facts    []record.Fact
}

// Limits that hold where an analysis says nothing else.
const (
	defaultAlpha     = 0.01
	defaultTolerance = 1.5
	defaultErrors    = 0.01
	// leniency: that there are more failures at all has to be shown to alpha, that they are more than
	// the tolerance only to 1/leniency. Where nothing is wrong false alarms are what counts; a release that is
	// proved worse and is near the tolerance may go either way, and the stricter rule would be paid by users, since
	// it takes half as long again to see that 5 % fail and not 1 %.
	leniency = 3
	// slower is how many times the durations of the old release are no fault, and least by how much
	// they have to differ to be felt.
	slower, leastSlower = 1.25, 2 * time.Millisecond
	// slowShare: requests count as slow that take longer than all but this share of the old release's.
	slowShare = 0.01
	// enough is how many requests the old release needs to be compared with, and broken the share of
	// failures at which it is no measure of anything.
	enough, broken = 20, 0.5
	// limitLooks is for how many looks on end a limit has to be exceeded.
	limitLooks = 2
	// maxSeries is how many values of a series are compared, the newest.
	maxSeries = 1000
)

// State is all that an analysis has to remember between two looks. It is plain data: written down
// as JSON after each look, it goes on after a crash as if nothing had been. Its zero
// value is that before the first look.
type State struct {
	Begun  time.Time `json:"begun,omitzero"`
	Looks  int       `json:"looks"`
	Minute time.Time `json:"minute,omitzero"` // its beginning, see race
	// Counted says whether the first look had counts of requests: what is asked is settled by
	// then, since all questions share alpha out.
	Counted bool                  `json:"counted,omitempty"`
	Last    *Look                 `json:"last,omitempty"`
	New     counts                `json:"new"` // since Begun
	Old     counts                `json:"old"`
	NewTime []int64               `json:"new_time,omitempty"` // histograms of durations since Begun
	OldTime []int64               `json:"old_time,omitempty"`
	Slow    [2]counts             `json:"slow,omitzero"` // of New and Old
	Tests   map[string]*comparing `json:"tests,omitempty"`
	Beyond  map[string]int        `json:"beyond,omitempty"` // looks on end at which a limit was exceeded
	Silent  map[string]string     `json:"silent,omitempty"` // queries without an answer, and why
	Totals  map[string][2]counts  `json:"totals,omitempty"` // of queries
	Ended   *Verdict              `json:"ended,omitempty"`  // the decision, once it is made
}

// comparing is one comparison of failures: against the old release at all, against it with the tolerance, and
// against the limit that holds without it.
type comparing struct {
	Any    race   `json:"any"`
	More   race   `json:"more"`
	Fixed  race   `json:"fixed"`
	Spread spread `json:"spread"`
}

func (c *comparing) look(tolerance, limit, alpha float64, fresh, old counts, next, brief bool) {
	clip := oneMinute * math.Log(1/alpha)
	if brief { // there is no second minute to wait for
		clip = unclipped
	}
	c.Any.bet(1, fresh, old, next, clip)
	c.More.bet(tolerance, fresh, old, next, clip)
	c.Fixed.betFixed(limit, fresh, next, clip)
	c.Spread.add(old, next)
}

// worse reports whether it is shown that the new side is.
func (c *comparing) worse(alpha float64) bool {
	phi := c.Spread.factor()
	return shown(&c.Any, phi, alpha) && shown(&c.More, phi, max(alpha, 1./leniency))
}

// beyond reports whether it is shown that it is above the limit.
func (c *comparing) beyond(alpha float64) bool { return shown(&c.Fixed, 1, alpha) }

// shown weighs evidence by how far counts vary from look to look: a power of at most one of a
// fair wealth is still fair.
func shown(r *race, phi, alpha float64) bool {
	return math.Log(r.evidence())/phi >= math.Log(1/alpha)
}

// Judge decides after all of these looks, as an analysis does that takes one after the other.
func Judge(a *plan.Analysis, looks []Look) Verdict {
	var s State
	v := Verdict{Decision: GoOn}
	for i := range looks {
		if v = s.Look(a, &looks[i]); v.Decision != GoOn {
			break
		}
	}
	return v
}

// settings are an analysis with its defaults, and how alpha is shared out.
type settings struct {
	*plan.Analysis
	alpha, tolerance, errors float64
	parts                    float64 // of alpha
	brief                    bool    // it is over before a second minute is
}

// How much of alpha each question may spend: that of failed requests most, since it has the
// fewest counts.
const (
	partErrors, partSlow, partShift, partQuery = 10, 1, 1, 2
)

func (s *State) settle(a *plan.Analysis) settings {
	set := settings{Analysis: a, alpha: a.Alpha, tolerance: a.Tolerance, errors: a.Errors, brief: a.For > 0 && a.For < 2*time.Minute}
	if set.alpha <= 0 || set.alpha >= 1 {
		set.alpha = defaultAlpha
	}
	if set.tolerance < 1 {
		set.tolerance = defaultTolerance
	}
	if set.errors <= 0 || set.errors >= 1 {
		set.errors = defaultErrors
	}
	set.parts = float64(partQuery * len(a.Queries))
	if s.Counted {
		set.parts += partErrors + partSlow + partShift
	}
	return set
}

func (s *settings) of(part float64) float64 { return s.alpha * part / s.parts }

// Look takes a look and decides. Once it has decided it keeps to it. A look that is not newer than
// the last is taken for it again, and adds nothing.
func (s *State) Look(a *plan.Analysis, l *Look) Verdict {
	if s.Ended != nil {
		return *s.Ended
	}
	if s.Last == nil {
		l = l.sound()
		s.Begun, s.Counted = l.At, l.New != nil
		s.Last = l
		s.Looks = 1
		s.silent(a, l)
		return Verdict{Decision: GoOn, Words: "the first look: counts are compared from now on"}
	}
	set := s.settle(a)
	if l.At.After(s.Last.At) {
		s.take(&set, l.sound())
	}
	v := s.decide(&set, l.At)
	if v.Decision != GoOn {
		s.Ended = &v
	}
	return v
}

// sound is the look without what is no number.
func (l *Look) sound() *Look {
	c := *l
	c.Answers = make(map[string]Answer, len(l.Answers))
	for name, a := range l.Answers {
		c.Answers[name] = Answer{New: a.New.sound(), Old: a.Old.sound(), Why: a.Why}
	}
	return &c
}

func (x Asked) sound() Asked {
	wild := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	x.Series = slices.DeleteFunc(slices.Clone(x.Series), wild)
	x.Series = x.Series[max(len(x.Series)-maxSeries, 0):]
	if wild(x.Failed) || wild(x.Total) || x.Total < 0 || x.Failed < 0 {
		x.Failed, x.Total, x.OK = 0, 0, false
	}
	return x
}

// take adds what is new since the last look.
func (s *State) take(set *settings, l *Look) {
	s.Looks++
	next := s.Last.At.Sub(s.Minute) >= time.Minute // what is new since the last look is of another minute
	if next {
		s.Minute = s.Last.At
	}
	if s.Counted && l.New != nil {
		again := !l.Since.Equal(s.Last.Since)
		fresh, freshTime := since(l.New, s.Last.New, again)
		old, oldTime := since(l.Old, s.Last.Old, again)
		s.test("errors").look(set.tolerance, set.errors, set.of(partErrors), fresh, old, next, set.brief)
		// What is slow follows from the looks before: what is counted now must not choose its own limit.
		if from, ok := s.slowFrom(set); ok {
			n, o := slow(freshTime, from), slow(oldTime, from)
			s.test("slow").look(set.tolerance, slowShare, set.of(partSlow), n, o, next, set.brief)
			s.Slow[0].add(n)
			s.Slow[1].add(o)
		}
		s.New.add(fresh)
		s.Old.add(old)
		s.NewTime, s.OldTime = plus(s.NewTime, freshTime), plus(s.OldTime, oldTime)
	}
	for i := range set.Queries {
		q := &set.Queries[i]
		answer, last := l.Answers[q.Name], s.Last.Answers[q.Name]
		if q.Value != "" {
			s.limits(q, answer.New)
		}
		if q.Errors == "" || !answer.New.OK || !last.New.OK {
			continue
		}
		n := rise(answer.New, last.New)
		o := counts{}
		if answer.Old.OK && last.Old.OK {
			o = rise(answer.Old, last.Old)
		}
		s.test("query "+q.Name).look(set.tolerance, set.errors, set.of(partQuery), n, o, next, set.brief)
		if s.Totals == nil {
			s.Totals = map[string][2]counts{}
		}
		t := s.Totals[q.Name]
		t[0].add(n)
		t[1].add(o)
		s.Totals[q.Name] = t
	}
	s.Last = l
	s.silent(set.Analysis, l)
}

func (s *State) test(name string) *comparing {
	if s.Tests == nil {
		s.Tests = map[string]*comparing{}
	}
	if s.Tests[name] == nil {
		s.Tests[name] = &comparing{}
	}
	return s.Tests[name]
}

// silent takes down which queries have no answer.
func (s *State) silent(a *plan.Analysis, l *Look) {
	s.Silent = nil
	for i := range a.Queries {
		q := &a.Queries[i]
		x := l.Answers[q.Name]
		if x.Why == "" && x.New.OK {
			continue
		}
		if s.Silent == nil {
			s.Silent = map[string]string{}
		}
		s.Silent[q.Name] = cmp.Or(x.Why, "it has no value for the new release")
	}
}

// limits counts for how many looks on end the newest value is beyond a limit.
func (s *State) limits(q *plan.Query, x Asked) {
	if len(x.Series) == 0 {
		return
	}
	if s.Beyond == nil {
		s.Beyond = map[string]int{}
	}
	v := x.Series[len(x.Series)-1]
	if q.Max != nil && v > *q.Max || q.Min != nil && v < *q.Min {
		s.Beyond[q.Name]++
	} else {
		s.Beyond[q.Name] = 0
	}
}

// since is what is new in counts that only rise, unless they began again.
func since(now, last *Requests, again bool) (counts, []int64) {
	if now == nil {
		return counts{}, nil
	}
	if again || last == nil || now.Count < last.Count {
		last = &Requests{}
	}
	d := make([]int64, len(now.Latency))
	for i := range d {
		d[i] = now.Latency[i]
		if i < len(last.Latency) {
			d[i] = max(d[i]-last.Latency[i], 0)
		}
	}
	n := float64(now.Count - last.Count)
	return counts{Failed: clamp(float64(now.Failed-last.Failed), 0, n), Total: n}, d
}

// rise is the same for a query's counts. Less than before is a counter that began again.
func rise(now, last Asked) counts {
	if now.Total < last.Total || now.Failed < last.Failed {
		last = Asked{}
	}
	n := now.Total - last.Total
	return counts{Failed: clamp(now.Failed-last.Failed, 0, n), Total: n}
}

func clamp(v, low, high float64) float64 { return min(max(v, low), high) }

func plus(a, b []int64) []int64 {
	sum := make([]int64, max(len(a), len(b)))
	copy(sum, a)
	for i, n := range b {
		sum[i] += n
	}
	return sum
}

// slowFrom is the first bucket of requests that count as slow.
func (s *State) slowFrom(set *settings) (int, bool) {
	var limit time.Duration
	switch {
	case s.compares():
		i, ok := quantile(s.OldTime, 1-slowShare)
		if !ok {
			return 0, false
		}
		limit = max(time.Duration(slower*float64(Bound(i))), Bound(i)+leastSlower)
	case set.Latency > 0:
		limit = set.Latency
	default:
		return 0, false
	}
	i := 0
	for i == 0 || Bound(i-1) < limit {
		i++
	}
	return i, true
}

// slow counts the requests from a bucket on.
func slow(h []int64, from int) (c counts) {
	for i, n := range h {
		c.Total += float64(n)
		if i >= from {
			c.Failed += float64(n)
		}
	}
	return c
}

// compares reports whether the old release can be compared with.
func (s *State) compares() bool { return measures(s.Old) }

func measures(old counts) bool { return old.Total >= enough && old.share() < broken }

// decide decides by all that was seen.
func (s *State) decide(set *settings, now time.Time) Verdict {
	var v Verdict
	var against, notes []string
	fact := func(f record.Fact, why string) {
		if f.Verdict == "worse" {
			against = append(against, why)
		}
		v.Facts = append(v.Facts, f)
	}
	if s.Counted {
		fact(s.errors(set))
		if !s.compares() {
			notes = append(notes, s.whyAlone())
		}
		for _, f := range s.durations(set) {
			fact(f.Fact, f.why)
		}
	}
	for i := range set.Queries {
		q := &set.Queries[i]
		if why, silent := s.Silent[q.Name]; silent {
			v.Facts = append(v.Facts, record.Fact{Name: q.Name, Verdict: "unknown"})
			notes = append(notes, fmt.Sprintf("%s is not known: %s", q.Name, why))
			if s.Totals[q.Name][0].Total == 0 {
				continue
			}
		}
		for _, f := range s.query(set, q) {
			fact(f.Fact, f.why)
		}
	}
	looked := now.Sub(s.Begun)
	seen := s.seen(set)
	switch {
	case len(against) > 0:
		v.Decision, v.Words = Fail, strings.Join(against, "; ")
	case looked < set.For:
		v.Decision, v.Words = GoOn, fmt.Sprintf("nothing speaks against the new release after %s and %s", rounded(looked), seen.words)
	case seen.n < float64(set.Least):
		v.Decision, v.Words = Fail, fmt.Sprintf("only %s in %s, and it takes %d to say that it is no worse", seen.words, rounded(looked), set.Least)
	case len(s.Silent) == len(set.Queries) && len(set.Queries) > 0 && !s.Counted:
		v.Decision, v.Words = Fail, "none of the questions has an answer, so nothing is known of the new release"
	case seen.n == 0:
		v.Decision, v.Words = Pass, fmt.Sprintf("nobody asked the new release anything in %s: nothing is known of it", rounded(looked))
	default:
		v.Decision, v.Words = Pass, fmt.Sprintf("the new release is no worse after %s and %s", rounded(looked), seen.words)
	}
	if len(notes) > 0 {
		v.Words += " (" + strings.Join(notes, "; ") + ")"
	}
	return v
}

// seen is how many requests of the new release the decision is made from.
type seen struct {
	n     float64
	words string
}

func (s *State) seen(set *settings) seen {
	n := s.New.Total
	for _, t := range s.Totals {
		n = max(n, t[0].Total)
	}
	if n == 0 && !s.Counted {
		// Only series: each value stands for itself.
		for _, x := range s.Last.Answers {
			n = max(n, float64(len(x.New.Series)))
		}
		return seen{n, plural(n, "value", "values")}
	}
	return seen{n, plural(n, "request", "requests") + " to it"}
}

// whyAlone says why the new release is held against limits and not against the old one.
func (s *State) whyAlone() string {
	switch {
	case s.Old.Total == 0:
		return "there is no old release to compare with: limits alone decide"
	case s.Old.Total < enough:
		return fmt.Sprintf("the old release has had only %s to compare with: limits alone decide", plural(s.Old.Total, "request", "requests"))
	}
	return fmt.Sprintf("of the old release's requests %s fail, so it is no measure: limits alone decide", percent(s.Old.share()))
}

// errors compares shares of failed requests.
func (s *State) errors(set *settings) (record.Fact, string) {
	f := record.Fact{Name: "errors", New: s.New.share(), Old: s.Old.share(), Unit: "share", Verdict: "ok"}
	t := s.test("errors")
	if s.compares() {
		f.Limit = f.Old * set.tolerance
		if t.worse(set.of(partErrors)) {
			f.Verdict = "worse"
		}
		return f, set.more("requests", "failed", s.New, s.Old)
	}
	f.Limit = set.errors
	if t.beyond(set.of(partErrors)) {
		f.Verdict = "worse"
	}
	return f, fmt.Sprintf("%s of %s to the new release failed, and %s is borne", percent(f.New), plural(s.New.Total, "request", "requests"), percent(set.errors))
}

// more says for people how the new side's failures compare.
func (set *settings) more(what, failed string, fresh, old counts) string {
	s := fmt.Sprintf("%s of %s %s of the new release %s, %s of %s of the old one", percent(fresh.share()), thousands(fresh.Total), what, failed, percent(old.share()), thousands(old.Total))
	if old.Failed > 0 {
		s += fmt.Sprintf(": %.3g times as many, and %.3g is borne", fresh.share()/old.share(), set.tolerance)
	}
	return s
}

// reasoned is a fact with its words.
type reasoned struct {
	record.Fact
	why string
}

// durations compares how long requests take.
func (s *State) durations(set *settings) (list []reasoned) {
	n, ok := quantile(s.NewTime, 1-slowShare)
	if !ok {
		return nil
	}
	tail := record.Fact{Name: "latency p99", New: milliseconds(Bound(n)), Unit: "ms", Verdict: "ok"}
	t := s.test("slow")
	if !s.compares() {
		if set.Latency == 0 {
			return nil
		}
		tail.Limit = milliseconds(set.Latency)
		if t.beyond(set.of(partSlow)) {
			tail.Verdict = "worse"
		}
		return []reasoned{{tail, fmt.Sprintf("%s of %s to the new release took longer than %s, and %s may", percent(s.Slow[0].share()), plural(s.Slow[0].Total, "request", "requests"), set.Latency, percent(slowShare))}}
	}
	o, _ := quantile(s.OldTime, 1-slowShare)
	tail.Old = milliseconds(Bound(o))
	if t.worse(set.of(partSlow)) {
		tail.Verdict = "worse"
	}
	list = append(list, reasoned{tail, set.more("requests", "were slow", s.Slow[0], s.Slow[1]) + fmt.Sprintf(" (99 %% take %s and %s)", Bound(n), Bound(o))})

	// Every look is another chance to be wrong; the looks share the part of alpha out, the k-th with 1/k(k+1).
	p, effect := rankHistograms(s.NewTime, s.OldTime)
	k := float64(s.Looks)
	i, _ := quantile(s.NewTime, .5)
	j, _ := quantile(s.OldTime, .5)
	mid := record.Fact{Name: "latency", New: milliseconds(Bound(i)), Old: milliseconds(Bound(j)), Unit: "ms", Verdict: "ok"}
	why := ""
	if p < set.of(partShift)/(k*(k+1)) {
		times := ratio(s.NewTime, s.OldTime)
		if gap := time.Duration((times - 1) * float64(Bound(j))); times > slower && gap >= leastSlower {
			mid.Verdict = "worse"
			why = fmt.Sprintf("a request of the new release takes %.3g times as long (one of its requests is slower than one of the old release's in %s of all pairs)", times, percent(effect))
		}
	}
	return append(list, reasoned{mid, why})
}

// query compares the answers to a query.
func (s *State) query(set *settings, q *plan.Query) (list []reasoned) {
	if q.Errors != "" {
		n := s.Totals[q.Name]
		f := record.Fact{Name: q.Name, New: n[0].share(), Old: n[1].share(), Unit: "share", Verdict: "ok"}
		t := s.test("query " + q.Name)
		var why string
		if measures(n[1]) {
			f.Limit = f.Old * set.tolerance
			if t.worse(set.of(partQuery)) {
				f.Verdict = "worse"
			}
			why = q.Name + ": " + set.more("requests", "failed", n[0], n[1])
		} else {
			f.Limit = set.errors
			if t.beyond(set.of(partQuery)) {
				f.Verdict = "worse"
			}
			why = fmt.Sprintf("%s: %s of %s failed, and %s is borne", q.Name, percent(f.New), plural(n[0].Total, "request", "requests"), percent(set.errors))
		}
		list = append(list, reasoned{f, why})
	}
	if q.Value != "" {
		list = append(list, s.series(set, q)...)
	}
	return list
}

// series compares values by rank, and holds the newest against limits.
func (s *State) series(set *settings, q *plan.Query) (list []reasoned) {
	x := s.Last.Answers[q.Name]
	fresh, old := x.New.Series, x.Old.Series
	if len(fresh) == 0 {
		return nil
	}
	last := fresh[len(fresh)-1]
	f := record.Fact{Name: q.Name, New: median(fresh), Old: median(old), Verdict: "ok"}
	if q.Higher {
		fresh, old = negated(fresh), negated(old)
	}
	k := float64(s.Looks)
	r := RankSum(fresh, old)
	worse := r.P < set.of(partQuery)/(k*(k+1)) && r.Shift > (slower-1)*math.Abs(median(old))
	why := fmt.Sprintf("%s: the values of the new release (%.4g) are worse than those of the old one (%.4g) in %s of all pairs", q.Name, f.New, f.Old, percent(r.Effect))
	if s.Beyond[q.Name] >= limitLooks {
		limit := q.Max
		if q.Max == nil || last <= *q.Max {
			limit = q.Min
		}
		if limit != nil {
			f.Limit, worse = *limit, true
			why = fmt.Sprintf("%s is %.4g, and the limit is %.4g", q.Name, last, *limit)
		}
	}
	if worse {
		f.Verdict = "worse"
	}
	return []reasoned{{f, why}}
}

func negated(x []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = -v
	}
	return y
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	h := len(x) / 2
	if len(x)%2 == 1 {
		return x[h]
	}
	return (x[h-1] + x[h]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rounded is a duration as people say it.
func rounded(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }

func plural(n float64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a whole number with commas.
func thousands(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Evidence is the verdict as the record has it.
func (v *Verdict) Evidence(at time.Time) record.Evidence {
	return record.Evidence{OK: v.Decision == Pass, Text: v.Words, Facts: v.Facts, Time: at}
}
