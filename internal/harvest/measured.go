package harvest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// maxPiece is the largest part of a report that is held in memory: a value of
// JSON, a row of a table.
const maxPiece = 64 << 20

// Kind is what a report is of.
type Kind string

// The kinds of reports, each with the function that reads it.
const (
	KindTests    Kind = "tests"    // [Read]
	KindCoverage Kind = "coverage" // [Cover]
	KindLoad     Kind = "load"     // [Load]
	KindFindings Kind = "findings" // [Findings]
)

// KindOf says what a file that begins like this reports, and in which format;
// "" when it is no report that is known. The head is the first 32 KiB, or the
// whole file: of less, some formats are not seen.
func KindOf(head []byte, name string) (kind Kind, format string) {
	return newInput(bytes.NewReader(head), name).kind()
}

// kind holds a report against all tables. What is peculiar comes first: the
// formats of tests take more for theirs than the others.
func (in *input) kind() (Kind, string) {
	if f := in.coverFormat(); f != nil {
		return KindCoverage, f.name
	}
	if in.isSARIF() {
		return KindFindings, "sarif"
	}
	if f := in.loadFormat(); f != nil && f.name != "go-bench" {
		return KindLoad, f.name
	}
	if f := in.format(); f != nil {
		return KindTests, f.name
	}
	if f := in.loadFormat(); f != nil { // benchmarks, without the tests that they are run with
		return KindLoad, f.name
	}
	return "", ""
}

// measuredNames is how reports of coverage, load tests and findings are
// called, in lower case: what [Finder] looks for besides reports of tests.
var measuredNames = sync.OnceValue(func() (names []string) {
	for n := range coverFormats {
		names = append(names, coverFormats[n].files...)
	}
	for n := range loadFormats {
		names = append(names, loadFormats[n].files...)
	}
	names = append(names, sarifFiles...)
	slices.Sort(names)
	return slices.Compact(names)
})

// measured is a report of coverage, load or findings while it is read. Such
// reports are told apart as those of tests are, and read as streams too.
type measured struct {
	*input
	warnings
	number int64 // of the line read last, in formats that are made of lines
}

func newMeasured(r io.Reader, name string) measured {
	m := measured{input: newInput(r, name)}
	if m.foreign {
		m.warn(1, "its encoding is not known here: signs beyond ASCII are lost")
	}
	return m
}

// line is the next line without its end; of what is longer than the buffer
// the beginning. It is good until the next call.
func (m *measured) line() ([]byte, error) {
	line, err := m.ReadSlice('\n')
	switch {
	case err == nil:
		line = line[:len(line)-1]
	case errors.Is(err, bufio.ErrBufferFull):
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = m.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	case errors.Is(err, io.EOF) && len(line) > 0:
	default:
		return nil, err
	}
	m.number++
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// beginning is the first lines of a report that are not empty.
func (s *sniff) beginning(n int) []string {
	var lines []string
	for l := range strings.Lines(s.text) {
		if len(lines) == n {
			break
		}
		if l = strings.TrimRight(l, "\r\n"); strings.TrimSpace(l) != "" {
			lines = append(lines, l)
		}
	}
	return lines
}

// holds says whether one of these elements is in the beginning.
func (s *sniff) holds(elements ...string) bool {
	return slices.ContainsFunc(elements, func(name string) bool { return s.elems[name] })
}

// key says whether it is JSON in whose beginning all of these are keys,
// wherever they stand: the names of files may be keys on the way to them.
func (s *sniff) key(names ...string) bool {
	if s.keys == nil {
		return false
	}
	for _, name := range names {
		_, rest, ok := strings.Cut(s.text, `"`+name+`"`)
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), ":") {
			return false
		}
	}
	return true
}

// unread says why a report is in no format of its kind.
func (m *measured) unread(kind string) error {
	switch _, err := m.Peek(1); {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case err != nil:
		return err
	}
	return fmt.Errorf("it is no %s that is known here", kind)
}

// warnings are what was wrong with a report that was read all the same.
type warnings struct {
	list []string
	more int
}

// warn notes what is wrong at a line; at line 0, of none in particular.
func (w *warnings) warn(line int64, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	w.salvage(text)
}

func (w *warnings) salvage(text string) {
	if len(w.list) >= maxSalvaged {
		w.more++
		return
	}
	w.list = append(w.list, clip(text, maxName))
}

// salvaged is all of it, for the record.
func (w *warnings) salvaged() []string {
	if w.more > 0 {
		return append(slices.Clip(w.list), fmt.Sprintf("and %d more", w.more))
	}
	return w.list
}

// element is an XML element that begins. Its attributes are good until the
// next one.
type element struct {
	name  string
	attrs []xmlAttr
	line  int64
}

// str is an attribute, "" if the element has none of that name.
func (e element) str(name string) string {
	for i := range e.attrs {
		if e.attrs[i].name == name {
			return e.attrs[i].value
		}
	}
	return ""
}

// has says whether the element has an attribute.
func (e element) has(name string) bool {
	return slices.ContainsFunc(e.attrs, func(a xmlAttr) bool { return a.name == name })
}

// num is an attribute as a whole number, 0 if it is none.
func (e element) num(name string) int64 { return whole(e.str(name)) }

// elements calls begin for each element of an XML report, and end with the
// text that stands directly before its end. A report that ends early is one
// whose elements all end there; an end of nothing is passed over.
func (m *measured) elements(begin func(element) error, end func(name, text string) error) error {
	x := newXMLScanner(m.Reader)
	var open []string
	var text []byte
	for {
		kind, err := x.next()
		if err != nil {
			return fmt.Errorf("line %d: %w", x.line(), err)
		}
		switch kind {
		case xmlStart:
			if len(open) >= maxDepth {
				return fmt.Errorf("line %d: elements are nested deeper than %d", x.line(), maxDepth)
			}
			open, text = append(open, x.name), text[:0]
			if err := begin(element{x.name, x.attrs, int64(x.line())}); err != nil {
				return err
			}
		case xmlEnd:
			at := len(open) - 1
			for at >= 0 && open[at] != x.name {
				at--
			}
			if at < 0 {
				m.warn(int64(x.line()), "</%s> ends nothing", x.name)
				continue
			}
			if at < len(open)-1 {
				m.warn(int64(x.line()), "</%s> comes before the end of <%s>", x.name, open[len(open)-1])
			}
			for n := len(open) - 1; n >= at; n-- {
				if err := end(open[n], string(bytes.TrimSpace(text))); err != nil {
					return err
				}
				text = text[:0]
			}
			open = open[:at]
		case xmlChars:
			if room := maxText - len(text); room > 0 {
				text = append(text, x.text[:min(len(x.text), room)]...)
			}
		case xmlCut, xmlEOF:
			if len(open) > 0 {
				m.warn(int64(x.line()), "the file ends in the middle of <%s>", open[len(open)-1])
			} else if kind == xmlCut {
				m.warn(int64(x.line()), "the file ends in the middle of a tag")
			}
			for n := len(open) - 1; n >= 0; n-- {
				if err := end(open[n], string(bytes.TrimSpace(text))); err != nil {
					return err
				}
				text = text[:0]
			}
			return nil
		}
	}
}

// nothing is what an element's end is to a reader that does not need it.
func nothing(string, string) error { return nil }

// jsonStream reads JSON without holding more than one value that was asked
// for. It differs from walkJSON in that the names of the values that are asked
// for need not be known: they are paths of files.
type jsonStream struct {
	*pieces
	dec *json.Decoder
}

func (m *measured) json() *jsonStream {
	p := &pieces{r: m.Reader}
	return &jsonStream{p, json.NewDecoder(p)}
}

// pieces limits how much is read between two calls of next, for a decoder that
// would hold a part of a report whole however large it is.
type pieces struct {
	r        io.Reader
	left     int64
	newlines int64 // in what was read
}

func (p *pieces) next() { p.left = maxPiece }

func (p *pieces) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, fmt.Errorf("one of its parts is larger than %d MiB", maxPiece>>20)
	}
	n, err := p.r.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	p.newlines += int64(bytes.Count(b[:n], []byte{'\n'}))
	return n, err
}

// at is the line that was read last.
func (j *jsonStream) at() int64 {
	rest, _ := io.ReadAll(j.dec.Buffered()) // of memory
	return j.newlines - int64(bytes.Count(rest, []byte{'\n'})) + 1
}

// fail is an error with its line.
func (j *jsonStream) fail(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("line %d: it ends in the middle", j.newlines+1)
	}
	return fmt.Errorf("line %d: %w", j.at(), err)
}

// token is the next piece of punctuation, string or number.
func (j *jsonStream) token() (json.Token, error) {
	j.next()
	t, err := j.dec.Token()
	if err != nil {
		return nil, j.fail(err)
	}
	return t, nil
}

// object calls each for each key of the object that comes next, which must
// take the value. Anything but an object is passed over.
func (j *jsonStream) object(each func(key string) error) error {
	return j.inside('{', func() error {
		t, err := j.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		return each(key)
	})
}

// array is object for arrays.
func (j *jsonStream) array(each func() error) error { return j.inside('[', each) }

func (j *jsonStream) inside(open json.Delim, each func() error) error {
	t, err := j.token()
	if err != nil {
		return err
	}
	if t != open {
		return j.rest(t)
	}
	for j.dec.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = j.token()
	return err
}

// skip passes over the next value, however large.
func (j *jsonStream) skip() error {
	t, err := j.token()
	if err != nil {
		return err
	}
	return j.rest(t)
}

// rest passes over what is left of the value that began with a token.
func (j *jsonStream) rest(t json.Token) error {
	depth := 0
	for {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return nil
		}
		var err error
		if t, err = j.token(); err != nil {
			return err
		}
	}
}

// value reads the next value. One that is of another shape than expected is
// read as far as it fits, and the first result says what did not.
func (j *jsonStream) value(into any) (odd string, err error) {
	j.next()
	err = j.dec.Decode(into)
	var shape *json.UnmarshalTypeError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &shape):
		return fmt.Sprintf("%s is a %s", cmp.Or(shape.Field, "a value"), shape.Value), nil
	}
	return "", j.fail(err)
}
