package fault

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestClusters(t *testing.T) {
	t.Parallel()
	var c Clusters
	add := func(f Failure) string {
		f.Time = monday
		return c.Add(f).ID
	}
	refused := func(port int, test string) Failure {
		return Failure{Run: strconv.Itoa(port), Branch: "b" + strconv.Itoa(port%3), Test: test, Print: hashOf(test), Rule: "network",
			Title: fmt.Sprintf("dial tcp 127.0.0.1:%d: connect: connection refused", port)}
	}
	one := add(refused(4001, "TestA"))
	if two := add(refused(4002, "TestB")); two != one {
		t.Error("two tests that say the same are two clusters")
	}
	if other := add(Failure{Rule: "network", Title: "no route to host db"}); other == one {
		t.Error("another message is the same cluster")
	}
	five := add(Failure{Test: "TestC", Print: 5, Title: "expected 5, got 7"})
	if six := add(Failure{Test: "TestD", Print: 6, Title: "expected 1, got 2"}); six == five {
		t.Error("assertions of two tests are one cluster")
	}
	if again := add(Failure{Test: "TestC", Print: 5, Title: "something else altogether now"}); again != five {
		t.Error("one fingerprint is two clusters")
	}
	a := Cause{Rule: "c-build", Text: "a.c:4:2: error: 'x' undeclared", Sure: Located}
	b, again := a, a
	b.Text, again.Text = "a.c:4:2: error: 'y' undeclared", "a.c:40:12: error: 'x' undeclared"
	if a.Print() == b.Print() || a.Print() != again.Print() {
		t.Error("the fingerprint of a cause is of its words, and not of its line")
	}
	k, ok := c.Get(one)
	if !ok || k.Count != 2 || len(k.Branches) != 2 || len(k.Tests) != 2 || len(k.Runs) != 2 {
		t.Errorf("%+v", k)
	}
	if k, ok := c.Of(5); !ok || k.ID != five || k.Count != 2 {
		t.Errorf("%+v", k)
	}
	if top := c.Top(monday, 1); len(top) != 1 || top[0].Count != 2 {
		t.Errorf("%+v", top)
	}
}

func TestSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ago  []int // days before now
		want string
	}{
		{[]int{0}, "seen for the first time"},
		{[]int{0, 0}, "seen 2 times today, in 2 branches"},
		{[]int{1, 0, 0}, "seen 3 times since yesterday, in 3 branches"},
		{[]int{6, 0, 0}, "seen 3 times since Tuesday, in 3 branches"},
		{[]int{40, 30, 2}, "seen 3 times since 14 October, 1 of them in the last 7 days, in 3 branches"},
		{[]int{400, 100}, "seen 2 times since 19 October 2025, in 2 branches"},
	} {
		var set Clusters
		var k Cluster
		for i, days := range c.ago {
			k = set.Add(Failure{Print: 1, Time: monday.AddDate(0, 0, -days), Branch: "b" + strconv.Itoa(i)})
		}
		if got := k.Say(monday); got != c.want {
			t.Errorf("%v: %q, want %q", c.ago, got, c.want)
		}
	}
}

// failures makes failures of many kinds, fixed by the seed.
func failures(n int) []Failure {
	r := rand.New(rand.NewPCG(7, 7))
	var out []Failure
	for i := range n {
		kind := min(r.IntN(300), r.IntN(300))
		out = append(out, Failure{
			Run: strconv.Itoa(i / 3), Time: monday.Add(time.Duration(i) * time.Minute), Branch: "b" + strconv.Itoa(r.IntN(90)), Job: "j" + strconv.Itoa(kind%4),
			Test: "t" + strconv.Itoa(kind), Print: uint64(kind + 1), Rule: "r" + strconv.Itoa(kind%5), Title: fmt.Sprintf("cannot reach service number %d at 10.0.0.%d", kind, r.IntN(255)),
		})
	}
	return out
}

func TestClustersKept(t *testing.T) {
	t.Parallel()
	var whole, half Clusters
	for i, f := range failures(3000) {
		a, b := whole.Add(f), half.Add(f)
		if a.ID != b.ID || a.Count != b.Count {
			t.Fatalf("failure %d: %s %d, and after a restart %s %d", i, a.ID, a.Count, b.ID, b.Count)
		}
		if i%500 == 250 {
			data, err := half.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			half = Clusters{}
			if err := half.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, _ := whole.MarshalBinary()
	b, _ := half.MarshalBinary()
	if string(a) != string(b) {
		t.Error("what is kept differs after a restart")
	}
	for _, damaged := range []string{"", "{", `{"clusters":[null]}`, `{"clusters":[{"id":""}]}`, `{"templates":[{"h":[1],"t":[]}]}`} {
		if err := new(Clusters).UnmarshalBinary([]byte(damaged)); err == nil {
			t.Errorf("%q was read", damaged)
		}
	}
}

func TestClustersBounded(t *testing.T) {
	t.Parallel()
	var c Clusters
	for i := range 3 * maxClusters {
		k := c.Add(Failure{Run: strconv.Itoa(i), Time: monday.Add(time.Duration(i) * time.Hour), Branch: strconv.Itoa(i), Print: uint64(i + 1), Title: "expected " + strconv.Itoa(i)})
		if k.Count != 1 {
			t.Fatalf("failure %d: %+v", i, k)
		}
		if c.Add(Failure{Run: "x", Time: monday, Branch: strconv.Itoa(i), Print: 1 << 40, Title: "expected"}); c.Len() > maxClusters {
			t.Fatalf("%d clusters", c.Len())
		}
	}
	k, ok := c.Of(1 << 40)
	if ok && (len(k.Branches) > maxNames || len(k.Runs) > maxRuns || len(k.Days) > maxDays) {
		t.Errorf("%d branches, %d runs, %d days", len(k.Branches), len(k.Runs), len(k.Days))
	}
	if len(c.prints) > maxClusters*maxPrints || len(c.byText) > maxClusters {
		t.Errorf("%d fingerprints, %d texts", len(c.prints), len(c.byText))
	}
}

func TestTogether(t *testing.T) {
	t.Parallel()
	var c Clusters
	for run := range 10 {
		for print, in := range map[uint64]bool{1: true, 2: run != 3, 3: run == 5 || run == 6} {
			if in {
				c.Add(Failure{Run: strconv.Itoa(run), Time: monday, Print: print, Title: "assert"})
			}
		}
	}
	one, _ := c.Of(1)
	two, _ := c.Of(2)
	if got := c.Together(one.ID); len(got) != 1 || got[0] != two.ID {
		t.Errorf("%v", got)
	}
	if c.Together("none") != nil {
		t.Error("what is not there is together with something")
	}
}

func FuzzClusters(f *testing.F) {
	f.Add("a b c\nd e f 1\nd e f 2")
	f.Fuzz(func(t *testing.T, titles string) {
		var c Clusters
		for i, title := range strings.Split(titles, "\n") {
			k := c.Add(Failure{Title: title, Time: monday, Run: strconv.Itoa(i)})
			if k.ID == "" || k.Count < 1 {
				t.Fatalf("%q: %+v", title, k)
			}
		}
		b, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var again Clusters
		if err := again.UnmarshalBinary(b); err != nil || again.Len() != c.Len() {
			t.Fatalf("%d clusters, read again %d: %v", c.Len(), again.Len(), err)
		}
	})
}

func BenchmarkClusters(b *testing.B) {
	all := failures(5000)
	var c Clusters
	n := 0
	for b.Loop() {
		c.Add(all[n%len(all)])
		n++
	}
}
