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

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxPiece is the largest part of a report that is held in memory: a value
	// of JSON, a row of a table.
	maxPiece = 64 << 20
	// maxSpan is how many lines one statement may cover, maxSpans how many all
	// statements of a report may together.
	maxSpan, maxSpans = 20_000, 50_000_000
)

// coverFormat is a format of coverage reports; its fields are those of
// format.
type coverFormat struct {
	name, title, of string
	files           []string
	is              func(*sniff) bool
	// read fills the report. An error says why it ended early; what was read
	// until then stands.
	read func(*covering) error
}

// coverFormats are the formats of coverage reports that are read, in the order
// in which a report is held against them.
var coverFormats = []coverFormat{
	{"go-cover", "Go cover profile", "go test -coverprofile", []string{"cover.out", "coverage.out", "*.coverprofile"}, isGoCover, readGoCover},
	{"lcov", "lcov tracefile", "lcov, Istanbul, c8, Flutter, llvm-cov, Bazel", []string{"lcov.info", "*.lcov", "coverage.dat"}, isLcov, readLcov},
	{"jacoco", "JaCoCo XML", "JaCoCo, Kover, Pester", []string{"jacoco.xml", "jacocoTestReport.xml"}, isJacoco, readJacoco},
	{"clover", "Clover XML", "OpenClover, PHPUnit, Istanbul", []string{"clover.xml"}, isClover, readClover},
	{"mono", "Mono coverage XML", "Mono's profiler", nil, isMono, readMono},
	{"cobertura", "Cobertura XML", "coverage.py, coverlet, gcovr, gocover-cobertura, VectorCAST, and many more", []string{"cobertura.xml", "coverage.xml", "*.cobertura.xml"}, isCobertura, readCobertura},
	{"opencover", "OpenCover XML", "OpenCover, coverlet, AltCover", []string{"opencover.xml", "*.opencover.xml"}, isOpenCover, readOpenCover},
	{"dotcover", "dotCover's detailed XML", "JetBrains dotCover", []string{"dotCover.xml"}, isDotCover, readDotCover},
	{"vs", "Visual Studio's coverage XML", "Visual Studio, dotnet-coverage", []string{"*.coveragexml"}, isVS, readVS},
	{"scoverage", "scoverage XML", "sbt-scoverage, scoverage for Maven and Gradle", []string{"scoverage.xml"}, isScoverage, readScoverage},
	{"istanbul", "Istanbul JSON", "nyc, Jest, Vitest, c8", []string{"coverage-final.json"}, isIstanbul, readIstanbul},
	{"coverage-py", "coverage.py JSON", "coverage json, pytest --cov-report=json", []string{"coverage.json"}, isCoveragePy, readCoveragePy},
	{"llvm", "llvm-cov's JSON", "llvm-cov export, cargo llvm-cov --json, swift test", nil, isLLVM, readLLVM},
	{"gcov-json", "gcov JSON", "gcov --json-format, gcovr --json", []string{"*.gcov.json"}, isGcovJSON, readGcovJSON},
	{"coveralls", "Coveralls JSON", "what is sent to Coveralls", []string{"coveralls.json"}, isCoveralls, readCoveralls},
	{"simplecov", "SimpleCov JSON", "SimpleCov's result sets and its JSON formatters; Codecov's own JSON", []string{".resultset.json", "codecov.json"}, isSimpleCov, readSimpleCov},
	{"gcov", "gcov text", "gcov", []string{"*.gcov"}, isGcov, readGcov},
	{"luacov", "LuaCov report", "LuaCov", []string{"luacov.report.out"}, isLuacov, readLuacov},
}

// IsCoverage names the format of a coverage report that begins like this, ""
// if it is none that is known. The head is at least the first few thousand
// bytes, or the whole file.
func IsCoverage(head []byte, name string) string {
	if f := newInput(bytes.NewReader(head), name).coverFormat(); f != nil {
		return f.name
	}
	return ""
}

func (in *input) coverFormat() *coverFormat {
	for n := range coverFormats {
		if f := &coverFormats[n]; f.is(&in.head) {
			return f
		}
	}
	return nil
}

// Cover reads a coverage report of any format that is known
// here, which its content shows. It reads a stream: what it holds is one entry of the report and
// what came of those before, at most [coverage.MaxLines] lines.
//
// A report that is damaged is read as far as it goes, and Salvaged says what
// was wrong, where. The error is of one of which nothing could be read. Paths
// are those of the report: [coverage.Report.Resolve] finds them in a tree.
func Cover(r io.Reader, name string) (*coverage.Report, record.CoverageReported, error) {
	sum := record.CoverageReported{Source: name}
	fail := func(err error) (*coverage.Report, record.CoverageReported, error) {
		err = fmt.Errorf("read coverage report %s: %w", name, err)
		sum.Unread = err.Error()
		return &coverage.Report{}, sum, err
	}
	c := &covering{measured: measured{input: newInput(r, name)}, spans: maxSpans}
	f := c.coverFormat()
	if f == nil {
		return fail(c.unread("coverage report"))
	}
	sum.Format = f.name
	switch err := f.read(c); {
	case err == nil:
	case errors.Is(err, coverage.ErrFull):
		c.salvage(err.Error() + "; what comes after was left out")
	case len(c.report.Files()) == 0:
		return fail(err)
	default:
		c.salvage(err.Error() + "; what comes after was not read")
	}
	t := c.report.Totals()
	sum.Files, sum.Hit, sum.Partial, sum.Miss = t.Files, t.Hit, t.Partial, t.Miss
	sum.Salvaged = c.salvaged()
	return &c.report, sum, nil
}

// covering is a coverage report while it is read.
type covering struct {
	measured
	report coverage.Report
	spans  int // how many lines statements may still cover
}

// add hands over lines of a file.
func (c *covering) add(file string, lines []coverage.Line) error {
	return c.report.Add(file, lines)
}

// span appends a statement's lines to others. Branches are at its first one.
func (c *covering) span(to []coverage.Line, at, first, last int64, l coverage.Line) []coverage.Line {
	if first == hiddenLine {
		return to
	}
	if first < 1 || first > coverage.MaxLine || last < first || last-first >= maxSpan || int(last-first) >= c.spans {
		if first > 0 {
			c.warn(at, "a statement from line %d to %d is no statement", first, last)
		}
		return to
	}
	c.spans -= int(last-first) + 1
	for n := first; n <= last; n++ {
		l.Number = int32(n)
		to = append(to, l)
		l.Taken, l.Branches = 0, 0
	}
	return to
}

// hiddenLine is the line that .NET compilers give to code without one.
const hiddenLine = 0xfeefee

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

func (w *warnings) warn(line int64, format string, args ...any) {
	w.salvage(fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...)))
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

// measured is a report of coverage, load or findings while it is read. Such
// reports are told apart as those of tests are, and read as streams too.
type measured struct {
	*input
	warnings
	number int64 // of the line read last, in formats that are made of lines
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
