package suite

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxLine is how long a command line may be, in bytes. Windows allows 32,767
// characters for all of it; elsewhere there is more room, but the same line
// everywhere means the same batches everywhere.
const maxLine = 30_000

// maxFound is how many tests a listing may have; what goes beyond is said.
const maxFound = 500_000

// Runner is a program that runs tests, as far as sharing them out needs to know
// it: how it says which tests there are, and how it is told which to run.
type Runner struct {
	Name string // "go", "pytest"
	Unit string // what is shared out: "package", "file", "class", "binary"
	// List is a command that prints which tests there are; none when they are
	// told by the names of files, one a line on the input: Files.
	List  []string
	Files []string // how the names of test files end, for people
	Run   []string // how tests are usually run; the arguments of a selection follow
	// Tests says whether single tests of a unit can be run.
	Tests bool

	read func(l *Listing, output []byte, root string)
	args func(items []Item, root string) []string
	item func(t *record.TestResult) (item, test string)
}

// Listing is which tests there are.
type Listing struct {
	Found    []Found  `json:"found"`
	Problems []string `json:"problems,omitempty"` // what could not be read or built
}

// Found is a unit and its tests. No tests may mean that they are not known: such
// a unit is run all the same, so that what is wrong with it comes to light.
type Found struct {
	Name  string   `json:"name"`
	Tests []string `json:"tests,omitempty"`
}

// Runners are those that are known, by name.
func Runners() []Runner {
	return []Runner{
		{
			Name: "cargo-nextest", Unit: "binary", Tests: true,
			List: []string{"cargo", "nextest", "list", "--message-format", "json"},
			Run:  []string{"cargo", "nextest", "run"},
			read: readNextest, args: nextestArgs,
			item: func(t *record.TestResult) (string, string) {
				return t.Suite, strings.Join(append(slices.Clone(t.Groups), t.Name), "::")
			},
		},
		{
			Name: "dotnet", Unit: "class", Tests: true,
			List: []string{"dotnet", "test", "--list-tests", "--nologo"},
			Run:  []string{"dotnet", "test"},
			read: readDotnet, args: dotnetArgs, item: classItem,
		},
		{
			Name: "files", Unit: "file",
			read: readFiles, args: names, item: fileItem,
		},
		{
			Name: "go", Unit: "package", Tests: true,
			List: []string{"go", "test", "-json", "-list", "^(Test|Example|Fuzz)", "./..."},
			Run:  []string{"go", "test"},
			read: readGo, args: goArgs,
			item: func(t *record.TestResult) (string, string) {
				top, _, _ := strings.Cut(t.Name, "/")
				if len(t.Groups) > 0 {
					top = t.Groups[0]
				}
				return t.Suite, top
			},
		},
		{
			Name: "gradle", Unit: "class", Tests: true, Files: classFiles,
			Run:  []string{"gradle", "test"},
			read: readClasses, item: classItem,
			args: func(items []Item, _ string) (args []string) {
				for _, item := range items {
					if len(item.Tests) == 0 {
						args = append(args, "--tests", item.Name)
					}
					for _, test := range item.Tests {
						args = append(args, "--tests", item.Name+"."+test)
					}
				}
				return args
			},
		},
		{
			Name: "jest", Unit: "file",
			List: []string{"npx", "jest", "--listTests", "--json"},
			Run:  []string{"npx", "jest"},
			read: readJest, item: fileItem,
			args: func(items []Item, root string) []string {
				return append([]string{"--runTestsByPath"}, names(items, root)...)
			},
		},
		{
			Name: "maven", Unit: "class", Tests: true, Files: classFiles,
			Run:  []string{"mvn", "test"},
			read: readClasses, args: mavenArgs, item: classItem,
		},
		{
			Name: "mocha", Unit: "file",
			List: []string{"npx", "mocha", "--dry-run", "--reporter", "json"},
			Run:  []string{"npx", "mocha"},
			read: readMocha, args: names, item: fileItem,
		},
		{
			Name: "playwright", Unit: "file", Tests: true,
			List: []string{"npx", "playwright", "test", "--list", "--reporter=json"},
			Run:  []string{"npx", "playwright", "test"},
			read: readPlaywright, args: playwrightArgs,
			item: func(t *record.TestResult) (string, string) {
				file, _ := fileItem(t)
				return file, fmt.Sprintf("%s:%d", file, t.Line)
			},
		},
		{
			Name: "pytest", Unit: "file", Tests: true,
			List: []string{"pytest", "--collect-only", "-q"},
			Run:  []string{"pytest"},
			read: readPytest, args: wholeOrTests,
			item: func(t *record.TestResult) (string, string) {
				file, _ := fileItem(t)
				name := t.Name
				if t.Params != "" && !strings.HasSuffix(name, "]") {
					name += "[" + t.Params + "]"
				}
				return file, strings.Join(append(append([]string{file}, t.Groups...), name), "::")
			},
		},
		{
			Name: "rspec", Unit: "file", Tests: true,
			List: []string{"bundle", "exec", "rspec", "--dry-run", "--format", "json"},
			Run:  []string{"bundle", "exec", "rspec"},
			read: readRSpec, args: wholeOrTests, item: fileItem,
		},
		{
			Name: "vitest", Unit: "file",
			List: []string{"npx", "vitest", "list", "--json"},
			Run:  []string{"npx", "vitest", "run"},
			read: readVitest, item: fileItem,
			args: func(items []Item, root string) []string {
				// A name is looked for in every path: only a whole path is
				// sure to mean one file.
				args := names(items, root)
				for i := range args {
					if root != "" && !strings.HasPrefix(args[i], "/") {
						args[i] = strings.TrimSuffix(root, "/") + "/" + args[i]
					}
				}
				return args
			},
		},
	}
}

// RunnerNamed is a runner by its name.
func RunnerNamed(name string) (Runner, bool) {
	all := Runners()
	i := slices.IndexFunc(all, func(r Runner) bool { return r.Name == name })
	if i < 0 {
		return Runner{}, false
	}
	return all[i], true
}

// Guess is the runner that a command line starts; false when it is none that is
// known: "npx vitest run", "./gradlew test", "python -m pytest -x".
func Guess(command []string) (Runner, bool) {
	for i, word := range command {
		word = word[strings.LastIndexAny(word, `/\`)+1:]
		for _, ending := range []string{".exe", ".cmd", ".bat", ".js"} {
			word = strings.TrimSuffix(word, ending)
		}
		next := ""
		if i+1 < len(command) {
			next = command[i+1]
		}
		switch {
		case word == "go" && next == "test", word == "dotnet" && next == "test":
			return RunnerNamed(word)
		case word == "cargo" && next == "nextest":
			return RunnerNamed("cargo-nextest")
		case word == "mvn", word == "mvnw", word == "mvnd":
			return RunnerNamed("maven")
		case word == "gradle", word == "gradlew":
			return RunnerNamed("gradle")
		case word == "py.test":
			return RunnerNamed("pytest")
		case slices.Contains([]string{"pytest", "jest", "vitest", "playwright", "mocha", "rspec"}, word):
			return RunnerNamed(word)
		}
	}
	return Runner{}, false
}

// Read says which tests there are, by what the command of List printed or by
// the names of files. Files are named from root, the directory that the command
// ran in, with slashes. Units are in the order of their names. Output that is
// not what it should be gives problems.
func (r Runner) Read(output []byte, root string) Listing {
	var l Listing
	r.read(&l, bytes.TrimPrefix(output, []byte("\ufeff")), strings.ReplaceAll(root, `\`, "/"))
	units := make(map[string]*Found, len(l.Found))
	order := make([]string, 0, len(l.Found))
	tests := 0
	for _, f := range l.Found {
		if tests += 1 + len(f.Tests); tests > maxFound {
			l.Problems = append(l.Problems, fmt.Sprintf("more than %d tests: the rest is left out", maxFound))
			break
		}
		u := units[f.Name]
		if u == nil {
			u = &Found{Name: f.Name}
			units[f.Name] = u
			order = append(order, f.Name)
		}
		u.Tests = append(u.Tests, f.Tests...)
	}
	slices.Sort(order)
	l.Found = l.Found[:0]
	for _, name := range order {
		u := units[name]
		slices.Sort(u.Tests)
		u.Tests = slices.Compact(u.Tests)
		l.Found = append(l.Found, *u)
	}
	return l
}

// Commands are the command lines that run the items, each short enough for
// every system; none for no items. The first words are the user's own: "go test
// -race". Of a runner that cannot run single tests, all of an item is run.
func (r Runner) Commands(words []string, items []Item, root string) [][]string {
	length := func(args []string) (n int) {
		for _, a := range args {
			n += len(a) + 3 // a space, and quotes
		}
		return n
	}
	room := maxLine - length(words)
	var pieces []Item
	for _, item := range items {
		if !r.Tests {
			item.Tests = nil
		}
		pieces = append(pieces, r.halve(item, root, room, length)...)
	}
	var lines [][]string
	for len(pieces) > 0 {
		n, used := 0, 0
		for n < len(pieces) {
			used += length(r.args(pieces[n:n+1], root))
			// A package with its own tests is a command of its own: what
			// selects them would hold for all packages.
			alone := r.Name == "go" && (len(pieces[n].Tests) > 0 || n > 0 && len(pieces[0].Tests) > 0)
			if n > 0 && (used > room || alone) {
				break
			}
			n++
		}
		lines = append(lines, append(slices.Clone(words), r.args(pieces[:n], root)...))
		pieces = pieces[n:]
	}
	return lines
}

// halve splits an item with more tests than fit on a line.
func (r Runner) halve(item Item, root string, room int, length func([]string) int) []Item {
	if len(item.Tests) < 2 || length(r.args([]Item{item}, root)) <= room {
		return []Item{item}
	}
	first, second := item, item
	first.Tests, second.Tests = item.Tests[:len(item.Tests)/2], item.Tests[len(item.Tests)/2:]
	return append(r.halve(first, root, room, length), r.halve(second, root, room, length)...)
}

// Items are what was found, with the time that the past says: of each unit and,
// by test, of what it is made of. Seconds are those of an [Order], or of a
// report, under the names that [Runner.Place] finds.
func (l Listing) Items(seconds func(unit, test string) float64) []Item {
	items := make([]Item, len(l.Found))
	for i, f := range l.Found {
		items[i] = Item{Name: f.Name, Seconds: seconds(f.Name, "")}
		if items[i].Seconds > 0 {
			continue
		}
		for _, test := range f.Tests {
			items[i].Seconds += seconds(f.Name, test)
		}
	}
	return items
}

// Place says, of results, which unit of the listing each is of, and which of
// its tests. Reports name both in their own ways: "tests.api.test_login.TestForm"
// is a class in tests/api/test_login.py. What is found nowhere has no place:
// its time is of no use, which should be said.
func (r Runner) Place(l Listing) func(t *record.TestResult) (unit, test string, ok bool) {
	units := make(map[string]bool, len(l.Found))
	dotted := make(map[string]string, len(l.Found))  // "tests.api.test_login" to its file
	endings := make(map[string]string, len(l.Found)) // "test_login.py" to its file, "" for several
	for _, f := range l.Found {
		units[f.Name] = true
		bare := f.Name
		if dot := strings.LastIndexByte(bare, '.'); dot > strings.LastIndexByte(bare, '/') {
			bare = bare[:dot]
		}
		dotted[strings.ReplaceAll(bare, "/", ".")] = f.Name
		for end := f.Name; ; {
			if _, twice := endings[end]; twice {
				endings[end] = ""
			} else {
				endings[end] = f.Name
			}
			_, rest, ok := strings.Cut(end, "/")
			if !ok {
				break
			}
			end = rest
		}
	}
	return func(t *record.TestResult) (unit, test string, ok bool) {
		unit, test = r.item(t)
		if units[unit] || r.Unit != "file" {
			return unit, test, units[unit]
		}
		at := *t
		if strings.Contains(unit, "/") {
			// The report was written from another directory.
			for end := unit; end != ""; _, end, _ = strings.Cut(end, "/") {
				if file := endings[end]; file != "" {
					at.File = file
					unit, test = r.item(&at)
					return unit, test, true
				}
			}
		} else if file := endings[unit]; file != "" {
			at.File = file
			unit, test = r.item(&at)
			return unit, test, true
		}
		for prefix := t.Suite; prefix != ""; prefix, _, _ = cutLast(prefix, '.') {
			if file := dotted[prefix]; file != "" {
				at.File = file
				if rest := strings.TrimPrefix(t.Suite[len(prefix):], "."); rest != "" {
					at.Groups = append(strings.Split(rest, "."), t.Groups...)
				}
				unit, test = r.item(&at)
				return unit, test, true
			}
			if !strings.Contains(prefix, ".") {
				break
			}
		}
		return unit, test, false
	}
}

// fileItem is for runners of files. Where the report has no file, its suite is
// one often enough.
func fileItem(t *record.TestResult) (string, string) {
	file := strings.ReplaceAll(cmp.Or(t.File, t.Suite), `\`, "/")
	return strings.TrimPrefix(file, "./"), t.Name
}

// classItem is for runners of classes.
func classItem(t *record.TestResult) (string, string) {
	return strings.Join(append([]string{t.Suite}, t.Groups...), "."), t.Name
}

func (l *Listing) problem(format string, args ...any) {
	l.Problems = append(l.Problems, fmt.Sprintf(format, args...))
}

// relative names a file from the root.
func relative(file, root string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	if root != "" {
		file = strings.TrimPrefix(file, strings.TrimSuffix(root, "/")+"/")
	}
	return strings.TrimPrefix(file, "./")
}

// lines of an output, without the ends of lines.
func lines(output []byte) []string {
	return strings.Split(strings.ReplaceAll(string(output), "\r\n", "\n"), "\n")
}

// maxStarts is how many lines are tried as the beginning of a JSON document.
const maxStarts = 100

// document reads the JSON document in an output. Warnings of package managers
// and the like stand before it, some in brackets: it begins with the first line
// from which on there is one.
func document(output []byte, into any) error {
	err := fmt.Errorf("there is no JSON in it")
	for tried := 0; len(output) > 0 && tried < maxStarts; {
		if c := output[0]; c == '{' || c == '[' {
			tried++
			if err = json.NewDecoder(bytes.NewReader(output)).Decode(into); err == nil {
				return nil
			}
		}
		next := bytes.IndexByte(output, '\n')
		if next < 0 {
			break
		}
		output = output[next+1:]
	}
	return err
}

// names are the items' own.
func names(items []Item, _ string) (args []string) {
	for _, item := range items {
		args = append(args, item.Name)
	}
	return args
}

// wholeOrTests are the names of items, or of those of their tests that are
// meant: for runners whose tests are named together with their file.
func wholeOrTests(items []Item, _ string) (args []string) {
	for _, item := range items {
		if len(item.Tests) == 0 {
			args = append(args, item.Name)
		}
		args = append(args, item.Tests...)
	}
	return args
}

// readFiles takes names of files, one a line or with zeros between them.
func readFiles(l *Listing, output []byte, root string) {
	for _, line := range strings.FieldsFunc(string(output), func(c rune) bool { return c == '\n' || c == '\r' || c == 0 }) {
		if file := relative(line, root); file != "" {
			l.Found = append(l.Found, Found{Name: file})
		}
	}
}

// readGo takes what "go test -list" prints, with -json or without.
func readGo(l *Listing, output []byte, _ string) {
	tests := map[string][]string{}
	failed := map[string]bool{}
	var pending []string // names printed before the line of their package
	take := func(pkg, line string) {
		word, rest, _ := strings.Cut(line, "\t")
		switch {
		case isGoTest(line) && pkg != "":
			tests[pkg] = append(tests[pkg], line)
		case isGoTest(line):
			pending = append(pending, line)
		case strings.TrimSpace(word) == "ok" && pkg == "":
			name, _, _ := strings.Cut(rest, "\t")
			if len(pending) > 0 {
				tests[name] = append(tests[name], pending...)
			}
			pending = nil
		case word == "FAIL" && pkg == "" && rest != "":
			name, _, _ := strings.Cut(strings.Replace(rest, " [", "\t[", 1), "\t")
			failed[name] = true
			pending = nil
		}
	}
	scan := bufio.NewReader(bytes.NewReader(output))
	for {
		raw, err := scan.ReadBytes('\n')
		if line := strings.TrimRight(string(raw), "\r\n"); strings.HasPrefix(line, "{") {
			var e struct{ Action, Package, Output string }
			if json.Unmarshal([]byte(line), &e) == nil {
				switch e.Action {
				case "output":
					take(e.Package, strings.TrimRight(e.Output, "\r\n"))
				case "fail":
					failed[e.Package] = true
				}
			}
		} else {
			take("", line)
		}
		if err == io.EOF {
			break
		}
	}
	for pkg, names := range tests {
		l.Found = append(l.Found, Found{pkg, names})
	}
	for _, pkg := range slices.Sorted(maps.Keys(failed)) {
		if pkg != "" {
			l.Found = append(l.Found, Found{Name: pkg})
			l.problem("%s: its tests could not be listed, for it does not build; it is run as a whole", pkg)
		}
	}
}

// isGoTest reports whether a line is the name of a test.
func isGoTest(line string) bool {
	return (strings.HasPrefix(line, "Test") || strings.HasPrefix(line, "Example") || strings.HasPrefix(line, "Fuzz")) &&
		!strings.ContainsAny(line, " \t():/.")
}

func goArgs(items []Item, _ string) []string {
	if len(items) == 1 && len(items[0].Tests) > 0 {
		quoted := make([]string, len(items[0].Tests))
		for i, test := range items[0].Tests {
			quoted[i] = regexp.QuoteMeta(test)
		}
		return []string{"-run", "^(" + strings.Join(quoted, "|") + ")$", items[0].Name}
	}
	return names(items, "")
}

// readPytest takes the node IDs that "pytest --collect-only -q" prints, or, said
// twice, files and the number of their tests.
func readPytest(l *Listing, output []byte, root string) {
	counted := regexp.MustCompile(`^(\S.*\.py): \d+$`)
	failed := regexp.MustCompile(`^ERROR (\S+\.py)(?: - (.*))?$`)
	for _, line := range lines(output) {
		line = strings.TrimRight(line, " \t\r")
		if m := failed.FindStringSubmatch(line); m != nil {
			file := relative(m[1], root)
			l.Found = append(l.Found, Found{Name: file})
			l.problem("%s: its tests could not be listed: %s; it is run as a whole", file, cmp.Or(m[2], "no reason is given"))
			continue
		}
		if m := counted.FindStringSubmatch(line); m != nil {
			l.Found = append(l.Found, Found{Name: relative(m[1], root)})
			continue
		}
		file, test, ok := strings.Cut(line, "::")
		if !ok || file == "" || strings.ContainsAny(file, " \t<=") && !strings.HasSuffix(file, ".py") || strings.HasPrefix(line, " ") {
			continue
		}
		file = relative(file, root)
		l.Found = append(l.Found, Found{file, []string{file + "::" + test}})
	}
}

func readJest(l *Listing, output []byte, root string) {
	var files []string
	if err := document(output, &files); err != nil {
		l.problem("what jest --listTests --json printed cannot be read: %v", err)
	}
	for _, file := range files {
		l.Found = append(l.Found, Found{Name: relative(file, root)})
	}
}

func readVitest(l *Listing, output []byte, root string) {
	var tests []struct{ Name, File string }
	if err := document(output, &tests); err != nil {
		l.problem("what vitest list --json printed cannot be read: %v", err)
	}
	for _, t := range tests {
		f := Found{Name: relative(t.File, root)}
		if t.Name != "" {
			f.Tests = []string{t.Name}
		}
		l.Found = append(l.Found, f)
	}
}

func readMocha(l *Listing, output []byte, root string) {
	var report struct {
		Tests []struct{ File, FullTitle string }
	}
	if err := document(output, &report); err != nil {
		l.problem("what mocha --dry-run --reporter json printed cannot be read: %v", err)
	}
	for _, t := range report.Tests {
		if t.File == "" {
			l.problem("mocha does not say in which file %q is", t.FullTitle)
			continue
		}
		l.Found = append(l.Found, Found{relative(t.File, root), []string{t.FullTitle}})
	}
}

// playwrightSuite is a file or a describe block of a listing.
type playwrightSuite struct {
	File  string
	Specs []struct {
		File string
		Line int
	}
	Suites []playwrightSuite
}

func readPlaywright(l *Listing, output []byte, root string) {
	var report struct {
		Suites []playwrightSuite
		Errors []struct{ Message string }
	}
	if err := document(output, &report); err != nil {
		l.problem("what playwright test --list --reporter=json printed cannot be read: %v", err)
	}
	for _, e := range report.Errors {
		text, _, _ := strings.Cut(e.Message, "\n")
		l.problem("playwright: %s", text)
	}
	// A test that a helper file declares is run by the file of its suite.
	var walk func(suites []playwrightSuite, top string)
	walk = func(suites []playwrightSuite, top string) {
		for _, s := range suites {
			file := cmp.Or(top, relative(s.File, root))
			f := Found{Name: file}
			for _, spec := range s.Specs {
				f.Tests = append(f.Tests, fmt.Sprintf("%s:%d", relative(cmp.Or(spec.File, file), root), spec.Line))
			}
			l.Found = append(l.Found, f)
			walk(s.Suites, file)
		}
	}
	walk(report.Suites, "")
}

// playwrightArgs are regular expressions that Playwright looks for in whole
// paths.
func playwrightArgs(items []Item, root string) (args []string) {
	for _, arg := range wholeOrTests(items, root) {
		file, line := arg, ""
		if i := strings.LastIndexByte(arg, ':'); i > 0 && strings.Trim(arg[i+1:], "0123456789") == "" {
			file, line = arg[:i], arg[i:]
		}
		args = append(args, "/"+regexp.QuoteMeta(file)+"$"+line)
	}
	return args
}

func readRSpec(l *Listing, output []byte, root string) {
	var report struct {
		Examples []struct {
			ID   string
			File string `json:"file_path"`
		}
		Summary struct {
			Outside int `json:"errors_outside_of_examples_count"`
		}
	}
	if err := document(output, &report); err != nil {
		l.problem("what rspec --dry-run --format json printed cannot be read: %v", err)
	}
	if n := report.Summary.Outside; n > 0 {
		l.problem("rspec could not load everything: %d errors outside of examples", n)
	}
	for _, e := range report.Examples {
		// An example that several files share is of the file that its ID names.
		file, _, ok := strings.Cut(e.ID, "[")
		if !ok {
			l.Found = append(l.Found, Found{Name: relative(e.File, root)})
			continue
		}
		id := relative(e.ID, root)
		l.Found = append(l.Found, Found{relative(file, root), []string{id}})
	}
}

func readNextest(l *Listing, output []byte, _ string) {
	var report struct {
		Suites map[string]struct {
			Testcases map[string]struct {
				Ignored bool
				Match   struct{ Status string } `json:"filter-match"`
			}
		} `json:"rust-suites"`
	}
	if err := document(output, &report); err != nil {
		l.problem("what cargo nextest list --message-format json printed cannot be read: %v", err)
	}
	for binary, s := range report.Suites {
		f := Found{Name: binary}
		for test, is := range s.Testcases {
			if !is.Ignored && is.Match.Status != "mismatch" {
				f.Tests = append(f.Tests, test)
			}
		}
		if len(f.Tests) > 0 {
			l.Found = append(l.Found, f)
		}
	}
}

// nextestArgs are expressions of nextest's language for sets of tests.
func nextestArgs(items []Item, _ string) (args []string) {
	escape := strings.NewReplacer(`\`, `\\`, ")", `\)`, ",", `\,`) // \( is none
	for _, item := range items {
		set := "binary_id(=" + escape.Replace(item.Name) + ")"
		if len(item.Tests) > 0 {
			tests := make([]string, len(item.Tests))
			for i, test := range item.Tests {
				tests[i] = "test(=" + escape.Replace(test) + ")"
			}
			set += " and (" + strings.Join(tests, " or ") + ")"
		}
		args = append(args, "-E", set)
	}
	return args
}

// classFiles are what surefire takes for tests, and what Gradle projects
// mostly have.
var classFiles = []string{"Test.java", "Tests.java", "TestCase.java", "Test.kt", "Tests.kt", "Test.groovy", "Spec.groovy", "Test.scala", "Spec.scala"}

// readClasses takes paths of source files. The package follows src/test/java and
// its like.
func readClasses(l *Listing, output []byte, root string) {
	source := regexp.MustCompile(`(?:^|/)src/[A-Za-z]*[tT]est[A-Za-z]*/(?:java|kotlin|groovy|scala)/(.+)\.(?:java|kt|groovy|scala)$`)
	for _, line := range strings.FieldsFunc(string(output), func(c rune) bool { return c == '\n' || c == '\r' || c == 0 }) {
		file := relative(line, root)
		name := file[strings.LastIndexByte(file, '/')+1:]
		isTest := slices.ContainsFunc(classFiles, func(end string) bool { return strings.HasSuffix(name, end) }) ||
			strings.HasPrefix(name, "Test") && (strings.HasSuffix(name, ".java") || strings.HasSuffix(name, ".kt"))
		if !isTest {
			continue
		}
		m := source.FindStringSubmatch(file)
		if m == nil {
			l.problem("%s: it is in no src/test/java or the like, so that its class is not known; it is left out", file)
			continue
		}
		l.Found = append(l.Found, Found{Name: strings.ReplaceAll(m[1], "/", ".")})
	}
}

func mavenArgs(items []Item, _ string) []string {
	tests := make([]string, len(items))
	for i, item := range items {
		tests[i] = item.Name
		if len(item.Tests) > 0 {
			tests[i] += "#" + strings.Join(item.Tests, "+")
		}
	}
	// A module of the project without any of these classes is no mistake.
	return []string{"-Dtest=" + strings.Join(tests, ","), "-Dsurefire.failIfNoSpecifiedTests=false"}
}

// readDotnet takes what "dotnet test --list-tests" prints: a line that announces
// them, in the user's language, and below it the tests, indented.
func readDotnet(l *Listing, output []byte, _ string) {
	for _, line := range lines(output) {
		test := strings.TrimSpace(line)
		if !strings.HasPrefix(line, "    ") || test == "" {
			continue
		}
		// The cases of a test differ in what follows its name.
		if i := strings.IndexByte(test, '('); i > 0 {
			test = test[:i]
		}
		class, method, ok := cutLast(test, '.')
		if !ok || strings.ContainsAny(test, " \t") {
			l.problem("%q is a title and not the name of a method: it is run by no shard unless its class is", test)
			continue
		}
		l.Found = append(l.Found, Found{class, []string{method}})
	}
}

// cutLast cuts at the last separator.
func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func dotnetArgs(items []Item, _ string) []string {
	escape := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`, "&", `\&`, "|", `\|`, "=", `\=`, "!", `\!`, "~", `\~`, ",", "%2C")
	var terms []string
	for _, item := range items {
		if len(item.Tests) == 0 {
			// The dot keeps Cart from meaning CartItems.
			terms = append(terms, "FullyQualifiedName~"+escape.Replace(item.Name)+".")
		}
		for _, test := range item.Tests {
			terms = append(terms, "FullyQualifiedName="+escape.Replace(item.Name+"."+test))
		}
	}
	return []string{"--filter", strings.Join(terms, "|")}
}
