package jenkins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// unknownSteps warns of steps that nothing here knows. Jenkins finds them when the
// build comes to them; by then it may have worked for an hour. Only what stands in
// steps { } and post { } is looked at, and in blocks inside of them: a name in a
// script may be anything, and with a library every name may be.
func unknownSteps(m *declarative.Pipeline, said *settings, shared []plan.Text) []plan.Problem {
	if m == nil || len(m.Libraries) > 0 || len(libraryAnnotations(m.Script)) > 0 {
		return nil
	}
	for _, l := range said.Libraries {
		if l.Implicit {
			return nil
		}
	}
	known := map[string]bool{"docker": true}
	for name := range (&build{}).table() {
		known[name] = true
	}
	for name := range said.Steps {
		known[name] = true
	}
	for _, t := range shared {
		if name, ok := strings.CutPrefix(t.Path, "vars/"); ok {
			known[strings.TrimSuffix(name, ".groovy")] = true
		}
	}
	groovy.Walk(m.Script, func(n groovy.Node) bool {
		switch n := n.(type) {
		case *groovy.MethodDecl:
			known[n.Name] = true
		case *groovy.VarDecl:
			for _, v := range n.Vars {
				known[v.Name] = true
			}
		case *groovy.AssignExpr:
			if v, ok := n.Target.(*groovy.Ident); ok {
				known[v.Name] = true
			}
		}
		return true
	})
	l := &stepLinter{script: m.Script, known: known}
	l.post(m.Post)
	l.stages(m.Stages)
	return l.problems
}

type stepLinter struct {
	script   *groovy.Script
	known    map[string]bool
	problems []plan.Problem
}

func (l *stepLinter) stages(list []*declarative.Stage) {
	for _, s := range list {
		if s == nil {
			continue
		}
		l.steps(s.Steps)
		l.post(s.Post)
		l.stages(s.Stages)
		l.stages(s.Parallel)
		if s.Matrix != nil && s.Matrix.Cell != nil {
			l.stages([]*declarative.Stage{s.Matrix.Cell})
		}
	}
}

func (l *stepLinter) post(list []declarative.Condition) {
	for i := range list {
		l.steps(list[i].Body)
	}
}

func (l *stepLinter) steps(c *groovy.ClosureExpr) {
	if c == nil || c.Body == nil {
		return
	}
	for _, stmt := range c.Body.Stmts {
		x, ok := stmt.(*groovy.ExprStmt)
		if !ok {
			continue
		}
		call, ok := x.X.(*groovy.CallExpr)
		if !ok || call.X != nil || call.Name == "" || call.Name == "script" {
			continue
		}
		if !l.known[call.Name] {
			hint := fmt.Sprintf("say in fairlead.yaml what stands for it: jenkins: {steps: [{name: %s, script: …}]}", call.Name)
			if near := plan.Nearest(call.Name, slices.Sorted(maps.Keys(l.known))); near != "" {
				hint = "did you mean " + near + "?"
			}
			l.problems = append(l.problems, plan.Problem{Source: source(l.script.At(call)), Severity: plan.Warning, Rule: "step",
				Message: fmt.Sprintf("the step %s is not known here; the build fails when it comes to it", call.Name), Hint: hint})
			continue
		}
		for _, arg := range call.Args {
			if inner, ok := arg.(*groovy.ClosureExpr); ok {
				l.steps(inner)
			}
		}
	}
}
