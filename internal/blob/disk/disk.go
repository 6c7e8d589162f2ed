// Package disk keeps blobs as files.
//
//	DIR/sha256/ab/cdef…   a blob, under the digits of its digest
//	DIR/tmp/…             bytes on their way in
//	DIR/corrupt/…         what was found to be damaged, for a person to look at
//
// A blob is written to tmp, forced to the disk, and only then renamed to its
// name, so that a name never shows part of a blob; the directory is forced to
// the disk too, so that the name outlives a crash. As all processes do the
// same and names are digests, none of them needs a lock: who renames second
// puts the same bytes in the same place.
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
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// abandoned is the age at which a file in tmp belongs to nobody: a writer
// touches its file with every write.
const abandoned = 24 * time.Hour

// chunk is how much is copied between two looks at the context.
const chunk = 256 << 10

// Store keeps blobs in a directory. It implements blob.Store.
type Store struct{ dir string }

// Open returns the store in the directory, which is made if need be. What
// writers that died long ago left in tmp is removed.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for _, d := range []string{s.tmp(), filepath.Join(dir, "sha256")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("blob: open the store: %w", err)
		}
	}
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return nil, fmt.Errorf("blob: open the store: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			os.Remove(filepath.Join(s.tmp(), e.Name())) // the next one to open tries again
		}
	}
	return s, nil
}

func (s *Store) tmp() string { return filepath.Join(s.dir, "tmp") }

func (s *Store) path(d blob.Digest) string {
	hex := d.Hex()
	return filepath.Join(s.dir, "sha256", hex[:2], hex[2:])
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, r io.Reader) (d blob.Digest, n int64, err error) {
	defer func() {
		if err != nil {
			d, n, err = "", 0, fmt.Errorf("blob: store %d bytes in %s: %w", n, s.dir, err)
		}
	}()
	f, err := os.CreateTemp(s.tmp(), "put-*")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(f.Name()) // it has another name by then, or is not wanted
	defer f.Close()

	sum := sha256.New()
	if n, err = copyContext(ctx, io.MultiWriter(f, sum), r); err != nil {
		return "", n, err
	}
	d = blob.FromSum(sum.Sum(nil))
	path := s.path(d)
	if info, err := os.Stat(path); err == nil && info.Size() == n {
		return d, n, nil
	}
	if err := f.Chmod(0o444); err != nil {
		return "", n, err
	}
	if err := f.Sync(); err != nil {
		return "", n, err
	}
	if err := f.Close(); err != nil { // some file systems report a full disk here
		return "", n, err
	}
	if err := s.link(f.Name(), path); err != nil {
		return "", n, err
	}
	return d, n, nil
}

// link gives the finished file its name, for good.
func (s *Store) link(tmp, path string) error {
	shard := filepath.Dir(path)
	err := os.Mkdir(shard, 0o700)
	if err == nil {
		err = syncDir(filepath.Dir(shard))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(shard)
}

// Open implements blob.Store. A blob found to be damaged is moved to corrupt,
// so that it is missing from then on and can be put in again.
func (s *Store) Open(_ context.Context, d blob.Digest) (io.ReadCloser, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("blob: %.80q is not a SHA-256 digest", string(d))
	}
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob: %s in %s: %w", d, s.dir, blob.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", d, err)
	}
	return &reader{f: f, sum: sha256.New(), digest: d, store: s}, nil
}

// Missing implements blob.Store.
func (s *Store) Missing(ctx context.Context, digests []blob.Digest) ([]blob.Digest, error) {
	var missing []blob.Digest
	seen := make(map[blob.Digest]bool, len(digests))
	for _, d := range digests {
		if !d.Valid() {
			return nil, fmt.Errorf("blob: %.80q is not a SHA-256 digest", string(d))
		}
		if seen[d] {
			continue
		}
		seen[d] = true
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, err := os.Stat(s.path(d))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, d)
		case err != nil:
			return nil, fmt.Errorf("blob: look for %s: %w", d, err)
		}
	}
	return missing, nil
}

// setAside moves a damaged blob out of the way.
func (s *Store) setAside(d blob.Digest) error {
	dir := filepath.Join(s.dir, "corrupt")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := os.Rename(s.path(d), filepath.Join(dir, d.Hex()))
	if errors.Is(err, fs.ErrNotExist) { // another reader was faster
		return nil
	}
	return err
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
		err = fmt.Errorf("blob: %s in %s: %w", r.digest, r.store.dir, blob.ErrCorrupt)
		if aside := r.store.setAside(r.digest); aside != nil {
			err = errors.Join(err, aside)
		}
	}
	r.end = err
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }

func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := io.CopyN(w, r, chunk)
		n += m
		if err == io.EOF {
			return n, ctx.Err()
		}
		if err != nil {
			return n, err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
