package cache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// ErrMoved is wrapped by the errors of [Facts.Digest] when the file is not, or
// no longer, as it was looked at.
var ErrMoved = errors.New("the file was changed meanwhile")

// Facts remembers the digests of files, each with what stat said of the file.
// A fact counts only as long as stat says the same, so that nothing ever has
// to be taken back; and only if the file had been left alone for a while when
// it was read, because a change within one tick of the file system's clock
// cannot be seen.
//
// On the disk the facts of one part of the machine (two directories deep) are
// a file: fixed rows in the order of a hash of the path, of which only those
// chunks are read that are asked for. Paths themselves are not stored: two of
// the same hash displace, but cannot be taken for each other, as one file is
// not the other by inode, size and times.
type Facts struct {
	dir   string
	now   func() time.Time
	boot  [16]byte
	today atomic.Int64 // days since 1970; refreshed when a file is read

	parts   atomic.Pointer[map[string]*part] // by path prefix; replaced as a whole
	adding  sync.Mutex                       // of parts
	buffers sync.Pool                        // of *[]byte
}

// Limits of what is remembered.
const (
	maxFacts    = 2_000_000 // in all parts together
	factsAge    = 30        // days after which an unused fact is dropped
	refreshDays = 7         // days after which a use is noted
)

// A file's content is known for sure if the file had not changed for as long
// as the clocks of file systems are coarse.
const (
	settleTime       = 20 * time.Millisecond
	coarseSettleTime = 2 * time.Second // when times are whole seconds
	// writeBack is how long the kernel may keep what was written from the
	// disk: a file that changed later than that before the facts were saved
	// may not have survived a power failure as it was read.
	writeBack = 90 * time.Second
)

func newFacts(dir string, now func() time.Time) *Facts {
	f := &Facts{dir: dir, now: now}
	f.today.Store(dayOf(now()))
	f.parts.Store(&map[string]*part{})
	return f
}

func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// Facts are the digests that the cache remembers.
func (c *Cache) Facts() *Facts { return c.facts }

// Known is the digest of the regular file that stat told this of, if it is
// remembered. The file is not looked at.
func (f *Facts) Known(path string, look record.Look) ([32]byte, bool) {
	if look.Kind != record.Regular {
		return [32]byte{}, false
	}
	p := f.part(path)
	key := keyOf(path)
	known, ok := p.recent(key)
	if !ok {
		row := p.find(key)
		if row == nil {
			return [32]byte{}, false
		}
		known = factAt(row)
		if known.ctime >= p.saved.settled {
			return [32]byte{}, false
		}
	}
	if !known.is(look) {
		return [32]byte{}, false
	}
	if today := f.today.Load(); known.day < today-refreshDays {
		known.day = today
		p.remember(key, known)
	}
	return known.digest, true
}

// Digest is the SHA-256 of the regular file that stat told this of, remembered
// or read. Links are not followed. The error wraps [ErrMoved] when the file is
// another one by now, or changes while it is read.
func (f *Facts) Digest(path string, look record.Look) ([32]byte, error) {
	if d, ok := f.Known(path, look); ok {
		return d, nil
	}
	if look.Kind != record.Regular {
		return [32]byte{}, fmt.Errorf("digest of %s: it is not a regular file", path)
	}
	now := f.now()
	d, err := f.read(path, look)
	if err != nil {
		return [32]byte{}, fmt.Errorf("digest of %s: %w", path, err)
	}
	if settled(look, now) {
		today := dayOf(now)
		f.today.Store(today)
		f.part(path).remember(keyOf(path), fact{
			size: look.Size, mtime: look.MTime, ctime: look.CTime, ino: look.Ino, digest: d, day: today,
		})
	}
	return d, nil
}

// settled reports whether a file that is read from now on can change no more
// without its times telling.
func settled(look record.Look, now time.Time) bool {
	margin := settleTime
	if look.MTime%1e9 == 0 && look.CTime%1e9 == 0 {
		margin = coarseSettleTime
	}
	return max(look.MTime, look.CTime) < now.Add(-margin).UnixNano()
}

func (f *Facts) read(path string, look record.Look) (d [32]byte, err error) {
	fd := -1
	err = ignoringEINTR(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		return err
	})
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO:
		return d, fmt.Errorf("%w: %w", ErrMoved, err)
	default:
		return d, err
	}
	defer unix.Close(fd)
	same := func() error {
		var st unix.Stat_t
		if err := ignoringEINTR(func() error { return unix.Fstat(fd, &st) }); err != nil {
			return err
		}
		if trace.LookOf(&st) != look {
			return ErrMoved
		}
		return nil
	}
	if err := same(); err != nil {
		return d, err
	}
	buf, _ := f.buffers.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, 128<<10)
		buf = &b
	}
	defer f.buffers.Put(buf)
	n, err := preadOnce(fd, *buf, 0)
	if err != nil {
		return d, err
	}
	if n < len(*buf) && int64(n) == look.Size { // most files; had it grown, its size would tell
		d = sha256.Sum256((*buf)[:n])
		return d, same()
	}
	h := sha256.New()
	for at := int64(0); n > 0; {
		h.Write((*buf)[:n])
		at += int64(n)
		if at > look.Size {
			return d, ErrMoved
		}
		if n, err = pread(fd, *buf, at); err != nil {
			return d, err
		}
	}
	h.Sum(d[:0])
	return d, same()
}

// factKey is where a fact is: those of one directory lie together, and those
// of one tree not far from each other, as they are asked for together.
type factKey struct {
	near uint32 // hash of the tree, four directories deep, and of the directory
	path uint64 // hash of the path
}

func keyOf(path string) factKey {
	i := strings.LastIndexByte(path, '/') + 1
	dir := hashOf(path[:i])
	tree := hashOf(upTo(path, 4))
	return factKey{uint32(tree>>48<<16 | dir>>48), mix(dir + hashOf(path[i:]))}
}

func (k factKey) compare(o factKey) int {
	if c := cmp.Compare(k.near, o.near); c != 0 {
		return c
	}
	return cmp.Compare(k.path, o.path)
}

// upTo is the beginning of a path, so many directories deep.
func upTo(path string, depth int) string {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if depth--; depth == 0 {
				return path[:i]
			}
		}
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// hashOf is a fast hash that stays the same from process to process. It need
// not resist anybody: see Facts.
func hashOf(s string) uint64 {
	const k = 0x9e3779b97f4a7c15
	h := uint64(len(s)) * k
	for ; len(s) >= 8; s = s[8:] {
		h = mix(h ^ (uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56))
	}
	var tail uint64
	for i := range len(s) {
		tail = tail<<8 | uint64(s[i])
	}
	return mix(mix(h^tail) + k)
}

func mix(a uint64) uint64 {
	hi, lo := bits.Mul64(a, 0xd6e8feb86659fd93)
	return hi ^ lo ^ a>>32
}

// fact is what is remembered of a file.
type fact struct {
	size, mtime, ctime int64
	ino                uint64
	digest             [32]byte
	day                int64 // on which it was used
}

func (k *fact) is(l record.Look) bool {
	return k.ctime == l.CTime && k.ino == l.Ino && k.size == l.Size && k.mtime == l.MTime
}

// row is a fact and where it is.
type row struct {
	factKey
	fact
}

// A file of facts is: magic, boot, time of saving, number of rows; the first
// key and the checksum of each chunk of rows; a checksum of that; the rows.
const (
	factsMagic = "FLfact\x00\x01"
	keySize    = 4 + 8
	rowSize    = keySize + 4*8 + 32 + 4 // key, stat, digest, day
	chunkRows  = 512
	fenceSize  = keySize + 4
	factsHead  = len(factsMagic) + 16 + 8 + 8

	ctimeAt = keySize + 2*8
	dayAt   = rowSize - 4
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func (r *row) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, r.near)
	b = le.AppendUint64(b, r.path)
	b = le.AppendUint64(b, uint64(r.size))
	b = le.AppendUint64(b, uint64(r.mtime))
	b = le.AppendUint64(b, uint64(r.ctime))
	b = le.AppendUint64(b, r.ino)
	b = append(b, r.digest[:]...)
	return le.AppendUint32(b, uint32(r.day))
}

func keyAt(b []byte) factKey {
	return factKey{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint64(b[4:])}
}

func factAt(b []byte) fact {
	le := binary.LittleEndian
	b = b[keySize:rowSize]
	return fact{
		size: int64(le.Uint64(b)), mtime: int64(le.Uint64(b[8:])), ctime: int64(le.Uint64(b[16:])), ino: le.Uint64(b[24:]),
		digest: [32]byte(b[32:]), day: int64(le.Uint32(b[64:])),
	}
}

// chunk is some rows in memory, and a hash table over them.
type chunk struct {
	rows  []byte
	table [2 * chunkRows]uint16 // number of the row, from 1; 0 for none
}

func newChunk(rows []byte) *chunk {
	c := &chunk{rows: rows}
	for i := range len(rows) / rowSize {
		at := keyAt(rows[i*rowSize:]).path % uint64(len(c.table))
		for c.table[at] != 0 {
			at = (at + 1) % uint64(len(c.table))
		}
		c.table[at] = uint16(i + 1)
	}
	return c
}

func (c *chunk) find(k factKey) []byte {
	for at := k.path % uint64(len(c.table)); c.table[at] != 0; at = (at + 1) % uint64(len(c.table)) {
		if b := c.rows[int(c.table[at]-1)*rowSize:]; keyAt(b) == k {
			return b[:rowSize]
		}
	}
	return nil
}

// part is the facts of one part of the machine.
type part struct {
	facts *Facts
	path  string

	open   sync.Once
	saved  savedFacts
	chunks []atomic.Pointer[chunk] // read when asked for

	fresh [freshShards]freshFacts // learned or used since
	dirty atomic.Bool             // there are some that were not saved
	any   atomic.Bool             // there are some
}

// freshShards keeps goroutines out of each other's way.
const freshShards = 32

type freshFacts struct {
	sync.RWMutex
	known map[factKey]fact
}

// savedFacts is a part as it is on the disk.
type savedFacts struct {
	file   *os.File // nil when there is none
	rows   int
	start  int64 // of the first row
	fences []byte
	// settled is the change time from which on files may not have survived
	// the end of the machine's last run; rows of such are not believed.
	settled int64
}

func (f *Facts) part(path string) *part {
	prefix := upTo(path, 2)
	if p := (*f.parts.Load())[prefix]; p != nil {
		return p
	}
	f.adding.Lock()
	defer f.adding.Unlock()
	old := *f.parts.Load()
	if p := old[prefix]; p != nil {
		return p
	}
	name := strconv.FormatUint(hashOf(prefix), 16)
	p := &part{facts: f, path: filepath.Join(f.dir, name)}
	all := make(map[string]*part, len(old)+1)
	for prefix, p := range old {
		all[prefix] = p
	}
	all[strings.Clone(prefix)] = p
	f.parts.Store(&all)
	return p
}

func (p *part) remember(k factKey, known fact) {
	s := &p.fresh[k.path%freshShards]
	s.Lock()
	if s.known == nil {
		s.known = map[factKey]fact{}
	}
	s.known[k] = known
	s.Unlock()
	p.any.Store(true)
	p.dirty.Store(true)
}

func (p *part) recent(k factKey) (fact, bool) {
	if !p.any.Load() {
		return fact{}, false
	}
	s := &p.fresh[k.path%freshShards]
	s.RLock()
	known, ok := s.known[k]
	s.RUnlock()
	return known, ok
}

// find looks for a row on the disk; nil when there is none.
func (p *part) find(k factKey) []byte {
	p.open.Do(func() {
		p.saved = openFacts(p.path, p.facts.bootID())
		p.chunks = make([]atomic.Pointer[chunk], p.saved.chunks())
	})
	// Keys of one tree are next to each other, so that the search for the
	// last chunk that begins not after the key is short in cold memory.
	low, high := 0, len(p.chunks)
	for low < high {
		mid := int(uint(low+high) / 2)
		if keyAt(p.saved.fences[mid*fenceSize:]).compare(k) > 0 {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == 0 {
		return nil
	}
	c := p.chunks[low-1].Load()
	if c == nil {
		c = newChunk(p.saved.chunk(low - 1))
		p.chunks[low-1].Store(c)
	}
	return c.find(k)
}

func (s *savedFacts) chunks() int { return len(s.fences) / fenceSize }

// chunk reads the rows of a chunk: none when they are damaged.
func (s *savedFacts) chunk(i int) []byte {
	b := make([]byte, min(chunkRows, s.rows-i*chunkRows)*rowSize)
	n, err := pread(int(s.file.Fd()), b, s.start+int64(i)*chunkRows*rowSize)
	if err != nil || n < len(b) || checksum(b) != binary.LittleEndian.Uint32(s.fences[i*fenceSize+keySize:]) {
		return nil
	}
	return b
}

// openFacts opens what was saved. What is missing or damaged holds nothing.
func openFacts(path string, boot [16]byte) savedFacts {
	file, err := os.Open(path)
	if err != nil {
		return savedFacts{}
	}
	s, ok := readFactsHead(file, boot)
	if !ok {
		file.Close()
		return savedFacts{}
	}
	return s
}

func readFactsHead(file *os.File, boot [16]byte) (savedFacts, bool) {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return savedFacts{}, false
	}
	first := make([]byte, factsHead)
	fd := int(file.Fd())
	if n, err := pread(fd, first, 0); err != nil || n < len(first) || string(first[:len(factsMagic)]) != factsMagic {
		return savedFacts{}, false
	}
	b := first[len(factsMagic):]
	saved, rows := int64(binary.LittleEndian.Uint64(b[16:])), binary.LittleEndian.Uint64(b[24:])
	if rows > maxFacts {
		return savedFacts{}, false
	}
	chunks := (int(rows) + chunkRows - 1) / chunkRows
	s := savedFacts{file: file, rows: int(rows), start: int64(factsHead + chunks*fenceSize + 4), settled: 1<<63 - 1}
	if info.Size() != s.start+int64(rows)*rowSize {
		return savedFacts{}, false
	}
	head := make([]byte, s.start)
	if n, err := pread(fd, head, 0); err != nil || n < len(head) {
		return savedFacts{}, false
	}
	body := head[:len(head)-4]
	if checksum(body) != binary.LittleEndian.Uint32(head[len(body):]) {
		return savedFacts{}, false
	}
	s.fences = body[factsHead:]
	if !bytes.Equal(b[:16], boot[:]) {
		s.settled = saved - int64(writeBack)
	}
	return s, true
}

// bootID changes when the machine starts again. Where it is unknown, every
// start of this program counts as one of the machine.
func (f *Facts) bootID() [16]byte {
	f.adding.Lock()
	defer f.adding.Unlock()
	if f.boot == [16]byte{} {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			b = strconv.AppendInt(nil, f.now().UnixNano(), 10)
		}
		sum := sha256.Sum256(b)
		f.boot = [16]byte(sum[:])
	}
	return f.boot
}

// save writes the parts that have changed, each together with what others have
// saved meanwhile. There is no lock: of two that save at once one may lose what
// it has learned, and learn it again.
func (f *Facts) save() error {
	var failed []error
	saved := false
	for _, p := range *f.parts.Load() {
		if !p.dirty.Swap(false) {
			continue
		}
		saved = true
		if err := p.save(); err != nil {
			p.dirty.Store(true)
			failed = append(failed, err)
		}
	}
	if saved && len(failed) == 0 {
		failed = append(failed, f.trim())
	}
	return errors.Join(failed...)
}

func (p *part) save() error {
	now := p.facts.now()
	boot := p.facts.bootID()
	var fresh []row
	for i := range p.fresh {
		s := &p.fresh[i]
		s.RLock()
		for k, known := range s.known {
			fresh = append(fresh, row{k, known})
		}
		s.RUnlock()
	}
	slices.SortFunc(fresh, func(a, b row) int { return a.compare(b.factKey) })
	old := openFacts(p.path, boot)
	rows := make([]byte, 0, (old.rows+len(fresh))*rowSize)
	if old.file != nil {
		defer old.file.Close()
		oldest := dayOf(now) - factsAge
		for i := range old.chunks() {
			for b := old.chunk(i); len(b) > 0; b = b[rowSize:] {
				key, ctime, day := keyAt(b), int64(binary.LittleEndian.Uint64(b[ctimeAt:])), int64(binary.LittleEndian.Uint32(b[dayAt:]))
				if day < oldest || ctime >= old.settled {
					continue
				}
				for len(fresh) > 0 && fresh[0].compare(key) < 0 {
					rows, fresh = fresh[0].append(rows), fresh[1:]
				}
				if len(fresh) > 0 && fresh[0].factKey == key {
					continue // known better
				}
				rows = append(rows, b[:rowSize]...)
			}
		}
	}
	for i := range fresh {
		rows = fresh[i].append(rows)
	}
	rows = dropOldest(rows, maxFacts)

	b := append(make([]byte, 0, factsHead), factsMagic...)
	b = append(b, boot[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(now.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(rows)/rowSize))
	for c := range slices.Chunk(rows, chunkRows*rowSize) {
		b = append(b, c[:keySize]...)
		b = binary.LittleEndian.AppendUint32(b, checksum(c))
	}
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	if err := os.MkdirAll(filepath.Dir(p.path), 0o700); err != nil {
		return err
	}
	return replaceFile(p.path, b, rows)
}

// dropOldest keeps so many rows: those go that were not used for the longest
// time.
func dropOldest(rows []byte, most int) []byte {
	n := len(rows) / rowSize
	if n <= most {
		return rows
	}
	dayOf := func(i int) uint32 { return binary.LittleEndian.Uint32(rows[i*rowSize+dayAt:]) }
	days := make([]uint32, n)
	for i := range days {
		days[i] = dayOf(i)
	}
	slices.Sort(days)
	// All that were last used before this day go, and of this day as many as
	// must.
	day := days[n-most]
	later, _ := slices.BinarySearch(days, day+1)
	spare := most - (n - later)
	kept := rows[:0]
	for i := range n {
		switch d := dayOf(i); {
		case d < day, d == day && spare == 0:
			continue
		case d == day:
			spare--
		}
		kept = append(kept, rows[i*rowSize:(i+1)*rowSize]...)
	}
	return kept
}

// trim removes the parts that nobody has used for long, what writers that died
// have left, and, beyond the limit of all, those that were not saved for the
// longest time.
func (f *Facts) trim() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	now := f.now()
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // somebody else trims
		}
		age := now.Sub(info.ModTime())
		if age > (factsAge+refreshDays)*24*time.Hour || strings.Contains(e.Name(), ".next-") && age > time.Hour {
			os.Remove(filepath.Join(f.dir, e.Name())) // the next one tries again
			continue
		}
		files = append(files, info)
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range files {
		if total <= maxFacts*(rowSize+1) {
			break
		}
		os.Remove(filepath.Join(f.dir, info.Name()))
		total -= info.Size()
	}
	return nil
}

// size is how many bytes the facts have on the disk.
func (f *Facts) size() (int64, error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	total := int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total, err
}

// close gives files back.
func (f *Facts) close() {
	for _, p := range *f.parts.Load() {
		p.open.Do(func() {})
		if p.saved.file != nil {
			p.saved.file.Close()
		}
	}
}
