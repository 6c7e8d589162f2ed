package depot

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
)

// tarball makes an archive of headers. A size is filled with the letter x.
func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	for name, entries := range map[string][]tar.Header{
		"up":                          {dir("0"), file("0/../outside/f")},
		"up at once":                  {file("../outside/f")},
		"up inside":                   {dir("0"), file("0/a/../../../outside/f")},
		"absolute":                    {file("/outside/f")},
		"absolute below a root":       {file("0//outside/f")},
		"no root":                     {file("f")},
		"a root that is not there":    {file("7/f")},
		"a negative root":             {file("-1/f")},
		"a root in other digits":      {file("00/f")},
		"an empty name":               {file("0/./f")},
		"through a link out":          {dir("0"), link("0/l", "../outside"), file("0/l/f")},
		"through an absolute link":    {dir("0"), link("0/l", "/tmp"), file("0/l/f")},
		"through two links":           {dir("0"), link("0/a", ".."), link("0/b", "a/outside"), file("0/b/f")},
		"a directory through a link":  {dir("0"), link("0/l", "../outside"), dir("0/l/d")},
		"a link through a link":       {dir("0"), link("0/l", "../outside"), link("0/l/m", "x")},
		"a hard link":                 {dir("0"), {Typeflag: tar.TypeLink, Name: "0/h", Linkname: "/etc/passwd"}},
		"a device":                    {dir("0"), {Typeflag: tar.TypeChar, Name: "0/null", Devmajor: 1, Devminor: 3}},
		"a block device":              {{Typeflag: tar.TypeBlock, Name: "0/sda", Devmajor: 8}},
		"a pipe":                      {dir("0"), {Typeflag: tar.TypeFifo, Name: "0/p"}},
		"a long name":                 {file("0/" + strings.Repeat("n/", 3000) + "f")},
		"a file in place of a folder": {dir("0/d"), file("0/d")},
		"a file in place of the root": {dir("1"), file("1/keep"), file("1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			depottest.Plant(t, top, map[string]string{"outside/": "", "root/": ""})
			roots := []string{filepath.Join(top, "root", "zero"), filepath.Join(top, "root", "one")}
			if _, err := unpack(t.Context(), bytes.NewReader(tarball(t, entries...)), roots); err == nil {
				t.Error("it was unpacked")
			}
			for f := range depottest.List(t, top) {
				if f != "outside/" && !strings.HasPrefix(f, "root/") {
					t.Errorf("%s was made", f)
				}
			}
		})
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "not zstd": []byte("PK\x03\x04"), "cut": tarball(t, file("0/f"))[:20],
		"a tail that never ends": append(tarball(t, file("0/f")), tarball(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 4 << 20})...),
	} {
		if _, err := unpack(t.Context(), bytes.NewReader(data), []string{t.TempDir()}); err == nil && name != "nothing" {
			t.Errorf("%s was unpacked", name)
		}
	}
	// A setuid bit is not kept.
	root := t.TempDir()
	h := file("0/f")
	h.Mode = 0o6755
	if _, err := unpack(t.Context(), bytes.NewReader(tarball(t, dir("0"), h)), []string{root}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "f")); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add("0/a", "../x", byte(tar.TypeReg), "0/b", "", byte(tar.TypeSymlink), []byte(nil))
	f.Add("0/l", "..", byte(tar.TypeSymlink), "0/l/f", "", byte(tar.TypeReg), []byte(nil))
	f.Add("1", "/", byte(tar.TypeSymlink), "1/etc", "", byte(tar.TypeDir), []byte("raw"))
	f.Fuzz(func(t *testing.T, name1, link1 string, type1 byte, name2, link2 string, type2 byte, raw []byte) {
		top := t.TempDir()
		roots := []string{filepath.Join(top, "root", "zero"), filepath.Join(top, "root", "one")}
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		for _, h := range []*tar.Header{{Name: name1, Linkname: link1, Typeflag: type1, Mode: 0o777}, {Name: name2, Linkname: link2, Typeflag: type2, Mode: 0o777}} {
			if w.WriteHeader(h) != nil {
				return
			}
		}
		if errors.Join(w.Close(), z.Close()) != nil {
			return
		}
		for _, data := range [][]byte{b.Bytes(), raw} {
			if _, err := unpack(context.Background(), bytes.NewReader(data), roots); err != nil {
				continue
			}
		}
		entries, err := os.ReadDir(top)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "root" {
				t.Errorf("%s was made outside", e.Name())
			}
		}
	})
}

func benchmarkTree(b *testing.B) (*Depot, Patterns, []Found) {
	dir := b.TempDir()
	data := bytes.Repeat([]byte("some text that can be compressed, as caches can be\n"), 200)
	for i := range 1000 {
		depottest.Plant(b, dir, map[string]string{fmt.Sprintf("deps/%d/%d/file", i%10, i): string(data)})
	}
	ps := ParsePatterns([]string{"deps"}, func(p string) string { return filepath.Join(dir, p) })
	list, err := ps.Glob(Search{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(1000 * len(data)))
	return newDepot(b, b.TempDir()), ps, list
}

func BenchmarkPack(b *testing.B) {
	d, ps, list := benchmarkTree(b)
	for b.Loop() {
		if _, _, _, err := d.Pack(b.Context(), ps.Roots(), list, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	d, ps, list := benchmarkTree(b)
	digest, _, _, err := d.Pack(b.Context(), ps.Roots(), list, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.Unpack(b.Context(), digest, ps.Roots()); err != nil {
			b.Fatal(err)
		}
	}
}
