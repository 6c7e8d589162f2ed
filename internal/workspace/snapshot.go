package workspace

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// node is a directory that is wanted: of the user's tree, or made by hand.
type node struct {
	name  string
	path  string // relative to the top, "" for the top itself
	perm  uint32
	files []file  // by name
	dirs  []*node // by name
	stays bool    // even when empty
	ours  bool    // holds slots: no part of any tree
}

// mode is the permissions that the directory has in a slot.
func (n *node) mode() uint32 { return n.perm | 0o700 }

// file is a file or a symbolic link that is wanted.
type file struct {
	name       string
	look       look // of the source
	dev, links uint64
	// Where the bytes are: at an absolute path, or here.
	from string
	body []byte
	made bool // body counts
	// Taken over from the user's git directory. One that is shared in a group
	// may be read-only to us: the slot's is not.
	git bool
	// The copy shall be a second newer than the source, see [scan.meet].
	newer bool
}

// perm is what the copy shall have.
func (f *file) perm() uint32 { return f.permOf(f.look) }

// permOf is what the copy shall have when the source looks so.
func (f *file) permOf(source look) uint32 {
	if f.git && !source.is(unix.S_IFLNK) {
		return source.perm() | 0o600
	}
	return source.perm()
}

// mtime is what the copy shall have.
func (f *file) mtime() int64 {
	if f.newer {
		return f.look.mtime + 1e9
	}
	return f.look.mtime
}

// snapshot is one look at a tree.
type snapshot struct {
	at      time.Time // before the first file was looked at
	top     *node
	files   int
	notes   []string
	stand   standing
	staged  []staged
	strange []string // untracked and not ignored, slash paths
}

// staged is the index of a repository in the tree, to be compared with its
// HEAD when somebody asks.
type staged struct {
	repo  *repository
	tree  string // "" when git has not noted it
	empty bool
}

// standing is how the tree stands against the index.
type standing int32

// The standings, in order of weight.
const (
	same    standing = iota // every tracked file looks as git has seen it
	unsure                  // some look otherwise but may hold the same
	changed                 // some are missing, other, or new
)

// Limits on trees.
const (
	maxDepth     = 512 // directories in one another
	maxNotes     = 100
	snapshotLife = time.Second // how long jobs of one run share a look
	dirBuffer    = 32 << 10    // bytes read from a directory at once
)

// flight is a look at the tree under way, or just done.
type flight struct {
	run  string
	done chan struct{}
	snap *snapshot
	err  error
}

// snapshot looks at the tree. Calls for the same run that come together, or
// within snapshotLife, share one look; the first run after the facts were
// asked takes over theirs.
func (t *Tree) snapshot(ctx context.Context, run string) (*snapshot, error) {
	for {
		t.shared.mu.Lock()
		f := t.shared.flight
		if f != nil && f.run == factsRun && t.repo != nil {
			f.run = run
		}
		if f != nil && f.run == run {
			t.shared.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if f.err == nil && time.Since(f.snap.at) < snapshotLife {
				return f.snap, nil
			}
			// Too old, or its caller gave up: the first to see it looks again.
			t.shared.mu.Lock()
			if t.shared.flight == f {
				t.shared.flight = nil
			}
			t.shared.mu.Unlock()
			continue
		}
		f = &flight{run: run, done: make(chan struct{})}
		t.shared.flight = f
		t.shared.mu.Unlock()
		f.snap, f.err = t.look(ctx, fileID{})
		close(f.done)
		return f.snap, f.err
	}
}

// look walks the tree. The directory skip is left out.
func (t *Tree) look(ctx context.Context, skip fileID) (*snapshot, error) {
	s := &scan{skip: skip, below: t.below(), user: uint32(os.Geteuid()), snap: &snapshot{at: time.Now()}}
	s.pool = newPool(ctx)
	top := &node{perm: 0o755}
	s.snap.top = top
	fd, err := unix.Open(t.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", t.root, err)
	}
	if l, err := lookFd(fd); err == nil {
		top.perm = l.perm()
	}
	err = s.repository(ctx, fd, top, t.repo)
	s.wait()
	unix.Close(fd)
	if err == nil {
		err = s.err()
	}
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", t.root, err)
	}
	s.snap.files = int(s.files.Load())
	if s.met.Load() < s.expected.Load() {
		s.weigh(changed)
	}
	s.snap.stand = standing(s.stand.Load())
	if s.ours.Load() {
		top.dirs = slices.DeleteFunc(top.dirs, dropOurs)
	}
	if t.repo != nil {
		prune(top)
	}
	slices.Sort(s.snap.notes)
	slices.Sort(s.snap.strange)
	return s.snap, nil
}

// dropOurs takes out directories of Fairlead's own.
func dropOurs(n *node) bool {
	n.dirs = slices.DeleteFunc(n.dirs, dropOurs)
	return n.ours
}

// prune takes out directories that hold nothing: they mean nothing to git.
func prune(n *node) (empty bool) {
	n.dirs = slices.DeleteFunc(n.dirs, prune)
	return len(n.files) == 0 && len(n.dirs) == 0 && !n.stays
}

// pool spreads a walk over the processors: directories go to whoever is idle,
// and are walked on the spot when nobody is.
type pool struct {
	ctx   context.Context
	slots chan struct{}
	group sync.WaitGroup

	mu    sync.Mutex
	first error
	over  atomic.Bool
}

func newPool(ctx context.Context) pool {
	return pool{ctx: ctx, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))}
}

func (p *pool) do(work func()) {
	select {
	case p.slots <- struct{}{}:
		p.group.Go(func() {
			work()
			<-p.slots
		})
	default:
		work()
	}
}

func (p *pool) wait() { p.group.Wait() }

func (p *pool) fail(err error) {
	p.mu.Lock()
	if p.first == nil {
		p.first = err
	}
	p.mu.Unlock()
	p.over.Store(true)
}

func (p *pool) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first
}

// stopped reports whether the walk need not go on.
func (p *pool) stopped() bool {
	if p.over.Load() {
		return true
	}
	if err := p.ctx.Err(); err != nil {
		p.fail(err)
		return true
	}
	return false
}

// scan is a walk over the user's tree.
type scan struct {
	pool
	skip  fileID
	below string // the tree's root, with a slash
	user  uint32 // who reads
	snap  *snapshot
	files atomic.Int64
	stand atomic.Int32
	ours  atomic.Bool // some directory is
	// Tracked files that should be there, and those that are.
	expected, met atomic.Int64

	buffers sync.Pool
}

func (s *scan) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snap.notes) < maxNotes {
		s.snap.notes = append(s.snap.notes, fmt.Sprintf(format, args...))
	}
}

// weigh notes how a file stands against the index.
func (s *scan) weigh(to standing) {
	for {
		now := s.stand.Load()
		if int32(to) <= now || s.stand.CompareAndSwap(now, int32(to)) {
			return
		}
	}
}

// place is a directory during the walk.
type place struct {
	*node
	fd      int
	depth   int
	repo    *placeRepo // nil in a plain directory
	tracked []tracked  // below here
	ignored bool       // untracked files here are left out
	rules   *rules
}

// placeRepo is what holds in all of a repository's directories.
type placeRepo struct {
	*repository
	prefix  int // bytes of the paths above its working tree, slash counted
	fold    bool
	written int64 // its index, nanoseconds
	nest    int   // submodules around it
}

// repository walks the working tree of a repository, nil for a plain
// directory.
func (s *scan) repository(ctx context.Context, fd int, top *node, r *repository) error {
	p := place{node: top, fd: fd}
	if r != nil {
		var err error
		if p, err = s.enter(ctx, p, r, 0); err != nil {
			return err
		}
	}
	s.walk(p)
	return nil
}

// enter makes a place the top of a repository's working tree.
func (s *scan) enter(ctx context.Context, p place, r *repository, nest int) (place, error) {
	idx, err := r.readIndex()
	foreign := errors.Is(err, errForeignIndex)
	if foreign {
		idx, err = askIndex(ctx, r)
	}
	if err != nil {
		return p, err
	}
	rules, fold, err := r.ignoreRules(ctx)
	if err != nil {
		return p, err
	}
	prefix := 0
	if p.path != "" {
		prefix = len(p.path) + 1
	}
	p.repo = &placeRepo{repository: r, prefix: prefix, fold: fold, nest: nest}
	if l, err := lookPath(filepath.Join(r.git, "index")); err == nil {
		p.repo.written = l.mtime
	}
	p.tracked, p.rules, p.ignored = idx.entries, rules, false
	s.expect(idx)
	git, err := r.standIn(p.path, foreign)
	if err != nil {
		return p, err
	}
	p.dirs = append(p.dirs, git)
	s.mu.Lock()
	s.snap.staged = append(s.snap.staged, staged{repo: r, tree: idx.tree, empty: len(idx.entries) == 0})
	s.mu.Unlock()
	return p, nil
}

// expect counts the files that should be there.
func (s *scan) expect(idx *index) {
	n := 0
	for i := range idx.entries {
		switch e := &idx.entries[i]; {
		case e.extended&extSkipWorktree != 0:
		case e.flags&flagStage != 0, e.extended&extIntentToAdd != 0:
			s.weigh(changed) // a merge under way, a file half added
		default:
			n++
		}
	}
	s.expected.Add(int64(n))
}

// meet counts a tracked file that is there, and compares it with how git last
// saw it. A file whose size and time are as git knows them and whose ctime or
// inode are not may have other content. Git in the slot compares sizes and times
// only and would miss that, so the copy gets another time.
func (s *scan) meet(p place, git *tracked, l look) (newer bool) {
	if git.flags&flagStage != 0 || git.extended&(extSkipWorktree|extIntentToAdd) != 0 {
		return false
	}
	s.met.Add(1)
	newer = git.mtime/1e9 == l.mtime/1e9 && (git.mtime != l.mtime || !sameTime(git.ctime, l.ctime) || git.ino != uint32(l.ino))
	switch {
	case git.mode&modeType == modeGitlink: // its own index tells
	case git.mode&modeType != l.mode&unix.S_IFMT:
		s.weigh(changed)
	case git.flags&flagAssumeValid != 0:
	case git.size != uint32(l.size):
		if git.size == 0 { // git notes 0 where it is not sure itself
			s.weigh(unsure)
		} else {
			s.weigh(changed)
		}
	case !sameTime(git.mtime, l.mtime), !sameTime(git.ctime, l.ctime), git.ino != uint32(l.ino),
		l.is(unix.S_IFREG) && (git.mode^l.mode)&0o100 != 0,
		l.mtime >= p.repo.written: // written in the same moment as the index
		s.weigh(unsure)
	}
	return newer
}

// sameTime compares a time of the index, which may be in whole seconds.
func sameTime(git, file int64) bool {
	if git%1e9 == 0 {
		return git/1e9 == file/1e9
	}
	return git == file
}

func (s *scan) untracked(path string) {
	s.weigh(changed)
	s.mu.Lock()
	s.snap.strange = append(s.snap.strange, path)
	s.mu.Unlock()
}

// walk lists one directory and all below it.
func (s *scan) walk(p place) {
	if s.stopped() {
		return
	}
	if p.depth > maxDepth {
		s.fail(fmt.Errorf("%s: directories nested deeper than %d", p.path, maxDepth))
		return
	}
	buf, _ := s.buffers.Get().(*[dirBuffer]byte)
	if buf == nil {
		buf = new([dirBuffer]byte)
	}
	names, err := readNames(p.fd, buf[:])
	s.buffers.Put(buf)
	if err != nil {
		s.fail(fmt.Errorf("list %s: %w", p.show(), err))
		return
	}
	slices.Sort(names)
	if _, found := slices.BinarySearch(names, tagName); found && isOurs(p.fd) {
		p.ours = true
		s.ours.Store(true)
		return
	}

	var in within
	cut := 0 // bytes of p.path inside its repository, slash counted
	if p.repo != nil {
		if p.path != "" {
			cut = len(p.path) + 1 - p.repo.prefix
		}
		in = list(p.tracked, cut)
		if _, found := slices.BinarySearch(names, ".gitignore"); found && !p.ignored {
			if own := readIgnore(p.fd); len(own) > 0 {
				p.rules = &rules{above: p.rules, base: cut, list: own}
			}
		}
	}
	p.files = slices.Grow(p.files, len(names))
	for _, name := range names {
		if name == ".git" {
			continue // the user's own; the slot's is made by hand
		}
		var st unix.Stat_t
		if err := statAt(p.fd, name, &st); err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
				s.note("%s: left out: %v", join(p.path, name), err)
			}
			continue
		}
		l := lookOf(&st)
		var git *tracked
		if p.repo != nil {
			git = in.file(name, cut)
		}
		switch l.mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFLNK:
			newer := false
			if p.repo != nil {
				if git != nil && git.mode&modeType != modeGitlink {
					newer = s.meet(p, git, l)
				} else if p.ignored || p.rules.ignored(join(p.path, name)[p.repo.prefix:], false, p.repo.fold) {
					continue
				} else {
					s.untracked(join(p.path, name))
				}
			}
			if err := s.readable(p.fd, name, &st); err != nil {
				s.note("%s: left out: %v", join(p.path, name), err)
				continue
			}
			p.files = append(p.files, file{name: name, look: l, dev: uint64(st.Dev), links: uint64(st.Nlink), newer: newer})
		case unix.S_IFDIR:
			if git != nil && git.mode&modeType == modeGitlink {
				s.meet(p, git, l)
			}
			s.directory(p, name, l, git, in.dir(name))
		default:
			if p.repo == nil || git != nil || !p.ignored && !p.rules.ignored(join(p.path, name)[p.repo.prefix:], false, p.repo.fold) {
				s.note("%s: left out: not a file, a directory or a link", join(p.path, name))
			}
		}
	}
	s.files.Add(int64(len(p.files)))
	s.locate(p)
	slices.SortFunc(p.dirs, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

// readable reports why a file cannot be read. Only of one that is not plainly
// the reader's own the system is asked.
func (s *scan) readable(dir int, name string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG || s.user == 0 || st.Uid == s.user && st.Mode&0o400 != 0 {
		return nil
	}
	err := unix.Faccessat(dir, name, unix.R_OK, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrPermission) {
		return errUnreadable
	}
	return nil // what else may be wrong, copying tells
}

// locate writes down where the files of a directory are, with one allocation
// for all.
func (s *scan) locate(p place) {
	above := s.below
	if p.path != "" {
		above += p.path + "/"
	}
	size := 0
	for i := range p.files {
		size += len(above) + len(p.files[i].name)
	}
	var b strings.Builder
	b.Grow(size)
	for i := range p.files {
		b.WriteString(above)
		b.WriteString(p.files[i].name)
	}
	text := b.String()
	for i := range p.files {
		n := len(above) + len(p.files[i].name)
		p.files[i].from, text = text[:n], text[n:]
	}
}

// directory walks a directory that lies in p, if it is part of the tree.
func (s *scan) directory(p place, name string, l look, git *tracked, below []tracked) {
	child := place{
		node: &node{name: name, path: join(p.path, name), perm: l.perm()}, depth: p.depth + 1,
		repo: p.repo, tracked: below, ignored: p.ignored, rules: p.rules,
	}
	link := git != nil && git.mode&modeType == modeGitlink
	if p.repo != nil && !link && !p.ignored {
		child.ignored = p.rules.ignored(child.path[p.repo.prefix:], true, p.repo.fold)
	}
	if child.ignored && len(below) == 0 && !link {
		return
	}
	fd, err := openAt(p.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.note("%s: left out: %v", child.path, err)
		}
		return
	}
	if s.skip != (fileID{}) {
		if id, err := idOf(fd); err == nil && id == s.skip {
			unix.Close(fd)
			return
		}
	}
	child.fd = fd
	if p.repo != nil {
		inner, err := s.nested(&child, p, link, git)
		if err != nil {
			s.fail(err)
		}
		if !inner || err != nil {
			unix.Close(fd)
			return
		}
	}
	child.stays = link // git misses a submodule's directory even when it is empty
	p.dirs = append(p.dirs, child.node)
	s.do(func() {
		s.walk(child)
		unix.Close(fd)
	})
}

// nested looks for a repository inside a repository: a submodule's tree is
// part of the tree, another one is not.
func (s *scan) nested(child *place, p place, link bool, git *tracked) (walk bool, err error) {
	if len(child.tracked) > 0 && !link {
		return true, nil
	}
	if _, err := lookAt(child.fd, ".git"); err != nil {
		// No repository. A submodule not checked out is an empty directory, and
		// whatever lies in it is not the outer repository's.
		if link {
			child.tracked, child.ignored = nil, true
		}
		return true, nil
	}
	r, err := openRepository(filepath.Join(p.repo.work, filepath.FromSlash(child.path[p.repo.prefix:])))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !link:
		if !child.ignored {
			s.note("%s: left out: a repository of its own and no submodule", child.path)
		}
		return false, nil
	case p.repo.nest >= maxSubmoduleNest:
		return false, fmt.Errorf("%s: submodules nested deeper than %d", child.path, maxSubmoduleNest)
	}
	if _, sha, err := r.head(s.ctx); err == nil && sha != git.object() {
		s.weigh(changed)
	}
	*child, err = s.enter(s.ctx, *child, r, p.repo.nest+1)
	return err == nil, err
}

// object is the name of the object, in hexadecimal.
func (e *tracked) object() string { return hex.EncodeToString([]byte(e.oid)) }

// join puts a name below a slash path.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// lookPath looks at a path; a link at its end is not followed.
func lookPath(path string) (look, error) { return lookAt(unix.AT_FDCWD, path) }

// show is the directory's path for people.
func (n *node) show() string {
	if n.path == "" {
		return "."
	}
	return n.path
}
