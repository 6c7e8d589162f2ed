package harvest

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKindOf asks of every file of the corpus what it is: none is taken for
// something else.
func TestKindOf(t *testing.T) {
	t.Parallel()
	kinds := map[string]Kind{"sarif": KindFindings, "jmeter": KindLoad, "iago": KindLoad, "k6-summary-json": KindLoad, "go-bench": KindLoad, "ci-logs": ""}
	files := measuredFiles(t, "*/*")
	right := 0
	for _, file := range files {
		folder := filepath.Base(filepath.Dir(file))
		want, ok := kinds[folder]
		switch {
		case ok:
		case strings.HasPrefix(folder, "cov-"):
			want = KindCoverage
		default:
			want = KindTests
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, format := KindOf(text, filepath.Base(file))
		if got != want && got != "" { // what is none is none, for the others to say
			t.Errorf("%s is taken for %s (%s)", file, got, format)
			continue
		}
		if got == want {
			right++
		}
	}
	t.Logf("%d of %d files are what they are; the rest are no reports", right, len(files))
}

// TestMeasuredNames says how each real file that tools call so is looked for.
func TestMeasuredNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"cover.out", "coverage.out", "unit.coverprofile", "coverage.txt", "lcov.info", "coverage.lcov", "jacocotestreport.xml", "jacoco.xml",
		"clover.xml", "cobertura.xml", "coverage.xml", "cobertura-coverage.xml", "coverage.cobertura.xml", "coverage.opencover.xml", "scoverage.xml",
		"coverage-final.json", "coverage.json", ".resultset.json", "main.c.gcov", "luacov.report.out", "codeql.sarif", "results.sarif.json",
		"run.jtl", "load_stats.csv", "k6-summary.json", "app.coveragexml",
	} {
		if !slices.ContainsFunc(measuredNames(), func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil }) {
			t.Errorf("%s is not looked for", name)
		}
	}
	for _, p := range measuredNames() {
		if p != strings.ToLower(p) {
			t.Errorf("%s is not in lower case", p)
		}
	}
}

// TestMeasuredReference compares docs/reference/report-formats.md with the
// tables of formats.
func TestMeasuredReference(t *testing.T) {
	const name = "../../docs/reference/report-formats.md"
	var b strings.Builder
	b.WriteString(`# Formats of coverage, load tests and findings

Besides [results of tests](test-formats.md), Fairlead reads reports of what the
tests covered, of load tests, and of checkers. A report is told by its content;
how it is called only decides whether it is looked at. One that was cut off, or
is spoilt in places, is read as far as that goes, and what was wrong is said.

## Coverage

A line of code was hit, hit in part, or missed. In part means that not every
branch that leads on from it was taken or, where a tool counts smaller things
than lines, that some of them were run and some were not. Of several reports of
one commit the best that any says of a line holds.

| Format | Written by | Looked for |
|---|---|---|
`)
	row := func(title, name, of string, files []string) {
		quoted := make([]string, len(files))
		for i, f := range files {
			quoted[i] = "`" + f + "`"
		}
		fmt.Fprintf(&b, "| %s (`%s`) | %s | %s |\n", title, name, of, strings.Join(quoted, " "))
	}
	for _, f := range coverFormats {
		row(f.title, f.name, f.of, f.files)
	}
	b.WriteString("\n## Load tests\n\nRequests, failures, the rate, latencies, and whether thresholds were kept.\n\n| Format | Written by | Looked for |\n|---|---|---|\n")
	for _, f := range loadFormats {
		row(f.title, f.name, f.of, f.files)
	}
	b.WriteString("\n## Findings\n\n| Format | Written by | Looked for |\n|---|---|---|\n")
	row("SARIF 2.1", "sarif", "CodeQL, Semgrep, golangci-lint, ESLint, Trivy, and most other checkers", sarifFiles)
	b.WriteString("\nThis page is made from the tables of formats: `go test ./internal/harvest -run Reference -update`.\n")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(have, []byte(b.String())) {
		t.Errorf("%s is not what the tables say (%v); run: go test ./internal/harvest -run Reference -update", name, err)
	}
}
