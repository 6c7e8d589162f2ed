package supervise

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Limits of a release.
const (
	maxReleaseBytes = 16 << 30 // unpacked, and of the artifact
	maxReleaseFiles = 500_000
	maxReleasePath  = 1024
	// spareBytes stays free on the disk, for logs and the state.
	spareBytes = 64 << 20
	// unusedTime is how long a release that no revision has is kept, since one may be on
	// its way.
	unusedTime = time.Hour
)

// releases are the unpacked artifacts of a host: releases/<digest>/ with files/, which
// is what instances run in, and a manifest that says how they were unpacked.
type releases struct{ dir string }

// manifest is what a release was when it was unpacked.
type manifest struct {
	Artifact Artifact   `json:"artifact"`
	Unpacked time.Time  `json:"unpacked"`
	Files    []fileSeen `json:"files"`
}

// fileSeen is a file of a release.
type fileSeen struct {
	Path    string      `json:"path"` // slash path
	Mode    fs.FileMode `json:"mode"`
	Size    int64       `json:"size,omitempty"`
	Changed time.Time   `json:"changed"`
	Sum     string      `json:"sum,omitempty"` // SHA-256 of a file's bytes
	Link    string      `json:"link,omitempty"`
}

// openReleases removes what was being unpacked when the process before ended.
func openReleases(dir string) (*releases, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if err := os.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	return &releases{dir: dir}, nil
}

// dir is the name of an artifact's directory.
func (a Artifact) dir() string {
	switch a.Kind {
	case KindTree:
		return hexOf(a.Digest)
	case KindFile:
		return hexOf(a.Digest) + "-" + a.Name
	}
	return "none"
}

func (rs *releases) path(a Artifact) string { return filepath.Join(rs.dir, a.dir()) }

// files is the directory that instances of an artifact run in.
func (rs *releases) files(a Artifact) string {
	if a.Kind == "" {
		return rs.path(a)
	}
	return filepath.Join(rs.path(a), "files")
}

// look reads a release's manifest; the error is fs.ErrNotExist if it is not there.
func (rs *releases) look(a Artifact) (*manifest, error) {
	if a.Kind == "" {
		return &manifest{}, nil
	}
	data, err := os.ReadFile(filepath.Join(rs.path(a), "manifest"))
	if err != nil {
		return nil, err
	}
	m := new(manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("manifest of release %s: %w", a.Digest, err)
	}
	return m, nil
}

// room refuses what the disk has no room for.
func room(dir string, need int64) *Trouble {
	free, err := freeBytes(dir)
	if err != nil || need+spareBytes <= free {
		return nil
	}
	return &Trouble{Rule: "disk", Message: fmt.Sprintf("the release needs %s, and %s has %s free, of which %s stay so", bytesText(need), dir, bytesText(free), bytesText(spareBytes)),
		Hint: "free some space there, or remove old revisions"}
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// put unpacks an artifact under its digest. It has its name only when it is whole,
// its bytes were those of the digest, and they are on the disk.
func (rs *releases) put(ctx context.Context, a Artifact, from io.Reader) error {
	if hexOf(a.Digest) == "" || a.Kind != KindFile && a.Kind != KindTree || a.Kind == KindFile && !plainName(a.Name) {
		return fmt.Errorf("%w: %.40q of kind %.40q is no artifact that can be unpacked", ErrRefused, a.Digest, a.Kind)
	}
	if a.Size < 0 || a.Size > maxReleaseBytes {
		return fmt.Errorf("%w: an artifact of %d bytes; at most %d are taken", ErrRefused, a.Size, int64(maxReleaseBytes))
	}
	if _, err := rs.look(a); err == nil {
		return nil
	}
	if t := room(rs.dir, a.Size); t != nil {
		return refusal([]Trouble{*t})
	}
	fresh, err := os.MkdirTemp(rs.dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	root := filepath.Join(fresh, "files")
	if err := errors.Join(os.Chmod(fresh, 0o755), os.Mkdir(root, 0o755)); err != nil {
		return err
	}
	sum := sha256.New()
	u := &unpacker{ctx: ctx, in: io.TeeReader(&limited{r: from, left: a.Size}, sum)}
	if u.root, err = os.OpenRoot(root); err != nil {
		return err
	}
	defer u.root.Close()
	if a.Kind == KindFile {
		err = u.file(a.Name, 0o755, a.Size, u.in)
	} else {
		err = u.tree()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, u.in) // what comes after a tar's end
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); err == nil && got != a.Digest {
		err = fmt.Errorf("%w: the bytes are not those of %s, but of %s", ErrRefused, a.Digest, got)
	}
	if err != nil {
		return fmt.Errorf("unpack release %.19s: %w", a.Digest, err)
	}
	m := &manifest{Artifact: a, Unpacked: time.Now().UTC().Round(0)}
	if m.Files, err = survey(root, true); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := (disk{}).write(filepath.Join(fresh, "manifest"), data); err != nil {
		return err
	}
	if err := syncTree(fresh, len(m.Files)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(fresh, "manifest"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(fresh, rs.path(a)); err != nil {
		if _, there := rs.look(a); there == nil {
			return nil // somebody else was faster
		}
		return err
	}
	return disk{}.syncDir(rs.dir)
}

// syncTree forces everything below a directory to the disk: one file after the other, or
// when they are many, all that anybody has written to that disk.
func syncTree(dir string, files int) error {
	const many = 500
	if files > many && syncAll(dir) {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// limited reads what was announced, and fails if there is more or less.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	switch {
	case l.left < 0:
		return 0, fmt.Errorf("%w: there are more bytes than were announced", ErrRefused)
	case err == io.EOF && l.left > 0:
		return n, fmt.Errorf("%w: %d bytes are missing of those that were announced", ErrRefused, l.left)
	}
	return n, err
}

// unpacker writes into a directory, and nowhere else: os.Root follows no link out
// of it.
type unpacker struct {
	ctx   context.Context
	in    io.Reader
	root  *os.Root
	files int
	bytes int64
}

func hostile(format string, args ...any) error {
	return fmt.Errorf("%w: %s; make the archive anew", ErrRefused, fmt.Sprintf(format, args...))
}

// tree unpacks a tar: directories, files, links within it. Owners and special bits
// are left out; devices and whatever would lie outside are refused.
func (u *unpacker) tree() error {
	archive := tar.NewReader(u.in)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return hostile("the archive cannot be read: %v", err)
		}
		if err := u.ctx.Err(); err != nil {
			return err
		}
		name, err := u.entry(h)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		if dir := filepath.Dir(name); dir != "." {
			if err := u.root.MkdirAll(dir, 0o755); err != nil {
				return hostile("%.120q: %v", name, err)
			}
		}
		mode := h.FileInfo().Mode().Perm()
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = u.file(name, mode|0o400, h.Size, archive)
		case tar.TypeSymlink:
			err = u.root.Symlink(h.Linkname, name)
		case tar.TypeLink:
			err = u.root.Link(strings.TrimPrefix(h.Linkname, "./"), name)
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			return hostile("%.120q is in it twice", name)
		case err != nil:
			return err
		}
	}
}

// entry looks whether an entry may be unpacked, and where; "" is none of its own.
func (u *unpacker) entry(h *tar.Header) (string, error) {
	name := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
	if name == "" || name == "." || h.Typeflag == tar.TypeXGlobalHeader {
		return "", nil
	}
	if u.files++; u.files > maxReleaseFiles {
		return "", hostile("it has more than %d entries", maxReleaseFiles)
	}
	if !filepath.IsLocal(name) || len(name) > maxReleasePath || strings.ContainsAny(name, "\x00\\") {
		return "", hostile("%.120q is no path within it", h.Name)
	}
	name = filepath.Clean(name)
	switch h.Typeflag {
	case tar.TypeDir:
	case tar.TypeReg:
		if h.Size < 0 || h.Size > maxReleaseBytes || u.bytes+h.Size > maxReleaseBytes {
			return "", hostile("it has more than %d bytes", int64(maxReleaseBytes))
		}
		u.bytes += h.Size
	case tar.TypeSymlink:
		if filepath.IsAbs(h.Linkname) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), h.Linkname)) {
			return "", hostile("the link %.120q leads out of it, to %.120q", name, h.Linkname)
		}
	case tar.TypeLink:
		if !filepath.IsLocal(strings.TrimPrefix(h.Linkname, "./")) {
			return "", hostile("the link %.120q leads out of it, to %.120q", name, h.Linkname)
		}
	default:
		return "", hostile("%.120q is a device or something else that is no file", name)
	}
	return name, nil
}

// Inspect reads an artifact as if to unpack it, and says why it could not be, and how
// many bytes it would take. With a program that the release is to have ("./shop") it
// says whether it has.
func Inspect(a Artifact, program string, from io.Reader) (size int64, troubles []Trouble, err error) {
	sum := sha256.New()
	in := io.TeeReader(&limited{r: from, left: a.Size}, sum)
	u, found := new(unpacker), a.Kind == KindFile && filepath.Clean(program) == a.Name
	if a.Kind == KindFile {
		u.bytes = a.Size
	}
	archive := tar.NewReader(in)
	for a.Kind == KindTree {
		h, herr := archive.Next()
		if herr == io.EOF {
			break
		}
		name := ""
		if herr == nil {
			name, herr = u.entry(h)
		} else if !errors.Is(herr, ErrRefused) && (errors.Is(herr, tar.ErrHeader) || errors.Is(herr, io.ErrUnexpectedEOF)) {
			herr = hostile("the archive cannot be read: %v", herr)
		}
		if herr != nil {
			return 0, asTrouble(herr), unless(herr)
		}
		found = found || name == filepath.Clean(program)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return 0, asTrouble(err), unless(err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != a.Digest {
		troubles = append(troubles, Trouble{Rule: "digest", Message: fmt.Sprintf("the bytes are not those of %s, but of %s", a.Digest, got), Hint: "make the release anew"})
	} else if strings.HasPrefix(program, "./") && !found {
		troubles = append(troubles, Trouble{Rule: "command", Message: fmt.Sprintf("the command is %s, and the artifact has no such file", program), Hint: "name a file of the artifact, by its path in it"})
	}
	return u.bytes, troubles, nil
}

// asTrouble is a refusal as a trouble; none for other errors.
func asTrouble(err error) []Trouble {
	if unless(err) != nil {
		return nil
	}
	return []Trouble{{Rule: "artifact", Message: told(err), Hint: "make the release anew"}}
}

// unless is the error if it is no refusal.
func unless(err error) error {
	if errors.Is(err, ErrRefused) {
		return nil
	}
	return err
}

func (u *unpacker) file(name string, mode fs.FileMode, size int64, from io.Reader) error {
	if dir := u.root.Name(); size > spareBytes/4 {
		if t := room(dir, size); t != nil {
			return refusal([]Trouble{*t})
		}
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	return errors.Join(err, f.Close())
}

// survey lists a directory's files; with sums it reads them all.
func survey(root string, sums bool) ([]fileSeen, error) {
	var all []fileSeen
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		seen := fileSeen{Path: filepath.ToSlash(rel), Mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			seen.Size, seen.Changed = info.Size(), info.ModTime().UTC()
			if sums {
				seen.Sum, err = sumOf(path)
			}
		case info.Mode()&fs.ModeSymlink != 0:
			seen.Link, err = os.Readlink(path)
		}
		all = append(all, seen)
		return err
	})
	return all, err
}

func sumOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// maxDifferences is how many differences of a release are told.
const maxDifferences = 50

// differences compares the files of a release with what they were when it was unpacked:
// by times and sizes, or with sums by every byte. Files that came later are not
// looked at: programs keep such beside themselves.
func (rs *releases) differences(a Artifact, sums bool) ([]Difference, error) {
	if a.Kind == "" {
		return nil, nil
	}
	resource := "release " + a.Digest[:min(len(a.Digest), 19)]
	m, err := rs.look(a)
	if errors.Is(err, fs.ErrNotExist) {
		return []Difference{{Resource: resource, Want: "on the host"}}, nil
	}
	if err != nil {
		return nil, err
	}
	now, err := survey(rs.files(a), sums)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	have := map[string]fileSeen{}
	for _, f := range now {
		have[f.Path] = f
	}
	var all []Difference
	tell := func(path, want, is string) {
		if want != is && len(all) < maxDifferences {
			all = append(all, Difference{Resource: resource, Field: path, Want: want, Have: is})
		}
	}
	for _, w := range m.Files {
		h, there := have[w.Path]
		switch {
		case !there:
			tell(w.Path, w.text(), "")
		case sums:
			tell(w.Path, w.text(), h.text())
		case w.Size != h.Size || !w.Changed.Equal(h.Changed) || w.Mode != h.Mode || w.Link != h.Link:
			tell(w.Path, "as it was unpacked", "changed")
		}
	}
	return all, nil
}

// text is what a file is, for people.
func (f *fileSeen) text() string {
	s := f.Mode.String()
	if f.Sum != "" {
		s += fmt.Sprintf(" %d bytes sha256:%.12s", f.Size, f.Sum)
	}
	if f.Link != "" {
		s += " -> " + f.Link
	}
	return s
}

// unpacked is when a release was, as the disk has it; zero if it is not here. It is
// asked often, and a manifest may be long.
func (rs *releases) unpacked(a Artifact) time.Time {
	info, err := os.Stat(filepath.Join(rs.path(a), "manifest"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}

// usedMark is a file in the directory of a release that a revision has had.
const usedMark = "used"

// use says that a revision has a release; false if it is not here.
func (rs *releases) use(a Artifact) bool {
	if a.Kind == "" {
		return os.MkdirAll(rs.path(a), 0o755) == nil
	}
	f, err := os.OpenFile(filepath.Join(rs.path(a), usedMark), os.O_WRONLY|os.O_CREATE, 0o644)
	return err == nil && f.Close() == nil
}

// discard takes a release away that is not what it was, or that nobody uses.
func (rs *releases) discard(dir string) (remove func() error, err error) {
	away, err := os.MkdirTemp(rs.dir, ".new-")
	if err != nil {
		return nil, err
	}
	err = os.Rename(filepath.Join(rs.dir, dir), filepath.Join(away, "old"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return func() error { return os.RemoveAll(away) }, err
}

// stored lists the releases by their directories.
func (rs *releases) stored() map[string]StoredRelease {
	entries, err := os.ReadDir(rs.dir)
	if err != nil {
		return nil
	}
	all := map[string]StoredRelease{}
	for _, e := range entries {
		if len(e.Name()) < 64 || e.Name()[0] == '.' {
			continue
		}
		data, err := os.ReadFile(filepath.Join(rs.dir, e.Name(), "manifest"))
		var m manifest
		if err != nil || json.Unmarshal(data, &m) != nil || m.Artifact.dir() != e.Name() {
			continue
		}
		one := StoredRelease{Digest: m.Artifact.Digest, Files: len(m.Files), Since: m.Unpacked}
		for i := range m.Files {
			one.Size += m.Files[i].Size
		}
		all[e.Name()] = one
	}
	return all
}

// sweep takes the releases away that nothing uses: those that something has used, and
// those that nobody has come for. What is left to do takes longer.
func (rs *releases) sweep(used map[string]bool) (remove []func() error, err error) {
	entries, err := os.ReadDir(rs.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if len(e.Name()) < 64 || e.Name()[0] == '.' || used[e.Name()] {
			continue
		}
		info, ierr := e.Info()
		if _, serr := os.Stat(filepath.Join(rs.dir, e.Name(), usedMark)); serr != nil && (ierr != nil || time.Since(info.ModTime()) < unusedTime) {
			continue
		}
		gone, derr := rs.discard(e.Name())
		err = errors.Join(err, derr)
		if gone != nil {
			remove = append(remove, gone)
		}
	}
	return remove, err
}
