package workspace

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// look is how a file looked at one moment. Two equal looks of a file mean
// that nothing wrote to it in between: a change of content changes ctime, and
// ctime cannot be put back.
type look struct {
	size         int64
	mtime, ctime int64 // nanoseconds
	ino          uint64
	mode         uint32 // type and permissions, as in stat
}

func (l look) is(kind uint32) bool { return l.mode&unix.S_IFMT == kind }
func (l look) perm() uint32        { return l.mode & 0o777 }

func lookOf(st *unix.Stat_t) look {
	return look{
		size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
		ino: uint64(st.Ino), mode: uint32(st.Mode),
	}
}

// lookAt looks at a name in an open directory; links are not followed.
func lookAt(dir int, name string) (look, error) {
	var st unix.Stat_t
	err := statAt(dir, name, &st)
	return lookOf(&st), err
}

// statAt is lookAt with all that there is to know.
func statAt(dir int, name string, st *unix.Stat_t) error {
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
	return err
}

// lookFd looks at an open file.
func lookFd(fd int) (look, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	return lookOf(&st), err
}

// fileID tells a directory from all others.
type fileID struct{ dev, ino uint64 }

func idOf(fd int) (fileID, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return fileID{uint64(st.Dev), uint64(st.Ino)}, err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func openAt(dir int, name string, flags int, mode uint32) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	})
}

// openSameDevice is openInside without the kernel's help.
func openSameDevice(dir int, name string) (int, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	outer, err := idOf(dir)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	inner, err := idOf(fd)
	if err == nil && outer.dev != inner.dev {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func readLink(dir int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// lockFile opens a file and locks it for this process alone. With wait false
// a lock that another holds is errBusy.
func lockFile(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	if _, err := retry(func() (int, error) { return 0, unix.Flock(int(f.Fd()), how) }); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errBusy
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// unlockFile gives a lock back. Closing alone would not: a process that is just
// being started still holds every file of ours until it runs its own program.
func unlockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_UN)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// bootID changes when the machine starts again: what was not synced before is
// not to be believed after.
func bootID() string {
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return string(b)
	}
	return ""
}

// clockStep is coarser than the steps in which any kernel's file clock moves.
const clockStep = 20 * time.Millisecond
