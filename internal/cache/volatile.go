package cache

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Volatile variables change from run to run: the run's number, the commit, a
// token. A step that has them in its environment may use them, and nobody sees
// whether it does. But what uses one has its name, and what it makes often has
// its value: so a variable counts for a step when its name is in its script or
// in a file of the workspace that it read, or its name or value is in what it
// ran, left or printed.

// Limits of the search for volatile variables. What is beyond them was not
// searched, and then all variables count.
const (
	shortestValue = 6       // bytes: shorter values are everywhere
	maxSearched   = 2 << 30 // bytes of files that a step read
)

// digestVar is the digest of a variable's value, "" for one that is not set;
// of a secret it is an HMAC, which tells nothing without the key of this cache.
func (c *Cache) digestVar(name, value string, secret bool) ([32]byte, error) {
	if !secret {
		return sha256.Sum256([]byte(value)), nil
	}
	key, err := c.seen.hmac.get(c.dir)
	if err != nil {
		return [32]byte{}, err
	}
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, name)
	mac.Write([]byte{0})
	io.WriteString(mac, value)
	return [32]byte(mac.Sum(nil)), nil
}

// hmacKey is the random key under which secrets are digested. It is made once
// for a cache's directory.
type hmacKey struct {
	mu  sync.Mutex
	key []byte
}

func (k *hmacKey) get(dir string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		return k.key, nil
	}
	path := filepath.Join(dir, "key")
	key, err := readFile(path, sha256.Size)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(path); err == nil {
			key, err = readFile(path, sha256.Size)
		}
	}
	if err == nil && len(key) != sha256.Size {
		err = errors.New("it is damaged; remove it, and steps that use secrets are known no more")
	}
	if err != nil {
		return nil, fmt.Errorf("cache: key for the digests of secrets %s: %w", path, err)
	}
	k.key = key
	return key, nil
}

// makeKey writes a new key, unless somebody else is faster.
func makeKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "key.next-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, sha256.Size)
	rand.Read(key)
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// finder looks for many texts at once. It jumps: the two bytes at which it
// looks tell how far the next text may be (Wu and Manber's algorithm). Texts
// that would keep the jumps short are looked for one by one.
type finder struct {
	texts   [][]byte
	longest int
	least   int              // bytes of the shortest text that is jumped for; 0 for none
	jumps   [1 << 16]uint8   // by the last two bytes of a window of that length
	begin   map[uint16][]int // which texts begin with a window that ends so
	few     []int            // texts that are looked for one by one
}

const (
	leastJumped = 4
	mostJumped  = 64
	longestText = 512 // of longer texts, the beginning is looked for
)

// newFinder makes a finder. Empty texts are never found.
func newFinder(texts []string) *finder {
	f := &finder{begin: map[uint16][]int{}}
	for i, t := range texts {
		t = t[:min(len(t), longestText)]
		f.texts = append(f.texts, []byte(t))
		f.longest = max(f.longest, len(t))
		switch {
		case t == "":
		case len(t) < leastJumped:
			f.few = append(f.few, i)
		case f.least == 0:
			f.least = min(len(t), mostJumped)
		default:
			f.least = min(f.least, len(t))
		}
	}
	if f.least == 0 {
		return f
	}
	for i := range f.jumps {
		f.jumps[i] = uint8(f.least - 1)
	}
	for i, t := range f.texts {
		if len(t) < leastJumped {
			continue
		}
		last := f.least - 1
		for end := 1; end <= last; end++ {
			pair := pairOf(t, end)
			f.jumps[pair] = min(f.jumps[pair], uint8(last-end))
		}
		f.begin[pairOf(t, last)] = append(f.begin[pairOf(t, last)], i)
	}
	return f
}

func pairOf(b []byte, end int) uint16 { return uint16(b[end-1])<<8 | uint16(b[end]) }

// in marks the texts that occur in the bytes.
func (f *finder) in(b []byte, found []bool) {
	for _, i := range f.few {
		found[i] = found[i] || bytes.Contains(b, f.texts[i])
	}
	if f.least == 0 {
		return
	}
	for at := f.least - 1; at < len(b); {
		pair := pairOf(b, at)
		if jump := f.jumps[pair]; jump > 0 {
			at += int(jump)
			continue
		}
		window := b[at-f.least+1:]
		for _, i := range f.begin[pair] {
			if !found[i] && bytes.HasPrefix(window, f.texts[i]) {
				found[i] = true
			}
		}
		at++
	}
}

// search is a finder at work on bytes that come in pieces. It is an io.Writer.
type search struct {
	finder *finder
	found  []bool
	tail   []byte // of what came before: a text may lie across
	// check, unless nil, is asked after every piece. Its error is Write's, the
	// only one there is.
	check func() error
}

func newSearch(f *finder) *search { return &search{finder: f, found: make([]bool, len(f.texts))} }

func (s *search) Write(p []byte) (int, error) {
	border := max(s.finder.longest-1, 0)
	if len(s.tail) > 0 {
		s.tail = append(s.tail, p[:min(len(p), border)]...)
		s.finder.in(s.tail, s.found)
	}
	s.finder.in(p, s.found)
	if len(p) >= border {
		s.tail = append(s.tail[:0], p[len(p)-border:]...)
	} else {
		if len(s.tail) == 0 {
			s.tail = append(s.tail, p...)
		}
		s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-border):]...)
	}
	if s.check != nil {
		if err := s.check(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// next makes the search ready for other bytes.
func (s *search) next() {
	clear(s.found)
	s.tail = s.tail[:0]
}

// usage finds out which volatile variables a step used, and why they count:
// for each the first reason in the order script, inputs, arguments, outputs,
// log.
type usage struct {
	names []string // sorted
	where []string // by name, "" as long as it does not count
}

func newUsage(vars map[string]string) *usage {
	u := &usage{names: slices.Sorted(maps.Keys(vars))}
	u.where = make([]string, len(u.names))
	return u
}

func (u *usage) add(i int, where string) {
	if u.where[i] == "" {
		u.where[i] = where
	}
}

func (u *usage) addAll(where string) {
	for i := range u.where {
		u.add(i, where)
	}
}

// complete reports whether nothing is left to be found out.
func (u *usage) complete() bool { return !slices.Contains(u.where, "") }

// script looks for names in a text.
func (u *usage) script(text string) {
	for i, name := range u.names {
		if name != "" && strings.Contains(text, name) {
			u.add(i, "named in its script")
		}
	}
}

// inputs looks for names in the files of the job that the step read, on two
// goroutines, most of them small.
// A file that the step has changed since is looked for by its digest: in the
// user's tree, and among the outputs of other steps.
func (u *usage) inputs(ctx context.Context, c *Cache, view *View, root string, inputs []record.Input) error {
	if u.complete() {
		return nil
	}
	var files []*record.Input
	for i := range inputs {
		in := &inputs[i]
		if in.Use == record.UseContent && in.Kind == record.Regular && view.area(in.Path) != outside {
			files = append(files, in)
		}
	}
	known := c.seen.scanned.of(u.names)
	f := newFinder(u.names)
	results := make([]scan, len(files))
	var next, searched atomic.Int64
	work := func() {
		s, buf := newSearch(f), make([]byte, 256<<10)
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(files) {
				return
			}
			r, ok := known.get(files[i].Digest)
			if !ok {
				if searched.Add(files[i].Size) > maxSearched {
					results[i] = scan{unread: "it reads too much to be searched"}
					return
				}
				if r = scanFile(files[i], files[i].Path, s, buf); r.unread != "" {
					r = c.scanOther(ctx, view, root, files[i], s, buf)
				}
				if r.unread == "" {
					known.put(files[i].Digest, r)
				} else {
					r.unread = view.name(files[i].Path) + " " + r.unread
				}
			}
			results[i] = r
		}
	}
	var second sync.WaitGroup
	if len(files) > 1 {
		second.Go(work)
	}
	work()
	second.Wait()
	for i, r := range results {
		for _, n := range r.names {
			u.add(int(n), "named in "+view.name(files[i].Path))
		}
	}
	for _, r := range results {
		if r.unread != "" {
			u.addAll(r.unread)
			break
		}
	}
	return ctx.Err()
}

// scan is which names occur in a file.
type scan struct {
	names  []uint16
	unread string // why that is not known
}

// scanOther looks for names in a file that is not any more what it was, where
// its bytes may be found again.
func (c *Cache) scanOther(ctx context.Context, view *View, root string, in *record.Input, s *search, buf []byte) scan {
	if below(in.Path, view.dirs.Workspace) && root != "" {
		there := *in
		there.MTime = -1 // it has to be proved
		if r := scanFile(&there, filepath.Join(root, rel(in.Path, view.dirs.Workspace)), s, buf); r.unread == "" {
			return r
		}
	}
	lost := scan{unread: "was changed after it was read"}
	bytes, err := c.blobs.Open(ctx, blob.FromSum(in.Digest[:]))
	if err != nil {
		return lost
	}
	defer bytes.Close()
	s.next()
	if _, err := io.CopyBuffer(struct{ io.Writer }{s}, bytes, buf); err != nil {
		return lost
	}
	return s.result()
}

// scanFile looks for names in a file that is at a path now and was an input.
func scanFile(in *record.Input, path string, s *search, buf []byte) scan {
	lost := scan{unread: "was changed after it was read"}
	fd, err := openAt(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return lost
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return lost
	}
	look := trace.LookOf(&st)
	if look.Kind != record.Regular || look.Size != in.Size {
		return lost
	}
	s.next()
	// A file that looks as it did is not digested again.
	w, h := io.Writer(s), sha256.New()
	if look.MTime != in.MTime {
		w = io.MultiWriter(s, h)
	}
	for at := int64(0); at < in.Size; {
		n, err := pread(fd, buf, at)
		if err != nil || n == 0 {
			return lost
		}
		w.Write(buf[:n]) // neither of them fails
		at += int64(n)
	}
	if look.MTime != in.MTime && [32]byte(h.Sum(nil)) != in.Digest {
		return lost
	}
	return s.result()
}

// result is what was found since next.
func (s *search) result() (r scan) {
	for i, found := range s.found {
		if found {
			r.names = append(r.names, uint16(i))
		}
	}
	return r
}

// scanned remembers in which contents which names occur, since the steps of a
// run read the same files.
type scanned struct {
	mu    sync.Mutex
	names map[string]*scans
}

// scans are those for one list of names.
type scans struct {
	mu sync.RWMutex
	of map[[32]byte][]uint16
}

func (s *scanned) of(names []string) *scans {
	key := strings.Join(names, "\x00")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[key] == nil {
		if len(s.names) >= 16 || s.names == nil {
			s.names = map[string]*scans{}
		}
		s.names[key] = &scans{of: map[[32]byte][]uint16{}}
	}
	return s.names[key]
}

func (s *scans) get(d [32]byte) (scan, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names, ok := s.of[d]
	return scan{names: names}, ok
}

func (s *scans) put(d [32]byte, r scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) < maxRemembered/4 {
		s.of[d] = r.names
	}
}
