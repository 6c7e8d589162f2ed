package github

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestLint(t *testing.T) {
	t.Parallel()
	d := New(Config{Opinion: func(file string, _ []byte) []plan.Problem {
		if file != ciFile {
			return nil
		}
		at := func(line int, rule string) plan.Problem {
			return plan.Problem{Source: plan.Source{File: file, Line: line, Col: 9}, Severity: plan.Warning, Rule: rule, Message: "second"}
		}
		return []plan.Problem{at(3, "glob"), at(10, "expression"), at(14, "uses"), at(16, "syntax")}
	}})
	problems, err := d.Lint(t.Context(), tree(
		ciFile, `on:
  push:
    branches: ['[x']
    tags: ok
concurrency: {group: a, queue: max}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.head_commit.message }} ${{ case(true, 1, 2) }}
        background: true
      - wait-all:
      - uses: ./action
      - uses: actions/checkout@v1
  b:
    uses: ./.github/workflows/none.yml
`,
		".github/workflows/bad.yaml", "on: push\njobs:\n  a: {runs-on: x, stesp: []}\n",
		".github/workflows/notes.txt", "not a workflow",
		"action/action.yml", "name: a\ndescription: d\nruns: {using: composite, steps: [{run: a}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s:%d %s %s", filepath.Base(p.File), p.Line, p.Severity, p.Rule))
	}
	want := []string{
		"bad.yaml:3 error key",
		"ci.yml:3 error glob",
		"ci.yml:10 warning expression",
		"ci.yml:14 warning uses",
		"ci.yml:16 error call",
		"action.yml:3 error missing",
	}
	all := strings.Join(got, "\n")
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("no %q in\n%s", w, all)
		}
	}
	for _, p := range problems {
		if p.Message == "second" && p.Line != 10 && p.Line != 14 {
			t.Errorf("the second opinion only repeats: %s", p)
		}
		if strings.Contains(p.Message, "queue") || strings.Contains(p.Message, "background") || strings.Contains(p.Message, "case") {
			t.Errorf("new syntax is reported: %s", p)
		}
	}
}
