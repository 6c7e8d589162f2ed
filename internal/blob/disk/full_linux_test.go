package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// cannotMount is the exit code of TestFullDisk's child that cannot have a
// file system of its own.
const cannotMount = 77

// TestFullDisk fills a small file system, which a child mounts where nobody
// else sees it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("BLOB_FULL"); dir != "" {
		err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m")
		}
		if err != nil {
			fmt.Println("mount:", err)
			os.Exit(cannotMount)
		}
		for kind := range kinds {
			fill(t, filepath.Join(dir, kind), kind)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), "BLOB_FULL="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case !exited, exit.ExitCode() == cannotMount:
		t.Skipf("NOT TESTED: a full disk; this needs a mount namespace: %v\n%s", err, out)
	default:
		t.Errorf("%v\n%s", err, out)
	}
}

func fill(t *testing.T, dir, kind string) {
	s := openKind(t, kind, dir)
	small, _, err := s.Put(t.Context(), strings.NewReader("small"))
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	check := func(err error) {
		t.Helper()
		if !errors.Is(err, blob.ErrFull) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "fairlead cache gc") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v; want an ErrFull that says where and what to do", kind, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Errorf("%s: left in tmp: %v, %v", kind, left, err)
		}
	}
	_, _, err = s.Put(t.Context(), bytes.NewReader(data))
	check(err)
	_, _, err = s.PutFile(t.Context(), file(t, data))
	check(err)
	var put []blob.Digest
	for ; err == nil || len(put) == 0; data = data[100<<10:] {
		var d blob.Digest
		if d, _, err = s.Put(t.Context(), bytes.NewReader(data[:100<<10])); err == nil {
			put = append(put, d)
		}
	}
	check(err)

	// What is there is still there, and room can be made.
	if gone, err := s.Missing(t.Context(), append(put, small)); err != nil || len(gone) != 0 {
		t.Errorf("%s: Missing = %v, %v", kind, gone, err)
	}
	ageAll(dir)
	if c, err := s.Collect(t.Context(), func(d blob.Digest) bool { return d == small }, 0); err != nil || c.Left.Blobs != 1 {
		t.Errorf("%s: Collect = %+v, %v", kind, c, err)
	}
	if _, _, err := s.Put(t.Context(), bytes.NewReader(data[:100<<10])); err != nil {
		t.Errorf("%s: after room was made: %v", kind, err)
	}
	os.RemoveAll(dir) // for the next kind
}
