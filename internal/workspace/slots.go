package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Slots are the places where jobs see their own copies of trees. All of them
// lie in one directory, which several processes may use at once:
//
//	DIR/<repository>/<n>/<name>     a workspace
//	DIR/<repository>/<n>/_temp      emptied for every job
//	DIR/<repository>/<n>/_slot      the manifest
//	DIR/<repository>/_locks/<n>     who has it, or had it last
//	DIR/<repository>/<n>~spare      a copy not needed just now
//	DIR/<repository>/tree-<n>       of a job that works in the user's tree
//	DIR/kept/<run>/<job>            moved aside for a later run
//	DIR/tools                       kept for ever
//
// A repository's slots are numbered from 1; there are as many as its jobs ever
// needed at the same time. Any job may get any of them, and so may another
// clone of the repository, since what a step writes down of its place shall
// fit wherever the same is done again. Repositories are told apart by the
// address of their remote, or else by the path of the tree.
type Slots struct {
	Dir string // absolute; made when needed

	// Failed workspaces that were moved aside are dropped when there are more than
	// KeepAtMost of them (0: 10), more than two of one job, or when they are
	// older than KeepFor (0: a week).
	KeepAtMost int
	KeepFor    time.Duration
}

// Defaults and limits of slots.
const (
	defaultKeepAtMost = 10
	defaultKeepFor    = 7 * 24 * time.Hour
	keepPerJob        = 2
	maxPlaces         = 1024 // of a repository, in use at the same time
	maxSlug           = 80   // bytes
)

// Errors of slots.
var (
	// ErrNotKept says that nothing was kept of a job.
	ErrNotKept = errors.New("nothing was kept of the job")
	// ErrInUse says that another job is in the place where a kept workspace
	// belongs.
	ErrInUse = errors.New("the job's workspace is in use by another run")

	// ErrTaken says that the place that was asked for is not free.
	ErrTaken = errors.New("the place is taken")
	// ErrMoved says that a file has changed since the look at the tree that was
	// to be copied.
	ErrMoved = errors.New("the tree has changed meanwhile")

	errBusy = errors.New("locked by another")
)

// Slot is a job's place while the job has it.
type Slot struct {
	Dirs plan.Dirs
	// Notes tell of files of the tree that could not be part of the copy.
	Notes []string
	// What it took to make the slot ready.
	Files, Copied, Removed int
	Bytes                  int64

	slots *Slots
	hold  holding
	lock  *os.File
}

// holding is who has a slot, as written into its lock file.
type holding struct {
	Run     string    `json:"run"`
	Job     string    `json:"job"`
	State   state     `json:"state"`
	Root    string    `json:"root"` // of the tree
	Name    string    `json:"name"` // of the workspace's directory
	Place   string    `json:"place"`
	Repo    string    `json:"repo"` // the directory of the repository's slots
	InPlace bool      `json:"in_place,omitempty"`
	Since   time.Time `json:"since"`
	// Past are the jobs that were here, the last one first: what a step of theirs
	// did is reused where its paths are the same.
	Past []string `json:"past,omitempty"`
}

// Limits of holding.Past: jobs, and bytes of a job's name.
const (
	maxPast     = 32
	maxPastName = 500
)

// state of a slot. What a crash left behind is told by it: a slot that is busy
// and not locked was left in the middle of its job, and is kept like that of a
// failed one.
type state string

const (
	free    state = "free"
	filling state = "filling" // being mended: nobody's work is in it
	busy    state = "busy"
	kept    state = "kept"
)

// Claim asks for a slot.
type Claim struct {
	Job, Run string
	// At is the workspace that is wanted, one that [Slots.Places] named; "" for
	// any.
	At string
	// Paper says what the slot shall hold, and the tree is not looked at again;
	// nil for the tree as it is.
	Paper *Paper
}

// Acquire gives a job its own copy of the tree: exactly the tree's files,
// whatever the last job has left there.
//
// Jobs of one run that start together see the tree at the same moment; a job
// that starts later sees it as it is then. With a paper the slot holds what the
// paper says, or the error wraps [ErrMoved]: a file that had to be copied is not
// any more what it was. An error that wraps [ErrTaken] says that another has
// the place that was asked for.
func (s *Slots) Acquire(ctx context.Context, t *Tree, c Claim) (*Slot, error) {
	slot, err := s.acquire(ctx, t, c)
	if err != nil {
		return nil, fmt.Errorf("workspace of job %s: %w", c.Job, err)
	}
	return slot, nil
}

func (s *Slots) acquire(ctx context.Context, t *Tree, c Claim) (*Slot, error) {
	if c.Paper != nil && c.Paper.root != t.root {
		return nil, fmt.Errorf("the paper is of another tree, %s", c.Paper.root)
	}
	l, err := s.take(ctx, t, c, false)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, t, l, c.Paper); err != nil {
		unlockFile(l.lock)
		return nil, err
	}
	l.hold.State = busy
	if err := l.write(); err != nil {
		unlockFile(l.lock)
		return nil, err
	}
	return l, nil
}

// InPlace gives a job the tree itself: its steps work on the user's files.
// The temporary directory is a slot's all the same.
func (s *Slots) InPlace(ctx context.Context, t *Tree, job, run string) (*Slot, error) {
	l, err := s.take(ctx, t, Claim{Job: job, Run: run}, true)
	if err == nil {
		var fd int
		if fd, err = s.openPlace(l); err == nil {
			err = emptyDir(ctx, fd, "_temp")
			unix.Close(fd)
		}
		if err == nil {
			l.hold.State = busy
			err = l.write()
		}
		if err != nil {
			unlockFile(l.lock)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("workspace of job %s: %w", job, err)
	}
	return l, nil
}

// Keep ends the job's hold on the slot and keeps what it left there, for
// [Slots.Reclaim].
func (l *Slot) Keep() error { return l.end(kept) }

// Release ends the job's hold on the slot; others may have it.
func (l *Slot) Release() error { return l.end(free) }

func (l *Slot) end(to state) error {
	if l.lock == nil {
		return nil
	}
	l.hold.State, l.hold.Since = to, time.Now()
	err := l.write()
	if e := unlockFile(l.lock); err == nil {
		err = e
	}
	l.lock = nil
	if err != nil {
		return fmt.Errorf("give back workspace of job %s: %w", l.hold.Job, err)
	}
	return nil
}

// write notes who holds the slot, in the lock file that the slot has locked.
func (l *Slot) write() error {
	b, err := json.Marshal(&l.hold)
	if err != nil {
		return err
	}
	// One write of the whole, padded over what was there: a crash leaves the old or
	// the new.
	b = append(b, '\n')
	if st, err := l.lock.Stat(); err == nil && int(st.Size()) > len(b) {
		b = append(b, strings.Repeat(" ", int(st.Size())-len(b))...)
	}
	if _, err := l.lock.WriteAt(b, 0); err != nil {
		return fmt.Errorf("note who holds %s: %w", l.hold.Place, err)
	}
	return nil
}

func readHolding(f *os.File) (holding, bool) {
	b := make([]byte, 64<<10)
	n, _ := f.ReadAt(b, 0)
	var h holding
	if n == 0 || json.Unmarshal(b[:n], &h) != nil {
		return holding{}, false
	}
	return h, true
}

func (s *Slots) dirs(h *holding) plan.Dirs {
	at := filepath.Join(s.Dir, h.Repo, h.Place)
	d := plan.Dirs{
		Workspace: filepath.Join(at, h.Name),
		Temp:      filepath.Join(at, "_temp"),
		Tools:     filepath.Join(s.Dir, "tools"),
	}
	if h.InPlace {
		d.Workspace = h.Root
	}
	return d
}

// mark says, in the ways that tools know, that the directory is a cache.
func (s *Slots) mark() error {
	tag := filepath.Join(s.Dir, tagName)
	if _, err := os.Lstat(tag); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "tools"), 0o755); err != nil {
		return err
	}
	// When the directory lies in a tree, git shall not see it.
	if err := os.WriteFile(filepath.Join(s.Dir, ".gitignore"), []byte("*\n"), 0o644); err != nil {
		return err
	}
	if err := replaceFile(tag, []byte(tagText)); err != nil {
		if _, e := os.Lstat(tag); e != nil { // and not done by another at the same time
			return err
		}
	}
	return nil
}

// A directory with this file in it holds slots. It is no part of a tree that
// it happens to lie in.
const (
	tagName = "CACHEDIR.TAG"
	tagText = "Signature: 8a477f597d28d172789f06886806bc55\n# Workspaces of fairlead. They can be deleted when no run is under way.\n"
)

// isOurs reports whether an open directory bears our tag.
func isOurs(dir int) bool {
	fd, err := openAt(dir, tagName, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [len(tagText)]byte
	n, err := retry(func() (int, error) { return unix.Read(fd, b[:]) })
	return err == nil && string(b[:n]) == tagText
}

// openPlace opens the directory of a slot, making what is missing. No step of
// the way may be a link.
func (s *Slots) openPlace(l *Slot) (int, error) {
	top, err := retry(func() (int, error) { return unix.Open(s.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", s.Dir, err)
	}
	defer unix.Close(top)
	repo, _, err := enterDir(top, l.hold.Repo, true)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", l.hold.Repo, err)
	}
	defer unix.Close(repo)
	fd, _, err := enterDir(repo, l.hold.Place, true)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", l.hold.Place, err)
	}
	return fd, nil
}

// emptyDir makes a directory hold nothing; it is made when missing.
func emptyDir(ctx context.Context, dir int, name string) error {
	fd, _, err := enterDir(dir, name, true)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := removeBelow(ctx, fd); err != nil {
		return fmt.Errorf("empty %s: %w", name, err)
	}
	return nil
}

// clearPlace empties the temporary directory, and takes out what does not belong
// to a slot: the workspace of a repository of another name.
func clearPlace(ctx context.Context, fd int, name string) error {
	names, err := readNames(fd, make([]byte, dirBuffer))
	if err != nil {
		return fmt.Errorf("list the slot: %w", err)
	}
	for _, n := range names {
		if n == name || n == "_slot" || n == "_temp" {
			continue
		}
		if err := removeAll(ctx, fd, n); err != nil {
			return fmt.Errorf("remove %s: %w", n, err)
		}
	}
	return emptyDir(ctx, fd, "_temp")
}

// fill makes the slot hold the tree, or what the paper says of it.
func (s *Slots) fill(ctx context.Context, t *Tree, l *Slot, p *Paper) error {
	place, err := s.openPlace(l)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	if err := clearPlace(ctx, place, l.hold.Name); err != nil {
		return err
	}
	own, _, err := enterDir(place, "_slot", true)
	if err != nil {
		return fmt.Errorf("open _slot: %w", err)
	}
	defer unix.Close(own)

	// The manifest is read while the tree is looked at.
	boot := bootID()
	path := filepath.Join(s.Dir, l.hold.Repo, l.hold.Place, "_slot", "manifest")
	old := make(chan manifest, 1)
	go func() { old <- readManifest(path, boot, t.root) }()
	var snap *snapshot
	if p != nil {
		snap = p.snap
	} else {
		snap, err = t.snapshot(ctx, l.hold.Run)
	}
	known := <-old
	if err != nil {
		return err
	}

	work, _, err := enterDir(place, l.hold.Name, true)
	if err != nil {
		return fmt.Errorf("open %s: %w", l.hold.Name, err)
	}
	defer unix.Close(work)
	m, err := t.mender(ctx, known)
	if err != nil {
		return err
	}
	defer unix.Close(m.source)
	m.exact = p != nil
	if err := m.mend(work, snap.top); err != nil {
		return err
	}
	l.Notes = slices.Concat(snap.notes, m.notes)
	l.Files, l.Copied, l.Removed = snap.files, int(m.stats.copied.Load()), int(m.stats.removed.Load())
	l.Bytes = m.stats.bytes.Load()
	if m.changed.Load() {
		if err := settle(ctx, own, m.latest.Load()); err != nil {
			return err
		}
		if err := m.new.write(path, boot, t.root); err != nil {
			return err
		}
	}
	if f := m.missing.Load(); f != nil {
		return fmt.Errorf("%s: %w", f.from, ErrMoved)
	}
	return nil
}

// mender is one that copies from this tree. The caller closes its source.
func (t *Tree) mender(ctx context.Context, old manifest) (*mender, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(t.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open tree %s: %w", t.root, err)
	}
	return &mender{pool: newPool(ctx), source: fd, cut: len(t.below()), old: old, new: make(manifest, len(old))}, nil
}

// settle waits until the file system's clock has left the moment of the last
// copy behind: a step that changes a copy from now on changes its ctime. On
// kernels with fine-grained file times that is at once, on others up to one
// tick.
func settle(ctx context.Context, dir int, latest int64) error {
	fd, err := openAt(dir, "clock", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return fmt.Errorf("read file clock: %w", err)
	}
	defer unix.Close(fd)
	for mode := uint32(0o600); ; mode ^= 0o100 {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("read file clock: %w", err)
		}
		l, err := lookFd(fd)
		if err != nil {
			return fmt.Errorf("read file clock: %w", err)
		}
		if l.ctime > latest {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
	}
}
