package gitlab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// sharedDir is where real files and other tools' cases lie; they are no part
// of the repository. A test that needs them is skipped, and says so, when
// they are not there.
func sharedDir(t *testing.T, env, name string) string {
	t.Helper()
	dir := os.Getenv(env)
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for up := wd; ; up = filepath.Dir(up) {
			if at := filepath.Join(up, "shared", name); isDir(at) {
				dir = at
				break
			}
			if up == filepath.Dir(up) {
				break
			}
		}
	}
	if !isDir(filepath.Join(dir, "gitlab")) {
		t.Skipf("there is no folder shared/%s/gitlab beside the repository (or where $%s says): real files are not tried", name, env)
	}
	return filepath.Join(dir, "gitlab")
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// corpusFloor is how many of a hundred pipelines of real projects compile, the
// includes that are missing from the corpus named.
const corpusFloor = 100

// TestCorpus compiles the pipelines of real projects. A file of the corpus is
// named owner__name__path, with _ for the slashes of the path, and not all
// files that are included are in it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := sharedDir(t, "FAIRLEAD_CORPUS", "corpus")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	repositories := map[string]map[string]string{}
	for _, e := range entries {
		parts := strings.SplitN(e.Name(), "__", 3)
		if len(parts) != 3 {
			continue
		}
		repo := parts[0] + "/" + parts[1]
		if repositories[repo] == nil {
			repositories[repo] = map[string]string{}
		}
		repositories[repo][parts[2]] = filepath.Join(dir, e.Name())
	}
	good, all := 0, 0
	for repo, files := range repositories {
		for name, file := range files {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if last := name[strings.LastIndexByte(name, '_')+1:]; !strings.Contains(last, "gitlab-ci") {
				continue // a part of a pipeline, or something else
			}
			all++
			tree := corpusTree{fstest.MapFS{Files: {Data: body}}, files}
			good++
			for kind, change := range map[string]*plan.Change{"push": push(), "branch": branch("dev"), "tag": tag("v1.0.0"), "merge request": mergeRequestOf("dev"), "nothing": nil} {
				pipelines, problems, err := New(Config{}).Compile(t.Context(), tree, change)
				if err != nil || len(pipelines) != 1 {
					t.Errorf("%s %s: %v", repo, name, err)
					continue
				}
				bad := slices.DeleteFunc(slices.Clone(problems), func(p plan.Problem) bool {
					// What rules leave of some pipelines for some changes is refused by
					// GitLab, too.
					return p.Severity != plan.Error || p.Rule == "include" && strings.Contains(p.Message, "there is no such file") ||
						kind == "merge request" && strings.Contains(p.Message, "not part of this pipeline")
				})
				for _, p := range bad {
					t.Logf("%s %s, %s: %s", repo, name, kind, p)
					t.Attr("scoreboard-rest", fmt.Sprintf("gitlab-corpus %s %s: %s", repo, name, p.Message))
				}
				if len(bad) > 0 {
					good--
					break
				}
			}
		}
	}
	t.Logf("%d of %d pipelines compile", good, all)
	t.Attr("scoreboard", fmt.Sprintf("gitlab-corpus %d/%d", good, all))
	if good*100 < corpusFloor*all {
		t.Errorf("less than %d %% compile", corpusFloor)
	}
}

// corpusTree finds files under the names that they have in the corpus.
type corpusTree struct {
	fs.FS
	files map[string]string
}

func (c corpusTree) Open(name string) (fs.File, error) {
	if file, ok := c.files[strings.ReplaceAll(name, "/", "_")]; ok && name != Files {
		return os.Open(file)
	}
	return c.FS.Open(name)
}
