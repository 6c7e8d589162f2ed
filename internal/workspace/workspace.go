// Package workspace knows checked-out trees: what files they hold, what git
// knows of them, and how to give every job a view of its own.
//
// Five ideas carry it.
//
// A [Tree] is what the user sees in the editor: tracked files as they are now,
// with uncommitted changes, and untracked files that no ignore rule names.
// Whatever can be read from .git exactly (HEAD, refs, configuration, index,
// ignore rules) is read here, because starting a git process costs more than
// all of that together; git is asked for what needs its object walk (merge
// bases, diffs) and for formats not read here.
//
// A snapshot is one look at a tree: every file with its size, mode, times and
// inode. Jobs that start together share one.
//
// A [Slot] is where a job sees its own copy, at a path that is the same in
// every run and for every clone of that repository, because compilers and
// caches write absolute paths down. There are as many as jobs run at once, and
// any job may get any of them. A slot stays filled between runs. Its manifest remembers, for
// each file, how the source looked when it was copied and how the copy looked
// right after; when both still look so, the copy is still good. So a job's start
// costs two stats a file, and the job's leftovers (build outputs, edits,
// commits) are the only thing that is mended. A manifest is never trusted
// further than the stats it names, so that a crash at any moment leaves at
// worst a slot with more to mend.
//
// A [Paper] is a snapshot read as a slot: what a job would see in one, without
// one being made.
//
//	Tree ──► snapshot ─┬──────────────────────────► Paper
//	                   ├─► wanted tree ──► mend ──► Slot ──► job ──► Release
//	.git (by hand) ────┘      manifest ──┘  └──► manifest     └───► Keep ─► Reclaim
//
// The .git directory of a slot is made by hand: the user's HEAD, refs and index,
// a configuration without credentials and hooks, and the user's objects as an
// alternate. Steps can describe, commit and tag without the user's repository
// changing.
//
// [Sources] are other repositories, fetched by git, pinned and cached by commit,
// checked out without running anything of theirs.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Tree is a checked-out tree of the user's: a git working tree or a plain
// directory. Its methods may be called from several goroutines.
type Tree struct {
	root string
	dir  *os.Root
	repo *repository // nil for a plain directory

	shared sharing
}

// Open finds the tree that dir lies in: it walks up to the root of the git
// working tree. A directory without git is a tree of its own.
func Open(ctx context.Context, dir string) (*Tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open tree %s: %w", dir, err)
	}
	// The path is that of the files themselves, so that one tree reached by
	// two names has one set of slots.
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	if st, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("open tree: %s is not a directory", dir)
	}
	root, repo := abs, (*repository)(nil)
	for at := abs; ; at = filepath.Dir(at) {
		r, err := openRepository(at)
		if err == nil {
			if !r.bare {
				root, repo = at, r
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open tree: %w", err)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	return &Tree{root: root, dir: r, repo: repo}, nil
}

// Root is the tree's directory, absolute and free of symbolic links.
func (t *Tree) Root() string { return t.root }

// below is the root with a slash: what all paths of the tree begin with.
func (t *Tree) below() string { return strings.TrimSuffix(t.root, "/") + "/" }

// HasGit reports whether the tree is a git working tree.
func (t *Tree) HasGit() bool { return t.repo != nil }

// FS gives the user's files. Symbolic links are followed inside the tree
// and never out of it.
func (t *Tree) FS() fs.FS { return t.dir.FS() }

// Close frees what the tree holds. A tree need not be closed before the process
// ends.
func (t *Tree) Close() error { return t.dir.Close() }

// sharing lets jobs that start together look at the tree once.
type sharing struct {
	mu     sync.Mutex
	flight *flight
}

func (s *sharing) forget() {
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
}
