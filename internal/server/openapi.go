package server

import (
	"bytes"
	"encoding"
	"encoding/json"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// The document of the API is made from the table of routes: paths, parameters and
// verbs from the rows, schemas from the Go types that they take and answer. It
// cannot say anything else than the code does.

// document is a part of an OpenAPI document. JSON writes its keys sorted.
type document = map[string]any

// openAPI sends the document.
func (s *Server) openAPI(w http.ResponseWriter, _ *request) error {
	text, err := s.described()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(text) // whoever asked may be gone
	return nil
}

// describer makes the document of some rows when it is first asked for.
func describer(rows []route) func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err := enc.Encode(describe(rows))
		return buf.Bytes(), err
	})
}

// describe makes the document. It does not name the version of the server: the
// same API has the same document.
func describe(rows []route) document {
	sch := &schemas{named: document{}, types: map[string]reflect.Type{}}
	paths := document{}
	for _, a := range addresses(rows) {
		if !a.API || a.Row.Says == "" || a.Row.Faces == rootOnly {
			continue
		}
		name, params := pathOf(strings.TrimPrefix(a.Pattern, apiRoot))
		item, _ := paths[name].(document)
		if item == nil {
			item = document{}
			paths[name] = item
		}
		item[strings.ToLower(a.Method)] = operation(a.Row, name, params, sch)
	}
	return document{
		"openapi": "3.0.3",
		"info": document{
			"title":       "Fairlead",
			"version":     "1",
			"description": "The API of a Fairlead server. Whatever its pages show and do is here. Errors are {\"error\": {code, message, hint}}. Lines of logs count from 1, durations are seconds, times are UTC.",
		},
		"servers":  []any{document{"url": apiRoot}},
		"security": []any{document{"token": []any{}}, document{"session": []any{}}},
		"paths":    paths,
		"components": document{
			"schemas": sch.named,
			"securitySchemes": document{
				"token":   document{"type": "http", "scheme": "bearer", "description": "a token from the page Tokens"},
				"session": document{"type": "apiKey", "in": "cookie", "name": "fairlead-session", "description": "a browser's; acts take the header X-CSRF-Token, too"},
			},
			"responses": document{"problem": document{
				"description": "It was not done, and why.",
				"content":     document{"application/json": document{"schema": sch.of(reflect.TypeFor[failed]())}},
			}},
		},
	}
}

// pathOf writes a pattern as OpenAPI does, and lists its parameters.
func pathOf(pattern string) (name string, params []any) {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if !strings.HasPrefix(part, "{") {
			continue
		}
		param, rest := strings.CutSuffix(strings.Trim(part, "{}"), "...")
		p := document{"name": param, "in": "path", "required": true, "schema": document{"type": "string"}}
		if rest {
			p["description"] = "It may hold slashes, which are written as they are."
		}
		params, parts[i] = append(params, p), "{"+param+"}"
	}
	return strings.Join(parts, "/"), params
}

// operation describes a row.
func operation(row *route, name string, params []any, sch *schemas) document {
	for _, q := range row.Query {
		kind := q.Kind
		if kind == "" {
			kind = "string"
		}
		schema := document{"type": kind}
		p := document{"name": q.Name, "in": "query", "description": q.Says, "schema": schema}
		if q.Many {
			p["schema"], p["explode"] = document{"type": "array", "items": schema}, true
		}
		params = append(params, p)
	}
	status := row.Status
	if status == 0 {
		status = http.StatusOK
	}
	answer := document{"description": "Done."}
	switch {
	case row.Do.out == reflect.TypeFor[nothing]():
		status = http.StatusNoContent
	case row.Do.out != nil:
		answer["description"] = "The answer."
		answer["content"] = document{"application/json": document{"schema": sch.of(row.Do.out)}}
	case row.Media != "":
		answer["description"] = "The answer."
		answer["content"] = document{row.Media: document{"schema": mediaSchema(row.Media)}}
	}
	op := document{
		"operationId": operationID(row.Method, name),
		"summary":     row.Says,
		"tags":        []any{strings.Split(name, "/")[1]},
		"responses":   document{strconv.Itoa(status): answer, "default": document{"$ref": "#/components/responses/problem"}},
	}
	if row.Verb != "" {
		op["x-verb"] = string(row.Verb)
		op["description"] = "Takes the right `" + string(row.Verb) + "`."
	} else {
		op["security"] = []any{document{}}
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if in := row.Do.in; in != nil && in != reflect.TypeFor[nothing]() {
		op["requestBody"] = document{"required": true, "content": document{"application/json": document{"schema": sch.of(in)}}}
	} else if row.Do.stream != nil && row.Method != http.MethodGet {
		op["requestBody"] = document{"required": true, "content": document{"application/octet-stream": document{"schema": document{"type": "string", "format": "binary"}}}}
	}
	return op
}

func mediaSchema(media string) document {
	switch media {
	case "application/json":
		return document{"type": "object"}
	case "application/octet-stream":
		return document{"type": "string", "format": "binary"}
	}
	return document{"type": "string"}
}

// operationID is the name of an operation for generated clients: getRunsRunLogJob.
func operationID(method, name string) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(method))
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		b.WriteString(capital(word))
	}
	return b.String()
}

func capital(word string) string {
	r, n := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(r)) + word[n:]
}

// schemas makes schemas of Go types as encoding/json writes them. Structs get a
// name.
type schemas struct {
	named document
	types map[string]reflect.Type
}

func (s *schemas) of(t reflect.Type) document {
	switch t {
	case reflect.TypeFor[time.Time]():
		return document{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return document{}
	case reflect.TypeFor[time.Duration]():
		return document{"type": "integer", "format": "int64", "description": "nanoseconds"}
	}
	if t.Kind() != reflect.Pointer && (t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]())) {
		return document{}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return document{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return document{"type": "string"}
	case reflect.Bool:
		return document{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return document{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return document{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return document{"type": "string", "format": "byte"}
		}
		return document{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return document{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return document{"$ref": "#/components/schemas/" + s.name(t)}
	}
	return document{} // any
}

// name names a struct's schema, and makes it when it is first asked for.
func (s *schemas) name(t reflect.Type) string {
	name := capital(t.Name())
	if other, taken := s.types[name]; taken && other != t {
		name = capital(path.Base(t.PkgPath())) + name
	}
	if _, known := s.types[name]; known {
		return name
	}
	s.types[name] = t
	properties, required := document{}, []string{}
	s.fields(t, properties, &required)
	schema := document{"type": "object", "properties": properties}
	if len(required) > 0 {
		slices.Sort(required)
		schema["required"] = required
	}
	s.named[name] = schema
	return name
}

func (s *schemas) fields(t reflect.Type, properties document, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if embedded.Kind() == reflect.Struct {
				s.fields(embedded, properties, required)
			}
			continue
		}
		name := jsonName(f)
		if name == "" {
			continue
		}
		schema := s.of(f.Type)
		_, options, _ := strings.Cut(tag, ",")
		if strings.Contains(options, "omit") {
			properties[name] = schema
			continue
		}
		*required = append(*required, name)
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
			if _, ref := schema["$ref"]; ref {
				schema = document{"allOf": []any{schema}}
			}
			schema["nullable"] = true
		}
		properties[name] = schema
	}
}
