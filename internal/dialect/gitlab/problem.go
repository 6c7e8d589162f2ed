package gitlab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxProblems of one pipeline are reported; more help nobody.
const maxProblems = 200

// wrong is a problem on its way up as a Go error.
func wrong(at plan.Source, rule, message, hint string) error {
	return &dialect.ProblemError{Problem: plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}}
}

// lacking is a problem that this machine or the network is to blame for.
func lacking(at plan.Source, rule, message, hint string) error {
	return &dialect.ProblemError{Problem: plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}, Lacking: true}
}

// reporter collects problems while a pipeline is read, and reads values: each
// of its readers gives the zero value for what is not given or not right.
type reporter struct{ problems []plan.Problem }

func (r *reporter) add(p plan.Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

func (r *reporter) fail(at plan.Source, rule, message, hint string) {
	r.add(plan.Problem{Source: at, Severity: plan.Error, Rule: rule, Message: message, Hint: hint})
}

func (r *reporter) warn(at plan.Source, rule, message, hint string) {
	r.add(plan.Problem{Source: at, Severity: plan.Warning, Rule: rule, Message: message, Hint: hint})
}

// keys reports the keys of a mapping that are not known. It is false when n is
// no mapping, which has been reported.
func (r *reporter) keys(n *document.Node, what string, known []string) bool {
	if n.Kind != document.Mapping {
		r.mistyped(n, what, "a mapping")
		return false
	}
	for _, f := range n.Fields {
		if slices.Contains(known, f.Key) {
			continue
		}
		hint := "check the spelling"
		if len(known) <= 12 {
			hint = "it may have " + strings.Join(known, ", ")
		}
		if near := plan.Nearest(f.Key, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		r.fail(f.Source, "key", fmt.Sprintf("%s has no key %s", what, plan.Clip(f.Key)), hint)
	}
	return true
}

func (r *reporter) mistyped(n *document.Node, what, want string) {
	r.fail(n.Source, "type", fmt.Sprintf("%s must be %s, and is %s", what, want, n.Shape()), "")
}

// text reads a text; numbers and booleans are as good.
func (r *reporter) text(n *document.Node, what string) string {
	if n.IsNull() {
		return ""
	}
	text, ok := n.Text()
	if !ok {
		r.mistyped(n, what, "a text")
	}
	return text
}

// choice reads one of a few words.
func (r *reporter) choice(n *document.Node, what string, words ...string) string {
	if n.IsNull() {
		return ""
	}
	text, ok := n.Text()
	if ok && slices.Contains(words, text) {
		return text
	}
	if !ok {
		text = n.Shape()
	}
	hint := "write " + strings.Join(words, ", ")
	if near := plan.Nearest(text, words); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.fail(n.Source, "value", fmt.Sprintf("%s may not be %s", what, plan.Clip(text)), hint)
	return ""
}

func (r *reporter) boolean(n *document.Node, what string) (value, given bool) {
	if n.IsNull() {
		return false, false
	}
	if v, ok := n.Value.(bool); ok {
		return v, true
	}
	r.fail(n.Source, "type", fmt.Sprintf("%s must be true or false, and is %s", what, n.Shape()), "write it without quotes")
	return false, false
}

// integer reads a whole number from least to most.
func (r *reporter) integer(n *document.Node, what string, least, most int) int {
	if n.IsNull() {
		return 0
	}
	v, ok := n.Value.(int64)
	if !ok || v < int64(least) || v > int64(most) {
		r.fail(n.Source, "type", fmt.Sprintf("%s must be a whole number from %d to %d", what, least, most), "write it without quotes")
		return 0
	}
	return int(v)
}

// texts reads a text or a list of texts; lists in it are flattened.
func (r *reporter) texts(n *document.Node, what string) []string {
	if n.IsNull() {
		return nil
	}
	if n.Kind == document.Scalar {
		return []string{r.text(n, what)}
	}
	var out []string
	r.flat(n, what, 0, func(item *document.Node) {
		if text, ok := item.Text(); ok {
			out = append(out, text)
		} else if !item.IsNull() {
			r.mistyped(item, "an entry of "+what, "a text")
		}
	})
	return out
}

// commands reads a text or a list of texts, which must be texts: true and 1 are
// none to GitLab, until they are quoted.
func (r *reporter) commands(n *document.Node, what string) []string {
	one := func(item *document.Node) {
		if _, ok := item.Value.(string); !ok && !item.IsNull() && item.Kind == document.Scalar {
			r.fail(item.Source, "type", fmt.Sprintf("%s is made of texts, and this is %s", what, item.Shape()), "quote it")
		}
	}
	switch {
	case n.IsNull():
	case n.Kind == document.Scalar:
		one(n)
	case n.Kind == document.Sequence:
		deep := &reporter{} // what is wrong with the list itself is told below
		deep.flat(n, what, 0, one)
	}
	return r.texts(n, what)
}

// list is texts where a single text will not do.
func (r *reporter) list(n *document.Node, what string) []string {
	if !n.IsNull() && n.Kind != document.Sequence {
		r.mistyped(n, what, "a list")
		return nil
	}
	return r.texts(n, what)
}

// maxNesting is how deep lists of commands, rules and needs may be nested.
const maxNesting = 10

// flat gives the entries of a list, and those of the lists in it.
func (r *reporter) flat(n *document.Node, what string, depth int, each func(*document.Node)) {
	if n.IsNull() {
		return
	}
	if n.Kind != document.Sequence {
		r.mistyped(n, what, "a list")
		return
	}
	if depth > maxNesting {
		r.fail(n.Source, "limit", fmt.Sprintf("lists in %s are nested more than %d deep", what, maxNesting), "flatten them")
		return
	}
	for _, item := range n.Items {
		if item.Kind == document.Sequence {
			r.flat(item, what, depth+1, each)
			continue
		}
		each(item)
	}
}

// duration reads how long something is: "1 hour 30 minutes", "1h 30m", "3600".
func (r *reporter) duration(n *document.Node, what string) time.Duration {
	if n.IsNull() {
		return 0
	}
	text, ok := n.Text()
	d, err := parseDuration(text)
	if !ok || err != nil {
		r.fail(n.Source, "value", fmt.Sprintf("%s is no length of time: %s", what, plan.Clip(text)), "write it like 1 hour 30 minutes, 90 seconds, 2 days")
		return 0
	}
	return d
}

// timeUnits are units of time, by their names in the singular.
var timeUnits = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "second": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "wk": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour,
	"mo": 30 * 24 * time.Hour, "mos": 30 * 24 * time.Hour, "month": 30 * 24 * time.Hour,
	"y": 365 * 24 * time.Hour, "yr": 365 * 24 * time.Hour, "year": 365 * 24 * time.Hour,
}

// maxDuration bounds lengths of time: what is longer is a mistake.
const maxDuration = 100 * 365 * 24 * time.Hour

// parseDuration reads numbers with units, joined by spaces, commas or "and"; a
// number without a unit is seconds.
func parseDuration(text string) (time.Duration, error) {
	rest := strings.TrimSpace(strings.ToLower(strings.NewReplacer(",", " ", " and ", " ").Replace(text)))
	if rest == "" {
		return 0, fmt.Errorf("%q is empty", text)
	}
	if parts := strings.Split(rest, ":"); len(parts) == 2 || len(parts) == 3 { // 1:30, 1:30:00
		total := 0.0
		for _, p := range parts {
			v, err := strconv.ParseFloat(p, 64)
			if err != nil || v < 0 {
				return 0, fmt.Errorf("%q is no time", text)
			}
			total = total*60 + v
		}
		return seconds(total)
	}
	total := 0.0
	for rest != "" {
		n := strings.IndexFunc(rest, func(c rune) bool { return (c < '0' || c > '9') && c != '.' })
		if n < 0 {
			n = len(rest)
		}
		v, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, fmt.Errorf("%q has no number where one should be", text)
		}
		rest = strings.TrimLeft(rest[n:], " ")
		n = strings.IndexFunc(rest, func(c rune) bool { return c < 'a' || c > 'z' })
		if n < 0 {
			n = len(rest)
		}
		unit := time.Second
		if word := rest[:n]; word != "" {
			var ok bool
			if unit, ok = timeUnits[word]; !ok {
				if unit, ok = timeUnits[strings.TrimSuffix(word, "s")]; !ok {
					return 0, fmt.Errorf("%q is no unit of time", word)
				}
			}
		}
		total += v * unit.Seconds()
		rest = strings.TrimLeft(rest[n:], " ")
	}
	return seconds(total)
}

func seconds(v float64) (time.Duration, error) {
	if v < 0 || v > maxDuration.Seconds() {
		return 0, fmt.Errorf("%g seconds are too many", v)
	}
	return time.Duration(v * float64(time.Second)), nil
}
