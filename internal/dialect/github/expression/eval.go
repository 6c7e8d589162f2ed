package expression

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
)

// Scope is what names mean while an expression is evaluated. A nil Scope has
// no contexts and no functions beyond those of the language.
type Scope struct {
	// Context is the value of a context. The name is in lower case. Not ok
	// means that there is no such context, which is an error; a context that
	// exists but has nothing in it is nil, true. Values may be whatever
	// [FromGo] takes; anything else counts as null. During one evaluation
	// each context is asked for at most once, and before anything is
	// evaluated.
	Context func(name string) (value any, ok bool)
	// Function finds a function that the language itself does not have:
	// success, hashFiles and the like. The name is in lower case. It may be
	// nil.
	Function func(name string) (Func, bool)
	// Memory is how many bytes the values of one evaluation may take at a
	// time. Zero means the usual: [ConditionMemory] or [TemplateMemory].
	Memory int
}

// Func is a function that a [Scope] adds to the language. It gets between Min
// and Max arguments, already evaluated.
type Func struct {
	Min, Max int
	Call     func(args []any) (any, error)
}

// Eval computes the value of the expression: nil, bool, float64, string,
// [Array], [*Object] or a map that a context held. The error is an [*Error]; it
// wraps that of a [Func].
//
// A name that the scope does not know and a wrong number of arguments are
// errors even where evaluation would not come by.
func (e *Expression) Eval(s *Scope) (any, error) {
	ev := newEvaluator(s, ConditionMemory)
	v, err := ev.run(e, 0)
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

// plain is a value as callers see it.
func plain(v any) any {
	if f, ok := v.(filtered); ok {
		return []any(f)
	}
	return v
}

// evaluator is the state of one evaluation, which for a template goes over all
// its holes.
type evaluator struct {
	scope    *Scope
	contexts []binding // asked for so far
	values   []any     // contexts by slot, of the expression being evaluated
	funcs    []Func    // functions by slot, likewise
	limit    int
	held     memory
	work     int
}

type binding struct {
	name  string
	value any
}

func newEvaluator(s *Scope, limit int) *evaluator {
	if s == nil {
		s = &Scope{}
	}
	if s.Memory > 0 {
		limit = s.Memory
	}
	return &evaluator{scope: s, limit: limit}
}

// run evaluates an expression whose root is at the given level.
func (ev *evaluator) run(e *Expression, level int) (any, error) {
	if e.root == nil {
		return nil, nil
	}
	if err := ev.resolve(e); err != nil {
		return nil, err
	}
	return ev.eval(e.root, level)
}

// resolve looks up all names before evaluation: so unknown ones are found in
// branches that are not taken, and a context is the same value wherever it is
// used.
func (ev *evaluator) resolve(e *Expression) error {
	ev.values = slices.Grow(ev.values[:0], len(e.names))
	for _, n := range e.names {
		value, ok := ev.context(n.lower)
		if !ok {
			return errorAt(Evaluation, n.Offset, "there is no context %q here", n.Name)
		}
		ev.values = append(ev.values, value)
	}
	ev.funcs = slices.Grow(ev.funcs[:0], len(e.calls))
	for _, n := range e.calls {
		var f Func
		least, most := 0, 0
		if n.builtin != nil {
			least, most = n.builtin.min, n.builtin.max
		} else {
			ok := false
			if ev.scope.Function != nil {
				f, ok = ev.scope.Function(n.lower)
			}
			if !ok {
				return errorAt(Evaluation, n.Offset, "there is no function %q here", n.Name)
			}
			least, most = f.Min, f.Max
		}
		if err := wrongCount(n, least, most); err != nil {
			err.Kind = Evaluation
			return err
		}
		ev.funcs = append(ev.funcs, f)
	}
	return nil
}

// context asks the scope for a context, once.
func (ev *evaluator) context(name string) (any, bool) {
	for _, b := range ev.contexts {
		if b.name == name {
			return b.value, true
		}
	}
	if ev.scope.Context == nil {
		return nil, false
	}
	value, ok := ev.scope.Context(name)
	if !ok {
		return nil, false
	}
	value = canonical(value)
	ev.contexts = append(ev.contexts, binding{name, value})
	return value, true
}

// eval computes a node. Level is its distance from the root: values of deeper
// levels are garbage once a primitive value has been made of them.
func (ev *evaluator) eval(n *Node, level int) (any, error) {
	v, err := ev.compute(n, level)
	if err != nil {
		return nil, err
	}
	bytes := objectBytes
	trim := true
	switch v := v.(type) {
	case string:
		bytes = stringBytes(v)
		if err := ev.spend(n, len(v)); err != nil {
			return nil, err
		}
	case filtered:
		bytes += wordBytes * len(v)
		trim = false
	case []any, *Object, map[string]any:
		trim = false
	}
	if ev.held.add(level, bytes, trim) > ev.limit {
		return nil, ev.tooLarge(n)
	}
	return v, nil
}

func (ev *evaluator) compute(n *Node, level int) (any, error) {
	switch n.Op {
	case OpLiteral:
		return n.Value, nil
	case OpName:
		return ev.values[n.slot], nil
	case OpCall:
		return ev.call(n, level)
	case OpIndex:
		return ev.index(n, level)
	case OpNot:
		v, err := ev.eval(n.Args[0], level+1)
		return !Truthy(v), err
	case OpAnd, OpOr:
		var v any
		for _, a := range n.Args {
			var err error
			if v, err = ev.eval(a, level+1); err != nil {
				return nil, err
			}
			if Truthy(v) == (n.Op == OpOr) {
				break
			}
		}
		return v, nil
	}
	a, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	b, err := ev.eval(n.Args[1], level+1)
	if err != nil {
		return nil, err
	}
	return compare(n.Op, a, b), nil
}

func compare(op Op, a, b any) bool {
	switch op {
	case OpEqual:
		return Equal(a, b)
	case OpNotEqual:
		return !Equal(a, b)
	case OpLess:
		return less(a, b)
	case OpLessEqual:
		return Equal(a, b) || less(a, b)
	case OpGreater:
		return less(b, a)
	}
	return Equal(a, b) || less(b, a)
}

func (ev *evaluator) call(n *Node, level int) (any, error) {
	if n.builtin != nil {
		return n.builtin.call(ev, n, level)
	}
	args := make([]any, len(n.Args))
	for i, a := range n.Args {
		v, err := ev.eval(a, level+1)
		if err != nil {
			return nil, err
		}
		args[i] = plain(v)
	}
	v, err := ev.funcs[n.slot].Call(args)
	if err != nil {
		return nil, &Error{Kind: Evaluation, Offset: n.Offset, Message: fmt.Sprintf("%s: %v", n.Name, err), cause: err}
	}
	return canonical(v), nil
}

// index takes a property or an item, or with * all of them. The index itself
// is evaluated only when there is something to take from.
func (ev *evaluator) index(n *Node, level int) (any, error) {
	from, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	all := n.Args[1].Op == OpWildcard
	if isPrimitive(KindOf(from)) {
		if all {
			return filtered(newArray(0)), nil
		}
		return nil, nil
	}
	var by any
	if !all {
		if by, err = ev.eval(n.Args[1], level+1); err != nil {
			return nil, err
		}
	}
	items, isFiltered := from.(filtered)
	switch {
	case isFiltered:
		result := filtered(newArray(len(items)))
		for _, item := range items {
			cost := wordBytes
			if m, ok := item.(map[string]any); ok {
				cost += len(m) // may be scanned for the name in another case
			}
			if err := ev.spend(n, cost); err != nil {
				return nil, err
			}
			if !all {
				if v, ok := ev.get(item, by); ok {
					result = append(result, v)
				}
			} else if result, err = ev.appendAll(n, result, item); err != nil {
				return nil, err
			}
		}
		return result, nil
	case all:
		return ev.appendAll(n, filtered(newArray(0)), from)
	}
	v, _ := ev.get(from, by)
	return v, nil
}

// appendAll adds the items of a collection; a primitive has none.
func (ev *evaluator) appendAll(n *Node, list filtered, from any) (filtered, error) {
	for _, v := range entries(from) {
		list = append(list, canonical(v))
		if err := ev.spend(n, wordBytes); err != nil {
			return nil, err
		}
		if wordBytes*len(list) > ev.limit {
			return nil, ev.tooLarge(n)
		}
	}
	return list, nil
}

// get takes one item of a collection: of an object by text, of an array by
// number. A collection is no index.
func (ev *evaluator) get(from, by any) (any, bool) {
	switch from := from.(type) {
	case *Object, map[string]any:
		if !isPrimitive(KindOf(by)) {
			return nil, false
		}
		v, ok := property(from, String(by))
		return canonical(v), ok
	case filtered:
		return item(from, by)
	case []any:
		return item(from, by)
	}
	return nil, false
}

func item(list []any, by any) (any, bool) {
	i := math.Floor(Number(by))
	if !(i >= 0 && i < float64(len(list))) { // NaN is neither
		return nil, false
	}
	return canonical(list[int(i)]), true
}

// property finds a name in an object in any case. A map of Go may hold names
// that differ only in case: then the exact one, or the first in order.
func property(from any, name string) (any, bool) {
	switch from := from.(type) {
	case *Object:
		return from.Get(name)
	case map[string]any:
		if v, ok := from[name]; ok {
			return v, true
		}
		best, found := "", false
		for key := range from {
			if equalFold(key, name) && (!found || key < best) {
				best, found = key, true
			}
		}
		return from[best], found
	}
	return nil, false
}

// entries are the items of a collection in order, with their names if it is an
// object.
func entries(v any) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		switch v := v.(type) {
		case *Object:
			for i, key := range v.keys {
				if !yield(key, v.values[i]) {
					return
				}
			}
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if !yield(key, v[key]) {
					return
				}
			}
		case []any:
			for _, item := range v {
				if !yield("", item) {
					return
				}
			}
		case filtered:
			for _, item := range v {
				if !yield("", item) {
					return
				}
			}
		}
	}
}

// What values count for. The measures are GitHub's, those of .NET, so that
// what is too large there is too large here.
const (
	objectBytes = 24
	wordBytes   = 8
)

func stringBytes[T ~string | ~[]byte](s T) int { return 26 + 2*utf16Len(s) }

// memory is what the values of an evaluation take, level by level.
type memory struct {
	levels []int
	total  int
}

// add counts bytes at a level and returns the total. With trim the levels
// below are forgotten: what they held is no longer reachable.
func (m *memory) add(level, bytes int, trim bool) int {
	if trim && len(m.levels) > level+1 {
		for _, b := range m.levels[level+1:] {
			m.total -= b
		}
		m.levels = m.levels[:level+1]
	}
	for len(m.levels) <= level {
		m.levels = append(m.levels, 0)
	}
	m.levels[level] += bytes
	m.total += bytes
	return m.total
}

// spend counts work.
func (ev *evaluator) spend(n *Node, bytes int) error {
	if ev.work += bytes; ev.work > maxWork {
		return &Error{
			Kind: Evaluation, Offset: n.Offset,
			Message: "evaluating the expression takes too much work",
			Hint:    "compute it in a step",
		}
	}
	return nil
}

func (ev *evaluator) tooLarge(n *Node) error {
	return &Error{
		Kind: Evaluation, Offset: n.Offset,
		Message: fmt.Sprintf("the values of the expression take more than %d KiB of memory", ev.limit>>10),
		Hint:    "pass large data through files or artifacts",
	}
}

// at gives an error of a helper the place of a node.
func at(n *Node, err error) error {
	if placed := (*Error)(nil); errors.As(err, &placed) {
		return placed
	}
	return &Error{Kind: Evaluation, Offset: n.Offset, Message: fmt.Sprintf("%s: %v", n.Name, err), cause: err}
}
