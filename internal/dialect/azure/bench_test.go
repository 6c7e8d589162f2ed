package azure

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// BenchmarkStep is what the dialect has to do for a step with a condition over
// variables.
func BenchmarkStep(b *testing.B) {
	body := "variables: {a: 1, b: $(a), c: x}\nsteps:\n" + strings.Repeat("- bash: echo $(a) $(b)\n  condition: and(succeeded(), ne(variables.a, '2'))\n", 50)
	d := New(Config{})
	pipelines, _, err := d.Compile(b.Context(), tree(ciFile, body), push())
	if err != nil {
		b.Fatal(err)
	}
	p := &pipelines[0]
	s := &plan.Scope{
		Context: &plan.Context{Pipeline: p, Change: push(), RunID: "1"}, Job: &p.Jobs[0], Status: plan.Success, OS: "Linux",
		Dirs: plan.Dirs{Workspace: "/w/s", Temp: "/w/t", Tools: "/w/tools"},
	}
	session, err := d.Open(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		step := &p.Jobs[0].Steps[7]
		if ok, err := d.Eval(step.If, dialect.Condition, s); ok != true || err != nil {
			b.Fatal(ok, err)
		}
		if _, err := session.Resolve(b.Context(), step, s); err != nil {
			b.Fatal(err)
		}
	}
}
