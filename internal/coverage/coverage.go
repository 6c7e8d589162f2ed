// Package coverage says which lines of a project its tests ran, and which of a
// change's lines they did not.
//
// A [Report] is what one or several tools said: for each file the lines that
// hold code, and for each of those whether it was hit, hit in part, or missed.
// Reports of one commit are merged into one; the best that any of them says of
// a line holds. Everything else is computed from that:
//
//	reports ─ Merge ─► Report ─ Resolve (files of the tree) ─► Report
//	                      │
//	                      ├─ Totals, Packages, Components, Compare   how much is covered, and where
//	git diff ─► Diff ─────┼─ Patch                                   how much of the change
//	                      ├─ Mark                                    the diff, line for line
//	older report ─────────┼─ Carry                                   what was not measured this time
//	files tests read ─────┴─ Beyond                                  what lines cannot show
//
// Nothing here opens a file, starts a process or reads a clock: diffs come as
// text, file lists as values, and a report is kept as the bytes of [Encode].
package coverage

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
)

const (
	// MaxFiles and MaxLines limit a report: how many files it has, and how
	// many lines in all.
	MaxFiles = 200_000
	MaxLines = 10_000_000
	// MaxLine is the largest number that a line may have.
	MaxLine = 20_000_000
	// maxPath is the longest path that is kept, in bytes.
	maxPath = 4096
)

// ErrFull is what [Report.Add] answers when a report would grow beyond
// [MaxFiles] or [MaxLines].
var ErrFull = errors.New("the report has more files or lines than are kept")

// State is how far a line was run.
type State uint8

// The states of a line. The greater is the better; None is that of a line
// without code, or one that no report knows.
const (
	None State = iota
	Miss
	Partial // it was run, but not every branch or part of it
	Hit
)

// String is the state's word: "", "miss", "partial", "hit".
func (s State) String() string {
	if s > Hit {
		return "?"
	}
	return [...]string{"", "miss", "partial", "hit"}[s]
}

// MarshalText is the state's word, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's word.
func (s *State) UnmarshalText(text []byte) error {
	for _, state := range []State{None, Miss, Partial, Hit} {
		if state.String() == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a line", text)
}

// Line is what is known of one line of code.
type Line struct {
	Number int32 // from 1
	Hits   int32 // how often it was run: at most [math.MaxInt32], and 1 where a tool says only that it was
	// Branches is how many ways lead on from the line, Taken how many of them
	// were gone; 0 where the tool does not say.
	Taken, Branches uint16
	State           State
	// Carried says that the state is not of this run: [Report.Carry].
	Carried bool
}

// Counted is a line that was run so often and has so many branches. It is
// missed when it was not run, and partial when a branch was not taken. Numbers
// that are too large become the largest.
func Counted(number int, hits int64, taken, branches int) Line {
	l := Line{
		Number:   int32(min(max(number, 0), math.MaxInt32)),
		Hits:     int32(min(max(hits, 0), math.MaxInt32)),
		Branches: uint16(min(max(branches, 0), math.MaxUint16)),
	}
	l.Taken = min(uint16(min(max(taken, 0), math.MaxUint16)), l.Branches)
	switch {
	case l.Hits == 0 && l.Taken == 0:
		l.State = Miss
	case l.Taken < l.Branches:
		l.State = Partial
	default:
		l.State = Hit
	}
	return l
}

// merge is what two reports know of one line together. The counts of branches
// are those of the better report: their sum would count a branch twice.
func (l Line) merge(o Line) Line {
	switch {
	case o.State > l.State:
		l.State, l.Carried, l.Taken, l.Branches = o.State, o.Carried, o.Taken, o.Branches
	case o.State == l.State:
		l.Carried = l.Carried && o.Carried
		if o.Taken > l.Taken || o.Taken == l.Taken && o.Branches > l.Branches {
			l.Taken, l.Branches = o.Taken, o.Branches
		}
	}
	l.Hits = max(l.Hits, o.Hits)
	return l
}

// File is what is known of one file.
type File struct {
	Path  string
	Lines []Line // by number, each once
	// Carried is the commit whose report lines of this file were taken from;
	// "" when all are of this run.
	Carried string
}

// Line is what is known of a line; its State is None when it holds no code.
func (f *File) Line(number int) Line {
	if f != nil {
		i, ok := slices.BinarySearchFunc(f.Lines, number, func(l Line, n int) int { return cmp.Compare(int(l.Number), n) })
		if ok {
			return f.Lines[i]
		}
	}
	return Line{Number: int32(number)}
}

// Totals counts the file's lines.
func (f *File) Totals() Totals {
	t := Totals{Files: 1}
	for _, l := range f.Lines {
		t.count(l)
	}
	return t
}

// Report is what is known of a project. The zero value is an empty one.
type Report struct {
	files map[string]*File
	lines int
}

// Add merges lines of a file into the report. They may come in any order and
// more than once; those whose number is none are left out. The path becomes a
// clean slash path; an empty one, or one that is too long, adds nothing. The
// slice is the report's afterwards.
func (r *Report) Add(name string, lines []Line) error {
	name = Clean(name)
	if name == "" || len(name) > maxPath {
		return nil
	}
	lines = tidy(lines)
	f := r.files[name]
	if f == nil {
		if len(r.files) >= MaxFiles || r.lines+len(lines) > MaxLines {
			return ErrFull
		}
		if r.files == nil {
			r.files = map[string]*File{}
		}
		r.files[name] = &File{Path: name, Lines: lines}
		r.lines += len(lines)
		return nil
	}
	merged := union(f.Lines, lines)
	if r.lines+len(merged)-len(f.Lines) > MaxLines {
		return ErrFull
	}
	r.lines += len(merged) - len(f.Lines)
	f.Lines = merged
	return nil
}

// tidy sorts lines and makes those of one number one.
func tidy(lines []Line) []Line {
	sorted := true
	for i, l := range lines {
		if l.Number < 1 || l.Number > MaxLine || l.State == None || i > 0 && lines[i-1].Number >= l.Number {
			sorted = false
			break
		}
	}
	if sorted {
		return lines
	}
	lines = slices.DeleteFunc(lines, func(l Line) bool { return l.Number < 1 || l.Number > MaxLine || l.State == None })
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.Number, b.Number) })
	n := 0
	for _, l := range lines {
		if n > 0 && lines[n-1].Number == l.Number {
			lines[n-1] = lines[n-1].merge(l)
			continue
		}
		lines[n] = l
		n++
	}
	return lines[:n]
}

// union merges two tidy slices; it changes the first one when that has all
// the numbers of the second.
func union(a, b []Line) []Line {
	more := 0
	for i, j := 0, 0; j < len(b); {
		switch {
		case i == len(a) || b[j].Number < a[i].Number:
			more++
			j++
		case a[i].Number < b[j].Number:
			i++
		default:
			a[i] = a[i].merge(b[j])
			i, j = i+1, j+1
		}
	}
	if more == 0 {
		return a
	}
	all := make([]Line, 0, len(a)+more)
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case j == len(b) || i < len(a) && a[i].Number < b[j].Number:
			all = append(all, a[i])
			i++
		case i == len(a) || b[j].Number < a[i].Number:
			all = append(all, b[j])
			j++
		default: // merged above
			all = append(all, a[i])
			i, j = i+1, j+1
		}
	}
	return all
}

// Merge adds all that another report of the same commit knows.
func (r *Report) Merge(o *Report) error {
	for _, f := range o.Files() {
		if err := r.Add(f.Path, slices.Clone(f.Lines)); err != nil {
			return err
		}
		if into := r.files[f.Path]; into != nil && into.Carried == "" {
			into.Carried = f.Carried
		}
	}
	return nil
}

// File is what is known of a file, nil if nothing is.
func (r *Report) File(name string) *File { return r.files[name] }

// Files are all files, by path. They are the report's own.
func (r *Report) Files() []*File {
	return slices.SortedFunc(maps.Values(r.files), func(a, b *File) int { return strings.Compare(a.Path, b.Path) })
}

// Clean makes a path of a report one with slashes, without "." and "..", "./"
// or "file://" before it. Paths of Windows are recognised by a drive, or by
// backslashes where there is no slash.
func Clean(name string) string {
	name = strings.TrimPrefix(strings.TrimSpace(name), "file://")
	if drive := len(name) > 2 && name[1] == ':' && (name[2] == '\\' || name[2] == '/'); drive || !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	if name == "" {
		return ""
	}
	if name = path.Clean(name); name == "." || name == "/" {
		return ""
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// Totals counts lines.
type Totals struct {
	Files    int `json:"files"`
	Hit      int `json:"hit"`
	Partial  int `json:"partial"`
	Miss     int `json:"miss"`
	Taken    int `json:"taken,omitempty"` // of the branches
	Branches int `json:"branches,omitempty"`
}

func (t *Totals) count(l Line) {
	switch l.State {
	case Hit:
		t.Hit++
	case Partial:
		t.Partial++
	case Miss:
		t.Miss++
	}
	t.Taken += int(l.Taken)
	t.Branches += int(l.Branches)
}

// Plus is the sum of two.
func (t Totals) Plus(o Totals) Totals {
	return Totals{
		Files: t.Files + o.Files, Hit: t.Hit + o.Hit, Partial: t.Partial + o.Partial, Miss: t.Miss + o.Miss,
		Taken: t.Taken + o.Taken, Branches: t.Branches + o.Branches,
	}
}

// Lines is how many lines hold code.
func (t Totals) Lines() int { return t.Hit + t.Partial + t.Miss }

// Ratio is the share of the lines that were hit wholly, from 0 to 1. There is
// none when no line holds code: a change of a README is not uncovered.
func (t Totals) Ratio() (share float64, ok bool) {
	if t.Lines() == 0 {
		return 0, false
	}
	return float64(t.Hit) / float64(t.Lines()), true
}

// Totals counts all lines.
func (r *Report) Totals() Totals {
	var t Totals
	for _, f := range r.files {
		t = t.Plus(f.Totals())
	}
	return t
}

// Part is a part of a project and how much of it is covered.
type Part struct {
	Name string `json:"name"`
	Totals
}

// Packages are the directories that files lie in, by name; that of the files
// at the top is ".".
func (r *Report) Packages() []Part {
	dirs := map[string]Totals{}
	for name, f := range r.files {
		dirs[path.Dir(name)] = dirs[path.Dir(name)].Plus(f.Totals())
	}
	parts := make([]Part, 0, len(dirs))
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		parts = append(parts, Part{Name: name, Totals: dirs[name]})
	}
	return parts
}

// Component is a part of a project that a team has given a name.
type Component struct {
	Name string
	// Paths are patterns of paths: "*" and "?" stand for anything but a slash,
	// "**" for any directories; a pattern without them is a file, or a
	// directory with all that is in it. "!" before one takes out what the
	// patterns before it have taken in.
	Paths []string
}

// Has reports whether a file belongs to the component.
func (c Component) Has(name string) bool {
	in := false
	for _, p := range c.Paths {
		p, not := strings.CutPrefix(p, "!")
		if in == not && match(p, name) {
			in = !not
		}
	}
	return in
}

// Components are the parts, in their order. A file may be in several, or in
// none.
func (r *Report) Components(components []Component) []Part {
	parts := make([]Part, len(components))
	for i, c := range components {
		parts[i].Name = c.Name
		for name, f := range r.files {
			if c.Has(name) {
				parts[i].Totals = parts[i].Plus(f.Totals())
			}
		}
	}
	return parts
}

// match compares a path with a pattern of [Component].
func match(pattern, name string) bool {
	pattern = strings.TrimPrefix(path.Clean("/"+pattern), "/")
	if !strings.ContainsAny(pattern, "*?[") {
		return pattern == "" || name == pattern || strings.HasPrefix(name, pattern+"/")
	}
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

// matchParts walks pattern and path with one mark to come back to: after a
// later "**" an earlier one never needs another try.
func matchParts(pattern, name []string) bool {
	p, n, back, from := 0, 0, -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == "**" {
			back, from = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if ok, err := path.Match(pattern[p], name[n]); err == nil && ok {
				p, n = p+1, n+1
				continue
			}
		}
		if back < 0 {
			return false
		}
		from++
		p, n = back+1, from
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}
