package server

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// pupil is a test of a story: how often it fails by chance, and how long it takes.
type pupil struct {
	record.TestResult
	chance float64
	breaks int // from this run on it always fails; 0: never
	size   suite.Size
	test   suite.Test
	flaked int
	draw   float64 // of the dice, in the newest run
	with   *pupil  // another that it fails with
}

// theTests are the tests of team/app.
func theTests() []*pupil {
	in := func(suiteName, name string, seconds, chance float64, size suite.Size) *pupil {
		return &pupil{TestResult: record.TestResult{Suite: suiteName, Name: name, Seconds: seconds, File: "internal/" + suiteName + "/" + suiteName + "_test.go", Line: 41, Owner: "@team/" + suiteName}, chance: chance, size: size}
	}
	list := []*pupil{
		in("pay", "TestSettlesAfterATimeout", 4.2, .3, suite.Large), in("pay", "TestRefund", .3, 0, suite.Small), in("pay", "TestConcurrentCaptures", 1.4, .1, suite.Medium),
		in("index", "TestSparseIndex", .01, 0, suite.Small), in("index", "TestRebuild", 22, 0, suite.Medium), in("index", "TestLongNamesThatSayAllOfWhatIsTestedAndThenSomeMoreSoThatTheyHaveToBeCut", .2, .04, suite.Small),
		in("web", "TestSignIn", 9, .02, suite.Large), in("web", "TestEveryPage", 71, 0, suite.Large), in("web", "TestDarkMode", .8, 0, suite.SizeUnknown),
		in("queue", "TestOrder", .05, 0, suite.Small), in("queue", "TestDrain", .4, 0, suite.Small),
	}
	list[9].breaks = 56
	list[10].Status = record.TestSkipped
	for i := range 8 {
		list = append(list, in("parse", fmt.Sprintf("TestGrammar%d", i+1), .02*float64(i+1), 0, suite.Small))
	}
	ledger := in("pay", "TestLedger", .6, .12, suite.Medium)
	ledger.with = list[2]
	return append(list, ledger)
}

// flakyTest is the worst of them.
var flakyTest = (&record.TestResult{Suite: "pay", Name: "TestSettlesAfterATimeout"}).Key()

// tellTests has sixty runs of team/app leave results, and has them learned as package
// insight does, on the story's own clock.
func (sc *scene) tellTests() {
	sc.t.Helper()
	dice := rand.New(rand.NewPCG(7, 7))
	prior, policy := suite.Usual(), suite.Policy{}
	pupils := theTests()
	var learned []suite.Learned
	var judged []record.Event
	muted := 0
	for n := range 60 {
		at := noon.Add(-time.Duration(60-n) * 9 * time.Hour)
		commit := fmt.Sprintf("%040x", n/4+1)
		t := sc.tell(at, &plan.Pipeline{Dialect: "github", Name: "CI", File: ".github/workflows/ci.yml", Jobs: []plan.Job{{ID: "test", Name: "test"}}},
			plan.Change{Event: "push", Ref: "refs/heads/main", SHA: commit, Actor: "ada"}, &record.Origin{Repository: "team/app", Trust: record.Protected, Title: "A commit"}, "")
		var all, bad []record.TestResult
		for _, p := range pupils {
			r := p.TestResult
			result := suite.Result{Run: t.id, Job: "test", Time: at, Commit: commit, Branch: "main", Base: true, Outcome: suite.Passed, Seconds: r.Seconds, Inputs: uint64(n/4 + 1)}
			if p.with != nil {
				p.draw = p.with.draw
			} else {
				p.draw = dice.Float64()
			}
			switch {
			case r.Status == record.TestSkipped:
				result.Outcome = suite.Skipped
			case p.draw < p.chance || p.breaks > 0 && n >= p.breaks:
				r.Status, r.Type, r.Message = record.TestFailed, "timeout", "no settlement after 4 s"
				if p.flaked++; p.flaked%3 == 0 {
					r.Message, r.Stack = "connection refused: 127.0.0.1:5432", "settle_test.go:88\nnet.(*Dialer).Dial"
				}
				result.Outcome, result.Fault = suite.Failed, fault.Fingerprint(r.Type, r.Message, r.Stack, nil)
				bad = append(bad, r)
			default:
				r.Status = record.TestPassed
			}
			all = append(all, r)
			p.test.Add(result)
			id := suite.ID{Repository: "team/app", Key: r.Key()}
			e := prior.Of(&p.test)
			if j := suite.Judge(&p.test, e, suite.Ward{Tests: len(pupils), Quarantined: muted, Owner: r.Owner}, policy, at); j != nil {
				if j.To == record.TestQuarantined {
					muted++
				}
				j.Repository, j.Key, j.Title = id.Repository, id.Key, r.Title()
				p.test.Apply(j, at)
				judged = append(judged, record.Event{Time: at, Run: t.id, Job: "test", Body: j})
			}
			c := p.test.Counts()
			state, why := p.test.State()
			row := suite.Row{ID: id, Title: r.Title(), File: r.File, Line: r.Line, Owner: r.Owner, State: state, Why: why, Until: p.test.Until(), Runs: c.Runs, Failures: c.Failures, Flakes: c.Flakes,
				Rate: e.Rate, Low: e.Low, High: e.High, Seconds: p.test.Seconds(), Lost: p.test.Lost(at, 900), Size: p.size, First: c.First, Last: c.Last, Failed: c.Failed}
			data, err := p.test.MarshalBinary()
			if err != nil {
				sc.t.Fatal(err)
			}
			learned = append(learned, suite.Learned{Row: row, State: data, Result: result})
		}
		t.say("", "", &record.RunStarted{Host: "ci-1"})
		t.say("test", "1", &record.TestsReported{Source: "go test -json", Passed: len(all) - len(bad), Failed: len(bad), Bad: bad, Results: sc.keep(all)})
		o := &record.Observation{Mechanism: "seccomp", Wall: time.Second, Inputs: []record.Input{{Path: "/srv/tree/go.mod", Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: [32]byte{1}}}}}
		if len(bad) > 0 {
			o.Peers = []string{"tcp 127.0.0.1:5432"}
		}
		t.say("test", "1", &record.StepFinished{Outcome: plan.Success, Conclusion: plan.Success, Watched: &record.Watched{Mechanism: "seccomp", Inputs: 1, Kept: sc.keepSeen(o)}})
		t.say("", "", &record.RunFinished{Verdict: plan.Success})
		t.write()
	}
	if _, err := sc.store.Append(sc.t.Context(), judged...); err != nil {
		sc.t.Fatal(err)
	}
	newest, err := sc.store.Watch(sc.t.Context(), -1)
	if err != nil {
		sc.t.Fatal(err)
	}
	if err := sc.store.Learn(sc.t.Context(), "suite", newest, learned); err != nil {
		sc.t.Fatal(err)
	}
}

// keep keeps results as the engine does.
func (sc *scene) keep(results []record.TestResult) string {
	sc.t.Helper()
	var b bytes.Buffer
	k, err := harvest.NewKeeper(&b)
	if err != nil {
		sc.t.Fatal(err)
	}
	for i := range results {
		err = errors.Join(err, k.Add(&results[i]))
	}
	return sc.blob(&b, errors.Join(err, k.Close()))
}

// keepSeen keeps an observation as the engine does.
func (sc *scene) keepSeen(o *record.Observation) string {
	sc.t.Helper()
	var b bytes.Buffer
	err := harvest.KeepObservation(&b, o)
	return sc.blob(&b, err)
}

func (sc *scene) blob(b *bytes.Buffer, err error) string {
	sc.t.Helper()
	if err != nil {
		sc.t.Fatal(err)
	}
	d, _, err := sc.blobs.Put(sc.t.Context(), b)
	if err != nil {
		sc.t.Fatal(err)
	}
	return string(d)
}

// TestTests asks for tests as pages and programs do.
func TestTests(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	sc.tellTests()
	list := func(query string) insight.TestList {
		t.Helper()
		return answered[insight.TestList](t, sc.call("GET", "/api/v1/tests/team/app"+query, "", session(sc.admin)), 200)
	}
	all := list("")
	if all.Total != 20 || all.Count.All != 20 || all.Count.Quarantined == 0 || all.Count.Broken != 1 || all.Tests[0].Key != flakyTest || len(all.Tests[0].Strip) != insight.StripResults || all.Tests[0].Repository != "team/app" {
		t.Errorf("all: %+v", all.Count)
	}
	for query, want := range map[string]int{"?state=broken": 1, "?state=ill": all.Count.Of("ill"), "?text=grammar": 8, "?text=none": 0, "?order=seconds&limit=1": 20, "?after=15": 20, "?name=TestOrder": 1, "?name=" + flakyTest: 1, "?name=pay": 4} {
		if v := list(query); v.Total != want {
			t.Errorf("%s: %d of %d", query, len(v.Tests), v.Total)
		}
	}
	if v := list("?order=seconds&limit=1"); len(v.Tests) != 1 || v.Tests[0].Title != "web › TestEveryPage" {
		t.Errorf("the slowest: %+v", v.Tests)
	}
	for _, query := range []string{"?state=odd", "?order=odd", "?limit=x", "?after=-1"} {
		if w := sc.call("GET", "/tests/team/app"+query, "", session(sc.admin)); w.Code != 400 {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	every := answered[insight.TestList](t, sc.call("GET", "/api/v1/tests?limit=5", "", session(sc.admin)), 200)
	if len(every.Each) != 1 || every.Each[0].Repository != "team/app" || len(every.Tests) != 5 || every.Total != 20 {
		t.Errorf("of all repositories: %+v", every)
	}
	grid := answered[insight.TestGrid](t, sc.call("GET", "/api/v1/heatmap/team/app?runs=20&branch=main", "", session(sc.admin)), 200)
	if len(grid.Runs) != 20 || len(grid.Tests) == 0 || grid.Green == 0 || slices.ContainsFunc(grid.Tests, func(r insight.GridTest) bool { return r.Bad == 0 || len(r.Cells) != 20 }) {
		t.Errorf("heat map: %d runs, %d tests, %d green", len(grid.Runs), len(grid.Tests), grid.Green)
	}
	if page := sc.call("GET", "/heatmap/team/app", "", session(sc.admin)).Body.String(); !strings.Contains(page, `class="g-top"`) || !strings.Contains(page, `class="g-end"`) || !strings.Contains(page, "These 2 tests fail together: all of them in 9 of 10 runs") {
		t.Error("the heat map has no bracket")
	}
	if grid = answered[insight.TestGrid](t, sc.call("GET", "/api/v1/heatmap/team/app?green=1&branch=other", "", session(sc.admin)), 200); len(grid.Runs) != 0 || len(grid.Tests) != 0 {
		t.Errorf("heat map of another branch: %d runs, %d tests", len(grid.Runs), len(grid.Tests))
	}
	pyramid := answered[insight.TestPyramid](t, sc.call("GET", "/api/v1/pyramid/team/app", "", session(sc.admin)), 200)
	if pyramid.Tests != 20 || len(pyramid.Ranks) != 3 || len(pyramid.Ranks[1].Tests) != 2 || pyramid.Layers[2].Tests != 13 || len(pyramid.NeverRan) != 1 || len(pyramid.Leaders) == 0 || pyramid.Leaders[0].Key != flakyTest || len(pyramid.Over) != 2 {
		t.Errorf("pyramid: %+v", pyramid)
	}
}

// TestStoryOfATest reads what is known of a flaky one.
func TestStoryOfATest(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	sc.tellTests()
	path := "/api/v1/test/" + flakyTest + "?repository=team/app"
	v := answered[insight.TestStory](t, sc.call("GET", path, "", session(sc.admin)), 200)
	if v.State != record.TestQuarantined || !strings.HasPrefix(v.Sentence, "Fails by chance in ") || !strings.Contains(v.Sentence, "; quarantined until ") || !strings.HasSuffix(v.Sentence, ", owner @team/pay") {
		t.Errorf("%s: %s", v.State, v.Sentence)
	}
	if len(v.History) != 60 || len(v.Days) != 30 || len(v.Evidence) == 0 || v.Evidence[0].Other == "" || len(v.Changes) < 2 || v.Changes[0].To != record.TestQuarantined {
		t.Errorf("history %d, days %d, evidence %v, changes %v", len(v.History), len(v.Days), v.Evidence, v.Changes)
	}
	if len(v.Faults) != 2 || v.Faults[0].Message == "" || v.Faults[1].Message == v.Faults[0].Message {
		t.Errorf("faults: %+v", v.Faults)
	}
	if v.Cause == nil || len(v.Cause.Causes) == 0 || v.Cause.Causes[0].Kind != string(suite.CauseAddress) {
		t.Errorf("cause: %+v", v.Cause)
	}
	if d := v.Decision; d.Needs != 0 || d.Above < .9 || d.Text == "" {
		t.Errorf("decision: %+v", d)
	}
	muted := 0
	for _, d := range v.Days {
		muted += d.Muted
	}
	if muted == 0 {
		t.Error("no failure of the days was in quarantine")
	}
	broken := answered[insight.TestStory](t, sc.call("GET", "/api/v1/test/"+(&record.TestResult{Suite: "queue", Name: "TestOrder"}).Key()+"?repository=team/app", "", session(sc.admin)), 200)
	if !strings.HasPrefix(broken.Sentence, "Broken: it failed ") || broken.Cause != nil {
		t.Errorf("%s: %+v", broken.Sentence, broken.Cause)
	}
	for _, path := range []string{"/test/" + flakyTest, "/test/0123456789abcdef?repository=team/app", "/test/" + flakyTest + "?repository=team/app&variant=windows", "/test/" + flakyTest + "?repository=team/other"} {
		if w := sc.call("GET", path, "", session(sc.admin)); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestDecidingAboutTests releases a test and puts it into quarantine again, by the form and by
// the API.
func TestDecidingAboutTests(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.tellTests()
	developer := sc.account("dev", "team/app", access.Developer)
	query := "?repository=team/app"
	at := "/test/" + flakyTest
	if w := sc.call("POST", "/api/v1"+at+"/release"+query, `{"why":"I want to"}`, session(developer)); w.Code != 403 {
		t.Errorf("released by a developer: %d %s", w.Code, w.Body)
	}
	if w := sc.call("GET", at+query, "", session(developer)); strings.Contains(w.Body.String(), "/release") {
		t.Error("a developer is shown the button")
	}
	w := sc.call("POST", at+"/release"+query, "", session(sc.admin), form(url.Values{"why": {"it is mended"}, "back": {at + query}}))
	if w.Code != 303 || w.Header().Get("Location") != at+query {
		t.Errorf("release: %d %s to %s", w.Code, w.Body, w.Header().Get("Location"))
	}
	state := func() record.TestState {
		return answered[insight.TestStory](t, sc.call("GET", "/api/v1"+at+query, "", session(sc.admin)), 200).State
	}
	if got := state(); got != record.TestSuspected {
		t.Errorf("released, it is %s", got)
	}
	for _, body := range []string{`{"why":""}`, `{"why":"x","days":4000}`} {
		if w := sc.call("POST", "/api/v1"+at+"/quarantine"+query, body, session(sc.admin)); w.Code != 422 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	j := answered[record.TestJudged](t, sc.call("POST", "/api/v1"+at+"/quarantine"+query, `{"why":"issue 12","days":90,"owner":"@ada"}`, session(sc.admin)), 200)
	if got := state(); got != record.TestQuarantined || j.By != "root" || j.Owner != "@ada" {
		t.Errorf("quarantined, it is %s: %+v", got, j)
	}
	var acts []string
	for _, e := range sc.events("acted") {
		if b := e.Body.(*record.Acted); b.Verb == string(access.MuteTests) && b.Denied == "" {
			acts = append(acts, b.By+" "+b.Object+" "+b.Detail["state"]+": "+b.Detail["why"])
		}
	}
	if want := []string{"root team/app, test " + flakyTest + " suspected: it is mended", "root team/app, test " + flakyTest + " quarantined: issue 12"}; !slices.Equal(acts, want) {
		t.Errorf("the trail holds %q", acts)
	}
}

// TestTestsOfNames shows nobody the tests of a repository under another one's name.
func TestTestsOfNames(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	run := sc.tell(noon, failingPipeline(), plan.Change{Ref: "refs/heads/main"}, &record.Origin{Repository: "team/app", Trust: record.Protected}, "")
	run.events[0].Body.(*record.RunPlanned).Change.Repository = "company/secret" // as its code host calls it
	run.write()
	id := suite.ID{Repository: "company/secret", Key: flakyTest}
	if err := sc.store.Learn(t.Context(), "suite", 1000, []suite.Learned{{Row: suite.Row{ID: id, Title: "TestSecret", State: record.TestHealthy}}}); err != nil {
		t.Fatal(err)
	}
	if v := answered[insight.TestList](t, sc.call("GET", "/api/v1/tests/team/app", "", session(sc.admin)), 200); v.Total != 1 || v.Tests[0].Repository != "team/app" {
		t.Errorf("by its name here: %+v", v)
	}
	other := sc.account("other", "company/*", access.Maintainer)
	for _, path := range []string{"/tests/company/secret", "/heatmap/company/secret", "/pyramid/company/secret", "/test/" + flakyTest + "?repository=company/secret"} {
		if w := sc.call("GET", "/api/v1"+path, "", session(other)); w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if v := answered[insight.TestList](t, sc.call("GET", "/api/v1/tests", "", session(other)), 200); v.Total != 0 || len(v.Each) != 0 {
		t.Errorf("of all: %+v", v)
	}
}
