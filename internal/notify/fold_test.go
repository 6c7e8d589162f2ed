package notify_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

var start = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// story feeds a Fold, and writes down what it tells people. After every event
// the Fold is stored and loaded, as a server does that dies all the time.
type story struct {
	t    *testing.T
	fold notify.Fold
	now  time.Time
	runs int
	all  []notify.Message
}

func tell(t *testing.T) *story { return &story{t: t, now: start} }

func (s *story) keep(list []notify.Message) {
	s.t.Helper()
	s.all = append(s.all, list...)
	data, err := json.Marshal(&s.fold)
	if err != nil {
		s.t.Fatal(err)
	}
	var again notify.Fold
	if err := json.Unmarshal(data, &again); err != nil {
		s.t.Fatal(err)
	}
	s.fold = again
}

func (s *story) event(run string, job string, body record.Body) {
	s.t.Helper()
	s.keep(s.fold.Apply(record.Event{Time: s.now, Run: run, Job: job, Body: body}))
}

// plan plans a run of a ref.
func (s *story) plan(ref string, change func(*record.RunPlanned)) string {
	s.t.Helper()
	s.runs++
	run := fmt.Sprint(s.runs)
	b := &record.RunPlanned{
		Number: s.runs, Attempt: 1,
		Change: &plan.Change{Ref: ref, SHA: "4711", DefaultBranch: "main", Actor: "ada"},
		Pipeline: &plan.Pipeline{Name: "CI", File: "ci.yml", Jobs: []plan.Job{
			{ID: "build", Name: "Build"}, {ID: "test", Name: "test ${{ matrix.os }}"}, {ID: "lint"},
		}},
		Origin: &record.Origin{Repository: "team/app", Trust: record.Contributor, Title: "Weigh anchor"},
	}
	if change != nil {
		change(b)
	}
	s.event(run, "", b)
	return run
}

func (s *story) end(run string, verdict plan.Verdict) {
	s.t.Helper()
	s.event(run, "", &record.RunStarted{})
	s.now = s.now.Add(time.Minute)
	s.event(run, "", &record.RunFinished{Verdict: verdict})
}

func (s *story) run(ref string, verdict plan.Verdict) {
	s.t.Helper()
	s.end(s.plan(ref, nil), verdict)
}

// wait lets time go by, hour by hour.
func (s *story) wait(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Hour)
		s.keep(s.fold.Tick(s.now))
	}
}

// people is what people were told.
func (s *story) people() string {
	var lines []string
	for _, m := range s.all {
		if m.Edge.ForPeople() {
			lines = append(lines, fmt.Sprintf("%s %s (run %s)", m.Branch, m.Edge, m.Run))
		}
	}
	return strings.Join(lines, "; ")
}

const main, topic, tag = "refs/heads/main", "refs/heads/topic", "refs/tags/v"

func TestFold(t *testing.T) {
	t.Parallel()
	const ok, bad = plan.Success, plan.Failure
	change := func(number string) func(*record.RunPlanned) {
		return func(b *record.RunPlanned) { b.Origin.Change, b.Change.HeadRef = number, "topic" }
	}
	for _, test := range []struct {
		name string
		tell func(s *story)
		want string
	}{
		{"all is well", func(s *story) { s.run(main, ok); s.run(main, ok); s.wait(48 * time.Hour) }, ""},
		{"broke", func(s *story) { s.run(main, ok); s.run(main, bad); s.run(main, bad) }, "main broke (run 2)"},
		{"our machine's fault is told as well", func(s *story) { s.run(main, ok); s.run(main, plan.Fault) }, "main broke (run 2)"},
		{"first run ever on the default branch", func(s *story) { s.run(main, bad) }, "main broke (run 1)"},
		{"first run ever on a topic", func(s *story) { s.run(topic, bad); s.run(topic, bad); s.wait(48 * time.Hour); s.run(topic, ok) }, ""},
		{"first run ever on a protected branch", func(s *story) {
			s.end(s.plan("refs/heads/release-1", func(b *record.RunPlanned) { b.Origin.Trust = record.Protected }), bad)
		}, "release-1 broke (run 1)"},
		{"topic that worked", func(s *story) { s.run(topic, ok); s.run(topic, bad); s.run(topic, ok) }, "topic broke (run 2); topic fixed (run 3)"},
		{"fixed", func(s *story) { s.run(main, bad); s.run(main, ok); s.run(main, ok) }, "main broke (run 1); main fixed (run 2)"},
		{"branches are apart", func(s *story) { s.run(main, ok); s.run(topic, bad); s.run(main, ok) }, ""},
		{"cancelled and skipped say nothing", func(s *story) {
			s.run(main, bad)
			s.run(main, plan.Cancelled)
			s.run(main, plan.Skipped)
			s.run(main, ok)
			s.run(main, plan.Cancelled)
			s.run(main, ok)
		}, "main broke (run 1); main fixed (run 4)"},
		{"daily", func(s *story) {
			s.run(main, bad)
			s.wait(60 * time.Hour)
			s.run(main, ok)
			s.wait(48 * time.Hour)
		}, "main broke (run 1); main still broken (run 1); main still broken (run 1); main fixed (run 2)"},
		{"daily, of the newest run", func(s *story) {
			s.run(main, bad)
			s.wait(12 * time.Hour)
			s.run(main, bad)
			s.wait(24 * time.Hour)
		}, "main broke (run 1); main still broken (run 2)"},
		{"daily, by a run", func(s *story) {
			s.run(main, bad)
			s.now = s.now.Add(25 * time.Hour)
			s.run(main, bad)
			s.run(main, bad)
			s.wait(20 * time.Hour)
		}, "main broke (run 1); main still broken (run 2)"},
		{"reminders that were missed are not made up for", func(s *story) {
			s.run(main, bad)
			s.now = s.now.Add(5 * 24 * time.Hour)
			s.keep(s.fold.Tick(s.now))
			s.keep(s.fold.Tick(s.now))
		}, "main broke (run 1); main still broken (run 1)"},
		{"nobody is reminded for ever", func(s *story) {
			s.run(main, bad)
			s.wait(60 * 24 * time.Hour)
			s.run(main, ok)
		}, "main broke (run 1)" + strings.Repeat("; main still broken (run 1)", 13) + "; main fixed (run 2)"},
		{"an older run ends later", func(s *story) {
			slow := s.plan(main, nil)
			s.run(main, ok)
			s.end(slow, bad)
			s.run(main, ok)
		}, ""},
		{"a run again", func(s *story) {
			s.run(main, ok)
			s.run(main, bad)
			s.end(s.plan(main, func(b *record.RunPlanned) { b.Number, b.Attempt = 2, 2 }), ok)
		}, "main broke (run 2); main fixed (run 3)"},
		{"tags stand together", func(s *story) {
			s.run(tag+"1", bad)
			s.run(tag+"2", bad)
			s.run(tag+"3", ok)
		}, "v1 broke (run 1); v3 fixed (run 3)"},
		{"changes page nobody", func(s *story) {
			s.end(s.plan("refs/pull/1/merge", change("1")), ok)
			s.end(s.plan("refs/pull/1/merge", change("1")), bad)
			s.end(s.plan(topic, change("1")), bad)
			s.wait(48 * time.Hour)
		}, ""},
		{"but they wait for approval", func(s *story) {
			s.plan("refs/pull/7/merge", func(b *record.RunPlanned) { change("7")(b); b.Origin.Approval, b.Origin.Trust = true, record.Untrusted })
		}, "topic waits for approval (run 1)"},
		{"nor do pushed runs", func(s *story) {
			s.run(main, ok)
			s.end(s.plan(main, func(b *record.RunPlanned) { b.Origin.Pushed = true }), bad)
		}, ""},
		{"nor the command line", func(s *story) {
			s.end(s.plan(main, func(b *record.RunPlanned) { b.Origin = nil }), bad)
		}, ""},
		{"pipelines are apart", func(s *story) {
			s.run(main, bad)
			s.end(s.plan(main, func(b *record.RunPlanned) { b.Pipeline.File = "other.yml" }), ok)
		}, "main broke (run 1)"},
		{"repositories are apart, and forgotten", func(s *story) {
			s.run(main, bad)
			s.end(s.plan(main, func(b *record.RunPlanned) { b.Origin.Repository = "team/lib" }), bad)
			s.fold.Forget("team/app")
			s.wait(25 * time.Hour)
		}, "main broke (run 1); main broke (run 2); main still broken (run 2)"},
		{"events of unknown runs", func(s *story) {
			s.event("99", "", &record.RunStarted{})
			s.event("99", "build", &record.JobFinished{Result: bad})
			s.event("99", "", &record.RunFinished{Verdict: bad})
			s.event("", "", &record.Acted{})
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := tell(t)
			test.tell(s)
			if got := s.people(); got != test.want {
				t.Errorf("told\n%s\nwant\n%s", got, test.want)
			}
			seen := map[string]bool{}
			for _, m := range s.all {
				if seen[m.ID()] {
					t.Errorf("%s of run %s has the ID of another", m.Edge, m.Run)
				}
				seen[m.ID()] = true
			}
		})
	}
}

// TestMessage looks at one run's messages as a whole.
func TestMessage(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.run(main, plan.Success)
	s.all = nil
	run := s.plan(main, nil)
	s.now = s.now.Add(time.Second)
	s.event(run, "", &record.RunStarted{})
	s.event(run, "", &record.RunStarted{Resume: true})
	s.event(run, "test", &record.JobExpanded{Jobs: []record.JobHead{{ID: "test-1", Name: "test linux"}, {ID: "test-2", Name: "test macos"}}})
	for _, end := range []struct {
		job    string
		result plan.Verdict
	}{{"build", plan.Success}, {"test-1", plan.Failure}, {"test-2", plan.Failure}, {"test", plan.Failure}, {"lint", plan.Failure}, {"test-2", plan.Success}} {
		s.event(run, end.job, &record.JobFinished{Verdict: end.result, Result: end.result})
	}
	s.now = s.now.Add(time.Minute)
	s.event(run, "", &record.RunFinished{Verdict: plan.Failure, Why: "test linux failed"})

	queued := notify.Message{
		Edge: notify.Queued, Repository: "team/app", Pipeline: "CI", File: "ci.yml", Branch: "main", Run: "2", Number: 2, Attempt: 1,
		SHA: "4711", Title: "Weigh anchor", Actor: "ada", At: start.Add(time.Minute),
	}
	started := queued
	started.Edge, started.At = notify.Started, queued.At.Add(time.Second)
	finished := queued
	finished.Edge, finished.At, finished.Took = notify.Finished, started.At.Add(time.Minute), time.Minute
	finished.Verdict, finished.Why, finished.Failed = plan.Failure, "test linux failed", []string{"test linux", "lint"}
	broke := finished
	broke.Edge, broke.Since = notify.Broke, finished.At
	if want := []notify.Message{queued, started, finished, broke}; !reflect.DeepEqual(s.all, want) {
		t.Errorf("told\n%+v\nwant\n%+v", s.all, want)
	}
	if finished.Thread() != queued.Thread() || broke.Thread() == queued.Thread() {
		t.Error("threads")
	}
}

// TestBounds: whatever the record holds, the state stays small.
func TestBounds(t *testing.T) {
	t.Parallel()
	var f notify.Fold
	long := strings.Repeat("long \xff", 1000)
	jobs := make([]plan.Job, 3000)
	for i := range jobs {
		jobs[i] = plan.Job{ID: fmt.Sprint(i), Name: long}
	}
	at := start
	for i := range 7000 {
		at = at.Add(time.Second)
		run := fmt.Sprint(i)
		f.Apply(record.Event{Time: at, Run: run, Body: &record.RunPlanned{
			Number: i, Change: &plan.Change{Ref: fmt.Sprint("refs/heads/", i, long), SHA: long, Actor: long, DefaultBranch: "main"},
			Pipeline: &plan.Pipeline{Name: long, File: long, Jobs: jobs[:i%7]},
			Origin:   &record.Origin{Repository: long, Title: long},
		}})
		if i%2 == 0 {
			for j := range 20 {
				f.Apply(record.Event{Time: at, Run: run, Job: fmt.Sprint(j), Body: &record.JobFinished{Result: plan.Failure}})
			}
			f.Apply(record.Event{Time: at, Run: run, Body: &record.RunFinished{Verdict: plan.Failure, Why: long}})
		}
	}
	if len(f.Runs) > 2000 || len(f.Branches) > 1000 || len(f.Branches) < 900 {
		t.Errorf("%d runs, %d branches", len(f.Runs), len(f.Branches))
	}
	if f.Runs["6999"] == nil || f.Runs["1"] != nil {
		t.Error("the newest run was forgotten, or the oldest kept")
	}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d branches and %d runs are %d KiB", len(f.Branches), len(f.Runs), len(data)>>10)
	if f.Tick(at.Add(91 * 24 * time.Hour)); len(f.Branches) != 0 {
		t.Errorf("%d branches are remembered for ever", len(f.Branches))
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	broke := notify.Message{Edge: notify.Broke, Repository: "team/app", Branch: "main", Run: "1", At: start}
	finished := broke
	finished.Edge = notify.Finished
	for _, test := range []struct {
		name  string
		route notify.Route
		m     notify.Message
		want  bool
	}{
		{"no conditions", notify.Route{}, broke, true},
		{"people are not told of every run", notify.Route{}, finished, false},
		{"systems are", notify.Route{Edges: []notify.Edge{notify.Finished}}, finished, true},
		{"other edge", notify.Route{Edges: []notify.Edge{notify.Finished}}, broke, false},
		{"repository", notify.Route{Repositories: []string{"x", "team/app"}}, broke, true},
		{"other repository", notify.Route{Repositories: []string{"team/ap", "team/app2", "eam/app"}}, broke, false},
		{"pattern", notify.Route{Repositories: []string{"team/*"}}, broke, true},
		{"pattern of all", notify.Route{Repositories: []string{"*"}}, broke, true},
		{"patterns", notify.Route{Repositories: []string{"*/a*p"}, Branches: []string{"m*n"}}, broke, true},
		{"overlapping pattern", notify.Route{Repositories: []string{"team/app*app"}}, broke, false},
		{"other branch", notify.Route{Branches: []string{"release-*"}}, broke, false},
	} {
		if got := test.route.Takes(&test.m); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	routes := []notify.Route{
		{Name: "a", Channel: "slack", Secret: "$TEAM"}, {Name: "b", Channel: "slack", Secret: "$TEAM", Branches: []string{"main"}},
		{Name: "c", Channel: "smtp", Secret: "$TEAM"}, {Name: "d", Channel: "smtp", Secret: "$OTHER", Branches: []string{"topic"}},
	}
	plan1, plan2 := notify.Plan(broke, routes), notify.Plan(broke, routes)
	if !reflect.DeepEqual(plan1, plan2) || len(plan1) != 2 || plan1[0].Key == plan1[1].Key || plan1[0].Route != "a" || plan1[1].Channel != "smtp" {
		t.Errorf("%+v", plan1)
	}
	if plan1[0].Key != "message/slack/$TEAM/"+broke.ID() {
		t.Error(plan1[0].Key)
	}
}

func TestRouteCheck(t *testing.T) {
	t.Parallel()
	good := notify.Route{Name: "team", Channel: "slack", Secret: "$TEAM"}
	if err := good.Check([]string{"slack"}); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*notify.Route){
		func(r *notify.Route) { r.Name = "" },
		func(r *notify.Route) { r.Channel = "pigeon" },
		func(r *notify.Route) { r.Secret = "" },
		func(r *notify.Route) { r.Edges = []notify.Edge{"bored"} },
		func(r *notify.Route) { r.Branches = []string{""} },
		func(r *notify.Route) { r.Repositories = make([]string, 1000) },
	} {
		r := good
		change(&r)
		if r.Check([]string{"slack"}) == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 20 || len(s) > 50 {
			return
		}
		m := notify.Message{Edge: notify.Broke, Repository: s}
		if got, want := (notify.Route{Repositories: []string{pattern}}).Takes(&m), slow(pattern, s); got != want {
			t.Errorf("%q of %q: %v, want %v", pattern, s, got, want)
		}
	})
}

// slow is what a pattern means, done simply.
func slow(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] != '*' {
		return s != "" && pattern[0] == s[0] && slow(pattern[1:], s[1:])
	}
	for i := range len(s) + 1 {
		if strings.Trim(pattern, "*") == "" || slow(strings.TrimLeft(pattern, "*"), s[i:]) {
			return true
		}
	}
	return false
}

func FuzzClean(f *testing.F) {
	f.Add("a\r\nb\x1b[0m \u202e \xff", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, limit%1000)
		got := notify.Clean(s, limit)
		if n := len([]rune(got)); n > limit+1 || strings.ContainsAny(got, "\r\n\t\x00\x1b\u202e\u2028") {
			t.Errorf("Clean(%q, %d) = %q", s, limit, got)
		}
		if again := notify.Clean(got, limit+1); again != got {
			t.Errorf("%q cleaned again is %q", got, again)
		}
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		m    notify.Message
		want string
	}{
		{notify.Message{Edge: notify.Test, Actor: "ada", At: start}, "Fairlead can send messages here\nSent by: ada\n"},
		{notify.Message{Edge: notify.Finished, Repository: "team/app", Pipeline: "CI", Branch: "main", Verdict: plan.Fault, Why: "disk is full", URL: "ftp://x"},
			"team/app: CI could not be run on main\nWhy: disk is full\n"},
		{notify.Message{Edge: notify.Approval, Repository: "team/app", Pipeline: "CI", Branch: "main", Change: "7", Title: "a\nb", SHA: "0123456789012345678901234567890123456789", URL: "https://x/runs/1"},
			"team/app: CI waits for approval for change 7\nCommit: 0123456789 a b\nhttps://x/runs/1\n"},
		{notify.Message{Edge: notify.Fixed, Repository: "r", Pipeline: "CI", Branch: "main", Number: 3, Attempt: 2, Took: 3*time.Hour + 5*time.Minute, Since: start, At: start.Add(49 * time.Hour)},
			"r: CI is fixed on main\nRun: #3, attempt 2\nTook: 3 h 5 min\nBroken for: 2 d 1 h\n"},
	} {
		if got := test.m.Text(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	var f notify.Fold
	planned := &record.RunPlanned{Number: 1, Change: &plan.Change{Ref: main, DefaultBranch: "main"}, Pipeline: &plan.Pipeline{Name: "CI", File: "ci.yml"}, Origin: &record.Origin{Repository: "team/app"}}
	events := []record.Event{
		{Run: "1", Time: start, Body: planned}, {Run: "1", Time: start, Body: &record.RunStarted{}},
		{Run: "1", Job: "a", Time: start, Body: &record.JobFinished{Result: plan.Success}}, {Run: "1", Time: start, Body: &record.RunFinished{Verdict: plan.Success}},
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range events {
			f.Apply(e)
		}
	}
}

// TestPushedRunsAreNobodysNews: what a developer's machine says of its own run is told to
// nobody, systems included.
func TestPushedRunsAreNobodysNews(t *testing.T) {
	t.Parallel()
	var f notify.Fold
	planned := &record.RunPlanned{
		Number: 1, Attempt: 1, Origin: &record.Origin{Repository: "team/app", Trust: record.Contributor, Pushed: true},
		Change: &plan.Change{Event: "push", Ref: "refs/heads/main", DefaultBranch: "main"}, Pipeline: &plan.Pipeline{File: "ci.yml"},
	}
	for i, body := range []record.Body{planned, &record.RunStarted{}, &record.RunFinished{Verdict: plan.Failure}} {
		if said := f.Apply(record.Event{Seq: int64(i + 1), Run: "1", Time: time.Unix(int64(i), 0), Body: body}); len(said) > 0 {
			t.Errorf("%s: %+v", body, said)
		}
	}
	if len(f.Runs) != 0 {
		t.Errorf("it is remembered: %+v", f.Runs)
	}
}
