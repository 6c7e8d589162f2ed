package builtin

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/blob/disk"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// machine is a set of built-ins on a machine of its own: its directories are
// a test's, nothing is on its PATH.
type machine struct {
	t     testing.TB
	dir   string
	set   *Set
	env   map[string]string
	trees *fakeTrees
}

func newMachine(t testing.TB, change ...func(*Config)) *machine {
	t.Helper()
	// The workspace must not lie behind a symbolic link.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, env: map[string]string{}, trees: &fakeTrees{}}
	for _, d := range []string{"ws", "temp", "tools", "home", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	blobs := newMachineBlobs(t, filepath.Join(dir, "blobs"))
	cfg := Config{
		Blobs: blobs, Index: filepath.Join(dir, "index"), Root: filepath.Join(dir, "root"), Trees: m.trees,
		Listen:    func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		LookupEnv: func(name string) (string, bool) { v, ok := m.env[name]; return v, ok },
	}
	for _, f := range change {
		f(&cfg)
	}
	m.set = New(cfg)
	t.Cleanup(func() {
		if err := m.set.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func newMachineBlobs(t testing.TB, dir string) blob.Store {
	t.Helper()
	blobs, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// scope is a job of run 1, on main.
func (m *machine) scope(change ...func(*plan.Scope)) *plan.Scope {
	s := &plan.Scope{
		Context: &plan.Context{
			RunID: "1",
			Change: &plan.Change{
				Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("a", 40),
				Repository: "octo/cat", Server: "https://github.com", DefaultBranch: "main",
			},
		},
		Job:     &plan.Job{ID: "test"},
		Env:     map[string]string{},
		Started: time.Unix(1000, 0),
		Dirs:    plan.Dirs{Workspace: m.path("ws"), Temp: m.path("temp"), Tools: m.path("tools"), Home: m.path("home")},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

// result is what a call came to.
type result struct {
	plan.Effects
	log string
}

func (r result) output(name string) string {
	for _, o := range slices.Backward(r.Outputs) {
		if o.Name == name {
			return o.Value
		}
	}
	return ""
}

func (r result) env(name string) string {
	for _, e := range slices.Backward(r.Env) {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func (m *machine) run(name string, inputs map[string]string, s *plan.Scope) result {
	m.t.Helper()
	return m.call(Call{Name: name, Inputs: inputs, Scope: s})
}

func (m *machine) call(c Call) result {
	m.t.Helper()
	var log bytes.Buffer
	effects, err := m.set.Run(m.t.Context(), c, &log)
	if err != nil {
		m.t.Fatalf("%s: %v", c.Name, err)
	}
	return result{effects, log.String()}
}

// ok fails the test if the call failed.
func (m *machine) ok(r result) result {
	m.t.Helper()
	if r.Fail != "" {
		m.t.Fatalf("failed: %s", r.Fail)
	}
	return r
}

func TestLookup(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for ref, want := range map[string]string{
		"actions/checkout@v4": "actions/checkout", "Actions/Checkout@11bd71901bbe5b1630ceea73d27597364c9af683": "actions/checkout",
		"actions/cache/save@v4": "actions/cache/save", "actions/cache/restore@main": "actions/cache/restore", "actions/cache@v3": "actions/cache",
		"actions/setup-go":      "actions/setup-go",
		"actions/cache/nope@v4": "", "actions/github-script@v7": "", "checkout@v4": "", "./actions/checkout": "", "": "", "@v4": "",
		"someone/checkout@v4": "", "actions/checkout/../cache@v1": "",
	} {
		a, ok := m.set.Lookup(ref)
		if ok != (want != "") || ok && a.Name != want {
			t.Errorf("Lookup(%q) = %v, %v; want %q", ref, a, ok, want)
		}
	}
	cache, _ := m.set.Lookup("actions/cache@v4")
	if !cache.Post || cache.PostIf != "success()" {
		t.Errorf("the post step of actions/cache: %v, %q", cache.Post, cache.PostIf)
	}
}

func TestInputs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, action string
		inputs       map[string]string
		fail, log    string // parts of them
	}{
		{"required", "actions/cache", map[string]string{"path": "x"}, `"key" is required`, ""},
		{"required and empty", "actions/upload-artifact", map[string]string{"path": " "}, `"path" is required`, ""},
		{"not a boolean", "actions/cache", map[string]string{"path": "x", "key": "k", "lookup-only": "yes"}, `"lookup-only" must be true or false`, ""},
		{"any case", "actions/cache", map[string]string{"PATH": "x", "Key": "k", "LOOKUP-ONLY": "True"}, "", "Cache not found"},
		{"unknown", "actions/cache", map[string]string{"path": "x", "key": "k", "colour": "red"}, "", "no input named colour"},
		{"not a number", "actions/upload-artifact", map[string]string{"path": "x", "compression-level": "11"}, "a number from 0 to 9", ""},
		{"not a word", "actions/upload-artifact", map[string]string{"path": "x", "if-no-files-found": "explode"}, "must be warn, error or ignore", ""},
		{"too many keys", "actions/cache", map[string]string{"path": "x", "key": "k", "restore-keys": strings.Repeat("a\n", 10)}, "at most 10", ""},
		{"long key", "actions/cache", map[string]string{"path": "x", "key": strings.Repeat("k", 513)}, "longer than 512", ""},
		{"comma", "actions/cache/save", map[string]string{"path": "x", "key": "a,b"}, "comma", ""},
		{"only comments", "actions/cache", map[string]string{"path": "# x", "key": "a"}, "names nothing", ""},
		{"depth", "actions/checkout", map[string]string{"fetch-depth": "all"}, `"fetch-depth" must be a number`, ""},
		{"submodules", "actions/checkout", map[string]string{"submodules": "some"}, `"submodules" must be true or false`, ""},
		{"both", "actions/download-artifact", map[string]string{"name": "a", "artifact-ids": "1"}, "cannot be given both", ""},
		{"an empty flag is the default", "actions/upload-artifact", map[string]string{"path": "x", "archive": ""}, "", "no files were found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			r := m.run(tt.action, tt.inputs, m.scope())
			if !strings.Contains(r.Fail, tt.fail) || tt.fail == "" && r.Fail != "" {
				t.Errorf("failed with %q, want %q", r.Fail, tt.fail)
			}
			if !strings.Contains(r.log, tt.log) {
				t.Errorf("log %q, want %q", r.log, tt.log)
			}
		})
	}
}

func TestValuesCannotSpeakToTheRunner(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.run("actions/cache", map[string]string{"path": "x", "key": "k\n::add-mask::x", "restore-keys": "\u2028::error::y\r::z"}, m.scope())
	for line := range strings.Lines(r.log) {
		if strings.HasPrefix(strings.TrimSpace(line), "::") {
			t.Errorf("the log has a line %q", line)
		}
	}
}
