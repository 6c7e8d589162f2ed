package insight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Limits of an explanation.
const (
	// maxTroubles is how many failures of a run are explained.
	maxTroubles = 100
	// maxHeads is how many earlier runs are looked at, and maxFolds how many of them are
	// read.
	maxHeads, maxFolds = 30, 6
	// maxPastResults is how many results of a test are looked at.
	maxPastResults = 30
	// maxFreshSteps is of how many steps new lines are looked for, maxFreshLines how many
	// lines of a log are compared, and maxFresh how many are told.
	maxFreshSteps, maxFreshLines, maxFresh = 3, 20_000, 5
	// catchUpWithin is how long who asks is kept waiting for what is still to be learned.
	catchUpWithin = 2 * time.Second
	// maxEvidence is how many facts are told of a failure.
	maxEvidence = 8
)

// Explanation says of each failure of a run whether it is new, and whose fault it is.
type Explanation struct {
	// Troubles are the failures: the new ones first, and of those the surest.
	Troubles []Trouble `json:"troubles"`
	New      int       `json:"new"`
	Known    int       `json:"known"`          // flaky, already broken, of the machine, known issues
	More     int       `json:"more,omitempty"` // that are not in Troubles
}

// Trouble is a step or a test that failed, and why that is probably so.
type Trouble struct {
	Job  string `json:"job"`
	Step string `json:"step"`           // its key
	Name string `json:"name"`           // the step's
	Test string `json:"test,omitempty"` // its name; "" when the step failed and no test did
	Key  string `json:"key,omitempty"`  // of the test
	// Variant tells the test's environments apart.
	Variant string `json:"variant,omitempty"`
	Title   string `json:"title"` // what it said, one line
	// At is the line of the code that it names, Line that of the job's log which says so,
	// from 1; 0 when it is not known.
	At   plan.Source `json:"at,omitzero"`
	Line int64       `json:"line,omitempty"`

	New      bool        `json:"new"` // nobody knew of it, and it may come from the change
	Blame    fault.Blame `json:"verdict"`
	Sure     float64     `json:"sure"` // of the verdict, from 0 to 1
	Why      string      `json:"why"`  // the strongest fact
	Evidence []Fact      `json:"evidence,omitempty"`
	// Seen is how often, and Cluster which others are the same trouble.
	Seen    string  `json:"seen,omitempty"`
	Cluster string  `json:"cluster,omitempty"`
	Known   []Issue `json:"known_issues,omitempty"`

	State record.TestState `json:"state,omitempty"` // of the test
	Muted bool             `json:"muted,omitempty"` // it is in quarantine, and its failure does not count
	// Innocent says that the change cannot be to blame, Innocence why that is so or why
	// it cannot be said; Touched are the changed files that it read.
	Innocent  bool     `json:"innocent,omitempty"`
	Innocence string   `json:"innocence,omitempty"`
	Touched   []string `json:"touched,omitempty"`
	// Fresh are lines of a kind that the last green run of the step did not print.
	Fresh []FreshLine `json:"fresh,omitempty"`
	Green string      `json:"green,omitempty"` // that run
}

// Fact is something that speaks for a verdict.
type Fact struct {
	For    fault.Blame `json:"for"`
	Weight float64     `json:"weight"` // from 0 to 1: how sure it alone would make
	Say    string      `json:"say"`
}

// FreshLine is a line that was not there before.
type FreshLine struct {
	N     int64  `json:"n"` // of the job's log, from 1
	Text  string `json:"text"`
	Times int    `json:"times,omitempty"`
}

// Sentence sums it up: "2 new failures; 3 known: 2 flaky, 1 infrastructure".
func (x *Explanation) Sentence() string {
	if x == nil || x.New+x.Known == 0 {
		return ""
	}
	news := "no new failure"
	switch {
	case x.New == 1:
		news = "1 new failure"
	case x.New > 1:
		news = fmt.Sprintf("%d new failures", x.New)
	}
	if x.Known == 0 {
		return news
	}
	var parts []string
	for _, b := range []fault.Blame{fault.Flaky, fault.Infrastructure, fault.Broken, fault.Yours, fault.Nobody} {
		n := 0
		for i := range x.Troubles {
			if t := &x.Troubles[i]; !t.New && t.Blame == b {
				n++
			}
		}
		word := string(b)
		if b == fault.Yours || b == fault.Nobody {
			word = "known issues"
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	return fmt.Sprintf("%s; %d known: %s", news, x.Known, strings.Join(parts, ", "))
}

// Explain says why a run failed. A run that has not failed has no troubles.
func (f *Faults) Explain(ctx context.Context, r *record.Run) (*Explanation, error) {
	x := &Explanation{Troubles: []Trouble{}}
	if r.Planned == nil || r.Planned.Change == nil {
		return x, nil
	}
	c := &court{Faults: f, run: r, home: homeOf(r.Planned), folds: map[string]*record.Run{}}
	if !c.anything() {
		return x, nil
	}
	if r.Verdict != "" {
		var held *store.HeldError
		if err := f.Learn(ctx, time.Now().Add(catchUpWithin)); err != nil && !errors.As(err, &held) {
			return nil, err
		}
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	for _, id := range r.Order {
		j := r.Jobs[id]
		for _, s := range j.Steps {
			if fin := s.Finished; fin == nil || !fin.Outcome.Bad() || fin.Outcome == plan.Cancelled {
				continue
			}
			if err := c.step(ctx, x, j, s); err != nil {
				return nil, err
			}
		}
	}
	for i := range x.Troubles {
		if x.Troubles[i].New {
			x.New++
		} else {
			x.Known++
		}
	}
	slices.SortStableFunc(x.Troubles, func(a, b Trouble) int {
		if a.New != b.New {
			if a.New {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Sure, a.Sure)
	})
	return x, nil
}

// court is where a run's failures are judged.
type court struct {
	*Faults
	run     *record.Run
	home    *home
	known   *gathering
	issues  *fault.Issues
	changed []suite.Changed
	storm   fault.Storm
	rows    map[suite.ID]suite.Row
	heads   []store.RunHead // earlier runs of the pipeline, newest first
	looked  bool            // heads are known
	folds   map[string]*record.Run
	greens  int // steps whose lines were compared
}

// anything reports whether a step of the run failed.
func (c *court) anything() bool {
	for _, j := range c.run.Jobs {
		for _, s := range j.Steps {
			if s.Finished != nil && s.Finished.Outcome.Bad() && s.Finished.Outcome != plan.Cancelled {
				return true
			}
		}
	}
	return false
}

// prepare brings what all failures of the run have in common.
func (c *court) prepare(ctx context.Context) (err error) {
	if c.known, _, err = c.gathered(ctx, c.home.repository); err != nil {
		return err
	}
	list, err := c.issuesOf(ctx, c.home.repository, c.known)
	if err != nil {
		return err
	}
	if c.home.trusted { // what the change itself says of its own failures counts, if it may say anything
		if own, read := declared(c.home.root); read {
			list = merge(own, list)
		}
	}
	c.issues, _ = fault.Compile(list)
	c.changed = ChangedBy(c.run)
	ids := []suite.ID{}
	for _, j := range c.run.Jobs {
		if len(j.Children) > 0 {
			continue
		}
		ended := j.Verdict != "" && j.Verdict != plan.Skipped && j.Verdict != plan.Cancelled
		if ended {
			c.storm.Of++
		}
		if j.Verdict == plan.Fault {
			c.storm.Failed++
		}
		for _, t := range j.Tests {
			for i := range t.Bad {
				if len(ids) < 10*maxTroubles {
					ids = append(ids, suite.ID{Repository: c.home.change.Repository, Key: t.Bad[i].Key(), Variant: t.Variant})
				}
			}
		}
	}
	c.rows = map[suite.ID]suite.Row{}
	if len(ids) == 0 || c.Ledger == nil {
		return nil
	}
	rows, _, err := c.Ledger.Tests(ctx, suite.Query{Repository: c.home.change.Repository, IDs: ids, Limit: len(ids)})
	if err != nil {
		return fmt.Errorf("read what is known of tests: %w", err)
	}
	for _, row := range rows {
		c.rows[row.ID] = row
	}
	return nil
}

// step judges the failures of a step: its tests', or its own.
func (c *court) step(ctx context.Context, x *Explanation, j *record.JobRun, s *record.StepRun) error {
	fin := *s.Finished
	fin.Name = cmp.Or(fin.Name, s.Start.Name)
	e := record.Event{Run: c.run.ID, Job: j.ID, Step: s.Key, Time: s.Ended}
	list := failuresOf(c.home, e, &fin, s.Tests)
	if len(list) == 0 {
		return nil
	}
	innocence := Innocence(ctx, c.Blobs, c.run, j, s, c.changed)
	fresh, green := c.fresh(ctx, j, s)
	for i := range list {
		if len(x.Troubles) == maxTroubles {
			x.More += len(list) - i
			return nil
		}
		t, err := c.judge(ctx, &list[i], j, s, innocence, fresh)
		if err != nil {
			return err
		}
		if i == 0 {
			t.Green = green
			for _, l := range fresh[max(0, len(fresh)-maxFresh):] {
				t.Fresh = append(t.Fresh, FreshLine{l.N + 1, cut(l.Text), l.Times})
			}
		}
		x.Troubles = append(x.Troubles, t)
	}
	return nil
}

// judge judges one failure.
func (c *court) judge(ctx context.Context, s *Seen, j *record.JobRun, step *record.StepRun, innocence suite.Innocence, fresh []fault.FreshLine) (Trouble, error) {
	t := Trouble{
		Job: j.ID, Step: step.Key, Name: cmp.Or(step.Start.Name, step.Key), Test: s.TestTitle, Key: s.Test, Variant: s.Variant, Title: s.Title,
		Innocent: innocence.Proven, Innocence: innocence.Why, Touched: innocence.Touched,
	}
	d := step.Finished.Fault
	k := fault.Case{Failure: s.Failure, Storm: c.storm, ChangedKnown: len(c.changed) > 0}
	for _, f := range c.changed {
		k.Changed = append(k.Changed, f.Path)
	}
	cluster := c.cluster(s)
	if cluster.FirstRun == s.Run && len(cluster.Runs) == 1 {
		cluster.Count = 1 // several tests of this run are one trouble, which was not there before
	}
	k.Cluster = &cluster
	if t.Cluster = cluster.ID; cluster.Count > 1 {
		t.Seen = cluster.Say(s.Time)
	}
	k.TestState = &fault.TestFacts{Innocent: innocence.Proven}
	var err error
	if s.Test != "" {
		err = c.test(ctx, s, step, &k, &t)
	} else {
		k.Diagnosis, k.Fresh = d, fresh
		if d != nil {
			t.At, t.Line = d.At, s.Line+1
			if d.Cause != "" {
				k.Cause = &fault.Cause{Rule: d.Rule, Line: d.CauseLine, Text: d.Cause, At: d.At, Sure: fault.Known}
				if !d.At.IsZero() {
					k.Cause.Sure = fault.Located
				}
			}
		}
		k.Base, err = c.base(ctx, j, s)
	}
	if err != nil {
		return t, err
	}
	past := s.past()
	k.Known = c.issues.Find(past.Failure, slices.Values(past.Log))
	for _, r := range k.Known {
		t.Known = append(t.Known, Issue{Name: r.Issue.Name, Note: r.Issue.Note, Link: r.Issue.Link, Blame: r.Issue.Blame})
	}
	verdict := fault.Judge(k)
	t.Blame, t.Sure, t.Why = verdict.Blame, verdict.Sure, verdict.Why
	if t.Innocent && strings.HasPrefix(t.Why, "it cannot come from the change") {
		t.Why = "it cannot come from the change: " + t.Innocence
	}
	for _, e := range verdict.Evidence[:min(len(verdict.Evidence), maxEvidence)] {
		t.Evidence = append(t.Evidence, Fact(e))
	}
	t.New = !t.Muted && len(t.Known) == 0 && (t.Blame == fault.Yours || t.Blame == fault.Nobody)
	return t, nil
}

// cluster is the one that a failure belongs to, with it.
func (c *court) cluster(s *Seen) fault.Cluster {
	if s.Print != 0 {
		if k, ok := c.known.Clusters.Of(s.Print); ok && (slices.Contains(k.Runs, s.Run) || !s.Time.After(k.Last)) {
			return k
		}
	}
	for i := len(c.known.Recent) - 1; i >= 0; i-- {
		r := &c.known.Recent[i]
		if r.Run == s.Run && r.Job == s.Job && r.Step == s.Step && r.Test == s.Test && r.Title == s.Title {
			if k, ok := c.known.Clusters.Get(r.Cluster); ok {
				return k
			}
		}
	}
	return c.known.Clusters.Add(s.Failure) // of this copy: nobody has learned of it yet
}

// test brings what is known of a test that failed.
func (c *court) test(ctx context.Context, s *Seen, step *record.StepRun, k *fault.Case, t *Trouble) error {
	for _, r := range step.Tests {
		for i := range r.Bad {
			if b := &r.Bad[i]; b.Key() == s.Test && testTitle(b) == s.TestTitle && b.File != "" {
				t.At = plan.Source{File: b.File, Line: b.Line}
			}
		}
	}
	id := suite.ID{Repository: c.home.change.Repository, Key: s.Test, Variant: s.Variant}
	row, known := c.rows[id]
	if !known {
		return nil
	}
	for _, m := range c.run.Planned.Settings.Muted {
		t.Muted = t.Muted || m.Key == id.Key && m.Variant == id.Variant && s.Time.Before(m.Until)
	}
	t.State = row.State
	f := k.TestState
	f.State, f.Rate, f.Low, f.High, f.Runs = row.State, row.Rate, row.Low, row.High, row.Runs
	results, err := c.Ledger.Results(ctx, id, c.run.ID, maxPastResults)
	if err != nil {
		return fmt.Errorf("read the past of test %s: %w", row.Title, err)
	}
	inputs := uint64(0)
	if w := step.Finished.Watched; w != nil && len(w.Digest) >= 16 {
		inputs, _ = strconv.ParseUint(w.Digest[:16], 16, 64) // what is no number is 0: not known
	}
	past := true // since when it fails is still open
	for _, r := range results {
		if inputs != 0 && r.Inputs == inputs && (r.Outcome == suite.Passed || r.Outcome == suite.Flaked) {
			f.SameInputs = true
		}
		if !r.Base || r.Outcome == suite.Skipped || r.Storm {
			continue
		}
		b := &k.Base
		switch {
		case !b.Known:
			*b = fault.Base{Known: true, Branch: c.home.change.DefaultBranch, Failing: r.Outcome.Bad(), Print: r.Fault, Run: r.Run}
			if b.Failing {
				b.Since = r.Time
			} else {
				b.Print = 0
			}
		case past && b.Failing && r.Outcome.Bad():
			b.Since, b.Run = r.Time, r.Run
		default:
			past = false
		}
	}
	return nil
}

// earlier are the earlier runs of the pipeline.
func (c *court) earlier(ctx context.Context) ([]store.RunHead, error) {
	if c.looked {
		return c.heads, nil
	}
	c.looked = true
	f := store.RunFilter{Pipeline: c.run.Planned.Pipeline.File, Before: c.run.ID, Limit: maxHeads}
	if o := c.run.Planned.Origin; o != nil {
		f.Origin = o.Repository
	} else {
		f.Repository = c.home.change.Repository
	}
	heads, err := c.Runs.Runs(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("look for earlier runs: %w", err)
	}
	for _, h := range heads {
		if h.Verdict != "" && h.Verdict != plan.Cancelled && h.Verdict != plan.Skipped {
			c.heads = append(c.heads, h)
		}
	}
	return c.heads, nil
}

// fold reads an earlier run; nil when enough was read.
func (c *court) fold(ctx context.Context, id string) (*record.Run, error) {
	if r := c.folds[id]; r != nil || len(c.folds) >= maxFolds {
		return r, nil
	}
	r, err := c.Store.Run(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	c.folds[id] = r
	return r, nil
}

// counterpart is the step of an earlier run that a step stands for; nil when there is none.
func counterpart(r *record.Run, job, name string) (*record.JobRun, *record.StepRun) {
	j := r.Jobs[job]
	if j == nil {
		return nil, nil
	}
	for _, s := range j.Steps {
		if s.Finished != nil && (s.Start.Name == name || s.Finished.Name == name) {
			return j, s
		}
	}
	return j, nil
}

// base is how a step did when it last ran on the branch that the change goes to.
func (c *court) base(ctx context.Context, j *record.JobRun, s *Seen) (b fault.Base, err error) {
	heads, err := c.earlier(ctx)
	if err != nil {
		return b, err
	}
	branch := cmp.Or(c.home.change.BaseRef, c.home.change.DefaultBranch)
	for i := range heads {
		h := &heads[i]
		if h.Branch != branch || branch == "" || h.Dirty || h.Origin != nil && h.Origin.Change != "" {
			continue
		}
		r, err := c.fold(ctx, h.ID)
		if err != nil || r == nil {
			return b, err
		}
		_, step := counterpart(r, j.ID, s.Step)
		if step == nil || step.Finished.Outcome == plan.Skipped || step.Finished.Outcome == plan.Cancelled {
			continue
		}
		bad, print := step.Finished.Outcome.Bad(), uint64(0)
		if d := step.Finished.Fault; bad && d != nil {
			print, _ = strconv.ParseUint(d.Print, 16, 64) // 0: not known
		}
		switch {
		case !b.Known:
			b = fault.Base{Known: true, Branch: branch, Failing: bad, Print: print, Run: h.ID}
			if !bad {
				return b, nil
			}
			b.Since = step.Ended
		case bad:
			b.Since, b.Run = step.Ended, h.ID
		default:
			return b, nil
		}
	}
	return b, nil
}

// fresh are the lines of a step that its last green run did not print, and that run.
func (c *court) fresh(ctx context.Context, j *record.JobRun, s *record.StepRun) (lines []fault.FreshLine, green string) {
	if c.Logs == nil || c.greens == maxFreshSteps || s.Finished.Line-s.Start.Line > maxFreshLines {
		return nil, ""
	}
	c.greens++
	heads, err := c.earlier(ctx)
	if err != nil {
		return nil, "" // what cannot be read proves nothing
	}
	name := cmp.Or(s.Finished.Name, s.Start.Name)
	for i := range heads {
		r, err := c.fold(ctx, heads[i].ID)
		if err != nil || r == nil {
			return nil, ""
		}
		job, step := counterpart(r, j.ID, name)
		if step == nil || step.Finished.Outcome != plan.Success || step.Finished.Line-step.Start.Line > maxFreshLines || step.Finished.Line == step.Start.Line {
			continue
		}
		var g fault.Green
		if !c.read(ctx, r.ID, job, step, func(l fault.Line) { g.Add(l.Text) }) {
			continue
		}
		var printed []fault.Line
		if !c.read(ctx, c.run.ID, j, s, func(l fault.Line) { printed = append(printed, l) }) {
			return nil, ""
		}
		return g.Fresh(slices.Values(printed), 200), r.ID
	}
	return nil, ""
}

// read gives the lines that a step printed; false when they cannot be had.
func (c *court) read(ctx context.Context, run string, j *record.JobRun, s *record.StepRun, each func(fault.Line)) bool {
	log, err := c.Logs.OpenLog(ctx, run, j)
	if err != nil {
		return false
	}
	defer log.Close()
	err = log.Read(s.Start.Line, func(l logs.Line) bool {
		if l.N >= s.Finished.Line {
			return false
		}
		each(fault.Line{N: l.N, Text: string(l.Text[:min(len(l.Text), 4<<10)])})
		return true
	})
	return err == nil
}
