package reuse

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listing prints everything in a directory: kinds, modes, sizes, targets and
// contents, but no times.
const listing = `
      list() { (cd "$1" && find . -mindepth 1 -printf '%y %m %P %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r cat --); }
`

// TestOutputs is about what a reused step leaves: just what it left when it
// ran. Each scene prints that with a step that always runs.
func TestOutputs(t *testing.T) {
	// same runs the steps twice, and looks at what is in out.
	same := func(name, steps string, more ...act) scene {
		var first string
		sc := scene{name: name, steps: steps + "\n- name: look\n  shell: bash\n  run: |" + listing + "      list out\n", files: map[string]string{"in/a": "a\n", "in/b": "b\n", "in/run": "#!/bin/sh\necho run\n", "in/d/x": "x\n"}}
		sc.acts = append([]act{
			{want: "ran", then: func(s *stage, _ *result) { first = s.logs("last", "a") }},
			{want: "reused", then: func(s *stage, _ *result) {
				if again := s.logs("last", "a"); again != first || len(strings.TrimSpace(first)) == 0 {
					s.t.Errorf("after reuse there is\n%safter the run there was\n%s", again, first)
				}
			}},
			{name: "something else changed", do: write("unrelated", "x"), want: "reused?", then: func(s *stage, _ *result) {
				if again := s.logs("last", "a"); again != first {
					s.t.Errorf("after another change there is\n%safter the run there was\n%s", again, first)
				}
			}},
		}, more...)
		return sc
	}
	play(t, []scene{
		same("files and directories", "- run: mkdir -p out/x/y/z; echo 1 > out/x/1; echo 2 > out/x/y/2; touch out/empty"),
		same("empty directories", "- run: mkdir -p out/a/b out/c; mkdir -m 700 out/d"),
		same("modes", "- run: mkdir out; for m in 000 400 444 555 600 640 755 777 4755 2755 1644; do echo $m > out/$m; chmod $m out/$m; done; mkdir -m 1777 out/sticky; mkdir -m 555 out/closed; mkdir -m 2775 out/group"),
		same("symbolic links", "- run: mkdir out; ln -s ../in/a out/a; ln -s nowhere out/dangling; ln -s . out/self; ln -s /bin/sh out/sh"),
		same("hard links", "- run: mkdir out; echo x > out/a; ln out/a out/b; ln out/b out/c; cp out/c out/d"),
		same("rename of its own directory", "- run: mkdir -p tmp/deep; echo 1 > tmp/deep/1; echo 2 > tmp/2; mv tmp out; mv out/deep out/flat"),
		same("rename of what was given", "- run: mv in out; echo more > out/more").may(),
		same("renames over each other", "- run: mkdir out; echo 1 > out/1; echo 2 > out/2; mv out/1 out/2; echo 3 > out/1; mv -T in/d out/d").may(),
		same("mktemp", "- run: 'mkdir out; t=$(mktemp); d=$(mktemp -d); echo x > $t; cp $t $d/y; cat $d/y > out/z; rm -r $t $d'"),
		same("written and removed again", "- run: mkdir out gone; echo 1 > gone/1; cp gone/1 out/kept; rm -r gone"),
		same("made executable", "- run: mkdir out; cp in/run out/run; chmod +x out/run; out/run > out/said"),
		same("appended, truncated, sparse", "- run: mkdir out; echo 1 > out/a; echo 2 >> out/a; true > out/a; echo 3 >> out/a; truncate -s 100000 out/sparse; ln -s a out/l; echo 4 >> out/l"),
		same("directory becomes file and back", "- run: mkdir -p out/x; echo 1 > out/x/1; rm -r out/x; echo file > out/x; echo f > out/y; rm out/y; mkdir out/y; echo 2 > out/y/2"),
		same("fifo and socket that go", "- run: 'mkdir out; mkfifo p; (cat p > out/through) & echo x > p; wait; rm p'"),
		same("copies with everything", "- run: cp -a in out; cp -a --reflink=auto in out/again; tar cf - in | tar xf - -C out"),
		same("a directory that is made anew", "- run: mkdir out; rm -r in/d; mkdir in/d; echo new > in/d/x; cp -r in out/in"),
		same("a directory that is emptied, removed and made anew", "- run: mkdir out; rm in/d/x; rmdir in/d; mkdir in/d; echo new > in/d/y; ls in/d > out/ls"),
		same("a directory that is listed, removed and made anew", "- run: mkdir out; ls in/d; rm in/d/x; rmdir in/d; mkdir in/d; echo new > in/d/x; ls in/d > out/ls").may(),
		same("a file that is overwritten, listed and removed", "- run: mkdir out; echo more > in/a; ls in > out/ls; rm in/a"),
		same("many", "- run: mkdir out; for i in $(seq 300); do echo $i > out/$i; done"),
		same("large", "- run: mkdir out; head -c 3000000 /dev/zero | tr '\\0' x > out/large; cp out/large out/copy"),
		same("strange names", "- run: 'mkdir out; cd out; touch -- \"a b\" -n \"$(printf \"x\\\\ny\")\" \"ü\" \"$(printf \"\\\\377\")\" \"*\"'"),
		same("mapped", "- run: mkdir out; python3 -c 'import mmap; f=open(\"out/m\",\"w+b\"); f.truncate(10); m=mmap.mmap(f.fileno(),10); m[:5]=b\"hello\"; m.flush()'"),
		same("between steps", "- run: mkdir out; cat in/a > out/1"+"\n- run: cat out/1 in/b > out/2; rm out/1\n- run: mv out/2 out/3; echo new > out/1",
			act{name: "the middle one", do: write("in/b", "B\n"), want: "reused ran ran"}).words("ran ran ran", "reused reused reused?"),

		{name: "deletion is done again for the next step", steps: "- { run: rm in/a; rm -r in/d }\n- { name: look, run: find in | sort }", files: map[string]string{"in/a": "1", "in/b": "2", "in/d/e/f": "3"}, acts: []act{
			{want: "ran", log: "in\nin/b"},
			{want: "reused", log: "in\nin/b"},
			{name: "and for one that could be reused", do: write(workflow, job("- { run: rm in/a; rm -r in/d }\n- { run: find in | sort }")), want: "reused ran", log: "in\nin/b"},
			{want: "reused reused", log: "in\nin/b"},
			{name: "rm asks for what it removes", do: write("in/a", "another"), want: "ran reused", log: "in\nin/b"},
		}},
		{name: "read, then overwritten in place", steps: "- { run: 'n=$(cat count); echo $((n+1)) > count' }\n- { name: look, run: cat count }", files: map[string]string{"count": "1\n"}, acts: []act{
			{want: "ran", log: "2"},
			{want: "reused?", log: "2"},
			{do: write("count", "2\n"), want: "ran", log: "3"},
			{do: write("count", "1\n"), want: "reused?", log: "2"},
		}},
		{name: "edited in place", needs: []string{"sed"}, steps: "- { run: sed -i s/one/two/ file }\n- { run: sed -i s/two/three/ file }\n- { name: look, run: cat file }", files: map[string]string{"file": "one\n"}, acts: []act{
			{want: "ran ran", log: "three"},
			{want: "reused? reused?", log: "three"},
			{do: write("file", "one, one\n"), want: "ran ran", log: "three, one"},
		}},
		{name: "a database that is updated", needs: []string{"python3"}, steps: "- { run: python3 -m update }\n- { run: python3 -m update }\n- { name: look, run: python3 -m ask }", files: map[string]string{
			"update.py": "import sqlite3\nd = sqlite3.connect('db')\nd.execute('create table if not exists n (x)')\nd.execute('insert into n values (?)', (open('value').read(),))\nd.commit()\n",
			"ask.py":    "import sqlite3\nprint(sqlite3.connect('db').execute('select x from n').fetchall())\n", "value": "1",
		}, acts: []act{
			{want: "ran ran", log: "[('1',), ('1',)]"},
			{want: "reused? reused?", log: "[('1',), ('1',)]"},
			{do: write("value", "2"), want: "ran ran", log: "[('2',), ('2',)]"},
			{do: write("value", "1"), want: "reused? reused?", log: "[('1',), ('1',)]"},
		}},
		{name: "overwritten unread", steps: "- { run: cat src > out }\n- { name: look, run: cat out }", files: map[string]string{"src": "s\n", "out": "old\n"}, acts: []act{
			{want: "ran", log: "s"},
			{name: "what was there does not matter", do: write("out", "other\n"), want: "reused", log: "s"},
			{name: "nothing was there", do: remove("out"), want: "reused?", log: "s"},
		}},
		{name: "restored for who runs again", steps: "- { run: mkdir -p o; cat a > o/a }\n- { run: cat b > o/b }\n- { run: cat o/a o/b c }", files: map[string]string{"a": "a\n", "b": "b\n", "c": "c\n"}, acts: []act{
			{want: "ran ran ran", log: "a\nb\nc"},
			{want: "reused reused reused", log: "a\nb\nc"},
			{do: write("c", "C\n"), want: "reused reused ran", log: "a\nb\nC"},
			{do: write("b", "B\n"), want: "reused ran ran", log: "a\nB\nC"},
			{do: both(write("b", "b\n"), write("c", "c\n")), want: "reused reused reused", log: "a\nb\nc"},
		}},
		{name: "changed in between by a step that runs always", steps: "- { run: cat a > out }\n- { name: look, run: 'cat change >> out' }\n- { run: cat out }", files: map[string]string{"a": "a\n", "change": "1\n"}, acts: []act{
			{want: "ran ran", log: "a\n1"},
			{want: "reused reused", log: "a\n1"},
			{do: write("change", "2\n"), want: "reused ran", log: "a\n2"},
		}},
		{name: "left by an earlier run in place", args: []string{"--in-place"}, steps: "- { run: mkdir -p out; cat in > out/1 }\n- { name: look, run: cat out/1 }", files: map[string]string{"in": "1\n"}, acts: []act{
			{want: "ran", log: "1"},
			{want: "reused", log: "1"},
			{name: "tampered with, and overwritten unread", do: write("out/1", "evil\n"), want: "reused", log: "1"},
			{name: "removed", do: remove("out"), want: "reused", log: "1", then: func(s *stage, _ *result) {
				if b, err := os.ReadFile(filepath.Join(s.Root, "out/1")); string(b) != "1\n" {
					s.t.Errorf("it was not restored: %q, %v", b, err)
				}
			}},
			{name: "input changed", do: write("in", "2\n"), want: "ran", log: "2"},
			{name: "and back", do: write("in", "1\n"), want: "reused", log: "1"},
		}},
		{name: "the slot is tampered with", steps: "- { run: cat a > out }\n- { run: cat out }\n- { name: look, run: cat out }", files: map[string]string{"a": "a\n"}, acts: []act{
			{want: "ran ran", log: "a\na"},
			{do: func(s *stage) {
				outs, err := filepath.Glob(filepath.Join(s.Cache, "workspaces/*/*/repo/out"))
				must(s.t, err)
				if len(outs) != 1 {
					s.t.Fatalf("%d workspaces hold the output", len(outs))
				}
				must(s.t, os.WriteFile(outs[0], []byte("evil\n"), 0o644))
			}, want: "reused reused", log: "a\na"},
		}},
	})
}

// may lets the step of the scene run again.
func (sc scene) may() scene { return sc.words("ran", "reused?") }

// words replaces what is wanted of the first act, and of the next two, which
// change nothing that counts.
func (sc scene) words(first, then string) scene {
	sc.acts[0].want, sc.acts[1].want, sc.acts[2].want = first, then, then
	return sc
}
