package gitlab

import (
	"maps"
	"slices"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestInherit: a service has the job's variables; its own go before them, and what is not
// known yet is asked for later and never in the plan.
func TestInherit(t *testing.T) {
	t.Parallel()
	list := []variable{
		{Name: "A", Value: "first"}, {Name: "A", Value: "last"}, {Name: "OWN", Value: "job's"}, {Name: "RAW", Value: "$A", Raw: true},
		{Name: "REF", Value: "is $A"}, {Name: "LATER", Value: "x$SECRET"}, {Name: "F", Value: "text", File: true},
	}
	vars := expandVariables(list, true)
	c := plan.Container{Env: map[string]string{"OWN": "service's"}}
	inherit(&c, list, &vars)
	if want := map[string]string{"A": "last", "OWN": "service's", "RAW": "$A", "REF": "is last"}; !maps.Equal(c.Env, want) {
		t.Errorf("%v, want %v", c.Env, want)
	}
	if want := []plan.Binding{{Name: "LATER", Value: plan.Expr{Text: exprText + "x$SECRET"}}}; !slices.Equal(c.Private, want) {
		t.Errorf("%v, want %v", c.Private, want)
	}
}
