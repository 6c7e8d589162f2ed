package insight

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// seen keeps an observation of a step that read files and made others.
func (s *school) seen(reads, makes []string, bars ...record.Bar) string {
	s.Helper()
	o := &record.Observation{Mechanism: "seccomp", Barred: bars}
	for _, p := range reads {
		o.Inputs = append(o.Inputs, record.Input{Path: p, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular}})
	}
	for _, p := range makes {
		o.Outputs = append(o.Outputs, record.Output{Path: p, Made: true, FileState: record.FileState{Kind: record.Regular}})
	}
	var b bytes.Buffer
	if err := harvest.KeepObservation(&b, o); err != nil {
		s.Fatal(err)
	}
	d, _, err := s.blobs.Put(s.Context(), &b)
	if err != nil {
		s.Fatal(err)
	}
	return string(d)
}

// trial is a run with a failed test in its second step.
type trial struct {
	files    []string             // of the change
	compared []record.ChangedFile // as it was looked at
	reads    []string             // of the step with the test
	build    func(*school) string // what is kept of the step before it
	built    *record.StepFinished // that step's end
	edit     func([]record.Event) []record.Event
}

func (s *school) try(tr trial) (id string) {
	s.Helper()
	id, number, err := s.store.NewRun(s.Context(), "o/r", "ci.yml")
	if err != nil {
		s.Fatal(err)
	}
	bar := record.Bar{Kind: record.BarFailed}
	watched := &record.Watched{Mechanism: "seccomp", Kept: s.seen(tr.reads, nil, bar), Digest: strings.Repeat(fmt.Sprint(number), 64)[:64]}
	if tr.build != nil {
		watched.Earlier = []record.Earlier{{Step: "1", Kept: tr.build(s)}}
	}
	if tr.built == nil {
		tr.built = &record.StepFinished{Outcome: plan.Success}
	}
	events := []record.Event{
		{Body: &record.RunPlanned{Number: number, Attempt: 1, Pipeline: &plan.Pipeline{File: "ci.yml"},
			Change: &plan.Change{Repository: "o/r", Ref: "refs/heads/topic", SHA: fmt.Sprint("c", number), DefaultBranch: "main", Files: tr.files, FilesKnown: len(tr.files) > 0}}},
		{Job: "test", Body: &record.JobStarted{Attempt: 1, Workspace: "/w"}},
		{Job: "test", Step: "1", Body: &record.StepStarted{Script: "make"}},
		{Job: "test", Step: "1", Body: tr.built},
		{Job: "test", Step: "2", Body: &record.StepStarted{Script: "go test"}},
		{Job: "test", Step: "2", Body: &record.TestsReported{Source: "junit.xml", Results: s.keep(result("a", record.TestFailed), result("b", record.TestPassed))}},
	}
	if tr.compared != nil {
		events = append(events, record.Event{Body: &record.ChangeCompared{Files: tr.compared}})
	}
	events = append(events, record.Event{Job: "test", Step: "2", Body: &record.StepFinished{Outcome: plan.Failure, Watched: watched}})
	if tr.edit != nil {
		events = tr.edit(events)
	}
	for _, e := range events {
		e.Run, e.Time = id, s.at
		if _, err := s.store.Append(s.Context(), e); err != nil {
			s.Fatal(err)
		}
	}
	return id
}

func TestInnocence(t *testing.T) {
	t.Parallel()
	builds := func(reads, makes []string) func(*school) string {
		return func(s *school) string { return s.seen(reads, makes) }
	}
	other := builds([]string{"/w/main.c"}, []string{"/w/main.o"})
	for _, c := range []struct {
		name  string
		trial trial
		want  string // of Why; with ! before it when it is proven
	}{
		{"nothing it read has changed", trial{files: []string{"README"}, reads: []string{"/w/a.go"}, build: other}, "!used 1 file, none of the 1"},
		{"what was looked at counts", trial{files: []string{"a.go"}, compared: []record.ChangedFile{{Path: "README"}}, reads: []string{"/w/a.go"}, build: other}, "!none of the 1"},
		{"it read what has changed", trial{files: []string{"a.go"}, reads: []string{"/w/a.go"}, build: other}, "used 1 file of the change"},
		{"it read what was made of it", trial{files: []string{"main.c"}, reads: []string{"/w/main.o"}, build: other}, "used 1 file of the change"},
		{"a step before it read the change and said something", trial{files: []string{"main.c"}, reads: []string{"/w/a.go"}, build: other,
			built: &record.StepFinished{Outcome: plan.Success, Effects: plan.Effects{Outputs: []plan.Setting{{Name: "x", Value: "y"}}}}}, "set values"},
		{"the change is not known", trial{reads: []string{"/w/a.go"}, build: other}, "not known which files"},
		{"the step before it is not known", trial{files: []string{"README"}, reads: []string{"/w/a.go"}}, "an earlier step (number 1)"},
		{"what the step before it did is gone", trial{files: []string{"README"}, reads: []string{"/w/a.go"}, build: func(*school) string { return "sha256:" + strings.Repeat("0", 64) }}, "an earlier step (number 1)"},
		{"the step before it was skipped", trial{files: []string{"README"}, reads: []string{"/w/a.go"}, built: &record.StepFinished{Outcome: plan.Skipped}}, "!none"},
		{"its pipeline has changed", trial{files: []string{"ci.yml"}, reads: []string{"/w/a.go"}, build: other}, "the change touches ci.yml"},
		{"the project's file has changed", trial{files: []string{"fairlead.yaml"}, reads: []string{"/w/a.go"}, build: other}, "the change touches fairlead.yaml"},
		{"another job handed on outputs", trial{files: []string{"README"}, reads: []string{"/w/a.go"}, build: other, edit: func(list []record.Event) []record.Event {
			return append([]record.Event{list[0], {Job: "plan", Body: &record.JobFinished{Verdict: plan.Success, Outputs: map[string]string{"x": "y"}}}}, list[1:]...)
		}}, "given outputs of job plan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSchool(t)
			id := s.try(c.trial)
			run, err := s.store.Run(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			run.Jobs["test"].Needs = []string{"plan"}
			got := Innocence(t.Context(), s.blobs, run, run.Jobs["test"], run.Jobs["test"].Step("2"), ChangedBy(run))
			why, proven := strings.CutPrefix(c.want, "!")
			if got.Proven != proven || !strings.Contains(got.Why, why) {
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
}

// TestUnreachable has failures that no change can have caused counted as flakes.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	build := func(s *school) string { return s.seen([]string{"/w/main.c"}, nil) }
	s.try(trial{files: []string{"README"}, reads: []string{"/w/a.go"}, build: build})
	s.try(trial{files: []string{"a.go"}, reads: []string{"/w/a.go"}, build: build})
	s.learn()
	if row := s.row("a"); row.Failures != 2 || row.Flakes != 1 || row.State != record.TestSuspected {
		t.Errorf("%+v", row)
	}
	results, err := s.store.Results(t.Context(), s.row("b").ID, "", 9)
	if err != nil || len(results) != 2 || results[0].Unreachable || results[1].Unreachable {
		t.Errorf("a pass: %+v, %v", results, err)
	}
}
