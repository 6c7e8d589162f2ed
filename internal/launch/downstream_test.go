package launch

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

const libraryCI = `lib:
  script: test "$WHAT" != bad && echo "$CI_PIPELINE_SOURCE $WHAT $OWN"
`

// TestTrigger: a pipeline starts those of another project of the server, once, if both
// sides let it, and waits for them if it is to.
func TestTrigger(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".gitlab-ci.yml": `
variables: {OWN: global}
down:
  variables: {WHAT: $THING}
  trigger: {project: team/lib, branch: main, strategy: depend}
after:
  needs: [down]
  script: echo after
beside:
  trigger: team/lib
`})
	gl := gitlab.New(gitlab.Config{Runtime: gitlab.Runtime{Trigger: func(ctx context.Context, d gitlab.Downstream) ([]string, plan.Verdict, error) {
		b, err := s.desk.Trigger(ctx, Downstream{Run: d.Run, Job: d.Job, Project: d.Project, Ref: d.Branch, Variables: d.Variables, Wait: d.Wait})
		return b.Runs, b.Verdict, err
	}}})
	s.desk.Launcher.Dialects = []dialect.Dialect{gl}
	library, app := t.TempDir(), s.work
	// in does something in the other repository.
	in := func(do func()) {
		s.work = library
		do()
		s.work = app
	}
	in(func() {
		s.git("init", "-q", "-b", "main")
		s.commit("first", map[string]string{".gitlab-ci.yml": libraryCI})
	})
	if err := s.desk.SetRepository(t.Context(), ada, Repository{Name: "team/lib", URL: library, Forge: "played"}, true); err != nil {
		t.Fatal(err)
	}
	s.serve(s.desk)
	ask := func(ref string, inputs map[string]string) *record.Run {
		t.Helper()
		seq, err := s.desk.Ask(t.Context(), ada, Wish{Repository: "team/app", Event: "push", Ref: ref, Inputs: inputs})
		if err != nil {
			t.Fatal(err)
		}
		b := s.settled(seq)
		if len(b.Runs) != 1 {
			t.Fatalf("%+v", b)
		}
		return s.ended(b.Runs[0])
	}
	why := func(r *record.Run, job string) string {
		text := r.Job(job).Why
		for _, step := range r.Job(job).Steps {
			if step.Finished != nil {
				text += " " + step.Finished.Why
			}
		}
		return text
	}
	main := "refs/heads/main"
	if r := ask(main, map[string]string{"THING": "good"}); !r.Verdict.Bad() || !strings.Contains(why(r, "down"), "does not name team/app (gitlab: triggered-by)") || r.Job("after").Verdict != plan.Skipped {
		t.Errorf("who is not named: %s, %s", r.Verdict, why(r, "down"))
	}
	in(func() { s.commit("next", map[string]string{"fairlead.yaml": "gitlab:\n  triggered-by: [team/app]\n"}) })
	good := ask(main, map[string]string{"THING": "good"})
	if good.Verdict != plan.Success || good.Job("after").Verdict != plan.Success {
		t.Errorf("%s: %s", good.Verdict, why(good, "down"))
	}
	var of []record.Event
	for _, e := range s.events("run.planned") {
		if p := e.Body.(*record.RunPlanned); p.Origin.Repository == "team/lib" {
			of = append(of, e)
			if p.Change.Event != "pipeline" || p.Origin.Trust != record.Protected || p.Change.Inputs["OWN"] != "global" {
				t.Errorf("%+v, %+v", p.Change, p.Origin)
			}
		}
	}
	if len(of) != 2 || of[0].Body.(*record.RunPlanned).Change.Inputs["WHAT"]+of[1].Body.(*record.RunPlanned).Change.Inputs["WHAT"] != "good" {
		t.Errorf("%d runs of the other", len(of))
	}
	s.ended(of[0].Run)
	s.ended(of[1].Run)
	// Whoever goes on with the run asks for no second one, also when it is not known any
	// more which it was.
	for range 2 {
		b, err := s.desk.Trigger(t.Context(), Downstream{Run: good.ID, Job: "down", Project: "team/lib", Wait: true})
		if err != nil || b.Verdict != plan.Success || len(b.Runs) != 1 {
			t.Errorf("again: %+v, %v", b, err)
		}
		reg, err := s.store.Register(t.Context(), downstreamKind, good.ID+"/down")
		if err != nil {
			t.Fatal(err)
		}
		reg.Body = []byte("{}")
		if _, err := s.store.Change(t.Context(), []record.Register{reg}); err != nil {
			t.Fatal(err)
		}
	}
	if r := ask(main, map[string]string{"THING": "bad"}); r.Verdict != plan.Failure || !strings.Contains(why(r, "down"), "of project team/lib ended in failure") {
		t.Errorf("it fails: %s, %s", r.Verdict, why(r, "down"))
	}
	s.branch("topic", nil)
	if r := ask("refs/heads/topic", map[string]string{"THING": "good"}); !strings.Contains(why(r, "down"), "only runs of protected branches") {
		t.Errorf("of any branch: %s", why(r, "down"))
	}
	var usage *plan.UsageError
	for want, w := range map[string]Downstream{
		"is not on this server": {Run: good.ID, Job: "x", Project: "team/none"},
		"not a branch or a tag": {Run: good.ID, Job: "x", Project: "team/lib", Ref: "a..b"},
		"bytes of them":         {Run: good.ID, Job: "x", Project: "team/lib", Variables: map[string]string{"A": strings.Repeat("x", maxVariables)}},
	} {
		if _, err := s.desk.Trigger(t.Context(), w); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := s.desk.Trigger(t.Context(), Downstream{Run: "999", Job: "x", Project: "team/lib"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of no run: %v", err)
	}
}
