package notify

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// When people are told again, and when they are left alone.
const (
	daily = 24 * time.Hour
	// Nobody is reminded of a branch on which nothing ran for so long.
	abandoned = 14 * daily
	// How a branch stands is forgotten when nothing ran on it for so long.
	forgotten = 90 * daily
)

// Limits of the state. What is oldest is forgotten first.
const (
	maxOpen     = 2_000 // runs that have not ended
	maxBranches = 1_000
	maxNames    = 100 // jobs of a run whose name is not their ID
	maxFailed   = 5   // jobs that are named
	maxText     = 200 // bytes of a text that somebody else wrote
)

// Fold finds the edges in the record. It is fed every event, in order, and
// answers with what there is to tell. It reads no clock: time comes with the events
// and with [Fold.Tick]. Its JSON is its state, so that it goes on where it was.
// The zero Fold has seen nothing. One may be fed all events, or each repository's events
// one of its own.
//
// People are told of branches and tags, not of pull or merge requests (whose authors see
// the state of their commit), nor of what ran on somebody's own machine. A branch
// breaks when a run fails after one that succeeded; on the default branch, on protected ones and for tags
// also when the first run ever fails. A run that was cancelled or skipped says nothing, nor does an
// older one that ends after a newer one.
type Fold struct {
	// Runs are the server's runs that have not ended, by ID.
	Runs map[string]*Open `json:"runs,omitempty"`
	// Branches is how the pipelines of each branch stand.
	Branches map[string]*Standing `json:"branches,omitempty"`
}

// Open is what is kept of a run until it ends.
type Open struct {
	Facts   Message   `json:"facts"` // At is when it was planned
	Tag     bool      `json:"tag,omitempty"`
	First   bool      `json:"first,omitempty"`  // its first failure is told
	Silent  bool      `json:"silent,omitempty"` // it says nothing of a branch
	Started time.Time `json:"started,omitzero"`
	// Names of jobs, by ID, where they differ; and the IDs of those that failed
	// and of those that became others.
	Names    map[string]string `json:"names,omitempty"`
	Failed   []string          `json:"failed,omitempty"`
	Expanded []string          `json:"expanded,omitempty"`
}

// Standing is how a pipeline stands on a branch, or on all tags.
type Standing struct {
	Last   Message   `json:"last"` // of the last run that counted; most of it is empty unless it is broken, Since is when it broke
	Broken bool      `json:"broken,omitempty"`
	Told   time.Time `json:"told,omitzero"` // when people were last told that it is broken; zero: never
}

// Kinds are those of the events that Apply has to be given.
func Kinds() []record.Kind {
	return []record.Kind{"run.planned", "run.started", "job.expanded", "job.finished", "run.finished"}
}

// Apply takes one event and says what there is to tell.
func (f *Fold) Apply(e record.Event) []Message {
	switch b := e.Body.(type) {
	case *record.RunPlanned:
		return f.planned(e, b)
	case *record.RunStarted:
		if o := f.Runs[e.Run]; o != nil && o.Started.IsZero() {
			o.Started = e.Time
			return []Message{o.message(Started, e.Time)}
		}
	case *record.JobExpanded:
		if o := f.Runs[e.Run]; o != nil {
			o.expanded(e.Job, b)
		}
	case *record.JobFinished:
		if o := f.Runs[e.Run]; o != nil {
			o.finished(e.Job, b.Result)
		}
	case *record.RunFinished:
		return f.finished(e, b)
	}
	return nil
}

func (f *Fold) planned(e record.Event, b *record.RunPlanned) []Message {
	if b.Origin == nil || b.Origin.Pushed || b.Change == nil || b.Pipeline == nil {
		return nil // of the command line, or of a developer's machine: nobody else's news
	}
	branch, isBranch := strings.CutPrefix(b.Change.Ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(b.Change.Ref, "refs/tags/")
	switch {
	case b.Change.HeadRef != "":
		branch = b.Change.HeadRef
	case isTag:
		branch = tag
	}
	o := &Open{
		Facts: Message{
			Repository: clip(b.Origin.Repository), Pipeline: clip(cmp.Or(b.Pipeline.Name, b.Pipeline.File)), File: clip(b.Pipeline.File),
			Branch: clip(branch), Change: clip(b.Origin.Change),
			Run: e.Run, Number: b.Number, Attempt: b.Attempt, SHA: clip(b.Change.SHA),
			Title: clip(b.Origin.Title), Actor: clip(b.Change.Actor), At: e.Time,
		},
		Tag:    isTag,
		First:  isTag || branch == b.Change.DefaultBranch || b.Origin.Trust == record.Protected,
		Silent: b.Origin.Change != "" || b.Origin.Trust == record.Untrusted || !isBranch && !isTag,
	}
	for i := range b.Pipeline.Jobs {
		o.name(b.Pipeline.Jobs[i].ID, b.Pipeline.Jobs[i].Name)
	}
	if f.Runs == nil {
		f.Runs = map[string]*Open{}
	}
	f.Runs[e.Run] = o
	trim(f.Runs, maxOpen, func(o *Open) time.Time { return o.Facts.At })
	if b.Origin.Approval {
		return []Message{o.message(Queued, e.Time), o.message(Approval, e.Time)}
	}
	return []Message{o.message(Queued, e.Time)}
}

func (o *Open) name(id, name string) {
	if name != "" && name != id && len(o.Names) < maxNames && !strings.Contains(name, "${{") {
		if o.Names == nil {
			o.Names = map[string]string{}
		}
		o.Names[id] = clip(name)
	}
}

func (o *Open) expanded(job string, b *record.JobExpanded) {
	if len(o.Expanded) < maxNames {
		o.Expanded = append(o.Expanded, job)
	}
	for _, j := range b.Jobs {
		o.name(j.ID, j.Name)
	}
}

// finished keeps who failed. A job that became others failed because one of them
// did, and a job that is run again ends again.
func (o *Open) finished(job string, result plan.Verdict) {
	switch {
	case !result.Bad():
		o.Failed = slices.DeleteFunc(o.Failed, func(id string) bool { return id == job })
	case !slices.Contains(o.Failed, job) && !slices.Contains(o.Expanded, job) && len(o.Failed) <= maxFailed:
		o.Failed = append(o.Failed, job)
	}
}

// message is the run's message for an edge.
func (o *Open) message(edge Edge, at time.Time) Message {
	m := o.Facts
	m.Edge, m.At = edge, at
	return m
}

func (f *Fold) finished(e record.Event, b *record.RunFinished) []Message {
	o := f.Runs[e.Run]
	if o == nil {
		return nil
	}
	delete(f.Runs, e.Run)
	m := o.message(Finished, e.Time)
	m.Verdict, m.Why = b.Verdict, clip(b.Why)
	if !o.Started.IsZero() {
		m.Took = e.Time.Sub(o.Started)
	}
	for _, id := range o.Failed[:min(len(o.Failed), maxFailed)] {
		m.Failed = append(m.Failed, clip(cmp.Or(o.Names[id], id)))
	}
	if len(o.Failed) > maxFailed {
		m.Failed = append(m.Failed, "…")
	}
	told := []Message{m}
	if !o.Silent && (b.Verdict == plan.Success || b.Verdict.Bad()) {
		if edge, ok := f.stand(o, m); ok {
			told = append(told, edge)
		}
	}
	return told
}

// stand moves the state of a branch on, by how a run ended.
func (f *Fold) stand(o *Open, m Message) (edge Message, ok bool) {
	where := "refs/heads/" + m.Branch
	if o.Tag {
		where = "refs/tags/" // each tag is new: what matters is whether they work
	}
	key := strings.Join([]string{m.Repository, cmp.Or(m.File, m.Pipeline), where}, "\n")
	s := f.Branches[key]
	known := s != nil
	if !known {
		s = new(Standing)
		if f.Branches == nil {
			f.Branches = map[string]*Standing{}
		}
		f.Branches[key] = s
	}
	if known && (m.Number < s.Last.Number || m.Number == s.Last.Number && m.Attempt < s.Last.Attempt) {
		return Message{}, false
	}
	since := s.Last.Since
	switch {
	case m.Verdict == plan.Success && s.Broken:
		m.Edge, m.Since = Fixed, since
		edge, ok = m, !s.Told.IsZero()
		s.Broken, s.Told = false, time.Time{}
	case m.Verdict == plan.Success:
	case !s.Broken:
		m.Edge, m.Since = Broke, m.At
		s.Broken = true
		if edge, ok = m, known || o.First; ok {
			s.Told = m.At
		}
	default:
		m.Edge, m.Since = Still, since
		if edge, ok = m, !s.Told.IsZero() && m.At.Sub(s.Told) >= daily; ok {
			s.Told = m.At
		}
	}
	if s.Last = m; !s.Broken { // that much is enough to tell the next edge
		s.Last = Message{Repository: m.Repository, Number: m.Number, Attempt: m.Attempt, At: m.At}
	}
	trim(f.Branches, maxBranches, func(s *Standing) time.Time { return s.Last.At })
	return edge, ok
}

// Tick says what there is to tell because time went by: that a branch is still
// broken a day after people were told. It may be called at any time and as often as one likes:
// each reminder is told once, and those that were missed are not told later.
func (f *Fold) Tick(now time.Time) []Message {
	var told []Message
	for _, key := range slices.Sorted(maps.Keys(f.Branches)) {
		s := f.Branches[key]
		idle := now.Sub(s.Last.At)
		if idle >= forgotten {
			delete(f.Branches, key)
			continue
		}
		late := now.Sub(s.Told)
		if s.Told.IsZero() || late < daily || idle >= abandoned {
			continue
		}
		s.Told = s.Told.Add(late.Truncate(daily)) // the day it was due, so that all who look say the same
		m := s.Last
		m.Edge, m.At = Still, s.Told
		told = append(told, m)
	}
	return told
}

// Forget forgets a repository that is no more.
func (f *Fold) Forget(repository string) {
	maps.DeleteFunc(f.Runs, func(_ string, o *Open) bool { return o.Facts.Repository == repository })
	maps.DeleteFunc(f.Branches, func(_ string, s *Standing) bool { return s.Last.Repository == repository })
}

// trim takes the oldest away when there are more than limit: a tenth at once, so
// that it is seldom done.
func trim[T any](m map[string]T, limit int, at func(T) time.Time) {
	if len(m) <= limit {
		return
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(at(m[a]).Compare(at(m[b])), cmp.Compare(a, b))
	})
	for _, key := range keys[:len(m)-limit+limit/10] {
		delete(m, key)
	}
}

// clip bounds a text that somebody else wrote.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
