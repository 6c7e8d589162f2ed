package secret

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// automaton finds all occurrences of a set of patterns, in two passes: a
// filter that looks at a few bytes here and there and proves most texts free
// of patterns, and for the others the automaton of Aho and Corasick ("Efficient
// string matching", 1975), which looks at every byte once. So neither many
// patterns nor a text made to be slow cost more than linear time.
//
// It is immutable.
type automaton struct {
	patterns []string
	size     int // bytes of all patterns

	// The trie, in breadth-first order; node 0 is the root. The children of a
	// node follow one another: node n has those from first[n] to first[n+1].
	label []byte
	first []int32
	fail  []int32 // the longest proper suffix that is a node
	depth []int32
	match []int32 // length of the longest pattern that ends here; 0 for none
	root  [256]int32

	longest int
	filter  filter
}

// build makes an automaton of patterns, none of them empty.
func build(patterns []string) *automaton {
	patterns = slices.Clone(patterns)
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	a := &automaton{patterns: patterns}
	nodes := 1
	for i, p := range patterns {
		a.size += len(p)
		a.longest = max(a.longest, len(p))
		nodes += len(p)
		if i > 0 {
			nodes -= shared(patterns[i-1], p)
		}
	}

	// Breadth first over the sorted patterns: a node is a range of patterns
	// that share their first depth bytes.
	type span struct{ from, to int }
	a.label = make([]byte, 1, nodes)
	a.depth = make([]int32, 1, nodes)
	a.match = make([]int32, 1, nodes)
	a.fail = make([]int32, 1, nodes)
	a.first = make([]int32, 0, nodes+1)
	spans := append(make([]span, 0, nodes), span{0, len(patterns)})
	for n := 0; n < len(spans); n++ {
		a.first = append(a.first, int32(len(spans)))
		s, d := spans[n], a.depth[n]
		if s.from < s.to && len(patterns[s.from]) == int(d) && n > 0 {
			a.match[n] = d // itself; the shortest sorts first
			s.from++
		} else if n > 0 {
			a.match[n] = a.match[a.fail[n]]
		}
		for s.from < s.to {
			c, to := patterns[s.from][d], s.from+1
			for to < s.to && patterns[to][d] == c {
				to++
			}
			child := int32(len(spans))
			spans = append(spans, span{s.from, to})
			a.label = append(a.label, c)
			a.depth = append(a.depth, d+1)
			a.match = append(a.match, 0)
			if n == 0 {
				a.root[c] = child
				a.fail = append(a.fail, 0)
			} else {
				// All nodes of lesser depth are there already, with
				// their children.
				a.fail = append(a.fail, a.step(a.fail[n], c))
			}
			s.from = to
		}
	}
	a.first = append(a.first, int32(len(spans)))
	a.filter.init(patterns)
	return a
}

// shared is the length of the longest common prefix.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// step is the node after c.
func (a *automaton) step(n int32, c byte) int32 {
	for n != 0 {
		for i := a.first[n]; i < a.first[n+1]; i++ {
			if a.label[i] == c {
				return i
			}
		}
		n = a.fail[n]
	}
	return a.root[c]
}

// interval is a part of a text, from its first byte up to end.
type interval struct{ start, end int }

// find appends to found the parts of text that patterns cover. Parts that
// overlap or touch one another are one; they are in order.
func (a *automaton) find(text []byte, found []interval) []interval {
	if !a.filter.mayHold(text) {
		return found
	}
	var n int32
	for i, c := range text {
		if n = a.step(n, c); a.match[n] > 0 {
			found = join(found, interval{i + 1 - int(a.match[n]), i + 1})
		}
	}
	return found
}

// join adds an interval that ends no earlier than all before.
func join(list []interval, v interval) []interval {
	for len(list) > 0 && list[len(list)-1].end >= v.start {
		v.start = min(v.start, list[len(list)-1].start)
		list = list[:len(list)-1]
	}
	return append(list, v)
}

// holds reports whether there is a pattern in text.
func (a *automaton) holds(text []byte) bool {
	if !a.filter.mayHold(text) {
		return false
	}
	var n int32
	for _, c := range text {
		if n = a.step(n, c); a.match[n] > 0 {
			return true
		}
	}
	return false
}

// pending is how many bytes at the end of text are the beginning of a pattern,
// which the text that follows may complete.
func (a *automaton) pending(text []byte) int {
	if len(text) == 0 || text[len(text)-1] == '\n' && !a.filter.mayGoOn(text) {
		return 0
	}
	text = text[max(0, len(text)-a.longest):]
	var n int32
	for _, c := range text {
		n = a.step(n, c)
	}
	for n != 0 && a.first[n] == a.first[n+1] { // complete, and no pattern goes on
		n = a.fail[n]
	}
	return int(a.depth[n])
}

// gram is how many bytes the filter looks at together.
const gram = 4

// filter proves texts free of patterns. It holds the grams that patterns have
// at their first stride places; whoever looks at every stride-th place of a
// text sees one of them, if there is a pattern.
type filter struct {
	stride int
	shift  uint
	bitmap []uint64
	grams  map[uint32]struct{}
	tiny   [][]byte // patterns shorter than a gram
	none   bool     // too many of them: nothing can be proved
	// The grams that end with the newlines inside patterns; nil if shorter
	// beginnings do too.
	lineEnds map[uint32]struct{}
	anyEnd   bool
}

const (
	maxStride = 8
	maxTiny   = 8
)

func (f *filter) init(patterns []string) {
	shortest := maxStride + gram - 1
	f.lineEnds = map[uint32]struct{}{}
	for _, p := range patterns {
		if len(p) < gram {
			f.tiny = append(f.tiny, []byte(p))
		} else {
			shortest = min(shortest, len(p))
		}
		for i := range len(p) - 1 {
			if p[i] != '\n' {
				continue
			}
			if i+1 < gram {
				f.anyEnd = true
			} else {
				f.lineEnds[gramAt([]byte(p), i+1-gram)] = struct{}{}
			}
		}
	}
	f.none = len(f.tiny) > maxTiny
	f.stride = shortest - gram + 1
	f.grams = make(map[uint32]struct{}, len(patterns)*f.stride)
	for _, p := range patterns {
		if len(p) >= gram {
			for i := range f.stride {
				f.grams[gramAt([]byte(p), i)] = struct{}{}
			}
		}
	}
	// Sixteen bits a gram, within what the caches hold.
	n := min(max(bits.Len(uint(len(f.grams)*16)), 10), 20)
	f.shift = uint(32 - n)
	f.bitmap = make([]uint64, 1<<(n-6))
	for g := range f.grams {
		h := g * spread >> f.shift
		f.bitmap[h>>6] |= 1 << (h & 63)
	}
}

// spread is 2³² divided by the golden ratio: multiplying by it spreads grams
// over the bitmap (Knuth, "Sorting and Searching", 6.4).
const spread = 2654435769

func gramAt(text []byte, i int) uint32 { return binary.LittleEndian.Uint32(text[i:]) }

// mayHold reports whether there may be a pattern in text.
func (f *filter) mayHold(text []byte) bool {
	if f.none {
		return true
	}
	for _, t := range f.tiny {
		if bytes.Contains(text, t) {
			return true
		}
	}
	if len(f.grams) == 0 {
		return false
	}
	bitmap, shift, stride := f.bitmap, f.shift, f.stride
	for i := 0; i+gram <= len(text); i += stride {
		g := binary.LittleEndian.Uint32(text[i : i+gram])
		h := g * spread >> shift
		if bitmap[h>>6]&(1<<(h&63)) != 0 {
			if _, ok := f.grams[g]; ok {
				return true
			}
		}
	}
	return false
}

// mayGoOn reports whether a text that ends with a newline may end with the
// beginning of a pattern.
func (f *filter) mayGoOn(text []byte) bool {
	if f.anyEnd {
		return true
	}
	if len(f.lineEnds) == 0 || len(text) < gram {
		return false
	}
	_, ok := f.lineEnds[gramAt(text, len(text)-gram)]
	return ok
}
