package github

import (
	"errors"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// problemAt is an error in a file of the user's.
func problemAt(at plan.Source, rule, message, hint string) *plan.Problem {
	return &plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
}

// wrong is a problem on its way up as a Go error.
func wrong(at plan.Source, rule, message, hint string) error {
	return &dialect.ProblemError{Problem: *problemAt(at, rule, message, hint)}
}

// lacking is a problem that this machine or the network is to blame for.
func lacking(at plan.Source, rule, message, hint string) error {
	return &dialect.ProblemError{Problem: *problemAt(at, rule, message, hint), Lacking: true}
}

// badExpression tells the author of an expression why it has no value.
func badExpression(at plan.Source, text string, err error) error {
	var problem *dialect.ProblemError
	if errors.As(err, &problem) {
		return problem // of a function called in it
	}
	if errors.Is(err, dialect.ErrPaper) {
		return err
	}
	var e *expression.Error
	if !errors.As(err, &e) {
		return err
	}
	const most = 120
	if len(text) > most {
		text = text[:most] + "…"
	}
	return wrong(at, "expression", e.Message+", in "+text, e.Hint)
}

// asProblem is the problem inside an error, if there is one.
func asProblem(err error) (*plan.Problem, bool) {
	var p *dialect.ProblemError
	if errors.As(err, &p) {
		return &p.Problem, true
	}
	return nil, false
}

// sortProblems puts problems in the order in which a reader meets them.
func sortProblems(list []plan.Problem) {
	slices.SortStableFunc(list, func(a, b plan.Problem) int { return comparePlaces(a.Source, b.Source) })
}

func comparePlaces(a, b plan.Source) int {
	switch {
	case a.File != b.File:
		if a.File < b.File {
			return -1
		}
		return 1
	case a.Line != b.Line:
		return a.Line - b.Line
	}
	return a.Col - b.Col
}
