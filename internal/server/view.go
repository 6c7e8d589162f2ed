package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// The views are what pages show and what the API answers: plain structs, made
// from the record by [views]. They hold facts and sentences, and no HTML;
// times are UTC, durations are seconds, lines of logs count from 1.

// views makes views.
type views struct {
	runs   Runs
	logs   Logs   // nil: there are none
	faults Faults // nil: nobody knows
	now    func() time.Time
	// branch is the default branch of a repository; "" when it is not known.
	branch func(ctx context.Context, repository string) string
	kept   *stripCache
}

// State is how something stands, for people: a verdict, or what it is on the
// way to one.
type State string

// The states beside the verdicts.
const (
	Pending     State = "pending"     // its needs are not done
	Queued      State = "queued"      // it waits for a place
	Waiting     State = "waiting"     // it waits for its turn
	Approval    State = "approval"    // it waits for a maintainer's approval
	Running     State = "running"     // it is under way
	Interrupted State = "interrupted" // whoever ran it died, and nobody goes on yet
)

// Live reports whether the state will still change by itself.
func (s State) Live() bool {
	switch s {
	case Pending, Queued, Waiting, Approval, Running, Interrupted:
		return true
	}
	return false
}

// headState is how a run in a list stands.
func headState(h *store.RunHead) State {
	switch {
	case h.Verdict != "":
		return State(h.Verdict)
	case h.Waiting():
		return Waiting
	case h.Alive:
		return Running
	}
	return Interrupted
}

// jobState is how a job stands. In a run that has ended nothing is under way
// any longer.
func jobState(r *record.Run, j *record.JobRun) State {
	if j.Verdict != "" {
		return State(j.Verdict)
	}
	if r.Verdict != "" {
		return State(plan.Skipped)
	}
	switch j.State {
	case record.Queued:
		return Queued
	case record.Running:
		return Running
	}
	return Pending
}

// stepState is how a step stands, as its author's file lets it count.
func stepState(r *record.Run, s *record.StepRun) State {
	if f := s.Finished; f != nil {
		return State(f.Conclusion)
	}
	if r.Verdict != "" {
		return State(plan.Cancelled)
	}
	return Running
}

// RunRow is a run in a list.
type RunRow struct {
	ID         string       `json:"id"`
	Number     int          `json:"number"`
	Attempt    int          `json:"attempt,omitempty"`
	Of         string       `json:"of,omitempty"` // the run that this one repeats
	State      State        `json:"state"`
	Verdict    plan.Verdict `json:"verdict,omitempty"`
	Why        string       `json:"why,omitempty"`
	Repository string       `json:"repository"` // its name on the server; else owner/name
	Pipeline   string       `json:"pipeline"`
	File       string       `json:"file"`
	Title      string       `json:"title,omitempty"` // of the change, or the commit's subject
	Change     string       `json:"change,omitempty"`
	Event      string       `json:"event"`
	Ref        string       `json:"ref"`
	Branch     string       `json:"branch,omitempty"`
	SHA        string       `json:"sha"`
	Dirty      bool         `json:"dirty,omitempty"`
	Actor      string       `json:"actor,omitempty"`
	Trust      record.Trust `json:"trust,omitempty"`
	Local      bool         `json:"local,omitempty"` // it ran on a developer's machine
	Begun      time.Time    `json:"begun"`
	Started    time.Time    `json:"started,omitzero"`
	Ended      time.Time    `json:"ended,omitzero"`
	Seconds    float64      `json:"seconds"` // since it started; until it ended, or now
	Share      float64      `json:"-"`       // of the longest in the list, 0 to 1

	server bool // it came through a server
}

// rowOf makes a row of a run's head.
func rowOf(h *store.RunHead, now time.Time) RunRow {
	r := RunRow{
		ID: h.ID, Number: h.Number, Attempt: h.Attempt, Of: h.Of, State: headState(h), Verdict: h.Verdict, Why: h.Why,
		Repository: h.Repository, Pipeline: h.Name, File: h.File, Event: h.Event, Ref: h.Ref, Branch: h.Branch, SHA: h.SHA,
		Dirty: h.Dirty, Actor: h.Actor, Begun: h.Begun, Started: h.Started, Ended: h.Ended,
		Local: h.Origin == nil || h.Origin.Pushed, server: h.Origin != nil,
	}
	if o := h.Origin; o != nil {
		r.Repository, r.Title, r.Change, r.Trust = o.Repository, o.Title, o.Change, o.Trust
		if r.State == Waiting && o.Approval && h.ApprovedBy == "" {
			r.State = Approval
		}
	}
	if r.Pipeline == "" {
		r.Pipeline = h.File
	}
	start := h.Started
	if start.IsZero() && h.Origin == nil {
		start = h.Begun
	}
	r.Seconds = elapsed(start, h.Ended, now)
	return r
}

// elapsed is the time in seconds from a beginning to an end; to now while
// there is no end, 0 when there was no beginning.
func elapsed(from, to, now time.Time) float64 {
	if from.IsZero() {
		return 0
	}
	if to.IsZero() {
		to = now
	}
	return max(0, to.Sub(from).Seconds())
}

// RunsView is the list of runs.
type RunsView struct {
	Runs   []RunRow `json:"runs"`
	Next   string   `json:"next,omitempty"` // the `before` of the page that follows
	Filter RunsAsk  `json:"filter"`
	Strips []Strip  `json:"strips,omitempty"`
}

// RunsAsk is what a list of runs is asked for; all of it comes as query parameters.
type RunsAsk struct {
	Repository string `json:"repository,omitempty"`
	Pipeline   string `json:"pipeline,omitempty"`
	Branch     string `json:"branch,omitempty"`
	State      string `json:"state,omitempty"` // a verdict, or "unfinished"
	Actor      string `json:"actor,omitempty"`
	Change     string `json:"change,omitempty"`
	Before     string `json:"before,omitempty"`
	Limit      int    `json:"limit,omitempty"`
}

// Strip is the recent history of a pipeline on its repository's default branch, the
// oldest first.
type Strip struct {
	Repository string  `json:"repository"`
	Pipeline   string  `json:"pipeline"`
	File       string  `json:"file"`
	Branch     string  `json:"branch"`
	Bars       []Bar   `json:"bars"`
	Good       int     `json:"good"`   // of them, that succeeded
	Median     float64 `json:"median"` // seconds, of those that succeeded
}

// Bar is a run in a strip.
type Bar struct {
	Run     string  `json:"run"`
	State   State   `json:"state"`
	Seconds float64 `json:"seconds"`
}

// RunView is one run.
type RunView struct {
	RunRow
	Sentence  string            `json:"sentence"`        // the headline: "Failed in test after 41s"
	Blame     string            `json:"blame,omitempty"` // whose fault a failure is
	Root      string            `json:"root,omitempty"`
	Queue     string            `json:"queue,omitempty"` // why it waits
	Count     Count             `json:"count"`
	Reuse     ReuseSum          `json:"reuse"`
	Failures  []Failure         `json:"failures,omitempty"`
	Notes     []Note            `json:"annotations,omitempty"`
	MoreNotes int               `json:"more_annotations,omitempty"`
	Summaries []Summary         `json:"summaries,omitempty"`
	Jobs      []JobRow          `json:"jobs"`
	Tests     *TestsView        `json:"tests,omitempty"`
	Artifacts []ArtifactRow     `json:"artifacts,omitempty"`
	Materials []record.Material `json:"materials,omitempty"`
	Problems  []plan.Problem    `json:"problems,omitempty"`
	Critical  Critical          `json:"critical"`
	Acts      []Act             `json:"acts,omitempty"` // what can be done with it now
	Cancelled string            `json:"cancelled_by,omitempty"`
	// Explained says of its failures which are new, and whose fault each is.
	Explained *insight.Explanation `json:"explained,omitempty"`

	timeline *timeline
	graph    *graph
}

// Count counts the jobs of a run.
type Count struct {
	Jobs      int `json:"jobs"`
	Done      int `json:"done"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"` // failure, error or timeout
	Skipped   int `json:"skipped"`
	Cancelled int `json:"cancelled"`
}

// ReuseSum is what reuse came to.
type ReuseSum struct {
	Steps  int     `json:"steps"` // that it was asked about
	Reused int     `json:"reused"`
	Saved  float64 `json:"saved"` // seconds
}

// Failure is a step, or a job, that failed, opened at its first error.
type Failure struct {
	Job     string            `json:"job"`
	JobName string            `json:"job_name"`
	Step    string            `json:"step,omitempty"`
	Name    string            `json:"name"`
	State   State             `json:"state"`
	Exit    int               `json:"exit,omitempty"`
	Signal  string            `json:"signal,omitempty"`
	Why     string            `json:"why,omitempty"`
	At      plan.Source       `json:"at,omitzero"`
	Seconds float64           `json:"seconds"`
	Fault   *record.Diagnosis `json:"fault,omitempty"`
	Lines   []LogLine         `json:"lines,omitempty"`      // around the first error, or the last ones
	First   int64             `json:"first_line,omitempty"` // of the error, or the last one
	No      int               `json:"-"`                    // on its page
	Allowed bool              `json:"allowed,omitempty"`    // its author lets it fail
	Again   string            `json:"again,omitempty"`      // the command that repeats it on a developer's machine
}

// Note is an annotation and where it comes from.
type Note struct {
	plan.Annotation
	Job  string `json:"job"`
	Step string `json:"step"`
}

// Summary is the Markdown that a step wrote.
type Summary struct {
	Job  string `json:"job"`
	Step string `json:"step"`
	Name string `json:"name"`
	Text string `json:"text"`
}

// JobRow is a job of a run.
type JobRow struct {
	ID       string      `json:"id"`
	Name     string      `json:"name"`
	Stage    string      `json:"stage,omitempty"`
	Needs    []string    `json:"needs,omitempty"`
	Parent   string      `json:"parent,omitempty"`
	Children []string    `json:"children,omitempty"`
	State    State       `json:"state"`
	Why      string      `json:"why,omitempty"`
	At       plan.Source `json:"at,omitzero"`
	Attempt  int         `json:"attempt,omitempty"`
	Place    string      `json:"place,omitempty"`
	Queued   time.Time   `json:"queued,omitzero"`
	Until    time.Time   `json:"until,omitzero"` // it waits until then, as it says
	Begun    time.Time   `json:"begun,omitzero"`
	Ended    time.Time   `json:"ended,omitzero"`
	Seconds  float64     `json:"seconds"`
	Waited   float64     `json:"waited,omitempty"` // seconds in the queue
	Reuse    ReuseSum    `json:"reuse,omitzero"`
	Steps    []StepRow   `json:"steps,omitempty"`
	Critical bool        `json:"critical,omitempty"` // on the critical path
	// Allowed says that it failed and is let: what needs it goes on.
	Allowed bool `json:"allowed,omitempty"`
	// Waits says that it was left out because nobody asked for it: a rerun with
	// it in play begins it.
	Waits bool `json:"waits,omitempty"`
}

// Whole reports whether every command of the job was reused.
func (j *JobRow) Whole() bool { return j.Reuse.Reused > 0 && j.Reuse.Reused == j.Reuse.Steps }

// StepRow is a step of a job.
type StepRow struct {
	Key     string      `json:"key"`
	Name    string      `json:"name"`
	Phase   plan.Phase  `json:"phase,omitempty"`
	State   State       `json:"state"`
	Outcome State       `json:"outcome,omitempty"` // before continue-on-error
	Why     string      `json:"why,omitempty"`
	At      plan.Source `json:"at,omitzero"`
	Begun   time.Time   `json:"begun,omitzero"`
	Ended   time.Time   `json:"ended,omitzero"`
	Seconds float64     `json:"seconds"`
	From    int64       `json:"from"` // its first line in the job's log
	To      int64       `json:"to"`   // its last one; less than From when it printed nothing
	Script  string      `json:"script,omitempty"`
	Reused  string      `json:"reused,omitempty"` // the run whose results stand for it
	Saved   float64     `json:"saved,omitempty"`
}

// Depth is how deep the step lies in composite actions.
func (s *StepRow) Depth() int { return strings.Count(strings.TrimSuffix(s.Key, ".post"), ".") }

// TestsView sums up the tests of a run.
type TestsView struct {
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
	Seconds float64   `json:"seconds"`
	Bad     []TestRow `json:"bad,omitempty"`
	More    int       `json:"more,omitempty"` // failed ones that are not in Bad
	Unread  []string  `json:"unread,omitempty"`
}

// TestRow is a test that failed.
type TestRow struct {
	record.TestResult
	Job string `json:"job"`
}

// ArtifactRow is a file that was kept.
type ArtifactRow struct {
	plan.Artifact
	Job    string `json:"job"`
	URL    string `json:"url,omitempty"`
	Remark string `json:"remark,omitempty"` // on values of secrets in it
}

// Critical is the chain of jobs that a run's duration hangs on.
type Critical struct {
	Jobs    []string `json:"jobs,omitempty"`            // in order
	Seconds float64  `json:"seconds"`                   // of their work
	Waited  float64  `json:"waited,omitempty"`          // seconds before and between them
	Longest string   `json:"longest,omitempty"`         // the one that cost most
	Without float64  `json:"without_seconds,omitempty"` // what the run would have taken had that one taken no time, and all waited as they did
}

// Act is something that can be done with a run, with its consequence in its name.
type Act struct {
	Name   string            `json:"name"`  // "cancel", "rerun", "approve", "goon"
	Label  string            `json:"label"` // "Re-run 2 failed jobs"
	URL    string            `json:"url"`
	Fields map[string]string `json:"fields,omitempty"`
	Verb   string            `json:"verb"`          // the access.Verb it takes
	Why    string            `json:"why,omitempty"` // not empty: why it cannot be done
	Loud   bool              `json:"-"`             // it is what one probably wants
	Danger bool              `json:"-"`
}

// LogView is the log of a job, or a part of it.
type LogView struct {
	Run    RunRow    `json:"run"`
	Job    JobRow    `json:"job"`
	Lines  int64     `json:"lines"`          // of the whole log, so far
	Closed bool      `json:"closed"`         // it will not grow any longer
	None   bool      `json:"none,omitempty"` // there is no log
	From   int64     `json:"from"`           // the first line of Part
	At     int64     `json:"at,omitempty"`
	To     int64     `json:"to,omitempty"` // At to To are selected
	Part   []LogLine `json:"part,omitempty"`
	Damage string    `json:"damage,omitempty"`
	Query  string    `json:"query,omitempty"`
	Found  *Found    `json:"found,omitempty"`
	Jobs   []JobRow  `json:"-"` // of the run
}

// LogLine is a line of a log, as a step printed it.
type LogLine struct {
	N    int64     `json:"n"`
	Step string    `json:"step,omitempty"`
	Time time.Time `json:"time"`
	Text string    `json:"text"`          // with its escape sequences, in valid UTF-8
	Cut  bool      `json:"cut,omitempty"` // it goes on; its raw log has all of it
}

// Found is what a search found.
type Found struct {
	Lines   int64   `json:"lines"`          // lines that hold the text
	Matches int64   `json:"matches"`        // how often they hold it
	Hits    []int64 `json:"hits"`           // the lines, the first of them
	More    bool    `json:"more,omitempty"` // there are more than Hits has
}

// WhyView is why the steps of a run ran, or did not.
type WhyView struct {
	Run   RunRow   `json:"run"`
	Steps []Reason `json:"steps"`
	// Skipped are jobs that did not run.
	Skipped []JobRow `json:"skipped"`
	Reuse   ReuseSum `json:"reuse"`
	Job     string   `json:"job,omitempty"`
	Step    string   `json:"step,omitempty"`
}

// Reason is why a step ran, was reused, or may not be.
type Reason struct {
	Job     string          `json:"job"`
	Step    string          `json:"step"`
	Name    string          `json:"name"`
	Did     string          `json:"did"` // reused, ran, verified, skipped, unfinished, built-in, group, not-asked
	State   State           `json:"state"`
	At      plan.Source     `json:"at,omitzero"`
	Why     string          `json:"why"`      // in one line
	Next    bool            `json:"reusable"` // what it did now can be reused
	Seconds float64         `json:"seconds"`
	From    *record.StepRef `json:"from,omitempty"`
	Saved   float64         `json:"saved,omitempty"`
	Miss    *record.Miss    `json:"miss,omitempty"`
	Key     string          `json:"key,omitempty"`
	Differs []string        `json:"differs,omitempty"`
	Bars    []Barrier       `json:"barriers,omitempty"`
	Watched *record.Watched `json:"watched,omitempty"`
}

// Barrier is why a step cannot be reused, and the way out of it.
type Barrier struct {
	Kind   string `json:"kind"`
	Why    string `json:"why"`
	WayOut string `json:"way_out,omitempty"`
}

// duration is a span of seconds for people: 0.4s, 41s, 3m12s, 2h05m.
func duration(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d <= 0:
		return "0s"
	case d < time.Millisecond:
		return "<1ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// ago is a time in the past for people: "just now", "5m ago", "3d ago".
func ago(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours())/24)
	}
}

// plural is "1 job", "2 jobs", "1,922 lines".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// thousands is a number with commas: 1,922.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		s = "-" + s
	}
	return s
}

// short is a commit as people write it.
func short(sha string) string {
	if strings.Trim(sha, "0") == "" {
		return ""
	}
	if len(sha) > 8 {
		return sha[:8]
	}
	return sha
}
