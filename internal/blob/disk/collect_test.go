package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/blobtest"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
)

// put stores blobs of 8 KiB that were last used 1, 2, 3 … hours ago.
func put(t *testing.T, dir string, s *disk.Store, n int) (digests []blob.Digest) {
	t.Helper()
	for i := range n {
		d, _, err := s.Put(t.Context(), bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 8<<10)))
		if err != nil {
			t.Fatal(err)
		}
		age(t, pathOf(dir, d), time.Duration(i+1)*time.Hour)
		digests = append(digests, d)
	}
	return digests
}

func age(t testing.TB, path string, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// left are the indices of the blobs that are there.
func left(t *testing.T, dir string, digests []blob.Digest) (here []int) {
	t.Helper()
	for i, d := range digests {
		if _, err := os.Stat(pathOf(dir, d)); err == nil {
			here = append(here, i)
		}
	}
	return here
}

func TestCollect(t *testing.T) {
	t.Parallel()
	const k = 1 << 10
	for name, tt := range map[string]struct {
		limit int64
		keep  []int
		want  []int
		held  int64
	}{
		"under the limit":       {limit: 80 * k, want: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"a byte over it":        {limit: 80*k - 1, want: []int{0, 1, 2, 3, 4, 5, 6, 7}}, // nine tenths are 72 KiB less a little
		"half":                  {limit: 40 * k, want: []int{0, 1, 2, 3}},
		"the oldest are needed": {limit: 40 * k, keep: []int{8, 9}, want: []int{0, 1, 8, 9}, held: 2},
		"nothing shall stay":    {limit: 0, want: nil},
		"all are needed":        {limit: 0, keep: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, want: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, held: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			digests := put(t, dir, s, 10)
			c, err := s.Collect(t.Context(), func(d blob.Digest) bool { return slices.Contains(tt.keep, slices.Index(digests, d)) }, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			if got := left(t, dir, digests); !slices.Equal(got, tt.want) {
				t.Errorf("left are %v, want %v", got, tt.want)
			}
			n := int64(len(tt.want))
			if c.Left.Blobs != n || c.Left.Bytes != n*8*k || c.Removed.Blobs != 10-n || c.Held.Blobs != tt.held {
				t.Errorf("Collect = %+v", c)
			}
			if u, err := s.Usage(t.Context()); err != nil || u != c.Left {
				t.Errorf("Usage = %+v, %v; want %+v", u, err, c.Left)
			}
		})
	}
}

// TestUseSavesFromCollect uses old blobs in every way there is.
func TestUseSavesFromCollect(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		uses := []func(i int, d blob.Digest) error{
			func(i int, d blob.Digest) error {
				r, err := s.Open(t.Context(), d)
				if err == nil {
					err = r.Close()
				}
				return err
			},
			func(i int, d blob.Digest) error { _, err := s.CopyTo(t.Context(), d, file(t, nil)); return err },
			func(i int, d blob.Digest) error { _, err := s.Missing(t.Context(), []blob.Digest{d}); return err },
			func(i int, d blob.Digest) error {
				_, _, err := s.Put(t.Context(), bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 8<<10)))
				return err
			},
			func(i int, d blob.Digest) error {
				_, _, err := s.PutFile(t.Context(), file(t, bytes.Repeat([]byte{byte(i)}, 8<<10)))
				return err
			},
		}
		digests := put(t, dir, s, len(uses)+2)
		for i, use := range uses {
			if err := use(i, digests[i]); err != nil {
				t.Fatal(err)
			}
		}
		// A use that comes after the blobs were listed, too.
		late := digests[len(uses)]
		c, err := s.Collect(t.Context(), func(d blob.Digest) bool {
			if d == late {
				if gone, err := s.Missing(t.Context(), []blob.Digest{late}); err != nil || len(gone) != 0 {
					t.Errorf("Missing = %v, %v", gone, err)
				}
			}
			return false
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := []int{0, 1, 2, 3, 4, 5}
		if got := left(t, dir, digests); !slices.Equal(got, want) || c.Held.Blobs != 6 {
			t.Errorf("left are %v, want %v; %+v", got, want, c)
		}
		if v, err := s.Verify(t.Context(), nil); err != nil || v.Blobs != 6 {
			t.Errorf("Verify = %+v, %v", v, err)
		}
	})
}

// TestTimesAreNotWrittenForNothing uses a blob that was used a little ago.
func TestTimesAreNotWrittenForNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	d := put(t, dir, s, 1)[0]
	age(t, pathOf(dir, d), 5*time.Minute)
	before, err := os.Stat(pathOf(dir, d))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Missing(t.Context(), []blob.Digest{d}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(pathOf(dir, d)); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the time was written: %v, %v", after, err)
	}
	if _, err := s.Collect(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := left(t, dir, []blob.Digest{d}); len(got) != 1 {
		t.Error("what was used a few minutes ago was collected")
	}
}

// TestClockGoneWrong has a blob from the far future: it is not safe forever.
func TestClockGoneWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	digests := put(t, dir, s, 2)
	for _, d := range digests {
		age(t, pathOf(dir, d), -1000*time.Hour)
	}
	if _, err := s.Missing(t.Context(), digests[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := left(t, dir, digests); !slices.Equal(got, []int{0}) {
		t.Errorf("left are %v, want the one that was used", got)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir)
	check := func(blobs, bytes int64) {
		t.Helper()
		// Times of directories are trusted when they are not just now.
		shards, err := filepath.Glob(filepath.Join(dir, "sha256", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, s := range []*disk.Store{s, other} {
				if u, err := s.Usage(t.Context()); err != nil || u.Blobs != blobs || u.Bytes != bytes {
					t.Fatalf("Usage = %+v, %v; want %d blobs of %d bytes", u, err, blobs, bytes)
				}
			}
			for _, shard := range shards {
				age(t, shard, time.Minute+time.Duration(rand.IntN(1e9)))
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "usage")); err != nil && blobs > 0 {
			t.Errorf("what was listed is not kept: %v", err)
		}
	}
	check(0, 0)
	digests := put(t, dir, s, 5)
	check(5, 40<<10)
	if _, _, err := other.Put(t.Context(), strings.NewReader("a small one takes a block")); err != nil {
		t.Fatal(err)
	}
	check(6, 44<<10)
	if _, err := s.Collect(t.Context(), nil, 20<<10); err != nil {
		t.Fatal(err)
	}
	check(2, 12<<10)
	if got := left(t, dir, digests); !slices.Equal(got, []int{0}) {
		t.Errorf("left are %v", got)
	}
	good, err := os.ReadFile(filepath.Join(dir, "usage"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("blobs 1\n"), good[:len(good)-1], append(slices.Clone(good), 0), make([]byte, len(good)), bytes.Replace(good, []byte{16}, []byte{17}, 1)} {
		if err := os.WriteFile(filepath.Join(dir, "usage"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		check(2, 12<<10)
	}
	// What is not a blob is nobody's business.
	for _, name := range []string{"README", strings.Repeat("x", 62), strings.Repeat("A", 62)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(pathOf(dir, digests[0])), name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check(2, 12<<10)
	if _, err := s.Collect(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	check(1, 4<<10) // the small one is new
}

func TestVerify(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		digests := put(t, dir, s, 20)
		big, n, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		bad := []blob.Digest{digests[3], digests[17], big}
		for _, d := range bad {
			f := pathOf(dir, d)
			if err := os.Chmod(f, 0o600); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-1] ^= 1
			if err := os.WriteFile(f, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(bad)
		all := 20*8<<10 + n
		var last int64
		v, err := s.Verify(t.Context(), func(done, total int64) {
			if total != all || done < last || done > total {
				t.Errorf("progress(%d, %d) after %d of %d", done, total, last, all)
			}
			last = done
		})
		if err != nil || v.Blobs != 21 || v.Bytes != all || last != all || !slices.Equal(v.Corrupt, bad) {
			t.Errorf("Verify = %+v, %v; progress to %d of %d", v, err, last, all)
		}
		if gone, err := s.Missing(t.Context(), bad); err != nil || len(gone) != 3 {
			t.Errorf("Missing = %v, %v", gone, err)
		}
		if v, err := s.Verify(t.Context(), nil); err != nil || v.Blobs != 18 || v.Corrupt != nil {
			t.Errorf("Verify again = %+v, %v", v, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Verify = %v, want context.Canceled", err)
		}
	})
}

func TestOldDamageIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "corrupt"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, days := range map[string]time.Duration{"old": 40, "new": 3} {
		path := filepath.Join(dir, "corrupt", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		age(t, path, days*24*time.Hour)
	}
	if _, err := s.Collect(t.Context(), nil, 1<<30); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "corrupt"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("corrupt holds %v, %v", entries, err)
	}
}

func TestLossy(t *testing.T) {
	bothKinds(t, func(t *testing.T, dir string, s *disk.Store) {
		blobtest.Lossy(t, s, func() error {
			ageAll(dir)
			_, err := s.Collect(t.Context(), nil, 100<<10)
			return err
		})
		whole(t, dir, s)
	})
}

// ageAll makes all blobs so old that they may be collected.
func ageAll(dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "sha256", "*", "*"))
	for i, path := range paths {
		then := time.Now().Add(-time.Duration(i+1) * time.Hour)
		os.Chtimes(path, then, then) // it may be gone
	}
}

// whole checks that every blob that is there is whole.
func whole(t *testing.T, dir string, s *disk.Store) {
	t.Helper()
	for _, path := range blobs(t, dir) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(filepath.Dir(path)) + filepath.Base(path); blob.Of(data).Hex() != name {
			t.Errorf("%s holds bytes with another digest", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "corrupt")); err == nil {
		t.Error("a blob was found to be damaged")
	}
	if v, err := s.Verify(t.Context(), nil); err != nil || v.Corrupt != nil {
		t.Errorf("Verify = %+v, %v", v, err)
	}
}

// TestProcesses has several processes at once put in, read and collect in one
// directory, and kills them in the middle of it, again and again: whatever is
// visible under a digest, at any time, must have it.
func TestProcesses(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("BLOB_WORKER"); dir != "" {
		work(dir, os.Getenv("BLOB_WORK"))
	}
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openKind(t, kind, dir)
			for round := range 4 {
				var cmds []*exec.Cmd
				var outs []io.Reader
				for _, work := range []string{"put", "put", "collect"} {
					cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
					cmd.Env = append(os.Environ(), "BLOB_WORKER="+dir, "BLOB_WORK="+kind+" "+work)
					cmd.Stderr = os.Stderr
					out, err := cmd.StdoutPipe()
					if err != nil {
						t.Fatal(err)
					}
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					cmds, outs = append(cmds, cmd), append(outs, out)
				}
				// One byte comes for every deed that is done.
				for i, cmd := range cmds {
					if _, err := io.ReadFull(outs[i], make([]byte, 3+round*7)); err != nil {
						t.Error(err)
					}
					if err := cmd.Process.Kill(); err != nil {
						t.Error(err)
					}
				}
				for _, cmd := range cmds {
					cmd.Wait() // it was killed
				}
				whole(t, dir, s)
			}
			if _, _, err := s.Put(t.Context(), strings.NewReader("still works")); err != nil {
				t.Error(err)
			}
		})
	}
}

// work is what the processes of TestProcesses do until they are killed.
func work(dir, what string) {
	kind, what, _ := strings.Cut(what, " ")
	s, err := kinds[kind](dir)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		if what == "collect" {
			ageAll(dir)
			_, err = s.Collect(ctx, func(blob.Digest) bool { return false }, 2<<20)
		} else {
			err = workPut(ctx, s, i)
		}
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString("x")
	}
}

func workPut(ctx context.Context, s *disk.Store, i int) error {
	// Some blobs are everybody's; some are small, some are large.
	text := strings.Repeat(fmt.Sprintf("%d %d;", i%50, os.Getpid()*(i%2)), 1+i%7*20_000)
	d, _, err := s.Put(ctx, strings.NewReader(text))
	if err != nil {
		return err
	}
	r, err := s.Open(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // collected
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		return fmt.Errorf("%d bytes came back as %d bytes, %w", len(text), len(got), err)
	}
	return nil
}
