package mock

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// imposters reads Mountebank's imposters of HTTP: each has a port, and the
// first of its stubs that fits answers.
type imposters struct {
	*reader
	port int
	tls  *identity
	base response // the imposter's default
}

func (i *imposters) read(n *node) (stubs []Stub) {
	n.list(func(n *node) {
		before := len(stubs)
		stubs = append(stubs, i.imposter(n)...)
		for k := range stubs[before:] {
			stubs[before+k].Rank = len(stubs) - before - k
		}
	})
	return stubs
}

func (i *imposters) imposter(n *node) (stubs []Stub) {
	i.port, i.tls, i.base = 0, nil, response{status: 200, defaults: true}
	if v := n.get("port"); v != nil {
		i.port, _ = i.number(v, "port", 1, 65535)
	}
	switch protocol := orEmpty(n.get("protocol")); protocol.text {
	case "http":
	case "https":
		i.tls = i.identity(n)
	default:
		i.unsupported(max(protocol.start, n.start), fmt.Sprintf("the protocol %q", plan.Clip(protocol.text)))
		return nil
	}
	if v := n.get("defaultResponse"); v != nil {
		if is := v.get("is"); is != nil {
			v = is
		}
		a := i.is(v)
		a.defaults = true
		i.base = a
	}
	ignore := func(*node) {}
	i.keys(n, "an imposter", map[string]func(*node){
		"port": ignore, "protocol": ignore, "name": ignore, "defaultResponse": ignore, "recordRequests": ignore, "numberOfRequests": ignore,
		"requests": ignore, "_links": ignore, "allowCORS": ignore, "recordMatches": ignore, "host": ignore, "stubs": ignore, "schema": ignore,
		"key": ignore, "cert": ignore,
		"mutualAuth": ignore, // certificates of clients are asked for, and refused in no case
	}, nil)
	stubs = []Stub{}
	if all := n.get("stubs"); all != nil {
		all.list(func(n *node) {
			if s, ok := i.stub(n, func(s *Stub) { i.one(n, s) }); ok {
				stubs = append(stubs, s)
			}
		})
	}
	// What fits nothing gets the default: a stub without conditions, last.
	return append(stubs, Stub{
		Name: "default response", Source: i.source(n.start), Priority: 1 << 30, Port: i.port, tls: i.tls,
		responses: []response{i.base},
	})
}

// identity reads what an imposter of https shows.
func (i *imposters) identity(n *node) *identity {
	key, cert := n.get("key"), n.get("cert")
	if key == nil || cert == nil {
		if one := cmp.Or(key, cert); one != nil {
			i.add(plan.Error, one.start, "key and cert belong together", "give both, or neither: then one is made")
		}
		return &identity{}
	}
	k, _ := i.string(key, "key")
	c, _ := i.string(cert, "cert")
	pair, err := tls.X509KeyPair([]byte(c), []byte(k))
	if err != nil {
		// The error names what is missing, and nothing of the key.
		i.add(plan.Error, cert.start, fmt.Sprintf("key and cert are no pair in PEM form: %v", err), "give both, or neither: then one is made")
		return &identity{}
	}
	return &identity{&pair}
}

func (i *imposters) one(n *node, s *Stub) {
	s.Port, s.tls = i.port, i.tls
	i.keys(n, "a stub", map[string]func(*node){
		"_links": func(*node) {}, "matches": func(*node) {},
		"predicates": func(v *node) {
			v.list(func(n *node) { s.conditions = append(s.conditions, i.predicate(n)) })
		},
		"responses": func(v *node) {
			v.list(func(n *node) { s.responses = append(s.responses, i.response(n)) })
		},
	}, nil)
	if len(s.responses) == 0 {
		s.responses = []response{i.base}
	}
}

// options are the parameters beside a predicate.
type options struct {
	sensitive bool
	except    *regexp.Regexp
	path      *query
}

func (i *imposters) predicate(n *node) condition {
	var o options
	var all []condition
	if v := n.get("caseSensitive"); v != nil {
		o.sensitive = i.bool(v, "caseSensitive")
	}
	if v := n.get("except"); v != nil {
		if text, ok := i.string(v, "except"); ok && text != "" {
			var err error
			if !o.sensitive {
				text = "(?i)" + text
			}
			if o.except, err = regexp.Compile(text); err != nil {
				i.unsupported(v.start, fmt.Sprintf("the regular expression %q (%v)", plan.Clip(text), err))
			}
		}
	}
	if v := n.get("jsonpath"); v != nil {
		text, _ := i.string(orEmpty(v.get("selector")), "selector")
		var err error
		if o.path, err = compilePath(text); err != nil {
			i.unsupported(v.start, err.Error())
		}
	}
	add := func(c condition) { all = append(all, c) }
	list := func(v *node) (of []condition) {
		v.list(func(n *node) { of = append(of, i.predicate(n)) })
		return of
	}
	verb := func(name string, exact bool, make func(want string) check) func(*node) {
		return func(v *node) { all = append(all, i.fields(v, name, o, exact, make)...) }
	}
	ignore := func(*node) {}
	i.keys(n, "a predicate", map[string]func(*node){
		"caseSensitive": ignore, "except": ignore, "jsonpath": ignore, "keyCaseSensitive": ignore,
		"equals":     verb("equals", false, func(w string) check { return equal(w, !o.sensitive) }),
		"deepEquals": verb("deepEquals", true, func(w string) check { return equal(w, !o.sensitive) }),
		"contains":   verb("contains", false, func(w string) check { return containing(w, !o.sensitive) }),
		"startsWith": verb("startsWith", false, func(w string) check { return folded("starts with", w, !o.sensitive, strings.HasPrefix) }),
		"endsWith":   verb("endsWith", false, func(w string) check { return folded("ends with", w, !o.sensitive, strings.HasSuffix) }),
		"matches": func(v *node) {
			all = append(all, i.fields(v, "matches", o, false, func(w string) check {
				c, err := matching(w, false, !o.sensitive)
				if err != nil {
					i.unsupported(v.start, fmt.Sprintf("the regular expression %q (%v)", plan.Clip(w), err))
				}
				return c
			})...)
		},
		"exists": func(v *node) { all = append(all, i.exists(v)...) },
		"and":    func(v *node) { add(allOf(list(v))) },
		"or":     func(v *node) { add(oneOf(list(v))) },
		"not":    func(v *node) { add(not{allOf(list(v)), "what must not hold does: the predicate not"}) },
	}, nil)
	return allOf(all)
}

// parts of a request under Mountebank's names; nil when there is none such.
func imposterPart(name string) func(*Request) []string {
	switch name {
	case "method":
		return methodOf
	case "path":
		return pathOf
	case "body":
		return bodyOf
	case "ip", "requestFrom":
		return func(r *Request) []string { return []string{r.Remote} }
	}
	return nil
}

// inside gives the parts that have names in them.
func inside(name string) (get func(string) func(*Request) []string, names func(*Request) []string) {
	switch name {
	case "query":
		return queryOf, func(r *Request) []string { return slices.Collect(maps.Keys(r.Query)) }
	case "headers":
		return headerOf, func(r *Request) []string { return slices.Collect(maps.Keys(r.Header)) }
	case "form":
		return formOf, func(r *Request) []string { return slices.Collect(maps.Keys(r.form())) }
	}
	return nil, nil
}

// fields reads {"path": "/x", "query": {"a": "b"}, "body": {…}}.
func (i *imposters) fields(n *node, verb string, o options, exact bool, make func(want string) check) (all []condition) {
	cut := func(get func(*Request) []string) func(*Request) []string {
		return func(r *Request) []string {
			values := get(r)
			if o.path != nil {
				var found []string
				for _, v := range values {
					if doc, ok := parseJSON([]byte(v)); ok {
						for _, f := range o.path.find(doc) {
							found = append(found, asText(f))
						}
					}
				}
				values = found
			}
			if o.except != nil {
				values = slices.Clone(values)
				for k := range values {
					values[k] = o.except.ReplaceAllLiteralString(values[k], "")
				}
			}
			return values
		}
	}
	i.keys(n, verb, nil, func(m member) {
		part := imposterPart(m.name)
		nested, names := inside(m.name)
		switch {
		case part != nil && m.name == "body" && (m.value.kind == '{' || m.value.kind == '['):
			if verb != "equals" && verb != "deepEquals" {
				i.unsupported(m.at, verb+" with an object as body")
				return
			}
			all = append(all, field{name: "body", get: cut(part), want: jsonEqual(i.any(m.value), lenience{anyOrder: true, extra: !exact})})
		case part != nil && o.path != nil && m.value.kind == '[':
			// What a path selected, entry by entry.
			c := counted{field: field{name: "body", get: cut(part)}, exact: exact}
			m.value.list(func(n *node) { c.checks = append(c.checks, make(n.text)) })
			all = append(all, c)
		case part != nil:
			if text, ok := i.string(m.value, m.name); ok {
				all = append(all, field{name: m.name, get: cut(part), want: make(text)})
			}
		case nested != nil:
			known := map[string]bool{}
			i.keys(m.value, m.name, nil, func(k member) {
				known[strings.ToLower(k.name)] = true
				c := counted{field: field{name: m.name + " " + k.name, get: cut(folding(nested, names, k.name))}, exact: exact}
				k.value.list(func(n *node) {
					if text, ok := i.string(n, k.name); ok {
						c.checks = append(c.checks, make(text))
					}
				})
				all = append(all, c)
			})
			if exact {
				all = append(all, nothingElse{m.name, names, known})
			}
		default:
			i.unsupported(m.at, fmt.Sprintf("%q in a predicate", plan.Clip(m.name)))
		}
	})
	return all
}

// folding finds a name in any case of letters.
func folding(get func(string) func(*Request) []string, names func(*Request) []string, name string) func(*Request) []string {
	return func(r *Request) (values []string) {
		all := names(r)
		slices.Sort(all)
		for _, n := range all {
			if strings.EqualFold(n, name) {
				values = append(values, get(n)(r)...)
			}
		}
		return values
	}
}

// nothingElse holds when a part has no names but those known.
type nothingElse struct {
	part  string
	names func(*Request) []string
	known map[string]bool
}

func (c nothingElse) unmet(r *Request) string {
	all := c.names(r)
	slices.Sort(all)
	for _, n := range all {
		if !c.known[strings.ToLower(n)] {
			return fmt.Sprintf("%s %s is not expected", c.part, plan.Clip(n))
		}
	}
	return ""
}

func (i *imposters) exists(n *node) (all []condition) {
	one := func(name string, get func(*Request) []string, v *node) {
		want := i.bool(v, "exists")
		all = append(all, field{name: name, get: func(r *Request) []string {
			return slices.DeleteFunc(slices.Clone(get(r)), func(v string) bool { return v == "" })
		}, want: present(want)})
	}
	i.keys(n, "exists", nil, func(m member) {
		nested, names := inside(m.name)
		switch part := imposterPart(m.name); {
		case part != nil:
			one(m.name, part, m.value)
		case nested != nil && m.value.kind == '{':
			i.keys(m.value, m.name, nil, func(k member) { one(m.name+" "+k.name, folding(nested, names, k.name), k.value) })
		case nested != nil:
			one(m.name, names, m.value)
		default:
			i.unsupported(m.at, fmt.Sprintf("%q in a predicate", plan.Clip(m.name)))
		}
	})
	return all
}

func (i *imposters) response(n *node) response {
	a := i.base
	a.defaults = false
	wait, repeat, copies := time.Duration(0), 0, []copying(nil)
	behaviours := func(v *node) {
		v.list(func(n *node) {
			i.keys(n, "behaviors", map[string]func(*node){
				"wait": func(v *node) {
					if v.kind == '"' && strings.Contains(v.text, "function") {
						i.unsupported(v.start, "a wait that is a function")
						return
					}
					ms, _ := i.number(v, "wait", 0, int(maxDelay/time.Millisecond))
					wait = time.Duration(ms) * time.Millisecond
				},
				"repeat": func(v *node) { repeat, _ = i.number(v, "repeat", 1, 1<<30) },
				"copy": func(v *node) {
					v.list(func(n *node) {
						if c, ok := i.copying(n); ok {
							copies = append(copies, c)
						}
					})
				},
			}, nil)
		})
	}
	ignore := func(*node) {}
	i.keys(n, "a response", map[string]func(*node){
		"is": func(v *node) { a = i.is(v) },
		"fault": func(v *node) {
			switch text, _ := i.string(v, "fault"); text {
			case "CONNECTION_RESET_BY_PEER":
				a.fault = faultReset
			case "RANDOM_DATA_THEN_CLOSE":
				a.fault = faultGarbage
			default:
				i.unsupported(v.start, fmt.Sprintf("the fault %q", plan.Clip(text)))
			}
		},
		"proxy": func(v *node) {
			i.keys(v, "proxy", map[string]func(*node){
				"to": func(v *node) { a.proxy = i.reader.base(v, "to") },
				"mode": func(v *node) {
					if v.text != "proxyTransparent" {
						i.ignored(v.start, "the mode "+plan.Clip(v.text)+": answers are passed on and not recorded, and so it")
					}
				},
				"predicateGenerators": ignore, "addWaitBehavior": ignore,
				"injectHeaders": func(v *node) {
					i.keys(v, "injectHeaders", nil, func(k member) {
						if text, ok := i.string(k.value, "a header"); ok {
							a.forward = append(a.forward, pair{name: k.name, value: text})
						}
					})
				},
			}, nil)
		},
		"_behaviors": behaviours, "behaviors": behaviours,
		"repeat": func(v *node) { repeat, _ = i.number(v, "repeat", 1, 1<<30) },
		"_links": ignore,
	}, nil)
	a.delay.fixed, a.repeat, a.copies = wait, repeat, copies
	return a
}

// is reads a response; what it does not say is the default's.
func (i *imposters) is(n *node) response {
	a := i.base
	a.defaults = false
	binary := orEmpty(n.get("_mode")).text == "binary"
	i.keys(n, "is", map[string]func(*node){
		"statusCode": func(v *node) { a.status, _ = i.number(v, "statusCode", 100, 999) },
		"_mode":      func(*node) {}, "_proxyResponseTime": func(*node) {},
		"headers": func(v *node) {
			header := []pair{}
			i.keys(v, "headers", nil, func(k member) {
				k.value.list(func(n *node) {
					if text, ok := i.string(n, "a header"); ok {
						header = append(header, pair{name: k.name, value: text})
					}
				})
			})
			for _, p := range a.header {
				if !slices.ContainsFunc(header, func(q pair) bool { return strings.EqualFold(p.name, q.name) }) {
					header = append(header, p)
				}
			}
			a.header = header
		},
		"body": func(v *node) {
			switch {
			case v.kind == '{' || v.kind == '[':
				a.body = i.compact(v)
			case binary:
				b, err := base64.StdEncoding.DecodeString(v.text)
				if err != nil {
					i.wrong(v, "the body is no base64, and _mode says that it is")
				}
				a.body = b
			default:
				text, _ := i.string(v, "body")
				a.body = []byte(text)
			}
		},
	}, nil)
	return a
}

// copying puts a part of the request where a response has a token.
type copying struct {
	get  func(r *Request) []string
	into string
	find func(v string) []string // the token itself is [0], ${TOKEN}[n] the others
}

func (i *imposters) copying(n *node) (c copying, ok bool) {
	before := i.errors
	i.keys(n, "copy", map[string]func(*node){
		"from": func(v *node) {
			if v.kind == '{' && len(v.members) == 1 {
				if get, names := inside(v.members[0].name); get != nil {
					name, _ := i.string(v.members[0].value, "a name")
					c.get = folding(get, names, name)
				}
			} else {
				c.get = imposterPart(v.text)
			}
			if c.get == nil {
				i.unsupported(v.start, "copying from there")
			}
		},
		"into": func(v *node) { c.into, _ = i.string(v, "into") },
		"using": func(v *node) {
			selector, _ := i.string(orEmpty(v.get("selector")), "selector")
			switch method := orEmpty(v.get("method")).text; method {
			case "regex":
				flags := ""
				if o := v.get("options").get("ignoreCase"); o != nil && o.text == "true" {
					flags += "i"
				}
				if o := v.get("options").get("multiline"); o != nil && o.text == "true" {
					flags += "m"
				}
				if flags != "" {
					selector = "(?" + flags + ")" + selector
				}
				re, err := regexp.Compile(selector)
				if err != nil {
					i.unsupported(v.start, fmt.Sprintf("the regular expression %q", plan.Clip(selector)))
					return
				}
				c.find = re.FindStringSubmatch
			case "jsonpath":
				p, err := compilePath(selector)
				if err != nil {
					i.unsupported(v.start, err.Error())
					return
				}
				c.find = func(v string) (all []string) {
					if doc, ok := parseJSON([]byte(v)); ok {
						for _, f := range p.find(doc) {
							all = append(all, asText(f))
						}
					}
					return all
				}
			default:
				i.unsupported(v.start, fmt.Sprintf("copying by %q", plan.Clip(method)))
			}
		},
	}, nil)
	if i.errors == before && (c.get == nil || c.find == nil || c.into == "") {
		i.wrong(n, "copy needs from, into and using")
	}
	return c, i.errors == before
}

// fill puts in what was copied.
func (c copying) fill(text string, r *Request) string {
	var found []string
	for _, v := range c.get(r) {
		if found = c.find(v); len(found) > 0 {
			break
		}
	}
	for n := range min(len(found), 100) {
		text = strings.ReplaceAll(text, fmt.Sprintf("%s[%d]", c.into, n), found[n])
	}
	first := ""
	if len(found) > 0 {
		first = found[0]
	}
	return strings.ReplaceAll(text, c.into, first)
}
