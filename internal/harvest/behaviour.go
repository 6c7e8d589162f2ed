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

// Cucumber, RSpec and Allure.

func isCucumber(s *sniff) bool {
	return s.has("[].elements") || s.has("[].uri", "[].keyword")
}

type cucumberFeature struct {
	URI      string
	Name     string
	Tags     []struct{ Name string }
	Elements []cucumberElement
}

type cucumberElement struct {
	ID, Name, Type, Keyword string
	Line                    int
	Tags                    []struct{ Name string }
	Before, After, Steps    []cucumberStep
}

type cucumberStep struct {
	Keyword, Name string
	Result        struct {
		Status       string
		Duration     anyNumber // nanoseconds
		ErrorMessage anyText   `json:"error_message"`
	}
	Output anyTexts
}

// readCucumber reads the JSON of Cucumber for Java, JavaScript and Ruby, and
// of Behave. A scenario ends as the worst of its steps. The rows of an outline
// have one name; what tells them apart is the line, or the row's number in the
// identity.
func readCucumber(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"[]": each(func(f *cucumberFeature) error {
			var background *cucumberElement
			named := map[string]int{}
			for n := range f.Elements {
				named[f.Elements[n].Name]++
			}
			for n := range f.Elements {
				e := &f.Elements[n]
				if e.Type == "background" {
					background = e
					continue
				}
				r := cucumberScenario(f, e, background)
				background = nil
				if named[e.Name] > 1 {
					r.Params = strconv.Itoa(e.Line)
					if at := strings.LastIndexByte(e.ID, ';'); at > 0 && strings.Count(e.ID, ";") > 2 {
						r.Params = e.ID[at+1:]
					}
				}
				if err := t.add(r); err != nil {
					return err
				}
			}
			return nil
		}),
	})
}

func cucumberScenario(f *cucumberFeature, e, background *cucumberElement) record.TestResult {
	file := f.URI
	if _, path, ok := strings.Cut(file, ":"); ok && (strings.HasPrefix(file, "file:") || strings.HasPrefix(file, "classpath:")) {
		file = strings.TrimPrefix(path, "//")
	}
	r := record.TestResult{Suite: file, Name: e.Name, File: file, Line: e.Line, Status: passed}
	if f.Name != "" {
		r.Groups = []string{f.Name}
	}
	if r.Name == "" {
		r.Name = strings.TrimSpace(e.Keyword + " at line " + strconv.Itoa(e.Line))
	}
	for _, tag := range append(f.Tags, e.Tags...) {
		if owner, ok := strings.CutPrefix(tag.Name, "@owner:"); ok {
			r.Owner = owner
		}
		r.Tags = append(r.Tags, tag.Name)
	}
	var steps []cucumberStep
	if background != nil {
		steps = append(append(steps, background.Before...), background.Steps...)
	}
	steps = append(append(append(steps, e.Before...), e.Steps...), e.After...)
	nanos := 0.0
	for _, s := range steps {
		nanos += float64(s.Result.Duration)
		status := cucumberStatus[strings.ToLower(s.Result.Status)]
		if status == "" || !worse(status, r.Status) {
			continue
		}
		r.Status = status
		r.Message, r.Stack = "", plain(string(s.Result.ErrorMessage))
		if r.Stack == "" && (bad(status) || status == skipped) {
			r.Message = strings.TrimSpace(s.Keyword + s.Name + ": " + s.Result.Status)
		}
		r.Output = strings.Join(s.Output, "\n")
	}
	r.Seconds = nanos / 1e9
	return r
}

// A step that is not defined, or defined twice, did not run: its scenario is
// not known to work.
var cucumberStatus = map[string]string{
	"passed": passed, "skipped": skipped, "pending": skipped, "failed": failed, "undefined": broken, "ambiguous": broken, "unknown": broken,
}

func isRSpec(s *sniff) bool {
	return s.has("examples") && (s.has("version") || s.has("examples[].full_description") || s.has("summary_line"))
}

type rspecExample struct {
	ID              string
	Description     string
	FullDescription string `json:"full_description"`
	Status          string
	FilePath        string    `json:"file_path"`
	LineNumber      int       `json:"line_number"`
	RunTime         anyNumber `json:"run_time"`
	PendingMessage  anyText   `json:"pending_message"`
	Exception       *struct {
		Class, Message string
		Backtrace      []string
	}
}

func readRSpec(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"examples[]": each(func(e *rspecExample) error {
			file := strings.TrimPrefix(e.FilePath, "./")
			r := record.TestResult{Suite: file, Name: cmp.Or(e.Description, e.FullDescription), File: file, Line: e.LineNumber, Seconds: float64(e.RunTime)}
			if before, ok := strings.CutSuffix(e.FullDescription, e.Description); ok && strings.TrimSpace(before) != "" {
				r.Groups = []string{strings.TrimSpace(before)}
			}
			switch e.Status {
			case passed, failed:
				r.Status = e.Status
			case "pending":
				r.Status, r.Message = skipped, string(e.PendingMessage)
			default:
				r.Status = broken
			}
			if x := e.Exception; x != nil && bad(r.Status) {
				r.Type, r.Message, r.Stack = x.Class, x.Message, strings.Join(x.Backtrace, "\n")
				if !strings.Contains(x.Class, "Expectation") && x.Class != "" && !strings.Contains(x.Class, "Assert") {
					r.Status = broken
				}
			}
			return t.add(r)
		}),
	})
}

func isAllure(s *sniff) bool {
	return s.has("uuid", "status") && (s.has("historyId") || s.has("labels") || s.has("stage") || strings.HasSuffix(s.base, "-result.json"))
}

type allureResult struct {
	Name, FullName string
	Status         string
	StatusDetails  struct {
		Message, Trace string
		Flaky, Muted   bool
	}
	Start, Stop anyNumber
	Labels      []struct{ Name, Value string }
	Parameters  []struct {
		Name, Value string
		Excluded    bool
	}
	Attachments []struct{ Source string }
}

// readAllure reads a result of Allure 2, one test a file.
func readAllure(in *input, t *tally) error {
	return walkJSON(in, t, map[string]func(*json.Decoder) error{
		"": each(func(a *allureResult) error {
			r := record.TestResult{Name: a.Name, Message: a.StatusDetails.Message, Stack: a.StatusDetails.Trace}
			if a.Stop > a.Start && a.Start > 0 {
				r.Seconds = (a.Stop - a.Start).millis()
			}
			labels := map[string]string{}
			for _, l := range a.Labels {
				switch l.Name {
				case "tag", "feature", "story":
					r.Tags = append(r.Tags, l.Value)
				case "owner":
					r.Owner = l.Value
				}
				if labels[l.Name] == "" {
					labels[l.Name] = l.Value
				}
			}
			if method := labels["testMethod"]; method != "" && labels["testClass"] != "" {
				r.Suite, r.Name = labels["testClass"], method
			} else {
				for _, s := range []string{labels["parentSuite"], labels["suite"], labels["subSuite"]} {
					switch {
					case s == "":
					case r.Suite == "":
						r.Suite = s
					default:
						r.Groups = append(r.Groups, s)
					}
				}
				r.Suite = cmp.Or(r.Suite, labels["testClass"], labels["package"])
			}
			if r.Suite == "" {
				if at := strings.LastIndexAny(a.FullName, "#:"); at > 0 {
					r.Suite = strings.TrimRight(a.FullName[:at], ":")
				}
			}
			plainName, params := parametrised(r.Name)
			r.Name = plainName
			var values []string
			for _, p := range a.Parameters {
				if !p.Excluded {
					values = append(values, p.Value)
				}
			}
			r.Params = cmp.Or(strings.Join(values, ", "), params)
			for _, f := range a.Attachments {
				r.Attachments = append(r.Attachments, f.Source)
			}
			switch a.Status {
			case passed, failed, skipped:
				r.Status = a.Status
			default: // broken, unknown
				r.Status = broken
			}
			if bad(r.Status) {
				locate(&r, r.Stack)
			}
			return t.add(r)
		}),
	})
}

func isCucumberMessages(s *sniff) bool {
	return s.has("meta.protocolVersion") || s.has("gherkinDocument") || s.has("pickle", "testCase")
}

type cucumberMessage struct {
	Pickle *struct {
		ID, URI, Name string
		AstNodeIDs    []string
		Location      *struct{ Line int }
		Tags          []struct{ Name string }
	}
	GherkinDocument *struct {
		URI     string
		Feature struct{ Name string }
	}
	TestCase         *struct{ ID, PickleID string }
	TestCaseStarted  *struct{ ID, TestCaseID string }
	TestStepFinished *struct {
		TestCaseStartedID string
		TestStepResult    struct {
			Status, Message string
			Duration        struct{ Seconds, Nanos anyNumber }
			Exception       struct{ Type string }
		}
	}
	TestCaseFinished *struct {
		TestCaseStartedID string
		WillBeRetried     bool
	}
}

// readCucumberMessages reads the messages that newer versions of Cucumber
// write, a JSON value a line.
func readCucumberMessages(in *input, t *tally) error {
	features, pickles, cases := map[string]string{}, map[string]record.TestResult{}, map[string]string{}
	named := map[string]int{}
	type running struct {
		id     string // of the test case
		result record.TestResult
	}
	open := map[string]*running{}
	before := map[string][]record.TestResult{}
	err := readEvents(in, t, func(m *cucumberMessage) error {
		switch {
		case len(pickles) >= maxWaiting || len(cases) >= maxWaiting || len(open) >= maxOpen || len(features) >= maxWaiting:
			t.crowded()
		case m.GherkinDocument != nil:
			features[m.GherkinDocument.URI] = m.GherkinDocument.Feature.Name
		case m.Pickle != nil:
			p := m.Pickle
			r := record.TestResult{Suite: p.URI, Name: p.Name, File: p.URI, Status: passed}
			if name := features[p.URI]; name != "" {
				r.Groups = []string{name}
			}
			if p.Location != nil {
				r.Line = p.Location.Line
			}
			for _, tag := range p.Tags {
				r.Tags = append(r.Tags, tag.Name)
			}
			if len(p.AstNodeIDs) > 1 { // a row of an outline
				key := r.Key()
				named[key]++
				r.Params = strconv.Itoa(named[key])
			}
			pickles[p.ID] = r
		case m.TestCase != nil:
			cases[m.TestCase.ID] = m.TestCase.PickleID
		case m.TestCaseStarted != nil:
			s := m.TestCaseStarted
			if r, ok := pickles[cases[s.TestCaseID]]; ok {
				open[s.ID] = &running{s.TestCaseID, r}
			}
		case m.TestStepFinished != nil:
			s := m.TestStepFinished
			o := open[s.TestCaseStartedID]
			if o == nil {
				return nil
			}
			step := s.TestStepResult
			o.result.Seconds += float64(step.Duration.Seconds) + float64(step.Duration.Nanos)/1e9
			if status := cucumberStatus[strings.ToLower(step.Status)]; status != "" && worse(status, o.result.Status) {
				o.result.Status, o.result.Stack, o.result.Type = status, plain(step.Message), step.Exception.Type
				o.result.Message = ""
				if step.Message == "" {
					o.result.Message = strings.ToLower(step.Status)
				}
			}
		case m.TestCaseFinished != nil:
			o := open[m.TestCaseFinished.TestCaseStartedID]
			if o == nil {
				return nil
			}
			delete(open, m.TestCaseFinished.TestCaseStartedID)
			attempts := append(before[o.id], o.result)
			if m.TestCaseFinished.WillBeRetried && len(attempts) < maxList {
				before[o.id] = attempts
				return nil
			}
			delete(before, o.id)
			return t.add(attempts...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(open)) {
		o := open[id]
		if !bad(o.result.Status) {
			o.result.Status, o.result.Message = broken, "it did not come to its end"
		}
		attempts := append(before[o.id], o.result)
		delete(before, o.id)
		if err := t.add(attempts...); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if err := t.add(before[id]...); err != nil {
			return err
		}
	}
	return nil
}
