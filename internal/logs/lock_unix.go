//go:build unix

package logs

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps a second writer out until unlock, or until the file is closed
// wherever it is open.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another writer has it open")
	}
	return err
}

// unlock lets the next writer in. Closing the file is not enough: a process
// that is just being started may still have it open.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
