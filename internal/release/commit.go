package release

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what is read of one message.
const (
	maxMessage = 64 << 10 // bytes; what is after them is not read
	maxFooters = 200
	maxEntries = 500 // of a squashed commit
)

// Message is what a commit's message says by the specification of Conventional
// Commits 1.0.0. Numbers in comments are those of its sixteen rules.
type Message struct {
	Type        string // in lower case (rule 15): "feat"
	Scope       string // as written; "" for none
	Bang        bool   // there is a ! before the colon
	Description string
	Body        string
	Footers     []Footer
	// Breaking are the descriptions of what breaks: those of footers and, of a
	// header with a ! and no such footer, its own (rule 13).
	Breaking []string
	// Reverts are the commits that this one takes back, as they are named: whole
	// or abbreviated, in lower case.
	Reverts []string
	// Entries are the headers of the commits that were squashed into this one,
	// where the body lists them.
	Entries []Message
}

// Footer is a trailer of a message: "Reviewed-by: Z", "Fixes #13".
type Footer struct {
	Token string // as written: "Reviewed-by", "BREAKING CHANGE"
	Value string // "Z"; of the form with a #, "#13"
}

var (
	// header is rules 1, 4, 5 and 13. A type is one word; a scope holds anything
	// but parentheses and line ends.
	header = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_+./-]*)(?:\(([^()\r\n]*)\))?(!)?: +(\S.*)$`)
	// footer is rules 8, 9, 12 and 16.
	footer = regexp.MustCompile(`^(BREAKING CHANGE|BREAKING-CHANGE|[A-Za-z][A-Za-z0-9-]*)(?:: +| +(#))(.*)$`)
	// gitRevert and gitReapply are what git itself writes.
	gitRevert = regexp.MustCompile(`^(Revert|Reapply) "(.*)"$`)
	reverted  = regexp.MustCompile(`(?i)\bThis reverts commit ([0-9a-f]{7,64})`)
	hash      = regexp.MustCompile(`(?i)\b[0-9a-f]{7,64}\b`)
	// prefixed is what Azure DevOps puts before the title of a squashed change.
	prefixed = regexp.MustCompile(`^Merged PR [0-9]+: +`)
)

// Parse reads a commit's message. Its error says, in words that can follow
// "the message", why it is not a conventional one; what could be read is in the
// result all the same: the description of any message is its first line, and a
// breaking change is heard wherever it stands, for missing one is the worst
// mistake that can be made here.
func Parse(text string) (Message, error) {
	lines := linesOf(text)
	var m Message
	var err error
	first, rest := "", lines
	if len(lines) > 0 {
		first, rest = lines[0], lines[1:]
	}
	if err = m.head(prefixed.ReplaceAllString(first, "")); err != nil {
		m.Description = first
	}
	if v := gitRevert.FindStringSubmatch(first); v != nil {
		// git's word for it is as good as the specification's own example.
		m.Type, m.Description, err = revertType, v[2], nil
		if v[1] == "Reapply" {
			m.Type = reapplyType
		}
	}
	if err == nil && len(rest) > 0 && rest[0] != "" {
		err = &Fault{"has no blank line after its first line", "leave the second line empty"} // rule 6
	}
	m.rest(rest)
	m.settle()
	return m, err
}

// Fault is why a message cannot be understood, and the way out.
type Fault struct{ What, Hint string }

func (f *Fault) Error() string { return f.What }

// The types that mean something to this package itself.
const (
	revertType  = "revert"
	reapplyType = "reapply" // a revert of a revert, as git words it
)

const headerForm = "write it as TYPE(SCOPE): DESCRIPTION, such as feat(api): take JSON, too; TYPE! says that it breaks something"

// head reads the first line.
func (m *Message) head(line string) error {
	v := header.FindStringSubmatch(line)
	if v == nil {
		return malformed(line)
	}
	if line[len(v[1])] == '(' && strings.TrimSpace(v[2]) == "" {
		return &Fault{"has an empty scope", "name the part that it is about, or leave the parentheses out"}
	}
	m.Type, m.Scope, m.Bang = strings.ToLower(v[1]), strings.TrimSpace(v[2]), v[3] != ""
	m.Description = strings.TrimSpace(v[4])
	return nil
}

// malformed says what is wrong with a first line, as exactly as can be said.
func malformed(line string) error {
	word, after, found := strings.Cut(line, ":")
	typed, _, _ := strings.Cut(strings.TrimSuffix(word, "!"), "(")
	switch {
	case strings.TrimSpace(line) == "":
		return &Fault{"is empty", headerForm}
	case found && after == "" || found && strings.TrimSpace(after) == "":
		return &Fault{"has nothing after the colon", headerForm}
	case found && after[0] != ' ' && isWord(typed):
		return &Fault{"has no space after the colon", headerForm}
	case found && strings.HasSuffix(typed, " ") && isWord(strings.TrimSpace(typed)):
		return &Fault{"has a space between the type and what follows it", headerForm}
	}
	return &Fault{"does not begin with a type and a colon", headerForm}
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsPunct(r) && !strings.ContainsRune("_+./-", r)
	})
}

// rest reads body and footers.
func (m *Message) rest(lines []string) {
	var body []string
	blank := true // the first line stands after the header, with or without a blank line
	for _, line := range lines {
		v := footer.FindStringSubmatch(line)
		broken := v != nil && breaks(v[1]) && v[2] == ""
		switch {
		// Rule 8: footers begin after a blank line; 10: from then on each line is one or goes on
		// with one. People forget the blank line before what breaks.
		case v != nil && len(m.Footers) < maxFooters && (len(m.Footers) > 0 || blank && !entryLine(line) || broken):
			m.Footers = append(m.Footers, Footer{v[1], v[2] + v[3]})
		case len(m.Footers) > 0:
			f := &m.Footers[len(m.Footers)-1]
			f.Value += "\n" + line
		default:
			body = append(body, line)
			if e, ok := entry(line); ok && len(m.Entries) < maxEntries {
				m.Entries = append(m.Entries, e)
			}
		}
		blank = line == ""
	}
	m.Body = strings.TrimSpace(strings.Join(body, "\n"))
	for i := range m.Footers {
		m.Footers[i].Value = strings.TrimSpace(m.Footers[i].Value)
		// A list of squashed commits may stand after the footers of the first of them.
		for line := range strings.Lines(m.Footers[i].Value) {
			if e, ok := entry(strings.TrimRight(line, "\n")); ok && len(m.Entries) < maxEntries {
				m.Entries = append(m.Entries, e)
			}
		}
	}
}

// entryLine reports whether a line is an item of a list.
func entryLine(line string) bool {
	return strings.HasPrefix(line, "* ") || strings.HasPrefix(line, "- ")
}

// entry reads an item of the list that code hosts make of squashed commits.
func entry(line string) (m Message, ok bool) {
	if !entryLine(line) || m.head(line[2:]) != nil {
		return m, false
	}
	m.settle()
	return m, true
}

// breaks is rules 15 and 16: of these words alone the case counts.
func breaks(token string) bool { return token == "BREAKING CHANGE" || token == "BREAKING-CHANGE" }

// settle finds out what follows from what was read.
func (m *Message) settle() {
	for _, f := range m.Footers {
		switch {
		case breaks(f.Token) && f.Value != "" && !strings.HasPrefix(f.Value, "#"):
			m.Breaking = append(m.Breaking, f.Value)
		case m.Type == revertType && (strings.EqualFold(f.Token, "Refs") || strings.EqualFold(f.Token, "Reverts")):
			m.Reverts = append(m.Reverts, hash.FindAllString(f.Value, -1)...)
		}
	}
	if m.Bang && len(m.Breaking) == 0 {
		m.Breaking = []string{m.Description}
	}
	for _, e := range m.Entries {
		m.Breaking = append(m.Breaking, e.Breaking...)
	}
	if m.Type == revertType || m.Type == reapplyType {
		for _, v := range reverted.FindAllStringSubmatch(m.Body, -1) {
			m.Reverts = append(m.Reverts, v[1])
		}
		for i := range m.Reverts {
			m.Reverts[i] = strings.ToLower(m.Reverts[i])
		}
	}
	slices.Sort(m.Reverts)
	m.Reverts = slices.Compact(m.Reverts)
}

// Footer is the value of the first footer with that token, in any case of
// letters (rule 15); "" when there is none.
func (m *Message) Footer(token string) string {
	for _, f := range m.Footers {
		if strings.EqualFold(f.Token, token) {
			return f.Value
		}
	}
	return ""
}

// linesOf are the lines of a message without trailing blanks. What is not
// UTF-8, or no text, is replaced.
func linesOf(text string) []string {
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return utf8.RuneError
		}
		return r
	}, text)
	text = strings.Trim(text, "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRightFunc(l, unicode.IsSpace)
	}
	return lines
}
