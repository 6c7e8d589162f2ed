package mock

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// template is a text with parts that come from the request: {{request.path}}.
//
// It is the small part of Handlebars that answers are made of: values,
// helpers with arguments, and helpers inside of others in parentheses. Blocks
// ({{#each}}) are not, and are found when the file is read.
type template struct {
	parts []part
}

// part is a text, or an expression when call is set.
type part struct {
	text string
	call *call
}

// call is a value or a helper with its arguments.
type call struct {
	name  string // "request.path", "upper"
	args  []arg
	named map[string]arg
}

// arg is a text, or a call.
type arg struct {
	text string
	call *call
}

// scope is what a template can name.
type scope struct {
	request *Request
	states  map[string]string
	now     func() time.Time
	random  func(n int) int // from 0 to below n
	shape   string          // /things/{id}, of which templates may name a part
}

// words are the names that a format has for the parts of a request.
type words string

// The formats that have templates.
const (
	wiremockWords words = "WireMock"
	hoverflyWords words = "Hoverfly"
)

const maxTemplateParts = 10_000

// compileTemplate reads a template, or returns nil if the text has no part
// that is replaced.
func compileTemplate(text string, w words) (*template, error) {
	if !strings.Contains(text, "{{") {
		return nil, nil
	}
	t := &template{}
	for len(t.parts) < maxTemplateParts {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			return t, nil
		}
		closing := "}}"
		if strings.HasPrefix(rest, "{") {
			rest, closing = rest[1:], "}}}"
		}
		inside, after, closed := strings.Cut(rest, closing)
		if !closed {
			return nil, fmt.Errorf("%q is not closed by }}", "{{"+clip(rest))
		}
		inside = strings.Trim(strings.TrimSpace(inside), "~")
		if strings.HasPrefix(inside, "#") || strings.HasPrefix(inside, "/") || inside == "else" {
			return nil, fmt.Errorf("the block {{%s}}", clip(inside))
		}
		if !strings.HasPrefix(inside, "!") {
			c, err := parseCall(inside)
			if err == nil {
				err = c.known(w)
			}
			if err != nil {
				return nil, fmt.Errorf("{{%s}}: %w", clip(inside), err)
			}
			t.parts = append(t.parts, part{call: c})
		}
		text = after
	}
	return nil, fmt.Errorf("a template of more than %d parts", maxTemplateParts)
}

func clip(s string) string { return s[:min(len(s), 60)] }

// parseCall reads NAME ARG… KEY=ARG….
func parseCall(text string) (*call, error) {
	s := &callScanner{text: text}
	c, err := s.call(0)
	if err == nil && s.at < len(s.text) {
		err = fmt.Errorf("unexpected %q", s.text[s.at:])
	}
	return c, err
}

type callScanner struct {
	text string
	at   int
}

func (s *callScanner) call(depth int) (*call, error) {
	if depth > 10 {
		return nil, errors.New("helpers are nested too deep")
	}
	c := &call{named: map[string]arg{}}
	for {
		for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\t' || s.text[s.at] == '\n') {
			s.at++
		}
		if s.at == len(s.text) || s.text[s.at] == ')' {
			if c.name == "" {
				return nil, errors.New("it names nothing")
			}
			return c, nil
		}
		key := ""
		if word, ok := s.key(); ok {
			key = word
		}
		a, err := s.arg(depth)
		switch {
		case err != nil:
			return nil, err
		case c.name == "" && a.call != nil && key == "":
			c.name = a.call.name
		case c.name == "":
			return nil, errors.New("it names nothing")
		case key != "":
			c.named[key] = a
		default:
			c.args = append(c.args, a)
		}
	}
}

// key takes KEY=, if that is what comes next.
func (s *callScanner) key() (string, bool) {
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '=' && i > s.at:
			word := s.text[s.at:i]
			s.at = i + 1
			return word, true
		case c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z':
			return "", false
		}
	}
	return "", false
}

func (s *callScanner) arg(depth int) (arg, error) {
	switch c := byte(0); {
	case s.at == len(s.text):
		return arg{}, errors.New("a value is missing")
	case s.text[s.at] == '(':
		s.at++
		inner, err := s.call(depth + 1)
		if err == nil && (s.at >= len(s.text) || s.text[s.at] != ')') {
			err = errors.New("a ) is missing")
		}
		s.at++
		return arg{call: inner}, err
	case s.text[s.at] == '\'' || s.text[s.at] == '"' || s.text[s.at] == '`':
		c = s.text[s.at]
		text, rest, ok := strings.Cut(s.text[s.at+1:], string(c))
		if !ok {
			return arg{}, errors.New("a quote is not closed")
		}
		s.at = len(s.text) - len(rest)
		return arg{text: text}, nil
	}
	begin, inside := s.at, false
	for ; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		inside = inside && c != ']' || c == '['
		if !inside && (c == ' ' || c == '\t' || c == '\n' || c == '(' || c == ')') {
			break
		}
	}
	word := s.text[begin:s.at]
	if word == "" {
		return arg{}, fmt.Errorf("unexpected %q", s.text[s.at:])
	}
	if _, err := strconv.ParseFloat(word, 64); err == nil || word == "true" || word == "false" {
		return arg{text: word}, nil
	}
	return arg{call: &call{name: word}}, nil
}

// helpers are the functions a template may call, and how few arguments each needs.
func helpers() map[string]int {
	return map[string]int{
		"jsonPath": 2, "upper": 1, "lower": 1, "capitalize": 1, "trim": 1, "base64": 1, "urlEncode": 1, "now": 0,
		"randomValue": 0, "randomInt": 0, "randomUuid": 0, "randomInteger": 0, "randomIntegerRange": 2, "randomString": 0, "randomStringLength": 1, "add": 2, "concat": 1,
	}
}

// known checks that the names of a call, and of those in it, mean something.
func (c *call) known(w words) error {
	least, helper := helpers()[c.name]
	root, _, _ := strings.Cut(c.name, ".")
	switch {
	case helper && len(c.args) < least:
		return fmt.Errorf("%s needs %d values", c.name, least)
	case helper:
	case root == "request" && w == wiremockWords, (root == "Request" || root == "State") && w == hoverflyWords, root == "parameters" && w == wiremockWords:
	default:
		return fmt.Errorf("%s is unknown", c.name)
	}
	if root == "parameters" {
		return errors.New("transformer parameters are not supported")
	}
	for _, a := range c.args {
		if a.call != nil && len(a.call.name) > 0 {
			if err := a.call.known(w); err != nil {
				return err
			}
		}
	}
	for _, a := range c.named {
		if a.call != nil {
			if err := a.call.known(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// render fills the template in.
func (t *template) render(s *scope) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.call == nil {
			b.WriteString(p.text)
		} else {
			b.WriteString(s.value(p.call))
		}
		if b.Len() > MaxBody {
			break
		}
	}
	return b.String()
}

func (s *scope) arg(a arg) string {
	if a.call != nil {
		return s.value(a.call)
	}
	return a.text
}

// value is what a call comes to; "" for a part the request has not.
func (s *scope) value(c *call) string {
	arg := func(i int) string {
		if i < len(c.args) {
			return s.arg(c.args[i])
		}
		return ""
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(s.arg(c.named[name])); err == nil {
			return n
		}
		return otherwise
	}
	switch c.name {
	case "jsonPath":
		return selected([]byte(arg(0)), arg(1))
	case "upper":
		return strings.ToUpper(arg(0))
	case "lower":
		return strings.ToLower(arg(0))
	case "capitalize":
		text := arg(0)
		return strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
	case "trim":
		return strings.TrimSpace(arg(0))
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(arg(0)))
	case "urlEncode":
		return url.QueryEscape(arg(0))
	case "concat":
		var b strings.Builder
		for i := range c.args {
			b.WriteString(arg(i))
		}
		return b.String()
	case "add":
		x, _ := strconv.ParseFloat(arg(0), 64)
		y, _ := strconv.ParseFloat(arg(1), 64)
		return strconv.FormatFloat(x+y, 'f', -1, 64)
	case "now":
		return s.now().UTC().Format(time.RFC3339)
	case "randomUuid":
		return s.uuid()
	case "randomInt":
		return s.between(number("lower", 0), number("upper", 1<<31-1))
	case "randomInteger":
		return s.between(0, 1<<31-1)
	case "randomIntegerRange":
		x, _ := strconv.Atoi(arg(0))
		y, _ := strconv.Atoi(arg(1))
		return s.between(x, y)
	case "randomString":
		return s.letters(10, alphanumeric)
	case "randomStringLength":
		n, _ := strconv.Atoi(arg(0))
		return s.letters(n, alphanumeric)
	case "randomValue":
		switch kind := s.arg(c.named["type"]); kind {
		case "", "UUID":
			return s.uuid()
		case "NUMERIC":
			return s.letters(number("length", 36), "0123456789")
		case "ALPHABETIC":
			return s.letters(number("length", 36), alphanumeric[10:])
		case "HEXADECIMAL":
			return s.letters(number("length", 36), "0123456789abcdef")
		default:
			return s.letters(number("length", 36), alphanumeric)
		}
	}
	root, rest, _ := strings.Cut(c.name, ".")
	switch root {
	case "State":
		return s.states["hoverfly:"+rest]
	case "Request":
		return s.hoverfly(rest, c)
	}
	return s.wiremock(rest)
}

const alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyz"

// letters are n random ones, within reason.
func (s *scope) letters(n int, from string) string {
	b := make([]byte, min(max(n, 0), 10_000))
	for i := range b {
		b[i] = from[s.random(len(from))]
	}
	return string(b)
}

func (s *scope) between(low, high int) string {
	if high <= low || high-low <= 0 {
		return strconv.Itoa(low)
	}
	return strconv.Itoa(low + s.random(high-low))
}

// uuid is a random one, of version 4.
func (s *scope) uuid() string {
	h := []byte(s.letters(32, "0123456789abcdef"))
	h[12], h[16] = '4', "89ab"[s.random(4)]
	return string(h[:8]) + "-" + string(h[8:12]) + "-" + string(h[12:16]) + "-" + string(h[16:20]) + "-" + string(h[20:])
}

// selected is what a path selects of a JSON text.
func selected(doc []byte, text string) string {
	p, err := compilePath(text)
	v, ok := parseJSON(doc)
	if err != nil || !ok {
		return ""
	}
	found := p.find(v)
	switch {
	case p.many:
		return asText(append([]any{}, found...))
	case len(found) == 0:
		return ""
	}
	return asText(found[0])
}

// parts splits a.[b c].d.
func parts(name string) (all []string) {
	for name != "" {
		var word string
		if rest, ok := strings.CutPrefix(name, "["); ok {
			word, name, _ = strings.Cut(rest, "]")
			name = strings.TrimPrefix(name, ".")
		} else if i := strings.IndexAny(name, ".["); i >= 0 {
			word, name = name[:i], strings.TrimPrefix(name[i:], ".")
		} else {
			word, name = name, ""
		}
		all = append(all, word)
	}
	return all
}

// nth is the value whose number a word is; the first without one.
func nth(values []string, rest []string) string {
	i := 0
	if len(rest) > 0 {
		n, err := strconv.Atoi(rest[0])
		if err != nil {
			return ""
		}
		i = n
	}
	if i < 0 || i >= len(values) {
		return ""
	}
	return values[i]
}

func segments(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

// wiremock is a part of the request under WireMock's names.
func (s *scope) wiremock(name string) string {
	words, r := parts(name), s.request
	if len(words) == 0 {
		return ""
	}
	rest := words[1:]
	named := func(get func(string) []string) string {
		if len(rest) == 0 {
			return ""
		}
		return nth(get(rest[0]), rest[1:])
	}
	switch words[0] {
	case "method":
		return r.Method
	case "url":
		return r.target()
	case "path":
		if len(rest) == 0 {
			return r.RawPath
		}
		if v := inTemplate(s.shape, rest[0], r.RawPath); v != nil {
			if text, err := url.PathUnescape(v[0]); err == nil {
				return text
			}
		}
		return nth(segments(r.Path), rest)
	case "pathSegments":
		return nth(segments(r.Path), rest)
	case "query":
		return named(func(k string) []string { return r.Query[k] })
	case "headers":
		return named(func(k string) []string { return headerOf(k)(r) })
	case "cookies":
		return named(func(k string) []string { return cookieOf(k)(r) })
	case "formData":
		return named(func(k string) []string { return r.form()[k] })
	case "body":
		return string(r.Body)
	case "bodyAsBase64":
		return base64.StdEncoding.EncodeToString(r.Body)
	case "host":
		return hostname(r.Host)
	case "port":
		return strconv.Itoa(r.Port)
	case "scheme":
		return r.Scheme
	case "baseUrl":
		return r.Scheme + "://" + r.Host
	case "clientIp":
		return r.Remote
	}
	return ""
}

// hoverfly is a part of the request under Hoverfly's names.
func (s *scope) hoverfly(name string, c *call) string {
	words, r := parts(name), s.request
	if len(words) == 0 {
		return ""
	}
	rest := words[1:]
	switch words[0] {
	case "Method":
		return r.Method
	case "Scheme":
		return r.Scheme
	case "Host":
		return r.Host
	case "Path":
		if len(rest) > 0 {
			return nth(segments(r.Path), rest)
		}
		return r.Path
	case "QueryParam":
		if len(rest) > 0 {
			return nth(r.Query[rest[0]], rest[1:])
		}
	case "Header":
		if len(rest) > 0 {
			return nth(r.Header.Values(rest[0]), rest[1:])
		}
	case "FormData":
		if len(rest) > 0 {
			return nth(r.form()[rest[0]], rest[1:])
		}
	case "Body":
		if len(c.args) == 2 && s.arg(c.args[0]) == "jsonpath" {
			return selected(r.Body, s.arg(c.args[1]))
		}
		return string(r.Body)
	}
	return ""
}

func hostname(host string) string {
	u, err := url.Parse("http://" + host)
	if err != nil {
		return host
	}
	return u.Hostname()
}

// statusText is the reason of a status, when the stub gives none.
func statusText(code int) string {
	if t := http.StatusText(code); t != "" {
		return t
	}
	return "Status " + strconv.Itoa(code)
}
