package mock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Load reads stubs from files and directories. A directory is WireMock's
// (mappings/ and __files/), or one of files of any of the formats. A stub of
// which something is not supported is left out; the problem says so. The
// error says that something could not be read.
func Load(names ...string) ([]Stub, []plan.Problem, error) {
	l := &loader{}
	for _, name := range names {
		if err := l.load(name); err != nil {
			return nil, nil, err
		}
	}
	return l.stubs, l.problems, nil
}

type loader struct {
	stubs    []Stub
	problems []plan.Problem
	read     int64 // bytes so far
}

func (l *loader) load(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		root, err := os.OpenRoot(filepath.Dir(name))
		if err != nil {
			return err
		}
		defer root.Close()
		return l.file(root, filepath.Dir(name), filepath.Base(name), nil)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	below := "."
	if st, err := root.Stat("mappings"); err == nil && st.IsDir() {
		below = "mappings"
	}
	bodies, err := l.bodies(root)
	if err != nil {
		return err
	}
	if bodies != nil {
		defer bodies.Close()
	}
	before, seen := len(l.stubs), 0
	err = fs.WalkDir(root.FS(), below, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "__files" || p != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case !d.Type().IsRegular() || path.Ext(p) != ".json":
			return nil
		}
		if seen++; seen > maxFiles {
			return fmt.Errorf("%s holds more than %d files", name, maxFiles)
		}
		return l.file(root, name, p, bodies)
	})
	if err == nil && seen == 0 {
		l.problems = append(l.problems, plan.Problem{Source: plan.Source{File: name}, Severity: plan.Error, Rule: rule,
			Message: "the directory holds no .json file", Hint: "name one that WireMock, Hoverfly, Mountebank or `fairlead mock record` wrote"})
	}
	if err == nil && seen > 0 && len(l.stubs) == before && !plan.Errors(l.problems) {
		l.problems = append(l.problems, plan.Problem{Source: plan.Source{File: name}, Severity: plan.Warning, Rule: rule, Message: "the files hold no mappings"})
	}
	return err
}

// bodies is the directory that bodyFileName is below; nil without one.
func (l *loader) bodies(root *os.Root) (*os.Root, error) {
	b, err := root.OpenRoot("__files")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// slurp reads a file, within the limit of all files together.
func (l *loader) slurp(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a plain file", name))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile-l.read+1))
	if l.read += int64(len(b)); err == nil && l.read > maxFile {
		err = fmt.Errorf("the files have more than %d bytes together", int64(maxFile))
	}
	return b, err
}

// file reads one file in whichever format it is.
func (l *loader) file(root *os.Root, dir, name string, bodies *os.Root) error {
	src, err := l.slurp(root, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	if bodies == nil {
		bodies = root // beside the file, as Hoverfly has it
	}
	stubs, problems := Parse(filepath.ToSlash(filepath.Join(dir, name)), src, func(name string) ([]byte, error) { return l.slurp(bodies, name) })
	l.problems = append(l.problems, problems...)
	l.stubs = append(l.stubs, stubs...)
	if len(l.stubs) > maxStubs {
		return fmt.Errorf("there are more than %d stubs", maxStubs)
	}
	return nil
}

// Parse reads the text of one file; open gives it the files of bodies that it
// names, and may be nil.
func Parse(file string, src []byte, open func(name string) ([]byte, error)) (stubs []Stub, problems []plan.Problem) {
	r := &reader{file: file, src: src}
	n := r.parse()
	switch {
	case n == nil:
	case n.kind == '{' && n.get("data") != nil && (n.get("meta") != nil || n.get("data").get("pairs") != nil):
		stubs = (&simulation{reader: r, open: open}).read(n)
	case n.kind == '{' && n.get("imposters") != nil:
		stubs = (&imposters{reader: r}).read(n.get("imposters"))
	case n.kind == '{' && n.get("protocol") != nil && n.get("stubs") != nil:
		stubs = (&imposters{reader: r}).read(n)
	case n.kind == '{' && n.get("mappings") != nil:
		stubs = (&mappings{reader: r, open: open}).read(n.get("mappings"))
	case n.kind == '{' && n.get("request") != nil:
		stubs = (&mappings{reader: r, open: open}).read(n)
	case n.kind == '[' && len(n.items) > 0 && n.items[0].get("request") != nil:
		stubs = (&mappings{reader: r, open: open}).read(n)
	case n.kind == '[' && len(n.items) > 0 && n.items[0].get("protocol") != nil:
		stubs = (&imposters{reader: r}).read(n)
	default:
		r.add(plan.Error, n.start, "this is neither a WireMock mapping, nor a Hoverfly simulation, nor Mountebank imposters",
			"a mapping has request and response, a simulation data and meta, imposters stubs and protocol")
	}
	return slices.Clip(stubs), r.problems
}

// file asks for a file that a stub names.
func (r *reader) body(open func(string) ([]byte, error), n *node) []byte {
	name, ok := r.string(n, "the name of a file")
	if !ok {
		return nil
	}
	if open == nil {
		r.unsupported(n.start, "a file of a body")
		return nil
	}
	b, err := open(path.Clean(name))
	if err != nil {
		r.add(plan.Error, n.start, fmt.Sprintf("the file %q cannot be read: %v", plan.Clip(name), err), "put it below __files, or beside the simulation")
	}
	return b
}

// stub reads one stub and leaves it out if anything in it is wrong.
func (r *reader) stub(n *node, read func(s *Stub)) (s Stub, ok bool) {
	before := r.errors
	s = Stub{Source: r.source(n.start), Priority: defaultPriority}
	read(&s)
	return s, r.errors == before
}
