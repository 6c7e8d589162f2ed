package declarative

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Known is what an installation has beside what every Jenkins knows.
type Known struct {
	// Agents are further types of agents, with the options of their blocks.
	Agents map[string][]string
	// Tools are the names that are installed, by type. A type that is not in
	// it is not checked.
	Tools map[string][]string
	// Steps are names that stand for something, so that a steps section may
	// call methods on them.
	Steps func(name string) bool
}

// maxDepth bounds the nesting of stages and of conditions.
const maxDepth = 50

// Find is the call of pipeline { … } among the statements of a Jenkinsfile;
// nil when there is none. The problem says that it stands inside another
// block.
func Find(s *groovy.Script) (*groovy.CallExpr, *plan.Problem) {
	for _, stmt := range s.Stmts {
		if call := pipelineCall(stmt); call != nil {
			return call, nil
		}
	}
	for _, stmt := range s.Stmts {
		outer, ok := callOf(stmt)
		if !ok {
			continue
		}
		body := closureOf(outer)
		if body == nil {
			continue
		}
		for _, stmt := range body.Body.Stmts {
			if call := pipelineCall(stmt); call != nil {
				r := &reader{s: s}
				return nil, &plan.Problem{Source: r.source(call), Severity: plan.Error, Rule: "section",
					Message: "pipeline block must be at the top-level, not within another block.",
					Hint:    "move it out of " + outer.Name + " { }; agent says where it runs"}
			}
		}
	}
	return nil, nil
}

// pipelineCall is the statement if it is pipeline { … }.
func pipelineCall(stmt groovy.Stmt) *groovy.CallExpr {
	call, ok := callOf(stmt)
	if !ok || call.X != nil || call.Name != "pipeline" || len(call.Args) != 1 || closureOf(call) == nil {
		return nil
	}
	return call
}

// callOf is the call that a statement is.
func callOf(stmt groovy.Stmt) (*groovy.CallExpr, bool) {
	e, ok := stmt.(*groovy.ExprStmt)
	if !ok {
		return nil, false
	}
	call, ok := e.X.(*groovy.CallExpr)
	return call, ok
}

// closureOf is the closure behind a call, or nil.
func closureOf(call *groovy.CallExpr) *groovy.ClosureExpr {
	if len(call.Args) == 0 {
		return nil
	}
	c, _ := call.Args[len(call.Args)-1].(*groovy.ClosureExpr)
	return c
}

// Read makes the model of a pipeline, as far as it can be read, and says what
// is wrong with it.
func Read(s *groovy.Script, call *groovy.CallExpr, known Known) (*Pipeline, []plan.Problem) {
	r := &reader{s: s, known: known}
	p := &Pipeline{Script: s, Source: r.source(call)}
	r.pipeline(p, closureOf(call))
	slices.SortStableFunc(r.problems, func(a, b plan.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return p, r.problems
}

// reader reads one pipeline.
type reader struct {
	s        *groovy.Script
	known    Known
	problems []plan.Problem
	depth    int
}

func (r *reader) source(n groovy.Node) plan.Source {
	at := r.s.At(n)
	return plan.Source{File: at.File, Line: at.Line, Col: at.Column}
}

func (r *reader) report(n groovy.Node, rule, message, hint string) {
	r.problems = append(r.problems, plan.Problem{Source: r.source(n), Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

// deeper runs f one level down, and not when that is too deep.
func (r *reader) deeper(n groovy.Node, f func()) {
	if r.depth++; r.depth > maxDepth {
		r.report(n, "limit", fmt.Sprintf("the blocks are nested more than %d deep", maxDepth), "")
	} else {
		f()
	}
	r.depth--
}

// clip is a text of the user's, short enough for a message.
func clip(s string) string {
	const most = 100
	if line, _, more := strings.Cut(s, "\n"); more {
		s = line + " …"
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// section is a statement of a block that is read by its name.
type section struct {
	name string
	call *groovy.CallExpr
	body *groovy.ClosureExpr // nil when there is no block
}

// sections reads the statements of a block as sections. Those that occur again
// are reported; bare says what to report of a name that stands alone.
func (r *reader) sections(block *groovy.ClosureExpr, bare func(n groovy.Node, name string), other func(n groovy.Node)) []section {
	var out []section
	seen := map[string]bool{}
	for _, stmt := range block.Body.Stmts {
		if _, ok := stmt.(*groovy.EmptyStmt); ok {
			continue
		}
		call, ok := callOf(stmt)
		if !ok || call.X != nil || call.Name == "" {
			if e, ok := stmt.(*groovy.ExprStmt); ok {
				if id, ok := e.X.(*groovy.Ident); ok {
					bare(id, id.Name)
					seen[id.Name] = true
					out = append(out, section{name: id.Name})
					continue
				}
			}
			other(stmt)
			continue
		}
		if seen[call.Name] {
			r.report(call, "section", fmt.Sprintf("Multiple occurrences of the %s section", call.Name), "keep one of them")
			continue
		}
		seen[call.Name] = true
		out = append(out, section{call.Name, call, closureOf(call)})
	}
	return out
}

// block is the block of a section, which must be there.
func (r *reader) block(s section) *groovy.ClosureExpr {
	if s.body == nil {
		r.report(s.call, "section", "Expected a block for "+s.name, "write "+s.name+" { … }")
	}
	return s.body
}

func (r *reader) pipeline(p *Pipeline, block *groovy.ClosureExpr) {
	undefined := func(n groovy.Node) {
		r.report(n, "section", fmt.Sprintf("Undefined section %q", clip(r.s.Text(n))), "the sections of a pipeline are "+strings.Join(topSections(), ", "))
	}
	have := map[string]bool{}
	for _, s := range r.sections(block, func(n groovy.Node, name string) {
		r.report(n, "section", fmt.Sprintf("Not a valid section definition: %q. Some extra configuration is required.", name), "")
	}, undefined) {
		have[s.name] = true
		if s.call == nil {
			continue
		}
		switch s.name {
		case "stages":
			p.Stages = r.stages(s)
		case "parameters":
			p.Parameters = r.calls(s, "Build parameters", "Expected a build parameter definition")
			r.types(p.Parameters, "parameter", parameterTypes())
		case "triggers":
			p.Triggers = r.calls(s, "Triggers", "Expected a trigger")
			r.types(p.Triggers, "trigger", triggerTypes())
			r.repeated(p.Triggers, "trigger")
		case "libraries":
			p.Libraries = r.libraries(s)
		case "when", "input", "failFast", "steps", "parallel", "matrix":
			r.report(s.call, "section", fmt.Sprintf("Undefined section %q", s.name), s.name+" belongs into a stage")
		default:
			if !r.directive(&p.Directives, s, nil) {
				r.report(s.call, "section", gone(s.name), near(s.name, topSections()))
			}
		}
	}
	for _, name := range []string{"agent", "stages"} {
		if !have[name] {
			r.report(block, "section", fmt.Sprintf("Missing required section %q", name), "")
		}
	}
}

// topSections are the sections of a pipeline.
func topSections() []string {
	return []string{"agent", "environment", "libraries", "options", "parameters", "post", "stages", "tools", "triggers"}
}

// gone says what became of a section that there is no more, or never was.
func gone(name string) string {
	switch name {
	case "notifications":
		return "The ‘notifications’ section has been removed as of version 0.6. Use ‘post’ for all post-build actions."
	case "postBuild":
		return "The ‘postBuild’ section has been renamed as of version 0.6. Use ‘post’ for all post-build actions."
	case "jobProperties":
		return "The ‘jobProperties’ section has been renamed as of version 0.7. Use ‘properties’ instead."
	case "properties":
		return "The ‘properties’ section has been renamed as of version 0.8. Use ‘options’ instead."
	case "wrappers":
		return "The ‘wrappers’ section has been removed as of version 0.8. Use ‘options’ instead."
	}
	return fmt.Sprintf("Undefined section %q", name)
}

// directive reads a section that pipelines and stages share; stage is nil for
// the pipeline. It reports whether the name is one.
func (r *reader) directive(d *Directives, s section, stage *Stage) bool {
	switch s.name {
	case "agent":
		d.Agent = r.agent(s)
	case "environment":
		if b := r.block(s); b != nil {
			d.Environment = r.environment(s.call, b)
		}
	case "tools":
		if b := r.block(s); b != nil {
			d.Tools = r.tools(s.call, b)
		}
	case "options":
		d.Options = r.options(s, stage != nil)
	case "post":
		if b := r.block(s); b != nil {
			d.Post = r.post(s.call, b)
		}
	default:
		return false
	}
	return true
}

// stages reads the stages in a block.
func (r *reader) stages(s section) []*Stage {
	b := r.block(s)
	if b == nil {
		return nil
	}
	list := r.stageList(b)
	if len(list) == 0 && len(b.Body.Stmts) == 0 {
		r.report(s.call, "stage", "No stages specified", "write stage('…') { … } in it")
	}
	return list
}

func (r *reader) stageList(b *groovy.ClosureExpr) []*Stage {
	var list []*Stage
	names := map[string]bool{}
	for _, stmt := range b.Body.Stmts {
		call, ok := callOf(stmt)
		if !ok || call.X != nil || call.Name != "stage" {
			r.report(stmt, "stage", "Expected a stage", "write stage('…') { … }")
			continue
		}
		var st *Stage
		r.deeper(call, func() { st = r.stage(call) })
		if st == nil {
			continue
		}
		if names[st.Name] && st.Name != "" {
			r.report(call, "stage", fmt.Sprintf("Duplicate stage name: %q", st.Name), "")
		}
		names[st.Name] = true
		list = append(list, st)
	}
	return list
}

// stageSections are the sections of a stage.
func stageSections() []string {
	return []string{"agent", "environment", "failFast", "input", "matrix", "options", "parallel", "post", "stages", "steps", "tools", "when"}
}

func (r *reader) stage(call *groovy.CallExpr) *Stage {
	st := &Stage{Source: r.source(call)}
	body := closureOf(call)
	named := call.Args
	if body != nil {
		named = named[:len(named)-1]
	}
	switch {
	case len(named) == 0:
		r.report(call, "stage", "Expected a stage name but didn't find any", "write stage('…') { … }")
	default:
		name, ok := literal(named[0])
		if _, gstring := named[0].(*groovy.GStringExpr); gstring || !ok {
			r.report(named[0], "stage", fmt.Sprintf("Expected string literal but got %s", clip(r.s.Text(named[0]))), "the name of a stage is known before the pipeline runs")
		} else if name == "" {
			r.report(named[0], "stage", "Stage does not have a name", "")
		}
		st.Name = name
	}
	if body == nil {
		r.report(call, "stage", "Stage doesn't have a block", "")
		return st
	}
	r.stageBody(st, call, body, false)
	return st
}

// stageBody reads the sections of a stage, or of a matrix, which has those of
// a stage and its own.
func (r *reader) stageBody(st *Stage, call *groovy.CallExpr, body *groovy.ClosureExpr, matrix bool) (own []section) {
	unknown := func(n groovy.Node, name string) {
		r.report(n, "stage", fmt.Sprintf("Unknown stage section %q. Starting with version 0.5, steps in a stage must be in a ‘steps’ block.", name),
			cmp.Or(near(name, stageSections()), "write steps { … } around it"))
	}
	bodies := 0
	for _, s := range r.sections(body, func(n groovy.Node, name string) {
		if slices.Contains(stageSections(), name) {
			r.report(n, "stage", fmt.Sprintf("Not a valid stage section definition: %q. Some extra configuration is required.", name), "")
		} else {
			unknown(n, name)
		}
	}, func(n groovy.Node) {
		r.report(n, "stage", fmt.Sprintf("Not a valid stage section definition: %q. Some extra configuration is required.", clip(r.s.Text(n))), "")
	}) {
		if s.call == nil {
			if slices.Contains([]string{"steps", "stages", "parallel", "matrix"}, s.name) {
				bodies++
			}
			continue
		}
		switch s.name {
		case "steps":
			bodies++
			if st.Steps = r.block(s); st.Steps != nil {
				if len(st.Steps.Body.Stmts) == 0 {
					r.report(s.call, "step", "No steps specified for branch", "")
				}
				if only := onlyCall(st.Steps); only != nil && only.Name == "parallel" && only.X == nil {
					if !r.parallelStep(only) {
						bodies--
					}
				} else {
					r.steps(st.Steps)
				}
			}
		case "stages":
			bodies++
			st.Stages = r.stages(s)
		case "parallel":
			bodies++
			if b := r.block(s); b != nil {
				st.Parallel = r.parallel(s, b)
			}
		case "matrix":
			bodies++
			if b := r.block(s); b != nil {
				r.deeper(s.call, func() { st.Matrix = r.matrix(s.call, b) })
			}
		case "failFast":
			v, ok := constant(only(s.call))
			if b, is := v.(bool); ok && is {
				st.FailFast = b
			} else {
				r.report(s.call, "stage", "Expected a boolean with failFast", "")
			}
		case "when":
			if b := r.block(s); b != nil {
				st.When = r.when(s.call, b)
			}
		case "input":
			if b := r.block(s); b != nil {
				st.Input = r.input(s.call, b)
			}
		case "axes", "excludes":
			if matrix {
				own = append(own, s)
				continue
			}
			unknown(s.call, s.name)
		default:
			if !r.directive(&st.Directives, s, st) {
				unknown(s.call, s.name)
			}
		}
	}
	if matrix {
		return own
	}
	switch {
	case bodies == 0:
		r.report(call, "stage", fmt.Sprintf("Expected one of \"steps\", \"stages\", or \"parallel\" for stage %q", st.Name), "write what the stage does into steps { … }")
	case bodies > 1:
		r.report(call, "stage", fmt.Sprintf("Only one of \"matrix\", \"parallel\", \"stages\", or \"steps\" allowed for stage %q", st.Name), "")
	}
	if st.Parallel != nil || st.Matrix != nil {
		branches := st.Parallel
		if st.Matrix != nil {
			branches = append(branches, st.Matrix.Cell)
		}
		for _, b := range branches {
			r.noneInside(b)
		}
		if st.Agent != nil && st.Agent.Type != "none" {
			r.report(call, "stage", fmt.Sprintf("\"agent\" is not allowed in stage %q as it contains parallel or matrix stages", st.Name), "give each branch its agent")
		}
		if len(st.Tools) > 0 {
			r.report(call, "stage", fmt.Sprintf("\"tools\" is not allowed in stage %q as it contains parallel or matrix stages", st.Name), "give each branch its tools")
		}
	}
	return nil
}

// noneInside reports stages with branches below one that is a branch.
func (r *reader) noneInside(st *Stage) {
	if st == nil {
		return
	}
	if st.Parallel != nil || st.Matrix != nil {
		r.problems = append(r.problems, plan.Problem{Source: st.Source, Severity: plan.Error, Rule: "stage",
			Message: "\"matrix\" or \"parallel\" cannot be nested inside another \"matrix\" or \"parallel\"."})
	}
	for _, inner := range st.Stages {
		r.noneInside(inner)
	}
}

// parallel reads the branches of a stage, which are stages.
func (r *reader) parallel(s section, b *groovy.ClosureExpr) []*Stage {
	list := r.stageList(b)
	if len(list) == 0 && len(b.Body.Stmts) == 0 {
		r.report(s.call, "stage", "No stages specified", "")
	}
	return append([]*Stage{}, list...)
}

// parallelStep checks the step parallel(a: {}, b: {}, failFast: true), and
// reports whether it has any branches.
func (r *reader) parallelStep(call *groovy.CallExpr) bool {
	if call.Named == nil {
		return len(call.Args) > 0 // of a map that the script computes
	}
	branches := 0
	for _, e := range call.Named.Entries {
		name, _ := literal(e.Key)
		closure, is := e.Value.(*groovy.ClosureExpr)
		switch {
		case is:
			branches++
			r.steps(closure)
		case name == "failFast":
			if v, ok := constant(e.Value); !ok || v != true && v != false {
				r.report(e, "step", "Expected a boolean with failFast", "")
			}
		default:
			r.report(e, "step", "Expected closure or failFast", "")
		}
	}
	return branches > 0
}

// matrix reads axes, excludes and what each cell does.
func (r *reader) matrix(call *groovy.CallExpr, b *groovy.ClosureExpr) *Matrix {
	m := &Matrix{Cell: &Stage{Source: r.source(call)}}
	have := map[string]bool{}
	for _, s := range r.stageBody(m.Cell, call, b, true) {
		have[s.name] = true
		body := r.block(s)
		if body == nil {
			continue
		}
		switch s.name {
		case "axes":
			m.Axes = r.axes(body, false)
			if len(m.Axes) == 0 && len(body.Body.Stmts) == 0 {
				r.report(s.call, "matrix", "No axis directives specified", "write axis { name '…'; values '…' } in it")
			}
			r.distinct(m.Axes, s.call)
		case "excludes":
			for _, stmt := range body.Body.Stmts {
				call, ok := callOf(stmt)
				if !ok || call.Name != "exclude" || closureOf(call) == nil {
					r.report(stmt, "matrix", "Expected an exclude", "write exclude { axis { … } }")
					continue
				}
				m.Excludes = append(m.Excludes, r.axes(closureOf(call), true))
			}
		}
	}
	if !have["axes"] {
		r.report(call, "matrix", `Missing required section "axes"`, "")
	}
	if m.Cell.Stages == nil {
		r.report(call, "matrix", `Missing required section "stages"`, "")
	}
	cells := 1
	for _, a := range m.Axes {
		if cells *= len(a.Values); cells > maxCells {
			r.report(call, "limit", fmt.Sprintf("the matrix has more than %d cells", maxCells), "")
			m.Axes = nil
			break
		}
	}
	return m
}

// axes reads axis { name '…'; values '…', '…' }.
func (r *reader) axes(b *groovy.ClosureExpr, exclude bool) []Axis {
	var axes []Axis
	for _, stmt := range b.Body.Stmts {
		call, ok := callOf(stmt)
		if !ok || call.Name != "axis" || closureOf(call) == nil {
			r.report(stmt, "matrix", "Expected an axis", "write axis { name '…'; values '…' }")
			continue
		}
		a := Axis{Source: r.source(call)}
		have := map[string]bool{}
		for _, stmt := range closureOf(call).Body.Stmts {
			c, ok := callOf(stmt)
			switch {
			case ok && c.Name == "name" && len(c.Args) == 1:
				have["name"] = true
				if _, gstring := c.Args[0].(*groovy.GStringExpr); gstring {
					r.report(c, "matrix", "Expected string literal", "in "+clip(r.s.Text(c)))
				} else if name, ok := literal(c.Args[0]); !ok {
					r.report(c, "matrix", "Expected string literal but got "+r.shown(c.Args[0]), "")
				} else if !identifier(name) {
					r.report(c, "matrix", badIdentifier(name), "")
				} else {
					a.Name = name
				}
			case ok && (c.Name == "values" || exclude && c.Name == "notValues"):
				have["values"] = true
				a.Not = c.Name == "notValues"
				for _, v := range c.Args {
					if value, ok := literalText(v); ok {
						if slices.Contains(a.Values, value) {
							r.report(v, "matrix", fmt.Sprintf("Duplicate axis value: %q", value), "")
							continue
						}
						a.Values = append(a.Values, value)
					} else {
						r.report(v, "matrix", "Expected string literal but got "+r.shown(v), "the values of an axis are known before the pipeline runs")
					}
				}
			default:
				r.report(stmt, "matrix", "Expected name or values", "")
			}
		}
		for _, need := range []string{"name", "values"} {
			if !have[need] {
				r.report(call, "matrix", fmt.Sprintf("Missing required section %q", need), "")
			}
		}
		axes = append(axes, a)
	}
	return axes
}

// distinct reports axes of the same name.
func (r *reader) distinct(axes []Axis, at groovy.Node) {
	seen := map[string]bool{}
	for _, a := range axes {
		if a.Name != "" && seen[a.Name] {
			r.report(at, "matrix", fmt.Sprintf("Duplicate axis name: %q", a.Name), "")
		}
		seen[a.Name] = true
	}
}

// shown is an expression as Jenkins shows what it did not expect.
func (r *reader) shown(e groovy.Expr) string {
	switch e := e.(type) {
	case *groovy.GStringExpr, *groovy.CallExpr, *groovy.BinaryExpr:
		return clip(r.s.Text(e))
	case *groovy.Literal:
		if s, ok := literal(e); ok {
			return `"` + clip(s) + `"`
		}
	}
	return "${" + clip(r.s.Text(e)) + "}"
}

// when reads the conditions of a stage.
func (r *reader) when(call *groovy.CallExpr, b *groovy.ClosureExpr) *When {
	w := &When{Source: r.source(call)}
	for _, stmt := range b.Body.Stmts {
		c, ok := callOf(stmt)
		if !ok || c.X != nil {
			r.report(stmt, "when", "Expected a when condition", "a condition in Groovy is written expression { … }")
			continue
		}
		flag := map[string]*bool{"beforeAgent": &w.BeforeAgent, "beforeInput": &w.BeforeInput, "beforeOptions": &w.BeforeOptions}[c.Name]
		if flag != nil {
			v, _ := constant(only(c))
			is, ok := v.(bool)
			if !ok {
				r.report(c, "when", "Expected a boolean with "+c.Name, "")
			}
			*flag = is
			continue
		}
		if in := r.condition(c); in != nil {
			w.Conditions = append(w.Conditions, in)
		}
	}
	if len(b.Body.Stmts) == 0 || len(w.Conditions) == 0 && len(r.problems) == 0 {
		r.report(call, "when", "Empty when closure, remove the property or add some content.", "")
	}
	return w
}

func (r *reader) condition(call *groovy.CallExpr) (w *When) {
	w = &When{Name: call.Name, Source: r.source(call), Body: closureOf(call)}
	if count, is := nested()[call.Name]; is {
		if call.Named != nil || len(call.Args) > 1 || len(call.Args) == 1 && w.Body == nil {
			r.report(call, "when", fmt.Sprintf("No additional arguments are allowed for children when condition %q.", call.Name), "")
			return nil
		}
		if w.Body != nil {
			r.deeper(call, func() {
				for _, stmt := range w.Body.Body.Stmts {
					c, ok := callOf(stmt)
					if !ok || c.X != nil {
						r.report(stmt, "when", "Expected a when condition", "a condition in Groovy is written expression { … }")
						continue
					}
					if in := r.condition(c); in != nil {
						w.Conditions = append(w.Conditions, in)
					}
				}
			})
		}
		n := 0
		if w.Body != nil {
			n = len(w.Body.Body.Stmts)
		}
		switch {
		case count == 0 && n == 0:
			r.report(call, "when", fmt.Sprintf("Nested when condition %q requires at least one child condition.", call.Name), "")
		case count > 0 && n != count:
			r.report(call, "when", fmt.Sprintf("Nested when condition %q requires exactly %d child condition(s).", call.Name, count), "")
		}
		return w
	}
	sym, is := conditions()[call.Name]
	if !is {
		r.report(call, "when", fmt.Sprintf("Unknown conditional %s. Valid conditionals are: %s", call.Name, strings.Join(conditionNames(), ", ")),
			near(call.Name, conditionNames()))
		return nil
	}
	if call.Name == "expression" {
		if w.Body == nil {
			r.report(call, "when", "Expected a block for expression", "write expression { … }")
			return nil
		}
		return w
	}
	if w.Body != nil {
		r.report(call, "when", fmt.Sprintf("No children when conditions are allowed for when condition %q.", call.Name), "")
		return nil
	}
	r.arguments(call, sym, "when")
	w.Args = r.named(call)
	if len(call.Args) > 0 {
		w.Value = call.Args[0]
	}
	r.patterns(call, w)
	return w
}

// patterns checks the regular expressions of a condition, where they are
// literals.
func (r *reader) patterns(call *groovy.CallExpr, w *When) {
	how, _ := literal(w.Get("comparator"))
	if w.Name != "changelog" && how != "REGEXP" {
		return
	}
	e := w.Value
	if e == nil {
		e = w.Get("pattern")
	}
	text, ok := literal(e)
	if !ok {
		return
	}
	if _, err := Pattern(text); err != nil {
		r.report(call, "when", fmt.Sprintf("\"%s\" is not a valid regular expression. %v", text, err), "")
	}
}

// input reads the question of a stage.
func (r *reader) input(call *groovy.CallExpr, b *groovy.ClosureExpr) *Input {
	in := &Input{Source: r.source(call)}
	for _, s := range r.sections(b, func(n groovy.Node, name string) {
		r.report(n, "input", fmt.Sprintf("No argument for field %q", name), "")
	}, func(n groovy.Node) {
		r.report(n, "input", fmt.Sprintf("Not a valid field for input: %q", clip(r.s.Text(n))), "")
	}) {
		switch {
		case s.call == nil:
		case s.name == "parameters":
			in.Parameters = r.calls(s, "Build parameters", "Expected a build parameter definition")
			r.types(in.Parameters, "parameter", parameterTypes())
		case !slices.Contains([]string{"message", "id", "ok", "submitter", "submitterParameter"}, s.name):
			r.report(s.call, "input", fmt.Sprintf("Not a valid field for input: %q", s.name), "the fields are message, id, ok, parameters, submitter, submitterParameter")
		case len(s.call.Args) == 0:
			r.report(s.call, "input", fmt.Sprintf("No argument for field %q", s.name), "")
		case len(s.call.Args) > 1:
			r.report(s.call, "input", fmt.Sprintf("Too many arguments for field %q", s.name), "")
		default:
			in.Fields = append(in.Fields, Option{s.name, s.call.Args[0], r.source(s.call)})
		}
	}
	if in.Get("message") == nil && len(r.problems) == 0 {
		r.report(call, "input", "No message specified for input", "")
	}
	return in
}

// post reads the blocks that run after a stage or the pipeline.
func (r *reader) post(call *groovy.CallExpr, b *groovy.ClosureExpr) []Condition {
	var list []Condition
	seen := map[string]bool{}
	if len(b.Body.Stmts) == 0 {
		r.report(call, "post", "post can not be empty", "")
	}
	for _, stmt := range b.Body.Stmts {
		c, ok := callOf(stmt)
		if !ok || c.X != nil || len(c.Args) != 1 || closureOf(c) == nil {
			r.report(stmt, "post", "The 'post' section can only contain build condition names with code blocks. Valid condition names are "+bracketed(Post()), "")
			continue
		}
		if !slices.Contains(Post(), c.Name) {
			r.report(c, "post", fmt.Sprintf("Invalid condition %q - valid conditions are %s", c.Name, bracketed(Post())), near(c.Name, Post()))
			continue
		}
		if seen[c.Name] {
			r.report(c, "post", fmt.Sprintf("Duplicate build condition name: %q", c.Name), "")
			continue
		}
		seen[c.Name] = true
		r.steps(closureOf(c))
		list = append(list, Condition{c.Name, closureOf(c), r.source(c)})
	}
	return list
}

// bracketed is a list as Java prints it.
func bracketed(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

// sortedNames are the keys of a table in order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
