package fault

// finder says which of many words a line has, in one pass over it (Aho and
// Corasick, CACM 18(6), 1975).
type finder struct {
	next []int32    // by state and byte of class
	hits []uint64   // by state: a set of words, width to a state
	cols [256]uint8 // the column of a byte; 0 for those in no word
	size int        // columns
	num  int        // words
	ids  map[string]int
}

// wordSet is a set of words of a finder.
type wordSet [4]uint64

func (s *wordSet) add(id int) { s[id/64] |= 1 << (id % 64) }

func (s *wordSet) meets(o *wordSet) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

// newFinder makes a finder of at most maxFinderWords lower-case words.
func newFinder(words []string) *finder {
	f := &finder{ids: map[string]int{}, size: 1}
	for _, w := range words {
		if _, ok := f.ids[w]; !ok {
			f.ids[w] = f.num
			f.num++
		}
		for i := range len(w) {
			if f.cols[w[i]] == 0 {
				f.cols[w[i]] = uint8(f.size)
				f.size++
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		f.cols[c] = f.cols[c+'a'-'A']
	}
	state := func() int32 {
		f.next = append(f.next, make([]int32, f.size)...)
		f.hits = append(f.hits, make([]uint64, len(wordSet{}))...)
		return int32(len(f.next)/f.size - 1)
	}
	state()
	for w, id := range f.ids {
		at := int32(0)
		for i := range len(w) {
			to := &f.next[int(at)*f.size+int(f.cols[w[i]])]
			if *to == 0 {
				n := state()
				to = &f.next[int(at)*f.size+int(f.cols[w[i]])] // it may have moved
				*to = n
			}
			at = *to
		}
		f.hits[int(at)*len(wordSet{})+id/64] |= 1 << (id % 64)
	}
	// Breadth first: where a state has no way, it goes where its suffix goes.
	fail := make([]int32, len(f.next)/f.size)
	var queue []int32
	for _, to := range f.next[:f.size] {
		if to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for k := range len(wordSet{}) {
			f.hits[int(at)*len(wordSet{})+k] |= f.hits[int(fail[at])*len(wordSet{})+k]
		}
		for c := range f.size {
			to := &f.next[int(at)*f.size+c]
			other := f.next[int(fail[at])*f.size+c]
			if *to == 0 {
				*to = other
				continue
			}
			fail[*to] = other
			queue = append(queue, *to)
		}
	}
	return f
}

// set is the set of some of the finder's words.
func (f *finder) set(words []string) (s wordSet) {
	for _, w := range words {
		s.add(f.ids[w])
	}
	return s
}

// in finds the words of a line, whatever their case (of ASCII).
func (f *finder) in(line string) (s wordSet) {
	at := int32(0)
	for i := range len(line) {
		at = f.next[int(at)*f.size+int(f.cols[line[i]])]
		hits := f.hits[int(at)*len(s) : int(at)*len(s)+len(s)]
		for k := range s {
			s[k] |= hits[k]
		}
	}
	return s
}
