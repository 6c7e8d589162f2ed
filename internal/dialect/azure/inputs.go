package azure

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Describe implements dialect.Dialect.
func (d *Dialect) Describe(c *plan.Change) {
	if c.Payload == nil {
		c.Payload = map[string]any{"resource": map[string]any{
			"refUpdates": []any{map[string]any{"name": c.Ref, "oldObjectId": c.Before, "newObjectId": c.SHA}},
			"repository": map[string]any{"name": c.Repository, "defaultBranch": branch(c.DefaultBranch)},
			"pushedBy":   map[string]any{"displayName": c.Actor},
		}}
		return
	}
	resource, _ := c.Payload["resource"].(map[string]any)
	take := func(to *string, from any) {
		if s, ok := from.(string); ok && s != "" {
			*to = s
		}
	}
	if list, ok := resource["refUpdates"].([]any); ok && len(list) > 0 {
		update, _ := list[0].(map[string]any)
		take(&c.Ref, update["name"])
		take(&c.SHA, update["newObjectId"])
		take(&c.Before, update["oldObjectId"])
	}
	take(&c.HeadRef, resource["sourceRefName"])
	take(&c.BaseRef, resource["targetRefName"])
	if repository, ok := resource["repository"].(map[string]any); ok {
		take(&c.DefaultBranch, repository["defaultBranch"])
	}
	if by, ok := resource["pushedBy"].(map[string]any); ok {
		take(&c.Actor, by["displayName"])
	}
}

// inputsOf are the parameters of a pipeline, which a person may give when
// starting it.
func inputsOf(root *node) []plan.Input {
	var list []plan.Input
	for _, n := range items(root.Get("parameters")) {
		name := n.Get("name").String()
		if name == "" {
			continue
		}
		in := plan.Input{Name: name, Description: n.Get("displayName").String(), Type: n.Get("type").String(), Required: n.Get("default") == nil, Source: n.Source}
		for _, v := range items(n.Get("values")) {
			in.Options = append(in.Options, v.String())
		}
		switch in.Type {
		case "boolean", "number":
		case "", "string":
			in.Type = "string"
			if len(in.Options) > 0 {
				in.Type, in.Required = "choice", false
			}
		}
		if def := n.Get("default"); def != nil {
			in.Default = expression.ToJSON(template.ValueOf(def))
		}
		list = append(list, in)
	}
	return list
}

// Inputs implements dialect.Dialect. Names ignore case; what is no text is
// given as YAML.
func (d *Dialect) Inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	values, problems := inputs(p, given)
	for _, in := range p.Inputs {
		if _, have := values[in.Name]; have || in.Default == nil {
			continue
		}
		values[in.Name] = in.Default
		if text, ok := in.Default.(string); ok {
			if v, err := typed(in, text); err == nil && (in.Type == "boolean" || in.Type == "number") {
				values[in.Name] = v
			}
		}
	}
	return values, problems
}

// inputs are the values that were given; defaults are computed with the file.
func inputs(p *plan.Pipeline, given map[string]string) (map[string]any, []plan.Problem) {
	values := map[string]any{}
	var problems []plan.Problem
	used := map[string]bool{}
	var names []string
	for _, in := range p.Inputs {
		names = append(names, in.Name)
		text, ok := "", false
		for name, v := range given {
			if strings.EqualFold(name, in.Name) {
				text, ok, used[name] = v, true, true
			}
		}
		if !ok {
			if in.Required {
				problems = append(problems, *problemAt(in.Source, "inputs", fmt.Sprintf("A value for the '%s' parameter must be provided.", in.Name), fmt.Sprintf("give it with --input %s=VALUE", in.Name)))
			}
			continue
		}
		v, err := typed(in, text)
		if err != nil {
			problems = append(problems, *problemAt(in.Source, "inputs", fmt.Sprintf("the parameter %q %v", in.Name, err), ""))
			continue
		}
		values[in.Name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !used[name] {
			hint := "it takes none"
			if len(names) > 0 {
				hint = "its parameters are " + strings.Join(names, ", ")
			}
			problems = append(problems, *problemAt(p.Source, "inputs", fmt.Sprintf("the pipeline has no parameter %q", name), hint))
		}
	}
	return values, problems
}

// typed reads a text as the type of a parameter.
func typed(in plan.Input, text string) (any, error) {
	if len(in.Options) > 0 && !slices.Contains(in.Options, text) {
		return nil, fmt.Errorf("must be one of %s, not %.60q", strings.Join(in.Options, ", "), text)
	}
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
		n, ok := expression.Number(text)
		if !ok {
			return nil, fmt.Errorf("must be a number, not %.60q", text)
		}
		return n, nil
	case "string", "choice":
		return text, nil
	}
	root, problems := template.Parse(in.Name, []byte(text))
	if root == nil || len(problems) > 0 {
		return nil, fmt.Errorf("must be YAML or JSON, not %.60q", text)
	}
	return expression.ToJSON(template.ValueOf(root)), nil
}

// remembering looks for a program on PATH until it was found once: programs do
// not go away.
func remembering(look func(string, []string) (string, error)) func(string, []string) (string, error) {
	var found sync.Map
	return func(program string, dirs []string) (string, error) {
		if len(dirs) > 0 {
			return look(program, dirs)
		}
		if file, ok := found.Load(program); ok {
			return file.(string), nil
		}
		file, err := look(program, nil)
		if err == nil {
			found.Store(program, file)
		}
		return file, err
	}
}

// lookPath finds a program in the given directories, or on PATH.
func lookPath(program string, dirs []string) (string, error) {
	for _, dir := range dirs {
		file := filepath.Join(dir, program)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return exec.LookPath(program)
}
