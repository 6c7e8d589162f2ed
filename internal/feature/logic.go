package feature

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A rule is JSON Logic: an object with one key, the operator, and its operands. It is
// compiled once, when the definitions are loaded, to a tree of closures; what hangs on
// no user is worked out then.
//
// The reference has two ways to work a rule out, which differ in corners: generated
// code for most of it, an interpreter for the rest (what hangs on nothing, an "if" without an
// "else", a var whose name is computed). A rule must give the same answer here as there, so the
// compiler has the same two ways, and where they differ a comment says so.

// expr works out a part of a rule.
type expr func(*scope) (any, error)

// scope is what a rule is worked out with.
type scope struct {
	data any    // the context; inside of map and its like, an element
	top  bool   // data is the context of the evaluation
	flag string // key of the flag
	now  int64  // seconds
	// last is the value that was compared with last: generated code checks the right side of a
	// comparison against it, whoever put it there.
	last any
	fuel *int
}

// The failures of a rule. What the reference calls a thrown value is one of these.
var (
	errOperands = errors.New("the operands do not fit the operator")
	errNumber   = errors.New("a value is no number")
	errType     = errors.New("a value has the wrong type")
	errInside   = errors.New("flagd's own operators cannot be used inside of map, filter and their like")
	errFuel     = errors.New("the rule takes too many steps")
)

// maxFuel is how many steps, and bytes of texts put together, one evaluation may take.
const maxFuel = 1 << 20

func (s *scope) burn(n int) error {
	if s.fuel != nil {
		if *s.fuel -= n; *s.fuel < 0 {
			return errFuel
		}
	}
	return nil
}

// within is the scope of a rule that is asked of an element.
func (s *scope) within() scope { return scope{flag: s.flag, now: s.now, fuel: s.fuel} }

// ruleError says what is wrong with a rule, and where.
type ruleError struct {
	at      *node
	message string
	hint    string
}

func (e *ruleError) Error() string { return e.message }

func wrong(at *node, hint, format string, args ...any) error {
	return &ruleError{at, fmt.Sprintf(format, args...), hint}
}

// operators are all that a rule may use.
var operators = []string{"!", "!!", "!=", "!==", "%", "*", "+", "-", "/", "<", "<=", "==", "===", ">", ">=", "all", "and", "cat", "ends_with", "filter",
	"fractional", "if", "in", "map", "max", "merge", "min", "missing", "missing_some", "none", "or", "reduce", "sem_ver", "some", "starts_with", "substr", "var"}

// comparisons by their operators.
func comparisonOf(op string) (comparison, bool) {
	i := slices.Index([]string{"==", "!=", "===", "!==", "<", "<=", ">", ">="}, op)
	return comparison(i), i >= 0
}

// operator is the operator of a rule and its operands; ok is false for a value.
func operator(n *node) (op string, operands *node, ok bool) {
	if n == nil || n.kind != isObject || len(n.keys) == 0 {
		return "", nil, false
	}
	return n.keys[0].name, n.items[0], true
}

// settled reports whether a part of a rule hangs on no user. Inside of an iteration, its
// elements are known.
func settled(n *node, inside bool) (bool, error) {
	if n != nil && n.kind == isList {
		for _, x := range n.items {
			if ok, err := settled(x, inside); !ok {
				return false, err
			}
		}
		return true, nil
	}
	op, operands, ok := operator(n)
	if !ok {
		return true, nil
	}
	if _, known := slices.BinarySearch(operators, op); !known {
		hint := "the operators are " + strings.Join(operators, " ")
		if near := plan.Nearest(op, operators); near != "" {
			hint = "did you mean " + near + "?"
		}
		return false, wrong(n, hint, "%.60q is no operator of a rule", op)
	}
	if len(n.keys) > 1 {
		return false, wrong(n, "put each operator into an object of its own", "a part of a rule has one operator; this has %d", len(n.keys))
	}
	switch op {
	case "var":
		return inside, nil
	case "missing":
		return operands.kind == isList && len(operands.items) == 0, nil
	case "missing_some", "fractional", "sem_ver", "starts_with", "ends_with":
		return false, nil
	case "map", "filter", "some", "none", "all", "reduce":
		if operands.kind != isList || len(operands.items) < 2 {
			return false, nil
		}
		if ok, err := settled(operands.items[0], inside); !ok {
			return false, err
		}
		return settled(operands.items[1], true)
	}
	return settled(operands, inside)
}

// compileRule compiles a whole rule.
func compileRule(n *node) (expr, error) {
	t, err := build(n, false)
	return t.run, err
}

// term is a compiled part: a value, or what gives it.
type term struct {
	run   expr
	known bool
	value any // when it is known
	// fails is why it can never be worked out, which the interpreter finds out when it comes near.
	fails error
}

func constant(v any) term {
	return term{run: func(*scope) (any, error) { return v, nil }, known: true, value: v}
}

// doomed finds a part that can never be worked out.
func doomed(terms []term) (t term, ok bool) {
	i := slices.IndexFunc(terms, func(t term) bool { return t.fails != nil })
	if i < 0 {
		return t, false
	}
	return terms[i], true
}

func failing(err error) term {
	return term{run: func(*scope) (any, error) { return nil, err }, fails: err}
}

// build compiles a part of a rule; interpreted says in which of the reference's two ways.
func build(n *node, interpreted bool) (term, error) {
	if n == nil {
		return constant(nil), nil
	}
	if n.kind == isList {
		return buildList(n, interpreted)
	}
	op, operands, ok := operator(n)
	if !ok {
		return constant(n.value()), nil
	}
	fixed, err := settled(n, false)
	if err != nil {
		return term{}, err
	}
	if !fixed {
		return buildOperator(n, op, operands, interpreted)
	}
	t, err := buildOperator(n, op, operands, true)
	if err != nil || t.known {
		return t, err
	}
	fuel := maxFuel
	v, err := t.run(&scope{data: map[string]any{}, fuel: &fuel})
	switch {
	case err == nil:
		return constant(v), nil
	case interpreted:
		return failing(err), nil
	}
	return term{}, wrong(n, "the operands of "+op+" are written out here and cannot be what it takes", "%s can never be worked out: %v", op, err)
}

func buildAll(nodes []*node, interpreted bool) (terms []term, known bool, err error) {
	terms, known = make([]term, len(nodes)), true
	for i, x := range nodes {
		if terms[i], err = build(x, interpreted); err != nil {
			return nil, false, err
		}
		known = known && terms[i].known
	}
	return terms, known, nil
}

func buildList(n *node, interpreted bool) (term, error) {
	terms, known, err := buildAll(n.items, interpreted)
	if err != nil {
		return term{}, err
	}
	if known {
		list := make([]any, len(terms))
		for i := range terms {
			list[i] = terms[i].value
		}
		return constant(list), nil
	}
	return term{run: func(s *scope) (any, error) {
		if err := s.burn(len(terms)); err != nil {
			return nil, err
		}
		list := make([]any, len(terms))
		for i := range terms {
			v, err := terms[i].run(s)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}}, nil
}

// buildOperator compiles an operator.
func buildOperator(n *node, op string, operands *node, interpreted bool) (term, error) {
	if c, ok := comparisonOf(op); ok {
		return buildComparison(c, operands, interpreted)
	}
	switch op {
	case "if":
		return buildIf(operands, interpreted)
	case "and", "or":
		return buildJunction(op == "and", operands, interpreted)
	case "map", "filter", "some", "none", "all":
		return buildIteration(op, operands, interpreted)
	case "reduce":
		return buildReduce(operands, interpreted)
	case "var":
		return buildVar(operands, interpreted)
	}
	// All others have their operands worked out first. One that is no list counts as
	// a list of one.
	list := operands.kind == isList
	nodes := operands.items
	if !list {
		if nodes = []*node{operands}; operands.kind != isObject || len(operands.keys) == 0 {
			list = true
		}
	}
	terms, known, err := buildAll(nodes, interpreted)
	if err != nil {
		return term{}, err
	}
	if t, ok := doomed(terms); ok && interpreted {
		return t, nil
	}
	switch op {
	case "!", "!!":
		return buildNot(op == "!", terms, list, interpreted), nil
	case "cat":
		return buildCat(terms, list, interpreted), nil
	case "+", "-", "*", "/", "%":
		return buildArithmetic(n, op[0], nodes, terms, list, interpreted)
	case "fractional":
		if list && known {
			return buildBuckets(terms), nil
		}
	case "in":
		if list && len(terms) == 2 {
			return buildIn(terms[0], terms[1]), nil
		}
	case "starts_with", "ends_with":
		if list && len(terms) == 2 {
			return buildAffix(op == "starts_with", terms[0], terms[1]), nil
		}
	case "sem_ver":
		if list && len(terms) == 3 && terms[1].known && terms[2].known {
			return buildVersion(terms[0], text(terms[1].value), text(terms[2].value)), nil
		}
	}
	return term{run: func(s *scope) (any, error) {
		args, err := arguments(s, terms, list)
		if err != nil {
			return nil, err
		}
		if op == "missing_some" && !interpreted && len(args) > 1 {
			if options, ok := args[1].([]any); ok {
				s.last = missing(s, options)
			}
		}
		return apply(s, op, args)
	}}, nil
}

// arguments works out operands.
func arguments(s *scope, terms []term, list bool) ([]any, error) {
	if err := s.burn(len(terms)); err != nil {
		return nil, err
	}
	if !list {
		v, err := terms[0].run(s)
		if err != nil {
			return nil, err
		}
		if args, ok := v.([]any); ok {
			return args, nil
		}
		return []any{v}, nil
	}
	args := make([]any, len(terms))
	for i := range terms {
		v, err := terms[i].run(s)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return args, nil
}

// apply does the operators that take their operands as a list of values.
func apply(s *scope, op string, args []any) (any, error) {
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	switch op {
	case "max", "min":
		return extreme(op == "max", args)
	case "in":
		return contains(s, arg(0), arg(1))
	case "merge":
		merged := make([]any, 0, len(args))
		for _, v := range args {
			if list, ok := v.([]any); ok {
				merged = append(merged, list...)
			} else {
				merged = append(merged, v)
			}
		}
		return merged, s.burn(len(merged))
	case "substr":
		return substr(args)
	case "missing":
		return missing(s, args), s.burn(len(args))
	case "missing_some":
		options, ok := arg(1).([]any)
		if !ok {
			return nil, errType
		}
		m := missing(s, options)
		if float64(len(options)-len(m)) >= number(arg(0)) {
			return []any{}, nil
		}
		return m, nil
	}
	if !s.top {
		return nil, errInside
	}
	switch op {
	case "starts_with", "ends_with":
		if len(args) != 2 {
			return nil, nil
		}
		return affix(op == "starts_with", args[0], args[1]), nil
	case "sem_ver":
		if len(args) != 3 {
			return nil, nil
		}
		a, ok := lenientVersion(text(args[0]))
		b, is := lenientVersion(text(args[2]))
		if !ok || !is {
			return nil, nil
		}
		return versionsCompare(text(args[1]), a, b), nil
	}
	return fractional(s, args)
}

func extreme(largest bool, args []any) (any, error) {
	if len(args) == 0 {
		return nil, errOperands
	}
	var best float64
	for i, v := range args {
		f, ok := v.(float64)
		switch {
		case !ok:
			return nil, errOperands
		case i == 0 || largest && f > best || !largest && f < best:
			best = f
		}
	}
	return best, nil
}

func contains(s *scope, item, where any) (any, error) {
	switch w := where.(type) {
	case string:
		return w != "" && strings.Contains(w, text(item)), nil
	case []any:
		if err := s.burn(len(w)); err != nil {
			return nil, err
		}
		for _, x := range w {
			if strictEqual(x, item) {
				return true, nil
			}
		}
		return false, nil
	}
	if falsy(where) {
		return false, nil
	}
	return nil, errType
}

func buildIn(a, b term) term {
	if list, ok := b.value.([]any); ok && b.known {
		return term{run: func(s *scope) (any, error) {
			v, err := a.run(s)
			if err == nil {
				err = s.burn(len(list))
			}
			if err != nil {
				return nil, err
			}
			for _, x := range list {
				if strictEqual(x, v) {
					return true, nil
				}
			}
			return false, nil
		}}
	}
	return term{run: func(s *scope) (any, error) {
		// Generated code works out where before what; that only shows in what was
		// compared with last.
		w, err := b.run(s)
		if err != nil {
			return nil, err
		}
		v, err := a.run(s)
		if err != nil {
			return nil, err
		}
		return contains(s, v, w)
	}}
}

func affix(start bool, whole, part any) any {
	w, ok := whole.(string)
	p, is := part.(string)
	switch {
	case !ok || !is:
		return nil
	case start:
		return strings.HasPrefix(w, p)
	}
	return strings.HasSuffix(w, p)
}

func buildAffix(start bool, whole, part term) term {
	return term{run: func(s *scope) (any, error) {
		w, err := whole.run(s)
		if err != nil {
			return nil, err
		}
		p, err := part.run(s)
		switch {
		case err != nil:
			return nil, err
		case !s.top:
			return nil, errInside
		}
		return affix(start, w, p), nil
	}}
}

// versionsCompare is nil for an operator that is none.
func versionsCompare(op string, a, b version) any {
	c := a.compare(b)
	switch op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	case "^":
		return a.major == b.major
	case "~":
		return a.major == b.major && a.minor == b.minor
	}
	return nil
}

func buildVersion(of term, op, than string) term {
	b, ok := lenientVersion(than)
	return term{run: func(s *scope) (any, error) {
		v, err := of.run(s)
		switch {
		case err != nil:
			return nil, err
		case !s.top:
			return nil, errInside
		}
		a, is := lenientVersion(text(v))
		if !ok || !is {
			return nil, nil
		}
		return versionsCompare(op, a, b), nil
	}}
}

func substr(args []any) (any, error) {
	if len(args) == 0 {
		return nil, errType
	}
	str, ok := args[0].(string)
	if !ok {
		return nil, errType
	}
	var from float64
	if len(args) > 1 {
		from = number(args[1])
	}
	if len(args) < 3 {
		return substring(str, from, math.Inf(1)), nil
	}
	count := number(args[2])
	if count < 0 {
		rest := substring(str, from, math.Inf(1))
		return substring(rest, 0, float64(utf16Len(rest))+count), nil
	}
	return substring(str, from, count), nil
}

func utf16Len(s string) (n int) {
	for _, r := range s {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}

func missing(s *scope, names []any) []any {
	absent := []any{}
	for _, name := range names {
		v, found := s.data, true
		for i, part := range splitPath(text(name)) {
			if falsy(v) {
				found = false
				break
			}
			if v, found = s.field(v, part, i == 0); !found {
				break
			}
		}
		if !found {
			absent = append(absent, name)
		}
	}
	return absent
}

func buildNot(negate bool, terms []term, list, interpreted bool) term {
	t := constant(nil)
	if len(terms) > 0 {
		t = terms[0]
	}
	alone := len(terms) == 1
	return term{run: func(s *scope) (any, error) {
		v, err := t.run(s)
		if err != nil {
			return nil, err
		}
		// The interpreter takes a list that it is given for the list of its operands.
		if l, ok := v.([]any); ok && interpreted && (alone || !list) {
			if v = nil; len(l) > 0 {
				v = l[0]
			}
		}
		return truthy(v) != negate, nil
	}}
}

func buildCat(terms []term, list, interpreted bool) term {
	whole := !list || interpreted && len(terms) == 1
	return term{run: func(s *scope) (any, error) {
		var args []any
		if whole {
			v, err := terms[0].run(s)
			if err != nil {
				return nil, err
			}
			l, ok := v.([]any)
			switch {
			case !ok && v == nil && list:
				return "", nil
			case !ok && v == nil:
				return nil, errType
			case !ok:
				return text(v), nil
			}
			args = l
		} else {
			var err error
			if args, err = arguments(s, terms, true); err != nil {
				return nil, err
			}
		}
		var b strings.Builder
		for _, v := range args {
			if v == nil && (whole || interpreted) {
				continue // generated code writes null out
			}
			t := text(v)
			if err := s.burn(len(t)); err != nil {
				return nil, err
			}
			b.WriteString(t)
		}
		return b.String(), nil
	}}
}

// buildComparison compiles a comparison: of two, or of several in a row.
func buildComparison(c comparison, operands *node, interpreted bool) (term, error) {
	if operands.kind != isList || len(operands.items) < 2 {
		return failing(errOperands), nil
	}
	terms, _, err := buildAll(operands.items, interpreted)
	if err != nil {
		return term{}, err
	}
	if interpreted {
		if t, ok := doomed(terms); ok && len(terms) <= 3 {
			return t, nil
		}
		return term{run: func(s *scope) (any, error) {
			a, err := terms[0].run(s)
			if err != nil {
				return nil, err
			}
			for _, t := range terms[1:] {
				b, err := t.run(s)
				if err != nil {
					return nil, err
				}
				if ok, err := c.pair(a, b); !ok {
					return false, err
				}
				a = b
			}
			return true, nil
		}}, nil
	}
	if len(terms) == 2 && terms[1].known {
		return buildAgainst(c, terms[0], terms[1].value), nil
	}
	return term{run: func(s *scope) (any, error) {
		a, err := terms[0].run(s)
		if err != nil {
			return nil, err
		}
		s.last = a
		for _, t := range terms[1:] {
			b, err := t.run(s)
			if err != nil {
				return nil, err
			}
			if b, err = c.check(b, s.last); err != nil {
				return nil, err
			}
			if len(terms) > 2 {
				s.last = b
			}
			if !c.holds(a, b) {
				return false, nil
			}
			a = b
		}
		return true, nil
	}}, nil
}

// buildAgainst compiles a comparison with a value that is known.
func buildAgainst(c comparison, left term, b any) term {
	return term{run: func(s *scope) (any, error) {
		a, err := left.run(s)
		if err != nil {
			return nil, err
		}
		s.last = a
		if x, ok := a.(string); ok { // what rules do most
			if y, ok := b.(string); ok {
				switch c {
				case equal, same:
					return x == y, nil
				case unequal, notSame:
					return x != y, nil
				}
			}
		}
		checked, err := c.check(b, a)
		if err != nil {
			return nil, err
		}
		return c.holds(a, checked), nil
	}}
}

// check is what generated code makes of the right side of a comparison: both sides
// are texts, or both can be numbers.
func (c comparison) check(b, last any) (any, error) {
	switch {
	case c.strict() || textOrNull(b) && textOrNull(last):
		return b, nil
	case composite(b) || math.IsNaN(number(b)) && last != nil, composite(last) || math.IsNaN(number(last)):
		return nil, errNumber
	case last == nil && falsy(b):
		return nil, nil
	case b == nil && falsy(last):
		return 0.0, nil
	}
	return b, nil
}

// pair compares as the interpreter does.
func (c comparison) pair(a, b any) (bool, error) {
	switch {
	case c.strict() || textOrNull(a) && textOrNull(b):
		return c.holds(a, b), nil
	case composite(a) || math.IsNaN(number(a)), composite(b) || math.IsNaN(number(b)) && a != nil:
		return false, errNumber
	}
	return c.holds(number(a), number(b)), nil
}

func buildIf(operands *node, interpreted bool) (term, error) {
	if operands.kind != isList {
		return failing(errOperands), nil
	}
	nodes := operands.items
	switch len(nodes) {
	case 0:
		return constant(nil), nil
	case 1, 2:
		interpreted = true
	}
	terms, _, err := buildAll(nodes, interpreted)
	if err != nil {
		return term{}, err
	}
	if len(terms) == 1 {
		return terms[0], nil
	}
	if t, ok := doomed(terms); ok && interpreted && len(terms) == 3 {
		return t, nil // it looks at all three before it chooses
	}
	return term{run: func(s *scope) (any, error) {
		i := 0
		for ; i+1 < len(terms); i += 2 {
			v, err := terms[i].run(s)
			if err != nil {
				return nil, err
			}
			if truthy(v) {
				return terms[i+1].run(s)
			}
		}
		if i < len(terms) {
			return terms[i].run(s)
		}
		return nil, nil
	}}, nil
}

func buildJunction(and bool, operands *node, interpreted bool) (term, error) {
	if operands.kind != isList {
		return failing(errOperands), nil
	}
	if len(operands.items) == 0 {
		return constant(nil), nil
	}
	terms, _, err := buildAll(operands.items, interpreted)
	if err != nil {
		return term{}, err
	}
	return term{run: func(s *scope) (v any, err error) {
		for i := range terms {
			if v, err = terms[i].run(s); err != nil {
				return nil, err
			}
			if !interpreted {
				s.last = v
			}
			if truthy(v) != and {
				break
			}
		}
		return v, nil
	}}, nil
}
