package plan

import (
	"cmp"
	"slices"
	"time"
)

// Step is one thing a job does, as written. What it comes to is known only
// when its turn has come: then the dialect resolves it into an [Act].
//
// Exactly one of Run, Use, Wait, Cancel and Parallel is set.
type Step struct {
	// Key is unique in its job and stable from run to run: "1", "3.2" (the
	// second step of the composite action that step 3 is), "3.post".
	Key    string `json:"key"`
	ID     string `json:"id,omitempty"` // the author's name for it, in expressions
	Name   string `json:"name"`         // may hold expressions until resolved
	Source Source `json:"source"`
	If     Expr   `json:"if,omitzero"` // asked before anything else of the step

	Run      *Script `json:"run,omitempty"`
	Use      *Use    `json:"use,omitempty"`
	Wait     *Wait   `json:"wait,omitempty"`
	Cancel   string  `json:"cancel,omitempty"`   // ID of a background step
	Parallel []Step  `json:"parallel,omitempty"` // run together; the group waits for all

	Env             []Binding `json:"env,omitempty"`
	Timeout         Expr      `json:"timeout,omitzero"` // the dialect's own unit
	ContinueOnError Expr      `json:"continue_on_error,omitzero"`
	// Background steps run beside those that follow; what they say (outputs,
	// environment) counts from the moment they are waited for.
	Background bool `json:"background,omitempty"`

	Phase Phase `json:"phase,omitempty"`
	// Of is the key of the main step that a pre or post step belongs to:
	// they share saved state.
	Of string `json:"of,omitempty"`
	// Data is the dialect's own, JSON-like.
	Data map[string]any `json:"data,omitempty"`
}

// Phase tells the step that the author wrote from the ones that come with it.
type Phase string

// The phases. A main step has the empty phase.
const (
	Main Phase = ""
	Pre  Phase = "pre"
	Post Phase = "post"
)

// Script is text for a shell.
type Script struct {
	Text  Expr `json:"text"`
	Shell Expr `json:"shell,omitzero"`
	Dir   Expr `json:"dir,omitzero"`
}

// Use is a reusable piece of work: a GitHub action, an Azure task.
type Use struct {
	Ref    string    `json:"ref"` // actions/checkout@v4
	With   []Binding `json:"with,omitempty"`
	Source Source    `json:"source"`
}

// Wait waits for background steps: for those named, or for all.
type Wait struct {
	IDs []string `json:"ids,omitempty"`
	All bool     `json:"all,omitempty"`
}

// Act is what a step turned out to be. Exactly one of Command, Builtin, Group,
// Program and Problem is set.
type Act struct {
	Name            string // for people, expressions resolved
	Timeout         time.Duration
	ContinueOnError bool
	Retry           int // how often a command that failed is tried again

	Command *Command
	Builtin *Builtin
	Group   *Group
	Program *Program
	Problem *Problem // it cannot be done on this machine; the step ends in error

	// Masks are values that the dialect gives the step and nobody may see.
	Masks []string

	// Post runs after the job's main steps, the last one registered first. It is
	// registered when the step begins, whatever becomes of it.
	Post *Step
}

// Command is a process to run.
type Command struct {
	Argv  []string          `json:"argv"`
	Env   map[string]string `json:"env,omitempty"`  // the whole environment but for what the place adds
	Path  []string          `json:"path,omitempty"` // directories in front of the place's PATH
	Dir   string            `json:"dir,omitempty"`  // absolute, as seen in the room; "" is the workspace
	Files []File            `json:"-"`              // written before the start: a script
	// Container is where the command runs, instead of its job's place; the
	// directories are the same. Without Argv the container's own command is run.
	Container *Container `json:"container,omitempty"`
	// Loopback are ports of this machine's loopback address that the command finds
	// at the loopback address of the place where it runs, wherever that is.
	Loopback []int `json:"loopback,omitempty"`
	// Script is the text for people: what Argv runs, without secrets' values.
	Script string `json:"script,omitempty"`
	// Volatile names the variables of Env that tell one run from another
	// (its number, its commit, a token) and not what the command is to do.
	Volatile []string `json:"volatile,omitempty"`
}

// Program is a step whose steps follow from how the ones before them ended: a
// script of the pipeline language's own, which its dialect interprets.
type Program struct {
	Text string // for people, without secrets' values
}

// File is written before a command starts.
type File struct {
	Path string // absolute, as seen in the room
	Mode uint32
	Body []byte
}

// Builtin is work that the dialect does itself, without a process.
type Builtin struct {
	Name   string            `json:"name"` // "checkout"
	Inputs map[string]string `json:"inputs,omitempty"`
	Env    map[string]string `json:"env,omitempty"`
	// Aloof says that it neither reads nor changes the workspace and the
	// temporary directory, and may be done before there are any.
	Aloof bool `json:"aloof,omitempty"`
}

// Group is a step that is made of steps: a composite action. Its steps have
// names of their own, and see its inputs and not the job's.
type Group struct {
	Steps   []Step
	Inputs  map[string]any
	Outputs []Binding         // asked against the scope inside, when the steps are done
	Values  map[string]any    // the dialect's own, seen as Scope.Group
	Env     map[string]string // seen by its steps
}

// Effects is what a step said back: to later steps, to the job, to people.
type Effects struct {
	Env     []Setting    `json:"env,omitempty"`  // for later steps
	Path    []string     `json:"path,omitempty"` // in front of PATH, newest first
	Outputs []Setting    `json:"outputs,omitempty"`
	State   []Setting    `json:"state,omitempty"` // for the step's own post
	Masks   []string     `json:"-"`               // values never to be shown
	Notes   []Annotation `json:"notes,omitempty"`
	Summary []byte       `json:"summary,omitempty"` // Markdown
	// Artifacts are files that the step named as its products.
	Artifacts []Artifact `json:"artifacts,omitempty"`
	// Reports are files with results of tests that the step named, slash paths in the
	// workspace. They are read when the step ends, and not said again.
	Reports []string `json:"-"`
	// Fail is set when what the step said is itself a failure, whatever its
	// exit code: a disabled command, a malformed environment file.
	Fail string `json:"fail,omitempty"`
	// Lacking is set when this machine lacks what the step asked for: the
	// step ends in error.
	Lacking string `json:"lacking,omitempty"`
}

// Setting is a name and its value, in order of being said.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Artifact is a product of a step.
type Artifact struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"` // sha256:hex of its bytes
	Size   int64  `json:"size,omitempty"`
	Path   string `json:"path,omitempty"`
}

// Level is how loud an annotation is.
type Level string

// The levels.
const (
	Notice       Level = "notice"
	WarningLevel Level = "warning"
	ErrorLevel   Level = "error"
)

// Annotation is a remark about a place in the user's code.
type Annotation struct {
	Level   Level  `json:"level"`
	Title   string `json:"title,omitempty"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	EndLine int    `json:"end_line,omitempty"`
	Col     int    `json:"col,omitempty"`
	EndCol  int    `json:"end_col,omitempty"`
}

// Merge adds what was said later.
func (e *Effects) Merge(o *Effects) {
	if o == nil {
		return
	}
	e.Env = append(e.Env, o.Env...)
	e.Path = slices.Concat(o.Path, e.Path)
	e.Outputs = append(e.Outputs, o.Outputs...)
	e.State = append(e.State, o.State...)
	e.Masks = append(e.Masks, o.Masks...)
	e.Notes = append(e.Notes, o.Notes...)
	e.Summary = append(e.Summary, o.Summary...)
	e.Artifacts = append(e.Artifacts, o.Artifacts...)
	e.Reports = append(e.Reports, o.Reports...)
	e.Fail = cmp.Or(e.Fail, o.Fail)
	e.Lacking = cmp.Or(e.Lacking, o.Lacking)
}
