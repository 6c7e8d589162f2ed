package feature

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what definitions say.
const (
	MaxFlags    = 10_000
	MaxKey      = 200 // bytes of a flag's key
	maxVariants = 200
	maxTags     = 50
	maxNeeds    = 20
	maxSteps    = 50
	maxWords    = 2000 // bytes of a description
)

// Read reads a file of definitions in flagd's format, JSON, or YAML if it is named so. A flag
// that cannot be understood is missing in the result. One whose rule cannot be compiled is there,
// and answers with an error, as flagd has it. Either is a problem with severity [plan.Error]:
// who takes definitions over from people refuses them then.
func Read(name string, src []byte) (*Definitions, []plan.Problem) {
	n, bad := parseFile(name, src)
	if bad != nil {
		return &Definitions{}, []plan.Problem{*bad}
	}
	r := &docReader{name: name, left: maxNodes}
	if n.kind != isObject {
		r.report(n, "a file of definitions is an object; this is "+n.kind.String(), `write {"flags": {…}}`)
		return &Definitions{}, r.problems
	}
	r.evaluators = n.field("$evaluators")
	d := &Definitions{Metadata: r.metadata(n.field("metadata"))}
	flags := n.field("flags")
	switch {
	case flags == nil:
		if len(n.keys) > 0 || len(bytes.TrimSpace(src)) > 2 {
			r.report(n, `the file has no "flags"`, `write {"flags": {…}}`)
		}
	case flags.kind != isObject:
		r.report(flags, `"flags" is an object of flags by their keys; this is `+flags.kind.String(), "write each flag below its key")
	case len(flags.keys) > MaxFlags:
		r.report(flags, fmt.Sprintf("the file has more than %d flags", MaxFlags), "remove those that nobody asks for")
	default:
		seen := make(map[string]bool, len(flags.keys))
		for i, k := range flags.keys {
			f, ok := r.flag(k, flags.items[i])
			if seen[k.name] {
				r.at(k.line, k.col, "flag "+clip(k.name)+" stands here for the second time", "remove one of them")
			}
			if ok && !seen[k.name] {
				d.Flags = append(d.Flags, f)
			}
			seen[k.name] = true
		}
	}
	d.sort()
	return d, r.problems
}

// ReadFlag reads one flag, as [Flag.MarshalJSON] wrote it or as it stands in a file.
func ReadFlag(name, flagKey string, src []byte) (Flag, []plan.Problem) {
	n, bad := parseFile(name, src)
	if bad != nil {
		return Flag{}, []plan.Problem{*bad}
	}
	r := &docReader{name: name, left: maxNodes}
	f, _ := r.flag(key{flagKey, n.line, n.col}, n)
	return f, r.problems
}

// docReader reads definitions.
type docReader struct {
	name       string
	evaluators *node
	problems   []plan.Problem
	broken     bool // the flag that is being read cannot be understood
	left       int  // nodes that references may still repeat
}

func (r *docReader) report(n *node, message, hint string) { r.at(n.line, n.col, message, hint) }

func (r *docReader) at(line, col int, message, hint string) {
	r.broken = true
	switch {
	case len(r.problems) > maxFaults:
		return
	case len(r.problems) == maxFaults:
		message, hint = fmt.Sprintf("the file has more than %d problems; the rest are not shown", maxFaults), "mend these first"
	}
	r.problems = append(r.problems, plan.Problem{Source: plan.Source{File: r.name, Line: line, Col: col}, Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

func (r *docReader) warn(n *node, message, hint string) {
	if len(r.problems) < maxFaults {
		r.problems = append(r.problems, plan.Problem{Source: plan.Source{File: r.name, Line: n.line, Col: n.col}, Severity: plan.Warning, Rule: rule, Message: message, Hint: hint})
	}
}

// flagKeys are what flagd's format says of a flag, and we.
var flagKeys = []string{"state", "variants", "defaultVariant", "targeting", "metadata", "source", "selector", "key", "flagSetId", "fairlead"}

// CheckKey says what is wrong with the key of a flag; "" if nothing is.
func CheckKey(name string) string {
	switch {
	case name == "":
		return "a flag has no key"
	case len(name) > MaxKey:
		return fmt.Sprintf("the key of a flag has at most %d bytes", MaxKey)
	case strings.ContainsFunc(name, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }):
		return "the key of a flag has a sign in it that cannot be seen"
	}
	return ""
}

// flag reads one flag; ok is false when it cannot be understood.
func (r *docReader) flag(k key, n *node) (f Flag, ok bool) {
	f = Flag{Key: k.name, Source: plan.Source{File: r.name, Line: k.line, Col: k.col}}
	if why := CheckKey(k.name); why != "" {
		r.at(k.line, k.col, why, "write a key such as new-checkout")
		return f, false
	}
	if n.kind != isObject {
		r.report(n, "flag "+clip(k.name)+" is an object; this is "+n.kind.String(), `write {"state": "ENABLED", "variants": {…}, "defaultVariant": "…"}`)
		return f, false
	}
	for _, x := range n.keys {
		if !slices.Contains(flagKeys, x.name) {
			hint := "the keys of a flag are state, variants, defaultVariant, targeting, metadata and fairlead"
			if near := plan.Nearest(x.name, flagKeys); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.warn(&node{line: x.line, col: x.col}, fmt.Sprintf("flag %s has a key that nobody reads: %s", clip(k.name), clip(x.name)), hint)
		}
	}
	r.broken = false
	r.state(&f, n)
	r.variants(&f, n)
	if d := n.field("defaultVariant"); d != nil && d.kind != isNull {
		if d.kind != isText {
			r.report(d, "defaultVariant is the name of a variant; this is "+d.kind.String(), "write one of "+f.names())
		} else if f.Default = d.text; d.text != "" && !f.has(d.text) {
			r.report(d, fmt.Sprintf("flag %s has no variant %q", clip(k.name), clip(d.text)), "its variants are "+f.names())
		}
	}
	f.Metadata = r.metadata(n.field("metadata"))
	r.care(&f, n.field("fairlead"))
	ok = !r.broken
	r.targeting(&f, n.field("targeting"))
	return f, ok
}

func (r *docReader) state(f *Flag, n *node) {
	state := n.field("state")
	switch {
	case state == nil:
		r.report(n, "flag "+clip(f.Key)+` has no "state"`, "write ENABLED or DISABLED")
	case state.kind != isText || state.text != string(Enabled) && state.text != string(Disabled):
		r.report(state, "the state of a flag is ENABLED or DISABLED", "write one of the two")
	default:
		f.State = State(state.text)
	}
}

func (r *docReader) variants(f *Flag, n *node) {
	variants := n.field("variants")
	switch {
	case variants == nil || variants.kind != isObject || len(variants.keys) == 0:
		at := n
		if variants != nil {
			at = variants
		}
		r.report(at, "flag "+clip(f.Key)+" has no variants", `write "variants": {"on": true, "off": false}`)
		return
	case len(variants.keys) > maxVariants:
		r.report(variants, fmt.Sprintf("a flag has at most %d variants", maxVariants), "put what differs into the value of one")
		return
	}
	var first nodeKind
	for i, k := range variants.keys {
		v := variants.items[i]
		if i == 0 {
			first = v.kind
		} else if v.kind != first {
			r.warn(v, fmt.Sprintf("variant %s of flag %s is %s, and %s is %s", clip(k.name), clip(f.Key), v.kind, clip(variants.keys[0].name), first), "a program asks for one type: give all variants the same")
			first = v.kind
		}
		f.Variants = append(f.Variants, Variant{k.name, v.appendJSON(nil)})
	}
}

func (f *Flag) has(variant string) bool {
	return slices.ContainsFunc(f.Variants, func(v Variant) bool { return v.Name == variant })
}

// names lists the variants for people.
func (f *Flag) names() string {
	names := make([]string, len(f.Variants))
	for i, v := range f.Variants {
		names[i] = clip(v.Name)
	}
	return strings.Join(names, ", ")
}

// metadata reads texts, numbers and booleans.
func (r *docReader) metadata(n *node) map[string]any {
	if n == nil || n.kind == isNull {
		return nil
	}
	if n.kind != isObject {
		r.report(n, "metadata is an object; this is "+n.kind.String(), `write {"team": "shop"}`)
		return nil
	}
	m := make(map[string]any, len(n.keys))
	for i, k := range n.keys {
		switch v := n.items[i]; v.kind {
		case isText, isNumber, isBool:
			m[k.name] = v.value()
		default:
			r.report(v, fmt.Sprintf("metadata holds texts, numbers and booleans; %s is %s", clip(k.name), v.kind), "write it as a text")
		}
	}
	return m
}

// targeting reads a rule, writes out what it refers to, and compiles it.
func (r *docReader) targeting(f *Flag, n *node) {
	if n == nil || n.kind == isNull || n.kind == isObject && len(n.keys) == 0 {
		return
	}
	if n.kind != isObject {
		r.report(n, "targeting is a rule in JSON Logic; this is "+n.kind.String(), `write {"if": [{"==": [{"var": "country"}, "DE"]}, "on", "off"]}`)
		return
	}
	resolved := r.resolve(n, nil)
	if resolved == nil {
		f.rule, f.Rule = n, n.appendJSON(nil)
		return
	}
	f.rule, f.Rule = resolved, resolved.appendJSON(nil)
	if _, err := compileRule(resolved); err != nil {
		at, hint := n, "mend the rule"
		if e, ok := err.(*ruleError); ok {
			at, hint = e.at, e.hint
		}
		r.report(at, "flag "+clip(f.Key)+": "+err.Error(), hint)
		return
	}
	for _, name := range results(resolved) {
		if !f.has(name.text) {
			r.warn(name, fmt.Sprintf("the rule of flag %s gives %q, which is none of its variants", clip(f.Key), clip(name.text)), "its variants are "+f.names())
		}
	}
}

// results are the texts that a rule plainly gives.
func results(n *node) []*node {
	op, operands, ok := operator(n)
	switch {
	case !ok:
		if n != nil && n.kind == isText {
			return []*node{n}
		}
	case op == "if" && operands.kind == isList && len(operands.items) > 1:
		var all []*node
		for i, x := range operands.items {
			if i%2 == 1 || i == len(operands.items)-1 {
				all = append(all, results(x)...)
			}
		}
		return all
	case op == "fractional" && operands.kind == isList:
		var all []*node
		for _, x := range operands.items {
			if x.kind == isList && len(x.items) > 0 {
				all = append(all, results(x.items[0])...)
			}
		}
		return all
	}
	return nil
}

// resolve writes out references to evaluators; nil when there is one that leads nowhere.
func (r *docReader) resolve(n *node, path []string) *node {
	if r.left--; r.left < 0 {
		if r.left == -1 {
			r.report(n, "the references to evaluators repeat too much", "refer to smaller parts")
		}
		return nil
	}
	if n.kind == isObject && len(n.keys) == 1 && n.keys[0].name == "$ref" && n.items[0].kind == isText {
		name := n.items[0]
		to := r.evaluators.field(name.text)
		switch {
		case to == nil:
			hint := "write it below $evaluators"
			if r.evaluators != nil {
				var names []string
				for _, k := range r.evaluators.keys {
					names = append(names, k.name)
				}
				if near := plan.Nearest(name.text, names); near != "" {
					hint = "did you mean " + near + "?"
				}
			}
			r.report(name, "there is no evaluator "+clip(name.text), hint)
			return nil
		case slices.Contains(path, name.text):
			r.report(name, "the evaluator "+clip(name.text)+" refers to itself", "write out what it means")
			return nil
		}
		return r.resolve(to, append(path, name.text))
	}
	if n.kind != isObject && n.kind != isList {
		return n
	}
	c := *n
	c.items = make([]*node, len(n.items))
	for i, x := range n.items {
		if c.items[i] = r.resolve(x, path); c.items[i] == nil {
			return nil
		}
	}
	return &c
}

// care reads what stands below "fairlead".
func (r *docReader) care(f *Flag, n *node) {
	if n == nil || n.kind == isNull {
		return
	}
	if n.kind != isObject {
		r.report(n, `"fairlead" is an object; this is `+n.kind.String(), `write {"owner": "shop"}`)
		return
	}
	d := json.NewDecoder(bytes.NewReader(n.appendJSON(nil)))
	d.DisallowUnknownFields()
	if err := d.Decode(&f.Care); err != nil {
		at, text := n, strings.TrimPrefix(err.Error(), "json: ")
		for i, k := range n.keys {
			if strings.Contains(text, `"`+k.name+`"`) || strings.Contains(text, "Care."+k.name) {
				at = &node{line: k.line, col: k.col}
				_ = i
			}
		}
		r.report(at, "what Fairlead is told of flag "+clip(f.Key)+" cannot be read: "+text,
			"known are description, owner, tags, created, off, killed, from, until, needs, split and guard; times are written as 2026-05-01T00:00:00Z")
		return
	}
	if why, hint := f.checkCare(); why != "" {
		r.report(n, "flag "+clip(f.Key)+": "+why, hint)
	}
}

// checkCare says what is wrong with what we know of a flag.
func (f *Flag) checkCare() (why, hint string) {
	c := &f.Care
	variants := "its variants are " + f.names()
	switch {
	case c.Off != "" && !f.has(c.Off):
		return fmt.Sprintf("off is the variant %q, which it does not have", clip(c.Off)), variants
	case !c.From.IsZero() && !c.Until.IsZero() && !c.From.Before(c.Until):
		return "it ends before it begins", "let until be later than from"
	case len(c.Tags) > maxTags || len(c.Needs) > maxNeeds:
		return fmt.Sprintf("a flag has at most %d tags and needs at most %d others", maxTags, maxNeeds), "remove some"
	case len(c.Description) > maxWords || len(c.Owner) > maxWords || len(c.Killed) > maxWords:
		return fmt.Sprintf("a text is longer than %d bytes", maxWords), "say it shorter"
	}
	for _, n := range c.Needs {
		if n.Flag == "" || len(n.Variants) == 0 {
			return "a need names a flag and its variants", `write {"flag": "accounts", "variants": ["on"]}`
		}
	}
	if c.Split != nil {
		var sum float64
		for _, s := range c.Split.Shares {
			if !f.has(s.Variant) {
				return fmt.Sprintf("a share is of the variant %q, which it does not have", clip(s.Variant)), variants
			}
			if !(s.Percent >= 0 && s.Percent <= 100) {
				return "a share is 0 to 100 percent", "write a number such as 12.5"
			}
			sum += s.Percent
		}
		if sum > 100+1e-9 || len(c.Split.Shares) > maxVariants {
			return fmt.Sprintf("the shares add up to %g percent", sum), "make them 100 at most; the rest gets the default"
		}
	}
	if g := c.Guard; g != nil {
		if !f.has(g.Variant) {
			return fmt.Sprintf("what is guarded is the variant %q, which it does not have", clip(g.Variant)), variants
		}
		if len(g.Steps) == 0 || len(g.Steps) > maxSteps {
			return fmt.Sprintf("a guarded flag has 1 to %d steps", maxSteps), `write "steps": [1, 10, 50, 100]`
		}
		for i, s := range g.Steps {
			if !(s > 0 && s <= 100) || i > 0 && s <= g.Steps[i-1] {
				return "the steps of a guarded flag grow, up to 100 percent", `write "steps": [1, 10, 50, 100]`
			}
		}
		if g.Hold != "" {
			if d, err := time.ParseDuration(g.Hold); err != nil || d <= 0 {
				return fmt.Sprintf("%q is no length of time", clip(g.Hold)), "write one such as 10m"
			}
		}
	}
	return "", ""
}

// clip keeps a piece of a file short and plain enough for a message.
func clip(s string) string {
	const most = 80
	var b strings.Builder
	for _, c := range s {
		if b.Len() > most {
			b.WriteString("…")
			break
		}
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			c = unicode.ReplacementChar
		}
		b.WriteRune(c)
	}
	return b.String()
}

// MarshalJSON writes the flag as it stands in a file.
func (f Flag) MarshalJSON() ([]byte, error) { return f.appendJSON(nil), nil }

func (f *Flag) appendJSON(b []byte) []byte {
	b = append(b, `{"state":`...)
	b = appendText(b, string(f.State))
	b = append(b, `,"variants":{`...)
	for i, v := range f.Variants {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, v.Name), ':')
		b = append(b, v.Value...)
	}
	b = append(b, '}')
	if f.Default != "" {
		b = appendText(append(b, `,"defaultVariant":`...), f.Default)
	}
	if f.Rule != nil {
		b = append(append(b, `,"targeting":`...), f.Rule...)
	}
	if len(f.Metadata) > 0 {
		b = appendValue(append(b, `,"metadata":`...), f.Metadata)
	}
	if care := appendValue(nil, f.Care); len(care) > 2 {
		b = append(append(b, `,"fairlead":`...), care...)
	}
	return append(b, '}')
}

func appendValue(b []byte, v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // of plain data, never fails
	return append(b, bytes.TrimRight(out.Bytes(), "\n")...)
}

// UnmarshalJSON reads a flag that MarshalJSON wrote. Its key is not part of it.
func (f *Flag) UnmarshalJSON(src []byte) error {
	x, problems := ReadFlag("flag", "flag", src)
	for _, p := range problems {
		if p.Severity == plan.Error {
			return fmt.Errorf("%s", p.Message)
		}
	}
	x.Key, x.Source = f.Key, plan.Source{}
	*f = x
	return nil
}

// Write writes definitions as a file. With plain set, what flagd has no words for becomes
// words that it has, where there are: a split becomes part of the rule, and a flag that is killed
// is disabled.
func Write(d *Definitions, plain bool) []byte {
	b := []byte(`{"$schema":"https://flagd.dev/schema/v0/flags.json","flags":{`)
	for i := range d.Flags {
		f := d.Flags[i]
		if plain {
			f = f.plain()
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, f.Key), ':')
		b = f.appendJSON(b)
	}
	b = append(b, '}')
	if len(d.Metadata) > 0 {
		b = appendValue(append(b, `,"metadata":`...), d.Metadata)
	}
	b = append(b, '}')
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return b
	}
	return append(out.Bytes(), '\n')
}

// plain is the flag in flagd's own words.
func (f Flag) plain() Flag {
	c := f.Care
	f.Care = Care{}
	if c.Killed != "" {
		f.State = Disabled
	}
	if s := c.Split; s != nil {
		rest := shareParts
		buckets := []any{}
		if s.By != "" {
			buckets = append(buckets, map[string]any{"cat": []any{f.Key, map[string]any{"var": s.By}}})
		}
		for _, share := range s.Shares {
			w := int(math.Round(share.Percent * shareParts / 100))
			rest -= w
			buckets = append(buckets, []any{share.Variant, w})
		}
		if rest > 0 {
			var other any
			if f.Default != "" {
				other = f.Default
			}
			buckets = append(buckets, []any{other, rest})
		}
		split := map[string]any{"fractional": buckets}
		if f.Rule == nil {
			f.Rule = appendValue(nil, split)
		} else {
			f.Rule = appendValue(nil, map[string]any{"if": []any{map[string]any{"!==": []any{f.Rule, nil}}, f.Rule, split}})
		}
		f.rule = nil
	}
	return f
}

// Check says what is wrong with a flag that was changed: a [*plan.UsageError], or nil.
func (f *Flag) Check() error {
	if why, hint := f.checkCare(); why != "" {
		return &plan.UsageError{Message: "flag " + clip(f.Key) + ": " + why, Hint: hint}
	}
	return nil
}

// Shares are the shares that a split gives away.
func (f *Flag) Shares() []Share {
	if f.Care.Split == nil {
		return nil
	}
	return f.Care.Split.Shares
}

// ShareOf is how many of the users a split gives a variant, in percent.
func (f *Flag) ShareOf(variant string) float64 {
	for _, s := range f.Shares() {
		if s.Variant == variant {
			return s.Percent
		}
	}
	return 0
}

// Standing says in one word how a flag stands at a time: "killed", "off" (it is disabled),
// "scheduled" and "over" (its time has not come, or has gone), "rules" (it hangs on who asks),
// "partly" (a share has it), "on" (the same for everybody).
func (f *Flag) Standing(now time.Time) string {
	c := &f.Care
	switch {
	case c.Killed != "":
		return "killed"
	case f.State == Disabled:
		return "off"
	case !c.From.IsZero() && now.Before(c.From):
		return "scheduled"
	case !c.Until.IsZero() && !now.Before(c.Until):
		return "over"
	case f.Rule != nil || c.Unleash != nil:
		return "rules"
	}
	for _, s := range f.Shares() {
		if s.Percent > 0 && s.Percent < 100 {
			return "partly"
		}
	}
	return "on"
}
