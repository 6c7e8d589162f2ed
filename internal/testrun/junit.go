package testrun

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// WriteJUnit writes results as one JUnit report: suites by name, tests in the order in
// which they came, attempts before the last as rerunFailure and flakyFailure elements.
func WriteJUnit(w io.Writer, results []record.TestResult) error {
	suites := map[string][]*junitCase{}
	cases := map[string]*junitCase{}
	for i := range results {
		r := &results[i]
		// Attempts follow each other; two results of one name that are no attempts are two.
		key := r.Suite + "\x00" + strings.Join(r.Groups, "\x00") + "\x00" + r.Name + "\x00" + r.Params
		if c := cases[key]; c != nil && r.Attempt > 1 {
			c.attempts = append(c.attempts, r)
			continue
		}
		c := &junitCase{attempts: []*record.TestResult{r}}
		cases[key] = c
		suites[r.Suite] = append(suites[r.Suite], c)
	}
	b := bufio.NewWriter(w)
	var all junitSum
	for _, list := range suites {
		all.add(list)
	}
	fmt.Fprintf(b, "%s<testsuites tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%.3f\">\n", xml.Header, all.tests, all.failures, all.errors, all.skipped, all.seconds)
	for _, name := range slices.Sorted(maps.Keys(suites)) {
		var sum junitSum
		sum.add(suites[name])
		fmt.Fprintf(b, "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%.3f\">\n", escaped(name), sum.tests, sum.failures, sum.errors, sum.skipped, sum.seconds)
		for _, c := range suites[name] {
			c.write(b)
		}
		fmt.Fprint(b, "  </testsuite>\n")
	}
	fmt.Fprint(b, "</testsuites>\n")
	return b.Flush()
}

// junitCase is a test with its attempts.
type junitCase struct{ attempts []*record.TestResult }

type junitSum struct {
	tests, failures, errors, skipped int
	seconds                          float64
}

func (s *junitSum) add(list []*junitCase) {
	for _, c := range list {
		last := c.attempts[len(c.attempts)-1]
		s.tests++
		s.seconds += max(last.Seconds, 0)
		switch last.Status {
		case record.TestFailed:
			s.failures++
		case record.TestError:
			s.errors++
		case record.TestSkipped:
			s.skipped++
		}
	}
}

func (c *junitCase) write(b *bufio.Writer) {
	last := c.attempts[len(c.attempts)-1]
	class := strings.Join(append([]string{last.Suite}, last.Groups...), ".")
	name := last.Name
	if last.Params != "" && !strings.Contains(name, last.Params) {
		name += "[" + last.Params + "]"
	}
	fmt.Fprintf(b, "    <testcase classname=\"%s\" name=\"%s\" time=\"%.3f\"", escaped(class), escaped(name), max(last.Seconds, 0))
	if last.File != "" {
		fmt.Fprintf(b, " file=\"%s\"", escaped(last.File))
	}
	if last.Line > 0 {
		fmt.Fprintf(b, " line=\"%d\"", last.Line)
	}
	ended := last.Status == record.TestFailed || last.Status == record.TestError
	if !ended && last.Status != record.TestSkipped && len(c.attempts) == 1 {
		fmt.Fprint(b, "/>\n")
		return
	}
	fmt.Fprint(b, ">\n")
	write := func(element string, r *record.TestResult) {
		fmt.Fprintf(b, "      <%s message=\"%s\" type=\"%s\">%s</%[1]s>\n", element, escaped(r.Message), escaped(r.Type), escaped(r.Stack))
	}
	switch last.Status {
	case record.TestFailed:
		write("failure", last)
	case record.TestError:
		write("error", last)
	case record.TestSkipped:
		fmt.Fprintf(b, "      <skipped message=\"%s\"/>\n", escaped(last.Message))
	}
	for _, r := range c.attempts[:len(c.attempts)-1] {
		if bad := r.Status == record.TestFailed || r.Status == record.TestError; bad && ended {
			write("rerunFailure", r)
		} else if bad {
			write("flakyFailure", r)
		}
	}
	fmt.Fprint(b, "    </testcase>\n")
}

// escaped is a text as XML can hold it.
func escaped(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails; signs that XML has not are replaced
	return b.String()
}
