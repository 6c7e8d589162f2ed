package azure

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/outline"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestOutline(t *testing.T) {
	t.Parallel()
	p, problems := compile(t, `
trigger: {branches: [main], paths: {exclude: [docs]}}
pr: none
variables: {Mode.x: fast, rev: $(Build.SourceVersion)}
pool: {vmImage: ubuntu-latest}
stages:
- stage: Build
  jobs:
  - job: A
    strategy: {matrix: {one: {what: a}, two: {what: b}}}
    condition: and(succeeded(), ne(variables['Build.Reason'], 'Schedule'), startsWith(variables['Build.SourceBranch'], 'refs/tags/'))
    steps:
    - checkout: self
      fetchDepth: 1
    - task: GoTool@0
      inputs: {version: '1.26'}
    - task: Cache@2
      inputs: {key: 'go | "$(Agent.OS)" | go.sum', path: $(Build.SourcesDirectory)/.cache}
    - script: make $(what) MODE=$(Mode.x) AT=$(date)
      env: {TOKEN: $(token)}
    - publish: out
      artifact: drop-$(what)
- stage: Deploy
  jobs:
  - deployment: D
    environment: prod.web
    strategy: {runOnce: {deploy: {steps: [{download: current, artifact: drop}, {bash: ./deploy}, {task: AzureCLI@2}]}}}
`, nil)
	if plan.Errors(problems) {
		t.Fatal(problems)
	}
	o, err := New(Config{}).Outline(p)
	if err != nil {
		t.Fatal(err)
	}
	a, d := o.Jobs[0], o.Jobs[1]
	script := a.Steps[3].Script.Fill(func(kind, name string) string { return "<" + kind + " " + name + ">" })
	for _, c := range [][2]string{
		{fmt.Sprint(o.On.Push.Branches, o.On.Push.NotPaths, o.On.Change == nil), "[main] [docs/**] true"},
		{fmt.Sprint(a.Matrix), "[{what [a b]}]"},
		{script, "make <matrix what> MODE=<env MODE_X> AT=$(date)"},
		{a.Steps[2].Cache.Key.Fill(func(kind, name string) string { return kind + ":" + name }), "go-secret:AGENT_OS-hash:go.sum"},
		{fmt.Sprint(a.Steps[2].Cache.Paths, " ", a.Steps[1].Setup.Tool), "[.cache] go"},
		{fmt.Sprint(d.Needs, " ", d.Environment, len(d.Steps)), "[A] prod2"},
		{a.Steps[3].Env[0].Text.Fill(func(kind, name string) string { return kind + " " + name }), "secret TOKEN"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %s, want %s", c[0], c[1])
		}
	}
	if !strings.Contains(fmt.Sprint(o.Lost), "the step AzureCLI@2") {
		t.Errorf("lost: %v", o.Lost)
	}
	text, _ := New(Config{}).Compose(o)
	for _, want := range []string{"condition: and(succeeded(), ne(variables['Build.Reason'], 'Schedule'), startsWith(variables['Build.SourceBranch'], 'refs/tags/'))", "deployment: D", "$(what)", "GoTool@0"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the file lacks %q:\n%s", want, text)
		}
	}
}

// What is made of real files of both languages compiles.
func TestComposed(t *testing.T) {
	t.Parallel()
	root := cmp.Or(os.Getenv("FAIRLEAD_CORPUS"), filepath.Join("..", "..", "..", "..", "shared", "corpus"))
	for _, language := range []string{"azure", "github"} {
		entries, err := os.ReadDir(filepath.Join(root, language))
		if err != nil {
			t.Skipf("SKIPPED: real files are not at %s", root)
		}
		made, good := 0, 0
		for _, e := range entries {
			body, err := os.ReadFile(filepath.Join(root, language, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			var o *outline.Pipeline
			if language == "azure" {
				d := New(Config{})
				if pipelines, problems, _ := d.Compile(t.Context(), tree(ciFile, string(body)), nil); len(pipelines) == 1 && !plan.Errors(problems) {
					o, err = d.Outline(&pipelines[0])
				}
			} else {
				d := github.New(github.Config{})
				if pipelines, problems, _ := d.Compile(t.Context(), tree(".github/workflows/ci.yml", string(body)), nil); len(pipelines) == 1 && !plan.Errors(problems) {
					o, err = d.Outline(&pipelines[0])
				}
			}
			if err != nil {
				t.Errorf("%s: %v", e.Name(), err)
			}
			if o == nil || err != nil {
				continue
			}
			made++
			text, _ := New(Config{}).Compose(o)
			_, problems, err := New(Config{}).Compile(t.Context(), tree(ciFile, string(text)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Errors(problems) {
				t.Logf("%s/%s: %v", language, e.Name(), problems[0])
				continue
			}
			good++
		}
		t.Logf("%s: %d of %d files are said in Azure's language and compile", language, good, made)
		if good < made {
			t.Errorf("%s: %d of %d", language, good, made)
		}
	}
}
