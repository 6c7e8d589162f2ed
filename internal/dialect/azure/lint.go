package azure

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Lint finds what is wrong with the pipelines of a tree and the templates
// that they use. Errors are what keeps a pipeline from running as it is
// written.
func (d *Dialect) Lint(ctx context.Context, tree fs.FS) ([]plan.Problem, error) {
	pipelines, problems, err := d.Compile(ctx, tree, nil)
	if err != nil {
		return nil, err
	}
	for i := range pipelines {
		problems = append(problems, unused(&pipelines[i])...)
	}
	sortProblems(problems)
	return slices.Compact(problems), nil
}

// unused are the parameters of a pipeline that nothing in it names.
func unused(p *plan.Pipeline) []plan.Problem {
	if len(p.Texts) == 0 {
		return nil
	}
	lower := strings.ToLower(p.Texts[0].Body)
	for _, all := range []string{"parameters }", "parameters}", "parameters)", "parameters["} { // names the parameters are found by there, nobody knows
		if strings.Contains(strings.ReplaceAll(lower, "parameters['", ""), all) {
			return nil
		}
	}
	var problems []plan.Problem
	for _, in := range p.Inputs {
		name := strings.ToLower(in.Name)
		if !strings.Contains(lower, "parameters."+name) && !strings.Contains(lower, "parameters['"+name+"']") {
			problems = append(problems, plan.Problem{Source: in.Source, Severity: plan.Warning, Rule: "unused",
				Message: "the parameter '" + in.Name + "' is not used in this file", Hint: "use it as ${{ parameters." + in.Name + " }}, or take it away"})
		}
	}
	return problems
}
