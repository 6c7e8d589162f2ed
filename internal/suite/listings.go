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
)

// What each runner of the table in runners.go prints when it lists tests, and
// the arguments that select them.

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
