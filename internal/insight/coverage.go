package insight

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Coverage knows what the tests of each run covered. It is a reader of the log: when
// a run has ended, its reports become one, whose paths are those of the tree; what
// was not measured this time is carried forward from the run that measured it last;
// and what comes of it is written down, once for the run and as a point of the
// repository's trend.
//
//	CoverageReported ── blobs ──► Join ──► Resolve (git) ──► Carry ──► Covered, Point
//
// All of it can be made again from the record: a question about a run that was not
// summed up yet sums it up. Its fields are set once.
type Coverage struct {
	Store Store
	Runs  interface {
		Archive
		Runs
	}
	Blobs blob.Store
	// Past is the history of a server's repository, for when a run's own tree is gone;
	// its Dir is "" when there is none. nil: there are none.
	Past func(ctx context.Context, repository string) workspace.Past
	// Log is told of what cannot be summed up; nil: nobody is.
	Log func(doing string, err error)

	mu    sync.Mutex
	shelf []shelved // reports that were asked for last, the newest first
}

// shelved is a report in memory: whoever looks at one page of it looks at the next.
type shelved struct {
	digest string
	report *coverage.Report
}

// maxShelf is how many reports are kept in memory, and maxShelved how many lines one
// of them may have.
const maxShelf, maxShelved = 3, 1_500_000

const (
	coverageReader = "coverage"       // of the log, and its lease
	coveredKind    = "covered"        // by run: a Covered
	trendKind      = "coverage-trend" // by repository: a trend

	// maxPoints is how many points a trend keeps.
	maxPoints = 400
	// carryFor is how long what was measured is carried forward.
	carryFor = 30 * 24 * time.Hour
	// maxListed is how many paths of a kind a Covered names.
	maxListed = 200
	// maxUploads is how many reports of a run are merged.
	maxUploads = 5000
	// maxObserved is how many kept observations of a run are read.
	maxObserved = 200
)

// Covered is what the tests of a run covered.
type Covered struct {
	Run        string    `json:"run"`
	Repository string    `json:"repository"`
	Commit     string    `json:"commit"`
	Branch     string    `json:"branch,omitempty"`
	Dirty      bool      `json:"dirty,omitempty"`
	Time       time.Time `json:"time"` // when it ended
	Base       bool      `json:"base"` // it is of the default branch
	coverage.Totals
	// Flags are parts of the tests: as the team names them or, where it does not, the
	// jobs.
	Flags      []Flag          `json:"flags,omitempty"`
	Components []coverage.Part `json:"components,omitempty"`
	Carried    int             `json:"carried,omitempty"` // lines that were not measured by this run
	// Matched says that the paths are those of the tree. Else there is no history to
	// look them up in, and they are as the reports have them.
	Matched   bool     `json:"matched"`
	Strangers []string `json:"strangers,omitempty"` // paths of reports that are none of the tree, the first
	Strange   int      `json:"strange,omitempty"`   // how many there are
	// Unseen are the files that tests read and no line covers, the first; UnseenMore
	// counts the others. Watched says that it is known what the tests read.
	Unseen     coverage.Unseen `json:"unseen,omitzero"`
	UnseenMore int             `json:"unseen_more,omitempty"`
	Watched    bool            `json:"watched,omitempty"`
	Reports    []Report        `json:"reports,omitempty"`
	Digest     string          `json:"digest"` // of the blob that holds every line
	Seq        int64           `json:"seq"`    // of the last report that is in it
}

// Flag is a part of the tests and what it covered.
type Flag struct {
	coverage.Part
	// From is the run that measured it, when that was an earlier one.
	From   string    `json:"from,omitempty"`
	Commit string    `json:"commit,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Point is a run in a repository's trend.
type Point struct {
	Run string `json:"run"`
	coverage.Point
}

type trend struct {
	Points []Point `json:"points"` // oldest first
}

// Learn sums up what the record has to teach, to its newest event or until ctx ends.
// The error is a [store.HeldError] when somebody else is at it.
func (c *Coverage) Learn(ctx context.Context) error { return c.reader().once(ctx, c.learn) }

// reader is how the record is followed for coverage. What it sums up takes longer than
// what others learn, and is asked for seldom.
func (c *Coverage) reader() *reader {
	return &reader{lease: coverageReader, who: "who sums up coverage", doing: "sum up coverage", pause: followPause, store: c.Store, runs: c.Runs, log: c.Log, learn: c.learn}
}

func (c *Coverage) learn(ctx context.Context, lease store.Lease) error {
	newest, err := c.Runs.Watch(ctx, -1)
	if err != nil {
		return err
	}
	from, err := c.Store.Marked(ctx, coverageReader)
	if err != nil {
		return err
	}
	seen := newest
	for e, err := range c.Runs.AfterKinds(ctx, from, "coverage.reported", "run.finished") {
		if ctx.Err() != nil {
			seen = min(seen, e.Seq-1)
			break
		}
		if e.Seq == 0 {
			return err
		}
		if e.Seq > newest {
			break
		}
		if err := lost(lease); err != nil {
			return err
		}
		if err == nil && e.Run != "" {
			if _, err = c.Of(ctx, e.Run); errors.Is(err, ErrNoCoverage) {
				err = nil
			}
		}
		if err != nil && ctx.Err() == nil {
			c.complain("sum up the coverage of run "+e.Run, err)
		}
	}
	if seen > from {
		// Also when ctx has ended: what was summed up is.
		err = c.Store.Mark(context.WithoutCancel(ctx), coverageReader, seen)
	}
	return errors.Join(err, ctx.Err())
}

// Glance learns for a moment. A failure to do so is nobody's: whoever learns next
// goes on.
func (c *Coverage) Glance(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), learnWithin)
	defer cancel()
	_ = c.Learn(ctx)
}

// Follow learns until ctx ends.
func (c *Coverage) Follow(ctx context.Context) { c.reader().follow(ctx) }

// followPause is the least time between two rounds.
const followPause = 2 * time.Second

func (c *Coverage) complain(doing string, err error) { c.reader().complain(doing, err) }

// ErrNoCoverage says that a run has no report of coverage.
var ErrNoCoverage = errors.New("no coverage was reported")

// Of is what the tests of a run covered. The error is an [ErrNoCoverage] when nothing
// says so, and a [store.ErrNotFound] when there is no such run.
func (c *Coverage) Of(ctx context.Context, run string) (*Covered, error) {
	uploads, err := c.uploads(ctx, run)
	if err != nil {
		return nil, err
	}
	if len(uploads) == 0 {
		return nil, fmt.Errorf("run %s: %w", run, ErrNoCoverage)
	}
	reg, err := c.Store.Register(ctx, coveredKind, run)
	if err != nil {
		return nil, fmt.Errorf("read the coverage of run %s: %w", run, err)
	}
	last := uploads[len(uploads)-1].Seq
	var old Covered
	if reg.Version > 0 && json.Unmarshal(reg.Body, &old) == nil && old.Seq == last && c.there(ctx, old.Digest) {
		return &old, nil
	}
	h, err := c.Runs.Head(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", run, err)
	}
	sum, err := c.sum(ctx, &h, uploads)
	if err != nil {
		return nil, fmt.Errorf("sum up the coverage of run %s: %w", run, err)
	}
	if h.Ended.IsZero() {
		return sum, nil // more may come
	}
	return sum, c.write(ctx, reg, sum)
}

func (c *Coverage) there(ctx context.Context, digest string) bool {
	d, err := blob.Parse(digest)
	if err != nil {
		return false
	}
	missing, err := c.Blobs.Missing(ctx, []blob.Digest{d})
	return err == nil && len(missing) == 0
}

// uploads are the reports of a run, in order.
func (c *Coverage) uploads(ctx context.Context, run string) ([]record.Event, error) {
	list, err := c.Runs.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"coverage.reported"}, Limit: maxUploads})
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", run, err)
	}
	slices.Reverse(list)
	return list, nil
}

// write writes down what a run covered, and its point in the trend.
func (c *Coverage) write(ctx context.Context, reg record.Register, sum *Covered) error {
	body, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	changes := []record.Register{{Kind: coveredKind, ID: sum.Run, Version: reg.Version, Body: body}}
	if sum.Base {
		t, was, err := c.trend(ctx, sum.Repository)
		if err != nil {
			return err
		}
		p := Point{Run: sum.Run, Point: coverage.Point{Commit: sum.Commit, Time: sum.Time, Totals: sum.Totals, Carried: sum.Carried}}
		for _, f := range sum.Flags {
			p.Parts = append(p.Parts, f.Part)
		}
		t.Points = slices.DeleteFunc(t.Points, func(o Point) bool { return o.Run == p.Run })
		t.Points = append(t.Points, p)
		slices.SortStableFunc(t.Points, func(a, b Point) int { return cmp.Compare(runNumber(a.Run), runNumber(b.Run)) })
		t.Points = t.Points[max(0, len(t.Points)-maxPoints):]
		body, err := json.Marshal(t)
		if err != nil {
			return err
		}
		changes = append(changes, record.Register{Kind: trendKind, ID: sum.Repository, Version: was.Version, Body: body})
	}
	_, err = c.Store.Change(ctx, changes)
	if errors.Is(err, record.ErrConflict) {
		return nil // somebody else has written the same; or will, at the next question
	}
	return err
}

func (c *Coverage) trend(ctx context.Context, repository string) (t trend, reg record.Register, err error) {
	if reg, err = c.Store.Register(ctx, trendKind, repository); err == nil && reg.Version > 0 {
		err = json.Unmarshal(reg.Body, &t)
	}
	if err != nil {
		err = fmt.Errorf("read the coverage of %s: %w", repository, err)
	}
	return t, reg, err
}

// Trend is the newest points of a repository's default branch, at most so many, the
// oldest first.
func (c *Coverage) Trend(ctx context.Context, repository string, most int) ([]Point, error) {
	t, _, err := c.trend(ctx, repository)
	return t.Points[max(0, len(t.Points)-most):], err
}

// lookBack is how many runs are looked at for one with coverage.
const lookBack = 100

// Latest is what the newest run with coverage covered: of a branch or, with none, of
// the default branch, if one is of that. The filter chooses the runs: by Repository,
// Origin or Root, and Branch. The error is an [ErrNoCoverage] when there is none among
// the last hundred.
func (c *Coverage) Latest(ctx context.Context, f store.RunFilter) (*Covered, error) {
	return c.newest(ctx, f, f.Branch == "")
}

// Newest is Latest of whichever branch.
func (c *Coverage) Newest(ctx context.Context, f store.RunFilter) (*Covered, error) {
	return c.newest(ctx, f, false)
}

func (c *Coverage) newest(ctx context.Context, f store.RunFilter, base bool) (*Covered, error) {
	f.Limit = lookBack
	list, err := c.Runs.Runs(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var any *Covered
	for i := range list {
		if list[i].Ended.IsZero() || !wanted(&f, &list[i]) {
			continue
		}
		sum, err := c.Of(ctx, list[i].ID)
		switch {
		case errors.Is(err, ErrNoCoverage):
		case err != nil:
			return nil, err
		case !base || sum.Base:
			return sum, nil
		case any == nil:
			any = sum
		}
	}
	if any == nil {
		return nil, ErrNoCoverage
	}
	return any, nil // of no branch that is known to be the default one
}

// wanted reports whether a run is of the repository that a filter names: one that a
// server knows by another name is not.
func wanted(f *store.RunFilter, h *store.RunHead) bool {
	name := cmp.Or(f.Origin, f.Repository)
	return name == "" || repositoryOf(h) == name
}

// Lines is every line of what a run covered. It is not to be changed.
func (c *Coverage) Lines(ctx context.Context, sum *Covered) (*coverage.Report, error) {
	c.mu.Lock()
	i := slices.IndexFunc(c.shelf, func(s shelved) bool { return s.digest == sum.Digest })
	if i >= 0 {
		found := c.shelf[i]
		c.shelf = slices.Insert(slices.Delete(c.shelf, i, i+1), 0, found)
		c.mu.Unlock()
		return found.report, nil
	}
	c.mu.Unlock()
	report, err := c.open(ctx, sum.Digest)
	if err != nil || sum.Lines() > maxShelved {
		return report, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shelf = slices.Insert(c.shelf, 0, shelved{sum.Digest, report})
	c.shelf = slices.Delete(c.shelf, min(len(c.shelf), maxShelf), len(c.shelf))
	return report, nil
}

func (c *Coverage) open(ctx context.Context, digest string) (*coverage.Report, error) {
	d, err := blob.Parse(digest)
	if err != nil {
		return nil, err
	}
	r, err := c.Blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return coverage.Decode(r)
}

// flagOf is what part of the tests a report is of.
func flagOf(e record.Event) string { return cmp.Or(e.Body.(*record.CoverageReported).Flag, e.Job) }

// sum makes one report of those of a run.
func (c *Coverage) sum(ctx context.Context, h *store.RunHead, events []record.Event) (*Covered, error) {
	change, err := c.change(ctx, h.ID)
	if err != nil {
		return nil, err
	}
	sum := &Covered{
		Run: h.ID, Repository: repositoryOf(h), Commit: h.SHA, Branch: h.Branch, Dirty: h.Dirty,
		Time: h.Ended, Base: based(change, h), Seq: events[len(events)-1].Seq,
	}
	parts := map[string]*coverage.Report{}
	for _, e := range events {
		b := e.Body.(*record.CoverageReported)
		said, _ := ReportOf(b)
		if b.Unread == "" && b.Report == "" {
			said.Unread = "its lines were not kept"
		}
		if b.Report != "" {
			one, err := c.open(ctx, b.Report)
			if err == nil {
				flag := flagOf(e)
				if parts[flag] == nil {
					parts[flag] = &coverage.Report{}
				}
				err = parts[flag].Merge(one)
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				said.Unread = err.Error() // a blob that was evicted, or is damaged
			}
		}
		if len(sum.Reports) < maxListed {
			sum.Reports = append(sum.Reports, said)
		}
	}
	past := c.past(ctx, h)
	files, err := filesOf(ctx, past, h)
	if err != nil {
		return nil, err
	}
	sum.Matched = files != nil
	all := &coverage.Report{}
	for _, flag := range slices.Sorted(maps.Keys(parts)) {
		one := parts[flag]
		if files != nil {
			var strange []string
			one, strange = one.Resolve(files)
			sum.Strange += len(strange)
			sum.Strangers = append(sum.Strangers, strange...)
		}
		if err := all.Merge(one); err != nil && !errors.Is(err, coverage.ErrFull) {
			return nil, err
		}
		sum.Flags = append(sum.Flags, Flag{Part: coverage.Part{Name: flag, Totals: one.Totals()}})
	}
	sum.Strangers = sum.Strangers[:min(len(sum.Strangers), maxListed)]
	if files != nil && !h.Dirty {
		if err := c.carry(ctx, h, past, all, sum); err != nil {
			return nil, err
		}
	}
	for _, component := range componentsOf(ctx, past, h) {
		sum.Components = append(sum.Components, all.Components([]coverage.Component{component})...)
	}
	if files != nil {
		if err := c.beyond(ctx, h.ID, files, all, sum); err != nil {
			return nil, err
		}
	}
	sum.Totals, sum.Carried = all.Totals(), all.Point("", time.Time{}).Carried
	if sum.Digest, err = keep(ctx, c.Blobs, all); err != nil {
		return nil, fmt.Errorf("keep the lines: %w", err)
	}
	return sum, nil
}

// change is what a run was of.
func (c *Coverage) change(ctx context.Context, run string) (*plan.Change, error) {
	list, err := c.Runs.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"run.planned"}, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("read run %s: %w", run, err)
	}
	if len(list) > 0 {
		if b, ok := list[0].Body.(*record.RunPlanned); ok && b.Change != nil {
			return b.Change, nil
		}
	}
	return nil, fmt.Errorf("run %s: %w", run, store.ErrNotFound)
}

// based reports whether a run is of the default branch. Where nobody says which that
// is, it is main or master.
func based(c *plan.Change, h *store.RunHead) bool {
	if c.BaseRef != "" {
		return false
	}
	if c.DefaultBranch != "" {
		return h.Branch == c.DefaultBranch
	}
	return h.Branch == "main" || h.Branch == "master"
}

// repositoryOf is what a run's repository is called: by the server, if it is one's.
func repositoryOf(h *store.RunHead) string {
	if h.Origin != nil {
		return h.Origin.Repository
	}
	return h.Repository
}

// past is the history that a run's commit is in; its Dir is "" when there is none.
func (c *Coverage) past(ctx context.Context, h *store.RunHead) workspace.Past {
	if st, err := os.Stat(filepath.Join(h.Root, ".git")); h.Root != "" && err == nil && st != nil {
		return workspace.Past{Dir: h.Root}
	}
	if h.Origin != nil && c.Past != nil {
		return c.Past(ctx, h.Origin.Repository)
	}
	return workspace.Past{}
}

// filesOf are the files of a run's tree, nil when they are not known.
func filesOf(ctx context.Context, past workspace.Past, h *store.RunHead) (files []string, err error) {
	switch {
	case past.Dir == "":
		return nil, nil
	case h.Dirty:
		files, err = past.Present(ctx)
	default:
		files, err = past.Files(ctx, h.SHA)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// carry adds what flags of an earlier run of the default branch covered that this one
// did not measure.
func (c *Coverage) carry(ctx context.Context, h *store.RunHead, past workspace.Past, all *coverage.Report, sum *Covered) error {
	t, _, err := c.trend(ctx, sum.Repository)
	if err != nil {
		return err
	}
	i := len(t.Points) - 1
	for i >= 0 && runNumber(t.Points[i].Run) >= runNumber(h.ID) {
		i--
	}
	if i < 0 {
		return nil
	}
	reg, err := c.Store.Register(ctx, coveredKind, t.Points[i].Run)
	var before Covered
	if err != nil || reg.Version == 0 || json.Unmarshal(reg.Body, &before) != nil {
		return err
	}
	for _, flag := range before.Flags {
		from, at, commit := cmp.Or(flag.From, before.Run), flag.At, cmp.Or(flag.Commit, before.Commit)
		if at.IsZero() {
			at = before.Time
		}
		if slices.ContainsFunc(sum.Flags, func(f Flag) bool { return f.Name == flag.Name }) || sum.Time.Sub(at) > carryFor {
			continue
		}
		old, err := c.measured(ctx, past, from, commit, flag.Name)
		if err != nil {
			return err
		}
		if old == nil {
			continue
		}
		text, err := past.Diff(ctx, commit, h.SHA, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		diff, err := coverage.ParseDiff(bytes.NewReader(text))
		if err != nil {
			c.complain("carry coverage forward to run "+h.ID, err)
			continue
		}
		moved := &coverage.Report{}
		if err := moved.Carry(old, commit, diff); err != nil && !errors.Is(err, coverage.ErrFull) {
			return err
		}
		if err := all.Carry(old, commit, diff); err != nil && !errors.Is(err, coverage.ErrFull) {
			return err
		}
		sum.Flags = append(sum.Flags, Flag{Part: coverage.Part{Name: flag.Name, Totals: moved.Totals()}, From: from, Commit: commit, At: at})
	}
	slices.SortFunc(sum.Flags, func(a, b Flag) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// measured is what a run measured itself of a flag, nil when that is gone.
func (c *Coverage) measured(ctx context.Context, past workspace.Past, run, commit, flag string) (*coverage.Report, error) {
	events, err := c.uploads(ctx, run)
	if err != nil {
		return nil, err
	}
	files, err := past.Files(ctx, commit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := &coverage.Report{}
	for _, e := range events {
		digest := e.Body.(*record.CoverageReported).Report
		if flagOf(e) != flag || digest == "" {
			continue
		}
		one, err := c.open(ctx, digest)
		if err != nil {
			return nil, ctx.Err() // it is gone
		}
		if err := all.Merge(one); err != nil {
			return nil, nil
		}
	}
	all, _ = all.Resolve(files)
	return all, nil
}

// beyond finds the files that a run's tests read and no line covers.
func (c *Coverage) beyond(ctx context.Context, run string, files []string, all *coverage.Report, sum *Covered) error {
	events, err := c.Runs.Events(ctx, store.EventFilter{Run: run, Kinds: []record.Kind{"job.started", "tests.reported", "coverage.reported", "step.finished"}, Limit: 100_000})
	if err != nil {
		return fmt.Errorf("read run %s: %w", run, err)
	}
	workspaces, tested := map[string]string{}, map[[2]string]bool{}
	in := make(map[string]bool, len(files))
	for _, name := range files {
		in[name] = true
	}
	read := map[string]bool{}
	seen := 0
	for _, e := range slices.Backward(events) { // they come the newest first
		switch b := e.Body.(type) {
		case *record.JobStarted:
			workspaces[e.Job] = b.Workspace
		case *record.TestsReported, *record.CoverageReported:
			tested[[2]string{e.Job, e.Step}] = true
		case *record.StepFinished:
			if b.Watched == nil || b.Watched.Kept == "" || !tested[[2]string{e.Job, e.Step}] || seen == maxObserved {
				continue
			}
			seen++
			if err := c.reads(ctx, b.Watched.Kept, workspaces[e.Job], in, read); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				c.complain("read what step "+e.Step+" of run "+run+" touched", err)
				continue
			}
			sum.Watched = true
		}
	}
	sum.Unseen = all.Beyond(slices.Collect(maps.Keys(read)))
	for _, list := range []*[]string{&sum.Unseen.Data, &sum.Unseen.Idle} {
		sum.UnseenMore += max(0, len(*list)-maxListed)
		*list = (*list)[:min(len(*list), maxListed)]
	}
	return nil
}

// reads adds the files of the tree whose content a step read.
func (c *Coverage) reads(ctx context.Context, digest, root string, in, read map[string]bool) error {
	d, err := blob.Parse(digest)
	if err != nil {
		return err
	}
	r, err := c.Blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	seen, err := harvest.ReadObservation(r)
	if err != nil {
		return err
	}
	for i := range seen.Inputs {
		if name, ok := strings.CutPrefix(seen.Inputs[i].Path, root+"/"); ok && root != "" && seen.Inputs[i].Use == record.UseContent && in[name] {
			read[name] = true
		}
	}
	return nil
}

// componentsOf are the parts that a project has given names, as its file had them.
func componentsOf(ctx context.Context, past workspace.Past, h *store.RunHead) []coverage.Component {
	var tree fs.FS
	switch text, err := past.File(ctx, h.SHA, project.Name); {
	case past.Dir == "":
		return nil
	case h.Dirty && h.Root != "":
		tree = os.DirFS(h.Root)
	case err != nil:
		return nil
	default:
		tree = oneFile{project.Name, text}
	}
	f, problems, err := project.Read(tree)
	if err != nil || plan.Errors(problems) {
		return nil
	}
	list := make([]coverage.Component, len(f.Coverage.Components))
	for i, c := range f.Coverage.Components {
		list[i] = coverage.Component(c)
	}
	return list
}

// oneFile is a tree with one file.
type oneFile struct {
	name string
	text []byte
}

// Open implements fs.FS.
func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &opened{oneFile: o, Reader: bytes.NewReader(o.text)}, nil
}

// opened is that file.
type opened struct {
	oneFile
	*bytes.Reader
}

func (o *opened) Stat() (fs.FileInfo, error) { return o, nil }
func (o *opened) Close() error               { return nil }
func (o *opened) Name() string               { return path.Base(o.name) }
func (o *opened) Size() int64                { return int64(len(o.text)) }
func (o *opened) Mode() fs.FileMode          { return 0o444 }
func (o *opened) ModTime() time.Time         { return time.Time{} }
func (o *opened) IsDir() bool                { return false }
func (o *opened) Sys() any                   { return nil }
