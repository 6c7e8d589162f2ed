//go:build unix

package docker

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerOf is the user and group that an entry belongs to.
func ownerOf(d fs.DirEntry) (owner [2]int, ok bool) {
	info, err := d.Info()
	if err != nil {
		return owner, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner, false
	}
	return [2]int{int(st.Uid), int(st.Gid)}, true
}

// alive reports whether there is such a process.
func alive(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == nil }
