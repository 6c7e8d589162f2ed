package coverage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxDiffLines is how many lines of hunks are read of a diff.
	maxDiffLines = 1_000_000
	// maxDiffText is how many bytes of a diff's line are kept.
	maxDiffText = 2000
)

// Diff is what a change does to the text of a tree.
type Diff struct {
	Files []FileDiff
}

// FileDiff is what a change does to one file.
type FileDiff struct {
	Old, New string // paths; "" for a file that is created or deleted
	Binary   bool
	// Combined says that the file was merged: such a diff has two old sides,
	// and its lines are not read.
	Combined bool
	Hunks    []Hunk
}

// Path is the file's path after the change or, when it was deleted, before.
func (f *FileDiff) Path() string {
	if f.New == "" {
		return f.Old
	}
	return f.New
}

// Hunk is a run of lines that are changed, with those around them if the diff
// has any.
type Hunk struct {
	// The first line on each side, from 1, and how many there are. Where there
	// are none, the first is the one before which the change is.
	Old, OldLines int
	New, NewLines int
	Section       string // what git says the lines are in: a function's head
	Lines         []DiffLine
}

// DiffLine is a line of a hunk.
type DiffLine struct {
	Kind     byte   // ' ', '+' or '-'
	Old, New int    // its numbers; 0 on the side that does not have it
	Text     string // without its end, at most 2,000 bytes of it
}

// File is what the diff does to the file that has this path after the change,
// nil if nothing.
func (d *Diff) File(name string) *FileDiff {
	for i := range d.Files {
		if d.Files[i].New == name {
			return &d.Files[i]
		}
	}
	return nil
}

// ParseDiff reads a unified diff: what git diff, git show and diff -u print,
// with any number of lines of context. Paths lose the "a/" and "b/" that git
// puts before them. Text before and between the files is passed over. When
// the diff is damaged or has more than a million lines, the error says where,
// and what was read until there is returned with it.
func ParseDiff(r io.Reader) (*Diff, error) {
	p := diffParser{r: bufio.NewReaderSize(r, 64<<10), diff: &Diff{}}
	if err := p.parse(); err != nil {
		return p.diff, fmt.Errorf("read diff: line %d: %w", p.number, err)
	}
	return p.diff, nil
}

// diffParser is a diff while it is read.
type diffParser struct {
	r      *bufio.Reader
	number int // of the line read last
	total  int // lines of hunks so far
	diff   *Diff
	file   *FileDiff // nil before the first
	git    bool      // the file has a "diff --git" line
	bare   bool      // git was told to put nothing before paths
	// What is still to come of the hunk.
	old, new         int // the numbers of the next lines
	oldLeft, newLeft int
}

func (p *diffParser) parse() error {
	for {
		line, err := p.line()
		if errors.Is(err, io.EOF) {
			if p.oldLeft > 0 || p.newLeft > 0 {
				return errors.New("it ends in the middle of a hunk")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if p.oldLeft > 0 || p.newLeft > 0 {
			if err := p.inHunk(line); err != nil {
				return err
			}
			continue
		}
		if err := p.header(line); err != nil {
			return err
		}
	}
}

// line is the next one without its end; of a long one only the beginning.
func (p *diffParser) line() (string, error) {
	var text []byte
	for first := true; ; first = false {
		part, err := p.r.ReadSlice('\n')
		if first && len(part) == 0 && err != nil {
			return "", err
		}
		if keep := 2*maxPath - len(text); keep > 0 {
			text = append(text, part[:min(len(part), keep)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		p.number++
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	}
}

// header reads a line that is not in a hunk.
func (p *diffParser) header(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case strings.HasPrefix(line, "diff --git "):
		p.begin()
		p.git = true
		p.names(strings.TrimPrefix(line, "diff --git "))
	case strings.HasPrefix(line, "diff --cc "), strings.HasPrefix(line, "diff --combined "):
		p.begin()
		p.git = true
		_, name, _ := strings.Cut(rest, " ")
		name = unquote(name)
		p.file.Old, p.file.New, p.file.Combined = name, name, true
	case word == "---" && rest != "":
		if !p.git || p.file == nil || len(p.file.Hunks) > 0 {
			p.begin() // a diff without git's own lines
		}
		p.file.Old = p.path(rest, "a/")
	case word == "+++" && p.file != nil && len(p.file.Hunks) == 0:
		p.file.New = p.path(rest, "b/")
	case word == "@@" && p.file != nil:
		return p.hunk(rest)
	case p.file == nil || len(p.file.Hunks) > 0:
	case strings.HasPrefix(line, "rename from "), strings.HasPrefix(line, "copy from "):
		_, name, _ := strings.Cut(rest, " ")
		p.file.Old = unquote(name)
	case strings.HasPrefix(line, "rename to "), strings.HasPrefix(line, "copy to "):
		_, name, _ := strings.Cut(rest, " ")
		p.file.New = unquote(name)
	case strings.HasPrefix(line, "new file mode "):
		p.file.Old = ""
	case strings.HasPrefix(line, "deleted file mode "):
		p.file.New = ""
	case strings.HasPrefix(line, "Binary files "), line == "GIT binary patch":
		p.file.Binary = true
	}
	return nil
}

func (p *diffParser) begin() {
	p.diff.Files = append(p.diff.Files, FileDiff{})
	p.file = &p.diff.Files[len(p.diff.Files)-1]
	p.git, p.bare = false, false
}

// names reads the two paths of git's first line. They are told apart only if
// they are the same; those of a renamed file come again in lines of their own,
// and those of a changed one in "---" and "+++".
func (p *diffParser) names(both string) {
	if strings.HasSuffix(both, `"`) {
		if i := strings.LastIndex(both[:len(both)-1], ` "`); i > 0 {
			p.file.Old, p.file.New = p.path(both[:i], "a/"), p.path(both[i+1:], "b/")
		}
		return
	}
	if len(both)%2 == 0 || both[len(both)/2] != ' ' {
		return
	}
	a, b := both[:len(both)/2], both[len(both)/2+1:]
	_, afterA, _ := strings.Cut(a, "/")
	_, afterB, ok := strings.Cut(b, "/")
	switch {
	case a == b:
		p.bare = true
		p.file.Old, p.file.New = a, b
	case ok && afterA == afterB:
		p.file.Old, p.file.New = afterA, afterB
	}
}

// path reads a path of "---" or "+++": "" for none, without what is put before
// it, and without the time that diff puts after it.
func (p *diffParser) path(s, before string) string {
	if !strings.HasPrefix(s, `"`) {
		s, _, _ = strings.Cut(s, "\t")
	}
	s = unquote(s)
	if s == "/dev/null" {
		return ""
	}
	if p.bare {
		return s
	}
	if p.git {
		// a/ and b/, or with diff.mnemonicPrefix i/, w/, c/, o/.
		if len(s) > 2 && s[1] == '/' && strings.IndexByte("abciow12", s[0]) >= 0 {
			return s[2:]
		}
		return s
	}
	return strings.TrimPrefix(s, before)
}

// unquote reads a path as git prints it when it holds what is no plain text.
func unquote(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		if plain, err := strconv.Unquote(s); err == nil {
			return plain
		}
	}
	return s
}

// hunk reads "-12,3 +14 @@ section".
func (p *diffParser) hunk(s string) error {
	ranges, section, ok := strings.Cut(s, " @@")
	before, after, both := strings.Cut(ranges, " ")
	var h Hunk
	var okOld, okNew bool
	h.Old, h.OldLines, okOld = span(before, "-")
	h.New, h.NewLines, okNew = span(after, "+")
	if !ok || !both || !okOld || !okNew {
		return fmt.Errorf("this is no beginning of a hunk: %.100q", "@@ "+s)
	}
	h.Section = cut(strings.TrimPrefix(section, " "))
	p.file.Hunks = append(p.file.Hunks, h)
	p.old, p.oldLeft = h.Old, h.OldLines
	p.new, p.newLeft = h.New, h.NewLines
	return nil
}

// span reads "-12,3"; without the second number it is one line.
func span(s, sign string) (from, n int, ok bool) {
	s, ok = strings.CutPrefix(s, sign)
	first, count, several := strings.Cut(s, ",")
	if !several {
		count = "1"
	}
	a, errA := strconv.ParseUint(first, 10, 32)
	b, errB := strconv.ParseUint(count, 10, 32)
	if !ok || errA != nil || errB != nil || a > MaxLine || b > MaxLine {
		return 0, 0, false
	}
	return int(a), int(b), true
}

// inHunk reads a line of a hunk.
func (p *diffParser) inHunk(line string) error {
	if strings.HasPrefix(line, `\`) {
		return nil // "\ No newline at end of file"
	}
	if p.total++; p.total > maxDiffLines {
		p.oldLeft, p.newLeft = 0, 0
		return fmt.Errorf("it has more than %d lines", maxDiffLines)
	}
	l := DiffLine{Kind: ' '}
	if line != "" { // some editors take the space from an empty line
		l.Kind, l.Text = line[0], cut(line[1:])
	}
	if l.Kind != ' ' && l.Kind != '+' && l.Kind != '-' {
		return fmt.Errorf("a line of a hunk begins with %q", l.Kind)
	}
	if l.Kind != '+' {
		if p.oldLeft == 0 {
			return errors.New("the hunk has more old lines than it says")
		}
		l.Old = p.old
		p.old, p.oldLeft = p.old+1, p.oldLeft-1
	}
	if l.Kind != '-' {
		if p.newLeft == 0 {
			return errors.New("the hunk has more new lines than it says")
		}
		l.New = p.new
		p.new, p.newLeft = p.new+1, p.newLeft-1
	}
	h := &p.file.Hunks[len(p.file.Hunks)-1]
	h.Lines = append(h.Lines, l)
	return nil
}

// cut is the beginning of a line, in valid UTF-8.
func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxDiffText)], "\uFFFD")
}

// after is the number that an old line has after the change; none if it was
// changed or deleted.
func (f *FileDiff) after(old int) (number int, ok bool) {
	offset := 0
	for _, h := range f.Hunks {
		// A hunk without old lines stands behind its Old.
		if old < h.Old || h.OldLines == 0 && old == h.Old {
			break
		}
		if old < h.Old+h.OldLines {
			for _, l := range h.Lines {
				if l.Kind == ' ' && l.Old == old {
					return l.New, true
				}
			}
			return 0, false
		}
		offset += h.NewLines - h.OldLines
	}
	return old + offset, true
}
