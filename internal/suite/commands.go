package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// A shell script says by its exit code how its last command ended. When that is a test
// runner, which has a code of its own for "tests failed, and nothing else did", it is
// known what the failure of the script comes to. Where a wrapper stands between the two
// (npm test, make test, a script of the project's) the wrapper's file is read.
// Everything here fails closed: what is not certain is not so.

const (
	// maxWrapped is how many wrappers may stand around a runner.
	maxWrapped = 4
	// maxWrapper is the size of the largest file of a wrapper that is understood.
	maxWrapper = 1 << 20
	// maxAgain is how many tests a command line names.
	maxAgain = 200
)

// way is a way to start a test runner, and how it says that tests failed.
type way struct {
	words  []string // of the command line, from the first, options between them aside
	runner string   // of [Runners]; "" for one that shares nothing out
	exits  []int    // that say that tests failed and nothing else did; none: any but 0
	// goal is the word that has to come last, options aside: those after it would not be
	// done when tests fail.
	goal string
	// wants is an option without which it gives up after the first failure, stops are
	// those with which it does: then not all tests were run.
	wants string
	stops []string
	// told reports whether what it printed last bears out that nothing else failed.
	told func(tail []string) bool
	// again are the arguments that run failed tests, and perhaps others; none when that
	// cannot be said. Nil: it is not known how. They come after the line, or, when first
	// is set, right after the words.
	again func(failed []record.TestResult) []string
	first bool
}

// ways are the runners whose exit codes are known.
func ways() []way {
	one := []int{1}
	python := func(runner string, w way) []way {
		a, b := w, w
		a.words, b.words = []string{"python", "-m", runner}, []string{"python3", "-m", runner}
		return []way{a, b}
	}
	pytest := way{runner: "pytest", exits: one, again: option("--last-failed"), stops: []string{"-x", "--exitfirst", "--maxfail"}, told: func(tail []string) bool {
		return !slices.ContainsFunc(tail, func(l string) bool { return strings.Contains(l, "stopping after ") })
	}}
	unittest := way{exits: one, stops: []string{"-f", "--failfast"}, again: each("-k", func(r *record.TestResult) string { return "*" + r.Name })}
	list := []way{
		{words: []string{"go", "test"}, runner: "go", exits: one, stops: []string{"-failfast", "--failfast"}, again: goAgain},
		{words: []string{"gotestsum"}, exits: one, stops: []string{"--max-fails", "-failfast"}},
		{words: []string{"jest"}, runner: "jest", exits: one, stops: []string{"-b", "--bail"}, again: option("--onlyFailures")},
		{words: []string{"vitest"}, runner: "vitest", exits: one, stops: []string{"--bail"}, again: selected("vitest")},
		{words: []string{"playwright", "test"}, runner: "playwright", exits: one, stops: []string{"-x", "--max-failures"}, again: option("--last-failed")},
		{words: []string{"mocha"}, runner: "mocha", stops: []string{"-b", "--bail"}, again: pattern("--grep")},
		{words: []string{"node", "--test"}, exits: one, again: pattern("--test-name-pattern"), first: true},
		{words: []string{"cypress", "run"}},
		{words: []string{"rspec"}, runner: "rspec", exits: one, stops: []string{"--fail-fast"}, again: each("--example", func(r *record.TestResult) string { return r.Name })},
		{words: []string{"phpunit"}, exits: []int{1, 2}, stops: []string{"--stop-on-failure", "--stop-on-error", "--stop-on-defect"}},
		{words: []string{"cargo", "test"}, exits: []int{101}, wants: "--no-fail-fast"},
		{words: []string{"cargo", "nextest", "run"}, runner: "cargo-nextest", exits: []int{100}, wants: "--no-fail-fast", again: selected("cargo-nextest")},
		{words: []string{"dotnet", "test"}, runner: "dotnet", exits: one, again: selected("dotnet")},
		{words: []string{"ctest"}, exits: []int{8}, stops: []string{"--stop-on-failure"}, again: option("--rerun-failed")},
		{words: []string{"mvn"}, runner: "maven", exits: one, goal: "test", stops: []string{"-q", "--quiet"}, told: mavenTold, again: selected("maven")},
		{words: []string{"gradle"}, runner: "gradle", exits: one, goal: "test", wants: "--continue", told: gradleTold, again: selected("gradle")},
		{words: []string{"robot"}, stops: []string{"-X", "--exitonfailure", "--exitonerror"}},
		{words: []string{"dart", "test"}, exits: one, stops: []string{"--fail-fast"}},
		{words: []string{"flutter", "test"}, exits: one, stops: []string{"--fail-fast"}},
		{words: []string{"swift", "test"}, exits: one},
	}
	pytest.words = []string{"pytest"}
	list = append(list, pytest)
	pytest.words = []string{"py.test"}
	return slices.Concat(list, []way{pytest}, python("pytest", pytest), python("unittest", unittest), python("xmlrunner", unittest))
}

// launchers start other programs, and end as those do: their words are passed over.
func launchers() [][]string {
	return [][]string{{"npx"}, {"yarn"}, {"pnpm", "exec"}, {"pnpm"}, {"bunx"}, {"poetry", "run"}, {"uv", "run"}, {"pipenv", "run"}, {"bundle", "exec"}, {"time"}, {"exec"}}
}

// Guess is the runner that a command line starts; false when it is none that is
// known: "npx vitest run", "./gradlew test", "python -m pytest -x".
func Guess(command []string) (Runner, bool) {
	for i := range command {
		for _, w := range ways() {
			if words := slices.Clone(command[i:]); w.runner != "" {
				if words[0] = program(words[0]); starts(w.words, words) >= 0 {
					return RunnerNamed(w.runner)
				}
			}
		}
	}
	return Runner{}, false
}

// program is the name by which a program is known: ./mvnw, .venv/bin/pytest,
// node_modules/jest/bin/jest.js.
func program(word string) string {
	word = word[strings.LastIndexAny(word, `/\`)+1:]
	for _, ending := range []string{".exe", ".cmd", ".bat", ".js"} {
		word = strings.TrimSuffix(word, ending)
	}
	switch word {
	case "mvnw", "mvnd":
		return "mvn"
	case "gradlew":
		return "gradle"
	}
	return word
}

// starts is how many words of a command line it takes to have all of those, options
// between them aside; -1 when it has not.
func starts(want, words []string) int {
	if len(words) == 0 || words[0] != want[0] {
		return -1
	}
	n := 1
	for _, next := range want[1:] {
		for n < len(words) && words[n] != next {
			if !strings.HasPrefix(words[n], "-") {
				return -1
			}
			n++
		}
		if n == len(words) {
			return -1
		}
		n++
	}
	return n
}

// wayOf is how a command line starts a runner; nil when it starts none that is known. The
// words of the line up to the runner's arguments are counted in head.
func wayOf(line string) (w *way, head int) {
	words := strings.Fields(line)
	total := len(words)
	for len(words) > 0 && strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "=") {
		words = words[1:] // a variable for the command
	}
	for _, l := range launchers() {
		if len(words) > len(l) && slices.Equal(words[:len(l)], l) {
			words = words[len(l):]
		}
	}
	if len(words) == 0 {
		return nil, 0
	}
	words = slices.Clone(words)
	words[0] = program(words[0])
	for _, w := range ways() {
		if n := starts(w.words, words); n >= 0 {
			return &w, total - len(words) + n
		}
	}
	return nil, 0
}

// whole says why a command line with a runner does not run all tests, or more than tests;
// "" when it runs them all and nothing else.
func (w *way) whole(line string) string {
	words := strings.Fields(line)
	has := func(option string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return word == option || strings.HasPrefix(word, option+"=") })
	}
	if w.wants != "" && !has(w.wants) {
		return fmt.Sprintf("without %s it may stop before all tests were run", w.wants)
	}
	for _, s := range w.stops {
		if has(s) {
			return fmt.Sprintf("with %s it may stop before all tests were run", s)
		}
	}
	if w.goal != "" {
		words = slices.DeleteFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") })
		if last := words[len(words)-1]; last != w.goal && !strings.HasSuffix(last, ":"+w.goal) {
			return fmt.Sprintf("%s is not what it does last", w.goal)
		}
	}
	return ""
}

// Ending is how a script ends: with a test runner.
type Ending struct {
	Program string   // the runner's first word: "go", "jest"
	Files   []string // of the wrappers around it, as the script names them
	// Texts are what was read in Files.
	Texts [][]byte

	line  string // of the script
	head  int    // words of line up to the runner's arguments
	way   way
	make  bool   // make hands it on
	pass  string // what comes before further arguments of a wrapper: "" or "--"
	fixed bool   // a wrapper takes no arguments
}

// endingError is why it is not certain which runner a script ends with.
type endingError string

func (e endingError) Error() string { return string(e) }

// EndOf finds the test runner whose exit code a script of a POSIX shell ends with. The
// script is one command, or more of which the last runs the tests and no other does: what
// comes before it has no results of tests, and when that fails there are none. Read
// reads a file of the directory that the script runs in; nil: there is none to read. The
// error says, for people, why it is not certain that there is such a runner.
func EndOf(script string, read func(name string) ([]byte, error)) (*Ending, error) {
	return endOf(script, read, 0)
}

func endOf(script string, read func(name string) ([]byte, error), depth int) (*Ending, error) {
	var commands []string
	for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	if len(commands) == 0 {
		return nil, endingError("the script is empty")
	}
	last := commands[len(commands)-1]
	before := commands[:len(commands)-1]
	// Of a chain, the last runs only when all before it did well.
	if chain := strings.Split(last, "&&"); len(chain) > 1 {
		last = strings.TrimSpace(chain[len(chain)-1])
		before = slices.Concat(before, chain[:len(chain)-1])
	}
	moved := false
	for _, c := range before {
		w, _ := wayOf(c)
		switch first, _, _ := strings.Cut(strings.TrimSpace(c), " "); {
		case strings.ContainsAny(c, "|;&"):
			return nil, endingError("it is a script of several commands that are hard to tell apart")
		case w != nil:
			return nil, endingError("it runs tests more than once")
		case first == "trap":
			return nil, endingError("a trap may change its exit code")
		case first == "cd", first == "pushd":
			moved = true
		}
	}
	if strings.ContainsAny(strings.ReplaceAll(last, "2>&1", ""), "|;&`") || strings.Contains(last, "$(") {
		return nil, endingError("its last command is more than one")
	}
	if w, head := wayOf(last); w != nil {
		if why := w.whole(last); why != "" {
			return nil, endingError(why)
		}
		return &Ending{Program: w.words[0], line: last, head: head, way: *w}, nil
	}
	switch {
	case read == nil, depth == maxWrapped, moved:
		return nil, endingError("its last command is no test runner that is known")
	}
	return unwrap(last, read, depth)
}

// unwrap finds the runner inside a wrapper.
func unwrap(line string, read func(name string) ([]byte, error), depth int) (*Ending, error) {
	words := strings.Fields(line)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, endingError("its last command is no test runner that is known")
	}
	var file, inner string
	var text []byte
	var err error
	out := Ending{line: line, head: len(strings.Fields(line)), fixed: true}
	switch name := words[0]; {
	case name == "npm", name == "pnpm", name == "yarn":
		task, own := scriptName(words)
		if task == "" {
			return nil, endingError("its last command is no test runner that is known")
		}
		file = "package.json"
		if text, err = readWrapper(file, read); err != nil {
			return nil, err
		}
		if inner, err = packageScript(text, task); err != nil {
			return nil, err
		}
		out.fixed = false
		if name != "yarn" && !own {
			out.pass = "--"
		}
	case name == "make":
		if len(words) > 2 || len(words) == 2 && strings.ContainsAny(words[1], "-=") {
			return nil, endingError("make is given more than one target")
		}
		out.make = true
		for _, file = range []string{"GNUmakefile", "makefile", "Makefile"} {
			if text, err = readWrapper(file, read); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		if inner, err = recipe(string(text), words[1:]); err != nil {
			return nil, err
		}
	default:
		file = name
		if name == "sh" || name == "bash" || name == "dash" {
			rest := slices.DeleteFunc(slices.Clone(words[1:]), func(w string) bool { return strings.HasPrefix(w, "-") && !strings.Contains(w, "c") || w == "pipefail" })
			if len(rest) == 0 {
				return nil, endingError("its last command is no test runner that is known")
			}
			file = rest[0]
		} else if !strings.Contains(name, "/") {
			return nil, endingError("its last command is no test runner that is known")
		}
		if strings.HasPrefix(file, "-") || strings.ContainsAny(file, `$"'*?`) {
			return nil, endingError("its last command is no test runner that is known")
		}
		if text, err = readWrapper(file, read); err != nil {
			return nil, err
		}
		head, _, _ := strings.Cut(string(text), "\n")
		if file == name && !shebang.MatchString(head) {
			return nil, endingError(file + " is no script of a shell")
		}
		inner = string(text)
	}
	e, err := endOf(inner, read, depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if out.make && e.make || out.make && depth > 0 {
		return nil, endingError("make runs inside of something else")
	}
	out.Program, out.way, out.make = e.Program, e.way, out.make || e.make
	out.fixed = out.fixed || e.fixed
	if e.pass != "" || e.way.first {
		out.fixed = true // how arguments would get through is not certain
	}
	out.Files, out.Texts = append([]string{file}, e.Files...), append([][]byte{text}, e.Texts...)
	return &out, nil
}

var shebang = regexp.MustCompile(`^#!\s*(/usr)?/bin/(env\s+)?(sh|bash|dash)(\s|$)`)

func readWrapper(file string, read func(string) ([]byte, error)) ([]byte, error) {
	if path.IsAbs(file) || !fs.ValidPath(path.Clean(file)) {
		return nil, endingError(file + " is not in the workspace")
	}
	text, err := read(path.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", file, err)
	}
	if len(text) > maxWrapper {
		return nil, endingError(file + " is too long")
	}
	return text, nil
}

// scriptName is the script of package.json that a package manager is asked to run; own
// says that it has been given arguments for it.
func scriptName(words []string) (name string, own bool) {
	args := words[1:]
	if i := slices.Index(args, "--"); i >= 0 {
		args, own = args[:i], true
	}
	args = slices.DeleteFunc(slices.Clone(args), func(w string) bool { return w == "-s" || w == "--silent" })
	switch {
	case len(args) == 1 && (args[0] == "test" || args[0] == "t" && words[0] != "yarn" || words[0] != "npm" && !strings.HasPrefix(args[0], "-")):
		if name = args[0]; name == "t" {
			name = "test"
		}
	case len(args) == 2 && (args[0] == "run" || args[0] == "run-script") && !strings.HasPrefix(args[1], "-"):
		name = args[1]
	}
	return name, own
}

// packageScript is a script of a package.json.
func packageScript(text []byte, name string) (string, error) {
	var p struct{ Scripts map[string]string }
	if err := json.Unmarshal(text, &p); err != nil {
		return "", endingError("package.json cannot be understood")
	}
	switch {
	case p.Scripts[name] == "":
		return "", endingError("package.json has no script " + strconv.Quote(name))
	case p.Scripts["post"+name] != "":
		return "", endingError("after it a script post" + name + " would run")
	}
	if w, _ := wayOf(p.Scripts["pre"+name]); w != nil {
		return "", endingError("it runs tests more than once")
	}
	return p.Scripts[name], nil
}

var (
	makeVariable = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)\s*(\?|:|::)?=\s*([^$#]*)$`)
	makeUse      = regexp.MustCompile(`\$[({]([A-Za-z_][A-Za-z0-9_]*)[)}]`)
	makeRule     = regexp.MustCompile(`^([A-Za-z0-9_./ -]+):([^=].*)?$`)
	makeFailed   = regexp.MustCompile(`^make(?:\[\d+\])?: \*\*\* \[(?:[^\]]*)\] Error (\d+)`)
)

// recipe is the recipe of a target of a plain makefile, the first for none.
func recipe(text string, target []string) (string, error) {
	type rule struct{ needs, lines []string }
	rules, values := map[string]*rule{}, map[string]string{}
	first, in := "", []*rule(nil)
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "\t") {
			for _, r := range in {
				r.lines = append(r.lines, strings.TrimSpace(line))
			}
			continue
		}
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		in = nil
		if m := makeVariable.FindStringSubmatch(line); m != nil {
			if _, twice := values[m[1]]; twice {
				return "", endingError("the makefile sets " + m[1] + " twice")
			}
			values[m[1]] = strings.TrimSpace(m[3])
			continue
		}
		m := makeRule.FindStringSubmatch(line)
		if m == nil || strings.Contains(m[2], ";") {
			return "", endingError("the makefile is not a plain one: " + clip(line, maxName))
		}
		needs, _, _ := strings.Cut(m[2], "#")
		for _, name := range strings.Fields(m[1]) {
			if rules[name] != nil && !strings.HasPrefix(name, ".") {
				return "", endingError("the makefile has several rules for " + name)
			}
			rules[name] = &rule{needs: strings.Fields(strings.TrimPrefix(needs, ":"))}
			in = append(in, rules[name])
			if first == "" && !strings.HasPrefix(name, ".") {
				first = name
			}
		}
	}
	if len(target) > 0 {
		first = target[0]
	}
	own := rules[first]
	if own == nil || len(own.lines) == 0 || rules[".ONESHELL"] != nil || rules[".IGNORE"] != nil || rules[".DEFAULT_GOAL"] != nil {
		return "", endingError("the makefile has no plain rule for " + strconv.Quote(first))
	}
	expand := func(line string) string {
		line = strings.TrimLeft(line, "@+ ")
		return makeUse.ReplaceAllStringFunc(line, func(use string) string {
			if v, ok := values[use[2:len(use)-1]]; ok {
				return v
			}
			return use
		})
	}
	seen := map[string]bool{first: true}
	for queue := slices.Clone(own.needs); len(queue) > 0; queue = queue[1:] {
		r := rules[queue[0]]
		if seen[queue[0]] || r == nil {
			continue
		}
		seen[queue[0]] = true
		queue = append(queue, r.needs...)
		for _, line := range r.lines {
			if w, _ := wayOf(expand(line)); w != nil || strings.Contains(line, "MAKE") {
				return "", endingError(queue[0] + ", which comes before it, may run tests")
			}
		}
	}
	for i, line := range own.lines {
		own.lines[i] = expand(line)
		if strings.HasPrefix(own.lines[i], "-") {
			return "", endingError("the recipe ignores failures")
		}
	}
	return strings.Join(own.lines, "\n"), nil
}

// Failed reports whether the exit code of the script, and the last lines that it printed,
// say that tests failed and nothing else did.
func (e *Ending) Failed(exit int, tail []string) bool {
	if exit == 0 {
		return false
	}
	if e.make {
		if exit != 2 {
			return false
		}
		found := 0
		for _, line := range tail {
			if m := makeFailed.FindStringSubmatch(line); m != nil {
				found++
				exit, _ = strconv.Atoi(m[1])
			}
		}
		if found != 1 {
			return false
		}
	}
	if len(e.way.exits) > 0 && !slices.Contains(e.way.exits, exit) {
		return false
	}
	return e.way.told == nil || e.way.told(tail)
}

// Wrapped reports whether something stands between the script and the runner.
func (e *Ending) Wrapped() bool { return len(e.Files) > 0 }

// Ran reports whether the runner is among programs that ran, by their arguments with a
// NUL after each.
func (e *Ending) Ran(argv []byte) bool {
	for arg := range strings.SplitSeq(string(argv), "\x00") {
		if program(arg) == e.Program {
			return true
		}
	}
	return false
}

// Line is the command line of the script.
func (e *Ending) Line() string { return e.line }

// Again is the command line that runs failed tests, and perhaps others; "" when it is
// not known how to say that.
func (e *Ending) Again(failed []record.TestResult) string {
	if e.way.again == nil || len(failed) == 0 || e.fixed {
		return ""
	}
	words := strings.Fields(e.line)
	if slices.Contains(words, "-args") || !e.Wrapped() && slices.Contains(words, "--") {
		return ""
	}
	more := ""
	for _, arg := range e.way.again(failed) {
		if !plainArg.MatchString(arg) {
			if strings.ContainsAny(arg, "'\r\n\x00") {
				return ""
			}
			arg = "'" + arg + "'"
		}
		more += " " + arg
	}
	switch {
	case more == "":
		return ""
	case e.pass != "":
		return e.line + " " + e.pass + more
	case e.way.first:
		return after(e.line, e.head) + more + e.line[len(after(e.line, e.head)):]
	}
	return e.line + more
}

// plainArg needs no quotes in a shell.
var plainArg = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+-]+$`)

// after is a line up to the end of its nth word.
func after(line string, n int) string {
	at := 0
	for range n {
		for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
			at++
		}
		for at < len(line) && line[at] != ' ' && line[at] != '\t' {
			at++
		}
	}
	return line[:at]
}

// option is for a runner that remembers which tests failed.
func option(o string) func([]record.TestResult) []string {
	return func([]record.TestResult) []string { return []string{o} }
}

// each is an option for each test.
func each(option string, name func(*record.TestResult) string) func([]record.TestResult) []string {
	return func(failed []record.TestResult) (args []string) {
		for _, name := range unique(failed, name) {
			args = append(args, option, name)
		}
		return args
	}
}

// pattern is an option with a regular expression that finds the names of tests.
func pattern(option string) func([]record.TestResult) []string {
	return func(failed []record.TestResult) []string {
		names := unique(failed, func(r *record.TestResult) string { return regexp.QuoteMeta(r.Name) })
		if len(names) == 0 {
			return nil
		}
		return []string{option + "=" + strings.Join(names, "|")}
	}
}

// unique are names of tests, each once; none when one is empty or they are too many.
func unique(failed []record.TestResult, name func(*record.TestResult) string) []string {
	var names []string
	for i := range failed {
		n := name(&failed[i])
		if strings.Trim(n, "*") == "" || strings.HasPrefix(n, "-") {
			return nil
		}
		names = append(names, n)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > maxAgain {
		return nil
	}
	return names
}

// identifier is a name in most programming languages.
var identifier = regexp.MustCompile(`^[\pL_$][\pL\pN_$]*$`)

// goAgain selects tests of go test, with the tests in them. Of a package that does not
// build there is none to select.
func goAgain(failed []record.TestResult) []string {
	names := unique(failed, func(r *record.TestResult) string {
		name := r.Name
		if len(r.Groups) > 0 {
			name = r.Groups[0]
		}
		if !identifier.MatchString(name) || name == r.Suite {
			return ""
		}
		return name
	})
	if len(names) == 0 {
		return nil
	}
	return []string{"-run", "^(" + strings.Join(names, "|") + ")$"}
}

// selected selects tests as when they are shared out: by unit, and by test where a test
// has a plain name.
func selected(runner string) func([]record.TestResult) []string {
	return func(failed []record.TestResult) []string {
		r, _ := RunnerNamed(runner)
		units := map[string]*Item{}
		var order []string
		for i := range failed {
			unit, test := r.item(&failed[i])
			if unit == "" || strings.HasPrefix(unit, "-") || len(order) == maxAgain {
				return nil
			}
			if r.Unit == "class" {
				test, _, _ = strings.Cut(test, "(")
				if test, _, _ = strings.Cut(test, "["); !identifier.MatchString(test) {
					test = ""
				}
			}
			u := units[unit]
			if u == nil {
				u = &Item{Name: unit}
				units[unit], order = u, append(order, unit)
				if test != "" && r.Tests {
					u.Tests = []string{test}
				}
				continue
			}
			if test == "" || len(u.Tests) == 0 || !r.Tests {
				u.Tests = nil // all of it
			} else if !slices.Contains(u.Tests, test) {
				u.Tests = append(u.Tests, test)
			}
		}
		slices.Sort(order)
		var items []Item
		for _, unit := range order {
			slices.Sort(units[unit].Tests)
			items = append(items, *units[unit])
		}
		if len(items) == 0 {
			return nil
		}
		return r.args(items, "")
	}
}

// mavenTold: each goal that failed ran tests, and no module was left out for that.
func mavenTold(tail []string) bool {
	tests := false
	for _, line := range tail {
		switch {
		case strings.Contains(line, "Failed to execute goal"):
			if !strings.Contains(line, "There are test failures") {
				return false
			}
			tests = true
		case strings.HasPrefix(line, "[INFO] ") && strings.HasSuffix(strings.TrimSpace(line), " SKIPPED"):
			return false
		}
	}
	return tests
}

// gradleTold: each task that failed ran tests.
func gradleTold(tail []string) bool {
	wrong, failed, tests := 0, 0, 0
	for _, line := range tail {
		switch line = strings.TrimSpace(line); {
		case line == "* What went wrong:":
			wrong++
		case strings.HasPrefix(line, "Execution failed for task "):
			failed++
		case strings.HasPrefix(line, "> There were failing tests"):
			tests++
		}
	}
	return wrong > 0 && wrong == failed && wrong == tests
}
