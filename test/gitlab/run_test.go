package gitlab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const file = ".gitlab-ci.yml"

// project is the pipeline of a project that has most things.
const project = `
stages: [build, test, report, deploy]

default:
  cache:
    key:
      files: [deps.lock]
    paths: [deps/]

variables:
  GREETING: "hello from $CI_PROJECT_NAME"

build:
  stage: build
  before_script:
    - if [ -e deps/one ]; then echo "deps from the cache"; else mkdir -p deps; cp deps.lock deps/one; echo "deps made"; fi
  script:
    - mkdir bin
    - printf '#!/bin/sh\necho built %s\n' "$CI_COMMIT_SHORT_SHA" > bin/app
    - chmod +x bin/app
    - echo "VERSION=1.2" >> build.env
    - echo "NOTES=$CI_COMMIT_TITLE" >> build.env
  artifacts:
    name: "app-$CI_COMMIT_REF_SLUG"
    paths: [bin/]
    expire_in: 1 week
    reports:
      dotenv: build.env

unit:
  stage: test
  parallel:
    matrix:
      - SUITE: [api, ui]
  script:
    - ./bin/app
    - echo "$SUITE at $VERSION, $GREETING"
    - mkdir -p reports
    - |
      cat > reports/$SUITE.xml <<EOF
      <testsuite name="$SUITE" tests="2"><testcase name="one"/><testcase name="two"/></testsuite>
      EOF
    - echo "Total coverage 87.5%"
  coverage: '/Total coverage \d+\.\d+/'
  artifacts:
    when: always
    reports:
      junit: reports/*.xml

lint:
  stage: test
  needs: []
  script:
    - if [ -e bin/app ]; then exit 1; fi
    - exit 3
  after_script:
    - echo "afterwards, $CI_JOB_STATUS"
  allow_failure:
    exit_codes: 3

flaky:
  stage: test
  cache: []
  needs: [build]
  script:
    - echo attempt >> "$MARKS/flaky"
    - test "$(wc -l < "$MARKS/flaky")" -ge 2
  retry: 1

summary:
  stage: report
  needs:
    - job: build
      artifacts: false
  script:
    - if [ -e bin ]; then exit 1; fi
    - echo "version ${VERSION-unknown}"

notes:
  stage: report
  dependencies: [build]
  script:
    - echo "version $VERSION of $NOTES"

deploy:
  stage: deploy
  when: manual
  environment:
    name: production
    url: https://$CI_PROJECT_NAME.example
  script:
    - ./bin/app
    - echo "to $CI_ENVIRONMENT_URL as $CI_ENVIRONMENT_SLUG"
`

func TestProject(t *testing.T) {
	t.Parallel()
	marks := t.TempDir()
	p := newPlace(t, map[string]string{file: project, "deps.lock": "one 1.0\n"})
	given := func(o *launch.Order) { o.Vars = map[string]string{"MARKS": marks} }
	e := p.run(given)
	sha := e.Planned.Change.SHA[:8]
	p.want(e, plan.Success, "build=success deploy=skipped flaky=success lint=failure notes=success summary=success unit: [api]=success unit: [ui]=success")
	for job, lines := range map[string][]string{
		"build":       {"deps made"},
		"unit: [api]": {"built " + sha, "api at 1.2, hello from app"},
		"unit: [ui]":  {"ui at 1.2, hello from app"},
		"lint":        {"afterwards, failed"},
		"summary":     {"version unknown"},
		"notes":       {"version 1.2 of The first commit"},
	} {
		for _, line := range lines {
			if !strings.Contains(e.log(job), "\n"+line+"\n") {
				t.Errorf("job %s has not printed %q:\n%s", job, line, e.log(job))
			}
		}
	}
	tests := 0
	for _, id := range []string{"unit: [api]", "unit: [ui]"} {
		for _, r := range e.Jobs[id].Tests {
			tests += r.Passed
		}
		if !strings.Contains(notes(e.Jobs[id]), "coverage 87.5") {
			t.Errorf("%s: notes %s", id, notes(e.Jobs[id]))
		}
	}
	if tests != 4 {
		t.Errorf("%d tests are known, want 4", tests)
	}
	if a := e.Jobs["build"].Artifacts; len(a) != 2 || a[0].Name != "app-main" {
		t.Errorf("build left %+v", a)
	}
	if n := e.Jobs["flaky"].Attempt; n != 2 {
		t.Errorf("flaky was tried %d times", n)
	}

	// A person lets the deployment go on, with what the others have left, in a
	// run that goes on from this one and in one of its own.
	next := p.rerun(e, launch.Again{Again: record.Again{Play: []string{"deploy"}}})
	if next.Jobs["deploy"].Verdict != plan.Success || !strings.Contains(next.log("deploy"), "built "+sha) || next.log("build") != "" {
		t.Errorf("deploy ended in %s and printed\n%s", next.results(), next.log("deploy"))
	}
	again := p.run(given, func(o *launch.Order) { o.Play, o.NoReuse = []string{"deploy"}, true }) // what is reused is not told line by line
	p.want(again, plan.Success, "build=success deploy=success flaky=success lint=failure notes=success summary=success unit: [api]=success unit: [ui]=success")
	if !strings.Contains(again.log("deploy"), "built "+sha) || !strings.Contains(again.log("deploy"), "to https://app.example as production") {
		t.Errorf("deploy printed\n%s", again.log("deploy"))
	}
}

// notes are the annotations of a job's steps.
func notes(j *record.JobRun) string {
	var list []string
	for _, s := range j.Steps {
		if s.Finished != nil {
			for _, n := range s.Finished.Effects.Notes {
				list = append(list, n.Message)
			}
		}
	}
	return strings.Join(list, "; ")
}

func TestCacheGoesFromRunToRun(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{"deps.lock": "1\n", file: `
job:
  cache:
    key: {files: [deps.lock], prefix: $CI_JOB_NAME}
    paths: [deps]
    untracked: true
  script:
    - if [ -e deps/x ]; then echo "found $(cat deps/x) and $(cat other)"; else mkdir deps; cp deps.lock deps/x; echo o > other; echo made; fi
`})
	fresh := func(o *launch.Order) { o.NoReuse = true }
	for i, want := range []string{"made", "found 1 and o", "made"} {
		if i == 2 {
			p.write(map[string]string{"deps.lock": "2\n"})
		}
		if e := p.run(fresh); !strings.Contains(e.log("job"), "\n"+want+"\n") {
			t.Errorf("run %d printed\n%s", i+1, e.log("job"))
		}
	}
}

func TestChildPipelines(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
stages: [generate, trigger]
generate:
  stage: generate
  script:
    - |
      cat > child.yml <<'EOF'
      inner:
        script:
          - echo "inner of $CI_PIPELINE_SOURCE"
          - echo "given $FROM_PARENT"
      EOF
  artifacts:
    paths: [child.yml]
static:
  stage: trigger
  trigger:
    include: static.yml
    strategy: depend
dynamic:
  stage: trigger
  variables:
    FROM_PARENT: a value
  trigger:
    include:
      - artifact: child.yml
        job: generate
    strategy: depend
`, "static.yml": `
one:
  script: [echo one]
  artifacts: {paths: [deps.lock]}
two:
  needs: [one]
  script: ["echo two of $CI_PIPELINE_SOURCE"]
`})
	e := p.run()
	p.want(e, plan.Success, "dynamic/inner=success generate=success static/one=success static/two=success")
	for job, line := range map[string]string{"dynamic/inner": "inner of parent_pipeline\n", "static/two": "two of parent_pipeline\n"} {
		if !strings.Contains(e.log(job), line) {
			t.Errorf("%s printed\n%s", job, e.log(job))
		}
	}
	if !strings.Contains(e.log("dynamic/inner"), "given a value\n") {
		t.Errorf("dynamic/inner printed\n%s", e.log("dynamic/inner"))
	}
}

func TestWhatFollowsAFailure(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
stages: [one, two, three]
breaks:
  stage: one
  script: [echo left > f, "false"]
  artifacts: {paths: [f], when: on_failure}
  after_script: [echo after]
next: {stage: two, script: [echo no]}
rescue: {stage: two, when: on_failure, script: [cat f]}
cleanup: {stage: three, when: always, script: [echo clean]}
`})
	e := p.run()
	p.want(e, plan.Failure, "breaks=failure cleanup=success next=skipped rescue=success")
	if !strings.Contains(e.log("rescue"), "left\n") || !strings.Contains(e.log("breaks"), "after\n") {
		t.Errorf("rescue printed\n%s\nbreaks printed\n%s", e.log("rescue"), e.log("breaks"))
	}
}

// TestReuse: what was done before is not done again, artifacts and caches
// included.
func TestReuse(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{"src": "source\n", "unused": "", file: `
stages: [build, test]
build:
  stage: build
  script: [mkdir out, cp src out/app, echo V=1 > e.env]
  artifacts: {paths: [out], reports: {dotenv: e.env}}
test:
  stage: test
  script: [cat out/app, 'echo "version $V"']
`})
	p.want(p.run(), plan.Success, "build=success test=success")
	reused := func(e *ended) (names []string) {
		for _, id := range e.Order {
			for _, s := range e.Jobs[id].Steps {
				if s.Finished != nil && s.Finished.Reuse != nil && s.Finished.Reuse.From != nil {
					names = append(names, id+"/"+s.Key)
				}
			}
		}
		return names
	}
	p.write(map[string]string{"unused": "changed"})
	p.git("commit", "-q", "-a", "-m", "nothing that matters")
	again := p.run()
	p.want(again, plan.Success, "build=success test=success")
	if got := fmt.Sprint(reused(again)); got != "[build/script test/script]" {
		t.Errorf("reused %s", got)
	}
	p.write(map[string]string{"src": "other source\n"})
	other := p.run()
	p.want(other, plan.Success, "build=success test=success")
	if len(reused(other)) != 0 || !strings.Contains(other.log("test"), "other source\n") {
		t.Errorf("reused %v:\n%s", reused(other), other.log("test"))
	}
}

func TestWhatFairleadYamlSays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
variables: {REGION: from the file, LOCAL: file}
job:
  image: ruby:3.3
  services: [postgres:16]
  rules: [{if: $REGION == "from the project"}]
  script: ['echo "$REGION, $LOCAL"']
`, "fairlead.yaml": `
gitlab:
  images: ignore
  variables:
    - {name: REGION, value: from the project}
`})
	e := p.run()
	p.want(e, plan.Success, "job=success")
	if log := e.log("job"); !strings.Contains(log, "\nfrom the project, file\n") {
		t.Errorf("the job printed\n%s", log)
	}
	if told := notes(e.Jobs["job"]); strings.Count(told, "ruby:3.3 is ignored") != 1 || !strings.Contains(told, "services are ignored") {
		t.Errorf("told of %s", told)
	}
}

func TestVariablesOfARun(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
variables: {WHO: nobody}
job:
  rules: [{if: $WHO == "Ada"}]
  script:
    - 'echo "for $WHO with $TOKEN"'
    - 'echo "$CI_PIPELINE_SOURCE of $CI_COMMIT_TITLE by $CI_COMMIT_AUTHOR, job $CI_JOB_NAME"'
`})
	e := p.run(func(o *launch.Order) {
		o.Event, o.Inputs, o.Secrets = "workflow_dispatch", map[string]string{"WHO": "Ada"}, map[string]string{"TOKEN": "hunter2222"}
	})
	p.want(e, plan.Success, "job=success")
	for _, want := range []string{"for Ada with ***\n", "web of The first commit by Ada <ada@example.org>, job job\n"} {
		if !strings.Contains(e.log("job"), want) {
			t.Errorf("not printed: %s\n%s", want, e.log("job"))
		}
	}
}

// TestRulesOfARun: rules see what was given with --var, what git says of the commit, and what
// differs from another branch that is here.
func TestRulesOfARun(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{"old": "1", file: `
given: {script: "true", rules: [{if: $WHO == "Ada"}]}
said: {script: "true", rules: [{if: $CI_COMMIT_TITLE == "The second"}]}
new: {script: "true", rules: [{changes: {paths: [new], compare_to: $FROM}}]}
old: {script: "true", rules: [{changes: {paths: [old], compare_to: $FROM}}]}
`})
	p.git("branch", "release")
	p.write(map[string]string{"new": "1"})
	p.git("add", "-A")
	p.git("commit", "-q", "-m", "The second")
	e := p.run(func(o *launch.Order) { o.Vars = map[string]string{"WHO": "Ada", "FROM": "release"} })
	p.want(e, plan.Success, "given=success new=success said=success")
}

// TestFailureEndsThePipeline, if the pipeline says so.
func TestFailureEndsThePipeline(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
workflow: {auto_cancel: {on_job_failure: all}}
bad: {script: exit 1, needs: [may]}
may: {script: exit 1, allow_failure: true}
after: {script: "true", needs: [bad], when: always}
`})
	p.want(p.run(), plan.Failure, "after=cancelled bad=failure may=failure")
}

func TestSections(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
job:
  script:
    - printf 'section_start:1718000000:build[collapsed=true]\r\033[0KBuilding it\n'
    - echo inside; printf '10%%\r100%%\n'
    - printf 'section_end:1718000000:build\r\033[0K\n'
    - echo outside
`})
	e := p.run()
	want := []string{"##[group]Building it\n", "inside\n100%\n", "##[endgroup]\n", "outside\n"}
	log := e.log("job")
	for _, text := range want {
		i := strings.Index(log, text)
		if i < 0 {
			t.Fatalf("no %q in\n%s", text, e.log("job"))
		}
		log = log[i:]
	}
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	p := newPlace(t, map[string]string{file: `
job:
  variables: {GIT_SUBMODULE_STRATEGY: normal}
  script: [cat lib/f]
`})
	lib := newPlace(t, map[string]string{"f": "from the library\n"})
	p.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", lib.dir, "lib")
	p.git("commit", "-q", "-m", "a submodule")
	if e := p.run(); !strings.Contains(e.log("job"), "from the library\n") {
		t.Errorf("with a submodule that is there: %s\n%s", e.results(), e.log("job"))
	}
	p.git("submodule", "--quiet", "deinit", "-f", "lib")
	e := p.run()
	if j := e.Jobs["job"]; j.Verdict == plan.Success || !strings.Contains(j.Why, "Fill submodules") {
		t.Errorf("a submodule that may not be fetched (its address is a file): %s %s\n%s", j.Verdict, j.Why, e.log("job"))
	}
}

func TestGenericCases(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		verdict    plan.Verdict
		results    string
		log        map[string]string
	}{
		{"parallel", `
job:
  parallel: 2
  script: ['echo "part $CI_NODE_INDEX of $CI_NODE_TOTAL"']
`, plan.Success, "job 1-2=success job 2-2=success", map[string]string{"job 2-2": "part 2 of 2\n"}},
		{"a variable with percent signs", `
job:
  variables: {FORMAT: "+%Y%m%d", BOTH: "$FORMAT %FORMAT%"}
  script: ['echo "$FORMAT|$BOTH"']
`, plan.Success, "job=success", map[string]string{"job": "+%Y%m%d|+%Y%m%d +%Y%m%d\n"}},
		{"file variables, hooks and nested scripts", `
.all: &all
  - echo one
  - [echo two, [echo three]]
job:
  hooks: {pre_get_sources_script: [echo before all]}
  script: [*all, echo four]
`, plan.Success, "job=success", map[string]string{"job": "before all\n"}},
		{"a stage fails, and may", `
stages: [a, b]
one: {stage: a, script: [exit 1], allow_failure: true}
two: {stage: b, script: [echo on]}
`, plan.Success, "one=failure two=success", nil},
		{"a time limit", `
job: {script: [sleep 60], timeout: 1 second, after_script: [echo cleaned]}
`, plan.Timeout, "job=timeout", nil},
		{"dependencies: none", `
stages: [a, b]
one: {stage: a, script: [echo > f], artifacts: {paths: [f]}}
two: {stage: b, script: [test ! -e f], dependencies: []}
three: {stage: b, script: [test -e f]}
`, plan.Success, "one=success three=success two=success", nil},
		{"exit codes that are tried again", `
job: {script: [exit 7], retry: {max: 1, exit_codes: 7}}
`, plan.Failure, "job=failure", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, map[string]string{file: tt.file})
			e := p.run()
			p.want(e, tt.verdict, tt.results)
			for job, want := range tt.log {
				if !strings.Contains(e.log(job), want) {
					t.Errorf("%s has not printed %q:\n%s", job, want, e.log(job))
				}
			}
		})
	}
}
