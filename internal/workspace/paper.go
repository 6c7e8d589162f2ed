package workspace

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Paper is a workspace that was not made: what a slot filled now would hold,
// told from a look at the tree alone. It stays as of its look. Its methods may
// be called from several goroutines.
//
// A slot that is acquired with the paper ([Claim]) holds exactly what the paper
// says. One that is acquired without it holds what the user has by then.
type Paper struct {
	root string // of the tree
	snap *snapshot
}

// Thing is what a path of a workspace holds.
type Thing struct {
	Kind record.FileKind // Regular, Directory or Symlink
	Perm uint32          // permission bits
	// Size and MTime (Unix nanoseconds) are those of a file or a link; zero
	// for a directory. A made file has the time at which it is made, here 0.
	Size, MTime int64
	// From is the absolute path of the user's file or link that holds the
	// bytes, Look what stat said of it. Directories and made files have none.
	From string
	Look record.Look
	// Body is the content of a made file: not to be written to.
	Body []byte
	Made bool
}

// Paper looks at the tree. Calls for the same run, and slots that are filled
// for it, share one look as long as it is young enough (a second).
func (t *Tree) Paper(ctx context.Context, run string) (*Paper, error) {
	snap, err := t.snapshot(ctx, run)
	if err != nil {
		return nil, err
	}
	return &Paper{root: t.root, snap: snap}, nil
}

// At is the moment of the look: what changed later is not in it.
func (p *Paper) At() time.Time { return p.snap.at }

// Look tells what is at a slash path below the workspace, "" for the workspace
// itself; false when nothing is.
func (p *Paper) Look(rel string) (Thing, bool) {
	n, name, ok := p.find(rel)
	if !ok {
		return Thing{}, false
	}
	if name != "" {
		if f := n.file(name); f != nil {
			return f.thing(), true
		}
		if n = n.dir(name); n == nil {
			return Thing{}, false
		}
	}
	return Thing{Kind: record.Directory, Perm: n.mode()}, true
}

// Names lists the directory at a slash path, sorted by name; false when there
// is no directory.
func (p *Paper) Names(rel string) ([]record.Entry, bool) {
	n, name, ok := p.find(rel)
	if ok && name != "" {
		n = n.dir(name)
	}
	if !ok || n == nil {
		return nil, false
	}
	all := make([]record.Entry, 0, len(n.files)+len(n.dirs))
	for i := range n.files {
		all = append(all, record.Entry{Name: n.files[i].name, Kind: n.files[i].look.kind()})
	}
	for _, d := range n.dirs {
		all = append(all, record.Entry{Name: d.name, Kind: record.Directory})
	}
	slices.SortFunc(all, func(a, b record.Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, true
}

// find walks to the directory that holds the last name of a path.
func (p *Paper) find(rel string) (n *node, name string, ok bool) {
	n = p.snap.top
	for {
		slash := strings.IndexByte(rel, '/')
		if slash < 0 {
			return n, rel, true
		}
		if n = n.dir(rel[:slash]); n == nil {
			return nil, "", false
		}
		rel = rel[slash+1:]
	}
}

// dir finds a directory in a directory, nil when there is none.
func (n *node) dir(name string) *node {
	i, ok := slices.BinarySearchFunc(n.dirs, name, func(d *node, name string) int { return strings.Compare(d.name, name) })
	if !ok {
		return nil
	}
	return n.dirs[i]
}

// file finds a file in a directory, nil when there is none. Written out, since
// it is asked once for every input of every step.
func (n *node) file(name string) *file {
	lo, hi := 0, len(n.files)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if n.files[mid].name < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(n.files) && n.files[lo].name == name {
		return &n.files[lo]
	}
	return nil
}

func (f *file) thing() Thing {
	t := Thing{Kind: f.look.kind(), Perm: f.perm(), Size: f.look.size}
	if f.made {
		t.Body, t.Made = f.body, true
		return t
	}
	t.MTime, t.From = f.mtime(), f.from
	t.Look = record.Look{
		Kind: t.Kind, Perm: f.look.mode & 0o7777, Size: f.look.size, MTime: f.look.mtime, CTime: f.look.ctime,
		Dev: f.dev, Ino: f.look.ino, Links: f.links,
	}
	return t
}

func (l look) kind() record.FileKind {
	switch l.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return record.Regular
	case unix.S_IFDIR:
		return record.Directory
	case unix.S_IFLNK:
		return record.Symlink
	}
	return record.Other
}
