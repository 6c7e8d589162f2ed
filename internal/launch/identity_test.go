package launch

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// stamp signs nothing, and shows what it was to sign.
type stamp struct{}

func (stamp) Sign(_ context.Context, claims map[string]any, life time.Duration) (string, error) {
	claims["life"] = life.String()
	b, err := json.Marshal(claims)
	return string(b), err
}

// What a token says of a job is in the words of the job's language, and nobody gets
// one whom nobody trusts.
func TestIdentity(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.desk.Issuer = stamp{}
	run := func(dialect, event string, trust record.Trust) string {
		t.Helper()
		id, number, err := s.store.NewRun(t.Context(), "team/sub/app", "ci.yml")
		if err != nil {
			t.Fatal(err)
		}
		planned := &record.RunPlanned{Number: number, Attempt: 1, Origin: &record.Origin{Repository: "team/app", Trust: trust},
			Change:   &plan.Change{Event: event, Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Repository: "team/sub/app", Server: "https://git.example.org", Actor: "ada"},
			Pipeline: &plan.Pipeline{Dialect: dialect, Name: "CI", File: "ci.yml"}}
		if _, err := s.store.Append(t.Context(), record.Event{Run: id, Body: planned}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	job := &plan.Job{ID: "deploy", Environment: &plan.Environment{Name: "prod"}, Tokens: []plan.Token{{Name: "CLOUD", Audience: []string{"a", "b"}}}}
	bare := &plan.Job{ID: "build", Timeout: time.Minute, Tokens: []plan.Token{{Name: "T", Audience: []string{"a"}}}}
	for name, c := range map[string]struct {
		dialect, event string
		trust          record.Trust
		job            *plan.Job
		want           []string // "" in front: an error
	}{
		"gitlab":       {"gitlab", "push", record.Protected, job, []string{`"sub":"project_path:team/sub/app:ref_type:branch:ref:main"`, `"aud":["a","b"]`, `"ref_protected":"true"`, `"namespace_path":"team/sub"`, `"environment":"prod"`, `"life":"5m0s"`}},
		"github":       {"github", "push", record.Contributor, bare, []string{`"sub":"repo:team/sub/app:ref:refs/heads/main"`, `"aud":"a"`, `"repository_owner":"team"`, `"ref_protected":"false"`, `"life":"1m0s"`}},
		"environment":  {"github", "push", record.Protected, job, []string{`"sub":"repo:team/sub/app:environment:prod"`}},
		"pull request": {"github", "pull_request", record.Contributor, bare, []string{`"sub":"repo:team/sub/app:pull_request"`}},
		"fork":         {"github", "pull_request", record.Untrusted, bare, []string{"", "a change that nobody trusts gets none"}},
	} {
		tokens, err := s.desk.identities(t.Context(), run(c.dialect, c.event, c.trust), c.job)
		text := tokens[c.job.Tokens[0].Name]
		if c.want[0] == "" {
			if err == nil {
				t.Errorf("%s: no error", name)
				continue
			}
			text = err.Error()
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is not in %s", name, want, text)
			}
		}
	}
}
