package disk

import "golang.org/x/sys/unix"

// clone makes dst share src's blocks, where the file system can.
func clone(dst, src int) error { return unix.IoctlFileClone(dst, src) }

// createUnnamed opens a new file in the directory that has no name yet.
func createUnnamed(dir string) (int, error) {
	return unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o444)
}

// giveName names such a file. Before Linux 6.10 only root may.
func giveName(fd int, path string) error {
	return unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH)
}
