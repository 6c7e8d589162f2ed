// Package harvest reads what tools leave behind: the test results in a step's
// output and in the report files it wrote.
//
// Nobody has to declare where reports are. [GoTest] listens to the output
// while it is written and recognises go test in both its forms; [Find] looks
// for report files that are newer than the step's start, and [JUnit] reads
// them, in the many dialects in which that format is written. What comes out
// is a [record.TestsReported]: how many tests passed and failed, and for the
// first hundred that failed their name, place and message.
//
// All of it comes from outside: sizes, depths and counts are limited, nothing
// that a report refers to is fetched, and what cannot be read is an error that
// says so and never a wrong number.
package harvest

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxBad is how many failed tests a report tells of.
	maxBad = 100
	// maxMessage is how many bytes of a failed test's message are kept.
	maxMessage = 2000
	// maxName is how many bytes of a test's name are kept.
	maxName = 500
)

// The words for how a test ended.
const (
	passed  = "passed"
	failed  = "failed"
	skipped = "skipped"
	broken  = "error" // it did not come to its end
)

// count adds one result to a report.
func count(to *record.TestsReported, r record.TestResult) {
	switch r.Status {
	case passed:
		to.Passed++
	case skipped:
		to.Skipped++
	default:
		to.Failed++
		if len(to.Bad) < maxBad {
			r.Suite, r.Name, r.Message = clip(r.Suite, maxName), clip(r.Name, maxName), clip(r.Message, maxMessage)
			to.Bad = append(to.Bad, r)
		}
	}
}

// micros is a sum of seconds without the dust of adding.
func micros(seconds float64) float64 { return math.Round(seconds*1e6) / 1e6 }

// clip is at most n bytes of s, in valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for i := 0; i < utf8.UTFMax && !utf8.ValidString(s); i++ {
			s = s[:len(s)-1]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
}
