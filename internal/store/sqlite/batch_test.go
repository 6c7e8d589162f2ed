package sqlite_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// reusedJob are the events of a job whose one step is reused.
func reusedJob(run string, i int) []record.Event {
	job := fmt.Sprintf("p%04d", i)
	name := "Run mkdir -p dist && cat src/*.txt > dist/out.txt"
	event := func(step string, b record.Body) record.Event {
		return record.Event{Run: run, Job: job, Step: step, Body: b}
	}
	return []record.Event{
		event("", &record.JobStarted{Attempt: 1, Place: "host", Workspace: "/home/ada/.cache/fairlead/workspaces/mono-0123456789/1/mono"}),
		event("1", &record.StepStarted{Name: name, Script: strings.TrimPrefix(name, "Run "), At: plan.Source{File: ".github/workflows/ci.yml", Line: 6 * i, Col: 9}}),
		event("1", &record.StepFinished{
			Name: name, Outcome: plan.Success, Conclusion: plan.Success,
			Watched: &record.Watched{Mechanism: "seccomp", Inputs: 61, Outputs: 2, Calls: 312, Overhead: 4 * time.Millisecond},
			Reuse: &record.Reuse{
				From: &record.StepRef{Run: "1", Job: job, Step: "1", Commit: strings.Repeat("c", 40)}, Saved: 31 * time.Millisecond,
				Key: strings.Repeat("0123456789abcdef", 4),
			},
		}),
		event("", &record.JobFinished{Verdict: plan.Success, Result: plan.Success}),
	}
}

// BenchmarkAppendJobs appends what a run of a thousand reused jobs has to say,
// four events for each job: by one caller or by several, one job at a time or
// several.
func BenchmarkAppendJobs(b *testing.B) {
	const jobs = 1000
	events := make([][]record.Event, jobs)
	for i := range events {
		events[i] = reusedJob("2", i)
	}
	for _, c := range []struct{ callers, jobs int }{{1, 1}, {8, 1}, {1, 10}, {1, 100}} {
		batches := slices.Collect(slices.Chunk(events, c.jobs))
		b.Run(fmt.Sprintf("callers=%d/jobs=%d", c.callers, c.jobs), func(b *testing.B) {
			s := openDir(b, b.TempDir(), sqlite.Options{})
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				var wg sync.WaitGroup
				for caller := range c.callers {
					wg.Go(func() {
						for i := caller; i < len(batches); i += c.callers {
							if _, err := s.Append(b.Context(), slices.Concat(batches[i]...)...); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(4*jobs), "ns/event")
		})
	}
}

// largePlan is a plan of many small jobs with all that a dialect says of them.
func largePlan(jobs int) *plan.Pipeline {
	const file = ".github/workflows/ci.yml"
	p := &plan.Pipeline{Dialect: "github", Name: "large", File: file, Events: []string{"push"}}
	var text strings.Builder
	for i := range jobs {
		at := func(line, col int) plan.Source { return plan.Source{File: file, Line: 6*i + line, Col: col} }
		id := fmt.Sprintf("p%04d", i)
		script := fmt.Sprintf("mkdir -p dist && cat src/*.txt ../p%04d/src/f0.txt > dist/out.txt", i/2)
		p.Jobs = append(p.Jobs, plan.Job{
			ID: id, Name: id, Source: at(1, 3), Needs: []string{fmt.Sprintf("p%04d", i/2), fmt.Sprintf("p%04d", i/3)},
			If:     plan.Expr{Text: "success()", Source: at(1, 3)},
			Place:  plan.Place{Labels: []string{"ubuntu-latest"}, Source: at(2, 14)},
			Values: map[string]any{"file": file, "job": id},
			Steps: []plan.Step{{
				Key: "1", Name: "Run " + script, Source: at(5, 9), If: plan.Expr{Text: "success()", Source: at(5, 9)},
				Run: &plan.Script{
					Text: plan.Expr{Text: script, Source: at(5, 14)},
					Dir:  plan.Expr{Text: "packages/" + id, Source: at(6, 28)},
				},
				Data: map[string]any{"action": "__run"},
			}},
		})
		fmt.Fprintf(&text, "  %s:\n    runs-on: ubuntu-latest\n    needs: [p%04d, p%04d]\n    steps:\n      - run: %s\n        working-directory: packages/%[1]s\n", id, i/2, i/3, script)
	}
	p.Texts = []plan.Text{{Path: file, Body: text.String()}}
	return p
}

// BenchmarkAppendPlan appends the plan of a thousand jobs.
func BenchmarkAppendPlan(b *testing.B) {
	s := openDir(b, b.TempDir(), sqlite.Options{})
	defer s.Close()
	event := record.Event{Run: "1", Body: &record.RunPlanned{Number: 1, Attempt: 1, Pipeline: largePlan(1000)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(b.Context(), event); err != nil {
			b.Fatal(err)
		}
	}
}
