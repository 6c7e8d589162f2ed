package workspace

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func claim(t testing.TB, s *Slots, tree *Tree, c Claim) *Slot {
	t.Helper()
	l, err := s.Acquire(context.Background(), tree, c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// number is the last part of a slot's place.
func number(l *Slot) string { return filepath.Base(filepath.Dir(l.Dirs.Workspace)) }

// cloned makes another clone of what a repository's remote says it is.
func cloned(t testing.TB, files map[string]string) string {
	dir := newRepo(t, files)
	run(t, dir, "remote", "add", "origin", "https://code.example.com/owner/name.git")
	return dir
}

func TestPoolIsSharedByAllJobs(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: filepath.Join(t.TempDir(), "not", "yet")}
	tree := open(t, dir)
	places := s.Places(tree)
	if len(places) != 1 {
		t.Fatalf("places before any was made: %v", places)
	}
	for i := range 5 { // one after another, of the same run and of others
		l := acquire(t, s, tree, fmt.Sprint("job", i), fmt.Sprint(i/2))
		if l.Dirs != places[0] {
			t.Errorf("job %d is at %v, want %v", i, l.Dirs, places[0])
		}
		release(t, l)
	}
	a, b := acquire(t, s, tree, "a", "9"), acquire(t, s, tree, "b", "9")
	if a.Dirs != places[0] || number(b) != "2" {
		t.Errorf("two at once are at %v and %v", a.Dirs, b.Dirs)
	}
	if got := s.Places(tree); !slices.Equal(got, []plan.Dirs{a.Dirs, b.Dirs}) {
		t.Errorf("places: %v", got)
	}
	release(t, a)
	c := acquire(t, s, tree, "c", "9")
	if c.Dirs != a.Dirs {
		t.Errorf("the first free place is %v, got %v", a.Dirs, c.Dirs)
	}
	release(t, b)
	release(t, c)
	// Places that were pruned are still places.
	if gone, err := s.Prune(context.Background(), 0); err != nil || len(gone) != 2 {
		t.Errorf("prune: %v, %v", gone, err)
	}
	if got := s.Places(tree); len(got) != 2 {
		t.Errorf("places after prune: %v", got)
	}
	release(t, acquire(t, s, tree, "d", "10"))
}

func TestAcquireAt(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	first := s.Places(tree)[0].Workspace
	at := func(n string) string {
		return filepath.Join(filepath.Dir(filepath.Dir(first)), n, filepath.Base(first))
	}

	two := claim(t, s, tree, Claim{Job: "j", Run: "1", At: at("2")}) // although 1 is free
	if number(two) != "2" {
		t.Errorf("asked for 2, got %s", two.Dirs.Workspace)
	}
	if _, err := s.Acquire(ctx, tree, Claim{Job: "k", Run: "1", At: at("2")}); !errors.Is(err, ErrTaken) {
		t.Errorf("a place in use: %v, want ErrTaken", err)
	}
	one := acquire(t, s, tree, "k", "1") // the hole
	if number(one) != "1" {
		t.Errorf("any place: %s", one.Dirs.Workspace)
	}
	release(t, one)
	release(t, two)
	release(t, claim(t, s, tree, Claim{Job: "k", Run: "1", At: at("2")}))

	for _, bad := range []string{"x", "/", first + "/sub", filepath.Dir(first), at("0"), at("-1"), at("01"), at("+1"), at("tree-1"), at("9999999"), at("_locks"), at(".."), filepath.Join(s.Dir, "other", "1", filepath.Base(first)), dir} {
		if l, err := s.Acquire(ctx, tree, Claim{Job: "k", Run: "1", At: bad}); err == nil || errors.Is(err, ErrTaken) {
			t.Errorf("at %q: %v, %v", bad, l, err)
		}
	}
}

// What one job left is never lost to another that needs a place.
func TestPoolKeepsWhatWasKept(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	keep := func(job string) (home string) {
		l := acquire(t, s, tree, job, "1")
		write(t, l.Dirs.Workspace, map[string]string{"left": job})
		if err := l.Keep(); err != nil {
			t.Fatal(err)
		}
		return l.Dirs.Workspace
	}
	// Jobs of one run, one after another in the same place.
	homes := map[string]string{}
	for _, job := range []string{"one", "two", "three"} {
		homes[job] = keep(job)
	}
	if homes["one"] != homes["three"] {
		t.Errorf("they had not the same place: %v", homes)
	}
	for job, home := range homes {
		l, err := s.Reclaim(ctx, tree, "1", job, "1")
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(filepath.Join(l.Dirs.Workspace, "left")); l.Dirs.Workspace != home || string(b) != job {
			t.Errorf("%s is at %s and holds %q", job, l.Dirs.Workspace, b)
		}
		if err := l.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	// A free place is taken before one that holds something.
	l := claim(t, s, tree, Claim{Job: "four", Run: "1", At: filepath.Join(filepath.Dir(filepath.Dir(homes["one"])), "2", filepath.Base(homes["one"]))})
	release(t, l)
	if l = acquire(t, s, tree, "five", "2"); number(l) != "2" {
		t.Errorf("a job moved aside what was kept although place 2 was free: %s", l.Dirs.Workspace)
	}
	release(t, l)
	// A job that runs again in its own run starts anew, wherever its last
	// attempt is: in its place …
	inPlace, aside := "", ""
	for job := range homes {
		if k, _ := s.Kept("1", job); k.at == "" {
			inPlace = job
		} else {
			aside = job
		}
	}
	if inPlace == "" || aside == "" {
		t.Fatal("none in its place, or none aside")
	}
	for _, job := range []string{inPlace, aside} {
		release(t, claim(t, s, tree, Claim{Job: job, Run: "1", At: l.Dirs.Workspace}))
		if k, ok := s.Kept("1", job); ok {
			t.Errorf("%s ran again and its last attempt is still kept: %+v", job, k)
		}
	}
}

// Two clones of one repository have the same places, and each sees its own
// files there.
func TestClonesShareAPool(t *testing.T) {
	t.Parallel()
	dirs := []string{cloned(t, map[string]string{"a": "a", "c.txt": "c"}), cloned(t, map[string]string{"a": "b", "sub/a": "s"})}
	other := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	var trees []*Tree
	for _, d := range dirs {
		trees = append(trees, open(t, d))
	}
	if a, b := s.Places(trees[0]), s.Places(trees[1]); !slices.Equal(a, b) || !strings.HasSuffix(a[0].Workspace, "/owner-name/1/name") {
		t.Errorf("the clones' places are %v and %v", a, b)
	}
	if a := s.Places(open(t, other)); a[0] == s.Places(trees[0])[0] {
		t.Error("another repository has the same place")
	}
	r := rand.New(rand.NewPCG(3, 5))
	for round := range 20 {
		i := r.IntN(2)
		for range r.IntN(4) {
			mutate(t, r, dirs[i], 8)
		}
		l := acquire(t, s, trees[i], "job", fmt.Sprint(round))
		if number(l) != "1" {
			t.Errorf("round %d is at %s", round, l.Dirs.Workspace)
		}
		sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dirs[i]))
		if got, want := run(t, l.Dirs.Workspace, "rev-parse", "HEAD"), run(t, dirs[i], "rev-parse", "HEAD"); got != want {
			t.Errorf("round %d: HEAD %s, want %s", round, got, want)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
		release(t, l)
	}
	// Each gets the place that it had last, when there is a choice.
	a, b := acquire(t, s, trees[0], "j", "a"), acquire(t, s, trees[1], "j", "b")
	release(t, a)
	release(t, b)
	for i := range 4 {
		want := []*Slot{a, b}[i%2]
		l := acquire(t, s, trees[i%2], "j", fmt.Sprint("again", i))
		if l.Dirs != want.Dirs {
			t.Errorf("clone %d is at %s, was at %s", i%2, l.Dirs.Workspace, want.Dirs.Workspace)
		}
		release(t, l)
	}
	// What is kept of one clone's job is not the other's.
	l := acquire(t, s, trees[0], "j", "kept")
	if err := l.Keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reclaim(context.Background(), trees[1], "kept", "j", "x"); !errors.Is(err, ErrNotKept) {
		t.Errorf("reclaimed by the other clone: %v", err)
	}
}

// A copy of a clone in another file system may look the same, inode for inode.
func TestAnotherTreesManifestIsNotBelieved(t *testing.T) {
	t.Parallel()
	dirs := []string{cloned(t, map[string]string{"a": "a"}), cloned(t, map[string]string{"a": "b"})}
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dirs[0])
	var l *Slot
	for i := 0; ; i++ {
		l = acquire(t, s, tree, "j", fmt.Sprint(i))
		release(t, l)
		if l.Copied == 0 {
			break
		}
	}
	// Make the manifest say of the first tree's file what is true of the second's.
	path := filepath.Join(filepath.Dir(l.Dirs.Workspace), "_slot", "manifest")
	m := readManifest(path, bootID(), dirs[0])
	for i, c := range m[""] {
		if c.name == "a" {
			st, err := lookPath(filepath.Join(dirs[1], "a"))
			if err != nil {
				t.Fatal(err)
			}
			m[""][i].source = st
		}
	}
	if err := m.write(path, bootID(), dirs[0]); err != nil {
		t.Fatal(err)
	}
	l = acquire(t, s, open(t, dirs[1]), "j", "other")
	sameContents(t, contents(t, l.Dirs.Workspace), map[string]string{".": "dir", "a": "-rw-r--r-- b"})
}

// A repository that was renamed, or another with the same words in its name,
// leaves nothing in a slot.
func TestSlotHoldsOneWorkspace(t *testing.T) {
	t.Parallel()
	s := &Slots{Dir: t.TempDir()}
	first, second := newRepo(t, map[string]string{"a": "a"}), newRepo(t, map[string]string{"a": "a"})
	run(t, first, "remote", "add", "origin", "https://code.example.com/a-b/c")
	run(t, second, "remote", "add", "origin", "https://code.example.com/a/b-c")
	one := acquire(t, s, open(t, first), "j", "1")
	release(t, one)
	two := acquire(t, s, open(t, second), "j", "2")
	if filepath.Dir(one.Dirs.Workspace) != filepath.Dir(two.Dirs.Workspace) {
		t.Fatalf("%s and %s are not in one slot", one.Dirs.Workspace, two.Dirs.Workspace)
	}
	if _, err := os.Lstat(one.Dirs.Workspace); err == nil {
		t.Error("the other repository's workspace is still there")
	}
	sameContents(t, contents(t, two.Dirs.Workspace), listed(t, second))
}
