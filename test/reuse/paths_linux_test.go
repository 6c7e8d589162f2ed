//go:build amd64 || arm64

package reuse

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// TestPaths watches builds, and has strace watch the very same processes:
// whatever path strace shows must be in the observation, used in the way that
// strace shows.
func TestPaths(t *testing.T) {
	t.Parallel()
	watched(t)
	gomod := map[string]string{
		"go.mod": "module m\n\ngo 1.24\n", "main.go": "package main\n\nimport (\n\t_ \"embed\"\n\n\t\"m/sub\"\n)\n\n//go:embed data/x.txt\nvar x string\n\nfunc main() { println(x, sub.V) }\n",
		"sub/sub.go": "package sub\n\nconst V = 1\n", "data/x.txt": "x\n", "main_test.go": "package main\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestX(t *testing.T) {\n\tif _, err := os.ReadFile(\"data/x.txt\"); err != nil {\n\t\tt.Fatal(err)\n\t}\n\tif err := os.WriteFile(t.TempDir()+\"/y\", nil, 0o600); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n",
	}
	for _, c := range []struct {
		name, script string
		files        map[string]string
		needs        []string
	}{
		{"gcc", "gcc -Ia -Ib -o prog main.c part.c && ./prog", map[string]string{
			"main.c": "#include <stdio.h>\n#include <n.h>\nint part(void);\nint main(void) { printf(\"%d\\n\", N + part()); return 0; }\n", "part.c": "#include \"own.h\"\nint part(void) { return P; }\n", "own.h": "#define P 1\n", "b/n.h": "#define N 1\n", "a/keep": "",
		}, []string{"gcc"}},
		{"make", "make -j2 all && make all && make clean", map[string]string{
			"Makefile": "-include local.mk\nall: x y sub/z\nx: in\n\tcat in > x\ny: x\n\tcp x y; chmod +x y\nsub/z: y\n\tmkdir -p sub && ln -sf ../y sub/z\nclean:\n\trm -rf x y sub\n", "in": "in\n",
		}, []string{"make"}},
		{"go", "go build -o prog . && go vet ./... && go test -count=1 . && ./prog && go list -deps . > /dev/null", gomod, []string{"go"}},
		{"git", "git init -q . && git add . && git -c user.name=a -c user.email=a@example.com commit -qm one && echo more >> sub/file && git status --porcelain && git diff --stat && git log -1 --format=%s && git clone -q . ../w/clone && rm -rf clone", map[string]string{"sub/file": "x\n", ".gitignore": "*.o\n"}, []string{"git"}},
		{"python", "python3 main.py && python3 -m json.tool data.json && python3 -c 'import json, sqlite3, urllib.request, unittest, multiprocessing'", map[string]string{
			"main.py":   "import os, json, glob, shutil, tempfile, subprocess, pkg.mod\nos.makedirs('out/deep', exist_ok=True)\nprint(glob.glob('**/*.json', recursive=True), os.listdir('.'))\nshutil.copytree('pkg', 'out/pkg')\nwith tempfile.TemporaryDirectory() as d:\n    open(d + '/x', 'w').close()\nos.rename('out/pkg', 'out/moved')\nsubprocess.check_call(['cat', 'data.json'])\nos.chdir('out'); print(os.stat('moved').st_mode, os.path.exists('../nothing'), os.path.realpath('.'))\n",
			"data.json": "{}\n", "pkg/__init__.py": "", "pkg/mod.py": "x = 1\n",
		}, []string{"python3"}},
		{"node", "node main.js && node main.mjs", map[string]string{
			"main.js":      "const fs = require('fs'), path = require('path');\nconst m = require('./lib');\nconst n = require('pkg');\nfs.mkdirSync('out/a', { recursive: true });\nfs.writeFileSync('out/a/x', String(m.x + n));\nconsole.log(fs.readdirSync('.'), fs.existsSync('nothing'), fs.realpathSync('lib'));\nfs.rmSync('out', { recursive: true });\n",
			"main.mjs":     "import { readFile } from 'node:fs/promises';\nimport n from 'pkg';\nconsole.log(n, (await readFile('main.js')).length);\n",
			"lib/index.js": "exports.x = 1;\n", "node_modules/pkg/package.json": "{\"main\": \"m.js\"}\n", "node_modules/pkg/m.js": "module.exports = 2;\n",
		}, []string{"node"}},
		{"shell", "for f in d/*; do cat $f; done | sort -u > out; test -e no || mkdir -p x/y/z; ln -s d l; cat l/one; cp -a d e; mv e f; rm -r f; find . | wc -l; grep -r one d; cd d; cat ../out one; (cd ../x && ls); tar cf - . | tar tf -; command -v nothing; sh -c 'exec cat < one'; date > /dev/null; id -u; sed -i s/1/2/ one; touch -d yesterday one; chmod 600 one", map[string]string{"d/one": "one 1\n", "d/two": "2\n"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			binary.Need(t, append(c.needs, "strace", "bash")...)
			places <- struct{}{}
			defer func() { <-places }()
			o, calls, dir := observe(t, c.script, c.files)
			if !o.Known() {
				t.Fatalf("the observation is barred: %v", o.Barred)
			}
			compare(t, o, calls, dir)
		})
	}
}

// observe runs a script under strace, and both under a tracer.
func observe(t *testing.T, script string, files map[string]string) (*record.Observation, []call, plan.Dirs) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	dirs := plan.Dirs{Workspace: filepath.Join(base, "w"), Temp: filepath.Join(base, "_temp")}
	for name, body := range files {
		file := filepath.Join(dirs.Workspace, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(body), 0o644))
	}
	for _, dir := range []string{dirs.Workspace, dirs.Temp, filepath.Join(base, "home")} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	a, err := trace.Probe()
	must(t, err)
	env := []string{"PATH=" + machinePath(), "HOME=" + filepath.Join(base, "home"), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "PYTHONDONTWRITEBYTECODE=1"}
	if _, err := exec.LookPath("go"); err == nil {
		out, err := exec.Command("go", "env", "GOCACHE").Output()
		must(t, err)
		env = append(env, "GOCACHE="+strings.TrimSpace(string(out)), "GOFLAGS=-mod=mod")
	}
	log := filepath.Join(base, "strace.log")
	ignored := append(cache.Ignored(env, cache.Rule{}, dirs), log)
	tracer, err := trace.New(trace.Spec{Inside: cache.Inside(dirs), Ignored: ignored}, a.Mechanism)
	must(t, err)
	strace, err := exec.LookPath("strace")
	must(t, err)
	argv := []string{strace, "-f", "-y", "-qq", "-s", "4096", "-o", log, "-e", "trace=%file,fchdir", "bash", "-c", script}
	output, err := os.Create(filepath.Join(base, "output"))
	must(t, err)
	defer output.Close()
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: dirs.Workspace, Env: env, Files: []uintptr{null.Fd(), output.Fd(), output.Fd()}, Sys: new(syscall.SysProcAttr)}
	tracer.Attr(attr.Sys)
	pid, err := tracer.Start(strace, dirs.Workspace, argv, func() (int, error) {
		return syscall.ForkExec(strace, argv, attr)
	})
	must(t, err)
	var status syscall.WaitStatus
	must(t, tracer.Wait(pid, &status))
	o := tracer.Finish(0)
	if status != 0 {
		text, _ := os.ReadFile(output.Name())
		t.Fatalf("the script has ended with %d\n%s", status.ExitStatus(), text)
	}
	return o, read(t, log), plan.Dirs{Workspace: dirs.Workspace, Temp: dirs.Temp, Home: log}
}

// call is a system call that names a file, as strace shows it.
type call struct {
	text  string
	name  string
	paths []string // absolute, or relative to a directory that is not known
	ok    bool
	none  bool // nothing was there
}

var (
	callLine = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\((.*)\) += (-?\d+|\?)(.*)$`)
	atPath   = regexp.MustCompile(`(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"`)
)

// read reads what strace has written.
func read(t *testing.T, log string) (calls []call) {
	f, err := os.Open(log)
	must(t, err)
	defer f.Close()
	began := map[string]string{} // calls that another process has interrupted, by process
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		pid, _, _ := strings.Cut(line, " ")
		if head, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			began[pid] = head
			continue
		}
		if _, rest, ok := strings.Cut(line, " resumed>"); ok && began[pid] != "" {
			line = began[pid] + rest
			delete(began, pid)
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // signals, ends
		}
		if strings.Contains(line, "= ? ERESTART") {
			continue // a signal came first: it is made again, or never
		}
		c := call{text: line, name: m[2], ok: !strings.HasPrefix(m[4], "-") && m[4] != "?", none: strings.Contains(m[5], "ENOENT") || strings.Contains(m[5], "ENOTDIR")}
		args := m[3]
		if c.name == "execve" {
			args, _, _ = strings.Cut(args, ", [") // arguments are not paths
		}
		if c.name == "symlink" || c.name == "symlinkat" {
			_, args, _ = strings.Cut(args, ", ") // what it leads to is not looked at
		}
		if strings.HasPrefix(c.name, "readlink") {
			if i := strings.Index(args, "\", "); i >= 0 {
				args = args[:i+1] // what it was told is not a path that it named
			}
		}
		for _, p := range atPath.FindAllStringSubmatch(args, -1) {
			if p[2] == "" {
				continue // the descriptor itself
			}
			name := p[2]
			if !filepath.IsAbs(name) {
				name = filepath.Join(p[1], name)
			}
			c.paths = append(c.paths, name)
		}
		calls = append(calls, c)
	}
	must(t, lines.Err())
	return calls
}

// compare looks for each path of strace's in the observation.
func compare(t *testing.T, o *record.Observation, calls []call, dirs plan.Dirs) {
	t.Helper()
	uses := map[string][]record.Use{}
	for _, in := range o.Inputs {
		uses[in.Path] = append(uses[in.Path], in.Use)
	}
	outputs := map[string]bool{}
	for _, out := range o.Outputs {
		outputs[out.Path] = true
	}
	made := map[string]bool{} // and perhaps gone again
	cwds := []string{dirs.Workspace}
	for _, c := range calls {
		if !c.ok {
			continue
		}
		switch {
		case c.name == "chdir":
			for _, dir := range c.paths {
				if !filepath.IsAbs(dir) {
					for _, cwd := range slices.Clone(cwds) {
						cwds = append(cwds, filepath.Join(cwd, dir))
					}
				} else {
					cwds = append(cwds, dir)
				}
			}
			slices.Sort(cwds)
			cwds = slices.DeleteFunc(slices.Compact(cwds), func(dir string) bool { st, err := os.Stat(dir); return err != nil || !st.IsDir() })
		case strings.Contains(c.text, "O_CREAT"), strings.HasPrefix(c.name, "mkdir"), strings.HasPrefix(c.name, "rename"), strings.HasPrefix(c.name, "link"), strings.HasPrefix(c.name, "symlink"):
			for _, p := range c.paths {
				for _, at := range absolute(p, cwds) {
					made[at], made[resolved(at)] = true, true
				}
			}
		}
	}
	ignored := cache.Ignored(os.Environ(), cache.Rule{}, dirs)
	under := func(at string, of map[string]bool) bool {
		for dir := at; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if of[dir] {
				return true
			}
		}
		return false
	}
	explained := func(c call, at string) bool {
		if at = filepath.Clean(at); at == "/" {
			return true
		}
		for _, dir := range append([]string{"/proc", "/sys", "/dev", dirs.Home}, ignored...) {
			if at == dir || strings.HasPrefix(at, dir+"/") || strings.HasPrefix(dir, "**/") && strings.Contains(at+"/", strings.TrimPrefix(dir, "**")+"/") {
				return true
			}
		}
		in := filepath.Join(resolved(filepath.Dir(at)), filepath.Base(at))
		end := resolved(at)
		if under(at, made) || under(in, made) || under(end, made) || outputs[in] || outputs[end] || outputs[at] {
			return true
		}
		if c.none {
			for dir := in; dir != "/"; dir = filepath.Dir(dir) {
				if slices.Contains(uses[dir], record.UseAbsent) || outputs[dir] {
					return true
				}
			}
			// A link in the middle may lead to nothing.
			return slices.Contains(uses[at], record.UseAbsent) || slices.Contains(uses[in], record.UseLink) || slices.Contains(uses[end], record.UseAbsent) ||
				uses[filepath.Dir(in)] != nil && !isDir(filepath.Dir(in))
		}
		want := func(use record.Use, at string) bool { return slices.Contains(uses[at], use) }
		switch st, err := os.Lstat(end); {
		case err != nil:
			return uses[in] != nil || uses[end] != nil || under(in, outputs) // it was removed by the step
		case strings.HasPrefix(c.name, "readlink"):
			return want(record.UseLink, in) || uses[in] != nil && !isLink(in)
		case c.ok && (strings.HasPrefix(c.name, "exec") || strings.HasPrefix(c.name, "open") && !strings.Contains(c.text, "O_PATH")) && st.Mode().IsRegular():
			return want(record.UseContent, end)
		case c.ok && strings.HasPrefix(c.name, "open") && st.IsDir() && !strings.Contains(c.text, "O_PATH"):
			return uses[end] != nil
		}
		return uses[in] != nil || uses[end] != nil
	}
	seen, missing := 0, 0
	for _, c := range calls {
		for _, p := range c.paths {
			seen++
			at := absolute(p, cwds)
			if slices.ContainsFunc(at, func(at string) bool { return explained(c, at) }) {
				continue
			}
			if missing++; missing <= 15 {
				in := filepath.Join(resolved(filepath.Dir(at[0])), filepath.Base(at[0]))
				t.Errorf("not observed: %s (uses of it %v, of what it leads to %v)\n\t%.300s", at[0], uses[in], uses[resolved(at[0])], c.text)
			}
		}
	}
	if missing > 15 {
		t.Errorf("and %d more", missing-15)
	}
	t.Logf("%d paths in %d calls; %d inputs, %d outputs; %s", seen, len(calls), len(o.Inputs), len(o.Outputs), fmt.Sprint(o.Barred))
	if seen < 20 {
		t.Errorf("strace has shown only %d paths", seen)
	}
}

// absolute are the paths that a path may mean.
func absolute(p string, cwds []string) []string {
	if filepath.IsAbs(p) {
		return []string{p}
	}
	var all []string
	for _, dir := range cwds {
		all = append(all, dir+"/"+p)
	}
	return all
}

// resolved is a path without links, as far as it leads somewhere.
func resolved(p string) string {
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	p = filepath.Clean(p)
	if p == "/" {
		return p
	}
	return filepath.Join(resolved(filepath.Dir(p)), filepath.Base(p))
}

func isDir(p string) bool { st, err := os.Stat(p); return err == nil && st.IsDir() }
func isLink(p string) bool {
	st, err := os.Lstat(p)
	return err == nil && st.Mode()&os.ModeSymlink != 0
}
