package harvest

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// What JavaScript's test tools write: Playwright, Jest and Vitest, Mocha and
// Mochawesome (Cypress), and CTRF, which many of them can write too.

func isPlaywright(s *sniff) bool {
	return s.has("suites", "config") || s.has("suites[].specs") || s.has("config.projects", "config.rootDir")
}

type playwrightSuite struct {
	Title  string
	File   string
	Specs  []playwrightSpec
	Suites []playwrightSuite
}

type playwrightSpec struct {
	Title string
	Tags  []string
	File  string
	Line  int
	Tests []struct {
		ProjectName    string
		ExpectedStatus string
		Status         string
		Annotations    []struct{ Type, Description string }
		Results        []playwrightResult
	}
}

type playwrightResult struct {
	Status      string
	Duration    anyNumber
	Error       *playwrightError
	Errors      []playwrightError
	Stdout      []struct{ Text string }
	Stderr      []struct{ Text string }
	Attachments []struct{ Path string }
}

type playwrightError struct {
	Message, Stack string
	Location       *struct {
		File string
		Line int
	}
}

// readPlaywright reads Playwright's JSON report. The attempts at a test are its
// results; the project (a browser) tells apart the runs of one test.
func readPlaywright(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"suites[]": each(func(s *playwrightSuite) error {
			return playwrightTests(t, s, nil, 0)
		}),
		// What broke outside of any test: a file that does not load.
		"errors[]": each(func(e *playwrightError) error {
			r := record.TestResult{Suite: "playwright", Name: "error", Status: broken, Message: plain(e.Message), Stack: plain(e.Stack)}
			if e.Location != nil {
				r.File, r.Line = e.Location.File, e.Location.Line
			}
			return t.add(r)
		}),
	})
}

func playwrightTests(t *tally, s *playwrightSuite, groups []string, depth int) error {
	if depth > maxDepth {
		return nil
	}
	if depth > 0 || s.Title != s.File {
		groups = append(groups[:len(groups):len(groups)], s.Title)
	}
	for _, spec := range s.Specs {
		for _, test := range spec.Tests {
			base := record.TestResult{
				Suite: cmp.Or(spec.File, s.File), Groups: groups, Name: spec.Title, Params: test.ProjectName,
				File: spec.File, Line: spec.Line, Tags: spec.Tags, Status: skipped,
			}
			for _, a := range test.Annotations {
				if a.Type == "owner" {
					base.Owner = a.Description
				}
			}
			attempts := make([]record.TestResult, 0, 1)
			for _, result := range test.Results {
				r := base
				playwrightOne(&r, &result, test.ExpectedStatus)
				attempts = append(attempts, r)
			}
			if len(attempts) == 0 {
				attempts = append(attempts, base)
			}
			if err := t.add(attempts...); err != nil {
				return err
			}
		}
	}
	for n := range s.Suites {
		if err := playwrightTests(t, &s.Suites[n], groups, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func playwrightOne(r *record.TestResult, result *playwrightResult, expected string) {
	r.Seconds = result.Duration.millis()
	e := result.Error
	if e == nil && len(result.Errors) > 0 {
		e = &result.Errors[0]
	}
	if e != nil {
		r.Message, r.Stack = plain(e.Message), plain(e.Stack)
		if e.Location != nil && r.Line == 0 {
			r.File, r.Line = e.Location.File, e.Location.Line
		}
	}
	for _, o := range append(result.Stdout, result.Stderr...) {
		if len(r.Output) < maxText {
			r.Output += o.Text
		}
	}
	for _, a := range result.Attachments {
		if a.Path != "" {
			r.Attachments = append(r.Attachments, a.Path)
		}
	}
	switch result.Status {
	case "passed":
		r.Status = passed
		if expected == "failed" {
			r.Status, r.Message = failed, "it passed, and was expected to fail"
		}
	case "failed":
		r.Status = failed
		if expected == "failed" {
			r.Status = xfail
		}
	case "skipped":
		r.Status = skipped
	default: // timedOut, interrupted
		r.Status, r.Type = broken, result.Status
		r.Message = cmp.Or(r.Message, "it was ended: "+result.Status)
	}
}

// plain is a text without the colours that terminals show.
func plain(text string) string {
	if !strings.Contains(text, "\x1b") {
		return text
	}
	var b strings.Builder
	for {
		at := strings.Index(text, "\x1b[")
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:at])
		text = text[at+2:]
		end := strings.IndexFunc(text, func(c rune) bool { return c >= '@' && c <= '~' })
		if end < 0 {
			return b.String()
		}
		text = text[end+1:]
	}
}

func isJest(s *sniff) bool {
	return s.has("numTotalTests") || s.has("testResults[].assertionResults") || s.has("testResults", "numTotalTestSuites")
}

type jestFile struct {
	Name, TestFilePath string
	Message            string
	Status             string
	FailureMessage     string
	AssertionResults   []jestTest
	TestResults        []jestTest // what older versions call them
}

type jestTest struct {
	AncestorTitles  []string
	Title           string
	Status          string
	Duration        anyNumber
	FailureMessages []string
	RetryReasons    []string
	Location        *struct{ Line int }
	Tags            []string
}

// readJest reads the JSON of Jest and of Vitest.
func readJest(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"testResults[]": each(func(f *jestFile) error {
			file := cmp.Or(f.Name, f.TestFilePath)
			tests := append(f.AssertionResults, f.TestResults...)
			if len(tests) == 0 && f.Status == "failed" {
				r := record.TestResult{Suite: file, Name: file, File: file, Status: broken, Stack: plain(cmp.Or(f.Message, f.FailureMessage))}
				return t.add(r)
			}
			for _, a := range tests {
				r := record.TestResult{
					Suite: file, Groups: a.AncestorTitles, Name: a.Title, File: file, Seconds: a.Duration.millis(), Tags: a.Tags,
				}
				if a.Location != nil {
					r.Line = a.Location.Line
				}
				var attempts []record.TestResult
				for _, why := range a.RetryReasons {
					before := r
					before.Status, before.Seconds = failed, 0
					before.Stack = plain(why)
					attempts = append(attempts, before)
				}
				switch a.Status {
				case "passed":
					r.Status = passed
				case "failed":
					r.Status = failed
					r.Stack = plain(strings.Join(a.FailureMessages, "\n"))
					if r.Line == 0 {
						locate(&r, r.Stack)
					}
				default: // pending, skipped, todo, disabled
					r.Status = skipped
				}
				if err := t.add(append(attempts, r)...); err != nil {
					return err
				}
			}
			return nil
		}),
	})
}

func isMocha(s *sniff) bool {
	return s.has("stats") && s.has("tests") && !s.has("results")
}

type mochaTest struct {
	Title, FullTitle, File string
	Duration               anyNumber
	CurrentRetry           int
	Err                    struct{ Message, Stack, Name, Code anyText }
}

// readMocha reads the report of Mocha's JSON reporter. Its list of all tests
// does not say how they ended; the lists of those that passed, failed and did
// not run do.
func readMocha(in *input, t *tally) error {
	list := func(status string) func(*json.Decoder) error {
		return each(func(m *mochaTest) error {
			r := record.TestResult{Suite: m.File, Name: m.Title, File: m.File, Seconds: m.Duration.millis(), Status: status}
			if before, ok := strings.CutSuffix(m.FullTitle, m.Title); ok && strings.TrimSpace(before) != "" {
				r.Groups = []string{strings.TrimSpace(before)}
			}
			if status != failed {
				attempts := []record.TestResult{}
				for range min(m.CurrentRetry, maxList) {
					again := r
					again.Status, again.Seconds = failed, 0
					attempts = append(attempts, again)
				}
				return t.add(append(attempts, r)...)
			}
			r.Message, r.Stack, r.Type = plain(string(m.Err.Message)), plain(string(m.Err.Stack)), string(m.Err.Name)
			// What threw something else than a failed assertion broke.
			if m.Err.Name != "" && !strings.Contains(string(m.Err.Name), "Assertion") && m.Err.Code != "ERR_ASSERTION" {
				r.Status = broken
			}
			locate(&r, r.Stack)
			return t.add(r)
		})
	}
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"passes[]": list(passed), "failures[]": list(failed), "pending[]": list(skipped),
	})
}

func isMochawesome(s *sniff) bool {
	return s.has("stats") && (s.has("results[].suites") || s.has("results[].fullFile") || s.has("results[].tests"))
}

type mochawesomeSuite struct {
	Title, File, FullFile string
	Tests                 []mochawesomeTest
	BeforeHooks           []mochawesomeTest
	AfterHooks            []mochawesomeTest
	Suites                []mochawesomeSuite
}

type mochawesomeTest struct {
	Title    string
	Duration anyNumber
	State    anyText
	Pass     bool
	Fail     bool
	Pending  bool
	Skipped  bool
	TimedOut anyText
	Err      struct{ Message, EStack anyText }
}

func readMochawesome(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"results[]": each(func(s *mochawesomeSuite) error { return mochawesomeTests(t, s, "", nil, 0) }),
	})
}

func mochawesomeTests(t *tally, s *mochawesomeSuite, file string, groups []string, depth int) error {
	if depth > maxDepth {
		return nil
	}
	file = strings.TrimPrefix(cmp.Or(s.FullFile, s.File, file), "/")
	if s.Title != "" {
		groups = append(groups[:len(groups):len(groups)], s.Title)
	}
	tests := s.Tests
	for _, hook := range append(s.BeforeHooks, s.AfterHooks...) {
		if hook.Fail { // those that passed are no tests
			tests = append(tests, hook)
		}
	}
	for _, m := range tests {
		r := record.TestResult{Suite: file, Groups: groups, Name: m.Title, File: file, Seconds: m.Duration.millis()}
		switch {
		case m.Fail || m.State == "failed":
			r.Status, r.Message, r.Stack = failed, plain(string(m.Err.Message)), plain(string(m.Err.EStack))
			if m.TimedOut == "true" {
				r.Status = broken
			}
			line := record.TestResult{File: file}
			locate(&line, r.Stack)
			r.Line = line.Line
		case m.Pass || m.State == "passed":
			r.Status = passed
		default:
			r.Status = skipped
		}
		if err := t.add(r); err != nil {
			return err
		}
	}
	for n := range s.Suites {
		if err := mochawesomeTests(t, &s.Suites[n], file, groups, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func isCTRF(s *sniff) bool {
	return s.has("results.tests") || s.has("results.tool") || s.has("reportFormat") && strings.Contains(s.text, `"CTRF"`)
}

type ctrfTest struct {
	Name, Status, Message, Trace, FilePath, Browser, Device string
	Duration                                                anyNumber
	Suite                                                   anyTexts
	Line                                                    int
	Flaky                                                   bool
	Retries                                                 int
	RetryAttempts                                           []struct {
		Status, Message, Trace string
		Duration               anyNumber
	}
	Tags           []string
	Stdout, Stderr anyTexts
	Attachments    []struct{ Path string }
	Extra          struct{ Owner anyText }
}

// readCTRF reads the Common Test Report Format.
func readCTRF(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"results.tests[]": each(func(c *ctrfTest) error {
			r := record.TestResult{
				File: c.FilePath, Line: c.Line, Seconds: c.Duration.millis(), Tags: c.Tags, Owner: string(c.Extra.Owner),
				Message: plain(c.Message), Stack: plain(c.Trace), Status: ctrfStatus(c.Status),
				Output: strings.Join(append(c.Stdout, c.Stderr...), "\n"),
			}
			r.Name, r.Params = parametrised(c.Name)
			if r.Params == "" {
				r.Params = cmp.Or(c.Browser, c.Device)
			}
			for _, a := range c.Attachments {
				r.Attachments = append(r.Attachments, a.Path)
			}
			if groups := []string(c.Suite); len(groups) > 0 {
				// Tools that have one text for the path write it so.
				if len(groups) == 1 {
					groups = strings.Split(groups[0], " > ")
				}
				r.Suite, r.Groups = groups[0], groups[1:]
			} else {
				r.Suite = c.FilePath
			}
			// Some repeat the groups in the name.
			if rest, ok := strings.CutPrefix(r.Name, strings.Join(r.Groups, " ")+" "); ok && len(r.Groups) > 0 {
				r.Name = rest
			}
			var attempts []record.TestResult
			for _, a := range c.RetryAttempts {
				again := r
				again.Status, again.Message, again.Stack, again.Seconds = ctrfStatus(a.Status), plain(a.Message), plain(a.Trace), a.Duration.millis()
				again.Output, again.Attachments = "", nil
				attempts = append(attempts, again)
			}
			// The attempts are listed with the last one, or without it.
			if n := len(attempts); n > 0 && attempts[n-1].Status == r.Status && n > max(c.Retries, 0) {
				attempts = attempts[:n-1]
			}
			if len(attempts) == 0 && (c.Flaky || c.Retries > 0) {
				for range min(max(c.Retries, 1), maxList) {
					again := r
					again.Status, again.Message, again.Stack, again.Output, again.Seconds = failed, "", "", "", 0
					attempts = append(attempts, again)
				}
			}
			return t.add(append(attempts, r)...)
		}),
	})
}

func ctrfStatus(status string) string {
	switch status {
	case "passed":
		return passed
	case "failed":
		return failed
	case "skipped", "pending":
		return skipped
	}
	return broken // other: what is no verdict is no pass
}

func isKarma(s *sniff) bool { return s.has("browsers", "result") }

type karmaTest struct {
	Description string
	Suite       []string
	Success     bool
	Skipped     bool
	Pending     bool
	Time        anyNumber
	Log         []string
}

// readKarma reads the report of karma-json-reporter: a list of tests for each
// browser.
func readKarma(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"result.*[]": each(func(k *karmaTest) error {
			r := record.TestResult{Name: k.Description, Seconds: k.Time.millis(), Status: passed}
			if len(k.Suite) > 0 {
				r.Suite, r.Groups = k.Suite[0], k.Suite[1:]
			}
			switch {
			case k.Skipped || k.Pending:
				r.Status = skipped
			case !k.Success:
				r.Status, r.Stack = failed, plain(strings.Join(k.Log, "\n"))
				locate(&r, r.Stack)
			}
			return t.add(r)
		}),
	})
}
