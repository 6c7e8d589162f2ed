package cache

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// user is a tree of a user's, of which papers and copies are made.
func (s *scene) user() string {
	dir := filepath.Join(s.dir, "user")
	s.ok(os.MkdirAll(dir, 0o755))
	return dir
}

// paper is what a workspace with the user's tree would hold.
func (s *scene) paper(run string) *workspace.Paper {
	s.t.Helper()
	tree, err := workspace.Open(s.t.Context(), s.user())
	s.ok(err)
	defer tree.Close()
	p, err := tree.Paper(s.t.Context(), run)
	s.ok(err)
	return p
}

// fill makes the workspace hold the user's tree.
func (s *scene) fill() {
	s.t.Helper()
	s.remove("")
	s.remove("temp:")
	s.mkdir("temp:")
	s.mkdir("")
	s.ok(filepath.WalkDir(s.user(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == s.user() {
			return err
		}
		to := s.path(rel(path, s.user()))
		info, err := e.Info()
		s.ok(err)
		switch {
		case e.IsDir():
			s.ok(os.Mkdir(to, info.Mode().Perm()))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			s.ok(err)
			s.ok(os.Symlink(target, to))
		default:
			b, err := os.ReadFile(path)
			s.ok(err)
			s.ok(os.WriteFile(to, b, info.Mode().Perm()))
			s.ok(os.Chtimes(to, info.ModTime(), info.ModTime()))
		}
		return nil
	}))
}

// TestPaperIsReal makes random trees and lets random steps be reused on them:
// on paper and for real everything must be the same.
func TestPaperIsReal(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			r := rand.New(rand.NewPCG(seed, 1))
			names := []string{"a", "b", "a-b", "c"}
			var paths []string
			for _, x := range names {
				paths = append(paths, x)
				for _, y := range names {
					paths = append(paths, x+"/"+y)
					for _, z := range names {
						paths = append(paths, x+"/"+y+"/"+z)
					}
				}
			}
			mess := func(dir string) { // does something somewhere
				path := filepath.Join(dir, paths[r.IntN(len(paths))])
				switch r.IntN(8) {
				case 0, 1:
					os.MkdirAll(path, 0o755)
				case 2, 3, 4:
					os.MkdirAll(filepath.Dir(path), 0o755)
					os.WriteFile(path, fmt.Append(nil, r.IntN(3)), 0o644)
				case 5:
					os.Symlink(names[r.IntN(len(names))], path)
				case 6:
					os.RemoveAll(path)
				case 7:
					if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
						os.Chmod(path, 0o755)
					}
				}
			}
			for range 25 {
				mess(s.user())
			}
			p := s.paper("first")
			view := s.view(p)
			s.fill()
			for step := range 4 {
				s.sameViews(view, paths, fmt.Sprintf("after %d steps", step))
				o := s.observe(func() {
					for range 8 {
						mess(s.dirs.Workspace)
						mess(s.dirs.Temp)
					}
				})
				rec := s.keep(s.saving(o))
				view.Apply(rec)
			}
			s.sameViews(view, paths, "at the end")

			// What was applied comes back as files.
			after := s.snapshot()
			s.fill()
			for _, rec := range view.Materialise() {
				if _, _, err := s.c.Restore(t.Context(), rec); err != nil {
					t.Fatal(err)
				}
			}
			if view.Paper() || len(view.Materialise()) != 0 {
				t.Error("the view is still on paper")
			}
			s.sameFiles(s.snapshot(), after)
		})
	}
}

// sameViews asks a paper view and the files the same questions.
func (s *scene) sameViews(paper *View, paths []string, when string) {
	s.t.Helper()
	real := s.view(nil)
	for _, top := range []string{s.dirs.Workspace, s.dirs.Temp} {
		for _, p := range append(paths, "") {
			path := filepath.Join(top, p)
			if up := filepath.Dir(path); throughLink(up) {
				continue // an observation has no such paths
			}
			want, got := real.at(path), paper.at(path)
			if got.kind == record.Other {
				continue // nor such, through a link that leads nowhere
			}
			s.ok(real.find(&want))
			s.ok(paper.find(&got))
			if want.kind != got.kind || want.digest != got.digest || usable(want.perm) != usable(got.perm) ||
				want.kind == record.Regular && want.size != got.size {
				s.t.Fatalf("%s: %s is %+v on paper, really %+v", when, path, got, want)
			}
			if want.kind != record.Directory {
				if _, err := paper.list(path); err == nil {
					s.t.Fatalf("%s: %s can be listed on paper", when, path)
				}
				continue
			}
			a, err := real.list(path)
			s.ok(err)
			b, err := paper.list(path)
			s.ok(err)
			if record.Listing(a) != record.Listing(b) {
				s.t.Fatalf("%s: %s lists %v on paper, really %v", when, path, b, a)
			}
		}
	}
}

// throughLink reports whether a directory is reached by a link.
func throughLink(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	return err == nil && real != dir
}

// sameFiles compares all but times.
func (s *scene) sameFiles(got, want map[string]record.FileState) {
	s.t.Helper()
	for path, w := range want {
		g, ok := got[path]
		w.MTime, g.MTime = 0, 0
		if !ok || g != w {
			s.t.Errorf("%s is %+v, want %+v", path, g, w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			s.t.Errorf("%s is there, and should not be", path)
		}
	}
}

// TestPaperLookup: a job of two steps is found on paper, the second by what
// the first has left, before there is a workspace at all.
func TestPaperLookup(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ok(os.WriteFile(filepath.Join(s.user(), "main.c"), []byte("int main"), 0o644))
	s.fill()
	keys := []Key{Meaning{Dir: "1"}.Key(), Meaning{Dir: "2"}.Key()}
	steps := []func() *record.Observation{
		func() *record.Observation {
			above := record.Input{Path: filepath.Dir(s.dirs.Workspace), Use: record.UseDir}
			return s.observe(func() { s.write("out/main.o", "object"); s.write("temp:note", "x") },
				s.input(record.UseContent, "main.c"), s.input(record.UseListed, ""), s.input(record.UseAbsent, "out"), s.input(record.UseDir, ""),
				s.input(record.UseListed, "temp:"), above)
		},
		func() *record.Observation {
			return s.observe(func() { s.write("out/main", "program"); s.remove("temp:note") },
				s.input(record.UseContent, "out/main.o"), s.input(record.UseListed, "out"), s.input(record.UseContent, "temp:note"))
		},
	}
	for i, step := range steps {
		saving := s.saving(step())
		saving.Key = keys[i]
		s.keep(saving)
	}
	s.ok(os.RemoveAll(filepath.Dir(s.dirs.Workspace)))

	rehearse := func(run string) (hits int, miss *record.Miss) {
		view := s.view(s.paper(run))
		for _, key := range keys {
			q := s.query(view)
			q.Key = key
			a := s.c.Lookup(t.Context(), q)
			if a.Record == nil {
				return hits, a.Miss
			}
			view.Apply(a.Record)
			hits++
		}
		return hits, nil
	}
	if hits, miss := rehearse("1"); hits != 2 {
		t.Fatalf("%d hits, then %+v", hits, miss)
	}
	s.ok(os.WriteFile(filepath.Join(s.user(), "main.c"), []byte("int main()"), 0o644))
	if hits, miss := rehearse("2"); hits != 0 || miss == nil || miss.Why != "main.c has changed" {
		t.Fatalf("after a change: %d hits, then %+v", hits, miss)
	}
}

func TestMissingDirectoriesOfOutputs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.mkdir("a/b")
	r := s.keep(s.saving(s.observe(func() { s.write("a/b/c", "x") })))
	s.fill() // a user's tree without a
	view := s.view(s.paper("1"))
	view.Apply(r)
	if _, _, err := s.c.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.sameViews(view, []string{"a", "a/b", "a/b/c"}, "after the step")
}

func TestInside(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	got := Inside(s.dirs)
	for _, want := range []string{s.dirs.Workspace, s.dirs.Temp, "/tmp", "/var/tmp"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	for _, dir := range got {
		if !filepath.IsAbs(dir) || dir == "/" || strings.HasPrefix(s.dirs.Tools, dir+"/") && !strings.HasSuffix(dir, "tmp") {
			t.Errorf("%s may be changed", dir)
		}
	}
}

func BenchmarkPaper20(b *testing.B) {
	s := newScene(b)
	for i := range 15 {
		s.ok(os.WriteFile(filepath.Join(s.user(), fmt.Sprintf("f%02d.go", i)), []byte("x"), 0o644))
		s.write(fmt.Sprintf("out:f%d", i), "x")
	}
	s.fill()
	var inputs []record.Input
	for i := range 15 {
		inputs = append(inputs, s.input(record.UseContent, fmt.Sprintf("f%02d.go", i)))
	}
	for i := range 4 {
		inputs = append(inputs, s.input(record.UseContent, fmt.Sprintf("out:f%d", i)))
	}
	inputs = append(inputs, s.input(record.UseListed, ""))
	r := s.keep(s.saving(s.observe(func() {}, inputs...)))
	settle()
	q := s.query(s.view(s.paper("1")))
	b.Run("compare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m := s.c.compare(b.Context(), &q, r, true); m != nil {
				b.Fatal(m)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if a := s.c.Lookup(b.Context(), q); a.Record == nil {
				b.Fatal(a.Miss)
			}
		}
	})
}
