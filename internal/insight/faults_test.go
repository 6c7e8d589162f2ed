package insight

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// ward is a record of runs that failed, and who learns from it.
type ward struct {
	testing.TB
	store  *sqlite.Store
	blobs  *disk.Store
	faults *Faults
	at     time.Time
}

func newWard(t testing.TB) *ward {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := disk.OpenRelaxed(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	w := &ward{TB: t, store: db, blobs: blobs, at: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}
	w.faults = &Faults{Store: db, Runs: db, Ledger: db, Blobs: blobs, Log: func(doing string, err error) { t.Errorf("%s: %v", doing, err) }}
	return w
}

// tale is a run with one job, "test", and one step.
type tale struct {
	branch  string // "" for main
	origin  *record.Origin
	outcome plan.Verdict
	cause   string
	at      plan.Source
	bad     []record.TestResult
	watched *record.Watched
	changed []record.ChangedFile
	muted   []record.Mute
	before  []record.Event // of the job, before the step
}

func (w *ward) run(t tale) *record.Run {
	w.Helper()
	id, number, err := w.store.NewRun(w.Context(), "o/r", "ci.yml")
	if err != nil {
		w.Fatal(err)
	}
	w.at = w.at.Add(time.Hour)
	if t.branch == "" {
		t.branch = "main"
	}
	fin := &record.StepFinished{Name: "make", Outcome: t.outcome, Conclusion: t.outcome, Watched: t.watched}
	if t.outcome.Bad() {
		fin.Fault = &record.Diagnosis{Rule: "exit-code", Verdict: t.outcome, Title: "exit code 2", Cause: t.cause, At: t.at}
		fin.Fault.Print = fmt.Sprintf("%016x", fault.Cause{Rule: "make", Text: t.cause, At: t.at, Sure: fault.Located}.Print())
	}
	events := []record.Event{
		{Body: &record.RunPlanned{Number: number, Attempt: 1, Origin: t.origin, Settings: record.Settings{Muted: t.muted},
			Pipeline: &plan.Pipeline{Dialect: "github", File: "ci.yml", Jobs: []plan.Job{{ID: "test", Name: "test"}}},
			Change:   &plan.Change{Repository: "o/r", Ref: "refs/heads/" + t.branch, SHA: "c" + id, DefaultBranch: "main"}}},
		{Body: &record.RunStarted{}},
		{Job: "test", Body: &record.JobStarted{Attempt: 1, Workspace: "/ws"}},
	}
	events = append(events, t.before...)
	events = append(events, record.Event{Job: "test", Step: "2", Body: &record.StepStarted{Name: "make"}})
	if t.bad != nil {
		events = append(events, record.Event{Job: "test", Step: "2", Body: &record.TestsReported{Source: "junit.xml", Failed: len(t.bad), Bad: t.bad}})
	}
	events = append(events, record.Event{Job: "test", Step: "2", Body: fin}, record.Event{Job: "test", Body: &record.JobFinished{Verdict: t.outcome, Result: t.outcome}})
	if t.changed != nil {
		events = append(events, record.Event{Body: &record.ChangeCompared{Base: "main", Files: t.changed}})
	}
	events = append(events, record.Event{Body: &record.RunFinished{Verdict: t.outcome}})
	for i := range events {
		events[i].Run, events[i].Time = id, w.at
	}
	if _, err := w.store.Append(w.Context(), events...); err != nil {
		w.Fatal(err)
	}
	r, err := w.store.Run(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *ward) explain(r *record.Run) *Explanation {
	w.Helper()
	x, err := w.faults.Explain(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return x
}

// observe keeps what a step was seen to do.
func (w *ward) observe(o record.Observation) string {
	w.Helper()
	o.Mechanism = "seccomp"
	var b bytes.Buffer
	if err := harvest.KeepObservation(&b, &o); err != nil {
		w.Fatal(err)
	}
	d, _, err := w.blobs.Put(w.Context(), &b)
	if err != nil {
		w.Fatal(err)
	}
	return string(d)
}

func read(paths ...string) (o record.Observation) {
	for _, p := range paths {
		o.Inputs = append(o.Inputs, record.Input{Path: p, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular}})
	}
	return o
}

const slow = "dial tcp 10.0.0.9:443: i/o timeout while fetching the package index"

func TestClustersOfRuns(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	for _, branch := range []string{"main", "a", "b", "b"} {
		w.run(tale{branch: branch, outcome: plan.Failure, cause: slow})
	}
	w.run(tale{outcome: plan.Success})
	w.run(tale{branch: "a", outcome: plan.Failure, cause: "undefined: total", at: plan.Source{File: "sum.go", Line: 3}})
	last := w.run(tale{branch: "c", outcome: plan.Failure, cause: strings.Replace(slow, "0.9", "7.1", 1)})
	for range 2 { // the second time there is nothing to learn
		if err := w.faults.Learn(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	o, err := w.faults.Overview(t.Context(), "o/r", 30, w.at)
	if err != nil || len(o.Clusters) != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	first := o.Clusters[0]
	if first.Count != 5 || first.Seen != "seen 5 times today, in 4 branches" || first.OnBase != 1 || first.Days[sparkDays-1] != 5 || !strings.Contains(first.Example, "10.0.7.1") {
		t.Errorf("%+v", first)
	}
	v, err := w.faults.Cluster(t.Context(), "o/r", first.ID, w.at)
	if err != nil || v == nil || len(v.Failures) != 5 || v.Failures[0].Run != last.ID || v.Runs[0] != last.ID {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := w.faults.Cluster(t.Context(), "o/r", "nobody", w.at); v != nil || err != nil {
		t.Errorf("%+v, %v", v, err)
	}
	// An explanation counts nothing twice.
	for range 2 {
		if x := w.explain(last); len(x.Troubles) != 1 || x.Troubles[0].Seen != first.Seen || x.Troubles[0].Cluster != first.ID {
			t.Errorf("%+v", x)
		}
	}
}

// TestLearnedOnce has the reader die between its two writes, and forget how far it was.
func TestLearnedOnce(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.run(tale{outcome: plan.Failure, cause: slow})
	learn := func() {
		if err := w.faults.Learn(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	learn()
	if err := w.store.Mark(t.Context(), faultReader, 0); err != nil {
		t.Fatal(err)
	}
	w.run(tale{branch: "a", outcome: plan.Failure, cause: slow})
	learn()
	o, err := w.faults.Overview(t.Context(), "o/r", 7, w.at)
	if err != nil || len(o.Clusters) != 1 || o.Clusters[0].Count != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	w.faults.Store = failing{w.store}
	w.run(tale{outcome: plan.Failure, cause: slow})
	if err := w.faults.Learn(t.Context(), time.Time{}); err == nil {
		t.Error("the mark was written, and could not be")
	}
	w.faults.Store = w.store
	learn()
	if o, err = w.faults.Overview(t.Context(), "o/r", 7, w.at); err != nil || o.Clusters[0].Count != 3 {
		t.Errorf("%+v, %v", o, err)
	}
}

type failing struct{ *sqlite.Store }

func (failing) Mark(context.Context, string, int64) error { return errors.New("it died") }

func TestVerdicts(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.run(tale{outcome: plan.Success})
	x := w.explain(w.run(tale{branch: "a", outcome: plan.Failure, cause: "undefined: total", at: plan.Source{File: "sum.go", Line: 3}, changed: []record.ChangedFile{{Path: "sum.go"}}}))
	if v := x.Troubles[0]; !v.New || v.Blame != fault.Yours || v.Why != "the error is in sum.go, which the change touches" || x.New != 1 || x.Sentence() != "1 new failure" {
		t.Errorf("%+v", x)
	}
	w.run(tale{outcome: plan.Failure, cause: "undefined: sum", at: plan.Source{File: "sum.go", Line: 9}})
	x = w.explain(w.run(tale{branch: "b", outcome: plan.Failure, cause: "undefined: sum", at: plan.Source{File: "sum.go", Line: 12}}))
	if v := x.Troubles[0]; v.New || v.Blame != fault.Broken || !strings.HasPrefix(v.Why, "main fails in the same way since") || x.Sentence() != "no new failure; 1 known: 1 already broken" {
		t.Errorf("%+v", x)
	}
	if x := w.explain(w.run(tale{outcome: plan.Success})); len(x.Troubles) != 0 || x.Sentence() != "" {
		t.Errorf("%+v", x)
	}
	x = w.explain(w.run(tale{branch: "c", outcome: plan.Fault, cause: "no space left on device"}))
	if v := x.Troubles[0]; v.New || v.Blame != fault.Infrastructure {
		t.Errorf("%+v", v)
	}
}

func result(name, message string) record.TestResult {
	return record.TestResult{Suite: "p", Name: name, Status: record.TestFailed, Message: message, File: "p/x_test.go", Line: 4}
}

// TestTests judges the failed tests of a step, and not the step.
func TestTests(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	flaky, fresh := result("TestFlaky", "got 3 answers"), result("TestNew", "the sum is wrong today")
	parent := record.TestResult{Suite: "p", Name: "TestParent", Status: record.TestFailed}
	inner := result("inner", "no")
	inner.Groups, inner.Params = []string{"TestParent"}, "[case 2]"
	id := suite.ID{Repository: "o/r", Key: flaky.Key()}
	row := suite.Row{ID: id, Title: "p › TestFlaky", State: record.TestQuarantined, Rate: .2, Low: .1, High: .3, Runs: 40, Owner: "@team"}
	if err := w.store.Learn(t.Context(), "test", 1, []suite.Learned{{Row: row}}); err != nil {
		t.Fatal(err)
	}
	r := w.run(tale{branch: "a", outcome: plan.Failure, cause: "--- FAIL: TestNew", bad: []record.TestResult{flaky, fresh, parent, inner},
		muted: []record.Mute{{Key: flaky.Key(), Until: w.at.Add(24 * time.Hour)}}})
	x := w.explain(r)
	var got []string
	for _, v := range x.Troubles {
		got = append(got, fmt.Sprintf("%s: %s new=%t muted=%t %s", v.Test, v.Blame, v.New, v.Muted, v.At))
	}
	if want := "p › TestNew: your change new=true muted=false p/x_test.go:4\np › TestParent › inner [case 2]: your change new=true muted=false p/x_test.go:4\np › TestFlaky: flaky new=false muted=true p/x_test.go:4"; strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if x.Sentence() != "2 new failures; 1 known: 1 flaky" {
		t.Error(x.Sentence())
	}
	o, err := w.faults.Overview(t.Context(), "o/r", 7, w.at)
	if err != nil || len(o.Clusters) != 3 {
		t.Fatalf("%+v, %v", o, err)
	}
	for _, c := range o.Clusters {
		if c.Title == "got 3 answers" && c.Owner != "@team" {
			t.Errorf("%+v", c)
		}
	}
}

func TestInnocenceOfFailures(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	blobs := func(o record.Observation) *record.Watched {
		return &record.Watched{Mechanism: "seccomp", Kept: w.observe(o)}
	}
	bad := []record.TestResult{result("TestX", "boom")}
	changed := []record.ChangedFile{{Path: "docs/a.md"}}
	earlier := func(o record.Observation, fx plan.Effects) ([]record.Event, []record.Earlier) {
		return []record.Event{
			{Job: "test", Step: "1", Body: &record.StepStarted{Name: "before"}},
			{Job: "test", Step: "1", Body: &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success, Effects: fx}},
		}, []record.Earlier{{Step: "1", Kept: w.observe(o)}}
	}
	wrote := read("/ws/docs/a.md")
	wrote.Outputs = []record.Output{{Path: "/ws/gen.go", FileState: record.FileState{Kind: record.Regular}, Made: true}}
	for name, c := range map[string]struct {
		tale   tale
		before record.Observation
		fx     plan.Effects
		has    bool // an earlier step
		want   string
	}{
		"proven":              {tale: tale{watched: blobs(read("/ws/x.go")), changed: changed}, want: "nothing that the test read has changed: it used 1 file, none of the 1 that the change touches"},
		"guilty":              {tale: tale{watched: blobs(read("/ws/docs/a.md")), changed: changed}, want: "!the test used 1 file of the change"},
		"not watched":         {tale: tale{changed: changed}, want: "!nobody watched what it read"},
		"no change":           {tale: tale{watched: blobs(read("/ws/x.go"))}, want: "!it is not known which files the change touches"},
		"the pipeline":        {tale: tale{watched: blobs(read("/ws/x.go")), changed: []record.ChangedFile{{Path: "ci.yml"}}}, want: "!the change touches ci.yml, which says what the step does"},
		"an earlier step":     {tale: tale{watched: blobs(read("/ws/gen.go")), changed: changed}, before: wrote, has: true, want: "!the test used 1 file of the change"},
		"one without traces":  {tale: tale{watched: blobs(read("/ws/x.go")), changed: changed}, before: wrote, has: true, want: "nothing that the test read has changed: it used 1 file, none of the 1 that the change touches"},
		"one that set things": {tale: tale{watched: blobs(read("/ws/x.go")), changed: changed}, before: wrote, fx: plan.Effects{Env: []plan.Setting{{Name: "V", Value: "2"}}}, has: true, want: "!an earlier step (number 1) that used docs/a.md set values that later steps see"},
		"one that set others": {tale: tale{watched: blobs(read("/ws/x.go")), changed: changed}, before: read("/ws/go.mod"), fx: plan.Effects{Env: []plan.Setting{{Name: "V", Value: "2"}}}, has: true, want: "nothing that the test read has changed: it used 1 file, none of the 1 that the change touches"},
	} {
		c.tale.branch, c.tale.outcome, c.tale.bad, c.tale.cause = "a", plan.Failure, bad, "boom"
		if c.has {
			c.tale.before, c.tale.watched.Earlier = earlier(c.before, c.fx)
		}
		v := w.explain(w.run(c.tale)).Troubles[0]
		got := v.Innocence
		if !v.Innocent {
			got = "!" + got
		}
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		if v.Innocent && (v.New || v.Blame != fault.Flaky) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestKnownIssues(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	ada := By{Name: "ada", Via: "session"}
	ctx := t.Context()
	for range 3 {
		w.run(tale{branch: "a", outcome: plan.Failure, cause: slow})
	}
	w.run(tale{branch: "b", outcome: plan.Failure, cause: "undefined: total"})
	if err := w.faults.Learn(ctx, time.Time{}); err != nil {
		t.Fatal(err)
	}
	issue := Issue{Name: "the index is slow", Pattern: "i/o timeout .*index", Note: "run it again", Link: "https://example.com/12", Blame: fault.Infrastructure}
	trial, err := w.faults.Try(ctx, "o/r", issue)
	if err != nil || trial.Of != 4 || trial.Hits != 3 || trial.Branches != 1 || trial.Shown[0].Match != "i/o timeout while fetching the package index" || trial.Shown[0].Run != "3" {
		t.Errorf("%+v, %v", trial, err)
	}
	if trial, err = w.faults.Try(ctx, "o/r", Issue{Pattern: "("}); err != nil || trial.Problem == "" || trial.Hint == "" {
		t.Errorf("%+v, %v", trial, err)
	}
	if err := w.faults.SetIssue(ctx, ada, "o/r", issue); err != nil {
		t.Fatal(err)
	}
	x := w.explain(w.run(tale{branch: "c", outcome: plan.Failure, cause: slow}))
	if v := x.Troubles[0]; v.New || v.Blame != fault.Infrastructure || len(v.Known) != 1 || v.Known[0].Link != issue.Link || !strings.Contains(v.Why, "the index is slow") {
		t.Errorf("%+v", v)
	}
	list, err := w.faults.Issues(ctx, "o/r")
	if err != nil || len(list) != 1 || list[0].By != "ada" || list[0].Recent != 4 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, bad := range []Issue{{Name: "x", Pattern: ".*"}, {Name: "", Pattern: "x"}, {Name: "x", Pattern: "x", Link: "javascript:1"}, {Name: "x", Pattern: "x", Blame: "mine"}, {Name: "x", Pattern: "x", Note: strings.Repeat("n", 2000)}} {
		var refused *plan.UsageError
		if err := w.faults.SetIssue(ctx, ada, "o/r", bad); !errors.As(err, &refused) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := w.faults.RemoveIssue(ctx, ada, "o/r", issue.Name); err != nil {
		t.Fatal(err)
	}
	var refused *plan.UsageError
	if err := w.faults.RemoveIssue(ctx, ada, "o/r", issue.Name); !errors.As(err, &refused) {
		t.Error(err)
	}
	acts, err := w.store.Events(ctx, store.EventFilter{Kinds: []record.Kind{"acted"}})
	if err != nil || len(acts) != 2 {
		t.Errorf("%d acts, %v", len(acts), err)
	}
}

// TestBounded has a repository fail in as many ways as there may be, at great length.
func TestBounded(t *testing.T) {
	t.Parallel()
	g := &gathering{Clusters: new(fault.Clusters)}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range 6000 {
		f := fault.Failure{
			Run: fmt.Sprint(n), Time: at.Add(time.Duration(n) * time.Hour), Branch: fmt.Sprint("branch-", n%97), Job: fmt.Sprint("job-", n%31), Test: fmt.Sprint(n),
			Print: uint64(n%2500) + 1, Title: fmt.Sprintf("pkg%d/file%d.go:%d: %x", n%2500, n%1700, n%1300, sha256.Sum256([]byte{byte(n), byte(n >> 8)})),
		}
		g.Clusters.Add(f)
		if n < maxRecent {
			g.Recent = append(g.Recent, Seen{Failure: f, Said: said(strings.Repeat(strings.Repeat(fmt.Sprint(n, "y"), 100)+"\n", 20))})
		}
	}
	p, err := g.pack()
	if err != nil || len(p.Data) > maxGathering {
		t.Fatalf("%d bytes, %v", len(p.Data), err)
	}
	t.Logf("%d clusters are %d bytes", g.Clusters.Len(), len(p.Data))
	if g.Clusters.Len() < 1000 || len(g.Recent) != maxRecent {
		t.Errorf("%d clusters and %d failures were kept", g.Clusters.Len(), len(g.Recent))
	}
}

// TestHandedIn: what failed elsewhere is explained like what failed here: a test by its
// report, a load test by the thresholds that it did not keep.
func TestHandedIn(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	reports := &Reports{Store: w.store, Runs: w.store, Blobs: w.blobs, Version: "test"}
	take := func(run, name, text string) *Explanation {
		t.Helper()
		taken, err := reports.Take(t.Context(), Handed{Repository: "o/r", Commit: strings.Repeat("a", 40), Branch: "main", DefaultBranch: "main", Run: run}, []ReportFileOf{handed(name, text)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.store.Run(t.Context(), taken.Run)
		if err != nil || !r.Verdict.Bad() {
			t.Fatal(r, err)
		}
		return w.explain(r)
	}
	const junit = `<testsuite name="s"><testcase name="x" file="s.py"><failure message="1 is not 2"/></testcase><testcase name="y"/></testsuite>`
	if x := take("ci-7", "junit.xml", junit); len(x.Troubles) != 1 || x.Troubles[0].Title != "1 is not 2" || x.Troubles[0].Key == "" || x.Troubles[0].Why == "" || x.Troubles[0].At.File != "s.py" {
		t.Errorf("%+v", x)
	}
	const load = `{"metrics":{"http_req_duration":{"type":"trend","contains":"time","values":{"avg":5,"min":1,"med":4,"max":9,"p(90)":8,"p(95)":9},"thresholds":{"p(95)<5":{"ok":false}}},"http_reqs":{"type":"counter","contains":"default","values":{"count":10,"rate":1}}},"root_group":{"name":"","path":"","id":"d","groups":[],"checks":[]}}`
	if x := take("ci-8", "summary.json", load); len(x.Troubles) != 1 || !strings.Contains(x.Troubles[0].Title, "p(95)<5") {
		t.Errorf("%+v", x)
	}
	// Later in the same run.
	if x := take("ci-7", "more.xml", strings.ReplaceAll(junit, "1 is not 2", "2 is not 3")); len(x.Troubles) != 2 {
		t.Errorf("%+v", x)
	}
}
