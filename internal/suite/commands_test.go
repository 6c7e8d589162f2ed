package suite

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// inside reads them as a wrapper's are.
func inside(list map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text, ok := list[name]; ok {
			return []byte(text), nil
		}
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
}

func TestEndOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script string
		exit   int
		want   bool
	}{
		{"go test ./...", 1, true},
		{"go test ./...", 2, false}, // it was called wrongly
		{"go test ./...", 0, false},
		{"go test -failfast ./...", 1, false},
		{"go -C sub test -json ./...", 1, false}, // an option with a word of its own
		{"CGO_ENABLED=0 go test ./...\n", 1, true},
		{"npm ci\n\n# all of them\nnpx jest --ci", 1, true},
		{"npm ci && npx jest --ci 2>&1", 1, true},
		{"npx jest --bail=3", 1, false},
		{"npx playwright test", 1, true},
		{"python3 -m pytest -q", 1, true},
		{"python3 -m pytest -q", 2, false},
		{"python3 -m pytest -x", 1, false},
		{"python -m unittest", 1, true},
		{"node --test", 1, true},
		{".venv/bin/pytest \\\n  -q", 1, true},
		{"cargo test --no-fail-fast", 101, true},
		{"cargo test --no-fail-fast", 1, false},
		{"cargo test", 101, false}, // it stops at the first program that fails
		{"cargo nextest run --no-fail-fast", 100, true},
		{"mocha", 7, true},
		{"go test ./... || true", 1, false},
		{"go test ./... ; make lint", 1, false},
		{"go test ./... && make lint", 1, false},
		{"go test ./a && go test ./b", 1, false},
		{"go test ./...\nmake lint", 1, false},
		{"go test ./a || true\ngo test ./b", 1, false},
		{"go test ./a\ngo test ./b", 1, false}, // whose exit code it is hangs on the shell
		{"make lint; go vet\ngo test ./b", 1, false},
		{"trap 'exit 1' EXIT\ngo test ./b", 1, false},
		{"go test $(make list)", 1, false},
		{"go test ./... | tee log", 1, false},
		{"go test ./... &", 1, false},
		{"make test", 1, false},
		{"go build", 1, false},
		{"", 1, false},
		{"X=1", 1, false},
	} {
		end, err := EndOf(c.script, nil)
		if got := err == nil && end.Failed(c.exit, nil); got != c.want {
			t.Errorf("%q, exit code %d: %v, %v", c.script, c.exit, got, err)
		}
	}
}

func TestWrappers(t *testing.T) {
	t.Parallel()
	tree := map[string]string{
		"package.json": `{"scripts": {"test": "vitest run", "unit": "tsc && mocha test", "pretest": "eslint .", "both": "npm run unit", "loop": "npm run loop",
			"all": "sh ci/test.sh", "twice": "jest", "pretwice": "mocha", "then": "jest", "postthen": "rm -rf out", "mk": "make unit", "piped": "jest | tee log"}}`,
		"ci/test.sh": "#!/bin/sh\nset -e\ngo vet ./...\ngo test ./... \"$@\"\n",
		"ci/trap.sh": "#!/bin/sh\ntrap 'echo done' EXIT\ngo test ./...\n",
		"ci/run.py":  "#!/usr/bin/python3\nimport pytest\npytest\n",
		"ci/cd.sh":   "#!/bin/sh\ncd sub\n./test.sh\n",
		"Makefile": "GO ?= go\nFLAGS := -count=1 \\\n  -race\n.PHONY: test lint\nbuild: main.go\n\t$(GO) build ./...\ntest: build\n\t@echo testing\n\t$(GO) test $(FLAGS) ./...\n" +
			"all: unit test\n\tgo test ./all\nunit:\n\tgo test ./unit\nlast: test\n\tgolint ./...\ncareless:\n\t-go test ./...\nother:\n\tgo test $(UNKNOWN_LIST) $(shell ls)\n",
	}
	read := inside(tree)
	failed := []string{"--- FAIL: TestA", "FAIL", "make: *** [Makefile:9: test] Error 1"}
	for _, c := range []struct {
		script, runner string // "" with what the reason has in it
		exit           int
		tail           []string
	}{
		{"npm test", "vitest", 1, nil},
		{"npm ci\nnpm t", "vitest", 1, nil},
		{"npm run test -- --coverage", "vitest", 1, nil},
		{"yarn unit", "mocha", 3, nil},
		{"pnpm run both", "mocha", 3, nil},
		{"npm run all", "go", 1, nil},
		{"./ci/test.sh", "go", 1, nil},
		{"bash -eu ci/test.sh", "go", 1, nil},
		{"make test", "go", 2, failed},
		{"make unit", "go", 2, []string{"make: *** [unit] Error 1"}},
		{"make", " no test runner", 2, failed}, // the first is build
		{"npm run loop", " no test runner that is known", 1, nil},
		{"npm run then", " postthen would run", 1, nil},
		{"npm run twice", " more than once", 1, nil},
		{"npm run piped", " more than one", 1, nil},
		{"npm run absent", ` no script "absent"`, 1, nil},
		{"npm --prefix web test", " no test runner", 1, nil},
		{"cd web\nnpm test", " no test runner", 1, nil},
		{"./ci/trap.sh", " trap", 1, nil},
		{"./ci/run.py", " no script of a shell", 1, nil},
		{"./ci/cd.sh", " no test runner", 1, nil},
		{"./ci/absent.sh", " cannot be read", 1, nil},
		{"../other/test.sh", " not in the workspace", 1, nil},
		{"/opt/test.sh", " not in the workspace", 1, nil},
		{"sh -c 'go test'", " no test runner", 1, nil},
		{"make all", " may run tests", 2, failed},
		{"make last", " may run tests", 2, failed},
		{"make careless", " ignores failures", 2, failed},
		{"make other", " more than one", 2, failed},
		{"make -k test", " more than one target", 2, failed},
		{"npm run mk", " inside of something else", 2, failed},
	} {
		end, err := EndOf(c.script, read)
		if why, refused := strings.CutPrefix(c.runner, " "); refused {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %+v, %v; want %q", c.script, end, err, why)
			}
			continue
		}
		if err != nil || end.way.words[0] != c.runner || !end.Wrapped() || len(end.Files) != len(end.Texts) {
			t.Errorf("%s: %+v, %v", c.script, end, err)
			continue
		}
		if !end.Failed(c.exit, c.tail) {
			t.Errorf("%s: exit code %d says nothing", c.script, c.exit)
		}
		if end.Ran([]byte("/bin/sh\x00-c\x00x\x00")) || !end.Ran([]byte("sh\x00/usr/bin/"+end.Program+"\x00-v\x00")) {
			t.Errorf("%s: whether %s ran is not told", c.script, end.Program)
		}
	}
	end, err := EndOf("make test", read)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range [][]string{nil, {"make: *** [Makefile:6: build] Error 2"}, {"make: *** [a] Error 1", "make: *** [b] Error 1"}, {"make: *** No rule to make target"}} {
		if end.Failed(2, tail) || end.Failed(1, failed) {
			t.Errorf("%q: tests failed", tail)
		}
	}
}

func TestTold(t *testing.T) {
	t.Parallel()
	maven := "[ERROR] Failed to execute goal org.apache.maven.plugins:maven-surefire-plugin:3.2.5:test (default-test) on project a: There are test failures."
	for _, c := range []struct {
		script string
		tail   string
		want   bool
	}{
		{"mvn -B clean test", maven, true},
		{"mvn -B clean test", "[INFO] BUILD FAILURE", false},
		{"mvn -B clean test", maven + "\n[ERROR] Failed to execute goal x:maven-compiler-plugin:3:compile on project b: Compilation failure", false},
		{"mvn -B clean test", "[INFO] a ........... FAILURE [  1.2 s]\n[INFO] b ........... SKIPPED\n" + maven, false},
		{"mvn -B verify", maven, false}, // it was going to do more
		{"mvn -q test", maven, false},
		{"./gradlew test --continue", "FAILURE: Build failed with an exception.\n* What went wrong:\nExecution failed for task ':test'.\n> There were failing tests. See the report at: x", true},
		{"./gradlew test", "* What went wrong:\nExecution failed for task ':test'.\n> There were failing tests.", false}, // other projects were left out
		{"./gradlew test --continue", "* What went wrong:\nExecution failed for task ':a:test'.\n> There were failing tests.\n* What went wrong:\nExecution failed for task ':b:compileJava'.\n> Compilation failed", false},
		{"./gradlew --continue check", "* What went wrong:\nExecution failed for task ':test'.\n> There were failing tests.", false},
		{"pytest", "2 failed, 7 passed", true},
		{"pytest", "!!!!!! stopping after 1 failures !!!!!!", false},
	} {
		end, err := EndOf(c.script, nil)
		if got := err == nil && end.Failed(1, strings.Split(c.tail, "\n")); got != c.want {
			t.Errorf("%s, %q: %v, %v", c.script, c.tail, got, err)
		}
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	read := inside(map[string]string{
		"package.json": `{"scripts": {"test": "vitest run", "deep": "npm test", "node": "node --test", "go": "./t.sh"}}`,
		"t.sh":         "#!/bin/sh\ngo test ./... \"$@\"\n",
	})
	goTests := []record.TestResult{{Suite: "p", Groups: []string{"TestB"}, Name: "a case"}, {Suite: "p", Name: "TestA"}, {Suite: "p", Name: "TestB"}}
	files := []record.TestResult{{Suite: "src/a.test.ts", Name: "adds (1)", File: "src/a.test.ts"}, {Suite: "src/b c.test.ts", Name: "it"}}
	classes := []record.TestResult{{Suite: "com.shop.CartTest", Name: "adds"}, {Suite: "com.shop.CartTest", Name: "removes(int)[1]"}, {Suite: "com.shop.PayTest", Name: "pays and is thanked"}, {Suite: "com.shop.PayTest", Name: "pays"}}
	for _, c := range []struct {
		script, want string
		failed       []record.TestResult
	}{
		{"go test ./...", "go test ./... -run '^(TestA|TestB)$'", goTests},
		{"go test ./... -args x", "", goTests},
		{"go test ./...", "", []record.TestResult{{Suite: "p", Name: "p", Status: record.TestError}}}, // it was not built
		{"go test ./...", "", []record.TestResult{{Suite: "p", Name: "Test'; rm -rf ~; '"}}},
		{"go test ./...", "", nil},
		{"npx jest --ci", "npx jest --ci --onlyFailures", files},
		{"pytest -q", "pytest -q --last-failed", files},
		{"npx vitest run --coverage", "npx vitest run --coverage src/a.test.ts 'src/b c.test.ts'", files},
		{"npx vitest run", "", []record.TestResult{{Suite: "it's.test.ts", Name: "x"}}},
		{"npx vitest run", "", []record.TestResult{{Suite: "--config=evil", Name: "x"}}},
		{"npx mocha test/", `npx mocha test/ '--grep=adds \(1\)|it'`, files},
		{"node --test --test-reporter=junit test/*.js", `node --test '--test-name-pattern=adds \(1\)|it' --test-reporter=junit test/*.js`, files},
		{"X=1 bundle exec rspec", "X=1 bundle exec rspec --example 'adds (1)' --example it", files},
		{"python3 -m unittest discover", "python3 -m unittest discover -k '*TestA' -k '*TestB'", goTests[1:]},
		{"cargo nextest run --no-fail-fast", "cargo nextest run --no-fail-fast -E 'binary_id(=app::it) and (test(=mod::adds))'", []record.TestResult{{Suite: "app::it", Name: "mod::adds"}}},
		{"mvn -B test", "mvn -B test '-Dtest=com.shop.CartTest#adds+removes,com.shop.PayTest' -Dsurefire.failIfNoSpecifiedTests=false", classes},
		{"gradle --continue test", "gradle --continue test --tests com.shop.CartTest.adds --tests com.shop.CartTest.removes --tests com.shop.PayTest", classes},
		{"dotnet test", "dotnet test --filter 'FullyQualifiedName=com.shop.CartTest.adds|FullyQualifiedName=com.shop.CartTest.removes|FullyQualifiedName~com.shop.PayTest.'", classes},
		{"npm test", "npm test -- src/a.test.ts 'src/b c.test.ts'", files},
		{"npm test -- --coverage", "npm test -- --coverage src/a.test.ts 'src/b c.test.ts'", files},
		{"yarn test", "yarn test src/a.test.ts 'src/b c.test.ts'", files},
		{"npm run deep", "", files},
		{"npm run node", "", files},
		{"npm run go", "", goTests},
		{"phpunit", "", files},
	} {
		end, err := EndOf(c.script, read)
		if err != nil {
			t.Errorf("%s: %v", c.script, err)
			continue
		}
		if got := end.Again(c.failed); got != c.want {
			t.Errorf("%s: got  %s\nwant %s", c.script, got, c.want)
		}
	}
	many := make([]record.TestResult, maxAgain+1)
	for i := range many {
		many[i] = record.TestResult{Suite: fmt.Sprintf("s%d.test.ts", i), Name: fmt.Sprintf("Test%d", i)}
	}
	for _, script := range []string{"go test", "npx vitest run", "npx mocha"} {
		if end, err := EndOf(script, nil); err != nil || end.Again(many) != "" {
			t.Errorf("%s names %d tests; %v", script, len(many), err)
		}
	}
}

func FuzzEndOf(f *testing.F) {
	f.Add("npm test", `{"scripts": {"test": "vitest run"}}`)
	f.Add("make test", "A := go\ntest: x\n\t$(A) test\n")
	f.Add("sh x.sh", "#!/bin/sh\ngo test \\\n  ./...\n")
	f.Fuzz(func(t *testing.T, script, text string) {
		end, err := EndOf(script, func(string) ([]byte, error) { return []byte(text), nil })
		if err != nil {
			return
		}
		end.Failed(1, []string{text})
		line := end.Again([]record.TestResult{{Suite: script, Name: text}})
		if line != "" && strings.Count(line, "\n") > strings.Count(end.Line(), "\n") {
			t.Errorf("%q", line)
		}
	})
}
