package engine

import (
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Only is a command that runs some of the tests that a step's command runs; nil when it is
// not known how to.
func Only(c *plan.Command, tests []record.TestResult) *plan.Command { return again(c, tests) }
