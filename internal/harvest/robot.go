package harvest

import (
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func isRobot(s *sniff) bool { return s.root == "robot" }

// readRobot reads Robot Framework's output.xml. What is called differently by
// whom starts it, the outermost suite, is left out of a test's name.
func readRobot(in *input, t *tally) error {
	return walkXML(in, t, &xmlCases{
		t: t, cases: []string{"test"},
		group: func(n *xmlNode) string {
			if n.name == "suite" {
				return n.attr("name")
			}
			return ""
		},
		results: func(groups []string, above []*xmlNode, n *xmlNode) []record.TestResult {
			r := record.TestResult{Name: n.attr("name")}
			if len(groups) > 1 {
				groups = groups[1:]
			}
			if len(groups) > 0 {
				r.Suite, r.Groups = groups[0], groups[1:]
			}
			for _, s := range above {
				if s.name == "suite" && s.attr("source") != "" {
					r.File = s.attr("source")
				}
			}
			r.Line = int(seconds(n.attr("line")))
			for _, tag := range append(n.all("tag"), n.kid("tags").kids...) {
				r.Tags = append(r.Tags, tag.words())
			}
			var status *xmlNode
			for _, k := range n.all("status") {
				status = k // the last is the test's own
			}
			if status == nil {
				r.Status, r.Message = broken, "it did not come to its end"
				return []record.TestResult{r}
			}
			r.Seconds = robotSeconds(status)
			switch strings.ToUpper(status.attr("status")) {
			case "PASS":
				r.Status = passed
			case "SKIP", "NOT RUN", "NOT_RUN":
				r.Status, r.Message = skipped, status.words()
			default:
				r.Status, r.Message = failed, status.words()
			}
			return []record.TestResult{r}
		},
	})
}

// robotSeconds is how long it took: newer versions say so, older ones when it
// began and ended.
func robotSeconds(status *xmlNode) float64 {
	if e := status.attr("elapsed"); e != "" {
		return seconds(e)
	}
	const layout = "20060102 15:04:05.000"
	from, err := time.Parse(layout, status.attr("starttime"))
	if err != nil {
		return 0
	}
	to, err := time.Parse(layout, status.attr("endtime"))
	if err != nil {
		return 0
	}
	return max(0, to.Sub(from).Seconds())
}
