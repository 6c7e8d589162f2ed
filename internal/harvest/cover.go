package harvest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxSpan is how many lines one statement may cover, maxSpans how many all
	// statements of a report may together.
	maxSpan, maxSpans = 20_000, coverage.MaxLines
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
	{"go-cover", "Go cover profile", "go test -coverprofile", []string{"*cover*.out", "*.coverprofile", "*coverage*.txt"}, isGoCover, readGoCover},
	{"lcov", "lcov tracefile", "lcov, Istanbul, c8, Flutter, llvm-cov, Bazel", []string{"*.lcov", "*lcov*.info", "coverage.info", "coverage.dat"}, isLcov, readLcov},
	{"jacoco", "JaCoCo XML", "JaCoCo, Kover, Pester", []string{"*jacoco*.xml"}, isJacoco, readJacoco},
	{"clover", "Clover XML", "OpenClover, PHPUnit, Istanbul", []string{"*clover*.xml"}, isClover, readClover},
	{"mono", "Mono coverage XML", "Mono's profiler", []string{"*coverage*.xml"}, isMono, readMono},
	{"cobertura", "Cobertura XML", "coverage.py, coverlet, gcovr, gocover-cobertura, VectorCAST, and many more", []string{"*cobertura*.xml", "*coverage*.xml"}, isCobertura, readCobertura},
	{"opencover", "OpenCover XML", "OpenCover, coverlet, AltCover", []string{"*opencover*.xml"}, isOpenCover, readOpenCover},
	{"dotcover", "dotCover's detailed XML", "JetBrains dotCover", []string{"*dotcover*.xml"}, isDotCover, readDotCover},
	{"vs", "Visual Studio's coverage XML", "Visual Studio, dotnet-coverage", []string{"*.coveragexml"}, isVS, readVS},
	{"scoverage", "scoverage XML", "sbt-scoverage, scoverage for Maven and Gradle", []string{"*scoverage*.xml"}, isScoverage, readScoverage},
	{"istanbul", "Istanbul JSON", "nyc, Jest, Vitest, c8", []string{"coverage-final.json", "*coverage*.json"}, isIstanbul, readIstanbul},
	{"coverage-py", "coverage.py JSON", "coverage json, pytest --cov-report=json", []string{"*coverage*.json"}, isCoveragePy, readCoveragePy},
	{"llvm", "llvm-cov's JSON", "llvm-cov export, cargo llvm-cov --json, swift test", []string{"*coverage*.json", "*llvm-cov*.json"}, isLLVM, readLLVM},
	{"gcov-json", "gcov JSON", "gcov --json-format, gcovr --json", []string{"*.gcov.json", "*coverage*.json"}, isGcovJSON, readGcovJSON},
	{"coveralls", "Coveralls JSON", "what is sent to Coveralls", []string{"coveralls.json"}, isCoveralls, readCoveralls},
	{"simplecov", "SimpleCov JSON", "SimpleCov's result sets and its JSON formatters; Codecov's own JSON", []string{".resultset.json", "*coverage*.json", "codecov.json"}, isSimpleCov, readSimpleCov},
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

// Cover reads a coverage report of any format that is known here, which its
// content shows. It reads a stream: what it holds is one entry of the report
// and what came of those before, at most [coverage.MaxLines] lines.
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
	c := &covering{measured: newMeasured(r, name), spans: maxSpans}
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
