package github

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// declared are the inputs that a person may give.
func declared(w *workflow.Workflow) []plan.Input {
	if w.On.Dispatch == nil {
		return nil
	}
	var out []plan.Input
	for _, in := range w.On.Dispatch.Inputs {
		p := plan.Input{
			Name: in.Name.Text, Description: in.Description.Text, Type: in.Kind(), Required: in.Must(),
			Default: in.Default.Value, Source: in.Name.Source,
		}
		for _, o := range in.Options {
			p.Options = append(p.Options, o.Text)
		}
		out = append(out, p)
	}
	return out
}

// Inputs implements [dialect.Dialect]. Names ignore case.
func (d *Dialect) Inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	return inputs(p, given)
}

func inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	values := make(map[string]any, len(p.Inputs))
	var problems []plan.Problem
	report := func(at plan.Source, message, hint string) {
		problems = append(problems, *problemAt(at, "inputs", message, hint))
	}
	used := map[string]bool{}
	for _, in := range p.Inputs {
		text, ok := "", false
		for name, v := range given {
			if strings.EqualFold(name, in.Name) {
				text, ok = v, true
				used[name] = true
			}
		}
		if !ok && in.Default != nil {
			text, ok = expression.String(in.Default), true
		}
		if in.Required && strings.TrimSpace(text) == "" {
			report(in.Source, fmt.Sprintf("the input %q is required and was not given", in.Name),
				fmt.Sprintf("give it with --input %s=VALUE", in.Name))
			continue
		}
		v, err := convert(text, ok, in)
		if err != nil {
			report(in.Source, fmt.Sprintf("the input %q %v", in.Name, err), "")
			continue
		}
		values[in.Name] = v
	}
	for _, name := range sortedKeys(given) {
		if !used[name] {
			report(p.Source, fmt.Sprintf("the workflow has no input %q", name), inputsHint(p.Inputs))
		}
	}
	sortProblems(problems)
	return values, problems
}

func inputsHint(list []plan.Input) string {
	if len(list) == 0 {
		return "it takes no inputs"
	}
	var names []string
	for _, in := range list {
		names = append(names, in.Name)
	}
	return "its inputs are " + strings.Join(names, ", ")
}

// convert reads text as the input's type says.
func convert(text string, given bool, in plan.Input) (any, error) {
	switch in.Type {
	case "boolean":
		switch strings.ToLower(text) {
		case "true":
			return true, nil
		case "false", "":
			return false, nil
		}
		return nil, fmt.Errorf("must be true or false, not %.60q", text)
	case "number":
		if strings.TrimSpace(text) == "" {
			return 0.0, nil
		}
		n := expression.Number(text)
		if n != n {
			return nil, fmt.Errorf("must be a number, not %.60q", text)
		}
		return n, nil
	case "choice":
		if !given && len(in.Options) > 0 {
			return in.Options[0], nil // what the form shows when nobody chose
		}
		if len(in.Options) > 0 && !slices.Contains(in.Options, text) {
			return nil, fmt.Errorf("must be one of %s, not %.60q", strings.Join(in.Options, ", "), text)
		}
	}
	return text, nil
}

// callInputs are the inputs of a called workflow: what the caller gives, read
// by the caller's evaluator, and defaults.
func callInputs(e *evaluator, call *workflow.Call, with []workflow.Pair, at plan.Source) (map[string]any, error) {
	given, err := e.with(with)
	if err != nil {
		return nil, err
	}
	values := make(map[string]any, len(call.Inputs))
	for _, in := range call.Inputs {
		i := slices.IndexFunc(given, func(f field) bool { return strings.EqualFold(f.key, in.Name.Text) })
		switch {
		case i >= 0:
			v, err := coerce(given[i].value, in, given[i].at)
			if err != nil {
				return nil, err
			}
			values[in.Name.Text] = v
			given = slices.Delete(given, i, i+1)
		case in.Must():
			return nil, wrong(at, "call", fmt.Sprintf("the called workflow requires the input %q", in.Name.Text), "give it under with:")
		case in.Default.Given():
			v, err := e.value(in.Default)
			if err != nil {
				return nil, err
			}
			if values[in.Name.Text], err = coerce(v, in, in.Default.Source); err != nil {
				return nil, err
			}
		default:
			values[in.Name.Text], _ = coerce(nil, in, at)
		}
	}
	if len(given) > 0 {
		return nil, wrong(given[0].at, "call", fmt.Sprintf("the called workflow has no input %q", given[0].key), "")
	}
	return values, nil
}

// with computes the entries of a with:.
func (e *evaluator) with(list []workflow.Pair) ([]field, error) {
	var out []field
	for _, p := range list {
		v, err := e.value(p.Value)
		if err != nil {
			return nil, err
		}
		if p.Insert {
			out = append(out, objectFields(v, p.Value.Source)...)
			continue
		}
		out = append(out, field{key: p.Key.Text, value: v, at: p.Value.Source})
	}
	return out, nil
}

// coerce gives a value the type of an input of a called workflow. Nothing is
// the type's zero value.
func coerce(v any, in workflow.Input, at plan.Source) (any, error) {
	switch in.Kind() {
	case "boolean":
		switch x := v.(type) {
		case bool:
			return x, nil
		case nil:
			return false, nil
		case string:
			if x == "true" || x == "false" || x == "" {
				return x == "true", nil
			}
		}
	case "number":
		switch x := v.(type) {
		case float64:
			return x, nil
		case nil:
			return 0.0, nil
		case string:
			if n := expression.Number(x); n == n {
				return n, nil
			}
		}
	default:
		switch v.(type) {
		case nil, bool, float64, string:
			return expression.String(v), nil
		}
	}
	return nil, wrong(at, "call", fmt.Sprintf("the input %q must be a %s, and this comes to %s", in.Name.Text, in.Kind(), quoteValue(v)), "")
}
