package cache

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// A shelf begins with
//
//	magic, number of records, then for each: its size, what it was given, its sum
//	the first bytes of the SHA-256 of that
//
// and then holds the records, the newest first.
const (
	shelfMagic = "FLshlf\x00\x01"
	entrySize  = 8 + 16 + sha256.Size
	firstRead  = 64 << 10 // bytes; most shelves have fewer
)

// entry is what a shelf says of a record of its.
type entry struct {
	size   int64
	inputs [16]byte // inputsOf
	sum    [32]byte // the last bytes of the record
}

// shelf is a shelf that is open for reading.
type shelf struct {
	cache   *Cache
	path    string
	fd      int
	entries []entry
	at      [keptRecords]int64 // where each record begins
	first   []byte             // the first bytes of the file
	buf     [firstRead]byte
}

// openShelf opens a shelf. The error is fs.ErrNotExist or wraps errDamaged or
// what the system says.
func (c *Cache) openShelf(path string) (*shelf, error) {
	fd := -1
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		return err
	})
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	s, _ := c.reads.Get().(*shelf)
	if s == nil {
		s = new(shelf)
	}
	s.cache, s.path, s.fd, s.entries = c, path, fd, s.entries[:0]
	n, err := preadOnce(fd, s.buf[:], 0)
	if err != nil {
		s.close()
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	s.first = s.buf[:n]
	if !s.index() {
		s.close()
		return nil, fmt.Errorf("%w: %s does not begin like a shelf", errDamaged, path)
	}
	return s, nil
}

// index reads the list of records.
func (s *shelf) index() bool {
	b := s.first
	if len(b) < len(shelfMagic)+1 || string(b[:len(shelfMagic)]) != shelfMagic || b[len(shelfMagic)] > keptRecords {
		return false
	}
	end := len(shelfMagic) + 1 + entrySize*int(b[len(shelfMagic)])
	if len(b) < end+headSumSize {
		return false
	}
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:headSumSize], b[end:end+headSumSize]) {
		return false
	}
	at := int64(end + headSumSize)
	for i, b := 0, b[len(shelfMagic)+1:end]; len(b) > 0; i, b = i+1, b[entrySize:] {
		e := entry{size: int64(binary.LittleEndian.Uint64(b)), inputs: [16]byte(b[8:]), sum: [32]byte(b[24:])}
		if e.size < int64(recordLeast) || e.size > maxRecord {
			return false
		}
		s.entries = append(s.entries, e)
		s.at[i] = at
		at += e.size
	}
	return true
}

func (s *shelf) close() {
	unix.Close(s.fd)
	s.fd, s.first = -1, nil
	s.cache.reads.Put(s)
}

// part is some bytes of a record; they are valid until the shelf is closed.
func (s *shelf) part(i int, n int64) ([]byte, error) {
	at := s.at[i]
	if at+n <= int64(len(s.first)) {
		return s.first[at : at+n], nil
	}
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Fstat(s.fd, &st) }); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: s.path, Err: err}
	}
	if st.Size < at+n { // before so much memory is asked for
		return nil, fmt.Errorf("%w: %s is cut short", errDamaged, s.path)
	}
	b := make([]byte, n)
	got, err := pread(s.fd, b, at)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: s.path, Err: err}
	}
	if got < len(b) {
		return nil, fmt.Errorf("%w: %s is cut short", errDamaged, s.path)
	}
	return b, nil
}

// body is all bytes of a record, which end with the right sum; whether they
// add up to it is for decodeWhole to say.
func (s *shelf) body(i int) ([]byte, error) {
	b, err := s.part(i, s.entries[i].size)
	if err != nil {
		return nil, err
	}
	if sumOf(b) != s.entries[i].sum {
		return nil, fmt.Errorf("%w: %s holds another one", errDamaged, s.path)
	}
	return b, nil
}

// record reads a record.
func (s *shelf) record(i int) (*Record, error) {
	b, err := s.body(i)
	if err != nil {
		return nil, err
	}
	r, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if err := s.belongs(r.Key, r.Writer.Scope); err != nil {
		return nil, err
	}
	return r, nil
}

const headRead = 4 << 10 // bytes; most heads have fewer

// head reads the head of a record.
func (s *shelf) head(i int) (head, error) {
	size := s.entries[i].size
	b, err := s.part(i, min(size, headRead))
	if err != nil {
		return head{}, err
	}
	if n := int64(headSize(b)); n > int64(len(b)) && n <= size {
		if b, err = s.part(i, n); err != nil {
			return head{}, err
		}
	}
	h, _, err := decodeHead(b)
	if err != nil {
		return head{}, fmt.Errorf("%s: %w", s.path, err)
	}
	if err := s.belongs(h.key, h.writer.Scope); err != nil {
		return head{}, err
	}
	return h, nil
}

// belongs keeps a record from counting under a key or in a scope that it was
// not written for: somebody may have moved the file.
func (s *shelf) belongs(k Key, scope Scope) error {
	path, err := s.cache.shelfPath(k, scope)
	if err != nil || path != s.path {
		return fmt.Errorf("%w: %s holds one of another step or scope", errDamaged, s.path)
	}
	return nil
}

// writeShelf replaces a shelf. Its directory is locked.
func writeShelf(path string, entries []entry, bodies [][]byte) error {
	b := append(make([]byte, 0, len(shelfMagic)+1+len(entries)*entrySize+headSumSize), shelfMagic...)
	b = append(b, byte(len(entries)))
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.size))
		b = append(b, e.inputs[:]...)
		b = append(b, e.sum[:]...)
	}
	sum := sha256.Sum256(b)
	b = append(b, sum[:headSumSize]...)
	// Who holds the lock has the name for himself, so that what a crash left
	// there is overwritten.
	return replaceBy(path, filepath.Join(filepath.Dir(path), ".next"), append([][]byte{b}, bodies...))
}

// replaceBy writes a file under another name first, so that it is never seen
// half written.
func replaceBy(path, next string, parts [][]byte) error {
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for _, b := range parts {
		if _, err = f.Write(b); err != nil {
			break
		}
	}
	err = firstError(err, f.Close()) // some file systems report a full disk here
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next) // the first error tells more than one of this
	}
	return err
}

// replaceFile writes a file that is never seen half written, without a lock.
func replaceFile(path string, parts ...[]byte) error {
	return replaceBy(path, path+".next-"+rand.Text()[:8], parts)
}

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, most)
	}
	b := make([]byte, info.Size())
	n, err := pread(int(f.Fd()), b, 0)
	return b[:n], err
}

// pread reads until b is full or the file ends.
func pread(fd int, b []byte, at int64) (n int, err error) {
	for n < len(b) {
		got, err := preadOnce(fd, b[n:], at+int64(n))
		if err != nil {
			return n, err
		}
		if got == 0 {
			break
		}
		n += got
	}
	return n, nil
}

// preadOnce reads what comes in one call: of a regular file, all there is.
func preadOnce(fd int, b []byte, at int64) (n int, err error) {
	err = ignoringEINTR(func() (err error) {
		n, err = unix.Pread(fd, b, at)
		return err
	})
	return max(n, 0), err
}

// lockShard waits until nobody else changes shelves in the directory, which is
// made if need be.
func lockShard(ctx context.Context, dir string) (unlock func(), err error) {
	path := filepath.Join(dir, ".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, err
	}
	// Asking again and again, and not waiting in the kernel, keeps a process
	// that was stopped with the lock in hand from stopping others for good.
	wait, deadline := 100*time.Microsecond, time.Now().Add(lockWait)
	for {
		err := ignoringEINTR(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if err == nil {
			break
		}
		if err == unix.EWOULDBLOCK {
			err = ctx.Err()
			if err == nil && time.Now().After(deadline) {
				err = errors.New("another process holds it for too long")
			}
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(wait)
		wait = min(2*wait, 20*time.Millisecond)
	}
	return func() {
		// Closing alone would not do: a process that is just being started
		// still holds every file of ours until it runs its own program.
		unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}

const lockWait = 10 * time.Second

// shelfPath is where the records of a key and scope are.
func (c *Cache) shelfPath(k Key, scope Scope) (string, error) {
	if !k.valid() {
		return "", fmt.Errorf("%.80q is not a key", string(k))
	}
	if scope == "" {
		return "", errors.New("it has no scope")
	}
	return c.dir + "/steps/" + string(k[:1]) + "/" + string(k[1:]) + "." + scope.slug(), nil
}

const maxSlug = 100 // bytes of a scope in a file's name

// slug makes a scope fit for a file's name; different ones stay different.
func (s Scope) slug() string {
	plain := true
	for i := range len(s) {
		plain = plain && plainByte(s[i])
	}
	if plain && len(s) <= maxSlug {
		return string(s)
	}
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		switch c := s[i]; {
		case plainByte(c):
			b = append(b, c)
		case c == '/':
			b = append(b, '=')
		default:
			b = append(b, '%', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	if len(b) > maxSlug {
		sum := sha256.Sum256([]byte(s))
		b = fmt.Appendf(b[:maxSlug-33], "~%x", sum[:16])
	}
	return string(b)
}

func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// sumOf is the sum that a record ends with.
func sumOf(b []byte) [32]byte { return [32]byte(b[len(b)-sha256.Size:]) }

// inputsOf is the digest of what the step was given: two records with the same
// are two runs of the same step on the same things. A time counts only where
// it is compared: of files outside the job's directories whose content was
// not read.
func inputsOf(r *Record) [16]byte {
	h := sha256.New()
	b := make([]byte, 0, 16<<10)
	for i := range r.Inputs {
		in := &r.Inputs[i]
		b = appendText(b, in.Path)
		b = append(b, byte(in.Use), byte(in.Kind))
		b = strconv.AppendBool(b, in.Own)
		b = binary.AppendUvarint(b, uint64(in.Perm))
		b = binary.AppendVarint(b, in.Size)
		if in.Use == record.UseExists && !below(in.Path, r.Dirs.Workspace) && !below(in.Path, r.Dirs.Temp) {
			b = binary.AppendVarint(b, in.MTime)
		}
		b = append(b, in.Digest[:]...)
		if len(b) > 12<<10 {
			h.Write(b)
			b = b[:0]
		}
	}
	b = append(b, 0)
	for _, v := range r.Vars {
		b = appendText(b, v.Name)
		b = append(b, v.Digest[:]...)
	}
	h.Write(b)
	return [16]byte(h.Sum(nil))
}
