package project

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Azure is the section azure: what Azure Pipelines keep on their server and
// not in the repository.
type Azure struct {
	// Groups are variable groups, by name, each with its variables by name.
	Groups map[string]map[string]string
	// Tasks are scripts for bash that stand for tasks, built in or not:
	// Name@1 -> script. Inputs are in the environment as INPUT_NAME.
	Tasks map[string]string
	// Environments are the resources of environments, by the environment's name: what a
	// rolling deployment goes over.
	Environments map[string][]string
}

// Group are the variables of a group, sorted by name; none when the group is
// not known.
func (a *Azure) Group(name string) []plan.Setting {
	var list []plan.Setting
	for k, v := range a.Groups[name] {
		list = append(list, plan.Setting{Name: k, Value: v})
	}
	slices.SortFunc(list, func(x, y plan.Setting) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// Limits of the section.
const (
	maxGroups  = 200
	maxOfGroup = 1000 // variables
	maxTasks   = 200
	maxScript  = 64 << 10 // bytes of a stand-in
	maxPlaces  = 200      // environments
	maxTargets = 500      // resources of one
)

func azure() kind[Azure] {
	value := words("a text", maxScript)
	return mapping("keys of azure",
		at("variable_groups", func(a *Azure) *map[string]map[string]string { return &a.Groups }, named("variable groups", maxGroups, named("variables", maxOfGroup, value)),
			"Variable groups, each with its variables. Secret variables of a group are given as secrets of the run, by their own names."),
		at("tasks", func(a *Azure) *map[string]string { return &a.Tasks }, named("tasks", maxTasks, value),
			"Scripts for bash that stand for tasks, by `Name@1`: for those that are not built in, and for those that would log in with a service connection. A task's inputs are in the environment as `INPUT_NAME`."),
		at("environments", func(a *Azure) *map[string][]string { return &a.Environments }, named("environments", maxPlaces, list("resources", maxTargets, line("the name of a resource", "write its name, such as web-1"))),
			"The resources of environments. A rolling deployment goes over them, `maxParallel` at a time; each is done where a worker has the resource's name as a label, or on this machine."),
	)
}

// words is a text of any form, up to a number of bytes; a number or a boolean
// is one too, as it is written.
func words(what string, most int) kind[string] {
	s := &schema{words: what, way: "write " + what, Type: types{"string", "number", "boolean"}}
	return kind[string]{s, func(r *reader, n *yaml.Node, v *string) {
		switch {
		case n.Kind != yaml.ScalarNode:
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), what, shape(n)), s.way)
		case len(n.Value) > most:
			r.report(n, fmt.Sprintf("%s has more than %d bytes", r.subject(), most), "put it into a file of the repository")
		default:
			*v = n.Value
		}
	}}
}

// named is a mapping whose keys are names that the user chooses.
func named[V any](what string, most int, of kind[V]) kind[map[string]V] {
	s := &schema{words: "a mapping of " + what, Type: types{"object", "null"}, Named: map[string]*schema{"": of.schema}}
	return kind[map[string]V]{s, func(r *reader, n *yaml.Node, v *map[string]V) {
		switch {
		case isNull(n):
			return
		case n.Kind != yaml.MappingNode:
			r.report(n, fmt.Sprintf("%s must be a mapping of %s, not %s", r.subject(), what, shape(n)), "write each as name: value")
			return
		case len(n.Content)/2 > most:
			r.report(n, fmt.Sprintf("%s has %d entries; at most %d are read", r.subject(), len(n.Content)/2, most), "")
			return
		}
		*v = make(map[string]V, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content) && !r.stopped; i += 2 {
			k := r.follow(n.Content[i])
			if k.Kind != yaml.ScalarNode || k.Value == "" || len(k.Value) > maxText {
				r.report(k, "a name must be a single text, not "+shape(k), "")
				continue
			}
			if _, twice := (*v)[k.Value]; twice {
				r.report(k, fmt.Sprintf("%s is given twice", clip(k.Value)), "keep one of the two")
				continue
			}
			var item V
			r.inside(k.Value, func() { of.read(r, r.follow(n.Content[i+1]), &item) })
			(*v)[k.Value] = item
		}
	}}
}
