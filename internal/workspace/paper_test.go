package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func paper(t testing.TB, tree *Tree, run string) *Paper {
	t.Helper()
	p, err := tree.Paper(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// told is all that a paper tells, told one path at a time.
func told(t testing.TB, p *Paper, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(string)
	walk = func(rel string) {
		names, ok := p.Names(rel)
		if !ok {
			t.Fatalf("%q is no directory", rel)
		}
		if !slices.IsSortedFunc(names, func(a, b record.Entry) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("names in %q are not sorted: %v", rel, names)
		}
		for _, e := range names {
			at := path.Join(rel, e.Name)
			th, ok := p.Look(at)
			if !ok || th.Kind != e.Kind {
				t.Errorf("%q: %+v, %v; listed as %v", at, th, ok, e.Kind)
				continue
			}
			switch th.Kind {
			case record.Directory:
				all[at] = fmt.Sprintf("dir %o", th.Perm)
				walk(at)
				continue
			case record.Symlink:
				to, err := os.Readlink(th.From)
				if err != nil {
					t.Error(err)
				}
				all[at] = fmt.Sprintf("link %o %d %d %s", th.Perm, th.Size, th.MTime, to)
			case record.Regular:
				body := th.Body
				if !th.Made {
					var err error
					if body, err = os.ReadFile(th.From); err != nil {
						t.Error(err)
					}
				}
				all[at] = fmt.Sprintf("file %o %d %d %q", th.Perm, th.Size, th.MTime, body)
			default:
				t.Errorf("%q: kind %v", at, th.Kind)
			}
			if th.Made {
				if th.From != "" || th.Look != (record.Look{}) {
					t.Errorf("%q is made and from somewhere: %+v", at, th)
				}
				continue
			}
			var st unix.Stat_t
			if err := unix.Lstat(th.From, &st); err != nil {
				t.Error(err)
			}
			want := record.Look{
				Kind: th.Kind, Perm: uint32(st.Mode) & 0o7777, Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(),
				Dev: uint64(st.Dev), Ino: st.Ino, Links: uint64(st.Nlink),
			}
			if th.Look != want {
				t.Errorf("%q looks %+v, want %+v", at, th.Look, want)
			}
			if !strings.HasPrefix(at, ".git/") && !strings.Contains(at, "/.git/") && th.From != filepath.Join(root, at) {
				t.Errorf("%q is from %q", at, th.From)
			}
			if _, ok := p.Names(at); ok {
				t.Errorf("%q is a file and has names", at)
			}
			if _, ok := p.Look(at + "/x"); ok {
				t.Errorf("there is something below the file %q", at)
			}
		}
	}
	top, ok := p.Look("")
	if !ok || top.Kind != record.Directory {
		t.Fatalf("the top: %+v, %v", top, ok)
	}
	all[""] = fmt.Sprintf("dir %o", top.Perm)
	walk("")
	return all
}

// found is what told should say, read from a slot. Made files have no time.
func found(t testing.TB, p *Paper, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, at)
		if rel == "." {
			rel = ""
		}
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return err
		}
		perm, mtime := st.Mode&0o7777, st.Mtim.Nano()
		if th, _ := p.Look(rel); th.Made {
			mtime = 0
		}
		switch {
		case d.IsDir():
			all[rel] = fmt.Sprintf("dir %o", perm)
		case d.Type().IsRegular():
			b, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			all[rel] = fmt.Sprintf("file %o %d %d %q", perm, st.Size, mtime, b)
		default:
			to, _ := os.Readlink(at)
			all[rel] = fmt.Sprintf("link %o %d %d %s", perm, st.Size, mtime, to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Whatever the tree is like, a slot holds what the paper said.
func TestPaperIsWhatASlotHolds(t *testing.T) {
	t.Parallel()
	lib := newRepo(t, map[string]string{"lib.txt": "lib", ".gitignore": "*.o\n"})
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 11))
			var dir string
			if seed%3 == 0 { // a plain directory, the slots inside
				dir = filepath.Join(t.TempDir(), "plain")
				write(t, dir, map[string]string{"a": "a", "sub/deep/b": "b"})
			} else {
				dir = newRepo(t, map[string]string{"a": "a", "sub/deep/b": "b", "c.txt": "c", ".gitignore": "*.log\n"})
				run(t, dir, "-c", "protocol.file.allow=always", "submodule", "add", "-q", lib, "deps/lib")
				run(t, dir, "commit", "-qam", "with lib")
				write(t, dir, map[string]string{"deps/lib/new": "n", "deps/lib/x.o": "ignored", "nested/f": "f"})
				run(t, filepath.Join(dir, "nested"), "init", "-q")
			}
			write(t, dir, map[string]string{"secret": "s"})
			os.Chmod(filepath.Join(dir, "secret"), 0) // left out, except for root
			os.MkdirAll(filepath.Join(dir, "empty/er"), 0o711)
			s := &Slots{Dir: t.TempDir()}
			if seed%3 == 0 {
				s.Dir = filepath.Join(dir, "below", "slots")
				os.MkdirAll(s.Dir, 0o755)
				if err := s.mark(); err != nil {
					t.Fatal(err)
				}
			}
			os.Chmod(s.Dir, 0o755|fs.ModeSetgid) // which directories inherit
			tree := open(t, dir)
			for round := range 15 {
				for range r.IntN(6) {
					mutate(t, r, dir, 8)
				}
				if seed%3 != 0 && r.IntN(4) == 0 {
					run(t, dir, "add", "-A", ":!secret", ":!nested")
				}
				p := paper(t, tree, fmt.Sprint(round))
				want := told(t, p, dir)
				c := Claim{Job: "job", Run: fmt.Sprint(round)}
				if r.IntN(2) == 0 {
					c.Paper = p
				}
				l, err := s.Acquire(context.Background(), tree, c)
				if err != nil {
					t.Fatal(err)
				}
				sameContents(t, found(t, p, l.Dirs.Workspace), want)
				if t.Failed() {
					t.Fatalf("round %d, notes %q", round, l.Notes)
				}
				for range r.IntN(8) {
					mutate(t, r, l.Dirs.Workspace, 9)
				}
				release(t, l)
			}
		})
	}
}

func TestPaperOfNothing(t *testing.T) {
	t.Parallel()
	p := paper(t, open(t, t.TempDir()), "1")
	if names, ok := p.Names(""); !ok || len(names) != 0 {
		t.Errorf("names: %v, %v", names, ok)
	}
	for _, rel := range []string{"a", "a/b", "/", "/a", "a/", "a//b", ".", "..", "../x"} {
		if th, ok := p.Look(rel); ok {
			t.Errorf("%q: %+v", rel, th)
		}
		if names, ok := p.Names(rel); ok {
			t.Errorf("%q: %v", rel, names)
		}
	}
}

// A slot filled from a paper holds what the user had then, or is not given.
func TestAcquireFromPaper(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	changes := map[string]func(t *testing.T, dir string){
		"edited":         func(t *testing.T, dir string) { write(t, dir, map[string]string{"a": "later"}) },
		"same size":      func(t *testing.T, dir string) { write(t, dir, map[string]string{"a": "b"}) },
		"removed":        func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "a")) },
		"mode":           func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, "a"), 0o755) },
		"now a link":     func(t *testing.T, dir string) { os.Remove(dir + "/a"); os.Symlink("d/b", dir+"/a") },
		"link elsewhere": func(t *testing.T, dir string) { os.Remove(dir + "/link"); os.Symlink("d/b", dir+"/link") },
		"now a file":     func(t *testing.T, dir string) { os.RemoveAll(dir + "/d"); write(t, dir, map[string]string{"d": "d"}) },
		"another head":   func(t *testing.T, dir string) { run(t, dir, "commit", "-q", "--allow-empty", "-m", "second") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newRepo(t, map[string]string{"a": "a", "d/b": "b"})
			os.Symlink("a", filepath.Join(dir, "link"))
			s := &Slots{Dir: t.TempDir()}
			tree := open(t, dir)
			p := paper(t, tree, "1")
			want := told(t, p, dir)
			first, err := s.Acquire(ctx, tree, Claim{Job: "one", Run: "1", Paper: p})
			if err != nil {
				t.Fatal(err)
			}
			home := first.Dirs.Workspace
			change(t, dir)
			// A slot that must be copied into cannot be had as the paper says …
			if _, err := s.Acquire(ctx, tree, Claim{Job: "two", Run: "1", Paper: p}); !errors.Is(err, ErrMoved) {
				t.Errorf("a new slot: %v, want ErrMoved", err)
			}
			// … nor one in which it would have to be copied again …
			os.RemoveAll(filepath.Join(home, "a"))
			os.RemoveAll(filepath.Join(home, "d"))
			os.RemoveAll(filepath.Join(home, "link"))
			os.RemoveAll(filepath.Join(home, ".git"))
			release(t, first)
			if _, err := s.Acquire(ctx, tree, Claim{Job: "three", Run: "1", Paper: p, At: home}); !errors.Is(err, ErrMoved) {
				t.Errorf("a spoilt slot: %v, want ErrMoved", err)
			}
			// … and the next look is of what is there now.
			p = paper(t, tree, "2")
			if sameMap(told(t, p, dir), want) {
				t.Error("the second paper says what the first did")
			}
			l, err := s.Acquire(ctx, tree, Claim{Job: "four", Run: "2", Paper: p})
			if err != nil {
				t.Fatal(err)
			}
			sameContents(t, found(t, p, l.Dirs.Workspace), told(t, p, dir))
		})
	}
}

func sameMap(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// What a slot holds already is as good as it was when the user has gone on.
func TestAcquireFromPaperWhatIsHeld(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := newRepo(t, map[string]string{"a": "a", "b": "b"})
	s := &Slots{Dir: t.TempDir()}
	tree := open(t, dir)
	for i := 0; ; i++ { // until no file is too fresh to be believed
		l := acquire(t, s, tree, "warm", fmt.Sprint(i))
		release(t, l)
		if l.Copied == 0 {
			break
		}
	}
	p := paper(t, tree, "1")
	want := told(t, p, dir)
	write(t, dir, map[string]string{"a": "later", "new": "n"})
	l, err := s.Acquire(ctx, tree, Claim{Job: "j", Run: "1", Paper: p})
	if err != nil {
		t.Fatal(err)
	}
	sameContents(t, found(t, p, l.Dirs.Workspace), want)
	if _, err := s.Acquire(ctx, open(t, t.TempDir()), Claim{Job: "j", Run: "1", Paper: p}); err == nil {
		t.Error("a paper of another tree was taken")
	}
}

func TestPaperLookDoesNotAllocate(t *testing.T) {
	dir := newRepo(t, map[string]string{"a/b/c": "c"})
	p := paper(t, open(t, dir), "1")
	for _, rel := range []string{"", "a", "a/b/c", "a/b/none", "none/at/all", ".git/config"} {
		if n := testing.AllocsPerRun(100, func() { p.Look(rel) }); n != 0 {
			t.Errorf("%q: %v allocations", rel, n)
		}
	}
}

func BenchmarkPaper(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tree := open(b, bigRepo(b, n))
			b.ReportAllocs()
			processor(b)
			for i := range b.N {
				paper(b, tree, fmt.Sprint(i))
			}
		})
	}
}

func BenchmarkPaperLook(b *testing.B) {
	for _, perDir := range []int{20, 20_000} {
		b.Run(fmt.Sprintf("%d in a directory", perDir), func(b *testing.B) {
			dir := b.TempDir()
			var all []string
			for i := range 20_000 {
				name := fmt.Sprintf("d%02d/e%02d/file%05d.go", i/perDir/50, i/perDir%50, i)
				if i%perDir == 0 {
					os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
				}
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
					b.Fatal(err)
				}
				all = append(all, name)
			}
			p := paper(b, open(b, dir), "1")
			for _, order := range []struct {
				name string
				step int
			}{{"in order", 1}, {"at random", 7919}} {
				b.Run(order.name, func(b *testing.B) {
					b.ReportAllocs()
					for i := range b.N {
						if _, ok := p.Look(all[i*order.step%len(all)]); !ok {
							b.Fatal("not found")
						}
					}
				})
			}
		})
	}
}

// A thousand jobs of one run after one another, each changing some files.
func BenchmarkAcquireJobs(b *testing.B) {
	for _, n := range []int{20, 20_000} {
		for _, how := range []string{"looking", "from paper"} {
			b.Run(fmt.Sprintf("%d/%s", n, how), func(b *testing.B) {
				dir := bigRepo(b, n)
				s := &Slots{Dir: b.TempDir()}
				tree := open(b, dir)
				for i := 0; ; i++ {
					l := acquire(b, s, tree, "job", fmt.Sprint("warm", i))
					release(b, l)
					if l.Copied == 0 {
						break
					}
				}
				var p *Paper
				if how == "from paper" {
					p = paper(b, tree, "run")
				}
				processor(b)
				for i := range b.N {
					l, err := s.Acquire(context.Background(), tree, Claim{Job: fmt.Sprint(i), Run: "run", Paper: p})
					if err != nil {
						b.Fatal(err)
					}
					body := bytes.Repeat([]byte("x"), 100)
					for _, name := range []string{"d00/e00/file00.go", "out/one", "out/two"} {
						at := filepath.Join(l.Dirs.Workspace, name)
						os.MkdirAll(filepath.Dir(at), 0o755)
						if err := os.WriteFile(at, body, 0o644); err != nil {
							b.Fatal(err)
						}
					}
					release(b, l)
				}
			})
		}
	}
}
