package harvest

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// findDepth, findEntries and findFiles limit a search: how deep it goes,
	// how many directories and files it sees, how many reports it finds.
	findDepth   = 12
	findEntries = 200_000
	findFiles   = 1_000
	// findSlack: a file's time comes from a clock that may be behind ours by
	// one tick of the kernel.
	findSlack = 10 * time.Millisecond
)

// notReports are directories in which nobody writes reports, and which are
// large.
var notReports = []string{"node_modules", "bower_components", "site-packages", "__pycache__", "venv", "Pods", "DerivedData"}

// Finder finds the reports that were written in a tree: of tests, coverage, load
// and findings, in all formats. It looks at names first, asks for the time only of files that are
// called as reports are, and opens only those that are new. It does not look
// into hidden directories and those of package managers, and follows no links;
// what it may not read it leaves out.
//
// It is made to be asked after every step of a job: of a directory that has
// not changed it asks for the time and nothing else.
type Finder struct {
	tree    fs.FS
	known   map[string]*directory
	entries int // seen in the search under way
}

// directory is what a Finder remembers of one.
type directory struct {
	changed time.Time // its own time when it was read
	sure    bool      // a later change has a later time
	dirs    []string  // whole paths
	files   []string  // that may be reports
	entries int
}

// NewFinder is a Finder for a tree.
func NewFinder(tree fs.FS) *Finder { return &Finder{tree: tree, known: map[string]*directory{}} }

// Find returns the reports written since a time: slash paths, sorted.
func (f *Finder) Find(since time.Time) []string {
	f.entries = 0
	found := f.find(nil, ".", 0, since.Add(-findSlack))
	slices.Sort(found)
	return found
}

// Find is a [Finder]'s answer to one question.
func Find(tree fs.FS, since time.Time) []string { return NewFinder(tree).Find(since) }

func (f *Finder) find(found []string, name string, depth int, since time.Time) []string {
	d := f.directory(name)
	f.entries += d.entries
	for _, file := range d.files {
		if len(found) >= findFiles {
			return found
		}
		info, err := fs.Lstat(f.tree, file)
		if err == nil && info.Mode().IsRegular() && !info.ModTime().Before(since) && known(f.tree, file) {
			found = append(found, file)
		}
	}
	for _, sub := range d.dirs {
		if depth < findDepth && f.entries < findEntries {
			found = f.find(found, sub, depth+1, since)
		}
	}
	return found
}

// directory is what is in a directory now.
func (f *Finder) directory(name string) *directory {
	info, err := fs.Lstat(f.tree, name)
	if err != nil || !info.IsDir() {
		delete(f.known, name)
		return &directory{}
	}
	if d := f.known[name]; d != nil && d.sure && d.changed.Equal(info.ModTime()) {
		return d
	}
	d := &directory{changed: info.ModTime(), sure: info.ModTime().Before(time.Now().Add(-2 * findSlack))}
	entries, err := fs.ReadDir(f.tree, name)
	if err != nil {
		return d
	}
	d.entries = len(entries)
	for _, e := range entries {
		switch {
		case e.IsDir() && e.Name()[0] != '.' && !slices.Contains(notReports, e.Name()):
			d.dirs = append(d.dirs, path.Join(name, e.Name()))
		case e.Type().IsRegular() && likely(e.Name()):
			d.files = append(d.files, path.Join(name, e.Name()))
		}
	}
	if len(f.known) < findEntries {
		f.known[name] = d
	}
	return d
}

// likely says whether a file may be a report, by its name: any XML file that
// is not known to be something else, and what tools call their reports. What
// its content is, is asked later.
func likely(base string) bool {
	switch base = strings.ToLower(base); base {
	case "pom.xml", "androidmanifest.xml", "web.xml", "phpunit.xml", "checkstyle.xml",
		"package.json", "package-lock.json", "tsconfig.json":
		return false
	}
	for _, end := range []string{path.Ext(base), anyEnd} {
		for _, p := range reportNames()[end] {
			if ok, _ := path.Match(p, base); ok {
				return true
			}
		}
	}
	return false
}

// anyEnd is where the names are that do not say how they end: "*vegeta*".
const anyEnd = "*"

// reportNames is the names of the reports of all formats, by their ends.
var reportNames = sync.OnceValue(func() map[string][]string {
	names := map[string][]string{}
	add := func(p string) {
		end := path.Ext(p)
		if strings.ContainsAny(end, "*?[") {
			end = anyEnd
		}
		if !slices.Contains(names[end], p) {
			names[end] = append(names[end], p)
		}
	}
	for n := range formats {
		for _, p := range formats[n].files {
			add(p)
		}
	}
	for _, p := range measuredNames() {
		add(p)
	}
	return names
})

// known says whether a file begins like a report.
func known(tree fs.FS, name string) bool {
	f, err := tree.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	in := newInput(f, name)
	switch kind, _ := in.kind(); kind {
	case "":
		return false
	case KindTests:
		return !in.format().named
	}
	return true
}

// Among returns those of the files that are reports: slash paths, in the
// order given. It is Find for who knows which files were written.
func Among(tree fs.FS, names []string) (found []string) {
	for _, name := range names {
		dir, base := path.Split(name)
		away := slices.ContainsFunc(strings.Split(dir, "/"), func(d string) bool {
			return strings.HasPrefix(d, ".") || slices.Contains(notReports, d)
		})
		if len(found) < findFiles && !away && likely(base) && known(tree, name) {
			found = append(found, name)
		}
	}
	return found
}

// Since lists the files of a tree that were written since a time, for who knows
// which of them are reports: slash paths, within the limits of [Finder].
func Since(tree fs.FS, since time.Time) (names []string) {
	since = since.Add(-findSlack)
	seen := 0
	_ = fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what may not be read is left out
		}
		if seen++; seen > findEntries {
			return fs.SkipAll
		}
		if e.IsDir() {
			if slices.Contains(notReports, e.Name()) || e.Name() == ".git" || strings.Count(name, "/") >= findDepth {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := e.Info(); err == nil && e.Type().IsRegular() && !info.ModTime().Before(since) {
			names = append(names, name)
		}
		return nil
	})
	return names
}
