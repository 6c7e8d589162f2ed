package launch

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// TestBlameInComment tells in a change's comment of what is new before what is known, in few
// lines, and gives what others wrote no meaning.
func TestBlameInComment(t *testing.T) {
	t.Parallel()
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
	d := &Desk{Launcher: &Launcher{Faults: &insight.Faults{Store: db, Runs: db, Ledger: db, Blobs: blobs}}, Log: func(doing string, err error) { t.Errorf("%s: %v", doing, err) }}
	id, _, err := db.NewRun(t.Context(), "o/r", "ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	report := &record.TestsReported{Source: "junit.xml"}
	for _, name := range strings.Fields("a b c d e f g h i j") {
		report.Bad = append(report.Bad, record.TestResult{Suite: "p", Name: name, Status: record.TestFailed, Message: name + " <script> @everybody [x](y) `z` | is wrong"})
	}
	at := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	events := []record.Event{
		{Body: &record.RunPlanned{Number: 1, Attempt: 1, Pipeline: &plan.Pipeline{File: "ci.yml"}, Change: &plan.Change{Repository: "o/r", Ref: "refs/heads/x", SHA: strings.Repeat("a", 40), DefaultBranch: "main"}}},
		{Body: &record.RunStarted{}},
		{Job: "test", Body: &record.JobStarted{Attempt: 1}},
		{Job: "test", Step: "1", Body: &record.StepStarted{Name: "go test"}},
		{Job: "test", Step: "1", Body: report},
		{Job: "test", Step: "1", Body: &record.StepFinished{Name: "go test", Outcome: plan.Failure, Conclusion: plan.Failure}},
		{Job: "disk", Body: &record.JobStarted{Attempt: 1}},
		{Job: "disk", Step: "1", Body: &record.StepStarted{Name: "df"}},
		{Job: "disk", Step: "1", Body: &record.StepFinished{Name: "df", Outcome: plan.Fault, Conclusion: plan.Fault, Fault: &record.Diagnosis{Rule: "no-space", Verdict: plan.Fault, Title: "the disk is full"}}},
		{Body: &record.RunFinished{Verdict: plan.Failure}},
	}
	for i := range events {
		events[i].Run, events[i].Time = id, at
	}
	if _, err := db.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	run, err := db.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	d.blame(t.Context(), &b, []*record.Run{run})
	text := b.String()
	if n := strings.Count(text, "\n"); n > 12 {
		t.Errorf("%d lines", n)
	}
	for _, want := range []string{"\n**10 new failures; 1 known: 1 infrastructure**\n", "- your change: `p › a` `a <script> @everybody [x](y) 'z' ¦ is wrong`; `it was never seen before`\n", "- and 3 more\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if body := d.commentBody(t.Context(), []*record.Run{run}); !strings.Contains(body, text) {
		t.Errorf("the comment is\n%s", body)
	}
}
