package github

import (
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// evaluator reads the expressions of one place of a workflow against the facts
// known there. It is used by one goroutine.
type evaluator struct {
	s *plan.Scope
	d *Dialect // to look into called workflows; may be nil

	// env is the env context; nil until somebody asks for it.
	env map[string]string
	// self overrides properties of the github context: what a step knows
	// about itself.
	self map[string]string
	// made is the github context, once somebody has asked for it.
	made *expression.Object
	// ofWholeJob lets status functions ask about the job inside a group, too.
	ofWholeJob bool
	err        error // of a context that could not be made
}

// Eval implements [dialect.Dialect].
func (d *Dialect) Eval(x plan.Expr, as dialect.Kind, s *plan.Scope) (any, error) {
	e := &evaluator{s: s, d: d}
	if as == dialect.Condition {
		return e.condition(x)
	}
	v, err := e.template(x)
	if err != nil {
		return nil, err
	}
	return expression.String(v), nil
}

// condition is the value of an if:, which may do without ${{ }}.
func (e *evaluator) condition(x plan.Expr) (bool, error) {
	if text, ok := strings.CutPrefix(x.Text, ofJob); ok {
		x.Text, e.ofWholeJob = text, true
	}
	if strings.Contains(x.Text, "${{") {
		v, err := e.template(x)
		return expression.Truthy(v), err
	}
	parsed, err := expression.Parse(x.Text)
	if err != nil {
		return false, badExpression(x.Source, x.Text, err)
	}
	for _, context := range parsed.Contexts() {
		if context == "env" && e.env == nil {
			if err := e.ownEnv(x.Source); err != nil {
				return false, err
			}
		}
	}
	v, err := parsed.Eval(e.scope())
	if err = e.failed(err); err != nil {
		return false, badExpression(x.Source, x.Text, err)
	}
	return expression.Truthy(v), nil
}

// ownEnv makes the env context of a step's condition, which sees the step's own
// env: too. A step is known by the place of its condition.
func (e *evaluator) ownEnv(at plan.Source) error {
	base, err := e.inherited()
	if err != nil {
		return err
	}
	e.env = base
	var steps []plan.Step
	if e.s.Group != nil {
		steps, _ = e.s.Group.Values[valueSteps].([]plan.Step)
	} else if e.s.Job != nil {
		steps = e.s.Job.Steps
	}
	step := findStep(steps, at)
	if step == nil {
		return nil
	}
	own, err := e.bindings(step.Env)
	for _, b := range own {
		e.env[b.Name] = b.Value
	}
	return err
}

func findStep(steps []plan.Step, condition plan.Source) *plan.Step {
	for i := range steps {
		if steps[i].If.Source == condition {
			return &steps[i]
		}
		if s := findStep(steps[i].Parallel, condition); s != nil {
			return s
		}
	}
	return nil
}

// template is the value of text with expressions in it: when it is one
// expression and nothing else, of any type.
func (e *evaluator) template(x plan.Expr) (any, error) {
	if !strings.Contains(x.Text, "${{") {
		return x.Text, nil
	}
	t, err := expression.ParseTemplate(x.Text)
	if err != nil {
		return nil, badExpression(x.Source, x.Text, err)
	}
	v, err := t.Eval(e.scope())
	if err = e.failed(err); err != nil {
		return nil, badExpression(x.Source, x.Text, err)
	}
	return v, nil
}

// failed prefers the reason why a context could not be made.
func (e *evaluator) failed(err error) error {
	if e.err != nil {
		return e.err
	}
	return err
}

// string is a template's value as text.
func (e *evaluator) string(x plan.Expr) (string, error) {
	v, err := e.template(x)
	return expression.String(v), err
}

// value is what a scalar of the file comes to.
func (e *evaluator) value(s workflow.Str) (any, error) {
	if !s.HasExpr() {
		return s.Value, nil
	}
	return e.template(expr(s))
}

// text is what a scalar of the file comes to where a string is wanted.
func (e *evaluator) text(s workflow.Str) (string, error) {
	if !s.HasExpr() {
		return s.Text, nil
	}
	return e.string(expr(s))
}

// boolean is what a scalar comes to where true or false is wanted.
func (e *evaluator) boolean(s workflow.Str, key string, otherwise bool) (bool, error) {
	if !s.Given() {
		return otherwise, nil
	}
	v, err := e.value(s)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case bool:
		return v, nil
	case nil:
		return otherwise, nil
	case string:
		switch v {
		case "true":
			return true, nil
		case "false":
			return false, nil
		case "":
			return otherwise, nil
		}
	}
	return false, wrong(s.Source, "type", fmt.Sprintf("%s comes to %s and must be true or false", key, quoteValue(v)), "")
}

// number is what a scalar comes to where a number is wanted.
func (e *evaluator) number(s workflow.Str, key string, otherwise float64) (float64, error) {
	if !s.Given() {
		return otherwise, nil
	}
	v, err := e.value(s)
	if err != nil {
		return 0, err
	}
	return toNumber(v, s.Source, key, otherwise)
}

func toNumber(v any, at plan.Source, key string, otherwise float64) (float64, error) {
	switch x := v.(type) {
	case nil:
		return otherwise, nil
	case float64:
		return x, nil
	case string:
		if strings.TrimSpace(x) == "" {
			return otherwise, nil
		}
		if n := expression.Number(x); n == n {
			return n, nil
		}
	}
	return 0, wrong(at, "type", fmt.Sprintf("%s comes to %s and must be a number", key, quoteValue(v)), "")
}

// node is what a value of any shape comes to: expressions in lists that come
// to lists add their items, and ${{ insert }} adds the entries of a mapping.
func (e *evaluator) node(n *workflow.Node) (any, error) {
	switch n.Kind {
	case workflow.Sequence:
		list := make([]any, 0, len(n.Items))
		for _, item := range n.Items {
			v, err := e.node(item)
			if err != nil {
				return nil, err
			}
			if more, ok := asList(v); ok && item.Kind == workflow.Scalar {
				list = append(list, more...)
			} else {
				list = append(list, v)
			}
		}
		return list, nil
	case workflow.Mapping:
		o := expression.NewObject()
		for _, f := range n.Fields {
			v, err := e.node(f.Value)
			if err != nil {
				return nil, err
			}
			if f.Insert {
				for _, in := range objectFields(v, f.Value.Source) {
					o.Set(in.key, in.value)
				}
				continue
			}
			key, err := e.text(f.Key)
			if err != nil {
				return nil, err
			}
			o.Set(key, v)
		}
		return o, nil
	}
	return e.value(n.Scalar)
}

// setting is a name and its value, computed.
type setting = plan.Setting

// bindings computes an env: or the like, in order. An entry named insertKey
// stands for a whole mapping.
func (e *evaluator) bindings(list []plan.Binding) ([]setting, error) {
	out := make([]setting, 0, len(list))
	for _, b := range list {
		v, err := e.template(b.Value)
		if err != nil {
			return nil, err
		}
		if b.Name != insertKey {
			out = append(out, setting{Name: b.Name, Value: expression.String(v)})
			continue
		}
		fields := objectFields(v, b.Value.Source)
		if fields == nil && v != nil && v != "" {
			return nil, wrong(b.Value.Source, "type", fmt.Sprintf("a mapping is wanted here, and the expression comes to %s", kindOf(v)), "")
		}
		for _, f := range fields {
			out = append(out, setting{Name: f.key, Value: expression.String(f.value)})
		}
	}
	return out, nil
}

// insertKey is the key that stands for the entries of a mapping.
const insertKey = "${{ insert }}"

func expr(s workflow.Str) plan.Expr {
	if !s.Given() {
		return plan.Expr{}
	}
	return plan.Expr{Text: s.Text, Source: s.Source}
}

func pairs(list []workflow.Pair) []plan.Binding {
	if len(list) == 0 {
		return nil
	}
	out := make([]plan.Binding, len(list))
	for i, p := range list {
		out[i] = plan.Binding{Name: p.Key.Text, Value: expr(p.Value)}
		if p.Insert {
			out[i].Name = insertKey
		}
	}
	return out
}

// objectFields are the entries of an object in order; nil when v is none.
func objectFields(v any, at plan.Source) []field {
	switch v := v.(type) {
	case *expression.Object:
		fields := make([]field, 0, v.Len())
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			fields = append(fields, field{key: k, value: x, at: at})
		}
		return fields
	case map[string]any:
		fields := make([]field, 0, len(v))
		for _, k := range sortedKeys(v) {
			fields = append(fields, field{key: k, value: v[k], at: at})
		}
		return fields
	case map[string]string:
		fields := make([]field, 0, len(v))
		for _, k := range sortedKeys(v) {
			fields = append(fields, field{key: k, value: v[k], at: at})
		}
		return fields
	}
	return nil
}

func asList(v any) ([]any, bool) {
	list, ok := v.([]any)
	return list, ok
}

// plain is a value as plans hold it: with maps instead of objects.
func plain(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case *expression.Object, map[string]any, map[string]string:
		fields := objectFields(v, plan.Source{})
		out := make(map[string]any, len(fields))
		for _, f := range fields {
			out[f.key] = plain(f.value)
		}
		return out
	}
	return v
}

// kindOf is a value's type for messages.
func kindOf(v any) string {
	switch expression.KindOf(v) {
	case expression.KindNull:
		return "nothing"
	case expression.KindBoolean:
		return "a boolean"
	case expression.KindNumber:
		return "a number"
	case expression.KindString:
		return "a string"
	case expression.KindArray:
		return "a list"
	}
	return "a mapping"
}

// quoteValue shows a value in a message.
func quoteValue(v any) string {
	switch v.(type) {
	case string:
		return fmt.Sprintf("%.60q", v)
	case bool, float64:
		return expression.String(v)
	}
	return kindOf(v)
}
