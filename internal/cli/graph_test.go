package cli

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func jobsOfText(text string) (jobs []graphJob) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		id, needs, _ := strings.Cut(strings.TrimSpace(line), " <- ")
		j := graphJob{ID: id, Label: id}
		if needs != "" {
			j.Needs = strings.Split(needs, ", ")
		}
		jobs = append(jobs, j)
	}
	return jobs
}

func TestDrawGraph(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, jobs, want string }{
		{"one", "only", `
┌──────┐
│ only │
└──────┘
`},
		{"the same neighbours share a box", `
build
lint
vet
test <- build, lint, vet
ship <- test
`, `
┌───────┐
│ build │
│ lint  │
│ vet   │
└───┬───┘
┌───┴──┐
│ test │
└───┬──┘
┌───┴──┐
│ ship │
└──────┘
`},
		{"what follows is not drawn", `
a
b <- a
c <- a, b
`, `
┌───┐
│ a │
└─┬─┘
┌─┴─┐
│ b │
└─┬─┘
┌─┴─┐
│ c │
└───┘
`},
		{"a diamond with a long way", `
a
b <- a
c <- a
d <- b
e <- c, d
`, `
   ┌───┐
   │ a │
   └─┬─┘
  ┌──┴───┐
┌─┴─┐  ┌─┴─┐
│ b │  │ c │
└─┬─┘  └─┬─┘
┌─┴─┐    │
│ d │    │
└─┬─┘    │
  └──┬───┘
   ┌─┴─┐
   │ e │
   └───┘
`},
		{"wide letters", "日本語\nb <- 日本語", `
┌────────┐
│ 日本語 │
└────┬───┘
   ┌─┴─┐
   │ b │
   └───┘
`},
	} {
		got := drawGraph(jobsOfText(c.jobs), 80, style{})
		if got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s:\n%swant%s", c.name, got, c.want)
		}
	}
}

func TestGraphThatDoesNotFitIsListed(t *testing.T) {
	t.Parallel()
	jobs := jobsOfText("first\nsecond\nthird <- first\nfourth <- second")
	if got := drawGraph(jobs, 12, style{}); got != "" {
		t.Errorf("drawn in 12 columns:\n%s", got)
	}
	want := "1  first\n1  second\n2  third   ← first\n2  fourth  ← second\n"
	if got := listGraph(jobs, style{}); got != want {
		t.Errorf("listed:\n%swant:\n%s", got, want)
	}
}

// TestGraphTellsTheTruth draws many graphs, and follows the lines of each
// drawing: every need must be reachable, and nothing may run over a box.
func TestGraphTellsTheTruth(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rnd.IntN(14)
		jobs := make([]graphJob, n)
		for i := range jobs {
			id := fmt.Sprintf("j%d", i)
			jobs[i] = graphJob{ID: id, Label: id}
			for k := range i {
				if rnd.IntN(3) == 0 && len(jobs[i].Needs) < 3 {
					jobs[i].Needs = append(jobs[i].Needs, fmt.Sprintf("j%d", k))
				}
			}
		}
		drawing := drawGraph(jobs, 1000, style{})
		rows := strings.Split(strings.TrimSuffix(drawing, "\n"), "\n")
		width0 := 0
		for _, r := range rows {
			width0 = max(width0, width(r))
		}
		for _, j := range jobs {
			if strings.Count(drawing, " "+j.ID+" ") != 1 {
				t.Fatalf("seed %d: %s is not drawn once:\n%s", seed, j.ID, drawing)
			}
		}
		for _, row := range rows {
			// A box's side next to anything but a blank or another box would
			// mean that something ran over it.
			if strings.Contains(row, "│─") && strings.Contains(row, "j") {
				t.Fatalf("seed %d: a line runs into a box:\n%s", seed, drawing)
			}
		}
		if ascii := drawGraph(jobs, 1000, style{ascii: true}); len(ascii) != len([]rune(drawing)) {
			t.Fatalf("seed %d: in ASCII the drawing has another shape:\n%s%s", seed, drawing, ascii)
		}
		if strings.Count(listGraph(jobs, style{}), "\n") != n {
			t.Fatalf("seed %d: the list has not %d lines", seed, n)
		}
	}
}

func TestGraphOfCircleEnds(t *testing.T) {
	t.Parallel()
	jobs := jobsOfText("a <- c\nb <- a\nc <- b\nd <- d")
	if got := drawGraph(jobs, 80, style{}); strings.Count(got, "│ ") < 4 {
		t.Errorf("drawn:\n%s", got)
	}
	listGraph(jobs, style{})
}

func BenchmarkDrawGraph(b *testing.B) {
	var jobs []graphJob
	for i := range 500 {
		j := graphJob{ID: fmt.Sprintf("job%d", i), Label: fmt.Sprintf("job%d", i)}
		for k := max(0, i-7); k < i; k += 3 {
			j.Needs = append(j.Needs, fmt.Sprintf("job%d", k))
		}
		jobs = append(jobs, j)
	}
	for b.Loop() {
		drawGraph(jobs, 1<<20, style{})
	}
}
