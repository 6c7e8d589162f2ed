package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func facts(t testing.TB, dir string) Facts {
	t.Helper()
	f, err := open(t, dir).Facts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFacts(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, nil)
	f := facts(t, dir)
	if f.Ref != "refs/heads/main" || f.Branch != "main" || f.SHA != "" || f.Dirty || f.Before != "" || f.Repository != "local/proj" || f.Server != "https://github.com" || f.Actor != "Ann" {
		t.Errorf("empty repository: %+v", f)
	}
	write(t, dir, map[string]string{"a": "a"})
	if !facts(t, dir).Dirty {
		t.Error("an untracked file, and not dirty")
	}
	run(t, dir, "add", "-A")
	if !facts(t, dir).Dirty {
		t.Error("a staged file, and not dirty")
	}
	run(t, dir, "commit", "-qm", "first")
	first := run(t, dir, "rev-parse", "HEAD")
	f = facts(t, dir)
	if f.SHA != first || f.Dirty || f.Before != "" {
		t.Errorf("one commit: %+v", f)
	}
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "second")
	second := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "remote", "add", "origin", "https://user:secret@github.com/owner/name.git")
	run(t, dir, "pack-refs", "--all")
	run(t, dir, "gc", "-q")
	sub := filepath.Join(dir, "s/u/b")
	os.MkdirAll(sub, 0o755)
	f = facts(t, sub) // from below
	if f.SHA != second || f.Before != first || f.Dirty || f.Remote != "https://github.com/owner/name.git" || f.Repository != "owner/name" || f.DefaultBranch != "main" {
		t.Errorf("packed: %+v", f)
	}
	run(t, dir, "checkout", "-qb", "feature/x")
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "third")
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "fourth")
	f = facts(t, dir)
	if f.Ref != "refs/heads/feature/x" || f.Before != second {
		t.Errorf("branch: %+v, want before %s", f, second)
	}
	run(t, dir, "tag", "-am", "one", "v1.0")
	run(t, dir, "checkout", "-q", "--detach")
	f = facts(t, dir)
	if f.Ref != "refs/tags/v1.0" || f.Tag != "v1.0" || f.Branch != "" {
		t.Errorf("tag: %+v", f)
	}
	run(t, dir, "checkout", "-q", "--detach", first)
	if f = facts(t, dir); f.Ref != "HEAD" || f.SHA != first {
		t.Errorf("detached: %+v", f)
	}
	// Touched but the same.
	body, _ := os.ReadFile(filepath.Join(dir, "a"))
	os.WriteFile(filepath.Join(dir, "a"), body, 0o644)
	if facts(t, dir).Dirty {
		t.Error("touched, and dirty")
	}
	os.WriteFile(filepath.Join(dir, "a"), []byte("b"), 0o644)
	if !facts(t, dir).Dirty {
		t.Error("changed, and not dirty")
	}

	plain := t.TempDir()
	if f = facts(t, plain); f.SHA != "" || f.Ref != "refs/heads/main" || f.Actor == "" || !strings.HasPrefix(f.Repository, "local/") {
		t.Errorf("plain directory: %+v", f)
	}
}

func TestWorktreesAndSubmodules(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	lib := newRepo(t, map[string]string{"lib.txt": "lib", ".gitignore": "*.o\n"})
	dir := newRepo(t, map[string]string{"a": "a"})
	run(t, dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", lib, "deps/lib")
	run(t, dir, "commit", "-qam", "with lib")
	write(t, dir, map[string]string{"deps/lib/new": "n", "deps/lib/x.o": "ignored"})
	other := filepath.Join(t.TempDir(), "wt")
	run(t, dir, "worktree", "add", "-q", "-b", "side", other)
	write(t, dir, map[string]string{"nested/f": "f"})
	run(t, filepath.Join(dir, "nested"), "init", "-q")
	s := &Slots{Dir: t.TempDir()}

	if f := facts(t, other); f.Branch != "side" || f.Dirty {
		t.Errorf("worktree: %+v", f)
	}
	if f := facts(t, dir); !f.Dirty {
		t.Errorf("submodule with a new file: %+v", f)
	}
	for _, at := range []string{dir, other} {
		tree := open(t, at)
		l, err := s.Acquire(ctx, tree, Claim{Job: "j", Run: "1"})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{".": "dir", "a": "-rw-r--r-- a", ".gitmodules": contents(t, at)[".gitmodules"], "deps": "dir", "deps/lib": "dir"}
		if at == dir {
			want["deps/lib/lib.txt"], want["deps/lib/new"], want["deps/lib/.gitignore"] = "-rw-r--r-- lib", "-rw-r--r-- n", "-rw-r--r-- *.o\n"
			if len(l.Notes) != 1 || !strings.HasPrefix(l.Notes[0], "nested: ") {
				t.Errorf("notes: %q", l.Notes)
			}
		}
		sameContents(t, contents(t, l.Dirs.Workspace), want)
		got, wanted := run(t, l.Dirs.Workspace, "status", "--porcelain"), strings.TrimSpace(strings.ReplaceAll(run(t, at, "status", "--porcelain"), "?? nested/", ""))
		if got != wanted {
			t.Errorf("%s: status %q, want %q", at, got, wanted)
		}
		if got, want := run(t, l.Dirs.Workspace, "log", "--format=%H %D"), run(t, at, "log", "--format=%H %D"); got != want {
			t.Errorf("%s: log\n%s\nwant\n%s", at, got, want)
		}
		release(t, l)
	}
	// A bare repository beside its worktrees.
	bare := filepath.Join(t.TempDir(), "proj")
	run(t, dir, "clone", "-q", "--bare", dir, filepath.Join(bare, ".bare"))
	os.WriteFile(filepath.Join(bare, ".git"), []byte("gitdir: ./.bare\n"), 0o644)
	run(t, bare, "worktree", "add", "-q", filepath.Join(bare, "main"), "main")
	if tree := open(t, bare); tree.HasGit() {
		t.Error("a bare repository has no working tree")
	}
	if f := facts(t, filepath.Join(bare, "main")); f.Branch != "main" || f.Dirty {
		t.Errorf("worktree of a bare repository: %+v", f)
	}
}

func TestStandInKeepsSecretsAndProgramsOut(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a"})
	for _, kv := range [][2]string{
		{"remote.origin.url", "https://user:hunter2@example.com/o/n.git"}, {"remote.near.url", "../near"}, {"http.extraheader", "hunter2"},
		{"core.hooksPath", "evil"}, {"core.sshCommand", "evil"}, {"filter.x.clean", "evil"}, {"core.fsmonitor", "evil"}, {"alias.st", "!evil"},
		{"credential.helper", "evil"}, {"include.path", "evil"}, {"core.quotepath", "off"}, {"branch.a \"b.remote", "origin"},
	} {
		run(t, dir, "config", kv[0], kv[1])
	}
	write(t, dir, map[string]string{".git/hooks/pre-commit": "#!/bin/sh\nexit 1\n"})
	os.Chmod(filepath.Join(dir, ".git/hooks/pre-commit"), 0o755)
	l := acquire(t, &Slots{Dir: t.TempDir()}, open(t, dir), "j", "1")
	text, err := os.ReadFile(filepath.Join(l.Dirs.Workspace, ".git/config"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("hunter2")) || bytes.Contains(text, []byte("evil")) {
		t.Errorf("config of the slot:\n%s", text)
	}
	w := l.Dirs.Workspace
	if got := run(t, w, "config", "remote.origin.url"); got != "https://example.com/o/n.git" {
		t.Errorf("remote is %s", got)
	}
	if got := run(t, w, "config", "remote.near.url"); got != filepath.Join(filepath.Dir(open(t, dir).Root()), "near") {
		t.Errorf("near is %s", got)
	}
	run(t, w, "commit", "-q", "--allow-empty", "-m", "in the slot")
	run(t, w, "tag", "slot-tag")
	if got := run(t, dir, "tag"); got != "" {
		t.Errorf("the user's repository got the tag %s", got)
	}
}

// Git in a slot trusts times and sizes; a file that only its inode betrays is
// seen all the same.
func TestStatusSeesWhatTheSourceShows(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "one", "b": "b"})
	st, _ := os.Stat(filepath.Join(dir, "a"))
	write(t, dir, map[string]string{"next": "two"})
	os.Chtimes(filepath.Join(dir, "next"), st.ModTime(), st.ModTime())
	os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "a"))
	l := acquire(t, &Slots{Dir: t.TempDir()}, open(t, dir), "j", "1")
	if got := run(t, l.Dirs.Workspace, "status", "--porcelain"); got != "M a" {
		t.Errorf("status %q", got)
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a", "b": "b", "old": strings.Repeat("name\n", 50), ".gitignore": "*.log\n"})
	base := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "checkout", "-qb", "work")
	run(t, dir, "mv", "old", "new")
	run(t, dir, "commit", "-qm", "renamed")
	write(t, dir, map[string]string{"a": "other", "sp ace\t\"q": "u", "x.log": "ignored"})
	run(t, dir, "branch", "-f", "main", base)
	tree := open(t, dir)
	for _, b := range []string{base, "main", base[:9]} {
		files, known, err := tree.Changed(ctx, b)
		if err != nil || !known || !slices.Equal(files, []string{"a", "new", "old", "sp ace\t\"q"}) {
			t.Errorf("since %s: %q, %v, %v", b, files, known, err)
		}
	}
	for _, b := range []string{"", strings.Repeat("0", 40), "nope", "--output=/tmp/x", strings.Repeat("1", 40)} {
		if files, known, err := tree.Changed(ctx, b); err != nil || known {
			t.Errorf("since %q: %q, %v, %v", b, files, known, err)
		}
	}
	if _, known, err := open(t, t.TempDir()).Changed(ctx, "main"); err != nil || known {
		t.Errorf("plain directory: %v, %v", known, err)
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, nil)
	check := func(base string, want ...Difference) {
		t.Helper()
		got, known, err := open(t, dir).Differences(ctx, base)
		if err != nil || !known || !slices.Equal(got, want) {
			t.Errorf("since %q: %+v, %v, %v\nwant %+v", base, got, known, err, want)
		}
	}
	write(t, dir, map[string]string{"a": "a", "b": "b", "out": "o", "old": "old", ".gitignore": "*.log\n"})
	check("", Difference{Path: ".gitignore", Added: true}, Difference{Path: "a", Added: true}, Difference{Path: "b", Added: true},
		Difference{Path: "old", Added: true}, Difference{Path: "out", Added: true})
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-qm", "first")
	check("")
	base := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "mv", "old", "new")
	run(t, dir, "rm", "-q", "--cached", "out") // untracked now, and still there
	run(t, dir, "commit", "-qm", "renamed")
	write(t, dir, map[string]string{"a": "other", "u": "u", "x.log": "ignored"})
	os.Remove(filepath.Join(dir, "b"))
	os.Symlink("a", filepath.Join(dir, "b")) // another kind
	os.Remove(filepath.Join(dir, "new"))
	check("", Difference{Path: "a"}, Difference{Path: "b"}, Difference{Path: "new", Removed: true}, Difference{Path: "out", Added: true}, Difference{Path: "u", Added: true})
	check(base, Difference{Path: "a"}, Difference{Path: "b"}, Difference{Path: "old", Removed: true}, Difference{Path: "out"}, Difference{Path: "u", Added: true})
	for _, b := range []string{strings.Repeat("0", 40), "nope", "--output=/tmp/x"} {
		if all, known, err := open(t, dir).Differences(ctx, b); err != nil || known {
			t.Errorf("since %q: %v, %v, %v", b, all, known, err)
		}
	}
	if _, known, err := open(t, t.TempDir()).Differences(ctx, ""); err != nil || known {
		t.Errorf("plain directory: %v, %v", known, err)
	}
}

func TestCommit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a"})
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "second\n\nwith a body")
	tree := open(t, dir)
	for _, how := range []string{"loose", "packed"} {
		c, err := tree.Commit(ctx, "HEAD")
		if err != nil {
			t.Fatal(err)
		}
		if c.SHA != run(t, dir, "rev-parse", "HEAD") || c.Tree != run(t, dir, "rev-parse", "HEAD^{tree}") || len(c.Parents) != 1 ||
			c.Author.Name != "Ann" || c.Author.Email != "ann@example.com" || c.Author.When.Format("2006-01-02T15:04:05Z07:00") != "2026-01-02T03:04:05Z" ||
			c.Message != "second\n\nwith a body\n" {
			t.Errorf("%s: %+v", how, c)
		}
		run(t, dir, "gc", "-q")
	}
	for _, rev := range []string{"nope", "", "-x", "a\nb", "HEAD^{tree}"} {
		if _, err := tree.Commit(ctx, rev); !errors.Is(err, ErrNoCommit) {
			t.Errorf("%q: %v", rev, err)
		}
	}
}

func TestCopyToAndCheckoutRef(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "one", "sub/b": "b"})
	first := run(t, dir, "rev-parse", "HEAD")
	run(t, dir, "tag", "v1")
	write(t, dir, map[string]string{"a": "two"})
	run(t, dir, "commit", "-qam", "second")
	write(t, dir, map[string]string{"a": "three", "new": "n"})
	tree := open(t, dir)

	dest := filepath.Join(t.TempDir(), "copy")
	write(t, dest, map[string]string{"left": "over"})
	if err := tree.CopyTo(ctx, dest); err != nil {
		t.Fatal(err)
	}
	sameContents(t, contents(t, dest), listed(t, dir))

	for _, ref := range []string{"v1", first, first[:8], "refs/tags/v1"} {
		if err := tree.CheckoutRef(ctx, ref, dest, CheckoutOptions{}); err != nil {
			t.Fatal(err)
		}
		sameContents(t, contents(t, dest), map[string]string{".": "dir", "a": "-rw-r--r-- one", "sub": "dir", "sub/b": "-rw-r--r-- b"})
		if got := run(t, dest, "rev-parse", "HEAD"); got != first {
			t.Errorf("%s: HEAD %s, want %s", ref, got, first)
		}
		if got := run(t, dest, "status", "--porcelain"); got != "" {
			t.Errorf("%s: status %q", ref, got)
		}
	}
	if err := tree.CheckoutRef(ctx, first, dest, CheckoutOptions{Sparse: []string{"sub"}}); err != nil {
		t.Fatal(err)
	}
	if err := tree.CheckoutRef(ctx, "nope", dest, CheckoutOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown ref: %v", err)
	}
	// From the remote what is not here.
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, dir, "clone", "-q", "file://"+dir, clone)
	run(t, dir, "commit", "-qam", "third")
	run(t, dir, "branch", "later")
	if err := open(t, clone).CheckoutRef(ctx, "later", dest, CheckoutOptions{Depth: 1}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dest + "/a"); string(b) != "three" {
		t.Errorf("from the remote: %q", b)
	}
}

// The ignore rules are those of git.
func TestIgnoreLikeGit(t *testing.T) {
	t.Parallel()
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	words := []string{"a", "b", "ab", "a.o", "b.o", "x", "d", "foo", "foo.txt", "-", "]", "a b", "é"}
	bits := []string{"a", "b", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[a-c]", "[]-]", "[[:alpha:]]", ".o", "\\a", "\\", "foo", "d", " ", "*.o", "!", "é", "[", "**/"}
	r := rand.New(rand.NewPCG(3, 4))
	dir := newRepo(t, nil)
	for range 150 {
		var p []string
		for range 1 + r.IntN(4) {
			p = append(p, words[r.IntN(len(words))])
		}
		path := filepath.Join(dir, filepath.Join(p...))
		if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
			os.WriteFile(path, nil, 0o644)
		}
	}
	tree := open(t, dir)
	for round := range rounds {
		var text [2]strings.Builder
		for i := range text {
			for range 1 + r.IntN(5) {
				if r.IntN(5) == 0 {
					text[i].WriteString("!")
				}
				for range 1 + r.IntN(5) {
					text[i].WriteString(bits[r.IntN(len(bits))])
				}
				text[i].WriteString([]string{"\n", "\r\n", " \n", "/\n", "\\ \n", "\n\n#c\n"}[r.IntN(6)])
			}
		}
		os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(text[0].String()), 0o644)
		os.WriteFile(filepath.Join(dir, "d", ".gitignore"), []byte(text[1].String()), 0o644)
		snap, err := tree.look(context.Background(), fileID{})
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSuffix(run(t, dir, "ls-files", "-z", "--others", "--exclude-standard"), "\x00"), "\x00")
		want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
		slices.Sort(want)
		if !slices.Equal(snap.strange, want) {
			t.Fatalf("round %d:\n.gitignore %q\nd/.gitignore %q\nnot ignored here, but by git: %q\nignored here, but not by git: %q",
				round, text[0].String(), text[1].String(), minus(snap.strange, want), minus(want, snap.strange))
		}
	}
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// Every form of index that git writes is read alike.
func TestIndexForms(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": "a", "sub/b": "b", "sub.x": "x", "sub-y/z": "z"}
	for name, how := range map[string][]string{
		"v2": {"update-index", "--index-version=2"}, "v3": {"update-index", "--skip-worktree", "sub/b"}, "v4": {"update-index", "--index-version=4"},
		"split": {"update-index", "--split-index"}, "sparse": {"sparse-checkout", "set", "--cone", "--sparse-index", "sub-y"},
		"untracked cache": {"update-index", "--force-untracked-cache"},
	} {
		dir := newRepo(t, files)
		run(t, dir, how...)
		l := acquire(t, &Slots{Dir: t.TempDir()}, open(t, dir), "j", "1")
		sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
		if got, want := run(t, l.Dirs.Workspace, "status", "--porcelain"), run(t, dir, "status", "--porcelain"); got != want {
			t.Errorf("%s: status %q, want %q", name, got, want)
		}
		if f := facts(t, dir); f.Dirty {
			t.Errorf("%s: dirty", name)
		}
		release(t, l)
	}
	dir := filepath.Join(t.TempDir(), "sha256")
	os.Mkdir(dir, 0o755)
	run(t, dir, "init", "-q", "--object-format=sha256")
	write(t, dir, files)
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-qm", "first")
	if f := facts(t, dir); f.Dirty || len(f.SHA) != 64 {
		t.Errorf("sha256: %+v", f)
	}
	l := acquire(t, &Slots{Dir: t.TempDir()}, open(t, dir), "j", "1")
	if got := run(t, l.Dirs.Workspace, "status", "--porcelain"); got != "" {
		t.Errorf("sha256: status %q", got)
	}
}

func TestParseRemote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://github.com/o/n.git":          "github.com o/n https://github.com/o/n.git",
		"https://u:p@github.com/o/n":          "github.com o/n https://github.com/o/n",
		"https://tok@example.com:8443/a/b/c/": "example.com a/b/c https://example.com:8443/a/b/c/",
		"https://h/o/n.git?token=x#y":         "h o/n https://h/o/n.git",
		"git@github.com:o/n.git":              "github.com o/n git@github.com:o/n.git",
		"github.com:o/n":                      "github.com o/n github.com:o/n",
		"ssh://git:pw@ssh.github.com:443/o/n": "github.com o/n ssh://git@ssh.github.com:443/o/n",
		"[git@host.example:22]:o/n.git":       "host.example o/n [git@host.example:22]:o/n.git",
		"git://h/o/n":                         "h o/n git://h/o/n",
		"/srv/git/o/n.git":                    " srv/git/o/n /srv/git/o/n.git",
		"../n":                                " n ../n",
		"file:///srv/n":                       " srv/n file:///srv/n",
		"./a:b/n":                             " a:b/n ./a:b/n",
		"https://github.com/":                 "error",
		"":                                    "error",
		"ext::sh -c evil":                     "error",
		"-oProxyCommand=x:o/n":                "error",
		"https:///o/n":                        "error",
		"/":                                   "error",
		"a\nb":                                "error",
	} {
		u, err := parseRemote(in)
		got := u.host + " " + strings.TrimPrefix(u.path, "../") + " " + u.clean
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	got, err := parseConfig([]byte("\ufeff# c\n[Core]\n\tBare = false ; c\n[remote \"o\\\"r\\\\\"] url = \"a # b\" \\\n  c\\n\n[a.B]\nflag\n\tempty =\r\n"))
	want := settings{{"core", "", "bare", "false"}, {"remote", `o"r\`, "url", "a # b   c\n"}, {"a", "b", "flag", "true"}, {"a", "b", "empty", ""}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"x = y", "[a", "[a \"b]", "[a]\nk \"v\"", "[a]\nk = \"v", "[a]\nk = \\q", "[]"} {
		if _, err := parseConfig([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	m := manifest{"": {{"a", look{1, -2, 3, 4, 5}, look{6, 7, 8, 9, 10}}}, "d/e": {{"b\xff", look{}, look{size: 1}}, {"c", look{}, look{}}}}
	data := m.encode("boot", "/tree")
	got, err := decodeManifest(data, "boot", "/tree")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := decodeManifest(data, "other", "/tree"); err != nil || len(got) > 0 {
		t.Errorf("after a reboot: %v, %v", got, err)
	}
	if got, err := decodeManifest(data, "boot", "/clone"); err != nil || len(got) > 0 {
		t.Errorf("for another tree: %v, %v", got, err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := decodeManifest(bad, "boot", "/tree"); err == nil {
			t.Fatalf("byte %d flipped and accepted", i)
		}
	}
}

func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"https://u:p@h/o/n.git", "git@h:o/n", "[u@h:1]:p", "file:///x", "../x", "ssh://h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseRemote(s)
		if err == nil && u.path == "" {
			t.Errorf("%q has no path", s)
		}
		if err == nil && strings.HasPrefix(strings.ToLower(s), "https://") && strings.Contains(u.clean, "@") && !strings.Contains(u.path, "@") {
			t.Errorf("%q keeps credentials: %q", s, u.clean)
		}
		insteadOf(settings{{"url", "x", "insteadof", "h"}}, s)
	})
}

func FuzzPackedRefs(f *testing.F) {
	sha := strings.Repeat("a", 40)
	f.Add([]byte("# pack-refs with: peeled\n" + sha + " refs/tags/v1\n^" + sha + "\n" + sha + " refs/heads/x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsePackedRefs(b, func(name, sha, peeled string) bool {
			if !validRef(name) || !isSHA(sha) || strings.Contains(name, "..") {
				t.Errorf("ref %q %q", name, sha)
			}
			return true
		})
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("[a \"b\"]\nc = d\n[include]\npath = x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseConfig(b)
		if err != nil {
			return
		}
		// What is written again is read again.
		for _, e := range s {
			text := "[" + e.section + "]\n" + e.key + " = " + quoteConfig(e.value) + "\n"
			if strings.ContainsAny(e.section, ".") || strings.ContainsAny(e.value, "\r") {
				continue
			}
			again, err := parseConfig([]byte(text))
			if err != nil || len(again) != 1 || again[0].value != e.value {
				t.Errorf("%q: %q, %v", text, again, err)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	entry := make([]byte, 62)
	entry[26], entry[27], entry[61] = 0x81, 0xa4, 1
	one := append([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x01"), entry...)
	one = append(one, "a\x00\x00\x00\x00\x00\x00\x00\x00\x00TREE\x00\x00\x00\x19\x001 0\n"...)
	one = append(one, make([]byte, 40)...)
	f.Add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		idx, err := parseIndex(b, 20)
		if err != nil {
			return
		}
		var walk func(e []tracked, n, depth int)
		walk = func(e []tracked, n, depth int) {
			if depth > 50 {
				return
			}
			w := list(e, n)
			for _, d := range w.dirs {
				w.dir(d.name)
				walk(d.entries, n+len(d.name)+1, depth+1)
			}
			for _, e := range w.files {
				w.file(e.path[n:], n)
			}
		}
		walk(idx.entries, 0, 0)
	})
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.o\n!a/**/b\n[a-z]?\\ \n", "a/b.o")
	f.Add("**/**/**/**/**/*a*a*a*a*a*b", strings.Repeat("a", 60))
	f.Fuzz(func(t *testing.T, text, path string) {
		r := &rules{list: parseIgnore([]byte(text))}
		r.ignored(path, false, false)
		r.ignored(path, true, true)
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest{"d": {{"a", look{size: 1}, look{size: 2}}}}.encode("b", "/t"))
	f.Fuzz(func(t *testing.T, b []byte) { decodeManifest(b, "b", "/t") })
}
