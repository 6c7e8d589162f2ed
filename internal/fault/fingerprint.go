package fault

import (
	"regexp"
	"strings"
	"sync"
)

// Limits of [Fingerprint] and [Frames].
const (
	maxMessage = 4000 // bytes of a message that count
	maxStack   = 64 << 10
	maxFrames  = 200
	topFrames  = 3 // of ours that count
)

// Frame is one level of a stack.
type Frame struct {
	Func string // as the stack has it; "" when it does not say
	File string // the same; of the JVM with its package: com/acme/Shop.java
	Line int    // from 1, 0 when it is not known
}

// Fingerprint tells failures apart by what failed: it is the same for two
// failures of one type whose messages differ in values and whose stacks go
// through the same three functions of the repository, whatever the lines.
// inRepo says which files are the repository's, given a path as the stack has
// it (absolute, relative, or com/acme/Shop.java of the JVM); nil guesses. It is
// never 0.
//
// The message counts by its first lines: those of a comparison that follow
// ("expected: … got: …") are values. Without any of the three, a failure has the
// fingerprint of all failures that say nothing.
func Fingerprint(typ, message, stack string, inRepo func(path string) bool) uint64 {
	if inRepo == nil {
		inRepo = likelyOurs
	}
	h := uint64(fnvOffset)
	add := func(s string) { h = (h ^ hashOf(s)) * fnvPrime }
	add(lastName(plain(strings.TrimSpace(cut(typ, maxMessage)))))
	add(reason(message))
	frames := Frames(stack)
	n := 0
	for _, f := range frames {
		if n < topFrames && f.File != "" && inRepo(f.File) {
			add(f.name())
			n++
		}
	}
	if n == 0 && len(frames) > 0 && strings.TrimSpace(message) == "" {
		add(frames[0].name()) // all that there is to tell it by
	}
	if h == 0 {
		return 1
	}
	return h
}

// name is what of a frame survives an edit above it: its function, or its file.
func (f Frame) name() string {
	if f.Func == "" {
		return baseName(f.File)
	}
	fn := f.Func
	if i := strings.LastIndex(fn, "("); i > 0 && strings.HasSuffix(fn, ")") {
		fn = fn[:i] // arguments
	}
	return baseName(f.File) + " " + Mask(fn)
}

// lastName is java.lang.IllegalStateException without its package.
func lastName(typ string) string {
	typ, _, _ = strings.Cut(typ, "\n")
	return typ[strings.LastIndexAny(typ, ".:\\/")+1:]
}

func baseName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

func cut(s string, n int) string { return s[:min(len(s), n)] }

// quoted is a value in a message: what stands in quotes, and what assertions
// put into angle brackets.
var quoted = compile("\"[^\"\n]*\"|'[^'\n]*'|`[^`\n]*`|‘[^’\n]*’|“[^”\n]*”|(?:expected|but was|was|got|want|received|actual|to equal|to be)[: ]*<[^>\n]*>")

// comparison is what assertions say before a value that fills the rest of the
// line: "got 3, want 5", "expected x but was y", "assert 3 == 5".
var comparison = compile(`(?i)\b(expected|actual|got|want|wanted|received|but was|was|to equal|to be|left|right|have|found|assert)\b(:? +|: *|=)[^,;]+`)

// reason is the part of a message that tells why: its first two lines that say
// something, without values.
func reason(message string) string {
	message = plain(cut(message, maxMessage))
	var out []string
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line == "" || strings.Trim(line, "-=+*_~^ ") == "" {
			continue
		}
		line = quoted().ReplaceAllString(line, wild)
		line = comparison().ReplaceAllString(line, "$1 "+wild)
		if out = append(out, Mask(line)); len(out) == 2 {
			break
		}
	}
	return strings.Join(out, "\n")
}

// elsewhere are parts of paths of what the repository does not hold itself.
var elsewhere = []string{
	"node_modules/", "site-packages/", "dist-packages/", "/lib/python", "/usr/lib/", "/usr/include/", "/usr/local/go/", "/go/pkg/mod/", "/libexec/", "/rustc/", "/libsanitizer/", ".cargo/registry/", "/vendor/",
	"node:", "internal/process/", "internal/modules/", "<frozen ", "<anonymous>", "/gems/", "/rubygems/", "/sdk/go", "/toolchains/", "/.rustup/", "/golang.org/toolchain",
	"java/", "javax/", "jdk/", "sun/", "org/junit/", "junit/", "org/testng/", "org/apache/maven/", "org/gradle/", "kotlin/", "scala/", "org/hamcrest/", "org/assertj/", "org/mockito/", "System.", "Xunit.", "NUnit.",
	"src/testing/", "src/runtime/", "src/reflect/", "_testmain.go", "/_pytest/", "/unittest/", "/pluggy/", "/jest-", "/vitest/", "/mocha/", "/chai/", "vendor/bundle/", "vendor/phpunit/",
}

// likelyOurs guesses whether a file is the repository's.
func likelyOurs(path string) bool {
	path = strings.ReplaceAll(path, `\`, "/")
	for _, part := range elsewhere {
		if strings.HasPrefix(path, part) || strings.HasPrefix(part, "/") && strings.Contains(path, part) || strings.HasSuffix(part, "/") && strings.Contains(path, "/"+part) {
			return false
		}
	}
	return path != ""
}

// frameForm is how a language writes a level of a stack.
type frameForm struct {
	need    string // the line has it
	pattern lazy   // groups: fn, file, line
	jvm     bool   // fn is a class and a method: the file lies in its package
	above   bool   // the function is in the line before (Go) or above it (Rust)
}

var frameForms = sync.OnceValue(func() []frameForm {
	return []frameForm{
		{need: "File \"", pattern: compile(`^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<fn>.+))?$`)},                                               // Python
		{need: "at ", jvm: true, pattern: compile(`^\s*at (?:[\w.@-]+/+)*(?P<fn>[\w.$<>]+)\((?P<file>[\w$-]+\.\w+):(?P<line>\d+)\)`)},                            // JVM
		{need: "at ", pattern: compile(`^\s*at (?:async )?(?P<fn>[^()]+?) \((?:file://|webpack:/*)?(?P<file>[^()]+?):(?P<line>\d+):\d+\)$`)},                     // V8
		{need: "at ", pattern: compile(`^\s*at (?:async )?(?:file://)?(?P<file>(?:[A-Za-z]+:)?[^():\s]+):(?P<line>\d+):\d+$`), above: true},                      // V8, and Rust
		{need: " in ", pattern: compile(`^\s*at (?P<fn>.+\)) in (?P<file>.+):line (?P<line>\d+)$`)},                                                              // .NET
		{need: ".go:", pattern: compile(`^\s+(?P<file>\S+\.go):(?P<line>\d+)(?: \+0x[0-9a-f]+)?$`), above: true},                                                 // Go: goroutines
		{need: ".go:", pattern: compile(`^\s*(?:Error Trace:\s*)?(?P<file>[\w./-]+\.go):(?P<line>\d+)(?::.*)?$`)},                                                // Go: tests
		{need: ":in ", pattern: compile("^\\s*(?:from |# )?(?P<file>[^\\s:]+\\.\\w+):(?P<line>\\d+):in [`'](?P<fn>[^']+)'")},                                     // Ruby
		{need: "#", pattern: compile(`^\s*#\d+ +(?P<file>/?[^\s(:]+)\((?P<line>\d+)\): (?P<fn>.+)$`)},                                                            // PHP
		{need: "#", pattern: compile(`^\s*#\d+ +(?:0x[0-9a-f]+ )?(?:in )?(?P<fn>[^()]+?)(?: ?\(.*\))? (?:at )?(?P<file>[\w./+-]+\.\w+):(?P<line>\d+)(?::\d+)?`)}, // gdb, sanitizers
		{need: "@", pattern: compile(`^\s*(?P<fn>[^@\s]*)@(?:\w+://)?(?P<file>[^\s@]+?):(?P<line>\d+):\d+$`)},                                                    // Firefox, Safari
		{need: ".py:", pattern: compile(`^(?P<file>[^\s:]+\.py):(?P<line>\d+): *(?:in (?P<fn>\w+)|\w*)$`)},                                                       // pytest
		{need: ".swift:", pattern: compile(`^(?P<file>\S+\.swift):(?P<line>\d+)`)},
	}
})

// Frames reads the levels of a stack, innermost first, in the forms of the
// usual languages; lines that it does not know it skips.
func Frames(stack string) []Frame {
	var out []Frame
	above, python := "", false
	for line := range strings.Lines(cut(stack, maxStack)) {
		line = strings.TrimRight(cut(line, maxWidth), " \t\r\n")
		if f, form := frameOf(line); form != nil {
			if form.above && f.Func == "" {
				f.Func = strings.TrimSpace(above)
				if i := strings.Index(f.Func, ": "); i >= 0 && strings.Trim(f.Func[:i], "0123456789") == "" {
					f.Func = f.Func[i+2:] // Rust numbers them
				}
				f.Func = strings.TrimPrefix(f.Func, "created by ")
			}
			python = python || form.need == "File \""
			if out = append(out, f); len(out) >= maxFrames {
				break
			}
			above = ""
			continue
		}
		above = line
		if !strings.ContainsAny(line, "(.:") || strings.HasPrefix(line, "goroutine ") {
			above = ""
		}
	}
	if python { // the innermost comes last
		for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
			out[i], out[j] = out[j], out[i]
		}
	}
	return out
}

// frameOf reads one line.
func frameOf(line string) (Frame, *frameForm) {
	forms := frameForms()
	for i := range forms {
		form := &forms[i]
		if !strings.Contains(line, form.need) {
			continue
		}
		re := form.pattern()
		m := re.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := Frame{Func: group(re, m, "fn"), File: group(re, m, "file"), Line: number(group(re, m, "line"))}
		if form.jvm {
			if class := f.Func[:max(strings.LastIndexByte(f.Func, '.'), 0)]; strings.Contains(class, ".") {
				f.File = strings.ReplaceAll(class[:strings.LastIndexByte(class, '.')], ".", "/") + "/" + f.File
			}
		}
		return f, form
	}
	return Frame{}, nil
}

// group is what a named group of a pattern matched, "" when there is none.
func group(re *regexp.Regexp, m []string, name string) string {
	if i := re.SubexpIndex(name); i >= 0 {
		return m[i]
	}
	return ""
}

// number reads a line's number, 0 when it is none.
func number(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > 1<<27 {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}
