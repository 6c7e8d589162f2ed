package fault

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	green := Base{Known: true, Branch: "main", Run: "812"}
	red := Base{Known: true, Branch: "main", Failing: true, Print: 7, Run: "800", Since: monday}
	fail := &record.Diagnosis{Rule: "test-failed", Verdict: plan.Failure, Title: "test TestCart failed"}
	machine := &record.Diagnosis{Rule: "disk-full", Verdict: plan.Fault, Title: "the disk is full"}
	flaky := &TestFacts{State: record.TestSuspected, Rate: .07, Low: .03, High: .12, Runs: 200}
	healthy := &TestFacts{State: record.TestHealthy, Rate: .0001, High: .001, Runs: 900}
	cause := &Cause{Rule: "go-build", Text: "cart.go:7:3: undefined: x", At: plan.Source{File: "cart.go", Line: 7}, Sure: Located}
	elsewhere := &Cluster{Count: 14, First: monday.AddDate(0, 0, -6), Last: monday, Days: []Day{{"2026-11-17", 10}, {"2026-11-23", 4}}, Branches: []Named{{"a", 5}, {"b", 5}, {"topic", 4}}}
	issue := Recognised{Issue: Issue{Name: "registry is slow", Blame: Infrastructure, Note: "INFRA-12"}}
	f := Failure{Branch: "topic", Print: 7, Time: monday, Test: "k"}
	for name, c := range map[string]struct {
		c    Case
		want Blame
		why  string
		sure float64 // at least
	}{
		"nothing is known":                         {Case{}, Nobody, "nothing is known", 0},
		"a failure, and nothing else":              {Case{Diagnosis: fail}, Yours, "TestCart", .2},
		"an error in a file that changed":          {Case{Failure: f, Diagnosis: fail, Cause: cause, Changed: []string{"shop/cart.go"}, ChangedKnown: true, Base: green}, Yours, "shop/cart.go", .9},
		"an error in a file that did not change":   {Case{Failure: f, Diagnosis: fail, Cause: cause, Changed: []string{"README.md"}, ChangedKnown: true, Base: red}, Broken, "main fails in the same way since 23 November 12:00 (run 800)", .7},
		"the base fails in another way":            {Case{Failure: Failure{Print: 8}, Diagnosis: fail, Base: red, Cause: cause, Changed: []string{"cart.go"}, ChangedKnown: true}, Yours, "cart.go", .6},
		"the disk is full":                         {Case{Failure: f, Diagnosis: machine, Base: green}, Infrastructure, "disk is full", .6},
		"a storm":                                  {Case{Failure: f, Diagnosis: fail, Storm: Storm{9, 12}, Base: green}, Infrastructure, "9 of 12 jobs", .5},
		"no storm: too few":                        {Case{Failure: f, Diagnosis: fail, Storm: Storm{2, 2}, Base: green}, Yours, "it passes on main", .5},
		"it passed again":                          {Case{Failure: f, Diagnosis: fail, TestState: &TestFacts{State: record.TestHealthy, PassedAgain: true}, Base: green}, Flaky, "tried again", .6},
		"proof of innocence":                       {Case{Failure: f, Diagnosis: fail, TestState: &TestFacts{State: record.TestHealthy, Innocent: true, Read: 14}, Base: green}, Flaky, "none of the 14 files", .5},
		"innocent, and the base is red, otherwise": {Case{Failure: Failure{Print: 9}, Diagnosis: fail, TestState: &TestFacts{Innocent: true}, Base: red}, Broken, "cannot come from the change", .5},
		"a test that is known to be flaky":         {Case{Failure: f, Diagnosis: fail, TestState: flaky, Base: green}, Flaky, "7 % of the time (3 % to 12 %, 200 runs)", .4},
		"flaky, but its file changed":              {Case{Failure: f, Diagnosis: fail, TestState: flaky, Base: green, Cause: cause, Changed: []string{"cart.go"}, ChangedKnown: true}, Yours, "cart.go", .5},
		"healthy, base green":                      {Case{Failure: f, Diagnosis: fail, TestState: healthy, Base: green}, Yours, "", .7},
		"a broken test":                            {Case{Failure: f, Diagnosis: fail, TestState: &TestFacts{State: record.TestBroken, Rate: 1, Low: .9, High: 1, Runs: 9}}, Broken, "broken", .5},
		"a known issue":                            {Case{Failure: f, Diagnosis: fail, Base: green, Known: []Recognised{issue}}, Infrastructure, `"registry is slow": INFRA-12`, .6},
		"seen in other branches":                   {Case{Failure: f, Cluster: elsewhere}, Flaky, "seen 14 times since Tuesday, in 3 branches", .6},
		"of a step, seen in other branches":        {Case{Failure: Failure{Branch: "topic", Time: monday}, Cluster: elsewhere}, Infrastructure, "other than this one", .5},
		"a line that is new":                       {Case{Failure: f, Base: green, Cause: &Cause{Text: "boom", Line: 4}, Fresh: []FreshLine{{Line{4, "boom"}, 1}}}, Yours, "main", .5},
	} {
		j := Judge(c.c)
		if j.Blame != c.want || !strings.Contains(j.Why, c.why) || j.Sure < c.sure || j.Sure > 1 {
			t.Errorf("%s: %+v", name, j)
		}
		if len(j.Evidence) > 0 && j.Blame != Nobody && j.Evidence[0].For != j.Blame {
			t.Errorf("%s: the first evidence speaks for %s", name, j.Evidence[0].For)
		}
	}
}

func TestIssues(t *testing.T) {
	t.Parallel()
	at := plan.Source{File: "fairlead.yaml", Line: 3}
	known, problems := Compile([]Issue{
		{Name: "slow registry", Pattern: `(ETIMEDOUT|EAI_AGAIN) .*registry`, Blame: Infrastructure},
		{Name: "port", Pattern: "address already in use", Job: "e2e*", Until: monday},
		{Name: "main only", Pattern: "boom", Branch: "main"},
		{Name: "", Pattern: "x", Source: at}, {Name: "no pattern", Source: at}, {Name: "port", Pattern: "y", Source: at}, {Name: "open", Pattern: "(", Source: at},
		{Name: "all", Pattern: ".*", Source: at}, {Name: "word", Pattern: "z", Blame: "mine", Source: at}, {Name: "long", Pattern: strings.Repeat("a", maxPattern+1), Source: at},
	})
	if len(problems) != 7 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for _, p := range problems {
		if p.Source != at || p.Message == "" || p.Hint == "" || p.Rule != "known-issues" {
			t.Errorf("%v", p)
		}
	}
	log := all([]Line{{1, "one"}, {2, "\x1b[31mlisten tcp :80: bind: address already in use\x1b[0m"}, {3, "boom"}, {4, "ETIMEDOUT from registry ETIMEDOUT x registry"}})
	for name, c := range map[string]struct {
		f    Failure
		want string
	}{
		"everywhere":      {Failure{Job: "build", Time: monday}, "slow registry@4"},
		"a job":           {Failure{Job: "e2e/linux", Time: monday.Add(-1)}, "slow registry@4 port@2"},
		"too late":        {Failure{Job: "e2e/linux", Time: monday}, "slow registry@4"},
		"a branch":        {Failure{Branch: "main", Time: monday}, "slow registry@4 main only@3"},
		"in the title":    {Failure{Branch: "main", Title: "it went boom", Time: monday}, "slow registry@4 main only@-1"},
		"nothing of that": {Failure{Title: "quiet"}, "slow registry@4"},
	} {
		var got []string
		for _, r := range known.Find(c.f, log) {
			got = append(got, r.Issue.Name+"@"+itoa(r.Line.N))
			if r.To <= r.From || r.To > len(r.Line.Text) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", name, s, c.want)
		}
	}
	if (*Issues)(nil).Find(Failure{}, log) != nil {
		t.Error("no issues were found")
	}
}

func itoa(n int64) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	return string(rune('0' + n))
}

func TestPreview(t *testing.T) {
	t.Parallel()
	past := []Past{
		{Failure{Branch: "a", Run: "3"}, []Line{{1, "dial: refused"}}},
		{Failure{Branch: "b", Run: "2"}, []Line{{1, "fine"}}},
		{Failure{Branch: "b", Run: "1", Title: "dial: refused"}, nil},
	}
	trial, problems := Preview(Issue{Pattern: "refused", Until: monday.AddDate(-1, 0, 0)}, slices.Values(past))
	if len(problems) != 0 || trial.Of != 3 || trial.Hits != 2 || trial.Branches != 2 || len(trial.Shown) != 2 || trial.Failures[1].Run != "1" {
		t.Errorf("%+v, %v", trial, problems)
	}
	if _, problems := Preview(Issue{Pattern: "["}, slices.Values(past)); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

func TestLike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"", "x", true}, {"x", "x", true}, {"x", "xy", false}, {"x*", "xy", true}, {"*y", "xy", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"*", "", true}, {"x", "", false}, {strings.Repeat("*a", 50), strings.Repeat("a", 200) + "b", false}} {
		if like(c.pattern, c.s) != c.want {
			t.Errorf("like(%q, %q) is %v", c.pattern, c.s, !c.want)
		}
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	var g Green
	for _, l := range []string{"[10:00:01] compiled a.c in 12 ms", "ok  	example.com/a	0.01s", "listening on 127.0.0.1:4001"} {
		g.Add(l)
	}
	got := g.Fresh(all([]Line{{0, "[11:30:00] compiled a.c in 99 ms"}, {1, "\x1b[31mcannot open /tmp/x1\x1b[0m"}, {2, "ok  	example.com/a	0.21s"}, {3, ""}, {4, "cannot open /tmp/x2"}, {5, "done"}}), 0)
	if len(got) != 2 || got[0] != (FreshLine{Line{1, "cannot open /tmp/x1"}, 2}) || got[1].N != 5 {
		t.Errorf("%+v", got)
	}
	var many []Line
	for i := range 5000 {
		many = append(many, Line{int64(i), "line " + strings.Repeat("x", i%97) + strings.Repeat("y", i/97)})
	}
	if got := g.Fresh(all(many), 10); len(got) != 10 || got[9].N != 4999 {
		t.Errorf("%d lines, the last %+v", len(got), got[len(got)-1])
	}
	if got := new(Green).Fresh(all(many[:3]), 0); len(got) != 3 {
		t.Errorf("%+v", got)
	}
}

func FuzzIssues(f *testing.F) {
	f.Add("a(b", "x*", "ab", "some line")
	f.Fuzz(func(t *testing.T, pattern, where, job, line string) {
		k, problems := Compile([]Issue{{Name: "n", Pattern: pattern, Job: where}})
		if len(problems) > 0 == (len(k.issues) > 0) {
			t.Fatalf("%d issues, %v", len(k.issues), problems)
		}
		k.Find(Failure{Job: job, Time: time.Time{}}, all([]Line{{1, line}}))
	})
}

func BenchmarkFresh(b *testing.B) {
	var g Green
	log := make([]Line, 10_000)
	for i := range log {
		log[i] = Line{int64(i), "[" + strings.Repeat("1", 1+i%5) + "/400] compiled src/module_12.c in 12 ms, warnings: 0"}
		g.Add(log[i].Text)
	}
	for b.Loop() {
		g.Fresh(all(log), 0)
	}
	b.ReportMetric(float64(b.N*len(log))/b.Elapsed().Seconds(), "lines/s")
}
