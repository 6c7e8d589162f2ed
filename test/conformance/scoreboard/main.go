// Command scoreboard runs the suites of cases that other projects have made
// and writes what they came to as a page for people:
//
//	go run ./test/conformance/scoreboard > docs/reference/compatibility.md
//
// A suite is a Go test that says its result in attributes (testing.T.Attr):
//
//	scoreboard       SUITE PASSED/TOTAL [a remark]
//	scoreboard-rest  SUITE CASE: why it does not pass
//
// Beneath the suites stands what works in which language (features.go); a test
// sees to it that each row is held by a test.
//
// A suite whose data are not on this machine says nothing, and then there is
// no page: a scoreboard with holes would be taken for a whole one.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// suite is a row of the page.
type suite struct {
	name  string // as its test says it
	title string
	what  string // what is compared with what
	unit  string
	rest  string // what the list of the others is called; "" for no list

	result string
	others []string
}

// suites are the rows, in order.
func suites() []*suite {
	return []*suite{
		{name: "expressions", title: "GitHub's expression cases", unit: "cases", rest: "Not passed",
			what: "An expression and its contexts: the kind and the value of the result, or the kind of the error, are the same."},
		{name: "parser", title: "GitHub's workflow parser cases", unit: "files", rest: "Different on purpose",
			what: "A workflow: it is accepted or refused, every error is about the same fact at the same line and column, and the plan is the same."},
		{name: "act", title: "act's workflows", unit: "runs", rest: "Not passed, or not decided on a machine without Docker",
			what: "The workflows of act's own tests, run by `fairlead run` on a bare Linux machine, without Docker and without a network: the run ends well or not, as expected. A run that says that it needs Docker does not count as passed, even where it is expected to fail."},
		{name: "actionlint-err", title: "actionlint's faulty workflows", unit: "findings", rest: "Not found",
			what: "`fairlead lint` finds what actionlint is expected to find: the same line, and the same kind or column. Findings of shellcheck and pyflakes are left out."},
		{name: "actionlint-examples", title: "actionlint's examples", unit: "findings", rest: "Not found", what: "As above, for the examples of its manual."},
		{name: "actionlint-ok", title: "actionlint's sound workflows", unit: "files", rest: "Refused", what: "`fairlead lint` finds nothing wrong with them."},
		{name: "corpus", title: "Workflows of public projects", unit: "files", rest: "With errors",
			what: "Real workflow files compile without errors. Those listed have true errors: GitHub does not run them either."},
		{name: "gitlab-cases", title: "gitlab-ci-local's cases", unit: "files", rest: "Not passed",
			what: "The pipelines of gitlab-ci-local's tests compile, or are refused where GitLab refuses them, with that cause."},
		{name: "gitlab-corpus", title: "GitLab pipelines of public projects", unit: "files", rest: "With errors",
			what: "Real .gitlab-ci.yml files compile for a push, a branch, a tag, a merge request and no change at all. What they include from elsewhere is out of reach in a test: it is named, and the rest is planned."},
		{name: "azure-cases", title: "azpipelines' cases", unit: "cases", rest: "Not passed",
			what: "Templates, parameters and expressions expand, or give the error that the case expects."},
		{name: "azure-parse", title: "Microsoft's example pipelines", unit: "files", rest: "With errors",
			what: "None is given a false problem."},
		{name: "azure-corpus", title: "Azure pipelines of public projects", unit: "files", rest: "With errors",
			what: "Real files compile, or what they lack of other repositories is named."},
		{name: "jenkins-validator", title: "Jenkins' declarative plug-in: its validator's cases", unit: "cases", rest: "Not passed",
			what: "A faulty Jenkinsfile is refused, with the plug-in's own words."},
		{name: "jenkins-accepts", title: "Jenkins' declarative plug-in: sound pipelines", unit: "files", rest: "Refused; most of them on purpose, as the plug-in does when they run",
			what: "The pipelines of its tests that are no errors are accepted."},
		{name: "jenkins-run", title: "Jenkins' declarative plug-in: builds", unit: "cases", rest: "Not passed",
			what: "A build ends with the expected result, and its log holds what it must and nothing that it must not. Without a JVM."},
		{name: "jenkins-groovy", title: "Groovy of real pipelines and libraries", unit: "files", rest: "Not read",
			what: "Jenkinsfiles and files of shared libraries parse."},
		{name: "jenkins-corpus", title: "Jenkinsfiles of public projects", unit: "files", rest: "With errors",
			what: "Real Jenkinsfiles compile."},
	}
}

// tests are what is run: packages, and the tests in them.
var tests = []string{"-run", "^(TestConformance|TestParserConformance|TestActionlintCases|TestCorpus|TestAct" +
	"|TestCases|TestMustParse|TestValidatorConformance|TestRunConformance|TestAccepts|TestCorpusParses)$",
	"./internal/dialect/github", "./internal/dialect/github/expression", "./internal/dialect/github/workflow",
	"./internal/dialect/github/opinion", "./test/conformance",
	"./internal/dialect/gitlab", "./internal/dialect/azure",
	"./internal/dialect/jenkins", "./internal/dialect/jenkins/declarative", "./internal/dialect/jenkins/groovy"}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scoreboard:", err)
		os.Exit(1)
	}
}

func run(w io.Writer) error {
	c := exec.Command("go", append([]string{"test", "-json", "-count=1"}, tests...)...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("run the suites: %w", err)
	}
	rows := suites()
	failed, err := gather(out, rows)
	if err := errors.Join(err, c.Wait()); err != nil {
		return fmt.Errorf("run the suites: %w; failed: %s", err, strings.Join(failed, ", "))
	}
	for _, s := range rows {
		if s.result == "" {
			return fmt.Errorf("suite %s said nothing: its data are not here, or its test was renamed", s.name)
		}
	}
	return render(w, rows)
}

// gather reads what the tests said. It returns the names of those that failed.
func gather(r io.Reader, rows []*suite) (failed []string, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return failed, nil
		}
		if err != nil {
			return failed, err
		}
		var e struct{ Action, Test, Key, Value string }
		if json.Unmarshal(line, &e) != nil {
			continue // what the go command itself has to say
		}
		if e.Action == "fail" && e.Test != "" {
			failed = append(failed, e.Test)
		}
		name, text, _ := strings.Cut(e.Value, " ")
		i := slices.IndexFunc(rows, func(s *suite) bool { return s.name == name })
		if e.Action != "attr" || i < 0 {
			continue
		}
		switch e.Key {
		case "scoreboard":
			rows[i].result = text
		case "scoreboard-rest":
			rows[i].others = append(rows[i].others, text)
		}
	}
}

// render writes the page.
func render(w io.Writer, rows []*suite) error {
	var b strings.Builder
	b.WriteString(`# Compatibility

<!-- Generated: go run ./test/conformance/scoreboard > docs/reference/compatibility.md -->

What Fairlead makes of cases that other projects have written, and [what works in which
language](#features). The cases are not in this repository; the tests that drive them are.

| suite | passed | of | |
|---|--:|--:|---|
`)
	for _, s := range rows {
		result, remark, remarked := strings.Cut(s.result, " ")
		passed, total, _ := strings.Cut(result, "/")
		unit := s.unit
		if remarked {
			unit += "; " + remark
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", s.title, s.name, passed, total, unit)
	}
	renderFeatures(&b)
	for _, s := range rows {
		fmt.Fprintf(&b, "\n<a id=\"%s\"></a>\n## %s\n\n%s\n", s.name, s.title, s.what)
		others := slices.Compact(slices.Sorted(slices.Values(s.others)))
		if len(others) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s:\n\n", s.rest)
		for _, o := range others {
			name, why, _ := strings.Cut(o, ": ")
			fmt.Fprintf(&b, "- %s: %s\n", code(name), plain(why))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// code is a name from outside as Markdown shows it unread.
func code(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" }

// plain is a text from outside that Markdown must not read as its own.
func plain(s string) string {
	return strings.NewReplacer("<", "&lt;", "|", "\\|", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "`", "\\`").Replace(s)
}
