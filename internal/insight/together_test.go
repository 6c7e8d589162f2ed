package insight

import (
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestTogether: tests that fail in the same runs stand side by side in the heat map, and
// are one place among what costs most.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	how := func(bad bool) string {
		if bad {
			return record.TestFailed
		}
		return record.TestPassed
	}
	for n := range 40 {
		s.run("c"+string(rune('a'+n/2)), "", // each commit twice: what differs is chance
			testResult("port1", how(n%8 == 1)), testResult("port2", how(n%8 == 1 || n == 3)), testResult("alone", how(n%5 == 3)), testResult("good", record.TestPassed))
	}
	s.learn()
	h := s.histories()
	g, err := h.Grid(t.Context(), "o/r", GridAsk{})
	if err != nil || len(g.Groups) != 1 || g.Groups[0] != (GridGroup{2, 6, 5}) || len(g.Tests) != 3 {
		t.Fatalf("%+v, %v", g.Groups, err)
	}
	if got := g.Groups[0].String(); got != "these 2 tests fail together: all of them in 5 of 6 runs" {
		t.Error(got)
	}
	for i, r := range g.Tests {
		if (r.Group == 1) != (r.Title != "p › alone") || r.Group == 1 && g.Tests[max(i-1, 0)].Group+g.Tests[min(i+1, len(g.Tests)-1)].Group == 0 {
			t.Errorf("row %d, %s, is in group %d", i, r.Title, r.Group)
		}
	}
	p, err := h.Pyramid(t.Context(), "o/r")
	if err != nil || len(p.Ranks) != 2 || len(p.Leaders) != 3 {
		t.Fatalf("%+v, %v", p.Ranks, err)
	}
	var lost float64
	for _, r := range p.Ranks {
		lost += r.Lost
		if len(r.Tests) == 2 && (r.Runs != 6 || r.All != 5 || r.Lost != max(r.Tests[0].Lost, r.Tests[1].Lost)) || p.Ranks[0].Lost < r.Lost {
			t.Errorf("%+v", r)
		}
	}
	if lost != p.Lost || lost >= p.Leaders[0].Lost+p.Leaders[1].Lost+p.Leaders[2].Lost {
		t.Errorf("%v seconds are lost, %v of all", lost, p.Lost)
	}
}
