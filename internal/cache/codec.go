package cache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// A record is written as
//
//	magic
//	length of the head, head, the first bytes of the SHA-256 of all so far
//	table of inputs, table of outputs, body
//	SHA-256 of all so far
//
// so that a head can be believed without reading the rest. Numbers are
// varints; a text that occurs again in the head or the body is a reference to
// where it stood first.
const (
	recordMagic = "FLstep\x00\x03" // the last byte is the format's number
	headSumSize = 8
	recordLeast = len(recordMagic) + 4 + headSumSize + sha256.Size
)

// Limits of a record. What is beyond them is not kept, and what claims to be
// is damaged.
const (
	maxRecord  = 256 << 20 // bytes
	maxHead    = 1 << 20
	maxRows    = 2_000_000 // inputs, outputs
	maxPath    = 16 << 10
	maxList    = 200_000 // entries of any other list
	maxGrowth  = 128     // by which prefixes may multiply a table
	leastTable = 64 << 10
)

var errDamaged = errors.New("the record is damaged")

// head is what is known of a record without reading the whole of it.
type head struct {
	key    Key
	writer Writer
	dirs   plan.Dirs
	took   time.Duration
}

// encode writes a record. It fails when the record is beyond the limits, holds
// a path twice, or holds what may not be stored.
func encode(r *Record) ([]byte, error) {
	if len(r.Effects.Masks) > 0 {
		return nil, errors.New("its effects hold values that may not be stored")
	}
	b := make([]byte, 0, 2048+72*(len(r.Inputs)+len(r.Outputs)))
	b = append(b, recordMagic...)
	b = append(b, 0, 0, 0, 0)
	h := head{key: r.Key, writer: r.Writer, dirs: r.Dirs, took: r.Took}
	x := coder{b: b, writing: true}
	h.code(&x)
	b = x.b
	size := len(b) - len(recordMagic) - 4
	binary.LittleEndian.PutUint32(b[len(recordMagic):], uint32(size))
	sum := sha256.Sum256(b)
	b = append(b, sum[:headSumSize]...)

	b, err := appendTable(b, r.Inputs)
	if err != nil {
		return nil, fmt.Errorf("inputs: %w", err)
	}
	outputs := make([]record.Input, len(r.Outputs))
	for i, o := range r.Outputs {
		outputs[i] = record.Input{Path: o.Path, FileState: o.FileState, Own: o.Made}
	}
	if b, err = appendTable(b, outputs); err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	x = coder{b: b, writing: true}
	codeBody(&x, r)
	if x.err != nil {
		return nil, x.err
	}
	b = x.b
	if size > maxHead || len(b)+sha256.Size > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes is too big to be kept", len(b))
	}
	sum = sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// decode reads what encode wrote; nothing of it refers to b afterwards. The
// error wraps errDamaged.
func decode(b []byte) (*Record, error) {
	h, rest, err := decodeWhole(b)
	if err != nil {
		return nil, err
	}
	r := &Record{Key: h.key, Writer: h.writer, Dirs: h.dirs, Took: h.took}
	if r.Inputs, rest, err = readTable(rest, true); err != nil {
		return nil, fmt.Errorf("%w: inputs: %w", errDamaged, err)
	}
	outputs, rest, err := readTable(rest, false)
	if err != nil {
		return nil, fmt.Errorf("%w: outputs: %w", errDamaged, err)
	}
	if len(outputs) > 0 {
		r.Outputs = make([]record.Output, len(outputs))
		for i := range outputs {
			o := &outputs[i]
			r.Outputs[i] = record.Output{Path: o.Path, FileState: o.FileState, Made: o.Own}
		}
	}
	x := coder{b: rest}
	codeBody(&x, r)
	if x.err == nil && len(x.b) > 0 {
		x.fail("bytes are left over")
	}
	if x.err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, x.err)
	}
	return r, nil
}

// decodeWhole checks all of a record's bytes and reads its head; rest is what
// follows up to the sum.
func decodeWhole(b []byte) (h head, rest []byte, err error) {
	if len(b) < recordLeast || len(b) > maxRecord {
		return head{}, nil, fmt.Errorf("%w: it has %d bytes", errDamaged, len(b))
	}
	body := b[:len(b)-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return head{}, nil, fmt.Errorf("%w: its bytes are not those that were written", errDamaged)
	}
	h, n, err := decodeHead(body)
	if err != nil {
		return head{}, nil, err
	}
	return h, body[n:], nil
}

// headSize is how many bytes of a record decodeHead needs, from its first
// bytes; 0 when those are not a record's.
func headSize(b []byte) int {
	if len(b) < len(recordMagic)+4 || string(b[:len(recordMagic)]) != recordMagic {
		return 0
	}
	size := binary.LittleEndian.Uint32(b[len(recordMagic):])
	if size > maxHead {
		return 0
	}
	return len(recordMagic) + 4 + int(size) + headSumSize
}

// decodeHead reads the head from the first bytes of a record; n is where the
// tables begin.
func decodeHead(b []byte) (h head, n int, err error) {
	n = headSize(b)
	if n == 0 || n > len(b) {
		return head{}, 0, fmt.Errorf("%w: it does not begin like one", errDamaged)
	}
	at := n - headSumSize
	if sum := sha256.Sum256(b[:at]); !bytes.Equal(sum[:headSumSize], b[at:n]) {
		return head{}, 0, fmt.Errorf("%w: its head is not what was written", errDamaged)
	}
	x := coder{b: b[len(recordMagic)+4 : at]}
	h.code(&x)
	if x.err != nil {
		return head{}, 0, fmt.Errorf("%w: %w", errDamaged, x.err)
	}
	return h, n, nil
}

func (h *head) code(x *coder) {
	w := &h.writer
	text(x, &h.key)
	text(x, &w.Run)
	text(x, &w.Job)
	text(x, &w.Step)
	text(x, &w.Commit)
	text(x, &w.Name)
	text(x, &w.JobName)
	text(x, &w.Repository)
	text(x, &w.Root)
	text(x, &w.Pipeline)
	text(x, &w.Scope)
	moment(x, &w.Time)
	text(x, &h.dirs.Workspace)
	text(x, &h.dirs.Temp)
	text(x, &h.dirs.Tools)
	text(x, &h.dirs.Home)
	number(x, &h.took)
}

// codeBody is all of a record that is neither in its head nor in a table.
func codeBody(x *coder, r *Record) {
	list(x, &r.Vars, func(x *coder, v *Var) {
		text(x, &v.Name)
		flag(x, &v.Secret)
		x.raw(v.Digest[:])
		text(x, &v.Where)
	})
	e := &r.Effects
	list(x, &e.Env, setting)
	list(x, &e.Path, text)
	list(x, &e.Outputs, setting)
	list(x, &e.State, setting)
	list(x, &e.Notes, func(x *coder, n *plan.Annotation) {
		text(x, &n.Level)
		text(x, &n.Title)
		text(x, &n.Message)
		text(x, &n.File)
		number(x, &n.Line)
		number(x, &n.EndLine)
		number(x, &n.Col)
		number(x, &n.EndCol)
	})
	x.bytes(&e.Summary)
	list(x, &e.Artifacts, func(x *coder, a *plan.Artifact) {
		text(x, &a.Name)
		text(x, &a.Digest)
		number(x, &a.Size)
		text(x, &a.Path)
	})
	text(x, &e.Fail)
	text(x, &e.Lacking)
	list(x, &r.Reports, func(x *coder, t *Report) {
		text(x, &t.Kind)
		x.bytes(&t.Body)
	})
	text(x, &r.Log)
	number(x, &r.Lines)
	text(x, &r.Mechanism)
	list(x, &r.Programs, text)
	list(x, &r.Peers, text)
	number(x, &r.Calls)
	number(x, &r.Overhead)
	number(x, &r.MaxAge)
}

func setting(x *coder, s *plan.Setting) {
	text(x, &s.Name)
	text(x, &s.Value)
}

// coder writes values or reads them, by the same description of what follows
// what. After an error it does nothing.
type coder struct {
	b       []byte // what has been written, or is still to be read
	writing bool
	err     error
	at      map[string]int // texts that were written, and their numbers
	texts   []string       // texts that were read
}

func (x *coder) fail(why string) {
	if x.err == nil {
		x.err = errors.New(why)
	}
	x.b = nil
}

func (x *coder) uint(v *uint64) {
	if x.writing {
		x.b = binary.AppendUvarint(x.b, *v)
		return
	}
	u, n := binary.Uvarint(x.b)
	if n <= 0 {
		x.fail("a number is cut short")
		return
	}
	*v, x.b = u, x.b[n:]
}

// take reads n bytes.
func (x *coder) take(n uint64) []byte {
	if n > uint64(len(x.b)) {
		x.fail("it is cut short")
		return nil
	}
	b := x.b[:n]
	x.b = x.b[n:]
	return b
}

// raw is bytes of a fixed number.
func (x *coder) raw(b []byte) {
	if x.writing {
		x.b = append(x.b, b...)
		return
	}
	copy(b, x.take(uint64(len(b))))
}

func (x *coder) bytes(b *[]byte) {
	n := uint64(len(*b))
	x.uint(&n)
	switch {
	case x.writing:
		x.b = append(x.b, *b...)
	case n > 0:
		*b = bytes.Clone(x.take(n))
	}
}

func number[T ~int | ~int64](x *coder, v *T) {
	u := uint64(*v)<<1 ^ uint64(int64(*v)>>63) // zigzag: small when near zero
	x.uint(&u)
	*v = T(int64(u>>1) ^ -int64(u&1))
}

func flag(x *coder, v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	x.uint(&u)
	if u > 1 {
		x.fail("a flag is neither set nor not")
	}
	*v = u == 1
}

func moment(x *coder, t *time.Time) {
	sec, nano := t.Unix(), t.Nanosecond()
	number(x, &sec)
	number(x, &nano)
	if !x.writing {
		*t = time.Unix(sec, int64(nano)).UTC()
	}
}

// text is the number of an earlier text, or 0 and a new one.
func text[T ~string](x *coder, s *T) {
	if x.writing {
		if n, ok := x.at[string(*s)]; ok {
			x.b = binary.AppendUvarint(x.b, uint64(n))
			return
		}
		if x.at == nil {
			x.at = make(map[string]int, 32)
		}
		x.at[string(*s)] = len(x.at) + 1
		x.b = appendText(append(x.b, 0), *s)
		return
	}
	var n uint64
	x.uint(&n)
	switch {
	case x.err != nil:
	case n > uint64(len(x.texts)):
		x.fail("a text is missing")
	case n > 0:
		*s = T(x.texts[n-1])
	default:
		x.uint(&n)
		x.texts = append(x.texts, string(x.take(n)))
		*s = T(x.texts[len(x.texts)-1])
	}
}

func list[T any](x *coder, s *[]T, one func(*coder, *T)) {
	n := uint64(len(*s))
	if n > maxList {
		x.fail(fmt.Sprintf("a list of %d is too long", n))
	}
	x.uint(&n)
	if x.err != nil {
		return
	}
	if !x.writing {
		if n > maxList || n > uint64(len(x.b)) {
			x.fail("a list is cut short")
			return
		}
		if n == 0 {
			return
		}
		*s = make([]T, n)
	}
	for i := range *s {
		one(x, &(*s)[i])
	}
}

// A table is paths and what they hold, column by column:
//
//	number of rows, bytes of all paths together, number of digests
//	length, paths: bytes shared with the path before, bytes that follow, these
//	a byte for each row: bits 0-2 use, 3-5 kind, 6 own or made, 7 has a digest
//	length, for each row that holds something: permissions, size, time, as
//	        differences to the row before
//	digests
//
// Rows are in strict order of path and use; a path used twice counts once.
const (
	kindShift = 3
	bitOwn    = 1 << 6
	bitDigest = 1 << 7
)

func byPathAndUse(a, b record.Input) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Use, b.Use))
}

func appendTable(b []byte, rows []record.Input) ([]byte, error) {
	if len(rows) > maxRows {
		return nil, fmt.Errorf("%d paths are too many to be kept", len(rows))
	}
	if !slices.IsSortedFunc(rows, byPathAndUse) {
		rows = slices.SortedFunc(slices.Values(rows), byPathAndUse)
	}
	arena, digests, prev := 0, 0, ""
	for i := range rows {
		r := &rows[i]
		switch {
		case len(r.Path) > maxPath || r.Path == "":
			return nil, fmt.Errorf("a path of %d bytes cannot be kept", len(r.Path))
		case r.Use > record.UseKind || r.Kind > record.Other:
			return nil, fmt.Errorf("%s: unknown use %d or kind %d", r.Path, r.Use, r.Kind)
		case i > 0 && byPathAndUse(rows[i-1], *r) == 0:
			return nil, fmt.Errorf("%s is there twice", r.Path)
		}
		if r.Path != prev {
			arena += len(r.Path)
			prev = r.Path
		}
		if r.Digest != [32]byte{} {
			digests++
		}
	}
	b = binary.AppendUvarint(b, uint64(len(rows)))
	b = binary.AppendUvarint(b, uint64(arena))
	b = binary.AppendUvarint(b, uint64(digests))

	start := len(b)
	b = append(b, 0, 0, 0, 0)
	prev = ""
	for i := range rows {
		path := rows[i].Path
		n := shared(prev, path)
		b = binary.AppendUvarint(b, uint64(n))
		b = appendText(b, path[n:])
		prev = path
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	if !fits(arena, len(b)-start) {
		return nil, errors.New("the paths are too long to be kept")
	}

	for i := range rows {
		r := &rows[i]
		f := byte(r.Use) | byte(r.Kind)<<kindShift
		if r.Own {
			f |= bitOwn
		}
		if r.Digest != [32]byte{} {
			f |= bitDigest
		}
		b = append(b, f)
	}

	start = len(b)
	b = append(b, 0, 0, 0, 0)
	var perm uint32
	var mtime int64
	for i := range rows {
		r := &rows[i]
		if r.Kind == record.Nothing {
			continue
		}
		b = binary.AppendUvarint(b, uint64(r.Perm^perm))
		b = binary.AppendVarint(b, r.Size)
		b = binary.AppendVarint(b, r.MTime-mtime)
		perm, mtime = r.Perm, r.MTime
	}
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))

	for i := range rows {
		if r := &rows[i]; r.Digest != [32]byte{} {
			b = append(b, r.Digest[:]...)
		}
	}
	return b, nil
}

// fits reports whether a table of so many bytes may hold so long paths: a few
// bytes shall not be able to ask for gigabytes.
func fits(arena, table int) bool {
	return arena <= max(leastTable, table*maxGrowth) && arena <= maxRecord
}

// shared is the number of bytes that both begin with.
func shared(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// columns are the parts of a table, found but not read.
type columns struct {
	rows    int
	arena   int // bytes of all paths
	paths   []byte
	flags   []byte // one for each row
	numbers []byte
	digests []byte
	rest    []byte // what follows the table
}

var errTable = errors.New("the table is not in order")

func splitTable(b []byte) (columns, error) {
	x := coder{b: b}
	var rows, arena, digests uint64
	x.uint(&rows)
	x.uint(&arena)
	x.uint(&digests)
	if x.err != nil || rows > maxRows || rows > uint64(len(x.b)) || digests > rows || arena > maxRecord {
		return columns{}, errTable
	}
	column := func() []byte {
		var n [4]byte
		x.raw(n[:])
		return x.take(uint64(binary.LittleEndian.Uint32(n[:])))
	}
	c := columns{rows: int(rows), arena: int(arena)}
	c.paths = column()
	c.flags = x.take(rows)
	c.numbers = column()
	c.digests = x.take(digests * sha256.Size)
	c.rest = x.b
	if x.err != nil || !fits(c.arena, len(c.paths)+4) {
		return columns{}, errTable
	}
	return c, nil
}

// nextPath reads one path: how much it shares with the one before, and what
// follows.
func nextPath(b []byte) (prefix int, suffix, rest []byte, ok bool) {
	if len(b) >= 2 && b[0] < 0x80 && b[1] < 0x80 { // most are short
		end := 2 + int(b[1])
		if end > len(b) {
			return 0, nil, nil, false
		}
		return int(b[0]), b[2:end], b[end:], true
	}
	p, n := binary.Uvarint(b)
	if n <= 0 || p > maxPath {
		return 0, nil, nil, false
	}
	b = b[n:]
	s, n := binary.Uvarint(b)
	if n <= 0 || s > uint64(len(b)-n) || p+s > maxPath {
		return 0, nil, nil, false
	}
	return int(p), b[n : n+int(s)], b[n+int(s):], true
}

// readTable reads a table; uses says whether its rows have one.
func readTable(b []byte, uses bool) ([]record.Input, []byte, error) {
	c, err := splitTable(b)
	if err != nil {
		return nil, nil, err
	}
	if c.rows == 0 {
		if len(c.paths)+len(c.numbers) > 0 || c.arena > 0 {
			return nil, nil, errTable
		}
		return nil, c.rest, nil
	}
	rows := make([]record.Input, c.rows)
	// All paths share one allocation.
	var arena strings.Builder
	arena.Grow(c.arena)
	paths, numbers, digests := c.paths, c.numbers, c.digests
	path := ""
	var perm uint32
	var mtime int64
	for i := range rows {
		r := &rows[i]
		prefix, suffix, more, ok := nextPath(paths)
		if !ok || prefix > len(path) {
			return nil, nil, errTable
		}
		paths = more
		f := c.flags[i]
		r.Use, r.Kind, r.Own = record.Use(f&7), record.FileKind(f>>kindShift&7), f&bitOwn != 0
		if r.Kind > record.Other || r.Use > record.UseKind || (r.Use == 0) == uses {
			return nil, nil, errTable
		}
		switch {
		case len(suffix) > 0:
			if prefix < len(path) && suffix[0] <= path[prefix] || arena.Len()+prefix+len(suffix) > c.arena {
				return nil, nil, errTable
			}
			start := arena.Len()
			arena.WriteString(path[:prefix])
			arena.Write(suffix)
			path = arena.String()[start:]
		case i == 0 || prefix < len(path) || r.Use <= rows[i-1].Use:
			return nil, nil, errTable
		}
		r.Path = path
		if r.Kind != record.Nothing {
			p, n := binary.Uvarint(numbers)
			if n <= 0 || p > math.MaxUint32 {
				return nil, nil, errTable
			}
			numbers = numbers[n:]
			size, n := binary.Varint(numbers)
			if n <= 0 {
				return nil, nil, errTable
			}
			numbers = numbers[n:]
			delta, n := binary.Varint(numbers)
			if n <= 0 {
				return nil, nil, errTable
			}
			numbers = numbers[n:]
			perm ^= uint32(p)
			mtime += delta
			r.Perm, r.Size, r.MTime = perm, size, mtime
		}
		if f&bitDigest != 0 {
			if len(digests) < sha256.Size {
				return nil, nil, errTable
			}
			r.Digest = [32]byte(digests)
			digests = digests[sha256.Size:]
		}
	}
	if len(paths)+len(numbers)+len(digests) > 0 || arena.Len() != c.arena {
		return nil, nil, errTable
	}
	return rows, c.rest, nil
}

// scan calls each for the rows of a table, in order, until it returns false.
// The path is valid until each returns.
func (c columns) scan(each func(path []byte, use record.Use) bool) error {
	paths := c.paths
	var path []byte
	for i := range c.rows {
		prefix, suffix, more, ok := nextPath(paths)
		if !ok || prefix > len(path) {
			return errTable
		}
		paths = more
		path = append(path[:prefix], suffix...)
		if !each(path, record.Use(c.flags[i]&7)) {
			return nil
		}
	}
	return nil
}
