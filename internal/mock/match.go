package mock

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// condition is something that must hold of a request.
type condition interface {
	// unmet says why it does not hold; "" when it does.
	unmet(r *Request) string
}

// field asks for the values of one part of a request.
type field struct {
	name string // for people: "header Accept"
	get  func(r *Request) []string
	want check
	// every asks that the check holds of every value and not of just one.
	every bool
}

func (f field) unmet(r *Request) string {
	values := f.get(r)
	if f.want.absence {
		if len(values) == 0 && f.want.holds("", false) || slices.ContainsFunc(values, func(v string) bool { return f.want.holds(v, true) }) {
			return ""
		}
		if len(values) > 0 {
			return fmt.Sprintf("%s is %s; wanted: %s", f.name, told(values), f.want.text)
		}
		return f.name + " is missing"
	}
	ok := func(v string) bool { return f.want.holds(v, true) }
	switch {
	case len(values) == 0 && f.want.negative:
		return ""
	case len(values) == 0:
		return fmt.Sprintf("%s is missing; wanted: %s", f.name, f.want.text)
	case f.want.negative || f.every:
		if !slices.ContainsFunc(values, func(v string) bool { return !ok(v) }) {
			return ""
		}
	case slices.ContainsFunc(values, ok):
		return ""
	}
	return fmt.Sprintf("%s is %s; wanted: %s", f.name, told(values), f.want.text)
}

func told(values []string) string {
	var b strings.Builder
	for i, v := range values {
		if i == 5 {
			b.WriteString(", …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", plan.Clip(v))
	}
	return b.String()
}

// counted asks that the values are as many as the checks, or at least that
// each check has one.
type counted struct {
	field
	checks []check
	exact  bool
}

func (c counted) unmet(r *Request) string {
	values := c.get(r)
	if c.exact && len(values) != len(c.checks) {
		return fmt.Sprintf("%s has %d values; wanted: exactly %d", c.name, len(values), len(c.checks))
	}
	for _, want := range c.checks {
		if !slices.ContainsFunc(values, func(v string) bool { return want.holds(v, true) }) {
			return fmt.Sprintf("%s is %s; one must be: %s", c.name, told(values), want.text)
		}
	}
	return ""
}

// allOf, oneOf and not put conditions together.
type (
	allOf []condition
	oneOf []condition
	not   struct {
		of  condition
		why string
	}
)

func (a allOf) unmet(r *Request) string {
	for _, c := range a {
		if why := c.unmet(r); why != "" {
			return why
		}
	}
	return ""
}

func (a oneOf) unmet(r *Request) string {
	var all []string
	for _, c := range a {
		why := c.unmet(r)
		if why == "" {
			return ""
		}
		all = append(all, why)
	}
	return "none of these holds: " + strings.Join(all, "; ")
}

func (n not) unmet(r *Request) string {
	if n.of.unmet(r) != "" {
		return ""
	}
	return n.why
}

// check is asked of one value.
type check struct {
	text string // what is wanted, for people
	// holds is told whether there is a value at all; that is false only for
	// checks of absence.
	holds    func(v string, there bool) bool
	negative bool // nothing at all is fine, and all values must hold
	absence  bool // it is about being there
}

func has(text string, holds func(v string) bool) check {
	return check{text: text, holds: func(v string, _ bool) bool { return holds(v) }}
}

func (c check) inverted() check {
	return check{text: "not " + c.text, holds: func(v string, there bool) bool { return !c.holds(v, there) }, negative: !c.negative, absence: c.absence}
}

// present checks whether there is a value.
func present(want bool) check {
	text := "absent"
	if want {
		text = "present"
	}
	return check{text: text, absence: true, holds: func(_ string, there bool) bool { return there == want }}
}

func equal(want string, fold bool) check {
	if fold {
		return has(fmt.Sprintf("%q in any case", plan.Clip(want)), func(v string) bool { return strings.EqualFold(v, want) })
	}
	return has(fmt.Sprintf("%q", plan.Clip(want)), func(v string) bool { return v == want })
}

func containing(want string, fold bool) check {
	return folded("contains", want, fold, strings.Contains)
}

// folded compares by a function, without regard to case when fold is set.
func folded(verb, want string, fold bool, by func(v, want string) bool) check {
	lower := want
	if fold {
		lower = strings.ToLower(want)
	}
	return has(fmt.Sprintf("%s %q", verb, plan.Clip(want)), func(v string) bool {
		if fold {
			v = strings.ToLower(v)
		}
		return by(v, lower)
	})
}

// matchTimeout bounds expressions that go beyond those of linear time.
const matchTimeout = time.Second

// expression compiles a regular expression of Java's or JavaScript's: by Go's
// own package, which takes linear time, or when it cannot, by one that goes
// back and forth, for a bounded time.
func expression(text string, whole, fold bool) (func(v string) bool, error) {
	if len(text) > 64<<10 {
		return nil, fmt.Errorf("the expression has %d bytes", len(text))
	}
	source := text
	if whole {
		source = `\A(?:` + text + `)\z`
	}
	if fold {
		source = "(?i)" + source
	}
	if re, err := regexp.Compile(source); err == nil {
		return re.MatchString, nil
	}
	re, err := regexp2.Compile(source, regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTimeout
	return func(v string) bool {
		ok, err := re.MatchString(v)
		return err == nil && ok
	}, nil
}

func matching(text string, whole, fold bool) (check, error) {
	re, err := expression(text, whole, fold)
	if err != nil {
		return check{}, err
	}
	return has("matches "+plan.Clip(text), re), nil
}

// jsonEqual compares a text with a JSON value.
func jsonEqual(want any, l lenience) check {
	return has("JSON equal to "+plan.Clip(string(mustJSON(want))), func(v string) bool {
		got, ok := parseJSON([]byte(v))
		return ok && l.equal(want, got)
	})
}

// jsonPath checks what a path selects: that there is something, or that some
// of it meets the check.
func jsonPath(p *query, want *check) check {
	text := "JSONPath " + p.text
	if want != nil {
		text += " " + want.text
	}
	return has(text, func(v string) bool {
		doc, ok := parseJSON([]byte(v))
		if !ok {
			return false
		}
		found := p.find(doc)
		if want == nil {
			return len(found) > 0 && !(len(found) == 1 && isEmptyList(found[0]) && p.many)
		}
		if want.absence {
			return want.holds("", len(found) > 0)
		}
		if len(found) == 0 {
			return want.negative
		}
		return slices.ContainsFunc(found, func(v any) bool { return want.holds(asText(v), true) })
	})
}

func isEmptyList(v any) bool {
	l, ok := v.([]any)
	return ok && len(l) == 0
}

// maxUnordered is how long a list may be to be compared in any order, which
// takes quadratic time; a longer one is compared as it is.
const maxUnordered = 2000

// lenience says what may differ between two JSON values.
type lenience struct {
	anyOrder bool // of lists
	extra    bool // members and entries that are not wanted are no difference
}

// placeholders stand for any value of a type in a wanted JSON value.
func placeholder(want string, got any) (fits, is bool) {
	switch want {
	case "${json-unit.ignore}", "${json-unit.any}":
		return true, true
	case "${json-unit.any-string}":
		_, fits = got.(string)
	case "${json-unit.any-number}":
		_, fits = got.(float64)
	case "${json-unit.any-boolean}":
		_, fits = got.(bool)
	default:
		pattern, ok := strings.CutPrefix(want, "${json-unit.regex}")
		if !ok {
			return false, false
		}
		text, ok := got.(string)
		re, err := expression(pattern, true, false)
		return ok && err == nil && re(text), true
	}
	return fits, true
}

func (l lenience) equal(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok || !l.extra && len(got) > len(want) {
			return false
		}
		for k, v := range want {
			g, there := got[k]
			if s, is := v.(string); !there && is && s == "${json-unit.ignore-element}" {
				continue
			}
			if !there || !l.equal(v, g) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) < len(want) || !l.extra && len(got) > len(want) {
			return false
		}
		if !l.anyOrder || len(got) > maxUnordered {
			for i := range want {
				if !l.equal(want[i], got[i]) {
					return false
				}
			}
			return true
		}
		return l.assign(want, got)
	case string:
		if fits, is := placeholder(want, got); is {
			return fits
		}
	}
	return reflect.DeepEqual(want, got)
}

// assign finds an entry of got for each of want, no entry twice. It makes
// room for a later one by moving earlier ones (augmenting paths), so that it
// fails only if there is no way.
func (l lenience) assign(want, got []any) bool {
	owner := make([]int, len(got))
	for i := range owner {
		owner[i] = -1
	}
	var place func(i int, seen []bool) bool
	place = func(i int, seen []bool) bool {
		for j := range got {
			if seen[j] || !l.equal(want[i], got[j]) {
				continue
			}
			seen[j] = true
			if owner[j] < 0 || place(owner[j], seen) {
				owner[j] = i
				return true
			}
		}
		return false
	}
	for i := range want {
		if !place(i, make([]bool, len(got))) {
			return false
		}
	}
	return true
}

// The parts of a request.

func methodOf(r *Request) []string { return []string{r.Method} }
func pathOf(r *Request) []string   { return []string{r.Path} }
func bodyOf(r *Request) []string   { return []string{string(r.Body)} }

func queryOf(name string) func(*Request) []string {
	return func(r *Request) []string { return r.Query[name] }
}

func headerOf(name string) func(*Request) []string {
	if strings.EqualFold(name, "Host") {
		return func(r *Request) []string { return []string{r.Host} }
	}
	return func(r *Request) []string { return r.Header.Values(name) }
}

func cookieOf(name string) func(*Request) []string {
	return func(r *Request) []string {
		if r.cookies == nil {
			r.cookies = map[string][]string{}
			for _, c := range (&http.Request{Header: r.Header}).Cookies() {
				r.cookies[c.Name] = append(r.cookies[c.Name], c.Value)
			}
		}
		return r.cookies[name]
	}
}

// form is the body as a form.
func (r *Request) form() map[string][]string {
	if r.formed == nil {
		v, err := url.ParseQuery(string(bytes.TrimSpace(r.Body)))
		if err != nil || v == nil {
			v = url.Values{}
		}
		r.formed = v
	}
	return r.formed
}

func formOf(name string) func(*Request) []string {
	return func(r *Request) []string { return r.form()[name] }
}
