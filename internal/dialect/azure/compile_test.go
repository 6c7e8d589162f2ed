package azure

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

var _ dialect.Dialect = (*Dialect)(nil)

const ciFile = "azure-pipelines.yml"

// tree makes a tree of files: name, body, name, body.
func tree(files ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fs[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fs
}

// push is a change that most tests answer to.
func push() *plan.Change {
	return &plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), Repository: "team/app", Server: "https://example.com", DefaultBranch: "main", Actor: "ada"}
}

// compile compiles one pipeline.
func compile(t *testing.T, body string, change *plan.Change, more ...string) (*plan.Pipeline, []plan.Problem) {
	t.Helper()
	pipelines, problems, err := New(Config{}).Compile(t.Context(), tree(append([]string{ciFile, body}, more...)...), change)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(pipelines, func(p plan.Pipeline) bool { return p.File == ciFile })
	if i < 0 {
		t.Fatal("the pipeline was not compiled")
	}
	return &pipelines[i], problems
}

// sketchOf writes the jobs of a plan, a line each.
func sketchOf(d *Dialect, jobs []plan.Job, indent string) string {
	var b strings.Builder
	for i := range jobs {
		j := &jobs[i]
		fmt.Fprintf(&b, "%s%s", indent, j.ID)
		if len(j.Needs) > 0 {
			fmt.Fprintf(&b, " needs %s", strings.Join(j.Needs, ","))
		}
		if !j.If.IsZero() {
			fmt.Fprintf(&b, " if %s", j.If.Text)
		}
		if len(j.Place.Labels) > 0 {
			fmt.Fprintf(&b, " on %s", strings.Join(j.Place.Labels, ","))
		}
		if c := j.Place.Container; c != nil {
			fmt.Fprintf(&b, " in %s", c.Image)
		}
		if j.Environment != nil {
			fmt.Fprintf(&b, " to %s", j.Environment.Name)
		}
		for _, s := range j.Steps {
			name := ""
			if s.Use != nil {
				name = s.Use.Ref
			} else {
				name = s.Run.Shell.Text
			}
			fmt.Fprintf(&b, " %s", name)
		}
		b.WriteByte('\n')
		if j.Deferred != nil {
			if x, ok := d.Preview(j, &plan.Context{}); ok {
				b.WriteString(sketchOf(d, x.Jobs, indent+"  "))
			} else {
				b.WriteString(indent + "  ?\n")
			}
		}
	}
	return b.String()
}

func TestCompile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, want string }{
		"steps alone": {"pool: {vmImage: ubuntu-latest}\nsteps:\n- script: a\n- task: Npm@1", "Job on ubuntu-latest script Npm@1\n"},
		"jobs": {"jobs:\n- job: A\n  pool: server\n- job: B\n  dependsOn: a\n  condition: always()\n  steps:\n  - bash: x\n- job:\n  dependsOn: [A, B]",
			"A on server\nB needs A if always() bash\nJob3 needs A,B\n"},
		"stages": {"stages:\n- stage: S\n  jobs:\n  - job: A\n    steps: [{bash: x}]\n  - job: B\n    dependsOn: A\n- stage: T\n- stage: U\n  dependsOn: []\n- stage:\n  dependsOn: [S, U]\n  trigger: manual",
			"S\n  S/A bash\n  S/B needs A\nT needs S\nU\nStage4 needs S,U if when a person asks: \n"},
		"matrix": {"jobs:\n- job: M\n  pool: {vmImage: $(os)}\n  strategy:\n    matrix:\n      l: {os: ubuntu-latest}\n      w: {os: windows-latest}\n  steps: [{bash: x}]",
			"M bash\n  M/l on ubuntu-latest bash\n  M/w on windows-latest bash\n"},
		"parallel":              {"strategy: {parallel: 2}\nsteps: [{bash: x}]", "Job bash\n  Job/job1 bash\n  Job/job2 bash\n"},
		"matrix at run time":    {"jobs:\n- job: M\n  strategy:\n    matrix: $[ dependencies.A.outputs['s.m'] ]\n  steps: [{bash: x}]", "M bash\n  ?\n"},
		"pool of a variable":    {"variables: {image: ubuntu-22.04}\npool: {vmImage: $(image)}\nsteps: [{bash: x}]", "Job on ubuntu-22.04 bash\n"},
		"pool of later":         {"pool: {name: $(pool)}\nsteps: [{bash: x}]", "Job bash\n  Job/job on $(pool) bash\n"},
		"container by name":     {"resources:\n  containers:\n  - container: dev\n    image: alpine:3\ncontainer: dev\nsteps: [{bash: x}]", "Job in alpine:3 bash\n"},
		"container of a matrix": {"resources:\n  containers:\n  - container: a\n    image: alpine:3\njobs:\n- job: M\n  strategy: {matrix: {x: {c: a}}}\n  container: $[ variables['c'] ]\n  steps: [{bash: x}]", "M bash\n  M/x in alpine:3 bash\n"},
		"deployment":            {"jobs:\n- deployment: D\n  environment: prod.web\n  strategy: {runOnce: {deploy: {steps: [{bash: x}]}}}", "D to prod DownloadPipelineArtifact@2 bash\n"},
		"rolling": {"jobs:\n- deployment: D\n  environment: {name: prod, resourceName: web}\n  strategy: {rolling: {preDeploy: {steps: [{bash: x}]}, deploy: {steps: [{download: none}]}, on: {failure: {steps: [{bash: x}]}}}}",
			"D to prod\n  D/preDeploy_web on web to prod bash\n  D/deploy_web needs preDeploy_web on web to prod DownloadPipelineArtifact@2\n  D/onfailure needs deploy_web if failed() to prod bash\n"},
		"a person is asked": {"jobs:\n- job: Ask\n  pool: server\n  steps: [{task: ManualValidation@0}]", "Ask if when a person asks:  on server ManualValidation@0\n"},
		"phases":            {"phases:\n- phase: P\n  queue: {name: mine, parallel: 2}\n  steps: [{script: x}]", "P script\n  P/job1 on mine script\n  P/job2 on mine script\n"},
		"disabled":          {"steps:\n- bash: x\n  enabled: false", "Job bash\n"},
		"shortcuts":         {"steps:\n- publish: a\n- download: current\n- pwsh: x\n- checkout: none", "Job PublishPipelineArtifact@1 DownloadPipelineArtifact@2 pwsh checkout\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := compile(t, c.body, push())
			for _, x := range problems {
				t.Errorf("problem: %s", x)
			}
			if got := sketchOf(New(Config{}), p.Jobs, ""); got != c.want {
				t.Errorf("\n got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, want string
		line       int
	}{
		"unknown key":         {"steps: []\nstage: x", "Unexpected value 'stage'", 2},
		"unknown step":        {"steps:\n- scrpt: x", "Unexpected value 'scrpt'", 2},
		"unknown key below":   {"steps:\n- script: x\n  displayname: y", "Unexpected value 'displayname'", 3},
		"list for a mapping":  {"pool: [a]\nsteps: []", "A sequence was not expected", 1},
		"no boolean":          {"steps:\n- script: x\n  continueOnError: '#'", "Unexpected value '#'", 3},
		"unknown need":        {"jobs:\n- job: A\n  dependsOn: B", "A depends on B, which there is not", 3},
		"itself":              {"jobs:\n- job: A\n  dependsOn: A", "depends on itself", 3},
		"circle":              {"jobs:\n- job: A\n  dependsOn: B\n- job: B\n  dependsOn: A", "wait for each other", 0},
		"same name":           {"jobs:\n- job: A\n- job: a", "is there already, at line 2", 3},
		"bad name":            {"jobs:\n- job: a/b", "holds a character", 2},
		"same step name":      {"steps:\n- bash: x\n  name: s\n- bash: y\n  name: S", "another step", 5},
		"bad condition":       {"steps:\n- bash: x\n  condition: a b", "Unexpected symbol: 'b'", 3},
		"unknown function":    {"steps:\n- bash: x\n  condition: success()", "Unrecognized function: 'success'", 3},
		"parameters too late": {"parameters: [{name: a, default: x}]\nsteps:\n- bash: x\n  condition: eq(parameters.a, 'x')", "Unrecognized named-value: 'parameters'", 4},
		"host in a container": {"container: alpine\nsteps:\n- bash: x\n  target: host", "target: host is not looked at", 3},
		"unknown checkout":    {"steps:\n- checkout: lib", "not named in resources", 2},
		"unknown task":        {"steps:\n- task: No@1", "No@1 is not built in", 2},
		"service connection":  {"steps:\n- task: Docker@2\n  inputs:\n    command: login\n    containerRegistry: ours", "the service connection ours is kept on the server", 5},
		"feed":                {"steps:\n- task: Npm@1\n  inputs: {command: install, customFeed: f}", "the feed f is kept on the server", 3},
		"rolling":             {"jobs:\n- deployment: D\n  environment: prod\n  strategy: {rolling: {deploy: {steps: []}}}", "the resources of the environment prod", 3},
		"unknown version":     {"steps:\n- task: Npm@9", "not in the version", 2},
		"no YAML":             {"a: [", "not valid YAML", 0},
		"empty":               {"", "is empty", 1},
		"bad timeout":         {"jobs:\n- job: A\n  timeoutInMinutes: soon", "must be a number", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := compile(t, c.body, nil)
			for _, p := range problems {
				if strings.Contains(p.Message, c.want) {
					if c.line > 0 && p.Line != c.line {
						t.Errorf("at line %d, want %d: %s", p.Line, c.line, p)
					}
					return
				}
			}
			t.Errorf("no problem says %q: %v", c.want, problems)
		})
	}
}

// What is out of reach is named, and the rest runs.
func TestDegraded(t *testing.T) {
	t.Parallel()
	body := "resources:\n  repositories:\n  - repository: lib\n    name: other/lib\nstages:\n- template: a.yml@lib\n- stage: Mine\n  dependsOn: Theirs\n  jobs: [{job: J, steps: [{bash: x}]}]"
	p, problems := compile(t, body, push())
	if plan.Errors(problems) || len(problems) != 1 || !strings.Contains(problems[0].Message, "a.yml of the repository other/lib") || problems[0].Line != 6 {
		t.Errorf("%v", problems)
	}
	if got := sketchOf(New(Config{}), p.Jobs, ""); got != "Mine\n  Mine/J bash\n" || !p.Start.Yes {
		t.Errorf("%s, starts: %v", got, p.Start)
	}
}

// What a file passes to a template that is out of reach is what is known of
// the pipeline.
func TestDegradedExtends(t *testing.T) {
	t.Parallel()
	body := "resources:\n  repositories:\n  - repository: lib\n    name: other/lib\nvariables: {v: x}\nextends:\n  template: a.yml@lib\n  parameters:\n    sdl: {}\n    stages:\n    - stage: S\n      jobs: [{job: J, steps: [{bash: '${{ variables.v }}'}]}]"
	p, problems := compile(t, body, push())
	if plan.Errors(problems) || len(problems) != 1 {
		t.Errorf("%v", problems)
	}
	if got := sketchOf(New(Config{}), p.Jobs, ""); got != "S\n  S/J bash\n" {
		t.Error(got)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	pull := &plan.Change{Event: "pull_request", Ref: "refs/pull/7/merge", BaseRef: "main", HeadRef: "topic"}
	on := func(ref string, files ...string) *plan.Change {
		return &plan.Change{Event: "push", Ref: ref, Files: files, FilesKnown: files != nil}
	}
	for name, c := range map[string]struct {
		head   string
		change *plan.Change
		yes    bool
		why    string
	}{
		"no trigger":         {"", on("refs/heads/x"), true, "every branch"},
		"none":               {"trigger: none", on("refs/heads/main"), false, "trigger: none"},
		"list":               {"trigger: [main, 'release/*']", on("refs/heads/release/1/2"), true, "release/1/2 matches branches: release/*"},
		"not in the list":    {"trigger: [main]", on("refs/heads/x"), false, "matches none"},
		"excluded":           {"trigger: {branches: {include: ['*'], exclude: [old*]}}", on("refs/heads/old1"), false, "taken out of branches by old*"},
		"only excluded":      {"trigger: {branches: {exclude: [old*]}}", on("refs/heads/new"), true, "not excluded"},
		"path":               {"trigger: {branches: [main], paths: {include: [src]}}", on("refs/heads/main", "src/a/b.c"), true, "changes src/a/b.c"},
		"path not":           {"trigger: {branches: [main], paths: {include: [src], exclude: ['src/*.md']}}", on("refs/heads/main", "src/a.md", "doc/x"), false, "none of the 2"},
		"path unknown":       {"trigger: {paths: [src]}", on("refs/heads/main"), true, "every path counts"},
		"tag":                {"trigger: [main]", on("refs/tags/v1"), false, "names no tags"},
		"tag wanted":         {"trigger: {tags: [v*]}", on("refs/tags/v1"), true, "v1 matches tags: v*"},
		"branch, only tags":  {"trigger: {tags: [v*]}", on("refs/heads/main"), false, "only names tags"},
		"pull request":       {"trigger: none", pull, true, "into main"},
		"pull request off":   {"pr: none", pull, false, "pr: none"},
		"pull request into":  {"pr: [release/*]", pull, false, "matches none"},
		"by hand":            {"trigger: none\npr: none", &plan.Change{Event: "workflow_dispatch"}, true, "by hand"},
		"schedule":           {"schedules:\n- cron: '0 0 * * *'\n  branches: {include: [main]}", &plan.Change{Event: "schedule", Ref: "refs/heads/main"}, true, "0 0 * * *"},
		"schedule elsewhere": {"schedules:\n- cron: '0 0 * * *'\n  branches: {include: [main]}", &plan.Change{Event: "schedule", Ref: "refs/heads/x"}, false, "no schedule"},
		"something else":     {"", &plan.Change{Event: "release"}, false, "not started by release"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems := compile(t, c.head+"\nsteps:\n- bash: x\n", c.change)
			if len(problems) > 0 || p.Start.Yes != c.yes || !strings.Contains(p.Start.Why, c.why) {
				t.Errorf("%v: %v; want %v, %s", problems, p.Start, c.yes, c.why)
			}
		})
	}
	p, _ := compile(t, "schedules: [{cron: '0 1 * * *'}, {cron: '5 * * * *'}]\nsteps: []", nil)
	if got := New(Config{}).Schedules(p); !slices.Equal(got, []string{"0 1 * * *", "5 * * * *"}) {
		t.Errorf("schedules %q", got)
	}
}

func TestInputs(t *testing.T) {
	t.Parallel()
	body := "parameters:\n- name: flag\n  type: boolean\n  default: false\n- name: kind\n  type: string\n  values: [a, b]\n- name: list\n  type: object\n  default: [x]\n- name: must\n  type: number\n" +
		"steps:\n- ${{ if parameters.flag }}:\n  - bash: flag\n- ${{ each x in parameters.list }}:\n  - bash: ${{ x }} ${{ parameters.kind }}\n"
	change := push()
	change.Inputs = map[string]string{"Flag": "true", "list": "[p, q]", "kind": "b", "must": "3"}
	p, problems := compile(t, body, change)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var texts []string
	for _, s := range p.Jobs[0].Steps {
		texts = append(texts, s.Run.Text.Text)
	}
	if !slices.Equal(texts, []string{"flag", "p b", "q b"}) {
		t.Errorf("%q", texts)
	}
	d := New(Config{})
	for name, c := range map[string]struct {
		given map[string]string
		want  string
	}{
		"missing":  {nil, "A value for the 'must' parameter must be provided"},
		"unknown":  {map[string]string{"must": "1", "x": "y"}, `no parameter "x"`},
		"no bool":  {map[string]string{"must": "1", "flag": "x"}, "true or false"},
		"no num":   {map[string]string{"must": "x"}, "a number"},
		"no value": {map[string]string{"must": "1", "kind": "c"}, "one of a, b"},
	} {
		if _, problems := d.Inputs(p, c.given); !slices.ContainsFunc(problems, func(x plan.Problem) bool { return strings.Contains(x.Message, c.want) }) {
			t.Errorf("%s: %v", name, problems)
		}
	}
	if values, _ := d.Inputs(p, map[string]string{"must": "2"}); values["flag"] != false || values["must"] != 2.0 {
		t.Errorf("with defaults: %v", values)
	}
	if kinds := []string{p.Inputs[0].Type, p.Inputs[1].Type, p.Inputs[3].Type}; !slices.Equal(kinds, []string{"boolean", "choice", "number"}) || !p.Inputs[3].Required {
		t.Errorf("%+v", p.Inputs)
	}
}

func TestRunName(t *testing.T) {
	t.Parallel()
	p, _ := compile(t, "name: $(BuildDefinitionName)_$(SourceBranchName)_$(Rev:rrr)-$(version)\nvariables: {version: 1.2}\nsteps: [{bash: x}]", push())
	v, err := New(Config{}).Eval(p.RunName, dialect.Text, &plan.Scope{Context: &plan.Context{Pipeline: p, Change: push(), Number: 7}})
	if err != nil || v != "azure-pipelines_main_007-1.2" {
		t.Errorf("%v, %v", v, err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	files := tree("azure-pipelines.yml", "steps: [{bash: x}]", ".azuredevops/build.yml", "trigger: none\nsteps: [{bash: x}]",
		".azure-pipelines/steps.yml", "parameters: {a: 1}\nsteps: []", "other.yml", "steps: []", "azure-pipelines.release.yml", "steps: [{bash: x}]")
	pipelines, _, err := New(Config{}).Compile(t.Context(), files, push())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pipelines {
		names = append(names, p.File)
	}
	if want := []string{"azure-pipelines.yml", "azure-pipelines.release.yml", ".azuredevops/build.yml"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"trigger: [main]\nsteps:\n- script: $(a)\n", "stages:\n- stage: A\n  jobs:\n  - deployment: D\n    strategy: {canary: {increments: [1], deploy: {steps: []}}}\n",
		"jobs:\n- job: A\n  strategy: {matrix: {a: {b: c}}}\n  container: $[ variables.x ]\n", "phases:\n- phase: x\n  queue: {parallel: 2, matrix: {}}\n", "resources: [{repo: self}]\npool: {demands: a}\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d := New(Config{})
		pipelines, _, err := d.Compile(t.Context(), tree(ciFile, body), push())
		if err != nil {
			t.Fatal(err)
		}
		for i := range pipelines {
			p := &pipelines[i]
			c := &plan.Context{Pipeline: p, Change: push(), RunID: "1", Number: 1}
			_, _ = d.Eval(p.RunName, dialect.Text, &plan.Scope{Context: c})
			for k := range p.Jobs {
				_, _ = d.Eval(p.Jobs[k].If, dialect.Condition, &plan.Scope{Context: c, Job: &p.Jobs[k], Status: plan.Success})
				_, _ = d.Preview(&p.Jobs[k], c)
			}
		}
	})
}
