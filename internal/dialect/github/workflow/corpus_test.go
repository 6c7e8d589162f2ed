package workflow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// yamlFiles are the YAML files below a folder that a test may read.
func yamlFiles(t testing.TB, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext == ".yml" || ext == ".yaml" {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// isAction tells action.yml from workflows by its name or its keys.
func isAction(path string, src []byte) bool {
	base := filepath.Base(path)
	if strings.HasPrefix(base, "action.y") {
		return true
	}
	text := "\n" + string(src)
	return strings.Contains(text, "\nruns:") && !strings.Contains(text, "\njobs:")
}

func readAny(path string, src []byte) []plan.Problem {
	if isAction(path, src) {
		_, problems := ReadAction(path, src)
		return problems
	}
	_, problems := Read(path, src)
	return problems
}

// TestCorpus reads real workflows: none may have an error that GitHub does not
// report. Known faulty ones are listed.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, set := range []struct {
		name, variable, fallback string
		parts                    []string
		faulty                   map[string]string // file: what is really wrong with it
	}{
		{"real workflows", "FAIRLEAD_CORPUS", "../shared/corpus", []string{"github"}, map[string]string{
			"microsoft__azure-pipelines-yaml__.github_workflows_stale.yml": "settings of a bot, not a workflow",
		}},
		{"act", "FAIRLEAD_CONFORMANCE", "../shared/conformance", []string{"github", "act", "testdata"}, map[string]string{
			"issue-1595/missing.yml":                           "needs a job that is not there",
			"issue-1595/no-event.yml":                          "no on:",
			"issue-1595/no-first.yml":                          "no job without needs",
			"job-container-invalid-credentials/push.yml":       "a password that is empty",
			"job-nil-step/push.yml":                            "an empty step",
			"local-remote-action-overrides/config/config.yml":  "settings of act, not a workflow",
			"remote-action-docker-new-cache/config/config.yml": "settings of act, not a workflow",
			"uses-and-run-in-one-step/push.yml":                "uses: and run: in one step",
			"uses-composite-with-inputs/action/action.yml":     "inputs in the default of an input",
			"uses-github-empty/push.yml":                       "uses: without a value",
			"uses-github-noref/push.yml":                       "no @ref",
			"workflow_call_inputs/workflow_call_inputs.yml":    "inputs of workflow_call without type",
		}},
		{"actionlint ok", "FAIRLEAD_CONFORMANCE", "../shared/conformance", []string{"github", "actionlint", "ok"}, nil},
	} {
		t.Run(set.name, func(t *testing.T) {
			t.Parallel()
			dir := testData(t, set.variable, set.fallback, set.parts...)
			paths := yamlFiles(t, dir)
			clean := 0
			for _, path := range paths {
				src, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				rel, err := filepath.Rel(dir, path)
				if err != nil {
					t.Fatal(err)
				}
				rel = filepath.ToSlash(rel)
				problems := readAny(rel, src)
				switch why, known := set.faulty[rel]; {
				case !plan.Errors(problems) && known:
					t.Errorf("%s reads without errors, but is listed as faulty: %s", rel, why)
				case !plan.Errors(problems):
					clean++
				case !known:
					t.Errorf("%s:", rel)
					for _, p := range problems {
						t.Errorf("\t%s", p)
					}
				}
			}
			t.Logf("%d of %d pass", clean, len(paths))
		})
	}
}
