package server

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// noon is when the stories of these tests end.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// telling is a run that is written into the record, event by event.
type telling struct {
	sc     *scene
	id     string
	at     time.Time
	events []record.Event
	tests  *record.TestsReported // of the next step
}

// tell begins a run of team/app.
func (sc *scene) tell(at time.Time, p *plan.Pipeline, change plan.Change, o *record.Origin, of string) *telling {
	sc.t.Helper()
	repo := "team/app"
	if o != nil {
		repo = o.Repository
	}
	id, number, err := sc.store.NewRun(sc.t.Context(), repo, p.File)
	if err != nil {
		sc.t.Fatal(err)
	}
	t := &telling{sc: sc, id: id, at: at}
	change.Repository, change.DefaultBranch = repo, "main"
	attempt := 1
	if of != "" {
		attempt = 2
	}
	t.say("", "", &record.RunPlanned{Number: number, Attempt: attempt, Of: of, Root: "/srv/tree", Version: "test", Origin: o, Change: &change, Pipeline: p})
	return t
}

func (t *telling) say(job, step string, b record.Body) {
	t.events = append(t.events, record.Event{Time: t.at, Run: t.id, Job: job, Step: step, Body: b})
}

func (t *telling) wait(d time.Duration) *telling {
	t.at = t.at.Add(d)
	return t
}

func (t *telling) write() string {
	t.sc.t.Helper()
	if _, err := t.sc.store.Append(t.sc.t.Context(), t.events...); err != nil {
		t.sc.t.Fatal(err)
	}
	t.events = nil
	return t.id
}

// step is a step that ends with a verdict.
func (t *telling) step(job, key, name string, line, lines int64, took time.Duration, v plan.Verdict, more ...func(*record.StepFinished)) {
	t.say(job, key, &record.StepStarted{Name: name, Script: name, At: plan.Source{File: ".github/workflows/ci.yml", Line: 12, Col: 9}, Line: line})
	t.wait(took)
	if t.tests != nil {
		t.say(job, key, t.tests)
		t.tests = nil
	}
	f := &record.StepFinished{Name: name, Outcome: v, Conclusion: v, Line: line + lines}
	if v == plan.Failure {
		f.Exit = 1
	}
	for _, m := range more {
		m(f)
	}
	t.say(job, key, f)
}

func reusedFrom(run string, saved time.Duration) func(*record.StepFinished) {
	return func(f *record.StepFinished) {
		f.Reuse = &record.Reuse{From: &record.StepRef{Run: run, Job: "build", Step: "1"}, Saved: saved, Key: "9f2c"}
	}
}

// log writes a job's log: pairs of a step and a line.
func (t *telling) log(job string, lines [][2]string, closed bool) *logs.Writer {
	t.sc.t.Helper()
	name := launch.LogPath(t.sc.data, t.id, job)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.sc.t.Fatal(err)
	}
	w, err := logs.Create(name)
	if err != nil {
		t.sc.t.Fatal(err)
	}
	for i, l := range lines {
		if _, err := w.Line(l[0], noon.Add(-time.Minute+time.Duration(i)*7*time.Millisecond), []byte(l[1])); err != nil {
			t.sc.t.Fatal(err)
		}
	}
	if !closed {
		if err := w.Flush(); err != nil {
			t.sc.t.Fatal(err)
		}
		return w
	}
	if err := w.Close(); err != nil {
		t.sc.t.Fatal(err)
	}
	return nil
}

// failingPipeline has a diamond, a matrix, and a job that is left out.
func failingPipeline() *plan.Pipeline {
	at := func(line int) plan.Source { return plan.Source{File: ".github/workflows/ci.yml", Line: line, Col: 3} }
	return &plan.Pipeline{Dialect: "github", Name: "CI", File: ".github/workflows/ci.yml", Jobs: []plan.Job{
		{ID: "lint", Name: "lint", Source: at(9)},
		{ID: "build", Name: "build", Source: at(20)},
		{ID: "test", Name: "test", Needs: []string{"build"}, Source: at(31), Deferred: &plan.Deferred{}},
		{ID: "e2e", Name: "end to end", Needs: []string{"build"}, Source: at(52)},
		{ID: "deploy", Name: "deploy to staging", Needs: []string{"test", "lint", "e2e"}, Source: at(70)},
	}}
}

// tellFailing is a run that failed in one of three test jobs.
func (sc *scene) tellFailing(at time.Time) string {
	t := sc.tell(at, failingPipeline(), plan.Change{Event: "pull_request", Ref: "refs/pull/42/merge", HeadRef: "faster-index", BaseRef: "main", SHA: "9f2c4711aa" + strings.Repeat("0", 30), Actor: "ada"},
		&record.Origin{Repository: "team/app", Trust: record.Contributor, Change: "42", Title: "Index every 256 lines, not every line"}, "")
	t.say("", "", &record.RunStarted{Host: "ci-1", PID: 77})
	t.say("lint", "", &record.JobQueued{})
	t.say("build", "", &record.JobQueued{})
	t.wait(400*time.Millisecond).say("build", "", &record.JobStarted{Attempt: 1, Place: "host"})
	t.say("build", "", &record.Material{Name: "actions/checkout@v5", Commit: "08c6903cd8c0fde910a37f88322edcfb5dd907a8"})
	t.step("build", "1", "Check out", 0, 2, 600*time.Millisecond, plan.Success)
	t.step("build", "2", "go build ./...", 2, 3, 90*time.Millisecond, plan.Success, reusedFrom("3", 38*time.Second))
	t.say("build", "", &record.ArtifactSaved{Artifact: plan.Artifact{Name: "dist/app-linux-amd64.tar.gz", Digest: "sha256:" + strings.Repeat("5e", 32), Size: 7_340_112}})
	t.say("build", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	t.say("test", "", &record.JobExpanded{Jobs: []record.JobHead{{ID: "test/1.25", Name: "test (1.25)"}, {ID: "test/1.26", Name: "test (1.26)"}, {ID: "test/tip", Name: "test (tip)"}}})
	for _, id := range []string{"test/1.25", "test/1.26", "test/tip", "e2e"} {
		t.say(id, "", &record.JobQueued{})
	}
	t.wait(200*time.Millisecond).say("lint", "", &record.JobStarted{Attempt: 1, Place: "host"})
	t.step("lint", "1", "Check out", 0, 1, 500*time.Millisecond, plan.Success)
	t.step("lint", "2", "golangci-lint run", 1, 2, 4*time.Second, plan.Success, func(f *record.StepFinished) {
		f.Effects.Notes = []plan.Annotation{{Level: plan.WarningLevel, Title: "errcheck", Message: "the error of f.Close is not looked at", File: "internal/index/sparse.go", Line: 88}}
		f.Reuse = &record.Reuse{Key: "77aa", Miss: &record.Miss{Why: "internal/index/sparse.go has changed", Path: "internal/index/sparse.go", Old: "4b1d", New: "e0c9"}}
		f.Watched = &record.Watched{Mechanism: "seccomp", Inputs: 1204, Outputs: 2, Calls: 88231, Overhead: 81 * time.Millisecond}
	})
	t.say("lint", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	t.say("test/1.26", "", &record.JobStarted{Attempt: 1, Place: "host", Workspace: "/var/lib/fairlead/ws/12"})
	t.step("test/1.26", "1", "Check out", 0, 1, 400*time.Millisecond, plan.Success)
	t.tests = &record.TestsReported{Source: "go test -json", Passed: 411, Failed: 1, Skipped: 3, Seconds: 28.4,
		Bad: []record.TestResult{{Suite: "internal/index", Name: "TestSparseIndex/empty_log", Status: "failed", Seconds: .01, Message: "Lines() = 1, want 0", File: "sparse_test.go", Line: 41}}}
	t.step("test/1.26", "2", "go test ./...", 1, 52, 31*time.Second, plan.Failure, func(f *record.StepFinished) {
		f.Fault = &record.Diagnosis{Rule: "go-test-failed", Verdict: plan.Failure, Title: "A Go test failed: TestSparseIndex/empty_log", Hint: "run it alone: go test -run 'TestSparseIndex/empty_log' ./internal/index", Lines: []string{"--- FAIL: TestSparseIndex (0.01s)"}, Line: 40}
		f.Effects.Notes = []plan.Annotation{{Level: plan.ErrorLevel, Message: "sparse_test.go:41: Lines() = 1, want 0", File: "internal/index/sparse_test.go", Line: 41}}
		f.Effects.Summary = []byte("## 1 of 412 tests failed\n\n- TestSparseIndex/empty_log\n")
		f.Reuse = &record.Reuse{Key: "beef", Barred: []record.Bar{{Kind: record.BarFailed}, {Kind: record.BarNetwork, Detail: "tcp 192.0.2.9:443"}}}
	})
	t.say("test/1.26", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure})
	lines := [][2]string{{"1", "\x1b[36mHEAD is now at 9f2c4711 Index every 256 lines\x1b[0m"}}
	for i := range 40 {
		lines = append(lines, [2]string{"2", fmt.Sprintf("ok  \tgithub.com/team/app/internal/part%02d\t0.%03ds", i, i*13)})
	}
	lines[40] = [2]string{"2", "--- FAIL: TestSparseIndex (0.01s)"}
	lines = append(lines, [2]string{"2", "    --- FAIL: TestSparseIndex/empty_log (0.00s)"}, [2]string{"2", "        sparse_test.go:41: Lines() = \x1b[31m1\x1b[0m, want \x1b[32m0\x1b[0m"}, [2]string{"2", "\x1b[1;31mFAIL\x1b[0m"}, [2]string{"2", "FAIL\tgithub.com/team/app/internal/index\t0.023s"}, [2]string{"2", "::group::Coverage"}, [2]string{"2", "total: (statements) 81.2%"}, [2]string{"2", "::endgroup::"}, [2]string{"2", "##[error]Process completed with exit code 1."})
	t.log("test/1.26", lines, true)
	for i, id := range []string{"test/1.25", "test/tip"} {
		t.at = at.Add(time.Duration(6+i*2) * time.Second)
		t.say(id, "", &record.JobStarted{Attempt: 1, Place: "host"})
		t.step(id, "1", "Check out", 0, 1, 400*time.Millisecond, plan.Success)
		t.step(id, "2", "go test ./...", 1, 5, time.Duration(22+i*3)*time.Second, plan.Success)
		t.say(id, "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	}
	t.say("e2e", "", &record.JobStarted{Attempt: 1, Place: "worker gpu-2"})
	t.step("e2e", "1", "playwright test", 0, 4, 9*time.Second, plan.Fault, func(f *record.StepFinished) {
		f.Conclusion = plan.Success
		f.Fault = &record.Diagnosis{Rule: "no-space", Verdict: plan.Fault, Title: "The disk is full", Hint: "free some space on worker gpu-2"}
	})
	t.say("e2e", "", &record.JobFinished{Verdict: plan.Fault, Result: plan.Success})
	t.say("test", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure})
	t.say("deploy", "", &record.JobFinished{Verdict: plan.Skipped, Result: plan.Skipped, Why: "needs test, which failed", At: plan.Source{File: ".github/workflows/ci.yml", Line: 71, Col: 5}})
	t.say("", "", &record.RunFinished{Verdict: plan.Failure})
	return t.write()
}

// tellRunning is a run that is under way; its test job's log grows.
func (sc *scene) tellRunning(at time.Time) (*telling, *logs.Writer) {
	p := failingPipeline()
	p.Jobs[2].Deferred = nil
	t := sc.tell(at, p, plan.Change{Event: "push", Ref: "refs/heads/main", SHA: "4711" + strings.Repeat("a", 36), Actor: "grace"},
		&record.Origin{Repository: "team/app", Trust: record.Protected, Title: "Follow a log to its end"}, "")
	t.say("", "", &record.RunStarted{Host: "ci-1", PID: 78})
	t.say("lint", "", &record.JobQueued{})
	t.say("build", "", &record.JobStarted{Attempt: 1, Place: "host"})
	t.step("build", "1", "go build ./...", 0, 3, 9*time.Second, plan.Success)
	t.say("build", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	t.say("test", "", &record.JobStarted{Attempt: 1, Place: "host"})
	t.say("test", "1", &record.StepStarted{Name: "go test ./..."})
	w := t.log("test", [][2]string{{"1", "one"}, {"1", "two"}, {"1", "three"}}, false)
	t.write()
	return t, w
}

// story fills the record with what a team's server holds after a while. It returns
// the run that failed.
func (sc *scene) story() (failing string) {
	sc.t.Helper()
	sc.tellTests()
	p := failingPipeline()
	verdicts := strings.Fields("s s s s f s s s s s e s s s s f f s s s s s c s s s t s s s s s s s")
	for i, v := range verdicts {
		at := noon.Add(-time.Duration(len(verdicts)-i) * 3 * time.Hour)
		for k, name := range []string{"CI", "Release"} {
			if k == 1 && i%3 != 0 {
				continue
			}
			q := *p
			q.Name, q.File = name, ".github/workflows/"+strings.ToLower(name)+".yml"
			t := sc.tell(at, &q, plan.Change{Event: "push", Ref: "refs/heads/main", SHA: fmt.Sprintf("%040x", i*7919+k+1), Actor: []string{"ada", "grace", "linus"}[i%3]},
				&record.Origin{Repository: "team/app", Trust: record.Protected, Title: []string{"Parse times without copying", "A window over long logs", "Say whose fault it is", "Bring the docs up to date"}[i%4]}, "")
			t.say("", "", &record.RunStarted{Host: "ci-1"})
			t.wait(time.Duration(31+i*5%23+k*40) * time.Second)
			verdict := map[string]plan.Verdict{"s": plan.Success, "f": plan.Failure, "e": plan.Fault, "c": plan.Cancelled, "t": plan.Timeout}[v]
			t.say("", "", &record.RunFinished{Verdict: verdict})
			t.write()
		}
	}
	failing = sc.tellFailing(noon.Add(-10 * time.Minute))
	local := sc.tell(noon.Add(-6*time.Minute), p, plan.Change{Event: "push", Ref: "refs/heads/faster-index", SHA: "9f2c4711aa" + strings.Repeat("0", 30), Dirty: true, Actor: "ada"}, nil, "")
	local.say("", "", &record.RunStarted{Host: "laptop"})
	local.wait(2*time.Second).say("", "", &record.RunFinished{Verdict: plan.Success})
	local.write()
	fork := sc.tell(noon.Add(-4*time.Minute), p, plan.Change{Event: "pull_request", Ref: "refs/pull/43/merge", HeadRef: "typo", BaseRef: "main", SHA: "c0ffee" + strings.Repeat("1", 34), Actor: "mallory"},
		&record.Origin{Repository: "team/app", Trust: record.Untrusted, Change: "43", Title: "Fix a typo in the README", Approval: true}, "")
	fork.write()
	if f, ok := sc.s.Faults.(*insight.Faults); ok {
		if err := f.Learn(sc.t.Context(), time.Time{}); err != nil {
			sc.t.Fatal(err)
		}
	}
	sc.shareTests()
	sc.tellFlags()
	sc.tellDelivery()
	return failing
}

// people fills what admins see.
func (sc *scene) people() {
	sc.t.Helper()
	sc.account("ada", "team/*", access.Maintainer)
	sc.account("grace", "team/app", access.Developer)
	sc.token(access.TokenSpec{Name: "deploy", Verbs: []access.Verb{access.SeeRuns, access.StartRun}, Expires: 720 * time.Hour})
	sc.token(access.TokenSpec{Name: "builders", Worker: true})
	for _, name := range []string{"NPM_TOKEN", "DEPLOY_KEY"} {
		if err := sc.vault.Set(sc.t.Context(), secret.By{Name: "root"}, secret.Scope{Repository: "team/app"}, name, []byte("x")); err != nil {
			sc.t.Fatal(err)
		}
	}
}

// fullDisk is the cluster of the story's full disk.
func fullDisk() string {
	return fmt.Sprintf("%016x", fault.Fingerprint("no-space", "The disk is full", "", nil))
}

// pagePaths are the addresses of all pages, for a record that tells a story.
func pagePaths(failing string) map[string]string {
	return map[string]string{
		"runs": "/runs", "run": "/runs/" + failing, "log": "/runs/" + failing + "/log/test/1.26", "why": "/runs/" + failing + "/why",
		"step": "/runs/" + failing + "/why?job=test/1.26&step=2", "found": "/runs/" + failing + "/log/test/1.26?q=part&stamps=1&at=41",
		"repositories": "/repositories", "repository": "/repositories/team/app", "queue": "/queue", "workers": "/workers", "secrets": "/secrets?repository=team/app", "environments": "/environments/team/app", "tokens": "/tokens",
		"accounts": "/accounts", "audit": "/audit", "settings": "/settings", "deliveries": "/deliveries", "nowhere": "/nowhere", "join": "/join?first=1",
		"sign-in": "/sign-in", "none": "/runs?branch=none",
		"failing": "/failures", "failures": "/failures/team/app", "failure": "/failure/" + fullDisk() + "/team/app", "known-issues": "/known-issues/team/app?name=full&pattern=disk&verdict=infrastructure",
		"alltests": "/tests?state=ill", "tests": "/tests/team/app", "notests": "/tests/team/app?text=none", "heatmap": "/heatmap/team/app", "pyramid": "/pyramid/team/app", "test": "/test/" + flakyTest + "?repository=team/app",
		"healthytest": "/test/" + (&record.TestResult{Suite: "pay", Name: "TestRefund"}).Key() + "?repository=team/app", "untested": "/heatmap/team/other",
		"split": "/split/team/app", "unsplit": "/split/team/other",
		"flagplaces": "/flags", "flags": "/flags/team/app?environment=production", "noflags": "/flags/team/other", "noflag": "/flags/team/app?environment=production&text=none",
		"flag": "/flag/team/app?environment=production&flag=checkout", "killedflag": "/flag/team/app?environment=production&flag=broken-payment",
		"delivery": "/delivery?of=change-fail-rate", "incidents": "/incidents", "incident": "/incident/" + emptyCarts,
	}
}

// request is a bare request for a page.
func (sc *scene) request(path string) *http.Request {
	return httptest.NewRequestWithContext(sc.t.Context(), "GET", path, nil)
}

// still has a scene's clock stand at noon.
func (sc *scene) still() {
	sc.s.Now = func() time.Time { return noon }
	if p, ok := sc.s.html.(*pages); ok {
		p.now = sc.s.Now
	}
	if h, ok := sc.s.Tests.(*insight.Histories); ok {
		h.Now = sc.s.Now
	}
}

// TestPages renders every page, and holds it to the rules that a machine can check.
func TestPages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	failing := sc.story()
	sc.people()
	paths := pagePaths(failing)
	maps.Copy(paths, sc.tellDeployments())
	for name, path := range paths {
		w := sc.call("GET", path, "", session(sc.admin))
		want := 200
		if name == "nowhere" {
			want = 404
		}
		if w.Code != want {
			t.Errorf("%s: %d %s\n%s", path, w.Code, w.Body, sc.log)
			continue
		}
		if name == "join" || name == "sign-in" {
			if w = sc.call("GET", path, "", session(sc.admin)); strings.Contains(w.Body.String(), "<nav") {
				t.Errorf("%s has the menu of who is signed in", path)
			}
			w = sc.call("GET", path, "")
		}
		for _, wrong := range unfit(w.Body.String()) {
			t.Errorf("%s: %s", path, wrong)
		}
	}
}

// TestLogJSON searches and reads parts of a log.
func TestLogJSON(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.run("team/app", nil)
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("line %d of many", i+1))
	}
	lines[100] = "a Needle, and a needle"
	lines[200] = "\x1b[31mneedle\x1b[0m"
	sc.writeLog(run, lines...)
	path := "/api/v1/runs/" + run + "/log/test"
	for _, test := range []struct {
		query          string
		from, n, first int64
		lines, matches int64
		hits           []int64
	}{
		{"", 1, 300, 1, 0, 0, nil},
		{"?from=20&n=5", 20, 5, 20, 0, 0, nil},
		{"?from=299&n=50", 299, 2, 299, 0, 0, nil},
		{"?from=900", 900, 0, 0, 0, 0, nil},
		{"?q=needle", 0, 0, 0, 2, 3, []int64{101, 201}},
		{"?q=needle&case=1", 0, 0, 0, 2, 2, []int64{101, 201}},
		{"?q=Needle&case=1", 0, 0, 0, 1, 1, []int64{101}},
		{"?q=needle&after=101", 0, 0, 0, 2, 3, []int64{201}},
		{"?q=nothing", 0, 0, 0, 0, 0, []int64{}},
	} {
		v := answered[LogView](t, sc.call("GET", path+test.query, "", session(sc.admin)), 200)
		if v.Lines != 300 || !v.Closed || v.From != test.from || int64(len(v.Part)) != test.n || test.n > 0 && v.Part[0].N != test.first {
			t.Errorf("%q: %d lines, from %d %d of them", test.query, v.Lines, v.From, len(v.Part))
		}
		if f := v.Found; (f != nil) != (test.hits != nil) || f != nil && (f.Lines != test.lines || f.Matches != test.matches || !slices.Equal(f.Hits, test.hits)) {
			t.Errorf("%q finds %+v", test.query, f)
		}
	}
	for _, query := range []string{"?from=-1", "?n=x", "?n=100000", "?after=1e9"} {
		if w := sc.call("GET", path+query, "", session(sc.admin)); w.Code != 400 {
			t.Errorf("%q: %d", query, w.Code)
		}
	}
}

// TestLongLines keeps a page small, however long the lines of its log are.
func TestLongLines(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	tell, w := sc.tellRunning(noon)
	long := []byte(strings.Repeat("x", 200<<10))
	for range 300 {
		if _, err := w.Line("1", noon, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	view, err := sc.s.viewer().log(t.Context(), tell.id, "test", LogAsk{})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, l := range view.Part {
		size += len(l.Text)
	}
	if len(view.Part) < 300 || size > maxPart+maxLine+len(view.Part)*maxShown {
		t.Errorf("%d lines of %d bytes", len(view.Part), size)
	}
	if last := view.Part[len(view.Part)-1]; !last.Cut || len(last.Text) > maxShown {
		t.Errorf("the last line has %d bytes, and does not say that it is cut", len(last.Text))
	}
}

// BenchmarkLog is what the server does for a log of 200,000 lines.
func BenchmarkLog(b *testing.B) {
	sc := newSceneB(b)
	run, _ := sc.longLog()
	for _, bench := range []struct{ name, query string }{
		{"page", ""}, {"jump", "?fragment=lines&from=150000&n=150"}, {"search", "?q=needle&case=1&format=json"}, {"search any case", "?q=Needle&format=json"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if w := sc.call("GET", "/runs/"+run+"/log/test"+bench.query, "", session(sc.admin)); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// TestGolden compares the main pages with how they were.
func TestGolden(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	failing := sc.story()
	paths := pagePaths(failing)
	deployed := sc.tellDeployments()
	for name, path := range map[string]string{
		"deployments": deployed["deployments"] + "?fragment=matrix", "rollout": deployed["rollout"] + "?fragment=rollout",
		"runs": paths["none"], "run": paths["run"] + "?fragment=run", "log": paths["log"], "lines": paths["log"] + "?fragment=lines&from=40&n=4", "why": paths["why"], "sign-in": "/sign-in", "error": paths["nowhere"],
	} {
		w := sc.call("GET", path, "", session(sc.admin))
		got := versions.ReplaceAllString(maskedTokens.ReplaceAllString(w.Body.String(), `"CSRF"`), "?v=DIGEST")
		file := filepath.Join("testdata", "pages", name+".html")
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got == string(want) {
			continue
		}
		a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				t.Errorf("%s is not as it was (go test -run TestGolden -update writes it anew); line %d is now\n%s", file, i+1, a[i])
				break
			}
		}
	}
}

// versions are the digests in the addresses of assets.
// maskedTokens are written otherwise each time.
var maskedTokens = regexp.MustCompile(`"m\.[A-Za-z0-9_-]{40,}"`)

var versions = regexp.MustCompile(`\?v=[0-9a-f]+`)

// TestSentences are the headlines of runs.
func TestSentences(t *testing.T) {
	t.Parallel()
	job := func(name string, s State) JobRow { return JobRow{ID: name, Name: name, State: s} }
	for _, test := range []struct {
		want string
		v    RunView
	}{
		{"Waiting for its turn", RunView{RunRow: RunRow{State: Waiting}}},
		{"Waiting for a maintainer’s approval", RunView{RunRow: RunRow{State: Approval}}},
		{"Running for 5.0s: 1 of 3 jobs done", RunView{RunRow: RunRow{State: Running, Seconds: 5}, Count: Count{Jobs: 3, Done: 1}}},
		{"Failing in test, 2 jobs still to end", RunView{RunRow: RunRow{State: Running, Seconds: 5}, Count: Count{Jobs: 3, Done: 1, Failed: 1}, Jobs: []JobRow{job("test", "failure")}}},
		{"Interrupted after 1m05s: whoever ran it is gone", RunView{RunRow: RunRow{State: Interrupted, Seconds: 65}}},
		{"Succeeded in 41s", RunView{RunRow: RunRow{State: "success", Verdict: plan.Success, Seconds: 41}, Count: Count{Jobs: 2, Skipped: 1}}},
		{"Nothing to do: every job was skipped", RunView{RunRow: RunRow{State: "success", Verdict: plan.Success}, Count: Count{Jobs: 2, Skipped: 2}}},
		{"Failed in a and b after 1.0s", RunView{RunRow: RunRow{State: "failure", Verdict: plan.Failure, Seconds: 1}, Jobs: []JobRow{job("a", "failure"), job("b", "timeout")}}},
		{"Failed in a and 2 other jobs after 1.0s", RunView{RunRow: RunRow{State: "failure", Verdict: plan.Failure, Seconds: 1}, Jobs: []JobRow{job("a", "failure"), job("b", "failure"), job("c", "failure")}}},
		{"Could not be done in a after 1.0s", RunView{RunRow: RunRow{State: "error", Verdict: plan.Fault, Seconds: 1}, Jobs: []JobRow{job("a", "error")}}},
		{"Ran out of time in a after 1h00m", RunView{RunRow: RunRow{State: "timeout", Verdict: plan.Timeout, Seconds: 3600}, Jobs: []JobRow{job("a", "timeout")}}},
		{"Cancelled by ada after 2.0s", RunView{RunRow: RunRow{State: "cancelled", Verdict: plan.Cancelled, Seconds: 2}, Cancelled: "ada"}},
	} {
		if got := sentence(&test.v); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestCritical finds what a run's duration hangs on, and what it would have been.
func TestCritical(t *testing.T) {
	t.Parallel()
	job := func(id string, queued, begun, ended int, needs ...string) JobRow {
		at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
		return JobRow{ID: id, Name: id, Needs: needs, Queued: at(queued), Begun: at(begun), Ended: at(ended), Seconds: float64(ended - begun), State: "success"}
	}
	cell := func(j JobRow, parent string) JobRow { j.Parent = parent; return j }
	for name, test := range map[string]struct {
		jobs []JobRow
		want Critical
	}{
		"one job": {[]JobRow{job("a", 0, 1, 9)}, Critical{}},
		"a diamond": {
			[]JobRow{job("a", 0, 0, 10), job("b", 10, 10, 40, "a"), job("c", 10, 10, 20, "a"), job("d", 40, 40, 45, "b", "c")},
			Critical{Jobs: []string{"a", "b", "d"}, Seconds: 45, Longest: "b", Without: 25},
		},
		"a queue": {
			[]JobRow{job("a", 0, 2, 10), job("b", 10, 30, 31, "a")},
			Critical{Jobs: []string{"a", "b"}, Seconds: 9, Waited: 22, Longest: "a", Without: 23},
		},
		"a matrix": {
			[]JobRow{job("a", 0, 0, 5), {ID: "m", Needs: []string{"a"}, Children: []string{"m/1", "m/2"}}, cell(job("m/1", 5, 5, 8), "m"), cell(job("m/2", 5, 5, 25), "m"), job("z", 25, 25, 26, "m")},
			Critical{Jobs: []string{"a", "m/2", "z"}, Seconds: 26, Longest: "m/2", Without: 9},
		},
	} {
		if got := critical(test.jobs); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// TestDrawings holds timelines and graphs of records that make no sense, and of large
// ones, to their limits.
func TestDrawings(t *testing.T) {
	t.Parallel()
	circle := []JobRow{{ID: "a", Name: "a", Needs: []string{"b"}}, {ID: "b", Name: "b", Needs: []string{"a", "a", "none"}}, {ID: "c", Name: "c", Needs: []string{"c"}, Children: []string{"c", "x"}, Parent: ""}}
	if g := newGraph(circle); g == nil || len(g.Nodes) != 3 {
		t.Errorf("a graph that goes in a circle: %+v", g)
	}
	if c := critical(circle); c.Jobs != nil {
		t.Errorf("its longest chain: %v", c.Jobs)
	}
	if n := nested([]JobRow{{ID: "a", Parent: "b", Children: []string{"b"}}, {ID: "b", Parent: "a", Children: []string{"a"}}}); len(n) != 2 {
		t.Errorf("jobs that became each other: %v", n)
	}
	var many []JobRow
	for i := range 1000 {
		many = append(many, JobRow{ID: fmt.Sprint(i), Name: fmt.Sprint("job ", i), State: "success", Begun: noon.Add(time.Duration(i) * time.Second), Seconds: 3})
	}
	if g := newGraph(many); g != nil {
		t.Errorf("a graph of 1000 jobs has %d nodes", len(g.Nodes))
	}
	tl := newTimeline(&RunView{Jobs: many}, noon)
	if tl == nil || len(tl.Rows) != maxBars || tl.More != 1000-maxBars {
		t.Errorf("a timeline of 1000 jobs: %+v", tl)
	}
	for _, b := range tl.Rows {
		if b.X < 0 || b.X+b.W > 100.3 {
			t.Errorf("a bar from %f, %f wide", b.X, b.W)
		}
	}
	if r := newRail("1", many, ""); len(r.Rows) != mostRail || r.More != 1000-mostRail {
		t.Errorf("a list of %d jobs, %d more", len(r.Rows), r.More)
	}
	if tl := newTimeline(&RunView{}, noon); tl != nil {
		t.Errorf("a timeline of nothing: %+v", tl)
	}
}

// TestAssets are kept for good under the address that pages give, and compressed for
// who can read it.
func TestAssets(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	p, ok := sc.s.html.(*pages)
	if !ok {
		t.Fatal("no pages")
	}
	for name := range p.assets.files {
		w := sc.call("GET", p.assets.url(name), "")
		if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		if w := sc.call("GET", "/static/"+name, ""); w.Code != 200 || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s without its digest: %d %v", name, w.Code, w.Header())
		}
		packed := sc.call("GET", p.assets.url(name), "", header("Accept-Encoding", "gzip"))
		if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() >= w.Body.Len() && w.Body.Len() > 300 {
			t.Errorf("%s: %d bytes packed, of %d", name, packed.Body.Len(), w.Body.Len())
		}
		if again := sc.call("GET", p.assets.url(name), "", header("If-None-Match", w.Header().Get("ETag"))); again.Code != 304 {
			t.Errorf("%s again: %d", name, again.Code)
		}
	}
	for _, name := range []string{"none.css", "../page.go", "style.css/x"} {
		if w := sc.call("GET", "/static/"+name, ""); w.Code != 404 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// TestRunsPages goes through runs page by page, and sees only what it may.
func TestRunsPages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	viewer := sc.account("viewer", "team/other", access.Viewer)
	for i := range 75 {
		repo := "team/app"
		if i%5 == 0 {
			repo = "team/other"
		}
		tell := sc.tell(noon.Add(-time.Duration(i)*time.Minute), failingPipeline(), plan.Change{Event: "push", Ref: "refs/heads/main", Actor: "ada"}, &record.Origin{Repository: repo, Trust: record.Protected}, "")
		tell.write()
	}
	read := func(who access.Session, query string) (ids []string) {
		before := ""
		for range 100 {
			v := answered[RunsView](t, sc.call("GET", "/api/v1/runs?limit=7&"+query+"&before="+before, "", session(who)), 200)
			for _, r := range v.Runs {
				ids = append(ids, r.ID)
				if who == viewer && r.Repository != "team/other" {
					t.Errorf("a viewer of team/other sees %+v", r)
				}
			}
			if before = v.Next; before == "" {
				return ids
			}
		}
		t.Fatal("the pages have no end")
		return nil
	}
	for _, test := range []struct {
		who   access.Session
		query string
		want  int
	}{{sc.admin, "", 75}, {viewer, "", 15}, {viewer, "repository=team/app", 0}, {sc.admin, "repository=team/app", 60}, {sc.admin, "state=unfinished", 75}, {sc.admin, "state=success", 0}, {sc.admin, "branch=none", 0}, {sc.admin, "actor=ada&pipeline=CI", 75}} {
		ids := read(test.who, test.query)
		if len(ids) != test.want || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != test.want {
			t.Errorf("%q: %d runs, want %d", test.query, len(ids), test.want)
		}
	}
	if w := sc.call("GET", "/runs?before=x", "", session(sc.admin)); w.Code != 400 {
		t.Errorf("before=x: %d", w.Code)
	}
}
