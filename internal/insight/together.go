package insight

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/suite"
)

const (
	// mostRanked is how many tests are looked at for those that fail together, the ones that
	// cost most, and togetherRuns in how many of the newest runs.
	mostRanked, togetherRuns = 300, 200
	// leastTogether is how often a test must have failed for it to be more than chance that
	// others failed with it.
	leastTogether = 2
)

// TestRank is a place among what costs most time: a test by itself, or tests that fail
// together, of one cause, which counts once.
type TestRank struct {
	Tests []TestRow `json:"tests"` // the most costly first
	Lost  float64   `json:"lost"`  // seconds in 30 days
	// Runs is in how many of the newest runs any of several tests failed, All in how many
	// all did.
	Runs int `json:"runs,omitempty"`
	All  int `json:"all,omitempty"`
}

// GridGroup is rows of a heat map that fail together. They stand one below the other.
type GridGroup struct {
	Tests int `json:"tests"`
	Runs  int `json:"runs"` // in which any of them failed
	All   int `json:"all"`  // in which all did
}

// String says it in words: "these 3 tests fail together: all of them in 4 of 5 runs".
func (g GridGroup) String() string {
	return fmt.Sprintf("these %d tests fail together: all of them in %d of %s", g.Tests, g.All, count(g.Runs, "run"))
}

// group finds the rows of a heat map that fail together, and puts them beside each other,
// where the worst of them stands.
func (g *TestGrid) group() {
	var failed []suite.FailedRuns
	place := map[suite.ID]int{}
	for i := range g.Tests {
		f := suite.FailedRuns{ID: g.Tests[i].ID()}
		for j, c := range g.Tests[i].Cells {
			if c.Bad() && !c.Storm {
				f.Runs = append(f.Runs, g.Runs[j].Run)
			}
		}
		if place[f.ID] = i; len(f.Runs) >= leastTogether {
			failed = append(failed, f)
		}
	}
	first := make([]int, len(g.Tests)) // where the row's group begins
	for i := range first {
		first[i] = i
	}
	clusters := suite.Clusters(failed)
	begins := func(c suite.Cluster) int {
		at := len(g.Tests)
		for _, id := range c.Tests {
			at = min(at, place[id])
		}
		return at
	}
	slices.SortFunc(clusters, func(a, b suite.Cluster) int { return begins(a) - begins(b) })
	for _, c := range clusters {
		g.Groups = append(g.Groups, GridGroup{len(c.Tests), len(c.Runs), c.All})
		at := begins(c)
		for _, id := range c.Tests {
			first[place[id]] = at
			g.Tests[place[id]].Group = len(g.Groups)
		}
	}
	slices.SortStableFunc(g.Tests, func(a, b GridTest) int {
		return cmp.Compare(first[place[a.ID()]], first[place[b.ID()]])
	})
}

// ranks are what costs most time of tests that come by what each lost.
func (h *Histories) ranks(ctx context.Context, rows []suite.Row) ([]TestRank, error) {
	ids := make([]suite.ID, len(rows))
	lost := make(map[suite.ID]*suite.Row, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
		lost[rows[i].ID] = &rows[i]
	}
	grid, err := h.Ledger.Grid(ctx, ids, "", togetherRuns)
	if err != nil {
		return nil, fmt.Errorf("read the newest results: %w", err)
	}
	var failed []suite.FailedRuns
	for i, results := range grid {
		f := suite.FailedRuns{ID: ids[i]}
		for _, r := range results {
			if (r.Outcome.Bad() || r.Outcome == suite.Flaked) && !r.Storm {
				f.Runs = append(f.Runs, r.Run)
			}
		}
		if len(f.Runs) >= leastTogether {
			failed = append(failed, f)
		}
	}
	ranks := []TestRank{}
	grouped := map[suite.ID]bool{}
	add := func(r TestRank, ids ...suite.ID) {
		for _, id := range ids {
			r.Tests, r.Lost = append(r.Tests, testRow(lost[id])), max(r.Lost, lost[id].Lost)
		}
		slices.SortStableFunc(r.Tests, func(a, b TestRow) int { return cmp.Compare(b.Lost, a.Lost) })
		ranks = append(ranks, r)
	}
	for _, c := range suite.Clusters(failed) {
		add(TestRank{Runs: len(c.Runs), All: c.All}, c.Tests...)
		for _, id := range c.Tests {
			grouped[id] = true
		}
	}
	for _, id := range ids {
		if !grouped[id] {
			add(TestRank{}, id)
		}
	}
	slices.SortStableFunc(ranks, func(a, b TestRank) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(a.Tests[0].Title, b.Tests[0].Title))
	})
	return ranks, nil
}
