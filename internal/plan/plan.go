// Package plan is the vocabulary of intentions: what somebody wants to happen,
// before anything has happened.
//
// Every pipeline language compiles to the types of this package, and one
// engine runs them. A plan is immutable after launch, plain data, and
// serialisable; results are never written into it (they are events, see
// package record).
//
// Two ideas keep the many pipeline languages out of the engine:
//
//   - An [Expr] is text that only its own dialect can read. The engine carries
//     it unopened and asks the dialect for its value.
//   - A [Deferred] is a part of the plan that can be known only later (a matrix
//     computed from a job's output, a called workflow). When its time has come
//     the engine asks the dialect to expand it into jobs.
//
// What those questions are asked against is a [Scope]: the facts so far. The
// answers are pure functions of the scope, which is what lets an interrupted
// run resume by replaying them.
//
// Jobs of one pipeline form a graph. A job's ID is unique in its graph and is
// a path: "test", "test/20-linux" (a cell of a matrix), "release/build" (a job
// of a called workflow). Needs name siblings: the same prefix.
package plan

import (
	"fmt"
	"slices"
	"time"
)

// Source is a place in a file of the user's: what every node of a plan and
// every [Problem] points at. Line and Col count from 1; 0 means unknown.
type Source struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String is file:line:col, as far as known.
func (s Source) String() string {
	switch {
	case s.Line == 0:
		return s.File
	case s.Col == 0:
		return fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	return fmt.Sprintf("%s:%d:%d", s.File, s.Line, s.Col)
}

// IsZero reports whether nothing is known of the place.
func (s Source) IsZero() bool { return s == Source{} }

// Severity says whether a [Problem] stops a pipeline from running.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is something wrong with a file of the user's. It is a value and not
// a Go error: it has a position, a cause and a way out, and many can be
// reported at once.
type Problem struct {
	Source
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"`           // short stable name: "syntax", "expression", "needs"
	Message  string   `json:"message"`        // what is wrong and why
	Hint     string   `json:"hint,omitempty"` // what to do next
}

// String is one line: file:line:col: message [rule].
func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s [%s]", p.Source, p.Message, p.Rule)
	if p.Hint != "" {
		s += ": " + p.Hint
	}
	return s
}

// Errors reports whether any problem has severity [Error].
func Errors(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == Error {
			return true
		}
	}
	return false
}

// Expr is text that only the dialect that made it can read. The zero Expr
// means "not given".
type Expr struct {
	Text   string `json:"text,omitempty"`
	Source Source `json:"source,omitzero"`
}

// IsZero reports whether the expression was not given.
func (e Expr) IsZero() bool { return e.Text == "" }

// Binding gives a name a value that is known only at run time. Lists of
// bindings keep the order of the file.
type Binding struct {
	Name  string `json:"name"`
	Value Expr   `json:"value"`
}

// Pipeline is one compiled pipeline: a graph of jobs.
type Pipeline struct {
	Dialect string `json:"dialect"` // "github"
	Name    string `json:"name"`    // display name
	RunName Expr   `json:"run_name,omitzero"`
	File    string `json:"file"` // slash path inside the tree
	Source  Source `json:"source"`

	// Start says whether the change starts this pipeline, and why or why not.
	Start Start `json:"start"`
	// Since names refs that what is part of it compares the change with: see
	// Change.Since.
	Since []string `json:"since,omitempty"`
	// Events names what can start it, in file order ("push", "workflow_dispatch").
	Events []string `json:"events,omitempty"`
	// Inputs are the values a person may give when starting it by hand.
	Inputs []Input `json:"inputs,omitempty"`

	Concurrency *Concurrency `json:"concurrency,omitempty"`
	AutoCancel  AutoCancel   `json:"auto_cancel,omitzero"`
	Jobs        []Job        `json:"jobs"`

	// Texts are the files the pipeline was compiled from, so that a stored
	// plan can be expanded and shown without the tree.
	Texts []Text `json:"texts,omitempty"`
}

// Text is a file the plan was compiled from.
type Text struct {
	Path   string `json:"path"`             // slash path in the tree, or owner/repo/path@ref
	Commit string `json:"commit,omitempty"` // of another repository, when it came from one
	Body   string `json:"body"`
}

// Start says whether a change starts a pipeline.
type Start struct {
	Yes bool   `json:"yes"`
	Why string `json:"why"`         // "push to main matches branches: [main]"
	At  Source `json:"at,omitzero"` // the line that decided
	// Files is set when the answer hangs on the files that the change
	// touches.
	Files bool `json:"files,omitempty"`
}

// AutoCancel says when a run ends by itself before its time.
type AutoCancel struct {
	OnFailure bool       `json:"on_failure,omitempty"` // a job that fails cancels all others
	OnNewer   Redundancy `json:"on_newer,omitempty"`
}

// Redundancy says what becomes of a run when a newer commit of its branch or
// change has one, too.
type Redundancy string

// The redundancies. The empty one is KeepGoing.
const (
	KeepGoing Redundancy = ""
	// Conservative cancels the run, unless a job has begun that may not be interrupted.
	Conservative Redundancy = "conservative"
	// Selective cancels the jobs that may be interrupted.
	Selective Redundancy = "interruptible"
)

// Input is a value a person may give when starting a pipeline by hand.
type Input struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Type        string   `json:"type"` // string, boolean, number, choice, environment
	Required    bool     `json:"required,omitempty"`
	Default     any      `json:"default,omitempty"`
	Options     []string `json:"options,omitempty"`
	Source      Source   `json:"source"`
}

// Job is a list of steps that run one after another in one place.
//
// A job whose details hang on values not yet known has a Deferred; the engine
// expands it once its needs are done and If holds, and the job then stands for
// the jobs it became: its result is the worst of theirs, its outputs come from
// them. A job made by an expansion may itself be deferred.
type Job struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`            // may hold expressions until expanded
	Stage  string   `json:"stage,omitempty"` // for people: jobs of one stage are shown together
	Source Source   `json:"source"`
	Needs  []string `json:"needs,omitempty"`

	// If is asked when every need is done. A zero If means the dialect's
	// default, which the dialect has already written here.
	If Expr `json:"if,omitzero"`

	Deferred *Deferred `json:"deferred,omitempty"`

	Place   Place     `json:"place,omitzero"`
	Env     []Binding `json:"env,omitempty"`
	Steps   []Step    `json:"steps,omitempty"`
	Outputs []Binding `json:"outputs,omitempty"`
	// Confided comes to a JSON object of texts that those who need the job are told and
	// nobody else: they are secrets, and no part of the record.
	Confided        Expr          `json:"confided,omitzero"`
	Timeout         time.Duration `json:"timeout,omitempty"`
	ContinueOnError bool          `json:"continue_on_error,omitempty"`
	// Interruptible says that a newer run may cancel it: see AutoCancel.
	Interruptible bool `json:"interruptible,omitempty"`
	// Tolerate lists exit codes that, as ContinueOnError, hurt nobody else.
	Tolerate []int `json:"tolerate,omitempty"`
	// Delay is waited from the moment the job could have begun.
	Delay       time.Duration     `json:"delay,omitempty"`
	Retry       *Retry            `json:"retry,omitempty"`
	Concurrency *Concurrency      `json:"concurrency,omitempty"`
	Environment *Environment      `json:"environment,omitempty"`
	Permissions map[string]string `json:"permissions,omitempty"`
	// Tokens are ID tokens that the job is given as secrets.
	Tokens []Token `json:"tokens,omitempty"`

	// Values is what the dialect wants to know again when it reads this
	// job's expressions: the matrix cell, a called workflow's inputs. JSON-like:
	// nil, bool, float64, string, []any, map[string]any.
	Values map[string]any `json:"values,omitempty"`
}

// Token asks for an ID token: a signed text that says what a job is, for those whom it
// shows it to.
type Token struct {
	Name     string   `json:"name"` // of the secret
	Audience []string `json:"audience,omitempty"`
	Source   Source   `json:"source,omitzero"`
}

// Retry says when a job that ended badly is tried again.
type Retry struct {
	Max int `json:"max"` // further attempts
	// On are the verdicts that are tried again, and Exit the exit codes; what
	// either names is. With both empty every bad end is.
	On   []Verdict `json:"on,omitempty"`
	Exit []int     `json:"exit,omitempty"`
}

// Again reports whether an attempt that ended like this is followed by another.
func (r *Retry) Again(attempt int, v Verdict, exit int) bool {
	if r == nil || attempt > r.Max || !v.Bad() {
		return false
	}
	return len(r.On)+len(r.Exit) == 0 || slices.Contains(r.On, v) || exit != 0 && slices.Contains(r.Exit, exit)
}

// Deferred is a part of the plan that can be known only later. Only the
// dialect that made it can expand it.
type Deferred struct {
	Kind   string         `json:"kind"` // the dialect's own word: "matrix", "call", "fields"
	Source Source         `json:"source"`
	Data   map[string]any `json:"data,omitempty"` // JSON-like
}

// Expansion is what a [Deferred] became.
type Expansion struct {
	Jobs        []Job `json:"jobs"`
	FailFast    bool  `json:"fail_fast,omitempty"`    // one failure cancels the siblings
	MaxParallel int   `json:"max_parallel,omitempty"` // 0: no limit
	// Outputs of the whole, asked against Scope.Jobs. When empty the outputs
	// of the jobs are merged, the last to finish winning.
	Outputs []Binding `json:"outputs,omitempty"`
	// Confided of the whole, asked against Scope.Jobs: see Job.
	Confided Expr `json:"confided,omitzero"`
}

// Place says where a job wants to run. All values are concrete.
type Place struct {
	Labels    []string             `json:"labels,omitempty"` // "ubuntu-latest"
	Group     string               `json:"group,omitempty"`
	Container *Container           `json:"container,omitempty"`
	Services  map[string]Container `json:"services,omitempty"`
	// Home says that the job is done by who runs the pipeline, and never by a worker: it
	// has to do with the run and not with the machine.
	Home   bool   `json:"home,omitempty"`
	Source Source `json:"source,omitzero"`
}

// Container is an image to run in, or a service to run beside the job.
type Container struct {
	// Image is a reference: "alpine:3.20", "alpine@sha256:…".
	Image string `json:"image"`
	// Build is made into the image when it is set; Image is then empty.
	Build   *Build            `json:"build,omitempty"`
	Aliases []string          `json:"aliases,omitempty"` // further names of a service for the job
	Env     map[string]string `json:"env,omitempty"`
	Private []Binding         `json:"private,omitempty"` // further variables, expressions over secrets
	Ports   []string          `json:"ports,omitempty"`   // "5432", "8080:80/tcp"
	Volumes []string          `json:"volumes,omitempty"` // "name:/path", "/here:/there:ro"
	Options string            `json:"options,omitempty"` // flags of docker create, as a person would write them
	User    string            `json:"user,omitempty"`
	// Entrypoint replaces the image's when it is not nil; one empty string
	// takes it away.
	Entrypoint []string `json:"entrypoint,omitempty"`
	Command    []string `json:"command,omitempty"`
	Pull       Pull     `json:"pull,omitempty"`
	// Username and Password may hold expressions over secrets, which are
	// never in a plan.
	Username Expr   `json:"username,omitzero"`
	Password Expr   `json:"password,omitzero"`
	Source   Source `json:"source,omitzero"`
}

// Build is an image to be built from files.
type Build struct {
	Dir  string            `json:"dir"`            // the context; absolute, or below the workspace
	File string            `json:"file,omitempty"` // the Dockerfile, below Dir; "" for Dockerfile
	Args map[string]string `json:"args,omitempty"`
	// Options are further flags of docker build.
	Options string `json:"options,omitempty"`
}

// Pull says when an image is fetched from its registry.
type Pull string

// The pull policies. The empty one is PullMissing.
const (
	PullMissing Pull = "if-not-present"
	PullAlways  Pull = "always"
	PullNever   Pull = "never"
)

// Concurrency says what may not run at the same time as something else.
type Concurrency struct {
	Group            Expr `json:"group"`
	CancelInProgress Expr `json:"cancel_in_progress,omitzero"`
	// Queue keeps every waiting run instead of only the newest.
	Queue  bool   `json:"queue,omitempty"`
	Source Source `json:"source,omitzero"`
}

// Environment is where a job deploys to.
type Environment struct {
	Name   string `json:"name"`
	URL    Expr   `json:"url,omitzero"`
	Source Source `json:"source,omitzero"`
}
