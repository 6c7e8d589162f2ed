package jenkins

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/jenkinstest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// runFloor is how many cases passed when this was written.
const runFloor = 200

// excused says why cases do not pass.
var excused = map[string]string{
	"globalConditionalExistingWhensMatching":   "a transformer that only a plug-in of the tests brings",
	"globalConditionalNoWhensMatching":         "a transformer that only a plug-in of the tests brings",
	"nestedTransform":                          "a transformer that only a plug-in of the tests brings",
	"simpleTransform":                          "a transformer that only a plug-in of the tests brings",
	"transformPost":                            "a transformer that only a plug-in of the tests brings",
	"improveMessageErrorWhenEnvVarNotExists":   "a variable that is not there is null in a condition, which is no error here",
	"stages100WithOutsideVarAndFuncNotAllowed": "a limit of the JVM on the size of a method, which is none here",
	"stages300NoSplit":                         "a limit of the JVM on the size of a method, which is none here",
}

func TestRunConformance(t *testing.T) {
	t.Parallel()
	cases, dir := jenkinstest.Cases(t)
	var mu sync.Mutex
	pass, all := 0, 0
	var rest []string
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			if c.Class == "ValidatorTest" && !strings.HasPrefix(c.Test, "scriptSecurity") || c.Ignored {
				continue // the others are those of the front end
			}
			all++
			t.Run(c.Test, func(t *testing.T) {
				t.Parallel()
				why := runCase(t, dir, &c)
				mu.Lock()
				defer mu.Unlock()
				if why == "" {
					pass++
				} else {
					rest = append(rest, fmt.Sprintf("%s (%s): %s", c.Test, c.File, cmp.Or(excused[c.Test], strings.ReplaceAll(why, "\n", " | "))))
				}
			})
		}
	})
	slices.Sort(rest)
	for _, r := range rest {
		t.Log(r)
		t.Attr("scoreboard-rest", "jenkins-run "+r)
	}
	t.Logf("%d of %d run cases pass", pass, all)
	t.Attr("scoreboard", fmt.Sprintf("jenkins-run %d/%d", pass, all))
	if pass < runFloor {
		t.Errorf("%d pass, %d did before", pass, runFloor)
	}
}

// runCase runs one case; what it returns is why it does not pass.
func runCase(t *testing.T, dir string, c *jenkinstest.Case) string {
	body, err := os.ReadFile(filepath.Join(dir, c.File))
	if err != nil {
		t.Fatal(err)
	}
	change := push()
	change.Ref = ""
	w := newWorld(t, change, "Jenkinsfile", string(body))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	prepare(w, c)
	result, _, _ := w.run(ctx)
	got := strings.ReplaceAll(jenkinstest.Plain(w.text()), "***", "****")
	if os.Getenv("CASE") == c.Test {
		t.Logf("%s: %s\n%s", c.Test, result, got)
	}
	if result != c.Result {
		return fmt.Sprintf("ended %s, not %s: %s", result, c.Result, last(got))
	}
	for _, want := range c.Contains {
		if !strings.Contains(got, jenkinstest.Plain(want)) {
			return fmt.Sprintf("no %q in the log: %s", want, last(got))
		}
	}
	for _, not := range c.NotContains {
		if len(c.Uncheckable) == 0 && not != "" && strings.Contains(got, jenkinstest.Plain(not)) {
			return fmt.Sprintf("%q in the log", not)
		}
	}
	return ""
}

// last is the end of a log, for a line.
func last(log string) string {
	log = strings.ReplaceAll(strings.TrimSpace(log), "\n", " | ")
	if len(log) > 300 {
		log = "… " + log[len(log)-300:]
	}
	return log
}

// prepare gives a case what its test sets up in Java: variables, credentials,
// an installed Maven, a library of global functions, files of the tree.
func prepare(w *world, c *jenkinstest.Case) {
	env := w.scope.Context.Env
	result, ok := map[string]string{
		"withAllLocalUnsuccessfulWithUnstable": "UNSTABLE", "withAllLocalUnsuccessfulWithAborted": "ABORTED", "withAllLocalUnsuccessfulWithNotBuilt": "NOT_BUILT", "withAllLocalFailure": "FAILURE",
	}[c.Test]
	if ok {
		env["MAKE_RESULT"] = result
	}
	env["ONAGENT"] = "true"
	env["HAS_BACKSLASHES"] = `C:\Windows`
	if c.Test == "defaultEnvValue" {
		env["FOO"] = "OTHER"
	}
	w.env["TMPDIR"] = "/tmp"
	w.scope.Secrets = map[string]string{
		"CRED1": "Some secret text for 1", "CRED2": "Some $secret text for 2", "CRED3": "Some $secret text", "FILECRED_FILE": "some file", "OTHERFILECRED_FILE": "a second file",
		"FOOCREDENTIALS_USR": "fooUser", "FOOCREDENTIALS_PSW": "FOOcredentials-password", "CREDS_KEY": "a key", "CREDS_USR": "bob", "CREDS_PASSPHRASE": "s3cret", "CERTCRED1_KEYSTORE": "AAEC",
	}
	if c.Test == "inAbsoluteCustomWorkspace" {
		w.t.Cleanup(func() { os.RemoveAll("/tmp/some-sub-dir") })
	}
	if c.Test == "whenBranchNotMultibranch" {
		w.scope.Change.Ref = "refs/heads/master"
	}
	tools := w.t.TempDir()
	homes := map[string]any{}
	for name, prints := range map[string]string{"mvn": "Apache Maven 3.0.1", "ant": "Apache Ant"} {
		put(w.t, filepath.Join(tools, name, "bin", name), "#!/bin/sh\necho "+prints+"\n")
	}
	homes["maven"] = map[string]any{"apache-maven-3.0.1": filepath.Join(tools, "mvn")}
	homes["ant"] = map[string]any{"default": filepath.Join(tools, "ant"), "apache-ant-1.8.1": filepath.Join(tools, "ant")}
	w.scope.Job.Values = map[string]any{"tools": homes, "steps": map[string]any{"rhombus": map[string]any{"script": `echo "wrapping in a ${ARG}-gon"`}}}
	nodes := map[string]any{}
	for label, agent := range map[string]string{
		"first-agent": "first", "second-agent": "second", "some-label": "first", "other-label": "second", "linux-agent": "linux agent", "mac-agent": "mac agent", "windows-agent": "windows agent",
	} {
		if strings.HasPrefix(c.Test, "parallel") {
			agent += " agent"
		}
		nodes[label] = map[string]any{"WHICH_AGENT": agent}
	}
	w.scope.Job.Values["nodes"] = nodes
	for name, text := range map[string]string{
		"vars/acmeVar.groovy": "def hello(name) { echo \"Hello ${name}\" }\ndef foo(x) { this.x = x + '-set' }\ndef bar() { return x + '-get' }\ndef baz() { return 'nothing here' }\n" +
			"def pipeline(Closure body) { body() }",
		"vars/acmeFunc.groovy":         "def call(a, b) { echo \"call($a,$b)\" }",
		"vars/acmeFuncMap.groovy":      "def call(m) { echo \"map call(${m.a},${m.b})\" }",
		"vars/acmeFuncClosure1.groovy": "def call(a, body) { echo \"closure1($a)\"; body() }",
		"vars/acmeFuncClosure2.groovy": "def call(a, b, body) { echo \"closure2($a, $b)\"; body() }",
		"vars/acmeBody.groovy":         "def call(body) { def config = [:]; body.resolveStrategy = Closure.DELEGATE_FIRST; body.delegate = config; body(); echo \"title was ${config.title}\" }",
		"vars/returnAThing.groovy":     "def call(a) { return \"${a} tada\" }",
	} {
		w.scope.Pipeline.Texts = append(w.scope.Pipeline.Texts, plan.Text{Path: name, Body: text})
	}
	w.libraries(c)
	dir := w.scope.Dirs.Workspace
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	write("Version", "BANANA")
	resource := func(name, of string) {
		text, err := os.ReadFile(filepath.Join(jenkinstest.Conformance(w.t, "jenkins", "resources"), of))
		if err != nil {
			w.t.Fatal(err)
		}
		write(name, string(text))
	}
	switch c.Test {
	case "contextResultOverridesRunResult":
		resource("junitResult.xml", "junitResult.xml")
	case "fromEvaluate":
		resource("simplePipeline.groovy", "simplePipeline.groovy")
	case "passes":
		resource("testFile.groovy", "simplePipeline.groovy")
	case "validationErrors":
		resource("testFile.groovy", "errors/emptyEnvironment.groovy")
	}
}

// libraries are those that the tests of libraries make.
func (w *world) libraries(c *jenkinstest.Case) {
	from := "libForPipelineDefinedInLibrary.groovy"
	switch c.Test {
	case "multiplePipelinesDefinedInLibrary":
		from = "libForMultiplePipelinesDefinedInLibrary.groovy"
	case "multiplePipelinesExecutedInLibraryShouldFail":
		from = "libForMultiplePipelinesExecutedInLibrary.groovy"
	}
	text, err := os.ReadFile(filepath.Join(jenkinstest.Conformance(w.t, "jenkins", "resources", "libraries"), from))
	if err != nil {
		w.t.Fatal(err)
	}
	libraries := map[string]any{}
	for name, file := range map[string][2]string{
		"from-lib":   {"vars/fromLib.groovy", string(text)},
		"echo-utils": {"vars/myecho.groovy", "def call() { echo 'something special' }"},
		"whereFrom":  {"vars/whereFrom.groovy", "def call() { echo 'from another library' }"},
		"zot-stuff":  {"src/org/foo/Zot.groovy", "package org.foo\nclass Zot implements Serializable {\n  def steps\n  Zot(steps) { this.steps = steps }\n  def echo(msg) { steps.echo msg }\n}\n"},
	} {
		dir := w.t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file[0])), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file[0]), []byte(file[1]), 0o644); err != nil {
			w.t.Fatal(err)
		}
		libraries[name] = map[string]any{"path": dir}
	}
	w.scope.Job.Values["libraries"] = libraries
}
