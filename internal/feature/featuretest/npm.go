// Package featuretest brings the reference implementations of feature flags to the tests: the
// evaluators, specifications and SDKs that others publish on npm. Nothing of them is part of the
// repository. They are installed once for a user and a set of versions, and a test that cannot
// have them is skipped, loudly.
package featuretest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Modules are installed packages of npm.
type Modules struct{ Dir string }

// Install installs packages ("@openfeature/flagd-core@4.0.1"), or skips the test when there is no
// node, no npm, or no way to the registry.
func Install(t testing.TB, packages ...string) Modules {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is missing, and with it %s", tool, strings.Join(packages, " "))
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256([]byte(strings.Join(packages, " ")))
	dir := filepath.Join(cache, "fairlead-tests", "npm-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return Modules{dir}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Skipf("SKIPPED: no place for %s: %v", strings.Join(packages, " "), err)
	}
	// Installed aside and renamed, so that what is there is whole, whoever else installs it.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "installing-")
	if err != nil {
		t.Skipf("SKIPPED: no place for %s: %v", strings.Join(packages, " "), err)
	}
	defer os.RemoveAll(fresh)
	cmd := exec.CommandContext(t.Context(), "npm", append([]string{"install", "--prefix", fresh, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"}, packages...)...)
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: npm cannot install %s: %v\n%s", strings.Join(packages, " "), err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(filepath.Join(dir, "node_modules")); there != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	return Modules{dir}
}

// Path is a file of a package.
func (m Modules) Path(elem ...string) string {
	return filepath.Join(append([]string{m.Dir, "node_modules"}, elem...)...)
}

// Run runs a script in node with the modules at hand. Each of the inputs goes to its standard input
// as a line of JSON; the lines that it prints are returned.
func (m Modules) Run(t testing.TB, script string, inputs []any, env ...string) [][]byte {
	t.Helper()
	var in bytes.Buffer
	for _, x := range inputs {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(b, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=commonjs", "-e", script)
	cmd.Dir, cmd.Stdin, cmd.Env = m.Dir, &in, append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("node: %v\n%s\n%s", err, errs.Bytes(), out.Bytes())
	}
	var lines [][]byte
	scan := bufio.NewScanner(&out)
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		lines = append(lines, bytes.Clone(scan.Bytes()))
	}
	return lines
}
