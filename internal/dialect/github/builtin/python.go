package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// setupPython is actions/setup-python.
func setupPython(_ context.Context, c *call) error {
	wanted, err := c.pythonVersions()
	if err != nil {
		return err
	}
	pre, err := c.flag("allow-prereleases")
	if err != nil {
		return err
	}
	update, err := c.flag("update-environment")
	if err != nil {
		return err
	}
	free, err := c.flag("freethreaded")
	if err != nil {
		return err
	}
	for _, name := range []string{"pip-version", "pip-install"} {
		if c.input(name) != "" {
			c.warn("setup-python: the input %q is not used here; install what you need in a step of its own", name)
		}
	}
	var t toolchain
	var version string
	for _, w := range wanted {
		if t, version, err = c.pickPython(w, pre, free); err != nil {
			return err
		}
		c.say("Using Python %s (%s)", version, t.exe)
		if update {
			if err := c.usePython(t); err != nil {
				return err
			}
		}
	}
	c.output("python-version", version)
	c.output("python-path", t.exe)
	c.keepsCaches()
	return c.addMatchers("python", pythonMatchers)
}

// pickPython picks one version. The text is the version as outputs tell it.
func (c *call) pickPython(wanted string, pre, free bool) (t toolchain, text string, err error) {
	implementation, label := "", ""
	spec := strings.ToLower(wanted)
	for _, other := range []struct{ prefix, cache string }{{"pypy", "PyPy"}, {"graalpy", "GraalPy"}} {
		if rest, ok := strings.CutPrefix(spec, other.prefix); ok {
			implementation, label = other.cache, other.prefix
			spec, _, _ = strings.Cut(strings.TrimPrefix(rest, "-"), "-")
			spec = strings.TrimPrefix(spec, "v")
		}
	}
	if m := regexp.MustCompile(`^(\d+\.\d+(?:\.\d+)?)t$`).FindStringSubmatch(spec); m != nil {
		spec, free = m[1], true
	}
	if base, ok := strings.CutSuffix(spec, "-dev"); ok {
		spec, pre = base, true
	}
	have := c.installedPython(implementation)
	if free {
		// A free-threaded build is kept in the tool cache under another architecture.
		have = c.cachedFree()
	}
	r, err := parseRange(spec)
	if err != nil {
		return t, "", failf("setup-python: %v", err)
	}
	t, ok := pick(have, r)
	if !ok && pre {
		r.pre = true
		t, ok = pick(have, r)
	}
	if !ok {
		of := pythonTool
		if implementation != "" {
			of.cache = implementation
		}
		return t, "", c.absentError(of, wanted, example(spec), have)
	}
	text = t.version.text
	if label != "" {
		text = label + text
	}
	return t, text, nil
}

// cachedFree are the free-threaded builds in the tool cache.
func (c *call) cachedFree() []toolchain {
	var l toolList
	for _, tools := range c.toolDirs() {
		dirs, err := filepath.Glob(filepath.Join(escapeGlob(tools), "Python", "*", c.arch()+"-freethreaded"))
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			v, ok := parseVersion(filepath.Base(filepath.Dir(dir)))
			l.add(v, ok && isFile(dir+".complete"), dir, filepath.Join(dir, "bin", "python3"), "")
		}
	}
	return l.list
}

// usePython makes the toolchain what "python" means.
func (c *call) usePython(t toolchain) error {
	if !isFile(filepath.Join(t.bin(), "python")) || !c.isFirst("python", t) || !c.isFirst("python3", t) {
		bin, err := c.pythonBin(t)
		if err != nil {
			return err
		}
		c.effects.Path = append([]string{bin}, c.effects.Path...)
	}
	c.setenv("pythonLocation", t.dir)
	for _, name := range []string{"Python_ROOT_DIR", "Python2_ROOT_DIR", "Python3_ROOT_DIR"} {
		c.setenv(name, t.dir)
	}
	if lib := filepath.Join(t.dir, "lib"); t.dir != c.at("/usr") && t.dir != c.at("/usr/local") {
		c.setenv("PKG_CONFIG_PATH", filepath.Join(lib, "pkgconfig"))
		libs, _ := filepath.Glob(filepath.Join(escapeGlob(lib), "libpython*.so*")) // the pattern is well formed
		if old := c.getenv("LD_LIBRARY_PATH"); len(libs) > 0 && !slices.Contains(filepath.SplitList(old), lib) {
			c.setenv("LD_LIBRARY_PATH", strings.TrimSuffix(lib+string(filepath.ListSeparator)+old, string(filepath.ListSeparator)))
		}
	}
	return nil
}

// isFirst reports whether PATH leads the name to the toolchain.
func (c *call) isFirst(name string, t toolchain) bool {
	all := c.programs(name)
	return len(all) > 0 && realPath(all[0]) == realPath(t.exe)
}

// pythonBin is a directory where python, python3 and pip are those of the
// toolchain. Systems install python3.12 beside others in /usr/bin, which
// cannot be moved in front; then a directory of links is made.
func (c *call) pythonBin(t toolchain) (string, error) {
	if realPath(filepath.Join(t.bin(), "python")) == realPath(t.exe) && t.bin() != c.at("/usr/bin") {
		return t.bin(), nil
	}
	bin := filepath.Join(c.Scope.Dirs.Temp, "python-"+t.version.String())
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("make links to Python: %w", err)
	}
	minor := fmt.Sprintf("%d.%d", t.version.number[0], t.version.number[1])
	links := map[string]string{"python": t.exe, "python3": t.exe, "python" + minor: t.exe}
	if pip := filepath.Join(t.bin(), "pip"+minor); isFile(pip) {
		links["pip"], links["pip3"], links["pip"+minor] = pip, pip, pip
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make links to Python: %w", err)
		}
	}
	return bin, nil
}

// pythonVersions are the versions that the inputs ask for, at least one.
func (c *call) pythonVersions() ([]string, error) {
	wanted, file := c.lines("python-version"), c.input("python-version-file")
	if len(wanted) > 0 {
		if file != "" {
			c.warn("setup-python: both python-version and python-version-file are given; python-version is used")
		}
		return wanted, nil
	}
	if file == "" {
		file = ".python-version"
		if !isFile(c.absolute(file)) {
			c.warn("setup-python: python-version was not given, so the newest Python is used")
			return []string{"3.x"}, nil
		}
	}
	text, err := c.versionFile("setup-python", file)
	if err != nil {
		return nil, err
	}
	switch base := filepath.Base(file); {
	case base == ".tool-versions":
		wanted = []string{toolVersions(text, "python")}
	case strings.HasSuffix(base, ".toml"):
		wanted = []string{projectPython(text)}
	case base == "Pipfile":
		wanted = []string{firstSubmatch(pipfilePython, text)}
	default:
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				wanted = append(wanted, strings.TrimPrefix(line, "python-"))
			}
		}
	}
	if len(wanted) == 0 || wanted[0] == "" {
		return nil, failf("setup-python: the version file %s names no version of Python", file)
	}
	return wanted, nil
}

var (
	requiresPython = regexp.MustCompile(`(?m)^\s*requires-python\s*=\s*["']([^"']+)["']`)
	poetryPython   = regexp.MustCompile(`(?ms)^\[tool\.poetry\.dependencies\].*?^\s*python\s*=\s*["']([^"']+)["']`)
	pipfilePython  = regexp.MustCompile(`(?m)^\s*python(?:_full)?_version\s*=\s*["']([^"']+)["']`)
	compatible     = regexp.MustCompile(`~=\s*(\d+)\.(\d+)((?:\.\d+)?)`)
	unequal        = regexp.MustCompile(`!=\s*[\w.*]+`)
)

func firstSubmatch(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// projectPython is the range that a pyproject.toml asks for, in npm's
// notation (PEP 440 has commas, ~= and ==3.9.*).
func projectPython(text string) string {
	spec := firstSubmatch(requiresPython, text)
	if spec == "" {
		spec = firstSubmatch(poetryPython, text)
	}
	spec = compatible.ReplaceAllStringFunc(spec, func(s string) string {
		m := compatible.FindStringSubmatch(s)
		if m[3] == "" {
			return ">=" + m[1] + "." + m[2] + " ^" + m[1]
		}
		return "~" + m[1] + "." + m[2] + m[3]
	})
	spec = unequal.ReplaceAllString(spec, "")
	return strings.TrimSpace(strings.NewReplacer(",", " ", "==", "=", ".*", ".x").Replace(spec))
}
