package release

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Links makes addresses of a code host's pages. The zero Links makes none.
type Links struct {
	Forge string // "github", "gitlab", "gitea", "bitbucket", "azure"
	Page  string // of the repository: "https://github.com/team/app"
}

// Commit is the page of a commit; "" for none.
func (l Links) Commit(sha string) string {
	switch l.Forge {
	case "":
		return ""
	case "gitlab":
		return l.Page + "/-/commit/" + sha
	case "bitbucket":
		return l.Page + "/commits/" + sha
	}
	return l.Page + "/commit/" + sha
}

// Change is the page of a pull or merge request; "" for none.
func (l Links) Change(number string) string {
	if l.Forge == "" || number == "" {
		return ""
	}
	return l.Page + map[string]string{"github": "/pull/", "gitlab": "/-/merge_requests/", "gitea": "/pulls/", "bitbucket": "/pull-requests/", "azure": "/pullrequest/"}[l.Forge] + number
}

// Compare is the page of what lies between two tags; "" for none.
func (l Links) Compare(from, to string) string {
	from, to = url.PathEscape(from), url.PathEscape(to)
	switch l.Forge {
	case "github", "gitea":
		return l.Page + "/compare/" + from + "..." + to
	case "gitlab":
		return l.Page + "/-/compare/" + from + "..." + to
	case "bitbucket":
		return l.Page + "/branches/compare/" + to + "%0D" + from
	case "azure":
		return l.Page + "/branchCompare?baseVersion=GT" + from + "&targetVersion=GT" + to
	}
	return ""
}

// Notes are the notes of a release as Markdown, without a heading: its sections,
// what breaks first, and who made it. hand is text that people wrote, which
// comes first; "" for none.
func (d *Decision) Notes(l Links, hand string) string {
	var b strings.Builder
	if hand = strings.TrimSpace(hand); hand != "" {
		b.WriteString(hand + "\n\n")
	}
	sections := Sections()
	for _, c := range d.Changes {
		if c.Section != "" && !slices.Contains(sections, c.Section) {
			sections = append(sections, c.Section)
		}
	}
	listed := 0
	for _, s := range sections {
		first := true
		for i := range d.Changes {
			c := &d.Changes[i]
			if c.Section != s {
				continue
			}
			if first {
				fmt.Fprintf(&b, "### %s\n\n", escape(s))
				first = false
			}
			c.write(&b, l)
			listed++
		}
		if !first {
			b.WriteByte('\n')
		}
	}
	if listed == 0 && hand == "" {
		b.WriteString("No changes that people will notice.\n\n")
	}
	if people := d.authors(); len(people) > 0 {
		fmt.Fprintf(&b, "Made by %s.\n", strings.Join(people, ", "))
	}
	return strings.TrimSpace(b.String()) + "\n"
}

// write is a change as an item of a list.
func (c *Change) write(b *strings.Builder, l Links) {
	b.WriteString("- ")
	if c.Scope != "" {
		fmt.Fprintf(b, "**%s:** ", escape(c.Scope))
	}
	b.WriteString(escape(c.Text))
	if c.Number != "" {
		b.WriteString(" (" + link("#"+c.Number, l.Change(c.Number)) + ")")
	}
	b.WriteString(" (" + link(short(c.SHA), l.Commit(c.SHA)) + ")\n")
	for _, what := range c.Breaking {
		if what != c.Text && trailing.ReplaceAllString(what, "") != c.Text {
			for i, line := range strings.Split(what, "\n") {
				b.WriteString(map[bool]string{true: "  - ", false: "    "}[i == 0])
				b.WriteString(escape(line) + "\n")
			}
		}
	}
}

// authors are who made the changes that are listed, by name.
func (d *Decision) authors() []string {
	var all []string
	for _, c := range d.Changes {
		if name := escape(strings.TrimSpace(c.Author)); name != "" && !strings.HasSuffix(name, `\[bot\]`) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func link(text, address string) string {
	if address == "" {
		return text
	}
	return "[" + text + "](" + address + ")"
}

// maxLine is the length in bytes of the longest line of a note.
const maxLine = 2000

// escape makes a line of somebody's text a line of Markdown that shows it: no
// HTML, no links, no headings. What stands between backquotes is code and shows as it is.
func escape(s string) string {
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		if i > 0 {
			b.WriteByte('`')
		}
		if i%2 == 1 && strings.Count(s, "`")%2 == 0 {
			b.WriteString(part)
			continue
		}
		for _, r := range part {
			if strings.ContainsRune(`<>[]\`, r) {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// heading is a heading of a version in a changelog: "## [1.2.0] - 2026-11-23".
var heading = regexp.MustCompile(`^## +\[?([^\]\s]+)\]?`)

// unreleased is what keepachangelog.com calls what is not released yet.
const unreleased = "Unreleased"

// newChangelog is how a changelog begins.
const newChangelog = `# Changelog

What changed from release to release. The form is that of [Keep a Changelog](https://keepachangelog.com/en/1.1.0/).

## [Unreleased]
`

// Hand is what people wrote under Unreleased in a changelog: it belongs to the
// next release.
func Hand(changelog string) string {
	lines, at, end := sections(changelog)
	if at < 0 {
		return ""
	}
	return strings.TrimSpace(strings.Join(lines[at+1:end], "\n"))
}

// sections finds the section of what is not released: the line of its heading, -1
// for none, and that where the next begins.
func sections(changelog string) (lines []string, at, end int) {
	lines = strings.Split(strings.ReplaceAll(changelog, "\r\n", "\n"), "\n")
	at, end = -1, len(lines)
	fenced := false
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		m := heading.FindStringSubmatch(line)
		switch {
		case fenced || m == nil:
		case strings.EqualFold(m[1], unreleased) && at < 0:
			at = i
		default:
			return lines, at, i
		}
	}
	return lines, at, end
}

// Insert puts the notes of a release into a changelog, above those of earlier
// releases, and takes what stood under Unreleased away: it is in the notes ([Hand]). An
// empty changelog is begun. changed is false when the release stands there.
func (d *Decision) Insert(changelog, notes string, l Links, at time.Time) (text string, changed bool) {
	if strings.TrimSpace(changelog) == "" {
		changelog = newChangelog
	}
	lines, here, next := sections(changelog)
	for _, line := range lines {
		if m := heading.FindStringSubmatch(line); m != nil && m[1] == d.Version.String() {
			return changelog, false
		}
	}
	title := link("["+d.Version.String()+"]", "")
	if d.From.Tag != "" {
		if address := l.Compare(d.From.Tag, d.Tag); address != "" {
			title += "(" + address + ")"
		}
	}
	section := fmt.Sprintf("## %s - %s\n\n%s", title, at.UTC().Format(time.DateOnly), strings.TrimSpace(notes))
	before, after := lines[:next], lines[next:]
	if here >= 0 {
		before = lines[:here+1]
	}
	text = strings.TrimSpace(strings.Join(before, "\n")) + "\n\n" + section + "\n"
	if rest := strings.TrimSpace(strings.Join(after, "\n")); rest != "" {
		text += "\n" + rest + "\n"
	}
	return text, true
}
