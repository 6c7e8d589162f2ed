// Package groovy is the part of the Groovy language that Jenkins pipelines are
// written in: a parser and an interpreter, with no Java underneath.
//
// Text goes through two stages:
//
//   - [Parse] reads a file into a [Script], a tree whose every node knows the
//     text it came from. The declarative front end reads pipeline { … } from
//     that tree and never runs anything for it.
//   - An [Interp] runs scripts. It knows no pipeline: what a name means that
//     the script does not declare (env, sh, docker …) it asks its host, by one
//     narrow interface, [Host].
//
// Values are plain Go where Go has them: nil, bool, int32 (Integer), int64
// (Long), *big.Int, [*Decimal] (BigDecimal, which is what 1.5 is), float64,
// string; and pointers to the types of this package for the rest: [*GString],
// [*List], [*Set], [*Map], [*Range], [*Closure], [*Object], [*Class] …
//
// Like Jenkins' own machine an Interp never interrupts a script in the middle:
// closures that run side by side take turns, and a turn ends where a native
// waits ([Call.Unlocked]). So scripts need no locks, the values are never
// raced for, and the order of things is the same whenever the natives answer
// in the same order.
//
// Everything here may come from a stranger's pull request. There is no way to
// a file, a socket, a process, a Go value or a clock but through the host.
// Steps, depth, memory and output have limits, and reaching one ends the
// script with a [*LimitError] that no catch catches.
package groovy

import (
	"fmt"
	"sort"
	"unicode/utf8"
)

// The limits of a file.
const (
	// MaxSource is the size of the largest file, in bytes.
	MaxSource = 4 << 20
	// MaxNesting of brackets, blocks and operators while parsing.
	MaxNesting = 400
	// maxNameParts of the full name of a class.
	maxNameParts = 50
	// maxHoleDepth is how deep strings may be nested in the holes of strings.
	maxHoleDepth = 50
)

// Script is one parsed file. It never changes and is safe for concurrent use.
type Script struct {
	File string
	// Class is the name of the class that the statements and methods at the
	// top belong to: that of a .groovy file, or WorkflowScript.
	Class string
	// Stmts are the statements in order, imports, methods and classes among
	// them.
	Stmts []Stmt

	src   string
	lines []int // offsets of the beginnings of lines
}

// Problem is what is wrong with a file, for its author.
type Problem struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
	Hint    string // what to do about it; may be empty
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Hint != "" {
		s += ": " + p.Hint
	}
	return s
}

// Position is a place in a file, Line and Column from 1, Column in characters.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Source is the whole text.
func (s *Script) Source() string { return s.src }

// Text is the text of a node.
func (s *Script) Text(n Node) string {
	at := n.At()
	return s.src[at.Start:at.End]
}

// Position is where a byte offset stands.
func (s *Script) Position(offset int) Position {
	line := sort.SearchInts(s.lines, offset+1)
	start := s.lines[line-1]
	return Position{s.File, line, 1 + utf8.RuneCountInString(s.src[start:min(offset, len(s.src))])}
}

// At is the position where a node begins.
func (s *Script) At(n Node) Position { return s.Position(n.At().Start) }
