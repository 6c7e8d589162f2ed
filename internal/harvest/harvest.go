// Package harvest reads what tools leave behind: the test results in a step's
// output and in the report files it wrote.
//
// Nobody has to declare where reports are. [GoTest] listens to the output
// while it is written and recognises go test in both its forms; [Find] looks
// for report files that are newer than the step's start, and [Read] reads
// them, in whichever of the known formats they are: their content says so, not
// their names. What comes out is one [record.TestResult] after another, one
// for each attempt at a test, and their sum, a [record.TestsReported].
//
//	file ──► which format? ──► its reader ──► tally ──┬─► each result
//	                                                  └─► the sum
//
// A reader holds no more of a report than the test it is at, however large the
// report is. All of it comes from outside: sizes, depths and counts are
// limited, and nothing that a report refers to is fetched. What is wrong with
// a report that can be read all the same is said in Salvaged, and what cannot
// be read is an error that says so; neither is ever a wrong number.
package harvest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
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
	// maxText is how many bytes of a stack and of an output are kept.
	maxText = 16 << 10
	// maxList is how many groups, tags, attachments and attempts a test has.
	maxList = 50
	// maxSalvaged is how many things that are wrong with a report are told.
	maxSalvaged = 20
)

// The words for how a test ended.
const (
	passed  = record.TestPassed
	failed  = record.TestFailed
	skipped = record.TestSkipped
	broken  = record.TestError
	xfail   = record.TestXFail
	xpass   = record.TestXPass
)

// Read reads a report of tests, in whichever format it is. The name is the
// report's, for the answer's Source; with it a format is told from another
// only where the content of both is alike. Each result is given to each, when
// that is not nil: several of one test, Attempt 1 and up, when it was tried
// again. What they share (Groups, Tags) is not to be changed.
//
// A report that was cut off, or is spoilt in places, is read as far as that
// goes, and its Salvaged says what was wrong. The error is for what holds no
// result that can be read, or is that of each.
func Read(r io.Reader, name string, each func(record.TestResult) error) (record.TestsReported, error) {
	in := newInput(r, name)
	f := in.format()
	if f == nil {
		return record.TestsReported{}, fmt.Errorf("read test report %s: %w", name, in.unknown())
	}
	return f.run(in, each)
}

// run reads a report that is in the format.
func (f *format) run(in *input, each func(record.TestResult) error) (record.TestsReported, error) {
	t := &tally{each: each, out: record.TestsReported{Source: in.name, Format: f.name}}
	if in.foreign {
		t.warn(1, "its encoding is not known here: signs beyond ASCII are lost")
	}
	if in.before > 0 {
		t.warn(in.before+1, "the report begins here, after other text")
	}
	err := f.read(in, t)
	if t.err != nil {
		return record.TestsReported{}, t.err
	}
	if err != nil {
		if t.out.Passed+t.out.Failed+t.out.Skipped == 0 {
			return record.TestsReported{}, fmt.Errorf("read test report %s: %w", in.name, err)
		}
		t.warn(0, "%v", err)
	}
	t.out.Seconds = micros(t.out.Seconds)
	return t.out, nil
}

// tally is where a reader puts what it finds.
type tally struct {
	out  record.TestsReported
	each func(record.TestResult) error
	err  error // of each: nothing more is wanted
}

// errStop ends a reader whose results nobody wants any more.
var errStop = errors.New("stopped")

// add takes all attempts at one test. The last says how it ended.
func (t *tally) add(attempts ...record.TestResult) error {
	if len(attempts) > maxList { // the first tell nothing that the others do not
		attempts = attempts[len(attempts)-maxList:]
	}
	before := false
	for n := range attempts {
		r := &attempts[n]
		if len(attempts) > 1 {
			r.Attempt = n + 1
		}
		tidy(r)
		t.out.Seconds += r.Seconds
		before = before || n < len(attempts)-1 && bad(r.Status)
	}
	last := attempts[len(attempts)-1]
	t.count(last)
	if last.Status == passed && before {
		t.out.Flaky++
	}
	return t.give(attempts...)
}

// give hands results on without counting them.
func (t *tally) give(results ...record.TestResult) error {
	for _, r := range results {
		if t.each == nil || t.err != nil {
			break
		}
		t.err = t.each(r)
	}
	if t.err != nil {
		return errStop
	}
	return nil
}

// count adds how a test ended to the sum.
func (t *tally) count(r record.TestResult) {
	switch {
	case r.Status == skipped:
		t.out.Skipped++
	case !bad(r.Status):
		t.out.Passed++
	default:
		t.out.Failed++
		if len(t.out.Bad) < maxBad {
			t.out.Bad = append(t.out.Bad, brief(r))
		}
	}
}

// bad says whether a test that ended so has failed. What was expected to fail
// and did not is no failure unless the report itself says so.
func bad(status string) bool { return status == failed || status == broken }

// brief is what an event tells of a failed test: the message and, where the
// message is but the beginning of what the tool had to say, that.
func brief(r record.TestResult) record.TestResult {
	if len(r.Message) < 200 && strings.HasPrefix(r.Stack, r.Message) {
		r.Message = r.Stack
	}
	r.Message = clip(r.Message, maxMessage)
	r.Stack, r.Output, r.Attachments = "", "", nil
	return r
}

// warn notes what is wrong with the report; line 0 is none in particular.
func (t *tally) warn(line int, text string, args ...any) {
	if len(t.out.Salvaged) >= maxSalvaged {
		return
	}
	text = fmt.Sprintf(text, args...)
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	t.out.Salvaged = append(t.out.Salvaged, clip(text, maxName))
}

// once warns of something that holds for much of the report, and says it but
// once.
func (t *tally) once(text string, args ...any) {
	text = fmt.Sprintf(text, args...)
	if !slices.Contains(t.out.Salvaged, text) {
		t.warn(0, "%s", text)
	}
}

// crowded warns that too many tests are under way at once.
func (t *tally) crowded() {
	t.once("more than %d tests are under way at once: those beyond are left out", maxOpen)
}

// tidy brings a result within the limits.
func tidy(r *record.TestResult) {
	r.Suite, r.Name, r.Params = clip(r.Suite, maxName), clip(r.Name, maxName), clip(r.Params, maxName)
	r.File, r.Type, r.Owner = clip(r.File, maxName), clip(r.Type, maxName), clip(r.Owner, maxName)
	r.Message, r.Stack, r.Output = clip(r.Message, maxMessage), clip(r.Stack, maxText), clip(r.Output, maxText)
	if r.Message == "" && r.Stack != "" {
		r.Message, _, _ = strings.Cut(r.Stack, "\n")
		r.Message = clip(r.Message, maxMessage)
	}
	for _, list := range []*[]string{&r.Groups, &r.Tags, &r.Attachments} {
		if len(*list) == 0 {
			*list = nil
		}
		*list = (*list)[:min(len(*list), maxList)]
		for n, s := range *list {
			if c := clip(s, maxName); c != s {
				(*list)[n] = c
			}
		}
	}
	r.Line = max(0, r.Line)
	r.Seconds = micros(r.Seconds)
}

// micros is a sum of seconds without the dust of adding.
func micros(seconds float64) float64 {
	const century = 100 * 365 * 24 * 3600
	if !(seconds > 0 && seconds <= century) { // nor is it a number, perhaps
		return 0
	}
	return math.Round(seconds*1e6) / 1e6
}

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
