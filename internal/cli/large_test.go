package cli

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// largeRun are the events of a run of many jobs, each of whose one step was
// reused.
func largeRun(jobs int) []record.Event {
	p := &plan.Pipeline{Name: "large", File: ".github/workflows/ci.yml"}
	events := []record.Event{{Body: &record.RunPlanned{Number: 1, Attempt: 1, Pipeline: p}}, {Body: &record.RunStarted{Host: "here"}}}
	for i := range jobs {
		id := fmt.Sprintf("p%04d", i)
		p.Jobs = append(p.Jobs, plan.Job{ID: id, Name: id})
		name := "Run mkdir -p dist && cat src/*.txt > dist/out.txt"
		events = append(events,
			record.Event{Job: id, Body: &record.JobStarted{Attempt: 1, Place: "host"}},
			record.Event{Job: id, Step: "1", Body: &record.StepStarted{Name: name}},
			record.Event{Job: id, Step: "1", Body: &record.StepFinished{
				Name: name, Outcome: plan.Success, Conclusion: plan.Success,
				Reuse: &record.Reuse{From: &record.StepRef{Run: "1", Job: id, Step: "1"}, Saved: 30 * time.Millisecond},
			}},
			record.Event{Job: id, Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}},
		)
	}
	events = append(events, record.Event{Body: &record.RunFinished{Verdict: plan.Success}})
	for i := range events {
		events[i].Run, events[i].Seq, events[i].Time = "2", int64(i+1), time.Unix(1e9, int64(i)*1e4)
	}
	return events
}

// BenchmarkShowLarge shows a run of a thousand reused jobs on each display,
// and its final block.
func BenchmarkShowLarge(b *testing.B) {
	events := largeRun(1000)
	for _, kind := range []struct {
		name string
		make func() display
	}{
		{"quiet", func() display { return &quiet{out: io.Discard, cols: 80} }},
		{"plain", func() display { return &plain{out: io.Discard, now: time.Now, began: time.Now()} }},
		{"tty", func() display {
			return &tty{out: io.Discard, size: func() (int, int) { return 100, 40 }, style: style{colour: true}, now: time.Now, began: time.Now()}
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s := &stage{progress: &progress{display: kind.make()}, pipeline: events[0].Body.(*record.RunPlanned).Pipeline}
				for _, e := range events {
					s.Event(e)
				}
				s.close()
			}
		})
	}
	b.Run("summary", func(b *testing.B) {
		r := record.NewRun("2")
		for _, e := range events {
			r.Apply(e)
		}
		b.ReportAllocs()
		for b.Loop() {
			report(io.Discard, r, failures(r, nil), style{colour: true}, 100)
		}
	})
}
