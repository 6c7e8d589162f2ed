package suite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// layout is the version of what MarshalBinary writes.
const layout = 2

// MarshalBinary writes the test: at most 2 KB, and the same bytes for the same
// results. It never fails.
func (t *Test) MarshalBinary() ([]byte, error) {
	w := writer{b: make([]byte, 0, 512)}
	w.b = append(w.b, layout)
	for _, n := range []int64{t.runs, t.failures, t.flakes, t.skips, t.lostDay, t.before, int64(t.baseBad), int64(t.baseGood), int64(t.clean), int64(t.cleanElse), int64(t.renewals), int64(t.switches)} {
		w.int(n)
	}
	for _, at := range []time.Time{t.first, t.last, t.failed, t.flaked, t.since, t.until} {
		w.time(at)
	}
	w.float(t.age)
	w.float(t.seconds)
	for _, n := range []uint64{t.commit, t.guilty, t.lastRun} {
		w.uint(n)
	}
	w.text(string(t.state), maxName)
	w.text(t.why, maxWhy)
	w.text(t.owner, maxName)
	w.text(t.by, maxName)
	for _, n := range t.lost {
		w.uint(uint64(n))
	}
	w.uint(uint64(len(t.course)))
	run, from := uint64(0), int64(0)
	for _, s := range t.course {
		w.uint(uint64(s.results))
		w.uint(uint64(s.bad))
		w.uint(uint64(s.flakes))
		w.weight(s.good)
		w.weight(s.chance)
		w.int(int64(s.run - run))
		w.int(s.from - from)
		run, from = s.run, s.from
	}
	w.uint(uint64(len(t.seen)))
	for _, c := range t.seen {
		w.b = binary.LittleEndian.AppendUint64(w.b, c.key)
		w.b = binary.LittleEndian.AppendUint64(w.b, c.commit)
		w.int(int64(c.passed - run))
		w.int(int64(c.failed - run))
		w.uint(uint64(c.open))
	}
	w.uint(uint64(len(t.evidence)))
	for _, e := range t.evidence {
		w.uint(uint64(e.Kind))
		w.uint(e.Run)
		w.uint(e.Other)
		w.time(e.Time)
	}
	return w.b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote. Its error says that the
// bytes are not that; the test is then as it was.
func (t *Test) UnmarshalBinary(b []byte) error {
	if len(b) > maxTest {
		return fmt.Errorf("reading a test's state: %d bytes, more than %d", len(b), maxTest)
	}
	if len(b) == 0 || b[0] != layout {
		return errors.New("reading a test's state: not of a version that is known here")
	}
	r, n := reader{b: b[1:]}, Test{}
	for _, p := range []*int64{&n.runs, &n.failures, &n.flakes, &n.skips, &n.lostDay, &n.before} {
		*p = r.int()
	}
	for _, p := range []*int{&n.baseBad, &n.baseGood, &n.clean, &n.cleanElse, &n.renewals, &n.switches} {
		*p = int(r.int())
	}
	for _, p := range []*time.Time{&n.first, &n.last, &n.failed, &n.flaked, &n.since, &n.until} {
		*p = r.time()
	}
	n.age, n.seconds = r.float(), r.float()
	for _, p := range []*uint64{&n.commit, &n.guilty, &n.lastRun} {
		*p = r.uint()
	}
	n.state = record.TestState(r.text())
	n.why, n.owner, n.by = r.text(), r.text(), r.text()
	for i := range n.lost {
		n.lost[i] = uint16(r.uint())
	}
	run, from := uint64(0), int64(0)
	stretches := r.count(maxStretches)
	n.course = make([]stretch, 0, stretches)
	for range stretches {
		s := stretch{results: uint32(r.uint()), bad: uint32(r.uint()), flakes: uint32(r.uint()), good: r.weight(), chance: r.weight()}
		run, from = run+uint64(r.int()), from+r.int()
		s.run, s.from = run, from
		if s.results == 0 || s.bad > s.results || s.flakes > s.bad {
			r.fail()
		}
		n.course = append(n.course, s)
	}
	contents := r.count(maxSeen)
	n.seen = make([]content, 0, contents)
	for range contents {
		n.seen = append(n.seen, content{key: r.fixed(), commit: r.fixed(), passed: run + uint64(r.int()), failed: run + uint64(r.int()), open: uint32(r.uint())})
	}
	for range r.count(maxEvidence) {
		n.evidence = append(n.evidence, Evidence{Kind: EvidenceKind(r.uint()), Run: r.uint(), Other: r.uint(), Time: r.time()})
	}
	switch n.state {
	case "", record.TestHealthy, record.TestSuspected, record.TestQuarantined, record.TestBroken:
	default:
		r.fail()
	}
	if r.bad || len(r.b) > 0 || n.runs < 0 || n.age < 0 || n.age > 600 || n.seconds < 0 {
		return errors.New("reading a test's state: the bytes are damaged")
	}
	*t = n
	return nil
}

type writer struct{ b []byte }

func (w *writer) int(n int64)     { w.b = binary.AppendVarint(w.b, n) }
func (w *writer) uint(n uint64)   { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) float(f float64) { w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(f)) }

// weight writes a weight as a float of 32 bits about its exponent: seven
// digits are more than a weight has.
func (w *writer) weight(f float64) {
	fraction, exponent := math.Frexp(f)
	w.int(int64(exponent))
	w.b = binary.LittleEndian.AppendUint32(w.b, math.Float32bits(float32(fraction)))
}

// time writes whole seconds; 0 is the zero time.
func (w *writer) time(at time.Time) {
	if at.IsZero() {
		w.int(0)
		return
	}
	w.int(at.Unix())
}

func (w *writer) text(s string, limit int) {
	s = clip(s, limit)
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) count(limit uint64) uint64 {
	n := r.uint()
	if n > limit {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	n := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

func (r *reader) float() float64 {
	f := math.Float64frombits(r.fixed())
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.fail()
		return 0
	}
	return f
}

func (r *reader) weight() float64 {
	exponent := r.int()
	if len(r.b) < 4 || exponent < -1100 || exponent > 1000 {
		r.fail()
		return 0
	}
	f := float64(math.Float32frombits(binary.LittleEndian.Uint32(r.b)))
	r.b = r.b[4:]
	if !(f >= 0 && f <= 1) {
		r.fail()
		return 0
	}
	return math.Ldexp(f, int(exponent))
}

func (r *reader) time() time.Time {
	n := r.int()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (r *reader) text() string {
	n := r.count(maxWhy)
	if uint64(len(r.b)) < n {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// clip cuts a text to at most n bytes, at a rune's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	n -= len(mark)
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + mark
}
