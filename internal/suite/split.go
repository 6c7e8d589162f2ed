package suite

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Item is what is shared out: a file, a package, a class, or some tests of one.
type Item struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds,omitempty"` // it is expected to take; 0 when nobody knows
	// Tests are those of Name that are meant; none when all are.
	Tests []string `json:"tests,omitempty"`
	// First is for what should be known early: what has failed lately.
	First bool `json:"first,omitempty"`
	// Chance is how likely it is to fail, as [Order] has it; 0 when nobody knows.
	Chance float64 `json:"chance,omitempty"`
}

// How work is shared out.
const (
	// unknownShare says that an item without a time counts as the one that this
	// share of the others is faster than. What turns out to be long must not be
	// started last.
	unknownShare = .9
	// startShare is how much of a batch's time its start may cost.
	startShare = .05
	// leastSeconds is how long an item takes at least, when it is said what it is worth.
	leastSeconds = .001
	// tooOften is how many shards may be lost with an item before it is not
	// handed out any more: it is what they die of.
	tooOften = 3
)

// assume gives a time to the items that have none, and reports how many those
// are and which time. Without any times it is a second.
func assume(items []Item) (assumed float64, unknown int) {
	known := make([]float64, 0, len(items))
	for i := range items {
		items[i].Seconds = sane(items[i].Seconds)
		if s := items[i].Seconds; s > 0 {
			known = append(known, s)
		}
	}
	assumed, unknown = 1, len(items)-len(known)
	if len(known) > 0 {
		slices.Sort(known)
		assumed = known[min(int(unknownShare*float64(len(known))), len(known)-1)]
	}
	for i := range items {
		if items[i].Seconds == 0 {
			items[i].Seconds = assumed
		}
	}
	return assumed, unknown
}

// longestFirst puts the items that are wanted early first, then the longest.
// The order depends on nothing else than what they are.
func longestFirst(a, b Item) int {
	switch {
	case a.First != b.First && a.First:
		return -1
	case a.First != b.First:
		return 1
	case a.First:
		return worthFirst(a, b)
	}
	return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name), slices.Compare(a.Tests, b.Tests))
}

// worthFirst puts the items first that find most failures in a second, as a [Ranking]
// does. It is for what one shard does by itself: among several, to begin with the longest ends
// sooner.
func worthFirst(a, b Item) int {
	return cmp.Or(cmp.Compare(b.worth(), a.worth()), cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name), slices.Compare(a.Tests, b.Tests))
}

func (i Item) worth() float64 { return i.Chance / max(i.Seconds, leastSeconds) }

// Cut splits items that are too long for so many shards into their tests, as
// tests gives them with their times: no tests, or a single one, leave an item
// whole. What is left over after cutting is no longer than half of a shard's
// work, unless one test is.
func Cut(items []Item, shards int, tests func(name string) []Item) []Item {
	items = slices.Clone(items)
	assume(items)
	var total float64
	for _, item := range items {
		total += item.Seconds
	}
	most := total / float64(max(shards, 1)) / 2
	var cut []Item
	for _, item := range items {
		if item.Seconds <= most || len(item.Tests) > 0 {
			cut = append(cut, item)
			continue
		}
		parts := slices.Clone(tests(item.Name))
		if len(parts) < 2 {
			cut = append(cut, item)
			continue
		}
		assume(parts)
		var sum float64
		for _, part := range parts {
			sum += part.Seconds
		}
		pieces := min(int(math.Ceil(sum/most)), len(parts))
		for _, share := range NewPlan(parts, pieces).Shares {
			piece := Item{Name: item.Name, First: item.First}
			sound := 1. // the chance that all of its tests pass
			for _, part := range share.Items {
				piece.Tests = append(piece.Tests, part.Name)
				piece.Seconds += part.Seconds * item.Seconds / sum
				sound *= 1 - part.Chance
			}
			piece.Chance = 1 - sound
			slices.Sort(piece.Tests)
			cut = append(cut, piece)
		}
	}
	return cut
}

// Plan shares items out before anything runs, for systems in which nothing can
// be asked while it does. It is made from the items alone, so that every shard
// comes to the same one by itself. A [Queue] is better where there can be one:
// it corrects what was expected wrongly.
type Plan struct {
	Shares  []Share `json:"shares"`
	Unknown int     `json:"unknown"` // items without a time
	Assumed float64 `json:"assumed"` // seconds that each of these was taken for
}

// Share is what one shard does.
type Share struct {
	Items   []Item  `json:"items"`
	Seconds float64 `json:"seconds"` // expected
}

// NewPlan gives the longest item that is left to the shard that has least to do
// (LPT: at most a third longer than the best plan, if the times are right). A
// share's items are in the order in which they are best run.
func NewPlan(items []Item, shards int) Plan {
	items = slices.Clone(items)
	p := Plan{Shares: make([]Share, max(shards, 1))}
	p.Assumed, p.Unknown = assume(items)
	slices.SortFunc(items, longestFirst)
	for _, item := range items {
		least := 0
		for i, s := range p.Shares {
			if s.Seconds < p.Shares[least].Seconds {
				least = i
			}
		}
		p.Shares[least].Items = append(p.Shares[least].Items, item)
		p.Shares[least].Seconds += item.Seconds
	}
	for _, share := range p.Shares {
		slices.SortFunc(share.Items, worthFirst) // which costs no time
	}
	return p
}

// String says on what the plan rests.
func (p Plan) String() string {
	n, longest, shortest := 0, 0., math.Inf(1)
	for _, s := range p.Shares {
		n += len(s.Items)
		longest, shortest = max(longest, s.Seconds), min(shortest, s.Seconds)
	}
	text := fmt.Sprintf("%d items in %d shares of %.1f to %.1f seconds", n, len(p.Shares), shortest, longest)
	switch {
	case p.Unknown == n && n > 0:
		text += "; no times are known, all items count alike"
	case p.Unknown > 0:
		text += fmt.Sprintf("; %d have no time yet and count as %.1f seconds each", p.Unknown, p.Assumed)
	}
	return text
}

// Bound is a time in which so many shards cannot have done the work, however
// it is shared out: their average, the longest item, and, if there are more
// items than shards, what one of them must have of the longest items together.
func Bound(seconds []float64, shards int) float64 {
	sorted := slices.Sorted(slices.Values(seconds))
	slices.Reverse(sorted)
	if len(sorted) == 0 {
		return 0
	}
	var total float64
	for _, s := range sorted {
		total += s
	}
	bound := max(sorted[0], total/float64(shards))
	for n := 1; n*shards < len(sorted); n++ {
		// Of the longest n·shards+1 items, one shard has n+1 at least.
		var sum float64
		for _, s := range sorted[n*shards-n : n*shards+1] {
			sum += s
		}
		bound = max(bound, sum)
	}
	return bound
}

// Queue hands work out while it is done: whoever is ready takes the longest
// item that is left. So shards that are slow, start late or never come do no
// harm, and wrong times little.
//
// Items that take long go out one by one. Short ones go out in batches, because
// starting a batch costs time too, but in smaller ones the less is left, so that
// the shards end together.
//
// A Queue is plain data with no clock and no lock: a server keeps it in a
// register, a shared directory in a file, written as JSON.
type Queue struct {
	Shards int     `json:"shards"` // how many are expected
	Start  float64 `json:"start"`  // seconds that it costs to start a batch
	// Waiting is what is to be done, what comes next first.
	Waiting []Item  `json:"waiting"`
	Left    float64 `json:"left"` // seconds expected, of Waiting
	Out     []Batch `json:"out"`  // under way
	Given   []Batch `json:"done"` // over
	// Deadly are items that too many shards were lost with.
	Deadly  []Item         `json:"deadly,omitempty"`
	Lost    map[string]int `json:"lost,omitempty"` // how often items were, by identity
	Count   int            `json:"count"`          // batches ever made
	Unknown int            `json:"unknown"`        // items without a time
	Assumed float64        `json:"assumed"`        // seconds that each of these was taken for
}

// Batch is what a shard does in one go.
type Batch struct {
	ID      int       `json:"id"` // from 1
	Shard   string    `json:"shard"`
	Items   []Item    `json:"items"`
	Seconds float64   `json:"seconds"` // expected, without the start
	Since   time.Time `json:"since"`
}

// NewQueue makes a queue of items for so many shards. Start is how long it
// takes until a batch's first test runs: the runner's start, the project's
// compilation; 0 when there is nothing to speak of.
func NewQueue(items []Item, shards int, start float64) *Queue {
	q := &Queue{Shards: max(shards, 1), Start: sane(start), Waiting: slices.Clone(items)}
	q.Assumed, q.Unknown = assume(q.Waiting)
	if q.Shards == 1 {
		slices.SortFunc(q.Waiting, worthFirst)
	} else {
		slices.SortFunc(q.Waiting, longestFirst)
	}
	for _, item := range q.Waiting {
		q.Left += item.Seconds
	}
	return q
}

// Next gives a shard its next batch; false when there is nothing to hand out.
// A shard that asks again before it was done is given the same batch again:
// perhaps it never heard the answer.
func (q *Queue) Next(shard string, now time.Time) (Batch, bool) {
	for _, b := range q.Out {
		if b.Shard == shard {
			return b, true
		}
	}
	if len(q.Waiting) == 0 {
		return Batch{}, false
	}
	n, sum := 1, q.Waiting[0].Seconds
	for n < len(q.Waiting) && !q.alone(q.Waiting[n-1]) && !q.alone(q.Waiting[n]) && sum+q.Waiting[n].Seconds <= q.most() {
		sum += q.Waiting[n].Seconds
		n++
	}
	q.Count++
	b := Batch{ID: q.Count, Shard: shard, Items: slices.Clone(q.Waiting[:n]), Seconds: sum, Since: now}
	q.Waiting = q.Waiting[n:]
	q.Left = max(q.Left-sum, 0)
	q.Out = append(q.Out, b)
	return b, true
}

// most is how long a batch may be: long enough for its start not to matter, but
// no more than an even part of what is left, which is less from batch to batch:
// so the last ones are of one item each.
func (q *Queue) most() float64 {
	return min(q.Start/startShare, q.Left/float64(q.Shards))
}

// alone reports whether a shard was lost with the item: it is given out by
// itself, so that it takes no others with it.
func (q *Queue) alone(item Item) bool { return q.Lost[identity(item)] > 0 }

// identity tells items apart.
func identity(item Item) string {
	if len(item.Tests) == 0 {
		return item.Name
	}
	return fmt.Sprintf("%s %q", item.Name, item.Tests)
}

// Done says that a batch is over, whatever came of it. It is false when the
// batch is not under way: it was done before, or it was believed lost and given
// to another, which then does it again.
func (q *Queue) Done(batch int) bool {
	i := slices.IndexFunc(q.Out, func(b Batch) bool { return b.ID == batch })
	if i < 0 {
		return false
	}
	q.Given = append(q.Given, q.Out[i])
	q.Out = slices.Delete(q.Out, i, i+1)
	return true
}

// Lose says that a shard is gone. What it had comes back and is handed out
// first, item by item; an item that was lost too often does not.
func (q *Queue) Lose(shard string) (back []Item) {
	q.Out = slices.DeleteFunc(q.Out, func(b Batch) bool {
		if b.Shard != shard {
			return false
		}
		back = append(back, b.Items...)
		return true
	})
	if len(back) > 0 && q.Lost == nil {
		q.Lost = make(map[string]int)
	}
	back = slices.DeleteFunc(back, func(item Item) bool {
		id := identity(item)
		q.Lost[id]++
		if q.Lost[id] < tooOften {
			q.Left += item.Seconds
			return false
		}
		q.Deadly = append(q.Deadly, item)
		return true
	})
	q.Waiting = slices.Insert(q.Waiting, 0, back...)
	return back
}

// Silent are the shards whose batch is under way for longer than patience and
// than four times what was expected of it. Whether they are lost, their owner
// must know.
func (q *Queue) Silent(now time.Time, patience time.Duration) (shards []string) {
	for _, b := range q.Out {
		expected := time.Duration(4 * (b.Seconds + q.Start) * float64(time.Second))
		if now.Sub(b.Since) > max(patience, expected) {
			shards = append(shards, b.Shard)
		}
	}
	return shards
}

// Over reports whether everything was done, or cannot be.
func (q *Queue) Over() bool { return len(q.Waiting) == 0 && len(q.Out) == 0 }
