package harvest

import (
	"cmp"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Streams of events besides go's: those of Dart and Flutter, of Rust's
// libtest, and Bazel's build event protocol.

func isDart(s *sniff) bool {
	return s.has("type") && (s.has("protocolVersion") || s.has("testID") || s.has("suite.path") || s.has("test.suiteID") || s.has("runnerVersion"))
}

type dartEvent struct {
	Type  string
	Time  anyNumber // milliseconds since the start
	Suite *struct {
		ID             int
		Platform, Path string
	}
	Group *struct {
		ID   int
		Name string
	}
	Test *struct {
		ID, SuiteID int
		GroupIDs    []int
		Name        string
		Line        int
		RootLine    int    `json:"root_line"`
		URL         string `json:"url"`
		RootURL     string `json:"root_url"`
	}
	TestID     *int
	Result     string
	Skipped    bool
	Hidden     bool
	Error      string
	StackTrace string
	Message    string
}

// dartTest is a test under way.
type dartTest struct {
	result record.TestResult
	begun  float64
	loads  bool // it is the loading of a file, and a test only when it fails
}

// readDart reads dart test --reporter json and flutter test --machine.
func readDart(in *input, t *tally) error {
	suites, groups, open := map[int]string{}, map[int]string{}, map[int]*dartTest{}
	err := readEvents(in, t, func(e *dartEvent) error {
		var d *dartTest
		if e.TestID != nil {
			d = open[*e.TestID]
		}
		switch e.Type {
		case "suite":
			if e.Suite != nil && len(suites) < maxPending {
				suites[e.Suite.ID] = e.Suite.Path
			}
		case "group":
			if e.Group != nil && len(groups) < maxPending {
				groups[e.Group.ID] = e.Group.Name
			}
		case "testStart":
			if e.Test == nil {
				return nil
			}
			if len(open) >= maxOpen {
				t.crowded()
				return nil
			}
			n := &dartTest{begun: e.Time.millis()}
			n.result = record.TestResult{Suite: suites[e.Test.SuiteID], Name: e.Test.Name, File: suites[e.Test.SuiteID], Line: max(e.Test.Line, e.Test.RootLine)}
			n.loads = strings.HasPrefix(e.Test.Name, "loading ") && len(e.Test.GroupIDs) == 0
			// The name of a group holds those of the groups it is in, and that of
			// a test holds its group's.
			whole := ""
			for _, id := range e.Test.GroupIDs {
				name := groups[id]
				if short := strings.TrimSpace(strings.TrimPrefix(name, whole)); short != "" {
					n.result.Groups, whole = append(n.result.Groups, short), name
				}
			}
			if whole != "" {
				n.result.Name = cmp.Or(strings.TrimSpace(strings.TrimPrefix(e.Test.Name, whole)), e.Test.Name)
			}
			open[e.Test.ID] = n
		case "print":
			if d != nil && len(d.result.Output) < maxText {
				d.result.Output = join(d.result.Output, e.Message)
			}
		case "error":
			if d != nil && d.result.Message == "" {
				d.result.Message, d.result.Stack = e.Error, e.StackTrace
			}
		case "testDone":
			if d == nil {
				return nil
			}
			delete(open, *e.TestID)
			r := d.result
			r.Seconds = max(0, e.Time.millis()-d.begun)
			switch {
			case e.Skipped:
				r.Status = skipped
			case e.Result == "success":
				r.Status, r.Message, r.Output = passed, "", ""
			case e.Result == "failure":
				r.Status = failed
			default:
				r.Status = broken
			}
			if (e.Hidden || d.loads) && !bad(r.Status) {
				return nil
			}
			return t.add(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(open)) {
		r := open[id].result
		r.Status, r.Message = broken, cmp.Or(r.Message, "it did not come to its end")
		if err := t.add(r); err != nil {
			return err
		}
	}
	return nil
}

func isLibtest(s *sniff) bool { return s.has("type", "event") }

type libtestEvent struct {
	Type, Event, Name string
	ExecTime          anyNumber `json:"exec_time"`
	Stdout, Message   string
	Reason            string
}

// readLibtest reads the JSON of Rust's test harness, which cargo-nextest
// writes too.
func readLibtest(in *input, t *tally) error {
	open := map[string]bool{}
	err := readEvents(in, t, func(e *libtestEvent) error {
		if e.Type != "test" {
			return nil
		}
		if e.Event == "started" {
			if len(open) < maxOpen {
				open[e.Name] = true
			}
			return nil
		}
		delete(open, e.Name)
		r := libtestName(e.Name)
		r.Seconds = float64(e.ExecTime)
		switch e.Event {
		case "ok":
			r.Status = passed
		case "ignored":
			r.Status, r.Message = skipped, e.Message
		case "failed":
			r.Status, r.Stack, r.Message = failed, e.Stdout, e.Message
			if e.Reason == "time limit exceeded" {
				r.Status = broken
			}
			if r.Message == "" {
				r.Message = rustPanic(e.Stdout)
			}
			locate(&r, r.Stack)
		default: // "timeout" warns, and the test goes on
			open[e.Name] = true
			return nil
		}
		return t.add(r)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(open)) {
		r := libtestName(name)
		r.Status, r.Message = broken, "it did not come to its end"
		if err := t.add(r); err != nil {
			return err
		}
	}
	return nil
}

// libtestName takes "crate::bin$module::test" apart.
func libtestName(name string) record.TestResult {
	suite, name, ok := strings.Cut(name, "$")
	if !ok {
		suite, name = "", suite
	}
	parts := strings.Split(name, "::")
	return record.TestResult{Suite: suite, Groups: parts[:len(parts)-1], Name: parts[len(parts)-1]}
}

// rustPanic is the line of a test's output in which it says why it panicked.
func rustPanic(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "panicked at ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func isBEP(s *sniff) bool {
	return s.has("id") && (s.has("id.started") || s.has("id.testResult") || s.has("id.testSummary") || s.has("id.progress") || s.has("id.buildFinished"))
}

type bepEvent struct {
	ID struct {
		TestResult  *bepTest
		TestSummary *struct{ Label string }
	}
	TestResult *struct {
		Status           string
		StatusDetails    string
		Duration         string    `json:"testAttemptDuration"`
		DurationMillis   anyNumber `json:"testAttemptDurationMillis"`
		TestActionOutput []struct{ Name, URI string }
	}
}

type bepTest struct {
	Label               string
	Run, Shard, Attempt int
}

// readBEP reads Bazel's build events as JSON. A test is a target; its cases
// are in the test.xml that Bazel writes beside it, which is JUnit XML.
func readBEP(in *input, t *tally) error {
	type part struct {
		bepTest
		attempts []record.TestResult
	}
	open := map[string][]*part{} // by label
	done := func(label string) error {
		parts := open[label]
		delete(open, label)
		for _, p := range parts {
			for n := range p.attempts {
				if len(parts) > 1 {
					p.attempts[n].Params = "run " + strconv.Itoa(max(p.Run, 1)) + ", shard " + strconv.Itoa(max(p.Shard, 1))
				}
			}
			if err := t.add(p.attempts...); err != nil {
				return err
			}
		}
		return nil
	}
	err := readEvents(in, t, func(e *bepEvent) error {
		if id := e.ID.TestSummary; id != nil {
			return done(id.Label)
		}
		id := e.ID.TestResult
		if id == nil || e.TestResult == nil {
			return nil
		}
		pkg, target, ok := strings.Cut(strings.TrimPrefix(id.Label, "@"), ":")
		if !ok {
			pkg, target = path.Dir(pkg), path.Base(pkg)
		}
		r := record.TestResult{Suite: strings.TrimPrefix(pkg, "//"), Name: target, Seconds: e.TestResult.DurationMillis.millis(), Message: e.TestResult.StatusDetails}
		if d, err := time.ParseDuration(e.TestResult.Duration); err == nil {
			r.Seconds = d.Seconds()
		}
		switch e.TestResult.Status {
		case "PASSED", "FLAKY":
			r.Status = passed
		case "FAILED":
			r.Status = failed
		case "NO_STATUS":
			r.Status = skipped
		default: // TIMEOUT, INCOMPLETE, REMOTE_FAILURE, FAILED_TO_BUILD, TOOL_HALTED_BEFORE_TESTING
			r.Status, r.Type = broken, e.TestResult.Status
			r.Message = cmp.Or(r.Message, e.TestResult.Status)
		}
		for _, f := range e.TestResult.TestActionOutput {
			if u, err := url.Parse(f.URI); err == nil && u.Scheme == "file" {
				r.Attachments = append(r.Attachments, u.Path)
			}
		}
		parts := open[id.Label]
		if len(parts) == 0 && len(open) >= maxOpen {
			return t.add(r)
		}
		for _, p := range parts {
			if p.Run == id.Run && p.Shard == id.Shard {
				if len(p.attempts) < maxList {
					p.attempts = append(p.attempts, r)
				}
				return nil
			}
		}
		open[id.Label] = append(parts, &part{*id, []record.TestResult{r}})
		return nil
	})
	if err != nil {
		return err
	}
	for _, label := range slices.Sorted(maps.Keys(open)) {
		if err := done(label); err != nil {
			return err
		}
	}
	return nil
}
