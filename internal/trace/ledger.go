package trace

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// ledger is the [witness] that turns the sequence of calls into a
// [record.Observation].
//
// What a path held before the step is what it holds when it is first named,
// because each change is told before it happens. So a look is enough at first
// sight, and bytes and names are read when the step has ended; only what the
// step is about to change is read before the change is let through.
//
// From the moment a path is the step's own, made or overwritten by it, what
// is there is no input any more, nor is anything below. Because a call may
// fail, such a path is watched (pending) until the change has shown, if the
// ledger cannot say that it would make no difference.
type ledger struct {
	spec Spec

	root  *node
	names map[string]*node
	slab  []node
	buf   []byte // the path of a child that is looked for
	// gen counts the changes by which a path may lead to another place.
	gen uint32
	// anywhere are the names of ignored directories wherever they are
	// outside of Spec.Inside.
	anywhere map[string]bool
	// fresh is a time: files that were changed after it may be changed again
	// without showing it, as clocks of file systems are coarse.
	fresh int64

	used     []*node
	changed  []*node
	pending  map[*node]claim
	twins    map[fileID][]*node // names of files that have several
	relinked map[fileID]bool    // files whose change time changed with their number of names
	moves    int                // files that were moved with directories

	addresses addresses
	programs  map[string]bool
	argvs     map[string]bool
	scratch   []byte
	argv      []byte
	chaos     bool
	bars      map[record.Bar]bool
	lost      bool

	buffers sync.Pool // of *[readSize]byte
}

// claim is a change that was told and has not shown yet.
type claim struct {
	before record.Look
	own    bool // what is there before is the step's own too, or recorded whole
}

// Limits of the ledger's own.
const (
	maxMoved   = 100_000 // files in pre-existing directories that are renamed
	maxOutputs = 500_000
	maxOutside = 20     // paths outside that are named
	maxBars    = 10_000 // reasons
)

// clockStep is coarser than the steps in which any kernel's file clock moves.
const clockStep = 50 * time.Millisecond

// Flags of open(2) and renameat2(2) that only Linux has; only Linux is watched.
const (
	oPath           = 0o10000000
	oTmpfile        = 0o20000000
	renameNoReplace = 1
	renameExchange  = 2
)

func newLedger(s Spec) *ledger {
	l := &ledger{
		spec:     s,
		names:    map[string]*node{},
		anywhere: map[string]bool{},
		pending:  map[*node]claim{},
		twins:    map[fileID][]*node{},
		relinked: map[fileID]bool{},
		programs: map[string]bool{},
		argvs:    map[string]bool{},
		bars:     map[record.Bar]bool{},
		fresh:    time.Now().Add(-clockStep).UnixNano(),
	}
	l.buffers.New = func() any { return new([readSize]byte) }
	l.root = l.newNode("/", nil)
	for _, dir := range places(s.Inside) {
		l.fixed(dir).marks |= inside
	}
	for _, path := range s.Ignored {
		if name, ok := strings.CutPrefix(path, "**/"); ok {
			l.anywhere[name] = true
		}
	}
	for _, path := range places(s.Ignored) {
		l.fixed(path).marks |= void | hidden
	}
	// What stands for the machine and not for files. Opening a device that is
	// not here bars reuse.
	for _, path := range [...]string{"/proc", "/sys", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx",
		"/dev/pts", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"} {
		l.fixed(path).marks |= void
	}
	for _, path := range [...]string{"/dev/random", "/dev/urandom"} {
		l.fixed(path).marks |= void | chaos
	}
	return l
}

// places are absolute paths as they are and without symbolic links, shorter
// ones first, so that what lies in others comes after them.
func places(paths []string) []string {
	var all []string
	known := map[string]string{"/": "/"} // most lie in the same few directories
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			continue
		}
		p = filepath.Clean(p)
		all = append(all, p, real(p, known))
	}
	slices.SortFunc(all, func(a, b string) int { return len(a) - len(b) })
	return slices.Compact(all)
}

// real is a path without symbolic links, as far as it is there. Those that
// were found out before are known.
func real(path string, known map[string]string) string {
	if r, ok := known[path]; ok {
		return r
	}
	r := filepath.Join(real(filepath.Dir(path), known), filepath.Base(path))
	var st unix.Stat_t
	if unix.Lstat(r, &st) == nil && uint32(st.Mode)&unix.S_IFMT == unix.S_IFLNK {
		if resolved, err := filepath.EvalSymlinks(r); err == nil {
			r = resolved
		}
	}
	known[path] = r
	return r
}

// lose ends the observation: from here on it would not be whole.
func (l *ledger) lose(format string, args ...any) {
	l.bar(record.BarLost, fmt.Sprintf(format, args...))
	l.lost = true
	clear(l.names)
	clear(l.pending)
	clear(l.twins)
	l.used, l.changed, l.root.kid = nil, nil, nil
}

func (l *ledger) bar(kind, detail string) {
	if len(l.bars) < maxBars {
		l.bars[record.Bar{Kind: kind, Detail: detail}] = true
	}
}

// seen reports whether nothing is left to record of a path that is named in a
// way that was seen before. It is where most calls end.
func (l *ledger) seen(path string, d done) bool {
	if l.lost {
		return true
	}
	n := l.names[path]
	return n != nil && n.done&d != 0 && n.gen == l.gen
}

// did remembers that all has been recorded of a path as it was named.
func (l *ledger) did(path string, d done, w way) {
	if !w.sure || w.node != nil && w.node.marks&void != 0 || len(path) >= maxPath {
		return
	}
	n := l.names[path]
	if n == nil {
		n = l.newNode(path, nil)
	}
	if n.gen != l.gen {
		n.gen, n.done = l.gen, 0
	}
	n.done |= d
}

// meant is the node that a path leads to; nil when nothing is to be recorded
// of it, as it is void, or the path ends before it.
func (l *ledger) meant(path string, follow bool) *node {
	if l.lost {
		return nil
	}
	n := l.resolve(path, follow).node
	if n == nil || n.marks&void != 0 {
		return nil
	}
	return n
}

func (l *ledger) see(path string, follow bool) {
	d := doneSee
	if !follow {
		d = doneSeeOwn
	}
	if l.seen(path, d) {
		return
	}
	w := l.resolve(path, follow)
	if n := w.node; n != nil && n.marks&void == 0 && !l.own(n) {
		l.useFound(n)
	}
	l.did(path, d, w)
}

func (l *ledger) readlink(path string) { l.see(path, false) }

func (l *ledger) open(path string, flags int, follow bool) {
	create, exclusive := flags&unix.O_CREAT != 0, flags&unix.O_CREAT != 0 && flags&unix.O_EXCL != 0
	follow = follow && flags&unix.O_NOFOLLOW == 0 && !exclusive
	if flags&(oPath|oTmpfile) != 0 { // what an unnamed file comes to is told by link
		l.see(path, follow)
		return
	}
	truncate := flags&unix.O_TRUNC != 0
	write := flags&unix.O_ACCMODE != unix.O_RDONLY || truncate
	d := doneRead
	if !follow {
		d = doneReadOwn
	}
	if !write && !create {
		if l.seen(path, d) {
			return
		}
	} else if l.lost {
		return
	}
	w := l.resolve(path, follow)
	n := w.node
	switch {
	case n == nil:
	case n.marks&void != 0:
		l.chaos = l.chaos || n.marks&chaos != 0
		if create {
			l.stir(n)
		}
	case l.own(n):
		if write {
			l.spread(n, true)
		}
	case n.was.Kind == record.Nothing && create:
		l.use(n, record.UseAbsent)
		l.create(n, deadEnd)
		return
	case n.was.Kind == record.Other && !exclusive:
		l.useFound(n)
		if n.marks&device != 0 {
			l.bar(record.BarDevice, n.path)
		} else {
			l.bar(record.BarIPC, n.path)
		}
	case n.was.Kind != record.Regular || exclusive:
		l.useFound(n)
	default:
		l.openFile(n, write, truncate, create)
	}
	if !write && !create {
		l.did(path, d, w)
	}
}

// list is told of a directory by its own path: it is open.
func (l *ledger) list(path string) {
	if l.seen(path, doneList) {
		return
	}
	w := l.resolve(path, false)
	if n := w.node; n != nil && n.marks&void == 0 && !l.own(n) {
		if n.was.Kind == record.Directory {
			l.use(n, record.UseListed)
		} else {
			l.useFound(n)
		}
	}
	l.did(path, doneList, w)
}

// openFile is open of a regular file that is not the step's own.
func (l *ledger) openFile(n *node, write, truncate, create bool) {
	if n.marks&inside == 0 && (strings.HasPrefix(n.path, "/dev/shm/") || strings.HasPrefix(n.path, "/dev/mqueue/")) {
		l.bar(record.BarIPC, n.path)
	}
	switch {
	case !write:
		l.use(n, record.UseContent)
	case truncate:
		l.use(n, record.UseKind) // the new bytes come under the old permissions
		l.overwrite(n, false)
	default:
		l.use(n, record.UseContent)
		l.overwrite(n, true)
	}
}

func (l *ledger) truncate(path string) {
	n := l.meant(path, true)
	switch {
	case n == nil:
	case l.own(n):
		l.spread(n, true)
	case n.was.Kind == record.Regular:
		l.use(n, record.UseContent)
		l.overwrite(n, true)
	default:
		l.useFound(n)
	}
}

func (l *ledger) change(path string, follow bool) {
	n := l.meant(path, follow)
	switch {
	case n == nil:
	case l.own(n):
		l.spread(n, false)
	default:
		l.useFound(n)
		if n.was.Kind != record.Nothing {
			l.keepContent(n) // the output is the file with its bytes
			l.touch(n)
			l.spread(n, false)
		}
	}
}

func (l *ledger) mkdir(path string) {
	if n := l.fresher(path); n != nil {
		l.create(n, directory)
		l.inherit(n)
	}
}

func (l *ledger) mknod(path string, mode uint32) {
	if n := l.fresher(path); n != nil {
		l.create(n, deadEnd)
	}
}

func (l *ledger) symlink(target, path string) {
	if n := l.fresher(path); n != nil {
		l.create(n, link)
		l.claim(n, record.Look{}, true)
		l.gen++
	}
}

// fresher is the node of a path that is to be made where nothing is; nil when
// that will fail.
func (l *ledger) fresher(path string) *node {
	w := way{}
	if !l.lost {
		w = l.resolve(path, false)
	}
	n := w.node
	switch {
	case n == nil:
		return nil
	case n.marks&void != 0:
		l.stir(n)
		return nil
	case l.own(n):
		if l.lstat(n).Kind != record.Nothing {
			return nil
		}
	default:
		l.useFound(n)
		if n.was.Kind != record.Nothing {
			return nil
		}
	}
	return n
}

func (l *ledger) remove(path string, dir bool) {
	if l.lost {
		return
	}
	n := l.resolve(path, false).node
	switch {
	case n == nil:
	case n.marks&void != 0:
		l.stir(n)
	case l.own(n):
		l.stir(n) // a name that was there before it was overwritten goes
		l.relink(n, l.lstat(n))
		if n.now == link {
			l.claim(n, l.lstat(n), true)
			l.gen++
		}
	case n.was.Kind == record.Nothing, (n.was.Kind == record.Directory) != dir:
		l.useFound(n)
	case dir:
		l.use(n, record.UseListed)
		l.keepListing(n)
		l.stir(n)
		l.touch(n)
		if l.empty(n) { // else it fails
			l.settled(n, directory)
			l.inherit(n)
		}
	default:
		l.use(n, record.UseKind)
		l.freeze(n)
		l.stir(n)
		l.touch(n)
		l.relink(n, n.was)
		l.claim(n, l.lstat(n), false)
	}
}

func (l *ledger) rename(from, to string, flags int) {
	if l.lost {
		return
	}
	a, b := l.resolve(from, false).node, l.resolve(to, false).node
	if a == nil || b == nil || a == b || a == l.root || b == l.root {
		return
	}
	source, ok := l.source(a, from)
	if !ok {
		return
	}
	if b.marks&void != 0 {
		l.stir(b)
		l.depart(a, source)
		return
	}
	ownB := l.own(b)
	target := b.was
	if ownB {
		target = l.lstat(b)
	}
	isDir := source.Kind == record.Directory
	switch {
	case flags&renameExchange != 0:
		if target.Kind == record.Nothing || a.marks&void != 0 {
			l.useFound(b)
			return
		}
		l.swap(a, b, source, target)
		return
	case target.Kind == record.Nothing:
		l.useFound(b) // onto a directory it would fail
	case flags&renameNoReplace != 0, isDir != (target.Kind == record.Directory):
		l.useFound(b)
		return
	case isDir:
		if !ownB {
			l.use(b, record.UseListed)
			l.keepListing(b)
			if !l.empty(b) {
				return
			}
		}
		ownB = true // recorded whole
	case !ownB:
		l.use(b, record.UseKind)
		l.freeze(b)
	}
	l.depart(a, source)
	l.use(b.up, record.UseDir)
	l.stir(b)
	l.touch(b)
	l.relink(b, target)
	l.arrive(b, source, target, ownB)
}

// swap is a rename that lets two paths change places.
func (l *ledger) swap(a, b *node, atA, atB record.Look) {
	l.depart(a, atA)
	l.depart(b, atB)
	if a.marks&b.marks&inside != 0 { // or else it bars reuse, if it succeeds
		l.arrive(a, atB, atA, true)
		l.arrive(b, atA, atB, true)
	}
}

// arrive is a file's or directory's coming to a place where before was.
func (l *ledger) arrive(n *node, look, before record.Look, own bool) {
	if look.Kind == record.Regular && look.Links > 1 {
		l.twin(n, look)
		n.marks |= shared
	}
	if leads(look) {
		l.inherit(n)
	}
	if leads(look) || leads(before) {
		l.gen++
	} else if own || before.Kind == record.Nothing {
		l.settled(n, deadEnd)
		return
	}
	l.claim(n, before, own)
}

// leads reports whether paths go on through a file.
func leads(look record.Look) bool {
	return look.Kind == record.Directory || look.Kind == record.Symlink
}

// source is what a rename or link starts from; not ok when the call will fail.
func (l *ledger) source(n *node, path string) (look record.Look, ok bool) {
	switch {
	case n.marks&void != 0:
		look, _ = lookAt(path)
	case l.own(n):
		look = l.lstat(n)
	default:
		if look = n.was; look.Kind == record.Nothing {
			l.use(n, record.UseAbsent)
		}
	}
	return look, look.Kind != record.Nothing
}

// depart is a file's or directory's leaving its place. What it holds becomes
// that of another path: it is read whole.
func (l *ledger) depart(n *node, look record.Look) {
	l.stir(n)
	if n.marks&void != 0 {
		return
	}
	own := l.own(n)
	if !own && n.marks&inside == 0 { // this bars reuse, if it succeeds
		l.useFound(n)
		l.freeze(n)
		l.touch(n)
		l.gen++
		if look.Kind != record.Directory {
			l.claim(n, look, false)
		}
		return
	}
	if !own {
		l.carry(n)
	}
	l.touch(n)
	l.relink(n, look)
	if leads(look) {
		l.inherit(n)
		l.claim(n, look, true)
		l.gen++
	} else {
		l.settled(n, deadEnd)
	}
}

func (l *ledger) link(from, to string, follow bool) {
	if l.lost {
		return
	}
	a := l.resolve(from, follow).node
	if a == nil {
		return
	}
	source, ok := l.source(a, from)
	if !ok {
		return
	}
	if source.Kind == record.Directory {
		l.useFound(a)
		return
	}
	b := l.fresher(to)
	if b == nil {
		return
	}
	l.create(b, deadEnd)
	if a.marks&void != 0 {
		l.claim(b, record.Look{}, true)
		l.gen++
		return
	}
	if !l.own(a) {
		l.carry(a)
	}
	if source.Kind == record.Regular {
		l.twin(a, source)
		l.twin(b, source)
		a.marks |= shared
		b.marks |= shared
		l.relinked[idOf(source)] = true
	} else {
		l.claim(b, record.Look{}, true)
		l.gen++
	}
}

// exec also finds the interpreters that the kernel opens by itself.
func (l *ledger) exec(path string, argv []string) {
	if l.lost {
		return
	}
	if !l.seen(path, doneExec) {
		w := l.resolve(path, true)
		if w.node == nil || w.node.marks&void == 0 && !l.run(w.node, 0) {
			return
		}
		if w.node.marks&void == 0 && !l.own(w.node) {
			l.did(path, doneExec, w)
		}
	}
	l.scratch = l.scratch[:0]
	for _, arg := range argv {
		if len(l.argv)+len(l.scratch)+len(arg)+1 > maxArgv {
			break
		}
		l.scratch = append(append(l.scratch, arg...), 0)
	}
	if !l.argvs[string(l.scratch)] {
		l.argvs[string(l.scratch)] = true
		l.argv = append(l.argv, l.scratch...)
	}
}

// finish ends the ledger: left is the number of processes that outlived the
// step.
func (l *ledger) finish(left int) *record.Observation {
	o := &record.Observation{
		Programs: sorted(l.programs),
		Argv:     l.argv,
		Random:   l.chaos,
		LeftOver: left,
	}
	switch {
	case left == 1:
		l.bar(record.BarProcesses, "1 process")
	case left > 1:
		l.bar(record.BarProcesses, fmt.Sprintf("%d processes", left))
	}
	o.Peers = l.peers()
	if !l.lost {
		o.Outputs = l.outputs() // which adds to the inputs
		o.Inputs = l.inputs()
	}
	for b := range l.bars {
		o.Barred = append(o.Barred, b)
	}
	slices.SortFunc(o.Barred, func(a, b record.Bar) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Detail, b.Detail)
	})
	return o
}

func sorted(set map[string]bool) []string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}
