package server

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// isForm reports whether a body is what a form of a page sends.
func isForm(r *http.Request) bool {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return media == "application/x-www-form-urlencoded"
}

// decode reads the body of an act into v, a pointer to a struct: JSON or, from
// pages, a form. What v has no place for is an error: a misspelt field that is silently
// left out would do something else than was meant.
func (r *request) decode(v any) error {
	if isForm(r.Request) {
		if r.API {
			return problem(http.StatusUnsupportedMediaType, "media", "send Content-Type: application/json", "the API takes JSON, not a form")
		}
		if err := r.ParseForm(); err != nil {
			return unreadable(err)
		}
		return decodeForm(r.PostForm, v)
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" && r.ContentLength != 0 {
		return problem(http.StatusUnsupportedMediaType, "media", "send Content-Type: application/json", "the body is not JSON")
	}
	return decodeJSON(r.Body, v)
}

// decodeJSON reads exactly one value; nothing at all stands for {}.
func decodeJSON(body io.Reader, v any) error {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return unreadable(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return unreadable(errors.New("there is more after the first value"))
	}
	return nil
}

func unreadable(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return problem(http.StatusBadRequest, "unreadable", "", "the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// frameFields are those that every form may have, for the frame.
var frameFields = map[string]bool{"csrf": true, "back": true}

// maxFields is how many values a form may have.
const maxFields = 1000

// decodeForm fills a struct by the JSON names of its fields. A field of a list
// comes several times, or one a line; one of a map as NAME.KEY; those of a struct, or of a
// list of structs, as NAME.FIELD.
func decodeForm(form url.Values, v any) error {
	n := 0
	for name, values := range form {
		if n += len(values); n > maxFields {
			return problem(http.StatusBadRequest, "unreadable", "", "the form has more than %d values", maxFields)
		}
		target := reflect.ValueOf(v).Elem()
		if err := setField(target, name, values); err != nil {
			if errors.Is(err, errNoField) && frameFields[name] {
				continue
			}
			return problem(http.StatusBadRequest, "unreadable", "", "the form's field %q: %s", name, err)
		}
	}
	return nil
}

var errNoField = errors.New("there is no such field")

// setField sets the field of a struct that has the name.
func setField(target reflect.Value, name string, values []string) error {
	head, rest, deep := strings.Cut(name, ".")
	f, ok := fieldNamed(target, head)
	if !ok {
		return errNoField
	}
	if !deep {
		return setValues(f, values)
	}
	switch {
	case f.Kind() == reflect.Map && f.Type().Key().Kind() == reflect.String && f.Type().Elem().Kind() == reflect.String:
		if f.IsNil() {
			f.Set(reflect.MakeMap(f.Type()))
		}
		f.SetMapIndex(reflect.ValueOf(rest).Convert(f.Type().Key()), reflect.ValueOf(values[len(values)-1]).Convert(f.Type().Elem()))
		return nil
	case f.Kind() == reflect.Struct:
		return setField(f, rest, values)
	case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
		for i, value := range values {
			if i == f.Len() {
				f.Set(reflect.Append(f, reflect.Zero(f.Type().Elem())))
			}
			if err := setField(f.Index(i), rest, []string{value}); err != nil {
				return err
			}
		}
		return nil
	}
	return errNoField
}

// fieldNamed finds a field by its JSON name, also in embedded structs.
func fieldNamed(target reflect.Value, name string) (reflect.Value, bool) {
	t := target.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("json") == "" {
			if v, ok := fieldNamed(target.Field(i), name); ok {
				return v, true
			}
			continue
		}
		if jsonName(f) == name {
			return target.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// jsonName is what encoding/json calls a field; "" when it does not.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case !f.IsExported() || name == "-":
		return ""
	case name == "":
		return f.Name
	}
	return name
}

func setValues(f reflect.Value, values []string) error {
	if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String {
		for _, value := range values {
			for line := range strings.Lines(value) {
				if line = strings.TrimSpace(line); line != "" {
					f.Set(reflect.Append(f, reflect.ValueOf(line).Convert(f.Type().Elem())))
				}
			}
		}
		return nil
	}
	// Of a checkbox and the hidden field before it the last counts.
	return setValue(f, values[len(values)-1])
}

func setValue(f reflect.Value, s string) error {
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		f = f.Elem()
	}
	if f.Type() == reflect.TypeFor[time.Duration]() {
		if s == "" {
			return nil
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a time like 5m or 24h", s)
		}
		f.SetInt(int64(d))
		return nil
	}
	if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if s == "" {
			return nil
		}
		return u.UnmarshalText([]byte(s))
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(strings.ReplaceAll(s, "\r\n", "\n"))
	case reflect.Bool:
		switch s {
		case "on", "true", "1":
			f.SetBool(true)
		case "", "off", "false", "0":
			f.SetBool(false)
		default:
			return fmt.Errorf("%q is neither yes nor no", s)
		}
	case reflect.Int, reflect.Int64:
		if s == "" {
			return nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || f.OverflowInt(n) {
			return fmt.Errorf("%q is not a number", s)
		}
		f.SetInt(n)
	default:
		return errNoField
	}
	return nil
}

// whole is a query parameter that is a number from 0.
func (r *request) whole(name string, otherwise, most int64) (int64, error) {
	given := r.URL.Query().Get(name)
	if given == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, problem(http.StatusBadRequest, "parameter", "", "%s=%q is not a number from 0 to %d", name, given, most)
	}
	return n, nil
}
