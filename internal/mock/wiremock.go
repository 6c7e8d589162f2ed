package mock

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// mappings reads WireMock's stub mappings.
type mappings struct {
	*reader
	open  func(name string) ([]byte, error)
	shape string // urlPathTemplate of the mapping being read
}

// started is the state a scenario begins in: no state at all is set.
const started = "Started"

func (m *mappings) read(n *node) (stubs []Stub) {
	n.list(func(n *node) {
		if s, ok := m.stub(n, func(s *Stub) { s.late = true; m.mapping(n, s) }); ok {
			stubs = append(stubs, s)
		}
	})
	return stubs
}

func (m *mappings) mapping(n *node, s *Stub) {
	var scenario, required, next string
	m.shape = ""
	text := func(to *string, what string) func(*node) {
		return func(v *node) { *to, _ = m.string(v, what) }
	}
	ignore := func(*node) {}
	answered := false
	m.keys(n, "a mapping", map[string]func(*node){
		"id": ignore, "uuid": ignore, "persistent": ignore, "metadata": ignore,
		"name":                  text(&s.Name, "name"),
		"priority":              func(v *node) { s.Priority, _ = m.number(v, "priority", 0, 1<<31-1) },
		"insertionIndex":        func(v *node) { s.Rank, _ = m.number(v, "insertionIndex", 0, 1<<31-1) },
		"scenarioName":          text(&scenario, "scenarioName"),
		"requiredScenarioState": text(&required, "requiredScenarioState"),
		"newScenarioState":      text(&next, "newScenarioState"),
		"request":               func(v *node) { s.conditions = m.request(v) },
		"response":              func(v *node) { answered = true; s.responses = []response{m.response(v)} },
		"postServeActions":      func(v *node) { m.ignored(v.start, "postServeActions") },
		"serveEventListeners":   func(v *node) { m.ignored(v.start, "serveEventListeners") },
	}, nil)
	if n.kind == '{' && !answered {
		m.wrong(n, "a mapping needs a response")
	}
	for i := range s.responses {
		s.responses[i].shape = m.shape
	}
	if scenario != "" {
		key := "wiremock:" + scenario
		if required != "" {
			s.requires = map[string]string{key: unstarted(required)}
		}
		if next != "" {
			s.sets = map[string]string{key: unstarted(next)}
		}
	}
}

// unstarted is a scenario's state, "" for the one it begins in.
func unstarted(state string) string {
	if state == started {
		return ""
	}
	return state
}

func (m *mappings) request(n *node) (all []condition) {
	add := func(c condition) { all = append(all, c) }
	target := func(r *Request) []string { return []string{r.target()} }
	url := func(what string, get func(*Request) []string, whole bool) func(*node) {
		return func(v *node) {
			text, ok := m.string(v, what)
			if !ok {
				return
			}
			if !whole {
				add(field{name: what, get: get, want: equal(text, false)})
				return
			}
			if c, ok := m.regexp(v, text); ok {
				add(field{name: what, get: get, want: c})
			}
		}
	}
	named := func(what string, get func(name string) func(*Request) []string) func(*node) {
		return func(v *node) {
			m.keys(v, what, nil, func(k member) {
				add(m.values(k.value, fmt.Sprintf("%s %s", strings.TrimSuffix(what, "s"), k.name), get(k.name)))
			})
		}
	}
	template, pathParameters := "", (*node)(nil)
	m.keys(n, "request", map[string]func(*node){
		"method": func(v *node) {
			switch text, _ := m.string(v, "method"); text {
			case "ANY", "":
			case "GET_OR_HEAD":
				c := field{name: "method", get: methodOf, want: has("GET or HEAD", func(v string) bool { return v == "GET" || v == "HEAD" })}
				add(c)
			default:
				add(field{name: "method", get: methodOf, want: equal(text, true)})
			}
		},
		"url":             url("url", target, false),
		"urlPattern":      url("url", target, true),
		"urlPath":         url("path", func(r *Request) []string { return []string{r.RawPath, r.Path} }, false),
		"urlPathPattern":  url("path", func(r *Request) []string { return []string{r.RawPath} }, true),
		"urlPathTemplate": func(v *node) { template, _ = m.string(v, "urlPathTemplate"); m.shape = template },
		"pathParameters":  func(v *node) { pathParameters = v },
		"scheme":          url("scheme", func(r *Request) []string { return []string{r.Scheme} }, false),
		"host": func(v *node) {
			add(m.values(v, "host", func(r *Request) []string { return []string{hostname(r.Host)} }))
		},
		"port": func(v *node) {
			if port, ok := m.number(v, "port", 1, 65535); ok {
				add(field{name: "port", get: func(r *Request) []string { return []string{fmt.Sprint(r.Port)} }, want: equal(fmt.Sprint(port), false)})
			}
		},
		"clientIp":        func(v *node) { add(m.values(v, "client", func(r *Request) []string { return []string{r.Remote} })) },
		"queryParameters": named("query parameters", queryOf),
		"formParameters":  named("form parameters", formOf),
		"headers":         named("headers", headerOf),
		"cookies":         named("cookies", cookieOf),
		"basicAuth":       func(v *node) { m.basicAuth(v, add) },
		"basicAuthCredentials": func(v *node) {
			m.basicAuth(v, add)
		},
		"bodyPatterns": func(v *node) {
			v.list(func(n *node) { add(m.values(n, "body", bodyOf)) })
		},
	}, nil)
	if template != "" {
		add(pathTemplate(template))
		if pathParameters != nil {
			m.keys(pathParameters, "path parameters", nil, func(k member) {
				add(m.values(k.value, "path parameter "+k.name, func(r *Request) []string { return inTemplate(template, k.name, r.RawPath) }))
			})
		}
	} else if pathParameters != nil {
		m.wrong(pathParameters, "pathParameters need a urlPathTemplate")
	}
	return all
}

func (m *mappings) basicAuth(n *node, add func(condition)) {
	user, _ := m.string(orEmpty(n.get("username")), "username")
	password, _ := m.string(orEmpty(n.get("password")), "password")
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	add(field{name: "header Authorization", get: headerOf("Authorization"), want: check{
		text: "the credentials of " + plan.Clip(user), holds: func(v string, _ bool) bool { return v == want },
	}})
}

func orEmpty(n *node) *node {
	if n == nil {
		return &node{kind: '"'}
	}
	return n
}

// pathTemplate matches /things/{id}.
func pathTemplate(template string) condition {
	return field{name: "path", get: func(r *Request) []string { return []string{r.RawPath} }, want: has("like "+plan.Clip(template), func(v string) bool {
		want, got := strings.Split(template, "/"), strings.Split(v, "/")
		if len(want) != len(got) {
			return false
		}
		for i, w := range want {
			if isVariable(w) && got[i] != "" {
				continue
			}
			if w != got[i] {
				return false
			}
		}
		return true
	})}
}

func isVariable(s string) bool { return strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") }

// inTemplate is the part of a path where the template has the name.
func inTemplate(template, name, path string) []string {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	for i, w := range want {
		if w == "{"+name+"}" && i < len(got) {
			return got[i : i+1]
		}
	}
	return nil
}

// values reads what is wanted of the values of a part, which may be several.
func (m *mappings) values(n *node, name string, get func(*Request) []string) condition {
	for _, k := range []string{"hasExactly", "includes"} {
		if v := n.get(k); v != nil {
			c := counted{field: field{name: name, get: get}, exact: k == "hasExactly"}
			v.list(func(n *node) { c.checks = append(c.checks, m.check(n)) })
			return c
		}
	}
	return field{name: name, get: get, want: m.check(n)}
}

// check reads one matcher: {"equalTo": "x", "caseInsensitive": true}.
func (m *mappings) check(n *node) check {
	var all []check
	add := func(c check) { all = append(all, c) }
	fold := false
	if v := n.get("caseInsensitive"); v != nil {
		fold = m.bool(v, "caseInsensitive")
	}
	var l lenience
	if v := n.get("ignoreArrayOrder"); v != nil {
		l.anyOrder = m.bool(v, "ignoreArrayOrder")
	}
	if v := n.get("ignoreExtraElements"); v != nil {
		l.extra = m.bool(v, "ignoreExtraElements")
	}
	text := func(make func(text string) check) func(*node) {
		return func(v *node) {
			if s, ok := m.string(v, "a matcher"); ok {
				add(make(s))
			}
		}
	}
	pattern := func(not bool) func(*node) {
		return func(v *node) {
			s, ok := m.string(v, "a regular expression")
			if !ok {
				return
			}
			if c, ok := m.regexp(v, s); ok && not {
				add(c.inverted())
			} else if ok {
				add(c)
			}
		}
	}
	inner := func(join func(all []check) check) func(*node) {
		return func(v *node) {
			var of []check
			v.list(func(n *node) { of = append(of, m.check(n)) })
			add(join(of))
		}
	}
	ignore := func(*node) {}
	m.keys(n, "a matcher", map[string]func(*node){
		"equalTo":         text(func(s string) check { return equal(s, fold) }),
		"contains":        text(func(s string) check { return containing(s, fold) }),
		"doesNotContain":  text(func(s string) check { return containing(s, fold).inverted() }),
		"matches":         pattern(false),
		"doesNotMatch":    pattern(true),
		"absent":          func(v *node) { add(present(!m.bool(v, "absent"))) },
		"anything":        func(*node) { add(has("anything", func(string) bool { return true })) },
		"equalToJson":     func(v *node) { m.equalToJSON(v, l, add) },
		"matchesJsonPath": func(v *node) { m.jsonPath(v, add) },
		"binaryEqualTo": text(func(s string) check {
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				m.wrong(n, "binaryEqualTo is no base64")
			}
			return has(fmt.Sprintf("%d given bytes", len(b)), func(v string) bool { return v == string(b) })
		}),
		"and":             inner(every),
		"or":              inner(either),
		"not":             inner(func(all []check) check { return every(all).inverted() }),
		"caseInsensitive": ignore, "ignoreArrayOrder": ignore, "ignoreExtraElements": ignore,
	}, nil)
	return every(all)
}

// every and either join checks of one value.
func every(all []check) check {
	if len(all) == 1 {
		return all[0]
	}
	c := check{text: texts(all, " and ")}
	for _, one := range all {
		c.absence = c.absence || one.absence
	}
	c.holds = func(v string, there bool) bool {
		for _, one := range all {
			// A check of a value says nothing where there is none.
			if !there && !one.absence && !one.negative || (there || one.absence) && !one.holds(v, there) {
				return false
			}
		}
		return true
	}
	return c
}

func either(all []check) check {
	c := check{text: texts(all, " or ")}
	for _, one := range all {
		c.absence = c.absence || one.absence
	}
	c.holds = func(v string, there bool) bool {
		for _, one := range all {
			if (there || one.absence) && one.holds(v, there) {
				return true
			}
		}
		return false
	}
	return c
}

func texts(all []check, by string) string {
	var words []string
	for _, c := range all {
		words = append(words, c.text)
	}
	if len(words) == 0 {
		return "anything"
	}
	return strings.Join(words, by)
}

func (m *mappings) regexp(n *node, text string) (check, bool) {
	c, err := matching(text, true, false)
	if err != nil {
		m.unsupported(n.start, fmt.Sprintf("the regular expression %q (%v)", plan.Clip(text), err))
	}
	return c, err == nil
}

func (m *mappings) equalToJSON(v *node, l lenience, add func(check)) {
	want := m.any(v)
	if v.kind == '"' {
		var ok bool
		if want, ok = parseJSON([]byte(v.text)); !ok {
			m.wrong(v, "equalToJson is no JSON")
			return
		}
	}
	add(jsonEqual(want, l))
}

// jsonPath reads "$.x" or {"expression": "$.x", "equalTo": "y"}.
func (m *mappings) jsonPath(v *node, add func(check)) {
	at, want := v, (*check)(nil)
	if v.kind == '{' {
		at = v.get("expression")
		if at == nil {
			m.wrong(v, "matchesJsonPath needs an expression")
			return
		}
		rest := &node{kind: '{', start: v.start, end: v.end}
		for _, k := range v.members {
			if k.name != "expression" {
				rest.members = append(rest.members, k)
			}
		}
		if len(rest.members) > 0 {
			c := m.check(rest)
			want = &c
		}
	}
	text, ok := m.string(at, "a JSONPath")
	if !ok {
		return
	}
	p, err := compilePath(text)
	if err != nil {
		m.unsupported(at.start, err.Error())
		return
	}
	add(jsonPath(p, want))
}

func (m *mappings) response(n *node) response {
	a := response{status: 200}
	templated := false
	m.keys(n, "response", map[string]func(*node){
		"status":        func(v *node) { a.status, _ = m.number(v, "status", 100, 999) },
		"statusMessage": func(v *node) { m.ignored(v.start, "statusMessage: the status line has the usual words, and so it") },
		"body": func(v *node) {
			text, _ := m.string(v, "body")
			a.body = []byte(text)
		},
		"jsonBody": func(v *node) { a.body = m.compact(v) },
		"base64Body": func(v *node) {
			text, _ := m.string(v, "base64Body")
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				m.wrong(v, "base64Body is no base64")
			}
			a.body = b
		},
		"bodyFileName": func(v *node) { a.body = m.body(m.open, v) },
		"headers": func(v *node) {
			m.keys(v, "headers", nil, func(k member) {
				k.value.list(func(n *node) {
					if text, ok := m.string(n, "a header"); ok {
						a.header = append(a.header, pair{name: k.name, value: text})
					}
				})
			})
		},
		"fixedDelayMilliseconds": func(v *node) {
			ms, _ := m.number(v, "fixedDelayMilliseconds", 0, int(maxDelay/time.Millisecond))
			a.delay.fixed += time.Duration(ms) * time.Millisecond
		},
		"delayDistribution":   func(v *node) { m.distribution(v, &a.delay) },
		"chunkedDribbleDelay": func(v *node) { a.dribble = m.dribble(v) },
		"fault": func(v *node) {
			text, _ := m.string(v, "fault")
			switch text {
			case "EMPTY_RESPONSE":
				a.fault = faultEmpty
			case "CONNECTION_RESET_BY_PEER":
				a.fault = faultReset
			case "RANDOM_DATA_THEN_CLOSE":
				a.fault = faultGarbage
			case "MALFORMED_RESPONSE_CHUNK":
				a.fault = faultBroken
			default:
				m.unsupported(v.start, fmt.Sprintf("the fault %q", plan.Clip(text)))
			}
		},
		"proxyBaseUrl":           func(v *node) { a.proxy = m.base(v, "proxyBaseUrl") },
		"proxyUrlPrefixToRemove": func(v *node) { a.remove, _ = m.string(v, "proxyUrlPrefixToRemove") },
		"additionalProxyRequestHeaders": func(v *node) {
			m.keys(v, "additionalProxyRequestHeaders", nil, func(k member) {
				if text, ok := m.string(k.value, "a header"); ok {
					a.forward = append(a.forward, pair{name: k.name, value: text})
				}
			})
		},
		"transformers": func(v *node) {
			v.list(func(n *node) {
				if text, _ := m.string(n, "transformers"); text == "response-template" {
					templated = true
				} else {
					m.unsupported(n.start, fmt.Sprintf("the transformer %q", plan.Clip(text)))
				}
			})
		},
		"transformerParameters": func(v *node) {
			if len(v.members) > 0 {
				m.unsupported(v.start, "transformerParameters")
			}
		},
		"fromConfiguredStub": func(*node) {},
	}, nil)
	if templated {
		m.templates(n.start, &a, wiremockWords)
	}
	return a
}

// templates compiles those of a response.
func (r *reader) templates(at int, a *response, w words) {
	compile := func(text string) *template {
		t, err := compileTemplate(text, w)
		if err != nil {
			r.unsupported(at, "in a template, "+err.Error())
		}
		return t
	}
	a.template = compile(string(a.body))
	for i := range a.header {
		a.header[i].template = compile(a.header[i].value)
	}
}

// base reads the address of another server.
func (r *reader) base(n *node, what string) string {
	text, ok := r.string(n, what)
	if ok && !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		r.wrong(n, "%s must be an http or https address, not %s", what, n.shape())
		return ""
	}
	return text
}

// distribution reads a random delay.
func (m *mappings) distribution(n *node, d *delay) {
	ms := func(name string) time.Duration {
		v := n.get(name)
		if v == nil {
			m.wrong(n, "the distribution needs %s", name)
			return 0
		}
		f, _ := m.float(v, name)
		return min(time.Duration(f*float64(time.Millisecond)), maxDelay)
	}
	switch kind, _ := m.string(orEmpty(n.get("type")), "type"); kind {
	case "fixed":
		d.fixed += ms("milliseconds")
	case "uniform":
		d.lower, d.upper = ms("lower"), ms("upper")
		if d.upper < d.lower {
			m.wrong(n, "upper is less than lower")
		}
	case "lognormal":
		d.median = ms("median")
		if v := n.get("sigma"); v != nil {
			d.sigma, _ = m.float(v, "sigma")
		}
		if v := n.get("maxValue"); v != nil {
			d.upper = ms("maxValue")
		}
	default:
		m.unsupported(n.start, fmt.Sprintf("the distribution %q", plan.Clip(kind)))
	}
}

func (m *mappings) dribble(n *node) *dribble {
	d := &dribble{parts: 1}
	m.keys(n, "chunkedDribbleDelay", map[string]func(*node){
		"numberOfChunks": func(v *node) { d.parts, _ = m.number(v, "numberOfChunks", 1, 10_000) },
		"totalDuration": func(v *node) {
			ms, _ := m.number(v, "totalDuration", 0, int(maxDelay/time.Millisecond))
			d.over = time.Duration(ms) * time.Millisecond
		},
	}, nil)
	d.parts = max(d.parts, 1)
	return d
}
