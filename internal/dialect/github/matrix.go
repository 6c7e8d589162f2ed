package github

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

const (
	// maxCells is how many jobs one matrix may make; GitHub's own limit.
	maxCells = 256
	// maxCellID bounds the last part of a cell's ID, which names directories.
	maxCellID = 80
	// maxCellName bounds a name made from a cell's values, in bytes.
	maxCellName = 100
)

// field is an entry of a mapping whose order matters.
type field struct {
	key   string
	value any // nil, bool, float64, string, []any, map[string]any
	at    plan.Source
}

// cell is one combination of a matrix: its keys in the order of the file.
type cell []field

func (c cell) get(key string) (any, bool) {
	for _, f := range c {
		if strings.EqualFold(f.key, key) {
			return f.value, true
		}
	}
	return nil, false
}

func (c *cell) set(f field) {
	for i := range *c {
		if strings.EqualFold((*c)[i].key, f.key) {
			(*c)[i].value = f.value
			return
		}
	}
	*c = append(*c, f)
}

func (c cell) values() map[string]any {
	m := make(map[string]any, len(c))
	for _, f := range c {
		m[f.key] = f.value
	}
	return m
}

// matrix is a strategy's matrix after all its expressions have been read.
type matrix struct {
	vectors []field // every value is a []any
	include []cell
	exclude []cell
	at      plan.Source
}

// cells multiplies the matrix out. The rules, in this order:
//
//  1. The vectors are multiplied; the first varies slowest.
//  2. An exclude takes away every combination that agrees with all it names.
//     Names ignore case, and values are compared as == compares them.
//  3. An include adds its keys to every combination that it can join without
//     changing a value of a vector; keys added by an earlier include may be
//     changed. One that can join none becomes a combination of its own, which
//     later includes never join.
func (m *matrix) cells() ([]cell, *plan.Problem) {
	total := min(1, len(m.vectors))
	for _, v := range m.vectors {
		list := v.value.([]any)
		if len(list) == 0 {
			return nil, problemAt(v.at, "matrix", fmt.Sprintf("the matrix vector %q has no values", v.key),
				"give it at least one, or skip the job with if: when there is nothing to do")
		}
		total = min(total*len(list), math.MaxInt32) // of lists that fit into a file
	}
	if total > maxCells*maxCells {
		return nil, tooManyCells(m.at, total)
	}
	products := make([]cell, 0, total)
	if len(m.vectors) > 0 {
		products = m.product(products, nil, 0)
	}
	for _, x := range m.exclude {
		for _, f := range x {
			if !slices.ContainsFunc(m.vectors, func(v field) bool { return strings.EqualFold(v.key, f.key) }) {
				return nil, problemAt(f.at, "matrix", fmt.Sprintf("exclude names %q, which is no key of the matrix", f.key),
					"an exclude can only name the matrix's own keys, not those that include adds")
			}
		}
		products = slices.DeleteFunc(products, func(c cell) bool {
			for _, f := range x {
				if v, _ := c.get(f.key); !covers(v, f.value) {
					return false
				}
			}
			return true
		})
	}
	own := len(products)
	original := make([]cell, own) // as they are before any include
	for i, c := range products {
		original[i] = slices.Clip(c)
	}
	for _, in := range m.include {
		joined := false
		for i := range own {
			if !joins(in, original[i]) {
				continue
			}
			joined = true
			for _, f := range in {
				if _, vector := original[i].get(f.key); !vector {
					products[i].set(f)
				}
			}
		}
		if !joined && len(in) > 0 {
			products = append(products, slices.Clone(in))
		}
	}
	if len(products) > maxCells {
		return nil, tooManyCells(m.at, len(products))
	}
	return products, nil
}

func (m *matrix) product(out []cell, head cell, i int) []cell {
	if i == len(m.vectors) {
		return append(out, slices.Clone(head))
	}
	for _, v := range m.vectors[i].value.([]any) {
		out = m.product(out, append(head, field{key: m.vectors[i].key, value: v}), i+1)
	}
	return out
}

func tooManyCells(at plan.Source, n int) *plan.Problem {
	return problemAt(at, "limit", fmt.Sprintf("the matrix makes %d jobs, and at most %d are allowed", n, maxCells),
		"leave combinations out with exclude, or split the job")
}

// literalMatrices are the problems of matrices that hang on nothing, which need
// no run to be seen.
func literalMatrices(w *workflow.Workflow) (problems []plan.Problem) {
	nothing := &plan.Scope{}
	b := builder{w: w, scope: nothing, known: func(expression.Path) bool { return false }}
	for _, j := range w.Jobs {
		if j.Strategy == nil || j.Strategy.Matrix == nil || !b.knowsStrategy(j.Strategy) {
			continue
		}
		m, err := (&evaluator{s: nothing}).matrix(j.Strategy.Matrix)
		if err != nil {
			continue // said when the job's turn has come
		}
		if _, p := m.cells(); p != nil {
			p.Source = cmp.Or(p.Source, j.Strategy.Source)
			problems = append(problems, *p)
		}
	}
	return problems
}

// joins reports whether an include changes no value of the combination.
func joins(in, original cell) bool {
	for _, f := range in {
		if v, ok := original.get(f.key); ok && !equal(v, f.value) {
			return false
		}
	}
	return true
}

// equal compares two values of a matrix deeply; scalars by the rules of ==, which
// ignore case and take null for the empty string.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && len(a) == len(b) && covers(a, b)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return expression.Equal(a, b)
}

// covers reports whether value agrees with all that the filter says; a filter
// may name only some keys of a mapping.
func covers(value, filter any) bool {
	f, ok := filter.(map[string]any)
	v, same := value.(map[string]any)
	if !ok || !same {
		return equal(value, filter)
	}
	for key, want := range f {
		have, ok := v[key]
		for k := range v {
			if !ok && strings.EqualFold(k, key) {
				have, ok = v[k], true
			}
		}
		if !ok || !covers(have, want) {
			return false
		}
	}
	return true
}

// keep reports whether the cell agrees with what a person chose. Keys that the
// cell does not have do not count: they belong to other jobs.
func (c cell) keep(only map[string][]string) bool {
	for key, want := range only {
		if v, ok := c.get(key); ok && !slices.Contains(want, expression.String(v)) {
			return false
		}
	}
	return true
}

// leaves are the scalars of the cell as people read them, depth first.
func (c cell) leaves() []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k])
			}
		case nil:
		default:
			out = append(out, expression.String(v))
		}
	}
	for _, f := range c {
		walk(f.value)
	}
	return out
}

// title is the name of a cell's job when its author gave none that tells the
// cells apart: test (20, ubuntu-latest).
func (c cell) title(name string) string {
	leaves := c.leaves()
	if len(leaves) == 0 {
		return name
	}
	title := name + " (" + strings.Join(leaves, ", ") + ")"
	if len(title) > maxCellName {
		title = strings.ToValidUTF8(title[:maxCellName-3], "") + "..."
	}
	return title
}

// names makes IDs of cells that are unique, readable and safe as names of files,
// on file systems that ignore case too.
type names map[string]bool

func (taken names) add(c cell) string {
	id := slug(strings.Join(c.leaves(), "-"))
	if len(id) > maxCellID {
		id = strings.TrimRight(id[:maxCellID], "-.")
	}
	if id == "" {
		id = strconv.Itoa(len(taken) + 1)
	}
	unique := id
	for n := 2; taken[strings.ToLower(unique)]; n++ {
		suffix := "-" + strconv.Itoa(n)
		unique = id[:min(len(id), maxCellID-len(suffix))] + suffix
	}
	taken[strings.ToLower(unique)] = true
	return unique
}

// slug replaces everything that is not safe in the name of a file.
func slug(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || c == '.' || c == '_' {
			b.WriteByte(c)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-.")
}

// matrix reads the expressions of a job's matrix.
func (e *evaluator) matrix(m *workflow.Matrix) (*matrix, error) {
	out := &matrix{at: m.Source}
	if m.Expr.Given() {
		v, err := e.value(m.Expr)
		if err != nil {
			return nil, err
		}
		return out, e.matrixFields(out, objectFields(v, m.Expr.Source), m.Expr.Source, v)
	}
	for _, f := range m.Vectors {
		v, err := e.node(f.Value)
		if err != nil {
			return nil, err
		}
		if f.Insert {
			if err := e.matrixFields(out, objectFields(v, f.Value.Source), f.Value.Source, v); err != nil {
				return nil, err
			}
			continue
		}
		key, err := e.text(f.Key)
		if err != nil {
			return nil, err
		}
		if err := e.matrixFields(out, []field{{key: key, value: v, at: f.Key.Source}}, f.Key.Source, v); err != nil {
			return nil, err
		}
	}
	var err error
	if out.include, err = e.matrixCells(m.Include, "include"); err != nil {
		return nil, err
	}
	out.exclude, err = e.matrixCells(m.Exclude, "exclude")
	return out, err
}

// matrixFields takes a matrix, or a part of it, that an expression came to.
func (e *evaluator) matrixFields(out *matrix, fields []field, at plan.Source, v any) error {
	if fields == nil && v != nil {
		return wrong(at, "matrix", fmt.Sprintf("the matrix comes to %s and must be a mapping of lists", kindOf(v)),
			"give an object such as {\"os\": [\"a\", \"b\"]}")
	}
	for _, f := range fields {
		switch f.key {
		case "include", "exclude":
			cells, err := toCells(f.value, at, f.key)
			if err != nil {
				return err
			}
			if f.key == "include" {
				out.include = append(out.include, cells...)
			} else {
				out.exclude = append(out.exclude, cells...)
			}
		default:
			if err := out.add(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *matrix) add(f field) error {
	f.value = plain(f.value)
	if _, ok := f.value.([]any); !ok {
		return wrong(f.at, "matrix", fmt.Sprintf("the matrix vector %q comes to %s and must be a list", f.key, kindOf(f.value)),
			"write it as a list, or let the expression come to one: fromJSON('[…]')")
	}
	m.vectors = append(m.vectors, f)
	return nil
}

// matrixCells reads an include or exclude.
func (e *evaluator) matrixCells(n *workflow.Node, what string) ([]cell, error) {
	if n == nil || n.IsNull() {
		return nil, nil
	}
	if n.Kind != workflow.Sequence {
		v, err := e.node(n)
		if err != nil {
			return nil, err
		}
		return toCells(v, n.Source, what)
	}
	var cells []cell
	for _, item := range n.Items {
		if item.Kind == workflow.Mapping { // keeps the file's order and positions
			var c cell
			for _, f := range item.Fields {
				v, err := e.node(f.Value)
				if err != nil {
					return nil, err
				}
				if f.Insert {
					for _, in := range objectFields(v, f.Value.Source) {
						c.set(field{key: in.key, value: plain(in.value), at: in.at})
					}
					continue
				}
				key, err := e.text(f.Key)
				if err != nil {
					return nil, err
				}
				c.set(field{key: key, value: plain(v), at: f.Key.Source})
			}
			cells = append(cells, c)
			continue
		}
		v, err := e.node(item)
		if err != nil {
			return nil, err
		}
		if _, list := plain(v).([]any); !list {
			v = []any{v}
		}
		more, err := toCells(v, item.Source, what)
		if err != nil {
			return nil, err
		}
		cells = append(cells, more...)
	}
	return cells, nil
}

func toCells(v any, at plan.Source, what string) ([]cell, error) {
	if v == nil || v == "" {
		return nil, nil
	}
	list, ok := asList(v)
	if !ok {
		return nil, wrong(at, "matrix", fmt.Sprintf("%s comes to %s and must be a list of mappings", what, kindOf(v)), "")
	}
	var cells []cell
	for _, item := range list {
		fields := objectFields(item, at)
		if fields == nil && item != nil {
			return nil, wrong(at, "matrix", fmt.Sprintf("an entry of %s comes to %s and must be a mapping", what, kindOf(item)), "")
		}
		c := make(cell, 0, len(fields))
		for _, f := range fields {
			c.set(field{key: f.key, value: plain(f.value), at: f.at})
		}
		cells = append(cells, c)
	}
	return cells, nil
}
