package groovy_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
)

// steps is the host of the example: it has the variable env and three steps.
type steps struct{}

func (steps) ClassName() string { return "Steps" }

func (steps) Get(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "env" {
		return groovy.MapOf("BRANCH_NAME", "main"), nil
	}
	return nil, groovy.ErrMissing
}

func (steps) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (steps) Invoke(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "echo":
		text, err := c.Text(c.Args[0])
		fmt.Printf("%s (line %d)\n", text, c.At.Line)
		return nil, err
	case "stage": // runs its body
		return c.Call(c.Args[1])
	case "sh": // waits, and lets others have their turn meanwhile
		var out string
		c.Unlocked(func() { out = strings.ToUpper("done\n") })
		return out, nil
	}
	return nil, groovy.ErrMissing
}

func Example() {
	script, problems := groovy.Parse("Jenkinsfile", `
stage('Build') {
    def out = sh(script: 'make', returnStdout: true).trim()
    echo "${env.BRANCH_NAME}: $out"
}
['a', 'b'].each { echo it }
undefined()`)
	if len(problems) > 0 {
		fmt.Println(problems[0])
		return
	}
	_, err := groovy.New(groovy.Config{Host: steps{}}).Run(context.Background(), script)
	fmt.Println(err)
	// Output:
	// main: DONE (line 4)
	// a (line 6)
	// b (line 6)
	// groovy.lang.MissingMethodException: No signature of method: WorkflowScript.undefined() is applicable for argument types: () values: [] (Jenkinsfile:7:1)
}
