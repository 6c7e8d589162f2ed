package trace

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// node is a path and what is known of it. Its key in ledger.names is the path.
//
// A node plays two parts. As a path that the step named it remembers what has
// been recorded already (done, gen). As a path without symbolic links on the
// way it remembers what was there before the step (was), how the step used
// that (uses), and what the step made of it (now and the marks).
type node struct {
	path      string
	up        *node // the directory
	kid, next *node // what is known in it, as a list

	was    record.Look
	target string // of the link that is there now
	kept   *kept  // digests that were taken before a change, and links'
	gen    uint32 // of done
	done   done
	uses   uses
	marks  marks
	now    kind
}

// kept are digests of what was there before the step.
type kept struct{ content, listing, link [32]byte }

// done says for which calls of a path, as it was named, there is nothing left
// to record while no link or directory is moved (ledger.gen).
type done uint8

const (
	doneSee    done = 1 << iota // following links
	doneSeeOwn                  // not following
	doneRead
	doneReadOwn
	doneExec
	doneList
)

// uses are the uses of what was there before the step: a bit for each
// [record.Use].
type uses uint8

func bit(u record.Use) uses { return 1 << u }

// marks say what the ledger knows of a path.
type marks uint16

const (
	known   marks = 1 << iota // was is true
	inside                    // in a directory in which the step may write
	void                      // it and all below is neither input nor output
	hidden                    // void, and left out of listings too
	chaos                     // void, and reading it is asking for randomness
	device                    // was is a character or block device
	changed                   // the step may have changed it: a candidate for an output
	made                      // what is there now is the step's own, or has been recorded whole
	pending                   // made, if the call that was told comes to something: see ledger.pending
	stirred                   // a directory in which the step may have changed names
	shared                    // a file that the step gave a further name
	hasContent
	hasListing
	hasHeader // its interpreters have been recorded
)

// kind is what a path is to those who go through it.
type kind uint8

const (
	unknown kind = iota
	deadEnd      // nothing, or something that leads nowhere
	directory
	link
)

// fileID tells a file from all others.
type fileID struct{ dev, ino uint64 }

// Limits of resolution, which are the kernel's.
const (
	maxLinks = 40
	maxName  = 255
	maxPath  = 4096
)

// newNode makes a node of a path that has none, of which up is the directory.
func (l *ledger) newNode(path string, up *node) *node {
	if len(l.slab) == 0 {
		l.slab = make([]node, slabSize)
	}
	n := &l.slab[0]
	l.slab = l.slab[1:]
	n.path = strings.Clone(path)
	l.names[n.path] = n
	if up != nil {
		n.attach(up)
	}
	if len(l.names) > maxPaths {
		l.lose("more than %d paths", maxPaths)
	}
	return n
}

// attach makes a node part of the tree.
func (n *node) attach(up *node) {
	n.up, n.next, up.kid = up, up.kid, n
	n.marks |= up.marks & (inside | made)
}

// slabSize is how many nodes are allocated at once.
const slabSize = 256

// child is the node of a name in a directory. l.buf holds the child's path.
func (l *ledger) child(dir *node, name string) *node {
	n := l.names[string(l.buf)]
	if n == nil {
		n = l.newNode(string(l.buf), dir)
	} else if n.up == nil { // named before, but only as a way through links
		n.attach(dir)
	} else {
		return n
	}
	if n.marks&inside == 0 && l.anywhere[name] && l.lstat(n).Kind != record.Regular {
		n.marks |= void | hidden
	}
	return n
}

// fixed makes the node of a clean path and of all directories above it,
// without looking at them.
func (l *ledger) fixed(path string) *node {
	if n := l.names[path]; n != nil && (n.up != nil || n == l.root) {
		return n
	}
	up := l.fixed(filepath.Dir(path))
	if n := l.names[path]; n != nil {
		n.attach(up)
		return n
	}
	return l.newNode(path, up)
}

// way is where a path leads.
type way struct {
	// node is what the path leads to, without links on the way; nil when the
	// path ends before (the reason has been recorded then), and a void node
	// when it ends in or below one.
	node *node
	// sure is false while a change that was told of something on the way has
	// not shown yet.
	sure bool
}

// resolve goes along a path as the kernel would, and records the links it
// goes through and what stops it.
func (l *ledger) resolve(path string, follow bool) way {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		// Mostly the directory is known.
		if name := path[i+1:]; name != "" && name != "." && name != ".." && len(name) <= maxName {
			if dir := l.names[path[:i]]; dir != nil && dir.now == directory && dir.marks&(void|pending) == 0 {
				l.buf = append(l.buf[:0], path...)
				n := l.child(dir, name)
				if n.marks&void != 0 {
					return way{node: n, sure: true}
				}
				k, _, sure := l.present(n)
				if k != link || !follow {
					return way{node: n, sure: sure}
				}
			}
		}
	}
	return l.walk(path, follow)
}

func (l *ledger) walk(path string, follow bool) way {
	w := way{sure: true}
	if len(path) == 0 || len(path) >= maxPath || path[0] != '/' {
		return w
	}
	cur, rest, links := l.root, path, 0
	l.buf = l.buf[:0]
	for {
		if rest = strings.TrimLeft(rest, "/"); rest == "" {
			w.node = cur
			return w
		}
		name := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			name, rest = rest[:i], rest[i:]
		} else {
			rest = ""
		}
		switch {
		case name == ".":
			continue
		case name == "..":
			l.use(cur, record.UseDir)
			if cur.up != nil {
				cur = cur.up
			}
			l.buf = append(l.buf[:0], cur.path...)
			if cur == l.root {
				l.buf = l.buf[:0]
			}
			continue
		case len(name) > maxName:
			return w
		}
		l.buf = append(append(l.buf, '/'), name...)
		n := l.child(cur, name)
		if n.marks&void != 0 {
			w.node = n
			return w
		}
		k, own, sure := l.present(n)
		w.sure = w.sure && sure
		last := strings.Trim(rest, "/") == ""
		switch {
		case k == link && (!last || follow || rest != ""):
			if !own {
				l.use(n, record.UseLink)
			}
			if links++; links > maxLinks || len(n.target)+len(rest) >= maxPath || n.target == "" {
				return w
			}
			target := n.target
			rest = target + rest
			if target[0] == '/' {
				cur, l.buf = l.root, l.buf[:0]
			} else {
				rest = "/" + rest
				l.buf = l.buf[:len(l.buf)-len(name)-1]
			}
		case last:
			w.node = n
			return w
		case k == directory && own && !sure:
			return w // nothing of what the step was given lies below
		case k == directory:
			cur = n
		default: // the way ends here
			if !own {
				l.useFound(n)
			}
			return w
		}
	}
}

// present says what is at a path now, whether that is the step's own, and
// whether it is sure: while a change that was told has not shown yet, what is
// there is still what was there before it.
func (l *ledger) present(n *node) (k kind, own, sure bool) {
	if n.marks&pending != 0 {
		return l.settle(n)
	}
	if n.now == unknown {
		if n.marks&made == 0 && n.marks&known == 0 {
			l.first(n)
		} else {
			l.take(n, l.lstat(n))
		}
	}
	return n.now, n.marks&made != 0, true
}

// settle looks whether a change has come to something. It may never do so:
// calls fail.
func (l *ledger) settle(n *node) (k kind, own, sure bool) {
	p, look := l.pending[n], l.lstat(n)
	if look == p.before {
		l.take(n, look)
		return n.now, p.own, false
	}
	delete(l.pending, n)
	n.marks &^= pending
	l.take(n, look)
	return n.now, true, true
}

// take remembers what is at a path now.
func (l *ledger) take(n *node, look record.Look) {
	n.target = ""
	switch look.Kind {
	case record.Directory:
		n.now = directory
	case record.Symlink:
		n.now, n.target = link, readlink(n.path)
	default:
		n.now = deadEnd
	}
}

// first looks at a path that the step has not touched yet: what it holds now
// is what it was given.
func (l *ledger) first(n *node) {
	n.was = l.lstat(n)
	n.marks |= known
	l.take(n, n.was)
	if n.was.Kind == record.Regular && n.was.Links > 1 {
		l.twin(n, n.was)
	}
}

// own reports whether what is at a node now is the step's own.
func (l *ledger) own(n *node) bool {
	_, own, _ := l.present(n)
	return own
}

// lstat looks at a path. A path that cannot be looked at is as good as
// absent: the step cannot see it either.
func (l *ledger) lstat(n *node) record.Look {
	look, mode := lookAt(n.path)
	if f := mode & unix.S_IFMT; f == unix.S_IFCHR || f == unix.S_IFBLK {
		n.marks |= device
	}
	return look
}

// lookAt is lstat, and what it says of the kind of file.
func lookAt(path string) (record.Look, uint32) {
	var st unix.Stat_t
	for {
		switch err := unix.Lstat(path, &st); err {
		case nil:
			return LookOf(&st), uint32(st.Mode)
		case unix.EINTR:
		default:
			return record.Look{}, 0
		}
	}
}

// LookOf is what stat has said of a file.
func LookOf(st *unix.Stat_t) record.Look {
	look := record.Look{
		Kind: record.Other, Perm: uint32(st.Mode) & 0o7777, Size: st.Size,
		MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(),
		Dev: uint64(st.Dev), Ino: uint64(st.Ino), Links: uint64(st.Nlink),
	}
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		look.Kind = record.Regular
	case unix.S_IFDIR:
		look.Kind = record.Directory
	case unix.S_IFLNK:
		look.Kind = record.Symlink
	}
	return look
}

// readlink is the target of a link, "" when there is none any more.
func readlink(path string) string {
	var buf [maxPath]byte
	for {
		n, err := unix.Readlink(path, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == len(buf) {
			return ""
		}
		return string(buf[:n])
	}
}
