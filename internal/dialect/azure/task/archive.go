package task

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
)

// Limits of an archive that is unpacked.
const (
	maxEntries  = 500_000
	maxUnpacked = 16 << 30 // bytes
)

func archiveFiles(ctx context.Context, c *call) error {
	root := c.path(cmp.Or(c.input("rootFolderOrFile"), c.Staging))
	kind := strings.ToLower(cmp.Or(c.input("archiveType"), "zip"))
	out := c.input("archiveFile")
	if out == "" {
		out = filepath.Join(c.Staging, "archive."+strings.Replace(kind, "tar", "tar.gz", 1))
	}
	out = c.path(out)
	if err := c.allowed(out); err != nil {
		return err
	}
	if kind != "zip" && kind != "tar" {
		return lacking{fmt.Sprintf("ArchiveFiles: archives of type %s cannot be made here", kind), "use zip or tar"}
	}
	info, err := os.Stat(root)
	if errors.Is(err, fs.ErrNotExist) {
		return failf("ArchiveFiles: there is no %s", root)
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(out); err == nil && !c.flag("replaceExistingArchive", true) {
		return failf("ArchiveFiles: %s is there already, and adding to archives is not done here", out)
	}
	base := root
	list := []depot.Found{{Path: root, Info: info}}
	if info.IsDir() {
		if list, err = c.find(root, []string{"**"}, depot.Search{}); err != nil {
			return err
		}
		if c.flag("includeRootFolder", true) {
			base = filepath.Dir(root)
		}
	} else {
		base = filepath.Dir(root)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(out), ".archive-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	n := 0
	err = c.write(ctx, temp, kind, base, list, func(path string) bool { return path == out || path == temp.Name() }, &n)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(temp.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(temp.Name(), out)
	}
	if err != nil {
		return err
	}
	c.say("Archive %s: %d files", out, n)
	return nil
}

// write writes an archive of the files, but those that are to be left out.
func (c *call) write(ctx context.Context, w io.Writer, kind, base string, list []depot.Found, leave func(string) bool, n *int) (err error) {
	add, done := zipWriter(w)
	if kind == "tar" {
		if add, done, err = tarWriter(w, cmp.Or(c.input("tarCompression"), "gz")); err != nil {
			return err
		}
	}
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if leave(f.Path) {
			continue
		}
		rel, err := filepath.Rel(base, f.Path)
		if err != nil {
			return err
		}
		if err := addFile(add, f, filepath.ToSlash(rel)); err != nil {
			return err
		}
		*n++
	}
	return done()
}

type addEntry func(name string, info fs.FileInfo) (io.Writer, error)

func addFile(add addEntry, f depot.Found, name string) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := add(name, f.Info)
	if err == nil {
		_, err = io.Copy(out, io.LimitReader(in, f.Info.Size()))
	}
	return err
}

func zipWriter(w io.Writer) (addEntry, func() error) {
	z := zip.NewWriter(w)
	return func(name string, info fs.FileInfo) (io.Writer, error) {
		h, err := zip.FileInfoHeader(info)
		if err != nil {
			return nil, err
		}
		h.Name, h.Method = name, zip.Deflate
		return z.CreateHeader(h)
	}, z.Close
}

func tarWriter(w io.Writer, compression string) (addEntry, func() error, error) {
	finish := func() error { return nil }
	switch compression {
	case "gz":
		g := gzip.NewWriter(w)
		w, finish = g, g.Close
	case "none":
	default:
		return nil, nil, lacking{fmt.Sprintf("ArchiveFiles: tar files with compression %s cannot be made here", compression), "use gz or none"}
	}
	t := tar.NewWriter(w)
	add := func(name string, info fs.FileInfo) (io.Writer, error) {
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return nil, err
		}
		h.Name, h.Uname, h.Gname, h.Uid, h.Gid = name, "", "", 0, 0
		return t, t.WriteHeader(h)
	}
	return add, func() error { return errors.Join(t.Close(), finish()) }, nil
}

func extractFiles(ctx context.Context, c *call) error {
	to := c.path(c.input("destinationFolder"))
	if err := c.allowed(to); err != nil {
		return err
	}
	patterns := c.lines("archiveFilePatterns")
	if len(patterns) == 0 {
		patterns = []string{"**/*.zip"}
	}
	list, err := c.find(c.Scope.Dirs.Workspace, patterns, depot.Search{})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return failf("ExtractFiles: no archive matches %s", strings.Join(patterns, ", "))
	}
	if c.flag("cleanDestinationFolder", true) {
		if depot.Within(to, c.Scope.Dirs.Workspace) {
			return failf("ExtractFiles: cleaning %s would remove the sources; set cleanDestinationFolder to false", to)
		}
		if err := empty(to); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacking{ctx: ctx, root: root, over: c.flag("overwriteExistingFiles", false)}
	for _, f := range list {
		if err := u.archive(f); err != nil {
			return failf("ExtractFiles: %s: %v", f.Path, err)
		}
	}
	c.say("Extracted %d files to %s", u.files, to)
	return nil
}

// unpacking unpacks archives of others: it trusts names no further than the
// root reaches, and makes directories and files and nothing else.
type unpacking struct {
	ctx   context.Context
	root  *os.Root
	over  bool
	files int
	bytes int64
}

func (u *unpacking) archive(f depot.Found) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	r := bufio.NewReader(in)
	head, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte("PK")):
		return u.zip(in, f.Info.Size())
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		g, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return u.stream(g, f.Path)
	case bytes.HasPrefix(head, []byte("BZh")):
		return u.stream(bzip2.NewReader(r), f.Path)
	case strings.HasSuffix(f.Path, ".tar"):
		return u.tar(r)
	}
	return errors.New("only zip, tar, gz and bz2 archives can be unpacked here")
}

// stream unpacks what was compressed: a tar file, or a single file.
func (u *unpacking) stream(r io.Reader, name string) error {
	base := filepath.Base(name)
	single := strings.TrimSuffix(base, filepath.Ext(base))
	if strings.HasSuffix(single, ".tar") || strings.HasSuffix(base, "gz") && !strings.HasSuffix(base, ".gz") || strings.HasSuffix(base, ".tbz2") {
		return u.tar(r)
	}
	return u.file(single, 0o644, r)
}

func (u *unpacking) zip(in io.ReaderAt, size int64) error {
	z, err := zip.NewReader(in, size)
	if err != nil {
		return err
	}
	for _, f := range z.File {
		if f.Mode().IsDir() {
			if err := u.dir(f.Name); err != nil {
				return err
			}
			continue
		}
		if !f.Mode().IsRegular() {
			continue
		}
		body, err := f.Open()
		if err == nil {
			err = u.file(f.Name, f.Mode().Perm(), body)
			_ = body.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacking) tar(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.dir(h.Name)
		case tar.TypeReg:
			err = u.file(h.Name, fs.FileMode(h.Mode).Perm(), t)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacking) name(name string) (string, error) {
	name = filepath.Clean(filepath.FromSlash(strings.ReplaceAll(name, `\`, "/")))
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("it holds the name %.80q, which leads out of the folder", name)
	}
	return name, u.ctx.Err()
}

func (u *unpacking) dir(name string) error {
	name, err := u.name(name)
	if err != nil || name == "." {
		return err
	}
	return u.root.MkdirAll(name, 0o755)
}

func (u *unpacking) file(name string, mode fs.FileMode, body io.Reader) error {
	name, err := u.name(name)
	if err != nil {
		return err
	}
	if u.files++; u.files > maxEntries {
		return fmt.Errorf("it holds more than %d files", maxEntries)
	}
	if parent := filepath.Dir(name); parent != "." {
		if err := u.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if _, err := u.root.Lstat(name); err == nil {
		if !u.over {
			return fmt.Errorf("%s is there already; set overwriteExistingFiles to replace it", name)
		}
		if err := u.root.RemoveAll(name); err != nil {
			return err
		}
	}
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o200)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(body, maxUnpacked-u.bytes+1))
	if closed := out.Close(); err == nil {
		err = closed
	}
	if u.bytes += n; err == nil && u.bytes > maxUnpacked {
		err = fmt.Errorf("it holds more than %d bytes", int64(maxUnpacked))
	}
	return err
}
