package harvest

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// xUnit.net's reports: version 2 and later have a root <assemblies> with
// collections of tests, version 1 an <assembly> with classes.

func isXUnit(s *sniff) bool {
	return s.root == "assemblies" || s.root == "assembly" && (s.elems["test"] || s.elems["collection"] || s.elems["class"] || s.attr("test-framework") != "")
}

func readXUnit(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"test", "error"},
		results: func(_ []string, path []*xmlNode, n *xmlNode) []record.TestResult {
			if n.name == "error" { // of the assembly: a fixture that broke, most often
				r := record.TestResult{Suite: n.attr("name", "type"), Name: cmp.Or(n.attr("type"), "error"), Status: broken}
				xunitFailure(&r, n.kid("failure"))
				return []record.TestResult{r}
			}
			return []record.TestResult{xunitTest(path, n)}
		},
	})
}

func xunitTest(path []*xmlNode, n *xmlNode) record.TestResult {
	r := record.TestResult{
		Suite: n.attr("type"), Name: n.attr("method"), Seconds: seconds(n.attr("time")),
		Output: n.kid("output").words(), File: n.attr("source-file"),
	}
	r.Line, _ = strconv.Atoi(n.attr("source-line"))
	shown := n.attr("name")
	if rest, ok := strings.CutPrefix(shown, r.Suite+"."); ok && r.Suite != "" {
		shown = rest
	}
	switch {
	case r.Name == "":
		r.Name, r.Params = called(shown)
	case shown != r.Name && shown != "":
		// A theory has the arguments of the case after its name, which may be
		// one of its own.
		if at := strings.IndexAny(shown, "(<"); at > 0 && strings.HasSuffix(shown, ")") {
			r.Params = strings.Trim(shown[at:], "()")
		}
	}
	for _, trait := range n.kid("traits").kids {
		switch name := trait.attr("name"); {
		case strings.EqualFold(name, "owner"):
			r.Owner = trait.attr("value")
		case strings.EqualFold(name, "category"):
			r.Tags = append(r.Tags, trait.attr("value"))
		default:
			r.Tags = append(r.Tags, name+"="+trait.attr("value"))
		}
	}
	switch strings.ToLower(n.attr("result")) {
	case "fail":
		r.Status = failed
		xunitFailure(&r, n.kid("failure"))
	case "skip", "notrun":
		r.Status, r.Message = skipped, cmp.Or(n.kid("reason").words(), n.attr("reason"))
	default:
		r.Status = passed
	}
	return r
}

func xunitFailure(r *record.TestResult, n *xmlNode) {
	r.Type, r.Message, r.Stack = n.attr("exception-type"), n.kid("message").words(), n.kid("stack-trace").words()
	if r.Line == 0 {
		locate(r, r.Stack)
	}
}
