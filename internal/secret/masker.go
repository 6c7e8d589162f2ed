// Package secret keeps values secret: it removes them from whatever is shown,
// reads them from the files that people keep them in, and seals those that a
// server keeps (see [Vault] and [Keys]).
//
// A secret seldom shows itself as it is. It is printed by a shell with quotes
// around it, inside JSON, in a URL, in the base64 of a header that begins with
// a user's name. A [Masker] therefore looks for the forms that tools make of a
// value (see forms in forms.go), all at once, whatever their number, and shows
// *** in their place.
//
// What is masked errs on the side of masking: a text that holds a secret by
// chance is masked too. Only values made of white space are never masked, and
// of values of several lines, the lines of one or two characters (the braces
// of a JSON file) when they stand alone.
package secret

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// mask is what is shown in place of a secret.
const mask = "***"

// rebuild is up to how many bytes of patterns one automaton is made of all of
// them again when some are added. Above, automata of growing size are kept side
// by side, so that adding many values one by one takes no quadratic time.
const rebuild = 1 << 15

// Masker removes secrets from texts. Values may be added while it is used.
// The zero Masker knows no secret. It is safe for concurrent use.
type Masker struct {
	automata atomic.Pointer[[]*automaton] // copied on write

	mu    sync.Mutex
	known map[string]bool // patterns in automata
}

// Add makes values secret. Empty values and those of white space only are
// ignored. Texts shown before are not changed.
func (m *Masker) Add(values ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]bool{}
	}
	var patterns []string
	size := 0
	for _, v := range values {
		forms(v, func(p string) {
			if !m.known[p] {
				m.known[p] = true
				patterns = append(patterns, p)
				size += len(p)
			}
		})
	}
	if len(patterns) == 0 {
		return
	}
	list := slices.Clone(m.list())
	for len(list) > 0 {
		last := list[len(list)-1]
		if last.size > size && last.size+size > rebuild {
			break
		}
		patterns = append(patterns, last.patterns...)
		size += last.size
		list = list[:len(list)-1]
	}
	list = append(list, build(patterns))
	m.automata.Store(&list)
}

func (m *Masker) list() []*automaton {
	if p := m.automata.Load(); p != nil {
		return *p
	}
	return nil
}

// Mask returns line with *** in place of every secret, or line itself when it
// holds none. It does not change line.
func (m *Masker) Mask(line []byte) []byte {
	found := find(m.list(), line)
	if len(found) == 0 {
		return line
	}
	out := make([]byte, 0, len(line)+len(mask)*len(found))
	at := 0
	for _, v := range found {
		out = append(append(out, line[at:v.start]...), mask...)
		at = v.end
	}
	return append(out, line[at:]...)
}

// find is the parts of text that secrets cover, in order and apart.
func find(list []*automaton, text []byte) []interval {
	var found []interval
	for _, a := range list {
		if len(found) == 0 {
			found = a.find(text, found)
			continue
		}
		more := a.find(text, nil)
		if len(more) == 0 {
			continue
		}
		all := append(found, more...)
		slices.SortFunc(all, func(v, w interval) int { return v.end - w.end })
		found = nil
		for _, v := range all {
			found = join(found, v)
		}
	}
	return found
}

// String is Mask for strings.
func (m *Masker) String(s string) string {
	b := []byte(s)
	if found := m.Mask(b); len(found) != len(b) || string(found) != s {
		return string(found)
	}
	return s
}

// Holds reports whether there is a secret in s.
func (m *Masker) Holds(s string) bool {
	text := []byte(s)
	for _, a := range m.list() {
		if a.holds(text) {
			return true
		}
	}
	return false
}

// Writer masks what is written to it and writes it to w. Secrets are found
// across writes and across lines: what may be the beginning of one is kept
// back until it is known, which is never more than a few hundred bytes, and
// Close writes the rest. Closing does not close w. A Writer is not safe for
// concurrent use; its Masker is.
func (m *Masker) Writer(w io.Writer) io.WriteCloser {
	return &writer{m: m, w: w, covered: -1}
}

// Reader masks what is read from r, as [Masker.Writer] does: an artifact that is
// text, on its way out.
func (m *Masker) Reader(r io.Reader) io.Reader {
	f := &reader{from: r, chunk: make([]byte, 32<<10)}
	f.w = m.Writer(&f.shown)
	return f
}

// Copy writes what is read from r to w, masked as [Masker.Writer] does, and
// reports whether anything was. With io.Discard it is a search.
func (m *Masker) Copy(w io.Writer, r io.Reader) (masked bool, err error) {
	out := &writer{m: m, w: w, covered: -1}
	if _, err = io.Copy(out, r); err == nil {
		err = out.Close()
	}
	return out.masked, err
}

// Empty reports whether no secret is known.
func (m *Masker) Empty() bool { return len(m.list()) == 0 }

type reader struct {
	from  io.Reader
	w     io.WriteCloser // masks into shown
	shown bytes.Buffer
	chunk []byte
	err   error // of from, told when all is shown
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for r.shown.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.from.Read(r.chunk)
		r.w.Write(r.chunk[:n]) // into memory: never fails
		if r.err = err; err != nil {
			r.w.Close()
		}
	}
	return r.shown.Read(p)
}

type writer struct {
	m    *Masker
	w    io.Writer
	held []byte // written to us but not yet shown
	// How many bytes of held are part of a mask that was already shown; -1
	// when no mask was shown right before.
	covered int
	masked  bool // something was
	out     []byte
}

// Write implements [io.Writer].
func (w *writer) Write(p []byte) (int, error) {
	text := p
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		text = w.held
	}
	if err := w.flush(text, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was kept back.
func (w *writer) Close() error {
	text := w.held
	w.held = nil
	return w.flush(text, true)
}

// flush shows text, up to what may be the beginning of a secret, and holds the
// rest.
func (w *writer) flush(text []byte, final bool) error {
	list := w.m.list()
	until := len(text)
	if !final {
		for _, a := range list {
			until = min(until, len(text)-a.pending(text))
		}
	}
	found := find(list, text)
	at, covered := 0, w.covered
	if covered > 0 {
		at = covered
	}
	out := w.out[:0]
	direct := true // nothing masked: text goes out as it is
	for _, v := range found {
		if v.start >= until {
			break // all of it is held
		}
		if covered >= 0 && v.start <= covered {
			covered = max(covered, v.end)
		} else {
			out = append(append(out, text[at:v.start]...), mask...)
			covered = v.end
			direct, w.masked = false, true
		}
		at = covered
	}
	var err error
	if at < until {
		covered = -1
		if direct {
			_, err = w.w.Write(text[at:until])
		} else {
			out = append(out, text[at:until]...)
		}
	} else if covered >= 0 {
		covered -= until
	}
	if len(out) > 0 {
		_, err = w.w.Write(out)
	}
	w.out = out
	w.covered = covered
	w.held = append(w.held[:0], text[until:]...)
	return err
}
