package jenkins

import (
	"fmt"
	"strings"
	"testing"
)

// inNodeScript is a scripted pipeline whose body runs in a node with the tree.
func inNodeScript(text string) string { return "node {\n  checkout scm\n" + text + "\n}\n" }

// TestSteps runs small pipelines: how they end, and what is in their log.
func TestSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text, result string
		want               []string
		not                []string
	}{
		{"sh", inNodeScript(`sh 'echo one'
sh script: 'echo two', label: 'second'
sh """#!/bin/sh
echo own interpreter \$0 | sed 's,/.*/,,'
"""`), "SUCCESS", []string{"+ echo one", "two", "own interpreter"}, []string{"+ echo own"}},
		{"sh fails", inNodeScript("sh 'exit 7'\necho 'never'"), "FAILURE", []string{"ERROR: script returned exit code 7"}, []string{"never"}},
		{"returnStatus", inNodeScript("def s = sh(script: 'exit 7', returnStatus: true)\necho \"s=${s + 1}\""), "SUCCESS", []string{"s=8"}, nil},
		{"returnStdout leaves out what goes to the log", inNodeScript("def o = sh(script: 'echo out; echo err >&2', returnStdout: true)\necho \"<${o.trim()}>\""), "SUCCESS", []string{"<out>", "err"}, nil},
		{"quotes", inNodeScript("def v = 'groovy'\nwithEnv(['v=shell']) { sh 'echo $v'\nsh \"echo $v\" }"), "SUCCESS", []string{"+ echo shell", "+ echo groovy"}, nil},
		{"bat is told", inNodeScript("bat 'dir'"), "FAILURE", []string{"bat runs on Windows"}, nil},
		{"no node", "sh 'echo x'", "FAILURE", []string{"Required context class hudson.FilePath is missing", "such as: node"}, nil},
		{"dir", inNodeScript("dir('a/b') { sh 'pwd | sed s,.*/work,W,'\nwriteFile file: 'x', text: 'y' }\necho readFile('a/b/x')"), "SUCCESS", []string{"W/a/b", "y"}, nil},
		{"withEnv", inNodeScript("withEnv(['A=1', 'PATH+X=/first', 'LIST=b']) { withEnv(['LIST+Y=a']) { sh 'echo $A $LIST; echo $PATH | cut -c1-7'\necho \"${env.A} ${LIST}\" } }\necho \"${env.A}\""), "SUCCESS", []string{"1 a:b", "/first:", "null"}, nil},
		{"env is set for all that follows", inNodeScript("env.X = 'one'\nstage('s') { sh 'echo X is $X' }"), "SUCCESS", []string{"X is one"}, nil},
		{"try and catch", inNodeScript("try { sh 'exit 3' } catch (err) { echo \"caught ${err.message}\"; currentBuild.result = 'UNSTABLE' } finally { echo 'finally' }"), "UNSTABLE",
			[]string{"caught script returned exit code 3", "finally", "Finished: UNSTABLE"}, nil},
		{"results only get worse", "currentBuild.result = 'FAILURE'\ncurrentBuild.result = 'SUCCESS'\necho currentBuild.currentResult", "FAILURE", []string{"FAILURE"}, nil},
		{"error", "error 'no way'", "FAILURE", []string{"ERROR: no way"}, nil},
		{"unstable", "unstable 'hm'\necho 'on'", "UNSTABLE", []string{"WARNING: hm", "on"}, nil},
		{"catchError", "catchError(message: 'oh', buildResult: 'UNSTABLE', stageResult: 'FAILURE') { error 'inner' }\necho currentBuild.result", "UNSTABLE", []string{"oh", "ERROR: inner", "UNSTABLE"}, nil},
		{"warnError", "warnError('oh') { error 'inner' }\necho 'on'", "UNSTABLE", []string{"oh", "on"}, nil},
		{"retry", "def n = 0\nretry(3) { n++; echo \"try ${n}\"; if (n < 3) error 'again' }", "SUCCESS", []string{"try 1", "Retrying", "try 3"}, nil},
		{"retry gives up", "def n = 0\nretry(2) { n++; error \"no ${n}\" }", "FAILURE", []string{"ERROR: no 2"}, []string{"no 3"}},
		{"timeout", inNodeScript("timeout(time: 100, unit: 'MILLISECONDS') { sh 'sleep 100' }"), "ABORTED", []string{"Timeout set to expire in 100 ms", "Cancelling nested steps due to timeout"}, nil},
		{"timeout can be caught", "try { timeout(time: 50, unit: 'MILLISECONDS') { sleep 100 } } catch (e) { echo \"c ${e.getClass().getSimpleName()}\" }\necho 'on'", "SUCCESS", []string{"c FlowInterruptedException", "on"}, nil},
		{"waitUntil", "def n = 0\nwaitUntil(initialRecurrencePeriod: 1) { n++; n == 3 }\necho \"n ${n}\"", "SUCCESS", []string{"n 3"}, nil},
		{"parallel", "def r = parallel(a: { echo 'A'; 1 }, b: { echo 'B'; 2 })\necho \"${r.a + r.b}\"", "SUCCESS", []string{"[a] A", "[b] B", "3"}, nil},
		{"parallel of a computed map", "def m = [:]\nfor (x in ['p', 'q']) { def y = x; m[y] = { stage(\"s ${y}\") { echo \"in ${y}\" } } }\nparallel m", "SUCCESS", []string{"in p", "in q", "{ (s q)"}, nil},
		{"parallel fails", "parallel a: { error 'x' }, b: { echo 'B' }", "FAILURE", []string{"Failed in branch a", "[b] B"}, nil},
		{"failFast", "parallel a: { sleep(time: 20, unit: 'MILLISECONDS'); error 'x' }, b: { sleep 100; echo 'never' }, failFast: true", "FAILURE", []string{"Failed in branch b"}, []string{"[b] never"}},
		{"stash", inNodeScript("sh 'mkdir d; echo s > d/f'\nstash name: 'x', includes: 'd/**'\ndir('other') { unstash 'x'\necho readFile('d/f') }"), "SUCCESS", []string{"Stashed 1 file(s)"}, nil},
		{"another node has a workspace of its own", "node('a') { checkout scm\nsh 'echo x > left' }\nnode('b') { checkout scm\necho \"left ${fileExists('left')}, tree ${fileExists('Jenkinsfile')}\" }\nnode('a') { echo \"again ${fileExists('left')}\" }", "SUCCESS", []string{"left false, tree true", "again true"}, nil},
		{"a node without checkout is empty", "node { echo \"there ${fileExists('Jenkinsfile')}\" }", "SUCCESS", []string{"there false"}, nil},
		{"JSON, YAML, properties", inNodeScript("writeJSON file: 'j', json: [a: [1, 2], b: 'x']\ndef j = readJSON file: 'j'\nwriteYaml file: 'y', data: [k: j.a]\ndef y = readYaml file: 'y'\ndef p = readProperties text: 'm=n'\necho \"${j.b} ${y.k[1]} ${p.m} ${readJSON(text: '{\"z\": true}').z}\""), "SUCCESS", []string{"x 2 n true"}, nil},
		{"findFiles", inNodeScript("sh 'mkdir -p q/r; touch q/r/a.txt'\nfindFiles(glob: 'q/**/*.txt').each { echo \"${it.name} ${it.path} ${it}\" }"), "SUCCESS", []string{"a.txt q/r/a.txt q/r/a.txt"}, nil},
		{"an unknown step", "slackify 'x'", "FAILURE", []string{"java.lang.NoSuchMethodError: No such DSL method 'slackify' found among steps", "at Jenkinsfile:1:"}, nil},
		{"an unknown step in blocks runs them once", inNodeScript("stage('s') { echo 'once'\nwithEnv(['A=b']) { docker.image('x').inside { slackify 'x' } } }"), "FAILURE", []string{"once", "No such DSL method 'slackify'"}, []string{"once\n[Pipeline] withEnv\n[Pipeline] {\n[Pipeline] }\n[Pipeline] withEnv"}},
		{"a missing property in a method", "def f() { echo 'in f'; nothing }\nnode { f() }", "FAILURE", []string{"No such property: nothing"}, nil},
		{"messages are not sent", "slackSend color: 'good', message: 'hi'\necho 'on'", "SUCCESS", []string{"slackSend has no effect here", "on"}, nil},
		{"properties", "properties([parameters([string(name: 'P', defaultValue: 'd'), choice(name: 'C', choices: ['x', 'y'])]), disableConcurrentBuilds()])\necho \"${params.P} ${params.C} ${env.P}\"", "SUCCESS", []string{"d x d"}, nil},
		{"input without an answer", "input 'Go on?'", "FAILURE", []string{`the pipeline asks "Go on?" (Proceed)`, "--input go-on=yes"}, nil},
		{"a class and a method in the file", "class P { String n; def hi() { \"hi ${n}\" } }\ndef twice(x) { x * 2 }\necho new P(n: 'a').hi() + twice(2)", "SUCCESS", []string{"hi a4"}, nil},
		{"load", inNodeScript("writeFile file: 'l.groovy', text: 'def f(x) { echo \"f ${x}\" }\\nreturn this'\ndef l = load 'l.groovy'\nl.f(1)"), "SUCCESS", []string{"f 1"}, nil},
		{"currentBuild", "currentBuild.displayName = 'v1'\ncurrentBuild.description = 'd'\necho \"${currentBuild.displayName} ${currentBuild.number} ${currentBuild.result} ${currentBuild.resultIsBetterOrEqualTo('SUCCESS')} ${env.BUILD_NUMBER} ${env.JOB_NAME} ${env.BRANCH_NAME}\"", "SUCCESS", []string{"v1 1 null true 1 octo/demo/main main"}, nil},
		{"a rejected class", "def x = hudson.model.Hudson.instance", "FAILURE", []string{"RejectedAccessException: Scripts not permitted to use"}, nil},
		{"docker agents are containers of commands", "pipeline { agent { docker { image 'alpine:3'; args '-v /a:/b' } }\n stages { stage('a') { steps { sh 'true' } } } }", "SUCCESS", []string{"container alpine:3 -v /a:/b"}, nil},
		{"docker inside", inNodeScript("docker.image('golang:1').inside('-u 0') { sh 'true' }"), "SUCCESS", []string{"container golang:1 -u 0"}, nil},
		{"milestone, lock, timestamps", "milestone 1\nlock('x') { timestamps { ansiColor('xterm') { echo 'in' } } }", "SUCCESS", []string{"Trying to pass milestone 1", "in"}, nil},
		{"git", inNodeScript("def m = checkout scm\necho m.GIT_COMMIT.take(3)\necho env.GIT_BRANCH"), "SUCCESS", []string{"aaa", "main"}, nil},
		{"withCredentials", inNodeScript("withCredentials([usernamePassword(credentialsId: 'my-login', usernameVariable: 'U', passwordVariable: 'P'), string(credentialsId: 'token', variable: 'T')]) { sh 'echo $U:$P:$T | rev' \necho \"$P\" }\necho \"${env.P}\""), "SUCCESS", []string{"Masking supported pattern matches of $U or $P or $T", "3t3rc3s:drowssap:", "***", "null"}, []string{"password", "secret3"}},
		{"a missing credential", inNodeScript("withCredentials([string(credentialsId: 'none', variable: 'T')]) { echo 'x' }"), "FAILURE", []string{"Could not find credentials entry with ID 'none'", "--secret NONE"}, nil},
		{"a limit", "def s = 'x'\nwhile (true) { s += s }", "FAILURE", []string{"the script needs a value larger than"}, nil},
		{"readYaml of an alias bomb", "def t = 'a: &a [1,1,1,1,1,1,1,1,1,1]\\n'\n('b'..'k').each { t += \"${it}: &${it} [\" + (['*' + ((char)(((int) it.charAt(0)) - 1))] * 10).join(', ') + ']\\n' }\nreadYaml text: t", "FAILURE", []string{"larger or deeper"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, push(), "Jenkinsfile", c.text)
			w.scope.Secrets = map[string]string{"MY_LOGIN_USR": "bob", "MY_LOGIN_PSW": "password", "TOKEN": "s3cr3t3"}
			result, _, _ := w.run(t.Context())
			log := w.text()
			bad := ""
			if result != c.result {
				bad = fmt.Sprintf("ended %s, not %s", result, c.result)
			}
			for _, want := range c.want {
				if !strings.Contains(log, want) {
					bad += fmt.Sprintf("; no %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(log, not) {
					bad += fmt.Sprintf("; %q", not)
				}
			}
			if bad != "" {
				t.Errorf("%s\n%s", bad, log)
			}
		})
	}
}
