package harvest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// maxValue is how many bytes of a JSON report are held at once: the part of it
// that is one file's tests, or one test, as the format has it.
const maxValue = 64 << 20

// jsonReader walks through a JSON report of any size. It holds only those of
// its values that are asked for, one after another.
type jsonReader struct {
	d    *json.Decoder
	t    *tally
	src  *jsonSource
	want map[string]func(d *json.Decoder) error
	any  map[string]bool // ways to objects of which every key is wanted
}

// walkJSON reads a report in which the ways that are wanted lead to values:
// "results.tests[]" is each element of a list, "result.*" the value of each key. What is called decodes the
// value. Where the report is spoilt it ends, and says so.
func walkJSON(in *input, t *tally, want map[string]func(d *json.Decoder) error) error {
	src := &jsonSource{r: in, before: in.before}
	j := &jsonReader{d: json.NewDecoder(src), t: t, src: src, want: want, any: map[string]bool{}}
	for way := range want {
		if before, _, ok := strings.Cut(way, ".*"); ok {
			j.any[before] = true
		}
	}
	err := j.value("", 0)
	switch {
	case t.err != nil:
		return errStop
	case err == nil:
		if _, err := j.d.Token(); err != io.EOF {
			t.warn(src.line(j.d.InputOffset()), "something follows the report's end")
		}
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		t.warn(src.line(src.read), "the file ends in the middle")
		return nil
	}
	at := j.d.InputOffset()
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = s.Offset
	}
	return fmt.Errorf("line %d: %w", src.line(at), err)
}

func (j *jsonReader) value(way string, depth int) error {
	j.src.mark(j.d.InputOffset())
	if read := j.want[way]; read != nil {
		err := read(j.d)
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			j.t.warn(j.src.line(j.d.InputOffset()), "%s is a %s", wrong.Field, wrong.Value)
			return nil
		}
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("values are nested deeper than %d", maxDepth)
	}
	t, err := j.d.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		for j.d.More() {
			key, err := j.d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if way != "" {
				name = way + "." + name
			}
			if j.any[way] {
				name = way + ".*"
			}
			if err := j.value(name, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for j.d.More() {
			if err := j.value(way+"[]", depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = j.d.Token()
	return err
}

// jsonSource is what a decoder reads from. It knows the lines of the part that
// is being read, and how large that part may be.
type jsonSource struct {
	r      io.Reader
	read   int64   // bytes, so far
	since  int64   // where the value that is being read began
	before int     // ends of line before that
	lines  []int64 // where those are that come after it
}

func (s *jsonSource) Read(p []byte) (int, error) {
	if s.read-s.since > maxValue {
		return 0, fmt.Errorf("a value is larger than %d bytes", maxValue)
	}
	n, err := s.r.Read(p)
	for at := 0; at < n; at++ {
		end := bytes.IndexByte(p[at:n], '\n')
		if end < 0 {
			break
		}
		at += end
		s.lines = append(s.lines, s.read+int64(at))
	}
	s.read += int64(n)
	return n, err
}

// mark says that a value begins.
func (s *jsonSource) mark(at int64) {
	s.since = at
	const many = 10_000
	if len(s.lines) > many {
		n, _ := slices.BinarySearch(s.lines, at)
		s.before += n
		s.lines = append(s.lines[:0], s.lines[n:]...)
	}
}

// line is the line of a place, from 1.
func (s *jsonSource) line(at int64) int {
	n, _ := slices.BinarySearch(s.lines, at)
	return s.before + n + 1
}

// each decodes a value and gives it on.
func each[T any](with func(*T) error) func(*json.Decoder) error {
	return func(d *json.Decoder) error {
		v := new(T)
		err := d.Decode(v)
		if err != nil {
			if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
				return err
			}
		}
		return errors.Join(with(v), err)
	}
}

// readEvents reads a report that is a JSON value a line. Lines that are none
// are passed over: tools print between their events.
func readEvents[T any](in *input, t *tally, with func(*T) error) error {
	return in.lines(t, func(n int, line []byte) error {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] != '{' {
			return nil
		}
		v := new(T)
		if err := json.Unmarshal(line, v); err != nil {
			if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
				t.warn(n, "it is no whole event: %v", err)
				return nil
			}
		}
		return with(v)
	})
}

// anyText is a string, or something else that is shown as text.
type anyText string

func (a *anyText) UnmarshalJSON(data []byte) error {
	var s string
	switch {
	case len(data) > 0 && data[0] == '"':
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
	case string(data) != "null":
		s = string(data)
	}
	*a = anyText(s)
	return nil
}

// anyTexts is a list of texts, or a single one.
type anyTexts []string

func (a *anyTexts) UnmarshalJSON(data []byte) error {
	var list []anyText
	if len(data) > 0 && data[0] == '[' {
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
	} else {
		var one anyText
		if err := one.UnmarshalJSON(data); err != nil {
			return err
		}
		if one != "" {
			list = []anyText{one}
		}
	}
	for _, s := range list {
		*a = append(*a, string(s))
	}
	return nil
}

// anyNumber is a number, or a string that is one, or else 0.
type anyNumber float64

func (a *anyNumber) UnmarshalJSON(data []byte) error {
	f, _ := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	*a = anyNumber(f)
	return nil
}

// millis is a number of milliseconds in seconds.
func (a anyNumber) millis() float64 { return float64(a) / 1e3 }
