package fault

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Limits of [Templates].
const (
	// maxTemplates is how many templates are kept; further lines are of none.
	maxTemplates = 20_000
	// maxBucket is how many templates are compared with a line.
	maxBucket = 200
	// maxRecent is how many signatures are remembered: a short cut.
	maxRecent = 1 << 15
	// similar is the share of its own words that a line must have in common
	// with a template.
	similar = 0.7
	// fanOut is how many templates that differ in one and the same word make
	// that word a value.
	fanOut = 5
)

// Templates sorts lines by the instruction that printed them: a line belongs
// to the template whose words it has, after its values are masked. What is a
// value although it looks like a word (a user's name) is learned: it differs
// where all the rest is alike.
//
// It is the method of Drain (He et al., ICWS 2017), a tree of fixed depth in
// front of a comparison word by word, with three changes that make one setting
// do for logs of all kinds: values are masked with what belongs to them and
// lists of them are one, so that lines of one template have the same length;
// similarity counts the words and not the values; and a word that has had many
// values beside the same neighbours becomes one, even in a short line.
//
// Time is linear in the length of the lines, memory bounded by the number of
// templates. The zero value is ready.
type Templates struct {
	groups  []template
	buckets map[uint64][]int32 // whole ones, by length and first word; in order
	holes   map[uint64][]int32 // by all words but one; some are no longer so
	recent  map[uint64]found   // by signature
	changed uint32             // counts changes of the templates
	words   []word
}

// found is the template that a signature had when changed was so.
type found struct {
	id      int32
	changed uint32
}

// template is what lines have in common.
type template struct {
	Hashes []uint64 `json:"h"`
	Text   []string `json:"t"` // words with their punctuation and the space before; "" for a value
	Count  int64    `json:"n"`
	Into   int32    `json:"i"` // the template that this one became part of; its own number when it is whole
}

// Add adds a line, and returns the number of its template: from 0, or -1 when
// there are too many. What it returned before may since have become part of
// another; see [Templates.Of].
func (t *Templates) Add(line string) int {
	t.words = scan(t.words[:0], line)
	sig := signature(t.words)
	if f, ok := t.recent[sig]; ok && f.changed == t.changed {
		t.groups[f.id].Count++
		return int(f.id)
	}
	id := t.find(t.words, line)
	if id < 0 {
		return -1
	}
	if len(t.recent) >= maxRecent {
		clear(t.recent)
	}
	t.recent[sig] = found{id, t.changed}
	t.groups[id].Count++
	return int(id)
}

// Of is the template that what was called id belongs to now.
func (t *Templates) Of(id int) int {
	if id < 0 || id >= len(t.groups) {
		return -1
	}
	return int(t.whole(int32(id)))
}

// Len is how many numbers have been given to templates.
func (t *Templates) Len() int { return len(t.groups) }

// Count is how many lines a template has had.
func (t *Templates) Count(id int) int64 {
	if id = t.Of(id); id < 0 {
		return 0
	}
	return t.groups[id].Count
}

// Text is a template for people: "connection to <*> refused".
func (t *Templates) Text(id int) string {
	if id = t.Of(id); id < 0 {
		return ""
	}
	var b strings.Builder
	for _, w := range t.groups[id].Text {
		b.WriteString(w)
	}
	return balance(strings.TrimSpace(b.String()))
}

func (t *Templates) whole(id int32) int32 {
	for t.groups[id].Into != id {
		id = t.groups[id].Into
	}
	return id
}

// bucketOf is the bucket of templates with the nth word that is no value, from
// 0, as their first.
func bucketOf(hashes []uint64, n int) uint64 {
	key := uint64(len(hashes)+1) * fnvPrime
	for _, h := range hashes {
		if h == wildHash {
			continue
		}
		if n == 0 {
			return (key ^ h) * fnvPrime
		}
		n--
	}
	return key
}

// find finds the template of a line, or makes one.
func (t *Templates) find(words []word, line string) int32 {
	if t.recent == nil {
		t.recent = map[uint64]found{}
		t.buckets, t.holes = map[uint64][]int32{}, map[uint64][]int32{}
		for i := range t.groups {
			if id := int32(i); t.groups[i].Into == id {
				t.index(id)
			}
		}
	}
	hashes := make([]uint64, len(words))
	for i, w := range words {
		hashes[i] = w.hash
	}
	best, bestScore := int32(-1), 0.0
	for n := range 2 { // the first word of a line may be a value
		for _, id := range t.buckets[bucketOf(hashes, n)] {
			if s := likeness(t.groups[id].Hashes, hashes); s > bestScore {
				best, bestScore = id, s
			}
		}
	}
	if best >= 0 && bestScore >= similar {
		if bestScore < 1 {
			t.widen(best, hashes)
		}
		return best
	}
	if len(t.groups) >= maxTemplates || len(t.buckets[bucketOf(hashes, 0)]) >= maxBucket {
		return best
	}
	id := int32(len(t.groups))
	g := template{Hashes: hashes, Text: make([]string, len(words)), Into: id}
	for i, w := range words {
		g.Text[i] = strings.Clone(render([]word{w}, line))
		if w.gap && i > 0 {
			g.Text[i] = " " + g.Text[i]
		}
	}
	t.groups = append(t.groups, g)
	t.changed++
	t.index(id)
	return t.generalise(id)
}

// likeness is the share of words in common: values count for nothing, unless
// there is nothing else.
func likeness(a, b []uint64) float64 {
	same, all := 0, 0
	for i, h := range a {
		switch {
		case h == b[i] && h != wildHash:
			same++
			all++
		case h != b[i] && h != wildHash:
			all++
		}
	}
	if all == 0 {
		return 1
	}
	return float64(same) / float64(all)
}

// widen makes values of the words in which a template differs from a line.
func (t *Templates) widen(id int32, hashes []uint64) {
	t.unbucket(id)
	g := &t.groups[id]
	for i, h := range g.Hashes {
		if h != hashes[i] && h != wildHash {
			g.blank(i)
		}
	}
	t.changed++
	t.index(id)
	t.absorb(id, t.buckets[bucketOf(g.Hashes, 0)])
}

// absorb makes those of the others part of a template that are what it is,
// with words for some of its values.
func (t *Templates) absorb(id int32, others []int32) {
	for _, o := range slices.Clone(others) {
		if o > id && t.groups[o].Into == o && len(t.groups[o].Hashes) == len(t.groups[id].Hashes) && likeness(t.groups[id].Hashes, t.groups[o].Hashes) == 1 {
			t.merge(o, id)
		}
	}
}

func (t *Templates) merge(o, id int32) {
	t.unbucket(o)
	t.groups[o].Into = id
	t.groups[id].Count += t.groups[o].Count
	t.changed++
}

func (g *template) blank(i int) {
	lead, trail := marks(strings.TrimSpace(g.Text[i]))
	text := lead + wild + trail
	if strings.HasPrefix(g.Text[i], " ") {
		text = " " + text
	}
	g.Hashes[i], g.Text[i] = wildHash, text
}

// generalise looks whether a new template is one of many that differ in one
// word only, and makes them one if so.
func (t *Templates) generalise(id int32) int32 {
	hashes := t.groups[id].Hashes
	words := 0
	for _, h := range hashes {
		if h != wildHash {
			words++
		}
	}
	many := fanOut
	switch {
	case words < 2 || len(hashes) < 3:
		return id // what is left would say too little
	case words == 2:
		many = 2 * fanOut
	}
	for _, i := range alone(hashes) {
		key := hole(hashes, i)
		like := slices.DeleteFunc(t.holes[key], func(o int32) bool {
			g := &t.groups[o]
			return g.Into != o || len(g.Hashes) <= i || g.Hashes[i] == wildHash || hole(g.Hashes, i) != key
		})
		slices.Sort(like)
		like = slices.Compact(like)
		if t.holes[key] = like; len(like) < many {
			continue
		}
		like = slices.Clone(like)
		into := like[0]
		t.unbucket(into)
		t.groups[into].blank(i)
		t.changed++
		for _, o := range like[1:] {
			near := slices.Clone(t.buckets[bucketOf(t.groups[o].Hashes, 0)])
			t.merge(o, into)
			t.absorb(into, near)
		}
		t.index(into)
		return into
	}
	return id
}

// index makes a template one that is found.
func (t *Templates) index(id int32) {
	hashes := t.groups[id].Hashes
	key := bucketOf(hashes, 0)
	if at, ok := slices.BinarySearch(t.buckets[key], id); !ok {
		t.buckets[key] = slices.Insert(t.buckets[key], at, id)
	}
	for _, i := range alone(hashes) {
		k := hole(hashes, i)
		if len(t.holes[k]) < maxBucket {
			t.holes[k] = append(t.holes[k], id)
		}
	}
}

// alone are the words whose difference alone keeps lines apart: the first one,
// since it says where a template is looked for, and all of so few that one is
// too much of a difference.
func alone(hashes []uint64) []int {
	const few = 4
	var out []int
	for i, h := range hashes {
		if h != wildHash {
			if out = append(out, i); len(out) > few {
				return out[:1]
			}
		}
	}
	return out
}

// unbucket makes a template one that is not found any more.
func (t *Templates) unbucket(id int32) {
	key := bucketOf(t.groups[id].Hashes, 0)
	if at, ok := slices.BinarySearch(t.buckets[key], id); ok {
		t.buckets[key] = slices.Delete(t.buckets[key], at, at+1)
	}
}

func hole(hashes []uint64, at int) uint64 {
	h := uint64(fnvOffset) ^ uint64(at+1)*wildHash
	for i, w := range hashes {
		if i == at {
			w = wildHash
		}
		h = (h ^ w) * fnvPrime
		h ^= h >> 29
	}
	return h
}

// MarshalJSON is what UnmarshalJSON reads.
func (t *Templates) MarshalJSON() ([]byte, error) { return json.Marshal(t.groups) }

// UnmarshalJSON replaces what is there.
func (t *Templates) UnmarshalJSON(b []byte) error {
	var groups []template
	if err := json.Unmarshal(b, &groups); err != nil {
		return fmt.Errorf("reading templates: %w", err)
	}
	if len(groups) > maxTemplates {
		return fmt.Errorf("reading templates: %d are more than %d", len(groups), maxTemplates)
	}
	for i, g := range groups {
		if len(g.Text) != len(g.Hashes) || g.Into < 0 || int(g.Into) >= len(groups) || int(g.Into) > i {
			return fmt.Errorf("reading templates: the %dth is damaged", i)
		}
	}
	*t = Templates{groups: groups}
	return nil
}
