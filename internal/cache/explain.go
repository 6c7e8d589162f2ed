package cache

import (
	"encoding/hex"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// explain says what has become of an input that does not hold.
func (c *comparison) explain(in *record.Input) *record.Miss {
	name := c.view.name(in.Path)
	m := &record.Miss{Path: name}
	if below(in.Path, c.view.dirs.Workspace) && (name == ".git" || strings.HasPrefix(name, ".git/")) {
		defer func() { m.Why = c.git(strings.TrimPrefix(name, ".git/"), m.Why) }()
	}
	if in.Use == record.UseListed {
		c.explainNames(in, name, m)
		return m
	}
	h := c.view.at(in.Path)
	err := c.view.find(&h)
	m.Old, m.New = words(&in.FileState), words(h.state())
	if err != nil {
		m.Why, m.New = fmt.Sprintf("%s cannot be read: %v", name, err), "unknown"
		return m
	}
	was := in.Kind
	switch in.Use {
	case record.UseAbsent:
		m.Old = "nothing"
		m.Why = name + " is there now, and was looked for in vain"
		return m
	case record.UseDir:
		was, m.Old = record.Directory, "a directory"
	case record.UseLink:
		was, m.Old = record.Symlink, "a link ("+short(in.Digest)+")"
	}
	switch {
	case h.kind == unreadable:
		m.Why, m.New = name+" cannot be looked at", "unknown"
	case h.kind == record.Nothing:
		m.Why = name + " is gone"
	case h.kind != was:
		m.Why = fmt.Sprintf("%s is %s now, and was %s", name, article(h.kind), article(was))
	case was == record.Symlink:
		m.Why = name + " leads elsewhere"
	case (in.Use == record.UseKind || h.digest == in.Digest) && h.perm != in.Perm:
		m.Why, m.Old, m.New = "the mode of "+name+" has changed", fmt.Sprintf("%04o", in.Perm), fmt.Sprintf("%04o", h.perm)
	case c.view.area(in.Path) == outside && in.Use == record.UseExists:
		m.Why, m.Old, m.New = name+" has changed", stat(in.Size, in.MTime), stat(h.size, h.mtime)
	default:
		m.Why = name + " has changed"
	}
	return m
}

// state is what is held as a record would have it.
func (h *held) state() *record.FileState {
	return &record.FileState{Kind: h.kind, Perm: h.perm, Size: h.size, MTime: h.mtime, Digest: h.digest}
}

// words are a few for what a path holds.
func words(s *record.FileState) string {
	switch s.Kind {
	case record.Nothing:
		return "nothing"
	case record.Regular:
		return short(s.Digest)
	case record.Symlink:
		return "a link (" + short(s.Digest) + ")"
	}
	return article(s.Kind)
}

func article(k record.FileKind) string {
	switch k {
	case record.Nothing:
		return "nothing"
	case record.Regular:
		return "a file"
	case record.Directory:
		return "a directory"
	case record.Symlink:
		return "a link"
	}
	return "something else"
}

func stat(size, mtime int64) string {
	return fmt.Sprintf("%d bytes of %s", size, time.Unix(0, mtime).UTC().Format("2006-01-02 15:04:05"))
}

// short is the beginning of a digest, for people.
func short(d [32]byte) string { return hex.EncodeToString(d[:6]) }

// maxGuesses is up to how many names it is tried to find out which one is new.
const maxGuesses = 1000

// explainNames says how the names in a directory have changed. Only their
// digest is known of before; but leaving out the new one, or adding one that
// the step used by itself, gives the digest again.
func (c *comparison) explainNames(in *record.Input, name string, m *record.Miss) {
	dir := name + "/"
	if in.Path == c.view.dirs.Workspace {
		dir = "the top directory"
	}
	now, err := c.names(in.Path)
	if err != nil {
		m.Why, m.Old, m.New = dir+" can be listed no more", short(in.Digest), "nothing"
		return
	}
	m.Why, m.Old, m.New = "the names in "+dir+" have changed", short(in.Digest), short(record.Listing(now))
	slices.SortFunc(now, func(a, b record.Entry) int { return strings.Compare(a.Name, b.Name) })
	if len(now) <= maxGuesses {
		rest := make([]record.Entry, 0, len(now))
		for i, e := range now {
			rest = append(append(rest[:0], now[:i]...), now[i+1:]...)
			if record.Listing(rest) == in.Digest {
				m.Why, m.Old, m.New = fmt.Sprintf("%s was added to %s: %s", article(e.Kind), dir, e.Name), "nothing", e.Name
				return
			}
		}
	}
	var gone []record.Entry
	for i := range c.record.Inputs {
		was := &c.record.Inputs[i]
		if filepath.Dir(was.Path) != in.Path || was.Kind == record.Nothing || len(gone) == maxGuesses {
			continue
		}
		e := record.Entry{Name: path.Base(was.Path), Kind: was.Kind}
		_, there := slices.BinarySearchFunc(now, e.Name, func(e record.Entry, name string) int { return strings.Compare(e.Name, name) })
		if !there && !slices.Contains(gone, e) {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		if record.Listing(append(slices.Clone(now), e)) == in.Digest {
			m.Why, m.Old, m.New = fmt.Sprintf("%s was removed from %s: %s", article(e.Kind), dir, e.Name), e.Name, "nothing"
			return
		}
	}
}

// withoutGit are tools that ask git for what they write into their results,
// and how they do without.
var withoutGit = []struct{ program, hint string }{
	{"go", "-buildvcs=false lets `go build` do without"},
	{"python", "a version given by SETUPTOOLS_SCM_PRETEND_VERSION lets setuptools-scm do without"},
	{"cargo", "a version given as a variable lets build scripts do without"},
	{"mvn", "-Dmaven.gitcommitid.skip=true lets git-commit-id do without"},
	{"git", "what it asks git for can be given to it as a variable, in a step that needs nothing else"},
}

// git says what reading .git means: files there are others with each commit.
func (c *comparison) git(file, why string) string {
	switch top, _, _ := strings.Cut(file, "/"); top {
	case "HEAD", "ORIG_HEAD", "FETCH_HEAD", "refs", "packed-refs", "reftable", "index", "logs", "objects", "shallow", ".git":
	default:
		return why // hooks, config, attributes: they do not come with commits
	}
	text := fmt.Sprintf("it reads .git (%s), so it is made anew for each commit", file)
	for _, tool := range withoutGit {
		if slices.ContainsFunc(c.record.Programs, func(p string) bool {
			name := path.Base(p)
			return name == tool.program || tool.program == "python" && strings.HasPrefix(name, "python")
		}) {
			return text + "; " + tool.hint
		}
	}
	return text
}
