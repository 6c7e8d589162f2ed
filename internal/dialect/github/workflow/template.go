package workflow

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const openExpr = "${{"

// outcome is what became of the text of a scalar.
type outcome uint8

const (
	literal  outcome = iota // no expression in it
	computed                // at least one expression
	insert                  // ${{ insert }}
	broken                  // and reported
)

// template checks the expressions in a scalar against its scope. A text that is
// nothing but one string literal in braces becomes that string.
func (f *file) template(s *Str, sc *scope) outcome {
	if _, ok := s.Value.(string); !ok || !s.HasExpr() {
		return literal
	}
	t, err := expression.ParseTemplate(s.Text)
	if err != nil {
		f.badExpression(*s, err)
		return broken
	}
	for _, h := range t.Holes() {
		if h.String() != "insert" {
			continue
		}
		if _, alone := t.Single(); alone {
			return insert
		}
		f.report(f.inside(*s, h.Offset), ruleExpression, "${{ insert }} may not stand inside a text", "it must be the whole key")
		return broken
	}
	if lit, ok := t.Literal(); ok && !strings.Contains(lit, openExpr) {
		s.Text, s.Value = lit, lit
		return literal
	}
	if sc != nil && !f.allowed(*s, t.Check(sc.allowed)) {
		return broken
	}
	return computed
}

// condition checks the text of an if: that has no braces.
func (f *file) condition(s Str, sc *scope) {
	e, err := expression.Parse(s.Text)
	if err != nil {
		f.badExpression(s, err)
		return
	}
	f.allowed(s, e.Check(sc.allowed))
}

// allowed reports the contexts and functions that may not be used here.
func (f *file) allowed(s Str, problems []*expression.Error) bool {
	for _, p := range problems {
		f.report(f.inside(s, p.Offset), ruleContext, p.Message, p.Hint)
	}
	return len(problems) == 0
}

func (f *file) badExpression(s Str, err error) {
	var e *expression.Error
	if !errors.As(err, &e) {
		f.report(s.Source, ruleExpression, err.Error(), "")
		return
	}
	at := s.Source // of what concerns the text as a whole
	if e.Offset > 0 || strings.HasPrefix(s.Text, openExpr) {
		at = f.inside(s, e.Offset)
	}
	f.report(at, ruleExpression, e.Message, e.Hint)
}

func (f *file) notHere(s Str) {
	f.report(s.Source, ruleContext, "no expression is allowed here", "write the value itself")
}

// inside is the place of a byte of a scalar's text. Where text and file do not
// run in parallel it is the place of the scalar, as GitHub reports it.
func (f *file) inside(s Str, offset int) plan.Source {
	if s.Style != Literal {
		return s.Source
	}
	before := s.Text[:min(offset, len(s.Text))]
	start := strings.LastIndexByte(before, '\n') + 1
	line, _, _ := strings.Cut(s.Text[start:], "\n")
	at := s.Source
	at.Line += 1 + strings.Count(before, "\n")
	indent := strings.Index(lineOf(f.text, at.Line), line)
	if indent < 0 {
		return s.Source
	}
	at.Col = 1 + indent + utf8.RuneCountInString(before[start:])
	return at
}

// lineOf is the n-th line of a text, counted from one.
func lineOf(text string, n int) string {
	for line := range strings.Lines(text) {
		if n--; n == 0 {
			return line
		}
	}
	return ""
}

// wholeExpr reports whether the scalar is one expression and nothing else, so
// that its value may be of any kind.
func (s Str) wholeExpr() bool {
	if !strings.HasPrefix(s.Text, openExpr) {
		return false
	}
	t, err := expression.ParseTemplate(s.Text)
	if err != nil {
		return false
	}
	_, ok := t.Single()
	return ok
}

// ExprText is a scalar as one expression, the form in which GitHub thinks of
// it: what is in the braces when that is all, a call of format when text stands
// around them, and the text itself when there are no braces.
func (s Str) ExprText() string {
	if !s.HasExpr() {
		return s.Text
	}
	t, err := expression.ParseTemplate(s.Text)
	if err != nil {
		return s.Text
	}
	e, err := t.Expression()
	if err != nil {
		return s.Text
	}
	return e.String()
}

// guarded is the expression that decides an if: in effect. Without a status
// function, what is written holds only while nothing has failed.
func guarded(s Str) string {
	const success = "success()"
	text := s.ExprText()
	if strings.TrimSpace(text) == "" {
		return success
	}
	if e, err := expression.Parse(text); err == nil && e.Calls("always", "cancelled", "failure", "success") {
		return text
	}
	return success + " && (" + text + ")"
}
