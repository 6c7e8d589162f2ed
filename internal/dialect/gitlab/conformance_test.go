package gitlab

import (
	"context"
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

func TestConformance(t *testing.T) {
	t.Parallel()
	root := filepath.Join(sharedDir(t, "FAIRLEAD_CONFORMANCE", "conformance"), "gitlab-ci-local")
	cases, err := os.ReadDir(root)
	if err != nil {
		t.Skipf("%v", err)
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
				continue
			}
			all++
			change := &plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40), DefaultBranch: "main", Repository: "group/project", Server: "https://gitlab.com", Actor: "me"}
			_, problems, err := New(Config{}).Compile(context.Background(), subtree{dir, file}, change)
			if err != nil {
				t.Errorf("%s: %v", path.Join(c.Name(), file), err)
			}
			bad := slices.DeleteFunc(problems, func(p plan.Problem) bool { return p.Severity != plan.Error })
			if len(bad) == 0 {
				good++
			}
			for _, p := range bad {
				t.Logf("%s/%s: %s", c.Name(), file, p)
			}
		}
	}
	t.Logf("%d of %d", good, all)
}
