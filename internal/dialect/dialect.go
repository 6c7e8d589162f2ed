// Package dialect is the door to the pipeline languages.
//
// A dialect turns the pipeline files of a tree into plans, answers the
// questions that the engine carries unopened (what is this expression worth
// now, what does this deferred job become), and knows what a running step may
// say back: the commands in its output, the files it leaves.
//
// The way of one job through its dialect:
//
//	Compile ─► plan ─► (needs done) Eval(job.If) ─► Expand(job.Deferred) ─► Open
//	                                                                          │
//	   for each step:  Eval(step.If) ─► Session.Resolve ─► Act ─► Session.Listen
//	                                                             └─ Line … Close ─► Effects
//
// Everything but Session is pure: the same facts give the same answer, so
// that an interrupted run is resumed by asking again.
package dialect

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Dialect is one pipeline language.
type Dialect interface {
	// Name is its short name: "github".
	Name() string

	// Describe completes a change in the language's own terms: without a
	// Payload it makes one of the other fields, with one it reads them from it.
	Describe(change *plan.Change)

	// Inputs types what a person gave when starting a pipeline by hand, and
	// adds defaults.
	Inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem)

	// Compile reads all of the language's pipeline files in the tree. Every
	// pipeline is returned, whether or not the change starts it (see
	// plan.Pipeline.Start), those with errors too as far as they could be
	// read; problems are sorted by position. A nil change compiles without
	// asking what starts. The error is for our own failures: a tree that
	// cannot be read.
	Compile(ctx context.Context, tree fs.FS, change *plan.Change) ([]plan.Pipeline, []plan.Problem, error)

	// Eval is the value of an expression: a bool for conditions (If), a
	// string for outputs, names and groups. A *ProblemError tells of an
	// expression that the user must mend.
	Eval(e plan.Expr, as Kind, s *plan.Scope) (any, error)

	// Expand says what a deferred job becomes.
	Expand(ctx context.Context, job *plan.Job, s *plan.Scope) (*plan.Expansion, error)

	// Open begins a job whose room is ready.
	Open(ctx context.Context, s *plan.Scope) (Session, error)
}

// Kind is what an expression is read as.
type Kind int

// The kinds.
const (
	Condition Kind = iota // bool
	Text                  // string
)

// Session is one job while it runs. Its methods may be called from several
// goroutines: background steps run side by side.
type Session interface {
	// Setup is asked once, before the first step.
	Setup(ctx context.Context, s *plan.Scope) (Setup, error)

	// Resolve says what a step comes to, now that its turn has come and its
	// condition holds. It may be asked of the same step again, on paper and
	// in earnest.
	Resolve(ctx context.Context, step *plan.Step, s *plan.Scope) (*plan.Act, error)

	// Listen begins to listen to a step.
	Listen(step *plan.Step, act *plan.Act, s *plan.Scope) (Listener, error)

	// Do runs a built-in, writing what a person may want to read to log.
	// Problems of the user's are told by Effects.Fail, our own by the error.
	Do(ctx context.Context, b *plan.Builtin, s *plan.Scope, log io.Writer) (plan.Effects, error)

	// Close ends the session and frees what it holds.
	Close() error
}

// Interpreter is a Session of a language that has programs (plan.Program).
type Interpreter interface {
	// Interpret runs the program of a step to its end. What it wants done it
	// asks of do; what it prints itself goes to log. As with Do, problems of
	// the user's are told by Effects.Fail, or a *ProblemError with its place.
	// A run that was interrupted interprets the program from its beginning:
	// steps that had finished then are answered from the record. So what the
	// program asks for may hang on their outcomes and on the scope alone.
	Interpret(ctx context.Context, step *plan.Step, act *plan.Act, s *plan.Scope, do Doer, log io.Writer) (plan.Effects, error)
}

// Doer does what a program asks for. It may be used by several goroutines.
type Doer interface {
	// Step does one step, which Session.Resolve is asked for as for any
	// other, and tells how it ended. Its Key is that of the program's step, a
	// dot, and something that is the same whenever the program takes the same
	// way. A step that fails does not by itself fail the program. It ends
	// early with ctx, whose cause a StepOutcome then has for Why. The error
	// says that nothing more can be done.
	Step(ctx context.Context, step *plan.Step) (plan.StepOutcome, error)
}

// Holder is a Doer that knows what only so many may have at a time, whichever run of
// the repository they are of.
type Holder interface {
	// Hold waits until each of these is ours. It asks wait about the first of them that is
	// not free, with who has it; when that is false, it gives up and returns no release. What
	// is held is given back with release, or when the process ends. The error is the cause
	// of ctx, or says that nobody can be asked.
	Hold(ctx context.Context, wants []Want, wait func(name, by string) bool) (release func(), err error)
}

// Want is a thing that may be had by so many at a time.
type Want struct {
	Name string
	Of   int // at least 1
}

// Setup is what a job needs before its first step.
type Setup struct {
	Before    []plan.Step // pre steps of the actions used
	Materials []record.Material
	// Files are to be there before the first step.
	Files []plan.File
	Masks []string // secrets' values in all their forms need not be listed; only what the dialect adds
}

// Listener listens to one step: it reads the commands in its output and the
// files it leaves behind. It is used by one goroutine at a time.
type Listener interface {
	// Env is what the step needs in its environment to talk back. Values that
	// are absolute paths name files that are nobody's input or output.
	Env() map[string]string

	// Line takes one line of output, without its end and with at most
	// MaxLine bytes (longer lines come in pieces). It returns what to show,
	// nil for nothing, and what the line meant, nil for nothing (which is
	// nearly always). shown may alias line, and may hold several lines.
	Line(line []byte) (shown []byte, said *plan.Effects)

	// Close reads what the step left behind, when it has ended.
	Close() (plan.Effects, error)
}

// Pinner is a Listener to whom something matters that a terminal would not
// show: of a line that a carriage return begins anew, only the last state is
// given to Line, and in front of it those that Pins is true for, each with its
// carriage return.
type Pinner interface {
	Pins(state []byte) bool
}

// MaxLine is the length of the longest line that a Listener is given.
const MaxLine = 1 << 20

// ErrPaper is wrapped by the errors of those who were asked on paper
// (plan.Scope.Paper) and have to look into the workspace.
var ErrPaper = errors.New("the workspace is not there yet")

// ProblemError is a Problem found while something was already running, on its
// way up as a Go error.
type ProblemError struct {
	plan.Problem
	// Lacking says that this machine or the network is to blame and not the
	// user's file: what the problem stops ends in error and not in failure.
	Lacking bool
}

func (e *ProblemError) Error() string { return e.Problem.String() }
