package trace

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// stir says that the step is about to change which names a directory holds:
// what is to be known of them is read before.
func (l *ledger) stir(n *node) {
	dir := n.up
	if dir == nil || dir.marks&void != 0 || l.own(dir) {
		return
	}
	if dir.uses&bit(record.UseListed) != 0 {
		l.keepListing(dir)
	}
	dir.marks |= stirred
}

// touch makes a path a candidate for an output.
func (l *ledger) touch(n *node) {
	if n.marks&changed == 0 {
		n.marks |= changed
		l.changed = append(l.changed, n)
	}
}

// create says that the step makes something where nothing is. Nothing hangs
// on whether it succeeds: what is not there then is not the step's own, and is
// absent either way.
func (l *ledger) create(n *node, k kind) {
	l.use(n.up, record.UseDir)
	l.stir(n)
	l.touch(n)
	l.settled(n, k)
}

// overwrite says that the step changes the bytes of a file; whole, that all
// which was in them is recorded as an input.
func (l *ledger) overwrite(n *node, whole bool) {
	if whole {
		l.keepContent(n)
	} else {
		if n.uses == 0 { // where it is not, it is made if its directory is there
			l.use(n.up, record.UseDir)
		}
		l.freeze(n)
	}
	l.touch(n)
	l.spread(n, true)
	if whole {
		l.settled(n, deadEnd)
	} else {
		l.claim(n, l.lstat(n), false)
	}
}

// settled says that what is at a path is the step's own from now on.
func (l *ledger) settled(n *node, k kind) {
	if n.marks&pending != 0 {
		delete(l.pending, n)
	}
	n.marks = n.marks&^pending | made
	n.now, n.target = k, ""
}

// claim says that what is at a path becomes the step's own with a call that
// may fail. Until it shows, what was there before is there.
func (l *ledger) claim(n *node, before record.Look, own bool) {
	n.marks |= made | pending
	n.now = unknown
	l.pending[n] = claim{before, own}
}

// inherit makes all that is known below a path the step's own, as the path
// itself becomes so.
func (l *ledger) inherit(n *node) {
	for kid := n.kid; kid != nil; kid = kid.next {
		if kid.marks&void != 0 {
			continue
		}
		l.settled(kid, unknown)
		if kid.marks&shared != 0 { // its place under which it is known is gone
			for _, t := range l.twins[idOf(l.lstat(kid))] {
				l.touch(t)
			}
		}
		l.inherit(kid)
	}
}

// carry records whole what the step is about to put elsewhere: its bytes
// become those of an output.
func (l *ledger) carry(n *node) {
	l.present(n)
	switch n.was.Kind {
	case record.Regular:
		l.use(n, record.UseContent)
		l.keepContent(n)
	case record.Symlink:
		l.use(n, record.UseLink)
	case record.Directory:
		l.carryDir(n)
	}
}

func (l *ledger) carryDir(n *node) {
	l.use(n, record.UseDir)
	l.use(n, record.UseListed)
	l.keepListing(n)
	names, err := readDir(n.path)
	if err != nil {
		l.unread(n, err)
		return
	}
	if l.moves += len(names); l.moves > maxMoved {
		l.bar(record.BarTooMuch, n.path)
		return
	}
	for _, e := range names {
		l.buf = append(append(append(l.buf[:0], n.path...), '/'), e.Name()...)
		kid := l.child(n, e.Name())
		if kid.marks&void == 0 && !l.own(kid) {
			l.carry(kid)
			l.touch(kid)
		}
	}
}

// twin remembers that a file has several names.
func (l *ledger) twin(n *node, look record.Look) {
	id := idOf(look)
	if !slices.Contains(l.twins[id], n) {
		l.twins[id] = append(l.twins[id], n)
	}
}

func idOf(look record.Look) fileID { return fileID{look.Dev, look.Ino} }

// relink says that a file's name is given or taken, which changes the look of
// all its names.
func (l *ledger) relink(n *node, look record.Look) {
	if look.Kind == record.Regular && look.Links > 1 {
		l.relinked[idOf(look)] = true
	}
}

// spread tells a file's other names that it is about to be changed through
// this one: its bytes, or only its attributes. Names that the step has not
// used may be anywhere.
func (l *ledger) spread(n *node, bytes bool) {
	own := l.own(n)
	if n.marks&shared == 0 && (own || n.was.Links < 2) {
		return
	}
	look := l.lstat(n)
	names := uint64(0)
	for _, t := range l.twins[idOf(look)] {
		if t.was.Kind == record.Regular && idOf(t.was) == idOf(look) {
			names++
		}
		if t == n || l.own(t) {
			continue
		}
		l.keepContent(t)
		l.touch(t)
		if bytes {
			l.claim(t, l.lstat(t), false)
		}
	}
	if !own && n.was.Kind == record.Regular && names < n.was.Links {
		l.bar(record.BarUnsupported, n.path+" (it has other names, too)")
	}
}

// outputs are what the step left where it changed something.
func (l *ledger) outputs() []record.Output {
	o := outputs{ledger: l, real: map[*node]bool{l.root: true}}
	for _, n := range l.changed {
		var look record.Look
		if o.there(n.up) {
			look, _ = lookAt(n.path)
		}
		switch {
		case l.unchanged(n, look):
			if n.was.Kind == record.Nothing && n.uses == 0 && n.up.marks&made == 0 {
				// Made without a look, and removed again: so would be what
				// is there the next time.
				n.uses = bit(record.UseAbsent)
				l.used = append(l.used, n)
			}
		case n.marks&inside == 0:
			o.outside = append(o.outside, n.path)
			continue
		default:
			o.add(n.path, look, n.was.Kind == record.Nothing)
		}
		if look.Kind == record.Directory && n.marks&made != 0 && n.marks&inside != 0 {
			o.walk(n.path)
		}
	}
	slices.Sort(o.outside)
	for i, path := range o.outside {
		if i == maxOutside {
			l.bar(record.BarOutside, fmt.Sprintf("and %d more", len(o.outside)-i))
			break
		}
		l.bar(record.BarOutside, path)
	}
	slices.SortFunc(o.all, func(a, b record.Output) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(o.all, func(a, b record.Output) bool { return a.Path == b.Path })
}

// unchanged reports whether there is no output at a path.
func (l *ledger) unchanged(n *node, now record.Look) bool {
	switch {
	case n.was.Kind == record.Nothing:
		return now.Kind == record.Nothing
	case n.was.Kind == record.Directory: // its times change with what is in it
		return now.Kind == record.Directory && now.Perm == n.was.Perm
	}
	return n.was == now && n.was.CTime <= l.fresh
}

// outputs collects outputs.
type outputs struct {
	*ledger
	all     []record.Output
	outside []string
	real    map[*node]bool // of those that were looked at
}

// there reports whether a path is a directory still, and not a link now, or
// below one.
func (o *outputs) there(n *node) bool {
	if real, ok := o.real[n]; ok || n == nil {
		return real || n == nil
	}
	real := o.there(n.up)
	if real && n.marks&(changed|made) != 0 {
		look, _ := lookAt(n.path)
		real = look.Kind == record.Directory
	}
	o.real[n] = real
	return real
}

func (o *outputs) add(path string, look record.Look, isNew bool) {
	if len(o.all) == maxOutputs {
		o.bar(record.BarTooMuch, fmt.Sprintf("more than %d files", maxOutputs))
		return
	}
	out := record.Output{Path: path, Made: isNew}
	switch look.Kind {
	case record.Regular:
		out.FileState = record.FileState{Kind: look.Kind, Perm: look.Perm, Size: look.Size, MTime: look.MTime}
	case record.Directory:
		out.FileState = record.FileState{Kind: look.Kind, Perm: look.Perm}
	case record.Symlink:
		out.FileState = record.FileState{Kind: look.Kind, Digest: sha256.Sum256([]byte(readlink(path)))}
	case record.Other:
		o.bar(record.BarUnsupported, path)
		out.FileState = record.FileState{Kind: look.Kind, Perm: look.Perm}
	}
	o.all = append(o.all, out)
}

// walk adds all that lies in a directory of the step's own.
func (o *outputs) walk(dir string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		o.bar(record.BarLost, err.Error())
		return
	}
	for _, e := range names {
		if len(o.all) > maxOutputs {
			return
		}
		path := dir + "/" + e.Name()
		n := o.names[path]
		if n != nil && n.marks&void != 0 {
			continue
		}
		look, _ := lookAt(path)
		if look.Kind == record.Nothing {
			continue
		}
		o.add(path, look, n == nil || n.was.Kind == record.Nothing)
		if look.Kind == record.Directory {
			o.walk(path)
		}
	}
}
