package cache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// sample is a record as a compile of so many files leaves it: most inputs are
// files of the workspace, many are looked for in vain, some are directories.
func sample(key Key, n int) *Record {
	r := &Record{
		Key: key,
		Writer: Writer{
			StepRef: record.StepRef{Run: "17", Job: "build", Step: "3", Commit: "0123456789abcdef0123456789abcdef01234567"},
			Name:    "Run make", JobName: "build", Repository: "example/project", Root: "/home/somebody/src/project",
			Pipeline: ".github/workflows/ci.yml", Scope: "local", Time: time.Unix(1_800_000_000, 123_456_789).UTC(),
		},
		Dirs: plan.Dirs{Workspace: "/home/somebody/.cache/fairlead/slots/project-0123456789/1/project", Temp: "/home/somebody/.cache/fairlead/slots/project-0123456789/1/_temp"},
		Took: 17 * time.Second, Mechanism: "seccomp", Calls: 20_000, Overhead: 100 * time.Millisecond,
		Programs: []string{"/usr/bin/gcc", "/usr/bin/make", "/usr/bin/sh"},
	}
	for i := range n {
		dir := fmt.Sprintf("%s/pkg%04d", r.Dirs.Workspace, i/20)
		in := record.Input{Path: fmt.Sprintf("%s/source_file_%02d.go", dir, i%20), Use: record.UseContent, FileState: record.FileState{
			Kind: record.Regular, Perm: 0o644, Size: int64(1000 + i*7%9000), MTime: 1_799_999_000_000_000_000 + int64(i)*1_234_567, Digest: sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}),
		}}
		switch i % 20 {
		case 0:
			in.Path, in.Use, in.FileState = dir, record.UseListed, record.FileState{Kind: record.Directory, Perm: 0o755, Digest: in.Digest}
		case 1, 2, 3:
			in.Use, in.FileState = record.UseAbsent, record.FileState{}
		}
		r.Inputs = append(r.Inputs, in)
	}
	return r
}

// onProcessor reports the processor time beside the time on the wall: on a busy
// machine it is the one that means something.
func onProcessor(b *testing.B) {
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	b.Cleanup(func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") })
}

func keyFor(i int) Key { return Meaning{Dir: fmt.Sprint(i)}.Key() }

func BenchmarkKey(b *testing.B) {
	m := Meaning{Argv: []string{"/usr/bin/bash", "-e", "/tmp/script"}, Env: map[string]string{}, Class: "linux/amd64", Version: "1.0"}
	for i := range 60 {
		m.Env[fmt.Sprintf("VARIABLE_%d", i)] = fmt.Sprintf("a value of some length %d", i)
		m.Machine = append(m.Machine, fmt.Sprintf("MACHINE_%d=a value of some length", i))
	}
	onProcessor(b)
	for b.Loop() {
		m.Key()
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{5_000, 20_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := sample(keyFor(1), n)
			onProcessor(b)
			for b.Loop() {
				data, err := encode(r)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(data))/float64(n), "B/input")
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{5_000, 20_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data, err := encode(sample(keyFor(1), n))
			if err != nil {
				b.Fatal(err)
			}
			onProcessor(b)
			for b.Loop() {
				if _, err := decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	onProcessor(b)
	for b.Loop() {
		c, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// benchCache holds a record of n inputs for each of so many keys.
func benchCache(b *testing.B, keys, n int) *Cache {
	b.Helper()
	c, err := Open(Options{Dir: filepath.Join(b.TempDir(), "cache")})
	if err != nil {
		b.Fatal(err)
	}
	r := sample("", n)
	for i := range keys {
		r.Key = keyFor(i)
		r.Writer.Job = fmt.Sprint("job ", i)
		if err := c.Add(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

func BenchmarkRecords1000(b *testing.B) {
	const keys = 1000
	for _, n := range []int{0, 30} {
		b.Run(fmt.Sprintf("%d inputs", n), func(b *testing.B) {
			c := benchCache(b, keys, n)
			all := make([]Key, keys)
			for i := range all {
				all[i] = keyFor(i)
			}
			onProcessor(b)
			for b.Loop() {
				for _, k := range all {
					for _, err := range c.Each(b.Context(), k, Local.Read) {
						if err != nil {
							b.Fatal(err)
						}
						break // the first one fits
					}
				}
			}
		})
	}
}

func BenchmarkRecordsMissing1000(b *testing.B) {
	c := benchCache(b, 1000, 0)
	onProcessor(b)
	for b.Loop() {
		for i := range 1000 {
			if r, _ := c.Records(b.Context(), keyFor(1000+i), Local.Read); len(r) > 0 {
				b.Fatal("a record out of nothing")
			}
		}
	}
}

func BenchmarkCondemned1000(b *testing.B) {
	c := benchCache(b, 1000, 0)
	k := keyFor(5)
	onProcessor(b)
	for b.Loop() {
		for range 1000 {
			if c.Condemned(k) != "" {
				b.Fatal("condemned")
			}
		}
	}
}

func BenchmarkAdd1000(b *testing.B) {
	for _, n := range []int{30, 2000} {
		b.Run(fmt.Sprintf("%d inputs", n), func(b *testing.B) {
			onProcessor(b)
			for b.Loop() {
				benchCache(b, 1000, n)
			}
		})
	}
}

func BenchmarkAddToFull(b *testing.B) {
	c := benchCache(b, 0, 0)
	r := sample(keyFor(1), 20_000)
	onProcessor(b)
	for b.Loop() {
		r.Inputs[0].Size++
		if err := c.Add(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReaders(b *testing.B) {
	c := benchCache(b, 1000, 2000)
	onProcessor(b)
	for b.Loop() {
		if r, err := c.Readers(b.Context(), "pkg0003/source_file_07.go"); err != nil || len(r) != 1000 {
			b.Fatal(len(r), err)
		}
	}
}

func BenchmarkAffected(b *testing.B) {
	c := benchCache(b, 1000, 2000)
	changed := []Changed{{Path: "pkg0003/source_file_07.go"}, {Path: "README.md", Added: true}, {Path: "pkg0009/new.go", Added: true}}
	onProcessor(b)
	for b.Loop() {
		if t, _, err := c.Affected(b.Context(), "example/project", changed); err != nil || len(t) != 1000 {
			b.Fatal(len(t), err)
		}
	}
}

func BenchmarkUsage(b *testing.B) {
	c := benchCache(b, 1000, 2000)
	onProcessor(b)
	for b.Loop() {
		if _, err := c.Usage(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// benchFacts remembers n files of one tree, and returns what stat says of them.
func benchFacts(b *testing.B, dir string, n int) (paths []string, looks []record.Look) {
	b.Helper()
	f := newFacts(dir, time.Now)
	today := dayOf(time.Now())
	for i := range n {
		path := fmt.Sprintf("/home/somebody/src/project/pkg%05d/source_file_%02d.go", i/20, i%20)
		look := record.Look{Kind: record.Regular, Perm: 0o644, Size: int64(i), MTime: int64(i) * 1000, CTime: int64(i) * 1001, Ino: uint64(i)}
		f.part(path).remember(keyOf(path), fact{size: look.Size, mtime: look.MTime, ctime: look.CTime, ino: look.Ino, day: today})
		paths, looks = append(paths, path), append(looks, look)
	}
	if err := f.save(); err != nil {
		b.Fatal(err)
	}
	f.close()
	return paths, looks
}

func BenchmarkFacts(b *testing.B) {
	for _, n := range []int{26_000, 200_000} {
		dir := filepath.Join(b.TempDir(), "facts")
		paths, looks := benchFacts(b, dir, n)
		b.Run(fmt.Sprintf("open and ask %d", n), func(b *testing.B) {
			onProcessor(b)
			for b.Loop() {
				f := newFacts(dir, time.Now)
				for i, p := range paths {
					if _, ok := f.Known(p, looks[i]); !ok {
						b.Fatal("forgotten ", p)
					}
				}
				f.close()
			}
		})
		b.Run(fmt.Sprintf("change one and save %d", n), func(b *testing.B) {
			onProcessor(b)
			for i := 0; b.Loop(); i++ {
				f := newFacts(dir, time.Now)
				f.part(paths[0]).remember(keyOf(paths[0]), fact{size: int64(i), day: dayOf(time.Now())})
				if err := f.save(); err != nil {
					b.Fatal(err)
				}
				f.close()
			}
		})
	}
}

func BenchmarkFactsParallel(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "facts")
	paths, looks := benchFacts(b, dir, 26_000)
	f := newFacts(dir, time.Now)
	onProcessor(b)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i = (i + 1) % len(paths) {
			if _, ok := f.Known(paths[i], looks[i]); !ok {
				b.Error("forgotten")
			}
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 4<<10), 0o600); err != nil {
		b.Fatal(err)
	}
	look := lookAt(b, path)
	f := newFacts(filepath.Join(b.TempDir(), "facts"), time.Now)
	b.SetBytes(4 << 10)
	onProcessor(b)
	for b.Loop() {
		if _, err := f.read(path, look); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	c := benchCache(b, 1000, 2000)
	onProcessor(b)
	for b.Loop() {
		if _, err := c.Check(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFiles1000 is what the file system alone takes for a thousand files,
// to compare BenchmarkAdd1000 with.
func BenchmarkFiles1000(b *testing.B) {
	body := make([]byte, 2500)
	onProcessor(b)
	for b.Loop() {
		dir := b.TempDir()
		for i := range 1000 {
			if err := replaceFile(filepath.Join(dir, fmt.Sprint(i)), body); err != nil {
				b.Fatal(err)
			}
		}
	}
}
