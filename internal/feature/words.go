package feature

import (
	"fmt"
	"strconv"
	"strings"
)

// Sentence is a step of the way to an answer, for people: who gets what.
type Sentence struct {
	Who  string `json:"who"`            // "if email ends with “@example.com”"
	Gets string `json:"gets,omitempty"` // variant; "" when the sentence is no choice
}

// Words says for people how a flag is answered, from first to last. What is too deep to be said
// in words is said as it is written.
func (f *Flag) Words() []Sentence {
	var all []Sentence
	c := &f.Care
	off := c.Off
	if off == "" {
		off = "the program's default"
	}
	say := func(gets, who string, args ...any) { all = append(all, Sentence{fmt.Sprintf(who, args...), gets}) }
	switch {
	case c.Killed != "":
		say(off, "everybody, for it was killed: %s", c.Killed)
		return all
	case f.State == Disabled:
		say(off, "everybody, for it is disabled")
		return all
	}
	if !c.From.IsZero() {
		say(off, "everybody before %s", c.From.UTC().Format("2 January 2006, 15:04 UTC"))
	}
	if !c.Until.IsZero() {
		say(off, "everybody from %s on", c.Until.UTC().Format("2 January 2006, 15:04 UTC"))
	}
	for _, n := range c.Needs {
		say(off, "who does not have %s of the flag %s", strings.Join(n.Variants, " or "), n.Flag)
	}
	if c.Unleash != nil {
		say("on", "those whom Unleash's strategies choose")
	}
	if n := f.node(); n != nil {
		all = append(all, ruleWords(n)...)
	}
	for _, s := range f.Shares() {
		by := "users"
		if c.Split.By != "" {
			by = "users, told apart by " + c.Split.By
		}
		say(s.Variant, "%g %% of the %s", s.Percent, by)
	}
	rest := f.Default
	if rest == "" {
		rest = "the program's default"
	}
	if len(all) == 0 {
		say(rest, "everybody")
	} else {
		say(rest, "everybody else")
	}
	return all
}

// node is the flag's rule with or without its places.
func (f *Flag) node() *node {
	if f.rule != nil || f.Rule == nil {
		return f.rule
	}
	n, _ := (&parser{name: f.Key, left: maxNodes}).json(f.Rule)
	return n
}

// ruleWords says what a rule gives to whom.
func ruleWords(n *node) []Sentence {
	op, operands, ok := operator(n)
	switch {
	case !ok:
		return []Sentence{{"everybody else", variantWords(n)}}
	case op == "if" && operands.kind == isList && len(operands.items) > 1:
		var all []Sentence
		items := operands.items
		for i := 0; i+1 < len(items); i += 2 {
			who := "if " + conditionWords(items[i], 0)
			then := ruleWords(items[i+1])
			for _, s := range then {
				switch {
				case len(then) == 1 && s.Who == "everybody else":
					all = append(all, Sentence{who, s.Gets})
				default:
					all = append(all, Sentence{who + ": " + s.Who, s.Gets})
				}
			}
		}
		if len(items)%2 == 1 {
			if last := items[len(items)-1]; last.kind != isNull {
				all = append(all, ruleWords(last)...)
			}
		}
		return all
	case op == "fractional" && operands.kind == isList:
		return fractionWords(operands.items)
	}
	return []Sentence{{"what this gives: " + clip(string(n.appendJSON(nil))), ""}}
}

func variantWords(n *node) string {
	if n == nil || n.kind == isNull {
		return ""
	}
	return text(n.value())
}

func fractionWords(items []*node) []Sentence {
	by := "users"
	if len(items) > 0 && items[0].kind != isList {
		by, items = "users, told apart by "+termWords(items[0]), items[1:]
	}
	var total float64
	weight := func(x *node) float64 {
		if x.kind == isList && len(x.items) == 2 && x.items[1].kind == isNumber {
			return max(x.items[1].num, 0)
		}
		return 1
	}
	for _, x := range items {
		total += weight(x)
	}
	var all []Sentence
	for _, x := range items {
		if x.kind != isList || len(x.items) == 0 || total == 0 {
			continue
		}
		percent := strconv.FormatFloat(100*weight(x)/total, 'g', 4, 64)
		all = append(all, Sentence{percent + " % of the " + by, variantWords(x.items[0])})
	}
	return all
}

// infix are operators that stand between their operands, in words.
var infix = map[string]string{"==": "is", "===": "is", "!=": "is not", "!==": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least",
	"in": "is in", "starts_with": "starts with", "ends_with": "ends with"}

func conditionWords(n *node, depth int) string {
	op, operands, ok := operator(n)
	if !ok || depth > 4 {
		return termWords(n)
	}
	items := operands.items
	if operands.kind != isList {
		items = []*node{operands}
	}
	switch {
	case (op == "and" || op == "or") && len(items) > 0:
		parts := make([]string, len(items))
		for i, x := range items {
			if parts[i] = conditionWords(x, depth+1); depth > 0 && len(items) > 1 {
				if inner, _, ok := operator(x); ok && (inner == "and" || inner == "or") {
					parts[i] = "(" + parts[i] + ")"
				}
			}
		}
		return strings.Join(parts, " "+op+" ")
	case (op == "!" || op == "!!") && len(items) == 1:
		word := "not "
		if op == "!!" {
			word = ""
		}
		return word + "(" + conditionWords(items[0], depth+1) + ")"
	case op == "in" && len(items) == 2 && items[1].kind == isObject:
		return termWords(items[1]) + " holds " + termWords(items[0])
	case infix[op] != "" && len(items) == 2:
		return termWords(items[0]) + " " + infix[op] + " " + termWords(items[1])
	case op == "sem_ver" && len(items) == 3:
		return "the version " + termWords(items[0]) + " is " + strings.Trim(termWords(items[1]), "“”") + " " + strings.Trim(termWords(items[2]), "“”")
	}
	return termWords(n)
}

// termWords says a value.
func termWords(n *node) string {
	if n == nil {
		return "nothing"
	}
	if op, operands, ok := operator(n); ok && op == "var" {
		name := operands
		if operands.kind == isList && len(operands.items) > 0 {
			name = operands.items[0]
		}
		if name.kind == isText {
			return name.text
		}
	}
	switch n.kind {
	case isText:
		return "“" + clip(n.text) + "”"
	case isList:
		parts := make([]string, len(n.items))
		for i, x := range n.items {
			parts[i] = termWords(x)
		}
		if len(parts) > 10 {
			parts = append(parts[:10], "…")
		}
		return strings.Join(parts, ", ")
	case isNull:
		return "nothing"
	}
	return clip(string(n.appendJSON(nil)))
}
