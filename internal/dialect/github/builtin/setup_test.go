package builtin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// install makes a program, with the files that tell its version.
func (m *machine) install(exe string, files map[string]string) {
	m.t.Helper()
	depottest.Plant(m.t, m.dir, files)
	depottest.Plant(m.t, m.dir, map[string]string{exe: "#!/bin/sh\n"})
	if err := os.Chmod(m.path(exe), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) installGo(root, version string) {
	m.install(root+"/bin/go", map[string]string{root + "/VERSION": "go" + version + "\ntime 2026-01-01T00:00:00Z\n"})
	m.install(root+"/bin/gofmt", nil)
}

// paths are the directories of PATH after the step, below the machine's.
func (m *machine) paths(r result) string {
	var list []string
	for _, p := range r.Path {
		list = append(list, strings.TrimPrefix(p, m.dir+"/"))
	}
	return strings.Join(list, " ")
}

func arch() string {
	return (&call{in: map[string]string{}}).arch()
}

func TestSetupGo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		file   string // go.mod's or another's text, in the file of the input
		want   string // version
		path   string // what comes first in PATH
		fail   string
		log    string
	}{
		{name: "a minor version", inputs: map[string]string{"go-version": "1.25"}, want: "1.25.7", path: "home/sdk/go1.25.7/bin"},
		{name: "an exact one", inputs: map[string]string{"go-version": "1.24.1"}, want: "1.24.1", path: "tools/go/1.24.1/" + arch() + "/bin"},
		{name: "with the word go", inputs: map[string]string{"go-version": "go1.24.1"}, want: "1.24.1"},
		{name: "a range", inputs: map[string]string{"go-version": ">=1.24 <1.26"}, want: "1.25.7"},
		{name: "x", inputs: map[string]string{"go-version": "1.24.x"}, want: "1.24.1"},
		{name: "not complete", inputs: map[string]string{"go-version": "1.23"}, fail: "Go 1.23 is not installed here. Installed: 1.27rc1"},
		{name: "stable", inputs: map[string]string{"go-version": "stable"}, want: "1.26.8"},
		{name: "oldstable", inputs: map[string]string{"go-version": "oldstable"}, want: "1.25.7"},
		{name: "a release candidate", inputs: map[string]string{"go-version": "1.27.0-rc.1"}, want: "1.27rc1"},
		{name: "a release candidate, as Go writes it", inputs: map[string]string{"go-version": "1.27rc1"}, want: "1.27rc1"},
		{name: "no release candidate for a range", inputs: map[string]string{"go-version": "^1.26"}, want: "1.26.8", path: "home/go/bin"},
		{name: "a toolchain of the go command", inputs: map[string]string{"go-version": "1.22"}, want: "1.22.3", path: "home/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.22.3." + runtime.GOOS + "-" + runtime.GOARCH + "/bin"},
		{name: "not there", inputs: map[string]string{"go-version": "1.19"}, fail: filepath.Join("tools", "go", "1.19.0", arch()) + ".complete"},
		{name: "nonsense", inputs: map[string]string{"go-version": "one"}, fail: `"one" is not a version`},
		{name: "none given", want: "1.26.8", log: "go-version was not given"},
		{name: "go.mod", inputs: map[string]string{"go-version-file": "go.mod"}, file: "module x\n\ngo 1.25\n", want: "1.25.7"},
		{name: "go.mod, a newer one will do", inputs: map[string]string{"go-version-file": "go.mod"}, file: "module x\n\ngo 1.25.2\n", want: "1.25.7", log: "is a minimum"},
		{name: "go.mod with a toolchain", inputs: map[string]string{"go-version-file": "sub/go.mod"}, file: "go 1.22\ntoolchain go1.24.1\n", want: "1.24.1"},
		{name: "go.mod, too new", inputs: map[string]string{"go-version-file": "go.mod"}, file: "go 1.30.0\n", fail: "Go 1.30.0 is not installed"},
		{name: "go.work", inputs: map[string]string{"go-version-file": "go.work"}, file: "go 1.24.1\nuse .\n", want: "1.24.1"},
		{name: ".tool-versions", inputs: map[string]string{"go-version-file": ".tool-versions"}, file: "nodejs 20.1.0\ngolang 1.24.1 # pinned\n", want: "1.24.1"},
		{name: ".go-version", inputs: map[string]string{"go-version-file": ".go-version"}, file: "# ours\n1.24.1\n", want: "1.24.1"},
		{name: "an empty file", inputs: map[string]string{"go-version-file": "go.mod"}, file: "module x\n", fail: "names no version of Go"},
		{name: "no file", inputs: map[string]string{"go-version-file": "nope"}, fail: "nope does not exist"},
		{name: "both", inputs: map[string]string{"go-version": "1.24", "go-version-file": "go.mod"}, file: "go 1.25\n", want: "1.24.1", log: "go-version is used"},
		{name: "another architecture", inputs: map[string]string{"go-version": "1.24", "architecture": "s390x"}, want: "", fail: "is not installed here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.installGo("root/usr/local/go", "1.26.8")
			m.installGo("home/sdk/go1.25.7", "1.25.7")
			m.installGo("home/sdk/gotip", "devel")
			m.installGo("home/sdk/go1.27rc1", "1.27rc1")
			m.installGo("tools/go/1.24.1/"+arch(), "1.24.1")
			m.installGo("tools/go/1.23.4/"+arch(), "1.23.4") // being unpacked
			m.installGo("home/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.22.3."+runtime.GOOS+"-"+runtime.GOARCH, "1.22.3")
			depottest.Plant(t, m.path("tools/go/1.24.1"), map[string]string{arch() + ".complete": ""})
			m.env["PATH"] = m.path("root/usr/local/go/bin") + ":" + m.path("nowhere")
			if tt.file != "" {
				depottest.Plant(t, m.path("ws"), map[string]string{tt.inputs["go-version-file"]: tt.file})
			}
			r := m.run("actions/setup-go", tt.inputs, m.scope())
			if said := refusal(t, r.Effects); !strings.Contains(said, tt.fail) || tt.fail == "" && said != "" {
				t.Fatalf("failed with %q, want %q", said, tt.fail)
			}
			if r.output("go-version") != tt.want {
				t.Errorf("go-version %q, want %q", r.output("go-version"), tt.want)
			}
			if !strings.HasPrefix(m.paths(r), tt.path) {
				t.Errorf("PATH begins with %s, want %s", m.paths(r), tt.path)
			}
			if !strings.Contains(r.log, tt.log) {
				t.Errorf("log %q, want %q", r.log, tt.log)
			}
			if tt.want != "" && (r.output("cache-hit") != "false" || !strings.Contains(r.log, "##[add-matcher]"+m.path("temp"))) {
				t.Errorf("outputs %v, log %s", r.Outputs, r.log)
			}
		})
	}
}

func TestSetupGoEnvironment(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if r := m.run("actions/setup-go", map[string]string{"go-version": "stable"}, m.scope()); !strings.Contains(r.Lacking, "None is installed.") {
		t.Errorf("on an empty machine: %q", r.Lacking)
	}
	m.installGo("home/sdk/go1.25.7", "1.25.7")
	m.env["GOROOT"], m.env["GOPATH"] = "/usr/lib/other", "/gopath:/second"
	r := m.ok(m.run("actions/setup-go", map[string]string{"go-version": "stable"}, m.scope()))
	if r.env("GOROOT") != m.path("home/sdk/go1.25.7") {
		t.Errorf("environment %v", r.Env)
	}
	if m.paths(r) != "home/sdk/go1.25.7/bin /gopath/bin" {
		t.Errorf("PATH %s", m.paths(r))
	}
	// What the workflow sets is stronger than what the machine has.
	own := m.ok(m.call(Call{Name: "actions/setup-go", Inputs: map[string]string{"go-version": "stable"}, Env: map[string]string{"GOPATH": "/own"}, Scope: m.scope()}))
	if m.paths(own) != "home/sdk/go1.25.7/bin /own/bin" {
		t.Errorf("PATH %s", m.paths(own))
	}
	// The step before has set it up.
	s := m.scope()
	s.Path = r.Path
	if r := m.ok(m.run("actions/setup-go", map[string]string{"go-version": "1.25"}, s)); len(r.Path) > 0 {
		t.Errorf("again: PATH %v", r.Path)
	}
}

func TestSetupNode(t *testing.T) {
	t.Parallel()
	header := func(major, minor, patch string) string {
		return "#define NODE_MAJOR_VERSION " + major + "\n#define NODE_MINOR_VERSION " + minor + "\n#define NODE_PATCH_VERSION " + patch + "\n"
	}
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		file   string
		want   string
		path   string
		fail   string
	}{
		{name: "a major version", inputs: map[string]string{"node-version": "20"}, want: "v20.20.2", path: ""},
		{name: "with x", inputs: map[string]string{"node-version": "22.x"}, want: "v22.12.0", path: "home/.nvm/versions/node/v22.12.0/bin"},
		{name: "a caret", inputs: map[string]string{"node-version": "^20"}, want: "v20.20.2"},
		{name: "with v", inputs: map[string]string{"node-version": "v24.1.0"}, want: "v24.1.0", path: "tools/node/24.1.0/" + arch() + "/bin"},
		{name: "lts", inputs: map[string]string{"node-version": "lts/*"}, want: "v24.1.0"},
		{name: "lts by name", inputs: map[string]string{"node-version": "lts/Jod"}, want: "v22.12.0"},
		{name: "lts before", inputs: map[string]string{"node-version": "lts/-1"}, want: "v22.12.0"},
		{name: "lts long before", inputs: map[string]string{"node-version": "lts/-7"}, fail: "is not installed"},
		{name: "lts unknown", inputs: map[string]string{"node-version": "lts/nope"}, fail: "no long-term release"},
		{name: "latest", inputs: map[string]string{"node-version": "latest"}, want: "v25.0.0", path: "home/.volta/tools/image/node/25.0.0/bin"},
		{name: "older, told by its program", inputs: map[string]string{"node-version": "18"}, want: "v18.19.1", path: "root/opt/node-18/bin"},
		{name: "not there", inputs: map[string]string{"node-version": "16"}, fail: "Node.js 16 is not installed here. Installed: 25.0.0"},
		{name: "none given", want: "v20.20.2"},
		{name: ".nvmrc", inputs: map[string]string{"node-version-file": ".nvmrc"}, file: "v22\n", want: "v22.12.0"},
		{name: ".nvmrc of a long-term release", inputs: map[string]string{"node-version-file": ".nvmrc"}, file: "lts/iron\n", want: "v20.20.2"},
		{name: ".tool-versions", inputs: map[string]string{"node-version-file": ".tool-versions"}, file: "nodejs 24.1.0\n", want: "v24.1.0"},
		{name: "engines", inputs: map[string]string{"node-version-file": "package.json"}, file: `{"engines":{"node":">=22 <23"}}`, want: "v22.12.0"},
		{name: "volta", inputs: map[string]string{"node-version-file": "package.json"}, file: `{"volta":{"node":"24.1.0"},"engines":{"node":"22"}}`, want: "v24.1.0"},
		{name: "devEngines", inputs: map[string]string{"node-version-file": "package.json"}, file: `{"devEngines":{"runtime":[{"name":"bun","version":"1"},{"name":"node","version":"^22"}]}}`, want: "v22.12.0"},
		{name: "a package without", inputs: map[string]string{"node-version-file": "package.json"}, file: `{"engines":["node >= 0.8"]}`, fail: "names no version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.install("root/usr/bin/node", map[string]string{"root/usr/include/node/node_version.h": header("20", "20", "2")})
			m.install("home/.nvm/versions/node/v22.12.0/bin/node", nil)
			m.install("home/.volta/tools/image/node/25.0.0/bin/node", nil)
			m.install("tools/node/24.1.0/"+arch()+"/bin/node", map[string]string{"tools/node/24.1.0/" + arch() + ".complete": ""})
			depottest.Plant(t, m.path("root/opt/node-18/bin"), map[string]string{"node": strings.Repeat("\x00", 3<<20) + "https://x/release/v18.19.1/node-v18.19.1.tar.gz\x00"})
			if err := os.Chmod(m.path("root/opt/node-18/bin/node"), 0o755); err != nil {
				t.Fatal(err)
			}
			m.env["PATH"] = m.path("root/usr/bin")
			if tt.file != "" {
				depottest.Plant(t, m.path("ws"), map[string]string{tt.inputs["node-version-file"]: tt.file})
			}
			r := m.run("actions/setup-node", tt.inputs, m.scope())
			if said := refusal(t, r.Effects); !strings.Contains(said, tt.fail) || tt.fail == "" && said != "" {
				t.Fatalf("failed with %q, want %q", said, tt.fail)
			}
			if r.output("node-version") != tt.want {
				t.Errorf("node-version %q, want %q", r.output("node-version"), tt.want)
			}
			if tt.path != "" && m.paths(r) != tt.path || strings.Contains(m.paths(r), "usr/bin") {
				t.Errorf("PATH %s, want %s", m.paths(r), tt.path)
			}
		})
	}
}

func TestSetupNodeRegistry(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.install("home/.nvm/versions/node/v22.12.0/bin/node", nil)
	in := func(more ...string) map[string]string {
		inputs := map[string]string{"node-version": "22"}
		for i := 0; i < len(more); i += 2 {
			inputs[more[i]] = more[i+1]
		}
		return inputs
	}
	for _, tt := range []struct {
		inputs map[string]string
		want   string
	}{
		{in("registry-url", "https://packages.example.com/npm"), "//packages.example.com/npm/:_authToken=${NODE_AUTH_TOKEN}\nregistry=https://packages.example.com/npm/\n"},
		{in("registry-url", "https://packages.example.com/", "scope", "@Octo"), "//packages.example.com/:_authToken=${NODE_AUTH_TOKEN}\n@octo:registry=https://packages.example.com/\n"},
	} {
		r := m.ok(m.run("actions/setup-node", tt.inputs, m.scope()))
		data, err := os.ReadFile(r.env("NPM_CONFIG_USERCONFIG"))
		if string(data) != tt.want || err != nil || r.env("NODE_AUTH_TOKEN") == "" {
			t.Errorf("%q, %v; environment %v", data, err, r.Env)
		}
	}
	m.env["NODE_AUTH_TOKEN"] = "mine"
	if r := m.ok(m.run("actions/setup-node", in("registry-url", "http://localhost:4873"), m.scope())); r.env("NODE_AUTH_TOKEN") != "" {
		t.Error("the user's token is replaced")
	}
	if r := m.run("actions/setup-node", in("registry-url", "packages\nfoo=bar"), m.scope()); !strings.Contains(r.Fail, "registry-url must be") {
		t.Errorf("a bad URL: %q", r.Fail)
	}
}

func TestSetupPython(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		file   string
		want   string
		exe    string
		fail   string
	}{
		{name: "a minor version", inputs: map[string]string{"python-version": "3.12"}, want: "3.12.3", exe: "root/usr/bin/python3.12"},
		{name: "x", inputs: map[string]string{"python-version": "3.x"}, want: "3.13.1"},
		{name: "an exact one", inputs: map[string]string{"python-version": "3.13.1"}, want: "3.13.1", exe: "home/.pyenv/versions/3.13.1/bin/python3"},
		{name: "tool cache", inputs: map[string]string{"python-version": "3.10"}, want: "3.10.14", exe: "tools/Python/3.10.14/" + arch() + "/bin/python"},
		{name: "told by its program", inputs: map[string]string{"python-version": "3.9"}, want: "3.9.18", exe: "root/usr/bin/python3.9"},
		{name: "told by its library", inputs: map[string]string{"python-version": "3.8"}, want: "3.8.20", exe: "root/usr/bin/python3.8"},
		{name: "a pre-release is not taken", inputs: map[string]string{"python-version": "3.14"}, fail: "Python 3.14 is not installed"},
		{name: "unless it may be", inputs: map[string]string{"python-version": "3.14", "allow-prereleases": "true"}, want: "3.14.0b2"},
		{name: "-dev", inputs: map[string]string{"python-version": "3.14-dev"}, want: "3.14.0b2"},
		{name: "free-threaded", inputs: map[string]string{"python-version": "3.13t"}, want: "3.13.0", exe: "tools/Python/3.13.0/" + arch() + "-freethreaded/bin/python3"},
		{name: "PyPy", inputs: map[string]string{"python-version": "pypy3.10"}, want: "pypy3.10.14"},
		{name: "PyPy that is not there", inputs: map[string]string{"python-version": "pypy-3.9-v7.3"}, fail: "Python pypy-3.9-v7.3 is not installed"},
		{name: "several", inputs: map[string]string{"python-version": "3.10\n3.12"}, want: "3.12.3"},
		{name: "nonsense", inputs: map[string]string{"python-version": "snake"}, fail: `"snake" is not a version`},
		{name: "none given", want: "3.13.1"},
		{name: ".python-version", file: "3.12\n", inputs: map[string]string{"python-version-file": ".python-version"}, want: "3.12.3"},
		{name: "pyproject.toml", file: "[project]\nname = \"x\"\nrequires-python = \">=3.9,<3.12,!=3.11.*\"\n", inputs: map[string]string{"python-version-file": "pyproject.toml"}, want: "3.10.14"},
		{name: "compatible", file: "[project]\nrequires-python = '~=3.9.1'\n", inputs: map[string]string{"python-version-file": "pyproject.toml"}, want: "3.9.18"},
		{name: "compatible minor", file: "[project]\nrequires-python = '~=3.9'\n", inputs: map[string]string{"python-version-file": "pyproject.toml"}, want: "3.13.1"},
		{name: "poetry", file: "[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\npython = \"~3.9\"\n", inputs: map[string]string{"python-version-file": "pyproject.toml"}, want: "3.9.18"},
		{name: "Pipfile", file: "[requires]\npython_version = \"3.12\"\n", inputs: map[string]string{"python-version-file": "Pipfile"}, want: "3.12.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.install("root/usr/bin/python3.12", map[string]string{"root/usr/include/python3.12/patchlevel.h": "#define PY_VERSION      \t\"3.12.3\"\n"})
			m.install("root/usr/bin/pip3.12", nil)
			m.install("root/usr/bin/python3.12-config", nil)
			m.install("root/usr/bin/python3.14", map[string]string{"root/usr/include/python3.14/patchlevel.h": "#define PY_VERSION \"3.14.0b2+\"\n"})
			m.install("root/usr/bin/python3.8", map[string]string{"root/usr/lib/libpython3.8.so.1.0": "\x00\x003.8.20\x00"})
			m.install("home/.pyenv/versions/3.13.1/bin/python3", map[string]string{"home/.pyenv/versions/3.13.1/bin/python": "-> python3"})
			m.install("tools/Python/3.10.14/"+arch()+"/bin/python", map[string]string{
				"tools/Python/3.10.14/" + arch() + ".complete": "", "tools/Python/3.10.14/" + arch() + "/bin/python3": "-> python",
			})
			m.install("tools/PyPy/3.10.14/"+arch()+"/bin/python", map[string]string{"tools/PyPy/3.10.14/" + arch() + ".complete": ""})
			m.install("tools/Python/3.13.0/"+arch()+"-freethreaded/bin/python3", map[string]string{"tools/Python/3.13.0/" + arch() + "-freethreaded.complete": ""})
			depottest.Plant(t, m.path("root/usr/bin"), map[string]string{"python3.9": "\x7fELF\x003.9.18\x00", "python3": "-> python3.12"})
			m.env["PATH"] = m.path("root/usr/bin")
			if tt.file != "" {
				depottest.Plant(t, m.path("ws"), map[string]string{tt.inputs["python-version-file"]: tt.file})
			}
			r := m.run("actions/setup-python", tt.inputs, m.scope())
			if said := refusal(t, r.Effects); !strings.Contains(said, tt.fail) || tt.fail == "" && said != "" {
				t.Fatalf("failed with %q, want %q", said, tt.fail)
			}
			if r.output("python-version") != tt.want {
				t.Errorf("python-version %q, want %q", r.output("python-version"), tt.want)
			}
			if tt.exe != "" && r.output("python-path") != m.path(tt.exe) {
				t.Errorf("python-path %s, want %s", r.output("python-path"), tt.exe)
			}
			if tt.want == "" {
				return
			}
			// What a later step gets when it says "python".
			for _, name := range []string{"python", "python3"} {
				if len(r.Path) == 0 {
					t.Fatal("PATH is as before")
				}
				first := filepath.Join(r.Path[0], name)
				if !isFile(first) && tt.exe == "" {
					continue
				}
				if realPath(first) != realPath(r.output("python-path")) {
					t.Errorf("%s is %s, want %s", name, realPath(first), r.output("python-path"))
				}
			}
			if r.env("pythonLocation") == "" {
				t.Errorf("environment %v", r.Env)
			}
		})
	}
}

func TestSetupJava(t *testing.T) {
	t.Parallel()
	release := func(version, vendor string) string {
		return "IMPLEMENTOR=\"" + vendor + "\"\nJAVA_RUNTIME_VERSION=\"x\"\nJAVA_VERSION=\"" + version + "\"\nOS_ARCH=\"x86_64\"\n"
	}
	for _, tt := range []struct {
		name   string
		inputs map[string]string
		file   string
		want   string
		home   string
		fail   string
		log    string
	}{
		{name: "a major version", inputs: map[string]string{"java-version": "17", "distribution": "temurin"}, want: "17.0.13", home: "tools/Java_Temurin-Hotspot_jdk/17.0.13-11/" + arch()},
		{name: "of another vendor", inputs: map[string]string{"java-version": "17", "distribution": "zulu"}, want: "17.0.18", home: "root/usr/lib/jvm/java-17-openjdk", log: "the zulu build of Java 17 is not installed; that of Debian is used"},
		{name: "8", inputs: map[string]string{"java-version": "8", "distribution": "corretto"}, want: "1.8.0_392", home: "home/.sdkman/candidates/java/8.0.392-amzn"},
		{name: "1.8", inputs: map[string]string{"java-version": "1.8", "distribution": "Corretto"}, want: "1.8.0_392"},
		{name: "exact", inputs: map[string]string{"java-version": "17.0.13+11", "distribution": "temurin"}, want: "17.0.13"},
		{name: "latest", inputs: map[string]string{"java-version": "latest", "distribution": "temurin"}, want: "25", home: "root/usr/lib/jvm/temurin-25"},
		{name: "early access", inputs: map[string]string{"java-version": "26-ea", "distribution": "oracle"}, want: "26-ea"},
		{name: "not there", inputs: map[string]string{"java-version": "11", "distribution": "temurin"}, fail: "Java 11 is not installed here. Installed: "},
		{name: "only a JRE", inputs: map[string]string{"java-version": "21", "distribution": "temurin"}, fail: "is not installed"},
		{name: "a JRE", inputs: map[string]string{"java-version": "21", "distribution": "temurin", "java-package": "jre"}, want: "21.0.5"},
		{name: "no distribution", inputs: map[string]string{"java-version": "17"}, fail: `"distribution" is required`},
		{name: "an unknown distribution", inputs: map[string]string{"java-version": "17", "distribution": "espresso"}, fail: `no distribution named "espresso"`},
		{name: "a file", inputs: map[string]string{"java-version": "17", "distribution": "jdkfile"}, fail: "cannot be unpacked"},
		{name: "nothing", inputs: map[string]string{"distribution": "zulu"}, fail: "must be given"},
		{name: "several", inputs: map[string]string{"java-version": "17\n25\n8", "distribution": "temurin"}, want: "1.8.0_392"},
		{name: ".java-version", inputs: map[string]string{"java-version-file": ".java-version", "distribution": "temurin"}, file: "17.0\n", want: "17.0.13"},
		{name: ".sdkmanrc", inputs: map[string]string{"java-version-file": ".sdkmanrc"}, file: "# x\njava=17.0.13-tem\n", want: "17.0.13"},
		{name: ".tool-versions", inputs: map[string]string{"java-version-file": ".tool-versions"}, file: "java temurin-17.0.13+11\n", want: "17.0.13"},
		{name: "maven settings", inputs: map[string]string{"java-version": "17", "distribution": "temurin", "gpg-private-key": "x"}, want: "17.0.13", log: `"gpg-private-key" is not used`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			jdk := func(home, version, vendor string) {
				m.install(home+"/bin/java", map[string]string{home + "/release": release(version, vendor)})
				m.install(home+"/bin/javac", nil)
			}
			jdk("root/usr/lib/jvm/java-17-openjdk", "17.0.18", "Debian")
			jdk("root/usr/lib/jvm/temurin-25", "25", "Eclipse Adoptium")
			jdk("root/opt/jdk-26", "26-ea", "Oracle Corporation")
			jdk("home/.sdkman/candidates/java/8.0.392-amzn", "1.8.0_392", "Amazon.com Inc.")
			jdk("tools/Java_Temurin-Hotspot_jdk/17.0.13-11/"+arch(), "17.0.13", "Eclipse Adoptium")
			depottest.Plant(t, m.path("tools/Java_Temurin-Hotspot_jdk/17.0.13-11"), map[string]string{arch() + ".complete": ""})
			m.install("root/usr/lib/jvm/jre-21/bin/java", map[string]string{"root/usr/lib/jvm/jre-21/release": release("21.0.5", "Eclipse Adoptium")})
			if tt.file != "" {
				depottest.Plant(t, m.path("ws"), map[string]string{tt.inputs["java-version-file"]: tt.file})
			}
			r := m.run("actions/setup-java", tt.inputs, m.scope())
			if said := refusal(t, r.Effects); !strings.Contains(said, tt.fail) || tt.fail == "" && said != "" {
				t.Fatalf("failed with %q, want %q", said, tt.fail)
			}
			if r.output("version") != tt.want || tt.want != "" && r.output("path") != r.env("JAVA_HOME") {
				t.Errorf("outputs %v, environment %v, want %s", r.Outputs, r.Env, tt.want)
			}
			if tt.home != "" && (r.env("JAVA_HOME") != m.path(tt.home) || m.paths(r) != tt.home+"/bin") {
				t.Errorf("JAVA_HOME %s, PATH %s, want %s", r.env("JAVA_HOME"), m.paths(r), tt.home)
			}
			if !strings.Contains(r.log, tt.log) {
				t.Errorf("log %q, want %q", r.log, tt.log)
			}
			if tt.name == "several" && (r.env("JAVA_HOME_17_"+strings.ToUpper(arch())) == "" || r.env("JAVA_HOME_25_"+strings.ToUpper(arch())) == "") {
				t.Errorf("environment %v", r.Env)
			}
		})
	}
}

// TestMatchers: the matchers are in the form that the runner reads, and match
// what the tools print.
func TestMatchers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, owner string
		lines       []string
		want        string // the groups of the last line
	}{
		{goMatchers, "go", []string{"./main.go:10:2: undefined: x"}, "./main.go 10 2 undefined: x"},
		{goMatchers, "go", []string{"    main_test.go:12: got 1"}, "main_test.go 12  got 1"},
		{goMatchers, "go", []string{"vet: a/b.go:3:4: missing return"}, "a/b.go 3 4 missing return"},
		{nodeMatchers, "tsc", []string{"src/a.ts(1,22): error TS2304: Cannot find name 'x'."}, "src/a.ts 1 22 error TS2304 Cannot find name 'x'."},
		{nodeMatchers, "eslint-compact", []string{"/w/a.js: line 1, col 2, Error - 'x' is unused. (no-unused-vars)"}, "/w/a.js 1 2 Error 'x' is unused. no-unused-vars"},
		{nodeMatchers, "eslint-stylish", []string{"/w/a.js", "  1:10  error  'x' is unused  no-unused-vars"}, "1 10 error 'x' is unused no-unused-vars"},
		{pythonMatchers, "python", []string{`  File "a.py", line 3, in f`, "    raise ValueError('x')", "ValueError: x"}, "ValueError: x"},
		{javaMatchers, "javac", []string{"src/A.java:3: error: ';' expected"}, "src/A.java 3 error ';' expected"},
		{javaMatchers, "java", []string{`Exception in thread "main" java.lang.Error: x`, "\tat a.B.main(B.java:5)"}, "B.java 5"},
	} {
		var file struct {
			ProblemMatcher []struct {
				Owner   string
				Pattern []struct{ Regexp string }
			}
		}
		if err := json.Unmarshal([]byte(tt.text), &file); err != nil {
			t.Fatal(err)
		}
		met := false
		for _, m := range file.ProblemMatcher {
			if m.Owner != tt.owner {
				continue
			}
			met = true
			if len(m.Pattern) != len(tt.lines) {
				t.Fatalf("%s has %d patterns", m.Owner, len(m.Pattern))
			}
			var groups []string
			for i, p := range m.Pattern {
				groups = regexp.MustCompile(p.Regexp).FindStringSubmatch(tt.lines[i])
				if groups == nil {
					t.Errorf("%s does not match %q", p.Regexp, tt.lines[i])
				}
			}
			if groups != nil && strings.Join(groups[1:], " ") != tt.want {
				t.Errorf("%s found %q, want %q", tt.owner, groups[1:], tt.want)
			}
		}
		if !met {
			t.Errorf("there is no matcher %s", tt.owner)
		}
	}
}

// refusal is why a setup action did not do what it was asked: the machine lacks
// a version, and only then, or the asking was wrong.
func refusal(t *testing.T, fx plan.Effects) string {
	t.Helper()
	if absent := strings.Contains(fx.Fail+fx.Lacking, "is not installed"); absent != (fx.Lacking != "") {
		t.Errorf("who is to blame? fail %q, lacking %q", fx.Fail, fx.Lacking)
	}
	return fx.Fail + fx.Lacking
}
