package github

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// largeWorkflow is a workflow of many small jobs, each of which needs up to
// three earlier ones: what a monorepo's generator writes.
func largeWorkflow(jobs int) string {
	var b strings.Builder
	b.WriteString("name: large\non: push\njobs:\n")
	for i := range jobs {
		fmt.Fprintf(&b, "  p%04d:\n    runs-on: ubuntu-latest\n", i)
		if i > 0 {
			fmt.Fprintf(&b, "    needs: [p%04d, p%04d, p%04d]\n", (i-1)/2, i*3/4, i-1)
		}
		fmt.Fprintf(&b, "    steps:\n      - run: mkdir -p dist && cat src/*.txt ../p%04d/src/f0.txt > dist/out.txt\n        working-directory: packages/p%04d\n", i/2, i)
	}
	return b.String()
}

// BenchmarkCompileLarge compiles a workflow of a thousand jobs.
func BenchmarkCompileLarge(b *testing.B) {
	files := tree(ciFile, largeWorkflow(1000))
	change := push()
	b.ReportAllocs()
	for b.Loop() {
		pipelines, problems, err := New(Config{}).Compile(b.Context(), files, change)
		if err != nil || len(problems) > 0 || len(pipelines[0].Jobs) != 1000 {
			b.Fatal(err, problems)
		}
	}
}

// BenchmarkRehearse asks what an engine asks of each job that it goes through
// on paper, a thousand jobs of one step.
func BenchmarkRehearse(b *testing.B) {
	d := New(Config{})
	pipelines, _, err := d.Compile(b.Context(), tree(ciFile, largeWorkflow(1000)), push())
	if err != nil {
		b.Fatal(err)
	}
	p := &pipelines[0]
	context := &plan.Context{Pipeline: p, Change: push(), Root: "/src", RunID: "7", Number: 3, Attempt: 1}
	dirs := plan.Dirs{Workspace: "/work/demo/1/demo", Temp: "/work/demo/1/_temp", Tools: "/work/tools"}
	b.ReportAllocs()
	for b.Loop() {
		for i := range p.Jobs {
			j := &p.Jobs[i]
			s := &plan.Scope{Context: context, Job: j, Dirs: dirs, Paper: true, Status: plan.Success, OS: "Linux", Arch: "X64"}
			if err := rehearse(b.Context(), d, j, s); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func rehearse(ctx context.Context, d *Dialect, j *plan.Job, s *plan.Scope) error {
	if _, err := d.Eval(j.If, dialect.Condition, s); err != nil {
		return err
	}
	session, err := d.Open(ctx, s)
	if err != nil {
		return err
	}
	if _, err := session.Setup(ctx, s); err != nil {
		return err
	}
	for i := range j.Steps {
		if _, err := d.Eval(j.Steps[i].If, dialect.Condition, s); err != nil {
			return err
		}
		if _, err := session.Resolve(ctx, &j.Steps[i], s); err != nil {
			return err
		}
	}
	return session.Close()
}
