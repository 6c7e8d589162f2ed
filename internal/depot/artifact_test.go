package depot

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
)

func TestArtifactsOfAJob(t *testing.T) {
	t.Parallel()
	d := newDepot(t, t.TempDir())
	digest, n := put(t, d, "x")
	for _, a := range []*Artifact{
		{Run: "1", Job: "build", Name: "default", Own: true}, {Run: "1", Job: "test", Name: "default", Own: true},
		{Run: "1", Job: "test", Name: "default"}, {Run: "2", Job: "test", Name: "default", Own: true},
	} {
		a.Digest, a.Size = digest, n
		if err := d.AddArtifact(a, false); err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		if err := d.AddArtifact(a, false); !errors.Is(err, ErrTaken) {
			t.Errorf("%+v again: %v", a, err)
		}
	}
	all, err := d.Artifacts(t.Context(), "1")
	if err != nil || len(all) != 3 || all[0].Job != "build" {
		t.Errorf("the run has %+v, %v", all, err)
	}
	own, err := d.Own("1", "build", "default")
	if err != nil || own == nil || own.Job != "build" {
		t.Fatalf("own: %+v, %v", own, err)
	}
	if err := d.RemoveArtifact(own); err != nil {
		t.Fatal(err)
	}
	if own, err := d.Own("1", "build", "default"); own != nil || err != nil {
		t.Errorf("removed: %+v, %v", own, err)
	}
	if a, err := d.Artifact("1", "default"); err != nil || a == nil || a.Own {
		t.Errorf("the run's: %+v, %v", a, err)
	}
	if _, err := d.Artifact("../1", "default"); err == nil {
		t.Error("a run that is none has artifacts")
	}
}

func TestInherit(t *testing.T) {
	t.Parallel()
	d := newDepot(t, t.TempDir())
	began := time.Unix(1000, 0)
	for _, a := range []*Artifact{{Run: "1", Job: "a", Name: "x", Began: began}, {Run: "1", Job: "b", Name: "y", Own: true, Began: began}, {Run: "2", Job: "b", Name: "y", Own: true}} {
		a.Digest, a.Size = put(t, d, a.Run)
		if err := d.AddArtifact(a, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Inherit(t.Context(), "2", "1"); err != nil {
		t.Fatal(err)
	}
	x, err := d.Artifact("2", "x")
	if err != nil || x == nil || x.Run != "2" || x.Digest != blob.Of([]byte("1")) {
		t.Errorf("inherited %+v, %v", x, err)
	}
	if y, err := d.Own("2", "b", "y"); err != nil || y.Digest != blob.Of([]byte("2")) {
		t.Errorf("what it has of its own: %+v, %v", y, err)
	}
	// The job is run again after all.
	again := &Artifact{Run: "2", Job: "a", Name: "x", Began: began.Add(1)}
	if err := d.AddArtifact(again, false); err != nil {
		t.Error(err)
	}
	if err := d.Inherit(t.Context(), "3", "none"); err == nil {
		t.Error("of a run that is none")
	}
}

func TestZipThatKeepsModes(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "ws")
	depottest.Plant(t, dir, map[string]string{"bin/app": "app", "bin/ro": "ro", "link": "-> bin/app", "far": "-> /etc/hostname", "empty/": "", "b\\s": "b"})
	for name, mode := range map[string]fs.FileMode{"bin/app": 0o755, "bin/ro": 0o444} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	d := newDepot(t, top)
	list1, err := Choose([]string{"."}, nil, func(p string) string { return filepath.Join(dir, p) }).Glob(Search{Descend: true, Links: true})
	if err != nil {
		t.Fatal(err)
	}
	a := &Artifact{Run: "1", Job: "j", Name: "a", Type: ZipType}
	if a.Digest, a.Size, err = d.Zip(t.Context(), list1, Zip{Root: dir, Level: 6, Modes: true}); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(top, "out")
	for range 2 { // over what is there too
		if n, err := d.Fetch(t.Context(), a, Fetch{Dir: out, Temp: top, Modes: true}); err != nil || n != 5 {
			t.Fatalf("%d files, %v", n, err)
		}
	}
	if got, want := depottest.List(t, out), depottest.List(t, dir); !maps.Equal(got, want) {
		t.Errorf("unpacked %v, want %v", got, want)
	}
	for name, mode := range map[string]fs.FileMode{"bin/app": 0o755, "bin/ro": 0o444} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := d.Fetch(t.Context(), a, Fetch{Dir: filepath.Join(top, "strict"), Temp: top}); !errors.Is(err, ErrHostile) {
		t.Errorf("links where none are expected: %v", err)
	}
	if data, err := d.ReadFile(t.Context(), a, "./bin/app", top, 10); err != nil || string(data) != "app" {
		t.Errorf("one file: %q, %v", data, err)
	}
	if _, err := d.ReadFile(t.Context(), a, "bin/app", top, 2); err == nil {
		t.Error("a file over the limit was read")
	}
	if _, err := d.ReadFile(t.Context(), a, "nope", top, 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not in it: %v", err)
	}
}

func TestHostileZips(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]func(*zip.FileHeader){
		"up":             func(h *zip.FileHeader) { h.Name = "../outside" },
		"up inside":      func(h *zip.FileHeader) { h.Name = "a/../../outside" },
		"absolute":       func(h *zip.FileHeader) { h.Name = "/outside" },
		"backslashes":    func(h *zip.FileHeader) { h.Name = `..\outside` },
		"a symlink":      func(h *zip.FileHeader) { h.Name = "l"; h.SetMode(fs.ModeSymlink | 0o777) },
		"a device":       func(h *zip.FileHeader) { h.Name = "d"; h.SetMode(fs.ModeDevice | 0o777) },
		"through a link": func(h *zip.FileHeader) { h.Name = "link/f" },
		"a nul":          func(h *zip.FileHeader) { h.Name = "a\x00b" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			h := &zip.FileHeader{Name: "x"}
			header(h)
			w, err := z.CreateHeader(h)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte("/etc/passwd")); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			top := t.TempDir()
			depottest.Plant(t, top, map[string]string{"root/link": "-> ../other", "other/": ""})
			root, err := os.OpenRoot(filepath.Join(top, "root"))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			for _, modes := range []bool{false, true} {
				n, err := unzip(t.Context(), root, bytes.NewReader(b.Bytes()), int64(b.Len()), modes)
				if harmless := modes && (name == "backslashes" || name == "a symlink"); (err == nil && n > 0) != harmless {
					t.Errorf("with modes %t unpacked %d files: %v", modes, n, err)
				}
			}
			for _, n := range []string{"l", `..\outside`} { // what is harmless, within the root
				if err := root.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
			if got := depottest.List(t, top); len(got) != 2 {
				t.Errorf("made %v", got)
			}
		})
	}
}

func FuzzUnzip(f *testing.F) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"a/b", "../x", "a"} {
		if w, err := z.Create(name); err != nil {
			f.Fatal(err)
		} else if _, err := w.Write([]byte("text")); err != nil {
			f.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		root, err := openRoot(filepath.Join(top, "root"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		for _, modes := range []bool{false, true} {
			if n, err := unzip(t.Context(), root, bytes.NewReader(data), int64(len(data)), modes); err != nil && n < 0 {
				t.Error(err)
			}
		}
		if entries, err := os.ReadDir(top); err != nil || len(entries) != 1 {
			t.Errorf("outside the root: %v, %v", entries, err)
		}
	})
}
