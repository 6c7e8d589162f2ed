package mock

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Contract is an OpenAPI document that requests and answers are held against.
type Contract struct {
	router   routers.Router
	prefixes []string // paths of its servers, the longest first, at last ""
	options  *openapi3filter.Options
}

// LoadContract reads an OpenAPI document of version 3. Other files that it
// refers to are read if they lie in its directory or below; nothing is fetched
// from elsewhere. The problems say what is wrong with the document.
func LoadContract(name string) (*Contract, []plan.Problem, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	l := &loader{}
	src, err := l.slurp(root, filepath.Base(name))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	load := openapi3.NewLoader()
	load.IsExternalRefsAllowed = true
	load.ReadFromURIFunc = func(_ *openapi3.Loader, location *url.URL) ([]byte, error) {
		if location.Scheme != "" && location.Scheme != "file" || location.Host != "" {
			return nil, fmt.Errorf("%s is not a file beside the document", location.Redacted())
		}
		rel, err := filepath.Rel(dir, filepath.FromSlash(location.Path))
		if err != nil {
			return nil, err
		}
		return l.slurp(root, rel)
	}
	c, err := contract(load, src, &url.URL{Path: filepath.ToSlash(filepath.Join(dir, filepath.Base(name)))})
	if err != nil {
		return nil, []plan.Problem{{
			Source: plan.Source{File: name}, Severity: plan.Error, Rule: rule, Message: "this is no OpenAPI document that can be used: " + plan.Clip(err.Error()),
			Hint: "correct the document; versions 3.0 and 3.1 are read",
		}}, nil
	}
	return c, nil, nil
}

func contract(load *openapi3.Loader, src []byte, at *url.URL) (c *Contract, err error) {
	doc, err := load.LoadFromDataWithPath(src, at)
	if err != nil {
		return nil, err
	}
	c = &Contract{options: &openapi3filter.Options{
		MultiError: true, IncludeResponseStatus: true, SkipSettingDefaults: true,
		// A mock knows nobody's credentials.
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
	}}
	for _, s := range doc.Servers {
		if base, err := s.BasePath(); err == nil {
			c.prefixes = append(c.prefixes, strings.TrimSuffix(base, "/"))
		}
	}
	c.prefixes = append(c.prefixes, "")
	slices.SortFunc(c.prefixes, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	c.prefixes = slices.Compact(c.prefixes)
	doc.Servers = nil // whatever its address was, it is ours now
	c.router, err = legacy.NewRouter(doc, openapi3.DisableExamplesValidation())
	return c, err
}

// operation is what the document says of one request.
type operation struct {
	input *openapi3filter.RequestValidationInput
	about *openapi3.Operation
	c     *Contract
}

// request finds the operation of a request; nil when the document has none. The
// violations are what it forbids of the request.
func (c *Contract) request(ctx context.Context, r *http.Request, q *Request) (*operation, []string) {
	var why error
	for _, prefix := range c.prefixes {
		rest, ok := strings.CutPrefix(r.URL.Path, prefix)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		asked := r.Clone(ctx)
		asked.URL.Path, asked.URL.RawPath = cmp.Or(rest, "/"), ""
		asked.Body = io.NopCloser(bytes.NewReader(q.Body))
		asked.ContentLength = int64(len(q.Body))
		route, params, err := c.router.FindRoute(asked)
		if err != nil {
			why = cmp.Or(why, err)
			continue
		}
		o := &operation{c: c, about: route.Operation, input: &openapi3filter.RequestValidationInput{
			Request: asked, PathParams: params, Route: route, QueryParams: asked.URL.Query(), Options: c.options,
		}}
		return o, violations("request", openapi3filter.ValidateRequest(ctx, o.input))
	}
	return nil, violations("request", cmp.Or(why, errors.New("the document has no such path")))
}

// response says what the document forbids of an answer.
func (o *operation) response(ctx context.Context, status int, header []pair, body []byte) []string {
	h := http.Header{}
	for _, p := range header {
		h.Add(p.name, p.value)
	}
	return violations("answer", openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: o.input, Status: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), Options: o.c.options,
	}))
}

// violations are the lines of an error, without the parts of the document that
// it repeats.
func violations(of string, err error) (lines []string) {
	if err == nil {
		return nil
	}
	var many openapi3.MultiError
	if errors.As(err, &many) && len(many) > 0 && sameError(err, many) {
		for _, one := range many {
			lines = append(lines, violations(of, one)...)
		}
		return lines[:min(len(lines), 20)]
	}
	text := err.Error()
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		before, _, _ := strings.Cut(text, schema.Error())
		text = before + schema.Reason
		if p := schema.JSONPointer(); len(p) > 0 {
			text += " at /" + strings.Join(p, "/")
		}
	}
	text, _, _ = strings.Cut(text, "\nSchema:")
	return []string{of + ": " + plan.Clip(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))}
}

// sameError reports whether err is the list itself and not one that wraps it.
func sameError(err error, many openapi3.MultiError) bool {
	_, ok := err.(openapi3.MultiError)
	return ok && len(many) > 0
}

// example makes an answer of what the document gives for examples, or of its
// schemas. The request may wish for one: Prefer: code=404, example=empty.
func (o *operation) example(r *http.Request) (a *response, why string) {
	wish := preferences(r.Header.Values("Prefer"))
	code, ref := o.pick(wish["code"])
	if ref == nil || ref.Value == nil {
		if wish["code"] != "" {
			return nil, "the document has no answer with the code " + plan.Clip(wish["code"])
		}
		return nil, "the document has no answers"
	}
	a = &response{status: code}
	for _, name := range slices.Sorted(maps.Keys(ref.Value.Headers)) {
		if h := ref.Value.Headers[name]; h.Value != nil && h.Value.Required {
			v := h.Value.Example
			if v == nil && h.Value.Schema != nil {
				v = specimen(h.Value.Schema.Value, 0)
			}
			a.header = append(a.header, pair{name: name, value: asText(v)})
		}
	}
	kind, media := accepted(ref.Value.Content, r.Header.Get("Accept"))
	if media == nil {
		return a, ""
	}
	value := media.Example
	names := slices.Sorted(maps.Keys(media.Examples))
	if name := wish["example"]; name != "" {
		if !slices.Contains(names, name) {
			return nil, "the document has no example " + plan.Clip(name)
		}
		names = []string{name}
	}
	if (value == nil || wish["example"] != "") && len(names) > 0 && media.Examples[names[0]].Value != nil {
		value = media.Examples[names[0]].Value.Value
	}
	if value == nil && media.Schema != nil {
		value = specimen(media.Schema.Value, 0)
	}
	a.header = append(a.header, pair{name: "Content-Type", value: kind})
	if text, ok := value.(string); ok && !strings.Contains(kind, "json") {
		a.body = []byte(text)
	} else if b, err := json.Marshal(value); err == nil {
		a.body = b
	}
	return a, ""
}

// pick is the answer wished for, or the first good one.
func (o *operation) pick(wish string) (int, *openapi3.ResponseRef) {
	all := o.about.Responses.Map()
	code := func(key string) int {
		n, err := strconv.Atoi(strings.ReplaceAll(strings.ToUpper(key), "XX", "00"))
		if err != nil {
			return http.StatusOK
		}
		return n
	}
	if wish != "" {
		n, _ := strconv.Atoi(wish)
		return n, o.about.Responses.Status(n)
	}
	keys := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		good := func(k string) int {
			switch {
			case strings.HasPrefix(k, "2"):
				return 0
			case k == "default":
				return 1
			}
			return 2
		}
		return cmp.Or(cmp.Compare(good(a), good(b)), cmp.Compare(a, b))
	})
	if len(keys) == 0 {
		return 0, nil
	}
	return code(keys[0]), all[keys[0]]
}

// preferences reads Prefer: code=404, example=empty.
func preferences(values []string) map[string]string {
	all := map[string]string{}
	for _, v := range values {
		for _, p := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
			k, v, _ := strings.Cut(p, "=")
			all[strings.ToLower(k)] = strings.Trim(v, `"`)
		}
	}
	return all
}

// accepted is the kind of content that the client takes, JSON before others.
func accepted(content openapi3.Content, accept string) (string, *openapi3.MediaType) {
	kinds := slices.SortedFunc(maps.Keys(content), func(a, b string) int {
		json := func(k string) int {
			if strings.Contains(k, "json") {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(json(a), json(b)), cmp.Compare(a, b))
	})
	for _, want := range strings.Split(accept, ",") {
		want, _, _ = strings.Cut(strings.TrimSpace(want), ";")
		family, _ := strings.CutSuffix(want, "*")
		for _, k := range kinds {
			if want == k || family != want && strings.HasPrefix(k, family) && want != "*/*" {
				return k, content[k]
			}
		}
	}
	if len(kinds) == 0 {
		return "", nil
	}
	return kinds[0], content[kinds[0]]
}

// specimen is a value that a schema allows, as far as it is simple.
func specimen(s *openapi3.Schema, depth int) any {
	if s == nil || depth > 8 {
		return nil
	}
	switch {
	case s.Example != nil:
		return s.Example
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Const != nil:
		return s.Const
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	for _, some := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf} {
		if len(some) > 0 {
			return specimen(some[0].Value, depth+1)
		}
	}
	if len(s.AllOf) > 0 {
		all := map[string]any{}
		for _, ref := range s.AllOf {
			if m, ok := specimen(ref.Value, depth+1).(map[string]any); ok {
				maps.Copy(all, m)
			}
		}
		maps.Copy(all, members(s, depth))
		return all
	}
	switch {
	case s.Type.Includes("object") || s.Type == nil && len(s.Properties) > 0:
		return members(s, depth)
	case s.Type.Includes("array"):
		if s.Items == nil {
			return []any{}
		}
		var list []any
		for range max(1, min(s.MinItems, 10)) {
			list = append(list, specimen(s.Items.Value, depth+1))
		}
		return list
	case s.Type.Includes("string"):
		return sampleText(s)
	case s.Type.Includes("integer"), s.Type.Includes("number"):
		if s.Min != nil {
			return *s.Min
		}
		return 0
	case s.Type.Includes("boolean"):
		return true
	}
	return nil
}

func members(s *openapi3.Schema, depth int) map[string]any {
	all := map[string]any{}
	for name, p := range s.Properties {
		if p.Value == nil || p.Value.WriteOnly {
			continue
		}
		if v := specimen(p.Value, depth+1); v != nil || slices.Contains(s.Required, name) {
			all[name] = v
		}
	}
	return all
}

func sampleText(s *openapi3.Schema) string {
	switch s.Format {
	case "date":
		return "2026-01-01"
	case "date-time":
		return "2026-01-01T00:00:00Z"
	case "uuid":
		return "00000000-0000-4000-8000-000000000000"
	case "email":
		return "somebody@example.com"
	case "uri", "url":
		return "https://example.com/"
	case "ipv4":
		return "192.0.2.1"
	case "byte":
		return "dGV4dA=="
	}
	text := "text"
	for uint64(len(text)) < min(s.MinLength, 1000) {
		text += "text"
	}
	if s.MaxLength != nil {
		text = text[:min(uint64(len(text)), *s.MaxLength)]
	}
	return text
}
