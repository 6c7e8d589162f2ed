package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFeatures finds the test that each row of the table names: what is said
// to work is held by something that would fail if it did not.
func TestFeatures(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	for _, f := range features() {
		for k, a := range f.answers() {
			switch {
			case a.state == works && a.test == "":
				t.Errorf("%s, %s: no test holds that it works", f.name, languages[k])
			case (a.state == differs || a.state == missing) && a.why == "":
				t.Errorf("%s, %s: it is not said why", f.name, languages[k])
			}
			if a.test == "" {
				continue
			}
			dir, fn, c := a.parts()
			files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, file := range files {
				body, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text := string(body)
				found = found || strings.Contains(text, "\nfunc "+fn+"(t *testing.T)") && (c == "" || strings.Contains(text, `"`+c+`"`))
			}
			if !found {
				t.Errorf("%s, %s: there is no test %s", f.name, languages[k], a.test)
			}
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	renderFeatures(&b)
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), b.String()) {
		t.Error("docs/reference/compatibility.md has another table of features: go run ./test/conformance/scoreboard > docs/reference/compatibility.md")
	}
}
