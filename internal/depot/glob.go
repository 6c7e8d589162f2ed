package depot

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

const (
	// MaxMatches bounds what one list of patterns may find.
	MaxMatches = 2_000_000
	// maxAlternatives bounds what the braces of one pattern come to.
	maxAlternatives = 1000
)

// Patterns is a list of patterns of paths, of which the last one that has
// anything to say of a path decides. * ? [class] and ** mean what they do in
// a shell. A name that begins with a dot is matched like any other.
type Patterns []pattern

type pattern struct {
	segments []string // of the absolute path
	literal  int      // so many of them hold no wildcard
	negate   bool
	dirOnly  bool // it ended with a slash
	alone    bool // a directory that matches does not stand for what is in it
}

// ParsePatterns reads a list in which a line beginning with ! takes out again
// what earlier lines found, # begins a comment, and braces are letters like
// any other. absolute makes a path absolute.
func ParsePatterns(lines []string, absolute func(string) string) Patterns {
	var list Patterns
	for _, line := range lines {
		var p pattern
		for strings.HasPrefix(line, "!") {
			p.negate = !p.negate
			line = strings.TrimSpace(line[1:])
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.dirOnly = len(line) > 1 && strings.HasSuffix(line, "/")
		p.cut(absolute(line))
		list = append(list, p)
	}
	return list
}

// Choose makes the list of what is taken in and what of that is left out
// again, with braces that stand for alternatives: {debug,release}/*.o. A
// directory that is taken in stands for all that is in it, one that is left
// out only for itself. absolute makes a path absolute.
func Choose(include, exclude []string, absolute func(string) string) Patterns {
	var list Patterns
	for i, patterns := range [][]string{include, exclude} {
		for _, text := range patterns {
			for _, line := range Alternatives(text) {
				p := pattern{negate: i == 1, alone: i == 1}
				p.cut(absolute(line))
				list = append(list, p)
			}
		}
	}
	return list
}

// cut sets the segments.
func (p *pattern) cut(path string) {
	p.segments = split(path)
	for p.literal < len(p.segments) && !strings.ContainsAny(p.segments[p.literal], `*?[\`) {
		p.literal++
	}
	for i := p.literal; i < len(p.segments); i++ {
		p.segments[i] = braces.Replace(p.segments[i])
	}
}

// Alternatives expands the braces of a pattern: "{a,b}/{c,d}" stands for four.
// Braces that are not closed, that hold no comma or that come to too many are
// letters like any other.
func Alternatives(pattern string) []string {
	list := []string{""}
	for pattern != "" {
		open := strings.IndexByte(pattern, '{')
		if open < 0 {
			break
		}
		parts, rest, ok := group(pattern[open+1:])
		if !ok {
			parts, rest = []string{"{"}, pattern[open+1:]
		}
		if len(list)*len(parts) > maxAlternatives {
			break
		}
		next := make([]string, 0, len(list)*len(parts))
		for _, before := range list {
			for _, part := range parts {
				next = append(next, before+pattern[:open]+part)
			}
		}
		list, pattern = next, rest
	}
	for i := range list {
		list[i] += pattern
	}
	return list
}

// group reads what follows an opening brace: the alternatives, with those of
// the braces inside, and the text behind the closing one.
func group(text string) (parts []string, rest string, ok bool) {
	depth, from := 1, 0
	var pieces []string
	for i := 0; i < len(text) && depth > 0; i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth == 0 || depth == 1 && text[i] == ',' {
			pieces, from = append(pieces, text[from:i]), i+1
		}
	}
	// Only what is known to be a group is looked into: once and not again.
	if depth > 0 || len(pieces) < 2 {
		return nil, "", false
	}
	for _, piece := range pieces {
		if parts = append(parts, Alternatives(piece)...); len(parts) > maxAlternatives {
			return nil, "", false
		}
	}
	return parts, text[from:], true
}

// braces takes away the meaning that the matching library gives to braces.
var braces = strings.NewReplacer("{", `\{`, "}", `\}`)

func split(path string) []string {
	return strings.FieldsFunc(filepath.ToSlash(path), func(r rune) bool { return r == '/' })
}

// join is the inverse of split.
func join(segments []string) string {
	return string(filepath.Separator) + filepath.Join(segments...)
}

// Roots are the directories (or files) at which the search begins: the
// literal beginnings of the patterns that take in, without those that lie
// Within another, in the order of the list.
func (ps Patterns) Roots() []string {
	var all, roots []string
	for _, p := range ps {
		if !p.negate {
			all = append(all, join(p.segments[:p.literal]))
		}
	}
	for i, root := range all {
		inside := slices.ContainsFunc(all, func(other string) bool { return other != root && Within(other, root) })
		if !inside && slices.Index(all, root) == i {
			roots = append(roots, root)
		}
	}
	return roots
}

// Within reports whether the path is the directory or lies below it.
func Within(dir, path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator)))
	return ok && (rest == "" || rest[0] == filepath.Separator)
}

// matches reports whether the pattern matches the whole path.
func (p *pattern) matches(path []string) bool {
	// The usual way to match with a star: go on greedily, and come back to
	// the last ** when it does not fit.
	i, j, starI, starJ := 0, 0, -1, 0
	for j < len(path) {
		switch {
		case i < len(p.segments) && p.segments[i] == "**":
			starI, starJ = i, j
			i++
		case i < len(p.segments) && p.matchSegment(i, path[j]):
			i++
			j++
		case starI >= 0:
			starJ++
			i, j = starI+1, starJ
		default:
			return false
		}
	}
	for i < len(p.segments) && p.segments[i] == "**" {
		i++
	}
	return i == len(p.segments)
}

func (p *pattern) matchSegment(i int, name string) bool {
	if i < p.literal {
		return p.segments[i] == name
	}
	ok, err := doublestar.Match(p.segments[i], name)
	return err == nil && ok
}

// reaches reports whether something below the directory may match.
func (p *pattern) reaches(dir []string) bool {
	for i, name := range dir {
		if i >= len(p.segments) {
			return false
		}
		if p.segments[i] == "**" {
			return true
		}
		if !p.matchSegment(i, name) {
			return false
		}
	}
	return len(dir) < len(p.segments)
}

// Excluded reports whether the list takes the path out: the last pattern that
// has anything to say of it leaves out.
func (ps Patterns) Excluded(path string, dir bool) bool {
	segments, out := split(path), false
	for i := range ps {
		p := &ps[i]
		if (dir || !p.dirOnly) && p.matches(segments) {
			out = p.negate
		}
	}
	return out
}

// Ancestor is the directory that all search roots lie in: the only one
// itself, or the nearest above all of them.
func (ps Patterns) Ancestor() string {
	roots := ps.Roots()
	if len(roots) == 0 {
		return join(nil)
	}
	if len(roots) == 1 {
		return roots[0]
	}
	common := split(roots[0])
	for _, root := range roots[1:] {
		other, n := split(root), 0
		for n < min(len(common), len(other)) && common[n] == other[n] {
			n++
		}
		common = common[:n]
	}
	return join(common)
}

// Found is one thing that a list of patterns found.
type Found struct {
	Path string // absolute
	Info fs.FileInfo
}

// Search says how a list of patterns looks through the tree.
type Search struct {
	Descend    bool // a directory that matches stands for all that is in it
	SkipHidden bool // names that begin with a dot are passed over, with what is below
	Links      bool // symbolic links are found as such, and not followed
}

// Glob finds what the patterns match, following symbolic links unless they are
// wanted themselves, each path once, in the order of the search roots and then
// of names. Links to nothing and files that may not be looked at are passed
// over.
func (ps Patterns) Glob(how Search) ([]Found, error) {
	w := walker{ps: ps, how: how}
	for _, root := range ps.Roots() {
		segments := split(root)
		// What lies above the root may already match: a pattern for a
		// directory stands for all that is in it.
		inherited := make([]bool, len(ps))
		for n := 1; n < len(segments); n++ {
			w.inherit(inherited, segments[:n])
		}
		stat := os.Stat
		if how.Links {
			stat = os.Lstat
		}
		info, err := stat(root)
		if err != nil {
			continue
		}
		if err := w.visit(root, segments, fs.FileInfoToDirEntry(info), inherited, nil); err != nil {
			return nil, err
		}
	}
	return w.found, nil
}

type walker struct {
	ps    Patterns
	how   Search
	found []Found
}

// inherit notes which patterns match the directory itself, and so what is
// below it.
func (w *walker) inherit(inherited []bool, path []string) {
	if !w.how.Descend {
		return
	}
	for i := range w.ps {
		inherited[i] = inherited[i] || !w.ps[i].alone && w.ps[i].matches(path)
	}
}

// visit looks at one path. above are the directories on the way, to notice a
// link that leads back to one of them.
func (w *walker) visit(path string, segments []string, e fs.DirEntry, inherited []bool, above []fs.FileInfo) error {
	if w.how.SkipHidden && strings.HasPrefix(filepath.Base(path), ".") {
		return nil
	}
	matched, reached := false, false
	for i := range w.ps {
		p := &w.ps[i]
		if inherited[i] || (e.IsDir() || !p.dirOnly) && p.matches(segments) {
			matched = !p.negate
		}
		reached = reached || !p.negate && (w.how.Descend && inherited[i] || p.reaches(segments))
	}
	if !matched && !e.IsDir() {
		return nil // most files of a tree: they are not even looked at
	}
	info, err := e.Info()
	if err != nil {
		return nil // removed meanwhile
	}
	if matched {
		if len(w.found) == MaxMatches {
			return ErrTooMany
		}
		w.found = append(w.found, Found{path, info})
	}
	if !e.IsDir() || !reached && !(matched && w.how.Descend) {
		return nil
	}
	for _, a := range above {
		if os.SameFile(a, info) {
			return nil
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil // it may not be read: as if it were not there
	}
	below := slices.Clone(inherited)
	w.inherit(below, segments)
	above = append(above, info)
	segments = append(slices.Clip(segments), "")
	for _, e := range entries {
		name := e.Name()
		child := filepath.Join(path, name)
		if e.Type() == fs.ModeSymlink && !w.how.Links {
			info, err := os.Stat(child)
			if err != nil {
				continue
			}
			e = fs.FileInfoToDirEntry(info)
		}
		segments[len(segments)-1] = name
		if err := w.visit(child, segments, e, below, above); err != nil {
			return err
		}
	}
	return nil
}
