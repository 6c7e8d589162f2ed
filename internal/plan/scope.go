package plan

import "time"

// Verdict is how a step, a job or a run ended. The line between Failure (your
// code) and Fault (our machine, network, quota or tool) is kept everywhere.
type Verdict string

// The verdicts. The empty verdict means "not ended".
const (
	Success   Verdict = "success"
	Failure   Verdict = "failure"
	Fault     Verdict = "error"
	Timeout   Verdict = "timeout"
	Cancelled Verdict = "cancelled"
	Skipped   Verdict = "skipped"
)

// Bad reports whether the verdict stops what needs it: failure, error,
// timeout.
func (v Verdict) Bad() bool { return v == Failure || v == Fault || v == Timeout }

// Worse is the worse of two verdicts: skipped < success < cancelled < timeout
// < failure < error. The empty verdict is the best.
func Worse(a, b Verdict) Verdict {
	if rank[b] > rank[a] {
		return b
	}
	return a
}

var rank = map[Verdict]int{Skipped: 1, Success: 2, Cancelled: 3, Timeout: 4, Failure: 5, Fault: 6}

// Change is what happened that pipelines may answer to: a push, a pull
// request, a person's wish. It is known before a run begins and never changes.
// Events have GitHub's names, whatever the code host: every other dialect
// translates them.
type Change struct {
	Event string `json:"event"` // "push", "pull_request", "workflow_dispatch"
	// Payload is the event in GitHub's shape, too; nil when all that is known
	// is in the other fields, which are filled in any case.
	Payload map[string]any    `json:"payload,omitempty"`
	Inputs  map[string]string `json:"inputs,omitempty"` // given by a person, untyped

	Ref           string `json:"ref"`                // refs/heads/main
	SHA           string `json:"sha"`                // the commit; all zeros when there is none yet
	Dirty         bool   `json:"dirty,omitempty"`    // the tree has uncommitted changes
	BaseRef       string `json:"base_ref,omitempty"` // of a pull request: "main"
	HeadRef       string `json:"head_ref,omitempty"`
	Before        string `json:"before,omitempty"` // the commit compared with
	Repository    string `json:"repository"`       // owner/name
	Server        string `json:"server"`           // https://github.com
	DefaultBranch string `json:"default_branch,omitempty"`
	Actor         string `json:"actor"`

	// Commit is what the commit says of itself; nil when that is not known.
	Commit *Commit `json:"commit,omitempty"`
	// Vars are the variables given for this run, for conditions on what is part of it.
	Vars map[string]string `json:"vars,omitempty"`

	// Files that the change touches, slash paths; FilesKnown is false when
	// there is nothing to compare with, and then every path filter matches.
	Files      []string `json:"files,omitempty"`
	FilesKnown bool     `json:"files_known,omitempty"`
	// Since are the files that differ from other refs, by the ref as a pipeline
	// names it ([Pipeline].Since): nil for one that there is nothing of.
	Since map[string][]string `json:"since,omitempty"`
}

// Commit is what a commit says of itself.
type Commit struct {
	Message string    `json:"message"`
	Author  string    `json:"author,omitempty"`
	Email   string    `json:"email,omitempty"`
	Time    time.Time `json:"time,omitzero"` // when it was made, not written
}

// Context is what holds for a whole run: the change, the run's identity and
// the values given to it. Secrets live here and nowhere else in the plan's
// vocabulary; a Context is never stored.
type Context struct {
	Pipeline *Pipeline
	Change   *Change
	Root     string // directory of the tree that the run was started in
	RunID    string // decimal digits, unique per data directory
	Number   int    // counts runs of this pipeline
	Attempt  int
	Inputs   map[string]any // typed, of workflow_dispatch
	Vars     map[string]string
	Secrets  map[string]string
	Env      map[string]string   // given on the command line; weaker than the file's
	Only     map[string][]string // matrix values to keep; empty keeps all
	Play     []string            // IDs or names of the jobs that a person asked for, which wait for one
	Debug    bool
	Previous *Previous // nil: none, or none that the dialect wants to know of
	Counted  *Counted  // nil: the pipeline has no counters
}

// Counted are the counters of a pipeline's as they stand for one run: given out
// when it was planned, the same in a run that goes on or repeats it.
type Counted struct {
	At      time.Time      `json:"at"`      // when they were given out
	Numbers map[string]int `json:"numbers"` // by what each counter counts
}

// Previous is the run of the same pipeline and ref that had ended last when this one
// was planned.
type Previous struct {
	RunID   string            `json:"run"`
	Number  int               `json:"number"`
	Verdict Verdict           `json:"verdict"`
	Outputs map[string]string `json:"outputs,omitempty"` // of its jobs
	Begun   time.Time         `json:"begun,omitzero"`
	Ended   time.Time         `json:"ended,omitzero"`
}

// Scope is the facts against which a dialect reads an expression. Fields that
// do not apply where it is read are zero.
type Scope struct {
	*Context
	Job *Job

	// Needs are the outcomes of the jobs needed directly, by the last part
	// of their ID.
	Needs map[string]Outcome
	// Jobs are the outcomes of all jobs of an expansion, by the last part of
	// their ID, when its outputs are asked for.
	Jobs map[string]Outcome
	// Status is the job's so far (Success, Failure or Cancelled); before
	// the job begins, the worst among all its ancestors.
	Status Verdict

	// Inside a job:
	Step  *Step                  // whose field it is; nil for the job's own
	Steps map[string]StepOutcome // by the author's ID, at this depth
	Env   map[string]string      // set by earlier steps for later ones
	Path  []string               // put in front of PATH by earlier steps, newest first
	State map[string]string      // saved by the other phases of the same step
	Dirs  Dirs
	// Beside are the services that run beside the job, by their names.
	Beside map[string]Beside
	// Paper says that Dirs are not there yet: the job is gone through to see
	// whether it has to be done at all. Whoever would look into them cannot.
	Paper bool
	Group *GroupScope // inside a composite action
	// Exit-independent facts about this machine for expressions: "Linux", "X64".
	OS, Arch string
	Started  time.Time
}

// GroupScope is what the steps of a composite action see instead of the job's.
type GroupScope struct {
	Inputs map[string]any
	Values map[string]any
	Env    map[string]string
	Status Verdict // of the group's own steps so far
	Parent *GroupScope
}

// Outcome is how a job that others need ended.
type Outcome struct {
	Verdict Verdict           `json:"verdict"`
	Outputs map[string]string `json:"outputs,omitempty"`
	// Confided is what the job told in confidence (Job.Confided). It is not known of
	// a job that ended before its run was resumed, or in another run.
	Confided map[string]string `json:"confided,omitempty"`
}

// StepOutcome is how an earlier step of the same job ended. Outcome is before
// continue-on-error was applied, Conclusion after.
type StepOutcome struct {
	Outcome    Verdict           `json:"outcome"`
	Conclusion Verdict           `json:"conclusion"`
	Outputs    map[string]string `json:"outputs,omitempty"`
	Exit       int               `json:"exit,omitempty"` // of a command
	Why        string            `json:"why,omitempty"`  // it ended badly
}

// Beside is a service that runs beside a job.
type Beside struct {
	ID      string // of its container
	Network string // that it is in, with the job if that is in a container, too
	// Ports are those of this machine at which its own can be reached, by
	// their numbers: "5432" is "32768".
	Ports map[string]string
}

// Dirs are the directories of a room, absolute, as its steps see them.
type Dirs struct {
	Workspace string // the job's view of the tree
	Temp      string // emptied for every job
	Tools     string // tool cache, kept between jobs
	Home      string // "" leaves HOME alone
}
