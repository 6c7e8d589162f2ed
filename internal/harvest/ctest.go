package harvest

import (
	"cmp"
	"path"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func isCTest(s *sniff) bool {
	return s.root == "Site" && s.elems["Testing"]
}

// readCTest reads CTest's own report, Testing/…/Test.xml.
func readCTest(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"Test"},
		results: func(_ []string, above []*xmlNode, n *xmlNode) []record.TestResult {
			status := n.attr("Status")
			if status == "" { // an entry of the list of tests at the beginning
				return nil
			}
			r := record.TestResult{Name: n.kid("Name").words()}
			if dir := path.Clean(n.kid("Path").words()); dir != "." {
				r.Suite = dir
			}
			results := n.kid("Results")
			r.Output = results.kid("Measurement").words()
			measured := map[string]string{}
			for _, m := range results.all("NamedMeasurement") {
				measured[m.attr("name")] = m.kid("Value").words()
			}
			r.Seconds = seconds(measured["Execution Time"])
			for _, l := range n.kid("Labels").kids {
				r.Tags = append(r.Tags, l.words())
			}
			switch strings.ToLower(status) {
			case "passed":
				r.Status = passed
			case "notrun":
				r.Status, r.Message = skipped, cmp.Or(measured["Completion Status"], r.Output)
				// What it was to run is not there: nobody meant to skip that.
				if strings.Contains(measured["Completion Status"], "Unable to find executable") || strings.HasPrefix(r.Output, "Unable to find executable") {
					r.Status = broken
				}
			default:
				r.Status = failed
				r.Type = measured["Exit Code"]
				if r.Type == "Timeout" || measured["Completion Status"] == "Timeout" {
					r.Status = broken
				}
				if why := measured["Fail Reason"]; why != "" {
					r.Message = why
				} else {
					r.Message = cmp.Or(lastLine(r.Output), r.Type)
				}
				locate(&r, r.Output)
			}
			return []record.TestResult{r}
		},
	})
}

// lastLine is the last line of a text that says something.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func isCTS(s *sniff) bool {
	return s.root == "Result" && s.elems["Module"] && s.elems["TestCase"] || s.root == "Result" && s.attr("suite_plan") != ""
}

// readCTS reads the report of Android's compatibility tests.
func readCTS(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"Test"},
		group: func(n *xmlNode) string {
			switch n.name {
			case "Module", "TestCase":
				return n.attr("name")
			}
			return ""
		},
		results: func(groups []string, above []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Status: passed}
			r.Name, r.Params = parametrised(n.attr("name"))
			if len(groups) > 0 {
				r.Suite, r.Groups = groups[0], groups[1:]
			}
			switch strings.ToLower(n.attr("result")) {
			case "pass":
			case "ignored", "assumption_failure", "not_executed", "notexecuted":
				r.Status = skipped
			case "fail":
				r.Status = failed
			default:
				r.Status = broken
			}
			if f := n.kid("Failure"); f.name != "" {
				r.Message, r.Stack = f.attr("message"), f.kid("StackTrace").words()
				locate(&r, r.Stack)
			}
			return []record.TestResult{r}
		},
	})
}
