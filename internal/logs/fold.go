package logs

import (
	"bytes"
	"unicode/utf8"
)

// folded looks for a text of ASCII in upper or lower case alike, without a copy of
// what it looks through: what people ask a log for most.
//
// It goes from one occurrence to the next of a single letter of the text, which
// the processor finds fast, and compares there. So it matters that the letter is a
// rare one: see choose.
type folded struct {
	lower []byte // the text
	at    int    // of the letter that is looked for
}

// newFolded is nil when the text is empty, or not all of ASCII.
func newFolded(text []byte) *folded {
	if len(text) == 0 || bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return nil
	}
	return &folded{lower: bytes.ToLower(text)}
}

// sampled is how many bytes of a block decide which letter of a text is rare there.
const sampled = 4 << 10

// choose picks the letter of the text that is rarest in a sample.
func (f *folded) choose(sample []byte) {
	sample = sample[:min(len(sample), sampled)]
	least := len(sample) + 1
	for i, c := range f.lower {
		n := bytes.Count(sample, f.lower[i:i+1])
		if u := upper(c); u != c {
			n += bytes.Count(sample, []byte{u})
		}
		if n < least {
			least, f.at = n, i
		}
	}
}

// index is where the text is first found, or -1.
func (f *folded) index(b []byte) int {
	if len(b) < len(f.lower) {
		return -1
	}
	where := b[f.at : len(b)-len(f.lower)+f.at+1] // the letter, if the text is to fit
	c := f.lower[f.at]
	u := upper(c)
	low, up := from(where, 0, c), len(where)
	if u != c {
		up = from(where, 0, u)
	}
	for low < len(where) || up < len(where) {
		i := min(low, up)
		if f.is(b[i : i+len(f.lower)]) {
			return i
		}
		if i == low {
			low = from(where, i+1, c)
		} else {
			up = from(where, i+1, u)
		}
	}
	return -1
}

// count is how often the text is found, without overlaps.
func (f *folded) count(b []byte) (n int) {
	for {
		i := f.index(b)
		if i < 0 {
			return n
		}
		n++
		b = b[i+len(f.lower):]
	}
}

// is reports whether b, which is as long, is the text.
func (f *folded) is(b []byte) bool {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != f.lower[i] {
			return false
		}
	}
	return true
}

// from is where c is found in b at i or later, or len(b).
func from(b []byte, i int, c byte) int {
	if at := bytes.IndexByte(b[i:], c); at >= 0 {
		return i + at
	}
	return len(b)
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}
