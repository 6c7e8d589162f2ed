package harvest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// ReportHead is how much of a file's beginning tells what it is.
	ReportHead = 4096
	// maxStream is the size of the largest report of coverage, load or
	// findings that is read. Such reports are read as a stream.
	maxStream = 8 << 30
	// maxPiece is the largest part of one that is held in memory: one XML
	// element, one file's JSON object.
	maxPiece = 64 << 20
	// maxSalvaged is how many warnings a report has.
	maxSalvaged = 20
	// maxSpan is how many lines one statement may cover, maxSpans how many all
	// statements of a report may together.
	maxSpan, maxSpans = 20_000, 50_000_000
)

// Format is a row of a table of formats.
type Format struct {
	Name  string   // as it is in the record: "lcov"
	Title string   // for people
	Files []string // what such files are usually called
}

// coverFormat is a format of coverage reports.
type coverFormat struct {
	Format
	// is says whether a file that begins like this is one.
	is func(*peeked) bool
	// read fills the report. An error says why it ended early; what was read
	// until then stands.
	read func(*covering, io.Reader) error
}

// coverFormats are the formats of coverage reports that are read. The first
// that knows a file reads it.
func coverFormats() []coverFormat {
	return []coverFormat{
		{Format{"go cover", "Go cover profile", []string{"cover.out", "coverage.out", "*.coverprofile"}}, isGoCover, readGoCover},
		{Format{"lcov", "lcov tracefile (lcov, Jest, c8, Flutter, llvm-cov, Bazel)", []string{"lcov.info", "*.lcov", "coverage.dat"}}, isLcov, readLcov},
		{Format{"jacoco", "JaCoCo XML (JaCoCo, Kover, Pester)", []string{"jacoco.xml", "jacocoTestReport.xml"}}, isJacoco, readJacoco},
		{Format{"clover", "Clover XML (OpenClover, PHPUnit, Istanbul)", []string{"clover.xml"}}, isClover, readClover},
		{Format{"mono", "Mono's coverage XML", nil}, isMono, readMono},
		{Format{"cobertura", "Cobertura XML (coverage.py, coverlet, gcovr, gocover-cobertura, VectorCAST)", []string{"cobertura.xml", "coverage.xml", "coverage.cobertura.xml"}}, isCobertura, readCobertura},
		{Format{"opencover", "OpenCover XML (OpenCover, coverlet, AltCover)", []string{"opencover.xml", "coverage.opencover.xml"}}, isOpenCover, readOpenCover},
		{Format{"dotcover", "JetBrains dotCover, detailed XML", []string{"dotCover.xml"}}, isDotCover, readDotCover},
		{Format{"vs", "Visual Studio and dotnet-coverage XML", []string{"*.coveragexml"}}, isVS, readVS},
		{Format{"scoverage", "scoverage XML", []string{"scoverage.xml"}}, isScoverage, readScoverage},
		{Format{"istanbul", "Istanbul JSON (nyc, Jest, Vitest, c8)", []string{"coverage-final.json", "coverage.json"}}, isIstanbul, readIstanbul},
		{Format{"coverage.py", "coverage.py JSON", []string{"coverage.json"}}, isCoveragePy, readCoveragePy},
		{Format{"llvm", "llvm-cov export JSON (Rust, Swift, clang)", nil}, isLLVM, readLLVM},
		{Format{"gcov json", "gcov and gcovr JSON", []string{"*.gcov.json", "coverage.json"}}, isGcovJSON, readGcovJSON},
		{Format{"coveralls", "Coveralls JSON", []string{"coveralls.json"}}, isCoveralls, readCoveralls},
		{Format{"simplecov", "SimpleCov result set, and its JSON; Codecov's own JSON", []string{".resultset.json", "coverage.json", "codecov.json"}}, isSimpleCov, readSimpleCov},
		{Format{"gcov", "gcov text", []string{"*.gcov"}}, isGcov, readGcov},
		{Format{"luacov", "LuaCov report", []string{"luacov.report.out"}}, isLuacov, readLuacov},
	}
}

// CoverFormats are the formats of coverage that [Cover] reads.
func CoverFormats() []Format {
	formats := make([]Format, 0, 20)
	for _, f := range coverFormats() {
		formats = append(formats, f.Format)
	}
	return formats
}

// IsCoverage names the format of a coverage report that begins like this, "" if
// it is none that is known. The head is the first [ReportHead] bytes or the
// whole file.
func IsCoverage(head []byte, name string) string {
	f := coverFormatOf(peek(head, name))
	return f.Name
}

func coverFormatOf(p *peeked) coverFormat {
	for _, f := range coverFormats() {
		if f.is(p) {
			return f
		}
	}
	return coverFormat{}
}

// Cover reads a coverage report of any of [CoverFormats], which it knows by
// its content. It reads a stream: what it holds is one entry of the report and
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
	in := newStream(r)
	p, err := in.peek(name)
	if err != nil {
		return fail(err)
	}
	f := coverFormatOf(p)
	if f.read == nil {
		return fail(errors.New("it is in no format of coverage that is known here"))
	}
	sum.Format = f.Name
	c := &covering{stream: in, spans: maxSpans}
	if err := f.read(c, in); err != nil && !errors.Is(err, coverage.ErrFull) {
		if len(c.report.Files()) == 0 {
			return fail(err)
		}
		c.salvage(err.Error() + "; what comes after was not read")
	} else if err != nil {
		c.salvage(err.Error() + "; what comes after was left out")
	}
	t := c.report.Totals()
	sum.Files, sum.Hit, sum.Partial, sum.Miss = t.Files, t.Hit, t.Partial, t.Miss
	sum.Salvaged = c.salvaged()
	return &c.report, sum, nil
}

// covering is a coverage report while it is read.
type covering struct {
	*stream
	report coverage.Report
	spans  int // how many lines statements may still cover
	warnings
}

// add hands over lines of a file.
func (c *covering) add(file string, lines []coverage.Line) error {
	return c.report.Add(file, lines)
}

// span appends a statement's lines to others. Branches are at its first one.
func (c *covering) span(to []coverage.Line, at, first, last int64, l coverage.Line) []coverage.Line {
	if first < 1 || first > coverage.MaxLine || last < first || last-first >= maxSpan || int(last-first) >= c.spans {
		if first > 0 && first != hiddenLine {
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

// stream is a report that is read once, from its beginning. It counts lines,
// and has limits: for the whole, and for what is read between two calls of
// piece.
type stream struct {
	r           *bufio.Reader
	left, piece int64
	newlines    int64 // in what was handed out
}

func newStream(r io.Reader) *stream {
	return &stream{r: bufio.NewReaderSize(r, 64<<10), left: maxStream, piece: maxPiece}
}

// next says that another part begins.
func (s *stream) next() { s.piece = maxPiece }

var (
	errLarge = fmt.Errorf("it is larger than %d GiB", maxStream>>30)
	errPiece = fmt.Errorf("one of its parts is larger than %d MiB", maxPiece>>20)
	errEmpty = errors.New("it is empty")
)

func (s *stream) Read(p []byte) (int, error) {
	switch {
	case s.left <= 0:
		return 0, errLarge
	case s.piece <= 0:
		return 0, errPiece
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left, s.piece)])
	s.left, s.piece = s.left-int64(n), s.piece-int64(n)
	s.newlines += int64(bytes.Count(p[:n], []byte{'\n'}))
	return n, err
}

// line is the next line without its end; what is longer than the buffer comes
// as its beginning, and the rest is passed over. It is good until the next
// call.
func (s *stream) line() ([]byte, error) {
	line, err := s.r.ReadSlice('\n')
	s.left -= int64(len(line))
	if s.left <= 0 {
		return nil, errLarge
	}
	switch {
	case err == nil:
		line = line[:len(line)-1]
	case errors.Is(err, bufio.ErrBufferFull):
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			var rest []byte
			rest, err = s.r.ReadSlice('\n')
			if s.left -= int64(len(rest)); s.left <= 0 {
				return nil, errLarge
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	case errors.Is(err, io.EOF) && len(line) > 0:
	default:
		return nil, err
	}
	s.newlines++
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// peeked is the beginning of a file, and what can be seen of it.
type peeked struct {
	name  string
	head  []byte
	xml   []xml.StartElement // the first elements, if it is XML
	json  bool
	lines [][]byte // the first lines that are not empty, if it is neither
}

// peek looks at the beginning of the stream. An empty one is an error.
func (s *stream) peek(name string) (*peeked, error) {
	head, err := s.r.Peek(ReportHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	p := peek(head, name)
	if len(p.head) == 0 {
		return nil, errEmpty
	}
	if bytes.HasPrefix(head, []byte(bom)) && p.xml == nil {
		_, _ = s.r.Discard(len(bom)) // it is there: it was peeked at
	}
	return p, nil
}

const bom = "\ufeff"

func peek(head []byte, name string) *peeked {
	p := &peeked{name: name, head: bytes.TrimSpace(bytes.TrimPrefix(head[:min(len(head), ReportHead)], []byte(bom)))}
	if len(p.head) == 0 {
		return p
	}
	switch {
	case p.head[0] == '<' || p.head[0] == 0xff || p.head[0] == 0xfe:
		d := newXML(bytes.NewReader(p.head))
		for len(p.xml) < 40 {
			t, err := d.RawToken()
			if err != nil {
				break
			}
			if e, ok := t.(xml.StartElement); ok {
				p.xml = append(p.xml, e.Copy())
			}
		}
	case p.head[0] == '{' || p.head[0] == '[':
		p.json = true
	default:
		for l := range bytes.Lines(p.head) {
			if l = bytes.TrimRight(l, "\r\n"); len(bytes.TrimSpace(l)) > 0 {
				p.lines = append(p.lines, l)
			}
		}
	}
	return p
}

// root is the name of the first XML element.
func (p *peeked) root() string {
	if len(p.xml) == 0 {
		return ""
	}
	return p.xml[0].Name.Local
}

// element says whether one of these is among the first XML elements.
func (p *peeked) element(names ...string) bool {
	return slices.ContainsFunc(p.xml, func(e xml.StartElement) bool { return slices.Contains(names, e.Name.Local) })
}

// attribute says whether the first XML element has one of these.
func (p *peeked) attribute(names ...string) bool {
	return len(p.xml) > 0 && slices.ContainsFunc(p.xml[0].Attr, func(a xml.Attr) bool { return slices.Contains(names, a.Name.Local) })
}

// key says whether it is JSON in whose beginning all of these are keys.
func (p *peeked) key(names ...string) bool {
	if !p.json {
		return false
	}
	for _, name := range names {
		i := bytes.Index(p.head, []byte(`"`+name+`"`))
		if i < 0 || !bytes.HasPrefix(bytes.TrimSpace(p.head[i+len(name)+2:]), []byte(":")) {
			return false
		}
	}
	return true
}

// newXML is a decoder of XML as tools write it: with control characters,
// entities of HTML, other encodings.
func newXML(r io.Reader) *xml.Decoder {
	d := xml.NewDecoder(newXMLText(r))
	d.Strict = false
	d.Entity = xml.HTMLEntity
	d.CharsetReader = charset
	return d
}

// element is an XML element that begins.
type element struct {
	xml.StartElement
	line int64
}

// str is an attribute, "" if the element has none of that name.
func (e element) str(name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// has says whether the element has an attribute.
func (e element) has(name string) bool {
	return slices.ContainsFunc(e.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
}

// num is an attribute as a whole number, 0 if it is none.
func (e element) num(name string) int64 { return whole(e.str(name)) }

// walkXML calls begin and end for each element of a report, end with the text
// that stands directly in it. A report that ends early, or goes wrong
// somewhere, is walked until there.
func walkXML(s *stream, begin func(element) error, end func(name, text string) error) error {
	d := newXML(s)
	var open []string
	var text []byte
	for {
		s.next()
		t, err := d.RawToken()
		row, _ := d.InputPos()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || len(open) > 0 && strings.Contains(err.Error(), "unexpected EOF") {
				err = fmt.Errorf("it ends in the middle of <%s>", clip(open[len(open)-1], 50))
			}
			return fmt.Errorf("line %d: %w", row, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(open) >= maxDepth {
				return fmt.Errorf("line %d: elements are nested deeper than %d", row, maxDepth)
			}
			open, text = append(open, t.Name.Local), text[:0]
			if err := begin(element{t, int64(row)}); err != nil {
				return err
			}
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != t.Name.Local {
				return fmt.Errorf("line %d: </%s> ends nothing that began", row, clip(t.Name.Local, 50))
			}
			open = open[:len(open)-1]
			if err := end(t.Name.Local, string(bytes.TrimSpace(text))); err != nil {
				return err
			}
			text = text[:0]
		case xml.CharData:
			if len(text) < maxDetail {
				text = append(text, t[:min(len(t), maxDetail)]...)
			}
		}
	}
}

// nothing is what an element's end is to a reader that does not need it.
func nothing(string, string) error { return nil }

// jsonStream reads JSON without holding more than one value that was asked
// for.
type jsonStream struct {
	*stream
	dec *json.Decoder
}

func newJSON(s *stream) *jsonStream { return &jsonStream{s, json.NewDecoder(s)} }

// at is the line that was read last.
func (j *jsonStream) at() int64 {
	rest, _ := io.ReadAll(j.dec.Buffered()) // of memory
	return j.newlines - int64(bytes.Count(rest, []byte{'\n'})) + 1
}

// fail is an error with its line.
func (j *jsonStream) fail(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends in the middle")
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
// read as far as it fits, and the second result says what did not.
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

// whole reads a whole number as tools write it: "12", "1e+20", "-1", "1.0".
// What is none is 0; what is too large is the largest.
func whole(s string) int64 {
	n, _ := wholeOK(s)
	return n
}
