package server

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// How tests are drawn. What a result was is told by the shape of its cell and not by its
// colour alone: a pass is low, a failure fills the height, a result that came right
// when it was tried again stands between, what was skipped is a line.

// testFunctions are what the templates about tests call.
func testFunctions(now func() time.Time) template.FuncMap {
	return template.FuncMap{
		"testState": testStateOf, "testStates": insight.States, "testOrders": testOrders, "testHref": testHref, "testPath": testPath, "testForm": testForm, "rate": insight.RateText,
		"testStrip": newTestStrip, "interval": newInterval, "heat": newHeat, "daybars": newDayBars, "layers": newLayers,
		"day":          func(t time.Time) string { return insight.DayText(t, now()) },
		"title":        splitTitle,
		"testWord":     func(s record.TestState) string { return testStateOf(s).Word },
		"tab":          func(repository, at string) testTab { return testTab{repository, at} },
		"secs":         duration,
		"cells":        cellsText,
		"cellLink":     func(c insight.TestCell) cellMark { return markOfCell(&c) },
		"stripLength":  func() int { return insight.StripResults },
		"ticksOfRates": func() []int { return []int{0, 25, 50, 75, 100} },
		"list":         func(n ...int) []int { return n },
		"plus":         func(a, b int) int { return a + b },
		"before":       func(after, limit int) int { return max(0, after-limit) },
		"expect":       expected,
	}
}

// expected is a number of failures or results that is not whole.
func expected(n float64) string {
	switch {
	case n <= 0:
		return "0"
	case n < .01:
		return "less than 0.01"
	case n < 10:
		return fmt.Sprintf("%.2g", n)
	}
	return thousands(int64(n + .5))
}

// testTab is one of the views of a repository's tests.
type testTab struct{ Repository, At string }

// stateMark is how the state of a test is shown.
type stateMark struct {
	Glyph, Class, Word string
}

func testStateOf(s any) stateMark {
	switch record.TestState(fmt.Sprint(s)) {
	case record.TestSuspected:
		return stateMark{"error", "error", "Suspected"}
	case record.TestQuarantined:
		return stateMark{"approval", "approval", "Quarantined"}
	case record.TestBroken:
		return stateMark{"failure", "failure", "Broken"}
	case "ill":
		return stateMark{"error", "error", "Not healthy"}
	case "":
		return stateMark{"", "", "All"}
	}
	return stateMark{"success", "success", "Healthy"}
}

// testOrders are the orders of a list of tests, in words.
func testOrders() []choice {
	words := map[string]string{"rate": "how often it fails by chance", "lost": "time lost", "seconds": "slowest", "failed": "last failed", "title": "name"}
	var list []choice
	for _, o := range insight.Orders() {
		list = append(list, choice{o, words[o]})
	}
	return list
}

// testHref is the page of a test.
func testHref(r insight.TestRow) string { return testPath(r.Repository, r.Key, r.Variant) }

func testPath(repository, key, variant string) string {
	return linkTo("/test/"+url.PathEscape(key), "repository", repository, "variant", variant)
}

// testForm is where forms about a test are posted.
func testForm(r insight.TestRow, act string) string {
	return "/test/" + url.PathEscape(r.Key) + "/" + act + linkQuery(r)
}

func linkQuery(r insight.TestRow) string {
	return linkTo("", "repository", r.Repository, "variant", r.Variant)
}

// titled is the name of a test, and what it is in.
type titled struct{ Name, In string }

// splitTitle tells the last part of a title, which people know a test by, from what it
// is in.
func splitTitle(t string) titled {
	const part = " › "
	if i := strings.LastIndex(t, part); i >= 0 {
		return titled{t[i+len(part):], t[:i]}
	}
	return titled{Name: t}
}

// cellMark is a cell of a strip or of a heat map.
type cellMark struct {
	X, Y, W, H float64
	Class      string
	Href       string // of a failure
	Title      string
}

// markOfCell is the shape of a cell in a box as high as 10.
func markOfCell(c *insight.TestCell) (m cellMark) {
	m = cellMark{Class: "t-" + c.Outcome, Href: "/runs/" + c.Run}
	switch c.Outcome {
	case "passed":
		m.Y, m.H = 6, 4
	case "flaked":
		m.Y, m.H = 3, 7
	case "failed", "errored":
		m.Y, m.H = 0, 10
	case "skipped":
		m.Y, m.H = 9, 1
	}
	m.Title = "Run " + c.Run + ": " + outcomeText(c.Outcome)
	if c.Storm {
		m.Class, m.Title = m.Class+" t-storm", m.Title+", as did many: it counts for nothing"
	}
	if c.Muted {
		m.Class, m.Title = m.Class+" t-muted", m.Title+", in quarantine"
	}
	if c.Seconds > 0 {
		m.Title += ", " + duration(c.Seconds)
	}
	return m
}

func outcomeText(o string) string {
	switch o {
	case "flaked":
		return "failed, then passed when tried again"
	case "errored":
		return "did not come to its end"
	}
	return o
}

// cellsText counts cells in words: "30 results: 27 passed, 2 failed".
func cellsText(cells []insight.TestCell) string {
	count := map[string]int{}
	all := 0
	for i := range cells {
		if cells[i].Outcome != "" {
			count[cells[i].Outcome]++
			all++
		}
	}
	var parts []string
	for _, o := range []string{"passed", "failed", "flaked", "errored", "skipped"} {
		if count[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[o], outcomeText(o)))
		}
	}
	if all == 0 {
		return "no results"
	}
	return plural(int64(all), "result") + ": " + strings.Join(parts, ", ")
}

// testStrip is a row of results, the newest at the right.
type testStrip struct {
	W     int
	Marks []cellMark
	Label string
}

// newTestStrip draws at most so many of the newest results, which come newest first.
func newTestStrip(cells []insight.TestCell, most int) testStrip {
	const w, gap = 6, 1.4
	cells = cells[:min(len(cells), most)]
	s := testStrip{W: most * w, Label: cellsText(cells)}
	for i := range cells {
		m := markOfCell(&cells[i])
		m.X, m.W = float64((most-1-i)*w), w-gap
		s.Marks = append(s.Marks, m)
	}
	return s
}

// interval is where a rate lies, on an axis from 0.01 % to 100 % by powers of ten.
type interval struct {
	X, W, At float64 // percent of the axis
	Label    string
}

func newInterval(low, rate, high float64) interval {
	at := func(x float64) float64 { return clamp(25*(math.Log10(max(x, 1e-9))+4), 0, 100) }
	v := interval{X: at(low), At: clamp(at(rate), 0.5, 99.5), Label: insight.RateText(rate) + ", with 90 % between " + insight.RateText(low) + " and " + insight.RateText(high)}
	v.W = max(at(high)-v.X, 1)
	return v
}

// heat is a heat map, a row of marks for each test.
type heat struct {
	W    int // of each row
	Rows []heatRow
	Axis []heatTick
}

type heatRow struct {
	Test   insight.TestRow
	Passed string     // the path of all passes: they are many
	Marks  []cellMark // all else
	Label  string
	Bad    int
	Group  string // the class of its part of a bracket, "" for none
	Why    string // of the group, in words
}

// heatTick is a label over a column.
type heatTick struct {
	X     float64 // percent
	Label string
	Storm bool
}

// newHeat draws a grid, its newest column at the left.
func newHeat(g insight.TestGrid) heat {
	const w, gap, every = 10, 1.5, 10
	h := heat{W: max(len(g.Runs), 1) * w}
	for i, run := range g.Runs {
		if run.Storm {
			h.Axis = append(h.Axis, heatTick{X: 100 * (float64(i) + .5) / float64(len(g.Runs)), Label: "!", Storm: true})
		} else if i%every == 0 {
			h.Axis = append(h.Axis, heatTick{X: 100 * float64(i) / float64(len(g.Runs)), Label: run.Run})
		}
	}
	for i := range g.Tests {
		t := &g.Tests[i]
		row := heatRow{Test: t.TestRow, Bad: t.Bad}
		var passed strings.Builder
		var bad []string
		for j := range t.Cells {
			c := &t.Cells[j]
			m := markOfCell(c)
			m.X, m.W = float64(j*w), w-gap
			switch c.Outcome {
			case "":
			case "passed":
				fmt.Fprintf(&passed, "M%d %gh%gv%gh-%gz", j*w, m.Y, m.W, m.H, m.W)
			default:
				row.Marks = append(row.Marks, m)
			}
			if c.Bad() {
				bad = append(bad, c.Run)
			}
		}
		row.Passed = passed.String()
		row.Label = cellsText(t.Cells)
		if len(bad) > 0 {
			row.Label += "; failed in " + strings.Join(bad[:min(len(bad), 8)], ", ")
			if len(bad) > 8 {
				row.Label += " and more"
			}
		}
		if t.Group > 0 && t.Group <= len(g.Groups) {
			row.Why = g.Groups[t.Group-1].String()
			above, below := i > 0 && g.Tests[i-1].Group == t.Group, i+1 < len(g.Tests) && g.Tests[i+1].Group == t.Group
			switch {
			case !above:
				row.Group = "g-top"
			case below:
				row.Group = "g-mid"
			default:
				row.Group = "g-end"
			}
		}
		h.Rows = append(h.Rows, row)
	}
	return h
}

// dayBar is a part of a day's bar.
type dayBar struct {
	X, Y, W, H float64
	Class      string
}

// dayBars are the results of a test day by day.
type dayBars struct {
	W     int
	Bars  []dayBar
	Label string
	Most  int               // results of a day
	Days  []insight.TestDay // that had any, the newest first
}

func newDayBars(days []insight.TestDay) dayBars {
	const w, gap, high = 10, 2, 60.0
	d := dayBars{W: len(days) * w}
	var sum insight.TestDay
	for _, day := range days {
		d.Most = max(d.Most, day.All())
	}
	for i, day := range days {
		if day.All() == 0 {
			continue
		}
		d.Days = append([]insight.TestDay{day}, d.Days...)
		y := high
		for _, part := range []struct {
			n     int
			class string
		}{{day.Passed, "t-passed"}, {day.Skipped, "t-skipped"}, {day.Flaked, "t-flaked"}, {day.Muted, "t-failed t-muted"}, {day.Failed, "t-failed"}} {
			if part.n == 0 {
				continue
			}
			h := max(high*float64(part.n)/float64(d.Most), 2)
			y -= h
			d.Bars = append(d.Bars, dayBar{float64(i * w), max(y, 0), w - gap, h, part.class})
		}
		sum.Passed, sum.Skipped, sum.Flaked, sum.Muted, sum.Failed = sum.Passed+day.Passed, sum.Skipped+day.Skipped, sum.Flaked+day.Flaked, sum.Muted+day.Muted, sum.Failed+day.Failed
	}
	d.Label = fmt.Sprintf("In %d days: %d passed, %d failed, %d failed in quarantine, %d passed when tried again, %d skipped", len(days), sum.Passed, sum.Failed, sum.Muted, sum.Flaked, sum.Skipped)
	return d
}

// layer is a layer of a pyramid, drawn.
type layer struct {
	insight.TestLayer
	X, W  float64 // percent, in the middle
	Label string
}

// newLayers draws the layers of a pyramid, as wide as they have tests.
func newLayers(p insight.TestPyramid) (list []layer) {
	most := 1
	for _, l := range p.Layers {
		most = max(most, l.Tests)
	}
	for _, l := range p.Layers {
		w := 100 * float64(l.Tests) / float64(most)
		if l.Tests > 0 {
			w = max(w, .5)
		}
		list = append(list, layer{l, (100 - w) / 2, w, plural(int64(l.Tests), "test") + ", " + duration(l.Seconds)})
	}
	return list
}
