package record_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// BenchmarkApply folds a run of a thousand jobs of one step each.
func BenchmarkApply(b *testing.B) {
	p := &plan.Pipeline{}
	events := []record.Event{{Body: &record.RunPlanned{Pipeline: p}}, {Body: &record.RunStarted{}}}
	for i := range 1000 {
		id := fmt.Sprintf("p%04d", i)
		p.Jobs = append(p.Jobs, plan.Job{ID: id, Name: id})
		events = append(events,
			record.Event{Job: id, Body: &record.JobStarted{Attempt: 1, Place: "host"}},
			record.Event{Job: id, Step: "1", Body: &record.StepStarted{Name: "build"}},
			record.Event{Job: id, Step: "1", Body: &record.StepFinished{Name: "build", Outcome: plan.Success, Conclusion: plan.Success}},
			record.Event{Job: id, Body: &record.JobFinished{Verdict: plan.Success, Result: plan.Success}},
		)
	}
	events = append(events, record.Event{Body: &record.RunFinished{Verdict: plan.Success}})
	for i := range events {
		events[i].Run, events[i].Seq, events[i].Time = "1", int64(i+1), time.Unix(int64(i), 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := record.NewRun("1")
		for _, e := range events {
			r.Apply(e)
		}
		if len(r.Order) != 1000 || r.Verdict != plan.Success {
			b.Fatal(len(r.Order), r.Verdict)
		}
	}
}
