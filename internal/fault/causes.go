package fault

import (
	"strings"
	"sync"
)

// consequence is what only tells that something before it went wrong.
const consequence = `^(?:` +
	`(?:g?make|gmake)(?:\[\d+\])?: (?:\*\*\* \[|Target .* not remade)` +
	`|make: \*\*\* Waiting for` +
	`|(?:FAIL|FAILED|BUILD FAILED|BUILD FAILURE|FAILURE: Build failed.*)\s*$|FAIL\t|FAIL\s+\S+ \[` +
	`|exit status \d+$|ninja: build stopped|collect2: error: ld returned|clang: error: linker command failed` +
	`|error: (?:could not compile|aborting due to|test failed|build failed|recipe .* failed|linking with|Recipe )` +
	`|For more information about this error` +
	`|npm (?:ERR!|error)\s*(?:code ELIFECYCLE|code \d+$|errno \d+$|Lifecycle script|command failed|command |path |workspace |location |A complete log|.*debug-0\.log|Exit status|Failed at the|This is probably not|Test failed|$)` +
	`|npm (?:ERR!|error)\s*(?:signal|cwd)\b` +
	`|error Command failed with exit code|ELIFECYCLE\s+Command failed` +
	`|##\[error\](?:Process completed with exit code|Bash exited with code|The process .* failed with exit code)` +
	`|Error: Process completed with exit code|ERROR: Job failed|Cleaning up project directory` +
	`|tar: (?:Error is not recoverable|Exiting with failure status|Child returned status)` +
	`|E: (?:Sub-process|Unable to fetch some archives|Failed to fetch .*)$` +
	`|\[ERROR\] (?:Failed to execute goal|To see the full|Re-run Maven|For more information|\[Help|After correcting|->|Tests run:|Failures: *$|Errors: *$|COMPILATION ERROR)` +
	`|\* (?:What went wrong|Try|Exception is):` +
	`|Found \d+ errors? in |\d+ errors? generated|compilation terminated\.` +
	`|The command .* exited with \d+|Command exited with` +
	`|error: failed to push some refs|hint: |note: ` +
	`|=+ .*\d+ (?:failed|error).* =+$|FAILED \(|Tests? failed|\d+ (?:tests?|passed|failed).*` +
	`|-+ generated xml|=+ short test summary info` +
	`)`

// unixTools are programs that begin what they complain of with their name.
const unixTools = `sed|g?awk|mawk|[ef]?grep|find|xargs|cp|mv|rm|mkdir|rmdir|ln|chmod|chown|cat|tar|gzip|gunzip|unzip|zip|diff|cmp|sort|uniq|cut|head|tail|tr|install|rsync|scp|ssh|ar|ld|as|nm|strip|objcopy|openssl|gpg|base64|date|cd|ls|touch|tee|env|` +
	`timeout|kill|id|su|sudo|mount|dd|du|df|stat|sha\d+sum|md5sum|m4|bc|bison|flex|pkg-config|autoconf|automake|configure|meson|helm|ansible\S*|psql|pg_dump|mysql\S*|sqlite3|redis-cli|yq|xmllint|protoc|perl|ruby|php|java|javac|rustc|gcc|cc|cc1|cc1plus|g\+\+|c\+\+|clang\S*`

// causeTable is the rules, and a finder of the words that they need.
type causeTable struct {
	rules []causeRule
	words *finder
}

// causes is the table of what tools say when something is wrong; the special
// before the general, since the first rule that matches a line has it.
var causes = sync.OnceValue(func() *causeTable {
	var t []causeRule
	add := func(name string, sure Sureness, tools, words, pattern string, options ...func(*causeRule)) {
		r := causeRule{name: name, sure: sure, needs: strings.Split(words, "|"), pattern: compile(pattern)}
		if tools != "" {
			r.tools = strings.Fields(tools)
		}
		for _, o := range options {
			o(&r)
		}
		t = append(t, r)
	}
	but := func(pattern string) func(*causeRule) { return func(r *causeRule) { r.unless = compile(pattern) } }
	before := func(f func(*Search, *Cause) bool) func(*causeRule) { return func(r *causeRule) { r.before = f } }
	after := func(f func(*Search, *pending, string) bool) func(*causeRule) {
		return func(r *causeRule) { r.after = f }
	}
	head := func(r *causeRule) { r.mark = true }

	const (
		src = `(?P<file>(?:[A-Za-z]:)?[^\s:()"'][^:()"']*)`
		pos = `:(?P<line>\d+):(?P<col>\d+)`
	)
	// The machine gives out: the rules of table.go.
	for _, r := range rules() {
		if r.class == decisive {
			add(r.name, Decisive, "", strings.Join(r.needs, "|"), r.pattern().String())
		}
	}
	// What only follows from something else stands first, so that no general
	// rule takes it for more.
	add("consequence", Consequence, "", "make|fail|exit|ninja|collect2|clang: |error|npm |tar: |e: |* |found |generated|terminated|test|passed|hint: |note: |cleaning up", consequence)

	// Tests.
	add("go-test", Located, "go", "--- fail", `^\s*--- FAIL: \S+`, before(aboveGoTest), after(placeGoTest), func(r *causeRule) { r.tests = true })
	add("test-timeout", Located, "go", "timed out after", `^panic: test timed out after`)
	add("data-race", Located, "", "data race", `^WARNING: DATA RACE`, after(placeFrame))
	add("pytest", Located, "pytest py.test python python3", "e   ", `^E   +\S`, before(abovePytest), after(placePytest))
	add("pytest", Located, "pytest py.test python python3", "failed|error", `^(?:FAILED|ERROR) (?P<file>[^\s:]+\.py)(?:::\S+)?(?: - .*)?$`)
	add("doctest", Located, "python python3 pytest", "file \"", `^File "(?P<file>[^"]+)", line (?P<line>\d+), in \S+$`)
	add("head", Consequence, "", "fail: |error: ", `^(?:FAIL|ERROR): \w+ \([\w.]+`, head)
	add("jest", Located, "", "●", `^\s*● (?:.+ › .+|Test suite failed to run|[^\s].*)$`, after(placeFrame), but(`● Console|^\s*● Validation Warning`))
	add("tap", Located, "", "not ok", `^\s*not ok \d+`, but(`# (?:TODO|SKIP|todo|skip)`), after(placeTAP))
	add("node-test", Located, "", "✖", `^\s*✖ (?:[^f]|f[^a]|fa[^i])`, after(placeFrame), but(`failing tests`))
	add("rust-test", Located, "", "panicked at", `^thread '.*' (?:\(\d+\) )?panicked at (?:'.*', )?(?P<file>[^\s:]+)`+pos)
	add("googletest", Located, "", "failure", `^`+src+`:(?P<line>\d+): Failure`)
	add("googletest", Located, "", "failed", `^`+src+`:(?P<line>\d+): FAILED:`)
	add("assert", Located, "", "assertion", `^(?:\S+: )?(?P<file>[^\s:]+\.\w+):(?P<line>\d+): .*Assertion .* failed`)
	add("rspec", Located, "", "failure/error", `^\s+Failure/Error: `, after(placeRspec))
	add("minitest", Located, "", "#test", `^\s*\S+#test\S* \[(?P<file>[^:\]]+):(?P<line>\d+)\]:`)
	add("phpunit", Located, "", "failed assert", `^Failed asserting that `, after(placePHP))
	add("surefire", Located, "", "error|exception|fail", `^(?:[\w$]+\.)+[\w$]*(?:Error|Exception|Failure)\w*(?:: .*)?$`, before(afterFailure), after(placeFrame))
	add("surefire", Located, "", "[error]", `^\[ERROR\]\s+[\w.$]+(?:Test|Tests|IT|Spec)\w*\.\w+:\d+`)
	add("harness", Located, "", "test-unexpected-|process-crash|moz_crash|assertion failure", `(?:^|\| |- )(?:REFTEST )?(?:TEST-UNEXPECTED-\w+|PROCESS-CRASH) \||Hit MOZ_CRASH\(|(?:^|\] )Assertion failure: `)
	add("ctest", Known, "ctest", "***", `Test\s+#\d+: .*\*\*\*(?:Failed|Timeout|Exception)`)
	add("sanitizer", Located, "", "sanitizer", `^(?:=+\d*=*)?(?:ERROR|WARNING): \w+Sanitizer: `, after(placeFrame))
	add("sanitizer", Located, "", "runtime error", `^`+src+pos+`: runtime error: `)

	// Compilers, linkers, linters.
	add("c-build", Located, "", "error: ", `^`+src+`:(?P<line>\d+):(?:(?P<col>\d+):)? (?:fatal |syntax |internal compiler )?error: `)
	add("go-build", Located, "go", ".go:", `^(?:vet: |# |\t)?(?P<file>[^\s:]+\.go)`+pos+`: \S`)
	add("go-mod", Located, "go", "go.", `^(?P<file>(?:\S*/)?go\.(?:mod|work|sum)):(?P<line>\d+)(?::\d+)?: \S`)
	add("typescript", Located, "", "error ts", `^(?P<file>[^\s(:]+)[(:](?P<line>\d+)[,:](?P<col>\d+)\)?(?::| -) error TS\d+: `)
	add("typescript", Located, "", "error ts", `^error TS\d+: `)
	add("dotnet-build", Located, "", "error ", `^\s*(?P<file>(?:[A-Za-z]:)?[^(:\s][^(:]*)\((?P<line>\d+)(?:,(?P<col>\d+))?(?:,\d+,\d+)?\)\s?: (?:fatal )?error \w+\d+: `)
	add("java-build", Located, "", "error: ", `^(?:\[ERROR\] )?(?P<file>\S+\.(?:java|kt|scala|groovy)):(?P<line>\d+): error: `)
	add("java-build", Located, "", "[error]", `^\[ERROR\] (?P<file>[^\s:]+\.\w+):\[(?P<line>\d+),(?P<col>\d+)\] `)
	add("kotlin-build", Located, "", "e: ", `^e: (?:file://)?(?P<file>[^\s:]+\.kts?)`+pos+`:? `)
	add("rust-build", Located, "cargo rustc", "error", `^error(?:\[E\d+\])?: \S`, after(placeArrow), but(`^error: (?:could not|failed to|no matching|package|the lock|manifest|aborting|unexpected argument|no such (?:command|subcommand))`))
	add("link", Located, "", "undefined|cannot find -l|multiple definition|unresolved external|symbol(s) not found", "undefined (?:reference|symbol)|cannot find -l\\S+|multiple definition of|LNK\\d+: unresolved|symbol\\(s\\) not found")
	add("cmake", Located, "cmake", "cmake error", `^CMake Error(?: at (?P<file>[^:]+):(?P<line>\d+))?(?: \(|:)`)
	add("make-no-rule", Located, "make gmake", "no rule", `\*\*\* No rule to make target`)
	add("make", Located, "make gmake", "***", `^(?P<file>[^\s:]+):(?P<line>\d+): \*\*\* `)
	add("ninja", Known, "ninja", "ninja: ", `^ninja: (?:error|fatal): `)
	add("python-check", Located, "", ".py:", `^(?P<file>[^\s:]+\.pyi?):(?P<line>\d+):(?:(?P<col>\d+):)? (?:error: |[A-Z]{1,4}\d{2,4}:? )`)
	add("eslint", Located, "", "error", `^\s+(?P<line>\d+):(?P<col>\d+)\s+error\s+\S`, before(aboveLint))
	add("shellcheck", Located, "", "in ", `^In (?P<file>\S+) line (?P<line>\d+):$`)
	add("prettier", Located, "", "[error]|[warn]", `^\[(?:error|warn)\] (?P<file>\S+\.\w+)(?:: \w+Error: .*\((?P<line>\d+):(?P<col>\d+)\))?$`)
	add("format", Located, "", "reformat|diff in", `^(?:would reformat|Diff in) (?P<file>[^\s:]+)`)
	add("terraform", Located, "", "error: ", `^│ Error: `, after(placeTerraform))
	add("sql", Located, "", "error:", `^psql:(?P<file>[^:]+):(?P<line>\d+): (?:ERROR|FATAL): `)
	add("annotation", Located, "", "::error", `^::error (?:.*?file=(?P<file>[^,:]+))?(?:.*?line=(?P<line>\d+))?.*?::`)
	add("merge-conflict", Located, "git", "conflict", `^CONFLICT \(`)
	add("php-error", Located, "", "error: ", `^(?:PHP )?(?:Fatal|Parse) error: .* in (?P<file>\S+?)(?::| on line )(?P<line>\d+)`)

	// Programs that stopped.
	add("python-error", Known, "", "error|exception|exit|interrupt|warning|stop", `^(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Iteration|Warning|Group|Expired|Refused|Timeout)\w*(?:: .*)?$`, before(abovePython))
	add("python-error", Located, "", "error: ", `(?:^|: )(?:Indentation|Syntax|Tab)Error: .*\((?P<file>[^\s(]+\.py), line (?P<line>\d+)\)$`)
	add("python-error", Known, "", ": ", `^(?:[A-Za-z_]\w*\.)*[A-Z]\w*: \S`, before(abovePython))
	add("node-error", Known, "", "error", `^(?:Uncaught )?(?:\w+\.)*[A-Z]?\w*Error(?: \[\w+\])?: \S`, before(aboveNode), after(placeFrame))
	add("mocha", Located, "", "error", `^\s{4,8}(?:Uncaught )?(?:[A-Z]\w*)?Error(?: \[\w+\])?: \S`, after(placeFrame))
	add("go-panic", Known, "", "panic: |fatal error: ", `^(?:panic|fatal error): `, after(placeFrame), but(`fatal error: .*\.h: `))
	add("java-error", Known, "", "exception in thread|caused by", `^Exception in thread "[^"]*" |^Caused by: (?:\w+\.)+`, after(placeFrame))
	add("ruby-error", Known, "", ".rb:", "^(?:ruby: )?(?P<file>[^\\s:]+\\.rb):(?P<line>\\d+):(?:in .*: .*\\(\\w[\\w:]*\\)| syntax error.*)")
	add("perl-error", Known, "perl", " line ", `^\S.* at (?P<file>[^\s]+\.\w+) line (?P<line>\d+)(?:\.|, .*)$`)
	add("elixir-error", Known, "", "** (", `^\s*\*\* \([\w.]+\) `)
	add("crash", Known, "", "fault|aborted|core dumped|bus error|terminate called|killed", `(?:^|: )(?:(?:line )?\d+: +\d+ )?(?:Segmentation fault|Bus error|Aborted|Killed|Illegal instruction|Floating point exception)\b|^terminate called `)
	add("maven", Known, "", "[fatal]", `^\[FATAL\] \S`)
	add("crash", Known, "", "free()|malloc|realloc|corrupt|smashing|munmap_chunk", `^(?:free|malloc|realloc|calloc|munmap_chunk)\(\)?: \S|^corrupted (?:size|double)|^malloc_consolidate|^\*\*\* stack smashing`)
	add("gradle", Known, "", "could not|failed", `^> (?:Could not|Task .* not found|.* failed)`)

	// Tools, in their own words.
	add("go", Known, "go", "go: ", `^go: \S`, but(`^go: (?:downloading|finding|extracting|added|upgraded|downgraded|removed|creating|to add|warning)`))
	add("go-package", Located, "go", "import cycle|exclude all", `import cycle not allowed|build constraints exclude all Go files`)
	add("go-package", Located, "go", "package", `^(?P<file>[^\s:]+\.go):(?P<line>\d+):(?P<col>\d+): (?:no required|package )|^package \S+ is not in `)
	add("npm", Known, "npm npx node", "npm err", `^npm (?:ERR!|error) `)
	add("pnpm-yarn", Known, "", "err_pnpm|yn0|error ", `ERR_PNPM_\w+|^➤ YN0(?:0(?:0[1-9]|[1-9]\d)|[1-9]\d\d).*|^error (?:An|Couldn't|Your|Package|Incorrect) `)
	add("apt", Known, "apt apt-get", "e: ", `^E: `)
	add("git", Known, "git", "fatal: |error: |rejected", `^fatal: |^ ! \[(?:remote )?rejected\]|^error: (?:pathspec|Your local|could not apply|cannot|unable|src refspec|patch failed|RPC)`)
	add("git", Known, "git", "identity unknown", `^(?:Author|Committer) identity unknown`)
	add("curl", Known, "curl", "curl: (", `^curl: \(\d+\) `)
	add("wget", Known, "wget", "wget: |error |failed: ", `^wget: |\bERROR \d{3}: |^(?:Connecting|Resolving) .*failed: `)
	add("docker", Known, "", "daemon|docker api|failed to solve", `(?i)error response from daemon|cannot connect to the docker daemon|failed to connect to the docker api|^ERROR: failed to (?:solve|build)`)
	add("kubectl", Known, "kubectl", "from server|error: ", `^Error from server`)
	add("host-key", Known, "ssh scp git rsync", "host key|permission denied (|ssh: ", `^Host key verification failed|Permission denied \(\w|^ssh: `)
	add("taskcluster", Known, "", "[taskcluster:error]", `^\[taskcluster:error\] `)
	add("annotation", Known, "", "##[error]", `^##\[error\]`)
	add("archive", Known, "", "end-of-central|not in gzip", `End-of-central-directory signature not found|not in gzip format`)
	add("jq", Known, "jq", "parse error", `^(?:jq: )?parse error: `)
	add("patch", Known, "patch git", "hunk |can't find file", `^Hunk #\d+ FAILED|^can't find file to patch`)
	add("sql", Known, "", "error", `^(?:Runtime error|Parse error|Error: near line|Error: in prepare)|^(?:ERROR|FATAL):  `)
	add("shell", Known, "", ": ", `^(?:\S*/)?(?:ba|da|z|k)?sh: (?:-c: )?(?:line )?(?:\d+: )?\S.*(?:not found|No such file|[Ss]yntax error|unexpected|unbound|not set|denied|cannot|invalid|bad |read-only|too )`)
	add("shell", Known, "", ": ", `^(?P<file>[^\s:]+): (?:line )?(?P<line>\d+): \S.*(?:not found|No such file|[Ss]yntax error|unexpected|unbound|not set|denied|cannot|invalid|bad |Bad |read-only|too |[Dd]ivision|operand|expected|Is a directory)`)
	add("env", Known, "", "env: ", `^(?:/usr/bin/)?env: `)
	add("tool", Known, "", ": ", `^(?:/\S*/)?[a-z_][\w.+-]{0,20}: (?:fatal|error|ERROR)\b`)
	add("tool", Known, "", "must |no such|cannot|can't|denied|not found|invalid|unrecognized|unknown|failed|missing|unable|refused|read-only|exists|not a |unexpected|illegal|bad ",
		`^(?:/\S*/)?[a-z][\w.+-]{0,20}: .*(?:must |[Nn]o such|[Cc]annot|[Cc]an't|denied|not found|[Ii]nvalid|[Uu]nrecognized|[Uu]nknown|[Ff]ailed|[Mm]issing|[Uu]nable|refused|[Rr]ead-only|exists|[Nn]ot a |[Uu]nexpected|[Ii]llegal|[Bb]ad )`, but(`(?i)^warning|^note|^info|^debug|warning: `))
	add("usage", Known, "", "unknown |unrecognized |flag provided|unexpected argument|invalid option", `^(?:unknown (?:shorthand |long )?(?:flag|command|option)|unrecognized (?:option|argument|command)|flag provided but not defined|(?:error: )?unexpected argument|invalid option)`)
	add("pip", Known, "pip pip3 python python3 uv", "error: ", `^(?:ERROR|error): `, but(`dependency resolver does not currently|: usage: `))

	// Whoever says it.
	add("error-message", Generic, "", "error|fatal|critical|severe|panic|exception", `^\s*(?:\[?(?:ERROR|FATAL|CRITICAL|SEVERE|Error|error|fatal|Fatal error|FATAL ERROR)\]?\s?[:\s|-]|\S+ (?:ERROR|FATAL|CRITICAL|SEVERE)\b|\w*(?:Error|Exception): )`, but(`(?i)\b0 errors?\b|\bno errors?\b|errors?[:=] ?0\b`))
	add("tool-message", Generic, "", ": ", `^(?:/\S*/)?(?:`+unixTools+`): \S`, but(`(?i)^\S+ (?:warning|note|info|removing leading|entering|leaving|nothing to be done|.* is up to date|listening|starting|using)`))
	add("diff", Generic, "diff git", "diff --git|--- ", `^diff --git a/(?P<file>\S+) |^--- \S+\s+\d{4}-\d\d-\d\d`)
	add("place", Complaint, "", ": ", `^(?P<file>[\w./-]+\.\w+):(?P<line>\d+)(?::(?P<col>\d+))?: \S`, but(`(?i)^\S+ (?:warning|note|info|debug)`))
	words := "error|fatal|failed|failure|panic|exception|cannot|can't|could not|couldn't|unable to|denied|not found|invalid|undefined|refused|mismatch|expected|unexpected|must|did not|didn't|" +
		"timed out|gave up|giving up|aborted|wrong|conflict|exceeded|too many|too large|not allowed|not formatted|missing|rejected|no such|unhealthy|unknown|illegal|bad"
	add("complaint", Complaint, "", words,
		`(?i)(?:^|[\s:"'(\[>])(?:`+words+`)(?:$|[\s:,!)"'\]]|\.(?:\s|$))`,
		but(`(?i)\b(?:0|no) (?:errors?|fail)|(?:errors?|failed)[:=] ?0\b|warn|without error|as expected|is enabled|^\W*(?:info|debug|trace|notice)\b|\.{3} ?(?:yes|no|ok|done|none)$`))
	table := &causeTable{rules: t}
	var needs []string
	for _, r := range t {
		needs = append(needs, r.needs...)
	}
	table.words = newFinder(needs)
	for i := range t {
		t[i].words = table.words.set(t[i].needs)
	}
	return table
})
