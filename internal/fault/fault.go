// Package fault says whose fault a failure is, and the way out of it.
//
// A step that did not end well leaves facts: an exit code, a signal, the last
// lines it printed. Most failures are of a few dozen well-known kinds that
// people recognise at a glance, and this package is that glance, written
// down: a table of rules (see rules.go), each with a name that never changes,
// a pattern, a verdict, a title and a way out.
//
// The verdict is the point. [plan.Failure] means that the code, or the
// pipeline, must change. [plan.Fault] means that the same commit may well pass
// elsewhere or later: the disk was full, a registry did not answer, a tool is
// not installed here. When in doubt it is a failure: nobody is helped by red
// builds that call themselves weather.
//
// Several rules may match one log. Which of them tells the cause is decided by
// three classes:
//
//   - decisive: a full disk explains everything that comes after it;
//   - ordinary: the one that matched last, since a script stops at its first
//     failing command; among those that matched close together the one that
//     stands first in the table, which goes from the special to the general;
//   - weak: "make: *** Error 1" is true and explains nothing. It counts when
//     nothing else matched.
//
// That is one failure by itself. The rest of the package sets it beside others:
//
//	log ──► Search ──► Cause: the line from which the others follow, and its place
//	 │                   │
//	 ├────► Green.Fresh  ├──► Print, Fingerprint ──► Clusters: seen before? where else?
//	 └────► Issues.Find  │                              │
//	                     └──────────► Judge ◄───────────┘
//	                                    │
//	             your change, flaky, infrastructure, already broken
//
// What makes lines comparable is the same everywhere: [Mask], which replaces
// what a line was filled with, and [Templates], which learns what else is a
// value.
//
// Everything here is pure: it starts nothing, opens nothing and reads no
// clock. What it is given comes from outside and may be hostile; everything
// takes linear time, and what is remembered is bounded.
package fault

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxTail is how many of the last lines are looked at.
	maxTail = 500
	// maxWidth is how many bytes of a line are looked at.
	maxWidth = 1000
	// maxShown is how many lines a diagnosis shows.
	maxShown = 12
	// maxTitle is the length of a title, in characters.
	maxTitle = 160
	// near is how many lines apart two matches may be and still tell of the
	// same event.
	near = 40
)

// Facts is what is known of how a step ended.
type Facts struct {
	Exit     int    // exit code; 128+n when signal n ended it
	Signal   string // that ended it, as "killed" or "SIGKILL"; "" for none
	OOM      bool   // the kernel killed something for want of memory
	TimedOut bool   // it was ended because its time was up
	Stopped  bool   // it was ended because somebody wanted it to end
	// Tail is the last lines of its output, in order.
	Tail []Line
	// Notes are the remarks it made about the code.
	Notes []plan.Annotation
	// Err is our own failure to run it, "" for none.
	Err string
}

// Line is a line of a log.
type Line struct {
	N    int64 // its number in the job's log, from 0
	Text string
}

// Diagnose says what went wrong. It always has an answer, at least that it is
// not known; the verdict is failure, error or timeout, or cancelled when the
// step was stopped.
func Diagnose(f Facts) *record.Diagnosis {
	l := clean(f.Tail)
	switch {
	case f.TimedOut:
		return l.last("timeout", plan.Timeout, "the step took longer than it may",
			"raise its timeout, or see at the end of its log what it was waiting for")
	case f.Stopped:
		return l.last("stopped", plan.Cancelled, "the step was stopped", "")
	case f.OOM:
		return l.last("out-of-memory", plan.Fault, "the machine ran out of memory, and the kernel killed a process of this step",
			"run fewer jobs at a time (-j), or use a machine or a limit with more memory")
	case f.Err != "":
		return ours(f.Err)
	}
	matches := l.match()
	if d := l.best(matches, decisive); d != nil {
		return d
	}
	if d := l.bySignal(f); d != nil {
		return d
	}
	if d := l.best(matches, ordinary); d != nil {
		return d
	}
	if d := byNote(f.Notes); d != nil {
		return d
	}
	if d := l.best(matches, weak); d != nil {
		return d
	}
	return l.byExit(f.Exit)
}

// text is one cleaned line.
type text struct {
	n    int64
	s    string
	low  string // s in lower case
	wide bool   // it was cut
}

type lines []text

// clean makes lines plain: without colours, without what a progress bar has
// overwritten, in valid UTF-8, and not too many or too long.
func clean(tail []Line) lines {
	if len(tail) > maxTail {
		tail = tail[len(tail)-maxTail:]
	}
	out := make(lines, 0, len(tail))
	for _, l := range tail {
		t := cleaned(l)
		t.low = strings.ToLower(t.s)
		out = append(out, t)
	}
	return out
}

// cleaned is one line, but for low.
func cleaned(l Line) text {
	s, cut := l.Text, false
	if len(s) > 4*maxWidth { // before any work is done on it
		s, cut = s[:4*maxWidth], true
	}
	s = strings.TrimRight(plain(s), " \t\r\n")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		s = s[i+1:]
	}
	if len(s) > maxWidth {
		s, cut = s[:maxWidth], true
	}
	return text{n: l.N, s: strings.ToValidUTF8(s, "\uFFFD"), wide: cut}
}

// plain removes terminal control sequences (ECMA-48 section 5.4, and the
// strings of section 5.6) and other control characters but tab and return.
func plain(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0x1b && i+1 < len(s) && s[i+1] == '[': // CSI … final byte
			for i += 2; i < len(s) && (s[i] < 0x40 || s[i] > 0x7e); i++ {
			}
		case c == 0x1b && i+1 < len(s) && strings.IndexByte("]PX^_", s[i+1]) >= 0: // string … BEL or ST
			for i += 2; i < len(s) && s[i] != 0x07 && s[i] != 0x1b; i++ {
			}
			if i+1 < len(s) && s[i] == 0x1b && s[i+1] == '\\' {
				i++
			}
		case c == 0x1b:
			i++
		case c == '\t' || c == '\r' || c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// match is what one rule found.
type match struct {
	rule *rule
	at   []int // indexes of the lines it matched, in order
}

// match tries all rules on all lines.
func (l lines) match() []match {
	var out []match
	table := rules()
	for i := range table {
		r := &table[i]
		m := match{rule: r}
		for i, t := range l {
			if r.matches(t) {
				m.at = append(m.at, i)
			}
		}
		if m.at != nil {
			out = append(out, m)
		}
	}
	return out
}

func (r *rule) matches(t text) bool {
	if !slices.ContainsFunc(r.needs, func(word string) bool { return strings.Contains(t.low, word) }) {
		return false
	}
	return r.pattern().MatchString(t.s) && (r.unless == nil || !r.unless().MatchString(t.s))
}

// best chooses among the matches of a class, and tells it.
func (l lines) best(matches []match, c class) *record.Diagnosis {
	latest := -1
	for _, m := range matches {
		if m.rule.class == c {
			latest = max(latest, m.at[len(m.at)-1])
		}
	}
	for _, m := range matches { // in the order of the table
		if m.rule.class == c && (c == decisive || m.at[len(m.at)-1] >= latest-near) {
			return l.tell(m)
		}
	}
	return nil
}

// tell makes a diagnosis of a match: its title is made from the first line of
// the last group of matches, which is where the trouble began.
func (l lines) tell(m match) *record.Diagnosis {
	first := len(m.at) - 1
	for first > 0 && m.at[first]-m.at[first-1] <= near {
		first--
	}
	at := m.at[first:]
	r, re := m.rule, m.rule.pattern()
	shown, key := block(l, at), l[at[0]]
	if r.show != nil {
		shown = r.show(l, at)
	}
	if r.key != nil {
		key = r.key(l, at)
	}
	title, hint := strings.TrimSpace(key.s), r.hint
	if found := re.FindStringSubmatchIndex(key.s); found != nil {
		title = string(re.ExpandString(nil, r.title, key.s, found))
		hint = string(re.ExpandString(nil, r.hint, key.s, found))
	}
	d := &record.Diagnosis{Rule: r.name, Verdict: r.verdict, Title: oneLine(title), Hint: hint}
	if groups := re.FindStringSubmatch(key.s); r.refine != nil && groups != nil {
		r.refine(d, groups)
	}
	if d.Title == "" {
		d.Title = oneLine(key.s)
	}
	return show(d, shown)
}

func show(d *record.Diagnosis, shown lines) *record.Diagnosis {
	for i, t := range shown {
		if i == 0 {
			d.Line = t.n
		}
		if t.wide {
			t.s += " …"
		}
		d.Lines = append(d.Lines, t.s)
	}
	return d
}

// last is a diagnosis that needs no rule; it shows the last lines.
func (l lines) last(name string, v plan.Verdict, title, hint string) *record.Diagnosis {
	const few = 5
	var shown lines
	for i := len(l) - 1; i >= 0 && len(shown) < few; i-- {
		if l[i].s != "" {
			shown = append(shown, l[i])
		}
	}
	slices.Reverse(shown)
	return show(&record.Diagnosis{Rule: name, Verdict: v, Title: title, Hint: hint}, shown)
}

// complaint is a line that says that something is wrong, in whatever words.
var complaint = compile(`(?i)\b(error|fatal|failed|failure|panic|exception|cannot|could not|unable to|denied|not found|invalid|undefined)\b`)

// byExit is the diagnosis when only the exit code is left. It shows what looks
// like a complaint, the first of the last ones, or else the last lines.
func (l lines) byExit(exit int) *record.Diagnosis {
	e, known := exits[exit]
	if !known {
		e = exitMeaning{"exit-code", plan.Failure, fmt.Sprintf("a command ended with exit code %d", exit), ""}
	}
	d := &record.Diagnosis{Rule: e.name, Verdict: e.verdict, Title: e.title, Hint: e.hint}
	from := max(0, len(l)-near)
	for i := from; i < len(l); i++ {
		if !complaint().MatchString(l[i].s) {
			continue
		}
		if !known {
			d.Title = oneLine(fmt.Sprintf("exit code %d: %s", exit, strings.TrimSpace(l[i].s)))
		}
		return show(d, block(l, []int{i}))
	}
	last := l.last(d.Rule, d.Verdict, d.Title, d.Hint)
	if len(last.Lines) == 0 && last.Hint == "" {
		last.Hint = "it printed nothing: \"set -x\" at the beginning of the script shows which command it was"
	}
	return last
}

// bySignal is the diagnosis of a process that a signal ended: the step's own,
// or, as shells report it, the last of its children.
func (l lines) bySignal(f Facts) *record.Diagnosis {
	name := strings.ToLower(strings.TrimPrefix(strings.ToUpper(f.Signal), "SIG"))
	s, known := signals[name]
	switch {
	case !known && f.Signal != "":
		s = exitMeaning{"signal", plan.Failure, oneLine("a signal (" + f.Signal + ") ended the step"), ""}
	case f.Signal == "" && f.Exit == 128+9:
		s = signals["killed"] // a child was killed; its shell handed the code on
	case f.Signal == "":
		return nil
	}
	return l.last(s.name, s.verdict, s.title, s.hint)
}

// byNote is the diagnosis that the step itself gave, as an error annotation.
func byNote(notes []plan.Annotation) *record.Diagnosis {
	for _, n := range notes {
		if n.Level != plan.ErrorLevel || n.Message == "" {
			continue
		}
		title := n.Message
		if n.Title != "" {
			title = n.Title + ": " + title
		}
		if at := (plan.Source{File: n.File, Line: n.Line, Col: n.Col}); !at.IsZero() {
			title = at.String() + ": " + title
		}
		return &record.Diagnosis{Rule: "annotation", Verdict: plan.Failure, Title: oneLine(title)}
	}
	return nil
}

// ours is the diagnosis of a step that could not be run. An error of ours can
// have the same causes as a step's: they are looked for in its text.
func ours(err string) *record.Diagnosis {
	l := clean([]Line{{Text: err}})
	matches := l.match()
	d := l.best(matches, decisive)
	if d == nil {
		d = l.best(matches, ordinary)
	}
	if d == nil {
		d = &record.Diagnosis{Rule: "not-run", Verdict: plan.Fault, Title: oneLine("the step could not be run: " + err),
			Hint: "see the message; when it tells of nothing of yours, it is worth a report"}
	}
	d.Lines, d.Line = nil, 0 // it is no line of the log
	return d
}

// oneLine makes text fit for a title.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, plain(s))
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > maxTitle {
		s = strings.TrimSpace(string([]rune(s)[:maxTitle-1])) + "…"
	}
	return s
}
