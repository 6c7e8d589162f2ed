package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// hand is another machine: what it is given went over the wire as JSON, and another
// engine does it.
type hand struct {
	b      *bench
	engine *Engine
	fits   func(p *plan.Place) bool
	has    bool
	refuse error // what Do answers instead

	mu    sync.Mutex
	given []Assignment
}

func (h *hand) Fits(p *plan.Place) bool { return h.fits == nil || h.fits(p) }

func (h *hand) Has(context.Context, string, string) bool { return h.has }

func (h *hand) Do(soft, hard context.Context, a Assignment) (Ended, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return Ended{}, err
	}
	var got Assignment
	if err := json.Unmarshal(data, &got); err != nil {
		return Ended{}, err
	}
	h.mu.Lock()
	h.given = append(h.given, got)
	h.mu.Unlock()
	if h.refuse != nil {
		return Ended{}, h.refuse
	}
	masker := new(secret.Masker)
	for _, s := range got.Context.Secrets {
		masker.Add(s)
	}
	return h.engine.Do(soft, hard, Request{
		Record: h.b.rec, Masker: masker, Observer: deaf{}, Log: h.b.log,
		Open: func(context.Context, Opening) (Workspace, error) { return nowhere{}, nil },
	}, got)
}

// give has the bench's jobs done by a hand.
func (b *bench) give() *hand {
	other := &toyExecutor{met: make(chan struct{}), tried: map[string]int{}}
	h := &hand{b: b, engine: &Engine{Dialect: toy{}, Executor: other, Leases: b.rec, Idle: b.engine.Idle, Grace: b.engine.Grace}}
	b.engine.Hands = h
	return h
}

func (h *hand) jobs() string {
	var ids []string
	for _, a := range h.given {
		ids = append(ids, a.Job)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// TestElsewhere: what a job does on another machine counts as if it had been here.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	h.fits = func(p *plan.Place) bool { return slices.Contains(p.Labels, "far") }
	b.engine.Places = 1 // which jobs elsewhere do not take
	far := plan.Place{Labels: []string{"far"}}
	lit := func(text string) plan.Expr { return plan.Expr{Text: text} }
	v := b.do(t.Context(), "1",
		plan.Job{ID: "a", Place: far, Steps: []plan.Step{{Key: "1", ID: "s", Name: "s", Run: &plan.Script{Text: lit("out word=hello")}}}, Outputs: []plan.Binding{{Name: "word", Value: lit("steps.s.word")}}},
		plan.Job{ID: "b", Place: far, Needs: []string{"a"}, Steps: steps("fail 3"), ContinueOnError: true},
		plan.Job{ID: "c", Needs: []string{"a"}, Steps: steps("say here"), Outputs: []plan.Binding{{Name: "word", Value: lit("needs.a.word")}}},
		plan.Job{ID: "d", Place: far, Needs: []string{"b"}, Retry: &plan.Retry{Max: 2, Exit: []int{1}}, Steps: steps("flaky")},
		plan.Job{ID: "e", Place: far, Needs: []string{"b"}, If: lit("failure"), Steps: steps("say no")},
	)
	if v != plan.Success || b.verdicts() != "a=success b=failure c=success d=success e=skipped" {
		t.Errorf("%s: %s (%s)", v, b.verdicts(), b.why)
	}
	if got := h.jobs(); got != "a b d d" {
		t.Errorf("given away: %s", got)
	}
	if got := b.run.Jobs["a"].Outputs["word"]; got != "hello" || b.run.Jobs["c"].Outputs["word"] != "hello" {
		t.Errorf("outputs %q, %q", got, b.run.Jobs["c"].Outputs["word"])
	}
	if n := b.run.Jobs["d"].Attempt; n != 2 {
		t.Errorf("d took %d attempts", n)
	}
	if a := h.given[0]; a.Scope.Job != a.Plan || a.Scope.Context != a.Context || a.Context.RunID != "1" {
		t.Errorf("given %+v", a)
	}
}

// TestSecretsOfEnvironment: a job that names an environment is given its secrets, and no
// other is, wherever it is done; those that cannot be opened are our failure.
func TestSecretsOfEnvironment(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	b.request.Secrets = func(_ context.Context, environment string) (map[string]string, error) {
		if environment == "locked" {
			return nil, errors.New("the vault is shut")
		}
		return map[string]string{"KEY": "of " + environment}, nil
	}
	to := func(name string) *plan.Environment { return &plan.Environment{Name: name} }
	b.do(t.Context(), "1",
		plan.Job{ID: "a", Environment: to("production"), Steps: steps("say a")},
		plan.Job{ID: "b", Environment: to("staging"), Steps: steps("say b")},
		plan.Job{ID: "c", Steps: steps("say c")},
		plan.Job{ID: "d", Environment: to("locked"), Steps: steps("say d")},
	)
	if got := b.verdicts(); got != "a=success b=success c=success d=error" {
		t.Error(got)
	}
	given := map[string]string{}
	for _, a := range h.given {
		given[a.Job] = a.Context.Secrets["KEY"]
	}
	if len(given) != 3 || given["a"] != "of production" || given["b"] != "of staging" || given["c"] != "" {
		t.Errorf("%v", given)
	}
	if why := b.run.Jobs["d"].Why; !strings.Contains(why, "environment locked") || !strings.Contains(why, "the vault is shut") {
		t.Error(why)
	}
}

// TestNobodyLeft: what no hand takes any more is done here.
func TestNobodyLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	left := false
	h.refuse = ErrNobody
	h.fits = func(*plan.Place) bool { defer func() { left = true }(); return !left }
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("say here")}); v != plan.Success || h.jobs() != "a" {
		t.Errorf("%s (%s), given away: %s", v, b.why, h.jobs())
	}
	h.refuse, left = errors.New("the other side is broken"), false
	if v := b.do(t.Context(), "2", plan.Job{ID: "a", Steps: steps("say here")}); v != plan.Fault || !strings.Contains(b.run.Jobs["a"].Why, "broken") {
		t.Errorf("%s: %s", v, b.run.Jobs["a"].Why)
	}
}

// TestStoppedElsewhere: who cancels a run cancels its jobs wherever they are.
func TestStoppedElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.give()
	cancels := make(chan record.Event, 1)
	b.request.Cancels = cancels
	cancels <- record.Event{Run: "1", Body: &record.CancelRequested{By: "ada"}}
	if v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("block")}); v != plan.Cancelled || b.run.Jobs["a"].Why != "cancelled by ada" {
		t.Errorf("%s: %q", v, b.run.Jobs["a"].Why)
	}
}

// TestGivenBefore: a job that the owner before had given away is gone on with there, even
// when nobody would take it now.
func TestGivenBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	h.has, h.fits = true, func(*plan.Place) bool { return false }
	prior := record.NewRun("1")
	for _, e := range []record.Event{{Run: "1", Body: &record.RunStarted{}}, {Run: "1", Job: "a", Body: &record.JobStarted{Attempt: 1, Place: PlaceOf("w")}}} {
		prior.Apply(e)
	}
	b.request.Prior = prior
	v := b.do(t.Context(), "1", plan.Job{ID: "a", Steps: steps("say there")}, plan.Job{ID: "b", Steps: steps("say here")})
	if v != plan.Success || h.jobs() != "a" || h.given[0].Prior == nil || h.given[0].PriorRun != "1" {
		t.Errorf("%s, given away: %s (%+v)", v, h.jobs(), h.given)
	}
}

// TestAssignmentsThatAreNotWhole are refused, not done.
func TestAssignmentsThatAreNotWhole(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"Run":"1","Job":"a"}`, `{"Run":"1","Job":"a","Plan":{"id":"b"},"Scope":{},"Context":{"Pipeline":{},"Change":{},"RunID":"1"}}`, `[]`, `{"Run":`} {
		var a Assignment
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

// TestWhatTestsAre: a worker knows what the run does with tests, and is not given what has
// to do with the run itself.
func TestWhatTestsAre(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.give()
	b.request.Tests = Tests{Retry: 2, Affected: true, Reports: []string{"out/*.json"}, Muted: []record.Mute{{Key: "k"}}}
	if v := b.do(t.Context(), "1", plan.Job{ID: "far", Steps: steps("say a")}, plan.Job{ID: "home", Place: plan.Place{Home: true}, Steps: steps("say b")}); v != plan.Success {
		t.Fatal(v)
	}
	if h.jobs() != "far" {
		t.Fatalf("elsewhere: %s", h.jobs())
	}
	if a := h.given[0]; a.RetryTests != 2 || !a.Affected || !slices.Equal(a.Reports, []string{"out/*.json"}) || len(a.Muted) != 1 {
		t.Errorf("%+v", a)
	}
}
