package reuse

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/test/binary"
)

// world is a random project, as it should lie on the disk: what is at each
// slash path of the repository, or below "@/", outside of it.
type world map[string]thing

// thing is a file, or a link.
type thing struct {
	body string
	exec bool
	link string // what it leads to; "" for a file
}

// Where things of a world are, and what they hold. They are few, so that random
// steps and random changes meet.
var (
	dirs     = []string{"d0", "d1", "d0/s", "d2/x", "d2"}
	names    = []string{"a.txt", "b.txt", "c.txt", "note.md", "conf", "run.sh"}
	bodies   = []string{"one\n", "two\n", "three\ntwo\n", "four one\n", "", "five\nsix\nseven\n", "tow\n"}
	targets  = []string{"a.txt", "b.txt", "../d1/a.txt", "../d0/b.txt", "nowhere", "."}
	programs = []string{"greet", "count"}
)

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// file is a path that may or may not be there.
func file(r *rand.Rand) string { return pick(r, dirs) + "/" + pick(r, names) }

func plain(body string) thing  { return thing{body: body} }
func script(body string) thing { return thing{body: "#!/bin/sh\n" + body, exec: true} }

// special are the places where languages look for things, with what may be there.
func special(r *rand.Rand) (string, thing) {
	n := r.IntN(4)
	switch r.IntN(9) {
	case 0, 1: // headers that shadow each other
		return pick(r, []string{"inc/a/", "inc/b/", "c/"}) + pick(r, []string{"n.h", "m.h"}), plain(fmt.Sprintf("#define VALUE %d\n", n))
	case 2: // programs that shadow each other
		return pick(r, []string{"tools/a/", "tools/b/", "@/first/", "@/second/"}) + pick(r, programs), script(fmt.Sprintf("echo tool %d\nwc -c < d0/a.txt\n", n))
	case 3, 4: // modules and packages that shadow each other
		name := pick(r, []string{"py/alpha.py", "py/beta.py", "py/lib/alpha.py", "py/beta/__init__.py", "py/lib/gamma.py"})
		return name, plain(fmt.Sprintf("VALUE = %d\ntry:\n    from gamma import VALUE as MORE\nexcept ImportError:\n    MORE = None\n", n))
	case 5:
		return "py/data/" + pick(r, []string{"x.json", "y.json", "z.txt"}), plain(fmt.Sprintf("{\"n\": %d}\n", n))
	case 6:
		return "go/" + pick(r, []string{"one.go", "two.go", "one_test.go", "sub/sub.go"}), plain("")
	case 7:
		return "links/" + pick(r, []string{"l", "m", "n"}), thing{link: pick(r, []string{"../d0/a.txt", "../d1/a.txt", "../d0", "../d1", "m", "nowhere"})}
	}
	return "list", plain(strings.Join([]string{file(r), file(r), file(r)}, "\n") + "\n")
}

// goFile is what a Go file of the world holds: names differ, so that files do
// not get into each other's way.
func goFile(name string, n int) string {
	switch path.Base(name) {
	case "main.go":
		return "package main\n\nimport (\n\t\"fmt\"\n\n\t\"m/sub\"\n)\n\nvar parts []int\n\nfunc main() { fmt.Println(parts, sub.Value()) }\n"
	case "sub.go":
		return fmt.Sprintf("package sub\n\nfunc Value() int { return %d }\n", n)
	}
	return fmt.Sprintf("package main\n\nfunc init() { parts = append(parts, %d) }\n", n)
}

// begin is a random world, with the workflow that builds it.
func begin(r *rand.Rand, t *terrain) world {
	w := world{
		"c/main.c":    plain("#include <stdio.h>\n#include <n.h>\n#if __has_include(<m.h>)\n#define M 1\n#else\n#define M 0\n#endif\nint main(void) { printf(\"%d %d\\n\", VALUE, M); return 0; }\n"),
		"inc/b/n.h":   plain("#define VALUE 1\n"),
		"inc/a/keep":  plain(""),
		"py/main.py":  plain("import json, os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\nimport alpha\ntry:\n    import beta\n    print('beta', beta.VALUE, beta.MORE)\nexcept ImportError as e:\n    print(e)\nprint(alpha.VALUE, alpha.MORE)\nd = 'py/data'\nfor n in sorted(os.listdir(d)):\n    if n.endswith('.json'):\n        print(n, json.load(open(os.path.join(d, n)))['n'])\nfor n in ('d0/a.txt', 'd1/conf'):\n    print(n, os.path.exists(n) and os.stat(n).st_size)\n"),
		"py/alpha.py": plain("VALUE = 1\nMORE = 2\n"), "py/data/x.json": plain("{\"n\": 1}\n"),
		"go/go.mod": plain("module m\n\ngo 1.24\n"), "go/main.go": plain(goFile("main.go", 0)), "go/one.go": plain(goFile("one.go", 1)), "go/sub/sub.go": plain(goFile("sub.go", 1)),
		"tools/b/greet": script("echo hello\n"), "@/second/count": script("wc -l < d0/a.txt\n"), "d0/a.txt": plain("one\n"),
		"links/l": {link: "../d0/a.txt"}, "links/m": {link: "../d1"}, "list": plain("d0/a.txt\nd1/b.txt\n"),
	}
	for range 12 {
		w[file(r)] = plain(pick(r, bodies))
	}
	w.heal()
	w[project] = plain("reuse:\n  steps:\n" + looking)
	w[workflow] = plain(t.flow("x"))
	return w
}

// heal makes the world one that can be: no file is also a directory, and Go
// files are Go.
func (w world) heal() {
	for name := range w {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			delete(w, dir)
		}
	}
	for name, x := range w {
		if strings.HasPrefix(name, "go/") && strings.HasSuffix(name, ".go") && x.link == "" && !strings.HasPrefix(x.body, "package") {
			w[name] = plain(goFile(name, len(name)+len(x.body)))
		}
	}
}

// terrain is what does not change of a world: its jobs.
type terrain struct {
	jobs [][]string // steps: YAML
}

// steps are the kinds of steps, each a script.
var steps = []func(r *rand.Rand) string{
	func(r *rand.Rand) string {
		return fmt.Sprintf("cat %s/*.txt | sort > out/all; cksum < out/all", pick(r, dirs))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("grep -rn %s %s | sort", pick(r, []string{"one", "two", "[a-f]"}), pick(r, dirs))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("find %s -type f | sort | tee out/list-%d", pick(r, dirs), r.IntN(9))
	},
	func(r *rand.Rand) string { return fmt.Sprintf("ls %s; ls %s | wc -l", pick(r, dirs), pick(r, dirs)) },
	func(r *rand.Rand) string {
		return fmt.Sprintf("mkdir -p out/x; cp %s out/x/f; echo kept > out/x/k; rm -rf out/y; mv out/x out/y; ln -sfn y out/z; cat out/z/f out/z/k", file(r))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("for f in %s %s %s; do if test -f $f; then echo found; cat $f; break; fi; done", file(r), file(r), file(r))
	},
	func(r *rand.Rand) string {
		return "PATH=$PWD/tools/a:$PWD/tools/b:$PATH; " + pick(r, programs) + "; command -v " + pick(r, programs) + " | sed 's,.*/\\([^/]*/[^/]*\\)$,\\1,'"
	},
	func(r *rand.Rand) string { return "readlink links/l; cat links/l; ls links/m; cat links/n | head -1" },
	func(r *rand.Rand) string { return "python3 py/main.py" },
	func(r *rand.Rand) string { return "python3 py/main.py > out/py; wc out/py" },
	func(r *rand.Rand) string { return "gcc -Iinc/a -Iinc/b -o out/prog c/main.c && out/prog" },
	func(r *rand.Rand) string {
		return "gcc -c -Iinc/b -Iinc/a -o out/main.o c/main.c && gcc -o out/prog2 out/main.o && out/prog2 > out/said; cat out/said"
	},
	func(r *rand.Rand) string {
		return "(cd go && go build -buildvcs=false -trimpath -o ../out/go . && ../out/go)"
	},
	func(r *rand.Rand) string { f := file(r); return fmt.Sprintf("sed -i s/o/0/ %s && cat %s", f, f) },
	func(r *rand.Rand) string { f := file(r); return fmt.Sprintf("cat %s >> %s; cksum %s", file(r), f, f) },
	func(r *rand.Rand) string { return "echo mode $MODE | tee out/mode" },
	func(r *rand.Rand) string { return "cat out/* | cksum; ls out" },
	func(r *rand.Rand) string { return "while read -r f; do cat $f; done < list" },
	func(r *rand.Rand) string {
		f := file(r)
		return fmt.Sprintf("test -x %s && echo runs || echo not; test -s %s && echo full", f, f)
	},
	func(r *rand.Rand) string { return fmt.Sprintf("rm -f %s; ls %s", file(r), pick(r, dirs)) },
	func(r *rand.Rand) string { return fmt.Sprintf("diff -r %s %s | cksum", pick(r, dirs), pick(r, dirs)) },
	func(r *rand.Rand) string {
		return fmt.Sprintf("tar cf - %s 2> out/err | tar tf - 2> /dev/null | sort; cat out/err", pick(r, dirs))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("rm -rf out/copy; cp -r %s out/copy; find out/copy | sort", pick(r, dirs))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("rm -rf %s; mkdir -p %s/new; echo new > %[2]s/new/file; find %[2]s | sort", pick(r, dirs), pick(r, dirs))
	},
	func(r *rand.Rand) string { return fmt.Sprintf("mv %s %s; cat %s", file(r), file(r), file(r)) },
	func(r *rand.Rand) string {
		return fmt.Sprintf("ln -f %s out/hard; cat out/hard; t=$(mktemp); cat %s > $t; cat $t; rm $t", file(r), file(r))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("(cat %s; sleep 0.01) 2> out/err & (cat %s > out/bg) 2> /dev/null & wait; cat out/bg out/err", file(r), file(r))
	},
	func(r *rand.Rand) string { return fmt.Sprintf("(cd %s && cat ../*/a.txt; cat b.txt)", pick(r, dirs)) },
	func(r *rand.Rand) string {
		return fmt.Sprintf("cmp %s %s; head -c 3 %s; stat -c '%%s %%F' %s", file(r), file(r), file(r), file(r))
	},
	func(r *rand.Rand) string { return fmt.Sprintf("chmod +x %s; %s", file(r), "ls out | wc -l") },
	func(r *rand.Rand) string {
		return fmt.Sprintf("echo \"V$RANGE=$(cat %s | head -1)\" >> $GITHUB_ENV; env | grep ^V= | sort", file(r))
	},
	func(r *rand.Rand) string {
		return fmt.Sprintf("echo \"v=$(cksum < %s)\" >> $GITHUB_OUTPUT; echo said", file(r))
	},
}

// snapshot prints all that is in the workspace but what git and Python keep.
const snapshot = `find . \( -name .git -o -name __pycache__ \) -prune -o -printf '%y %P %l\n' | LC_ALL=C sort; find . \( -name .git -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; find . -name .git -prune -o -type f -perm /100 -print | LC_ALL=C sort`

func newTerrain(r *rand.Rand, goToo bool) *terrain {
	t := new(terrain)
	for range 2 {
		var list []string
		for i := range 3 + r.IntN(3) {
			text := ""
			for range 1 + r.IntN(2) {
				for {
					next := pick(r, steps)(r)
					if goToo || !strings.Contains(next, "go build") {
						text += next + "\n"
						break
					}
				}
			}
			text = fmt.Sprintf("- id: s%d\n  run: |\n    set +e; mkdir -p out; set -- %d; exec 2>&1\n%s    echo ended $?\n", i, i, indent(text, "    "))
			if i > 0 && r.IntN(4) == 0 {
				text += fmt.Sprintf("  env: { GIVEN: '${{ steps.s%d.outputs.v }}' }\n", r.IntN(i))
			}
			if r.IntN(6) == 0 {
				text = strings.Replace(text, "set +e; ", "", 1) // it may fail
				text += "  continue-on-error: true\n"
			}
			list = append(list, text)
		}
		if r.IntN(3) > 0 {
			list = append(list, "- name: look\n  if: always()\n  run: |\n    "+snapshot+"\n")
		}
		t.jobs = append(t.jobs, list)
	}
	return t
}

func (t *terrain) flow(mode string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "on: push\nenv: { MODE: %s, PYTHONDONTWRITEBYTECODE: '1' }\njobs:\n", mode)
	for i, list := range t.jobs {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: ubuntu-latest\n    steps:\n", i)
		for _, step := range list {
			b.WriteString(indent(step, "      "))
		}
	}
	return b.String()
}

// change is a random change of a world. It returns what to do besides making
// it real, which is nothing for most.
func change(r *rand.Rand, w world, t *terrain, past []world) (what string, next world, besides func(s *stage)) {
	next = maps.Clone(w)
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(w)), func(name string) bool { return name == workflow || name == project })
	some := func() string { return pick(r, known) }
	switch n := r.IntN(20); n {
	case 0, 1, 2, 3: // edit
		name := some()
		x := next[name]
		switch {
		case x.link != "":
			x.link = pick(r, targets)
		case strings.HasPrefix(name, "d"):
			x.body = pick(r, bodies)
		default:
			x.body = strings.Map(func(c rune) rune {
				if '0' <= c && c <= '3' && !strings.HasSuffix(name, "go.mod") {
					return rune('0' + r.IntN(4))
				}
				return c
			}, x.body)
		}
		next[name] = x
		what = "edit " + name
	case 4: // touch
		name := some()
		what = "touch " + name
		besides = func(s *stage) {
			at := time.Now().Add(-time.Duration(r.IntN(1000)) * time.Hour)
			if w[name].link == "" {
				must(s.t, os.Chtimes(s.at(name), at, at))
			}
		}
	case 5, 6:
		name := file(r)
		next[name] = plain(pick(r, bodies))
		what = "add " + name
	case 7, 8, 9:
		name, x := special(r)
		next[name] = x
		what = "add " + name
	case 10, 11:
		name := some()
		if name != "c/main.c" && name != "go/go.mod" {
			delete(next, name)
		}
		what = "delete " + name
	case 12:
		from, to := some(), file(r)
		next[to] = next[from]
		delete(next, from)
		what = "rename " + from + " to " + to
	case 13:
		name := some()
		x := next[name]
		x.exec = !x.exec && x.link == ""
		next[name] = x
		what = "chmod " + name
	case 14:
		name := "links/" + pick(r, []string{"l", "m", "n"})
		next[name] = thing{link: pick(r, []string{"../d0/a.txt", "../d1/b.txt", "../d0", "../d2", "nowhere"})}
		what = "retarget " + name
	case 15:
		next[workflow] = plain(t.flow(pick(r, []string{"x", "y", "z"})))
		what = "another variable"
	case 16:
		a, b := some(), some()
		if !strings.HasPrefix(a, "go/") && !strings.HasPrefix(b, "go/") {
			next[a], next[b] = next[b], next[a]
		}
		what = "swap " + a + " and " + b
	case 17:
		dir := pick(r, dirs) + "/" + pick(r, []string{"fresh", "s", "x"})
		next[dir+"/a.txt"] = plain(pick(r, bodies))
		what = "new directory " + dir
	default:
		what = "revert"
		next = maps.Clone(pick(r, past))
		if n == 18 {
			what = "commit"
			next, besides = maps.Clone(w), func(s *stage) { s.Commit("more") }
		}
	}
	next.heal()
	return what, next, besides
}

// at is where a thing is on the disk.
func (s *stage) at(name string) string {
	if rest, ok := strings.CutPrefix(name, "@/"); ok {
		return filepath.Join(s.Outside, rest)
	}
	return filepath.Join(s.Root, name)
}

// become makes the disk hold a world, from another that it holds.
func (s *stage) become(was, now world) {
	s.t.Helper()
	for name, x := range was {
		if y, ok := now[name]; !ok || y != x {
			must(s.t, os.Remove(s.at(name)))
			for dir := filepath.Dir(s.at(name)); dir != s.Root && dir != s.Outside && os.Remove(dir) == nil; dir = filepath.Dir(dir) {
			}
		}
	}
	for name, x := range now {
		if y, ok := was[name]; ok && y == x {
			continue
		}
		at := s.at(name)
		must(s.t, os.MkdirAll(filepath.Dir(at), 0o755))
		mode := os.FileMode(0o644)
		if x.exec {
			mode = 0o755
		}
		if x.link != "" {
			must(s.t, os.Symlink(x.link, at))
		} else {
			must(s.t, os.WriteFile(at, []byte(x.body), mode))
		}
	}
}

// id is the digest of a world.
func (w world) id() [32]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(w)) {
		fmt.Fprintf(h, "%q %q %v %q\n", name, w[name].body, w[name].exec, w[name].link)
	}
	return [32]byte(h.Sum(nil))
}

// tally counts what came of the steps of many runs.
type tally struct {
	mu                                                 sync.Mutex
	changes, hits, misses, barred, unnecessary, futile int
	whys                                               map[string]int // of unnecessary misses
}

// TestReuseProperty changes random worlds at random, runs them with reuse, and
// compares all that was printed and left with a clean run without.
func TestReuseProperty(t *testing.T) {
	t.Parallel()
	watched(t)
	binary.Need(t, "bash", "python3", "gcc")
	_, err := exec.LookPath("go")
	worlds, changes, workers := 5, 32, 2
	if binary.Long() {
		worlds, changes = 100, 100
	}
	first := seed(t)
	t.Logf("seed %d", first)
	sum := tally{whys: map[string]int{}}
	work := make(chan struct{}, workers)
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				work <- struct{}{}
				defer func() { <-work }()
				r := rand.New(rand.NewPCG(first, uint64(i)))
				sum.explore(t, r, changes, err == nil && i%3 == 0)
			})
		}
	})
	t.Logf("%d changes: %d hits, %d misses, %d barred; %d misses were unnecessary, %d came to what was printed before",
		sum.changes, sum.hits, sum.misses, sum.barred, sum.unnecessary, sum.futile)
	for _, why := range slices.SortedFunc(maps.Keys(sum.whys), func(a, b string) int { return sum.whys[b] - sum.whys[a] })[:min(12, len(sum.whys))] {
		t.Logf("unnecessary %d times: %s", sum.whys[why], why)
	}
	if sum.hits == 0 || sum.misses == 0 {
		t.Error("nothing was shown")
	}
}

// explore changes one world many times.
func (sum *tally) explore(t *testing.T, r *rand.Rand, changes int, goToo bool) {
	land := newTerrain(r, goToo)
	w := begin(r, land)
	s := newStage(t, land.flow("x"), "", nil)
	s.become(world{}, w)
	for _, dir := range []string{"first", "second"} {
		must(t, os.MkdirAll(filepath.Join(s.Outside, dir), 0o755))
	}
	s.Env = append(s.Env, fmt.Sprintf("PATH=%s/first:%[1]s/second:%s", s.Outside, machinePath()))
	if goToo {
		goCache(s)
	}
	clean := &stage{Place: s.On(t), t: t, args: s.args}
	clean.Cache, clean.Data = s.Cache+"-clean", s.Data+"-clean"
	clean.Env = append(clean.Env, "FAIRLEAD_CACHE="+clean.Cache, "FAIRLEAD_DATA="+clean.Data)
	s.args = append(s.args, "--parallel", fmt.Sprint(1+r.IntN(2)))

	truths := map[[32]byte]string{}
	printed := map[string]map[string]bool{} // by step
	past := []world{w}
	history := []string{"begin"}
	for i := range changes + 1 {
		what, besides := "begin", func(*stage) {}
		if i > 0 {
			var next world
			var more func(*stage)
			what, next, more = change(r, w, land, past[max(0, len(past)-5):])
			s.become(w, next)
			if w = next; more != nil {
				besides = more
			}
			besides(s)
			history = append(history, what)
		}
		id := w.id()
		truth, seen := truths[id]
		if !seen {
			truth = clean.truth(clean.perform("--no-reuse"))
			truths[id] = truth
		}
		res := s.perform()
		got := s.outcome(res)
		if got != truth {
			if again := clean.truth(clean.perform("--no-reuse")); again == got {
				t.Logf("change %d, %s: two clean runs differ, so nothing can be said", i, what)
				truths[id] = again
				continue
			}
			t.Errorf("FALSE HIT after change %d, %s (history: %s)\nsteps: %s\n%s\n%s\nworkflow:\n%s", i, what,
				strings.Join(history, "; "), res.words(), difference(got, truth), res.reasons(), land.flow("?"))
			return
		}
		sum.count(res, seen && slices.ContainsFunc(past[max(0, len(past)-5):], func(p world) bool { return p.id() == id }), printed, s)
		past = append(past, w)
	}
}

// slot is the number in the path of a workspace: with several jobs at a time
// it is a matter of chance which of them gets which.
var slot = regexp.MustCompile(`(CACHE/workspaces/[^/]+)/[0-9]+/`)

// outcome is the exit code and all that was printed, the same for the same
// thing at another place.
func (s *stage) outcome(r *result) string {
	s.t.Helper()
	return s.anywhere(r, s.logs(r.run))
}

// truth is the outcome of a run of which every step ran: it has told all that
// was printed.
func (s *stage) truth(r *result) string {
	var b strings.Builder
	for _, job := range slices.Sorted(maps.Keys(r.jobs)) {
		for _, x := range r.jobs[job] {
			for line := range strings.Lines(x.lines(r, job)) {
				b.WriteString(job + " | " + shown(line))
			}
		}
	}
	return s.anywhere(r, b.String())
}

// shown is a line as it is shown to people: tabs are blanks.
func shown(line string) string {
	var b strings.Builder
	width := 0
	for _, c := range line {
		if c != '\t' {
			b.WriteRune(c)
			width++
			continue
		}
		for again := true; again; again = width%8 != 0 {
			b.WriteByte(' ')
			width++
		}
	}
	return b.String()
}

func (s *stage) anywhere(r *result, log string) string {
	return fmt.Sprintf("exit %d\n%s", r.out.Exit, slot.ReplaceAllString(strings.ReplaceAll(log, s.Cache, "CACHE"), "$1/N/"))
}

// count adds a run. It is one of a world that was there before, or not.
func (sum *tally) count(r *result, before bool, printed map[string]map[string]bool, s *stage) {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	sum.changes++
	for job, list := range r.jobs {
		for _, x := range list {
			text := x.lines(r, job)
			known := printed[job+x.key][text]
			switch x.word() {
			case "reused":
				sum.hits++
				continue
			case "barred":
				sum.barred++
				continue
			case "":
				continue
			}
			sum.misses++
			if known {
				sum.futile++
			}
			if before {
				sum.unnecessary++
				why := "not seen before"
				if m := x.fin.Reuse.Miss; m != nil {
					why = m.Why
				}
				sum.whys[why]++
			}
			if printed[job+x.key] == nil {
				printed[job+x.key] = map[string]bool{}
			}
			printed[job+x.key][text] = true
		}
	}
}

// difference is what two texts do not have in common, by lines.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	var out strings.Builder
	for _, line := range a {
		if !slices.Contains(b, line) {
			fmt.Fprintf(&out, "with reuse: %s\n", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			fmt.Fprintf(&out, "clean:      %s\n", line)
		}
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			fmt.Fprintf(&out, "the first line that differs is\n%s\nand clean\n%s\n", a[i], b[i])
			break
		}
	}
	return out.String()
}
