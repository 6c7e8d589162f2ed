package jenkins

import (
	"slices"
	"strings"
	"testing"
)

// TestBuild: another job of the tree is built in workspaces of its own, with its own
// parameters, and its result counts.
func TestBuild(t *testing.T) {
	t.Parallel()
	const deploy = `pipeline { agent any
  parameters { string(name: 'WHERE', defaultValue: 'nowhere')
    booleanParam(name: 'DRY', defaultValue: true)
    choice(name: 'SIZE', choices: ['s', 'm']) }
  environment { A = 'own' }
  stages { stage('go') { steps { sh 'test -e Jenkinsfile && ! test -e left && touch below && echo "to $WHERE"'
    script { env.URL = "https://${params.WHERE}"
      echo "dry ${params.DRY} ${params.SIZE} ${env.A} ${env.B}"
      if (params.WHERE == 'bad') { error 'no such place' }
      if (params.WHERE == 'so so') { unstable 'well' } } } } } }`
	in := func(steps string) string {
		return "node { checkout scm\nsh 'touch left'\nwithEnv(['B=outer']) { " + steps + " }\nsh 'test -e left && ! test -e below' }"
	}
	for name, c := range map[string]struct {
		text   string
		result string
		said   []string
		not    []string
	}{
		"it is built": {in("def b = build(job: 'deploy', parameters: [string(name: 'WHERE', value: 'prod'), booleanParam(name: 'DRY', value: false)])\necho \"${b.result} ${b.getResult()} ${b.buildVariables.URL} ${b.fullProjectName} ${b.number}\""), "SUCCESS",
			[]string{"Scheduling project: deploy", "to prod", "dry false s own null", "SUCCESS SUCCESS https://prod deploy 1", "deploy #1 completed: SUCCESS"}, nil},
		"by the names of its folders":     {in("build job: '/acme/deploy/main'\nbuild '../deploy'"), "SUCCESS", []string{"to nowhere"}, nil},
		"as fairlead.yaml says":           {in("build 'tools/other'"), "SUCCESS", []string{"the other"}, nil},
		"it fails":                        {in("build job: 'deploy', parameters: [string(name: 'WHERE', value: 'bad')]"), "FAILURE", []string{"deploy #1 completed with status FAILURE"}, nil},
		"it fails, and that is looked at": {in("def b = build(job: 'deploy', propagate: false, parameters: [string(name: 'WHERE', value: 'bad')])\nif (b.resultIsWorseOrEqualTo('FAILURE')) { echo 'it failed' }"), "SUCCESS", []string{"it failed", "no such place"}, nil},
		"it is unstable":                  {in("build job: 'deploy', parameters: [string(name: 'WHERE', value: 'so so')]"), "UNSTABLE", []string{"deploy #1 completed with status UNSTABLE"}, nil},
		"nobody waits":                    {in("build job: 'deploy', wait: false, parameters: [string(name: 'WHERE', value: 'bad')]"), "SUCCESS", []string{"deploy #1 completed: FAILURE"}, nil},
		"a choice that there is not":      {in("build job: 'deploy', parameters: [string(name: 'SIZE', value: 'xl')]"), "FAILURE", []string{"is no choice of the parameter SIZE"}, nil},
		"a job of nobody":                 {in("build job: 'nothing'"), "FAILURE", []string{"no Jenkinsfile of this tree is its"}, nil},
		"a job of nobody, not awaited":    {in("build job: 'nothing', wait: false"), "SUCCESS", []string{"nothing is not started from here"}, nil},
		"a file that is not there":        {in("build 'gone'"), "FAILURE", []string{"there is no file ci/gone"}, nil},
		"each other":                      {in("build 'back'"), "SUCCESS", []string{"is a pipeline that runs"}, nil},
		"side by side":                    {in("parallel a: { build 'deploy' }, b: { build 'deploy' }"), "SUCCESS", []string{"to nowhere"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, push(), "Jenkinsfile", c.text, "Jenkinsfile.deploy", deploy, "tools/any.groovy", "echo 'the other'", "ci/back.jenkinsfile", "build 'demo'",
				"fairlead.yaml", "jenkins:\n  jobs:\n  - {name: tools/other, file: tools/any.groovy}\n  - {name: gone, file: ci/gone}\n")
			result, _, err := w.run(t.Context())
			log := w.text()
			if result != c.result {
				t.Errorf("%s, %v", result, err)
			}
			for _, s := range c.said {
				if !strings.Contains(log, s) {
					t.Errorf("%q is not said", s)
				}
			}
			if t.Failed() {
				t.Log(log)
				return
			}
			// A run that goes on comes to the same, and asks for nothing again.
			asked := slices.Clone(w.order)
			if again, _, err := w.run(t.Context()); again != result || !slices.Equal(w.order, asked) {
				t.Errorf("again: %s, %v; %q", again, err, w.order[len(asked):])
			}
		})
	}
}

// TestJobOf names jobs by their files.
func TestJobOf(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"Jenkinsfile": "app", "Jenkinsfile.deploy": "deploy", "ci/Jenkinsfile-nightly": "nightly", "ci/release.jenkinsfile": "release", "ci/Jenkinsfile": "", "Jenkinsfile.e2e.groovy": "e2e",
	} {
		if got := jobOf(file, "acme/app"); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
}
