package builtin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxMatches bounds what one list of patterns may find.
const maxMatches = 2_000_000

// patterns is a list of paths as GitHub's actions read it: one pattern a
// line; * ? [class] and ** mean what they do in a shell, braces nothing; a
// line beginning with ! takes out again what earlier lines found; # begins a
// comment; ~ is the home directory. A name that begins with a dot is matched
// like any other.
type patterns []pattern

type pattern struct {
	segments []string // of the absolute path
	literal  int      // so many of them hold no wildcard
	negate   bool
	dirOnly  bool // it ended with a slash
}

// parsePatterns reads the list; absolute makes a path absolute.
func parsePatterns(lines []string, absolute func(string) string) patterns {
	var list patterns
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
		p.segments = split(absolute(line))
		for p.literal < len(p.segments) && !strings.ContainsAny(p.segments[p.literal], `*?[\`) {
			p.literal++
		}
		for i := p.literal; i < len(p.segments); i++ {
			p.segments[i] = braces.Replace(p.segments[i])
		}
		list = append(list, p)
	}
	return list
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

// roots are the directories (or files) at which the search begins: the
// literal beginnings of the patterns that take in, without those that lie
// within another, in the order of the list.
func (ps patterns) roots() []string {
	var all, roots []string
	for _, p := range ps {
		if !p.negate {
			all = append(all, join(p.segments[:p.literal]))
		}
	}
	for i, root := range all {
		inside := slices.ContainsFunc(all, func(other string) bool { return other != root && within(other, root) })
		if !inside && slices.Index(all, root) == i {
			roots = append(roots, root)
		}
	}
	return roots
}

// within reports whether the path is the directory or lies below it.
func within(dir, path string) bool {
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

// found is one thing that a list of patterns found.
type found struct {
	path string // absolute
	info fs.FileInfo
}

// search says how a list of patterns looks through the tree.
type search struct {
	descend    bool // a directory that matches stands for all that is in it
	skipHidden bool // names that begin with a dot are passed over, with what is below
}

// errTooMany is the error of a search that finds more than maxMatches.
var errTooMany = errors.New("the paths match more files than can be handled")

// glob finds what the patterns match, following symbolic links, each path
// once, in the order of the search roots and then of names. Links to nothing
// and files that may not be looked at are passed over.
func (ps patterns) glob(how search) ([]found, error) {
	w := walker{ps: ps, how: how}
	for _, root := range ps.roots() {
		segments := split(root)
		// What lies above the root may already match: a pattern for a
		// directory stands for all that is in it.
		inherited := make([]bool, len(ps))
		for n := 1; n < len(segments); n++ {
			w.inherit(inherited, segments[:n])
		}
		info, err := os.Stat(root)
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
	ps    patterns
	how   search
	found []found
}

// inherit notes which patterns match the directory itself, and so what is
// below it.
func (w *walker) inherit(inherited []bool, path []string) {
	if !w.how.descend {
		return
	}
	for i := range w.ps {
		inherited[i] = inherited[i] || w.ps[i].matches(path)
	}
}

// visit looks at one path. above are the directories on the way, to notice a
// link that leads back to one of them.
func (w *walker) visit(path string, segments []string, e fs.DirEntry, inherited []bool, above []fs.FileInfo) error {
	if w.how.skipHidden && strings.HasPrefix(filepath.Base(path), ".") {
		return nil
	}
	matched, reached := false, false
	for i := range w.ps {
		p := &w.ps[i]
		if inherited[i] || (e.IsDir() || !p.dirOnly) && p.matches(segments) {
			matched = !p.negate
		}
		reached = reached || !p.negate && (w.how.descend && inherited[i] || p.reaches(segments))
	}
	if !matched && !e.IsDir() {
		return nil // most files of a tree: they are not even looked at
	}
	info, err := e.Info()
	if err != nil {
		return nil // removed meanwhile
	}
	if matched {
		if len(w.found) == maxMatches {
			return errTooMany
		}
		w.found = append(w.found, found{path, info})
	}
	if !e.IsDir() || !reached && !(matched && w.how.descend) {
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
		if e.Type() == fs.ModeSymlink {
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
