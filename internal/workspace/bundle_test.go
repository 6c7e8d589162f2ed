package workspace

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBundle takes a repository from a server's mirror to a worker's, and then only
// what is new.
func TestBundle(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	work := filepath.Join(dir, "app")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, body string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		run("add", "-A")
		run("commit", "-q", "-m", name)
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	run("init", "-q", "-b", "main")
	write("big", strings.Repeat("0123456789abcdef", 1000)+run("--version"))
	run("tag", "-a", "v1", "-m", "one")
	run("branch", "deep/er")
	first := run("rev-parse", "HEAD")

	server := &Mirror{Dir: filepath.Join(dir, "server"), URL: work}
	worker := &Mirror{Dir: filepath.Join(dir, "worker"), URL: "https://git.example.org/team/app"}
	bring := func(sha string) int {
		t.Helper()
		if _, _, err := server.Commit(ctx, sha); err != nil {
			t.Fatal(err)
		}
		at, err := server.Checkout(ctx, sha)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := Open(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		if head, err := tree.Head(ctx); err != nil || head != sha {
			t.Fatalf("the head is %s, %v; want %s", head, err, sha)
		}
		have, err := worker.Tips(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var bundle bytes.Buffer
		if err := tree.Bundle(ctx, &bundle, append(have, strings.Repeat("4711", 10), "--all")); err != nil {
			t.Fatal(err)
		}
		size := bundle.Len()
		if err := worker.Unbundle(ctx, &bundle, sha); err != nil {
			t.Fatal(err)
		}
		return size
	}
	all := bring(first)
	got, err := worker.Checkout(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(got, "big")); err != nil || len(b) < 16000 {
		t.Errorf("the file is %d bytes, %v", len(b), err)
	}
	if v1, err := worker.Here(ctx, "refs/tags/v1"); err != nil || v1 != first {
		t.Errorf("tag v1 is %s, %v; want %s", v1, err, first)
	}
	if branch, err := worker.Here(ctx, "refs/heads/deep/er"); err != nil || branch != first {
		t.Errorf("branch deep/er is %s, %v; want %s", branch, err, first)
	}

	// A branch whose name is in the way of what the worker has, and one small file.
	run("branch", "-D", "deep/er")
	run("branch", "deep")
	write("small", "x")
	second := run("rev-parse", "HEAD")
	if n := bring(second); n >= all {
		t.Errorf("the second bundle has %d bytes, the first %d: it is not only what is new", n, all)
	}
	if !worker.Has(ctx, second) {
		t.Error("the second commit is not there")
	}

	if err := worker.Unbundle(ctx, strings.NewReader("# v2 git bundle\nnonsense\n"), strings.Repeat("1", 40)); err == nil {
		t.Error("a damaged bundle was taken")
	}
	if err := worker.Unbundle(ctx, strings.NewReader(""), "--all"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a commit that is none: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(worker.Dir, ".bundle-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
