// Package declarative reads pipeline { … }, the fixed form of a Jenkinsfile.
//
// It works on the tree of the Groovy parser and runs nothing: what it gives is
// a model whose leaves are still expressions and closures of that tree, to be
// evaluated when their turn has come, and the problems that Jenkins' own
// validator would report before it starts the pipeline.
//
//	groovy.Script ── Find ──► the call of pipeline ── Read ──► Pipeline, problems
//
// The wording of a problem is Jenkins' own wherever Jenkins has one, because
// that is what people search for; position and way out are added.
package declarative

import (
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Pipeline is the model of pipeline { … }.
type Pipeline struct {
	Script     *groovy.Script
	Source     plan.Source
	Directives        // of the whole pipeline; its When and Input are nil
	Parameters []Call // string(name: …)
	Triggers   []Call // cron('…')
	Libraries  []groovy.Expr
	Stages     []*Stage
}

// Directives are what a pipeline and a stage may both say.
type Directives struct {
	Agent       *Agent // nil: not given
	Environment []Variable
	Tools       []Tool
	Options     []Call
	Input       *Input
	When        *When
	Post        []Condition // in the order of the file
}

// Option is the option of that name, or nil.
func (d *Directives) Option(name string) *Call {
	for i := range d.Options {
		if d.Options[i].Name == name {
			return &d.Options[i]
		}
	}
	return nil
}

// Call is an option, a trigger or a parameter.
type Call struct {
	Name   string
	Expr   *groovy.CallExpr
	Source plan.Source
}

// Agent is where stages run.
type Agent struct {
	Type    string      // any, none, label, node, docker, dockerfile, kubernetes …
	Value   groovy.Expr // given without a name: agent { label 'x' }; nil for none
	Options []Option
	Source  plan.Source
}

// Option is a named value in a block.
type Option struct {
	Name   string
	Value  groovy.Expr
	Source plan.Source
}

// Get is the value of an option of the agent, or nil.
func (a *Agent) Get(name string) groovy.Expr {
	for _, o := range a.Options {
		if o.Name == name {
			return o.Value
		}
	}
	return nil
}

// Variable is a line of environment.
type Variable struct {
	Name   string
	Value  groovy.Expr
	Source plan.Source
}

// Tool is a line of tools.
type Tool struct {
	Type   string // maven, jdk …
	Name   groovy.Expr
	Source plan.Source
}

// Condition is a block of post.
type Condition struct {
	Name   string // always, failure …
	Body   *groovy.ClosureExpr
	Source plan.Source
}

// Input asks a person before a stage goes on.
type Input struct {
	Fields     []Option // message, id, ok, submitter, submitterParameter
	Parameters []Call
	Source     plan.Source
}

// Get is the value of a field, or nil.
func (i *Input) Get(name string) groovy.Expr {
	for _, o := range i.Fields {
		if o.Name == name {
			return o.Value
		}
	}
	return nil
}

// When says whether a stage runs at all: if all its conditions hold.
type When struct {
	BeforeAgent, BeforeInput, BeforeOptions bool
	Conditions                              []*When
	// Of a condition:
	Name   string
	Args   []Option    // named
	Value  groovy.Expr // the argument without a name; nil for none
	Body   *groovy.ClosureExpr
	Source plan.Source
}

// Get is a named argument of the condition, or nil.
func (w *When) Get(name string) groovy.Expr {
	for _, o := range w.Args {
		if o.Name == name {
			return o.Value
		}
	}
	return nil
}

// Stage is a stage. Exactly one of Steps, Stages, Parallel and Matrix is set.
type Stage struct {
	Name   string
	Source plan.Source
	Directives
	Steps    *groovy.ClosureExpr
	Stages   []*Stage
	Parallel []*Stage
	Matrix   *Matrix
	FailFast bool
}

// Matrix is a stage that is run for every combination of values.
type Matrix struct {
	Axes     []Axis
	Excludes [][]Axis
	// Cell is what each combination does: directives and stages, no name.
	Cell *Stage
}

// Axis is a variable with its values, or in an exclude those that are left out.
type Axis struct {
	Name   string
	Values []string
	Not    bool // the values are those that stay: notValues
	Source plan.Source
}

// Cell is a combination of values, in the order of the axes.
type Cell []Variant

// Variant is the value of one axis.
type Variant struct{ Name, Value string }

// Cells lists the combinations that are not excluded, the first axis changing
// fastest.
func (m *Matrix) Cells() []Cell {
	cells := []Cell{nil}
	for _, a := range m.Axes {
		var next []Cell
		for _, v := range a.Values {
			for _, c := range cells {
				next = append(next, append(c[:len(c):len(c)], Variant{a.Name, v}))
			}
		}
		cells = next
	}
	kept := cells[:0]
	for _, c := range cells {
		if !m.excluded(c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// excluded reports whether all axes of some exclude match.
func (m *Matrix) excluded(c Cell) bool {
	for _, exclude := range m.Excludes {
		all := len(exclude) > 0
		for _, a := range exclude {
			all = all && a.matches(c)
		}
		if all {
			return true
		}
	}
	return false
}

func (a *Axis) matches(c Cell) bool {
	for _, v := range c {
		if v.Name != a.Name {
			continue
		}
		for _, x := range a.Values {
			if x == v.Value {
				return !a.Not
			}
		}
		return a.Not
	}
	return false
}

// maxCells bounds the combinations of a matrix.
const maxCells = 2000
