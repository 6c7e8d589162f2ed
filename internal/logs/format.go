// Package logs keeps what the steps of a job print: numbered lines, each with
// its step and its time, in an append-only file that can be read while it
// grows.
//
// A log has one [Writer] and any number of [Reader]s, in other processes too.
// Lines are collected into frames of about 256 KiB, which are compressed in a
// second goroutine and appended. What is not yet a frame lies, uncompressed, in
// a file beside it (the tail), so that a line can be read at most a tenth
// of a second after it was written and survives the death of the writer. A
// log that ends before that time, or writes faster than that, has no tail: a
// small log is one file, written with one call.
//
// # Format
//
// The format is a promise: what one version writes all later ones read. All
// integers are little endian; "uvarint" and "varint" are those of package
// encoding/binary; checksums are CRC-32C. The log PATH is the eight bytes
// "FAIRLOG1" and then blocks. The tail PATH.tail is blocks only. A block is a
// header of 44 bytes and a payload:
//
//	 0  4  "FLB1"
//	 4  1  kind: 'p' plain lines, 'z' lines compressed with Zstandard, 'e' end
//	 5  3  zero
//	 8  8  number of the first line, from 0
//	16  4  count of lines
//	20  4  size of the lines, uncompressed
//	24  4  size of the payload
//	28  4  checksum of the payload
//	32  8  time, in microseconds since 1970, from which the first line counts
//	40  4  checksum of the 40 bytes before
//
// Lines are records, one after another; a block's records need no other
// block:
//
//	uvarint  size of the text × 2, + 1 if a step follows
//	  uvarint, bytes   the step's name, if it is not that of the line before
//	varint   microseconds since the line before
//	bytes    the text
//
// When a log is closed, a block of kind 'e' ends it: its first line is the
// number of lines, and its payload is the sparse index, for each block of lines
//
//	uvarint  bytes since the offset of the block before (of the first: its offset)
//	uvarint  lines since the first line of the block before
//	varint   microseconds since the time of the block before
//
// The last 16 bytes are the offset of that block (8), the checksum of these
// eight bytes (4) and "FLE1". Without that a reader hops from header to header.
//
// The tail holds what comes after the last block of PATH. It is emptied, and
// begun again, only when its lines are in PATH; so lines may be in both, but
// are never in neither. Blocks say which lines they hold, and that is believed
// only when the checksum holds.
package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// MaxLine is the size of the longest line, in bytes.
const MaxLine = 1 << 20

// MaxStep is the size of the longest name of a step, in bytes.
const MaxStep = 4 << 10

const (
	fileMagic  = "FAIRLOG1"
	blockMagic = "FLB1"
	endMagic   = "FLE1"

	headerSize  = 44
	trailerSize = 16

	frameSize = 256 << 10 // of lines, uncompressed, at which a frame is sealed

	// plainSize is the size of lines below which compressing them saves
	// nothing, since a file takes a whole page on the disk anyway.
	plainSize = 4 << 10

	// maxRaw bounds what a reader believes of a block's size: a frame that
	// was nearly full when the longest line came, with room for the future.
	maxRaw = 4 << 20
	// maxIndex bounds the payload of an end block: over a terabyte of text.
	maxIndex = 64 << 20
)

type kind byte

const (
	plain      kind = 'p'
	compressed kind = 'z'
	end        kind = 'e'
)

// header is what a block says of itself.
type header struct {
	kind   kind
	first  int64
	lines  int
	raw    int
	stored int
	sum    uint32
	base   int64 // microseconds
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *header) append(b []byte) []byte {
	at := len(b)
	b = append(b, blockMagic...)
	b = append(b, byte(h.kind), 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.lines))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.raw))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.stored))
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.base))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

var errHeader = errors.New("not the header of a block")

// parseHeader believes nothing that the writer would not have written.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || string(b[:4]) != blockMagic || crc32.Checksum(b[:40], castagnoli) != binary.LittleEndian.Uint32(b[40:]) {
		return h, errHeader
	}
	h = header{
		kind:   kind(b[4]),
		first:  int64(binary.LittleEndian.Uint64(b[8:])),
		lines:  int(binary.LittleEndian.Uint32(b[16:])),
		raw:    int(binary.LittleEndian.Uint32(b[20:])),
		stored: int(binary.LittleEndian.Uint32(b[24:])),
		sum:    binary.LittleEndian.Uint32(b[28:]),
		base:   int64(binary.LittleEndian.Uint64(b[32:])),
	}
	if h.first < 0 || h.first > math.MaxInt64/2 {
		return h, errHeader
	}
	switch h.kind {
	case plain, compressed:
		if h.raw > maxRaw || h.stored > maxRaw || h.lines < 1 || h.lines > h.raw {
			return h, errHeader
		}
	case end:
		if h.stored > maxIndex {
			return h, errHeader
		}
	default:
		return h, errHeader
	}
	return h, nil
}

// lines are records being collected for a block.
type lines struct {
	raw     []byte
	first   int64
	count   int
	base    int64 // time of the first line
	last    int64 // time of the last line
	cut     int64 // time from which the first line of the next block in the tail counts
	step    string
	stepped bool // step was written since the last cut
}

// add appends a record.
func (l *lines) add(step string, at int64, text []byte) {
	if l.count == 0 {
		l.base, l.last, l.cut = at, at, at
	}
	size := uint64(len(text)) << 1
	if !l.stepped || l.step != step {
		l.raw = binary.AppendUvarint(l.raw, size|1)
		l.raw = binary.AppendUvarint(l.raw, uint64(len(step)))
		l.raw = append(l.raw, step...)
		l.step, l.stepped = step, true
	} else {
		l.raw = binary.AppendUvarint(l.raw, size)
	}
	l.raw = binary.AppendVarint(l.raw, at-l.last)
	l.raw = append(l.raw, text...)
	l.last = at
	l.count++
}

// Line is a line of a log.
type Line struct {
	N    int64 // its number, from 0
	Step string
	Time time.Time // UTC, in microseconds
	Text []byte    // without an end of line; valid only until the next line is read
}

var errRecord = errors.New("a record is malformed")

// walk calls fn for each record from a line on. It returns false when fn did.
func walk(h *header, raw []byte, from int64, fn func(Line) bool) (bool, error) {
	var step []byte
	var name string // step as a string, made when it changes
	at := h.base
	for i := range h.lines {
		size, n := binary.Uvarint(raw)
		if n <= 0 {
			return true, errRecord
		}
		raw = raw[n:]
		if size&1 != 0 {
			l, n := binary.Uvarint(raw)
			if n <= 0 || l > uint64(len(raw)-n) {
				return true, errRecord
			}
			step, raw = raw[n:n+int(l)], raw[n+int(l):]
			if string(step) != name {
				name = string(step)
			}
		}
		size >>= 1
		d, n := binary.Varint(raw)
		if n <= 0 || size > uint64(len(raw)-n) {
			return true, errRecord
		}
		text := raw[n : n+int(size) : n+int(size)]
		raw = raw[n+int(size):]
		at += d
		if no := h.first + int64(i); no >= from && !fn(Line{N: no, Step: name, Time: time.UnixMicro(at).UTC(), Text: text}) {
			return false, nil
		}
	}
	if len(raw) > 0 {
		return true, errRecord
	}
	return true, nil
}

// appendBlock appends a whole block of lines, compressed if that is worth it.
func appendBlock(b []byte, l *lines) []byte {
	h := header{kind: plain, first: l.first, lines: l.count, raw: len(l.raw), base: l.base}
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	if len(l.raw) >= plainSize {
		b = encoder().EncodeAll(l.raw, b)
		h.kind = compressed
	}
	if h.kind == plain || len(b)-at-headerSize >= len(l.raw) {
		b = append(b[:at+headerSize], l.raw...)
		h.kind = plain
	}
	h.stored = len(b) - at - headerSize
	h.sum = crc32.Checksum(b[at+headerSize:], castagnoli)
	h.append(b[:at])
	return b
}

// checked returns a payload if its checksum holds.
func (h *header) checked(stored []byte) ([]byte, error) {
	if len(stored) != h.stored || crc32.Checksum(stored, castagnoli) != h.sum {
		return nil, errors.New("the checksum does not hold")
	}
	return stored, nil
}

// payload checks and decompresses a block's payload. dst is used for the
// result if it is large enough.
func (h *header) payload(stored, dst []byte) ([]byte, error) {
	if _, err := h.checked(stored); err != nil {
		return nil, err
	}
	if h.kind == plain {
		if len(stored) != h.raw {
			return nil, errors.New("the sizes contradict each other")
		}
		return stored, nil
	}
	raw, err := decoder().DecodeAll(stored, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(raw) != h.raw {
		return nil, errors.New("the sizes contradict each other")
	}
	return raw, nil
}

// The compressor and its opposite are made when first needed; they have no
// state between blocks and serve all logs.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(frameSize), zstd.WithEncoderConcurrency(min(4, runtime.GOMAXPROCS(0))))
		if err != nil {
			panic(err) // only of options
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderConcurrency(min(4, runtime.GOMAXPROCS(0))))
		if err != nil {
			panic(err) // only of options
		}
		return d
	})
)

// entry is a block of lines as the index knows it.
type entry struct {
	off   int64
	first int64
	base  int64
}

// appendEnd appends the end block and the trailer. off is where they will be.
func appendEnd(b []byte, index []entry, total, off int64) []byte {
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	var last entry
	for _, e := range index {
		b = binary.AppendUvarint(b, uint64(e.off-last.off))
		b = binary.AppendUvarint(b, uint64(e.first-last.first))
		b = binary.AppendVarint(b, e.base-last.base)
		last = e
	}
	h := header{kind: end, first: total, stored: len(b) - at - headerSize, sum: crc32.Checksum(b[at+headerSize:], castagnoli)}
	h.append(b[:at])
	at = len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, endMagic...)
}

var errIndex = errors.New("the index is malformed")

// parseIndex reads the payload of an end block. Blocks lie in order, the first
// after the file's magic, the last before limit.
func parseIndex(b []byte, total, limit int64) ([]entry, error) {
	var index []entry
	var last entry
	for len(b) > 0 {
		off, n := binary.Uvarint(b)
		first, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errIndex
		}
		base, k := binary.Varint(b[n+m:])
		if k <= 0 || off == 0 || off > uint64(limit-last.off) || first > uint64(total-last.first) {
			return nil, errIndex
		}
		b = b[n+m+k:]
		e := entry{off: last.off + int64(off), first: last.first + int64(first), base: last.base + base}
		if e.off < int64(len(fileMagic)) || len(index) > 0 && first == 0 {
			return nil, errIndex
		}
		index = append(index, e)
		last = e
	}
	if len(index) > 0 && (last.first >= total || last.off >= limit) {
		return nil, errIndex
	}
	return index, nil
}

// parseTrailer finds the offset of the end block in the last bytes of a file.
func parseTrailer(b []byte) (off int64, ok bool) {
	if len(b) != trailerSize || !bytes.Equal(b[12:], []byte(endMagic)) || crc32.Checksum(b[:8], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return 0, false
	}
	u := binary.LittleEndian.Uint64(b)
	return int64(u), u < math.MaxInt64/2
}
