// Package workflow reads GitHub workflow files and action.yml files into typed
// trees in which every value knows where it stands.
//
// A file goes through three gates, and each one only looks at what it knows
// about:
//
//   - YAML (yaml.go): bytes become a tree of [Node], within limits of size,
//     depth and number of nodes, scalars read by the YAML 1.2 core schema as
//     GitHub does ("on" is a key, "yes" is a string, 010 is ten).
//   - Grammar (grammar.go, schema.go): one table says which keys there are, what
//     each may hold and which expression contexts and functions are allowed in
//     it. A generic reader walks node tree and table together. A test compares
//     the table with the schema that GitHub publishes.
//   - Meaning (convert.go, check.go, call.go): what no table can say. IDs, the
//     graph of needs, matrix rules, cron lines, called workflows.
//
// What is wrong with a file is a [plan.Problem] with a place, a cause and a way
// out. A tree comes back even then, holding whatever could be understood, so
// that a linter can go on and a listing can still name the jobs.
//
// Nothing here evaluates an expression; package expression does.
package workflow

import (
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Workflow is one file of .github/workflows.
type Workflow struct {
	Name        Str
	Description Str
	RunName     Str // may hold expressions
	On          Triggers
	Env         []Pair
	Defaults    *Defaults    // nil when not given
	Permissions *Permissions // nil when not given
	Concurrency *Concurrency // nil when not given
	Jobs        []*Job       // in file order
	Source      plan.Source  // of the first key
	Text        string       // the file as it was read

	size   int             // by GitHub's measure, see sizeOfValue
	jobsAt plan.Source     // of the mapping of jobs
	byID   map[string]*Job // by lower-case ID
}

// Job finds a job by its ID; IDs ignore case. It returns nil when there is none.
func (w *Workflow) Job(id string) *Job { return w.byID[strings.ToLower(id)] }

// Str is a scalar as written in a file. The zero Str means "not given".
//
// Text is what GitHub makes of the scalar where a string is wanted: true for
// True, 255 for 0xff, the empty string for null. A Text that holds ${{ }} is a
// template; see [Str.HasExpr].
type Str struct {
	Text   string
	Value  any // nil, bool, float64 or string, as YAML types the scalar
	Source plan.Source
	Style  Style
}

// Style is how a scalar is written; block scalars tell where in the file a
// given line of their text stands.
type Style uint8

// The styles.
const (
	Plain   Style = iota
	Quoted        // in single or double quotes
	Literal       // after |
	Folded        // after >
)

// Given reports whether the file has this value at all, be it empty.
func (s Str) Given() bool { return s.Source.Line > 0 }

// Quoted reports whether the scalar was written in quotes, which makes it a
// string whatever it looks like.
func (s Str) Quoted() bool { return s.Style == Quoted }

// HasExpr reports whether the text holds at least one ${{ }} expression.
func (s Str) HasExpr() bool { return strings.Contains(s.Text, openExpr) }

// Bool is the value of a literal boolean; ok is false for anything else, an
// expression for one.
func (s Str) Bool() (value, ok bool) { value, ok = s.Value.(bool); return value, ok }

// Number is the value of a literal number; ok is false for anything else.
func (s Str) Number() (value float64, ok bool) { value, ok = s.Value.(float64); return value, ok }

// Pair is a name and its value, in file order.
//
// With Insert set the pair stands for a whole mapping computed at run time: Value
// is one expression whose entries belong in this place. That is what both of
//
//	env: ${{ fromJSON(x) }}
//	env: { "${{ insert }}": "${{ fromJSON(x) }}" }
//
// come to.
type Pair struct {
	Key    Str
	Value  Str
	Insert bool
}

// Triggers is the on: of a workflow.
type Triggers struct {
	Events   []Trigger // in file order
	Dispatch *Dispatch // of workflow_dispatch; nil when it is not among the events
	Call     *Call     // of workflow_call; nil when it is not among the events
	Source   plan.Source
}

// Event finds the trigger of an event; nil when the workflow does not have it.
func (t *Triggers) Event(name string) *Trigger {
	for i := range t.Events {
		if t.Events[i].Event == name {
			return &t.Events[i]
		}
	}
	return nil
}

// Trigger is one event and its filters. Filters not given are nil.
type Trigger struct {
	Event          string
	Types          []Str
	Branches       []Str
	BranchesIgnore []Str
	Tags           []Str
	TagsIgnore     []Str
	Paths          []Str
	PathsIgnore    []Str
	Workflows      []Str // of workflow_run
	Names          []Str // of image_version
	Versions       []Str // of image_version
	Cron           []Cron
	Source         plan.Source // of the event's name
}

// Cron is one line of a schedule.
type Cron struct {
	Line     Str // five fields
	Timezone Str
}

// Dispatch is what a person may give when starting a workflow by hand.
type Dispatch struct {
	Inputs []Input
}

// Call is the interface of a workflow that other workflows call.
type Call struct {
	Inputs  []Input
	Outputs []Output
	Secrets []Secret
	Source  plan.Source
}

// Input is a declared input of a workflow or an action.
type Input struct {
	Name        Str
	Description Str
	Type        Str // as written; see Kind
	Required    Str
	Default     Str
	Options     []Str // of a choice
	Deprecation Str   // of an action's input
}

// Kind is the type; string when none is given, or none that there is.
func (i Input) Kind() string {
	switch i.Type.Text {
	case "boolean", "number", "choice", "environment":
		return i.Type.Text
	}
	return "string"
}

// Must reports whether the input is required.
func (i Input) Must() bool { b, _ := i.Required.Bool(); return b }

// Output is a declared output of a called workflow or a composite action.
type Output struct {
	Name        Str
	Description Str
	Value       Str
}

// Secret is a declared secret of a called workflow.
type Secret struct {
	Name        Str
	Description Str
	Required    Str
}

// Must reports whether the secret is required.
func (s Secret) Must() bool { b, _ := s.Required.Bool(); return b }

// Defaults are the settings that run steps have unless they say otherwise.
type Defaults struct {
	Shell            Str
	WorkingDirectory Str
	Source           plan.Source
}

// Concurrency says what may not run at the same time.
type Concurrency struct {
	Group            Str
	CancelInProgress Str
	Queue            Str // single or max
	Source           plan.Source
}

// Environment is where a job deploys to.
type Environment struct {
	Name       Str
	URL        Str
	Deployment Str // false: protection rules only, no deployment is recorded
	Source     plan.Source
}

// Job is one entry of jobs. It either has steps and a runner, or calls another
// workflow (Uses is given).
type Job struct {
	ID    Str
	Name  Str // not given: use the ID
	Needs []Str
	If    Str // as written
	// Condition is the expression that decides, never empty: without a status
	// function what was written is guarded by success().
	Condition string

	RunsOn          RunsOn
	Strategy        *Strategy // nil when not given
	Env             []Pair
	Steps           []*Step
	Container       *Container // nil when not given
	Services        []Service
	Outputs         []Pair
	Timeout         Str // minutes
	CancelTimeout   Str // minutes
	ContinueOnError Str
	Concurrency     *Concurrency
	Defaults        *Defaults
	Environment     *Environment
	Permissions     *Permissions
	Snapshot        *Snapshot

	Uses           Str
	With           []Pair
	Secrets        []Pair
	InheritSecrets bool
	Called         *Workflow // set by [Linker.Link]

	Source plan.Source // of the first key inside the job
}

// RunsOn names the machine a job wants.
type RunsOn struct {
	// Labels a machine must have, all of them. A label that is one whole
	// expression may come to a list.
	Labels []Str
	Group  Str
	Whole  bool // runs-on is one expression, Labels[0]; it may also come to a mapping
	List   bool // labels were written as a list
	Source plan.Source
}

// Strategy multiplies a job.
type Strategy struct {
	Expr        Str     // the whole strategy as one expression
	Matrix      *Matrix // nil when not given
	FailFast    Str
	MaxParallel Str
	Source      plan.Source
}

// Matrix is the cells a job is run for.
type Matrix struct {
	Expr    Str // the whole matrix as one expression
	Vectors []Field
	Include *Node // a list of mappings, or an expression; nil when not given
	Exclude *Node
	Source  plan.Source
}

// Field is an entry of a mapping whose values may be anything. Insert is as in
// [Pair].
type Field struct {
	Key    Str
	Value  *Node
	Insert bool
}

// Container is an image to run in, or a service beside the job.
type Container struct {
	Expr        Str // the whole container as one expression
	Image       Str
	Env         []Pair
	Ports       []Str
	Volumes     []Str
	Options     Str
	Entrypoint  Str // services only
	Command     Str // services only
	Credentials *Credentials
	Short       bool // given as an image alone
	Source      plan.Source
}

// Credentials log in to the registry of an image.
type Credentials struct {
	Username, Password Str
	Source             plan.Source
}

// Service is a container that runs beside a job. With Insert set, Container is
// one expression that comes to a mapping of services.
type Service struct {
	Name      Str
	Container *Container
	Insert    bool
}

// Snapshot makes an image of the machine after the job.
type Snapshot struct {
	Image     Str
	Version   Str
	If        Str
	Condition string // as for a job
	Short     bool   // given as an image name alone
	Source    plan.Source
}

// Step is one step of a job or of a composite action. Exactly one of Run, Uses,
// Wait, WaitAll, Cancel and Parallel is given.
type Step struct {
	ID Str
	// Key is the ID, or the one that GitHub makes up when none is given:
	// __run, __actions_checkout_2. Unique in its list of steps.
	Key       string
	Name      Str
	If        Str
	Condition string // as for a job; empty for steps that cannot have one

	Run              Str
	Shell            Str
	WorkingDirectory Str
	Uses             Str
	With             []Pair

	Env             []Pair
	Timeout         Str // minutes
	ContinueOnError Str
	Background      Str

	Wait     []Str
	WaitAll  Str
	Cancel   Str
	Parallel []*Step

	Source plan.Source
}

// Kind of a step: run, uses, wait, wait-all, cancel, parallel; empty when the
// step says none of them.
func (s *Step) Kind() string {
	switch {
	case s.Run.Given():
		return "run"
	case s.Uses.Given():
		return "uses"
	case s.Wait != nil:
		return "wait"
	case s.WaitAll.Given():
		return "wait-all"
	case s.Cancel.Given():
		return "cancel"
	case s.Parallel != nil:
		return "parallel"
	}
	return ""
}

// Action is an action.yml.
type Action struct {
	Name        Str
	Description Str
	Author      Str
	Inputs      []Input
	Outputs     []Output
	Runs        Runs
	Source      plan.Source
	Text        string
}

// Runs says what an action does, by Using: composite has Steps; node20 and the
// like have Main, Pre and Post; docker has Image and the rest.
type Runs struct {
	Using  Str
	Main   Str
	Pre    Str
	PreIf  Str
	Post   Str
	PostIf Str

	Steps []*Step

	Image          Str
	Entrypoint     Str
	PreEntrypoint  Str
	PostEntrypoint Str
	Args           []Str
	Env            []Pair

	Source plan.Source
}
