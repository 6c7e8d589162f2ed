package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

var _ dialect.Dialect = (*Dialect)(nil)

// push is a change that most tests answer to.
func push() *plan.Change {
	return &plan.Change{
		Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Before: strings.Repeat("b", 40),
		Repository: "group/sub/app", Server: "https://gitlab.example", DefaultBranch: "main", Actor: "ada",
	}
}

func branch(name string) *plan.Change {
	c := push()
	c.Ref = "refs/heads/" + name
	return c
}

func tag(name string) *plan.Change {
	c := push()
	c.Ref = "refs/tags/" + name
	return c
}

func mergeRequestOf(head string) *plan.Change {
	c := push()
	c.Event, c.Ref, c.HeadRef, c.BaseRef = "pull_request", "refs/merge-requests/7/head", head, "main"
	return c
}

func changed(files ...string) *plan.Change {
	c := push()
	c.Files, c.FilesKnown = files, true
	return c
}

// treeOf makes a tree of files: name, body, name, body.
func treeOf(files ...string) fstest.MapFS {
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return tree
}

// compile compiles one file beside others, and gives its problems as lines.
func compile(t *testing.T, body string, change *plan.Change, more ...string) (*plan.Pipeline, []string) {
	t.Helper()
	pipelines, problems, err := New(Config{}).Compile(t.Context(), treeOf(append([]string{Files, body}, more...)...), change)
	if err != nil || len(pipelines) != 1 {
		t.Fatalf("%d pipelines, %v", len(pipelines), err)
	}
	var lines []string
	for _, p := range problems {
		mark := ""
		if p.Severity == plan.Warning {
			mark = "warning: "
		}
		lines = append(lines, fmt.Sprintf("%d:%d: %s%s", p.Line, p.Col, mark, p.Message))
	}
	return &pipelines[0], lines
}

// names are the jobs of a pipeline.
func names(p *plan.Pipeline) string {
	var out []string
	for i := range p.Jobs {
		out = append(out, p.Jobs[i].Name)
	}
	return strings.Join(out, " ")
}

func jobOf(t *testing.T, p *plan.Pipeline, name string) (*plan.Job, *jobSpec) {
	t.Helper()
	for i := range p.Jobs {
		if p.Jobs[i].Name == name {
			spec, err := specOf(&p.Jobs[i])
			if err != nil {
				t.Fatal(err)
			}
			return &p.Jobs[i], spec
		}
	}
	t.Fatalf("there is no job %s among %s", name, names(p))
	return nil, nil
}

func TestWhichJobs(t *testing.T) {
	t.Parallel()
	rules := func(text string) string { return "j:\n  script: x\n  rules:\n    - " + text + "\nother: {script: x}\n" }
	only := func(text string) string {
		return "j:\n  script: x\n  " + text + "\nother: {script: x, only: [branches, tags, merge_requests]}\n"
	}
	const all, rest = "j other", "other"
	for name, c := range map[string]struct {
		yaml   string
		change *plan.Change
		want   string
	}{
		"if":                                   {rules(`if: $CI_COMMIT_BRANCH == "main"`), push(), all},
		"if not":                               {rules(`if: $CI_COMMIT_BRANCH == "main"`), branch("dev"), rest},
		"no rule holds":                        {rules(`if: $NONE`), push(), rest},
		"the first that holds decides":         {rules("if: $CI\n      when: never\n    - when: always"), push(), rest},
		"never with a condition that is false": {rules("if: $NONE\n      when: never\n    - when: always"), push(), all},
		"an empty list":                        {"j: {script: x, rules: []}\nother: {script: x}\n", push(), rest},
		"lists in lists":                       {rules("[{if: $NONE}, [{if: $CI}]]"), push(), all},
		"a tag":                                {rules(`if: $CI_COMMIT_TAG =~ /^v\d/`), tag("v1"), all},
		"no merge request without rules":       {"j: {script: x, rules: [{if: $CI_MERGE_REQUEST_IID}]}\nother: {script: x}\n", mergeRequestOf("dev"), "j"},
		"the source branch":                    {rules(`if: $CI_MERGE_REQUEST_SOURCE_BRANCH_NAME == "dev" && $CI_PIPELINE_SOURCE == "merge_request_event" && $CI_COMMIT_BRANCH == null`), mergeRequestOf("dev"), "j"},
		"changes":                              {rules("changes: [src/**/*]"), changed("src/a/b.go"), all},
		"changes of nothing":                   {rules("changes: [src/**/*]"), changed("doc/a"), rest},
		"changes of paths":                     {rules("changes: {paths: ['*.md'], compare_to: " + strings.Repeat("b", 40) + "}"), changed("README.md"), all},
		"changes, nothing to compare with":     {rules("changes: [src/**/*]"), push(), all},
		"if and changes":                       {rules("if: $NONE\n      changes: ['*']"), changed("a"), rest},
		"exists":                               {rules("exists: [go.mod]"), push(), all},
		"exists by pattern":                    {rules("exists: ['**/*.{go,mod}']"), push(), all},
		"exists not":                           {rules("exists: [a/go.mod]"), push(), rest},
		"exists with a variable":               {"variables: {F: go.mod}\n" + rules("exists: [$F]"), push(), all},
		"variables of the file":                {"variables: {A: $B, B: yes}\n" + rules(`if: $A == "true"`), push(), all},
		"variables of the job":                 {"variables: {A: 1}\nj: {script: x, variables: {A: 2}, rules: [{if: $A == \"2\"}]}\nother: {script: x}\n", push(), all},
		"the name of the job":                  {rules(`if: $CI_JOB_NAME == "j" && $CI_JOB_STAGE == "test"`), push(), all},
		"its ID is not known":                  {rules(`if: $CI_JOB_ID || $CI_PIPELINE_ID`), push(), rest},

		"only a branch":           {only("only: [main]"), push(), all},
		"only another":            {only("only: [dev]"), push(), rest},
		"only by pattern":         {only("only: [/^feature-.*$/i]"), branch("FEATURE-1"), all},
		"only tags":               {only("only: [tags]"), tag("v1"), all},
		"only tags, on a branch":  {only("only: [tags]"), push(), rest},
		"only merge requests":     {only("only: [merge_requests]"), mergeRequestOf("dev"), all},
		"a branch of that name":   {only("only: [dev]"), mergeRequestOf("dev"), rest},
		"except":                  {only("except: [main]"), push(), rest},
		"except another":          {only("except: [dev]"), push(), all},
		"only of this project":    {only("only: [main@group/sub/app]"), push(), all},
		"only of another project": {only("only: [main@group/other]"), push(), rest},
		"only variables":          {only("only: {variables: [$NONE, $CI == \"true\"]}"), push(), all},
		"only refs and variables": {only("only: {refs: [main], variables: [$NONE]}"), push(), rest},
		"only changes":            {only("only: {changes: [src/*]}"), changed("src/a"), all},
		"only other changes":      {only("only: {changes: [src/*]}"), changed("a"), rest},
		"except changes":          {only("except: {changes: ['*.md']}"), changed("a.md"), rest},
		"except refs or more":     {only("except: {refs: [dev], variables: [$CI]}"), push(), rest},
		"only with a cluster":     {only("only: {kubernetes: active}"), push(), rest},
		"only null":               {only("only: null"), push(), all},

		"workflow lets it in":      {"workflow: {rules: [{if: $CI}]}\nj: {script: x}\n", mergeRequestOf("d"), "j"},
		"workflow gives variables": {"workflow: {rules: [{if: $CI, variables: {V: w}}]}\nvariables: {V: g}\n" + rules(`if: $V == "w"`), push(), all},
		"rules know the cell":      {"j:\n  script: x\n  parallel: {matrix: [{OS: [linux, mac]}]}\n  rules: [{if: $OS == \"mac\"}]\nother: {script: x, needs: [j]}\n", push(), "j: [mac] other"},
		"hidden jobs":              {".j: {script: x}\nother: {script: x}\n", push(), rest},
		"when never":               {"j: {script: x, when: never}\nother: {script: x}\n", push(), rest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := compile(t, c.yaml, c.change, "go.mod", "", "src/x.go", "")
			if len(problems) > 0 {
				t.Errorf("problems: %q", problems)
			}
			if got := names(p); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.yaml, got, c.want)
			}
		})
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		yaml   string
		change *plan.Change
		yes    bool
		why    string
		files  bool
	}{
		"starts":                {"j: {script: x}\n", push(), true, "no rules for the whole", false},
		"workflow says no":      {"workflow: {rules: [{if: $NONE}]}\nj: {script: x}\n", push(), false, "no rule of workflow holds", false},
		"workflow says never":   {"workflow: {rules: [{if: $CI, when: never}, {when: always}]}\nj: {script: x}\n", push(), false, "when: never", false},
		"no job is left":        {"j: {script: x, rules: [{if: $NONE}]}\n", push(), false, "no rule of the job j holds", false},
		".pre alone":            {"j: {script: x, stage: .pre}\n", push(), false, "is none", false},
		"hangs on files":        {"j: {script: x, rules: [{changes: [a]}]}\n", push(), true, "", true},
		"files of an include":   {"include: {local: o.yml, rules: [{changes: [a]}]}\nj: {script: x}\n", push(), true, "", true},
		"the commit says no":    {"j: {script: x}\n", withMessage("Docs [skip ci]"), false, "[skip ci]", false},
		"nothing but templates": {".j: {script: x}\n", push(), false, "no jobs", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := compile(t, c.yaml, c.change, "o.yml", "k: {script: x}\n")
			if p.Start.Yes != c.yes || !strings.Contains(p.Start.Why, c.why) || p.Start.Files != c.files {
				t.Errorf("starts: %+v", p.Start)
			}
		})
	}
}

func withMessage(text string) *plan.Change {
	c := push()
	c.Payload = map[string]any{"commits": []any{map[string]any{"id": c.SHA, "message": text}}}
	return c
}

// TestJobs looks at what jobs are made of.
func TestJobs(t *testing.T) {
	t.Parallel()
	const file = `
default:
  image: {name: "alpine:$VERSION", entrypoint: ['']}
  before_script: [prepare]
  retry: {max: 1, when: [script_failure, runner_system_failure]}
  tags: [linux]
  timeout: 1h 30m
variables:
  VERSION: "3.20"
  GLOBAL: g
stages: [one, two]
plain:
  stage: one
  script: [[a, [b]], c]
  after_script: done
  variables: {GLOBAL: j, OWN: $GLOBAL-x}
  artifacts: {paths: [out/], expire_in: 1 week, reports: {dotenv: v.env, junit: [a.xml, b.xml]}}
  cache: {key: {files: [go.sum], prefix: $CI_JOB_NAME}, paths: [.go], policy: pull}
bare:
  stage: one
  inherit: {default: [tags], variables: [VERSION]}
  script: x
  services: [postgres:16, {name: "registry.example:5000/group/redis:7", alias: "cache, store"}]
deploy:
  stage: two
  script: x
  image: $FROM_SECRET
  environment: {name: review/$CI_COMMIT_REF_SLUG, url: "https://$HOST"}
  resource_group: prod-$VERSION
ship:
  stage: two
  needs: [{job: plain, artifacts: false}, bare]
  script: x
  environment: {name: review/$CI_COMMIT_REF_SLUG, url: "https://$HOST"}
  resource_group: prod-$VERSION
  coverage: '/(\d+)%/'
`
	p, problems := compile(t, file, push())
	if len(problems) > 0 {
		t.Fatalf("problems: %q", problems)
	}
	job, spec := jobOf(t, p, "plain")
	for what, pair := range map[string][2]any{
		"stage":       {job.Stage, "one"},
		"image":       {job.Place.Container.Image, "alpine:3.20"},
		"entrypoint":  {fmt.Sprint(job.Place.Container.Entrypoint), "[]"},
		"labels":      {fmt.Sprint(job.Place.Labels), "[linux]"},
		"retry":       {fmt.Sprint(*job.Retry), "{1 [failure error] []}"},
		"timeout":     {job.Timeout.String(), "1h30m0s"},
		"needs":       {fmt.Sprint(job.Needs), "[]"},
		"script":      {fmt.Sprint(spec.BeforeScript, spec.Script, spec.AfterScript), "[prepare] [a b c] [done]"},
		"variables":   {fmt.Sprint(spec.Variables), "[{VERSION 3.20 false false} {GLOBAL j false false} {OWN $GLOBAL-x false false}]"},
		"artifacts":   {fmt.Sprint(spec.Artifacts.Paths, spec.Artifacts.When, spec.Artifacts.ExpireIn, spec.Artifacts.Reports), "[out/]on_success1 weekmap[dotenv:[v.env] junit:[a.xml b.xml]]"},
		"cache":       {fmt.Sprint(spec.Cache[0].Key, spec.Cache[0].KeyFiles, spec.Cache[0].Prefix, spec.Cache[0].Policy, spec.Cache[0].When), "[go.sum]$CI_JOB_NAMEpullon_success"},
		"outputs":     {job.Outputs[0].Name, "dotenv"},
		"condition":   {job.If.Text, "when: on_success"},
		"its own ID":  {spec.ID, "plain"},
		"where it is": {job.Source.String(), ".gitlab-ci.yml:12:1"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
	if fmt.Sprintf("%q", job.Place.Container.Entrypoint) != `[""]` {
		t.Errorf("entrypoint %q", job.Place.Container.Entrypoint)
	}
	job, spec = jobOf(t, p, "bare")
	services := slices.Sorted(maps.Keys(job.Place.Services))
	if job.Place.Container != nil || job.Retry != nil || len(spec.BeforeScript) > 0 || len(spec.Variables) != 1 || fmt.Sprint(services) != "[cache postgres]" || fmt.Sprint(job.Place.Services["cache"].Aliases) != "[cache store]" {
		t.Errorf("bare: %+v %+v", job.Place, spec)
	}
	job, spec = jobOf(t, p, "deploy")
	if job.Deferred == nil || job.Deferred.Kind != deferPlace || fmt.Sprint(job.Needs) != "[plain bare]" {
		t.Errorf("deploy: %+v", job)
	}
	if fmt.Sprint(spec.Downloads) != "[{plain plain false   }]" {
		t.Errorf("deploy gets %v", spec.Downloads)
	}
	x, err := New(Config{}).Expand(t.Context(), job, &plan.Scope{Context: &plan.Context{Pipeline: p, Change: push(), Secrets: map[string]string{"FROM_SECRET": "busybox"}, RunID: "1"}, Job: job,
		Needs: map[string]plan.Outcome{"plain": {Verdict: plan.Success, Outputs: map[string]string{"dotenv": `{"HOST":"h"}`}}}})
	if err != nil || len(x.Jobs) != 1 || x.Jobs[0].ID != "deploy/1" || x.Jobs[0].Place.Container.Image != "busybox" || x.Jobs[0].Environment.Name != "review/main" {
		t.Fatalf("deploy became %+v, %v", x, err)
	}
	url, err := New(Config{}).Eval(x.Jobs[0].Environment.URL, dialect.Text, &plan.Scope{Context: &plan.Context{Pipeline: p, Change: push()}, Job: &x.Jobs[0]})
	if err != nil || url != "https://h" {
		t.Errorf("its address is %v, %v", url, err)
	}
	job, spec = jobOf(t, p, "ship")
	if fmt.Sprint(job.Needs) != "[plain bare]" || fmt.Sprint(spec.Downloads) != "[]" || spec.Coverage != `(\d+)%` || job.Environment.Name != "review/main" {
		t.Errorf("ship: %+v %+v", job, spec)
	}
	group, err := New(Config{}).Eval(job.Concurrency.Group, dialect.Text, &plan.Scope{Job: job})
	if group != "prod-3.20" || err != nil || !job.Concurrency.Queue {
		t.Errorf("group %v, %v", group, err)
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	p, problems := compile(t, `
build:
  stage: build
  script: x
  parallel: {matrix: [{OS: linux, ARCH: [arm, amd]}, {OS: [mac]}]}
split: {stage: build, script: x, parallel: 2}
"a/b": {stage: build, script: x}
test:
  script: x
  parallel: {matrix: [{OS: [linux, mac]}]}
  needs:
    - job: build
      parallel: {matrix: [{OS: '$[[ matrix.OS ]]'}]}
one: {script: x, needs: ["build: [linux, arm]", split 2/2, a/b]}
`, push())
	if len(problems) > 0 {
		t.Fatalf("problems: %q", problems)
	}
	var got []string
	for i := range p.Jobs {
		got = append(got, p.Jobs[i].Name+" ("+p.Jobs[i].ID+") < "+strings.Join(p.Jobs[i].Needs, "; "))
	}
	want := `build: [linux, arm] (build: [linux, arm]) < 
build: [linux, amd] (build: [linux, amd]) < 
build: [mac] (build: [mac]) < 
split 1/2 (split 1-2) < 
split 2/2 (split 2-2) < 
a/b (a-b) < 
test: [linux] (test: [linux]) < build: [linux, arm]; build: [linux, amd]
test: [mac] (test: [mac]) < build: [mac]
one (one) < build: [linux, arm]; split 2-2; a-b`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	_, spec := jobOf(t, p, "split 2/2")
	if spec.Index != 2 || spec.Total != 2 || spec.Group != "split" {
		t.Errorf("%+v", spec)
	}
	_, spec = jobOf(t, p, "build: [linux, amd]")
	if fmt.Sprint(spec.Variables) != "[{OS linux false false} {ARCH amd false false}]" || spec.Index != 2 || spec.Total != 3 {
		t.Errorf("%+v", spec)
	}
}

// TestProblems is what people are told of their mistakes.
func TestProblems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"j: {scirpt: x}\n":                                                                             "1:1: the job j has neither a script nor a trigger; 1:5: the job j has no key scirpt",
		"stagse: [a]\nj: {script: x}\n":                                                                "1:1: stagse is no keyword, and as a job it must be a mapping and not a list",
		"j: {script: x, stage: tets}\n":                                                                "1:23: the stage tets of the job j is not there",
		"j: {script: x, when: sometimes}\n":                                                            "1:22: when may not be sometimes",
		"j: {script: x, when: delayed}\n":                                                              "1:4: the job j is delayed and does not say for how long",
		"j: {script: x, needs: [k]}\n":                                                                 "1:24: j needs k, which is not there",
		"j: {script: x, needs: [j]}\n":                                                                 "1:1: j needs itself, by way of j",
		"a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}\n":                                     "2:1: b needs itself, by way of a",
		"a: {script: x, stage: build, needs: [b]}\nb: {script: x}\n":                                   "1:38: a needs b, whose stage test comes later",
		"a: {script: x, rules: [{if: $NONE}]}\nb: {script: x, needs: [a]}\n":                           "2:24: b needs a, which is not part of this pipeline: no rule of the job a holds",
		"j: {script: x, rules: [{if: $A = 1}]}\n":                                                      "1:29: the expression $A = 1 cannot be read: at character 4, '=' has no meaning here",
		"j: {script: x, rules: [{if: }]}\n":                                                            "1:29: the if: of this rule is empty",
		"j: {script: x, rules: [{iff: $A}]}\n":                                                         "1:25: a rule has no key iff",
		"j: {script: x, rules: [{if: $CI}], only: [main]}\n":                                           "1:42: the job j has rules and only, and may have only one of them",
		"j: {script: x, trigger: a/b}\n":                                                               "1:25: the job j has a script and a trigger, and may have only one of them",
		"j: {script: []}\n":                                                                            "1:13: the script of the job j is empty",
		"j: {script: x, parallel: 500}\n":                                                              "1:26: parallel must be a whole number from 1 to 200",
		"j: {script: x, parallel: {matrix: [{A: []}]}}\n":                                              "1:37: the variable A of the matrix has no values",
		"j: {script: x, retry: 5}\n":                                                                   "1:23: retry must be a whole number from 0 to 2",
		"j: {script: x, retry: {when: scirpt_failure}}\n":                                              "1:30: there is no reason scirpt_failure to try again",
		"j: {script: x, timeout: soon}\n":                                                              "1:25: timeout is no length of time: soon",
		"j: {script: x, artifacts: {path: [a]}}\n":                                                     "1:28: artifacts has no key path",
		"j: {script: x, artifacts: {paths: a}}\n":                                                      "1:35: paths must be a list, and is a string",
		"j: {script: x, artifacts: {reports: {unit: a}}}\n":                                            "1:38: reports has no key unit",
		"j: {script: x, cache: {key: a/b}}\n":                                                          "1:29: a cache key may hold no slash and be more than dots",
		"j: {script: x, image: {entrypoint: [a]}}\n":                                                   "1:23: image needs a name",
		"j: {script: x, variables: {A: [1]}}\n":                                                        "1:31: the variable A must be a text, and is a list",
		"variables: {A: {value: a, options: [b]}}\nj: {script: x}\n":                                   "1:36: the value of A is none of its options",
		"j: {script: x, coverage: 'a'}\n":                                                              "1:26: coverage must be a regular expression between slashes",
		"j: {script: x, environment: {url: u}}\n":                                                      "1:29: environment needs a name",
		"j: {script: x, dependencies: [k]}\n":                                                          "1:30: j depends on k, which is not there",
		"j: {script: x, dependencies: [k]}\nk: {script: x}\n":                                          "1:30: j depends on k, which is not in an earlier stage",
		"j: {script: x, allow_failure: maybe}\n":                                                       "1:31: allow_failure must be true or false, and is a string",
		"default: {script: x}\nj: {script: x}\n":                                                       "1:11: default has no key script",
		"workflow: {rule: []}\nj: {script: x}\n":                                                       "1:12: workflow has no key rule",
		"j: {trigger: {include: c.yml, project: a/b}}\n":                                               "1:14: trigger needs either a project or an include",
		"j: {trigger: group/other}\n":                                                                  "1:14: warning: j starts a pipeline of project group/other, which a server does that has both; elsewhere the job ends in error when its turn comes",
		"j: {trigger: {include: c.yml}}\n":                                                             "1:24: the included file c.yml cannot be read: there is no such file",
		"j: {script: x, needs: [{project: a/b, job: k}]}\n":                                            "1:24: an entry of needs that names a project names no job of it, or no ref",
		"include: {project: a/b, file: c.yml}\nj: {script: x}\nk: {extends: .c}\n":                     "1:31: warning: the include a/b:c.yml cannot be had: other projects cannot be had here; the jobs that are known run without it; 3:1: warning: the job k has no script that is known, and is left out; 3:14: warning: k extends .c, which is not there; an include that could not be had may define it",
		"include: {project: a/b, file: c.yml}\nj: {script: x, needs: [z]}\nk: {script: x, stage: q}\n": "1:31: warning: the include a/b:c.yml cannot be had: other projects cannot be had here; the jobs that are known run without it; 2:1: warning: j is left out; 2:24: warning: j needs z, which is not there; 3:23: warning: the stage q of the job k is not there",
	} {
		_, problems := compile(t, text, push())
		if got := strings.Join(problems, "; "); got != want {
			t.Errorf("%s got %s\nwant %s", text, got, want)
		}
	}
}

func TestNothingIsKnownOfTheChange(t *testing.T) {
	t.Parallel()
	p, problems := compile(t, "a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\nb: {script: x, needs: [a], only: [dev]}\n", nil)
	if names(p) != "a b" || len(problems) > 0 || p.Start != (plan.Start{}) {
		t.Errorf("%s %q %+v", names(p), problems, p.Start)
	}
}

func TestInputs(t *testing.T) {
	t.Parallel()
	const file = "spec:\n  inputs:\n    env: {options: [dev, prod], description: where to}\n    n: {type: number, default: 2}\n---\nvariables:\n  REGION: {value: eu, description: the region, options: [eu, us]}\nj:\n  script: echo $[[ inputs.env ]]\n  parallel: $[[ inputs.n ]]\n  rules: [{if: '$REGION == \"us\" && $FREE == \"x\"'}]\n"
	change := push()
	change.Event, change.Inputs = "workflow_dispatch", map[string]string{"env": "prod", "n": "3", "REGION": "us", "FREE": "x"}
	p, problems := compile(t, file, change)
	if len(problems) > 0 || names(p) != "j 1/3 j 2/3 j 3/3" {
		t.Errorf("%s %q", names(p), problems)
	}
	_, spec := jobOf(t, p, "j 1/3")
	if spec.Script[0] != "echo prod" {
		t.Errorf("script %q", spec.Script)
	}
	var got []string
	for _, in := range p.Inputs {
		got = append(got, fmt.Sprint(in.Name, " ", in.Type, " ", in.Required, " ", in.Default, " ", in.Options))
	}
	if want := "env choice true <nil> [dev prod]|n number false 2 []|REGION choice false eu [eu us]"; strings.Join(got, "|") != want {
		t.Errorf("inputs %s, want %s", strings.Join(got, "|"), want)
	}
	d := New(Config{})
	values, bad := d.Inputs(p, change.Inputs)
	if fmt.Sprint(values) != "map[FREE:x REGION:us]" || len(bad) > 0 {
		t.Errorf("%v %v", values, bad)
	}
	if _, bad := d.Inputs(p, map[string]string{"env": "test"}); len(bad) != 1 {
		t.Errorf("a value that is no option: %v", bad)
	}
	if _, bad := d.Inputs(p, nil); len(bad) != 1 {
		t.Errorf("an input that must be given: %v", bad)
	}
}

func TestChildren(t *testing.T) {
	t.Parallel()
	p, problems := compile(t, `
variables: {WHO: parent}
build: {stage: build, script: x, artifacts: {paths: [a]}}
t:
  stage: test
  trigger:
    include: [child.yml, {local: more.yml}]
    strategy: depend
  variables: {ENV: "$WHO-env"}
made: {stage: build, script: x, artifacts: {paths: [gen.yml]}}
dynamic:
  stage: test
  trigger: {include: [{artifact: gen.yml, job: made}], strategy: depend}
`, push(), "child.yml", `
variables: {ENV: child}
a: {script: x, rules: [{if: '$CI_PIPELINE_SOURCE == "parent_pipeline" && $ENV == "parent-env"'}], needs: [{pipeline: $PARENT_PIPELINE_ID, job: build}]}
inner: {trigger: {include: grandchild.yml, strategy: depend}}
`, "more.yml", "b: {stage: deploy, script: x}\n", "grandchild.yml", "c: {script: x, rules: [{changes: [z]}]}\n")
	if len(problems) > 0 {
		t.Fatalf("problems: %q", problems)
	}
	d := New(Config{})
	context := &plan.Context{Pipeline: p, Change: push(), RunID: "1"}
	child, _ := jobOf(t, p, "t")
	x, ok := d.Preview(child, context)
	if !ok || len(x.Jobs) != 3 {
		t.Fatalf("t became %+v", x)
	}
	var got []string
	for i := range x.Jobs {
		got = append(got, x.Jobs[i].ID+" < "+strings.Join(x.Jobs[i].Needs, ","))
	}
	if strings.Join(got, "; ") != "t/a < ; t/inner < ; t/b < a,inner" {
		t.Errorf("%q", got)
	}
	spec, err := specOf(&x.Jobs[0])
	if err != nil || fmt.Sprint(spec.Downloads) != "[{build build true   }]" || spec.Pipeline != "t" || fmt.Sprint(spec.Variables) != "[{ENV parent-env false false} {WHO parent false false}]" {
		t.Errorf("%+v %v", spec, err)
	}
	if x, ok = d.Preview(&x.Jobs[1], context); !ok || len(x.Jobs) != 1 || x.Jobs[0].ID != "t/inner/c" {
		t.Errorf("inner became %+v", x)
	}
	if !p.Start.Files {
		t.Error("a rule of a grandchild hangs on the changed files, and nobody is told")
	}
	var texts []string
	for _, text := range p.Texts {
		texts = append(texts, text.Path)
	}
	if strings.Join(texts, " ") != ".gitlab-ci.yml grandchild.yml child.yml more.yml" {
		t.Errorf("texts %q", texts)
	}
	dynamic, _ := jobOf(t, p, "dynamic")
	if _, ok := d.Preview(dynamic, context); ok || dynamic.Deferred.Data["job"] != "made" || dynamic.Deferred.Data["file"] != "gen.yml" {
		t.Errorf("dynamic: %+v", dynamic.Deferred)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	tree := treeOf("fairlead.yaml", "gitlab:\n  file: ci/main.yml\n  templates: tpl\n  variables: [{name: WHERE, value: here}]\n", "ci/main.yml", "include: {template: T.gitlab-ci.yml}\nvariables: {WHERE: file}\nj: {script: x, rules: [{if: $WHERE == \"here\"}]}\n", "tpl/T.gitlab-ci.yml", "k: {script: x}\n")
	pipelines, problems, err := New(Config{}).Compile(t.Context(), tree, push())
	if err != nil || len(problems) > 0 || len(pipelines) != 1 || names(&pipelines[0]) != "k j" || pipelines[0].File != "ci/main.yml" {
		t.Errorf("%+v %v %v", pipelines, problems, err)
	}
	if pipelines, _, err := New(Config{}).Compile(t.Context(), treeOf("a", ""), push()); err != nil || len(pipelines) != 0 {
		t.Errorf("without a file: %v %v", pipelines, err)
	}
	_, problems, err = New(Config{}).Compile(t.Context(), treeOf("fairlead.yaml", "gitlab: {file: no.yml}\n"), push())
	if err != nil || len(problems) != 1 {
		t.Errorf("a file that is not there: %v %v", problems, err)
	}
}

// clones has projects as directories.
type clones struct {
	dir   string
	asked []string
}

func (c *clones) Fetch(_ context.Context, address, ref string) (string, string, error) {
	project := strings.TrimSuffix(strings.TrimPrefix(address, "https://gitlab.example/"), ".git")
	c.asked = append(c.asked, address+"@"+ref)
	dir := filepath.Join(c.dir, filepath.FromSlash(project))
	if _, err := os.Stat(dir); err != nil {
		return "", "", errors.New("the server cannot be reached")
	}
	return dir, "c0ffee", nil
}

// tagged is a server of projects with versions.
type tagged struct {
	clones
	tags []string
}

func (c *tagged) Tags(context.Context, string) ([]string, error) { return c.tags, nil }

func TestVersionsOfComponents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"group/ci/templates/lint.yml": "spec:\n  component: [version, reference]\n---\n'lint $[[ component.version ]] $[[ component.reference ]]': {script: x}\n"})
	tags := []string{"0.9.0", "1.0.0", "1.2.0", "1.2.10", "v1.2.9", "1.10.0", "2.0.0", "2.1.0-rc1", "nightly", "3", "3.0.0", "99999999999999999999.0.0"}
	for version, want := range map[string]string{
		"~latest": "3.0.0", "1": "1.10.0", "1.2": "1.2.10", "v1.2": "1.2.10", "2": "2.0.0", "3": "3", "1.2.0": "1.2.0", "main": "main", "7": "7", "2.1": "2.1", "c0ffee": "c0ffee",
	} {
		fetch := &tagged{clones{dir: dir}, tags}
		d := New(Config{Fetch: fetch})
		pipelines, problems, err := d.Compile(t.Context(), treeOf(Files, "include: {component: gitlab.example/group/ci/lint@"+version+"}\n"), push())
		if err != nil || len(problems) > 0 || names(&pipelines[0]) != "lint "+want+" "+version || !strings.HasSuffix(fetch.asked[0], "@"+want) {
			t.Errorf("%s: %s, asked for %v; %v, %v", version, names(&pipelines[0]), fetch.asked, problems, err)
		}
	}
	d := New(Config{Fetch: &tagged{clones{dir: dir}, []string{"nightly"}}})
	_, problems, err := d.Compile(t.Context(), treeOf(Files, "include: {component: gitlab.example/group/ci/lint@~latest}\nj: {script: x}\n"), push())
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "has no tag that is a version") {
		t.Errorf("without versions: %v, %v", problems, err)
	}
}

// TestWhatRulesKnow: values given for the run, what git says of the commit, other refs and projects.
func TestWhatRulesKnow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"group/ci/go.mod": "", "group/ci/sub/x.tf": ""})
	d := New(Config{Fetch: &clones{dir: dir}})
	rule := func(text string) string {
		return "variables: {V: file}\nj:\n  script: x\n  rules:\n    - " + text + "\nother: {script: x}\n"
	}
	given := push()
	given.Vars, given.Inputs = map[string]string{"V": "var", "W": "w"}, map[string]string{"W": "input"}
	said := push()
	said.Commit = &plan.Commit{Message: "Fix 7\n\nIt was broken.\n", Author: "Ada", Email: "ada@example.org"}
	since := push()
	since.Files, since.FilesKnown, since.Since = []string{"new"}, true, map[string][]string{"release": {"old"}, "none": nil}
	for name, c := range map[string]struct {
		yaml     string
		change   *plan.Change
		want     string
		problems string
	}{
		"--var":                {rule(`if: $V == "var"`), given, "j other", ""},
		"--input before --var": {rule(`if: $W == "input"`), given, "j other", ""},
		"--var for includes":   {"include: {local: o.yml, rules: [{if: $W == \"input\" && $V == \"var\"}]}\nother: {script: x}\n", given, "k other", ""},
		"the message":          {rule(`if: $CI_COMMIT_TITLE == "Fix 7" && $CI_COMMIT_MESSAGE =~ /broken/ && $CI_COMMIT_AUTHOR == "Ada <ada@example.org>"`), said, "j other", ""},
		"compare_to":           {rule("changes: {paths: [old], compare_to: release}"), since, "j other", ""},
		"compare_to, another file": {rule("changes: {paths: [new], compare_to: refs/heads/$R}\n      when: always"), func() *plan.Change {
			c := *since
			c.Vars, c.Since = map[string]string{"R": "release"}, map[string][]string{"refs/heads/release": {}}
			return &c
		}(), "other", ""},
		"compare_to nothing":        {rule("changes: {paths: [new], compare_to: none}"), since, "j other", "there is no none here to compare with"},
		"compare_to an option":      {rule("changes: {paths: [new], compare_to: --all}"), since, "j other", "is not a branch"},
		"exists there":              {rule("exists: {project: group/ci, paths: [go.mod]}"), push(), "j other", ""},
		"exists there by pattern":   {rule("exists: {project: group/ci, ref: v1, paths: ['**/*.tf']}"), push(), "j other", ""},
		"exists not there":          {rule("exists: {project: group/ci, paths: [o.yml]}"), push(), "other", ""},
		"exists, and nobody has it": {rule("exists: {project: group/none, paths: [o.yml]}"), push(), "other", "cannot be looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipelines, problems, err := d.Compile(t.Context(), treeOf(Files, c.yaml, "o.yml", "k: {script: x}\n"), c.change)
			if err != nil || names(&pipelines[0]) != c.want {
				t.Errorf("%s: %s, %v", c.yaml, names(&pipelines[0]), err)
			}
			if text := fmt.Sprint(problems); (len(problems) > 0) != (c.problems != "") || !strings.Contains(text, c.problems) {
				t.Errorf("problems: %s", text)
			}
		})
	}
	pipelines, _, err := d.Compile(t.Context(), treeOf(Files, rule("changes: {paths: [a], compare_to: release}")), push())
	if err != nil || fmt.Sprint(pipelines[0].Since) != "[release]" || pipelines[0].Start.Files {
		t.Errorf("it asks for %v, %v", pipelines[0].Since, err)
	}
	skipped := push()
	skipped.Commit = &plan.Commit{Message: "Docs [ci skip]"}
	for dirty, yes := range map[bool]bool{false: false, true: true} {
		skipped.Dirty = dirty
		if p, _ := compile(t, "j: {script: x}\n", skipped); p.Start.Yes != yes {
			t.Errorf("dirty %t: %+v", dirty, p.Start)
		}
	}
}

func TestAutoCancel(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]plan.AutoCancel{
		"": {OnNewer: plan.Conservative},
		"workflow: {auto_cancel: {on_new_commit: interruptible}}\n":                                                {OnNewer: plan.Selective},
		"workflow: {auto_cancel: {on_new_commit: none, on_job_failure: all}}\n":                                    {OnFailure: true},
		"workflow: {auto_cancel: {on_job_failure: none}}\n":                                                        {OnNewer: plan.Conservative},
		"workflow: {auto_cancel: {on_job_failure: all}, rules: [{if: $CI, auto_cancel: {on_new_commit: none}}]}\n": {OnFailure: true},
	} {
		p, problems := compile(t, "default: {interruptible: true}\n"+yaml+"a: {script: x}\nb: {script: x, interruptible: false}\n", push())
		a, _ := jobOf(t, p, "a")
		b, _ := jobOf(t, p, "b")
		if len(problems) > 0 || p.AutoCancel != want || !a.Interruptible || b.Interruptible {
			t.Errorf("%s: %+v, %t, %t, %q", yaml, p.AutoCancel, a.Interruptible, b.Interruptible, problems)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"group/ci/a.yml": "include: 'more/*.yml'\na: {script: x}\n", "group/ci/more/c.yml": "c: {script: x}\n", "mirror/b.yml": "b: {script: x}\n"})
	fetch := &clones{dir: dir}
	get := func(_ context.Context, url string) ([]byte, error) { return []byte("r: {script: x}\n"), nil }
	d := New(Config{Fetch: fetch, Get: get})
	tree := treeOf(Files, "include:\n  - {project: group/ci, ref: v1, file: a.yml}\n  - {project: other/ci, file: b.yml}\n  - https://host.example/r.yml\nj: {script: x}\n",
		"fairlead.yaml", "gitlab: {mirrors: [{project: other/ci, at: mirror}]}\n")
	kept, problems, err := d.LockIncludes(t.Context(), tree, push())
	if err != nil || len(problems) > 0 || len(kept) != 5 {
		t.Fatalf("%d files, %v, %v", len(kept), problems, err)
	}
	if want := "[https://gitlab.example/group/ci.git@v1 mirror@HEAD]"; fmt.Sprint(fetch.asked) != want {
		t.Errorf("asked for %v, want %s", fetch.asked, want)
	}
	for name, body := range kept {
		tree[name] = &fstest.MapFile{Data: body}
	}
	offline := New(Config{})
	pipelines, problems, err := offline.Compile(t.Context(), tree, push())
	if err != nil || len(problems) > 0 || names(&pipelines[0]) != "c a b r j" {
		t.Fatalf("offline: %s %v %v", names(&pipelines[0]), problems, err)
	}
	again, _, err := d.LockIncludes(t.Context(), tree, push())
	if err != nil || string(again[LockFile]) != string(kept[LockFile]) {
		t.Errorf("locked again, it is another lock: %v", err)
	}

	// What was changed since is not taken.
	for name := range kept {
		if name != LockFile {
			delete(tree, name)
		}
	}
	write(t, dir, map[string]string{"group/ci/a.yml": "a: {script: evil}\n"})
	pipelines, problems, err = d.Compile(t.Context(), tree, push())
	if err != nil || names(&pipelines[0]) != "b r j" || len(problems) != 1 || !strings.Contains(problems[0].Message, "not what fairlead-include.lock says") {
		t.Errorf("changed: %s %v %v", names(&pipelines[0]), problems, err)
	}
	if !slices.Contains(fetch.asked, "https://gitlab.example/group/ci.git@c0ffee") {
		t.Errorf("the commit of the lock is not asked for: %v", fetch.asked)
	}

	for _, bad := range []string{"", "{", `{"version": 9}`, `{"version": 1, "includes": [{"digest": "x"}]}`} {
		tree[LockFile] = &fstest.MapFile{Data: []byte(bad)}
		if _, problems, err = offline.Compile(t.Context(), tree, push()); err != nil || !plan.Errors(problems) {
			t.Errorf("the lock %q: %v %v", bad, problems, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	var jobs, variables, needs strings.Builder
	variables.WriteString("variables:\n")
	needs.WriteString("j:\n  script: x\n  needs: [")
	for i := range maxJobs + 100 {
		fmt.Fprintf(&jobs, "j%d: {script: x, stage: build}\n", i)
		if i < 20 {
			fmt.Fprintf(&variables, "  V%d: %s\n", i, strings.Repeat("x", 50_000))
		}
		fmt.Fprintf(&needs, "j%d, ", i)
	}
	growing := "variables:\n  V0: " + strings.Repeat("x", 100) + "\n"
	for i := range 60 {
		growing += fmt.Sprintf("  V%d: $V%d$V%d\n", i+1, i, i)
	}
	many := variables.String()
	for i := range 50 {
		many += fmt.Sprintf("k%d: {script: x}\n", i)
	}
	for name, c := range map[string]struct{ text, says string }{
		"jobs":                {jobs.String(), "more than 2000 jobs"},
		"variables of jobs":   {many, "more than 32 MB"},
		"variables that grow": {growing + "j: {script: x}\n", ""},
		"needs":               {needs.String() + "]\n", "may need 50 jobs"},
		"pipelines":           {"j:\n  trigger: {include: .gitlab-ci.yml}\nk:\n  trigger: {include: .gitlab-ci.yml}\n", "trigger one another in a row"},
		"a matrix":            {"j:\n  script: x\n  parallel:\n    matrix:\n      - {A: [1, 2, 3, 4, 5, 6], B: [1, 2, 3, 4, 5, 6], C: [1, 2, 3, 4, 5, 6]}\n", "more than 200 jobs"},
		"a name":              {strings.Repeat("n", 300) + ": {script: x}\n", "from 1 to 255 characters"},
	} {
		_, problems := compile(t, c.text, push())
		if c.says == "" && len(problems) > 0 || c.says != "" && !strings.Contains(strings.Join(problems, "\n"), c.says) || len(problems) > maxProblems+10 {
			t.Errorf("%s: %d problems, the first %.300q", name, len(problems), problems)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	c := &plan.Change{Event: "pull_request", Payload: map[string]any{
		"object_kind": "merge_request", "user": map[string]any{"username": "eve"},
		"project":           map[string]any{"path_with_namespace": "g/p", "default_branch": "trunk", "web_url": "https://git.example/g/p"},
		"object_attributes": map[string]any{"iid": 12.0, "source_branch": "fix", "target_branch": "trunk", "last_commit": map[string]any{"id": "abc", "message": "A fix\n\nof it"}},
	}}
	d.Describe(c)
	if got := cmp.Or(fmt.Sprint(c.Repository, c.DefaultBranch, c.Actor, c.Server, c.HeadRef, c.BaseRef, c.SHA, c.Ref)); got != "g/ptrunkevehttps://git.examplefixtrunkabcrefs/merge-requests/12/head" {
		t.Errorf("%s", got)
	}
	before := *push()
	same := before
	d.Describe(&same)
	if fmt.Sprint(same) != fmt.Sprint(before) {
		t.Errorf("a change without an event of GitLab's became %+v", same)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("stages: [a]\nj: {script: x, stage: a, rules: [{if: $CI, changes: ['**/*']}], parallel: {matrix: [{A: [1, 2]}]}}\n", "push")
	f.Add("a: {trigger: {include: b.yml, strategy: depend}}\nb: {script: x, needs: [{job: a, optional: true}], only: {refs: [/x/]}}\n", "pull_request")
	f.Add("default: {retry: 2}\nj: {extends: .x, environment: {name: $A}, cache: [{key: {files: [a]}}], when: manual}\n.x: {script: !reference [.y, z]}\n", "")
	f.Fuzz(func(t *testing.T, body, event string) {
		change := push()
		change.Event = event
		d := New(Config{})
		pipelines, _, err := d.Compile(context.Background(), treeOf(Files, body, "b.yml", "x: {script: y}\n"), change)
		if err != nil {
			t.Fatal(err)
		}
		for i := range pipelines[0].Jobs {
			j := &pipelines[0].Jobs[i]
			s := &plan.Scope{Context: &plan.Context{Pipeline: &pipelines[0], Change: change}, Job: j, Needs: map[string]plan.Outcome{}, Status: plan.Success}
			for _, n := range j.Needs {
				s.Needs[n] = plan.Outcome{Verdict: plan.Skipped}
			}
			if _, err := d.Eval(j.If, dialect.Condition, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	var body strings.Builder
	for i := range 50 {
		fmt.Fprintf(&body, "job%d:\n  stage: %s\n  script: echo %d\n", i, []string{"build", "test", "deploy"}[i%3], i)
	}
	tree := treeOf(Files, body.String())
	for b.Loop() {
		if _, _, err := New(Config{}).Compile(context.Background(), tree, push()); err != nil {
			b.Fatal(err)
		}
	}
}
