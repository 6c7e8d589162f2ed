package workspace

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Kept is a workspace as a job left it.
type Kept struct {
	Run, Job string
	Dirs     plan.Dirs // where it is now; Reclaim puts it back where it was
	Since    time.Time
	Crashed  bool // nobody gave it back: the process that ran the job ended

	hold holding
	at   string // its directory under DIR/kept, "" while it is in its place
}

// Kept finds what was kept of a job.
func (s *Slots) Kept(run, job string) (Kept, bool) { return s.find(run, job, "") }

// find looks for a kept workspace. The lock file ours is locked by the caller.
func (s *Slots) find(run, job, ours string) (Kept, bool) {
	aside := s.asidePath(run, job)
	if h, ok := readHoldingAt(filepath.Join(aside, "_slot", "holding")); ok && h.is(run, job) {
		return s.keptAside(aside, h), true
	}
	// In its place still: a lock file tells.
	found, err := filepath.Glob(filepath.Join(globQuote(s.Dir), "*", "_locks", "*"))
	if err != nil {
		return Kept{}, false
	}
	for _, path := range found {
		h, ok := readHoldingAt(path)
		if !ok || !h.is(run, job) || !h.left() {
			continue
		}
		if h.State == busy && path != ours {
			f, err := lockFile(path, false)
			if err != nil {
				continue // its job is running
			}
			unlockFile(f)
		}
		return Kept{Run: h.Run, Job: h.Job, Dirs: s.dirs(&h), Since: h.Since, Crashed: h.State == busy, hold: h}, true
	}
	return Kept{}, false
}

func (s *Slots) asidePath(run, job string) string {
	return filepath.Join(s.Dir, "kept", slug(run), slug(job))
}

func (s *Slots) keptAside(at string, h holding) Kept {
	k := Kept{Run: h.Run, Job: h.Job, Dirs: s.dirs(&h), Since: h.Since, Crashed: h.State == busy, hold: h, at: at}
	if !h.InPlace {
		k.Dirs.Workspace = filepath.Join(at, h.Name)
	}
	k.Dirs.Temp = filepath.Join(at, "_temp")
	return k
}

func readHoldingAt(path string) (holding, bool) {
	f, err := os.Open(path)
	if err != nil {
		return holding{}, false
	}
	defer f.Close()
	return readHolding(f)
}

// Reclaim puts the kept workspace of a job back where the job ran, exactly as
// it was left, and gives it to newRun. [ErrNotKept]: there is none. [ErrInUse]:
// another run has the place; try again when it is done.
func (s *Slots) Reclaim(ctx context.Context, t *Tree, run, job, newRun string) (*Slot, error) {
	l, err := s.reclaim(ctx, t, run, job, newRun)
	if err != nil {
		return nil, fmt.Errorf("kept workspace of job %s of run %s: %w", job, run, err)
	}
	return l, nil
}

func (s *Slots) reclaim(ctx context.Context, t *Tree, run, job, newRun string) (_ *Slot, err error) {
	k, ok := s.Kept(run, job)
	if !ok {
		return nil, ErrNotKept
	}
	if k.hold.Root != t.root {
		return nil, fmt.Errorf("it is of the tree %s: %w", k.hold.Root, ErrNotKept)
	}
	lock := filepath.Join(s.Dir, k.hold.Repo, "_locks", k.hold.Place)
	f, err := lockFile(lock, false)
	if errors.Is(err, errBusy) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unlockFile(f)
		}
	}()
	// Between finding it and locking its place, another may have moved it.
	if k, ok = s.find(run, job, lock); !ok {
		return nil, ErrNotKept
	}
	l := &Slot{slots: s, lock: f}
	if k.at != "" {
		if now, ok := readHolding(f); ok && now.left() {
			l.hold = now
			if err := s.setAside(ctx, l); err != nil {
				return nil, err
			}
		}
		if err := s.putBack(ctx, &k); err != nil {
			return nil, err
		}
	}
	l.hold = k.hold
	l.hold.Run, l.hold.State, l.hold.Since = newRun, busy, time.Now()
	l.Dirs = s.dirs(&l.hold)
	if err := l.write(); err != nil {
		return nil, err
	}
	return l, nil
}

// place is the directory of a slot.
func (s *Slots) place(h *holding) string { return filepath.Join(s.Dir, h.Repo, h.Place) }

func (s *Slots) spare(h *holding) string { return s.place(h) + "~spare" }

// setAside moves what the locked slot holds to DIR/kept, in one step. Some
// older copy takes its place if there is one, since mending that is cheaper than
// copying everything.
func (s *Slots) setAside(ctx context.Context, l *Slot) error {
	h := &l.hold
	place, aside := s.place(h), s.asidePath(h.Run, h.Job)
	if was, ok := readHoldingAt(filepath.Join(aside, "_slot", "holding")); ok && was.is(h.Run, h.Job) && was.Since.Equal(h.Since) {
		return nil // a crash after it was moved, before the lock file told
	}
	note, err := json.Marshal(h)
	if err != nil {
		return err
	}
	switch err := replaceFile(filepath.Join(place, "_slot", "holding"), note); {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
			return nil // nothing left to keep
		}
		if err := os.MkdirAll(filepath.Join(place, "_slot"), 0o755); err != nil {
			return fmt.Errorf("keep workspace of run %s: %w", h.Run, err)
		}
		if err := replaceFile(filepath.Join(place, "_slot", "holding"), note); err != nil {
			return fmt.Errorf("keep workspace of run %s: %w", h.Run, err)
		}
	case err != nil:
		return fmt.Errorf("keep workspace of run %s: %w", h.Run, err)
	}
	if err := s.discard(ctx, aside); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(aside), 0o755); err != nil {
		return fmt.Errorf("keep workspace of run %s: %w", h.Run, err)
	}
	if err := os.Rename(place, aside); err != nil {
		return fmt.Errorf("keep workspace of run %s: %w", h.Run, err)
	}
	if os.Rename(s.spare(h), place) == nil {
		return s.dropKept(ctx)
	}
	// The oldest of this job beyond what is kept of one serves again.
	mine := slices.DeleteFunc(s.allKept(), func(k Kept) bool {
		return k.hold.Repo != h.Repo || k.Job != h.Job || k.hold.InPlace != h.InPlace
	})
	if len(mine) > keepPerJob && os.Rename(mine[0].at, place) == nil {
		os.Remove(filepath.Dir(mine[0].at)) // the run's directory, if that was its last
	}
	return s.dropKept(ctx)
}

// putBack moves a kept workspace to the place it came from, which the caller
// has locked; the copy that is there is laid by.
func (s *Slots) putBack(ctx context.Context, k *Kept) error {
	place, spare := s.place(&k.hold), s.spare(&k.hold)
	if err := s.discard(ctx, spare); err != nil {
		return err
	}
	if err := os.Rename(place, spare); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make room: %w", err)
	}
	if err := os.Rename(k.at, place); errors.Is(err, fs.ErrNotExist) {
		return ErrNotKept
	} else if err != nil {
		return fmt.Errorf("put back: %w", err)
	}
	os.Remove(filepath.Dir(k.at))
	k.at = ""
	return nil
}

// allKept is all that was moved aside, the oldest first.
func (s *Slots) allKept() []Kept {
	found, err := filepath.Glob(filepath.Join(globQuote(s.Dir), "kept", "*", "*"))
	if err != nil {
		return nil
	}
	var all []Kept
	for _, at := range found {
		h, _ := readHoldingAt(filepath.Join(at, "_slot", "holding"))
		all = append(all, s.keptAside(at, h))
	}
	slices.SortFunc(all, func(a, b Kept) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.at, b.at))
	})
	return all
}

// dropKept drops what is kept beyond the limits, the oldest first.
func (s *Slots) dropKept(ctx context.Context) error {
	most, age := cmp.Or(s.KeepAtMost, defaultKeepAtMost), cmp.Or(s.KeepFor, defaultKeepFor)
	all := s.allKept()
	for i, k := range all {
		if len(all)-i > most || time.Since(k.Since) > age {
			if err := s.discard(ctx, k.at); err != nil {
				return err
			}
			os.Remove(filepath.Dir(k.at))
		}
	}
	return nil
}

// discard removes a directory of ours: first it is moved to where nobody looks
// for it, so that it is never seen half removed.
func (s *Slots) discard(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	trash := filepath.Join(s.Dir, "trash")
	if err := os.MkdirAll(trash, 0o755); err != nil {
		return fmt.Errorf("discard %s: %w", path, err)
	}
	to := filepath.Join(trash, strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.Rename(path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discard %s: %w", path, err)
	}
	// With it goes what a crash left in the trash.
	fd, err := unix.Open(trash, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("discard %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := removeBelow(ctx, fd); err != nil {
		return fmt.Errorf("discard %s: %w", path, err)
	}
	return nil
}

// Prune removes the slots that no job has used for that long, and what is kept
// beyond the limits. It returns the directories that are gone. Slots in use
// stay.
func (s *Slots) Prune(ctx context.Context, unused time.Duration) ([]string, error) {
	locks, err := filepath.Glob(filepath.Join(globQuote(s.Dir), "*", "_locks", "*"))
	if err != nil {
		return nil, fmt.Errorf("prune workspaces: %w", err)
	}
	var gone []string
	for _, path := range locks {
		f, err := lockFile(path, false)
		if errors.Is(err, errBusy) {
			continue
		}
		if err != nil {
			return gone, fmt.Errorf("prune workspaces: %w", err)
		}
		h, ok := readHolding(f)
		if ok && time.Since(h.Since) >= unused {
			place := s.place(&h)
			for _, at := range []string{place, s.spare(&h)} {
				if _, e := os.Lstat(at); e != nil {
					continue
				}
				if err = s.discard(ctx, at); err != nil {
					break
				}
				gone = append(gone, at)
			}
		}
		unlockFile(f)
		if err != nil {
			return gone, fmt.Errorf("prune workspaces: %w", err)
		}
	}
	return gone, s.dropKept(ctx)
}
