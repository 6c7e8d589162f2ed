package disk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/blobtest"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
)

// kinds are the two kinds of store.
var kinds = map[string]func(dir string) (*disk.Store, error){"durable": disk.Open, "relaxed": disk.OpenRelaxed}

func open(t testing.TB, dir string) *disk.Store { return openKind(t, "durable", dir) }

func openKind(t testing.TB, kind, dir string) *disk.Store {
	t.Helper()
	s, err := kinds[kind](dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bothKinds runs a test with a store of each kind.
func bothKinds(t *testing.T, test func(t *testing.T, dir string, s *disk.Store)) {
	t.Parallel()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test(t, dir, openKind(t, kind, dir))
		})
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			blobtest.Run(t, func() blob.Store { return openKind(t, kind, t.TempDir()) })
		})
	}
}

// TestConformanceOfSharedDirectory has stores of both kinds in one directory.
func TestConformanceOfSharedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			blobtest.Run(t, func() blob.Store { return openKind(t, kind, dir) })
		})
	}
}

func TestFilesInAndOut(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		for _, size := range []int{0, 1, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 3<<20 + 5} {
			data := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
			in := file(t, data)
			if _, err := in.Seek(int64(size)/2, io.SeekStart); err != nil { // all counts, not the rest
				t.Fatal(err)
			}
			for range 2 { // the second time it is there
				if d, n, err := s.PutFile(t.Context(), in); err != nil || n != int64(size) || d != blob.Of(data) {
					t.Fatalf("PutFile of %d bytes = %s, %d, %v", size, d, n, err)
				}
			}
			out := file(t, nil)
			if n, err := s.CopyTo(t.Context(), blob.Of(data), out); err != nil || n != int64(size) {
				t.Fatalf("CopyTo of %d bytes = %d, %v", size, n, err)
			}
			if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes came back as %d other bytes, %v", size, len(got), err)
			}
			// What is done to the copy is not done to the blob.
			if err := os.WriteFile(out.Name(), []byte("changed"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(in.Name(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if v, err := s.Verify(t.Context(), nil); err != nil || v.Blobs != 7 || len(v.Corrupt) != 0 {
			t.Errorf("Verify = %+v, %v", v, err)
		}
		if _, err := s.CopyTo(t.Context(), blob.Of([]byte("never seen")), file(t, nil)); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("CopyTo = %v, want ErrNotFound", err)
		}
		if _, err := s.CopyTo(t.Context(), "sha256:../x", file(t, nil)); err == nil {
			t.Error("CopyTo takes what is no digest")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.PutFile(ctx, file(t, []byte("late"))); !errors.Is(err, context.Canceled) {
			t.Errorf("PutFile = %v, want context.Canceled", err)
		}
	})
}

func file(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCopyOfDamagedBlob(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		for _, size := range []int{10, 1 << 20} {
			d, _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Fatal(err)
			}
			path := pathOf(dir, d)
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
				t.Fatal(err)
			}
			out := file(t, nil)
			if _, err := s.CopyTo(t.Context(), d, out); !errors.Is(err, blob.ErrCorrupt) {
				t.Errorf("CopyTo = %v, want ErrCorrupt", err)
			}
			if info, err := out.Stat(); err != nil || info.Size() != 0 {
				t.Errorf("bad bytes were left in the copy: %v, %v", info, err)
			}
			if gone, err := s.Missing(t.Context(), []blob.Digest{d}); err != nil || len(gone) != 1 {
				t.Errorf("Missing = %v, %v", gone, err)
			}
		}
	})
}

// TestTornBlobIsPutInAgain has what a power cut leaves of a relaxed store:
// names of files that are empty or too short.
func TestTornBlobIsPutInAgain(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		for _, size := range []int{10, 1 << 20} {
			data := bytes.Repeat([]byte("x"), size)
			d := blob.Of(data)
			for range 2 {
				if _, _, err := s.Put(t.Context(), bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				out := file(t, nil)
				if n, err := s.CopyTo(t.Context(), d, out); err != nil || n != int64(size) {
					t.Fatalf("CopyTo = %d, %v", n, err)
				}
				if err := os.Chmod(pathOf(dir, d), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(pathOf(dir, d), int64(size/2)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Errorf("left in tmp: %v, %v", left, err)
		}
	})
}

func TestWhatIsNoFileIsNoBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	d := blob.Of([]byte("x"))
	if err := os.MkdirAll(pathOf(dir, d), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("Open of a directory = %v, want ErrCorrupt", err)
	}
	if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open again = %v, want ErrNotFound", err)
	}
}

func pathOf(dir string, d blob.Digest) string {
	return filepath.Join(dir, "sha256", d.Hex()[:2], d.Hex()[2:])
}

// blobs lists the files of finished blobs.
func blobs(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "sha256"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestCorruptBlobIsSetAside(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string][]byte{"changed": []byte("Hello"), "cut": []byte("hell"), "longer": []byte("hello!"), "emptied": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			d, _, err := s.Put(t.Context(), strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			path := blobs(t, dir)[0]
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage, 0o600); err != nil {
				t.Fatal(err)
			}

			r, err := s.Open(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for range 2 { // the verdict stays
				if _, err = io.ReadAll(r); !errors.Is(err, blob.ErrCorrupt) {
					t.Errorf("read = %v, want ErrCorrupt", err)
				}
			}
			if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("open again = %v, want ErrNotFound", err)
			}
			if kept, err := os.ReadFile(filepath.Join(dir, "corrupt", d.Hex())); err != nil || !bytes.Equal(kept, damage) {
				t.Errorf("set aside: %q, %v", kept, err)
			}
			if _, _, err := s.Put(t.Context(), strings.NewReader("hello")); err != nil {
				t.Fatal(err)
			}
			r2, err := s.Open(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			defer r2.Close()
			if got, err := io.ReadAll(r2); string(got) != "hello" || err != nil {
				t.Errorf("after it was put in again: %q, %v", got, err)
			}
		})
	}
}

func TestUnwritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(file); err == nil || !strings.Contains(err.Error(), "open the store") {
		t.Errorf("Open of a file = %v", err)
	}
	s := open(t, filepath.Join(dir, "store"))
	if err := os.RemoveAll(filepath.Join(dir, "store", "tmp")); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Put(t.Context(), strings.NewReader("x"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "store in "+dir) {
		t.Errorf("Put = %v; want an error that names the store and the cause", err)
	}
}

func TestAbandonedFilesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	old, fresh := filepath.Join(dir, "tmp", "put-old"), filepath.Join(dir, "tmp", "put-fresh")
	for _, f := range []string{old, fresh} {
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead writer left is still there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("what a writer is writing is gone: %v", err)
	}
}
