// Package fourways_test runs examples/four-ways: one project whose pipeline is
// written in four languages. Whichever is run, the tests, the bundle and what is
// reused the second time are the same.
package fourways_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

// shown is what of `fairlead show --output json` matters here.
type shown struct {
	Verdict string `json:"verdict"`
	Tests   struct {
		Passed, Failed, Skipped int
	} `json:"tests"`
	Jobs []struct {
		Steps []struct {
			Name  string `json:"name"`
			Reuse struct {
				From struct {
					Run string `json:"run"`
				} `json:"from"`
			} `json:"reuse"`
		} `json:"steps"`
	} `json:"jobs"`
}

var languages = []string{"github", "gitlab", "azure", "jenkins"}

func place(t *testing.T) *binary.Place {
	binary.Need(t, "git", "sh", "sha256sum")
	root, err := binary.Root()
	if err != nil {
		t.Fatal(err)
	}
	p := binary.NewPlace(t, nil)
	if err := os.CopyFS(p.Root, os.DirFS(filepath.Join(root, "examples", "four-ways"))); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"build", "test", "package"} {
		if err := os.Chmod(filepath.Join(p.Root, "scripts", script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.Commit("four ways")
	return p
}

func run(t *testing.T, p *binary.Place, language string) (r shown) {
	t.Helper()
	if out := p.Run("run", "--dialect", language); out.Exit != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", language, out.Exit, out.Stdout, out.Stderr)
	}
	out := p.Run("show", "last", "--output", "json")
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		t.Fatalf("%s: %v\n%s", language, err, out.Stdout)
	}
	return r
}

// bundle is the bundle that the last run kept, whatever it was packed in.
func bundle(t *testing.T, p *binary.Place, language string) string {
	t.Helper()
	name := "bundle"
	if language == "jenkins" { // there artifacts have no names
		name = "archive-2"
	}
	file := filepath.Join(t.TempDir(), "bundle")
	if out := p.Run("artifacts", "last", name, "--out", file); out.Exit != 0 {
		t.Fatalf("%s: no bundle: %s", language, out.Stderr)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return string(body)
	}
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == "bundle.txt" })
	if i < 0 {
		t.Fatalf("%s: no bundle.txt in the bundle", language)
	}
	f, err := archive.File[i].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if body, err = io.ReadAll(f); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestSameResults(t *testing.T) {
	t.Parallel()
	p := place(t)
	var want string
	for _, language := range languages {
		r := run(t, p, language)
		if r.Verdict != "success" || r.Tests.Passed != 4 || r.Tests.Failed+r.Tests.Skipped != 0 {
			t.Errorf("%s: %s with %+v", language, r.Verdict, r.Tests)
		}
		got := bundle(t, p, language)
		if want == "" {
			want = got
		}
		if got != want || !strings.Contains(got, "FAIRLEAD\n") {
			t.Errorf("%s: the bundle is\n%s, want\n%s", language, got, want)
		}
	}
}

func TestSecondTimeNothingRuns(t *testing.T) {
	t.Parallel()
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			run(t, p, language)
			r := run(t, p, language)
			reused := 0
			for _, j := range r.Jobs {
				for _, s := range j.Steps {
					if s.Reuse.From.Run != "" {
						reused++
					}
				}
			}
			want := 4
			if language == "jenkins" { // the two tests run at once in one workspace, and may have got into each other's way
				want = 2
			}
			if reused < want || r.Tests.Passed != 4 {
				t.Errorf("%d of the 4 commands were reused, with %+v", reused, r.Tests)
			}
		})
	}
}

func TestAllAtOnceAreOffered(t *testing.T) {
	t.Parallel()
	p := place(t)
	out := p.Run("run", "--list", "--output", "json")
	for _, language := range languages {
		if !strings.Contains(out.Stdout, `"dialect": "`+language+`"`) {
			t.Errorf("%s is not listed", language)
		}
	}
	if out := p.Run("run"); !strings.Contains(out.Stderr, "--dialect gitlab, --dialect azure, --dialect jenkins, or --dialect all") {
		t.Errorf("the others are not offered:\n%s", out.Stderr)
	}
}

func TestConverted(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"github", "gitlab", "azure"} {
		for from, file := range map[string]string{"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml", "azure": "azure-pipelines.yml", "jenkins": "Jenkinsfile"} {
			if from == to {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				p := place(t)
				out := p.Run("convert", file, "--to", to, "--write", "--force")
				if out.Exit != 0 {
					t.Fatalf("exit code %d\n%s", out.Exit, out.Stderr)
				}
				p.Commit("converted")
				if from == "jenkins" { // its stages share a workspace, which is told of
					if !strings.Contains(out.Stderr, "workspace") {
						t.Errorf("that stages share a workspace is not told:\n%s", out.Stderr)
					}
					if out := p.Run("lint"); out.Exit != 0 {
						t.Errorf("%s", out)
					}
					return
				}
				r := run(t, p, to)
				if r.Tests.Passed < 4 || r.Tests.Failed != 0 {
					t.Errorf("%+v\n%s", r.Tests, out.Stderr)
				}
			})
		}
	}
}
