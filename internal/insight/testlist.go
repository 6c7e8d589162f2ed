package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// How much of something is shown of tests.
const (
	usualTests = 50   // tests of a list when nothing else is asked for
	mostTests  = 1000 // of any list
	// StripResults is how many of a test's newest results stand beside it in a list.
	StripResults = 30
	// stripRuns is in how many of a repository's newest runs they are looked for.
	stripRuns = 60

	usualRuns, mostRuns = 60, 200 // columns of a heat map
	usualGrid, mostGrid = 60, 300 // its rows

	// stackPage is how many rows are read at once for a pyramid, and mostStacked how
	// many in all.
	stackPage, mostStacked = 10_000, 200_000
	// mostWorst is how long the lists of a pyramid are.
	mostWorst = 15
)

// TestRecord is what [Histories] asks of the record.
type TestRecord interface {
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	Register(ctx context.Context, kind, id string) (record.Register, error)
}

// Histories answers what people ask of tests: which are bad, how each behaved, and why.
// All of it comes from the ledger, and from the blobs that events name; nothing is
// written. Its fields are set once, and its methods may be called by many goroutines.
type Histories struct {
	Ledger suite.Ledger
	Record TestRecord
	Blobs  blob.Store       // of results and observations; nil: there are none
	Now    func() time.Time // nil: time.Now

	counts   remembered[TestCount]
	pyramids remembered[TestPyramid]
}

const (
	// countFor and pyramidFor say how long it is shown without being read anew how many
	// tests there are, and what they are together.
	countFor, pyramidFor = 5 * time.Second, time.Minute
	maxKept              = 200 // repositories of which that is remembered
)

// remembered holds answers about repositories for a moment, since they are made of all
// tests. The zero value holds none.
type remembered[V any] struct {
	mu  sync.Mutex
	all map[string]moment[V]
}

type moment[V any] struct {
	value V
	until time.Time
}

// get is the answer for a key that was made a moment ago, or is made now.
func (k *remembered[V]) get(key string, now time.Time, last time.Duration, make func() (V, error)) (V, error) {
	k.mu.Lock()
	m, ok := k.all[key]
	k.mu.Unlock()
	if ok && now.Before(m.until) {
		return m.value, nil
	}
	v, err := make()
	if err != nil {
		return v, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil || len(k.all) >= maxKept {
		k.all = map[string]moment[V]{}
	}
	k.all[key] = moment[V]{v, now.Add(last)}
	return v, nil
}

func (h *Histories) now() time.Time {
	if h.Now != nil {
		return h.Now().UTC()
	}
	return time.Now().UTC()
}

// TestRow is a test in a list.
type TestRow struct {
	Repository string           `json:"repository"`
	Key        string           `json:"key"`
	Variant    string           `json:"variant,omitempty"` // what tells its environments apart: "windows, node 22"
	Title      string           `json:"title"`
	File       string           `json:"file,omitempty"`
	Line       int              `json:"line,omitempty"`
	Owner      string           `json:"owner,omitempty"`
	State      record.TestState `json:"state"`
	Why        string           `json:"why,omitempty"`   // of the state
	Until      time.Time        `json:"until,omitzero"`  // when its quarantine lapses
	Runs       int64            `json:"runs"`            // results that count
	Failures   int64            `json:"failures"`        // of them
	Flakes     int64            `json:"flakes"`          // failures that were chance
	Rate       float64          `json:"rate"`            // how likely it is to fail by chance, 0 to 1
	Low        float64          `json:"low"`             // the rate is between Low and High …
	High       float64          `json:"high"`            // … with a probability of 90 %
	Seconds    float64          `json:"seconds"`         // it is expected to take
	Lost       float64          `json:"lost"`            // seconds lost to its flakes in 30 days
	Size       string           `json:"size"`            // small, medium, large, unknown
	First      time.Time        `json:"first,omitzero"`  // result
	Last       time.Time        `json:"last,omitzero"`   // result
	Failed     time.Time        `json:"failed,omitzero"` // last
	Strip      []TestCell       `json:"strip,omitempty"` // its newest results, newest first
}

// ID is what the ledger calls the test.
func (r *TestRow) ID() suite.ID {
	return suite.ID{Repository: r.Repository, Key: r.Key, Variant: r.Variant}
}

func testRow(r *suite.Row) TestRow {
	return TestRow{
		Repository: r.Repository, Key: r.Key, Variant: r.Variant, Title: r.Title, File: r.File, Line: r.Line, Owner: r.Owner,
		State: cmp.Or(r.State, record.TestHealthy), Why: r.Why, Until: r.Until, Runs: r.Runs, Failures: r.Failures, Flakes: r.Flakes,
		Rate: r.Rate, Low: r.Low, High: r.High, Seconds: r.Seconds, Lost: r.Lost, Size: r.Size.String(), First: r.First, Last: r.Last, Failed: r.Failed,
	}
}

// TestCell is how a test ended in a run.
type TestCell struct {
	Run     string    `json:"run,omitempty"`
	Job     string    `json:"job,omitempty"`
	Outcome string    `json:"outcome,omitempty"` // passed, flaked, failed, errored, skipped; "" when it was not there
	Seconds float64   `json:"seconds,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Muted   bool      `json:"muted,omitempty"` // it failed while the test was in quarantine
	Storm   bool      `json:"storm,omitempty"` // the machine failed, not the tests: it counts for nothing
}

// Bad reports whether the cell is a failure, also one that passed when it was tried again.
func (c *TestCell) Bad() bool {
	return c.Outcome == "failed" || c.Outcome == "errored" || c.Outcome == "flaked"
}

func cellOf(r *suite.Result) TestCell {
	return TestCell{Run: r.Run, Job: r.Job, Outcome: OutcomeWord(r.Outcome), Seconds: r.Seconds, Time: r.Time, Storm: r.Storm}
}

// OutcomeWord is what an outcome is called.
func OutcomeWord(o suite.Outcome) string {
	switch o {
	case suite.Skipped:
		return "skipped"
	case suite.Passed:
		return "passed"
	case suite.Flaked:
		return "flaked"
	case suite.Failed:
		return "failed"
	case suite.Errored:
		return "errored"
	}
	return ""
}

// TestsAsk says which tests are asked for.
type TestsAsk struct {
	State string `json:"state,omitempty"` // a state, or "ill" for all but the healthy; "" for all
	Text  string `json:"text,omitempty"`  // in the title
	Order string `json:"order,omitempty"` // rate (also ""), lost, seconds, failed, title
	Limit int    `json:"limit,omitempty"`
	After int    `json:"after,omitempty"` // how many are left out
}

// Orders are the orders of tests, the usual one first.
func Orders() []string { return []string{"rate", "lost", "seconds", "failed", "title"} }

// States are what [TestsAsk].State may be besides "".
func States() []string {
	return []string{"ill", string(record.TestHealthy), string(record.TestSuspected), string(record.TestQuarantined), string(record.TestBroken)}
}

// Check says what of the ask cannot be understood.
func (a *TestsAsk) Check() error {
	switch {
	case a.State != "" && !slices.Contains(States(), a.State):
		return fmt.Errorf("there is no state %q: %s", a.State, strings.Join(States(), ", "))
	case a.Order != "" && !slices.Contains(Orders(), a.Order):
		return fmt.Errorf("there is no order %q: %s", a.Order, strings.Join(Orders(), ", "))
	}
	return nil
}

func (a *TestsAsk) states() []record.TestState {
	switch a.State {
	case "":
		return nil
	case "ill":
		return []record.TestState{record.TestSuspected, record.TestQuarantined, record.TestBroken}
	}
	return []record.TestState{record.TestState(a.State)}
}

// TestList is a list of tests.
type TestList struct {
	Repository string    `json:"repository,omitempty"` // "" for several
	Tests      []TestRow `json:"tests"`
	Total      int       `json:"total"` // that fit, whatever Limit and After say
	Count      TestCount `json:"count"` // of all, whatever is asked for
	Ask        TestsAsk  `json:"ask"`
	// Each is what there is in each repository, of a list of several.
	Each []TestCount `json:"each,omitempty"`
}

// TestCount counts the tests of a repository by state.
type TestCount struct {
	Repository  string `json:"repository,omitempty"`
	All         int    `json:"all"`
	Healthy     int    `json:"healthy"`
	Suspected   int    `json:"suspected"`
	Quarantined int    `json:"quarantined"`
	Broken      int    `json:"broken"`
}

// Of is how many are in a state; "" is all, "ill" all but the healthy.
func (c TestCount) Of(state string) int {
	switch state {
	case "":
		return c.All
	case "ill":
		return c.All - c.Healthy
	case string(record.TestSuspected):
		return c.Suspected
	case string(record.TestQuarantined):
		return c.Quarantined
	case string(record.TestBroken):
		return c.Broken
	}
	return c.Healthy
}

// List lists tests of repositories. Of several only those that have tests count.
func (h *Histories) List(ctx context.Context, repositories []string, ask TestsAsk) (TestList, error) {
	if ask.Limit <= 0 {
		ask.Limit = usualTests
	}
	ask.Limit, ask.After, ask.Order = min(ask.Limit, mostTests), max(ask.After, 0), cmp.Or(ask.Order, Orders()[0])
	list := TestList{Tests: []TestRow{}, Ask: ask}
	q := suite.Query{States: ask.states(), Text: ask.Text, Order: ask.Order, Limit: ask.Limit, After: ask.After}
	if len(repositories) != 1 { // the first of all are among the first of each
		q.Limit, q.After = min(ask.After+ask.Limit, 10*mostTests), 0
	}
	var rows []suite.Row
	for _, q.Repository = range repositories {
		count, err := h.count(ctx, q.Repository)
		if err != nil {
			return list, err
		}
		if count.All == 0 {
			continue
		}
		some, total, err := h.Ledger.Tests(ctx, q)
		if err != nil {
			return list, fmt.Errorf("list tests of %s: %w", q.Repository, err)
		}
		rows, list.Total, list.Each = append(rows, some...), list.Total+total, append(list.Each, count)
		list.Count.add(count)
	}
	if len(repositories) == 1 {
		list.Repository, list.Each = repositories[0], nil
	} else {
		slices.SortStableFunc(rows, testOrder(ask.Order))
		rows = rows[min(ask.After, len(rows)):]
		rows = rows[:min(ask.Limit, len(rows))]
	}
	for i := range rows {
		list.Tests = append(list.Tests, testRow(&rows[i]))
	}
	return list, h.strips(ctx, list.Tests)
}

func (c *TestCount) add(o TestCount) {
	c.All, c.Healthy, c.Suspected, c.Quarantined, c.Broken = c.All+o.All, c.Healthy+o.Healthy, c.Suspected+o.Suspected, c.Quarantined+o.Quarantined, c.Broken+o.Broken
}

// count counts the tests of a repository.
func (h *Histories) count(ctx context.Context, repository string) (TestCount, error) {
	return h.counts.get(repository, time.Now(), countFor, func() (TestCount, error) { return h.counted(ctx, repository) })
}

func (h *Histories) counted(ctx context.Context, repository string) (c TestCount, err error) {
	c.Repository = repository
	for n, states := range map[*int][]record.TestState{
		&c.All: nil, &c.Suspected: {record.TestSuspected}, &c.Quarantined: {record.TestQuarantined}, &c.Broken: {record.TestBroken},
	} {
		if _, *n, err = h.Ledger.Tests(ctx, suite.Query{Repository: repository, States: states, Limit: 1}); err != nil {
			return c, fmt.Errorf("count tests of %s: %w", repository, err)
		}
	}
	c.Healthy = max(0, c.All-c.Suspected-c.Quarantined-c.Broken)
	return c, nil
}

// testOrder compares tests as the ledger orders them.
func testOrder(order string) func(a, b suite.Row) int {
	first := func(a, b suite.Row) int { return 0 }
	switch order {
	case "rate":
		first = func(a, b suite.Row) int { return cmp.Compare(b.Rate, a.Rate) }
	case "lost":
		first = func(a, b suite.Row) int { return cmp.Compare(b.Lost, a.Lost) }
	case "seconds":
		first = func(a, b suite.Row) int { return cmp.Compare(b.Seconds, a.Seconds) }
	case "failed":
		first = func(a, b suite.Row) int { return b.Failed.Compare(a.Failed) }
	}
	return func(a, b suite.Row) int {
		return cmp.Or(first(a, b), strings.Compare(a.Title, b.Title), strings.Compare(a.Repository, b.Repository), strings.Compare(a.Key, b.Key), strings.Compare(a.Variant, b.Variant))
	}
}

// strips puts the newest results beside tests. One question is asked for all of a
// repository: a test that runs seldom has a shorter strip.
func (h *Histories) strips(ctx context.Context, tests []TestRow) error {
	if len(tests) == 0 {
		return nil
	}
	ids := make([]suite.ID, len(tests))
	for i := range tests {
		ids[i] = tests[i].ID()
	}
	grid, err := h.Ledger.Grid(ctx, ids, "", stripRuns)
	if err != nil {
		return fmt.Errorf("read the newest results: %w", err)
	}
	for i, results := range grid {
		for j := range results[:min(len(results), StripResults)] {
			tests[i].Strip = append(tests[i].Strip, cellOf(&results[j]))
		}
	}
	ill := map[suite.ID][]TestCell{}
	for i := range tests {
		if t := &tests[i]; t.State != record.TestHealthy || t.Flakes > 0 {
			ill[t.ID()] = t.Strip
		}
	}
	return h.mute(ctx, ill)
}

// GridAsk says which heat map is asked for.
type GridAsk struct {
	Branch string `json:"branch,omitempty"` // "" for all
	Runs   int    `json:"runs,omitempty"`   // columns, at most
	Tests  int    `json:"tests,omitempty"`  // rows, at most
	Green  bool   `json:"green,omitempty"`  // with those that did not fail in any of the runs
}

// TestGrid is a heat map: tests × runs.
type TestGrid struct {
	Repository string     `json:"repository"`
	Runs       []GridRun  `json:"runs"`  // columns, the newest first
	Tests      []GridTest `json:"tests"` // rows, the worst first
	// Groups are rows that fail together: [GridTest].Group counts them from 1.
	Groups []GridGroup `json:"groups,omitempty"`
	Green  int         `json:"green"` // of those looked at, left out because nothing failed
	Ask    GridAsk     `json:"ask"`
}

// GridRun is a column of a heat map.
type GridRun struct {
	Run    string    `json:"run"`
	Commit string    `json:"commit,omitempty"`
	Branch string    `json:"branch,omitempty"`
	Time   time.Time `json:"time"`
	Bad    int       `json:"bad"` // of the rows shown
	Storm  bool      `json:"storm,omitempty"`
}

// GridTest is a row of a heat map.
type GridTest struct {
	TestRow
	Cells []TestCell `json:"cells"` // one a column; the worst, where several jobs ran the test
	Bad   int        `json:"bad"`
	Group int        `json:"group,omitempty"` // 0: none
}

// Grid is the heat map of a repository: the tests that fail most by chance and those that
// failed last, in its newest runs.
func (h *Histories) Grid(ctx context.Context, repository string, ask GridAsk) (TestGrid, error) {
	ask.Runs, ask.Tests = orUsual(ask.Runs, usualRuns, mostRuns), orUsual(ask.Tests, usualGrid, mostGrid)
	g := TestGrid{Repository: repository, Ask: ask, Runs: []GridRun{}, Tests: []GridTest{}}
	var ids []suite.ID
	rows := map[suite.ID]*suite.Row{}
	for _, order := range []string{"failed", "rate"} {
		list, _, err := h.Ledger.Tests(ctx, suite.Query{Repository: repository, Order: order, Limit: ask.Tests})
		if err != nil {
			return g, fmt.Errorf("list tests of %s: %w", repository, err)
		}
		for i := range list {
			if id := list[i].ID; rows[id] == nil {
				rows[id], ids = &list[i], append(ids, id)
			}
		}
	}
	grid, err := h.Ledger.Grid(ctx, ids, ask.Branch, ask.Runs)
	if err != nil {
		return g, fmt.Errorf("read the newest results of %s: %w", repository, err)
	}
	at := map[string]int{}
	for _, results := range grid {
		for i := range results {
			if r := &results[i]; at[r.Run] == 0 {
				g.Runs = append(g.Runs, GridRun{Run: r.Run, Commit: r.Commit, Branch: r.Branch, Time: r.Time})
				at[r.Run] = len(g.Runs)
			}
		}
	}
	slices.SortFunc(g.Runs, func(a, b GridRun) int {
		return cmp.Or(cmp.Compare(len(b.Run), len(a.Run)), strings.Compare(b.Run, a.Run))
	})
	g.Runs = g.Runs[:min(len(g.Runs), ask.Runs)]
	clear(at)
	for i := range g.Runs {
		at[g.Runs[i].Run] = i + 1
	}
	for i, results := range grid {
		row := GridTest{TestRow: testRow(rows[ids[i]]), Cells: make([]TestCell, len(g.Runs))}
		seen := false
		for j := range results {
			c := at[results[j].Run] - 1
			if c < 0 {
				continue
			}
			seen = true
			if cell := cellOf(&results[j]); worse(cell.Outcome) > worse(row.Cells[c].Outcome) {
				row.Cells[c] = cell
			}
		}
		for j := range row.Cells {
			if row.Cells[j].Bad() {
				row.Bad++
			}
		}
		switch {
		case !seen:
		case row.Bad == 0 && !ask.Green:
			g.Green++
		default:
			g.Tests = append(g.Tests, row)
		}
	}
	slices.SortStableFunc(g.Tests, func(a, b GridTest) int {
		return cmp.Or(cmp.Compare(b.Bad, a.Bad), cmp.Compare(b.Rate, a.Rate), strings.Compare(a.Title, b.Title))
	})
	g.Tests = g.Tests[:min(len(g.Tests), ask.Tests)]
	ill := map[suite.ID][]TestCell{}
	for i := range g.Tests {
		if t := &g.Tests[i]; t.Flakes > 0 || t.State == record.TestQuarantined {
			ill[t.ID()] = t.Cells
		}
	}
	if err := h.mute(ctx, ill); err != nil {
		return g, err
	}
	g.group()
	for i := range g.Tests {
		for j := range g.Tests[i].Cells {
			if c := &g.Tests[i].Cells[j]; c.Bad() {
				g.Runs[j].Bad++
				g.Runs[j].Storm = g.Runs[j].Storm || c.Storm
			}
		}
	}
	return g, nil
}

func orUsual(n, usual, most int) int {
	if n <= 0 {
		return usual
	}
	return min(n, most)
}

// worse orders outcomes: where several jobs ran a test, the worst is shown.
func worse(outcome string) int {
	return slices.Index([]string{"", "skipped", "passed", "flaked", "failed", "errored"}, outcome)
}

// TestPyramid is what a repository's tests are by what they were seen to do, and where
// their time goes.
type TestPyramid struct {
	Repository  string      `json:"repository"`
	Shape       string      `json:"shape"` // in words: "a pyramid: many small tests, few large ones"
	Tests       int         `json:"tests"`
	Seconds     float64     `json:"seconds"` // to run each once
	Lost        float64     `json:"lost"`    // seconds lost to flakes in 30 days, of those in Ranks
	Chance      float64     `json:"chance"`  // failures by chance to expect when each is run once
	Layers      []TestLayer `json:"layers"`  // large, medium, small, unknown
	Leaders     []TestRow   `json:"leaders"` // by time lost
	Ranks       []TestRank  `json:"ranks"`   // the same, where tests that fail together count once
	Slowest     []TestRow   `json:"slowest"`
	Over        []TestRow   `json:"over"`           // their budgets, by how many times
	NeverFailed int         `json:"never_failed"`   // in 200 runs or more
	Idle        []TestRow   `json:"idle"`           // of them, the slowest
	NeverRan    []TestRow   `json:"never_ran"`      // skipped whenever they came
	More        bool        `json:"more,omitempty"` // there are more tests than were counted
}

// TestLayer is what the tests of one size are together.
type TestLayer struct {
	Size    string  `json:"size"`
	Tests   int     `json:"tests"`
	Seconds float64 `json:"seconds"`
	Chance  float64 `json:"chance"`
	Over    int     `json:"over"`             // tests that take longer than their budget
	Budget  float64 `json:"budget,omitempty"` // seconds of a test
}

// budgets are how long tests of a repository may take, as its base branch says.
func (h *Histories) budgets(ctx context.Context, repository string) (suite.Budgets, error) {
	var kept classKept
	was, err := h.Record.Register(ctx, classKind, repository)
	if err != nil {
		return kept.Budgets, fmt.Errorf("read the budgets of %s: %w", repository, err)
	}
	if was.Version > 0 && json.Unmarshal(was.Body, &kept) != nil {
		return suite.Budgets{}, nil // a newer Fairlead wrote it
	}
	return kept.Budgets, nil
}

// Pyramid folds all tests of a repository. What they may take is what the project says, or
// else usual.
func (h *Histories) Pyramid(ctx context.Context, repository string) (TestPyramid, error) {
	budgets, err := h.budgets(ctx, repository)
	if err != nil {
		return TestPyramid{}, err
	}
	p, err := h.pyramids.get(fmt.Sprintf("%v %s", budgets, repository), time.Now(), pyramidFor, func() (TestPyramid, error) { return h.stack(ctx, repository, budgets) })
	for _, list := range []*[]TestRow{&p.Leaders, &p.Slowest, &p.Over, &p.Idle, &p.NeverRan} {
		*list = slices.Clone(*list) // what is remembered is nobody's to change
	}
	p.Ranks = slices.Clone(p.Ranks)
	for i := range p.Ranks {
		p.Ranks[i].Tests = slices.Clone(p.Ranks[i].Tests)
	}
	return p, err
}

func (h *Histories) stack(ctx context.Context, repository string, budgets suite.Budgets) (TestPyramid, error) {
	p := TestPyramid{Repository: repository}
	var failed error
	read := 0
	stack := suite.Stack(func(yield func(suite.Row) bool) {
		for {
			rows, total, err := h.Ledger.Tests(ctx, suite.Query{Repository: repository, Order: "title", Limit: stackPage, After: read})
			if failed = err; err != nil {
				return
			}
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
			if read += len(rows); len(rows) == 0 || read >= total {
				return
			}
			if p.More = read >= mostStacked; p.More {
				return
			}
		}
	}, budgets, mostWorst)
	if failed != nil {
		return p, fmt.Errorf("read the tests of %s: %w", repository, failed)
	}
	p.Tests, p.Shape, p.NeverFailed = read, stack.Shape(), stack.NeverFailed
	for _, size := range []suite.Size{suite.Large, suite.Medium, suite.Small, suite.SizeUnknown} {
		l := stack.Layers[size]
		p.Seconds, p.Chance = p.Seconds+l.Seconds, p.Chance+l.Chance
		p.Layers = append(p.Layers, TestLayer{Size: size.String(), Tests: l.Tests, Seconds: l.Seconds, Chance: l.Chance, Over: l.Over, Budget: budgets.Of(size)})
	}
	leaders, _, err := h.Ledger.Tests(ctx, suite.Query{Repository: repository, Order: "lost", Limit: mostRanked})
	if err != nil {
		return p, fmt.Errorf("read the tests of %s: %w", repository, err)
	}
	leaders = slices.DeleteFunc(leaders, func(r suite.Row) bool { return r.Lost <= 0 })
	if p.Ranks, err = h.ranks(ctx, leaders); err != nil {
		return p, err
	}
	p.Ranks, leaders = p.Ranks[:min(len(p.Ranks), mostWorst)], leaders[:min(len(leaders), mostWorst)]
	for to, rows := range map[*[]TestRow][]suite.Row{&p.Leaders: leaders, &p.Slowest: stack.Slowest, &p.Over: stack.Over, &p.Idle: stack.Idle, &p.NeverRan: stack.NeverRan} {
		*to = make([]TestRow, 0, len(rows))
		for i := range rows {
			*to = append(*to, testRow(&rows[i]))
		}
	}
	for i := range p.Ranks {
		p.Lost += p.Ranks[i].Lost
	}
	return p, h.strips(ctx, p.Leaders)
}

// Find finds tests by their key, or by their title or the last part of it, or else all
// that have the name in their title; in all variants unless one is named.
func (h *Histories) Find(ctx context.Context, repository, name, variant string) ([]TestRow, error) {
	q := suite.Query{Repository: repository, Text: name, Order: "title", Limit: mostTests}
	key := len(name) == 16 && strings.Trim(name, "0123456789abcdef") == ""
	if key { // the ledger knows one only together with its variant
		q.Text, q.Limit = "", stackPage
	}
	var all, exact []TestRow
	for {
		rows, total, err := h.Ledger.Tests(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("look for test %s: %w", name, err)
		}
		for i := range rows {
			r := testRow(&rows[i])
			switch {
			case variant != "" && r.Variant != variant:
			case r.Key == name, r.Title == name, strings.HasSuffix(r.Title, " › "+name):
				exact = append(exact, r)
			case !key:
				all = append(all, r)
			}
		}
		if q.After += len(rows); len(rows) == 0 || q.After >= min(total, mostStacked) {
			break
		}
	}
	if len(exact) > 0 {
		return exact, nil
	}
	return all[:min(len(all), mostTests)], nil
}
