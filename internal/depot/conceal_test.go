package depot

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

const hidden = "s3cr3t-value-of-it"

func masker() *secret.Masker {
	m := new(secret.Masker)
	m.Add(hidden)
	return m
}

func read(t *testing.T, d *Depot, digest string) string {
	t.Helper()
	r, err := d.blobs.Open(t.Context(), blob.Digest(digest))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestConceal(t *testing.T) {
	t.Parallel()
	binary := "\x7fELF\x00\x01" + hidden + "\x00"
	inner := zipped(t, map[string]string{"a": hidden})
	for name, c := range map[string]struct {
		text  string
		shown *record.Shown // without its digest and size
		given string        // of a text
	}{
		"nothing to hide":      {text: "all is well\n"},
		"empty":                {},
		"a text":               {"token=" + hidden + "\n", &record.Shown{Masked: 1}, "token=***\n"},
		"a text, encoded":      {"Authorization: Basic dXNlcjpzM2NyM3QtdmFsdWUtb2YtaXQ=\n", &record.Shown{Masked: 1}, ""},
		"far in":               {strings.Repeat("x\n", 1<<17) + hidden, &record.Shown{Masked: 1}, strings.Repeat("x\n", 1<<17) + "***"},
		"binary":               {text: binary, shown: &record.Shown{Holds: 1}},
		"a zip of nothing":     {text: zipped(t, map[string]string{"a": "x"})},
		"a zip of binary":      {text: zipped(t, map[string]string{"a": binary}), shown: &record.Shown{Holds: 1}},
		"no zip at all":        {"PKG=" + hidden, &record.Shown{Masked: 1}, "PKG=***"},
		"half a zip":           {text: inner[:len(inner)-9]}, // what is compressed is not found
		"what is only in it":   {text: zipped(t, map[string]string{"jar": inner})},
		"binary that is no PK": {text: "PK\x00" + hidden, shown: &record.Shown{Holds: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t, t.TempDir())
			digest, _ := put(t, d, c.text)
			shown, err := d.Conceal(t.Context(), masker(), string(digest))
			if err != nil || (shown == nil) != (c.shown == nil) {
				t.Fatalf("shown %+v, %v", shown, err)
			}
			if got := read(t, d, string(digest)); got != c.text {
				t.Error("the true bytes are no more")
			}
			if shown == nil {
				return
			}
			if shown.Masked != c.shown.Masked || shown.Holds != c.shown.Holds || (shown.Digest != "") != (c.shown.Masked > 0) {
				t.Fatalf("shown %+v, want %+v", shown, c.shown)
			}
			if shown.Digest != "" {
				got := read(t, d, shown.Digest)
				if masker().Holds(got) || c.given != "" && got != c.given || int64(len(got)) != shown.Size {
					t.Errorf("given %q (%d bytes)", got[:min(len(got), 200)], shown.Size)
				}
			}
		})
	}
}

// TestConcealZip: entries of a zip are masked one by one; all else about it stays.
func TestConcealZip(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "ws")
	binary := "\x00" + hidden
	depottest.Plant(t, dir, map[string]string{"run.sh": "curl -H " + hidden, "sub/plain": "plain", "bin": binary, "link": "-> run.sh", "to-" + hidden: "x", "empty/": ""})
	if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := newDepot(t, top)
	list, err := Choose([]string{"."}, nil, func(p string) string { return filepath.Join(dir, p) }).Glob(Search{Descend: true, Links: true})
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := d.Zip(t.Context(), list, Zip{Root: dir, Level: 6, Modes: true})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := d.Conceal(t.Context(), masker(), string(digest))
	if err != nil || shown == nil || shown.Masked != 2 || shown.Holds != 1 {
		t.Fatalf("shown %+v, %v", shown, err)
	}
	out := filepath.Join(top, "out")
	a := &Artifact{Name: "a", Digest: blob.Digest(shown.Digest), Type: ZipType}
	if _, err := d.Fetch(t.Context(), a, Fetch{Dir: out, Temp: top, Modes: true}); err != nil {
		t.Fatal(err)
	}
	want := depottest.List(t, dir)
	want["run.sh"], want["to-***"] = "curl -H ***", want["to-"+hidden]
	delete(want, "to-"+hidden)
	if got := depottest.List(t, out); !maps.Equal(got, want) {
		t.Errorf("people are given %q, want %q", got, want)
	}
	if info, err := os.Stat(filepath.Join(out, "run.sh")); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(d.index, ".conceal-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestConcealHostile: what a job uploads may be made to harm; it is looked through within limits.
func TestConcealHostile(t *testing.T) {
	t.Parallel()
	d := newDepot(t, t.TempDir())
	whole := zipped(t, map[string]string{"a": strings.Repeat("x", 1000) + hidden, "b": "y"})
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		bad := []byte(whole)
		for range 1 + r.IntN(4) {
			bad[2+r.IntN(len(bad)-2)] = byte(r.Uint32())
		}
		digest, _ := put(t, d, string(bad))
		shown, err := d.Conceal(t.Context(), masker(), string(digest))
		if err == nil && shown != nil && shown.Digest != "" && masker().Holds(read(t, d, shown.Digest)) {
			t.Fatalf("%q shows the secret", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	digest, _ := put(t, d, whole)
	if _, err := d.Conceal(ctx, masker(), string(digest)); err == nil {
		t.Error("it went on after its end")
	}
	for _, none := range []string{"", "sha256:1", string(blob.Of([]byte("not there")))} {
		if _, err := d.Conceal(t.Context(), masker(), none); err == nil {
			t.Errorf("%q was looked through", none)
		}
		if shown, err := d.Conceal(t.Context(), new(secret.Masker), none); shown != nil || err != nil {
			t.Errorf("with no secret known: %+v, %v", shown, err)
		}
	}
}
