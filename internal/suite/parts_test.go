package suite

import (
	"slices"
	"strings"
	"testing"
)

// TestParts: a script is taken apart only when its parts together do what it does.
func TestParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ script, list, unit, before, why string }{
		{"go test ./...", "go list ./...", "go test -count=1 U", "", ""},
		{"go test", "go list", "go test -count=1 U", "", ""},
		{"CGO_ENABLED=0 go test -tags x -race -count=1 -run '^TestA$' ./a ./b/... 2>&1", "CGO_ENABLED=0 go list -tags x -race ./a ./b/...", "CGO_ENABLED=0 go test -tags x -race -count=1 -run '^TestA$' 2>&1 U", "", ""},
		{"set -eu\n# all of them\nmake gen\ngo test \\\n ./...", "go list ./...", "go test -count=1 U", "make gen\n", ""},
		{"pytest", "pytest --collect-only -q", "pytest U", "", ""},
		{"python -m pytest -q -k fast tests/", "python -m pytest -q -k fast --collect-only -q tests/", "python -m pytest -q -k fast U", "", ""},
		{"npx jest --ci src", "npx jest --ci --listTests --json src", "npx jest --ci --runTestsByPath U", "", ""},
		{"npx vitest run --coverage", "npx vitest list --json", "npx vitest run --coverage /r/U", "", ""},
		{"npx playwright test --project=web e2e", "npx playwright test --project=web --list --reporter=json e2e", "npx playwright test --project=web '/U$'", "", ""},
		{"bundle exec rspec", "bundle exec rspec --dry-run --format json", "bundle exec rspec U", "", ""},
		{"pytest --strange tests", "", "", "", "whether tests belongs to --strange"},
		{"pytest -x", "", "", "", "with -x it may stop"},
		{"go test ./... > out.txt", "", "", "", "what it prints goes elsewhere"},
		{"go test ./... | tee out", "", "", "", "more than one"},
		{"go test -run 'a b' ./...", "", "", "", "quoted"},
		{"go test ./... -args x", "", "", "", "-args"},
		{"go test -C sub ./...", "", "", "", "-C"},
		{"cd sub\ngo test ./...", "", "", "", "cd sub"},
		{"export A=1\ngo test ./...", "", "", "", "export A=1"},
		{"A=1\ngo test ./...", "", "", "", "A=1"},
		{"$(x)\ngo test ./...", "", "", "", "$(x)"},
		{"go test ./a\ngo test ./b", "", "", "", "more than once"},
		{"mvn test", "", "", "", "it is not known which tests mvn would run"},
		{"make test", "", "", "", "nothing"},
		{"echo hello", "", "", "", "nothing"},
		{"", "", "", "", "nothing"},
	} {
		p, err := PartsOf(c.script)
		switch {
		case c.why == "nothing":
			if p != nil || err != nil {
				t.Errorf("%q: %+v, %v", c.script, p, err)
			}
		case c.why != "":
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%q: %v, want %s", c.script, err, c.why)
			}
		case err != nil:
			t.Errorf("%q: %v", c.script, err)
		default:
			if got := p.List(); got != c.list {
				t.Errorf("%q is listed by %q, want %q", c.script, got, c.list)
			}
			if got := p.Unit("U", "/r"); got != c.unit {
				t.Errorf("%q has the unit %q, want %q", c.script, got, c.unit)
			}
			if p.Before != c.before || (p.Set != "") != strings.Contains(c.script, "set -") {
				t.Errorf("%q: before %q, set %q", c.script, p.Before, p.Set)
			}
		}
	}
}

func TestPartsUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script, printed string
		want            []string
	}{
		{"go test ./...", "$ go list ./...\nexample.com/b\n+ go list\ngo: downloading x v1\nexample.com/a-b/c.v2\n", []string{"example.com/a-b/c.v2", "example.com/b"}},
		{"pytest", "tests/a.py::test_x\ntests/a.py::test_y\ntests/b.py::TestZ::test_z\n\n3 tests collected\n", []string{"tests/a.py", "tests/b.py"}},
		{"pytest", "ERROR tests/a.py - ImportError\ntests/b.py::test_z\n", nil},
		{"go test ./...", "go: warning: \"./...\" matched no packages\n", nil},
	} {
		p, err := PartsOf(c.script)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Units([]byte(c.printed), "/r")
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%q: %q, %v", c.printed, got, err)
		}
	}
	p, _ := PartsOf("pytest")
	for unit, want := range map[string]string{"a b.py": "pytest 'a b.py'", "it's.py": "", "-x": "", "a$b.py": "pytest 'a$b.py'"} {
		if got := p.Unit(unit, ""); got != want {
			t.Errorf("%q is run by %q, want %q", unit, got, want)
		}
	}
}

// FuzzParts: whatever a script is, its parts are commands of one line.
func FuzzParts(f *testing.F) {
	f.Add("set -e\nmake\ngo test -tags x ./... 2>&1", "a/b")
	f.Add("npx vitest run --config=x src", "src/a b.test.ts")
	f.Add("python -m pytest -k x tests", "tests/it's.py")
	f.Fuzz(func(t *testing.T, script, unit string) {
		p, err := PartsOf(script)
		if err != nil || p == nil {
			return
		}
		for _, line := range []string{p.List(), p.Unit(unit, "/root")} {
			if strings.ContainsAny(line, "\n\x00") {
				t.Errorf("%q", line)
			}
		}
		_, _ = p.Units([]byte(unit), "/root")
	})
}
