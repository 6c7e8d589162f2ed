package launch

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// aRun is a run with jobs "build" and the cell "test/a/b" of "test".
func aRun() *record.Run {
	r := record.NewRun("7")
	p := &plan.Pipeline{Jobs: []plan.Job{{ID: "build", Name: "Build it"}, {ID: "test", Name: "test"}}}
	fail := &record.StepFinished{Outcome: plan.Failure, Conclusion: plan.Failure}
	ok := &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success}
	for _, e := range []record.Event{
		{Body: &record.RunPlanned{Pipeline: p}},
		{Job: "build", Body: &record.JobStarted{}},
		{Job: "build", Step: "1", Body: &record.StepStarted{Name: "checkout"}},
		{Job: "build", Step: "1", Body: ok},
		{Job: "build", Step: "2", Body: &record.StepStarted{Name: "compile a/b", ID: "cc"}},
		{Job: "build", Step: "2", Body: fail},
		{Job: "test", Body: &record.JobExpanded{Jobs: []record.JobHead{{ID: "test/a", Name: "test (a)"}, {ID: "test/a/b", Name: "test (a/b)"}}}},
		{Job: "test/a/b", Body: &record.JobStarted{}},
		{Job: "test/a/b", Step: "1", Body: &record.StepStarted{Name: "go test"}},
		{Job: "test/a/b", Step: "1", Body: ok},
	} {
		e.Run = "7"
		r.Apply(e)
	}
	return r
}

func TestFindStep(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, job, step, err string }{
		{"build", "build", "2", ""},
		{"Build it", "build", "2", ""},
		{"build/1", "build", "1", ""},
		{"build/cc", "build", "2", ""},
		{"build/compile a/b", "build", "2", ""},
		{"test/a/b", "test/a/b", "", ""},
		{"test/a/b/go test", "test/a/b", "1", ""},
		{"test (a/b)/1", "test/a/b", "1", ""},
		{"build/9", "", "", `no step "9"`},
		{"nothing", "", "", `no job "nothing"`},
		{"", "", "", "no job is named"},
	} {
		job, step, err := FindStep(aRun(), tt.name)
		if job != tt.job || step != tt.step {
			t.Errorf("%q: found %q %q, want %q %q", tt.name, job, step, tt.job, tt.step)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: error %v, want one with %q", tt.name, err, tt.err)
		}
		var usage *plan.UsageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: the error is not the user's: %v", tt.name, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for job, want := range map[string]string{"test": "test", "call/test/20": "call+test+20", "a\x1bb\n": "a_b_"} {
		if got := fileName(job); got != want {
			t.Errorf("%q is %q, want %q", job, got, want)
		}
	}
}

func prepared(o Order) *Prepared {
	return &Prepared{Order: o, Change: &plan.Change{Event: "push"}, Pipelines: []plan.Pipeline{
		{Name: "CI", File: ".github/workflows/ci.yml", Start: plan.Start{Yes: true}, Events: []string{"push"},
			Jobs: []plan.Job{{ID: "lint"}, {ID: "build"}, {ID: "test", Needs: []string{"build"}}}},
		{Name: "Release", File: ".github/workflows/release.yaml", Events: []string{"push"}, Start: plan.Start{Why: "no tag"}, Jobs: []plan.Job{{ID: "publish"}}},
	}}
}

func TestChooseAndNarrow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, err string
		order     Order
		want      string // pipelines with their jobs
	}{
		{"what the event starts", "", Order{}, "CI: lint build test"},
		{"by file", "", Order{Workflow: "ci.yml"}, "CI: lint build test"},
		{"by stem", "", Order{Workflow: "ci"}, "CI: lint build test"},
		{"by name", "", Order{Workflow: "CI"}, "CI: lint build test"},
		{"by path", "", Order{Workflow: "./.github/workflows/ci.yml"}, "CI: lint build test"},
		{"asked for by name, filters do not count", "", Order{Workflow: "release"}, "Release: publish"},
		{"with an event of its own they do", "", Order{Workflow: "release", Event: "push"}, ""},
		{"unknown", "known are ci.yml, release.yaml", Order{Workflow: "deploy"}, ""},
		{"a job and what it needs", "", Order{Jobs: []string{"test"}}, "CI: build test"},
		{"two jobs", "", Order{Jobs: []string{"lint", "build"}}, "CI: lint build"},
		{"an unknown job", `has a job "tset"`, Order{Jobs: []string{"tset"}}, ""},
	} {
		p := prepared(tt.order)
		err := p.choose()
		if err == nil {
			err = p.narrow()
		}
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got []string
		for _, pl := range p.Chosen {
			s := pl.Name + ":"
			for _, j := range pl.Jobs {
				s += " " + j.ID
			}
			got = append(got, s)
		}
		if s := strings.Join(got, "; "); s != tt.want {
			t.Errorf("%s: chose %q, want %q", tt.name, s, tt.want)
		}
	}
}
