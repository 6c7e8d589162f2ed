//go:build unix && !linux && !solaris && !aix

package sqlite

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Asking with flock(2) means taking the lock for a moment. Whoever wants it in
// that moment tries again: holders keep it for much longer.
const (
	lockTries = 10
	lockPause = time.Millisecond
)

// tryLock locks the file; false when somebody else has it locked.
func tryLock(f *os.File) (bool, error) {
	for try := 1; ; try++ {
		ok, err := flock(f, syscall.LOCK_EX)
		if ok || err != nil || try == lockTries {
			return ok, err
		}
		time.Sleep(lockPause)
	}
}

// isLocked says whether somebody has the file locked.
func isLocked(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close() // which unlocks it
	ok, err := flock(f, syscall.LOCK_SH)
	return !ok, err
}

func flock(f *os.File, how int) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}
