package harvest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// NUnit's reports: version 2 has a root <test-results>, version 3 <test-run>.
// Both nest suites, of namespaces and fixtures; version 3 says of each case
// which class and method it is, version 2 has to be asked by its names. MbUnit
// wrote a relative of them.

func isNUnit(s *sniff) bool {
	return s.root == "test-results" || s.root == "test-run" || s.root == "test-suite"
}

func readNUnit(in *input, t *tally) error {
	n := &nunit{t: t}
	return walkXML(in, t, n)
}

type nunit struct{ t *tally }

func (u *nunit) open(path []*xmlNode) bool {
	n := path[len(path)-1]
	switch n.name {
	case "test-case":
		return true
	case "failure": // of a suite itself
		return len(path) > 1 && path[len(path)-2].name == "test-suite"
	}
	return false
}

func (u *nunit) close(path []*xmlNode) error {
	n := path[len(path)-1]
	switch n.name {
	case "test-case":
		return u.t.add(u.testcase(path[:len(path)-1], n))
	case "failure":
		if len(path) < 2 {
			return nil
		}
		up := path[len(path)-2]
		// A suite that failed because something in it did says so too, and is
		// no test; that its set-up broke is known nowhere else.
		if site := up.attr("site"); site == "SetUp" || site == "TearDown" {
			r := record.TestResult{Suite: cmp.Or(up.attr("classname"), up.attr("fullname"), up.attr("name")), Name: site}
			nunitFailure(&r, broken, n)
			return u.t.add(r)
		}
	}
	return nil
}

func (u *nunit) testcase(path []*xmlNode, n *xmlNode) record.TestResult {
	r := record.TestResult{Seconds: seconds(n.attr("duration", "time")), Status: nunitStatus(n), Output: n.kid("output").words()}
	r.Suite, r.Name, r.Params = nunitName(path, n)
	switch {
	case bad(r.Status):
		nunitFailure(&r, r.Status, n.kid("failure"))
		if r.Message == "" {
			r.Message = n.kid("reason").kid("message").words()
		}
	case r.Status != passed:
		r.Message = cmp.Or(n.kid("reason").kid("message").words(), n.attr("label"))
	}
	for _, up := range append(slices.Clone(path), n) {
		for _, p := range append(up.kid("properties").kids, up.kid("categories").kids...) {
			switch name := p.attr("name"); {
			case p.name == "category":
				r.Tags = append(r.Tags, name)
			case strings.EqualFold(name, "category"):
				r.Tags = append(r.Tags, p.attr("value"))
			case strings.EqualFold(name, "author"), strings.EqualFold(name, "owner"):
				r.Owner = p.attr("value")
			}
		}
	}
	for _, a := range n.kid("attachments").all("attachment") {
		r.Attachments = append(r.Attachments, a.kid("filePath").words())
	}
	return r
}

// nunitName finds the class and the method of a case.
func nunitName(path []*xmlNode, n *xmlNode) (class, name, params string) {
	class, name = n.attr("classname"), n.attr("name")
	if method := n.attr("methodname"); class != "" && method != "" {
		if plain, args := called(name); plain == method {
			return class, method, args
		} else if name == method {
			return class, name, ""
		}
		// The test has a name of its own; the method is where it is found.
		return class, method, name
	}
	var spaces []string
	fixture, method := "", ""
	for _, s := range path {
		if s.name != "test-suite" {
			continue
		}
		switch s.attr("type") {
		case "Namespace", "SetUpFixture":
			spaces = append(spaces, s.attr("name"))
		case "Assembly", "Project", "Test Project":
		case "ParameterizedTest", "ParameterizedMethod", "GenericMethod", "Theory":
			method = s.attr("name")
		default:
			fixture = s.attr("name")
		}
	}
	name, params = called(name)
	space := strings.Join(spaces, ".")
	if method != "" && fixture != "" {
		// A case of parameters has their values in its name, or one of its own.
		class = strings.TrimPrefix(space+"."+fixture, ".")
		rest := strings.TrimPrefix(n.attr("name"), class+".")
		if values, ok := strings.CutPrefix(rest, method); ok {
			rest = values
			if strings.HasPrefix(rest, "(") {
				rest = strings.TrimSuffix(rest[1:], ")")
			}
		}
		return class, method, rest
	}
	for _, whole := range []string{strings.TrimPrefix(space+"."+fixture, "."), space, fixture} {
		if rest, ok := strings.CutPrefix(name, whole+"."); ok && whole != "" {
			if at := strings.LastIndexByte(rest, '.'); at >= 0 && whole == space && identifier(rest) {
				return whole + "." + rest[:at], rest[at+1:], params
			}
			return whole, rest, params
		}
	}
	if at := strings.LastIndexByte(name, '.'); at > 0 && len(spaces) == 0 && identifier(name) {
		return name[:at], name[at+1:], params
	}
	return strings.Trim(space+"."+fixture, "."), name, params
}

func nunitStatus(n *xmlNode) string {
	switch strings.ToLower(n.attr("result")) {
	case "passed", "success":
		return passed
	case "failed", "failure":
		if l := strings.ToLower(n.attr("label")); l == "error" || l == "cancelled" || l == "invalid" {
			return broken
		}
		return failed
	case "error", "cancelled":
		return broken
	case "warning":
		return passed
	case "skipped", "ignored", "inconclusive", "explicit", "notrunnable", "invalid":
		return skipped
	}
	// Old reports say it in two other words, or by what is there.
	switch {
	case strings.EqualFold(n.attr("executed"), "false"):
		return skipped
	case strings.EqualFold(n.attr("success"), "false"), n.kid("failure").name != "":
		return failed
	}
	return passed
}

func nunitFailure(r *record.TestResult, status string, n *xmlNode) {
	r.Status = status
	r.Message, r.Stack = n.kid("message").words(), n.kid("stack-trace").words()
	locate(r, r.Stack)
}

func isMbUnit(s *sniff) bool { return s.root == "report-result" }

func readMbUnit(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"run"},
		group: func(n *xmlNode) string {
			if n.name == "fixture" {
				return cmp.Or(n.attr("type"), n.attr("name"))
			}
			return ""
		},
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Seconds: seconds(n.attr("duration")), Status: passed, Output: join(n.kid("console-out").words(), n.kid("console-error").words())}
			r.Name, r.Params = called(n.attr("name"))
			if len(groups) > 0 {
				r.Suite = groups[len(groups)-1]
			}
			switch strings.ToLower(n.attr("result")) {
			case "failure":
				e := n.kid("exception")
				r.Status, r.Type = failed, e.attr("type")
				r.Message, r.Stack = e.kid("message").words(), e.kid("stack-trace").words()
				locate(&r, r.Stack)
			case "ignore", "skip", "notrun":
				r.Status = skipped
			}
			return []record.TestResult{r}
		},
	})
}

func isGallio(s *sniff) bool {
	return s.root == "report" && (strings.Contains(s.attr("xmlns"), "gallio") || s.elems["testPackageRun"] || s.elems["testModel"])
}

// readGallio reads the report of Gallio, which ran MbUnit 3 and others. A step
// of a test is told by the parts of it, and holds the steps that it is made of.
func readGallio(in *input, t *tally) error { return walkXML(in, t, &gallio{t: t}) }

type gallio struct{ t *tally }

// gallioStep is noted of a step that is open.
type gallioStep struct {
	result record.TestResult
	test   bool
	inner  bool // it holds tests itself, and only sums them up
}

func (g *gallio) open(path []*xmlNode) bool {
	switch n := path[len(path)-1]; n.name {
	case "testStepRun":
		n.note = &gallioStep{}
	case "testStep", "testLog", "result":
		return true
	}
	return false
}

func (g *gallio) close(path []*xmlNode) error {
	n := path[len(path)-1]
	if n.name == "testStepRun" {
		step, _ := n.note.(*gallioStep)
		if step == nil || !step.test {
			return nil
		}
		for _, up := range path[:len(path)-1] {
			if s, _ := up.note.(*gallioStep); s != nil {
				s.inner = true
			}
		}
		if step.inner {
			return nil
		}
		if step.result.Status == "" || n.cut {
			step.result.Status, step.result.Message = broken, cutMessage
		}
		return g.t.add(step.result)
	}
	if len(path) < 2 {
		return nil
	}
	step, _ := path[len(path)-2].note.(*gallioStep)
	if step == nil {
		return nil
	}
	r := &step.result
	switch n.name {
	case "testStep":
		step.test = n.attr("isTestCase") == "true"
		r.Suite = n.kid("codeReference").attr("type")
		r.Name, r.Params = called(n.attr("name"))
		place := n.kid("codeLocation")
		r.File, r.Line = place.attr("path"), int(seconds(place.attr("line")))
	case "testLog":
		for _, s := range n.kid("streams").all("stream") {
			if s.attr("name") == "Failures" || s.attr("name") == "Warnings" {
				r.Stack = join(r.Stack, s.words())
			} else {
				r.Output = join(r.Output, s.words())
			}
		}
	case "result":
		r.Seconds = seconds(n.attr("duration"))
		outcome := n.kid("outcome")
		switch {
		case outcome.attr("status") == "passed":
			r.Status, r.Stack = passed, ""
		case outcome.attr("status") != "failed": // skipped, inconclusive
			r.Status = skipped
		case outcome.attr("category") == "error" || outcome.attr("category") == "timeout":
			r.Status = broken
		default:
			r.Status = failed
		}
	}
	return nil
}
