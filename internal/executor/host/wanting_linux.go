package host

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
)

// wanting is how many threads in all fences want a core or wait for a disk,
// counted no further than atMost. Groups and threads that come and go meanwhile
// are nobody's error.
func (y *cgroups) wanting(atMost int) (n int) {
	var tids, stat []byte
	_ = filepath.WalkDir(y.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if tids, err = os.ReadFile(path + "/cgroup.threads"); err != nil {
			return nil
		}
		for tid := range bytes.FieldsSeq(tids) {
			if stat, err = os.ReadFile("/proc/" + string(tid) + "/stat"); err != nil {
				continue
			}
			// 4711 (a name) R …: the name may hold anything, brackets too.
			if i := bytes.LastIndexByte(stat, ')'); i > 0 && i+2 < len(stat) && (stat[i+2] == 'R' || stat[i+2] == 'D') {
				if n++; n >= atMost {
					return fs.SkipAll
				}
			}
		}
		return nil
	})
	return n
}
