package suite

import (
	"cmp"
	"slices"
	"strings"
)

// A test's name is its identity, and names change: a file is moved, a class
// renamed. Then one test vanishes and another comes, and what was known of the
// first would be lost. So those that went are compared with those that came
// with the same change.

const (
	// maxMoves is how many tests are looked at on each side, and maxNamesakes
	// how many of the same name are compared with each other.
	maxMoves, maxNamesakes = 20_000, 100
	// maxFits is how many pairs that fit are weighed.
	maxFits = 200_000
	// likeness is how alike two suites must be, from 0 to 1.
	likeness = 0.5
)

// Named is a test by what it is called.
type Named struct {
	ID
	Suite  string
	Groups []string
	Name   string
	File   string // "" when the report does not say
}

// Move says that a test goes by another name now.
type Move struct {
	From, To ID
	Why      string // for people: "its file was moved"
}

// Moves finds, among tests that vanished and tests that came, which are the
// same: those of the same name and groups whose file git saw being renamed
// (renames holds old path to new), else those of the same name and groups, and
// the same variant, whose suites are alike, when there is no doubt which. Each
// test is in one move at most.
func Moves(vanished, came []Named, renames map[string]string) []Move {
	if len(vanished) > maxMoves || len(came) > maxMoves {
		return nil // that is another project, not a change
	}
	newer := map[string][]int{}
	for i := range came {
		key := came[i].local()
		newer[key] = append(newer[key], i)
	}
	// pair is how well a test that went fits one that came.
	type pair struct {
		from, to int
		fit      float64
		why      string
	}
	var pairs []pair
	compared := map[string]int{}
	for i := range vanished {
		v := &vanished[i]
		key := v.local()
		if compared[key]++; compared[key] > maxNamesakes || len(newer[key]) > maxNamesakes {
			continue // one name a hundred times says nothing
		}
		for _, j := range newer[key] {
			c := &came[j]
			if fit, why := v.fit(c, renames); fit > 0 && len(pairs) < maxFits {
				pairs = append(pairs, pair{i, j, fit, why})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.fit, a.fit), byID(vanished[a.from].ID, vanished[b.from].ID), byID(came[a.to].ID, came[b.to].ID))
	})
	gone, taken := map[int]bool{}, map[int]bool{}
	var moves []Move
	for len(pairs) > 0 {
		// Those that fit equally well are looked at together: where a test is
		// in two of them there is doubt, and none is taken.
		equal := 1
		for equal < len(pairs) && pairs[equal].fit == pairs[0].fit {
			equal++
		}
		open := slices.DeleteFunc(slices.Clone(pairs[:equal]), func(p pair) bool { return gone[p.from] || taken[p.to] })
		pairs = pairs[equal:]
		from, to := map[int]int{}, map[int]int{}
		for _, p := range open {
			from[p.from]++
			to[p.to]++
		}
		for _, p := range open {
			if from[p.from] == 1 && to[p.to] == 1 {
				moves = append(moves, Move{From: vanished[p.from].ID, To: came[p.to].ID, Why: p.why})
			}
			gone[p.from], taken[p.to] = true, true
		}
	}
	return moves
}

// local is a test's name within its suite, and where it runs.
func (n *Named) local() string {
	return n.Repository + "\x00" + n.Variant + "\x00" + strings.Join(n.Groups, "\x00") + "\x00\x00" + n.Name
}

// fit is how well a test that came fits one that went, 0 for not at all.
func (n *Named) fit(c *Named, renames map[string]string) (fit float64, why string) {
	if n.Key == c.Key {
		return 0, ""
	}
	for _, p := range [][2]string{{n.File, c.File}, {n.Suite, c.Suite}} {
		if p[0] != "" && p[1] != "" && renames[p[0]] == p[1] {
			return 2, "its file was moved"
		}
	}
	if a := alikeness(n.Suite, c.Suite); a >= likeness {
		return a, "its suite was renamed"
	}
	return 0, ""
}

// alikeness is how alike two names of suites are: the share of words that they
// have in common, in any order, a word being what lies between signs and
// before a capital letter.
func alikeness(a, b string) float64 {
	x, y := words(a), words(b)
	if len(x) == 0 || len(y) == 0 {
		return 0
	}
	count := map[string]int{}
	for _, w := range x {
		count[w]++
	}
	both := 0
	for _, w := range y {
		if count[w] > 0 {
			count[w]--
			both++
		}
	}
	return 2 * float64(both) / float64(len(x)+len(y))
}

// maxWords is how many words of a name are compared.
const maxWords = 40

func words(name string) (list []string) {
	start := 0
	cut := func(end int) {
		if end > start && len(list) < maxWords {
			list = append(list, strings.ToLower(name[start:end]))
		}
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c < '0', c > '9' && c < 'A', c > 'Z' && c < 'a', c > 'z' && c < 0x80:
			cut(i)
			start = i + 1
		case c >= 'A' && c <= 'Z' && i > start && !(name[i-1] >= 'A' && name[i-1] <= 'Z'):
			cut(i)
			start = i
		}
	}
	cut(len(name))
	return list
}
