// Package blobtest is the conformance suite of blob.Store: what every store
// must do, whatever it keeps its bytes in. A store's own test is a call of
// [Run], of [Lossy] if it may lose blobs, and the cases that only it can have.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Run tests the stores that open returns. Each call of open must return a
// store, empty or not; the suite does not close it.
func Run(t *testing.T, open func() blob.Store) {
	t.Run("round trip", func(t *testing.T) {
		t.Parallel()
		store := open()
		for _, size := range []int{0, 1, 4095, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20, 1<<20 + 7} {
			data := random(size)
			d, n, err := store.Put(t.Context(), iotest.HalfReader(bytes.NewReader(data)))
			if err != nil || n != int64(size) || d != blob.Of(data) {
				t.Fatalf("Put of %d bytes = %s, %d, %v; want %s", size, d, n, err, blob.Of(data))
			}
			if got := read(t, store, d); !bytes.Equal(got, data) {
				t.Errorf("%d bytes came back as %d other bytes", size, len(got))
			}
		}
	})

	t.Run("the same bytes again", func(t *testing.T) {
		t.Parallel()
		store := open()
		for range 2 {
			d, n, err := store.Put(t.Context(), strings.NewReader("again"))
			if err != nil || n != 5 || d != blob.Of([]byte("again")) {
				t.Fatalf("Put = %s, %d, %v", d, n, err)
			}
		}
	})

	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		_, err := open().Open(t.Context(), blob.Of(random(32)))
		if !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open = %v, want ErrNotFound", err)
		}
	})

	t.Run("not a digest", func(t *testing.T) {
		t.Parallel()
		store := open()
		for _, d := range []blob.Digest{"", "sha256:", "sha256:../../x", "x", blob.Digest(strings.Repeat("a", 64))} {
			if r, err := store.Open(t.Context(), d); err == nil {
				r.Close()
				t.Errorf("Open(%q) succeeded", d)
			}
			if _, err := store.Missing(t.Context(), []blob.Digest{d}); err == nil {
				t.Errorf("Missing(%q) succeeded", d)
			}
		}
	})

	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		store := open()
		here, _, err := store.Put(t.Context(), strings.NewReader("here"))
		if err != nil {
			t.Fatal(err)
		}
		a, b := blob.Of(random(33)), blob.Of(random(34))
		got, err := store.Missing(t.Context(), []blob.Digest{b, here, a, b})
		if err != nil || !slices.Equal(got, []blob.Digest{b, a}) {
			t.Errorf("Missing = %v, %v; want %v", got, err, []blob.Digest{b, a})
		}
		if got, err := store.Missing(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("Missing of nothing = %v, %v", got, err)
		}
	})

	t.Run("a reader that fails", func(t *testing.T) {
		t.Parallel()
		store := open()
		oops := errors.New("oops")
		data := random(100_000)
		_, _, err := store.Put(t.Context(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(oops)))
		if !errors.Is(err, oops) {
			t.Errorf("Put = %v, want the reader's error", err)
		}
		if gone, err := store.Missing(t.Context(), []blob.Digest{blob.Of(data)}); err != nil || len(gone) != 1 {
			t.Errorf("half a blob was kept: Missing = %v, %v", gone, err)
		}
	})

	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		store := open()
		ctx, cancel := context.WithCancel(t.Context())
		data := random(1 << 20)
		// The context ends while the bytes flow.
		r := io.MultiReader(bytes.NewReader(data[:1<<19]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), bytes.NewReader(data[1<<19:]))
		if _, _, err := store.Put(ctx, r); !errors.Is(err, context.Canceled) {
			t.Errorf("Put = %v, want context.Canceled", err)
		}
		if gone, err := store.Missing(t.Context(), []blob.Digest{blob.Of(data)}); err != nil || len(gone) != 1 {
			t.Errorf("a cancelled blob was kept: Missing = %v, %v", gone, err)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		store := open()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 8 {
					// Half of the blobs are everybody's, half are one's own.
					text := fmt.Sprintf("blob %d of %d", j, i*(j%2))
					d, _, err := store.Put(t.Context(), strings.NewReader(text))
					if err != nil {
						t.Errorf("Put: %v", err)
						return
					}
					if got := read(t, store, d); string(got) != text {
						t.Errorf("%q came back as %q", text, got)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Lossy tests that a store which loses blobs loses them whole: while lose
// removes whatever it may, again and again, other goroutines put in, ask and
// read. How many are lost is not tested.
func Lossy(t *testing.T, store blob.Store, lose func() error) {
	const workers, rounds, blobs = 4, 60, 12
	texts := make([]string, blobs)
	for i := range texts {
		texts[i] = strings.Repeat(fmt.Sprintf("blob %d;", i), 1+i*i*500)
	}
	stop, lost := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				lost <- nil
				return
			default:
				if err := lose(); err != nil {
					lost <- err
					return
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				text := texts[(w*5+i)%blobs]
				d, _, err := store.Put(t.Context(), strings.NewReader(text))
				if err != nil || d != blob.Of([]byte(text)) {
					t.Errorf("Put = %s, %v", d, err)
					return
				}
				if _, err := store.Missing(t.Context(), []blob.Digest{d}); err != nil {
					t.Errorf("Missing: %v", err)
				}
				r, err := store.Open(t.Context(), d)
				if errors.Is(err, blob.ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				if got, err := io.ReadAll(r); err != nil || string(got) != text {
					t.Errorf("%d bytes came back as %d bytes, %v", len(text), len(got), err)
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	if err := <-lost; err != nil {
		t.Errorf("lose: %v", err)
	}
}

func read(t *testing.T, store blob.Store, d blob.Digest) []byte {
	t.Helper()
	r, err := store.Open(t.Context(), d)
	if err != nil {
		t.Errorf("Open: %v", err)
		return nil
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return data
}

func random(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	return data
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) {
	n, err := f(p)
	if n == 0 && err == nil {
		err = io.EOF // once is enough
	}
	return n, err
}
