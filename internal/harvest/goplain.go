package harvest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// goPlain is the plain form of go test's output. What a test says stands after
// its result or, with -v, before it; its package stands at the end.
type goPlain struct {
	active  bool // something of go test has been seen
	ended   bool // a package has
	out     record.TestsReported
	results int                 // tests that were named
	pending []record.TestResult // of the package that is under way
	talks   bool                // what is said belongs to the last of them
	before  []string            // what was said since a test began
	failed  int                 // of the package that is under way
	panic   []string
	broken  bool // a package broke without naming a test
}

func (g *goPlain) line(text []byte, each func(record.TestResult)) {
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
		g.active, g.talks, g.before = true, false, nil
	case bytes.HasPrefix(text, []byte("panic: ")) && len(g.panic) == 0:
		g.panic = []string{string(text)}
	case bytes.HasPrefix(text, []byte("FAIL\t")):
		g.endPackage(string(text[5:]), true, each)
	case bytes.HasPrefix(text, []byte("ok  \t")):
		g.endPackage(string(text[5:]), false, each)
	}
}

// result takes "FAIL: TestX (0.00s)".
func (g *goPlain) result(text string) {
	word, rest, _ := strings.Cut(text, ": ")
	name, tail, ok := strings.Cut(rest, " (")
	took, isTime := strings.CutSuffix(tail, "s)")
	status := map[string]string{"PASS": passed, "FAIL": failed, "SKIP": skipped}[word]
	if !ok || !isTime || status == "" || name == "" || strings.ContainsAny(name, " \t") {
		return
	}
	g.active = true
	g.results++
	r := goResult("", name)
	r.Status, r.Seconds = status, seconds(took)
	if status != passed {
		for _, s := range g.before {
			explained(&r, s)
		}
	}
	if status == failed {
		g.failed++
	}
	g.before = nil
	if len(r.Groups) == 0 {
		g.out.Seconds += r.Seconds
	}
	if g.talks = len(g.pending) < maxPending; g.talks {
		g.pending = append(g.pending, r)
		g.talks = status != passed
	} else {
		t := tally{out: g.out}
		t.count(r)
		g.out = t.out
	}
}

// said takes an indented line: what a test had to say.
func (g *goPlain) said(text string) {
	if file, _ := goPlace(text); file == "" {
		return
	}
	if g.talks {
		explained(&g.pending[len(g.pending)-1], text)
	} else if len(g.before) < maxSaid {
		g.before = append(g.before, clip(text, maxMessage/maxSaid))
	}
}

func explained(r *record.TestResult, text string) {
	if r.File == "" {
		r.File, r.Line = goPlace(text)
	}
	if strings.Count(r.Message, "\n") < maxSaid-1 {
		r.Message = clip(r.Message+"\n"+clip(text, maxMessage/maxSaid), maxMessage)
	}
}

// endPackage takes "example.com/p\t0.01s", or "example.com/p [build failed]".
func (g *goPlain) endPackage(text string, bad bool, each func(record.TestResult)) {
	pkg, rest, _ := strings.Cut(text, "\t")
	pkg, why, _ := strings.Cut(pkg, " ")
	if pkg == "" || rest == "" && why == "" {
		return
	}
	pkg = clip(pkg, maxName)
	g.active, g.ended = true, true
	if len(g.pending) > 0 && strings.HasPrefix(rest, "(cached)") {
		g.out.Cached = cached(g.out.Cached, pkg)
	}
	if bad && g.failed == 0 {
		g.broken = true
		g.pending = append(g.pending, record.TestResult{Name: pkg, Status: broken, Message: strings.Join(append(g.panic, strings.Trim(why, "[]")), "\n")})
	}
	g.flush(pkg, each)
	g.failed, g.panic, g.talks, g.before = 0, nil, false, nil
}

// flush counts the results of a package and hands them out.
func (g *goPlain) flush(pkg string, each func(record.TestResult)) {
	t := tally{out: g.out}
	for _, r := range g.pending {
		r.Suite = pkg
		tidy(&r)
		t.count(r)
		if each != nil {
			each(r)
		}
	}
	g.out, g.pending = t.out, g.pending[:0]
}

func (g *goPlain) report() (record.TestsReported, bool) {
	if g.results == 0 && !g.broken {
		return record.TestsReported{}, false
	}
	rest := *g
	rest.out.Bad = slices.Clone(g.out.Bad)
	rest.flush("", nil)
	rest.out.Source = "go test"
	return finished(rest.out), true
}
