package harvest

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// What pytest writes by its plugins: pytest-reportlog, an event a line, and
// pytest-json-report. (What it writes itself is JUnit XML.)

func isReportLog(s *sniff) bool { return s.keys["$report_type"] }

type pytestReport struct {
	ReportType string `json:"$report_type"`
	NodeID     string
	Location   []any // the file, the line from 0, the name
	Outcome    string
	When       string
	WasXFail   *anyText
	Duration   anyNumber
	LongRepr   json.RawMessage
	Sections   [][]string
}

// readReportLog reads the log of pytest-reportlog. A test is told in three
// parts, its set-up, itself and what comes after; those of several tests may
// be mixed.
func readReportLog(in *input, t *tally) error {
	open := map[string]*pytestTest{}
	done := func(p *pytestTest) error {
		return t.add(append(p.before, p.result)...)
	}
	err := readEvents(in, t, func(e *pytestReport) error {
		switch e.ReportType {
		case "CollectReport":
			if e.Outcome != failed {
				return nil
			}
			r := pytestName(e.NodeID)
			r.Status, r.Stack = broken, longRepr(&r, e.LongRepr)
			r.Name = cmp.Or(r.Name, r.Suite)
			return t.add(r)
		case "TestReport":
		default:
			return nil
		}
		p := open[e.NodeID]
		if p == nil {
			if len(open) >= maxOpen {
				t.crowded()
				return nil
			}
			p = &pytestTest{result: pytestName(e.NodeID)}
			p.result.Status = passed
			p.result.Line = pytestLine(e.Location)
			open[e.NodeID] = p
		}
		p.take(e)
		if e.When == "teardown" {
			delete(open, e.NodeID)
			if !p.again {
				return done(p)
			}
			// It is run again: what follows is of the same test.
			p.before, p.again = append(p.before, p.result), false
			if len(p.before) > maxList {
				p.before = p.before[1:]
			}
			p.result = pytestName(e.NodeID)
			p.result.Status, p.result.Line = passed, pytestLine(e.Location)
			open[e.NodeID] = p
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(open)) {
		if p := open[id]; !bad(p.result.Status) {
			p.result.Status, p.result.Message = broken, "it did not come to its end"
		}
		if err := done(open[id]); err != nil {
			return err
		}
	}
	return nil
}

// pytestTest is a test under way.
type pytestTest struct {
	result record.TestResult
	before []record.TestResult // attempts
	again  bool
}

func (p *pytestTest) take(e *pytestReport) {
	r := &p.result
	r.Seconds += float64(e.Duration)
	status := passed
	switch {
	case e.WasXFail != nil && e.Outcome == skipped:
		status, r.Message = xfail, string(*e.WasXFail)
	case e.WasXFail != nil && e.Outcome == passed && e.When == "call":
		status, r.Message = xpass, string(*e.WasXFail)
	case e.Outcome == skipped:
		status = skipped
	case e.Outcome == "rerun":
		status, p.again = failed, true
	case e.Outcome == failed && e.When == "call":
		status = failed
	case e.Outcome == failed:
		status = broken
	}
	if status == passed || bad(r.Status) {
		return
	}
	r.Status = status
	if text := longRepr(r, e.LongRepr); status == skipped {
		r.Message = text
	} else if bad(status) {
		r.Stack = text
		for _, s := range e.Sections {
			if len(s) == 2 && len(r.Output) < maxText {
				r.Output = join(r.Output, s[1])
			}
		}
	}
}

// pytestName takes a test's identity apart: "tests/test_a.py::TestB::test_c[1-2]".
func pytestName(id string) record.TestResult {
	head, params := id, ""
	if at := strings.IndexByte(id, '['); at > 0 && strings.HasSuffix(id, "]") {
		head, params = id[:at], id[at+1:len(id)-1]
	}
	parts := strings.Split(head, "::")
	r := record.TestResult{Suite: parts[0], File: parts[0], Params: params}
	if n := len(parts); n > 1 {
		r.Groups, r.Name = parts[1:n-1], parts[n-1]
	}
	return r
}

// pytestLine is the line of a location.
func pytestLine(location []any) int {
	if len(location) > 1 {
		if n, ok := location[1].(float64); ok && n >= 0 && n < 1e9 {
			return int(n) + 1
		}
	}
	return 0
}

// longRepr is the text of a failure, which pytest tells in several forms. It
// notes the message of the crash, where there is one.
func longRepr(r *record.TestResult, data json.RawMessage) string {
	var text string
	if json.Unmarshal(data, &text) == nil {
		return text
	}
	var skip []any // the file, the line, the reason
	if json.Unmarshal(data, &skip) == nil && len(skip) == 3 {
		why, _ := skip[2].(string)
		return strings.TrimPrefix(why, "Skipped: ")
	}
	var full struct {
		ReprCrash *struct {
			Path    string
			LineNo  int
			Message string
		}
		ReprTraceback struct {
			ReprEntries []struct {
				Data struct {
					Lines       []string
					ReprFileLoc *struct {
						Path    string
						LineNo  int
						Message string
					}
				}
			}
		}
	}
	if json.Unmarshal(data, &full) != nil {
		return ""
	}
	if c := full.ReprCrash; c != nil {
		r.Message = c.Message
	}
	for _, e := range full.ReprTraceback.ReprEntries {
		text = join(text, strings.Join(e.Data.Lines, "\n"))
		if l := e.Data.ReprFileLoc; l != nil {
			text = join(text, l.Path+":"+strconv.Itoa(l.LineNo)+": "+l.Message)
		}
	}
	return text
}

func isPytestJSON(s *sniff) bool {
	return s.has("tests[].nodeid") || s.has("exitcode", "summary", "root") || s.has("report.tests[].nodeid")
}

type pytestJSON struct {
	NodeID                string
	LineNo                *int
	Outcome               string
	Duration              anyNumber
	Setup, Call, Teardown *pytestStage
}

type pytestStage struct {
	Duration       anyNumber
	Outcome        string
	Stdout, Stderr string
	LongRepr       anyText
	Crash          *struct{ Message string }
}

func readPytestJSON(in *input, t *tally) error {
	test := each(func(p *pytestJSON) error {
		r := pytestName(p.NodeID)
		r.Seconds = float64(p.Duration)
		if p.LineNo != nil {
			r.Line = *p.LineNo + 1
		}
		for _, s := range []*pytestStage{p.Setup, p.Call, p.Teardown} {
			if s == nil {
				continue
			}
			r.Seconds += float64(s.Duration)
			if s.Outcome == passed || s.Outcome == "" || r.Stack != "" {
				continue
			}
			r.Stack = string(s.LongRepr)
			r.Output = join(s.Stdout, s.Stderr)
			if s.Crash != nil {
				r.Message = s.Crash.Message
			}
		}
		switch p.Outcome {
		case passed, failed, skipped, broken:
			r.Status = p.Outcome
		case "xfailed":
			r.Status = xfail
		case "xpassed":
			r.Status = xpass
		case "rerun":
			r.Status = failed
		default:
			r.Status = broken
		}
		if r.Status == skipped {
			r.Message, r.Stack = cmp.Or(r.Message, r.Stack), ""
		}
		return t.add(r)
	})
	return walkJSON(in, t, map[string]func(*json.Decoder) error{"tests[]": test, "report.tests[]": test})
}

// What Buildkite's collectors write, for several languages.

func isCollector(s *sniff) bool {
	return s.has("[].scope", "[].result") || s.has("[].history", "[].result")
}

type collectorTest struct {
	Scope, Name, Location, Result string
	FileName                      string  `json:"file_name"`
	FailureReason                 anyText `json:"failure_reason"`
	FailureExpanded               []struct{ Expanded, Backtrace []string }
	History                       struct{ Duration anyNumber }
}

func readCollector(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"[]": each(func(c *collectorTest) error {
			r := record.TestResult{Suite: c.Scope, File: c.FileName, Seconds: float64(c.History.Duration), Stack: string(c.FailureReason)}
			r.Name, r.Params = parametrised(c.Name)
			if _, line, ok := strings.Cut(c.Location, ":"); ok {
				r.Line, _ = strconv.Atoi(line)
			}
			for _, f := range c.FailureExpanded {
				r.Stack = join(r.Stack, strings.Join(append(f.Expanded, f.Backtrace...), "\n"))
			}
			switch c.Result {
			case passed, failed, skipped:
				r.Status = c.Result
			case "pending":
				r.Status = skipped
			default:
				r.Status = broken
			}
			return t.add(r)
		}),
	})
}
