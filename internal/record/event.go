// Package record is the vocabulary of what happened.
//
// Everything that happens is an [Event], appended once and never changed: a
// run was planned, a job started, a step said something, a run ended. Every
// page, number, verdict and message is computed from events by a fold; [Run]
// is the first of these folds. An event is written before the thing it tells
// of counts as a fact, so whatever a crash leaves behind is either in the
// record or did not happen.
//
// A record never holds a secret's value: texts are masked before they become
// events.
package record

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Event is one fact. Seq and Time are given by the store when it is appended;
// Time is UTC.
type Event struct {
	Seq  int64     // position in the record, growing, from 1
	Time time.Time // when it was appended, or as set by the writer when not zero
	Run  string    // the run it belongs to; "" for none
	Job  string    // plan.Job.ID, "" for the run itself
	Step string    // plan.Step.Key, "" for the job itself
	Body Body
}

// Body is what an event says: one of the types of this file.
type Body interface{ kind() Kind }

// Kind names a body's type in storage. Kinds are never renamed.
type Kind string

// Kind is the kind of the event's body.
func (e Event) Kind() Kind { return e.Body.kind() }

// RunPlanned begins a run: what will be done, in answer to what.
type RunPlanned struct {
	Number   int            `json:"number"`
	Attempt  int            `json:"attempt"`
	Of       string         `json:"of,omitempty"` // the run this one repeats or goes on from
	Root     string         `json:"root"`         // directory of the tree
	Change   *plan.Change   `json:"change"`
	Pipeline *plan.Pipeline `json:"pipeline"`
	Settings Settings       `json:"settings"`
	Version  string         `json:"version"`          // Fairlead's own
	Again    *Again         `json:"again,omitempty"`  // how it goes on from Of; nil: all is run
	Origin   *Origin        `json:"origin,omitempty"` // of a server's run
	Previous *plan.Previous `json:"previous,omitempty"`
}

// Settings are what the person who started the run chose, without secrets'
// values, so that it can be started again.
type Settings struct {
	Jobs     []string            `json:"jobs,omitempty"`   // only these and what they need
	Matrix   map[string][]string `json:"matrix,omitempty"` // only these cells
	Play     []string            `json:"play,omitempty"`   // jobs that a person asked for, which wait for one
	Inputs   map[string]any      `json:"inputs,omitempty"`
	Vars     map[string]string   `json:"vars,omitempty"`
	Env      map[string]string   `json:"env,omitempty"`
	Secrets  []string            `json:"secrets,omitempty"` // names
	Parallel int                 `json:"parallel,omitempty"`
	Retry    int                 `json:"retry,omitempty"`
	InPlace  bool                `json:"in_place,omitempty"`
	NoReuse  bool                `json:"no_reuse,omitempty"`
	Verify   int                 `json:"verify,omitempty"`
	Actions  map[string]string   `json:"actions,omitempty"` // local overrides: owner/name -> directory
	// Muted are the tests that were in quarantine when the run was planned.
	Muted []Mute `json:"muted,omitempty"`
	Seed  string `json:"seed,omitempty"` // of this run's tests; a rerun has the same
	// RetryTests is how often the failed tests of a step are run again.
	RetryTests int `json:"retry_tests,omitempty"`
	// Affected has tests left out that passed before with the same inputs.
	Affected bool `json:"affected,omitempty"`
	// Counted are the counters of the pipeline; a rerun has the same.
	Counted *plan.Counted `json:"counted,omitempty"`
}

// RunStarted says that a process has taken the run on. There is one for every
// time it was taken on: a resumed run has several.
type RunStarted struct {
	Host   string `json:"host"`
	PID    int    `json:"pid"`
	Resume bool   `json:"resume,omitempty"`
}

// RunFinished ends a run.
type RunFinished struct {
	Verdict plan.Verdict `json:"verdict"`
	Why     string       `json:"why,omitempty"`
}

// CancelRequested asks the run, or one job of it, to stop.
type CancelRequested struct {
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
	// Newer is the run of a newer commit that asks: what is to stop, if anything,
	// the run's own pipeline says (plan.AutoCancel).
	Newer string `json:"newer,omitempty"`
}

// JobExpanded says what a deferred job became. The expansion itself is not
// stored: expanding again against the same facts gives the same jobs.
type JobExpanded struct {
	Jobs []JobHead `json:"jobs"`
}

// JobHead is enough of a job to show it.
type JobHead struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Stage string   `json:"stage,omitempty"`
	Needs []string `json:"needs,omitempty"`
}

// JobQueued says that a job's needs are done and it waits for a place, or for
// its concurrency group.
type JobQueued struct {
	Why   string    `json:"why,omitempty"`
	Until time.Time `json:"until,omitzero"` // it waits for a time, and not for a place
}

// JobStarted says that a job has its room.
type JobStarted struct {
	Attempt   int    `json:"attempt"`
	Workspace string `json:"workspace,omitempty"`
	Place     string `json:"place"` // "host"
	// GoesOn says that the job goes on where it was left: steps that had
	// finished are not run again.
	GoesOn bool `json:"goes_on,omitempty"`
}

// JobFinished ends a job, or an expanded job when all of its jobs have ended.
// Result is what its dependents see: continue-on-error has been applied.
type JobFinished struct {
	Verdict plan.Verdict      `json:"verdict"`
	Result  plan.Verdict      `json:"result"`
	Why     string            `json:"why,omitempty"` // "needs build, which failed"
	At      plan.Source       `json:"at,omitzero"`   // the line that decided
	Outputs map[string]string `json:"outputs,omitempty"`
	// Withheld names outputs that were not passed on because they hold a secret.
	Withheld []string `json:"withheld,omitempty"`
	// Waits says that the job was skipped because nobody had asked for it
	// (Settings.Play), and for nothing else.
	Waits bool `json:"waits,omitempty"`
}

// Material is something from outside that a job used, pinned.
type Material struct {
	Name   string `json:"name"` // "actions/setup-go@v5"
	URL    string `json:"url,omitempty"`
	Commit string `json:"commit,omitempty"`
	Local  string `json:"local,omitempty"` // directory, when overridden
	// Digest names the bytes of a container image: sha256:…
	Digest string `json:"digest,omitempty"`
}

// StepStarted says that a step's process is about to be started.
type StepStarted struct {
	Name   string      `json:"name"`
	ID     string      `json:"id,omitempty"` // the author's name for it
	Phase  plan.Phase  `json:"phase,omitempty"`
	Script string      `json:"script,omitempty"` // what runs, masked
	At     plan.Source `json:"at,omitzero"`
	Line   int64       `json:"line"` // of the job's log, at which it begins, from 0
}

// StepFinished ends a step.
type StepFinished struct {
	Name       string       `json:"name,omitempty"`
	Outcome    plan.Verdict `json:"outcome"`    // before continue-on-error
	Conclusion plan.Verdict `json:"conclusion"` // after
	Exit       int          `json:"exit,omitempty"`
	Signal     string       `json:"signal,omitempty"` // "killed", when a signal ended it
	Why        string       `json:"why,omitempty"`
	Fault      *Diagnosis   `json:"fault,omitempty"`
	Effects    plan.Effects `json:"effects,omitzero"` // masked
	Masked     bool         `json:"masked,omitempty"` // an effect held a secret: it cannot be replayed
	Line       int64        `json:"line"`             // of the job's log, after its last
	Watched    *Watched     `json:"watched,omitempty"`
	// Muted says why the Conclusion is not the Outcome: of the tests that failed,
	// all are in quarantine.
	Muted bool   `json:"muted,omitempty"`
	Reuse *Reuse `json:"reuse,omitempty"` // nil when reuse was not asked for
}

// Diagnosis is whose fault a failure is, and the way out of it.
type Diagnosis struct {
	Rule    string       `json:"rule"`    // stable name: "command-not-found"
	Verdict plan.Verdict `json:"verdict"` // failure, error or timeout
	Title   string       `json:"title"`   // one line: what went wrong
	Hint    string       `json:"hint,omitempty"`
	At      plan.Source  `json:"at,omitzero"`     // the line of the user's file that is to blame
	Lines   []string     `json:"lines,omitempty"` // the log lines that show it, masked
	Line    int64        `json:"line,omitempty"`  // of the job's log, the first of them
	// Cause is the line of the log from which the others follow, masked, as
	// package fault found it; "" when no line says more than that it failed.
	Cause     string `json:"cause,omitempty"`
	CauseLine int64  `json:"cause_line,omitempty"` // of the job's log
	// Print tells failures apart by what failed, see fault.Cause.Print: 16
	// hexadecimal digits.
	Print string `json:"print,omitempty"`
}

// Watched sums up the Observation of a step; the whole of it is with package
// cache.
type Watched struct {
	Mechanism string        `json:"mechanism,omitempty"` // "seccomp", "ptrace"; "" when nobody watched
	Inputs    int           `json:"inputs,omitempty"`
	Outputs   int           `json:"outputs,omitempty"`
	Peers     []string      `json:"peers,omitempty"` // the first few
	Calls     int64         `json:"calls,omitempty"`
	Overhead  time.Duration `json:"overhead,omitempty"`
	// Digest is of everything that the step read, and so the same for the same
	// inputs; "" when the Observation is not complete.
	Digest string `json:"digest,omitempty"`
	// Kept is the digest of the blob that holds the whole Observation: of steps
	// that left test results, and of those that failed.
	Kept string `json:"kept,omitempty"`
	// Earlier are the steps that ran before it in its workspace: of steps that
	// failed.
	Earlier []Earlier `json:"earlier,omitempty"`
}

// Earlier is a step that ran before another in the same workspace.
type Earlier struct {
	Step string `json:"step"`           // plan.Step.Key
	Kept string `json:"kept,omitempty"` // the blob of its Observation; "" when not all is known of it
}

// ChangeCompared says which files a run's change touches and what became of
// each: of runs that ended badly, for those who ask whether the change can be
// to blame.
type ChangeCompared struct {
	Base  string        `json:"base,omitempty"` // what it was compared with; "" for the newest commit
	Files []ChangedFile `json:"files"`
}

// ChangedFile is a file that a change touches.
type ChangedFile struct {
	Path string `json:"path"` // from the root, with slashes
	// Made says that it was not there before, or is there no longer.
	Made bool `json:"made,omitempty"`
}

// Reuse says whether a step was reused, and why or why not.
type Reuse struct {
	// From is the step whose results stand for this one's; nil when it ran.
	From  *StepRef      `json:"from,omitempty"`
	Saved time.Duration `json:"saved,omitempty"` // what it took then
	// Log is the digest of the lines it printed then, Lines their number.
	Log   string `json:"log,omitempty"`
	Lines int64  `json:"lines,omitempty"`

	// Miss says why it ran although something like it had run before.
	Miss *Miss `json:"miss,omitempty"`
	// Barred says why what it did now cannot be reused. Empty: it can be.
	Barred []Bar `json:"barred,omitempty"`
	// Key is the digest of what the step means: the first level of look-up.
	Key string `json:"key,omitempty"`
	// Verified is set when the step could have been reused and was run to
	// see whether it does the same; Differs names what was different.
	Verified bool     `json:"verified,omitempty"`
	Differs  []string `json:"differs,omitempty"`
}

// StepRef names a step of a run.
type StepRef struct {
	Run    string `json:"run"`
	Job    string `json:"job"`
	Step   string `json:"step"`
	Commit string `json:"commit,omitempty"`
}

// Miss is why a look-up found nothing.
type Miss struct {
	Why  string `json:"why"`            // one line: "go.sum has changed"
	Path string `json:"path,omitempty"` // what decided: a path, or a variable
	Old  string `json:"old,omitempty"`  // what it held then: a short digest, "nothing", a mode
	New  string `json:"new,omitempty"`
}

// ArtifactSaved says that a file was kept.
type ArtifactSaved struct {
	plan.Artifact
	Shown *Shown `json:"shown,omitempty"` // nil: people are given the bytes as they are
	// Earlier are the steps that ran before in its job's workspace, up to the one that
	// kept it: what they touched is what it was made of.
	Earlier []Earlier `json:"earlier,omitempty"`
}

// Shown is what people are given of an artifact that holds values of secrets.
// Jobs of the run that made it get its true bytes.
type Shown struct {
	Digest string `json:"digest,omitempty"` // of the bytes with values masked; "" for those as they are
	Size   int64  `json:"size,omitempty"`
	Masked int    `json:"masked,omitempty"` // texts with values, masked in Digest: the artifact itself, or entries of a zip
	Holds  int    `json:"holds,omitempty"`  // files with values that are no texts, and were left as they are
	// Unread says why the artifact could not be looked through; "" if it was.
	Unread string `json:"unread,omitempty"`
}

// Given is what people are given: the digest and the size.
func (a *ArtifactSaved) Given() (digest string, size int64) {
	if a.Shown != nil && a.Shown.Digest != "" {
		return a.Shown.Digest, a.Shown.Size
	}
	return a.Digest, a.Size
}

// Remark tells people what was done to the bytes that they are given; "" if
// nothing was.
func (a *ArtifactSaved) Remark() string {
	s := a.Shown
	if s == nil {
		return ""
	}
	var said []string
	if s.Masked > 0 {
		said = append(said, fmt.Sprintf("texts with secrets masked: %d", s.Masked))
	}
	if s.Holds > 0 {
		said = append(said, fmt.Sprintf("binary files that hold secrets: %d", s.Holds))
	}
	if s.Unread != "" {
		said = append(said, "not searched for secrets: "+s.Unread)
	}
	return strings.Join(said, "; ")
}

func (*RunPlanned) kind() Kind      { return "run.planned" }
func (*RunStarted) kind() Kind      { return "run.started" }
func (*RunFinished) kind() Kind     { return "run.finished" }
func (*CancelRequested) kind() Kind { return "cancel.requested" }
func (*JobExpanded) kind() Kind     { return "job.expanded" }
func (*JobQueued) kind() Kind       { return "job.queued" }
func (*JobStarted) kind() Kind      { return "job.started" }
func (*JobFinished) kind() Kind     { return "job.finished" }
func (*Material) kind() Kind        { return "material" }
func (*StepStarted) kind() Kind     { return "step.started" }
func (*StepFinished) kind() Kind    { return "step.finished" }
func (*ArtifactSaved) kind() Kind   { return "artifact.saved" }
func (*ChangeCompared) kind() Kind  { return "change.compared" }

// Decode is the inverse of json.Marshal(event.Body): it makes a body of the
// given kind. Unknown fields are ignored, so that an older Fairlead can read
// a newer record; an unknown kind is an error.
func Decode(kind Kind, data []byte) (Body, error) {
	var b Body
	switch kind {
	case "run.planned":
		b = new(RunPlanned)
	case "run.started":
		b = new(RunStarted)
	case "run.finished":
		b = new(RunFinished)
	case "cancel.requested":
		b = new(CancelRequested)
	case "job.expanded":
		b = new(JobExpanded)
	case "job.queued":
		b = new(JobQueued)
	case "job.started":
		b = new(JobStarted)
	case "job.finished":
		b = new(JobFinished)
	case "material":
		b = new(Material)
	case "step.started":
		b = new(StepStarted)
	case "step.finished":
		b = new(StepFinished)
	case "tests.reported":
		b = new(TestsReported)
	case "test.judged":
		b = new(TestJudged)
	case "coverage.reported":
		b = new(CoverageReported)
	case "load.reported":
		b = new(LoadReported)
	case "findings.reported":
		b = new(FindingsReported)
	case "artifact.saved":
		b = new(ArtifactSaved)
	case "change.compared":
		b = new(ChangeCompared)
	case "hook.received":
		b = new(HookReceived)
	case "run.requested":
		b = new(RunRequested)
	case "request.settled":
		b = new(RequestSettled)
	case "run.approved":
		b = new(RunApproved)
	case "environment.asked":
		b = new(EnvironmentAsked)
	case "environment.approved":
		b = new(EnvironmentApproved)
	case "acted":
		b = new(Acted)
	case "effect.planned":
		b = new(EffectPlanned)
	case "effect.done":
		b = new(EffectDone)
	case "worker.seen":
		b = new(WorkerSeen)
	case "flag.changed":
		b = new(FlagChanged)
	case "release.publishing":
		b = new(ReleasePublishing)
	case "release.published":
		b = new(ReleasePublished)
	case "release.made":
		b = new(ReleaseMade)
	case "rollout.moved":
		b = new(RolloutMoved)
	case "release.rejected":
		b = new(ReleaseRejected)
	case "drift.found":
		b = new(DriftFound)
	case "incident.changed":
		b = new(IncidentChanged)
	default:
		return nil, fmt.Errorf("record: unknown kind of event %q", kind)
	}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("record: decode %s: %w", kind, err)
	}
	return b, nil
}
