package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Bench measures what servers need of a store: durable writes by many callers, the
// record of a very large run, and the queries of pages with many runs. Each is given a
// store of its own.
func Bench(b *testing.B, open func(b *testing.B) Lists) {
	b.Run("append", func(b *testing.B) { benchAppend(b, open(b)) })
	b.Run("dag", func(b *testing.B) { benchDAG(b, open(b)) })
	b.Run("pages", func(b *testing.B) { benchPages(b, open(b)) })
}

// benchAppend appends single events from many callers, as hooks come in.
func benchAppend(b *testing.B, st Lists) {
	const callers = 256
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if _, err := st.Append(b.Context(), Event("1", int(n))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// benchDAG appends what a run of ten thousand jobs says, of which sixty-four go on at
// a time: each job begins, and each ends, in a transaction of its own.
func benchDAG(b *testing.B, st Lists) {
	const jobs, parallel = 10_000, 64
	p := &plan.Pipeline{Name: "large", File: "ci.yml"}
	for i := range jobs {
		id := fmt.Sprintf("p%05d", i)
		p.Jobs = append(p.Jobs, plan.Job{ID: id, Name: id, Needs: []string{fmt.Sprintf("p%05d", i/2)},
			Steps: []plan.Step{{Key: "1", Name: "build", Run: &plan.Script{Text: plan.Expr{Text: "make -C " + id}}}}})
	}
	for b.Loop() {
		run, number, err := st.NewRun(b.Context(), "o/r", "ci.yml")
		if err != nil {
			b.Fatal(err)
		}
		must(st.Append(b.Context(),
			record.Event{Run: run, Body: &record.RunPlanned{Number: number, Attempt: 1, Pipeline: p}},
			record.Event{Run: run, Body: &record.RunStarted{}}))(b)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range parallel {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < jobs; i = next.Add(1) - 1 {
					event := func(step string, body record.Body) record.Event {
						return record.Event{Run: run, Job: p.Jobs[i].ID, Step: step, Body: body}
					}
					_, err := st.Append(b.Context(),
						event("", &record.JobStarted{Attempt: 1, Place: "host", Workspace: "/var/lib/fairlead/workspaces/1"}),
						event("1", &record.StepStarted{Name: "build", Script: "make"}))
					if err == nil {
						_, err = st.Append(b.Context(),
							event("1", &record.StepFinished{Name: "build", Outcome: plan.Success, Conclusion: plan.Success}),
							event("", &record.JobFinished{Verdict: plan.Success, Result: plan.Success}))
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		must(st.Append(b.Context(), record.Event{Run: run, Body: &record.RunFinished{Verdict: plan.Success}}))(b)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/run")
}

// benchPages asks what pages ask, with a hundred thousand runs in the store.
func benchPages(b *testing.B, st Lists) {
	const runs, repositories, batch = 100_000, 200, 500
	for first := 1; first <= runs; first += batch {
		var events []record.Event
		for i := first; i < first+batch; i++ {
			id, repository := strconv.Itoa(i), fmt.Sprint("team/app", i%repositories)
			verdict := plan.Success
			if i%17 == 0 {
				verdict = plan.Failure
			}
			o := &record.Origin{Repository: repository, Trust: record.Contributor, Change: strconv.Itoa(i / 1000), Title: "Make it faster"}
			events = append(events,
				record.Event{Run: id, Body: &record.RunPlanned{Number: i, Attempt: 1, Origin: o,
					Change:   &plan.Change{Repository: repository, Event: "push", Ref: "refs/heads/" + []string{"main", "dev"}[i%2], Actor: fmt.Sprint("dev", i%300)},
					Pipeline: &plan.Pipeline{File: fmt.Sprint(".github/workflows/", []string{"ci", "lint", "release"}[i%3], ".yml"), Name: "CI"}}},
				record.Event{Run: id, Body: &record.RunStarted{}},
				record.Event{Run: id, Job: "build", Body: &record.JobStarted{Attempt: 1}},
				record.Event{Run: id, Job: "build", Body: &record.JobFinished{Verdict: verdict, Result: verdict}},
				record.Event{Run: id, Body: &record.RunFinished{Verdict: verdict}})
			if i%50 == 0 {
				events = append(events, record.Event{Body: &record.Acted{By: "ann", Verb: "run.cancel"}})
			}
		}
		must(st.Append(b.Context(), events...))(b)
	}
	ctx := b.Context()
	for _, c := range []struct {
		name string
		ask  func() (int, error)
	}{
		{"newest", func() (int, error) { l, err := st.Runs(ctx, store.RunFilter{}); return len(l), err }},
		{"deep", func() (int, error) { l, err := st.Runs(ctx, store.RunFilter{Before: "5000"}); return len(l), err }},
		{"repository", func() (int, error) {
			l, err := st.Runs(ctx, store.RunFilter{Origin: "team/app7"})
			return len(l), err
		}},
		{"pipeline and branch", func() (int, error) {
			l, err := st.Runs(ctx, store.RunFilter{Repository: "team/app7", Pipeline: "ci.yml", Branch: "dev"})
			return len(l), err
		}},
		{"change", func() (int, error) {
			l, err := st.Runs(ctx, store.RunFilter{Origin: "team/app7", Change: "3"})
			return len(l), err
		}},
		{"failures of one", func() (int, error) {
			l, err := st.Runs(ctx, store.RunFilter{Origin: "team/app17", Verdict: plan.Failure})
			return len(l), err
		}},
		{"actor", func() (int, error) { l, err := st.Runs(ctx, store.RunFilter{Actor: "dev9"}); return len(l), err }},
		{"nobody's", func() (int, error) {
			l, err := st.Runs(ctx, store.RunFilter{Actor: "nobody"})
			return len(l) + 1, err
		}},
		{"unfinished", func() (int, error) { l, err := st.Runs(ctx, store.RunFilter{Unfinished: true}); return len(l) + 1, err }},
		{"acts", func() (int, error) {
			l, err := st.Events(ctx, store.EventFilter{Kinds: []record.Kind{"acted", "run.approved"}})
			return len(l), err
		}},
		{"one run", func() (int, error) { r, err := st.Run(ctx, "4711"); return len(r.Jobs), err }},
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
}
