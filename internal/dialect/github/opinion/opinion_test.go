package opinion_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/opinion"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestOf(t *testing.T) {
	t.Parallel()
	problems := opinion.Of("ci.yml", []byte(`on: push
concurrency: {group: a, queue: max}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.head_commit.message }} ${{ case(true, 1, 2) }}
        background: true
      - wait-all:
      - uses: actions/checkout@v1
`))
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d %s %s", p.Line, p.Severity, p.Rule))
	}
	if want := "7 warning expression;10 warning uses"; strings.Join(got, ";") != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// shared finds test data that lies outside of the repository.
func shared(t testing.TB, variable, fallback string, elem ...string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "..", "shared", fallback)
	}
	dir = filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no test data: %v; set %s", err, variable)
	}
	return dir
}

// elsewhere are cases about local actions whose files are not beside them.
var elsewhere = map[string]bool{
	"action_metadata_syntax_validation.yaml": true,
	"local_action_inputs.yaml":               true,
	"local_action_outputs.yaml":              true,
}

var outLine = regexp.MustCompile(`^/?(?:test\.yaml|/test\\\.yaml|.*?):(\d+):(\d+): .* \\?\[([a-z-]+)\\?\]/?$`)

// TestActionlintCases compares with actionlint's own cases: what it finds must be
// found, by line and kind (or column, where we have another word for the kind),
// and what it lets pass must pass.
func TestActionlintCases(t *testing.T) {
	t.Parallel()
	dir := shared(t, "FAIRLEAD_CONFORMANCE", "conformance", "github", "actionlint")
	for _, group := range []string{"err", "examples"} {
		files, err := filepath.Glob(filepath.Join(dir, group, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		want, got := 0, 0
		for _, file := range files {
			out, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".out")
			if err != nil || elsewhere[filepath.Base(file)] {
				continue
			}
			problems := lintOne(t, file)
			lines := bufio.NewScanner(bytes.NewReader(out))
			for lines.Scan() {
				m := outLine.FindStringSubmatch(lines.Text())
				if m == nil {
					t.Logf("%s: cannot read %q", filepath.Base(file), lines.Text())
					continue
				}
				if m[3] == "pyflakes" || m[3] == "shellcheck" {
					continue // programs that lint does not start
				}
				want++
				line, _ := strconv.Atoi(m[1])
				col, _ := strconv.Atoi(m[2])
				ok := false
				for _, p := range problems {
					ok = ok || line == 0 && p.Rule == "syntax" || p.Line == line && (github.Family(p.Rule) == github.Family(opinion.Rule(m[3])) || p.Col == col)
				}
				if ok {
					got++
				} else {
					t.Logf("%s: not found: %s", filepath.Base(file), lines.Text())
					t.Attr("scoreboard-rest", fmt.Sprintf("actionlint-%s %s: line %d, %s", group, filepath.Base(file), line, m[3]))
				}
			}
		}
		t.Attr("scoreboard", fmt.Sprintf("actionlint-%s %d/%d", group, got, want))
		t.Logf("actionlint %s: %d of %d findings", group, got, want)
		if got*100 < want*90 {
			t.Errorf("actionlint %s: only %d of %d findings", group, got, want)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "ok", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, file := range files {
		problems := lintOne(t, file)
		ok := true
		for _, p := range problems {
			if !strings.Contains(p.Message, "there is no such file") {
				t.Logf("%s: %s", filepath.Base(file), p)
				t.Attr("scoreboard-rest", fmt.Sprintf("actionlint-ok %s: %s", filepath.Base(file), p.Message))
				ok = false
			}
		}
		if ok {
			passed++
		}
	}
	t.Attr("scoreboard", fmt.Sprintf("actionlint-ok %d/%d", passed, len(files)))
	t.Logf("actionlint ok: %d of %d pass", passed, len(files))
	if passed*100 < len(files)*90 {
		t.Errorf("actionlint ok: only %d of %d pass", passed, len(files))
	}
}

func lintOne(t *testing.T, file string) []plan.Problem {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := github.New(github.Config{Opinion: opinion.Of}).Lint(t.Context(), fstest.MapFS{
		".github/workflows/test.yaml": &fstest.MapFile{Data: body},
	})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

// BenchmarkLint lints 338 real files.
func BenchmarkLint(b *testing.B) {
	dir := shared(b, "FAIRLEAD_CORPUS", "corpus", "github")
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for i := range 338 {
		body, err := os.ReadFile(filepath.Join(dir, entries[i%len(entries)].Name()))
		if err != nil {
			b.Fatal(err)
		}
		fsys[fmt.Sprintf("%s/%03d.yml", ".github/workflows", i)] = &fstest.MapFile{Data: body}
	}
	d := github.New(github.Config{Opinion: opinion.Of})
	for b.Loop() {
		if _, err := d.Lint(b.Context(), fsys); err != nil {
			b.Fatal(err)
		}
	}
}
