package github

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// shared finds test data that lies outside of the repository.
func shared(t testing.TB, variable, fallback string, elem ...string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", fallback)
	}
	dir = filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no test data: %v; set %s", err, variable)
	}
	return dir
}

// TestCorpus compiles real workflows: each without errors, or with problems
// that say where and why.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := shared(t, "FAIRLEAD_CORPUS", "corpus", "github")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{})
	clean, previews := 0, 0
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		ps, problems, err := d.Compile(t.Context(), tree(ciFile, string(body)), push())
		if err != nil || len(ps) != 1 {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		missing := 0 // called workflows of the file's own repository, which are not here
		for _, p := range problems {
			if p.Line == 0 || p.Message == "" || p.Rule == "" {
				t.Errorf("%s: a problem without place or cause: %+v", e.Name(), p)
			}
			if strings.Contains(p.Message, "there is no such file") {
				missing++
			} else if p.Severity == plan.Error {
				t.Logf("%s: %s", e.Name(), p)
				t.Attr("scoreboard-rest", fmt.Sprintf("corpus %s: %s", e.Name(), p.Message))
			} else {
				missing++
			}
		}
		if len(problems) == missing {
			clean++
		}
		for i := range ps[0].Jobs {
			j := &ps[0].Jobs[i]
			if x, ok := d.Preview(j, &plan.Context{Pipeline: &ps[0], Change: push()}); ok {
				previews += len(x.Jobs)
			} else if j.Deferred == nil && len(j.Steps) == 0 {
				t.Errorf("%s: job %s has no steps", e.Name(), j.ID)
			}
		}
	}
	t.Attr("scoreboard", fmt.Sprintf("corpus %d/%d", clean, len(entries)))
	t.Logf("corpus: %d of %d compile without errors; %d jobs in previews", clean, len(entries), previews)
}

// TestActData compiles the workflows that another local runner is tested with.
func TestActData(t *testing.T) {
	t.Parallel()
	dir := shared(t, "FAIRLEAD_CONFORMANCE", "conformance", "github", "act", "testdata")
	d := New(Config{})
	all, clean := 0, 0
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(file) != ".yml" && filepath.Ext(file) != ".yaml" {
			return err
		}
		body, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(body), "jobs:") {
			return err
		}
		_, problems, err := d.Compile(t.Context(), tree(ciFile, string(body)), push())
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		all++
		ok := true
		for _, p := range problems {
			if p.Severity == plan.Error && !strings.Contains(p.Message, "there is no such file") {
				t.Logf("%s: %s", strings.TrimPrefix(file, dir), p)
				ok = false
			}
		}
		if ok {
			clean++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("act test data: %d of %d compile without errors", clean, all)
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"on: {push: {branches: []}}",
		"on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}",
		"on: {push: {branches: ['!x', '**']}}\njobs:\n  a:\n    runs-on: ${{ matrix.x }}\n    strategy: {matrix: {x: [1, {a: b}], include: [{y: 1}], exclude: [{x: 1}]}}\n    steps: [{uses: a/b@c, with: {x: 1}}]",
		"on: {workflow_call: {inputs: {a: {type: string}}}}\njobs: {a: {uses: ./.github/workflows/ci.yml, with: {a: 1}}}",
		"on: push\njobs: {a: {runs-on: [x, '${{ inputs.a }}'], container: {image: x}, services: {r: {image: y}}, timeout-minutes: 1e9, steps: [{parallel: [{run: a}, {run: b}]}, {wait-all: }]}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d := New(Config{})
		ps, _, err := d.Compile(t.Context(), tree(ciFile, body), push())
		if err != nil {
			t.Fatal(err)
		}
		for i := range ps {
			for j := range ps[i].Jobs {
				d.Preview(&ps[i].Jobs[j], &plan.Context{Pipeline: &ps[i], Change: push()})
			}
		}
	})
}
