package launch

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestPushToEnd is the life of a push: a hook, a run, its end.
func TestPushToEnd(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.vault["team/app $TOKEN"] = "word"
	s.serve(s.desk)
	sha := s.git("rev-parse", "HEAD")
	seq := s.deliver(s.push("refs/heads/main", sha))
	b := s.settled(seq)
	if len(b.Runs) != 1 || b.Why != "" {
		t.Fatalf("%+v", b)
	}
	r := s.ended(b.Runs[0])
	if r.Verdict != plan.Success {
		t.Fatalf("%s: %s", r.Verdict, r.Why)
	}
	o := r.Planned.Origin
	if o.Repository != "team/app" || o.Trust != record.Protected || o.Request != seq || o.Title != "first" || o.Key == "" {
		t.Errorf("%+v", o)
	}
	s.until("the code host knows", func() bool {
		statuses, _ := s.forge.said()
		return len(statuses) > 0 && statuses[len(statuses)-1].State == "success"
	})
	statuses, comments := s.forge.said()
	last := statuses[len(statuses)-1]
	if last.SHA != sha || last.Context != "fairlead/CI" || last.URL != "https://ci.example.org/runs/"+r.ID || !strings.Contains(last.Summary, "build") {
		t.Errorf("%+v", last)
	}
	if len(comments) != 0 {
		t.Error("a push was commented")
	}
}
