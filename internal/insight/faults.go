package insight

import (
	"bytes"
	"cmp"
	"compress/gzip"
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
	"github.com/fairlead-dev/fairlead/internal/fault"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Limits of what is kept of failures, for each repository.
const (
	faultReader = "faults" // of the log, and its lease
	faultKind   = "faults" // by repository: a gathering

	// maxRecent is how many failures are remembered one by one, the newest.
	maxRecent = 300
	// maxSaid and saidWidth are how many lines of what one said, and bytes of each.
	maxSaid, saidWidth = 12, 300
	// maxGathering is the size of the largest gathering that is written, in bytes.
	maxGathering = 2 << 20
	// maxUnpacked is the size of the largest that is read.
	maxUnpacked = 256 << 20
	// writeAt is from how many failures on what was learned is written down.
	writeAt = 2000
	// maxRunsKnown is how many runs a reader has in mind.
	maxRunsKnown = 100
)

// Record is what is asked of the store.
type Record interface {
	store.Marks
	store.Leases
	store.Registers
	// Run is what is known of a run.
	Run(ctx context.Context, id string) (*record.Run, error)
}

// History is the record as it is read.
type History interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	// Watch waits until the record goes beyond seq, and returns the newest Seq.
	Watch(ctx context.Context, seq int64) (int64, error)
	// AfterKinds yields the events after seq that are of these kinds, in order.
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
}

// Logs opens what jobs printed. The error is an fs.ErrNotExist when a job has no
// log.
type Logs interface {
	OpenLog(ctx context.Context, run string, j *record.JobRun) (*logs.Reader, error)
}

// Faults knows the failures of every repository. It follows the log, and sorts each step
// and each test that failed into the clusters of its repository (fault.Clusters). These, the
// newest failures one by one, and how far it has read are one register: each failure is
// counted once, whoever dies when.
//
//	StepFinished, TestsReported ──► fault.Failure ──► Clusters.Add ──► register
//	                                                                      │
//	a run that failed ──► Explain: what is new, what is known, why ◄──────┘
//	                         ▲ base runs, suite's states, the change, observations, known issues
//
// Its fields are set once; its methods may be called by several goroutines and processes.
type Faults struct {
	Store  Record
	Runs   History
	Ledger suite.Ledger
	Blobs  blob.Store // of Observations
	Logs   Logs       // nil: there are none
	// Log is told of what cannot be learned; nil: nobody is.
	Log func(doing string, err error)
}

// Seen is a failure that is remembered by itself.
type Seen struct {
	fault.Failure
	TestTitle string   `json:",omitempty"`
	Variant   string   `json:",omitempty"`
	StepName  string   `json:",omitempty"`
	Line      int64    `json:",omitempty"` // of the job's log, from 0
	Said      []string `json:",omitempty"` // the lines that show it
	Cluster   string   // its ID
}

// past is the failure with what it said.
func (s *Seen) past() fault.Past {
	p := fault.Past{Failure: s.Failure}
	p.Test = s.TestTitle
	for i, l := range s.Said {
		p.Log = append(p.Log, fault.Line{N: s.Line + int64(i), Text: l})
	}
	return p
}

// gathering is what is known of the failures of a repository.
type gathering struct {
	Seq      int64 // up to which events are in it
	Clusters *fault.Clusters
	Recent   []Seen        // the newest last
	Declared []fault.Issue // known issues, as the file of the last run of the base branch has them
}

// packed is a gathering in a register.
type packed struct {
	Seq  int64  `json:"seq"`
	Data []byte `json:"data"` // JSON in gzip
}

// kept is a gathering as JSON.
type kept struct {
	Clusters json.RawMessage `json:"clusters"`
	Recent   []Seen          `json:"recent,omitempty"`
	Declared []fault.Issue   `json:"declared,omitempty"`
}

// pack makes a register of it. When it is too much, the failures that are remembered one
// by one go, then all.
func (g *gathering) pack() (packed, error) {
	for try := 0; ; try++ {
		clusters, err := g.Clusters.MarshalBinary()
		if err != nil {
			return packed{}, err
		}
		text, err := json.Marshal(kept{clusters, g.Recent, g.Declared})
		if err != nil {
			return packed{}, err
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err = z.Write(text)
		if err = errors.Join(err, z.Close()); err != nil {
			return packed{}, err
		}
		if b.Len() <= maxGathering {
			return packed{g.Seq, b.Bytes()}, nil
		}
		if g.Recent = nil; try > 0 {
			g.Clusters = new(fault.Clusters)
		}
	}
}

func unpack(body []byte) (*gathering, error) {
	var p packed
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(p.Data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxUnpacked))
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, err
	}
	g := &gathering{Seq: p.Seq, Clusters: new(fault.Clusters), Recent: k.Recent, Declared: k.Declared}
	return g, g.Clusters.UnmarshalBinary(k.Clusters)
}

// gathered is what is known of the failures of a repository, and the version of its
// register. What cannot be read is begun anew.
func (f *Faults) gathered(ctx context.Context, repository string) (*gathering, int64, error) {
	r, err := f.Store.Register(ctx, faultKind, repository)
	if err != nil {
		return nil, 0, fmt.Errorf("read the failures of %s: %w", repository, err)
	}
	g := &gathering{Clusters: new(fault.Clusters)}
	if r.Version > 0 {
		known, err := unpack(r.Body)
		if err != nil {
			f.complain("read the failures of "+repository, err)
		} else {
			g = known
		}
	}
	return g, r.Version, nil
}

// reader is how the record is followed for failures.
func (f *Faults) reader() *reader {
	return &reader{lease: faultReader, who: "who learns of failures", doing: "learn of failures", store: f.Store, runs: f.Runs, log: f.Log,
		learn: func(ctx context.Context, lease store.Lease) error { return f.learn(ctx, lease, time.Time{}) }}
}

func (f *Faults) complain(doing string, err error) { f.reader().complain(doing, err) }

// Learn learns what the record has to teach, to its newest event or, when until is not
// zero, until then. The error is a [store.HeldError] when somebody else is at it.
func (f *Faults) Learn(ctx context.Context, until time.Time) error {
	return f.reader().once(ctx, func(ctx context.Context, lease store.Lease) error { return f.learn(ctx, lease, until) })
}

// Glance learns for a moment. A failure to do so is nobody's: whoever learns next
// goes on.
func (f *Faults) Glance(ctx context.Context) {
	_ = f.Learn(context.WithoutCancel(ctx), time.Now().Add(learnWithin))
}

// Follow learns until ctx ends.
func (f *Faults) Follow(ctx context.Context) { f.reader().follow(ctx) }

// learn learns to the end of the record, or until then.
func (f *Faults) learn(ctx context.Context, lease store.Lease, until time.Time) error {
	newest, err := f.Runs.Watch(ctx, -1)
	if err != nil {
		return err
	}
	from, err := f.Store.Marked(ctx, faultReader)
	if err != nil || from >= newest {
		return err
	}
	p := &gatherer{Faults: f, seq: from, known: map[string]*known{}, runs: map[string]*home{}}
	var reports []*record.TestsReported // of the step of last
	var last record.Event
	for e, err := range f.Runs.AfterKinds(ctx, from, "tests.reported", "step.finished", "run.finished") {
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
			f.complain(fmt.Sprintf("read event %d", e.Seq), err)
			continue
		}
		if e.Run != last.Run || e.Job != last.Job || e.Step != last.Step {
			reports = nil
		}
		last = e
		switch b := e.Body.(type) {
		case *record.TestsReported:
			reports = append(reports, b)
			continue // it is learned of with its step
		case *record.StepFinished:
			if b.Outcome.Bad() {
				err = p.step(ctx, e, b, reports)
			}
			reports = nil
		case *record.RunFinished:
			err = p.run(ctx, e)
		}
		if err != nil {
			return err
		}
		p.seq = e.Seq
		late := !until.IsZero() && time.Now().After(until)
		if p.fresh >= writeAt || late {
			if err := p.write(ctx); err != nil || late {
				return err
			}
		}
	}
	p.seq = max(p.seq, newest)
	return p.write(ctx)
}

// gatherer is a reader while it reads.
type gatherer struct {
	*Faults
	seq   int64
	fresh int
	known map[string]*known // by repository
	runs  map[string]*home  // by run; nil for one that is not known
}

type known struct {
	*gathering
	version int64
	changed bool
}

// home is where a run belongs.
type home struct {
	repository string // as the server calls it, whose name decides who may see it
	root       string
	change     plan.Change // without its payload
	branch     string
	base       bool
	trusted    bool
}

func homeOf(b *record.RunPlanned) *home {
	head := store.PlannedHead(b)
	h := &home{repository: head.Repository, root: b.Root, branch: head.Branch, trusted: true}
	if b.Change != nil {
		h.change = *b.Change
		h.change.Payload = nil
	}
	if o := b.Origin; o != nil {
		h.repository, h.trusted = o.Repository, o.Trust != record.Untrusted
	}
	h.base = h.change.BaseRef == "" && h.change.DefaultBranch != "" && h.branch == h.change.DefaultBranch
	return h
}

// home finds where a run belongs; nil when it is not known.
func (p *gatherer) home(ctx context.Context, id string) (*home, error) {
	if h, found := p.runs[id]; found || id == "" {
		return h, nil
	}
	list, err := p.Runs.Events(ctx, store.EventFilter{Run: id, Kinds: []record.Kind{"run.planned"}, Limit: 1})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read run %s: %w", id, err)
	}
	if len(p.runs) >= maxRunsKnown {
		clear(p.runs)
	}
	p.runs[id] = nil
	if len(list) > 0 {
		if b, ok := list[0].Body.(*record.RunPlanned); ok && b.Change != nil {
			p.runs[id] = homeOf(b)
		}
	}
	return p.runs[id], nil
}

// of is what is known of a repository.
func (p *gatherer) of(ctx context.Context, repository string) (*known, error) {
	if k := p.known[repository]; k != nil {
		return k, nil
	}
	g, version, err := p.gathered(ctx, repository)
	if err != nil {
		return nil, err
	}
	k := &known{gathering: g, version: version}
	p.known[repository] = k
	return k, nil
}

// step learns of a step that failed.
func (p *gatherer) step(ctx context.Context, e record.Event, b *record.StepFinished, reports []*record.TestsReported) error {
	h, err := p.home(ctx, e.Run)
	if err != nil || h == nil {
		return err
	}
	k, err := p.of(ctx, h.repository)
	if err != nil || e.Seq <= k.Seq {
		return err
	}
	for _, s := range failuresOf(h, e, b, reports) {
		s.Cluster = k.Clusters.Add(s.Failure).ID
		if k.Recent = append(k.Recent, s); len(k.Recent) > maxRecent {
			k.Recent = slices.Delete(k.Recent, 0, len(k.Recent)-maxRecent)
		}
		k.changed = true
		p.fresh++
	}
	return nil
}

// run takes down the known issues of the base branch.
func (p *gatherer) run(ctx context.Context, e record.Event) error {
	h, err := p.home(ctx, e.Run)
	if err != nil || h == nil || !h.base || !h.trusted {
		return err
	}
	k, err := p.of(ctx, h.repository)
	if err != nil || e.Seq <= k.Seq {
		return err
	}
	issues, read := declared(h.root)
	if read && !slices.Equal(issues, k.Declared) {
		k.Declared, k.changed = issues, true
	}
	return nil
}

// write writes down what was learned, and how far the log was read.
func (p *gatherer) write(ctx context.Context) error {
	var changes []record.Register
	for repository, k := range p.known {
		if !k.changed {
			continue
		}
		k.Seq = p.seq
		body, err := k.pack()
		if err == nil {
			var text []byte
			text, err = json.Marshal(body)
			changes = append(changes, record.Register{Kind: faultKind, ID: repository, Version: k.version, Body: text})
		}
		if err != nil {
			return fmt.Errorf("keep the failures of %s: %w", repository, err)
		}
	}
	if len(changes) > 0 {
		if _, err := p.Store.Change(ctx, changes); err != nil {
			return fmt.Errorf("keep what was learned of failures: %w", err)
		}
	}
	clear(p.known)
	p.fresh = 0
	if err := p.Store.Mark(ctx, faultReader, p.seq); err != nil {
		return fmt.Errorf("keep what was learned of failures: %w", err)
	}
	return nil
}

// declared are the known issues of a tree's fairlead.yaml; false when it cannot be read.
func declared(root string) ([]fault.Issue, bool) {
	if root == "" {
		return nil, false
	}
	if _, err := os.Stat(root); err != nil {
		return nil, false
	}
	file, problems, err := project.Read(os.DirFS(root))
	if err != nil || plan.Errors(problems) {
		return nil, false
	}
	var list []fault.Issue
	for _, k := range file.Known {
		list = append(list, fault.Issue{
			Name: k.Name, Pattern: k.Pattern, Job: k.Job, Step: k.Step, Test: k.Test, Branch: k.Branch, Note: k.Note, Link: k.Link,
			Blame: fault.Blame(k.Verdict), Until: k.Until, Source: k.Source,
		})
	}
	return list, true
}

// failuresOf are the failures of a step that did not end well: its tests that failed, or
// else the step itself.
func failuresOf(h *home, e record.Event, b *record.StepFinished, reports []*record.TestsReported) []Seen {
	common := fault.Failure{
		Run: e.Run, Time: e.Time, Branch: h.branch, Commit: h.change.SHA, OnBase: h.base, Job: e.Job, Step: cmp.Or(b.Name, e.Step), Verdict: b.Outcome,
	}
	var list []Seen
	for _, r := range reports {
		if r.Reused {
			continue
		}
		for i := range r.Bad {
			t := &r.Bad[i]
			if forgiven(t, r.Bad) {
				continue
			}
			s := Seen{Failure: common, TestTitle: testTitle(t), Variant: r.Variant, StepName: common.Step, Said: said(t.Message + "\n" + t.Stack)}
			s.Test, s.Print, s.Rule = t.Key(), fault.Fingerprint(t.Type, t.Message, t.Stack, nil), t.Type
			if s.Title = firstLine(t.Message); s.Title == "" {
				// Silent failures have the same print, and nothing in common.
				s.Title, s.Print = s.TestTitle, 0
			}
			list = append(list, s)
		}
	}
	if len(list) > 0 || b.Fault == nil || b.Outcome == plan.Cancelled {
		return list
	}
	d := b.Fault
	s := Seen{Failure: common, StepName: common.Step, Line: d.Line, Said: said(strings.Join(d.Lines, "\n"))}
	s.Rule, s.Title = d.Rule, cmp.Or(d.Cause, d.Title)
	s.Print, _ = strconv.ParseUint(d.Print, 16, 64) // 0 takes the title's
	if d.Cause != "" {
		s.Line = d.CauseLine
	}
	return append(list, s)
}

// forgiven reports whether a test failed without a word of its own, because a test in it
// did.
func forgiven(t *record.TestResult, all []record.TestResult) bool {
	if strings.TrimSpace(t.Message+t.Stack) != "" {
		return false
	}
	path := append(slices.Clone(t.Groups), t.Name)
	return slices.ContainsFunc(all, func(o record.TestResult) bool {
		return o.Suite == t.Suite && len(o.Groups) >= len(path) && slices.Equal(o.Groups[:len(path)], path)
	})
}

// testTitle is the name of a test with its parameters.
func testTitle(t *record.TestResult) string {
	if t.Params == "" {
		return t.Title()
	}
	return t.Title() + " [" + strings.Trim(t.Params, "[]()") + "]"
}

// said are the lines that show a failure.
func said(text string) (list []string) {
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if strings.TrimSpace(l) == "" {
			continue
		}
		if list = append(list, cut(l)); len(list) == maxSaid {
			break
		}
	}
	return list
}

func firstLine(text string) string {
	if lines := said(text); len(lines) > 0 {
		return strings.TrimSpace(lines[0])
	}
	return ""
}

func cut(s string) string {
	if len(s) > saidWidth {
		s = s[:saidWidth] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
