package document

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxIncludes is how many files one pipeline may include; GitLab's limit.
const maxIncludes = 150

// Origin is where a file comes from, and so where its local includes are.
type Origin struct {
	FS fs.FS
	// Name is put before paths in messages: "" for the tree that is being
	// run, "group/project@ref:" for another project.
	Name    string
	Project string
	Ref     string
	Commit  string
}

// Loader brings what is not in the tree. Its errors say why something cannot
// be had, and are shown to people.
type Loader interface {
	// Project opens a project at a ref, "" for the tip of its default branch.
	Project(ctx context.Context, project, ref string) (Origin, error)
	// Component opens a project at the version of a component: a commit, a tag, a
	// branch, ~latest, or the beginning of a version's number (1, 1.2). The
	// Origin's Ref is the version that it came to.
	Component(ctx context.Context, project, version string) (Origin, error)
	// Remote reads the file at an address.
	Remote(ctx context.Context, url string) ([]byte, error)
	// Template opens the templates that come with GitLab.
	Template(ctx context.Context) (Origin, error)
}

// Options say how a document is loaded.
type Options struct {
	Tree   Origin
	File   string // in the tree
	Loader Loader // nil: nothing can be had
	// Inputs are given to the file; nil for none. InputsAt is where.
	Inputs   *Node
	InputsAt plan.Source
	// Expand puts CI/CD variables into a text.
	Expand func(string) string
	// Admit says whether include:rules let a file in.
	Admit func(rules *Node) (bool, []plan.Problem)
	// Judge decides conditions of spec:inputs:rules.
	Judge Judge
}

// Document is a pipeline's file with all it includes, extends and refers to.
type Document struct {
	Root *Node // nil when the file cannot be read
	Spec *Spec // of the file itself; nil when it has no header
	// Texts are the files it was made from, in the order in which they were
	// needed, under the names that places have.
	Texts []plan.Text
	// Gone are the includes that could not be had.
	Gone     []string
	Problems []plan.Problem
}

// Load reads a file and everything that belongs to it.
func Load(ctx context.Context, o Options) *Document {
	l := &loading{Options: o, reader: &reader{}, ctx: ctx, doc: &Document{}}
	body, err := dialect.ReadFile(o.Tree.FS, o.File, maxFileSize)
	if err != nil {
		l.report(problemAt(plan.Source{File: o.File}, "include", fmt.Sprintf("%s cannot be read: %v", o.File, reason(err)), "check the path"))
		l.doc.Problems = l.problems
		return l.doc
	}
	root, spec := l.file(o.Tree, o.File, body, o.Inputs, o.InputsAt, nil, 0)
	l.doc.Spec = spec
	l.doc.finish(root, l.reader)
	return l.doc
}

// Parsed makes a document of a text that is at hand, such as one that a job has
// made.
func Parsed(ctx context.Context, o Options, body []byte) *Document {
	l := &loading{Options: o, reader: &reader{}, ctx: ctx, doc: &Document{}}
	root, spec := l.file(o.Tree, o.File, body, o.Inputs, o.InputsAt, nil, 0)
	l.doc.Spec = spec
	l.doc.finish(root, l.reader)
	return l.doc
}

// Include makes a document of includes alone, as the trigger of a child
// pipeline names them.
func Include(ctx context.Context, o Options, includes *Node) *Document {
	l := &loading{Options: o, reader: &reader{}, ctx: ctx, doc: &Document{}}
	root := l.includes(o.Tree, includes, 0)
	l.doc.finish(root, l.reader)
	return l.doc
}

// finish follows what can be followed only in the whole.
func (d *Document) finish(root *Node, r *reader) {
	if root != nil {
		l := &linker{reader: r, root: root, gone: len(d.Gone) > 0, extended: map[string]*Node{}, resolved: map[*Node]*Node{}, targets: map[string]*Node{}}
		d.Root = l.link()
	}
	d.Problems = r.problems
	slices.SortStableFunc(d.Problems, func(a, b plan.Problem) int { return Compare(a.Source, b.Source) })
	d.Problems = slices.Compact(d.Problems)
}

// loading is one document being loaded.
type loading struct {
	Options
	*reader
	ctx   context.Context
	doc   *Document
	count int
}

// reason is why a file could not be read, without its path.
func reason(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no such file")
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// file is the tree of one file, with its includes below it.
func (l *loading) file(o Origin, name string, body []byte, given *Node, at plan.Source, component map[string]string, depth int) (*Node, *Spec) {
	shown := o.Name + name
	if !slices.ContainsFunc(l.doc.Texts, func(t plan.Text) bool { return t.Path == shown }) {
		l.doc.Texts = append(l.doc.Texts, plan.Text{Path: shown, Commit: o.Commit, Body: string(body)})
	}
	header, root, problems := Parse(shown, body)
	l.add(problems)
	if root == nil {
		return nil, nil
	}
	spec, problems := ReadSpec(header)
	l.add(problems)
	values, problems := spec.Take(given, at, l.Judge)
	l.add(problems)
	if spec != nil && !plan.Errors(problems) {
		v := Values{Inputs: values, Component: map[string]string{}, Expand: l.Expand}
		for _, name := range spec.Component {
			v.Component[name] = component[name]
		}
		root, problems = Interpolate(root, v)
		l.add(problems)
	}
	if inc := root.Get("include"); inc != nil {
		own := newMapping(slices.DeleteFunc(slices.Clone(root.Fields), func(f Field) bool { return f.Key == "include" }), root.Source)
		root = Merge(l.includes(o, inc, depth), own)
	}
	return root, spec
}

func (l *loading) add(problems []plan.Problem) {
	for i := range problems {
		l.report(&problems[i])
	}
}

// includes are the trees of all that is included, merged in order; nil for
// none.
func (l *loading) includes(o Origin, n *Node, depth int) *Node {
	entries := []*Node{n}
	if n.Kind == Sequence {
		entries = flatten(n, 0)
	}
	var merged *Node
	for _, e := range entries {
		if l.ctx.Err() != nil {
			return merged
		}
		for _, part := range l.entry(o, e, depth) {
			merged = Merge(merged, part)
		}
	}
	return merged
}

// flatten are the items of a list, and of the lists in it.
func flatten(n *Node, depth int) (items []*Node) {
	for _, item := range n.Items {
		if item.Kind == Sequence && depth < maxDepth {
			items = append(items, flatten(item, depth+1)...)
			continue
		}
		items = append(items, item)
	}
	return items
}

// includeKeys are the keys of an entry of include:.
var includeKeys = []string{"local", "file", "project", "ref", "remote", "template", "component", "artifact", "job", "rules", "inputs", "integrity", "cache"}

// entry are the trees of one entry, which may name several files.
func (l *loading) entry(o Origin, n *Node, depth int) []*Node {
	if text, ok := n.Text(); ok {
		if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") {
			return l.remote(n, n, nil, depth)
		}
		return l.local(o, n, nil, depth)
	}
	if n.Kind == Reference {
		l.report(problemAt(n.Source, "include", "include: is read before !reference is followed", "write the include out"))
		return nil
	}
	if n.Kind != Mapping {
		if !n.IsNull() {
			l.report(problemAt(n.Source, "type", "an include is a path, an address or a mapping, and this is "+n.Shape(), "write local: and the path"))
		}
		return nil
	}
	for _, f := range n.Fields {
		if !slices.Contains(includeKeys, f.Key) {
			l.report(problemAt(f.Source, "key", "an include has no key "+plan.Clip(f.Key), meant(f.Key, includeKeys...)))
		}
	}
	if rules := n.Get("rules"); !rules.IsNull() && l.Admit != nil {
		in, problems := l.Admit(rules)
		l.add(problems)
		if !in {
			return nil
		}
	}
	given := n.Get("inputs")
	kinds := 0
	for _, kind := range []string{"local", "remote", "template", "component", "project", "artifact"} {
		if n.Get(kind) != nil {
			kinds++
		}
	}
	if kinds != 1 {
		l.report(problemAt(n.Source, "include", "an include needs exactly one of local, project, remote, template and component", "split it into entries of their own"))
		return nil
	}
	if c := n.Get("cache"); c != nil && n.Get("remote") == nil {
		l.report(problemAt(c.Source, "key", "cache is for include:remote only", "remove it"))
	}
	switch {
	case n.Get("local") != nil:
		return l.local(o, n.Get("local"), given, depth)
	case n.Get("remote") != nil:
		return l.remote(n.Get("remote"), n, given, depth)
	case n.Get("template") != nil:
		return l.template(n.Get("template"), given, depth)
	case n.Get("component") != nil:
		return l.component(o, n.Get("component"), given, depth)
	case n.Get("project") != nil:
		return l.project(n, given, depth)
	}
	l.report(problemAt(n.Source, "include", "include:artifact is for the trigger of a child pipeline only", "put it below trigger: of a job"))
	return nil
}

// text is what a key of an include says, with variables put in.
func (l *loading) text(n *Node, what string) (string, bool) {
	text, ok := n.Text()
	if !ok || text == "" {
		l.report(problemAt(n.Source, "include", fmt.Sprintf("%s must be a text, and is %s", what, n.Shape()), ""))
		return "", false
	}
	if l.Expand != nil {
		text = l.Expand(text)
	}
	return text, true
}

// gone tells of an include that cannot be had: the rest goes on without it.
func (l *loading) gone(at plan.Source, name string, err error, hint string) []*Node {
	l.doc.Gone = append(l.doc.Gone, name)
	l.warn(at, "include", fmt.Sprintf("the include %s cannot be had: %v; the jobs that are known run without it", plan.Clip(name), err), hint)
	return nil
}

// admit counts an include.
func (l *loading) admit(at plan.Source) bool {
	if l.count++; l.count == maxIncludes+1 {
		l.report(problemAt(at, "limit", fmt.Sprintf("more than %d files are included, or they include one another in a circle", maxIncludes), "remove the include that closes the circle"))
	}
	return l.count <= maxIncludes
}

// read is the tree of one file of an origin.
func (l *loading) read(o Origin, at plan.Source, name string, given *Node, depth int) []*Node {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if !fs.ValidPath(clean) || clean == "." {
		l.report(problemAt(at, "include", fmt.Sprintf("the path %s leads out of the repository", plan.Clip(name)), "write it from the root of the repository"))
		return nil
	}
	if !l.admit(at) {
		return nil
	}
	body, err := dialect.ReadFile(o.FS, clean, maxFileSize)
	if err != nil {
		if o.Name != "" { // what was had of another project may be a part of it
			return l.gone(at, o.Name+clean, reason(err), "check the path and the ref")
		}
		l.doc.Gone = append(l.doc.Gone, clean)
		l.report(problemAt(at, "include", fmt.Sprintf("the included file %s cannot be read: %v", plan.Clip(clean), reason(err)), "check the path; it is read from the root of the repository"))
		return nil
	}
	root, _ := l.file(o, clean, body, given, at, nil, depth+1)
	if root == nil {
		return nil
	}
	return []*Node{root}
}

func (l *loading) local(o Origin, n, given *Node, depth int) (trees []*Node) {
	name, ok := l.text(n, "local")
	if !ok {
		return nil
	}
	if !strings.Contains(name, "*") {
		if ext := path.Ext(name); ext != ".yml" && ext != ".yaml" {
			l.report(problemAt(n.Source, "include", fmt.Sprintf("%s does not end in .yml or .yaml, and cannot be included", plan.Clip(name)), "rename the file"))
			return nil
		}
		return l.read(o, n.Source, name, given, depth)
	}
	files, err := globFiles(o.FS, strings.TrimLeft(name, "/"))
	if err != nil {
		l.report(problemAt(n.Source, "include", fmt.Sprintf("the files of %s cannot be listed: %v", plan.Clip(name), err), ""))
		return nil
	}
	if len(files) == 0 {
		l.report(problemAt(n.Source, "include", fmt.Sprintf("no file matches %s", plan.Clip(name)), "** stands for any directories, * for any part of a name"))
	}
	for _, f := range files {
		trees = append(trees, l.read(o, n.Source, f, given, depth)...)
	}
	return trees
}

// Lister is a tree that has files and no directories.
type Lister interface {
	// List names the files, slash paths.
	List() []string
}

// globFiles are the YAML files of a tree that a pattern of an include matches.
func globFiles(tree fs.FS, pattern string) (files []string, err error) {
	form, err := includeGlob(pattern)
	if err != nil {
		return nil, err
	}
	if l, ok := tree.(Lister); ok {
		for _, name := range l.List() {
			if form.MatchString(name) {
				files = append(files, name)
			}
		}
		slices.Sort(files)
		return files, nil
	}
	dir := path.Dir(pattern[:strings.IndexByte(pattern, '*')] + "x")
	if !fs.ValidPath(dir) {
		return nil, nil
	}
	err = fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			if name == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(name); (ext == ".yml" || ext == ".yaml") && form.MatchString(name) {
			files = append(files, name)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// includeGlob is a pattern of include:local: * stands for any part of a name, **
// for any part of a path, **/ for any directories.
func includeGlob(pattern string) (*regexp.Regexp, error) {
	var form strings.Builder
	form.WriteString("^")
	for pattern != "" {
		switch {
		case strings.HasPrefix(pattern, "**/"):
			form.WriteString("(?:.*/)?")
			pattern = pattern[3:]
		case strings.HasPrefix(pattern, "**"):
			form.WriteString(".*")
			pattern = strings.TrimLeft(pattern, "*")
		case pattern[0] == '*':
			form.WriteString("[^/]*")
			pattern = pattern[1:]
		default:
			n := strings.IndexByte(pattern, '*')
			if n < 0 {
				n = len(pattern)
			}
			form.WriteString(regexp.QuoteMeta(pattern[:n]))
			pattern = pattern[n:]
		}
	}
	form.WriteString("$")
	return regexp.Compile(form.String())
}

const mirrorHint = "give a clone of it as a mirror (gitlab: mirrors: in fairlead.yaml), or keep it with the tree: fairlead include lock"

// IsProject reports whether a text can be the path of a project: group/name, or
// something with a variable in it.
func IsProject(text string) bool {
	i := strings.IndexByte(text, '/')
	return strings.Contains(text, "$") || i > 0 && i < len(text)-1 && !strings.HasSuffix(text, "/") && !strings.ContainsAny(text, " \t\n#")
}

func (l *loading) project(n, given *Node, depth int) (trees []*Node) {
	name, ok := l.text(n.Get("project"), "project")
	if !ok {
		return nil
	}
	if !IsProject(name) {
		l.report(problemAt(n.Get("project").Source, "include", fmt.Sprintf("%s is no path of a project", plan.Clip(name)), "write group/name, with all its groups"))
		return nil
	}
	ref := ""
	if r := n.Get("ref"); !r.IsNull() {
		if ref, ok = l.text(r, "ref"); !ok {
			return nil
		}
	}
	file := n.Get("file")
	files := []*Node{file}
	if file != nil && file.Kind == Sequence {
		files = file.Items
	}
	if file.IsNull() || len(files) == 0 {
		l.report(problemAt(n.Source, "include", "include:project needs file:", "name the file in that project"))
		return nil
	}
	o, err := l.open(name, ref)
	for _, f := range files {
		p, ok := l.text(f, "file")
		if !ok {
			continue
		}
		if err != nil {
			l.gone(f.Source, strings.TrimSuffix(name+"@"+ref, "@")+":"+p, err, mirrorHint)
			continue
		}
		trees = append(trees, l.read(o, f.Source, p, given, depth)...)
	}
	return trees
}

var errNoLoader = errors.New("other projects cannot be had here")

func (l *loading) open(project, ref string) (Origin, error) {
	if project == l.Tree.Project && (ref == "" || ref == l.Tree.Ref || ref == l.Tree.Commit) && project != "" {
		return l.Tree, nil
	}
	if l.Loader == nil {
		return Origin{}, errNoLoader
	}
	return l.Loader.Project(l.ctx, project, ref)
}

func (l *loading) remote(n, entry, given *Node, depth int) []*Node {
	url, ok := l.text(n, "remote")
	if !ok {
		return nil
	}
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		l.report(problemAt(n.Source, "include", fmt.Sprintf("%s is no address of a file", plan.Clip(url)), "it must begin with https://"))
		return nil
	}
	if !l.admit(n.Source) {
		return nil
	}
	var body []byte
	err := errNoLoader
	if l.Loader != nil {
		body, err = l.Loader.Remote(l.ctx, url)
	}
	if err != nil {
		return l.gone(n.Source, url, err, "keep a copy of it with the tree: fairlead include lock")
	}
	if want, ok := entry.Get("integrity").Text(); ok {
		if p := integrity(body, want, entry.Get("integrity").Source); p != nil {
			l.report(p)
			return nil
		}
	}
	root, _ := l.file(Origin{FS: Nowhere{}, Name: url + "#"}, "", body, given, n.Source, nil, depth+1)
	if root == nil {
		return nil
	}
	return []*Node{root}
}

// Nowhere is a tree without files: what a remote file calls local is there.
type Nowhere struct{}

// Open implements [fs.FS].
func (Nowhere) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (l *loading) template(n, given *Node, depth int) []*Node {
	name, ok := l.text(n, "template")
	if !ok {
		return nil
	}
	err := errNoLoader
	var o Origin
	if l.Loader != nil {
		o, err = l.Loader.Template(l.ctx)
	}
	if err != nil {
		return l.gone(n.Source, "template "+name, err, "give a directory with GitLab's templates (gitlab: templates: in fairlead.yaml), or keep it with the tree: fairlead include lock")
	}
	return l.read(o, n.Source, name, given, depth)
}

// component reads host/group/project/name@version.
func (l *loading) component(o Origin, n, given *Node, depth int) []*Node {
	ref, ok := l.text(n, "component")
	if !ok {
		return nil
	}
	address, version, ok := strings.Cut(ref, "@")
	parts := strings.Split(address, "/")
	if !ok || version == "" || len(parts) < 3 || slices.Contains(parts, "") {
		l.report(problemAt(n.Source, "include", fmt.Sprintf("%s is not HOST/PROJECT/NAME@VERSION", plan.Clip(ref)), "write it like gitlab.com/components/sast/sast@1.0"))
		return nil
	}
	project, name := strings.Join(parts[1:len(parts)-1], "/"), parts[len(parts)-1]
	if !l.admit(n.Source) {
		return nil
	}
	from := o
	if project != o.Project || o.Name != "" && version != o.Ref && version != o.Commit {
		err := errNoLoader
		if l.Loader != nil {
			from, err = l.Loader.Component(l.ctx, project, version)
		}
		if err != nil {
			return l.gone(n.Source, ref, err, mirrorHint)
		}
	}
	var body []byte
	var err error
	file := ""
	for _, file = range []string{"templates/" + name + ".yml", "templates/" + name + "/template.yml"} {
		if body, err = dialect.ReadFile(from.FS, file, maxFileSize); err == nil {
			break
		}
	}
	if err != nil {
		return l.gone(n.Source, ref, fmt.Errorf("%s has neither templates/%s.yml nor templates/%s/template.yml", project, name, name), "check the name and the version")
	}
	facts := map[string]string{"name": name, "version": cmp.Or(from.Ref, version), "reference": version, "sha": from.Commit}
	root, _ := l.file(from, file, body, given, n.Source, facts, depth+1)
	if root == nil {
		return nil
	}
	return []*Node{root}
}
