package workspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listed is what git says is part of the tree, with its contents.
func listed(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := contents(t, dir)
	want := map[string]string{".": "dir"}
	out := run(t, dir, "-c", "core.quotepath=off", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(out, "\x00") {
		body, ok := all[name]
		if name == "" || !ok || body == "dir" {
			continue // deleted, or now a directory
		}
		want[name] = body
		for d := filepath.Dir(name); d != "."; d = filepath.Dir(d) {
			want[d] = "dir"
		}
	}
	return want
}

// mutate does one random thing to a tree.
func mutate(t testing.TB, r *rand.Rand, dir string, kinds int) {
	t.Helper()
	names := []string{"a", "b.log", "c.txt", "d", "sub", "sub/a", "sub/deep/b", "sub/deep/x.log", "out/o", "odd \x01\xffname", "sub/.gitignore", ".gitignore"}
	name := filepath.Join(dir, names[r.IntN(len(names))])
	os.Chmod(filepath.Dir(name), 0o755)
	// The last is for slots only: what git itself misses is no measure.
	switch r.IntN(kinds) {
	case 0, 1, 2:
		if os.MkdirAll(filepath.Dir(name), 0o755) == nil {
			body := []string{"x", "same", "*.log\n", "!x.log\nout/\n", strings.Repeat("long", 50_000)}[r.IntN(5)]
			os.WriteFile(name, []byte(body), 0o644)
		}
	case 3:
		os.RemoveAll(name)
	case 4:
		os.MkdirAll(name, 0o755)
	case 5:
		os.RemoveAll(name)
		os.Symlink([]string{"/nonexistent/file", "../..", "nowhere", "c.txt"}[r.IntN(4)], name)
	case 6:
		if st, err := os.Lstat(name); err == nil && st.Mode().IsRegular() {
			os.Chmod(name, []os.FileMode{0o644, 0o755, 0o444, 0o600}[r.IntN(4)])
		}
	case 7:
		os.Rename(name, filepath.Join(dir, names[r.IntN(len(names))]))
	case 8: // the same size and the same times as before: only ctime tells
		if st, err := os.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
				f.WriteAt([]byte{byte('a' + r.IntN(26))}, 0)
				f.Close()
				os.Chtimes(name, st.ModTime(), st.ModTime())
			}
		}
	}
}

// Whatever happened to the source and to the slot, Acquire gives the tree.
func TestAcquireAfterAnything(t *testing.T) {
	t.Parallel()
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			dir := newRepo(t, map[string]string{"a": "a", "sub/deep/b": "b", "c.txt": "c", ".gitignore": "*.log\n"})
			s := &Slots{Dir: t.TempDir()}
			tree := open(t, dir)
			for round := range 25 {
				for range r.IntN(6) {
					mutate(t, r, dir, 8)
				}
				if r.IntN(4) == 0 {
					run(t, dir, "add", "-A")
				}
				l := acquire(t, s, tree, "job", fmt.Sprint(round))
				sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
				if t.Failed() {
					t.Fatalf("round %d, notes %q", round, l.Notes)
				}
				// .git is compared by what git says of it.
				if got, want := run(t, l.Dirs.Workspace, "status", "--porcelain", "-z"), run(t, dir, "status", "--porcelain", "-z"); got != want {
					t.Fatalf("round %d: status %q, want %q", round, got, want)
				}
				for range r.IntN(8) {
					mutate(t, r, l.Dirs.Workspace, 9)
				}
				if r.IntN(5) == 0 {
					os.RemoveAll(filepath.Join(l.Dirs.Workspace, ".git", "refs"))
					os.WriteFile(filepath.Join(l.Dirs.Workspace, ".git", "hooks"), nil, 0o644)
				}
				release(t, l)
			}
		})
	}
}

func TestAcquirePlainDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "plain")
	write(t, dir, map[string]string{"a": "a", "sub/b.log": "b"})
	os.MkdirAll(filepath.Join(dir, "empty/er"), 0o755)
	os.Symlink("a", filepath.Join(dir, "link"))
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &Slots{Dir: filepath.Join(dir, ".slots")} // inside the tree, and no part of it
	tree := open(t, dir)
	for i := range 2 {
		l := acquire(t, s, tree, "j", fmt.Sprint(i))
		sameContents(t, contents(t, l.Dirs.Workspace), map[string]string{
			".": "dir", "a": "-rw-r--r-- a", "sub": "dir", "sub/b.log": "-rw-r--r-- b", "empty": "dir", "empty/er": "dir",
			"link": "L--------- a",
		})
		if len(l.Notes) != 1 || !strings.HasPrefix(l.Notes[0], "pipe: ") {
			t.Errorf("notes: %q", l.Notes)
		}
		release(t, l)
	}
}

// What steps leave behind to make removal hard.
func TestAcquireRemovesStubbornLeftovers(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a", "sub/b": "b"})
	outside := t.TempDir()
	write(t, outside, map[string]string{"precious": "p"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	l := acquire(t, s, tree, "j", "1")
	w := l.Dirs.Workspace
	write(t, w, map[string]string{"mod/cache/x": "x", "sub/c": "c"})
	write(t, l.Dirs.Temp, map[string]string{"t/u": "u"})
	for _, d := range []string{w + "/mod/cache", w + "/mod", w + "/sub", l.Dirs.Temp + "/t"} {
		if err := os.Chmod(d, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink(outside, w+"/away")
	os.RemoveAll(w + "/.git/refs")
	os.Symlink(outside, w+"/.git/refs") // a wanted directory turned into a link
	release(t, l)
	l = acquire(t, s, tree, "j", "2")
	sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
	if left, _ := os.ReadDir(l.Dirs.Temp); len(left) > 0 {
		t.Errorf("temp holds %v", left)
	}
	if _, err := os.Stat(outside + "/precious"); err != nil {
		t.Error("a link was followed out of the slot")
	}
	run(t, l.Dirs.Workspace, "rev-parse", "HEAD")
	// The workspace itself replaced by a link.
	os.RemoveAll(l.Dirs.Workspace)
	os.Symlink(outside, l.Dirs.Workspace)
	release(t, l)
	l = acquire(t, s, tree, "j", "3")
	sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
	if _, err := os.Stat(outside + "/precious"); err != nil {
		t.Error("a link was followed out of the slot")
	}
}

func TestAcquireTogether(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a", "sub/b": "b"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	want := listed(t, dir)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]*Slot{}
	for i := range 16 {
		wg.Go(func() {
			l, err := s.Acquire(context.Background(), tree, Claim{Job: fmt.Sprint("job", i/4), Run: "1"})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if seen[l.Dirs.Workspace] != nil {
				t.Errorf("%s was given twice", l.Dirs.Workspace)
			}
			seen[l.Dirs.Workspace] = l
			mu.Unlock()
			sameContents(t, contents(t, l.Dirs.Workspace), want)
		})
	}
	wg.Wait()
	if len(seen) != 16 {
		t.Errorf("%d workspaces", len(seen))
	}
	for _, l := range seen {
		release(t, l)
	}
}

// A file that is written while it is copied arrives whole, or is copied again
// the next time.
func TestAcquireWhileWriting(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for j := range 5 {
				name := filepath.Join(dir, fmt.Sprint("f", j))
				if i%7 == j {
					os.Remove(name)
				} else {
					os.WriteFile(name, fmt.Appendf(nil, "%d%s", i, strings.Repeat("y", i%1000)), 0o644)
				}
			}
		}
	}()
	for i := range 30 {
		release(t, acquire(t, s, tree, "j", fmt.Sprint("w", i)))
	}
	close(stop)
	<-done
	l := acquire(t, s, tree, "j", "last")
	sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
}

func TestKeepAndReclaim(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a", "sub/b": "b"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	leave := func(l *Slot, what string) map[string]string {
		write(t, l.Dirs.Workspace, map[string]string{"left": what, "a": what})
		write(t, l.Dirs.Temp, map[string]string{"script": what})
		return contents(t, l.Dirs.Workspace)
	}
	if _, ok := s.Kept("1", "build/x y"); ok {
		t.Error("kept before anything ran")
	}
	if _, err := s.Reclaim(ctx, tree, "1", "build/x y", "9"); !errors.Is(err, ErrNotKept) {
		t.Errorf("reclaim of nothing: %v", err)
	}
	l := acquire(t, s, tree, "build/x y", "1")
	home := l.Dirs
	left := leave(l, "one")
	if _, ok := s.Kept("1", "build/x y"); ok {
		t.Error("kept while it runs")
	}
	if err := l.Keep(); err != nil {
		t.Fatal(err)
	}
	if k, ok := s.Kept("1", "build/x y"); !ok || k.Dirs != home || k.Crashed {
		t.Errorf("kept: %+v, %v", k, ok)
	}
	// Another run takes the place; it and later ones fail too.
	for i := 2; i <= 6; i++ {
		l = acquire(t, s, tree, "build/x y", fmt.Sprint(i))
		if l.Dirs != home {
			t.Errorf("run %d is at %s", i, l.Dirs.Workspace)
		}
		sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
		if i == 2 {
			if k, ok := s.Kept("1", "build/x y"); !ok || k.Dirs == home {
				t.Errorf("not moved aside: %+v, %v", k, ok)
			} else {
				sameContents(t, contents(t, k.Dirs.Workspace), left)
			}
			if _, err := s.Reclaim(ctx, tree, "1", "build/x y", "9"); !errors.Is(err, ErrInUse) {
				t.Errorf("reclaim while in use: %v", err)
			}
			if err := l.Release(); err != nil {
				t.Fatal(err)
			}
			// Back where it was, as it was; the other copy is laid by.
			l, err := s.Reclaim(ctx, tree, "1", "build/x y", "1b")
			if err != nil {
				t.Fatal(err)
			}
			if l.Dirs != home {
				t.Errorf("reclaimed to %s", l.Dirs.Workspace)
			}
			sameContents(t, contents(t, l.Dirs.Workspace), left)
			if b, _ := os.ReadFile(l.Dirs.Temp + "/script"); string(b) != "one" {
				t.Error("temp is not as it was left")
			}
			if err := l.Keep(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if i > 3 && l.Copied > 8 {
			t.Errorf("run %d copied %d files although older copies serve", i, l.Copied)
		}
		leave(l, fmt.Sprint(i))
		if err := l.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	for run, want := range map[string]bool{"1": false, "1b": false, "3": false, "4": true, "5": true, "6": true} {
		if _, ok := s.Kept(run, "build/x y"); ok != want {
			t.Errorf("run %s kept: %v, want %v", run, ok, want)
		}
	}
	// A job run again in its own run starts anew.
	l = acquire(t, s, tree, "build/x y", "6")
	sameContents(t, contents(t, l.Dirs.Workspace), listed(t, dir))
	release(t, l)
	if _, ok := s.Kept("6", "build/x y"); ok {
		t.Error("still kept after the job ran again")
	}
	gone, err := s.Prune(ctx, 0)
	if err != nil || len(gone) == 0 {
		t.Errorf("prune: %v, %v", gone, err)
	}
}

func TestInPlace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	l, err := s.InPlace(ctx, tree, "j", "1")
	if err != nil {
		t.Fatal(err)
	}
	if l.Dirs.Workspace != tree.Root() {
		t.Errorf("workspace %s", l.Dirs.Workspace)
	}
	write(t, l.Dirs.Temp, map[string]string{"x": "x"})
	if err := l.Keep(); err != nil {
		t.Fatal(err)
	}
	l, err = s.InPlace(ctx, tree, "j", "2")
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(l.Dirs.Temp); err != nil || len(left) > 0 {
		t.Errorf("temp: %v, %v", left, err)
	}
	release(t, l)
	l, err = s.Reclaim(ctx, tree, "1", "j", "3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.Dirs.Temp + "/x"); err != nil || l.Dirs.Workspace != tree.Root() {
		t.Errorf("reclaimed %v: %v", l.Dirs, err)
	}
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if spec := os.Getenv("WORKSPACE_CRASH"); spec != "" {
		dir, slots, _ := strings.Cut(spec, "\n")
		tree, err := Open(context.Background(), dir)
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		for i := 0; ; i++ {
			l, err := (&Slots{Dir: slots}).Acquire(context.Background(), tree, Claim{Job: "j", Run: fmt.Sprint(os.Getpid(), "-", i)})
			if err != nil {
				panic(err)
			}
			// What a job leaves behind.
			os.RemoveAll(filepath.Join(l.Dirs.Workspace, "d0"))
			os.WriteFile(filepath.Join(l.Dirs.Workspace, "d1", "f1"), []byte("by the job"), 0o644)
			os.WriteFile(filepath.Join(l.Dirs.Workspace, "built"), []byte("by the job"), 0o644)
			if i%2 == 0 {
				err = l.Keep()
			} else {
				err = l.Release()
			}
			if err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// kill -9 at any moment of an Acquire leaves a slot that the next one mends.
func TestAcquireAfterKill(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, nil)
	for i := range 8 {
		for j := range 25 {
			write(t, dir, map[string]string{fmt.Sprintf("d%d/f%d", i, j): strings.Repeat(fmt.Sprint(i, j), 500)})
		}
	}
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-qm", "first")
	tree := open(t, dir)
	want := listed(t, dir)
	s := &Slots{Dir: t.TempDir()}
	kills := 25
	if testing.Short() {
		kills = 5
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "WORKSPACE_CRASH="+dir+"\n"+s.Dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		// The moment is what is tested: any will do.
		time.Sleep(time.Duration(r.IntN(30_000)) * time.Microsecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		l := acquire(t, s, tree, "j", fmt.Sprint("after", i))
		if l.Dirs != s.Places(tree)[0] {
			t.Fatalf("a dead process still holds the slot: %s", l.Dirs.Workspace)
		}
		sameContents(t, contents(t, l.Dirs.Workspace), want)
		if t.Failed() {
			t.Fatalf("after kill %d", i)
		}
		release(t, l)
	}
	if all := s.allKept(); len(all) > defaultKeepAtMost {
		t.Errorf("%d kept", len(all))
	}
}

// A job that a crash interrupted is kept, as it could be resumed.
func TestKeptAfterCrash(t *testing.T) {
	t.Parallel()
	dir := newRepo(t, map[string]string{"a": "a"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	l := acquire(t, s, tree, "j", "1")
	write(t, l.Dirs.Workspace, map[string]string{"half": "done"})
	l.lock.Close() // as the kernel does when the process dies
	if k, ok := s.Kept("1", "j"); !ok || !k.Crashed {
		t.Fatalf("kept: %+v, %v", k, ok)
	}
	release(t, acquire(t, s, tree, "j", "2"))
	back, err := s.Reclaim(context.Background(), tree, "1", "j", "1")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(back.Dirs.Workspace + "/half"); string(b) != "done" {
		t.Error("not as the crash left it")
	}
}

// Several processes may empty the trash at once.
func TestRemovedTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 200 {
		write(t, dir, map[string]string{fmt.Sprintf("a/b%d/c/d", i): "x"})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			if err := removeBelow(t.Context(), fd); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
