package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/github"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

var _ Secrets = (*secret.Vault)(nil)

// chaotic is a store of which changes fail now and then, before or after they were done.
type chaotic struct {
	Store
	mu   sync.Mutex
	rand *rand.Rand
}

func (c *chaotic) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	c.mu.Lock()
	fate := c.rand.IntN(10)
	c.mu.Unlock()
	if fate == 0 {
		return nil, errCrash
	}
	all, err := c.Store.Change(ctx, changes, events...)
	if fate <= 2 {
		return nil, errCrash
	}
	return all, err
}

// TestChaos: whatever fails, each delivery is settled once, each run ends once and was started
// once, and each effect that was planned is done once.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.vault["team/app $TOKEN"] = "word"
	var stops []func()
	for i := range 2 {
		stops = append(stops, s.serve(s.open(&chaotic{Store: s.store, rand: rand.New(rand.NewPCG(uint64(i), 7))})))
	}
	const pushes = 10
	var seqs []int64
	for i := range pushes {
		name := fmt.Sprintf("b%d", i)
		seqs = append(seqs, s.deliver(s.push("refs/heads/"+name, s.branch(name, map[string]string{"x": name}))))
		if i == pushes/2 { // a desk goes, another comes
			stops[0]()
			s.serve(s.open(&chaotic{Store: s.store, rand: rand.New(rand.NewPCG(99, 7))}))
		}
	}
	for _, seq := range seqs {
		b := s.settled(seq)
		if len(b.Runs) != 1 {
			t.Fatalf("%+v", b)
		}
		if r := s.ended(b.Runs[0]); r.Verdict != plan.Success {
			t.Errorf("run %s: %s %s", r.ID, r.Verdict, r.Why)
		}
	}
	s.until("all is told", func() bool {
		planned := s.events("effect.planned")
		statuses := 0
		for _, e := range planned {
			if strings.HasPrefix(e.Body.(*record.EffectPlanned).Key, "status/") {
				statuses++
			}
		}
		return statuses == 3*pushes && len(s.events("effect.done")) == len(planned)
	})
	for _, kind := range []record.Kind{"request.settled", "run.planned", "run.finished"} {
		if got := len(s.events(kind)); got != pushes {
			t.Errorf("%d events %s of %d pushes", got, kind, pushes)
		}
	}
	started := map[string]int{}
	for _, e := range s.events("run.started") {
		if b := e.Body.(*record.RunStarted); !b.Resume {
			if started[e.Run]++; started[e.Run] > 1 {
				t.Errorf("run %s was started twice", e.Run)
			}
		}
	}
	done := map[string]bool{}
	for _, e := range s.events("effect.done") {
		if key := e.Body.(*record.EffectDone).Key; done[key] {
			t.Errorf("%s was done twice", key)
		} else {
			done[key] = true
		}
	}
}

// TestGitHub: what GitHub sends, as GitHub sends it.
func TestGitHub(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/ci.yml":     workflow("CI", "[push, pull_request]"),
		".github/workflows/target.yml": workflow("Target", "pull_request_target"),
	})
	s.desk.Forges["github"] = github.New(github.Options{})
	s.change(func(r *Repository) { r.Forge = "github" })
	main := s.git("rev-parse", "HEAD")
	forked := s.fork("17", map[string]string{"x": "1"})
	repository := map[string]any{"id": 1, "full_name": "team/app", "default_branch": "evil", "html_url": "https://github.com/team/app", "clone_url": "https://github.com/team/app.git"}
	sender := map[string]any{"login": "eve"}
	for _, tt := range []struct {
		event, want string
		body        map[string]any
	}{
		{"push", "CI protected", map[string]any{
			"ref": "refs/heads/main", "before": strings.Repeat("0", 40), "after": main, "created": true, "deleted": false, "forced": false,
			"repository": repository, "sender": sender, "pusher": sender, "commits": []any{}, "head_commit": map[string]any{"id": main, "message": "first"},
		}},
		{"pull_request", "CI untrusted, Target untrusted", map[string]any{
			"action": "opened", "number": 17, "repository": repository, "sender": sender,
			"pull_request": map[string]any{
				"number": 17, "title": "Change", "user": sender, "draft": false, "merged": false, "state": "open",
				"head": map[string]any{"ref": "main", "sha": forked, "repo": map[string]any{"id": 2, "full_name": "eve/app", "fork": true, "clone_url": "https://github.com/eve/app.git"}},
				"base": map[string]any{"ref": "main", "sha": main, "repo": repository},
			},
		}},
	} {
		body, err := json.Marshal(tt.body)
		if err != nil {
			t.Fatal(err)
		}
		seq, fresh, err := s.desk.Deliver(t.Context(), "team/app", &forge.Delivery{Header: map[string]string{"X-Github-Event": tt.event, "X-Github-Delivery": tt.event}, Body: body}, "")
		if err != nil || !fresh {
			t.Fatal(err)
		}
		b := s.settle(seq)
		var got []string
		for _, id := range b.Runs {
			p := s.run(id).Planned
			got = append(got, p.Pipeline.Name+" "+string(p.Origin.Trust))
			want := map[string]string{"push": main, "pull_request": forked, "pull_request_target": main}[p.Change.Event]
			if p.Change.SHA != want || p.Change.DefaultBranch != "main" || p.Change.Repository != "team/app" {
				t.Errorf("%s: %+v", tt.event, p.Change)
			}
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q %s", tt.event, got, b.Why)
		}
	}
}

// BenchmarkDeliver is what a code host waits for.
func BenchmarkDeliver(b *testing.B) {
	s := stage(b)
	body, err := json.Marshal(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	var n int
	for b.Loop() {
		n++
		text := append(body[:len(body)-1:len(body)-1], fmt.Sprintf(`,"n":%d}`, n)...)
		if _, fresh, err := s.desk.Deliver(ctx, "team/app", &forge.Delivery{Header: map[string]string{"X-Github-Delivery": fmt.Sprint(n)}, Body: text}, ""); err != nil || !fresh {
			b.Fatal(err)
		}
	}
}

// BenchmarkSettle is the way from a push to its planned run.
func BenchmarkSettle(b *testing.B) {
	s := stage(b)
	body := &record.HookReceived{Repository: "team/app", Forge: "played"}
	var err error
	if body.Body, err = json.Marshal(s.push("refs/heads/main", s.git("rev-parse", "HEAD"))); err != nil {
		b.Fatal(err)
	}
	var seq int64
	for b.Loop() {
		seq++
		if err := s.desk.settle(context.Background(), seq, body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOrder is one look at a queue of 500 runs of 20 repositories.
func BenchmarkOrder(b *testing.B) {
	var waiting []turn
	for i := range 500 {
		waiting = append(waiting, turn{Run: fmt.Sprint(i), Repo: fmt.Sprint(i % 20)})
	}
	for b.Loop() {
		order(waiting, nil)
	}
}
