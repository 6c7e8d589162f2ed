package suite

import (
	"bytes"
	"cmp"
	"fmt"
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
