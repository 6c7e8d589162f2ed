package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// chunk is how much is copied between two looks at the context, and the size
// from which on a blob is not held in memory as a whole.
const chunk = 256 << 10

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, r io.Reader) (blob.Digest, int64, error) {
	return s.put(ctx, r, nil)
}

// PutFile stores all bytes of a regular file, wherever its offset stands,
// like Put. Where the file system can, a large file's blocks are shared with
// the blob and not copied.
func (s *Store) PutFile(ctx context.Context, f *os.File) (blob.Digest, int64, error) {
	return s.put(ctx, io.NewSectionReader(f, 0, math.MaxInt64), f)
}

// put stores what r yields: the bytes of f, if there is one.
func (s *Store) put(ctx context.Context, r io.Reader, f *os.File) (d blob.Digest, n int64, err error) {
	defer func() {
		if err != nil {
			d, n, err = "", 0, fmt.Errorf("blob: store in %s: %w", s.dir, full(err))
		}
	}()
	buf := s.buffers.Get().(*[chunk]byte)
	defer s.buffers.Put(buf)
	m, err := fill(ctx, r, buf[:])
	if err != nil && err != io.EOF {
		return "", 0, err
	}
	head := buf[:m]
	if err == io.EOF { // that was all: look before writing
		d = blob.Of(head)
		if size, ok, err := s.use(d); err == nil && ok && size == int64(m) {
			return d, size, nil
		}
	}

	t, err := s.create()
	if err != nil {
		return "", 0, err
	}
	defer t.drop() // it has another name by then, or is not wanted
	if d != "" {
		if _, err := t.Write(head); err != nil {
			return "", 0, err
		}
		return d, int64(m), t.finish(d)
	}
	err = errNoClone
	if f != nil {
		d, n, err = s.cloneHashed(ctx, t, f)
	}
	if err == errNoClone {
		d, n, err = s.copyHashed(ctx, t, head, r)
	}
	if err != nil {
		return "", 0, err
	}
	if size, ok, err := s.use(d); err == nil && ok && size == n {
		return d, n, nil
	}
	return d, n, t.finish(d)
}

// errNoClone is the error of cloneHashed when the file system cannot clone.
var errNoClone = errors.New("no clones here")

// cloneHashed makes t a clone of f and hashes f. The clone itself is not read:
// it would come from the disk, while f is in memory.
func (s *Store) cloneHashed(ctx context.Context, t *temp, f *os.File) (blob.Digest, int64, error) {
	var before, after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &before); err != nil {
		return "", 0, err
	}
	if clone(t.fd, int(f.Fd())) != nil {
		return "", 0, errNoClone
	}
	d, n, err := s.copyHashed(ctx, io.Discard, nil, io.NewSectionReader(f, 0, math.MaxInt64))
	if err != nil {
		return "", n, err
	}
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		return "", n, err
	}
	if before.Size != n || before.Size != after.Size || before.Mtim != after.Mtim || before.Ctim != after.Ctim {
		return "", n, fmt.Errorf("%s was changed meanwhile", f.Name())
	}
	return d, n, nil
}

// full makes a file system that has no room an ErrFull that says what to do.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w (%w): `fairlead cache gc` makes room", blob.ErrFull, err)
	}
	return err
}

// temp is a file in tmp that is being written. Files of the os package cost
// half as much again for a small blob.
type temp struct {
	s    *Store
	fd   int
	path string // "" when it has no name
}

func (s *Store) create() (*temp, error) {
	t := &temp{s: s, fd: -1}
	err := retry(func() (err error) {
		if s.unnamed() {
			t.fd, err = createUnnamed(s.dir + "/tmp")
			return err
		}
		t.path = s.temp()
		// Blobs are never written to again; the mode does not bind this descriptor.
		t.fd, err = unix.Open(t.path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o444)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "create in", Path: s.dir + "/tmp", Err: err}
	}
	return t, nil
}

// canUnnamed reports whether files can be made without a name and get one
// later. For small blobs that takes a third less time than a rename: one
// directory is changed and not two. A durable store renames: there the disk is
// waited for, and file systems have long been tried with it.
func (s *Store) canUnnamed() bool {
	if !s.relaxed {
		return false
	}
	fd, err := createUnnamed(s.dir + "/tmp")
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	path := s.temp()
	return giveName(fd, path) == nil && unix.Unlink(path) == nil
}

// Write writes all of p.
func (t *temp) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := unix.Write(t.fd, p[n:])
		if err != nil && err != unix.EINTR {
			return n, &os.PathError{Op: "write", Path: t.path, Err: err}
		}
		n += max(m, 0)
	}
	return n, nil
}

// finish gives the finished file the blob's name.
func (t *temp) finish(d blob.Digest) error {
	path := t.s.path(d)
	shard := filepath.Dir(path)
	if !t.s.relaxed {
		if err := retry(func() error { return unix.Fsync(t.fd) }); err != nil {
			return &os.PathError{Op: "sync", Path: t.path, Err: err}
		}
	}
	if t.path != "" { // some file systems report a full disk here
		if err := t.close(); err != nil {
			return &os.PathError{Op: "close", Path: t.path, Err: err}
		}
	}
	err := t.publish(path)
	if err == unix.ENOENT { // the first blob of its directory
		if err := t.s.mkdir(shard); err != nil {
			return err
		}
		err = t.publish(path)
	}
	if err != nil {
		return &os.PathError{Op: "name", Path: path, Err: err}
	}
	t.path = ""
	if t.s.relaxed {
		return nil
	}
	return syncDir(shard)
}

// publish makes the file visible at the path.
func (t *temp) publish(path string) error {
	if t.path == "" {
		err := giveName(t.fd, path)
		if err != unix.EEXIST {
			return err
		}
		// Another was faster, or damage is there: replace it.
		t.path = t.s.temp()
		if err := giveName(t.fd, t.path); err != nil {
			return err
		}
	}
	return unix.Rename(t.path, path)
}

func (s *Store) mkdir(shard string) error {
	err := os.Mkdir(shard, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil && !s.relaxed {
		err = syncDir(filepath.Dir(shard))
	}
	return err
}

// drop gives the file up, unless it is finished.
func (t *temp) drop() {
	t.close()
	if t.path != "" {
		unix.Unlink(t.path) // what is left is removed when it is old
	}
}

func (t *temp) close() error {
	fd := t.fd
	if t.fd = -1; fd < 0 {
		return nil
	}
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// fill reads until buf is full. At the end of r, which may come with the last
// bytes, the error is io.EOF.
func fill(ctx context.Context, r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if err == io.EOF && ctx.Err() != nil {
		err = ctx.Err()
	}
	return n, err
}

// copyHashed writes head and the rest of r to w. One goroutine hashes while
// another reads and writes: each takes about as long.
func (s *Store) copyHashed(ctx context.Context, w io.Writer, head []byte, r io.Reader) (blob.Digest, int64, error) {
	const ahead = 3
	type piece struct {
		buf *[chunk]byte
		n   int
	}
	sum := sha256.New()
	full, free, done := make(chan piece, ahead), make(chan *[chunk]byte, ahead), make(chan struct{})
	for range ahead {
		free <- s.buffers.Get().(*[chunk]byte)
	}
	go func() {
		defer close(done)
		sum.Write(head)
		for p := range full {
			sum.Write(p.buf[:p.n])
			free <- p.buf
		}
	}()
	n, err := int64(0), error(nil)
	if len(head) > 0 {
		var m int
		m, err = w.Write(head)
		n = int64(m)
	}
	for err == nil {
		p := piece{buf: <-free}
		p.n, err = fill(ctx, r, p.buf[:])
		if err == nil || err == io.EOF {
			if _, werr := w.Write(p.buf[:p.n]); werr != nil {
				err = werr
			}
			n += int64(p.n)
		}
		full <- p
	}
	close(full)
	<-done
	for range ahead {
		s.buffers.Put(<-free)
	}
	if err != io.EOF {
		return "", n, err
	}
	return blob.FromSum(sum.Sum(nil)), n, nil
}
