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

// TestTagging goes through a release: a history with a merge, tags of each kind, a commit
// of one file, and a remote that takes it or not.
func TestTagging(t *testing.T) {
	t.Parallel()
	ctx, dir, bare := t.Context(), t.TempDir(), t.TempDir()
	git := func(dir string, args ...string) string {
		t.Helper()
		c := exec.Command("git", args...)
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
	commit := func(name, message string) string {
		t.Helper()
		put(name, message)
		git(dir, "add", "-A")
		git(dir, "commit", "-qm", message)
		return git(dir, "rev-parse", "HEAD")
	}
	git(bare, "init", "-q", "--bare", "-b", "main", ".")
	git(dir, "init", "-qb", "main", ".")
	git(dir, "config", "user.name", "Ann")
	git(dir, "config", "user.email", "ann@example.org")
	git(dir, "config", "commit.gpgsign", "false")
	git(dir, "config", "tag.gpgsign", "false")
	git(dir, "remote", "add", "origin", bare)
	one := commit("a/ü x.txt", "feat: one\n\nbody\n\nRefs: #1")
	git(dir, "tag", "v1.0.0")
	git(dir, "checkout", "-qb", "topic")
	two := commit("b.txt", "fix: two")
	git(dir, "checkout", "-q", "main")
	three := commit("c.txt", "fix: three")
	git(dir, "merge", "-q", "--no-ff", "-m", "Merge branch 'topic'", "topic")
	head := git(dir, "rev-parse", "HEAD")
	git(dir, "tag", "-a", "-m", "x", "elsewhere", two)
	git(dir, "tag", "blob", git(dir, "rev-parse", "HEAD:b.txt"))

	p := Past{Dir: dir}
	log, err := p.Log(ctx, one, head, 10)
	if err != nil || len(log) != 3 || log[0].SHA != head || len(log[0].Parents) != 2 || len(log[0].Files) != 0 {
		t.Fatalf("%+v, %v", log, err)
	}
	for _, c := range log[1:] {
		if want := map[string]string{two: "b.txt", three: "c.txt"}[c.SHA]; len(c.Files) != 1 || c.Files[0] != want || c.Author != "Ann" || c.Time.IsZero() {
			t.Errorf("%+v", c)
		}
	}
	if log, err = p.Log(ctx, "", one, 10); err != nil || len(log) != 1 || log[0].Message != "feat: one\n\nbody\n\nRefs: #1" || log[0].Files[0] != "a/ü x.txt" {
		t.Errorf("%+v, %v", log, err)
	}
	if _, err := p.Log(ctx, "", head, 3); err == nil || !strings.Contains(err.Error(), "more than 3") {
		t.Error(err)
	}
	tags, err := p.Tags(ctx, one)
	if err != nil || len(tags) != 2 || tags[0] != (Tagged{"elsewhere", two, false}) || tags[1] != (Tagged{"v1.0.0", one, true}) {
		t.Errorf("%+v, %v", tags, err)
	}
	if names, err := p.Branches(ctx, two); err != nil || strings.Join(names, " ") != "main topic" {
		t.Errorf("%q, %v", names, err)
	}

	tree, err := Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	put("CHANGELOG.md", "# 1\n")
	put("b.txt", "not finished")
	made, err := tree.CommitFile(ctx, "CHANGELOG.md", "chore: release\n\n# no comment\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := git(dir, "show", "--format=%B", "--name-only", made); got != "chore: release\n\n# no comment\n\n\nCHANGELOG.md" {
		t.Errorf("%q", got)
	}
	if _, err := tree.TagAt(ctx, "v1.1.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := tree.Tag(ctx, "v1.1.0", made, "v1.1.0\n\n### Fixed\n"); err != nil {
		t.Fatal(err)
	}
	if err := tree.Tag(ctx, "v1.1.0", one, "again"); err == nil {
		t.Error("a tag was moved")
	}
	if at, err := tree.TagAt(ctx, "v1.1.0"); err != nil || at != made {
		t.Error(at, err)
	}
	if got := git(dir, "cat-file", "-p", "v1.1.0"); !strings.HasSuffix(got, "v1.1.0\n\n### Fixed") {
		t.Errorf("%q", got)
	}
	remote, err := tree.Upstream(ctx, "main")
	if err != nil || remote != "origin" {
		t.Fatal(remote, err)
	}
	for range 2 { // the second time there is nothing to do
		if err := tree.Push(ctx, remote, made+":refs/heads/main", "refs/tags/v1.1.0"); err != nil {
			t.Fatal(err)
		}
	}
	at, err := tree.RemoteRefs(ctx, remote, "refs/heads/main", "refs/tags/v1.1.0", "refs/tags/none")
	if err != nil || at["refs/heads/main"] != made || at["refs/tags/v1.1.0^{}"] != made || len(at) != 3 {
		t.Errorf("%v, %v", at, err)
	}
	// Another commit is there meanwhile: nothing is pushed, the tag neither.
	git(dir, "tag", "v9")
	if err := tree.Push(ctx, remote, one+":refs/heads/main", "refs/tags/v9"); !errors.Is(err, ErrRejected) {
		t.Error(err)
	}
	if at, err := tree.RemoteRefs(ctx, remote, "refs/tags/v9"); err != nil || len(at) != 0 {
		t.Errorf("%v, %v", at, err)
	}
	for _, bad := range []string{"--upload-pack=x", "", "a b"} {
		if err := tree.Push(ctx, bad, "refs/tags/v9"); err == nil {
			t.Errorf("pushed to %q", bad)
		}
	}
}

// TestSignedTag signs as the owner's git does, if it does.
func TestSignedTag(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not here: git cannot sign")
	}
	dir := t.TempDir()
	key := filepath.Join(t.TempDir(), "key")
	run := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	run("git", "init", "-qb", "main", ".")
	for _, kv := range [][2]string{{"user.name", "Ann"}, {"user.email", "ann@example.org"}, {"gpg.format", "ssh"}, {"user.signingkey", key}, {"tag.gpgsign", "true"}, {"commit.gpgsign", "false"}} {
		run("git", "config", kv[0], kv[1])
	}
	run("git", "commit", "-q", "--allow-empty", "-m", "x")
	tree, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := tree.Tag(t.Context(), "v1", run("git", "rev-parse", "HEAD"), "v1\n"); err != nil {
		t.Fatal(err)
	}
	if got := run("git", "cat-file", "tag", "v1"); !strings.Contains(got, "BEGIN SSH SIGNATURE") {
		t.Errorf("%q", got)
	}
	// A key that is gone is an error, and no tag.
	run("git", "config", "user.signingkey", key+".none")
	if err := tree.Tag(t.Context(), "v2", run("git", "rev-parse", "HEAD"), "v2\n"); err == nil {
		t.Error("a tag was made unsigned")
	}
	if _, err := tree.TagAt(t.Context(), "v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
