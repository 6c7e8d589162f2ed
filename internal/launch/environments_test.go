package launch

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const deployCI = `name: CI
on: push
jobs:
  deploy:
    runs-on: ubuntu-latest
    environment: prod
    steps:
      - run: echo deployed
  again:
    needs: deploy
    runs-on: ubuntu-latest
    environment: prod
    steps:
      - run: echo deployed again
`

// A job that names a protected environment waits until enough people let it, whoever
// they are, and an approval counts for all jobs of the run.
func TestProtectedEnvironment(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": deployCI})
	protect := func(e record.Environment) {
		t.Helper()
		e.Repository, e.Name = "team/app", "prod"
		if err := s.desk.SetEnvironment(t.Context(), ada, e); err != nil {
			t.Fatal(err)
		}
	}
	protect(record.Environment{Approvals: 2, NotAuthor: true, Approvers: []string{"ada", "bob", "carol"}})
	s.serve(s.desk)
	n := 0
	push := func(ref string) string {
		t.Helper()
		n++
		got := s.settled(s.deliver(s.push(ref, s.commit("next", map[string]string{"n": strings.Repeat("n", n)}))))
		if len(got.Runs) != 1 {
			t.Fatalf("%+v", got)
		}
		return got.Runs[0]
	}
	waits := func(id, why string) {
		t.Helper()
		s.when("the job to wait: "+why, func() *record.Run {
			if r := s.run(id); r.Jobs["deploy"] != nil && r.Jobs["deploy"].State == record.Queued && strings.Contains(r.Jobs["deploy"].Why, why) {
				return r
			}
			return nil
		})
	}
	approve := func(id, who, says string) {
		t.Helper()
		err := s.desk.ApproveEnvironment(t.Context(), By{Name: who, Via: "session"}, id, "prod", "")
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s approves: %v, want %q", who, err, says)
		}
	}
	id := push("refs/heads/main")
	waits(id, "waits for 2 approvals for prod, of ada, bob, carol")
	author := s.run(id).Planned.Change.Actor
	approve(id, "dan", "dan is none of those who approve")
	approve(id, "bob", "")
	approve(id, "bob", "bob has approved the deployment to prod already")
	if r := s.run(id); r.Jobs["deploy"].State != record.Queued {
		t.Errorf("one approval was enough: %+v", r.Jobs["deploy"])
	}
	approve(id, "carol", "")
	if r := s.ended(id); r.Verdict != plan.Success || len(r.Environments["prod"].ApprovedBy) != 2 {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}
	approve(id, "ada", "has ended")

	protect(record.Environment{Approvals: 1, NotAuthor: true})
	id = push("refs/heads/main")
	waits(id, "waits for 1 approvals for prod")
	approve(id, author, "somebody else has to approve it")
	// What protects it by then counts, not what did when the job came.
	protect(record.Environment{})
	if r := s.ended(id); r.Verdict != plan.Success {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}

	protect(record.Environment{Branches: []string{"release-*"}})
	if r := s.ended(push("refs/heads/main")); r.Verdict != plan.Failure || !strings.Contains(r.Jobs["deploy"].Why, "refs/heads/main may not be deployed to prod, which takes release-*") {
		t.Errorf("%s: %+v", r.Verdict, r.Jobs["deploy"])
	}
	protect(record.Environment{Branches: []string{"main"}, Wait: 1})
	r := s.ended(push("refs/heads/main"))
	if r.Verdict != plan.Success || r.Jobs["deploy"].Begun.Before(r.Environments["prod"].Asked.Until) {
		t.Errorf("%s, begun %s", r.Verdict, r.Jobs["deploy"].Begun)
	}
}

func TestSetEnvironment(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	for says, e := range map[string]record.Environment{
		"there is no repository":              {Repository: "team/other", Name: "prod"},
		"cannot be the name":                  {Repository: "team/app"},
		"approvals, not 21":                   {Repository: "team/app", Name: "prod", Approvals: 21},
		"more than there are approvers":       {Repository: "team/app", Name: "prod", Approvals: 2, Approvers: []string{"ada"}},
		"no pattern":                          {Repository: "team/app", Name: "prod", Branches: []string{"["}},
		"waits at most 30 days":               {Repository: "team/app", Name: "prod", Wait: 1 << 30},
		"an approver has no name":             {Repository: "team/app", Name: "prod", Approvers: []string{""}},
		"nothing protects the environment qa": {},
	} {
		err := s.desk.SetEnvironment(t.Context(), ada, e)
		if e.Repository == "" {
			err = s.desk.RemoveEnvironment(t.Context(), ada, "team/app", "qa")
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", e, err, says)
		}
	}
	if err := s.desk.SetEnvironment(t.Context(), ada, record.Environment{Repository: "team/app", Name: "Prod", Approvers: []string{"ada"}}); err != nil {
		t.Fatal(err)
	}
	if all, err := s.desk.Environments(t.Context(), "team/app"); err != nil || len(all) != 1 || all[0].Approvals != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.desk.RemoveEnvironment(t.Context(), ada, "team/app", "prod"); err != nil {
		t.Error(err)
	}
}
