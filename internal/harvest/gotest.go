package harvest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxOpen is how many go tests may be under way at once. Those beyond it
	// are counted when they end, without what they said.
	maxOpen = 10_000
	// maxSaid is how many lines of a test's output are kept.
	maxSaid = 5
)

// GoTest recognises the output of go test in a stream of lines: the events of
// go test -json, and the plain form. The zero GoTest is ready. Lines of
// anything else cost next to nothing.
//
// Without -v the plain form does not name the tests that pass: they are not
// counted then. Subtests are tests of their own, as go test counts them.
type GoTest struct {
	events goEvents
	plain  goPlain
}

// Line takes one line of output, without its end. It keeps nothing of text.
func (g *GoTest) Line(text []byte) {
	if len(text) == 0 {
		return
	}
	switch text[0] {
	case '{':
		if bytes.Contains(text[:min(len(text), 400)], []byte(`"Action":"`)) {
			g.events.line(text)
		}
	case ' ', '\t':
		if g.plain.active {
			g.plain.line(text)
		}
	case '-', '=', 'F', 'o', 'p':
		g.plain.line(text)
	}
}

// Report is what has been recognised so far; false when there were no tests.
func (g *GoTest) Report() (record.TestsReported, bool) {
	if g.events.seen {
		return g.events.report(), true
	}
	return g.plain.report()
}

// goEvent is an event of go test -json (go doc test2json) or of go build -json,
// whose events go test -json contains.
type goEvent struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// goEvents is a stream of go test -json.
type goEvents struct {
	seen     bool
	out      record.TestsReported
	tests    map[goName]*goRun
	packages map[string]*goPackage
	// following is how many more lines of output are read.
	following int
}

type goName struct{ pkg, test string }

// goRun is a test that is under way.
type goRun struct {
	said []string // lines that name a place, or the end of a panic
	file string
	line int
}

// goPackage is what is known of a package.
type goPackage struct {
	failed int // tests
	said   []string
	ended  bool
}

func (g *goEvents) line(text []byte) {
	// Nearly all events are output, and nearly all output is of no interest.
	if bytes.Contains(text, []byte(`"Action":"output"`)) {
		switch {
		case worthReading(text):
			g.following = maxSaid
		case g.following == 0:
			return
		default: // what a test says may go on for some lines
			g.following--
		}
	}
	var e goEvent
	if json.Unmarshal(text, &e) != nil || e.Package == "" && e.ImportPath == "" && e.Test == "" {
		return
	}
	if g.tests == nil {
		g.tests, g.packages = map[goName]*goRun{}, map[string]*goPackage{}
		g.out.Source = "go test -json"
	}
	name := goName{clip(e.Package, maxName), clip(e.Test, maxName)}
	switch e.Action {
	case "build-output":
		// The build is of a package, perhaps in its variant for tests: "p [p.test]".
		pkg, _, _ := strings.Cut(e.ImportPath, " ")
		if p := g.pkg(pkg); !strings.HasPrefix(e.Output, "#") {
			p.said = say(p.said, e.Output)
		}
	case "run":
		g.seen = true
		if len(g.tests) < maxOpen {
			g.tests[name] = &goRun{}
		}
	case "output":
		g.output(name, e.Output)
	case "pass", "fail", "skip":
		g.seen = true
		if e.Test == "" {
			g.endPackage(e)
		} else {
			g.endTest(name, e)
		}
	}
}

// worthReading says whether an output event may tell where and why.
func worthReading(text []byte) bool {
	return bytes.Contains(text, []byte(".go:")) || bytes.Contains(text, []byte(`"Output":"panic: `)) ||
		bytes.Contains(text, []byte("[build failed]")) || bytes.Contains(text, []byte("[setup failed]"))
}

func (g *goEvents) pkg(name string) *goPackage {
	p := g.packages[name]
	if p == nil {
		p = &goPackage{}
		if len(g.packages) < maxOpen {
			g.packages[name] = p
		}
	}
	return p
}

func (g *goEvents) output(name goName, text string) {
	if name.test == "" {
		p := g.pkg(name.pkg)
		p.said = say(p.said, text)
		return
	}
	if r := g.tests[name]; r != nil {
		r.said = say(r.said, text)
		if r.file == "" {
			r.file, r.line = goPlace(text)
		}
	}
}

func say(said []string, text string) []string {
	text = clip(text, maxMessage/maxSaid)
	if text == "" || len(said) == maxSaid || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") {
		return said
	}
	return append(said, text)
}

func (g *goEvents) endTest(name goName, e goEvent) {
	r := g.tests[name]
	delete(g.tests, name)
	result := record.TestResult{Suite: name.pkg, Name: name.test, Seconds: e.Elapsed, Status: goStatus[e.Action]}
	if r != nil && result.Status == failed {
		result.Message, result.File, result.Line = strings.Join(r.said, "\n"), r.file, r.line
	}
	if result.Status == failed {
		g.pkg(name.pkg).failed++
	}
	count(&g.out, result)
}

var goStatus = map[string]string{"pass": passed, "fail": failed, "skip": skipped}

func (g *goEvents) endPackage(e goEvent) {
	p := g.pkg(e.Package)
	p.ended = true
	g.out.Seconds += e.Elapsed
	// What did not end before its package did has no result of its own: in a
	// package that passed it passed, or else it was what broke it.
	for _, name := range g.open() {
		if name.pkg == e.Package {
			g.count(name, g.tests[name], e.Action == "fail", p)
			delete(g.tests, name)
		}
	}
	if e.Action != "fail" || p.failed > 0 {
		return
	}
	if e.FailedBuild != "" {
		// The build may have failed in another package that this one imports.
		build, _, _ := strings.Cut(e.FailedBuild, " ")
		if b := g.packages[build]; b != nil && len(b.said) > 0 {
			p = b
		}
	}
	result := record.TestResult{Suite: e.Package, Name: e.Package, Status: broken, Seconds: e.Elapsed, Message: strings.Join(p.said, "\n")}
	for _, s := range p.said {
		if result.File == "" {
			result.File, result.Line = goPlace(s)
		}
	}
	count(&g.out, result)
}

// open is the tests under way, in order of their names.
func (g *goEvents) open() []goName {
	return slices.SortedFunc(maps.Keys(g.tests), func(a, b goName) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
}

// count counts a test that never ended.
func (g *goEvents) count(name goName, r *goRun, bad bool, p *goPackage) {
	result := record.TestResult{Suite: name.pkg, Name: name.test, Status: passed}
	if bad {
		result.Status, result.File, result.Line = broken, r.file, r.line
		result.Message = strings.Join(r.said, "\n")
		if result.Message == "" {
			result.Message = "it did not come to its end"
		}
		p.failed++
	}
	count(&g.out, result)
}

// report also counts what is still under way: go test was ended before it.
func (g *goEvents) report() record.TestsReported {
	rest := goEvents{out: g.out}
	rest.out.Bad = g.out.Bad[:len(g.out.Bad):len(g.out.Bad)]
	for _, name := range g.open() {
		rest.count(name, g.tests[name], true, &goPackage{})
	}
	return finished(rest.out)
}

// finished leaves out, of the failed tests, those that failed because a
// subtest did and have nothing of their own to say.
func finished(r record.TestsReported) record.TestsReported {
	r.Seconds = micros(r.Seconds)
	var bad []record.TestResult
	for _, t := range r.Bad {
		parent := false
		for _, o := range r.Bad {
			parent = parent || t.Message == "" && o.Suite == t.Suite && strings.HasPrefix(o.Name, t.Name+"/")
		}
		if !parent {
			bad = append(bad, t)
		}
	}
	r.Bad = bad
	return r
}

// goPlace finds the place that a line of output begins with: a message's
// ("x_test.go:12: …") or, in a stack, that of a test file.
func goPlace(text string) (file string, line int) {
	text = strings.TrimLeft(text, " \t")
	i := strings.Index(text, ".go:")
	if i < 0 || strings.ContainsAny(text[:i], " \t\"'(") {
		return "", 0
	}
	file, rest := text[:i+3], text[i+4:]
	end := 0
	for end < len(rest) && end < 9 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	line, err := strconv.Atoi(rest[:end])
	if err != nil || !strings.HasPrefix(rest[end:], ":") && !strings.HasSuffix(file, "_test.go") {
		return "", 0
	}
	return clip(file, maxName), line
}

// goPlain is the plain form of go test's output. What a test says stands after
// its result or, with -v, before it.
type goPlain struct {
	active  bool // something of go test has been seen
	out     record.TestsReported
	results int      // tests that were named
	last    int      // 1 + index in out.Bad of the test whose output may follow; 0: none
	before  []string // what was said since a test began
	unnamed int      // how many of out.Bad have got their package
	failed  int      // of the package that is under way
	panic   []string
	broken  bool // a package broke without naming a test
}

func (g *goPlain) line(text []byte) {
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	trimmed := bytes.TrimLeft(text, " \t")
	switch {
	case bytes.HasPrefix(trimmed, []byte("--- ")):
		g.result(string(trimmed[4:]))
	case len(trimmed) != len(text):
		g.said(string(trimmed))
	case bytes.HasPrefix(text, []byte("=== RUN ")), bytes.HasPrefix(text, []byte("=== NAME ")), bytes.HasPrefix(text, []byte("=== CONT ")):
		g.active, g.last, g.before = true, 0, nil
	case bytes.HasPrefix(text, []byte("panic: ")) && len(g.panic) == 0:
		g.panic = []string{string(text)}
	case bytes.HasPrefix(text, []byte("FAIL\t")):
		g.endPackage(string(text[5:]), true)
	case bytes.HasPrefix(text, []byte("ok  \t")):
		g.endPackage(string(text[5:]), false)
	}
}

// result takes "FAIL: TestX (0.00s)".
func (g *goPlain) result(text string) {
	word, rest, _ := strings.Cut(text, ": ")
	name, tail, ok := strings.Cut(rest, " (")
	took, isTime := strings.CutSuffix(tail, "s)")
	status := map[string]string{"PASS": passed, "FAIL": failed, "SKIP": skipped}[word]
	if !ok || !isTime || status == "" || strings.ContainsAny(name, " \t") {
		return
	}
	g.active = true
	g.results++
	r := record.TestResult{Name: name, Status: status, Seconds: seconds(took)}
	if status == failed {
		g.failed++
		for _, s := range g.before {
			r = explained(r, s)
		}
	}
	n := len(g.out.Bad)
	count(&g.out, r)
	g.before, g.last = nil, 0
	if len(g.out.Bad) > n {
		g.last = n + 1
	}
	if !strings.Contains(name, "/") {
		g.out.Seconds += r.Seconds
	}
}

// said takes an indented line: what a test had to say.
func (g *goPlain) said(text string) {
	if file, _ := goPlace(text); file == "" {
		return
	}
	if g.last > 0 {
		g.out.Bad[g.last-1] = explained(g.out.Bad[g.last-1], text)
	} else if len(g.before) < maxSaid {
		g.before = append(g.before, clip(text, maxMessage/maxSaid))
	}
}

func explained(r record.TestResult, text string) record.TestResult {
	if r.File == "" {
		r.File, r.Line = goPlace(text)
	}
	if strings.Count(r.Message, "\n") < maxSaid-1 {
		r.Message = clip(r.Message+"\n"+clip(text, maxMessage/maxSaid), maxMessage)
	}
	return r
}

// endPackage takes "example.com/p\t0.01s", or "example.com/p [build failed]".
func (g *goPlain) endPackage(text string, bad bool) {
	pkg, rest, _ := strings.Cut(text, "\t")
	pkg, why, _ := strings.Cut(pkg, " ")
	if pkg == "" || rest == "" && why == "" {
		return
	}
	g.active = true
	for ; g.unnamed < len(g.out.Bad); g.unnamed++ {
		g.out.Bad[g.unnamed].Suite = clip(pkg, maxName)
	}
	if bad && g.failed == 0 {
		g.broken = true
		count(&g.out, record.TestResult{Suite: pkg, Name: pkg, Status: broken, Message: strings.Join(append(g.panic, strings.Trim(why, "[]")), "\n")})
		g.unnamed = len(g.out.Bad)
	}
	g.failed, g.panic, g.last, g.before = 0, nil, 0, nil
}

func (g *goPlain) report() (record.TestsReported, bool) {
	if g.results == 0 && !g.broken {
		return record.TestsReported{}, false
	}
	out := g.out
	out.Source = "go test"
	return finished(out), true
}
