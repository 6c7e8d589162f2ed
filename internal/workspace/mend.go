package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// mender makes a directory hold exactly what is wanted, touching only what
// differs. It works on open directories and single names, never on paths, so
// that nothing it does leaves the directory.
type mender struct {
	pool
	source int // the tree's root, open
	cut    int // bytes of the paths above it
	old    manifest
	// With exact set nothing is copied but what looks as it did in the
	// snapshot. What does not is missing afterwards.
	exact   bool
	missing atomic.Pointer[file] // one of them

	mu      sync.Mutex
	new     manifest
	notes   []string
	changed atomic.Bool // new says something else than old
	latest  atomic.Int64

	noClone, noRange atomic.Bool
	buffers          sync.Pool

	stats struct{ copied, bytes, removed atomic.Int64 }
}

// Limits and sizes of copying.
const (
	copyBuffer  = 128 << 10 // files up to here are read and written at once
	copyTries   = 5         // for a file that changes while it is copied
	removeWait  = 5 * time.Millisecond
	removeTries = 5
)

// mend makes the open directory hold n.
func (m *mender) mend(fd int, n *node) error {
	m.dir(fd, n, false)
	m.wait()
	return m.err()
}

func (m *mender) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.notes) < maxNotes {
		m.notes = append(m.notes, fmt.Sprintf(format, args...))
	}
}

// dir mends one directory and all below it. An empty one that was just made
// need not be listed.
func (m *mender) dir(fd int, n *node, empty bool) {
	if m.stopped() {
		return
	}
	perm := n.mode()
	l, err := lookFd(fd)
	if err == nil && l.mode&0o700 != 0o700 { // made unwritable by a step
		err = unix.Fchmod(fd, perm)
		l.mode = unix.S_IFDIR | perm
	}
	if err != nil {
		m.fail(fmt.Errorf("%s: %w", n.show(), err))
		return
	}
	var names []string
	if !empty {
		if names, err = m.list(fd); err != nil {
			m.fail(fmt.Errorf("list %s: %w", n.show(), err))
			return
		}
		if names, err = m.clear(fd, n, names); err != nil {
			m.fail(err)
			return
		}
	}
	for _, d := range n.dirs {
		_, there := slices.BinarySearch(names, d.name)
		child, made, err := enterDir(fd, d.name, there)
		if err != nil {
			m.fail(fmt.Errorf("%s: %w", d.path, err))
			return
		}
		m.do(func() {
			m.dir(child, d, made)
			unix.Close(child)
		})
	}
	m.files(fd, n, names)
	if l.mode&0o7777 != perm {
		if err := unix.Fchmod(fd, perm); err != nil {
			m.fail(fmt.Errorf("%s: %w", n.show(), err))
		}
	}
}

func (m *mender) list(fd int) ([]string, error) {
	buf, _ := m.buffers.Get().(*[copyBuffer]byte)
	if buf == nil {
		buf = new([copyBuffer]byte)
	}
	defer m.buffers.Put(buf)
	names, err := readNames(fd, buf[:dirBuffer])
	slices.Sort(names)
	return names, err
}

// clear removes what is not wanted and returns the names that are left.
func (m *mender) clear(fd int, n *node, names []string) ([]string, error) {
	left, f, d := names[:0], 0, 0
	for _, name := range names {
		for f < len(n.files) && n.files[f].name < name {
			f++
		}
		for d < len(n.dirs) && n.dirs[d].name < name {
			d++
		}
		if f < len(n.files) && n.files[f].name == name || d < len(n.dirs) && n.dirs[d].name == name {
			left = append(left, name)
			continue
		}
		if err := removeAll(m.ctx, fd, name); err != nil {
			return nil, fmt.Errorf("remove %s: %w", join(n.path, name), err)
		}
		m.stats.removed.Add(1)
	}
	return left, nil
}

// files mends the files of one directory.
func (m *mender) files(fd int, n *node, names []string) {
	old := m.old[n.path]
	changed := len(old) != len(n.files)
	var out []copied // not made while it would be the same as old
	if changed {
		out = make([]copied, 0, len(n.files))
	}
	differs := func(from int) { // so far, file by file, the same as old
		if !changed {
			changed = true
			out = append(make([]copied, 0, len(n.files)), old[:from]...)
		}
	}
	at, was := 0, 0
	for i := range n.files {
		f := &n.files[i]
		for at < len(names) && names[at] < f.name {
			at++
		}
		for was < len(old) && old[was].name < f.name {
			was++
		}
		if was != i {
			differs(i)
		}
		if at < len(names) && names[at] == f.name {
			l, err := lookAt(fd, f.name)
			if err == nil && was < len(old) && old[was] == (copied{f.name, f.look, l}) && (f.made || l.mtime == f.mtime()) {
				if changed {
					out = append(out, old[was])
				}
				continue
			}
			if err := removeAll(m.ctx, fd, f.name); err != nil {
				m.fail(fmt.Errorf("remove %s: %w", join(n.path, f.name), err))
				return
			}
		}
		if m.stopped() {
			return
		}
		differs(i)
		r, err := m.copy(fd, f)
		switch {
		case err == nil:
			r.name = f.name
			out = append(out, r)
			m.stats.copied.Add(1)
		case m.exact && (errors.Is(err, errGone) || errors.Is(err, errUnreadable)):
			m.missing.Store(f) // the rest is good for the next try
		case errors.Is(err, errGone):
			// It went away, or became something else, after the look.
		case errors.Is(err, errUnreadable):
			m.note("%s: left out: %v", join(n.path, f.name), err)
		default:
			m.fail(fmt.Errorf("copy %s: %w", join(n.path, f.name), err))
			return
		}
	}
	if changed {
		m.changed.Store(true)
	} else {
		out = old
	}
	if len(out) > 0 {
		m.mu.Lock()
		m.new[n.path] = out
		m.mu.Unlock()
	}
}

var (
	errGone       = errors.New("gone meanwhile")
	errUnreadable = errors.New("cannot be read")
)

// copy makes one file or link anew where there is none.
func (m *mender) copy(fd int, f *file) (copied, error) {
	switch {
	case f.made:
		return m.write(fd, f)
	case f.look.is(unix.S_IFLNK):
		return m.link(fd, f)
	}
	return m.content(fd, f)
}

// from is where a file's source is found: a directory and a path in it.
func (m *mender) from(f *file) (dir int, path string) {
	if f.git {
		return unix.AT_FDCWD, f.from
	}
	return m.source, f.from[m.cut:]
}

func (m *mender) write(fd int, f *file) (copied, error) {
	to, err := openAt(fd, f.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, f.look.perm())
	if err != nil {
		return copied{}, err
	}
	defer unix.Close(to)
	if err := writeAll(to, f.body); err != nil {
		return copied{}, err
	}
	l, err := m.finish(to, f.look.perm())
	return copied{source: f.look, copy: l}, err
}

func (m *mender) link(fd int, f *file) (copied, error) {
	dir, path := m.from(f)
	target, err := readLink(dir, path)
	if err != nil {
		return copied{}, sourceError(err)
	}
	// Only a look after reading the target vouches for it.
	source, err := lookAt(dir, path)
	switch steady := err == nil && source == f.look; {
	case m.exact && !steady:
		return copied{}, errGone
	case !steady || fresh(source, time.Now()):
		source = look{}
	}
	if err := unix.Symlinkat(target, fd, f.name); err != nil {
		return copied{}, err
	}
	if err := setTime(fd, f.name, f.mtime()); err != nil {
		return copied{}, err
	}
	l, err := lookAt(fd, f.name)
	m.sawCopy(l)
	return copied{source: source, copy: l}, err
}

// content copies a regular file; one that changes meanwhile is copied again.
func (m *mender) content(fd int, f *file) (copied, error) {
	dir, path := m.from(f)
	from, err := openSource(dir, path)
	if err != nil {
		return copied{}, sourceError(err)
	}
	defer unix.Close(from)
	before, err := lookFd(from)
	if err != nil {
		return copied{}, err
	}
	if !before.is(unix.S_IFREG) || m.exact && before != f.look {
		return copied{}, errGone
	}
	to, err := openAt(fd, f.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, f.permOf(before))
	if err != nil {
		return copied{}, err
	}
	defer unix.Close(to)
	steady := false
	for try := 0; try < copyTries && !steady; try++ {
		if try > 0 {
			if err := rewind(from, to); err != nil {
				return copied{}, err
			}
		}
		if err := m.bytes(to, from, before.size); err != nil {
			return copied{}, err
		}
		after, err := lookFd(from)
		if err != nil {
			return copied{}, err
		}
		steady = after == before
		before = after
	}
	if m.exact && (!steady || before != f.look) {
		return copied{}, errGone
	}
	if err := setTime(fd, f.name, before.mtime+f.mtime()-f.look.mtime); err != nil {
		return copied{}, err
	}
	source := before
	l, err := m.finish(to, f.permOf(source))
	m.stats.bytes.Add(before.size)
	if !steady || fresh(before, time.Now()) {
		source = look{} // never to be taken for unchanged
	}
	return copied{source: source, copy: l}, err
}

// finish sets the permissions that the umask may have taken, and looks.
func (m *mender) finish(fd int, perm uint32) (look, error) {
	l, err := lookFd(fd)
	if err == nil && l.perm() != perm {
		if err = unix.Fchmod(fd, perm); err == nil {
			l, err = lookFd(fd)
		}
	}
	m.sawCopy(l)
	return l, err
}

// sawCopy keeps the latest time that a copy bears.
func (m *mender) sawCopy(l look) {
	for {
		now := m.latest.Load()
		if l.ctime <= now || m.latest.CompareAndSwap(now, l.ctime) {
			return
		}
	}
}

// bytes copies all of a file, by the cheapest means that works here.
func (m *mender) bytes(to, from int, size int64) error {
	buf, _ := m.buffers.Get().(*[copyBuffer]byte)
	if buf == nil {
		buf = new([copyBuffer]byte)
	}
	defer m.buffers.Put(buf)
	if size > copyBuffer/2 {
		if !m.noClone.Load() {
			err := clone(to, from)
			if err == nil {
				return nil
			}
			m.noClone.Store(true)
		}
		for !m.noRange.Load() {
			n, err := copyRange(to, from, 1<<30)
			if err == unix.EINTR {
				continue
			}
			if err != nil { // another file system, an old kernel
				m.noRange.Store(true)
				break
			}
			if n == 0 {
				break // the end; what a stingy file system did not copy, the loop below does
			}
		}
	}
	for {
		n, err := retry(func() (int, error) { return unix.Read(from, buf[:]) })
		if err != nil {
			return err
		}
		if n > 0 {
			if err := writeAll(to, buf[:n]); err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
		if n < len(buf) && int64(n) >= size {
			return nil // the whole of a small file; the look after tells if it grew
		}
		if m.stopped() {
			return context.Cause(m.ctx)
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func rewind(from, to int) error {
	if _, err := unix.Seek(from, 0, 0); err != nil {
		return err
	}
	if _, err := unix.Seek(to, 0, 0); err != nil {
		return err
	}
	return unix.Ftruncate(to, 0)
}

func setTime(dir int, name string, mtime int64) error {
	times := []unix.Timespec{unix.NsecToTimespec(mtime), unix.NsecToTimespec(mtime)}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// sourceError tells a source that went away or may not be read from our own
// trouble.
func sourceError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), err == unix.ELOOP, err == unix.ENOTDIR, err == unix.EINVAL, err == unix.ENXIO:
		return errGone
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %v", errUnreadable, err)
	}
	return err
}

// enterDir opens a directory in another one, making it when it is not there and
// putting it in place of whatever is no directory.
func enterDir(dir int, name string, there bool) (fd int, made bool, err error) {
	if there {
		fd, err = openInside(dir, name)
		if errors.Is(err, fs.ErrPermission) {
			if l, e := lookAt(dir, name); e == nil && l.is(unix.S_IFDIR) {
				if err = unix.Fchmodat(dir, name, 0o700, 0); err == nil {
					fd, err = openInside(dir, name)
				}
			}
		}
		switch {
		case err == nil:
			return fd, false, nil
		case err == unix.ENOTDIR || err == unix.ELOOP:
			if err := unix.Unlinkat(dir, name, 0); err != nil {
				return -1, false, err
			}
		case err == unix.EXDEV:
			return -1, false, errMounted
		case !errors.Is(err, fs.ErrNotExist):
			return -1, false, err
		}
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return -1, false, err
	}
	fd, err = openInside(dir, name)
	return fd, true, err
}

var errMounted = errors.New("something is mounted here; unmount it first")

// removeAll removes a name from an open directory, with all below it. Links
// are removed and not followed; mounts are not entered. Directories that their
// maker left unwritable are made writable first.
func removeAll(ctx context.Context, dir int, name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(dir, name, 0) })
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return nil
	case err != unix.EISDIR && err != unix.EPERM:
		return err
	}
	fd, _, err := enterDir(dir, name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was quicker: two processes may empty one trash
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for try := 0; ; try++ {
		if err := removeBelow(ctx, fd); err != nil {
			return err
		}
		err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		// Somebody still writes there: a few more tries, not for ever.
		if err != unix.ENOTEMPTY && err != unix.EEXIST || try >= removeTries {
			return err
		}
		time.Sleep(removeWait)
	}
}

// removeBelow empties an open directory.
func removeBelow(ctx context.Context, fd int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l, err := lookFd(fd); err != nil {
		return err
	} else if l.perm()&0o700 != 0o700 {
		if err := unix.Fchmod(fd, 0o700); err != nil {
			return err
		}
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return err
	}
	names, err := readNames(fd, make([]byte, dirBuffer))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is gone itself
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeAll(ctx, fd, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
