package gitlab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab/document"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// LockFile keeps what a pipeline includes from elsewhere: what it was, and
// copies of it below [LockDir], so that the pipeline can be read without a
// network and does not change when others change their files.
const (
	LockFile = "fairlead-include.lock"
	LockDir  = ".fairlead/includes"
)

// Limits of the lock file.
const (
	maxLock    = 1 << 20 // bytes
	maxEntries = 1000
)

// Lock is what a LockFile says.
type Lock struct {
	Version  int      `json:"version"`
	Includes []Locked `json:"includes"`
}

// Locked is one file that is included from elsewhere.
type Locked struct {
	Kind   string `json:"kind"`   // project, remote, template
	From   string `json:"from"`   // the project and its ref ("group/ci@v1"), the address, or "templates"
	Path   string `json:"path"`   // of the file there; "" for remote
	Commit string `json:"commit"` // that the ref was; "" when there is none
	Digest string `json:"digest"` // sha256:hex of the file
}

// lockVersion is that of the files that are read and written.
const lockVersion = 1

// copyOf is where the tree keeps a file.
func (l *Locked) copyOf() string {
	return path.Join(LockDir, strings.TrimPrefix(l.Digest, "sha256:")+".yml")
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ReadLock reads the lock file of a tree; nil when there is none.
func ReadLock(tree fs.FS) (*Lock, []plan.Problem) {
	body, err := dialect.ReadFile(tree, LockFile, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	bad := func(why string) (*Lock, []plan.Problem) {
		return nil, []plan.Problem{{Source: plan.Source{File: LockFile, Line: 1}, Severity: plan.Error, Rule: "lock",
			Message: "the lock file of the includes cannot be read: " + why, Hint: "make it anew with fairlead include lock"}}
	}
	l := &Lock{}
	switch {
	case err != nil:
		return bad(err.Error())
	case len(body) > maxLock:
		return bad(fmt.Sprintf("it has more than %d bytes", maxLock))
	}
	if err := json.Unmarshal(body, l); err != nil {
		return bad("it is not the JSON that it should be")
	}
	if l.Version != lockVersion || len(l.Includes) > maxEntries {
		return bad(fmt.Sprintf("it is of version %d with %d entries; version %d with at most %d is known", l.Version, len(l.Includes), lockVersion, maxEntries))
	}
	for i := range l.Includes {
		digest, ok := strings.CutPrefix(l.Includes[i].Digest, "sha256:")
		if sum, err := hex.DecodeString(digest); !ok || err != nil || len(sum) != sha256.Size {
			return bad(fmt.Sprintf("the digest of entry %d is none", i+1))
		}
	}
	return l, nil
}

// find is the entry of a file; nil for none.
func (l *Lock) find(kind, from, file string) *Locked {
	if l == nil {
		return nil
	}
	for i := range l.Includes {
		if e := &l.Includes[i]; e.Kind == kind && e.From == from && e.Path == file {
			return e
		}
	}
	return nil
}

// commitOf is the commit that a project was locked at, "" for none.
func (l *Lock) commitOf(kind, from string) string {
	if l == nil {
		return ""
	}
	for _, e := range l.Includes {
		if e.Kind == kind && e.From == from && e.Commit != "" {
			return e.Commit
		}
	}
	return ""
}

// has reports whether anything of a project was locked.
func (l *Lock) has(kind, from string) bool {
	return l != nil && slices.ContainsFunc(l.Includes, func(e Locked) bool { return e.Kind == kind && e.From == from })
}

// loader brings includes: from the copies that the tree keeps, from mirrors, or
// from where they are.
type loader struct{ c *compiler }

// The kinds of locked files.
const (
	lockProject  = "project"
	lockRemote   = "remote"
	lockTemplate = "template"
)

// templatesAt is where the templates are, as a project.
const templatesAt = "templates"

func fromOf(project, ref string) string { return project + "@" + ref }

// Project implements [document.Loader].
func (l *loader) Project(ctx context.Context, project, ref string) (document.Origin, error) {
	ref = cmp.Or(ref, "HEAD")
	return l.project(ctx, project, ref, func(context.Context, string) (string, error) { return ref, nil })
}

// Component implements [document.Loader].
func (l *loader) Component(ctx context.Context, project, version string) (document.Origin, error) {
	return l.project(ctx, project, version, func(ctx context.Context, address string) (string, error) {
		if !partial.MatchString(version) {
			return version, nil
		}
		t, ok := l.c.d.cfg.Fetch.(tagLister)
		if !ok {
			return "", fmt.Errorf("the versions of %s cannot be listed here", project)
		}
		tags, err := t.Tags(ctx, address)
		if err != nil {
			return "", err
		}
		if slices.Contains(tags, version) {
			return version, nil
		}
		found := newest(tags, strings.TrimPrefix(version, "~latest"))
		switch {
		case found == "" && version == latest:
			return "", fmt.Errorf("%s has no tag that is a version, like 1.2.3", project)
		case found == "":
			return version, nil // a branch, perhaps
		}
		return found, nil
	})
}

// tagLister is a Fetcher that knows the tags of a repository.
type tagLister interface {
	Tags(ctx context.Context, address string) ([]string, error)
}

// latest is the version of a component that is its newest release.
const latest = "~latest"

var (
	// partial is a version of a component that names several.
	partial = regexp.MustCompile(`^(~latest|v?[0-9]+(\.[0-9]+)?)$`)
	// released is a tag that is a version, and no preview of one.
	released = regexp.MustCompile(`^v?([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(\+.*)?$`)
)

// newest is the tag of the highest version that begins with the numbers of start,
// "" for none.
func newest(tags []string, start string) (best string) {
	var wanted []string
	if start != "" {
		wanted = strings.Split(strings.TrimPrefix(start, "v"), ".")
	}
	var at [3]int
	for _, tag := range tags {
		m := released.FindStringSubmatch(tag)
		if m == nil || !slices.Equal(m[1:1+len(wanted)], wanted) {
			continue
		}
		var v [3]int
		for i := range v {
			v[i], _ = strconv.Atoi(m[1+i]) // it is digits
		}
		if best == "" || slices.Compare(v[:], at[:]) > 0 {
			best, at = tag, v
		}
	}
	return best
}

// project opens a project as it is locked, or at the ref that resolve finds.
func (l *loader) project(ctx context.Context, project, ref string, resolve func(ctx context.Context, address string) (string, error)) (document.Origin, error) {
	from := fromOf(project, ref)
	o := document.Origin{Name: from + ":", Project: project, Ref: ref, Commit: l.c.locked.commitOf(lockProject, from)}
	kept := keptFiles{tree: l.c.tree, lock: l.c.locked, kind: lockProject, from: from}
	if l.c.locked.has(lockProject, from) && kept.whole() {
		o.FS = kept
		return o, nil
	}
	if l.c.d.cfg.Fetch == nil {
		return o, errors.New("other projects cannot be had here")
	}
	address, err := l.address(project)
	if err != nil {
		return o, err
	}
	at := o.Commit
	if at == "" {
		if at, err = resolve(ctx, address); err != nil {
			return o, err
		}
		o.Ref = at
	}
	dir, commit, err := l.c.d.cfg.Fetch.Fetch(ctx, address, at)
	if err != nil {
		return o, err
	}
	o.Commit = commit
	root, err := os.OpenRoot(dir)
	if err != nil {
		return o, fmt.Errorf("open the project: %w", err)
	}
	context.AfterFunc(ctx, func() { root.Close() })
	o.FS = checked{FS: root.FS(), files: kept}
	return o, nil
}

// address is where a project is: its mirror, or on the server of the project that
// includes it.
func (l *loader) address(project string) (string, error) {
	for _, m := range l.c.settings.Mirrors {
		if m.Project == project {
			return m.At, nil
		}
	}
	if l.c.change == nil || l.c.change.Server == "" {
		return "", errors.New("it is not known which server has it")
	}
	return strings.TrimSuffix(l.c.change.Server, "/") + "/" + project + ".git", nil
}

// Remote implements [document.Loader].
func (l *loader) Remote(ctx context.Context, url string) ([]byte, error) {
	kept := keptFiles{tree: l.c.tree, lock: l.c.locked, kind: lockRemote, from: url}
	if body, err := kept.read(""); err == nil {
		return body, nil
	}
	if l.c.d.cfg.Get == nil {
		return nil, errors.New("files of other servers cannot be had here")
	}
	body, err := l.c.d.cfg.Get(ctx, url)
	if err != nil {
		return nil, err
	}
	if e := l.c.locked.find(lockRemote, url, ""); e != nil && e.Digest != digestOf(body) {
		return nil, errChanged
	}
	return body, nil
}

var errChanged = errors.New("it is not what " + LockFile + " says it was; look at what changed, then lock it anew")

// Template implements [document.Loader].
func (l *loader) Template(context.Context) (document.Origin, error) {
	o := document.Origin{Name: "template:"}
	kept := keptFiles{tree: l.c.tree, lock: l.c.locked, kind: lockTemplate, from: templatesAt}
	if l.c.locked.has(lockTemplate, templatesAt) && kept.whole() {
		o.FS = kept
		return o, nil
	}
	if l.c.settings.Templates == "" {
		return o, errors.New("GitLab's templates do not come with Fairlead")
	}
	sub, err := fs.Sub(l.c.tree, l.c.settings.Templates)
	o.FS = sub
	return o, err
}

// keptFiles are the copies of one project, as a tree.
type keptFiles struct {
	tree       fs.FS
	lock       *Lock
	kind, from string
}

func (k keptFiles) read(name string) ([]byte, error) {
	e := k.lock.find(k.kind, k.from, name)
	if e == nil {
		return nil, fs.ErrNotExist
	}
	body, err := dialect.ReadFile(k.tree, e.copyOf(), maxText)
	if err != nil {
		return nil, err
	}
	if digestOf(body) != e.Digest {
		return nil, errChanged
	}
	return body, nil
}

// whole reports whether all copies are there.
func (k keptFiles) whole() bool {
	for _, e := range k.lock.Includes {
		if e.Kind == k.kind && e.From == k.from {
			if _, err := fs.Stat(k.tree, e.copyOf()); err != nil {
				return false
			}
		}
	}
	return true
}

// List implements [document.Lister].
func (k keptFiles) List() (names []string) {
	for _, e := range k.lock.Includes {
		if e.Kind == k.kind && e.From == k.from {
			names = append(names, e.Path)
		}
	}
	return names
}

// Open implements [fs.FS].
func (k keptFiles) Open(name string) (fs.File, error) {
	e := k.lock.find(k.kind, k.from, name)
	if e == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if _, err := k.read(name); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return k.tree.Open(e.copyOf())
}

// checked is a project as it was fetched, of which the locked files must be what
// they were.
type checked struct {
	fs.FS
	files keptFiles
}

// Open implements [fs.FS].
func (c checked) Open(name string) (fs.File, error) {
	if e := c.files.lock.find(c.files.kind, c.files.from, name); e != nil {
		body, err := dialect.ReadFile(c.FS, name, maxText)
		if err != nil {
			return nil, err
		}
		if digestOf(body) != e.Digest {
			return nil, &fs.PathError{Op: "open", Path: name, Err: errChanged}
		}
	}
	return c.FS.Open(name)
}

// LockIncludes reads a tree's pipeline and everything it includes, and gives the
// lock file and the copies that pin it: slash paths in the tree and what they
// are to hold. What cannot be had is told of and not locked.
func (d *Dialect) LockIncludes(ctx context.Context, tree fs.FS, change *plan.Change) (map[string][]byte, []plan.Problem, error) {
	fresh := unlocked{tree}
	pipelines, problems, err := d.Compile(ctx, fresh, change)
	if err != nil {
		return nil, problems, err
	}
	lock := Lock{Version: lockVersion, Includes: []Locked{}}
	files := map[string][]byte{}
	for _, p := range pipelines {
		for _, t := range p.Texts {
			e, elsewhere := lockedOf(t)
			if !elsewhere || lock.find(e.Kind, e.From, e.Path) != nil {
				continue
			}
			lock.Includes = append(lock.Includes, e)
			files[e.copyOf()] = []byte(t.Body)
		}
	}
	body, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return nil, problems, fmt.Errorf("write %s: %w", LockFile, err)
	}
	files[LockFile] = append(body, '\n')
	return files, problems, nil
}

// lockedOf is the entry of a text, unless it is the tree's own.
func lockedOf(t plan.Text) (Locked, bool) {
	e := Locked{Commit: t.Commit, Digest: digestOf([]byte(t.Body))}
	switch name := t.Path; {
	case strings.HasSuffix(name, "#"):
		e.Kind, e.From = lockRemote, strings.TrimSuffix(name, "#")
	case strings.HasPrefix(name, "template:"):
		e.Kind, e.From, e.Path = lockTemplate, templatesAt, strings.TrimPrefix(name, "template:")
	default:
		from, file, ok := strings.Cut(name, ":")
		if !ok || !strings.Contains(from, "@") {
			return e, false
		}
		e.Kind, e.From, e.Path = lockProject, from, file
	}
	return e, true
}

// unlocked is a tree without its lock file.
type unlocked struct{ fs.FS }

// Open implements [fs.FS].
func (u unlocked) Open(name string) (fs.File, error) {
	if name == LockFile {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return u.FS.Open(name)
}
