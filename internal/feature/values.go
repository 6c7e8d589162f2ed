package feature

import (
	"math"
	"strconv"
	"strings"
)

// flagdKey is the key of a context below which flagd puts what it knows itself.
const flagdKey = "$flagd"

// field is a property of a value, as JavaScript finds it: lists and texts have places and
// a length. first says that the value is the data of the scope itself.
func (s *scope) field(v any, name string, first bool) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		if first && s.top && name == flagdKey {
			return s.own(), true
		}
		x, ok := v[name]
		return x, ok
	case []any:
		if name == "length" {
			return float64(len(v)), true
		}
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v) && strconv.Itoa(i) == name {
			return v[i], true
		}
	case string:
		if name == "length" {
			return float64(utf16Len(v)), true
		}
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && strconv.Itoa(i) == name && i < utf16Len(v) {
			return substring(v, float64(i), 1), true
		}
	}
	return nil, false
}

// own is what flagd adds to every context.
func (s *scope) own() map[string]any {
	return map[string]any{"flagKey": s.flag, "timestamp": float64(s.now)}
}

// whole is the data as a rule sees it that asks for all of it.
func (s *scope) whole() any {
	m, ok := s.data.(map[string]any)
	if !ok || !s.top {
		return s.data
	}
	all := make(map[string]any, len(m)+1)
	for k, v := range m {
		all[k] = v
	}
	all[flagdKey] = s.own()
	return all
}

// splitPath divides the name of a var at its dots; a backslash takes a dot its meaning.
func splitPath(name string) []string {
	if !strings.ContainsAny(name, `.\`) {
		return []string{name}
	}
	var parts []string
	var part strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\' && i+1 < len(name) && (name[i+1] == '.' || name[i+1] == '/' || name[i+1] == '\\'):
			i++
			part.WriteByte(name[i])
		case c == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	if len(parts) != len(name) {
		parts = append(parts, part.String())
	}
	return parts
}

// buildVar compiles the look-up of a value of the context.
func buildVar(operands *node, interpreted bool) (term, error) {
	name, other := operands, (*node)(nil)
	fixed := true
	if operands.kind == isList {
		if name = nil; len(operands.items) > 0 {
			name = operands.items[0]
		}
		if len(operands.items) > 1 {
			other = operands.items[1]
		}
		fixed = len(operands.items) <= 2
	}
	switch {
	case name == nil || name.kind == isNull || name.kind == isText && name.text == "":
		if !interpreted && !fixed {
			break
		}
		return term{run: func(s *scope) (any, error) { return s.whole(), nil }}, nil
	case fixed && (name.kind == isText || name.kind == isNumber):
		return buildPath(splitPath(text(name.value())), other, interpreted)
	}
	terms, _, err := buildAll([]*node{name, other}, interpreted)
	if err != nil {
		return term{}, err
	}
	// The name is worked out first, and what comes of it may be a list of a name and
	// what counts without it.
	alone := operands.kind != isList || len(operands.items) == 1
	return term{run: func(s *scope) (any, error) {
		name, err := terms[0].run(s)
		if err != nil {
			return nil, err
		}
		otherwise, err := terms[1].run(s)
		if err != nil {
			return nil, err
		}
		if l, ok := name.([]any); ok && alone {
			name, otherwise = nil, nil
			if len(l) > 0 {
				name = l[0]
			}
			if len(l) > 1 {
				otherwise = l[1]
			}
		}
		if name == nil || name == "" {
			return s.whole(), nil
		}
		v := s.data
		for i, part := range splitPath(text(name)) {
			if v == nil {
				return otherwise, nil
			}
			found := false
			if v, found = s.field(v, part, i == 0); !found {
				return otherwise, nil
			}
		}
		return v, nil
	}}, nil
}

// buildPath compiles the look-up of a name that is known.
func buildPath(path []string, other *node, interpreted bool) (term, error) {
	if path[0] == flagdKey && len(path) == 2 && other == nil {
		switch path[1] {
		case "flagKey", "timestamp":
			return buildOwn(path, interpreted), nil
		}
	}
	if len(path) == 1 && other == nil {
		name := path[0]
		return term{run: func(s *scope) (any, error) {
			v, _ := s.field(s.data, name, true)
			if !interpreted {
				s.last = v
			}
			return v, nil
		}}, nil
	}
	otherwise, err := build(other, interpreted)
	if err != nil {
		return term{}, err
	}
	return term{run: func(s *scope) (v any, err error) {
		v = s.data
		found := true
		for i, part := range path {
			if v == nil {
				found = false
				break
			}
			// The interpreter stops a short path at whatever is false.
			if i > 0 && interpreted && other == nil && len(path) <= 3 && falsy(v) {
				break
			}
			if v, found = s.field(v, part, i == 0); !found {
				break
			}
		}
		// Generated code takes null for nothing; the interpreter takes it for a value.
		if !found || v == nil && !interpreted {
			if v, err = otherwise.run(s); err != nil {
				return nil, err
			}
		}
		if !interpreted {
			s.last = v
		}
		return v, nil
	}}, nil
}

// buildOwn compiles the look-up of what flagd adds, without making all of it.
func buildOwn(path []string, interpreted bool) term {
	return term{run: func(s *scope) (v any, err error) {
		switch {
		case !s.top:
			v = s.data
			for _, part := range path {
				v, _ = s.field(v, part, false)
			}
		case path[1] == "flagKey":
			v = s.flag
		default:
			v = float64(s.now)
		}
		if !interpreted {
			s.last = v
		}
		return v, nil
	}}
}

// buildIteration compiles what asks something of each element of a list.
func buildIteration(op string, operands *node, interpreted bool) (term, error) {
	if operands.kind != isList {
		return failing(errOperands), nil
	}
	var from, each *node
	if len(operands.items) > 0 {
		from = operands.items[0]
	}
	if len(operands.items) > 1 {
		each = operands.items[1]
	}
	selector, err := build(from, interpreted)
	if err != nil {
		return term{}, err
	}
	mapper, err := build(each, interpreted)
	if err != nil {
		return term{}, err
	}
	return term{run: func(s *scope) (any, error) {
		v, err := selector.run(s)
		if err != nil {
			return nil, err
		}
		if !interpreted && op == "all" {
			s.last = v
		}
		list, ok := v.([]any)
		switch {
		case ok && len(list) == 0 && op == "all":
			return false, nil
		case ok:
			return iterate(s, op, list, mapper)
		case falsy(v) && op == "all":
			return !interpreted, nil
		case falsy(v):
			return iterate(s, op, nil, mapper)
		}
		// What is no list has no elements to ask. The interpreter asks what has a length.
		if text, is := v.(string); is && interpreted && op != "map" && op != "filter" {
			letters := make([]any, 0, len(text))
			for _, r := range text {
				letters = append(letters, string(r))
			}
			return iterate(s, op, letters, mapper)
		}
		if interpreted && op != "map" && op != "filter" {
			return op != "some", nil
		}
		return nil, errType
	}}, nil
}

func iterate(s *scope, op string, list []any, mapper term) (any, error) {
	if err := s.burn(len(list)); err != nil {
		return nil, err
	}
	in := s.within()
	var kept []any
	if op == "map" || op == "filter" {
		kept = make([]any, 0, len(list))
	}
	for _, x := range list {
		in.data = x
		v, err := mapper.run(&in)
		if err != nil {
			return nil, err
		}
		switch {
		case op == "map":
			kept = append(kept, v)
		case op == "filter" && truthy(v):
			kept = append(kept, x)
		case op == "some" && truthy(v):
			return true, nil
		case op == "none" && truthy(v), op == "all" && !truthy(v):
			return false, nil
		}
	}
	switch op {
	case "map", "filter":
		return kept, nil
	}
	return op != "some", nil
}

// buildReduce compiles what folds a list to one value.
func buildReduce(operands *node, interpreted bool) (term, error) {
	if operands.kind != isList || len(operands.items) < 2 {
		return failing(errOperands), nil
	}
	if sum := plainSum(operands); sum != nil && interpreted {
		return build(sum, true)
	}
	terms, _, err := buildAll(operands.items[:2], interpreted)
	if err != nil {
		return term{}, err
	}
	begin, begun := constant(nil), len(operands.items) > 2
	if begun {
		if begin, err = build(operands.items[2], interpreted); err != nil {
			return term{}, err
		}
	}
	return term{run: func(s *scope) (any, error) {
		v, err := terms[0].run(s)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok && !falsy(v) {
			return nil, errType
		}
		sum, err := begin.run(s)
		if err != nil {
			return nil, err
		}
		if !begun {
			if len(list) == 0 {
				return nil, errOperands
			}
			sum, list = list[0], list[1:]
		} else if nested(sum) {
			return nil, errType
		}
		in := s.within()
		for _, x := range list {
			if err := s.burn(1); err != nil {
				return nil, err
			}
			in.data = map[string]any{"accumulator": sum, "current": x}
			if sum, err = terms[1].run(&in); err != nil {
				return nil, err
			}
			if nested(sum) {
				return nil, errType
			}
		}
		return sum, nil
	}}, nil
}

// plainSum is what the interpreter makes of a fold that only adds up or multiplies; nil when it
// does anything else.
func plainSum(operands *node) *node {
	op, parts, ok := operator(operands.items[1])
	if !ok || op != "+" && op != "*" || len(parts.items) != 2 {
		return nil
	}
	a, b := parts.items[0].field("var"), parts.items[1].field("var")
	if a == nil || b == nil || !(a.text == "accumulator" && b.text == "current" || a.text == "current" && b.text == "accumulator") {
		return nil
	}
	begin := &node{kind: isNumber, num: map[string]float64{"*": 1}[op]}
	if len(operands.items) > 2 && (op == "*" || !falsy(operands.items[2].value())) {
		begin = operands.items[2]
	}
	whole := func(x *node) *node { return &node{kind: isObject, keys: []key{{name: op}}, items: []*node{x}} }
	return whole(&node{kind: isList, items: []*node{whole(operands.items[0]), begin}})
}

// nested reports whether a value is deeper than what a fold may carry along.
func nested(v any) bool {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if composite(x) {
				return true
			}
		}
	case map[string]any:
		for _, x := range v {
			if composite(x) {
				return true
			}
		}
	}
	return false
}

// buildArithmetic compiles + - * / and %.
func buildArithmetic(n *node, op byte, nodes []*node, terms []term, list, interpreted bool) (term, error) {
	least := map[byte]int{'-': 1, '/': 1, '%': 2}[op]
	if !interpreted && list {
		// Generated code finds these when it is made.
		if len(terms) < least {
			return term{}, wrong(n, "give it more", "%c takes at least %d operands", op, least)
		}
		for i, x := range nodes {
			known, isText := terms[i].value.(string)
			switch {
			case x.kind == isList, terms[i].known && isText && math.IsNaN(number(known)):
				return term{}, wrong(x, "write a number, or a var that is one", "%c takes numbers, and this is none", op)
			case op == '/' && (i > 0 || len(nodes) == 1) && zero(terms[i]):
				return term{}, wrong(x, "divide by something else", "this is divided by 0")
			}
		}
	}
	unary := op == '+' || op == '-' // may be given its list in a variable, by the interpreter
	return term{run: func(s *scope) (any, error) {
		if list && !(interpreted && unary && len(terms) == 1) {
			args, err := arguments(s, terms, true)
			if err != nil {
				return nil, err
			}
			return arithmetic(op, args, least)
		}
		v, err := terms[0].run(s)
		if err != nil {
			return nil, err
		}
		if !interpreted && !list && op != '*' && op != '%' {
			s.last = v
		}
		args, ok := v.([]any)
		switch {
		case !ok && (unary || interpreted):
			args = []any{v}
		case !ok:
			return nil, errType
		case op == '+' && !interpreted && len(args) > 0, op == '-' && len(args) == 1 || op == '-' && !interpreted && len(args) > 0:
			return loose(op, args)
		}
		return arithmetic(op, args, least)
	}}, nil
}

// zero reports whether a part is known to be 0, written as a number or as a text.
func zero(t term) bool {
	switch t.value.(type) {
	case float64, string:
		return t.known && number(t.value) == 0
	}
	return false
}

// loose works out a list that a variable holds: a text in it that is no number makes the result
// none, which is no failure.
func loose(op byte, args []any) (any, error) {
	var sum float64
	for i, v := range args {
		switch x := number(v); {
		case composite(v):
			return nil, errNumber
		case op == '+':
			sum += x
		case i == 0 && len(args) > 1:
			sum = x
		case i > 1 && math.IsNaN(sum):
			return nil, errNumber
		default:
			sum -= x
		}
	}
	return sum, nil
}

func arithmetic(op byte, args []any, least int) (any, error) {
	if len(args) < least {
		return nil, errOperands
	}
	for _, v := range args {
		if composite(v) {
			return nil, errNumber
		}
	}
	var result float64
	switch {
	case op == '*':
		result = 1
	case op == '+':
	case len(args) == 1 && op == '-':
		return negated(number(args[0]))
	case len(args) == 1 && op == '/':
		args = []any{1.0, args[0]}
		fallthrough
	default:
		result, args = number(args[0]), args[1:]
	}
	for _, v := range args {
		x := number(v)
		switch op {
		case '+':
			result += x
		case '-':
			result -= x
		case '*':
			result *= x
		case '/':
			if x == 0 {
				return nil, errNumber
			}
			result /= x
		case '%':
			result = math.Mod(result, x)
		}
	}
	if math.IsNaN(result) {
		return nil, errNumber
	}
	return result, nil
}

func negated(x float64) (any, error) {
	if math.IsNaN(x) {
		return nil, errNumber
	}
	return -x, nil
}
