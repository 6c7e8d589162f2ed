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

// inputsOf are the parameters of a declarative pipeline, as far as they are
// literals.
func inputsOf(m *declarative.Pipeline) []plan.Input {
	var inputs []plan.Input
	for _, p := range m.Parameters {
		if in, ok := inputOf(p.Expr, p.Source); ok {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// scriptedInputs are the parameters that a scripted pipeline declares with
// properties([parameters([…])]) at its top.
func scriptedInputs(s *groovy.Script) []plan.Input {
	var inputs []plan.Input
	var look func(e groovy.Expr, in bool)
	look = func(e groovy.Expr, in bool) {
		switch e := e.(type) {
		case *groovy.ListExpr:
			for _, item := range e.Items {
				look(item, in)
			}
		case *groovy.CallExpr:
			switch {
			case e.Name == "properties" || e.Name == "parameters":
				for _, a := range e.Args {
					look(a, in || e.Name == "parameters")
				}
			case in:
				if i, ok := inputOf(e, source(s.At(e))); ok {
					inputs = append(inputs, i)
				}
			}
		}
	}
	for _, stmt := range s.Stmts {
		if e, ok := stmt.(*groovy.ExprStmt); ok {
			look(e.X, false)
		}
	}
	return inputs
}

// inputOf is a parameter's declaration, when its name is a literal.
func inputOf(call *groovy.CallExpr, at plan.Source) (plan.Input, bool) {
	in := plan.Input{Source: at}
	in.Name, _ = namedLiteral(call, "name").(string)
	if in.Name == "" {
		return in, false
	}
	in.Description, _ = namedLiteral(call, "description").(string)
	unset := namedLiteral(call, "defaultValue")
	switch call.Name {
	case "booleanParam":
		in.Type = "boolean"
		if b, ok := unset.(bool); ok {
			in.Default = b
		} else {
			in.Default = false
		}
	case "choice":
		in.Type = "choice"
		in.Options = choicesOf(call)
		if len(in.Options) > 0 {
			in.Default = in.Options[0]
		}
	default:
		in.Type = "string"
		switch v := unset.(type) {
		case string:
			in.Default = v
		case nil:
		default:
			in.Default = fmt.Sprint(v)
		}
	}
	return in, true
}

// choicesOf are the choices of a choice: a list, or the lines of a text.
func choicesOf(call *groovy.CallExpr) []string {
	if call.Named == nil {
		return nil
	}
	for _, e := range call.Named.Entries {
		if k, ok := e.Key.(*groovy.Literal); !ok || k.Value != "choices" {
			continue
		}
		switch v := e.Value.(type) {
		case *groovy.Literal:
			if text, ok := v.Value.(string); ok {
				return strings.Split(strings.TrimRight(text, "\n"), "\n")
			}
		case *groovy.ListExpr:
			var out []string
			for _, item := range v.Items {
				l, ok := item.(*groovy.Literal)
				if !ok {
					return nil
				}
				out = append(out, fmt.Sprint(l.Value))
			}
			return out
		}
	}
	return nil
}

// Inputs implements [dialect.Dialect]. A name that is no parameter may be the
// answer to a question of the pipeline's, and is kept for it.
func (d *Dialect) Inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	values := make(map[string]any, len(p.Inputs))
	var problems []plan.Problem
	for _, in := range p.Inputs {
		text, ok := given[in.Name]
		switch {
		case !ok:
			if in.Default != nil {
				values[in.Name] = in.Default
			}
		case in.Type == "boolean":
			if !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
				problems = append(problems, plan.Problem{Source: in.Source, Severity: plan.Error, Rule: "inputs",
					Message: fmt.Sprintf("the parameter %s is true or false, not %.60q", in.Name, text)})
				continue
			}
			values[in.Name] = strings.EqualFold(text, "true")
		case in.Type == "choice" && len(in.Options) > 0 && !slices.Contains(in.Options, text):
			problems = append(problems, plan.Problem{Source: in.Source, Severity: plan.Error, Rule: "inputs",
				Message: fmt.Sprintf("%.60q is no choice of the parameter %s", text, in.Name), Hint: "the choices are " + strings.Join(in.Options, ", ")})
		default:
			values[in.Name] = text
		}
	}
	sortProblems(problems)
	return values, problems
}

// parameters is params, from what was given when the run was started.
func (b *build) parameters() *groovy.Map {
	m := groovy.NewMap()
	given := maps.Clone(b.scope.Inputs)
	if given == nil {
		given, _ = b.d.Inputs(b.scope.Pipeline, b.scope.Change.Inputs)
	}
	for _, in := range b.scope.Pipeline.Inputs {
		if v, ok := given[in.Name]; ok {
			m.Put(in.Name, v)
			delete(given, in.Name)
		}
	}
	for _, name := range sortedKeys(given) {
		m.Put(name, given[name])
	}
	return m
}

// declareParameter makes a parameter known whose default is no literal.
func (m *model) declareParameter(t *groovy.Thread, f *frame, where *groovy.Closure, call *groovy.CallExpr) error {
	if call.Named == nil {
		return nil
	}
	var name string
	var unset groovy.Value
	has := false
	in := f.within(t)
	for _, e := range call.Named.Entries {
		k, ok := e.Key.(*groovy.Literal)
		if !ok || k.Value != "name" && k.Value != "defaultValue" {
			continue
		}
		v, err := in.Eval(where, e.Value, nil)
		if err != nil {
			return err
		}
		if k.Value == "name" {
			if name, err = in.Text(v); err != nil {
				return err
			}
			continue
		}
		unset, has = v, true
		if _, gstring := v.(*groovy.GString); gstring {
			if unset, err = in.Text(v); err != nil {
				return err
			}
		}
	}
	if _, have := m.params.Text(name); have || name == "" {
		return nil
	}
	if text, given := m.scope.Change.Inputs[name]; given {
		unset, has = text, true
	}
	if !has {
		if call.Name != "string" && call.Name != "text" && call.Name != "password" {
			return nil
		}
		unset = ""
	}
	m.params.Put(name, unset)
	return nil
}

// properties is the step that declares what the job is: its parameters count,
// all else is a setting of a Jenkins that there is not.
func properties(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "properties")
	if err != nil {
		return nil, err
	}
	list, _ := a.value("properties").(*groovy.List)
	if list == nil {
		return nil, nil
	}
	for _, item := range list.Items {
		p, ok := item.(*groovy.Map)
		if !ok {
			continue
		}
		class, _ := p.Text(symbolKey)
		if text, _ := c.Text(class); text != "parameters" && text != "ParametersDefinitionProperty" {
			continue
		}
		inner, ok := p.Text("value")
		if !ok {
			inner, _ = p.Text("parameterDefinitions")
		}
		params, _ := inner.(*groovy.List)
		if params == nil {
			continue
		}
		for _, item := range params.Items {
			if m, ok := item.(*groovy.Map); ok {
				if err := b.addParameter(c, m); err != nil {
					return nil, err
				}
			}
		}
	}
	return nil, nil
}

// addParameter gives a parameter its default, unless it was given.
func (b *build) addParameter(c *groovy.Call, m *groovy.Map) error {
	v, _ := m.Text("name")
	name, err := c.Text(v)
	if err != nil || v == nil {
		return err
	}
	if _, have := b.params.Text(name); have {
		return nil
	}
	unset, ok := m.Text("defaultValue")
	if choices, has := m.Text("choices"); !ok && has {
		unset, ok = firstChoice(choices), true
	}
	if text, given := b.scope.Change.Inputs[name]; given {
		unset, ok = text, true
	}
	if !ok {
		unset = ""
	}
	b.params.Put(name, unset)
	return nil
}

// question asks what the input of a stage asks, and gives its answers as
// variables.
func (m *model) question(c *groovy.Call, f *frame, in *declarative.Input) ([]plan.Setting, error) {
	if in == nil {
		return nil, nil
	}
	field := func(name string) (string, error) {
		e := in.Get(name)
		if e == nil {
			return "", nil
		}
		return m.evalText(c.Thread, f, m.where, e)
	}
	var texts [4]string
	for i, name := range []string{"id", "message", "ok", "submitterParameter"} {
		var err error
		if texts[i], err = field(name); err != nil {
			return nil, err
		}
	}
	var params []*groovy.Map
	for _, p := range in.Parameters {
		v, err := f.within(c.Thread).Eval(m.where, p.Expr, nil)
		if err != nil {
			return nil, err
		}
		if one, ok := v.(*groovy.Map); ok {
			params = append(params, one)
		}
	}
	at := *c
	at.At = m.positionOf(in.Source)
	f.say("[Pipeline] input")
	answers, err := m.answer(&at, f, texts[0], texts[1], texts[2], params)
	if err != nil {
		return nil, err
	}
	var vars []plan.Setting
	for k, v := range answers.All() {
		name, _ := k.(string)
		text, err := c.Text(v)
		if err != nil {
			return nil, err
		}
		vars = append(vars, plan.Setting{Name: name, Value: text})
	}
	if texts[3] != "" {
		vars = append(vars, plan.Setting{Name: texts[3], Value: m.scope.Change.Actor})
	}
	return vars, nil
}
