package object

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A cluster remembers of each field who set it, in metadata.managedFields: for each manager
// a tree whose keys are f:NAME for a field of a mapping, k:{…} for an item of a list by
// its keys, v:… for a value of a set, and "." for the thing itself.

// Author is who set a field, and when.
type Author struct {
	Manager string // the name of a program: kubectl-edit
	Time    time.Time
}

// ownership is one entry of metadata.managedFields.
type ownership struct {
	Author
	part string // of the thing: "status", "scale"
	tree Object
}

func (o Object) ownerships() []ownership {
	var list []ownership
	for _, m := range o.List("metadata", "managedFields") {
		at, _ := time.Parse(time.RFC3339, m.Text("time")) // else it is not known
		list = append(list, ownership{Author{m.Text("manager"), at}, m.Text("subresource"), m.Map("fieldsV1")})
	}
	return list
}

// Author is who set a field last, besides one manager; the zero Author when nobody else
// did. The field is a path as [Difference] has it.
func (o Object) Author(field []string, besides string) Author {
	var best Author
	deepest := 0
	for _, own := range o.ownerships() {
		if own.Manager == besides || own.part == "status" {
			continue
		}
		// Who set the whole of which the field is a part counts if nobody set the field.
		if depth := own.tree.depth(field); depth > deepest || depth == deepest && depth > 0 && own.Time.After(best.Time) {
			best, deepest = own.Author, depth
		}
	}
	return best
}

// depth is how far a tree of fields goes along a path, to a field that is set as a whole;
// 0 if it does not.
func (tree Object) depth(field []string) int {
	t := tree
	for i, step := range field {
		next, ok := t.step(step)
		if !ok {
			return 0
		}
		if len(next) == 0 {
			return i + 1
		}
		t = next
	}
	return len(field)
}

// step goes one part of a path down.
func (tree Object) step(step string) (Object, bool) {
	if next, ok := tree[step].(map[string]any); ok {
		return next, true
	}
	key, value, ok := strings.Cut(strings.TrimPrefix(step, "k:"), "=")
	if !ok || !strings.HasPrefix(step, "k:") {
		return nil, false
	}
	for name, next := range tree {
		text, ok := strings.CutPrefix(name, "k:")
		if !ok {
			continue
		}
		keys, err := Parse([]byte(text))
		if err == nil && fmt.Sprint(keys[key]) == value {
			m, _ := next.(map[string]any)
			return m, true
		}
	}
	return nil, false
}

// Field is a field that somebody set.
type Field struct {
	Author
	Path  string
	Value any
}

// machines are parts of the names of managers that are no people: what controllers set is
// part of how a cluster works.
var machines = []string{"controller", "kube-", "kubelet", "operator", "injector", "-manager", "autoscaler", "scheduler", "apiserver"}

// Foreign are the fields that people have set by hand and that one manager has not, in order
// of paths. Annotations are left out, since tools write their own into them.
func (o Object) Foreign(manager string) []Field {
	var mine []Object
	var list []Field
	owners := o.ownerships()
	for _, own := range owners {
		if own.Manager == manager {
			mine = append(mine, own.tree)
		}
	}
	for _, own := range owners {
		if own.Manager == manager || own.part == "status" || slices.ContainsFunc(machines, func(m string) bool { return strings.Contains(own.Manager, m) }) {
			continue
		}
		foreign(own, own.tree, mine, map[string]any(o), "", &list)
	}
	slices.SortFunc(list, func(x, y Field) int { return strings.Compare(x.Path, y.Path) })
	return slices.CompactFunc(list, func(x, y Field) bool { return x.Path == y.Path })
}

// foreign goes down one manager's tree along with those of ours and the values.
func foreign(own ownership, tree Object, mine []Object, value any, path string, list *[]Field) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		sub, _ := tree[key].(map[string]any)
		name, next, ok := descend(key, value)
		if !ok || path == "metadata" && name == "annotations" {
			continue
		}
		var below []Object
		held := false
		for _, m := range mine {
			if t, ok := m[key].(map[string]any); ok {
				below = append(below, t)
				held = held || len(t) == 0
			}
		}
		at := name
		if path != "" {
			at = path + name
			if strings.HasPrefix(key, "f:") && !strings.HasPrefix(name, "[") {
				at = path + "." + name
			}
		}
		switch {
		case held:
		case len(sub) == 0 || len(below) == 0 && !onlyMarks(sub):
			// A part that nobody else has anything in is one.
			if next != nil {
				*list = append(*list, Field{Author: own.Author, Path: at, Value: next})
			}
		default:
			foreign(own, sub, below, next, at, list)
		}
	}
}

// onlyMarks reports whether a tree says nothing but that a thing is there.
func onlyMarks(tree Object) bool {
	_, dot := tree["."]
	return dot && len(tree) == 1
}

// descend is the value that a key of a tree stands for, and the name of it in a path.
func descend(key string, value any) (name string, next any, ok bool) {
	switch {
	case strings.HasPrefix(key, "f:"):
		m, is := value.(map[string]any)
		next, ok = m[key[2:]]
		return join("", key[2:]), next, is && ok
	case strings.HasPrefix(key, "k:"):
		keys, err := Parse([]byte(key[2:]))
		items, is := value.([]any)
		if err != nil || !is {
			return "", nil, false
		}
		for _, item := range items {
			m, _ := item.(map[string]any)
			if matches(m, keys) {
				return bracket(keys), item, true
			}
		}
	case strings.HasPrefix(key, "v:"):
		var v any
		if json.Unmarshal([]byte(key[2:]), &v) == nil {
			return "[" + fmt.Sprint(v) + "]", v, true
		}
	}
	return "", nil, false
}

func matches(item, keys Object) bool {
	for k, v := range keys {
		// A protocol that is not given is the one that the key says.
		if have, ok := item[k]; ok && fmt.Sprint(have) != fmt.Sprint(v) || !ok && k != "protocol" {
			return false
		}
	}
	return true
}

func bracket(keys Object) string {
	for _, k := range mergeKeys {
		if v, ok := keys[k]; ok {
			return "[" + k + "=" + fmt.Sprint(v) + "]"
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		return "[" + k + "=" + fmt.Sprint(keys[k]) + "]"
	}
	return ""
}
