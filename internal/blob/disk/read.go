package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Open implements blob.Store. A blob found to be damaged is moved to corrupt,
// so that it is missing from then on and can be put in again.
func (s *Store) Open(_ context.Context, d blob.Digest) (io.ReadCloser, error) {
	f, _, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return &reader{f: os.NewFile(uintptr(f.fd), f.path), sum: sha256.New(), digest: d, store: s}, nil
}

// CopyTo writes a blob's bytes into dst, an empty file that stands at its
// beginning, and returns their count. Where the file system can, a large
// blob's blocks are shared with dst and not copied; the bytes are proved
// either way. Errors are those of Open and of its reader; after one, dst is
// empty.
func (s *Store) CopyTo(ctx context.Context, d blob.Digest, dst *os.File) (int64, error) {
	f, size, err := s.open(d)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := s.buffers.Get().(*[chunk]byte)
	defer s.buffers.Put(buf)
	if size <= chunk { // prove first, then write
		n, err := fill(ctx, f, buf[:size])
		if err != nil && err != io.EOF {
			return 0, fmt.Errorf("blob: read %s: %w", d, err)
		}
		if blob.Of(buf[:n]) != d {
			return 0, s.corrupt(d, f.fd)
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return 0, errors.Join(fmt.Errorf("blob: copy %s: %w", d, full(err)), dst.Truncate(0))
		}
		return size, nil
	}
	w := io.Writer(dst)
	if clone(int(dst.Fd()), f.fd) == nil {
		w = io.Discard
	}
	got, n, err := s.copyHashed(ctx, w, nil, f)
	switch {
	case err != nil:
		err = fmt.Errorf("blob: copy %s: %w", d, full(err))
	case got != d:
		err = s.corrupt(d, f.fd)
	default:
		return n, nil
	}
	return 0, errors.Join(err, dst.Truncate(0))
}

// source is an open blob, without what the os package adds to a file.
type source struct {
	fd   int
	path string
}

// open opens a blob and touches it.
func (s *Store) open(d blob.Digest) (f source, size int64, err error) {
	if err := valid(d); err != nil {
		return f, 0, err
	}
	var st unix.Stat_t
	if f, err = s.openUntouched(d, &st); err != nil {
		return f, 0, err
	}
	s.touch(f.path, &st) // if it is removed meanwhile, this descriptor still has it
	return f, st.Size, nil
}

func (s *Store) openUntouched(d blob.Digest, st *unix.Stat_t) (source, error) {
	f := source{path: s.path(d)}
	err := retry(func() (err error) {
		f.fd, err = unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		return err
	})
	if errors.Is(err, unix.ENOENT) {
		return f, fmt.Errorf("blob: %s in %s: %w", d, s.dir, blob.ErrNotFound)
	}
	if err != nil {
		return f, fmt.Errorf("blob: open %s: %w", d, err)
	}
	if err := unix.Fstat(f.fd, st); err != nil {
		f.Close()
		return f, fmt.Errorf("blob: open %s: %w", d, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		defer f.Close()
		return f, s.corrupt(d, f.fd)
	}
	return f, nil
}

func (f source) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	err = retry(func() (err error) { n, err = unix.Read(f.fd, p); return err })
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: f.path, Err: err}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f source) Close() error { return unix.Close(f.fd) }

// corrupt sets the damaged blob aside and returns the error that says so.
func (s *Store) corrupt(d blob.Digest, fd int) error {
	err := fmt.Errorf("blob: %s in %s: %w", d, s.dir, blob.ErrCorrupt)
	if aside := s.setAside(d, fd); aside != nil {
		err = errors.Join(err, aside)
	}
	return err
}

// setAside moves the damaged blob that fd shows out of the way.
func (s *Store) setAside(d blob.Digest, fd int) error {
	dir := filepath.Join(s.dir, "corrupt")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path, aside := s.path(d), filepath.Join(dir, d.Hex())
	err := os.Rename(path, aside)
	if errors.Is(err, fs.ErrNotExist) { // another reader was faster
		return nil
	}
	if err != nil {
		return err
	}
	var damaged, moved unix.Stat_t
	if unix.Fstat(fd, &damaged) == nil && unix.Lstat(aside, &moved) == nil && (moved.Ino != damaged.Ino || moved.Dev != damaged.Dev) {
		return putBack(aside, path) // somebody has put it in again meanwhile
	}
	return nil
}

// putBack returns a file that was taken out by mistake to its name, unless
// there is one again.
func putBack(taken, path string) error {
	if err := os.Link(taken, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Remove(taken)
}

// reader reads a blob and proves it on the way.
type reader struct {
	f      *os.File
	sum    hash.Hash
	digest blob.Digest
	store  *Store
	end    error // what the end turned out to be
}

func (r *reader) Read(p []byte) (int, error) {
	if r.end != nil {
		return 0, r.end
	}
	n, err := r.f.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && blob.FromSum(r.sum.Sum(nil)) != r.digest {
		err = r.store.corrupt(r.digest, int(r.f.Fd()))
	}
	r.end = err
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }
