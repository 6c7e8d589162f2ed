package expression

import (
	"strconv"
	"strings"
)

// builtin is a function of the language itself. It evaluates its own
// arguments, because most do not need all of them.
type builtin struct {
	name     string
	min, max int
	odd      bool // takes an odd number of arguments
	call     func(ev *evaluator, n *Node, level int) (any, error)
}

// maxArguments of any function.
const maxArguments = 255

var builtins = [...]*builtin{
	{name: "case", min: 3, max: maxArguments, odd: true, call: callCase},
	{name: "contains", min: 2, max: 2, call: callContains},
	{name: "endsWith", min: 2, max: 2, call: callEndsWith},
	{name: "format", min: 1, max: maxArguments, call: callFormat},
	{name: "fromJSON", min: 1, max: 1, call: callFromJSON},
	{name: "join", min: 1, max: 2, call: callJoin},
	{name: "startsWith", min: 2, max: 2, call: callStartsWith},
	{name: "toJSON", min: 1, max: 1, call: callToJSON},
}

// findBuiltin finds a function by its name in lower case.
func findBuiltin(lower string) *builtin {
	for _, b := range builtins {
		if len(b.name) == len(lower) && strings.EqualFold(b.name, lower) {
			return b
		}
	}
	return nil
}

func builtinNames() []string {
	names := make([]string, len(builtins))
	for i, b := range builtins {
		names[i] = b.name
	}
	return names
}

// callCase is case(condition, value, …, default): the value after the first
// condition that is true. Conditions must be booleans.
func callCase(ev *evaluator, n *Node, level int) (any, error) {
	last := len(n.Args) - 1
	for i := 0; i < last; i += 2 {
		v, err := ev.eval(n.Args[i], level+1)
		if err != nil {
			return nil, err
		}
		condition, ok := v.(bool)
		if !ok {
			return nil, &Error{
				Kind: Evaluation, Offset: n.Args[i].Offset,
				Message: "a condition of case must be true or false, and this one is " + article(KindOf(v)),
				Hint:    "compare it with something",
			}
		}
		if condition {
			return ev.eval(n.Args[i+1], level+1)
		}
	}
	return ev.eval(n.Args[last], level+1)
}

// article is a kind in a sentence.
func article(k Kind) string {
	switch k {
	case KindNull:
		return "null"
	case KindArray, KindObject:
		return "an " + strings.ToLower(string(k))
	}
	return "a " + strings.ToLower(string(k))
}

// callContains is contains(text, part) without regard to case, or
// contains(list, item) by the rule of ==.
func callContains(ev *evaluator, n *Node, level int) (any, error) {
	in, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	switch in := in.(type) {
	case []any:
		return ev.hasItem(n, in, level)
	case filtered:
		return ev.hasItem(n, in, level)
	}
	return ev.textTest(n, in, level, strings.Contains)
}

func (ev *evaluator) hasItem(n *Node, list []any, level int) (any, error) {
	if len(list) == 0 {
		return false, nil
	}
	wanted, err := ev.eval(n.Args[1], level+1)
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		s, _ := item.(string)
		if err := ev.spend(n, wordBytes+len(s)); err != nil {
			return nil, err
		}
		if Equal(wanted, item) {
			return true, nil
		}
	}
	return false, nil
}

func callStartsWith(ev *evaluator, n *Node, level int) (any, error) {
	in, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	return ev.textTest(n, in, level, strings.HasPrefix)
}

func callEndsWith(ev *evaluator, n *Node, level int) (any, error) {
	in, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	return ev.textTest(n, in, level, strings.HasSuffix)
}

// textTest compares the first two arguments as text without regard to case.
// Collections pass no such test.
func (ev *evaluator) textTest(n *Node, in any, level int, test func(s, part string) bool) (any, error) {
	if !isPrimitive(KindOf(in)) {
		return false, nil
	}
	part, err := ev.eval(n.Args[1], level+1)
	if err != nil {
		return nil, err
	}
	if !isPrimitive(KindOf(part)) {
		return false, nil
	}
	s, p := String(in), String(part)
	if err := ev.spend(n, len(s)+len(p)); err != nil {
		return nil, err
	}
	return test(foldCase(s), foldCase(p)), nil
}

// builder makes a string piece by piece within the limits of an evaluation.
type builder struct {
	ev    *evaluator
	n     *Node
	buf   []byte
	bytes int
}

// add appends a piece.
func (b *builder) add(s string) error {
	mark := len(b.buf)
	b.buf = append(b.buf, s...)
	return b.count(mark)
}

// count charges for the piece that begins at mark.
func (b *builder) count(mark int) error {
	piece := b.buf[mark:]
	if b.bytes += stringBytes(piece); b.bytes > b.ev.limit {
		return b.ev.tooLarge(b.n)
	}
	return b.ev.spend(b.n, len(piece))
}

// callFormat is format(text, value, …): {0} in the text stands for the first
// value, {{ and }} for braces. Values that the text does not use are not
// evaluated.
func callFormat(ev *evaluator, n *Node, level int) (any, error) {
	v, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	pieces, ok := splitFormat(String(v))
	if !ok {
		return nil, &Error{
			Kind: Evaluation, Offset: n.Args[0].Offset,
			Message: "the format " + clip(String(v)) + " is not valid",
			Hint:    "write {0} for a value, and {{ and }} for braces",
		}
	}
	for _, p := range pieces {
		if p.argument >= len(n.Args)-1 {
			return nil, errorAt(Evaluation, n.Args[0].Offset,
				"the format %s uses {%d}, but only %d values are given", clip(String(v)), p.argument, len(n.Args)-1)
		}
	}
	b := &builder{ev: ev, n: n}
	values := make([]*string, len(n.Args)-1)
	for _, p := range pieces {
		text := p.text
		if p.argument >= 0 {
			if values[p.argument] == nil {
				v, err := ev.eval(n.Args[1+p.argument], level+1)
				if err != nil {
					return nil, err
				}
				s := String(v)
				values[p.argument] = &s
			}
			text = *values[p.argument]
		}
		if text == "" {
			continue
		}
		if err := b.add(text); err != nil {
			return nil, err
		}
	}
	return string(b.buf), nil
}

// piece of a format: text, or the number of an argument if not negative.
type piece struct {
	text     string
	argument int
}

func splitFormat(s string) ([]piece, bool) {
	var pieces []piece
	for s != "" {
		i := strings.IndexAny(s, "{}")
		switch {
		case i < 0:
			return append(pieces, piece{s, -1}), true
		case i+1 < len(s) && s[i+1] == s[i]: // a doubled brace stands for one
			pieces = append(pieces, piece{s[:i+1], -1})
			s = s[i+2:]
			continue
		case s[i] == '}':
			return nil, false
		}
		end := i + 1
		for end < len(s) && isDigit(s[end]) {
			end++
		}
		number, err := strconv.ParseUint(s[i+1:end], 10, 8)
		if err != nil || end == len(s) || s[end] != '}' {
			return nil, false
		}
		if i > 0 {
			pieces = append(pieces, piece{s[:i], -1})
		}
		pieces = append(pieces, piece{"", int(number)})
		s = s[end+1:]
	}
	return pieces, true
}

// callJoin is join(list, separator). A value that is no collection is itself;
// an object is empty text.
func callJoin(ev *evaluator, n *Node, level int) (any, error) {
	v, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	list, ok := plain(v).([]any)
	if !ok {
		if isPrimitive(KindOf(v)) {
			return String(v), nil
		}
		return "", nil
	}
	separator := ","
	if len(n.Args) > 1 && len(list) > 1 {
		v, err := ev.eval(n.Args[1], level+1)
		if err != nil {
			return nil, err
		}
		if isPrimitive(KindOf(v)) {
			separator = String(v)
		}
	}
	b := &builder{ev: ev, n: n}
	for i, item := range list {
		if i > 0 {
			if err := b.add(separator); err != nil {
				return nil, err
			}
		}
		if err := b.add(String(item)); err != nil {
			return nil, err
		}
	}
	return string(b.buf), nil
}

func callFromJSON(ev *evaluator, n *Node, level int) (any, error) {
	v, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	text := String(v)
	if err := ev.spend(n, 4*len(text)); err != nil { // reading is slower than comparing
		return nil, err
	}
	parsed, err := ParseJSON(text)
	if err != nil {
		return nil, at(n, err)
	}
	return parsed, nil
}

func callToJSON(ev *evaluator, n *Node, level int) (any, error) {
	v, err := ev.eval(n.Args[0], level+1)
	if err != nil {
		return nil, err
	}
	b := &builder{ev: ev, n: n}
	if err := b.json(v, "", 0); err != nil {
		return nil, at(n, err)
	}
	return string(b.buf), nil
}

// json writes a value the way GitHub does: two spaces a level, one item a
// line, empty collections on one. Lead comes before the value.
func (b *builder) json(v any, lead string, depth int) error {
	if depth > maxDataDepth {
		return errTooDeep
	}
	mark := len(b.buf)
	b.buf = append(b.buf, lead...)
	v = canonical(v)
	switch v := v.(type) {
	case nil:
		b.buf = append(b.buf, "null"...)
		return b.count(mark)
	case string:
		b.buf = appendQuoted(b.buf, v)
		return b.count(mark)
	case bool, float64:
		b.buf = append(b.buf, String(v)...)
		return b.count(mark)
	}
	opening, closing := "[", "]"
	isObject := KindOf(v) == KindObject
	if isObject {
		opening, closing = "{", "}"
	}
	b.buf = append(b.buf, opening...)
	empty := true
	for key, item := range entries(v) {
		if empty {
			if err := b.count(mark); err != nil {
				return err
			}
		}
		mark = len(b.buf)
		if !empty {
			b.buf = append(b.buf, ',')
		}
		empty = false
		b.indent(depth + 1)
		lead := ""
		if isObject {
			b.buf = appendQuoted(b.buf, key)
			if err := b.count(mark); err != nil {
				return err
			}
			lead = ": "
		}
		if err := b.json(item, lead, depth+1); err != nil {
			return err
		}
	}
	if empty {
		b.buf = append(b.buf, closing...)
		return b.count(mark)
	}
	mark = len(b.buf)
	b.indent(depth)
	b.buf = append(b.buf, closing...)
	return b.count(mark)
}

func (b *builder) indent(depth int) {
	b.buf = append(b.buf, '\n')
	for range depth {
		b.buf = append(b.buf, "  "...)
	}
}
