package jenkins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Fetcher brings another repository at a ref, which may be a branch, a tag or
// a commit. The directory holds a checked-out tree and stays as it is.
type Fetcher interface {
	Fetch(ctx context.Context, repository, ref string) (dir, commit string, err error)
}

// library is a shared library: global functions in vars, classes in src.
type library struct {
	name string
	// texts are those of the pipeline, when it is the tree's own.
	texts map[string]string
	dir   string
}

// maxScript is the size of the largest file of a library.
const maxScript = 1 << 20

// read is a file of the library; false when it has none of that name.
func (l *library) read(name string) (string, bool) {
	if l.texts != nil {
		text, ok := l.texts[name]
		return text, ok
	}
	if !fs.ValidPath(name) {
		return "", false
	}
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return "", false
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxScript {
		return "", false
	}
	text, err := root.ReadFile(name)
	return string(text), err == nil
}

// librarySource is a file of the libraries, parsed; nil when there is none.
func (b *build) librarySource(name string) (*groovy.Script, error) {
	for _, l := range b.libraries {
		text, ok := l.read(name)
		if !ok {
			continue
		}
		key := l.name + ":" + name
		if s, ok := b.loaded[key]; ok {
			return s, nil
		}
		s, problems := b.d.parse(name, text)
		if len(problems) > 0 {
			p := problems[0]
			p.File = l.name + "/" + name
			return nil, &dialect.ProblemError{Problem: p}
		}
		b.loaded[key] = s
		return s, nil
	}
	return nil, nil
}

// global is the script of a global function.
func (b *build) global(name string) (*groovy.Script, error) {
	if strings.ContainsAny(name, "/\\.") {
		return nil, nil
	}
	return b.librarySource("vars/" + name + ".groovy")
}

// sourceClass is the *groovy.Script that declares a class, by its full name,
// or nil.
func (b *build) sourceClass(name string) (any, error) {
	file := "src/" + strings.ReplaceAll(name, ".", "/") + ".groovy"
	s, err := b.librarySource(file)
	if err != nil || s == nil {
		return nil, err
	}
	return s, nil
}

// importLibraries makes the libraries known that the Jenkinsfile names in
// annotations, those that all have, and the tree's own.
func (b *build) importLibraries(t *groovy.Thread, f *frame) error {
	own := &library{name: "tree", texts: map[string]string{}}
	for _, text := range b.scope.Pipeline.Texts {
		if strings.HasPrefix(text.Path, "vars/") || strings.HasPrefix(text.Path, "src/") || strings.HasPrefix(text.Path, "resources/") {
			own.texts[text.Path] = text.Body
		}
	}
	c := &groovy.Call{Thread: t, At: groovy.Position{File: b.script.File, Line: 1, Column: 1}}
	for name, l := range b.said().Libraries {
		if !l.Implicit {
			continue
		}
		if _, err := b.addLibrary(c, f, name); err != nil {
			return err
		}
	}
	for _, a := range libraryAnnotations(b.script) {
		c.At = b.script.At(a.node)
		for _, name := range a.names {
			if _, err := b.addLibrary(c, f, name); err != nil {
				return err
			}
		}
	}
	b.libraries = append(b.libraries, own)
	return nil
}

// annotation is @Library(…) with the names in it.
type annotation struct {
	node  groovy.Node
	names []string
}

// libraryAnnotations are all @Library of a script.
func libraryAnnotations(s *groovy.Script) []annotation {
	var out []annotation
	for _, stmt := range s.Stmts {
		var m *groovy.Modifiers
		switch stmt := stmt.(type) {
		case *groovy.ImportStmt:
			m = &stmt.Modifiers
		case *groovy.VarDecl:
			m = &stmt.Modifiers
		case *groovy.ClassDecl:
			m = &stmt.Modifiers
		case *groovy.MethodDecl:
			m = &stmt.Modifiers
		default:
			continue
		}
		for _, a := range m.Annotations {
			if a.Name != "Library" && !strings.HasSuffix(a.Name, ".Library") {
				continue
			}
			x := annotation{node: a}
			arg := a.Arg
			if arg == nil && a.Named != nil {
				for _, e := range a.Named.Entries {
					if k, ok := e.Key.(*groovy.Literal); ok && (k.Value == "value" || k.Value == "identifier") {
						arg = e.Value
					}
				}
			}
			var items []groovy.Expr
			if list, ok := arg.(*groovy.ListExpr); ok {
				items = list.Items
			} else if arg != nil {
				items = []groovy.Expr{arg}
			}
			for _, e := range items {
				if l, ok := e.(*groovy.Literal); ok {
					if name, ok := l.Value.(string); ok {
						x.names = append(x.names, name)
					}
				}
			}
			out = append(out, x)
		}
	}
	return out
}

// addLibrary makes a library known: name or name@version.
func (b *build) addLibrary(c *groovy.Call, f *frame, identifier string) (*library, error) {
	name, version, _ := strings.Cut(identifier, "@")
	for _, l := range b.libraries {
		if l.name == name {
			return l, nil
		}
	}
	f.sayf("Loading library %s", identifier)
	said, ok := b.said().Libraries[name]
	l := &library{name: name}
	switch {
	case !ok:
		return nil, &dialect.ProblemError{Lacking: true, Problem: unknownLibrary(name, source(c.At))}
	case said.Path != "":
		if l.dir = said.Path; !filepath.IsAbs(l.dir) {
			l.dir = filepath.Join(b.scope.Root, filepath.FromSlash(said.Path))
		}
		if _, err := os.Stat(l.dir); err != nil {
			return nil, &dialect.ProblemError{Lacking: true, Problem: plan.Problem{Source: source(c.At), Severity: plan.Error, Rule: "library",
				Message: fmt.Sprintf("the directory %s of the shared library %s is not there", said.Path, name), Hint: "mend its path in fairlead.yaml (jenkins: libraries)"}}
		}
	default:
		if version == "" {
			version = said.Ref
		}
		if version == "" {
			version = "HEAD"
		}
		if b.d.cfg.Fetch == nil {
			return nil, &dialect.ProblemError{Lacking: true, Problem: unreached(name, said.Repository, version, source(c.At), errors.New("other repositories cannot be fetched here"))}
		}
		var err error
		ctx := f.ctx
		c.Unlocked(func() { l.dir, _, err = b.d.cfg.Fetch.Fetch(ctx, said.Repository, version) })
		if err != nil {
			return nil, &dialect.ProblemError{Lacking: true, Problem: unreached(name, said.Repository, version, source(c.At), err)}
		}
	}
	b.libraries = append(b.libraries, l)
	return l, nil
}

func unknownLibrary(name string, at plan.Source) plan.Problem {
	return plan.Problem{Source: at, Severity: plan.Error, Rule: "library",
		Message: fmt.Sprintf("the pipeline uses the shared library %q, and nothing says where that is", name),
		Hint:    fmt.Sprintf("say it in fairlead.yaml: jenkins: {libraries: [{name: %s, repository: owner/name}]}, or path: for a directory", name)}
}

func unreached(name, repository, version string, at plan.Source, err error) plan.Problem {
	return plan.Problem{Source: at, Severity: plan.Error, Rule: "library",
		Message: fmt.Sprintf("the shared library %s (%s at %s) cannot be had: %v", name, repository, version, err),
		Hint:    "give the library's directory instead: path, in fairlead.yaml (jenkins: libraries)"}
}

// libraryStep is library 'name@version'. Its value leads to the classes of the
// library, by their packages.
func libraryStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "identifier")
	if err != nil {
		return nil, err
	}
	name := a.text("identifier")
	if _, err := b.addLibrary(c, f, name); err != nil {
		return nil, err
	}
	return packageObject{b, ""}, nil
}

// packageObject is a package of a library's classes: library('x').org.acme.Tool.
type packageObject struct {
	b    *build
	path string
}

func (packageObject) ClassName() string {
	return "org.jenkinsci.plugins.workflow.libs.LibraryStep$LoadedClasses"
}
func (packageObject) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (p packageObject) Get(c *groovy.Call) (groovy.Value, error) {
	full := path.Join(p.path, c.Name)
	class, err := p.b.sourceClass(strings.ReplaceAll(full, "/", "."))
	if err != nil {
		return nil, err
	}
	if _, ok := class.(*groovy.Script); ok {
		return classByName(c.Thread, strings.ReplaceAll(full, "/", "."))
	}
	return packageObject{p.b, full}, nil
}

func (p packageObject) Invoke(*groovy.Call) (groovy.Value, error) { return nil, groovy.ErrMissing }

// classByName is a class as a value: what its name means in a script.
func classByName(t *groovy.Thread, name string) (groovy.Value, error) {
	s, problems := groovy.Parse("class", name)
	if len(problems) > 0 || len(s.Stmts) != 1 {
		return nil, groovy.ErrMissing
	}
	e, ok := s.Stmts[0].(*groovy.ExprStmt)
	if !ok {
		return nil, groovy.ErrMissing
	}
	o, err := t.Instance(s)
	if err != nil {
		return nil, err
	}
	return t.Eval(o, e.X, nil)
}

// resource is a file below resources of a library.
func resource(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "resource")
	if err != nil {
		return nil, err
	}
	for _, l := range b.libraries {
		if text, ok := l.read("resources/" + a.text("resource")); ok {
			return text, nil
		}
	}
	return nil, abort(c.Thread, "No such library resource %s could be found.", a.text("resource"))
}
