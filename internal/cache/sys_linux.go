package cache

import "golang.org/x/sys/unix"

// searchOnly opens a directory that may be searched, whether or not it may be
// listed.
const searchOnly = unix.O_PATH
