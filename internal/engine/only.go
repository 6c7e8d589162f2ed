package engine

import (
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Only is the script that runs some of the tests that a step's script runs; ok is false
// when it is not known how to.
func Only(script string, tests []record.TestResult) (only string, ok bool) {
	c := again(&plan.Command{Script: script, Argv: []string{script}}, tests)
	if c == nil {
		return "", false
	}
	return c.Script, true
}
