package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of inputs.
const (
	maxFunctions = 3  // in one block
	maxOptions   = 50 // of one input
	// maxDescription is the length of what a file says of itself.
	maxDescription = 256
	maxBlocks      = 10_000 // of one file
	maxAccess      = 1024   // bytes of what a block asks for
)

// blockStart begins a $[[ block ]].
const blockStart = "$[["

var block = regexp.MustCompile(`\$\[\[\s*(\S(?:.*?\S)?)\s*\]\]`)

// Input is one of spec:inputs.
type Input struct {
	Name        string
	Type        string // string, number, boolean, array
	Description string
	Default     *Node // nil: it must be given
	Options     []*Node
	Regex       string
	Rules       []InputRule
	Source      plan.Source
}

// InputRule gives an input other options, or another default, when other
// inputs have certain values.
type InputRule struct {
	If      *Node // nil: always
	Options []*Node
	Default *Node
}

// Spec is the header of a file.
type Spec struct {
	Inputs []Input
	// Component names what of the component's own facts the file uses.
	Component []string
}

// inputTypes are the types of inputs.
var inputTypes = []string{"string", "number", "boolean", "array"}

// ReadSpec reads a header; nil gives nil.
func ReadSpec(header *Node) (*Spec, []plan.Problem) {
	if header == nil {
		return nil, nil
	}
	r := &reader{}
	s := &Spec{}
	spec := header.Get("spec")
	for _, f := range header.Fields {
		if f.Key != "spec" {
			r.report(problemAt(f.Source, "key", "a header has only the key spec, and this is "+plan.Clip(f.Key), "move it below the --- line"))
		}
	}
	for _, f := range spec.fields() {
		switch f.Key {
		case "description":
			if text, _ := f.Value.Text(); len([]rune(text)) > maxDescription {
				r.report(problemAt(f.Value.Source, "limit", fmt.Sprintf("the description is longer than %d characters", maxDescription), "shorten it"))
			}
		case "include":
			r.included(f.Value)
		case "inputs":
			if f.Value.Kind != Mapping && !f.Value.IsNull() {
				r.report(problemAt(f.Source, "type", "inputs must be a mapping from names to what they are, and is "+f.Value.Shape(), ""))
			}
			for _, in := range f.Value.fields() {
				s.Inputs = append(s.Inputs, r.input(in))
			}
		case "component":
			for _, item := range f.Value.Items {
				name, _ := item.Text()
				s.Component = append(s.Component, name)
			}
		default:
			r.report(problemAt(f.Source, "key", "spec has no key "+plan.Clip(f.Key), meant(f.Key, "inputs", "component", "include", "description")))
		}
	}
	return s, r.problems
}

// included reports the entries of spec:include, whose inputs are not read.
func (r *reader) included(n *Node) {
	entries := n.items()
	if n.Kind == Mapping {
		entries = []*Node{n}
	}
	for _, e := range entries {
		for _, f := range e.fields() {
			if !slices.Contains([]string{"local", "remote", "project", "file", "ref"}, f.Key) {
				r.report(problemAt(f.Source, "key", "an entry of spec:include has no key "+plan.Clip(f.Key), meant(f.Key, "local", "remote", "project", "file", "ref")))
			}
		}
	}
	if len(entries) > 0 {
		r.warn(n.Source, "unsupported", "inputs of other files (spec:include) are not read", "write them into this file")
	}
}

// meant is the hint that names what was probably meant.
func meant(word string, names ...string) string {
	if near := plan.Nearest(word, names); near != "" {
		return fmt.Sprintf("write %s", near)
	}
	return "it may have " + strings.Join(names, ", ")
}

// fields are those of a mapping; none of anything else.
func (n *Node) fields() []Field {
	if n == nil {
		return nil
	}
	return n.Fields
}

func (r *reader) input(f Field) Input {
	in := Input{Name: f.Key, Type: "string", Source: f.Source}
	if f.Value.IsNull() {
		return in
	}
	if f.Value.Kind != Mapping {
		r.report(problemAt(f.Value.Source, "type", fmt.Sprintf("the input %s must be a mapping, and is %s", plan.Clip(f.Key), f.Value.Shape()), "write default: and the value"))
		return in
	}
	for _, k := range f.Value.Fields {
		text, _ := k.Value.Text()
		switch k.Key {
		case "default":
			in.Default = k.Value
		case "description":
			in.Description = text
		case "regex":
			in.Regex = text
			if _, err := inputRegex(text); err != nil {
				r.report(problemAt(k.Value.Source, "regex", fmt.Sprintf("the regular expression of input %s cannot be read: %v", plan.Clip(f.Key), err), "it is read as RE2"))
				in.Regex = ""
			}
		case "type":
			if !slices.Contains(inputTypes, text) {
				r.report(problemAt(k.Value.Source, "value", fmt.Sprintf("there is no type %s of inputs", plan.Clip(text)), meant(text, inputTypes...)))
				continue
			}
			in.Type = text
		case "options":
			in.Options = k.Value.Items
			if k.Value.Kind != Sequence || len(in.Options) > maxOptions {
				r.report(problemAt(k.Value.Source, "type", fmt.Sprintf("options must be a list of at most %d values", maxOptions), ""))
			}
		case "rules":
			for _, rule := range k.Value.Items {
				options := rule.Get("options")
				in.Rules = append(in.Rules, InputRule{If: rule.Get("if"), Default: rule.Get("default"), Options: options.items()})
			}
		default:
			r.report(problemAt(k.Source, "key", "an input has no key "+plan.Clip(k.Key), meant(k.Key, "default", "description", "options", "regex", "rules", "type")))
		}
	}
	if in.Default != nil && !in.Default.IsNull() {
		r.report(in.check(in.Default, in.Options))
	}
	if rules := f.Value.Get("rules"); rules != nil {
		for _, key := range []string{"default", "options"} {
			if own := f.Value.Get(key); own != nil {
				r.report(problemAt(own.Source, "inputs", fmt.Sprintf("the input %s has rules and %s, and may have only one of them", plan.Clip(f.Key), key), "move it into the last rule"))
			}
		}
		if last := len(in.Rules) - 1; last < 0 || in.Rules[last].Default == nil && in.Rules[last].If == nil && in.Rules[last].Options == nil {
			r.report(problemAt(rules.Source, "inputs", fmt.Sprintf("the rules of the input %s end without options or a default", plan.Clip(f.Key)), "give the last rule options: and default:"))
		}
		for _, rule := range rules.Items {
			for _, k := range rule.fields() {
				if !slices.Contains([]string{"if", "options", "default"}, k.Key) {
					r.report(problemAt(k.Source, "key", "a rule of an input has no key "+plan.Clip(k.Key), meant(k.Key, "if", "options", "default")))
				}
			}
		}
	}
	if in.Default != nil && in.Default.Kind == Scalar && in.Default.Value == nil {
		in.Default = nil
		if f.Value.Get("type") == nil || in.Type == "string" {
			in.Default = NewText("", f.Source)
		}
	}
	return in
}

func (n *Node) items() []*Node {
	if n == nil {
		return nil
	}
	return n.Items
}

// inputRegex reads regex:, which may be written between slashes.
func inputRegex(text string) (*regexp.Regexp, error) {
	if len(text) > 1 && text[0] == '/' && text[len(text)-1] == '/' {
		text = text[1 : len(text)-1]
	}
	return regexp.Compile(text)
}

// Values are what $[[ ]] can ask for.
type Values struct {
	Inputs    map[string]*Node
	Component map[string]string
	// Expand puts CI/CD variables in; nil leaves texts as they are.
	Expand func(string) string
}

// Judge says whether a condition of spec:inputs:rules holds, whose $[[ ]] have
// been put in as quoted texts.
type Judge func(condition string) bool

// Take gives the values of a file's inputs: those given, checked, and defaults.
// at is where they are asked for.
func (s *Spec) Take(given *Node, at plan.Source, judge Judge) (map[string]*Node, []plan.Problem) {
	r := &reader{}
	values := map[string]*Node{}
	if s == nil {
		for _, f := range given.fields() {
			r.report(problemAt(f.Source, "inputs", fmt.Sprintf("the included file has no spec:inputs, and so no input %s", plan.Clip(f.Key)), "remove it, or declare it in the header of that file"))
			break
		}
		return values, r.problems
	}
	names := make([]string, len(s.Inputs))
	for i := range s.Inputs {
		names[i] = s.Inputs[i].Name
	}
	for _, f := range given.fields() {
		if !slices.Contains(names, f.Key) {
			r.report(problemAt(f.Source, "inputs", "there is no input "+plan.Clip(f.Key), meant(f.Key, names...)))
		}
	}
	for i := range s.Inputs {
		in := &s.Inputs[i]
		options, standard := in.Options, in.Default
		for _, rule := range in.Rules {
			if rule.If != nil && (judge == nil || !judge(s.condition(rule.If, given, values))) {
				continue
			}
			if rule.Options != nil {
				options = rule.Options
			}
			if rule.Default != nil {
				standard = rule.Default
			}
			break
		}
		v := given.Get(in.Name)
		if v == nil {
			if v = standard; v == nil {
				r.report(problemAt(at, "inputs", fmt.Sprintf("the input %s has no default and must be given", plan.Clip(in.Name)), "write it below inputs:"))
				continue
			}
		}
		if p := in.check(v, options); p != nil {
			r.report(p)
			continue
		}
		values[in.Name] = v
	}
	return values, r.problems
}

// condition is the text of a rule's if: with the inputs that it names put in.
func (s *Spec) condition(n *Node, given *Node, known map[string]*Node) string {
	text, _ := n.Text()
	return block.ReplaceAllStringFunc(text, func(b string) string {
		name := strings.TrimPrefix(block.FindStringSubmatch(b)[1], "inputs.")
		v := given.Get(name)
		if v == nil {
			v = known[name]
		}
		for i := range s.Inputs {
			if v == nil && s.Inputs[i].Name == name {
				v = s.Inputs[i].Default
			}
		}
		if v == nil {
			return "null"
		}
		if _, isText := v.Value.(string); !isText && v.Kind == Scalar {
			if _, isBool := v.Value.(bool); isBool {
				return asText(v)
			}
		}
		return strconv.Quote(asText(v))
	})
}

// check reports a value that an input may not have.
func (in *Input) check(v *Node, options []*Node) *plan.Problem {
	fits := false
	switch in.Type {
	case "string":
		_, fits = v.Value.(string)
	case "number":
		switch v.Value.(type) {
		case int64, float64:
			fits = true
		}
	case "boolean":
		_, fits = v.Value.(bool)
	case "array":
		fits = v.Kind == Sequence
	}
	if text, ok := v.Value.(string); ok && strings.Contains(text, blockStart) {
		fits = true // an input of the file that asks, which has not been put in
	}
	if !fits {
		return problemAt(v.Source, "inputs", fmt.Sprintf("the input %s must be of type %s, and is %s", plan.Clip(in.Name), in.Type, v.Shape()), "quote it if it is text")
	}
	same := func(o *Node) bool { return asText(o) == asText(v) }
	if len(options) > 0 && !slices.ContainsFunc(options, same) {
		var names []string
		for _, o := range options {
			names = append(names, asText(o))
		}
		return problemAt(v.Source, "inputs", fmt.Sprintf("the input %s may not be %s", plan.Clip(in.Name), plan.Clip(asText(v))), "it may be "+strings.Join(names, ", "))
	}
	if text, ok := v.Value.(string); ok && in.Regex != "" {
		if form, err := inputRegex(in.Regex); err == nil && !form.MatchString(text) {
			return problemAt(v.Source, "inputs", fmt.Sprintf("the input %s is %s and does not match %s", plan.Clip(in.Name), plan.Clip(text), plan.Clip(in.Regex)), "")
		}
	}
	return nil
}

// Plain is a value of any shape as text: scalars as they are, the rest as JSON.
func Plain(n *Node) string {
	if n == nil {
		return ""
	}
	return asText(n)
}

func asText(n *Node) string {
	if n.Kind == Scalar {
		text, _ := n.Text()
		return text
	}
	text, err := json.Marshal(n.plain())
	if err != nil {
		return "" // no number that JSON cannot write gets here but NaN
	}
	return string(text)
}

// plain is a node as Go values.
func (n *Node) plain() any {
	switch n.Kind {
	case Mapping:
		m := make(map[string]any, len(n.Fields))
		for _, f := range n.Fields {
			m[f.Key] = f.Value.plain()
		}
		return m
	case Scalar:
		return n.Value
	}
	list := make([]any, len(n.Items))
	for i, item := range n.Items {
		list[i] = item.plain()
	}
	return list
}

// interpolator puts inputs into a tree.
type interpolator struct {
	*reader
	values Values
	blocks int
}

// Interpolate puts values into every $[[ block ]] of a tree.
func Interpolate(n *Node, v Values) (*Node, []plan.Problem) {
	if n == nil || !n.calls {
		return n, nil
	}
	i := &interpolator{reader: &reader{}, values: v}
	out := i.node(n)
	if p := out.fits(); p != nil {
		i.report(p)
	}
	return out, i.problems
}

func (i *interpolator) node(n *Node) *Node {
	if !n.calls {
		return n
	}
	switch n.Kind {
	case Scalar:
		return i.scalar(n)
	case Mapping:
		fields := make([]Field, len(n.Fields))
		for k, f := range n.Fields {
			fields[k] = Field{Key: i.text(f.Key, f.Source), Source: f.Source, Value: i.node(f.Value)}
		}
		return newMapping(fields, n.Source)
	}
	items := make([]*Node, len(n.Items))
	for k, item := range n.Items {
		items[k] = i.node(item)
	}
	out := newSequence(items, n.Source)
	out.Kind, out.refs = n.Kind, out.refs || n.Kind == Reference
	return out
}

// scalar keeps the type of what is put in when the block is all there is.
func (i *interpolator) scalar(n *Node) *Node {
	text, _ := n.Value.(string)
	found := block.FindStringSubmatchIndex(text)
	if found == nil {
		return n
	}
	if found[0] == 0 && found[1] == len(text) {
		v := i.value(text[found[2]:found[3]], n.Source)
		if v == nil {
			return n
		}
		// What was put in is text as it stands, and is not looked at again.
		c := *v
		c.Source, c.calls = n.Source, false
		return &c
	}
	out := NewText(i.text(text, n.Source), n.Source)
	out.calls = false
	return out
}

func (i *interpolator) text(text string, at plan.Source) string {
	return block.ReplaceAllStringFunc(text, func(b string) string {
		v := i.value(block.FindStringSubmatch(b)[1], at)
		if v == nil {
			return b
		}
		return asText(v)
	})
}

// value is what a block asks for; nil when it cannot be had, which has been
// reported.
func (i *interpolator) value(data string, at plan.Source) *Node {
	parts := strings.Split(data, "|")
	for k := range parts {
		parts[k] = strings.TrimSpace(parts[k])
	}
	if strings.HasPrefix(parts[0], "matrix.") {
		return nil // put in when the cells are known
	}
	if i.blocks++; i.blocks > maxBlocks || len(data) > maxAccess {
		i.report(problemAt(at, "limit", fmt.Sprintf("there are more than %d $[[ blocks ]] in the file, or one of more than %d characters", maxBlocks, maxAccess), ""))
		return nil
	}
	if len(parts)-1 > maxFunctions {
		i.report(problemAt(at, "inputs", fmt.Sprintf("a block applies at most %d functions, and this one has %d", maxFunctions, len(parts)-1), "use fewer"))
		return nil
	}
	v := i.access(parts[0], at)
	for _, call := range parts[1:] {
		if v == nil {
			return nil
		}
		v = i.apply(call, v, at)
	}
	return v
}

func (i *interpolator) access(path string, at plan.Source) *Node {
	kind, rest, _ := strings.Cut(path, ".")
	switch kind {
	case "component":
		if v, ok := i.values.Component[rest]; ok {
			return NewText(v, at)
		}
		i.report(problemAt(at, "inputs", fmt.Sprintf("component.%s is not known here", plan.Clip(rest)), "it may be name, sha, version or reference, named below spec:component"))
		return nil
	case "inputs":
	default:
		i.report(problemAt(at, "inputs", fmt.Sprintf("%s is no value that can be put in", plan.Clip(path)), "write $[[ inputs.NAME ]]"))
		return nil
	}
	var names []string
	for name, v := range i.values.Inputs {
		names = append(names, name)
		if name == rest {
			return v
		}
		if more, ok := strings.CutPrefix(rest, name); ok && more != "" && (more[0] == '.' || more[0] == '[') {
			if inner := v.walk(more); inner != nil {
				return inner
			}
		}
	}
	slices.Sort(names)
	i.report(problemAt(at, "inputs", "there is no input "+plan.Clip(rest), meant(rest, names...)))
	return nil
}

// walk follows .key and [index].
func (n *Node) walk(path string) *Node {
	for path != "" && n != nil {
		end := strings.IndexAny(path[1:], ".[") + 1
		if end == 0 {
			end = len(path)
		}
		step := path[:end]
		path = path[end:]
		if step[0] == '.' {
			n = n.Get(step[1:])
			continue
		}
		k, err := strconv.Atoi(strings.TrimSuffix(step[1:], "]"))
		if err != nil || k < 0 || k >= len(n.Items) {
			return nil
		}
		n = n.Items[k]
	}
	return n
}

var (
	truncateForm = regexp.MustCompile(`^truncate\(\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\)$`)
	splitForm    = regexp.MustCompile(`^split\('([^']+)'\)$`)
)

// apply is a function's value.
func (i *interpolator) apply(call string, v *Node, at plan.Source) *Node {
	text, isText := v.Value.(string)
	known := call == "expand_vars" || call == "posix_escape" || call == "posix_quote" || truncateForm.MatchString(call) || splitForm.MatchString(call)
	switch {
	case !known:
		name, _, _ := strings.Cut(call, "(")
		i.report(problemAt(at, "inputs", "there is no function "+plan.Clip(call), meant(name, "expand_vars", "posix_escape", "split", "truncate")+"; truncate takes two numbers, split a text in single quotes"))
		return nil
	case !isText:
		i.report(problemAt(at, "inputs", fmt.Sprintf("%s works on strings only, and this is %s", plan.Clip(call), v.Shape()), ""))
		return nil
	}
	switch call {
	case "expand_vars":
		if i.values.Expand != nil {
			text = i.values.Expand(text)
		}
		return NewText(text, at)
	case "posix_escape", "posix_quote":
		return NewText(escape(text), at)
	}
	if m := splitForm.FindStringSubmatch(call); m != nil {
		var items []*Node
		for part := range strings.SplitSeq(text, m[1]) {
			if part = strings.TrimSpace(part); part != "" {
				items = append(items, NewText(part, at))
			}
		}
		return newSequence(items, at)
	}
	m := truncateForm.FindStringSubmatch(call)
	from, _ := strconv.Atoi(m[1])
	length, _ := strconv.Atoi(m[2])
	runes := []rune(text)
	from = min(from, len(runes))
	return NewText(string(runes[from:min(from+length, len(runes))]), at)
}

// escape puts a backslash before what a shell would read.
func escape(text string) string {
	if text == "" {
		return "''"
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString("'\n'")
			continue
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_-.,:+/@", r):
		default:
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Typed is a text that a person gave for an input, as its type wants it.
func (in *Input) Typed(text string, at plan.Source) *Node {
	n := NewText(text, at)
	n.calls = false
	switch in.Type {
	case "number", "boolean":
		n.Value = plainScalar(text)
	case "array":
		if _, body, problems := Parse(at.File, []byte("v: "+text)); !plan.Errors(problems) {
			return body.Get("v")
		}
	}
	return n
}
