package builtin

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// toolchain is an installed version of a tool.
type toolchain struct {
	version version
	dir     string // what the tool calls its home: GOROOT, JAVA_HOME, a prefix
	exe     string // the program itself
	vendor  string // of a JDK
}

// bin is the directory of the program.
func (t toolchain) bin() string { return filepath.Dir(t.exe) }

// Limits of looking into files of toolchains.
const (
	maxVersionFile = 1 << 20
	maxProgram     = 512 << 20 // a program is searched for its version up to here
)

// at is an absolute directory of this machine.
func (c *call) at(path string) string { return filepath.Join(c.set.cfg.Root, path) }

// toolDirs are the tool caches: the job's, and the one of the machine.
func (c *call) toolDirs() []string {
	var dirs []string
	for _, d := range []string{c.Scope.Dirs.Tools, c.set.cfg.Tools, c.getenv("RUNNER_TOOL_CACHE"), c.getenv("AGENT_TOOLSDIRECTORY")} {
		if d != "" && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// arch is the architecture that is asked for, in the words of the tool cache.
func (c *call) arch() string {
	a := strings.ToLower(c.input("architecture"))
	if a == "" {
		a = runtime.GOARCH
	}
	switch a {
	case "amd64", "x86_64":
		return "x64"
	case "aarch64":
		return "arm64"
	case "ia32", "i386", "386":
		return "x86"
	}
	return a
}

// cached lists what the tool caches hold of a tool, whose name may be a
// pattern: TOOLS/name/version/arch, complete only with a file arch.complete
// beside it.
func (c *call) cached(name string) (dirs []cachedTool) {
	for _, tools := range c.toolDirs() {
		matches, err := filepath.Glob(filepath.Join(escapeGlob(tools), name, "*", c.arch()))
		if err != nil {
			continue
		}
		for _, dir := range matches {
			v, ok := parseVersion(filepath.Base(filepath.Dir(dir)))
			if _, err := os.Stat(dir + ".complete"); err == nil && ok {
				dirs = append(dirs, cachedTool{v, dir, filepath.Base(filepath.Dir(filepath.Dir(dir)))})
			}
		}
	}
	return dirs
}

type cachedTool struct {
	version version
	dir     string
	name    string // of the tool
}

// escapeGlob makes a path a pattern that matches only it.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// dirs expands patterns of absolute directories, of this machine ("/usr/lib/jvm/*")
// or of the user's home ("~/sdk/go*").
func (c *call) dirs(list ...string) (dirs []string) {
	for _, p := range list {
		if rest, ok := strings.CutPrefix(p, "~/"); ok {
			if c.home() == "" {
				continue
			}
			p = escapeGlob(c.home()) + "/" + rest
		} else if strings.HasPrefix(p, "/") {
			p = filepath.Join(escapeGlob(c.set.cfg.Root), p)
		}
		matches, err := filepath.Glob(p)
		if err != nil {
			continue
		}
		slices.Sort(matches)
		dirs = append(dirs, matches...)
	}
	return dirs
}

// searchPath is PATH as the job's steps see it.
func (c *call) searchPath() []string {
	dirs := slices.Clone(c.Scope.Path)
	for _, d := range filepath.SplitList(c.getenv("PATH")) {
		if filepath.IsAbs(d) && !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// programs are all programs of the name on PATH, the first one first.
func (c *call) programs(name string) (paths []string) {
	for _, d := range c.searchPath() {
		p := filepath.Join(d, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			paths = append(paths, p)
		}
	}
	return paths
}

// realPath is the file that a path leads to.
func realPath(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// prefixOf is the directory above the directory that a program is really in.
func prefixOf(exe string) string { return filepath.Dir(filepath.Dir(realPath(exe))) }

// readText reads a small file; "" when it cannot be read.
func readText(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxVersionFile))
	if err != nil {
		return ""
	}
	return string(data)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// searchProgram finds the first match of the expression, at most 256 bytes
// long, in a program, and returns its groups. It is the last resort for tools
// that tell their version in no file; nothing is started.
func searchProgram(path string, re *regexp.Regexp) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const overlap, chunk = 256, 1 << 20
	r := bufio.NewReaderSize(io.LimitReader(f, maxProgram), chunk)
	buf := make([]byte, 0, chunk+overlap)
	for {
		n, err := io.ReadFull(r, buf[len(buf):len(buf)+chunk])
		buf = buf[:len(buf)+n]
		if m := re.FindSubmatch(buf); m != nil {
			var groups []string
			for _, g := range m {
				groups = append(groups, string(bytes.Clone(g)))
			}
			return groups
		}
		if err != nil {
			return nil
		}
		keep := copy(buf, buf[len(buf)-overlap:])
		buf = buf[:keep]
	}
}

// toolList collects toolchains, each program once.
type toolList struct{ list []toolchain }

func (l *toolList) add(v version, ok bool, dir, exe, vendor string) {
	if !ok || !isFile(exe) {
		return
	}
	for _, t := range l.list {
		if realPath(t.exe) == realPath(exe) {
			return
		}
	}
	l.list = append(l.list, toolchain{v, dir, exe, vendor})
}

// installedGo are the Go toolchains of this machine.
func (c *call) installedGo() []toolchain {
	var l toolList
	for _, t := range c.cached("go") {
		l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "go"), "")
	}
	roots := c.dirs("/usr/local/go", "/usr/local/go[0-9]*", "/usr/lib/go-*", "/usr/lib/go", "/usr/lib/golang", "/opt/go", "/opt/go[0-9]*",
		"~/sdk/go*", "~/.go", "~/.gvm/gos/go*", "~/.goenv/versions/*", "~/.asdf/installs/golang/*/go", "~/.local/share/mise/installs/go/*")
	for _, exe := range c.programs("go") {
		roots = append(roots, prefixOf(exe))
	}
	// The go command itself keeps the toolchains that it has switched to.
	modules := c.getenv("GOMODCACHE")
	if modules == "" {
		modules = filepath.Join(c.goPath(), "pkg", "mod")
	}
	if m, err := filepath.Glob(filepath.Join(escapeGlob(modules), "golang.org", "toolchain@v0.0.1-go*."+runtime.GOOS+"-"+runtime.GOARCH)); err == nil {
		roots = append(roots, m...)
	}
	for _, root := range roots {
		line, _, _ := strings.Cut(readText(filepath.Join(root, "VERSION")), "\n")
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		text, isGo := strings.CutPrefix(name, "go")
		v, ok := parseVersion(text)
		l.add(v, ok && isGo, root, filepath.Join(root, "bin", "go"), "")
	}
	return l.list
}

// goPath is what the go command takes for GOPATH.
func (c *call) goPath() string {
	if p := filepath.SplitList(c.getenv("GOPATH")); len(p) > 0 && p[0] != "" {
		return p[0]
	}
	return filepath.Join(c.home(), "go")
}

var (
	nodeHeader  = regexp.MustCompile(`(?m)^#define NODE_(MAJOR|MINOR|PATCH)_VERSION (\d+)`)
	nodeProgram = regexp.MustCompile(`node-v(\d+\.\d+\.\d+)\.tar\.gz`)
)

// installedNode are the Node.js versions of this machine.
func (c *call) installedNode() []toolchain {
	var l toolList
	for _, t := range c.cached("node") {
		l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "node"), "")
	}
	managed := c.dirs("~/.nvm/versions/node/v*", "~/.asdf/installs/nodejs/*", "~/.local/share/mise/installs/node/*", "~/.volta/tools/image/node/*",
		"~/.nodenv/versions/*", "~/n/n/versions/node/*", "/usr/local/n/versions/node/*", "/usr/local/nvm/versions/node/v*",
		"~/.local/share/fnm/node-versions/v*/installation", "~/.fnm/node-versions/v*/installation")
	for _, dir := range managed {
		name := filepath.Base(dir)
		if name == "installation" {
			name = filepath.Base(filepath.Dir(dir))
		}
		v, ok := parseVersion(name)
		l.add(v, ok, dir, filepath.Join(dir, "bin", "node"), "")
	}
	exes := c.programs("node")
	for _, dir := range c.dirs("/usr/local", "/usr", "/opt/node*", "/usr/local/node*") {
		exes = append(exes, filepath.Join(dir, "bin", "node"))
	}
	for _, exe := range exes {
		prefix := prefixOf(exe)
		v, ok := nodeVersion(prefix)
		if !ok && isFile(exe) {
			if m := searchProgram(realPath(exe), nodeProgram); m != nil {
				v, ok = parseVersion(m[1])
			}
		}
		l.add(v, ok, prefix, exe, "")
	}
	return l.list
}

func nodeVersion(prefix string) (version, bool) {
	var numbers [3]string
	for _, m := range nodeHeader.FindAllStringSubmatch(readText(filepath.Join(prefix, "include", "node", "node_version.h")), -1) {
		numbers[strings.Index("MAJMINPAT", m[1][:3])/3] = m[2]
	}
	return parseVersion(strings.Join(numbers[:], "."))
}

var (
	pythonName   = regexp.MustCompile(`^python(\d+\.\d+)(t?)$`)
	pythonHeader = regexp.MustCompile(`(?m)^#define\s+PY_VERSION\s+"([^"]+)"`)
)

// installedPython are the CPython versions of this machine; those of PyPy and
// GraalPy when their name is given.
func (c *call) installedPython(implementation string) []toolchain {
	var l toolList
	if implementation != "" {
		for _, t := range c.cached(implementation) {
			l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "python"), "")
			l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "python3"), "")
		}
		return l.list
	}
	for _, t := range c.cached("Python") {
		l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "python"), "")
		l.add(t.version, true, t.dir, filepath.Join(t.dir, "bin", "python3"), "")
	}
	for _, dir := range c.dirs("~/.pyenv/versions/*", "~/.asdf/installs/python/*", "~/.local/share/mise/installs/python/*", "~/.local/share/uv/python/cpython-*") {
		name := strings.TrimPrefix(filepath.Base(dir), "cpython-")
		name, _, _ = strings.Cut(name, "-")
		v, ok := parseVersion(name)
		l.add(v, ok && v.given == 3, dir, filepath.Join(dir, "bin", "python3"), "")
	}
	var exes []string
	bins := c.searchPath()
	bins = append(bins, c.dirs("/usr/local/bin", "/usr/bin", "/opt/python*/bin")...)
	for _, bin := range bins {
		entries, err := os.ReadDir(bin)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if pythonName.MatchString(e.Name()) {
				exes = append(exes, filepath.Join(bin, e.Name()))
			}
		}
	}
	for _, exe := range exes {
		v, ok := pythonVersion(exe)
		l.add(v, ok, prefixOf(exe), exe, "")
	}
	return l.list
}

// pythonVersion is the version of .../bin/python3.12. Its name tells the first
// two numbers, its header or the program itself all of them.
func pythonVersion(exe string) (version, bool) {
	m := pythonName.FindStringSubmatch(filepath.Base(exe))
	if m == nil || m[2] != "" { // a free-threaded build is another Python
		return version{}, false
	}
	prefix := prefixOf(exe)
	if h := pythonHeader.FindStringSubmatch(readText(filepath.Join(prefix, "include", "python"+m[1], "patchlevel.h"))); h != nil {
		if v, ok := parseVersion(strings.TrimSuffix(h[1], "+")); ok {
			return v, true
		}
	}
	re, err := regexp.Compile(`\x00(` + regexp.QuoteMeta(m[1]) + `\.\d{1,3}(?:(?:a|b|rc)\d+)?)\+?\x00`)
	if err != nil {
		return version{}, false
	}
	libs, err := filepath.Glob(filepath.Join(escapeGlob(prefix), "lib", "libpython"+m[1]+".so*"))
	if err != nil {
		libs = nil
	}
	for _, file := range append([]string{realPath(exe)}, libs...) {
		if g := searchProgram(file, re); g != nil {
			return parseVersion(g[1])
		}
	}
	return parseVersion(m[1])
}

var javaRelease = regexp.MustCompile(`(?m)^(JAVA_VERSION|IMPLEMENTOR|IMPLEMENTOR_VERSION|GRAALVM_VERSION)="?([^"\r\n]*)"?\s*$`)

// installedJava are the JDKs (or JREs) of this machine.
func (c *call) installedJava(jdk bool) []toolchain {
	var l toolList
	program := "java"
	if jdk {
		program = "javac"
	}
	homes := c.javaHomes()
	for _, t := range c.cached("Java_*") {
		homes = append(homes, t.dir)
	}
	for _, home := range homes {
		facts := map[string]string{}
		for _, m := range javaRelease.FindAllStringSubmatch(readText(filepath.Join(home, "release")), -1) {
			facts[m[1]] = m[2]
		}
		v, ok := parseVersion(facts["JAVA_VERSION"])
		vendor := facts["IMPLEMENTOR"] + " " + facts["IMPLEMENTOR_VERSION"]
		if facts["GRAALVM_VERSION"] != "" {
			vendor += " GraalVM"
		}
		if isFile(filepath.Join(home, "bin", program)) {
			l.add(v, ok, home, filepath.Join(home, "bin", "java"), strings.TrimSpace(vendor))
		}
	}
	return l.list
}

func (c *call) javaHomes() []string {
	homes := c.dirs("/usr/lib/jvm/*", "/usr/lib64/jvm/*", "/opt/java*", "/opt/jdk*", "/opt/java/*", "/usr/java/*",
		"~/.sdkman/candidates/java/*", "~/.jdks/*", "~/.asdf/installs/java/*", "~/.local/share/mise/installs/java/*",
		"/Library/Java/JavaVirtualMachines/*/Contents/Home")
	for _, exe := range c.programs("java") {
		homes = append(homes, prefixOf(exe))
	}
	if home := c.getenv("JAVA_HOME"); home != "" {
		homes = append(homes, home)
	}
	return homes
}

// newest sorts the newest version first; the order of the list decides
// between equals.
func newest(list []toolchain) []toolchain {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b toolchain) int { return b.version.compare(a.version) })
	return list
}

// prepend puts the toolchain's programs in front of PATH, unless they are
// what PATH leads to already: a directory like /usr/bin, moved to the front,
// would hide other tools.
func (c *call) prepend(t toolchain, names ...string) {
	for _, name := range names {
		first := c.programs(name)
		if len(first) == 0 || realPath(first[0]) != realPath(filepath.Join(t.bin(), name)) {
			c.effects.Path = append([]string{t.bin()}, c.effects.Path...)
			return
		}
	}
}
