package insight

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// How much of one test is told.
const (
	storyResults = 1000 // its newest results, from which all is made
	storyCells   = 200  // of them, that are shown one by one
	storyDays    = 30
	storyFaults  = 8 // ways of failing
	faultRuns    = 5 // runs named for each of them

	// maxScanned is how many results of a report are looked through for one test, and
	// maxScans how many reports.
	maxScanned, maxScans = 200_000, 3
	// maxJudged is how many changes of states are looked through, the newest first, and
	// maxChanges how many of one test are told.
	maxJudged, maxChanges = 5_000, 50
	// maxWatched is how many inputs an observation has at most to be compared with
	// another one, maxBeside how many others it is held against.
	maxWatched, maxBeside = 100_000, 4
	// maxRunEvents is how many events of a run are looked through.
	maxRunEvents = 5_000
	// maxAhead is how many runs are looked ahead.
	maxAhead = 10_000
	// maxTold is the length of a message, a stack or an output, in bytes.
	maxTold = 8 << 10
)

// TestStory is all that is known of one test in one variant.
type TestStory struct {
	TestRow
	Sentence string         `json:"sentence"` // the headline
	Since    time.Time      `json:"since,omitzero"`
	Decision TestDecision   `json:"decision"`
	History  []TestCell     `json:"history"` // newest first
	Days     []TestDay      `json:"days"`    // the last 30, oldest first
	Evidence []TestEvidence `json:"evidence"`
	Cause    *TestCauses    `json:"cause,omitempty"` // nil when it never failed by chance
	Changes  []TestChange   `json:"changes"`         // of its state, newest first
	Faults   []TestFault    `json:"faults"`          // ways in which it failed, newest first
	// The most days that a person may order for a quarantine, and those that it lasts
	// when none are said.
	MaxDays   int `json:"max_days"`
	UsualDays int `json:"usual_days"`
}

// TestDecision says how sure the verdict on a test's rate is.
type TestDecision struct {
	Threshold float64 `json:"threshold"` // the rate above which it is to be quarantined
	Above     float64 `json:"above"`     // how probable it is that the rate is above that
	// Needs is about how many more runs it takes to be sure, 0 when it is, -1 when it is
	// more than anybody would wait for.
	Needs int `json:"needs"`
	// Results is on how many results the rate rests: old ones count less, and so do rows
	// of like ones.
	Results  float64 `json:"results"`
	Burst    float64 `json:"burst"`              // correlation of an outcome with the one before it
	Text     string  `json:"text"`               // a sentence
	Obstacle string  `json:"obstacle,omitempty"` // why a suspected test is not in quarantine
}

// TestDay sums up a day of a test, in UTC.
type TestDay struct {
	Day     string `json:"day"` // 2006-01-02
	Passed  int    `json:"passed"`
	Flaked  int    `json:"flaked"` // failed, and passed when it was tried again
	Failed  int    `json:"failed"` // and counted
	Muted   int    `json:"muted"`  // failed while it was in quarantine
	Skipped int    `json:"skipped"`
}

// All is how many results the day has.
func (d TestDay) All() int { return d.Passed + d.Flaked + d.Failed + d.Muted + d.Skipped }

// TestEvidence is a failure that is known to be chance.
type TestEvidence struct {
	Kind  string    `json:"kind"` // contradiction, retry, unreachable
	Run   string    `json:"run"`  // that failed
	Other string    `json:"other,omitempty"`
	Time  time.Time `json:"time"`
	Text  string    `json:"text"`
}

// TestCauses is what was different when a test failed by chance.
type TestCauses struct {
	Failed string      `json:"failed,omitempty"` // the runs that were compared
	Passed string      `json:"passed,omitempty"`
	Causes []TestCause `json:"causes,omitempty"` // the likeliest first
	Why    string      `json:"why,omitempty"`    // there are none
}

// TestCause is something that was different.
type TestCause struct {
	Kind     string   `json:"kind"`
	Weight   float64  `json:"weight"` // how much it says, 0 to 1; no probability
	Text     string   `json:"text"`
	Evidence []string `json:"evidence,omitempty"`
	More     int      `json:"more,omitempty"`
}

// TestChange is a change of a test's state.
type TestChange struct {
	Time     time.Time        `json:"time"`
	From     record.TestState `json:"from"`
	To       record.TestState `json:"to"`
	Why      string           `json:"why"`
	By       string           `json:"by,omitempty"` // the person; "" for Fairlead
	Owner    string           `json:"owner,omitempty"`
	Until    time.Time        `json:"until,omitzero"`
	Run      string           `json:"run,omitempty"`
	Seq      int64            `json:"seq"`
	Evidence []string         `json:"evidence,omitempty"`
}

// TestFault is a way in which a test failed.
type TestFault struct {
	Fingerprint string    `json:"fingerprint"` // 16 hexadecimal digits
	Count       int       `json:"count"`       // of the results looked at
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Runs        []string  `json:"runs"` // the newest
	Message     string    `json:"message,omitempty"`
	Type        string    `json:"type,omitempty"`
	Stack       string    `json:"stack,omitempty"`
	Output      string    `json:"output,omitempty"`

	newest suite.Result
	print  uint64
}

// Test is the story of a test. The error is a [store.ErrNotFound] when nobody has heard
// of it.
func (h *Histories) Test(ctx context.Context, id suite.ID) (*TestStory, error) {
	rows, _, err := h.Ledger.Tests(ctx, suite.Query{Repository: id.Repository, IDs: []suite.ID{id}})
	if err == nil && len(rows) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("test %s of %s: %w", id.Key, id.Repository, err)
	}
	known, err := h.Ledger.Known(ctx, []suite.ID{id})
	if err != nil {
		return nil, fmt.Errorf("read what is known of test %s: %w", id.Key, err)
	}
	var test suite.Test
	if state := known[id]; len(state) > 0 {
		if err := test.UnmarshalBinary(state); err != nil {
			return nil, fmt.Errorf("read what is known of test %s: %w", id.Key, err)
		}
	}
	results, err := h.Ledger.Results(ctx, id, "", storyResults)
	if err != nil {
		return nil, fmt.Errorf("read the results of test %s: %w", id.Key, err)
	}
	s := &TestStory{TestRow: testRow(&rows[0]), Since: test.Since(), History: []TestCell{}, Evidence: []TestEvidence{}, Faults: []TestFault{}}
	for _, e := range slices.Backward(test.Evidence()) {
		s.Evidence = append(s.Evidence, evidenceOf(e))
	}
	changes, err := h.changes(ctx, []suite.ID{id}, s.First)
	if err != nil {
		return nil, err
	}
	s.Changes = changes[id]
	for i := range results[:min(len(results), storyCells)] {
		cell := cellOf(&results[i])
		cell.Muted = cell.Bad() && mutedAt(s.Changes, cell.Time)
		s.History = append(s.History, cell)
	}
	s.Strip = s.History[:min(len(s.History), StripResults)]
	s.Days = testDays(results, s.Changes, h.now())
	if err := h.decide(ctx, s, &test, results); err != nil {
		return nil, err
	}
	if s.Faults, err = h.faults(ctx, id, results); err != nil {
		return nil, err
	}
	if s.Cause, err = h.cause(ctx, id, &test, results); err != nil {
		return nil, err
	}
	s.Sentence = Sentence(&s.TestRow, h.now())
	return s, nil
}

func evidenceOf(e suite.Evidence) TestEvidence {
	t := TestEvidence{Run: strconv.FormatUint(e.Run, 10), Time: e.Time, Text: e.String()}
	switch e.Kind {
	case suite.Contradiction:
		t.Kind, t.Other = "contradiction", strconv.FormatUint(e.Other, 10)
	case suite.Retry:
		t.Kind = "retry"
	default:
		t.Kind = "unreachable"
	}
	return t
}

// decide fills in how sure the verdict is.
func (h *Histories) decide(ctx context.Context, s *TestStory, test *suite.Test, results []suite.Result) error {
	prior, err := h.prior(ctx, s.Repository)
	if err != nil {
		return err
	}
	count, err := h.count(ctx, s.Repository)
	if err != nil {
		return err
	}
	policy := suite.Policy{}
	if len(results) > 0 {
		if root, err := h.root(ctx, results[0].Run); err != nil {
			return err
		} else if root != "" {
			policy, _ = policyOf(root)
		}
	}
	policy = policy.Complete()
	s.MaxDays, s.UsualDays = policy.MaxDays, policy.Days
	e := prior.Of(test)
	ward := suite.Ward{Tests: count.All, Quarantined: count.Quarantined, Owner: s.Owner}
	d := &s.Decision
	d.Threshold, d.Above, d.Results, d.Burst = policy.Rate, e.Above(policy.Rate), e.Results, e.Burst
	d.Obstacle = suite.Obstacle(test, e, ward, policy)
	d.Needs = runsNeeded(prior, e, policy)
	switch limit := RateText(policy.Rate); {
	case s.Runs == 0:
		d.Text = "It has not run yet, so nothing is known of its rate"
	case d.Needs < 0:
		d.Text = fmt.Sprintf("Its rate is so near %s that more than %d further runs would not decide on which side it is", limit, maxAhead)
	case d.Needs > 0:
		d.Text = fmt.Sprintf("It needs about %d more runs to decide whether its rate is above %s", d.Needs, limit)
	case d.Above > .5:
		d.Text = fmt.Sprintf("With a probability of %s its rate is above %s", sureText(d.Above), limit)
	default:
		d.Text = fmt.Sprintf("With a probability of %s its rate is below %s", sureText(1-d.Above), limit)
	}
	return nil
}

// sureText is a probability, which is never 1.
func sureText(p float64) string {
	if p > .99 {
		return "more than 99 %"
	}
	return RateText(p)
}

// prior is what is believed of a repository's tests before anything is seen of one.
func (h *Histories) prior(ctx context.Context, repository string) (suite.Prior, error) {
	reg, err := h.Record.Register(ctx, priorKind, repository)
	if err != nil {
		return suite.Prior{}, fmt.Errorf("read the prior of %s: %w", repository, err)
	}
	var p suite.Prior
	if reg.Version == 0 || json.Unmarshal(reg.Body, &p) != nil {
		return suite.Usual(), nil
	}
	return p, nil
}

// runsNeeded is about how many more runs, going on as it did, it takes until it is as sure as
// the policy wants that the rate is above its threshold, or that it is not.
func runsNeeded(prior suite.Prior, e suite.Estimate, p suite.Policy) int {
	whole := (1 + e.Burst) / (1 - e.Burst) // results for each that counts
	decided := func(more int) bool {
		n, k := e.Results*whole+float64(more), e.Flakes*whole+float64(more)*e.Rate
		later := prior.Given(n, min(k, n), e.Burst)
		above := later.Above(p.Rate)
		return above >= p.Sure || above < .05
	}
	if above := e.Above(p.Rate); above >= p.Sure || above < .05 {
		return 0
	}
	high := 1
	for !decided(high) {
		if high *= 2; high > maxAhead {
			return -1
		}
	}
	low := high / 2
	for low+1 < high {
		if mid := (low + high) / 2; decided(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// root is the directory of the tree that a run was of; "" when it is not known.
func (h *Histories) root(ctx context.Context, run string) (string, error) {
	events, err := h.Record.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"run.planned"}, Limit: 1})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("read run %s: %w", run, err)
	}
	for _, e := range events {
		if b, ok := e.Body.(*record.RunPlanned); ok {
			return b.Root, nil
		}
	}
	return "", nil
}

// changes are those of the states of tests, newest first, as far back as a time.
func (h *Histories) changes(ctx context.Context, ids []suite.ID, since time.Time) (map[suite.ID][]TestChange, error) {
	lists := make(map[suite.ID][]TestChange, len(ids))
	for _, id := range ids {
		lists[id] = []TestChange{}
	}
	f := store.EventFilter{Kinds: []record.Kind{"test.judged"}, Limit: 1000}
	for range maxJudged / f.Limit {
		events, err := h.Record.Events(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("read changes of states: %w", err)
		}
		for _, e := range events {
			j, ok := e.Body.(*record.TestJudged)
			if !ok {
				continue
			}
			id := suite.ID{Repository: j.Repository, Key: j.Key, Variant: j.Variant}
			if list, asked := lists[id]; asked && len(list) < maxChanges {
				lists[id] = append(list, TestChange{Time: e.Time, From: j.From, To: j.To, Why: j.Why, By: j.By, Owner: j.Owner, Until: j.Until, Run: e.Run, Seq: e.Seq, Evidence: j.Evidence})
			}
		}
		if len(events) < f.Limit || events[len(events)-1].Time.Before(since) {
			break
		}
		f.Before = events[len(events)-1].Seq
	}
	return lists, nil
}

// mutedAt reports whether a test was in quarantine at a time, by the changes of its state.
func mutedAt(changes []TestChange, at time.Time) bool {
	for i := range changes { // the newest first
		if c := &changes[i]; !c.Time.After(at) {
			return c.To == record.TestQuarantined && at.Before(c.Until)
		}
	}
	return false
}

// mute says of the cells of tests which failed in quarantine.
func (h *Histories) mute(ctx context.Context, cells map[suite.ID][]TestCell) error {
	var ids []suite.ID
	since := h.now()
	for id, list := range cells {
		ids = append(ids, id)
		for i := range list {
			if list[i].Bad() && list[i].Time.Before(since) {
				since = list[i].Time
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	changes, err := h.changes(ctx, ids, since)
	if err != nil {
		return err
	}
	for id, list := range cells {
		for i := range list {
			list[i].Muted = list[i].Bad() && mutedAt(changes[id], list[i].Time)
		}
	}
	return nil
}

// testDays sums up the results of the last days.
func testDays(results []suite.Result, changes []TestChange, now time.Time) []TestDay {
	list := make([]TestDay, storyDays)
	at := map[string]*TestDay{}
	for i := range list {
		list[i].Day = now.AddDate(0, 0, i+1-storyDays).Format(time.DateOnly)
		at[list[i].Day] = &list[i]
	}
	for i := range results {
		r := &results[i]
		d := at[r.Time.UTC().Format(time.DateOnly)]
		switch {
		case d == nil:
		case r.Outcome == suite.Passed:
			d.Passed++
		case r.Outcome == suite.Skipped:
			d.Skipped++
		case r.Outcome == suite.Flaked:
			d.Flaked++
		case mutedAt(changes, r.Time):
			d.Muted++
		default:
			d.Failed++
		}
	}
	return list
}

// faults groups the failures of a test by their fingerprints, and finds for each what its
// newest one said.
func (h *Histories) faults(ctx context.Context, id suite.ID, results []suite.Result) ([]TestFault, error) {
	list := []TestFault{}
	for i := range results { // the newest first
		r := &results[i]
		if r.Fault == 0 && !r.Outcome.Bad() || r.Outcome == suite.Skipped || r.Outcome == suite.Passed {
			continue
		}
		k := slices.IndexFunc(list, func(f TestFault) bool { return f.print == r.Fault })
		if k < 0 {
			k = len(list)
			list = append(list, TestFault{Fingerprint: fmt.Sprintf("%016x", r.Fault), Last: r.Time, Runs: []string{}, newest: *r, print: r.Fault})
		}
		f := &list[k]
		f.Count++
		f.First = r.Time
		if len(f.Runs) < faultRuns && !slices.Contains(f.Runs, r.Run) {
			f.Runs = append(f.Runs, r.Run)
		}
	}
	list = list[:min(len(list), storyFaults)]
	scans := maxScans
	for i := range list {
		if err := h.words(ctx, id, &list[i], &scans); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// words finds what a test said when it failed: among the failures that an event holds,
// else in the blob of all results.
func (h *Histories) words(ctx context.Context, id suite.ID, f *TestFault, scans *int) error {
	reports, err := h.reports(ctx, id, f.newest.Run, f.newest.Job)
	if err != nil {
		return err
	}
	var near *record.TestResult
	look := func(r *record.TestResult) (found bool) {
		if r.Key() != id.Key || r.Status != record.TestFailed && r.Status != record.TestError {
			return false
		}
		if near == nil {
			c := *r
			near = &c
		}
		if fault.Fingerprint(r.Type, r.Message, r.Stack, nil) == f.print {
			near = r
			return true
		}
		return false
	}
	for _, e := range reports {
		b := e.Body.(*record.TestsReported)
		for i := range b.Bad {
			if look(&b.Bad[i]) {
				f.say(near)
				return nil
			}
		}
	}
	for _, e := range reports {
		if b := e.Body.(*record.TestsReported); b.Results == "" || *scans == 0 || near != nil {
			break
		} else {
			*scans--
			if err := h.scan(ctx, b.Results, look); err != nil {
				return err
			}
		}
	}
	if near != nil {
		f.say(near)
	}
	return nil
}

func (f *TestFault) say(r *record.TestResult) {
	f.Type, f.Message, f.Stack, f.Output = told(r.Type), told(r.Message), told(r.Stack), told(r.Output)
}

// told is the beginning of a text, of whole characters.
func told(s string) string {
	if len(s) > maxTold {
		s = s[:maxTold] + "…"
	}
	return string(bytes.ToValidUTF8([]byte(s), []byte("�")))
}

// errFound ends the reading of a report.
var errFound = errors.New("enough")

// scan reads the results of a report until look has found what it looks for. A report
// that is gone, or damaged, says nothing.
func (h *Histories) scan(ctx context.Context, digest string, look func(*record.TestResult) bool) error {
	r, err := h.open(ctx, digest)
	if r == nil {
		return err
	}
	defer r.Close()
	n := 0
	_ = harvest.ReadKept(r, func(t record.TestResult) error {
		if n++; look(&t) || n == maxScanned {
			return errFound
		}
		return nil
	})
	return ctx.Err()
}

// open opens a blob; nil when it is gone.
func (h *Histories) open(ctx context.Context, digest string) (io.ReadCloser, error) {
	if h.Blobs == nil {
		return nil, nil
	}
	d, err := blob.Parse(digest)
	if err != nil {
		return nil, nil
	}
	r, err := h.Blobs.Open(ctx, d)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open what was kept: %w", err)
	}
	return r, nil
}

// reports are the reports of tests of a run's job in the variant of a test, oldest
// first.
func (h *Histories) reports(ctx context.Context, id suite.ID, run, job string) (list []record.Event, err error) {
	events, err := h.Record.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"tests.reported"}, Limit: maxRunEvents})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read the reports of run %s: %w", run, err)
	}
	for _, e := range slices.Backward(events) {
		if b, ok := e.Body.(*record.TestsReported); ok && e.Job == job && b.Variant == id.Variant && !b.Reused {
			list = append(list, e)
		}
	}
	return list, nil
}

// cause compares the newest failure by chance with the pass that contradicts it.
func (h *Histories) cause(ctx context.Context, id suite.ID, test *suite.Test, results []suite.Result) (*TestCauses, error) {
	evidence := test.Evidence()
	if len(evidence) == 0 {
		return nil, nil
	}
	c := &TestCauses{Why: "none of its failures by chance can be compared with a pass on the same inputs: it passed when it was tried again in the same step, or they are too old"}
	for _, e := range slices.Backward(evidence) {
		if e.Kind != suite.Contradiction {
			continue
		}
		failed := resultOf(results, e.Run, true)
		passed := resultOf(results, e.Other, false)
		if failed == nil || passed == nil {
			continue
		}
		c.Failed, c.Passed, c.Why = failed.Run, passed.Run, ""
		after, beside, err := h.watched(ctx, id, failed)
		if err != nil {
			return nil, err
		}
		before, _, err := h.watched(ctx, id, passed)
		if err != nil {
			return nil, err
		}
		if after == nil || before == nil {
			c.Why = "one of the two was not watched, or what it did is not kept any more"
			return c, nil
		}
		for _, k := range suite.Causes(before, after, beside...) {
			c.Causes = append(c.Causes, TestCause{Kind: string(k.Kind), Weight: k.Weight, Text: k.Text, Evidence: k.Evidence, More: k.More})
		}
		if len(c.Causes) == 0 {
			c.Why = "the two did the same, as far as the system could see: what was different lies inside the process, as with threads that race or what another test left in memory"
		}
		return c, nil
	}
	return c, nil
}

// resultOf finds the result of a run that is a failure, or none.
func resultOf(results []suite.Result, run uint64, bad bool) *suite.Result {
	name := strconv.FormatUint(run, 10)
	for i := range results {
		if r := &results[i]; r.Run == name && r.Outcome != suite.Skipped && r.Outcome.Bad() == bad {
			return r
		}
	}
	return nil
}

// watched is what the step that ran a test was seen to do, and what the steps with tests
// before it did; nil when nobody watched, or it is not kept.
func (h *Histories) watched(ctx context.Context, id suite.ID, r *suite.Result) (*record.Observation, []suite.Process, error) {
	reports, err := h.reports(ctx, id, r.Run, r.Job)
	if err != nil || len(reports) == 0 {
		return nil, nil, err
	}
	step := reports[0].Step
	if len(reports) > 1 { // which of them told of the test?
		for _, e := range reports {
			held := false
			err := h.scan(ctx, e.Body.(*record.TestsReported).Results, func(t *record.TestResult) bool {
				held = held || t.Key() == id.Key
				return held
			})
			if err != nil {
				return nil, nil, err
			}
			if held {
				step = e.Step
				break
			}
		}
	}
	events, err := h.Record.Events(ctx, store.EventFilter{Run: r.Run, Kinds: []record.Kind{"step.finished"}, Limit: maxRunEvents})
	if err != nil {
		return nil, nil, fmt.Errorf("read the steps of run %s: %w", r.Run, err)
	}
	var own *record.Observation
	var beside []suite.Process
	for _, e := range events { // the newest first
		b, ok := e.Body.(*record.StepFinished)
		if !ok || b.Watched == nil || b.Watched.Kept == "" || b.Watched.Inputs+b.Watched.Outputs > maxWatched {
			continue
		}
		switch mine := e.Job == r.Job && e.Step == step; {
		case mine:
			if own, err = h.observation(ctx, b.Watched.Kept); err != nil || own == nil {
				return nil, nil, err
			}
		case own != nil && len(beside) < maxBeside:
			o, err := h.observation(ctx, b.Watched.Kept)
			if err != nil {
				return nil, nil, err
			}
			if o != nil {
				beside = append(beside, suite.Process{Name: e.Job + "/" + e.Step, Observation: o})
			}
		}
	}
	slices.Reverse(beside)
	return own, beside, nil
}

// observation reads what was kept of one; nil when it is gone or damaged.
func (h *Histories) observation(ctx context.Context, digest string) (*record.Observation, error) {
	r, err := h.open(ctx, digest)
	if r == nil {
		return nil, err
	}
	defer r.Close()
	o, err := harvest.ReadObservation(r)
	if err != nil {
		return nil, ctx.Err()
	}
	return o, nil
}

// Sentence is the headline of a test: "Fails by chance in 3.1 % of runs (1.2 % to 6.5 %);
// quarantined until 7 December, owner @team/pay".
func Sentence(r *TestRow, now time.Time) string {
	chance := fmt.Sprintf("Fails by chance in %s of runs (%s to %s)", RateText(r.Rate), RateText(r.Low), RateText(r.High))
	switch r.State {
	case record.TestQuarantined:
		s := chance + "; quarantined"
		if !r.Until.IsZero() {
			s += " until " + DayText(r.Until, now)
		}
		if r.Owner != "" {
			s += ", owner " + r.Owner
		}
		return s
	case record.TestBroken:
		return "Broken: " + cmp.Or(r.Why, "it fails always")
	case record.TestSuspected:
		return chance + "; suspected, and its failures count"
	}
	switch {
	case r.Runs == 0:
		return "Has never run: it was skipped whenever it came"
	case r.Failures == 0:
		return fmt.Sprintf("Healthy: it passed in all of its %s", counted(r.Runs, "run"))
	case r.Flakes == 0:
		return fmt.Sprintf("Healthy: it failed in %d of its %s, and none is known to be chance", r.Failures, counted(r.Runs, "run"))
	}
	return "Healthy again: " + cmp.Or(r.Why, "f"+chance[1:])
}

func counted(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// DayText is a day for people, with its year when it is another one.
func DayText(t, now time.Time) string {
	if t.Year() != now.Year() {
		return t.Format("2 January 2006")
	}
	return t.Format("2 January")
}

// RateText writes a rate as people read it, to two digits: "3.1 %", "less than 0.01 %".
func RateText(x float64) string {
	p := x * 100
	switch {
	case !(p > 0):
		return "0 %"
	case p < .01:
		return "less than 0.01 %"
	case p >= 10:
		return fmt.Sprintf("%.0f %%", p)
	}
	digits := max(0, 1-int(math.Floor(math.Log10(p))))
	text := strconv.FormatFloat(p, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " %"
}
