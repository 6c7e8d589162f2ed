package fault

import (
	"regexp"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// class says how a rule's match weighs against others. See the package comment.
type class int

const (
	ordinary class = iota
	decisive
	weak
)

// rule is one well-known kind of failure.
type rule struct {
	name    string // stable, never reused for something else
	verdict plan.Verdict
	class   class
	needs   []string                          // a line must have one of these, in lower case, before the pattern is tried
	pattern lazy                              // for one line
	unless  lazy                              // a line that has this does not count; may be nil
	show    excerpt                           // which lines show it; nil: block
	key     func(lines, []int) text           // the line the title is made from; nil: the first that matched
	title   string                            // $1: what the pattern's first group matched; the line itself when key is another
	hint    string                            // the same
	refine  func(*record.Diagnosis, []string) // given the pattern's groups
}

// lazy is a pattern that is compiled when a line has the rule's words: nearly
// none ever is.
type lazy func() *regexp.Regexp

func compile(pattern string) lazy {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// excerpt chooses the lines that show a cause, at most maxShown, given the
// indexes of those that matched.
type excerpt func(l lines, at []int) lines

// block goes from the first match to the next empty line.
func block(l lines, at []int) lines {
	end := at[0] + 1
	for end < len(l) && end-at[0] < maxShown && l[end].s != "" {
		end++
	}
	return l[at[0]:end]
}

// section goes from the first match on, leaving out empty lines.
func section(l lines, at []int) lines {
	var out lines
	for i := at[0]; i < len(l) && len(out) < maxShown; i++ {
		if l[i].s != "" {
			out = append(out, l[i])
		}
	}
	return out
}

// list is the matching lines alone, each once.
func list(l lines, at []int) lines {
	var out lines
	seen := map[string]bool{}
	for _, i := range at {
		if len(out) < maxShown && !seen[l[i].s] {
			seen[l[i].s] = true
			out = append(out, l[i])
		}
	}
	return out
}

// headed is the matching lines with the line above each group of them: the
// name of the file that they are about.
func headed(l lines, at []int) lines {
	var with []int
	for i, n := range at {
		if n > 0 && (i == 0 || at[i-1] != n-1) && l[n-1].s != "" && indent(l[n-1].s) == 0 {
			with = append(with, n-1)
		}
		with = append(with, n)
	}
	return list(l, with)
}

// trace goes from the last match to the first line after it that is not
// indented, where a stack says what happened; of a long stack it keeps the end.
func trace(l lines, at []int) lines {
	begin := at[len(at)-1]
	end := begin + 1
	for end < len(l) && (l[end].s == "" || indent(l[end].s) > 0) {
		end++
	}
	if end < len(l) {
		end++
	}
	return l[max(begin, end-maxShown):end]
}

func traceEnd(l lines, at []int) text {
	shown := trace(l, at)
	return shown[len(shown)-1]
}

// goTest is each failed test with what it said: before its line when go test
// was verbose, after it when not.
func goTest(l lines, at []int) lines {
	var out lines
	next := 0 // lines before it are in
	for _, n := range at {
		from := n
		for from > next && indent(l[from-1].s) > 0 {
			from--
		}
		to := n + 1
		for to < len(l) && indent(l[to].s) > indent(l[n].s) {
			to++
		}
		for i := max(from, next); i < to && len(out) < maxShown; i++ {
			out = append(out, l[i])
		}
		next = max(next, to)
	}
	return out
}

// deepest is the line of the innermost subtest that failed first.
func deepest(l lines, at []int) text {
	i := 0
	for i+1 < len(at) && at[i+1] == at[i]+1 && indent(l[at[i+1]].s) > indent(l[at[i]].s) {
		i++
	}
	return l[at[i]]
}

func indent(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }

// exitMeaning is what an exit code or a signal means by itself.
type exitMeaning struct {
	name    string
	verdict plan.Verdict
	title   string
	hint    string
}

// exits are the exit codes with a meaning (POSIX XCU 2.8.2; 124 and 125 are
// timeout(1)'s and docker's; 255 is ssh's).
var exits = map[int]exitMeaning{
	124: {"timeout-command", plan.Timeout, "a command ran into the time limit it was given by timeout(1)", ""},
	126: {"not-executable", plan.Failure, "a command was found but could not be executed", "give the file execute permission (chmod +x, git update-index --chmod=+x), and see that it is a program for this machine"},
	127: {"command-not-found", plan.Failure, "a command was not found", "check its spelling, and that an earlier step installs it"},
	130: {"interrupted", plan.Failure, "a command was interrupted (SIGINT)", ""},
	134: {"crash", plan.Failure, "a program aborted (SIGABRT): an assertion or a check of its own failed", ""},
	135: {"crash", plan.Failure, "a program crashed with a bus error (SIGBUS)", ""},
	136: {"crash", plan.Failure, "a program crashed with an arithmetic error (SIGFPE), such as a division by zero", ""},
	139: {"crash", plan.Failure, "a program crashed with a segmentation fault (SIGSEGV)", "run it under a debugger or with a sanitizer (-fsanitize=address)"},
	141: {"broken-pipe", plan.Failure, "a command wrote to a pipe that nobody read any more (SIGPIPE)", "with pipefail, \"… | head\" fails like this: let the reader read to the end"},
	143: {"terminated", plan.Fault, "a command was told to end (SIGTERM) by something outside this step", ""},
}

// signals are the same, by the name that the operating system gives them.
var signals = map[string]exitMeaning{
	"killed":                   {"killed", plan.Fault, "a process was killed (SIGKILL), most often because the machine ran out of memory", "run fewer jobs at a time (-j), or give the machine or its limits more memory"},
	"kill":                     {"killed", plan.Fault, "a process was killed (SIGKILL), most often because the machine ran out of memory", "run fewer jobs at a time (-j), or give the machine or its limits more memory"},
	"terminated":               exits[143],
	"term":                     exits[143],
	"interrupt":                exits[130],
	"int":                      exits[130],
	"aborted":                  exits[134],
	"abrt":                     exits[134],
	"bus error":                exits[135],
	"bus":                      exits[135],
	"floating point exception": exits[136],
	"fpe":                      exits[136],
	"segmentation fault":       exits[139],
	"segv":                     exits[139],
	"broken pipe":              exits[141],
	"pipe":                     exits[141],
}

// setUp says how well-known tools come to a machine: their absence is the
// machine's fault and not the code's.
var setUp = map[string]string{
	"node": "actions/setup-node", "npm": "actions/setup-node", "npx": "actions/setup-node", "corepack": "actions/setup-node",
	"yarn": "actions/setup-node", "pnpm": "actions/setup-node and pnpm/action-setup", "bun": "oven-sh/setup-bun",
	"deno": "denoland/setup-deno", "python": "actions/setup-python", "python3": "actions/setup-python",
	"pip": "actions/setup-python", "pip3": "actions/setup-python", "uv": "astral-sh/setup-uv",
	"go": "actions/setup-go", "gofmt": "actions/setup-go", "java": "actions/setup-java", "javac": "actions/setup-java",
	"mvn": "actions/setup-java", "gradle": "actions/setup-java", "dotnet": "actions/setup-dotnet",
	"ruby": "ruby/setup-ruby", "bundle": "ruby/setup-ruby", "gem": "ruby/setup-ruby", "php": "shivammathur/setup-php",
	"composer": "shivammathur/setup-php", "cargo": "a Rust toolchain", "rustc": "a Rust toolchain",
	"rustup": "a Rust toolchain", "docker": "Docker", "podman": "Podman", "pwsh": "PowerShell", "gcc": "a C compiler",
	"g++": "a C++ compiler", "cc": "a C compiler", "clang": "Clang", "make": "make", "cmake": "CMake", "ninja": "Ninja", "git": "Git",
	"gh": "the GitHub command line", "jq": "jq", "curl": "curl", "wget": "wget", "zip": "zip", "unzip": "unzip",
	"kubectl": "kubectl", "helm": "Helm", "terraform": "Terraform", "aws": "the AWS command line", "bash": "bash",
}

// missing tells a tool that this machine lacks from a name that nobody knows.
func missing(d *record.Diagnosis, groups []string) {
	var name string
	for _, g := range groups[1:] {
		if g != "" {
			name = g
			break
		}
	}
	name = strings.Trim(name, "\"'`‘’“” ")
	d.Title = oneLine(name + ": command not found")
	tool := name[strings.LastIndexByte(name, '/')+1:]
	if by, known := setUp[tool]; known && (tool == name || strings.HasPrefix(name, "/")) {
		d.Rule, d.Verdict = "tool-missing", plan.Fault
		d.Title = oneLine(tool + " is not installed on this machine")
		d.Hint = "install it, or add a step that does"
		if strings.Contains(by, "/") {
			d.Hint += ": " + by
		}
		return
	}
	if strings.Contains(name, "/") {
		d.Hint = "the file is not there: check the path, the working directory, and that an earlier step made it"
	}
}

// located is the refinement for compilers and linters: the place is the
// title's beginning. The pattern's groups are file, line, col (which may be
// missing) and msg.
func located(pattern lazy) func(*record.Diagnosis, []string) {
	return func(d *record.Diagnosis, g []string) {
		re := pattern()
		at := g[re.SubexpIndex("file")] + ":" + g[re.SubexpIndex("line")]
		if i := re.SubexpIndex("col"); i > 0 && g[i] != "" {
			at += ":" + g[i]
		}
		d.Title = oneLine(strings.TrimPrefix(at, "./") + ": " + g[re.SubexpIndex("msg")])
	}
}

// rules is the table, made when it is first wanted: most runs never fail.
var rules = sync.OnceValue(table)
