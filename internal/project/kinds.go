package project

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// kind is a kind of value: how it is read and how it is described.
type kind[V any] struct {
	schema *schema
	// read puts the node's value into v, or reports why there is none. The
	// node is never an alias.
	read func(r *reader, n *yaml.Node, v *V)
}

// key is a row of the table: a key of a mapping that is read into a T.
type key[T any] struct {
	name   string
	must   bool
	schema *schema
	read   func(r *reader, n *yaml.Node, t *T)
}

// at is a key whose value goes where place says. means is one or two
// sentences, for the schema and the reference.
func at[T, V any](name string, place func(*T) *V, k kind[V], means string) key[T] {
	s := *k.schema
	s.Description = means
	return key[T]{name: name, schema: &s, read: func(r *reader, n *yaml.Node, t *T) { k.read(r, n, place(t)) }}
}

// or says what counts when the key is not given.
func (k key[T]) or(value string) key[T] {
	k.schema.unset = value
	return k
}

func (k key[T]) required() key[T] {
	k.must = true
	return k
}

// mapping is a mapping of these keys and no others; words is what they are
// called. Nothing at all is an empty mapping: its keys may all be commented
// out.
func mapping[T any](words string, keys ...key[T]) kind[T] {
	s := &schema{words: "a mapping", Type: []string{"object", "null"}, Closed: true}
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
		s.Properties = append(s.Properties, property{k.name, k.schema})
		if k.must {
			s.Required = append(s.Required, k.name)
		}
	}
	if len(s.Required) > 0 {
		s.Type = one("object")
	}
	return kind[T]{s, func(r *reader, n *yaml.Node, t *T) {
		if isNull(n) && len(s.Required) == 0 {
			return
		}
		if n.Kind != yaml.MappingNode {
			r.report(n, fmt.Sprintf("%s must be a mapping, not %s", r.subject(), shape(n)), "the "+words+" are "+strings.Join(names, ", "))
			return
		}
		first := map[string]*yaml.Node{}
		for i := 0; i+1 < len(n.Content) && !r.stopped; i += 2 {
			k := r.follow(n.Content[i])
			if k.Kind != yaml.ScalarNode {
				r.report(k, "a key must be a single word, not "+shape(k), "the "+words+" are "+strings.Join(names, ", "))
				continue
			}
			if before := first[k.Value]; before != nil {
				r.report(k, fmt.Sprintf("%s is given twice, first at line %d", clip(k.Value), before.Line), "keep one of the two")
				continue
			}
			first[k.Value] = k
			row := slices.Index(names, k.Value)
			if row < 0 {
				r.unknown(k, words, names)
				continue
			}
			r.inside(k.Value, func() { keys[row].read(r, r.follow(n.Content[i+1]), t) })
		}
		for _, k := range keys {
			if k.must && first[k.name] == nil && !r.stopped {
				r.report(n, k.name+" is missing", k.schema.way)
			}
		}
	}}
}

// constraint is something that must hold of a mapping as a whole.
type constraint[T any] struct {
	schema string // the same as JSON Schema; "" when that cannot say it
	check  func(r *reader, n *yaml.Node, t *T)
}

// holds adds constraints to a mapping. They are asked of those in which
// nothing else is wrong.
func (k kind[T]) holds(all ...constraint[T]) kind[T] {
	s := *k.schema
	for _, c := range all {
		if c.schema != "" {
			s.AllOf = append(s.AllOf, json.RawMessage(c.schema))
		}
	}
	return kind[T]{&s, func(r *reader, n *yaml.Node, t *T) {
		faults := r.faults
		k.read(r, n, t)
		for _, c := range all {
			if r.faults == faults {
				c.check(r, n, t)
			}
		}
	}}
}

// placed keeps where the value was found.
func placed[T any](place func(*T) *plan.Source, k kind[T]) kind[T] {
	return kind[T]{k.schema, func(r *reader, n *yaml.Node, t *T) {
		*place(t) = source(n)
		k.read(r, n, t)
	}}
}

// list is a list of values of a kind; those with a problem are left out.
func list[V any](words string, most int, of kind[V]) kind[[]V] {
	s := &schema{words: "a list of " + words, Type: []string{"array", "null"}, Items: of.schema, MaxItems: most}
	return kind[[]V]{s, func(r *reader, n *yaml.Node, v *[]V) {
		switch {
		case isNull(n):
			return
		case n.Kind != yaml.SequenceNode:
			r.report(n, fmt.Sprintf("%s must be a list of %s, not %s", r.subject(), words, shape(n)), "put it in square brackets, or a dash and a space before it")
			return
		case len(n.Content) > most:
			r.report(n, fmt.Sprintf("%s has %d entries; at most %d are read", r.subject(), len(n.Content), most), "name a directory above, or use a wider pattern")
			return
		}
		subject := r.key
		for _, c := range n.Content {
			if r.stopped {
				return
			}
			var item V
			faults := r.faults
			r.inside("an entry of "+subject, func() { of.read(r, r.follow(c), &item) })
			if r.faults == faults {
				*v = append(*v, item)
			}
		}
	}}
}

// fault is what is wrong with a text; the way out is that of its kind when
// there is none of its own.
type fault struct{ message, hint string }

func faulty(text, what string) *fault { return &fault{message: quote(text) + " " + what} }

// scalar is a text that parse understands.
func scalar[V any](s *schema, parse func(text string) (V, *fault)) kind[V] {
	return kind[V]{s, func(r *reader, n *yaml.Node, v *V) {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), s.words, shape(n)), s.way)
			return
		}
		value, bad := parse(n.Value)
		if bad != nil {
			r.report(n, bad.message, cmp.Or(bad.hint, s.way))
			return
		}
		*v = value
	}}
}

// choice is one of a few words.
func choice(words ...string) kind[string] {
	all := strings.Join(words, " or ")
	return scalar(&schema{words: all, way: "write " + all, Type: one("string"), Enum: words}, func(text string) (string, *fault) {
		if slices.Contains(words, text) {
			return text, nil
		}
		bad := faulty(text, "is not "+all)
		if near := plan.Nearest(text, words); near != "" {
			bad.hint = "did you mean " + near + "?"
		}
		return "", bad
	})
}

func boolean() kind[bool] {
	s := &schema{words: "true or false", way: "write true or false, without quotes", Type: one("boolean")}
	return kind[bool]{s, func(r *reader, n *yaml.Node, v *bool) {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), s.words, shape(n)), s.way)
			return
		}
		*v = strings.EqualFold(n.Value, "true")
	}}
}

// size is a number of bytes, more than none.
func size() kind[int64] {
	s := &schema{words: "a number and a unit", way: "write a number and a unit, such as 500MB, 20GB or 1TiB",
		Type: one("string"), Pattern: sizeForm, Examples: []any{"20GB", "500MB", "1.5TiB"}}
	return scalar(s, func(text string) (int64, *fault) {
		n, err := ParseSize(text)
		switch {
		case err != nil:
			return 0, faulty(text, err.Error())
		case n < 1:
			return 0, faulty(text, "is no room at all")
		}
		return n, nil
	})
}

const sizeForm = `^([0-9]+(?:\.[0-9]+)?) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$`

// ParseSize reads a number of bytes as the file writes it: "500MB", "1.5 TiB".
func ParseSize(text string) (int64, error) {
	m := regexp.MustCompile(sizeForm).FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("is not a size")
	}
	units := map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	number, err := strconv.ParseFloat(m[1], 64)
	bytes := number * units[m[2]]
	if err != nil || bytes >= math.MaxInt64 {
		return 0, errors.New("is more than any disk holds")
	}
	return int64(bytes), nil
}

// duration is a length of time, more than none.
func duration() kind[time.Duration] {
	const pattern = `^([0-9]+(ms|[wdhms]))+$`
	const day = 24 * time.Hour
	units := map[string]time.Duration{"w": 7 * day, "d": day, "h": time.Hour, "m": time.Minute, "s": time.Second, "ms": time.Millisecond}
	form, part := regexp.MustCompile(pattern), regexp.MustCompile(`([0-9]+)(ms|[wdhms])`)
	s := &schema{words: "a length of time", way: "write numbers and units, such as 30m, 24h, 7d or 1d12h",
		Type: one("string"), Pattern: pattern, Examples: []any{"24h", "7d", "1d12h"}}
	return scalar(s, func(text string) (time.Duration, *fault) {
		if len(text) > maxText || !form.MatchString(text) {
			return 0, faulty(text, "is not a length of time")
		}
		var sum time.Duration
		for _, m := range part.FindAllStringSubmatch(text, -1) {
			number, err := strconv.ParseInt(m[1], 10, 64)
			if unit := units[m[2]]; err != nil || number > int64((math.MaxInt64-sum)/unit) {
				return 0, faulty(text, "is longer than can be reckoned with")
			}
			sum += time.Duration(number) * units[m[2]]
		}
		if sum == 0 {
			return 0, faulty(text, "is no time at all")
		}
		return sum, nil
	})
}

// schema is as much of JSON Schema as the table needs.
type schema struct {
	Draft       string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        types              `json:"type,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Not         *schema            `json:"not,omitempty"`
	Examples    []any              `json:"examples,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	MaxItems    int                `json:"maxItems,omitempty"`
	Properties  properties         `json:"properties,omitempty"`
	Named       map[string]*schema `json:"patternProperties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Closed      closed             `json:"additionalProperties,omitempty"`
	AllOf       []json.RawMessage  `json:"allOf,omitempty"`

	words string // what the value is called: "a length of time"
	way   string // what to write
	unset string // what counts when it is not given
}

// types are the JSON types that a value may have; one is written as such.
type types []string

func one(name string) types { return types{name} }

func (t types) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// closed is set when a mapping has no keys but those of the table.
type closed bool

func (closed) MarshalJSON() ([]byte, error) { return []byte("false"), nil }

// properties keep the order of the table.
type properties []property

type property struct {
	name   string
	schema *schema
}

func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, x := range p {
		b.WriteByte("{,"[min(i, 1)])
		name, err := json.Marshal(x.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(x.schema)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
