package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Places are the directories that a job of the tree may be given, the ones
// most used first; those that others have just now are among them. When there
// is none yet it is the one that will be made first. It costs one look at a
// small directory.
func (s *Slots) Places(t *Tree) []plan.Dirs {
	h := holding{Repo: s.repoName(t), Name: t.name(), Root: t.root}
	numbers := placeNumbers(filepath.Join(s.Dir, h.Repo, "_locks"), copies)
	if len(numbers) == 0 {
		numbers = []int{1}
	}
	all := make([]plan.Dirs, len(numbers))
	for i, n := range numbers {
		h.Place = copies.place(n)
		all[i] = s.dirs(&h)
	}
	return all
}

// placeKind tells the places that hold a copy of the tree from those that hold
// a temporary directory only. It is what stands before their number.
type placeKind string

const (
	copies  placeKind = ""
	inPlace placeKind = "tree-"
)

func (k placeKind) place(n int) string { return string(k) + strconv.Itoa(n) }

// placeNumbers are the numbers of the places that there are, ascending.
func placeNumbers(locks string, k placeKind) []int {
	entries, err := os.ReadDir(locks)
	if err != nil {
		return nil // not made yet; else making the next lock tells
	}
	var all []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), string(k))
		if n, err := strconv.Atoi(digits); ok && err == nil && 0 < n && n <= maxPlaces && k.place(n) == e.Name() {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// take locks a place that nobody has.
func (s *Slots) take(ctx context.Context, t *Tree, c Claim, here bool) (*Slot, error) {
	want := holding{
		Run: c.Run, Job: c.Job, State: filling, Root: t.root, Name: t.name(),
		Repo: s.repoName(t), InPlace: here, Since: time.Now(),
	}
	locks := filepath.Join(s.Dir, want.Repo, "_locks")
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return nil, err
	}
	if err := s.mark(); err != nil {
		return nil, err
	}
	kind := copies
	if here {
		kind = inPlace
	}
	known := s.survey(locks, kind, &want)
	l := &Slot{slots: s}
	var err error
	if c.At != "" {
		l.lock, want.Place, err = s.lockAt(locks, &want, c.At)
	} else {
		l.lock, want.Place, err = lockAny(locks, kind, known)
	}
	if err != nil {
		return nil, err
	}
	h, ok := readHolding(l.lock)
	if ok && h.left() && !h.is(c.Run, c.Job) {
		l.hold = h
		err = s.setAside(ctx, l)
	}
	want.Past = slices.DeleteFunc(h.Past, func(job string) bool { return job == c.Job })
	if len(c.Job) <= maxPastName {
		want.Past = slices.Insert(want.Past[:min(len(want.Past), maxPast-1)], 0, c.Job)
	}
	if err == nil {
		err = s.forget(ctx, locks, known, &want)
	}
	if err == nil {
		l.hold = want
		l.Dirs = s.dirs(&l.hold)
		err = l.write()
	}
	if err != nil {
		unlockFile(l.lock)
		return nil, err
	}
	return l, nil
}

// left reports whether a job's work is in the slot, if nobody has it locked.
func (h *holding) left() bool { return h.State == kept || h.State == busy }

func (h *holding) is(run, job string) bool { return h.Run == run && h.Job == job }

// known is a place and what its lock file said when it was looked at.
type known struct {
	number int
	place  string
	hold   holding
}

// survey looks at the places that there are: first those that serve the
// claimant with the least work. Locks are not taken: what it says is a hint.
func (s *Slots) survey(locks string, k placeKind, want *holding) []known {
	var all []known
	for _, n := range placeNumbers(locks, k) {
		at := known{number: n, place: k.place(n)}
		at.hold, _ = readHoldingAt(filepath.Join(locks, at.place))
		all = append(all, at)
	}
	rank := func(at *known) int {
		switch h := &at.hold; {
		case h.left() && !h.is(want.Run, want.Job):
			return 2 // in use, or to be moved aside
		case h.Root != want.Root:
			return 1
		}
		return 0
	}
	stranger := func(at *known) int {
		if i := slices.Index(at.hold.Past, want.Job); i >= 0 {
			return i
		}
		return maxPast
	}
	slices.SortStableFunc(all, func(a, b known) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(stranger(&a), stranger(&b)))
	})
	return all
}

// lockAny locks the first of the known places that is free, or a new one.
func lockAny(locks string, k placeKind, all []known) (*os.File, string, error) {
	there := map[int]bool{}
	for _, at := range all {
		there[at.number] = true
		f, err := lockFile(filepath.Join(locks, at.place), false)
		if !errors.Is(err, errBusy) {
			return f, at.place, err
		}
	}
	for n := 1; n <= maxPlaces; n++ {
		if there[n] {
			continue
		}
		f, err := lockFile(filepath.Join(locks, k.place(n)), false)
		if !errors.Is(err, errBusy) { // else another was quicker to make it
			return f, k.place(n), err
		}
	}
	return nil, "", fmt.Errorf("all of the %d places are in use", maxPlaces)
}

// lockAt locks the place of a workspace.
func (s *Slots) lockAt(locks string, want *holding, workspace string) (*os.File, string, error) {
	h := *want
	h.Place = filepath.Base(filepath.Dir(workspace))
	n, err := strconv.Atoi(h.Place)
	if err != nil || n < 1 || n > maxPlaces || copies.place(n) != h.Place || s.dirs(&h).Workspace != workspace {
		return nil, "", fmt.Errorf("%s is no place for a workspace of %s", workspace, h.Root)
	}
	f, err := lockFile(filepath.Join(locks, h.Place), false)
	if errors.Is(err, errBusy) {
		err = fmt.Errorf("%s: %w", workspace, ErrTaken)
	}
	return f, h.Place, err
}

// forget gives up what is kept of the job that is about to run again in its own
// run: it starts anew.
func (s *Slots) forget(ctx context.Context, locks string, all []known, want *holding) error {
	for _, at := range all {
		if at.place == want.Place || !at.hold.left() || !at.hold.is(want.Run, want.Job) {
			continue
		}
		f, err := lockFile(filepath.Join(locks, at.place), false)
		if errors.Is(err, errBusy) {
			continue // it runs twice at the same time
		}
		if err != nil {
			return err
		}
		l := &Slot{lock: f}
		if h, ok := readHolding(f); ok && h.left() && h.is(want.Run, want.Job) {
			l.hold = h
			l.hold.State, l.hold.Since = free, want.Since
			err = l.write()
		}
		unlockFile(f)
		if err != nil {
			return err
		}
	}
	aside := s.asidePath(want.Run, want.Job)
	if h, ok := readHoldingAt(filepath.Join(aside, "_slot", "holding")); ok && h.is(want.Run, want.Job) {
		return s.discard(ctx, aside)
	}
	return nil
}

// repoName is the directory of a repository's slots: the owner and the name, for
// all of its clones; a hash tells those apart that have no remote with a host.
func (s *Slots) repoName(t *Tree) string {
	place := t.root
	if t.repo != nil {
		if r, ok := t.repo.remote(); ok && r.host != "" {
			return slug(strings.ReplaceAll(r.path, "/", "-"))
		} else if ok && r.local != "" {
			if place = filepath.Clean(r.local); !filepath.IsAbs(place) {
				place = filepath.Join(t.root, place)
			}
		}
	}
	sum := sha256.Sum256([]byte(place))
	return slug(t.name()) + "-" + hex.EncodeToString(sum[:5])
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
