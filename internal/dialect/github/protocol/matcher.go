package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Problem matchers.
//
// A matcher is one pattern, matched against every line, or several, matched
// against lines that follow one another; the last of several may loop, and
// then matches again and again with what the first ones found. Each part of a
// remark (file, line, message ...) is a group of one of the patterns.
//
// Matchers belong to the job: added by one step they look at the output of all
// that follow. How far one has come in the lines belongs to the step.

// part is a part of a remark that a pattern can find.
type part int

const (
	partFile part = iota
	partFromPath
	partLine
	partColumn
	partSeverity
	partCode
	partMessage
	partEndLine // the last two are ours, as in VS Code; the runner ignores them
	partEndColumn
	parts
)

var partNames = [parts]string{"file", "fromPath", "line", "column", "severity", "code", "message", "endLine", "endColumn"}

// matcher is a compiled matcher. It is immutable.
type matcher struct {
	owner    string
	severity string
	patterns []pattern
}

type pattern struct {
	re     *regexp2.Regexp
	needs  []byte     // no line without it matches
	groups [parts]int // -1: not from this pattern
	loop   bool
}

// found is what the patterns have matched so far.
type found struct {
	value [parts]string
	set   [parts]bool
}

// track is how far a matcher has come in one step's output. state[i] is what
// the patterns up to i have found, when i+1 is next.
type track struct {
	m     *matcher
	state []*found
}

// matchTimeout is how long one pattern may look at one line. A pattern that
// needs longer three times over is not used any more.
const (
	matchTimeout  = time.Second
	matchAttempts = 3
)

// match feeds the matcher a line and returns a finished match, or nil. The
// patterns are tried last first, so that one line moves each only one on.
func (t *track) match(text []byte, line []rune) (*found, error) {
	last := len(t.m.patterns) - 1
	for i := last; i >= 0; i-- {
		var before *found
		if i > 0 {
			if before = t.state[i-1]; before == nil {
				continue
			}
		}
		p := &t.m.patterns[i]
		var m *regexp2.Match
		if bytes.Contains(text, p.needs) {
			var err error
			if m, err = p.re.FindRunesMatch(line); err != nil {
				return nil, err
			}
		}
		switch {
		case m != nil && i == last:
			t.reset()
			if p.loop {
				t.state[i-1] = before
			}
			f := p.extract(m, before)
			if f.value[partSeverity] == "" {
				f.value[partSeverity] = t.m.severity
			}
			return f, nil
		case m != nil:
			t.state[i] = p.extract(m, before)
		case i == last && i > 0:
			t.state[i-1] = nil
		case i < last:
			t.state[i] = nil
		}
	}
	return nil, nil
}

func (t *track) reset() { clear(t.state) }

// extract adds to what earlier patterns found what this one did.
func (p *pattern) extract(m *regexp2.Match, before *found) *found {
	f := new(found)
	if before != nil {
		*f = *before
	}
	for i, n := range p.groups {
		if n < 0 || f.set[i] || n >= m.GroupCount() {
			continue
		}
		f.set[i], f.value[i] = true, m.GroupByNumber(n).String()
	}
	return f
}

// follow takes over the job's matchers, keeping how far the known ones are.
func (l *listener) follow(list *[]*matcher) {
	tracks := make([]*track, 0, len(*list))
	for _, m := range *list {
		if i := slices.IndexFunc(l.tracks, func(t *track) bool { return t.m == m }); i >= 0 {
			tracks = append(tracks, l.tracks[i])
		} else {
			tracks = append(tracks, &track{m: m, state: make([]*found, len(m.patterns)-1)})
		}
	}
	l.seen, l.tracks = list, tracks
}

// match shows a line to the matchers. The first that makes a remark of it wins,
// and all others begin anew.
func (l *listener) match(line []byte) ([]byte, *plan.Effects) {
	plain := line
	if plain == nil {
		plain = []byte{}
	}
	if len(line) > maxMatchLine {
		return plain, nil
	}
	text := l.strip(line)
	l.runes = l.runes[:0]
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			l.runes = append(l.runes, rune(text[i]))
			i++
			continue
		}
		c, n := utf8.DecodeRune(text[i:])
		l.runes = append(l.runes, c)
		i += n
	}
	var r reply
	for _, t := range l.tracks {
		f, err := t.match(text, l.runes)
		for attempt := 1; err != nil && attempt < matchAttempts; attempt++ {
			f, err = t.match(text, l.runes)
		}
		if err != nil {
			l.job.drop(t.m)
			l.remark(&r, plan.WarningLevel, fmt.Sprintf("The problem matcher %q is not used any more: it took longer than %v to look at one line.", t.m.owner, matchTimeout))
			continue
		}
		if f == nil {
			continue
		}
		for _, other := range l.tracks {
			if other != t {
				other.reset()
			}
		}
		if a, ok := l.job.annotation(f); ok {
			r.show(label(a.Level) + string(text))
			if l.annotate(&r.said, a) {
				r.any = true
			}
			return r.shown, r.effects()
		}
	}
	if r.shown == nil {
		return plain, nil
	}
	r.show(string(line))
	return r.shown, r.effects()
}

// strip takes the colours out of a line: ESC [ digits and semicolons, m.
func (l *listener) strip(line []byte) []byte {
	esc := []byte("\x1b[")
	i := bytes.Index(line, esc)
	if i < 0 {
		return line
	}
	out := l.stripped[:0]
	for i >= 0 {
		out = append(out, line[:i]...)
		line = line[i+len(esc):]
		n := 0
		for n < len(line) && (line[n] == ';' || '0' <= line[n] && line[n] <= '9') {
			n++
		}
		if n < len(line) && line[n] == 'm' {
			n++
		}
		line = line[n:]
		i = bytes.Index(line, esc)
	}
	l.stripped = append(out, line...)
	return l.stripped
}

// annotation makes a remark of a match; none without a message, or with a
// severity that is not known.
func (j *Job) annotation(f *found) (plan.Annotation, bool) {
	a := plan.Annotation{Message: f.value[partMessage]}
	if strings.TrimSpace(a.Message) == "" {
		return a, false
	}
	switch strings.ToLower(f.value[partSeverity]) {
	case "", "error":
		a.Level = plan.ErrorLevel
	case "warning":
		a.Level = plan.WarningLevel
	case "notice":
		a.Level = plan.Notice
	default:
		return a, false
	}
	number := func(p part) int {
		n, err := strconv.ParseUint(f.value[p], 10, 31)
		if err != nil {
			return 0
		}
		return int(n)
	}
	a.Line, a.Col = number(partLine), number(partColumn)
	a.EndLine, a.EndCol = number(partEndLine), number(partEndColumn)
	a.Title = strings.TrimSpace(f.value[partCode])
	a.File = j.matchedFile(f.value[partFile], f.value[partFromPath])
	return a, true
}

// matchedFile is the slash path, relative to the workspace, of a file that a
// matcher found; "" when it is not there or not in the workspace. A relative
// name is relative to the directory of the project file that fromPath names,
// when there is one.
func (j *Job) matchedFile(name, from string) string {
	if strings.TrimSpace(name) == "" {
		return ""
	}
	name = filepath.FromSlash(name)
	if !filepath.IsAbs(name) {
		if strings.TrimSpace(from) != "" {
			name = filepath.Join(filepath.Dir(filepath.FromSlash(from)), name)
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(j.opt.Workspace, name)
		}
	}
	rel, ok := j.inside(filepath.Clean(name))
	if !ok {
		return ""
	}
	if fi, err := os.Stat(name); err != nil || fi.IsDir() {
		return ""
	}
	return rel
}

// addMatcher is ::add-matcher::. A file that cannot be used fails the step, as
// with the runner: remarks that somebody counts on would be missing.
func (l *listener) addMatcher(name string, r *reply) {
	if name == "" {
		l.remark(r, plan.WarningLevel, "::add-matcher:: needs the name of a file.")
		return
	}
	list, err := l.job.loadMatchers(name)
	if err != nil {
		l.fail(r, "::add-matcher:: "+err.Error())
		return
	}
	if len(list) == 0 {
		return
	}
	if !l.job.add(list) {
		l.fail(r, fmt.Sprintf("::add-matcher:: the job has more than %d problem matchers.", maxMatchers))
	}
}

// removeMatcher is ::remove-matcher owner=x:: or ::remove-matcher::file.
func (l *listener) removeMatcher(c *command, r *reply) {
	owner := c.get("owner")
	if (owner == "") == (c.data == "") {
		l.remark(r, plan.WarningLevel, "::remove-matcher:: needs either an owner or the name of a file.")
		return
	}
	owners := []string{owner}
	if owner == "" {
		list, err := l.job.loadMatchers(c.data)
		if err != nil {
			l.fail(r, "::remove-matcher:: "+err.Error())
			return
		}
		owners = nil
		for _, m := range list {
			owners = append(owners, m.owner)
		}
	}
	l.job.change(func(m *matcher) bool { return !hasOwner(owners, m.owner) }, nil)
}

func hasOwner(owners []string, owner string) bool {
	return slices.ContainsFunc(owners, func(o string) bool { return strings.EqualFold(o, owner) })
}

// add puts matchers in front of the job's; those of the same owners go.
func (j *Job) add(list []*matcher) bool {
	var owners []string
	for _, m := range list {
		owners = append(owners, m.owner)
	}
	return j.change(func(m *matcher) bool { return !hasOwner(owners, m.owner) }, list)
}

// drop takes a matcher away.
func (j *Job) drop(m *matcher) {
	j.change(func(o *matcher) bool { return o != m }, nil)
}

// change replaces the job's matchers by front and those of them that keep says,
// unless they would be too many.
func (j *Job) change(keep func(*matcher) bool, front []*matcher) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := slices.Clone(front)
	for _, m := range *j.matchers.Load() {
		if keep(m) {
			list = append(list, m)
		}
	}
	if len(list) > maxMatchers {
		return false
	}
	j.matchers.Store(&list)
	return true
}

// loadMatchers reads a problem matcher file. Relative names start at the
// workspace. The error names the file and, as far as known, the place in it.
func (j *Job) loadMatchers(name string) ([]*matcher, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(j.opt.Workspace, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist", name)
	} else if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxMatcher+1))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if len(text) > maxMatcher {
		return nil, fmt.Errorf("%s is larger than %d KiB", name, maxMatcher>>10)
	}
	list, err := parseMatchers(text)
	if err != nil {
		return nil, fmt.Errorf("%s%w", name, err)
	}
	return list, nil
}

// number is a JSON number, or a string that holds one.
type number struct {
	n   int
	set bool
}

func (n *number) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" {
		return nil
	}
	v, err := strconv.Atoi(strings.Trim(s, `"`))
	if err != nil {
		return fmt.Errorf("%s is not a whole number", s)
	}
	n.n, n.set = v, true
	return nil
}

type matcherFile struct {
	Matchers []matcherConfig `json:"problemMatcher"`
}

type matcherConfig struct {
	Owner    string          `json:"owner"`
	Severity string          `json:"severity"`
	Patterns []patternConfig `json:"pattern"`
}

type patternConfig struct {
	Regexp    string `json:"regexp"`
	File      number `json:"file"`
	FromPath  number `json:"fromPath"`
	Line      number `json:"line"`
	Column    number `json:"column"`
	Severity  number `json:"severity"`
	Code      number `json:"code"`
	Message   number `json:"message"`
	EndLine   number `json:"endLine"`
	EndColumn number `json:"endColumn"`
	Loop      bool   `json:"loop"`
}

// parseMatchers reads the text of a problem matcher file. The error continues
// the file's name: ":3:7: ..." or ": matcher ...".
func parseMatchers(text []byte) ([]*matcher, error) {
	text = withoutComments(decode(text))
	var file matcherFile
	if err := json.Unmarshal(text, &file); err != nil {
		offset := int64(-1)
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			offset = syntax.Offset
		case errors.As(err, &kind):
			offset = kind.Offset
		}
		if offset < 0 {
			return nil, fmt.Errorf(": %w", err)
		}
		before := text[:min(max(offset-1, 0), int64(len(text)))]
		line := bytes.Count(before, []byte("\n")) + 1
		col := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
		return nil, fmt.Errorf(":%d:%d: %w", line, col, err)
	}
	var list []*matcher
	for i := range file.Matchers {
		c := &file.Matchers[i]
		m, err := c.compile()
		if err != nil {
			return nil, fmt.Errorf(": matcher %d (%q): %w", i+1, c.Owner, err)
		}
		if slices.ContainsFunc(list, func(o *matcher) bool { return strings.EqualFold(o.owner, m.owner) }) {
			return nil, fmt.Errorf(": matcher %d: the owner %q is there twice", i+1, c.Owner)
		}
		list = append(list, m)
	}
	return list, nil
}

// compile checks a matcher and compiles its patterns.
func (c *matcherConfig) compile() (*matcher, error) {
	if c.Owner == "" {
		return nil, errors.New("it has no owner")
	}
	switch strings.ToLower(c.Severity) {
	case "", "error", "warning", "notice":
	default:
		return nil, fmt.Errorf("the severity %q is not error, warning or notice", c.Severity)
	}
	if len(c.Patterns) == 0 {
		return nil, errors.New("it has no pattern")
	}
	if len(c.Patterns) > maxPatterns {
		return nil, fmt.Errorf("it has more than %d patterns", maxPatterns)
	}
	m := &matcher{owner: c.Owner, severity: c.Severity}
	var taken [parts]bool
	for i := range c.Patterns {
		p, err := c.Patterns[i].compile(&taken)
		if err != nil {
			return nil, fmt.Errorf("pattern %d: %w", i+1, err)
		}
		if p.loop && (i == 0 || i < len(c.Patterns)-1) {
			return nil, fmt.Errorf("pattern %d: only the last of several patterns may loop", i+1)
		}
		m.patterns = append(m.patterns, p)
	}
	if !taken[partMessage] {
		return nil, errors.New("no pattern has a message")
	}
	return m, nil
}

func (c *patternConfig) compile(taken *[parts]bool) (pattern, error) {
	p := pattern{loop: c.Loop}
	if c.Loop && !c.Message.set {
		return p, errors.New("a pattern that loops must have the message")
	}
	if len(c.Regexp) > maxRegexp {
		return p, fmt.Errorf("the regexp is longer than %d bytes", maxRegexp)
	}
	re, err := regexp2.Compile(c.Regexp, regexp2.ECMAScript)
	if err != nil {
		return p, fmt.Errorf("regexp: %w", err)
	}
	re.MatchTimeout = matchTimeout
	p.re, p.needs = re, needed(c.Regexp)
	groups := len(re.GetGroupNumbers())
	for i, n := range [parts]number{c.File, c.FromPath, c.Line, c.Column, c.Severity, c.Code, c.Message, c.EndLine, c.EndColumn} {
		p.groups[i] = -1
		switch {
		case !n.set:
		case n.n < 0 || n.n >= groups:
			return p, fmt.Errorf("%q is group %d, but the regexp has the groups 0 to %d", partNames[i], n.n, groups-1)
		case taken[i]:
			return p, fmt.Errorf("%q is there twice", partNames[i])
		default:
			p.groups[i], taken[i] = n.n, true
		}
	}
	return p, nil
}

// needed is the longest text that every match of a pattern holds, as far as is
// easily known. Looking for it first makes matchers several times faster: few
// lines of a log are worth a regular expression.
//
// The pattern is read as Go would. Where Go reads it otherwise than ECMAScript
// does, it differs in classes and assertions, not in what is plain text.
func needed(expr string) []byte {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	var best, run []rune
	end := func() {
		if len(run) > len(best) {
			best = slices.Clone(run)
		}
		run = run[:0]
	}
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			if re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, utf8.RuneError) {
				end() // any byte that is not UTF-8 looks like U+FFFD
			} else {
				run = append(run, re.Rune...)
			}
		case syntax.OpConcat, syntax.OpCapture:
			for _, sub := range re.Sub {
				walk(sub)
			}
		case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		case syntax.OpPlus:
			end()
			walk(re.Sub[0])
			end()
		default:
			end()
		}
	}
	walk(re)
	end()
	return []byte(string(best))
}

// withoutComments blanks what the runner's JSON reader allows beside JSON:
// comments, and commas before a closing bracket. Positions stay.
func withoutComments(text []byte) []byte {
	out := bytes.Clone(text)
	comma := -1 // the last byte that is not blank, when it is a comma
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '/':
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '*':
			end := bytes.Index(out[i+2:], []byte("*/"))
			if end < 0 {
				return out
			}
			for end += i + 4; i < end; i++ {
				if out[i] != '\n' {
					out[i] = ' '
				}
			}
			i--
		case c == ',':
			comma = i
		case (c == ']' || c == '}') && comma >= 0:
			out[comma] = ' '
			comma = -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return out
}
