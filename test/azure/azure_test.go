// Package azure shows, with the real engine and the executor of this host, that
// pipelines of Azure run as their language says.
//
// Each rule is a [probe]: a small pipeline, how its jobs end, and what must and
// must not be in their logs.
package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure"
	"github.com/fairlead-dev/fairlead/internal/executor/host"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/workspace"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// probe is one rule.
type probe struct {
	name    string
	flow    string            // azure-pipelines.yml
	files   map[string]string // besides it
	order   launch.Order
	verdict plan.Verdict // of the run; success when not given
	jobs    map[string]plan.Verdict
	shown   []string // in the logs
	not     []string
}

// here runs the steps of all probes: a process has one executor of its host,
// whose end is the end of everything that it started.
var here *host.Executor

func TestMain(m *testing.M) {
	here = host.New(host.Options{Grace: time.Second})
	code := m.Run()
	_ = here.Close()
	os.Exit(code)
}

// places bounds how many probes run at a time: each starts processes itself.
var places = make(chan struct{}, 2)

func check(t *testing.T, probes []probe) {
	t.Parallel()
	for _, p := range probes {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			p.run(t)
		})
	}
}

// watcher gathers what a run says.
type watcher struct {
	mu   sync.Mutex
	log  strings.Builder
	jobs map[string]plan.Verdict

	reused, artifacts, tests int
}

func (w *watcher) Event(e record.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := e.Body.(type) {
	case *record.JobFinished:
		w.jobs[e.Job] = f.Verdict
		w.log.WriteString("[" + e.Job + " " + string(f.Verdict) + ": " + f.Why + "]\n")
	case *record.StepFinished:
		if f.Why != "" {
			w.log.WriteString("[" + e.Job + "/" + e.Step + " " + string(f.Outcome) + ": " + f.Why + "]\n")
		}
		if f.Reuse != nil && f.Reuse.From != nil {
			w.reused++
		} else if f.Reuse != nil {
			w.log.WriteString(fmt.Sprintf("[%s/%s ran: %+v %+v]\n", e.Job, e.Step, f.Reuse.Miss, f.Reuse.Barred))
		}
	case *record.ArtifactSaved:
		w.artifacts++
	case *record.TestsReported:
		w.tests++
	}
}

func (w *watcher) Line(job, _ string, _ int64, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.WriteString(job + "| " + string(text) + "\n")
}

// world is a repository, and what runs its pipelines.
type world struct {
	*testing.T
	place *binary.Place
	l     *launch.Launcher
}

func newWorld(t *testing.T, files map[string]string) *world {
	binary.Need(t, "bash", "git")
	w := &world{T: t, place: binary.NewPlace(t, files)}
	data := t.TempDir()
	db, err := sqlite.Open(t.Context(), data, sqlite.Options{})
	w.must(err)
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := disk.Open(filepath.Join(data, "blobs"))
	w.must(err)
	outputs, err := disk.Open(filepath.Join(data, "outputs"))
	w.must(err)
	steps, err := cache.Open(cache.Options{Dir: filepath.Join(data, "steps"), Blobs: outputs})
	w.must(err)
	t.Cleanup(func() { _ = steps.Close() })
	w.l = &launch.Launcher{
		Dialects: []dialect.Dialect{azure.New(azure.Config{Depot: depot.New(blobs, filepath.Join(data, "index")), Trees: trees{}})},
		Executor: here, Store: db, Cache: steps, Outputs: outputs, Slots: &workspace.Slots{Dir: filepath.Join(data, "slots")}, Data: data,
		Idle: func() float64 { return 2 }, Version: "test", Grace: 5 * time.Second,
	}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// run runs the pipeline.
func (w *world) run(o launch.Order) (launch.Result, *watcher) {
	w.Helper()
	o.Dir = w.place.Root
	prepared, err := w.l.Prepare(w.Context(), o)
	w.must(err)
	for _, problem := range prepared.Problems {
		if problem.Severity == plan.Error {
			w.Errorf("problem: %s", problem)
		}
	}
	if len(prepared.Chosen) != 1 {
		w.Fatalf("%d pipelines were chosen", len(prepared.Chosen))
	}
	seen := &watcher{jobs: map[string]plan.Verdict{}}
	r, err := w.l.Run(w.Context(), prepared, prepared.Chosen[0], launch.Watcher{Observer: seen})
	w.must(err)
	return r, seen
}

func (p *probe) run(t *testing.T) {
	files := map[string]string{"azure-pipelines.yml": p.flow}
	maps.Copy(files, p.files)
	p.order.NoReuse = true
	r, w := newWorld(t, files).run(p.order)
	log := w.log.String()
	if want := p.verdict; r.Verdict != want && !(want == "" && r.Verdict == plan.Success) {
		t.Errorf("the run ended in %s (%s), want %s", r.Verdict, r.Why, want)
	}
	for _, id := range slices.Sorted(maps.Keys(p.jobs)) {
		if got := w.jobs[id]; got != p.jobs[id] {
			t.Errorf("job %s ended in %q, want %q", id, got, p.jobs[id])
		}
	}
	for _, want := range p.shown {
		if !strings.Contains(log, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	for _, bad := range p.not {
		if strings.Contains(log, bad) {
			t.Errorf("shown, and must not be: %q", bad)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{
		"in.txt": "one\n",
		"azure-pipelines.yml": `
variables:
  mode: fast
steps:
- checkout: self
- script: tr a-z A-Z < in.txt > out.txt && echo "##vso[task.setvariable variable=made]yes"
- bash: cat out.txt && echo "$(mode) $(made)"
`})
	r, seen := w.run(launch.Order{})
	if r.Verdict != plan.Success || seen.reused != 0 {
		t.Fatalf("the first run: %s, %d steps reused\n%s", r.Verdict, seen.reused, &seen.log)
	}
	r, seen = w.run(launch.Order{})
	if r.Verdict != plan.Success || seen.reused != 2 {
		t.Errorf("the second run: %s, %d steps reused, want 2\n%s", r.Verdict, seen.reused, &seen.log)
	}
	w.place.Write(map[string]string{"in.txt": "two\n"})
	r, seen = w.run(launch.Order{})
	if r.Verdict != plan.Success || seen.reused != 0 || !strings.Contains(seen.log.String(), "TWO") || !strings.Contains(seen.log.String(), "fast yes") {
		t.Errorf("after a change: %s, %d steps reused\n%s", r.Verdict, seen.reused, &seen.log)
	}
}

// The example of the repository runs as it stands.
func TestFourWays(t *testing.T) {
	t.Parallel()
	root, err := binary.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "examples", "four-ways")
	files := map[string]string{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, files)
	for name := range files {
		if strings.HasPrefix(name, "scripts/") {
			w.must(os.Chmod(filepath.Join(w.place.Root, name), 0o755))
		}
	}
	r, seen := w.run(launch.Order{NoReuse: true})
	if r.Verdict != plan.Success || seen.artifacts != 2 || seen.tests == 0 {
		t.Errorf("%s: %s, %d artifacts, %d test reports\n%s", r.Verdict, r.Why, seen.artifacts, seen.tests, &seen.log)
	}
}

// trees makes working trees without git: a file that says which it is.
type trees struct{}

func (trees) Copy(_ context.Context, s *plan.Scope, dst string) error {
	return os.CopyFS(dst, os.DirFS(s.Root))
}

func (trees) Clone(_ context.Context, _, repository, ref, dst string, _ int) (string, error) {
	return strings.Repeat("c", 40), os.WriteFile(filepath.Join(dst, "which"), []byte(repository+"@"+ref+"\n"), 0o644)
}

func (trees) Submodules(context.Context, *plan.Scope, string, bool) error { return nil }

func TestVariables(t *testing.T) {
	check(t, []probe{{
		name: "three times",
		flow: `
parameters:
- name: who
  type: string
  default: Ada
variables:
  plain: one
  compiled: ${{ variables.plain }}-${{ parameters.who }}
  later: $[ format('{0}!', variables.plain) ]
  nested: <$(compiled)>
  dotted.name: d
steps:
- script: |
    echo 'a $(plain) $(compiled) $(later) $(nested) $(unknown) '"${{ upper(parameters.who) }}"
    echo "b $PLAIN $COMPILED $LATER $NESTED $DOTTED_NAME"
    echo "c $(Build.SourceBranchName) $BUILD_REASON $(Agent.OS) $TF_BUILD"
  displayName: Say $(plain)
`,
		shown: []string{"a one one-Ada one! <one-Ada> $(unknown) ADA", "b one one-Ada one! <one-Ada> d", "c main IndividualCI Linux True"},
	}, {
		name: "set by steps",
		flow: `
variables:
- name: fixed
  value: stays
  readonly: true
steps:
- bash: |
    echo "##vso[task.setvariable variable=made]first"
    echo 'now [$(made)] '"[$MADE]"
- bash: |
    echo "then [$(made)] [$MADE]"
    echo "##vso[task.setvariable variable=Made]second"
    echo "##vso[task.setvariable variable=fixed]changed"
- bash: echo "last [$(MADE)] [$(fixed)]"
- bash: echo "not this"
  condition: eq(variables.made, 'first')
- bash: echo "but this"
  condition: and(succeeded(), eq(variables['made'], 'SECOND'))
`,
		shown: []string{"now [$(made)] []", "then [first] [first]", "last [second] [stays]", "but this", "read-only"}, not: []string{"| not this"},
	}, {
		name:  "debug",
		flow:  "variables: {system.debug: true}\nsteps:\n- bash: echo '##vso[task.debug]seen'; echo \"[$SYSTEM_DEBUG]\"\n",
		shown: []string{"##[debug]seen", "[true]"},
	}, {
		name:  "secrets",
		order: launch.Order{Secrets: map[string]string{"token": "hunter22"}},
		flow: `
steps:
- bash: |
    echo "env [${TOKEN}] mapped [${#MAPPED}] macro [$(token)]"
    echo "##vso[task.setvariable variable=mine;issecret=true]s3cr3t-value"
  env:
    MAPPED: $(token)
- bash: |
    echo "mine env [${MINE}] len [${#LEN}] shown [$(mine)]"
  env:
    LEN: $(mine)
`,
		shown: []string{"env [] mapped [8] macro [***]", "mine env [] len [12] shown [***]"}, not: []string{"hunter22", "s3cr3t-value"},
	}, {
		name: "levels, groups and templates",
		files: map[string]string{
			"vars/common.yml":         "parameters:\n- name: n\n  type: number\nvariables:\n- name: fromTemplate\n  value: t${{ parameters.n }}\n",
			"templates/steps.yml":     "parameters:\n  list: []\nsteps:\n- ${{ each x in parameters.list }}:\n  - script: echo item ${{ x }}\n- template: more/last.yml\n",
			"templates/more/last.yml": "steps:\n- script: echo last $(fromTemplate)\n",
			"fairlead.yaml":           "azure:\n  variable_groups:\n    shared:\n      grouped: g\n",
		},
		flow: `
variables:
- name: level
  value: pipeline
- group: shared
- template: vars/common.yml
  parameters:
    n: 7
stages:
- stage: One
  variables:
    level: stage
  jobs:
  - job: A
    steps:
    - script: echo "A $(level) $(grouped)"
    - template: templates/steps.yml
      parameters:
        list: [x, y]
  - job: B
    variables:
      level: job
    steps:
    - script: echo "B $(level)"
`,
		shown: []string{"A stage g", "B job", "item x", "item y", "last t7"},
		jobs:  map[string]plan.Verdict{"One": plan.Success, "One/A": plan.Success, "One/B": plan.Success},
	}})
}

func TestOutputs(t *testing.T) {
	check(t, []probe{{
		name: "across jobs and stages",
		flow: `
stages:
- stage: Build
  jobs:
  - job: A
    steps:
    - bash: echo "##vso[task.setvariable variable=v;isOutput=true]from-a"
      name: set
    - bash: echo "here [$(set.v)] [$SET_V]"
  - job: B
    dependsOn: A
    variables:
      got: $[ dependencies.A.outputs['set.v'] ]
    steps:
    - bash: echo "next $(got)"
  - job: C
    dependsOn: A
    condition: eq(dependencies.A.outputs['set.v'], 'other')
    steps:
    - bash: exit 1
- stage: Use
  condition: and(succeeded(), eq(dependencies.Build.outputs['A.set.v'], 'from-a'))
  variables:
    far: $[ stageDependencies.Build.A.outputs['set.v'] ]
  jobs:
  - job: D
    steps:
    - bash: echo "far $(far)"
- stage: Never
  dependsOn: Build
  condition: ne(dependencies.Build.result, 'Succeeded')
  jobs:
  - job: E
    steps:
    - bash: exit 1
`,
		shown: []string{"here [from-a] [from-a]", "next from-a", "far from-a"},
		jobs:  map[string]plan.Verdict{"Build/C": plan.Skipped, "Use": plan.Success, "Never": plan.Skipped},
	}, {
		name: "matrix",
		flow: `
jobs:
- job: M
  strategy:
    maxParallel: 1
    matrix:
      one: {n: 1}
      two: {n: 2}
  steps:
  - bash: |
      echo "cell $(n) $(System.JobName) $(System.TotalJobsInPhase)"
      echo "##vso[task.setvariable variable=v;isOutput=true]value-$(n)"
    name: s
- job: Gen
  steps:
  - bash: echo "##vso[task.setvariable variable=m;isOutput=true]{\"p\":{\"k\":\"x\"},\"q\":{\"k\":\"y\"}}"
    name: g
- job: N
  dependsOn: [M, Gen]
  strategy:
    matrix: $[ dependencies.Gen.outputs['g.m'] ]
  variables:
    two: $[ dependencies.M.outputs['two.s.v'] ]
  steps:
  - bash: echo "made $(k) $(two)"
- job: P
  strategy:
    parallel: 2
  steps:
  - bash: echo "slice $(System.JobPositionInPhase) of $SYSTEM_TOTALJOBSINPHASE"
`,
		shown: []string{"cell 1 one 2", "cell 2 two 2", "made x value-2", "made y value-2", "slice 1 of 2", "slice 2 of 2"},
		jobs:  map[string]plan.Verdict{"M/one": plan.Success, "N/p": plan.Success, "P/job2": plan.Success},
	}})
}

// Outputs that are secrets go to other jobs and stages, and are nowhere in the record.
func TestSecretOutputs(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-of-a"
	w := newWorld(t, map[string]string{"azure-pipelines.yml": `
stages:
- stage: Build
  jobs:
  - job: A
    steps:
    - bash: |
        echo "##vso[task.setvariable variable=v;isOutput=true;isSecret=true]s3cr3t-"of-a
        echo "##vso[task.setvariable variable=open;isOutput=true]plain"
      name: set
    - bash: echo "##vso[task.setvariable variable=holds;isOutput=true]<$(set.v)>"
      name: more
  - job: B
    dependsOn: A
    condition: and(succeeded(), startsWith(dependencies.A.outputs['set.v'], 's3cr3t-'))
    variables:
      got: $[ dependencies.A.outputs['set.v'] ]
      plain: $[ dependencies.A.outputs['set.open'] ]
      also: $[ dependencies.A.outputs['more.holds'] ]
    steps:
    - bash: |
        echo "got [$(got)] env [${GOT}] length ${#MAPPED} plain $PLAIN $(plain) ${#ALSO_MAPPED}"
      env:
        MAPPED: $(got)
        ALSO_MAPPED: $(also)
  - job: M
    displayName: M $(got)
    dependsOn: A
    variables:
      got: $[ dependencies.A.outputs['set.v'] ]
    strategy:
      matrix:
        one: {n: 1}
    steps:
    - bash: echo "cell ${#MAPPED}"
      env:
        MAPPED: $(got)
- stage: Use
  condition: and(succeeded(), startsWith(dependencies.Build.outputs['A.set.v'], 's3cr3t-'))
  variables:
    far: $[ stageDependencies.Build.A.outputs['set.v'] ]
  jobs:
  - job: D
    steps:
    - bash: echo "far ${#MAPPED}" && test ! -e fail
      env:
        MAPPED: $(far)
`, "fail": ""})
	r, seen := w.run(launch.Order{NoReuse: true})
	log := seen.log.String()
	for _, want := range []string{"got [***] env [] length 11 plain plain plain 13", "cell 11", "far 11"} {
		if !strings.Contains(log, want) {
			t.Errorf("not shown: %q", want)
		}
	}
	if r.Verdict != plan.Failure || strings.Contains(log, secret) {
		t.Errorf("%s (%s)\n%s", r.Verdict, r.Why, log)
	}
	for e, err := range w.l.Store.After(t.Context(), 0) {
		w.must(err)
		body, err := json.Marshal(e.Body)
		w.must(err)
		if strings.Contains(string(body), secret) {
			t.Errorf("the secret is in %s of %s: %s", e.Kind(), e.Job, body)
		}
	}
	// What goes on from that run does not know it, and says so.
	again := &watcher{jobs: map[string]plan.Verdict{}}
	r, err := w.l.Rerun(t.Context(), r.Run, launch.Again{NoReuse: true, Again: record.Again{Failed: true}}, launch.Watcher{Observer: again})
	w.must(err)
	if r.Verdict == plan.Success || !strings.Contains(again.log.String(), "is a secret, whose value is not kept") {
		t.Errorf("again: %s (%s)\n%s", r.Verdict, r.Why, &again.log)
	}
}

func TestDeployments(t *testing.T) {
	check(t, []probe{{
		name: "run once",
		flow: `
jobs:
- job: Make
  steps:
  - bash: mkdir out && echo hello > out/file
  - publish: out
    artifact: drop
- deployment: D
  dependsOn: Make
  environment: staging.web
  strategy:
    runOnce:
      deploy:
        steps:
        - bash: |
            echo "deploy $(Environment.Name) $(cat $(Pipeline.Workspace)/drop/file)"
            echo "##vso[task.setvariable variable=v;isOutput=true]deployed"
          name: s
- job: After
  dependsOn: D
  variables:
    got: $[ dependencies.D.outputs['D.s.v'] ]
  steps:
  - bash: echo "after $(got)"
`,
		shown: []string{"deploy staging hello", "after deployed"},
	}, {
		name: "hooks, and what is done when one fails",
		flow: `
jobs:
- deployment: D
  environment: prod
  strategy:
    canary:
      increments: [10, 50]
      preDeploy:
        steps:
        - bash: echo "pre $(strategy.name)"
      deploy:
        steps:
        - download: none
        - bash: |
            echo "deploy $(strategy.increment)"
            test "$(strategy.increment)" != 50
      postRouteTraffic:
        steps:
        - bash: echo "post $(strategy.increment)"
      on:
        failure:
          steps:
          - bash: echo "rolled back $(strategy.action)"
        success:
          steps:
          - bash: echo "never"
`,
		verdict: plan.Failure,
		shown:   []string{"pre canary", "deploy 10", "post 10", "deploy 50", "rolled back reject"}, not: []string{"| post 50", "| never"},
		jobs: map[string]plan.Verdict{"D/onsuccess": plan.Skipped, "D/onfailure": plan.Success, "D/postRouteTraffic_50": plan.Skipped},
	}, {
		name:  "rolling over the resources of an environment",
		files: map[string]string{"fairlead.yaml": "azure:\n  environments:\n    prod: [web-1, web-2, web-3]\n"},
		flow: `
jobs:
- deployment: D
  environment: prod
  strategy:
    rolling:
      maxParallel: 67%
      preDeploy:
        steps:
        - bash: echo "pre $(Environment.ResourceName)"
      deploy:
        steps:
        - download: none
        - bash: |
            echo "deploy $(Environment.ResourceName) of $(Environment.Name)"
            echo "##vso[task.setvariable variable=v;isOutput=true]on $(Environment.ResourceName)"
          name: s
      on:
        success:
          steps:
          - bash: echo "all done"
- job: After
  dependsOn: D
  variables:
    got: $[ dependencies.D.outputs['deploy_web-2.s.v'] ]
  steps:
  - bash: echo "after, $(got)"
`,
		shown: []string{"pre web-1", "pre web-2", "deploy web-3 of prod", "all done", "after, on web-2"},
		jobs:  map[string]plan.Verdict{"D/preDeploy_web-1": plan.Success, "D/deploy_web-3": plan.Success, "D/onsuccess": plan.Success},
	}, {
		name:  "rolling stops at the batch that fails",
		files: map[string]string{"fairlead.yaml": "azure:\n  environments:\n    prod: [web-1, web-2, web-3]\n"},
		flow: `
jobs:
- deployment: D
  environment: prod
  strategy:
    rolling:
      maxParallel: 1
      deploy:
        steps:
        - download: none
        - bash: echo "deploy $(Environment.ResourceName)"; test $(Environment.ResourceName) != web-2
      on:
        failure:
          steps:
          - bash: echo "went wrong"
`,
		verdict: plan.Failure,
		shown:   []string{"deploy web-1", "deploy web-2", "went wrong"}, not: []string{"deploy web-3"},
		jobs: map[string]plan.Verdict{"D/deploy_web-3": plan.Skipped},
	}})
}

func TestConditions(t *testing.T) {
	check(t, []probe{{
		name: "failing and always",
		flow: `
jobs:
- job: A
  steps:
  - bash: exit 3
    displayName: Breaks
  - bash: echo "not reached"
  - bash: echo "status $(Agent.JobStatus)"
    condition: always()
  - bash: echo "on failure"
    condition: failed()
  - bash: echo "either"
    condition: succeededOrFailed()
- job: B
  dependsOn: A
  steps:
  - bash: exit 1
- job: C
  dependsOn: A
  condition: failed('A')
  steps:
  - bash: echo "after the failure"
`,
		verdict: plan.Failure, shown: []string{"status Failed", "on failure", "either", "after the failure"}, not: []string{"| not reached"},
		jobs: map[string]plan.Verdict{"A": plan.Failure, "B": plan.Skipped, "C": plan.Success},
	}, {
		name: "success with issues",
		flow: `
jobs:
- job: A
  steps:
  - bash: exit 3
    continueOnError: true
  - bash: echo "status $(Agent.JobStatus)"
- job: B
  dependsOn: A
  condition: eq(dependencies.A.result, 'SucceededWithIssues')
  steps:
  - bash: echo "b ran"
  - bash: echo "##vso[task.complete result=SucceededWithIssues]"
  - bash: echo "and $(Agent.JobStatus)"
  - bash: echo "##vso[task.complete result=Failed]said so"
`,
		verdict: plan.Failure, shown: []string{"status SucceededWithIssues", "b ran", "and SucceededWithIssues", "said so"},
	}, {
		name: "standard error, retries, disabled steps",
		flow: `
steps:
- bash: |
    n=$(cat count 2>/dev/null || echo 0); echo $((n+1)) > count; echo "try $n"
    test $n -ge 2
  retryCountOnTaskFailure: 3
- bash: exit 9
  enabled: false
- bash: echo "fine"; echo "oops" >&2
  failOnStderr: true
`,
		verdict: plan.Failure, shown: []string{"try 0", "try 2", "fine", "oops", "standard error stream"}, not: []string{"try 3"},
	}})
}

func TestManual(t *testing.T) {
	flow := `
stages:
- stage: Build
  jobs: [{job: A, steps: [{bash: echo built}]}]
- stage: Release
  trigger: manual
  jobs: [{job: B, steps: [{bash: echo released}]}]
`
	check(t, []probe{{
		name: "waits for a person", flow: flow, shown: []string{"| built"}, not: []string{"| released"},
		jobs: map[string]plan.Verdict{"Release": plan.Skipped},
	}, {
		name: "that a person asked for", flow: flow, order: launch.Order{Play: []string{"Release"}}, shown: []string{"| built", "| released"},
	}})
}

func TestTasks(t *testing.T) {
	check(t, []probe{{
		name: "files",
		flow: `
steps:
- bash: mkdir -p src/a && echo 1 > src/a/x.txt && echo 2 > src/y.log
- task: CopyFiles@2
  inputs:
    SourceFolder: src
    Contents: |
      **
      !**/*.log
    TargetFolder: $(Build.ArtifactStagingDirectory)
- bash: cd $(Build.ArtifactStagingDirectory) && find . -type f
- task: ArchiveFiles@2
  inputs:
    rootFolderOrFile: src
    archiveFile: $(Build.ArtifactStagingDirectory)/all.zip
- task: ExtractFiles@1
  inputs:
    archiveFilePatterns: $(Build.ArtifactStagingDirectory)/*.zip
    destinationFolder: unpacked
- bash: cat unpacked/src/a/x.txt unpacked/src/y.log
- task: DeleteFiles@1
  inputs:
    SourceFolder: unpacked
    Contents: '**/*.log'
- bash: ls unpacked/src
- task: PublishBuildArtifacts@1
- task: DownloadPipelineArtifact@2
  inputs:
    artifact: drop
    path: back
- bash: echo "back $(cat $(Pipeline.Workspace)/back/a/x.txt)"
- task: Bash@3
  inputs:
    filePath: say.sh
    arguments: one 'two three'
- task: Own@4
  inputs:
    some input: hi
`,
		files: map[string]string{"say.sh": "echo \"said $1 $2\"\n", "fairlead.yaml": "azure:\n  tasks:\n    Own@4: echo \"stand-in $INPUT_SOME_INPUT\"\n"},
		shown: []string{"./a/x.txt", "back 1", "said one two three", "stand-in hi"}, not: []string{"./y.log"},
	}, {
		name: "a version that is not here",
		flow: "steps:\n- task: UsePythonVersion@0\n  inputs: {versionSpec: 2.1}\n- task: UsePythonVersion@0\n  condition: always()\n",
		// Without python3 the same is said in other words.
		verdict: plan.Fault,
	}, {
		name: "unknown task",
		flow: `
steps:
- task: AzureRmWebAppDeployment@4
  inputs: {x: y}
- bash: echo "still"
  condition: always()
`,
		verdict: plan.Fault, shown: []string{"AzureRmWebAppDeployment@4 is not built in", "still"},
	}, {
		name: "several checkouts",
		flow: `
resources:
  repositories:
  - repository: tools
    type: git
    name: team/tools
    ref: refs/heads/stable
steps:
- checkout: self
- checkout: tools
- bash: |
    cat tools/which
    ls
    test -f */azure-pipelines.yml && echo "self is there"
- checkout: tools
  path: elsewhere
- bash: cat $(Pipeline.Workspace)/elsewhere/which
`,
		shown: []string{"team/tools@stable", "self is there"},
	}, {
		name: "test reports",
		flow: `
steps:
- bash: |
    cat > TEST-x.xml <<X
    <testsuite name="s" tests="2" failures="1"><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></testsuite>
    X
- task: PublishTestResults@2
  inputs:
    testResultsFiles: '**/TEST-*.xml'
    failTaskOnFailedTests: true
`,
		verdict: plan.Failure, shown: []string{"2 tests, 1 failed", "1 tests failed"},
	}})
}

func TestCache(t *testing.T) {
	check(t, []probe{{
		name:  "saved by one job, restored by the next",
		files: map[string]string{"lock": "v1"},
		flow: `
jobs:
- job: A
  steps:
  - task: Cache@2
    inputs: &cache
      key: 'deps | "$(Agent.OS)" | ./lock'
      restoreKeys: deps
      path: $(Build.SourcesDirectory)/deps
      cacheHitVar: HIT
  - bash: echo "A hit $(HIT)"; mkdir -p deps; echo kept > deps/file
- job: B
  dependsOn: A
  steps:
  - task: Cache@2
    inputs: *cache
  - bash: echo "B hit $(HIT) $(cat deps/file)"
`,
		shown: []string{"A hit false", "B hit true kept"},
	}})
}

// A counter counts the runs of its pipeline for each prefix by itself; a run that
// repeats another has the other's numbers.
func TestCounter(t *testing.T) {
	t.Parallel()
	flow := "variables:\n  line: %s\n  patch: $[ counter(variables.line, 10) ]\nsteps:\n- bash: echo \"this is $(line).$(patch)\"\n"
	w := newWorld(t, map[string]string{"azure-pipelines.yml": fmt.Sprintf(flow, "v1")})
	says := func(want string) launch.Result {
		t.Helper()
		r, seen := w.run(launch.Order{NoReuse: true})
		if r.Verdict != plan.Success || !strings.Contains(seen.log.String(), "this is "+want) {
			t.Errorf("%s (%s), want %s\n%s", r.Verdict, r.Why, want, &seen.log)
		}
		return r
	}
	says("v1.10")
	second := says("v1.11")
	w.place.Write(map[string]string{"azure-pipelines.yml": fmt.Sprintf(flow, "v2")})
	says("v2.10")
	seen := &watcher{jobs: map[string]plan.Verdict{}}
	r, err := w.l.Rerun(t.Context(), second.Run, launch.Again{NoReuse: true}, launch.Watcher{Observer: seen})
	if err != nil || r.Verdict != plan.Success || !strings.Contains(seen.log.String(), "this is v1.11") {
		t.Errorf("repeated: %s (%s), %v\n%s", r.Verdict, r.Why, err, &seen.log)
	}
	w.place.Write(map[string]string{"azure-pipelines.yml": fmt.Sprintf(flow, "v1")})
	says("v1.12")
}
