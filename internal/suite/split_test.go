package suite

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// makespan is how long shards take for a queue, if items take these times in
// truth and every batch costs its start.
func makespan(q *Queue, truth map[string]float64) (longest, starts float64) {
	free := make([]float64, q.Shards)
	for {
		k := 0
		for i := range free {
			if free[i] < free[k] {
				k = i
			}
		}
		b, ok := q.Next(fmt.Sprint(k), time.Time{})
		if !ok {
			return slices.Max(free), starts
		}
		free[k] += q.Start
		starts += q.Start
		for _, item := range b.Items {
			free[k] += truth[item.Name]
		}
		q.Done(b.ID)
	}
}

// planned is how long the longest share takes in truth.
func planned(p Plan, truth map[string]float64) (longest float64) {
	for _, share := range p.Shares {
		var sum float64
		for _, item := range share.Items {
			sum += truth[item.Name]
		}
		longest = max(longest, sum)
	}
	return longest
}

// TestBenchSplit measures sharing out on real histories, each build with the
// times known before it. A ratio of 1 is a bound that nobody gets below; the
// last line is what the queue gets with times known beforehand.
func TestBenchSplit(t *testing.T) {
	t.Parallel()
	ways := []string{"by name", "round robin", "plan (LPT)", "queue", "queue, average/longest only", "queue, failed lately first", "queue, true times", "queue, a start is 0.5 % of a share", "  of that for starts"}
	const queue = 3
	for _, set := range []struct {
		name, file string
		floor      float64
		each       int // of so many builds one is measured
	}{
		{"druid", druid, 1.01, 1}, {"dune", dune, 1.03, 3}, {"retrofit", retrofit, 1.025, 3}, {"iofrol", iofrol, 1.05, 1},
	} {
		var o Order
		shards := []int{4, 8, 16}
		sums := make([][3]float64, len(ways))
		builds := 0.
		for n, b := range loadHistory(t, set.file) {
			slices.SortFunc(b, func(x, y ran) int { return strings.Compare(x.test, y.test) })
			truth := make(map[string]float64, len(b))
			var items, early, exact []Item
			var seconds []float64
			var total float64
			for _, r := range b {
				truth[r.test] = r.seconds
				seconds = append(seconds, r.seconds)
				total += r.seconds
				item := o.Item(r.test)
				early = append(early, item)
				item.First = false
				items = append(items, item)
				exact = append(exact, Item{Name: r.test, Seconds: r.seconds})
			}
			if n > 0 && n%set.each == 0 && len(b) >= 2 && total > 0 {
				builds++
				for i, k := range shards {
					bound := Bound(seconds, k)
					chunks, robin := make([]float64, k), make([]float64, k)
					for j, s := range seconds {
						chunks[j*k/len(seconds)] += s
						robin[j%k] += s
					}
					dynamic, _ := makespan(NewQueue(items, k, 0), truth)
					first, _ := makespan(NewQueue(early, k, 0), truth)
					known, _ := makespan(NewQueue(exact, k, 0), truth)
					start := total / float64(k) / 200
					costly, starts := makespan(NewQueue(items, k, start), truth)
					for way, longest := range []float64{
						slices.Max(chunks), slices.Max(robin), planned(NewPlan(items, k), truth),
						dynamic, dynamic * bound / max(slices.Max(seconds), total/float64(k)), first, known, costly, bound * starts / (starts + total),
					} {
						sums[way][i] += longest / bound
					}
				}
			}
			o.Learn(b.learned())
		}
		t.Logf("%s, %.0f builds, makespan ÷ bound at 4, 8, 16 shards:", set.name, builds)
		for way, sum := range sums {
			t.Logf("  %-32s %.3f %.3f %.3f", ways[way], sum[0]/builds, sum[1]/builds, sum[2]/builds)
			for i := range sum {
				if way == queue && sum[i]/builds > set.floor {
					t.Errorf("%s: the queue takes %.3f of the bound at %d shards, it was %.3f", set.name, sum[i]/builds, shards[i], set.floor)
				}
			}
		}
	}
}

// work is a pile of items as projects have them: a few long, many short, some
// never seen.
func work(chance *rand.Rand, n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{Name: fmt.Sprintf("t%03d", i), Seconds: math.Exp(chance.NormFloat64() * 2), First: chance.IntN(20) == 0}
		if chance.IntN(10) == 0 {
			items[i].Seconds = 0
		}
	}
	return items
}

// Whatever shards die when, whoever asks twice: every item is done once by a
// shard that was not lost, or was lost with too many.
func TestQueueHandsOutAll(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		chance := rand.New(rand.NewPCG(seed, 7))
		items := work(chance, chance.IntN(120))
		q := NewQueue(items, 1+chance.IntN(6), chance.Float64()*float64(chance.IntN(3)))
		done := map[string]int{}
		holds := map[string]Batch{}
		for steps := 0; !q.Over(); steps++ {
			if steps > 10_000 {
				t.Fatalf("seed %d: the queue does not end", seed)
			}
			if steps%16 == 0 { // as if it had been kept in a file meanwhile
				kept, err := json.Marshal(q)
				if err != nil {
					t.Fatal(err)
				}
				q = new(Queue)
				if err := json.Unmarshal(kept, q); err != nil {
					t.Fatal(err)
				}
			}
			shard := fmt.Sprint(chance.IntN(5))
			b, held := holds[shard]
			switch what := chance.IntN(10); {
			case what == 0:
				back := q.Lose(shard)
				if !held && len(back) > 0 {
					t.Fatalf("seed %d: a shard without a batch was lost with %v", seed, back)
				}
				delete(holds, shard)
			case held && what < 5:
				if again, ok := q.Next(shard, time.Time{}); !ok || again.ID != b.ID {
					t.Fatalf("seed %d: asked again, shard %s has %d and not %d", seed, shard, again.ID, b.ID)
				}
			case held:
				if !q.Done(b.ID) || q.Done(b.ID) {
					t.Fatalf("seed %d: batch %d is not done once", seed, b.ID)
				}
				for _, item := range b.Items {
					done[item.Name]++
				}
				delete(holds, shard)
			default:
				if b, ok := q.Next(shard, time.Time{}); ok {
					holds[shard] = b
				}
			}
		}
		for _, item := range q.Deadly {
			done[item.Name]++
		}
		for _, item := range items {
			if done[item.Name] != 1 {
				t.Fatalf("seed %d: %s was done %d times", seed, item.Name, done[item.Name])
			}
		}
		if len(done) != len(items) || q.Left > 1e-6 {
			t.Fatalf("seed %d: %d items done of %d, %g seconds left", seed, len(done), len(items), q.Left)
		}
	}
}

func TestQueueBatches(t *testing.T) {
	t.Parallel()
	var items []Item
	for i := range 1000 {
		items = append(items, Item{Name: fmt.Sprintf("t%04d", i), Seconds: .1})
	}
	items = append(items, Item{Name: "long", Seconds: 30})
	q := NewQueue(items, 2, .2)
	first, _ := q.Next("a", time.Time{})
	if len(first.Items) != 1 || first.Items[0].Name != "long" {
		t.Errorf("the first batch is %v", first.Items)
	}
	second, _ := q.Next("b", time.Time{})
	if len(second.Items) < 35 || len(second.Items) > 41 {
		t.Errorf("a batch early on has %d items: its start is to cost 5 %%", len(second.Items))
	}
	q.Done(first.ID)
	q.Done(second.ID)
	last := Batch{}
	starts := 2
	for b, ok := q.Next("a", time.Time{}); ok; b, ok = q.Next("a", time.Time{}) {
		last = b
		starts++
		q.Done(b.ID)
	}
	if len(last.Items) > 2 {
		t.Errorf("the last batch has %d items", len(last.Items))
	}
	if cost := float64(starts) * q.Start / 130; cost > .1 {
		t.Errorf("%d starts cost %.0f %% of the work", starts, 100*cost)
	}
}

// What shards die of goes out alone, and in the end not any more.
func TestQueueDeadly(t *testing.T) {
	t.Parallel()
	q := NewQueue([]Item{{Name: "a", Seconds: 1}, {Name: "killer", Seconds: 1}, {Name: "z", Seconds: 1}}, 1, 10)
	b, _ := q.Next("s1", time.Time{})
	if len(b.Items) != 3 {
		t.Fatalf("%d items in the first batch, want 3", len(b.Items))
	}
	if back := q.Lose("s1"); len(back) != 3 || q.Lose("s1") != nil {
		t.Fatalf("%v came back", back)
	}
	if q.Done(b.ID) {
		t.Error("a batch that was lost is done")
	}
	for n := 2; !q.Over(); n++ {
		shard := fmt.Sprint("s", n)
		b, ok := q.Next(shard, time.Time{})
		if !ok || len(b.Items) != 1 {
			t.Fatalf("%s has %v", shard, b.Items)
		}
		if b.Items[0].Name == "killer" {
			q.Lose(shard)
		} else {
			q.Done(b.ID)
		}
		if n > 10 {
			t.Fatal("the killer goes out forever")
		}
	}
	if len(q.Deadly) != 1 || q.Deadly[0].Name != "killer" {
		t.Errorf("deadly are %v", q.Deadly)
	}
}

func TestQueueSilent(t *testing.T) {
	t.Parallel()
	q := NewQueue([]Item{{Name: "a", Seconds: 60}, {Name: "b", Seconds: 1}}, 2, 0)
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	q.Next("long", began)
	q.Next("short", began)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{time.Minute, "[]"}, {3 * time.Minute, "[short]"}, {5 * time.Minute, "[long short]"}} {
		if got := fmt.Sprint(q.Silent(began.Add(c.after), 2*time.Minute)); got != c.want {
			t.Errorf("after %v: %s, want %s", c.after, got, c.want)
		}
	}
}

// Shares are a partition, the same for every shard however the items were
// listed, and nowhere near as bad as they could be.
func TestPlan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		chance := rand.New(rand.NewPCG(seed, 3))
		items := work(chance, chance.IntN(150))
		shards := 1 + chance.IntN(20)
		p := NewPlan(items, shards)
		shuffled := slices.Clone(items)
		chance.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := NewPlan(shuffled, shards); fmt.Sprint(p) != fmt.Sprint(again) || fmt.Sprint(p.Shares) != fmt.Sprint(again.Shares) {
			t.Fatalf("seed %d: another order of the items gives another plan", seed)
		}
		seen := map[string]int{}
		var all []float64
		var longest float64
		for _, s := range p.Shares {
			longest = max(longest, s.Seconds)
			for _, item := range s.Items {
				seen[item.Name]++
				all = append(all, item.Seconds)
			}
		}
		for _, item := range items {
			if seen[item.Name] != 1 {
				t.Fatalf("seed %d: %s is in %d shares", seed, item.Name, seen[item.Name])
			}
		}
		if len(seen) != len(items) || len(p.Shares) != shards {
			t.Fatalf("seed %d: %d items in %d shares", seed, len(seen), len(p.Shares))
		}
		if bound := Bound(all, shards); longest > 4./3*bound+1e-9 || longest < bound-1e-9 {
			t.Fatalf("seed %d: the longest share takes %g, the bound is %g", seed, longest, bound)
		}
	}
}

func TestPlanSaysWhatIsUnknown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items []Item
		want  string
	}{
		{[]Item{{Name: "a"}, {Name: "b"}}, "2 items in 2 shares of 1.0 to 1.0 seconds; no times are known, all items count alike"},
		{[]Item{{Name: "a", Seconds: 3}, {Name: "b"}}, "2 items in 2 shares of 3.0 to 3.0 seconds; 1 have no time yet and count as 3.0 seconds each"},
		{[]Item{{Name: "a", Seconds: 3}}, "1 items in 2 shares of 0.0 to 3.0 seconds"},
		{nil, "0 items in 2 shares of 0.0 to 0.0 seconds"},
	} {
		if got := NewPlan(c.items, 2).String(); got != c.want {
			t.Errorf("%v:\n%s, want\n%s", c.items, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	tests := func(name string) (parts []Item) {
		if name == "single" {
			return []Item{{Name: "only"}}
		}
		for i := range 10 {
			parts = append(parts, Item{Name: fmt.Sprintf("%s/%d", name, i), Seconds: float64(i)})
		}
		return parts
	}
	items := []Item{{Name: "slow", Seconds: 60}, {Name: "single", Seconds: 50}, {Name: "a", Seconds: 5}, {Name: "b", Seconds: 5}}
	cut := Cut(items, 4, tests)
	seen := map[string]int{}
	var seconds float64
	for _, item := range cut {
		if len(item.Tests) == 0 {
			seen[item.Name]++
			continue
		}
		if item.Name != "slow" || item.Seconds > 20 {
			t.Errorf("a piece is %+v", item)
		}
		seconds += item.Seconds
		for _, test := range item.Tests {
			seen[test]++
		}
	}
	if len(seen) != 13 || math.Abs(seconds-60) > 1e-9 {
		t.Errorf("%d parts of %g seconds: %+v", len(seen), seconds, cut)
	}
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s is in %d pieces", what, n)
		}
	}
	if Cut(nil, 4, tests) != nil || len(Cut(items[2:], 1, tests)) != 2 {
		t.Error("nothing cut is something")
	}
}

func TestBound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		seconds []float64
		shards  int
		want    float64
	}{
		{nil, 3, 0},
		{[]float64{4}, 3, 4},
		{[]float64{1, 1, 1, 1}, 2, 2},
		{[]float64{1, 1, 1}, 2, 2},     // one of them has two
		{[]float64{5, 5, 5, 1}, 2, 10}, // the average is 8
		{[]float64{3, 3, 2, 2, 2}, 2, 6},
	} {
		if got := Bound(c.seconds, c.shards); got != c.want {
			t.Errorf("%v in %d: %g, want %g", c.seconds, c.shards, got, c.want)
		}
	}
}
