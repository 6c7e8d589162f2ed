package disk_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob/disk"
)

// The file system is that of TMPDIR.

func BenchmarkPut(b *testing.B) {
	for kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			s := openKind(b, kind, b.TempDir())
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint64(data, uint64(i))
				if _, _, err := s.Put(b.Context(), bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// few is how many files a step's outputs often are.
const few = 6000

// small are different files of 4 KiB.
func small(i int) []byte {
	data := make([]byte, 4<<10)
	binary.BigEndian.PutUint64(data, uint64(i))
	return data
}

// BenchmarkPutSmall puts in thousands of small blobs: new ones, the same ones
// again, and again when they were not used for long.
func BenchmarkPutSmall(b *testing.B) {
	put := func(b *testing.B, s *disk.Store) {
		parallel(b, few, func(i int) error {
			_, _, err := s.Put(b.Context(), bytes.NewReader(small(i)))
			return err
		})
	}
	for kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := openKind(b, kind, b.TempDir())
				b.StartTimer()
				put(b, s)
			}
		})
	}
	b.Run("again", func(b *testing.B) {
		s := openKind(b, "relaxed", b.TempDir())
		put(b, s)
		for b.Loop() {
			put(b, s)
		}
	})
	b.Run("again, later", func(b *testing.B) {
		dir := b.TempDir()
		s := openKind(b, "relaxed", dir)
		put(b, s)
		for b.Loop() {
			b.StopTimer()
			ageAll(dir)
			b.StartTimer()
			put(b, s)
		}
	})
}

func parallel(b *testing.B, n int, do func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
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
