package harvest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxOpen is how many go tests may be under way at once, and how many
	// packages are known. Tests beyond it are counted when they end, without
	// what they said.
	maxOpen = 10_000
	// maxSaid is how many lines of a test's output make its message.
	maxSaid = 5
	// maxHeld is how many bytes of the output of tests under way are held.
	maxHeld = 32 << 20
	// maxPending is how many results the plain form may have in one package;
	// more than that are counted, and not handed out.
	maxPending = 50_000
)

// GoTest recognises the output of go test in a stream of lines: the events of
// go test -json, and the plain form. The zero GoTest is ready. Lines of
// anything else cost next to nothing.
//
// Without -v the plain form does not name the tests that pass: they are not
// counted then. Subtests are tests of their own, as go test counts them, in
// the group of their parent.
type GoTest struct {
	// Each, when it is set, is given each result as soon as it is known.
	Each func(record.TestResult)

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
		if isGoEvent(text) {
			g.events.line(text, g.Each)
		}
	case ' ', '\t':
		if g.plain.active {
			g.plain.line(text, g.Each)
		}
	case '-', '=', 'F', 'o', 'p':
		g.plain.line(text, g.Each)
	}
}

func isGoEvent(text []byte) bool {
	return text[0] == '{' && bytes.Contains(text[:min(len(text), 400)], []byte(`"Action":"`))
}

// Report is what has been recognised so far; false when there were no tests.
// Tests under way count as such that did not come to their end.
func (g *GoTest) Report() (record.TestsReported, bool) {
	if g.events.seen {
		r := g.events.report()
		// Older versions of go say in the plain form what does not build, even
		// beside the events.
		if plain, _ := g.plain.report(); g.plain.broken && g.plain.results == 0 {
			r.Failed += plain.Failed
			r.Bad = append(r.Bad, plain.Bad...)[:min(len(r.Bad)+len(plain.Bad), maxBad)]
		}
		return r, true
	}
	return g.plain.report()
}

// End says that the output has ended: the results that waited for more of it
// are handed out. It returns the Report.
func (g *GoTest) End() (record.TestsReported, bool) {
	if g.events.seen {
		g.events.end(g.Each)
	} else {
		g.plain.flush("", g.Each)
	}
	return g.Report()
}

func isGoTest(s *sniff) bool {
	if s.root != "" {
		return false
	}
	var g GoTest
	for line := range strings.Lines(s.text) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) > 0 && isGoEvent([]byte(line)) {
			var e goEvent
			if e.parse([]byte(line)) && (len(e.Package) > 0 || len(e.ImportPath) > 0 || len(e.Test) > 0) {
				return true
			}
		}
		g.Line([]byte(line))
	}
	_, ok := g.plain.report()
	return ok || g.plain.ended
}

func readGoTest(in *input, t *tally) error {
	g := GoTest{Each: func(r record.TestResult) { _ = t.give(r) }}
	bad := 0
	err := in.lines(t, func(n int, line []byte) error {
		if bytes.HasPrefix(line, []byte("{")) && !isJSONObject(line) {
			if bad++; bad <= maxSalvaged {
				t.warn(n, "it is no whole event")
			}
			return nil
		}
		g.Line(line)
		if t.err != nil {
			return errStop
		}
		return nil
	})
	report, ok := g.End()
	if !ok && !g.plain.ended && err == nil {
		err = errors.New("it holds no test")
	}
	out := &t.out
	out.Passed, out.Failed, out.Skipped, out.Flaky = report.Passed, report.Failed, report.Skipped, report.Flaky
	out.Seconds, out.Bad, out.Cached = report.Seconds, report.Bad, report.Cached
	return err
}

// isJSONObject says whether a line that begins an object ends it too: a
// stream that was cut off does not.
func isJSONObject(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	return line[len(line)-1] == '}'
}

// goEvent is an event of go test -json (go doc test2json) or of go build -json,
// whose events go test -json contains.
type goEvent struct {
	Action, Package, ImportPath, Test, Output, FailedBuild []byte
	Elapsed                                                float64
}

// parse reads an event. Events are flat, and go writes them: what looks
// otherwise is left to encoding/json. The fields are valid as long as text is.
func (e *goEvent) parse(text []byte) bool {
	*e = goEvent{}
	rest := text[1:]
	for {
		key, after, ok := goString(bytes.TrimLeft(rest, " ,\t"))
		if !ok || len(after) == 0 || after[0] != ':' {
			return e.slow(text)
		}
		rest = bytes.TrimLeft(after[1:], " \t")
		var value []byte
		if len(rest) > 0 && rest[0] == '"' {
			if value, rest, ok = goString(rest); !ok {
				return e.slow(text)
			}
		} else {
			n := bytes.IndexAny(rest, ",}")
			if n <= 0 || rest[0] == '{' || rest[0] == '[' {
				return e.slow(text)
			}
			value, rest = rest[:n], rest[n:]
		}
		switch string(key) {
		case "Action":
			e.Action = value
		case "Package":
			e.Package = value
		case "ImportPath":
			e.ImportPath = value
		case "Test":
			e.Test = value
		case "Output":
			e.Output = value
		case "FailedBuild":
			e.FailedBuild = value
		case "Elapsed":
			e.Elapsed, _ = strconv.ParseFloat(string(value), 64)
		}
		if len(rest) > 0 && rest[0] == '}' {
			return true
		}
	}
}

// slow reads an event by the book.
func (e *goEvent) slow(text []byte) bool {
	var s struct {
		Action, Package, ImportPath, Test, Output, FailedBuild string
		Elapsed                                                float64
	}
	if json.Unmarshal(text, &s) != nil {
		return false
	}
	*e = goEvent{
		[]byte(s.Action), []byte(s.Package), []byte(s.ImportPath),
		[]byte(s.Test), []byte(s.Output), []byte(s.FailedBuild), s.Elapsed,
	}
	return true
}

// goString takes a string off the beginning of text.
func goString(text []byte) (value, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return text[1:i], text[i+1:], true
		case '\\':
			return goEscaped(text, i)
		}
	}
	return nil, nil, false
}

// goEscaped is goString for a string that has an escape at a place.
func goEscaped(text []byte, at int) (value, rest []byte, ok bool) {
	value = append(make([]byte, 0, min(len(text), 256)), text[1:at]...)
	for i := at; i < len(text); i++ {
		c := text[i]
		if c == '"' {
			return value, text[i+1:], true
		}
		if c != '\\' {
			value = append(value, c)
			continue
		}
		if i++; i == len(text) {
			break
		}
		switch c = text[i]; c {
		case 'n':
			value = append(value, '\n')
		case 't':
			value = append(value, '\t')
		case 'r':
			value = append(value, '\r')
		case '"', '\\', '/':
			value = append(value, c)
		case 'u':
			if i+4 >= len(text) {
				return nil, nil, false
			}
			n, err := strconv.ParseUint(string(text[i+1:i+5]), 16, 16)
			if err != nil || n >= 0xd800 && n < 0xe000 { // one half of a sign
				return nil, nil, false
			}
			value = append(value, string(rune(n))...)
			i += 4
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// goEvents is a stream of go test -json.
type goEvents struct {
	seen     bool
	out      record.TestsReported
	packages map[string]*goPackage
	last     *goPackage // the one that the last event was of
	open     int        // tests under way
	held     int        // bytes of output
}

// goPackage is what is known of a package.
type goPackage struct {
	name   string
	failed int // tests, in this run of it
	said   []string
	ended  bool
	tests  map[string]*goRun
	// again is set while the tests of the package that failed are run again;
	// tried says how often each of them has been.
	again bool
	begun bool
	tried map[string]int
}

// goRun is a test that is under way.
type goRun struct {
	said  []string // lines that name a place, or the end of a panic
	more  int      // lines that belong to the one before
	file  string
	line  int
	panic bool
	text  excerpt
}

func (g *goEvents) line(text []byte, each func(record.TestResult)) {
	var e goEvent
	if !e.parse(text) || len(e.Package) == 0 && len(e.ImportPath) == 0 && len(e.Test) == 0 {
		return
	}
	switch string(e.Action) {
	case "build-output":
		// The build is of a package, perhaps in its variant for tests: "p [p.test]".
		name, _, _ := bytes.Cut(e.ImportPath, []byte(" "))
		if p := g.pkg(name); !bytes.HasPrefix(e.Output, []byte("#")) {
			p.said = say(p.said, e.Output)
		}
	case "start":
		if p := g.pkg(e.Package); p.ended {
			p.restart()
		}
	case "run":
		g.seen = true
		g.run(g.pkg(e.Package), string(e.Test))
	case "output":
		g.output(g.pkg(e.Package), &e)
	case "pass", "fail", "skip":
		g.seen = true
		if p := g.pkg(e.Package); len(e.Test) == 0 {
			g.endPackage(p, &e, each)
		} else {
			g.endTest(p, string(e.Test), &e, each)
		}
	}
}

func (g *goEvents) pkg(name []byte) *goPackage {
	if g.last != nil && g.last.name == string(name) {
		return g.last
	}
	p := g.packages[string(name)]
	if p == nil {
		p = &goPackage{name: clip(string(name), maxName), tests: map[string]*goRun{}}
		if g.packages == nil {
			g.packages = map[string]*goPackage{}
		}
		if len(g.packages) < maxOpen {
			g.packages[string(name)] = p
		}
	}
	g.last = p
	return p
}

// restart begins another run of a package that has ended.
func (p *goPackage) restart() {
	p.ended, p.begun, p.again, p.failed, p.said = false, false, false, 0, nil
}

func (g *goEvents) run(p *goPackage, test string) {
	if p.ended {
		p.restart()
	}
	// Tools that try failed tests again run them alone.
	if !p.begun {
		p.begun, p.again = true, p.tried[test] > 0
	}
	if old := p.tests[test]; old != nil {
		g.held -= old.text.size()
	} else if g.open >= maxOpen {
		return
	} else {
		g.open++
	}
	p.tests[test] = &goRun{}
}

func (g *goEvents) output(p *goPackage, e *goEvent) {
	if len(e.Test) == 0 {
		if bytes.HasPrefix(e.Output, []byte("ok  \t")) && bytes.Contains(e.Output, []byte("\t(cached)")) {
			g.out.Cached = cached(g.out.Cached, p.name)
		}
		if worthSaying(e.Output) || len(p.tests) == 0 && len(p.said) < maxSaid && !goNoise(e.Output) {
			p.said = say(p.said, e.Output)
		}
		return
	}
	r := p.tests[string(e.Test)]
	if r == nil || goNoise(e.Output) {
		return
	}
	switch {
	case worthSaying(e.Output):
		r.more = maxSaid
		r.panic = r.panic || bytes.HasPrefix(e.Output, []byte("panic: "))
		fallthrough
	case r.more > 0: // what a test says may go on for some lines
		r.more--
		r.said = say(r.said, e.Output)
		if r.file == "" {
			r.file, r.line = goPlace(string(e.Output[:min(len(e.Output), maxName)]))
		}
	}
	if g.held < maxHeld {
		before := r.text.size()
		r.text.add(e.Output)
		g.held += r.text.size() - before
	}
}

// cached adds a package whose results go test remembered.
func cached(list []string, pkg string) []string {
	if len(list) == maxOpen || len(list) > 0 && list[len(list)-1] == pkg {
		return list
	}
	return append(list, pkg)
}

// goNoise says whether a line of output is go test's own.
func goNoise(text []byte) bool {
	text = bytes.TrimLeft(text, " \t")
	return bytes.HasPrefix(text, []byte("=== ")) || bytes.HasPrefix(text, []byte("--- "))
}

// worthSaying says whether a line of output may tell where and why.
func worthSaying(text []byte) bool {
	return bytes.Contains(text, []byte(".go:")) || bytes.HasPrefix(text, []byte("panic: ")) ||
		bytes.HasPrefix(text, []byte("FAIL\t")) || bytes.HasPrefix(text, []byte("fatal error: "))
}

func say(said []string, text []byte) []string {
	if len(said) == maxSaid || goNoise(text) {
		return said
	}
	line := clip(string(text[:min(len(text), maxMessage/maxSaid)]), maxMessage/maxSaid)
	if line == "" {
		return said
	}
	return append(said, line)
}

var goStatus = map[string]string{"pass": passed, "fail": failed, "skip": skipped}

func (g *goEvents) endTest(p *goPackage, test string, e *goEvent, each func(record.TestResult)) {
	r := p.tests[test]
	if r == nil {
		r = &goRun{}
	} else {
		g.drop(p, test, r)
	}
	g.result(p, test, r, goStatus[string(e.Action)], e.Elapsed, each)
}

// drop forgets a test that is no longer under way.
func (g *goEvents) drop(p *goPackage, test string, r *goRun) {
	delete(p.tests, test)
	g.open--
	g.held -= r.text.size()
}

// result counts how a test ended, and hands it out.
func (g *goEvents) result(p *goPackage, test string, r *goRun, status string, seconds float64, each func(record.TestResult)) {
	result := goResult(p.name, test)
	result.Status, result.Seconds = status, seconds
	if status != passed {
		result.Message, result.File, result.Line = strings.Join(r.said, "\n"), r.file, r.line
		result.Output = r.text.String()
		if r.panic {
			result.Type = "panic"
		}
		if result.Message == "" && status == broken {
			result.Message = "it did not come to its end"
		}
	}
	tidy(&result)
	t := tally{out: g.out}
	if p.again && p.tried[test] > 0 {
		result.Attempt = p.tried[test] + 1
		t.again(result)
	} else {
		t.count(result)
	}
	g.out = t.out
	if bad(status) {
		p.failed++
		if p.tried == nil {
			p.tried = map[string]int{}
		}
		if len(p.tried) < maxOpen {
			p.tried[test]++
		}
	}
	if each != nil {
		each(result)
	}
}

// again counts another attempt at a test that has failed before, and been
// counted so.
func (t *tally) again(r record.TestResult) {
	if t.out.Failed--; r.Status == passed {
		t.out.Flaky++
	}
	t.out.Bad = slices.DeleteFunc(slices.Clone(t.out.Bad), func(b record.TestResult) bool {
		return b.Suite == r.Suite && b.Name == r.Name && slices.Equal(b.Groups, r.Groups)
	})
	t.count(r)
}

// goResult is of a test by its whole name: a subtest is in the groups of those
// that it is part of.
func goResult(pkg, test string) record.TestResult {
	parts := strings.SplitN(clip(test, maxName), "/", maxList)
	last := len(parts) - 1
	r := record.TestResult{Suite: pkg, Name: parts[last]}
	if last > 0 {
		r.Groups = parts[:last:last]
	}
	return r
}

func (g *goEvents) endPackage(p *goPackage, e *goEvent, each func(record.TestResult)) {
	p.ended = true
	g.out.Seconds += e.Elapsed
	// What did not end before its package did has no result of its own: in a
	// package that passed it passed, or else it was what broke it.
	status := passed
	if string(e.Action) == "fail" {
		status = broken
	}
	for _, test := range p.open() {
		r := p.tests[test]
		g.drop(p, test, r)
		g.result(p, test, r, status, 0, each)
	}
	if status == passed || p.failed > 0 {
		return
	}
	said := p.said
	if len(e.FailedBuild) > 0 {
		// The build may have failed in another package that this one imports.
		name, _, _ := bytes.Cut(e.FailedBuild, []byte(" "))
		if b := g.packages[string(name)]; b != nil && len(b.said) > 0 {
			said = b.said
		}
	}
	g.broke(p.name, e.Elapsed, said, each)
}

// broke counts a package that failed without a test that did.
func (g *goEvents) broke(pkg string, seconds float64, said []string, each func(record.TestResult)) {
	r := record.TestResult{Suite: pkg, Name: pkg, Status: broken, Seconds: seconds, Message: strings.Join(said, "\n")}
	for _, s := range said {
		if r.File == "" {
			r.File, r.Line = goPlace(s)
		}
	}
	tidy(&r)
	t := tally{out: g.out}
	t.count(r)
	g.out = t.out
	if each != nil {
		each(r)
	}
}

// open is the tests under way, in order of their names.
func (p *goPackage) open() []string {
	names := make([]string, 0, len(p.tests))
	for name := range p.tests {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// end counts what is still under way: go test was ended before it.
func (g *goEvents) end(each func(record.TestResult)) {
	var all []*goPackage
	for _, p := range g.packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *goPackage) int { return cmp.Compare(a.name, b.name) })
	for _, p := range all {
		for _, test := range p.open() {
			r := p.tests[test]
			g.drop(p, test, r)
			g.result(p, test, r, broken, 0, each)
		}
	}
}

// report also counts what is still under way.
func (g *goEvents) report() record.TestsReported {
	rest := goEvents{out: g.out}
	rest.out.Bad = slices.Clone(g.out.Bad)
	rest.packages = map[string]*goPackage{}
	for name, p := range g.packages {
		if len(p.tests) > 0 {
			open := *p
			open.tests = map[string]*goRun{}
			for test, r := range p.tests {
				open.tests[test] = r
			}
			rest.packages[name] = &open
		}
	}
	rest.end(nil)
	rest.out.Source = "go test -json"
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
			n := len(t.Groups)
			parent = parent || t.Message == "" && o.Suite == t.Suite && len(o.Groups) > n &&
				slices.Equal(o.Groups[:n], t.Groups) && o.Groups[n] == t.Name
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

// excerpt is the beginning and the end of a text of any length.
type excerpt struct {
	head, tail []byte
	left       bool // something between them was left out
}

func (e *excerpt) size() int { return len(e.head) + len(e.tail) }

func (e *excerpt) add(text []byte) {
	const half = maxText/2 - 8
	if room := half - len(e.head); room > 0 && len(e.tail) == 0 {
		n := min(room, len(text))
		e.head, text = append(e.head, text[:n]...), text[n:]
	}
	e.tail = append(e.tail, text...)
	if len(e.tail) > 2*half {
		e.tail = append(e.tail[:0], e.tail[len(e.tail)-half:]...)
		e.left = true
	}
}

func (e *excerpt) String() string {
	const half = maxText/2 - 8
	tail := e.tail
	if len(tail) > half {
		tail, e.left = tail[len(tail)-half:], true
	}
	if e.left {
		return string(e.head) + "\n…\n" + string(tail)
	}
	return string(e.head) + string(tail)
}
