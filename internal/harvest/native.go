package harvest

import (
	"cmp"
	"encoding/json"
	"path"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// The formats of frameworks for C, C++, Ada and Pascal, each of which has its
// own.

// isCppUnit: CppUnit, AUnit and Embunit write nearly the same.
func isCppUnit(s *sniff) bool { return s.root == "TestRun" && !isTRX(s) }

func readCppUnit(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"Test", "FailedTest"},
		results: func(_ []string, above []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Status: passed, Seconds: seconds(cmp.Or(n.kid("Time").words(), n.attr("elapsed")))}
			r.Suite, r.Name = split(n.kid("Name").words(), "::", " : ", ".")
			in := ""
			if len(above) > 0 {
				in = above[len(above)-1].name
			}
			switch in {
			case "TestRun", "SuccessfulTests", "FailedTests", "IgnoredTests", "SkippedTests", "":
			default: // Embunit: the suite is an element of its name
				r.Suite, r.Name = in, n.kid("Name").words()
			}
			if n.name == "FailedTest" || in == "FailedTests" {
				r.Status, r.Type = failed, n.kid("FailureType").words()
				if strings.EqualFold(r.Type, "error") {
					r.Status = broken
				}
				r.Message = cmp.Or(n.kid("Message").words(), n.kid("Exception").words())
				r.Stack = n.kid("Exception").words()
				place := n.kid("Location")
				r.File = place.kid("File").words()
				r.Line, _ = strconv.Atoi(place.kid("Line").words())
			} else if in == "IgnoredTests" || in == "SkippedTests" {
				r.Status = skipped
			}
			return []record.TestResult{r}
		},
	})
}

// split takes a name apart at the first of the signs that are in it.
func split(name string, signs ...string) (suite, rest string) {
	for _, sign := range signs {
		if suite, rest, ok := strings.Cut(name, sign); ok && suite != "" && rest != "" {
			return suite, rest
		}
	}
	return "", name
}

func isBoost(s *sniff) bool {
	return s.root == "TestLog" || s.root == "TestResult" && s.elems["TestSuite"]
}

// readBoost reads the log of Boost.Test and its result, which has no details.
func readBoost(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"TestCase"},
		group: func(n *xmlNode) string {
			if n.name == "TestSuite" {
				return n.attr("name")
			}
			return ""
		},
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Status: passed, Name: n.attr("name"), File: n.attr("file")}
			r.Line, _ = strconv.Atoi(n.attr("line"))
			if len(groups) > 0 {
				r.Suite, r.Groups = groups[0], groups[1:]
			}
			micros, _ := strconv.ParseFloat(n.kid("TestingTime").words(), 64)
			r.Seconds = micros / 1e6
			if n.attr("skipped") == "yes" || n.attr("result") == "skipped" {
				r.Status, r.Message = skipped, n.attr("reason")
			}
			switch n.attr("result") {
			case "failed":
				r.Status = failed
			case "aborted":
				r.Status = broken
			}
			for _, k := range n.kids {
				status := map[string]string{"Error": failed, "FatalError": broken, "Exception": broken}[k.name]
				if status == "" {
					if k.name == "Message" {
						r.Output = join(r.Output, k.words())
					}
					continue
				}
				r.Stack = join(r.Stack, k.words())
				if !worse(status, r.Status) {
					continue
				}
				r.Status, r.Type, r.Message = status, k.name, cmp.Or(strings.TrimSpace(k.text), k.words())
				place := k
				if last := k.kid("LastCheckpoint"); last.attr("file") != "" {
					place = last
				}
				r.File = place.attr("file")
				r.Line, _ = strconv.Atoi(place.attr("line"))
			}
			return []record.TestResult{r}
		},
	})
}

func isCheck(s *sniff) bool {
	return s.root == "testsuites" && (strings.Contains(s.attr("xmlns"), "check.sourceforge") || s.elems["suite"] && s.elems["test"] && !s.elems["testsuite"])
}

func readCheck(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"test"}, title: "title",
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.kid("id").words(), Seconds: seconds(n.kid("duration").words())}
			if len(groups) > 0 {
				r.Suite = groups[0]
			}
			if core := n.kid("description").words(); core != "" {
				r.Groups = []string{core}
			}
			if i := n.kid("iteration").words(); i != "0" {
				r.Params = i
			}
			file, line, _ := strings.Cut(n.kid("fn").words(), ":")
			r.File = path.Join(n.kid("path").words(), file)
			r.Line, _ = strconv.Atoi(line)
			r.Status = map[string]string{"success": passed, "failure": failed}[n.attr("result")]
			if r.Status == "" {
				r.Status = broken
			}
			if r.Status != passed {
				r.Message = n.kid("message").words()
			}
			return []record.TestResult{r}
		},
	})
}

func isCUnit(s *sniff) bool { return s.root == "CUNIT_TEST_RUN_REPORT" }

func readCUnit(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"CUNIT_RUN_TEST_SUCCESS", "CUNIT_RUN_TEST_FAILURE", "CUNIT_RUN_SUITE_FAILURE"}, title: "SUITE_NAME",
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.kid("TEST_NAME").words(), Status: passed, Seconds: seconds(n.kid("TEST_DURATION", "DURATION").words())}
			if len(groups) > 0 {
				r.Suite = groups[0]
			}
			switch n.name {
			case "CUNIT_RUN_SUITE_FAILURE":
				r.Suite = n.kid("SUITE_NAME").words()
				r.Name, r.Status, r.Message = r.Suite, broken, n.kid("FAILURE_REASON").words()
			case "CUNIT_RUN_TEST_FAILURE":
				r.Status, r.Message, r.File = failed, n.kid("CONDITION").words(), n.kid("FILE_NAME").words()
				r.Line, _ = strconv.Atoi(n.kid("LINE_NUMBER").words())
			}
			return []record.TestResult{r}
		},
	})
}

func isFPCUnit(s *sniff) bool { return s.root == "TestResults" && s.elems["TestListing"] }

func readFPCUnit(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"Test"},
		group: func(n *xmlNode) string {
			if n.name == "TestSuite" {
				return n.attr("Name")
			}
			return ""
		},
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.attr("Name"), Seconds: clock(n.attr("ElapsedTime")), Status: passed}
			if len(groups) > 0 {
				r.Suite, r.Groups = groups[0], groups[1:]
			}
			switch strings.ToLower(n.attr("Result")) {
			case "ok":
				return []record.TestResult{r}
			case "ignored":
				r.Status = skipped
			case "failed":
				r.Status = failed
			default:
				r.Status = broken
			}
			r.Message, r.Type = n.kid("Message").words(), n.kid("ExceptionClass").words()
			r.File = n.kid("SourceUnitName").words()
			r.Line, _ = strconv.Atoi(n.kid("LineNumber").words())
			return []record.TestResult{r}
		},
	})
}

func isGTester(s *sniff) bool { return s.root == "gtester" }

func readGTester(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"testcase"},
		group: func(n *xmlNode) string {
			if n.name == "testbinary" {
				return n.attr("path")
			}
			return ""
		},
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Status: passed, Seconds: seconds(n.kid("duration").words())}
			parts := strings.FieldsFunc(n.attr("path"), func(c rune) bool { return c == '/' })
			if len(parts) > 0 {
				r.Groups, r.Name = parts[:len(parts)-1], parts[len(parts)-1]
			}
			if len(groups) > 0 {
				// The binary is most often the first part of its tests' paths.
				if r.Suite = groups[0]; len(r.Groups) > 0 && r.Groups[0] == r.Suite {
					r.Groups = r.Groups[1:]
				}
			}
			status := n.kid("status")
			for _, m := range n.all("message") {
				r.Output = join(r.Output, m.words())
			}
			switch {
			case n.attr("skipped") == "1", strings.HasPrefix(status.attr("result"), "skip"):
				r.Status = skipped
			case status.attr("result") == "failed":
				r.Status, r.Message = failed, n.kid("error").words()
				locate(&r, r.Message)
			case status.attr("result") == "":
				r.Status, r.Message = broken, "it did not come to its end"
			}
			return []record.TestResult{r}
		},
	})
}

func isTusar(s *sniff) bool { return s.root == "tusar" }

func readTusar(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"testcase"},
		group: func(n *xmlNode) string {
			if n.name == "testsuite" {
				return n.attr("name", "fulltestname")
			}
			return ""
		},
		results: func(groups []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.attr("testname", "fulltestname"), Status: passed, Seconds: seconds(n.attr("time"))}
			if len(groups) > 0 {
				r.Suite, r.Groups = groups[0], groups[1:]
			}
			for _, k := range n.kids {
				if status := junitStatus[k.name]; status != "" && worse(status, r.Status) {
					explain(&r, status, k)
				}
			}
			return []record.TestResult{r}
		},
	})
}

func isValgrind(s *sniff) bool { return s.root == "valgrindoutput" }

// readValgrind makes one test of a run of a program under Valgrind: it passes
// when Valgrind has nothing to say.
func readValgrind(in *input, t *tally) error {
	v := &valgrind{t: t, result: record.TestResult{Suite: "valgrind", Status: broken, Message: "it did not come to its end"}}
	if err := walkXML(in, t, v); err != nil {
		return err
	}
	return t.add(v.result)
}

type valgrind struct {
	t      *tally
	result record.TestResult
	begun  float64
}

func (v *valgrind) open(path []*xmlNode) bool {
	switch path[len(path)-1].name {
	case "error", "fatal_signal", "status", "argv", "protocoltool":
		return true
	}
	return false
}

func (v *valgrind) close(above []*xmlNode) error {
	n, r := above[len(above)-1], &v.result
	switch n.name {
	case "protocoltool":
		r.Suite = "valgrind-" + n.words()
	case "argv":
		exe := n.kid("exe").words()
		r.Name = path.Base(strings.ReplaceAll(exe, "\\", "/"))
		for _, a := range n.all("arg") {
			r.Params = strings.TrimSpace(r.Params + " " + a.words())
		}
	case "status":
		at := n.kid("time").words() // days:hours:minutes:seconds
		if day, rest, ok := strings.Cut(at, ":"); ok && strings.Count(rest, ":") == 2 {
			at = day + "." + rest
		}
		if n.kid("state").words() == "FINISHED" {
			if r.Seconds = max(0, clock(at)-v.begun); !bad(r.Status) || r.Stack == "" {
				r.Status, r.Message = passed, ""
			}
		} else {
			v.begun = clock(at)
		}
	case "error":
		what := cmp.Or(n.kid("what").words(), n.kid("xwhat").kid("text").words(), n.kid("kind").words())
		v.say(failed, n.kid("kind").words(), what, n)
	case "fatal_signal":
		v.say(broken, n.kid("signame").words(), "it was ended by "+n.kid("signame").words(), n)
	}
	return nil
}

// say takes one thing that Valgrind found. The place is that of the first
// frame whose source is known.
func (v *valgrind) say(status, kind, what string, n *xmlNode) {
	r := &v.result
	if r.Stack == "" {
		r.Status, r.Type, r.Message = status, kind, what
	}
	r.Stack = join(r.Stack, what)
	for _, f := range n.kid("stack").all("frame") {
		if len(r.Stack) > maxText {
			return
		}
		r.Stack += "\n    at " + cmp.Or(f.kid("fn").words(), f.kid("ip").words())
		if file := f.kid("file").words(); file != "" {
			r.Stack += " (" + file + ":" + f.kid("line").words() + ")"
			if r.File == "" {
				r.File = path.Join(f.kid("dir").words(), file)
				r.Line, _ = strconv.Atoi(f.kid("line").words())
			}
		}
	}
}

func isCatch(s *sniff) bool {
	return s.root == "Catch2TestRun" || s.root == "Catch" || s.root == "doctest"
}

// readCatch reads the XML of Catch2 and of doctest, which is modelled on it.
func readCatch(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"TestCase"},
		group: func(n *xmlNode) string {
			if n.name == "TestSuite" {
				return n.attr("name")
			}
			return ""
		},
		results: func(groups []string, above []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.attr("name"), File: n.attr("filename"), Status: passed}
			r.Line, _ = strconv.Atoi(n.attr("line"))
			switch {
			case len(groups) > 0:
				r.Suite, r.Groups = groups[0], groups[1:]
			case len(above) > 0: // the program
				r.Suite = above[0].attr("name", "binary")
			}
			r.Tags = strings.FieldsFunc(n.attr("tags"), func(c rune) bool { return c == '[' || c == ']' })
			end := n.kid("OverallResult", "OverallResultsAsserts")
			r.Seconds = seconds(end.attr("durationInSeconds", "duration"))
			r.Output = join(end.kid("StdOut").words(), end.kid("StdErr").words())
			catchFailures(&r, n, 0)
			switch ok := end.attr("success", "test_case_success"); {
			case n.attr("skipped") == "true", ok == "true" && end.attr("skips") != "" && end.attr("skips") != "0":
				r.Status = skipped
			case end.name == "":
				if !bad(r.Status) {
					r.Status, r.Message = broken, "it did not come to its end"
				}
			case ok == "true": // what failed in it was meant to
				r.Status, r.Message, r.Stack = passed, "", ""
			case ok == "false" && r.Status == passed:
				r.Status = failed
			}
			return []record.TestResult{r}
		},
	})
}

// catchFailures finds what failed in a case and in its sections. The first
// says where.
func catchFailures(r *record.TestResult, n *xmlNode, depth int) {
	for _, k := range n.kids {
		status := failed
		switch k.name {
		case "Section", "SubCase":
			if depth < maxDepth {
				catchFailures(r, k, depth+1)
			}
			continue
		case "Exception", "FatalErrorCondition":
			status = broken
		case "Failure":
		case "Expression":
			if k.attr("success") != "false" {
				continue
			}
		default:
			continue
		}
		text := k.words()
		if original := k.kid("Original").words(); original != "" {
			text = k.attr("type") + "(" + original + ")"
			if e := k.kid("Exception"); e.name != "" {
				status, text = broken, text+": "+e.words()
			} else if expanded := k.kid("Expanded").words(); expanded != "" {
				text += " expands to " + expanded
			}
		}
		if r.Status == passed {
			r.Message, r.Type = text, cmp.Or(k.attr("type"), k.name)
			if file := k.attr("filename"); file != "" {
				r.File = file
				r.Line, _ = strconv.Atoi(k.attr("line"))
			}
		}
		r.Stack = join(r.Stack, text)
		if worse(status, r.Status) {
			r.Status = status
		}
	}
}

func isQTest(s *sniff) bool {
	return s.root == "TestCase" && (s.elems["TestFunction"] || s.elems["QtVersion"])
}

// readQTest reads the XML of Qt Test. The rows of a function's data are cases
// of its parameters.
func readQTest(in *input, t *tally) error {
	q := &qtest{xmlCases{t: t, cases: []string{"TestFunction"}}}
	q.results = func([]string, []*xmlNode, *xmlNode) []record.TestResult { return nil }
	return walkXML(in, t, q)
}

type qtest struct{ xmlCases }

func (q *qtest) close(path []*xmlNode) error {
	n := path[len(path)-1]
	if n.name != "TestFunction" {
		return nil
	}
	var order []string
	rows := map[string]*record.TestResult{}
	for _, k := range n.kids {
		status := qtestStatus[k.attr("type")]
		if k.name != "Incident" && !(k.name == "Message" && k.attr("type") == "skip") || status == "" {
			continue
		}
		tag := k.kid("DataTag").words()
		r := rows[tag]
		if r == nil {
			r = &record.TestResult{Suite: path[0].attr("name"), Name: n.attr("name"), Params: tag, Status: passed}
			rows[tag] = r
			order = append(order, tag)
		}
		// An expected failure is told before the pass that follows from it.
		if status != passed && (r.Status == passed || worse(status, r.Status)) {
			r.Status, r.Message, r.File = status, k.kid("Description").words(), k.attr("file")
			r.Line, _ = strconv.Atoi(k.attr("line"))
		}
	}
	if len(order) == 0 {
		order = append(order, "")
		rows[""] = &record.TestResult{Suite: path[0].attr("name"), Name: n.attr("name"), Status: broken, Message: "it did not come to its end"}
	}
	rows[order[0]].Seconds = seconds(n.kid("Duration").attr("msecs")) / 1e3
	for _, tag := range order {
		if err := q.t.add(*rows[tag]); err != nil {
			return err
		}
	}
	return nil
}

// Qt counts what passed against its expectation as failed.
var qtestStatus = map[string]string{
	"pass": passed, "fail": failed, "xfail": xfail, "xpass": failed, "skip": skipped, "bpass": skipped, "bfail": skipped,
}

func isUnitTestPP(s *sniff) bool { return s.root == "unittest-results" }

func readUnitTestPP(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"test"},
		results: func(_ []string, _ []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Suite: n.attr("suite"), Name: n.attr("name"), Seconds: seconds(n.attr("time")), Status: passed}
			for _, f := range n.all("failure") {
				r.Status = failed
				r.Stack = join(r.Stack, f.attr("message"))
			}
			// "a.cpp(12) : error: Expected 4 but was 5"
			if place, what, ok := strings.Cut(r.Stack, ") : "); ok {
				if file, line, ok := strings.Cut(place, "("); ok && digits(line) {
					r.File, r.Message = file, strings.TrimPrefix(strings.SplitN(what, "\n", 2)[0], "error: ")
					r.Line, _ = strconv.Atoi(line)
				}
			}
			return []record.TestResult{r}
		},
	})
}

func isGoogleJSON(s *sniff) bool { return s.has("testsuites[].testsuite") }

type googleSuite struct {
	Name      string
	TestSuite []struct {
		Name, ClassName, Status, Result, Time, File string
		Line                                        int
		ValueParam                                  string `json:"value_param"`
		TypeParam                                   string `json:"type_param"`
		Failures                                    []struct{ Failure, Type string }
		Skipped                                     []struct{ Message string }
	}
}

// readGoogleJSON reads googletest's --gtest_output=json.
func readGoogleJSON(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"testsuites[]": each(func(s *googleSuite) error {
			for _, c := range s.TestSuite {
				r := record.TestResult{Suite: cmp.Or(c.ClassName, s.Name), Name: c.Name, Seconds: seconds(c.Time), File: c.File, Line: c.Line, Status: passed}
				googleName(&r, cmp.Or(c.ValueParam, c.TypeParam))
				if c.Status == "NOTRUN" || c.Result == "SKIPPED" || c.Result == "SUPPRESSED" {
					r.Status = skipped
				}
				for _, m := range c.Skipped {
					r.Message = join(r.Message, m.Message)
				}
				for _, f := range c.Failures {
					r.Status, r.Stack = failed, join(r.Stack, f.Failure)
				}
				if err := t.add(r); err != nil {
					return err
				}
			}
			return nil
		}),
	})
}

// googleName takes the parameters off a name: "Adds/0", in a suite
// "Instance/Fixture" when the report says no more of them.
func googleName(r *record.TestResult, value string) bool {
	at := strings.LastIndexByte(r.Name, '/')
	if at <= 0 || value == "" && !(strings.Contains(r.Suite, "/") && digits(r.Name[at+1:])) {
		return false
	}
	r.Name, r.Params = r.Name[:at], r.Name[at+1:]
	if value != "" {
		r.Params += ": " + value
	}
	return true
}
