package jenkins

import (
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// expectInOrder checks that the log holds the texts, in order.
func expectInOrder(t *testing.T, log string, want ...string) {
	t.Helper()
	rest := log
	for _, w := range want {
		i := strings.Index(rest, w)
		if i < 0 {
			t.Errorf("no %q (in this order) in the log:\n%s", w, log)
			return
		}
		rest = rest[i+len(w):]
	}
}

// TestPostOrder writes the conditions in a wrong order: they are asked in the
// language's own.
func TestPostOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", `
pipeline {
  agent none
  stages { stage('a') { steps { error 'no' } } }
  post {
    cleanup { echo 'P cleanup' }
    failure { echo 'P failure' }
    success { echo 'P success' }
    unsuccessful { echo 'P unsuccessful' }
    changed { echo 'P changed' }
    always { echo 'P always'
      echo currentBuild.currentResult }
  }
}`)
	result, fx, err := w.run(t.Context())
	if result != "FAILURE" || err != nil || fx.Fail != "no" {
		t.Errorf("%s %q %v", result, fx.Fail, err)
	}
	expectInOrder(t, w.text(), "P always", "FAILURE", "P changed", "P unsuccessful", "P failure", "P cleanup", "Finished: FAILURE")
	if strings.Contains(w.text(), "P success") {
		t.Error("success ran")
	}
}

func TestDeclarative(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", `
def outside = 'o'
def helper(x) { "h${x}" }
pipeline {
  agent any
  environment {
    LATE = "${EARLY}-late"
    EARLY = 'early'
    KEY = credentials('api-key')
    LOGIN = credentials('login')
    FROM = "${outside}${helper(1)}"
    OUT = sh(script: 'echo out', returnStdout: true).trim()
  }
  options { timeout(time: 5, unit: 'MINUTES') }
  parameters { string(name: 'WHO', defaultValue: "${helper(2)}") }
  stages {
    stage('env') { steps { sh 'echo "E $LATE $FROM $OUT $LOGIN_USR"'
      echo "W ${params.WHO} ${env.STAGE_NAME}" } }
    stage('ask') {
      input { message 'Ship?'
        id 'ship'
        parameters { choice(name: 'TO', choices: ['test', 'prod']) } }
      steps { echo "to ${TO}" }
    }
    stage('when') {
      when { allOf { branch 'ma*'; not { tag '*' }; expression { outside == 'o' }; anyOf { environment name: 'EARLY', value: 'x'; equals expected: 2, actual: 1 + 1 } } }
      stages {
        stage('in 1') { steps { echo 'I1' } }
        stage('in 2') { when { changeRequest() }
          steps { echo 'I2' } }
      }
    }
    stage('matrix') {
      matrix {
        axes { axis { name 'OS'; values 'linux', 'mac' } 
               axis { name 'ARCH'; values 'x', 'y' } }
        excludes { exclude { axis { name 'OS'; values 'mac' } 
                             axis { name 'ARCH'; notValues 'x' } } }
        stages { stage('cell') { steps { echo "cell ${OS}/${env.ARCH}" } } }
      }
    }
    stage('unstable') { steps { unstable 'hm' } 
      post { unstable { echo 'was unstable' } } }
    stage('last') { steps { echo "last ${currentBuild.currentResult}" } }
  }
}`)
	w.scope.Secrets = map[string]string{"API_KEY": "abc123", "LOGIN": "bob:hunter22"}
	w.scope.Change.Inputs = map[string]string{"ship": "yes", "TO": "prod"}
	result, fx, err := w.run(t.Context())
	log := w.text()
	if result != "UNSTABLE" || err != nil || fx.Fail != "UNSTABLE: hm" {
		t.Errorf("%s %q %v\n%s", result, fx.Fail, err, log)
	}
	expectInOrder(t, log, "E early-late oh1 out bob", "W h2 env", "Ship?", "to prod", "I1", `Stage "in 2" skipped due to when conditional`, "was unstable", "last UNSTABLE")
	for _, want := range []string{"cell linux/x", "cell linux/y", "cell mac/x"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, not := range []string{"cell mac/y", "I2", "hunter22", "abc123"} {
		if strings.Contains(log, not) {
			t.Errorf("%q is in the log", not)
		}
	}
}

// TestReplay goes through a run again whose steps are all in the record:
// nothing is done twice, and the program goes the same way.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", `
def list = []
node {
  checkout scm
  stage('a') { list << sh(script: 'echo 1; echo x >> ran', returnStdout: true).trim(); env.SEEN = 'yes' }
  parallel b: { stage('b') { sh 'echo y >> ran'; list << 'b' } }, c: { list << readFile('Jenkinsfile').size() }
  stage('d') { if (list.size() == 3 && env.SEEN == 'yes') { sh 'echo z >> ran' } else { error "lost ${list}" } }
}`)
	if result, _, err := w.run(t.Context()); result != "SUCCESS" {
		t.Fatal(result, err, w.text())
	}
	before := slices.Clone(w.order)
	if result, _, err := w.run(t.Context()); result != "SUCCESS" {
		t.Fatal(result, err, w.text())
	}
	if !slices.Equal(before, w.order) {
		t.Errorf("done again: %q", w.order[len(before):])
	}
	keys := slices.Sorted(func(yield func(string) bool) {
		for k := range w.record {
			if !yield(k) {
				return
			}
		}
	})
	want := []string{"1.a", "1.a.sh", "1.b.b", "1.b.b.sh", "1.c.readfile", "1.d", "1.d.sh"}
	if !slices.Equal(keys, want) {
		t.Errorf("keys: %q, want %q", keys, want)
	}
}

// TestFailFast ends the other branches; they tidy up.
func TestFailFast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", `
pipeline {
  agent none
  stages {
    stage('p') {
      failFast true
      parallel {
        stage('bad') { steps { sleep(time: 50, unit: 'MILLISECONDS')
          error 'bad' } }
        stage('long') { steps { sleep 100 }
          post { aborted { echo 'long was aborted' } } }
      }
    }
    stage('never') { steps { echo 'never' } }
  }
}`)
	result, fx, _ := w.run(t.Context())
	if result != "FAILURE" || fx.Fail != "bad" {
		t.Errorf("%s %q", result, fx.Fail)
	}
	expectInOrder(t, w.text(), "Failed in branch bad", "long was aborted", "Failed in branch long", `Stage "never" skipped due to earlier failure(s)`)
}

// TestSettings runs with what fairlead.yaml says.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", `
@Library('acme@v1') _
pipeline {
  agent { ecs { cluster 'x' } }
  tools { maven 'm3' }
  stages { stage('a') { steps {
    sh 'mvn'
    notifyTeam channel: 'dev'
    slackSend 'a message'
    greet 'you'
    script { echo new org.acme.Tool().name()
      echo libraryResource('note.txt') }
  } } }
}`, "fairlead.yaml", `
jenkins:
  libraries: [{name: acme, path: lib}]
  steps: [{name: notifyTeam, script: 'echo "told $ARG_CHANNEL"'}, {name: slackSend, script: 'echo "said $ARG"'}]
  tools: [{type: maven, name: m3, home: /opt/m3}]
  agents: [{name: ecs, options: [cluster]}]
`, "lib/vars/greet.groovy", "def call(who) { echo \"hello ${who}\" }", "lib/src/org/acme/Tool.groovy", "package org.acme\nclass Tool { def name() { 'the tool' } }", "lib/resources/note.txt", "a note")
	home := t.TempDir()
	w.scope.Job.Values["tools"] = map[string]any{"maven": map[string]any{"m3": home}}
	put(t, home+"/bin/mvn", "#!/bin/sh\necho the mvn of m3\n")
	result, _, err := w.run(t.Context())
	if result != "SUCCESS" {
		t.Errorf("%s %v\n%s", result, err, w.text())
	}
	expectInOrder(t, w.text(), "the mvn of m3", "told dev", "said a message", "hello you", "the tool", "a note")
}

// TestOwnLibrary runs the Jenkinsfile of a repository that is a shared library.
func TestOwnLibrary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", "deployAll(env: 'x') { echo 'inner' }", "vars/deployAll.groovy", "def call(Map m, Closure body) { echo \"to ${m.env}\"; body() }")
	if result, _, err := w.run(t.Context()); result != "SUCCESS" {
		t.Errorf("%s %v\n%s", result, err, w.text())
	}
	expectInOrder(t, w.text(), "to x", "inner")
}

// TestSecretsStayOut looks for secrets' values in what is asked of the engine.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", "node { withCredentials([string(credentialsId: 'k', variable: 'K')]) { sh 'test -n \"$K\"' } }")
	w.scope.Secrets = map[string]string{"K": "very-secret"}
	var seen []plan.Act
	w.saw = func(a *plan.Act) { seen = append(seen, *a) }
	if result, _, err := w.run(t.Context()); result != "SUCCESS" {
		t.Fatal(result, err, w.text())
	}
	for _, a := range seen {
		if a.Command == nil {
			continue
		}
		if strings.Contains(strings.Join(a.Command.Argv, " ")+a.Command.Script+a.Name, "very-secret") || !slices.Contains(a.Masks, "very-secret") {
			t.Errorf("%+v", a)
		}
	}
}

// TestCertificate: a certificate is a key store in a file, its name and its password.
func TestCertificate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, store, result, said string }{
		"bound":          {"node { withCredentials([certificate(credentialsId: 'my-cert', keystoreVariable: 'STORE', aliasVariable: 'ALIAS', passwordVariable: 'PW')]) { checkout scm\n sh 'cmp \"$STORE\" want && test \"$ALIAS:$PW\" = my-cert:s3cret && echo the same' } }", "AAH/", "SUCCESS", "the same"},
		"no base64":      {"node { withCredentials([certificate(credentialsId: 'my-cert', keystoreVariable: 'STORE', passwordVariable: 'PW')]) { sh 'true' } }", "not at all!", "FAILURE", "is not in base64"},
		"in environment": {"pipeline { agent any\n environment { C = credentials('my-cert') }\n stages { stage('s') { steps { sh 'true' } } } }", "AAH/", "FAILURE", "No suitable binding handler"},
		"none":           {"node { withCredentials([certificate(credentialsId: 'other', keystoreVariable: 'STORE', passwordVariable: 'PW')]) { sh 'true' } }", "AAH/", "FAILURE", "OTHER"},
	} {
		w := newWorld(t, push(), "Jenkinsfile", c.file, "want", "\x00\x01\xff")
		w.scope.Secrets = map[string]string{"MY_CERT_KEYSTORE": c.store, "MY_CERT_PASSPHRASE": "s3cret"}
		if result, _, err := w.run(t.Context()); result != c.result || !strings.Contains(w.text(), c.said) {
			t.Errorf("%s: %s, %v\n%s", name, result, err, w.text())
		}
	}
}

// TestBuildBefore: what post and scripts know of the build before.
func TestBuildBefore(t *testing.T) {
	t.Parallel()
	const file = `pipeline { agent any
  stages { stage('s') { steps { script {
    def p = currentBuild.previousBuild
    echo "before: ${p?.result} ${p?.number} ${p?.displayName} ${p?.resultIsWorseOrEqualTo('FAILURE')} ${currentBuild.getPreviousSuccessfulBuild()?.number}"
    if (params.BAD) { error 'bad' } } } } }
  parameters { booleanParam(name: 'BAD', defaultValue: false) }
  post { changed { echo 'P changed' } 
    fixed { echo 'P fixed' } 
    regression { echo 'P regression' } } }`
	before := func(v plan.Verdict, said string) *plan.Previous {
		return &plan.Previous{RunID: "3", Number: 7, Verdict: v, Outputs: map[string]string{"result": said}}
	}
	for name, c := range map[string]struct {
		before *plan.Previous
		bad    string
		want   string
	}{
		"none":                {nil, "false", "before: null null null null null|P changed"},
		"none, and it fails":  {nil, "true", "before: null null null null null|P changed"},
		"as before":           {before(plan.Success, "SUCCESS"), "false", "before: SUCCESS 7 #7 false 7"},
		"fixed":               {before(plan.Failure, "FAILURE"), "false", "before: FAILURE 7 #7 true null|P changed|P fixed"},
		"fixed, was unstable": {before(plan.Failure, "UNSTABLE"), "false", "before: UNSTABLE 7 #7 false 7|P changed|P fixed"},
		"after one cancelled": {before(plan.Cancelled, ""), "false", "before: ABORTED 7 #7 true null|P changed"},
		"still broken":        {before(plan.Fault, ""), "true", "before: FAILURE 7 #7 true null"},
		"broken":              {before(plan.Success, "SUCCESS"), "true", "before: SUCCESS 7 #7 false 7|P changed|P regression"},
		"more broken":         {before(plan.Failure, "UNSTABLE"), "true", "before: UNSTABLE 7 #7 false 7|P changed|P regression"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := push()
			change.Inputs = map[string]string{"BAD": c.bad}
			w := newWorld(t, change, "Jenkinsfile", file)
			w.scope.Previous = c.before
			_, _, _ = w.run(t.Context())
			var got []string
			for line := range strings.Lines(w.text()) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "before: ") || strings.HasPrefix(line, "P ") {
					got = append(got, line)
				}
			}
			if strings.Join(got, "|") != c.want {
				t.Errorf("got %s, want %s\n%s", strings.Join(got, "|"), c.want, w.text())
			}
		})
	}
}
