package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// ledgerStore is a store that keeps what is known of tests, too.
type ledgerStore interface {
	store.Store
	suite.Ledger
}

func (s conformance) ledger(t *testing.T) ledgerStore {
	t.Helper()
	st, ok := s.store(t).(ledgerStore)
	if !ok {
		t.Skip("the store has no ledger")
	}
	return st
}

const learner = "suite"

var ledgerEpoch = time.Date(2031, 5, 6, 7, 8, 9, 123456000, time.UTC)

// lesson is something learned about test n of o/r in a run.
func lesson(n int, run int, outcome suite.Outcome) suite.Learned {
	at := ledgerEpoch.Add(time.Duration(run) * time.Minute)
	return suite.Learned{
		Row: suite.Row{
			ID: suite.ID{Repository: "o/r", Key: fmt.Sprintf("%016x", n)}, Title: fmt.Sprintf("pkg › Test%03d", n), File: "pkg/x_test.go", Line: n,
			Owner: "@team", State: record.TestHealthy, Runs: int64(run), Rate: float64(n%7) / 10, Low: .1, High: .9, Seconds: float64(n),
			Lost: float64(n % 5), Size: suite.Small, First: ledgerEpoch, Last: at,
		},
		State: fmt.Appendf(nil, "state of %d after %d\x00\xff", n, run),
		Result: suite.Result{Run: strconv.Itoa(run), Job: "test", Time: at, Commit: fmt.Sprint("c", run), Branch: []string{"main", "dev"}[run%2],
			Base: run%2 == 0, Outcome: outcome, Seconds: .25, Inputs: 1<<63 + uint64(run)},
	}
}

func learn(t testing.TB, st suite.Ledger, seq int64, learned ...suite.Learned) {
	t.Helper()
	if err := st.Learn(t.Context(), learner, seq, learned); err != nil {
		t.Fatalf("learn up to %d: %v", seq, err)
	}
}

func testLedger(t *testing.T, s conformance) {
	st, other := s.ledger(t), s.ledger(t)
	one, two := lesson(1, 1, suite.Passed), lesson(2, 1, suite.Failed)
	two.Row.State, two.Row.Why, two.Row.Until, two.Row.Failed = record.TestQuarantined, "it fails \x00 now and then", ledgerEpoch.AddDate(0, 0, 14), two.Row.Last
	two.Row.Failures, two.Row.Flakes, two.Result.Fault, two.Result.Storm = 3, 2, 1<<63+7, true
	two.Result.Unreachable = true
	windows := one
	windows.Row.Variant, windows.State = "windows", nil
	if err := st.Learn(t.Context(), learner, 5, []suite.Learned{one, two, windows}, record.Event{Body: &record.TestJudged{Key: two.Row.Key, To: record.TestQuarantined}}); err != nil {
		t.Fatal(err)
	}
	nobody := suite.ID{Repository: "o/r", Key: "nobody"}
	known, err := other.Known(t.Context(), []suite.ID{one.Row.ID, two.Row.ID, windows.Row.ID, nobody, {Key: "a\x00"}})
	if err != nil || len(known) != 3 || string(known[one.Row.ID]) != string(one.State) || string(known[two.Row.ID]) != string(two.State) || len(known[windows.Row.ID]) != 0 {
		t.Errorf("known: %q, %v", known, err)
	}
	rows, total, err := other.Tests(t.Context(), suite.Query{Repository: "o/r"})
	two.Row.Why = "it fails \uFFFD now and then"
	if wantRows := []suite.Row{one.Row, windows.Row, two.Row}; err != nil || total != 3 || !reflect.DeepEqual(rows, wantRows) {
		t.Errorf("tests: %d, %v\n got %+v\nwant %+v", total, err, rows, wantRows)
	}
	results, err := other.Results(t.Context(), two.Row.ID, "", 10)
	if err != nil || !reflect.DeepEqual(results, []suite.Result{two.Result}) {
		t.Errorf("results: %v\n got %+v\nwant %+v", err, results, two.Result)
	}
	if e := All(t, other, 0); len(e) != 1 || e[0].Kind() != "test.judged" {
		t.Errorf("events: %+v", e)
	}

	// What was learned once is not learned again, and a reader of another name is another.
	err = other.Learn(t.Context(), learner, 5, []suite.Learned{lesson(1, 9, suite.Failed)}, Event("1", 1))
	if !errors.Is(err, record.ErrConflict) {
		t.Errorf("learned twice: %v", err)
	}
	bad := lesson(1, 9, suite.Failed)
	bad.Result.Run = "nine"
	if err := other.Learn(t.Context(), learner, 6, []suite.Learned{lesson(1, 9, suite.Failed), bad}); err == nil {
		t.Error("a run that is no number was learned")
	}
	if mark, err := st.Marked(t.Context(), learner); mark != 5 || err != nil {
		t.Errorf("marked %d, %v", mark, err)
	}
	if results, err := st.Results(t.Context(), one.Row.ID, "", 10); len(results) != 1 || err != nil || len(All(t, st, 0)) != 1 {
		t.Errorf("what was refused has left %+v, %v", results, err)
	}

	// A row alone, and several results of one test at once.
	alone := lesson(1, 2, 0)
	alone.Row.State, alone.Row.File, alone.Row.Line, alone.Row.Size = record.TestSuspected, "", 0, suite.SizeUnknown
	learn(t, st, 7, alone, lesson(2, 2, suite.Passed), lesson(2, 3, suite.Skipped))
	rows, total, err = st.Tests(t.Context(), suite.Query{Repository: "o/r", States: []record.TestState{record.TestSuspected, record.TestBroken}})
	if err != nil || total != 1 || len(rows) != 1 || rows[0].Key != one.Row.Key ||
		rows[0].File != one.Row.File || rows[0].Line != one.Row.Line || rows[0].Size != suite.Small {
		t.Errorf("suspected: %+v of %d, %v", rows, total, err)
	}
	results, err = st.Results(t.Context(), two.Row.ID, "", 2)
	if err != nil || len(results) != 2 || results[0].Run != "3" || results[1].Run != "2" {
		t.Errorf("results: %+v, %v", results, err)
	}
}

func testLedgerQueries(t *testing.T, s conformance) {
	st := s.ledger(t)
	const tests = 30
	var all []suite.Learned
	for n := range tests {
		l := lesson(n, n+1, suite.Passed)
		if n%3 == 0 {
			l.Row.State, l.Row.Failed = record.TestQuarantined, l.Row.Last
		}
		all = append(all, l)
	}
	elsewhere := lesson(0, 1, suite.Passed)
	elsewhere.Row.Repository = "o/other"
	learn(t, st, 1, append(all, elsewhere)...)
	keys := func(rows []suite.Row) (list []string) {
		for _, r := range rows {
			list = append(list, r.Title[len("pkg › Test"):])
		}
		return list
	}
	for _, c := range []struct {
		q     suite.Query
		total int
		want  []string
	}{
		{suite.Query{Order: "title", Limit: 3, After: 2}, tests, []string{"002", "003", "004"}},
		{suite.Query{Order: "rate", Limit: 3}, tests, []string{"006", "013", "020"}},
		{suite.Query{Order: "lost", Limit: 2}, tests, []string{"004", "009"}},
		{suite.Query{Order: "seconds", Limit: 2}, tests, []string{"029", "028"}},
		{suite.Query{Order: "failed", Limit: 11}, tests, []string{"027", "024", "021", "018", "015", "012", "009", "006", "003", "000", "001"}},
		{suite.Query{Order: "no such order; DROP TABLE tests", Limit: 1}, tests, []string{"000"}},
		{suite.Query{Text: "TEST02", Limit: 2}, 10, []string{"020", "021"}},
		{suite.Query{Text: "%"}, 0, nil},
		{suite.Query{Text: "02", States: []record.TestState{record.TestQuarantined}}, 3, []string{"021", "024", "027"}},
		{suite.Query{States: []record.TestState{record.TestHealthy, record.TestQuarantined}, Limit: 1, After: 29}, tests, []string{"029"}},
		{suite.Query{After: 100}, tests, nil},
		{suite.Query{IDs: []suite.ID{all[7].Row.ID, {Repository: "o/r", Key: "nobody"}, all[3].Row.ID}}, 2, []string{"003", "007"}},
	} {
		c.q.Repository = "o/r"
		rows, total, err := st.Tests(t.Context(), c.q)
		if err != nil || total != c.total || !slices.Equal(keys(rows), c.want) {
			t.Errorf("%+v: got %v of %d, %v", c.q, keys(rows), total, err)
		}
	}
}

// testHistory has a test with a history of many chunks, whose runs overlap.
func testHistory(t *testing.T, s conformance) {
	st := s.ledger(t)
	const runs = 700
	var order []int
	for first := 1; first <= runs; first += 4 {
		order = append(order, first+1, first, first+3, first+2)
	}
	for i, run := range order {
		var learned []suite.Learned
		for n := range 3 {
			l := lesson(n, run, suite.Passed)
			if run%10 == n {
				l.Result.Outcome, l.Result.Fault = suite.Failed, uint64(run)
			}
			learned = append(learned, l)
		}
		learn(t, st, int64(i+1), learned...)
	}
	id := lesson(1, 1, suite.Passed).Row.ID
	for _, c := range []struct{ before, limit, newest, count int }{
		{0, 10, 700, 10}, {0, 1000, 700, 700}, {333, 5, 332, 5}, {2, 5, 1, 1}, {1, 5, 0, 0}, {690, 400, 689, 400},
	} {
		before := ""
		if c.before > 0 {
			before = strconv.Itoa(c.before)
		}
		list, err := st.Results(t.Context(), id, before, c.limit)
		if err != nil || len(list) != c.count {
			t.Fatalf("before %d, at most %d: got %d, %v", c.before, c.limit, len(list), err)
		}
		for i, r := range list {
			want := lesson(1, c.newest-i, suite.Passed).Result
			if (c.newest-i)%10 == 1 {
				want.Outcome, want.Fault = suite.Failed, uint64(c.newest-i)
			}
			if !reflect.DeepEqual(r, want) {
				t.Fatalf("before %d, result %d:\n got %+v\nwant %+v", c.before, i, r, want)
			}
		}
	}
	if _, err := st.Results(t.Context(), id, "first", 1); err == nil {
		t.Error("a run that is no number was understood")
	}
	ids := []suite.ID{id, {Repository: "o/r", Key: "nobody"}, lesson(2, 1, suite.Passed).Row.ID, id}
	for _, c := range []struct {
		branch  string
		columns int
		runs    []int
	}{
		{"", 3, []int{700, 699, 698}}, {"main", 3, []int{700, 698, 696}}, {"dev", 2, []int{699, 697}}, {"nowhere", 3, nil},
	} {
		grid, err := st.Grid(t.Context(), ids, c.branch, c.columns)
		if err != nil || len(grid) != len(ids) {
			t.Fatalf("grid of %q: %d rows, %v", c.branch, len(grid), err)
		}
		for i, row := range grid {
			var got []int
			for _, r := range row {
				run, _ := strconv.Atoi(r.Run)
				got = append(got, run)
			}
			want := c.runs
			if i == 1 {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("grid of %q, row %d: got %v, want %v", c.branch, i, got, want)
			}
		}
	}
}

// testLedgerKill kills a process that learns, and checks that each lesson was learned once
// or not at all, with its mark and its event.
func testLedgerKill(t *testing.T, s conformance) {
	probe, ok := s.open(t, s.dir).(ledgerStore)
	if !ok {
		t.Skip("the store has no ledger")
	}
	closeStore(t, probe)
	for range killsShort {
		c := s.start(t, "learn")
		c.opened(t)
		for range rand.IntN(40) { // let it get on, by its own progress
			c.line()
		}
		c.kill()
		st := s.open(t, s.dir).(ledgerStore)
		mark := must(st.Marked(t.Context(), learner))(t)
		for n := range 3 {
			l := lesson(n, 1, suite.Passed)
			results := must(st.Results(t.Context(), l.Row.ID, "", 10_000))(t)
			known := must(st.Known(t.Context(), []suite.ID{l.Row.ID}))(t)
			if int64(len(results)) != mark || mark > 0 && string(known[l.Row.ID]) != string(lesson(n, int(mark), suite.Passed).State) {
				t.Fatalf("test %d has %d results and the state %q; the mark is %d", n, len(results), known[l.Row.ID], mark)
			}
		}
		if events := All(t, st, 0); int64(len(events)) != mark {
			t.Fatalf("%d events; the mark is %d", len(events), mark)
		}
		closeStore(t, st)
	}
}

// playLearner learns until it is killed.
func playLearner(t *testing.T, st store.Store) {
	ledger := st.(ledgerStore)
	mark, err := st.Marked(t.Context(), learner)
	if err != nil {
		t.Fatal(err)
	}
	for run := int(mark) + 1; ; run++ {
		err := ledger.Learn(t.Context(), learner, int64(run),
			[]suite.Learned{lesson(0, run, suite.Passed), lesson(1, run, suite.Passed), lesson(2, run, suite.Passed)}, Event("1", run))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("learned")
	}
}

// LedgerBenchVar names an environment variable: how many results a benchmark of
// questions about tests puts into the store first.
const LedgerBenchVar = "FAIRLEAD_BENCH_RESULTS"

// BenchLedger measures how many results a second a store learns, with states of real
// tests, and, where LedgerBenchVar says of how many, how long questions take.
func BenchLedger(b *testing.B, open func(b *testing.B) suite.Ledger) {
	const tests = 10_000
	b.Run("learn", func(b *testing.B) {
		st := open(b)
		run, taught := 0, make(class, tests)
		for b.Loop() {
			run++
			b.StopTimer()
			lessons := taught.lessons(b, run)
			b.StartTimer()
			learn(b, st, int64(run), lessons...)
		}
		b.ReportMetric(float64(run*tests)/b.Elapsed().Seconds(), "results/s")
	})
	total, _ := strconv.Atoi(os.Getenv(LedgerBenchVar))
	if total == 0 {
		return
	}
	b.Run("ask", func(b *testing.B) {
		st := open(b)
		start := time.Now()
		taught := make(class, tests)
		for run := 1; run <= total/tests; run++ {
			learn(b, st, int64(run), taught.lessons(b, run)...)
		}
		b.Logf("%d results of %d tests learned in %v", total/tests*tests, tests, time.Since(start).Round(time.Second))
		var ids []suite.ID
		for n := range 200 {
			ids = append(ids, lesson(n*tests/200, 1, suite.Passed).Row.ID)
		}
		ctx := b.Context()
		for _, c := range []struct {
			name string
			ask  func() (int, error)
		}{
			{"tests by rate", func() (int, error) {
				l, _, err := st.Tests(ctx, suite.Query{Repository: "o/r", Order: "rate"})
				return len(l), err
			}},
			{"tests with a text", func() (int, error) {
				l, _, err := st.Tests(ctx, suite.Query{Repository: "o/r", Order: "seconds", Text: "test77"})
				return len(l), err
			}},
			{"results", func() (int, error) { l, err := st.Results(ctx, ids[7], "", 500); return len(l), err }},
			{"old results", func() (int, error) {
				l, err := st.Results(ctx, ids[7], strconv.Itoa(total/tests/2), 100)
				return len(l), err
			}},
			{"grid", func() (int, error) { l, err := st.Grid(ctx, ids, "main", 100); return len(l[0]), err }},
			{"known", func() (int, error) { l, err := st.Known(ctx, ids); return len(l), err }},
		} {
			b.Run(c.name, func(b *testing.B) {
				var times []time.Duration
				for b.Loop() {
					start := time.Now()
					n, err := c.ask()
					if err != nil || n == 0 {
						b.Fatal(n, err)
					}
					times = append(times, time.Since(start))
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)*95/100].Microseconds()), "p95-µs")
			})
		}
	})
}

// class is tests that learn from run after run, a few of which fail by chance.
type class []suite.Test

// lessons are what a run teaches about all of them.
func (c class) lessons(b *testing.B, run int) []suite.Learned {
	learned := make([]suite.Learned, len(c))
	rng := rand.New(rand.NewPCG(1, uint64(run)))
	for n := range learned {
		l := lesson(n, run, suite.Passed)
		if n%20 == 0 && rng.IntN(10) == 0 {
			l.Result.Outcome, l.Result.Fault = suite.Failed, rng.Uint64()
		}
		c[n].Add(l.Result)
		l.State = must(c[n].MarshalBinary())(b)
		learned[n] = l
	}
	return learned
}
