//go:build unix && !linux

package cache

import "golang.org/x/sys/unix"

const searchOnly = unix.O_RDONLY
