package dataset_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/dataset"
)

func shelf(t *testing.T) *dataset.Shelf {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := disk.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return &dataset.Shelf{Root: root, Blobs: blobs}
}

func put(t *testing.T, s *dataset.Shelf, name, text string) string {
	t.Helper()
	name = filepath.Join(s.Root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, s *dataset.Shelf, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Root, filepath.FromSlash(name)))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestLife(t *testing.T) {
	t.Parallel()
	s, ctx := shelf(t), t.Context()
	put(t, s, "testdata/big/a.csv", "one")
	put(t, s, "testdata/big/sub/b.csv", "two")
	single := put(t, s, "model.bin", "\x00\x01")
	if err := os.Chmod(single, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.Root, "testdata", "big")
	first, err := s.Add(ctx, "customers", "1", []string{dir, single})
	if err != nil || first.Files != 3 || first.Size != 8 {
		t.Fatalf("%+v, %v", first, err)
	}
	put(t, s, "testdata/big/a.csv", "changed")
	if v, err := s.Verify(ctx, "customers"); err != nil || v.Good() || v.Tree[0].Path != "testdata/big/a.csv" {
		t.Fatalf("%+v, %v", v, err)
	}
	second, err := s.Add(ctx, "customers", "2", []string{dir})
	if err != nil || second.Digest == first.Digest {
		t.Fatalf("%+v, %v", second, err)
	}
	if _, err := s.Add(ctx, "customers", "1", []string{dir}); !errors.As(err, new(*dataset.Error)) {
		t.Fatalf("a version came to mean other bytes: %v", err)
	}
	put(t, s, "testdata/big/stray", "x")
	if err := os.Remove(single); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := s.Get(ctx, "customers@1", ""); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if a, m := read(t, s, "testdata/big/a.csv"), read(t, s, "model.bin"); a != "one" || m != "\x00\x01" {
		t.Errorf("%q %q", a, m)
	}
	if _, err := os.Stat(filepath.Join(dir, "stray")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not of the set was left: %v", err)
	}
	if st, err := os.Stat(single); err != nil || st.Mode().Perm()&0o100 == 0 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, changed, err := s.Get(ctx, "customers@1", ""); err != nil || changed {
		t.Error("the very bytes were written again", changed, err)
	}
	other := t.TempDir()
	if p, _, err := s.Get(ctx, "customers", other); err != nil || p.Version != "2" {
		t.Error(p, err)
	}
	if b, err := os.ReadFile(filepath.Join(other, "testdata/big/a.csv")); string(b) != "changed" {
		t.Error(string(b), err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Root, "testdata", ".fairlead*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
	if gone, err := s.Remove("customers@2"); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if p, err := s.Find("customers"); err != nil || p.Version != "1" {
		t.Error(p, err)
	}
	if _, err := s.Find("custmers"); err == nil || !strings.Contains(err.(*dataset.Error).Hint, "did you mean") {
		t.Error(err)
	}
}

// What fails leaves what was there.
func TestGetIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s, ctx := shelf(t), t.Context()
	put(t, s, "d/a", "old a")
	put(t, s, "d/b", "old b")
	p, err := s.Add(ctx, "set", "1", []string{filepath.Join(s.Root, "d")})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "d/a", "mine")
	empty, err := disk.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	full := s.Blobs
	s.Blobs = empty
	if _, _, err := s.Get(ctx, "set", ""); !errors.As(err, new(*dataset.Error)) {
		t.Errorf("%v", err)
	}
	if v, err := s.Verify(ctx, "set"); err != nil || v.Missing != p.Files {
		t.Errorf("%+v, %v", v, err)
	}
	// Bytes that were damaged on disk are found before anything is moved.
	s.Blobs = full
	damage(t, full.(*disk.Store), s, "old b")
	if _, _, err := s.Get(ctx, "set", ""); err == nil {
		t.Error("damaged bytes were put into the tree")
	}
	if a := read(t, s, "d/a"); a != "mine" {
		t.Errorf("%q", a)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Root, ".fairlead*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

// damage changes the kept bytes of a text.
func damage(t *testing.T, store *disk.Store, s *dataset.Shelf, text string) {
	t.Helper()
	d, _, err := store.Put(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	found := false
	// The store's directory is another one of this test's.
	_ = filepath.WalkDir(filepath.Dir(s.Root), func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(p, d.Hex()[2:]) {
			_ = os.Chmod(p, 0o644)
			found = os.WriteFile(p, []byte(strings.ToUpper(text)), 0o644) == nil
		}
		return nil
	})
	if !found {
		t.Fatal("the blob was not found on disk")
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	s, ctx := shelf(t), t.Context()
	file := put(t, s, "d/a", "x")
	if err := os.Symlink("/etc/passwd", filepath.Join(s.Root, "d", "link")); err != nil {
		t.Fatal(err)
	}
	put(t, s, ".git/config", "x")
	for name, paths := range map[string][]string{
		"link":   {filepath.Join(s.Root, "d")},
		"git":    {filepath.Join(s.Root, ".git")},
		"above":  {filepath.Dir(s.Root)},
		"root":   {s.Root},
		"none":   {filepath.Join(s.Root, "none")},
		"twice":  {file, filepath.Join(s.Root, "d")},
		"a/b":    {file},
		"..":     {file},
		"no way": {file},
	} {
		if _, err := s.Add(ctx, name, "", paths); !errors.As(err, new(*dataset.Error)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema": 1, "sets": [{"name":"a","version":"1","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"files":1}]}`))
	f.Add([]byte("{\"schema\":1,\"sets\":[\n<<<<<<< HEAD\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		pins, problems := dataset.Parse(src)
		if len(problems) > 0 && (len(pins) > 0 || problems[0].Line < 1 || problems[0].Message == "") {
			t.Fatalf("%v %v", pins, problems)
		}
	})
}
