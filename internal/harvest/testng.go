package harvest

import (
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func isTestNG(s *sniff) bool { return s.root == "testng-results" }

// readTestNG reads TestNG's own report, testng-results.xml. Methods that set
// up or clear away are tests only when they fail; what was retried is an
// attempt.
func readTestNG(in *input, t *tally) error {
	n := &testng{t: t, before: map[string][]record.TestResult{}}
	if err := walkXML(in, t, n); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(n.before)) {
		if err := t.add(n.before[key]...); err != nil {
			return err
		}
	}
	return nil
}

type testng struct {
	t *tally
	// before is the attempts at the tests that were to be tried again.
	before map[string][]record.TestResult
}

func (g *testng) open(path []*xmlNode) bool { return path[len(path)-1].name == "test-method" }

func (g *testng) close(path []*xmlNode) error {
	n := path[len(path)-1]
	if n.name != "test-method" {
		return nil
	}
	r := record.TestResult{Name: n.attr("name"), Seconds: seconds(n.attr("duration-ms")) / 1e3, Output: n.kid("reporter-output").words()}
	for _, up := range path {
		if up.name == "class" {
			r.Suite = up.attr("name")
		}
	}
	var params []string
	for _, p := range n.kid("params").kids {
		params = append(params, p.words())
	}
	r.Params = strings.Join(params, ", ")
	switch strings.ToUpper(n.attr("status")) {
	case "PASS":
		r.Status = passed
	case "SKIP":
		r.Status = skipped
	case "FAIL":
		r.Status = failed
	default:
		r.Status = broken
	}
	if e := n.kid("exception"); e.name != "" {
		r.Type, r.Message, r.Stack = e.attr("class"), e.kid("message").words(), e.kid("full-stacktrace", "short-stacktrace").words()
		if bad(r.Status) {
			locate(&r, r.Stack)
		}
	}
	if n.cut && !bad(r.Status) {
		r.Status, r.Message = broken, cutMessage
	}
	if n.attr("is-config") == "true" {
		if !bad(r.Status) {
			return nil
		}
		r.Status = broken
	}
	key := r.Key() + r.Params
	if n.attr("retried") == "true" && len(g.before) < maxOpen {
		if r.Status == skipped { // it is skipped in favour of the next attempt
			r.Status = failed
		}
		if len(g.before[key]) < maxList {
			g.before[key] = append(g.before[key], r)
		}
		return nil
	}
	attempts := append(g.before[key], r)
	delete(g.before, key)
	return g.t.add(attempts...)
}
