// Package object holds things of a Kubernetes cluster as they are written down:
// trees of mappings, lists and scalars. Nothing here knows a kind by its Go
// type, since a cluster's kinds are known only when one speaks to it.
package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Object is a thing of a cluster. Its values are nil, bool, string,
// json.Number, int64, float64, []any and map[string]any.
type Object map[string]any

// Kind says what a thing is: apps/v1 Deployment. The group of the oldest kinds
// is "".
type Kind struct{ Group, Version, Kind string }

// APIVersion is group and version in one, as manifests write them: apps/v1, v1.
func (k Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// GroupKind is the kind without its version: Deployment.apps, Service.
func (k Kind) GroupKind() string {
	if k.Group == "" {
		return k.Kind
	}
	return k.Kind + "." + k.Group
}

// String is for people: apps/v1 Deployment.
func (k Kind) String() string { return k.APIVersion() + " " + k.Kind }

// Ref names one thing of a cluster. Namespace is "" for what is in none.
type Ref struct {
	Kind
	Namespace, Name string
}

// String is for people: Deployment web.
func (r Ref) String() string { return r.Kind.Kind + " " + r.Name }

// Key tells things apart, whatever version of their kind is spoken.
func (r Ref) Key() string { return r.GroupKind() + "/" + r.Namespace + "/" + r.Name }

// Parse reads JSON. Numbers stay as they are written.
func Parse(data []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fmt.Errorf("not an object but null")
	}
	return o, nil
}

// At is the value at the end of a path of keys; nil when there is none.
func (o Object) At(path ...string) any {
	var v any = map[string]any(o)
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// Text is the string at a path, or "".
func (o Object) Text(path ...string) string {
	s, _ := o.At(path...).(string)
	return s
}

// Int is the whole number at a path, or none.
func (o Object) Int(none int64, path ...string) int64 {
	if n, ok := Whole(o.At(path...)); ok {
		return n
	}
	return none
}

// Bool is the boolean at a path, or false.
func (o Object) Bool(path ...string) bool {
	b, _ := o.At(path...).(bool)
	return b
}

// Map is the mapping at a path, or nil. It is not a copy.
func (o Object) Map(path ...string) Object {
	m, _ := o.At(path...).(map[string]any)
	return m
}

// List holds the mappings of the list at a path; other items are left out.
// They are not copies.
func (o Object) List(path ...string) []Object {
	items, _ := o.At(path...).([]any)
	list := make([]Object, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			list = append(list, m)
		}
	}
	return list
}

// Set puts a value at the end of a path, making mappings on the way. What is on the way
// and is no mapping is replaced.
func (o Object) Set(v any, path ...string) {
	m := map[string]any(o)
	for _, key := range path[:len(path)-1] {
		next, ok := m[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[key] = next
		}
		m = next
	}
	m[path[len(path)-1]] = v
}

// Drop takes out the value at the end of a path.
func (o Object) Drop(path ...string) {
	if m := o.Map(path[:len(path)-1]...); m != nil {
		delete(m, path[len(path)-1])
	}
}

// Clone is a deep copy.
func (o Object) Clone() Object {
	m, _ := clone(map[string]any(o)).(map[string]any)
	return m
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, item := range v {
			m[k] = clone(item)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = clone(item)
		}
		return list
	}
	return v
}

// Kind says what the thing is, by its apiVersion and kind.
func (o Object) Kind() Kind {
	group, version, ok := strings.Cut(o.Text("apiVersion"), "/")
	if !ok {
		group, version = "", group
	}
	return Kind{Group: group, Version: version, Kind: o.Text("kind")}
}

// Name is metadata.name.
func (o Object) Name() string { return o.Text("metadata", "name") }

// Namespace is metadata.namespace.
func (o Object) Namespace() string { return o.Text("metadata", "namespace") }

// Ref names the thing.
func (o Object) Ref() Ref { return Ref{Kind: o.Kind(), Namespace: o.Namespace(), Name: o.Name()} }

// Label is the value of a label, or "".
func (o Object) Label(name string) string { return o.Text("metadata", "labels", name) }

// Annotation is the value of an annotation, or "".
func (o Object) Annotation(name string) string { return o.Text("metadata", "annotations", name) }

// Condition is an entry of status.conditions.
type Condition struct{ Type, Status, Reason, Message string }

// True reports whether the condition holds.
func (c Condition) True() bool { return c.Status == "True" }

// Conditions are those of the thing's status, in its order.
func (o Object) Conditions() []Condition {
	var list []Condition
	for _, c := range o.List("status", "conditions") {
		list = append(list, Condition{Type: c.Text("type"), Status: c.Text("status"), Reason: c.Text("reason"), Message: c.Text("message")})
	}
	return list
}

// Condition is the condition of a type; its Status is "" when there is none.
func (o Object) Condition(kind string) Condition {
	for _, c := range o.Conditions() {
		if c.Type == kind {
			return c
		}
	}
	return Condition{Type: kind}
}

// Whole is the whole number that a value stands for.
func Whole(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case int64:
		return v, true
	case int:
		return int64(v), true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	return 0, false
}

// Difference is a value that two things do not have in common.
type Difference struct {
	Path       string   // spec.template.spec.containers[name=web].image
	Fields     []string // the same, for [Object.Author]
	Want, Have any      // nil where the thing has none
}

// Compare lists what differs between what is wanted and what is there, in order of
// paths. Items of lists are compared by what names them (name, containerPort, type …)
// when all of them have it, and by their place otherwise.
func Compare(want, have Object) []Difference {
	var list []Difference
	compare(place{}, map[string]any(want), map[string]any(have), &list)
	return list
}

// place is where a comparison has come to.
type place struct {
	path   string
	fields []string
}

func (p place) key(name string) place {
	return place{join(p.path, name), append(slices.Clip(p.fields), "f:"+name)}
}

func (p place) item(key, name string) place {
	return place{p.path + "[" + key + "=" + name + "]", append(slices.Clip(p.fields), "k:"+key+"="+name)}
}

func (p place) index(i int) place {
	return place{p.path + "[" + strconv.Itoa(i) + "]", append(slices.Clip(p.fields), "i:"+strconv.Itoa(i))}
}

func compare(at place, want, have any, list *[]Difference) {
	switch w := want.(type) {
	case map[string]any:
		if h, ok := have.(map[string]any); ok {
			keys := slices.Collect(maps.Keys(w))
			for k := range h {
				if _, both := w[k]; !both {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				compare(at.key(k), w[k], h[k], list)
			}
			return
		}
	case []any:
		if h, ok := have.([]any); ok {
			compareLists(at, w, h, list)
			return
		}
	}
	if !same(want, have) {
		*list = append(*list, Difference{Path: at.path, Fields: at.fields, Want: want, Have: have})
	}
}

// join adds a key to a path; one with dots in it, such as a label's, is put in brackets.
func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, "./[]"):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func compareLists(at place, want, have []any, list *[]Difference) {
	key := merge(want, have)
	if key == "" {
		for i := range max(len(want), len(have)) {
			var w, h any
			if i < len(want) {
				w = want[i]
			}
			if i < len(have) {
				h = have[i]
			}
			compare(at.index(i), w, h, list)
		}
		return
	}
	others := make(map[string]any, len(have))
	for _, h := range have {
		others[named(h, key)] = h
	}
	for _, w := range want {
		name := named(w, key)
		compare(at.item(key, name), w, others[name], list)
		delete(others, name)
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		compare(at.item(key, name), nil, others[name], list)
	}
}

// mergeKeys are the keys by which clusters tell items of lists apart.
var mergeKeys = [...]string{"name", "containerPort", "port", "mountPath", "type", "key", "topologyKey", "ip", "uid"}

// merge is the key that names the items of two lists, each only once; "" for none.
func merge(lists ...[]any) string {
search:
	for _, key := range mergeKeys {
		for _, items := range lists {
			seen := map[string]bool{}
			for _, item := range items {
				name := named(item, key)
				if name == "" || seen[name] {
					continue search
				}
				seen[name] = true
			}
		}
		return key
	}
	return ""
}

func named(item any, key string) string {
	m, _ := item.(map[string]any)
	switch v := m[key].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		if _, whole := Whole(v); whole {
			return fmt.Sprint(v)
		}
	}
	return ""
}

// same compares two values. Nothing, an empty mapping and an empty list are the same:
// servers leave out what is empty.
func same(a, b any) bool {
	if empty(a) && empty(b) {
		return true
	}
	if x, ok := Whole(a); ok {
		y, ok := Whole(b)
		return ok && x == y
	}
	switch a.(type) {
	case map[string]any, []any:
		return false // the other is of another shape
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
