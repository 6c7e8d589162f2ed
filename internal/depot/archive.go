package depot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A cache is a tar file, compressed with zstd. Its names do not depend on
// where the workspace is: "2/pkg/mod" is the file pkg/mod below the third of
// the search roots of the path list, and "2" alone is that root itself.
// Entries are directories, regular files and symbolic links, with their
// permission bits and times. Nothing else is made when one is unpacked.
const (
	maxArchiveEntries = 4_000_000
	maxArchiveBytes   = 256 << 30 // unpacked
	maxArchiveName    = 4096
	maxArchiveWindow  = 128 << 20 // memory of the decompressor
	maxArchiveTail    = 1 << 20   // padding after the last entry
)

// Packed is what went into an archive.
type Packed struct {
	Entries int
	Bytes   int64 // of its files
}

// pack writes the archive of what was found. roots are those of the search;
// leave says what to leave out.
func pack(ctx context.Context, w io.Writer, roots []string, list []Found, leave func(path string, dir bool) bool) (Packed, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return Packed{}, err
	}
	p := packer{ctx: ctx, tar: tar.NewWriter(z), leave: leave}
	var last string
	for _, f := range list {
		if last != "" && Within(last, f.Path) {
			continue // it went in with the directory it is in
		}
		i := slices.IndexFunc(roots, func(root string) bool { return Within(root, f.Path) })
		if i < 0 {
			continue
		}
		rel, err := filepath.Rel(roots[i], f.Path)
		if err != nil {
			return p.Packed, err
		}
		if err := p.add(f.Path, path.Join(strconv.Itoa(i), filepath.ToSlash(rel))); err != nil {
			return p.Packed, err
		}
		last = f.Path
	}
	if err := p.tar.Close(); err != nil {
		return p.Packed, err
	}
	return p.Packed, z.Close()
}

type packer struct {
	Packed
	ctx   context.Context
	tar   *tar.Writer
	leave func(string, bool) bool
}

func (p *packer) add(file, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	info, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since it was found
	}
	if err != nil {
		return err
	}
	if p.leave != nil && p.leave(file, info.IsDir()) {
		return nil
	}
	if p.Entries == maxArchiveEntries {
		return ErrTooMany
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
	case 0:
		return p.addFile(file, h)
	default:
		return nil // sockets, pipes and devices are not for keeping
	}
	p.Entries++
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(file)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := p.add(filepath.Join(file, e.Name()), name+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) addFile(file string, h *tar.Header) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	p.Entries++
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(p.tar, f, h.Size)
	p.Bytes += n
	if err == io.EOF {
		return fmt.Errorf("%s shrank while it was read", file)
	}
	return err
}

// unpack makes the files of an archive below the roots.
func unpack(ctx context.Context, r io.Reader, roots []string) (Packed, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxArchiveWindow), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return Packed{}, err
	}
	defer z.Close()
	u := unpacker{paths: roots, roots: make([]*os.Root, len(roots))}
	defer u.close()
	t := tar.NewReader(z)
	for {
		if err := ctx.Err(); err != nil {
			return u.Packed, err
		}
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.Packed, err
		}
		if err := u.add(h, t); err != nil {
			return u.Packed, err
		}
	}
	// What follows the end of the archive is read too: the blob proves
	// itself only at its end.
	switch n, err := io.CopyN(io.Discard, z, maxArchiveTail); {
	case err != nil && err != io.EOF:
		return u.Packed, err
	case n == maxArchiveTail:
		return u.Packed, fmt.Errorf("more bytes follow its end: %w", ErrHostile)
	}
	return u.Packed, u.finish()
}

type unpacker struct {
	Packed
	paths []string
	roots []*os.Root // opened when first needed
	dirs  []dirEntry // whose modes and times are set at the end
	last  openDir    // files come directory by directory, so one is kept open
}

type dirEntry struct {
	root *os.Root
	name string
	h    *tar.Header
}

type openDir struct {
	of   *os.Root
	name string
	root *os.Root
}

func (u *unpacker) close() {
	u.leave()
	for _, r := range u.roots {
		if r != nil {
			r.Close()
		}
	}
}

func (u *unpacker) leave() {
	if u.last.root != nil && u.last.root != u.last.of {
		u.last.root.Close()
	}
	u.last = openDir{}
}

// enter returns the directory that the name lies in, made if need be, and the
// name in it. It is a root of its own, so that what is made in it needs no
// walk from the top, and lies in the other root, which does not let links
// lead out.
func (u *unpacker) enter(root *os.Root, name string) (*os.Root, string, error) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if u.last.root != nil && u.last.of == root && u.last.name == dir {
		return u.last.root, base, nil
	}
	u.leave()
	if dir == "." {
		return root, base, nil
	}
	sub, err := root.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = root.MkdirAll(dir, 0o755); err == nil {
			sub, err = root.OpenRoot(dir)
		}
	}
	if err != nil {
		return nil, "", err
	}
	u.last = openDir{root, dir, sub}
	return sub, base, nil
}

// place reads an entry's name: the root it belongs to and its name there.
func (u *unpacker) place(h *tar.Header) (i int, name string, err error) {
	text := strings.TrimSuffix(h.Name, "/")
	number, name, below := strings.Cut(text, "/")
	i, err = strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(u.paths) || strconv.Itoa(i) != number ||
		len(text) > maxArchiveName || strings.ContainsRune(text, 0) ||
		below && (!filepath.IsLocal(name) || path.Clean(name) != name || name == ".") {
		return 0, "", fmt.Errorf("an entry is named %.200q: %w", h.Name, ErrHostile)
	}
	return i, name, nil
}

func (u *unpacker) add(h *tar.Header, body io.Reader) error {
	if u.Entries == maxArchiveEntries {
		return fmt.Errorf("more than %d entries: %w", maxArchiveEntries, ErrHostile)
	}
	u.Entries++
	i, name, err := u.place(h)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeSymlink {
		return fmt.Errorf("%.200q is of the kind %q: %w", h.Name, h.Typeflag, ErrHostile)
	}
	if u.Bytes += h.Size; u.Bytes > maxArchiveBytes {
		return fmt.Errorf("more than %d GiB of files: %w", maxArchiveBytes>>30, ErrHostile)
	}
	root := u.roots[i]
	if name == "" && h.Typeflag != tar.TypeDir {
		// The root itself is a file or a link: it is made in its directory.
		dir, err := openRoot(filepath.Dir(u.paths[i]))
		if err != nil {
			return err
		}
		defer dir.Close()
		return add(dir, filepath.Base(u.paths[i]), h, body)
	}
	if root == nil {
		if root, err = openRoot(u.paths[i]); err != nil {
			return err
		}
		u.roots[i] = root
	}
	if name == "" {
		return nil // the root is the user's own, and stays as it is
	}
	dir, base, err := u.enter(root, name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, dirEntry{root, name, h})
	}
	return add(dir, base, h, body)
}

// add makes one entry in a directory, in place of what has the name.
func add(dir *os.Root, name string, h *tar.Header, body io.Reader) error {
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		// It must be writable until what is in it has been made.
		err := dir.Mkdir(name, mode|0o700)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := dir.Lstat(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return dir.Chmod(name, mode|0o700)
		}
		if err := dir.Remove(name); err != nil {
			return err
		}
		return dir.Mkdir(name, mode|0o700)
	case tar.TypeSymlink:
		err := dir.Symlink(h.Linkname, name)
		if errors.Is(err, fs.ErrExist) {
			if err = unlink(dir, name); err == nil {
				err = dir.Symlink(h.Linkname, name)
			}
		}
		return err
	}
	const create = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := dir.OpenFile(name, create, mode|0o200)
	if errors.Is(err, fs.ErrExist) {
		if err = unlink(dir, name); err == nil {
			f, err = dir.OpenFile(name, create, mode|0o200)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask is
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return dir.Chtimes(name, h.ModTime, h.ModTime)
}

// finish gives the directories their modes and times, the deepest first.
func (u *unpacker) finish() error {
	for _, d := range slices.Backward(u.dirs) {
		dir, base, err := u.enter(d.root, d.name)
		if err != nil {
			return err
		}
		if err := dir.Chtimes(base, d.h.ModTime, d.h.ModTime); err != nil {
			return err
		}
		if err := dir.Chmod(base, fs.FileMode(d.h.Mode).Perm()); err != nil {
			return err
		}
	}
	return nil
}

// openRoot opens a directory to write in, making it if need be.
func openRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// unlink removes a file or a link that has the name.
func unlink(dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory, and a file of that name is to be made", filepath.Join(dir.Name(), name))
	}
	return dir.Remove(name)
}
