package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What bundles, in the versions that are installed for it.
const (
	bundler    = "webpack@5.112.2"
	bundlerCLI = "webpack-cli@7.3.1"
)

// trial is something about reuse that is measured: always against another
// command, or against ourselves without reuse, in turns.
type trial struct {
	name, what, bar string
	programs        []string               // without which it is left out
	make            func(dir string) error // nil: it needs no repository
	rounds          int                    // 0: as asked
	measure         func(s *site) error
}

// site is where a trial takes place: a repository with data and caches of its
// own.
type site struct {
	trial
	dir      string
	mine     command // fairlead run
	cache    string  // the directory of its workspaces and of what its steps did
	fairlead string  // our program
	rounds   int
	out      *table
}

// command is fairlead run in a repository, with that cache.
func (s *site) command(dir, cache string) command {
	return command{argv: []string{s.fairlead, "run", "--progress", "quiet", "--cache", cache, "--data", cache + "-data"}, dir: dir, env: os.Environ()}
}

// run is one fairlead run with further arguments.
func (s *site) run(args ...string) (spent, error) {
	c := s.mine
	c.argv = slices.Concat(c.argv, args)
	return c.time()
}

// forget leaves nothing to be reused: the next run watches all steps and keeps
// what they did. The workspaces stay, so that the making of them is not timed,
// and with digests those of the files that were read before.
func (s *site) forget(digests bool) error {
	dir := filepath.Join(s.cache, "steps")
	if !digests {
		return os.RemoveAll(dir)
	}
	for _, part := range []string{"steps", "blobs", "habits"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return err
		}
	}
	return nil
}

// leave removes the workspaces: the next run makes them anew.
func (s *site) leave() error { return os.RemoveAll(filepath.Join(s.cache, "workspaces")) }

func (s *site) row(name, what, ours, theirs, ratio string) {
	s.out.row(name, what, ours, theirs, ratio, "", s.bar)
}

// rehearse runs the workload until it is reused, and lets the files get old
// enough for their time stamps to be believed.
func (s *site) rehearse() error {
	for range 2 {
		if _, err := s.run(); err != nil {
			return err
		}
		time.Sleep(3 * time.Second)
	}
	_, err := s.run()
	return err
}

// turns measures two things in turns, each of them first in every other round.
func turns(rounds int, ours, theirs func() (spent, error)) (a, b []spent, err error) {
	for i := range rounds {
		both := []func() (spent, error){ours, theirs}
		var took [2]spent
		for k := range both {
			k = (k + i) % 2
			if took[k], err = both[k](); err != nil {
				return nil, nil, err
			}
		}
		a, b = append(a, took[0]), append(b, took[1])
	}
	return a, b, nil
}

func walls(all []spent) []time.Duration {
	return convert(all, func(s spent) time.Duration { return s.wall })
}

func cpus(all []spent) []time.Duration {
	return convert(all, func(s spent) time.Duration { return s.cpu })
}

func convert[A, B any](all []A, f func(A) B) []B {
	list := make([]B, len(all))
	for i, a := range all {
		list[i] = f(a)
	}
	return list
}

// ms is "12.3 ms" or "4,567 ms".
func ms(d time.Duration) string {
	v := d.Seconds() * 1e3
	if v < 100 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " ms"
	}
	return grouped(int(v+0.5)) + " ms"
}

func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// more is by how much a is more than b, with half the range of the rounds: how
// much of it may be noise.
func more(a, b []time.Duration) string {
	each := make([]float64, len(a))
	for i := range a {
		each[i] = 100 * (a[i].Seconds()/b[i].Seconds() - 1)
	}
	whole := 100 * (median(a).Seconds()/median(b).Seconds() - 1)
	return fmt.Sprintf("%+.0f ±%.0f %%", whole, (slices.Max(each)-slices.Min(each))/2)
}

// watching measures what it costs to watch steps and to keep what they did,
// against the same steps without. Before each run the given directories are
// removed.
func watching(fresh ...string) func(*site) error { return watch(false, fresh...) }

// watchingKnown is the same on a machine where the files that the steps read
// have been read, and digested, before.
func watchingKnown() func(*site) error { return watch(true) }

func watch(digests bool, fresh ...string) func(*site) error {
	return func(s *site) error {
		side := func(args ...string) func() (spent, error) {
			return func() (spent, error) {
				for _, dir := range fresh {
					if err := os.RemoveAll(dir); err != nil {
						return spent{}, err
					}
				}
				if err := s.forget(digests); err != nil {
					return spent{}, err
				}
				return s.run(args...)
			}
		}
		if _, err := s.run("--no-reuse"); err != nil { // makes the workspace
			return err
		}
		if _, err := s.run(); digests && err != nil {
			return err
		}
		a, b, err := turns(s.rounds, side(), side("--no-reuse"))
		if err != nil {
			return err
		}
		s.row(s.name, s.what+", CPU", ms(median(cpus(a))), "unwatched "+ms(median(cpus(b))), more(cpus(a), cpus(b)))
		s.out.row(s.name, s.what+", wall", ms(median(walls(a))), "unwatched "+ms(median(walls(b))), more(walls(a), walls(b)), "", "")
		return nil
	}
}

// perStep is watching, divided by the number of steps.
func perStep(steps int) func(*site) error {
	return func(s *site) error {
		fresh := func() (spent, error) {
			if err := s.forget(false); err != nil {
				return spent{}, err
			}
			return s.run()
		}
		if _, err := fresh(); err != nil {
			return err
		}
		a, b, err := turns(s.rounds, fresh, func() (spent, error) { return s.run("--no-reuse") })
		if err != nil {
			return err
		}
		for _, of := range []struct {
			name string
			get  func([]spent) []time.Duration
			bar  string
		}{{"wall", walls, s.bar}, {"CPU", cpus, ""}} {
			ours, theirs := median(of.get(a)), median(of.get(b))
			n := time.Duration(steps)
			s.out.row(s.name, s.what+", each, "+of.name, ms(ours/n), "unwatched "+ms(theirs/n), "+"+ms((ours-theirs)/n), "", of.bar)
		}
		return nil
	}
}

// unchanged measures a run in which nothing has changed against one that may
// reuse nothing.
func unchanged(s *site) error {
	if err := s.rehearse(); err != nil {
		return err
	}
	var fast, slow []spent
	for i := range s.rounds {
		took, err := s.run()
		if err != nil {
			return err
		}
		fast = append(fast, took)
		if i%3 != 0 {
			continue
		}
		if took, err = s.run("--no-reuse"); err != nil {
			return err
		}
		slow = append(slow, took)
	}
	if err := s.reused(); err != nil {
		return err
	}
	for _, of := range []struct {
		name string
		get  func([]spent) []time.Duration
		bar  string
	}{{"wall", walls, s.bar}, {"CPU", cpus, ""}} {
		a, b := of.get(fast), of.get(slow)
		s.out.row(s.name, s.what+", "+of.name, ms(median(a)), "not reused "+ms(median(b)), ratio(true, a, b), "", of.bar)
	}
	return nil
}

// reused reports an error unless all steps of one more run are reused.
func (s *site) reused() error {
	if _, err := s.run(); err != nil {
		return err
	}
	steps, err := s.why()
	if err != nil {
		return err
	}
	for _, step := range steps {
		if step.State != "reused" {
			return fmt.Errorf("step %s (%s) %s: %s", step.Step, step.Name, step.State, step.Why)
		}
	}
	return nil
}

// told is what fairlead why says of a step.
type told struct {
	Step, Name, State, Why string
	Reuse                  struct {
		Barred []struct{ Kind string }
	}
}

func (s *site) why() (steps []told, err error) {
	cmd := exec.Command(s.fairlead, "why", "--output", "json", "--data", s.cache+"-data")
	cmd.Dir, cmd.Env = s.dir, s.mine.env
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fairlead why: %w", err)
	}
	return steps, json.Unmarshal(out, &steps)
}

// learned runs a step of which something changes each time until it is not
// watched any more.
func learned(s *site) error {
	const enough = 8
	if err := s.forget(false); err != nil {
		return err
	}
	for i := range enough {
		if _, err := s.run("--env", fmt.Sprint("ROUND=", i)); err != nil {
			return err
		}
		steps, err := s.why()
		if err != nil {
			return err
		}
		for _, step := range steps {
			for _, bar := range step.Reuse.Barred {
				if bar.Kind == "switched-off" {
					s.out.row(s.name, "not watched any more, after runs with changes", strconv.Itoa(i), "", "", "", "learned")
					return nil
				}
			}
		}
	}
	s.out.row(s.name, "not watched any more, after runs with changes", fmt.Sprintf("not after %d", enough), "", "", "", "learned")
	return nil
}

// both does one after the other.
func both(first, second func(*site) error) func(*site) error {
	return func(s *site) error { return errors.Join(first(s), second(s)) }
}

// lookups prints what the cache's own benchmark says about a look-up without
// the command around it.
func lookups(sizes ...int) func(*site) error {
	return func(s *site) error {
		names := strings.Join(convert(sizes, strconv.Itoa), "|")
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkLookup$/^("+names+")$/^cold$", "-benchtime", fmt.Sprint(4*s.rounds, "x"), "./internal/cache").Output()
		if err != nil {
			return fmt.Errorf("go test: %w\n%s", err, tail(out, 2000))
		}
		line := regexp.MustCompile(`^BenchmarkLookup/(\d+)/cold\S*\s+\d+\s+([\d.]+) ns/op`)
		for text := bufio.NewScanner(bytes.NewReader(out)); text.Scan(); {
			m := line.FindStringSubmatch(text.Text())
			if m == nil {
				continue
			}
			n, _ := strconv.Atoi(m[1])
			took, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return err
			}
			s.out.row(s.name, "look-up alone, "+grouped(n)+" inputs", ms(time.Duration(took)), "", "", "", unchangedBar(n))
		}
		return nil
	}
}

// unchangedBar is what we promise of an unchanged step with so many inputs.
func unchangedBar(inputs int) string {
	switch {
	case inputs <= 5_000:
		return "10 ms"
	case inputs <= 20_000:
		return "35 ms"
	}
	return "350 ms"
}

// restoring measures how long it takes to put back what a step wrote when the
// next one has to run: the difference to the same run with a step that wrote
// a single file. Before each run the workspaces are removed, or left as the run
// before has left them. Beside it stands the copying of the same tree.
func restoring(made tree, remake bool) func(*site) error {
	return func(s *site) error {
		single := *s // with a workspace of its own
		single.dir, single.cache = s.dir+"-single", s.cache+"-single"
		single.mine = s.command(single.dir, single.cache)
		if err := repository(single.dir, made.step(1)); err != nil {
			return err
		}
		from, to := s.dir+"-from", s.dir+"-to"
		script := exec.Command("bash", "-e", "-c", made.script(made.files))
		if err := os.MkdirAll(from, 0o755); err != nil {
			return err
		}
		script.Dir = from
		if out, err := script.CombinedOutput(); err != nil {
			return fmt.Errorf("make the tree: %w\n%s", err, out)
		}
		cp := command{argv: []string{"cp", "-r", "--reflink=auto", from, to}, dir: s.dir, env: os.Environ()}
		round := 0
		changed := func(s *site) (spent, error) {
			round++
			if err := os.WriteFile(filepath.Join(s.dir, "changed.txt"), []byte(fmt.Sprintln(round)), 0o644); err != nil {
				return spent{}, err
			}
			if remake {
				if err := s.leave(); err != nil {
					return spent{}, err
				}
				syscall.Sync()
			}
			return s.run()
		}
		for _, x := range []*site{s, &single} {
			if _, err := changed(x); err != nil {
				return err
			}
		}
		var all, one, copies []spent
		for range s.rounds {
			for _, side := range []struct {
				to *[]spent
				do func() (spent, error)
			}{
				{&one, func() (spent, error) { return changed(&single) }},
				{&copies, func() (spent, error) {
					if err := os.RemoveAll(to); err != nil {
						return spent{}, err
					}
					syscall.Sync()
					return cp.time()
				}},
				{&all, func() (spent, error) { return changed(s) }},
			} {
				took, err := side.do()
				if err != nil {
					return err
				}
				syscall.Sync() // what one writes late is not to slow the next one down
				*side.to = append(*side.to, took)
			}
		}
		steps, err := s.why()
		if err != nil {
			return err
		}
		if len(steps) != 2 || steps[0].State != "reused" || steps[1].State == "reused" {
			return fmt.Errorf("the first step was to be reused and the second to run: %+v", steps)
		}
		restored := median(walls(all)) - median(walls(one))
		copied := median(walls(copies))
		s.row(s.name, s.what, ms(restored), "cp "+ms(copied), fmt.Sprintf("%.1f× its time", restored.Seconds()/copied.Seconds()))
		return nil
	}
}

// tree is what a step writes, in the manner of node_modules.
type tree struct{ files, size int }

func (t tree) script(files int) string {
	return fmt.Sprintf(`body=$(printf '%%%ds' x); for ((i = 0; i < %d; i++)); do d=node_modules/p$((i / 20))/lib; if ((i %% 20 == 0)); then mkdir -p $d; fi; echo "$i$body" > $d/f$i.js; done`,
		t.size-8, files)
}

func (t tree) step(files int) func(string) error {
	return func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "changed.txt"), []byte("0\n"), 0o644); err != nil {
			return err
		}
		return workflow(job("a", "", "|\n          "+t.script(files), "cat changed.txt"))(dir)
	}
}

// small writes n small files, a hundred in a directory.
func small(n int) func(string) error {
	return func(dir string) error {
		for i := range n {
			d := filepath.Join(dir, "src", fmt.Sprintf("d%04d", i/100))
			if i%100 == 0 {
				if err := os.MkdirAll(d, 0o755); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("f%06d.txt", i)), fmt.Appendf(nil, "this is file %d\n", i), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
}

// files does several things to a new repository.
func files(each ...func(dir string) error) func(string) error {
	return func(dir string) error {
		for _, f := range each {
			if err := f(dir); err != nil {
				return err
			}
		}
		return nil
	}
}

// ownModule copies this repository, as it was last committed, without its
// workflows.
func ownModule(dir string) error {
	archive, err := exec.Command("git", "archive", "--format=tar", "HEAD").Output()
	if err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	unpack := exec.Command("tar", "-x", "-C", dir, "--exclude=.github")
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w\n%s", err, out)
	}
	return nil
}

// sourcesC are C sources that take some seconds to compile, and a makefile.
func sourcesC(dir string) error {
	const units, functions = 12, 50
	var all []string
	for u := range units {
		var b strings.Builder
		b.WriteString("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n#include <errno.h>\n#include \"all.h\"\n")
		for f := range functions {
			fmt.Fprintf(&b, `
int unit%d_%d(struct item *items, int n, char *out, size_t room) {
	int sum = %[2]d, found = 0;
	for (int i = 0; i < n; i++) {
		if (items[i].key %% %d == 0) { sum += items[i].value * %d; found++; }
		else if (items[i].name && strncmp(items[i].name, "k%[2]d", 3) == 0) sum ^= items[i].value >> 2;
		switch (items[i].key & 7) {
		case 0: sum += (int)sqrt((double)abs(items[i].value)); break;
		case 1: sum -= i; break;
		case 2: items[i].value = sum; break;
		case 5: sum = sum * 31 + i; break;
		}
	}
	if (room > 32) snprintf(out, room, "%%d of %%d: %%d", found, n, sum);
	return sum;
}
`, u, f, f%13+2, f+u)
		}
		name := fmt.Sprintf("unit%02d", u)
		all = append(all, name+".o")
		if err := os.WriteFile(filepath.Join(dir, name+".c"), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "all.h"), []byte("struct item { int key, value; char *name; };\n"), 0o644); err != nil {
		return err
	}
	makefile := "CFLAGS = -O2 -Wall\nlib.a: " + strings.Join(all, " ") + "\n\tar rc $@ $^\n$(wildcard *.o): all.h\n"
	return os.WriteFile(filepath.Join(dir, "Makefile"), []byte(makefile), 0o644)
}

// modules are JavaScript modules to bundle.
func modules(dir string) error {
	const count = 180
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return err
	}
	var index strings.Builder
	for i := range count {
		var b strings.Builder
		for _, n := range (monorepo{}).needs(i) {
			fmt.Fprintf(&b, "import { first as from%d } from './m%d.js';\n", n, n)
		}
		fmt.Fprintf(&b, "export function first(list) { return list.map((x) => x * %d); }\n", i)
		for f := range 25 {
			fmt.Fprintf(&b, `export class Part%d extends Map {
  constructor(options = {}) { super(); this.options = { size: %d, name: 'part %[1]d of %[3]d', ...options }; }
  async load(source) { for await (const { key, value } of source ?? []) { if (value?.enabled !== false) this.set(key, this.change(value)); } return this; }
  change(value) { const { size, name } = this.options; return typeof value === 'number' ? value %% size : String(value).padStart(size, name); }
}
`, f, i+f+1, i)
		}
		for _, n := range (monorepo{}).needs(i) {
			fmt.Fprintf(&b, "console.log(from%d([%d]), new Part3());\n", n, i)
		}
		if err := os.WriteFile(filepath.Join(dir, "src", fmt.Sprintf("m%d.js", i)), []byte(b.String()), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&index, "import * as m%d from './m%[1]d.js';\nconsole.log(m%[1]d.first([1]), new m%[1]d.Part%d());\n", i, i%25)
	}
	return os.WriteFile(filepath.Join(dir, "src", "index.js"), []byte(index.String()), 0o644)
}

// installBundler installs the bundler from the package registry, once, and
// returns its script.
func installBundler() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "fairlead-bench", "bundler")
	script := filepath.Join(dir, "node_modules", "webpack", "bin", "webpack.js")
	if _, err := os.Stat(script); err == nil {
		return script, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "bench: installing", bundler+", once")
	if out, err := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", bundler, bundlerCLI).CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w\n%s", err, tail(out, 1000))
	}
	return script, nil
}

// imports is a step that starts Python and imports much. What is called
// python3 may be a script that looks for it: it is not meant here.
func imports(dir string) error {
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return fmt.Errorf("python3: %w", err)
	}
	const modules = "argparse, asyncio, csv, decimal, email.message, fractions, hashlib, http.client, json, logging, " +
		"multiprocessing, pathlib, random, sqlite3, ssl, subprocess, tempfile, unittest, urllib.request, xml.etree.ElementTree"
	return workflow(job("a", "", strings.TrimSpace(string(python))+" -c 'import "+modules+"'"))(dir)
}

// statter builds a program, linked statically, that looks at every file of a
// directory tree five times.
func statter(dir string) error {
	const source = `package main

import (
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	var names []string
	filepath.WalkDir("src", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	for range 5 {
		for _, name := range names {
			if _, err := os.Lstat(name); err != nil {
				panic(err)
			}
		}
	}
}
`
	file := filepath.Join(dir, "statter.go")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "statter"), file)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// pipeline is a workflow of twenty steps over this repository that read much
// of it and take little time. They leave out the files that name variables like
// GITHUB_RUN_ID: whoever reads those may depend on them, and runs each time.
func pipeline(dir string) error {
	version := strings.TrimPrefix(runtime.Version(), "go")
	jobs := "  check:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n" +
		"      - uses: actions/setup-go@v5\n        with:\n          go-version: \"" + version + "\"\n          cache: false\n"
	for _, step := range []string{
		"gofmt -l internal/cli internal/engine", "gofmt -l internal/plan internal/logs", "go vet ./internal/plan", "go list ./internal/plan ./internal/record",
		"cat internal/plan/*.go internal/trace/*.go | wc -l", "grep -rc func internal/engine", "grep -rl Errorf internal/cli internal/blob cmd | sort > errors.txt",
		"head -n 3 errors.txt", "sha256sum go.mod go.sum > sums.txt", "sha256sum -c sums.txt", "find docs -name '*.md' | sort > pages.txt",
		"wc -l pages.txt", "awk '{ n += NF } END { print n }' README.md docs/explanation/*.md", "sort -u go.sum | tail -n 2",
		"tar -cf docs.tar docs/explanation", "tar -tf docs.tar | wc -l", "find internal -name '*_test.go' | wc -l", "test -s go.mod",
	} {
		jobs += "      - run: " + step + "\n"
	}
	return workflow(jobs)(dir)
}

// trials are the workloads about reuse. Tmp is where they may keep what the
// steps write outside of the repository.
func trials(tmp string, large bool) []trial {
	build := filepath.Join(tmp, "go-build") // a zone: neither input nor output
	withCache := "    env:\n      GOCACHE: " + build + "\n      GOFLAGS: -buildvcs=false\n"
	const light, storm = "≤ 5 % CPU", "≤ 20 %"
	list := []trial{
		{name: "reuse-compile-go", what: "go build, cold", bar: light, rounds: 3, make: files(ownModule, workflow(job("a", withCache, "go build ./internal/plan ./internal/record"))), measure: watching(build)},
		{name: "reuse-compile-c", what: "make -j2 of 12 C files", bar: light, rounds: 3, programs: []string{"gcc", "make"}, make: files(sourcesC, workflow(job("a", "", "make -j2"))), measure: watching()},
		{name: "reuse-bundle", what: "webpack, 180 modules", bar: light, rounds: 3, programs: []string{"node", "npm"},
			make: func(dir string) error {
				script, err := installBundler()
				if err != nil {
					return err
				}
				return files(modules, workflow(job("a", "", "node "+script+" --mode production --entry ./src/index.js")))(dir)
			}, measure: watching()},
		{name: "reuse-test", what: "go test, cold", bar: light, rounds: 3, make: files(ownModule, workflow(job("a", withCache, "go test ./internal/plan"))), measure: watching(build)},
		{name: "reuse-forks", what: "2,000 × /bin/true", bar: storm, make: workflow(job("a", "", `for i in $(seq 2000); do /bin/true; done`)), measure: watching()},
		{name: "reuse-imports", what: "python3, 20 imports", bar: storm, programs: []string{"python3"},
			make: imports, measure: watching()},
		{name: "reuse-imports-known", what: "the same, its files digested before", bar: storm, programs: []string{"python3"}, make: imports, measure: watchingKnown()},
		{name: "reuse-stats", what: "100,000 stats, static binary", bar: "≤ 3×, learned off", rounds: 3, make: files(small(20_000), statter, workflow(job("a", "", "./statter"))), measure: both(watching(), learned)},
		{name: "reuse-fixed", what: "50 steps of true", bar: "+5 ms", make: workflow(job("a", "", slices.Repeat([]string{`"true"`}, 50)...)), measure: perStep(50)},
		{name: "reuse-pipeline20", what: "20 steps on this repository, unchanged", bar: "150 ms", make: files(ownModule, pipeline), measure: unchanged},
		{name: "reuse-restore", what: "6,000 files × 4 KB, new workspace", rounds: 3, bar: "1.5× cp", make: tree{6000, 4096}.step(6000), measure: restoring(tree{6000, 4096}, true)},
		{name: "reuse-restore-over", what: "6,000 files × 4 KB, workspace of the last run", rounds: 3, bar: "1.5× cp", make: tree{6000, 4096}.step(6000), measure: restoring(tree{6000, 4096}, false)},
	}
	sizes := []int{5_000, 20_000}
	if large {
		sizes = append(sizes, 200_000)
	}
	for _, n := range sizes {
		list = append(list, trial{name: fmt.Sprint("reuse-unchanged-", n), what: "unchanged step, " + grouped(n) + " inputs", bar: unchangedBar(n),
			make: files(small(n), workflow(job("a", "", "find src -type f -exec cat {} + > /dev/null"))), measure: unchanged})
	}
	return append(list, trial{name: "reuse-lookup", measure: lookups(sizes...)})
}

// try makes a trial's repository, measures, and leaves nothing behind.
func try(t trial, ours, tmp string, runs int, out *table) error {
	for _, program := range t.programs {
		if _, err := exec.LookPath(program); err != nil {
			out.row(t.name, t.what, "-", "", program+" is not there", "", t.bar)
			return nil
		}
	}
	root := filepath.Join(tmp, t.name)
	defer os.RemoveAll(root)
	s := &site{trial: t, fairlead: ours, dir: filepath.Join(root, "repository"), cache: filepath.Join(root, "cache"), rounds: runs, out: out}
	if t.rounds > 0 {
		s.rounds = min(t.rounds, runs)
	}
	if t.make != nil {
		if err := repository(s.dir, t.make); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	s.mine = s.command(s.dir, s.cache)
	if err := t.measure(s); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}
