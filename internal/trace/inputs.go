package trace

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// errMoved says that a file is not what it was when the step first used it,
// and that not the step has changed it.
var errMoved = errors.New("changed by somebody else meanwhile")

// useFound records that a path was asked for, whatever is there.
func (l *ledger) useFound(n *node) {
	if n.marks&known == 0 && n.marks&made == 0 {
		l.first(n)
	}
	switch n.was.Kind {
	case record.Nothing:
		l.use(n, record.UseAbsent)
	case record.Directory:
		l.use(n, record.UseDir)
	case record.Symlink:
		l.use(n, record.UseLink)
	default:
		l.use(n, record.UseExists)
	}
}

// use records that the step used what was at a path before it. What is the
// step's own by now is no input.
func (l *ledger) use(n *node, u record.Use) {
	if n.uses&bit(u) != 0 || n.marks&void != 0 || l.own(n) {
		return
	}
	if n.uses == 0 {
		l.used = append(l.used, n)
	}
	n.uses |= bit(u)
	switch u {
	case record.UseLink:
		l.keep(n).link = sha256.Sum256([]byte(n.target))
	case record.UseContent, record.UseExists:
		if n.marks&changed != 0 && (u == record.UseContent || n.marks&inside != 0) {
			l.keepContent(n) // a change is on its way
		}
	case record.UseListed:
		if n.marks&stirred != 0 {
			l.keepListing(n)
		} else { // others may have changed it since it was first gone through
			n.was.MTime = l.lstat(n).MTime
		}
	}
}

func (l *ledger) keep(n *node) *kept {
	if n.kept == nil {
		n.kept = new(kept)
	}
	return n.kept
}

// freeze reads a file that the step is about to change, if what it holds now
// is an input or may yet become one.
func (l *ledger) freeze(n *node) {
	if n.uses&bit(record.UseContent) != 0 || n.marks&inside != 0 && n.uses&bit(record.UseExists) != 0 || n.was.CTime > l.fresh {
		l.keepContent(n)
	}
}

func (l *ledger) keepContent(n *node) {
	if n.marks&hasContent != 0 || n.was.Kind != record.Regular {
		return
	}
	n.marks |= hasContent
	digest, err := l.digest(n)
	if err != nil {
		l.unread(n, err)
		return
	}
	l.keep(n).content = digest
}

// unread records why a file or directory that was used cannot be described.
func (l *ledger) unread(n *node, err error) {
	switch {
	case errors.Is(err, errMoved), errors.Is(err, fs.ErrNotExist):
		l.bar(record.BarMoved, n.path)
	case errors.Is(err, fs.ErrPermission):
		// The step cannot read it either.
		n.uses &^= bit(record.UseContent) | bit(record.UseListed)
		if n.was.Kind == record.Directory {
			n.uses |= bit(record.UseDir)
		} else {
			n.uses |= bit(record.UseExists)
		}
	default:
		l.bar(record.BarLost, fmt.Sprintf("%s: %v", n.path, err))
	}
}

// same reports whether a file is still what it was.
func (l *ledger) same(was, now record.Look) bool {
	if was == now {
		return true
	}
	if !l.relinked[idOf(was)] {
		return false
	}
	// The step has given the file a further name or taken one: that is its
	// own doing, and changes the inode and not the bytes.
	was.CTime, was.Links = now.CTime, now.Links
	return was == now
}

// digest is the SHA-256 of a regular file as it was at first sight. It may be
// called by several goroutines once the step has ended.
func (l *ledger) digest(n *node) ([sha256.Size]byte, error) {
	var d [sha256.Size]byte
	if l.spec.Digest != nil {
		look, _ := lookAt(n.path)
		if !l.same(n.was, look) {
			return d, errMoved
		}
		return l.spec.Digest(n.path, look)
	}
	// Without waiting for whoever serves what has taken the file's place.
	fd, err := unix.Open(n.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if err == unix.ELOOP {
			err = errMoved
		}
		return d, err
	}
	defer unix.Close(fd)
	still := func() bool {
		var st unix.Stat_t
		return unix.Fstat(fd, &st) == nil && l.same(n.was, LookOf(&st))
	}
	if !still() {
		return d, errMoved
	}
	h, buf := sha256.New(), l.buffers.Get().(*[readSize]byte)
	defer l.buffers.Put(buf)
	for left := n.was.Size; ; {
		got, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return d, err
		case got == 0:
			if left != 0 || !still() {
				return d, errMoved
			}
			h.Sum(d[:0])
			return d, nil
		}
		h.Write(buf[:got])
		if left -= int64(got); left < 0 {
			return d, errMoved
		}
	}
}

// readSize is how much of a file is read at once.
const readSize = 128 << 10

func (l *ledger) keepListing(n *node) {
	if n.marks&hasListing != 0 {
		return
	}
	n.marks |= hasListing
	digest, err := l.listing(n)
	if err != nil {
		l.unread(n, err)
		return
	}
	l.keep(n).listing = digest
}

// listing is the digest of the names that a directory held before the step.
// It may be called by several goroutines once the step has ended.
func (l *ledger) listing(n *node) ([sha256.Size]byte, error) {
	var d [sha256.Size]byte
	names, err := readDir(n.path)
	if err != nil {
		return d, err
	}
	entries := make([]record.Entry, 0, len(names))
	prefix := n.path
	if prefix != "/" {
		prefix += "/"
	}
	buf := []byte(prefix)
	for _, e := range names {
		buf = append(buf[:len(prefix)], e.Name()...)
		if kid := l.names[string(buf)]; kid != nil && kid.marks&(hidden|changed) != 0 ||
			n.marks&inside == 0 && l.anywhere[e.Name()] && e.Type() != 0 {
			continue
		}
		entries = append(entries, record.Entry{Name: e.Name(), Kind: kindOf(e.Type())})
	}
	// What the step has changed in it counts as it was.
	for kid := n.kid; kid != nil; kid = kid.next {
		if kid.marks&(changed|hidden) == changed && kid.was.Kind != record.Nothing {
			entries = append(entries, record.Entry{Name: kid.path[len(prefix):], Kind: kid.was.Kind})
		}
	}
	return record.Listing(entries), nil
}

// readDir lists a directory, in no order.
func readDir(path string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.ReadDir(maxPaths)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(names) == maxPaths {
		return nil, fmt.Errorf("more than %d files", maxPaths)
	}
	return names, nil
}

// empty reports whether there is nothing in a directory now.
func (l *ledger) empty(n *node) bool {
	f, err := os.OpenFile(n.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return err == io.EOF
}

func kindOf(mode fs.FileMode) record.FileKind {
	switch mode.Type() {
	case 0:
		return record.Regular
	case fs.ModeDir:
		return record.Directory
	case fs.ModeSymlink:
		return record.Symlink
	}
	return record.Other
}

// reading is what is read of a path when the step has ended.
type reading struct {
	content, listing bool
	digest           [sha256.Size]byte
	err              error
}

// inputs are what the step was given. What was not read before is read now.
func (l *ledger) inputs() []record.Input {
	readings := make([]reading, len(l.used))
	for i, n := range l.used {
		r := &readings[i]
		r.content = n.was.Kind == record.Regular && n.marks&hasContent == 0 && (n.uses&bit(record.UseContent) != 0 || n.marks&inside != 0 && n.uses&bit(record.UseExists) != 0)
		r.listing = n.uses&bit(record.UseListed) != 0 && n.marks&hasListing == 0
	}
	l.read(readings)
	inputs := make([]record.Input, 0, len(l.used)+len(l.used)/8)
	for i, n := range l.used {
		if err := readings[i].err; err != nil {
			l.unread(n, err)
		}
		inputs = l.appendInputs(inputs, n, readings[i].digest)
	}
	slices.SortFunc(inputs, func(a, b record.Input) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return int(a.Use) - int(b.Use)
	})
	return inputs
}

// read reads in parallel: nothing writes to the ledger meanwhile.
func (l *ledger) read(readings []reading) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), maxReaders) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(readings); i = int(next.Add(1)) - 1 {
				n, r := l.used[i], &readings[i]
				switch {
				case r.content:
					r.digest, r.err = l.digest(n)
				case r.listing:
					r.digest, r.err = l.listing(n)
					if look, _ := lookAt(n.path); r.err == nil && look.MTime != n.was.MTime {
						r.err = errMoved
					}
				}
			}
		})
	}
	wg.Wait()
}

// maxReaders is how many files are read at a time.
const maxReaders = 16

// appendInputs appends the uses of a path. digest is what was read last.
func (l *ledger) appendInputs(to []record.Input, n *node, digest [sha256.Size]byte) []record.Input {
	var k kept
	if n.kept != nil {
		k = *n.kept
	}
	content, listing := digest, digest
	if n.marks&hasContent != 0 {
		content = k.content
	}
	if n.marks&hasListing != 0 {
		listing = k.listing
	}
	add := func(u record.Use, s record.FileState) {
		if n.uses&bit(u) != 0 {
			to = append(to, record.Input{Path: n.path, Use: u, FileState: s, Own: u == record.UseAbsent && n.marks&made != 0})
		}
	}
	was := record.FileState{Kind: n.was.Kind, Perm: n.was.Perm, Size: n.was.Size, MTime: n.was.MTime}
	add(record.UseAbsent, record.FileState{})
	if n.marks&inside == 0 || n.uses&bit(record.UseContent) == 0 { // or else content says it all
		s := was
		switch {
		case s.Kind == record.Other: // a terminal's times are nobody's
			s = record.FileState{Kind: s.Kind, Perm: s.Perm}
		case n.marks&inside != 0:
			s.Digest = content
		}
		add(record.UseExists, s)
	}
	if n.uses&(bit(record.UseContent)|bit(record.UseExists)|bit(record.UseLink)) == 0 {
		s := record.FileState{Kind: was.Kind}
		if was.Kind == record.Regular {
			s.Perm = was.Perm
		}
		add(record.UseKind, s)
	}
	was.Digest = content
	add(record.UseContent, was)
	dir := record.FileState{Kind: record.Directory, Perm: n.was.Perm}
	if n.uses&bit(record.UseListed) == 0 {
		add(record.UseDir, dir)
	}
	dir.Digest = listing
	add(record.UseListed, dir)
	add(record.UseLink, record.FileState{Kind: record.Symlink, Digest: k.link})
	return to
}
