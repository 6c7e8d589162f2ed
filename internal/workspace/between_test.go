package workspace

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBetween(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(message string, files ...string) string {
		t.Helper()
		for _, f := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), []byte(message), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		run("add", "-A")
		run("commit", "-q", "--allow-empty", "-m", message)
		return run("rev-parse", "HEAD")
	}
	run("init", "-q", "-b", "main")
	good := commit("begin", "a")
	second := commit("a name with\ttabs and // slashes", "ä b", "c\nd")
	empty := commit("nothing")
	run("checkout", "-q", "-b", "side", good)
	commit("on the side", "side/x")
	run("checkout", "-q", "main")
	run("merge", "-q", "--no-ff", "-m", "merge side", "side")
	merge := run("rev-parse", "HEAD")

	tree, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for commit, want := range map[string]int{good: 1, "main": 4, "side": 2} {
		if n, err := tree.Height(t.Context(), commit); err != nil || n != want {
			t.Errorf("height of %s: %d, %v", commit, n, err)
		}
	}
	got, err := tree.Between(t.Context(), good, "main", 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []Between{
		{second, "a name with\ttabs and // slashes", []string{"c\nd", "ä b"}},
		{empty, "nothing", nil},
		{merge, "merge side", []string{"side/x"}},
	}
	if !slices.EqualFunc(got, want, func(a, b Between) bool {
		return a.SHA == b.SHA && a.Subject == b.Subject && slices.Equal(a.Files, b.Files)
	}) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if _, err := tree.Between(t.Context(), good, "main", 2); err == nil {
		t.Error("three commits are at most two")
	}
	if _, err := tree.Between(t.Context(), "main", good, 10); err == nil || !strings.Contains(err.Error(), "not in the history") {
		t.Errorf("the wrong way around: %v", err)
	}
	if _, err := tree.Between(t.Context(), "nowhere", "main", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := tree.Between(t.Context(), good, "--all", 10); err == nil {
		t.Error("a flag is a ref")
	}
}

// FuzzBetween reads what a git may print.
func FuzzBetween(f *testing.F) {
	f.Add([]byte("//51ab first\x00\na\x00b c\x00//52 \x00//53 last\x00\n"))
	f.Add([]byte("\x00\x00a\x00// \x00"))
	f.Fuzz(func(t *testing.T, out []byte) {
		for _, b := range parseBetween(out) {
			if slices.Contains(b.Files, "") {
				t.Errorf("a file without a name in %q", out)
			}
		}
	})
}
