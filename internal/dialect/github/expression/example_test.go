package expression_test

import (
	"fmt"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
)

// A step's if: without a status function means success() && (…); Calls says
// whether there is one.
func ExampleExpression_Calls() {
	e, err := expression.Parse("github.ref == 'refs/heads/main' && !cancelled()")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Calls("success", "failure", "always", "cancelled"))
	// Output: true
}

// The lists of the workflow schema say what each place allows.
func ExampleTemplate_Check() {
	allowed := expression.ParseAllowed([]string{"github", "inputs", "vars"})
	t, err := expression.ParseTemplate("deploy-${{ secrets.STAGE }}-${{ githib.ref }}")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, err := range t.Check(allowed) {
		fmt.Printf("%d: %v\n", err.Offset, err)
	}
	// Output:
	// 11: the context "secrets" is not available here: available are github, inputs, vars
	// 32: there is no context "githib": did you mean "github"?
}

// A template that is one hole keeps the kind of its value.
func ExampleTemplate_Eval() {
	matrix := map[string]any{"go": 1.26, "os": []any{"linux", "darwin"}}
	scope := &expression.Scope{Context: func(name string) (any, bool) { return matrix, name == "matrix" }}
	for _, text := range []string{"${{ matrix.GO }}", "go ${{ matrix.go }} on ${{ join(matrix.os, '+') }}"} {
		t, err := expression.ParseTemplate(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		v, err := t.Eval(scope)
		fmt.Printf("%T %v %v\n", v, v, err)
	}
	// Output:
	// float64 1.26 <nil>
	// string go 1.26 on linux+darwin <nil>
}
