// Package dataset keeps the files that tests need and a repository should not
// hold: big ones, generated ones, ones from elsewhere.
//
// A set is some files under a name. Its bytes lie in a blob store, each file
// under its digest, and a list of them (the manifest) under its own: so the
// digest of the manifest is the digest of the whole set, and who has it can
// prove every byte. What a checkout names is one small file in the repository:
//
//	fairlead.data.json ──► pin: name, version, digest, size
//	                               └─► manifest ──► file, file, file   (blobs)
//
// so the data change with the commit, old commits name old data, and a branch
// may have its own. [Shelf.Get] puts a set into the tree as a whole or not at
// all: everything is written beside its place and checked before anything is
// moved.
package dataset

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Name is the file of pins, at the root of the tree.
const Name = "fairlead.data.json"

// Limits of what is read.
const (
	maxPins     = 4 << 20   // bytes of the file of pins
	maxSets     = 10_000    // pins in it
	maxManifest = 256 << 20 // bytes of a manifest
	maxFiles    = 500_000   // in a set
	maxPath     = 4096      // bytes of a path
)

// rule is the name of all problems with the file of pins.
const rule = "data"

// Pin names exactly the bytes of a set.
type Pin struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Digest  blob.Digest `json:"digest"` // of the manifest, and so of the whole
	Size    int64       `json:"size"`   // bytes of all files together
	Files   int         `json:"files"`
}

// Title is name@version.
func (p Pin) Title() string { return p.Name + "@" + p.Version }

// File is a file of a set.
type File struct {
	Path   string      `json:"path"` // slash path below the root of the tree
	Exec   bool        `json:"exec,omitempty"`
	Size   int64       `json:"size"`
	Digest blob.Digest `json:"digest"`
}

// manifest is the list of a set's files.
type manifest struct {
	Schema int      `json:"schema"`
	Roots  []string `json:"roots"` // what was added: files, or directories as a whole
	Files  []File   `json:"files"` // sorted by path
}

// Error is what the user asked for and cannot have.
type Error struct{ Message, Hint string }

func (e *Error) Error() string { return e.Message }

func refuse(hint, format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Shelf is the sets of a tree.
type Shelf struct {
	Root  string // of the tree
	Blobs blob.Store
}

// filer is a store that takes and gives files without passing on their bytes,
// where the file system can share them.
type filer interface {
	PutFile(ctx context.Context, f *os.File) (blob.Digest, int64, error)
	CopyTo(ctx context.Context, d blob.Digest, dst *os.File) (int64, error)
}

// Pins are the sets that the tree names, sorted by name, the versions of one
// in the order in which they were added: the last counts. Problems say what is
// wrong with the file; a tree without one has none.
func (s *Shelf) Pins() ([]Pin, []plan.Problem, error) {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	f, err := root.Open(Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxPins+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", Name, err)
	}
	pins, problems := Parse(src)
	return pins, problems, nil
}

// Parse reads the text of a file of pins. With a problem there are no pins.
func Parse(src []byte) ([]Pin, []plan.Problem) {
	bad := func(at int64, hint, format string, args ...any) ([]Pin, []plan.Problem) {
		at = min(max(at, 0), int64(len(src)))
		before := src[:at]
		line := bytes.Count(before, []byte("\n")) + 1
		return nil, []plan.Problem{{
			Source:   plan.Source{File: Name, Line: line, Col: len(before) - bytes.LastIndexByte(before, '\n')},
			Severity: plan.Error, Rule: rule, Message: fmt.Sprintf(format, args...), Hint: hint,
		}}
	}
	const restore = "restore the file from the repository's history, or remove it and add the sets again"
	if len(src) > maxPins {
		return bad(0, restore, "the file has more than %d bytes", maxPins)
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.DisallowUnknownFields()
	var doc struct {
		Schema int               `json:"schema"`
		Sets   []json.RawMessage `json:"sets"`
	}
	if err := d.Decode(&doc); err != nil {
		hint := restore
		if bytes.Contains(src, []byte("<<<<<<<")) {
			hint = "it holds the marks of a merge: keep one of the two entries"
		}
		return bad(d.InputOffset(), hint, "this is no list of data sets: %v", err)
	}
	if doc.Schema != 1 || len(doc.Sets) > maxSets {
		return bad(0, "use a newer Fairlead", "schema %d is not known here, or there are more than %d sets", doc.Schema, maxSets)
	}
	var pins []Pin
	at := 0
	for _, raw := range doc.Sets {
		at += max(bytes.Index(src[at:], raw), 0)
		var p Pin
		one := json.NewDecoder(bytes.NewReader(raw))
		one.DisallowUnknownFields()
		switch err := one.Decode(&p); {
		case err != nil:
			return bad(int64(at), restore, "this is no data set: %v", err)
		case checkName(p.Name) != nil || checkName(p.Version) != nil:
			return bad(int64(at), "names have letters, digits, and . _ - between them", "the name %q or the version %q cannot be one", plan.Clip(p.Name), plan.Clip(p.Version))
		case !p.Digest.Valid() || p.Size < 0 || p.Files < 0:
			return bad(int64(at), restore, "%s has no digest and size that can be right", plan.Clip(p.Title()))
		case slices.ContainsFunc(pins, func(q Pin) bool { return q.Title() == p.Title() }):
			return bad(int64(at), "keep one of the two", "%s is there twice", plan.Clip(p.Title()))
		}
		pins = append(pins, p)
		at += len(raw)
	}
	return pins, nil
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) || strings.Contains(name, "..") {
		return refuse("use letters, digits, and . _ - between them, such as customers-2026", "%q cannot be a name or a version", plan.Clip(name))
	}
	return nil
}

// save writes the file of pins, as a whole.
func (s *Shelf) save(pins []Pin) error {
	slices.SortStableFunc(pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString("{\"schema\": 1, \"sets\": [")
	for i, p := range pins { // a line each, so that changes merge
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n  ")
		b.Write(text)
	}
	b.WriteString("\n]}\n")
	f, err := os.CreateTemp(s.Root, ".fairlead-data-")
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.Root, Name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", Name, err), os.Remove(f.Name()))
	}
	return nil
}

// pins are the pins of a file that has no problem.
func (s *Shelf) pins() ([]Pin, error) {
	pins, problems, err := s.Pins()
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, refuse(problems[0].Hint, "%s: %s", problems[0].Source, problems[0].Message)
	}
	return pins, nil
}

// Find is the pin that NAME or NAME@VERSION names: without a version, the one
// that was added last.
func (s *Shelf) Find(title string) (Pin, error) {
	pins, err := s.pins()
	if err != nil {
		return Pin{}, err
	}
	name, version, _ := strings.Cut(title, "@")
	var names, known []string
	for _, p := range slices.Backward(pins) {
		if p.Name == name && (version == "" || p.Version == version) {
			return p, nil
		}
		names, known = append(names, p.Title()), append(known, p.Name, p.Title())
	}
	hint := "`fairlead data add NAME PATH` makes one"
	if near := plan.Nearest(title, known); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(names) > 0 {
		slices.Reverse(names)
		hint = "there are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return Pin{}, refuse(hint, "%s names no data set %q", Name, plan.Clip(title))
}

// Add keeps the files and directories at the paths, which lie in the tree, as a
// version of a set. With no version given, it is the beginning of the digest,
// and the same bytes under the same name are the same version; a version that
// is there already cannot come to mean other bytes.
func (s *Shelf) Add(ctx context.Context, name, version string, paths []string) (Pin, error) {
	if err := checkName(name); err != nil {
		return Pin{}, err
	}
	pins, err := s.pins()
	if err != nil {
		return Pin{}, err
	}
	m, err := s.take(ctx, paths)
	if err != nil {
		return Pin{}, err
	}
	p := Pin{Name: name, Files: len(m.Files)}
	for _, f := range m.Files {
		p.Size += f.Size
	}
	text, err := json.Marshal(m)
	if err != nil {
		return Pin{}, err
	}
	if p.Digest, _, err = s.Blobs.Put(ctx, bytes.NewReader(text)); err != nil {
		return Pin{}, fmt.Errorf("keep the list of files: %w", err)
	}
	p.Version = cmp.Or(version, p.Digest.Hex()[:12])
	if err := checkName(p.Version); err != nil {
		return Pin{}, err
	}
	i := slices.IndexFunc(pins, func(q Pin) bool { return q.Title() == p.Title() })
	switch {
	case i >= 0 && pins[i].Digest != p.Digest:
		return Pin{}, refuse("give the new bytes another --version, or remove the old one first", "%s is there already, with other bytes", p.Title())
	case i >= 0:
		pins = slices.Delete(pins, i, i+1) // it becomes the last, which counts
	case len(pins) == maxSets:
		return Pin{}, refuse("remove some", "there are %d sets already", maxSets)
	}
	return p, s.save(append(pins, p))
}

// take puts the files at the paths into the store.
func (s *Shelf) take(ctx context.Context, paths []string) (*manifest, error) {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m := &manifest{Schema: 1}
	for _, p := range paths {
		rel, err := s.inside(p)
		if err != nil {
			return nil, err
		}
		m.Roots = append(m.Roots, rel)
	}
	slices.Sort(m.Roots)
	for i, r := range m.Roots {
		if i > 0 && (r == m.Roots[i-1] || strings.HasPrefix(r, m.Roots[i-1]+"/")) {
			return nil, refuse("name only the directory above", "%s lies in %s", r, m.Roots[i-1])
		}
	}
	for _, r := range m.Roots {
		err := fs.WalkDir(root.FS(), r, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case !soundPath(p):
				return refuse("rename it", "%q cannot be a path in a data set", plan.Clip(p))
			case d.IsDir():
				return nil
			case !d.Type().IsRegular():
				return refuse("a set holds plain files only: replace the link by what it points to", "%s is not a plain file", p)
			case len(m.Files) == maxFiles:
				return refuse("pack them into archives", "there are more than %d files", maxFiles)
			}
			f, err := s.takeFile(ctx, root, p)
			if err != nil {
				return fmt.Errorf("keep %s: %w", p, err)
			}
			m.Files = append(m.Files, f)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(m.Files) == 0 {
		return nil, refuse("name files, or directories that hold some", "there is no file to keep")
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return m, nil
}

func (s *Shelf) takeFile(ctx context.Context, root *os.Root, p string) (File, error) {
	f, err := root.Open(filepath.FromSlash(p))
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	file := File{Path: p, Exec: st.Mode()&0o111 != 0}
	if x, ok := s.Blobs.(filer); ok {
		file.Digest, file.Size, err = x.PutFile(ctx, f)
	} else {
		file.Digest, file.Size, err = s.Blobs.Put(ctx, f)
	}
	return file, err
}

// inside is a path of the user's as a slash path below the root.
func (s *Shelf) inside(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	// Not the path itself: a link there is to be seen as one.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(dir, filepath.Base(abs))
	}
	rel, err := filepath.Rel(s.Root, abs)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", refuse("copy it into the tree first, and let git ignore it there", "%s does not lie below %s", p, s.Root)
	}
	if _, err := os.Lstat(abs); err != nil {
		return "", refuse("", "there is no file or directory %s", p)
	}
	return filepath.ToSlash(rel), nil
}

// soundPath reports whether a path of a set may be written in a tree.
func soundPath(p string) bool {
	if len(p) > maxPath || !fs.ValidPath(p) || p == "." || strings.ContainsFunc(p, unicode.IsControl) || strings.Contains(p, `\`) {
		return false
	}
	for _, part := range strings.Split(p, "/") {
		if strings.EqualFold(strings.TrimRight(part, " ."), ".git") {
			return false
		}
	}
	return p != Name
}

// manifest reads the list of a set's files.
func (s *Shelf) manifest(ctx context.Context, p Pin) (*manifest, error) {
	r, err := s.Blobs.Open(ctx, p.Digest)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, elsewhere(p)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("the list of files of %s: %w", p.Title(), err)
	}
	m := &manifest{}
	if len(text) > maxManifest || json.Unmarshal(text, m) != nil || m.Schema != 1 || len(m.Files) > maxFiles {
		return nil, refuse("add the set again", "the digest of %s is not that of a data set", p.Title())
	}
	rooted := func(p string) bool {
		return slices.ContainsFunc(m.Roots, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
	}
	if slices.ContainsFunc(m.Roots, func(r string) bool { return !soundPath(r) }) ||
		slices.ContainsFunc(m.Files, func(f File) bool { return !soundPath(f.Path) || !rooted(f.Path) || !f.Digest.Valid() }) {
		return nil, refuse("add the set again", "the list of files of %s names paths that are not written", p.Title())
	}
	return m, nil
}

func elsewhere(p Pin) error {
	return refuse("add it on this machine (`fairlead data add` of the same files gives the same digest), or copy the directory `datasets` of the data directory of one that has it",
		"the bytes of %s are not on this machine", p.Title())
}

// Get puts a set in its place in the tree, or below another directory. What was
// there before is replaced as a whole. Places that hold the very bytes already
// are left alone; changed tells whether there were others.
func (s *Shelf) Get(ctx context.Context, title, below string) (p Pin, changed bool, err error) {
	if p, err = s.Find(title); err != nil {
		return p, false, err
	}
	m, err := s.manifest(ctx, p)
	if err != nil {
		return p, false, err
	}
	var digests []blob.Digest
	for _, f := range m.Files {
		digests = append(digests, f.Digest)
	}
	missing, err := s.Blobs.Missing(ctx, digests)
	if err != nil {
		return p, false, err
	}
	if len(missing) > 0 {
		return p, false, elsewhere(p)
	}
	to := cmp.Or(below, s.Root)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return p, false, err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return p, false, err
	}
	defer root.Close()
	t := &placing{Shelf: s, ctx: ctx, root: root}
	for _, r := range m.Roots {
		files := within(m.Files, r)
		if len(differences(root, r, files)) == 0 {
			continue
		}
		changed = true
		if err := t.stage(r, files); err != nil {
			return p, false, errors.Join(fmt.Errorf("get %s: %w", p.Title(), err), t.drop())
		}
	}
	if err := t.swap(); err != nil {
		return p, false, fmt.Errorf("get %s: %w", p.Title(), err)
	}
	return p, changed, nil
}

// placing puts what was staged in its place.
type placing struct {
	*Shelf
	ctx    context.Context
	root   *os.Root
	staged []staged
}

type staged struct{ place, fresh, old string }

// stage writes a root beside its place.
func (t *placing) stage(place string, files []File) error {
	dir, base := path.Split(place)
	mark := strings.ToLower(rand.Text()[:8])
	s := staged{place: place, fresh: dir + ".fairlead-new-" + mark + "-" + base, old: dir + ".fairlead-old-" + mark + "-" + base}
	if dir != "" {
		if err := t.root.MkdirAll(strings.TrimSuffix(dir, "/"), 0o755); err != nil {
			return err
		}
	}
	t.staged = append(t.staged, s)
	for _, f := range files {
		name := s.fresh + strings.TrimPrefix(f.Path, place)
		if d := path.Dir(name); name != s.fresh {
			if err := t.root.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := t.write(name, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

func (t *placing) write(name string, f File) (err error) {
	mode := fs.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	w, err := t.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var n int64
	if x, ok := t.Blobs.(filer); ok {
		n, err = x.CopyTo(t.ctx, f.Digest, w)
	} else {
		var r io.ReadCloser
		if r, err = t.Blobs.Open(t.ctx, f.Digest); err == nil {
			n, err = io.Copy(w, r)
			err = errors.Join(err, r.Close())
		}
	}
	if err == nil && n != f.Size {
		err = fmt.Errorf("it has %d bytes, and not %d", n, f.Size)
	}
	return err
}

// swap moves everything into place. When that fails half-way, what was there
// before is put back.
func (t *placing) swap() error {
	for i, s := range t.staged {
		err := t.root.Rename(s.place, s.old)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err == nil {
			err = t.root.Rename(s.fresh, s.place)
		}
		if err != nil {
			for _, s := range slices.Backward(t.staged[:i+1]) {
				if _, lost := t.root.Lstat(s.old); lost == nil {
					_ = t.root.Rename(s.place, s.fresh) // it is not there if it was not moved
					err = errors.Join(err, t.root.Rename(s.old, s.place))
				}
			}
			return errors.Join(err, t.drop())
		}
	}
	return t.drop()
}

// drop removes what is beside the places.
func (t *placing) drop() (err error) {
	for _, s := range t.staged {
		err = errors.Join(err, t.root.RemoveAll(s.fresh), t.root.RemoveAll(s.old))
	}
	return err
}
