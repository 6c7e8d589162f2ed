package secret_test

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// TestDumpHoldsNoSecret is the theft of a database: what is in its files is of
// no use without the key, and with another key it is said what is wrong.
func TestDumpHoldsNoSecret(t *testing.T) {
	t.Parallel()
	dir, keyDir := t.TempDir(), t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.OpenKeys(filepath.Join(keyDir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	v := &secret.Vault{Registers: s, Keys: keys}
	by := secret.By{Name: "ada", Via: "session"}
	canaries := []string{"canary-of-the-organisation", "canary-of-the-repository", "canary-of-production", "canary-of-the-hook", "canary-that-was-replaced", "canary-that-was-removed"}
	app, prod := secret.Scope{Repository: "team/app"}, secret.Scope{Repository: "team/app", Environment: "production"}
	for _, set := range []struct {
		scope       secret.Scope
		name, value string
	}{
		{secret.Scope{}, "A", canaries[0]}, {app, "A", canaries[4]}, {app, "A", canaries[1]}, {prod, "A", canaries[2]}, {app, "$HOOK", canaries[3]}, {app, "GONE", canaries[5]},
	} {
		if err := v.Set(t.Context(), by, set.scope, set.name, []byte(set.value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Remove(t.Context(), by, app, "GONE"); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Resolve(t.Context(), "team/app", "production", []string{"A", "GONE"}); err != nil || len(got) != 1 || got["A"] != canaries[2] {
		t.Errorf("%q, %v", got, err)
	}
	if list, err := v.List(t.Context(), "team/app"); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
	if err := keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	if n, err := v.Reseal(t.Context(), by); n != 4 || err != nil {
		t.Errorf("Reseal: %d, %v", n, err)
	}
	if n, err := v.RemoveAll(t.Context(), by, "team/app"); n != 3 || err != nil {
		t.Errorf("RemoveAll: %d, %v", n, err)
	}

	files := 0
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		for _, c := range canaries {
			for _, form := range []string{c, base64.StdEncoding.EncodeToString([]byte(c))[:24], "AGE-SECRET-KEY"} {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("%s holds %s", filepath.Base(name), form)
				}
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
