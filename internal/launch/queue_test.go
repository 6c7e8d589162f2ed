package launch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	names := func(list []turn) string {
		var out []string
		for _, x := range list {
			out = append(out, x.Run)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		name    string
		waiting []turn
		running map[string]int
		want    string
	}{
		{"first come, first served", []turn{{Run: "2", Repo: "a", Since: at(2)}, {Run: "1", Repo: "a", Since: at(1)}}, nil, "1 2"},
		{"of the same moment the older", []turn{{Run: "10", Repo: "a"}, {Run: "9", Repo: "a"}}, nil, "9 10"},
		{"repositories take turns", []turn{{Run: "1", Repo: "a", Since: at(1)}, {Run: "2", Repo: "a", Since: at(2)}, {Run: "3", Repo: "a", Since: at(3)}, {Run: "4", Repo: "b", Since: at(4)}}, nil, "1 4 2 3"},
		{"the one with fewer runs first", []turn{{Run: "1", Repo: "a", Since: at(1)}, {Run: "2", Repo: "b", Since: at(2)}}, map[string]int{"a": 1}, "2 1"},
		{"priority before fairness", []turn{{Run: "1", Repo: "a", Since: at(1), Priority: 5}, {Run: "2", Repo: "a", Since: at(2), Priority: 5}, {Run: "3", Repo: "b", Since: at(0)}}, nil, "1 2 3"},
		{"what was begun before all", []turn{{Run: "1", Repo: "a", Priority: 9}, {Run: "2", Repo: "b", Resume: true, Since: at(9)}}, nil, "2 1"},
		{"what is blocked last", []turn{{Run: "1", Repo: "a", Priority: 9, Blocked: "x"}, {Run: "2", Repo: "b", Since: at(9)}}, nil, "2 1"},
	} {
		if got := names(order(tt.waiting, tt.running)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestFair: however many runs one repository asks for, no other waits for more than its
// share, and none is forgotten.
func TestFair(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var waiting []turn
		running := map[string]int{}
		repos := 2 + r.IntN(5)
		for i := range 5 + r.IntN(60) {
			repo := fmt.Sprint(r.IntN(repos))
			if r.IntN(3) > 0 {
				repo = "0" // the greedy one
			}
			waiting = append(waiting, turn{Run: fmt.Sprint(i), Repo: repo, Since: time.Unix(int64(r.IntN(1000)), 0)})
		}
		places := 1 + r.IntN(6)
		started := map[string]bool{}
		for len(waiting) > 0 {
			before := maps.Clone(running)
			next := order(waiting, running)
			if len(next) != len(waiting) {
				t.Fatalf("seed %d: %d of %d have an order", seed, len(next), len(waiting))
			}
			total := 0
			for _, n := range running {
				total += n
			}
			if total < places {
				chosen := next[0]
				for _, w := range waiting { // nobody with less under way was passed over
					if before[w.Repo] < before[chosen.Repo] {
						t.Fatalf("seed %d: %s goes although %s has less", seed, chosen.Repo, w.Repo)
					}
					if w.Repo == chosen.Repo && w.Since.Before(chosen.Since) {
						t.Fatalf("seed %d: %s overtakes %s", seed, chosen.Run, w.Run)
					}
				}
				if started[chosen.Run] {
					t.Fatalf("seed %d: run %s twice", seed, chosen.Run)
				}
				started[chosen.Run] = true
				running[chosen.Repo]++
				waiting = slices.DeleteFunc(waiting, func(w turn) bool { return w.Run == chosen.Run })
				continue
			}
			busy := sortedKeys(running)
			gone := busy[r.IntN(len(busy))]
			if running[gone]--; running[gone] == 0 {
				delete(running, gone)
			}
		}
	}
}

func TestOvertaken(t *testing.T) {
	t.Parallel()
	runs := map[string]*unfinished{}
	for _, u := range []unfinished{
		{run: "1", repo: "a", key: "ci of main", sha: "x", request: 1},
		{run: "2", repo: "a", key: "ci of main", sha: "y", request: 2},
		{run: "3", repo: "a", key: "ci of main", sha: "y", request: 3},
		{run: "4", repo: "a", key: "ci of main", sha: "w", request: 0, under: true},
		{run: "5", repo: "b", key: "ci of main", sha: "x", request: 1},
		{run: "6", repo: "a", key: "", sha: "x", request: 1},
		{run: "7", repo: "a", key: "other of main", sha: "x", request: 1},
	} {
		runs[u.run] = &u
	}
	// Run 2 is of the same commit as the newest, 4 is under way.
	old, late := overtaken(runs)
	if len(old) != 1 || old["1"] != "3" || len(late) != 1 || late["4"] != "3" {
		t.Errorf("%v, %v", old, late)
	}
	runs["4"].told = true
	if _, late = overtaken(runs); len(late) > 0 {
		t.Errorf("it is told twice: %v", late)
	}
}

// slow is a workflow that waits for a file.
func slow(name, on, file string) string {
	return workflow(name, on, "'until test -e "+file+"; do sleep 0.02; done'")
}

// TestQueue: places, limits, priorities, the words for why something waits; what is overtaken
// or removed is cancelled.
func TestQueue(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	s := set(t, map[string]string{".github/workflows/ci.yml": slow("CI", "push", gate)})
	s.desk.Jobs = 3
	s.change(func(r *Repository) { r.Limit = 1 })
	other := s.repo
	other.Name, other.Limit = "team/other", 0
	if err := s.desk.SetRepository(t.Context(), ada, other, true); err != nil {
		t.Fatal(err)
	}
	s.serve(s.desk)
	var runs []string
	for _, name := range []string{"one", "two", "three"} {
		b := s.settled(s.deliver(s.push("refs/heads/"+name, s.branch(name, map[string]string{name: "1"}))))
		runs = append(runs, b.Runs...)
		if name == "one" {
			s.until("the first is under way", func() bool { return !s.run(runs[0]).Started.IsZero() })
		}
	}
	q, err := s.desk.Queue(t.Context())
	if err != nil || len(q.Running) != 1 || len(q.Waiting) != 2 || q.Waiting[0].Why != "1 run is of team/app under way, its limit" {
		t.Fatalf("%+v, %v", q, err)
	}
	s.until("the numbers say so, too", func() bool {
		m := s.desk.Metrics()
		return m.Running == 1 && m.Waiting == 2 && m.Oldest > 0
	})
	// A newer commit of a branch makes the one that waits pointless, but not the one that runs.
	next := s.settled(s.deliver(s.push("refs/heads/two", s.branch("two", map[string]string{"two": "2"}))))
	if r := s.ended(runs[1]); r.Verdict != plan.Cancelled || r.Why != "overtaken by run "+next.Runs[0]+", of a newer commit" {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	again := s.settled(s.deliver(s.push("refs/heads/one", s.branch("one", map[string]string{"one": "2"}))))
	// One is cancelled by hand, another while it runs.
	if err := s.desk.Cancel(t.Context(), ada, runs[2], ""); err != nil {
		t.Fatal(err)
	}
	if r := s.ended(runs[2]); r.Verdict != plan.Cancelled || r.Why != "cancelled by ada" || !r.Started.IsZero() {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	if err := s.desk.Cancel(t.Context(), ada, runs[2], ""); err == nil {
		t.Error("what has ended was cancelled")
	}
	if err := s.desk.Cancel(t.Context(), ada, runs[0], ""); err != nil {
		t.Fatal(err)
	}
	if r := s.ended(runs[0]); r.Verdict != plan.Cancelled || r.Started.IsZero() {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	// The repository is removed while one of its runs is under way and another waits.
	s.until("another is under way", func() bool {
		return !s.run(next.Runs[0]).Started.IsZero() || !s.run(again.Runs[0]).Started.IsZero()
	})
	if err := s.desk.RemoveRepository(t.Context(), ada, "team/app"); err != nil {
		t.Fatal(err)
	}
	s.until("only one is left", func() bool { return len(s.events("run.finished")) == 4 })
	if _, err := s.desk.Repository(t.Context(), "team/app"); err == nil {
		t.Error("it is still there")
	}
	s.commit("gate", nil)
	if err := writeFile(gate); err != nil {
		t.Fatal(err)
	}
	s.until("all have ended", func() bool { return len(s.events("run.finished")) == 5 })
	if r := s.run(next.Runs[0]); r.Verdict != plan.Success && s.run(again.Runs[0]).Verdict != plan.Success {
		t.Error("the one that was under way was stopped")
	}
}

// TestTwoDesks: of several desks each run has one.
func TestTwoDesks(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	for range 3 {
		s.serve(s.open(s.store))
	}
	var seqs []int64
	for i := range 8 {
		name := fmt.Sprintf("b%d", i)
		seqs = append(seqs, s.deliver(s.push("refs/heads/"+name, s.branch(name, map[string]string{"x": name}))))
	}
	for _, seq := range seqs {
		b := s.settled(seq)
		if len(b.Runs) != 1 {
			t.Fatalf("%+v", b)
		}
		if r := s.ended(b.Runs[0]); r.Verdict != plan.Success {
			t.Errorf("%s %s", r.Verdict, r.Why)
		}
	}
	if n := len(s.events("run.started")); n != len(seqs) {
		t.Errorf("%d starts of %d runs", n, len(seqs))
	}
	if n := len(s.events("run.planned")); n != len(seqs) {
		t.Errorf("%d runs of %d pushes", n, len(seqs))
	}
}

// TestHandOver: a desk that stops leaves its runs, and the next goes on with them; what waited
// while nobody served is not lost.
func TestHandOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gate, count := filepath.Join(dir, "gate"), filepath.Join(dir, "count")
	s := set(t, map[string]string{
		".github/workflows/ci.yml": "name: CI\non: push\njobs:\n  before:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo x >> " + count +
			"\n  job:\n    needs: before\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'until test -e " + gate + "; do sleep 0.02; done'\n",
	})
	stop := s.serve(s.desk)
	first := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	s.until("it waits for the gate", func() bool {
		j := s.run(first).Jobs["job"]
		return j != nil && len(j.Steps) > 0
	})
	stop()
	h, err := s.store.Head(t.Context(), first)
	if err != nil || h.Verdict != "" || !h.Interrupted() {
		t.Fatalf("it was not left: %+v, %v", h, err)
	}
	seq := s.deliver(s.push("refs/heads/topic", s.branch("topic", map[string]string{"y": "1"})))
	if err := writeFile(gate); err != nil {
		t.Fatal(err)
	}
	next := s.open(s.store)
	s.serve(next)
	if r := s.ended(first); r.Verdict != plan.Success {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	if r := s.ended(s.settled(seq).Runs[0]); r.Verdict != plan.Success {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	starts := 0
	for _, e := range s.events("run.started") {
		if e.Run == first {
			starts++
		}
	}
	if starts != 2 {
		t.Errorf("%d starts", starts)
	}
	if got := lines(t, count); got != 2 {
		t.Errorf("the job that had ended ran again: %d", got)
	}
}

// TestTakeOver: what a desk that died had under way is gone on with, and what it was asked to
// cancel meanwhile is cancelled.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	s := set(t, map[string]string{".github/workflows/ci.yml": slow("CI", "push", gate)})
	stop := s.serve(s.desk)
	run := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	s.until("it is under way", func() bool { return !s.run(run).Started.IsZero() })
	stop()
	if err := s.desk.Cancel(t.Context(), ada, run, ""); err != nil {
		t.Fatal(err)
	}
	s.serve(s.open(s.store))
	if r := s.ended(run); r.Verdict != plan.Cancelled {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
}

// TestUnstartable: a run that cannot be started ends as our fault, and tells why.
func TestUnstartable(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	run := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	other := s.open(s.store)
	other.Dir = t.TempDir()
	if err := other.turn(t.Context(), other.Launcher, run, "team/app"); err == nil || !strings.Contains(err.Error(), "same data directory") {
		t.Error(err)
	}
	if err := other.fail(t.Context(), run, errCrash); err != nil {
		t.Fatal(err)
	}
	if r := s.run(run); r.Verdict != plan.Fault || r.Why != "crash" {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	if err := s.desk.turn(t.Context(), s.desk.Launcher, run, "team/app"); err != nil {
		t.Error(err)
	}
	if len(s.events("run.started")) != 0 {
		t.Error("it was started after its end")
	}
}

// TestRepeatOnServer: runs are repeated with their origin.
func TestRepeatOnServer(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.serve(s.desk)
	run := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	s.ended(run)
	again, err := s.desk.Repeat(t.Context(), ada, run, record.Again{})
	if err != nil {
		t.Fatal(err)
	}
	r := s.ended(again)
	if r.Verdict != plan.Success || r.Planned.Of != run || r.Planned.Attempt != 2 || r.Planned.Origin.Repository != "team/app" {
		t.Errorf("%s %+v", r.Verdict, r.Planned.Origin)
	}
	if _, err := s.desk.Repeat(t.Context(), ada, "999", record.Again{}); err == nil {
		t.Error("an unknown run was repeated")
	}
	acts := s.events("acted")
	if last := acts[len(acts)-1].Body.(*record.Acted); last.By != "ada" || last.Verb != "runs.repeat" || last.Detail["run"] != run {
		t.Errorf("%+v", last)
	}
}

func TestSecretsOfRun(t *testing.T) {
	t.Parallel()
	s := set(t, nil)
	for _, name := range []string{"ONE", "TWO", "THREE", "FOUR", "$TOKEN", "$HOOK", "ACTIONS_STEP_DEBUG"} {
		s.vault["team/app "+name] = "value of " + name
	}
	text := `${{ secrets.ONE }} ${{ Secrets['two'] }} ${{ secrets [ "Three" ] }} my_secrets.FOUR secrets.$HOOK ${{ github.token }}`
	p := &record.RunPlanned{Origin: &record.Origin{Repository: "team/app", Trust: record.Contributor}, Pipeline: &plan.Pipeline{Dialect: "github", Texts: []plan.Text{{Body: text}}}}
	got, err := s.desk.secrets(t.Context(), p, "", false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ONE": "value of ONE", "TWO": "value of TWO", "THREE": "value of THREE", "ACTIONS_STEP_DEBUG": "value of ACTIONS_STEP_DEBUG", "GITHUB_TOKEN": "value of $TOKEN"}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	p.Pipeline.Texts[0].Body = "echo"
	if got, err := s.desk.secrets(t.Context(), p, "", false); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// In languages where secrets have no place of their own, those are given whose
// names are words of the text.
func TestSecretsByTheirNames(t *testing.T) {
	t.Parallel()
	s := set(t, nil)
	for _, name := range []string{"team/app ONE", "team/app TWO", "team/app MY_CRED_USR", "team/app MY_CRED_PSW", "team/app OTHER", "team/app $HOOK", " SHARED", "team/other THREE"} {
		s.vault[name] = "value of " + name
	}
	for dialect, text := range map[string]string{
		"gitlab":  "script: [deploy $ONE \"${TWO}x\" $SHARED $HOOK $THREE, 'use MY_CRED_USR MY_CRED_PSW']",
		"azure":   "steps: [{bash: deploy $(One) $(two) $(shared), env: {A: $(MY_CRED_USR), B: $(MY_CRED_PSW)}}]",
		"jenkins": "withCredentials([string(credentialsId: 'one')]) {}; environment { A = credentials('my-cred'); B = \"${env.TWO}\"; C = SHARED }",
	} {
		p := &record.RunPlanned{Origin: &record.Origin{Repository: "team/app", Trust: record.Contributor}, Pipeline: &plan.Pipeline{Dialect: dialect, Texts: []plan.Text{{Body: text}}}}
		got, err := s.desk.secrets(t.Context(), p, "", false)
		if err != nil {
			t.Fatal(err)
		}
		names := slices.Sorted(maps.Keys(got))
		// The played vault keeps what belongs to all under no repository, and does not hand it on.
		if want := []string{"MY_CRED_PSW", "MY_CRED_USR", "ONE", "TWO"}; !slices.Equal(names, want) {
			t.Errorf("%s: given %q, want %q", dialect, names, want)
		}
	}
}

// TestSecretsOfEnvironment: a job that names an environment is given its secrets, also
// when the name is known late; other jobs of the run see nothing of them, and nobody
// reads one in a log.
func TestSecretsOfEnvironment(t *testing.T) {
	t.Parallel()
	const file = `
name: Deploy
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - run: test "$KEY" = everybodys-canary && test -z "$ONLY"
        env: &env {KEY: "${{ secrets.KEY }}", ONLY: "${{ secrets.ONLY }}"}
  deploy:
    needs: test
    strategy: {matrix: {to: [staging, production]}}
    environment: ${{ matrix.to }}
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "$KEY" "$ONLY"
          case $TO in
            production) test "$KEY" = productions-canary && test "$ONLY" = onlys-canary;;
            staging) test "$KEY" = everybodys-canary && test -z "$ONLY";;
          esac
        env: {KEY: "${{ secrets.KEY }}", ONLY: "${{ secrets.ONLY }}", TO: "${{ matrix.to }}"}
  after:
    needs: deploy
    runs-on: ubuntu-latest
    steps:
      - run: test "$KEY" = everybodys-canary && test -z "$ONLY"
        env: {KEY: "${{ secrets.KEY }}", ONLY: "${{ secrets.ONLY }}"}
`
	s := set(t, map[string]string{".github/workflows/deploy.yml": strings.ReplaceAll(file, "&env ", "")})
	s.vault["team/app KEY"] = "everybodys-canary"
	s.vault["team/app@production KEY"], s.vault["team/app@production ONLY"] = "productions-canary", "onlys-canary"
	s.serve(s.desk)
	r := s.ended(s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0])
	printed := ""
	for _, id := range r.Order {
		j := r.Jobs[id]
		if j.State == record.Finished && j.Verdict != plan.Success {
			t.Errorf("%s: %s, %s", id, j.Verdict, j.Why)
		}
		if log, err := s.desk.OpenLog(t.Context(), r.ID, j); err == nil {
			if err := log.Read(0, func(l logs.Line) bool { printed += string(l.Text) + "\n"; return true }); err != nil {
				t.Error(err)
			}
			_ = log.Close()
		}
	}
	if !strings.Contains(printed, "*** ***") || strings.Contains(printed, "canary") {
		t.Errorf("printed is:\n%s", printed)
	}
}

// TestStartReadsUnderLease: whoever waits for a run's lease, while another brings the run to its end,
// does not run it again.
func TestStartReadsUnderLease(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	run := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	late := s.open(&lateLease{Store: s.store, before: func() {
		if r, err := s.desk.Start(t.Context(), run, nil, Watcher{Observer: nobody{}}); err != nil || r.Verdict != plan.Success {
			t.Errorf("the other one: %+v, %v", r, err)
		}
	}})
	var use *plan.UsageError
	if _, err := late.Start(t.Context(), run, nil, Watcher{Observer: nobody{}}); !errors.As(err, &use) || !strings.Contains(use.Message, "has ended") {
		t.Errorf("the late one: %v", err)
	}
	if n := len(s.events("run.started")); n != 1 {
		t.Errorf("it was started %d times", n)
	}
}

// lateLease gives the first lease only after something else has happened.
type lateLease struct {
	Store
	once   sync.Once
	before func()
}

func (l *lateLease) Lease(ctx context.Context, name, holder string) (store.Lease, error) {
	l.once.Do(l.before)
	return l.Store.Lease(ctx, name, holder)
}

// nobody watches.
type nobody struct{}

func (nobody) Event(record.Event)                 {}
func (nobody) Line(string, string, int64, []byte) {}

// TestNewerCommit: a run under way that a newer commit makes pointless ends, if its pipeline
// says so.
func TestNewerCommit(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	s := set(t, map[string]string{".gitlab-ci.yml": "default: {interruptible: true}\nwait:\n  script: until test -e " + gate + "; do sleep 0.02; done\n"})
	s.desk.Launcher.Dialects = []dialect.Dialect{gitlab.New(gitlab.Config{})}
	s.serve(s.desk)
	old := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs
	s.until("the first is under way", func() bool {
		j := s.run(old[0]).Jobs["wait"]
		return j != nil && j.State == record.Running
	})
	next := s.settled(s.deliver(s.push("refs/heads/main", s.commit("second", map[string]string{"a": "b"})))).Runs
	if r := s.ended(old[0]); r.Verdict != plan.Cancelled || r.Why != "overtaken by run "+next[0]+", of a newer commit" {
		t.Errorf("%s %s", r.Verdict, r.Why)
	}
	if err := writeFile(gate); err != nil {
		t.Fatal(err)
	}
	if r := s.ended(next[0]); r.Verdict != plan.Success {
		t.Errorf("the newer one: %s %s", r.Verdict, r.Why)
	}
}

// TestPrevious: a run is told of the one before it of its pipeline and branch, if its language asks,
// and of the same one again when it goes on.
func TestPrevious(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{"Jenkinsfile": "error 'bad'\n"})
	s.desk.Launcher.Dialects = []dialect.Dialect{jenkins.New(jenkins.Config{})}
	s.serve(s.desk)
	previous := func(run string) *plan.Previous {
		s.ended(run)
		return s.run(run).Planned.Previous
	}
	first := s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	if p := previous(first); p != nil {
		t.Errorf("before the first was %+v", p)
	}
	other := s.settled(s.deliver(s.push("refs/heads/other", s.branch("other", map[string]string{"a": "b"})))).Runs[0]
	if p := previous(other); p != nil {
		t.Errorf("of another branch: %+v", p)
	}
	s.git("switch", "-q", "main")
	next := s.settled(s.deliver(s.push("refs/heads/main", s.commit("second", map[string]string{"c": "d"})))).Runs[0]
	if p := previous(next); p == nil || p.RunID != first || p.Verdict != plan.Failure || p.Outputs["result"] != "FAILURE" {
		t.Errorf("before the second: %+v", p)
	}
}

// TestRunner: the launcher that runs the queue is the desk's, in all that there is to set.
func TestRunner(t *testing.T) {
	t.Parallel()
	s := set(t, nil)
	blobs, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.desk.Launcher.Secrets = s.desk.ofEnvironment
	s.desk.Results, s.desk.Tests, s.desk.Coverage = blobs, new(insight.Tests), new(insight.Coverage)
	s.desk.Cache, s.desk.Outputs, s.desk.Actions = new(cache.Cache), blobs, map[string]string{"a/b": "/c"}
	s.desk.Inherit = func(context.Context, string, string) error { return nil }
	s.desk.Databases, s.desk.Faults = new(Databases), new(insight.Faults)
	s.desk.Conceal = func(context.Context, *secret.Masker, string) (*record.Shown, error) { return nil, nil }
	s.desk.Launcher.Protect, s.desk.Launcher.Tokens = s.desk.protection, s.desk.identities
	s.desk.Places, s.desk.Hands = 2, struct{ engine.Hands }{}
	stop := make(chan struct{})
	made := reflect.ValueOf(s.desk.runner(stop)).Elem()
	ours := reflect.ValueOf(s.desk.Launcher).Elem()
	for i := range made.NumField() {
		f := made.Type().Field(i)
		if !f.IsExported() || f.Name == "Store" {
			continue
		}
		if ours.Field(i).IsZero() {
			t.Errorf("the test does not set %s", f.Name)
		} else if made.Field(i).IsZero() {
			t.Errorf("%s is not handed on", f.Name)
		}
	}
	db := s.desk.runner(stop).Store
	lease, err := db.Lease(context.Background(), "x", "test")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Lost():
		t.Error("it is lost already")
	default:
	}
	close(stop)
	<-lease.Lost()
	if err := lease.Release(); err != nil {
		t.Error(err)
	}
	if _, held, err := s.store.Held(t.Context(), "x"); held || err != nil {
		t.Errorf("%t, %v", held, err)
	}
	var _ store.Lease = lease
}
