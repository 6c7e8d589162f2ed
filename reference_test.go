package fairlead_test

import (
	"flag"
	"fmt"
	"go/ast"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/cache"
)

var updateDocs = flag.Bool("update", false, "write what the documentation repeats from the code instead of comparing it")

// TestReferenceOfReuse holds docs/reference/reuse.md against the code: every
// reason for which a step may not be reused, and every built-in zone.
func TestReferenceOfReuse(t *testing.T) {
	const name = "docs/reference/reuse.md"
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range house(t) {
		if f.room != "record" || f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Bar") || len(spec.Values) != 1 {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
				kind, _ := strconv.Unquote(lit.Value)
				if !strings.Contains(string(page), "\n| `"+kind+"` | ") {
					t.Errorf("%s does not explain the reason %s", name, kind)
				}
			}
			return true
		})
	}

	const begin, end = "<!-- Generated from cache.Zones: go test -run Reference . -update -->\n", "<!-- End of what is generated. -->"
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the zones", name)
	}
	want := before + begin + "\n" + zonesTable() + "\n" + end + after
	switch {
	case *updateDocs:
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case want != string(page):
		t.Errorf("%s does not list the zones there are: go test -run Reference . -update", name)
	}
}

// zonesTable lists the zones, a row for all of one tool that are left out for
// the same reason.
func zonesTable() string {
	var b strings.Builder
	b.WriteString("| tool | directories | why |\n|---|---|---|")
	var last cache.Zone
	for _, z := range cache.Zones() {
		where := "`" + z.Path + "`"
		for i := len(z.Vars) - 1; i >= 0; i-- {
			where = "`$" + z.Vars[i] + "` or " + where
		}
		if z.Tool == last.Tool && z.Why == last.Why {
			b.WriteString("<br>" + where)
			continue
		}
		if last.Tool != "" {
			b.WriteString(" | " + last.Why + " |")
		}
		fmt.Fprintf(&b, "\n| %s | %s", z.Tool, where)
		last = z
	}
	b.WriteString(" | " + last.Why + " |\n")
	return b.String()
}
