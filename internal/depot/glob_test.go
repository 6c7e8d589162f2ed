package depot

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
)

func TestGlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	depottest.Plant(t, dir, map[string]string{
		"a.txt": "", "b.log": "", ".hidden": "", "{x}.txt": "",
		"src/a.txt": "", "src/deep/b.txt": "", "src/deep/.c.txt": "", "src/.git/config": "",
		"dist/app": "", "dist/lib/one.so": "", "dist/lib/two.so": "",
		"loop/self": "-> .", "loop/file": "", "loop/dangling": "-> nowhere", "link": "-> src/deep", "empty/": "",
	})
	home := t.TempDir()
	depottest.Plant(t, home, map[string]string{".cache/tool/x": ""})
	absolute := func(p string) string {
		if rest, ok := strings.CutPrefix(p, "~"); ok {
			return filepath.Join(home, rest)
		}
		if filepath.IsAbs(p) {
			return filepath.Clean(p)
		}
		return filepath.Join(dir, p)
	}
	everything, files := Search{Descend: true}, func(fs []Found) (names []string) {
		for _, f := range fs {
			if !f.Info.IsDir() {
				rel, err := filepath.Rel(dir, f.Path)
				if err != nil || strings.HasPrefix(rel, "..") {
					rel = "~" + strings.TrimPrefix(f.Path, home)
				}
				names = append(names, rel)
			}
		}
		slices.Sort(names)
		return names
	}
	for _, tt := range []struct {
		name, patterns string
		how            Search
		want           string
		roots          string
	}{
		{"a file", "a.txt", everything, "a.txt", "a.txt"},
		{"nothing", "nope/**", everything, "", "nope"},
		{"a star stays in its directory", "*.txt", everything, "a.txt {x}.txt", "."},
		{"two stars do not", "**/*.txt", everything, "a.txt link/.c.txt link/b.txt src/a.txt src/deep/.c.txt src/deep/b.txt {x}.txt", "."},
		{"a directory stands for what is in it", "dist", everything, "dist/app dist/lib/one.so dist/lib/two.so", "dist"},
		{"but not when only it is wanted", "dist", Search{}, "", "dist"},
		{"a slash at the end", "dist/", everything, "dist/app dist/lib/one.so dist/lib/two.so", "dist"},
		{"a slash at the end of a file", "a.txt/", everything, "", "a.txt"},
		{"one out", "dist\n!dist/lib/two.so", everything, "dist/app dist/lib/one.so", "dist"},
		{"a directory out", "dist\n!dist/lib", everything, "dist/app", "dist"},
		{"out and in again", "dist\n!dist/lib\ndist/lib/two.so", everything, "dist/app dist/lib/two.so", "dist"},
		{"order counts", "!dist/lib\ndist", everything, "dist/app dist/lib/one.so dist/lib/two.so", "dist"},
		{"twice out is in", "!!a.txt", everything, "a.txt", "a.txt"},
		{"comments", "# a.txt\nb.log", everything, "b.log", "b.log"},
		{"question mark and class", "?.[lt]*", everything, "a.txt b.log", "."},
		{"braces are names", "{x}.txt", everything, "{x}.txt", "{x}.txt"},
		{"braces in a pattern too", "{x}.*", everything, "{x}.txt", "."},
		{"a link that leads back", "loop", everything, "loop/file", "loop"},
		{"a link to a directory is followed", "link", everything, "link/.c.txt link/b.txt", "link"},
		{"hidden ones passed over", "src", Search{Descend: true, SkipHidden: true}, "src/a.txt src/deep/b.txt", "src"},
		{"a hidden root passed over", ".hidden", Search{Descend: true, SkipHidden: true}, "", ".hidden"},
		{"home", "~/.cache", everything, "~/.cache/tool/x", "~/.cache"},
		{"two roots", "src/deep\ndist/lib/*.so", everything, "dist/lib/one.so dist/lib/two.so src/deep/.c.txt src/deep/b.txt", "src/deep dist/lib"},
		{"a root within a root", "src/deep\nsrc", everything, "src/.git/config src/a.txt src/deep/.c.txt src/deep/b.txt", "src"},
		{"dots", "src/../a.txt\n./b.log", everything, "a.txt b.log", "a.txt b.log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ps := ParsePatterns(strings.Split(tt.patterns, "\n"), absolute)
			got, err := ps.Glob(tt.how)
			if err != nil {
				t.Fatal(err)
			}
			if names := strings.Join(files(got), " "); names != tt.want {
				t.Errorf("found %s\n want %s", names, tt.want)
			}
			var roots []string
			for _, r := range ps.Roots() {
				rel, err := filepath.Rel(dir, r)
				if err != nil || strings.HasPrefix(rel, "..") {
					rel = "~" + strings.TrimPrefix(r, home)
				}
				roots = append(roots, rel)
			}
			if got := strings.Join(roots, " "); got != tt.roots {
				t.Errorf("roots %s, want %s", got, tt.roots)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	depottest.Plant(t, dir, map[string]string{
		"bin/app": "", "bin/app.o": "", "bin/lib/x.o": "", "bin/lib/x.so": "", "{a}": "", "#b": "", "!c": "", "link": "-> bin", "broken": "-> nowhere",
	})
	for _, tt := range []struct{ name, include, exclude, want string }{
		{"a directory stands for what is in it", "bin", "", "bin bin/app bin/app.o bin/lib bin/lib/x.o bin/lib/x.so"},
		{"one that is left out does not", "bin", "bin/lib", "bin bin/app bin/app.o bin/lib/x.o bin/lib/x.so"},
		{"unless all of it is named", "bin", "bin/lib/**", "bin bin/app bin/app.o"},
		{"by pattern", "bin/", "bin/**/*.o", "bin bin/app bin/lib bin/lib/x.so"},
		{"braces", "bin/**/*.{o,so}", "", "bin/app.o bin/lib/x.o bin/lib/x.so"},
		{"braces with slashes", "bin/{app,lib/x.so}", "", "bin/app bin/lib/x.so"},
		{"braces of one are letters", "{a}", "", "{a}"},
		{"no comments, nothing is taken out by a mark", "#b !c", "", "!c #b"},
		{"links are links", "link broken", "", "broken link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ps := Choose(strings.Fields(tt.include), strings.Fields(tt.exclude), func(p string) string { return filepath.Join(dir, p) })
			list, err := ps.Glob(Search{Descend: true, Links: true})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range list {
				rel, err := filepath.Rel(dir, f.Path)
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, rel)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("found %s\n want %s", got, tt.want)
			}
		})
	}
}

func TestAlternatives(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"a": "a", "": "", "{a,b}": "a b", "x{a,b}y{c,d}z": "xaycz xaydz xbycz xbydz", "{a,{b,c}d}": "a bd cd",
		"{a": "{a", "a}": "a}", "{a}": "{a}", "{{a,b}": "{a {b", "{a,}x": "ax x", "}{a,b}": "}a }b", "{a,b},{": "a,{ b,{",
	} {
		if got := strings.Join(Alternatives(pattern), " "); got != want {
			t.Errorf("%q comes to %q, want %q", pattern, got, want)
		}
	}
	if n := len(Alternatives(strings.Repeat("{a,b}", 100))); n > maxAlternatives {
		t.Errorf("%d alternatives", n)
	}
	Alternatives(strings.Repeat("{", 1<<12) + strings.Repeat("}", 1<<12)) // ends
}

func FuzzPatterns(f *testing.F) {
	f.Add("**/*.txt\n!a", "a/b.txt")
	f.Add("[", "[")
	f.Add(strings.Repeat("**/a*/", 20)+"b", strings.Repeat("a/", 40))
	f.Fuzz(func(t *testing.T, list, path string) {
		if len(list) > 1<<10 || len(path) > 1<<10 {
			return
		}
		ps := ParsePatterns(strings.Split(list, "\n"), func(p string) string { return filepath.Join("/w", p) })
		for i := range ps {
			if ps[i].matches(split(path)) && !ps[i].reaches(split(path)[:0]) && len(split(path)) > 0 {
				t.Errorf("%q matches %q but does not reach it", ps[i].segments, path)
			}
		}
		ps.Roots()
		for _, line := range Alternatives(list) {
			if len(line) > len(list) {
				t.Errorf("%q became %q", list, line)
			}
		}
	})
}

func BenchmarkGlob(b *testing.B) {
	dir := b.TempDir()
	for i := range 4000 {
		depottest.Plant(b, dir, map[string]string{fmt.Sprintf("src/%d/%d/file%d.txt", i%20, i%400, i): ""})
	}
	ps := ParsePatterns([]string{"**/node_modules", "**/*7.txt", "!src/1/**"}, func(p string) string { return filepath.Join(dir, p) })
	for b.Loop() {
		if list, err := ps.Glob(Search{}); err != nil || len(list) == 0 {
			b.Fatal(len(list), err)
		}
	}
}
