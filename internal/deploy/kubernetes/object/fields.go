package object

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	Path    string
	Pointer []string // the keys and places that lead to it
	Value   any
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
		if own.Manager == manager || own.part != "" || slices.ContainsFunc(machines, func(m string) bool { return strings.Contains(own.Manager, m) }) {
			continue
		}
		foreign(own, own.tree, mine, spot{value: map[string]any(o)}, &list)
	}
	slices.SortFunc(list, func(x, y Field) int { return strings.Compare(x.Path, y.Path) })
	return slices.CompactFunc(list, func(x, y Field) bool { return x.Path == y.Path })
}

// spot is where a walk along a tree of fields has come to.
type spot struct {
	path    string
	pointer []string
	value   any
}

// foreign goes down one manager's tree along with those of ours and the values.
func foreign(own ownership, tree Object, mine []Object, at spot, list *[]Field) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		sub, _ := tree[key].(map[string]any)
		next, ok := at.descend(key)
		if !ok || next.value == nil || slices.Contains(next.pointer, "annotations") {
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
		switch {
		case held:
		case len(sub) > 0 && (len(below) > 0 || len(next.pointer) < 2):
			foreign(own, sub, below, next, list)
		default:
			// What nobody else has anything in is one.
			*list = append(*list, Field{Author: own.Author, Path: next.path, Pointer: next.pointer, Value: next.value})
		}
	}
}

// descend goes to what a key of a tree stands for.
func (at spot) descend(key string) (spot, bool) {
	switch {
	case strings.HasPrefix(key, "f:"):
		m, _ := at.value.(map[string]any)
		v, ok := m[key[2:]]
		return spot{join(at.path, key[2:]), append(slices.Clip(at.pointer), key[2:]), v}, ok
	case strings.HasPrefix(key, "k:"):
		keys, err := Parse([]byte(key[2:]))
		items, _ := at.value.([]any)
		if err != nil {
			return spot{}, false
		}
		for i, item := range items {
			if m, _ := item.(map[string]any); matches(m, keys) {
				return spot{at.path + bracket(keys), append(slices.Clip(at.pointer), strconv.Itoa(i)), item}, true
			}
		}
	case strings.HasPrefix(key, "v:"):
		var v any
		items, _ := at.value.([]any)
		if json.Unmarshal([]byte(key[2:]), &v) != nil {
			return spot{}, false
		}
		for i, item := range items {
			if fmt.Sprint(item) == fmt.Sprint(v) {
				return spot{at.path + "[" + strconv.Itoa(i) + "]", append(slices.Clip(at.pointer), strconv.Itoa(i)), item}, true
			}
		}
	}
	return spot{}, false
}

// matches reports whether an item is the one with these keys. A protocol that is not given is
// the one that the keys say.
func matches(item, keys Object) bool {
	for k, v := range keys {
		if have, ok := item[k]; ok && fmt.Sprint(have) != fmt.Sprint(v) || !ok && k != "protocol" {
			return false
		}
	}
	return len(item) > 0
}

// bracket is an item's name in a path.
func bracket(keys Object) string {
	for _, k := range mergeKeys {
		if v, ok := keys[k]; ok {
			return "[" + k + "=" + fmt.Sprint(v) + "]"
		}
	}
	return "[]"
}
