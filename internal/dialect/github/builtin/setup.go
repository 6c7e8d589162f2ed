package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The setup actions choose among the toolchains that are installed: they
// download nothing. Where none fits they say which there are, and where the
// wanted one has to be put to be found.

// tool is what the messages of a setup action say of its tool.
type tool struct {
	action string // setup-go
	name   string // Go
	cache  string // directory in the tool cache
}

var (
	goTool     = tool{"setup-go", "Go", "go"}
	nodeTool   = tool{"setup-node", "Node.js", "node"}
	pythonTool = tool{"setup-python", "Python", "Python"}
	javaTool   = tool{"setup-java", "Java", "Java_temurin_jdk"}
)

// absentError says that no installed version fits.
func (c *call) absentError(t tool, wanted, example string, have []toolchain) error {
	list := "None is installed."
	if len(have) > 0 {
		var names []string
		for _, h := range newest(have) {
			names = append(names, fmt.Sprintf("%s (%s)", h.version.text, h.dir))
		}
		list = "Installed: " + strings.Join(names, ", ") + "."
	}
	tools := "the tool cache"
	if dirs := c.toolDirs(); len(dirs) > 0 {
		tools = dirs[0]
	}
	dir := filepath.Join(tools, t.cache, example, c.arch())
	return lackf("%s: %s %s is not installed here. %s Install it in the usual way, or unpack it into %s and create the empty file %s.complete; or ask for a version that is there.",
		t.action, t.name, wanted, list, dir, dir)
}

// pick is the newest of the toolchains that the range has.
func pick(list []toolchain, r versionRange) (toolchain, bool) {
	for _, t := range newest(list) {
		if r.has(t.version) {
			return t, true
		}
	}
	return toolchain{}, false
}

// example is a version of the range, for a message.
func example(wanted string) string {
	if m := regexp.MustCompile(`\d+(\.\d+)*`).FindString(wanted); m != "" {
		if v, ok := parseVersion(m); ok {
			return v.String()
		}
	}
	return "VERSION"
}

// versionFile reads a file of the workspace that tells a version.
func (c *call) versionFile(action, name string) (string, error) {
	data, err := os.ReadFile(c.absolute(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", failf("%s: the version file %s does not exist", action, name)
	case err != nil:
		return "", failf("%s: the version file %s cannot be read: %v", action, name, err)
	case len(data) > maxVersionFile:
		return "", failf("%s: the version file %s is too large", action, name)
	}
	return string(data), nil
}

// toolVersions finds a tool's line in a .tool-versions file.
func toolVersions(text string, names ...string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) >= 2 && slices.Contains(names, f[0]) {
			return strings.TrimPrefix(f[1], "v")
		}
	}
	return ""
}

// firstLine is the first line with something on it, without comments.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// keepsCaches tells why a package manager's cache is not saved and restored.
func (c *call) keepsCaches() {
	c.output("cache-hit", "false")
	if given := c.Inputs["cache"]; given != "" && !strings.EqualFold(given, "false") {
		c.say("Caches of package managers are kept on this machine between runs, so there is nothing to restore or save.")
	}
}

var (
	goDirective        = regexp.MustCompile(`(?m)^go[ \t]+(\d[\w.]*)`)
	toolchainDirective = regexp.MustCompile(`(?m)^toolchain[ \t]+go(\d[\w.]*)`)
)

// setupGo is actions/setup-go.
func setupGo(_ context.Context, c *call) error {
	wanted, minimum, err := c.goVersion()
	if err != nil {
		return err
	}
	have := c.installedGo()
	var t toolchain
	ok := false
	switch strings.ToLower(wanted) {
	case "":
		first := c.programs("go")
		i := slices.IndexFunc(have, func(t toolchain) bool { return len(first) > 0 && realPath(t.exe) == realPath(first[0]) })
		if i < 0 {
			return c.absentError(goTool, "(any version)", "VERSION", have)
		}
		c.warn("setup-go: go-version was not given, so the Go on PATH is used: %s", have[i].version.text)
		t, ok = have[i], true
	case "stable", "oldstable":
		stable := slices.DeleteFunc(newest(have), func(t toolchain) bool { return len(t.version.pre) > 0 })
		if strings.EqualFold(wanted, "oldstable") && len(stable) > 0 {
			last := stable[0].version.number
			stable = slices.DeleteFunc(stable, func(t toolchain) bool {
				return t.version.number[0] == last[0] && t.version.number[1] == last[1]
			})
		}
		if len(stable) > 0 {
			t, ok = stable[0], true
		}
	default:
		r, err := parseRange(wanted)
		if err != nil {
			return failf("setup-go: %v", err)
		}
		t, ok = pick(have, r)
		if !ok && minimum {
			if t, ok = atLeast(have, wanted); ok {
				c.say("Go %s is not installed; %s is newer, and the version in a go.mod file is a minimum.", wanted, t.version.text)
			}
		}
	}
	if !ok {
		return c.absentError(goTool, wanted, example(wanted), have)
	}
	c.say("Using Go %s (%s)", t.version.text, t.dir)
	// The programs that "go install" makes come behind Go itself.
	if bin := filepath.Join(c.goPath(), "bin"); !slices.Contains(c.searchPath(), bin) {
		c.effects.Path = append(c.effects.Path, bin)
	}
	c.prepend(t, "go", "gofmt")
	if root := c.getenv("GOROOT"); root != "" && realPath(root) != realPath(t.dir) {
		c.setenv("GOROOT", t.dir) // else the go command would take another's library
	}
	c.output("go-version", t.version.text)
	c.keepsCaches()
	return c.addMatchers("go", goMatchers)
}

// goVersion is the version that the inputs ask for, "" for any. minimum says
// that newer ones are as good.
func (c *call) goVersion() (wanted string, minimum bool, err error) {
	wanted, file := c.input("go-version"), c.input("go-version-file")
	if wanted != "" {
		if file != "" {
			c.warn("setup-go: both go-version and go-version-file are given; go-version is used")
		}
		return strings.TrimPrefix(wanted, "go"), false, nil
	}
	if file == "" {
		return "", false, nil
	}
	text, err := c.versionFile("setup-go", file)
	if err != nil {
		return "", false, err
	}
	switch base := filepath.Base(file); {
	case base == ".tool-versions":
		wanted = toolVersions(text, "golang", "go")
	case strings.HasSuffix(base, ".mod"), strings.HasSuffix(base, ".work"):
		minimum = true
		if m := toolchainDirective.FindStringSubmatch(text); m != nil {
			wanted = m[1]
		} else if m := goDirective.FindStringSubmatch(text); m != nil {
			wanted = m[1]
		}
	default:
		wanted = strings.TrimPrefix(firstLine(text), "go")
	}
	if wanted == "" {
		return "", false, failf("setup-go: the version file %s names no version of Go", file)
	}
	return wanted, minimum, nil
}

// atLeast is the oldest toolchain that is newer than the version.
func atLeast(list []toolchain, least string) (toolchain, bool) {
	v, ok := parseVersion(least)
	if !ok {
		return toolchain{}, false
	}
	for _, t := range slices.Backward(newest(list)) {
		if t.version.compare(v) >= 0 && len(t.version.pre) == 0 {
			return t, true
		}
	}
	return toolchain{}, false
}

// codenames of Node.js's long-term releases, by major version.
var codenames = map[string]int{
	"argon": 4, "boron": 6, "carbon": 8, "dubnium": 10, "erbium": 12, "fermium": 14,
	"gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24,
}

// setupNode is actions/setup-node.
func setupNode(_ context.Context, c *call) error {
	wanted, err := c.nodeVersion()
	if err != nil {
		return err
	}
	have := c.installedNode()
	var t toolchain
	ok := false
	lower := strings.ToLower(wanted)
	lts, isLTS := strings.CutPrefix(lower, "lts/")
	switch {
	case wanted == "":
		first := c.programs("node")
		i := slices.IndexFunc(have, func(t toolchain) bool { return len(first) > 0 && realPath(t.exe) == realPath(first[0]) })
		if i < 0 {
			return c.absentError(nodeTool, "(any version)", "VERSION", have)
		}
		t, ok = have[i], true
	case isLTS:
		t, ok, err = pickLTS(have, lts)
		if err != nil {
			return err
		}
	case slices.Contains([]string{"latest", "current", "node", "*"}, lower):
		t, ok = pick(have, versionRange{any: [][]comparator{nil}})
	default:
		r, err := parseRange(wanted)
		if err != nil {
			return failf("setup-node: %v", err)
		}
		t, ok = pick(have, r)
	}
	if !ok {
		return c.absentError(nodeTool, wanted, example(wanted), have)
	}
	c.say("Using Node.js %s (%s)", t.version.text, t.dir)
	c.prepend(t, "node")
	c.output("node-version", "v"+t.version.String())
	c.keepsCaches()
	if err := c.addMatchers("node", nodeMatchers); err != nil {
		return err
	}
	return c.registry()
}

// pickLTS picks a long-term release: even major versions are.
func pickLTS(have []toolchain, which string) (t toolchain, ok bool, err error) {
	var majors []int
	for _, h := range newest(have) {
		if m := h.version.number[0]; m%2 == 0 && len(h.version.pre) == 0 && !slices.Contains(majors, m) {
			majors = append(majors, m)
		}
	}
	major, known := codenames[which]
	switch {
	case which == "*" || which == "":
		if len(majors) == 0 {
			return t, false, nil
		}
		major = majors[0]
	case strings.HasPrefix(which, "-"):
		n, err := strconv.Atoi(which[1:])
		if err != nil || n < 0 {
			return t, false, failf("setup-node: lts/%s is not a long-term release", which)
		}
		if n >= len(majors) {
			return t, false, nil
		}
		major = majors[n]
	case !known:
		return t, false, failf("setup-node: no long-term release is named %q; give its number instead", which)
	}
	r, err := parseRange(strconv.Itoa(major))
	if err != nil {
		return t, false, err
	}
	t, ok = pick(have, r)
	return t, ok, nil
}

// nodeVersion is the version that the inputs ask for, "" for any.
func (c *call) nodeVersion() (string, error) {
	wanted, file := c.input("node-version"), c.input("node-version-file")
	if wanted == "" {
		wanted = c.input("version")
	}
	if wanted != "" {
		if file != "" {
			c.warn("setup-node: both node-version and node-version-file are given; node-version is used")
		}
		return wanted, nil
	}
	if file == "" {
		return "", nil
	}
	text, err := c.versionFile("setup-node", file)
	if err != nil {
		return "", err
	}
	switch base := filepath.Base(file); base {
	case "package.json":
		wanted = packageNode([]byte(text))
	case ".tool-versions":
		wanted = toolVersions(text, "nodejs", "node")
	default:
		wanted = strings.TrimPrefix(firstLine(text), "v")
	}
	if wanted == "" {
		return "", failf("setup-node: the version file %s names no version of Node.js", file)
	}
	return wanted, nil
}

// packageNode is the version of Node.js that a package.json asks for.
func packageNode(data []byte) string {
	type runtime struct{ Name, Version string }
	var p struct {
		Volta      struct{ Node string }
		Engines    json.RawMessage
		DevEngines struct{ Runtime json.RawMessage }
	}
	if json.Unmarshal(data, &p) != nil {
		return ""
	}
	if p.Volta.Node != "" {
		return p.Volta.Node
	}
	var one runtime
	var many []runtime
	if json.Unmarshal(p.DevEngines.Runtime, &one) == nil {
		many = append(many, one)
	} else if json.Unmarshal(p.DevEngines.Runtime, &many) != nil {
		many = nil
	}
	for _, r := range many {
		if r.Name == "node" && r.Version != "" {
			return r.Version
		}
	}
	var engines struct{ Node string }
	if json.Unmarshal(p.Engines, &engines) != nil { // an old form is a list
		return ""
	}
	return engines.Node
}

// registry writes the npm configuration that registry-url asks for.
func (c *call) registry() error {
	given := c.input("registry-url")
	if given == "" {
		return nil
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return failf("setup-node: registry-url must be an http or https URL, not %.200q", given)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	scope := c.input("scope")
	if scope == "" && strings.HasSuffix(u.Hostname(), ".github.com") {
		// GitHub's own registry holds only packages of owners.
		scope, _, _ = strings.Cut(c.Scope.Change.Repository, "/")
	}
	setting := "registry"
	if scope != "" {
		setting = "@" + strings.ToLower(strings.TrimPrefix(scope, "@")) + ":registry"
	}
	// npm itself puts the token in, so that it is in no file.
	text := fmt.Sprintf("//%s%s:_authToken=${NODE_AUTH_TOKEN}\n%s=%s\n", u.Host, u.Path, setting, u)
	file := filepath.Join(c.Scope.Dirs.Temp, ".npmrc")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write npm's configuration: %w", err)
	}
	c.setenv("NPM_CONFIG_USERCONFIG", file)
	if c.getenv("NODE_AUTH_TOKEN") == "" {
		c.setenv("NODE_AUTH_TOKEN", "XXXXX-XXXXX-XXXXX-XXXXX") // npm refuses a file that names an unset variable
	}
	return nil
}
