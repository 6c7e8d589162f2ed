package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The lists that templates can stand for.
const (
	stages    = "stages"
	jobs      = "jobs"
	phases    = "phases" // what jobs were called first
	steps     = "steps"
	variables = "variables"
)

// pipeline expands a file that is a pipeline: the one that was asked for, or
// the one that it extends.
func (x *Expander) pipeline(root *Node, c *frame) *Node {
	out := &Node{Kind: Mapping, Source: root.Source}
	var list []entry
	x.entries(root, c, func(e entry) { list = append(list, e) })
	if i := slices.IndexFunc(list, func(e entry) bool { return e.key.Text == "resources" }); i >= 0 {
		// Templates of other repositories are found by them, so they come first
		// and see no variables.
		early := *list[i].frame
		early.variables = x.Variables.Clone()
		list[i].value = x.generic(list[i].value, &early)
		x.repositories(list[i].value)
	}
	known := x.inside(list, c, out, "parameters", "extends")
	i := slices.IndexFunc(list, func(e entry) bool { return e.key.Text == "extends" })
	if i < 0 {
		return out
	}
	list[i].frame = &frame{file: c.file, parameters: c.parameters, variables: known, loop: list[i].frame.loop, depth: c.depth}
	for _, f := range x.extended(list[i]).Fields {
		if before := out.Get(f.Key.Text); before != nil && f.Key.Text == "resources" {
			x.merge(before, f.Value)
			continue
		}
		x.set(out, f.Key, f.Value)
	}
	return out
}

// merge adds the resources of a template to those of the pipeline.
func (x *Expander) merge(to, from *Node) {
	for _, f := range from.Fields {
		if mine := to.Get(f.Key.Text); mine != nil {
			mine.Items = append(mine.Items, f.Value.Items...)
		} else {
			to.Fields = append(to.Fields, f)
		}
	}
}

// repositories remembers the repositories that templates may come from.
func (x *Expander) repositories(resources *Node) {
	if list := resources.Get("repositories"); list != nil {
		for _, r := range list.Items {
			if alias := r.Get("repository").String(); alias != "" && alias != "self" {
				x.repos[alias] = r
			}
		}
	}
}

// extended is the pipeline that a file extends.
func (x *Expander) extended(e entry) *Node {
	none := &Node{Kind: Mapping, Source: e.value.Source}
	if e.value.Kind != Mapping {
		x.report(e.value.Source, "template", "extends is a mapping, not "+e.value.Shape(), "write template: FILE below it")
		return none
	}
	var fields []entry
	x.entries(e.value, e.frame, func(e entry) { fields = append(fields, e) })
	ref := find(fields, "template")
	if ref == nil {
		x.report(e.key.Source, "template", "extends needs template:", "name the file below it")
		return none
	}
	key, root := x.open(ref.value, ref.frame)
	if root == nil {
		x.passed(find(fields, "parameters"), none)
		return none
	}
	return x.pipeline(root, x.call(key, root, ref, find(fields, "parameters")))
}

// passed makes a pipeline of the stages, jobs or steps that were passed to a
// template which is out of reach: they are what is known of it.
func (x *Expander) passed(args *entry, out *Node) {
	if args == nil || args.value.Kind != Mapping {
		return
	}
	var list []entry
	x.entries(args.value, args.frame, func(e entry) { list = append(list, e) })
	for _, key := range []string{stages, jobs, steps} {
		if e := find(list, key); e != nil {
			known := []entry{*e}
			if pool := find(list, "pool"); pool != nil {
				known = append(known, *pool)
			}
			x.inside(known, args.frame, out)
			return
		}
	}
}

func find(list []entry, key string) *entry {
	for i := range list {
		if list[i].key.Text == key {
			return &list[i]
		}
	}
	return nil
}

// inside expands the entries of a pipeline, a stage or a job into out:
// variables first, because the others see them. It returns those that there
// are then.
func (x *Expander) inside(list []entry, c *frame, out *Node, without ...string) *expression.Object {
	known := c.variables.Clone()
	var vars *Node
	if e := find(list, variables); e != nil {
		inner := *e.frame
		inner.variables = known
		vars = x.variables(e.value, &inner)
	}
	for _, e := range list {
		inner := *e.frame
		inner.variables = known
		switch key := e.key.Text; {
		case slices.Contains(without, key):
		case key == variables:
			x.set(out, e.key, vars)
		case key == stages || key == jobs || key == phases || key == steps:
			x.set(out, e.key, x.list(key, e.value, &inner))
		case key == "strategy" || key == "onSuccess" || key == "onFailure":
			x.set(out, e.key, x.strategy(e.value, &inner))
		default:
			x.set(out, e.key, x.generic(e.value, &inner))
		}
	}
	return known
}

// strategy expands what may have steps somewhere below.
func (x *Expander) strategy(n *Node, c *frame) *Node {
	if n.Kind != Mapping {
		return x.generic(n, c)
	}
	out := &Node{Kind: Mapping, Source: n.Source}
	x.entries(n, c, func(e entry) {
		if e.key.Text == steps {
			x.set(out, e.key, x.list(steps, e.value, e.frame))
		} else {
			x.set(out, e.key, x.strategy(e.value, e.frame))
		}
	})
	return out
}

// list expands a list of stages, jobs, steps or variables, and the templates
// in it.
func (x *Expander) list(kind string, n *Node, c *frame) *Node {
	out := &Node{Kind: Sequence, Source: n.Source}
	if n.Kind == Scalar {
		n = x.generic(n, c)
	}
	switch {
	case n.IsNull():
		return out
	case n.Kind != Sequence:
		x.report(n.Source, "type", fmt.Sprintf("%s is a list, not %s", kind, n.Shape()), "put a dash before each entry")
		return out
	}
	x.items(n, c, func(item *Node, c *frame) { out.Items = append(out.Items, x.item(kind, item, c)...) })
	return out
}

// item expands one entry of such a list, which may come to several.
func (x *Expander) item(kind string, n *Node, c *frame) []*Node {
	if n.Kind != Mapping {
		return []*Node{x.generic(n, c)}
	}
	var list []entry
	x.entries(n, c, func(e entry) { list = append(list, e) })
	if ref := find(list, "template"); ref != nil {
		for _, e := range list {
			if e.key.Text != "template" && e.key.Text != "parameters" {
				x.report(e.key.Source, "key", fmt.Sprintf("Unexpected value '%s' beside a template", plan.Clip(e.key.Text)), "a template takes nothing but parameters:")
			}
		}
		return x.include(kind, ref, find(list, "parameters"))
	}
	out := &Node{Kind: Mapping, Source: n.Source}
	if kind == steps {
		for _, e := range list {
			x.set(out, e.key, x.generic(e.value, e.frame))
		}
	} else {
		x.inside(list, c, out)
	}
	if len(out.Fields) == 0 {
		return nil // everything in it was left out
	}
	return []*Node{out}
}

// include is what a template comes to in a list of a kind.
func (x *Expander) include(kind string, ref, args *entry) []*Node {
	key, root := x.open(ref.value, ref.frame)
	if root == nil {
		return nil
	}
	c := x.call(key, root, ref, args)
	if kind == variables {
		c.variables = ref.frame.variables // what it gives counts for what follows
	}
	var out []*Node
	found := false
	x.entries(root, c, func(e entry) {
		switch {
		case e.key.Text == "parameters":
		case e.key.Text == kind, kind == jobs && e.key.Text == phases, kind == phases && e.key.Text == jobs:
			found = true
			if kind == variables {
				out = x.variables(e.value, e.frame).Items
			} else {
				out = x.list(kind, e.value, e.frame).Items
			}
		case e.key.Text == "resources" && kind != variables:
			more := x.generic(e.value, e.frame)
			x.repositories(more)
		default:
			x.report(e.key.Source, "key", fmt.Sprintf("Unexpected value '%s' in a template of %s", plan.Clip(e.key.Text), kind),
				fmt.Sprintf("a template of %s holds parameters: and %s:", kind, kind))
		}
	})
	if !found && !x.stopped {
		x.report(ref.value.Source, "template", fmt.Sprintf("the template %s has no %s:", plan.Clip(key), kind), "name a template of "+kind+" here")
	}
	return out
}

// call is the frame of a template that is used with arguments.
func (x *Expander) call(key string, root *Node, ref, args *entry) *frame {
	c := &frame{file: key, variables: ref.frame.variables, depth: ref.frame.depth + 1}
	var given []entry
	if args != nil {
		value := args.value
		if value.Kind == Scalar {
			value = x.generic(value, args.frame)
		}
		switch {
		case value.IsNull():
		case value.Kind != Mapping:
			x.report(value.Source, "type", "parameters is a mapping here, not "+value.Shape(), "write name: value below it")
		default:
			x.entries(value, args.frame, func(e entry) { given = append(given, e) })
		}
	}
	c.parameters = x.bind(root.Get("parameters"), given, ref.value.Source, c.depth)
	return c
}

// variables expands a list or a mapping of variables into a list of entries
// with name and value, and adds them to the frame as it goes.
func (x *Expander) variables(n *Node, c *frame) *Node {
	out := &Node{Kind: Sequence, Source: n.Source}
	if n.Kind == Scalar {
		n = x.generic(n, c)
	}
	learn := func(name string, value *Node) {
		c.variables.Set(name, value.String())
	}
	switch {
	case n.IsNull():
	case n.Kind == Mapping:
		x.entries(n, c, func(e entry) {
			value := x.generic(e.value, e.frame)
			if value.Kind != Scalar {
				x.report(value.Source, "type", fmt.Sprintf("the value of the variable %s must be a text. A %s was not expected", plan.Clip(e.key.Text), yamlWord(value)), "write each variable with its own name and value")
				return
			}
			learn(e.key.Text, value)
			out.Items = append(out.Items, &Node{Kind: Mapping, Source: e.key.Source, Fields: []Field{
				{&Node{Text: "name", Source: e.key.Source}, e.key}, {&Node{Text: "value", Source: e.key.Source}, value},
			}})
		})
	case n.Kind == Sequence:
		x.items(n, c, func(item *Node, c *frame) {
			if item.Kind != Mapping {
				x.report(item.Source, "type", "a variable is a mapping, not "+item.Shape(), "write name: and value:")
				return
			}
			var list []entry
			x.entries(item, c, func(e entry) { list = append(list, e) })
			if ref := find(list, "template"); ref != nil {
				out.Items = append(out.Items, x.include(variables, ref, find(list, "parameters"))...)
				return
			}
			v := &Node{Kind: Mapping, Source: item.Source}
			for _, e := range list {
				x.set(v, e.key, x.generic(e.value, e.frame))
			}
			if name := v.Get("name"); name != nil && v.Get("value") != nil {
				learn(name.String(), v.Get("value"))
			}
			if len(v.Fields) > 0 {
				out.Items = append(out.Items, v)
			}
		})
	}
	return out
}

// yamlWord is a shape in the words of the service's messages.
func yamlWord(n *Node) string {
	if n.Kind == Sequence {
		return "sequence"
	}
	return "mapping"
}

// Parameter is a parameter that a file declares in a list.
type Parameter struct {
	Name, Type, DisplayName string
	Default                 *Node // nil when it must be given
	Values                  []string
	Source                  plan.Source
}

// declared reads a list of parameters.
func (x *Expander) declared(n *Node) []Parameter {
	if n == nil || n.Kind != Sequence {
		return nil
	}
	var list []Parameter
	for _, item := range n.Items {
		name := item.Get("name").String()
		if name == "" {
			x.report(item.Source, "parameters", "a parameter needs a name", "write name: NAME")
			continue
		}
		p := Parameter{Name: name, Type: "string", DisplayName: item.Get("displayName").String(), Default: item.Get("default"), Source: item.Source}
		if t := item.Get("type").String(); t != "" {
			p.Type = t
		}
		if !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, p.Type) }) {
			x.report(item.Get("type").Source, "parameters", fmt.Sprintf("Unexpected value '%s': there is no such type of parameters", plan.Clip(p.Type)), "the types are "+strings.Join(types, ", "))
		}
		for _, f := range item.Fields {
			if !slices.Contains(parameterKeys, f.Key.Text) {
				x.report(f.Key.Source, "key", fmt.Sprintf("Unexpected value '%s'", plan.Clip(f.Key.Text)), "the keys of a parameter are "+strings.Join(parameterKeys, ", "))
			}
		}
		if values := item.Get("values"); values != nil {
			for _, v := range values.Items {
				p.Values = append(p.Values, v.String())
			}
		}
		list = append(list, p)
	}
	return list
}

var (
	parameterKeys = []string{"name", "type", "default", "values", "displayName"}
	types         = []string{"string", "stringList", "number", "boolean", "object", "legacyObject", "step", "stepList", "job", "jobList",
		"deployment", "deploymentList", "stage", "stageList", "container", "containerList", "environment", "filePath", "pool", "secureFile", "serviceConnection"}
)

// given are the parameters of the pipeline itself: what a person gave, and
// defaults.
func (x *Expander) given(list []Parameter) *expression.Object {
	o := &expression.Object{Missing: undeclared}
	for _, p := range list {
		if v, ok := x.Given[strings.ToLower(p.Name)]; ok {
			o.Set(p.Name, v)
			continue
		}
		value := p.Default
		if value == nil {
			value = &Node{Source: p.Source, Null: true} // whoever starts it is asked
			switch {
			case len(p.Values) > 0:
				value = &Node{Source: p.Source, Text: p.Values[0]}
			case p.Type == "number":
				value = &Node{Source: p.Source, Text: "0"}
			}
		}
		o.Set(p.Name, x.convert(p, value, &frame{file: value.Source.File, parameters: o, variables: x.Variables.Clone()}))
	}
	return o
}

func undeclared(key string) error {
	return &expression.Error{Message: fmt.Sprintf("there is no parameter '%s'", plan.Clip(key)), Hint: "declare it under parameters:", Offset: -1}
}

// bind gives the parameters of a template their values. depth is that of the
// template among others.
func (x *Expander) bind(declared *Node, given []entry, at plan.Source, depth int) *expression.Object {
	o := &expression.Object{}
	if declared == nil || declared.Kind != Sequence {
		if declared != nil && declared.Kind == Mapping {
			for _, f := range declared.Fields {
				o.Set(f.Key.Text, ValueOf(f.Value))
			}
		}
		for _, e := range given { // the old form takes what it does not declare, too
			o.Set(e.key.Text, ValueOf(x.generic(e.value, e.frame)))
		}
		return o
	}
	o.Missing = undeclared
	list := x.declared(declared)
	for _, e := range given {
		if !slices.ContainsFunc(list, func(p Parameter) bool { return strings.EqualFold(p.Name, e.key.Text) }) {
			names := make([]string, len(list))
			for i, p := range list {
				names[i] = p.Name
			}
			x.report(e.key.Source, "parameters", fmt.Sprintf("Unexpected parameter '%s'", plan.Clip(e.key.Text)), "the template's parameters are "+strings.Join(names, ", "))
		}
	}
	for _, p := range list {
		i := slices.IndexFunc(given, func(e entry) bool { return strings.EqualFold(p.Name, e.key.Text) })
		switch {
		case i >= 0:
			o.Set(p.Name, x.convert(p, given[i].value, given[i].frame))
		case p.Default != nil:
			o.Set(p.Name, x.convert(p, p.Default, &frame{file: p.Source.File, parameters: o, variables: &expression.Object{}, depth: depth}))
		default:
			x.report(at, "parameters", fmt.Sprintf("A value for the '%s' parameter must be provided.", plan.Clip(p.Name)), "give it below parameters:")
			o.Set(p.Name, nil)
		}
	}
	return o
}

// convert is a value as the type of a parameter wants it.
func (x *Expander) convert(p Parameter, n *Node, c *frame) any {
	wrong := func(n *Node, message string) any {
		x.report(n.Source, "parameters", fmt.Sprintf("the parameter '%s': %s", plan.Clip(p.Name), message), fmt.Sprintf("its type is %s, as %s says", p.Type, p.Source))
		return nil
	}
	if part, ok := parts[strings.ToLower(p.Type)]; ok {
		n = x.whole(n, c)
		switch {
		case n.IsNull() && part.list:
			return &expression.Array{At: n.Source}
		case n.IsNull():
			return nil
		case n.Kind == Scalar:
			return wrong(n, "Unexpected value '"+plan.Clip(n.Text)+"'")
		case part.list != (n.Kind == Sequence):
			return wrong(n, "A "+yamlWord(n)+" was not expected")
		}
		if !part.list {
			n = &Node{Kind: Sequence, Items: []*Node{n}, Source: n.Source, Done: n.Done}
		}
		list := x.list(part.kind, n, c)
		for i := range list.Items {
			list.Items[i] = normal(part.kind, list.Items[i])
		}
		switch {
		case part.list:
			return ValueOf(list)
		case len(list.Items) == 0:
			return nil
		}
		return ValueOf(list.Items[0])
	}
	n = x.generic(n, c)
	switch strings.ToLower(p.Type) {
	case "boolean":
		switch {
		case n.Kind != Scalar:
			return wrong(n, "A "+yamlWord(n)+" was not expected")
		case strings.EqualFold(n.Text, "true"):
			return true
		case strings.EqualFold(n.Text, "false"), n.IsNull():
			return false
		}
		return wrong(n, fmt.Sprintf("Unexpected value '%s': true or false is wanted", plan.Clip(n.Text)))
	case "number":
		if n.Kind != Scalar {
			return wrong(n, "A "+yamlWord(n)+" was not expected")
		}
		v, ok := expression.Number(n.Text)
		if !ok {
			return wrong(n, fmt.Sprintf("Unexpected value '%s': a number is wanted", plan.Clip(n.Text)))
		}
		return x.among(p, n, v)
	case "string", "filepath", "securefile", "serviceconnection":
		if n.Kind != Scalar {
			return wrong(n, "A "+yamlWord(n)+" was not expected")
		}
		return x.among(p, n, n.Text)
	}
	return ValueOf(n)
}

// whole resolves a value that is an expression as a whole.
func (x *Expander) whole(n *Node, c *frame) *Node {
	if n.Kind == Scalar {
		return x.generic(n, c)
	}
	return n
}

// among checks that a value is one of those that the parameter allows.
func (x *Expander) among(p Parameter, n *Node, v any) any {
	if len(p.Values) > 0 && !slices.ContainsFunc(p.Values, func(s string) bool { return expression.Equal(v, s) }) {
		x.report(n.Source, "parameters", fmt.Sprintf("The '%s' parameter value '%s' is not an allowed value", plan.Clip(p.Name), plan.Clip(n.Text)), "allowed are "+plan.Clip(strings.Join(p.Values, ", ")))
	}
	return v
}

// part is the part of a pipeline that a parameter stands for.
type part struct {
	kind string
	list bool
}

// parts says for the types that are parts of a pipeline which.
var parts = map[string]part{
	"step": {steps, false}, "steplist": {steps, true}, "job": {jobs, false}, "joblist": {jobs, true},
	"deployment": {jobs, false}, "deploymentlist": {jobs, true}, "stage": {stages, false}, "stagelist": {stages, true},
}

// Shortcuts are the steps that are short for a task: the task, and the input
// that the value of the key is.
var shortcuts = map[string][]string{
	"script":     {"CmdLine@2", "script"},
	"bash":       {"Bash@3", "script", "targetType", "inline"},
	"pwsh":       {"PowerShell@2", "script", "targetType", "inline", "pwsh", "true"},
	"powershell": {"PowerShell@2", "script", "targetType", "inline"},
}

// stepKeys are the keys that all steps have; what else stands beside a
// shortcut is an input of its task.
var stepKeys = []string{"name", "displayName", "condition", "continueOnError", "enabled", "env", "timeoutInMinutes", "retryCountOnTaskFailure", "target"}

// normal is the form in which templates see a part of a pipeline: shortcuts
// are the tasks that they are short for, the name of an environment is
// below name.
func normal(kind string, n *Node) *Node {
	switch kind {
	case steps:
		for i, f := range n.Fields {
			if task, ok := shortcuts[f.Key.Text]; ok {
				return n.task(i, task)
			}
		}
	case jobs:
		for i, f := range n.Fields {
			switch {
			case f.Key.Text == steps:
				f.Value.normalize(steps)
			case f.Key.Text == "environment" && n.Get("deployment") != nil && f.Value.Kind == Scalar:
				at := f.Value.Source
				n.Fields[i].Value = &Node{Kind: Mapping, Source: at, Fields: []Field{{&Node{Text: "name", Source: at}, f.Value}}}
			}
		}
	case stages:
		n.Get(jobs).normalize(jobs)
	}
	return n
}

func (n *Node) normalize(kind string) {
	if n == nil {
		return
	}
	for i := range n.Items {
		n.Items[i] = normal(kind, n.Items[i])
	}
}

// task is a step whose field i is short for a task.
func (n *Node) task(i int, short []string) *Node {
	key := n.Fields[i].Key
	text := func(s string) *Node { return &Node{Text: s, Source: key.Source, Done: true} }
	inputs := &Node{Kind: Mapping, Source: key.Source, Fields: []Field{{text(short[1]), n.Fields[i].Value}}}
	for k := 2; k+1 < len(short); k += 2 {
		inputs.Fields = append(inputs.Fields, Field{text(short[k]), text(short[k+1])})
	}
	out := &Node{Kind: Mapping, Source: n.Source, Fields: []Field{{text("task"), text(short[0])}}}
	for k, f := range n.Fields {
		switch {
		case k == i:
		case slices.Contains(stepKeys, f.Key.Text):
			out.Fields = append(out.Fields, f)
		default:
			inputs.Fields = append(inputs.Fields, f)
		}
	}
	out.Fields = append(out.Fields, Field{text("inputs"), inputs})
	return out
}
