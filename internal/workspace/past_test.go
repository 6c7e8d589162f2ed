package workspace

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPast asks a repository, and a bare copy of it, what it held.
func TestPast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(dir string, args ...string) string {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	git(dir, "init", "-qb", "main", ".")
	put("a.txt", "one\n")
	put("d/ü \"b\".txt", "b\n")
	git(dir, "add", "-A")
	git(dir, "commit", "-qm", "one")
	one := git(dir, "rev-parse", "HEAD")
	git(dir, "checkout", "-qb", "topic")
	git(dir, "mv", "a.txt", "c.txt")
	git(dir, "commit", "-qm", "two")
	two := git(dir, "rev-parse", "HEAD")
	put("new.txt", "new\n")
	bare := t.TempDir()
	git(bare, "clone", "-q", "--bare", dir, ".")
	ctx := t.Context()
	for name, p := range map[string]Past{"a tree": {dir}, "a bare one": {bare}} {
		if found, err := p.Grep(ctx, two, "b"); err != nil || len(found) != 1 || found[0] != (Found{"d/ü \"b\".txt", 1, "b"}) {
			t.Errorf("%s: lines with b: %+v, %v", name, found, err)
		}
		if found, err := p.Grep(ctx, two, "-no such.*"); err != nil || len(found) != 0 {
			t.Errorf("%s: lines with what there is not: %+v, %v", name, found, err)
		}
		if _, err := p.Grep(ctx, strings.Repeat("0", 40), "b"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a commit that there is not: %v", name, err)
		}
		if at, err := p.Commit(ctx, "topic"); err != nil || at != two {
			t.Errorf("%s: topic is %s, %v", name, at, err)
		}
		if files, err := p.Files(ctx, one); err != nil || strings.Join(files, "|") != "a.txt|d/ü \"b\".txt" {
			t.Errorf("%s: files %q, %v", name, files, err)
		}
		if at, err := p.Fork(ctx, one, two); err != nil || at != one {
			t.Errorf("%s: the fork is %s, %v", name, at, err)
		}
		if at, err := p.Before(ctx, two); err != nil || at != one {
			t.Errorf("%s: before two is %s, %v", name, at, err)
		}
		diff, err := p.Diff(ctx, one, two, 0)
		if err != nil || !strings.Contains(string(diff), "rename from a.txt\nrename to c.txt") {
			t.Errorf("%s: %s, %v", name, diff, err)
		}
		empty, err := p.Before(ctx, one)
		if err != nil {
			t.Fatal(err)
		}
		if diff, err = p.Diff(ctx, empty, one, 0); err != nil || !strings.Contains(string(diff), "+one") {
			t.Errorf("%s: the first commit: %s, %v", name, diff, err)
		}
		if text, err := p.File(ctx, two, "c.txt"); err != nil || string(text) != "one\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		for what, err := range map[string]error{
			"a branch that is none": second(p.Commit(ctx, "nothing")),
			"an option":             second(p.Commit(ctx, "--all")),
			"a file that is none":   second(p.File(ctx, two, "a.txt")),
			"a way up":              second(p.File(ctx, two, "../a.txt")),
			"a name for a commit":   second(p.Files(ctx, "HEAD")),
			"a commit that is none": second(p.Files(ctx, strings.Repeat("0", 40))),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	if files, err := (Past{dir}).Present(ctx); err != nil || strings.Join(files, "|") != "new.txt|c.txt|d/ü \"b\".txt" {
		t.Errorf("the working tree: %q, %v", files, err)
	}
	if diff, err := (Past{dir}).Diff(ctx, two, "", 3); err != nil || len(diff) != 0 {
		t.Errorf("what is not committed: %s, %v", diff, err)
	}
	if _, err := (Past{t.TempDir()}).Files(ctx, one); err == nil {
		t.Error("there is no repository, and it has files")
	}
}

func second[T any](_ T, err error) error { return err }
