package engine

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// quarantined reports whether a step failed for nothing but tests in quarantine.
// Whatever is not certain is taken for no: its results were read whole, each failed
// test is in quarantine, and how the step ended is how the runner of its tests did.
func quarantined(fin *record.StepFinished, act *plan.Act, w *stepWork) bool {
	return fin.Outcome == plan.Failure && act.Command != nil && w.tests != nil &&
		w.err == nil && w.cause == nil && w.fx.Fail == "" && w.fx.Lacking == "" && !w.result.Stopped && w.result.Signal == "" &&
		endsInTests(act.Command.Script, w.result.Exit) && w.tests.quarantined(time.Now())
}

// tested reports whether the step left results of tests, or of what they covered.
func (w *stepWork) tested() bool {
	return slices.ContainsFunc(w.said, func(b record.Body) bool {
		switch b.(type) {
		case *record.TestsReported, *record.CoverageReported:
			return true
		}
		return false
	})
}

// runner is a program that runs tests, and the exit codes by which it says that some of
// them failed and nothing else went wrong.
type runner struct {
	words []string // of the command line, from the first
	exits []int    // none: any but 0
	// again is what is added to the command line to run failed tests only, "" when
	// that cannot be said; nil: it is not known how.
	again func(failed []record.TestResult) string
}

// runners are the test runners whose exit codes are known. What builds as well as tests
// is among them where its reports tell the two apart.
func runners() []runner {
	one := []int{1}
	return []runner{
		{words: []string{"go", "test"}, exits: one, again: goRun},
		{words: []string{"gotestsum"}, exits: one},
		{words: []string{"pytest"}, exits: one, again: always("--last-failed")},
		{words: []string{"py.test"}, exits: one, again: always("--last-failed")},
		{words: []string{"python", "-m", "pytest"}, exits: one, again: always("--last-failed")},
		{words: []string{"python3", "-m", "pytest"}, exits: one, again: always("--last-failed")},
		{words: []string{"python", "-m", "unittest"}, exits: one},
		{words: []string{"python3", "-m", "unittest"}, exits: one},
		{words: []string{"jest"}, exits: one, again: always("--onlyFailures")},
		{words: []string{"vitest"}, exits: one},
		{words: []string{"playwright", "test"}, exits: one, again: always("--last-failed")},
		{words: []string{"mocha"}},
		{words: []string{"cypress", "run"}},
		{words: []string{"rspec"}, exits: one},
		{words: []string{"phpunit"}, exits: []int{1, 2}},
		{words: []string{"cargo", "test"}, exits: []int{101}},
		{words: []string{"cargo", "nextest", "run"}, exits: []int{100}},
		{words: []string{"dotnet", "test"}, exits: one},
		{words: []string{"ctest"}, exits: []int{8}, again: always("--rerun-failed")},
		{words: []string{"mvn", "test"}, exits: one},
		{words: []string{"gradle", "test"}, exits: one},
		{words: []string{"robot"}},
		{words: []string{"dart", "test"}, exits: one},
		{words: []string{"flutter", "test"}, exits: one},
		{words: []string{"swift", "test"}, exits: one},
	}
}

// launchers start other programs, and end as those do: their words are passed over.
func launchers() [][]string {
	return [][]string{{"npx"}, {"yarn"}, {"pnpm", "exec"}, {"pnpm"}, {"bunx"}, {"poetry", "run"}, {"uv", "run"}, {"pipenv", "run"}, {"bundle", "exec"}, {"time"}, {"exec"}}
}

// endsInTests reports whether a script's exit code is that of a test runner, which says
// by it that tests failed.
func endsInTests(script string, exit int) bool {
	_, r := runnerIn(script)
	return r != nil && exit != 0 && (len(r.exits) == 0 || slices.Contains(r.exits, exit))
}

// runnerIn finds the test runner whose exit code a script ends with, and its command line;
// nil when there is none that is certain. The script is one command, or more of which
// the last runs the tests and no other does: what comes before it has no results of
// tests, and when that fails there are none.
func runnerIn(script string) (line string, _ *runner) {
	var commands []string
	joined := strings.ReplaceAll(script, "\\\n", " ")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	if len(commands) == 0 {
		return "", nil
	}
	for _, c := range commands[:len(commands)-1] {
		if strings.ContainsAny(c, "|;&") || runnerOf(c) != nil {
			return "", nil
		}
	}
	line = commands[len(commands)-1]
	if strings.ContainsAny(line, "|;&`") || strings.Contains(line, "$(") {
		return "", nil
	}
	return line, runnerOf(line)
}

// runnerOf is the test runner that a command is; nil when it is none that is known.
func runnerOf(command string) *runner {
	words := strings.Fields(command)
	for len(words) > 0 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "=") {
		words = words[1:] // a variable for the command
	}
	for _, l := range launchers() {
		if len(words) > len(l) && slices.Equal(words[:len(l)], l) {
			words = words[len(l):]
		}
	}
	if len(words) == 0 {
		return nil
	}
	switch base := path.Base(words[0]); base { // ./mvnw, ./gradlew, .venv/bin/pytest, node_modules/.bin/jest
	case "mvnw":
		words[0] = "mvn"
	case "gradlew":
		words[0] = "gradle"
	default:
		words[0] = base
	}
	for _, r := range runners() {
		if runs(r.words, words) {
			return &r
		}
	}
	return nil
}

// runs reports whether the words of a command line are those, options between them aside.
func runs(want, words []string) bool {
	if words[0] != want[0] {
		return false
	}
	want, words = want[1:], words[1:]
	for len(want) > 0 {
		switch {
		case len(words) == 0:
			return false
		case words[0] == want[0]:
			want = want[1:]
		case !strings.HasPrefix(words[0], "-"):
			return false
		}
		words = words[1:]
	}
	return true
}
