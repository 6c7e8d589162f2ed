//go:build unix && !linux

package workspace

import "golang.org/x/sys/unix"

// readNames lists a directory from where its descriptor stands, without "."
// and "..".
func readNames(fd int, buf []byte) ([]string, error) {
	var names []string
	for {
		n, err := retry(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// openInside opens a directory that lies directly in another one. Neither a
// symbolic link nor a mount of another device is crossed.
func openInside(dir int, name string) (int, error) { return openSameDevice(dir, name) }

func clone(dst, src int) error { return unix.ENOTSUP }

func copyRange(dst, src, n int) (int, error) { return 0, unix.ENOTSUP }

func openSource(dir int, path string) (int, error) {
	return openAt(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}
