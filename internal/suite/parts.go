package suite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Parts is a script that runs tests, taken apart: each unit of the tests can be a process
// of its own, so that what each reads is known by itself, and what need not run is left
// out.
type Parts struct {
	Runner Runner
	// Before is what the script does before it runs tests, "" for nothing: that is done
	// once. Set are the options of the shell that hold for all of it.
	Before, Set string

	line  string // of the script
	words []string
	paths []string // of the line: what it names of the tests
	head  int      // words up to the runner's arguments
}

// PartsOf takes a script of a POSIX shell apart that runs tests with its last command. It
// answers nil when it runs none that are known, and an error, for people, when it is not
// certain that the parts together do what the whole does.
func PartsOf(script string) (*Parts, error) {
	var before, set []string
	last := ""
	for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if last != "" {
			before = append(before, last)
		}
		last = line
	}
	w, head := wayOf(last)
	if w == nil {
		return nil, nil
	}
	if _, err := EndOf(script, nil); err != nil {
		return nil, err
	}
	runner, _ := RunnerNamed(w.runner)
	if listed()[w.runner] == nil {
		return nil, endingError("it is not known which tests " + strings.Join(w.words, " ") + " would run")
	}
	p := &Parts{Runner: runner, line: last, head: head}
	for _, line := range before {
		switch first, _, _ := strings.Cut(line, " "); {
		case first == "set":
			set = append(set, line)
		case !plainCommand.MatchString(first) || slices.Contains(shellWords, first):
			return nil, endingError("what comes before the tests may change how they run: " + clip(line, maxName))
		default:
			p.Before += line + "\n"
		}
	}
	if len(set) > 0 {
		p.Set = strings.Join(set, "\n") + "\n"
	}
	if err := p.read(); err != nil {
		return nil, err
	}
	return p, nil
}

// plainCommand is the name of a program, which cannot change the shell that starts it.
var plainCommand = regexp.MustCompile(`^[A-Za-z0-9_./+-]+$`)

// shellWords are commands and keywords of the shell itself: after them it may not be what
// it was.
var shellWords = []string{
	".", "alias", "break", "case", "cd", "continue", "coproc", "declare", "do", "done", "elif", "else", "enable", "esac", "eval", "exec", "exit", "export", "fi", "for",
	"function", "getopts", "hash", "if", "let", "local", "mapfile", "popd", "pushd", "read", "readarray", "readonly", "return", "select", "shift", "shopt",
	"source", "then", "time", "trap", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
}

// alone are options of runners that take no argument, and valued are those that take the
// next word. Of others that is not certain.
var (
	alone = []string{
		"-v", "-vv", "-vvv", "-q", "-qq", "-s", "-l", "-i", "-w", "--verbose", "--quiet", "--silent", "--ci", "--coverage", "--color", "--colors", "--no-color",
		"--runInBand", "--detectOpenHandles", "--forceExit", "--no-cache", "--headed", "--run", "--no-header", "--no-summary", "--strict-markers", "--showlocals", "--no-cov",
	}
	valued = []string{
		"-k", "-m", "-n", "-p", "-o", "-W", "-c", "-t", "-j", "-r", "--config", "--cov", "--cov-report", "--dist", "--format", "--junitxml", "--maxWorkers", "--numprocesses",
		"--project", "--reporter", "--require", "--rootdir", "--tag", "--testNamePattern", "--timeout", "--workers",
	}
)

// read tells what of the line names tests.
func (p *Parts) read() error {
	fields := strings.Fields(p.line)
	for _, word := range fields {
		if word != "2>&1" && strings.ContainsAny(word, "<>") {
			return endingError("what it prints goes elsewhere")
		}
		if strings.Contains(word, "\x00") || strings.Count(word, "'")%2+strings.Count(word, `"`)%2 > 0 || strings.Contains(word, `\`) {
			return endingError("its command line is quoted in a way that is hard to take apart")
		}
	}
	p.words = slices.Clone(fields[:p.head])
	for i := p.head; i < len(fields); i++ {
		word := fields[i]
		before := fields[i-1]
		switch {
		case word == "2>&1":
			p.words = append(p.words, word)
		case word == "--" || p.Runner.Name == "go" && (word == "-args" || word == "-C" || strings.HasPrefix(word, "-C=")):
			return endingError("it is hard to tell what comes after " + word)
		case strings.HasPrefix(word, "-"):
			p.words = append(p.words, word)
		case p.Runner.Name == "vitest" && i == p.head && (word == "run" || word == "watch"):
			p.words = append(p.words, word)
			p.head++
		case p.Runner.Name == "go":
			if isPackage(word) {
				p.paths = append(p.paths, word)
			} else {
				p.words = append(p.words, word)
			}
		case i > p.head && slices.Contains(valued, before):
			p.words = append(p.words, word)
		case i == p.head || !strings.HasPrefix(before, "-") || strings.Contains(before, "=") || slices.Contains(alone, before):
			p.paths = append(p.paths, word)
		default:
			return endingError(fmt.Sprintf("it is hard to tell whether %s belongs to %s", clip(word, maxName), before))
		}
	}
	return nil
}

// isPackage reports whether a word of go test is certain to mean packages.
func isPackage(word string) bool {
	return word == "." || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") || strings.Contains(word, "...")
}

// listed are, by runner, the command lines that say which units there are.
func listed() map[string]func(p *Parts) []string {
	and := func(more ...string) func(p *Parts) []string {
		return func(p *Parts) []string { return slices.Concat(p.words, more, p.paths) }
	}
	return map[string]func(p *Parts) []string{
		"pytest":     and("--collect-only", "-q"),
		"jest":       and("--listTests", "--json"),
		"playwright": and("--list", "--reporter=json"),
		"rspec":      and("--dry-run", "--format", "json"),
		"vitest": func(p *Parts) []string {
			words := slices.DeleteFunc(slices.Clone(p.words[:p.head]), func(w string) bool { return w == "run" || w == "watch" })
			for _, w := range p.words[p.head:] {
				if strings.HasPrefix(w, "--config=") || strings.HasPrefix(w, "--root=") || strings.HasPrefix(w, "--dir=") || strings.HasPrefix(w, "--project=") {
					words = append(words, w)
				}
			}
			return slices.Concat(words, []string{"list", "--json"}, p.paths)
		},
		"go": func(p *Parts) []string {
			// Every package, for one without tests may not build.
			words := slices.Clone(p.words[:p.head])
			words[slices.Index(words, "test")] = "list"
			for i, w := range p.words {
				name, _, valued := strings.Cut(strings.TrimLeft(w, "-"), "=")
				if i < p.head || !strings.HasPrefix(w, "-") || !slices.Contains([]string{"tags", "mod", "modfile", "race"}, name) {
					continue
				}
				if words = append(words, w); !valued && name != "race" && i+1 < len(p.words) {
					words = append(words, p.words[i+1])
				}
			}
			return append(words, p.paths...)
		},
	}
}

// Line is the command line that runs the tests, as the script has it.
func (p *Parts) Line() string { return p.line }

// List is the command line that says which units there are; [Parts.Units] reads what it
// prints.
func (p *Parts) List() string { return strings.Join(listed()[p.Runner.Name](p), " ") }

// Units are what the command line of [Parts.List] printed. The error, for people, says
// why that cannot be all.
func (p *Parts) Units(output []byte, root string) ([]string, error) {
	var units []string
	if p.Runner.Name == "go" {
		for _, line := range lines(output) {
			if goPackage.MatchString(line) {
				units = append(units, line)
			}
		}
	} else {
		l := p.Runner.Read(output, root)
		if len(l.Problems) > 0 {
			return nil, endingError("its tests cannot be listed: " + l.Problems[0])
		}
		for _, f := range l.Found {
			units = append(units, f.Name)
		}
	}
	slices.Sort(units)
	units = slices.Compact(units)
	switch {
	case len(units) == 0:
		return nil, endingError("no tests were found")
	case len(units) > maxParts:
		return nil, endingError(fmt.Sprintf("there are %d parts, and at most %d are run one by one", len(units), maxParts))
	}
	return units, nil
}

// maxParts is how many processes the tests of a step are taken apart into.
const maxParts = 10_000

// goPackage is the path of a package: beside them there may be lines that others print.
var goPackage = regexp.MustCompile(`^[\pL\pN_.~-]+(/[\pL\pN_.~+-]+)*$`)

// Unit is the command line that runs the tests of a unit; "" when that cannot be said.
func (p *Parts) Unit(unit, root string) string {
	words := slices.Clone(p.words)
	if p.Runner.Name == "go" && !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(strings.TrimLeft(w, "-"), "count") }) {
		words = append(words, "-count=1") // what go remembers by itself is not seen to be read
	}
	if strings.HasPrefix(unit, "-") {
		return ""
	}
	for _, arg := range p.Runner.args([]Item{{Name: unit}}, root) {
		if !plainArg.MatchString(arg) {
			if strings.ContainsAny(arg, "'\r\n\x00") {
				return ""
			}
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
