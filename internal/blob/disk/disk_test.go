package disk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/blobtest"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
)

func open(t testing.TB, dir string) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func() blob.Store { return open(t, t.TempDir()) })
}

func TestConformanceOfSharedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blobtest.Run(t, func() blob.Store { return open(t, dir) })
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
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "store 0 bytes in "+dir) {
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

// TestKilledWriter kills processes in the middle of their writing: whatever
// is visible under a digest afterwards must have it.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("BLOB_WRITER"); dir != "" {
		write(dir)
	}
	dir := t.TempDir()
	open(t, dir)
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "BLOB_WRITER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// One byte comes for every blob that is finished.
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // it was killed
	}
	paths := blobs(t, dir)
	if len(paths) < 3 {
		t.Errorf("%d blobs were stored, want at least 3", len(paths))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(filepath.Dir(path)) + filepath.Base(path); blob.Of(data).Hex() != name {
			t.Errorf("%s holds bytes with another digest", name)
		}
	}
}

func write(dir string) {
	s, err := disk.Open(dir)
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), byte(os.Getpid()), byte(os.Getpid() >> 8)}, 64<<10)
		if _, _, err := s.Put(context.Background(), bytes.NewReader(data)); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("x")
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir())
	data := make([]byte, 1<<20)
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
		if _, _, err := s.Put(b.Context(), bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := open(b, b.TempDir())
	data := make([]byte, 1<<20)
	d, _, err := s.Put(b.Context(), bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, err := s.Open(b.Context(), d)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
