package github

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// expand compiles a workflow whose job "test" has a matrix and expands it.
func expand(t *testing.T, strategy string, edit func(*plan.Context)) (*plan.Expansion, error) {
	t.Helper()
	d := New(Config{})
	p := compile(t, d, withStrategy(strategy), push())
	c := &plan.Context{Pipeline: p, Change: push()}
	if edit != nil {
		edit(c)
	}
	return d.Expand(t.Context(), &p.Jobs[0], &plan.Scope{Context: c})
}

func withStrategy(s string) string {
	return "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    strategy:\n" + indent(s, "      ") + "    steps: [{run: a}]\n"
}

func indent(s, by string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(s, "\n") + "\n") {
		b.WriteString(by + line)
	}
	return b.String()
}

func cellsOf(x *plan.Expansion) []string {
	var out []string
	for _, j := range x.Jobs {
		b, _ := json.Marshal(j.Values[valueMatrix])
		out = append(out, string(b))
	}
	return out
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, strategy string
		want           []string // cells as JSON, keys sorted
		ids            []string
	}{
		{"product", `matrix: {os: [a, b], v: [1, 2]}`,
			[]string{`{"os":"a","v":1}`, `{"os":"a","v":2}`, `{"os":"b","v":1}`, `{"os":"b","v":2}`},
			[]string{"test/a-1", "test/a-2", "test/b-1", "test/b-2"}},
		{"the documented example", `
matrix:
  fruit: [apple, pear]
  animal: [cat, dog]
  include:
    - color: green
    - color: pink
      animal: cat
    - fruit: apple
      shape: circle
    - fruit: banana
    - fruit: banana
      animal: cat`,
			[]string{
				`{"animal":"cat","color":"pink","fruit":"apple","shape":"circle"}`,
				`{"animal":"dog","color":"green","fruit":"apple","shape":"circle"}`,
				`{"animal":"cat","color":"pink","fruit":"pear"}`,
				`{"animal":"dog","color":"green","fruit":"pear"}`,
				`{"fruit":"banana"}`,
				`{"animal":"cat","fruit":"banana"}`,
			}, nil},
		{"only include", "matrix:\n  include: [{site: a, n: 1}, {site: b}]", []string{`{"n":1,"site":"a"}`, `{"site":"b"}`}, []string{"test/a-1", "test/b"}},
		{"exclude is partial", `
matrix:
  os: [a, b]
  v: [1, 2]
  exclude: [{os: a}, {os: b, v: 2}]
  include: [{os: a, v: 9}]`, []string{`{"os":"b","v":1}`, `{"os":"a","v":9}`}, nil},
		{"objects", `
matrix:
  node: [{version: 14}, {version: 20, env: X=1}]
  exclude: [{node: {env: X=1}}]`, []string{`{"node":{"version":14}}`}, []string{"test/14"}},
		{"lists in lists", `
matrix:
  a: ["${{ fromJSON('[1,2]') }}", 3]`, []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}, nil},
		{"whole expression", `matrix: ${{ fromJSON('{"x":[1],"include":[{"x":2},{"y":3}]}') }}`, []string{`{"x":1,"y":3}`, `{"x":2}`}, nil},
		{"vector expression", `matrix: {x: "${{ fromJSON('[true,null]') }}"}`, []string{`{"x":true}`, `{"x":null}`}, []string{"test/true", "test/2"}},
		{"loose comparison", `
matrix:
  a: [a, b, "", null]
  exclude: [{A: A}, {A: null}]
  include: [{a: B, more: 1}]`, []string{`{"a":"b","more":1}`}, nil},
		{"computed key", "matrix:\n  ${{ github.ref_name }}: [1]", []string{`{"main":1}`}, nil},
		{"types are kept", `matrix: {x: ["1", 1]}`, []string{`{"x":"1"}`, `{"x":1}`}, []string{"test/1", "test/1-2"}},
		{"added keys are overwritten", `
matrix:
  a: [1]
  include: [{b: 1}, {b: 2}]`, []string{`{"a":1,"b":2}`}, nil},
	} {
		x, err := expand(t, tc.strategy, nil)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := cellsOf(x); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, strings.Join(got, "\n     "), strings.Join(tc.want, "\n     "))
		}
		var ids []string
		for _, j := range x.Jobs {
			ids = append(ids, j.ID)
		}
		if tc.ids != nil && !slices.Equal(ids, tc.ids) {
			t.Errorf("%s: IDs %v, want %v", tc.name, ids, tc.ids)
		}
	}
}

func TestMatrixProblems(t *testing.T) {
	t.Parallel()
	many := "[" + strings.Repeat("1,", 16) + "1]"
	for _, tc := range []struct {
		strategy, want string
		early          bool // nothing but the file is needed to see it
	}{
		{`matrix: {x: "${{ fromJSON('[]') }}"}`, "no values", true},
		{`matrix: {x: "${{ github.ref }}"}`, "must be a list", false},
		{`matrix: ${{ fromJSON('[1]') }}`, "must be a mapping of lists", false},
		{`matrix: ${{ fromJSON('{') }}`, "JSON", false},
		{`matrix: ${{ fromJSON('{"x":[1],"exclude":[{"y":1}]}') }}`, "no key of the matrix", true},
		{fmt.Sprintf("matrix: {x: %s, y: %s}", many, many), "289 jobs", true},
		{fmt.Sprintf("matrix: {x: %s, y: %s, z: %s, v: %s}", many, many, many, many), "83521 jobs", true},
	} {
		var p *plan.Problem
		ok := tc.early
		if tc.early {
			_, problems, err := New(Config{}).Compile(t.Context(), tree(ciFile, withStrategy(tc.strategy)), push())
			if err != nil || len(problems) != 1 {
				t.Errorf("%s: %v, %v", tc.strategy, problems, err)
				continue
			}
			p = &problems[0]
		} else {
			_, err := expand(t, tc.strategy, nil)
			p, ok = asProblem(err)
		}
		if !ok || !strings.Contains(p.Message, tc.want) || p.Line == 0 {
			t.Errorf("%s: %v, want %s", tc.strategy, p, tc.want)
		}
	}
}

func TestMatrixJobs(t *testing.T) {
	t.Parallel()
	x, err := expand(t, "fail-fast: ${{ github.ref == 'x' }}\nmax-parallel: 2\nmatrix: {v: [20, 22], os: [ubuntu-latest]}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if x.FailFast || x.MaxParallel != 2 || len(x.Jobs) != 2 || x.Jobs[0].Name != "test (20, ubuntu-latest)" || x.Jobs[0].ID != "test/20-ubuntu-latest" {
		t.Errorf("%+v", x)
	}
	if s := x.Jobs[1].Values[valueStrategy].(map[string]any); s["job-index"] != 1.0 || s["job-total"] != 2.0 || s["max-parallel"] != 2.0 {
		t.Errorf("%v", s)
	}
	x, err = expand(t, "matrix: {v: [20, 22], os: [a, b]}", func(c *plan.Context) { c.Only = map[string][]string{"v": {"22"}, "other": {"x"}} })
	if err != nil || len(x.Jobs) != 2 || x.Jobs[0].ID != "test/22-a" || x.Jobs[0].Values[valueStrategy].(map[string]any)["job-index"] != 2.0 {
		t.Errorf("%v %v", cellsOf(x), err)
	}
	if !x.FailFast {
		t.Error("fail-fast is not the default")
	}
	long := strings.Repeat("x/ä", 60)
	x, err = expand(t, fmt.Sprintf("matrix: {v: [%q, %q]}", long, long+"y"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range x.Jobs {
		id := strings.TrimPrefix(j.ID, "test/")
		if len(id) > maxCellID || strings.ContainsAny(id, "/ ä") || len(j.Name) > maxCellName {
			t.Errorf("%q %q", j.ID, j.Name)
		}
	}
	if x.Jobs[0].ID == x.Jobs[1].ID {
		t.Error("two cells have one ID")
	}
}

func BenchmarkExpandMatrix(b *testing.B) {
	d := New(Config{})
	ps, _, err := d.Compile(b.Context(), tree(ciFile, "on: push\njobs:\n  test:\n    runs-on: ${{ matrix.a }}\n    strategy: {matrix: {a: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16], b: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}}\n    steps: [{run: a}]\n"), push())
	if err != nil {
		b.Fatal(err)
	}
	s := &plan.Scope{Context: &plan.Context{Pipeline: &ps[0], Change: push()}}
	for b.Loop() {
		if _, err := d.Expand(b.Context(), &ps[0].Jobs[0], s); err != nil {
			b.Fatal(err)
		}
	}
}
