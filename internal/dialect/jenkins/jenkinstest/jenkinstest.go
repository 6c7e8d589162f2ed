// Package jenkinstest finds what others have written for Jenkins, for tests: the
// declarative plug-in's own cases, and the pipelines of public projects. None
// of it is in the repository; a test that needs it is skipped where it is not
// there, and says so.
package jenkinstest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Conformance is a folder of peers' cases ($FAIRLEAD_CONFORMANCE).
func Conformance(t testing.TB, elem ...string) string {
	t.Helper()
	return find(t, "FAIRLEAD_CONFORMANCE", "conformance", elem)
}

// Corpus is a folder of real files ($FAIRLEAD_CORPUS).
func Corpus(t testing.TB, elem ...string) string {
	t.Helper()
	return find(t, "FAIRLEAD_CORPUS", "corpus", elem)
}

func find(t testing.TB, variable, fallback string, elem []string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		dir = filepath.Join(filepath.Dir(root(t)), "shared", fallback)
	}
	dir = filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no test data: %v; set %s", err, variable)
	}
	return dir
}

// root is the directory of this module.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Case is one of the plug-in's own tests, as cases.json has it.
type Case struct {
	Class       string
	Test        string
	Ignored     bool
	File        string
	Result      string
	Contains    []string
	NotContains []string
	Uncheckable []string
	Extra       []string
	Needs       []string
}

// Cases are the plug-in's tests, and the folder of their files.
func Cases(t testing.TB) (cases []Case, dir string) {
	t.Helper()
	dir = Conformance(t, "jenkins")
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err == nil {
		err = json.Unmarshal(text, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cases, dir
}

var escapes = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)

// Plain undoes what Java's source and message format did to a text.
func Plain(s string) string {
	s = escapes.ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.ParseUint(m[2:], 16, 32)
		return string(rune(n))
	})
	s = strings.NewReplacer(`\"`, `"`, `\'`, `'`, "'{'", "{", "'{", "{", "}'", "}").Replace(s)
	return strings.NewReplacer("‘", "'", "’", "'").Replace(s)
}
