package groovy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shared is a folder beside the repository with files of others.
func shared(t testing.TB, env, name string) string {
	t.Helper()
	root := os.Getenv(env)
	if root == "" {
		root = filepath.FromSlash("../../../../../shared/" + name)
	}
	return root
}

// TestCorpus parses every Jenkinsfile of the corpus.
func TestCorpus(t *testing.T) {
	t.Parallel()
	var files []string
	for _, root := range []string{
		filepath.Join(shared(t, "FAIRLEAD_CORPUS", "corpus"), "jenkins"),
		filepath.Join(shared(t, "FAIRLEAD_CONFORMANCE", "conformance"), "jenkins", "resources"),
	} {
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && (strings.HasSuffix(path, ".groovy") || strings.Contains(path, "Jenkinsfile")) {
				files = append(files, path)
			}
			return nil
		})
	}
	if len(files) == 0 {
		t.Skip("no corpus: set FAIRLEAD_CORPUS and FAIRLEAD_CONFORMANCE")
	}
	parsed := 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := Parse(filepath.Base(file), string(src)); len(problems) > 0 {
			t.Logf("%v", problems[0])
			continue
		}
		parsed++
	}
	t.Logf("parsed: %d of %d", parsed, len(files))
}
