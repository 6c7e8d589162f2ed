package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
)

func TestKeysFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	if _, err := OpenKeys(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("its mode is %v", info.Mode())
	}
	text, err := os.ReadFile(path)
	must(t, err)
	if ids, err := age.ParseIdentities(bytes.NewReader(text)); err != nil || len(ids) != 1 {
		t.Errorf("age reads %d identities, %v", len(ids), err)
	}
	if _, err := OpenKeys(path); err != nil {
		t.Error(err)
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, text) {
		t.Error("the file changed when it was opened again")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"others may read", id.String() + "\n", 0o644, "chmod 600"},
		{"the group may read", id.String() + "\n", 0o640, "its mode is 0640"},
		{"empty", "", 0o600, "no identity at all"},
		{"comments", "# nothing\n", 0o600, "no identity at all"},
		{"other text", "hunter2-canary\n", 0o600, "restore the file from its backup"},
		{"damaged", id.String()[:40] + "\n", 0o600, "restore the file from its backup"},
		{"large", strings.Repeat("#\n", maxKeys), 0o600, "larger than"},
	} {
		path := filepath.Join(t.TempDir(), "keys")
		must(t, os.WriteFile(path, []byte(test.text), 0o600))
		must(t, os.Chmod(path, test.mode))
		if runtime.GOOS == "windows" && test.mode != 0o600 {
			continue
		}
		_, err := OpenKeys(path)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), id.String()[:40]) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := OpenKeys(t.TempDir()); err == nil {
		t.Error("a directory is a file of keys")
	}
	if _, err := OpenKeys(filepath.Join(t.TempDir(), "absent", "keys")); err == nil {
		t.Error("a file in no directory")
	}
}

// TestKeysTogether: whoever opens the keys for the first time, at once, has the
// same ones.
func TestKeysTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	var wg sync.WaitGroup
	all := make([]*Keys, 8)
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = OpenKeys(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range all {
		sealed, err := k.seal([]byte("x"))
		must(t, err)
		if plain, first, err := all[0].open(sealed, 10); err != nil || !first || string(plain) != "x" {
			t.Errorf("%q, %v, %v", plain, first, err)
		}
	}
}

// TestRotateTogether: of two rotations at once one may fail, but no key is lost.
func TestRotateTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	first, err := OpenKeys(path)
	must(t, err)
	var mu sync.Mutex
	var sealed [][]byte
	var wg sync.WaitGroup
	for range 8 {
		k, err := OpenKeys(path)
		must(t, err)
		wg.Go(func() {
			for range 3 {
				_ = k.Rotate() // may find another under way
				s, err := k.seal([]byte("x"))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				sealed = append(sealed, s)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, s := range sealed {
		if _, _, err := first.open(s, 10); err != nil {
			t.Error(err)
		}
	}
	must(t, os.WriteFile(path+".next", nil, 0o600)) // was interrupted
	if err := first.Rotate(); err == nil || !strings.Contains(err.Error(), "remove it and rotate again") {
		t.Error(err)
	}
}

// TestKeysOfAge: keys that age-keygen makes can be used, those against quantum computers too.
func TestKeysOfAge(t *testing.T) {
	t.Parallel()
	x, err := age.GenerateX25519Identity()
	must(t, err)
	h, err := age.GenerateHybridIdentity()
	must(t, err)
	path := filepath.Join(t.TempDir(), "keys")
	must(t, os.WriteFile(path, []byte(x.String()+"\n"), 0o600))
	k, err := OpenKeys(path)
	must(t, err)
	old, err := k.seal([]byte("x"))
	must(t, err)
	must(t, os.WriteFile(path, []byte("# new\n"+h.String()+"\n\n"+x.String()+"\n"), 0o600))
	sealed, err := k.seal([]byte("y"))
	must(t, err)
	if plain, first, err := k.open(sealed, 10); string(plain) != "y" || !first || err != nil {
		t.Errorf("%q, %v, %v", plain, first, err)
	}
	if plain, first, err := k.open(old, 10); string(plain) != "x" || first || err != nil {
		t.Errorf("%q, %v, %v", plain, first, err)
	}
	if _, _, err := k.open(old, 0); err == nil {
		t.Error("more was opened than the limit")
	}
}
