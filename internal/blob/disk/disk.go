// Package disk keeps blobs as files.
//
//	DIR/sha256/ab/cdef…   a blob, under the digits of its digest
//	DIR/tmp/…             bytes on their way in, and on their way out
//	DIR/corrupt/…         what was found to be damaged, for a person to look at
//	DIR/usage             how much each of the 256 directories holds
//
// A blob is written to tmp and then renamed to its name, so that a name never
// shows part of a blob, whenever the writer is killed. As all processes do the
// same and names are digests, none of them needs a lock: who renames second
// puts the same bytes in the same place.
//
// What a power cut leaves is the difference between the two kinds of store:
//
//   - [Open] is for bytes that nobody can make again, such as artifacts. Bytes
//     are forced to the disk before they get their name, and then the name is:
//     when Put has returned, the blob stays. That is a wait for the disk per blob.
//   - [OpenRelaxed] is for bytes that can be made again, such as outputs of
//     steps: thousands of small blobs in a moment. Nothing waits for the disk.
//     After a power cut a blob may be missing, or torn; a torn one is found out
//     when it is read, like any other damage, and is missing from then on.
//
// The time of a blob's file says when it was last used: put in, put in again,
// opened, copied, or asked for with Missing. It is written at most every ten
// minutes, which makes it free. By it [Store.Collect] removes the blobs that
// were not used for longest, and none that was used just now: a run under way
// may have been told that it is there. Nothing is removed by itself.
//
// Limits: names are those of one directory on one machine, whose clock the
// times are of. Listing for Collect and Verify holds 48 bytes per blob. The
// digest of a blob put in again is believed without reading what is there.
package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

const (
	// abandoned is the age at which a file in tmp belongs to nobody: a writer
	// touches its file with every write.
	abandoned = 24 * time.Hour
	// looked is how long damaged blobs are kept for a person to look at.
	looked = 30 * 24 * time.Hour
	// touchAfter is the age at which a blob's time is written again.
	touchAfter = 10 * time.Minute
	// justUsed is the age up to which a blob is never removed. One whose time
	// is that old was not used for at least the difference to touchAfter.
	justUsed = touchAfter + 5*time.Minute
)

// Store keeps blobs in a directory. It implements blob.Store. It has nothing
// to close.
type Store struct {
	dir     string
	relaxed bool
	temps   string       // what names in tmp begin with
	count   atomic.Int64 // makes them different
	buffers sync.Pool    // of *[chunk]byte
	unnamed func() bool  // whether files in tmp need no name
}

// Open returns the durable store in the directory, which is made if need be.
// What writers that died long ago left in tmp is removed.
func Open(dir string) (*Store, error) { return open(dir, false) }

// OpenRelaxed returns the store in the directory like Open, but one that does
// not wait for the disk: what was put in may be lost in a power cut, though
// not when processes are killed.
func OpenRelaxed(dir string) (*Store, error) { return open(dir, true) }

func open(dir string, relaxed bool) (*Store, error) {
	s := &Store{dir: dir, relaxed: relaxed, temps: filepath.Join(dir, "tmp", rand.Text()) + "-"}
	s.unnamed = sync.OnceValue(s.canUnnamed)
	s.buffers.New = func() any { return new([chunk]byte) }
	for _, d := range []string{filepath.Join(dir, "tmp"), filepath.Join(dir, "sha256")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("blob: open the store: %w", err)
		}
	}
	if err := s.sweep("tmp", abandoned); err != nil {
		return nil, fmt.Errorf("blob: open the store: %w", err)
	}
	return s, nil
}

// sweep removes the files of a directory that are older than the age.
func (s *Store) sweep(name string, age time.Duration) error {
	dir := filepath.Join(s.dir, name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > age {
			os.Remove(filepath.Join(dir, e.Name())) // the next one to sweep tries again
		}
	}
	return nil
}

func (s *Store) path(d blob.Digest) string {
	hex := d.Hex()
	return s.dir + "/sha256/" + hex[:2] + "/" + hex[2:]
}

// temp is a new name in tmp.
func (s *Store) temp() string { return s.temps + strconv.FormatInt(s.count.Add(1), 36) }

// Missing implements blob.Store. Those that are there count as used.
func (s *Store) Missing(ctx context.Context, digests []blob.Digest) ([]blob.Digest, error) {
	var missing []blob.Digest
	seen := make(map[blob.Digest]bool, len(digests))
	for _, d := range digests {
		if err := valid(d); err != nil {
			return nil, err
		}
		if seen[d] {
			continue
		}
		seen[d] = true
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, ok, err := s.use(d)
		if err != nil {
			return nil, fmt.Errorf("blob: look for %s: %w", d, err)
		}
		if !ok {
			missing = append(missing, d)
		}
	}
	return missing, nil
}

// use finds a blob, touches it and returns its size.
func (s *Store) use(d blob.Digest) (size int64, ok bool, err error) {
	var st unix.Stat_t
	path := s.path(d)
	err = retry(func() error { return unix.Lstat(path, &st) })
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return st.Size, st.Mode&unix.S_IFMT == unix.S_IFREG && s.touch(path, &st), nil
}

// touch marks a blob as used. It reports false when the blob is gone: then
// Collect was faster. A time that cannot be written, as in somebody else's
// store, is no error: at worst the blob is collected early.
func (s *Store) touch(path string, st *unix.Stat_t) bool {
	now := time.Now()
	if now.Sub(modified(st)).Abs() < touchAfter { // one in the future is a clock gone wrong
		return true
	}
	ts := unix.NsecToTimespec(now.UnixNano())
	err := retry(func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
	return !errors.Is(err, unix.ENOENT)
}

func modified(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func valid(d blob.Digest) error {
	if !d.Valid() {
		return fmt.Errorf("blob: %.80q is not a SHA-256 digest", string(d))
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
