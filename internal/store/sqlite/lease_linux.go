package sqlite

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Locks of open file descriptions (fcntl(2), "Open file description locks"):
// unlike flock(2), one can ask after them without taking them, so that a
// question never makes somebody else's Lease fail.
const (
	getLock = 36 // F_OFD_GETLK
	setLock = 37 // F_OFD_SETLK
)

// tryLock locks the file; false when somebody else has it locked.
func tryLock(f *os.File) (bool, error) {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	err := fcntl(f, setLock, &lock)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// isLocked says whether somebody has the file locked.
func isLocked(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	err = fcntl(f, getLock, &lock)
	return lock.Type != syscall.F_UNLCK, err
}

func fcntl(f *os.File, cmd int, lock *syscall.Flock_t) error {
	for {
		err := syscall.FcntlFlock(f.Fd(), cmd, lock)
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fcntl", err)
		}
	}
}
