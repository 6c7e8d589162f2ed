package fault

import (
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// table is all the rules, the special before the general. testdata shows what
// each of them recognises.
func table() []rule {
	const (
		fail  = plan.Failure
		fault = plan.Fault
	)
	var t []rule
	// add adds a rule whose pattern is tried on lines with one of the words.
	add := func(name string, v plan.Verdict, words, pattern, title, hint string, options ...func(*rule)) {
		r := rule{name: name, verdict: v, pattern: compile(pattern), title: title, hint: hint}
		r.needs = strings.Split(words, "|")
		for _, o := range options {
			o(&r)
		}
		t = append(t, r)
	}
	// place adds a rule for what compilers and linters say about a place.
	place := func(name, words, pattern, hint string, options ...func(*rule)) {
		add(name, fail, words, pattern, "", hint, append(options, shown(list), func(r *rule) { r.refine = located(r.pattern) })...)
	}

	// The machine gives out. What follows is a consequence.
	add("file-watchers", fault, "file watchers", `ENOSPC: System limit for number of file watchers`,
		"the machine allows no more file watchers", "raise fs.inotify.max_user_watches", always)
	add("disk-full", fault, "no space left|enospc|not enough space", `(?i)no space left on device|\bENOSPC\b|not enough space on the disk`,
		"the disk is full", "free some space (build caches, old images, old workspaces) and run again", always)
	add("disk-quota", fault, "quota", `(?i)disk quota exceeded|\bEDQUOT\b`,
		"the disk quota is used up", "free some space or raise the quota, and run again", always)
	add("disk-error", fault, "input/output error|read-only file system", `Input/output error|Read-only file system`,
		"the disk does not take what is written", "see the system's log: the disk may be broken, or mounted read-only", always)
	add("too-many-files", fault, "open files|emfile|enfile", `(?i)too many open files|\bE[MN]FILE\b`,
		"too many files are open", "raise the limit (ulimit -n), or run fewer things at a time", always)
	add("too-many-processes", fault, "fork|pthread_create|create new native thread",
		`(?i)fork: .*Resource temporarily unavailable|cannot fork\b|fork: Cannot allocate memory|pthread_create failed|unable to create new native thread`,
		"no more processes can be started", "raise the limit (ulimit -u), or run fewer jobs at a time (-j)", always)
	add("out-of-memory", fault, "memory|bad_alloc|oom|signal",
		`(?i)cannot allocate memory|std::bad_alloc|out of memory: kill|runtime: out of memory|oomkill|killed signal terminated program|signal: 9, SIGKILL|signal: killed`,
		"the machine ran out of memory", "run fewer jobs at a time (-j), or use a machine or a limit with more memory", always)

	// Limits that the program itself was given.
	add("heap-limit", fail, "heap", `JavaScript heap out of memory`,
		"Node.js ran into its heap limit", "raise it with NODE_OPTIONS=--max-old-space-size=4096, or find what keeps the memory")
	add("heap-limit", fail, "outofmemoryerror", `java\.lang\.OutOfMemoryError: (.*)`,
		"the Java virtual machine ran into its memory limit: $1", "raise it (-Xmx, org.gradle.jvmargs, MAVEN_OPTS), or find what keeps the memory")

	// Package managers.
	add("lock-file", fail, "npm|lock|frozen|go.sum|go.mod|vendor",
		`(?i)npm ci.*(package\.json and package-lock\.json|can only install)|ERR_PNPM_OUTDATED_LOCKFILE|YN0028|lockfile needs to be updated`+
			`|the lock ?file (at )?\S* ?needs to be updated|lock file .* needs to be updated but --(locked|frozen)|pyproject\.toml changed significantly since poetry\.lock`+
			`|poetry\.lock is not up to date|updates to go\.(mod|sum|work) needed|missing go\.sum entry|go: inconsistent vendoring`+
			`|Your bundle is frozen|gemfile\.lock is out of sync|frozen lockfile`,
		"the lock file is out of date", "bring it up to date on your machine (npm install, pnpm install, yarn, go mod tidy, cargo update, poetry lock, uv lock, bundle install) and commit it")
	add("dependency-conflict", fail, "eresolve|conflict|resolutionimpossible", `ERESOLVE|ResolutionImpossible|conflicting dependencies|failed to select a version for`,
		"the dependencies contradict each other", "see which two packages ask for different versions of a third")
	add("registry-access", fault, "e401|e403|eneedauth|401|403",
		`npm (ERR!|error) code (E401|E403|ENEEDAUTH)|(?i)(pip|twine|maven|gradle|nuget|cargo|docker|unauthorized|forbidden|artifact).*\b(401|403)\b|\b(401 Unauthorized|403 Forbidden)\b`,
		"access was refused: ${0}", "check that the token or secret is given to this step, has not expired, and may read (or write) there",
		except(`(?i)expected|assert|localhost|127\.0\.0\.1`))
	add("rate-limit", fault, "rate limit|too many requests|toomanyrequests|429",
		`(?i)rate limit (was )?(exceeded|hit|reached)|too many requests|toomanyrequests|pull rate limit|\bHTTP[ /0-9.]* 429\b|returned error: 429`,
		"a service allows no more requests for now", "wait and run again; signed-in requests are usually allowed more",
		except(`(?i)expected|assert`))

	// Tools that could not reach what they download from.
	net := `no such host|i/o timeout|timed? ?out|TLS handshake|connection re(set|fused)|could not resolve|unreachable|EOF|50[0234]|Bad Gateway|Service Unavailable`
	add("go-download", fault, "go: ", `^go: .*(`+net+`).*`,
		"Go modules could not be downloaded", "run again when the module proxy can be reached; check GOPROXY and the network", except(`go: downloading`))
	add("npm-download", fault, "npm |yarn|pnpm|err_",
		`npm (ERR!|error) (code|errno|network|syscall) .*(ENOTFOUND|ECONNRESET|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ERR_SOCKET_TIMEOUT|E50\d)|npm (ERR!|error) network |YN0001: .*(RequestError|ENOTFOUND|ETIMEDOUT)|error An unexpected error occurred: "https?://|ERR_PNPM_(META_FETCH_FAIL|FETCH_5\d\d)`,
		"npm packages could not be downloaded", "run again when the registry can be reached; check its address and the proxy settings")
	add("pip-download", fault, "pip|connection broken|could not fetch url|httpsconnectionpool|readtimeouterror",
		`Retrying \(Retry\(total=|Could not fetch URL \S+|pip.*(ReadTimeoutError|NewConnectionError|ProxyError)|HTTPSConnectionPool\(host='(pypi|files\.pythonhosted)`,
		"Python packages could not be downloaded", "run again when the index can be reached; check its address and the proxy settings")
	add("apt-download", fault, "e: |dpkg|could not resolve '", `^E: (Failed to fetch|Unable to fetch|The repository .* does not have a Release)|^(Err|W): .*Could not resolve '|Could not get lock /var/lib/(dpkg|apt)`,
		"system packages could not be downloaded", "run again; when apt says so, run apt-get update first or wait for the other apt to end")
	add("maven-download", fault, "could not transfer|could not get|could not head|could not resolve",
		`Could not transfer (artifact|metadata) \S+|Could not (GET|HEAD) 'https?://|Could not resolve \S+:\S+:\S+\.$`,
		"Java packages could not be downloaded", "run again when the repository can be reached; check its address and credentials")
	add("cargo-download", fault, "spurious network|failed to download|failed to fetch|download of",
		`spurious network error|error: failed to (download|fetch)( from)? \S+|error: download of .* failed`,
		"Rust crates could not be downloaded", "run again when the registry can be reached")
	add("no-such-package", fail, "e404|matching distribution|satisfies the requirement|unknown revision|no matching package|not find artifact|unable to locate package|notarget|404 not found",
		`npm (ERR!|error) (code )?(E404|ETARGET|notarget).*|No matching distribution found for (.*)|go: .*(unknown revision|404 Not Found|410 Gone).*|error: no matching package (named|found).*|Could not find artifact \S+.*|E: Unable to locate package \S+`,
		"$0", "there is no such package or version: check its name and the version asked for (for apt, run apt-get update first)")
	add("docker-daemon", fault, "docker|container engine", `(?i)cannot connect to the docker daemon|docker daemon is not running|dial unix \S*docker\.sock|no container engine answers`,
		"no container engine answers", "start Docker or Podman, or say in DOCKER_HOST where one is, and see that this user may talk to it")
	add("docker-pull", fault, "from daemon|manifest|source metadata", `(?i)error response from daemon: (get "?https?://.*|pull access denied.*|manifest .* not found.*)|failed to resolve source metadata for .*`,
		"a container image could not be pulled", "check the image's name and tag, the login, and that the registry can be reached")
	add("git-access", fault, "fatal: |permission denied (|remote: ",
		`fatal: Authentication failed.*|fatal: could not read (Username|Password) .*|Permission denied \(publickey.*|remote: (Invalid username|Repository not found|Support for password).*|fatal: .*returned error: 40[13]`,
		"Git was not let in: $0", "check the address, and that the token or key is given to this step and may read this repository")
	add("git-download", fault, "fatal: |early eof|rpc failed",
		`fatal: unable to (access|connect to) .*|fatal: the remote end hung up.*|fatal: early EOF|error: RPC failed.*|fatal: Could not read from remote repository`,
		"Git could not reach the repository", "run again; check the address and the network")
	add("curl", fault, "curl: (", `curl: \((5|6|7|16|18|28|35|52|55|56|60|92)\) (.*)`,
		"a download failed: $2", "run again when the host can be reached, or let curl try again by itself (--retry 5 --retry-all-errors)",
		except(`localhost|127\.0\.0\.1|\[::1\]`))

	// Tests.
	add("test-timeout", fail, "test timed out", `panic: test timed out after (\S+)`,
		"a Go test did not end within $1", "see which goroutine it waits in; the limit is go test -timeout")
	add("data-race", fail, "data race", `^WARNING: DATA RACE`, "the race detector found a data race", "two goroutines use the same variable, at least one of them writing: see both stacks")
	add("test-failed", fail, "--- fail", `^\s*--- FAIL: (\S+)`, "test $1 failed", "", shown(goTest), titled(deepest))
	add("test-failed", fail, "failed|error", `^(?:FAILED|ERROR) (\S+\.py(?:::\S+)?)(?: - (.*))?$`, "$1 failed: $2", "", shown(list), tidy)
	add("test-failed", fail, "fail: |error: ", `^(?:FAIL|ERROR): (test\w*) \(([\w.]+)\)`, "test $2.$1 failed", "")
	add("test-failed", fail, "●|fail |✕|×", `^\s*(?:● (.+ › .+|Test suite failed to run)|(?:FAIL|[×❯])\s+(\S+\.(?:test|spec)\.\S+(?: > .+)?))$`, "test failed: $1$2", "")
	add("test-failed", fail, " failing", `^\s*(\d+) failing$`, "$1 tests failed", "", shown(section))
	add("test-failed", fail, "failed", `^test (\S+) \.\.\. FAILED|^---- (\S+) stdout ----`, "test $1$2 failed", "")
	add("test-failed", fail, "failed", `^(\S+) > (.+) FAILED$`, "test $1 > $2 failed", "")
	add("test-failed", fail, "[error]", `^\[ERROR\]\s+(\w[\w.$]*(?:Test|Tests|IT|Spec)\w*\.\w+):?(\d*)(?: (.*))?$`, "test $1 failed: $3", "", tidy)
	add("test-failed", fail, "tests run", `Tests run: \d+, (?:Failures: [1-9]|Failures: 0, Errors: [1-9]).*`, "tests failed: $0", "")
	add("test-failed", fail, "[  failed  ]", `^\[  FAILED  \] (\w[\w./]*)`, "test $1 failed", "", shown(list))
	add("test-failed", fail, "***failed|***timeout", `Test\s+#\d+: (\S+) .*\*\*\*(?:Failed|Timeout)`, "test $1 failed", "ctest --output-on-failure shows what it said", shown(list))
	add("test-failed", fail, "rspec ", `^rspec (\S+:\d+) # (.*)`, "$1: $2 failed", "", shown(list))
	add("test-failed", fail, "failure|error", `^There (?:was|were) (\d+) (?:failure|error)s?:`, "$1 tests failed", "")
	add("test-failed", fail, "failed ", `^\s+Failed (\w[\w.]+(?:\(.*\))?) \[[<\d]`, "test $1 failed", "")
	add("test-failed", fail, "not ok", `^not ok \d+ -? ?(.+)$`, "test failed: $1", "", except(`# (TODO|SKIP)`))
	add("coverage", fail, "coverage", `(?i)required test coverage of \S+ not reached.*|coverage .*(below|does not meet|less than|under) .*`,
		"$0", "test more, or lower the threshold")

	// Compilers and linters, by the way they name a place.
	place("go-build", ".go:", `^(?:vet: |# )?(?:\s*)(?P<file>[^\s:]+\.go):(?P<line>\d+):(?P<col>\d+): (?P<msg>.+)$`, "")
	add("go-build", fail, "package|module", `no required module provides package (\S+?);?( .*)?$|package (\S+) is not in (std|GOROOT).*|cannot find module providing package (\S+)`,
		"there is no Go package $1$3$5", "check the import, and run go mod tidy")
	add("rust-build", fail, "error[e", `^error\[(E\d+)\]: (.+)`, "$2 ($1)", "rustc --explain $1")
	place("typescript", "error ts", `^(?P<file>[^\s(:]+)[(:](?P<line>\d+)[,:](?P<col>\d+)\)?(?::| -) error (?P<msg>TS\d+: .*)$`, "")
	place("dotnet-build", "error", `^\s*(?P<file>[^(:]+(?::[^(:]+)?)\((?P<line>\d+),(?P<col>\d+)(?:,\d+,\d+)?\): error (?P<msg>\w+: .*?)(?: \[[^\]]+\])?$`, "")
	place("java-build", ".java:", `^(?P<file>[^\s:]+\.java):(?P<line>\d+): error: (?P<msg>.*)$`, "")
	place("java-build", "[error]", `^\[ERROR\] (?P<file>[^\s:]+\.\w+):\[(?P<line>\d+),(?P<col>\d+)\] (?P<msg>.*)$`, "")
	place("kotlin-build", "e: ", `^e: (?:file://)?(?P<file>[^\s:]+\.kts?):(?P<line>\d+):(?P<col>\d+):? (?P<msg>.*)$`, "")
	place("c-build", "error: ", `^(?P<file>[^\s:][^:]*):(?P<line>\d+):(?P<col>\d+): (?:fatal )?error: (?P<msg>.*)$`, "")
	add("link", fail, "undefined reference|undefined symbol|symbol(s) not found|cannot find -l", "undefined reference to [`'\"]?([^`'\"]+)|undefined symbols?:? (.*)|cannot find -l(\\S+)",
		"a program cannot be linked: $1$2$3", "link the library that has it, and install its development files", shown(list))
	add("cmake", fail, "cmake error", `^CMake Error at ([^:]+:\d+)`, "CMake stopped at $1", "")
	place("python-check", ".py:", `^(?P<file>[^\s:]+\.pyi?):(?P<line>\d+):(?:(?P<col>\d+):)? (?P<msg>(?:error: |[A-Z]{1,4}\d{2,4}:? ).*)$`, "")
	add("eslint", fail, "error", `^\s+(\d+):(\d+)\s+error\s+(.+?)\s{2,}(\S+)$`, "$3 ($4)", "the linter can mend some of it: --fix", shown(headed))
	add("format", fail, "would reformat|code style issues|not formatted|diff in ", `^would reformat (\S+)|Code style issues (?:found|were found) in (.*)|(\S+) is not formatted|^Diff in (\S+)`,
		"code is not formatted: $1$2$3$4", "run the formatter and commit what it changed", shown(list))

	// Interpreters: a program of the user's stopped with an error.
	add("python-import", fail, "no module named", `^(?:E\s+)?(?:\S*ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?|: No module named '?([\w.]+)'?$`,
		"Python does not find the module $1$2", "install it in this job (it may be missing from the requirements), or check PYTHONPATH")
	add("node-import", fail, "cannot find", `Cannot find (?:module|package) '([^']+)'`, "Node.js does not find the module $1", "install the dependencies (npm ci) and check the path of the import")
	add("ruby-import", fail, "cannot load such file|could not find gem", `cannot load such file -- (\S+)|Could not find gem '([^']+)'`, "Ruby does not find $1$2", "bundle install")
	add("python-error", fail, "traceback", `^Traceback \(most recent call last\):`, "a Python program stopped with an error", "", shown(trace), titled(traceEnd))
	add("go-panic", fail, "panic:|fatal error:", `^(?:panic|fatal error): (.*)`, "a Go program stopped: $1", "")
	add("rust-panic", fail, "panicked at", `^thread '.*' (?:\(\d+\) )?panicked at (.*)`, "a Rust program panicked at $1", "")
	add("java-error", fail, "exception in thread|caused by", `^Exception in thread "[^"]*" (\S+(?:: .*)?)`, "a Java program stopped: $1", "")
	add("program-error", fail, "error", `^(?:Uncaught |\S+: )?((?:\w+\.)*[A-Z]\w*(?:Error|Exception)(?: \[\w+\])?: .+)`, "$1", "")
	add("ruby-error", fail, ".rb:", `^(\S+\.rb:\d+):in .*: (.* \(\w[\w:]*\))$`, "$1: $2", "")
	add("php-error", fail, "php ", `^PHP (?:Fatal|Parse) error:\s+(.*) in (\S+) on line (\d+)`, "$2:$3: $1", "")

	// The network, when no tool has said what it wanted from it.
	local := `(?i)(localhost|127\.0\.0\.1|\[?::1\]?|0\.0\.0\.0)`
	add("nothing-listens", fail, "refused|couldn't connect", local+`.*(refused|couldn't connect to server)|(?i)(ECONNREFUSED|refused).*(localhost|127\.0\.0\.1|::1|0\.0\.0\.0)`,
		"nothing listens on this machine where a program wanted to connect", "start the service before, and wait until it answers")
	add("dns", fault, "resolve|not known|resolution|no such host|enotfound|eai_again|nodename",
		`(?i)could not resolve host:? ?(\S*)|name or service not known|temporary failure in name resolution|no such host|getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ?(\S*)|nodename nor servname`,
		"a host name could not be resolved: $1$2", "check the name, and that this machine has a network and DNS", tidy)
	add("tls", fault, "certificate|x509|tls|ssl", `(?i)certificate (has expired|verify failed|is not (yet valid|trusted))|SSL certificate problem.*|x509: .*|TLS handshake (timeout|failure)|self[- ]signed certificate|unable to get local issuer certificate`,
		"a secure connection could not be made: $0", "check this machine's clock and certificates; behind an inspecting proxy its certificate must be trusted")
	add("network", fault, "refused|reset by peer|econn|etimedout|timed out|timeout|unreachable|no route to host|hang up",
		`(?i)connection refused|connection reset by peer|connection timed out|operation timed out|\bECONN(REFUSED|RESET|ABORTED)\b|\bETIMEDOUT\b|i/o timeout|network is unreachable|no route to host|socket hang up`,
		"a connection failed: $0", "run again when the other side can be reached")
	add("service-down", fault, "50|internal server error|bad gateway|unavailable|gateway",
		`(?i)\b(HTTP(/[\d.]+)?|status|status code|returned error|response code)[: ]+"?(50[0234])\b.*|\b50[234] (Bad Gateway|Service Unavailable|Service Temporarily Unavailable|Gateway Time-?out)|\b500 Internal Server Error`,
		"a service answered with an error: $0", "run again later; see the service's status", except(`(?i)expected|assert|localhost|127\.0\.0\.1`))

	// The shell.
	add("command-not-found", fail, "not found|not recognized|no such file",
		`(?:^|: )(?:line \d+: |\d+: )([^\s:]+): (?:command )?not found$|^(?:zsh|fish).*: command not found: (\S+)|^(?:\w*sh: )?([^\s:]+): command not found$|^/usr/bin/env: (\S+): No such file or directory|^'?(\S+?)'? is not recognized as|The term '([^']+)' is not recognized|exec: "([^"]+)": executable file not found|^make(?:\[\d+\])?: (\S+): No such file or directory|: line \d+: (\S+/\S+): No such file or directory$`,
		"", "check its spelling, and that an earlier step installs it", func(r *rule) { r.refine = missing })
	add("unbound-variable", fail, "unbound variable|parameter not set", `(?:line )?(\d+): (\w+): (?:unbound variable|parameter not set)`,
		"the shell variable $2 has no value (line $1)", "set it before, or give it a default: $${${2}:-}")
	add("shell-syntax", fail, "syntax error|unexpected eof|unterminated", `^(?:.*: )?(?:line )?\d+: (?:(syntax error.*|unexpected EOF.*|Syntax error: .*)|\S+: (syntax error.*))`,
		"the script is not valid for its shell: $1$2", "check quotes, brackets and ends (fi, done, esac); a bash feature in sh is a syntax error")
	add("bad-interpreter", fail, "bad interpreter|required file not found", `(\S+): bad interpreter: (\S+)|(\S+): cannot execute: required file not found`,
		"a script's first line names a program that is not there: $2$3", "look for Windows line ends (^M), and check the path after #!")
	add("exec-format", fail, "exec format error|cannot execute binary", `(?i)(\S+): (?:cannot execute binary file.*|exec format error)`,
		"$1 is no program for this kind of machine", "build or fetch it for this architecture")
	add("permission", fail, "permission denied|eacces|operation not permitted", `(?i)(\S+): permission denied\b|EACCES: permission denied, (.*)|permission denied: '?([^']+)|operation not permitted`,
		"permission denied: $1$2$3", "for a script: chmod +x and git update-index --chmod=+x; for a directory: check its owner and what an earlier step, or a container, has written there", tidy)
	add("input-missing", fail, "required and not supplied", `Input required and not supplied: (\S+)`, "the action's input $1 is required and not given", "set it under with:; a secret that does not exist is empty")
	add("make-no-rule", fail, "no rule to make", `\*\*\* No rule to make target (.*?)\.?(?:  Stop\.?)?$`, "make has no rule for $1", "check the name; a file that should be there may not have been made or checked out")
	add("npm-no-script", fail, "missing script", `(?i)missing script:? "?([^"]+)"?`, "package.json has no script $1", "npm run lists those there are")
	add("git-not-a-repository", fail, "not a git repository", `fatal: not a git repository`, "this is no Git repository", "check out the code first, and check the working directory")
	add("file-missing", fail, "no such file|enoent|cannot find the path", `(?i)ENOENT: no such file or directory, \w+ '?([^']+)|([^\s:'"]+)['"]?: No such file or directory|no such file or directory: '?([^']+)|FileNotFoundError.*`,
		"a file is not there: $1$2$3", "check the path, the working directory, and that an earlier step made it", tidy)

	// True, and no explanation.
	add("docker-build", fail, "failed to", `ERROR: failed to (?:solve|build): (.*)`, "the image could not be built: $1", "", onlyIfNothingElse)
	add("gradle-task", fail, "execution failed", `Execution failed for task '([^']+)'`, "the Gradle task $1 failed", "", onlyIfNothingElse)
	add("maven-goal", fail, "failed to execute goal", `Failed to execute goal (\S+)`, "the Maven goal $1 failed", "", onlyIfNothingElse)
	add("terraform", fail, "error: ", `^│ Error: (.*)`, "$1", "", onlyIfNothingElse)
	add("npm-script", fail, "lifecycle|lifecycle script", "(?i)npm (?:ERR!|error) Lifecycle script `?([^`]+?)`? failed|ELIFECYCLE", "a package script failed: $1", "", onlyIfNothingElse, tidy)
	add("pre-commit", fail, "failed", `^(.+?)\.{3,}Failed$`, "the hook failed: $1", "", onlyIfNothingElse)
	add("error-message", fail, "error|fatal", `^\s*(?i:error|fatal(?: error)?): (.+)`, "$1", "", except(`Process completed with exit code`), onlyIfNothingElse)
	add("make", fail, "***", `make(?:\[\d+\])?: \*\*\* \[(?:\S+: )?([^\]]+)\] Error (\d+)`, "make could not make $1 (exit code $2)", "", onlyIfNothingElse)
	return t
}

func always(r *rule)            { r.class = decisive }
func onlyIfNothingElse(r *rule) { r.class = weak }

func except(pattern string) func(*rule) {
	return func(r *rule) { r.unless = compile(pattern) }
}

func shown(e excerpt) func(*rule) { return func(r *rule) { r.show = e } }

func titled(key func(lines, []int) text) func(*rule) { return func(r *rule) { r.key = key } }

// tidy removes what is left of a title when its last group is empty.
func tidy(r *rule) {
	r.refine = func(d *record.Diagnosis, _ []string) { d.Title = strings.TrimRight(d.Title, ": '") }
}
