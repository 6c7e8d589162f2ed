package cli

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// fileWatch finds out which files of a tree change, by looking at them from time to
// time: that works on every file system, and needs nothing from the kernel
// that could run out.
type fileWatch struct {
	root     string
	patterns []string
	seen     map[string]stamp
	took     time.Duration // the last look
}

type stamp struct {
	size int64
	mode fs.FileMode
	at   time.Time
}

const (
	lookEvery = 300 * time.Millisecond
	// lookShare is how many times longer than a look takes the next one waits at least.
	lookShare = 10
	// maxWatched bounds how many files are watched.
	maxWatched = 500_000
)

// newFileWatch watches the tree that the directory lies in. Patterns are relative
// to the directory; without any, every file is watched.
func newFileWatch(dir string, patterns []string) (*fileWatch, error) {
	tree, err := workspace.Open(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, err
	}
	w := &fileWatch{root: tree.Root()}
	prefix, err := filepath.Rel(w.root, abs)
	if err != nil {
		return nil, err
	}
	for _, p := range patterns {
		p = filepath.ToSlash(filepath.Join(prefix, p))
		if st, err := os.Stat(filepath.Join(w.root, p)); err == nil && st.IsDir() {
			p += "/**"
		}
		w.patterns = append(w.patterns, p)
	}
	w.look()
	return w, nil
}

// what is watched, in words.
func (w *fileWatch) what() string {
	if len(w.patterns) == 0 {
		return "all files"
	}
	return shown(strings.Join(w.patterns, " "))
}

// look notes how the files are now.
func (w *fileWatch) look() {
	began := time.Now()
	seen := map[string]stamp{}
	_ = filepath.WalkDir(w.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil { // it has just gone, or is not ours to read
			return nil
		}
		if d.IsDir() {
			if base := d.Name(); base == ".git" || base == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(w.root, name)
		if err != nil || !w.matches(filepath.ToSlash(rel)) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if len(seen) == maxWatched {
			return fs.SkipAll
		}
		seen[filepath.ToSlash(rel)] = stamp{info.Size(), info.Mode(), info.ModTime()}
		return nil
	})
	w.seen, w.took = seen, time.Since(began)
}

func (w *fileWatch) matches(name string) bool {
	if len(w.patterns) == 0 {
		return true
	}
	for _, p := range w.patterns {
		if globs(strings.Split(p, "/"), strings.Split(name, "/")) {
			return true
		}
	}
	return false
}

// globs reports whether the pattern matches the path, part by part: ** stands for
// any number of parts, also none.
func globs(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for len(pattern) > 0 && pattern[0] == "**" {
				pattern = pattern[1:]
			}
			if len(pattern) == 0 {
				return true
			}
			for i := range name {
				if globs(pattern, name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := filepath.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// wait returns the files that have changed, once they have stopped changing; none
// when ctx has ended.
func (w *fileWatch) wait(ctx context.Context) []string {
	changed := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(lookEvery, w.took*lookShare)):
		}
		before := w.seen
		w.look()
		news := 0
		for name, s := range w.seen {
			if old, ok := before[name]; !ok || old != s {
				changed[name] = true
				news++
			}
		}
		for name := range before {
			if _, ok := w.seen[name]; !ok {
				changed[name] = true
				news++
			}
		}
		if len(changed) > 0 && news == 0 {
			list := make([]string, 0, len(changed))
			for name := range changed {
				list = append(list, name)
			}
			return list
		}
	}
}
