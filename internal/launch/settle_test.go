package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// workflow is a workflow with one job that prints.
func workflow(name, on string, steps ...string) string {
	text := "name: " + name + "\non: " + on + "\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n"
	for _, s := range append(steps, "echo done") {
		text += "      - run: " + s + "\n"
	}
	return text
}

// TestDelivery is the tenth row of the threat table.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	ctx := t.Context()
	deliver := func(id string, h forge.Hook) bool {
		t.Helper()
		body, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		_, fresh, err := s.desk.Deliver(ctx, "team/app", &forge.Delivery{Header: map[string]string{"X-Github-Delivery": id}, Body: body}, "")
		if err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	push, other := s.push("refs/heads/main", "4711"), s.push("refs/heads/main", "4712")
	dispatch := forge.Hook{Kind: forge.Dispatch, Event: "repository_dispatch", Change: &plan.Change{Event: "repository_dispatch"}}
	for _, tt := range []struct {
		name, id string
		h        forge.Hook
		fresh    bool
	}{
		{"a push", "1", push, true},
		{"the same again", "1", push, false},
		{"its body under another name, which no signature covers", "2", push, false},
		{"another under the old name", "1", other, false},
		{"another", "3", other, true},
		{"a dispatch", "4", dispatch, true},
		{"two dispatches may be alike", "5", dispatch, true},
	} {
		if got := deliver(tt.id, tt.h); got != tt.fresh {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	if got := len(s.events("hook.received")); got != 4 {
		t.Errorf("%d were written down", got)
	}
	var usage *plan.UsageError
	if _, _, err := s.desk.Deliver(ctx, "team/none", &forge.Delivery{}, ""); !errors.As(err, &usage) {
		t.Error(err)
	}
	// A storm is written down once each.
	var all sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 60 {
		all.Go(func() {
			if deliver(fmt.Sprintf("storm-%d", i%20), s.push("refs/heads/main", fmt.Sprint(i%20))) {
				mu.Lock()
				fresh++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if fresh != 20 || len(s.events("hook.received")) != 24 {
		t.Errorf("%d of 20", fresh)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.change(func(r *Repository) { r.Poll = time.Minute })
	seq := s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))
	if b := s.settle(seq); len(b.Runs) != 1 {
		t.Fatalf("%+v", b)
	}
	again, err := s.desk.Replay(t.Context(), ada, seq)
	if err != nil {
		t.Fatal(err)
	}
	if b := s.settle(again); len(b.Runs) != 1 {
		t.Errorf("%+v", b)
	}
	var usage *plan.UsageError
	for _, bad := range []int64{-1, 0, again + 1, 999} {
		if _, err := s.desk.Replay(t.Context(), ada, bad); !errors.As(err, &usage) {
			t.Errorf("%d: %v", bad, err)
		}
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/main.yml":    workflow("Main", "{push: {branches: [main]}}"),
		".github/workflows/docs.yml":    workflow("Docs", "{push: {branches: [main, topic], paths: ['docs/**']}}"),
		".github/workflows/tag.yml":     workflow("Tag", "{push: {tags: ['v*']}}"),
		".github/workflows/pr.yml":      workflow("PR", "pull_request"),
		".github/workflows/closed.yml":  workflow("Closed", "{pull_request: {types: [closed]}}"),
		".github/workflows/target.yml":  workflow("Target", "pull_request_target"),
		".github/workflows/release.yml": workflow("Release", "{release: {types: [published]}}"),
		".github/workflows/hand.yml":    workflow("Hand", "{workflow_dispatch: {inputs: {to: {type: choice, options: [a, b], required: true}}}}"),
		".github/workflows/other.yml":   workflow("Other", "{repository_dispatch: {types: [go]}}"),
		"docs/x":                        "1",
	})
	first := s.git("rev-parse", "HEAD")
	s.git("tag", "v1")
	topic := s.branch("topic", map[string]string{"docs/x": "2"})
	second := s.commit("second", map[string]string{"src": "1"})
	after := func(h forge.Hook, before string) forge.Hook {
		h.Change.Before = before
		return h
	}
	closed := s.pull("5", topic, false)
	closed.Kind, closed.Fetch, closed.Change.Payload["action"] = forge.Closed, "refs/heads/topic", "closed"
	open := s.pull("5", topic, false)
	open.Fetch = "refs/heads/topic"
	deleted := s.push("refs/heads/gone", strings.Repeat("0", 40))
	deleted.Deleted = true
	release := forge.Hook{Kind: forge.Released, Event: "release", Fetch: "refs/tags/v1", Change: &plan.Change{Event: "release", Ref: "refs/tags/v1", Payload: map[string]any{"action": "published"}}}
	dispatch := forge.Hook{Kind: forge.Dispatch, Event: "repository_dispatch", Change: &plan.Change{Event: "repository_dispatch", Payload: map[string]any{"action": "go"}}}
	both := s.push("refs/tags/v1", first)
	also := s.push("refs/heads/main", second)
	both.Also = []*forge.Hook{&also}
	for _, tt := range []struct {
		name, want, why string
		h               forge.Hook
	}{
		{"a push to main", "Main push protected", "", after(s.push("refs/heads/main", second), first)},
		{"a new branch, compared with the default one", "Docs push contributor", "", s.push("refs/heads/topic", topic)},
		{"a push that touches nothing named", "", "matches paths", after(s.push("refs/heads/topic", topic), topic)},
		{"a tag", "Tag push protected", "", s.push("refs/tags/v1", first)},
		{"a commit that main has left behind", "Docs push protected, Main push protected", "", s.push("refs/heads/main", first)},
		{"a commit of another branch, said to be on main", "Docs push contributor, Main push contributor", "", s.push("refs/heads/main", topic)},
		{"a change", "PR pull_request contributor, Target pull_request_target contributor", "", open},
		{"the end of a change", "Closed pull_request contributor", "", closed},
		{"a release", "Release release protected", "", release},
		{"a dispatch", "Other repository_dispatch protected", "", dispatch},
		{"several refs at once", "Tag push protected, Main push protected", "", both},
		{"a deleted branch", "", "was deleted", deleted},
		{"a ping", "", "tried its hook out", forge.Hook{Kind: forge.Ping, Event: "ping"}},
		{"something else", "", `nothing is started by "star"`, forge.Hook{Kind: forge.Other, Event: "star"}},
	} {
		b := s.settle(s.deliver(tt.h))
		var got []string
		for _, id := range b.Runs {
			r := s.run(id)
			got = append(got, fmt.Sprintf("%s %s %s", r.Planned.Pipeline.Name, r.Planned.Change.Event, r.Planned.Origin.Trust))
		}
		if strings.Join(got, ", ") != tt.want || !strings.Contains(b.Why, tt.why) || (b.Why == "") != (tt.why == "") {
			t.Errorf("%s: %q (%s), want %q", tt.name, strings.Join(got, ", "), b.Why, tt.want)
		}
	}
	for _, tt := range []struct {
		name, want, why string
		w               Wish
	}{
		{"by hand", "Hand refs/heads/main", "", Wish{Workflow: "hand.yml", Inputs: map[string]string{"to": "a"}}},
		{"by hand at a tag", "Hand refs/tags/v1", "", Wish{Workflow: "Hand", Ref: "v1", Inputs: map[string]string{"to": "b"}}},
		{"by hand at a commit", "Hand " + first, "", Wish{Workflow: "Hand", Ref: first, Inputs: map[string]string{"to": "b"}}},
		{"a wrong input", "", "errors in what would be run", Wish{Workflow: "hand.yml", Inputs: map[string]string{"to": "c"}}},
		{"no such workflow", "", "there is no workflow", Wish{Workflow: "none.yml"}},
		{"one that is not started by hand", "", "no workflow is started", Wish{Workflow: "tag.yml"}},
		{"a dispatch", "Other refs/heads/main", "", Wish{Event: "repository_dispatch", Payload: map[string]any{"event_type": "go"}}},
	} {
		tt.w.Repository = "team/app"
		seq, err := s.desk.Ask(t.Context(), ada, tt.w)
		if err != nil {
			t.Fatal(err)
		}
		b := s.settle(seq)
		got := ""
		for _, id := range b.Runs {
			r := s.run(id)
			got = r.Planned.Pipeline.Name + " " + r.Planned.Change.Ref
		}
		if got != tt.want || !strings.Contains(b.Why, tt.why) || (b.Why == "") != (tt.why == "") {
			t.Errorf("%s: %q (%s), want %q", tt.name, got, b.Why, tt.want)
		}
	}
	var usage *plan.UsageError
	for _, bad := range []Wish{
		{Repository: "team/none", Workflow: "x"}, {Repository: "team/app"}, {Repository: "team/app", Event: "pull_request_target", Workflow: "x"},
		{Repository: "team/app", Workflow: "x", Ref: "--upload-pack=touch x"}, {Repository: "team/app", Workflow: "x\ny"},
		{Repository: "team/app", Workflow: "x", Inputs: map[string]string{"a": strings.Repeat("x", maxValue)}},
		{Repository: "team/app", Workflow: "x", Priority: maxPriority + 1},
		{Repository: "team/app", Workflow: "x", Payload: map[string]any{"ref": "refs/heads/main"}},
		{Repository: "team/app", Event: "repository_dispatch", Payload: map[string]any{"repository": map[string]any{"default_branch": "evil"}}},
	} {
		if _, err := s.desk.Ask(t.Context(), ada, bad); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestSettleProblems: what cannot be run is said, and the rest is run.
func TestSettleProblems(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/good.yml": workflow("Good", "push"),
		".github/workflows/bad.yml":  "name: Bad\non: push\njobs:\n  x:\n    runs-on: ubuntu-latest\n    needs: nobody\n    steps:\n      - run: x\n",
	})
	b := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD"))))
	if len(b.Runs) != 1 || !plan.Errors(b.Problems) || b.Problems[0].File != ".github/workflows/bad.yml" {
		t.Errorf("%+v", b)
	}
	s.change(func(r *Repository) { r.Paused = true })
	if b := s.settle(s.deliver(s.push("refs/heads/main", s.commit("more", nil)))); b.Why != "the repository is paused" {
		t.Errorf("%+v", b)
	}
	if _, err := s.desk.Ask(t.Context(), ada, Wish{Repository: "team/app", Workflow: "good.yml"}); err == nil {
		t.Error("a paused repository takes wishes")
	}
}

// TestFork: the pipeline of a fork runs as it is only when it was approved, and only then
// with secrets; nobody else reads what it wrote.
func TestFork(t *testing.T) {
	t.Parallel()
	const ours = "name: PR\non: pull_request\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'echo ours ${{ secrets.WORD }}'\n"
	theirs := strings.ReplaceAll(ours, "ours", "theirs")
	for _, tt := range []struct {
		forks, script string
		approval      bool
	}{
		{"", "theirs", true}, {ForksApprove, "theirs", true}, {ForksRun, "ours", false}, {ForksNever, "", false},
	} {
		t.Run("forks "+tt.forks, func(t *testing.T) {
			t.Parallel()
			s := set(t, map[string]string{".github/workflows/pr.yml": ours})
			s.vault["team/app WORD"], s.vault["team/app $TOKEN"] = "canary", "word"
			s.change(func(r *Repository) { r.Forks = tt.forks })
			sha := s.fork("17", map[string]string{".github/workflows/pr.yml": theirs})
			h := s.pull("17", sha, false) // it does not say that it is from a fork
			b := s.settle(s.deliver(h))
			if tt.script == "" {
				if len(b.Runs) != 0 || !strings.Contains(b.Why, "not run here") {
					t.Errorf("%+v", b)
				}
				return
			}
			if len(b.Runs) != 1 {
				t.Fatalf("%+v", b)
			}
			r := s.run(b.Runs[0])
			p := r.Planned
			if p.Origin.Trust != record.Untrusted || p.Origin.Approval != tt.approval || p.Origin.Change != "17" || p.Change.SHA != sha {
				t.Errorf("%+v", p.Origin)
			}
			if !strings.Contains(p.Pipeline.Texts[0].Body, tt.script) {
				t.Errorf("the pipeline is %s", p.Pipeline.Texts[0].Body)
			}
			if got := scopes(p.Origin, p.Change); got.Write != "change/17@team/app" {
				t.Errorf("it writes to %s", got.Write)
			}
			secrets, err := s.desk.secrets(t.Context(), p, "", false)
			if err != nil || len(secrets) != 0 {
				t.Errorf("it is given %v, %v", secrets, err)
			}
			if !tt.approval {
				return
			}
			s.serve(s.desk)
			s.until("it waits", func() bool {
				q, err := s.desk.Queue(t.Context())
				return err == nil && len(q.Waiting) == 1 && q.Waiting[0].Why == "waits for approval by a maintainer"
			})
			if _, err := s.desk.Repeat(t.Context(), ada, r.ID, record.Again{}); err == nil {
				t.Error("a run that waits for approval was repeated")
			}
			if err := s.desk.Approve(t.Context(), ada, r.ID); err != nil {
				t.Fatal(err)
			}
			if err := s.desk.Approve(t.Context(), ada, r.ID); err == nil {
				t.Error("it was approved twice")
			}
			r = s.ended(r.ID)
			if r.Verdict != plan.Success {
				t.Fatalf("%s %s", r.Verdict, r.Why)
			}
			if secrets, err = s.desk.secrets(t.Context(), p, "", true); err != nil || secrets["WORD"] != "canary" || secrets["GITHUB_TOKEN"] != "" {
				t.Errorf("approved it is given %v, %v", secrets, err)
			}
			// What was approved is the plan: it may run again, with the same rights.
			again, err := s.desk.Repeat(t.Context(), ada, r.ID, record.Again{})
			if err != nil {
				t.Fatal(err)
			}
			if r := s.ended(again); r.Verdict != plan.Success || !r.Planned.Origin.Approval || r.Planned.Origin.Trust != record.Untrusted {
				t.Errorf("%s %+v", r.Verdict, r.Planned.Origin)
			}
		})
	}
}

// TestForkElsewhere: where no ref of the repository leads to the commits.
func TestForkElsewhere(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/pr.yml": workflow("PR", "pull_request")})
	h := s.pull("17", "", true)
	h.Fetch = ""
	for _, address := range []string{"https://elsewhere.example.org/eve/app", "/etc", "ext::touch x"} {
		h.HeadURL, h.Title = address, address
		if b := s.settle(s.deliver(h)); len(b.Runs) != 0 || !strings.Contains(b.Why, "which is not where the repository is") {
			t.Errorf("%s: %+v", address, b)
		}
	}
}

// TestHostileNames is the twelfth row of the threat table: names of branches and commits
// are never options, nor paths.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	for _, bad := range []string{"--upload-pack=touch pwned", "-oProxyCommand=touch pwned", "refs/heads/../../x", "refs/heads/x\ny", "", "refs/heads/x;touch${IFS}pwned"} {
		h := s.push(bad, "")
		h.Change.SHA = bad
		if bad == "" {
			h = s.push("refs/heads/none", strings.Repeat("a", 40))
		}
		seq := s.deliver(h)
		body, err := s.desk.request(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.desk.settle(t.Context(), seq, body); err == nil {
			t.Errorf("%q: settled to %+v", bad, s.settled(seq))
		} else if patience(err) != absentTries {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, dir := range []string{s.work, s.data, "."} {
		if _, err := os.Stat(dir + "/pwned"); err == nil {
			t.Error("pwned")
		}
	}
}

// faulty is a store of which the n-th Change fails, before or after it was done.
type faulty struct {
	Store
	mu    sync.Mutex
	left  int
	after bool
}

var errCrash = errors.New("crash")

func (f *faulty) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	f.mu.Lock()
	f.left--
	crash := f.left == 0
	f.mu.Unlock()
	if crash && !f.after {
		return nil, errCrash
	}
	all, err := f.Store.Change(ctx, changes, events...)
	if crash {
		return nil, errCrash
	}
	return all, err
}

// TestOnce: whoever dies when, a request starts its runs once.
func TestOnce(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after %t", after), func(t *testing.T) {
			t.Parallel()
			s := set(t, map[string]string{".github/workflows/ci.yml": pushCI, ".github/workflows/two.yml": workflow("Two", "push")})
			seq := s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))
			dying := s.open(&faulty{Store: s.store, left: 1, after: after})
			body, err := s.desk.request(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			if err := dying.settle(t.Context(), seq, body); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			if planned := len(s.events("run.planned")); planned != map[bool]int{false: 0, true: 2}[after] {
				t.Errorf("a half: %d runs", planned)
			}
			var all sync.WaitGroup
			for range 4 {
				desk := s.open(s.store)
				all.Go(func() {
					if err := desk.settle(t.Context(), seq, body); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			b := s.settled(seq)
			if got := s.events("run.planned"); len(got) != 2 || len(b.Runs) != 2 || len(s.events("request.settled")) != 1 {
				t.Errorf("%d runs, %+v", len(got), b)
			}
			heads, err := s.store.Runs(t.Context(), store.RunFilter{Origin: "team/app"})
			if err != nil || len(heads) != 2 || !slices.ContainsFunc(heads, func(h store.RunHead) bool { return h.ID == b.Runs[0] }) {
				t.Errorf("%+v, %v", heads, err)
			}
		})
	}
}

// TestUnreachable: a request whose repository cannot be had is tried, and then settled as our
// fault; one for a commit that is not there, as nobody's.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	gone := s.deliver(s.push("refs/heads/main", strings.Repeat("a", 40)))
	one := &task{seq: gone}
	for tries := 1; ; tries++ {
		err := s.desk.do(t.Context(), one)
		if err == nil {
			if tries != absentTries {
				t.Errorf("given up after %d tries", tries)
			}
			break
		}
		one.tries++
	}
	if b := s.settled(gone); b.Fault || !strings.Contains(b.Why, "no such branch, tag or commit") {
		t.Errorf("%+v", b)
	}
	if err := os.Rename(s.work, s.work+".away"); err != nil {
		t.Fatal(err)
	}
	seq := s.deliver(s.push("refs/heads/main", strings.Repeat("b", 40)))
	one = &task{seq: seq, tries: settleTries - 2}
	if err := s.desk.do(t.Context(), one); err == nil {
		t.Error("settled too early")
	}
	one.tries++
	if err := s.desk.do(t.Context(), one); err != nil {
		t.Error(err)
	}
	if b := s.settled(seq); !b.Fault || b.Why == "" {
		t.Errorf("%+v", b)
	}
}

// TestChain: the end of a run starts others, once, and not for ever.
func TestChain(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/ci.yml":   pushCI,
		".github/workflows/next.yml": workflow("Next", "{workflow_run: {workflows: ['*'], types: [completed]}}"),
	})
	s.serve(s.desk)
	b := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD"))))
	s.ended(b.Runs[0])
	s.until("the chain is at its end", func() bool { return len(s.events("run.finished")) == maxChain+1 })
	var names []string
	for _, e := range s.events("run.planned") {
		p := e.Body.(*record.RunPlanned)
		names = append(names, p.Pipeline.Name+" "+string(p.Origin.Trust))
		if p.Change.Event == "workflow_run" {
			run, _ := p.Change.Payload["workflow_run"].(map[string]any)
			if run["conclusion"] != "success" || run["name"] == "" {
				t.Errorf("%v", run)
			}
		}
	}
	if len(names) != 1+maxChain || names[0] != "CI protected" || names[1] != "Next protected" {
		t.Errorf("%v", names)
	}
	for _, e := range s.events("run.finished") { // as after a crash
		if err := s.desk.chain(t.Context(), e.Run); err != nil {
			t.Error(err)
		}
	}
	if got := len(s.events("run.requested")); got != maxChain {
		t.Errorf("%d were asked for", got)
	}
}

// TestWhereabouts: a repository has one host and one name, whoever tells of it.
func TestWhereabouts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, api, want string }{
		{"https://github.com/team/app.git", "", "https://github.com team/app"},
		{"https://github.com/team/app/", "https://api.github.com", "https://github.com team/app"},
		{"ssh://git@code.example.org:2222/team/app.git", "", "https://code.example.org team/app"},
		{"git@code.example.org:team/group/app.git", "", "https://code.example.org team/group/app"},
		{"http://127.0.0.1:3000/team/app", "", "http://127.0.0.1:3000 team/app"},
		{"https://example.org/git/team/app.git", "https://example.org/git/api/v1", "https://example.org/git team/app"},
		{"git@example.org:team/app.git", "https://example.org/git/api/v1", "https://example.org/git team/app"},
		{"https://ghe.example.org/team/app", "https://ghe.example.org/api/v3", "https://ghe.example.org team/app"},
		{"/srv/git/app.git", "https://code.example.org/api/v1", "https://localhost our/app"},
	} {
		server, name := whereabouts(&Repository{Name: "our/app", URL: tt.url, API: tt.api})
		if got := server + " " + name; got != tt.want {
			t.Errorf("%s (%s): %s, want %s", tt.url, tt.api, got, tt.want)
		}
	}
	// By hand and by a push the same is in the environment of steps.
	s := set(t, map[string]string{".github/workflows/ci.yml": strings.Replace(pushCI, "on: push", "on: [push, workflow_dispatch]", 1)})
	pushed := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	seq, err := s.desk.Ask(t.Context(), ada, Wish{Repository: "team/app", Workflow: "ci.yml"})
	if err != nil {
		t.Fatal(err)
	}
	asked := s.settle(seq).Runs[0]
	var said []string
	for _, run := range []string{pushed, asked} {
		r, err := s.store.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		c := r.Planned.Change
		said = append(said, c.Server+" "+c.Repository)
	}
	if said[0] != said[1] {
		t.Errorf("a push is of %s, by hand it is %s", said[0], said[1])
	}
}

// TestChainOfFork: what follows an untrusted run is not trusted with secrets, either.
func TestChainOfFork(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/pr.yml":   workflow("PR", "pull_request"),
		".github/workflows/next.yml": workflow("Next", "{workflow_run: {workflows: [PR]}}", "'echo ${{ secrets.WORD }}'"),
	})
	s.vault["team/app WORD"] = "canary"
	s.change(func(r *Repository) { r.Forks = ForksRun })
	s.serve(s.desk)
	b := s.settled(s.deliver(s.pull("17", s.fork("17", map[string]string{"x": "1"}), true)))
	s.ended(b.Runs[0])
	s.until("the next has ended", func() bool { return len(s.events("run.finished")) == 2 })
	p := s.events("run.planned")[1].Body.(*record.RunPlanned)
	if p.Origin.Trust != record.Untrusted || p.Origin.Change != "17" || scopes(p.Origin, p.Change).Write != "change/17@team/app" {
		t.Errorf("%+v", p.Origin)
	}
	if secrets, err := s.desk.secrets(t.Context(), p, "", false); err != nil || len(secrets) != 0 {
		t.Errorf("%v, %v", secrets, err)
	}
}
