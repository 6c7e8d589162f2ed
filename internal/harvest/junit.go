package harvest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxReport is the size of the largest report that is read.
	maxReport = 64 << 20
	// maxDepth is how deep elements may be nested.
	maxDepth = 100
	// maxDetail is how much of a failure's text is looked at.
	maxDetail = 16 << 10
)

// JUnit reads a report in the JUnit XML format. It has no standard; what is
// understood is what Ant, Surefire (with its rerun and flaky elements), pytest,
// jest-junit, gotestsum, googletest, nextest, PHPUnit, Bazel and their likes
// write: suites nested or not, with or without a root around them, several
// results in one case, results outside of any case.
//
// The counts are those of the cases themselves; what a suite's attributes
// claim counts only where there are no cases. The name is the report's, for
// the answer's Source.
func JUnit(r io.Reader, name string) (record.TestsReported, error) {
	return readJUnit(r, name, maxReport)
}

func readJUnit(r io.Reader, name string, limit int64) (record.TestsReported, error) {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	d := xml.NewDecoder(newXMLText(limited))
	// Real reports hold entities of HTML, and the like.
	d.Strict = false
	d.Entity = xml.HTMLEntity
	d.CharsetReader = charset
	j := junit{out: record.TestsReported{Source: name}}
	err := j.read(d)
	switch {
	case limited.N <= 0:
		err = fmt.Errorf("it is larger than %d bytes", limit)
	case err == nil && !j.root:
		err = errors.New("it is empty, or no XML")
	}
	if err != nil {
		return record.TestsReported{}, fmt.Errorf("read test report %s: %w", name, err)
	}
	j.out.Seconds = micros(j.out.Seconds)
	return j.out, nil
}

// junit is a report while it is read.
type junit struct {
	out    record.TestsReported
	root   bool
	depth  int
	suites []junitSuite
	cases  []junitCase // more than one only where cases are nested
	// The result element that is open: its depth, its text.
	result int
	text   []byte
}

type junitSuite struct {
	depth      int
	name, file string
	// Some tools write suites without cases: then the numbers that the suite
	// claims are all there is.
	bare    bool
	claimed record.TestsReported
}

type junitCase struct {
	depth   int
	result  record.TestResult
	message string // of the worst result so far
}

func (j *junit) read(d *xml.Decoder) error {
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			if j.depth > 0 {
				return fmt.Errorf("line %d: it ends in the middle", line(d))
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if j.depth++; j.depth > maxDepth {
				return fmt.Errorf("line %d: elements are nested deeper than %d", line(d), maxDepth)
			}
			if err := j.start(t); err != nil {
				return fmt.Errorf("line %d: %w", line(d), err)
			}
		case xml.EndElement:
			if j.depth == 0 {
				return fmt.Errorf("line %d: </%s> ends nothing", line(d), t.Name.Local)
			}
			j.end()
			j.depth--
		case xml.CharData:
			if j.result > 0 && len(j.text) < maxDetail {
				j.text = append(j.text, t[:min(len(t), maxDetail)]...)
			}
		}
	}
}

func line(d *xml.Decoder) int {
	l, _ := d.InputPos()
	return l
}

func (j *junit) start(t xml.StartElement) error {
	name := t.Name.Local
	if !j.root {
		if name != "testsuites" && name != "testsuite" && name != "testcase" && name != "testrun" {
			return fmt.Errorf("it is no JUnit report: its first element is <%s>", clip(name, 50))
		}
		j.root = true
	}
	switch name {
	case "testsuite":
		s := junitSuite{depth: j.depth, name: attr(t, "name"), file: attr(t, "file", "filepath"), bare: true, claimed: claims(t)}
		if n := len(j.suites); n > 0 {
			s.file = cmp.Or(s.file, j.suites[n-1].file)
			j.suites[n-1].bare = false
		}
		j.suites = append(j.suites, s)
	case "testcase":
		c := junitCase{depth: j.depth}
		c.result = record.TestResult{
			Suite: attr(t, "classname", "class"), Name: attr(t, "name"), Status: passed,
			Seconds: seconds(attr(t, "time", "duration")), File: attr(t, "file", "filepath"),
		}
		c.result.Line, _ = strconv.Atoi(attr(t, "line", "lineno"))
		if len(j.suites) > 0 {
			s := &j.suites[len(j.suites)-1]
			s.bare = false
			c.result.Suite, c.result.File = cmp.Or(c.result.Suite, s.name), cmp.Or(c.result.File, s.file)
		}
		for _, name := range []string{"status", "result"} {
			if slices.Contains(notRun, strings.ToLower(attr(t, name))) {
				c.result.Status = skipped
			}
		}
		j.cases = append(j.cases, c)
	case "failure", "error", "skipped", "disabled":
		// Only what stands directly in a case is its result; directly in a
		// suite it says that the suite itself broke.
		inCase := len(j.cases) > 0 && j.cases[len(j.cases)-1].depth == j.depth-1
		inSuite := len(j.cases) == 0 && len(j.suites) > 0 && j.suites[len(j.suites)-1].depth == j.depth-1
		if j.result > 0 || !inCase && !(inSuite && (name == "failure" || name == "error")) {
			return nil
		}
		if inSuite {
			s := &j.suites[len(j.suites)-1]
			s.bare = false
			j.cases = append(j.cases, junitCase{depth: j.depth, result: record.TestResult{
				Suite: s.name, Name: s.name, Status: passed, File: s.file,
			}})
		}
		c := &j.cases[len(j.cases)-1]
		status := map[string]string{"failure": failed, "error": broken, "skipped": skipped, "disabled": skipped}[name]
		if worse(status, c.result.Status) {
			c.result.Status = status
			c.message = attr(t, "message", "type")
			j.result, j.text = j.depth, j.text[:0]
		}
	}
	return nil
}

// notRun are the words that tools put into a case's status or result when the
// case did not run.
var notRun = []string{"notrun", "not_run", "disabled", "skipped", "suppressed", "ignored", "pending"}

// worse orders: passed, skipped, failed, error.
func worse(a, b string) bool {
	order := []string{passed, skipped, failed, broken}
	return slices.Index(order, a) > slices.Index(order, b)
}

func (j *junit) end() {
	if j.result == j.depth {
		c := &j.cases[len(j.cases)-1]
		text := strings.TrimSpace(string(j.text))
		if c.message == "" || len(c.message) < 200 && strings.HasPrefix(text, c.message) {
			c.message = text
		}
		if c.result.Line == 0 {
			locate(&c.result, text)
		}
		j.result = 0
	}
	if n := len(j.cases); n > 0 && j.cases[n-1].depth == j.depth {
		c := j.cases[n-1]
		c.result.Message = c.message
		j.out.Seconds += c.result.Seconds
		count(&j.out, c.result)
		j.cases = j.cases[:n-1]
	}
	if n := len(j.suites); n > 0 && j.suites[n-1].depth == j.depth {
		if s := j.suites[n-1]; s.bare {
			j.out.Passed += s.claimed.Passed
			j.out.Failed += s.claimed.Failed
			j.out.Skipped += s.claimed.Skipped
			j.out.Seconds += s.claimed.Seconds
		}
		j.suites = j.suites[:n-1]
	}
}

// claims is what a suite says of itself; nothing when it makes no sense.
func claims(t xml.StartElement) record.TestsReported {
	const most = 10_000_000
	number := func(names ...string) int {
		n, err := strconv.Atoi(strings.TrimSpace(attr(t, names...)))
		if err != nil || n < 0 || n > most {
			return 0
		}
		return n
	}
	c := record.TestsReported{
		Failed:  number("failures") + number("errors"),
		Skipped: number("skipped", "skip", "disabled"),
	}
	if c.Passed = number("tests") - c.Failed - c.Skipped; c.Passed < 0 {
		return record.TestsReported{}
	}
	if c.Passed+c.Failed+c.Skipped > 0 {
		c.Seconds = seconds(attr(t, "time", "duration"))
	}
	return c
}

// attr is the first of the attributes that has a value.
func attr(t xml.StartElement, names ...string) string {
	for _, name := range names {
		for _, a := range t.Attr {
			if a.Name.Local == name && a.Value != "" {
				return a.Value
			}
		}
	}
	return ""
}

// seconds reads a duration: "0.012", "1,234.5", and in some places "0,012".
func seconds(s string) float64 {
	s = strings.TrimSuffix(strings.TrimSpace(s), "s")
	if strings.Contains(s, ".") || strings.Count(s, ",") != 1 {
		s = strings.ReplaceAll(s, ",", "")
	} else {
		s = strings.Replace(s, ",", ".", 1)
	}
	const century = 100 * 365 * 24 * 3600
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > century {
		return 0
	}
	return f
}

// placed is a place in a stack or a message: x_test.go:12, (FooTest.java:12),
// File "/w/x.py", line 12.
var placed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`([^\s():"']+\.[A-Za-z]{1,6}):(\d+)\b|File "([^"]+)", line (\d+)`)
})

// locate finds the place of a failure in its text: the first one in the file
// that the test is known to be in or, failing that, in a file named like its
// class, or else the first.
func locate(r *record.TestResult, text string) {
	class := r.Suite[strings.LastIndexAny(r.Suite, "./\\")+1:]
	file, n := "", 0
	for _, m := range placed().FindAllStringSubmatch(text, 50) {
		f, l := m[1]+m[3], m[2]+m[4]
		line, err := strconv.Atoi(l)
		if err != nil {
			continue
		}
		base := path.Base(strings.ReplaceAll(f, "\\", "/"))
		if r.File != "" && path.Base(r.File) == base {
			r.Line = line
			return
		}
		if file == "" || class != "" && strings.TrimSuffix(base, path.Ext(base)) == class {
			file, n = f, line
			if r.File == "" && strings.TrimSuffix(base, path.Ext(base)) == class {
				break
			}
		}
	}
	if r.File == "" && file != "" {
		r.File, r.Line = clip(file, maxName), n
	}
}

// xmlText makes what tools write into XML: control characters, which it may
// not hold, become spaces, and bytes that are no UTF-8 question marks. UTF-16
// is recognised by its byte order mark and becomes UTF-8.
type xmlText struct {
	r   io.Reader
	raw bool // bytes beyond ASCII are left to the encoding that is declared
	err error
	buf [32 << 10]byte
	// buf[start:clean] is clean and not yet handed on; buf[clean:end] is the
	// beginning of a character.
	start, clean, end int
}

func newXMLText(r io.Reader) *xmlText {
	br := bufio.NewReader(r)
	head, _ := br.Peek(200)
	x := &xmlText{r: br}
	switch {
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		x.r = &utf16Text{r: br, high: 0, low: 1}
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		x.r = &utf16Text{r: br, high: 1, low: 0}
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = br.Discard(3) // they are there: they were peeked at
	default:
		x.raw = declaresOther(string(head))
	}
	return x
}

// declaresOther says whether the XML declaration names an encoding other than
// UTF-8.
func declaresOther(head string) bool {
	decl, _, ok := strings.Cut(head, "?>")
	_, enc, named := strings.Cut(strings.ToLower(decl), "encoding=")
	return ok && named && !strings.HasPrefix(strings.TrimLeft(enc, `"'`), "utf")
}

func (x *xmlText) Read(p []byte) (int, error) {
	for x.start == x.clean {
		if x.err != nil && x.clean == x.end {
			return 0, x.err
		}
		x.end = copy(x.buf[:], x.buf[x.clean:x.end])
		x.start, x.clean = 0, 0
		if x.err == nil {
			var n int
			n, x.err = x.r.Read(x.buf[x.end:])
			x.end += n
		}
		x.sweep()
	}
	n := copy(p, x.buf[x.start:x.clean])
	x.start += n
	return n, nil
}

// sweep cleans what has been read, but for a character whose end has not.
func (x *xmlText) sweep() {
	i := x.clean
	for i < x.end {
		c := x.buf[i]
		switch {
		case c < utf8.RuneSelf || x.raw:
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
				x.buf[i] = ' '
			}
			i++
			continue
		case x.err == nil && !utf8.FullRune(x.buf[i:x.end]):
			x.clean = i
			return
		}
		r, size := utf8.DecodeRune(x.buf[i:x.end])
		switch {
		case r == utf8.RuneError && size == 1:
			x.buf[i] = '?'
		case r == 0xfffe || r == 0xffff:
			copy(x.buf[i:], "   ")
		}
		i += size
	}
	x.clean = i
}

// utf16Text makes UTF-16 UTF-8. The bytes of a pair are at these places.
type utf16Text struct {
	r         *bufio.Reader
	high, low int
	rest      []byte
}

func (u *utf16Text) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		c, err := u.unit()
		if err != nil {
			return 0, err
		}
		if utf16.IsSurrogate(c) {
			second, err := u.unit()
			if err != nil {
				return 0, err
			}
			c = utf16.DecodeRune(c, second)
		}
		if c == 0xfeff { // the mark at the beginning
			c = ' '
		}
		u.rest = []byte(string(c))
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *utf16Text) unit() (rune, error) {
	var b [2]byte
	if _, err := io.ReadFull(u.r, b[:]); err != nil {
		return 0, io.EOF // half a unit is nothing
	}
	return rune(b[u.high])<<8 | rune(b[u.low]), nil
}

// charset reads the encodings that reports are written in besides UTF-8.
func charset(label string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "utf8", "utf-16", "utf16", "ucs-2": // made UTF-8 before it came here
		return r, nil
	case "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1", "iso-8859-15", "windows-1252", "cp1252":
		return &latin1{r: bufio.NewReader(r)}, nil
	}
	return nil, fmt.Errorf("its encoding %q is not known here", clip(label, 50))
}

// latin1 makes ISO 8859-1 UTF-8. Its relatives differ in a few signs, which a
// test's name can do without.
type latin1 struct {
	r    *bufio.Reader
	rest []byte
}

func (l *latin1) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		c, err := l.r.ReadByte()
		if err != nil {
			return 0, err
		}
		l.rest = []byte(string(rune(c)))
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
