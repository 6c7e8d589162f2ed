// Package outline is a pipeline in the words that all pipeline languages
// share: what `fairlead convert` carries from one to another.
//
//	file ── dialect.Outliner ──► outline.Pipeline ── dialect.Composer ──► file
//	                                    └── Lost: what there are no words for
//
// An outline is made from a file and not from a plan: it says what the author
// meant for every change, and not what came of it for one. Texts keep their
// holes ([Text]), conditions their shape ([Cond]), so that each language can
// say them in its own way. What a language says beyond that is told, with its
// place, and never dropped in silence.
package outline

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Pipeline is a pipeline in the words that all languages share.
type Pipeline struct {
	Name   string
	Source plan.Source
	On     Triggers
	Inputs []plan.Input
	Env    []Named
	Jobs   []Job
	// Lost is what there are no words for, as warnings at its place.
	Lost []plan.Problem
}

// Lose notes that something is not carried over. what is a noun phrase with
// its reason or way out: "the outputs of step x: use a file".
func (p *Pipeline) Lose(at plan.Source, what string) {
	p.Lost = append(p.Lost, Loss(at, what))
}

// Loss is a problem that tells of something that is not carried over.
func Loss(at plan.Source, what string) plan.Problem {
	return plan.Problem{Source: at, Severity: plan.Warning, Rule: "convert", Message: "not carried over: " + what}
}

// Triggers are what starts a pipeline; nil fields do not.
type Triggers struct {
	Push   *Filter
	Change *Filter  // a pull or merge request; Branches are those it goes to
	Cron   []string // five fields, UTC
	Manual bool
}

// Filter narrows a trigger. Patterns are globs in which * stops at a slash and
// ** does not. Empty lists let everything pass; with Tags alone no branch
// passes, and with Branches alone no tag.
type Filter struct {
	Branches, NotBranches []string
	Tags, NotTags         []string
	Paths, NotPaths       []string
}

// Job is a job of an outline.
type Job struct {
	ID, Name string
	Stage    string // "" where the language has none: composers then make some of Needs
	Source   plan.Source
	Needs    []string // IDs
	If       *Cond    // nil: when all before it went well
	Manual   bool     // waits for a person
	Matrix   []Axis
	// Exclude are combinations left out, and Include further ones, by axis.
	Exclude, Include []map[string]string
	FailFast         bool // a cell that fails cancels the others
	Labels           []string
	Image            *plan.Container
	Services         []Service
	Env              []Named
	Steps            []Step
	Timeout          time.Duration
	Retry            int
	AllowFailure     bool
	Environment      string
	URL              Text // of the environment
	Group            Text // concurrency group; nil for none
}

// Service is a container beside a job.
type Service struct {
	Name string // its host name for the job
	plan.Container
}

// Axis is a dimension of a matrix.
type Axis struct {
	Name   string
	Values []string
}

// Named gives a name a text.
type Named struct {
	Name string
	Text Text
}

// Step is a step of an outline. Exactly one of Script and the
// pointers is set.
type Step struct {
	Name         string
	Source       plan.Source
	If           *Cond
	Env          []Named
	Dir          Text
	AllowFailure bool
	Timeout      time.Duration

	Script   Text
	Shell    string // bash, sh, pwsh, python; "" for the language's own choice
	Checkout *Checkout
	Cache    *CacheUse
	Upload   *Upload
	Download *Download
	Tests    *Tests
	Setup    *Setup
}

// Checkout fetches the repository. Languages that do so anyhow say nothing.
type Checkout struct {
	Depth      int // 0: all of the history
	Submodules bool
}

// CacheUse restores directories before the steps that follow it, and keeps
// them after the job.
type CacheUse struct {
	Key      Text
	Fallback []Text
	Paths    []string
}

// Upload keeps files as an artifact.
type Upload struct {
	Name  Text
	Paths []string
	Days  int // 0: as long as is usual
}

// Download fetches artifacts; an empty Name all there are.
type Download struct {
	Name Text
	Dir  Text
}

// Tests tells of JUnit reports.
type Tests struct{ Paths []string }

// Setup makes a tool available: "go", "node", "python", "java".
type Setup struct {
	Tool    string
	Version Text
}

// Text is a text with holes.
type Text []Part

// Part is a piece of text, or a hole. Ref names what goes there:
//
//	env NAME      a variable of the job, or of the pipeline
//	secret NAME   matrix AXIS   input NAME
//	run NAME      of the run: sha ref branch tag actor repository run number
//	              workspace event base head
//	hash GLOB     a digest of the files that match
//	raw TEXT      an expression that has no word here, as its language writes it
type Part struct {
	Literal string
	Ref     string
}

// Literal is a text without holes.
func Literal(s string) Text {
	if s == "" {
		return nil
	}
	return Text{{Literal: s}}
}

// Plain is the text, when it has no holes.
func (t Text) Plain() (string, bool) {
	var b strings.Builder
	for _, p := range t {
		if p.Ref != "" {
			return "", false
		}
		b.WriteString(p.Literal)
	}
	return b.String(), true
}

// Fill is the text with each hole filled by what say makes of its kind and
// name.
func (t Text) Fill(say func(kind, name string) string) string {
	var b strings.Builder
	for _, p := range t {
		if p.Ref == "" {
			b.WriteString(p.Literal)
			continue
		}
		kind, name, _ := strings.Cut(p.Ref, " ")
		b.WriteString(say(kind, name))
	}
	return b.String()
}

// Cond is a condition.
type Cond struct {
	// Op is and, or, not (over Args); ==, != (Left and Right, case ignored);
	// matches (Left, a regular expression in Right); or what the jobs or steps
	// before it came to: success, failure, always, cancelled.
	Op          string
	Args        []Cond
	Left, Right Text
}

// Before are the jobs that must have ended before job i begins: its needs, or,
// where it has none and the language has stages, all of the stage before it
// that has jobs. Stages are in the order in which the jobs name them.
func Before(p *Pipeline, i int) []string {
	j := &p.Jobs[i]
	if len(j.Needs) > 0 || j.Stage == "" {
		return j.Needs
	}
	var stage string
	var last []string
	for k := range p.Jobs {
		other := &p.Jobs[k]
		if other.Stage == j.Stage {
			break
		}
		if other.Stage != stage {
			stage, last = other.Stage, nil
		}
		last = append(last, other.ID)
	}
	return last
}

// Axes are the names of a cell's values: those of the matrix in its order,
// then the others by name.
func Axes(j *Job, cell map[string]string) []string {
	var names []string
	for _, axis := range j.Matrix {
		if _, ok := cell[axis.Name]; ok {
			names = append(names, axis.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cell)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Cells are the combinations of the matrix, without those excluded.
func Cells(j *Job) []map[string]string {
	cells := []map[string]string{{}}
	for _, axis := range j.Matrix {
		var next []map[string]string
		for _, cell := range cells {
			for _, v := range axis.Values {
				if len(next) == maxCells {
					break
				}
				with := maps.Clone(cell)
				with[axis.Name] = v
				next = append(next, with)
			}
		}
		cells = next
	}
	if len(j.Matrix) == 0 {
		return nil
	}
	return slices.DeleteFunc(cells, func(cell map[string]string) bool {
		return slices.ContainsFunc(j.Exclude, func(x map[string]string) bool {
			for name, v := range x {
				if cell[name] != v {
					return false
				}
			}
			return len(x) > 0
		})
	})
}

// maxCells bounds the combinations of a matrix, as GitHub does.
const maxCells = 256
