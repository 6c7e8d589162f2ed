package fault

import "strings"

// The words of a line are of two kinds: those that its author wrote, and those
// that were filled in when it was printed. The first make its template; the
// second (numbers, times, paths, addresses, identifiers) are masked, each with
// what belongs to it: "5248 bytes (5.12 KB)" is one value. Which kind a word is
// of is told by its look alone, so the answer is the same for the same line
// wherever it stands.

const (
	// maxWords is how many words of a line are looked at.
	maxWords = 64
	// maxMasked is how many bytes of a line are looked at.
	maxMasked = 4000
	// wild stands for a masked value.
	wild = "<*>"
	// wildHash is the hash of a masked value.
	wildHash = 0x9e3779b97f4a7c15
)

// word is one word of a line: line[from:to] with its punctuation, hash of it
// without.
type word struct {
	hash     uint64
	from, to int32
	gap      bool // a space stands before it
	wild     bool
	number   bool // a wild one that may be followed by its unit
	value    bool // a wild one that is wild because it follows "="
}

// class of a byte in a line.
type byteClass uint8

const (
	isSpace  byteClass = iota + 1
	isMark             // punctuation that separates words
	isLetter           // also what is not ASCII
	isDigit
	isInside // punctuation inside words: _ - . / \ + % $ # @ & ~ ^
)

var byteClasses = classify()

func classify() (table [256]byteClass) {
	for i := range table {
		switch c := byte(i); {
		case c <= ' ' || c == 0x7f:
			table[i] = isSpace
		case c >= '0' && c <= '9':
			table[i] = isDigit
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80:
			table[i] = isLetter
		case strings.IndexByte(`_-./\+%$#@&~^`, c) >= 0:
			table[i] = isInside
		default:
			table[i] = isMark
		}
	}
	return table
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashOf(s string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

// dateWords are the hashes of names that belong to the number after them.
var dateWords = hashes("Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")

// unitWords are the hashes of words that belong to the number before them.
var unitWords = hashes("b B byte bytes Bytes k K kb KB kB KiB M mb MB MiB G gb GB GiB TB TiB ns us µs ms msec msecs s sec secs second seconds min mins minute minutes h hour hours day days Hz MHz GHz px % " +
	"AM PM am pm UTC GMT EST EDT CET CEST PST PDT B/s KB/s kB/s MB/s MiB/s KiB/s it/s")

// valueWords are the hashes of words that are values.
var valueWords = hashes("true false True False TRUE FALSE null NULL None nil undefined NaN")

// packageWords begin dotted names that are no hosts.
var packageWords = []string{"org", "com", "net", "io", "java", "javax", "jdk", "sun", "scala", "kotlin", "android", "androidx", "akka", "dev", "edu", "gov", "junit", "system", "microsoft"}

func hashes(words string) map[uint64]bool {
	m := map[uint64]bool{}
	for w := range strings.FieldsSeq(words) {
		m[hashOf(w)] = true
	}
	return m
}

// scan appends the words of a line to words. It takes linear time.
func scan(words []word, line string) []word {
	if len(line) > maxMasked {
		line = line[:maxMasked]
	}
	first := len(words)
	gap := false
	for i := 0; i < len(line) && len(words)-first < maxWords; {
		if byteClasses[line[i]] == isSpace {
			gap = true
			i++
			continue
		}
		begin := i
		for i < len(line) && byteClasses[line[i]] == isMark {
			i++
		}
		after := byte(' ')
		if i > begin {
			after = line[i-1]
		} else if begin > 0 {
			after = line[begin-1]
		}
		from := i
		var p piece
		i = p.read(line, i)
		end := i
		for i < len(line) && closes(line, i) {
			i++
		}
		w := word{from: int32(begin), to: int32(i), gap: gap}
		gap = false
		switch {
		case end == from && len(words) > first && strings.Trim(line[begin:i], "()[]{}<>\"'`") == "":
			continue // nothing, in brackets
		case end == from: // punctuation alone
			w.hash = hashOf(line[begin : begin+1])
		case p.wild(line[from:end]):
			w.wild, w.number, w.hash = true, p.digits > 0, wildHash
		case after == '=' && from > 0 && begin == from || valueWords[p.hash]:
			w.wild, w.value, w.hash = true, true, wildHash
		default:
			w.hash = p.hash
		}
		words = join(words, first, w)
	}
	return words
}

// closes reports whether the mark at i belongs to the word before it, and not
// to the one after it.
func closes(line string, i int) bool {
	switch line[i] {
	case ',', ';', ':', ')', ']', '}', '!', '?', '=', '>', '"', '\'', '`', '|', '*', '.':
		return true
	}
	return false
}

// join appends w, together with what it belongs to: values side by side are
// one value, and repetitions of a few words with values in them, one.
func join(words []word, first int, w word) []word {
	n := len(words)
	if n > first {
		last := &words[n-1]
		switch {
		case w.wild && last.wild:
			last.to = w.to
			last.number = last.number || w.number
			return words
		case last.wild && last.number && unitWords[w.hash]:
			last.to, last.number = w.to, false
			return words
		case w.wild && w.number && dateWords[last.hash]:
			w.from, w.gap = last.from, last.gap
			return join(words[:n-1], first, w)
		}
	}
	words = append(words, w)
	n = len(words)
	for k := 2; k <= 4 && n-2*k >= first; k++ {
		if repeats(words[n-2*k:n-k], words[n-k:]) {
			return words[:n-k]
		}
	}
	return words
}

func repeats(a, b []word) bool {
	any := false
	for i := range a {
		if a[i].hash != b[i].hash {
			return false
		}
		any = any || a[i].wild
	}
	return any
}

// piece is what was seen of a run of letters, digits and inside punctuation.
type piece struct {
	hash                               uint64
	digits, letters, slashes, dots     int
	hex                                int // letters a-f and digits
	upper                              int
	root, scheme, drive, colons, email bool
}

// read reads a piece of the line that begins at i, and returns its end.
func (p *piece) read(line string, i int) int {
	h := uint64(fnvOffset)
	p.hash = h
	from := i
	for ; i < len(line); i++ {
		c := line[i]
		switch byteClasses[c] {
		case isSpace:
			return i
		case isDigit:
			p.digits++
			p.hex++
		case isLetter:
			p.letters++
			switch {
			case c >= 'a' && c <= 'f':
				p.hex++
			case c >= 'A' && c <= 'F':
				p.hex++
				p.upper++
			case c >= 'A' && c <= 'Z':
				p.upper++
			}
		case isInside:
			switch c {
			case '/', '\\':
				if i == from {
					p.root = true
				}
				p.slashes++
			case '.':
				if i+1 < len(line) && line[i+1] == '.' && i > from {
					return i
				}
				p.dots++
				if i > from {
					// A dot at the end of a word is no part of it: the hash
					// takes it only when something follows.
					if i+1 >= len(line) || byteClasses[line[i+1]] == isSpace || byteClasses[line[i+1]] == isMark {
						return i
					}
				}
			case '@':
				p.email = i > from
			}
		case isMark:
			switch {
			case c == ':' && i+2 < len(line) && line[i+1] == '/' && line[i+2] == '/' && p.letters > 0 && p.digits == 0:
				p.scheme = true
			case c == ':' && i == from+1 && p.letters == 1 && i+1 < len(line) && (line[i+1] == '\\' || line[i+1] == '/'):
				p.drive = true
			case p.scheme && strings.IndexByte(":=?,;!*(", c) >= 0:
			case (p.root || p.drive) && (c == '=' || c == '?') && i+1 < len(line) && byteClasses[line[i+1]] != isSpace:
			case c == ':' && p.letters+p.digits == p.hex && p.hex > 0 && i+1 < len(line) && (p.colons || i-from <= 4) && hexByte(line[i+1]):
				p.colons = true // a time, a MAC or an IPv6 address, a port
			default:
				return i
			}
		}
		h = (h ^ uint64(c)) * fnvPrime
		p.hash = h
	}
	return i
}

func hexByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == ':'
}

// wild reports whether the piece s, of which p was seen, is a value.
func (p *piece) wild(s string) bool {
	switch {
	case p.scheme || p.drive || p.email && p.letters > 0 && p.dots > 0:
		return true
	case p.root && len(s) > 1 && p.letters+p.digits > 0:
		return true // a path
	case p.digits > 0:
		return !p.code(s)
	case p.letters == 0:
		return false
	case p.colons:
		return p.letters > 0 && len(s) >= 8
	case p.letters == p.hex && len(s) >= 8 && p.letters == len(s):
		return true // hexadecimal, by chance without a digit
	case p.slashes >= 2 || p.slashes > 0 && s[0] == '.' || p.slashes > 0 && p.dots > 0:
		return true
	case s[0] == '~' || s[0] == '$' && p.upper == 0:
		return len(s) > 1
	case p.dots >= 2 && p.upper == 0:
		return p.host(s)
	}
	return false
}

// code reports whether s is the code of an error, as compilers and linters
// give them: TS2304, E0382, CS0103. It is what the line says, and no value.
func (p *piece) code(s string) bool {
	if p.upper == 0 || p.upper > 4 || p.letters != p.upper || p.digits < 3 || p.digits > 5 || len(s) != p.upper+p.digits {
		return false
	}
	return byteClasses[s[p.upper-1]] == isLetter && byteClasses[s[len(s)-p.digits]] == isDigit
}

// host reports whether a dotted name is that of a machine and not of a Java
// package: db.example.com.
func (p *piece) host(s string) bool {
	head, _, _ := strings.Cut(s, ".")
	for _, w := range packageWords {
		if head == w {
			return false
		}
	}
	tail := s[strings.LastIndexByte(s, '.')+1:]
	return len(tail) >= 2 && len(tail) <= 8 && p.letters+p.dots+strings.Count(s, "-") == len(s)
}

// Mask is a line with <*> for each value that it was filled with: two lines
// that one instruction printed have the same, but for values that look like
// words.
func Mask(line string) string {
	var buf [maxWords]word
	return render(scan(buf[:0], line), line)
}

func render(words []word, line string) string {
	var b strings.Builder
	for i, w := range words {
		if w.gap && i > 0 {
			b.WriteByte(' ')
		}
		if !w.wild {
			b.WriteString(line[w.from:w.to])
			continue
		}
		lead, trail := marks(line[w.from:w.to])
		b.WriteString(lead)
		b.WriteString(wild)
		b.WriteString(trail)
	}
	return balance(b.String())
}

// balance removes a bracket after a value when it closes nothing: what it
// closed was part of the value.
func balance(s string) string {
	if !strings.ContainsAny(s, ")]}") {
		return s
	}
	var out strings.Builder
	var open [3]int
	for i := range len(s) {
		if k := strings.IndexByte("([{", s[i]); k >= 0 {
			open[k]++
		} else if k := strings.IndexByte(")]}", s[i]); k >= 0 {
			if open[k] == 0 && strings.HasSuffix(out.String(), wild) {
				continue
			}
			open[k] = max(open[k]-1, 0)
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// marks are the punctuation before and after a value: (12), is "(" and "),".
func marks(s string) (lead, trail string) {
	i, j := 0, len(s)
	for i < j && byteClasses[s[i]] == isMark {
		i++
	}
	for j > i && (byteClasses[s[j-1]] == isMark || s[j-1] == '.') {
		j--
	}
	return s[:i], s[j:]
}

// signature tells lines apart that differ in more than their values.
func signature(words []word) uint64 {
	h := uint64(fnvOffset)
	for _, w := range words {
		h = (h ^ w.hash) * fnvPrime
		h ^= h >> 29
	}
	return h
}
