package server

import (
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// staged puts the jobs of one stage together, where jobs have stages: the stages
// in the order in which they can begin, a job that others came of before those.
// The jobs of one stage stay in the order of their file.
func staged(jobs []JobRow) []JobRow {
	jobs = nested(jobs)
	deep, rank := map[string]int{}, map[string]int{}
	for range jobs { // a plan has no circles; a hostile record may, and ends here
		changed := false
		for i := range jobs {
			for _, need := range jobs[i].Needs {
				if d := deep[need] + 1; d > deep[jobs[i].ID] && d < len(jobs) {
					deep[jobs[i].ID], changed = d, true
				}
			}
		}
		if !changed {
			break
		}
	}
	var stages []string
	for i := range jobs {
		j := &jobs[i]
		if j.Parent != "" {
			continue
		}
		if !slices.Contains(stages, j.Stage) {
			stages = append(stages, j.Stage)
		}
		rank[j.Stage] = max(rank[j.Stage], deep[j.ID])
	}
	if len(stages) < 2 {
		return jobs
	}
	slices.SortStableFunc(stages, func(a, b string) int { return rank[a] - rank[b] })
	out := make([]JobRow, 0, len(jobs))
	for _, stage := range stages {
		take := false
		for i := range jobs {
			if jobs[i].Parent == "" {
				take = jobs[i].Stage == stage
			}
			if take {
				out = append(out, jobs[i])
			}
		}
	}
	return out
}

// stageOf is what is written above a job of a list: its stage, where another one
// begins. A stage that is a row itself, with its jobs below, needs no heading.
func stageOf(jobs []JobRow, i int) string {
	j := &jobs[i]
	if j.Parent != "" || j.Stage == "" || j.Stage == j.Name && len(j.Children) > 0 {
		return ""
	}
	for k := i - 1; k >= 0; k-- {
		if jobs[k].Parent == "" {
			if jobs[k].Stage == j.Stage {
				return ""
			}
			break
		}
	}
	return j.Stage
}

// node of a tree of steps: those that a program asked for, and those of a composite
// action, lie below the step whose key theirs continues.
type stepNode struct {
	StepRow
	Href  string
	Inner []*stepNode
	Count int  // steps below it, at all depths
	whole bool // all of the job
}

// Open reports whether one wants to see what is inside: it is all that there is,
// something goes on there, or went wrong.
func (n *stepNode) Open() bool {
	return n.whole || n.State.Live() || plan.Verdict(n.State).Bad() || slices.ContainsFunc(n.Inner, (*stepNode).Open)
}

// maxTree is how many steps of a job its tree shows.
const maxTree = 2000

// stepTree makes a tree of a job's steps, in the order in which they began.
func stepTree(run, job string, steps []StepRow) (roots []*stepNode) {
	byKey := map[string]*stepNode{}
	for i := range steps[:min(len(steps), maxTree)] {
		n := &stepNode{StepRow: steps[i], Href: stepHref(run, job, &steps[i])}
		byKey[n.Key] = n
		var outer *stepNode
		if !strings.HasSuffix(n.Key, ".post") {
			for key := n.Key; outer == nil; {
				dot := strings.LastIndexByte(key, '.')
				if dot < 0 {
					break
				}
				key = key[:dot]
				outer = byKey[key]
			}
		}
		if outer == nil {
			roots = append(roots, n)
		} else {
			outer.Inner = append(outer.Inner, n)
		}
	}
	for _, n := range roots {
		n.count()
	}
	if len(roots) == 1 {
		roots[0].whole = true
	}
	return roots
}

func (n *stepNode) count() int {
	n.Count = 0
	for _, inner := range n.Inner {
		n.Count += 1 + inner.count()
	}
	return n.Count
}
