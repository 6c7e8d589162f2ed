package launch

import (
	"context"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// shelf is an archive of a few runs, the newest first.
type shelf []*record.Run

func (s shelf) Run(_ context.Context, id string) (*record.Run, error) {
	for _, r := range s {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, store.ErrNotFound
}

func (s shelf) Runs(_ context.Context, f store.RunFilter) (list []store.RunHead, err error) {
	for _, r := range s {
		c := r.Planned.Change
		if c.Repository == f.Repository && strings.TrimPrefix(c.Ref, "refs/heads/") == f.Branch && r.Verdict == f.Verdict {
			list = append(list, store.RunHead{ID: r.ID, Origin: r.Planned.Origin})
		}
	}
	return list, nil
}

func TestUpstream(t *testing.T) {
	t.Parallel()
	run := func(id, repository, ref string, v plan.Verdict, o *record.Origin, jobs ...string) *record.Run {
		r := record.NewRun(id)
		r.Verdict = v
		r.Planned = &record.RunPlanned{Change: &plan.Change{Repository: repository, Ref: "refs/heads/" + ref}, Origin: o}
		for _, j := range jobs {
			r.Job(j).Name, r.Job(j).Verdict = "the "+j, plan.Success
		}
		return r
	}
	trust := func(t record.Trust) *record.Origin { return &record.Origin{Trust: t} }
	all := shelf{
		run("9", "a/lib", "main", plan.Success, &record.Origin{Pushed: true}, "build"),
		run("8", "a/lib", "main", plan.Success, trust(record.Untrusted), "build"),
		run("7", "a/lib", "main", plan.Failure, nil, "build"),
		run("6", "a/lib", "main", plan.Success, nil, "lint"),
		run("5", "a/lib", "main", plan.Success, trust(record.Protected), "build"),
		run("local", "b/app", "x", "", nil), run("branch", "b/app", "x", "", trust(record.Contributor)),
		run("main", "b/app", "main", "", trust(record.Protected)), run("fork", "a/lib", "x", "", trust(record.Untrusted)), run("own", "a/lib", "x", "", trust(record.Contributor)),
	}
	for name, c := range map[string]struct{ on, project, ref, job, run, says string }{
		"on a laptop":                {on: "local", project: "a/lib", ref: "main", job: "the build", run: "5"},
		"by its ID":                  {on: "local", project: "a/lib", ref: "refs/heads/main", job: "build", run: "5"},
		"of the same repository":     {on: "own", project: "a/lib", ref: "main", job: "build", run: "5"},
		"of a protected branch":      {on: "main", project: "a/lib", ref: "main", job: "build", run: "5"},
		"of any branch of another":   {on: "branch", project: "a/lib", ref: "main", job: "build", says: "only runs of protected branches"},
		"of a fork":                  {on: "fork", project: "a/lib", ref: "main", job: "build", says: "a change from a fork"},
		"no such job":                {on: "local", project: "a/lib", ref: "main", job: "nope", says: "has a job nope"},
		"no such ref":                {on: "local", project: "a/lib", ref: "other", job: "build", says: "no run of a/lib at other"},
		"whoever asks is not a run":  {on: "0", project: "a/lib", ref: "main", job: "build", says: "read run 0"},
		"a run that has not yet one": {on: "local", project: "b/app", ref: "x", job: "build", says: "no run of b/app"},
	} {
		id, job, err := Upstream(t.Context(), all, c.on, c.project, c.ref, c.job)
		if id != c.run || c.run != "" && job != "build" || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: run %q job %q, %v", name, id, job, err)
		}
	}
}
