package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

const (
	manyTests  = 20_000
	runsOfEach = 500 // ten million results in all
	flakyEvery = 100 // every hundredth test fails by chance now and then
)

// tests are the pages about tests, asked for with ten million results in the ledger.
func (b *serving) tests() error {
	h, err := b.site("tests", nil)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := learnMany(h.data); err != nil {
		return err
	}
	took := time.Since(begin)
	b.row("(10 million results of 20,000 tests put into the ledger)", fmt.Sprintf("%.0f s, %d a second", took.Seconds(), int(manyTests*runsOfEach/took.Seconds())), "")
	if err := h.serve(); err != nil {
		return err
	}
	defer h.stop()
	test := func(i int) string {
		r := testNo(i)
		return "/test/" + r.Key() + "?" + url.Values{"repository": {"team/app"}}.Encode()
	}
	var worst time.Duration
	var at string
	for _, path := range []string{
		"/tests", "/tests/team/app", "/tests/team/app?state=ill&order=lost", "/tests/team/app?order=seconds&after=10000", "/tests/team/app?text=Part77", "/tests/team/app?format=json&limit=100",
		"/heatmap/team/app", "/heatmap/team/app?branch=main&runs=200", "/pyramid/team/app", test(0), test(1), test(5 * flakyEvery),
	} {
		var took []time.Duration
		for range 42 {
			_, _, whole, err := h.get(path)
			if err != nil {
				return err
			}
			took = append(took, whole)
		}
		p := quantile(took[2:], 0.95)
		b.row("with them, 95 %: "+path, millis(p), "100 ms")
		if p > worst {
			worst, at = p, path
		}
	}
	b.row("any page about tests, 95 %: the slowest is "+at, millis(worst), "100 ms")
	return nil
}

// testNo is test i.
func testNo(i int) record.TestResult {
	return record.TestResult{Suite: fmt.Sprintf("team/app/internal/part%03d", i%300), Name: fmt.Sprintf("TestPart%d", i), File: fmt.Sprintf("internal/part%03d/part_test.go", i%300), Line: 1 + i%900}
}

// learnMany has the ledger hold the results of all tests in all runs, ten runs at a time.
func learnMany(data string) error {
	ctx := context.Background()
	st, err := sqlite.Open(ctx, data, sqlite.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	const batch = 10
	dice := rand.New(rand.NewPCG(1, 2))
	prior := suite.Usual()
	known, rows := make([]suite.Test, manyTests), make([]suite.Row, manyTests)
	for i := range rows {
		r := testNo(i)
		rows[i] = suite.Row{ID: suite.ID{Repository: "team/app", Key: r.Key()}, Title: r.Title(), File: r.File, Line: r.Line, Owner: "@team", Size: suite.Size(1 + i%3)}
	}
	begin := time.Now().Add(-60 * 24 * time.Hour).UTC().Truncate(time.Second)
	learned := make([]suite.Learned, 0, batch*manyTests)
	for first := 1; first <= runsOfEach; first += batch {
		learned = learned[:0]
		var events []record.Event
		for run := first; run < first+batch; run++ {
			at, id, commit := begin.Add(time.Duration(run)*2*time.Hour), strconv.Itoa(run), fmt.Sprintf("%040x", run/3+1)
			report := &record.TestsReported{Source: "junit.xml", Format: "junit", Passed: manyTests}
			for i := range known {
				result := suite.Result{Run: id, Job: "test", Time: at, Commit: commit, Branch: "main", Base: true, Outcome: suite.Passed, Seconds: float64(1+i%500) / 1000, Inputs: uint64(run/3 + 1)}
				if i%flakyEvery == 0 && dice.IntN(12) == 0 {
					r := testNo(i)
					r.Status, r.Message = record.TestFailed, "the answer is late"
					result.Outcome, result.Fault = suite.Failed, fault.Fingerprint(r.Type, r.Message, r.Stack, nil)
					report.Bad = append(report.Bad, r)
					report.Failed++
				}
				test, row := &known[i], &rows[i]
				test.Add(result)
				l := suite.Learned{Result: result}
				if run == first+batch-1 { // the last of a batch is what stays
					e := prior.Of(test)
					if j := suite.Judge(test, e, suite.Ward{Tests: manyTests, Owner: "@team"}, suite.Policy{}, at); j != nil {
						test.Apply(j, at)
						j.Repository, j.Key, j.Title = "team/app", row.Key, row.Title
						events = append(events, record.Event{Time: at, Run: id, Job: "test", Body: j})
					}
					c := test.Counts()
					row.State, row.Why = test.State()
					row.Until, row.Runs, row.Failures, row.Flakes = test.Until(), c.Runs, c.Failures, c.Flakes
					row.Rate, row.Low, row.High, row.Seconds, row.Lost = e.Rate, e.Low, e.High, test.Seconds(), test.Lost(at, 900)
					row.First, row.Last, row.Failed = c.First, c.Last, c.Failed
					if l.State, err = test.MarshalBinary(); err != nil {
						return err
					}
				}
				l.Row = *row
				learned = append(learned, l)
			}
			for _, e := range []record.Event{
				{Body: &record.RunPlanned{Number: run, Attempt: 1, Pipeline: &plan.Pipeline{Name: "CI", File: "ci.yml"}, Change: &plan.Change{Event: "push", Repository: "team/app", Ref: "refs/heads/main", SHA: commit, DefaultBranch: "main"}}},
				{Job: "test", Step: "1", Body: report},
				{Job: "test", Step: "1", Body: &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success}},
				{Body: &record.RunFinished{Verdict: plan.Success}},
			} {
				e.Run, e.Time = id, at
				events = append(events, e)
			}
		}
		if err := st.Learn(ctx, "suite", int64(first*1000), learned, events...); err != nil {
			return err
		}
	}
	newest, err := st.Watch(ctx, -1)
	if err != nil {
		return err
	}
	for _, reader := range []string{"desk", "forge", "suite"} {
		if err := st.Mark(ctx, reader, newest); err != nil {
			return err
		}
	}
	return nil
}
