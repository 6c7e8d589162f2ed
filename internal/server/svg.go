package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What is drawn is worked out here, as numbers and words; the templates make SVG of
// it. Positions across a timeline are shares of its width, in percent.

// timeline shows when what of a run went on.
type timeline struct {
	Rows  []bar
	Ticks []tick
	More  int // jobs that are not shown
}

// bar is a row of a timeline: a job, or a step of one.
type bar struct {
	Name     string
	Href     string
	State    State
	Step     bool
	Critical bool
	Kept     bool    // it was reused
	X, W     float64 // percent
	WaitX    float64
	WaitW    float64 // 0: it did not wait
	Seconds  float64
	Title    string
}

// tick is a mark on the axis.
type tick struct {
	X     float64
	Label string
	Last  bool
}

const (
	maxBars  = 200
	stepBars = 60 // rows with steps; a run of more has those of jobs alone
	ticks    = 5
)

// newTimeline is that of a run; nil before anything has begun.
func newTimeline(v *RunView, now time.Time) *timeline {
	var from, to time.Time
	steps := 0
	for i := range v.Jobs {
		j := &v.Jobs[i]
		for _, t := range []time.Time{j.Queued, j.Begun} {
			if !t.IsZero() && (from.IsZero() || t.Before(from)) {
				from = t
			}
		}
		if e := end(j); j.Seconds > 0 && e.After(to) {
			to = e
		}
		steps += len(j.Steps)
	}
	if v.Verdict == "" && !from.IsZero() && v.State == Running {
		to = now
	}
	all := to.Sub(from).Seconds()
	if from.IsZero() || all <= 0 {
		return nil
	}
	at := func(t time.Time) float64 { return clamp(100*t.Sub(from).Seconds()/all, 0, 100) }
	wide := func(x, seconds float64) float64 { return clamp(100*seconds/all, 0.2, max(100-x, 0.2)) }
	t := &timeline{}
	jobs := nested(v.Jobs)
	for i := range jobs {
		j := &jobs[i]
		if len(j.Children) > 0 || j.Begun.IsZero() && j.Queued.IsZero() || j.State == State(plan.Skipped) {
			continue
		}
		if len(t.Rows) >= maxBars {
			t.More++
			continue
		}
		b := bar{Name: j.Name, Href: logPath(v.ID, j.ID), State: j.State, Critical: j.Critical, Kept: j.Whole(), Seconds: j.Seconds}
		if !j.Begun.IsZero() {
			b.X = at(j.Begun)
			b.W = wide(b.X, j.Seconds)
		}
		if j.Waited > 0.05 {
			b.WaitX = at(j.Queued)
			b.WaitW = wide(b.WaitX, j.Waited)
		}
		b.Title = j.Name + ": " + words(j.State) + ", " + duration(j.Seconds)
		if j.Waited > 0.05 {
			b.Title += ", after " + duration(j.Waited) + " in the queue"
		}
		t.Rows = append(t.Rows, b)
		if steps > stepBars {
			continue
		}
		depth := 0
		if len(j.Steps) > 1 && !slices.ContainsFunc(j.Steps[1:], func(s StepRow) bool { return s.Depth() == 0 }) {
			depth = 1 // the first step is a program that asked for the others
		}
		for k := range j.Steps {
			s := &j.Steps[k]
			if s.Depth() != depth || s.State == State(plan.Skipped) || s.Seconds < all/500 {
				continue
			}
			x := at(s.Begun)
			t.Rows = append(t.Rows, bar{
				Name: s.Name, Href: stepHref(v.ID, j.ID, s), State: s.State, Step: true, Kept: s.Reused != "", X: x, W: wide(x, s.Seconds), Seconds: s.Seconds,
				Title: s.Name + ": " + words(s.State) + ", " + duration(s.Seconds),
			})
		}
	}
	step := tickStep(all)
	for s := 0.0; s <= all*1.0001; s += step {
		t.Ticks = append(t.Ticks, tick{X: 100 * s / all, Label: duration(s), Last: s/all > 0.93})
	}
	return t
}

// tickStep is a round number of seconds that makes about so many ticks.
func tickStep(all float64) float64 {
	for _, s := range []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if all/s <= ticks {
			return s
		}
	}
	return all / ticks
}

func clamp(v, low, high float64) float64 { return min(max(v, low), high) }

// graph shows which job needs which.
type graph struct {
	Nodes []node
	Edges []edge
	W, H  int
}

type node struct {
	ID       string
	Name     string // cut to fit
	Title    string
	Detail   string
	Href     string
	State    State
	Critical bool
	X, Y     int
}

type edge struct {
	D        string // the path
	Critical bool
}

const (
	maxNodes          = 40 // beyond that a list says more
	nodeW, nodeH      = 196, 48
	gapX, gapY        = 28, 46
	nodesWide         = 5
	nodeName, nodeSay = 24, 28 // runes
)

// newGraph is that of a run; nil when a list says more. A job that became others
// is one node for all of them.
func newGraph(jobs []JobRow) *graph {
	byID := map[string]*JobRow{}
	var shown []*JobRow
	for i := range jobs {
		j := &jobs[i]
		byID[j.ID] = j
		if j.Parent == "" {
			shown = append(shown, j)
		}
	}
	if len(shown) < 2 || len(shown) > maxNodes {
		return nil
	}
	layer, deepest := map[string]int{}, 0
	// A plan has no cycles; a hostile record may, and ends here all the same.
	for range shown {
		changed := false
		for _, j := range shown {
			for _, need := range j.Needs {
				if n := byID[need]; n != nil && n.Parent == "" && layer[j.ID] <= layer[need] && layer[need] < len(shown) {
					layer[j.ID], changed = layer[need]+1, true
					deepest = max(deepest, layer[j.ID])
				}
			}
		}
		if !changed {
			break
		}
	}
	layers := make([][]*JobRow, deepest+1)
	for _, j := range shown {
		layers[layer[j.ID]] = append(layers[layer[j.ID]], j)
	}
	widest := 0
	for _, l := range layers {
		widest = max(widest, min(len(l), nodesWide))
	}
	g := &graph{W: widest*(nodeW+gapX) - gapX + 2}
	at := map[string]*node{}
	y := 1
	order := map[string]float64{}
	for _, l := range layers {
		// Each stands below what it needs, in the file's order where that says nothing.
		slices.SortStableFunc(l, func(a, b *JobRow) int {
			switch x, y := middle(a, order), middle(b, order); {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
		for i := 0; i < len(l); i += nodesWide {
			row := l[i:min(i+nodesWide, len(l))]
			left := (g.W - (len(row)*(nodeW+gapX) - gapX)) / 2
			for k, j := range row {
				n := nodeOf(j, byID)
				n.X, n.Y = left+k*(nodeW+gapX), y
				order[j.ID] = float64(n.X)
				at[j.ID] = &n
			}
			y += nodeH + gapY
		}
	}
	g.H = y - gapY + 1
	for _, j := range shown {
		n := at[j.ID]
		g.Nodes = append(g.Nodes, *n)
		for _, need := range j.Needs {
			m := at[need]
			if m == nil || m.Y >= n.Y {
				continue
			}
			x1, y1, x2, y2 := m.X+nodeW/2, m.Y+nodeH, n.X+nodeW/2, n.Y
			half := (y2 - y1) / 2
			g.Edges = append(g.Edges, edge{D: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1, y1+half, x2, y2-half, x2, y2), Critical: n.Critical && m.Critical})
		}
	}
	return g
}

// middle is where what a job needs stands, on average.
func middle(j *JobRow, order map[string]float64) float64 {
	var sum, n float64
	for _, need := range j.Needs {
		if x, ok := order[need]; ok {
			sum, n = sum+x, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}

func nodeOf(j *JobRow, byID map[string]*JobRow) node {
	n := node{ID: j.ID, Name: cutText(j.Name, nodeName), State: j.State, Critical: j.Critical, Href: "#job-" + j.ID, Title: j.Name + ": " + words(j.State)}
	if len(j.Children) > 0 {
		failed := 0
		for _, id := range j.Children {
			if c := byID[id]; c != nil {
				n.Critical = n.Critical || c.Critical
				if plan.Verdict(c.State).Bad() {
					failed++
				}
			}
		}
		n.Detail = "× " + thousands(int64(len(j.Children)))
		if failed > 0 {
			n.Detail += ", " + thousands(int64(failed)) + " failed"
		}
	} else {
		n.Detail = words(j.State)
		if j.Whole() {
			n.Detail = "reused"
		} else if j.Seconds > 0 {
			n.Detail += ", " + duration(j.Seconds)
		}
	}
	n.Detail = cutText(n.Detail, nodeSay)
	return n
}

// cutText is the beginning of a text that is too long.
func cutText(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// column is a run in a strip.
type column struct {
	X, Y, W, H float64
	Href       string
	State      State
	Title      string
}

// columns draws the bars of a strip in a box of 100 × 100: as high as the run was
// long.
func (s Strip) Columns() (list []column) {
	var longest float64
	for _, b := range s.Bars {
		longest = max(longest, b.Seconds)
	}
	w := 100.0 / stripRuns
	x := 100 - w*float64(len(s.Bars))
	for _, b := range s.Bars {
		h := 100.0
		if longest > 0 {
			h = 22 + 78*b.Seconds/longest
		}
		list = append(list, column{X: x, Y: 100 - h, W: w * 0.72, H: h, Href: "/runs/" + b.Run, State: b.State, Title: "Run " + b.Run + ": " + words(b.State) + ", " + duration(b.Seconds)})
		x += w
	}
	return list
}
