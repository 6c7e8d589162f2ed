package azure

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// resolve is what the steps of the first job come to, and the scope they see.
func resolve(t *testing.T, d *Dialect, body string) []*plan.Act {
	t.Helper()
	p, problems := compile(t, body, push())
	if plan.Errors(problems) {
		t.Fatal(problems)
	}
	s := &plan.Scope{
		Context: &plan.Context{Pipeline: p, Change: push(), RunID: "7", Number: 3, Secrets: map[string]string{"key": "hush-hush"}}, Job: &p.Jobs[0],
		Status: plan.Success, OS: "Linux", Arch: "X64", Dirs: plan.Dirs{Workspace: "/r/s", Temp: "/r/temp", Tools: "/r/tools"},
	}
	session, err := d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var acts []*plan.Act
	for i := range p.Jobs[0].Steps {
		act, err := session.Resolve(t.Context(), &p.Jobs[0].Steps[i], s)
		if err != nil {
			t.Fatal(err)
		}
		acts = append(acts, act)
	}
	return acts
}

// here finds every program.
func here(program string, _ []string) (string, error) { return "/bin/" + program, nil }

func TestResolve(t *testing.T) {
	t.Parallel()
	acts := resolve(t, New(Config{LookPath: here}), `
resources:
  containers:
  - container: dev
    image: alpine:3
    env: {A: b}
services:
  db: {image: redis, ports: ['6380:6379']}
variables: {minutes: 3, image: dev, n: x}
steps:
- bash: echo $(key) $(n)
  displayName: Say $(n)
  timeoutInMinutes: $(minutes)
  continueOnError: $(unset)
  retryCountOnTaskFailure: 2
  target: $(image)
  env: {TOKEN: $(key)}
- script: x
  target: {container: other/image:1}
- task: Cache@2
  inputs: {key: k, path: p}
- pwsh: x
  workingDirectory: $(Pipeline.Workspace)/a
  errorActionPreference: continue
`)
	a := acts[0]
	if a.Name != "Say x" || a.Timeout.Minutes() != 3 || a.ContinueOnError || a.Retry != 2 {
		t.Errorf("%+v", a)
	}
	if c := a.Command.Container; c == nil || c.Image != "alpine:3" || c.Env["A"] != "b" {
		t.Errorf("container %+v", c)
	}
	if text := string(a.Command.Files[0].Body); text != "echo hush-hush x" {
		t.Errorf("script %q", text)
	}
	for name, want := range map[string]string{
		"TOKEN": "hush-hush", "N": "x", "BUILD_SOURCESDIRECTORY": "/r/s", "PIPELINE_WORKSPACE": "/r/temp/work/1", "BUILD_ARTIFACTSTAGINGDIRECTORY": "/r/temp/work/1/a",
		"AGENT_TEMPDIRECTORY": "/r/temp", "BUILD_BUILDID": "7", "BUILD_REASON": "IndividualCI", "AGENT_SERVICES_DB_PORTS_6379": "6380", "SYSTEM_JOBNAME": "Job", "TF_BUILD": "True",
	} {
		if got := a.Command.Env[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, have := a.Command.Env["KEY"]; have {
		t.Error("a secret is in the environment of its own accord")
	}
	for _, arg := range a.Command.Argv {
		if strings.Contains(arg, "hush") {
			t.Errorf("a secret is in the command line: %q", a.Command.Argv)
		}
	}
	if c := acts[1].Command.Container; c == nil || c.Image != "other/image:1" {
		t.Errorf("container %+v", c)
	}
	if acts[2].Builtin == nil || acts[2].Post == nil || acts[2].Post.Of != "3" || acts[2].Post.Phase != plan.Post {
		t.Errorf("cache %+v", acts[2])
	}
	if c := acts[3].Command; c.Dir != "/r/temp/work/1/a" || !strings.Contains(string(c.Files[0].Body), "= 'continue'") {
		t.Errorf("pwsh %+v", c)
	}
}

// A variable that names itself, at once or by way of others, stays as it is.
func TestMacros(t *testing.T) {
	t.Parallel()
	e := &evaluator{s: &plan.Scope{Job: &plan.Job{Env: []plan.Binding{
		{Name: "a", Value: plan.Expr{Text: "<$(b)>"}}, {Name: "b", Value: plan.Expr{Text: "$(a)"}}, {Name: "c", Value: plan.Expr{Text: "x$(C)"}},
		{Name: "big", Value: plan.Expr{Text: strings.Repeat("$(more)", 2000)}}, {Name: "more", Value: plan.Expr{Text: strings.Repeat("y", 2000)}},
		{Name: "loop", Value: plan.Expr{Text: "$[ variables.loop ]"}},
	}}}}
	for text, want := range map[string]string{
		"$(a)": "<$(a)>", "$(c)": "x$(C)", "$(none) $(": "$(none) $(", "$(x $(c)": "$(x x$(C)", "$()": "$()", "[$(loop)]": "[]",
	} {
		if got := e.variables().macros(text); got != want {
			t.Errorf("%s becomes %q, want %q", text, got, want)
		}
	}
	bomb := &evaluator{s: &plan.Scope{Job: &plan.Job{}}}
	for i := range 45 {
		next := fmt.Sprintf("$(v%d)", i+1)
		bomb.s.Job.Env = append(bomb.s.Job.Env, plan.Binding{Name: fmt.Sprintf("v%d", i), Value: plan.Expr{Text: next + next}})
	}
	bomb.s.Job.Env = append(bomb.s.Job.Env, plan.Binding{Name: "v45"})
	bomb.variables().macros("$(v0)") // to end at all is the test
	if got := e.variables().macros("$(big)"); len(got) > maxValue+20_000 {
		t.Errorf("%d bytes", len(got))
	}
}

// Counters are given out once a run, whoever sees them, and looked up from then on.
func TestCount(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	p, problems := compile(t, `
variables:
  major: 1
  patch: $[ counter(variables.major, 100) ]
  full: $(major).$(patch)
stages:
- stage: A
  variables:
    inner: $[ counter(format('{0}-{1}', variables.patch, format('{0:yyyy}', pipeline.startTime)), 5) ]
    late: $[ counter(dependencies.X.outputs['a.b'], 0) ]
  jobs:
  - job: J
    steps: [{bash: x}]
- stage: B
  jobs:
  - job: K
    steps: [{bash: x}]
`, push())
	if plan.Errors(problems) {
		t.Fatal(problems)
	}
	c := &plan.Context{Pipeline: p, Change: push(), RunID: "7", Number: 3}
	asked := map[string]int{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := d.Count(c, at, func(prefix string, seed int) (int, error) {
		asked[prefix]++
		return seed + 2, nil
	})
	if err != nil || c.Counted == nil || !maps.Equal(asked, map[string]int{"1": 1, "102-2026": 1, "$(Rev:r) 20260102.#": 1}) || !maps.Equal(c.Counted.Numbers, map[string]int{"1": 102, "102-2026": 7, revision: 3}) {
		t.Fatalf("%v: asked for %v, counted %+v", err, asked, c.Counted)
	}
	var jobs []plan.Job
	if err := decode(p.Jobs[0].Deferred.Data["jobs"], &jobs); err != nil {
		t.Fatal(err)
	}
	s := &plan.Scope{Context: c, Job: &jobs[0], Started: at.AddDate(1, 0, 0)}
	e := &evaluator{s: s}
	if got := e.variables().macros("$(full) $(inner)"); got != "1.102 7" {
		t.Errorf("variables come to %q", got)
	}
	session, err := d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Setup(t.Context(), s); err == nil || !strings.Contains(err.Error(), "not known when the run was planned") {
		t.Errorf("a counter of what another job said: %v", err)
	}
	if err := d.Count(&plan.Context{Pipeline: p, Change: push(), Number: 1}, at, func(string, int) (int, error) { return 0, errors.New("no disk") }); err == nil {
		t.Error("numbers that cannot be had are no error")
	}
}

// TestRevision: $(Rev:r) counts the runs whose names are alike else, and all of a run sees one
// name.
func TestRevision(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	seen := map[string]int{}
	for _, c := range []struct {
		name string
		day  int
		want string
	}{
		{"$(Date:yyyyMMdd)$(Rev:.r)", 1, "20260101.1"}, {"$(Date:yyyyMMdd)$(Rev:.r)", 1, "20260101.2"}, {"$(Date:yyyyMMdd)$(Rev:.r)", 2, "20260102.1"},
		{"", 2, "20260102.1"}, {"", 2, "20260102.2"}, {"v$(Rev:rrr)", 3, "v001"}, {"v$(rev:r)", 4, "v2"}, {"fixed", 4, "fixed"},
	} {
		text := "steps: [{bash: x}]"
		if c.name != "" {
			text = "name: " + c.name + "\n" + text
		}
		p, _ := compile(t, text, push())
		at := time.Date(2026, 1, c.day, 23, 59, 0, 0, time.UTC)
		x := &plan.Context{Pipeline: p, Change: push(), RunID: "7", Number: 99}
		if err := d.Count(x, at, func(prefix string, seed int) (int, error) {
			if n, ok := seen[prefix]; ok {
				seed = n + 1
			}
			seen[prefix] = seed
			return seed, nil
		}); err != nil {
			t.Fatal(err)
		}
		s := &plan.Scope{Context: x, Job: &p.Jobs[0], Started: at.Add(time.Hour)}
		name, err := d.Eval(p.RunName, dialect.Text, s)
		if build := buildNumber(s); err != nil || name != c.want || build != c.want {
			t.Errorf("%q on day %d: the run is %v, Build.BuildNumber %q, want %q (%v)", c.name, c.day, name, build, c.want, err)
		}
	}
}
