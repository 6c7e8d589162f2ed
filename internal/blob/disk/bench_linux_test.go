package disk_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// BenchmarkFiles saves and restores files, in turn with cp -r --reflink=auto
// of the same files. The ratios are of the medians.
func BenchmarkFiles(b *testing.B) {
	b.Run("6000x4KiB", func(b *testing.B) { benchFiles(b, few, small) })
	b.Run("1x500MiB", func(b *testing.B) {
		benchFiles(b, 1, func(int) []byte {
			data := make([]byte, 500<<20)
			for i := 0; i < len(data); i += 8 {
				binary.LittleEndian.PutUint64(data[i:], rand.Uint64())
			}
			return data
		})
	})
}

func benchFiles(b *testing.B, files int, data func(i int) []byte) {
	dir := b.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		b.Fatal(err)
	}
	name := func(dir string, i int) string { return fmt.Sprintf("%s/%d", dir, i) }
	for i := range files {
		if err := os.WriteFile(name(tree, i), data(i), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	digests := make([]blob.Digest, files)
	var cp, save, restore []time.Duration
	for i := 0; b.Loop(); i++ {
		store := name(dir, i)
		s := openKind(b, "relaxed", store)
		save = append(save, took(b, dir, func() {
			parallel(b, files, func(i int) (err error) {
				f, err := os.Open(name(tree, i))
				if err != nil {
					return err
				}
				defer f.Close()
				digests[i], _, err = s.PutFile(b.Context(), f)
				return err
			})
		}))
		copied := filepath.Join(dir, "copied")
		copies := []func(){
			func() {
				cp = append(cp, took(b, dir, func() {
					if out, err := exec.Command("cp", "-r", "--reflink=auto", tree, copied).CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
				}))
			},
			func() {
				restore = append(restore, took(b, dir, func() {
					if err := os.Mkdir(copied, 0o700); err != nil {
						b.Fatal(err)
					}
					parallel(b, files, func(i int) error {
						f, err := os.OpenFile(name(copied, i), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
						if err != nil {
							return err
						}
						defer f.Close()
						_, err = s.CopyTo(b.Context(), digests[i], f)
						return err
					})
				}))
			},
		}
		// Who comes later may find less memory at hand: take turns, clean up.
		for j := range copies {
			copies[(i+j)%2]()
			if err := os.RemoveAll(copied); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.RemoveAll(store); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(median(cp).Seconds()*1e3, "ms/cp")
	b.ReportMetric(median(save).Seconds()*1e3, "ms/save")
	b.ReportMetric(median(restore).Seconds()*1e3, "ms/restore")
	b.ReportMetric(median(save).Seconds()/median(cp).Seconds(), "save/cp")
	b.ReportMetric(median(restore).Seconds()/median(cp).Seconds(), "restore/cp")
}

// took measures. Nobody pays for bytes that another has to write.
func took(b *testing.B, dir string, do func()) time.Duration {
	f, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	do()
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
