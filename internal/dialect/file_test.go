package dialect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), []byte("0123456789"), 0o600), os.Mkdir(filepath.Join(dir, "dir"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	tree := os.DirFS(dir)
	for most, want := range map[int64]string{20: "0123456789", 10: "0123456789", 3: "0123"} {
		if got, err := ReadFile(tree, "file", most); err != nil || string(got) != want {
			t.Errorf("at most %d: %q, %v, want %q", most, got, err, want)
		}
	}
	for name, want := range map[string]error{"none": fs.ErrNotExist, "dir": fs.ErrInvalid, "pipe": fs.ErrInvalid} {
		if _, err := ReadFile(tree, name, 10); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
