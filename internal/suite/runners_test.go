package suite

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// listings are what the runners print: of go 1.26, jest 30, vitest 4, mocha 12
// and playwright 1.65 as they printed it, shortened; of the others as their
// manuals show it.
var listings = map[string]string{
	"go": `{"ImportPath":"example.com/shop/broken [example.com/shop/broken.test]","Action":"build-output","Output":"# example.com/shop/broken [example.com/shop/broken.test]\n"}
{"ImportPath":"example.com/shop/broken [example.com/shop/broken.test]","Action":"build-fail"}
{"Time":"2026-11-23T16:34:03.118613852Z","Action":"start","Package":"example.com/shop/broken"}
{"Time":"2026-11-23T16:34:03.126711974Z","Action":"output","Package":"example.com/shop/broken","Output":"FAIL\texample.com/shop/broken [build failed]\n"}
{"Time":"2026-11-23T16:34:03.12676989Z","Action":"fail","Package":"example.com/shop/broken","Elapsed":0.008,"FailedBuild":"example.com/shop/broken [example.com/shop/broken.test]"}
{"Time":"2026-11-23T16:34:03.243750314Z","Action":"start","Package":"example.com/shop/cart"}
{"Time":"2026-11-23T16:34:03.243991654Z","Action":"output","Package":"example.com/shop/empty","Output":"?   \texample.com/shop/empty\t[no test files]\n"}
{"Time":"2026-11-23T16:34:03.24400202Z","Action":"skip","Package":"example.com/shop/empty","Elapsed":0}
{"Time":"2026-11-23T16:34:03.246384161Z","Action":"output","Package":"example.com/shop/cart","Output":"TestAdd\n"}
{"Time":"2026-11-23T16:34:03.246568796Z","Action":"output","Package":"example.com/shop/cart","Output":"TestRemove\n"}
{"Time":"2026-11-23T16:34:03.246995372Z","Action":"output","Package":"example.com/shop/cart","Output":"ExampleAdd\n"}
{"Time":"2026-11-23T16:34:03.247037364Z","Action":"output","Package":"example.com/shop/cart","Output":"ok  \texample.com/shop/cart\t0.003s\n"}
`,
	"go, without -json": `FAIL	example.com/shop/broken [build failed]
TestAdd
TestRemove
ExampleAdd
ok  	example.com/shop/cart	0.002s
?   	example.com/shop/empty	[no test files]
FAIL
`,
	"pytest": `tests/test_cart.py::test_add
tests/test_cart.py::TestRemove::test_all[a::b - c]
tests/api/test_login.py::test_form
ERROR tests/test_broken.py - ModuleNotFoundError: No module named 'nope'

=========================== short test summary info ============================
3 tests collected, 1 error in 0.07s
`,
	"pytest, quiet twice": "tests/test_cart.py: 2\ntests/api/test_login.py: 1\n\n",
	"jest":                "npm warn Unknown user config \"x\".\n[\"/repo/pw/login.spec.js\",\"/repo/t/sum.test.js\"]\n",
	"vitest": `[
  {
    "name": "outer > inner > works > well",
    "file": "/repo/t/a.spec.mjs"
  },
  {
    "name": "outer > is done",
    "file": "/repo/t/b.spec.mjs"
  }
]
`,
	"mocha": `{
  "stats": { "suites": 2, "tests": 2, "passes": 2 },
  "tests": [
    { "title": "passes", "fullTitle": "mocha outer passes", "file": "/repo/t/m.cjs", "currentRetry": 0, "err": {} },
    { "title": "too", "fullTitle": "mocha outer deep too", "file": "/repo/t/m.cjs", "currentRetry": 0, "err": {} }
  ],
  "pending": []
}
`,
	"playwright": `{
  "config": { "rootDir": "/repo" },
  "suites": [ {
    "title": "pw/login.spec.js", "file": "pw/login.spec.js", "column": 0, "line": 0,
    "specs": [ { "title": "top", "ok": true, "file": "pw/login.spec.js", "line": 2, "column": 1 } ],
    "suites": [ {
      "title": "login", "file": "pw/login.spec.js", "line": 1, "column": 48,
      "specs": [ { "title": "shows a form", "file": "pw/login.spec.js", "line": 1, "column": 72 } ]
    } ]
  } ],
  "errors": [ { "message": "Error: no tests in other.spec.js\n at x" } ]
}
`,
	"rspec": `Some gem says hello
{"version":"3.13.0","examples":[
{"id":"./spec/cart_spec.rb[1:1]","description":"adds","full_description":"Cart adds","status":"passed","file_path":"./spec/cart_spec.rb","line_number":4},
{"id":"./spec/cart_spec.rb[1:2:1]","description":"is shared","full_description":"Cart is shared","status":"passed","file_path":"./spec/support/shared.rb","line_number":2}],
"summary":{"duration":0.001,"example_count":2,"errors_outside_of_examples_count":1}}
`,
	"cargo-nextest": `{"rust-build-meta":{"target-directory":"/repo/target"},"test-count":3,"rust-suites":{"shop":{"package-name":"shop","binary-id":"shop","testcases":{"cart::tests::adds":{"ignored":false,"filter-match":{"status":"matches"}},"cart::tests::slow":{"ignored":true}}},"shop::api":{"binary-id":"shop::api","testcases":{"login":{"ignored":false},"left_out":{"ignored":false,"filter-match":{"status":"mismatch","reason":"default-filter"}}}},"shop::bin/shop":{"testcases":{}}}}
`,
	"dotnet": "  Shop.Tests -> C:\\repo\\bin\\Shop.Tests.dll\r\nThe following Tests are available:\r\n    Shop.Tests.CartTests.Adds\r\n    Shop.Tests.CartTests.Removes(count: 1)\r\n    Shop.Tests.CartTests.Removes(count: 2.5)\r\n    Adds two numbers\r\n",
	"maven":  "src/test/java/com/shop/CartTest.java\nsrc/test/java/com/shop/TestLogin.java\nsrc/test/java/com/shop/Fixtures.java\nmodule/src/integrationTest/kotlin/com/shop/ApiTest.kt\nodd/LostTest.java\n",
	"files":  "./b.t\x00a.t\n",
}

func TestRunnersRead(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"go": `example.com/shop/broken
example.com/shop/cart ExampleAdd TestAdd TestRemove
! example.com/shop/broken: its tests could not be listed, for it does not build; it is run as a whole`,
		"pytest": `tests/api/test_login.py tests/api/test_login.py::test_form
tests/test_broken.py
tests/test_cart.py tests/test_cart.py::TestRemove::test_all[a::b - c] tests/test_cart.py::test_add
! tests/test_broken.py: its tests could not be listed: ModuleNotFoundError: No module named 'nope'; it is run as a whole`,
		"pytest, quiet twice": "tests/api/test_login.py\ntests/test_cart.py",
		"jest":                "pw/login.spec.js\nt/sum.test.js",
		"vitest":              "t/a.spec.mjs outer > inner > works > well\nt/b.spec.mjs outer > is done",
		"mocha":               "t/m.cjs mocha outer deep too mocha outer passes",
		"playwright":          "pw/login.spec.js pw/login.spec.js:1 pw/login.spec.js:2\n! playwright: Error: no tests in other.spec.js",
		"rspec":               "spec/cart_spec.rb spec/cart_spec.rb[1:1] spec/cart_spec.rb[1:2:1]\n! rspec could not load everything: 1 errors outside of examples",
		"cargo-nextest":       "shop cart::tests::adds\nshop::api login",
		"dotnet":              "Shop.Tests.CartTests Adds Removes\n! \"Adds two numbers\" is a title and not the name of a method: it is run by no shard unless its class is",
		"maven":               "com.shop.ApiTest\ncom.shop.CartTest\ncom.shop.TestLogin\n! odd/LostTest.java: it is in no src/test/java or the like, so that its class is not known; it is left out",
		"files":               "a.t\nb.t",
	}
	want["go, without -json"] = want["go"]
	for name, output := range listings {
		runner, _, _ := strings.Cut(name, ",")
		r, ok := RunnerNamed(runner)
		if !ok {
			t.Errorf("there is no runner %s", runner)
			continue
		}
		l := r.Read([]byte(output), "/repo")
		var got []string
		for _, f := range l.Found {
			got = append(got, strings.Join(append([]string{f.Name}, f.Tests...), " "))
		}
		for _, p := range l.Problems {
			got = append(got, "! "+p)
		}
		if text := strings.Join(got, "\n"); text != want[name] {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, want[name])
		}
	}
	for _, r := range Runners() {
		if len(r.List) > 0 && len(r.Read([]byte("sh: not found\n"), "").Found) > 0 {
			t.Errorf("%s finds tests in the error of a shell", r.Name)
		}
	}
}

func TestRunnersCommands(t *testing.T) {
	t.Parallel()
	whole := []Item{{Name: "a/x.t"}, {Name: "b.t"}}
	for _, c := range []struct {
		runner string
		items  []Item
		want   string
	}{
		{"go", []Item{{Name: "m/a"}, {Name: "m/b"}, {Name: "m/c", Tests: []string{"TestA", "TestB"}}, {Name: "m/d"}}, "t m/a m/b|t -run ^(TestA|TestB)$ m/c|t m/d"},
		{"pytest", []Item{{Name: "t/a.py"}, {Name: "t/b.py", Tests: []string{"t/b.py::x[1]"}}}, "t t/a.py t/b.py::x[1]"},
		{"rspec", []Item{{Name: "s/a.rb", Tests: []string{"s/a.rb[1:1]"}}}, "t s/a.rb[1:1]"},
		{"jest", whole, "t --runTestsByPath a/x.t b.t"},
		{"jest", []Item{{Name: "a", Tests: []string{"one"}}}, "t --runTestsByPath a"},
		{"vitest", whole, "t /repo/a/x.t /repo/b.t"},
		{"mocha", whole, "t a/x.t b.t"},
		{"files", whole, "t a/x.t b.t"},
		{"playwright", []Item{{Name: "a+b/x.ts"}, {Name: "y.ts", Tests: []string{"y.ts:12"}}}, `t /a\+b/x\.ts$ /y\.ts$:12`},
		{"cargo-nextest", []Item{{Name: "shop"}, {Name: "shop::api", Tests: []string{"a(b)", "c"}}}, `t -E binary_id(=shop) -E binary_id(=shop::api) and (test(=a(b\)) or test(=c))`},
		{"maven", []Item{{Name: "p.A"}, {Name: "p.B", Tests: []string{"x", "y"}}}, "t -Dtest=p.A,p.B#x+y -Dsurefire.failIfNoSpecifiedTests=false"},
		{"gradle", []Item{{Name: "p.A"}, {Name: "p.B", Tests: []string{"x", "y"}}}, "t --tests p.A --tests p.B.x --tests p.B.y"},
		{"dotnet", []Item{{Name: "N.A"}, {Name: "N.B<X,Y>", Tests: []string{"M"}}}, "t --filter FullyQualifiedName~N.A.|FullyQualifiedName=N.B<X%2CY>.M"},
		{"go", nil, ""}, // no items must not become a command without any, which runs everything
	} {
		r, _ := RunnerNamed(c.runner)
		var got []string
		for _, line := range r.Commands([]string{"t"}, c.items, "/repo") {
			got = append(got, strings.Join(line, " "))
		}
		if text := strings.Join(got, "|"); text != c.want {
			t.Errorf("%s: %s, want %s", c.runner, text, c.want)
		}
	}
}

// However many items there are, every line is short enough, and every item is on
// one of them.
func TestRunnersLongLines(t *testing.T) {
	t.Parallel()
	var items []Item
	var all []string
	for i := range 3000 {
		name := fmt.Sprintf("some/where/far/away/unit%04dx", i)
		items = append(items, Item{Name: name})
		all = append(all, name)
	}
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("TestNumber%05dx", i))
	}
	items = append(items, Item{Name: "full", Tests: many})
	all = append(all, many...)
	for _, r := range Runners() {
		var text strings.Builder
		for _, line := range r.Commands([]string{"run", "-v"}, items, "") {
			joined := strings.Join(line, " ")
			if len(joined) > maxLine {
				t.Errorf("%s: a line of %d bytes", r.Name, len(joined))
			}
			text.WriteString(joined + "\n")
		}
		for i := 0; i < len(all); i += 37 {
			name := all[i]
			if n := strings.Count(text.String(), name); n != 1 && (r.Tests || !strings.HasPrefix(name, "TestNumber")) {
				t.Errorf("%s: %s is there %d times", r.Name, name, n)
				break
			}
		}
	}
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"go test -race ./...":                  "go",
		"npx vitest run":                       "vitest",
		"node node_modules/.bin/jest --ci":     "jest",
		"node node_modules/jest/bin/jest.js":   "jest",
		"python3 -m pytest -x":                 "pytest",
		"./gradlew.bat check":                  "gradle",
		"bundle exec rspec":                    "rspec",
		"cargo nextest run --profile ci":       "cargo-nextest",
		"cargo test":                           "",
		"/usr/bin/mvn -B verify":               "maven",
		"dotnet test Shop.sln":                 "dotnet",
		"make test":                            "",
		"":                                     "",
		"npx playwright test --project=webkit": "playwright",
	} {
		r, ok := Guess(strings.Fields(command))
		if r.Name != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", command, r.Name, want)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	found := func(names ...string) (l Listing) {
		for _, name := range names {
			l.Found = append(l.Found, Found{Name: name})
		}
		return l
	}
	python := found("tests/api/test_login.py", "tests/test_cart.py", "other/test_cart.py")
	for _, c := range []struct {
		runner  string
		listing Listing
		result  record.TestResult
		want    string
	}{
		{"go", found("m/a"), record.TestResult{Suite: "m/a", Groups: []string{"TestX"}, Name: "case"}, "m/a TestX true"},
		{"go", found("m/a"), record.TestResult{Suite: "m/a", Name: "TestX/case"}, "m/a TestX true"},
		{"go", found("m/a"), record.TestResult{Suite: "m/gone", Name: "TestX"}, "m/gone TestX false"},
		{"pytest", python, record.TestResult{File: "tests/test_cart.py", Groups: []string{"TestC"}, Name: "test_x", Params: "1-2"}, "tests/test_cart.py tests/test_cart.py::TestC::test_x[1-2] true"},
		{"pytest", python, record.TestResult{Suite: "tests.api.test_login.TestForm", Name: "test_y"}, "tests/api/test_login.py tests/api/test_login.py::TestForm::test_y true"},
		{"pytest", python, record.TestResult{Suite: "tests.test_cart", Name: "test_z"}, "tests/test_cart.py tests/test_cart.py::test_z true"},
		{"pytest", python, record.TestResult{File: "test_cart.py", Name: "test_z"}, "test_cart.py test_cart.py::test_z false"}, // there are two
		{"pytest", python, record.TestResult{File: "/build/7/tests/test_cart.py", Name: "test_z"}, "tests/test_cart.py tests/test_cart.py::test_z true"},
		{"jest", found("a.test.js"), record.TestResult{File: "./a.test.js", Name: "x"}, "a.test.js x true"},
		{"jest", found("a.test.js"), record.TestResult{Suite: "a describe block", Name: "x"}, "a describe block x false"},
		{"vitest", found("t/a.spec.mjs"), record.TestResult{Suite: "t/a.spec.mjs", Name: "x"}, "t/a.spec.mjs x true"},
		{"playwright", found("pw/a.spec.ts"), record.TestResult{Suite: "a.spec.ts", Line: 4, Name: "x"}, "pw/a.spec.ts pw/a.spec.ts:4 true"},
		{"rspec", found("spec/cart_spec.rb"), record.TestResult{Suite: "spec.cart_spec", Name: "x"}, "spec/cart_spec.rb x true"},
		{"maven", found("p.CartTest"), record.TestResult{Suite: "p.CartTest", Name: "adds"}, "p.CartTest adds true"},
		{"cargo-nextest", found("shop"), record.TestResult{Suite: "shop", Groups: []string{"cart", "tests"}, Name: "adds"}, "shop cart::tests::adds true"},
	} {
		r, _ := RunnerNamed(c.runner)
		unit, test, ok := r.Place(c.listing)(&c.result)
		if got := fmt.Sprint(unit, " ", test, " ", ok); got != c.want {
			t.Errorf("%s: %s, want %s", c.runner, got, c.want)
		}
	}
}

func TestListingItems(t *testing.T) {
	t.Parallel()
	l := Listing{Found: []Found{{"a", nil}, {"b", []string{"x", "y"}}}}
	items := l.Items(func(unit, test string) float64 {
		return map[string]float64{"a ": 3, "b x": 1, "b y": 2}[unit+" "+test]
	})
	if want := []Item{{Name: "a", Seconds: 3}, {Name: "b", Seconds: 3}}; fmt.Sprint(items) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", items, want)
	}
}

// Whatever a command prints, reading it ends, units are named and sorted, and
// what comes of them is no longer than a line.
func FuzzRunnersRead(f *testing.F) {
	for _, output := range listings {
		f.Add([]byte(output))
	}
	f.Add([]byte("{\n{\n[[[["))
	f.Fuzz(func(t *testing.T, output []byte) {
		if len(output) > 1<<16 {
			return
		}
		for _, r := range Runners() {
			l := r.Read(output, "/repo")
			if !slices.IsSortedFunc(l.Found, func(a, b Found) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("%s: %v", r.Name, l.Found)
			}
			if len(l.Found) == 0 {
				continue
			}
			r.Commands(r.Run, l.Items(func(string, string) float64 { return 0 }), "/repo")
		}
	})
}
