package harvest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// JUnit reads a report in the JUnit XML format and in no other. It has no
// standard; what is understood is what Ant, Surefire (with its rerun and flaky
// elements), pytest, jest-junit, gotestsum, googletest, nextest, PHPUnit,
// Bazel and their likes write: suites nested or not, with or without a root
// around them, several results in one case, results outside of any case.
//
// The counts are those of the cases themselves; what a suite's attributes
// claim counts only where there are no cases. Two cases of one name are two
// tests: nothing says whether the second is another attempt or another row of
// a table, and a failure is not to be lost. The name is the report's, for the
// answer's Source.
func JUnit(r io.Reader, name string) (record.TestsReported, error) {
	f := &format{name: "junit", read: readJUnit}
	return f.run(newInput(r, name), nil)
}

func isJUnit(s *sniff) bool {
	switch s.root {
	case "testsuites", "testsuite", "testcase":
		return true
	case "testrun":
		return s.elems["testsuite"] || s.elems["testcase"]
	}
	return false
}

func readJUnit(in *input, t *tally) error {
	if !isJUnit(&in.head) {
		if in.head.root == "" {
			return errors.New("it is empty, or no XML")
		}
		return fmt.Errorf("it is no JUnit report: its first element is <%s>", clip(in.head.root, 50))
	}
	return walkXML(in, t, &junit{t: t})
}

// junit is a report while it is read.
type junit struct{ t *tally }

// junitSuite is noted of a suite that is open. Some tools write suites without
// cases: then the numbers that the suite claims are all there is.
type junitSuite struct {
	bare    bool
	skipped bool // the suite says so of itself
	cases   int
	claimed record.TestsReported
}

func (j *junit) open(path []*xmlNode) bool {
	n := path[len(path)-1]
	switch n.name {
	case "testsuite":
		if s := suiteOf(path[:len(path)-1]); s != nil {
			s.note.(*junitSuite).bare = false
		}
		n.note = &junitSuite{bare: true, claimed: claims(n)}
	case "testcase":
		return true
	case "failure", "error":
		up := path[max(0, len(path)-2)]
		return up.name == "testsuite"
	}
	return false
}

// suiteOf is the innermost suite on a path; nil when there is none.
func suiteOf(path []*xmlNode) *xmlNode {
	for _, n := range slices.Backward(path) {
		if n.name == "testsuite" {
			return n
		}
	}
	return nil
}

func (j *junit) close(path []*xmlNode) error {
	n, above := path[len(path)-1], path[:len(path)-1]
	switch suite := suiteOf(above); {
	case n.name == "testsuite":
		if s := n.note.(*junitSuite); s.bare && !n.cut {
			if s.skipped {
				s.claimed.Passed, s.claimed.Skipped = 0, s.claimed.Skipped+s.claimed.Passed
			}
			j.t.out.Passed += s.claimed.Passed
			j.t.out.Failed += s.claimed.Failed
			j.t.out.Skipped += s.claimed.Skipped
			j.t.out.Seconds += s.claimed.Seconds
		}
	case n.name == "skipped" && suite != nil && suite == above[len(above)-1]:
		suite.note.(*junitSuite).skipped = true
	case n.name == "testcase":
		if suite != nil {
			suite.note.(*junitSuite).bare = false
		}
		return j.testcase(above, n)
	case suite != nil && suite == above[len(above)-1] && (n.name == "failure" || n.name == "error"):
		// The suite itself broke.
		suite.note.(*junitSuite).bare = false
		r := record.TestResult{Suite: suite.attr("name"), Name: suite.attr("name"), File: suite.attr("file", "filepath")}
		explain(&r, junitStatus[n.name], n)
		return j.t.add(r)
	}
	return nil
}

var junitStatus = map[string]string{
	"failure": failed, "error": broken, "skipped": skipped, "disabled": skipped, "ignored": skipped,
	// Surefire's, of the attempts that were not the last.
	"flakyFailure": failed, "flakyError": broken, "rerunFailure": failed, "rerunError": broken,
}

// testcase takes a case: the result it has and those of other attempts at it.
func (j *junit) testcase(path []*xmlNode, n *xmlNode) error {
	r := record.TestResult{Name: n.attr("name"), Status: passed, Seconds: junitSeconds(n), File: n.attr("file", "filepath")}
	r.Line, _ = strconv.Atoi(n.attr("line", "lineno"))
	var suites []string
	for _, s := range path {
		if s.name == "testsuite" {
			if len(suites) == 1 && rooted(suites[0]) {
				suites = nil // PHPUnit's outermost suite is its configuration's file
			}
			suites = append(suites, s.attr("name"))
			r.File = cmp.Or(r.File, s.attr("file", "filepath"))
		}
	}
	r.Suite = n.attr("classname", "class")
	if last := len(suites) - 1; last >= 0 {
		switch inner := suites[last]; {
		case r.Suite == "":
			r.Suite, r.Groups = suites[0], suites[1:]
		case strings.HasSuffix(inner, "/"+r.Suite), strings.HasSuffix(inner, "."+r.Suite):
			r.Suite = inner // the same, with all that it is in
		}
	}
	junitName(&r, path, n)
	for _, name := range []string{"status", "result"} {
		if slices.Contains(notRun, strings.ToLower(n.attr(name))) {
			r.Status = skipped
		}
	}
	var flaky, rerun []record.TestResult
	base, said := r, false
	for _, k := range n.kids {
		status := junitStatus[k.name]
		switch {
		case k.name == "system-out" || k.name == "system-err":
			r.Output = join(r.Output, k.words())
		case k.name == "properties":
			for _, p := range k.kids {
				switch value := cmp.Or(p.attr("value"), p.words()); p.attr("name") {
				case "owner":
					r.Owner = value
				case "tag", "tags":
					r.Tags = append(r.Tags, value)
				case "attachment":
					r.Attachments = append(r.Attachments, value)
				}
			}
		case status == "":
		case strings.HasPrefix(k.name, "flaky"), strings.HasPrefix(k.name, "rerun"):
			a := base
			a.Seconds = junitSeconds(k)
			explain(&a, status, k)
			if k.name[0] == 'f' {
				flaky = append(flaky, a)
			} else {
				rerun = append(rerun, a)
			}
		case worse(status, r.Status) || !said && status == r.Status:
			explain(&r, status, k)
			said = true
		}
	}
	if strings.Contains(r.Output, "[[ATTACHMENT|") {
		for _, m := range attached().FindAllStringSubmatch(r.Output, maxList) {
			r.Attachments = append(r.Attachments, m[1])
		}
	}
	if n.cut && !bad(r.Status) {
		r.Status, r.Message = broken, cutMessage
	}
	// What passed in the end was flaky before; what failed was tried again after.
	return j.t.add(append(append(flaky, r), rerun...)...)
}

// junitSeconds is how long a case took. What would be more than eleven days is
// a number of nanoseconds, as container-structure-test writes them.
func junitSeconds(n *xmlNode) float64 {
	const days = len("1000000")
	text := n.attr("time", "duration")
	if len(text) >= days && digits(text) {
		nanos, _ := strconv.ParseFloat(text, 64)
		return nanos / 1e9
	}
	return seconds(text)
}

// rooted says whether a name is a whole path.
func rooted(name string) bool {
	return strings.HasPrefix(name, "/") || len(name) > 2 && name[1] == ':' && (name[2] == '\\' || name[2] == '/')
}

// junitName takes a case's name apart, as the tools do that are known by it.
func junitName(r *record.TestResult, path []*xmlNode, n *xmlNode) {
	if s := suiteOf(path); s != nil {
		// Perl's prove puts a test's number before its name, and that changes
		// with every test that is added before it.
		note := s.note.(*junitSuite)
		note.cases++
		if plain, ok := strings.CutPrefix(r.Name, strconv.Itoa(note.cases)+" - "); ok && plain != "" {
			r.Name = plain
			return
		}
	}
	if goTestName(r.Name) {
		whole := goResult(r.Suite, r.Name)
		r.Groups, r.Name = whole.Groups, whole.Name
		return
	}
	if googleName(r, n.attr("value_param", "type_param")) {
		return
	}
	r.Name, r.Params = parametrised(r.Name)
}

// goTestName says whether a name is that of a subtest of go test.
func goTestName(name string) bool {
	top, _, ok := strings.Cut(name, "/")
	if !ok || !identifier(top) {
		return false
	}
	for _, kind := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if rest, ok := strings.CutPrefix(top, kind); ok && rest != "" && !(rest[0] >= 'a' && rest[0] <= 'z') {
			return true
		}
	}
	return false
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// attached is how tools name files in a test's output that belong to it.
var attached = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\[\[ATTACHMENT\|([^\]\n]+)\]\]`)
})

// explain says how a test ended and what the element has to say about it.
func explain(r *record.TestResult, status string, n *xmlNode) {
	r.Status = status
	r.Message, r.Type = n.attr("message"), n.attr("type")
	stack := n.kid("stackTrace")
	r.Stack = strings.TrimSpace(n.text)
	if t := stack.words(); t != "" {
		r.Stack = t
	}
	if out := join(n.kid("system-out").words(), n.kid("system-err").words()); out != "" {
		r.Output = out
	}
	if r.Message == "" && r.Stack == "" {
		r.Message = r.Type
	}
	if r.Line == 0 {
		locate(r, r.Stack)
	}
}

// join is two texts, one after the other.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n" + b
}

// notRun are the words that tools put into a case's status or result when the
// case did not run.
var notRun = []string{"notrun", "not_run", "disabled", "skipped", "suppressed", "ignored", "pending"}

// worse orders: passed, skipped, failed, error.
func worse(a, b string) bool {
	order := []string{passed, skipped, failed, broken}
	return slices.Index(order, a) > slices.Index(order, b)
}

// claims is what a suite says of itself; nothing when it makes no sense.
func claims(suite *xmlNode) record.TestsReported {
	const most = 10_000_000
	number := func(names ...string) int {
		n, err := strconv.Atoi(strings.TrimSpace(suite.attr(names...)))
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
		c.Seconds = seconds(suite.attr("time", "duration"))
	}
	return c
}
