package harvest

import (
	"bufio"
	"io"
	"path"

	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Any reads a report of any kind that is known here: its content says which. What
// it reports is a [*record.TestsReported], [*record.CoverageReported],
// [*record.LoadReported] or [*record.FindingsReported]; its Unread says why when
// it could not be read, and of what is no report that is known it is the first of
// them. Results of tests are given to each, as [Read] does; the lines are those of
// a coverage report, nil of all others. The error is that of each.
func Any(r io.Reader, name string, each func(record.TestResult) error) (record.Body, *coverage.Report, error) {
	in := bufio.NewReaderSize(r, maxHead)
	head, _ := in.Peek(maxHead) // what there is; errors come again
	switch kind, _ := KindOf(head, name); kind {
	case KindCoverage:
		lines, sum, err := Cover(in, name)
		if err != nil {
			lines = nil
		}
		return &sum, lines, nil
	case KindLoad:
		sum, _ := Load(in, name) // Unread says it
		return &sum, nil, nil
	case KindFindings:
		sum, _ := Findings(in, name)
		return &sum, nil, nil
	}
	var stopped error
	sum, err := Read(in, name, func(t record.TestResult) error {
		if each != nil {
			stopped = each(t)
		}
		return stopped
	})
	if err != nil {
		sum = record.TestsReported{Source: name, Unread: err.Error()}
	}
	return &sum, nil, stopped
}

// Source is what the results of a report are shown as being of: its name or, where
// a tool writes a file for each test, the directory that they lie in, so that they
// are one report. The head is as for [KindOf].
func Source(head []byte, name string) string {
	if kind, format := KindOf(head, name); kind == KindTests && format == "allure" {
		return path.Dir(name) + "/"
	}
	return name
}

// HeadSize is how much of a report [KindOf] and [Source] look at, in bytes.
const HeadSize = maxHead
