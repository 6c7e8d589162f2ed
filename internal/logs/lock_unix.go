//go:build unix

package logs

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps a second writer out for as long as the file is open.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another writer has it open")
	}
	return err
}
