package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Fact is a line of a message: what it is about, and what is so.
type Fact struct{ Name, Value string }

// Headline is the message in one line of plain text: "team/app: CI broke on main".
func (m *Message) Headline() string {
	if m.Edge == Test {
		return "Fairlead can send messages here"
	}
	what := Clean(m.Pipeline, 100)
	switch m.Edge {
	case Broke:
		what += " broke" + m.where()
	case Still:
		what += " is still broken" + m.where()
	case Fixed:
		what += " is fixed" + m.where()
	case Approval:
		what += " waits for approval" + m.where()
	case Queued:
		what += " is queued" + m.where()
	case Started:
		what += " has started" + m.where()
	default:
		what += " " + ended(m.Verdict) + m.where()
	}
	return Clean(m.Repository, 100) + ": " + what
}

func (m *Message) where() string {
	switch {
	case m.Change != "":
		return " for change " + Clean(m.Change, 20)
	case m.Branch != "":
		return " on " + Clean(m.Branch, 100)
	}
	return ""
}

// ended is a verdict as a verb.
func ended(v plan.Verdict) string {
	switch v {
	case plan.Success:
		return "succeeded"
	case plan.Failure:
		return "failed"
	case plan.Fault:
		return "could not be run" // our machine, not your code
	case plan.Timeout:
		return "took too long"
	case plan.Cancelled:
		return "was cancelled"
	case plan.Skipped:
		return "was skipped"
	}
	return "ended"
}

// Facts are the message's details, in the order in which people want them. Values
// are plain text of one line each.
func (m *Message) Facts() []Fact {
	var facts []Fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, Fact{name, value})
		}
	}
	if m.Edge == Test {
		add("Sent by", Clean(m.Actor, 100))
		return facts
	}
	if len(m.Failed) > 0 {
		var names []string
		for _, name := range m.Failed {
			if name = Clean(name, 100); name != "" {
				names = append(names, name)
			}
		}
		add("Failed", strings.Join(names, ", "))
	}
	add("Why", Clean(m.Why, 300))
	commit := Clean(m.SHA, 40)
	if len(commit) == 40 {
		commit = commit[:10]
	}
	add("Commit", strings.TrimSpace(commit+" "+Clean(m.Title, 200)))
	add("By", Clean(m.Actor, 100))
	if m.Number > 0 {
		run := "#" + strconv.Itoa(m.Number)
		if m.Attempt > 1 {
			run += ", attempt " + strconv.Itoa(m.Attempt)
		}
		add("Run", run)
	}
	if m.Took > 0 {
		add("Took", span(m.Took))
	}
	if !m.Since.IsZero() && m.Edge != Broke {
		add("Broken for", span(m.At.Sub(m.Since)))
	}
	return facts
}

// Text is the whole message as plain text, its lines ended by a newline.
func (m *Message) Text() string {
	var b strings.Builder
	b.WriteString(m.Headline() + "\n")
	for _, f := range m.Facts() {
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	if link := m.Link(); link != "" {
		b.WriteString(link + "\n")
	}
	return b.String()
}

// Link is the address of the run's page when it is one that may stand behind a
// link: http or https; otherwise "".
func (m *Message) Link() string {
	u, err := ParseURL(m.URL)
	if err != nil || u.User != nil {
		return ""
	}
	return u.String()
}

// Bad reports whether the message is of something that is wrong.
func (m *Message) Bad() bool {
	return m.Edge == Broke || m.Edge == Still || m.Edge == Finished && m.Verdict.Bad()
}

// Good reports whether the message is of something that is well.
func (m *Message) Good() bool {
	return m.Edge == Fixed || m.Edge == Finished && m.Verdict == plan.Success
}

// span is a duration for people, in its two greatest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < daily:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/daily, d%daily/time.Hour)
}

// Clean makes a text that somebody else wrote one line of at most limit characters:
// what controls terminals, ends lines, turns the direction of writing round or cannot be seen becomes
// a space or goes.
func Clean(s string, limit int) string {
	var b strings.Builder
	n, space := 0, true // no space at the beginning
	for _, r := range s {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), r == '\u2028', r == '\u2029':
			if space {
				continue
			}
			space, r = true, ' '
		case r == utf8.RuneError, unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			continue
		default:
			space = false
		}
		if n++; n > limit {
			return strings.TrimSuffix(b.String(), " ") + "…"
		}
		b.WriteRune(r)
	}
	return strings.TrimSuffix(b.String(), " ")
}
