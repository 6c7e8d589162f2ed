package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// restore makes the outputs of a record real.
func (s *scene) restore(r *Record) (files int, bytes int64) {
	s.t.Helper()
	files, bytes, err := s.c.Restore(s.t.Context(), r)
	s.ok(err)
	return files, bytes
}

func TestRestore(t *testing.T) {
	t.Parallel()
	long := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	tests := []struct {
		name   string
		before func(s *scene)
		step   func(s *scene)
	}{
		{"a file", func(s *scene) {}, func(s *scene) { s.write("a", "x") }},
		{"an empty file", func(s *scene) {}, func(s *scene) { s.write("a", "") }},
		{"a file in new directories", func(s *scene) {}, func(s *scene) { s.write("a/b/c/d", "x") }},
		{"a file in temp", func(s *scene) {}, func(s *scene) { s.write("temp:a/b", "x") }},
		{"modes", func(s *scene) {}, func(s *scene) {
			for _, perm := range []uint32{0o755, 0o600, 0o444, 0o777, 0o500} {
				name := fmt.Sprintf("f%o", perm)
				s.write(name, name)
				s.chmod(name, perm)
			}
		}},
		{"times", func(s *scene) {}, func(s *scene) {
			s.write("old", "x")
			s.ok(os.Chtimes(s.path("old"), long, long))
		}},
		{"links", func(s *scene) {}, func(s *scene) {
			s.link("nowhere", "dangling")
			s.link(strings.Repeat("x/", 500), "long")
			s.write("d/f", "x")
			s.link("d", "to-directory")
			s.link("/etc/passwd", "absolute")
		}},
		{"hard links become copies", func(s *scene) {}, func(s *scene) {
			s.write("a", "x")
			s.ok(os.Link(s.path("a"), s.path("b")))
		}},
		{"directories of odd modes", func(s *scene) {}, func(s *scene) {
			s.write("d/e/f", "x")
			s.chmod("d/e", 0o500)
			s.chmod("d", 0o700)
			s.mkdir("empty")
			s.ok(os.Chtimes(s.path("empty"), long, long))
			s.chmod("empty", 0o500)
		}},
		{"a directory's mode changed", func(s *scene) { s.write("d/f", "x") }, func(s *scene) { s.write("d/g", "x"); s.chmod("d", 0o500) }},
		{"overwritten", func(s *scene) { s.write("a", "old") }, func(s *scene) { s.write("a", "new") }},
		{"mode of an input", func(s *scene) { s.write("a", "old") }, func(s *scene) { s.chmod("a", 0o755) }},
		{"removed", func(s *scene) { s.write("a", "x"); s.write("d/e/f", "x"); s.link("a", "l") }, func(s *scene) { s.remove("a"); s.remove("d"); s.remove("l") }},
		{"a file became a directory", func(s *scene) { s.write("a", "x") }, func(s *scene) { s.remove("a"); s.write("a/b", "y") }},
		{"a directory became a file", func(s *scene) { s.write("a/b/c", "x") }, func(s *scene) { s.remove("a"); s.write("a", "y") }},
		{"a directory became a link", func(s *scene) { s.write("a/b/c", "x"); s.write("o/c", "y") }, func(s *scene) { s.remove("a"); s.link("o", "a") }},
		{"a link became a directory", func(s *scene) { s.write("o/c", "x"); s.link("o", "a") }, func(s *scene) { s.remove("a"); s.write("a/c", "y") }},
		{"a link became a file", func(s *scene) { s.write("o", "x"); s.link("o", "a") }, func(s *scene) { s.remove("a"); s.write("a", "y") }},
		{"names that sort around a slash", func(s *scene) {}, func(s *scene) { s.write("a/b", "1"); s.write("a-b", "2"); s.write("a0", "3"); s.write("a b\n", "4") }},
		{"a big file", func(s *scene) {}, func(s *scene) { s.write("big", strings.Repeat("0123456789abcdef", 1<<18)) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			test.before(s)
			r := s.keep(s.saving(s.observe(func() { test.step(s) })))
			want := s.snapshot()

			for _, dir := range []string{"d/e", "d", "empty"} { // so that RemoveAll can, if not root
				os.Chmod(s.path(dir), 0o700)
			}
			s.remove("")
			s.remove("temp:")
			s.mkdir("")
			s.mkdir("temp:")
			test.before(s)
			s.restore(r)
			s.sameFiles(s.snapshot(), want)
			for i := range r.Outputs {
				o := &r.Outputs[i]
				if now := onDisk(o.Path); o.Kind != record.Nothing && now.mtime != o.MTime {
					t.Errorf("%s has the time %d, want %d", o.Path, now.mtime, o.MTime)
				}
			}
			s.restore(r) // over itself
			s.sameFiles(s.snapshot(), want)
		})
	}
}

func TestRestoreWritesOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.keep(s.saving(s.observe(func() { s.write("a", "aaa"); s.write("b", "bb"); s.link("a", "l") })))
	settle()
	for _, name := range []string{"a", "b"} {
		h := onDisk(s.path(name))
		_, err := s.c.Facts().Digest(h.from, h.look)
		s.ok(err)
	}
	if files, bytes := s.restore(r); files != 3 || bytes != 0 {
		t.Errorf("all is there: %d files, %d bytes", files, bytes)
	}
	s.write("b", "BB")
	if files, bytes := s.restore(r); files != 3 || bytes != 2 {
		t.Errorf("b is another: %d files, %d bytes", files, bytes)
	}
}

// TestRestoreDamaged: when a blob is damaged or gone nothing changes, and the
// record is dropped.
func TestRestoreDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"changed": func(path string) error { os.Chmod(path, 0o600); return os.WriteFile(path, []byte("X"), 0o600) },
		"gone":    os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("removed", "x")
			r := s.keep(s.saving(s.observe(func() { s.write("a", "aaa"); s.write("d/b", "x"); s.remove("removed") })))
			hex := blob.Of([]byte("aaa")).Hex()
			s.ok(damage(filepath.Join(s.blobs, "sha256", hex[:2], hex[2:])))
			s.remove("")
			s.write("removed", "x")
			before := s.snapshot()
			_, _, err := s.c.Restore(t.Context(), r)
			if !errors.Is(err, blob.ErrCorrupt) && !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), s.path("a")) {
				t.Errorf("Restore = %v", err)
			}
			s.sameFiles(s.snapshot(), before)
			if a := s.lookup(); a.Record != nil {
				t.Error("the record is still believed")
			}
		})
	}
}

func TestRestoreCancelled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.keep(s.saving(s.observe(func() { s.write("a", "x") })))
	s.remove("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.c.Restore(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Restore = %v", err)
	}
	s.sameFiles(s.snapshot(), nil)
}

// TestRestoreRefuses: a record may be anybody's.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.keep(s.saving(s.observe(func() { s.write("a", "x") })))
	s.remove("a")
	s.ok(os.Symlink(s.elsewhere, s.path("way-out")))
	s.write("out:kept", "x")
	file := r.Outputs[0]
	at := func(path string) []record.Output { o := file; o.Path = path; return []record.Output{o} }
	kind := func(path string, k record.FileKind, perm uint32) []record.Output {
		return []record.Output{{Path: path, FileState: record.FileState{Kind: k, Perm: perm}}}
	}
	work := s.dirs.Workspace
	for name, outputs := range map[string][]record.Output{
		"dots":                   at(work + "/../x"),
		"dots inside":            at(work + "/a/../x"),
		"relative":               at("a"),
		"empty":                  at(""),
		"root":                   kind("/", record.Directory, 0o777),
		"outside":                at("/etc/fairlead-test"),
		"the workspace, a file":  at(work),
		"the workspace, removed": kind(work, record.Nothing, 0),
		"two slashes":            at(work + "//a"),
		"trailing slash":         at(work + "/a/"),
		"NUL":                    at(work + "/a\x00b"),
		"a fifo":                 kind(work+"/a", record.Other, 0o644),
		"kind 9":                 kind(work+"/a", 9, 0o644),
		"odd mode":               kind(work+"/a", record.Directory, 1<<20),
		"through a link":         at(work + "/way-out/x"),
		"remove behind a link":   kind(work+"/way-out/kept", record.Nothing, 0),
		"out of order":           append(at(work+"/b"), at(work+"/a")...),
		"twice":                  append(at(work+"/a"), at(work+"/a")...),
		"another size":           func() []record.Output { o := at(work + "/a"); o[0].Size = 9; return o }(),
	} {
		t.Run(name, func(t *testing.T) {
			bad := *r
			bad.Outputs = outputs
			_, _, err := s.c.Restore(t.Context(), &bad)
			if err == nil && name != "remove behind a link" {
				t.Error("it was restored")
			}
			if got := onDisk(s.path("out:x")).kind; got != record.Nothing {
				t.Error("something was written behind a link")
			}
			if onDisk(s.path("out:kept")).kind != record.Regular {
				t.Error("something was removed behind a link")
			}
		})
	}
	for _, dir := range []string{"/", "relative", "/a/../b", "/tmp/"} {
		bad := *r
		bad.Dirs.Workspace = dir
		if _, _, err := s.c.Restore(t.Context(), &bad); err == nil {
			t.Errorf("with the workspace %q it was restored", dir)
		}
	}
	left, err := os.ReadDir(s.dirs.Temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// FuzzRestore restores outputs with any name and kind: nothing but what lies in
// the job's directories may change.
func FuzzRestore(f *testing.F) {
	f.Add("/a/b", byte(1), uint32(0o644), "target")
	f.Add("/../x", byte(2), uint32(0o755), "/")
	f.Add("/out/x", byte(0), uint32(0), "..")
	f.Add("/out", byte(3), uint32(0), "../../elsewhere")
	f.Add("/d/e", byte(3), uint32(0o7777), "")
	f.Fuzz(func(t *testing.T, path string, kind byte, perm uint32, body string) {
		s := newScene(t)
		s.write("out:kept", "x")
		s.ok(os.Symlink(s.elsewhere, s.path("out")))
		s.write("d/e/f", "x")
		d, n, err := s.c.Blobs().Put(t.Context(), strings.NewReader(body))
		s.ok(err)
		digest, err := sum(d)
		s.ok(err)
		r := &Record{Key: s.key, Dirs: s.dirs, Writer: Writer{Scope: "local"}, Outputs: []record.Output{{
			Path: s.dirs.Workspace + path, FileState: record.FileState{Kind: record.FileKind(kind), Perm: perm, Size: n, Digest: digest, MTime: 1},
		}}}
		_, _, err = s.c.Restore(t.Context(), r)
		if entries, _ := os.ReadDir(s.elsewhere); len(entries) != 1 || onDisk(s.path("out:kept")).size != 1 {
			t.Fatalf("%q: elsewhere holds %v", path, entries)
		}
		if entries, _ := os.ReadDir(s.dir); slices.ContainsFunc(entries, func(e os.DirEntry) bool {
			return !slices.Contains([]string{"slot", "elsewhere", "cache", "blobs", "user"}, e.Name())
		}) {
			t.Fatalf("%q: %v", path, entries)
		}
		if h := onDisk(r.Outputs[0].Path); err == nil && record.FileKind(kind) != h.kind {
			t.Fatalf("%q was restored as %d and is %d", path, kind, h.kind)
		}
	})
}

// cpCommand is the measure of restoring.
func cpCommand(from, to string) *exec.Cmd {
	return exec.Command("cp", "-r", "--reflink=auto", from, to)
}

func BenchmarkRestore(b *testing.B) {
	for _, tree := range []struct {
		name  string
		files int
		size  int64
	}{{"6000x4KB", 6000, 4 << 10}, {"1x500MB", 1, 500 << 20}} {
		b.Run(tree.name, func(b *testing.B) {
			s := newScene(b)
			r := s.keep(s.saving(s.observe(func() {
				for i := range tree.files {
					s.write(fmt.Sprintf("node_modules/p%03d/lib/f%02d.js", i/20, i%20), "")
					f, err := os.Create(s.path(fmt.Sprintf("node_modules/p%03d/lib/f%02d.js", i/20, i%20)))
					s.ok(err)
					_, err = io.CopyN(f, strings.NewReader(fmt.Sprint(i)+strings.Repeat("0123456789abcdef\n", int(tree.size/16))), tree.size)
					s.ok(err)
					s.ok(f.Close())
				}
			})))
			from := filepath.Join(s.dir, "from")
			s.ok(os.Rename(s.path("node_modules"), from))
			b.Run("restore", func(b *testing.B) {
				for b.Loop() {
					if _, _, err := s.c.Restore(b.Context(), r); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					s.remove("node_modules")
					unix.Sync()
					b.StartTimer()
				}
			})
			b.Run("cp", func(b *testing.B) {
				for b.Loop() {
					if out, err := cpCommand(from, s.path("node_modules")).CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
					b.StopTimer()
					s.remove("node_modules")
					unix.Sync()
					b.StartTimer()
				}
			})
		})
	}
}
