package suite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Tests seldom fail alone. When a machine runs out of disk, everything fails;
// when a port is taken, the ten tests that want it fail together. The first is
// a storm, and no evidence of anything. The second is a cluster: one cause,
// which counts once and is mended once.

const (
	// stormTests and stormShare say what a storm is: so many tests, and this
	// share of all that did well before, failed in one run.
	stormTests, stormShare = 10, 0.3
	// maxStorms is how many runs of the base branch in a row may be storms;
	// what goes on longer is how the tests are now.
	maxStorms = 2

	// clusterShare is the share of the runs in which either of two tests
	// failed, in which both must have, to be of one cluster (Jaccard).
	clusterShare = 0.5
	// maxClustered and maxClusterRuns are how many tests, and runs of each,
	// are looked at.
	maxClustered, maxClusterRuns = 5000, 200
	// maxClusterPairs is how many pairs of tests are compared.
	maxClusterPairs = 2_000_000
)

// Toll is what one run of a project's tests showed of all of them.
type Toll struct {
	Run   string
	Base  bool // of the branch that changes go to
	Ran   int  // tests that did not skip
	Bad   int  // of them, those that failed
	Fresh int  // of those, the ones that had passed the time before
}

// Storms tells runs in which the machine failed from those in which tests did.
// It takes the runs of a repository in their order; the zero value has seen
// none. It is plain data, to be kept as JSON.
type Storms struct {
	Row int // storms of the base branch in a row, so far
	// Run is the run of the base branch that came last, and Before what Row was before
	// it: of a run that goes on, more is known later.
	Run    string `json:",omitempty"`
	Before int    `json:",omitempty"`
}

// Add takes the next run, or the newest once more when more is known of it, and says
// why it is a storm, "" when it is none. Its results are then added with
// [Result.Storm] set.
func (s *Storms) Add(run Toll) (why string) {
	well := run.Ran - (run.Bad - run.Fresh) // that could have failed anew
	storm := run.Fresh >= stormTests && float64(run.Fresh) >= stormShare*float64(well)
	if run.Base {
		if run.Run == "" || run.Run != s.Run {
			s.Run, s.Before = run.Run, s.Row
		}
		switch s.Row = s.Before; {
		case !storm:
			s.Row = 0
		case s.Row >= maxStorms:
			return ""
		default:
			s.Row++
		}
	}
	if !storm {
		return ""
	}
	return fmt.Sprintf("%d of %d tests that were well failed at once: that is no matter of single tests", run.Fresh, well)
}

// FailedRuns are the runs in which a test failed by chance.
type FailedRuns struct {
	ID   ID
	Runs []string
}

// Cluster is a group of tests that fail together: one cause.
type Cluster struct {
	Tests []ID     // sorted by Key, then Variant; at least two
	Runs  []string // in which any of them failed, in the order of their numbers
	All   int      // of the runs, those in which all failed
}

// Clusters finds the tests that fail together, the largest group first. Of the
// tests beyond the first five thousand, and the runs of each beyond the newest
// two hundred, nothing is said.
func Clusters(tests []FailedRuns) []Cluster {
	tests = slices.Clone(tests[:min(len(tests), maxClustered)])
	for i := range tests {
		runs := slices.Clone(tests[i].Runs)
		slices.SortFunc(runs, byNumber)
		runs = slices.Compact(runs)
		tests[i].Runs = runs[max(0, len(runs)-maxClusterRuns):]
	}
	// Those with the very same runs need no comparing.
	same := map[string]int{}
	var groups [][]int // of tests
	for i, t := range tests {
		if len(t.Runs) == 0 {
			continue
		}
		key := strings.Join(t.Runs, "\x00")
		g, ok := same[key]
		if !ok {
			g = len(groups)
			same[key] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	in := map[string][]int{} // run: groups
	for g, members := range groups {
		for _, run := range tests[members[0]].Runs {
			in[run] = append(in[run], g)
		}
	}
	parent := make([]int, len(groups))
	for i := range parent {
		parent[i] = i
	}
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	pairs := 0
	for g, members := range groups {
		both := map[int]int{}
		for _, run := range tests[members[0]].Runs {
			for _, other := range in[run] {
				if other > g && pairs < maxClusterPairs {
					both[other]++
					pairs++
				}
			}
		}
		for other, n := range both {
			either := len(tests[members[0]].Runs) + len(tests[groups[other][0]].Runs) - n
			if float64(n) >= clusterShare*float64(either) {
				parent[root(other)] = root(g)
			}
		}
	}
	byRoot := map[int][]int{}
	for g, members := range groups {
		r := root(g)
		byRoot[r] = append(byRoot[r], members...)
	}
	var clusters []Cluster
	for _, members := range byRoot {
		if len(members) < 2 {
			continue
		}
		var c Cluster
		count := map[string]int{}
		for _, i := range members {
			c.Tests = append(c.Tests, tests[i].ID)
			for _, run := range tests[i].Runs {
				if count[run]++; count[run] == 1 {
					c.Runs = append(c.Runs, run)
				}
			}
		}
		for _, n := range count {
			if n == len(members) {
				c.All++
			}
		}
		slices.SortFunc(c.Tests, byID)
		slices.SortFunc(c.Runs, byNumber)
		clusters = append(clusters, c)
	}
	slices.SortFunc(clusters, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(len(b.Tests), len(a.Tests)), byID(a.Tests[0], b.Tests[0]))
	})
	return clusters
}

// byNumber compares decimal numbers of any length without reading them.
func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func byID(a, b ID) int {
	return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Key, b.Key), strings.Compare(a.Variant, b.Variant))
}
