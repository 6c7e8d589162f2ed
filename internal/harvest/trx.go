package harvest

import (
	"cmp"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxWaiting is how many results of a TRX report may wait for the names
	// of their classes, which come at its end; maxWaitingText how many bytes
	// of what they said wait with them.
	maxWaiting     = 100_000
	maxWaitingText = 16 << 20
)

// isTRX: the format of Visual Studio and dotnet test. AUnit and CppUnit have a
// root of the same name.
func isTRX(s *sniff) bool {
	return s.root == "TestRun" && (strings.Contains(s.attr("xmlns"), "TeamTest") || s.elems["Results"] || s.elems["TestDefinitions"] || s.elems["UnitTestResult"])
}

func readTRX(in *input, t *tally) error {
	x := &trx{t: t, methods: map[string]trxMethod{}}
	err := walkXML(in, t, x)
	if err == errStop {
		return err
	}
	if flushed := x.flush(); flushed != nil {
		return flushed
	}
	return err
}

// trx is a report while it is read. Results are told apart by an identity of
// no meaning, and only the definitions, which mostly follow, say whose it is.
type trx struct {
	t       *tally
	methods map[string]trxMethod // by identity
	defined bool                 // the definitions came first
	waiting []trxResult
	text    int
}

type trxMethod struct{ class, name, owner string }

type trxResult struct {
	id     string
	result record.TestResult
}

func (x *trx) open(path []*xmlNode) bool {
	n := path[len(path)-1]
	switch n.name {
	case "TestDefinitions":
		x.defined = x.defined || len(x.waiting) == 0
	case "UnitTest", "OrderedTest", "GenericTest", "ManualTest", "RunInfo":
		return true
	case "UnitTestResult", "TestResult", "GenericTestResult", "ManualTestResult", "WebTestResult", "TestResultAggregation":
		return len(path) > 1 && path[len(path)-2].name == "Results"
	}
	return false
}

func (x *trx) close(path []*xmlNode) error {
	n := path[len(path)-1]
	switch n.name {
	case "UnitTest", "OrderedTest", "GenericTest", "ManualTest":
		if len(x.methods) < maxWaiting {
			m := n.kid("TestMethod")
			class, _, _ := strings.Cut(m.attr("className"), ",")
			x.methods[n.attr("id")] = trxMethod{class, cmp.Or(m.attr("name"), n.attr("name")), n.kid("Owners").kid("Owner").attr("name")}
		}
	case "UnitTestResult", "TestResult", "GenericTestResult", "ManualTestResult", "WebTestResult", "TestResultAggregation":
		return x.result(n)
	}
	return nil
}

func (x *trx) result(n *xmlNode) error {
	// The rows of a test that is driven by data are results of their own; what
	// holds them only sums them up.
	if rows := n.kid("InnerResults").kids; len(rows) > 0 {
		for _, row := range rows {
			if err := x.result(row); err != nil {
				return err
			}
		}
		return nil
	}
	out := n.kid("Output")
	r := record.TestResult{
		Name: n.attr("testName"), Seconds: clock(n.attr("duration")), Status: trxStatus(n.attr("outcome")),
		Output: join(out.kid("StdOut").words(), out.kid("StdErr").words()),
	}
	info := out.kid("ErrorInfo")
	r.Message, r.Stack = info.kid("Message").words(), info.kid("StackTrace").words()
	if n.cut {
		r.Status, r.Message = broken, cutMessage
	}
	if bad(r.Status) {
		locate(&r, r.Stack)
	}
	for _, f := range n.kid("ResultFiles").kids {
		r.Attachments = append(r.Attachments, f.attr("path"))
	}
	w := trxResult{n.attr("testId"), r}
	if x.defined {
		return x.add(w)
	}
	if len(x.waiting) >= maxWaiting {
		x.t.once("of the tests beyond %d the class is not known", maxWaiting)
		return x.add(w)
	}
	if x.text += len(r.Output) + len(r.Stack); x.text > maxWaitingText {
		w.result.Output, w.result.Stack = "", ""
	}
	x.waiting = append(x.waiting, w)
	return nil
}

// add counts a result under the name that its definition gives it.
func (x *trx) add(w trxResult) error {
	r, m := w.result, x.methods[w.id]
	r.Suite, r.Owner = m.class, m.owner
	shown := r.Name
	if rest, ok := strings.CutPrefix(shown, m.class+"."); ok && m.class != "" {
		shown = rest
	}
	// The definition may name the whole method, and the class with it.
	method := strings.TrimPrefix(m.name, m.class+".")
	method, _ = called(method)
	switch rest, ok := strings.CutPrefix(shown, method); {
	case method == "" || ok && rest == "":
		r.Name, r.Params = called(shown)
	case ok && strings.HasPrefix(strings.TrimSpace(rest), "("):
		rest = strings.TrimSpace(rest)
		r.Name, r.Params = method, strings.TrimSuffix(rest[1:], ")")
	default: // the test has a name of its own; the method is where it is found
		r.Name = method
		if at := strings.IndexByte(shown, '('); at > 0 && strings.HasSuffix(shown, ")") {
			r.Params = shown[at+1 : len(shown)-1]
		}
	}
	if r.Suite == "" {
		if at := strings.LastIndexByte(r.Name, '.'); at > 0 && identifier(r.Name) {
			r.Suite, r.Name = r.Name[:at], r.Name[at+1:]
		}
	}
	return x.t.add(r)
}

func (x *trx) flush() error {
	for _, w := range x.waiting {
		if err := x.add(w); err != nil {
			return err
		}
	}
	x.waiting = nil
	return nil
}

func trxStatus(outcome string) string {
	switch strings.ToLower(outcome) {
	case "passed", "passedbutrunaborted", "warning", "completed":
		return passed
	case "failed":
		return failed
	case "notexecuted", "notrunnable", "inconclusive", "pending", "disconnected":
		return skipped
	}
	// Error, Timeout, Aborted, InProgress; and, by the format's own rule, none.
	return broken
}

// clock is a duration as "00:00:01.5", "1.02:03:04" or in seconds.
func clock(s string) float64 {
	days := 0.0
	if d, rest, ok := strings.Cut(s, "."); ok && strings.Contains(rest, ":") {
		days, s = seconds(d), rest
	}
	total := 0.0
	for part := range strings.SplitSeq(s, ":") {
		total = total*60 + seconds(part)
	}
	return days*24*3600 + total
}
