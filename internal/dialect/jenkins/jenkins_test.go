package jenkins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/jenkinstest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestCorpus compiles real Jenkinsfiles: each without errors, or with problems
// that say where and why.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := jenkinstest.Corpus(t, "jenkins")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{})
	counts := map[bool][2]int{} // declarative or not: compiled, all
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".gdsl") {
			continue // is no Jenkinsfile
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		pipelines, problems, err := d.Compile(t.Context(), tree("Jenkinsfile", string(body)), push())
		if err != nil || len(pipelines) != 1 {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		clean := true
		for _, p := range problems {
			if p.Line == 0 || p.Message == "" || p.Rule == "" {
				t.Errorf("%s: a problem without place or cause: %+v", e.Name(), p)
			}
			if p.Severity == plan.Error {
				clean = false
				t.Logf("%s: %s", e.Name(), p)
				t.Attr("scoreboard-rest", fmt.Sprintf("jenkins-corpus %s: %s", e.Name(), p.Message))
			}
		}
		declarative := strings.Contains(string(body), "pipeline {") || strings.Contains(string(body), "pipeline{")
		n := counts[declarative]
		n[1]++
		if clean {
			n[0]++
		}
		counts[declarative] = n
	}
	t.Logf("%d of %d declarative and %d of %d scripted Jenkinsfiles of the corpus compile", counts[true][0], counts[true][1], counts[false][0], counts[false][1])
	t.Attr("scoreboard", fmt.Sprintf("jenkins-corpus %d/%d %d declarative, %d scripted", counts[true][0]+counts[false][0], counts[true][1]+counts[false][1], counts[true][1], counts[false][1]))
	for kind, least := range map[bool]int{true: 95, false: 80} {
		if n := counts[kind]; n[0]*100 < n[1]*least {
			t.Errorf("declarative %v: %d of %d, want %d %%", kind, n[0], n[1], least)
		}
	}
}

// TestCorpusRuns goes through real Jenkinsfiles with commands that do nothing.
// What ends one may be a library that nobody has, a plug-in's step, or the
// file's own judgement of an empty output; never a fault of ours.
func TestCorpusRuns(t *testing.T) {
	t.Parallel()
	dir := jenkinstest.Corpus(t, "jenkins")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended, all := 0, 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".gdsl") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all++
		w := newWorld(t, push(), "Jenkinsfile", string(body))
		w.dry = true
		homes := map[string]any{}
		for _, m := range names.FindAllStringSubmatch(string(body), -1) {
			name := secretName(m[1])
			w.scope.Secrets[name], w.scope.Secrets[name+"_USR"], w.scope.Secrets[name+"_PSW"] = "secret-"+name, "user", "password-"+name
			homes[m[1]] = t.TempDir()
		}
		w.scope.Job.Values = map[string]any{"tools": map[string]any{"jdk": homes}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		result, _, err := w.run(ctx)
		if ctx.Err() != nil {
			t.Errorf("%s does not end", e.Name())
		}
		cancel()
		if result == "SUCCESS" || result == "UNSTABLE" {
			ended++
			continue
		}
		t.Logf("%s: %s %v: %s", e.Name(), result, err, last(w.text()))
	}
	t.Logf("%d of %d Jenkinsfiles of the corpus run to a good end with commands that do nothing", ended, all)
}

// names are those of credentials and tools, near enough.
var names = regexp.MustCompile(`(?:credentialsId:|credentials\(|tool|jdk|string\(name:[^)]*defaultValue:)\s*\(?['"]([^'"]+)['"]`)

func TestCompile(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	files := tree(
		"Jenkinsfile", `@Library('acme') _
pipeline {
  agent any
  options { disableConcurrentBuilds(abortPrevious: true) }
  parameters {
    string(name: 'WHO', defaultValue: 'you', description: 'whom to greet')
    booleanParam(name: 'LOUD', defaultValue: true)
    choice(name: 'WHERE', choices: ['here', 'there'])
  }
  triggers { cron('H 4 * * 1-5') }
  stages { stage('a') { steps { echo 'a' } } }
}
`, "Jenkinsfile.nightly", "node { echo 'n' }", "ci/Jenkinsfile", "node {", "Jenkinsfile.md", "no pipeline", "vars/greet.groovy", "def call() {}")
	pipelines, problems, err := d.Compile(t.Context(), files, push())
	if err != nil || len(pipelines) != 3 {
		t.Fatal(len(pipelines), err)
	}
	p := pipelines[0]
	if !p.Start.Yes || len(p.Inputs) != 3 || p.Inputs[2].Default != "here" || p.Concurrency == nil || p.Concurrency.CancelInProgress.IsZero() || p.Events[len(p.Events)-1] != "schedule" || len(p.Texts) != 2 {
		t.Errorf("%+v", p)
	}
	if lines := d.Schedules(&p); len(lines) != 1 || !strings.HasSuffix(lines[0], " 4 * * 1-5") || strings.Contains(lines[0], "H") {
		t.Errorf("schedules: %q", lines)
	}
	var text strings.Builder
	for _, x := range problems {
		text.WriteString(x.String() + "\n")
	}
	for _, want := range []string{`Jenkinsfile:1:1: the pipeline uses the shared library "acme"`, "ci/Jenkinsfile:1:"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %q", want, text.String())
		}
	}
	if pipelines[1].Start.Yes || pipelines[1].Start.Why == "" {
		t.Errorf("a second Jenkinsfile: %+v", pipelines[1].Start)
	}
	if pipelines[2].Start.Yes {
		t.Error("a pipeline that cannot be read would be started")
	}
	values, wrong := d.Inputs(&p, map[string]string{"WHO": "me", "LOUD": "maybe", "WHERE": "nowhere"})
	if values["WHO"] != "me" || len(wrong) != 2 {
		t.Errorf("inputs: %v %v", values, wrong)
	}
	if values, wrong := d.Inputs(&p, nil); len(wrong) > 0 || values["LOUD"] != true || values["WHO"] != "you" {
		t.Errorf("defaults: %v %v", values, wrong)
	}
}

func TestOutline(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	pipelines, problems, err := d.Compile(t.Context(), tree("Jenkinsfile", `pipeline {
  agent any
  environment { LEVEL = 'info'; TOKEN = credentials('api-token') }
  options { timeout(time: 2, unit: 'HOURS') }
  stages {
    stage('Build') { steps { sh "make ${params.TARGET}"; stash name: 'app', includes: 'out/**' } }
    stage('Check') { steps { dir('sub') { withEnv(['A=b']) { sh 'check' } } } }
    stage('Test') {
      parallel {
        stage('unit') { steps { sh 'unit'; junit 'r/*.xml' } }
        stage('lint') { agent { docker 'lint:1' }
          steps { sh 'lint' } }
      }
    }
    stage('Cells') {
      matrix {
        axes { axis { name 'OS'; values 'linux', 'mac' } }
        excludes { exclude { axis { name 'OS'; values 'mac' } } }
        stages { stage('in') { steps { sh 'in $OS' } } }
      }
    }
    stage('Deploy') { when { branch 'main' }
      steps { sh 'deploy'; script { x() } } }
  }
  post { failure { sh 'tell' } }
}`), push())
	if err != nil || plan.Errors(problems) {
		t.Fatal(problems, err)
	}
	o, err := d.Outline(&pipelines[0])
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	for _, j := range d.Stages(&pipelines[0]) {
		stages = append(stages, j.ID+"<-"+strings.Join(j.Needs, "+"))
	}
	if s := strings.Join(stages, ", "); s != "1 Build<-, 2 Check<-1 Build, 3 unit<-2 Check, 4 lint<-2 Check, 5 Cells<-3 unit+4 lint, 6 Deploy<-5 Cells" {
		t.Errorf("stages: %s", s)
	}
	var got []string
	for _, j := range o.Jobs {
		got = append(got, fmt.Sprintf("%s<-%s", j.ID, strings.Join(j.Needs, "+")))
	}
	if s := strings.Join(got, " "); s != "build<- unit<-build lint<-build cells<-unit+lint deploy<-cells post-failure<-build+unit+lint+cells+deploy" {
		t.Errorf("jobs: %s", s)
	}
	build, deploy := o.Jobs[0], o.Jobs[4]
	if len(build.Steps) != 4 || build.Steps[3].Dir[0].Literal != "sub" || build.Steps[3].Env[0].Name != "A" || build.Steps[1].Script[1].Ref != "input TARGET" {
		t.Errorf("build: %+v", build.Steps)
	}
	if deploy.Steps[1].If == nil || deploy.Steps[1].If.Op != "==" || o.Jobs[2].Image.Image != "lint:1" || len(o.Jobs[3].Exclude) != 1 || o.Env[1].Text[0].Ref != "secret API_TOKEN" {
		t.Errorf("%+v", o)
	}
	if !slices.ContainsFunc(o.Lost, func(p plan.Problem) bool { return strings.Contains(p.Message, "the step script") }) {
		t.Errorf("lost: %v", o.Lost)
	}
}

// TestUnknownSteps finds steps that only the build would stumble over, and nothing
// where a name may be anything.
func TestUnknownSteps(t *testing.T) {
	t.Parallel()
	body := func(steps string) string {
		return "pipeline { agent any\n stages { stage('a') {\n steps {\n" + steps + "\n} } } }"
	}
	for name, c := range map[string]struct {
		file string
		more []string
		want string
	}{
		"a slip":            {body("shh 'x'"), nil, "4:1 did you mean sh?"},
		"in a block":        {body("dir('x') {\n timeout(5) { shh 'x' } }"), nil, "5:15 did you mean sh?"},
		"of a plug-in":      {body("uploadSomewhere 'x'"), nil, "4:1 say in fairlead.yaml what stands for it: jenkins: {steps: [{name: uploadSomewhere, script: …}]}"},
		"in post":           {"pipeline { agent any\n stages { stage('a') { steps { sh 'x' } } }\n post { always {\nechoo 'x' } } }", nil, "4:1 did you mean echo?"},
		"known":             {body("sh 'x'\n slackSend 'x'"), nil, ""},
		"in a script":       {body("script { helper() }"), nil, ""},
		"a function":        {"def shh(x) { sh x }\n" + body("shh 'x'"), nil, ""},
		"a stand-in":        {body("upload 'x'"), []string{"fairlead.yaml", "jenkins: {steps: [{name: upload, script: 'true'}]}\n"}, ""},
		"of the tree":       {body("upload 'x'"), []string{"vars/upload.groovy", "def call(x) {}\n"}, ""},
		"perhaps a library": {"@Library('acme') _\n" + body("upload 'x'"), nil, ""},
	} {
		_, problems, err := New(Config{}).Compile(t.Context(), tree(append([]string{"Jenkinsfile", c.file}, c.more...)...), push())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range problems {
			if p.Rule == "step" {
				got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Col, p.Hint))
			}
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: %q, want %q (%v)", name, s, c.want, problems)
		}
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	for _, c := range []struct {
		event, text string
		want        bool
	}{
		{"push", "node { }", true},
		{"pull_request", "node { }", true},
		{"workflow_dispatch", "node { }", true},
		{"schedule", "node { }", false},
		{"schedule", "pipeline { agent any\n triggers { cron('@daily') }\n stages { stage('a') { steps { echo 'a' } } } }", true},
		{"issues", "node { }", false},
	} {
		change := push()
		change.Event = c.event
		pipelines, _, err := d.Compile(t.Context(), tree("Jenkinsfile", c.text), change)
		if err != nil || pipelines[0].Start.Yes != c.want || pipelines[0].Start.Why == "" {
			t.Errorf("%s of %q: %+v", c.event, c.text, pipelines[0].Start)
		}
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"H H * * *": true, "H/15 * * * *": true, "H(0-29)/10 9-16/2 * * 1-5": true, "@daily": true, "@midnight": true, "0 0 1,15 * *": true,
		"H H * *": false, "H(5 * * * *": false, "Hx * * * *": false, "H/0 * * * *": false, "@reboot": false,
	} {
		got, ok := cronLine(line, "job")
		if ok != want || strings.Contains(got, "H") {
			t.Errorf("%q: %q %v", line, got, ok)
		}
		if again, _ := cronLine(line, "job"); again != got {
			t.Errorf("%q: %q and %q", line, got, again)
		}
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	m := parseProperties("# comment\na=1\nb : two words\nc   three\n d = long \\\n    line\n! other\ne\\=f=g\nh=\\u0041\\n\n")
	for name, want := range map[string]string{"a": "1", "b": "two words", "c": "three", "d": "long line", "e=f": "g", "h": "A\n"} {
		if v, _ := m.Text(name); v != want {
			t.Errorf("%s is %q, not %q", name, v, want)
		}
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	c := push()
	if v := changeVariables(c); v["BRANCH_NAME"] != "main" || v["BRANCH_IS_PRIMARY"] != "true" || v["TAG_NAME"] != "" {
		t.Errorf("%v", v)
	}
	c.Ref = "refs/tags/v1"
	if v := changeVariables(c); v["TAG_NAME"] != "v1" || v["BRANCH_NAME"] != "v1" {
		t.Errorf("%v", v)
	}
	c.Event, c.Ref, c.BaseRef, c.HeadRef = "pull_request", "refs/pull/7/merge", "main", "fix"
	if v := changeVariables(c); v["BRANCH_NAME"] != "PR-7" || v["CHANGE_ID"] != "7" || v["CHANGE_TARGET"] != "main" || v["CHANGE_BRANCH"] != "fix" {
		t.Errorf("%v", v)
	}
}

// FuzzRun runs anything with commands that do nothing and small limits: it
// comes to an end, and what ends it is a result or a problem.
func FuzzRun(f *testing.F) {
	f.Add("node { checkout scm\nsh 'x'\nparallel a: { stage('b') { echo 'c' } }, failFast: true }")
	f.Add("pipeline { agent any\n environment { A = \"${B}\"; B = 'c' }\n stages { stage('a') { when { branch 'x' }\n steps { withEnv(['A=b']) { script { env.X = A } } } } }\n post { always { junit 'x' } } }")
	f.Add("withCredentials([string(credentialsId: 'a', variable: 'B')]) { error B }")
	f.Add("properties([parameters([string(name: 'a')])])\ndocker.image('x').inside('-v') { retry(2) { catchError { tool 'x' } } }\ncurrentBuild.result = params.a")
	f.Add("step([$class: 'JUnitResultArchiver', testResults: '**'])\ncheckout([$class: 'GitSCM', branches: [[name: 'x']], userRemoteConfigs: [[url: 'y']]])\ndir(null) { ws { stash([:]) } }")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "sleep") || strings.Contains(text, "waitUntil") || strings.Contains(text, "/") {
			return // it would take its time, or name files of this machine
		}
		w := newWorld(t, push(), "Jenkinsfile", text)
		w.dry = true
		w.d.cfg.Limits = groovy.Limits{Steps: 20_000, Depth: 50, Memory: 1 << 20, Output: 1 << 16}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		result, _, err := w.run(ctx)
		if ctx.Err() != nil {
			t.Error("it does not end")
		}
		var problem *dialect.ProblemError
		if err != nil && !errors.As(err, &problem) {
			t.Errorf("%s: %v", result, err)
		}
	})
}

// FuzzCompile compiles anything: it gives a plan or problems with places.
func FuzzCompile(f *testing.F) {
	f.Add("pipeline { agent any\n parameters { string(name: 'a') }\n triggers { cron('H * * * *') }\n stages { stage('a') { steps { sh 'x' } } } }")
	f.Add("@Library(['a', 'b@c']) _\nnode('x') { checkout scm }")
	f.Add("properties([parameters([choice(name: 'a', choices: 'x\\ny')])])")
	d := New(Config{})
	f.Fuzz(func(t *testing.T, text string) {
		pipelines, problems, err := d.Compile(t.Context(), tree("Jenkinsfile", text), push())
		if err != nil || len(pipelines) != 1 {
			t.Fatal(err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line == 0 {
				t.Errorf("%+v", p)
			}
		}
		d.Schedules(&pipelines[0])
		if _, err := d.Outline(&pipelines[0]); err != nil && !plan.Errors(problems) {
			t.Error(err)
		}
	})
}
