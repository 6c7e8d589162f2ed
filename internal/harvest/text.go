package harvest

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// cleanText makes what tools write into XML: control characters, which it may
// not hold, become spaces, and bytes that are no UTF-8 question marks. UTF-16
// is recognised by its byte order mark and becomes UTF-8.
type cleanText struct {
	r   io.Reader
	err error
	buf [32 << 10]byte
	// buf[start:clean] is clean and not yet handed on; buf[clean:end] is the
	// beginning of a character.
	start, clean, end int
}

// newCleanText reads the encoding that XML declares, or a byte order mark
// shows; false when that is one that is not known here.
func newCleanText(r io.Reader) (*cleanText, bool) {
	br := bufio.NewReaderSize(r, 16<<10)
	head, _ := br.Peek(200)
	x := &cleanText{r: br}
	switch {
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		x.r = &utf16Text{r: br, high: 0, low: 1}
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		x.r = &utf16Text{r: br, high: 1, low: 0}
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = br.Discard(3) // they are there: they were peeked at
	default:
		switch declared(string(head)) {
		case "", "utf-8", "utf8", "utf-16", "utf16", "ucs-2": // those of two bytes have a mark, or are not what they say
		case "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1", "iso-8859-15", "windows-1252", "cp1252":
			x.r = &latin1{r: br}
		default:
			return x, false
		}
	}
	return x, true
}

// declared is the encoding that an XML declaration names.
func declared(head string) string {
	decl, _, ok := strings.Cut(head, "?>")
	if !ok || !strings.HasPrefix(decl, "<?xml") {
		return ""
	}
	_, enc, _ := strings.Cut(strings.ToLower(decl), "encoding")
	enc = strings.TrimLeft(enc, "= \"'")
	if end := strings.IndexAny(enc, "\"' "); end >= 0 {
		enc = enc[:end]
	}
	return enc
}

func (x *cleanText) Read(p []byte) (int, error) {
	for x.start == x.clean {
		if x.err != nil && x.clean == x.end {
			return 0, x.err
		}
		x.end = copy(x.buf[:], x.buf[x.clean:x.end])
		x.start, x.clean = 0, 0
		if x.err == nil {
			var n int
			n, x.err = x.r.Read(x.buf[x.end:])
			x.end += n
		}
		x.sweep()
	}
	n := copy(p, x.buf[x.start:x.clean])
	x.start += n
	return n, nil
}

// sweep cleans what has been read, but for a character whose end has not.
func (x *cleanText) sweep() {
	i := x.clean
	for i < x.end {
		c := x.buf[i]
		switch {
		case c < utf8.RuneSelf:
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
				x.buf[i] = ' '
			}
			i++
			continue
		case x.err == nil && !utf8.FullRune(x.buf[i:x.end]):
			x.clean = i
			return
		}
		r, size := utf8.DecodeRune(x.buf[i:x.end])
		switch {
		case r == utf8.RuneError && size == 1:
			x.buf[i] = '?'
		case r == 0xfffe || r == 0xffff:
			copy(x.buf[i:], "   ")
		}
		i += size
	}
	x.clean = i
}

// utf16Text makes UTF-16 UTF-8. The bytes of a pair are at these places.
type utf16Text struct {
	r         *bufio.Reader
	high, low int
	rest      []byte
}

func (u *utf16Text) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		c, err := u.unit()
		if err != nil {
			return 0, err
		}
		if utf16.IsSurrogate(c) {
			second, err := u.unit()
			if err != nil {
				return 0, err
			}
			c = utf16.DecodeRune(c, second)
		}
		if c == 0xfeff { // the mark at the beginning
			c = ' '
		}
		u.rest = []byte(string(c))
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *utf16Text) unit() (rune, error) {
	var b [2]byte
	if _, err := io.ReadFull(u.r, b[:]); err != nil {
		return 0, io.EOF // half a unit is nothing
	}
	return rune(b[u.high])<<8 | rune(b[u.low]), nil
}

// latin1 makes ISO 8859-1 UTF-8. Its relatives differ in a few signs, which a
// test's name can do without.
type latin1 struct {
	r    *bufio.Reader
	rest []byte
}

func (l *latin1) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		c, err := l.r.ReadByte()
		if err != nil {
			return 0, err
		}
		l.rest = []byte(string(rune(c)))
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
