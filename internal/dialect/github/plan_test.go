package github

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestPlanSurvivesStorage compiles, stores, reads and expands: the jobs must be
// the same as without the detour, and without the tree.
func TestPlanSurvivesStorage(t *testing.T) {
	t.Parallel()
	p := compile(t, New(Config{}), `
on: push
jobs:
  a:
    strategy: {matrix: {x: [1, {y: z}], include: [{x: 1, n: null}]}}
    runs-on: "${{ matrix.x == 1 && 'one' || 'other' }}"
    steps: [{run: a}]
  b:
    needs: a
    uses: ./.github/workflows/lib.yml
    with: {v: "${{ needs.a.outputs.o }}"}
`, push(), ".github/workflows/lib.yml", "on: {workflow_call: {inputs: {v: {type: string}}}}\njobs: {c: {runs-on: x, steps: [{run: a}]}}\n")
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var stored plan.Pipeline
	if err := json.Unmarshal(body, &stored); err != nil {
		t.Fatal(err)
	}
	for i := range p.Jobs {
		needs := map[string]plan.Outcome{"a": {Verdict: plan.Success, Outputs: map[string]string{"o": "v"}}}
		first := expandWith(t, New(Config{}), p, &p.Jobs[i], needs)
		again := expandWith(t, New(Config{}), &stored, &stored.Jobs[i], needs)
		if first != again {
			t.Errorf("%s:\n%s\n%s", p.Jobs[i].ID, first, again)
		}
		if !json.Valid([]byte(first)) {
			t.Errorf("%s cannot be stored", p.Jobs[i].ID)
		}
	}
}

func expandWith(t *testing.T, d *Dialect, p *plan.Pipeline, j *plan.Job, needs map[string]plan.Outcome) string {
	t.Helper()
	x, err := d.Expand(t.Context(), j, &plan.Scope{Context: &plan.Context{Pipeline: p, Change: push()}, Needs: needs})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConcreteAndDeferred(t *testing.T) {
	t.Parallel()
	p := compile(t, New(Config{}), `
name: All of it
run-name: Run ${{ github.actor }}
on: push
concurrency: {group: "g-${{ github.ref }}", cancel-in-progress: true, queue: max}
permissions: read-all
jobs:
  plain:
    name: Plain
    runs-on: [self-hosted, linux]
    timeout-minutes: 1.5
    continue-on-error: true
    environment: {name: prod, url: "${{ steps.a.outputs.u }}"}
    concurrency: one
    permissions: {contents: write}
    container: {image: "docker://alpine:3", env: {A: b}, ports: [80], options: --cpus 1, credentials: {username: u, password: "${{ secrets.P }}"}}
    services: {db: {image: postgres, ports: ["5432:5432"]}, none: {image: "${{ github.event.none }}"}}
    steps:
      - {id: bg, run: sleep 1, background: true, timeout-minutes: 2}
      - wait: bg
      - wait-all:
      - cancel: bg
      - parallel: [{run: a}, {uses: ./x}]
  known: {runs-on: "${{ github.event_name == 'push' && 'big' || 'small' }}", steps: [{run: a}]}
  group: {runs-on: {group: g, labels: [l]}, steps: [{run: a}]}
  unknown: {runs-on: "${{ vars.RUNNER }}", steps: [{run: a}]}
  late: {needs: [plain, PLAIN], name: "x ${{ needs.plain.result }}", runs-on: x, steps: [{run: a}]}
`, push())
	byID := map[string]*plan.Job{}
	for i := range p.Jobs {
		byID[p.Jobs[i].ID] = &p.Jobs[i]
	}
	if p.Name != "All of it" || p.RunName.Text != "Run ${{ github.actor }}" || !p.Concurrency.Queue || p.Concurrency.Group.Text != "g-${{ github.ref }}" || p.Concurrency.CancelInProgress.Text != "true" {
		t.Errorf("%+v %+v", p, p.Concurrency)
	}
	j := byID["plain"]
	if j.Deferred != nil || j.Timeout.Seconds() != 90 || !j.ContinueOnError || j.Environment.Name != "prod" || j.Concurrency.Group.Text != "one" ||
		!reflect.DeepEqual(j.Place.Labels, []string{"self-hosted", "linux"}) || !reflect.DeepEqual(j.Permissions, map[string]string{"contents": "write"}) ||
		j.If.Text != "success()" {
		t.Errorf("%+v", j)
	}
	if c := j.Place.Container; c.Image != "alpine:3" || c.Env["A"] != "b" || c.Ports[0] != "80" || c.Options != "--cpus 1" || c.Password.Text != "${{ secrets.P }}" {
		t.Errorf("%+v", c)
	}
	if len(j.Place.Services) != 1 || j.Place.Services["db"].Ports[0] != "5432:5432" {
		t.Errorf("%+v", j.Place.Services)
	}
	var kinds []string
	for _, s := range j.Steps {
		kinds = append(kinds, fmt.Sprintf("%s:%v:%v:%v:%d", s.Key, s.Background, s.Wait, s.Cancel, len(s.Parallel)))
	}
	if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "1:true:<nil>::0 2:false:&{[bg] false}::0 3:false:&{[] true}::0 4:false:<nil>:bg:0 5:false:<nil>::2") {
		t.Error(got)
	}
	if j.Steps[4].Parallel[1].Key != "5.2" || j.Steps[4].Parallel[1].Use.Ref != "./x" {
		t.Errorf("%+v", j.Steps[4])
	}
	if j := byID["known"]; j.Deferred != nil || j.Place.Labels[0] != "big" {
		t.Errorf("%+v", j)
	}
	if j := byID["group"]; j.Place.Group != "g" || j.Place.Labels[0] != "l" || j.Permissions["all"] != "read" {
		t.Errorf("%+v", j)
	}
	for id, name := range map[string]string{"unknown": "unknown", "late": "x failure"} {
		j := byID[id]
		if j.Deferred == nil || j.Deferred.Kind != deferFields {
			t.Fatalf("%+v", j)
		}
		x, err := New(Config{}).Expand(t.Context(), j, &plan.Scope{
			Context: &plan.Context{Pipeline: p, Change: push(), Vars: map[string]string{"RUNNER": "mine"}},
			Needs:   map[string]plan.Outcome{"plain": {Verdict: plan.Fault}},
		})
		if err != nil || len(x.Jobs) != 1 || x.Jobs[0].ID != id+"/1" || x.Jobs[0].Name != name || x.Jobs[0].Deferred != nil {
			t.Errorf("%+v %v", x, err)
		}
	}
	if got := byID["late"].Needs; !reflect.DeepEqual(got, []string{"plain"}) {
		t.Errorf("needs %v", got)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	p := compile(t, d, `
on: push
jobs:
  static: {strategy: {matrix: {a: [1, 2]}}, runs-on: x, steps: [{run: a}]}
  dynamic: {needs: static, strategy: {matrix: {a: "${{ fromJSON(needs.static.outputs.x) }}"}}, runs-on: x, steps: [{run: a}]}
  call: {needs: static, uses: ./.github/workflows/lib.yml}
  far: {uses: octo/other/.github/workflows/x.yml@v1}
  plain: {runs-on: x, steps: [{run: a}]}
`, push(), ".github/workflows/lib.yml", "on: workflow_call\njobs: {c: {runs-on: x, steps: [{run: a}]}}\n")
	got := map[string]int{}
	for i := range p.Jobs {
		if x, ok := d.Preview(&p.Jobs[i], &plan.Context{Pipeline: p, Change: push()}); ok {
			got[p.Jobs[i].ID] = len(x.Jobs)
		}
	}
	if want := map[string]int{"static": 2, "call": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestRemoteWorkflows calls a workflow of another repository, which calls a
// neighbour of its own and uses an action beside it.
func TestRemoteWorkflows(t *testing.T) {
	t.Parallel()
	remote := t.TempDir()
	writeFiles(t, remote,
		".github/workflows/outer.yml", "on: workflow_call\njobs:\n  o:\n    uses: ./.github/workflows/inner.yml\n    secrets: inherit\n",
		".github/workflows/inner.yml", "on: workflow_call\njobs:\n  i:\n    runs-on: x\n    steps:\n      - uses: $/act\n      - run: echo \"workflow ${{ job.workflow_file_path }} in ${{ job.workflow_repository }} s=${{ secrets.S }}\"\n",
		"act/action.yml", "name: a\ndescription: d\nruns: {using: composite, steps: [{run: 'echo from $GITHUB_ACTION_REPOSITORY', shell: sh}]}\n")
	d := New(Config{Actions: map[string]string{"octo/lib": remote}})
	p := compile(t, d, "on: push\njobs:\n  c:\n    uses: octo/lib/.github/workflows/outer.yml@v2\n    secrets: inherit\n", push())
	if len(p.Texts) != 3 || p.Texts[2].Path != "octo/lib/.github/workflows/inner.yml@v2" {
		t.Errorf("%d texts", len(p.Texts))
	}
	w := newWorld(t, d, p, push())
	w.context.Secrets["S"] = "s3"
	if v := w.run(p.Jobs); v != plan.Success {
		t.Errorf("verdict %s", v)
	}
	expectLog(t, w.log.String(), "[c/o/i: c / o / i]", "from octo/lib", "workflow .github/workflows/inner.yml in octo/lib s=s3")
}

func TestFetchFails(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	p := compile(t, d, "on: push\njobs:\n  c:\n    uses: octo/lib/.github/workflows/outer.yml@v2\n", push())
	_, err := d.Expand(t.Context(), &p.Jobs[0], &plan.Scope{Context: &plan.Context{Pipeline: p, Change: push()}})
	if problem, ok := asProblem(err); !ok || problem.Line != 4 || !strings.Contains(problem.Hint, "--action octo/lib=DIR") {
		t.Errorf("%v", err)
	}
}

// brokenTree fails to be read, which is no problem of the user's.
type brokenTree struct{}

func (brokenTree) Open(string) (fs.File, error) { return nil, fs.ErrPermission }

func TestUnreadableTree(t *testing.T) {
	t.Parallel()
	if _, _, err := New(Config{}).Compile(t.Context(), brokenTree{}, push()); err == nil {
		t.Error("no error")
	}
	ps, problems, err := New(Config{}).Compile(t.Context(), tree("a", "b"), push())
	if len(ps) != 0 || len(problems) != 0 || err != nil {
		t.Errorf("%v %v %v", ps, problems, err)
	}
	ps, problems, err = New(Config{}).Compile(t.Context(), tree(ciFile, "\t{"), push())
	if len(ps) != 1 || ps[0].Start.Yes || len(problems) == 0 || err != nil {
		t.Errorf("%v %v %v", ps, problems, err)
	}
}

func TestUndone(t *testing.T) {
	t.Parallel()
	_, problems, err := New(Config{}).Compile(t.Context(), tree(ciFile, "on: push\njobs:\n  a:\n    runs-on: x\n    snapshot: image\n    cancel-timeout-minutes: 3\n    steps: [{run: a}]\n"), push())
	if err != nil || len(problems) != 2 || plan.Errors(problems) || problems[0].Line != 5 || problems[1].Line != 6 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ uses, home, want string }{
		{"actions/checkout@v4", "", "actions/checkout@v4"},
		{"actions/cache/save@v4", "", "actions/cache/save@v4"},
		{"o/r/./a//b@refs/heads/x", "", "o/r/a/b@refs/heads/x"},
		{"./a/b/", "", "a/b"},
		{"./", "", "."},
		{"$/a", "", "a"},
		{"$/a", "o/r@v1", "o/r/a@v1"},
	} {
		r, err := actionRef(tc.uses, tc.home)
		if err != nil || r.key() != tc.want {
			t.Errorf("%s at home in %q: %q %v, want %q", tc.uses, tc.home, r.key(), err, tc.want)
		}
	}
	for _, bad := range []string{"", "x", "o/r", "o/r@", "/r@v", "o/@v", "../r@v", "o/..@v", "./../x", "$/../x", "o/r/../../x@v", "o/r@-x", "o/r@a b", "o/r@a..b", "./a\\b", "-o/r@v"} {
		if r, err := actionRef(bad, ""); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
	if r, err := callRef("./.github/workflows/a.yml", home("o/r/.github/workflows/b.yml@v1")); err != nil || r.key() != "o/r/.github/workflows/a.yml@v1" {
		t.Errorf("%+v %v", r, err)
	}
}

func BenchmarkCompile(b *testing.B) {
	fsys := tree(ciFile, "on: push\njobs: {a: {runs-on: x, steps: [{run: 'true'}]}}\n")
	for b.Loop() {
		if _, _, err := New(Config{}).Compile(b.Context(), fsys, push()); err != nil {
			b.Fatal(err)
		}
	}
}
