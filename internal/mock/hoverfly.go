package mock

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// simulation reads Hoverfly's simulations, version 5.
type simulation struct {
	*reader
	open   func(name string) ([]byte, error)
	delays []globalDelay
}

// globalDelay holds back the answers to addresses that match.
type globalDelay struct {
	address func(string) bool
	method  string
	by      delay
}

func (h *simulation) read(n *node) (stubs []Stub) {
	version := orEmpty(n.get("meta").get("schemaVersion"))
	if !strings.HasPrefix(version.text, "v5") {
		h.add(plan.Error, max(version.start, n.start), fmt.Sprintf("a simulation of version %q is not read, only v5", plan.Clip(version.text)),
			"import and export it once with Hoverfly, which writes the newest version")
		return nil
	}
	data := n.get("data")
	if data == nil {
		h.wrong(n, "the simulation has no data")
		return nil
	}
	if actions := data.get("globalActions"); actions != nil {
		h.globals(actions)
	}
	h.keys(data, "data", map[string]func(*node){
		"globalActions": func(*node) {},
		"literals": func(v *node) {
			if len(v.items) > 0 {
				h.unsupported(v.start, "a literal")
			}
		},
		"variables": func(v *node) {
			if len(v.items) > 0 {
				h.unsupported(v.start, "a variable")
			}
		},
		"pairs": func(v *node) {
			v.list(func(n *node) {
				if s, ok := h.stub(n, func(s *Stub) { h.pair(n, s) }); ok {
					stubs = append(stubs, s)
				}
			})
		},
	}, nil)
	// Of equally good ones the first answers: give the later ones less.
	for i := range stubs {
		stubs[i].Rank = stubs[i].Rank*maxStubs + len(stubs) - i
	}
	return stubs
}

func (h *simulation) globals(n *node) {
	entry := func(v *node, fill func(d *delay)) {
		g := globalDelay{address: func(string) bool { return true }}
		if p := v.get("urlPattern"); p != nil {
			text, _ := h.string(p, "urlPattern")
			re, err := expression(text, false, false)
			if err != nil {
				h.wrong(p, "the pattern cannot be read: %v", err)
				return
			}
			g.address = re
		}
		g.method = orEmpty(v.get("httpMethod")).text
		fill(&g.by)
		h.delays = append(h.delays, g)
	}
	h.keys(n, "globalActions", map[string]func(*node){
		"delays": func(v *node) {
			v.list(func(n *node) { entry(n, func(d *delay) { d.fixed = h.ms(orZero(n.get("delay")), "delay") }) })
		},
		"delaysLogNormal": func(v *node) {
			v.list(func(n *node) { entry(n, func(d *delay) { h.logNormal(n, d) }) })
		},
	}, nil)
}

func orZero(n *node) *node {
	if n == nil {
		return &node{kind: '0', text: "0"}
	}
	return n
}

func (h *simulation) ms(n *node, what string) time.Duration {
	ms, _ := h.number(n, what, 0, int(maxDelay/time.Millisecond))
	return time.Duration(ms) * time.Millisecond
}

// logNormal reads Hoverfly's four numbers: median and mean define the curve.
func (h *simulation) logNormal(n *node, d *delay) {
	d.lower, d.upper = h.ms(orZero(n.get("min")), "min"), h.ms(orZero(n.get("max")), "max")
	d.median = h.ms(orZero(n.get("median")), "median")
	d.sigma = spread(d.median, h.ms(orZero(n.get("mean")), "mean"))
	if d.median == 0 {
		h.wrong(n, "a log-normal delay needs a median")
	}
}

func (h *simulation) pair(n *node, s *Stub) {
	s.responses = []response{{status: 200}}
	h.keys(n, "a pair", map[string]func(*node){
		"labels":   func(*node) {},
		"request":  func(v *node) { h.request(v, s) },
		"response": func(v *node) { s.responses[0] = h.response(v, s) },
	}, nil)
	s.responses[0].delay.also = append(s.responses[0].delay.also, h.delays...)
}

func (h *simulation) request(n *node, s *Stub) {
	part := func(name string, get func(*Request) []string) func(*node) {
		return func(v *node) { h.field(v, name, get, s) }
	}
	states := func(v *node, into *map[string]string) {
		h.keys(v, "states", nil, func(k member) {
			if text, ok := h.string(k.value, "a state"); ok {
				if *into == nil {
					*into = map[string]string{}
				}
				(*into)["hoverfly:"+k.name] = text
			}
		})
	}
	query := func(v *node) {
		h.keys(v, "query", nil, func(k member) { h.field(k.value, "query parameter "+k.name, joined(queryOf(k.name)), s) })
		if len(v.members) == 0 && v.kind == '{' {
			s.conditions = append(s.conditions, field{name: "query", get: func(r *Request) []string { return []string{r.RawQuery} }, want: equal("", false)})
		}
	}
	h.keys(n, "request", map[string]func(*node){
		"method": part("method", methodOf), "path": part("path", pathOf), "body": part("body", bodyOf),
		"scheme":          h.addressed("scheme", func(r *Request) []string { return []string{r.Scheme} }, s),
		"destination":     h.addressed("destination", func(r *Request) []string { return []string{r.Host} }, s),
		"query":           query,
		"deprecatedQuery": part("query", func(r *Request) []string { return []string{sorted(r.RawQuery)} }),
		"headers": func(v *node) {
			h.keys(v, "headers", nil, func(k member) { h.field(k.value, "header "+k.name, joined(headerOf(k.name)), s) })
		},
		"requiresState": func(v *node) { states(v, &s.requires) },
	}, nil)
}

// addressed is whom a request was meant for. It counts for requests that take us
// for a proxy, as Hoverfly is one; those that come to us as a server are meant
// for us.
func (h *simulation) addressed(name string, get func(*Request) []string, s *Stub) func(*node) {
	return func(n *node) {
		n.list(func(v *node) {
			if c, ok := h.matcher(v, s); ok {
				s.conditions = append(s.conditions, toProxy{field{name: name, get: get, want: c}})
			}
		})
	}
}

// toProxy is a condition of requests to a proxy.
type toProxy struct{ condition }

func (c toProxy) unmet(r *Request) string {
	if !r.Proxied {
		return ""
	}
	return c.condition.unmet(r)
}

// joined is several values as one, as Hoverfly compares them.
func joined(get func(*Request) []string) func(*Request) []string {
	return func(r *Request) []string {
		values := get(r)
		if len(values) < 2 {
			return values
		}
		return []string{strings.Join(values, ";")}
	}
}

// sorted is a query with its parameters in the order of their names.
func sorted(query string) string {
	v, err := url.ParseQuery(query)
	if err != nil {
		return query
	}
	text, err := url.QueryUnescape(v.Encode())
	if err != nil {
		return query
	}
	return text
}

// field reads the matchers of one part, all of which must hold.
func (h *simulation) field(n *node, name string, get func(*Request) []string, s *Stub) {
	n.list(func(v *node) {
		if c, ok := h.matcher(v, s); ok {
			s.conditions = append(s.conditions, field{name: name, get: get, want: c})
		}
	})
}

// matcher reads {"matcher": "exact", "value": …, "config": …, "doMatch": …}.
// An exact one counts twice when the best of several pairs is looked for.
func (h *simulation) matcher(n *node, s *Stub) (c check, ok bool) {
	kind, value := orEmpty(n.get("matcher")).text, n.get("value")
	h.keys(n, "a matcher", map[string]func(*node){
		"matcher": func(*node) {}, "value": func(*node) {},
		"config": func(v *node) {
			for _, m := range v.members {
				if kind != "array" {
					h.unsupported(m.at, fmt.Sprintf("%q of the matcher %s", plan.Clip(m.name), plan.Clip(kind)))
				}
			}
		},
		"doMatch": func(v *node) { h.unsupported(v.start, "doMatch") },
	}, nil)
	if value == nil {
		h.wrong(n, "a matcher needs a value")
		return c, false
	}
	s.Rank++
	text := ""
	if kind != "form" && kind != "array" {
		if text, ok = h.string(value, "the value of a matcher"); !ok {
			return c, false
		}
	}
	var err error
	switch kind {
	case "", "exact":
		s.Rank++
		return equal(text, false), true
	case "negate":
		return equal(text, false).inverted(), true
	case "glob":
		c, err = matching(globExpression(text), true, false)
	case "regex":
		c, err = matching(text, false, false)
	case "json", "jsonPartial", "jsonpartial":
		want, isJSON := parseJSON([]byte(text))
		if !isJSON {
			h.wrong(value, "the value is no JSON")
			return c, false
		}
		return jsonEqual(want, lenience{anyOrder: true, extra: kind != "json"}), true
	case "jsonpath":
		var p *query
		if p, err = compilePath(text); err == nil {
			c = jsonPath(p, nil)
		}
	case "form":
		return h.form(value, s)
	case "array":
		return h.array(n, value)
	default:
		h.unsupported(n.start, fmt.Sprintf("the matcher %q", plan.Clip(kind)))
		return c, false
	}
	if err != nil {
		h.unsupported(value.start, err.Error())
	}
	return c, err == nil
}

// globExpression is a pattern in which * stands for any text.
func globExpression(glob string) string {
	return "(?s:" + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, ".*") + ")"
}

// form reads matchers of the fields of a form that is the body.
func (h *simulation) form(n *node, s *Stub) (check, bool) {
	before := h.errors
	var fields []condition
	h.keys(n, "form", nil, func(k member) {
		k.value.list(func(v *node) {
			if c, ok := h.matcher(v, s); ok {
				fields = append(fields, field{name: "form field " + k.name, get: joined(formOf(k.name)), want: c})
			}
		})
	})
	return has("a form", func(v string) bool { return allOf(fields).unmet(&Request{Body: []byte(v)}) == "" }), h.errors == before
}

// array compares the values of a part that was given several times.
func (h *simulation) array(n, value *node) (check, bool) {
	var want []string
	value.list(func(v *node) {
		if text, ok := h.string(v, "an entry"); ok {
			want = append(want, text)
		}
	})
	set := func(name string) bool { v := n.get("config").get(name); return v != nil && v.text == "true" }
	anyOrder, occurrences, unknown := set("ignoreOrder"), set("ignoreOccurrences"), set("ignoreUnknown")
	count := func(all []string) map[string]int {
		m := map[string]int{}
		for _, v := range all {
			if m[v]++; occurrences {
				m[v] = 1
			}
		}
		return m
	}
	return has("values "+plan.Clip(strings.Join(want, ";")), func(v string) bool {
		got := strings.Split(v, ";")
		if unknown {
			got = slices.DeleteFunc(got, func(v string) bool { return !slices.Contains(want, v) })
		}
		if anyOrder {
			return maps.Equal(count(want), count(got))
		}
		if occurrences {
			return reflect.DeepEqual(slices.Compact(slices.Clone(want)), slices.Compact(got))
		}
		return slices.Equal(want, got)
	}), true
}

func (h *simulation) response(n *node, s *Stub) response {
	a := response{status: 200}
	encoded, templated := false, false
	h.keys(n, "response", map[string]func(*node){
		"status": func(v *node) { a.status, _ = h.number(v, "status", 100, 999) },
		"body": func(v *node) {
			text, _ := h.string(v, "body")
			a.body = []byte(text)
		},
		"bodyFile": func(v *node) {
			if v.text != "" {
				a.body = h.body(h.open, v)
			}
		},
		"encodedBody": func(v *node) { encoded = h.bool(v, "encodedBody") },
		"templated":   func(v *node) { templated = h.bool(v, "templated") },
		"headers": func(v *node) {
			h.keys(v, "headers", nil, func(k member) {
				k.value.list(func(n *node) {
					if text, ok := h.string(n, "a header"); ok {
						a.header = append(a.header, pair{name: k.name, value: text})
					}
				})
			})
		},
		"transitionsState": func(v *node) {
			h.keys(v, "states", nil, func(k member) {
				if text, ok := h.string(k.value, "a state"); ok {
					s.set("hoverfly:"+k.name, text)
				}
			})
		},
		"removesState": func(v *node) {
			v.list(func(n *node) {
				if text, ok := h.string(n, "a state"); ok {
					s.set("hoverfly:"+text, "")
				}
			})
		},
		"fixedDelay":     func(v *node) { a.delay.fixed = h.ms(v, "fixedDelay") },
		"logNormalDelay": func(v *node) { h.logNormal(v, &a.delay) },
	}, func(m member) {
		if m.name == "postServeAction" {
			h.ignored(m.at, "postServeAction")
			return
		}
		h.unsupported(m.at, fmt.Sprintf("%q in response", plan.Clip(m.name)))
	})
	if encoded {
		b, err := base64.StdEncoding.DecodeString(string(a.body))
		if err != nil {
			h.wrong(n, "the body is no base64, and encodedBody says that it is")
		}
		a.body = b
	}
	if templated {
		h.templates(n.start, &a, hoverflyWords)
	}
	return a
}

// set adds a state that holds from then on.
func (s *Stub) set(name, value string) {
	if s.sets == nil {
		s.sets = map[string]string{}
	}
	s.sets[name] = value
}
