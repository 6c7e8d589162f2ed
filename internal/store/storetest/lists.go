package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Lists is what the SQL stores offer besides the contract to readers with narrow
// interfaces of their own. A store that has it keeps what the suite says of it.
type Lists interface {
	store.Store
	NewRun(ctx context.Context, repository, pipelineFile string) (id string, number int, err error)
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, id string) (store.RunHead, error)
	Run(ctx context.Context, id string) (*record.Run, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
	Watch(ctx context.Context, seq int64) (int64, error)
}

// lists opens the store.
func (s conformance) lists(t *testing.T) Lists {
	t.Helper()
	st, ok := s.store(t).(Lists)
	if !ok {
		t.Skip("the store has no lists")
	}
	return st
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// begin begins a run of a file and holds its lease.
func begin(t testing.TB, s Lists, file, branch string) (id string, lease store.Lease) {
	t.Helper()
	id, number, err := s.NewRun(t.Context(), "o/r", file)
	if err != nil {
		t.Fatal(err)
	}
	lease = must(s.Lease(t.Context(), store.RunLease(id), "test"))(t)
	must(s.Append(t.Context(),
		record.Event{Run: id, Body: &record.RunPlanned{
			Number: number, Attempt: 1, Root: "/src",
			Change: &plan.Change{
				Event: "push", Ref: "refs/heads/" + branch, SHA: "abc", Dirty: true, Repository: "o/r", Actor: "ann",
			},
			Pipeline: &plan.Pipeline{Name: "CI " + file, File: file, Jobs: []plan.Job{{ID: "build", Name: "Build"}}},
		}},
		record.Event{Run: id, Body: &record.RunStarted{PID: 1}},
	))(t)
	return id, lease
}

func finish(t testing.TB, s store.Log, id string, v plan.Verdict) {
	t.Helper()
	must(s.Append(t.Context(), record.Event{Run: id, Body: &record.RunFinished{Verdict: v, Why: "because"}}))(t)
}

func testNewRuns(t *testing.T, s conformance) {
	a, b := s.lists(t), s.lists(t)
	var got []string
	for i, c := range []struct{ repo, file string }{
		{"o/r", "ci.yml"}, {"o/r", "ci.yml"}, {"o/r", "lint.yml"}, {"o/x", "ci.yml"}, {"o/r", "ci.yml"},
	} {
		id, number, err := []Lists{a, b}[i%2].NewRun(t.Context(), c.repo, c.file)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(id, "#", number))
	}
	if want := []string{"1#1", "2#2", "3#1", "4#1", "5#3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if heads := must(a.Runs(t.Context(), store.RunFilter{}))(t); len(heads) != 0 {
		t.Errorf("runs that were never planned are listed: %v", heads)
	}
	if _, err := a.Head(t.Context(), "1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("head of a run never planned: %v", err)
	}

	// Asked for by many at once, no ID and no number is given twice.
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for i := range 40 {
		wg.Go(func() {
			id, number, err := []Lists{a, b}[i%2].NewRun(t.Context(), "o/r", "ci.yml")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, k := range []string{"id " + id, fmt.Sprint("number ", number)} {
				if seen[k] {
					t.Errorf("%s was given twice", k)
				}
				seen[k] = true
			}
		})
	}
	wg.Wait()

	// A run that came with its own ID is not met again.
	add(t, a, record.Event{Run: "1000", Body: &record.RunPlanned{Number: 1, Attempt: 1}})
	if id, _, err := b.NewRun(t.Context(), "o\x00/\xff", "ci.yml"); err != nil || id != "1001" {
		t.Errorf("after run 1000: %s, %v", id, err)
	}
}

func ids(heads []store.RunHead) (list []string) {
	for _, h := range heads {
		list = append(list, h.ID)
	}
	return list
}

func testRuns(t *testing.T, s conformance) {
	ctx := t.Context()
	st := s.lists(t)
	first, lease1 := begin(t, st, ".github/workflows/ci.yml", "main")
	second, lease2 := begin(t, st, ".github/workflows/ci.yml", "dev")
	third, lease3 := begin(t, st, "ci_yml", "main")
	fourth, lease4 := begin(t, st, ".github/workflows/ciXyml", "main")
	defer lease2.Release()
	finish(t, st, first, plan.Failure)
	if err := errors.Join(lease1.Release(), lease3.Release()); err != nil { // the third dies
		t.Fatal(err)
	}
	finish(t, st, fourth, plan.Success)
	if err := lease4.Release(); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name   string
		filter store.RunFilter
		want   []string
	}{
		{"all, newest first", store.RunFilter{}, []string{fourth, third, second, first}},
		{"repository", store.RunFilter{Repository: "o/r"}, []string{fourth, third, second, first}},
		{"another repository", store.RunFilter{Repository: "o/x"}, nil},
		{"another tree", store.RunFilter{Root: "/else"}, nil},
		{"pipeline by path", store.RunFilter{Pipeline: ".github/workflows/ci.yml"}, []string{second, first}},
		{"pipeline by file name", store.RunFilter{Pipeline: "ci.yml"}, []string{second, first}},
		{"pipeline by name", store.RunFilter{Pipeline: "CI ci_yml"}, []string{third}},
		{"a name is no pattern", store.RunFilter{Pipeline: "ci_yml"}, []string{third}},
		{"pipeline and branch", store.RunFilter{Pipeline: "ci.yml", Branch: "main", Repository: "o/r"}, []string{first}},
		{"branch", store.RunFilter{Branch: "dev"}, []string{second}},
		{"ref", store.RunFilter{Branch: "refs/heads/dev"}, []string{second}},
		{"verdict", store.RunFilter{Verdict: plan.Failure}, []string{first}},
		{"unfinished", store.RunFilter{Unfinished: true}, []string{third, second}},
		{"actor", store.RunFilter{Actor: "ann", Limit: 1}, []string{fourth}},
		{"another actor", store.RunFilter{Actor: "bob"}, nil},
		{"limit", store.RunFilter{Limit: 2}, []string{fourth, third}},
		{"before", store.RunFilter{Before: third, Limit: 1}, []string{second}},
		{"everything", store.RunFilter{
			Repository: "o/r", Root: "/src", Pipeline: "ci.yml", Branch: "dev", Unfinished: true, Actor: "ann", Before: fourth, Limit: 5,
		}, []string{second}},
	} {
		if got := ids(must(st.Runs(ctx, c.filter))(t)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if _, err := st.Runs(ctx, store.RunFilter{Before: "x"}); err == nil {
		t.Error("runs before what is no run")
	}

	states := map[string][2]bool{first: {false, false}, second: {true, false}, third: {false, true}, fourth: {false, false}}
	for id, want := range states {
		h := must(st.Head(ctx, id))(t)
		if h.Alive != want[0] || h.Interrupted() != want[1] || h.Waiting() {
			t.Errorf("run %s: alive %v, interrupted %v, waiting %v; want %v", id, h.Alive, h.Interrupted(), h.Waiting(), want)
		}
	}
	got := must(st.Head(ctx, first))(t)
	if got.Begun.IsZero() || got.Started.Before(got.Begun) || got.Ended.Before(got.Started) || got.Ended.Location() != time.UTC {
		t.Errorf("begun %v, started %v, ended %v", got.Begun, got.Started, got.Ended)
	}
	got.Begun, got.Started, got.Ended = time.Time{}, time.Time{}, time.Time{}
	want := store.RunHead{
		ID: first, Number: 1, Attempt: 1, Repository: "o/r", Root: "/src", File: ".github/workflows/ci.yml",
		Name: "CI .github/workflows/ci.yml", Event: "push", Ref: "refs/heads/main", Branch: "main", SHA: "abc",
		Dirty: true, Actor: "ann", Verdict: plan.Failure, Why: "because",
	}
	if got != want {
		t.Errorf("head: got %+v, want %+v", got, want)
	}

	// Resumed, a finished run has not ended any more.
	started := must(st.Head(ctx, first))(t).Started
	add(t, st, record.Event{Run: first, Body: &record.RunStarted{Resume: true}})
	if h := must(st.Head(ctx, first))(t); h.Verdict != "" || !h.Ended.IsZero() || !h.Interrupted() || h.Started != started {
		t.Errorf("resumed: %+v", h)
	}
}

// testWaiting is about a server's runs, which wait for their turn.
func testWaiting(t *testing.T, s conformance) {
	st := s.lists(t)
	origin := func(repository, change string) *record.Origin {
		return &record.Origin{Repository: repository, Trust: record.Untrusted, Change: change, Title: "ü\x00", Priority: 3, Approval: true}
	}
	planned := map[string]*record.Origin{}
	var runs []string
	for _, o := range []*record.Origin{origin("team/app", "7"), origin("team/app", ""), origin("team/lib", "7"), nil} {
		id, number, err := st.NewRun(t.Context(), "o/r", "ci.yml")
		if err != nil {
			t.Fatal(err)
		}
		add(t, st, record.Event{Run: id, Body: &record.RunPlanned{Number: number, Attempt: 1, Origin: o}})
		planned[id] = o
		runs = append(runs, id)
	}
	add(t, st, record.Event{Run: runs[0], Body: &record.RunApproved{By: `ann "the\x00" ünï`}})
	for id, o := range planned {
		h := must(st.Head(t.Context(), id))(t)
		if by := map[bool]string{true: `ann "the\x00" ünï`}[id == runs[0]]; h.ApprovedBy != by {
			t.Errorf("run %s: approved by %q, want %q", id, h.ApprovedBy, by)
		}
		if h.Waiting() != (o != nil) || h.Interrupted() != (o == nil) || !h.Started.IsZero() {
			t.Errorf("run %s of %v: waiting %v, interrupted %v, started %v", id, o, h.Waiting(), h.Interrupted(), h.Started)
		}
		if !reflect.DeepEqual(h.Origin, o) {
			t.Errorf("run %s: origin %+v, want %+v", id, h.Origin, o)
		}
	}
	for _, c := range []struct {
		filter store.RunFilter
		want   []string
	}{
		{store.RunFilter{Origin: "team/app"}, []string{runs[1], runs[0]}},
		{store.RunFilter{Origin: "team/app", Change: "7"}, []string{runs[0]}},
		{store.RunFilter{Change: "7"}, []string{runs[2], runs[0]}},
		{store.RunFilter{Origin: "team"}, nil},
	} {
		if got := ids(must(st.Runs(t.Context(), c.filter))(t)); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v, want %v", c.filter, got, c.want)
		}
	}
	add(t, st, record.Event{Run: runs[0], Body: &record.RunStarted{}})
	if h := must(st.Head(t.Context(), runs[0]))(t); h.Waiting() || !h.Interrupted() || h.Started.IsZero() {
		t.Errorf("started: %+v", h)
	}
	add(t, st, record.Event{Run: runs[1], Body: &record.RunFinished{Verdict: plan.Cancelled}}) // in the queue
	if h := must(st.Head(t.Context(), runs[1]))(t); h.Waiting() || h.Interrupted() || !h.Started.IsZero() {
		t.Errorf("cancelled: %+v", h)
	}
}

func testRun(t *testing.T, s conformance) {
	st := s.lists(t)
	one, lease := begin(t, st, "a.yml", "main")
	defer lease.Release()
	two, lease2 := begin(t, st, "b.yml", "main")
	defer lease2.Release()
	add(t, st, record.Event{Run: one, Job: "build", Body: &record.JobStarted{Attempt: 1}})
	finish(t, st, two, plan.Success)

	run := must(st.Run(t.Context(), one))(t)
	if run.Planned == nil || run.Jobs["build"].State != record.Running || run.Verdict != "" {
		t.Errorf("run %s: %+v", one, run)
	}
	if run := must(st.Run(t.Context(), two))(t); run.Verdict != plan.Success {
		t.Errorf("run %s: %+v", two, run)
	}
	for _, id := range []string{"99", "", "x", "01", "1'"} {
		if _, err := st.Run(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("run %q: %v", id, err)
		}
		if _, err := st.Head(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("head %q: %v", id, err)
		}
	}
}

func testEvents(t *testing.T, s conformance) {
	st := s.lists(t)
	var all []record.Event
	for n := range 700 { // more than a page
		run := strconv.Itoa(n%3 + 1)
		all = append(all, add(t, st,
			Event(run, n),
			record.Event{Body: &record.Acted{By: "ann", Verb: strconv.Itoa(n)}},
			record.Event{Run: run, Body: &record.RunStarted{PID: n}},
		)...)
	}
	kinds := func(k ...record.Kind) []record.Kind { return k }
	for _, f := range []store.EventFilter{
		{},
		{Limit: 7},
		{Before: 50, Limit: 1000},
		{Run: "2", Limit: 1000},
		{Run: "2", Kinds: kinds("run.started"), Before: 1000},
		{Run: "77"},
		{Kinds: kinds("acted")},
		{Kinds: kinds("acted", "run.started", "acted"), Limit: 1500},
		{Kinds: kinds("acted", "run.started"), Limit: 3, Before: 600},
		{Kinds: kinds("acted", "step.started"), Limit: 30, Before: 600}, // a loud one
		{Kinds: kinds("no such kind", "'")},
	} {
		limit := f.Limit
		if limit == 0 {
			limit = store.DefaultRuns
		}
		want := []record.Event{}
		for i := len(all) - 1; i >= 0 && len(want) < limit; i-- {
			e := all[i]
			if (len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind())) && (f.Run == "" || f.Run == e.Run) && (f.Before == 0 || e.Seq < f.Before) {
				want = append(want, e)
			}
		}
		if got, err := st.Events(t.Context(), f); err != nil || !slices.EqualFunc(got, want, sameEvent) {
			t.Errorf("%+v: %d events, %v; want %d", f, len(got), err, len(want))
		}
	}
	if _, err := st.Events(t.Context(), store.EventFilter{Run: "x"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of what is no run: %v", err)
	}

	for _, c := range []struct {
		seq   int64
		kinds []record.Kind
	}{{0, kinds("acted")}, {100, kinds("run.started", "acted")}, {7, kinds("step.started")}, {7, kinds("step.started", "acted", "")}, {0, nil}, {5000, kinds("acted")}} {
		var got, want []record.Event
		for _, e := range all {
			if e.Seq > c.seq && slices.Contains(c.kinds, e.Kind()) {
				want = append(want, e)
			}
		}
		for e, err := range st.AfterKinds(t.Context(), c.seq, c.kinds...) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if !slices.EqualFunc(got, want, sameEvent) {
			t.Errorf("after %d of %v: %d events; want %d", c.seq, c.kinds, len(got), len(want))
		}
	}
}

func sameEvent(a, b record.Event) bool { return reflect.DeepEqual(a, b) }

func testWatch(t *testing.T, s conformance) {
	a, b := s.lists(t), s.lists(t)
	if seq := must(a.Watch(t.Context(), -1))(t); seq != 0 {
		t.Errorf("the newest of none: %d", seq)
	}
	add(t, a, Event("1", 0))
	if seq := must(a.Watch(t.Context(), 0))(t); seq != 1 {
		t.Errorf("something new is there: got %d, want 1", seq)
	}
	// It does not matter who appends: this store or, as for another process, another one.
	for i, writer := range []Lists{a, b} {
		got := make(chan int64)
		go func() {
			seq, err := a.Watch(t.Context(), int64(i+1))
			if err != nil {
				t.Error(err)
			}
			got <- seq
		}()
		add(t, writer, Event("1", i))
		if seq := <-got; seq != int64(i+2) {
			t.Errorf("woken at %d, want %d", seq, i+2)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Watch(ctx, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func testClosed(t *testing.T, s conformance) {
	st, ok := s.open(t, s.dir).(Lists)
	if !ok {
		t.Skip("the store has no lists")
	}
	waiting := make(chan error)
	go func() {
		_, err := st.Watch(t.Context(), 5)
		waiting <- err
	}()
	for range 2 {
		closeStore(t, st)
	}
	if err := <-waiting; err == nil {
		t.Error("a watcher of a closed store was told that something is new")
	}
	if _, err := st.Append(t.Context(), Event("1", 1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := st.Change(t.Context(), []record.Register{register("a", "b", 0, "1")}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("change: %v", err)
	}
}
