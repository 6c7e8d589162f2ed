package fault

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Blame is whose fault a failure is.
type Blame string

// The answers. Nobody is one that is not known.
const (
	Yours          Blame = "your change"
	Flaky          Blame = "flaky"
	Infrastructure Blame = "infrastructure"
	Broken         Blame = "already broken"
	Nobody         Blame = "not known"
)

var blames = []Blame{Yours, Flaky, Infrastructure, Broken}

func (b Blame) known() bool { return slices.Contains(blames, b) }

func blameWords() string {
	words := make([]string, len(blames))
	for i, b := range blames {
		words[i] = string(b)
	}
	return strings.Join(words, ", ")
}

// Case is what is known of a failure when it is judged. What is not known is
// left out.
type Case struct {
	Failure
	Diagnosis *record.Diagnosis
	Cause     *Cause
	// Changed is the files that the change touches, slash paths; ChangedKnown
	// is false when there is nothing to compare with.
	Changed      []string
	ChangedKnown bool
	Base         Base
	// TestState is of the test that failed; nil when no test did.
	TestState *TestFacts
	Storm     Storm
	Known     []Recognised
	Cluster   *Cluster // with this failure in it
	Fresh     []FreshLine
}

// Base is how the same test, or the same step, did on the branch that the
// change goes to, when it was last run there.
type Base struct {
	Known   bool
	Branch  string
	Failing bool
	Print   uint64    // of its failure
	Since   time.Time // it has been failing
	Run     string    // in which it first did, or else last passed
}

// TestFacts is what package suite thinks of a test.
type TestFacts struct {
	State record.TestState
	// Rate is how likely it fails by chance, and Low and High the ends of the
	// interval that this is in with 90 %.
	Rate, Low, High float64
	Runs            int64 // behind these numbers
	// PassedAgain says that it passed in this very run when it was tried again.
	PassedAgain bool
	// SameInputs says that it passed before with exactly the same inputs.
	SameInputs bool
	// Innocent says that nothing the test read is changed; Read is how many
	// files it read.
	Innocent bool
	Read     int
}

// Storm is how many jobs of how many failed with an error of the machine in
// the same hour or run.
type Storm struct {
	Failed, Of int
}

// Evidence is one fact, and what it speaks for.
type Evidence struct {
	For    Blame
	Weight float64 // from 0 to 1: how sure it alone would make
	Say    string
}

// Judgement is whose fault a failure is, and why.
type Judgement struct {
	Blame    Blame
	Sure     float64    // from 0 to 1
	Why      string     // the strongest fact
	Evidence []Evidence // all of it, what speaks for the answer first
}

// evidence that decides by itself is at least certain; an answer that is less
// sure than doubtful is none.
const (
	certain  = 0.95
	doubtful = 0.3
	// stormy is the share of jobs with errors of the machine that makes a storm.
	stormy    = 0.5
	stormJobs = 4
	// breaking is how likely a change breaks a given test, when nothing is
	// known: about one in a hundred.
	breaking = 0.01
)

// Judge weighs what is known. Facts that speak for the same answer make it
// surer, facts that speak for another less so. When in doubt it is the change:
// nobody is helped by failures that call themselves weather.
func Judge(c Case) Judgement {
	var e []Evidence
	say := func(b Blame, weight float64, format string, args ...any) {
		e = append(e, Evidence{b, weight, fmt.Sprintf(format, args...)})
	}
	c.issues(say)
	c.machine(say)
	c.base(say)
	c.test(say)
	c.seen(say)
	c.change(say)

	doubt := map[Blame]float64{}
	for _, b := range blames {
		doubt[b] = 1
	}
	for _, x := range e {
		doubt[x.For] *= 1 - x.Weight
	}
	first, second := Nobody, 0.0
	best := 0.0
	for _, b := range blames { // the first of equals: when in doubt, the change
		switch p := 1 - doubt[b]; {
		case p > best:
			first, second, best = b, best, p
		default:
			second = max(second, p)
		}
	}
	j := Judgement{Blame: first, Sure: best * (1 - second/2), Evidence: e}
	slices.SortStableFunc(j.Evidence, func(a, b Evidence) int {
		return cmp.Or(-compare(a.For == first, b.For == first), cmp.Compare(b.Weight, a.Weight))
	})
	if best < doubtful {
		j.Blame, j.Sure = Nobody, 0
	}
	if len(j.Evidence) > 0 {
		j.Why = j.Evidence[0].Say
	} else {
		j.Why = "nothing is known to compare it with"
	}
	return j
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

type sayer = func(b Blame, weight float64, format string, args ...any)

// issues is what the team wrote.
func (c *Case) issues(say sayer) {
	for _, r := range c.Known {
		if r.Issue.Blame == "" {
			continue
		}
		what := fmt.Sprintf("it is the known issue %q", r.Issue.Name)
		if r.Issue.Note != "" {
			what += ": " + r.Issue.Note
		}
		say(r.Issue.Blame, 0.97, "%s", what)
	}
}

// machine is what speaks for the machine.
func (c *Case) machine(say sayer) {
	if s := c.Storm; s.Of >= stormJobs && float64(s.Failed) >= stormy*float64(s.Of) {
		say(Infrastructure, 0.9, "%d of %d jobs failed at the same time for reasons of the machine", s.Failed, s.Of)
	}
	if d := c.Diagnosis; d != nil && d.Verdict == plan.Fault {
		say(Infrastructure, 0.85, "%s", d.Title)
	}
	if c.Cause != nil && c.Cause.Sure == Decisive && (c.Diagnosis == nil || c.Diagnosis.Verdict != plan.Fault) {
		say(Infrastructure, 0.85, "the log says %q", plan.Clip(c.Cause.Text))
	}
}

// base is what the branch that the change goes to says.
func (c *Case) base(say sayer) {
	b := c.Base
	if !b.Known {
		return
	}
	name := cmp.Or(b.Branch, "the base branch")
	since := ""
	if !b.Since.IsZero() {
		since = " since " + b.Since.Format("2 January 15:04")
	}
	if b.Run != "" {
		since += " (run " + b.Run + ")"
	}
	switch {
	case b.Failing && b.Print != 0 && b.Print == c.Print:
		say(Broken, certain, "%s fails in the same way%s", name, since)
	case b.Failing && b.Print != 0 && c.Print != 0:
		say(Broken, 0.5, "%s fails, too, but in another way%s", name, since)
	case b.Failing:
		say(Broken, 0.8, "%s fails, too%s", name, since)
	case !c.OnBase:
		say(Yours, 0.5, "it passes on %s%s", name, since)
	}
}

// test is what the test's own past says.
func (c *Case) test(say sayer) {
	t := c.TestState
	if t == nil {
		return
	}
	if t.PassedAgain {
		say(Flaky, certain, "it passed when it was tried again in the same run")
	}
	if t.SameInputs {
		say(Flaky, 0.9, "it has passed with exactly the same inputs")
	}
	if t.Innocent {
		what := "nothing that it read has changed"
		if t.Read > 0 {
			what = fmt.Sprintf("none of the %d files that it read has changed", t.Read)
		}
		if c.Base.Known && c.Base.Failing {
			say(Broken, 0.6, "it cannot come from the change: %s", what)
		} else {
			say(Flaky, 0.9, "it cannot come from the change: %s", what)
		}
	}
	numbers := fmt.Sprintf("%s of the time (%s to %s, %d runs)", percent(t.Rate), percent(t.Low), percent(t.High), t.Runs)
	switch t.State {
	case record.TestBroken:
		say(Broken, 0.8, "the test is broken: it fails %s", numbers)
	case record.TestQuarantined, record.TestSuspected:
		// How likely is it that chance failed it, and not the change?
		say(Flaky, min(t.Rate/(t.Rate+breaking), 0.9), "it fails by chance %s", numbers)
	case record.TestHealthy:
		if t.Runs >= 20 {
			say(Yours, min(0.6, breaking/(breaking+t.High)), "it is a healthy test: it fails by chance at most %s of the time (%d runs)", percent(t.High), t.Runs)
		}
	}
}

func percent(p float64) string {
	switch p *= 100; {
	case p == 0:
		return "0 %"
	case p < 1:
		return fmt.Sprintf("%.2g %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

// seen is where else it was seen.
func (c *Case) seen(say sayer) {
	k := c.Cluster
	if k == nil {
		return
	}
	others := 0
	for _, b := range k.Branches {
		if b.Name != c.Branch {
			others++
		}
	}
	recent := !c.Time.IsZero() && k.Since(c.Time.AddDate(0, 0, -14)) > 1
	what := k.Say(c.Time)
	switch {
	case k.Count <= 1:
		say(Yours, 0.3, "it was never seen before")
	case others >= 2 && recent && c.Test != "":
		say(Flaky, 0.7, "%s: %d branches other than this one", what, others)
	case others >= 2 && recent && (c.Cause == nil || c.Cause.Sure != Located):
		say(Infrastructure, 0.6, "%s: %d branches other than this one", what, others)
	case others == 1 && recent:
		say(Flaky, 0.3, "%s", what)
	case others == 0:
		say(Yours, 0.4, "%s, in this branch only", what)
	}
}

// change is what the change itself says.
func (c *Case) change(say sayer) {
	if c.Cause != nil && c.Cause.At.File != "" && c.ChangedKnown {
		if file := within(c.Cause.At.File, c.Changed); file != "" {
			say(Yours, 0.9, "the error is in %s, which the change touches", file)
		}
	}
	if len(c.Fresh) > 0 && c.Cause != nil && slices.ContainsFunc(c.Fresh, func(f FreshLine) bool { return f.N == c.Cause.Line }) {
		say(Yours, 0.2, "the last green run did not print %q", plan.Clip(c.Cause.Text))
	}
	if c.Diagnosis != nil && c.Diagnosis.Verdict == plan.Failure {
		say(Yours, 0.35, "%s", c.Diagnosis.Title)
	}
}

// within is the file of the change that a tool's path names, "" when none is: a
// tool's path may be absolute, or of a directory further down.
func within(file string, changed []string) string {
	file = path.Clean(strings.ReplaceAll(file, `\`, "/"))
	best := ""
	for _, f := range changed {
		switch {
		case f == file:
			return f
		case strings.HasSuffix(file, "/"+f) || strings.HasSuffix(f, "/"+file):
			if len(f) > len(best) {
				best = f
			}
		}
	}
	return best
}
