package harvest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	// maxReport is the size of the largest report that is read.
	maxReport = 8 << 30
	// maxHead is how much of a report is looked at to tell its format.
	maxHead = 32 << 10
	// maxPreamble is how many lines of other text may stand before a report.
	maxPreamble = 50
	// maxLine is how long a line may be, in formats that are made of lines.
	maxLine = 8 << 20
)

// input is a report that is to be read: UTF-8, without control characters.
type input struct {
	*bufio.Reader
	name    string // of the report
	foreign bool   // its encoding is not known: what is not ASCII is "?"
	head    sniff
	before  int // lines of other text that stood before it
}

// newInput is a report of at most maxReport bytes.
func newInput(r io.Reader, name string) *input { return limitedInput(r, name, maxReport) }

func limitedInput(r io.Reader, name string, most int64) *input {
	size := &io.LimitedReader{R: r, N: most + 1}
	in := &input{name: name}
	text, known := newCleanText(size)
	in.foreign = !known
	in.Reader = bufio.NewReaderSize(&overflow{r: text, size: size, most: most}, maxHead)
	head, _ := in.Peek(maxHead) // what there is; errors come again
	in.head = newSniff(name, head)
	return in
}

// overflow makes the end that a limit sets an error.
type overflow struct {
	r    io.Reader
	size *io.LimitedReader
	most int64
}

func (o *overflow) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if err == io.EOF && o.size.N <= 0 {
		err = fmt.Errorf("it is larger than %d bytes", o.most)
	}
	return n, err
}

// format is the first of the formats that the report is in; nil for none. What
// a script printed before the report is passed.
func (in *input) format() *format {
	if f := in.head.format(); f != nil {
		return f
	}
	if in.head.root != "" || in.head.values > 0 || len(in.head.keys) > 1 {
		return nil
	}
	text := in.head.text
	for at, line := 0, 1; line <= maxPreamble; line++ {
		n := strings.IndexByte(text[at:], '\n')
		if n < 0 {
			return nil
		}
		at += n + 1
		rest := text[at:]
		if !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, "[") && !strings.HasPrefix(rest, "<") {
			continue
		}
		head := newSniff(in.name, []byte(rest))
		if f := head.format(); f != nil {
			in.head, in.before = head, line
			_, _ = in.Discard(at) // it was peeked at
			return f
		}
	}
	return nil
}

// format is the first of the formats that the head of a report is in.
func (s *sniff) format() *format {
	for n := range formats {
		if f := &formats[n]; f.is(s) {
			return f
		}
	}
	return nil
}

// unknown says why a report is in no format.
func (in *input) unknown() error {
	if _, err := in.Peek(1); err == io.EOF {
		return errors.New("it is empty")
	} else if err != nil {
		return err
	}
	switch h := &in.head; {
	case h.root != "":
		return fmt.Errorf("it is no test report that is known here: its first element is <%s>", clip(h.root, 50))
	case len(h.keys) > 0:
		return errors.New("it is JSON, and no test report that is known here")
	}
	return errors.New("it is no test report that is known here")
}

// lines calls with each line, without its end, and its number. Of a line that
// is longer than maxLine the rest is left out, and said to be.
func (in *input) lines(t *tally, with func(n int, line []byte) error) error {
	var long []byte
	for n := in.before + 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			long = append(long[:0], line...)
			cut := false
			for err == bufio.ErrBufferFull {
				line, err = in.ReadSlice('\n')
				if len(long)+len(line) <= maxLine {
					long = append(long, line...)
				} else {
					cut = true
				}
			}
			if cut {
				t.warn(n, "the line is longer than %d bytes", maxLine)
			}
			line = long
		}
		if len(line) > 0 {
			if err := with(n, bytes.TrimRight(line, "\r\n")); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// sniff is what the beginning of a report shows.
type sniff struct {
	base string // the last part of the report's name
	text string
	// Of XML: the first element, its attributes, and the names of those that
	// come in the head.
	root  string
	attrs []xmlAttr
	elems map[string]bool
	// Of JSON: the ways to the values that begin in the head, "results.tests[].name",
	// and how many values stand beside each other.
	keys   map[string]bool
	values int
}

func newSniff(name string, head []byte) sniff {
	s := sniff{base: path.Base(strings.ReplaceAll(name, "\\", "/")), text: string(head)}
	switch begin := strings.TrimLeft(s.text, " \t\r\n"); {
	case strings.HasPrefix(begin, "<"):
		s.xml(begin)
	case strings.HasPrefix(begin, "{"), strings.HasPrefix(begin, "["):
		s.json(begin)
	}
	return s
}

func (s *sniff) xml(text string) {
	x := newXMLScanner(bufio.NewReader(strings.NewReader(text)))
	s.elems = map[string]bool{}
	for {
		kind, err := x.next()
		if err != nil || kind == xmlCut || kind == xmlEOF {
			return
		}
		if kind == xmlStart {
			if s.root == "" {
				s.root, s.attrs = x.name, slices.Clone(x.attrs)
			}
			s.elems[x.name] = true
		}
	}
}

// attr is the value of an attribute of the first element.
func (s *sniff) attr(name string) string {
	for _, a := range s.attrs {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

func (s *sniff) json(text string) {
	s.keys = map[string]bool{}
	d := json.NewDecoder(strings.NewReader(text))
	for s.values < 100 && s.value(d, "", 0) == nil {
		s.values++
	}
}

func (s *sniff) value(d *json.Decoder, way string, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	const deepest = 6
	if depth < deepest {
		s.keys[way] = true
	}
	switch t {
	case json.Delim('{'):
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if way != "" {
				name = way + "." + name
			}
			if err := s.value(d, name, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for d.More() {
			if err := s.value(d, way+"[]", depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token()
	return err
}

// has says whether all of the ways lead to a value.
func (s *sniff) has(ways ...string) bool {
	for _, way := range ways {
		if !s.keys[way] {
			return false
		}
	}
	return true
}
