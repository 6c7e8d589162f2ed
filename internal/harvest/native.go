package harvest

import (
	"cmp"
	"path"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// The formats of frameworks for C, C++, Ada and Pascal, each of which has its
// own.

// isCppUnit: CppUnit and AUnit write the same.
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
