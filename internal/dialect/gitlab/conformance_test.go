package gitlab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// subtree is a directory in which another file stands for .gitlab-ci.yml.
type subtree struct {
	fs.FS
	file string
}

func (s subtree) Open(name string) (fs.File, error) {
	if name == Files {
		name = s.file
	}
	return s.FS.Open(name)
}

// trueProblems are the files of the suite that GitLab refuses, or that lack
// something that only their test gives them, with a part of what we say.
var trueProblems = map[string]string{
	"cache-docker-mount/.gitlab-ci.yml":                                      "may hold no slash",
	"cache-key-invalid-files/.gitlab-ci-empty.yml":                           "needs from 1 to 10 files",
	"cache-paths-not-array/.gitlab-ci.yml":                                   "paths must be a list",
	"completion/.gitlab-ci.yml":                                              "there is no such file",
	"dependencies-not-found/.gitlab-ci.yml":                                  "depends on invalid, which is not there",
	"include-invalid-local/.gitlab-ci.yml":                                   "there is no such file",
	"include-local/.gitlab-ci-invalid-config-directory-traversal.yml":        "leads out of the repository",
	"include-local/.gitlab-ci-invalid-config-relative-path.yml":              "include one another in a circle",
	"include-local/.gitlab-ci.yml":                                           "${CI_INCLUDE_LOCAL}",
	"invalid-stages/.gitlab-ci.yml":                                          "stages must be a list",
	"needs-contains-dependencies/.gitlab-ci.yml":                             "and does not need it",
	"needs-invalid-stage/.gitlab-ci.yml":                                     "comes later",
	"needs-not-array/.gitlab-ci.yml":                                         "needs must be a list",
	"needs-parallel-matrix-error/.gitlab-ci.yml":                             "has no matrix",
	"needs-parallel-matrix-expressions-non-parallel-consumer/.gitlab-ci.yml": "no variable PROVIDER",
	"needs-parallel-matrix-expressions-unknown-identifier/.gitlab-ci.yml":    "no variable NOPE",
	"needs-unspecified-job/.gitlab-ci.yml":                                   "needs invalid, which is not there",
	"never-needs/.gitlab-ci.yml":                                             "not part of this pipeline",
	"no-script/.gitlab-ci.yml":                                               "neither a script nor a trigger",
	"reference-circular-chain/.gitlab-ci.yml":                                "leads back to itself",
	"rules-curly-bracket-if/.gitlab-ci.yml":                                  "without braces",
	"schema-validation/.gitlab-ci-4-errors.yml":                              "variables must be a mapping",
	"schema-validation/.gitlab-ci-5-errors.yml":                              "variables must be a mapping",
	"schema-validation/.gitlab-ci-6-errors.yml":                              "variables must be a mapping",
	"schema-validation/.gitlab-ci.yml":                                       "did you mean manual?",
	"script-blank/.gitlab-ci.yml":                                            "is empty",
	"self-dependency/.gitlab-ci.yml":                                         "needs itself",
	"stage-not-found/.gitlab-ci.yml":                                         "the stage invalid",
}

// conformanceFloor is how many of a hundred files compile, or are refused as
// they must be.
const conformanceFloor = 97

func TestConformance(t *testing.T) {
	t.Parallel()
	root := filepath.Join(sharedDir(t, "FAIRLEAD_CONFORMANCE", "conformance"), "gitlab-ci-local")
	cases, err := os.ReadDir(root)
	if err != nil {
		t.Skipf("the cases are not there: %v", err)
	}
	good, all := 0, 0
	for _, c := range cases {
		dir := os.DirFS(filepath.Join(root, c.Name()))
		files, err := fs.Glob(dir, ".gitlab-ci*.yml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.Contains(file, "-variables") || strings.Contains(file, "-inputs") {
				continue // settings of that tool
			}
			all++
			_, problems, err := New(Config{}).Compile(context.Background(), subtree{dir, file}, push())
			if err != nil {
				t.Errorf("%s: %v", path.Join(c.Name(), file), err)
			}
			problems = slices.DeleteFunc(problems, func(p plan.Problem) bool { return p.Severity != plan.Error })
			says, refused := trueProblems[c.Name()+"/"+file]
			if refused && slices.ContainsFunc(problems, func(p plan.Problem) bool { return strings.Contains(p.String(), says) }) || !refused && len(problems) == 0 {
				good++
				continue
			}
			t.Logf("%s/%s: %v", c.Name(), file, problems)
			t.Attr("scoreboard-rest", fmt.Sprintf("gitlab-cases %s/%s: %v", c.Name(), file, problems))
		}
	}
	t.Logf("%d of %d files compile, or are refused as they must be", good, all)
	t.Attr("scoreboard", fmt.Sprintf("gitlab-cases %d/%d %d of them are refused, as GitLab does", good, all, len(trueProblems)))
	if good*100 < conformanceFloor*all {
		t.Errorf("less than %d %%", conformanceFloor)
	}
}
