package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Four states, and what leads from one to the other:
//
//	healthy      suspected    it flaked
//	suspected    quarantined  it is sure that it flakes, it has an owner, there is a place
//	suspected    healthy      other inputs and enough passes since; or it is sure to be rare
//	quarantined  healthy      other inputs and enough passes since
//	quarantined  suspected    the quarantine lapsed
//	any          broken       it fails in a row on the base branch, and that is no chance
//	broken       healthy      it passes there again, and never flaked
//	broken       suspected    it passes there again, and had flaked
//
// The ways in and out are apart (hysteresis): one flake makes a suspect, many
// passes on changed inputs acquit it. A quarantined test still runs, its
// failures do not count. It has an owner, a reason and an end, and when one of
// them is missing or past, its failures count again.

// Policy is what a project says of its tests' states. The zero value of a
// field stands for its default, see [Policy.Complete].
type Policy struct {
	Off      bool     // Fairlead puts no test into quarantine by itself
	Flakes   int      // flakes, in as many runs, before a quarantine: 2
	Rate     float64  // a quarantined test's rate is above this: 0.01
	Sure     float64  // with this probability: 0.9
	Cap      int      // quarantined tests, at most: 8 …
	Share    float64  // … or this share of all tests, when that is more: 0.005
	Days     int      // how long a quarantine lasts: 14
	MaxDays  int      // the longest one that a person may order: 90
	Renewals int      // quarantines without a fix in between; then a person decides: 3
	Passes   int      // in a row on other inputs, at least, before it is fixed: 10
	Broken   int      // failures in a row on the base branch, at least: 3
	Mended   int      // passes in a row there, before it is no longer broken: 2
	Who      []string // may change states by hand; none: all who may change the project
}

// Complete returns the policy with defaults for what it does not say, and
// sense for what makes none.
func (p Policy) Complete() Policy {
	count := func(n *int, usual int) {
		if *n <= 0 {
			*n = usual
		}
	}
	share := func(x *float64, usual float64) {
		if !(*x > 0 && *x < 1) {
			*x = usual
		}
	}
	count(&p.Flakes, 2)
	share(&p.Rate, .01)
	share(&p.Sure, .9)
	count(&p.Cap, 8)
	share(&p.Share, .005)
	count(&p.Days, 14)
	count(&p.MaxDays, 90)
	p.MaxDays = max(p.MaxDays, p.Days)
	count(&p.Renewals, 3)
	count(&p.Passes, 10)
	count(&p.Broken, 3)
	count(&p.Mended, 2)
	return p
}

// Places is how many of a project's tests may be in quarantine at a time.
func (p Policy) Places(tests int) int {
	p = p.Complete()
	return max(p.Cap, int(p.Share*float64(tests)))
}

// May reports whether a person may change the state of a test by hand.
func (p Policy) May(who string) bool {
	return who != "" && (len(p.Who) == 0 || slices.Contains(p.Who, who))
}

// Ward is what of its project matters for the state of one test.
type Ward struct {
	Tests       int    // of the project
	Quarantined int    // of them, the test itself left out
	Owner       string // who would answer for the test: of CODEOWNERS, else who wrote it last
}

// Judge says which state a test is to go into now, nil when it stays in its
// own. It changes nothing: see [Test.Apply]. Repository, Key, Variant and
// Title of the answer are left to the caller.
func Judge(t *Test, e Estimate, w Ward, p Policy, now time.Time) *record.TestJudged {
	p = p.Complete()
	state, _ := t.State()
	to := func(next record.TestState, format string, args ...any) *record.TestJudged {
		j := &record.TestJudged{From: state, To: next, Why: clip(fmt.Sprintf(format, args...), maxWhy), Owner: t.owner}
		for _, ev := range t.evidence {
			j.Evidence = append(j.Evidence, ev.String())
		}
		return j
	}
	switch {
	case state == record.TestQuarantined && !t.Muted(now):
		return to(record.TestSuspected, "its quarantine lapsed: it counts again")
	case state == record.TestBroken:
		switch {
		case t.baseGood < p.Mended:
			return nil
		case t.flakes > t.before:
			return to(record.TestSuspected, "it passes again, %s in a row; before it broke it had flaked", times(t.baseGood))
		}
		return to(record.TestHealthy, "it passes again, %s in a row", times(t.baseGood))
	case t.baseBad >= p.Broken && e.Rate*math.Pow(e.Again(), float64(t.baseBad-1)) < .001:
		return to(record.TestBroken, "it failed %s in a row on the base branch: that is no chance", times(t.baseBad))
	case state == record.TestHealthy:
		if t.flakes == t.before {
			return nil
		}
		return to(record.TestSuspected, "it failed by chance, at a rate of %s", e.Range())
	}
	if t.cleanElse >= enough(t.ill(e), p.Passes) {
		return to(record.TestHealthy, "fixed: its inputs changed, and it passed %s since", times(t.cleanElse))
	}
	if state == record.TestQuarantined {
		return nil
	}
	switch sure := e.Above(p.Rate); {
	case sure < .05 && t.clean >= p.Passes:
		return to(record.TestHealthy, "it fails by chance too rarely to matter: at a rate of %s", e.Range())
	case sure < p.Sure, p.Off, t.flakes-t.before < int64(p.Flakes), t.evidenceRuns() < float64(min(p.Flakes, maxEvidence)),
		w.Owner == "", w.Quarantined >= p.Places(w.Tests), t.renewals >= p.Renewals:
		return nil
	}
	j := to(record.TestQuarantined, "it fails by chance, at a rate of %s", e.Range())
	j.Owner, j.Until = w.Owner, now.AddDate(0, 0, p.Days)
	return j
}

// Obstacle says, for people, why a suspected test is not put into quarantine;
// "" when nothing is in the way, or the test is in another state.
func Obstacle(t *Test, e Estimate, w Ward, p Policy) string {
	p = p.Complete()
	state, _ := t.State()
	switch {
	case state != record.TestSuspected:
		return ""
	case p.Off:
		return "the project leaves quarantine to people"
	case t.renewals >= p.Renewals:
		return fmt.Sprintf("it was in quarantine %s without being fixed: a person must decide", times(t.renewals))
	case t.flakes-t.before < int64(p.Flakes) || t.evidenceRuns() < float64(min(p.Flakes, maxEvidence)):
		return fmt.Sprintf("it takes flakes in %d runs", p.Flakes)
	case e.Above(p.Rate) < p.Sure:
		return fmt.Sprintf("it is not sure that its rate is above %s", percent(p.Rate))
	case w.Owner == "":
		return "nobody owns it: name an owner in CODEOWNERS"
	case w.Quarantined >= p.Places(w.Tests):
		return fmt.Sprintf("all %d places in quarantine are taken: fix one of those tests first", p.Places(w.Tests))
	}
	return ""
}

// Decision is what a person wants of a test's state.
type Decision struct {
	To    record.TestState
	By    string    // the person
	Why   string    // the person's reason
	Owner string    // of a quarantine; "" for the one of CODEOWNERS
	Until time.Time // the end of a quarantine; zero for the policy's days
}

// Decide is [Judge] for a person's wish. Its error is for that person, and
// says why the wish is not granted.
func Decide(t *Test, d Decision, w Ward, p Policy, now time.Time) (*record.TestJudged, error) {
	p = p.Complete()
	state, _ := t.State()
	j := &record.TestJudged{From: state, To: d.To, Why: clip(d.Why, maxWhy), Owner: d.Owner, By: clip(d.By, maxName)}
	switch {
	case !p.May(d.By):
		return nil, fmt.Errorf("%s may not change the state of tests here", named(d.By, "somebody without a name"))
	case d.Why == "":
		return nil, errors.New("a test's state is changed for a reason: say which")
	}
	switch d.To {
	case record.TestHealthy, record.TestSuspected, record.TestBroken:
		j.Owner = ""
	case record.TestQuarantined:
		last := now.AddDate(0, 0, p.MaxDays)
		if j.Owner == "" {
			j.Owner = w.Owner
		}
		if j.Until = d.Until; j.Until.IsZero() {
			j.Until = now.AddDate(0, 0, p.Days)
		}
		switch {
		case j.Owner == "":
			return nil, errors.New("a quarantine needs an owner who answers for it: name one")
		case !j.Until.After(now):
			return nil, fmt.Errorf("a quarantine ends in the future, not on %s", j.Until.Format(time.DateOnly))
		case j.Until.After(last):
			return nil, fmt.Errorf("a quarantine lasts %d days at most: until %s", p.MaxDays, last.Format(time.DateOnly))
		case state != record.TestQuarantined && w.Quarantined >= p.Places(w.Tests):
			return nil, fmt.Errorf("all %d places in quarantine are taken: fix one of those tests first", p.Places(w.Tests))
		}
	default:
		return nil, fmt.Errorf("there is no state %q: healthy, suspected, quarantined or broken", d.To)
	}
	for _, ev := range t.evidence {
		j.Evidence = append(j.Evidence, ev.String())
	}
	return j, nil
}

// Apply puts the test into the state that was judged at a time. A quarantine
// without an owner or an end is none: the test is suspected.
func (t *Test) Apply(j *record.TestJudged, at time.Time) {
	from := t.state
	t.state, t.since, t.until, t.owner = j.To, at, time.Time{}, ""
	t.why, t.by = clip(j.Why, maxWhy), clip(j.By, maxName)
	switch {
	case j.To == record.TestQuarantined && j.Owner != "" && j.Until.After(at):
		t.until, t.owner = j.Until, clip(j.Owner, maxName)
		if from != record.TestQuarantined {
			t.renewals++
		}
	case j.To == record.TestHealthy:
		t.renewals, t.before = 0, t.flakes
	case j.To == record.TestBroken:
	default:
		t.state = record.TestSuspected
		if from == record.TestQuarantined {
			t.before = t.flakes // another quarantine takes other evidence
		}
	}
}

// Since is when the test came into its state, zero when it was never judged.
func (t *Test) Since() time.Time { return t.since }

// evidenceRuns is how many runs the kept evidence is of, weak ones for less.
func (t *Test) evidenceRuns() float64 {
	runs := map[uint64]float64{}
	for _, e := range t.evidence {
		runs[e.Run] = max(runs[e.Run], e.Kind.weight())
	}
	sum := 0.0
	for _, w := range runs {
		sum += w
	}
	return sum
}

// ill is the rate of the test up to its last flake, as if results did not come
// in bursts.
func (t *Test) ill(e Estimate) float64 {
	sum := t.Tally()
	until := max(sum.Results-float64(t.clean), sum.Flakes)
	return sum.Flakes / (until + 1) * fewer(e.Burst)
}

// enough is how many passes in a row a test that fails at this rate would
// manage with a probability of less than 5 %, but at least n.
func enough(rate float64, n int) int {
	if rate <= 0 || rate >= 1 {
		return n
	}
	return max(n, int(math.Ceil(math.Min(math.Log(.05)/math.Log1p(-rate), 1e6))))
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func named(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// percent writes a share as people read it: two digits, no more.
func percent(x float64) string {
	switch p := x * 100; {
	case p == 0:
		return "0 %"
	case p < .001:
		return "less than 0.001 %"
	case p >= 10:
		return fmt.Sprintf("%.0f %%", p)
	default:
		return fmt.Sprintf("%.2g %%", p)
	}
}

// Range is the interval of the rate, for people: "0.8 % to 4 %".
func (e Estimate) Range() string { return percent(e.Low) + " to " + percent(e.High) }
