package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

var monday = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

func hours(h float64) time.Time { return monday.Add(time.Duration(h * float64(time.Hour))) }

var fourWeeks = Window{monday, monday.AddDate(0, 0, 28)}

// done is a deployment of the service shop to production that ended at an hour.
func done(id string, hour float64, release string, set ...func(*Deployment)) Deployment {
	d := Deployment{ID: "rollout/" + id, Rollout: id, Repository: "team/app", Service: "shop", Environment: "production", Release: release, Version: release,
		Began: hours(hour - 0.5), Ended: hours(hour), Outcome: Succeeded, Seq: int64(hour * 100)}
	for _, s := range set {
		s(&d)
	}
	return d
}

func back(reason string, exposed float64) func(*Deployment) {
	return func(d *Deployment) { d.Outcome, d.Reason, d.Exposed = RolledBack, reason, hours(exposed) }
}

func commits(list ...Commit) func(*Deployment) { return func(d *Deployment) { d.Commits = list } }

func find(t *testing.T, list []Number, key string) Number {
	t.Helper()
	i := slices.IndexFunc(list, func(n Number) bool { return n.Key == key })
	if i < 0 {
		t.Fatalf("there is no %s", key)
	}
	return list[i]
}

// TestNumbers counts a month by hand: eight deployments of which one was taken back, one caused an incident and was
// repaired, one was left again, one repeats another.
func TestNumbers(t *testing.T) {
	t.Parallel()
	list := []Deployment{
		done("1", 10, "v1", commits(Commit{SHA: "a", Subject: "one", Pushed: hours(8)}, Commit{SHA: "b", Subject: "two", Made: hours(0), Pushed: hours(6)})),
		done("2", 20, "v2", back("5 % of requests failed", 19.75)),
		done("3", 30, "v3", commits(Commit{SHA: "c", Subject: "three", Made: hours(26)})),
		done("4", 31, "v3"), // again
		done("5", 34, "v4", commits(Commit{SHA: "d", Subject: `Revert "three"`, Pushed: hours(33)})),
		done("6", 100, "v5"),
		done("7", 102, "v6"),
		done("8", 200, "v7"),
		done("9", 201, "v6"),
	}
	incidents := []record.Incident{
		{ID: "i1", Title: "carts are empty", Repository: "team/app", Service: "shop", Environment: "production", Rollout: "6", Opened: hours(101), Resolved: hours(103)},
		{ID: "i2", Title: "slow", Repository: "team/app", Service: "shop", Environment: "production", Opened: hours(35), Resolved: hours(36)},
		{ID: "i3", Title: "elsewhere", Repository: "team/app", Service: "mail", Environment: "production", Opened: hours(35)},
	}
	judged := Judge(list, incidents)
	type row struct{ id, bad, rework string }
	var got []row
	for i := range judged {
		if d := &judged[i]; d.Bad != "" || d.Rework != "" {
			got = append(got, row{d.Rollout, string(d.Evidence) + ": " + d.Bad, d.Rework})
		}
	}
	want := []row{
		{"2", "rollback: 5 % of requests failed", ""},
		{"3", "revert: reverted: three", ""},
		{"5", ": ", "reverts: three"},
		{"6", "incident: incident: carts are empty", ""},
		{"7", ": ", "during the incident carts are empty"},
		{"8", "return: went back to v6", ""},
		{"9", ": ", "went back from v7"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("judged\n%v, want\n%v", got, want)
	}
	n := Numbers(fourWeeks, judged)
	f := find(t, n, Frequency)
	if f.N != 8 || f.Value != 2 || math.Abs(f.Low*4-3.45) > .02 || math.Abs(f.High*4-15.76) > .02 || f.Band != "between once a day and once a week" {
		t.Errorf("frequency %+v", f)
	}
	// 2 and 4 hours of the first, 4 of the third (made, since its push is not known), 1 of the fifth.
	if l := find(t, n, LeadTime); l.N != 4 || l.Value != 3*3600 || l.HasInterval || math.Abs(l.P90-4*3600) > 1 || l.Band != "within a day" || !slices.Equal(l.Events, []string{"rollout/1", "rollout/3", "rollout/5"}) {
		t.Errorf("lead time %+v", l)
	}
	if c := find(t, n, ChangeFail); c.Count != 4 || c.N != 8 || c.Value != .5 || math.Abs(c.Low-.2152) > .0001 || math.Abs(c.High-.7848) > .0001 || !strings.Contains(c.Note, "of 1 further ones") {
		t.Errorf("change fail rate %+v", c)
	}
	// A quarter of an hour, 4 hours until the revert, 3 until the incident was resolved, 1 until it went back.
	if r := find(t, n, Recovery); r.N != 4 || r.Value != 2*3600 || r.Band != "within a day" {
		t.Errorf("recovery %+v", r)
	}
	if r := find(t, n, ReworkRate); r.Count != 3 || r.N != 8 {
		t.Errorf("rework %+v", r)
	}
	for _, x := range Numbers(Window{monday.AddDate(1, 0, 0), monday.AddDate(1, 0, 7)}, judged) {
		if x.Known || x.Band != "no data" || x.Note == "" || x.Events == nil {
			t.Errorf("of nothing there is %+v", x)
		}
	}
	weeks, trend := Trend(fourWeeks, judged)
	if len(weeks) != 4 || find(t, trend[0], Frequency).N != 6 || find(t, trend[1], Frequency).N != 2 {
		t.Errorf("trend %v", weeks)
	}
}

// TestNumbersAddUp: windows side by side count what the whole does, and the order in which things are given
// changes nothing.
func TestNumbersAddUp(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		var list []Deployment
		var incidents []record.Incident
		for i := range 60 {
			d := done(fmt.Sprint(i), float64(rng.IntN(672*4))/4, fmt.Sprint("v", rng.IntN(30)), func(d *Deployment) {
				d.Service = fmt.Sprint("s", rng.IntN(3))
				d.Seq = int64(i)
				d.Outcome = []Outcome{Succeeded, Succeeded, Succeeded, RolledBack, Failed}[rng.IntN(5)]
				d.Commits = []Commit{{SHA: fmt.Sprint(i), Subject: fmt.Sprint(rng.IntN(20)), Pushed: d.Began.Add(-time.Hour)}, {SHA: fmt.Sprint("r", i), Subject: fmt.Sprintf(`Revert "%d"`, rng.IntN(20))}}
			})
			list = append(list, d)
			if i%6 == 0 {
				incidents = append(incidents, record.Incident{ID: fmt.Sprint(i), Title: "x", Repository: "team/app", Service: d.Service, Environment: "production",
					Rollout: []string{"", d.Rollout}[rng.IntN(2)], Opened: d.Ended.Add(time.Hour), Resolved: d.Ended.Add(3 * time.Hour)})
			}
		}
		judged := Judge(list, incidents)
		whole := Numbers(fourWeeks, judged)
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		rng.Shuffle(len(incidents), func(i, j int) { incidents[i], incidents[j] = incidents[j], incidents[i] })
		again := Judge(list, incidents)
		if !reflect.DeepEqual(judged, again) {
			t.Fatal("another order gives another judgement")
		}
		rng.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if !reflect.DeepEqual(whole, Numbers(fourWeeks, again)) {
			t.Fatal("another order gives other numbers")
		}
		_, weeks := Trend(fourWeeks, judged)
		for k := range whole {
			n, count, events := 0, 0, []string{}
			for _, w := range weeks {
				n, count, events = n+w[k].N, count+w[k].Count, append(events, w[k].Events...)
			}
			if n != whole[k].N || count != whole[k].Count || !slices.Equal(events, whole[k].Events) {
				t.Fatalf("%s: the weeks add up to %d (%d), the whole is %d (%d)", whole[k].Key, n, count, whole[k].N, whole[k].Count)
			}
		}
	}
}

// log appends events as a store does.
type log struct{ events []record.Event }

func (l *log) add(hour float64, run, job string, b record.Body) {
	l.events = append(l.events, record.Event{Seq: int64(len(l.events) + 1), Time: hours(hour), Run: run, Job: job, Body: b})
}

func (l *log) push(hour float64, run, sha, message string, more ...string) {
	var list []any
	for _, m := range more {
		list = append(list, map[string]any{"id": m, "message": "of " + m + "\n\nlong", "timestamp": hours(hour - 2).Format(time.RFC3339)})
	}
	l.add(hour, run, "", &record.RunPlanned{
		Attempt: 1, Origin: &record.Origin{Repository: "team/app"},
		Change: &plan.Change{Event: "push", Ref: "refs/heads/main", DefaultBranch: "main", SHA: sha, Repository: "upstream/app", Commit: &plan.Commit{Message: message, Time: hours(hour - 1)}, Payload: map[string]any{"commits": list}},
		Pipeline: &plan.Pipeline{File: ".github/workflows/ci.yml", Jobs: []plan.Job{
			{ID: "test"}, {ID: "deploy", Environment: &plan.Environment{Name: "production"}}, {ID: "preview", Environment: &plan.Environment{Name: "pr-${{ github.ref }}"}},
		}},
	})
}

func (l *log) ends(hour float64, run string, verdict plan.Verdict) {
	l.add(hour, run, "", &record.RunStarted{})
	l.add(hour, run, "deploy", &record.JobStarted{})
	l.add(hour+.1, run, "deploy", &record.JobFinished{Verdict: verdict})
	l.add(hour+.2, run, "preview", &record.JobFinished{Verdict: plan.Success})
	l.add(hour+.3, run, "", &record.RunFinished{Verdict: verdict})
}

func TestFoldOfRuns(t *testing.T) {
	t.Parallel()
	var l log
	l.push(10, "1", "aaa", "first")
	l.ends(11, "1", plan.Success)
	l.push(20, "2", "ccc", "third\n\nbody", "bbb")
	l.ends(21, "2", plan.Failure) // nothing was deployed
	l.push(30, "3", "ddd", "fourth")
	l.ends(31, "3", plan.Success)
	l.push(40, "4", "ddd", "fourth")
	l.ends(41, "4", plan.Success) // the same again
	var f Fold
	for _, e := range l.events {
		f.Apply(e)
	}
	list := f.Deployments()
	if len(list) != 3 {
		t.Fatalf("%d deployments", len(list))
	}
	var brought []string
	for _, c := range list[1].Commits {
		brought = append(brought, c.SHA+" "+c.Subject)
	}
	if want := []string{"ddd fourth", "ccc third", "bbb of bbb"}; !slices.Equal(brought, want) {
		t.Errorf("the second brought %q, want %q", brought, want)
	}
	d := list[0]
	if d.ID != "run/1/production" || d.Service != "app" || d.Repository != "team/app" || !d.Ended.Equal(hours(11.1)) || !d.Began.Equal(hours(11)) || !d.Commits[0].Pushed.Equal(hours(10)) {
		t.Errorf("the first is %+v", d)
	}
	judged := Judge(list, nil)
	if !judged[2].Repeat || Production(judged) != "production" {
		t.Errorf("the third is no repeat: %+v", judged[2])
	}
	builds := Builds(fourWeeks, f.Builds())
	if len(builds) != 1 || builds[0].First.N != 4 || builds[0].First.Count != 3 || builds[0].Duration.N != 4 || math.Abs(builds[0].Duration.Value-1.3*3600) > 1e-6 {
		t.Errorf("builds %+v", builds)
	}
}

func TestFoldOfRollouts(t *testing.T) {
	t.Parallel()
	var l log
	l.push(1, "9", "aaa", "first")
	l.add(2, "", "", &record.ReleaseMade{Release: record.Release{ID: "sha256:1", Spec: json.RawMessage(`{"name":"shop","team":"carts"}`)}})
	move := func(hour float64, id string, state record.RolloutState, set ...func(*record.RolloutMoved)) {
		m := &record.RolloutMoved{Rollout: id, Repository: "team/app", Service: "shop", Environment: "production", Release: "sha256:1", Version: "v1", Begun: hours(3), State: state, Move: "up"}
		for _, s := range set {
			s(m)
		}
		l.add(hour, "", "", m)
	}
	move(3, "r1", record.RolloutRunning, func(m *record.RolloutMoved) {
		m.Commits = []record.Commit{{SHA: "aaa", Time: hours(0), Subject: "first"}}
	})
	move(4, "r1", record.RolloutRunning, func(m *record.RolloutMoved) { m.Move = "shift-5" })
	move(5, "r1", record.RolloutRunning, func(m *record.RolloutMoved) { m.Back, m.Reason, m.Move = true, "errors", "shift-0" })
	move(6, "r1", record.RolloutRolledBack, func(m *record.RolloutMoved) { m.Back = true })
	move(7, "r2", record.RolloutRunning)
	move(8, "r2", record.RolloutAborted)
	move(9, "r3", record.RolloutSuperseded)
	l.add(10, "", "", &record.IncidentChanged{What: "opened", Incident: record.Incident{ID: "i1", Title: "errors", Rollout: "r1", Opened: hours(5)}})
	l.add(11, "", "", &record.IncidentChanged{What: "resolved", Incident: record.Incident{ID: "i1", Title: "errors", Rollout: "r1", Opened: hours(5), Resolved: hours(7)}})
	var f Fold
	for _, e := range l.events {
		f.Apply(e)
	}
	judged := Judge(f.Deployments(), f.Incidents())
	if len(judged) != 1 {
		t.Fatalf("%d deployments: %+v", len(judged), judged)
	}
	d := judged[0]
	took, ok := d.Recovery()
	if d.Team != "carts" || d.Bad != "errors" || d.Evidence != ByRollback || took != 3*time.Hour || !ok || !d.Commits[0].Pushed.Equal(hours(1)) || !slices.Equal(d.Incidents, []string{"i1"}) {
		t.Errorf("it took %v (%v): %+v", took, ok, d)
	}

	// Rollouts of other services in between change nothing.
	var mixed Fold
	for _, e := range l.events {
		mixed.Apply(e)
		mixed.Apply(record.Event{Time: e.Time, Body: &record.RolloutMoved{Rollout: "x" + fmt.Sprint(e.Seq), Service: "mail", State: record.RolloutRunning}})
	}
	if !reflect.DeepEqual(f.Deployments(), mixed.Deployments()) {
		t.Error("another service's rollouts change this one's")
	}
}

func TestBuildsAfterReruns(t *testing.T) {
	t.Parallel()
	b := func(run, of string, v plan.Verdict, hour float64) Build {
		return Build{Run: run, Of: of, Repository: "r", Pipeline: "p", Default: true, Attempt: 1, Planned: hours(hour), Ended: hours(hour + 1), Verdict: v}
	}
	list := Builds(fourWeeks, []Build{
		b("1", "", plan.Success, 1), b("2", "", plan.Failure, 2), b("3", "2", plan.Failure, 3), b("4", "3", plan.Success, 4), b("5", "", plan.Fault, 5), b("6", "", plan.Cancelled, 6),
		{Run: "7", Repository: "r", Pipeline: "p", Ended: hours(7), Verdict: plan.Failure}, // of another branch
	})
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if v := list[0]; v.First.Count != 1 || v.First.N != 3 || v.Finally.Count != 2 || v.Finally.N != 3 || v.Own.Count != 1 || v.Own.N != 2 || !slices.Equal(v.First.Events, []string{"run/2", "run/5"}) {
		t.Errorf("%+v", v)
	}
}

// TestIntervals holds intervals against published values, and against counting.
func TestIntervals(t *testing.T) {
	t.Parallel()
	near := func(a, b, within float64) bool { return math.Abs(a-b) <= within }
	// Newcombe 1998, table I, method 3.
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{81, 263, .2553, .3662}, {15, 148, .0624, .1605}, {0, 20, 0, .1611}, {1, 29, .0061, .1718}} {
		if low, high := wilson(c.k, c.n); !near(low, c.low, 6e-5) || !near(high, c.high, 6e-5) {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.k, c.n, low, high, c.low, c.high)
		}
	}
	for n, want := range map[int][2]float64{0: {0, 3.6889}, 1: {.0253, 5.5716}, 10: {4.7954, 18.3904}, 100: {81.3640, 121.6270}} {
		if low, high := poissonInterval(n); !near(low, want[0], 5e-4) || !near(high, want[1], 5e-4) {
			t.Errorf("%d: %.4f to %.4f, want %v", n, low, high, want)
		}
	}
	for n, want := range map[int][2]int{5: {}, 6: {1, 6}, 10: {2, 9}, 20: {6, 15}, 100: {40, 61}} {
		low, high, ok := orderInterval(n, .5)
		if ok != (want[0] > 0) || ok && (low != want[0] || high != want[1]) {
			t.Errorf("%d values: ranks %d to %d, %v; want %v", n, low, high, ok, want)
		}
	}
}

func TestProduction(t *testing.T) {
	t.Parallel()
	of := func(names ...string) (list []Judged) {
		for _, n := range names {
			list = append(list, Judged{Deployment: Deployment{Environment: n}})
		}
		return list
	}
	for _, test := range []struct {
		list []Judged
		want string
	}{{nil, ""}, {of("staging"), "staging"}, {of("staging", "staging", "Production", "qa"), "Production"}, {of("eu/production", "qa"), "eu/production"}, {of("qa", "staging"), ""}} {
		if got := Production(test.list); got != test.want {
			t.Errorf("%v: %q, want %q", test.list, got, test.want)
		}
	}
}
