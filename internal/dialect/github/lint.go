package github

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/workflow"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Lint finds what is wrong with the workflows of a tree and with the actions in
// it that they use. Errors are what keeps a workflow from running as it is
// written; they are our own finding. Warnings are mostly the second opinion,
// about what is allowed and yet a mistake.
func (d *Dialect) Lint(ctx context.Context, tree fs.FS) ([]plan.Problem, error) {
	files, problems, err := workflowFiles(tree)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"action.yml", "action.yaml"} { // the tree may be an action itself
		if body, err := dialect.ReadFile(tree, name, maxText); err == nil {
			_, more := workflow.ReadAction(name, body)
			problems = append(problems, more...)
		}
	}
	found := make([][]plan.Problem, len(files))
	failed := make([]error, len(files))
	work := make(chan int)
	var workers sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range work {
				if failed[i] = ctx.Err(); failed[i] == nil {
					found[i], failed[i] = d.lintFile(ctx, tree, files[i])
				}
			}
		})
	}
	for i := range files {
		work <- i
	}
	close(work)
	workers.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	problems = slices.Concat(append(found, problems)...)
	sortProblems(problems)
	return slices.CompactFunc(problems, func(a, b plan.Problem) bool { return a == b }), nil
}

func (d *Dialect) lintFile(ctx context.Context, tree fs.FS, file string) ([]plan.Problem, error) {
	body, err := dialect.ReadFile(tree, file, maxText)
	if err != nil {
		return nil, fmt.Errorf("read workflow %s: %w", file, err)
	}
	w, problems := workflow.Read(file, body)
	if w == nil {
		return problems, nil // what a second reader would make of it helps nobody
	}
	c := compiler{d: d, ctx: ctx, tree: tree}
	problems = append(problems, workflow.Linker{Load: c.load}.Link(w)...)
	problems = append(problems, filterProblems(w)...)
	problems = append(problems, localActions(tree, w)...)
	if d.cfg.Opinion != nil {
		problems = append(problems, unsaid(problems, d.cfg.Opinion(file, body))...)
	}
	return problems, nil
}

// filterProblems are the patterns in on: that cannot be read or match nothing, and
// the timezones that do not exist.
func filterProblems(w *workflow.Workflow) []plan.Problem {
	var problems []plan.Problem
	_, err := time.LoadLocation("Europe/London")
	zones := err == nil // this machine knows timezones
	for i := range w.On.Events {
		for _, c := range w.On.Events[i].Cron {
			name := c.Timezone.Text
			if _, err := time.LoadLocation(name); zones && c.Timezone.Given() && (err != nil || name == "Local") {
				problems = append(problems, *problemAt(c.Timezone.Source, "cron", fmt.Sprintf("there is no timezone %.60q", name),
					"use a name of the IANA database, such as Europe/London"))
			}
		}
		for _, s := range slices.Concat(w.On.Events[i].Paths, w.On.Events[i].PathsIgnore) {
			if p := "/" + strings.TrimPrefix(s.Text, "!") + "/"; strings.Contains(p, "/./") || strings.Contains(p, "/../") {
				problems = append(problems, plan.Problem{Source: s.Source, Severity: plan.Warning, Rule: "glob",
					Message: fmt.Sprintf("%.60q matches nothing: paths of changed files hold no . or ..", s.Text), Hint: "write the path from the root of the repository"})
			}
		}
		t := &w.On.Events[i]
		d := decision{trigger: t}
		d.filter("branches", t.Branches)
		d.filter("branches-ignore", t.BranchesIgnore)
		d.filter("tags", t.Tags)
		d.filter("tags-ignore", t.TagsIgnore)
		d.filter("paths", t.Paths)
		d.filter("paths-ignore", t.PathsIgnore)
		problems = append(problems, d.problems...)
	}
	return problems
}

// localActions are the problems of the tree's own actions that a workflow uses.
func localActions(tree fs.FS, w *workflow.Workflow) []plan.Problem {
	var problems []plan.Problem
	seen := map[string]bool{}
	var look func(steps []*workflow.Step)
	look = func(steps []*workflow.Step) {
		for _, s := range steps {
			look(s.Parallel)
			dir, ok := strings.CutPrefix(s.Uses.Text, "./")
			if !ok || inside(dir) != nil || seen[path.Clean(dir)] {
				continue
			}
			seen[path.Clean(dir)] = true
			for _, name := range []string{"action.yml", "action.yaml"} {
				file := path.Join(dir, name)
				body, err := dialect.ReadFile(tree, file, maxText)
				if err != nil {
					continue // it may be checked out by a step, or be a Dockerfile
				}
				a, more := workflow.ReadAction(file, body)
				problems = append(problems, more...)
				if a != nil {
					look(a.Runs.Steps)
				}
				break
			}
		}
	}
	for _, j := range w.Jobs {
		look(j.Steps)
	}
	return problems
}

// unsaid is what a second opinion adds to our own. About the shape of a file our
// table knows better: where we have spoken about a line, nothing is added.
func unsaid(ours, theirs []plan.Problem) []plan.Problem {
	type place struct {
		line int
		rule string
	}
	told := map[place]bool{}
	lines := map[int]bool{}
	for _, p := range ours {
		told[place{p.Line, Family(p.Rule)}] = true
		lines[p.Line] = true
	}
	return slices.DeleteFunc(theirs, func(p plan.Problem) bool {
		rule := Family(p.Rule)
		switch rule {
		case "syntax", "events", "permissions":
			return lines[p.Line]
		}
		return told[place{p.Line, rule}]
	})
}

// Family is the rule that findings of the same sort have in common, so that two
// readers of a file can be compared.
func Family(rule string) string {
	switch rule {
	case "key", "missing", "value", "limit", "type":
		return "syntax"
	case "context":
		return "expression"
	case "action":
		return "uses"
	case "cron":
		return "events"
	}
	return rule
}
