package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"
)

// Reader reads one log, while it is being written or later. It is for one
// goroutine.
type Reader struct {
	path string
	f    *os.File

	index   []entry
	lost    []lost // ranges of the file whose headers cannot be read
	scanned int64  // offset up to which index knows the file
	total   int64  // lines up to there
	limit   int64  // when closed: end of the blocks of lines
	closed  bool

	cached     int // index of the block in head and raw, -1 for none
	head       header
	raw        []byte
	in, stored []byte // buffers
}

type lost struct{ from, to int64 } // lines

// Open opens a log for reading.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("logs: open: %w", err)
	}
	r := &Reader{path: path, f: f, cached: -1}
	if err := r.refresh(); err != nil {
		f.Close()
		return nil, fmt.Errorf("logs: open %s: %w", path, err)
	}
	return r, nil
}

// Close closes the reader's file.
func (r *Reader) Close() error { return r.f.Close() }

// ErrFormat says that a file is not a log.
var ErrFormat = errors.New("not a log of a version that can be read")

// refresh learns of what has been added.
func (r *Reader) refresh() error {
	if r.closed {
		return nil
	}
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if r.scanned == 0 {
		if size == 0 {
			return nil // nothing sealed yet
		}
		var magic [len(fileMagic)]byte
		n, err := r.f.ReadAt(magic[:], 0)
		if err != nil && err != io.EOF {
			return err
		}
		if !strings.HasPrefix(fileMagic, string(magic[:n])) {
			return ErrFormat
		}
		if n < len(magic) {
			return nil // torn, or just being written
		}
		r.scanned = int64(n)
	}
	if r.fromEnd(size) {
		return nil
	}
	return r.hop(size)
}

// fromEnd takes the index that a closed log ends with.
func (r *Reader) fromEnd(size int64) bool {
	var t [trailerSize]byte
	if size < int64(len(fileMagic)+headerSize+trailerSize) {
		return false
	}
	if _, err := r.f.ReadAt(t[:], size-trailerSize); err != nil {
		return false
	}
	off, ok := parseTrailer(t[:])
	if !ok || off < int64(len(fileMagic)) || off > size-trailerSize-headerSize {
		return false
	}
	h, err := r.header(off)
	if err != nil || h.kind != end || off+headerSize+int64(h.stored)+trailerSize != size {
		return false
	}
	payload := make([]byte, h.stored)
	if _, err := r.f.ReadAt(payload, off+headerSize); err != nil {
		return false
	}
	if payload, err = h.checked(payload); err != nil {
		return false
	}
	index, err := parseIndex(payload, h.first, off)
	if err != nil {
		return false
	}
	r.index, r.lost, r.total, r.limit, r.scanned, r.closed = index, nil, h.first, off, off, true
	if len(index) > 0 && index[0].first > 0 {
		r.lost = []lost{{0, index[0].first}}
	} else if len(index) == 0 && h.first > 0 {
		r.lost = []lost{{0, h.first}}
	}
	return true
}

func (r *Reader) header(off int64) (header, error) {
	var b [headerSize]byte
	if _, err := r.f.ReadAt(b[:], off); err != nil {
		return header{}, errHeader
	}
	return parseHeader(b[:])
}

// hop goes from header to header. At what is no whole block it stops, as it may
// just be being written, unless there are whole blocks behind it.
func (r *Reader) hop(size int64) error {
	for r.scanned < size {
		h, err := r.header(r.scanned)
		if err != nil || h.first < r.total {
			next, ok := r.resync(size)
			if !ok {
				return nil
			}
			r.scanned = next
			continue
		}
		after := r.scanned + headerSize + int64(h.stored)
		if after > size {
			return nil
		}
		if h.first > r.total {
			r.lost = append(r.lost, lost{r.total, h.first})
			r.total = h.first
		}
		if h.kind == end {
			r.limit, r.closed = r.scanned, true
			return nil
		}
		r.index = append(r.index, entry{off: r.scanned, first: h.first, base: h.base})
		r.scanned, r.total = after, h.first+int64(h.lines)
	}
	return nil
}

// resync finds the next header after a damaged one.
func (r *Reader) resync(size int64) (int64, bool) {
	buf := make([]byte, 64<<10)
	for off := r.scanned + 1; off < size; {
		n, err := r.f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return 0, false
		}
		for p := 0; ; p++ {
			i := bytes.Index(buf[p:n], []byte(blockMagic))
			if i < 0 {
				break
			}
			p += i
			if h, err := r.header(off + int64(p)); err == nil && h.first >= r.total {
				return off + int64(p), true
			}
		}
		if n < len(buf) {
			return 0, false
		}
		off += int64(n - len(blockMagic) + 1)
	}
	return 0, false
}

// load reads a block of the index. What it returns is valid until the next load.
func (r *Reader) load(i int) (*header, []byte, error) {
	if r.cached == i && r.raw != nil {
		return &r.head, r.raw, nil
	}
	r.cached = -1
	e := r.index[i]
	h, err := r.header(e.off)
	if err != nil {
		return nil, nil, err
	}
	if h.kind == end || h.first != e.first || h.first+int64(h.lines) > r.after(i) {
		return nil, nil, errors.New("the index contradicts the block")
	}
	if cap(r.in) < h.stored {
		r.in = make([]byte, h.stored)
	}
	in := r.in[:h.stored]
	if _, err := r.f.ReadAt(in, e.off+headerSize); err != nil {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	raw, err := h.payload(in, r.stored)
	if err != nil {
		return nil, nil, err
	}
	if h.kind == compressed {
		r.stored = raw
	}
	r.head, r.raw, r.cached = h, raw, i
	return &r.head, r.raw, nil
}

// after is the number of the first line after a block of the index.
func (r *Reader) after(i int) int64 {
	if i+1 < len(r.index) {
		return r.index[i+1].first
	}
	return r.total
}

// tailBlock is a block of the tail.
type tailBlock struct {
	header
	raw []byte
}

// maxTail bounds what is read of a tail: a frame's lines, each flushed alone,
// are far less.
const maxTail = 64 << 20

// readTail reads the whole blocks of a tail, up to the first that is not whole:
// the tail may be just being written, or emptied.
func readTail(path string) []tailBlock {
	f, err := os.Open(tailPath(path))
	if err != nil {
		return nil // none
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTail))
	if err != nil {
		return nil
	}
	var blocks []tailBlock
	for {
		h, err := parseHeader(data)
		if err != nil || h.kind != plain || h.stored > len(data)-headerSize {
			return blocks
		}
		raw, err := h.payload(data[headerSize:headerSize+h.stored], nil)
		if err != nil {
			return blocks
		}
		blocks = append(blocks, tailBlock{h, raw})
		data = data[headerSize+h.stored:]
	}
}

// Damage are lines of a log that cannot be read: its file was changed by
// somebody else, or the disk is failing.
type Damage struct {
	Path   string
	Ranges []Range
}

// Range is lines From to To, To not among them.
type Range struct {
	From, To int64
	Why      string
}

func (d *Damage) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "logs: %s is damaged", d.Path)
	for i, r := range d.Ranges {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(d.Ranges)-i)
			break
		}
		fmt.Fprintf(&b, "; lines %d to %d: %s", r.From, r.To-1, r.Why)
	}
	return b.String()
}

func (d *Damage) add(from, to int64, why string) {
	if n := len(d.Ranges); n > 0 && d.Ranges[n-1].To == from && d.Ranges[n-1].Why == why {
		d.Ranges[n-1].To = to
		return
	}
	d.Ranges = append(d.Ranges, Range{from, to, why})
}

func (d *Damage) err() error {
	if len(d.Ranges) == 0 {
		return nil
	}
	return d
}

// Read calls fn for each line from a number on, until fn returns false or there
// are no more now. Lines that cannot be read are left out; a *[Damage] then
// tells which.
func (r *Reader) Read(from int64, fn func(Line) bool) error {
	_, err := r.read(max(from, 0), nil, fn)
	return err
}

// read is Read. It returns the number of the line to go on with. skip, if not
// nil, may say of a block's bytes that no line of it matters.
func (r *Reader) read(from int64, skip func(raw []byte) bool, fn func(Line) bool) (next int64, err error) {
	damage := Damage{Path: r.path}
	next = from
	// The tail is read before the file: lines that move from the one to the
	// other meanwhile are then found twice rather than never.
	var tail []tailBlock
	if !r.closed {
		tail = readTail(r.path)
	}
	if err := r.refresh(); err != nil {
		return next, fmt.Errorf("logs: read %s: %w", r.path, err)
	}
	next, more := r.blocks(next, skip, fn, &damage)
	for _, b := range tail {
		to := b.first + int64(b.lines)
		if !more || to <= next {
			continue
		}
		if b.first > next {
			damage.add(next, b.first, "the file ends before them")
			next = b.first
		}
		var err error
		more, err = walk(&b.header, b.raw, next, func(l Line) bool {
			next = l.N + 1
			return fn(l)
		})
		if err != nil {
			damage.add(next, to, err.Error())
			next = to
		}
	}
	return next, damage.err()
}

// blocks reads what is sealed. It returns false when fn did.
func (r *Reader) blocks(next int64, skip func([]byte) bool, fn func(Line) bool, damage *Damage) (int64, bool) {
	i := sort.Search(len(r.index), func(i int) bool { return r.after(i) > next })
	for _, l := range r.lost {
		if l.to > next {
			damage.add(max(l.from, next), l.to, "the block's header is damaged")
		}
	}
	for ; i < len(r.index); i++ {
		to := r.after(i)
		h, raw, err := r.load(i)
		if err != nil {
			damage.add(max(next, r.index[i].first), to, err.Error())
			next = to
			continue
		}
		if skip == nil || !skip(raw) {
			more, err := walk(h, raw, next, func(l Line) bool {
				next = l.N + 1
				return fn(l)
			})
			if err != nil {
				damage.add(next, to, err.Error())
			}
			if !more {
				return next, false
			}
		}
		next = max(next, to)
	}
	return max(next, r.total), true
}

// Lines is the number of lines that can be read now.
func (r *Reader) Lines() int64 {
	n := int64(0)
	if !r.closed {
		for _, b := range readTail(r.path) {
			n = max(n, b.first+int64(b.lines))
		}
	}
	if err := r.refresh(); err != nil {
		return max(n, r.total)
	}
	return max(n, r.total)
}

// Closed reports whether the log has ended: no line will be added.
func (r *Reader) Closed() bool {
	_ = r.refresh()
	return r.closed
}

// Tail reads the last n lines.
func (r *Reader) Tail(n int64, fn func(Line) bool) error {
	return r.Read(r.Lines()-n, fn)
}

// pollEvery is how often a follower looks for new lines.
const pollEvery = 25 * time.Millisecond

// Follow reads like Read and goes on with lines as they are written, until
// the log is closed, fn returns false (both give nil) or ctx ends (its error).
// Damage does not end it, and is told at the end.
func (r *Reader) Follow(ctx context.Context, from int64, fn func(Line) bool) error {
	from = max(from, 0)
	damage := Damage{Path: r.path}
	stopped := false
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last state
	for {
		// The state is taken before reading: what comes after is seen as a
		// change.
		s := r.state()
		if s != last || s == (state{}) {
			wasClosed := r.closed
			next, err := r.read(from, nil, func(l Line) bool {
				stopped = !fn(l)
				return !stopped
			})
			var d *Damage
			if errors.As(err, &d) {
				damage.Ranges = append(damage.Ranges, d.Ranges...)
			} else if err != nil {
				return err
			}
			from, last = next, s
			if stopped || wasClosed || r.closed {
				return damage.err()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// state changes when lines have been added.
type state struct {
	size, tail int64
	changed    time.Time
}

func (r *Reader) state() state {
	var s state
	if info, err := r.f.Stat(); err == nil {
		s.size = info.Size()
	}
	if info, err := os.Stat(tailPath(r.path)); err == nil {
		s.tail, s.changed = info.Size(), info.ModTime()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return state{}
	}
	return s
}

// Query is what to look for in a log.
type Query struct {
	Text string // in the text of a line
	// Pattern is looked for instead of Text; what matches nothing at all is no match.
	Pattern *regexp.Regexp
	Fold    bool   // upper and lower case are the same
	Step    string // only lines of this step; "" for all
	From    int64  // first line to look at
}

// Counter counts how often a line's text holds what is looked for, without
// overlaps. The empty text is held once by every line.
func (q Query) Counter() func(line []byte) int {
	if q.Pattern != nil {
		return func(line []byte) (n int) {
			for _, at := range q.Pattern.FindAllIndex(line, -1) {
				if at[1] > at[0] {
					n++
				}
			}
			return n
		}
	}
	text := []byte(q.Text)
	if q.Fold {
		if f := newFolded(text); f != nil {
			return f.count
		}
		text = bytes.ToLower(text)
	}
	return func(line []byte) int {
		if len(text) == 0 {
			return 1
		}
		if q.Fold {
			line = bytes.ToLower(line)
		}
		return bytes.Count(line, text)
	}
}

// Found counts what a search found.
type Found struct {
	Lines   int64 // lines that hold the text
	Matches int64 // how often they hold it
}

// Search looks through the whole log and calls fn for lines that match, until
// it returns false; the counts are of all lines in any case. Like Read it may
// return a *[Damage], with true counts of what can be read.
func (r *Reader) Search(ctx context.Context, q Query, fn func(Line) bool) (Found, error) {
	var found Found
	text := []byte(q.Text)
	if q.Pattern != nil {
		prefix, _ := q.Pattern.LiteralPrefix()
		text = []byte(prefix)
	}
	var skip func([]byte) bool
	if (!q.Fold || q.Pattern != nil) && len(text) > 0 {
		skip = func(raw []byte) bool { return ctx.Err() != nil || !bytes.Contains(raw, text) }
	}
	telling, count := true, q.Counter()
	if f := newFolded(text); f != nil {
		// Where it is not in any case, it is not in this one: that is soon found out.
		exact := !q.Fold || q.Pattern != nil
		if !exact {
			count = f.count
		}
		skip = func(raw []byte) bool {
			f.choose(raw)
			return ctx.Err() != nil || f.index(raw) < 0 || exact && !bytes.Contains(raw, text)
		}
	}
	_, err := r.read(max(q.From, 0), skip, func(l Line) bool {
		if q.Step != "" && l.Step != q.Step {
			return true
		}
		n := count(l.Text)
		if n == 0 {
			return ctx.Err() == nil
		}
		found.Lines++
		found.Matches += int64(n)
		telling = telling && fn(l)
		return ctx.Err() == nil
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return found, err
}
