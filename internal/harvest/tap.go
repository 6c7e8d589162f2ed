package harvest

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// tapPoint is a test point: "not ok 3 - adds # TODO later".
var tapPoint = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(not )?ok\b(?:\s+(\d+))?(?:\s+-)?\s*(.*)$`)
})

// tapPlan is a plan: "1..4", "1..0 # SKIP no display".
var tapPlan = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^1\.\.(\d+)\s*(?:#\s*(.*))?$`)
})

func isTAP(s *sniff) bool {
	if s.root != "" {
		return false
	}
	plan, point := false, false
	for line := range strings.Lines(s.text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "TAP version 1"):
			return true
		case tapPlan().MatchString(line):
			plan = true
		case strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "not ok ") || line == "ok" || line == "not ok":
			m := tapPoint().FindStringSubmatch(line)
			point = point || m[2] != "" || strings.Contains(line, " - ")
		}
	}
	return plan && point
}

// readTAP reads the Test Anything Protocol, versions 12 to 14, with subtests.
// A point that sums up its subtests is no test, unless it failed and none of
// them did.
func readTAP(in *input, t *tally) error {
	p := &tap{t: t, levels: []*tapLevel{{}}}
	err := in.lines(t, func(n int, line []byte) error { return p.line(n, string(line[:min(len(line), maxText)])) })
	if err != nil {
		return err
	}
	for len(p.levels) > 1 {
		if err := p.pop(); err != nil {
			return err
		}
	}
	if err := p.flush(p.levels[0]); err != nil {
		return err
	}
	return p.missing(p.levels[0])
}

type tap struct {
	t      *tally
	levels []*tapLevel // the plan under way, and the plans that it is in
	yaml   string      // the indent of the lines of a block of details that is open; "" when none is
	block  string      // the key whose text goes on in the lines that follow
	bailed bool
}

// tapLevel is a plan under way.
type tapLevel struct {
	indent    int
	name      string // of the subtest that it is
	planned   int    // -1 when that is not known
	hasPlan   bool
	points    int
	bad       int // points that failed
	point     *record.TestResult
	parent    bool // the point sums up subtests
	badBefore int  // of the subtests that the next point sums up
	had       bool // there were subtests before the next point
}

func (p *tap) line(n int, line string) error {
	if p.bailed {
		return nil
	}
	if p.yaml != "" {
		if p.detail(line) {
			return nil
		}
	}
	text := strings.TrimLeft(line, " \t")
	indent := len(line) - len(text)
	if text == "" {
		return nil
	}
	isPoint := strings.HasPrefix(text, "ok ") || strings.HasPrefix(text, "not ok ") || text == "ok" || text == "not ok"
	plan := tapPlan().FindStringSubmatch(text)
	name, begins := strings.CutPrefix(text, "# Subtest")
	top := p.levels[len(p.levels)-1]
	switch {
	case begins:
		name = strings.TrimSpace(strings.TrimPrefix(name, ":"))
		// The comment stands at the subtest's own indent, or its parent's.
		if err := p.leave(indent); err != nil {
			return err
		}
		if top = p.levels[len(p.levels)-1]; indent > top.indent {
			p.push(indent, name)
		} else {
			p.push(indent+4, name)
		}
		return nil
	case isPoint || plan != nil:
		if n := len(p.levels); n > 1 && top.points == 0 && !top.hasPlan && indent > p.levels[n-2].indent {
			top.indent = indent // the first line of a subtest shows how far it is indented
		}
		if indent > top.indent {
			if len(p.levels) >= maxDepth {
				return nil
			}
			p.push(indent, "")
		} else if err := p.leave(indent); err != nil {
			return err
		}
		top = p.levels[len(p.levels)-1]
		if plan != nil {
			return p.plan(n, top, plan)
		}
		return p.result(top, text)
	case text == "---" && top.point != nil:
		p.yaml, p.block = line[:indent]+"\x00", ""
	case strings.HasPrefix(text, "Bail out!"):
		p.bailed = true
		why := strings.TrimSpace(strings.TrimPrefix(text, "Bail out!"))
		if err := p.flush(top); err != nil {
			return err
		}
		for _, l := range p.levels { // what was planned is told as one
			l.hasPlan = false
		}
		return p.t.add(record.TestResult{Suite: p.suite(), Name: "Bail out!", Status: broken, Message: why})
	case strings.HasPrefix(text, "#") && top.point != nil:
		// What prove and the like print about the point before.
		if r := top.point; bad(r.Status) && len(r.Stack) < maxText {
			r.Stack = join(r.Stack, strings.TrimSpace(strings.TrimLeft(text, "# ")))
		}
	}
	return nil
}

func (p *tap) push(indent int, name string) {
	if len(p.levels) < maxDepth {
		top := p.levels[len(p.levels)-1]
		top.had = true
		p.levels = append(p.levels, &tapLevel{indent: indent, name: name})
	}
}

// leave ends the subtests that are deeper than an indent.
func (p *tap) leave(indent int) error {
	for len(p.levels) > 1 && p.levels[len(p.levels)-1].indent > indent {
		if err := p.pop(); err != nil {
			return err
		}
	}
	return nil
}

// pop ends a subtest; the point that follows sums it up.
func (p *tap) pop() error {
	top := p.levels[len(p.levels)-1]
	if err := p.flush(top); err != nil {
		return err
	}
	err := p.missing(top)
	p.levels = p.levels[:len(p.levels)-1]
	p.levels[len(p.levels)-1].badBefore += top.bad
	return err
}

// missing says of a plan that it was not kept.
func (p *tap) missing(l *tapLevel) error {
	if !l.hasPlan || l.planned <= l.points || p.bailed {
		return nil
	}
	l.bad++
	return p.t.add(record.TestResult{
		Suite: p.suite(), Name: "plan", Status: broken,
		Message: strconv.Itoa(l.planned) + " tests were planned, and " + strconv.Itoa(l.points) + " ran",
	})
}

func (p *tap) plan(n int, l *tapLevel, m []string) error {
	planned, err := strconv.Atoi(m[1])
	if err != nil {
		p.t.warn(n, "the plan is no number")
		return nil
	}
	l.hasPlan, l.planned = true, planned
	if word, why, _ := strings.Cut(m[2], " "); planned == 0 && strings.HasPrefix(strings.ToUpper(word), "SKIP") {
		return p.t.add(record.TestResult{Suite: p.suite(), Name: cmp.Or(l.name, "all tests"), Status: skipped, Message: why})
	}
	return nil
}

// suite is the name of the outermost subtest.
func (p *tap) suite() string {
	if len(p.levels) > 1 {
		return p.levels[1].name
	}
	return ""
}

// result takes a test point.
func (p *tap) result(l *tapLevel, text string) error {
	if err := p.flush(l); err != nil {
		return err
	}
	m := tapPoint().FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	l.points++
	r := &record.TestResult{Status: passed}
	if m[1] != "" {
		r.Status = failed
	}
	title, directive := tapDirective(m[3])
	r.Name = cmp.Or(title, m[2], strconv.Itoa(l.points))
	word, why, _ := strings.Cut(directive, " ")
	switch upper := strings.ToUpper(strings.TrimRight(word, ":")); {
	case strings.HasPrefix(upper, "SKIP"):
		r.Status, r.Message = skipped, strings.TrimSpace(why)
	case upper == "TODO" && r.Status == failed:
		r.Status, r.Message = xfail, strings.TrimSpace(why)
	case upper == "TODO":
		r.Status, r.Message = xpass, strings.TrimSpace(why)
	case strings.HasPrefix(word, "time="):
		r.Seconds = tapTime(word[len("time="):])
	}
	var groups []string
	for _, up := range p.levels[1:] {
		if up.name != "" {
			groups = append(groups, up.name)
		}
	}
	if len(groups) > 0 {
		r.Suite, r.Groups = groups[0], groups[1:]
	}
	l.point, l.parent = r, l.had
	return nil
}

// tapDirective takes the directive off a description. A "#" that was written
// "\#" belongs to the description.
func tapDirective(text string) (title, directive string) {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] != '#' || i > 0 && text[i-1] == '\\' {
			continue
		}
		d := strings.TrimSpace(text[i+1:])
		word, _, _ := strings.Cut(strings.ToUpper(d), " ")
		if strings.HasPrefix(word, "SKIP") || strings.HasPrefix(word, "TODO") || strings.HasPrefix(word, "TIME=") {
			text, directive = text[:i], d
			break
		}
	}
	return strings.ReplaceAll(strings.TrimSpace(text), `\#`, "#"), directive
}

func tapTime(s string) float64 {
	if ms, ok := strings.CutSuffix(s, "ms"); ok {
		return seconds(ms) / 1e3
	}
	return seconds(s)
}

// detail takes a line of a block of details; false when it is none.
func (p *tap) detail(line string) bool {
	if p.yaml[len(p.yaml)-1] == 0 { // the first line shows how far it is indented
		p.yaml = p.yaml[:len(p.yaml)-1] + "."
	}
	r := p.levels[len(p.levels)-1].point
	text := strings.TrimSpace(line)
	if text == "..." || r == nil {
		p.yaml = ""
		return text == "..."
	}
	base := len(p.yaml) - 1
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	if text != "" && indent < base {
		p.yaml = ""
		return false
	}
	key, value, ok := strings.Cut(text, ":")
	if ok && indent == base && !strings.ContainsAny(key, " \"'") {
		value = strings.TrimSpace(value)
		p.block = ""
		if value == "" || value[0] == '|' || value[0] == '>' {
			p.block = key
		} else {
			p.set(r, key, strings.Trim(value, `"'`))
		}
	} else if p.block != "" {
		p.set(r, p.block, text)
	}
	return true
}

// set takes a detail that is known: those of node, tape, tap and Perl.
func (p *tap) set(r *record.TestResult, key, value string) {
	switch key {
	case "duration_ms":
		r.Seconds = seconds(value) / 1e3
	case "message", "error":
		if len(r.Message) < maxMessage && bad(r.Status) {
			r.Message = join(r.Message, value)
		}
	case "stack":
		if len(r.Stack) < maxText {
			r.Stack = join(r.Stack, value)
		}
	case "file", "fileName":
		r.File = value
	case "line", "lineNumber":
		r.Line, _ = strconv.Atoi(value)
	case "location", "at":
		if m := placed().FindStringSubmatch(value); m != nil && r.File == "" {
			r.File = m[1]
			r.Line, _ = strconv.Atoi(m[2])
		}
	case "failureType":
		r.Type = value
	}
}

// flush counts the point that waited for its details.
func (p *tap) flush(l *tapLevel) error {
	r := l.point
	if r == nil {
		return nil
	}
	sums := l.parent
	below := l.badBefore
	l.point, l.parent, l.badBefore, l.had = nil, false, 0, l.had && !sums
	if bad(r.Status) {
		l.bad++
	}
	if sums && (below > 0 || !bad(r.Status)) {
		return nil
	}
	if bad(r.Status) && r.File == "" {
		locate(r, r.Stack)
	}
	return p.t.add(*r)
}
