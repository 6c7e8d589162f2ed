package insight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// school is a record of runs that had tests, and who learns from it.
type school struct {
	testing.TB
	store *sqlite.Store
	blobs *disk.Store
	tests *Tests
	at    time.Time
	edit  func(*record.TestsReported) // the next report
	root  string                      // of the tree
	jobs  int                         // that share the results of a run, 0 for one
}

func newSchool(t testing.TB) *school {
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
	s := &school{TB: t, store: db, blobs: blobs, at: time.Now().Add(-30 * 24 * time.Hour).UTC().Truncate(time.Second)}
	s.tests = &Tests{Store: db, Runs: db, Ledger: db, Blobs: blobs, Log: func(doing string, err error) { t.Errorf("%s: %v", doing, err) }}
	return s
}

// keep keeps results as the engine does.
func (s *school) keep(results ...record.TestResult) string {
	s.Helper()
	var b bytes.Buffer
	k, err := harvest.NewKeeper(&b)
	for i := range results {
		err = errors.Join(err, k.Add(&results[i]))
	}
	if err = errors.Join(err, k.Close()); err != nil {
		s.Fatal(err)
	}
	d, _, err := s.blobs.Put(s.Context(), &b)
	if err != nil {
		s.Fatal(err)
	}
	return string(d)
}

// run records a run of a commit on the main branch, an hour after the one before, with one
// report and the digest of what its step read.
func (s *school) run(commit, inputs string, results ...record.TestResult) (id string) {
	s.Helper()
	id, number, err := s.store.NewRun(s.Context(), "o/r", "ci.yml")
	if err != nil {
		s.Fatal(err)
	}
	s.at = s.at.Add(time.Hour)
	if inputs != "" {
		inputs = strings.Repeat(inputs, 64)[:64]
	}
	events := []record.Event{{Body: &record.RunPlanned{Number: number, Attempt: 1, Pipeline: &plan.Pipeline{File: "ci.yml"}, Root: s.root,
		Change: &plan.Change{Repository: "o/r", Ref: "refs/heads/main", SHA: commit, DefaultBranch: "main"}}}}
	jobs := max(s.jobs, 1)
	for n := range jobs {
		share := results[n*len(results)/jobs : (n+1)*len(results)/jobs]
		report := &record.TestsReported{Source: "junit.xml", Results: s.keep(share...)}
		for _, r := range share {
			if r.Status == record.TestFailed {
				report.Failed++
			} else {
				report.Passed++
			}
		}
		if s.edit != nil {
			s.edit(report)
			s.edit = nil
		}
		job := "test"
		if jobs > 1 {
			job = fmt.Sprint("test/", n)
		}
		events = append(events, record.Event{Job: job, Step: "1", Body: report},
			record.Event{Job: job, Step: "1", Body: &record.StepFinished{Watched: &record.Watched{Digest: inputs}}})
	}
	for _, e := range append(events, record.Event{Body: &record.RunFinished{Verdict: plan.Success}}) {
		e.Run, e.Time = id, s.at
		if _, err := s.store.Append(s.Context(), e); err != nil {
			s.Fatal(err)
		}
	}
	return id
}

func (s *school) learn() {
	s.Helper()
	if err := s.tests.Learn(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// row is what is thought of the test of that name.
func (s *school) row(name string) suite.Row {
	s.Helper()
	rows, _, err := s.store.Tests(s.Context(), suite.Query{Repository: "o/r", Text: name})
	if err != nil || len(rows) != 1 {
		s.Fatalf("%s: %+v, %v", name, rows, err)
	}
	return rows[0]
}

func (s *school) results(name string) string {
	s.Helper()
	results, err := s.store.Results(s.Context(), s.row(name).ID, "", 100)
	if err != nil {
		s.Fatal(err)
	}
	var text []string
	for _, r := range results {
		text = append(text, fmt.Sprintf("%s:%d:%g", r.Run, r.Outcome, r.Seconds))
	}
	return strings.Join(text, " ")
}

func testResult(name, status string) record.TestResult {
	r := record.TestResult{Suite: "p", Name: name, Status: status, Seconds: .5, File: "p/a_test.go", Line: 3}
	if status == record.TestFailed {
		r.Message = name + " is wrong"
	}
	return r
}

func TestFolding(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	at := func(r record.TestResult, params string, attempt int) record.TestResult {
		r.Params, r.Attempt = params, attempt
		return r
	}
	inner := testResult("inner", record.TestFailed)
	inner.Groups = []string{"Parent"}
	parent := testResult("Parent", record.TestFailed)
	parent.Message = ""
	s.run("c1", "",
		testResult("plain", record.TestPassed), testResult("skipped", record.TestSkipped), testResult("expected", record.TestXFail),
		at(testResult("cases", record.TestPassed), "1", 0), at(testResult("cases", record.TestFailed), "2", 0), at(testResult("cases", record.TestPassed), "3", 0),
		at(testResult("retried", record.TestFailed), "", 1), at(testResult("retried", record.TestPassed), "", 2),
		at(testResult("in vain", record.TestFailed), "", 1), at(testResult("in vain", record.TestFailed), "", 2),
		at(testResult("half", record.TestFailed), "1", 1), at(testResult("half", record.TestPassed), "1", 2), at(testResult("half", record.TestError), "2", 1),
		testResult("twice", record.TestFailed), testResult("twice", record.TestPassed),
		parent, inner)
	s.learn()
	for name, want := range map[string]string{
		"plain": "1:2:0.5", "skipped": "1:1:0.5", "expected": "1:2:0.5", "cases": "1:4:1.5", "retried": "1:3:0.5", "in vain": "1:4:0.5",
		"half": "1:5:1", "twice": "1:4:1", "inner": "1:4:0.5",
	} {
		if got := s.results(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if _, total, err := s.store.Tests(t.Context(), suite.Query{Repository: "o/r"}); total != 9 || err != nil {
		t.Errorf("%d tests, %v: one that failed for a test in it is counted", total, err)
	}
}

// TestLearning has a test flake until it is in quarantine, all by itself.
func TestLearning(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	flaky := func(status string) record.TestResult {
		r := testResult("flaky", status)
		r.Owner = "@team"
		return r
	}
	for n := range 40 {
		status := record.TestPassed
		if n%3 == 2 {
			status = record.TestFailed
		}
		s.run(fmt.Sprint("c", n/4), fmt.Sprint(n/4%10), flaky(status), testResult("steady", record.TestPassed))
		if n%7 == 0 {
			s.learn()
		}
	}
	s.learn()
	s.learn() // there is nothing more
	row := s.row("flaky")
	if row.State != record.TestQuarantined || row.Runs != 40 || row.Failures != 13 || row.Flakes == 0 || row.Owner != "@team" || !row.Until.After(s.at) || row.Lost == 0 {
		t.Errorf("flaky: %+v", row)
	}
	if row := s.row("steady"); row.State != record.TestHealthy || row.Runs != 40 || row.Failures != 0 || row.File != "p/a_test.go" {
		t.Errorf("steady: %+v", row)
	}
	events, err := s.store.Events(t.Context(), store.EventFilter{Kinds: []record.Kind{"test.judged"}})
	if err != nil || len(events) != 2 {
		t.Fatalf("%d judgements, %v", len(events), err)
	}
	j := events[0].Body.(*record.TestJudged)
	if j.To != record.TestQuarantined || j.Title != "p › flaky" || j.Repository != "o/r" || len(j.Evidence) == 0 || j.Key != row.Key {
		t.Errorf("judged: %+v", j)
	}
	if mark, err := s.store.Marked(t.Context(), suiteReader); err != nil || mark < 160 {
		t.Errorf("marked %d, %v", mark, err)
	}
}

// TestReportsLearnedOnce has what was learned written at another time than it was read: whoever
// comes second does not learn it again.
func TestReportsLearnedOnce(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	for n := range 5 {
		s.run(fmt.Sprint("c", n), "", testResult("a", record.TestPassed))
	}
	lease, err := s.store.Lease(t.Context(), suiteReader, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	var held *store.HeldError
	if err := s.tests.Learn(t.Context()); !errors.As(err, &held) {
		t.Errorf("learned beside somebody: %v", err)
	}
	if err := lease.Release(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tests.Follow(ctx)
	}()
	s.run("c5", "", testResult("a", record.TestFailed))
	newest, err := s.store.Watch(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	for {
		mark, err := s.store.Marked(t.Context(), suiteReader)
		if err != nil {
			t.Fatal(err)
		}
		if mark >= newest {
			break
		}
		time.Sleep(time.Millisecond) // there is no event for a mark
	}
	cancel()
	<-done
	if got := s.results("a"); got != "6:4:0.5 5:2:0.5 4:2:0.5 3:2:0.5 2:2:0.5 1:2:0.5" {
		t.Errorf("got %s", got)
	}
}

func TestBlobsThatAreGone(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	told := 0
	s.tests.Log = func(string, error) { told++ }
	s.run("c1", "", testResult("a", record.TestPassed))
	for _, digest := range []string{"sha256:" + strings.Repeat("0", 64), "nonsense"} {
		e := record.Event{Run: "1", Job: "other", Body: &record.TestsReported{Source: "x", Results: digest}}
		if _, err := s.store.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	d, _, err := s.blobs.Put(t.Context(), strings.NewReader("no results"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []record.Event{
		{Run: "1", Job: "junk", Body: &record.TestsReported{Source: "x", Results: string(d)}},
		{Run: "77", Job: "of no run", Body: &record.TestsReported{Source: "x", Results: s.keep(testResult("b", record.TestPassed))}},
		{Run: "1", Job: "again", Body: &record.TestsReported{Source: "x", Results: s.keep(testResult("c", record.TestPassed)), Reused: true}},
	} {
		if _, err := s.store.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	s.learn()
	if _, total, err := s.store.Tests(t.Context(), suite.Query{Repository: "o/r"}); total != 1 || err != nil || told != 3 {
		t.Errorf("%d tests, %v; %d complaints", total, err, told)
	}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.run("c1", "", testResult("a", record.TestFailed), testResult("b", record.TestPassed))
	s.learn()
	id := s.row("a").ID
	var refused *plan.UsageError
	for _, c := range []struct{ id, by, why, owner string }{{"nobody", "ann", "w", "@o"}, {id.Key, "", "w", "@o"}, {id.Key, "ann", "", "@o"}, {id.Key, "ann", "w", ""}} {
		if _, err := s.tests.Decide(t.Context(), suite.ID{Repository: "o/r", Key: c.id}, suite.Decision{To: record.TestQuarantined, By: c.by, Why: c.why, Owner: c.owner}, nil); !errors.As(err, &refused) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if muted, err := s.tests.Muted(t.Context(), "o/r"); len(muted) != 0 || err != nil {
		t.Errorf("muted: %+v, %v", muted, err)
	}
	until := time.Now().Add(48 * time.Hour)
	if _, err := s.tests.Decide(t.Context(), id, suite.Decision{To: record.TestQuarantined, By: "ann", Why: "the port is taken now and then", Owner: "@team", Until: until}, nil); err != nil {
		t.Fatal(err)
	}
	row := s.row("a")
	if row.State != record.TestQuarantined || row.Owner != "@team" || row.Title != "p › a" || row.Failures != 1 || !strings.Contains(row.Why, "port") {
		t.Errorf("%+v", row)
	}
	muted, err := s.tests.Muted(t.Context(), "o/r")
	if err != nil || len(muted) != 1 || muted[0].Key != id.Key || muted[0].Until.Sub(until).Abs() > time.Second {
		t.Errorf("muted: %+v, %v", muted, err)
	}
	if got := s.results("a"); got != "1:4:0.5" {
		t.Errorf("a decision counts as a result: %s", got)
	}
	if _, err := s.tests.Decide(t.Context(), id, suite.Decision{To: record.TestSuspected, By: "bob", Why: "it was the port, and is fixed"}, nil); err != nil {
		t.Fatal(err)
	}
	if muted, err := s.tests.Muted(t.Context(), "o/r"); len(muted) != 0 || err != nil || s.row("a").State != record.TestSuspected {
		t.Errorf("released: %+v, %v, %+v", muted, err, s.row("a"))
	}
	r, err := s.store.Register(t.Context(), wardKind, "o/r/-/"+id.Key)
	if err != nil || r.Version != 2 || !strings.Contains(string(r.Body), "bob") {
		t.Errorf("register: %+v, %v", r, err)
	}
}

// BenchmarkLearn learns runs of ten thousand tests from their blobs.
func BenchmarkLearn(b *testing.B) {
	const tests = 10_000
	s := newSchool(b)
	results := make([]record.TestResult, tests)
	for n := range results {
		results[n] = testResult(fmt.Sprint("Test", n), record.TestPassed)
	}
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		s.run(fmt.Sprint("c", n), "", results...)
		b.StartTimer()
		s.learn()
	}
	b.ReportMetric(float64(n*tests)/b.Elapsed().Seconds(), "results/s")
}

// TestMarkSetBack has the reader read again what it has learned from.
func TestMarkSetBack(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	for n := range 3 {
		s.run(fmt.Sprint("c", n), fmt.Sprint(n), testResult("a", record.TestPassed), testResult("b", record.TestSkipped))
	}
	s.learn()
	was, row := s.results("a"), s.row("a")
	if err := s.store.Mark(t.Context(), suiteReader, 0); err != nil {
		t.Fatal(err)
	}
	if mark, err := s.store.Marked(t.Context(), suiteReader); mark != 0 || err != nil {
		t.Fatalf("marked %d, %v", mark, err)
	}
	s.run("c3", "3", testResult("a", record.TestPassed))
	s.learn()
	if got := s.results("a"); got != "4:2:0.5 "+was || s.row("a").Runs != row.Runs+1 {
		t.Errorf("got %s after %s; %+v", got, was, s.row("a"))
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.root = t.TempDir()
	h := s.histories()
	if b, err := h.budgets(t.Context(), "o/r"); b != (suite.Budgets{}) || err != nil {
		t.Errorf("of what is not known: %+v, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(s.root, "fairlead.yaml"), []byte("tests:\n  budgets: {small: 2s, large: 5m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("c1", "", testResult("a", record.TestPassed))
	s.learn()
	if b, err := h.budgets(t.Context(), "o/r"); b != (suite.Budgets{Small: 2, Large: 300}) || err != nil {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestCachedPackages has results that a runner remembered: they teach nothing.
func TestCachedPackages(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.run("c1", "", testResult("a", record.TestFailed))
	other := testResult("b", record.TestPassed)
	other.Suite = "q"
	s.edit = func(r *record.TestsReported) { r.Cached = []string{"p"} }
	s.run("c1", "", testResult("a", record.TestPassed), other)
	s.learn()
	if got := s.results("a"); got != "1:4:0.5" || s.row("a").Flakes != 0 {
		t.Errorf("a: %s", got)
	}
	if got := s.results("b"); got != "2:2:0.5" {
		t.Errorf("b: %s", got)
	}
}

// TestStorm has a machine fail under all jobs of a run, each of which has few tests; the
// third time in a row that is how the tests are now.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	all := func(status string) (list []record.TestResult) {
		for n := range 24 {
			list = append(list, testResult(fmt.Sprint("test ", 10+n), status))
		}
		return list
	}
	s.run("c0", "", all(record.TestPassed)...)
	s.learn()
	s.jobs = 4
	for n, storm := range []bool{true, true, false} {
		s.run(fmt.Sprint("bad", n), "", all(record.TestFailed)...)
		s.learn() // by a reader that knows nothing but what was written down
		for _, name := range []string{"test 10", "test 33"} {
			got, err := s.store.Results(t.Context(), s.row(name).ID, "", 1)
			if err != nil || len(got) != 1 || got[0].Storm != storm || (s.row(name).Failures == 0) != storm {
				t.Errorf("storm %d, %s: %+v, %v", n, name, got, err)
			}
		}
	}
}
