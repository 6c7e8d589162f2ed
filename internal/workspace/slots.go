package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
//	DIR/<repository>-<hash>/<job>/<name>     the workspace
//	DIR/<repository>-<hash>/<job>/_temp      emptied for every job
//	DIR/<repository>-<hash>/<job>/_slot      the manifest
//	DIR/<repository>-<hash>/_locks/<job>     who has it
//	DIR/<repository>-<hash>/<job>~spare      a copy not needed just now
//	DIR/kept/<run>/<job>                     moved aside for a later run
//	DIR/tools                                kept for ever
//
// The hash is of the tree's path. A job that runs twice at the same time has
// its second copy in <job>~2, and so on.
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
	maxTwins          = 256 // copies of one job at the same time
	maxSlug           = 80  // bytes
)

// Errors of slots.
var (
	// ErrNotKept says that nothing was kept of a job.
	ErrNotKept = errors.New("nothing was kept of the job")
	// ErrInUse says that another job is in the place where a kept workspace
	// belongs.
	ErrInUse = errors.New("the job's workspace is in use by another run")

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
}

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

// Acquire gives a job of a run its own copy of the tree: exactly the tree's
// files, whatever the last job has left there. Jobs of one run that start
// together see the tree at the same moment; a job that starts later sees it as
// it is then.
func (s *Slots) Acquire(ctx context.Context, t *Tree, job, run string) (*Slot, error) {
	slot, err := s.acquire(ctx, t, job, run)
	if err != nil {
		return nil, fmt.Errorf("workspace of job %s: %w", job, err)
	}
	return slot, nil
}

func (s *Slots) acquire(ctx context.Context, t *Tree, job, run string) (*Slot, error) {
	l, err := s.take(ctx, t, job, run, false)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, t, l); err != nil {
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
	l, err := s.take(ctx, t, job, run, true)
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

// take locks the first place of a job that nobody has.
func (s *Slots) take(ctx context.Context, t *Tree, job, run string, inPlace bool) (*Slot, error) {
	repo, name := s.repoDir(t), t.name()
	locks := filepath.Join(repo, "_locks")
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return nil, err
	}
	if err := s.mark(); err != nil {
		return nil, err
	}
	place := slug(job)
	if inPlace {
		place += "@tree"
	}
	for i := 1; i <= maxTwins; i++ {
		at := place
		if i > 1 {
			at = fmt.Sprintf("%s~%d", place, i)
		}
		f, err := lockFile(filepath.Join(locks, at), false)
		if errors.Is(err, errBusy) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l := &Slot{slots: s, lock: f}
		if h, ok := readHolding(f); ok && (h.State == kept || h.State == busy) && h.Run != run {
			l.hold = h
			if err := s.setAside(ctx, l); err != nil {
				unlockFile(f)
				return nil, err
			}
		}
		l.hold = holding{
			Run: run, Job: job, State: filling, Root: t.root, Name: name, Place: at,
			Repo: filepath.Base(repo), InPlace: inPlace, Since: time.Now(),
		}
		l.Dirs = s.dirs(&l.hold)
		if err := l.write(); err != nil {
			unlockFile(f)
			return nil, err
		}
		return l, nil
	}
	return nil, fmt.Errorf("%d copies of the job run already", maxTwins)
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

// repoDir is where the slots of a tree are.
func (s *Slots) repoDir(t *Tree) string {
	sum := sha256.Sum256([]byte(t.root))
	return filepath.Join(s.Dir, slug(t.name())+"-"+hex.EncodeToString(sum[:5]))
}

// mark says, in the ways that tools know, that the directory is a cache.
func (s *Slots) mark() error {
	tag := filepath.Join(s.Dir, "CACHEDIR.TAG")
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
	return os.WriteFile(tag, []byte("Signature: 8a477f597d28d172789f06886806bc55\n# Workspaces of fairlead. They can be deleted when no run is under way.\n"), 0o644)
}

// name is what a workspace's directory is called: the repository's name.
func (t *Tree) name() string {
	name := filepath.Base(t.root)
	if t.repo != nil {
		if r, ok := t.repo.remote(); ok && r.name() != "" {
			name = r.name()
		}
	}
	name = strings.TrimLeft(slug(name), "_")
	if name == "" {
		name = "workspace"
	}
	return name
}

// slug makes a name fit for a directory; names that had to be changed get a
// hash, so that different names stay different.
func slug(name string) string {
	out := []byte(name)
	for i, c := range out {
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
		if !ok {
			out[i] = '-'
		}
	}
	s := strings.TrimLeft(string(out), ".-")
	if len(s) > maxSlug {
		s = s[:maxSlug]
	}
	if s == name && !strings.HasPrefix(s, "_") && s != "kept" && s != "tools" {
		return s
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimLeft(s, "_") + "-" + hex.EncodeToString(sum[:4])
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

// fill makes the slot hold the tree.
func (s *Slots) fill(ctx context.Context, t *Tree, l *Slot) error {
	var self fileID
	if top, err := unix.Open(s.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		self, _ = idOf(top)
		unix.Close(top)
	}
	place, err := s.openPlace(l)
	if err != nil {
		return err
	}
	defer unix.Close(place)
	if err := emptyDir(ctx, place, "_temp"); err != nil {
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
	go func() { old <- readManifest(path, boot) }()
	snap, err := t.snapshot(ctx, l.hold.Run, self)
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
		if err := m.new.write(path, boot); err != nil {
			return err
		}
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
	return newMender(ctx, fd, old), nil
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
