package coverage_test

import (
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/coverage"
)

// What a change's author wants to know: is what I wrote tested?
func Example() {
	// What a tool said, under the paths of its own machine.
	var said coverage.Report
	_ = said.Add("/home/ci/app/src/cart.py", []coverage.Line{
		coverage.Counted(10, 4, 0, 0),
		coverage.Counted(11, 4, 1, 2),
		coverage.Counted(12, 0, 0, 0),
	})
	report, _ := said.Resolve([]string{"README.md", "src/cart.py", "src/prices.sql"})

	diff, err := coverage.ParseDiff(strings.NewReader(`diff --git a/src/cart.py b/src/cart.py
--- a/src/cart.py
+++ b/src/cart.py
@@ -9,0 +10,3 @@ def total(items):
+    for item in items:
+        if item.free:
+            continue
`))
	if err != nil {
		panic(err)
	}
	patch := report.Patch(diff)
	share, _ := patch.Ratio()
	fmt.Printf("%.0f %% of the changed lines are covered\n", 100*share)
	for _, f := range patch.Files {
		fmt.Println(f.Path, f.Open)
	}
	for _, f := range report.Mark(diff) {
		for _, l := range f.Hunks[0].Lines {
			fmt.Printf("%3d %-7s %s\n", l.New, l.State, l.Text)
		}
	}
	fmt.Println("read, and beyond lines:", report.Beyond([]string{"src/cart.py", "src/prices.sql"}).Data)
	// Output:
	// 33 % of the changed lines are covered
	// src/cart.py [{11 12}]
	//  10 hit         for item in items:
	//  11 partial         if item.free:
	//  12 miss                continue
	// read, and beyond lines: [src/prices.sql]
}
