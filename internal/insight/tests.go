package insight

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

const (
	suiteReader = "suite" // of the log: who learns of tests, and its lease
	wardKind    = "ward"  // by repository, variant and key: what a person decided of a test last
	priorKind   = "prior" // by repository: the suite.Prior of its tests
	classKind   = "class" // by repository: what else is known of all its tests

	// learnAtOnce is from how many results on what was learned is written down.
	learnAtOnce = 5_000
	// maxLearned is how many tests of one step are learned of.
	maxLearned = 500_000
	// priorTests is how many tests a prior is made from, priorLeast how many at
	// least, and priorEvery how often it is made anew.
	priorTests, priorLeast, priorEvery = 10_000, 50, 24 * time.Hour
	// flakePrice is what a flake costs, in seconds: of the machine that does it all
	// again, and of the person who looked.
	flakePrice = 15 * 60
	// maxReports is how many reports of a run are looked at for a storm.
	maxReports = 1000
	// maxMuted is how many tests in quarantine a run is told of.
	maxMuted = 10_000
)

// Store is what insight asks of the record.
type Store interface {
	store.Marks
	store.Registers
	store.Leases
}

// Runs is the record of runs, as readers of it want it.
type Runs interface {
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	// Run is what is known of a run.
	Run(ctx context.Context, id string) (*record.Run, error)
	// Watch waits until the record goes beyond seq, and returns the newest Seq.
	Watch(ctx context.Context, seq int64) (int64, error)
	// AfterKinds yields the events after seq that are of these kinds, in order.
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
}

// Tests learns what is known of tests from the record, and tells runs which of
// them are in quarantine. It is a reader of the log: for each report its results are
// read from their blob, cases and attempts become one result of each test, and what
// that teaches is written together with the reader's mark:
//
//	TestsReported ── blob ──► cases, attempts ──► suite.Result ──► Test.Add ──► Judge
//	StepFinished ── digest of its inputs ─┘                                      │
//	             one transaction: results, states, TestJudged, mark ◄────────────┘
//
// So each report is learned once, whoever dies when. Its fields are set once; its
// methods may be called by several goroutines and processes: one of them learns at
// a time, whichever holds the lease.
type Tests struct {
	Store  Store
	Runs   Runs
	Ledger suite.Ledger
	Blobs  blob.Store // of results
	// Log is told of what cannot be learned; nil: nobody is.
	Log func(doing string, err error)
}

// Muted are the tests of a repository that are in quarantine now.
func (t *Tests) Muted(ctx context.Context, repository string) ([]record.Mute, error) {
	rows, _, err := t.Ledger.Tests(ctx, suite.Query{Repository: repository, States: []record.TestState{record.TestQuarantined}, Limit: maxMuted})
	if err != nil {
		return nil, fmt.Errorf("look for tests in quarantine: %w", err)
	}
	now := time.Now()
	var muted []record.Mute
	for _, r := range rows {
		if r.Until.After(now) {
			muted = append(muted, record.Mute{Key: r.Key, Variant: r.Variant, Until: r.Until})
		}
	}
	return muted, nil
}

// reader is how the record is followed for tests.
func (t *Tests) reader() *reader {
	return &reader{lease: suiteReader, who: "who learns of tests", doing: "learn of tests", store: t.Store, runs: t.Runs, log: t.Log,
		learn: func(ctx context.Context, lease store.Lease) error { return t.learn(ctx, lease, time.Time{}) }}
}

// Glance learns for a moment. A failure to do so is nobody's: whoever learns next
// goes on.
func (t *Tests) Glance(ctx context.Context) {
	until := time.Now().Add(learnWithin)
	_ = t.reader().once(context.WithoutCancel(ctx), func(ctx context.Context, lease store.Lease) error { return t.learn(ctx, lease, until) })
}

// Learn learns what the record has to teach, to its newest event or until ctx ends.
// The error is a [store.HeldError] when somebody else is at it.
func (t *Tests) Learn(ctx context.Context) error {
	r := t.reader()
	return r.once(ctx, r.learn)
}

// Follow learns until ctx ends.
func (t *Tests) Follow(ctx context.Context) { t.reader().follow(ctx) }

func (t *Tests) complain(doing string, err error) { t.reader().complain(doing, err) }

// learn learns to the end of the record, or until then.
func (t *Tests) learn(ctx context.Context, lease store.Lease, until time.Time) error {
	newest, err := t.Runs.Watch(ctx, -1)
	if err != nil {
		return err
	}
	from, err := t.Store.Marked(ctx, suiteReader)
	if err != nil {
		return err
	}
	l := &lessons{Tests: t, seq: from, marked: from, pupils: map[suite.ID]*pupil{}, classes: map[string]*class{}, runs: map[string]*taught{}}
	var reports []record.Event // of one step, of which its end is not known yet
	for e, err := range t.Runs.AfterKinds(ctx, from, "tests.reported", "step.finished", "test.judged") {
		if e.Seq == 0 {
			return err
		}
		if e.Seq > newest {
			break
		}
		if err := lost(lease); err != nil {
			return err
		}
		if err != nil {
			t.complain(fmt.Sprintf("read event %d", e.Seq), err)
			continue
		}
		if len(reports) > 0 && !sameStep(reports[0], e) {
			if err := l.report(ctx, reports, nil); err != nil {
				return err
			}
			reports = nil
		}
		switch b := e.Body.(type) {
		case *record.TestsReported:
			if b.Results != "" && !b.Reused {
				reports = append(reports, e)
			}
		case *record.StepFinished:
			if len(reports) > 0 {
				if err := l.report(ctx, reports, b.Watched); err != nil {
					return err
				}
				reports = nil
			}
		case *record.TestJudged:
			if b.By != "" {
				if err := l.obey(ctx, e, b); err != nil {
					return err
				}
			}
		}
		if len(reports) == 0 {
			l.seq = e.Seq
		}
		late := !until.IsZero() && time.Now().After(until)
		if len(l.learned) >= learnAtOnce || late && len(reports) == 0 {
			if err := l.write(ctx); err != nil || late {
				return err
			}
		}
	}
	if len(reports) > 0 {
		if err := l.report(ctx, reports, nil); err != nil {
			return err
		}
	}
	l.seq = max(l.seq, newest)
	return l.write(ctx)
}

func sameStep(a, b record.Event) bool { return a.Run == b.Run && a.Job == b.Job && a.Step == b.Step }

// lessons is what is learned at once.
type lessons struct {
	*Tests
	seq, marked int64
	learned     []suite.Learned
	events      []record.Event
	pupils      map[suite.ID]*pupil
	classes     map[string]*class  // by repository
	runs        map[string]*taught // by run, a few
}

// pupil is a test that something was learned of.
type pupil struct {
	test suite.Test
	row  suite.Row
}

// class is what is known of all tests of a repository.
type class struct {
	prior   suite.Prior
	ward    suite.Ward
	kept    classKept
	changed bool  // what is kept
	version int64 // of the register that it is kept in
}

// classKept is what is written down of a class.
type classKept struct {
	Storms  suite.Storms
	Budgets suite.Budgets // as the base branch had them last
}

// taught is a run whose tests teach.
type taught struct {
	repository, commit, branch string
	given                      string // inputs and variables, "" for none
	base                       bool
	policy                     suite.Policy
	budgets                    suite.Budgets
	owners                     *suite.Owners
}

// write writes down what was learned.
func (l *lessons) write(ctx context.Context) error {
	if l.seq <= l.marked {
		return nil
	}
	var err error
	if len(l.learned) == 0 && len(l.events) == 0 {
		err = l.Store.Mark(ctx, suiteReader, l.seq)
	} else {
		err = l.Ledger.Learn(ctx, suiteReader, l.seq, l.learned, l.events...)
	}
	if err != nil {
		return fmt.Errorf("write down what was learned of tests: %w", err)
	}
	l.marked, l.learned, l.events = l.seq, nil, nil
	clear(l.pupils)
	return l.keepClasses(ctx)
}

// report learns from what one step reported. What was seen of the step is nil when
// nobody watched.
func (l *lessons) report(ctx context.Context, reports []record.Event, seen *record.Watched) error {
	last := reports[len(reports)-1]
	run, err := l.run(ctx, last.Run)
	if err != nil {
		return err
	}
	if run == nil {
		l.seq = last.Seq
		return nil // it is of no run that is known
	}
	fold := &fold{tests: map[suite.ID]*folded{}}
	for i, e := range reports {
		b := e.Body.(*record.TestsReported)
		fold.begin(i, suite.ID{Repository: run.repository, Variant: b.Variant}, b.Cached)
		if err := l.read(ctx, b.Results, fold.add); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.complain(fmt.Sprintf("learn from %s of run %s", b.Source, e.Run), err)
		}
	}
	if fold.lost > 0 {
		l.complain(fmt.Sprintf("learn from run %s", last.Run), fmt.Errorf("%d results are of more than the %d tests that one step teaches of", fold.lost, maxLearned))
	}
	commit, branch := run.commit, run.branch
	if b := last.Body.(*record.TestsReported); b.Commit != "" {
		commit, branch = b.Commit, cmp.Or(b.Branch, branch)
	}
	common := suite.Result{Run: last.Run, Job: last.Job, Time: last.Time, Commit: commit, Given: run.given, Branch: branch, Base: run.base}
	if seen != nil {
		common.Inputs, fold.size = number(seen.Digest), l.size(ctx, seen.Kept)
		if common.Unreachable, err = l.unreachable(ctx, last, seen, fold); err != nil {
			return err
		}
	}
	if err := l.learnFold(ctx, run, fold, common); err != nil {
		return err
	}
	l.seq = last.Seq
	return nil
}

// unreachable reports whether failures of a step are proven not to come from the change.
func (l *lessons) unreachable(ctx context.Context, e record.Event, seen *record.Watched, fold *fold) (bool, error) {
	if seen.Kept == "" || !fold.bad() {
		return false, nil
	}
	run, err := l.Runs.Run(ctx, e.Run)
	if err != nil {
		return false, fmt.Errorf("read run %s: %w", e.Run, err)
	}
	// A job that was tried again may have another step of that key now.
	j := run.Jobs[e.Job]
	if j == nil || run.Planned == nil {
		return false, nil
	}
	s := j.Step(e.Step)
	if s == nil || s.Finished == nil || s.Finished.Watched == nil || s.Finished.Watched.Kept != seen.Kept {
		return false, nil
	}
	return Innocence(ctx, l.Blobs, run, j, s, ChangedBy(run)).Proven, nil
}

func (l *lessons) read(ctx context.Context, digest string, each func(record.TestResult) error) error {
	r, err := l.open(ctx, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	return harvest.ReadKept(r, each)
}

func (l *lessons) open(ctx context.Context, digest string) (io.ReadCloser, error) {
	d, err := blob.Parse(digest)
	if err != nil {
		return nil, err
	}
	return l.Blobs.Open(ctx, d)
}

// size is how large the tests of a step are by what it was seen to do, as far as that
// is known.
func (l *lessons) size(ctx context.Context, digest string) suite.Size {
	if digest == "" {
		return suite.SizeUnknown
	}
	r, err := l.open(ctx, digest)
	if err != nil {
		return suite.SizeUnknown // it is gone
	}
	defer r.Close()
	o, err := harvest.ReadObservation(r)
	if err != nil {
		l.complain("read what a step was seen to do", err)
		return suite.SizeUnknown
	}
	size, _ := suite.SizeOf(o)
	return size
}

// learnFold learns the results of a step.
func (l *lessons) learnFold(ctx context.Context, run *taught, fold *fold, common suite.Result) error {
	ids := fold.order
	if err := l.enrol(ctx, ids); err != nil {
		return err
	}
	if learned, err := l.before(ctx, fold, common); learned || err != nil {
		return err
	}
	peers, err := l.class(ctx, run)
	if err != nil {
		return err
	}
	if run.base && run.budgets != peers.kept.Budgets {
		peers.kept.Budgets, peers.changed = run.budgets, true
	}
	fold.forgiveParents()
	toll := suite.Toll{Run: common.Run, Base: run.base}
	for _, id := range ids {
		f, p := fold.tests[id], l.pupils[id]
		if f.outcome == suite.Skipped || f.outcome == 0 {
			continue
		}
		toll.Ran++
		if f.outcome.Bad() {
			toll.Bad++
			if c := p.test.Counts(); c.Runs > 0 && !c.Failed.Equal(c.Last) {
				toll.Fresh++
			}
		}
	}
	storm, err := l.storm(ctx, peers, toll)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, p := fold.tests[id], l.pupils[id]
		if f.outcome == 0 {
			continue
		}
		r := common
		r.Outcome, r.Seconds, r.Storm = f.outcome, f.seconds, storm
		r.Unreachable = r.Unreachable && f.outcome.Bad()
		if f.outcome == suite.Flaked || f.outcome.Bad() {
			r.Fault = f.fault
		}
		if p.test.Counts().First.IsZero() {
			peers.ward.Tests++
		}
		p.test.Add(r)
		p.row.ID, p.row.Title = id, f.title
		p.row.Size = cmp.Or(fold.size, p.row.Size)
		p.row.File, p.row.Line = cmp.Or(f.file, p.row.File), cmp.Or(f.line, p.row.Line)
		owner := cmp.Or(strings.Join(run.owners.Of(p.row.File), " "), f.owner)
		e := peers.prior.Of(&p.test)
		ward := peers.ward
		ward.Owner = owner
		if p.muted() {
			ward.Quarantined--
		}
		if j := suite.Judge(&p.test, e, ward, run.policy, r.Time); j != nil {
			l.judge(peers, p, id, j, r.Time)
			l.events = append(l.events, record.Event{Run: r.Run, Job: r.Job, Body: j})
		}
		if err := l.add(p, e, owner, r); err != nil {
			return err
		}
	}
	return nil
}

// before reports whether a step was learned from before: the mark may have been set
// back. All results of a step are written together, so that one stands for all.
func (l *lessons) before(ctx context.Context, fold *fold, r suite.Result) (bool, error) {
	at := slices.IndexFunc(fold.order, func(id suite.ID) bool { return fold.tests[id].outcome != 0 })
	if at < 0 || l.pupils[fold.order[at]].test.Counts().First.IsZero() {
		return false, nil
	}
	next := ""
	if n, err := strconv.ParseInt(r.Run, 10, 64); err == nil {
		next = strconv.FormatInt(n+1, 10)
	}
	const steps = 50 // of one run, with the same test
	known, err := l.Ledger.Results(ctx, fold.order[at], next, steps)
	if err != nil {
		return false, fmt.Errorf("read what is known of tests: %w", err)
	}
	return slices.ContainsFunc(known, func(k suite.Result) bool {
		return k.Run == r.Run && k.Job == r.Job && k.Time.Equal(r.Time)
	}), nil
}

// storm reports whether the machine failed and not the tests, by what a step showed and
// what is known so far of its whole run.
func (l *lessons) storm(ctx context.Context, peers *class, toll suite.Toll) (bool, error) {
	if toll.Fresh == 0 && toll.Run == peers.kept.Storms.Run {
		return false, nil // what the steps before it showed stays
	}
	if toll.Fresh > 0 {
		reports, err := l.Runs.Events(ctx, store.EventFilter{Run: toll.Run, Kinds: []record.Kind{"tests.reported"}, Limit: maxReports})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("read the reports of run %s: %w", toll.Run, err)
		}
		ran, bad := 0, 0
		for _, e := range reports {
			if b, ok := e.Body.(*record.TestsReported); ok && !b.Reused {
				ran, bad = ran+b.Passed+b.Failed, bad+b.Failed
			}
		}
		// Which failures are new is known of this step; elsewhere as many will be.
		fresh := float64(toll.Fresh) / float64(toll.Bad)
		toll.Ran, toll.Bad = max(toll.Ran, ran), max(toll.Bad, bad)
		toll.Fresh = int(fresh * float64(toll.Bad))
	}
	was := peers.kept
	storm := peers.kept.Storms.Add(toll) != ""
	peers.changed = peers.changed || peers.kept != was
	return storm, nil
}

// keepClasses writes down what is known of all tests of repositories.
func (l *lessons) keepClasses(ctx context.Context) error {
	for repository, c := range l.classes {
		if !c.changed {
			continue
		}
		text, err := json.Marshal(c.kept)
		if err != nil {
			return err
		}
		if _, err := l.Store.Change(ctx, []record.Register{{Kind: classKind, ID: repository, Version: c.version, Body: text}}); err != nil {
			return fmt.Errorf("keep what is known of the tests of %s: %w", repository, err)
		}
		c.changed = false
		c.version++
	}
	return nil
}

// judge puts a test into the state that was judged.
func (l *lessons) judge(peers *class, p *pupil, id suite.ID, j *record.TestJudged, at time.Time) {
	j.Repository, j.Key, j.Variant, j.Title = id.Repository, id.Key, id.Variant, p.row.Title
	before := p.muted()
	p.test.Apply(j, at)
	switch after := p.muted(); {
	case after && !before:
		peers.ward.Quarantined++
	case before && !after:
		peers.ward.Quarantined--
	}
}

func (p *pupil) muted() bool {
	state, _ := p.test.State()
	return state == record.TestQuarantined
}

// add adds what was learned of a test; a result without an outcome is none.
func (l *lessons) add(p *pupil, e suite.Estimate, owner string, r suite.Result) error {
	c := p.test.Counts()
	state, why := p.test.State()
	row := &p.row
	row.Owner = cmp.Or(p.test.Owner(), owner, row.Owner)
	row.State, row.Why, row.Until = state, why, p.test.Until()
	row.Runs, row.Failures, row.Flakes = c.Runs, c.Failures, c.Flakes
	row.Rate, row.Low, row.High = e.Rate, e.Low, e.High
	row.Seconds, row.Lost = p.test.Seconds(), p.test.Lost(c.Last, flakePrice)
	row.First, row.Last, row.Failed = c.First, c.Last, c.Failed
	data, err := p.test.MarshalBinary()
	if err != nil {
		return fmt.Errorf("keep the state of test %s: %w", row.Title, err)
	}
	l.learned = append(l.learned, suite.Learned{Row: *row, State: data, Result: r})
	return nil
}

// enrol brings what is known of tests.
func (l *lessons) enrol(ctx context.Context, ids []suite.ID) error {
	var fresh []suite.ID
	for _, id := range ids {
		if l.pupils[id] == nil {
			fresh = append(fresh, id)
		}
	}
	known, err := l.Ledger.Known(ctx, fresh)
	if err != nil {
		return fmt.Errorf("read what is known of tests: %w", err)
	}
	for _, id := range fresh {
		p := new(pupil)
		if state := known[id]; len(state) > 0 {
			if err := p.test.UnmarshalBinary(state); err != nil {
				l.complain("read what is known of test "+id.Key, err) // it is learned of anew
			}
		}
		l.pupils[id] = p
	}
	return nil
}

// run is what matters of a run; nil when it is not known.
func (l *lessons) run(ctx context.Context, id string) (*taught, error) {
	if r, known := l.runs[id]; known || id == "" {
		return r, nil
	}
	list, err := l.Runs.Events(ctx, store.EventFilter{Run: id, Kinds: []record.Kind{"run.planned"}, Limit: 1})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	const few = 100
	if len(l.runs) >= few {
		clear(l.runs)
	}
	l.runs[id] = nil
	if len(list) == 0 {
		return nil, nil
	}
	b, ok := list[0].Body.(*record.RunPlanned)
	if !ok || b.Change == nil {
		return nil, nil
	}
	c := b.Change
	h := store.PlannedHead(b)
	r := &taught{repository: c.Repository, commit: c.SHA, branch: h.Branch}
	r.base = c.BaseRef == "" && c.DefaultBranch != "" && h.Branch == c.DefaultBranch
	if c.Dirty || strings.Trim(c.SHA, "0") == "" {
		r.commit += "+" + id // what was in the tree then has no name of its own
	}
	if s := &b.Settings; len(s.Inputs)+len(s.Vars)+len(s.Env) > 0 {
		given, err := json.Marshal([]any{s.Inputs, s.Vars, s.Env}) // maps are written in order
		if err != nil {
			return nil, fmt.Errorf("read run %s: %w", id, err)
		}
		r.given = string(given)
	}
	r.policy, r.budgets = policyOf(b.Root)
	r.owners = owners(b.Root)
	l.runs[id] = r
	return r, nil
}

// policyOf is what a project says of its tests; the defaults when its tree is gone, or
// cannot be understood.
func policyOf(root string) (p suite.Policy, b suite.Budgets) {
	f, problems, err := project.Read(os.DirFS(root))
	if err != nil || plan.Errors(problems) {
		return p, b
	}
	q, in := f.Tests.Quarantine, f.Tests.Budgets
	return suite.Policy{Off: q.Manual, Days: q.Days, Cap: q.Most, Who: q.Who},
		suite.Budgets{Small: in.Small.Seconds(), Medium: in.Medium.Seconds(), Large: in.Large.Seconds()}
}

// owners are those that a tree names; nil when it is gone, or names none.
func owners(root string) *suite.Owners {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return nil
	}
	defer tree.Close()
	for _, name := range suite.OwnerFiles() {
		if st, err := tree.Stat(name); err != nil || !st.Mode().IsRegular() || st.Size() > maxOwnersFile {
			continue
		}
		text, err := tree.ReadFile(name)
		if err != nil {
			continue
		}
		found, _ := suite.ParseOwners(name, string(text)) // lint tells of its problems
		return found
	}
	return nil
}

// maxOwnersFile is the size of the largest file of owners that is read.
const maxOwnersFile = 3 << 20

// project is what is known of all tests of a run's repository.
func (l *lessons) class(ctx context.Context, run *taught) (*class, error) {
	if p := l.classes[run.repository]; p != nil {
		return p, nil
	}
	p := &class{prior: suite.Usual()}
	was, err := l.Store.Register(ctx, classKind, run.repository)
	if err != nil {
		return nil, fmt.Errorf("read what is known of the tests of %s: %w", run.repository, err)
	}
	if p.version = was.Version; was.Version > 0 && json.Unmarshal(was.Body, &p.kept) != nil {
		p.kept = classKept{} // a newer Fairlead wrote it
	}
	_, total, err := l.Ledger.Tests(ctx, suite.Query{Repository: run.repository, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("count tests: %w", err)
	}
	_, muted, err := l.Ledger.Tests(ctx, suite.Query{Repository: run.repository, Limit: 1, States: []record.TestState{record.TestQuarantined}})
	if err != nil {
		return nil, fmt.Errorf("count tests in quarantine: %w", err)
	}
	p.ward = suite.Ward{Tests: total, Quarantined: muted}
	if total >= priorLeast {
		if p.prior, err = l.prior(ctx, run.repository); err != nil {
			return nil, err
		}
	}
	l.classes[run.repository] = p
	return p, nil
}

// prior is what is believed of a repository's tests before anything is seen of one. It
// is made anew now and then.
func (l *lessons) prior(ctx context.Context, repository string) (suite.Prior, error) {
	var kept suite.Prior
	was, err := l.Store.Register(ctx, priorKind, repository)
	if err != nil {
		return kept, fmt.Errorf("read the prior of %s: %w", repository, err)
	}
	if was.Version > 0 && time.Since(was.Changed) < priorEvery && json.Unmarshal(was.Body, &kept) == nil {
		return kept, nil
	}
	rows, _, err := l.Ledger.Tests(ctx, suite.Query{Repository: repository, Limit: priorTests})
	if err != nil {
		return kept, fmt.Errorf("read tests of %s: %w", repository, err)
	}
	ids := make([]suite.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	known, err := l.Ledger.Known(ctx, ids)
	if err != nil {
		return kept, fmt.Errorf("read tests of %s: %w", repository, err)
	}
	kept = suite.Fit(func(yield func(suite.Tally) bool) {
		for _, id := range ids {
			var test suite.Test
			if test.UnmarshalBinary(known[id]) == nil && !yield(test.Tally()) {
				return
			}
		}
	})
	text, err := json.Marshal(kept)
	if err != nil {
		return kept, err
	}
	_, err = l.Store.Change(ctx, []record.Register{{Kind: priorKind, ID: repository, Version: was.Version, Body: text}})
	if err != nil && !errors.Is(err, record.ErrConflict) {
		return kept, fmt.Errorf("keep the prior of %s: %w", repository, err)
	}
	return kept, nil
}

// number is the first 64 bits of a digest in hexadecimal digits, 0 for none.
func number(digest string) uint64 {
	var n uint64
	if len(digest) < 16 {
		return 0
	}
	if _, err := fmt.Sscanf(digest[:16], "%16x", &n); err != nil {
		return 0
	}
	return n
}

// row is the row of a test.
func (t *Tests) row(ctx context.Context, id suite.ID) (suite.Row, error) {
	rows, _, err := t.Ledger.Tests(ctx, suite.Query{Repository: id.Repository, IDs: []suite.ID{id}})
	if err != nil {
		return suite.Row{}, fmt.Errorf("read test %s: %w", id.Key, err)
	}
	if len(rows) == 0 {
		return suite.Row{ID: id}, nil
	}
	return rows[0], nil
}
