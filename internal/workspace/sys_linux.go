package workspace

import (
	"bytes"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readNames lists a directory from where its descriptor stands, without "."
// and "..". The names share one allocation: trees have many files.
func readNames(fd int, buf []byte) ([]string, error) {
	var all []byte
	var ends []int
	for {
		n, err := retry(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			break
		}
		for b := buf[:n]; len(b) >= int(unsafe.Offsetof(unix.Dirent{}.Name)); {
			d := (*unix.Dirent)(unsafe.Pointer(&b[0]))
			if d.Reclen == 0 || int(d.Reclen) > len(b) {
				return nil, unix.EIO
			}
			name := b[unsafe.Offsetof(d.Name):d.Reclen]
			b = b[d.Reclen:]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			if d.Ino == 0 || len(name) == 0 || string(name) == "." || string(name) == ".." {
				continue
			}
			all = append(all, name...)
			ends = append(ends, len(all))
		}
	}
	text, start := string(all), 0
	names := make([]string, len(ends))
	for i, end := range ends {
		names[i], start = text[start:end], end
	}
	return names, nil
}

// openInside opens a directory that lies directly in another one. Neither a
// symbolic link nor a mount is crossed: what is mounted in a slot is not the
// slot's to delete.
func openInside(dir int, name string) (int, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // an old kernel, a strict sandbox
		return openSameDevice(dir, name)
	}
	return fd, err
}

// clone makes dst share src's blocks, where the file system can.
func clone(dst, src int) error { return unix.IoctlFileClone(dst, src) }

// copyRange copies inside the kernel. It returns 0 at the end of the file.
func copyRange(dst, src, n int) (int, error) {
	return unix.CopyFileRange(src, nil, dst, nil, n, 0)
}

// openSource opens a file of the tree for reading. No component of its path may
// be a link: what a path meant when the tree was listed, it shall mean now.
func openSource(dir int, path string) (int, error) {
	if dir == unix.AT_FDCWD {
		return openAt(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat2(dir, path, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return openAt(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	return fd, err
}
