package disk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// add counts an entry.
func add(u *blob.Usage, e entry) {
	u.Blobs++
	u.Bytes += e.space()
	if used := time.Unix(0, e.used); u.Oldest.IsZero() || used.Before(u.Oldest) {
		u.Oldest = used
	}
}

// merge adds the other.
func merge(u *blob.Usage, o blob.Usage) {
	u.Blobs += o.Blobs
	u.Bytes += o.Bytes
	if u.Oldest.IsZero() || !o.Oldest.IsZero() && o.Oldest.Before(u.Oldest) {
		u.Oldest = o.Oldest
	}
}

// Usage says what the store holds. It lists only those of the store's
// directories that have changed since they were last listed, by anybody.
func (s *Store) Usage(ctx context.Context) (blob.Usage, error) {
	known := s.readTally()
	next, changed := known, atomic.Bool{}
	err := each(ctx, shards, func(i int) error {
		var st unix.Stat_t
		err := retry(func() error { return unix.Lstat(s.shard(i), &st) })
		if errors.Is(err, unix.ENOENT) {
			next[i] = tallied{}
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: s.shard(i), Err: err}
		}
		if next[i].Changed == st.Mtim.Nano() {
			return nil
		}
		start := time.Now()
		entries, err := s.list(i)
		if err != nil {
			return err
		}
		next[i] = tallyOf(entries)
		// A directory that has just changed may change again without its
		// time showing it: it is listed again next time.
		if start.Sub(modified(&st)).Abs() > settled {
			next[i].Changed = st.Mtim.Nano()
			changed.Store(true)
		}
		return nil
	})
	if err != nil {
		return blob.Usage{}, fmt.Errorf("blob: what %s holds: %w", s.dir, err)
	}
	if changed.Load() {
		s.writeTally(&next)
	}
	var u blob.Usage
	for _, t := range next {
		if t.Blobs > 0 {
			merge(&u, blob.Usage{Blobs: t.Blobs, Bytes: t.Bytes, Oldest: time.Unix(0, t.Oldest)})
		}
	}
	return u, nil
}

// tallied is what a directory held when it had changed last.
type tallied struct {
	Changed              int64 // Unix nanoseconds; 0 when it is to be listed again
	Blobs, Bytes, Oldest int64
}

func tallyOf(entries []entry) (t tallied) {
	for _, e := range entries {
		if t.Blobs++; t.Blobs == 1 || e.used < t.Oldest {
			t.Oldest = e.used
		}
		t.Bytes += e.space()
	}
	return t
}

// settled is longer than the steps in which any file system's times move.
const settled = 2 * time.Second

// tallyMark begins the file usage. What follows is, big-endian, shards times
// the four numbers of a tallied, then the SHA-256 of all that.
const tallyMark = "blobs 1\n"

// readTally reads what was last listed. A file that is not there or not whole
// is no tally: then all is listed.
func (s *Store) readTally() (all [shards]tallied) {
	f, err := os.Open(filepath.Join(s.dir, "usage"))
	if err != nil {
		return all
	}
	defer f.Close()
	data := make([]byte, len(tallyMark)+binary.Size(all)+sha256.Size+1)
	n, err := io.ReadFull(f, data)
	if err != io.ErrUnexpectedEOF || n != len(data)-1 {
		return all
	}
	data, sum := data[:n-sha256.Size], data[n-sha256.Size:n]
	if got := sha256.Sum256(data); !bytes.Equal(got[:], sum) || string(data[:len(tallyMark)]) != tallyMark {
		return all
	}
	binary.Decode(data[len(tallyMark):], binary.BigEndian, &all) // it has the size
	return all
}

// writeTally keeps what was listed. If that fails, it is listed again.
func (s *Store) writeTally(all *[shards]tallied) {
	data, err := binary.Append([]byte(tallyMark), binary.BigEndian, all)
	if err != nil {
		return
	}
	sum := sha256.Sum256(data)
	temp := s.temp()
	if os.WriteFile(temp, append(data, sum[:]...), 0o600) != nil || os.Rename(temp, filepath.Join(s.dir, "usage")) != nil {
		os.Remove(temp)
	}
}

// Collect removes the blobs that were not used for longest, until the store
// holds no more than nine tenths of limit bytes, if it holds more than limit.
// A blob for which keep says true is never removed, nor is one that was used
// in the last minutes. keep may be nil.
//
// Others may use the store meanwhile: a blob that they put in, or are told is
// there, stays. Two that collect at once do not remove more than one would.
// Killed in the middle, Collect has removed whole blobs.
func (s *Store) Collect(ctx context.Context, keep func(blob.Digest) bool, limit int64) (c blob.Collected, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("blob: collect in %s: %w", s.dir, err)
		}
	}()
	if err := s.sweep("tmp", abandoned); err != nil {
		return c, err
	}
	if err := s.sweep("corrupt", looked); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if c.Left, err = s.Usage(ctx); err != nil || c.Left.Bytes <= limit {
		return c, err
	}
	entries, err := s.listAll(ctx)
	if err != nil {
		return c, err
	}
	c.Left = blob.Usage{}
	bytes := int64(0)
	for _, e := range entries {
		bytes += e.space()
	}
	goal := limit / 10 * 9
	now := time.Now()
	for i, e := range entries {
		gone := false
		switch {
		case bytes <= goal:
		case ctx.Err() != nil:
			err = ctx.Err()
		case e.fresh(now), keep != nil && keep(e.digest()):
			add(&c.Held, e)
		default:
			if gone, err = s.evict(e); !gone && err == nil {
				add(&c.Held, e)
			}
		}
		if err != nil {
			for _, e := range entries[i:] {
				add(&c.Left, e)
			}
			return c, err
		}
		if gone {
			bytes -= e.space()
			add(&c.Removed, e)
		} else {
			add(&c.Left, e)
		}
	}
	return c, nil
}

// evict removes a blob, unless it was used since it was listed. To know, it
// takes the blob's name away first: whoever uses a blob touches it by name and
// sees that it is gone, or is seen here.
func (s *Store) evict(e entry) (bool, error) {
	path, taken := s.path(e.digest()), s.temp()
	err := os.Rename(path, taken)
	if errors.Is(err, fs.ErrNotExist) { // somebody else collects, too
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(taken, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: taken, Err: err}
	}
	if st.Mtim.Nano() != e.used {
		return false, putBack(taken, path)
	}
	return true, os.Remove(taken)
}

// Verify reads all blobs, on all processors, and sets the damaged ones aside.
// It calls progress, unless that is nil, with the bytes read and those there
// are, never twice at once. Blobs that are removed meanwhile are no matter. It
// is no use of a blob. What was found before an error is returned with it.
func (s *Store) Verify(ctx context.Context, progress func(done, total int64)) (blob.Verified, error) {
	var v blob.Verified
	entries, err := s.listAll(ctx)
	if err != nil {
		return v, fmt.Errorf("blob: verify %s: %w", s.dir, err)
	}
	var total int64
	for _, e := range entries {
		total += e.size
	}
	var mu sync.Mutex // guards v
	read := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		if v.Bytes += n; progress != nil {
			progress(v.Bytes, total)
		}
	}
	err = each(ctx, len(entries), func(i int) error {
		d := entries[i].digest()
		err := s.verify(ctx, d, read)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			v.Blobs++
		case errors.Is(err, blob.ErrNotFound):
		case errors.Is(err, blob.ErrCorrupt):
			v.Blobs++
			v.Corrupt = append(v.Corrupt, d)
		default:
			return err
		}
		return nil
	})
	slices.Sort(v.Corrupt)
	return v, err
}

func (s *Store) verify(ctx context.Context, d blob.Digest, read func(int64)) error {
	var st unix.Stat_t
	f, err := s.openUntouched(d, &st)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := s.buffers.Get().(*[chunk]byte)
	defer s.buffers.Put(buf)
	sum := sha256.New()
	for {
		n, err := fill(ctx, f, buf[:])
		sum.Write(buf[:n])
		read(int64(n))
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.EIO): // the disk itself says so
		case err != io.EOF:
			return fmt.Errorf("blob: verify %s: %w", d, err)
		case blob.FromSum(sum.Sum(nil)) == d:
			return nil
		}
		return s.corrupt(d, f.fd)
	}
}

// entry is a blob as a directory shows it.
type entry struct {
	sum  [sha256.Size]byte
	size int64
	used int64 // Unix nanoseconds
}

func (e entry) digest() blob.Digest { return blob.FromSum(e.sum[:]) }

// space is what the blob takes on most disks.
func (e entry) space() int64 {
	const block = 4 << 10
	return (e.size + block - 1) / block * block
}

// fresh reports whether the blob was used just now. A time that is further in
// the future was written by a clock gone wrong, and says nothing.
func (e entry) fresh(now time.Time) bool { return now.Sub(time.Unix(0, e.used)).Abs() < justUsed }

// shards is the number of directories that blobs are in.
const shards = 256

func (s *Store) shard(i int) string { return fmt.Sprintf("%s/sha256/%02x", s.dir, i) }

// list lists a directory of blobs. Files that are not blobs are left alone.
func (s *Store) list(i int) ([]entry, error) {
	dir, err := os.Open(s.shard(i))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(names))
	for _, name := range names {
		e := entry{sum: [sha256.Size]byte{byte(i)}}
		if len(name) != 2*(sha256.Size-1) || strings.ToLower(name) != name {
			continue
		}
		if _, err := hex.Decode(e.sum[1:], []byte(name)); err != nil {
			continue
		}
		var st unix.Stat_t
		err := retry(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			e.size, e.used = st.Size, st.Mtim.Nano()
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// listAll lists all blobs, those first that were not used for longest.
func (s *Store) listAll(ctx context.Context) ([]entry, error) {
	var lists [shards][]entry
	err := each(ctx, shards, func(i int) (err error) {
		lists[i], err = s.list(i)
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := slices.Concat(lists[:]...)
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.used, b.used), bytes.Compare(a.sum[:], b.sum[:]))
	})
	return entries, nil
}

// each calls do for 0 to n-1, on all processors, until one fails or the
// context ends.
func each(ctx context.Context, n int, do func(i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
