package depot

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

const (
	maxArtifactEntries = 1_000_000
	maxArtifactBytes   = 64 << 30 // unpacked
	maxLink            = 4096
)

// Zip says how files are put into a zip file.
type Zip struct {
	Root  string // what names in it are relative to
	Level int    // of compression, 0 to 9
	// Modes keeps permission bits, symbolic links and directories; else there
	// is nothing but files in it.
	Modes bool
}

// Zip stores a zip file of what was found. It holds names and bytes and
// nothing that differs from machine to machine, so that the same files give
// the same digest. A file that may not be read is a *FileError.
func (d *Depot) Zip(ctx context.Context, list []Found, how Zip) (blob.Digest, int64, error) {
	return d.produce(ctx, func(w io.Writer) error { return writeZip(ctx, w, list, how) })
}

func writeZip(ctx context.Context, w io.Writer, list []Found, how Zip) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, how.Level) })
	method := zip.Deflate
	if how.Level == 0 {
		method = zip.Store
	}
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(how.Root, f.Path)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: filepath.ToSlash(rel), Method: method}
		switch mode := f.Info.Mode(); {
		case mode.IsRegular():
			if how.Modes {
				h.SetMode(mode.Perm())
			}
			err = zipFile(z, h, f.Path)
		case how.Modes && mode.IsDir():
			if h.Name != "." {
				h.Name += "/"
				h.SetMode(fs.ModeDir | mode.Perm())
				_, err = z.CreateHeader(h)
			}
		case how.Modes && mode.Type() == fs.ModeSymlink:
			h.SetMode(fs.ModeSymlink | 0o777)
			err = zipLink(z, h, f.Path)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

func zipFile(z *zip.Writer, h *zip.FileHeader, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrPermission) {
		return &FileError{file, err}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func zipLink(z *zip.Writer, h *zip.FileHeader, file string) error {
	target, err := os.Readlink(file)
	if err != nil {
		return err
	}
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, target)
	return err
}

// unzip makes the files of a zip below root, and returns how many.
func unzip(ctx context.Context, root *os.Root, r io.ReaderAt, n int64, modes bool) (int, error) {
	z, err := openZip(r, n)
	if err != nil {
		return 0, err
	}
	files, left := 0, int64(maxArtifactBytes)
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return files, err
		}
		name := strings.TrimSuffix(f.Name, "/")
		if len(name) > maxArchiveName || strings.ContainsRune(name, 0) || !modes && strings.ContainsRune(name, '\\') || !filepath.IsLocal(name) || path.Clean(name) != name {
			return files, fmt.Errorf("an entry is named %.200q: %w", f.Name, ErrHostile)
		}
		if name == "." {
			continue
		}
		mode := fs.FileMode(0o644)
		if modes && f.Mode().Perm() != 0 {
			mode = f.Mode().Perm()
		}
		if f.Mode().IsDir() || strings.HasSuffix(f.Name, "/") {
			if err := root.MkdirAll(name, 0o755); err != nil {
				return files, err
			}
			continue
		}
		link := modes && f.Mode().Type() == fs.ModeSymlink
		if !link && !f.Mode().IsRegular() {
			return files, fmt.Errorf("%.200q is neither a file nor a directory: %w", f.Name, ErrHostile)
		}
		body, err := f.Open()
		if err != nil {
			return files, fmt.Errorf("%w: %w", ErrHostile, err)
		}
		limited := &io.LimitedReader{R: body, N: left}
		if link {
			err = makeLink(root, name, limited)
		} else {
			err = replaceFile(root, name, mode, limited)
		}
		body.Close()
		if err != nil {
			return files, err
		}
		if left = limited.N; left == 0 {
			return files, fmt.Errorf("it unpacks to more than %d GiB: %w", maxArtifactBytes>>30, ErrHostile)
		}
		files++
	}
	return files, nil
}

func openZip(r io.ReaderAt, n int64) (*zip.Reader, error) {
	z, err := zip.NewReader(r, n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHostile, err)
	}
	if len(z.File) > maxArtifactEntries {
		return nil, fmt.Errorf("it has more than %d entries: %w", maxArtifactEntries, ErrHostile)
	}
	return z, nil
}

// readZipped returns one file of a zip, by its name in it.
func readZipped(r io.ReaderAt, n int64, name string, limit int64) ([]byte, error) {
	z, err := openZip(r, n)
	if err != nil {
		return nil, err
	}
	name = path.Clean(name)
	for _, f := range z.File {
		if path.Clean(f.Name) != name || !f.Mode().IsRegular() {
			continue
		}
		body, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHostile, err)
		}
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && int64(len(data)) > limit {
			err = fmt.Errorf("%s is longer than %d bytes", name, limit)
		}
		return data, err
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
}

// replaceFile makes a file below root, in place of one that is there.
func replaceFile(root *os.Root, name string, mode fs.FileMode, body io.Reader) error {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	var f *os.File
	err := replace(root, name, func() (err error) {
		f, err = root.OpenFile(name, flags, mode|0o200)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	if mode&0o200 == 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	return f.Close()
}

// makeLink makes a symbolic link to what body says.
func makeLink(root *os.Root, name string, body io.Reader) error {
	target, err := io.ReadAll(io.LimitReader(body, maxLink+1))
	if err != nil {
		return err
	}
	if len(target) == 0 || len(target) > maxLink || strings.ContainsRune(string(target), 0) {
		return fmt.Errorf("the link %.200q leads nowhere: %w", name, ErrHostile)
	}
	return replace(root, name, func() error { return root.Symlink(string(target), name) })
}

// replace makes something below root, with its directory, in place of a file
// that is there.
func replace(root *os.Root, name string, create func() error) error {
	err := create()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err = root.MkdirAll(path.Dir(name), 0o755); err == nil {
			err = create()
		}
	case errors.Is(err, fs.ErrExist):
		if err = unlink(root, name); err == nil {
			err = create()
		}
	}
	return err
}
