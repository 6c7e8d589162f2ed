package workspace

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Address{
		"https://git.example.org/team/app.git":    {Scheme: "https", Host: "git.example.org"},
		"https://Git.Example.org:8443/team/app":   {Scheme: "https", Host: "git.example.org:8443"},
		"http://[::1]:3000/team/app":              {Scheme: "http", Host: "[::1]:3000"},
		"ssh://git@example.org:2222/team/app":     {Scheme: "ssh", Host: "example.org:2222"},
		"git@example.org:team/app.git":            {Scheme: "ssh", Host: "example.org"},
		"example.org:/srv/git/app":                {Scheme: "ssh", Host: "example.org"},
		"/srv/git/app.git":                        {Path: "/srv/git/app.git"},
		"":                                        {},
		"team/app":                                {},
		"./app":                                   {},
		"file:///srv/git/app":                     {},
		"ext::sh -c touch% /tmp/x":                {},
		"ext::touch":                              {},
		"git::https://example.org/x":              {},
		"--upload-pack=touch x":                   {},
		"-oProxyCommand=touch:x":                  {},
		"ssh://-oProxyCommand=touch/x":            {},
		"ssh://-l@example.org/x":                  {},
		"-l@example.org:x":                        {},
		"git@-oProxyCommand=touch:x":              {},
		"git@example.org:-x":                      {},
		"https://user:word@example.org/x":         {},
		"https://user@example.org/x":              {},
		"ssh://git:word@example.org/x":            {},
		"https://example.org/x?y":                 {},
		"https://example.org/x#y":                 {},
		"https://example.org/":                    {},
		"https:///x":                              {},
		"https://exa mple.org/x":                  {},
		"https://example.org/x\ny":                {},
		"git://example.org/x":                     {},
		"ftp://example.org/x":                     {},
		"https://example.org\\@169.254.169.254/x": {},
		"https://a@b@example.org/x":               {},
		"/srv/\x00app":                            {},
	} {
		got, err := ParseAddress(s)
		if (want == Address{}) != (err != nil) || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"https://h/x", "git@h:x", "ssh://u@h:1/x", "/x", "ext::x", "http://[::1]/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if s[0] == '-' || strings.HasPrefix(a.Host, "-") || strings.ContainsAny(s, " \n\x00") || (a.Path == "") == (a.Host == "") {
			t.Errorf("%q is %+v", s, a)
		}
	})
}

// remote makes a repository to be mirrored, and the mirror.
func remote(t *testing.T, files map[string]string) (work string, m *Mirror) {
	t.Helper()
	work = newRepo(t, files)
	return work, &Mirror{Dir: t.TempDir(), URL: work}
}

func commit(t *testing.T, work string, files map[string]string, message string) string {
	t.Helper()
	write(t, work, files)
	run(t, work, "add", "-A")
	run(t, work, "commit", "-qm", message)
	return run(t, work, "rev-parse", "HEAD")
}

func TestMirrorCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, map[string]string{"a": "1"})
	first := run(t, work, "rev-parse", "HEAD")
	run(t, work, "tag", "-am", "one", "v1")
	for ref, full := range map[string]string{"main": "refs/heads/main", "refs/heads/main": "refs/heads/main", "v1": "refs/tags/v1", "refs/tags/v1": "refs/tags/v1", first: "", first[:9]: ""} {
		sha, got, err := m.Commit(ctx, ref)
		if err != nil || sha != first || got != full {
			t.Errorf("%s: %s %q, %v", ref, sha, got, err)
		}
	}
	if got := m.DefaultBranch(); got != "main" {
		t.Errorf("the default branch is %q", got)
	}
	// A change lies outside of branches.
	run(t, work, "switch", "-q", "--detach")
	change := commit(t, work, map[string]string{"a": "2"}, "A change\n\nin more words")
	run(t, work, "update-ref", "refs/pull/17/head", change)
	run(t, work, "switch", "-q", "main")
	sha, full, err := m.Commit(ctx, "refs/pull/17/head")
	if err != nil || sha != change || full != "refs/pull/17/head" {
		t.Fatalf("%s %s, %v", sha, full, err)
	}
	if subject, err := m.Subject(ctx, sha); err != nil || subject != "A change" {
		t.Errorf("%q, %v", subject, err)
	}
	if parent, err := m.Parent(ctx, sha); err != nil || parent != first {
		t.Errorf("%q, %v", parent, err)
	}
	for _, tt := range []struct {
		ref, sha string
		want     bool
	}{{"refs/heads/main", first, true}, {"refs/heads/main", change, false}, {"refs/tags/v1", first, true}, {"refs/heads/gone", first, false}, {"--all", first, false}} {
		if got, err := m.Contains(ctx, tt.ref, tt.sha); err != nil || got != tt.want {
			t.Errorf("%s contains %s: %t, %v", tt.ref, tt.sha, got, err)
		}
	}
	if in, err := m.Anywhere(ctx, change); err != nil || in {
		t.Errorf("a change is on a branch: %t, %v", in, err)
	}
	if files, known, err := m.Changed(ctx, first, change, 10); err != nil || !known || !slices.Equal(files, []string{"a"}) {
		t.Errorf("%v %t, %v", files, known, err)
	}
	if _, known, err := m.Changed(ctx, first, change, 0); err != nil || known {
		t.Errorf("more files than asked for: %t, %v", known, err)
	}
	if _, known, err := m.Changed(ctx, strings.Repeat("0", 40), change, 10); err != nil || known {
		t.Errorf("nothing to compare with: %t, %v", known, err)
	}
	for _, bad := range []string{"nothing", "--upload-pack=touch x", "-o", "refs/heads/../x", "main:refs/heads/evil", "refs/pull/18/head", strings.Repeat("a", 40), "a b"} {
		if _, _, err := m.Commit(ctx, bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	refs, err := m.Refs(ctx)
	if err != nil || len(refs) != 2 || refs["refs/tags/v1"] != first || refs["refs/heads/main"] != first {
		t.Errorf("%v, %v", refs, err)
	}
	// What is deleted there is no more here, but its commits are.
	run(t, work, "tag", "-d", "v1")
	if err := m.Fetch(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Here(ctx, "refs/tags/v1"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if !m.Has(ctx, change) {
		t.Error("a commit has been lost")
	}
}

// TestMirrorDefaultBranch: there may be none yet, and it may get another name.
func TestMirrorDefaultBranch(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, nil)
	if err := m.Fetch(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, work, "switch", "-q", "-C", "master")
	commit(t, work, map[string]string{"a": "1"}, "first")
	for _, name := range []string{"master", "trunk"} {
		run(t, work, "branch", "-M", name)
		if err := m.Fetch(ctx); err != nil {
			t.Fatal(err)
		}
		if got := m.DefaultBranch(); got != name {
			t.Errorf("it is %q, not %s", got, name)
		}
	}
}

func TestMirrorFrom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, map[string]string{"a": "1"})
	fork := filepath.Join(t.TempDir(), "fork")
	run(t, work, "clone", "-q", work, fork)
	sha := commit(t, fork, map[string]string{"a": "2"}, "from a fork")
	if err := m.Fetch(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := m.From(ctx, fork, "refs/heads/main")
	if err != nil || got != sha {
		t.Fatalf("%s, %v", got, err)
	}
	if in, err := m.Anywhere(ctx, sha); err != nil || in {
		t.Errorf("the fork's commit counts as ours: %t, %v", in, err)
	}
	if at, err := m.Here(ctx, "refs/heads/main"); err != nil || at == sha {
		t.Errorf("the fork's branch has become ours: %s, %v", at, err)
	}
}

// TestMirrorCheckout: hooks, filters and submodules of the repository are data.
func TestMirrorCheckout(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, map[string]string{
		"a": "1", "dir/b": "2", ".gitattributes": "a filter=evil\n",
		".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch evil\n",
	})
	first := run(t, work, "rev-parse", "HEAD")
	second := commit(t, work, map[string]string{"a": "changed"}, "second")
	run(t, work, "tag", "v1", first)
	if _, _, err := m.Commit(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	var dirs sync.Map
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, sha := range []string{first, second} {
				dir, err := m.Checkout(ctx, sha)
				if err != nil {
					t.Error(err)
				}
				dirs.Store(sha, dir)
			}
		})
	}
	all.Wait()
	at, _ := dirs.Load(first)
	dir := at.(string)
	if got := read(t, dir, "a"); got != "1" {
		t.Errorf("a is %q", got)
	}
	tree := open(t, dir)
	f, err := tree.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if f.SHA != first || f.Dirty || f.Tag != "v1" {
		t.Errorf("%+v", f)
	}
	if files, known, err := tree.Changed(ctx, "main"); err != nil || !known || len(files) != 0 {
		t.Errorf("%v %t %v", files, known, err)
	}
	// Jobs get a .git that works, in the same place whatever the commit is.
	slots := &Slots{Dir: t.TempDir()}
	one := acquire(t, slots, tree, "test", "1")
	if got := run(t, one.Dirs.Workspace, "log", "--format=%s"); got != "first" {
		t.Errorf("the log is %q", got)
	}
	if got := run(t, one.Dirs.Workspace, "status", "--porcelain"); got != "" {
		t.Errorf("the slot is dirty: %s", got)
	}
	place := one.Dirs.Workspace
	release(t, one)
	at, _ = dirs.Load(second)
	two := acquire(t, slots, open(t, at.(string)), "test", "2")
	if two.Dirs.Workspace != place {
		t.Errorf("the next commit's slot is %s, not %s", two.Dirs.Workspace, place)
	}
	if got := read(t, two.Dirs.Workspace, "a"); got != "changed" {
		t.Errorf("a is %q", got)
	}
	release(t, two)

	// What is used or was asked for lately stays.
	if err := m.Prune(ctx, time.Hour, func(string) bool { return false }); err != nil || !isDir(m.Tree(first)) {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	for _, sha := range []string{first, second} {
		if err := os.Chtimes(filepath.Join(m.Tree(sha), ".git", "fairlead-boot"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Prune(ctx, time.Hour, func(sha string) bool { return sha == second }); err != nil {
		t.Fatal(err)
	}
	if isDir(m.Tree(first)) || !isDir(m.Tree(second)) {
		t.Error("the wrong tree is gone")
	}
	if _, err := m.Checkout(ctx, strings.Repeat("a", 40)); err == nil {
		t.Error("a commit that is not there was checked out")
	}
}

// TestMirrorReboot: files that a power cut may have left empty are not believed.
func TestMirrorReboot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, map[string]string{"a": "1"})
	sha, _, err := m.Commit(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := m.Checkout(ctx, sha)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"a": "", ".git/fairlead-boot": "another boot"})
	if dir, err = m.Checkout(ctx, sha); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "a"); got != "1" {
		t.Errorf("a is %q in %s", got, work)
	}
}

func TestMirrorPacks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	work, m := remote(t, map[string]string{"a": "1"})
	lost := ""
	for i := range manyPacks + 2 {
		sha := commit(t, work, map[string]string{"a": strings.Repeat("x", i+1)}, "more")
		if i == 3 {
			lost = sha
		}
		if err := m.Fetch(ctx); err != nil {
			t.Fatal(err)
		}
		run(t, m.path(), "repack", "-q", "-d") // as a larger fetch would
		if i == 3 {
			run(t, work, "reset", "-q", "--hard", "HEAD~2")
		}
	}
	packs, err := filepath.Glob(filepath.Join(m.path(), "objects", "pack", "*.pack"))
	if err != nil || len(packs) >= manyPacks {
		t.Errorf("%d packs, %v", len(packs), err)
	}
	if !m.Has(ctx, lost) {
		t.Error("a commit that no branch has any more was dropped")
	}
}

func TestMirrorRefusesAddresses(t *testing.T) {
	t.Parallel()
	asked := ""
	m := &Mirror{Dir: t.TempDir(), URL: "https://127.0.0.1:1/team/app", Allowed: func(scheme string, a netip.Addr) error {
		asked = scheme + " " + a.String()
		return errors.New("not this one")
	}}
	if err := m.Fetch(t.Context()); !errors.Is(err, ErrRefused) || asked != "https 127.0.0.1" {
		t.Errorf("%q, %v", asked, err)
	}
	m.URL = "ext::touch /tmp/evil"
	if err := m.Fetch(t.Context()); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	m.URL, m.Allowed = "https://127.0.0.1:1/team/app", nil
	if err := m.Fetch(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// TestMirrorHTTP: a token is not sent where it can be read on the way, unless that is allowed.
func TestMirrorHTTP(t *testing.T) {
	t.Parallel()
	backend := filepath.Join(run(t, newRepo(t, nil), "--exec-path"), "git-http-backend")
	if _, err := exec.LookPath(backend); err != nil {
		t.Skip("SKIPPED: git has no http-backend here")
	}
	work := newRepo(t, map[string]string{"a": "1"})
	root := t.TempDir()
	run(t, work, "clone", "-q", "--bare", work, filepath.Join(root, "app"))
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	var seen atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, word, _ := r.BasicAuth(); word != "canary-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		seen.Store(true)
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	m := &Mirror{Dir: t.TempDir(), URL: srv.URL + "/app", Token: "canary-token"}
	_, refsErr := m.Refs(t.Context())
	for _, err := range []error{refsErr, m.Fetch(t.Context())} {
		if !errors.Is(err, ErrWithheld) || !errors.Is(err, ErrUnknownRepository) || seen.Load() {
			t.Errorf("by itself: %v, sent: %t", err, seen.Load())
		}
	}
	m.Insecure = true
	if _, _, err := m.Commit(t.Context(), "main"); err != nil || !seen.Load() {
		t.Errorf("allowed: %v, sent: %t", err, seen.Load())
	}
}

// TestMirrorHTTPS: the token goes to its host, in a header, and follows no redirect.
func TestMirrorHTTPS(t *testing.T) {
	backend := filepath.Join(run(t, newRepo(t, nil), "--exec-path"), "git-http-backend")
	if _, err := exec.LookPath(backend); err != nil {
		t.Skip("SKIPPED: git has no http-backend here")
	}
	t.Setenv("GIT_SSL_NO_VERIFY", "true")
	work := newRepo(t, map[string]string{"a": "1"})
	root := t.TempDir()
	run(t, work, "clone", "-q", "--bare", work, filepath.Join(root, "app"))
	var mu sync.Mutex
	var saw []string
	var stolen atomic.Bool
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Store(true) }))
	defer thief.Close()
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, word, _ := r.BasicAuth()
		mu.Lock()
		saw = append(saw, user+":"+word)
		mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusFound)
			return
		}
		if word != "canary-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	m := &Mirror{Dir: t.TempDir(), URL: strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) + "/app", Token: "canary-token",
		Allowed: func(string, netip.Addr) error { return nil }}
	if _, _, err := m.Commit(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(saw) == 0 || slices.ContainsFunc(saw, func(s string) bool { return s != "x-access-token:canary-token" }) {
		t.Errorf("it was shown %q", saw)
	}
	mu.Unlock()
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), "canary-token") {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Token = "wrong-canary"
	if err := m.Fetch(context.Background()); !errors.Is(err, ErrUnknownRepository) || strings.Contains(err.Error(), "wrong-canary") {
		t.Errorf("with a wrong token: %v", err)
	}
	m.Dir, m.URL, m.Token = t.TempDir(), srv.URL+"/moved", "canary-token"
	if err := m.Fetch(context.Background()); err == nil || stolen.Load() {
		t.Errorf("a redirect was followed: %t, %v", stolen.Load(), err)
	}
}
