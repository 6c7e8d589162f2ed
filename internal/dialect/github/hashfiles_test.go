package github

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestHashFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir,
		"go.sum", "root", "a/go.sum", "in a", "a/b/go.sum", "in b", "a-z/go.sum", "in a-z", "a/.hidden", "h",
		"docs/x.md", "x", "docs/y.txt", "y", "{odd}", "o", "other/x", "behind a link")
	for link, to := range map[string]string{"a/link": "../other", "filelink": "go.sum", "a/loop": "..", "broken": "nothing"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := New(Config{})
	s := &plan.Scope{Dirs: plan.Dirs{Workspace: dir}}
	hash := func(args string) (string, error) {
		v, err := d.Eval(plan.Expr{Text: "${{ hashFiles(" + args + ") }}"}, 1, s)
		text, _ := v.(string)
		return text, err
	}
	// The digest is that over the digests of the files, in order.
	want := func(files ...string) string {
		if len(files) == 0 {
			return ""
		}
		all := sha256.New()
		for _, f := range files {
			body, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			one := sha256.Sum256(body)
			all.Write(one[:])
		}
		return hex.EncodeToString(all.Sum(nil))
	}
	for _, tc := range []struct {
		args  string
		files []string
	}{
		{"'go.sum'", []string{"go.sum"}},
		{"'**/go.sum'", []string{"a/b/go.sum", "a/go.sum", "a-z/go.sum", "go.sum"}},
		{"'*/go.sum'", []string{"a/go.sum", "a-z/go.sum"}},
		{"'**/go.sum', '!a/**'", []string{"a-z/go.sum", "go.sum"}},
		{"'!a/**', '**/go.sum'", []string{"a/b/go.sum", "a/go.sum", "a-z/go.sum", "go.sum"}},
		{"'docs'", []string{"docs/x.md", "docs/y.txt"}},
		{"'docs/*.md'", []string{"docs/x.md"}},
		{"'docs/y.txt', 'docs/x.md'", []string{"docs/y.txt", "docs/x.md"}},
		{"format('# no{0}docs/x.md{0}', fromJSON('\"\\n\"'))", []string{"docs/x.md"}},
		{"'{odd}'", []string{"{odd}"}},
		{"'a/.h*'", []string{"a/.hidden"}},
		{"'filelink'", []string{"filelink"}},
		{"'a/link/x'", []string{"other/x"}}, // the path itself may lead through links
		{"'a/link'", nil},
		{"'--follow-symbolic-links', 'a/link/*'", []string{"other/x"}},
		{"'nothing/**'", nil},
		{"'broken'", nil},
		{"'/etc/passwd'", nil},
		{"'" + dir + "/docs/*.md'", []string{"docs/x.md"}},
	} {
		got, err := hash(tc.args)
		if err != nil || got != want(tc.files...) {
			t.Errorf("hashFiles(%s): %s %v, want the digest of %v", tc.args, got, err, tc.files)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"'../x'": "may not hold", "'--no', 'x'": "option", "'[a'": "cannot be read", "'out'": "escapes",
	} {
		if _, err := hash(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("hashFiles(%s): %v, want %s", args, err, want)
		}
	}
	s.Dirs.Workspace = ""
	if _, err := hash("'x'"); err == nil {
		t.Error("hashFiles works without a workspace")
	}
}

func FuzzFileGlob(f *testing.F) {
	f.Add("**/*.go\n!a/**", "a/b/c.go")
	f.Add("[a-/**/?{x}", "x")
	f.Fuzz(func(t *testing.T, lines, p string) {
		globs, err := fileGlobs(strings.Split(lines, "\n"), "/w")
		if err != nil {
			return
		}
		for _, g := range globs {
			parts := strings.Split(p, "/")
			if g.match(parts) && !g.leads(parts[:len(parts)-1]) && !g.match(parts[:len(parts)-1]) {
				t.Errorf("%v matches %q and does not lead there", g.elements, p)
			}
		}
	})
}
