package reuse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// TestInputs is about what a step was given: each change to something that it
// used makes it run, and no other does.
func TestInputs(t *testing.T) {
	const cat = `
- { name: build, run: 'mkdir -p out; cat src/*.txt > out/all' }
- { name: look, run: cat out/all }`
	one := map[string]string{"src/one.txt": "one\n", "other/two.txt": "two\n"}
	play(t, []scene{
		{name: "content", steps: cat, files: one, acts: []act{
			{want: "ran", log: "one"},
			{want: "reused", log: "one"},
			{name: "changed", do: write("src/one.txt", "1\n"), want: "ran", why: "src/one.txt has changed", log: "1"},
			{name: "same length", do: write("src/one.txt", "2\n"), want: "ran", why: "src/one.txt has changed", log: "2"},
			{name: "reverted", do: write("src/one.txt", "one\n"), want: "reused", log: "one"},
			{name: "touched", do: touch("src/one.txt"), want: "reused", log: "one"},
			{name: "written again", do: write("src/one.txt", "one\n"), want: "reused", log: "one"},
			{name: "committed", do: commit, want: "reused", log: "one"},
			{name: "gone", do: remove("src/one.txt"), exit: 1, want: "barred", why: "src/ can be listed no more"},
		}},
		{name: "glob", steps: cat, files: one, acts: []act{
			{want: "ran", log: "one"},
			{name: "added beside", do: write("src/three.txt", "three\n"), want: "ran", why: "three.txt", log: "one\nthree"},
			{name: "added, of another name", do: write("src/zero.md", "zero\n"), want: "ran", why: "zero.md"},
			{name: "added elsewhere", do: write("other/four.txt", "four\n"), want: "reused", log: "one\nthree"},
			{name: "directory elsewhere", do: write("more/five.txt", "five\n"), want: "reused", log: "one\nthree"},
			{name: "removed", do: remove("src/three.txt", "src/zero.md"), want: "reused", log: "one"},
		}},
		{name: "listing in a directory below", steps: "- { name: build, run: 'find src -type f | sort > list' }\n- { name: look, run: cat list }",
			files: map[string]string{"src/a/b/one": "1"}, acts: []act{
				{want: "ran", log: "src/a/b/one"},
				{want: "reused"},
				{name: "content does not count", do: write("src/a/b/one", "2"), want: "reused"},
				{name: "added deep below", do: write("src/a/b/two", ""), want: "ran", log: "src/a/b/one\nsrc/a/b/two"},
				{name: "kind changed", do: both(remove("src/a/b/two"), link("one", "src/a/b/two")), want: "ran", log: "src/a/b/one"},
			}},
		{name: "looked for in vain", steps: "- { name: build, run: 'for f in config/local config/default; do if test -f $f; then cat $f; break; fi; done | tee out' }",
			files: map[string]string{"config/default": "default"}, acts: []act{
				{want: "ran", log: "default"},
				{want: "reused", log: "default"},
				{name: "now there", do: write("config/local", "local"), want: "ran", why: "config/local is there now", log: "local"},
				{name: "gone again", do: remove("config/local"), want: "reused", log: "default"},
			}},
		{name: "looked for in a directory that is not there", steps: "- { run: cat a/b/c 2>/dev/null || echo none }", acts: []act{
			{want: "ran", log: "none"},
			{name: "the file is made", do: write("a/b/c", "c\n"), want: "ran", log: "c"},
		}},
		{name: "header earlier in the include path", needs: []string{"gcc"}, steps: `
- { name: build, run: 'gcc -Ifirst -Isecond -c main.c -o main.o && gcc main.o -o main' }
- { name: look, run: ./main }`,
			files: map[string]string{
				"first/keep": "", "second/n.h": "#define N 2\n",
				"main.c": "#include <stdio.h>\n#include <n.h>\nint main(void) { printf(\"%d\\n\", N); return 0; }\n",
			}, acts: []act{
				{want: "ran", log: "2"},
				{want: "reused", log: "2"},
				{name: "shadowed", do: write("first/n.h", "#define N 1\n"), want: "ran", why: "first/n.h is there now", log: "1"},
				{name: "unlisted", do: write("second/o.h", "#define O 1\n"), want: "reused", log: "1"},
				{name: "uncovered", do: remove("first/n.h"), want: "reused", log: "2"},
			}},
		{name: "tool earlier on PATH", set: both(tools, tool("second", "greet", "echo second")), steps: "- { name: build, run: greet > out }\n- { name: look, run: cat out }", acts: []act{
			{want: "ran", log: "second"},
			{want: "reused", log: "second"},
			{name: "shadowed", do: tool("first", "greet", "echo first"), want: "ran", why: "greet is there now", log: "first"},
			{name: "another tool beside", do: tool("first", "leave", "echo leave"), want: "reused", log: "first"},
			{name: "uncovered", do: func(s *stage) { must(t, os.Remove(filepath.Join(s.Outside, "first/greet"))) }, want: "reused", log: "second"},
			{name: "changed", do: tool("second", "greet", "echo 2"), want: "ran", log: "2"},
		}},
		{name: "script and its mode", steps: "- { name: build, run: './make.sh > out || echo no > out' }\n- { name: look, run: cat out }",
			files: map[string]string{"make.sh": "#!/bin/sh\necho one\n"}, acts: []act{
				{do: chmod("make.sh", 0o755), want: "ran", log: "one"},
				{want: "reused"},
				{name: "not executable", do: chmod("make.sh", 0o644), want: "ran", why: "make.sh", logs: []string{"no"}},
				{name: "executable again", do: chmod("make.sh", 0o755), want: "reused", log: "one"},
				{name: "group bits only", do: chmod("make.sh", 0o700), want: "reused?", log: "one"},
				{name: "changed", do: write("make.sh", "#!/bin/sh\necho two\n"), want: "ran", log: "two"},
				{name: "another interpreter", do: write("make.sh", "#!/bin/bash\necho two\n"), want: "ran", log: "two"},
			}},
		{name: "symbolic link", steps: "- { name: build, run: 'cat current/v > out; readlink current >> out' }\n- { name: look, run: cat out }",
			files: map[string]string{"v1/v": "one\n", "v2/v": "two\n", "v3/v": "two\n"}, acts: []act{
				{do: link("v1", "current"), want: "ran", log: "one\nv1"},
				{want: "reused"},
				{name: "retargeted", do: link("v2", "current"), want: "ran", why: "current leads elsewhere", log: "two\nv2"},
				{name: "to the same content", do: link("v3", "current"), want: "ran", log: "two\nv3"},
				{name: "back", do: link("v1", "current"), want: "reused", log: "one\nv1"},
				{name: "what it does not lead to", do: write("v2/v", "2\n"), want: "reused", log: "one\nv1"},
				{name: "what it leads to", do: write("v1/v", "1\n"), want: "ran", log: "1\nv1"},
				{name: "a directory in its place", do: both(remove("current"), write("current/v", "dir\n")), exit: 1, want: "barred", why: "current"},
			}},
		{name: "links in a chain, and a dangling one", steps: "- { name: build, run: 'cat a; cat d 2>/dev/null || echo dangling' }",
			files: map[string]string{"c": "c\n"}, set: both(link("b", "a"), link("c", "b"), link("nowhere", "d")), acts: []act{
				{want: "ran", log: "c\ndangling"},
				{want: "reused"},
				{name: "in the middle", do: both(write("e", "e\n"), link("e", "b")), want: "ran", log: "e\ndangling"},
				{name: "no more dangling", do: write("nowhere", "now\n"), want: "ran", log: "e\nnow"},
			}},
		{name: "variable of the workflow", flow: "on: push\nenv: { MODE: '${{ vars.MODE }}' }\njobs: { a: { runs-on: ubuntu-latest, steps: [ { run: echo $MODE > out }, { name: look, run: cat out } ] } }", acts: []act{
			{args: []string{"--var", "MODE=x"}, want: "ran", log: "x"},
			{args: []string{"--var", "MODE=x"}, want: "reused", log: "x"},
			{args: []string{"--var", "MODE=y"}, want: "ran", log: "y"},
			{args: []string{"--var", "MODE=x"}, want: "reused", log: "x"},
		}},
		{name: "variable of the command line", steps: "- { run: echo $MODE }", acts: []act{
			{args: []string{"--env", "MODE=x"}, want: "ran", log: "x"},
			{args: []string{"--env", "MODE=x"}, want: "reused", log: "x"},
			{args: []string{"--env", "MODE=y"}, want: "ran", log: "y"},
			{want: "ran"},
		}},
		{name: "script, shell and directory", steps: "- { run: 'echo ${BASH_VERSION:+bash}', working-directory: x }", files: map[string]string{"x/keep": "", "y/keep": ""}, acts: []act{
			{want: "ran", log: "bash"},
			{want: "reused", log: "bash"},
			{name: "a word of the script", do: write(workflow, job("- { run: 'echo ${BASH_VERSION:+Bash}', working-directory: x }")), want: "ran", log: "Bash"},
			{name: "the directory", do: write(workflow, job("- { run: 'echo ${BASH_VERSION:+bash}', working-directory: y }")), want: "ran", log: "bash"},
			{name: "the shell", do: write(workflow, job("- { run: 'echo ${BASH_VERSION:+bash}', working-directory: x, shell: sh }")), want: "ran"},
			{name: "the name only", do: write(workflow, job("- { name: new, run: 'echo ${BASH_VERSION:+bash}', working-directory: x }")), want: "reused", log: "bash"},
		}},
		{name: "file of the machine", set: outside, steps: "- { run: cat $FAR/conf; test -e $FAR/more && echo more || true }", acts: []act{
			{do: farFile("conf", "one\n"), want: "ran", log: "one"},
			{want: "reused", log: "one"},
			{name: "changed", do: farFile("conf", "two\n"), want: "ran", log: "two"},
			{name: "appeared", do: farFile("more", ""), want: "ran", log: "two\nmore"},
			{name: "reverted", do: farFile("conf", "one\n"), want: "ran", log: "one\nmore"},
		}},
		{name: "stat outside is size, mode and time", set: outside, steps: "- { run: stat -c %s $FAR/conf }", acts: []act{
			{do: farFile("conf", "1\n"), want: "ran", log: "2"},
			{want: "reused"},
			{do: farFile("conf", "100\n"), want: "ran", log: "4"},
		}},
		{name: "stat in the workspace is content", steps: "- { run: test -s file && echo full || echo empty }", files: map[string]string{"file": "1"}, acts: []act{
			{want: "ran", log: "full"},
			{do: touch("file"), want: "reused", log: "full"},
			{do: write("file", ""), want: "ran", log: "empty"},
		}},
		{name: "a directory becomes a file", steps: "- { run: if test -d x; then ls x; else cat x; fi }", files: map[string]string{"x/one": ""}, acts: []act{
			{want: "ran", log: "one"},
			{want: "reused"},
			{do: both(remove("x"), write("x", "file\n")), want: "ran", log: "file"},
			{do: both(remove("x"), write("x/one", "")), want: "reused", log: "one"},
		}},
		{name: "size and time kept by an edit", steps: "- { run: cat f }", files: map[string]string{"f": "aaa\n"}, acts: []act{
			{want: "ran", log: "aaa"},
			{do: func(s *stage) {
				name := filepath.Join(s.Root, "f")
				st, err := os.Stat(name)
				must(s.t, err)
				must(s.t, os.WriteFile(name, []byte("bbb\n"), 0o644))
				must(s.t, os.Chtimes(name, st.ModTime(), st.ModTime()))
			}, want: "ran", log: "bbb"},
		}},
		{name: "file swapped with another", steps: "- { run: cat f g }", files: map[string]string{"f": "f\n", "g": "g\n"}, acts: []act{
			{want: "ran", log: "f\ng"},
			{do: func(s *stage) {
				in := func(name string) string { return filepath.Join(s.Root, name) }
				must(s.t, os.Rename(in("f"), in("h")))
				must(s.t, os.Rename(in("g"), in("f")))
				must(s.t, os.Rename(in("h"), in("g")))
			}, want: "ran", log: "g\nf"},
		}},
		{name: "each step by itself", steps: "- { run: cat a > out-a }\n- { run: cat b > out-b }\n- { run: cat out-a out-b > out }\n- { run: wc -l < a }\n- { name: look, run: cat out }",
			files: map[string]string{"a": "1\n", "b": "2\n"}, acts: []act{
				{want: "ran ran ran ran"},
				{want: "reused reused reused reused"},
				{name: "only who read it", do: write("b", "3\n"), want: "reused ran ran reused", logs: []string{"1\n3"}},
				{name: "what comes of it is the same", do: write("a", "1\n"), want: "reused reused reused reused"},
			}},
		{name: "early cut-off", steps: "- { run: grep -v '^#' src > out }\n- { run: cat out }", files: map[string]string{"src": "# one\ncode\n"}, acts: []act{
			{want: "ran ran", log: "code"},
			{do: write("src", "# two\ncode\n"), want: "ran reused", log: "code"},
			{do: write("src", "# two\nmore\n"), want: "ran ran", log: "more"},
		}},
		{name: "a file like the one that it makes", steps: "- { run: cat a >> out; cat out }", files: map[string]string{"a": "x\n"}, acts: []act{
			{want: "ran", log: "x"},
			{want: "reused", log: "x"},
			{name: "it is given now", do: write("out", "x\n"), want: "ran", log: "x\nx"},
			{name: "with something else in it", do: write("out", "y\n"), want: "ran", log: "y\nx"},
			{name: "like what it came to be", do: write("out", "y\nx\n"), want: "ran", log: "y\nx\nx"},
			{name: "gone again", do: remove("out"), want: "reused", log: "x"},
		}},
		{name: "a name like the one that it makes", steps: "- { run: ls d; echo x > d/made; mkdir -p d/dir }", files: map[string]string{"d/one": ""}, acts: []act{
			{want: "ran", log: "one"},
			{want: "reused", log: "one"},
			{name: "with the same in it", do: write("d/made", "x\n"), want: "ran", log: "made\none"},
			{name: "with something else in it, which is not read", do: write("d/made", "y\n"), want: "reused?", log: "made\none"},
			{name: "gone again", do: remove("d/made"), want: "reused", log: "one"},
			{name: "the directory", do: write("d/dir/file", ""), want: "ran", log: "dir\none"},
		}},
		{name: "asked for, then made", steps: "- { run: test -e stamp && echo there || echo not; echo x > stamp }", acts: []act{
			{want: "ran", log: "not"},
			{want: "reused", log: "not"},
			{name: "given", do: write("stamp", "x\n"), want: "ran", log: "there"},
			{name: "gone again", do: remove("stamp"), want: "reused", log: "not"},
		}},
		{name: "mode of the group and of others", steps: "- { run: stat -c %a file }", files: map[string]string{"file": ""}, acts: []act{
			{do: chmod("file", 0o644), want: "ran", log: "644"},
			{do: chmod("file", 0o640), args: []string{"--no-reuse"}, then: func(s *stage, _ *result) {
				truth := s.logs("last", "a")
				s.perform()
				if got := s.logs("last", "a"); got != truth {
					s.t.Errorf("with reuse it is %s, without %s", got, truth)
				}
			}},
		}},
		{name: "names that are strange", steps: "- { run: 'for f in odd/*; do printf \"%s\\n\" \"$f\"; cat \"$f\"; done > out' }\n- { name: look, run: cat out }",
			files: map[string]string{"odd/with space": "1\n", "odd/-dash": "2\n", "odd/ünï": "3\n", "odd/quo\"te'": "4\n", "odd/back\\slash": "5\n", "odd/new\nline": "6\n"}, acts: []act{
				{want: "ran", logs: []string{"with space\n1", "new\nline\n6"}},
				{want: "reused", logs: []string{"with space\n1"}},
				{do: write("odd/new\nline", "7\n"), want: "ran", logs: []string{"new\nline\n7"}},
				{do: write("odd/back\\slash", "8\n"), want: "ran", logs: []string{"slash\n8"}},
			}},
	})
}

func farFile(name, body string) func(*stage) {
	return func(s *stage) { must(s.t, os.WriteFile(filepath.Join(s.far(), name), []byte(body), 0o644)) }
}

// TestClones shows that what was done in one clone of a repository is known in
// another, which shares its remote.
func TestClones(t *testing.T) {
	t.Parallel()
	watched(t)
	s := newStage(t, job("- { run: 'cat src > out; pwd >> out' }\n- { name: look, run: head -1 out }"), "", map[string]string{"src": "one\n"})
	s.Git("remote", "add", "origin", "https://example.invalid/team/thing.git")
	first := s.perform()
	clone := *s.Place
	clone.Root = filepath.Join(filepath.Dir(s.Root), "elsewhere", filepath.Base(s.Root))
	s.Git("clone", "-q", s.Root, clone.Root)
	c := &stage{Place: &clone, t: t}
	c.Git("remote", "set-url", "origin", "https://example.invalid/team/thing.git")
	for i, want := range []string{"reused", "reused", "ran"} {
		if i == 2 {
			c.Write(map[string]string{"src": "two\n"})
		}
		r := c.perform()
		if r.words() != want || r.out.Exit != 0 {
			t.Errorf("run %d in the clone: %s, want %s\n%s\n%s", i, r.words(), want, r.reasons(), r.brief())
		}
	}
	if got := c.logs("last", "a"); strings.TrimSpace(got) != "two" {
		t.Errorf("the clone's last run printed %q", got)
	}
	if r := s.perform(); r.words() != "reused" || strings.TrimSpace(s.logs("last", "a")) != "one" {
		t.Errorf("back in the first tree: %s\n%s", r.words(), r.reasons())
	}
	if first.words() != "ran" {
		t.Errorf("the first run: %s", first.words())
	}
	// The same files at another place of another repository are another thing.
	other := binary.NewPlace(t, map[string]string{workflow: job("- { run: 'cat src > out; pwd >> out' }"), "src": "one\n"})
	other.Env = append(other.Env, fmt.Sprintf("FAIRLEAD_CACHE=%s", s.Cache))
	o := &stage{Place: other, t: t}
	if r := o.perform(); r.words() != "ran" {
		t.Errorf("in another repository: %s", r.words())
	}
}
