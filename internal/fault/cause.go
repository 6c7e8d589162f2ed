package fault

import (
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of a [Search].
const (
	// behind is how many lines are remembered, to find the beginning of what
	// ends in an error.
	behind = 80
	// ahead is how many lines may follow an error until its place is named.
	ahead = 60
	// maxPending is how many errors wait for their place at a time.
	maxPending = 8
)

// Cause is the first line of a log that says why it went wrong: the error from
// which the others follow.
type Cause struct {
	Rule string      // which rule knew it: "go-test"; "complaint" when none did
	Line int64       // in the log, as it was given
	Text string      // the line, without colours and the time in front of it
	At   plan.Source // the line of the user's code that it names, as the tool wrote it
	Sure Sureness
}

// Print is the fingerprint of a step that failed for this cause: the same for
// another line and other numbers. Of an error in the code, the file and the
// names in quotes belong to it. It is never 0.
func (c Cause) Print() uint64 {
	if c.Sure != Located {
		return Fingerprint(c.Rule, c.Text, "", nil)
	}
	h := hashOf(c.Rule)
	h = (h ^ hashOf(baseName(c.At.File))) * fnvPrime
	h = (h ^ hashOf(Mask(c.Text))) * fnvPrime
	return max(h, 1)
}

// Sureness says how much a line looks like a cause.
type Sureness uint8

// How sure a cause is. What only tells that something else went wrong ("make:
// *** Error 1") is a Consequence.
const (
	Consequence Sureness = iota + 1
	Complaint            // it has a word like "cannot"
	Generic              // it begins like an error message
	Known                // a tool's own error message, a crash
	Located              // an error in the code: of a compiler, a linter, a test
	Decisive             // the machine gave out
)

// Search looks for the cause in the lines of a step. It is told them one after
// another, looks at each once, and remembers a bounded number of them.
//
// What counts first is how sure a line is. Among equals it is the first one of
// the command that failed, which is the last one with such errors; where one
// command ends and another begins is seen when the shell prints them (set -x),
// or taken from a distance.
type Search struct {
	// Ran is the programs that the step ran, "go" or "/usr/bin/go", when that
	// is known: what their rules find is preferred.
	Ran []string
	// Ours reports whether a file is the repository's; nil guesses.
	Ours func(path string) bool

	ring    [behind]text
	n       int // lines so far
	segment int
	best    [Decisive + 1]candidate
	pending []*pending
	last    Cause // the last line that no rule knew
	said    Cause // the last of those in which a program speaks under its own name
	saidAt  int   // counted as n
	before  Cause // the last line before the first consequence
	ran     map[string]bool
	header  int // where the last head of a failed test was, counted as n
}

// candidate is the first error of a command.
type candidate struct {
	cause   *Cause
	segment int
	latest  int // when an error of the same sureness was last seen, counted as n
	foreign bool
}

// pending is an error whose place is named further down.
type pending struct {
	cause *Cause
	place func(s *Search, p *pending, line string) bool // reports whether it is done
	left  int
	more  bool // what the line says begins on the next
}

// FirstCause looks for the cause in a log. ran is the programs that ran, when
// that is known.
func FirstCause(log iter.Seq[Line], ran []string) (Cause, bool) {
	s := Search{Ran: ran}
	for l := range log {
		s.Add(l)
	}
	return s.Cause()
}

// Cause is what was found so far; false when the log was empty.
func (s *Search) Cause() (Cause, bool) {
	var found *candidate
	for sure := Decisive; sure >= Consequence; sure-- {
		switch b := &s.best[sure]; {
		case b.cause == nil:
		case found == nil:
			found = b
		case found.foreign && !b.foreign && sure >= Known:
			found = b // that was the rule of a tool that did not run
		case sure == Consequence && found.cause.Sure == Complaint && b.latest-found.latest > apart[Complaint]:
			found = b // that was something else
		}
	}
	switch {
	case found == nil:
	case found.cause.Sure == Consequence && message().MatchString(s.before.Text):
		return s.before, true
	default:
		return *found.cause, true
	}
	if s.saidAt > 0 && s.n-s.saidAt <= apart[Complaint] {
		return s.said, true
	}
	return s.last, s.last.Text != ""
}

// message is a line in which a program says something under its own name.
var message = compile(`^[\w./+-]+: \S`)

// Add takes the next line.
func (s *Search) Add(l Line) {
	t := cleaned(l)
	t.s = unstamped(t.s)
	s.ring[s.n%behind] = t
	s.n++
	if t.s == "" {
		return
	}
	s.pending = slices.DeleteFunc(s.pending, func(p *pending) bool {
		p.left--
		return p.place(s, p, t.s) || p.left <= 0
	})
	if command(t.s) {
		s.segment++
		return
	}
	table := causes()
	has := table.words.in(t.s)
	for i := range table.rules {
		r := &table.rules[i]
		if !has.meets(&r.words) {
			continue
		}
		re := r.pattern()
		m := re.FindStringSubmatch(t.s)
		if m == nil || r.unless != nil && r.unless().MatchString(t.s) {
			continue
		}
		if r.mark {
			s.header = s.n
			continue
		}
		if s.take(r, re, m, t) {
			return
		}
	}
	s.last = Cause{Rule: "last-line", Line: t.n, Text: t.s, Sure: Consequence}
	if message().MatchString(t.s) {
		s.said, s.saidAt = s.last, s.n
	}
}

// take makes a candidate of a line that a rule matched, and reports whether it
// is one.
func (s *Search) take(r *causeRule, re *regexp.Regexp, m []string, t text) bool {
	c := &Cause{Rule: r.name, Line: t.n, Text: t.s, Sure: r.sure}
	c.At = plan.Source{File: clipped(strings.TrimPrefix(group(re, m, "file"), "./")), Line: number(group(re, m, "line")), Col: number(group(re, m, "col"))}
	if r.before != nil && !r.before(s, c) {
		return false
	}
	foreign := len(s.Ran) > 0 && len(r.tools) > 0 && !slices.ContainsFunc(r.tools, s.hasRun)
	b := &s.best[c.Sure]
	if foreign && b.cause != nil && !b.foreign {
		return true
	}
	keep := b.cause == nil || b.segment != s.segment || b.foreign && !foreign || s.n-b.latest > apart[c.Sure]
	b.latest = s.n
	if c.Sure == Consequence && keep {
		s.before = s.last // what came before it may be the cause, in words of its own
	}
	if !keep {
		return true
	}
	*b = candidate{cause: c, segment: s.segment, latest: s.n, foreign: foreign}
	if r.after != nil && (c.At.File == "" || r.tests) && len(s.pending) < maxPending {
		s.pending = append(s.pending, &pending{cause: c, place: r.after, left: ahead})
	}
	return true
}

// apart is how many lines between two errors make them errors of two
// commands, of which the later one is the one that failed. Compilers and tests go
// on after an error.
var apart = [...]int{Consequence: near, Complaint: 5, Generic: 15, Known: near, Located: math.MaxInt, Decisive: math.MaxInt}

func (s *Search) hasRun(tool string) bool {
	if s.ran == nil {
		s.ran = map[string]bool{}
		for _, path := range s.Ran {
			s.ran[strings.TrimSuffix(baseName(path), ".exe")] = true
		}
	}
	return s.ran[tool]
}

// ago is the line k lines above the present one, from 1; "" when it is not
// remembered.
func (s *Search) ago(k int) text {
	if k >= behind || k >= s.n {
		return text{}
	}
	return s.ring[(s.n-1-k)%behind]
}

func (s *Search) ours(path string) bool {
	if s.Ours != nil {
		return s.Ours(path)
	}
	return likelyOurs(path)
}

func clipped(path string) string { return cut(path, maxWidth) }

// stamp is what CI systems, loggers and container runtimes put in front of
// a line: its time, its level, its source.
var stamp = compile(`^(?:` +
	`\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?\s` + // 2026-11-23T10:00:00.123Z
	`|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? ` + // Go's log
	`|\[\w+ \d{4}-\d\d-\d\d[T ][\d:.]+Z?\] ?` + // [task 2026-11-23T10:00:00Z]
	`|\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]? +` + // 10:00:00
	`|(?:INFO|WARNING|ERROR|DEBUG|CRITICAL) +- +` + // mozharness
	`|PID \d+ \| |GECKO\(\d+\) \| ` +
	`|#\d+ \d+\.\d+ ` + // docker build
	`|[a-z][a-z0-9._-]{0,40} +\| ` + // docker compose
	`)`)

// unstamped removes it.
func unstamped(s string) string {
	for range 4 {
		if s == "" || !(s[0] == '[' || s[0] == '#' || s[0] >= '0' && s[0] <= '9' || s[0] >= 'A' && s[0] <= 'Z' || strings.Contains(cut(s, 50), " | ")) {
			return s
		}
		at := stamp().FindStringIndex(s)
		if at == nil {
			return s
		}
		s = s[at[1]:]
	}
	return s
}

// command reports whether a line is a command that the shell, or a CI system,
// printed before it ran it.
func command(s string) bool {
	switch s[0] {
	case '+':
		s = strings.TrimLeft(s, "+")
		return len(s) > 1 && s[0] == ' ' && byteClasses[s[1]] != isSpace && byteClasses[s[1]] != isDigit
	case '$':
		return len(s) > 2 && s[1] == ' '
	case '#':
		return strings.HasPrefix(s, "##[command]") || strings.HasPrefix(s, "##[group]Run ")
	}
	return false
}

// causeRule is one way in which a tool says what went wrong.
type causeRule struct {
	name    string
	sure    Sureness
	tools   []string // programs that print it; nil when anything may
	needs   []string // as in rule
	words   wordSet  // the same, for the table's finder
	pattern lazy     // groups: file, line, col
	unless  lazy
	tests   bool // what follows may say more than what stands above
	mark    bool // it is no cause, but the head of what follows
	// before looks at what stands above the line, and may amend the cause. It
	// reports whether the line is one.
	before func(s *Search, c *Cause) bool
	// after looks at the lines that follow until it has found the place.
	after func(s *Search, p *pending, line string) bool
}

// arrow is where rustc names the place.
var arrow = compile(`^\s*(?:-->|╭▸|,-\[) ?(?P<file>[^\s:]+):(?P<line>\d+):(?P<col>\d+)`)

func placeArrow(_ *Search, p *pending, line string) bool {
	return p.at(arrow(), line)
}

// at fills in the place that a pattern finds in a line.
func (p *pending) at(re *regexp.Regexp, line string) bool {
	m := re.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	p.cause.At = plan.Source{File: clipped(strings.TrimPrefix(group(re, m, "file"), "./")), Line: number(group(re, m, "line")), Col: number(group(re, m, "col"))}
	return true
}

// placeFrame takes the first frame of ours from the stack that follows.
func placeFrame(s *Search, p *pending, line string) bool {
	f, form := frameOf(line)
	if form == nil || !s.ours(f.File) {
		return false
	}
	p.cause.At = plan.Source{File: clipped(strings.TrimPrefix(f.File, "./")), Line: f.Line}
	return true
}

// pytestPlace is the line below an assertion that failed, and the one above an
// error in a module that was read.
var pytestPlace = compile(`^(?P<file>\S+\.py):(?P<line>\d+): `)

func placePytest(_ *Search, p *pending, line string) bool { return p.at(pytestPlace(), line) }

func abovePytest(s *Search, c *Cause) bool {
	for k := 1; k <= 3; k++ {
		if m := pytestPlace().FindStringSubmatch(s.ago(k).s); m != nil && strings.Contains(s.ago(k).s, ": in ") {
			c.At = plan.Source{File: clipped(m[1]), Line: number(m[2])}
			break
		}
	}
	return true
}

// tapPlace is where node:test names the place.
var tapPlace = compile(`^\s*location: ["'](?P<file>[^"']+):(?P<line>\d+):(?P<col>\d+)["']`)

func placeTAP(s *Search, p *pending, line string) bool {
	return p.at(tapPlace(), line) || placeFrame(s, p, line)
}

// terraformPlace is the line below an error of Terraform.
var terraformPlace = compile(`^│?\s+on (?P<file>\S+) line (?P<line>\d+)`)

func placeTerraform(_ *Search, p *pending, line string) bool { return p.at(terraformPlace(), line) }

// rspecPlace is the line below an error of RSpec; phpPlace one of PHPUnit.
var (
	rspecPlace = compile(`^\s*# (?P<file>\.?/?[^\s:]+\.rb):(?P<line>\d+)`)
	phpPlace   = compile(`^(?P<file>\S+\.php):(?P<line>\d+)$`)
)

func placeRspec(_ *Search, p *pending, line string) bool { return p.at(rspecPlace(), line) }
func placePHP(_ *Search, p *pending, line string) bool   { return p.at(phpPlace(), line) }

// goLine is what a Go test said, with its place.
var goLine = compile(`^\s+(?P<file>[\w./-]+\.go):(?P<line>\d+):(?: (?P<said>.*))?$`)

// aboveGoTest finds what a failed Go test said when it stands above its line
// (go test -v).
func aboveGoTest(s *Search, c *Cause) bool {
	_, name, _ := strings.Cut(c.Text, "--- FAIL: ")
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, "/")
	for k := 1; k < behind; k++ {
		t := s.ago(k)
		if strings.HasPrefix(t.s, "=== RUN   "+name) || strings.HasPrefix(strings.TrimSpace(t.s), "--- ") {
			break
		}
		if m := goLine().FindStringSubmatch(t.s); m != nil {
			c.Line, c.Text = t.n, t.s
			c.At = plan.Source{File: clipped(m[1]), Line: number(m[2])}
		}
	}
	return true
}

// placeGoTest finds it when it stands below.
func placeGoTest(s *Search, p *pending, line string) bool {
	t := s.ring[(s.n-1)%behind]
	m := goLine().FindStringSubmatch(line)
	switch {
	case strings.HasPrefix(line, "panic: "):
		p.cause.Line, p.cause.Text, p.cause.At, p.place = t.n, t.s, plan.Source{}, placeFrame
		return false
	case p.more:
		if strings.HasPrefix(strings.TrimSpace(line), "Error Trace:") {
			return false
		}
		p.cause.Line, p.cause.Text = t.n, t.s
		return true
	case p.cause.At.File != "": // it was said above
		return true
	case m != nil:
		p.cause.Line, p.cause.Text = t.n, t.s
		p.cause.At = plan.Source{File: clipped(m[1]), Line: number(m[2])}
		p.more = m[3] == ""
		return !p.more
	}
	return indent(line) == 0
}

// underHeader holds for what a failed test said below its name.
func underHeader(s *Search, c *Cause) bool {
	return s.header > 0 && s.n-s.header <= ahead
}

// pythonFile is a frame of a traceback.
var pythonFile = compile(`^\s*File "([^"]+)", line (\d+)`)

// abovePython finds the place of a Python exception in the traceback above it.
// Without one, the line is no exception that ended anything.
func abovePython(s *Search, c *Cause) bool {
	found := false
	for k := 1; k < behind; k++ {
		t := s.ago(k)
		if m := pythonFile().FindStringSubmatch(t.s); m != nil {
			if !found || c.At.File == "" && s.ours(m[1]) {
				found = true
				if s.ours(m[1]) {
					c.At = plan.Source{File: clipped(m[1]), Line: number(m[2])}
				}
			}
			continue
		}
		if strings.HasPrefix(t.s, "Traceback (") || t.s == "" || indent(t.s) == 0 {
			break
		}
	}
	if found && underHeader(s, c) {
		c.Sure = Located
	}
	return found
}

// nodeFile is where Node.js shows the line that threw.
var nodeFile = compile(`^(?:file://)?(\S+\.\w+):(\d+)$`)

// aboveNode finds the place of what Node.js did not catch.
func aboveNode(s *Search, c *Cause) bool {
	for k := 1; k <= 8; k++ {
		if m := nodeFile().FindStringSubmatch(s.ago(k).s); m != nil {
			if s.ours(m[1]) {
				c.At = plan.Source{File: clipped(m[1]), Line: number(m[2])}
			}
			break
		}
	}
	return true
}

// aboveLint finds the file that a list of findings is about.
func aboveLint(s *Search, c *Cause) bool {
	for k := 1; k < behind; k++ {
		if t := s.ago(k); t.s == "" {
			return false
		} else if indent(t.s) == 0 && !strings.Contains(t.s, " ") {
			c.At.File = clipped(t.s)
			return true
		}
	}
	return false
}

// afterFailure holds for the exception below "<<< FAILURE!".
func afterFailure(s *Search, c *Cause) bool {
	above := s.ago(1).s
	return strings.Contains(above, "<<< FAILURE!") || strings.Contains(above, "<<< ERROR!")
}
