//go:build linux

package sqlite_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
	"github.com/fairlead-dev/fairlead/internal/store/storetest"
)

const powerVar = "FAIRLEAD_POWERCUT_DIR"

// TestPowerCut writes to a file system of its own, in an image, and takes the image
// away as a power cut does: what the system had not written to it is lost. What was
// acknowledged is not.
func TestPowerCut(t *testing.T) {
	if dir := os.Getenv(powerVar); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	if testing.Short() {
		t.Skip("it makes and mounts file systems")
	}
	if os.Getuid() != 0 {
		t.Skip("mounting needs the superuser")
	}
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	for cut := range 4 {
		dir := t.TempDir()
		image, disk, after := filepath.Join(dir, "image"), filepath.Join(dir, "disk"), filepath.Join(dir, "after")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		try(t, os.Truncate(image, 64<<20))
		try(t, os.Mkdir(disk, 0o755))
		try(t, os.Mkdir(after, 0o755))
		err := run("mkfs.ext4", "-q", "-F", image)
		if err == nil {
			err = run("mount", "-o", "loop", image, disk)
		}
		if err != nil {
			t.Skipf("no file system can be made and mounted here: %v", err)
		}
		unmount := sync.OnceFunc(func() {
			if err := run("umount", disk); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(unmount)

		acked, kill := startWriter(t, filepath.Join(disk, "data"), 200*(cut+1))
		// Stopped, not killed: a process that dies closes its files, which is more
		// than a power cut lets it do.
		err = copyFile(image, image+".cut")
		kill()
		unmount()
		if err != nil {
			t.Fatal(err)
		}

		try(t, run("mount", "-o", "loop", image+".cut", after))
		func() {
			defer func() {
				if err := run("umount", after); err != nil {
					t.Error(err)
				}
			}()
			s := openDir(t, filepath.Join(after, "data"), sqlite.Options{Sync: sqlite.Full})
			defer s.Close()
			events := storetest.All(t, s, 0)
			if err := storetest.CheckLog(events); err != nil {
				t.Error(err)
			}
			if len(events) < acked {
				t.Errorf("%d events were acknowledged, %d are there", acked, len(events))
			}
			t.Logf("cut after event %d was acknowledged: %d are there", acked, len(events))
		}()
	}
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startWriter starts a process that writes, and stops it when so many events have been
// acknowledged.
func startWriter(t *testing.T, dir string, events int) (acked int, kill func()) {
	t.Helper()
	exe := must(os.Executable())(t)
	cmd := exec.Command(exe, "-test.run=^TestPowerCut$", "-test.count=1")
	cmd.Env = append(os.Environ(), powerVar+"="+dir)
	cmd.Stderr = os.Stderr
	out := must(cmd.StdoutPipe())(t)
	try(t, cmd.Start())
	kill = sync.OnceFunc(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	for acked < events && lines.Scan() {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			acked = max(acked, n)
		}
	}
	if acked < events {
		t.Fatalf("the writer ended after %d events", acked)
	}
	try(t, cmd.Process.Signal(syscall.SIGSTOP))
	return acked, kill
}

// writeUntilKilled appends from several goroutines and prints the Seqs that it was told.
func writeUntilKilled(t *testing.T, dir string) {
	s := openDir(t, dir, sqlite.Options{Sync: sqlite.Full})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				out, err := s.Append(t.Context(), storetest.Event("1", n))
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Println(out[0].Seq)
			}
		})
	}
	wg.Wait()
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	if closing := w.Close(); err == nil {
		err = closing
	}
	return err
}
