package depot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
)

func newDepot(t testing.TB, dir string) *Depot {
	t.Helper()
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return New(blobs, filepath.Join(dir, "index"))
}

// TestKilledSaver kills processes while they save caches. Every key that is
// there afterwards must restore as a whole.
func TestKilledSaver(t *testing.T) {
	t.Parallel()
	scope := Scope{Repository: "octo/cat", Refs: []string{"refs/heads/main"}}
	work := t.TempDir()
	file := filepath.Join(work, "f")
	paths := ParsePatterns([]string{file}, filepath.Clean)
	if dir := os.Getenv("DEPOT_SAVER"); dir != "" {
		d := newDepot(t, dir)
		for i := 0; ; i++ {
			key := fmt.Sprintf("k-%d-%d", os.Getpid(), i)
			depottest.Plant(t, work, map[string]string{"f": key + strings.Repeat(" padding", 1000)})
			list, err := paths.Glob(Search{})
			if err != nil {
				t.Fatal(err)
			}
			digest, n, _, err := d.Pack(t.Context(), paths.Roots(), list, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.AddCache(t.Context(), scope, "v", key, digest, n, i%2 == 1); err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("x")
		}
	}
	dir := t.TempDir()
	const rounds, each = 3, 4
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledSaver$")
		cmd.Env = append(os.Environ(), "DEPOT_SAVER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, each)); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // it was killed
	}
	d := newDepot(t, dir)
	all, err := entries[Cache](t.Context(), d.cacheDir(scope.Repository, scope.Refs[0], "v"))
	if err != nil || len(all) < each {
		t.Fatalf("%d caches, %v", len(all), err)
	}
	for _, e := range all {
		if _, err := d.Unpack(t.Context(), e.Digest, paths.Roots()); err != nil {
			t.Errorf("%s: %v", e.Key, err)
		}
		if data, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(data), e.Key+" ") {
			t.Errorf("%s holds %.20q, %v", e.Key, data, err)
		}
	}
}

func put(t testing.TB, d *Depot, text string) (blob.Digest, int64) {
	t.Helper()
	digest, n, err := d.blobs.Put(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return digest, n
}

func TestCachesThatMayBeReplaced(t *testing.T) {
	t.Parallel()
	d := newDepot(t, t.TempDir())
	scope := Scope{Repository: "Octo/Cat", Refs: []string{"protected"}}
	one, n := put(t, d, "one")
	two, _ := put(t, d, "two")
	for _, step := range []struct {
		digest  blob.Digest
		replace bool
		err     error
		want    blob.Digest
	}{{one, false, nil, one}, {two, false, ErrTaken, one}, {one, false, nil, one}, {two, true, nil, two}} {
		if err := d.AddCache(t.Context(), scope, "v", "k", step.digest, n, step.replace); !errors.Is(err, step.err) {
			t.Errorf("saving %s: %v, want %v", step.digest, err, step.err)
		}
		c, err := d.Cache(t.Context(), Scope{Repository: "octo/cat", Refs: []string{"protected"}}, "v", "k")
		if err != nil || c == nil || c.Digest != step.want {
			t.Errorf("found %+v, %v", c, err)
		}
	}
	if c, err := d.Cache(t.Context(), scope, "v", "k2"); c != nil || err != nil {
		t.Errorf("another key: %+v, %v", c, err)
	}
	if c, err := d.Cache(t.Context(), Scope{Repository: "octo/cat", Refs: []string{"other", "protected"}}, "v", "k"); c != nil || err != nil {
		t.Errorf("exactly in another scope: %+v, %v", c, err)
	}
	if c, err := d.FindCache(t.Context(), Scope{Repository: "octo/cat", Refs: []string{"other", "protected"}}, "v", []string{"x", "k"}); c == nil || err != nil {
		t.Errorf("in one of several scopes: %+v, %v", c, err)
	}
}

func BenchmarkFindCache(b *testing.B) {
	d := newDepot(b, b.TempDir())
	scope := Scope{Repository: "octo/cat", Refs: []string{"refs/heads/main"}}
	digest, n := put(b, d, "x")
	for i := range 200 {
		if err := d.AddCache(b.Context(), scope, "v", fmt.Sprintf("deps-%d", i), digest, n, false); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if e, err := d.FindCache(b.Context(), scope, "v", []string{"other", "deps-1"}); err != nil || e == nil {
			b.Fatal(err)
		}
	}
}
