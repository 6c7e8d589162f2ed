package workspace

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// newMirror makes a directory of repositories with one in it, acme/tool, and
// returns it with the working tree that pushes to it.
func newMirror(t *testing.T) (mirror, work string) {
	t.Helper()
	work = newRepo(t, map[string]string{"action.yml": "one", "sub/x": "x", ".gitattributes": "* filter=evil\n"})
	run(t, work, "tag", "-am", "one", "v1")
	mirror = t.TempDir()
	run(t, work, "clone", "-q", "--bare", work, filepath.Join(mirror, "acme", "tool.git"))
	run(t, work, "remote", "add", "origin", filepath.Join(mirror, "acme", "tool.git"))
	return mirror, work
}

func read(t testing.TB, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSourcesFetch(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mirror, work := newMirror(t)
	first := run(t, work, "rev-parse", "HEAD")
	s := &Sources{Dir: t.TempDir(), Mirror: mirror, Fresh: -1}
	for _, ref := range []string{"v1", "main", "refs/heads/main", "refs/tags/v1", first} {
		dir, commit, err := s.Fetch(ctx, "acme/tool", ref)
		if err != nil {
			t.Fatal(err)
		}
		if commit != first || read(t, dir, "action.yml") != "one" {
			t.Errorf("%s: %s", ref, commit)
		}
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			t.Error("a .git among the files")
		}
	}
}

func TestSourcesFreshness(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mirror, work := newMirror(t)
	dir := t.TempDir()
	asking, believing := &Sources{Dir: dir, Mirror: mirror, Fresh: -1}, &Sources{Dir: dir, Mirror: mirror, Fresh: time.Hour}
	offline := &Sources{Dir: dir, Mirror: mirror, Offline: true}
	if _, _, err := offline.Fetch(ctx, "acme/tool", "main"); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
	get := func(s *Sources, ref string) (body, commit string) {
		t.Helper()
		dir, commit, err := s.Fetch(ctx, "acme/tool", ref)
		if err != nil {
			t.Fatal(err)
		}
		return read(t, dir, "action.yml"), commit
	}
	_, first := get(asking, "main")
	write(t, work, map[string]string{"action.yml": "two"})
	run(t, work, "commit", "-qam", "second")
	run(t, work, "push", "-q", "origin", "main")
	for _, c := range []struct {
		s    *Sources
		ref  string
		want string
	}{{believing, "main", "one"}, {offline, "main", "one"}, {asking, "main", "two"}, {offline, "main", "two"}, {offline, first, "one"}, {asking, "v1", "one"}} {
		if body, _ := get(c.s, c.ref); body != c.want {
			t.Errorf("%s: %q, want %q", c.ref, body, c.want)
		}
	}
	// A commit that no ref names any more, and that was never fetched.
	write(t, work, map[string]string{"action.yml": "three"})
	run(t, work, "commit", "-qam", "third")
	third := run(t, work, "rev-parse", "HEAD")
	run(t, work, "push", "-q", "origin", "main")
	if body, commit := get(&Sources{Dir: t.TempDir(), Mirror: mirror}, third); body != "three" || commit != third {
		t.Errorf("by commit: %q", body)
	}
}

func TestSourcesErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mirror, _ := newMirror(t)
	s := &Sources{Dir: t.TempDir(), Mirror: mirror}
	for _, c := range []struct {
		repository, ref string
		want            error
	}{
		{"acme/none", "v1", ErrUnknownRepository}, {"acme/tool", "v9", ErrUnknownRef}, {"acme/tool", strings.Repeat("1", 40), ErrUnknownRef},
		{"../tool", "v1", fs.ErrNotExist}, {"acme/..", "v1", fs.ErrNotExist}, {"-x/tool", "v1", fs.ErrNotExist}, {"acme/tool", "--upload-pack=evil", fs.ErrNotExist},
		{"acme/tool\n", "v1", fs.ErrNotExist}, {"a/b/c", "v1", fs.ErrNotExist}, {"acme/tool", "a..b", fs.ErrNotExist}, {"acme/tool", "", fs.ErrNotExist},
	} {
		if _, _, err := s.Fetch(ctx, c.repository, c.ref); !errors.Is(err, c.want) {
			t.Errorf("%s@%s: %v, want %v", c.repository, c.ref, err, c.want)
		}
	}
	down := &Sources{Dir: t.TempDir(), Mirror: "http://127.0.0.1:1"}
	if _, _, err := down.Fetch(ctx, "acme/tool", "v1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a server that is down: %v", err)
	}
	odd := &Sources{Dir: t.TempDir(), Mirror: "ext::sh -c touch% evil"}
	if _, _, err := odd.Fetch(ctx, "acme/tool", "v1"); err == nil {
		t.Error("a helper as mirror is accepted")
	}
}

func TestSourcesLocal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	repo, plain := newRepo(t, map[string]string{"a": "a"}), t.TempDir()
	s := &Sources{Dir: t.TempDir(), Offline: true, Local: map[string]string{"Acme/Tool": repo, "acme/tool@v2": plain, "acme/gone": plain + "/gone"}}
	if dir, commit, err := s.Fetch(ctx, "acme/tool", "v1"); err != nil || dir != repo || commit != run(t, repo, "rev-parse", "HEAD") {
		t.Errorf("%s, %s, %v", dir, commit, err)
	}
	if dir, commit, err := s.Fetch(ctx, "acme/tool", "v2"); err != nil || dir != plain || commit != "" {
		t.Errorf("%s, %s, %v", dir, commit, err)
	}
	if _, _, err := s.Fetch(ctx, "acme/gone", "v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestSourcesTogether(t *testing.T) {
	t.Parallel()
	mirror, _ := newMirror(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s := &Sources{Dir: dir, Mirror: mirror}
			if _, _, err := s.Fetch(context.Background(), "acme/tool", "v1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSourcesClone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mirror, work := newMirror(t)
	write(t, work, map[string]string{"action.yml": "two"})
	run(t, work, "commit", "-qam", "second")
	run(t, work, "push", "-q", "origin", "main")
	s := &Sources{Dir: t.TempDir(), Mirror: mirror}
	for ref, want := range map[string]string{"": "two", "main": "two", "v1": "one", run(t, work, "rev-parse", "HEAD~"): "one"} {
		dest := filepath.Join(t.TempDir(), "dest")
		commit, err := s.Clone(ctx, "acme/tool", ref, dest, CheckoutOptions{Depth: 1})
		if err != nil {
			t.Fatal(err)
		}
		if read(t, dest, "action.yml") != want || run(t, dest, "rev-parse", "HEAD") != commit || run(t, dest, "rev-list", "--count", "HEAD") != "1" {
			t.Errorf("%q: %s", ref, commit)
		}
	}
	if _, err := s.Clone(ctx, "acme/tool", "v9", filepath.Join(t.TempDir(), "x"), CheckoutOptions{}); !errors.Is(err, ErrUnknownRef) {
		t.Errorf("unknown ref: %v", err)
	}
}

// The token goes to the server it is for, and to nobody who lists processes.
func TestSourcesTokenStaysOffTheCommandLine(t *testing.T) {
	t.Parallel()
	s := &Sources{Token: "hunter2"}
	address, env, err := s.address("o/n")
	if err != nil || address != "https://github.com/o/n" || strings.Contains(address, "hunter2") {
		t.Errorf("%s, %v", address, err)
	}
	if !strings.Contains(strings.Join(env, "\n"), "http.https://github.com/.extraheader") {
		t.Errorf("no token for the server: %q", env)
	}
	s.Mirror = "https://mirror.example"
	if _, env, _ = s.address("o/n"); strings.Contains(strings.Join(env, "\n"), "Authorization") {
		t.Error("the token goes to the mirror")
	}
}

// Over http, as from a real code host.
func TestSourcesOverHTTP(t *testing.T) {
	t.Parallel()
	mirror, work := newMirror(t)
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("SKIPPED: this git has no http-backend")
	}
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + mirror, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/acme/tool/", "/acme/tool.git/", 1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s := &Sources{Dir: t.TempDir(), Mirror: srv.URL}
	for _, ref := range []string{"v1", run(t, work, "rev-parse", "HEAD")} {
		dir, _, err := s.Fetch(context.Background(), "acme/tool", ref)
		if err != nil {
			t.Fatal(err)
		}
		if read(t, dir, "action.yml") != "one" {
			t.Error(ref)
		}
	}
	if _, _, err := s.Fetch(context.Background(), "acme/none", "v1"); !errors.Is(err, ErrUnknownRepository) {
		t.Errorf("unknown repository: %v", err)
	}
	if _, _, err := s.Fetch(context.Background(), "acme/tool", strings.Repeat("1", 40)); !errors.Is(err, ErrUnknownRef) {
		t.Errorf("unknown commit: %v", err)
	}
}
