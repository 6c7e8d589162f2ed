package fault

import (
	"iter"
	"slices"
)

// Limits of [Green] and [Fresh].
const (
	maxGreen = 1 << 20 // kinds of lines that are remembered
	maxFresh = 1000    // kinds of new lines that are told
)

// Green is the kinds of lines that a step printed when it went well: lines
// that differ in their values only (numbers, times, paths) are of one kind.
// The zero value is empty.
type Green struct {
	kinds map[uint64]struct{}
	words []word
}

// Add adds a line of a log that ended well.
func (g *Green) Add(line string) {
	if g.kinds == nil {
		g.kinds = map[uint64]struct{}{}
	}
	if len(g.kinds) < maxGreen {
		g.kinds[g.kind(line)] = struct{}{}
	}
}

func (g *Green) kind(line string) uint64 {
	t := cleaned(Line{Text: line})
	g.words = scan(g.words[:0], unstamped(t.s))
	return signature(g.words)
}

// FreshLine is a line of a kind that was not there before.
type FreshLine struct {
	Line
	Times int // how many of its kind there are
}

// Fresh is what a log has that the log of the last green run of the same step
// has not: each kind of line once, where it first came, in order. At most limit
// kinds are told, and those that come last, since that is where a step failed;
// 0 stands for all that may be. It takes linear time.
func (g *Green) Fresh(log iter.Seq[Line], limit int) []FreshLine {
	if limit <= 0 || limit > maxFresh {
		limit = maxFresh
	}
	type spot struct {
		line  Line
		times int
	}
	found := map[uint64]*spot{}
	var order []uint64
	for l := range log {
		kind := g.kind(l.Text)
		if _, green := g.kinds[kind]; green || len(l.Text) == 0 {
			continue
		}
		if s, ok := found[kind]; ok {
			s.times++
			continue
		}
		if len(order) >= 2*limit { // the older half goes
			for _, k := range order[:limit] {
				delete(found, k)
			}
			order = slices.Delete(order, 0, limit)
		}
		t := cleaned(l)
		found[kind] = &spot{Line{l.N, t.s}, 1}
		order = append(order, kind)
	}
	order = order[max(0, len(order)-limit):]
	out := make([]FreshLine, 0, len(order))
	for _, kind := range order {
		out = append(out, FreshLine{found[kind].line, found[kind].times})
	}
	return out
}
